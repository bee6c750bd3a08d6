"""`--interactive`: numbered choices, answers checked at once, going back, and what is shown and saved before the start."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.questions import NEEDS, command_line
from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.context.machine import Machine
from autotrain_llm.data.load.suited import suited_trainers
from autotrain_llm.data.request import ROW_SHAPES, DataRequest
from autotrain_llm.declare.finding import Refused
from support.paths import PROJECT
from support.rows import write_rows
from support.terminal import in_terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    write_rows(tmp_path / "texts.jsonl", [{"text": f"Row {n} tells of {n * n} and of more."} for n in range(8)])
    return tmp_path


PAIRS = [
    {"prompt": f"What is {n} + 1?", "chosen": f"It is {n + 1}.", "rejected": f"I think it is {n}."} for n in range(12)
]


@pytest.fixture
def answers(monkeypatch):
    def give(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("".join(line + "\n" for line in lines)))

    return give


def asked(text: str) -> list[str]:
    """The questions of a screen, in their order."""
    return re.findall(r"(--[a-z-]+|Method|Save this|Start\?|Flags that)(?= [^:\n]*\]:|:| as a config| change)", text)


def test_without_a_terminal_nobody_is_asked(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["llm", "--interactive"]) == 2
    assert "P123" in capsys.readouterr().err


# ---- the questions


def test_what_is_missing_is_asked_for_with_numbers_or_names_and_the_command_is_shown(answers, capsys):
    answers("texts.jsonl", "2", "1", "", "1", "", "", "n")
    assert main(["llm", "--interactive"]) == 0
    out, err = capsys.readouterr()
    shown = "--data-path texts.jsonl --trainer sft --model scratch:1m --lr 0.001 --epochs 1 --batch-size 8"
    assert f"autotrain llm {shown}" in err and "Not started." in out
    expected = ["--data-path", "--trainer", "--model", "--lr", "--epochs", "--batch-size", "Save this", "Start?"]
    assert [name for name in asked(err) if name not in ("--interactive",)] == expected
    assert TRAINERS["sft"].purpose in err.replace("\n", " ")


@pytest.mark.parametrize("answer", ["3", "dpo", "DPO", "--trainer dpo"])
def test_a_choice_takes_the_number_the_name_or_a_flag(answer, answers, capsys):
    answers("pairs.jsonl", answer, "scratch:100k", "", "", "", "", "", "", "n")
    assert main(["llm", "--interactive"]) == 0
    assert "--trainer dpo --model scratch:100k" in capsys.readouterr().err


def test_only_what_is_missing_is_asked_for(answers, capsys):
    answers("", "n")
    command = "llm --interactive --trainer sft --model scratch:1m --data-path texts.jsonl --lr 1e-3 --max-steps 3 --batch-size 1"
    assert main(command.split()) == 0
    assert asked(capsys.readouterr().err) == ["Save this", "Start?"]


def test_a_config_and_a_preset_answer_questions_too(answers, capsys, llama):
    Path("run.yaml").write_text("trainer: sft\ndata_path: texts.jsonl\n")
    answers("", "n")
    command = ["llm", "--interactive", "--config", "run.yaml", "--preset", "quick-look", "--model", str(llama)]
    assert main(command) == 0
    assert asked(capsys.readouterr().err) == ["Save this", "Start?"]


def test_the_way_of_training_decides_the_usual_learning_rate(answers, capsys, llama):
    answers("lora", "", "", "", "", "n")
    assert main(["llm", "--interactive", "--trainer", "sft", "--data-path", "texts.jsonl", "--model", str(llama)]) == 0
    err = capsys.readouterr().err
    assert "--peft --lr 2e-4" in err and "usual learning rate 2e-4" in err


def test_qlora_without_its_package_is_refused_at_once(answers, capsys, llama, monkeypatch):
    monkeypatch.setattr(Machine, "has_package", lambda self, name: name != "bitsandbytes")
    answers("3", "1", "", "", "", "", "n")
    assert main(["llm", "--interactive", "--trainer", "sft", "--data-path", "texts.jsonl", "--model", str(llama)]) == 0
    err = capsys.readouterr().err
    assert err.index("needs the package bitsandbytes") < err.index("--lr [") and "--no-peft" in err


def test_a_bad_answer_is_asked_for_again_by_the_rules_of_preflight(answers, capsys):
    answers(
        "nowhere.jsonl",
        "texts.jsonl",
        "sftt",
        "sft",
        "./nowhere",
        "scratch:1m",
        "-1",
        "fast",
        "0.1",
        "0",
        "1",
        "",
        "",
        "n",
    )
    assert main(["llm", "--interactive"]) == 0
    err = capsys.readouterr().err
    for message in ("nowhere.jsonl", "there is no trainer 'sftt'", "--model ./nowhere", "--lr must be above 0"):
        assert message in err
    assert "--lr must be a number, got 'fast'" in err and "--epochs must be above 0" in err
    assert "--lr 0.1 --epochs 1" in err


def test_a_column_that_is_not_there_is_refused_and_those_that_are_are_numbered(answers, capsys):
    answers("pairs.jsonl", "dpo", "scratch:100k", "", "", "", "2", "prompt", "wrong", "3", "", "n")
    assert main(["llm", "--interactive"]) == 0
    err = capsys.readouterr().err
    assert "name the same column" in err and "has no column wrong" in err
    assert "--prompt-text-column prompt --rejected-text-column rejected" in err


def test_back_goes_to_the_question_before_and_offers_the_answer_again(answers, capsys):
    answers(
        "back",
        "texts.jsonl",
        "sft",
        "<",
        "generic",
        "back",
        "",
        "scratch:1m",
        "2e-3",
        "",
        "back",
        "<",
        "",
        "",
        "",
        "",
        "n",
    )
    assert main(["llm", "--interactive"]) == 0
    err = capsys.readouterr().err
    assert "This is the first question." in err
    assert "--trainer [sft]" in err and "--trainer [generic]" in err and "--lr [0.002]" in err
    assert "--trainer generic --model scratch:1m --lr 0.002" in err


def test_back_at_the_end_goes_to_the_last_answer(answers, capsys):
    answers("4", "back", "2", "", "n")
    command = "llm --interactive --trainer sft --model scratch:1m --data-path texts.jsonl --lr 1e-3 --max-steps 3"
    assert main(command.split()) == 0
    err = capsys.readouterr().err
    assert "--batch-size [4]" in err and "--batch-size 2" in err


def test_what_no_question_asks_for_is_changed_by_typing_the_fix(answers, capsys, llama):
    rows = [
        {"messages": [{"role": "user", "content": f"Is {n} even?"}, {"role": "assistant", "content": "No."}]}
        for n in range(8)
    ]
    write_rows(Path("chat.jsonl"), rows)
    command = "llm --interactive --trainer sft --model scratch:1m --data-path chat.jsonl --lr 1e-3 --epochs 1 --batch-size 2 --early-stopping-patience 2"
    answers(
        "--nonsense", "--valid-split 0.25 --eval-strategy epoch --load-best-model-at-end --save-strategy epoch", "", "n"
    )
    assert main(command.split()) == 0
    err = capsys.readouterr().err
    assert asked(err).count("Flags that") == 2 and "--valid-split 0.25" in err.split("autotrain llm")[-1]


def test_a_run_that_is_refused_ends_where_nothing_is_typed(answers, capsys):
    command = "llm --interactive --trainer sft --model scratch:1m --data-path nowhere.jsonl --lr 1e-3 --epochs 1 --batch-size 2"
    answers("")
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert "nowhere.jsonl" in err and err.count("Nothing was started.") == 1


def test_a_fault_of_an_earlier_answer_is_shown_when_it_is_found_and_the_user_decides(answers, capsys):
    answers("dpo", "n", "dpo", "back", "generic", "scratch:1m", "", "", "", "", "n")
    assert main(["llm", "--interactive", "--data-path", "texts.jsonl"]) == 0
    err = capsys.readouterr().err
    assert err.count("Keep this answer?") == 2 and "This is the first question." in err
    assert "--trainer generic --model scratch:1m" in err


def test_the_end_of_input_starts_nothing(answers):
    answers("texts.jsonl")
    assert main(["llm", "--interactive"]) == 130


def test_the_answers_are_checked_like_flags(answers, capsys):
    command = "llm --interactive --dry-run --format json --trainer sft --model scratch:1m --data-path nowhere.jsonl"
    answers("", "", "", "")
    assert main(command.split()) == 2
    answer = json.loads(capsys.readouterr().out)
    assert any("nowhere.jsonl" in finding["message"] for finding in answer["findings"])


# ---- a config


def test_the_parameters_are_saved_as_a_config_and_no_file_is_replaced_without_a_question(answers, capsys):
    Path("taken.yaml").write_text("mine: true\n")
    command = (
        "llm --interactive --trainer sft --model scratch:1m --data-path texts.jsonl --lr 1e-3 --epochs 1 --batch-size 1"
    )
    answers("taken", "n", "nowhere/run", "run.txt", "run", "n")
    assert main([*command.split(), "--token", "hf_secret"]) == 0
    err = capsys.readouterr().err
    assert Path("taken.yaml").read_text() == "mine: true\n"
    assert "taken.yaml exists" in err and "nowhere/run.yaml can't be written" in err and "run.txt is no name" in err
    saved = yaml.safe_load(Path("run.yaml").read_text())
    assert saved == {
        "trainer": "sft",
        "model": "scratch:1m",
        "data_path": "texts.jsonl",
        "lr": 1e-3,
        "epochs": 1.0,
        "batch_size": 1,
    }
    assert main(["llm", "--config", "run.yaml", "--dry-run"]) == 0
    answers("taken", "y", "n")
    assert main(command.split()) == 0
    assert yaml.safe_load(Path("taken.yaml").read_text()) == saved


# ---- which trainers rows are suited for


CHAT = [{"role": "user", "content": "Is 3 even?"}, {"role": "assistant", "content": "No, it is odd."}]


@pytest.mark.parametrize(
    ("row", "what", "trainers"),
    [
        (
            {"prompt": "Is 3 even?", "chosen": "No.", "rejected": "Yes."},
            "preference pairs",
            ("dpo", "orpo", "kto", "reward"),
        ),
        (
            {"prompt": "Is 3 even?", "completion": "No.", "label": True},
            "answers that are labelled good or bad",
            ("kto",),
        ),
        ({"messages": CHAT}, "conversations", ("sft",)),
        ({"prompt": "Is 3 even?", "completion": "No, it is odd."}, "prompts with answers", ("sft",)),
        ({"instruction": "Is 3 even?", "input": "", "output": "No."}, "prompts with answers", ("sft",)),
        ({"text": "Three is an odd number, as everybody knows."}, "texts", ("generic", "sft")),
        ({"prompt": "Is 3 even?"}, "prompts without answers", ("ppo", "grpo", "spo")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_trainers_are_proposed_by_the_rows(row, what, trainers):
    write_rows(Path("rows.jsonl"), [row, {**row, "id": 2}])
    suited = suited_trainers(DataRequest("rows.jsonl"))
    assert (suited.rows, suited.trainers) == (what, trainers)
    assert set(row) <= {*suited.columns}


def test_rows_that_no_trainer_reads_are_refused_with_the_reason():
    write_rows(Path("rows.jsonl"), [{"id": 1, "n": 2}, {"id": 2, "n": 3}])
    with pytest.raises(Refused) as refused:
        suited_trainers(DataRequest("rows.jsonl"))
    assert refused.value.findings


def test_every_shape_of_rows_is_described():
    assert set(NEEDS) == set(ROW_SHAPES)


# ---- a real terminal


SESSION = (
    ("--data-path:", "1"),
    ("--trainer [dpo]:", "3"),
    ("--model:", "./nowhere"),
    ("--model:", "scratch:100k"),
    ("--lr [0.001]:", "fast"),
    ("--lr [0.001]:", "2e-3"),
    ("--epochs [2]:", "back"),
    ("--lr [0.002]:", ""),
    ("--epochs [2]:", "1"),
    ("--batch-size [2]:", ""),
    ("--prompt-text-column [prompt]:", "1"),
    ("--rejected-text-column [rejected]:", ""),
    ("Save this as a config?", "first"),
    ("Start? [Y/n]:", "n"),
)
WITHOUT_TORCH = (
    "import sys; from autotrain_llm.cli.main import main; status = main(sys.argv[1:]); "
    "print('torch is loaded' if 'torch' in sys.modules else 'torch is not loaded'); sys.exit(status)"
)


@pytest.fixture
def screen(here) -> str:
    """The session in a terminal of 80 columns, in a folder with one file of pairs."""
    (here / "texts.jsonl").unlink()
    text, status = in_terminal([sys.executable, "-c", WITHOUT_TORCH, "llm", "--interactive"], SESSION, here)
    assert status == 0
    return text


def test_the_questions_are_answered_in_a_terminal_of_80_columns(screen):
    assert [line for line in screen.splitlines() if len(line) > 80] == []
    assert "These are preference pairs: dpo, orpo, kto or reward." in screen
    assert "Error: --model ./nowhere" in screen and "Error: --lr must be a number, got 'fast'" in screen
    assert "Not started." in screen and "torch is not loaded" in screen
    assert "autotrain llm --data-path pairs.jsonl --trainer dpo --model scratch:100k \\\n" in screen
    assert yaml.safe_load(Path("first.yaml").read_text())["trainer"] == "dpo"


def test_the_recording_in_the_documentation_is_what_a_terminal_shows(screen):
    """The plan is left out: it depends on the machine."""
    page = (PROJECT / "docs/interactive.md").read_text(encoding="utf-8")
    screen = "\n".join(line.rstrip() for line in screen.splitlines())
    recording = page.split("```text\n")[1].split("```")[0]
    before, after = recording.split("…\n")
    assert screen.split("\n", 1)[0] in before
    assert before.strip() == screen[: screen.index("What\n")].strip()
    assert after.strip() == screen[screen.index("\nautotrain llm") : screen.index("torch is not")].strip()


# ---- the command


def test_the_command_that_is_shown_says_the_same_again():
    said = read(
        shlex.split(
            "--trainer sft --model 'a b' --peft --no-push-to-hub --eval-metrics '[\"bleu\", \"rouge\"]' --lr 1e-7 "
            "--sweep-params '{\"lr\": [1, 2]}' --quantization none --lora-alpha 32 --weight-decay 0.123456789 --seed 7 --prompts=--x"
        )
    )
    again = read(shlex.split(command_line(said.values))[2:])
    assert again.findings == [] and again.values == said.values


def test_a_secret_is_not_part_of_the_command():
    assert command_line({"token": "hf_secret"}) == 'autotrain llm --token "$HF_TOKEN"'
    stored = command_line({"sweep_storage": "postgresql://me:secret@db/x"})
    assert stored == 'autotrain llm --sweep-storage "$SWEEP_STORAGE"'
