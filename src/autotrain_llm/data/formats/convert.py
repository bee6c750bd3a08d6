"""Raw rows to Examples, one function per format. A row that can't be converted is observed and left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autotrain_llm.data.dataset import BESIDE
from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.files.read import RawRow, Table
from autotrain_llm.data.formats.account import ColumnAccount
from autotrain_llm.data.formats.cells import Cells
from autotrain_llm.data.formats.column_names import is_good
from autotrain_llm.data.formats.detect import GRADED, ColumnMapping
from autotrain_llm.data.formats.graded import GradedAs, GradeReader
from autotrain_llm.data.formats.messages import conversation
from autotrain_llm.data.formats.paths import phrases_in
from autotrain_llm.data.formats.prompt import PromptWriter, repeats
from autotrain_llm.data.formats.segments import is_segments, joined
from autotrain_llm.data.formats.token_rows import TOKENS, read_tokens
from autotrain_llm.data.observations import Observations, RowUnusable
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.columns import (
    a_cell_has_the_wrong_type,
    a_cell_is_empty,
    a_cell_is_null,
    a_text_holds_half_a_character,
    reasoning_can_not_be_joined,
)
from autotrain_llm.data.rules.content import a_row_is_too_large
from autotrain_llm.data.rules.conversations import the_loss_mask_does_not_match_the_turns, turns_are_in_an_unusual_order
from autotrain_llm.data.rules.preferences import (
    a_pair_has_no_prompt,
    answers_repeat_their_prompt,
    chosen_and_rejected_answer_different_prompts,
    chosen_and_rejected_are_the_same,
    text_and_turns_are_mixed,
    the_rejected_answer_has_the_better_score,
)
from autotrain_llm.data.turns import THOUGHT_KEYS, is_alternating, is_conversation, is_turn, parsed, says_something
from autotrain_llm.data.wording import number_of, shown

PROMPT_LENGTH = 13  # letters; an answer may begin with a shorter prompt by chance
LARGEST_ROW = 10_000_000  # characters
HH_TURN = "\n\nAssistant:"
THOUGHT = re.compile(r"\s*(?:<think>|<thinking>|\[THINK\])")
ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)


def _check_characters(texts: list[str]) -> None:
    """Refuse half a character, which an incomplete JSON escape leaves: it can't be tokenised."""
    for text in texts:
        if text.isascii():
            continue
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as problem:
            half = f"\\u{ord(text[problem.start]):04x}"
            raise RowUnusable(a_text_holds_half_a_character, "half a character", half=half) from problem


def _last_answer(example: Example) -> Message | None:
    """The answer that a row ends with, as a turn."""
    if isinstance(example.completion, str):
        return {"role": "assistant", "content": example.completion}
    turns = example.messages or example.completion or ()
    return turns[-1] if turns and turns[-1]["role"] == "assistant" else None


