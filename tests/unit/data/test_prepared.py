"""`autotrain prepare`: rows that are written and read again are the same rows, for every format and trainer, and nothing is written by halves."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import plan, prepare
from autotrain_llm.cli.main import main
from autotrain_llm.data.example import Example
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.prepared.info import PreparedInfo, prepared_folder
from autotrain_llm.data.prepared.rows import PARTS, Shape, common_shape, merged_columns
from autotrain_llm.data.prepared.write import complete_folder
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused
from support.rows import write_rows
from unit.data.test_row_account import FORMATS, READS

CASES = [(trainer, name.replace("_", " ")) for trainer, (_, names) in READS.items() for name in names.split()]
USUAL: dict[str, Any] = {"lr": 1e-5, "epochs": 1, "batch_size": 2, "dry_run": True}


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """The status and the document of a command."""
    capsys.readouterr()
    status = main([*words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def codes(document: dict[str, Any], severity: str = "") -> list[str]:
    return [finding["code"] for finding in document["findings"] if severity in finding["severity"]]


def codes_of(dataset: Any) -> list[str]:
    return [finding.code for finding in dataset.findings]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parts(example: Any) -> dict[str, Any]:
    return {name: getattr(example, name) for name in PARTS}


# ---- the same rows


@pytest.mark.parametrize(("trainer", "name"), CASES)
def test_rows_that_are_written_and_read_again_are_the_same(trainer, name, here, capsys):
    beside = {"id": "a-1", "system": "Be brief.", "context": "A house.", "tags": ["x", "y"]} if name != "tokens" else {}
    write_rows(here / "rows.jsonl", [{**FORMATS[name], **beside, "n": n} for n in range(3)])
    status, document = run(capsys, "prepare", "--trainer", trainer, "--data-path", "rows.jsonl", "--output-dir", "made")
    assert status == 0, document["findings"]
    rows = READS[trainer][0]
    source = open_data(DataRequest("rows.jsonl", rows, trainer=trainer))
    made = open_data(DataRequest("made", rows, trainer=trainer))
    assert list(map(parts, made.train)) == list(map(parts, source.train))
    assert [row.key() for row in made.train] == [row.key() for row in source.train]
    merged = merged_columns(source.columns) if trainer != "ppo" else set()
    assert [row.extra for row in made.train] == [
        {name: value for name, value in row.extra.items() if name not in merged} for row in source.train
    ]
    assert made.format == source.format and {*codes_of(made)} <= {*codes_of(source)}
    (keys,) = {tuple(json.loads(line)) for line in (here / "made" / "train.jsonl").read_text().splitlines()}
    assert set(made.columns.values()) >= {key for key in keys if key in PARTS} - {"tools", "reference"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "weight": 0},
                      {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you", "reasoning_content": "Hm."}]},
        {"messages": [{"role": "user", "content": "Sum?"},
                      {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "sum", "arguments": {"of": [1, 2.5]}}}]},
                      {"role": "tool", "content": "3.5", "name": "sum"}, {"role": "assistant", "content": "3.5"}],
         "tools": [{"type": "function", "function": {"name": "sum", "parameters": {}}}]},
        {"prompt": "Sum of 1 and 2?", "reasoning": "One and two are three.", "completion": "3"},
        {"messages": [{"role": "user", "content": "Ünï\u2028code \"quoted\"\nlines"}, {"role": "assistant", "content": "née 日本"}],
         "rejected": "no part of the row", "label": "x"},
    ],
)  # fmt: skip
def test_weights_reasoning_calls_and_tools_are_kept(row, here, capsys):
    write_rows(here / "rows.jsonl", [row, row])
    assert run(capsys, "prepare", "--trainer", "sft", "--data-path", "rows.jsonl", "--output-dir", "made")[0] == 0
    source, made = (open_data(DataRequest(path, "conversations")) for path in ("rows.jsonl", "made"))
    assert list(map(parts, made.train)) == list(map(parts, source.train))
    assert [one.extra for one in made.train] == [one.extra for one in source.train]


def test_reward_functions_get_the_columns_of_the_source(here, capsys):
    rows = [{"prompt": f"What is {n}?", "answer": n, "system": "Be brief.", "label": n % 2 == 0} for n in range(4)]
    write_rows(here / "rows.jsonl", rows)
    assert run(capsys, "prepare", "--trainer", "grpo", "--data-path", "rows.jsonl", "--output-dir", "made")[0] == 0
    source, made = (
        open_data(DataRequest(path, "prompts", trainer="grpo", keeps_columns=True)) for path in ("rows.jsonl", "made")
    )
    assert [(one.prompt, one.extra) for one in made.train] == [(one.prompt, one.extra) for one in source.train]
    assert made.train[1].extra["answer"] == 1 and made.train[1].extra["label"] is False


# ---- evaluation rows, and the trainer


def test_the_evaluation_rows_are_those_that_were_held_out(here, light_llama, chat_rows, capsys):
    flags = ("--trainer", "sft", "--data-path", str(chat_rows), "--output-dir", "made", "--valid-split", "0.25")
    assert run(capsys, "prepare", *flags)[0] == 0
    usual = {**USUAL, "trainer": "sft", "model": str(light_llama)}
    source = plan(**usual, data_path=str(chat_rows), valid_split="0.25", eval_steps=2)
    made = plan(**usual, data_path="made", eval_steps=2)
    assert (made.data.rows, made.data.eval_rows) == (source.data.rows, source.data.eval_rows) == (36, 12)
    assert made.schedule.evaluate == "steps" and made.data.tokens == source.data.tokens
    status, document = run(
        capsys, "llm", "--trainer", "sft", "--model", str(light_llama), "--data-path", "made", "--valid-split", "4",
        "--lr", "1e-5", "--epochs", "1", "--batch-size", "2", "--dry-run",
    )  # fmt: skip
    assert status == 0 and codes(document) == ["D231"] and document["plan"]["data"]["rows"] == 32


@pytest.mark.parametrize(
    ("name", "trainer"),
    [("preference", "dpo"), ("preference of turns", "dpo"), ("labelled", "kto"), ("messages", "sft"), ("alpaca", "sft"),
     ("pair", "sft"), ("text", "generic"), ("prompts", "grpo"), ("tokens", "sft")],
)  # fmt: skip
def test_without_a_trainer_the_rows_decide(name, trainer, here, capsys):
    write_rows(here / "rows.jsonl", [FORMATS[name]] * 2)
    status, document = run(capsys, "prepare", "--data-path", "rows.jsonl", "--output-dir", "made")
    assert status == 0 and document["prepared"]["trainer"] == trainer


def test_the_rows_of_a_mixture_decide_too(here, capsys):
    write_rows(here / "a.jsonl", [{**FORMATS["preference"], "n": n} for n in range(3)])
    (here / "mix.yaml").write_text("sources: [{name: a, path: a.jsonl}]")
    status, document = run(capsys, "prepare", "--data-config", "mix.yaml", "--output-dir", "made")
    assert status == 0 and document["prepared"]["trainer"] == "dpo" and document["prepared"]["shape"] == "preference"


# ---- tokens


@pytest.mark.parametrize("trainer", ["sft", "generic", "dpo", "kto", "reward", "grpo"])
def test_tokens_are_read_from_the_folder(trainer, here, light_llama, capsys):
    name = {"generic": "text", "sft": "alpaca", "grpo": "prompts", "kto": "labelled"}.get(trainer, "preference")
    rows = [{**FORMATS[name], "n": n} for n in range(2)]
    write_rows(
        here / "rows.jsonl", [{**row, **({"label": bool(n)} if "label" in row else {})} for n, row in enumerate(rows)]
    )
    flags = ("--trainer", trainer, "--model", str(light_llama))
    status, document = run(capsys, "prepare", *flags, "--data-path", "rows.jsonl", "--output-dir", "made")
    assert status == 0 and document["prepared"]["tokens"]["statistics"]["rows"] >= 1
    context = checked(trainer, light_llama)
    assert context.prepared is not None and context.prepared.from_cache
    assert context.prepared.fingerprint == document["prepared"]["tokens"]["fingerprint"]


def checked(trainer: str, model: Path, **flags: Any) -> Any:
    from autotrain_llm.config.resolved import resolve
    from autotrain_llm.context.run_context import RunContext

    return RunContext(resolve({**USUAL, "trainer": trainer, "model": str(model), "data_path": "made", **flags}))


def test_findings_of_the_tokens_name_the_folder_that_was_written(here, light_llama, capsys):
    write_rows(here / "rows.jsonl", [{"input_ids": [5] * 99 + [0]}] * 2)
    flags = ("--trainer", "sft", "--model", str(light_llama), "--max-seq-length", "50", "--data-path", "rows.jsonl")
    status, document = run(capsys, "prepare", *flags, "--output-dir", "made")
    assert status == 0
    (finding,) = [finding for finding in document["findings"] if finding["code"] == "D151"]
    assert finding["file"] == "made/train.jsonl" and "made/train.jsonl, row 1" in finding["message"]
    again = checked("sft", light_llama, max_seq_length=50).prepared
    assert again.from_cache and [one.file for one in again.findings if one.code == "D151"] == ["made/train.jsonl"]


# ---- whole or not at all


def test_nothing_is_left_if_the_rows_can_not_be_written(here, light_llama, capsys):
    write_rows(here / "rows.jsonl", [{"input_ids": [5, 10**9]}])
    flags = ("--trainer", "sft", "--model", str(light_llama), "--data-path", "rows.jsonl", "--output-dir", "made")
    status, document = run(capsys, "prepare", *flags)
    assert status == 2 and "D225" in codes(document, "error")
    assert sorted(path.name for path in here.iterdir() if path.name != "cache") == ["rows.jsonl"]


def test_nothing_is_written_over(here, capsys):
    write_rows(here / "rows.jsonl", [FORMATS["pair"]])
    (here / "made").mkdir()
    assert run(capsys, "prepare", "--data-path", "rows.jsonl", "--output-dir", "made")[0] == 0, (
        "an empty folder is free"
    )
    before = {path.name: path.read_bytes() for path in (here / "made").iterdir()}
    status, document = run(capsys, "prepare", "--data-path", "rows.jsonl", "--output-dir", "made")
    assert status == 2 and codes(document) == ["P143"] and document["findings"][0]["fix"] == "--output-dir made-2"
    assert {path.name: path.read_bytes() for path in (here / "made").iterdir()} == before


def test_a_dry_run_writes_nothing(here, light_llama, capsys):
    write_rows(here / "rows.jsonl", [FORMATS["pair"]])
    flags = ("--data-path", "rows.jsonl", "--output-dir", "made", "--model", str(light_llama))
    status, document = run(capsys, "prepare", *flags, "--dry-run")
    assert status == 0 and document["prepared"] is None
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]


def test_the_info_is_read_as_it_was_written(here, light_llama, capsys):
    write_rows(here / "rows.jsonl", [{**FORMATS["pair"], "text of": "x", "chosen": "y"}])
    flags = ("--trainer", "sft", "--data-path", "rows.jsonl", "--output-dir", "made", "--model", str(light_llama))
    assert run(capsys, "prepare", *flags)[0] == 0
    prepared = prepared_folder("made")
    assert (
        prepared is not None
        and PreparedInfo.from_json(json.loads(json.dumps(prepared.info.as_json()))) == prepared.info
    )
    assert "hf_" not in (here / "made" / "dataset_info.json").read_text()


@pytest.mark.parametrize(
    "damage", ["{", "[]", "{}", '{"prepared_by": "autotrain-llm", "format_version": 99}', '{"prepared_by": "other"}']
)
def test_an_info_of_something_else_is_none(damage, here):
    (here / "dataset_info.json").write_text(damage)
    assert prepared_folder(".") is None


# ---- one shape


@pytest.mark.parametrize(
    ("names", "common"),
    [
        ({Shape("preference", False), Shape("preference", True)}, Shape("preference", True)),
        ({Shape("messages", False), Shape("prompt/completion", False)}, Shape("messages", False)),
        ({Shape("messages", False), Shape("messages and prompt/completion", False)}, Shape("messages", False)),
        ({Shape("text", False), Shape("messages", False)}, None),
        ({Shape("tokens", False), Shape("messages", False)}, None),
        (
            {Shape("messages", False, "scores"), Shape("prompt/completion", True, "scores")},
            Shape("messages", False, "scores"),
        ),
        ({Shape("messages", False, "scores"), Shape("messages", False, "class_name")}, None),
    ],
)
def test_the_shape_of_several(names, common):
    assert common_shape(names) == common


def test_sides_of_text_are_written_as_turns_beside_sides_of_turns(here, capsys):
    turns = {
        "prompt": [{"role": "user", "content": "Bye"}],
        "completion": [{"role": "assistant", "content": "See you"}],
    }
    write_rows(here / "rows.jsonl", [{"prompt": "Hi", "completion": "Hello"}, turns])
    status, document = run(capsys, "prepare", "--trainer", "sft", "--data-path", "rows.jsonl", "--output-dir", "made")
    assert status == 0 and codes(document) == ["D232"]
    first = json.loads((here / "made" / "train.jsonl").read_text().splitlines()[0])
    assert first == {
        "prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]
    }  # fmt: skip


# ---- a folder that was changed, and --use-prepared


@pytest.fixture
def made(here: Path, light_llama: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A prepared folder with tokens, of `rows.jsonl`."""
    write_rows(here / "rows.jsonl", [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(8)])
    flags = ("--trainer", "sft", "--model", str(light_llama), "--data-path", "rows.jsonl", "--valid-split", "2")
    assert run(capsys, "prepare", *flags, "--max-seq-length", "64", "--output-dir", "made")[0] == 0
    return here / "made"


