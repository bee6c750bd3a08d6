"""What a person is told when something fails that no check foresaw."""

from __future__ import annotations

import errno
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.run.failures import explain
from support.resumable import write_checkpoint
from support.rows import write_rows

NEW = "--trainer sft --model scratch:1m --lr 1e-3 --epochs 1 --batch-size 2"


def failed(command: str, fault: Exception, monkeypatch, capsys) -> tuple[int, dict[str, Any]]:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("autotrain_llm.api.carry_out", fail)
    status = main(["llm", *shlex.split(command), "--format", "json"])
    return status, json.loads(capsys.readouterr().out)["findings"][-1]


@pytest.fixture
def rows(tmp_path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", [{"text": f"Row {n} tells of {n * n}."} for n in range(8)])


def test_an_unexpected_error_names_what_can_be_left_out_and_where_its_traceback_is(rows, tmp_path, monkeypatch, capsys):
    command = f"{NEW} --data-path {rows} --optimizer adafactor --packing --output-dir {tmp_path / 'run'}"
    status, finding = failed(command, RuntimeError("nobody foresaw this"), monkeypatch, capsys)
    assert (status, finding["code"], finding["message"]) == (1, "R102", "RuntimeError: nobody foresaw this")
    assert "without --packing, --optimizer" in finding["fix"] and "--verbose" not in finding["fix"]
    trace = Path(finding["fix"].rpartition(" ")[2])
    assert "nobody foresaw this" in trace.read_text() and "Traceback" in trace.read_text()
    trace.unlink()


def test_an_unexpected_error_of_a_plain_command_offers_the_other_engine_and_the_last_checkpoint(
    rows, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run" / "checkpoints" / "checkpoint-3"

    def fail(*_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text("{}")
        raise RuntimeError

    monkeypatch.setattr("autotrain_llm.api.carry_out", fail)
    assert main(["llm", *shlex.split(f"{NEW} --data-path {rows} --output-dir {tmp_path / 'run'}")]) == 1
    said = capsys.readouterr().err
    assert "fix: --resume goes on from the last complete checkpoint; --engine trl" in said
    Path(said.split("traceback in ")[1].split()[0]).unlink()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x/optimizer.pt"), "free some space"),
        (OSError(errno.EIO, "Input/output error", "/x/metrics.jsonl"), "/x/metrics.jsonl"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/model.safetensors"), "chmod"),
        (RuntimeError("basic_ios::clear: iostream error"), "df -h"),
        (RuntimeError("CUDA error: device-side assert triggered"), "CUDA_LAUNCH_BLOCKING"),
        (ModuleNotFoundError("No module named 'sentencepiece'", name="sentencepiece"), "pip install"),
        (MemoryError(), "--batch-size"),
    ],
)
@pytest.mark.parametrize("steps", [None, 0, 7])
def test_a_known_failure_says_what_to_do(fault, words, steps):
    failure = explain(fault, steps)
    assert failure is not None and words in f"{failure.message} {failure.fix}"
    assert ("checkpoint is kept" in failure.message) <= (steps is not None)


def test_a_file_that_may_not_be_read_is_named_before_training(rows, monkeypatch, capsys):
    fault = PermissionError(errno.EACCES, "Permission denied", "/models/mine/tokenizer.json")
    status, finding = failed(f"{NEW} --data-path {rows}", fault, monkeypatch, capsys)
    assert (status, finding["code"]) == (1, "R101")
    assert finding["message"] == "/models/mine/tokenizer.json: Permission denied (before training)"
    assert finding["fix"] == "give yourself the rights to it (chmod u+rwX), then the same command again"


class SafetensorError(Exception):
    """As safetensors reports a failed write: in words alone."""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "ulimit -f"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "free some space"),
        (SafetensorError("I/O error: Input/output error (os error 5)"), "this one reports errors"),
        (OSError(errno.EROFS, "Read-only file system"), "--output-dir on a disk that can be written to"),
        (RuntimeError("basic_ios::clear: iostream error"), "df -h"),
    ],
)
def test_a_failed_write_that_names_no_file_names_the_output_folder_and_what_is_true_of_it(fault, words, tmp_path):
    failure = explain(fault, 7, tmp_path)
    assert failure is not None and failure.message.startswith(f"{tmp_path}: ") and words in failure.fix
    assert "checkpoint is kept" not in failure.message and "the same command again" in failure.fix
    write_checkpoint(tmp_path, 5)
    failure = explain(fault, 7, tmp_path)
    assert failure is not None and "checkpoint is kept" in failure.message and "--resume" in failure.fix


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "gone/metrics.jsonl"),
        RuntimeError("Parent directory gone/checkpoints/checkpoint-3 does not exist."),
        SafetensorError("I/O error: No such file or directory (os error 2)"),
    ],
)
def test_an_output_folder_that_is_gone_is_said_and_nothing_in_it_is_promised(fault, tmp_path):
    failure = explain(fault, 7, tmp_path / "gone")
    assert failure is not None and failure.message.endswith(
        "gone: the output folder was removed or moved after 7 steps"
    )
    assert "kept" not in failure.message and "--output-dir" in failure.fix
