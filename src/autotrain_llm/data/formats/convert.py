"""Raw rows to Examples, one function per format. A row that can't be converted is observed and left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.files.read import RawRow, Row, Table
from autotrain_llm.data.formats.detect import ColumnMapping
from autotrain_llm.data.formats.messages import conversation, is_conversation, is_too_deep, parsed
from autotrain_llm.data.observations import Observations, RowUnusable
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.columns import (
    a_cell_has_the_wrong_type,
    a_cell_is_empty,
    a_cell_is_null,
    a_text_holds_half_a_character,
)
from autotrain_llm.data.rules.conversations import turns_are_in_an_unusual_order
from autotrain_llm.data.rules.preferences import (
    a_pair_has_no_prompt,
    answers_repeat_their_prompt,
    chosen_and_rejected_answer_different_prompts,
    chosen_and_rejected_are_the_same,
    text_and_turns_are_mixed,
)
from autotrain_llm.data.wording import kind_of, shown

PROMPT_LENGTH = 13  # letters; an answer may begin with a shorter prompt by chance
HH_TURN = "\n\nAssistant:"
ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
NOT_A_NUMBER = ("nan", "NaN")
GOOD, BAD = ("true", "yes", "1"), ("false", "no", "0")


def _check_characters(example: Example) -> None:
    """Half a character, as a JSON escape that was cut leaves it, can't be tokenised."""
    for text in example.strings():
        if text.isascii():
            continue
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as problem:
            half = f"\\u{ord(text[problem.start]):04x}"
            raise RowUnusable(a_text_holds_half_a_character, "half a character", half=half) from problem


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: spaces, and letters that take no room."""
    return not text or text.isspace() or not text.strip().strip(UNSEEN).strip()


class Converter:
    """Converts the rows of one data set by its layout."""

    def __init__(self, mapping: ColumnMapping, request: DataRequest, observations: Observations) -> None:
        self.mapping, self.request, self.observations = mapping, request, observations
        self.columns = mapping.columns
        self.make = MAKERS[mapping.format]
        self.used = set(mapping.columns.values())

    def convert(self, table: Table) -> list[Example]:
        """The Examples of a table."""
        made = (self.converted(table.file, row) for row in table.rows)
        return [example for example in made if example is not None]

    def converted(self, file: str, raw: RawRow) -> Example | None:
        """The Example of one row; None where it is left out."""
        row, line, cells = raw
        extra = {name: value for name, value in cells.items() if name not in self.used}
        example = Example(file, row, line, extra=extra)
        try:
            self.make(self, example, cells)
            _check_characters(example)
        except RowUnusable as problem:
            self.observations.row(problem.rule, example, problem.group, **problem.facts)
            return None
        return example

    def text(self, cells: Row, role: str) -> str:
        """The text of a cell that has to hold some."""
        column = self.columns[role]
        value = cells.get(column)
        if isinstance(value, str):
            if is_blank(value):
                raise RowUnusable(a_cell_is_empty, column=column)
            if value in NOT_A_NUMBER:
                raise RowUnusable(a_cell_is_empty, column=column, value=value)
            return value
        if value is None:
            raise self.missing(cells, column)
        if is_too_deep(value):
            raise RowUnusable(a_cell_has_the_wrong_type, column=shown(column), case="too deep")
        raise RowUnusable(a_cell_has_the_wrong_type, column=shown(column), case="not text", content=kind_of(value))

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

    def missing(self, cells: Row, column: str) -> RowUnusable:
        """A cell that has to hold something: null, or not even there, as where rows of two shapes are in one file."""
        if column in cells or not cells:
            return RowUnusable(a_cell_is_null, column=column)
        return RowUnusable(a_cell_is_null, "missing", column=column, case="missing", there=list(cells))


def _text(converter: Converter, example: Example, cells: Row) -> None:
    example.text = converter.text(cells, "text")


def _messages(converter: Converter, example: Example, cells: Row) -> None:
    column = converter.columns["messages"]
    value = cells.get(column)
    if value is None:
        raise converter.missing(cells, column)
    if value == "":
        raise RowUnusable(a_cell_is_null, column=column, case="empty")
    turns = conversation(value, shown(column))
    if converter.request.rows == "conversations":
        if len(turns) == 1 and isinstance(parsed(value), dict):
            raise RowUnusable(a_cell_has_the_wrong_type, "one turn", column=shown(column), case="one turn")
        _check_order(converter.observations, example, turns)
    example.messages = converter.with_system(cells, turns)
    example.tools = converter.tools(cells)


def _check_order(observations: Observations, example: Example, turns: list[Message]) -> None:
    """Turns in an order that chat models don't know, however the template takes it."""
    roles = [turn["role"] for turn in turns]

    def is_doubled(at: int) -> bool:
        """Two turns of user or assistant; calls of tools may stand beside an answer."""
        calls = turns[at - 1].get("tool_calls") or turns[at].get("tool_calls")
        return roles[at - 1] == roles[at] in ("user", "assistant") and not calls

    def observe(case: str, **facts: Any) -> None:
        observations.row(turns_are_in_an_unusual_order, example, case, case=case, **facts)

    doubled = next((at for at in range(1, len(turns)) if is_doubled(at)), None)
    late = next((at for at in range(1, len(roles)) if roles[at] == "system"), None)
    if doubled is not None:
        observe("doubled", turn=doubled, who=roles[doubled])
    if late is not None:
        observe("late system", turn=late + 1)
    speakers = [role for role in roles if role in ("user", "assistant")]
    if speakers and speakers[-1] == "user" and "assistant" in speakers:
        observe("unanswered")


