"""Rows that are tokens already: their labels, masks and padding, the checks against the tokenizer, and the files that have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.data.disk_examples import DiskExamplesWriter
from autotrain_llm.data.example import Example
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenize.eval_prompts import EvalPromptBuilder
from autotrain_llm.data.tokenize.prepare import prepare
from autotrain_llm.data.tokenize.preview import preview
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Refused
from support.rows import write_rows

TRAINED = [False, False, True, True]
MASKS = ("loss_mask", "completion_mask", "assistant_masks", "assistant_mask", "response_mask")
USUAL = ("--lr", "2e-5", "--epochs", "1", "--batch-size", "2")


@pytest.fixture(scope="module")
def tokenizer(llama: Path) -> Tokenizer:
    return Tokenizer.load(llama)


def opened(path: Path, rows: str = "conversations", **wanted: Any) -> Any:
    return open_data(DataRequest(str(path), rows, **wanted))


def codes(findings: Any) -> list[str]:
    return [finding.code for finding in findings]


def read(folder: Path, *rows: dict[str, Any], **wanted: Any) -> tuple[list[Any], list[str]]:
    """The ids and masks of some rows, and the codes of what is reported."""
    try:
        dataset = opened(write_rows(folder / "rows.jsonl", list(rows)), **wanted)
    except Refused as refused:
        return [], codes(refused.findings)
    return [(example.input_ids, example.loss_mask) for example in dataset.train], codes(dataset.findings)


# ---- what is trained on


@pytest.mark.parametrize(
    "row",
    [
        {"input_ids": [5, 6, 7, 2], "labels": [-100, -100, 7, 2]},
        *({"input_ids": [5, 6, 7, 2], name: [0, 0, 1, 1]} for name in MASKS),
        {"input_ids": [5, 6, 7, 2], "loss_mask": TRAINED},
        {"input_ids": [5, 6, 7, 2], "labels": [5, 6, 7, 2], "loss_mask": [0, 0, 1, 1]},
        {"input_ids": [5, 6, 7, 2], "completion_mask": [0, 0, 1, 1], "assistant_masks": [1, 0, 1, 1]},
        {"input_ids": [5.0, 6.0, 7.0, 2.0], "labels": [-100.0, -100.0, 7.0, 2.0]},
        {"input_ids": [[5, 6, 7, 2]], "labels": [[-100, -100, 7, 2]]},
        {"input_ids": "[5, 6, 7, 2]", "labels": "[-100, -100, 7, 2]"},
        {"token_ids": [5, 6, 7, 2], "labels": [-100, -100, 7, 2], "token_type_ids": [0, 0, 0, 0]},
        {
            "input_ids": [0, 5, 6, 7, 2, 0],
            "labels": [-100, -100, -100, 7, 2, -100],
            "attention_mask": [0, 1, 1, 1, 1, 0],
        },
        {
            "input_ids": [0, 5, 6, 7, 2],
            "loss_mask": [1, 0, 0, 1, 1],
            "attention_mask": [0, 1, 1, 1, 1],
            "position_ids": [1, 0, 1, 2, 3],
        },
    ],
)
def test_labels_masks_and_padding_say_what_is_trained_on(row, tmp_path):
    assert read(tmp_path, row, row) == ([([5, 6, 7, 2], TRAINED)] * 2, [])


def test_rows_without_either_are_trained_on_as_a_whole(tmp_path):
    rows = [{"input_ids": [5, 6, 2]}, {"input_ids": [7, 2, 0], "attention_mask": [1, 1, 0]}]
    assert read(tmp_path, rows[0]) == ([([5, 6, 2], None)], [])
    assert read(tmp_path, rows[1]) == ([([7, 2], None)], [])


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"input_ids": [5, 6, 7, 2], "labels": [6, 7, 2, -100]}, "D222"),
        ({"input_ids": [5, 6, 7, 2], "labels": [-100, 7, 2, -100]}, "D222"),
        ({"input_ids": [5, 6, 7, 2], "labels": [9, 9, 9, 9]}, "D222"),
        ({"input_ids": [5, 6, 7, 2], "labels": [5, 6, 7]}, "D221"),
        ({"input_ids": [5, 6, 7, 2], "attention_mask": [1, 1, 1]}, "D221"),
        ({"input_ids": [5, 6, 7, 2], "loss_mask": [0, 0, 2, 1]}, "D223"),
        ({"input_ids": [5, 6.5, 7, 2]}, "D223"),
        ({"input_ids": [5, "a", 7, 2]}, "D223"),
        ({"input_ids": [5, None, 7, 2]}, "D223"),
        ({"input_ids": [5, 2, 7, 2], "position_ids": [0, 1, 0, 1]}, "D224"),
        ({"input_ids": [5, 2, 7, 2], "attention_mask": [1, 1, 2, 2]}, "D224"),
        ({"input_ids": []}, "D114"),
        ({"input_ids": None}, "D113"),
        ({"input_ids": [5, 2], "attention_mask": [0, 0]}, "D114"),
    ],
)
def test_a_row_that_can_not_be_trained_on_is_left_out_and_named(row, code, tmp_path):
    good = {"input_ids": [5, 6, 2]}
    beside = {name: [1, 1, 1] for name in row if name != "input_ids"} | (
        {"labels": [5, 6, 2]} if "labels" in row else {}
    )
    rows, reported = read(tmp_path, good | beside, row, good | beside)
    assert len(rows) == 2 and reported == [code]


def test_shifted_labels_are_recognised_as_such(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"input_ids": [5, 6, 7, 2], "labels": [6, 7, 2, -100]}])
    with pytest.raises(Refused) as refused:
        opened(path)
    assert any("labels is shifted" in finding.message for finding in refused.value.findings)


def test_a_list_beside_the_ids_is_used_or_named(tmp_path):
    row = {"input_ids": [5, 6, 7, 2], "target_mask": [0, 0, 1, 1], "num_tokens": 4, "bucket": [1, 2]}
    dataset = opened(write_rows(tmp_path / "rows.jsonl", [row, {**row, "target_mask": [0, 1, 1, 1]}]))
    (finding,) = dataset.findings
    assert (
        finding.code == "D181" and "target_mask" in finding.message and "rename target_mask to loss_mask" in finding.fix
    )


# ---- text beside ids


def test_text_is_trained_on_where_ids_stand_beside_it_unless_the_ids_are_named(tmp_path):
    rows = [{"text": f"Line {n}.", "input_ids": [5 + n, 2], "attention_mask": [1, 1]} for n in range(3)]
    dataset = opened(write_rows(tmp_path / "rows.jsonl", rows))
    assert dataset.format == "text" and codes(dataset.findings) == ["D220"]
    assert "input_ids, attention_mask hold token ids" in dataset.findings[0].message
    named = opened(tmp_path / "rows.jsonl", text_column="input_ids", named=("text_column",))
    assert named.format == "tokens" and codes(named.findings) == ["D181"], "the text is named as not used"
    ignored = opened(tmp_path / "rows.jsonl", ignored_columns=("input_ids", "attention_mask"))
    assert ignored.format == "text" and ignored.findings == ()


@pytest.mark.parametrize("name", ["input_ids", "prompt_input_ids"])
@pytest.mark.parametrize(("trainer", "rows"), [("dpo", "preferences"), ("reward", "scored"), ("ppo", "prompts")])
def test_other_trainers_name_what_they_need(name, trainer, rows, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{name: [5, 6, 2]}])
    with pytest.raises(Refused) as refused:
        opened(path, rows, trainer=trainer)
    (finding,) = refused.value.findings
    assert finding.code == "D111" and f"{trainer} needs a" in finding.message and "--trainer sft" in finding.fix


# ---- as tokens


def prepared(path: Path, tokenizer: Tokenizer, **settings: Any) -> Any:
    return prepare(opened(path), tokenizer, Preparation(**{"max_length": 64, **settings}))


def test_rows_of_tokens_give_the_tokens_of_the_same_text(tokenizer, tmp_path):
    parts = [(f"What is {n}?", f" It is {n}.") for n in range(5)]
    text = write_rows(tmp_path / "text.jsonl", [{"prompt": p, "completion": c} for p, c in parts])
    of_text = prepared(text, tokenizer)
    rows = [
        {
            "input_ids": ids.tolist(),
            "labels": [i if trained else -100 for i, trained in zip(ids.tolist(), mask, strict=True)],
        }
        for ids, mask in of_text.train
    ]
    of_tokens = prepared(write_rows(tmp_path / "tokens.jsonl", rows), tokenizer)
    assert of_tokens.findings == () == of_text.findings
    for (ids, mask), (other_ids, other_mask) in zip(of_text.train, of_tokens.train, strict=True):
        assert ids.tolist() == other_ids.tolist() and mask.tolist() == other_mask.tolist()
    assert preview(of_tokens, tokenizer, 3) == preview(of_text, tokenizer, 3)
    assert of_tokens.statistics["tokens"] == of_text.statistics["tokens"]


def test_documents_of_tokens_are_joined_and_keep_their_masks(tokenizer, tmp_path):
    rows = [{"input_ids": [5, 6, 7], "loss_mask": [0, 1, 1]}, {"input_ids": [8, 9], "loss_mask": [1, 0]}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    dataset = open_data(DataRequest(str(path), "documents", trainer="generic"))
    blocks = prepare(dataset, tokenizer, Preparation(max_length=4, block=True, response_only=False)).train
    assert [ids.tolist() for ids, _ in blocks] == [[5, 6, 7, 8], [9]]
    assert [mask.tolist() for _, mask in blocks] == [[False, True, True, True], [False]]


@pytest.mark.parametrize("bad", [-1, -100, 100_000, 2**40])
def test_an_id_that_the_tokenizer_has_not_is_an_error(bad, tokenizer, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"input_ids": [5, 2]}, {"input_ids": [5, bad, 2]}])
    findings = [finding for finding in prepared(path, tokenizer).findings if finding.severity == "error"]
    assert codes(findings) == ["D225"] and str(bad) in findings[0].message and findings[0].row == 2


def test_truncation_is_said_also_where_no_limit_was_given(tokenizer, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"input_ids": [5] * 9 + [2]}, {"input_ids": [5, 2]}])
    found = prepared(path, tokenizer, max_length=6, length_given=False)
    assert codes(found.findings) == ["D151"] and found.statistics["truncated_rows"] == 1


def test_padding_that_is_trained_on_is_reported(tokenizer, tmp_path):
    pad = tokenizer.pad_id
    path = write_rows(tmp_path / "rows.jsonl", [{"input_ids": [5, 2, pad, pad]}, {"input_ids": [pad, pad, 5, 2]}])
    found = prepared(path, tokenizer)
    assert codes(found.findings) == ["D227"] and "2 rows" in found.findings[0].message


def test_flags_about_text_are_named(tokenizer, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"input_ids": [5, 2]}])
    found = prepared(path, tokenizer, chat_template="chatml", response_only=False, add_eos_given=True)
    (finding,) = found.findings
    assert finding.code == "D226" and {*finding.parameters} == {"chat_template", "response_only_loss", "add_eos_token"}


def test_answers_are_generated_after_the_tokens_before_them(tokenizer):
    builder = EvalPromptBuilder(tokenizer, None, None, max_prompt_tokens=10, max_answer_tokens=10)
    ids = tokenizer.encode_batch(["Which is it? It is red."])[0]
    row = Example("rows.jsonl", 1, input_ids=ids, loss_mask=[False] * (len(ids) - 3) + [True] * 3)
    prompt = builder.make(row)
    assert prompt is not None and builder.has_answer(row)
    assert prompt.ids == ids[:-3][-10:] and prompt.reference == tokenizer.decode(ids[-3:])
    assert not builder.has_answer(Example("rows.jsonl", 1, input_ids=ids, loss_mask=[False] * len(ids)))


# ---- files


@pytest.mark.parametrize("kind", ["parquet", "arrow", "folder"])
def test_parquet_and_arrow_hold_them_too(kind, tmp_path):
    rows = {
        "input_ids": [[5, 6, 2], [7, 2, 0]],
        "labels": [[-100, 6, 2], [7, 2, -100]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
    }
    table = pyarrow.table(
        rows,
        schema=pyarrow.schema(
            {
                "input_ids": pyarrow.list_(pyarrow.int32()),
                "labels": pyarrow.list_(pyarrow.int64()),
                "attention_mask": pyarrow.list_(pyarrow.int8()),
            }
        ),
    )
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    elif kind == "arrow":
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        datasets = pytest.importorskip("datasets")
        path = tmp_path / "saved"
        datasets.Dataset.from_dict(rows).save_to_disk(str(path))
    dataset = opened(path)
    assert [(row.input_ids, row.loss_mask) for row in dataset.train] == [
        ([5, 6, 2], [False, True, True]),
        ([7, 2], [True, True]),
    ]


def test_rows_on_disk_are_the_same():
    rows = [Example("a", 1, input_ids=[5, 2], loss_mask=[False, True]), Example("a", 2, input_ids=[5, 2])]
    writer = DiskExamplesWriter()
    for row in rows:
        writer.add(row)
    stored = list(writer.stored())
    assert stored == rows and [row.key() for row in stored] == [row.key() for row in rows]
    assert rows[0].key() != rows[1].key()


def test_a_new_model_asks_for_the_tokenizer_of_the_ids(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", [{"input_ids": [5, 2]}])
    words = ("llm", "--trainer", "sft", "--model", "scratch:1m", "--data-path", "rows.jsonl", *USUAL)
    assert main([*words, "--dry-run", "--format", "json"]) == 2
    assert codes_of(capsys) == ["D228"]


def codes_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]]
