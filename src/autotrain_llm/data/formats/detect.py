"""Detect the format of a data set and the role of each column, for the row shape that a trainer reads. One function per format, tried in
order; then, for every format, the columns that belong to the prompt besides the question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.dataset import role_kind
from autotrain_llm.data.formats.cells import are_found_answers, prompt_key
from autotrain_llm.data.formats.choices import choices_in, first_choice, numbered_choices, numbers_of_choices
from autotrain_llm.data.formats.column_names import (
    CHOSEN,
    CLASS,
    COMPLETION,
    CONTEXT,
    HISTORY,
    IDEAL,
    INPUT,
    LABEL,
    MESSAGES,
    METADATA,
    PROMPT,
    QUESTIONS,
    REFERENCE,
    REJECTED,
    SCORES,
    SYSTEM,
    TEXT,
    TOOL_CONFIG,
    TOOLS,
    TURN_MASK,
    is_metadata,
    is_phrase,
    words_of,
)
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.judged import opposites, scores_of_pair
from autotrain_llm.data.formats.segments import SEGMENTS
from autotrain_llm.data.formats.token_rows import TOKENS, token_columns
from autotrain_llm.data.request import SIDES, DataRequest
from autotrain_llm.data.turns import (
    ROLE_KEYS,
    ROLES,
    SPEAKERS,
    awaits_answer,
    is_call,
    is_written_in_python,
    parsed,
    texts_of_turns,
)
from autotrain_llm.data.wording import number_of, plain

# Roles of columns that belong to the prompt; several columns can be contexts or choices.
CONTEXT_ROLE, CHOICE_ROLE = "context", "choice"
ANSWER_ROLES = ("completion", "output", "chosen", "rejected")
GRADED = "prompt/completion/scores"  # the format of answers with several scores, or with a class
VERDICTS_IN_PLACE_OF_ANSWERS = frozenset(
    ("accept", "accepted", "reject", "rejected", "ignore", "ignored", "approve", "approved")
)
MARKERS_OF_A_TURN = 80  # characters
SHORTEST_QUOTE = 24  # characters of an answer; a shorter one may be a choice that its question names
ANSWER_WORDS_OF_A_NAME = frozenset(("answer", "response", "reply", "completion", "solution"))


@dataclass(frozen=True)
class ColumnMapping:
    """A format's name and the column of each role.

    `turns` are columns of lists of turns, `written_turns` columns of text whose cells are parsed as turns, `alternating` columns of lists of texts that are turns, `paragraphs` those that are one text, and `python_values`
    columns of answers that are lists or objects as Python prints them. `repeating` are contexts that only write out the turns of the prompt. `first_choice` is the label of the first choice of a
    question. `found` are columns of answers that were found in a context. `calls` are columns of answers that are calls of the row's tools. `is_judged`: the pairs were made of several answers, by a judgement of them.
    `scores` are the columns with the scores of the chosen and the rejected answers of pairs.
    """

    format: str
    columns: dict[str, str] = field(default_factory=dict)
    turns: frozenset[str] = frozenset()
    written_turns: frozenset[str] = frozenset()
    alternating: frozenset[str] = frozenset()
    paragraphs: frozenset[str] = frozenset()
    python_values: frozenset[str] = frozenset()
    found: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    repeating: frozenset[str] = frozenset()
    first_choice: str = "A"
    first_is_assumed: bool = False
    is_judged: bool = False
    scores: tuple[str, str] | None = None

    def roles(self, *kinds: str) -> list[str]:
        """The roles of these kinds; several columns can be contexts or choices."""
        return [role for role in self.columns if role_kind(role) in kinds]

    def of(self, *roles: str) -> list[str]:
        """The columns of these roles, where there are any."""
        return [self.columns[role] for role in roles if role in self.columns]

    @property
    def makes_turns(self) -> bool:
        """Whether the prompt has earlier turns or tools, so that each row is a conversation."""
        return self.format != "text" and ("history" in self.columns or "tools" in self.columns)


Recogniser = Callable[[Columns, DataRequest], ColumnMapping | None]
TURNS = ("turns", "written turns")
SIDE = ("text", *TURNS, "nothing")
ANSWER = (*SIDE, "number", "flag", "object", "list", "texts")


def messages(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A list of turns with role and content, from and value (ShareGPT), question and answer, or alternating texts (UltraChat)."""
    if _named(columns, request, "prompt_column"):
        return None
    named = _named(columns, request, "text_column")
    kinds = (*TURNS, "texts")
    if named is not None or request.text_column is not None:
        is_read = named is not None and columns.kind(named) in kinds and not _are_paragraphs(columns, named, request)
        return ColumnMapping(columns.spelling(named), {"messages": named}) if named and is_read else None
    column = columns.find(MESSAGES, *kinds)
    if column is None or plain(column) in HISTORY:
        others = [name for name in columns.names if columns.kind(name) in TURNS and not _stands_beside(name)]
        is_alone = len(others) == 1 and pair(columns, request) is None and columns.find(QUESTIONS, "text") is None
        # A history may be all there is of a conversation, and else is only its beginning.
        if not is_alone and column is not None and has_answer(columns):
            return None
        column = others[0] if is_alone else column or _texts_by_turns(columns)
    if column is not None and column == _turns_to_answer(columns) and (has_answer(columns) or _ideal(columns)):
        return None  # a prompt, whose answer is in a column of its own
    return ColumnMapping(columns.spelling(column), {"messages": column}) if column else None