def _alpaca(converter: Converter, example: Example, cells: Row) -> None:
    instruction, given = converter.text(cells, "instruction"), converter.optional(cells, "input").strip()
    output = converter.text(cells, "output")
    history = [pair for pair in (cells.get(converter.columns.get("history", "")) or []) if len(pair) == 2]
    turns: list[Message] = []
    for question, answer in [*history, (f"{instruction}\n{given}" if given else instruction, output)]:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    example.messages = converter.with_system(cells, turns)
    example.prompt = _alpaca_prompt(converter.optional(cells, "system"), history, instruction, given)
    example.completion = output


def _alpaca_prompt(system: str, history: list[Any], instruction: str, given: str) -> str:
    """An instruction in the form that was usual before chat templates."""
    parts = [system.strip() or ALPACA_PREAMBLE]
    for question, answer in history:
        parts += [f"### Instruction:\n{question}", f"### Response:\n{answer}"]
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
    """A preference row of which only the chosen answer is trained on."""
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
        raise RowUnusable(a_cell_is_null, column=column)
    word = (f"{value:g}" if isinstance(value, float) else str(value)).strip().lower()
    if word not in (*GOOD, *BAD):
        raise RowUnusable(a_cell_has_the_wrong_type, "label", column=shown(column), case="label", content=value)
    example.label = word in GOOD


def _preference(converter: Converter, example: Example, cells: Row) -> None:
    observations = converter.observations
    chosen, rejected = converter.side(cells, "chosen"), converter.side(cells, "rejected")
    prompt: Side | None = _preference_prompt(converter, cells)
    if isinstance(chosen, str) != isinstance(rejected, str):
        case = "chosen" if isinstance(chosen, str) else "rejected"
        observations.row(text_and_turns_are_mixed, example, case=case)
        chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if isinstance(prompt, list) and isinstance(chosen, str):
        chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if isinstance(chosen, list):
        prompt = _turns_before(converter, example, prompt, chosen, rejected)
        if isinstance(prompt, list):
            prompt = converter.with_system(cells, prompt)
        example.tools = converter.tools(cells)
    prompt, chosen, rejected = _split_off_prompt(converter, example, prompt, chosen, rejected)
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(answer, list) and answer and answer[-1]["role"] == "user":
            observations.row(turns_are_in_an_unusual_order, example, case="answer", who=side)
    if chosen == rejected:
        raise RowUnusable(chosen_and_rejected_are_the_same)
    better, worse = _but_for_ends(chosen), _but_for_ends(rejected)
    if better == worse:
        raise RowUnusable(chosen_and_rejected_are_the_same, case="apart from spaces")
    if isinstance(better, list) and isinstance(worse, list):
        _check_other_question(observations, example, better, worse)
    if converter.request.rows == "preferences" and not prompt:
        raise RowUnusable(a_pair_has_no_prompt)
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
    observations: Observations, example: Example, chosen: list[Message], rejected: list[Message]
) -> None:
    """Whether the two answers first differ at a turn of user or system that more follow, so that they answer different prompts."""
    at = _shared_turns(chosen, rejected)
    better, worse = chosen[at], rejected[at]
    is_last = at + 1 == min(len(chosen), len(rejected))
    if better == worse or is_last or not {"user", "system"} & {better["role"], worse["role"]}:
        return
    starts = tuple(str(turn.get("content") or "")[:30] for turn in (better, worse))
    observations.row(
        chosen_and_rejected_answer_different_prompts,
        example,
        "other prompt",
        roles=(better["role"], worse["role"]),
        starts=starts,
    )


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
        column = converter.columns["prompt"]
        converter.observations.row(text_and_turns_are_mixed, example, case="prompt", prompt=column)
        return as_turns(prompt, "user")
    return None if repeated else as_turns(prompt, "user")


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
            raise RowUnusable(a_cell_is_empty, column=converter.columns["prompt"], case="nothing to answer")
    else:
        given = converter.optional(cells, "input").strip()
        prompt = f"{prompt}\n{given}" if given else prompt
    example.prompt = prompt
    example.tools = converter.tools(cells)


def _split_off_prompt(
    converter: Converter, example: Example, prompt: Side | None, chosen: Side, rejected: Side
) -> tuple[Side | None, Side, Side]:
    """Prompt and answers, where the answers repeat the prompt or carry it inside them."""
    observations = converter.observations
    if isinstance(chosen, list) and isinstance(rejected, list):
        if prompt is None:
            shared = _shared_turns(chosen, rejected)
            return chosen[:shared], chosen[shared:], rejected[shared:]
        turns = len(prompt)
        goes_on = min(len(chosen), len(rejected)) > turns
        if isinstance(prompt, list) and goes_on and chosen[:turns] == rejected[:turns] == prompt:
            observations.row(answers_repeat_their_prompt, example)
            return prompt, chosen[turns:], rejected[turns:]
        return prompt, chosen, rejected
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return prompt, chosen, rejected
    if prompt is None and converter.request.rows == "preferences":
        end = _shared_text(chosen, rejected)
        return chosen[:end], chosen[end:], rejected[end:]
    if isinstance(prompt, str) and prompt:
        repeating = [
            side
            for side, answer in (("chosen", chosen), ("rejected", rejected))
            if answer.startswith(prompt) and answer[len(prompt) :].strip()
        ]
        if len(repeating) == 2:
            observations.row(answers_repeat_their_prompt, example)
            return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
        if len(repeating) == 1 and len(prompt) >= PROMPT_LENGTH:
            observations.row(answers_repeat_their_prompt, example, side=repeating[0])
    return prompt, chosen, rejected


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
