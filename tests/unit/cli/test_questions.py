"""`--interactive`."""

from __future__ import annotations

import io
import json
import shlex

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.questions import command_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def answers(monkeypatch):
    def give(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("".join(line + "\n" for line in lines)))

    return give


def test_without_a_terminal_nobody_is_asked(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["llm", "--interactive"]) == 2
    assert "P123" in capsys.readouterr().err


def test_what_is_missing_is_asked_for_and_the_command_is_shown(answers, capsys):
    answers("sft", "scratch:1m", "my rows.txt", "", "", "", "n")
    assert main(["llm", "--interactive", "--peft"]) == 0
    out, err = capsys.readouterr()
    shown = "--peft --trainer sft --model scratch:1m --data-path 'my rows.txt' --lr 2e-4 --epochs 3 --batch-size 8"
    assert f"autotrain llm {shown}" in err
    assert "Not started." in out


def test_only_what_is_missing_is_asked_for(answers, capsys):
    answers("n")
    command = "llm --interactive --trainer sft --model scratch:1m --data-path x --lr 1 --max-steps 3 --batch-size 1"
    assert main(command.split()) == 0
    assert "[" not in capsys.readouterr().err.split("Start?")[0]


def test_a_bad_answer_is_asked_for_again(answers, capsys):
    answers("sftt", "sft", "m", "d", "-1", "fast", "0.1", "1", "1", "n")
    assert main(["llm", "--interactive"]) == 0
    err = capsys.readouterr().err
    assert "there is no trainer 'sftt'" in err
    assert "--lr must be above 0" in err and "--lr must be a number, got 'fast'" in err
    assert "--lr 0.1 " in err


def test_the_end_of_input_starts_nothing(answers):
    answers("sft")
    assert main(["llm", "--interactive"]) == 130


def test_the_answers_are_checked_like_flags(answers, capsys):
    answers("sft", "scratch:1m", "no_such_file.jsonl", "", "", "", "y")
    assert main(["llm", "--interactive", "--dry-run", "--format", "json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert any("no_such_file.jsonl" in finding["message"] for finding in answer["findings"])


def test_the_command_that_is_shown_says_the_same_again():
    said = read(
        shlex.split(
            "--trainer sft --model 'a b' --peft --no-push-to-hub --eval-metrics '[\"bleu\", \"rouge\"]' --lr 1e-7 "
            "--sweep-params '{\"lr\": [1, 2]}' --quantization none --lora-alpha 32 --seed 7 --prompts=--x"
        )
    )
    again = read(shlex.split(command_line(said.values))[2:])
    assert again.findings == [] and again.values == said.values


def test_a_secret_is_not_part_of_the_command():
    assert command_line({"token": "hf_secret"}) == 'autotrain llm --token "$HF_TOKEN"'
