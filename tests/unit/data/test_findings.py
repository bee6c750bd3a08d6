"""What rows, tokenizer and chat template make of each other without anybody meaning it; each finding with a twin that draws none."""

import json
from pathlib import Path

import pytest

from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenize import marker_checks as markers
from autotrain_llm.data.tokenize.prepare import prepare
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.declare.finding import Refused
from autotrain_llm.models.scratch import SPECIAL_TOKENS
from support.tokenizers import made

ROLES = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
OWN = ROLES + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
THOUGHTLESS = OWN.replace("m.content", "m.content.split('</think>')[-1]")
# As Qwen3 does it: thoughts of answers before the last question are dropped.
LATEST = OWN.replace(
    "{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else m.content.split('</think>')[-1] }}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return made(tmp_path_factory.mktemp("t") / "own", template=OWN)


@pytest.fixture
def said(tmp_path, tokenizer):
    """Everything that is said about some rows, from reading to preparing them."""

    def findings(rows, shape="conversations", settings=None, name="train.jsonl", using=tokenizer, **request):
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        Path(tmp_path / name).write_text(text)
        try:
            dataset = open_data(DataRequest(str(tmp_path / name), shape, **request))
        except Refused as refused:
            return refused.findings
        prepared = prepare(dataset, using, Preparation(**{"max_length": 512, **(settings or {})}))
        return dataset.findings + prepared.findings

    return findings


def codes(findings):
    return [finding.code for finding in findings]


def turns(*said):
    return [{"role": role, "content": content} for role, content in said]


def asked(question, answer):
    return turns(("user", question), ("assistant", answer))


# -- pairs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("if x:\n    a()\nb()", "if x:\n    a()\n    b()", []),
        ("one two", "one  two", []),
        ("one\ntwo", "one two", []),
        ("one\ntwo", " one  \ntwo\n\n", ["D103"]),
        (turns(("assistant", "one")), turns(("assistant", "one\n")), ["D103"]),
    ],
)
def test_answers_are_the_same_only_where_they_differ_in_space_at_the_ends_of_lines(said, chosen, rejected, expected):
    pair = {"prompt": "Write it.", "chosen": chosen, "rejected": rejected}
    if isinstance(chosen, list):
        pair["prompt"] = turns(("user", "Write it."))
    other = {"prompt": pair["prompt"], "chosen": turns(("assistant", "a")), "rejected": turns(("assistant", "b"))}
    rows = [pair, other] if isinstance(chosen, list) else [pair, {"prompt": "Hi", "chosen": "a", "rejected": "b"}]
    assert codes(said(rows, "preferences")) == expected


@pytest.mark.parametrize("shape", ["preferences", "scored"])
def test_conversations_of_a_pair_that_ask_different_things(said, shape):
    good = {"chosen": asked("Name one", "Lamp"), "rejected": asked("Name one", "No")}
    wrong = {"chosen": asked("Name two", "Lamp"), "rejected": asked("Other", "No")}
    finding, *others = said([good, wrong], shape)
    assert (finding.code, finding.severity, finding.row) == ("D172", "warning", 2)
    assert codes(others) == (
        ["D128"] if shape == "preferences" else []
    )  # where a prompt has to be there, there is none
    assert "'Name two' in chosen and 'Other' in rejected" in finding.message and "prompt" in finding.message


def test_conversations_may_part_at_an_answer_and_go_on_differently(said):
    parted = {
        "chosen": [*asked("Hi", "Hello"), *asked("Why?", "So.")],
        "rejected": [*asked("Hi", "What"), *asked("Pardon?", "No.")],
    }
    spaced = {"chosen": asked("Hi ", "Hello"), "rejected": asked("Hi", "No")}
    assert codes(said([parted, spaced], "scored")) == []


def test_pairs_that_are_the_same_within_the_limit(said):
    start = "I think that the best of all the colours is "
    rows = [{"prompt": f"Colour {n}?", "chosen": start + "blue.", "rejected": start + "none."} for n in range(3)]
    found = said(rows, "preferences", {"max_completion_length": 8, "sides_given": ("max_completion_length",)})
    (finding,) = [one for one in found if one.code == "D173"]
    assert "chosen and rejected are the same after truncation to --max-completion-length 8" in finding.message
    assert "(3 rows: 1, 2, 3)" in finding.message and finding.fix.startswith("--max-completion-length ")
    scored = said(rows, "scored", {"max_length": 8, "scored": True, "add_eos": False, "length_flag": "--block-size"})
    assert "--block-size 8" in next(one.message for one in scored if one.code == "D173")
    assert "D173" not in codes(said(rows, "preferences", {"max_completion_length": 64}))


# -- columns ---------------------------------------------------------------------------------------------------------------

ALPACA = [{"instruction": f"Add 2 and {n}", "input": "", "output": f"It is {n + 2}"} for n in range(3)]
PAIRS = [{"prompt": f"Add 2 and {n}", "completion": f"It is {n + 2}"} for n in range(3)]


