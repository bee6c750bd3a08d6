"""What was not checked is said, in one line each: silence means that it was looked at."""

from __future__ import annotations

import json

import pytest

from autotrain_llm.checks.coverage import MODEL, ROWS, TOKENS
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.cli.main import main
from autotrain_llm.config.resolved import resolve
from support.light_models import build_light_model


@pytest.fixture
def command(light_llama, chat_rows):
    words = {"trainer": "sft", "model": str(light_llama), "data_path": str(chat_rows), "lr": 1e-4, "epochs": 1.0}
    return {**words, "batch_size": 4}


def left(**command):
    return {item.what: item for item in preflight(resolve(command)).not_checked}


def test_where_everything_was_looked_at_nothing_is_said(command):
    assert left(**command) == {}


def test_stages_that_were_not_reached_are_said_to_be_skipped(command):
    assert set(left(**command | {"model": None})) == {MODEL, TOKENS}
    assert set(left(**command | {"data_path": None})) == {ROWS, TOKENS}
    assert "--data-path is not given" in left(**command | {"data_path": None})[ROWS].why
    assert set(left(**command | {"block_size": 1})) == {TOKENS}
    assert "--block-size" in left(**command | {"block_size": 1})[TOKENS].why
    assert set(left(**command | {"model": "nowhere/at/all"})) == {TOKENS}
    assert left(**command | {"lr": -1.0}) == {}  # a wrong value hides nothing else


def test_a_dry_run_without_a_gpu_says_that_its_memory_is_estimated(command):
    checked = preflight(resolve(command | {"dry_run": True}))
    if checked.context.machine.has_cuda:
        pytest.skip("there is a GPU")
    assert any("memory of a GPU" in item.what for item in checked.not_checked)


def test_rows_that_were_not_read_are_named(command):
    said = left(**command | {"dry_run": True, "check_rows": 3})
    assert "rows beyond the first 3" in said


def test_services_are_not_asked_before_the_run(command, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert any("write to the Hub" in what for what in left(**command | {"push_to_hub": True}))
    assert any("trials" in what for what in left(**command | {"use_sweep": True, "valid_split": "0.25"}))


def test_code_that_a_model_brings_is_named(command, tmp_path):
    own = build_light_model(tmp_path / "own", auto_map={"AutoConfig": "own.Config"})
    assert any("code" in what for what in left(**command | {"model": str(own), "trust_remote_code": True}))


def test_it_is_part_of_the_document_and_of_the_text(command, capsys):
    words = [
        "llm",
        "--trainer",
        "sft",
        "--lr",
        "1e-4",
        "--data-path",
        command["data_path"],
        "--epochs",
        "1",
        "--batch-size",
        "4",
    ]
    assert main([*words, "--format", "json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert {"what": MODEL, "why": "--model is not given", "how": document["not_checked"][0]["how"]} in document[
        "not_checked"
    ]
    assert main(words) == 2
    text = capsys.readouterr().err
    assert f"Not checked: {MODEL}" in text and "fix: --model" in text
