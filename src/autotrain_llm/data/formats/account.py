"""Keep account of the columns and keys of each row that are not used for training; those that hold text, lists or objects are reported."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.data.dataset import FOR_REWARDS, REPEATS_ROW
from autotrain_llm.data.example import Example, Message, texts_of
from autotrain_llm.data.files.locate import SPLIT_WORDS
from autotrain_llm.data.files.read import LOOKED_AT
from autotrain_llm.data.formats.cells import Cells, is_empty, kind_of_answers
from autotrain_llm.data.formats.choices import SIGN_IN_A_NAME
from autotrain_llm.data.formats.column_names import (
    A_SIDE,
    BESIDE_TOKENS,
    CHOSEN,
    COMPLETION,
    COUNT,
    IDEAL,
    INSIDE,
    JUDGEMENT,
    JUDGES,
    LABEL,
    LANGUAGE_OF_THE_ANSWER,
    LIMIT,
    LINKS,
    MEDIA,
    NEUTRAL_WORDS,
    OF_THE_ANSWER,
    ORIGIN,
    PREFERENCE_LABEL,
    QUESTIONS,
    REASONING,
    REJECTED,
    SAYS_IT_IS_BETTER,
    SETTINGS,
    SYSTEM,
    TOKEN_MASK,
    TOOLS,
    TURN_MASK,
    VERDICT_WORDS,
    WEIGHT,
    WORDS_OF_A_PHRASE,
    WORDS_OF_A_TITLE,
    WRONG_ANSWERS,
    is_good,
    is_metadata,
    is_phrase,
    words_of,
)
from autotrain_llm.data.formats.detect import ANSWER_ROLES, ColumnMapping
from autotrain_llm.data.formats.quoting import LEAST_ANSWER, AnswersByValue, gives_away
from autotrain_llm.data.formats.token_rows import IDS, TOKENS
from autotrain_llm.data.formats.turn_keys import TurnKeys
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.columns import (
    a_key_is_not_used,
    a_value_is_written_as_json,
    columns_are_not_used,
    contexts_hold_the_answers,
)
from autotrain_llm.data.rules.conversations import started_answers_are_left_out
from autotrain_llm.data.rules.splits import rows_belong_to_another_split
from autotrain_llm.data.turns import ROLE_KEYS
from autotrain_llm.data.wording import number_of, plain

ANSWERED = ("prompt/completion", "alpaca", "messages", "sharegpt")
JUDGING_KEY = re.compile(
    r"(?:\A|_)(?:pref|preference|preferred|rank|ranking|rating|score|vote|winner|better|best|judge?ment|verdict)(?:_|\Z)"
)
SENTENCE_END = re.compile(r"[.!?。！？]+(?=\s|\Z)")
PAIRED = ("preference", "chosen answers")
# Of a prompt that is repeated: its length, and that of the markers around it, in characters.
FEWEST_LETTERS, MARKERS = 12, 160
# Of a column in words of the prompt: in which share of its rows.
MOST_ROWS = 0.9
# Of a category: in how many rows it has to be seen, how often each value on average, and its longest value in characters.
FEWEST_ROWS, ROWS_OF_A_VALUE, LONGEST = 20, 4, 40
# Truth values as numbers; and what makes a word its opposite.
DIGITS = frozenset(("1", "0", "-1", "1.0", "0.0", "-1.0"))
OPPOSITE = re.compile(r"\A(?:un|in|im|non|not|no|dis)[ _-]?")
MASKS = ("mask", "masks", *TURN_MASK, *TOKEN_MASK)
WORDS = re.compile(r"\w+")
OPEN_TAG = re.compile(r"<[\w|]+>\s*\Z")
ANSWERS = frozenset((*COMPLETION, *CHOSEN, *REJECTED))


@dataclass(slots=True)
class _UnreadColumn:
    """A column that is not read: its first value, and what was true of all values so far."""

    first: Any
    differs: bool = False
    only_metadata: bool = True
    repeats_row: bool = True
    rows_in_words_of_prompt: int = 0  # rows of which the value is a phrase, and all of its words are in the prompt
    holds_text: bool = False
    is_beside_ids: bool = True  # has an item for each token of the row
    rows: int = 0
    rows_with_answer: int = 0  # rows of which the value repeats an answer
    rows_around_answer: int = 0  # rows of which the value has the answer in it, with more around it
    rows_measured: dict[str, int] = field(default_factory=dict)  # by measure, the rows of whose answer it is the value
    verdicts: set[bool | None] = field(default_factory=set)  # what the values say of an answer: good, bad, or neither
    marks: set[str] = field(default_factory=set)  # the values, and of lists and objects the ones and zeros in them
    markers: frozenset[str] | None = None  # words around the row's own texts in the first row
    distinct: set[str] = field(default_factory=set)
    is_numbers: bool = True
    counts_rows: bool = True  # numbers that rise from row to row
    last_number: float = -math.inf
    phrases: set[str] = field(default_factory=set)  # different texts of several words
    rows_with_phrase: int = 0
    texts_by_key: dict[str, set[str]] = field(default_factory=dict)  # inside lists and objects
    answers: AnswersByValue = field(default_factory=AnswersByValue)

    def look_for_repetition(self, value: Any, example: Example, prompt: str) -> None:
        """Record whether a value says what is in the converted row, and whether it says what is in the answer."""
        if self.repeats_row and not _is_in_row(value, example):
            markers = _markers_around(value, example.strings())
            self.markers = markers if self.markers is None else self.markers
            # A chat template has the same words around every row; a text that quotes the row has others each time.
            self.repeats_row = markers is not None and self.markers is not None and markers <= self.markers
        self.rows_in_words_of_prompt += _says_no_more(value, prompt)
        self.rows_with_answer += _gives_answer_away(value, example)
        self.rows_around_answer += _holds_answer(value, example)
        for measure in _measures_met(value, example):
            self.rows_measured[measure] = self.rows_measured.get(measure, 0) + 1
        marks = (
            [leaf for leaf in _leaves(value) if number_of(leaf) in (-1, 0, 1)]
            if isinstance(value, list | dict)
            else [value]
        )
        self.verdicts.update(map(is_good, marks))
        self.marks.update(str(mark).strip().casefold()[: LONGEST + 1] for mark in marks)

    def look_for_phrases(self, name: str, value: Any) -> None:
        """Record the phrases in a value; two words are the name of a person or a model, and in a column of anything else a title."""
        least = WORDS_OF_A_PHRASE if ORIGIN.search(plain(name)) else WORDS_OF_A_TITLE
        phrases = [text.strip() for text in _leaves(value) if isinstance(text, str) and is_phrase(text, least)]
        self.phrases.update(text[:LONGEST] for text in phrases)
        self.rows_with_phrase += bool(phrases)

    def look_for_sides(self, value: Any) -> None:
        """Record the texts under each key inside a list or an object."""
        for key, text in _texts_by_key("", value) if isinstance(value, list | dict) else ():
            self.texts_by_key.setdefault(key, set()).add(text.strip().lower()[:LONGEST])

    def look_for_numbers(self, value: Any) -> None:
        """Record whether a value is a number, also as text, or a truth value, and whether it is more than the last."""
        number = float(value) if isinstance(value, bool) else number_of(value)
        if number is None:
            self.is_numbers = False
        else:
            self.counts_rows &= number > self.last_number
            self.last_number = number

    @property
    def may_compare(self) -> bool:
        """Whether the values could say which of two answers is better: numbers that don't count the rows, or words for one of two."""
        if self.is_numbers:
            return not self.counts_rows
        return all(A_SIDE.fullmatch(value.strip().lower()) for value in self.distinct)

    @property
    def names_sides(self) -> bool:
        """Whether a key inside the values has a word for one of two answers in each of them, such as left and right, and not the same in all."""
        return any(len(texts) > 1 and all(map(A_SIDE.fullmatch, texts)) for texts in self.texts_by_key.values())

    @property
    def is_verdict(self) -> bool:
        """Whether the values say good of some answers and bad of others."""
        return {True, False} <= self.verdicts

    @property
    def tells_answers_apart(self) -> bool:
        """Whether the values, each of which comes again, say which of several answers to a prompt is meant."""
        return len(self.answers.values) < self.rows and self.answers.tell_apart

    @property
    def holds_several(self) -> bool:
        """Whether the values are lists of texts, or of objects of one text each."""
        parts = self.first if isinstance(self.first, list) else []
        texts = [[leaf for leaf in _leaves(part) if isinstance(leaf, str)] for part in parts]
        return bool(texts) and all(len(of_part) == 1 for of_part in texts)

    @property
    def measures_answers(self) -> bool:
        """Whether a number says how long the answer of each row is."""
        return self.differs and self.is_numbers and max(self.rows_measured.values(), default=0) == self.rows

    @property
    def is_free_text(self) -> bool:
        """Whether most rows have a phrase of their own. A category, a source or a license is written out as well, but comes again."""
        return len(self.phrases) > 1 and len(self.phrases) * 2 > self.rows_with_phrase

    @property
    def is_category(self) -> bool:
        """Whether few short values come again and again."""
        return (
            self.rows >= FEWEST_ROWS
            and len(self.distinct) * ROWS_OF_A_VALUE <= self.rows
            and all(len(value) <= LONGEST for value in self.distinct)
        )