def trained(capsys: pytest.CaptureFixture[str], model: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    usual = (
        "--trainer",
        "sft",
        "--lr",
        "1e-5",
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--dry-run",
        "--model",
        str(model),
    )
    return run(capsys, "llm", *usual, *flags)


INSISTS = ("--data-path", "made", "--use-prepared", "--max-seq-length", "64")


def test_the_share_that_was_held_out_can_be_named_again(made, light_llama, capsys):
    status, document = trained(capsys, light_llama, *INSISTS, "--valid-split", "2")
    data = document["plan"]["data"]
    assert (status, codes(document)) == (0, []) and (data["rows"], data["eval_rows"]) == (6, 2)


def test_what_is_unchanged_is_used(made, light_llama, capsys):
    status, document = trained(capsys, light_llama, *INSISTS)
    assert (status, codes(document)) == (0, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("source", "rows.jsonl has changed since its rows were prepared"),
        ("file", "made/train.jsonl was changed after it was written"),
        ("missing", "made/validation.jsonl was changed after it was written"),
    ],
)
def test_another_file_is_an_error_that_names_it(change, message, made, light_llama, capsys):
    if change == "missing":
        (made / "validation.jsonl").unlink()
    else:
        with (made.parent / "rows.jsonl" if change == "source" else made / "train.jsonl").open("a") as file:
            file.write(json.dumps({"prompt": "More?", "completion": "Yes."}) + "\n")
    status, document = trained(capsys, light_llama, *INSISTS)
    assert status == 2
    assert any(message in finding["message"] for finding in document["findings"] if finding["code"] == "P145")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--max-seq-length", "32"), "P146", "--max-seq-length is 32, and was 64"),
        (("--no-response-only-loss",), "P146", "--response-only-loss is false"),
        (("--no-add-eos-token",), "P146", "--add-eos-token is false"),
        (("--valid-split", "3"), "P145", "--valid-split is 3, and was 2"),
        (("--max-samples", "2"), "P145", "--max-samples is 2, and was not given"),
        (("--data-path", "rows.jsonl"), "P145", "rows.jsonl is not a folder that prepare wrote"),
        (("--trainer", "dpo"), "P145", "were prepared for sft"),
    ],
)
def test_another_setting_is_an_error_that_names_it(flags, code, words, made, light_llama, capsys):
    status, document = trained(capsys, light_llama, *INSISTS, *flags)
    found = [finding["message"] for finding in document["findings"] if finding["code"] == code]
    assert status == 2 and any(words in message for message in found), document["findings"]


