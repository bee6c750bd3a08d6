"""Checks across rows: rows that contradict, repeat or overlap others, damaged characters, and secrets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import unescape
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
from autotrain_llm.data.rules.content import text_holds_damaged_characters, text_holds_escapes
from autotrain_llm.data.rules.preferences import two_rows_contradict_each_other
from autotrain_llm.data.rules.splits import (
    evaluation_rows_are_near_duplicates_of_training_rows,
    many_rows_are_near_duplicates,
)
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.text import plural

# Separate evaluation sets always share some rows with the training data by chance; a share above this is worth a finding.
OVERLAPPING_SHARE = 0.01
JUDGED = ("preference", "prompt/completion/label")
# What a wrong reading leaves behind, and the share of rows from which on it is no quotation.
DAMAGED = {
    "a replacement character, in place of one that was lost when the text was made": re.compile("\ufffd"),
    "a null character": re.compile("\0"),
    "UTF-8 that was read as another encoding": re.compile(
        "\u00c3[\u0080-\u00bf\u0178\u0152\u0153]|\u00e2\u20ac[\u0080-\u2122]|\u00c2[\u00a0-\u00bf]"
    ),
}
DAMAGED_SHARE = 0.05
# An escape that was written into the text: a line break in a text without any (not before a small letter, as in LaTeX's \nabla, nor inside quotes, as in code and JSON), and
# a character of HTML in a text without a tag.
LINE_BREAK = re.compile(r"\\n(?![a-z])")
QUOTED_LINE_BREAK = re.compile(r"""(["'`])(?:(?!\1).)*\\n(?:(?!\1).)*\1""")
ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,5});")
TAG = re.compile(r"</?[a-zA-Z!][^<>]*>|```")
ESCAPED_SHARE = 0.2
AROUND = 15  # characters of a text that are shown before and after an escape


@dataclass(frozen=True)
class RowChecks:
    """The findings, and which rows were not checked, in words."""

    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()


def check_rows(dataset: Dataset, *, most: int | None = None, secrets: bool = False, seed: int = 42) -> RowChecks:
    """Compare the rows of a data set (the first `most` of each side) with each other."""
    observations = Observations()
    train, valid = _first(dataset.train, most), _first(dataset.valid, most)
    not_checked: list[str] = []
    if len(train) < len(dataset.train):
        not_checked.append(f"rows after the first {most} were not compared with others")
    if dataset.format in JUDGED:
        check_contradictions(train, observations)
    sample, valid_sample = sampled(train, MOST_ROWS, seed), sampled(valid, MOST_EVALUATION_ROWS, seed)
    if len(sample) < len(train) or len(valid_sample) < len(valid):
        not_checked.append(
            f"near duplicates were only searched for among {_of(sample, train, valid, valid_sample)}, sampled with the seed"
        )
    check_letters(sample, observations)
    check_escapes(sample, observations)
    check_near_duplicates(sample, observations)
    if valid_sample and (flag := _flag_of(dataset)):
        check_near_overlap(sample, valid_sample, flag, observations)
    if secrets:
        check_secrets([*train, *valid] if most else _both(dataset), observations)
    return RowChecks(observations.findings(), tuple(not_checked))


def _first(rows: Sequence[Example], most: int | None) -> Sequence[Example]:
    return rows if most is None or len(rows) <= most else list(islice(iter(rows), most))


def _both(dataset: Dataset) -> Iterable[Example]:
    yield from dataset.train
    yield from dataset.valid


def _of(
    sample: Sequence[Example], train: Sequence[Example], valid: Sequence[Example], valid_sample: Sequence[Example]
) -> str:
    described = f"{len(sample)} of {plural(len(train), 'row')}"
    return described + (f" and {len(valid_sample)} of {len(valid)} for evaluation" if valid else "")


def _flag_of(dataset: Dataset) -> str | None:
    """The flag that names a separate evaluation set; None if its rows were held out of the training data."""
    if dataset.eval_path is not None:
        return EVAL_FLAG
    return "--valid-split" if (dataset.valid_from or "").startswith("the split ") else None