class Converter:
    """Converts the rows of one data set by its column mapping, and records what is not read."""

    def __init__(
        self,
        mapping: ColumnMapping,
        request: DataRequest,
        observations: Observations,
        graded_as: GradedAs | None = None,
    ) -> None:
        self.mapping, self.request, self.observations = mapping, request, observations
        self.columns = mapping.columns
        self.make = MAKERS[mapping.format]
        self.used = set(mapping.columns.values())
        self.prompt = PromptWriter(mapping)
        self.grades = GradeReader(mapping.columns, request.num_labels, graded_as)
        self.account = ColumnAccount(mapping, request, observations)
        beside = mapping.roles(*BESIDE)
        self._main = {column for role, column in mapping.columns.items() if role not in beside}

    @property
    def graded_as(self) -> GradedAs:
        """How the rows that were converted are graded."""
        return self.grades.graded_as

    def convert(self, table: Table) -> list[Example]:
        """The Examples of a table."""
        made = (self.converted(table.file, row) for row in table.rows)
        return [example for example in made if example is not None]

    def converted(self, file: str, raw: RawRow) -> Example | None:
        """The Example of one row; None if it is left out."""
        row_number, line, row = raw
        extra = {name: value for name, value in row.items() if name not in self._main}
        example = Example(file, row_number, line, extra=extra)
        cells = Cells(row, self.columns)
        try:
            self.make(self, example, cells)
            if "reasoning" in cells:
                self._add_reasoning(example, cells)
            texts = example.strings()
            _check_characters(texts)
            _check_size(texts)
        except RowUnusable as problem:
            self.observations.row(problem.rule, example, problem.group, **problem.facts)
            return None
        self.account.add(example, cells)
        return example

    def _add_reasoning(self, example: Example, cells: Cells) -> None:
        """The reasoning before the row's last answer: a text, or the texts of its steps. An answer that has some already keeps its own."""
        value = cells.take("reasoning")
        steps = value if isinstance(value, list) and all(isinstance(step, str) for step in value) else None
        reasoning = ("\n\n".join(steps) if steps is not None else cells.optional("reasoning")).strip()
        if not reasoning:
            return
        column = self.columns["reasoning"]
        answer = _last_answer(example)
        if answer is None:
            self.observations.row(reasoning_can_not_be_joined, example, "no answer", column=column, case="no answer")
        elif THOUGHT.match(str(answer.get("content") or "")) or any(answer.get(key) for key in THOUGHT_KEYS):
            self.observations.row(reasoning_can_not_be_joined, example, "its own", column=column, case="its own")
        else:
            example.reasoning = reasoning

    def side(self, example: Example, cells: Cells, role: str) -> Side:
        """The cell of a role, as text or as turns."""
        column = cells.columns[role]
        value = cells.row.get(column)
        if value == [] and column in self.mapping.turns:
            raise RowUnusable(a_cell_is_empty, column=column)
        if column in self.mapping.calls and parsed(value):
            return self.calls(cells, role)
        is_written = isinstance(value, str) and column in self.mapping.written_turns
        if is_written or is_conversation(value) or (column in self.mapping.alternating and is_alternating(value)):
            return self.turns(example, cells, role)
        return (
            cells.text(role, is_prompt=True, is_named=self.request.is_named("prompt_column"))
            if role == "prompt"
            else cells.answer(
                role, is_python=column in self.mapping.python_values, is_found=column in self.mapping.found
            )
        )

    def calls(self, cells: Cells, role: str) -> list[Message]:
        """The turn that makes the calls in a cell."""
        cells.taken.add(role)
        turn = {"role": "function_call", "content": cells.row[cells.columns[role]]}
        return conversation([turn], shown(cells.columns[role]), cells.unread_in(role))

    def turns(self, example: Example, cells: Cells, role: str) -> list[Message]:
        """The turns in a cell; tools that are described in the same cell become the row's tools."""
        value = parsed(cells.row.get(cells.columns[role]))
        cells.taken.add(role)
        if isinstance(value, dict) and "messages" in value and value.get("tools"):
            example.tools = [tool for tool in value["tools"] if isinstance(tool, dict)]
        return conversation(value, shown(cells.columns[role]), cells.unread_in(role))


def _check_size(texts: list[str]) -> None:
    """Tokenising one text takes some hundred bytes of memory a character, all at once."""
    characters = sum(map(len, texts))
    if characters > LARGEST_ROW:
        raise RowUnusable(a_row_is_too_large, characters=characters, most=LARGEST_ROW)


def _text(converter: Converter, example: Example, cells: Cells) -> None:
    value = cells.row.get(converter.columns["text"])
    if converter.columns["text"] in converter.mapping.paragraphs and _are_texts(value):
        cells.taken.add("text")
        text = "\n\n".join(part.strip() for part in value or () if part.strip())
        if not text:
            raise RowUnusable(a_cell_is_empty, column=converter.columns["text"])
        example.text = converter.prompt.question_with_parts(cells, text)
        return
    if not is_segments(value):
        example.text = converter.prompt.question_with_parts(cells, cells.text("text", is_prompt=True))
        return
    cells.taken.add("text")
    text, spans = joined(value, cells.unread_in("text"))
    if not spans:
        raise RowUnusable(a_cell_is_empty, column=converter.columns["text"], case="nothing trained")
    example.text = converter.prompt.question_with_parts(cells, text)
    before = len(example.text) - len(text)
    example.trained_spans = [(start + before, end + before) for start, end in spans]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)


