"""What stands beside prompts and answers: judgements, limits, keys of choices, answers, other rows. It is read where the rows say what it is, and named else."""

import json

import pytest

from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused

ROWS = 6
NAMES = ("heron", "badger", "otter", "lynx", "marmot", "stork")


def said(tmp_path, rows, name="rows.jsonl", trainer="sft", shape="conversations", **settings):
    """The data set, or None, and everything that is said about the rows."""
    path = tmp_path / name
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    try:
        dataset = open_data(DataRequest(str(path), shape, trainer=trainer, **settings))
    except Refused as refused:
        return None, refused.findings
    return dataset, dataset.findings


def fixes(findings, code):
    return " ".join(str(finding.fix) for finding in findings if finding.code == code)


def answered(at, **more):
    return {
        "question": f"Where does the {NAMES[at]} live?",
        "answer": f"The {NAMES[at]} lives by the river, to the east.",
        **more,
    }


@pytest.mark.parametrize("name", ["quality", "review", "our_opinion"])
@pytest.mark.parametrize("values", [("Good", "Bad"), ("accept", "reject"), ("👍", "👎"), ("correct", "wrong")])
def test_words_for_good_and_bad_answers_are_named_under_any_name(name, values, tmp_path):
    _, findings = said(tmp_path, [answered(at, **{name: values[at % 2]}) for at in range(ROWS)])
    assert f"leave out the rows that {name} calls bad" in fixes(findings, "D181")
    _, findings = said(tmp_path, [answered(at, **{name: values[0]}) for at in range(ROWS)])
    assert fixes(findings, "D181") == ""


def varying(name, values, tmp_path):
    """What is to be done with a column that has one of two values beside each answer."""
    _, findings = said(tmp_path, [answered(at, **{name: values[at % 2]}) for at in range(ROWS)])
    return fixes(findings, "D181")


@pytest.mark.parametrize("name", ["thumbs", "resolved", "toxic", "is_safe", "wobbly"])
@pytest.mark.parametrize(
    "values", [(True, False), (1, 0), ("yes", "no"), ("safe", "unsafe"), ("solved", "unsolved"), ("valid", "invalid")]
)
def test_what_is_true_of_some_answers_alone_may_judge_them_under_any_name(name, values, tmp_path):
    assert f"if {name} says which answers are good, leave out the rows with the others" in varying(
        name, values, tmp_path
    )
    assert varying(name, values[:1] * 2, tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "values"),
    [("num_images", (1, 0)), ("level", (1, 0)), ("language", ("en", "de")), ("size", ("small", "large"))],
)
def test_numbers_and_words_that_sort_the_rows_judge_no_answers(name, values, tmp_path):
    assert "says which answers" not in varying(name, values, tmp_path)


def test_ones_and_zeros_inside_scores_may_judge_answers(tmp_path):
    rows = [answered(at, scores=[{"name": "correctness", "value": at % 2, "comment": "see"}]) for at in range(ROWS)]
    _, findings = said(tmp_path, rows)
    assert "if scores says which answers are good" in fixes(findings, "D181")


def test_thumbs_inside_turns_are_named(tmp_path):
    def turns(at):
        row = answered(at)
        return [
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": row["answer"], "score": at % 2 * 2 - 1},
        ]

    _, findings = said(tmp_path, [{"messages": turns(at)} for at in range(ROWS)])
    assert "leave out what score calls bad" in fixes(findings, "D182")


@pytest.mark.parametrize(
    ("name", "number", "is_named"),
    [
        ("max_words", lambda at: 20 + at % 3, True),
        ("num_words", lambda at: 8 + at % 2, True),
        ("num_seen", lambda at: 20 + at % 3, False),
        ("word_limit", lambda at: 30, False),
    ],
)
def test_numbers_that_limit_or_count_the_answers_are_named(name, number, is_named, tmp_path):
    rows = [answered(at, **{name: number(at)}) for at in range(ROWS)]
    for at, row in enumerate(rows):
        row["answer"] += " Indeed." if name == "num_words" and at % 2 else ""
        row[name] = len(row["answer"].split()) if name == "num_words" else row[name]
    _, findings = said(tmp_path, rows)
    assert (f"--context-columns {name}" in fixes(findings, "D181")) == is_named


