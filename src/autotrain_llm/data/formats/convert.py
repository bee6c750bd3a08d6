"""Raw rows to Examples, one function per format. A row that can't be converted is counted as a fault and left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.files.read import RawRow, Row, Table
from autotrain_llm.data.formats.detect import ColumnMapping
from autotrain_llm.data.formats.messages import TurnFault, conversation, is_conversation, is_too_deep, parsed, too_deep
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.data.wording import kind_of, listed, shown
from autotrain_llm.declare.finding import ERROR, WARNING

PROMPT_LENGTH = 13  # letters; an answer may begin with a shorter prompt by chance
HH_TURN = "\n\nAssistant:"
ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)
# Faults of these kinds are expected in real data: the row is left out with a warning. The others stop the run.
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
ONE_LIST = 'write the turns as one list: [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
NOT_A_NUMBER = ("nan", "NaN")
GOOD, BAD = ("true", "yes", "1"), ("false", "no", "0")
LEFT_OUT = ("D103", "D113", "D114", "D117", "D127", "D130")


def _check_characters(example: Example) -> None:
    """Half a character, as a cut-off JSON escape leaves it, can't be tokenised."""
    for text in example.strings():
        if text.isascii():
            continue
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as problem:
            half = f"\\u{ord(text[problem.start]):04x}"
            what = f"the text holds half a character ({half})"
            raise RowFault("D130", what, "mend or delete the row", "half a character") from problem


class RowFault(Exception):
    """Why one row can't be used."""

    def __init__(self, code: str, what: str, fix: str | None = None, key: str | None = None) -> None:
        super().__init__(what)
        self.code, self.what, self.fix, self.key = code, what, fix, key


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: spaces, and letters that take no room."""
    return not text or text.isspace() or not text.strip().strip(UNSEEN).strip()


def _nothing_there(cells: Row, column: str) -> RowFault:
    """A cell that has to hold something: null, or not even there, as where rows of two shapes are in one file."""
    if column in cells or not cells:
        return RowFault("D113", f"{shown(column)} is null", "fill it or delete the row")
    what = f"{shown(column)} is not in the row, which has: {listed(cells)}"
    return RowFault("D113", what, "write all rows in one shape, or delete the row", "not there")


class Converter:
    """Converts the rows of one data set by its layout."""

    def __init__(
        self, mapping: ColumnMapping, request: DataRequest, observations: Observations, data_flag: str = "--data-path"
    ) -> None:
        self.mapping, self.request, self.observations = mapping, request, observations
        self.columns = mapping.columns
        self.make = MAKERS[mapping.format]
        self.parameter = data_flag.removeprefix("--").replace("-", "_")
        self.used = set(mapping.columns.values())

    def convert(self, table: Table) -> list[Example]:
        """The Examples of a table."""
        made = (self._convert(table.file, *row) for row in table.rows)
        return [example for example in made if example is not None]

    def converted(self, file: str, raw: RawRow) -> Example | None:
        """The Example of one row; None where it is left out."""
        return self._convert(file, *raw)

    def _convert(self, file: str, row: int, line: int | None, cells: Row) -> Example | None:
        extra = {name: value for name, value in cells.items() if name not in self.used}
        example = Example(file, row, line, extra=extra)
        try:
            self.make(self, example, cells)
            _check_characters(example)
        except (RowFault, TurnFault) as fault:
            key = getattr(fault, "key", None)
            severity = WARNING if fault.code in LEFT_OUT else ERROR
            left = "; the row was left out" if severity == WARNING else ""
            self._say(fault.code, example, str(fault) + left, fault.fix, severity, key)
            return None
        return example

    def _say(self, code: str, at: Example, what: str, fix: str | None, severity: str, key: str | None = None) -> None:
        self.observations.row(
            code, at.file, at.row, what, line=at.line, fix=fix, severity=severity, key=key, parameters=(self.parameter,)
        )

    def text(self, cells: Row, role: str) -> str:
        """The text of a cell that has to hold some."""
        column = self.columns[role]
        value = cells.get(column)
        if isinstance(value, str):
            if is_blank(value):
                raise RowFault("D114", f"{shown(column)} is empty", "fill it or delete the row")
            if value in NOT_A_NUMBER:
                what = f"{shown(column)} is {value!r}, as pandas writes an empty cell"
                raise RowFault("D114", what, "fill it or delete the row")
            return value
        if value is None:
            raise _nothing_there(cells, column)
        if is_too_deep(value):
            raise too_deep(shown(column))
        fix = f"write it as text, or name another column ({COLUMN_FLAGS['text_column']})"
        raise RowFault("D115", f"{shown(column)} is {kind_of(value)}, not text", fix)

    def optional(self, cells: Row, role: str) -> str:
        """The text of a cell that may be absent or empty."""
        value = cells.get(self.columns[role]) if role in self.columns else None
        return value if isinstance(value, str) else ""

    def side(self, cells: Row, role: str) -> Side:
        """Text or turns."""
        value = cells.get(self.columns[role])
        if value is not None and is_conversation(value):
            return conversation(value, shown(self.columns[role]))
        return self.text(cells, role)

    def tools(self, cells: Row) -> list[dict[str, Any]] | None:
        """The tools that a conversation may call."""
        value = parsed(cells.get(self.columns["tools"])) if "tools" in self.columns else None
        return value if isinstance(value, list) and value else None

    def with_system(self, cells: Row, turns: list[Message]) -> list[Message]:
        """The turns, after the row's system prompt where it has one beside them."""
        system = self.optional(cells, "system")
        if not system.strip() or (turns and turns[0]["role"] == "system"):
            return turns
        return [{"role": "system", "content": system}, *turns]


