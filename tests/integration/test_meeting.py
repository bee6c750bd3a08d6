"""A process that is told that it is one of several, alone: it waits for the others with a word, can be stopped meanwhile, and does not wait for ever."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotrain_llm.run.engine import group
from autotrain_llm.run.failures import RunFailed
from support.processes import forked_python
from support.rows import write_rows
from support.short_runs import ROWS


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def left_behind() -> Iterator[dict[str, str]]:
    """The variables of a launcher that is gone."""
    yield {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }


def test_a_process_that_waits_for_others_can_be_stopped(
    llama: Path, tmp_path: Path, left_behind: dict[str, str]
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", ROWS["conversations"])
    words = ["llm", "--trainer", "sft", "--model", str(llama), "--data-path", str(rows), "--lr", "1e-3", "--max-steps", "1", "--batch-size", "2", "--output-dir", str(tmp_path / "run")]  # fmt: skip
    program = "import autotrain_llm.run.engine.group as group, sys; group.PATIENCE = 0.5; from autotrain_llm.cli.main import main; sys.exit(main(sys.argv[1:]))"
    variables = os.environ | left_behind | {"CUDA_VISIBLE_DEVICES": ""}
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [forked_python(), "-c", program, *words], env=variables, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + 60
        while "Waiting for 1 other process" not in output.read_text():
            assert process.poll() is None and time.monotonic() < until, output.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143, output.read_text()
    finally:
        process.kill()
    assert "Stopped at once" in output.read_text() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_others_that_do_not_come_are_given_up(
    rank: str, left_behind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "LONGEST_MEETING", 1)
    with pytest.raises(RunFailed, match="1 other process at"):
        group.await_others(lambda text: None, left_behind | {"RANK": rank})
