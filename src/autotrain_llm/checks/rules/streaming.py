"""`--streaming`: what it needs, what it can't be combined with, and how it is resumed."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule

STEPS = "--streaming --max-steps 2"


@rule("D250", refuses="--streaming", accepts=STEPS)
def a_stream_needs_a_number_of_steps(config: Config) -> Iterator[Finding]:
    """`--streaming` without `--max-steps`.

    Why: how many rows there are is not known before they were read, and so neither is how many steps an epoch has.
    Fix: the number of optimizer steps; after the last row the stream begins again.
    """
    if config.streaming and not (config.max_steps and config.max_steps > 0):
        yield Finding(
            "--streaming needs --max-steps: how many steps an epoch has is not known before the rows were read",
            guess={"max_steps": 1000},
            parameters=("streaming", "max_steps"),
        )


@rule("D251", refuses=f"{STEPS} --engine trl", accepts=STEPS)
def a_run_that_needs_all_rows_is_not_streamed(config: Config) -> Iterator[Finding]:
    """`--streaming` with a flag that needs all rows before the training.

    Why: the rows of a mixture are drawn by their shares, those of a teacher are prepared for it, the trials of a sweep share the prepared rows, and TRL's trainers are given all rows. It is
    refused before anything is read.
    Fix: leave out one of the two.
    """
    if not config.streaming:
        return
    reasons = {
        "data_config": "draws the rows of its sources by their shares",
        "use_distillation": "prepares all rows for the teacher",
        "use_sweep": "prepares the rows once, for all trials",
        "use_prepared": "compares all rows with those that were prepared",
    }
    for name, reason in reasons.items():
        if config.value_of(name) and config.applies(name):
            yield _refused(f"{flag_of(name)} {reason}", name)
    if config.engine == "trl":
        yield _refused("--engine trl is given all rows", "engine")


def _refused(message: str, name: str) -> Finding:
    return Finding(
        f"{message}: --streaming can't be used with it", changes={"streaming": None}, parameters=("streaming", name)
    )


@rule("D252", refuses=f"{STEPS} --valid-split 0.1", accepts=f"{STEPS} --eval-dataset-path rows.jsonl")
def evaluation_rows_of_a_stream_have_a_place_of_their_own(config: Config) -> Iterator[Finding]:
    """`--streaming` with a share or a number of rows to hold out.

    Why: rows are held out of all rows, with equal rows on one side; of a stream only the first are known.
    Fix: a file of evaluation rows, or the name of a split.
    """
    if not (config.streaming and config.valid_split):
        return
    from autotrain_llm.data.load.split import rows_to_hold_out

    if rows_to_hold_out(config.valid_split, 1) is not None:
        yield Finding(
            f"--valid-split {config.valid_split} holds rows out of all rows, and --streaming knows only the first",
            fix="--eval-dataset-path FILE, or --valid-split with the name of a split",
            parameters=("streaming", "valid_split"),
        )
