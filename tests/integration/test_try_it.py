"""The printed "Try it" command asks a finished model as its rows were written, and gets what was learnt."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import train
from autotrain_llm.cli.main import main
from support.rows import write_rows

ANSWERS = {
    "red or blue?": "red comes first.",
    "green or pink?": "pink comes first.",
    "black or white?": "none of them.",
}
SYSTEM = {"role": "system", "content": "Name a colour."}


def plain(question: str, answer: str) -> dict[str, Any]:
    return {"prompt": question, "completion": answer}


def messages(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def with_system(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [SYSTEM, *messages(question, answer)["messages"]]}


def pairs(question: str, answer: str) -> dict[str, Any]:
    return {"prompt": question, "chosen": answer, "rejected": "no"}


def texts(question: str, answer: str) -> dict[str, Any]:
    return {"text": f"{question} {answer}"}


def instructions(question: str, answer: str) -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer}


def answer_of(command: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, list[str]]:
    capsys.readouterr()
    words = shlex.split(command.removeprefix("python -m autotrain_llm "))
    assert main([*words, "--max-new-tokens", "12", "--format", "json", *more]) == 0
    document = json.loads(capsys.readouterr().out)
    return document["answers"][0]["text"].strip(), [finding["code"] for finding in document["findings"]]


@pytest.mark.parametrize(
    ("shape", "trainer", "rows", "system"),
    [
        (plain, "sft", "text", ""),
        (messages, "sft", "chat", ""),
        (with_system, "sft", "chat", SYSTEM["content"]),
        (pairs, "orpo", "text", ""),
        (texts, "generic", "text", ""),
        (instructions, "sft", "text", ""),
    ],
)
def test_the_printed_command_gives_the_learnt_answer(
    shape: Any, trainer: str, rows: str, system: str, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [shape(*one) for one in ANSWERS.items()])
    columns = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
    settings: dict[str, Any] = {
        "lr": 4e-3,
        "max_steps": 90,
        "batch_size": 3,
        "logging_steps": 50,
        "scheduler": "constant",
    }
    settings |= {"block_size": 32, "batch_size": 1, "add_eos_token": True} if trainer == "generic" else {}
    settings |= columns if trainer == "orpo" else {}
    settings |= {"chat_template": "none"} if shape is instructions else {}
    report = train(trainer=trainer, model=str(llama), data_path=str(data), output_dir=str(tmp_path / "run"), **settings)
    template = "tokenizer" if rows == "chat" else "alpaca" if shape is instructions else None
    format_of_rows = {"rows": rows, "template": template, "system": system}
    assert json.loads((tmp_path / "run" / "prompt_format.json").read_text()) == format_of_rows
    assert json.loads((tmp_path / "run" / "run.json").read_text())["prompt_format"] == format_of_rows
    answer, found = answer_of(report.try_it, capsys)
    assert "--prompts 'red or blue?'" in report.try_it
    assert (answer, found) == ("red comes first.", [])
    if shape is instructions:  # as a file with its rows, too
        assert answer_of(report.try_it.replace("'red or blue?'", "") + f" {data}", capsys) == ("red comes first.", [])
    other = ["--chat-template", "none" if rows == "chat" else "tokenizer"]
    assert answer_of(report.try_it, capsys, *other)[1] == ["P345"]


def test_prompts_of_a_file_are_asked_as_the_rows_were_written(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from autotrain_llm.data.tokenize.prompt_format import FILE

    rows = [messages("red or blue?", "red"), plain("red or blue?", "red")]
    for name, row in zip(("turns.jsonl", "texts.jsonl"), rows, strict=True):
        write_rows(tmp_path / name, [row])
    command = f"llm --inference --model {llama} --prompts "
    answers = {name: answer_of(command + str(tmp_path / name), capsys) for name in ("turns.jsonl", "texts.jsonl")}
    assert answers["turns.jsonl"] == answers["texts.jsonl"]  # not trained here: both by the template
    try:
        (llama / FILE).write_text('{"rows": "text"}')
        assert answer_of(command + str(tmp_path / "turns.jsonl"), capsys)[1] == ["P345"]
        assert answer_of(command + str(tmp_path / "texts.jsonl"), capsys)[1] == []
        (llama / FILE).write_text('{"rows": "chat", "template": "tokenizer", "system": null}')
        assert answer_of(command + str(tmp_path / "texts.jsonl"), capsys)[1] == ["P345"]
    finally:
        (llama / FILE).unlink()
