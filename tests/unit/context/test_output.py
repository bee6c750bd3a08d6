"""The output folder: where a run goes, what is never written over, what it goes on from."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.cli.main import main
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import Config, resolve
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.context.output_dir import find_output, is_complete, missing_from, seconds_of
from autotrain_llm.declare import digests
from autotrain_llm.version import VERSION
from support.paths import TESTS, find_test
from support.resumable import FILES, write_checkpoint, write_run


def config_of(**flags: object) -> Config:
    said = parse_kwargs(flags)
    assert said.findings == []
    return resolve(said.values)


def draws(code: str, **flags: object) -> list[str]:
    config = config_of(**flags)
    known = {"config": config, "trainer": config.trainer_spec, "output": find_output(config)}
    return [finding.message for finding in RULES[code].check(known)]


# ---- where a run goes


def test_a_run_without_a_name_gets_the_next_free_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of(trainer="sft", model="meta-llama/Llama-2-7b-hf")
    assert find_output(config).folder == Path("runs/sft-Llama-2-7b-hf-1") and not find_output(config).named
    (tmp_path / "runs/sft-Llama-2-7b-hf-1").mkdir(parents=True)
    assert find_output(config).folder == Path("runs/sft-Llama-2-7b-hf-2")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("scratch:1m", "scratch-1m"),
        ("./models/mine/", "mine"),
        ("../..", "-"),
        ("runs/a@best", "a-best"),
        ("模型", "模型"),
    ],
)
def test_the_name_of_a_run_is_one_that_any_file_system_takes(model, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = find_output(config_of(trainer="sft", model=model)).folder
    assert folder.parent == Path("runs")
    assert folder.name.startswith(f"sft-{name.strip('-')}") and folder.name.endswith("-1")


def test_the_old_name_of_the_output_folder_is_taken(tmp_path):
    assert find_output(config_of(project_name=str(tmp_path / "mine"))).folder == tmp_path / "mine"


def test_a_checkpoint_that_is_named_names_its_run(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "run", 3)
    output = find_output(config_of(resume_from_checkpoint=str(checkpoint)))
    assert (output.folder, output.named, output.checkpoint) == (tmp_path / "run", True, checkpoint)


# ---- what is there already


@pytest.mark.parametrize(
    "sign", ["run.json", "model.safetensors", "checkpoints", "checkpoint-40", "adapter_model.safetensors"]
)
def test_a_folder_that_holds_a_run_is_refused_unless_it_is_resumed_or_replaced(sign, tmp_path):
    (tmp_path / "run" / sign).mkdir(parents=True)
    folder = str(tmp_path / "run")
    (message,) = draws("E401", output_dir=folder)
    assert sign in message
    assert draws("E401", output_dir=folder, overwrite=True) == draws("E401", output_dir=folder, resume=True) == []


def test_a_folder_that_holds_no_run_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert draws("E401", output_dir=str(tmp_path)) == []
    assert draws("E401", output_dir=str(tmp_path / "new")) == []


@pytest.mark.parametrize(
    "name",
    ["model", "tokenizer", "data_path", "eval_dataset_path", "model_ref", "teacher_model", "rl_reward_model_path"],
)
def test_what_is_read_is_not_written_over(name, tmp_path):
    (tmp_path / "read").mkdir()
    of = [f"{tmp_path}/read/"] if name == "rl_reward_model_path" else f"{tmp_path}/read/"
    assert len(draws("E402", output_dir=str(tmp_path / "read"), **{name: of})) == 1
    assert len(draws("E402", output_dir=str(tmp_path / "read"), overwrite=True, **{name: of})) == 1
    assert draws("E402", output_dir=str(tmp_path / "written"), **{name: of}) == []


def test_what_an_earlier_run_wrote_is_not_put_aside_while_it_is_read(tmp_path):
    run = write_run(tmp_path / "run", "done")
    checkpoint = write_checkpoint(run, 3)
    for flags in ({"model": str(checkpoint)}, {"model_ref": str(checkpoint)}, {"model": f"{run}@best"}):
        assert len(draws("E402", output_dir=str(run), overwrite=True, **flags)) == 1
        assert len(draws("E402", output_dir=str(run), **flags)) == 1
        assert draws("E401", output_dir=str(run), **flags) == []  # its advice would be to replace what is read
        assert draws("E402", output_dir=str(tmp_path / "other"), **flags) == []
    (run / "mine").mkdir()
    assert draws("E402", output_dir=str(run), overwrite=True, model=str(run / "mine")) == []


def test_the_output_folder_is_a_folder_that_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert draws("E403", output_dir=str(tmp_path / "file")) == [f"--output-dir {tmp_path / 'file'} is a file"]
    assert len(draws("E403", output_dir=str(tmp_path / "file" / "below"))) == 1
    assert draws("E403", output_dir=str(tmp_path / "a" / "b" / "c")) == []
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        assert len(draws("E403", output_dir=str(closed / "run"))) == 1


def test_a_folder_that_another_process_writes_to_is_refused(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("4711")
    assert owner_of_lock(lock) is None and draws("E404", output_dir=str(tmp_path)) == []
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert owner_of_lock(lock) == 4711
        (message,) = draws("E404", output_dir=str(tmp_path))
        assert "process 4711" in message
    assert owner_of_lock(lock) is None


def test_a_lock_without_a_number_is_still_a_lock(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("")
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process" in draws("E404", output_dir=str(tmp_path))[0]


# ---- what a run goes on from


@pytest.mark.parametrize("without", FILES)
def test_a_checkpoint_without_one_of_its_files_is_not_complete(without, tmp_path):
    assert is_complete(write_checkpoint(tmp_path / "whole", 1))
    assert not is_complete(write_checkpoint(tmp_path / "part", 1, without))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_checkpoint_whose_state_is_cut_short_is_not_complete(text, tmp_path):
    checkpoint = write_checkpoint(tmp_path, 1)
    (checkpoint / "trainer_state.json").write_text(text)
    assert not is_complete(checkpoint)


def test_resuming_takes_the_newest_complete_checkpoint_by_number(tmp_path):
    for step in (9, 10, 100):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 200, without="trainer_state.json")
    output = find_output(config_of(output_dir=str(tmp_path), resume=True))
    assert [path.name for path in output.complete_checkpoints] == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]
    assert output.checkpoint == tmp_path / "checkpoints/checkpoint-100"
    assert find_output(config_of(output_dir=str(tmp_path))).checkpoint is None


def test_resuming_without_a_complete_checkpoint_is_refused_and_says_why(tmp_path):
    (message,) = draws("E405", resume=True, output_dir=str(tmp_path / "no folder"))
    assert "that folder does not exist" in message
    (message,) = draws("E405", resume=True, output_dir=str(tmp_path))
    assert "that folder is empty" in message
    (tmp_path / "notes.txt").write_text("mine")
    (message,) = draws("E405", resume=True, output_dir=str(tmp_path))
    assert "there is none" in message
    write_checkpoint(tmp_path, 7, without="trainer_state.json")
    (message,) = draws("E405", resume=True, output_dir=str(tmp_path))
    assert "checkpoint-7" in message and "incomplete" in message
    write_checkpoint(tmp_path, 6)
    assert draws("E405", resume=True, output_dir=str(tmp_path)) == []


def test_a_named_checkpoint_must_be_there_be_whole_and_be_one(tmp_path):
    whole, part = (
        write_checkpoint(tmp_path / "a", 3),
        write_checkpoint(tmp_path / "b", 3, without="optimizer.safetensors"),
    )
    assert draws("E405", resume_from_checkpoint=str(whole)) == []
    assert "does not exist" in draws("E405", resume_from_checkpoint=str(tmp_path / "none"))[0]
    assert "damaged" in draws("E405", resume_from_checkpoint=str(part))[0]
    assert "is not a checkpoint" in draws("E405", resume_from_checkpoint=str(tmp_path / "a"))[0]


@pytest.mark.parametrize(
    "lost", ["model.safetensors", "optimizer.safetensors", "scheduler.safetensors", "rng_state.safetensors"]
)
def test_a_newest_checkpoint_that_lost_a_file_is_passed_over_for_the_newest_intact_one_and_named(lost, tmp_path):
    write_checkpoint(tmp_path, 2)
    intact = write_checkpoint(tmp_path, 3)
    damaged = write_checkpoint(tmp_path, 4, without=lost)
    assert find_output(config_of(output_dir=str(tmp_path), resume=True)).checkpoint == intact
    assert draws("E405", resume=True, output_dir=str(tmp_path)) == []
    (message,) = draws("E420", resume=True, output_dir=str(tmp_path))
    assert "checkpoint-4" in message and f"it lacks {lost}" in message and "goes on from checkpoint-3" in message
    config = config_of(output_dir=str(tmp_path), resume_from_checkpoint=str(damaged))
    (finding,) = RULES["E405"].check({"config": config, "output": find_output(config)})
    assert f"it lacks {lost}" in finding.message and finding.fix.startswith(f"--resume-from-checkpoint {intact}")
    repaired = config.without(finding.changes).replace(finding.changes)
    assert find_output(repaired).checkpoint == intact


def test_one_changed_byte_of_a_checkpoint_is_named_and_an_earlier_one_resumed(tmp_path):
    for step in (3, 4):
        folder = write_checkpoint(tmp_path, step)
        (folder / "scheduler.safetensors").write_bytes(b"state of the schedule")
        files = digests.listed(folder, [path for path in folder.iterdir() if path.suffix != ".json"])
        (folder / "checkpoint.json").write_text(json.dumps({"files": files}))
    assert draws("E420", resume=True, output_dir=str(tmp_path)) == []
    (folder / "scheduler.safetensors").write_bytes(b"state of the Schedule")
    (message,) = draws("E420", resume=True, output_dir=str(tmp_path))
    assert "scheduler.safetensors changed after it was written" in message
    (tmp_path / "checkpoints/checkpoint-3/rng_state.safetensors").write_bytes(b"longer")
    (message,) = draws("E405", resume=True, output_dir=str(tmp_path))
    assert "checkpoint-4" in message and "no earlier one is intact" in message


def test_a_checkpoint_has_the_files_that_its_run_listed(tmp_path):
    checkpoint = write_checkpoint(tmp_path, 3)
    (checkpoint / "scaler.safetensors").write_text("1234")
    (checkpoint / "checkpoint.json").write_text('{"files": {"scaler.safetensors": 4, "optimizer.safetensors": 2}}')
    assert missing_from(checkpoint) == ()
    (checkpoint / "scaler.safetensors").write_text("12")
    (checkpoint / "optimizer.safetensors").unlink()
    assert missing_from(checkpoint) == ("optimizer.safetensors", "scaler.safetensors (2 bytes of 4)")


def test_each_of_several_processes_has_a_file_of_random_states(tmp_path):
    checkpoint = write_checkpoint(tmp_path, 3, without="rng_state.safetensors")
    assert missing_from(checkpoint) == ("rng_state.safetensors",)
    for process in (0, 2):
        (checkpoint / f"rng_state_{process}.safetensors").write_text("")
    assert missing_from(checkpoint) == ("rng_state_1.safetensors",)
    (checkpoint / "rng_state_1.safetensors").write_text("")
    assert missing_from(checkpoint) == ()
    (tmp_path / "run.json").write_text('{"plan": {"schedule": {"processes": 4}}}')
    assert missing_from(checkpoint) == ("rng_state_3.safetensors",)


def test_the_fix_for_a_run_in_place_of_a_checkpoint_names_its_newest(tmp_path):
    write_checkpoint(tmp_path / "a", 3)
    newest = write_checkpoint(tmp_path / "a", 30)
    config = config_of(resume_from_checkpoint=str(tmp_path / "a"))
    known = {"config": config, "output": find_output(config)}
    (finding,) = RULES["E405"].check(known)
    assert finding.fix == f"--resume-from-checkpoint {newest}"


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("trainer", "sft", "generic"),
        ("model", "a", "b"),
        ("lora_r", 8, 16),
        ("lora_alpha", 8, 16),
        ("use_dora", True, False),
        ("target_modules", ["q_proj"], ["v_proj"]),
    ],
)
def test_a_resumed_run_must_be_the_same_run(name, was, now, tmp_path):
    run = write_run(tmp_path / "run", "interrupted", peft=True, **{name: was})
    checkpoint = write_checkpoint(run, 3)
    (checkpoint / "adapter_config.json").write_text("{}")
    shown = [",".join(value) if isinstance(value, list) else str(value) for value in (was, now)]
    shown = ["was on", "is off"] if was is True else shown
    for place in (
        {"output_dir": str(run), "resume": True},
        {"output_dir": str(tmp_path / "other"), "resume_from_checkpoint": str(checkpoint)},
    ):
        (message,) = draws("E406", **place, peft=True, **{name: now})
        assert all(value in message for value in shown)
        assert draws("E406", **place, peft=True, **{name: was}) == []


def test_a_checkpoint_without_a_record_tells_what_it_holds_itself(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "run", 3)
    place = {"output_dir": str(tmp_path / "other"), "resume_from_checkpoint": str(checkpoint)}
    assert draws("E406", **place) == []
    assert "--peft is on" in draws("E406", **place, peft=True)[0]
    (checkpoint / "adapter_config.json").write_text('{"r": 8, "lora_alpha": 32, "use_dora": false}')
    assert "--peft is off" in draws("E406", **place)[0]
    (message,) = draws("E406", **place, peft=True, lora_r=16)
    assert "--lora-r is 16" in message and "it was 8" in message
    assert draws("E406", **place, peft=True, lora_r=8) == []


def test_a_resumed_run_goes_on_with_its_rows(tmp_path):
    """What a run was started with is kept in its record; one of another version prepares rows in its own way."""
    run = tmp_path / "run"
    write_checkpoint(run, 3)
    config = config_of(output_dir=str(run), resume=True)

    def said(fingerprint, **record):
        (run / "run.json").write_text(json.dumps({"versions": {"autotrain-llm": VERSION}, **record}))
        context = SimpleNamespace(prepared=fingerprint and SimpleNamespace(fingerprint=fingerprint, mixture=None))
        return list(RULES["E413"].check({"config": config, "output": find_output(config), "context": context}))

    (finding,) = said("these", data_fingerprint="those")
    assert (
        finding.severity == "error" and f"--model {run}@last" in finding.fix and "has changed since" in finding.message
    )
    assert said("those", data_fingerprint="those") == said("these") == said(None, data_fingerprint="those") == []
    assert said("these", data_fingerprint="those", versions={"autotrain-llm": "0.0.1"}) == []


def test_one_folder_under_two_names_is_one_model(tmp_path, monkeypatch):
    (tmp_path / "base").mkdir()
    run = write_run(tmp_path / "run", "interrupted", model="./base")
    write_checkpoint(run, 3)
    monkeypatch.chdir(tmp_path)
    assert draws("E406", output_dir=str(run), resume=True, model=str(tmp_path / "base")) == []


def test_a_checkpoint_that_is_not_there_has_others_beside_it(tmp_path):
    for step in (2, 10):
        beside = write_checkpoint(tmp_path / "a", step)
    config = config_of(resume_from_checkpoint=str(tmp_path / "a/checkpoints/checkpoint-3"))
    (finding,) = RULES["E405"].check({"config": config, "output": find_output(config)})
    assert "does not exist" in finding.message and finding.fix == f"--resume-from-checkpoint {beside}"


def test_a_cache_is_a_folder_or_becomes_one(tmp_path):
    (tmp_path / "file").write_text("")
    place = {"output_dir": str(tmp_path / "run")}
    assert "is a file" in draws("E411", cache_dir=str(tmp_path / "file"), **place)[0]
    assert "is below" in draws("E411", cache_dir=str(tmp_path / "file/cache"), **place)[0]
    assert draws("E411", cache_dir=str(tmp_path / "new/cache"), **place) == draws("E411", **place) == []


@pytest.mark.parametrize("name", ["my model", "-mine", "mine.", "a--b", "a..b", "mine.git", "m" * 97, "modèle", "a/é"])
def test_a_name_that_the_hub_refuses_is_no_folder_to_push_from(name, tmp_path):
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    last = name.rpartition("/")[2]
    with pytest.raises(HFValidationError):
        validate_repo_id(f"me/{last}")
    config = config_of(output_dir=str(tmp_path / name), push_to_hub=True)
    (finding,) = RULES["E412"].check({"config": config, "output": find_output(config)})
    assert repr(last) in finding.message
    validate_repo_id("me/" + Path(finding.changes["output_dir"]).name)
    assert draws("E412", output_dir=str(tmp_path / name)) == []


def test_an_account_has_a_name_that_the_hub_takes(tmp_path):
    place = {"output_dir": str(tmp_path / "mine_1.5-b"), "push_to_hub": True}
    assert draws("E412", **place, username="me") == draws("E412", **place) == []
    assert "--username me@mail.org" in draws("E412", **place, username="me@mail.org")[0]


def test_every_rule_on_the_folder_is_tried_here_with_resuming_with_the_sweeps_or_with_streams():
    files = [find_test(name) for name in ("test_output.py", "test_resume.py", "test_sweep_runs.py")]
    text = "".join(
        path.read_text("utf-8")
        for path in (*files, TESTS / "integration/test_streaming.py", TESTS / "integration/test_base_of_an_adapter.py")
    )
    assert all(f'"{rule.code}"' in text for rule in RULES.values() if "output" in rule.needs)


def test_a_damaged_record_of_an_earlier_run_ends_in_no_traceback(tmp_path):
    write_checkpoint(tmp_path, 3)
    for text in ("{", "[]", "null", '{"plan": null}', '{"plan": {"parameters": {"model": null}}}', '{"plan": []}'):
        (tmp_path / "run.json").write_text(text)
        assert draws("E406", output_dir=str(tmp_path), resume=True) == []


def test_a_damaged_study_is_said_where_a_sweep_is_resumed(tmp_path):
    (tmp_path / "sweep").mkdir()
    journal = tmp_path / "sweep" / "study.journal"
    journal.write_text('{"op_code": 0, "work')
    flags = {"output_dir": str(tmp_path), "use_sweep": True, "resume": True}
    (message,) = draws("E421", **flags)
    assert str(journal) in message
    assert draws("E421", **{**flags, "resume": False}) == draws("E421", **{**flags, "use_sweep": False}) == []


def test_nothing_is_written_by_a_refused_command(tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    words = ["--trainer", "sft", "--output-dir", str(tmp_path / "run"), "--model", "scratch:1m", "--epochs", "0"]
    assert main(["llm", *words]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_the_seconds_of_a_run_are_those_of_all_its_attempts(tmp_path):
    began = {"started": "2026-01-01T00:00:10+0000"}
    start = 1767225610.0
    log = "".join(json.dumps({"step": step, "time": start + 2 * step}) + "\n" for step in (1, 2))
    (tmp_path / "metrics.jsonl").write_text(log)
    assert seconds_of({**began, "seconds": 30.5, "earlier_seconds": 20}, tmp_path) == 30.5
    assert seconds_of({**began, "earlier_seconds": 20}, tmp_path) == 24.0  # killed after its last log
    assert seconds_of(began, tmp_path) == 4.0
    (tmp_path / "metrics.jsonl").write_text(log + "{cut")
    assert seconds_of(began, tmp_path) == 4.0
    (tmp_path / "metrics.jsonl").write_text("{cut")
    assert seconds_of({"started": None}, tmp_path) == seconds_of({}, tmp_path) == 0.0
