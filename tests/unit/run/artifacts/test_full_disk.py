"""A run that dies of a full disk does not stay `running`, and a failed write says of which file it was."""

from __future__ import annotations

import errno
import json
import resource

import pytest

from autotrain_llm.run.artifacts import records
from autotrain_llm.run.artifacts.records import ENDED_EARLY, MetricsFile, RunFile


@pytest.fixture
def run_file(tmp_path):
    file = RunFile.__new__(RunFile)
    file.earlier_seconds = file.began = 0.0
    file.path, file.document = tmp_path / "run.json", {"status": "running", "plan": {"a": "é" * 50}, "outcome": {}}
    file.write()
    return file


@pytest.mark.parametrize("status", ENDED_EARLY)
def test_the_status_of_a_run_that_ended_early_is_written_where_nothing_else_can_be(status, run_file, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    before, size = json.loads(run_file.path.read_text()), run_file.path.stat().st_size
    monkeypatch.setattr(records, "write_json", full)
    run_file.write(status=status, outcome={"failure": "the disk is full"})
    assert json.loads(run_file.path.read_text()) == before | {"status": status}
    assert run_file.path.stat().st_size == size
    with pytest.raises(OSError, match="No space left"):
        run_file.write(status="ok")


def test_a_line_of_metrics_that_can_not_be_written_names_its_file(tmp_path):
    metrics = MetricsFile(tmp_path, None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as failure:
            metrics.add(1, {"loss": 1.0, "more": "x" * 99})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failure.value.filename == str(tmp_path / "metrics.jsonl")
