"""Tokens of chat templates in the rows' own text: those that the tokenizer doesn't know, and those that the chat template writes once more.

Looked for in the first rows, and only said where a share of them holds such tokens: a text may well quote one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from autotrain_llm.data.chat.template import SENTINEL, ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import WARNING
from autotrain_llm.declare.text import plural

if TYPE_CHECKING:
    from autotrain_llm.data.tokenize.render import RowRenderer

LOOKED_AT, LETTERS = 1000, 20_000  # rows, and letters of each of their texts
SHARE, FEWEST = 0.1, 2
# Tokens of well-known tokenizers that are nothing else. `<|user|>` is not among them: templates write it as plain text on purpose.
ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<｜end▁of▁sentence｜>")
STARTS = (
    "<|im_start|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<start_of_turn>", "<｜User｜>",
    "<｜Assistant｜>", "<｜begin▁of▁sentence｜>",
)  # fmt: skip
TOKENS = re.compile("|".join(map(re.escape, (*ENDS, *STARTS))))
AT_THE_END = re.compile(r"(?:</s>|<eos>|<\|end\|>)\s*\Z")  # elsewhere these may be marks of a page
# The first tokens of every `scratch:` model's tokenizer, in their order.
FIRST_OF_NEW = ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>")
# What stands around turns and is never said in one.
TURN_MARK = re.compile(r"<\|\w+\|>|<\w+_of_turn>|\[/?INST\]|<｜[\w▁]+｜>")


def check_markers(renderer: RowRenderer, observations: Observations) -> None:
    """Look for both in the rows that are trained on."""
    rows = list(islice(iter(renderer.dataset.train), LOOKED_AT))
    own = turn_marks(renderer.template) if renderer.template is not None and renderer.renders else []
    if own:
        _check_twice(renderer, rows, own, observations)
    if not _is_new(renderer.tokenizer):
        _check_unknown(renderer, rows, own, observations)


def _is_new(tokenizer: Tokenizer) -> bool:
    """Whether this is a tokenizer of a new model, trained on rows: no token of others is missing there."""
    return [tokenizer.id_of(token) for token in FIRST_OF_NEW] == list(range(len(FIRST_OF_NEW)))


def turn_marks(template: ChatTemplate) -> list[str]:
    """The marks that a template writes around the turns of a conversation."""
    asked, answered = ({"role": role, "content": SENTINEL} for role in ("user", "assistant"))
    try:
        text = template.render([asked, answered])
    except ChatTemplateError:
        return []
    return list(dict.fromkeys(TURN_MARK.findall(text)))


def _check_twice(renderer: RowRenderer, rows: list[Example], own: list[str], observations: Observations) -> None:
    """A warning where turns already hold what the template writes around them."""
    pattern = re.compile("|".join(map(re.escape, own)))
    end = renderer.template.end_token if renderer.template is not None else None
    found = []
    for row in rows:
        held = (
            {mark for text in row.strings() for mark in pattern.findall(text, 0, LETTERS)}
            if renderer.is_conversation(row)
            else set()
        )
        if held - {end}:  # an answer that brings its end with it is spoken of by itself
            found.append((row, [mark for mark in own if mark in held]))
    if not _are_many(found, rows):
        return
    row, marks = found[0]
    message = (
        f"{row.file}, row {row.row}: the content of its turns holds {_listed(marks)}, which the chat template writes around them "
        f"as well: they come twice ({len(found)} of {_of(renderer, rows)})"
    )
    fix = "leave them out of the content, or write the whole conversation as text, in a column text"
    observations.say(
        "D170", message, fix=fix, severity=WARNING, parameters=("data_path",), file=row.file, row=row.row, line=row.line
    )


def _check_unknown(renderer: RowRenderer, rows: list[Example], own: list[str], observations: Observations) -> None:
    """A warning where texts hold tokens that another tokenizer would know."""
    tokenizer = renderer.tokenizer
    found = []
    for row in rows:
        held = [mark for text in row.strings() for mark in _tokens_in(text)]
        unknown = [mark for mark in dict.fromkeys(held) if tokenizer.id_of(mark) is None and mark not in own]
        if unknown:
            found.append((row, unknown))
    if not _are_many(found, rows):
        return
    row, marks = found[0]
    ends = all(mark in ENDS or AT_THE_END.match(mark) for mark in marks)
    are_no_tokens = "which is no token" if len(marks) == 1 else "which are no tokens"
    message = (
        f"{row.file}, row {row.row}: its text holds {_listed(marks)}, {are_no_tokens} of this tokenizer (its eos_token is "
        f"{tokenizer.eos}): read as plain text, in several pieces each ({len(found)} of {_of(renderer, rows)})"
    )
    if renderer.is_conversation(row):
        mend = "leave them out of the turns"
    elif not ends:
        mend = "write the rows as messages, which a chat template turns into text"
    else:
        mend = "leave it out: the end is marked anyway" if renderer.preparation.add_eos else f"write {tokenizer.eos}"
    fix = f"{mend}, or --model with one whose tokenizer has {marks[0]}"
    observations.say(
        "D168",
        message,
        fix=fix,
        severity=WARNING,
        parameters=("data_path", "model"),
        file=row.file,
        row=row.row,
        line=row.line,
    )


def _tokens_in(text: str) -> Iterable[str]:
    last = AT_THE_END.search(text, max(len(text) - 20, 0))
    return [*TOKENS.findall(text, 0, LETTERS), *([last[0].strip()] if last else [])]


def _are_many(found: list[tuple[Example, list[str]]], rows: list[Example]) -> bool:
    return bool(found) and len(found) >= min(max(FEWEST, SHARE * len(rows)), len(rows))


def _of(renderer: RowRenderer, rows: list[Example]) -> str:
    some = "the first " if len(rows) == LOOKED_AT < len(renderer.dataset.train) else ""
    return some + plural(len(rows), "row")


def _listed(marks: list[str]) -> str:
    return " and ".join(marks[:2]) if len(marks) < 3 else ", ".join(marks[:3])