class ColumnAccount:
    """The columns of one data set that were not read."""

    def __init__(self, mapping: ColumnMapping, request: DataRequest, observations: Observations) -> None:
        self.mapping, self.request, self.observations = mapping, request, observations
        self.used = frozenset(mapping.columns.values())
        self._answer_columns = mapping.of(*ANSWER_ROLES)
        self.rows = 0
        self._answers: dict[str, None] = {}  # turns of the assistant that prompts end with, up to two different ones
        self._answered = 0  # rows that end with one
        self._opening = ""  # the first of these turns that ends with a tag that it opens
        self._opened = 0  # rows that end with such a turn
        self._unread: dict[str, _UnreadColumn] = {}
        self._row: tuple[str, str] = ("", "")  # the prompt and the answer of the row that is looked at
        self._turn_keys: dict[str, TurnKeys] = {}  # by column
        self._keys: set[tuple[str, str]] = set()  # columns and keys that were reported
        self._around_answers: dict[str, int] = {}  # by context, the rows of which it has the answer in it

    def add(self, example: Example, cells: Cells) -> None:
        """Record what was not read of a row that was converted."""
        self.rows += 1
        if self.rows <= LOOKED_AT:
            self._row = _prompt_and_answer(example)
        for column in self.request.context_columns if self.rows <= LOOKED_AT else ():
            self._around_answers[column] = self._around_answers.get(column, 0) + _holds_answer(
                cells.row.get(column), example
            )
        if len(cells.taken) < len(cells.columns):
            for role in cells.columns.keys() - cells.taken:
                self._look(cells.columns[role], cells, example)
        for name in cells.row:
            if name not in self.used:
                self._look(name, cells, example)
        for column in cells.as_json:
            value = cells.row.get(column)
            case = kind_of_answers(value) if column in self._answer_columns else ""
            facts = {"column": column, "value": str(value)[:60], "case": case}
            self.observations.row(a_value_is_written_as_json, example, ("JSON", column, case), **facts)
        for column, unread in cells.unread.items():
            if unread.left or self.rows <= LOOKED_AT:
                self._turn_keys.setdefault(column, TurnKeys()).add(unread, example)
            keys = {key: value for key, value in unread.items() if _is_content(key, value)}
            if keys:
                self._keys.update((column, key) for key in keys)
                self.observations.row(
                    a_key_is_not_used, example, ("keys", column, *sorted(keys)), column=column, keys=keys
                )

    def look_at_answer(self, turns: list[Message]) -> None:
        """Record the turns of the assistant that a prompt ended with, and that were left out of it."""
        if not turns:
            return
        answer = str(turns[-1].get("content") or "")
        self._answered += 1
        if len(self._answers) < 2:
            self._answers.setdefault(answer)
        if OPEN_TAG.search(answer):
            self._opening = self._opening or answer
            self._opened += 1

    def _look(self, name: str, cells: Cells, example: Example) -> None:
        value = cells.row.get(name)
        if is_empty(value):
            return
        unread = self._unread.get(name)
        if unread is None:
            unread = self._unread[name] = _UnreadColumn(value)
        elif not unread.differs:
            unread.differs = value != unread.first
        if self.rows <= LOOKED_AT:
            unread.only_metadata = unread.only_metadata and _only_sorts(name, value)
            prompt, answer = self._row
            unread.look_for_repetition(value, example, prompt)
            unread.look_for_phrases(name, value)
            unread.look_for_numbers(value)
            unread.look_for_sides(value)
            if answer and not ORIGIN.search(plain(name)):
                unread.answers.add(prompt, str(value), answer)
            unread.holds_text = unread.holds_text or any(isinstance(text, str) for text in _leaves(value))
            ids = cells.row.get(self.mapping.columns.get(IDS, ""))
            unread.is_beside_ids &= isinstance(value, list) and isinstance(ids, list) and len(value) == len(ids)
            unread.rows += 1
            unread.distinct.add(str(value)[: LONGEST + 1])

    def unused(self) -> dict[str, str]:
        """Every column that is not read, with the reason."""
        return {name: self._reason(name, column) for name, column in self._unread.items()}

    def _reason(self, name: str, column: _UnreadColumn) -> str:
        """`not used` if the column has to be reported; else the reason why it doesn't."""
        request = self.request
        if name in request.ignored_columns:
            return "ignored"
        if request.keeps_columns:
            return FOR_REWARDS
        if name in self.mapping.repeating:
            return REPEATS_ROW
        if plain(name) in LINKS:
            return "not used"
        if self.mapping.format == TOKENS and column.is_beside_ids and plain(name) not in BESIDE_TOKENS:
            return "not used"
        is_judgement = plain(name) in (*LABEL, *JUDGEMENT, *WEIGHT, *SETTINGS, *MASKS) or self._says_which_is_better(
            plain(name), column
        )
        is_judgement = is_judgement or bool(self._judges_answers(name, column))
        tells_apart = column.tells_answers_apart or self._limits_answers(name, column)
        if plain(name) in MEDIA:
            return "not used"
        if request.rows == "prompts" and (plain(name) in ANSWERS or is_judgement):
            return "an answer"
        if self.mapping.format == "chosen answers" and plain(name) in REJECTED:
            return "a rejected answer"
        if not column.holds_text and not is_judgement and not tells_apart:
            return "no text"
        repeats = column.repeats_row or column.rows_in_words_of_prompt >= MOST_ROWS * column.rows
        if repeats and not is_judgement and not tells_apart:
            return REPEATS_ROW
        is_free = column.is_free_text or tells_apart
        is_metadata_column = column.only_metadata and not is_free
        is_category = column.is_category and not is_free and not LANGUAGE_OF_THE_ANSWER.search(plain(name))
        if (is_metadata_column or is_category) and not is_judgement:
            return "metadata"
        # A part of the prompt that is the same for all rows is no less a part of it.
        is_in_each = column.rows == min(self.rows, LOOKED_AT)
        is_part = bool(_parts_of_prompt({name: column.first, **_object(column.first)})) or (
            any(map(is_phrase, column.phrases)) and not column.only_metadata
        )
        is_reported = column.differs or not is_in_each or self.rows == 1 or is_part
        return "not used" if is_reported else "the same in each row"

    def observe(
        self,
        file: str,
        already: frozenset[str] = frozenset(),
        answering: Callable[[list[str]], list[str]] | None = None,
    ) -> None:
        """Report the columns that are not used, except those that were reported already. Of these, `answering` gives those that could be trained on as the
        answer to the text."""
        self._observe_splits(file)
        rows = min(self.rows, LOOKED_AT)
        for column, around in self._around_answers.items():
            if around == rows > 1:
                self.observations.add(contexts_hold_the_answers, file=file, column=column)
        if len(self._answers) < min(2, self._answered):  # the same turn in all rows
            start, rows = next(iter(self._answers)), self._answered
        else:
            start, rows = self._opening, self._opened
        if rows:
            self.observations.add(started_answers_are_left_out, file=file, start=start, rows=rows)
        for column, of_turns in self._turn_keys.items():
            for key, value, at in of_turns.telling():
                if (column, key) not in self._keys:
                    facts = {"column": column, "keys": {key: value}, "marks_turns": True}
                    self.observations.row(a_key_is_not_used, at, ("marks", column, key), **facts)
        unused = [name for name, reason in self.unused().items() if reason == "not used" and name not in already]
        if unused:
            columns = {name: self._unread[name].first for name in unused}
            kinds = {name: self._kind(name) for name in unused}
            inside = {name: _parts_of_prompt(columns[name]) for name in unused}
            text = self.mapping.columns.get("text", "")
            where = "the prompt" if self.mapping.format != "text" else "the text"
            free = [name for name in unused if kinds[name] in ("", "answer")] if text else []
            answers = answering(free) if answering is not None and self.request.rows == "conversations" else []
            facts = {"columns": columns, "kinds": kinds, "inside": inside, "where": where, "text": text}
            self.observations.add(columns_are_not_used, file=file, **facts, answering=answers)

    def _says_which_is_better(self, name: str, column: _UnreadColumn) -> bool:
        """Whether a column beside two answers may say which of them is better: by its name, or, where the names of the answers' columns don't say
        it, by its values."""
        if self.mapping.format not in PAIRED:
            return False
        if name in PREFERENCE_LABEL or name.startswith("winner"):
            return True
        if self.mapping.is_judged or any(SAYS_IT_IS_BETTER.search(plain(answers)) for answers in self._answer_columns):
            return False
        if isinstance(column.first, list | dict):
            judges = any(JUDGING_KEY.search("_".join(words_of(key))) for key in _keys(column.first))
            return column.differs and (judges or column.names_sides)
        return column.differs and column.may_compare and not is_metadata(name, 0)

    def _judges_answers(self, name: str, column: _UnreadColumn) -> str:
        """`verdict` if a column says in words for it that some answers are good and others bad; `flag` if it may say so, under whatever name: true of some
        rows and false of others, or a word and its opposite; else empty."""
        if self.mapping.format in PAIRED or self.request.rows == "prompts":
            return ""
        words, is_in_words = column.marks, not isinstance(column.first, list | dict)
        if is_in_words and column.is_verdict and words <= NEUTRAL_WORDS | VERDICT_WORDS and words & VERDICT_WORDS:
            return "verdict"
        name = "_".join(words_of(name))
        judges = JUDGES.search(name) is not None
        comes_again = self.mapping.format in ANSWERED and column.rows >= 2 * len(words)
        if not (column.is_verdict or _are_opposites(words)) or not (judges or comes_again):
            return ""
        if is_in_words and not words <= DIGITS:
            return "flag" if words <= NEUTRAL_WORDS or _are_opposites(words) else ""
        # Ones and zeros may also be an index, a count or a rank, and stand for anything in a list or an object.
        is_mark = judges or (is_in_words and not is_metadata(name, 0) and COUNT.search(name) is None)
        return "flag" if is_mark and not (column.is_numbers and column.counts_rows) else ""

    def _limits_answers(self, name: str, column: _UnreadColumn) -> bool:
        """Whether a number says how long an answer may be or is: by its name, or where it counts something in the answer of each row."""
        if not column.is_numbers or not column.differs or self.mapping.format not in ANSWERED:
            return False
        words = "_".join(words_of(name))
        return LIMIT.search(words) is not None or (COUNT.search(words) is not None and column.measures_answers)

    def _kind(self, column: str) -> str:
        """What a column that is not used is probably about, for the advice."""
        if self.mapping.format == TOKENS:
            return "tokens"
        name, unread = plain(column.rpartition(".")[2]), self._unread[column]
        if name in LINKS:
            return "link"
        if self._says_which_is_better(name, unread):
            # Where pairs were made by another judgement, nothing is to be done with this one.
            return "setting" if self.mapping.is_judged else "judgement"
        if name in MEDIA:
            return "media"
        if _parts_of_prompt(unread.first):
            return "inside"
        if (
            self.mapping.is_judged
            and "." in column
            and isinstance(unread.first, list)
            and not OF_THE_ANSWER.search(name)
        ):
            return "each answer"
        if name in QUESTIONS and self.mapping.format == "text" and self.request.rows == "conversations":
            return "prompt"
        if name in MASKS and self.mapping.format == "text":
            return "mask"
        if judges := self._judges_answers(column, unread):
            return judges
        if unread.tells_answers_apart or self._limits_answers(column, unread):
            return ""
        if not unread.holds_text:
            return "setting"
        if unread.rows_around_answer == unread.rows and self.request.rows != "prompts":
            return "whole"
        can_be_joined = self.request.rows == "conversations" and self.mapping.format not in ("text", "chosen answers")
        if can_be_joined and "reasoning" not in self.mapping.columns and REASONING.search(name):
            return "reasoning"
        if LANGUAGE_OF_THE_ANSWER.search(name):
            return ""
        if name in IDEAL or OF_THE_ANSWER.search(name) or unread.rows_with_answer * 2 >= unread.rows:
            is_rival = unread.holds_several or WRONG_ANSWERS.search(name) or self._is_beside_its_sibling(name)
            return "reward" if self.request.rows == "prompts" else "rival" if is_rival else "answer"
        return ""

    def _is_beside_its_sibling(self, name: str) -> bool:
        """Whether a name differs from that of an answer in a letter or a number alone, as `response_1` from `response_0`."""
        own, others = SIGN_IN_A_NAME.fullmatch(name), map(SIGN_IN_A_NAME.fullmatch, map(plain, self._answer_columns))
        return own is not None and any(other is not None and other.group(1, 3) == own.group(1, 3) for other in others)

    def _observe_splits(self, file: str) -> None:
        """Report rows that say of themselves that they belong to another split."""
        for name, column in self._unread.items():
            others = sorted({value for value in column.distinct if SPLIT_WORDS.get(value.lower(), "train") != "train"})
            if plain(name) == "split" and column.differs and others and self.request.train_split == "train":
                self.observations.add(rows_belong_to_another_split, file=file, column=name, splits=others)


