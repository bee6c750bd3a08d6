"""The output folder: an earlier run is kept whatever fails, and what is not the run's is never written to."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.context.output_dir import LOCK_FILE, status_of
from autotrain_llm.declare.finding import Refused
from autotrain_llm.run.artifacts.output_lock import OutputFolder
from autotrain_llm.run.artifacts.records import MetricsFile


@pytest.fixture
def earlier(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    for name in ("run.json", "config.json", "model.safetensors", "mine.txt"):
        (folder / name).write_text("{}")
    return folder


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_fails_while_an_earlier_run_is_moved_aside_leaves_it_as_it_was(earlier, monkeypatch):
    before, rename = contents(earlier), Path.rename

    def fails_for_checkpoints(self, target):
        if self.name == "checkpoints":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_checkpoints)
    with pytest.raises(Refused) as refused, OutputFolder(earlier, overwrite=True):
        raise AssertionError("the folder was not entered")
    (finding,) = refused.value.findings
    assert finding.code == "E403" and "checkpoints: Permission denied" in finding.message
    assert contents(earlier) == before


def test_metrics_are_not_written_through_a_link(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("not of this run")
    (tmp_path / "metrics.jsonl").symlink_to(other)
    MetricsFile(tmp_path, None).add(1, {"loss": 1.0})
    assert other.read_text() == "not of this run"
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 1.0


def test_a_run_that_was_killed_is_told_from_one_that_runs(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "running"}')
    (tmp_path / LOCK_FILE).write_text("1")
    assert status_of(tmp_path) == "killed"
    with OutputFolder(tmp_path, overwrite=False):
        assert status_of(tmp_path) == "running"
    (tmp_path / "run.json").write_text('{"status": "ok"}')
    assert status_of(tmp_path) == "ok"
    assert status_of(tmp_path / "none") is None


@pytest.mark.parametrize("name", ["x" * 5000, "none", "a\nb"])
def test_a_report_of_what_is_no_run_is_refused(name, capsys):
    assert main(["report", name]) == 2
    assert "P125" in capsys.readouterr().err


@pytest.mark.parametrize(
    "evaluation", ["[]", '{"during": 5}', '{"during": [1, {}]}', '{"before": [], "after": "x"}', "nan", ""]
)
def test_a_report_is_written_whatever_the_evaluation_holds(evaluation, tmp_path, capsys):
    (tmp_path / "eval").mkdir()
    (tmp_path / "run.json").write_text('{"status": "running"}')
    (tmp_path / "eval" / "metrics.json").write_text(evaluation)
    assert main(["report", str(tmp_path)]) == 0
    assert "Killed" in (tmp_path / "report.html").read_text()


def test_leftovers_of_a_killed_process_and_links_in_place_of_a_runs_files_are_removed(earlier, tmp_path):
    (tmp_path / "other.jsonl").write_text("not this run's\n")
    (earlier / "samples.jsonl").symlink_to(tmp_path / "other.jsonl")
    (earlier / "command.sh").symlink_to(tmp_path / "nowhere")
    (earlier / "mine.link").symlink_to(tmp_path / "other.jsonl")
    for name in (".run.json.4711", ".report.html.12", ".mine.3"):
        (earlier / name).write_text("{")
    with OutputFolder(earlier, overwrite=False):
        assert {".mine.3", "mine.link", "run.json"} <= set(contents(earlier))
        left = {".run.json.4711", ".report.html.12", "samples.jsonl", "command.sh"} & set(contents(earlier))
    assert left == set() and (tmp_path / "other.jsonl").read_text() == "not this run's\n"


def test_a_run_that_failed_in_its_first_checkpoint_leaves_nothing_in_the_way_of_the_same_command(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(OSError), OutputFolder(folder, overwrite=False):
        (folder / "run.json").write_text("{}")
        (folder / "checkpoints" / "checkpoint-3").mkdir(parents=True)
        (folder / "checkpoints" / "checkpoint-3" / "model.safetensors").write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not folder.exists()