def _messages(converter: Converter, example: Example, cells: Cells) -> None:
    column = converter.columns["messages"]
    value = cells.row.get(column)
    if value is None:
        raise cells.missing(column)
    if value == "":
        raise RowUnusable(a_cell_is_null, column=column, case="empty")
    turns = converter.turns(example, cells, "messages")
    if converter.request.rows == "conversations":
        if len(turns) == 1 and isinstance(parsed(value), dict):
            case = "one turn" if is_turn(parsed(value)) else "no prompt"
            raise RowUnusable(a_cell_has_the_wrong_type, case, column=shown(column), case=case)
        _check_order(converter.observations, example, turns)
    if "turn mask" in cells:
        turns = _masked(turns, cells)
    example.messages = converter.prompt.conversation(example, cells, turns)


def _masked(turns: list[Message], cells: Cells) -> list[Message]:
    """The turns, with weight 0 for those that the row's loss mask excludes; the mask has an item for each turn, or for each assistant turn."""
    mask = cells.take("turn mask")
    if mask is None:
        return turns
    answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
    places = {len(turns): range(len(turns)), len(answers): answers}.get(len(mask))
    if places is None or not all(item in (0, 1) for item in mask):
        column = cells.columns["turn mask"]
        raise RowUnusable(
            the_loss_mask_does_not_match_the_turns, "mask", column=column, items=len(mask), turns=len(turns)
        )
    left_out = {at for at, item in zip(places, mask, strict=True) if not item} & {*answers}
    return [{**turn, "weight": 0} if at in left_out else turn for at, turn in enumerate(turns)]


def _check_order(observations: Observations, example: Example, turns: list[Message]) -> None:
    """Report turns in an order that chat models were not trained on, whatever the template makes of it."""
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


def _alpaca(converter: Converter, example: Example, cells: Cells) -> None:
    instruction = cells.text("instruction", is_prompt=True)
    is_call = converter.columns["output"] in converter.mapping.calls and bool(cells.parsed("output"))
    output = "" if is_call else cells.answer("output")
    prompt, system, history = converter.prompt, "", []
    given = cells.optional("input").strip() if prompt.has_only_input else prompt.question_with_parts(cells, "").strip()
    given = "" if repeats(instruction, given) else given
    question = f"{instruction}\n{given}" if given and prompt.has_only_input else instruction
    answer: list[Message] = converter.calls(cells, "output") if is_call else as_turns(output, "assistant")
    turns: list[Message] = [{"role": "user", "content": question}, *answer]
    if not prompt.has_only_input:
        system, history = prompt.system(cells), prompt.history(cells)
        turns = prompt.conversation(example, cells, turns)
    example.messages = turns
    if is_call:
        return
    example.prompt = _alpaca_prompt(system, history, instruction, given)
    example.completion = output


def _alpaca_prompt(system: str, history: list[Message], instruction: str, given: str) -> str:
    """An instruction in Alpaca's form, which was usual before chat templates."""
    parts = [system.strip() or ALPACA_PREAMBLE]
    for turn in history:
        heading = "### Response:" if turn["role"] == "assistant" else "### Instruction:"
        parts.append(f"{heading}\n{turn.get('content') or ''}")
    parts.append(f"### Instruction:\n{instruction}")
    if given:
        parts.append(f"### Input:\n{given}")
    return "\n\n".join([*parts, "### Response:\n"])


def _pair(converter: Converter, example: Example, cells: Cells) -> None:
    prompt, completion = converter.side(example, cells, "prompt"), converter.side(example, cells, "completion")
    _set_pair(converter, example, cells, prompt, completion)


