"""One sweep by several processes, one of which is killed: on the journal in a folder, and on a PostgreSQL of the test's own."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support.databases import PASSWORD, PostgreSQL, Proxy, Server, postgresql_programs, running
from support.fork_server import forked_python
from support.rows import questions, write_rows
from support.studies import carry_out, open_study, results, sweep_plan

COUNTER = itertools.count()
# One process of a sweep: says when a trial has begun, and where it is told to, stays in it.
WORKER = """
import json, os, sys, time
from autotrain_llm import train
from autotrain_llm.run.sweep import claims, study
from autotrain_llm.progress import ProgressCallback
claims.HEARTBEAT, claims.GRACE, study.POLL = 1, 4, 0.2
flags = json.loads(sys.argv[1])

class Says(ProgressCallback):
    def trial(self, number, values, own):
        print("began", number, flush=True)
    def step(self, step):
        if "stay" in sys.argv:
            time.sleep(600)
    def trial_done(self, number, state, metric, best, why=""):
        print("done", number, state, flush=True)
    def note(self, text):
        print("note", text, flush=True)

report = train(Says(), **flags)
print("best", report.sweep["best"]["number"], json.dumps(report.sweep["counts"]), flush=True)
"""


@pytest.fixture
def flags(llama, tmp_path) -> dict:
    rows = write_rows(tmp_path / "rows.jsonl", questions(16))
    flags = {"trainer": "sft", "model": str(llama), "data_path": str(rows), "valid_split": "0.25", "lr": 2e-4}
    flags |= {"max_steps": 1, "batch_size": 4, "use_sweep": True, "sweep_n_trials": 4}
    return flags | {"sweep_params": {"lr": [1e-4, 1e-3, "log"]}}


def worker(flags: dict, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [forked_python(), "-c", WORKER, json.dumps(flags), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], beginning: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            return line.strip()
    raise AssertionError(process.stderr.read() if process.stderr else "")


def kill_in_a_trial(flags: dict) -> int:
    """Start a process that stays in its first trial, kill it there, and return the trial's number."""
    process = worker(flags, "stay")
    number = int(wait_for(process, "began").split()[1])
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    return number


def finished(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out.splitlines()


def trials_in(folder: Path) -> list[dict]:
    return json.loads((folder / "sweep" / "trials.json").read_text())["trials"]


def carried_on(trials: list[dict], killed: int) -> None:
    """The killed process's trial was carried out by another, under its number."""
    assert [(trial["number"], trial["state"]) for trial in trials] == [(number, "complete") for number in range(4)]
    assert [trial["number"] for trial in trials if trial["kills"]] == [killed]
    assert len({json.dumps(trial["values"]) for trial in trials}) == 4


def test_processes_share_a_folder_and_one_that_is_killed_loses_its_trial_to_another(flags, tmp_path):
    flags["output_dir"] = str(tmp_path / "swept")
    number = kill_in_a_trial(flags)
    together = [worker({**flags, "resume": True}) for _ in range(2)]
    said = [finished(process) for process in together]
    trials = trials_in(tmp_path / "swept")
    carried_on(trials, number)
    done = [line.split()[1] for lines in said for line in lines if line.startswith("done")]
    assert len(done) == len(set(done)) == 4  # each trial by one of them
    assert said[0][-1] == said[1][-1]  # both report the same best
    assert (tmp_path / "swept" / "model.safetensors").exists()
    assert not list((tmp_path / "swept" / "sweep").glob(".*")) and not (tmp_path / "swept" / ".lock").exists()


# ---- PostgreSQL


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine")
    with running(PostgreSQL(programs)) as server:
        yield server


@pytest.fixture
def database(server) -> str:
    """The address, password included, of a database of the test's own."""
    return server.url(f"studies_{next(COUNTER)}")


@pytest.fixture(scope="module")
def proxy() -> Iterator[Server]:
    pytest.importorskip("grpc")
    with running(Proxy()) as server:
        yield server


def share(flags: dict, tmp_path: Path, storage: str) -> None:
    """One machine is killed in a trial, and two others carry out the sweep."""
    flags["sweep_storage"] = storage
    number = kill_in_a_trial({**flags, "output_dir": str(tmp_path / "first")})
    time.sleep(5)  # longer than the worker's grace period
    together = [worker({**flags, "output_dir": str(tmp_path / name)}) for name in ("second", "third")]
    said = [finished(process) for process in together]
    for name in ("second", "third"):
        carried_on(trials_in(tmp_path / name), number)
    assert said[0][-1] == said[1][-1]
    done = [line.split()[1] for lines in said for line in lines if line.startswith("done")]
    assert len(done) == len(set(done)) == 4


def test_machines_share_a_storage_proxy_and_one_that_is_killed_loses_its_trial_to_another(flags, tmp_path, proxy):
    share(flags, tmp_path, proxy.url(""))
    assert f'"storage": "{proxy.url("")}"' in (tmp_path / "second" / "run.json").read_text()


def test_machines_share_a_database_and_one_that_is_killed_loses_its_trial_to_another(flags, tmp_path, database):
    share(flags, tmp_path, database)
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    spellings = (PASSWORD, quote(PASSWORD, safe=""))
    assert not any(word.encode() in text for text in texts for word in spellings)
    assert b"postgresql://me:***@127.0.0.1" in (tmp_path / "second" / "run.json").read_bytes()


def test_a_wrong_password_is_refused_without_being_shown(flags, tmp_path, database):
    from autotrain_llm import train
    from autotrain_llm.declare.finding import Refused

    flags |= {"output_dir": str(tmp_path / "none"), "sweep_storage": database.replace("wo", "secretly", 1)}
    with pytest.raises(Refused) as refused:
        train(**flags)
    (finding,) = refused.value.findings
    assert finding.code == "E409" and "password authentication failed" in finding.message
    assert "secretly" not in finding.message and not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["server", "proxy"])
def test_a_sweep_waits_for_a_database_or_a_proxy_that_is_restarted(kind, request, tmp_path):
    server = request.getfixturevalue(kind)
    database = server.url(f"studies_{next(COUNTER)}")
    sweep = sweep_plan(trials=6, sampler="tpe", pruner="median")
    undisturbed = open_study(sweep, tmp_path / "undisturbed")
    carry_out(undisturbed)
    study, evaluations = open_study(sweep, tmp_path / "restarted", database), itertools.count()
    notes: list[str] = []
    study.note, study.pause = notes.append, lambda seconds: server.start()

    def restart() -> None:
        if next(evaluations) in (5, 11):
            server.stop()

    carry_out(study, restart)
    assert results(study) == results(undisturbed)
    assert len(notes) == 2 and "can't be reached; trying again" in notes[0] and PASSWORD not in str(notes)
