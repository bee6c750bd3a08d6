"""What becomes of another value of a parameter when a run is resumed: it takes effect, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.registry import GROUP, PARAMS, trainers_that_read
from autotrain_llm.config.resolved import COMMAND_LINE, Config, resolve
from autotrain_llm.context.output_dir import find_output
from autotrain_llm.declare.param import (
    FIXED,
    NO_INFLUENCE,
    NUMBER_OF_STEPS,
    ON_RESUME,
    SAME_ROWS,
    SAME_STEP,
    TAKES_EFFECT,
    Param,
)
from autotrain_llm.version import VERSION
from support.resumable import write_checkpoint, write_run
from support.rows import questions, write_rows

READ = [param for param in PARAMS.values() if not param.command and trainers_that_read(param.name)]


def of_class(*classes: str) -> list[Any]:
    return [pytest.param(param, id=param.name) for param in READ if param.on_resume in classes]


def test_every_parameter_says_what_becomes_of_another_value_when_a_run_is_resumed():
    missing = [param.name for param in PARAMS.values() if param.on_resume not in ON_RESUME]
    assert missing == [], "give param(...) an on_resume, see ON_RESUME in declare/param.py"


# ---- each class, with every one of its parameters


def other_value(param: Param) -> Any:
    """Another value than the default, as a record has it."""
    if param.name == "trainer":
        return "dpo"
    if param.kind == "switch":
        return not param.default
    if isinstance(param.default, str) and param.kind == "int":
        return 2
    if param.kind in ("int", "float"):
        return (param.default or 1) / 2 if param.kind == "float" else (param.default or 1) + 1
    if param.choices:
        return next(choice for choice in param.choices if choice != param.default)
    return ["another"] if param.kind == "list" else "another"


def resumed(param: Param, folder: Path, *, given: bool) -> tuple[Config, dict[str, list[Any]]]:
    """A command that resumes a run which had another value of this parameter, and what the rules find in it."""
    trainer = trainers_that_read(param.name)[0].name
    switch = GROUP[param.group].switch
    on = {switch: True} if switch and switch != param.name else {}
    run = write_run(folder / "run", "interrupted", **{"trainer": trainer, **on, param.name: other_value(param)})
    write_checkpoint(run, 4)
    config = resolve({"trainer": trainer, "output_dir": str(run), "resume": True, **on})
    if given and param.name != "trainer":
        config = config.replace({param.name: param.default}, COMMAND_LINE)
    known = {"config": config, "trainer": config.trainer_spec, "output": find_output(config)}
    return config, {code: list(RULES[code].check(known)) for code in ("E406", "E414")}


@pytest.mark.parametrize("param", of_class(FIXED))
def test_another_value_of_a_fixed_parameter_is_refused_with_both_values(param, tmp_path):
    config, found = resumed(param, tmp_path, given=True)
    (finding,) = [finding for finding in found["E406"] if finding.parameters[0] == param.name]
    assert finding.severity == "error" and found["E414"] == []
    before = other_value(param)
    assert finding.changes == {param.name: before}
    shown = {True: "on", False: "off"}.get(before) if param.kind == "switch" else before
    assert str(shown[0] if isinstance(shown, list) else shown) in finding.message and param.flag in finding.message
    restored = resolve({**{name: config.value_of(name) for name in config.all_given()}, param.name: before})
    known = {"config": restored, "output": find_output(restored)}
    assert param.name not in [finding.parameters[0] for finding in RULES["E406"].check(known)]


@pytest.mark.parametrize("param", of_class(TAKES_EFFECT))
def test_a_parameter_that_may_change_is_missed_only_if_it_is_not_given(param, tmp_path):
    """Its effect is tried in tests/integration/test_resumed_runs.py; a plan that differs with it, in test_liveness.py."""
    _, found = resumed(param, tmp_path / "without", given=False)
    (finding,) = found["E414"]
    assert finding.severity == "warning" and param.flag in finding.message and "from step 5 on" in finding.message
    assert finding.changes == {param.name: other_value(param)} and found["E406"] == []
    _, found = resumed(param, tmp_path / "with", given=True)
    assert found == {"E406": [], "E414": []}


@pytest.mark.parametrize("param", of_class(NO_INFLUENCE, SAME_ROWS, SAME_STEP, NUMBER_OF_STEPS))
def test_other_parameters_are_not_compared_by_their_values(param, tmp_path):
    _, found = resumed(param, tmp_path, given=True)
    assert found == {"E406": [], "E414": []}


# ---- whole commands


@pytest.fixture
def command(light_llama, tmp_path) -> dict[str, Any]:
    rows = str(write_rows(tmp_path / "rows.jsonl", questions(40)))
    flags = {
        "trainer": "sft",
        "model": str(light_llama),
        "data_path": rows,
        "lr": 2e-5,
        "max_steps": 10,
        "batch_size": 4,
    }
    return {**flags, "valid_split": "8", "eval_steps": 2, "output_dir": str(tmp_path / "run"), "dry_run": True}


def checked(flags: dict[str, Any]) -> Checked:
    said = parse_kwargs(flags)
    assert said.findings == []
    return preflight(resolve(said.values))


def start(command: dict[str, Any], step: int = 4, status: str = "interrupted", **more: Any) -> Path:
    """The folder of a run that was stopped after a step."""
    plan = checked({**command, **more}).plan
    assert plan is not None
    run = Path(command["output_dir"])
    checkpoint = write_checkpoint(run, step)
    record = {"status": status, "plan": plan.as_json(), "data_fingerprint": plan.data.fingerprint}
    (run / "run.json").write_text(json.dumps({**record, "versions": {"autotrain-llm": VERSION}}))
    return checkpoint


def found(command: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The findings of resuming with other flags, by code; None removes a flag."""
    flags = {name: value for name, value in {**command, "resume": True, **changes}.items() if value is not None}
    return {finding.code: finding for finding in checked(flags).findings}


