"""`autotrain export`: which commands are refused, and where it writes."""

from __future__ import annotations

from typing import Any

import pytest

from autotrain_llm.checks.exporting import check_export, default_folder
from autotrain_llm.cli.export import split_words
from autotrain_llm.cli.parser import read
from autotrain_llm.context.machine import Machine


def codes(*words: str) -> list[str]:
    own, rest = split_words(words)
    return [finding.code for finding in check_export(read(rest), own.get("to"), own.get("dtype")).findings]


def test_the_first_word_is_the_model_and_o_the_folder() -> None:
    assert split_words(["runs/mine", "--to", "gguf", "-o", "there", "--dtype=q8_0"]) == (
        {"to": "gguf", "dtype": "q8_0"},
        ["--model", "runs/mine", "--output-dir", "there"],
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--to", "merged"], "E601"),
        (["MODEL", "--to", "onnx"], "E601"),
        (["scratch:1m", "--to", "merged"], "E601"),
        (["MODEL", "--to", "merged", "--dtype", "q4_0"], "E602"),
        (["MODEL", "--to", "adapter"], "E605"),
    ],
)
def test_what_can_not_be_written_is_refused(words: list[str], code: str, light_llama: Any, tmp_path: Any) -> None:
    given = [str(light_llama) if word == "MODEL" else word for word in words]
    assert codes(*given, "--output-dir", str(tmp_path / "made")) == [code]


def test_a_dtype_is_known_by_its_usual_names(light_llama: Any, tmp_path: Any) -> None:
    for name in ("bfloat16", "float16", "f32", "BF16"):
        assert codes(str(light_llama), "--to", "merged", "--dtype", name, "--output-dir", str(tmp_path / "made")) == []


def test_gguf_needs_its_package(light_llama: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(light_llama), "--to", "gguf", "--output-dir", str(tmp_path / "made")]
    monkeypatch.setattr(Machine, "has_package", lambda self, name: name != "gguf")
    assert codes(*words) == ["E608"]
    assert codes(*[word.replace("gguf", "merged") for word in words]) == []


def test_the_folder_lies_beside_the_model(tmp_path: Any) -> None:
    checkpoint = tmp_path / "mine" / "checkpoints" / "checkpoint-4"
    checkpoint.mkdir(parents=True)
    assert default_folder(str(tmp_path / "mine"), "gguf") == f"{tmp_path}/mine-gguf"
    assert default_folder(str(checkpoint), "merged") == f"{tmp_path}/mine-checkpoint-4-merged"
    assert default_folder(f"{tmp_path}/mine/checkpoint-4", "merged") == f"{tmp_path}/mine-checkpoint-4-merged"
    assert default_folder(f"{tmp_path}/mine@best", "adapter") == f"{tmp_path}/mine-adapter"
    assert default_folder("org/model", "gguf") == "model-gguf"


def test_what_is_not_read_is_said_and_left_out(light_llama: Any, tmp_path: Any) -> None:
    own, rest = split_words([str(light_llama), "--to", "gguf", "--tokenizer", "nowhere", "--lr", "1e-4"])
    checked = check_export(read([*rest, "--output-dir", str(tmp_path / "made")]), own["to"], None)
    (finding,) = checked.findings
    assert finding.code == "E604" and set(finding.parameters) == {"tokenizer", "lr"}
    assert not checked.config.given("tokenizer")
