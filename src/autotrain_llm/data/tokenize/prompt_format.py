"""`PromptFormat`: the form of the rows that a model was trained on, so that it is later prompted in the same form.

It is saved next to the finished model, and in run.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.data.chat.template import OWN
from autotrain_llm.data.example import Example, Message
from autotrain_llm.declare.document import parse_json

FILE, RUN_KEY = "prompt_format.json", "prompt_format"
TEXT, CHAT, MIXED = "text", "chat", "mixed"
ALPACA = "alpaca"  # the template that writes an instruction as rows are written without a template
FIRST_ROWS, LONGEST = 100, 80  # where a prompt to show is looked for, and its letters
GREETING = "Hello"  # where no row begins with a prompt


@dataclass(frozen=True)
class PromptFormat:
    """How training rows were written: as `text`, as `chat` (by a chat template), or `mixed`.

    `template` is what `--chat-template` named, or `tokenizer`; for text, `alpaca` if instructions stand in Alpaca's form. `system` is the system prompt that every conversation began with, empty for
    none, None if they differ.
    """

    rows: str
    template: str | None = None
    system: str | None = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class PromptFormatCounter:
    """Counts how rows are written while they are rendered."""

    texts: int = 0
    instructions: int = 0
    chats: int = 0
    systems: set[str] = field(default_factory=set)

    def text(self, example: Example) -> None:
        self.texts += 1
        self.instructions += example.messages is not None

    def chat(self, turns: Sequence[Message]) -> None:
        self.chats += 1
        if len(self.systems) < 2:
            first = turns[0] if turns else {}
            self.systems.add(str(first.get("content") or "") if first.get("role") == "system" else "")

    def result(self, chat_template: str | None) -> PromptFormat:
        rows = MIXED if self.texts and self.chats else CHAT if self.chats else TEXT
        system = next(iter(self.systems), "") if len(self.systems) < 2 else None
        if rows == TEXT:
            return PromptFormat(rows, ALPACA if self.texts and self.instructions == self.texts else None)
        return PromptFormat(rows, chat_template or OWN, system)


def join_prompt_formats(formats: Sequence[PromptFormat]) -> PromptFormat:
    """The form of rows that are of these forms: mixed, where some are conversations and others are not."""
    rows = formats[0].rows if len({one.rows for one in formats}) == 1 else MIXED
    templates = {one.template for one in formats if rows == TEXT or one.rows != TEXT}
    systems = {one.system for one in formats if one.rows != TEXT} or {""}
    return PromptFormat(
        rows,
        next(iter(templates)) if len(templates) == 1 else None,
        next(iter(systems)) if len(systems) == 1 else None,
    )


def read_prompt_format(folder: Path) -> PromptFormat | None:
    """The format saved next to a model, or in its run.json if the run isn't finished; None for a model that was trained elsewhere."""
    for path in (folder / FILE, folder / "run.json"):
        saved = _object_in(path)
        document = saved if path.name == FILE else saved.get(RUN_KEY)
        if isinstance(document, dict) and document.get("rows") in (TEXT, CHAT, MIXED):
            return PromptFormat(document["rows"], document.get("template"), document.get("system"))
    return None


def _object_in(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def prompt_to_show(examples: Iterable[Example], prompt_format: PromptFormat) -> str:
    """A short prompt of the rows, as it would be typed; else the beginning of one."""
    beginning = ""
    for _, example in zip(range(FIRST_ROWS), examples, strict=False):
        prompt = _prompt_of(example, prompt_format)
        if prompt and len(prompt) <= LONGEST and prompt.isprintable() and not prompt.startswith("-"):
            return prompt
        beginning = beginning or _beginning_of(prompt or "")
    return beginning or GREETING


def _beginning_of(prompt: str) -> str:
    """The first words of a prompt on one line, as many as are short; of a language without spaces its first characters."""
    words = "".join(character if character.isprintable() else " " for character in prompt).split()
    line = " ".join(words).lstrip("-").lstrip()
    return line if len(line) <= LONGEST else line[: LONGEST + 1].rpartition(" ")[0] or line[:LONGEST]


def _prompt_of(example: Example, prompt_format: PromptFormat) -> str | None:
    if example.text is not None:
        words = example.text.split("\n", 1)[0].split()
        return " ".join(words[: min(4, len(words) // 2)])
    turns = example.messages if prompt_format.rows != TEXT or prompt_format.template else None
    turns = turns or (example.prompt if isinstance(example.prompt, list) else None)
    if turns is None:
        return example.prompt if isinstance(example.prompt, str) else None
    before = [turn for turn in turns[:2] if turn["role"] != "system"]
    return str(before[0].get("content")) if before and before[0]["role"] == "user" else None