def test_another_tokenizer_is_an_error_that_names_it(made, llama, capsys):
    status, document = trained(capsys, llama, *INSISTS)
    (message,) = [finding["message"] for finding in document["findings"] if finding["code"] == "P146"]
    assert status == 2 and f"the tokenizer of {llama} is not that of" in message


def test_a_source_that_is_gone_can_not_be_compared(made, light_llama, capsys):
    (made.parent / "rows.jsonl").unlink()
    status, document = trained(capsys, light_llama, *INSISTS)
    assert (status, codes(document)) == (0, [])


def test_a_changed_folder_is_read_like_any_other_with_a_warning(made, light_llama, capsys):
    with (made / "train.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "More?", "completion": "Yes."}) + "\n")
    status, document = trained(capsys, light_llama, "--data-path", "made")
    assert status == 0 and codes(document) == ["D230"] and document["plan"]["data"]["rows"] == 7


def test_a_folder_for_one_trainer_is_read_by_another_like_any_other(here, light_llama, capsys):
    write_rows(here / "rows.jsonl", [FORMATS["preference"]] * 2)
    assert run(capsys, "prepare", "--trainer", "dpo", "--data-path", "rows.jsonl", "--output-dir", "made")[0] == 0
    status, document = trained(capsys, light_llama, "--data-path", "made")
    assert status == 0 and document["plan"]["data"]["format"] == "chosen answers"


def test_a_moved_folder_is_still_prepared(made, light_llama, capsys):
    made.rename(made.parent / "elsewhere")
    status, document = trained(capsys, light_llama, *(word.replace("made", "elsewhere") for word in INSISTS))
    assert (status, codes(document)) == (0, [])


# ---- mixtures

MIX = """\
sources:
  - {name: a, path: a.jsonl, weight: 0.75}
  - {name: b, path: b.jsonl, weight: 0.25}
total: 8
validation: 0.25
seed: 3
"""


@pytest.fixture
def mixed(here: Path) -> Path:
    """Two sources of unlike shapes, of which the second is repeated."""
    write_rows(here / "a.jsonl", [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(16)])
    turns = [
        ({"role": "user", "content": f"And {n}?"}, {"role": "assistant", "content": f"Also {n}."}) for n in range(2)
    ]
    write_rows(here / "b.jsonl", [{"messages": list(pair)} for pair in turns])
    (here / "mix.yaml").write_text(MIX)
    return here


def test_the_rows_of_a_mixture_are_those_of_its_first_epoch(mixed, light_llama, capsys):
    flags = ("--trainer", "sft", "--data-config", "mix.yaml", "--model", str(light_llama), "--chat-template", "chatml")
    status, document = run(capsys, "prepare", *flags, "--output-dir", "made")
    assert status == 0 and "D232" in codes(document)
    written = [json.loads(line)["messages"] for line in (mixed / "made" / "train.jsonl").read_text().splitlines()]
    context = checked("sft", light_llama, data_path=None, data_config="mix.yaml", chat_template="chatml")
    prepared, train = context.prepared, context.dataset.train
    order = prepared.mixture.order([len(part) for part in prepared.train.parts]).of_epoch(0)
    texts = [train[int(index)].strings() for index in prepared.train.source[order]]
    assert [[turn["content"] for turn in row] for row in written] == texts and len(written) == 8
    sources = document["prepared"]["mixture"]["sources"]
    assert [(one["name"], one["rows_written"]) for one in sources] == [("a", 6), ("b", 2)]
    again = checked("sft", light_llama, chat_template="chatml", valid_split="validation")
    assert again.prepared.from_cache and len(again.prepared.train) == 8 and len(again.prepared.valid) == 5


def test_another_mixture_is_an_error_that_names_it(mixed, light_llama, capsys):
    assert run(capsys, "prepare", "--trainer", "sft", "--data-config", "mix.yaml", "--output-dir", "made")[0] == 0
    flags = ("--data-path", "made", "--use-prepared", "--chat-template", "chatml")
    assert trained(capsys, light_llama, *flags)[0] == 0
    (mixed / "mix.yaml").write_text(MIX.replace("0.75", "0.5"))
    status, document = trained(capsys, light_llama, *flags)
    assert status == 2 and codes(document, "error") == ["P145"]
    assert "mix.yaml has changed" in document["findings"][-1]["message"]


def test_weights_by_tokens_need_a_tokenizer(mixed, light_llama, capsys):
    (mixed / "mix.yaml").write_text(MIX.replace("total: 8", "weights_by: tokens"))
    flags = ("--trainer", "sft", "--data-config", "mix.yaml", "--output-dir", "made", "--chat-template", "chatml")
    status, document = run(capsys, "prepare", *flags)
    assert status == 2 and codes(document, "error") == ["D234"] and not (mixed / "made").exists()
    assert run(capsys, "prepare", *flags, "--tokenizer", str(light_llama))[0] == 0


@pytest.mark.parametrize("end", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("mixture", "tokens", "error", "warning"),
    [
        (MIX.replace("0.25}", "0.01}"), False, ["D210"], []),
        (MIX.replace("0.25}", "0.01}"), True, ["D210"], []),
        (MIX.replace("0.75", "0.5"), False, [], ["D208"]),
        (MIX.replace("0.75", "0.5"), True, [], ["D208"]),
        (MIX.replace("total: 8", "weights_by: tokens"), False, ["D234"], []),
    ],
)
def test_an_epoch_of_a_mixture_is_checked_before_it_is_written(
    mixture, tokens, error, warning, end, mixed, light_llama, capsys
):
    (mixed / "mix.yaml").write_text(mixture)
    flags = ["--trainer", "sft", "--data-config", "mix.yaml", "--chat-template", "chatml", *end]
    flags += ["--tokenizer", str(light_llama)] if tokens else []
    status, document = run(capsys, "prepare", *flags, "--output-dir", "made")
    assert (status, codes(document, "error")) == (2 if error else 0, error)
    assert {*warning} <= {*codes(document, "warning")}
    assert (mixed / "made").exists() is not bool(error or end)


# ---- from Python, and large files


def test_python_prepares_what_the_command_does(here, light_llama):
    write_rows(here / "rows.jsonl", [FORMATS["pair"]] * 3)
    info = prepare(trainer="sft", data_path="rows.jsonl", output_dir="made", model=str(light_llama))
    folder = prepared_folder("made")
    assert folder is not None and info == folder.info and info.splits["train"].rows == 3
    with pytest.raises(Refused) as refused:
        prepare(trainer="sft", data_path="rows.jsonl", output_dir="made")
    assert [finding.code for finding in refused.value.findings] == ["P143"]


def test_large_files_are_written_and_read_row_by_row(here, light_llama, monkeypatch):
    write_rows(here / "rows.jsonl", [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(3000)])
    flags = {"trainer": "sft", "data_path": "rows.jsonl", "valid_split": "0.1", "model": str(light_llama)}
    prepare(**flags, output_dir="small")
    monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 1000)
    prepare(**flags, output_dir="large")
    small, large = (prepared_folder(name) for name in ("small", "large"))
    assert small is not None and large is not None and small.info.splits == large.info.splits
    request = DataRequest("large", "conversations", valid_split="validation")
    assert not open_data(request).in_memory
    assert checked("sft", light_llama, data_path="large", valid_split="validation").prepared.from_cache


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError, SystemExit])
def test_nothing_is_left_of_a_folder_that_is_not_finished(end, here):
    with pytest.raises(end), complete_folder(here / "parent" / "made") as folder:
        (folder / "train.jsonl").write_text("{}\n")
        raise end
    assert list((here / "parent").iterdir()) == []
    with complete_folder(here / "parent" / "made") as folder:
        (folder / "train.jsonl").write_text("{}\n")
    assert [path.name for path in (here / "parent").iterdir()] == ["made"]
    with pytest.raises(OSError), complete_folder(here / "parent" / "made") as folder:
        (folder / "other.jsonl").write_text("{}\n")
    assert [path.name for path in (here / "parent" / "made").iterdir()] == ["train.jsonl"]


