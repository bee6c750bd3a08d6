"""`--save-plan` and `--plan`: the same plan is trained, or what has changed is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotrain_llm import check, plan
from autotrain_llm.declare.finding import Refused
from support.light_models import build_light_model
from support.resumable import write_checkpoint


@pytest.fixture
def command(tmp_path, chat_rows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build_light_model(tmp_path / "model")
    return {
        "trainer": "sft",
        "model": str(model),
        "data_path": str(chat_rows),
        "lr": 1e-4,
        "epochs": 1,
        "batch_size": 4,
    }


@pytest.fixture
def kept(command, tmp_path):
    file = tmp_path / "plan.json"
    plan(**command, save_plan=str(file), token="hf_secret")
    return file


def codes(**flags):
    return [finding.code for finding in check(**flags)]


def test_a_kept_plan_comes_out_the_same(command, kept):
    assert codes(plan=str(kept)) == []
    first, again = plan(**command), plan(plan=str(kept))
    assert replace(again, output=first.output, parameters=first.parameters) == first
    assert again.output.dir == first.output.dir


def test_the_run_of_a_kept_plan_can_be_resumed(command, kept):
    write_checkpoint(Path(plan(plan=str(kept)).output.dir), 3)
    assert codes(plan=str(kept), resume=True) == []
    resumed = plan(plan=str(kept), resume=True)
    assert resumed.resume is not None and resumed.resume.step == 3


def test_no_secret_is_kept(kept):
    assert "hf_secret" not in kept.read_text()


def test_flags_beside_a_plan_may_say_the_same_and_nothing_else(command, kept):
    assert codes(plan=str(kept), lr=1e-4, strict=True) == []
    (finding,) = check(plan=str(kept), lr=3e-4)
    assert finding.code == "P116" and finding.parameters == ("lr", "plan") and "1e-4" in finding.message
    assert codes(plan=str(kept), eval_steps=3) == ["P116"]


def test_what_has_changed_since_is_named(command, kept, tmp_path):
    rows = tmp_path / command["data_path"]
    text = rows.read_text()
    rows.write_text(text.replace('"content": "', '"content": "Well, ', 1))
    found = check(plan=str(kept))
    assert {finding.code for finding in found} == {"P117"} and rows.name in found[0].message
    rows.write_text(text)
    assert codes(plan=str(kept)) == []
    config = tmp_path / "model" / "generation_config.json"
    config.write_text("{}")
    (finding,) = check(plan=str(kept))
    assert finding.code == "P117" and "generation_config.json is new" in finding.message
    config.unlink()
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # the size is the same
    weights.write_bytes(content)
    (finding,) = check(plan=str(kept))
    assert "model.safetensors is different" in finding.message


def test_another_version_of_a_package_is_named(kept):
    document = json.loads(kept.read_text())
    document["versions"]["torch"] = "1.0"
    kept.write_text(json.dumps(document))
    (finding,) = check(plan=str(kept))
    assert finding.code == "P117" and "torch was 1.0 and is now" in finding.message


def test_a_machine_on_which_something_else_follows_is_named(kept):
    document = json.loads(kept.read_text())
    here = document["plan"]["precision"]["name"]
    document["plan"]["precision"]["name"] = "fp16"
    kept.write_text(json.dumps(document))
    (finding,) = check(plan=str(kept))
    assert finding.code == "P117" and f"name was fp16 and is now {here}" in finding.message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"form": 1}', '{"form": 1, "given": {}, "plan": {}, "files": {}, "versions": {}}']
)
def test_a_file_that_is_no_plan_is_refused(text, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    assert codes(plan=str(tmp_path / "plan.json")) == ["P115"]
    assert codes(plan=str(tmp_path / "nowhere.json")) == ["P115"]


def test_a_plan_that_cannot_be_written_is_refused(command, tmp_path):
    with pytest.raises(Refused) as refused:
        plan(**command, save_plan=str(tmp_path / "none" / "plan.json"))
    assert [finding.code for finding in refused.value.findings] == ["P114"]


# ---- a plan of a part of the rows


def test_a_plan_of_the_first_rows_says_so_and_the_others_are_checked_when_it_is_trained(command, tmp_path):
    file = tmp_path / "plan.json"
    part = plan(**command, save_plan=str(file), check_rows=10)
    assert json.loads(file.read_text())["first_rows"] == 10 and part.data.rows == 10 and part.steps == 3
    assert codes(plan=str(file)) == []
    whole = plan(plan=str(file))
    assert whole.data.rows == 48 and whole.steps == 12 and whole.data.not_checked == ()


def test_what_is_wrong_in_rows_that_were_left_out_is_found_when_the_plan_is_trained(command, tmp_path):
    rows, file = tmp_path / command["data_path"], tmp_path / "plan.json"
    with rows.open("a") as data:
        data.write('{"messages": [{"role": "user", "content": "And then?"}]}\n')
    plan(**command, save_plan=str(file), check_rows=10)
    (finding,) = check(plan=str(file))
    assert finding.code == "D147" and finding.row == 49


def test_what_does_not_follow_from_the_rows_is_compared_in_a_plan_of_the_first_rows_too(command, tmp_path):
    rows, file = tmp_path / command["data_path"], tmp_path / "plan.json"
    plan(**command, save_plan=str(file), check_rows=10)
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "plan": {**document["plan"], "seed": 7}}))
    (finding,) = check(plan=str(file))
    assert finding.code == "P117" and "the plan's seed" in finding.message
    file.write_text(json.dumps(document))
    rows.write_text(rows.read_text().replace("yellow", "purple"))  # beyond the first ten as well
    assert codes(plan=str(file)) == ["P117"]


def test_a_kept_plan_can_be_looked_at_with_the_first_rows_alone(command, kept):
    assert codes(plan=str(kept), check_rows=10) == []


def test_so_many_rows_that_none_are_left_out_make_a_whole_plan(command, tmp_path):
    file = tmp_path / "plan.json"
    made = plan(**command, save_plan=str(file), check_rows=500)
    assert json.loads(file.read_text())["first_rows"] is None and made.data.not_checked == ()