def test_a_column_with_the_answer_in_it_is_no_context(tmp_path):
    rows = [
        {"prompt": f"state {at}", "completion": f"simp {at}", "proof": f"theorem t{at} is true by\nsimp {at}"}
        for at in range(ROWS)
    ]
    _, findings = said(tmp_path, rows)
    assert "--context-columns" not in fixes(findings, "D181") and "proof has the answer in it" in fixes(
        findings, "D181"
    )
    _, findings = said(tmp_path, rows, context_columns=("proof",))
    assert [finding.code for finding in findings] == ["D253"]
    rows = [
        {
            "prompt": f"state {at}",
            "completion": f"simp {at}",
            "notes": f"simp {at} is of no use in theorem {at}, as we know",
        }
        for at in range(3)
    ]
    rows += [
        {"prompt": f"state {at}", "completion": f"simp {at}", "notes": f"In the theorem {at} nothing works"}
        for at in range(3, 6)
    ]
    assert [finding.code for finding in said(tmp_path, rows, context_columns=("notes",))[1]] == []


@pytest.mark.parametrize("answer", ["code", "entities", "corrections"])
def test_what_could_be_the_answer_to_a_text_is_offered_as_that(answer, tmp_path):
    values = {
        "code": lambda at: f"def find_{NAMES[at]}(of):\n    return of[{at}]",
        "entities": lambda at: [{"start": at, "label": "ANIMAL"}],
        "corrections": lambda at: [f"The {NAMES[at]} is found by the river.", f"One finds the {NAMES[at]} there."],
    }
    rows = [{"text": f"Find the {NAMES[at]} that live by the river.", answer: values[answer](at)} for at in range(ROWS)]
    _, findings = said(tmp_path, rows)
    assert fixes(findings, "D181").startswith(f"--prompt-text-column text --text-column {answer} trains on {answer}")
    dataset, _ = said(tmp_path, rows, prompt_column="text", text_column=answer, named=("prompt_column", "text_column"))
    assert [example.prompt for example in dataset.train] == [row["text"] for row in rows]


@pytest.mark.parametrize(
    ("names", "key", "signs"),
    [
        (("A", "B", "C"), "Lösung", "ABC"),
        (("Antwort a", "Antwort b", "Antwort c"), "richtig", "abc"),
        (
            ("Answer 1 - max 75 characters", "Answer 2 - max 75 characters", "Answer 3 - max 75 characters"),
            "Correct answer(s)",
            "123",
        ),
    ],
)
def test_a_key_names_choices_in_columns_under_any_names(names, key, signs, tmp_path):
    texts = ("a river", "a forest", "a desert")
    rows = [
        {"Frage": f"Where does the {NAMES[at]} live?", **dict(zip(names, texts, strict=True)), key: signs[at % 3]}
        for at in range(ROWS)
    ]
    dataset, _ = said(tmp_path, rows)
    lines = [f"{sign.upper()}. {text}" for sign, text in zip(signs, texts, strict=True)]
    assert [example.prompt for example in dataset.train] == ["\n".join([row["Frage"], *lines]) for row in rows]
    assert [example.completion for example in dataset.train] == [row[key] for row in rows]


def test_a_key_names_choices_in_an_object(tmp_path):
    rows = [
        {
            "Frage": f"Where does the {NAMES[at]} live?",
            "Wahl": {"A": "a river", "B": "a forest"},
            "Lösung": "AB"[at % 2],
        }
        for at in range(ROWS)
    ]
    dataset, findings = said(tmp_path, rows)
    assert dataset.train[0].prompt.endswith("live?\nA. a river\nB. a forest") and not findings


