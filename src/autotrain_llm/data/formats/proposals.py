"""Flags that would make rows of columns that no format fits. Each is tried: the rows are converted with it, and what comes out has to be worth
training on, before it is offered. Names only decide which of them come first."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

from autotrain_llm.data.example import Example
from autotrain_llm.data.formats.cells import is_empty
from autotrain_llm.data.formats.choices import numbered_choices
from autotrain_llm.data.formats.column_names import (
    COMPLETION,
    CONTEXT,
    IDEAL,
    LANGUAGE_OF_THE_ANSWER,
    OF_THE_ANSWER,
    ORIGIN,
    QUESTIONS,
    TEXT,
    is_metadata,
    is_phrase,
    words_of,
)
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.convert import Converter
from autotrain_llm.data.formats.detect import TURNS, ColumnMapping, recognise
from autotrain_llm.data.formats.judged import answers_with_signs
from autotrain_llm.data.formats.paths import lifted, paths_of, value_at
from autotrain_llm.data.formats.quoting import AnswersByValue, gives_away
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import DataRequest, column_parameter
from autotrain_llm.data.wording import plain

MOST = 3  # proposals
MOST_TRIED = 12
ENOUGH = 0.8  # of the rows that have to be converted
ASKING = frozenset((*QUESTIONS, "task", "goal", "input", "q"))
ANSWERING = frozenset((*COMPLETION, *IDEAL, "decision", "conclusion", "code", "replies", "gold"))
GIVEN = frozenset((*TEXT, *CONTEXT, "source", "src", "original", "premise", "description")) - {"code"}
# What becomes of a text, by words that tell two names apart which are else the same; the first is what is given.
BECOMES = frozenset(
    (
        ("before", "after"), ("old", "new"), ("original", "edited"), ("original", "rewritten"), ("original", "corrected"), ("original", "revised"),
        ("original", "translated"), ("original", "simplified"), ("source", "target"), ("src", "tgt"), ("input", "output"), ("wrong", "correct"),
        ("incorrect", "correct"), ("buggy", "fixed"), ("bug", "fix"), ("noisy", "clean"), ("toxic", "neutral"), ("toxic", "detoxified"),
        ("complex", "simple"), ("normal", "simple"), ("informal", "formal"), ("draft", "final"), ("long", "short"), ("raw", "clean"),
    )
)  # fmt: skip
ANSWERS = frozenset(("answer", "response", "reply", "replies", "completion", "output", "generation"))
READABLE = ("text", "written turns", *TURNS)


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Columns by the field of the request that would name them, contexts among them, and the first row that they make: what it asks, and its answer."""

    columns: Mapping[str, str]
    contexts: tuple[str, ...]
    prompt: str
    answer: str
    is_named: bool  # whether the names say of both sides what they are

    @property
    def changes(self) -> dict[str, Any]:
        """The parameters that name the columns."""
        named: dict[str, Any] = {column_parameter(field): column for field, column in self.columns.items()}
        return named | ({"context_columns": list(self.contexts)} if self.contexts else {})


def proposals(columns: Columns, request: DataRequest) -> list[Proposal]:
    """What can be named so that these rows are trained on, the likeliest first; nothing where the rows decide against all of it."""
    found: list[Proposal] = []
    for candidate, strength in _candidates(_Inside(columns, request), request):
        made = _tried(columns, request, candidate, strength)
        if made is not None:
            found.append(made)
        if len(found) == MOST or (made is not None and made.is_named):
            break
    return found


def answering(columns: Columns, request: DataRequest, text: str, names: Sequence[str]) -> list[str]:
    """Those of some columns that could be trained on as the answer to a text."""
    found = []
    for name in names:
        examples = rows_made(columns, request, {"prompt_column": text, "text_column": name})
        if examples is not None and _are_worth_training(examples, request):
            found.append(name)
    return sorted(found, key=lambda name: -_answers({*forms_of(name)}, name))


def _tried(columns: Columns, request: DataRequest, candidate: _Candidate, is_named: bool) -> Proposal | None:
    """What some columns would make of the rows, if that is worth offering; with a context where prompts have other answers without it."""
    languages = [
        name
        for name in columns.texts()
        if LANGUAGE_OF_THE_ANSWER.search(plain(name)) and len({*columns.values[name]}) > 1
    ]
    has_prompt = "prompt_column" in candidate.columns or request.rows == "prompts"
    given = (*candidate.contexts, *languages) if has_prompt else candidate.contexts
    if _repeat_each_other(columns, candidate):
        return None
    for contexts in (given, *((*given, name) for name in _that_tell_apart(columns, candidate))):
        examples = rows_made(columns, request, candidate.columns, contexts)
        if examples is not None and _are_worth_training(examples, request):
            return Proposal(candidate.columns, contexts, *sides_of(examples[0]), is_named)
    return None


