"""Commands of other tools, and mistyped ones: carried out as one of ours where they mean exactly that, else answered with what to type."""

from __future__ import annotations

from autotrain_llm.cli.completion import COMMANDS
from autotrain_llm.config.foreign_names import trainer_meant
from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.finding import Finding, typed
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class OtherCommand(Record):
    """What other tools call something. `names` are separated by spaces, the words of one name by a slash; `why` follows "there is no command X:";
    `instead` is what to type, in which `{name}` stands for the value of other tools' flag of that name, or for the word `others` has for it."""

    names: str
    why: str
    instead: str
    others: str = ""


OTHER_COMMANDS = (
    OtherCommand(
        "merge merge-lora merge_lora merge-adapter merge-llm-adapter tools/merge-llm-adapter tools/merge_llm_adapter merge-sharded-fsdp-weights",
        "an adapter is merged into its base when it is exported, or at the end of its training (--merge-adapter)",
        "autotrain export {adapter-path} --to merged --output-dir {output-folder}",
        "adapter-path=RUN output-folder=DIR",
    ),
    OtherCommand(
        "tools tools/convert_to_kohya",
        "its tools are commands of their own",
        "autotrain export RUN --to merged, or autotrain --help",
    ),
    OtherCommand(
        "quantize convert gguf save_gguf convert-hf-to-gguf",
        "other programs' files are exports",
        "autotrain export RUN --to gguf --output-dir DIR",
    ),
    OtherCommand(
        "setup install update-torch", "nothing has to be set up", "autotrain llm --help, which lists the flags"
    ),
    OtherCommand(
        "spacerunner launch cloud cloud-train endpoint",
        "runs are carried out on the machine where they are started",
        "autotrain llm …, on the machine that is to train",
    ),
    OtherCommand(
        "api serve server vllm-serve deploy",
        "there is no server",
        "from autotrain_llm import train, in Python (docs/python.md); vllm serve RUN for a finished model",
    ),
    OtherCommand(
        "webui webchat web ui gui board studio",
        "the pages in a browser are served by `app`",
        "autotrain app, which composes, starts, follows, compares and tries runs",
    ),
    OtherCommand(
        "train run finetune fine-tune",
        "training is what `llm` does",
        "autotrain llm --config FILE, or autotrain llm --help",
    ),
    OtherCommand(
        "inference generate predict infer complete",
        "answers are what `llm --inference` prints",
        'autotrain llm --inference --model RUN --prompts "Hello", or autotrain chat RUN',
    ),
    OtherCommand(
        "preprocess tokenize process",
        "rows and tokens are written by `prepare`",
        "autotrain prepare --data-path DATA --output-dir DIR",
    ),
    OtherCommand(
        "eval evaluate lm-eval benchmark",
        "a run evaluates itself, before, during and after training",
        "autotrain llm … --use-enhanced-eval, with --eval-metrics or --eval-benchmark (docs/evaluation.md)",
    ),
    OtherCommand("sweep tune", "a sweep is a flag of `llm`", "autotrain llm … --use-sweep (docs/sweeps.md)"),
    OtherCommand(
        "upload push push-to-hub", "an upload is a flag", "autotrain llm … --push-to-hub, or hf upload ACCOUNT/NAME RUN"
    ),
    OtherCommand("env info doctor", "versions are in each run's run.json", "autotrain --version"),
    OtherCommand("validate lint dry-run", "configs are checked by `check`", "autotrain check FILES"),
    OtherCommand(
        "text-classification text-regression text_classification text_regression",
        "a text's class or number is what a reward model gives",
        "autotrain llm --trainer reward --num-labels N (docs/rewards.md)",
    ),
    OtherCommand(
        "seq2seq token-classification sentence-transformers extractive-question-answering image-classification image-regression "
        "object-detection image-segmentation tabular dreambooth vlm",
        "language models are trained, and nothing else",
        "autotrain llm --help",
    ),
)


def as_ours(words: Sequence[str]) -> list[str]:
    """The words of a command of ours: `autotrain --config f.yml` (AutoTrain) is `llm --config f.yml`, `autotrain sft …` (TRL) is
    `llm --trainer sft …`. Other words are returned as they are."""
    first = words[0] if words else ""
    if first.partition("=")[0] == "--config":
        return ["llm", *words]
    if first in TRAINERS:
        return ["llm", "--trainer", first, *words[1:]]
    return list(words)


def answer_to(words: Sequence[str]) -> Finding:
    """The finding for a command that does not exist: what to type in its place."""
    first = words[0] if words else ""
    if not first:
        return Finding("a command is missing", "autotrain llm --help", code="P122")
    message = f"there is no command {first!r}"
    if first.startswith("-"):
        return Finding(
            f"{message}; flags come after a command", f"autotrain llm {first.partition('=')[0]} …", code="P122"
        )
    other = _other_command(words)
    if other is not None:
        name, command = other
        shown = f"there is no command {name.replace('/', ' ')!r}"
        return Finding(f"{shown}: {command.why}", _filled(command, words), code="P122")
    changes, guess = trainer_meant(first.lower())
    if changes or (guess and nearest(first, _names()) is None):
        flags = " ".join(typed(name, value) for name, value in (changes or guess).items())
        return Finding(f"{message}; a trainer is named by --trainer", f"autotrain llm {flags} …", code="P122")
    close = nearest(first, _names())
    if close is None:
        return Finding(message, "autotrain --help", code="P122")
    return Finding(f"{message}; did you mean {close!r}?", f"autotrain {close} …", code="P122")


def _names() -> list[str]:
    """The commands that can be mistyped."""
    return [*(name for name in COMMANDS if not name.startswith("-")), *TRAINERS]


def _other_command(words: Sequence[str]) -> tuple[str, OtherCommand] | None:
    """The name of another tool's command at the beginning of the words, the longest one, and what it stands for."""
    known = {name: command for command in OTHER_COMMANDS for name in command.names.split()}
    for name in ("/".join(words[:2]).lower(), words[0].lower()):
        if name in known:
            return name, known[name]
    return None


def _filled(command: OtherCommand, words: Sequence[str]) -> str:
    """What to type, with the values that were given."""
    values = dict(part.split("=") for part in command.others.split())
    for index, word in enumerate(words):
        flag, equals, value = word.removeprefix("--").partition("=")
        following = words[index + 1] if index + 1 < len(words) else ""
        if word.startswith("--") and flag.replace("_", "-") in values and (equals or following):
            values[flag.replace("_", "-")] = value if equals else following
    return command.instead.format(**values)
