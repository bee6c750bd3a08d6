"""Resumed runs: nothing of a step is lost wherever a run is stopped, and what is typed on resume is what is trained."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.output_dir import missing_from
from autotrain_llm.params.optimizers import OPTIMIZERS
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.engine.state_file import load_state
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session.execute import execute
from autotrain_llm.run.session.run_report import RunReport
from support.resumable import FILES
from support.rows import write_rows

BY_STEPS = {"max_steps": 10, "eval_steps": 1, "early_stopping_patience": 3}
SAVING_LESS = {"max_steps": 10, "eval_steps": 1, "save_steps": 2, "early_stopping_patience": 3}
BY_EPOCHS = {"epochs": 5, "eval_strategy": "epoch", "early_stopping_patience": 1}
CHOOSING = {"valid_split": "8", "load_best_model_at_end": True}


@pytest.fixture
def command(llama: Path, tmp_path: Path) -> dict[str, Any]:
    """Two steps an epoch, at a rate that is too high to improve for long."""
    rows = str(write_rows(tmp_path / "rows.jsonl", [{"text": f"{number} is {number % 3}."} for number in range(24)]))
    flags = {"trainer": "generic", "model": str(llama), "data_path": rows, "batch_size": 8, "lr": 1.5e-1}
    return {**flags, "block_size": 8, "mixed_precision": "fp32", "scheduler": "constant", "logging_steps": 1}


def run(output: Path, **flags: Any) -> RunReport:
    """A run without its report."""
    said = parse_kwargs({**flags, "output_dir": str(output)})
    assert said.findings == []
    checked = preflight(resolve(said.values))
    assert checked.plan is not None and not checked.refused, [finding.message for finding in checked.findings]
    return execute(checked.plan, inputs_of(checked.plan, checked.context), with_page=False)


def stopped(output: Path, where: str, step: int, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> str | None:
    """The last message of a run that gets a SIGTERM in a method of the loop, at this step; None if it ended nevertheless."""
    original: Callable[..., Any] = getattr(Loop, where)
    left = [step]

    def method(self: Loop, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        if [self.state.global_step + (where == "training_step")] == left:
            left.clear()
            signal.raise_signal(signal.SIGTERM)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Loop, where, method)
        try:
            run(output, **flags)
        except Interrupted as interrupted:
            return interrupted.message
    return None


def end_of(output: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a finished run, and what its record says about the end."""
    record = json.loads((output / "run.json").read_text())
    metrics = {name: value for name, value in record["metrics"].items() if name.startswith("eval_") or name == "loss"}
    record["outcome"].pop("matmul_peak", None)  # measured anew
    metrics.pop("eval_seconds", None)
    return load_file(output / "model.safetensors"), {"status": record["status"], **record["outcome"], **metrics}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("schedule", "where"),
    [(BY_STEPS, "training_step"), (BY_STEPS, "evaluate"), (SAVING_LESS, "training_step"), (BY_EPOCHS, "training_step")],
    ids=["in a step", "in an evaluation", "where fewer are saved", "by epochs"],
)
def test_a_run_that_is_stopped_at_every_step_ends_as_one_that_was_not(
    schedule: dict[str, Any], where: str, command: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {**command, **CHOOSING, **schedule}
    run(tmp_path / "whole", **flags)
    weights, outcome = end_of(tmp_path / "whole")
    assert outcome["best_checkpoint"] != f"checkpoints/checkpoint-{outcome['steps']}", "the best is not the last"
    output, stops = tmp_path / "stopped", 0
    for step in range(1, outcome["steps"] + 1):
        resume = {"resume": True} if stops else {}
        stops += stopped(output, where, step, monkeypatch, **flags, **resume) is not None
    before = json.loads((output / "run.json").read_text())["seconds"]
    report = run(output, **flags, resume=True)
    assert report.seconds == json.loads((output / "run.json").read_text())["seconds"] > before > 0, "of all attempts"
    weights_of_resumed, outcome_of_resumed = end_of(output)
    assert outcome_of_resumed == outcome
    assert same(weights_of_resumed, weights)
    assert stops == outcome["steps"]


@pytest.mark.parametrize("name", [name for name, optimizer in OPTIMIZERS.items() if not optimizer.needs_gpu])
def test_every_optimizer_improves_the_model_and_goes_on_where_it_stopped(
    name: str, command: dict[str, Any], tmp_path: Path
) -> None:
    if OPTIMIZERS[name].package:
        pytest.importorskip(OPTIMIZERS[name].package)
    flags = {**command, "optimizer": name, "lr": 0.5 if name == "sgd" else 3e-3, "max_steps": 12}
    settings: dict[str, Any] = {"save_steps": 5, "save_total_limit": 9}
    settings |= {"galore_rank": 4, "galore_update_steps": 3} if name == "galore_adamw" else {}
    flags |= {"valid_split": "8", "eval_strategy": "steps", "eval_steps": 3, **settings}
    report = run(tmp_path / "whole", **flags)
    losses = logged(report, "eval_loss")
    assert losses[12] < losses[3] - 0.1
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-5")
    run(tmp_path / "resumed", **flags, resume_from_checkpoint=checkpoint)
    (weights, outcome), (weights_of_resumed, outcome_of_resumed) = (
        end_of(tmp_path / name) for name in ("whole", "resumed")
    )
    assert same(weights_of_resumed, weights) and outcome_of_resumed == outcome


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_adapter_that_begins_with_a_part_of_the_model_goes_on_and_belongs_to_the_original(
    init: str, llama: Path, command: dict[str, Any], tmp_path: Path
) -> None:
    flags = {**command, "peft": True, "lora_r": 4, "lora_init": init, "lora_plus_ratio": 4.0, "lr": 1e-3}
    flags |= {"max_steps": 8, "save_steps": 4, "scheduler": "cosine", "valid_split": "8", "eval_strategy": "epoch"}
    report = run(tmp_path / "whole", **flags)
    checkpoint = tmp_path / "whole" / "checkpoints" / "checkpoint-4"
    run(tmp_path / "resumed", **flags, resume_from_checkpoint=str(checkpoint))
    whole, resumed = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "resumed"))
    assert same(whole, resumed)
    assert not same(whole, load_file(checkpoint / "adapter_model.safetensors"))
    base = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(tmp_path / "whole")).eval()
    assert model.peft_config["default"].r == 8
    again = run(
        tmp_path / "again", **{**flags, "model": str(tmp_path / "whole"), "lora_r": 8, "lr": 1e-9, "lora_init": None}
    )
    assert logged(again, "eval_loss")[2] == pytest.approx(logged(report, "eval_loss")[8], abs=1e-4)