def _set_pair(converter: Converter, example: Example, cells: Cells, prompt: Side, completion: Side) -> None:
    """A prompt and its completion; as one conversation where either is made of turns."""
    if isinstance(completion, list):
        prompt = as_turns(prompt, "user")
    example.prompt = converter.prompt.with_parts(example, cells, prompt)
    example.completion = as_turns(completion, "assistant") if isinstance(example.prompt, list) else completion
    if isinstance(example.prompt, list) and converter.request.rows == "conversations":
        _check_order(converter.observations, example, [*example.prompt, *as_turns(completion, "assistant")])


def _chosen(converter: Converter, example: Example, cells: Cells) -> None:
    """A preference row of which only the chosen answer is trained on."""
    chosen = converter.side(example, cells, "chosen")
    prompt: Side = converter.side(example, cells, "prompt") if "prompt" in converter.columns else ""
    if isinstance(chosen, list) and len(chosen) > 1:
        before = as_turns(prompt, "user") if prompt else []
        is_repeated = all(any(turn.get("content") == given.get("content") for turn in chosen) for given in before)
        turns = chosen if is_repeated else [*before, *chosen]
        example.messages = converter.prompt.conversation(example, cells, turns)
    elif not prompt:
        example.text = chosen if isinstance(chosen, str) else chosen[0]["content"]
    else:
        _set_pair(converter, example, cells, prompt, chosen)


def _labelled(converter: Converter, example: Example, cells: Cells) -> None:
    if "messages" in cells:
        turns = converter.turns(example, cells, "messages")
        users = [at for at, turn in enumerate(turns, 1) if turn["role"] != "assistant"]
        answer = turns[users[-1] if users else 0 :]
        if not answer:
            raise RowUnusable(a_cell_is_empty, column=converter.columns["messages"], case="nothing to judge")
        _set_pair(converter, example, cells, turns[: len(turns) - len(answer)], answer)
    else:
        _pair(converter, example, cells)
    column = converter.columns["label"]
    value = cells.take("label")
    if value is None:
        raise RowUnusable(a_cell_is_null, column=column)
    label = is_good(value)
    if label is None:
        raise RowUnusable(a_cell_has_the_wrong_type, "label", column=shown(column), case="label", content=value)
    example.label = label


def _graded(converter: Converter, example: Example, cells: Cells) -> None:
    if "messages" in cells:
        example.messages = converter.prompt.conversation(example, cells, converter.turns(example, cells, "messages"))
    else:
        _pair(converter, example, cells)
    converter.grades.read(example, cells)


def _preference(converter: Converter, example: Example, cells: Cells) -> None:
    observations = converter.observations
    chosen, rejected = converter.side(example, cells, "chosen"), converter.side(example, cells, "rejected")
    prompt: Side | None = _preference_prompt(converter, example, cells)
    if prompt is None:
        chosen, rejected = _after_prompt_of(rejected, chosen), _after_prompt_of(chosen, rejected)
    elif isinstance(prompt, list) and prompt[-1]["role"] == "assistant" and prompt[-1:] in (chosen[-1:], rejected[-1:]):
        prompt = prompt[:-1]  # the whole conversation stands where its beginning belongs
    if isinstance(chosen, str) != isinstance(rejected, str):
        case = "chosen" if isinstance(chosen, str) else "rejected"
        observations.row(text_and_turns_are_mixed, example, case=case)
        chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if isinstance(prompt, list) and isinstance(chosen, str):
        chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if isinstance(chosen, list):
        prompt = _turns_before(converter, example, prompt, chosen)
    prompt, chosen, rejected = _split_off_prompt(converter, example, prompt, chosen, rejected)
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(answer, list) and answer and answer[-1]["role"] == "user":
            observations.row(turns_are_in_an_unusual_order, example, case="answer", who=side)
    for role, answer in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(answer, list) and not any(map(says_something, answer)):
            raise RowUnusable(a_cell_is_empty, column=converter.columns[role])
    if chosen == rejected:
        raise RowUnusable(chosen_and_rejected_are_the_same)
    better, worse = _but_for_ends(chosen), _but_for_ends(rejected)
    if better == worse:
        raise RowUnusable(chosen_and_rejected_are_the_same, case="apart from spaces")
    if isinstance(better, list) and isinstance(worse, list):
        _check_other_question(observations, example, better, worse)
    if not prompt and isinstance(chosen, str) and converter.prompt.has_parts:
        prompt = _parts_alone(converter, example, cells)
    elif prompt:
        prompt = converter.prompt.with_parts(example, cells, prompt)
        if isinstance(prompt, list):
            chosen, rejected = as_turns(chosen, "assistant"), as_turns(rejected, "assistant")
    if converter.request.rows == "preferences" and not prompt:
        others = [name for name in phrases_in(cells.row) if name not in converter.columns.values()]
        raise RowUnusable(a_pair_has_no_prompt, group="no prompt", others=others)
    example.prompt, example.chosen, example.rejected = prompt or None, chosen, rejected
    if converter.mapping.scores is not None:
        columns = converter.mapping.scores
        score, other = (number_of(cells.row.get(column)) for column in columns)
        if score is not None and other is not None and score < other:
            facts = {"columns": columns, "scores": (score, other)}
            observations.row(the_rejected_answer_has_the_better_score, example, columns, **facts)


