"""Write the whole prompt of a row, for every format and every trainer: system prompt, earlier turns, contexts, question, input, choices and
tools."""

from __future__ import annotations

import json
import re
from typing import Any

from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.formats.cells import Cells
from autotrain_llm.data.formats.detect import CHOICE_ROLE, CONTEXT_ROLE, ColumnMapping
from autotrain_llm.data.formats.messages import earlier_turns
from autotrain_llm.data.observations import RowUnusable
from autotrain_llm.data.rules.columns import a_part_of_the_prompt_can_not_be_read
from autotrain_llm.data.turns import CONTENT_KEYS, parsed
from autotrain_llm.data.wording import kind_of, shown

SHORTEST = 20  # characters; a shorter input may stand in the turns by chance
DECLARATIONS = ("functionDeclarations", "function_declarations")
TEXT_KEYS = (*CONTENT_KEYS, "prompt", "system")


def repeats(text: str, given: str) -> bool:
    """Whether a text has the input of its row already: as a line, or, if that is long enough to be no chance, anywhere."""
    return given in text.splitlines() or (len(given) > SHORTEST and given in text)


def lists_choice(question: str, label: str, choice: str) -> bool:
    """Whether a question has this choice after its label, or on a line of its own. The words alone may be what is asked about."""
    if re.search(rf"(?<!\w){re.escape(label)}\s?[.):\]-]\)?\s*{re.escape(choice)}", question):
        return True
    return any(re.fullmatch(rf"\W*\w?\W*{re.escape(choice)}\W?", line.strip()) for line in question.splitlines())