@pytest.mark.parametrize("shape", ["conversations", "documents"])
@pytest.mark.parametrize(
    ("rows", "column", "other"),
    [
        (ALPACA, "instruction", "output"),
        (ALPACA, "output", "instruction"),
        (PAIRS, "prompt", "completion"),
        (PAIRS, "completion", "prompt"),
    ],
)
def test_a_column_that_is_half_of_what_the_rows_hold(said, rows, column, other, shape):
    (finding,) = said(rows, shape, text_column=column, named=("text_column",))
    assert (finding.code, finding.severity, dict(finding.changes)) == ("D167", "warning", {"text_column": None})
    assert f"--text-column {column}" in finding.message and other in finding.message


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"source": f"page {n}", "answer": f"It is {n}"} for n in range(3)], "answer"),
        ([{"prompt": "Tell me", "completion": f"Story {n}"} for n in range(3)], "completion"),
        ([{"prompt": f"Q{n}", "completion": f"Q{n} and A{n}"} for n in range(3)], "completion"),
        ([{"text": f"Q{n} A{n}", "instruction": f"Q{n}", "output": f"A{n}"} for n in range(3)], "text"),
        ([{"title": f"T{n}", "text": f"A{n}"} for n in range(3)], "title"),
    ],
)
def test_a_column_of_its_own_beside_others(said, rows, column):
    assert codes(said(rows, "documents", text_column=column, named=("text_column",))) == []


def test_a_prompt_column_that_conversations_need_not_have(said):
    rows = [{"chosen": asked(f"Q{n}", "Yes"), "rejected": asked(f"Q{n}", "No")} for n in range(3)]
    named = {"prompt_column": "prompt", "text_column": "chosen", "rejected_column": "rejected"}
    (finding,) = said(rows, "preferences", named=tuple(named), **named)
    assert finding.code == "D109" and finding.changes["prompt_text_column"] is None
    (finding,) = said([{**row, "query": "Q"} for row in rows], "preferences", named=tuple(named), **named)
    assert finding.guess["prompt_text_column"] == "query"


def test_messages_that_are_one_object(said):
    (finding, _) = said([{"messages": {"role": "user", "content": "Hi"}}] * 2)
    assert (finding.code, finding.severity, finding.row) == ("D115", "error", 1)
    assert "not a list of turns" in finding.message
    beside = {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}}
    assert codes(said([beside])) == []


def test_answers_without_a_label(said):
    (finding,) = said(PAIRS, "preferences", trainer="kto")
    assert finding.code == "D110" and '"label": true' in finding.fix and "--rejected-text-column" in finding.fix
    judged = [{**row, "is_good": True} for row in PAIRS]
    (finding,) = said(judged, "preferences", trainer="kto")
    assert finding.fix.startswith("rename is_good to label")


def test_numbers_are_to_be_written_as_text(said):
    (finding,) = said([{"text": 12}, {"text": 15}])
    assert (finding.code, finding.row) == ("D110", 1)
    assert "--text-column" not in finding.fix and "tostring" in finding.fix


@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("text\nParis is in France.\nWater boils.\n", "csv"),
        ("prompt,completion\nHi,Hello\nBye,See you\n", "csv"),
        ("prompt\tcompletion\nHi\tHello\nBye\tSee you\n", "tsv"),
    ],
)
def test_cells_under_the_name_of_json(said, tmp_path, name, text, kind):
    (finding, *_) = said(text, name=name)
    assert finding.code == "D104" and f"it looks like {kind.upper()}" in finding.message
    assert finding.fix.startswith("mv ") and f"train.{kind}" in finding.fix


@pytest.mark.parametrize("text", ["Once upon a time.\nThe end.\n", '{"text": "a"\n{"text": "b"\n', "text\n"])
def test_other_lines_that_are_no_json(said, text):
    (finding, *_) = said(text)
    assert finding.code == "D104" and "looks like" not in finding.message


# -- tokens in the text ----------------------------------------------------------------------------------------------------

MARKED = [f"<|im_start|>user\nQuestion {n}<|im_end|>\n<|im_start|>assistant\nAnswer {n}<|im_end|>\n" for n in range(9)]


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        (MARKED, ["<|im_start|>", "<|im_end|>"]),
        ([f"Row {n}.<|endoftext|>" for n in range(9)], ["<|endoftext|>"]),
        ([f"<|begin_of_text|>Row {n}<|eot_id|>" for n in range(9)], ["<|eot_id|>"]),
        ([f"Row {n}.<eos>\n" for n in range(9)], ["<eos>"]),
    ],
)
def test_tokens_that_the_tokenizer_does_not_know(said, texts, tokens):
    (finding,) = said([{"text": text} for text in texts])
    assert (finding.code, finding.severity, finding.row) == ("D168", "warning", 1)
    assert all(token in finding.message for token in tokens) and "</s>" in finding.message


@pytest.mark.parametrize(
    "texts",
    [
        [f"Row {n}.</s>" for n in range(9)],  # its own
        [f"Row {n}, where <eos> is a tag." for n in range(9)],
        [*(f"Row {n}." for n in range(30)), "The token <|im_end|> ends a turn."],
        [f"Row {n} <|user|>" for n in range(9)],
    ],
)
def test_texts_without_tokens_of_others(said, texts):
    assert codes(said([{"text": text} for text in texts])) == []