def _text(converter: Converter, example: Example, cells: Row) -> None:
    example.text = converter.text(cells, "text")


def _messages(converter: Converter, example: Example, cells: Row) -> None:
    column = converter.columns["messages"]
    value = cells.get(column)
    if value is None:
        raise _nothing_there(cells, column)
    if value == "":
        raise RowFault("D113", f"{shown(column)} is empty", "delete the row")
    turns = conversation(value, shown(column))
    if converter.request.rows == "conversations":
        if len(turns) == 1 and isinstance(parsed(value), dict):
            what = f"{shown(column)} is one turn, an object, and not a list of turns"
            raise RowFault("D115", what, ONE_LIST, "one turn")
        _check_order(converter, example, turns)
    example.messages = converter.with_system(cells, turns)
    example.tools = converter.tools(cells)


def _check_order(converter: Converter, example: Example, turns: list[Message]) -> None:
    """A warning about turns in an order that chat models don't know, however the template takes it."""
    roles = [turn["role"] for turn in turns]
    said = [role for role in roles if role in ("user", "assistant")]
    doubled = next((at for at in range(1, len(turns)) if _follows_itself(turns[at - 1], turns[at])), None)
    late = next((at for at in range(1, len(roles)) if roles[at] == "system"), None)
    if doubled is not None:
        what = (
            f"turns {doubled} and {doubled + 1} are both of the {roles[doubled]}: turns of user and assistant alternate"
        )
        converter._say("D133", example, what, "join them, or part the row", WARNING, "doubled")
    if late is not None:
        what = f"turn {late + 1} is a system turn: it stands first, or is left out or refused by many chat templates"
        converter._say("D133", example, what, "move it to the beginning", WARNING, "late system")
    if said and said[-1] == "user" and "assistant" in said:
        what = "the last turn is the user's, and nothing answers it: it is not learnt"
        converter._say("D133", example, what, "add the answer, or take the turn out", WARNING, "unanswered")


def _follows_itself(before: Message, turn: Message) -> bool:
    """Whether two turns of user or assistant follow one another; calls of tools may stand beside an answer."""
    calls = before.get("tool_calls") or turn.get("tool_calls")
    return before["role"] == turn["role"] in ("user", "assistant") and not calls


