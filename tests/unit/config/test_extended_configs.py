"""`extends`: a config file above others, the file that sets each value, and what is wrong with a chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotrain_llm.checks.entry import check_arguments
from autotrain_llm.cli.check import configs_beneath, without_bases
from autotrain_llm.cli.main import main
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.config.file import parts_of, read_config
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, DEFAULT
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import config_of


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"text": "Row {n} tells of {n * n}."}}\n' for n in range(6)))
    return tmp_path


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def files(arguments: ParsedArguments) -> dict[str, str | None]:
    return {name: origin.file for name, origin in arguments.origins.items()}


def refusal(path: str) -> Finding:
    with pytest.raises(Refused) as refused:
        read_config(path)
    (finding,) = refused.value.findings
    return finding


def test_a_file_stands_above_the_one_that_it_extends():
    write("base.yaml", "trainer: sft\nlr: 1e-5\nepochs: 2\n")
    write("run.yaml", "extends: base.yaml\nlr: 2e-5\n")
    arguments = read_config("run.yaml")
    assert arguments.findings == []
    assert arguments.values == {"trainer": "sft", "epochs": 2.0, "lr": 2e-5}
    assert files(arguments) == {"trainer": "base.yaml", "epochs": "base.yaml", "lr": "run.yaml"}


def test_a_chain_goes_through_folders_relative_to_each_file_and_through_every_kind_of_file():
    write("shared/first.json", '{"trainer": "dpo", "seed": 1}')
    write("shared/second.py", 'extends = "first.json"\nseed = 2\nepochs = 3\n')
    write("configs/run.yaml", "extends: ../shared/second.py\nepochs: 4\n")
    arguments = read_config("configs/run.yaml")
    assert arguments.findings == []
    assert arguments.values == {"trainer": "dpo", "seed": 2, "epochs": 4.0}
    assert files(arguments) == {
        "trainer": "configs/../shared/first.json",
        "seed": "configs/../shared/second.py",
        "epochs": "configs/run.yaml",
    }


def test_of_several_files_a_later_one_wins_and_what_both_extend_stands_below_both():
    write("common.yaml", "lr: 1e-5\nseed: 1\nepochs: 1\n")
    write("first.yaml", "extends: common.yaml\nlr: 2e-5\n")
    write("second.yaml", "extends: common.yaml\nseed: 2\n")
    write("run.yaml", "extends: [first.yaml, second.yaml]\n")
    assert read_config("run.yaml").values == {"lr": 2e-5, "seed": 2, "epochs": 1.0}
    assert [part.file for part in parts_of("run.yaml")] == ["common.yaml", "first.yaml", "second.yaml", "run.yaml"]


def test_autotrains_own_shape_and_flat_keys_extend_each_other():
    write("base.yml", "task: llm-sft\nbase_model: m\nparams: {lr: 1e-5, batch_size: 1}\ndata: {path: rows.jsonl}\n")
    write("run.yaml", "extends: base.yml\nbatch-size: 4\n")
    arguments = read_config("run.yaml")
    assert arguments.findings == []
    assert arguments.values == {"trainer": "sft", "model": "m", "lr": 1e-5, "data_path": "rows.jsonl", "batch_size": 4}


def test_what_a_later_file_replaces_is_not_looked_at(monkeypatch):
    monkeypatch.delenv("NO_SUCH_SEED", raising=False)
    write("base.yaml", "seed: ${NO_SUCH_SEED}\nlr: fast\n")
    write("run.yaml", "extends: base.yaml\nseed: 7\nlr: 1e-5\n")
    assert read_config("run.yaml").findings == []
    assert [(finding.code, finding.file) for finding in read_config("base.yaml").findings] == [
        ("P127", "base.yaml"),
        ("P302", "base.yaml"),
    ]


def test_nothing_in_a_later_file_takes_a_value_back():
    write("base.yaml", "valid_split: '0.1'\nseed: 1\n")
    write("run.yaml", "extends: base.yaml\nvalid_split: null\n")
    assert read_config("run.yaml").values == {"valid_split": None, "seed": 1}


@pytest.mark.parametrize("value", ["3", "true", "null", "''", "[base.yaml, 3]", "{file: base.yaml}"])
def test_what_is_extended_is_a_file_or_a_list_of_files(value):
    write("run.yaml", f"extends: {value}\nlr: 1e-5\n")
    finding = refusal("run.yaml")
    assert (finding.code, finding.file, finding.parameters) == ("P128", "run.yaml", ("config",))


def test_a_file_that_is_not_there_is_named_with_the_one_that_extends_it_and_its_nearest_name():
    write("configs/base.yaml", "lr: 1e-5\n")
    write("configs/run.yaml", "extends: bsae.yaml\n")
    finding = refusal("configs/run.yaml")
    assert "--config configs/run.yaml extends bsae.yaml, and there is no file configs/bsae.yaml" in finding.message
    assert finding.fix == "extends: base.yaml"


def test_a_circle_is_shown_as_it_goes():
    write("a.yaml", "extends: b.yaml\nlr: 1\n")
    write("b.yaml", "extends: c.yaml\n")
    write("c.yaml", "extends: ./b.yaml\n")
    assert "--config b.yaml, which extends c.yaml, which extends b.yaml: a circle" in refusal("a.yaml").message
    write("self.yaml", "extends: self.yaml\n")
    assert "self.yaml, which extends self.yaml" in refusal("self.yaml").message


def test_files_that_extend_one_another_in_many_ways_or_deeply_are_read_once_or_refused():
    for level in range(15):
        write(
            f"c{level}.yaml", f"extends: [c{level + 1}.yaml, c{level + 1}.yaml, ./c{level + 1}.yaml]\nseed: {level}\n"
        )
    write("c15.yaml", "lr: 1e-5\n")
    assert read_config("c0.yaml").values == {"seed": 0, "lr": 1e-5}
    assert len(parts_of("c0.yaml")) == 16
    for level in range(100):
        write(f"d{level}.yaml", f"extends: d{level + 1}.yaml\n")
    write("d100.yaml", "lr: 1e-5\n")
    assert "more than 20 deep" in refusal("d0.yaml").message


def test_a_fault_in_a_file_that_is_extended_names_that_file(capsys):
    write("base.yaml", "lr: -1\nlerning: 2\n")
    write("run.yaml", "extends: base.yaml\ntrainer: sft\n")
    main(["llm", "--config", "run.yaml", "--dry-run", "--format", "json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["code"]: finding["file"] for finding in findings if finding["code"] in ("P104", "P301")} == {
        "P104": "base.yaml",
        "P301": "base.yaml",
    }
    write("base.yaml", "lr: [1\n")
    assert refusal("run.yaml").file == "base.yaml"


COMPLETE = "trainer: sft\nmodel: scratch:100k\ndata_path: rows.jsonl\nepochs: 1\nbatch_size: 2\nlr: 1e-3\n"


def test_the_plan_has_the_file_of_each_value_and_is_read_back(capsys):
    write("base.yaml", COMPLETE)
    write("run.yaml", "extends: base.yaml\nlr: 2e-3\n")
    checked = check_arguments(parse_kwargs({"seed": 3, "dry_run": True, "config": "run.yaml"}), read_config("run.yaml"))
    assert checked.plan is not None
    cells = checked.plan.as_json()["parameters"]
    assert cells["epochs"] == {"value": 1.0, "source": CONFIG_FILE, "file": "base.yaml"}
    assert cells["lr"] == {"value": 2e-3, "source": CONFIG_FILE, "file": "run.yaml"}
    assert cells["seed"] == {"value": 3, "source": COMMAND_LINE}
    assert cells["scheduler"] == {"value": "linear", "source": DEFAULT}
    again = Plan.from_json(json.loads(json.dumps(checked.plan.as_json())))
    assert again == checked.plan
    assert config_of(again).origin("lr").file == "run.yaml" and config_of(again).source("lr") == CONFIG_FILE
    assert main(["llm", "--config", "run.yaml", "--dry-run", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["epochs", "1", "config", "file", "base.yaml"] for line in lines)
    assert any(line.split() == ["lr", "0.002", "config", "file", "run.yaml"] for line in lines)


def test_a_saved_plan_of_configs_is_trained_without_them(capsys):
    write("base.yaml", COMPLETE)
    write("run.yaml", "extends: base.yaml\nlr: 2e-3\n")
    assert main(["llm", "--config", "run.yaml", "--dry-run", "--save-plan", "plan.json"]) == 0
    Path("run.yaml").unlink()
    assert main(["llm", "--plan", "plan.json", "--dry-run", "--format", "json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["plan"]["parameters"]["lr"]["file"] == "run.yaml"


def test_a_file_that_others_extend_is_checked_with_them(here):
    write("base.yaml", "trainer: sft\nlr: 1e-5\n")
    write("run.yaml", "extends: base.yaml\nseed: 7\n")
    write("broken.yaml", "extends: nowhere.yaml\nseed: 7\n")
    assert sorted(Path(file).name for file in without_bases([*configs_beneath(Path())])) == ["broken.yaml", "run.yaml"]
