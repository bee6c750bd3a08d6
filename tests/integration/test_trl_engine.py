"""The same plan on both engines: TRL's own trainer and this package's loop take the same steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm.api import plan, train
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.config.resolved import resolve
from autotrain_llm.planning.plan import LayoutPlan
from support.short_runs import short_run

LOSS, WEIGHTS = 1e-6, 1e-5  # of the loss a share: a float32 near 5 can differ from its neighbour by 5e-7


def both(data: Path, folder: Path, **flags: Any) -> tuple[Any, Any]:
    """The reports of one command on each engine."""
    settings = {
        "trainer": "sft",
        "lr": 1e-3,
        "epochs": 2,
        "batch_size": 4,
        "mixed_precision": "fp32",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "data_path": str(data),
        **flags,
    }
    return tuple(
        train(**{**settings, "engine": engine, "output_dir": str(folder / engine)}) for engine in ("native", "trl")
    )


def losses(report: Any) -> list[float]:
    return [entry["loss"] for entry in report.history if "loss" in entry]


def same_run(native: Any, trl: Any, weights: str = "model.safetensors") -> None:
    assert len(losses(native)) == native.plan.steps
    assert losses(trl) == pytest.approx(losses(native), rel=LOSS)
    ours, theirs = load_file(native.output_dir / weights), load_file(trl.output_dir / weights)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=WEIGHTS)


WEIGHED = """sources:
  - {name: one, path: one.jsonl, weight: 0.25}
  - {name: two, path: two.jsonl, weight: 0.75}
total: 8
"""


@pytest.mark.parametrize("name", ["sft", "dpo", "grpo"])
def test_both_engines_follow_the_order_of_a_mixture(name: str, llama: Path, tmp_path: Path) -> None:
    native, trl = (
        short_run(name, llama, tmp_path, engine, mixture=WEIGHED, engine=engine, batch_size=2, max_steps=4)
        for engine in ("native", "trl")
    )
    assert [source.rows_of_epoch for source in native.plan.data.sources] == [2, 6]
    assert losses(trl) == pytest.approx(losses(native), rel=1e-5, abs=1e-6)
    ours, theirs = (load_file(report.output_dir / "model.safetensors") for report in (native, trl))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-4)


@pytest.fixture
def ragged(tmp_path: Path) -> Path:
    """22 conversations from a few to a hundred words, so that no batch is even and the last of an epoch is short."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Question {number}: " + "why " * (number * number % 31)},
                {"role": "assistant", "content": "because " * (1 + number * 7 % 19)},
            ]
        }
        for number in range(22)
    ]
    path = tmp_path / "ragged.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_engines_take_the_same_steps(ragged: Path, llama: Path, tmp_path: Path) -> None:
    same_run(*both(ragged, tmp_path, model=str(llama)))


def test_they_do_with_accumulated_batches_that_do_not_divide_an_epoch(
    ragged: Path, llama: Path, tmp_path: Path
) -> None:
    # 22 rows make 8 batches of 3: two steps of 3 batches and one of 2, in each epoch.
    same_run(*both(ragged, tmp_path, model=str(llama), batch_size=3, gradient_accumulation=3))


def test_they_do_with_an_adapter(ragged: Path, llama: Path, tmp_path: Path) -> None:
    native, trl = both(ragged, tmp_path, model=str(llama), peft=True, lora_r=4, lora_dropout=0.0, lr=1e-2)
    same_run(native, trl, "adapter_model.safetensors")


def test_they_do_with_packed_rows(ragged: Path, llama: Path, tmp_path: Path) -> None:
    native, trl = both(ragged, tmp_path, model=str(llama), packing=True, max_seq_length=128, batch_size=2)
    assert native.plan.schedule.rows < 22
    same_run(native, trl)


def test_they_do_with_blocks_of_text(text_rows: Path, llama: Path, tmp_path: Path) -> None:
    native, trl = both(text_rows, tmp_path, model=str(llama), trainer="generic", block_size=32, epochs=1)
    same_run(native, trl)


