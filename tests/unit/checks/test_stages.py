"""A config of stages: how it is read, and how all of its stages are checked before the first one starts."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from support.stages import checked, dpo, ppo, pretrain, reward, sft, write_pipeline

ALL = [pretrain(), sft(), dpo(), reward(), ppo()]


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def codes(result):
    return [finding.code for finding in result.findings]


def plan_of(result, name):
    return next(check for check in result.stages if check.stage.name == name).checked.plan


def actions(result):
    return {check.stage.name: check.action for check in result.stages}


# ---- reading


def test_a_stage_gets_what_stands_above_and_its_own_keys_win(tmp_path):
    path = write_pipeline(tmp_path, [pretrain(), sft(batch_size=2)])
    result = checked(path)
    assert codes(result) == []
    assert [plan_of(result, name).schedule.batch_size for name in ("pretrain", "sft")] == [4, 2]
    assert plan_of(result, "sft").output.dir == "runs/p/sft"


def test_stages_can_be_written_as_a_mapping(tmp_path):
    stages = {
        name: {key: value for key, value in stage.items() if key != "name"}
        for name, stage in (("pretrain", pretrain()), ("sft", sft()))
    }
    assert list(actions(checked(write_pipeline(tmp_path, stages)))) == ["pretrain", "sft"]


def test_what_stands_above_is_left_out_where_the_trainer_does_not_read_it(tmp_path):
    result = checked(write_pipeline(tmp_path, ALL, dpo_beta=0.3))
    assert codes(result) == []
    assert plan_of(result, "dpo").parameters["dpo_beta"].value == 0.3


def test_what_no_stage_reads_is_reported_once(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft()], dpo_beta=0.3))
    assert codes(result) == ["P101"]
    assert result.findings[0].message.startswith("stage pretrain: ")


def test_a_finding_names_the_stage_and_the_line_of_its_key(tmp_path):
    path = write_pipeline(tmp_path, [pretrain(), sft(lr=-1.0)])
    (finding,) = [one for one in checked(path).findings if one.severity == "error"]
    assert finding.message.startswith("stage sft: ") and finding.file == str(path)
    assert path.read_text().splitlines()[finding.line - 1].strip() == "lr: -1.0"


def test_an_unknown_key_of_a_stage_is_found_in_its_line_and_one_above_once(tmp_path):
    path = write_pipeline(tmp_path, [pretrain(), sft(colour="red")], shade="dark")
    found = [one for one in checked(path).findings if one.code == "P104"]
    assert [one.message.startswith("stage sft: ") for one in found] == [False, True]
    lines = path.read_text().splitlines()
    assert [lines[one.line - 1].strip() for one in found] == ["shade: dark", "colour: red"]


@pytest.mark.parametrize(
    ("stages", "code", "words"),
    [
        ([], "P150", "stages is empty"),
        ("sft", "P150", "not a list"),
        (["sft"], "P150", "not a config"),
        ([{key: value for key, value in pretrain().items() if key != "name"}], "P150", "has no name"),
        ([pretrain(name="../x")], "P150", "can't be the name"),
        ([pretrain(), sft(), sft()], "P151", "two stages have the name sft"),
        ([pretrain(), sft(name="Pretrain")], "P151", "some disks"),
        ([pretrain(), sft(model="${stages.pretrian}")], "P152", "does not exist"),
        ([pretrain(), sft(model="pretran@best")], "P152", "does not exist"),
        ([pretrain(), sft(model="${stages.sft}")], "P153", "its own stage"),
        ([sft(), pretrain()], "P153", "comes later"),
        ([pretrain(), sft(output_dir="x")], "P154", "belongs above"),
        ([pretrain(), sft(stages=[])], "P154", "stages of their own"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_list_of_stages_is_a_finding(stages, code, words, tmp_path):
    result = checked(write_pipeline(tmp_path, stages))
    found = [one for one in result.findings if one.code == code]
    assert len(found) == 1 and words in found[0].message, result.findings
    assert result.refused


def test_two_stages_that_need_each_other_are_a_circle(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(model="${stages.sft}"), sft()]))
    (finding,) = [one for one in result.findings if one.code == "P153"]
    assert "a circle" in finding.message
    later = checked(write_pipeline(tmp_path, [sft(), pretrain()]))
    assert not any("circle" in one.message for one in later.findings)


def test_a_close_name_is_shown(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft(model="${stages.pretrian}")]))
    assert "${stages.pretrain}" in str(next(one.fix for one in result.findings if one.code == "P152"))


# ---- the models of earlier stages


def test_every_stage_is_planned_with_the_models_that_earlier_ones_will_write(tmp_path):
    result = checked(write_pipeline(tmp_path, ALL))
    assert codes(result) == [] and not (tmp_path / "runs").exists()
    assert all(check.checked.plan is not None for check in result.stages)
    assert plan_of(result, "reward").model.head == "new"
    assert plan_of(result, "ppo").rollouts.rl_value_model == "corrected"
    assert {plan_of(result, name).model.folder for name in ("sft", "ppo")} == {"runs/p/pretrain", "runs/p/dpo"}


def test_a_reward_model_where_a_policy_belongs_is_found_before_either_exists(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft(), reward(), dpo(model="${stages.reward}")]))
    assert "M142" in codes(result)


def test_a_policy_where_a_reward_model_belongs_is_found_before_either_exists(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft(), dpo(), ppo(rl_reward_model_path="sft")]))
    assert "M161" in codes(result)


def test_the_context_of_a_new_model_limits_later_stages(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft(max_seq_length=4000)]))
    assert any("1024" in one.message and one.message.startswith("stage sft") for one in result.findings), (
        result.findings
    )


def test_an_adapter_of_an_earlier_stage_is_trained_further_with_its_settings(light_llama, tmp_path):
    stages = [sft(model=str(light_llama), peft=True, lora_r=4, lr=1e-4), dpo(peft=True)]
    result = checked(write_pipeline(tmp_path, stages))
    assert codes(result) == []
    assert plan_of(result, "dpo").model.kind == "adapter" and plan_of(result, "dpo").adapter.r == 4
    assert plan_of(result, "dpo").objective.reference.kind == "the model with the adapter it began with"


def test_a_merged_adapter_is_a_whole_model_and_its_checkpoint_is_not(light_llama, tmp_path):
    merged = sft(model=str(light_llama), peft=True, merge_adapter=True, lr=1e-4)
    kinds = [
        plan_of(checked(write_pipeline(tmp_path, [merged, dpo(model=model)])), "dpo").model.kind
        for model in ("sft", "sft@best")
    ]
    assert kinds == ["folder", "adapter"]


def test_a_chat_template_that_a_stage_writes_is_the_next_ones(light_llama, tmp_path):
    stages = [sft(model=str(light_llama), chat_template="chatml"), sft(name="more", model="sft")]
    result = checked(write_pipeline(tmp_path, stages))
    (first, second) = [check.checked.context.prepared.template.source for check in result.stages]
    assert first == second


def test_rows_that_an_earlier_stage_writes_are_listed_as_not_checked(tmp_path):
    later = sft(name="more", model="sft", data_path="${stages.sft}/eval/predictions.jsonl")
    result = checked(write_pipeline(tmp_path, [pretrain(), sft(), later]))
    assert codes(result) == [] and not result.refused
    assert any("predictions.jsonl" in item.what and item.why == "stage sft writes it" for item in result.not_checked)
    assert any(item.what == "stage more: the plan" for item in result.not_checked)


# ---- the command


def test_a_flag_that_no_stage_sets_applies_to_all(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft()]), seed=5)
    assert [plan_of(result, name).seed for name in ("pretrain", "sft")] == [5, 5]


def test_a_flag_that_stages_set_themselves_is_refused(tmp_path):
    result = checked(write_pipeline(tmp_path, [pretrain(), sft()]), lr=1e-4)
    assert codes(result).count("P155") == 1


@pytest.mark.parametrize("flags", [{"only": "dpoo"}, {"from_stage": "nothing"}, {"only": "sft", "from_stage": "sft"}])
def test_a_selection_must_name_a_stage(flags, tmp_path):
    assert "P156" in codes(checked(write_pipeline(tmp_path, ALL), **flags))


def test_a_stage_that_a_chosen_one_needs_must_be_trained(tmp_path):
    result = checked(write_pipeline(tmp_path, ALL), only="dpo")
    assert "E552" in codes(result)


# ---- what was trained before


def trained(folder: Path, model: Path, inputs: dict, started: str = "2026-01-01T00:00:00+0000") -> dict:
    """A stage that looks finished: its folder, and its entry in pipeline.json."""
    shutil.copytree(model, folder)
    (folder / "run.json").write_text(json.dumps({"status": "ok", "started": started, "plan": {"trainer": "sft"}}))
    return {"name": folder.name, "inputs": inputs, "replaces": None, "status": "ok", "seconds": 1.0, "selection": None}


def first_is_trained(path: Path, model: Path, **changes) -> None:
    """pipeline.json as if the first stage had been trained with the inputs that it has now, and `changes`."""
    (check, *_) = checked(path).stages
    inputs = check.inputs.as_dict()
    inputs["parameters"] = {**inputs["parameters"], **changes}
    entry = trained(check.stage.folder, model, inputs)
    document = {"form": 1, "status": "stopped", "config": str(path), "selection": None, "stages": [entry]}
    (check.stage.folder.parent / "pipeline.json").write_text(json.dumps(document))


STAGES = [sft(name="first", model="MODEL"), dpo(name="second", model="first")]


@pytest.fixture
def config(light_llama, tmp_path):
    return write_pipeline(tmp_path, [{**STAGES[0], "model": str(light_llama)}, STAGES[1]])


def test_a_finished_stage_is_kept(config, light_llama):
    first_is_trained(config, light_llama)
    assert actions(checked(config)) == {"first": "keep", "second": "train"}
    assert actions(checked(config, overwrite=True)) == {"first": "train again", "second": "train"}
    assert actions(checked(config, from_stage="first"))["first"] == "train again"
    assert actions(checked(config, only="second")) == {"first": "leave out", "second": "train"}


def test_a_changed_stage_is_trained_again_and_the_reason_is_said(config, light_llama):
    first_is_trained(config, light_llama, lr=5e-5)
    (first, _) = checked(config).stages
    assert (first.action, first.why) == ("train again", "lr was 5e-5 and is 2e-5")
    result = checked(config, only="second")
    assert codes(result) == ["E553"] and not result.refused


def test_changed_rows_are_a_reason(config, light_llama, tmp_path):
    first_is_trained(config, light_llama)
    with (tmp_path / "chat.jsonl").open("a") as file:
        file.write((tmp_path / "chat.jsonl").read_text().splitlines()[0] + "\n")
    (first, _) = checked(config).stages
    assert (first.action, first.why) == ("train again", "chat.jsonl is different")


def test_a_run_of_somebody_else_in_a_stages_folder_is_refused(config, light_llama, tmp_path):
    trained(tmp_path / "runs/p/first", light_llama, {})
    assert "E550" in codes(checked(config))
    assert "E550" not in codes(checked(config, overwrite=True))


def test_a_folder_that_another_process_writes_to_is_refused(config, tmp_path):
    (tmp_path / "runs/p").mkdir(parents=True)
    with (tmp_path / "runs/p/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "E555" in codes(checked(config))
    assert "E555" not in codes(checked(config))


# ---- the other ways to check


def run(capsys, *words):
    from autotrain_llm.cli.main import main

    status = main([*words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_dry_run_lists_the_stages_with_their_plans(tmp_path, capsys):
    write_pipeline(tmp_path, ALL)
    status, document = run(capsys, "llm", "--config", "pipeline.yaml", "--dry-run")
    assert status == 0 and document["plan"] is None
    assert [(one["name"], one["action"]) for one in document["stages"]] == [(stage["name"], "train") for stage in ALL]
    assert [one["uses"] for one in document["stages"]] == [[], ["pretrain"], ["sft"], ["sft"], ["dpo", "reward"]]
    assert all(one["plan"]["trainer"] for one in document["stages"])
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_as_text_fits_a_narrow_terminal(tmp_path, capsys, monkeypatch):
    from autotrain_llm.cli.main import main

    monkeypatch.setenv("COLUMNS", "80")
    write_pipeline(tmp_path, [pretrain(), sft()])
    assert main(["llm", "--config", "pipeline.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Stages\n") and "Stage pretrain" in said and "train: not trained yet" in said


def test_strict_refuses_a_warning_of_any_stage(tmp_path, capsys):
    write_pipeline(tmp_path, [pretrain(), sft(dpo_beta=0.1)])
    assert run(capsys, "llm", "--config", "pipeline.yaml", "--dry-run")[0] == 0
    assert run(capsys, "llm", "--config", "pipeline.yaml", "--dry-run", "--strict")[0] == 2


def test_strict_holds_for_what_is_found_when_a_stage_starts(tmp_path):
    """Rows that an earlier stage writes are checked then."""
    result = checked(write_pipeline(tmp_path, [pretrain(), sft()]), strict=True)
    assert all(check.checked.config.strict for check in result.stages) and not result.refused
    assert all("strict" not in check.checked.plan.as_json()["parameters"] for check in result.stages)


def test_the_check_command_knows_stages_and_files_of_other_programs(tmp_path, capsys):
    (tmp_path / "configs").mkdir()
    write_pipeline(tmp_path, [pretrain(), sft(lr=-1.0)]).rename(tmp_path / "configs/pipeline.yaml")
    (tmp_path / "azure-pipelines.yml").write_text("stages:\n- stage: Build\n  jobs: []\n")
    status, document = run(capsys, "check")
    assert status == 2 and [one["file"] for one in document["files"]] == ["configs/pipeline.yaml"]
    assert {one["code"] for one in document["findings"]} == {"P301"}
    assert run(capsys, "check", "--flags-only")[0] == 2


def test_fix_corrects_the_stage_and_keeps_references(tmp_path, capsys):
    import yaml

    write_pipeline(tmp_path, [pretrain(), sft(optimizer="adamw_hf", dpo_beta=0.1)])
    status, document = run(capsys, "llm", "--config", "pipeline.yaml", "--fix", "--write-config", "fixed.yaml")
    assert status == 0 and {one["code"] for one in document["fixed"]["applied"]} == {"P101", "P111"}
    written = yaml.safe_load((tmp_path / "fixed.yaml").read_text())
    assert written["stages"][1] == {**sft(), "optimizer": "adamw_torch"} and written["output_dir"] == "runs/p"
    assert codes(checked(tmp_path / "fixed.yaml")) == []


def test_a_saved_plan_is_refused_when_a_stage_has_changed(tmp_path, capsys):
    write_pipeline(tmp_path, [pretrain(), sft()])
    assert (
        run(capsys, "llm", "--config", "pipeline.yaml", "--dry-run", "--save-plan", "plan.json", "--seed", "3")[0] == 0
    )
    status, document = run(capsys, "llm", "--plan", "plan.json", "--dry-run")
    assert status == 0 and document["stages"][0]["plan"]["seed"] == 3
    assert run(capsys, "llm", "--plan", "plan.json", "--dry-run", "--seed", "4")[0] == 2
    write_pipeline(tmp_path, [pretrain(), sft(lr=1e-5)])
    status, document = run(capsys, "llm", "--plan", "plan.json", "--dry-run")
    assert status == 2 and {one["code"] for one in document["findings"]} == {"P117"}
    assert all(one["message"].startswith("stage sft: ") for one in document["findings"])


def test_a_config_of_stages_can_extend_others(tmp_path):
    (tmp_path / "base.yaml").write_text("dpo_beta: 0.4\n")
    (tmp_path / "short.yaml").write_text("max_steps: 3\n")
    result = checked(
        write_pipeline(tmp_path, [sft(model="scratch:100k"), dpo(extends="short.yaml")], extends="base.yaml")
    )
    assert codes(result) == []
    assert plan_of(result, "dpo").steps == 3
    assert plan_of(result, "dpo").parameters["dpo_beta"].value == 0.4
    assert plan_of(result, "sft").steps != 3


def test_a_preset_stands_above_or_in_a_stage(light_llama, tmp_path):
    result = checked(
        write_pipeline(tmp_path, [sft(model=str(light_llama), preset="lora-24gb"), sft(name="more", model="sft")])
    )
    assert plan_of(result, "sft").adapter is not None and plan_of(result, "more").adapter is None


def test_calls_about_one_run_name_those_about_stages(tmp_path):
    import autotrain_llm
    from autotrain_llm.declare.finding import Refused

    path = str(write_pipeline(tmp_path, [pretrain(), sft()]))
    for name in ("plan", "train"):
        with pytest.raises(Refused) as refused:
            getattr(autotrain_llm, name)(config=path)
        assert f"{name}_stages(" in str(refused.value.findings[0].fix)
    assert autotrain_llm.check(config=path) == ()
    assert [check.action for check in autotrain_llm.plan_stages(config=path).stages] == ["train", "train"]
    (tmp_path / "one.yaml").write_text("trainer: sft\n")
    with pytest.raises(Refused, match="has none"):
        autotrain_llm.plan_stages(config=str(tmp_path / "one.yaml"))


def test_plans_of_stages_are_saved_from_python_too_and_a_call_about_one_run_refuses_them(tmp_path):
    import autotrain_llm
    from autotrain_llm.declare.finding import Refused

    path = str(write_pipeline(tmp_path, [pretrain(), sft()]))
    autotrain_llm.plan_stages(config=path, save_plan="saved.json")
    assert json.loads((tmp_path / "saved.json").read_text())["stages"].keys() == {"pretrain", "sft"}
    with pytest.raises(Refused) as refused:
        autotrain_llm.plan(plan="saved.json")
    assert refused.value.findings[0].fix == "plan_stages(plan='saved.json')"


def test_rows_of_a_stage_are_those_of_a_tokenizer_that_transformers_saved_again():
    """A saved tokenizer has a post-processor that does nothing; its rows are the same, and cached once."""
    from autotrain_llm.data.tokenizer.tokenizer import _without_idle_processor

    piece = {"Sequence": {"id": "A", "type_id": 0}}
    idle = {"type": "TemplateProcessing", "single": [piece], "pair": [piece, piece], "special_tokens": {}}
    adds = {**idle, "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, piece]}
    text = [json.dumps({"post_processor": one}, separators=(",", ":")) for one in (None, idle, adds)]
    none, without, other = map(_without_idle_processor, text)
    assert none == without and other != without


def test_a_fault_of_one_key_brings_no_others(tmp_path):
    """As in the config of one run: a value that can't be read is not missing, and a stage that doesn't exist is no folder that is missing."""
    result = checked(
        write_pipeline(tmp_path, [pretrain(), sft(lr="x", model="${stages.pretrian}"), dpo(trainer="dpoo")])
    )
    assert sorted(one.code for one in result.findings if one.severity == "error") == ["P152", "P302", "P303"]
