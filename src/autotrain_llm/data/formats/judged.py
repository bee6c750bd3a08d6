"""Rows with several answers and a judgement of them, as preference pairs: two answers and a column that says which is better, or a list of
answers with a rating of each. Only what the rows say in so many words is read; a number whose direction nobody states is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotrain_llm.data.files.read import Row
from autotrain_llm.data.formats.column_names import CHOSEN, REJECTED
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.turns import is_conversation, parsed
from autotrain_llm.data.wording import plain

ANSWERS = re.compile(
    r"response|answer|completion|output|conversation|reply|generation|summary|assistant|text|\bref\Z|_ref\Z"
)
SIGNS = {"a": "b", "0": "1", "1": "2"}
VERDICT = re.compile(r"winner|prefer|better|best|chosen|choice|verdict|vote|safer|judg")
TIES = re.compile(r"tie|both|equal|same|neither|none|draw|unsure|skip")
TEXT_KEYS = ("response", "answer", "completion", "output", "generation", "text", "content")
RATING_KEYS = ("overall_score", "rating", "score", "reward", "rank")
LISTS_OF_ANSWERS = (
    "responses",
    "completions",
    "answers",
    "outputs",
    "generations",
    "candidates",
    "generated_responses",
)
LISTS_OF_RATINGS = ("ratings", "scores", "rewards", "ranks", "rating", "score", "reward", "rank")

# The better and the worse answer of a row; None if they are judged to be equal, or not judged.
Comparison = Callable[[Row], tuple[Any, Any] | None]


@dataclass(frozen=True)
class JudgedAnswers:
    """How pairs are made of rows: `answers` and `verdicts` are the columns that are read, `how` is the choice in words."""

    answers: tuple[str, ...]
    verdicts: tuple[str, ...]
    how: str
    compare: Comparison

    def pair(self, row: Row) -> Row | None:
        """The row with columns `chosen` and `rejected` in place of the answers and their judgement; None without a better answer."""
        sides = self.compare(row)
        if sides is None:
            return None
        others = {name: value for name, value in row.items() if name not in (*self.answers, *self.verdicts)}
        return others | {"chosen": sides[0], "rejected": sides[1]}


def judged_answers(columns: Columns) -> JudgedAnswers | None:
    """How these rows are made into pairs; None if they have a pair already, or no judgement that can be read without a guess."""
    if columns.find(REJECTED) is not None or columns.find(CHOSEN[:4]) is not None:
        return None
    return _two_answers(columns) or _rated_objects(columns) or _rated_lists(columns)


def signs_of_two_answers(columns: Columns) -> dict[str, str] | None:
    """The columns of two answers by the sign that their names end with: a and b, 0 and 1, or 1 and 2; None if there are not exactly two."""
    by_stem: dict[str, dict[str, str]] = {}
    for name in columns.names:
        match = re.fullmatch(r"(.*?)_?([ab012])", plain(name))
        if match and ANSWERS.search(match[1]) and columns.kind(name) in ("text", "turns", "written turns"):
            by_stem.setdefault(match[1], {})[match[2]] = name
    pairs = [signs for signs in by_stem.values() if len(signs) == 2 and SIGNS.get(min(signs)) == max(signs)]
    return dict(sorted(pairs[0].items())) if len(pairs) == 1 else None


def _two_answers(columns: Columns) -> JudgedAnswers | None:
    """`response_a`, `response_b` and `winner`; the verdict has to name one of the two in every row that is no tie."""
    signs = signs_of_two_answers(columns)
    if signs is None:
        return None
    (one, first), (two, second) = signs.items()
    verdicts = [name for name in columns.names if VERDICT.search(plain(name)) and name not in (first, second)]
    named = [name for name in verdicts if _names_one(columns.values[name], one, two)]
    flags = {sign: [name for name in verdicts if _is_flag_of(columns, name, sign)] for sign in (one, two)}
    if len(named) == 1:
        verdict = named[0]
        used: tuple[str, ...] = (verdict,)

        def sign_of(row: Row) -> str | None:
            return _sign(row.get(verdict), one, two)

        how = f"{verdict} names the better one"
    elif not named and all(len(names) == 1 for names in flags.values()):
        of_one, of_two = flags[one][0], flags[two][0]
        stem = plain(of_one)[: -len(one)]
        used = tuple(name for name in verdicts if plain(name).startswith(stem[:4]))

        def sign_of(row: Row) -> str | None:
            marks = (_is_on(row.get(of_one)), _is_on(row.get(of_two)))
            return None if marks[0] == marks[1] else one if marks[0] else two

        how = f"{of_one} and {of_two} mark the better one"
    else:
        return None

    def compare(row: Row) -> tuple[Any, Any] | None:
        sign = sign_of(row)
        if sign is None:
            return None
        return (row.get(first), row.get(second)) if sign == one else (row.get(second), row.get(first))

    return JudgedAnswers((first, second), used, f"{first} against {second}: {how}", compare)


def _sign(value: Any, one: str, two: str) -> str | None:
    """Which of two answers a verdict names, `model_a`, `B` or 1; None for a tie."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    words = plain(f"{value:g}" if isinstance(value, float) else str(value))
    last = re.fullmatch(r"(?:.*[^a-z0-9])?([ab012])", words)
    return last[1] if last and last[1] in (one, two) else None


