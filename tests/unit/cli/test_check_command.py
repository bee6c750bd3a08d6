"""`autotrain check` and `--format sarif`: the configs of a repository, for a hook and for a code host."""

from __future__ import annotations

import json

import pytest
import yaml

from autotrain_llm.cli.main import main
from support.paths import PROJECT

GOOD = "trainer: sft\nmodel: scratch:1m\ndata_path: rows.jsonl\nlr: 1e-3\nepochs: 1\nbatch_size: 4\n"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "configs"):
        folder.mkdir(exist_ok=True)
        (folder / "rows.jsonl").write_text("".join(f'{{"text": "This is row {n}."}}\n' for n in range(20)))
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "configs" / "bad.yaml").write_text(GOOD.replace("epochs: 1", "epochs: 0"))
    (tmp_path / "other.yaml").write_text("repos: []\nmodel: x\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "bad.yaml").write_text(GOOD.replace("epochs: 1", "epochs: 0"))
    return tmp_path


def answer(capsys, *words):
    status = main(["check", *words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def test_files_that_are_named_are_checked(repository, capsys):
    status, document = answer(capsys, "good.yaml")
    assert (status, document["status"], document["findings"]) == (0, "ok", [])
    status, document = answer(capsys, "good.yaml", "configs/bad.yaml")
    assert status == 2 and document["status"] == "refused"
    assert [(finding["code"], finding["file"]) for finding in document["findings"]] == [("P301", "configs/bad.yaml")]
    assert [file["status"] for file in document["files"]] == ["ok", "refused"]


def test_without_names_the_configs_beneath_the_folder_are_found(repository, capsys):
    _, document = answer(capsys)
    assert [file["file"] for file in document["files"]] == ["good.yaml", "configs/bad.yaml"]
    (repository / "good.yaml").unlink()
    (repository / "configs" / "bad.yaml").unlink()
    status, document = answer(capsys)
    assert status == 2 and [finding["code"] for finding in document["findings"]] == ["P118"]


def test_a_file_of_something_else_is_passed_over_and_said_to_be(repository, capsys):
    status, document = answer(capsys, "other.yaml")
    assert status == 0 and document["findings"] == []
    assert [item["what"] for item in document["not_checked"]] == ["other.yaml"]


def test_a_path_is_looked_for_here_and_then_beside_the_config(repository, capsys):
    config = repository / "configs" / "beside.yaml"
    config.write_text(GOOD.replace("rows.jsonl", "only.jsonl"))
    assert answer(capsys, "configs/beside.yaml")[0] == 2
    (repository / "configs" / "only.jsonl").write_text('{"text": "One."}\n{"text": "Two."}\n')
    assert answer(capsys, "configs/beside.yaml")[0] == 0


def test_a_config_that_was_run_before_is_in_order(repository, capsys):
    (repository / "out").mkdir()
    (repository / "out" / "run.json").write_text("{}")
    (repository / "good.yaml").write_text(GOOD + "output_dir: out\n")
    assert answer(capsys, "good.yaml")[0] == 0


def test_flags_alone_need_neither_data_nor_model(repository, capsys):
    (repository / "good.yaml").write_text(
        GOOD.replace("rows.jsonl", "nowhere.jsonl").replace("scratch:1m", "nowhere/at/all")
    )
    status, document = answer(capsys, "good.yaml", "--flags-only")
    assert status == 0 and "only flags" in document["not_checked"][0]["why"]
    assert answer(capsys, "good.yaml")[0] == 2


def test_strict_lets_a_warning_fail(repository, capsys):
    (repository / "good.yaml").write_text(GOOD + "dpo_beta: 0.1\n")
    assert answer(capsys, "good.yaml")[0] == 0
    assert answer(capsys, "good.yaml", "--strict")[0] == 2


@pytest.mark.parametrize("words", [["--nope"], ["--format=xml"], ["--format"]])
def test_a_flag_that_is_none_is_refused(repository, words, capsys):
    assert main(["check", *words]) == 2
    assert "Error:" in capsys.readouterr().err


def test_the_hooks_run_commands_that_there_are():
    hooks = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text())
    assert {hook["id"] for hook in hooks} == {"autotrain-check", "autotrain-check-flags"}
    for hook in hooks:
        assert hook["entry"].split()[:2] == ["autotrain", "check"] and set(hook["entry"].split()[2:]) <= {
            "--flags-only"
        }


# ---- SARIF 2.1.0, as far as its schema can be written down here


def assert_sarif(document):
    assert document["version"] == "2.1.0" and document["$schema"].endswith("sarif-2.1.0.json")
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for rule in rules:
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning")
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning") and result["message"]["text"]
        for location in result["locations"]:
            place = location["physicalLocation"]
            assert not place["artifactLocation"]["uri"].startswith("/")
            assert place.get("region", {"startLine": 1})["startLine"] >= 1
    return run["results"]


def test_findings_as_sarif_point_at_the_line_of_the_config(repository, capsys):
    assert main(["check", "configs/bad.yaml", "--format", "sarif"]) == 2
    (result,) = assert_sarif(json.loads(capsys.readouterr().out))
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("configs/bad.yaml", 5)
    assert "fix: --epochs 1" in result["message"]["text"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [("a.jsonl", '{"text": "One."}\n\n{"text": ""}\n', 3), ("a.csv", "text\nOne.\n''\n", None)],
)
def test_findings_as_sarif_point_at_the_line_of_the_rows(repository, capsys, name, content, line):
    (repository / name).write_text(content)
    words = [
        "--trainer",
        "sft",
        "--model",
        "scratch:1m",
        "--data-path",
        name,
        "--lr",
        "1e-3",
        "--epochs",
        "1",
        "--batch-size",
        "1",
    ]
    main(["llm", *words, "--dry-run", "--format", "sarif"])
    results = assert_sarif(json.loads(capsys.readouterr().out))
    lines = [
        place["physicalLocation"].get("region", {}).get("startLine")
        for result in results
        for place in result["locations"]
    ]
    assert line is None or line in lines


def test_a_command_that_is_in_order_is_an_empty_list(repository, capsys):
    assert main(["llm", "--config", "good.yaml", "--dry-run", "--format", "sarif"]) == 0
    assert assert_sarif(json.loads(capsys.readouterr().out)) == []