def test_the_reference_leaves_what_any_run_leaves(ragged: Path, llama: Path, tmp_path: Path) -> None:
    native, trl = both(ragged, tmp_path, model=str(llama), valid_split="6", epochs=1)
    assert set(trl.files) == set(native.files)
    document = json.loads((trl.output_dir / "run.json").read_text())
    assert document["status"] == "ok"
    assert "P341" in [finding["code"] for finding in document["findings"]]
    lines = [json.loads(line) for line in (trl.output_dir / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "token_accuracy", "entropy", "grad_norm", "tokens_per_second"} <= lines[0].keys()
    assert {"eval_loss", "eval_perplexity", "eval_token_accuracy"} <= lines[-1].keys()
    assert lines[-1]["eval_loss"] == pytest.approx(native.metrics["eval_loss"], abs=0.05)
    assert any((trl.output_dir / "checkpoints").glob("checkpoint-*"))


def test_an_interrupted_reference_run_resumes_where_it_was(ragged: Path, llama: Path, tmp_path: Path) -> None:
    settings = {"model": str(llama), "engine": "trl", "save_strategy": "steps", "save_steps": 4}
    whole = one(ragged, tmp_path / "whole", **settings)
    part = tmp_path / "part"
    one(ragged, part, **settings)
    checkpoints = sorted((part / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    first = next(path for path in checkpoints if path.name == "checkpoint-8")
    resumed = one(ragged, part, **settings, resume_from_checkpoint=str(first))
    assert losses(resumed) == losses(whole)[8:]
    ours, theirs = load_file(part / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def one(data: Path, folder: Path, **flags: Any) -> Any:
    return train(
        trainer="sft",
        lr=1e-3,
        epochs=2,
        batch_size=4,
        mixed_precision="fp32",
        logging_steps=1,
        save_total_limit=9,
        data_path=str(data),
        output_dir=str(folder),
        **flags,
    )


def test_nothing_is_sent_home_while_a_reference_run_starts(
    ragged: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from huggingface_hub.utils import _telemetry as telemetry

    sent: list[Any] = []
    monkeypatch.setattr(telemetry, "Thread", lambda *given, **named: sent.append((given, named)))
    monkeypatch.setattr(socket.socket, "connect", lambda *given: sent.append(given))
    monkeypatch.delenv("CI", raising=False)
    one(ragged, tmp_path / "run", model=str(llama), engine="trl", max_steps=1)
    assert sent == []


def test_a_trainer_without_a_reference_is_refused_and_one_with_it_is_not() -> None:
    config = resolve({"trainer": "sft", "engine": "trl"}, {}, None)
    known = {"config": config, "trainer": config.trainer_spec}
    assert list(RULES["P113"].check(known)) == []
    alone = {**known, "trainer": config.trainer_spec.replace(trl_adapter=None)}
    assert [finding.parameters for finding in RULES["P113"].check(alone)] == [("engine",)]


def test_what_the_reference_does_in_another_way_is_said() -> None:
    def codes(**flags: Any) -> list[str]:
        config = resolve(flags, {}, None)
        known = {"config": config, "trainer": config.trainer_spec}
        return [finding.code for code in ("P341", "P342") for finding in RULES[code].check(known)]

    assert codes(trainer="sft", engine="trl", valid_split="0.1") == ["P341"]
    assert codes(trainer="sft", engine="trl", peft=True, quantization="int4") == ["P342"]
    assert codes(trainer="sft", engine="trl", valid_split="0.1", eval_strategy="no") == []
    assert codes(trainer="sft", valid_split="0.1", peft=True, quantization="int4") == []


def test_the_plan_says_how_the_reference_lays_rows_out(ragged: Path, llama: Path) -> None:
    flags = {"lr": 1e-4, "epochs": 1, "batch_size": 4, "data_path": str(ragged), "model": str(llama), "trainer": "sft"}
    assert plan(**flags, engine="trl").layout == LayoutPlan("padded", "TRL's trainer pads", packing=False)
    assert plan(**flags).layout.name == "flat"