def test_noise_on_embeddings_goes_on_where_it_stopped(command: dict[str, Any], tmp_path: Path) -> None:
    rows = str(
        write_rows(tmp_path / "answers.jsonl", [{"prompt": f"{n}?", "completion": f"{n % 3}."} for n in range(24)])
    )
    flags = {**command, "trainer": "sft", "data_path": rows, "lr": 1e-3, "max_steps": 6, "save_steps": 3}
    flags |= {"packing": True, "block_size": 32}
    run(tmp_path / "without", **flags)
    run(tmp_path / "whole", **flags, neftune_alpha=5.0)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-3")
    run(tmp_path / "resumed", **flags, neftune_alpha=5.0, resume_from_checkpoint=checkpoint)
    without, whole, resumed = (end_of(tmp_path / name)[0] for name in ("without", "whole", "resumed"))
    assert same(whole, resumed) and not same(whole, without)


def logged(report: RunReport, name: str) -> dict[int, float]:
    """A metric by step."""
    return {int(entry["step"]): entry[name] for entry in report.history if name in entry}


def groups_of(checkpoint: Path) -> list[dict[str, Any]]:
    """The settings of the optimizer in a checkpoint."""
    state = load_state(checkpoint / "optimizer.safetensors")
    return [{name: value for name, value in group.items() if name != "params"} for group in state["param_groups"]]


def test_a_new_learning_rate_schedule_and_weight_decay_are_used_from_the_checkpoint_on(
    command: dict[str, Any], tmp_path: Path
) -> None:
    flags = {**command, "lr": 8e-3, "scheduler": "linear", "warmup_ratio": 0, "max_steps": 8, "save_steps": 4}
    run(tmp_path / "whole", **flags)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-4")
    rates = {}
    for name, changes in {
        "as it was": {},
        "lr": {"lr": 4e-3},
        "decay": {"weight_decay": 0.5},
        "constant": {"scheduler": "constant"},
        "longer": {"max_steps": 16},
    }.items():
        report = run(tmp_path / name, **{**flags, **changes}, resume_from_checkpoint=checkpoint)
        rates[name] = logged(report, "learning_rate")
        assert report.plan.resume is not None and set(report.plan.resume.changes) == set(changes)
        if name == "decay":
            assert [group["weight_decay"] for group in groups_of(Path(checkpoint))] == [0.01, 0.0]
            newest = tmp_path / name / "checkpoints" / "checkpoint-8"
            assert [group["weight_decay"] for group in groups_of(newest)] == [0.5, 0.0]
    assert "# Until step 4 with: --lr 0.008\n" in (tmp_path / "lr" / "command.sh").read_text()
    assert "Until" not in (tmp_path / "as it was" / "command.sh").read_text()
    assert rates["as it was"] == pytest.approx({5: 4e-3, 6: 3e-3, 7: 2e-3, 8: 1e-3})
    assert rates["lr"] == pytest.approx({5: 2e-3, 6: 1.5e-3, 7: 1e-3, 8: 5e-4})
    assert rates["decay"] == rates["as it was"]
    assert rates["constant"] == pytest.approx(dict.fromkeys(range(5, 9), 8e-3))
    assert rates["longer"] == pytest.approx({step: 8e-3 * (17 - step) / 16 for step in range(5, 17)})
    whole, again, decayed = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "as it was", "decay")
    )
    assert same(whole, again) and not same(whole, decayed)


