"""Rows that can be learnt from and hardly are what was meant: order of turns, labels, mixed shapes, lost letters; each with a twin."""

import json

import pytest

from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.quality.cross_row_checks import check_rows
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def findings(path, rows, shape="conversations", **settings):
    """Everything that is said about some rows, whether or not they are refused."""
    try:
        return open_data(DataRequest(write(path, rows), shape, **settings)).findings
    except Refused as refused:
        return refused.findings


def codes(*arguments, **settings):
    return [finding.code for finding in findings(*arguments, **settings)]


def turns(*said):
    return {"messages": [{"role": role, "content": content} for role, content in said]}


GOOD = turns(("user", "Hi"), ("assistant", "Hello"))
OTHER = turns(("system", "Be kind."), ("user", "Bye"), ("assistant", "See you"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (turns(("user", "a"), ("user", "b"), ("assistant", "c")), "turns 1 and 2 both have the role user"),
        (turns(("user", "a"), ("assistant", "b"), ("assistant", "c")), "turns 2 and 3 both have the role assistant"),
        (turns(("user", "a"), ("system", "b"), ("assistant", "c")), "turn 2 is a system turn"),
        (turns(("user", "a"), ("assistant", "b"), ("user", "c")), "the last turn is the user's"),
    ],
)
def test_turns_in_an_order_that_chat_models_do_not_know(tmp_path, row, words):
    (finding,) = findings(tmp_path / "rows.jsonl", [GOOD, row])
    assert (finding.code, finding.severity, finding.row) == ("D133", "warning", 2)
    assert words in finding.message


def test_calls_of_tools_and_greetings_are_in_order(tmp_path):
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}
    asked = {"role": "user", "content": "Look!"}
    answers = [{"role": "tool", "content": "one"}, {"role": "tool", "content": "two"}, *GOOD["messages"][1:]]
    called = {"messages": [asked, {"role": "assistant", "content": "A moment."}, call, *answers]}
    greeting = turns(("assistant", "Welcome!"), ("user", "Hi"), ("assistant", "Hello"))
    assert codes(tmp_path / "rows.jsonl", [GOOD, OTHER, called, greeting]) == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([True, False], []),
        ([1, 0], []),
        ([1.0, 0.0], []),
        (["True", "false"], []),
        ([True, True], ["D135"]),
        ([1, -1], ["D115"]),
        ([3, 5], ["D115", "D118"]),
        (["good", "bad"], []),
        (["thumbs-up", "Thumbs down"], []),
        (["👍", "👎"], []),
        (["great", "poor"], ["D115", "D118"]),
    ],
)
def test_a_label_is_true_or_false_and_both_are_there(tmp_path, labels, expected):
    rows = [{"prompt": f"{n}?", "completion": f"It is {n}.", "label": label} for n, label in enumerate(labels)]
    assert codes(tmp_path / "rows.jsonl", rows, "preferences", trainer="kto") == expected


def test_a_row_of_another_shape_is_not_called_null(tmp_path):
    (finding,) = findings(tmp_path / "rows.jsonl", [GOOD, {"text": "plain"}, OTHER])
    assert "messages is not in the row, which has: text" in finding.message


@pytest.mark.parametrize("text", ["\u200b\u200b", " \u00ad ", "nan", "NaN"])
def test_a_text_that_shows_nothing_is_left_out(tmp_path, text):
    assert codes(tmp_path / "rows.jsonl", [{"text": "one"}, {"text": text}]) == ["D114"]


def test_answers_that_differ_in_spaces_around_them_are_the_same(tmp_path):
    rows = [{"prompt": "a?", "chosen": "b c", "rejected": " b c\n"}, {"prompt": "a?", "chosen": "b", "rejected": "c"}]
    assert codes(tmp_path / "rows.jsonl", rows, "preferences") == ["D103"]


