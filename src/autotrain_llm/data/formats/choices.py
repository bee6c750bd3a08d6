"""The choices of a question: their columns, the column that names the right one, and the label of the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autotrain_llm.data.formats.column_names import CHOICES, ONE_CHOICE
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.wording import plain

SIGN_IN_A_NAME = re.compile(r"(.*?)((?<![a-z0-9])[a-h0-9](?![a-z0-9])|(?<=[a-z])[0-9](?![a-z0-9]))(.*)")
BETWEEN_SIGNS = re.compile(r"\s*[,;/|]\s*|\s+")
KEYS_OF_CHOICES = (
    "label", "gold", "answer_index", "answer_idx", "correct_index", "correct_answer_index", "correct_choice_index", "gt"
)  # fmt: skip


def choices_in(columns: Columns) -> list[str]:
    """The column of the choices of each question, or the columns of one choice each."""
    whole = columns.find(CHOICES, "list", "texts", "object", "text")
    if whole is not None:
        return [whole]
    choices_by_name: dict[str, list[tuple[str, str]]] = {}
    for name in columns.names:
        match = ONE_CHOICE.fullmatch(plain(name))
        if match:
            choices_by_name.setdefault(plain(name)[: match.start(1)], []).append((match[1], name))
    for of_one_name in choices_by_name.values():
        signs = [sign for sign, _ in sorted(of_one_name)]
        if (
            len(signs) > 1
            and any("".join(signs) in order for order in ("abcdefgh", "0123456789"))
            and signs[0] in "a01"
        ):
            return [name for _, name in sorted(of_one_name)]
    return []


def numbers_of_choices(columns: Columns) -> tuple[list[str], str] | None:
    """A list of choices in each row, and a column with the number of the right one."""
    choices = columns.find(CHOICES, "list", "texts")
    key = columns.find(KEYS_OF_CHOICES, "number", "text") if choices is not None else None
    if choices is None or key is None:
        return None
    sizes = [
        (str(row.get(key)), len(row.get(choices) or ())) for row in columns.rows if isinstance(row.get(choices), list)
    ]
    are_numbers = all(number.isdecimal() and int(number) <= size for number, size in sizes)
    return ([choices], key) if sizes and are_numbers else None


def numbered_choices(columns: Columns) -> tuple[list[str], str] | None:
    """Columns of one choice each, whose names differ in a letter or a number alone, `Antwort A` or `Answer 1 - max 75 characters`, and the only other column
    whose cells name some of them, `B` or `1,3`; None where there is no such column."""
    by_name: dict[tuple[str, str], dict[str, str]] = {}
    for name in columns.names:
        match = SIGN_IN_A_NAME.fullmatch(plain(name))
        if match:
            by_name.setdefault((match[1], match[3]), {})[match[2]] = name
    for name in columns.names:
        cells = columns.values[name]
        if cells and all(isinstance(cell, dict) and len(cell) > 1 for cell in cells):  # {"A": "…", "B": "…"}
            letters = {str(letter).strip().lower() for letter in cells[0]}
            by_name.setdefault(
                (name, ""), dict.fromkeys(letters, name) if all(len(one) == 1 for one in letters) else {}
            )
    for signs in by_name.values():
        names = [signs[sign] for sign in sorted(signs)]
        if len(signs) < 2 or not any("".join(sorted(signs)) in order for order in ("abcdefgh", "0123456789")):
            continue
        from_zero = {str(int(sign) - 1) for sign in signs if sign.isdigit()}  # 0 for `sol1`
        keys = [
            name
            for name in columns.names
            if name not in names and any(_name_choices(columns.values[name], named) for named in ({*signs}, from_zero))
        ]
        if len(keys) == 1 and min(signs) in "a01":
            return list(dict.fromkeys(names)), keys[0]
    return None


def _name_choices(values: Sequence[Any], signs: set[str]) -> bool:
    """Whether each cell names one or several of some choices, and not all the same."""
    parts = [set(BETWEEN_SIGNS.split(str(value).strip().lower())) for value in values]
    return len(parts) > 1 and all(part <= signs for part in parts) and len(set().union(*parts)) > 1


def first_choice(columns: Columns, roles: dict[str, str], choices: Sequence[str]) -> tuple[str, bool]:
    """The label of the first choice: a letter; or, where the answers are numbers, 0 or 1. And whether that number is only assumed."""
    answer = next((roles[role] for role in ("completion", "output", "chosen", "reference") if role in roles), "")
    digits = {sign for value in columns.values.get(answer, []) for sign in BETWEEN_SIGNS.split(str(value).strip())}
    if not choices or not digits or not all(value.isdigit() and len(value) == 1 for value in digits):
        return "A", False
    sign = SIGN_IN_A_NAME.fullmatch(plain(choices[0]))
    last = sign[2] if sign else plain(choices[0])[-1]
    if len(choices) > 1 and last.isdigit():  # option1, option2
        return "0" if "0" in digits else last, False
    cells = columns.values[choices[0]]
    sizes = [len(cell.get("text", cell)) for cell in cells if isinstance(cell, dict)] + [
        len(cell) for cell in cells if isinstance(cell, list)
    ]
    most = len(choices) if len(choices) > 1 else max(sizes, default=0)
    if str(most) in digits:
        return "1", False
    return "0", "0" not in digits
