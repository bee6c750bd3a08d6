"""Why no format fits some columns, and what can be done: what they hold, which of them could be named, and which are what a trainer can't read."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection
from itertools import pairwise

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.formats.answer_lists import answers_in
from autotrain_llm.data.formats.column_names import (
    A_SIDE,
    COMPLETION,
    JUDGEMENT,
    LABEL,
    MESSAGES,
    QUESTIONS,
    TEXT,
    is_good,
    is_metadata,
    is_phrase,
)
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.detect import TURNS, only_text, preference, recognise, rows_are_turns
from autotrain_llm.data.formats.judged import LISTS_OF_ANSWERS, answers_with_signs, contradiction, signs_of_two_answers
from autotrain_llm.data.formats.paths import paths_of, value_at
from autotrain_llm.data.formats.proposals import ANSWERING, ASKING, Proposal, forms_of, proposals
from autotrain_llm.data.formats.speakers import is_spoken
from autotrain_llm.data.formats.talks import unknown_speakers
from autotrain_llm.data.formats.token_rows import TRAINED_AS_TOKENS, holds_token_ids
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import COLUMN_FLAGS, SIDES, DataRequest, column_parameter
from autotrain_llm.data.rules.columns import a_cell_has_the_wrong_type, no_format_fits_the_columns, rows_are_token_ids
from autotrain_llm.data.rules.preferences import judgements_contradict_each_other
from autotrain_llm.data.rules.scores import pairs_are_ordered_by_one_score
from autotrain_llm.data.turns import is_alternating, is_too_deep
from autotrain_llm.data.wording import kind_of, plain, quoted, shown

WANTED = {
    "documents": "a column of text (text), prompt and completion, or messages",
    "conversations": "messages, prompt and completion, instruction and output, or text",
    "preferences": "a prompt, a chosen and a rejected answer",
    "scored": "a chosen and a rejected answer",
    "graded": "a prompt, an answer, and several scores or a class",
    "prompts": "a prompt",
    "labelled": "a prompt, an answer and a label (true or false), or a prompt, a chosen and a rejected answer",
}
LISTS_OF_STEPS = (*LISTS_OF_ANSWERS, "steps", "solution_steps", "step_texts")
FEWEST_ROWS = 8  # that tell a score from a number that is the same in all rows
EXAMPLE, MOST_KEYS = 24, 8  # characters of an example, and keys of an object, in the description of a column


def lacks_a_pair(columns: Columns, request: DataRequest) -> bool:
    """Whether only the names of pairs that would be made of two answers are not in the data."""
    named = [getattr(request, field) for field in SIDES if request.is_named(field)]
    absent = {column for column in named if column not in columns.values}
    return bool(absent) and absent <= {"chosen", "rejected"} and signs_of_two_answers(columns) is not None


def observe_unrecognised(
    columns: Columns, request: DataRequest, name: str, observations: Observations, data_flag: str = "--data-path"
) -> None:
    """Report that no format fits these columns: what the trainer needs, which columns there are, and the reason, if it is known."""
    ids = holds_token_ids(columns)
    if ids is not None:
        needs = WANTED["labelled" if TRAINERS[request.trainer].parts_pairs else request.rows]
        observations.add(rows_are_token_ids, file=name, column=ids, trainer=request.trainer, needs=needs)
        return
    parameters = _naming_parameters(request)
    if request.rows == "graded" and preference(columns, request) is not None:
        observations.add(pairs_are_ordered_by_one_score, num_labels=request.num_labels, file=name)
        return
    named = {field: getattr(request, field) for field in SIDES if request.is_named(field)}
    for column, values in columns.values.items():
        if values and is_too_deep(values[0]) and (not named or column in named.values()):
            facts = {"column": shown(column), "case": "too deep", "file": name, "row": columns.first_row[column]}
            observations.add(a_cell_has_the_wrong_type, **facts, parameters=parameters)
            return
    for field, column in named.items():
        if column in columns.values and columns.kind(column) not in ("text", "turns", "nothing"):
            first_value, prose = columns.values[column][0], columns.find(TEXT, "text") or only_text(columns)
            observations.add(
                a_cell_has_the_wrong_type,
                column=shown(column),
                case="column",
                content="empty lists" if first_value == [] else kind_of(first_value),
                flag=COLUMN_FLAGS[field],
                file=name,
                row=columns.first_row[column],
                parameters=(column_parameter(field),),
                changes={column_parameter(field): prose} if prose else {},
            )
            return
    is_judged = request.rows in ("preferences", "scored") or (request.rows == "conversations" and not named)
    contradictory = contradiction(columns, request.ignored_columns) if is_judged else None
    if contradictory is not None:
        first, second, row = contradictory
        judgements = (first.columns, second.columns)
        observations.add(
            judgements_contradict_each_other, file=name, judgements=judgements, row=row, ignored=request.ignored_columns
        )
        return
    case, about = _why_nothing_fits(columns, request)
    if case == "names" and request.rows in ("preferences", "scored"):
        listed_answers = columns.find((*LISTS_OF_ANSWERS, *COMPLETION), "texts")
        about = tuple(answers_with_signs(columns))
        case = "two answers" if about else "list of answers" if listed_answers else case
        about = about or (listed_answers,) if listed_answers else about
    if case == "names" and request.rows == "conversations" and _that_may_judge(columns, answers_with_signs(columns)):
        about = tuple(answers_with_signs(columns))
        case = "two answers" if about else case
    proposed = _proposed(columns, request) if case in ("names", "nested", "turns and texts") else []
    if case == "names" and request.rows == "documents":
        about = tuple(_longer_lists(columns, [proposal.columns["text_column"] for proposal in proposed]))
    observations.add(
        no_format_fits_the_columns,
        file=name,
        trainer=request.trainer,
        needs=WANTED["labelled" if TRAINERS[request.trainer].parts_pairs else request.rows],
        columns=[_described(columns, column) for column in columns.names],
        data_flag=data_flag,
        parameters=parameters,
        proposed=[(proposal.changes, proposal.prompt, proposal.answer) for proposal in proposed],
        case=case,
        about=about,
        judging=_that_may_judge(columns, about) if case in ("two answers", "list of answers") else (),
        row=min(columns.first_row.values(), default=None),
    )


def _why_nothing_fits(columns: Columns, request: DataRequest) -> tuple[str, tuple[str, ...]]:
    """Undecoded bytes, a label that is missing, numbers in place of text, or only the names; and the columns that this is about."""
    if any(isinstance(value, bytes) for values in columns.values.values() for value in values[:1]):
        return "bytes", ()
    if TRAINERS[request.trainer].parts_pairs and request.rejected_column not in columns.values:
        as_documents = dataclasses.replace(request, rows="documents", trainer="generic")
        if recognise(columns, as_documents) is not None:  # a prompt and an answer to it
            label = columns.find(LABEL)
            if label is not None:
                return "unreadable label", (label, *map(kind_of, columns.values[label][:1]))
            return "label", tuple(name for name in columns.names if _says_good_or_bad(columns, name))[:1]
        spoken = next((name for name in columns.texts() if all(map(is_spoken, columns.values[name]))), None)
        label = columns.find(LABEL) or next((name for name in columns.names if _says_good_or_bad(columns, name)), None)
        if spoken is not None and label is not None:
            return "judged text", (spoken, label)
    if rows_are_turns(columns):
        return "turns", ()
    if request.rows in ("scored", "preferences") and (scores := _scores_of_answers(columns, request)):
        return "scores" if request.rows == "scored" else "scores for pairs", tuple(scores)
    turns = [name for name in columns.names if columns.kind(name) in TURNS]
    if request.rows in TRAINED_AS_TOKENS and len(turns) == 1:
        return "turns and texts", (turns[0],)
    speakers = unknown_speakers(columns) if request.rows in ("conversations", "prompts") else None
    if speakers is not None:
        return "speakers", speakers
    if (items := _samples_in_a_list(columns, request)) is not None:
        return "items", (items,)
    if (lists := _lists_of_answers(columns)) and request.rows == "conversations":
        return "lists of texts", lists
    if (about := _lists_about_a_text(columns)) and request.rows == "conversations":
        return "lists about a text", about
    if (steps := _labelled_steps(columns)) is not None:
        return "steps", (steps,)
    holding = [name for name in columns.names if columns.kind(name) in ("list", "object", "texts")]
    readable = [name for name in columns.texts() if not columns.only_sorts(name)]
    if holding and not readable and request.rows in TRAINED_AS_TOKENS:
        return "nested", (max(holding, key=columns.size),)
    number = columns.find(TEXT, "number", "flag")
    if number is not None and not columns.texts():
        return "number", (number,)
    if request.rows == "prompts" and columns.names and all(map(columns.holds_no_words, columns.names)):
        return "no prompt", (_with_a_prompt(columns),)
    return "names", ()


def _described(columns: Columns, column: str) -> str:
    """A column with what it holds: an example, how many different ones there are if they come again, and what is inside lists and objects."""
    kind, values = columns.kind(column), columns.values[column]
    if values and all(value in ([], {}) for value in values):
        return f"{shown(column)} (empty {'lists' if kind == 'list' else 'objects'})"
    contents = {
        "nothing": "nothing",
        "text": "",
        "list": "lists",
        "object": "objects",
        "number": "numbers",
        "flag": "true or false",
        "other": kind_of(next(iter(values), None)),
    }.get(kind, kind)
    inside = _keys_inside(columns, column)
    words = f"{contents}{' of objects' if inside and kind == 'list' else ''}{inside}"
    if kind in ("text", "number"):
        example = _example(values[0]) if kind == "text" else str(values[0])
        words = f"{contents}{', ' * (kind == 'number')}{example}"
        different = len({str(value) for value in values})
        words += "" if different == len(values) else f", {different} different" if different > 1 else " in all rows"
    return f"{shown(column)} ({words})"


def _example(value: object) -> str:
    return quoted(" ".join(str(value).split()), EXAMPLE)


def _keys_inside(columns: Columns, column: str) -> str:
    """The keys of the objects in a column, with an example of each text."""
    first = columns.values[column][0] if columns.values[column] else None
    inside = first[0] if isinstance(first, list) and first else first
    if not isinstance(inside, dict) or columns.kind(column) in TURNS:
        return ""
    keys = [
        f"{shown(str(key))} {_example(value)}" if isinstance(value, str) else shown(str(key))
        for key, value in inside.items()
    ]
    return f" with {', '.join(keys[:MOST_KEYS])}" + (f", … ({len(keys)} in all)" if len(keys) > MOST_KEYS else "")


def _naming_parameters(request: DataRequest) -> tuple[str, ...]:
    """The parameters that name the columns a trainer reads."""
    if request.rows == "preferences":
        return ("prompt_text_column", "text_column", "rejected_text_column")
    if request.rows == "scored":
        return ("text_column", "rejected_text_column")
    return ("prompt_text_column", "text_column") if request.rows == "conversations" else ("text_column",)


def _proposed(columns: Columns, request: DataRequest) -> list[Proposal]:
    """What can be named so that these rows are trained on; of pairs the prompt alone, as nothing says which answer is better."""
    if request.rows not in ("preferences", "scored"):
        return proposals(columns, request)
    sides = _sides_by_name(columns, request.ignored_columns)
    if request.rows == "scored":
        return [Proposal(sides, (), "", "", is_named=True)] if sides else []
    answers = (signs_of_two_answers(columns) or {}).values()
    free = dataclasses.replace(request, rows="prompts", ignored_columns=(*request.ignored_columns, *answers))
    return [
        dataclasses.replace(one, columns={"prompt_column": one.columns["text_column"], **sides}, answer="")
        for one in proposals(columns, free)
        if not {*ASKING}.isdisjoint(forms_of(one.columns["text_column"]))
        and one.columns["text_column"] not in sides.values()
    ]


def _sides_by_name(columns: Columns, ignored: Collection[str]) -> dict[str, str]:
    """The columns of better and of worse answers, as texts or lists of them, by words for good and bad in their names; empty unless there is one of each."""
    answers = [
        name
        for name in columns.names
        if name not in ignored and columns.values[name]
        and (columns.kind(name) == "text" or all(answers_in(cell) is not None for cell in columns.values[name]))
    ]  # fmt: skip
    good, bad = ([name for name in answers if is_side in map(is_good, forms_of(name))] for is_side in (True, False))
    if len(bad) == 1 and not good:  # `passages` beside `hard_negatives`
        lists = [name for name in answers if columns.kind(name) != "text"]
        good = [name for name in lists if name not in bad] if bad[0] in lists else []
    return {"text_column": good[0], "rejected_column": bad[0]} if len(good) == len(bad) == 1 else {}


def _that_may_judge(columns: Columns, answers: Collection[str]) -> list[str]:
    """Columns beside several answers that may say which is better: numbers that don't count the rows, words for one of two answers, and lists or objects
    that are neither named after a question nor metadata."""
    found = []
    for name in columns.names:
        values = columns.values[name]
        if name in answers or not values or plain(name) in (*QUESTIONS, *MESSAGES) or columns.only_sorts(name):
            continue
        numbers = [value for value in values if isinstance(value, int | float)]
        is_counting = len(numbers) == len(values) and all(one < other for one, other in pairwise(numbers))
        are_sides = all(A_SIDE.fullmatch(str(value).strip().lower()) for value in values)
        kind = columns.kind(name)
        judges = kind in ("list", "object") or (kind == "number" and not is_counting) or (kind == "text" and are_sides)
        if judges and len({str(value) for value in values}) > 1:
            found.append(name)
    return found


def _says_good_or_bad(columns: Columns, name: str) -> bool:
    """Whether a column is true or false in each row, or a word for good or bad, and each of them in some row."""
    labels = {is_good(value) for value in columns.values[name]}
    return columns.kind(name) == "flag" or (columns.kind(name) == "text" and labels == {True, False})


def _with_a_prompt(columns: Columns) -> str:
    """The first row with a prompt in which its values stand."""
    row = dict(list(columns.rows[0].items())[:3])
    values = [json.dumps(value, ensure_ascii=False, default=str) for value in row.values()]
    return json.dumps({"prompt": f"… {' … '.join(values)} …", **row}, ensure_ascii=False, default=str)


def _scores_of_answers(columns: Columns, request: DataRequest) -> list[str]:
    """Columns with scores of one answer to a prompt, as regression has them."""
    numbers = [
        name
        for name in columns.names
        if columns.kind(name) == "number"
        and not is_metadata(name, 0)
        and (len({*columns.values[name]}) > 1 or len(columns.rows) < FEWEST_ROWS)
    ]
    regression = dataclasses.replace(request, rows="graded", num_labels=len(numbers))
    mapping = recognise(columns, regression) if len(numbers) > 1 else None
    roles = mapping.columns if mapping is not None else {}
    return [column for role, column in roles.items() if role.startswith("score ")]


def _samples_in_a_list(columns: Columns, request: DataRequest) -> str | None:
    """A column with a list of objects in each row, each of which is a row of its own: it has a text to be trained on, or a question and its answer, or
    an answer to the question beside the list. Steps, edits, spans, criteria and judgements are none."""
    found = [name for name in columns.names if columns.kind(name) == "list" and _are_samples(columns, name, request)]
    return max(found, key=columns.size, default=None)


def _are_samples(columns: Columns, name: str, request: DataRequest) -> bool:
    items = columns.items(name)
    if not items or not all(isinstance(part, dict) for part in items):
        return False
    if len(columns.rows) == 1 and len(items) > 1 and not columns.texts():  # one object around the rows
        return True
    inside = Columns(items)
    texts = [key for key in inside.texts() if any(is_phrase(str(value)) for value in inside.values[key])]
    words = {key: {*forms_of(key)} for key in texts}
    if request.rows == "documents":
        return any(plain(key) in TEXT for key in texts) and not _longer_texts(columns, name)
    answering = [key for key in texts if not ANSWERING.isdisjoint(words[key]) or plain(key) in TEXT]
    if request.rows != "conversations":
        return bool(answering) and (len(texts) == 1 or any(not ANSWERING.isdisjoint(words[key]) for key in answering))
    asking = [key for key in texts if not ASKING.isdisjoint(words[key]) and key not in answering]
    return bool(answering and asking)


def _lists_of_answers(columns: Columns) -> tuple[str, ...]:
    """A column with several answers in each row, by its name, and another one with as good as several questions; empty where there is text to ask."""
    lists = [name for name in columns.names if columns.kind(name) == "texts"]
    answers = [name for name in lists if not ANSWERING.isdisjoint(forms_of(name))]
    texts = [name for name in columns.texts() if any(is_phrase(str(value)) for value in columns.values[name])]
    return (
        (next(name for name in lists if name not in answers), answers[0])
        if len(lists) == 2 and len(answers) == 1 and not texts
        else ()
    )


def _lists_about_a_text(columns: Columns) -> tuple[str, ...]:
    """Lists of questions and of as many answers, as columns or inside an object, and the text that they are about; empty where there are none."""
    names = dict.fromkeys(path for row in columns.rows for path in paths_of(row))
    cells = {name: [value_at(row, name) for row in columns.rows] for name in names}
    lists = [name for name, values in cells.items() if all(map(is_alternating, values))]
    answering = [name for name in lists if not ANSWERING.isdisjoint(forms_of(name))]
    asking = [name for name in lists if not ASKING.isdisjoint(forms_of(name)) and name not in answering]
    texts = sorted(filter(columns.is_prose, columns.texts()), key=columns.size)
    if not (len(asking) == len(answering) == 1 and texts):
        return ()
    sides = zip(cells[asking[0]], cells[answering[0]], strict=True)
    return (asking[0], answering[0], texts[-1]) if all(len(one) == len(other) for one, other in sides) else ()


def _longer_texts(columns: Columns, name: str) -> bool:
    """Whether a column of text holds more than this one."""
    return any(columns.size(other) > columns.size(name) for other in columns.texts())


def _longer_lists(columns: Columns, texts: list[str]) -> list[str]:
    """The column of lists or objects with most text in it, if that is more than each column of text has."""
    inside = [name for name in columns.names if columns.kind(name) in ("list", "object", "texts")]
    most = max(inside, key=columns.size, default=None)
    longest = max(map(columns.size, texts), default=sys.maxsize)
    return [most] if most is not None and columns.size(most) > longest else []


def _labelled_steps(columns: Columns) -> str | None:
    """A column with the steps of an answer, next to a list that says of each whether it is right; None if there is none."""
    steps, labels = columns.find(LISTS_OF_STEPS, "texts"), columns.find((*LABEL, *JUDGEMENT), "list")
    if steps is None or labels is None:
        return None
    pairs = [(row.get(steps) or [], row.get(labels) or []) for row in columns.rows]
    are_labels = all(len(one) == len(other) and all(item in (-1, 0, 1) for item in other) for one, other in pairs)
    return steps if are_labels else None