def test_a_run_that_is_resumed_as_it_was_started_draws_nothing_and_changes_nothing(command):
    start(command)
    result = checked({**command, "resume": True})
    assert result.findings == () and result.plan is not None
    assert result.plan.resume is not None and result.plan.resume.changes == {} and result.plan.resume.step == 4
    assert ("resumed", "after step 4", "6 steps left") in dict(result.plan.summary())["How"]


def test_a_new_value_takes_effect_and_the_plan_says_so(command):
    start(command)
    result = checked(
        {**command, "resume": True, "lr": 1e-5, "weight_decay": 0.5, "max_steps": 20, "scheduler": "cosine"}
    )
    assert result.findings == () and result.plan is not None
    rows = dict(result.plan.summary())["How"]
    assert ("  --lr", "2e-5 until step 4, then 1e-5", "command line") in rows
    assert ("  length", "20 steps in place of 10", "the learning rate goes on as in a run of 20") in rows
    assert result.plan.arguments.learning_rate == 1e-5 and result.plan.arguments.max_steps == 20


def test_steps_of_another_size_are_refused_and_may_be_divided_differently(command):
    start(command)
    finding = found(command, batch_size=6)["E415"]
    assert "6 rows (--batch-size 6)" in finding.message and "it had 4 (--batch-size 4)" in finding.message
    assert finding.changes == {"batch_size": 4}
    assert found(command, gradient_accumulation=2)["E415"].changes == {"gradient_accumulation": 1}
    assert found(command, batch_size=2, gradient_accumulation=2) == {}
    assert found(command, batch_size=1, gradient_accumulation=4) == {}


def as_first_process(monkeypatch):
    """What torchrun sets besides the number of processes."""
    for name, value in {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)