def _names_one(values: list[Any], one: str, two: str) -> bool:
    """Whether every verdict names one of the answers or is a tie, and each of them is named."""
    signs = {_sign(value, one, two) for value in values}
    unnamed = [value for value in values if _sign(value, one, two) is None]
    return {one, two} <= signs and all(isinstance(value, str) and TIES.search(plain(value)) for value in unnamed)


def _is_on(mark: Any) -> bool:
    return mark in (1, "1")


def _is_flag_of(columns: Columns, name: str, sign: str) -> bool:
    """Whether a column has 0 or 1 for whether one answer, the one with this sign, is the better one."""
    values = columns.values[name]
    return (
        re.search(rf"(?:_|\b){sign}\Z", plain(name)) is not None
        and bool(values)
        and all(value in (0, 1, "0", "1") for value in values)
    )


def _rated_objects(columns: Columns) -> JudgedAnswers | None:
    """A list of objects with an answer and its rating in each, as `completions` of UltraFeedback and `answers` of Nectar."""
    found = [name for name in columns.names if columns.kind(name) == "list" and _keys_of(columns.values[name])]
    if len(found) != 1:
        return None
    column = found[0]
    text, rating = _keys_of(columns.values[column]) or ("", "")

    def compare(row: Row) -> tuple[Any, Any] | None:
        answers = [one for one in row.get(column) or () if isinstance(one, dict)]
        return _best_and_worst([one.get(text) for one in answers], [one.get(rating) for one in answers], rating)

    return JudgedAnswers((column,), (), _in_words(column, rating), compare)


def _keys_of(cells: list[Any]) -> tuple[str, str] | None:
    """The keys of the answer and of its rating in lists of objects."""
    objects = [part for cell in cells if isinstance(cell, list) for part in cell]
    if not objects or not all(isinstance(part, dict) for part in objects) or max(map(len, cells)) < 2:
        return None
    texts = [key for key in TEXT_KEYS if all(isinstance(part.get(key), str) for part in objects)]
    ratings = [key for key in RATING_KEYS if all(_number(part.get(key)) is not None for part in objects)]
    return (texts[0], ratings[0]) if texts and ratings and not is_conversation(objects) else None


def _rated_lists(columns: Columns) -> JudgedAnswers | None:
    """A list of answers, and next to it a list of as many ratings."""
    answers = columns.find(LISTS_OF_ANSWERS, "texts", "list")
    ratings = columns.find(LISTS_OF_RATINGS, "list")
    if (
        answers is None
        or ratings is None
        or not all(_are_parallel(row.get(answers), row.get(ratings)) for row in columns.rows)
    ):
        return None

    def compare(row: Row) -> tuple[Any, Any] | None:
        return _best_and_worst(row.get(answers) or [], row.get(ratings) or [], ratings)

    return JudgedAnswers((answers,), (ratings,), _in_words(answers, ratings), compare)


def _are_parallel(answers: Any, ratings: Any) -> bool:
    return (
        isinstance(answers, list)
        and isinstance(ratings, list)
        and len(answers) == len(ratings)
        and all(isinstance(answer, str) for answer in answers)
        and all(type(rating) in (int, float) for rating in ratings)
    )


def _in_words(answers: str, rating: str) -> str:
    better = "lowest" if "rank" in plain(rating) else "highest"
    worse = "lowest" if better == "highest" else "highest"
    return f"the one of {answers} with the {better} {rating} is chosen, and the one with the {worse} rejected"


def _best_and_worst(answers: list[Any], ratings: list[Any], name: str) -> tuple[Any, Any] | None:
    """The answers with the best and the worst rating, the first of each; None if all ratings are the same. A rank is better the lower it is."""
    sign = -1 if "rank" in plain(name) else 1
    rated = [(sign * number, answer) for answer, rating in zip(answers, ratings, strict=False)
             if answer and (number := _number(rating)) is not None]  # fmt: skip
    if len({number for number, _ in rated}) < 2:
        return None
    return max(rated, key=lambda one: one[0])[1], min(rated, key=lambda one: one[0])[1]


def _number(value: Any) -> float | None:
    """A rating as a number; also one that is written as text."""
    value = parsed(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number else None
