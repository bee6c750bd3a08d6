"""One command starts the processes that train together, on CPUs with gloo: it is for the user what one process is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.fork_server import forked_python
from support.rows import questions, write_rows

STEPS = 8


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A run of a few steps, each of 8 rows, on a new model."""
    rows = write_rows(tmp_path / "rows.jsonl", questions(40))
    words = f"llm --trainer sft --model scratch:100k --data-path {rows} --lr 1e-3 --max-steps {STEPS} --global-batch 8"
    return (
        f"{words} --mixed-precision fp32 --save-steps 1 --save-total-limit 3 --logging-steps 1 --block-size 64".split()
    )


def start(words: list[str], output: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """The command as a shell starts it, with its two streams in files."""
    output.parent.mkdir(parents=True, exist_ok=True)
    variables = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "XDG_CACHE_HOME": str(output.parent / "cache")}
    with Path(f"{output}.out").open("w") as out, Path(f"{output}.err").open("w") as err:
        return subprocess.Popen(
            [forked_python(), "-m", "autotrain_llm", *words, "--output-dir", str(output), *more],
            env=os.environ | variables | environment,
            stdout=out,
            stderr=err,
            text=True,
        )


def ended(process: subprocess.Popen[str], timeout: float = 240) -> int:
    try:
        return process.wait(timeout)
    finally:
        process.kill()


def messages(output: Path) -> str:
    return Path(f"{output}.err").read_text()


def wait_for(there: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """What there is, as soon as there is something."""
    until = time.monotonic() + 120
    while not (found := there()):
        assert process.poll() is None and time.monotonic() < until, "it has ended before"
        time.sleep(0.02)
    return found


def worker(output: Path, rank: int) -> int:
    """The process of a rank of the run in this folder."""
    for order in Path(tempfile.gettempdir()).glob("autotrain-launch-*/files/order.json"):
        if json.loads(order.read_text())["plan"]["output"]["dir"] == str(output):
            return int((order.parent / f"process-{rank}").read_text())
    raise AssertionError("it has no processes")


def difference(one: Path, other: Path) -> float:
    """The largest difference of a weight."""
    left, right = (load_file(run / "model.safetensors") for run in (one, other))
    assert left.keys() == right.keys()
    return max(float(torch.max(torch.abs(left[name] - right[name]))) for name in left)


def logged(output: Path, name: str) -> dict[int, float]:
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[name] for line in lines if name in line}


@pytest.fixture
def alone(command: list[str], tmp_path: Path) -> Path:
    """The same run in one process."""
    output = tmp_path / "alone"
    assert ended(start(command, output, "--batch-size", "8", "--quiet")) == 0, messages(output)
    return output


def test_two_processes_are_one_command_and_end_with_the_weights_of_one(command, alone, tmp_path):
    output = tmp_path / "two"
    process = start(command, output, "--batch-size", "2", "--num-processes", "2", "--format", "json")
    assert ended(process) == 0, messages(output)
    assert difference(alone, output) < 1e-6
    document = json.loads(Path(f"{output}.out").read_text())
    assert document["status"] == "ok" and document["plan"]["schedule"]["accumulated"] == 2
    assert document["report"]["metrics"]["loss"] == pytest.approx(logged(output, "loss")[STEPS])
    shown = messages(output)
    assert f"step {STEPS}/{STEPS}" in shown and shown.count("Training, ") == 1 and "Traceback" not in shown
    assert json.loads((output / "run.json").read_text())["status"] == "ok"


def test_a_process_that_is_killed_is_started_again_and_the_run_ends_with_the_same_weights(command, alone, tmp_path):
    output = tmp_path / "killed"
    process = start(command, output, "--batch-size", "4", "--num-processes", "2", "--max-restarts", "2")
    checkpoints = output / "checkpoints"
    wait_for(lambda: list(checkpoints.glob("checkpoint-*/checkpoint.json")), process)
    os.kill(worker(output, 1), signal.SIGKILL)
    assert ended(process) == 0, messages(output)
    assert "Restart 1 of 2: goes on after step" in messages(output)
    assert difference(alone, output) < 1e-6
    assert sorted(logged(output, "loss")) == list(range(1, STEPS + 1))


def test_a_process_that_is_killed_for_good_is_named_in_one_finding(command, tmp_path):
    output = tmp_path / "killed"
    process = start(command, output, "--batch-size", "4", "--num-processes", "2")
    wait_for(lambda: list((output / "checkpoints").glob("checkpoint-*/checkpoint.json")), process)
    os.kill(worker(output, 1), signal.SIGKILL)
    assert ended(process) == 1
    shown = messages(output)
    assert "process 1 of 2 was killed by SIGKILL" in shown and "--resume goes on" in shown
    assert "Traceback" not in shown and "ChildFailedError" not in shown


def test_a_signal_stops_all_processes_after_one_step_and_the_run_goes_on_in_one(command, alone, tmp_path):
    output = tmp_path / "stopped"
    process = start(command, output, "--batch-size", "4", "--num-processes", "2")
    wait_for(lambda: list((output / "checkpoints").glob("checkpoint-*/checkpoint.json")), process)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 143, messages(output)
    assert "a checkpoint was saved. To go on: " in messages(output)
    again = start(command, output, "--batch-size", "4", "--num-processes", "1", "--resume", "auto")
    assert ended(again) == 0, messages(output)
    assert difference(alone, output) < 1e-6


def test_a_refused_command_starts_no_process_and_has_the_status_of_one(command, tmp_path):
    output = tmp_path / "refused"
    assert ended(start(command, output, "--batch-size", "3", "--num-processes", "2")) == 2
    shown = messages(output)
    assert "P357" in shown and "1 error. Nothing was started." in shown and not output.exists()
    assert "loading" not in shown.lower()