def _are_paragraphs(columns: Columns, column: str, request: DataRequest) -> bool:
    """Whether lists of texts are the paragraphs of a text, and no turns: by the name of their column, or because texts are wanted."""
    is_text = plain(column) in TEXT or (request.rows == "documents" and plain(column) not in MESSAGES)
    return columns.kind(column) == "texts" and is_text


def _turns_to_answer(columns: Columns) -> str | None:
    """The only column of conversations, where each ends before its answer."""
    turns = [name for name in columns.names if columns.kind(name) in TURNS and not _stands_beside(name)]
    waiting = [name for name in turns if all(map(awaits_answer, columns.values[name]))]
    return waiting[0] if len(waiting) == 1 else None


def _ideal(columns: Columns) -> str | None:
    """The answer that others are compared with, in text."""
    return columns.find(IDEAL, "text")


def _texts_by_turns(columns: Columns) -> str | None:
    """A column `data` of lists of texts, where no other column holds text but metadata."""
    column = columns.find(("data",), "texts")
    others = [name for name in columns.texts() if not columns.only_sorts(name)]
    is_id = all(plain(name) in METADATA or name == column for name in columns.names)
    return column if column and (is_id or not others) else None


def has_answer(columns: Columns) -> bool:
    return columns.find(COMPLETION, *ANSWER) is not None


def _stands_beside(name: str) -> bool:
    return plain(name) in (*TOOLS, *HISTORY, *SYSTEM)


