"""Values that can't be used are reported, and no check that follows breaks off on them."""

from __future__ import annotations

import pytest

from autotrain_llm import check
from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict
from support.rows import questions, write_rows

EVALUATES = {"valid_split": "0.25", "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}
CASES = [
    (name, value)
    for name, param in PARAMS.items()
    if param.within is not None and verdict(param, TRAINERS["sft"]) == READS
    for value in param.within.bad_values()
]


@pytest.fixture(scope="module")
def command(tmp_path_factory, light_llama):
    rows = write_rows(tmp_path_factory.mktemp("rows") / "chat.jsonl", questions(12))
    words = {
        "trainer": "sft",
        "model": str(light_llama),
        "data_path": str(rows),
        "lr": 1e-4,
        "epochs": 1,
        "batch_size": 2,
    }
    return {**words, **EVALUATES}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_value_out_of_bounds_is_reported_by_its_name(name, value, command):
    given = {**command, name: int(value) if PARAMS[name].kind == "int" else value}
    assert any(name in finding.parameters for finding in check(**given) if finding.severity == "error")


@pytest.mark.parametrize("missing", ["batch_size", "epochs", "lr", "model", "data_path"])
def test_without_a_required_parameter_that_alone_is_reported(missing, command):
    errors = [finding for finding in check(**{**command, missing: None}) if finding.severity == "error"]
    assert [(finding.code, finding.parameters) for finding in errors] == [("P201", (missing,))]


@pytest.mark.parametrize("share", ["nan", "inf", "-inf", "1e400", "-1", "12", "1.5"])
def test_a_share_that_can_not_be_held_out_is_reported(share, command):
    (finding,) = (finding for finding in check(**{**command, "valid_split": share}) if finding.severity == "error")
    assert finding.code in ("D129", "P301", "P302") and "valid_split" in finding.parameters


@pytest.mark.parametrize("parameter", ["model", "tokenizer", "teacher_model"])
@pytest.mark.parametrize("name", ["1.", "x.", "a/b.", "a-/b", "a/-b", "x.git", "a..b", "a--b", "a/b/c", " ", "a b"])
def test_a_name_that_the_hub_can_not_have_is_refused_before_it_is_asked(name, parameter, command):
    more = {"use_distillation": True} if parameter == "teacher_model" else {}
    errors = [finding for finding in check(**{**command, parameter: name, **more}) if finding.severity == "error"]
    assert errors and all(finding.code.startswith(("M", "P")) for finding in errors)
