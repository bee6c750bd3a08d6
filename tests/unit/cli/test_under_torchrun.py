"""What a command leaves for torchrun's agent, which prints it at the end of its own message."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotrain_llm.cli.main import main


@pytest.mark.slow
def test_a_refused_process_tells_torchruns_agent_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    for name, value in {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(name, value)
    error_file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(error_file))
    assert main(["llm", "--trainer", "sft", "--lr", "-1"]) == 2
    failure = ProcessFailure(local_rank=1, pid=1, exitcode=2, error_file=str(error_file))
    shown = str(ChildFailedError("autotrain_llm", {1: failure}))
    assert "Error: --lr must be above 0, got -1" in shown and "To enable traceback" not in shown
