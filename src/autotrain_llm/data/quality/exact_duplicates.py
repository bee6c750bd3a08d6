"""Rows that are exactly the same: within the training rows, and in the training and the evaluation rows."""

from __future__ import annotations

from collections.abc import Sequence

from autotrain_llm.data.disk_examples import keys_of
from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.splits import evaluation_rows_are_trained_on, many_rows_are_duplicates

# A share of repeated rows above this is worth a word; real instruction sets often repeat a few in a hundred.
LARGE_SHARE = 0.2


# Two equal rows among five are chance, not a large share.
FEWEST_REPEATED = 5


def check_duplicates(examples: Sequence[Example], name: str, observations: Observations) -> None:
    """Report exact duplicates, if they are a large share of the rows."""
    import numpy

    _, first, counts = numpy.unique(keys_of(examples), return_index=True, return_counts=True)
    repeated = len(examples) - len(first)
    if repeated < max(FEWEST_REPEATED, LARGE_SHARE * len(examples)):
        return
    once = numpy.zeros(len(examples), dtype=bool)
    once[first] = True
    facts = {"repeated": repeated, "rows": len(examples), "most": int(counts.max())}
    observations.row(many_rows_are_duplicates, examples[int(numpy.argmin(once))], name=name, **facts)


def check_overlap(train: Sequence[Example], valid: Sequence[Example], flag: str, observations: Observations) -> None:
    """Report evaluation rows that are also training rows."""
    import numpy

    if not len(train) or not len(valid):
        return
    train_keys, valid_keys = keys_of(train), keys_of(valid)
    shared = numpy.flatnonzero(numpy.isin(valid_keys, train_keys))
    if not len(shared):
        return
    first = valid[int(shared[0])]
    trained = train[int(numpy.flatnonzero(train_keys == valid_keys[shared[0]])[-1])]
    facts = {"shared": len(shared), "rows": len(valid), "trained_file": trained.file, "trained_row": trained.row}
    observations.row(evaluation_rows_are_trained_on, first, flag=flag, file=first.file, **facts)
