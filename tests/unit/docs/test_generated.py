"""The documents that are written from the declarations."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from autotrain_llm.checks.rules.applicability import a_parameter_of_another_trainer_is_ignored
from autotrain_llm.cli.parser import read
from autotrain_llm.config.registry import PARAMS, TRAINERS, verdict
from autotrain_llm.config.resolved import resolve
from autotrain_llm.docs.__main__ import DOCUMENTS, outdated, write
from autotrain_llm.docs.cells import LEGEND, REQUIRED
from autotrain_llm.docs.guide import guide
from autotrain_llm.docs.markdown import anchor
from autotrain_llm.docs.matrix import matrix
from autotrain_llm.docs.schema import document, settings
from support.paths import PROJECT

ROOT = PROJECT
HARD_CODED = re.compile(r"--[a-z][a-z0-9-]+")
OTHER_FLAGS = {"--check", "--root"}


def commands(text: str) -> list[str]:
    """The commands in the shell blocks of a Markdown text."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("autotrain llm ")]


def test_the_documents_in_the_repository_are_what_the_declarations_say():
    assert outdated(ROOT) == []


def test_what_was_written_is_up_to_date_and_what_was_changed_is_not(tmp_path):
    assert outdated(tmp_path) == list(DOCUMENTS)
    assert write(tmp_path) == list(DOCUMENTS)
    assert write(tmp_path) == outdated(tmp_path) == []
    (tmp_path / "docs/schema.json").write_text("{}")
    assert outdated(tmp_path) == ["docs/schema.json"]


# ---- the guide


def test_the_guide_has_the_chapters_of_every_trainer_in_order():
    text = guide()
    parts = ("Purpose", "Required parameters", "Optional parameters", "Incompatible parameters", "Example usage")
    for trainer in TRAINERS.values():
        chapter = text[text.index(f"## {trainer.title} trainer\n") :].split("\n## ")[0]
        places = [chapter.index(f"### {part}") for part in parts]
        assert places == sorted(places)


def test_the_links_of_the_contents_lead_to_headings():
    text = guide()
    headings = {anchor(line.lstrip("# ")) for line in text.splitlines() if line.startswith("## ")}
    links = set(re.findall(r"\]\((#[^)]+)\)", text))
    assert links and links <= headings


@pytest.mark.parametrize("command", commands(guide()))
def test_a_command_of_the_guide_is_read_without_a_fault_and_has_what_its_trainer_requires(command):
    said = read(shlex.split(command)[2:])
    assert said.findings == []
    config = resolve(said.values)
    assert list(a_parameter_of_another_trainer_is_ignored(config, config.trainer_spec)) == []
    for names in config.trainer_spec.requires:
        assert any(config.value_of(name) is not None for name in names.split("|")), names


def test_every_trainer_has_two_examples():
    assert all(len(trainer.examples) >= 2 for trainer in TRAINERS.values())
    assert len(commands(guide())) == sum(len(trainer.examples) for trainer in TRAINERS.values())


def test_every_parameter_has_a_row_with_its_default():
    rows = guide().split("## Every parameter")[1]
    for param in PARAMS.values():
        row = next(line for line in rows.splitlines() if line.startswith(f"| `{param.flag}` |"))
        assert param.default_text().replace("|", "\\|") in row


def test_no_flag_is_named_that_does_not_exist():
    known = {param.flag for param in PARAMS.values()} | {f"--no-{param.flag[2:]}" for param in PARAMS.values()}
    named = set(HARD_CODED.findall(guide()))
    assert named - known - OTHER_FLAGS <= {
        "--help",
        "--project-name",
        "--advanced",
        "--num-train-epochs",
        "--learning-rate",
        "--model-name",
        "--data-files",
        "--trainer-type",
        "--use-wandb",
        "--beta",
        "--use-peft",
        "--x",
        "--no-x",
    }


# ---- the matrix


def test_a_cell_of_the_matrix_is_the_verdict():
    lines = matrix().splitlines()
    signs = {state: sign for state, (sign, _) in LEGEND.items()}
    for param in PARAMS.values():
        row = next(line for line in lines if line.startswith(f"| `{param.flag}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        for trainer, cell in zip(TRAINERS.values(), cells, strict=True):
            required = any(param.name in names.split("|") for names in trainer.requires)
            assert cell == signs[REQUIRED if required else verdict(param, trainer)]


# ---- the schema


def test_the_schema_has_every_setting_and_nothing_that_steers_a_command():
    flat = document()["$defs"]["flat"]["properties"]
    assert {param.name for param in settings()} <= set(flat)
    assert not {param.name for param in PARAMS.values() if param.command and not param.in_files} & set(flat)


def test_every_reference_of_the_schema_leads_somewhere():
    text = json.dumps(document())
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', text):
        node = document()
        for part in reference.split("/"):
            node = node[part]


@pytest.mark.parametrize("param", [param for param in settings() if param.within], ids=lambda param: param.name)
def test_the_schema_refuses_what_the_bounds_refuse(param):
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(document()).is_valid
    for bad in param.within.bad_values():
        if bad not in param.also:
            assert not check({param.name: bad})
    assert check({param.name: param.default}) or param.default is None
    assert all(check({param.name: value}) for value in param.also)


def test_the_schema_follows_the_trainer_and_reads_autotrains_own_shape():
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(document()).is_valid
    assert check({"trainer": "sft", "lr": 1e-4, "use-distillation": True, "dpo_beta": 0.1})
    assert not check({"trainer": "ppo", "use_distillation": True})
    assert not check({"lerning_rate": 1}) and not check({"trainer": "sftt"}) and not check({"dry_run": True})
    theirs = {
        "task": "llm-sft",
        "base_model": "m",
        "project_name": "p",
        "log": "tensorboard",
        "backend": "local",
        "data": {"path": "d", "train_split": "train", "valid_split": None, "column_mapping": {"text_column": "text"}},
        "params": {"epochs": 1, "lr": 1e-4, "peft": True, "optimizer": "adamw_torch", "padding": "right"},
        "hub": {"username": "${HF_USERNAME}", "token": "${HF_TOKEN}", "push_to_hub": False},
    }
    assert check(theirs)
    assert not check({**theirs, "params": {"epochs": 0}})