def test_another_number_of_processes_must_keep_the_rows_of_a_step(command, monkeypatch):
    start(command)
    monkeypatch.setenv("WORLD_SIZE", "2")
    as_first_process(monkeypatch)
    finding = found(command)["E415"]
    assert "8 rows (--batch-size 4 x 2 processes)" in finding.message
    assert finding.changes == {"batch_size": 2, "global_batch": 4}
    assert found(command, **finding.changes) == {}


def test_another_number_of_processes_accumulates_as_many_batches_as_the_rows_of_a_step_need(command, monkeypatch):
    start(command, gradient_accumulation=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    as_first_process(monkeypatch)
    result = checked({**command, "resume": True, "gradient_accumulation": 2})
    assert result.findings == () and result.plan is not None
    assert (result.plan.schedule.accumulated, result.plan.schedule.processes) == (1, 2)
    rows = [row for _, section in result.plan.summary() for row in section]
    assert any(row[0] == "steps" and "4 rows x 2 processes = 8" in row[1] for row in rows)
    monkeypatch.setenv("WORLD_SIZE", "3")
    finding = found(command, gradient_accumulation=2)["E415"]
    assert "12 rows (--batch-size 4 x 3 processes)" in finding.message and "it had 8" in finding.message
    assert finding.changes == {} and "of 8" in str(finding.fix)


def test_processes_that_divide_a_batch_take_the_steps_of_one(command, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    as_first_process(monkeypatch)
    start(command, context_parallel=2)
    divided = checked({**command, "resume": True, "context_parallel": 2})
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    alone = checked({**command, "resume": True, "context_parallel": 1})
    for result in (divided, alone):
        assert result.findings == () and result.plan is not None
        assert (result.plan.schedule.accumulated, result.plan.schedule.rows_of_step) == (1, 4)


def test_a_global_batch_is_what_any_number_of_processes_that_can_share_it_keeps(command, monkeypatch):
    start(command, global_batch=8)
    for processes, accumulated in ((1, 2), (2, 1)):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        as_first_process(monkeypatch)
        result = checked({**command, "resume": True, "global_batch": 8})
        assert result.findings == () and result.plan is not None
        assert result.plan.schedule.accumulated == accumulated


def goes_on_from(command: dict[str, Any], **changes: Any) -> tuple[str | None, bool]:
    """The checkpoint that the plan goes on from, by name, and whether what is in the folder makes room."""
    result = checked({**command, "resume": "auto", **changes})
    assert result.plan is not None and not result.refused, result.findings
    output = result.plan.output
    return output.checkpoint and Path(output.checkpoint).name, output.overwrite


def test_auto_begins_where_there_is_nothing_and_goes_on_where_there_is_a_checkpoint(command):
    assert goes_on_from(command) == (None, False)
    Path(command["output_dir"]).mkdir()
    assert goes_on_from(command) == (None, False)
    start(command)
    assert goes_on_from(command) == ("checkpoint-4", False)
    write_checkpoint(Path(command["output_dir"]), 6, without="trainer_state.json")  # it was being written
    assert goes_on_from(command) == ("checkpoint-4", False)


def test_auto_begins_again_where_no_checkpoint_was_completed_and_keeps_what_is_finished(command):
    start(command)
    (Path(command["output_dir"]) / "checkpoints/checkpoint-4/trainer_state.json").unlink()
    assert goes_on_from(command) == (None, True)
    (Path(command["output_dir"]) / "model.safetensors").write_text("")
    assert list(found(command, resume="auto")) == ["E401"]


def test_auto_does_not_begin_where_a_checkpoint_is_damaged(command):
    checkpoint = start(command)
    (checkpoint / "optimizer.safetensors").unlink()
    assert list(found(command, resume="auto")) == ["E405"]


def test_a_command_that_is_started_again_goes_on_whatever_it_was_told_at_first(command, monkeypatch):
    start(command)
    earlier = write_checkpoint(Path(command["output_dir"]), 2)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert goes_on_from(command, resume=False) == ("checkpoint-4", False)
    assert goes_on_from(command, resume=False, overwrite=True) == ("checkpoint-4", False)
    assert goes_on_from(command, resume=False, resume_from_checkpoint=str(earlier)) == ("checkpoint-4", False)


def test_a_run_that_ends_before_its_checkpoint_is_refused(command):
    start(command, step=6)
    write_checkpoint(Path(command["output_dir"]), 3)
    finding = found(command, max_steps=5)["E416"]
    assert "--max-steps 5 ends the run at step 5, and checkpoint-6 is of step 6" in finding.message
    assert list(found(command, resume=None, max_steps=5, **finding.changes)) == ["E419"]
    assert found(command, max_steps=2)["E416"].changes == {"max_steps": 6}
    assert found(command, max_steps=6) == {}
    assert "--epochs 0.25 ends the run at step 2" in found(command, max_steps=None, epochs=0.25)["E416"].message


def test_a_run_that_goes_another_way_tells_that_later_checkpoints_are_replaced(command, tmp_path):
    start(command, step=6)
    earlier = write_checkpoint(Path(command["output_dir"]), 3)
    finding = found(command, resume=None, resume_from_checkpoint=str(earlier))["E419"]
    assert "checkpoint-6" in finding.message and finding.changes == {"output_dir": str(tmp_path / "run-2")}
    assert found(command, resume=None, resume_from_checkpoint=str(earlier), **finding.changes) == {}


def test_a_complete_run_says_that_nothing_is_left_to_train(command):
    checkpoint = start(command, step=10, status="ok")
    assert found(command) == {}, "its model was not saved"
    (Path(command["output_dir"]) / "model.safetensors").write_text("")
    finding = found(command)["E417"]
    assert finding.severity == "warning" and "ended with step 10 of 10: nothing is left to train" in finding.message
    assert found(command, max_steps=12) == {}
    checkpoint.rename(checkpoint.with_name("checkpoint-6"))
    assert found(command) == {}


def test_a_run_that_was_stopped_early_is_complete_until_its_patience_is_larger(command):
    checkpoint = start(command, step=6, status="ok", early_stopping_patience=2)
    (Path(command["output_dir"]) / "model.safetensors").write_text("")
    counted = {"EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": 2}}}
    (checkpoint / "trainer_state.json").write_text(json.dumps({"stateful_callbacks": counted}))
    assert "was stopped early at step 6" in found(command, early_stopping_patience=2)["E417"].message
    assert found(command, early_stopping_patience=3) == {}


