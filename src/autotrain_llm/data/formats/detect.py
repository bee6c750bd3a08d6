"""What the columns of a data set mean, for the row shape that a trainer reads. One function per format, tried in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.files.read import LOOKED_AT
from autotrain_llm.data.formats.messages import is_conversation, spelling
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.data.wording import plain

MESSAGES = ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns", "history")
TEXT = ("text", "content", "document", "body", "article", "story", "passage", "code", "raw_content", "sentence")
PROMPT = (
    "prompt", "question", "query", "instruction", "input", "problem", "user", "source", "request", "input_text", "context"
)  # fmt: skip
COMPLETION = (
    "completion", "response", "answer", "output", "target", "solution", "reply", "assistant", "target_text", "output_text",
    "answers", "generation"
)  # fmt: skip
CHOSEN = (
    "chosen", "chosen_response", "response_chosen", "chosen_text", "preferred", "accepted", "winner", "good",
    "better", "positive", "response_j", "answer_chosen", "response", "completion", "answer", "output"
)  # fmt: skip
REJECTED = (
    "rejected", "rejected_response", "response_rejected", "rejected_text", "dispreferred", "loser", "bad", "worse",
    "negative", "response_k", "answer_rejected", "rejected_answer"
)  # fmt: skip
LABEL = ("label", "kto_tag", "desirable", "is_desirable", "thumbs_up")
QUESTIONS = ("prompt", "question", "query", "instruction", "problem", "user", "request")
TOKENISED = ("input_ids", "labels", "attention_mask", "token_ids")


@dataclass(frozen=True)
class ColumnMapping:
    """A format's name and which column plays which role in it."""

    format: str
    columns: dict[str, str] = field(default_factory=dict)


class Columns:
    """The columns of some rows: their names, and what kind of value each holds."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.values: dict[str, list[Any]] = {}
        self.first_row: dict[str, int] = {}  # by column, the first row that holds something
        for number, row in zip(range(1, LOOKED_AT + 1), rows, strict=False):
            for name, value in row.items():
                values = self.values.setdefault(name, [])
                if value is not None and value != "":
                    values.append(value)
                    self.first_row.setdefault(name, number)
        self._by_plain: dict[str, str] = {}
        for name in self.values:
            self._by_plain.setdefault(plain(name), name)

    @property
    def names(self) -> list[str]:
        """The names as they are in the file, in its order."""
        return list(self.values)

    def find(self, names: Sequence[str], *kinds: str) -> str | None:
        """The first column under one of these names that holds one of these kinds of value."""
        for name in names:
            column = self._by_plain.get(name)
            if column is not None and (not kinds or self.kind(column) in kinds):
                return column
        return None

    def kind(self, column: str) -> str:
        """`text`, `turns`, `flag`, `list`, `number`, `object`, or `nothing` where every cell is empty."""
        values = self.values[column]
        if not values:
            return "nothing"
        if any(is_conversation(value) for value in values[:5]):
            return "turns"
        texts = sum(isinstance(value, str) for value in values)
        if texts * 2 >= len(values):
            return "text"
        first = values[0]
        if isinstance(first, bool):
            return "flag"
        return {list: "list", dict: "object", int: "number", float: "number"}.get(type(first), "other")

    def spelling(self, column: str) -> str:
        """`messages` or `sharegpt`."""
        return spelling(next((value for value in self.values[column] if is_conversation(value)), None))

    def texts(self) -> list[str]:
        """The columns that hold text."""
        return [name for name in self.names if self.kind(name) == "text"]


Recogniser = Callable[[Columns, DataRequest], ColumnMapping | None]
SIDE = ("text", "turns", "nothing")


def messages(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A list of turns with role and content, or from and value (ShareGPT)."""
    named = _named(columns, request, "text_column")
    column = named or columns.find(MESSAGES, "turns")
    if column is None and request.text_column is None:
        turns = [name for name in columns.names if columns.kind(name) == "turns" and not _is_tools(columns, name)]
        column = turns[0] if len(turns) == 1 else None
    if column is None or columns.kind(column) != "turns" or _named(columns, request, "prompt_column"):
        return None
    roles = {"messages": column} | _aside(columns)
    return ColumnMapping(columns.spelling(column), roles)


def _is_tools(columns: Columns, name: str) -> bool:
    return plain(name) in ("tools", "functions")


def _aside(columns: Columns) -> dict[str, str]:
    """Columns next to a conversation: its system prompt and its tools."""
    roles = {"system": columns.find(("system", "system_prompt"), "text"), "tools": columns.find(("tools", "functions"))}
    return {role: column for role, column in roles.items() if column is not None}