class PromptWriter:
    """Writes the prompts of one data set."""

    def __init__(self, mapping: ColumnMapping) -> None:
        self.mapping = mapping
        self.contexts, self.choices = mapping.roles(CONTEXT_ROLE), mapping.roles(CHOICE_ROLE)
        others = mapping.roles(CONTEXT_ROLE, CHOICE_ROLE, "system", "history", "tools")
        self.has_only_input = not others
        self.has_parts = bool(others) or "input" in mapping.columns

    def with_parts(self, example: Example, cells: Cells, question: Side) -> Side:
        """The whole prompt: text if the question is text and there are no earlier turns or tools, else turns. Text is the system prompt,
        the contexts, the question, its input and its choices, with blank lines between all but the last two."""
        if not self.has_parts:
            return question
        if isinstance(question, str) and not self.mapping.makes_turns:
            system = self.system(cells).strip()
            whole = self.question_with_parts(cells, question)
            return f"{system}\n\n{whole}" if system else whole
        turns = as_turns(question, "user")
        return self.conversation(example, cells, turns)

    def question_with_parts(self, cells: Cells, question: str) -> str:
        """A question with its contexts before it, and its input and choices after it; what the question already contains is not repeated."""
        before = [part for part in self._contexts(cells) if not repeats(question, part)]
        given = cells.optional("input").strip()
        given = "" if repeats(question, given) else given
        lines = [question, *([given] if given else []), *self._choices(cells, question)]
        return "\n\n".join([*before, "\n".join(lines)])

    def conversation(self, example: Example, cells: Cells, turns: list[Message]) -> list[Message]:
        """The turns of a row with the parts of its prompt: contexts in the first user turn, input and choices in the last one."""
        if not self.has_parts:
            return turns
        tools = self.tools(cells)
        if tools is not None:
            example.tools = tools
        if self.contexts or self.choices or "input" in self.mapping.columns:
            turns = self._with_contents(cells, turns)
        begins_with_system = bool(turns) and turns[0]["role"] == "system"
        own, rest = (turns[:1], turns[1:]) if begins_with_system else ([], turns)
        earlier = self.history(cells)
        if earlier and rest[: len(earlier)] != earlier:
            if earlier[0]["role"] == "system":
                own, earlier = own or earlier[:1], earlier[1:]
            rest = [*earlier, *rest]
        system = self.system(cells)
        if system.strip() and (not own or own[0].get("content") != system):
            # A system turn of its own says more of the row than a column beside it, and both are kept.
            own = [{"role": "system", "content": system if not own else f"{system}\n\n{own[0].get('content') or ''}"}]
        return [*own, *rest]

    def _with_contents(self, cells: Cells, turns: list[Message]) -> list[Message]:
        """The turns with the contexts before the content of the first user turn, and input and choices after that of the last one."""
        users = [at for at, turn in enumerate(turns) if turn["role"] == "user" and isinstance(turn.get("content"), str)]
        if not users:
            raise RowUnusable(
                a_part_of_the_prompt_can_not_be_read, "no user", column=self._first_part(), case="no turn"
            )
        turns = [dict(turn) for turn in turns]
        everything = "\n".join(turns[at]["content"] for at in users)
        first, last = turns[users[0]], turns[users[-1]]
        given = cells.optional("input").strip()
        after = [*([given] if given and not repeats(everything, given) else []), *self._choices(cells, everything)]
        before = [part for part in self._contexts(cells) if not repeats(everything, part)]
        first["content"] = "\n\n".join([*before, first["content"]])
        last["content"] = "\n".join([last["content"], *after])
        return turns

    def _first_part(self) -> str:
        return self.mapping.columns[self.mapping.roles(CONTEXT_ROLE, CHOICE_ROLE, "input")[0]]

    def system(self, cells: Cells) -> str:
        """The system prompt; if it is an object, the text in it."""
        if "system" not in cells:
            return ""
        value = cells.take("system")
        value = parsed(value) if isinstance(value, str) and value.lstrip()[:2] in ('{"', "{'") else value
        if (text := _text_of_parts(value)) is not None:
            return text
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, dict):
            key = next((key for key in TEXT_KEYS if value.get(key)), None)
            inner = value.get(key) if key else None
            inner = inner if isinstance(inner, str) else _text_of_parts(inner)
            if inner is not None:
                others = {
                    name: part for name, part in value.items() if name not in (key, "role", "from", "type") and part
                }
                cells.unread_in("system").update(others)
                return inner
        return "" if value is None else cells.written(value, cells.columns["system"])

    def history(self, cells: Cells) -> list[Message]:
        """The turns before the question; a history that is text is one turn of the user. Raises RowUnusable if it can't be read."""
        if "history" not in cells:
            return []
        column = cells.columns["history"]
        value = cells.take("history")
        try:
            turns = earlier_turns(value, shown(column), cells.unread_in("history")) if value is not None else []
        except RowUnusable as problem:
            facts = {"column": column, "case": "history", "content": kind_of(value)}
            raise RowUnusable(a_part_of_the_prompt_can_not_be_read, "history", **facts) from problem
        return as_turns(turns, "user") if turns else []

    def tools(self, cells: Cells) -> list[dict[str, Any]] | None:
        """The tools that a conversation may call: a list of objects, one object, or either as JSON. Raises RowUnusable for anything else."""
        value = cells.parsed("tools")
        if value is None:
            return None
        if isinstance(value, dict) and isinstance(value.get("tools"), list):  # Bedrock's toolConfig
            cells.unread_in("tools").update({key: part for key, part in value.items() if key != "tools"})
            value = value["tools"]
        described = (parsed(tool) for tool in (value if isinstance(value, list) else [value]))
        tools = [_tool(tool) for part in described for tool in _declared(part)]
        if not all(isinstance(tool, dict) for tool in tools):
            facts = {"column": cells.columns["tools"], "case": "tools", "content": kind_of(value)}
            raise RowUnusable(a_part_of_the_prompt_can_not_be_read, "tools", **facts)
        return tools

    def _contexts(self, cells: Cells) -> list[str]:
        """The contexts as texts: a list of texts with blank lines between them, other lists and objects as JSON."""
        texts = []
        for role in self.contexts:
            value = cells.take(role)
            is_texts = isinstance(value, list) and all(isinstance(part, str) for part in value)
            texts.append(("\n\n".join(value) if is_texts else cells.optional(role)).strip())
        return [text for text in texts if text]

    def _choices(self, cells: Cells, question: str) -> list[str]:
        """The choices of a question, each after its label; none where the question lists all of them itself."""
        roles = self.choices
        if not roles:
            return []
        if len(roles) > 1:
            choices = [(self._label(at), cells.optional(role)) for at, role in enumerate(roles)]
        else:
            value = cells.parsed(roles[0])
            if isinstance(value, str):
                return [] if value.strip() in question else [value.strip()]
            choices = self._of_one_cell(value)
        if choices and all(lists_choice(question, label, choice) for label, choice in choices):
            return []
        return [f"{label}. {choice}" for label, choice in choices if choice]

    def _label(self, at: int) -> str:
        first = self.mapping.first_choice
        return str(at + int(first)) if first.isdigit() else chr(ord(first) + at)

    def _of_one_cell(self, value: Any) -> list[tuple[str, str]]:
        """Labels and choices in one cell: a list, `{"text": [...], "label": [...]}`, or `{"A": ..., "B": ...}`."""
        if isinstance(value, dict) and isinstance(value.get("text"), list):
            texts, labels = value["text"], value.get("label")
            value = [
                {"text": text, "label": label}
                for text, label in zip(texts, labels or [None] * len(texts), strict=False)
            ]
        if isinstance(value, dict):
            return [(str(label), _words(choice)) for label, choice in value.items()]
        labels = [choice.get("label") if isinstance(choice, dict) else None for choice in value or ()]
        return [
            (self._label(at) if label is None else str(label), _words(choice))
            for at, (label, choice) in enumerate(zip(labels, value or (), strict=True))
        ]


def _declared(part: Any) -> list[Any]:
    """The tools in one item of a list: several where Gemini's API declares its functions together."""
    inside = next(
        (part[key] for key in DECLARATIONS if isinstance(part, dict) and isinstance(part.get(key), list)), None
    )
    return [part] if inside is None else inside


def _tool(tool: Any) -> Any:
    """A tool as chat templates expect it, where the API of Anthropic or Bedrock describes it, or OpenAI's older `functions`; any other unchanged."""
    if not isinstance(tool, dict):
        return tool
    if isinstance(tool.get("name"), str) and isinstance(tool.get("parameters"), dict) and "type" not in tool:
        return {"type": "function", "function": tool}
    inner = tool.get("toolSpec")
    described = inner if isinstance(inner, dict) else tool
    key = next((key for key in ("input_schema", "inputSchema") if isinstance(described.get(key), dict)), None)
    if key is None:
        return tool
    schema = described[key]
    function = {name: part for name, part in described.items() if name != key}
    return {"type": "function", "function": function | {"parameters": schema.get("json", schema)}}


def _text_of_parts(value: Any) -> str | None:
    """The text of content parts, `[{"text": …}, …]`; None if the value is anything else."""
    if not isinstance(value, list) or not all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in value
    ):
        return None
    return "".join(part["text"] for part in value)


def _words(choice: Any) -> str:
    if isinstance(choice, dict) and isinstance(choice.get("text"), str):
        return choice["text"]
    return choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False, default=str)