def _parts_alone(converter: Converter, example: Example, cells: Cells) -> str | None:
    """A prompt of nothing but contexts and the like, for rows without a question; None where they are turns or empty."""
    whole = converter.prompt.with_parts(example, cells, "")
    return whole.strip() or None if isinstance(whole, str) else None


def _after_prompt_of(other: Side, answer: Side) -> Side:
    """An answer, after the turns before the other answer where only that one is a whole conversation."""
    if isinstance(other, str) or not any(turn["role"] == "user" for turn in other):
        return answer
    turns = as_turns(answer, "assistant")
    if any(turn["role"] == "user" for turn in turns):
        return answer
    last = max(at for at, turn in enumerate(other) if turn["role"] == "user")
    return [*other[: last + 1], *turns]


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
    """Report a pair whose answers belong to different prompts: the conversations first differ in a system or user turn that is not the last
    turn."""
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


def _preference_prompt(converter: Converter, example: Example, cells: Cells) -> Side | None:
    if "prompt" not in cells:
        return None
    if converter.request.rows == "scored" and cells.take("prompt") is None:
        return None
    return converter.side(example, cells, "prompt")


def _turns_before(converter: Converter, example: Example, prompt: Side | None, chosen: Side) -> list[Message] | None:
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


def _prompts(converter: Converter, example: Example, cells: Cells) -> None:
    prompt = converter.side(example, cells, "prompt")
    if isinstance(prompt, list):
        turns = prompt
        while prompt and prompt[-1]["role"] == "assistant":
            prompt = prompt[:-1]
        if not prompt:
            raise RowUnusable(a_cell_is_empty, column=converter.columns["prompt"], case="nothing to answer")
        example.reference = _as_reference(turns[len(prompt) :][:1])
        converter.account.look_at_answer(turns[len(prompt) :])
    if "reference" in cells:
        example.reference = _as_reference(parsed(cells.take("reference")))
    example.prompt = converter.prompt.with_parts(example, cells, prompt)


def _as_reference(value: Any) -> str | None:
    """An answer to compare with: a text, a number, the first of several, or the last turn; None for anything else. Half a character is replaced."""
    if isinstance(value, list) and value:
        value = value[-1] if isinstance(value[-1], dict) else value[0]
    if isinstance(value, dict):
        value = value.get("content", value.get("value", value.get("text")))
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        return None
    return str(value).encode("utf-8", "replace").decode()


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


MAKERS: dict[str, Callable[[Converter, Example, Cells], None]] = {
    "text": _text,
    "messages": _messages,
    "sharegpt": _messages,
    "alpaca": _alpaca,
    "prompt/completion": _pair,
    "prompt/completion/label": _labelled,
    "chosen answers": _chosen,
    GRADED: _graded,
    "preference": _preference,
    "prompts": _prompts,
    TOKENS: lambda _, example, cells: read_tokens(example, cells),
}
