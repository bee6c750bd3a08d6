"""A checkpoint says itself how many processes wrote it."""

from __future__ import annotations

import json
from pathlib import Path

from autotrain_llm.context.output_dir import PROCESSES, missing_from


def test_a_run_that_goes_on_with_more_processes_leaves_its_checkpoint_complete(tmp_path: Path) -> None:
    """The first process writes the plan of three into run.json while the others still look for the checkpoint of two."""
    checkpoint = tmp_path / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"schedule": {"processes": 3}}}))
    names = ("model", "optimizer", "scheduler", "rng_state_0", "rng_state_1")
    for name in names:
        (checkpoint / f"{name}.safetensors").write_bytes(b"")
    (checkpoint / "trainer_state.json").write_text("{}")
    assert missing_from(checkpoint) == ("rng_state_2.safetensors",)
    (checkpoint / "checkpoint.json").write_text(json.dumps({PROCESSES: 2}))
    assert missing_from(checkpoint) == ()
