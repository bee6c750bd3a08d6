"""Reasoning in a column of its own, and reasoning that a template drops."""

from pathlib import Path

import pytest

from autotrain_llm.api import check
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenize.prepare import prepare
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.declare.finding import Refused
from support.rows import write_rows
from support.tokenizers import made

QWEN3 = (Path(__file__).parents[2] / "support" / "chat_templates" / "qwen3.jinja").read_text()
PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
ROW = {"question": "Where is it?", "answer": "By the sea.", "thinking": "It smells of salt."}
TURNS = [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "By the sea."}]
TAGGED = "<think>\nIt smells of salt.\n</think>\n\nBy the sea."


def opened(folder, rows, column="thinking"):
    path = write_rows(folder / "rows.jsonl", rows)
    named = ("reasoning_column",) if column else ()
    return open_data(DataRequest(str(path), "conversations", reasoning_column=column, named=named))


def prepared(folder, rows, template=None, asked=None):
    tokenizer = made(folder / "tokenizer", template=template)
    return prepare(opened(folder, rows), tokenizer, Preparation(512, chat_template=asked)), tokenizer


def trained(folder, rows, template=None, asked=None):
    """The trained text of the first row."""
    result, tokenizer = prepared(folder, rows, template, asked)
    ids, loss_mask = result.train[0]
    return tokenizer.decode(ids[loss_mask])


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"messages": TURNS, "thinking": "It smells of salt."},
        {"instruction": "Where is it?", "output": "By the sea.", "thinking": ["It smells of salt."]},
    ],
)
def test_reasoning_is_trained_on_before_the_answer(row, tmp_path):
    asked = "tokenizer" if "question" in row else None
    assert trained(tmp_path / "tags", [row], PLAIN, asked) == f"{TAGGED}</s>"
    own = trained(tmp_path / "own", [row], QWEN3, asked)
    assert own.removesuffix("</s>") == f"{TAGGED}<|im_end|>"


def test_without_a_template_reasoning_stands_between_tags(tmp_path):
    assert trained(tmp_path, [ROW]) == f"{TAGGED}</s>"


def test_the_columns_role_is_known_and_nothing_is_reported(tmp_path):
    dataset = opened(tmp_path, [ROW])
    assert dataset.columns["reasoning"] == "thinking"
    assert (dataset.train[0].completion, dataset.train[0].reasoning) == ("By the sea.", "It smells of salt.")
    assert dataset.findings == () and dataset.unused == {}


def test_rows_without_reasoning_are_trained_on_as_they_are(tmp_path):
    rows = [{**ROW, "thinking": None}, ROW]
    assert [example.reasoning for example in opened(tmp_path, rows).train] == [None, "It smells of salt."]
    assert opened(tmp_path, rows).train[0].key() != opened(tmp_path, rows).train[1].key()


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "answer": f"<think>\nYes.\n</think>{ROW['answer']}"},
        {"messages": [*TURNS, TURNS[0]], "thinking": "It smells of salt."},
        {"messages": [TURNS[0], {**TURNS[1], "reasoning_content": "Yes."}], "thinking": "It smells of salt."},
        {"text": "It is by the sea.", "thinking": "It smells of salt."},
    ],
)
def test_reasoning_that_can_not_be_joined_is_named(row, tmp_path):
    dataset = opened(tmp_path, [row])
    assert "D196" in [finding.code for finding in dataset.findings]
    assert dataset.train[0].reasoning is None


def test_a_column_of_reasoning_that_is_not_in_the_data_is_named(tmp_path):
    with pytest.raises(Refused) as refused:
        opened(tmp_path, [ROW], "thinkin")
    (finding,) = refused.value.findings
    assert finding.code == "D109" and dict(finding.guess) == {"reasoning_column": "thinking"}


@pytest.mark.parametrize("name", ["thinking", "cot", "Complex_CoT", "reasoning_trace", "rationale"])
def test_the_fix_for_a_column_of_thoughts_says_how_to_train_on_it(name, tmp_path):
    rows = [{"question": f"Where is {n}?", "answer": "There.", name: f"It smells of salt {n}."} for n in range(2)]
    (finding,) = opened(tmp_path, rows, None).findings
    assert finding.code == "D181" and f"--reasoning-column {name} " in finding.fix


def test_thoughts_of_earlier_turns_that_a_template_drops_are_counted(tmp_path):
    thinking = {**TURNS[1], "reasoning_content": "It smells of salt."}
    rows = [{"messages": [TURNS[0], thinking, *TURNS]}, {"messages": [TURNS[0], thinking]}, {"messages": TURNS * 2}]
    tagged = {"role": "assistant", "content": TAGGED}
    for number, thoughts in enumerate((thinking, tagged)):
        rows = [{"messages": [TURNS[0], thoughts, *TURNS]}, {"messages": [TURNS[0], thoughts]}, {"messages": TURNS * 2}]
        path = write_rows(tmp_path / f"{number}.jsonl", rows)
        tokenizer = made(tmp_path / f"t{number}", template=QWEN3)
        result = prepare(open_data(DataRequest(str(path), "conversations")), tokenizer, Preparation(512))
        assert result.statistics["rows_without_earlier_thoughts"] == 1
        assert result.findings == ()


def test_a_source_of_a_mixture_has_a_reasoning_column_of_its_own(tmp_path):
    write_rows(tmp_path / "a.jsonl", [{**ROW, "question": f"Where is it {n}?"} for n in range(4)])
    write_rows(tmp_path / "b.jsonl", [{"prompt": f"Who {n}?", "completion": "You."} for n in range(4)])
    mixture = tmp_path / "mix.yaml"
    mixture.write_text("sources:\n- {path: a.jsonl, reasoning_column: thinking}\n- path: b.jsonl\n")
    flags = {"trainer": "sft", "model": "scratch:100k", "lr": 1e-3, "epochs": 1, "batch_size": 2}
    assert check(**flags, data_config=str(mixture)) == ()
    assert [one.code for one in check(**flags, data_config=str(mixture), reasoning_column="thinking")] == ["D213"]


@pytest.mark.parametrize("flag", ["--dry-run", "--preview-data"])
def test_plan_and_preview_say_that_a_template_drops_thoughts_of_earlier_turns(flag, tmp_path, light_llama, capfd):
    from autotrain_llm.cli.main import main

    thinking = {"role": "assistant", "content": TAGGED}
    path = write_rows(tmp_path / "rows.jsonl", [{"messages": [TURNS[0], thinking, *TURNS]}, {"messages": TURNS}])
    (tmp_path / "qwen3.jinja").write_text(QWEN3)
    words = ["llm", "--trainer", "sft", "--model", light_llama, "--data-path", path, "--lr", "1e-5", "--epochs", "1", "--batch-size", "2", "--chat-template", tmp_path / "qwen3.jinja", flag, *(["1"] if flag == "--preview-data" else [])]  # fmt: skip
    assert main([*map(str, words)]) == 0
    shown = capfd.readouterr()
    assert "he template leaves out the reasoning of earlier turns in 1 of 2 rows" in shown.out + shown.err