def test_a_ranking_is_named_as_what_may_judge_a_list_of_answers(tmp_path):
    rows = [
        {
            "prompt": f"Where is the {name}?",
            "candidates": ["It is here.", "It is not here."],
            "ranking": [[0, 1], [1, 0]][at % 2],
        }
        for at, name in enumerate(NAMES)
    ]
    _, findings = said(tmp_path, rows, trainer="dpo", shape="preferences")
    assert "ranking may say which one is better" in fixes(findings, "D110")


def test_rows_that_name_other_rows_are_turns(tmp_path):
    rows = [
        {
            "tweet_id": str(100 + at),
            "text": f"The {NAMES[at]} is here now.",
            "in_response_to_tweet_id": f"{99 + at}.0" if at else None,
        }
        for at in range(ROWS)
    ]
    _, findings = said(tmp_path, rows)
    assert ["in_response_to_tweet_id" in finding.message for finding in findings if finding.code == "D244"] == [True]
    for row in rows:
        row["in_response_to_tweet_id"] = f"{row['tweet_id']}7"
    assert "D244" not in [finding.code for finding in said(tmp_path, rows)[1]]


@pytest.mark.parametrize(
    "text",
    [
        "#separator:tab\n#html:true\nel gato\tthe cat\tanimals\n",
        "text:Hi there.\tlabels:Hello.\tepisode_done:True\n",
        "1\n00:00:00,120 --> 00:00:03,900\nWhere were you?\n\n2\n00:00:05,120 --> 00:00:06,900\nHere.\n",
        "WEBVTT\n\n00:01.000 --> 00:04.000\nWhere were you?\n",
    ],
)
def test_text_files_of_another_form_are_told(text, tmp_path):
    _, findings = said(tmp_path, text, "rows.txt")
    assert [finding.code for finding in findings] == ["D102"]
    assert said(tmp_path, f"A note on it:\n{text}", "rows.txt")[0] is not None


@pytest.mark.parametrize(
    ("first", "is_header"),
    [("Please ask something,How sure are you?", True), ("What is that?,3", False), ("Question,Sure", False)],
)
def test_a_second_header_is_told_by_columns_that_it_does_not_fit(first, is_header, tmp_path):
    rows = "".join(f"Where is the {name}?,{at}\n" for at, name in enumerate(NAMES))
    _, findings = said(tmp_path, f"prompt,sure\n{first}\n{rows}", "rows.csv", trainer="grpo", shape="prompts")
    assert ("D254" in [finding.code for finding in findings]) == (is_header or "Sure" in first)


def test_annotations_of_two_answers_are_judgements_and_no_context(tmp_path):
    rows = [
        {"prompt": f"Where is the {name}?", "one": f"{name} is east.", "two": f"{name} is west.", "votes_of_all": [{"by": f"w{at}", "overall_pref": "A-B"[at % 2 * 2]}]}
        for at, name in enumerate(NAMES)
    ]  # fmt: skip
    named = {"prompt_column": "prompt", "text_column": "one", "rejected_column": "two"}
    _, findings = said(tmp_path, rows, trainer="dpo", shape="preferences", **named, named=tuple(named))
    assert "if votes_of_all says which answer is better" in fixes(findings, "D181")
    assert "--context-columns" not in fixes(findings, "D181")


