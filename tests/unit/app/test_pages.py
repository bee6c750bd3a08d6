"""The pages of the app through their routes, without a browser."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [app] is not installed")
from starlette.testclient import TestClient

from autotrain_llm.api import plan
from autotrain_llm.app.checking import FileCheck, check_staged
from autotrain_llm.app.folders import Folders
from autotrain_llm.app.launching import MOST_OUTPUT, Launcher
from autotrain_llm.app.runs import view_of
from autotrain_llm.app.server import AppServer, guarded
from autotrain_llm.app.staged import forms_of, read_staged
from autotrain_llm.app.values import read_form
from autotrain_llm.config.stages import read_pipeline
from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.pipeline_record import Inputs, PipelineRecord, StageRecord
from autotrain_llm.declare.text import duration
from support.resumable import write_checkpoint
from support.rows import questions, write_rows

TOKEN, PORT = "right-token", 8420
HERE = f"http://127.0.0.1:{PORT}"
EVIL = "<script>alert(1)</script>"
# A stand-in for a run: it says what it was given, writes run.json as a run does, and waits to be stopped.
STAND_IN = """
import fcntl, json, os, pathlib, signal, sys, time
words = sys.argv[1:]
folder = pathlib.Path(next(word for word in words if word.startswith("--output-dir=")).partition("=")[2])
if "--max-steps=1" in words:
    print("Error: refused"); sys.exit(2)
folder.mkdir(parents=True)
lock = (folder / ".lock").open("w"); fcntl.flock(lock, fcntl.LOCK_EX); lock.write(str(os.getpid())); lock.flush()
run = {"status": "running", "started": "2026-01-01T00:00:00+0000", "words": words, "token": os.environ.get("HF_TOKEN")}
(folder / "run.json").write_text(json.dumps(run))
def stop(*_):
    (folder / "run.json").write_text(json.dumps(run | {"status": "interrupted"})); sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("training", flush=True)