def _are_opposites(words: Collection[str]) -> bool:
    """Whether these are two words of which one denies the other, such as `solved` and `unsolved`."""
    if len(words) != 2:
        return False
    short, long = sorted(words, key=len)
    return OPPOSITE.sub("", long) == short != long


def _prompt_and_answer(example: Example) -> tuple[str, str]:
    """What a row asks, and its answer, as texts; no answer where it has none or judges several."""
    if example.text is not None or example.chosen is not None or example.label is not None:
        return "", ""
    if example.messages and example.prompt is None:
        return str([turn.get("content") for turn in example.messages[:-1]]), str(example.messages[-1].get("content"))
    return str(example.prompt), str(example.completion or "")


def _only_sorts(name: str, value: Any) -> bool:
    """Whether a value only identifies or sorts the row: by its name, or, of an object, by those of all that is in it."""
    if is_metadata(name, value) or not isinstance(value, dict):
        return is_metadata(name, value)
    if any(plain(str(key)) in INSIDE for key in value):  # tools, a system prompt, …
        return False
    parts = [(key, one) for key, part in value.items() for one in (part if isinstance(part, list) else [part])]
    return bool(parts) and all(
        _only_sorts(str(key), one) if isinstance(one, str | dict) else not isinstance(one, list) for key, one in parts
    )