def test_when_to_evaluate_and_when_to_stop_may_change_on_resume(command: dict[str, Any], tmp_path: Path) -> None:
    """Also where the run until then had neither early stopping nor a best checkpoint. With such a rate no evaluation is better than the first."""
    flags = {**command, "valid_split": "8", "max_steps": 10, "eval_steps": 5, "save_steps": 5, "logging_steps": 5}
    run(tmp_path / "whole", **flags)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-5")
    changed = {**flags, "eval_steps": 1, "save_steps": 1, "logging_steps": 2, "early_stopping_patience": 2, "lr": 1e-30}
    report = run(tmp_path / "changed", **changed, resume_from_checkpoint=checkpoint)
    evaluations = logged(report, "eval_loss")
    last = max(evaluations)
    assert list(evaluations) == [6, 7, 8]
    assert evaluations[last - 2] == min(evaluations.values()), "two evaluations after the best"
    assert [step for step in logged(report, "loss") if step % 2 == 0] == list(logged(report, "loss"))
    outcome = json.loads((tmp_path / "changed" / "run.json").read_text())["outcome"]
    assert outcome["best_checkpoint"] == f"checkpoints/checkpoint-{last - 2}"


def test_half_the_batch_size_with_twice_the_accumulation_goes_on_with_the_same_rows(
    command: dict[str, Any], tmp_path: Path
) -> None:
    """Five rows are left for the last step of an epoch."""
    flags = {**command, "max_samples": 21, "epochs": 2, "lr": 1e-3, "save_steps": 1, "save_total_limit": 9}
    whole = run(tmp_path / "whole", **flags)
    for step in (1, 4):
        checkpoint = str(tmp_path / "whole" / "checkpoints" / f"checkpoint-{step}")
        divided = {**flags, "batch_size": 2, "gradient_accumulation": 4, "save_steps": None}
        named = {name: value for name, value in divided.items() if value is not None}
        report = run(tmp_path / f"from {step}", **named, resume_from_checkpoint=checkpoint)
        assert logged(report, "loss") == pytest.approx(
            {at: loss for at, loss in logged(whole, "loss").items() if at > step}, rel=1e-5
        )


def test_a_checkpoint_lists_what_a_resumed_run_reads(command: dict[str, Any], tmp_path: Path) -> None:
    run(tmp_path / "run", **command, max_steps=2, save_steps=2)
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    files = json.loads((checkpoint / "checkpoint.json").read_text())["files"]
    expected = set(FILES)
    assert expected <= set(files) and missing_from(checkpoint) == ()
    (checkpoint / "scheduler.safetensors").unlink()
    assert missing_from(checkpoint) == ("scheduler.safetensors",)


def test_a_run_that_goes_another_way_is_resumed_on_that_way(
    command: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    flags = {**command, "lr": 1e-3, "save_steps": 1, "save_total_limit": 9}
    run(output, **flags, max_steps=5)
    checkpoints = output / "checkpoints"
    another_way = {**flags, "max_steps": 5, "lr": 1e-2}
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "training_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(output, **another_way, resume_from_checkpoint=str(checkpoints / "checkpoint-2"))
    assert len(list(checkpoints.iterdir())) == 5, "brought back: nothing was trained"
    from_second = {"resume_from_checkpoint": str(checkpoints / "checkpoint-2")}
    assert stopped(output, "training_step", 3, monkeypatch, **another_way, **from_second)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    report = run(output, **another_way, resume=True)
    assert report.plan.resume is not None and report.plan.resume.step == 3
    assert sorted(logged(report, "loss")) == [4, 5] and not list(output.glob(".replaced-*"))


def test_a_run_that_is_stopped_in_its_last_step_is_evaluated_after_training(
    command: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {**command, "lr": 1e-2, "max_steps": 2, "save_steps": 2, "valid_split": "8", "eval_strategy": "no"}
    flags |= {"use_enhanced_eval": True, "eval_metrics": "perplexity"}
    run(tmp_path / "whole", **flags)
    assert stopped(tmp_path / "stopped", "training_step", 2, monkeypatch, **flags)
    run(tmp_path / "stopped", **flags, resume=True)
    whole, resumed = (json.loads((tmp_path / name / "eval/metrics.json").read_text()) for name in ("whole", "stopped"))
    assert whole["after"]["perplexity"] and resumed == whole


def test_a_checkpoint_has_no_pickle_and_one_of_an_earlier_version_with_pickles_is_resumed_from(
    command: dict[str, Any], tmp_path: Path
) -> None:
    flags = {**command, "lr": 1e-3, "max_steps": 4, "save_steps": 2}
    run(tmp_path / "whole", **flags)
    checkpoint = tmp_path / "whole" / "checkpoints" / "checkpoint-2"
    assert {path.suffix for path in checkpoint.iterdir()} <= {".json", ".safetensors", ".jinja"}
    for name, earlier in {"optimizer": ".pt", "scheduler": ".pt", "rng_state": ".pth"}.items():
        path = checkpoint / f"{name}.safetensors"
        torch.save(load_state(path), path.with_suffix(earlier))
        path.unlink()
    (checkpoint / "checkpoint.json").unlink()
    run(tmp_path / "again", **flags, resume_from_checkpoint=str(checkpoint))
    assert same(*(load_file(tmp_path / name / "model.safetensors") for name in ("whole", "again")))
