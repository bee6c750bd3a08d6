"""Rows that are exactly the same: within the training rows, and in the training and the evaluation rows."""

from __future__ import annotations

from collections.abc import Sequence

from autotrain_llm.data.disk_examples import keys_of
from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.declare.finding import WARNING
from autotrain_llm.declare.text import plural

# A share of repeated rows above this is worth a word; real instruction sets often repeat a few in a hundred.
LARGE_SHARE = 0.2


# Two equal rows among five are chance, not a large share.
FEWEST_REPEATED = 5


def check_duplicates(examples: Sequence[Example], name: str, observations: Observations) -> None:
    """A warning where a large share of the rows repeats an earlier one."""
    import numpy

    _, first, counts = numpy.unique(keys_of(examples), return_index=True, return_counts=True)
    repeated = len(examples) - len(first)
    if repeated < max(FEWEST_REPEATED, LARGE_SHARE * len(examples)):
        return
    once = numpy.zeros(len(examples), dtype=bool)
    once[first] = True
    example = examples[int(numpy.argmin(once))]
    message = (
        f"{example.file}, row {example.row}: an exact duplicate of an earlier row; {repeated} of {len(examples)} rows are "
        f"(most often {int(counts.max())} times the same)"
    )
    observations.say(
        "D123",
        message,
        fix=f"deduplicate {name}",
        severity=WARNING,
        file=example.file,
        row=example.row,
        line=example.line,
        parameters=("data_path",),
    )


def check_overlap(train: Sequence[Example], valid: Sequence[Example], flag: str, observations: Observations) -> None:
    """A warning where rows of the evaluation data are trained on."""
    import numpy

    if not len(train) or not len(valid):
        return
    trained, evaluated = keys_of(train), keys_of(valid)
    shared = numpy.flatnonzero(numpy.isin(evaluated, trained))
    if not len(shared):
        return
    first = valid[int(shared[0])]
    duplicate = train[int(numpy.flatnonzero(trained == evaluated[shared[0]])[-1])]
    message = (
        f"{first.file}, row {first.row} ({flag}) is also row {duplicate.row} of {duplicate.file}, which is trained on: "
        f"{plural(len(shared), 'row')} of {len(valid)} will look better than they are"
    )
    parameter = flag.removeprefix("--").replace("-", "_")
    observations.say(
        "D122",
        message,
        fix=f"delete the shared rows from {first.file}",
        severity=WARNING,
        file=first.file,
        row=first.row,
        line=first.line,
        parameters=(parameter,),
    )
