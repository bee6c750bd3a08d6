"""What chat templates write, in the rows' own text: tokens that the tokenizer doesn't have, tokens that the chat template writes again, and the
names of speakers in a conversation that is one text.

Only the first rows are searched, and a few rows with such tokens are not reported: a text may quote one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from autotrain_llm.data.chat.template import SENTINEL, ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example
from autotrain_llm.data.rules.conversations import (
    rows_hold_tokens_of_another_tokenizer,
    texts_are_written_conversations,
    turns_hold_the_markers_of_the_template,
)
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.rule import RuleFunction
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
# Markers around turns, which never occur in one.
TURN_MARK = re.compile(r"<\|\w+\|>|<\w+_of_turn>|\[/?INST\]|<｜[\w▁]+｜>")

# The name of a speaker, at the start of a line or after `###`; or in capitals anywhere, as Vicuna writes it; or a marker of a chat template.
NAMES = {
    "human": "user", "user": "user", "prompter": "user", "customer": "user", "instruction": "user", "[inst]": "user", "<|user|>": "user",
    "<|prompter|>": "user",
    "assistant": "assistant", "ai": "assistant", "bot": "assistant", "gpt": "assistant", "chatbot": "assistant", "response": "assistant",
    "[/inst]": "assistant", "<|assistant|>": "assistant",
}  # fmt: skip
ONE_NAME = "|".join(name for name in NAMES if name.isalpha())
ONE_MARKER = "|".join(re.escape(name) for name in NAMES if not name.isalpha())
SPEAKER = re.compile(
    rf"((?:(?:\A|\n)[ \t]*(?:\*\*)?|#{{2,4}}[ \t]*)(?:{ONE_NAME})(?:\*\*)?[ \t]*:|\b(?-i:USER|ASSISTANT):|{ONE_MARKER})",
    re.IGNORECASE,
)
MOST_BEFORE = 400  # characters of a preamble before the first speaker


def check_markers(renderer: RowRenderer) -> None:
    """Search the training rows for all of them."""
    rows = list(islice(iter(renderer.dataset.train), LOOKED_AT))
    _check_speakers(renderer, rows)
    own = turn_marks(renderer.template) if renderer.template is not None and renderer.renders else []
    if own:
        _check_twice(renderer, rows, own)
    if not _is_new(renderer.tokenizer):
        _check_unknown(renderer, rows, own)


def _is_new(tokenizer: Tokenizer) -> bool:
    """Whether this is a tokenizer of a new model, trained on rows: no token of others is missing there."""
    return [tokenizer.id_of(token) for token in FIRST_OF_NEW] == list(range(len(FIRST_OF_NEW)))


def turn_marks(template: ChatTemplate) -> list[str]:
    """The markers that a template writes around the turns of a conversation."""
    question, answer = ({"role": role, "content": SENTINEL} for role in ("user", "assistant"))
    try:
        text = template.render([question, answer])
    except ChatTemplateError:
        return []
    return list(dict.fromkeys(TURN_MARK.findall(text)))


def _check_twice(renderer: RowRenderer, rows: list[Example], own: list[str]) -> None:
    """Whether turns already hold what the template writes around them."""
    pattern = re.compile("|".join(map(re.escape, own)))
    end = renderer.template.end_token if renderer.template is not None else None
    marked = []
    for row in rows:
        if not renderer.is_conversation(row):
            continue
        markers = {marker for text in row.strings() for marker in pattern.findall(text, 0, LETTERS)}
        if markers - {end}:  # an answer that brings its end with it has a finding of its own
            marked.append((row, [marker for marker in own if marker in markers]))
    if _are_many(marked, rows):
        _observe(renderer, turns_hold_the_markers_of_the_template, marked, rows, markers=marked[0][1])


def _check_speakers(renderer: RowRenderer, rows: list[Example]) -> None:
    """Whether most texts are conversations of which the model's chat template writes nothing."""
    if renderer.template is None or renderer.preparation.block:
        return
    own = turn_marks(renderer.template)
    found = [(row, names) for row in rows if (names := speakers_in(_texts_before_answers(row)))]
    spoken = [(row, list(names)) for row, names in found if own.count(names[0]) == 0]
    if not spoken or len(spoken) * 2 < len(rows):
        return
    user, assistant = spoken[0][1]
    is_text = spoken[0][0].text is not None and not renderer.preparation.scored
    facts = {"user": user, "assistant": assistant, "is_text": is_text}
    _observe(renderer, texts_are_written_conversations, spoken, rows, **facts)


def _texts_before_answers(row: Example) -> str:
    """The text of a row, or its prompt and answer where they are texts."""
    sides = (row.text, row.prompt, row.completion, row.chosen) if row.messages is None else ()
    return "".join(side[:LETTERS] for side in sides if isinstance(side, str))


def speakers_in(text: str) -> tuple[str, str] | None:
    """The names of the first two speakers of a conversation that is one text, as they are written; None if it is no such text."""
    first: tuple[str, str] | None = None
    for match in SPEAKER.finditer(text):
        written = match[1].strip(" \t\n*#")
        role = NAMES[written.rstrip(" \t*:").lower()]
        if first is None and (role != "user" or match.start() > MOST_BEFORE):
            return None
        if first is not None and role == "assistant":
            return first[1], written
        first = first or (role, written)
    return None


def _check_unknown(renderer: RowRenderer, rows: list[Example], own: list[str]) -> None:
    """Whether texts hold tokens that another tokenizer would know."""
    tokenizer = renderer.tokenizer
    marked = []
    for row in rows:
        tokens = dict.fromkeys(token for text in row.strings() for token in _tokens_in(text))
        unknown = [token for token in tokens if tokenizer.id_of(token) is None and token not in own]
        if unknown:
            marked.append((row, unknown))
    if not _are_many(marked, rows):
        return
    row, markers = marked[0]
    if renderer.is_conversation(row):
        case = "turns"
    elif not all(marker in ENDS or AT_THE_END.match(marker) for marker in markers):
        case = "text"
    else:
        case = "end is marked" if renderer.preparation.add_eos else "end"
    facts = {"markers": markers, "eos": tokenizer.eos, "case": case}
    _observe(renderer, rows_hold_tokens_of_another_tokenizer, marked, rows, **facts)


def _tokens_in(text: str) -> Iterable[str]:
    last = AT_THE_END.search(text, max(len(text) - 20, 0))
    return [*TOKENS.findall(text, 0, LETTERS), *([last[0].strip()] if last else [])]


def _are_many(marked: list[tuple[Example, list[str]]], rows: list[Example]) -> bool:
    return bool(marked) and len(marked) >= min(max(FEWEST, SHARE * len(rows)), len(rows))


def _observe(
    renderer: RowRenderer,
    rule: RuleFunction,
    marked: list[tuple[Example, list[str]]],
    rows: list[Example],
    **facts: Any,
) -> None:
    """Report the first of some rows, and how many there are of how many that were looked at."""
    some = "the first " if len(rows) == LOOKED_AT < len(renderer.dataset.train) else ""
    of = some + plural(len(rows), "row")
    renderer.observations.row(rule, marked[0][0], count=len(marked), of=of, **facts)