time.sleep(60)
"""


class Pages:
    """A client of the app in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folders = Folders((folder.resolve(),))
        self.server = AppServer(folders, Launcher(folders, (sys.executable, "-c", STAND_IN)))
        cookies = {f"autotrain-{PORT}": TOKEN}
        self.client = TestClient(
            guarded(self.server, TOKEN, PORT), base_url=HERE, headers={"origin": HERE}, cookies=cookies
        )

    def get(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def get_json(self, path: str) -> dict[str, Any]:
        return json.loads(self.get(path))

    def post(self, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(path, json={} if body is None else body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pages:
    monkeypatch.chdir(tmp_path)
    return Pages(tmp_path)


@pytest.fixture
def planned(tmp_path_factory, light_llama) -> dict[str, Any]:
    """The plan of a run, as its record has it."""
    rows = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", questions(12))
    return plan(
        model=str(light_llama), data_path=str(rows), lr=1e-4, epochs=1, batch_size=4, output_dir="runs/a"
    ).as_json()


def write_run(
    folder: Path, plan: dict[str, Any], status: str = "ok", losses: tuple[float, ...] = (3.0, 2.0), **more: Any
) -> Path:
    folder.mkdir(parents=True)
    metrics = {"loss": losses[-1], "token_accuracy": 0.5}
    run = {
        "status": status,
        "started": "2026-01-02T03:04:05+0000",
        "plan": plan,
        "findings": [],
        "metrics": metrics,
        "seconds": 4.0,
        **more,
    }
    (folder / "run.json").write_text(json.dumps(run))
    lines = [{"step": step, "time": 100.0 + step, "loss": loss} for step, loss in enumerate(losses, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


# ---- compose


def test_an_empty_folder_begins_with_the_form(pages):
    text = pages.get("/")
    assert 'id="f-model"' in text and "All other settings" in text
    assert "No runs yet" in pages.get("/runs")


def test_flags_are_checked_at_once_beside_their_fields_with_a_button_for_a_certain_fix(pages):
    found = pages.post("/compose/flags", {"values": {"trainer": "sft", "dpo_beta": "0.2", "lr": "1e-4,"}})
    assert found["fields"]["lr"]["error"] and not found["fields"]["dpo_beta"]["error"]
    assert "Apply" in found["fields"]["lr"]["html"] and "--lr 1e-4" in found["fields"]["lr"]["html"]
    assert found["command"] == "autotrain llm \\\n  --trainer sft \\\n  --dpo-beta 0.2 \\\n  --lr 1e-4,"
    assert found["config"] == "trainer: sft\ndpo_beta: 0.2\nlr: 1e-4,\n"


def test_the_fix_of_a_finding_is_in_the_fields_that_are_made_again(pages):
    answer = pages.post(
        "/compose/fields",
        {"values": {"trainer": "sft", "lr": "1e-4,", "dpo_beta": "1"}, "changes": {"lr": 1e-4, "dpo_beta": None}},
    )
    assert 'name="lr" value="1e-4"' in answer["html"] and "dpo_beta" not in answer["html"]
    assert (
        "rejected_text_column" in pages.post("/compose/fields", {"values": {}, "changes": {"trainer": "dpo"}})["html"]
    )


@pytest.mark.parametrize("values", [{"config": "x.yaml"}, {"<b>": "1"}])
def test_a_form_with_other_names_is_refused(pages, values):
    assert "no field" in pages.post("/compose/flags", {"values": values}, status=400)["problem"]


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_refused(pages, body):
    assert pages.client.post("/compose/flags", content=body).status_code == 400


def test_a_whole_check_gives_the_plan_and_the_rows_with_trained_parts(tmp_path, light_llama, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", questions(12))
    folders = Folders((tmp_path.resolve(), light_llama.resolve()))
    form = {"model": str(light_llama), "data_path": "rows.jsonl", "lr": "1e-4", "epochs": "1", "batch_size": "4"}
    check = FileCheck()
    document = check.check(read_form(form, folders))
    assert not document["refused"], document["findings"]
    assert next(title for title, _ in document["plan"]) == "What" and document["data"]["format"] == "messages"
    assert document["data"]["as_tokens"]
    trained = "".join(text for row in document["data"]["shown"] for text, is_trained in row if is_trained)
    assert "comes first." in trained and "Number" not in trained
    again = check.check(read_form({**form, "lr": "2e-4"}, folders))
    assert again["data"] == document["data"] and not again["refused"]
    write_rows(tmp_path / "rows.jsonl", questions(10))
    assert check.check(read_form(form, folders))["data"]["rows"] == 10  # another file under the same name


def test_rows_are_shown_before_there_is_a_model_and_other_trainers_are_offered_where_they_do_not_suit(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", [{"prompt": "red?", "completion": "blue", "note": "x"}] * 3)
    check, folders = FileCheck(), Folders((tmp_path.resolve(),))
    document = check.check(read_form({"data_path": "rows.jsonl"}, folders))
    assert document["refused"] and not document["data"]["as_tokens"] and "red?" in document["data"]["shown"][0][0][0]
    document = check.check(read_form({"trainer": "reward", "data_path": "rows.jsonl"}, folders))
    assert document["data"] is None and "sft" in document["suited"]["trainers"]


def test_the_check_runs_in_a_process_of_its_own(pages, light_llama):
    write_rows(pages.folder / "rows.jsonl", questions(12))
    values = {"data_path": "rows.jsonl", "model": "scratch:100k", "lr": "1e-3", "epochs": "1", "batch_size": "4"}
    with pages.client:
        found = pages.post("/compose/files", {"values": values, "form": "1"})
    assert found["ready"], found
    assert "<mark>" in found["data"] and "<dt>steps</dt>" in found["plan"]


# ---- starting and stopping


def start(pages: Pages, **values: str) -> Path:
    location = pages.post(
        "/compose/start", {"values": {"trainer": "sft", "model": "scratch:1m", "lr": "1e-3", **values}}
    )["location"]
    return pages.folder / location.partition("=")[2]


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_run_is_a_process_of_its_own_that_is_stopped_by_a_signal(pages):
    folder = start(pages, token="hf_abcdefghijklmnop", lora_r="8")
    assert folder == pages.folder / "runs" / "sft-scratch-1m-1"
    assert "Starting" in pages.get("/runs") or "Running" in pages.get("/runs")
    wait_for((folder / "run.json").exists)
    run = json.loads((folder / "run.json").read_text())
    assert run["words"][0] == "llm" and "--lora-r=8" in run["words"] and run["token"] == "hf_abcdefghijklmnop"
    kept = "".join(path.read_text() for path in (pages.folder / "runs" / ".app").iterdir())
    assert "hf_abc" not in kept and "hf_abc" not in " ".join(run["words"])
    pid = pages.server.launcher.process_of(folder)
    assert os.getsid(pid) == pid != os.getsid(0)  # the end of this process, or its terminal, is not its end
    assert "Running" in pages.get("/run?folder=runs/sft-scratch-1m-1")
    assert start(pages).name == "sft-scratch-1m-2"
    for name in ("sft-scratch-1m-1", "sft-scratch-1m-2"):
        wait_for((pages.folder / "runs" / name / ".lock").exists)
        pages.post(f"/run/stop?folder=runs/{name}")
    wait_for(lambda: json.loads((folder / "run.json").read_text())["status"] == "interrupted")
    wait_for(lambda: pages.server.launcher.process_of(folder) is None)
    assert "Stopped" in pages.get("/run?folder=runs/sft-scratch-1m-1")
    assert "No process" in pages.post("/run/stop?folder=runs/sft-scratch-1m-1", status=409)["problem"]


def test_a_run_that_was_told_to_stop_is_shown_as_stopping_and_is_told_again_only_on_purpose(pages, planned):
    folder = start(pages)
    wait_for((folder / ".lock").exists)
    pid = pages.server.launcher.process_of(folder)
    os.kill(pid, signal.SIGSTOP)  # it is at a step that takes long
    address = "folder=runs/sft-scratch-1m-1"
    pages.post(f"/run/stop?{address}")
    for page in ("/runs", f"/run?{address}"):
        assert "Stopping" in pages.get(page)
    sent = []
    pages.server.launcher._signal = lambda pid: sent.append(pid)
    pages.post(
        f"/run/stop?{address}"
    )  # of a page that does not know it yet: a second signal would end it without a checkpoint
    assert sent == []
    pages.post(f"/run/stop-at-once?{address}")
    assert sent == [pid]
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: pages.server.launcher.process_of(folder) is None)
    assert "Stopped" in pages.get("/runs")


@pytest.mark.parametrize(
    ("status", "badge"),
    [("ok", "Finishing"), ("interrupted", "Stopping"), ("failed", "Failing"), ("running", "Running")],
)
def test_a_process_that_has_yet_to_write_its_report_is_shown_with_how_its_run_ended(pages, planned, status, badge):
    folder = write_run(pages.folder / "runs" / "a", planned, status)
    (folder / "report.html").write_text("the report of before")
    with FileLock(folder / ".lock") as lock:
        lock.write_owner()
        text = pages.get("/run?folder=runs/a")
        assert badge in text and badge in pages.get("/runs") and "iframe" not in text
    assert "iframe" in pages.get("/run?folder=runs/a")


def test_a_process_that_ends_by_a_signal_before_it_had_handlers_was_stopped(pages):
    folder = start(pages)
    os.kill(pages.server.launcher.process_of(folder), signal.SIGKILL)
    wait_for(lambda: pages.server.launcher.process_of(folder) is None)
    for code, state in ((-signal.SIGTERM, "interrupted"), (143, "interrupted"), (2, "refused"), (1, "failed")):
        pages.server.launcher._own[folder].returncode = code
        if not (folder / "run.json").exists():
            assert pages.server.launcher.state_of(folder) == state


def test_a_run_that_is_refused_says_why_and_can_be_taken_from_the_list(pages):
    folder = start(pages, max_steps="1")
    wait_for(lambda: pages.server.launcher.process_of(folder) is None)
    text = pages.get("/run?folder=runs/sft-scratch-1m-1")
    assert "Refused" in text and "Error: refused" in text and "Refused" in pages.get("/runs")
    pages.post("/run/forget?folder=runs/sft-scratch-1m-1")
    assert "Refused" not in pages.get("/runs") and pages.get("/run?folder=runs/sft-scratch-1m-1", status=404)


def test_a_form_with_a_bad_value_starts_nothing(pages):
    pages.post("/compose/start", {"values": {"lr": "fast"}}, status=422)
    pages.post("/compose/start", {"values": {"data_path": "/etc/passwd"}}, status=422)
    assert not (pages.folder / "runs").exists()


STAGES = [
    {"name": "sft", "values": {"trainer": "sft", "model": "scratch:100k", "data_path": "rows.jsonl", "lr": "1e-3"}},
    {"name": "again", "values": {"trainer": "sft", "model": "sft", "data_path": "rows.jsonl", "lr": "fast"}},
]


def test_the_flags_of_all_stages_are_checked_and_those_of_the_shown_one_stand_at_its_fields(pages):
    found = pages.post("/compose/flags", {"stages": STAGES, "shown": 1})
    assert found["fields"]["lr"]["error"] and "stage again" not in found["fields"]["lr"]["html"]
    assert [stage["errors"] > 0 for stage in found["stages"]] == [False, True] or found["stages"][1]["errors"]
    found = pages.post("/compose/flags", {"stages": STAGES, "shown": 0})
    assert "lr" not in found["fields"] and "stage again: --lr" in found["general"]
    assert "output_dir: runs/pipeline-1" in found["config"] and "model: sft" in found["config"]
    assert found["command"] == "autotrain llm --config pipelines/pipeline-1.yaml"


@pytest.mark.parametrize(
    "wrong", [{"stages": []}, {"stages": STAGES, "shown": 2}, {"stages": STAGES, "name": "../x"}, {"stages": "sft"}]
)
def test_stages_that_are_none_are_refused(pages, wrong):
    assert "can't be read" in pages.post("/compose/flags", {"shown": 0, **wrong}, status=400)["problem"]


def test_a_whole_check_of_stages_has_what_is_done_with_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", questions(12))
    more = {"lr": "1e-3", "epochs": "1", "batch_size": "4"}
    stages = [{**stage, "values": {**stage["values"], **more}} for stage in STAGES]
    form = read_staged({"stages": stages, "shown": 1, "name": "two"}, Folders((tmp_path.resolve(),)))
    document = check_staged(form)
    assert not document["refused"], document["findings"]
    assert [(stage["action"], stage["steps"]) for stage in document["stages"]] == [("train", 3), ("train", 3)]
    assert document["plan"] and document["data"]["as_tokens"]


def test_a_pipeline_is_started_with_a_config_that_replaces_no_other(pages):
    stages = [
        {**stage, "values": {**stage["values"], "lr": "1e-3", "token": "hf_abcdefghijklmnop"}} for stage in STAGES
    ]
    (pages.folder / "pipelines").mkdir()
    (pages.folder / "pipelines" / "two.yaml").write_text("mine")
    pages.post("/compose/start", {"stages": STAGES, "shown": 0, "name": "two"}, status=422)
    started = []
    pages.server.launcher.start = lambda *given: started.append(given)
    pages.post("/compose/start", {"stages": stages, "shown": 0, "name": "two"})
    words = ["--config=pipelines/two-2.yaml", "--output-dir=runs/two"]
    assert started == [(words, pages.folder / "runs" / "two", {"HF_TOKEN": "hf_abcdefghijklmnop"})]
    written = pages.folder / "pipelines" / "two-2.yaml"
    assert "hf_abc" not in written.read_text()
    assert (pages.folder / "pipelines" / "two.yaml").read_text() == "mine"
    pipeline = read_pipeline(str(written))
    assert pipeline is not None and pipeline.names == ("sft", "again")
    assert forms_of(pipeline)[1]["values"]["model"] == "sft"  # by its name, and not by its folder


def test_a_pipeline_is_composed_again_from_its_config(pages):
    folder = pages.folder / "runs" / "two"
    folder.mkdir(parents=True)
    (pages.folder / "two.yaml").write_text(
        "seed: 3\nstages:\n- {name: one, trainer: sft}\n- {name: two, trainer: dpo, model: one}\n"
    )
    record = PipelineRecord(status="stopped", config="two.yaml", started_in=str(pages.folder))
    (folder / "pipeline.json").write_text(json.dumps(record.as_json()))
    assert "/compose?pipeline=runs/two" in pages.get("/run?folder=runs/two")
    text = pages.get("/compose?pipeline=runs/two")
    assert "data-staged" in text and "&#34;model&#34;: &#34;one&#34;" in text and "&#34;seed&#34;: &#34;3&#34;" in text
    (pages.folder / "two.yaml").unlink()
    pages.get("/compose?pipeline=runs/two", status=404)


def test_a_run_is_resumed_with_its_own_words(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned, "interrupted")
    (folder / "run.json").rename(folder / "kept.json")
    from autotrain_llm.app.launching import words_to_resume

    words = words_to_resume(folder, json.loads((folder / "kept.json").read_text()))
    assert words is not None and words[-1] == "--resume" and "--lr" in words and str(folder) in words
    assert words_to_resume(folder, {"plan": {"trainer": 3}}) is None


# ---- runs


def test_the_time_that_is_left_is_that_of_the_steps_since_the_run_was_resumed(pages, planned):
    began = time.time() - 100
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began))
    folder = write_run(pages.folder / "runs" / "a", {**planned, "steps": 100}, "running", started=started)
    logged = [{"step": step, "time": began - 9000 + step, "loss": 1.0} for step in range(1, 51)]

    def left(*since: tuple[int, float]) -> str:
        entries = [*logged, *({"step": step, "time": began + after, "loss": 1.0} for step, after in since)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return view_of(folder, "runs/a").left

    with FileLock(folder / ".lock"):
        assert left() == left((51, 10)) == ""
        assert left((51, 10), (60, 28)) == duration(80)


def test_a_metric_that_was_zero_at_every_log_is_named_and_a_headline_is_drawn(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", {**planned, "trainer": "grpo"})
    lines = [{"step": n, "time": n, "loss": 1.0 / n, "reward": 0.0, "clip_fraction": 0.0} for n in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = pages.get("/run?folder=runs/a")
    assert "<figcaption>Reward" in text and "The same at every log: clipped ratios 0." in text
    other = write_run(pages.folder / "runs" / "b", planned)
    (other / "metrics.jsonl").write_text("".join(json.dumps({**line, "clip_fraction": 0.5}) + "\n" for line in lines))
    assert "Clipped ratios" in pages.get("/compare?folder=runs/a&folder=runs/b")


def test_a_stopped_run_is_tried_and_trained_further_from_its_newest_checkpoint(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned, "interrupted")
    assert "/try?" not in pages.get("/run?folder=runs/a")
    for step in (3, 7):
        write_checkpoint(folder, step)
    checkpoint = "runs/a/checkpoints/checkpoint-7"
    text = pages.get("/run?folder=runs/a")
    assert f"/try?folder={checkpoint}" in text and f"/compose?model={checkpoint}" in text
    assert f'value="{checkpoint}"' in pages.get(f"/try?folder={checkpoint}")
    assert f'name="model" value="{checkpoint}"' in pages.get(f"/compose?model={checkpoint}")


def test_a_reward_model_is_the_reward_of_another_training(pages, planned):
    write_run(pages.folder / "runs" / "a", {**planned, "trainer": "reward"})
    address = "/compose?trainer=ppo&rl_reward_model_path=runs/a"
    text = pages.get("/run?folder=runs/a")
    assert address in text.replace("&amp;", "&") and "/try?" not in text
    assert 'name="rl_reward_model_path" value="runs/a"' in pages.get(address)


def test_a_pipeline_that_was_stopped_or_killed_says_so(pages):
    folder = pages.folder / "runs" / "two"
    folder.mkdir(parents=True)
    for status, badge in (("running", "Killed"), ("stopped", "Stopped"), ("ok", "Finished")):
        (folder / "pipeline.json").write_text(json.dumps(PipelineRecord(status=status).as_json()))
        assert badge in pages.get("/runs") and badge in pages.get("/run?folder=runs/two")
    (folder / "pipeline.json").write_text(json.dumps(PipelineRecord(status="running").as_json()))
    with FileLock(folder / ".lock") as lock:
        lock.write_owner()
        assert "Running" in pages.get("/run?folder=runs/two")


def test_a_stage_that_was_stopped_before_it_wrote_a_run_has_no_page(pages):
    folder = pages.folder / "runs" / "two"
    folder.mkdir(parents=True)
    record = PipelineRecord(
        {"sft": StageRecord("sft", Inputs({}, {}, {}), status="interrupted", seconds=61.0)}, "stopped"
    )
    (folder / "pipeline.json").write_text(json.dumps(record.as_json()))
    text = pages.get("/run?folder=runs/two")
    assert text.count("Stopped") == 2 and "runs/two/sft" not in text and duration(61) in text


def test_a_pipeline_goes_on_with_the_words_of_its_command_and_its_stages_do_not(pages, planned):
    folder = pages.folder / "runs" / "two"
    write_checkpoint(write_run(folder / "sft", planned, "interrupted"), 3)
    record = PipelineRecord(
        {"sft": StageRecord("sft", Inputs({}, {}, {}), status="interrupted")}, "stopped", "two.yaml"
    )
    (folder / "pipeline.json").write_text(json.dumps(record.as_json()))
    assert "/run/resume" not in pages.get("/run?folder=runs/two")  # of a version that did not write the words
    words = ("--config", "two.yaml", "--seed", "3", f"--output-dir={folder}")
    (folder / "pipeline.json").write_text(json.dumps(record.replace(words=words).as_json()))
    assert "/run/resume" in pages.get("/run?folder=runs/two")
    started = []
    pages.server.launcher.start = lambda *given: started.append(given)
    pages.post("/run/resume?folder=runs/two")
    assert started == [(list(words), folder, {}, pages.folder)]
    text = pages.get("/run?folder=runs/two/sft")
    assert "/run/resume" not in text and "/run?folder=runs/two" in text
    assert "resume that" in pages.post("/run/resume?folder=runs/two/sft", status=409)["problem"]


def test_another_tab_is_told_by_a_stamp_that_a_run_has_changed(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned)
    stamp = pages.get_json("/run/stamp?folder=runs/a")["stamp"]
    assert f'data-stamp="{stamp}"' in pages.get("/run?folder=runs/a")
    with FileLock(folder / ".lock") as lock:  # it was resumed
        lock.write_owner()
        assert pages.get_json("/run/stamp?folder=runs/a")["stamp"] != stamp


def test_predictions_are_searched(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned)
    (folder / "eval").mkdir()
    rows = [
        {"file": "x.jsonl", "row": n, "prompt": f"red {n}", "prediction": EVIL, "reference": "blue"} for n in range(60)
    ]
    (folder / "eval" / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{cut")
    assert "Search 61 rows" in pages.get("/run?folder=runs/a") or "Search 60 rows" in pages.get("/run?folder=runs/a")
    text = pages.get("/run/predictions?folder=runs/a")
    assert "60 rows; the first 50 are shown" in text and EVIL not in text
    text = pages.get("/run/predictions?folder=runs/a&words=Red+17")
    assert "1 of 60 rows" in text and "red 17" in text


def test_the_list_has_every_run_and_a_damaged_one(pages, planned):
    write_run(pages.folder / "runs" / "a", planned)
    write_run(pages.folder / "elsewhere" / "b", {**planned, "steps": 40}, "running")
    (pages.folder / "runs" / "broken").mkdir()
    (pages.folder / "runs" / "broken" / "run.json").write_text("{")
    text = pages.get("/runs")
    for words in ("Finished", "Killed", "elsewhere/b", "runs/broken", "loss <b>2</b>"):
        assert words in text
    assert "runs/a" in pages.get("/runs?rows=1") and "<html" not in pages.get("/runs?rows=1")


def test_the_page_of_a_run_has_its_curves_plan_report_and_command(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned, losses=(3.0, 2.5, 2.0))
    (folder / "report.html").write_text("<h1>The report</h1>")
    (folder / "samples.jsonl").write_text(
        json.dumps({"step": 2, "prompt": "red?", "answer": EVIL, "reward": 0.5}) + "\n"
    )
    text = pages.get("/run?folder=runs/a")
    assert "<polyline" in text and "<dt>trainer</dt>" in text and 'sandbox=""' in text and "Try it" in text
    assert EVIL not in text and "&lt;script&gt;" in text
    report = pages.client.get("/run/report?folder=runs/a")
    assert "The report" in report.text and "sandbox" in report.headers["content-security-policy"]
    assert "script-src" not in report.headers["content-security-policy"]


def test_two_runs_are_compared_by_what_differs_and_by_their_curves(pages, planned):
    other = json.loads(json.dumps(planned))
    other["parameters"]["lr"]["value"] = 0.007
    write_run(pages.folder / "runs" / "a", planned)
    write_run(pages.folder / "runs" / "b", other, losses=(4.0, 1.0))
    text = pages.get("/compare?folder=runs/a&folder=runs/b")
    assert "0.007" in text and "--batch-size" not in text and text.count("<polyline") >= 2
    pages.get("/compare?folder=runs/a&folder=runs/a", status=400)


def test_another_tab_is_told_by_a_stamp_that_a_run_that_is_compared_has_changed(pages, planned):
    write_run(pages.folder / "runs" / "a", planned)
    folder = write_run(pages.folder / "runs" / "b", planned, losses=(4.0, 1.0))
    address = "/compare?folder=runs/a&folder=runs/b"
    stamp = pages.get_json(f"{address}&stamp=1")["stamp"]
    assert f'data-stamp="{stamp}"' in pages.get(address)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3, "loss": 0.5}) + "\n")
    assert pages.get_json(f"{address}&stamp=1")["stamp"] != stamp


def test_a_run_that_was_resumed_lasted_as_long_as_all_its_attempts(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned, "running", seconds=None, earlier_seconds=3600.0)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": 0.0, "loss": 1.0}) + "\n")
    assert view_of(folder, "runs/a").line.took == duration(3600)  # it was killed before it had logged
    with FileLock(folder / ".lock") as lock:
        lock.write_owner()
        assert dict(view_of(folder, "runs/a").tiles)["running for"] != duration(3600)
    with FileLock(folder / ".lock"):
        assert view_of(folder, "runs/a").line.took == ""


def test_the_trials_of_a_sweep_are_listed_with_the_best(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned)
    (folder / "sweep").mkdir()
    trials = [
        {"number": n, "state": "complete", "values": {"lr": 0.1 * n}, "metric": 1.0 - n / 10, "seconds": 1.0}
        for n in range(3)
    ]
    (folder / "sweep" / "trials.json").write_text(json.dumps({"metric": "eval_loss", "best": 2, "trials": trials}))
    text = pages.get("/run?folder=runs/a")
    assert "3 trials" in text and text.count('<span class="badge good">best</span>') == 1 and "0.8" in text


def test_a_sweep_that_goes_on_counts_its_trials_and_one_that_was_stopped_is_resumed(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", {**planned, "sweep": {"trials": 5}}, "running")
    (folder / "sweep").mkdir()
    trials = [{"number": n, "state": state} for n, state in enumerate(("complete", "pruned", "running"))]
    (folder / "sweep" / "trials.json").write_text(json.dumps({"metric": "eval_loss", "trials": trials}))
    assert "/run/resume" in pages.get("/run?folder=runs/a")  # it was killed
    with FileLock(folder / ".lock") as lock:
        lock.write_owner()
        assert "trial 2 of 5" in pages.get("/run?folder=runs/a")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "status": "ok", "outcome": {"steps": 2}}))
    assert "2 of 2" in pages.get("/run?folder=runs/a")  # of the best trial


def test_a_model_is_exported_by_the_command_in_a_process_of_its_own(pages, planned):
    write_run(pages.folder / "runs" / "a", planned)
    pages.post("/run/export?folder=runs/a", {"to": "/etc"}, status=400)
    printed = {
        "exported": {"folder": "runs/a-gguf"},
        "findings": [{"severity": "warning", "message": EVIL, "code": "E607"}],
    }
    program = f"import sys; assert sys.argv[1:] == ['export', '--model=runs/a', '--to', 'gguf', '--format', 'json']; print({json.dumps(printed)!r})"
    pages.server.launcher.program = (sys.executable, "-c", program)
    answer = pages.post("/run/export?folder=runs/a", {"to": "gguf"})
    assert (
        answer["told"] == "Written to runs/a-gguf." and "E607" in answer["findings"] and EVIL not in answer["findings"]
    )
    pages.server.launcher.program = (sys.executable, "-c", "")
    pages.post("/run/export?folder=runs/a", {"to": "gguf"}, status=500)


def test_what_is_missing_is_offered_with_usual_values_and_recognised_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "pairs.jsonl", [{"question": f"{n}?", "good": "yes", "bad": "no"} for n in range(3)])
    folders = Folders((tmp_path.resolve(),))
    form = {"trainer": "dpo", "data_path": "pairs.jsonl", "text_column": "good"}
    (missing,) = [one for one in FileCheck().check(read_form(form, folders))["findings"] if one.get("missing")]
    assert missing["fix_of"]["epochs"] == "2" and not missing["certain"] and "model" in missing["parameters"]
    new = read_form({**form, "model": "scratch:1m"}, folders)
    (missing,) = [one for one in FileCheck().check(new)["findings"] if one.get("missing")]
    assert missing["fix_of"]["lr"] == "0.001"


def test_no_fix_names_a_column_that_is_not_known_to_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "pairs.jsonl", [{"question": f"{n}?", "good": "yes", "bad": "no"} for n in range(3)])
    folders, columns = Folders((tmp_path.resolve(),)), {"question", "good", "bad"}
    seen = set()
    for trainer in ("sft", "dpo", "reward", "ppo"):
        for data in ({}, {"data_path": "pairs.jsonl"}, {"data_path": "pairs.jsonl", "text_column": "goood"}):
            document = FileCheck().check(read_form({"trainer": trainer, "model": "scratch:1m", **data}, folders))
            for finding in document["findings"]:
                named = {value for name, value in finding["fix_of"].items() if name.endswith("_column")}
                assert named <= (columns if data else set()), (trainer, data, finding)
                assert data or "_column" not in finding["fix"].replace("-", "_")
                seen |= named
    assert seen == columns


def test_a_run_that_goes_on_is_sent_as_it_changes_until_it_ends(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned)
    with pages.client.stream("GET", "/run/events?folder=runs/a") as answer:
        text = "".join(answer.iter_text())
    assert text.startswith("data: ") and "polyline" in text and text.endswith("event: ended\ndata: 1\n\n")
    assert folder.exists()


def test_what_a_process_writes_is_a_change_also_after_much_of_it(pages, planned, monkeypatch):
    folder = write_run(pages.folder / "runs" / "a", planned)
    outputs = iter(["a" * MOST_OUTPUT, "a" * (MOST_OUTPUT - 1) + "b"])
    monkeypatch.setattr(pages.server.launcher, "output_of", lambda _: next(outputs))
    assert pages.server._stamp(folder) != pages.server._stamp(folder)


def test_an_earlier_run_fills_the_form(pages, planned):
    write_run(pages.folder / "runs" / "a", planned)
    text = pages.get("/compose?from=runs/a")
    assert 'name="lr" value="1e-4"' in text and "runs/a" not in text.partition('id="f-output_dir"')[2][:200]


@pytest.mark.parametrize(
    "address",
    [
        "/run?folder=/etc",
        "/run?folder=..",
        "/run/report?folder=../x",
        "/run/events?folder=/",
        "/compose?from=/etc",
        "/compare?folder=/etc",
    ],
)
def test_no_page_shows_a_folder_outside(pages, address):
    assert "outside" in pages.get(address, status=403)


def test_a_report_that_is_a_link_to_elsewhere_is_not_shown(pages, planned, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "secret.html"
    secret.write_text("secret")
    folder = write_run(pages.folder / "runs" / "a", planned)
    (folder / "report.html").symlink_to(secret)
    assert "secret</" not in pages.get("/run/report?folder=runs/a", status=403)


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2e/server.py", "/nowhere"])
def test_other_files_are_not_served(pages, path):
    assert pages.client.get(path).status_code == 404


def test_names_from_files_are_escaped_everywhere(pages, planned):
    plan = json.loads(json.dumps(planned))
    plan["model"]["name"] = plan["data"]["path"] = EVIL
    name = "runs/<img src=x>"
    write_run(
        pages.folder / name,
        plan,
        "failed",
        outcome={"failure": EVIL, "fix": EVIL},
        findings=[{"message": EVIL, "code": "P101"}],
    )
    write_run(pages.folder / "runs" / "b", planned)
    for page in ("/runs", f"/run?folder={name}", f"/compare?folder={name}&folder=runs/b", "/try", "/compose"):
        text = pages.get(page)
        assert EVIL not in text and "<img" not in text, page


# ---- files


def test_an_upload_replaces_no_file_that_was_made_meanwhile_and_what_a_killed_server_left_is_in_no_ones_way(pages):
    folder = pages.folder / "uploads"
    folder.mkdir()
    old, young = folder / ".a.jsonl.0a.part", folder / ".rows.jsonl.0b.part"
    for part in (old, young):
        part.touch()
    os.utime(old, (1, 1))
    names = iter([folder / "rows.jsonl", folder / "rows-2.jsonl"])
    (folder / "rows.jsonl").write_text("of another tab")
    pages.server.folders.__dict__["new_upload"] = lambda name: next(names)
    answer = pages.client.post("/upload?name=rows.jsonl", content=b"{}").json()
    assert answer == {"path": "uploads/rows-2.jsonl"} and (folder / "rows.jsonl").read_text() == "of another tab"
    assert {path.name for path in folder.iterdir()} == {"rows.jsonl", "rows-2.jsonl", young.name}


def test_a_run_is_removed_from_its_page_after_the_question_and_not_while_it_goes_on(pages, planned):
    folder = write_run(pages.folder / "runs" / "a", planned)
    with FileLock(folder / ".lock") as lock:
        lock.write_owner()
        assert "/run/remove" not in pages.get("/run?folder=runs/a")
        pages.post("/run/remove?folder=runs/a", {"sure": True}, status=409)
        pages.get("/run/removal?folder=runs/a", status=409)
    assert "Remove runs/a" in pages.get_json("/run/removal?folder=runs/a")["ask"]
    pages.post("/run/remove?folder=runs/a", status=400)
    assert (folder / "run.json").exists()
    assert pages.post("/run/remove?folder=runs/a", {"sure": True}) == {"location": "/runs"}
    assert not folder.exists() and "No runs yet" in pages.get("/runs")
    pages.post("/run/remove?folder=/etc", {"sure": True}, status=403)
    (pages.folder / "mine").mkdir()
    pages.post("/run/remove?folder=mine", {"sure": True}, status=404)  # no run


def test_a_run_is_renamed_and_what_its_process_has_printed_goes_with_it(pages):
    folder = start(pages)
    wait_for((folder / ".lock").exists)
    pages.post("/run/stop?folder=runs/sft-scratch-1m-1")
    wait_for(lambda: pages.server.launcher.process_of(folder) is None)
    answer = pages.post("/run/rename?folder=runs/sft-scratch-1m-1", {"name": "better"})
    assert answer == {"location": "/run?folder=runs/better"}
    assert "training" in pages.get("/run?folder=runs/better") and "sft-scratch-1m-1" not in pages.get("/runs")
    pages.post("/run/rename?folder=runs/better", {"name": "../x"}, status=409)


def test_an_upload_is_renamed_and_removed_but_not_while_a_run_may_read_it(pages, planned):
    pages.client.post("/upload?name=rows.jsonl", content=b"{}")
    assert "rows.jsonl" in pages.get("/files")
    folder = write_run(pages.folder / "runs" / "a", {**planned, "data": {"path": "uploads/rows.jsonl"}}, "running")
    with FileLock(folder / ".lock") as lock:
        lock.write_owner()
        told = pages.post("/files/remove?file=rows.jsonl", {"sure": True}, status=409)
        assert "runs/a" in told["problem"]
    assert "runs/a can't be resumed without it" in pages.get("/files")
    pages.post("/files/rename?file=rows.jsonl", {"name": "more.jsonl"})
    pages.post("/files/remove?file=more.jsonl", status=400)
    assert 'value="uploads/more.jsonl"' in pages.get("/compose?data_path=uploads/more.jsonl")
    pages.post("/files/remove?file=more.jsonl", {"sure": True})
    assert list((pages.folder / "uploads").iterdir()) == [] and "No uploaded files" in pages.get("/files")
    pages.post("/files/remove?file=..%2Fruns%2Fa%2Frun.json", {"sure": True}, status=409)


def test_a_file_is_uploaded_beside_the_others_and_offered(pages):
    answer = pages.client.post("/upload?name=my rows.jsonl", content=b'{"text": "a"}\n').json()
    assert answer == {"path": "uploads/my-rows.jsonl"}
    assert (pages.folder / "uploads" / "my-rows.jsonl").read_bytes() == b'{"text": "a"}\n'
    assert pages.client.post("/upload?name=run.py", content=b"x").status_code == 403
    assert [path.name for path in (pages.folder / "uploads").iterdir()] == ["my-rows.jsonl"]
    assert "uploads/my-rows.jsonl" in pages.get("/compose")


def test_a_rule_has_its_page(pages):
    assert "autotrain llm" in pages.get("/rule/P101")
    pages.get("/rule/X999", status=404)


def test_try_refuses_what_is_not_a_model_with_its_finding(pages):
    with pages.client:
        answer = pages.post("/try/open", {"model": "nowhere"})
        assert answer["opened"] is None and "nowhere" in answer["findings"]
        assert pages.post("/try/say", {"text": "x", "talk": answer["talk"]}) == {"end": True}  # no model, no answer
        pages.post("/try/open", {"model": "elsewhere"})  # in another tab
        told = pages.post("/try/say", {"text": "x", "talk": answer["talk"]}, status=409)
        assert "another tab" in told["problem"]
    pages.post("/try/open", {"model": "/etc"}, status=403)


def test_the_command_prints_an_address_with_a_token_and_ends_with_its_runs_left(tmp_path):
    words = [sys.executable, "-m", "autotrain_llm", "app", "--no-browser", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert line.startswith("autotrain app: http://127.0.0.1:84") and len(line.partition("?token=")[2]) > 40
    assert process.returncode == 0 and "Traceback" not in err