def _alpaca(converter: Converter, example: Example, cells: Row) -> None:
    instruction, given = converter.text(cells, "instruction"), converter.optional(cells, "input").strip()
    output = converter.text(cells, "output")
    history = [pair for pair in (cells.get(converter.columns.get("history", "")) or []) if len(pair) == 2]
    turns: list[Message] = []
    for asked, answered in [*history, (f"{instruction}\n{given}" if given else instruction, output)]:
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    example.messages = converter.with_system(cells, turns)
    example.prompt = _alpaca_prompt(converter.optional(cells, "system"), history, instruction, given)
    example.completion = output


def _alpaca_prompt(system: str, history: list[Any], instruction: str, given: str) -> str:
    """An instruction in the form that was usual before chat templates."""
    parts = [system.strip() or ALPACA_PREAMBLE]
    for asked, answered in history:
        parts += [f"### Instruction:\n{asked}", f"### Response:\n{answered}"]
    parts.append(f"### Instruction:\n{instruction}")
    if given:
        parts.append(f"### Input:\n{given}")
    return "\n\n".join([*parts, "### Response:\n"])


def _pair(converter: Converter, example: Example, cells: Row) -> None:
    prompt, completion = converter.side(cells, "prompt"), converter.side(cells, "completion")
    _set_pair(converter, example, cells, prompt, completion)


def _set_pair(converter: Converter, example: Example, cells: Row, prompt: Side, completion: Side) -> None:
    """A prompt and its completion; as one conversation where either is made of turns."""
    if isinstance(prompt, str) and isinstance(completion, str):
        system = converter.optional(cells, "system").strip()
        example.prompt, example.completion = (f"{system}\n\n{prompt}" if system else prompt), completion
        return
    example.prompt = converter.with_system(cells, as_turns(prompt, "user"))
    example.completion = as_turns(completion, "assistant")
    example.tools = converter.tools(cells)


def _chosen(converter: Converter, example: Example, cells: Row) -> None:
    """A preference row of which only the chosen answer is learnt."""
    chosen = converter.side(cells, "chosen")
    prompt: Side = converter.side(cells, "prompt") if "prompt" in converter.columns else ""
    if isinstance(chosen, list) and len(chosen) > 1:
        example.messages, example.tools = converter.with_system(cells, chosen), converter.tools(cells)
    elif not prompt:
        example.text = chosen if isinstance(chosen, str) else chosen[0]["content"]
    else:
        _set_pair(converter, example, cells, prompt, chosen)


def _labelled(converter: Converter, example: Example, cells: Row) -> None:
    _pair(converter, example, cells)
    column = converter.columns["label"]
    value = cells.get(column)
    if value is None:
        raise RowFault("D113", f"{shown(column)} is null", "true or false")
    word = (f"{value:g}" if isinstance(value, float) else str(value)).strip().lower()
    if word not in (*GOOD, *BAD):
        what = (
            f"{shown(column)} is {value!r}, and a label is true (or 1) for a good answer and false (or 0) for a bad one"
        )
        raise RowFault("D115", what, "write it as true or false", "no label")
    example.label = word in GOOD


