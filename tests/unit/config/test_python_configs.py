"""A Python config is read by its syntax tree: what counts, what is a finding, and that nothing of it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.file import read_config
from autotrain_llm.declare.finding import Finding, Refused


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str) -> ParsedArguments:
    Path("run.py").write_text(text)
    return read_config("run.py")


def values(text: str) -> dict[str, Any]:
    arguments = read(text)
    assert arguments.findings == []
    return arguments.values


def finding(text: str) -> Finding:
    (only,) = read(text).findings
    return only


def test_assignments_of_literals_are_parameters():
    text = '"""A run."""\nfrom __future__ import annotations\nimport os\n\ntrainer = "sft"\nlr: float = -1e-5\npeft = True\nlog = ["wandb"]\n_seed = 3\nepochs: int\n'
    assert values(text) == {"trainer": "sft", "lr": -1e-5, "peft": True, "log": ("wandb",)}


def test_the_defaults_of_a_dataclass_are_parameters_and_a_class_above_it_is_below_it():
    text = """
from dataclasses import dataclass, field

@dataclass
class Base:
    trainer: str = "sft"  # "sft" or "dpo"
    lr: float = 2e-6
    model: str
    log: list = field(default_factory=lambda: ["tensorboard"])
    target_modules: list = field(default_factory=list)
    seed: int = field(default=7)

@dataclass
class Preferences(Base):
    '''Preferences.'''
    trainer: str = "dpo"
    dpo_beta: float = 0.2
"""
    assert values(text) == {
        "trainer": "dpo",
        "lr": 2e-6,
        "log": ("tensorboard",),
        "target_modules": (),
        "seed": 7,
        "dpo_beta": 0.2,
    }


def test_a_call_of_a_class_stands_above_its_defaults_and_the_top_level_above_it():
    text = "class Config:\n    lr = 1e-5\n    seed = 1\n    epochs = 1\nconfig = Config(seed=2, epochs=2)\nepochs = 3\n"
    assert values(text) == {"lr": 1e-5, "seed": 2, "epochs": 3.0}


def test_a_class_that_nothing_is_made_of_does_not_count_beside_one_that_is_called():
    text = "class Small:\n    lr = 1e-5\nclass Large:\n    lr = 1e-6\nconfig = Large()\n"
    assert values(text) == {"lr": 1e-6}


def test_a_class_of_a_file_beside_it_is_read_and_that_file_named(here):
    (here / "config").mkdir()
    (here / "config" / "train_sft.py").write_text("class Base:\n    trainer = 'sft'\n    lr = 1e-5\n    seed = 1\n")
    (here / "config" / "train_dpo.py").write_text(
        "from config.train_sft import Base\nclass Preferences(Base):\n    trainer = 'dpo'\n    seed = 2\n"
    )
    arguments = read_config("config/train_dpo.py")
    assert arguments.findings == []
    assert arguments.values == {"trainer": "dpo", "lr": 1e-5, "seed": 2}
    assert Path(arguments.origins["lr"].file or "").name == "train_sft.py"
    assert Path(arguments.origins["seed"].file or "").name == "train_dpo.py"
    (here / "config" / "run.py").write_text("from .train_dpo import Preferences as P\nconfig = P(seed=3)\n")
    arguments = read_config("config/run.py")
    assert arguments.findings == [] and arguments.values == {"trainer": "dpo", "lr": 1e-5, "seed": 3}


def test_a_class_that_is_elsewhere_is_called_and_its_defaults_are_not_known():
    text = "from package.config import Config\nconfig = Config(lr=1e-5)\n"
    warning = finding(text)
    assert (warning.code, warning.severity, warning.line) == ("P130", "warning", 1) and "Config" in warning.message
    assert read(text).values == {"lr": 1e-5}


def test_two_files_that_take_a_class_from_each_other_are_no_endless_way(here):
    (here / "a.py").write_text("from b import B\nclass A(B):\n    lr = 1e-5\n")
    (here / "b.py").write_text("from a import A\nclass B(A):\n    seed = 1\n")
    assert read_config("a.py").values == {"seed": 1, "lr": 1e-5}


@pytest.mark.parametrize("content", [b"class A:\n    lr = \xe9\n", b"class A(:\n", b"B = 3\n"])
def test_a_file_beside_it_that_can_not_be_read_is_a_warning(content, here):
    (here / "base.py").write_bytes(content)
    arguments = read("from base import A\nclass Config(A):\n    seed = 1\n")
    assert [one.code for one in arguments.findings] == ["P130"] and arguments.values == {"seed": 1}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("lr = float('1e-5')", ("lr",)),
        ("lr = 1e-5 * 2", ("lr",)),
        ("lr = RATE", ("lr",)),
        ("model = f'{1}'", ("model",)),
        ("log = [open('x')]", ("log",)),
        ("model = __import__('os').getcwd()", ("model",)),
        ("class C:\n    lr = float('1e-5')", ("lr",)),
        ("config = Config(lr=1 + 1)", ("lr",)),
        ("config = Config(**rest)", ()),
        ("open('run', 'w')", ()),
        ("lr, seed = 1, 2", ()),
        ("if True:\n    lr = 1e-5", ()),
        ("for lr in (1, 2): pass", ()),
        ("settings['lr'] = 1", ()),
        ("lr += 1", ()),
        ("del lr", ()),
    ],
)
def test_what_is_no_literal_is_a_finding_with_its_line_and_is_not_run(line, names, here):
    found = [one for one in read(f"seed = 7\n\n{line}\n").findings if one.code == "P129"]
    (one,) = found
    assert one.file == "run.py" and one.parameters == names
    first = 3 + line[: line.index("\n")].startswith("class") if "\n" in line else 3
    assert one.line == first and f"line {first}" in one.message
    assert sorted(path.name for path in here.iterdir()) == ["run.py"]


def test_functions_and_the_main_block_have_no_effect_and_a_warning_names_them():
    text = "lr = 1e-5\nclass C:\n    seed = 1\n    def __post_init__(self):\n        self.seed = 2\ndef get_config(): return C()\nif __name__ == '__main__':\n    lr = 2\n"
    warning = finding(text)
    assert (warning.code, warning.severity, warning.line) == ("P130", "warning", 4)
    assert "C.__post_init__() (line 4)" in warning.message and "get_config() (line 6)" in warning.message
    assert read(text).values["lr"] == 1e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr = \n", "line 1"),
        ("lr = 1\n  seed = 2\n", "line 2"),
        ("lr = '\0'\n", "null byte"),
        ("lr: 1e-5\ntrainer: sft\n", "no literal assignments"),  # YAML in a file called .py
        ("import os\n", "no literal assignments"),
        ("", "no literal assignments"),
        ("x = " + "(" * 100_000, ""),
        ("x = " + "-" * 100_000 + "1", ""),
    ],
)
def test_a_file_that_is_no_config_is_refused(text, words):
    try:
        codes = [one.code for one in read(text).findings]
        assert words in codes or not words
    except Refused as refused:
        (one,) = refused.findings
        assert one.code == "P106" and words in one.message


def test_what_is_no_parameter_is_a_finding_as_in_every_config():
    found = read("class C:\n    lerning_rate = 1e-5\nc = C(seed=3)\n").findings
    assert [one.code for one in found] == ["P104"] and found[0].file == "run.py"
