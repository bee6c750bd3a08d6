"""What is wrong with rows beside each other, rather than with one of them: what contradicts, repeats or overlaps another; and secrets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from autotrain_llm.data.dataset import EVAL_FLAG, Dataset
from autotrain_llm.data.example import Example, Side
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.quality.exact_duplicates import FEWEST_REPEATED, LARGE_SHARE
from autotrain_llm.data.quality.near_duplicates import (
    MOST_EVALUATION_ROWS,
    MOST_ROWS,
    near_duplicates,
    near_overlap,
    sampled,
)
from autotrain_llm.data.quality.secrets import check_secrets
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.text import plural

# Of rows that are not held out of one file, some are always alike; a share above this is worth a word.
OVERLAPPING_SHARE = 0.01
JUDGED = ("preference", "prompt/completion/label")
# What a wrong reading leaves behind, and the share of rows from which on it is no quotation.
DAMAGED = {
    "a letter that could not be read when the text was made": re.compile("\ufffd"),
    "a null character": re.compile("\0"),
    "UTF-8 that was read as another encoding": re.compile(
        "\u00c3[\u0080-\u00bf\u0178\u0152\u0153]|\u00e2\u20ac[\u0080-\u2122]|\u00c2[\u00a0-\u00bf]"
    ),
}
DAMAGED_SHARE = 0.05


@dataclass(frozen=True)
class RowChecks:
    """What was found, and what of the rows was not looked at, in words."""

    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()


def check_rows(dataset: Dataset, *, most: int | None = None, secrets: bool = False, seed: int = 42) -> RowChecks:
    """Compare the rows of a data set (the first `most` of each side) with each other."""
    observations = Observations()
    train, valid = _first(dataset.train, most), _first(dataset.valid, most)
    left: list[str] = []
    if len(train) < len(dataset.train):
        left.append(f"rows after the first {most} were not compared with others")
    if dataset.format in JUDGED:
        check_contradictions(train, observations)
    some, some_valid = sampled(train, MOST_ROWS, seed), sampled(valid, MOST_EVALUATION_ROWS, seed)
    if len(some) < len(train) or len(some_valid) < len(valid):
        left.append(f"near duplicates were looked for among {_of(some, train, valid, some_valid)}, drawn with the seed")
    check_letters(some, observations)
    check_near_duplicates(some, observations)
    if some_valid and (flag := _flag_of(dataset)):
        check_near_overlap(some, some_valid, flag, observations)
    if secrets:
        check_secrets([*train, *valid] if most else _both(dataset), observations)
    return RowChecks(observations.findings(), tuple(left))


def _first(rows: Sequence[Example], most: int | None) -> Sequence[Example]:
    return rows if most is None or len(rows) <= most else list(islice(iter(rows), most))


def _both(dataset: Dataset) -> Iterable[Example]:
    yield from dataset.train
    yield from dataset.valid


def _of(
    some: Sequence[Example], train: Sequence[Example], valid: Sequence[Example], some_valid: Sequence[Example]
) -> str:
    words = f"{len(some)} of {plural(len(train), 'row')}"
    return words + (f" and {len(some_valid)} of {len(valid)} for evaluation" if valid else "")


def _flag_of(dataset: Dataset) -> str | None:
    """The flag that evaluation rows of their own came with; None where they were held out of the same rows."""
    if dataset.eval_path is not None:
        return EVAL_FLAG
    return "--valid-split" if (dataset.valid_from or "").startswith("the split ") else None


def check_letters(rows: Sequence[Example], observations: Observations) -> None:
    """A warning where a share of the rows holds letters that were lost, or read in another encoding than they were written in."""
    written = [(row, [text for text in row.strings() if not text.isascii() or "\0" in text]) for row in rows]
    suspected = [(row, texts) for row, texts in written if texts]
    for kind, pattern in DAMAGED.items():
        found = [row for row, texts in suspected if any(map(pattern.search, texts))]
        if not found or len(found) < DAMAGED_SHARE * len(rows):
            continue
        first = found[0]
        letters = next(match[0] for match in map(pattern.search, first.strings()) if match)
        message = f"{first.file}, row {first.row}: {kind} ({letters!r}), in {plural(len(found), 'row')} of {len(rows)}"
        _say(
            "D164",
            message,
            "make the file anew from its source, reading and writing it as UTF-8",
            first,
            "data_path",
            observations,
        )


def check_contradictions(rows: Iterable[Example], observations: Observations) -> None:
    """A warning where the same two answers to one prompt are preferred both ways, or the same answer is labelled both ways."""
    seen: dict[bytes, tuple[bool, int]] = {}
    for row in rows:
        judged = _judgement(row)
        if judged is None:
            continue
        what, verdict = judged
        before, number = seen.setdefault(what, (verdict, row.row))
        if before != verdict:
            _say_contradiction(row, number, observations)


def _judgement(row: Example) -> tuple[bytes, bool] | None:
    """What is judged, the same whichever way, and the way; None for a row that judges nothing."""
    if row.chosen is not None and row.rejected is not None:
        sides = sorted([_written(row.chosen), _written(row.rejected)])
        return _digest([_written(row.prompt), *sides]), _written(row.chosen) == sides[0]
    if row.label is not None:
        return _digest([_written(row.prompt), _written(row.completion)]), row.label
    return None


def _written(side: Side | None) -> str:
    return json.dumps(side, sort_keys=True, default=str)


def _digest(parts: list[str]) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("ascii"), digest_size=16).digest()


def _say_contradiction(row: Example, before: int, observations: Observations) -> None:
    if row.label is None:
        what = f"prefers the answer that row {before} rejects, with the same prompt and the same two answers"
    else:
        what = f"the same prompt and answer as row {before}, with the other label"
    observations.row(
        "D163",
        row.file,
        row.row,
        what,
        line=row.line,
        fix="keep the judgement that is meant, and delete the other row",
        parameters=("data_path",),
        key="contradicts",
    )


def check_near_duplicates(rows: Sequence[Example], observations: Observations) -> None:
    """A warning where a large share of the rows is nearly an earlier one."""
    fewest = max(FEWEST_REPEATED, LARGE_SHARE * len(rows))
    pairs = near_duplicates(rows, fewest)
    if len(pairs.pairs) < fewest:
        return
    before, row = pairs.pairs[0]
    message = (
        f"{row.file}, row {row.row}: nearly the same as row {before.row}; so are {len(pairs.pairs)} of {pairs.compared} rows, "
        "each like an earlier one in nine of ten runs of five words"
    )
    _say("D161", message, "keep one of each", row, "data_path", observations)


def check_near_overlap(
    train: Sequence[Example], valid: Sequence[Example], flag: str, observations: Observations
) -> None:
    """A warning where rows of the evaluation data are nearly rows that are trained on."""
    fewest = max(1, OVERLAPPING_SHARE * len(valid))
    pairs = near_overlap(train, valid, fewest)
    if len(pairs.pairs) < fewest:
        return
    trained, row = pairs.pairs[0]
    message = (
        f"{row.file}, row {row.row} ({flag}) is nearly row {trained.row} of {trained.file}, which is trained on: "
        f"{plural(len(pairs.pairs), 'row')} of {pairs.compared} will look better than they are"
    )
    parameter = flag.removeprefix("--").replace("-", "_")
    _say("D162", message, f"delete such rows from {row.file}", row, parameter, observations)


def _say(code: str, message: str, fix: str, row: Example, parameter: str, observations: Observations) -> None:
    observations.say(
        code,
        message,
        fix=fix,
        severity=WARNING,
        file=row.file,
        row=row.row,
        line=row.line,
        parameters=(parameter,),
    )
