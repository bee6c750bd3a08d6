"""What is found in a config of stages, and in the folder that they are written to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import PAIRS, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import declare_finding, rule

ROWS = (
    "printf '%s' '"
    + PAIRS.replace("\n", "\\n")
    + '\' > pairs.jsonl\nprintf \'{"text": "One."}\\n{"text": "Two."}\\n\' > rows.jsonl'
)
SHARED = "model: MODEL\nlr: 1e-4\nepochs: 1\nbatch_size: 2\noutput_dir: runs/p\n"
FIRST = "- {name: first, trainer: sft, data_path: rows.jsonl}\n"
SECOND = "- {name: second, trainer: sft, model: '${stages.first}', data_path: rows.jsonl}\n"
GOOD = f"{SHARED}stages:\n{FIRST}{SECOND}"
COMMAND = "llm --config pipeline.yaml"


def _of_stages(refused: str, accepted: str = GOOD, **more: Any) -> Example:
    return Example(COMMAND, COMMAND, refused, accepted, "pipeline.yaml", before=ROWS, **more)


def _of_command(wrong: str, right: str = "", **more: Any) -> Example:
    return Example(
        f"{COMMAND} {wrong}", f"{COMMAND} {right}".rstrip(), GOOD, GOOD, "pipeline.yaml", before=ROWS, **more
    )


@rule("P156", refuses="--only sft", accepts="--lr 1e-4")
def stages_are_selected_in_a_config_of_stages(config: Config) -> Iterator[Finding]:
    """`--from-stage` or `--only` without a config that has `stages`, both together, or the name of no stage.

    Why: they choose stages by their names.
    Fix: the name of a stage, or leave the flag out.
    """
    for name in ("from_stage", "only"):
        if config.value_of(name) is not None:
            message = f"{flag_of(name)} chooses a stage, and there is no --config with stages"
            yield Finding(message, changes={name: None}, parameters=(name,))


NOT_A_STAGE = declare_finding(
    "P150",
    """`stages` is empty or no list, or one of its entries is no config with a name that a folder can have.

    Why: the stages of a config are trained in their order, each into the folder of its name.
    Fix: a list such as `- {name: sft, trainer: sft, model: scratch:1m, data_path: chat.jsonl}`.
    """,
    example=_of_stages(f"{SHARED}stages:\n- {{trainer: sft, data_path: rows.jsonl}}\n"),
)
TWO_OF_ONE_NAME = declare_finding(
    "P151",
    """Two stages have the same name, or names that differ in capitals alone.

    Why: the name is the stage's folder, and how later stages refer to it.
    Fix: another name.
    """,
    example=_of_stages(f"{SHARED}stages:\n{FIRST}{FIRST}"),
)
NO_SUCH_STAGE = declare_finding(
    "P152",
    """A value names a stage that does not exist.

    Why: `${stages.NAME}` is the folder of an earlier stage of the same file.
    Fix: the nearest name, if one is near.
    """,
    example=_of_stages(GOOD.replace("stages.first", "stages.fist")),
)
NOT_AN_EARLIER_STAGE = declare_finding(
    "P153",
    """A stage uses itself or a stage that comes later; two stages that use each other form a circle.

    Why: stages are trained in their order, and a model can only be used when it is written.
    Fix: change the order, or remove one side of the circle.
    """,
    example=_of_stages(f"{SHARED}stages:\n{SECOND}{FIRST}"),
)
WRONG_LEVEL = declare_finding(
    "P154",
    """A key stands in a stage that belongs above `stages`, such as `output_dir`, or above that belongs in each stage, such as `name`.

    Why: all stages are written to one folder, each below its own name.
    Fix: move the key.
    """,
    example=_of_stages(GOOD.replace("name: first,", "name: first, output_dir: elsewhere,")),
)
SET_BY_STAGES = declare_finding(
    "P155",
    """A flag on the command line has a value that stages set themselves.

    Why: it would replace the value in each of these stages, and which one is meant can't be known.
    Fix: change it in the config; a flag that no stage sets itself applies to all stages.
    """,
    example=_of_command("--trainer dpo"),
)
NOT_FOR_STAGES = declare_finding(
    "P158",
    """A flag that is about a single run, together with a config of stages.

    Why: it would be unclear which stage is meant, and the stages go on by themselves where they were stopped.
    Fix: remove the flag, or give it with the config of one run.
    """,
    example=_of_command("--preview-data 2"),
)
SEVERAL_PROCESSES = declare_finding(
    "E554",
    """A config of stages is started in several processes, as torchrun does.

    Why: each process would start every stage.
    Fix: start it once: each stage starts its own processes, one for each GPU in sight.
    """,
    example=Example(
        f"torchrun --nproc-per-node 2 -m autotrain_llm {COMMAND}", COMMAND, GOOD, GOOD, "pipeline.yaml", before=ROWS
    ),
)
ANOTHER_RUN = declare_finding(
    "E550",
    """The folder of a pipeline, or of one of its stages, holds a run that this pipeline did not write.

    Why: that run would be replaced.
    Fix: another folder, or `--overwrite`, which moves it aside until the new one is complete.
    """,
    example=_of_stages(GOOD, wrong="mkdir -p runs/p/first && echo '{}' > runs/p/first/run.json"),
)
NOT_YET_TRAINED = declare_finding(
    "E552",
    """`--from-stage` or `--only` leaves out a stage that has not been trained, and that a chosen one needs.

    Why: its model does not exist.
    Fix: start at an earlier stage, or leave the flag out: finished stages are kept.
    """,
    example=_of_command("--only second"),
)
LEFT_OUT_AND_CHANGED = declare_finding(
    "E553",
    """`--from-stage` or `--only` leaves out a stage whose config has changed since it was trained.

    Why: what it wrote is used as it is.
    Fix: leave the flag out, and it is trained again.
    """,
    WARNING,
    example=_of_command("--only second", on="where the first stage was trained with another --lr"),
)
PIPELINE_IN_USE = declare_finding(
    "E555",
    """Another process is training the stages of this folder.

    Why: two processes would write the same files.
    Fix: another folder, or wait.
    """,
    example=_of_command("", on="while another process trains these stages"),
)