def _repeat_each_other(columns: Columns, candidate: _Candidate) -> bool:
    """Whether the answer is in the prompt, or the prompt in the answer, in most rows."""
    prompt, answer = candidate.columns.get("prompt_column"), candidate.columns.get("text_column")
    if prompt is None or answer is None:
        return False
    pairs = [(str(value_at(row, prompt)), str(value_at(row, answer))) for row in columns.rows]
    return sum(gives_away(one, other) or gives_away(other, one) for one, other in pairs) * 2 > len(pairs)


def _that_tell_apart(columns: Columns, candidate: _Candidate) -> Iterator[str]:
    """Columns that say which of several answers to a prompt is wanted: the same prompt has another answer with each of their values."""
    prompt, answer = (candidate.columns.get("prompt_column"), candidate.columns.get("text_column"))
    if prompt is None or answer is None or candidate.contexts:
        return
    for name in columns.names:
        kind = columns.kind(name)
        if name in (prompt, answer) or kind not in ("text", "number", "flag") or ORIGIN.search(plain(name)):
            continue
        if not 1 < len({str(value) for value in columns.values[name]}) < len(columns.values[name]):
            continue
        answers = AnswersByValue()
        for row in columns.rows:
            answers.add(str(value_at(row, prompt)), str(row.get(name)), str(value_at(row, answer)))
        if answers.tell_apart:
            yield name


def rows_made(
    columns: Columns, request: DataRequest, named: Mapping[str, str], contexts: Sequence[str] = ()
) -> list[Example] | None:
    """The rows that the converter makes if these columns are named, by the field of the request; None where it would not take them so, leaves rows out
    that have them, or has an error to report."""
    wanted = dataclasses.replace(
        request,
        text_column=named.get("text_column"),
        prompt_column=named.get("prompt_column"),
        rejected_column=named.get("rejected_column"),
        named=tuple(named),
        context_columns=(*request.context_columns, *contexts),
    )
    paths = [path for path in (*named.values(), *contexts) if path not in columns.values]
    rows = [lifted(row, paths) for row in columns.rows] if paths else columns.rows
    rows = [row for row in rows if not any(is_empty(row.get(name)) for name in named.values())]
    inside = Columns(rows)
    mapping = recognise(inside, wanted) if rows and all(name in inside.values for name in named.values()) else None
    if mapping is None or not _has_roles(mapping, named, contexts):
        return None
    observations = Observations()
    converter = Converter(mapping, wanted, observations)
    made = [converter.converted("", (number, None, row)) for number, row in enumerate(rows, 1)]
    examples = [example for example in made if example is not None]
    is_enough = len(examples) == len(rows) and len(rows) >= ENOUGH * len(columns.rows)
    return examples if is_enough and not observations.refused else None


def _has_roles(mapping: ColumnMapping, named: Mapping[str, str], contexts: Sequence[str]) -> bool:
    """Whether each named column is read, and none for something else than what it was named for."""
    used = {*mapping.columns.values()}
    return {*named.values(), *contexts} <= used


def sides_of(example: Example) -> tuple[str, str]:
    """What a row asks and what it answers, as texts; of a text that is trained on as a whole, nothing and that text."""
    if example.text is not None:
        return "", example.text
    answers = example.answers()
    answer = answers[-1] if example.completion is not None or example.messages or example.chosen is not None else ""
    texts = example.strings()
    prompt = [text for text in texts if text != answer]
    if example.messages is not None:
        prompt = [str(turn.get("content") or "") for turn in example.messages[:-1]]
    return "\n".join(prompt), answer


def _are_worth_training(examples: Sequence[Example], request: DataRequest) -> bool:
    """Whether rows differ, no prompt has its answer in it, and none comes again with another answer in most of the rows."""
    sides = [sides_of(example) for example in examples]
    if request.rows == "prompts":
        return len({*sides}) * 2 > len(sides)
    answers = {answer for _, answer in sides}
    if len(sides) > 1 and len(answers) == 1:
        return False
    if all(not prompt for prompt, _ in sides):
        return True
    prompts: dict[str, set[str]] = {}
    for prompt, answer in sides:
        prompts.setdefault(prompt, set()).add(answer)
    contradicted = sum(len(found) > 1 for found in prompts.values())
    given_away = sum(gives_away(prompt, answer) for prompt, answer in sides)
    repeats = sum(gives_away(answer, prompt) for prompt, answer in sides)
    return not contradicted * 2 > len(prompts) and given_away * 2 <= len(sides) and repeats * 2 <= len(sides)


