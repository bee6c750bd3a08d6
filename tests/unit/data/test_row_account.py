"""Nothing in a row is dropped without a word: whatever is added to a row is in what the model reads, or a finding names it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.formats.column_names import CHOICES, CONTEXT, HISTORY, INPUT, METADATA, SYSTEM, TOOLS
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused

USER, ANSWER = {"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "It is over there."}
BAD = {"role": "assistant", "content": "I don't know that."}
SHAREGPT = [{"from": "human", "value": "Where is it?"}, {"from": "gpt", "value": "Over there."}]
FORMATS = {
    "text": {"text": "A house stands by the sea."},
    "messages": {"messages": [USER, ANSWER]},
    "sharegpt": {"conversations": SHAREGPT},
    "exchanges": {"conversation": [{"human": "Where is it?", "assistant": "Over there."}]},
    "alpaca": {"instruction": "Where is it?", "input": "The house.", "output": "Over there."},
    "pair": {"prompt": "Where is it?", "completion": "Over there."},
    "pair of turns": {"prompt": [USER], "completion": [ANSWER]},
    "question": {"question": "Where is it?", "answer": "Over there."},
    "preference": {"prompt": "Where is it?", "chosen": "Over there.", "rejected": "I don't know."},
    "preference of turns": {"chosen": [USER, ANSWER], "rejected": [USER, BAD]},
    "labelled": {"prompt": "Where is it?", "completion": "Over there.", "label": True},
    "judged": {"messages": [USER, ANSWER], "label": True},
    "prompts": {"prompt": "Where is the house by the sea?"},
    "tokens": {"input_ids": [5, 6, 2], "labels": [-100, 6, 2]},
}
READS = {
    "generic": ("documents", "text messages sharegpt exchanges alpaca pair question preference tokens"),
    "sft": (
        "conversations",
        "text messages sharegpt exchanges alpaca pair question preference preference_of_turns pair_of_turns tokens",
    ),
    "dpo": ("preferences", "preference preference_of_turns"),
    "kto": ("preferences", "preference labelled judged"),
    "reward": ("scored", "preference preference_of_turns"),
    "ppo": ("prompts", "prompts messages sharegpt pair question alpaca"),
}
CASES = [(trainer, name.replace("_", " ")) for trainer, (_, names) in READS.items() for name in names.split()]
MARK = "zebra number"  # of words, and in no other part of a row
UNKNOWN = ("note", "hint", "extra text", "Explanation", "persona", "reference_notes", "x1", "thoughts")
VALUES = {
    "text": lambda n: f"{MARK} {n}",
    "texts": lambda n: [f"{MARK} {n}", "one more"],
    "object": lambda n: {"inner": f"{MARK} {n}", "other": 5},
    "objects": lambda n: [{"inner": f"{MARK} {n}"}],
    "system object": lambda n: {"role": "system", "content": f"{MARK} {n}"},
    "pairs": lambda n: [[f"{MARK} {n}", "Yes."]],
    "turns": lambda n: [{"role": "user", "content": f"{MARK} {n}"}, {"role": "assistant", "content": "Yes."}],
    "tools": lambda n: json.dumps([{"type": "function", "function": {"name": f"{MARK} {n}"}}]),
}


def made(folder, trainer, rows, path=None, **wanted):
    """What the model reads of some rows, and everything that is reported about them."""
    if path is None:
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        dataset = open_data(DataRequest(str(path), READS[trainer][0], trainer=trainer, **wanted))
    except Refused as refused:
        return None, " ".join(finding.message for finding in refused.findings)
    return [forms(example) for example in dataset.train], " ".join(finding.message for finding in dataset.findings)


def forms(example):
    """The forms of a row that can be rendered: turns for a chat template, and text where there is none."""
    plain = [
        part for part in (example.prompt, example.completion, example.chosen, example.rejected, example.text) if part
    ]
    both = [[example.messages], plain] if example.messages and plain else [[example.messages, *plain]]
    return [json.dumps([form, example.tools], ensure_ascii=False) for form in both]


def is_used_or_named(forms_of_rows, report, name):
    if forms_of_rows is None:
        return name in report
    return name in report or all(f"{MARK} {n}" in form for n, row in enumerate(forms_of_rows) for form in row)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(CASES),
    name=st.sampled_from((*SYSTEM, *HISTORY, *TOOLS, *INPUT, *CONTEXT, *CHOICES, *UNKNOWN)),
    value=st.sampled_from(sorted(VALUES)),
)
def test_a_column_that_is_added_is_used_or_named(tmp_path, case, name, value):
    trainer, format_name = case
    row = FORMATS[format_name]
    if name in row:
        return
    rows = [{**row, name: VALUES[value](n)} for n in range(3)]
    assert is_used_or_named(*made(tmp_path, trainer, rows), name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(
        [case for case in CASES if "turns" in case[1] or case[1] in ("messages", "sharegpt", "exchanges", "judged")]
    ),
    name=st.sampled_from((*UNKNOWN, "emotion", "train_detail", "annotations", "images", "feedback")),
    value=st.sampled_from(sorted(VALUES)),
    turn=st.integers(0, 1),
)
def test_a_key_that_is_added_to_a_turn_is_used_or_named(tmp_path, case, name, value, turn):
    trainer, format_name = case
    rows = []
    for n in range(3):
        row = json.loads(json.dumps(FORMATS[format_name]))
        column = next(name for name, cell in row.items() if isinstance(cell, list))
        row[column][turn % len(row[column])][name] = VALUES[value](n)
        rows.append(row)
    assert is_used_or_named(*made(tmp_path, trainer, rows), name)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(CASES),
    key=st.sampled_from(("data", "train", "examples")),
    name=st.sampled_from((*SYSTEM, *TOOLS, *INPUT, *CONTEXT, "task_prefix", "persona", "notes")),
    value=st.sampled_from(("text", "system object", "tools")),
)
def test_what_stands_beside_the_rows_of_a_file_is_used_or_named(tmp_path, case, key, name, value):
    trainer, format_name = case
    if name in FORMATS[format_name] or (value == "tools" and name not in TOOLS):
        return
    rows = [{**FORMATS[format_name], "id": n} for n in range(3)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({name: VALUES[value]("0 for all rows"), key: rows, "version": "2.0"}))
    forms_of_rows, report = made(tmp_path, trainer, rows, path=path)
    assert name in report or (forms_of_rows and all(f"{MARK} 0" in form for row in forms_of_rows for form in row))


JUDGED_ANSWERS = {
    "rated": lambda n: {"answers": [{"text": f"Over there, {n}.", "score": 5}, {"text": f"No idea, {n}.", "score": 1}]},
    "labelled": lambda n: {
        "outputs": [{"output": f"Over there, {n}.", "correct": True}, {"output": f"No idea, {n}.", "correct": False}]
    },
    "chosen": lambda n: {"summaries": [{"text": f"Over there, {n}."}, {"text": f"No idea, {n}."}], "choice": n % 2},
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    judged=st.sampled_from(sorted(JUDGED_ANSWERS)),
    trainer=st.sampled_from(("dpo", "kto", "reward")),
    name=st.sampled_from((*SYSTEM, *CONTEXT, *UNKNOWN, "critique", "reasoning", "annotations")),
    value=st.sampled_from(sorted(VALUES)),
    is_in=st.sampled_from(("all", "each", "last")),
)
def test_a_key_of_one_of_several_answers_is_used_or_named(tmp_path, judged, trainer, name, value, is_in):
    rows = [{"prompt": f"Where is it, {n}?", **JUDGED_ANSWERS[judged](n)} for n in range(3)]
    for n, row in enumerate(rows):
        items = next(cell for cell in row.values() if isinstance(cell, list))
        if name in items[0]:
            return
        for at, item in enumerate(items):
            if is_in != "last" or at == len(items) - 1:
                item[name] = VALUES[value](n * 10 + at * (is_in == "each"))
    _, report = made(tmp_path, trainer, rows)
    assert name in report


MARKS = {
    "true": (True, None),
    "false": (False, True),
    "a word": ("rejected", None),
    "words": ("internal_note", "public reply"),
    "a thumb": (-1, 1),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from([case for case in CASES if case[1] in ("messages", "sharegpt")]),
    name=st.sampled_from(
        ("deleted", "is_internal", "public", "status", "type", "flagged", "error", "x1", "state", "quality")
    ),
    mark=st.sampled_from(sorted(MARKS)),
    is_in_each_row=st.booleans(),
)
def test_a_key_that_marks_some_turns_is_named_and_one_that_is_the_same_for_all_is_not(
    tmp_path, case, name, mark, is_in_each_row
):
    trainer, format_name = case
    values, rows = MARKS[mark], []
    for n in range(4):
        ((column, turns),) = json.loads(json.dumps(FORMATS[format_name])).items()
        two = [*turns, *json.loads(json.dumps(turns))]
        for at, value in ((1, values[0]), (3, values[1])):
            if value is not None and (is_in_each_row or n < 2):
                two[at][name] = value
        rows.append({column: two})
    assert trainer == "ppo" or name in made(tmp_path, trainer, rows)[1]
    for row in rows:
        for turns in row.values():
            for turn in turns:
                turn[name] = values[0]
    assert isinstance(values[0], str) or trainer == "ppo" or name == "quality" or made(tmp_path, trainer, rows)[1] == ""


FLAGS = {
    "true": [True, False],
    "numbers": [1, 0],
    "three": [1, 0, -1],
    "texts": ["yes", "no"],
    "JSON": ["true", "false"],
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(
        [case for case in CASES if case[0] in ("sft", "generic") and case[1] not in ("tokens", "text")]
    ),
    name=st.sampled_from(
        ("deleted", "resolved", "success", "toxic", "target_met", "is_safe", "refused", "x1", "valid")
    ),
    flags=st.sampled_from(sorted(FLAGS)),
)
def test_a_flag_that_divides_the_rows_is_named_whatever_it_is_called(tmp_path, case, name, flags):
    trainer, format_name = case
    values = [FLAGS[flags][n * n % len(FLAGS[flags])] for n in range(6)]
    differing = (
        json.dumps(FORMATS[format_name]).replace("Where is it?", "Where is it, NUMBER?").replace("sea.", "sea NUMBER.")
    )
    rows = [{**json.loads(differing.replace("NUMBER", str(n))), name: value} for n, value in enumerate(values)]
    if format_name.startswith("preference"):
        return
    assert name in made(tmp_path, trainer, rows)[1]
    assert name not in made(tmp_path, trainer, [{**row, name: values[0]} for row in rows])[1]


def test_an_instruction_that_is_one_for_all_questions_stands_before_each(tmp_path):
    path = tmp_path / "rows.json"
    rows = [{"prompt": f"Where is number {n}?", "completion": f"There, {n}."} for n in range(3)]
    path.write_text(json.dumps({"instruction": "Answer as a pirate.", "data": rows}))
    dataset = open_data(DataRequest(str(path)))
    assert [row.messages[0]["content"] for row in dataset.train] == [
        f"Answer as a pirate.\n{row['prompt']}" for row in rows
    ]
    assert dataset.findings == ()


def test_rows_in_an_object_within_an_object_are_rows(tmp_path):
    rows = [{"prompt": f"Where is number {n}?", "completion": f"There, {n}."} for n in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps({"dataset": {"system_prompt": "Be brief.", "items": rows}}))
    assert len(open_data(DataRequest(str(tmp_path / "rows.json"))).train) == 3


PHRASES = ("zebra invoice is wrong", "zebra printer queue stuck", "zebra login after password reset")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(CASES), name=st.sampled_from(sorted(METADATA)), is_listed=st.booleans())
def test_a_phrase_that_differs_between_rows_is_used_or_named_whatever_its_column_is_called(
    tmp_path, case, name, is_listed
):
    trainer, format_name = case
    row = FORMATS[format_name]
    rows = [{**row, name: [phrase, "one"] if is_listed else phrase} for phrase in PHRASES]
    forms_of_rows, report = made(tmp_path, trainer, rows)
    assert name in report or all(
        phrase in form for phrase, row in zip(PHRASES, forms_of_rows, strict=True) for form in row
    )


@pytest.mark.parametrize(
    "values",
    [
        ["Billing and Payments", "Technical Support Desk", "Billing and Payments", "Billing and Payments"],
        ["Mon Nov 30 20:44:48 2026", "Tue Dec 1 10:00:01 2026", "12 March 2021", "March 12, 2021 10:00 PM"],
        ["geology", "cooking", "law", "law"],
    ],
)
@pytest.mark.parametrize("name", ["subject", "category", "source", "date", "author"])
def test_categories_and_dates_draw_nothing(name, values, tmp_path):
    # `source` may be a prompt, and here the question is one.
    rows = [{"question": f"Where is it, {n}?", "answer": f"There, {n}.", name: value} for n, value in enumerate(values)]
    assert made(tmp_path, "sft", rows)[1] == ""


@pytest.mark.parametrize("name", ["author", "source", "model", "user_name"])
def test_names_of_persons_and_models_draw_nothing_and_titles_do(name, tmp_path):
    values = ["Anna Berg", "Jonas Moll", "Greta Lind", "Omar Said"]
    rows = [{**FORMATS["question"], name: value} for value in values]
    assert made(tmp_path, "sft", rows)[1] == ""
    titles = [{**FORMATS["question"], other: value} for value in values for other in ("name", "topic", "char_name")]
    assert all(other in made(tmp_path, "sft", titles)[1] for other in ("name", "topic", "char_name"))


TOLD = {"lang": "fr de fr de", "level": "easy hard easy hard", "task": "sum sum list list", "domain": "law art law art"}


@pytest.mark.parametrize("trainer", ["sft", "generic"])
@pytest.mark.parametrize("format_name", ["pair", "alpaca", "messages", "question"])
@pytest.mark.parametrize("name", TOLD)
def test_what_tells_the_answers_to_one_prompt_apart_is_named(name, format_name, trainer, tmp_path):
    def row(value, question, answer):
        text = json.dumps({**FORMATS[format_name], name: value})
        for before in ("It is over there.", "Over there."):
            text = text.replace(before, answer)
        return json.loads(text.replace("Where is it?", question))

    values = TOLD[name].split()
    rows = [
        row(value, f"Where is it, {values[:at].count(value)}?", f"It is the {at}") for at, value in enumerate(values)
    ]
    assert name in made(tmp_path, trainer, rows)[1]
    one_answer = [row(value, f"Where is it, {at}?", f"It is the {at}") for at, value in enumerate(values)]
    assert made(tmp_path, trainer, one_answer)[1] == ""


def test_the_language_that_is_asked_for_is_named_and_belongs_to_the_prompt(tmp_path):
    rows = [{**FORMATS["question"], "target_language": language} for language in ("French", "German")]
    assert "target_language" in made(tmp_path, "sft", rows)[1]


@pytest.mark.parametrize("trainer", READS)
def test_a_context_stands_before_the_question_in_every_trainer(trainer, tmp_path):
    row = FORMATS["preference" if trainer in ("dpo", "kto", "reward") else "question"]
    rows = [{**row, "context": f"{MARK} {n}", "system": "Be brief."} for n in range(3)]
    forms_of_rows, report = made(tmp_path, trainer, rows)
    assert report == ""
    assert all(
        form.index("Be brief.") < form.index(MARK) < form.index("Where is it?") for row in forms_of_rows for form in row
    )


def test_columns_that_are_named_as_ignored_are_neither_used_nor_reported(tmp_path):
    rows = [{**FORMATS["question"], "context": f"{MARK} {n}", "note": f"{MARK} {n}"} for n in range(3)]
    forms_of_rows, report = made(tmp_path, "sft", rows, ignored_columns=("context", "note"))
    assert report == "" and MARK not in str(forms_of_rows)
    forms_of_rows, report = made(tmp_path, "sft", rows, context_columns=("note",), ignored_columns=("context",))
    assert report == "" and forms_of_rows[0][0].count(MARK) == 1


@pytest.mark.parametrize(
    "extra",
    [
        {"id": "a-1", "source": "web page", "url": "https://example.org/1", "lang": "en", "category": "open_qa"},
        {"idx": 5, "score": 0.5, "is_good": True, "meta": {"origin": "forum", "votes": 3}, "tags": ["a", "b"]},
        {"hash": "9f86d081884c7d65", "created_at": "2024-01-01 10:00", "model": "gpt 4", "empty": "", "none": None},
        {"copy": "Where is it?"},
    ],
)
@pytest.mark.parametrize("trainer", ["sft", "dpo", "ppo"])
def test_metadata_draws_nothing(extra, trainer, tmp_path):
    row = FORMATS["preference" if trainer == "dpo" else "question"]
    rows = [
        {**row, **{name: f"{value}{n}" if name in ("id", "url", "hash") else value for name, value in extra.items()}}
        for n in range(3)
    ]
    assert made(tmp_path, trainer, rows)[1] == ""


HISTORIES = {
    "pairs": [["Open?", "From nine."]],
    "turns": [{"role": "user", "content": "Open?"}, {"role": "assistant", "content": "From nine."}],
    "sharegpt": [{"from": "human", "value": "Open?"}, {"from": "gpt", "value": "From nine."}],
    "exchanges": [{"user": "Open?", "assistant": "From nine."}],
    "flat": ["Open?", "From nine."],
    "JSON": json.dumps([["Open?", "From nine."]]),
}


@pytest.mark.parametrize("shape", HISTORIES)
@pytest.mark.parametrize(
    ("trainer", "format_name"), [("sft", "pair"), ("sft", "alpaca"), ("dpo", "preference"), ("ppo", "prompts")]
)
def test_a_history_in_any_shape_comes_before_the_question(shape, trainer, format_name, tmp_path):
    rows = [{**FORMATS[format_name], "history": HISTORIES[shape]}, {**FORMATS[format_name], "history": None}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_data(DataRequest(str(path), READS[trainer][0], trainer=trainer))
    turns = dataset.train[0].messages or dataset.train[0].prompt
    assert turns[:2] == HISTORIES["turns"] and turns[2]["content"].startswith("Where")
    assert dataset.findings == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [(4, "4"), (2.5, "2.5"), (True, "true"), ({"a": [1, None]}, '{"a": [1, null]}'), (["é", "b"], '["é", "b"]')],
)
def test_an_answer_that_is_no_text_is_written_as_text(value, text, tmp_path):
    rows = [{"prompt": "What?", "completion": value}, {"prompt": "And?", "completion": value}]
    forms_of_rows, report = made(tmp_path, "sft", rows)
    assert json.dumps(text, ensure_ascii=False) in forms_of_rows[0][0]
    assert ("written as JSON" in report) == isinstance(value, dict | list)


@pytest.mark.parametrize(
    "mark", [{"loss": False}, {"train": 0}, {"trainable": "false"}, {"weight": 0}, {"masked": True}]
)
def test_a_turn_that_is_marked_is_not_trained_on(mark, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [USER, {**ANSWER, **mark}, USER, {**ANSWER, "content": "Here."}]}) + "\n")
    dataset = open_data(DataRequest(str(path)))
    assert [turn.get("weight") for turn in dataset.train[0].messages] == [None, 0, None, None]
    assert dataset.findings == ()


@pytest.mark.parametrize("mask", [[0, 0, 0, 1], [0, 1]])
def test_a_mask_beside_the_turns_is_kept(mask, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [USER, ANSWER, USER, ANSWER], "loss_mask": mask}) + "\n")
    dataset = open_data(DataRequest(str(path)))
    assert [turn.get("weight") for turn in dataset.train[0].messages] == [None, 0, None, None]
    with pytest.raises(Refused, match="3 items for 4 turns"):
        path.write_text(json.dumps({"messages": [USER, ANSWER, USER, ANSWER], "loss_mask": [1, 1, 0]}) + "\n")
        open_data(DataRequest(str(path)))


CONTAINERS = {
    "turns.json": json.dumps([USER, ANSWER]),
    "lists.json": json.dumps([[USER, ANSWER]]),
    "lists.jsonl": json.dumps([USER, ANSWER]) + "\n" + json.dumps([USER, ANSWER]) + "\n",
    "rows.json": json.dumps({"rows": [{"row_idx": 0, "row": {"messages": [USER, ANSWER]}, "truncated_cells": []}]}),
    "wrapped.jsonl": json.dumps({"id": "a-1", "data": {"messages": [USER, ANSWER]}}) + "\n",
    "columns.json": json.dumps({"prompt": {"0": USER["content"]}, "completion": {"0": ANSWER["content"]}}),
    "index.json": json.dumps({"0": {"prompt": USER["content"], "completion": ANSWER["content"]}}),
    "split.json": json.dumps(
        {"columns": ["prompt", "completion"], "index": [0], "data": [[USER["content"], ANSWER["content"]]]}
    ),
    "sep.csv": f"sep=;\nprompt;completion\n{USER['content']};{ANSWER['content']}\n",
    "texts.jsonl": json.dumps({"id": "1", "data": [USER["content"], ANSWER["content"]]}) + "\n",
    "gemini.jsonl": json.dumps(
        {
            "contents": [
                {"role": "user", "parts": [{"text": USER["content"]}]},
                {"role": "model", "parts": [{"text": ANSWER["content"]}]},
            ]
        }
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_rows_are_found_in_every_container(name, tmp_path):
    (tmp_path / name).write_text(CONTAINERS[name])
    dataset = open_data(DataRequest(str(tmp_path / name)))
    example = dataset.train[0]
    turns = example.messages or [{**USER, "content": example.prompt}, {**ANSWER, "content": example.completion}]
    assert turns == [USER, ANSWER] and dataset.findings == ()


def test_a_text_file_that_is_json_is_read_as_json_and_reported(tmp_path):
    (tmp_path / "rows.txt").write_text(json.dumps([FORMATS["alpaca"]], indent=2))
    dataset = open_data(DataRequest(str(tmp_path / "rows.txt"), "documents"))
    assert dataset.format == "alpaca" and [finding.code for finding in dataset.findings] == ["D138"]


def test_an_answer_that_happens_to_be_turns_in_json_is_text(tmp_path):
    rows = [
        {"prompt": f"Write a chat as JSON, number {n}.", "completion": json.dumps([USER, ANSWER])} for n in range(2)
    ]
    forms_of_rows, report = made(tmp_path, "sft", rows)
    assert report == "" and json.dumps(json.dumps([USER, ANSWER])) in forms_of_rows[0][0]
    both = [{"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])}]
    assert made(tmp_path, "sft", both) == ([[json.dumps([[None, [USER], [ANSWER]], None])]], "")


@pytest.mark.parametrize(
    "row",
    [
        {"id": "0", "translation": {"en": "The house is red.", "fr": "La maison est rouge."}},
        {"title": "Houses by the sea", "sections": [{"heading": "One", "body": "Text."}]},
        {"name": "Anna Berg", "age": 30},
        {"tag": "blue", "value": 1},
    ],
)
def test_ids_titles_and_names_are_not_trained_on_as_texts(row, tmp_path):
    forms_of_rows, report = made(tmp_path, "sft", [row, row])
    assert forms_of_rows is None and all(name in report for name in row)


def test_a_text_beside_a_question_is_its_context_and_one_that_repeats_both_is_the_row(tmp_path):
    about = [{"text": f"{MARK} {n}", "question": "Which number?", "answer": "That one."} for n in range(3)]
    forms_of_rows, report = made(tmp_path, "sft", about)
    assert report == "" and all(MARK in row[0] and "Which number?" in row[0] for row in forms_of_rows)
    whole = [{**row, "text": f"Q: {row['question']} {row['text']} A: {row['answer']}"} for row in about]
    forms_of_rows, report = made(tmp_path, "sft", whole)
    assert report == "" and "Q: Which number?" in forms_of_rows[0][0]


@pytest.mark.parametrize(
    ("extra", "lines"),
    [
        ({"A": "red", "B": "blue", "answer": "B"}, "A. red\nB. blue"),
        ({"choices": ["red", "blue"], "answer": 0}, "0. red\n1. blue"),
        ({"choices": ["red", "blue"], "answer": 2}, "1. red\n2. blue"),
        ({"ending0": "red", "ending1": "blue", "answer": "1"}, "0. red\n1. blue"),
        ({"choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answer": "2"}, "1. red\n2. blue"),
        ({"option1": "red", "option2": "blue", "answer": "2"}, "1. red\n2. blue"),
        ({"options": {"A": "red", "B": "blue"}, "answer": "A"}, "A. red\nB. blue"),
        ({"choices": ["red", "blue"], "answer": "blue"}, "A. red\nB. blue"),
    ],
)
def test_choices_stand_below_the_question_with_labels_that_fit_the_answers(extra, lines, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Which colour?", **extra}) + "\n")
    dataset = open_data(DataRequest(str(path)))
    example = dataset.train[0]
    assert (example.prompt, example.completion) == (f"Which colour?\n{lines}", str(extra["answer"]))
    assert dataset.findings == ()
    for trainer in (name for name, one in TRAINERS.items() if one.rows == "prompts"):
        asked = open_data(DataRequest(str(path), "prompts", trainer=trainer, keeps_columns=True)).train[0]
        assert (asked.prompt, asked.reference) == (example.prompt, example.completion)


def test_answers_that_may_count_from_zero_or_one_are_reported(tmp_path):
    rows = [{"question": "Which?", "choices": ["red", "blue", "green"], "answer": answer} for answer in ("1", "2")]
    forms_of_rows, report = made(tmp_path, "sft", rows)
    assert "0. red" in forms_of_rows[0][0] and "whether the first is 0 or 1" in report


def test_a_list_of_questions_with_answers_is_rows_and_no_conversation(tmp_path):
    rows = [{"question": f"Number {n}?", "answer": f"{MARK} {n}"} for n in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    dataset = open_data(DataRequest(str(tmp_path / "rows.json")))
    assert [(row.prompt, row.completion) for row in dataset.train] == [(row["question"], row["answer"]) for row in rows]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"text": ["copper"], "answer_start": [5]}, "copper"),
        ({"value": "copper", "aliases": ["Cu"]}, "copper"),
        (["copper"], "copper"),
        (["copper", "tin"], '["copper", "tin"]'),
        ("{'text': ['copper'], 'answer_start': array}", "{'text': ['copper'], 'answer_start': array}"),
        ("{'text': ['copper'], 'answer_start': [5]}", "copper"),
        ('{"text": "copper"}', '{"text": "copper"}'),
    ],
)
def test_the_answer_in_an_object_or_a_list_of_one_is_its_text(answer, text, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps({"question": "What is it made of?", "answer": answer}) + "\n") * 2)
    assert open_data(DataRequest(str(path))).train[0].completion == text


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"text": "A film.", "label": "good"}, ["label"]),
        ({"question": "What colour?", "answer": "Red.", "image": "bus.jpg"}, ["image", "images and sounds"]),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "better_response_id": 1}, ["better_response_id"]),
        ({"question": "Why?", "answer": "So.", "rationale": "Since it is."}, ["rationale"]),
        ({"goal": "Cool it.", "sol1": "Ice.", "sol2": "Fire.", "answer": "1"}, ["goal", "sol1"]),
        ({"role": "user", "text": "Where is the house?"}, ["one turn of a conversation"]),
        ({"story": "A cat lived.", "questions": ["Where?"], "answers": {"text": ["Here.", "There."]}}, ["questions"]),
    ],
)
def test_what_says_something_of_the_row_is_named(row, names, tmp_path):
    other = {
        name: f"{value} more" if isinstance(value, str) and name not in ("role", "text") else 0 if value == 1 else value
        for name, value in row.items()
    }
    _, report = made(tmp_path, "dpo" if "chosen" in row else "sft", [row, other])
    assert all(name in report for name in names)


def test_a_text_and_its_summary_are_prompt_and_answer(tmp_path):
    rows = [{"article": f"A long story of {n} days.", "highlights": f"{n} days."} for n in range(2)]
    forms_of_rows, report = made(tmp_path, "sft", rows)
    assert report == "" and json.loads(forms_of_rows[0][0])[0][1:] == ["A long story of 0 days.", "0 days."]


def test_a_turn_that_is_trained_in_part_is_left_out(tmp_path):
    row = {"messages": [USER, {**ANSWER, "train_detail": [{"train": False}]}]}
    _, report = made(tmp_path, "sft", [row, FORMATS["messages"]])
    assert "train_detail of turn 2" in report and "the row was left out" in report


def test_another_last_answer_to_a_conversation_is_its_rejected_one(tmp_path):
    rows = [{"messages": [USER, ANSWER], "rejected_response": f"{MARK} {n}"} for n in range(2)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    example = open_data(DataRequest(str(path), "preferences", trainer="dpo")).train[1]
    assert (example.prompt, example.chosen) == ([USER], [ANSWER])
    assert example.rejected == [{"role": "assistant", "content": f"{MARK} 1"}]


def test_where_a_pair_is_from_is_never_its_prompt(tmp_path):
    rows = [
        {
            "conversations": SHAREGPT[:1],
            "chosen": SHAREGPT[1],
            "rejected": {"from": "gpt", "value": f"No {n}."},
            "source": f"web{n}",
        }
        for n in range(2)
    ]
    forms_of_rows, report = made(tmp_path, "reward", rows)
    assert report == "" and "web" not in forms_of_rows[0][0] and "Where is it?" in forms_of_rows[0][0]


@pytest.mark.parametrize(
    "rejected",
    ["Here.", [{"role": "assistant", "content": "Here."}], [USER, {"role": "assistant", "content": "Here."}]],
)
@pytest.mark.parametrize(("rows", "trainer"), [("preferences", "dpo"), ("scored", "reward"), ("preferences", "kto")])
def test_both_answers_stand_after_the_same_prompt(rejected, rows, trainer, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [USER, ANSWER], "rejected_response": rejected}) + "\n")
    example = open_data(DataRequest(str(path), rows, trainer=trainer)).train[0]
    assert (example.prompt, example.chosen) == ([USER], [ANSWER])
    assert example.rejected == [{"role": "assistant", "content": "Here."}]


def test_a_conversation_in_place_of_its_prompt_loses_its_answer(tmp_path):
    rows = [{"conversation": [USER, ANSWER], "chosen": [USER, ANSWER], "rejected": [USER, BAD]}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(rows[0]) + "\n")
    example = open_data(DataRequest(str(path), "preferences", trainer="dpo")).train[0]
    assert (example.prompt, example.chosen, example.rejected) == ([USER], [ANSWER], [BAD])


def test_a_refusal_without_content_is_the_answer(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"messages": [USER, {"role": "assistant", "content": None, "refusal": "I won't say."}]}) + "\n"
    )
    assert open_data(DataRequest(str(path))).train[0].messages[1] == {"role": "assistant", "content": "I won't say."}


def test_rows_of_another_split_are_reported(tmp_path):
    rows = [
        {"prompt": f"Number {n}?", "completion": f"It is {n}.", "split": split}
        for n, split in enumerate(("train", "TEST"))
    ]
    assert "belong to TEST" in made(tmp_path, "sft", rows)[1]
    assert made(tmp_path, "sft", [{**row, "split": "train"} for row in rows])[1] == ""


def test_a_prompt_in_the_markers_of_a_template_is_no_other_text(tmp_path):
    rows = [
        {"prompt": f"Where is number {n}?", "completion": "There.", "processed": f"<|u|>Where is number {n}?<|e|>"}
        for n in range(2)
    ]
    assert made(tmp_path, "sft", rows)[1] == ""


JUDGED_BY = {
    "a measure": [0.5, -1.2, 2.0, -0.3],
    "the number of an answer": [1, 2, 2, 1],
    "the number of an answer as text": ["1", "2", "2", "1"],
    "votes": [80, 31, 12, 77],
    "the letter of an answer": ["A", "B", "B", "tie"],
}


@pytest.mark.parametrize("values", JUDGED_BY.values(), ids=JUDGED_BY)
def test_what_may_say_which_of_two_answers_is_better_is_named_whatever_its_column_is_called(values, tmp_path):
    """Where the names of the answers' columns don't say it, the row's own word for it must not be lost."""
    rows = [
        {"ask": f"What is {n} and {n}?", "one": f"It is {n}.", "two": f"It is {2 * n}.", "verdict_of_us": value}
        for n, value in enumerate(values, 1)
    ]
    columns = {"prompt_column": "ask", "text_column": "one", "rejected_column": "two"}
    _, report = made(tmp_path, "dpo", rows, named=tuple(columns), **columns)
    assert "verdict_of_us" in report
    if values[0] == "A":
        return  # text that differs is named in any case
    for row in rows:
        row["chosen"], row["rejected"] = row.pop("one"), row.pop("two")
    _, report = made(tmp_path, "dpo", rows, named=("prompt_column",), prompt_column="ask")
    assert "verdict_of_us" not in report