def text(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A column of text."""
    named = _named(columns, request, "text_column")
    if named and columns.kind(named) in ("text", "nothing") and not _named(columns, request, "prompt_column"):
        return ColumnMapping("text", {"text": named})
    if _named(columns, request, "prompt_column"):
        return None
    column = columns.find(("text",), "text", "nothing")
    return ColumnMapping("text", {"text": column}) if column and not named else None


def other_text(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A column of text under another usual name, or the only one that holds text."""
    if _named(columns, request, "text_column"):
        return None
    texts = columns.texts()
    column = columns.find(TEXT, "text", "nothing") or (texts[0] if len(texts) == 1 else None)
    if column is not None and request.rows == "conversations" and plain(column) in QUESTIONS:
        return None  # questions without answers
    if column is not None and plain(column) in COMPLETION and _has_unreadable_prompt(columns):
        return None  # answers whose questions would be lost
    return ColumnMapping("text", {"text": column}) if column else None


def _has_unreadable_prompt(columns: Columns) -> bool:
    """Whether there is a prompt that is no text, such as a number."""
    return columns.find(PROMPT, "number", "flag", "list", "object") is not None and columns.find(PROMPT, "text") is None


def alpaca(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """instruction and output, with an optional input, system prompt and history."""
    if any(_named(columns, request, name) for name in COLUMN_FLAGS):
        return None
    instruction = columns.find(("instruction",), "text")
    output = columns.find(("output", "response", "completion", "answer"), "text", "nothing")
    if instruction is None or output is None:
        return None
    roles = {
        "instruction": instruction,
        "input": columns.find(("input", "context"), "text", "nothing"),
        "output": output,
        "system": columns.find(("system", "system_prompt"), "text"),
        "history": columns.find(("history",), "list"),
    }
    return ColumnMapping("alpaca", {role: column for role, column in roles.items() if column is not None})


def pair(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A prompt and what completes it, under any of their usual names."""
    prompt = _named(columns, request, "prompt_column")
    completion = _named(columns, request, "text_column")
    if completion and not prompt:
        return None
    prompt = prompt or columns.find(PROMPT, "text", "turns")
    completion = completion or columns.find(tuple(n for n in COMPLETION if n != plain(prompt or "")), *SIDE)
    if prompt is None or completion is None or prompt == completion:
        return None
    return ColumnMapping("prompt/completion", {"prompt": prompt, "completion": completion} | _aside(columns))


def preference(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A chosen and a rejected answer, with a prompt of their own or inside both."""
    rejected = _named(columns, request, "rejected_column") or columns.find(REJECTED, *SIDE)
    chosen = _named(columns, request, "text_column") or columns.find(CHOSEN, *SIDE)
    if rejected is None or chosen is None:
        return None
    roles = {"chosen": chosen, "rejected": rejected}
    prompt = _named(columns, request, "prompt_column") or columns.find((*PROMPT, *MESSAGES), *SIDE)
    if prompt is not None and prompt not in roles.values():
        roles = {"prompt": prompt, **roles}
        extra = columns.find(("input",), "text", "nothing")
        if plain(prompt) == "instruction" and extra:
            roles["input"] = extra
    return ColumnMapping("preference", roles | _aside(columns))


def labelled(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """prompt, completion and whether it is a good one (KTO's own form)."""
    label = columns.find(LABEL, "flag", "number", "text")
    mapping = pair(columns, request) if label else None
    if label is None or mapping is None or not TRAINERS[request.trainer].parts_pairs:
        return None
    return ColumnMapping("prompt/completion/label", mapping.columns | {"label": label})


def prompts(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """Prompts alone: text or conversations that end before the answer."""
    prompt = _named(columns, request, "prompt_column") or _named(columns, request, "text_column")
    prompt = prompt or columns.find(("prompt", "query", "question", "instruction", "problem"), "text", "turns")
    prompt = prompt or columns.find(MESSAGES, "turns") or columns.find((*TEXT, *PROMPT), "text")
    if prompt is None and len(columns.texts()) == 1:
        prompt = columns.texts()[0]
    if prompt is None:
        return None
    extra = columns.find(("input",), "text", "nothing") if plain(prompt) == "instruction" else None
    return ColumnMapping("prompts", {"prompt": prompt} | ({"input": extra} if extra else {}) | _aside(columns))


def chosen_answers(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """Preference pairs for a trainer that needs answers: the chosen ones are trained on."""
    mapping = preference(columns, request) if request.text_column is None else None
    if mapping is None:
        return None
    roles = {role: column for role, column in mapping.columns.items() if role != "rejected"}
    return ColumnMapping("chosen answers", roles)


RECOGNISERS: dict[str, tuple[Recogniser, ...]] = {
    "documents": (text, messages, alpaca, chosen_answers, pair, other_text),
    "conversations": (messages, text, alpaca, chosen_answers, pair, other_text),
    "preferences": (labelled, preference),
    "scored": (preference,),
    "prompts": (prompts,),
}


def recognise(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """The first format that fits the columns, or None."""
    for recogniser in RECOGNISERS[request.rows]:
        mapping = recogniser(columns, request)
        if mapping is not None:
            return mapping
    return None


def _named(columns: Columns, request: DataRequest, column_field: str) -> str | None:
    """The column that a field of the request names, where the data has it."""
    name = getattr(request, column_field)
    return name if name in columns.values else None


def holds_token_ids(columns: Columns) -> str | None:
    """The name of a column of token ids, where there is one and it is what the rows are made of."""
    column = columns.find(TOKENISED, "list")
    if column is None or not all(isinstance(value, int) for value in columns.values[column][0][:5]):
        return None
    return column