def test_the_folder_of_a_run_s_config_is_not_written_to(here, capsys):
    write_rows(here / "rows.jsonl", [FORMATS["pair"]])
    (here / "run.yaml").write_text("trainer: sft\ndata_path: rows.jsonl\nlr: 1e-4\noutput_dir: runs/mine\n")
    status, document = run(capsys, "prepare", "--config", "run.yaml")
    assert status == 2 and codes(document) == ["P142"] and not (here / "runs").exists()
    assert run(capsys, "prepare", "--config", "run.yaml", "--output-dir", "made")[0] == 0


ANSWER = {"prompt": "Hi", "answer": "Hello"}
TURNS = {"messages": FORMATS["messages"]["messages"]}
GRADES: dict[str, list[dict[str, Any]]] = {
    "list": [{**ANSWER, "scores": [1, 2.5]}, {**ANSWER, "scores": [0, 1]}],
    "object": [{**ANSWER, "scores": {"help": 1, "length": 2}}, {**ANSWER, "scores": {"length": 0, "help": 3}}],
    "columns": [{**ANSWER, "help": 1, "length": 2, "id": "x"}, {**ANSWER, "help": 2, "length": 0, "id": "y"}],
    "classes": [{**ANSWER, "label": "good"}, {**ANSWER, "answer": "What", "label": "bad"}],
    "numbered classes": [{**ANSWER, "label": 1}, {**ANSWER, "answer": "What", "label": 0}],
    "turns": [{**TURNS, "scores": [1, 2]}, {**TURNS, "scores": [2, 1]}],
    "turns and texts": [{**TURNS, "class": "good"}, {**TURNS, "class": "bad"}],
}


