"""What a command needs and can't read is a finding that names it, wherever it lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from autotrain_llm import check
from support.rows import write_rows

RUN = {"lr": 1e-4, "epochs": 1, "batch_size": 2, "data_path": "rows.jsonl"}
PLACES = {
    "model/model.safetensors": {},
    "model": {},
    "score.py": {"trainer": "grpo", "rl_reward_fn": "score.py:score", "lr": 1e-6},
    "out": {"output_dir": "out/run"},
    "run/checkpoints": {"output_dir": "run", "resume": "true"},
    "run": {"output_dir": "run", "overwrite": True},
    "other/checkpoints": {"output_dir": "other", "overwrite": True},
    "rows.jsonl": {},
    "folder": {"data_path": "folder"},
    "template.jinja": {"chat_template": "template.jinja"},
}


@pytest.fixture
def folder(tmp_path, light_llama, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(light_llama, "model")
    write_rows(Path("rows.jsonl"), [{"prompt": "Hi", "completion": "Hello"}] * 4)
    Path("template.jinja").write_text("{{ messages }}")
    Path("score.py").write_text("def score(prompts, completions, **_): return [1.0] * len(completions)\n")
    for name in ("out", "run/checkpoints", "other/checkpoints", "folder"):
        Path(name).mkdir(parents=True)
    for name in ("run", "other"):
        Path(name, "run.json").write_text("{}")
    return tmp_path


def lock(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to open, look at or list what is at a place or below it, also to root."""

    def refusing(call):
        def refuse(path, *arguments, **named):
            inside = isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(place)
            is_itself = inside and Path(path).absolute() == place
            if inside and not (is_itself and call is os_stat):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *arguments, **named)

        return refuse

    os_stat = os.stat
    for name in ("io.open", "os.open", "os.stat", "os.listdir", "os.scandir"):
        module, _, function = name.partition(".")
        original = getattr(__import__(module), function)
        monkeypatch.setattr(name, refusing(original))


@pytest.mark.parametrize("place", PLACES)
def test_what_may_not_be_read_is_named_and_nothing_is_unforeseen(place, folder, monkeypatch):
    flags = {"trainer": "sft", "model": "model", **RUN, **PLACES[place]}
    with monkeypatch.context() as patched:
        lock(folder / place, patched)
        found = [finding for finding in check(**flags) if finding.severity == "error"]
    texts = " ".join(f"{finding.message} {finding.file}" for finding in found)
    assert found and (place in texts or "no complete checkpoint" in texts)


@pytest.mark.parametrize(
    "place", ["model/config.json", "model/tokenizer.json", "score.py", "template.jinja", "rows.jsonl"]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(place, folder):
    Path(place).unlink()
    os.mkfifo(place)
    found = check(**{"trainer": "sft", "model": "model", **RUN, **PLACES.get(place, {})})
    texts = " ".join(finding.message for finding in found if finding.severity == "error")
    assert place in texts and ("a pipe, a socket or a device" in texts or "there is no file score.py" in texts)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_a_config_that_is_no_file_is_refused_before_it_is_read(name, folder):
    os.mkfifo("pipe")
    (finding,) = [finding for finding in check(config=name) if finding.code == "P106"]
    assert name in finding.message and "a device" in finding.message