def text(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A column of text."""
    named = _named(columns, request, "text_column")
    is_text = named and (
        columns.kind(named) in ("text", "nothing", SEGMENTS) or _are_paragraphs(columns, named, request)
    )
    if named and is_text and not _named(columns, request, "prompt_column"):
        return ColumnMapping("text", {"text": named})
    if named or _named(columns, request, "prompt_column"):
        return None
    column = columns.find((SEGMENTS,), SEGMENTS)
    if column is not None:
        return ColumnMapping("text", {"text": column})
    column = columns.find(("text",), "text", "nothing", "texts")
    if column is None:
        return None
    if request.rows == "conversations" and answers_beside(columns, column):
        return None
    mapping = alpaca(columns, request) or pair(columns, request)
    if mapping is not None and not _repeats(columns, column, mapping):
        is_prompt = column in mapping.columns.values()
        if not is_prompt or request.rows == "conversations":
            return None  # a text that a question is asked about, or that something answers
    return ColumnMapping("text", {"text": column})


def _repeats(columns: Columns, column: str, mapping: ColumnMapping) -> bool:
    """Whether a column holds the prompt and the answer of most rows once more."""
    parts = mapping.of("instruction", "prompt", "output", "completion", "chosen")
    rows = [row for row in columns.rows if isinstance(row.get(column), str)]
    whole = sum(all(str(row.get(part) or "").strip() in row[column] for part in parts) for row in rows)
    return len(parts) > 1 and whole * 2 > len(rows)


def _writes_out_turns(columns: Columns, column: str, mapping: ColumnMapping) -> bool:
    """Whether a column holds the prompt's turns as one text, with the same words around them in all rows, as a chat template has."""
    turns = next(iter(mapping.of("prompt", "messages")), None)
    if turns is None or columns.kind(turns) not in TURNS:
        return False
    rows = [row for row in columns.rows if isinstance(row.get(column), str) and row.get(turns)]
    around = [_words_around(row[column], texts_of_turns(row[turns])) for row in rows]
    most = max((words for words in around if words is not None), key=len, default=frozenset())
    return len(rows) > 1 and all(words is not None and words <= most for words in around)


def _words_around(text: str, contents: Sequence[str]) -> frozenset[str] | None:
    """The words of a text around these contents, one after the other; None if they are not all in it, or there is much more. An answer that
    only the turns have may be missing."""
    end, between = 0, []
    for at, content in enumerate(contents):
        start = text.find(content, end)
        if start < 0 and (not at or at + 1 < len(contents)):
            return None
        if start >= 0:
            between.append(text[end:start])
            end = start + len(content)
    rest = "\n".join([*between, text[end:]])
    return frozenset(rest.split()) if contents and len(rest) <= MARKERS_OF_A_TURN * (len(contents) + 1) else None


def other_text(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A column of text under another usual name; or the only one that holds text, if that looks like prose, and not like names."""
    if _named(columns, request, "text_column"):
        return None
    column = columns.find(TEXT, "text", "nothing") or only_text(columns)
    if column is not None and request.rows == "conversations" and plain(column) in QUESTIONS:
        return None  # questions without answers
    if (
        column is not None
        and plain(column) not in COMPLETION
        and request.rows == "conversations"
        and (has_answer(columns) or answers_beside(columns, column))
    ):
        return None  # texts whose answers would be lost
    return ColumnMapping("text", {"text": column}) if column else None


def answers_beside(columns: Columns, column: str) -> list[str]:
    """Columns of text that are answers by a word of their name, such as `AcceptedAnswerBody`, and of phrases that are not in this column's text."""

    def is_answer(name: str) -> bool:
        if columns.kind(name) != "text" or ANSWER_WORDS_OF_A_NAME.isdisjoint(words_of(name)):
            return False
        rows = [row for row in columns.rows if isinstance(row.get(name), str) and is_phrase(row[name])]
        apart = sum(row[name].strip() not in str(row.get(column)) for row in rows)
        return len(rows) * 2 > len(columns.rows) and apart * 2 > len(rows)

    return [name for name in columns.names if name != column and is_answer(name)]


def only_text(columns: Columns) -> str | None:
    """The only column of text, if its cells look like prose and not like names, and no unread lists or objects are next to it."""
    texts = columns.texts()
    if len(texts) != 1 or unread_beside(columns, texts[0]):
        return None
    if plain(texts[0]) in (*QUESTIONS, *COMPLETION):
        return texts[0]
    if plain(texts[0]) in METADATA or plain(texts[0]) in ("title", "name", "label"):
        return None
    return texts[0] if columns.is_prose(texts[0]) else None


def unread_beside(columns: Columns, column: str) -> list[str]:
    """Columns of lists and objects that would not be read next to this column of text, except those that only identify or sort the row."""
    return [
        name
        for name in columns.names
        if name != column
        and columns.kind(name) in ("list", "object", "texts", "turns")
        and not columns.only_sorts(name)
    ]


def alpaca(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """instruction and output; optionally also an input, a system prompt and a history."""
    if any(_named(columns, request, name) for name in SIDES):
        return None
    instruction = columns.find(("instruction",), "text")
    names = ("output", "response", "completion", "answer")
    output = columns.find(names, "text", "nothing") or columns.find(names, *ANSWER)
    if instruction is None or output is None or columns.kind(output) in TURNS:
        return None
    given = columns.find(("input", "context"), "text", "nothing")
    if given is None and len({*columns.values[instruction]}) == 1 < len(columns.rows):
        given = columns.find(
            tuple(name for name in QUESTIONS if name != "instruction"), "text"
        )  # one for all questions
    return ColumnMapping(
        "alpaca", {"instruction": instruction, **({"input": given} if given else {}), "output": output}
    )


def pair(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A prompt and its completion, under any of their usual names."""
    prompt = _named(columns, request, "prompt_column")
    completion = _named(columns, request, "text_column")
    if completion and not prompt:
        return None
    prompt = prompt or _prompt(columns) or columns.find(QUESTIONS, "number") or _object_with_a_prompt(columns)
    others = tuple(name for name in COMPLETION if name != plain(prompt or ""))
    completion = completion or _completion(columns, others)
    turns = _turns_to_answer(columns) if prompt is None or columns.kind(prompt) != "text" else None
    completion = completion or (_ideal(columns) if turns is not None else None)
    if completion is not None and turns is not None:
        prompt = prompt if prompt is not None and columns.kind(prompt) in TURNS else turns
    if prompt is None and completion is not None and columns.kind(completion) in ("text", "number"):
        prompt = columns.find((*TEXT, *MESSAGES), "text")  # a text and its summary, a sentence with choices
    if prompt is None or completion is None or prompt == completion:
        return None
    return ColumnMapping("prompt/completion", {"prompt": prompt, "completion": completion})


def _completion(columns: Columns, names: Sequence[str]) -> str | None:
    """A column under one of these names, text before anything else, of which the values are no judgements; or the key of the choices in other columns."""
    usual = [
        name for name in names if (column := columns.find((name,))) is None or not _are_verdicts(columns.values[column])
    ]
    return columns.find(usual, *SIDE) or columns.find(usual, *ANSWER) or _key_of_choices(columns)


def _key_of_choices(columns: Columns) -> str | None:
    """The column that names the right one of the choices in other columns."""
    told = numbered_choices(columns) or numbers_of_choices(columns)
    return told[1] if told is not None else None


def _are_verdicts(values: Sequence[Any]) -> bool:
    """Whether all values say whether another column was accepted."""
    return bool(values) and {str(value).strip().lower() for value in values} <= VERDICTS_IN_PLACE_OF_ANSWERS


def _prompt(columns: Columns) -> str | None:
    """A column under the usual name of a prompt; not one that says in a word where the row is from."""
    for name in PROMPT:
        column = columns.find((name,), "text", *TURNS)
        if column is not None and (
            name not in METADATA or any(" " in str(value).strip() for value in columns.values[column])
        ):
            return column
    return None


def _object_with_a_prompt(columns: Columns) -> str | None:
    """A column under the usual name of a prompt with an object in each cell that holds its text, `{"id": "x", "full_text": "…"}`."""
    column = columns.find(QUESTIONS, "object")
    cells = columns.values[column] if column is not None else []
    return column if cells and all(prompt_key(cell) is not None for cell in cells) else None


def preference(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A chosen and a rejected answer; the prompt is in its own column, or at the beginning of both."""
    rejected = (
        _named(columns, request, "rejected_column") or columns.find(REJECTED, *SIDE) or columns.find(REJECTED, *ANSWER)
    )
    others = tuple(name for name in CHOSEN if name != plain(rejected or ""))
    chosen = _named(columns, request, "text_column") or columns.find(others, *SIDE) or columns.find(others, *ANSWER)
    chosen = chosen or (columns.find(MESSAGES, *TURNS) if rejected is not None else None)
    if rejected is None and request.rows in ("preferences", "scored") and not _named(columns, request, "text_column"):
        answers = [name for name in columns.names if columns.kind(name) in ("text", *TURNS)]
        pairs = opposites(answers)
        chosen, rejected = pairs[0] if len(pairs) == 1 else (None, None)
    if rejected is None or chosen is None:
        return None
    roles = {"chosen": chosen, "rejected": rejected}
    prompt = _named(columns, request, "prompt_column") or _prompt_of_pair(columns, chosen, rejected)
    if prompt is not None and prompt not in roles.values() and columns.kind(prompt) != "nothing":
        roles = {"prompt": prompt, **roles}
    return ColumnMapping("preference", roles, scores=scores_of_pair(columns, request.ignored_columns))


def _prompt_of_pair(columns: Columns, chosen: str, rejected: str) -> str | None:
    """The column of the prompt that two answers belong to: one under a usual name, or conversations that end before the answer. A text in which both
    answers stand is the prompt of a judge, and the prompt only if there is no other question."""
    prompt = columns.find((*QUESTIONS, *MESSAGES), *SIDE)
    if prompt is None and not (columns.kind(chosen) in TURNS and _hold_questions(columns, chosen)):
        prompt = _turns_to_answer(columns) or _prompt(columns) or _object_with_a_prompt(columns)
    if prompt is None or not quotes_both(columns, prompt, chosen, rejected):
        return prompt
    words = frozenset(QUESTIONS)
    others = [
        name
        for name in columns.names
        if name not in (prompt, chosen, rejected)
        and columns.kind(name) in ("text", *TURNS)
        and not words.isdisjoint(plain(name).split("_"))
        and not quotes_both(columns, name, chosen, rejected)
    ]
    return next((name for name in others if not columns.only_sorts(name)), prompt)


def quotes_both(columns: Columns, prompt: str, chosen: str, rejected: str) -> bool:
    """Whether prompts have both answers in them, as those of a judge have: most of those in rows with answers that are no single words."""
    quoted = []
    for row in columns.rows:
        answers = [str(row.get(side) or "").strip() for side in (chosen, rejected)]
        if min(map(len, answers)) >= SHORTEST_QUOTE and row.get(prompt):
            cell = row[prompt]
            text = "\n".join(texts_of_turns(cell)) if columns.kind(prompt) in TURNS else str(cell)
            quoted.append(all(answer in text for answer in answers))
    return sum(quoted) * 2 > len(quoted)


def _hold_questions(columns: Columns, column: str) -> bool:
    """Whether conversations hold more than an answer."""
    cells = (parsed(value) for value in columns.values[column])
    return all(isinstance(cell, list) and len(cell) > 1 for cell in cells)


def labelled(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A prompt, a completion and a label for good or bad (KTO's format); or a conversation whose last answer is labelled."""
    label = columns.find(LABEL, "flag", "number", "text") if TRAINERS[request.trainer].parts_pairs else None
    mapping = (pair(columns, request) or messages(columns, request)) if label else None
    if label is None or mapping is None or label in mapping.columns.values():
        return None
    return ColumnMapping("prompt/completion/label", mapping.columns | {"label": label})


def graded(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """An answer with several scores, in one cell or in a column each, or with its class."""
    mapping = pair(columns, request) or messages(columns, request)
    if mapping is None:
        return None

    def free(column: str | None) -> bool:
        return column is not None and column not in (*mapping.columns.values(), *request.ignored_columns)

    scores = next((name for name in SCORES if free(columns.find((name,), "list", "object"))), None)
    if scores is not None:
        return ColumnMapping(GRADED, mapping.columns | {"scores": str(columns.find((scores,), "list", "object"))})
    label = next((column for name in CLASS if free(column := columns.find((name,), "text", "number", "flag"))), None)
    numbers = [name for name in columns.names if free(name) and holds_numbers(columns, name)]
    of_content = [name for name in numbers if not is_metadata(name, 0)]
    fitting = next((names for names in (numbers, of_content) if len(names) == request.num_labels), None)
    if fitting is None and label is not None:
        return ColumnMapping(GRADED, mapping.columns | {"class": label})
    chosen = fitting or (numbers if len(numbers) > 1 else [])
    roles = {f"score {at}": name for at, name in enumerate(chosen, 1)}
    return ColumnMapping(GRADED, mapping.columns | roles) if roles else None


def holds_numbers(columns: Columns, name: str) -> bool:
    """Whether a column holds numbers, also where its cells are text, as in CSV."""
    return columns.kind(name) == "number" or (
        columns.kind(name) == "text" and None not in map(number_of, columns.values[name])
    )


def prompts(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """Prompts alone: text, or conversations that end before the answer."""
    apart, named = _named(columns, request, "prompt_column"), _named(columns, request, "text_column")
    prompt = apart or named
    prompt = prompt or columns.find(("prompt", "query", "question", "instruction", "problem"), "text", *TURNS, "number")
    prompt = prompt or columns.find(MESSAGES, *TURNS, "texts") or columns.find(TEXT, "text") or _prompt(columns)
    if prompt is None and len(columns.texts()) == 1:
        prompt = only_text(columns)
    prompt = prompt or _object_with_a_prompt(columns)
    if prompt is None:
        return None
    answer = named if apart is not None else None
    reference = answer or columns.find(REFERENCE, "text", "number", *TURNS, "texts")
    reference = reference or _key_of_choices(columns)
    beside = {"reference": reference} if reference not in (None, prompt) else {}
    return ColumnMapping("prompts", {"prompt": prompt, **beside})


def chosen_answers(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """Preference pairs for a trainer that needs answers: the chosen ones are trained on."""
    mapping = preference(columns, request) if request.text_column is None else None
    if mapping is None:
        return None
    roles = {role: column for role, column in mapping.columns.items() if role != "rejected"}
    return ColumnMapping("chosen answers", roles)


def tokens(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """Token ids, with labels or masks."""
    if _named(columns, request, "prompt_column"):
        return None
    roles = token_columns(columns, _named(columns, request, "text_column"), request.ignored_columns)
    return ColumnMapping(TOKENS, roles) if roles else None


RECOGNISERS: dict[str, tuple[Recogniser, ...]] = {
    "documents": (text, messages, alpaca, chosen_answers, pair, tokens, other_text),
    "conversations": (messages, text, alpaca, chosen_answers, pair, tokens, other_text),
    "preferences": (labelled, preference),
    "scored": (preference,),
    "graded": (graded,),
    "prompts": (prompts,),
}


# The formats that can be recognised for each shape of rows, as `DataRequest.format` names them.
FORMATS: dict[str, tuple[str, ...]] = {
    "documents": ("text", "messages", "sharegpt", "alpaca", "chosen answers", "prompt/completion", TOKENS),
    "conversations": ("messages", "sharegpt", "text", "alpaca", "chosen answers", "prompt/completion", TOKENS),
    "preferences": ("prompt/completion/label", "preference"),
    "scored": ("preference",),
    "prompts": ("prompts",),
}


def recognise(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """The first format that fits the columns, with the columns that belong to the prompt; None if none fits."""
    for recogniser in RECOGNISERS[request.rows]:
        mapping = recogniser(columns, request)
        if mapping is not None and request.format not in (None, mapping.format):
            continue
        if mapping is not None and mapping.format in ("text", "prompts") and rows_are_turns(columns):
            return None
        if mapping is not None and mapping.format == TOKENS:
            return mapping
        if mapping is not None:
            return _with_written_turns(_with_prompt_parts(mapping, columns, request), columns)
    return None


def rows_are_turns(columns: Columns) -> bool:
    """Whether each row is one turn of a conversation: a column holds nothing but the roles of speakers; under another name, of both who ask and who answer."""
    column = columns.find(ROLE_KEYS, "text")
    if column is not None and all(str(value).strip().lower() in ROLES for value in columns.values[column]):
        return True
    words = [{str(value).strip().lower() for value in columns.values[name]} for name in columns.texts()]
    return any(
        of_column <= SPEAKERS and {ROLES[word] for word in of_column} >= {"user", "assistant"} for of_column in words
    )


def _with_prompt_parts(mapping: ColumnMapping, columns: Columns, request: DataRequest) -> ColumnMapping:
    """The mapping with every other column that belongs to the prompt, whatever the format and the trainer."""
    roles = dict(mapping.columns)

    def free(column: str | None) -> bool:
        return column is not None and column not in roles.values() and column not in request.ignored_columns

    def add(role: str, names: Sequence[str], *kinds: str) -> None:
        column = next((found for name in names if free(found := columns.find((name,), *kinds))), None)
        is_ids = (
            role == "input" and column is not None and columns.holds_ids(column)
        )  # `inputs` beside `inputs_pretokenized`
        if column is not None and role not in roles and not is_ids:
            roles[role] = column

    if request.reasoning_column in columns.values and free(request.reasoning_column):
        roles["reasoning"] = request.reasoning_column
    contexts: list[str] = [name for name in request.context_columns if name in columns.values and free(name)]
    if mapping.format != "text":
        # An object with a text in it, `{"content": "…"}`, is a system prompt as well.
        add("system", SYSTEM, "text", "object", "list", "texts", *TURNS)
        add("history", HISTORY, "list", "texts", *TURNS, "text")
        add("tools", TOOLS)
        config = columns.find(TOOL_CONFIG, "object")
        if config is not None and all("tools" in cell for cell in columns.values[config] if isinstance(cell, dict)):
            add("tools", TOOL_CONFIG)
        add("turn mask", TURN_MASK if "messages" in roles else (), "list")
        add("input", INPUT, "text", "number", "flag", "object", "list", "texts")
        known = [name for name in CONTEXT if name not in request.context_columns]
        found = [column for name in known if (column := columns.find((name,))) is not None and free(column)]
        # `references` that are an object are answers to compare with.
        found = [column for column in found if plain(column) != "references" or columns.kind(column) != "object"]
        contexts += [column for column in found if columns.kind(column) != "nothing" and not columns.holds_ids(column)]
        guessed = [name for name in contexts if name not in request.context_columns]
        repeating = frozenset(name for name in guessed if _writes_out_turns(columns, name, mapping))
        repeated = [*repeating, *(name for name in guessed if _repeats(columns, name, mapping))]
        contexts = [name for name in contexts if name not in repeated]
        mapping = replace(mapping, repeating=repeating)
    roles |= {
        f"{CONTEXT_ROLE} {at}" if at > 1 else CONTEXT_ROLE: name for at, name in enumerate(dict.fromkeys(contexts), 1)
    }
    if mapping.format == "text" or mapping.columns.keys() & {"messages"}:
        return replace(mapping, columns=roles)
    choices, told = choices_in(columns), numbered_choices(columns)
    if told is not None and told[1] in (roles.get("completion"), roles.get("output"), roles.get("reference")):
        choices = told[0]
    choices = choices if all(map(free, choices)) else []  # one of them is an answer
    roles |= {f"{CHOICE_ROLE} {at}" if at > 1 else CHOICE_ROLE: name for at, name in enumerate(choices, 1)}
    first, is_assumed = first_choice(columns, roles, choices)
    return replace(mapping, columns=roles, first_choice=first, first_is_assumed=is_assumed)


def _with_written_turns(mapping: ColumnMapping, columns: Columns) -> ColumnMapping:
    """Which columns of text are read as turns. An answer to a prompt of text that happens to be a conversation in JSON stays text."""
    written = {column for column in mapping.columns.values() if columns.kind(column) == "written turns"}
    prompt = next(iter(mapping.of("prompt", "instruction")), None)
    if prompt is not None and columns.kind(prompt) == "text":
        sides = mapping.of("chosen", "rejected")
        apart = [column for column in sides if not _begin_with_prompt(columns, column, prompt)]
        written -= {*mapping.of("completion", "output"), *apart}
    answers = mapping.of(*ANSWER_ROLES)

    def among(names: Iterable[str], kind: str) -> frozenset[str]:
        return frozenset(name for name in names if columns.kind(name) == kind)

    return replace(
        mapping,
        turns=among(mapping.columns.values(), "turns"),
        written_turns=frozenset(written),
        alternating=among(mapping.of("messages", "prompt"), "texts"),
        paragraphs=among(mapping.of("text"), "texts"),
        python_values=frozenset(
            name for name in answers if columns.values[name] and all(map(is_written_in_python, columns.values[name]))
        ),
        found=frozenset(name for name in answers if any(map(are_found_answers, columns.values[name]))),
        calls=frozenset(name for name in answers if _are_calls(columns, name, mapping.columns.get("tools"))),
    )


def _are_calls(columns: Columns, column: str, tools: str | None) -> bool:
    """Whether each answer of a column is a list of calls, each of one of the tools that its row describes; a list without any calls none."""
    if tools is None:
        return False
    answers = [(parsed(row.get(column)), str(row.get(tools))) for row in columns.rows if row.get(column)]
    return any(calls for calls, _ in answers) and all(
        isinstance(calls, list) and all(is_call(call) and call["name"] in described for call in calls)
        for calls, described in answers
    )


def _begin_with_prompt(columns: Columns, column: str, prompt: str) -> bool:
    """Whether the turns in a column of text repeat the row's prompt."""
    return all(str(row.get(prompt)).strip() in str(parsed(row[column])) for row in columns.rows if row.get(column))


def _named(columns: Columns, request: DataRequest, column_field: str) -> str | None:
    """The column that a field of the request names, where the data has it."""
    name = getattr(request, column_field)
    return name if name in columns.values else None