@pytest.mark.parametrize("columns", [("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating")])
def test_scores_that_contradict_a_pair_are_named_unless_they_are_ignored(columns, tmp_path):
    rows = [
        {"prompt": f"Where is the {NAMES[at]}?", "chosen": f"By the river {at}.", "rejected": f"In the sea {at}.",
         columns[0]: 8.0 if at else 3, columns[1]: 5.5}
        for at in range(ROWS)
    ]  # fmt: skip
    _, findings = said(tmp_path, rows, trainer="dpo", shape="preferences")
    assert [(finding.code, finding.row) for finding in findings] == [("D255", 1)]
    _, findings = said(tmp_path, rows, trainer="dpo", shape="preferences", ignored_columns=columns)
    assert findings == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("incorrect_answers", lambda at: [f"In the sea, with the {NAMES[at]}.", "Nowhere at all."]),
        ("wrong_answer", lambda at: f"In the sea, with the {NAMES[at]}."),
        ("plausible_answers", lambda at: [{"text": f"In the sea, with the {NAMES[at]}.", "answer_start": 4}]),
    ],
)
def test_other_answers_are_not_offered_as_a_part_of_the_answer(name, value, tmp_path):
    _, findings = said(tmp_path, [answered(at, **{name: value(at)}) for at in range(ROWS)])
    assert "other answers" in fixes(findings, "D181") and "into the answers" not in fixes(findings, "D181")


def test_what_may_explain_an_answer_is_offered_as_a_part_of_it(tmp_path):
    _, findings = said(tmp_path, [answered(at, explanation=f"We saw a {NAMES[at]} there.") for at in range(ROWS)])
    assert "into the answers if it continues or explains them" in fixes(findings, "D181")


@pytest.mark.parametrize("none", [[], {"text": [], "answer_start": []}])
def test_a_question_without_an_answer_in_its_context_is_left_out(none, tmp_path):
    found = [{"text": "By the river.", "answer_start": 3}] if none == [] else {"text": ["Here."], "answer_start": [3]}
    rows = [answered(at) | {"answers": none if at == 2 else found} for at in range(ROWS)]
    for row in rows:
        del row["answer"]
    dataset, findings = said(tmp_path, rows)
    assert len(dataset.train) == ROWS - 1 and [(one.code, one.row) for one in findings] == [("D114", 3)]


def test_an_empty_list_is_an_answer_where_answers_are_lists(tmp_path):
    rows = [answered(at) | {"answer": [] if at == 2 else [NAMES[at], "mill"]} for at in range(ROWS)]
    dataset, _ = said(tmp_path, rows)
    assert dataset.train[2].completion == "[]"


HEADER = 'no,question,answer\n1,Where is it?,By the river.\n2,Who is it?,"The miller, again."\n'


@pytest.mark.parametrize(
    ("above", "line"), [("Our questions of March,,\n", 2), ("Our questions of March\n", 2), ("Our list,,\n,,\n", 3), (",,\n", 2), ("March,,\n\n", 3)]
)  # fmt: skip
def test_a_title_above_the_names_of_the_columns_is_named_with_what_takes_it_out(above, line, tmp_path):
    dataset, findings = said(tmp_path, above + HEADER, name="rows.csv")
    assert dataset is None and [finding.code for finding in findings] == ["D256"]
    assert f"are in line {line}" in findings[0].message and f"'1,{line - 1}d'" in findings[0].fix
    _, findings = said(tmp_path, HEADER, name="rows.csv")
    assert findings == ()


@pytest.mark.parametrize(
    "cells", ["text\nHello, you there\nBye, then\nSo, you\n", ",question,answer\n0,Who?,Me.\n1,Where?,Here.\n", "text,,\nOne.,,\nTwo.,,\n"]
)  # fmt: skip
def test_names_in_the_first_line_have_no_title_above_them(cells, tmp_path):
    assert "D256" not in [finding.code for finding in said(tmp_path, cells, name="rows.csv")[1]]


def test_a_question_in_the_words_of_the_prompt_is_no_more_to_know_and_one_with_other_words_is(tmp_path):
    def rows(original):
        asked = "If a {} lives in a river, does it swim?"
        return [
            {"query": asked.format(NAMES[at]), "response": f"Yes, {at}.", "original": original.format(NAMES[at])}
            for at in range(ROWS)
        ]

    dataset, findings = said(tmp_path, rows("A {} lives in a river. Does it swim?"))
    assert findings == () and dataset.unused == {"original": "repeats the row"}
    _, findings = said(tmp_path, rows("A {} lives in a river. Does it swim at night?"))
    assert "original" in fixes(findings, "D181")
