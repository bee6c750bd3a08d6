"""What the processes of a run divide, as it is planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import check, plan
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.planning import memory_model as estimate
from autotrain_llm.planning.plan import Plan
from support.rows import write_rows

LARGE = {"model": "scratch:300m", "mixed_precision": "bf16"}


@pytest.fixture
def command(tmp_path: Path, light_llama: Path) -> dict[str, Any]:
    rows = [{"prompt": f"what is {number}?", "completion": f"it is {number}"} for number in range(24)]
    named = {"model": str(light_llama), "data_path": str(write_rows(tmp_path / "rows.jsonl", rows))}
    return {**named, "trainer": "sft", "lr": 1e-5, "epochs": 1, "batch_size": 2, "output_dir": str(tmp_path / "run")}


def codes(command: dict[str, Any], **flags: Any) -> list[str]:
    return [finding.code for finding in check(**command, **flags) if finding.severity == "error"]


def plan_of(command: dict[str, Any], **flags: Any) -> Plan:
    return plan(**{**command, **flags})


def test_one_process_has_the_whole_model(command: dict[str, Any]) -> None:
    assert plan_of(command).sharding is None


@pytest.mark.parametrize("flags", [{}, {"shard": "none"}, {"distributed_backend": "ddp"}])
def test_several_processes_have_a_copy_each(command: dict[str, Any], flags: dict[str, str]) -> None:
    made = plan_of(command, **flags, num_processes=2)
    assert made.sharding is not None and not made.is_sharded and made.arguments.fsdp is None
    assert ("each process has", "a copy of the model") in [row[:2] for _, rows in made.summary() for row in rows]
    assert Plan.from_json(made.as_json()) == made


@pytest.mark.parametrize("flags", [{"shard": "full"}, {"distributed_backend": "fsdp"}])
def test_a_model_is_divided_among_gpus_only(command: dict[str, Any], flags: dict[str, str]) -> None:
    assert codes(command, **flags, num_processes=4) == ["E508"]
    made = plan_of(command, **flags, num_processes=4, target_memory="24GiB")
    assert made.is_sharded and made.arguments.fsdp and made.sharding is not None and made.sharding.shards == 4
    assert Plan.from_json(made.as_json()) == made


def test_machines_have_copies_that_their_processes_divide(command: dict[str, Any]) -> None:
    flags = {"num_processes": 4, "num_nodes": 2, "head_address": "node0", "target_memory": "24GiB"}
    made = plan_of(command, **flags, shard="hybrid")
    assert made.is_sharded and made.sharding is not None
    assert (made.sharding.kind, made.sharding.shards, made.schedule.processes) == ("hybrid", 4, 8)
    row = next(row for _, rows in made.summary() for row in rows if row[0] == "each process has")
    assert row[1].startswith("1 of 4 parts") and row[1].endswith(", 2 copies")
    assert "2 copies" not in str(plan_of(command, **flags, shard="full").summary())


@pytest.mark.parametrize(("memory", "kind"), [("4GiB", "full"), ("24GiB", "none"), ("cpu:4GiB", "none")])
def test_a_model_is_divided_where_a_copy_would_not_fit(memory: str, kind: str, command: dict[str, Any]) -> None:
    found = preflight(
        resolve(parse_kwargs({**command, **LARGE, "target_memory": memory, "num_processes": 4, "dry_run": True}).values)
    )
    assert found.plan is not None and found.plan.sharding is not None
    assert found.plan.sharding.kind == kind


def test_parts_take_less_memory_the_more_there_are(command: dict[str, Any]) -> None:
    peaks = []
    for processes in (2, 4, 8):
        memory = plan_of(
            command, **{**LARGE, "shard": "full", "num_processes": processes, "target_memory": "24GiB"}
        ).memory
        assert memory.memory["weights"] == pytest.approx(4 * 300e6 / processes, rel=0.1)
        assert "rounded weights" not in memory.memory and memory.memory["gathered weights"] > 0
        peaks.append(memory.peak_memory_bytes)
    assert peaks == sorted(peaks, reverse=True)


def test_parts_move_out_of_the_gpus(command: dict[str, Any]) -> None:
    flags = {**LARGE, "shard": "full", "num_processes": 2, "target_memory": "24GiB"}
    on_gpu, made = plan_of(command, **flags), plan_of(command, **flags, offload="parameters")
    assert made.arguments.fsdp_config is not None and made.arguments.fsdp_config["cpu_offload"] is True
    assert {"weights", "optimizer"} <= on_gpu.memory.memory.keys() - made.memory.memory.keys()
    assert made.memory.peak_memory_bytes < on_gpu.memory.peak_memory_bytes
    assert made.memory.offloaded_bytes == pytest.approx(16 * 300e6, rel=0.1) and on_gpu.memory.offloaded_bytes is None
    rows = {row[0]: row[1] for _, rows in made.summary() for row in rows}
    assert "in main memory" in rows["each process has"] and "4." in rows["main memory"]
    assert Plan.from_json(made.as_json()) == made


def test_parts_of_a_model_that_is_not_divided_do_not_move(command: dict[str, Any]) -> None:
    flags = {"offload": "parameters", "num_processes": 2}
    assert codes(command, **flags) == ["E523"]
    assert codes(command, **flags, target_memory="24GiB") == ["E524"]
    assert codes(command, **flags, target_memory="24GiB", shard="hybrid") == []


def test_a_base_in_4_bits_is_divided_but_for_its_scales() -> None:
    shape = estimate.Shape(parameters=70_000_000_000, hidden=8192, intermediate=28672, layers=80, vocabulary=32_000)
    adapter = estimate.Adapter(100_000_000, width=100_000, matrices=7, rank=16, dropout=False)
    run = estimate.Run(tokens=64, targets=64, device="cuda", half=True, shards=8, adapter=adapter, weight=2)
    packed = replace(run, quantised="int4")
    whole, parts = (estimate.peak(shape, one).parts for one in (replace(packed, shards=1), packed))
    scales = estimate.scale_bytes(shape, packed)
    assert parts["weights"] == pytest.approx((whole["weights"] - scales) / 8 + scales)
    assert parts["gathered weights"] < estimate.peak(shape, run).parts["gathered weights"]


@pytest.mark.parametrize(
    "flags",
    [
        {"optimizer": "adafactor"},
        {"quantization": "int8", "peft": True},
        {"mixed_precision": "fp16"},
        {"engine": "trl"},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_what_a_divided_model_is_not_trained_with_is_named_before_loading(
    flags: dict[str, Any], command: dict[str, Any]
) -> None:
    assert codes(command, **flags, shard="full", num_processes=2, target_memory="24GiB") == ["E517"]


def test_answers_are_sampled_with_all_weights_in_each_process() -> None:
    shape = estimate.Shape(parameters=300_000_000, hidden=1024, intermediate=4096, layers=12, vocabulary=32_000)
    run = estimate.Run(tokens=64, targets=64, device="cuda", half=True, shards=4, answers_at_once=8, kv_cache_bytes=1)
    (sampling,) = (one for one in estimate.moments(shape, run) if one.moment == "when answers are generated")
    assert sampling.parts["gathered weights"] == 2 * shape.parameters
    assert sampling.parts["weights"] == 4 * shape.parameters // 4