def test_rows_that_have_changed_are_told_from_flags_that_select_others(command):
    start(command)
    finding = found(command, max_samples=36)["E413"]
    assert "--max-samples was not given" in finding.message and finding.changes == {"max_samples": None}
    assert found(command, valid_split="10")["E413"].changes == {"valid_split": "8"}
    rows = Path(command["data_path"])
    moved = rows.rename(rows.with_name("elsewhere.jsonl"))
    moved.rename(rows)
    write_rows(rows, questions(44))
    finding = found(command)["E413"]
    assert f"{rows} has changed since" in finding.message and "@last" in finding.fix


def test_a_type_that_follows_from_the_machine_is_told_where_it_differs(command):
    start({**command, "mixed_precision": "fp32"})
    run_file = Path(command["output_dir"]) / "run.json"
    record = json.loads(run_file.read_text())
    record["plan"]["parameters"]["mixed_precision"]["value"] = None
    record["plan"]["precision"]["name"] = "fp16"
    run_file.write_text(json.dumps(record))
    assert "has computed in fp16, and from step 5 on" in found(command)["E418"].message
    result = checked({**command, "resume": True, "mixed_precision": "fp32"})
    assert result.findings == () and result.plan is not None and result.plan.resume is not None
    assert set(result.plan.resume.changes) == {"mixed_precision"}


def test_a_length_that_is_refused_is_not_also_called_other_rows(command):
    start(command)
    assert list(found(command, block_size=512)) == ["E406"]
