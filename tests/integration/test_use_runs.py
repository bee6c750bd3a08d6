"""What a script sees of a command: one document, from one of several processes, and a reason where a run can't be."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import train
from autotrain_llm.cli.main import main
from autotrain_llm.declare.finding import Refused
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.artifacts.output_lock import OutputFolder
from autotrain_llm.run.failures import explain
from support.models import TEMPLATE, build_llama
from support.rows import write_rows

REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn here') }}{% endif %}" + TEMPLATE
)


@pytest.fixture(scope="module")
def strict_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a context of 64 tokens whose template refuses system turns."""
    return build_llama(tmp_path_factory.mktemp("models") / "strict", REFUSES_SYSTEM, max_position_embeddings=64)


def answered(capfd: pytest.CaptureFixture[str], model: Path, prompts: object, *more: str) -> tuple[int, Any]:
    words = ["llm", "--inference", "--model", str(model), "--prompts", str(prompts), "--format", "json", *more]
    status = main([*words, "--max-new-tokens", "4"])
    return status, json.loads(capfd.readouterr().out)


def test_quiet_answers_are_one_after_the_other(llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "red"}, {"prompt": "blue"}])
    words = ["llm", "--inference", "--model", str(llama), "--prompts", str(prompts), "--max-new-tokens", "2"]
    assert main([*words, "--temperature", "0", "--quiet"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2, lines


def test_prompts_that_are_left_out_are_said_beside_the_answers(
    llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "red or blue?"}, {"prompt": None}])
    status, document = answered(capfd, llama, prompts)
    assert status == 0 and [answer["prompt"] for answer in document["answers"]] == ["red or blue?"]
    (finding,) = document["findings"]
    assert finding["code"] == "D113" and finding["row"] == 2 and finding["parameters"] == ["prompts"]


def test_a_prompt_that_the_template_refuses_is_named(
    strict_llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    status, document = answered(capfd, strict_llama, write_rows(tmp_path / "prompts.jsonl", [{"messages": turns}]))
    (finding,) = document["findings"]
    assert status == 2 and finding["code"] == "P330" and "no system turn here" in finding["message"]


def test_a_prompt_longer_than_the_context_is_refused(strict_llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, document = answered(capfd, strict_llama, "red " * 80)
    assert status == 2 and "context of 64" in document["findings"][0]["message"]


def test_an_answer_ends_where_the_context_does(strict_llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, document = answered(capfd, strict_llama, "red " * 10, "--max-new-tokens", "500")
    assert status == 0 and len(document["answers"]) == 1


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_prompts_is_refused(
    content: bytes, llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    status, document = answered(capfd, llama, path)
    assert status == 2 and [finding["code"] for finding in document["findings"]] == ["P330"]


def test_prompts_in_another_encoding_are_refused(
    llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("Wie heißt du?\n".encode("latin-1"))
    status, document = answered(capfd, llama, path)
    assert status == 2 and [finding["code"] for finding in document["findings"]] == ["D105"]


def test_a_template_that_does_not_exist_is_refused_for_prompts_too(
    llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, document = answered(capfd, llama, "Hello", "--chat-template", "nonsense")
    assert status == 2 and [finding["code"] for finding in document["findings"]] == ["D141"]


def test_of_several_processes_only_the_first_writes_the_document(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["llm", "--trainer", "sft", "--format", "json"]
    assert main(words) == 2
    assert json.loads(capfd.readouterr().out)["status"] == "refused"
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    assert main(words) == 2
    assert main(words[:-2]) == 2
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_made_is_refused_and_not_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refused) as refused, OutputFolder(tmp_path / "file" / "run", overwrite=False):
        pass
    assert refused.value.findings[0].code == "E403"


def test_a_full_disk_leaves_no_run_that_seems_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = object.__new__(records.RunFile)
    file.earlier_seconds = file.began = 0.0
    file.path, file.document = tmp_path / "run.json", {"status": "running", "plan": {}}
    file.write()

    def full(*details: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        file.write(status="ok")
    file.write(status="failed")
    assert json.loads((tmp_path / "run.json").read_text()) == {"status": "failed", "plan": {}}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_checkpoint_cut_short_is_a_full_disk() -> None:
    fault = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 8512 vs 8406")
    failure = explain(fault, 3)
    assert failure is not None and "disk is full" in failure.message
    assert explain(RuntimeError("unexpected pos"), 3) is None


def test_an_interrupt_while_the_command_is_still_read_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(words: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("autotrain_llm.cli.main._command", interrupted)
    assert main(["llm"]) == 130


def test_an_adapter_finds_its_base_from_any_folder(
    llama: Path, chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(llama.parent)
    train(
        trainer="sft", model=llama.name, data_path=str(chat_rows), output_dir=str(tmp_path / "run"), peft=True, lr=1e-4, epochs=1,
        batch_size=8, max_steps=1,
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    status, document = answered(capfd, tmp_path / "run", "red or blue?")
    assert status == 0 and len(document["answers"]) == 1
    checkpoint = json.loads((tmp_path / "run" / "checkpoints" / "checkpoint-1" / "adapter_config.json").read_text())
    assert checkpoint["base_model_name_or_path"] == str(llama)