def _texts_by_key(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """The texts inside lists and objects, each with the key that it is under."""
    if isinstance(value, str):
        yield key, value
    for name, part in value.items() if isinstance(value, dict) else ():
        yield from _texts_by_key(str(name), part)
    for part in value if isinstance(value, list) else ():
        yield from _texts_by_key(key, part)


def _keys(value: Any) -> list[str]:
    """The keys of all objects in a value."""
    if isinstance(value, dict):
        return [*map(str, value), *(key for part in value.values() for key in _keys(part))]
    return [key for part in value for key in _keys(part)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parts_of_prompt(value: Any) -> list[str]:
    """The keys of an object under which there are tools or a system prompt."""
    cells = value.items() if isinstance(value, dict) else ()
    return [str(key) for key, part in cells if plain(str(key)) in (*SYSTEM, *TOOLS) and not is_empty(part)]


def _is_content(key: str, value: Any) -> bool:
    """Whether a value that was not read holds text, and is no metadata, or judges what it stands beside."""
    if plain(key.rpartition(".")[2]) in (*LABEL, *JUDGEMENT):
        return not is_empty(value)
    if JUDGES.search("_".join(words_of(key.rpartition(".")[2]))) and value in (-1, 0, 1):  # a thumb
        return True
    texts = [leaf for leaf in _leaves(value) if isinstance(leaf, str)]
    return bool(texts) and (any(map(is_phrase, texts)) or not is_metadata(key.rpartition(".")[2], value))


def _is_in_row(value: Any, example: Example) -> bool:
    """Whether every text in a value also occurs in the converted row."""
    texts = [str(leaf).strip() for leaf in _leaves(value)]
    if not texts:
        return False
    row = "\n".join(example.strings())
    return all(text in row for text in texts)


def _says_no_more(value: Any, prompt: str) -> bool:
    """Whether a text is a phrase in words of the prompt alone, as a question is that the prompt asks in another order."""
    if not isinstance(value, str) or not is_phrase(value):
        return False
    return {*WORDS.findall(value.casefold())} <= {*WORDS.findall(prompt.casefold())}


def _markers_around(value: Any, strings: list[str]) -> frozenset[str] | None:
    """The words around the row's own texts in a value that repeats them, as those of a chat template; None if it has none of them, or much more."""
    if not isinstance(value, str):
        return None
    rest = value
    for text in sorted(strings, key=len, reverse=True):
        rest = rest.replace(text, "\n") if len(text) >= FEWEST_LETTERS else rest
    return frozenset(rest.split()) if len(rest) < len(value) and len(rest) <= MARKERS else None


def _gives_answer_away(value: Any, example: Example) -> bool:
    """Whether a text in a value has the row's answer in it, or is in that answer."""
    if example.text is not None:
        return False
    answers = [*example.answers(), *(texts_of(example.rejected) if example.rejected is not None else ())]
    texts = [leaf.strip() for leaf in _leaves(value) if isinstance(leaf, str)]
    return any(
        (answer.strip() == text and len(text) >= FEWEST_LETTERS)
        or (min(len(answer), len(text)) >= LEAST_ANSWER and (answer in text or text in answer))
        for text in texts
        for answer in answers
    )


def _holds_answer(value: Any, example: Example) -> bool:
    """Whether a text has the row's answer at its end or beginning, or a long one anywhere, and more."""
    if not isinstance(value, str) or example.text is not None or example.chosen is not None:
        return False
    answers = example.answers()[-1:]
    return any(answer.strip() != value.strip() and gives_away(value, answer) for answer in answers)


def _measures_met(value: Any, example: Example) -> list[str]:
    """What a number counts in the row's answer."""
    number = number_of(value)
    if number is None or example.text is not None or example.chosen is not None:
        return []
    answer = (example.answers() or [""])[-1]
    counts = {
        "characters": len(answer),
        "words": len(answer.split()),
        "lines": len([line for line in answer.splitlines() if line.strip()]),
        "verses": len(answer.split(" / ")),
        "sentences": len(SENTENCE_END.findall(answer)),
        "paragraphs": len([part for part in answer.split("\n\n") if part.strip()]),
    }
    return [measure for measure, count in counts.items() if count == number]


def _leaves(value: Any) -> list[Any]:
    """What is in a value, inside its lists and objects, but for the roles of turns."""
    if isinstance(value, dict):
        # A key of several words is text as well, as the choices in `{"In the sea": 1, "On a hill": 0}`.
        keys = [key for key in value if isinstance(key, str) and is_phrase(key)]
        return keys + [leaf for key, part in value.items() if key not in ROLE_KEYS for leaf in _leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [] if value is None else [value]
