"""What people of other tools type: carried out as one of our commands, or answered with what to type."""

from __future__ import annotations

import re

import pytest

from autotrain_llm.cli.completion import COMMANDS
from autotrain_llm.cli.main import NAMES, main
from autotrain_llm.cli.other_commands import OTHER_COMMANDS, answer_to, as_ours
from autotrain_llm.config.registry import TRAINERS

EVERY_NAME = [name for command in OTHER_COMMANDS for name in command.names.split()]


@pytest.mark.parametrize(
    ("typed", "carried_out"),
    [
        (["--config", "run.yml"], ["llm", "--config", "run.yml"]),
        (["--config=run.yml", "--dry-run"], ["llm", "--config=run.yml", "--dry-run"]),
        *(([name, "--lr", "1"], ["llm", "--trainer", name, "--lr", "1"]) for name in TRAINERS),
        (["trian"], ["trian"]),
        ([], []),
    ],
)
def test_a_command_of_another_tool_that_means_one_of_ours_is_carried_out(typed, carried_out):
    assert as_ours(typed) == carried_out


@pytest.mark.parametrize(
    ("typed", "carried_out"),
    [
        (["--config", "nowhere.yml"], ["llm", "--config", "nowhere.yml"]),
        (["dpo", "--lora-r", "8"], ["llm", "--trainer", "dpo", "--lora-r", "8"]),
        (["sft", "--help"], ["llm", "--trainer", "sft", "--help"]),
    ],
)
def test_it_gives_what_ours_gives(typed, carried_out, capsys):
    answers = [(main(words), *capsys.readouterr()) for words in (typed, carried_out)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", EVERY_NAME)
def test_every_other_command_is_answered_with_a_command_of_ours(name, capsys):
    assert main(name.split("/")) == 2
    err = capsys.readouterr().err
    assert f"there is no command {name.replace('/', ' ')!r}: " in err and "P122" in err
    fix = answer_to(name.split("/")).fix or ""
    named = re.findall(r"autotrain ([\w-]+)", fix)
    assert "autotrain" in fix and set(named) <= NAMES, fix


def test_no_name_stands_for_two_things():
    assert len(set(EVERY_NAME)) == len(EVERY_NAME)
    assert not {*EVERY_NAME} & {*COMMANDS, *TRAINERS, *NAMES} and {*COMMANDS} <= NAMES


def test_merging_is_an_export_with_the_values_that_were_given(capsys):
    words = (
        "tools merge-llm-adapter --base-model-path base --adapter-path runs/a --output-folder=out --token hf_abcdefgh"
    )
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert "autotrain export runs/a --to merged --output-dir out" in err and "hf_" not in err
    assert answer_to(["merge"]).fix == "autotrain export RUN --to merged --output-dir DIR"


@pytest.mark.parametrize(
    ("typed", "fix"),
    [
        ("chta", "autotrain chat …"),
        ("lmm", "autotrain llm …"),
        ("exprot", "autotrain export …"),
        ("orop", "autotrain orpo …"),
        ("ipo", "autotrain llm --trainer dpo --dpo-loss ipo …"),
        ("sft-lora", "autotrain llm --trainer sft --peft …"),
        ("--trainer", "autotrain llm --trainer …"),
        ("zzzzzz", "autotrain --help"),
        ("", "autotrain llm --help"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_nearest(typed, fix):
    assert answer_to([typed]).fix == fix
