"""Ordinary commands and config files draw no finding."""

import json
import shlex

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.context.machine import Gpu, Machine
from support.clean_configs import CONFIGS, CPU, written

MODELS = {"MODEL": "light_llama", "TEACHER": "light_teacher", "SCORER": "light_scorer"}
GPUS = {"gpu": Gpu("NVIDIA H100", 80 << 30, 9.0), "old gpu": Gpu("Tesla T4", 16 << 30, 7.5)}


@pytest.fixture
def model_paths(request):
    return {word: str(request.getfixturevalue(name)) for word, name in MODELS.items()}


def run_on(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have such a GPU, and the packages that only a machine with one has."""
    if machine != CPU:
        monkeypatch.setattr(Machine, "gpus", (GPUS[machine],))
        monkeypatch.setattr(Machine, "has_package", lambda self, name: True)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_an_ordinary_command_draws_no_finding(config, model_paths, tmp_path, monkeypatch, capsys):
    def with_models(text: str) -> str:
        for word, path in model_paths.items():
            text = text.replace(word, path)
        return text

    monkeypatch.chdir(tmp_path)
    run_on(config.machine, monkeypatch)
    data = tmp_path / config.data
    for path, text in ((data, written(config.rows, suffix=data.suffix)), *config.files.items()):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(with_models(text), encoding="utf-8")
    status = main(["llm", *shlex.split(with_models(config.command)), "--dry-run", "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    assert [(one["code"], one["message"]) for one in document["findings"]] == []
    assert status == 0


def test_the_ordinary_commands_are_of_every_kind():
    assert len(CONFIGS) >= 40
    assert len({config.name for config in CONFIGS}) == len(CONFIGS)
