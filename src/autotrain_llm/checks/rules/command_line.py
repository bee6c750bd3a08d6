"""What is found while a command, its config file and a saved plan are read, and when a run ends."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import NEW, PPO, PROMPTS, SFT, Example, of_config, of_flags, of_python
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import declare_finding, rule

SAVED = f"autotrain {SFT}rows.jsonl --dry-run --save-plan plan.json"
TINY = NEW.replace("1m", "100k") + " --max-seq-length 16"
SCORED = PPO.replace("--rl-reward-model-path SCORER", "--rl-reward-fn score.py:score") + "rows.jsonl"
SCORES_BY_LENGTH = "echo 'def score(completions, **rest): return [float(len(text)) for text in completions]' > score.py"


@rule("P119", refuses="--write-config fixed.yaml", accepts="--fix --write-config fixed.yaml")
def a_corrected_config_needs_fix(config: Config) -> Iterator[Finding]:
    """`--write-config` without `--fix`, or `--fix` together with a saved plan or with `--inference`.

    Why: the file holds the parameters that `--fix` has corrected; a saved plan is trained unchanged, and generating answers has nothing to
    correct.
    Fix: add `--fix`, or remove the other flag.
    """
    if config.write_config and not config.fix:
        yield Finding(
            "--write-config writes the parameters that --fix has corrected, and --fix is not given",
            changes={"fix": True},
            parameters=("write_config", "fix"),
        )
    for name in ("plan", "inference"):
        if config.fix and config.value_of(name):
            message = f"--fix and {flag_of(name)} can't be combined"
            yield Finding(message, changes={"fix": None}, parameters=("fix", name))


# Flags.

RENAMED = declare_finding(
    "P102",
    """A flag or key has another name here.

    Why: the name is another tool's, such as TRL's or axolotl's.
    Fix: use the name that the finding shows.
    """,
    blocks="trainer",
    mistyped=True,
    suggests=True,
    example=of_flags("--warmup-steps 10", "--warmup-ratio 0.1"),
)
DISTILLATION_IS_NO_TRAINER = declare_finding(
    "P103",
    """`--trainer distillation` was removed.

    Why: distillation is not a trainer of its own: it is added to one.
    Fix: `--trainer sft --use-distillation --teacher-model <name or path>`.
    """,
    blocks="trainer",
    example=Example(NEW.replace("sft", "distillation"), NEW),
)
UNKNOWN = declare_finding(
    "P104",
    """There is no such parameter.

    Why: a misspelt flag must not be ignored.
    Fix: the nearest name, if one is near.
    """,
    mistyped=True,
    suggests=True,
    example=of_flags("--colour red"),
)
COMMAND_IN_A_FILE = declare_finding(
    "P105",
    """A config file contains a flag that controls a single command, such as `dry_run`.

    Why: a config file describes a training run; whether to start it, only check it or save its plan is up to each command.
    Fix: give the flag on the command line.
    """,
    example=of_config("dry_run: true\n", "trainer: sft\n"),
)
UNREADABLE_CONFIG = declare_finding(
    "P106",
    """The config file can't be read: it is missing, is not UTF-8 text, or is neither YAML, JSON nor Python with parameters.

    Why: without it the required parameters seem to be missing, so nothing else is checked.
    Fix: correct the file where the finding says.
    """,
    blocks="config",
    example=of_config("lr: [1e-4\n", "lr: 1e-4\n"),
)
FOREIGN_FLAG = declare_finding(
    "P110",
    """A flag of another tool is accepted, but has no effect.

    Why: commands that were written for other tools keep working.
    Fix: remove it.
    """,
    WARNING,
    example=of_flags("--advanced"),
)
OTHER_DEFAULTS = declare_finding(
    "P163",
    """A config with another tool's names leaves out a parameter that this tool has another default for.

    Why: the names are translated, and what the file does not say is trained with the defaults here: LLaMA-Factory scales an adapter by twice its rank, axolotl's
    rate falls as a cosine, transformers has no warm-up.
    Fix: give the values of the other tool, or go on with those here.
    """,
    WARNING,
    example=of_config(
        "stage: sft\nfinetuning_type: lora\nlora_rank: 64\n",
        "trainer: sft\npeft: true\nlora_r: 64\nlora_alpha: 128\n",
    ),
)
RENAMED_CHOICE = declare_finding(
    "P111",
    """A value was renamed; the new name is used.

    Why: older commands keep working.
    Fix: use the new name.
    """,
    WARNING,
    example=of_flags("--optimizer adamw_hf", "--optimizer adamw_torch"),
)
UNWRITABLE_FILE = declare_finding(
    "P114",
    """A file that a flag names can't be written: `--write-config`, `--save-plan`.

    Why: its folder does not exist, or can't be written to.
    Fix: a file in a folder that exists.
    """,
    example=Example(f"{NEW} --fix --write-config nowhere/fixed.yaml", f"{NEW} --fix --write-config fixed.yaml"),
)
NO_PLAN = declare_finding(
    "P115",
    """`--plan` is a file that does not exist, or that `--save-plan` did not write.

    Why: there is no plan to train.
    Fix: a file that `--save-plan` wrote.
    """,
    example=Example("llm --plan rows.jsonl", NEW),
)
CONTRADICTS_THE_PLAN = declare_finding(
    "P116",
    """A flag given with `--plan` has another value than in the plan.

    Why: a saved plan is trained exactly as it was saved.
    Fix: remove the flag, or save another plan.
    """,
    example=Example("llm --plan plan.json --lr 3e-4", "llm --plan plan.json", before=SAVED),
)
PLAN_HAS_CHANGED = declare_finding(
    "P117",
    """Something that a saved plan depends on has changed since it was saved: data, model files, packages, or the machine.

    Why: the run would differ from its plan. The finding names what differs.
    Fix: save the plan again, or restore what has changed.
    """,
    example=Example(
        "llm --plan plan.json", "llm --plan plan.json", before=SAVED, wrong='echo \'{"text": "Three."}\' >> rows.jsonl'
    ),
)
NO_CONFIGS = declare_finding(
    "P118",
    """`autotrain check` was given no config file, and found none with training parameters below this folder.

    Why: there is nothing to check.
    Fix: name a config file.
    """,
    example=Example("check", "check rows.jsonl"),
)
NO_VALUE = declare_finding(
    "P120",
    """A flag lacks its value, or has a value although it takes none.

    Why: a flag without its value would take the next word on the command line instead.
    Fix: write the flag as the finding shows.
    """,
    mistyped=True,
    example=of_flags("--seed", "--seed 7"),
)
STRAY_WORDS = declare_finding(
    "P121",
    """A word on the command line belongs to no flag.

    Why: it is often the rest of a value with spaces that is not in quotes.
    Fix: put the value in quotes, or remove the word.
    """,
    example=of_flags("stray", "--seed 7"),
)
NO_SUCH_COMMAND = declare_finding(
    "P122",
    """There is no such command, flag of a command, or shell.

    Why: without a known command nothing can be run.
    Fix: use the name that the finding shows.
    """,
    example=Example("tain", "--version"),
)
NO_TERMINAL = declare_finding(
    "P123",
    """`--interactive` asks questions, and the command does not run in a terminal.

    Why: nobody could answer them.
    Fix: give the flags, or run it in a terminal.
    """,
    example=of_flags("--interactive"),
)
NO_SUCH_CODE = declare_finding(
    "P124",
    """No finding has this code.

    Why: `--explain` shows the documentation of a code.
    Fix: the nearest code.
    """,
    example=Example("llm --explain P999", "llm --explain P101"),
)
NO_RUN = declare_finding(
    "P125",
    """`autotrain report` was given a folder that does not exist or contains no run: it has no run.json.

    Why: a report is made from the files of a run.
    Fix: the output folder of a run.
    """,
    example=Example("report nowhere", "report --help"),
)
GIVEN_TWICE = declare_finding(
    "P126",
    """A flag is given more than once, with different values.

    Why: the last one is used, as in other tools.
    Fix: keep one.
    """,
    WARNING,
    example=of_flags("--seed 1 --seed 2", "--seed 1 --seed 1"),
)
UNSET_VARIABLE = declare_finding(
    "P127",
    """A config file takes a value from an environment variable, `${NAME}`, that is not set.

    Why: the parameter counts as not given, so its default is used.
    Fix: set the variable, or write the value into the file.
    """,
    WARNING,
    example=of_config("seed: ${NO_SUCH_SEED}\n", "seed: 7\n"),
)
NO_BASE_CONFIG = declare_finding(
    "P128",
    """A config file extends a file that does not exist, or that extends the first one again.

    Why: `extends` names one file, or a list of files of which a later one wins. Their paths are relative to the file that names them, and
    what they set is used where the file itself sets nothing.
    Fix: name a file that exists, or remove the line that closes the circle.
    """,
    blocks="config",
    example=of_config("extends: nowhere.yaml\nlr: 1e-4\n", "lr: 1e-4\n"),
)
NO_LITERAL = declare_finding(
    "P129",
    """A Python config has something that is no literal: a call, a calculation, a name, or a statement other than an assignment.

    Why: a Python config is read and not run, so that checking it can do nothing else. Read are assignments of literals, the defaults of a
    class, and the keywords of a call of a class.
    Fix: write the value itself, or give it on the command line.
    """,
    mistyped=True,
    example=of_python("lr = float('1e-4')\n", "lr = 1e-4\n"),
)
NOT_RUN = declare_finding(
    "P130",
    """A Python config has functions, or takes a class from a file that is not next to it.

    Why: a Python config is read and not run: what a function would do, `__post_init__` too, has no effect, and the defaults of a class that
    is elsewhere are not known.
    Fix: write the values as literals.
    """,
    WARNING,
    example=of_python("lr = 1e-4\ndef schedule(): return 'cosine'\n", "lr = 1e-4\nscheduler = 'cosine'\n"),
)
NO_SUCH_PRESET = declare_finding(
    "P132",
    """`autotrain presets` was given a name that no preset has.

    Why: there is nothing to show.
    Fix: the nearest name, or no name, which lists all presets.
    """,
    example=Example("presets qlra", "presets qlora"),
)
WRONG_KIND = declare_finding(
    "P302",
    """A value does not have its parameter's type: a number, a switch, a list or JSON.

    Why: it can't be converted to that type.
    Fix: give a value of that type.
    """,
    mistyped=True,
    example=of_flags("--seed seven", "--seed 7"),
)

# The first call of a reward function, and the end of a run.

FAILING_REWARD_FUNCTION = declare_finding(
    "P731",
    """A reward function fails in a trial call, with two completions for the first row, one of them empty.

    Why: it raises an exception, needs a column that the rows don't have, or does not return one number per completion. It is called with keyword
    arguments: `prompts` (texts, or lists of turns, as in the rows), `completions` (texts), and each other column of the rows; a function without
    `**` gets only those that it names.
    Fix: correct the function.
    """,
    example=Example(
        SCORED,
        SCORED,
        PROMPTS,
        PROMPTS,
        wrong="echo 'def score(completions, **rest): return [text.split()[0] for text in completions]' > score.py",
        right=SCORES_BY_LENGTH,
    ),
)
TELLS_NOTHING_APART = declare_finding(
    "P748",
    """A reward function gives all answers of a trial the same score: short and long ones, and the values of the row's other columns in the forms in which answers are
    usually expected (`#### 12`, `\\boxed{12}`, `<answer>12</answer>`).

    Why: the policy is trained on how much better an answer is than others, and learns nothing where none is. Often the function catches an error of its own, such as that of
    `completion[0]["content"]` (each completion is a text here), or reads a column that the rows don't have; the finding names what was seen of it. A function that expects
    another form is right: its scores will differ once the policy writes it.
    Fix: let the error end the function, name a column that the rows have, or score something that the answers have.
    """,
    severity=WARNING,
    example=Example(
        SCORED,
        SCORED,
        PROMPTS,
        PROMPTS,
        wrong="echo 'def score(completions, answer=None, **rest): return [float(text == answer) for text in completions]' > score.py",
        right=SCORES_BY_LENGTH,
    ),
)
ABSENT_COLUMN = declare_finding(
    "P749",
    """A reward function reads a column that the rows don't have, through a default of None or `.get`.

    Why: the function gets None for every row, and scores without it. A misspelt name looks the same as a column that may be missing.
    Fix: the name of a column that the rows have.
    """,
    severity=WARNING,
    example=Example(
        SCORED,
        SCORED,
        PROMPTS,
        PROMPTS,
        wrong="echo 'def score(completions, longest=None, **rest): return [float(len(text)) for text in completions]' > score.py",
        right=SCORES_BY_LENGTH,
    ),
)
RUN_FAILED = declare_finding(
    "R101",
    """The run started and failed.

    Why: the message gives the reason. Every complete checkpoint is kept.
    Fix: change what the finding suggests; then `--resume` continues from the last complete checkpoint.
    """,
    example=Example(f"{TINY} --max-steps 3 --lr 1e38", f"{TINY} --max-steps 3", runs=True),
)
UNEXPECTED = declare_finding(
    "R102",
    """An error that no check foresaw: a bug in this program, or an error of a library.

    Why: the message is the library's own. Its traceback is kept in a file.
    Fix: as the finding says: `--resume` if there is a complete checkpoint, the same command without the options that it names, or
    `--engine trl`; and report it, with the command and the file.
    """,
    example=Example(TINY, TINY, on="where something fails that nobody foresaw", runs=True),
)