def _preference(converter: Converter, example: Example, cells: Row) -> None:
    chosen, rejected = converter.side(cells, "chosen"), converter.side(cells, "rejected")
    prompt: Side | None = _preference_prompt(converter, cells)
    if isinstance(chosen, str) != isinstance(rejected, str):
        kinds = ("text", "a list of turns") if isinstance(chosen, str) else ("a list of turns", "text")
        what = f"chosen is {kinds[0]} and rejected is {kinds[1]}; the text was taken as an assistant turn"
        converter._say("D124", example, what, "write both the same way", WARNING)
        chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if isinstance(prompt, list) and isinstance(chosen, str):
        chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if isinstance(chosen, list):
        prompt = _turns_before(converter, example, prompt, chosen, rejected)
        if isinstance(prompt, list):
            prompt = converter.with_system(cells, prompt)
        example.tools = converter.tools(cells)
    prompt, chosen, rejected = _apart(converter, example, prompt, chosen, rejected)
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(answer, list) and answer and answer[-1]["role"] == "user":
            what = f"{side} ends with a turn of the user: what is preferred are answers"
            converter._say("D133", example, what, "take the turn out", WARNING, f"{side} unanswered")
    if chosen == rejected:
        raise RowFault("D103", "chosen and rejected are the same text", "rebuild the pair or delete the row")
    better, worse = _but_for_ends(chosen), _but_for_ends(rejected)
    if better == worse:
        what = "chosen and rejected are the same text but for spaces around them or at the ends of lines"
        raise RowFault("D103", what, "rebuild the pair or delete the row", "but for spaces")
    if isinstance(better, list) and isinstance(worse, list):
        _check_other_question(converter, example, better, worse)
    if converter.request.rows == "preferences" and not prompt:
        flag = COLUMN_FLAGS["prompt_column"]
        raise RowFault(
            "D128", f"no prompt: neither a column nor a shared beginning of the two answers ({flag})", flag + " …"
        )
    example.prompt, example.chosen, example.rejected = prompt or None, chosen, rejected


def _but_for_ends(answer: Side) -> Side:
    """An answer without the space around it and at the ends of its lines; what stands before a line, as in code, is part of it."""
    if isinstance(answer, str):
        return "\n".join(map(str.rstrip, answer.strip().splitlines()))
    return [
        {**turn, "content": _but_for_ends(turn["content"])} if isinstance(turn.get("content"), str) else turn
        for turn in answer
    ]


def _check_other_question(
    converter: Converter, example: Example, chosen: list[Message], rejected: list[Message]
) -> None:
    """A warning where the two answers part at a turn of user or system that more follow, so that they answer different prompts."""
    at = _shared_turns(chosen, rejected)
    better, worse = chosen[at], rejected[at]
    is_last = at + 1 == min(len(chosen), len(rejected))
    if better == worse or is_last or not {"user", "system"} & {better["role"], worse["role"]}:
        return
    what = f"chosen and rejected answer different prompts: they part at {_told_apart(better, worse)}"
    fix = "give both answers the same prompt, or delete the row"
    converter._say("D172", example, what, fix, WARNING, "other prompt")


def _told_apart(chosen: Message, rejected: Message) -> str:
    """Two turns that differ, in words."""
    if chosen["role"] != rejected["role"]:
        return f"a turn of the {chosen['role']} in chosen and of the {rejected['role']} in rejected"
    said = [str(turn.get("content") or "")[:30] for turn in (chosen, rejected)]
    return f"a turn of the {chosen['role']}, {said[0]!r} in chosen and {said[1]!r} in rejected"


def _preference_prompt(converter: Converter, cells: Row) -> Side | None:
    if "prompt" not in converter.columns:
        return None
    if converter.request.rows == "scored" and not cells.get(converter.columns["prompt"]):
        return None
    prompt = converter.side(cells, "prompt")
    given = converter.optional(cells, "input").strip()
    return f"{prompt}\n{given}" if given and isinstance(prompt, str) else prompt


def _turns_before(
    converter: Converter, example: Example, prompt: Side | None, chosen: Side, rejected: Side
) -> list[Message] | None:
    """The prompt as turns, for answers that are turns."""
    if prompt is None or isinstance(prompt, list):
        return prompt
    repeated = isinstance(chosen, list) and any(turn.get("content") == prompt for turn in chosen[:-1])
    if not repeated and isinstance(chosen, list) and len(chosen) == 1:
        what = "prompt is text while chosen and rejected are lists of turns; it was taken as a user turn"
        fix = f'write {shown(converter.columns["prompt"])} as [{{"role": "user", "content": "…"}}] as well'
        converter._say("D124", example, what, fix, WARNING)
        return as_turns(prompt, "user")
    return None if repeated else as_turns(prompt, "user")


