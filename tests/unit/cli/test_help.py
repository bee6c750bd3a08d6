"""`--help`, for all trainers and for one."""

from __future__ import annotations

import re

import pytest

from autotrain_llm.cli.completion import COMMANDS
from autotrain_llm.cli.help import page
from autotrain_llm.cli.main import main
from autotrain_llm.config.aliases import ACCEPTED, RENAMED
from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict

FLAG = re.compile(r"^  (--[a-z0-9-]+)", re.MULTILINE)


def test_the_full_page_has_every_flag_once():
    flags = FLAG.findall(page(None, 100, False))
    accepted = ["--" + name.replace("_", "-") for name in RENAMED] + [accepted.flag for accepted in ACCEPTED]
    assert sorted(flags) == sorted([*(param.flag for param in PARAMS.values()), *accepted])


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=lambda trainer: trainer.name)
def test_the_page_of_a_trainer_has_what_applies_to_it_and_its_required_flags_first(trainer):
    text = page(trainer, 100, False)
    flags = FLAG.findall(text)
    firsts = [PARAMS[names.split("|")[0]].flag for names in trainer.requires]
    assert flags[: len(firsts)] == firsts
    alternatives = {PARAMS[name].flag for names in trainer.requires for name in names.split("|")[1:]}
    expected = {param.flag for param in PARAMS.values() if verdict(param, trainer) == READS} - {"--trainer"}
    unused = {PARAMS[name].flag for name in trainer.unused}
    assert set(flags) == (expected - alternatives) | unused
    assert all(flag in text for flag in alternatives)


@pytest.mark.parametrize("columns", [72, 80, 120])
def test_no_line_is_wider_than_the_terminal(columns):
    assert max(len(line) for line in page(None, columns, False).splitlines()) <= columns


def test_a_trainer_shows_its_own_default():
    assert "default: chosen" in page(TRAINERS["dpo"], 100, False)
    assert "default: chosen" not in page(TRAINERS["sft"], 100, False)


def test_what_can_not_be_carried_out_is_marked():
    text = page(None, 200, False)
    for trainer in TRAINERS.values():
        line = next(line for line in text.splitlines() if line.startswith(f"  {trainer.name} "))
        assert ("not available yet" in line) == (trainer.recipe is None)


def test_help_is_answered_whatever_else_was_typed(capsys):
    assert main(["llm", "--nonsense", "--trainer", "dpo", "--lr", "--help"]) == 0
    out, err = capsys.readouterr()
    assert "--dpo-beta" in out and "--orpo-alpha" not in out and err == ""


def test_help_without_a_terminal_has_no_colour(capsys):
    main(["llm", "-h"])
    assert "\x1b" not in capsys.readouterr().out
    assert "\x1b" in page(None, 100, True)


def test_help_follows_the_width_that_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    main(["llm", "--help"])
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 72


def test_the_short_page_names_every_flag_once_and_explains_what_most_runs_set():
    text = page(None, 100, False, whole=False)
    explained = FLAG.findall(text)
    assert explained == [param.flag for param in PARAMS.values() if param.usual]
    named = re.findall(
        r"--[a-z0-9-]+", text.partition("Everything else, by topic")[2].partition("`autotrain llm --help NAME`")[0]
    )
    assert sorted([*explained, *named]) == sorted(
        [*(param.flag for param in PARAMS.values()), "--inference"]
    )  # also in a title
    assert len(text.splitlines()) < len(page(None, 100, False).splitlines()) / 2


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=lambda trainer: trainer.name)
def test_the_short_page_of_a_trainer_names_all_that_it_reads(trainer):
    text = page(trainer, 100, False, whole=False)
    named = set(re.findall(r"--[a-z0-9-]+", text))
    assert {param.flag for param in PARAMS.values() if verdict(param, trainer) == READS} <= named | {"--trainer"}


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_of_a_short_page_is_wider_than_the_terminal(columns):
    for trainer in (None, TRAINERS["dpo"]):
        assert max(len(line) for line in page(trainer, columns, False, whole=False).splitlines()) <= columns


@pytest.mark.parametrize(
    ("topic", "has", "has_not"),
    [
        ("--lora-r", ["--lora-r", "LoRA:"], ["--lora-alpha"]),
        ("lora", ["--lora-r", "--lora-alpha"], ["--lr "]),
        ("learning_rate", ["--lr"], ["--lora-r"]),
        ("sweep", ["--sweep-n-trials"], ["--lr "]),
        ("dpo", ["--dpo-beta"], ["--orpo-alpha"]),
    ],
)
def test_help_on_a_flag_a_topic_or_a_trainer(topic, has, has_not, capsys):
    assert main(["llm", "--help", topic]) == 0
    out = capsys.readouterr().out
    assert all(one in out for one in has) and not any(one in out for one in has_not)


def test_help_on_what_there_is_not_names_what_is_near(capsys):
    assert main(["llm", "--help", "lora-rr"]) == 2
    assert "autotrain llm --help --lora-r" in capsys.readouterr().err


def test_help_all_is_the_whole_page(capsys):
    assert main(["llm", "--help-all"]) == 0
    assert FLAG.findall(capsys.readouterr().out) == FLAG.findall(page(None, 100, False))


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"llm", "--help", "--version"}))
def test_each_command_has_a_page_of_its_own(command, capsys):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: autotrain {command} ")
