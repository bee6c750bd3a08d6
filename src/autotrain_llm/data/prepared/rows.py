"""Examples as rows of JSON, and back: the keys of a row are the fields of an `Example`, and its other columns stand beside them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from autotrain_llm.data.dataset import role_kind
from autotrain_llm.data.disk_examples import FIELDS
from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.formats.token_rows import TOKENS

PARTS = tuple(name for name in FIELDS if name not in ("file", "row", "line", "extra"))
ROLE_OF = {"prompt": "user", "completion": "assistant", "chosen": "assistant", "rejected": "assistant"}
SIDES = tuple(ROLE_OF)
# Columns of these roles are written into the prompt already.
MERGED = ("system", "history", "input", "turn mask", "context")
TEXT, MESSAGES, PAIRS, LABELLED, PROMPTS = "text", "messages", "preference", "prompt/completion/label", "prompts"
ANSWERS, BOTH = "prompt/completion", "messages and prompt/completion"
COLUMNS = {
    TEXT: ("text",),
    MESSAGES: ("messages",),
    BOTH: ("messages", "prompt", "completion"),
    ANSWERS: ("prompt", "completion"),
    PAIRS: ("prompt", "chosen", "rejected"),
    LABELLED: ("prompt", "completion", "label"),
    PROMPTS: ("prompt",),
    TOKENS: ("input_ids", "loss_mask"),
}


class Shape(NamedTuple):
    """Which columns a row has, and whether its sides are turns. `grade` is the column of its scores or of its class."""

    name: str
    turns: bool
    grade: str | None = None

    @property
    def title(self) -> str:
        """The shape in words: `prompt/completion of turns with scores`."""
        grade = {"scores": " with scores", "class_name": " with a class"}.get(self.grade or "", "")
        return f"{self.name}{' of turns' if self.turns else ''}{grade}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that every row has; those of tokens may lack the mask."""
        return (*COLUMNS[self.name], *([self.grade] if self.grade else []))


def shape_of(example: Example) -> Shape:
    """The shape that a row is written in."""
    turns = any(isinstance(getattr(example, name), list) for name in SIDES)
    if example.input_ids is not None:
        return Shape(TOKENS, False)
    grade = "scores" if example.scores is not None else "class_name" if example.class_name is not None else None
    if example.text is not None:
        return Shape(TEXT, False)
    if example.chosen is not None:
        return Shape(PAIRS, turns)
    if example.label is not None:
        return Shape(LABELLED, turns)
    if example.messages is not None:
        return Shape(BOTH if example.completion is not None else MESSAGES, turns, grade)
    return Shape(ANSWERS if example.completion is not None else PROMPTS, turns, grade)


def common_shape(shapes: Collection[Shape]) -> Shape | None:
    """The shape that rows of these shapes can all be written in; None if there is none."""
    names, grades = {shape.name for shape in shapes}, {shape.grade for shape in shapes}
    if len(grades) > 1:
        return None
    if len(names) == 1:
        return Shape(names.pop(), any(shape.turns for shape in shapes), *grades)
    return Shape(MESSAGES, False, *grades) if names <= {MESSAGES, BOTH, ANSWERS} else None


def in_shape(example: Example, shape: Shape) -> Example:
    """The example in this shape: with turns in place of texts, or as one conversation."""
    if shape.name == MESSAGES and example.messages is None:
        turns = [*_turns(example.prompt, "user"), *_turns(example.completion, "assistant")]
        return replace(example, messages=turns, prompt=None, completion=None, _key=b"")
    if shape.name == MESSAGES and example.completion is not None:
        return replace(example, prompt=None, completion=None, _key=b"")
    if not shape.turns or shape.name == BOTH:
        return example
    sides = {name: getattr(example, name) for name in SIDES}
    turns_by_side: dict[str, Any] = {
        name: _turns(side, ROLE_OF[name]) for name, side in sides.items() if side is not None
    }
    return replace(example, **turns_by_side, _key=b"")


def _turns(side: Side | None, role: str) -> list[Message]:
    return [] if side is None else as_turns(side, role)


class ExtraColumns:
    """The columns that stand beside the parts of a row, under names that are no parts."""

    def __init__(self, left_out: Collection[str] = ()) -> None:
        self.left_out = left_out
        self.renamed: dict[str, str] = {}  # the name in the source, by the name in the file

    def of(self, example: Example) -> dict[str, Any]:
        """The columns of a row."""
        return {self._name(name): value for name, value in example.extra.items() if name not in self.left_out}

    def _name(self, name: str) -> str:
        if name not in PARTS:
            return name
        other = f"{name} of the source"
        self.renamed[other] = name
        return other


def merged_columns(columns: Mapping[str, str]) -> frozenset[str]:
    """The columns that are part of the prompt already; `columns` are those of a data set, by role."""
    return frozenset(column for role, column in columns.items() if role_kind(role) in MERGED)


def row_of(example: Example, extra: ExtraColumns, labels: Sequence[str] = ()) -> dict[str, Any]:
    """An example as a row; `labels` are the names of its scores."""
    parts = {name: getattr(example, name) for name in PARTS}
    if example.scores is not None:
        parts["scores"] = dict(zip(labels, example.scores, strict=True))
    return {**{name: part for name, part in parts.items() if part is not None}, **extra.of(example)}


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON; what JSON has no form for, such as a date, is written as text, and NaN as null."""
    try:
        return json.dumps(row, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(row), ensure_ascii=False, default=str)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and value - value != 0 else value


def example_of(file: str, number: int, line: int | None, row: Mapping[str, Any], renamed: Mapping[str, str]) -> Example:
    """The example of a row that `row_of` made."""
    parts: dict[str, Any] = {name: row.get(name) for name in PARTS}
    if parts["scores"] is not None:
        parts["scores"] = list(parts["scores"].values())
    extra = {renamed.get(name, name): value for name, value in row.items() if name not in PARTS}
    return Example(file, number, line, **parts, extra=extra)