def _apart(
    converter: Converter, example: Example, prompt: Side | None, chosen: Side, rejected: Side
) -> tuple[Side | None, Side, Side]:
    """Prompt and answers taken apart where the answers repeat the prompt or carry it inside them."""
    if isinstance(chosen, list) and isinstance(rejected, list):
        if prompt is None:
            shared = _shared_turns(chosen, rejected)
            return chosen[:shared], chosen[shared:], rejected[shared:]
        if isinstance(prompt, list) and _repeat_turns(prompt, chosen, rejected):
            _say_repeated(converter, example)
            return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
        return prompt, chosen, rejected
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return prompt, chosen, rejected
    if prompt is None and converter.request.rows == "preferences":
        cut = _shared_text(chosen, rejected)
        return chosen[:cut], chosen[cut:], rejected[cut:]
    if isinstance(prompt, str) and prompt and all(_repeats_text(prompt, answer) for answer in (chosen, rejected)):
        _say_repeated(converter, example)
        return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
    if isinstance(prompt, str):
        _check_one_side(converter, example, prompt, chosen, rejected)
    return prompt, chosen, rejected


def _check_one_side(converter: Converter, example: Example, prompt: str, chosen: str, rejected: str) -> None:
    """A warning where one of the two answers repeats the prompt: that alone tells them apart."""
    sides = {"chosen": chosen, "rejected": rejected}
    repeating = [
        side for side, answer in sides.items() if len(prompt) >= PROMPT_LENGTH and _repeats_text(prompt, answer)
    ]
    if len(repeating) == 1:
        other = "rejected" if repeating == ["chosen"] else "chosen"
        what = f"the prompt is repeated in {repeating[0]} and not in {other}: what is learnt is to repeat it, or not to"
        converter._say("D120", example, what, f"leave it out of {repeating[0]}", WARNING, f"only {repeating[0]}")


def _repeat_turns(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> bool:
    """Whether both answers begin with the prompt's turns, and go on."""
    turns = len(prompt)
    return chosen[:turns] == rejected[:turns] == prompt and min(len(chosen), len(rejected)) > turns


def _repeats_text(prompt: str, answer: str) -> bool:
    """Whether an answer begins with its prompt, and goes on."""
    return answer.startswith(prompt) and bool(answer[len(prompt) :].strip())


def _say_repeated(converter: Converter, example: Example) -> None:
    what = "the prompt is repeated in chosen and rejected; it was taken out of both"
    converter._say("D120", example, what, "leave it out of both answers", WARNING)


def _shared_turns(chosen: list[Message], rejected: list[Message]) -> int:
    """How many turns both begin with; the last turn of each is always part of the answer."""
    most = min(len(chosen), len(rejected)) - 1
    return next((at for at in range(most) if chosen[at] != rejected[at]), most)


def _shared_text(chosen: str, rejected: str) -> int:
    """Where the prompt that two texts begin with ends: after its last turn marker, else before the first word that differs."""
    differs = (at for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
    shared = chosen[: next(differs, min(len(chosen), len(rejected)))]
    marker = shared.rfind(HH_TURN)
    if marker >= 0:
        return marker + len(HH_TURN)
    return max((at for at, character in enumerate(shared) if character.isspace()), default=0)


def _prompts(converter: Converter, example: Example, cells: Row) -> None:
    prompt = converter.side(cells, "prompt")
    if isinstance(prompt, list):
        prompt = converter.with_system(cells, prompt)
        while prompt and prompt[-1]["role"] == "assistant":
            prompt = prompt[:-1]
        if not prompt:
            raise RowFault("D114", f"{shown(converter.columns['prompt'])} has no turn to answer", "delete the row")
    else:
        given = converter.optional(cells, "input").strip()
        prompt = f"{prompt}\n{given}" if given else prompt
    example.prompt = prompt
    example.tools = converter.tools(cells)


MAKERS: dict[str, Callable[[Converter, Example, Row], None]] = {
    "text": _text,
    "messages": _messages,
    "sharegpt": _messages,
    "alpaca": _alpaca,
    "prompt/completion": _pair,
    "prompt/completion/label": _labelled,
    "chosen answers": _chosen,
    "preference": _preference,
    "prompts": _prompts,
}
