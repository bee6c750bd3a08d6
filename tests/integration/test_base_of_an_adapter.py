"""An adapter belongs to the weights that it was trained on: a run records them, and whatever uses its adapter compares them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from autotrain_llm.cli.main import main
from support.rows import write_rows
from support.short_runs import LORA, ROWS, short_run

CODES = {"M198", "E423"}


@pytest.fixture(scope="module")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model and the run of an adapter on it."""
    folder = tmp_path_factory.mktemp("adapter")
    shutil.copytree(llama, folder / "base")
    short_run("sft", folder / "base", folder, save_steps=1, **LORA)
    return folder


def other_weights(model: Path) -> None:
    for path in model.glob("*.safetensors"):
        save_file({name: tensor * 1.01 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def document(capfd: pytest.CaptureFixture[str], *words: object) -> set[str]:
    capfd.readouterr()
    main([*map(str, words), "--format", "json"])
    return {finding["code"] for finding in json.loads(capfd.readouterr().out)["findings"]}


def test_an_adapter_on_other_weights_is_reported_wherever_it_is_used(
    adapter: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, rows = adapter / "run", write_rows(tmp_path / "rows.jsonl", ROWS["conversations"])
    training = ["llm", "--trainer", "sft", "--lr", "1e-4", "--batch-size", "2", "--data-path", rows, "--dry-run"]
    resumed = [*training, "--model", adapter / "base", "--output-dir", run, "--max-steps", "2", "--peft", "--lora-r", "4", "--resume-from-checkpoint", run / "checkpoints/checkpoint-1"]  # fmt: skip
    uses = {
        "trained further": [*training, "--model", run, "--peft", "--epochs", 1],
        "of a checkpoint": [*training, "--model", f"{run}@step-1", "--peft", "--epochs", 1],
        "exported": ["export", run, "--to", "merged", "--dry-run", "--output-dir", tmp_path / "merged"],
        "asked": ["llm", "--inference", "--model", run, "--prompts", "Hello", "--max-new-tokens", "2"],
    }
    for name, words in uses.items():
        assert not document(capfd, *words) & CODES, name
    assert "E423" not in document(capfd, *resumed)
    shutil.copytree(adapter / "base", tmp_path / "kept")
    other_weights(adapter / "base")
    try:
        for name, words in uses.items():
            assert "M198" in document(capfd, *words), name
        assert "E423" in document(capfd, *resumed)
    finally:
        shutil.rmtree(adapter / "base")
        shutil.copytree(tmp_path / "kept", adapter / "base")


def test_an_adapter_without_a_record_is_used_without_a_word(
    adapter: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(adapter / "run", tmp_path / "run", ignore=shutil.ignore_patterns("run.json", "checkpoints"))
    assert "M198" not in document(capfd, "export", tmp_path / "run", "--to", "merged", "--dry-run", "--output-dir", tmp_path / "out")  # fmt: skip
