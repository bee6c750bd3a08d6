"""Checks of columns that a format fits, or that a flag names: absent ones, ones that were swapped, halves that are not used, rows that are turns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.files.packing import without_packing
from autotrain_llm.data.formats.cells import is_empty, kind_of_answers
from autotrain_llm.data.formats.column_names import (
    CHOSEN,
    LINKS,
    MESSAGES,
    QUESTIONS,
    REJECTED,
    words_of,
)
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.convert import HH_TURN
from autotrain_llm.data.formats.detect import (
    ANSWER_ROLES,
    ColumnMapping,
    holds_numbers,
    quotes_both,
    recognise,
)
from autotrain_llm.data.formats.speakers import two_speakers
from autotrain_llm.data.formats.token_rows import TOKENS, TRAINED_AS_TOKENS, token_columns
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest, column_parameter
from autotrain_llm.data.rules.columns import (
    a_cell_has_the_wrong_type,
    a_named_column_is_not_in_the_data,
    a_value_is_written_as_json,
    answers_are_written_in_python,
    chosen_and_rejected_are_swapped,
    prompts_are_numbers,
    prompts_or_answers_are_not_used,
    texts_are_written_as_lists,
    the_first_choice_is_assumed,
)
from autotrain_llm.data.rules.conversations import (
    each_text_is_one_turn,
    rows_are_turns_of_one_conversation,
    texts_are_taken_as_turns,
)
from autotrain_llm.data.rules.files import a_row_is_a_second_header, the_header_looks_like_a_row
from autotrain_llm.data.rules.preferences import (
    chosen_and_rejected_are_the_same,
    prompts_hold_both_answers,
)
from autotrain_llm.data.rules.token_rows import token_ids_beside_text_are_not_used
from autotrain_llm.data.turns import SPEAKER_FLAGS, exchange_keys, parsed
from autotrain_llm.data.wording import as_flag, nearest_first, plain, shown
from autotrain_llm.declare.nearest import nearest

PREFERENCE_ROLES = {"prompt_column": "prompt", "text_column": "chosen", "rejected_column": "rejected"}
LIKE_TURNS = re.compile(r"""\s*\[\s*\{\s*['"]?(?:role|from|content|value)\b""")
MOST = 0.9  # of lists, which hold one text
SENTENCE_WORDS = 4  # as many words are a sentence, and no name of a column
HALVES = (("input", "output"), ("source", "target"), ("input_text", "target_text"), ("input_text", "output_text"))
CELLS = (".csv", ".tsv")
# `turns` may as well be the questions that a conversation is made of.
TALKS = frozenset((*MESSAGES, "data")) - {"turns"}
CONVERSATION_ID = re.compile(
    r"(?:conv|conversation|dialog|dialogue|thread|session|chat)(?:_?(?:id|ids|idx|index|no|num|number|ts|uuid|key|hash))?"
)
SPEAKERS = ("speaker", "speaker_id", "speaker_idx", "speaker_name", "sender", "sender_id", "sender_name")
ID_NAME = re.compile(r"(?:\A|_)(?:id|uuid|guid|key|ts|no|number)\Z")
REPLY_NAME = re.compile(r"parent|reply|replies|response|respond|previous|prev_|next|follows|quoted|thread|in_response")
FEWEST_BELOW_A_HEADER = 4  # rows
NO_WORD = re.compile(r"[\d.,:/+%€$£ T-]*\d[\d.,:/+%€$£ TZ-]*")  # a number, a date or a time
SPOKEN_QUESTIONS = ("human", "user")
TURN_NUMBER = re.compile(r"(?:turn|utterance|utt|message|msg)_?(?:id|idx|index|no|num|number)?")


def check_header(columns: Columns, mapping: ColumnMapping | None, name: str, observations: Observations) -> None:
    """Report a CSV header that looks like a row, unless something shows that it is a header."""
    if not without_packing(name).endswith(CELLS) or (mapping is not None and mapping.format != "text"):
        return
    names = columns.names if mapping is None else list(mapping.columns.values())
    sentence = next((cell for cell in names if len(cell.split()) >= SENTENCE_WORDS and "_" not in cell), None)
    if sentence is not None:
        observations.add(the_header_looks_like_a_row, file=name, cell=sentence, cells=len(columns.names))


def _right_columns(columns: Columns, request: DataRequest, absent: list[str]) -> dict[str, Any]:
    """The columns that were probably meant: those recognised without flags, else those with the nearest names."""
    mapping = _recognised(columns, request)
    if mapping is not None and mapping.format == "preference":
        roles = [(field, role) for field, role in PREFERENCE_ROLES.items() if role in mapping.columns]
        right: dict[str, Any] = {column_parameter(field): mapping.columns[role] for field, role in roles}
        if "prompt" in mapping.columns or "prompt_column" not in absent:
            return right
        prompt = column_parameter("prompt_column")
        if prompt not in TRAINERS[request.trainer].requires or _begin_with_prompts(columns, mapping.columns["chosen"]):
            return right | {prompt: None}
    near = {column_parameter(field): nearest(getattr(request, field), columns.names) for field in absent}
    if all(near.values()):
        return near
    if mapping is not None and mapping.format != "preference":
        return dict.fromkeys(near)
    # What is named already is no other column, and of prompts and answers alone no worse answer can be guessed.
    named = {getattr(request, field) for field in COLUMN_FLAGS if request.is_named(field)}
    texts = [column for column in columns.texts() if column not in named and not columns.only_sorts(column)]
    guessed = request.rows != "preferences" or (
        len(texts) == len(absent) == 1 and plain(texts[0]) not in (*QUESTIONS, *CHOSEN)
    )
    guessed &= absent[0] != "rejected_column" or request.is_named("text_column")
    return {column_parameter(absent[0]): texts[0]} if texts and guessed else {}


def _begin_with_prompts(columns: Columns, chosen: str) -> bool:
    """Whether the answers are conversations, as turns or written with a mark before each answer, which have their prompts in them."""
    return columns.kind(chosen) == "turns" or all(HH_TURN in str(value) for value in columns.values[chosen])


def _only_respelt(named: Mapping[str, str], changes: Mapping[str, Any]) -> bool:
    """Whether each column is the one that was named but for case, spaces, dashes and underscores, or is not needed beside them."""
    columns = {column_parameter(field): plain(column) for field, column in named.items()}
    right = {parameter: plain(column) for parameter, column in changes.items() if column is not None}
    return bool(right) and all(columns.get(parameter) == column for parameter, column in right.items())


def _recognised(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """The mapping of the columns if none of them is named by a flag."""
    free = dataclasses.replace(request, named=(), text_column=None, prompt_column=None, rejected_column=None)
    return recognise(columns, free)


def check_turns_in_rows(
    columns: Columns, mapping: ColumnMapping, request: DataRequest, name: str, observations: Observations
) -> None:
    """Report rows that are turns of conversations, by a column that says which conversation each belongs to."""
    text = next(iter(mapping.of("prompt", "instruction", "text")), None)
    if text is None or "history" in mapping.columns or columns.kind(text) != "text":
        return
    speaker = columns.find(SPEAKERS)
    can_speak = speaker is not None and speaker not in request.ignored_columns and mapping.format == "text"
    if speaker is not None and can_speak and _takes_turns(columns, speaker):
        observations.add(rows_are_turns_of_one_conversation, file=name, column=speaker, case="speaker")
        return
    flag = columns.find(tuple(SPEAKER_FLAGS), "flag", "text")
    if (
        flag is not None
        and flag not in request.ignored_columns
        and mapping.format == "text"
        and len({*map(str, columns.values[flag])}) == 2
    ):
        observations.add(rows_are_turns_of_one_conversation, file=name, column=flag, case="speaker")
        return
    link = _link_to_rows(columns, request.ignored_columns)
    if link is not None:
        observations.add(rows_are_turns_of_one_conversation, file=name, column=link, case="link")
        return
    for column in columns.names:
        if column in request.ignored_columns or not CONVERSATION_ID.fullmatch(plain(column)):
            continue
        rows_by_value: dict[str, list[dict[str, Any]]] = {}
        for row in columns.rows:
            if not is_empty(row.get(column)) and not is_empty(row.get(text)):
                rows_by_value.setdefault(str(row[column]), []).append(row)
        groups = [rows for rows in rows_by_value.values() if len(rows) > 1]
        # Several answers to one prompt are no turns, unless a column counts them as such.
        follow = [rows for rows in groups if len({str(row[text]) for row in rows}) == len(rows) or _are_counted(rows)]
        if follow and sum(map(len, follow)) * 2 > sum(map(len, rows_by_value.values())):
            observations.add(rows_are_turns_of_one_conversation, file=name, column=column)
            return


def _are_exchanges(cells: list[Any]) -> bool:
    """Whether lists of several questions with their answers could as well be rows: by their keys they are those of no chat."""
    parts = [part for cell in map(parsed, cells) if isinstance(cell, list) and len(cell) > 1 for part in cell]
    keys = [exchange_keys(part) for part in parts]
    return bool(keys) and all(key is not None and plain(key[0]) not in SPOKEN_QUESTIONS for key in keys)


def _link_to_rows(columns: Columns, ignored: Collection[str]) -> str | None:
    """A column whose values identify other rows, those that come before or after: most are what a column of ids has in another row."""
    written = {name: [_as_id(row.get(name)) for row in columns.rows] for name in columns.names if name not in ignored}
    ids = [
        name
        for name, values in written.items()
        if ID_NAME.search("_".join(words_of(name))) and len({*values}) == len(values) and None not in values
    ]
    for name, values in written.items():
        filled = [(at, value) for at, value in enumerate(values) if value is not None]
        if plain(name) in LINKS or not REPLY_NAME.search("_".join(words_of(name))) or len(filled) * 4 < len(values):
            continue
        for key in ids if name not in ids else ():
            places = {value: at for at, value in enumerate(written[key])}
            if sum(places.get(value, at) != at for at, value in filled) * 2 > len(filled):
                return name
    return None


def _as_id(value: Any) -> str | None:
    """An identifier as text: a whole number that pandas wrote as 12.0 is 12."""
    if is_empty(value) or isinstance(value, list | dict | bool):
        return None
    text = str(value).strip()
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text


def _takes_turns(columns: Columns, speaker: str) -> bool:
    """Whether a few values of a column come again and again, and are another in every second row or more often."""
    values = [str(value) for value in columns.values[speaker]]
    changes = sum(one != two for one, two in pairwise(values))
    return 1 < len(set(values)) * 2 <= len(values) and changes * 2 >= len(values) - 1


def _are_counted(rows: list[dict[str, Any]]) -> bool:
    """Whether a column numbers these rows as turns, one by one."""
    names = [name for name in rows[0] if TURN_NUMBER.fullmatch(plain(name))]
    numbers = [[whole_number(row.get(name)) for row in rows] for name in names]
    return any(
        None not in of_rows and all(two == one + 1 for one, two in pairwise(of_rows))  # type: ignore[operator]
        for of_rows in numbers
    )


def check_columns(columns: Columns, mapping: ColumnMapping, name: str, observations: Observations) -> None:
    """Report columns that are valid but probably a mistake: chosen and rejected swapped, one column for both, turns that are broken text."""
    if mapping.format == "text":
        column = mapping.columns["text"]
        values = [value for value in columns.values[column] if isinstance(value, str)]
        broken = [value for value in values if LIKE_TURNS.match(value)]
        if values and len(broken) * 2 >= len(values):
            facts = {"column": shown(column), "content": broken[0][:40], "file": name}
            observations.add(a_cell_has_the_wrong_type, case="broken turns", **facts)
    text = mapping.columns.get("prompt" if mapping.format == "prompts" else "text")
    speakers = two_speakers(columns.values[text]) if text is not None else None
    if speakers is not None:
        observations.add(each_text_is_one_turn, file=name, first=speakers[0], second=speakers[1])
    for column in sorted(mapping.alternating):
        if plain(column) not in TALKS:
            observations.add(texts_are_taken_as_turns, file=name, column=column)
    of_turns = mapping.columns.get("messages", "")
    if plain(of_turns) not in TALKS and _are_exchanges(columns.values.get(of_turns, [])):
        observations.add(texts_are_taken_as_turns, file=name, column=of_turns, case="exchanges")
    if mapping.first_is_assumed:
        observations.add(the_first_choice_is_assumed, file=name, first=mapping.first_choice)
    for column in dict.fromkeys(mapping.of(*ANSWER_ROLES)):
        cells = columns.values[column]
        cases = {kind_of_answers(cell) for cell in cells} if columns.kind(column) == "text" else set()
        if cases and "" not in cases and column not in mapping.python_values:
            observations.add(a_value_is_written_as_json, file=name, column=column, value=cells[0][:60], case=max(cases))
    for column in sorted(mapping.python_values):
        observations.add(
            answers_are_written_in_python, file=name, column=shown(column), value=columns.values[column][0][:60]
        )
    prompt = mapping.columns.get("prompt") or mapping.columns.get("instruction")
    lists = _written_lists(columns, prompt, list(dict.fromkeys(mapping.of(*ANSWER_ROLES))))
    if lists:
        value = columns.values[lists[0]][0][:60]
        observations.add(texts_are_written_as_lists, file=name, columns=list(map(shown, lists)), value=value)
    if prompt is not None and mapping.format == "prompts" and columns.values[prompt] and holds_numbers(columns, prompt):
        observations.add(prompts_are_numbers, file=name, column=shown(prompt), values=columns.values[prompt][:2])
    chosen, rejected = mapping.columns.get("chosen"), mapping.columns.get("rejected")
    if chosen is None or rejected is None:
        return
    if chosen == rejected:
        flags = f"--text-column {as_flag(chosen)} --rejected-text-column {as_flag(rejected)}"
        observations.add(chosen_and_rejected_are_the_same, case="one column", flags=flags, file=name)
    elif plain(chosen) in REJECTED and plain(rejected) in CHOSEN:
        observations.add(chosen_and_rejected_are_swapped, file=name, chosen=chosen, rejected=rejected)
    if prompt is not None and quotes_both(columns, prompt, chosen, rejected):
        observations.add(prompts_hold_both_answers, file=name, column=prompt)


def check_token_ids(
    columns: Columns, mapping: ColumnMapping, request: DataRequest, name: str, observations: Observations
) -> None:
    """Report token ids that are not used because the rows have text too."""
    roles = token_columns(columns, None, request.ignored_columns) if request.rows in TRAINED_AS_TOKENS else None
    if roles is not None and mapping.format != TOKENS:
        used = mapping.columns.values()
        ids = [column for column in roles.values() if column not in used]
        observations.add(token_ids_beside_text_are_not_used, file=name, ids=ids)


def _written_lists(columns: Columns, prompt: str | None, answers: Sequence[str]) -> list[str]:
    """The columns of prompts and answers whose cells are all lists of texts that are written as text. A model may have to answer with a list: those
    of answers count where prompts are lists as well, or where nearly all hold one text."""

    def are_lists(column: str | None) -> bool:
        return (
            column is not None and bool(columns.values[column]) and all(map(_is_written_list, columns.values[column]))
        )

    def hold_one_text(column: str) -> bool:
        lists = [parsed(value) for value in columns.values[column]]
        return sum(len(texts) == 1 for texts in lists) >= MOST * len(lists)

    of_prompts = are_lists(prompt)
    of_answers = [one for one in answers if are_lists(one) and (of_prompts or hold_one_text(one))]
    return [*([prompt] if prompt is not None and of_prompts else []), *of_answers]


def _is_written_list(value: Any) -> bool:
    """Whether a text is a list of texts, as JSON or Python writes it."""
    if not isinstance(value, str) or value.strip()[:2] not in ("['", '["', "[n"):
        return False
    texts = parsed(value)
    return isinstance(texts, list) and all(isinstance(text, str | None) for text in texts)


def check_named_columns(
    columns: Columns, request: DataRequest, name: str, observations: Observations, data_flag: str = "--data-path"
) -> bool:
    """Whether all columns that the user named exist; those that don't are reported in one finding."""
    named = {field: getattr(request, field) for field in COLUMN_FLAGS if request.is_named(field)}
    absent = {field: column for field, column in named.items() if column not in columns.values}
    if not absent or not columns.names:
        return True
    first_absent = next(iter(absent.values()))
    changes = _right_columns(columns, request, list(absent)) if data_flag == "--data-path" else {}
    observations.add(
        a_named_column_is_not_in_the_data,
        file=name,
        absent=absent,
        columns=nearest_first(first_absent, columns.names),
        changes=changes,
        data_flag=data_flag,
        is_certain=_only_respelt(named, changes),
    )
    return False


def check_second_header(columns: Columns, name: str, observations: Observations) -> None:
    """Report first rows of a CSV file that say once more what the columns are, as survey tools write them."""
    if not without_packing(name).endswith(CELLS) or len(columns.rows) < FEWEST_BELOW_A_HEADER:
        return
    count = 0
    for at, row in enumerate(columns.rows[:2]):
        below = columns.rows[at + 1 if at else 2 :]
        if _is_a_header(row, below):
            count = at + 1
    if count:
        observations.add(
            a_row_is_a_second_header, file=name, rows=count, cell=str(next(filter(None, columns.rows[0].values()), ""))
        )


def _is_a_header(row: Mapping[str, Any], below: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no cell of a row is like those below it where these are numbers, dates or ids, or some cells write out the names of their columns."""
    cells = {name: value for name, value in row.items() if isinstance(value, str) and value.strip()}
    if len(cells) > 1 and all(value.startswith('{"ImportId"') for value in cells.values()):
        return True
    written = [name for name, value in cells.items() if words_of(value) == words_of(name) and value != name]
    values = {name: [str(other.get(name) or "").strip() for other in below] for name in cells}
    counted = [
        name
        for name, others in values.items()
        if all(NO_WORD.fullmatch(value) for value in others if value) and any(others)
    ]
    unlike = [
        name
        for name in counted
        if re.search(r"[^\W\d_]{3}", cells[name]) and not NO_WORD.fullmatch(cells[name].strip())
    ]
    return (bool(counted) and unlike == counted and (len(unlike) > 1 or len(cells) == len(row))) or len(written) > 1


def whole_number(value: Any) -> int | None:
    """A whole number, also one that is written as text; None for anything else."""
    return int(value) if isinstance(value, int | str) and re.fullmatch(r"-?\d+", str(value).strip()) else None


def check_unused_half(
    columns: Columns, mapping: ColumnMapping, request: DataRequest, name: str, observations: Observations
) -> frozenset[str]:
    """Report a named column that holds only prompts or only answers, if the other half is in a column that is not read. Returns the columns
    that were reported."""
    named = request.text_column
    if mapping.format != "text" or named is None or not request.is_named("text_column"):
        return frozenset()
    whole = _recognised(columns, request)
    if whole is None or whole.format not in ("alpaca", "prompt/completion"):
        return frozenset()
    answers = whole.columns.get("output") or whole.columns["completion"]
    prompts = [column for role, column in whole.columns.items() if role in ("instruction", "prompt")]
    if named not in (*prompts, answers):
        return frozenset()
    # `source` alone may as well say where a text is from.
    are_halves = plain(prompts[0]) in QUESTIONS or (plain(prompts[0]), plain(answers)) in HALVES
    other = prompts[0] if named == answers else answers
    here, there = columns.values[named], columns.values[other]
    varies = len(set(map(str, there))) > 1 or len(there) == 1
    if not are_halves or not here or not there or not varies:
        return frozenset()
    repeated = sum(str(part) in str(text) for text, part in zip(here, there, strict=False))
    if repeated * 2 < len(there):
        observations.add(
            prompts_or_answers_are_not_used,
            file=name,
            named=named,
            prompt=prompts[0],
            answer=answers,
            row=columns.first_row.get(other),
        )
        return frozenset(whole.columns.values())
    return frozenset()