def test_a_tokenizer_made_of_the_rows_learns_its_own_tokens(said, tmp_path):
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.models.scratch import train_tokenizer

    texts = [f"<start_of_turn>user\nHi {n}<end_of_turn>" for n in range(9)]
    new = Tokenizer.load(train_tokenizer(iter(texts), tmp_path / "new").folder)
    assert codes(said([{"text": text} for text in texts], using=new)) == []


def test_turns_that_hold_the_marks_of_the_template(said):
    rows = [{"messages": asked(f"<|user|>Hi {n}", f"<|assistant|>Hello {n}")} for n in range(4)]
    (finding,) = said(rows)
    assert (finding.code, finding.severity, finding.row) == ("D170", "warning", 1)
    assert "<|user|> and <|assistant|>" in finding.message and "(4 of 4 rows)" in finding.message
    quoted = [{"messages": asked(f"Hi {n}", f"Hello {n}")} for n in range(30)]
    assert codes(said([*quoted, rows[0]])) == []


# -- the template ----------------------------------------------------------------------------------------------------------


def thinking(*said):
    return {
        "messages": [turn for number in said for turn in asked(f"{number}?", f"<think>It is {number}.</think>{number}")]
    }


def test_a_template_that_drops_part_of_an_answer(said):
    rows = [thinking(11, 12), thinking(13)]
    (finding,) = said(rows, settings={"chat_template": THOUGHTLESS})
    assert (finding.code, finding.severity, finding.row) == ("D169", "warning", 1)
    assert "turn 4 (assistant)" in finding.message and "<think>It is 12." in finding.message
    assert "(2 rows: 1, 2)" in finding.message


@pytest.mark.parametrize(
    "template",
    [OWN, LATEST, LATEST.replace("{{ m.content", "{{ '\n' + m.content | replace('</think>', '\n</think>\n\n') | trim")],
)
def test_a_template_may_drop_thoughts_of_earlier_turns_and_change_spaces(said, template):
    assert "D169" not in codes(said([thinking(11, 12), thinking(13)], settings={"chat_template": template}))


def test_thoughts_in_a_key_of_their_own_that_no_template_writes(said):
    row = {"messages": [*asked("2+2?", "4")]}
    row["messages"][1]["reasoning_content"] = "Two and two make four."
    (finding,) = said([row])
    assert finding.code == "D169" and "(reasoning_content)" in finding.message
    assert "<think>" in finding.fix and "chatml" not in finding.fix


def test_a_row_counts_once_though_both_its_answers_are_cut(said):
    pair = {"prompt": turns(("user", "2?")), "chosen": "<think>a</think>b", "rejected": "<think>c</think>d"}
    (finding,) = said([pair], "preferences", {"chat_template": THOUGHTLESS})
    assert finding.code == "D169" and "rows" not in finding.message


PROMPTS = [{"messages": turns(("user", f"Name {n}"))} for n in range(3)]


def test_prompts_of_a_template_that_takes_no_notice_of_being_asked(said):
    (finding,) = said(PROMPTS, "prompts", {"chat_template": ROLES}, trainer="ppo")
    assert (finding.code, finding.severity) == ("D171", "warning")
    assert "add_generation_prompt" in finding.message and "{{ '<|assistant|>' }}" in finding.fix


@pytest.mark.parametrize("template", [OWN, "llama-2", "{% for m in messages %}{{ m.content }}\n{% endfor %}"])
def test_prompts_that_end_where_an_answer_begins(said, template):
    assert "D171" not in codes(said(PROMPTS, "prompts", {"chat_template": template}, trainer="ppo"))


# -- columns that are named and aren't there ---------------------------------------------------------------------------------


def test_a_worse_answer_that_is_not_there_is_not_guessed(said):
    rows = [{"prompt": "Name a colour", "completion": "Blue"}] * 2
    named = {"text_column": "completion", "prompt_column": "prompt", "rejected_column": "rejected"}
    (finding,) = said(rows, "preferences", trainer="dpo", **named, named=tuple(named))
    assert finding.code == "D109" and not finding.suggestion and "--trainer sft" in finding.fix
    other = [{"prompt": "Name a colour", "completion": "Blue", "worse": "No"}] * 2
    (finding,) = said(other, "preferences", trainer="dpo", **named, named=tuple(named))
    assert finding.guess["rejected_text_column"] == "worse" and not finding.changes


def test_a_column_that_evaluation_rows_lack_is_theirs_to_mend(said, tmp_path):
    (tmp_path / "eval.jsonl").write_text('{"sentence": "Ice melts."}\n')
    findings = said(
        [{"text": "Water boils."}] * 3,
        text_column="text",
        named=("text_column",),
        eval_path=str(tmp_path / "eval.jsonl"),
    )
    (finding,) = [one for one in findings if one.code == "D109"]
    assert "--eval-dataset-path" in finding.message and "text" in finding.fix and not finding.changes


def test_a_new_models_tokenizer_is_known_by_the_tokens_that_it_is_made_with():
    assert markers.FIRST_OF_NEW == SPECIAL_TOKENS