@dataclasses.dataclass(frozen=True)
class _Candidate:
    columns: Mapping[str, str]
    contexts: tuple[str, ...] = ()


class _Inside:
    """The columns of some rows and what is inside their objects, of which the content is no id, address, time or name."""

    def __init__(self, columns: Columns, request: DataRequest) -> None:
        names = list(dict.fromkeys(path for row in columns.rows for path in paths_of(row)))
        names = [name for name in names if name.partition(".")[0] not in request.ignored_columns]
        names = [name for name in names if _may_be_first(name, columns)]
        self.columns = Columns({name: value_at(row, name) for name in names} for row in columns.rows)
        self.rows = len(columns.rows)
        whole = [name for name in names if self.columns.values.get(name) and self._may_be_trained(name)]
        self.texts = [
            name for name in whole if self.columns.kind(name) in READABLE and not _holds_names(name, self.columns)
        ]
        choices, key = numbered_choices(columns) or ([], None)
        self.texts = [name for name in self.texts if name not in choices]
        self.key = key
        if key is not None and key not in self.texts:
            self.texts.append(key)
        lists = [name for name in whole if self.columns.kind(name) in ("list", "object", "texts")]
        self.lists = [
            name
            for name in lists
            if "." not in name and not _is_around(name, self.texts) and not _holds_names(name, self.columns)
        ]

    def _may_be_trained(self, name: str) -> bool:
        values = self.columns.values[name]
        last = _last(name)
        is_sorting = all(is_metadata(last, value) for value in values) or LANGUAGE_OF_THE_ANSWER.search(plain(last))
        is_varied = len({str(value) for value in values}) > 1 or len(values) == 1
        return not is_sorting and is_varied and len(values) >= ENOUGH * self.rows


def _may_be_first(name: str, columns: Columns) -> bool:
    """Whether the first items of the lists on a path stand for them: each list has one item, or its items are answers, of which one is enough."""
    keys = name.split(".")
    for at, key in enumerate(keys):
        if not key.isdecimal() or name in columns.values:
            continue
        lists = [value_at(row, ".".join(keys[:at])) for row in columns.rows]
        is_single = all(isinstance(cell, list) and len(cell) == 1 for cell in lists if cell)
        if not is_single and {*forms_of(".".join(keys[:at])), *forms_of(_last(name))}.isdisjoint(ANSWERS):
            return False
    return True


def _last(name: str) -> str:
    """The name of what a path leads to."""
    return next((key for key in reversed(name.split(".")) if not key.isdecimal()), name)


def _is_around(name: str, texts: Sequence[str]) -> bool:
    """Whether texts are offered that lie inside this column."""
    return any(text.startswith(f"{name}.") for text in texts)


def _holds_names(name: str, columns: Columns) -> bool:
    """Whether a column says who wrote something, or where it is from, in short texts."""
    is_origin = ORIGIN.search("_".join(words_of(_last(name)))) is not None
    return is_origin and not any(is_phrase(str(value)) for value in columns.values[name])


def _candidates(inside: _Inside, request: DataRequest) -> Iterator[tuple[_Candidate, bool]]:
    """What could be named, the likeliest first, and whether the names say so of all sides."""
    if request.rows == "prompts":
        ranked = sorted(inside.texts, key=lambda name: -(_asks({*forms_of(name)}, name) * 3 + _questions(inside, name)))
        yield from ((_Candidate({"text_column": name}), False) for name in ranked[:MOST_TRIED])
    elif request.rows == "documents":
        texts = [name for name in inside.texts if inside.columns.is_prose(name)]
        longest = max((inside.columns.size(name) for name in texts), default=0)
        around = max((inside.columns.size(name) for name in inside.lists), default=0)
        if longest >= around:
            texts = [name for name in texts if inside.columns.size(name) * 8 >= longest or plain(name) in TEXT]
            ranked = sorted(texts, key=lambda name: (plain(_last(name)) not in TEXT, -inside.columns.size(name)))
            yield from ((_Candidate({"text_column": name}), False) for name in ranked[:MOST_TRIED])
    elif request.rows == "conversations":
        yield from _pairs(inside)