def test_a_number_that_alone_tells_the_answers_to_a_prompt_apart_is_named(tmp_path):
    rows = [
        {"question": f"Tell tale {n} in short.", "most": most, "answer": f"Tale {n} in {most} words."}
        for n in range(6)
        for most in (5, 10, 15)
    ]
    assert "most" in made(tmp_path, "sft", rows)[1]
    for row in rows:
        row["most"] = 5
    assert "most" not in made(tmp_path, "sft", rows)[1]


def test_judgements_beside_two_answers_are_not_taken_for_answers(tmp_path):
    judged = [{"user_id": "u1", "value": "first"}, {"user_id": "u2", "value": "second"}]
    row = {"prompt": "Where is it?", "answer_1": "It is over there.", "answer_2": "I don't know that.", "votes": judged}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(Refused) as refused:
        open_data(DataRequest(str(path), "scored", trainer="reward"))
    (fix,) = [finding.fix for finding in refused.value.findings if finding.code == "D110"]
    assert "each item of votes" not in fix and "answer_1 and answer_2" in fix


@pytest.mark.parametrize("value", [10**400, "1e999", float("inf")], ids=["digits", "written", "infinite"])
def test_a_number_that_is_too_large_to_compute_with_ends_nothing(tmp_path, value):
    rows = [FORMATS["pair"] | {"note": value}, FORMATS["pair"] | {"prompt": "And where else?", "note": 3}]
    read, _ = made(tmp_path, "sft", rows)
    assert len(read) == 2


@pytest.mark.parametrize("sides", [("left", "right"), ("A", "B"), ("first", "second")])
def test_a_choice_deep_inside_what_is_beside_two_answers_may_judge_them(sides, tmp_path):
    rows = [
        {"ask": f"What is {n}?", "one": f"It is {n}.", "two": f"It is {2 * n}.", "notes": [{"result": [{"value": {"selected": side}}]}]}
        for n, side in enumerate(sides * 2, 1)
    ]  # fmt: skip
    columns = {"prompt_column": "ask", "text_column": "one", "rejected_column": "two"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_data(DataRequest(str(path), "preferences", trainer="dpo", named=tuple(columns), **columns))
    (fix,) = [finding.fix for finding in dataset.findings if finding.code == "D181"]
    assert "if notes says which answer is better" in fix
