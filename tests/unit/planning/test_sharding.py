"""What the processes of a run divide, as it is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import check, plan
from autotrain_llm.planning.plan import Plan
from support.rows import write_rows


@pytest.fixture
def command(tmp_path: Path, light_llama: Path) -> dict[str, Any]:
    rows = [{"prompt": f"what is {number}?", "completion": f"it is {number}"} for number in range(24)]
    named = {"model": str(light_llama), "data_path": str(write_rows(tmp_path / "rows.jsonl", rows))}
    return {**named, "trainer": "sft", "lr": 1e-5, "epochs": 1, "batch_size": 2, "output_dir": str(tmp_path / "run")}


def codes(command: dict[str, Any], **flags: Any) -> list[str]:
    return [finding.code for finding in check(**command, **flags) if finding.severity == "error"]


def plan_of(command: dict[str, Any], **flags: Any) -> Plan:
    return plan(**command, **flags)


def test_one_process_has_the_whole_model(command: dict[str, Any]) -> None:
    assert plan_of(command).sharding is None


@pytest.mark.parametrize("flags", [{}, {"shard": "none"}, {"distributed_backend": "ddp"}])
def test_several_processes_have_a_copy_each(
    command: dict[str, Any], flags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    made = plan_of(command, **flags)
    assert made.sharding is not None and not made.is_sharded and made.arguments.fsdp is None
    assert ("each process has", "a copy of the model") in [row[:2] for _, rows in made.summary() for row in rows]
    assert Plan.from_json(made.as_json()) == made


@pytest.mark.parametrize("flags", [{"shard": "full"}, {"distributed_backend": "fsdp"}])
def test_weights_are_not_divided_yet(command: dict[str, Any], flags: dict[str, str]) -> None:
    assert codes(command, **flags) == ["E508"]