def test_a_prompt_that_one_answer_repeats(tmp_path):
    prompt = "Name me a colour, please."
    rows = [{"prompt": prompt, "chosen": f"{prompt} Blue.", "rejected": "No."}]
    (finding,) = findings(tmp_path / "rows.jsonl", rows, "preferences")
    assert (finding.code, "chosen starts with the prompt and rejected does not" in finding.message) == ("D120", True)
    greeting = [{"prompt": "Hi", "chosen": "Hi there", "rejected": "What?"}]
    assert codes(tmp_path / "rows.jsonl", greeting, "preferences") == []


def test_questions_without_answers_are_no_text_to_learn_unless_they_are_named(tmp_path):
    rows = [{"prompt": "One?"}, {"prompt": "Two?"}]
    assert codes(tmp_path / "rows.jsonl", rows) == ["D110"]
    assert codes(tmp_path / "rows.jsonl", rows, text_column="prompt", named=("text_column",)) == []
    assert codes(tmp_path / "rows.jsonl", rows, "documents") == []


def test_what_columns_hold_is_said_where_it_is_not_text(tmp_path):
    (finding,) = findings(tmp_path / "rows.jsonl", [{"text": 1, "talk": [{"speaker": "a", "utterance": "b"}]}])
    assert "text (numbers, 1), talk (lists of objects with speaker 'a', utterance 'b')" in finding.message


def test_turns_that_cannot_be_read_are_not_taken_for_text_in_silence(tmp_path):
    rows = [{"messages": "[{role: user, content: Hi}]"}] * 2
    assert codes(tmp_path / "rows.jsonl", rows, text_column="messages", named=("text_column",)) == ["D115"]
    fine = [{"text": "[1] The first note."}, {"text": "[{x}] is a pattern."}]
    assert codes(tmp_path / "rows.jsonl", fine) == []


def test_evaluation_rows_of_another_kind_and_findings_about_them(tmp_path):
    other = write(tmp_path / "eval.jsonl", [{"text": "plain"}, {"text": ""}])
    found = {finding.code: finding for finding in findings(tmp_path / "rows.jsonl", [GOOD, OTHER], eval_path=other)}
    assert set(found) == {"D114", "D134"}
    assert found["D114"].parameters == ("eval_dataset_path",)
    same = write(tmp_path / "eval.jsonl", [turns(("user", "New?"), ("assistant", "Yes"))])
    assert codes(tmp_path / "rows.jsonl", [GOOD, OTHER], eval_path=same) == []


@pytest.mark.parametrize("text", ["caf\ufffd", "a\0b", "Gr\u00c3\u00bc\u00c3\u0178e", "it\u00e2\u20ac\u2122s"])
def test_letters_that_were_lost_or_mangled(tmp_path, text):
    rows = [{"text": f"{text} {number}"} for number in range(2)] + [{"text": f"fine {number}"} for number in range(8)]
    dataset = open_data(DataRequest(write(tmp_path / "rows.jsonl", rows)))
    assert [finding.code for finding in check_rows(dataset).findings] == ["D164"]


def test_one_such_letter_in_many_rows_and_foreign_letters_are_no_fault(tmp_path):
    rows = [{"text": f"na\u00efve caf\u00e9 \u00c2ge \u00c3 {number}"} for number in range(30)] + [
        {"text": "\ufffd is a sign"}
    ]
    dataset = open_data(DataRequest(write(tmp_path / "rows.jsonl", rows)))
    assert check_rows(dataset).findings == ()


def test_an_answer_that_ends_with_the_user_is_none(tmp_path):
    prompt, thanks = [{"role": "user", "content": "Hi"}], {"role": "user", "content": "Thanks"}
    good, bad = {"role": "assistant", "content": "Hello"}, {"role": "assistant", "content": "No"}
    rows = [{"prompt": prompt, "chosen": [good, thanks], "rejected": [bad]}]
    assert codes(tmp_path / "rows.jsonl", rows, "preferences") == ["D133"]
    assert codes(tmp_path / "rows.jsonl", [{**rows[0], "chosen": [good]}], "preferences") == []
