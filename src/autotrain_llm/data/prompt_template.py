"""Insert the prompts of a data set into a template: `--student-prompt-template`, `--teacher-prompt-template`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.disk_examples import TransformedExamples
from autotrain_llm.data.example import Example, Message, Side

PLACE = "{prompt}"


def with_prompts(dataset: Dataset, template: str) -> Dataset:
    """The same rows with each prompt inserted into the template: a text as a whole, of a conversation each user turn."""
    digest = hashlib.blake2b(f"{dataset.fingerprint}\n{template}".encode(), digest_size=16)
    return dataclasses.replace(
        dataset,
        train=_all_templated(dataset.train, template),
        valid=_all_templated(dataset.valid, template),
        fingerprint=digest.hexdigest(),
    )


def _all_templated(rows: Sequence[Example], template: str) -> Sequence[Example]:
    if not isinstance(rows, list):
        return TransformedExamples(rows, partial(_templated, template=template))
    return [_templated(example, template) for example in rows]


def has_prompts(dataset: Dataset) -> bool:
    """Whether any row has a prompt to put in a template."""
    return any(_has_prompt(example) for example in chain(dataset.train, dataset.valid))


def _has_prompt(example: Example) -> bool:
    sides: list[Any] = [example.prompt, example.messages, example.chosen]
    return isinstance(example.prompt, str) or any(
        turn["role"] == "user" for side in sides if isinstance(side, list) for turn in side
    )


def _templated(example: Example, template: str) -> Example:
    if not _has_prompt(example):
        return example
    changed: dict[str, Any] = {"prompt": _side(example.prompt, template), "messages": _side(example.messages, template)}
    if example.prompt is None and example.messages is None:  # conversations that hold their own question
        changed |= {name: _turns(getattr(example, name), template) for name in ("chosen", "rejected")}
    return dataclasses.replace(example, **changed, _key=b"")


def _side(side: Side | None, template: str) -> Side | None:
    return template.replace(PLACE, side) if isinstance(side, str) else _turns(side, template)


def _turns(side: Any, template: str) -> Any:
    if not isinstance(side, list):
        return side
    return [_turn(turn, template) for turn in side]


def _turn(turn: Message, template: str) -> Message:
    content = turn.get("content")
    if turn["role"] != "user" or not isinstance(content, str):
        return turn
    return {**turn, "content": template.replace(PLACE, content)}
