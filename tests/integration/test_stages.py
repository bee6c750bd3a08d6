"""Stages that train: in their order, stopped and gone on with, and changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.context.file_lock import owner_of_lock
from support.fork_server import forked_python
from support.stages import checked, dpo, ppo, pretrain, reward, sft, write_pipeline

STEPS = {"save_strategy": "steps", "save_steps": 4, "logging_steps": 1}
# Long enough to be stopped in the middle.
LONG = {"max_steps": 60, "lr": 1e-4, **STEPS}
NEW = {"model": "scratch:100k"}
# A mixture in place of the rows and columns of one data set.
MIXED = {"data_path": None, "prompt_text_column": None, "rejected_text_column": None, "data_config": "mix.yaml"}
# dpo goes on from sft, and reward from neither.
STAGES = [sft(**NEW, **LONG), reward(**NEW), dpo()]
ORDER = ["sft", "reward", "dpo"]


def weights(folder: Path, stage: str) -> bytes:
    return (folder / stage / "model.safetensors").read_bytes()


def started(folder: Path, stage: str) -> str:
    return json.loads((folder / stage / "run.json").read_text())["started"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which three stages were trained without being stopped."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_pipeline(folder, STAGES)
    done = start(path)
    assert done.wait() == 0
    return folder


def start(path: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [forked_python(), "-m", "autotrain_llm", "llm", "--config", path.name, *words]
    environment = {**os.environ, "XDG_CACHE_HOME": str(path.parent / "cache")}
    return subprocess.Popen(
        command, cwd=path.parent, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for_checkpoint(pipeline: subprocess.Popen[bytes], folder: Path, beyond: int = 0) -> None:
    """Wait until the stage in this folder has a complete checkpoint after this step."""
    while pipeline.poll() is None:
        for path in folder.glob("checkpoints/checkpoint-*/trainer_state.json"):
            if int(path.parent.name.rpartition("-")[2]) > beyond:
                return
        time.sleep(0.05)
    raise AssertionError(pipeline.communicate()[1])


def actions(folder: Path, monkeypatch, **flags) -> dict[str, str]:
    monkeypatch.chdir(folder)
    return {check.stage.name: check.action for check in checked(Path("pipeline.yaml"), **flags).stages}


def test_every_stage_is_a_run_that_other_commands_work_on(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    names = {"run.json", "config.json", "model.safetensors", "report.html", "command.sh", "README.md"}
    for stage in ORDER:
        assert names <= {path.name for path in (finished / "runs/p" / stage).iterdir()}
    page = (finished / "runs/p/report.html").read_text()
    assert all(f'href="{stage}/report.html"' in page for stage in ORDER)
    assert main(["report", "runs/p"]) == 0
    assert main(["llm", "--inference", "--model", "runs/p/sft@best", "--prompts", "Hi", "--max-new-tokens", "2"]) == 0
    capsys.readouterr()


def test_what_is_planned_before_is_what_is_carried_out(finished, tmp_path, monkeypatch):
    """The plan that is made from a model that does not exist yet, and the one of the run that has it."""
    path = write_pipeline(tmp_path, STAGES)
    monkeypatch.chdir(tmp_path)
    for check in checked(path).stages:
        before = json.loads(json.dumps(check.checked.plan.as_json(), default=list))
        after = json.loads((finished / "runs/p" / check.stage.name / "run.json").read_text())["plan"]
        del before["parameters"], after["parameters"]
        assert before == after, check.stage.name


def test_stopped_and_killed_it_ends_with_the_same_weights(finished, tmp_path, monkeypatch):
    path = write_pipeline(tmp_path, [STAGES[0], STAGES[2]])
    folder = tmp_path / "runs/p"
    # A signal to the pipeline: the stage saves a checkpoint.
    first = start(path)
    wait_for_checkpoint(first, folder / "sft")
    first.send_signal(signal.SIGTERM)
    said = first.communicate()[1]
    assert first.returncode == 143 and b"The same command goes on from stage sft." in said
    assert actions(tmp_path, monkeypatch) == {"sft": "resume", "dpo": "train"}
    resumed = max(int(path.name.rpartition("-")[2]) for path in (folder / "sft/checkpoints").iterdir())
    # The pipeline is killed: its stage ends by itself.
    second = start(path)
    wait_for_checkpoint(second, folder / "sft", beyond=resumed)
    second.kill()
    second.communicate()
    assert owner_of_lock(folder / "sft/.lock") is None
    assert actions(tmp_path, monkeypatch) == {"sft": "resume", "dpo": "train"}
    last = start(path)
    said = last.communicate()[1]
    assert last.returncode == 0, said
    for stage in ("sft", "dpo"):
        assert weights(folder, stage) == weights(finished / "runs/p", stage), stage


def test_a_stage_whose_process_is_killed_is_a_failure_that_names_it(tmp_path):
    path = write_pipeline(tmp_path, STAGES[:1])
    pipeline = start(path)
    wait_for_checkpoint(pipeline, tmp_path / "runs/p/sft")
    os.kill(int((tmp_path / "runs/p/sft/.lock").read_text()), signal.SIGKILL)
    said = pipeline.communicate()[1]
    assert pipeline.returncode == 1
    assert b"stage sft: its process ended without a result (killed by SIGKILL)" in said


def test_a_changed_stage_and_what_depends_on_it_is_trained_again(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "copy")
    before = {stage: started(folder / "runs/p", stage) for stage in ORDER}
    assert actions(folder, monkeypatch) == dict.fromkeys(ORDER, "keep")
    path = write_pipeline(folder, [sft(**NEW, **{**LONG, "max_steps": 2}), *STAGES[1:]])
    assert actions(folder, monkeypatch) == {"sft": "train again", "reward": "keep", "dpo": "train again"}
    done = start(path)
    said = done.communicate()[1]
    assert done.returncode == 0, said
    after = {stage: started(folder / "runs/p", stage) for stage in ORDER}
    assert [stage for stage in ORDER if before[stage] != after[stage]] == ["sft", "dpo"]
    assert actions(folder, monkeypatch) == dict.fromkeys(ORDER, "keep")


def test_a_pipeline_up_to_ppo_answers_with_one_document(tmp_path, monkeypatch, capsys):
    path = write_pipeline(tmp_path, [pretrain(), sft(), dpo(), reward(), ppo()])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", forked_python())
    assert main(["llm", "--config", path.name, "--format", "json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [stage["status"] for stage in document["report"]["stages"]] == ["ok"] * 5
    assert [stage["action"] for stage in document["stages"]] == ["train"] * 5
    assert document["report"]["stages"][4]["metric"]["name"] == "reward"


def test_a_stopped_sweep_of_a_stage_goes_on_and_a_later_stage_trains_on_a_mixture(tmp_path, monkeypatch):
    searched = {"use_sweep": True, "sweep_n_trials": 3, "sweep_params": {"lr": [1e-3, 2e-3]}, "valid_split": 0.25}
    path = write_pipeline(tmp_path, [sft(**NEW, **searched, max_steps=6, lr=1e-3), dpo(**MIXED)])
    (tmp_path / "mix.yaml").write_text(
        "sources:\n  - {name: a, path: pairs.jsonl}\n  - {name: b, path: pairs_too.jsonl}\n"
    )
    (tmp_path / "pairs_too.jsonl").write_text((tmp_path / "pairs.jsonl").read_text().replace("Like", "Want"))
    pipeline = start(path)
    trials = tmp_path / "runs/p/sft/sweep/trials.csv"
    while pipeline.poll() is None and not (trials.exists() and "complete" in trials.read_text()):
        time.sleep(0.02)
    pipeline.send_signal(signal.SIGINT)
    assert pipeline.wait() == 130, pipeline.communicate()[1]
    assert actions(tmp_path, monkeypatch) == {"sft": "resume", "dpo": "train"}
    done = start(path)
    assert done.wait() == 0, done.communicate()[1]
    states = [trial["state"] for trial in json.loads(trials.with_suffix(".json").read_text())["trials"]]
    assert states.count("complete") == 3
    plan = json.loads((tmp_path / "runs/p/dpo/run.json").read_text())["plan"]
    assert [source["rows_of_epoch"] for source in plan["data"]["sources"]] == [8, 8]
