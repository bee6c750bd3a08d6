"""Mixtures are trained on by every trainer, evaluated source by source, and resumed and repeated to the bit."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm import check, plan, train
from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.order import MixtureOrder
from autotrain_llm.declare.finding import Refused
from autotrain_llm.run.engine.batches import BatchOrder
from support.fork_server import forked_python
from support.models import TEMPLATE, build_llama
from support.processes import run_together
from support.rows import write_rows
from support.short_runs import MIXTURE, short_run, write_mixture

AGAIN = """
import json, sys
from dataclasses import replace
from pathlib import Path
from autotrain_llm.api import carry_out_plan
from autotrain_llm.planning.plan import Plan

plan = Plan.from_json(json.loads(Path(sys.argv[1], "run.json").read_text())["plan"])
carry_out_plan(replace(plan, output=replace(plan.output, dir=sys.argv[2])))
"""


def digest(folder: Path) -> str:
    (weights,) = folder.glob("*.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "name", [pytest.param("sft", marks=pytest.mark.quick), *(name for name in TRAINERS if name != "sft")]
)
def test_every_trainer_trains_on_a_mixture_and_evaluates_each_source(name: str, llama: Path, tmp_path: Path):
    report = short_run(name, llama, tmp_path, mixture=MIXTURE, eval_steps=1)
    metric = TRAINERS[name].headline[0]
    evaluations = [entry for entry in logged(tmp_path / "run") if f"eval_one_{metric}" in entry]
    assert len(evaluations) >= 2
    for entry in evaluations:
        values = [entry[f"eval_{part}{metric}"] for part in ("", "one_", "two_")]
        assert all(map(math.isfinite, values))
        assert min(values[1:]) - 1e-6 <= values[0] <= max(values[1:]) + 1e-6
    one, two = report.plan.data.sources
    assert (one.eval_rows, two.eval_rows) == (1, 1)
    if TRAINERS[name].rows != "documents":
        assert (one.rows, two.rows, one.passes, two.passes) == (4, 2, 1.0, 2.0)


def test_the_loss_of_a_source_is_that_of_evaluating_it_alone(llama: Path, tmp_path: Path):
    """At a rate of nearly zero the weights stay those of the model."""
    rows = [
        {"prompt": f"what is {number}?", "completion": f"it is {number} " * (1 + number % 4)} for number in range(40)
    ]
    names = {"a": (0, 12), "b": (12, 18)}
    for name, (start, end) in names.items():
        write_rows(tmp_path / f"{name}.jsonl", rows[20 + start : 20 + end])
        write_rows(tmp_path / f"{name}_valid.jsonl", rows[start:end])
    sources = ", ".join(f"{{name: {name}, path: {name}.jsonl, validation: {name}_valid.jsonl}}" for name in names)
    (tmp_path / "mix.yaml").write_text(f"sources: [{sources}]\n")
    usual = {
        "trainer": "sft",
        "model": str(llama),
        "lr": 1e-30,
        "max_steps": 1,
        "batch_size": 4,
        "mixed_precision": "fp32",
    }
    mixed = train(**usual, data_config=str(tmp_path / "mix.yaml"), output_dir=str(tmp_path / "mixed")).metrics
    alone, tokens = {}, {}
    for name in names:
        flags = {
            "data_path": str(tmp_path / f"{name}.jsonl"),
            "eval_dataset_path": str(tmp_path / f"{name}_valid.jsonl"),
        }
        report = train(**usual, **flags, output_dir=str(tmp_path / name))
        alone[name] = report.metrics["eval_loss"]
        assert mixed[f"eval_{name}_loss"] == pytest.approx(alone[name], rel=1e-6)
        assert mixed[f"eval_{name}_token_accuracy"] == pytest.approx(report.metrics["eval_token_accuracy"])
        # A plan of the evaluation rows as training rows counts their trained tokens.
        counted = plan(**usual, data_path=str(tmp_path / f"{name}_valid.jsonl"), output_dir=str(tmp_path / "none")).data
        tokens[name] = counted.trained_token_share * counted.total_tokens
    overall = sum(alone[name] * tokens[name] for name in names) / sum(tokens.values())
    assert mixed["eval_loss"] == pytest.approx(overall, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "flags"),
    [("sft", {"packing": True}), ("dpo", {}), ("kto", {}), ("spo", {}), ("generic", {"block_size": 8})],
    ids=["packed", "pairs", "parted pairs", "tracked prompts", "blocks"],
)
def test_a_resumed_run_ends_with_the_same_weights(name: str, flags: dict[str, Any], llama: Path, tmp_path: Path):
    usual = {"max_steps": 6, "save_steps": 3, "save_strategy": "steps", "eval_steps": 3, "batch_size": 2, "seed": 5}
    short_run(name, llama, tmp_path, "whole", MIXTURE, **usual, **flags)
    checkpoint = tmp_path / "whole" / "checkpoints" / "checkpoint-3"
    short_run(name, llama, tmp_path, "resumed", MIXTURE, **usual, **flags, resume_from_checkpoint=str(checkpoint))
    assert digest(tmp_path / "whole") == digest(tmp_path / "resumed")


def test_a_run_is_not_resumed_with_another_mixture(llama: Path, tmp_path: Path):
    usual = {"max_steps": 4, "save_steps": 2, "save_strategy": "steps"}
    short_run("sft", llama, tmp_path, mixture=MIXTURE, **usual)
    checkpoint = str(tmp_path / "run" / "checkpoints" / "checkpoint-2")
    other = MIXTURE.replace("weight: 0.5}", "weight: 0.4}", 1).replace("weight: 0.5}", "weight: 0.6}")
    with pytest.raises(Refused, match=r"in .*mix.yaml, an epoch goes through one"):
        short_run("sft", llama, tmp_path, "other", other, **usual, resume_from_checkpoint=checkpoint)
    third = MIXTURE.replace("total", "  - {name: three, path: three.jsonl, weight: 0.5}\ntotal")
    write_rows(tmp_path / "three.jsonl", [{"prompt": f"new {number}?", "completion": "yes"} for number in range(3)])
    with pytest.raises(Refused, match="three is new"):
        short_run("sft", llama, tmp_path, "other", third, **usual, resume_from_checkpoint=checkpoint)


def test_a_saved_plan_of_a_mixture_trains_the_same_weights_in_a_new_process(llama: Path, tmp_path: Path):
    short_run("sft", llama, tmp_path, "first", MIXTURE, seed=3, max_steps=3)
    subprocess.run([forked_python(), "-c", AGAIN, str(tmp_path / "first"), str(tmp_path / "again")], check=True)
    assert digest(tmp_path / "first") == digest(tmp_path / "again")
    write_mixture("sft", tmp_path, MIXTURE.replace("total: 8", "total: 6"))
    failed = subprocess.run(
        [forked_python(), "-c", AGAIN, str(tmp_path / "first"), str(tmp_path / "third")], capture_output=True, text=True
    )
    assert failed.returncode and "have changed since the plan was made" in failed.stderr


@pytest.mark.parametrize("flags", [{}, {"distill_cache": True}], ids=["online", "cached"])
@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_a_teacher_teaches_on_a_mixture(name: str, flags: dict[str, Any], llama: Path, tmp_path: Path):
    teacher = str(build_llama(tmp_path / "teacher", TEMPLATE))
    taught = {"use_distillation": True, "teacher_model": teacher, **flags}
    report = short_run(name, llama, tmp_path, mixture=MIXTURE, eval_steps=1, **taught)
    assert (
        math.isfinite(report.metrics["eval_one_loss"])
        and report.metrics["eval_one_loss"] != report.metrics["eval_two_loss"]
    )


def test_the_prompts_of_a_teacher_can_differ_in_a_mixture(llama: Path, tmp_path: Path):
    teacher = str(build_llama(tmp_path / "teacher", TEMPLATE))
    taught = {"use_distillation": True, "teacher_model": teacher, "teacher_prompt_template": "Think first. {prompt}"}
    report = short_run("sft", llama, tmp_path, mixture=MIXTURE, **taught)
    assert math.isfinite(report.metrics["loss"])


def test_trials_of_a_sweep_hold_out_rows_of_each_source(llama: Path, tmp_path: Path):
    text = MIXTURE.replace("validation: 1\n", "")
    sweep = {"use_sweep": True, "sweep_n_trials": 2, "sweep_params": {"lr": [1e-3, 1e-2]}}
    report = short_run("sft", llama, tmp_path, mixture=text, **sweep)
    assert report is not None and (tmp_path / "run" / "sweep").exists()


def test_two_processes_train_on_a_mixture_as_one(llama: Path, tmp_path: Path):
    text = MIXTURE.replace("validation: 1\n", "").replace("weight: 0.5}\ntotal", "weight: 1.5}\ntotal")
    mixture = write_mixture("sft", tmp_path, text)
    common = f"llm --trainer sft --model {llama} --data-config {mixture} --lr 0.05 --optimizer sgd --epochs 2 --mixed-precision fp32"
    for name, processes, rows in (("one", 1, 4), ("two", 2, 2)):
        words = [*common.split(), "--batch-size", str(rows), "--output-dir", str(tmp_path / name)]
        run_together(words, tmp_path, processes)
    alone, together = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=0, atol=2e-6)


def test_processes_share_the_steps_of_a_mixture():
    order = MixtureOrder((40, 10), (30, 30), 9)
    alone = [sorted(batch) for batch in BatchOrder(order, 6)]
    shared = list(zip(*(BatchOrder(order, 2, process, 3) for process in range(3)), strict=True))
    assert [sorted(np.concatenate(step).tolist()) for step in shared] == alone


def test_flags_about_one_data_set_are_refused(llama: Path, tmp_path: Path):
    usual = {"trainer": "sft", "model": str(llama), "lr": 1e-3, "max_steps": 1, "batch_size": 2}
    mixture = str(write_mixture("sft", tmp_path))
    codes = {
        finding.code
        for finding in check(**usual, data_config=mixture, data_path="x.jsonl", max_samples=3, valid_split="2")
    }
    assert {"D212", "D213"} <= codes
    assert "D215" in {finding.code for finding in check(**usual, data_config=mixture, valid_split="2")}
