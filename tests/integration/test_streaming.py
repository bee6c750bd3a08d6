"""`--streaming`: rows are read while they are trained on, and a run that was stopped goes on as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm import train
from autotrain_llm.run.failures import RunFailed
from support.processes import run_together
from support.rows import write_rows

ROWS = [{"prompt": f"What comes after {n}?", "completion": f"After {n} comes {n + 1}."} for n in range(60)]
TRAINERS: dict[str, dict[str, Any]] = {
    "sft": {"trainer": "sft"},
    "packed": {"trainer": "sft", "packing": True, "max_seq_length": 64},
    "generic": {"trainer": "generic", "block_size": 32},
}


@pytest.fixture
def flags(llama: Path, tmp_path: Path) -> dict[str, Any]:
    path = write_rows(tmp_path / "rows.jsonl", ROWS)
    flags = {"model": str(llama), "data_path": str(path), "lr": 1e-3, "batch_size": 2, "mixed_precision": "fp32"}
    return flags | {
        "streaming": True,
        "stream_buffer": 25,
        "max_steps": 8,
        "save_steps": 3,
        "save_total_limit": 9,
        "logging_steps": 1,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-6


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_resumed_stream_ends_with_the_weights_of_an_undisturbed_one(kind, flags, tmp_path, llama):
    flags |= {**TRAINERS[kind], "gradient_accumulation": 2}
    if kind == "generic":
        write_rows(Path(flags["data_path"]), [{"text": f"{row['prompt']} {row['completion']}"} for row in ROWS])
    whole = train(**flags, output_dir=str(tmp_path / "whole"))
    checkpoint = tmp_path / "whole" / "checkpoints" / "checkpoint-3"
    (place,) = json.loads((checkpoint / "stream.json").read_text())["processes"]
    assert place["number"] > 0 or place["used"] > 0
    train(**flags, resume_from_checkpoint=str(checkpoint), output_dir=str(tmp_path / "resumed"))
    assert are_equal(weights(tmp_path / "whole"), weights(tmp_path / "resumed"))
    train(**flags, seed=43, output_dir=str(tmp_path / "other"))
    assert not are_equal(weights(tmp_path / "whole"), weights(tmp_path / "other"))
    losses = [entry["loss"] for entry in whole.history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert json.loads((tmp_path / "whole" / "run.json").read_text())["outcome"]["stream"]["rows_left_out"] == 0


def test_two_processes_stream_rows_of_their_own_and_others_go_on_exactly(flags, tmp_path):
    flags |= {"trainer": "sft", "packing": True, "max_seq_length": 64}
    words = [
        word
        for name, value in flags.items()
        for word in (f"--{name.replace('_', '-')}", str(value).lower() if value is True else str(value))
    ]
    bad = [*ROWS[:40], {"prompt": "What?", "completion": " "}, *ROWS[40:]]
    write_rows(Path(flags["data_path"]), bad)
    words += ["--check-rows", "10"]
    run_together(["llm", *words, "--output-dir", str(tmp_path / "whole")], tmp_path)
    assert "row 41: completion is empty" in (tmp_path / "process-0.txt").read_text()
    assert json.loads((tmp_path / "whole" / "run.json").read_text())["outcome"]["stream"]["rows_left_out"] > 0
    checkpoint = tmp_path / "whole" / "checkpoints" / "checkpoint-3"
    places = json.loads((checkpoint / "stream.json").read_text())["processes"]
    assert len(places) == 2
    again = ["--resume-from-checkpoint", str(checkpoint), "--output-dir", str(tmp_path / "resumed")]
    run_together(["llm", *words, *again], tmp_path)
    assert are_equal(weights(tmp_path / "whole"), weights(tmp_path / "resumed"))
    flags["check_rows"] = 10
    train(**flags, resume_from_checkpoint=str(checkpoint), output_dir=str(tmp_path / "alone"))
    assert_close(weights(tmp_path / "whole"), weights(tmp_path / "alone"))
    alone = train(**flags, gradient_accumulation=2, output_dir=str(tmp_path / "of one")).output_dir
    again = ["--resume-from-checkpoint", str(alone / "checkpoints" / "checkpoint-3")]
    run_together(["llm", *words, *again, "--output-dir", str(tmp_path / "of two")], tmp_path)
    assert_close(weights(alone), weights(tmp_path / "of two"))
    last = json.loads((tmp_path / "of two" / "checkpoints" / "checkpoint-6" / "stream.json").read_text())
    assert last == json.loads((alone / "checkpoints" / "checkpoint-6" / "stream.json").read_text())


def test_processes_that_divide_the_tokens_of_a_batch_stream_the_same_rows(flags, tmp_path):
    flags |= {"trainer": "sft", "save_steps": 2, "max_steps": 3}
    words = [
        word
        for name, value in flags.items()
        for word in (f"--{name.replace('_', '-')}", str(value).lower() if value is True else str(value))
    ]
    one = train(**flags, output_dir=str(tmp_path / "one"))
    two = tmp_path / "two"
    run_together(["llm", *words, "--context-parallel", "2", "--output-dir", str(two)], tmp_path)
    named, other = weights(one.output_dir), weights(two)
    assert max(float((named[name] - other[name]).abs().max()) for name in named) < 2e-6
    places = [folder / "checkpoints" / "checkpoint-2" / "stream.json" for folder in (one.output_dir, two)]
    assert json.loads(places[0].read_text()) == json.loads(places[1].read_text()), "both are one stream"
    counts = [json.loads((folder / "run.json").read_text())["outcome"]["stream"] for folder in (one.output_dir, two)]
    assert counts[0] == counts[1]


def test_all_rows_of_a_pass_are_trained_on_before_the_next_begins(flags, tmp_path):
    """A buffer that holds all rows: an epoch of the stream is an epoch, in another order."""
    flags |= {"trainer": "sft", "stream_buffer": 100, "max_steps": 30, "save_strategy": "no", "lr": 1e-9}
    streamed = train(**flags, output_dir=str(tmp_path / "streamed"))
    flags |= {"streaming": None, "stream_buffer": None, "max_steps": None, "epochs": 1}
    usual = train(
        **{name: value for name, value in flags.items() if value is not None}, output_dir=str(tmp_path / "usual")
    )
    one, other = (
        sum(entry["loss"] for entry in report.history if "loss" in entry) / 30 for report in (streamed, usual)
    )
    assert one == pytest.approx(other, rel=2e-3)


def test_rows_that_turn_out_bad_are_left_out_and_said_or_end_the_run(flags, tmp_path):
    flags |= {"trainer": "sft", "check_rows": 10, "save_steps": 2}
    rows = [json.dumps(row) for row in ROWS]
    rows[40] = json.dumps({"prompt": "What?", "completion": " "})
    Path(flags["data_path"]).write_text("\n".join(rows) + "\n")
    flags["max_steps"] = 31
    report = train(**flags, output_dir=str(tmp_path / "left out"))
    assert report.plan.data.streaming is not None and report.plan.data.streaming.checked_rows == 10
    assert any("row 41" in finding.message for finding in report.observations)
    assert json.loads((tmp_path / "left out" / "run.json").read_text())["outcome"]["stream"]["rows_left_out"] >= 1
    rows[40] = '{"prompt": "half'
    Path(flags["data_path"]).write_text("\n".join(rows) + "\n")
    with pytest.raises(RunFailed) as failed:
        train(**flags, output_dir=str(tmp_path / "broken"))
    assert "rows.jsonl, line 41 is not valid JSON" in failed.value.message
    assert (tmp_path / "broken" / "checkpoints" / "checkpoint-2").is_dir()


def test_rows_of_a_split_are_evaluated_during_a_stream(flags, tmp_path):
    held_out = write_rows(tmp_path / "held_out.jsonl", ROWS[:6])
    report = train(
        **flags, trainer="sft", eval_dataset_path=str(held_out), eval_steps=4, output_dir=str(tmp_path / "run")
    )
    assert ("streamed", "read while training, shuffled within 25 rows") in [
        row[:2] for _, rows in report.plan.summary() for row in rows
    ]
    assert report.plan.data.eval_rows == 6 and "eval_loss" in report.metrics