@pytest.mark.parametrize("kind", GRADES)
def test_graded_rows_keep_their_scores_and_classes_by_name(kind, here, light_llama, capsys):
    write_rows(here / "rows.jsonl", [{**row, "n": "x" * n} for n in range(2) for row in GRADES[kind]])
    flags = ("--num-labels", "2", "--data-path", "rows.jsonl", "--model", str(light_llama), "--chat-template", "chatml")
    status, document = run(capsys, "prepare", *flags, "--output-dir", "made")
    assert status == 0 and document["prepared"]["trainer"] == "reward", document["findings"]
    source, made, unlike = (
        open_data(DataRequest(path, "graded", trainer="reward", num_labels=2))
        for path in ("rows.jsonl", "made", "made/train.jsonl")
    )
    assert list(map(parts, made.train)) == list(map(parts, source.train)) == list(map(parts, unlike.train))
    assert made.labels == source.labels == unlike.labels and made.format == source.format
    context = checked("reward", light_llama, num_labels=2, chat_template="chatml")
    assert context.prepared.from_cache and not context.findings


def test_another_number_of_scores_is_not_that_of_the_folder(here, light_llama, capsys):
    write_rows(here / "rows.jsonl", GRADES["list"])
    flags = ("--num-labels", "2", "--data-path", "rows.jsonl", "--output-dir", "made")
    assert run(capsys, "prepare", *flags)[0] == 0
    status, document = trained(
        capsys, light_llama, "--trainer", "reward", "--num-labels", "3", "--data-path", "made", "--use-prepared"
    )
    assert status == 2 and codes(document, "error") == ["P145"]


def test_every_part_of_an_example_is_written():
    beside = {"file", "row", "line", "extra", "_key"}
    assert {field.name for field in fields(Example)} == {*PARTS, *beside}