def _pairs(inside: _Inside) -> Iterator[tuple[_Candidate, bool]]:
    """A prompt and an answer to it, in either order; beside a single text a list or an object, as what it is about or as what is said of it."""
    ranked: list[tuple[float, bool, _Candidate]] = []
    order = {name: at for at, name in enumerate(inside.columns.names)}
    rivals = answers_with_signs(inside.columns)
    for prompt, answer in permutations(inside.texts, 2):
        if prompt in (*rivals, inside.key) or inside.key not in (None, answer):
            continue
        score, is_named = _score(inside, prompt, answer)
        score += order[prompt] < order[answer]
        ranked.append((score, is_named, _Candidate({"prompt_column": prompt, "text_column": answer})))
    for prompt in inside.texts:
        for answer in inside.lists:
            score, _ = _score(inside, prompt, answer)
            ranked.append((score - 3, False, _Candidate({"prompt_column": prompt, "text_column": answer})))
            if not any(other != prompt for other in inside.texts):
                ranked.append((-4, False, _Candidate({"text_column": prompt}, (answer,))))
    if not inside.texts:  # what is described, and its description among other things
        lists = [
            _Candidate({"prompt_column": one, "text_column": other}) for one, other in permutations(inside.lists, 2)
        ]
        ranked += [(_answers({*forms_of(one.columns["text_column"])}, ""), False, one) for one in lists]
    ranked.sort(key=lambda one: -one[0])
    best = ranked[0][0] if ranked else 0
    yield from ((candidate, is_named) for score, is_named, candidate in ranked[:MOST_TRIED] if score >= best - 3)


def _score(inside: _Inside, prompt: str, answer: str) -> tuple[float, bool]:
    """How likely one column asks what another answers, by the words in which their names differ and by what they hold; and whether the names say so."""
    asking, answering = {*forms_of(prompt)}, {*forms_of(answer)}
    shared = asking & answering
    asking, answering = asking - shared, answering - shared
    asks, answers = _asks(asking, prompt), _answers(answering, answer)
    is_reversed = min(_asks(answering, answer), _answers(asking, prompt)) >= 3
    becomes = any(one in asking and other in answering for one, other in BECOMES)
    becomes_reversed = any(one in answering and other in asking for one, other in BECOMES)
    score = asks + answers + 4 * becomes - 4 * becomes_reversed - 4 * is_reversed
    score += _questions(inside, prompt) - _questions(inside, answer)
    score += 2 * (prompt != answer and "." in prompt and "." in answer and _last(prompt) == _last(answer))
    columns, prompts = inside.columns, inside.columns.values[prompt]
    # Those that hold most text come first.
    score += (columns.size(prompt) + columns.size(answer)) / max(map(columns.size, inside.texts)) / 2
    if columns.kind(answer) == "text" and not columns.is_prose(answer) and answers < 3 and answer != inside.key:
        score -= 2
    if columns.kind(prompt) == "text" and not columns.is_prose(prompt) and asks < 3:
        score -= 1
    if len({str(value) for value in prompts}) * 2 < len(prompts):
        score -= 3
    holds_both = columns.kind(prompt) in READABLE and columns.kind(answer) in READABLE
    return score, holds_both and asks >= 3 and answers >= 3 and not is_reversed


def _asks(words: Collection[str], name: str) -> float:
    """Whether a name says that something is asked, or given."""
    if plain(_last(name)) in QUESTIONS:
        return 4
    if not ASKING.isdisjoint(words):
        return 3 if ANSWERING.isdisjoint(words) else 1
    return 2 if not GIVEN.isdisjoint(words) else 0


def _answers(words: Collection[str], name: str) -> float:
    """Whether a name says that something is answered."""
    if plain(_last(name)) in COMPLETION and ASKING.isdisjoint(words):
        return 4
    if not ANSWERING.isdisjoint(words):
        return 3 if ASKING.isdisjoint(words) else 1
    return 1 if OF_THE_ANSWER.search("_".join(words)) else 0


def _questions(inside: _Inside, name: str) -> float:
    """2 where most texts of a column are questions."""
    values = [value for value in inside.columns.values[name] if isinstance(value, str)]
    return 2.0 * (sum(value.rstrip().endswith(("?", "？", "؟")) for value in values) * 2 > max(len(values), 1))


def forms_of(name: str) -> list[str]:
    """The words of a name, each in its singular too: `solutions` are answers as a `solution` is one."""
    words = [word for key in name.split(".") if not key.isdecimal() for word in words_of(key)]
    return [form for word in words for form in (word, word.removesuffix("s"))]