def check_letters(rows: Sequence[Example], observations: Observations) -> None:
    """Report characters that were lost, or decoded with the wrong encoding, if many rows have them."""
    texts_of_rows = [(row, [text for text in row.strings() if not text.isascii() or "\0" in text]) for row in rows]
    suspected = [(row, texts) for row, texts in texts_of_rows if texts]
    for kind, pattern in DAMAGED.items():
        damaged = [row for row, texts in suspected if any(map(pattern.search, texts))]
        if not damaged or len(damaged) < DAMAGED_SHARE * len(rows):
            continue
        characters = next(match[0] for match in map(pattern.search, damaged[0].strings()) if match)
        facts = {"kind": kind, "characters": characters, "count": len(damaged), "rows": len(rows)}
        observations.row(text_holds_damaged_characters, damaged[0], **facts)


def check_escapes(rows: Sequence[Example], observations: Observations) -> None:
    """Report escapes in place of the characters that they stand for, if many rows have them: `\\n` for a line break, `&amp;` for &."""
    for escape_of in (_escaped_line_break, _entity):
        escaped = [(row, found) for row in rows if (found := next(filter(None, map(escape_of, row.answers())), None))]
        if escaped and len(escaped) >= ESCAPED_SHARE * len(rows):
            row, (escape, meant, around) = escaped[0]
            facts = {"escape": escape, "meant": meant, "around": around, "count": len(escaped), "rows": len(rows)}
            observations.row(text_holds_escapes, row, **facts)


def _escaped_line_break(text: str) -> tuple[str, str, str] | None:
    match = LINE_BREAK.search(text) if "\\n" in text and "\n" not in text else None
    return None if match is None or QUOTED_LINE_BREAK.search(text) else ("\\n", "a line break", _around(text, match))


def _entity(text: str) -> tuple[str, str, str] | None:
    match = ENTITY.search(text) if "&" in text else None
    return None if match is None or TAG.search(text) else (match[0], repr(unescape(match[0])), _around(text, match))


def _around(text: str, match: re.Match[str]) -> str:
    return " ".join(text[max(0, match.start() - AROUND) : match.end() + AROUND].split())


def check_contradictions(rows: Iterable[Example], observations: Observations) -> None:
    """Report rows that contradict each other: two answers to one prompt preferred both ways, or one answer labelled both ways."""
    seen: dict[bytes, tuple[bool, int]] = {}
    for row in rows:
        judged = _judgement(row)
        if judged is None:
            continue
        judged_content, verdict = judged
        before, earlier = seen.setdefault(judged_content, (verdict, row.row))
        if before != verdict:
            facts = {"earlier": earlier, "labelled": row.label is not None}
            observations.row(two_rows_contradict_each_other, row, "contradicts", **facts)


def _judgement(row: Example) -> tuple[bytes, bool] | None:
    """The content that a row judges, the same for either verdict, and the verdict; None for a row without one."""
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


def check_near_duplicates(rows: Sequence[Example], observations: Observations) -> None:
    """Report near duplicates, if they are a large share of the rows."""
    fewest = max(FEWEST_REPEATED, LARGE_SHARE * len(rows))
    duplicates = near_duplicates(rows, fewest)
    if len(duplicates.pairs) < fewest:
        return
    earlier, row = duplicates.pairs[0]
    facts = {"earlier": earlier.row, "duplicates": len(duplicates.pairs), "rows": duplicates.compared}
    observations.row(many_rows_are_near_duplicates, row, **facts)


def check_near_overlap(
    train: Sequence[Example], valid: Sequence[Example], flag: str, observations: Observations
) -> None:
    """Report evaluation rows that are near duplicates of training rows."""
    fewest = max(1, OVERLAPPING_SHARE * len(valid))
    duplicates = near_overlap(train, valid, fewest)
    if len(duplicates.pairs) < fewest:
        return
    trained, row = duplicates.pairs[0]
    facts = {"trained_file": trained.file, "trained_row": trained.row, "flag": flag, "file": row.file}
    facts |= {"duplicates": len(duplicates.pairs), "rows": duplicates.compared}
    observations.row(evaluation_rows_are_near_duplicates_of_training_rows, row, **facts)
