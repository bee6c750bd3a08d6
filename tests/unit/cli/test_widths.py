"""What a terminal of any width shows: all that a pipe gets, broken at spaces."""

from __future__ import annotations

import io
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from autotrain_llm import check, plan
from autotrain_llm.checks.coverage import UncheckedItem
from autotrain_llm.checks.rules.every import every_rule
from autotrain_llm.cli.render import SHORT_SOURCES, findings_text, unchecked_lines, write_plan
from autotrain_llm.cli.terminal import fit, fit_command
from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.plan import Plan
from support.rows import write_rows

WIDTHS = (60, 80, 100, 120, 200)
CODES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=WIDTHS)
def columns(request, monkeypatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return min(request.param, 120)


def assert_shows_all(terminal: str, pipe: str, columns: int) -> None:
    """The same words in the same number, and no line too long for the terminal unless a word of it is."""
    plain = CODES.sub("", terminal)
    assert Counter(plain.split()) == Counter(pipe.split())
    too_long = [line for line in plain.split("\n") if len(line) > columns and len(line.split()) > 1]
    assert not [line for line in too_long if max(map(len, line.split())) < columns // 2], plain


@pytest.fixture(scope="module")
def plans(tmp_path_factory, light_llama, light_scorer, light_teacher) -> list[Plan]:
    """Plans of several trainers and mixins, with long values and a path that is longer than a line."""
    folder = tmp_path_factory.mktemp("plans") / "a-folder-with-quite-a-long-name" / ("and-another-" * 9)
    folder.mkdir(parents=True)
    pairs = write_rows(
        folder / "pairs-of-answers.jsonl",
        [{"prompt": f"Is {n} even?", "chosen": f"It is {n % 2}.", "rejected": f"No idea, {n}."} for n in range(40)],
    )
    same = {"data_path": str(pairs), "batch_size": 4, "epochs": 1, "valid_split": 0.1}
    columns = {"text_column": "chosen", "prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    model = {"model": str(light_llama)}
    answers = {**same, "prompt_text_column": "prompt", "text_column": "chosen"}
    rewards = {"rl_reward_model_path": [str(light_scorer), str(light_teacher.parent.parent / "x")][:1]}
    distilled = {"use_distillation": True, "teacher_model": str(light_teacher), "distill_cache": True}
    return [
        plan(trainer="sft", **model, **answers, **distilled, lr=1e-4, output_dir=str(folder / "a run with spaces")),
        plan(trainer="sft", model="scratch:1m", **answers, lr=1e-3, use_sweep=True, sweep_n_trials=3),
        plan(trainer="dpo", **model, **same, **columns, lr=1e-4, peft=True, target_memory="80GiB"),
        plan(trainer="ppo", **model, **same, **rewards, prompt_text_column="prompt", lr=1e-5, mixed_precision="fp32"),
    ]


@pytest.mark.parametrize("verbose", [False, True])
def test_a_plan_is_shown_whole_on_a_terminal_of_any_width(plans, columns, verbose):
    for one in plans:
        terminal, pipe = Terminal(), io.StringIO()
        write_plan(one, terminal, verbose)
        write_plan(one, pipe, verbose)
        text = pipe.getvalue()
        for long, short in SHORT_SOURCES.items():
            text = text.replace(long, short)
        assert_shows_all(terminal.getvalue(), text, columns)


@pytest.fixture(scope="module")
def findings(tmp_path_factory) -> list[Finding]:
    """What is found in commands that show many findings, and one that is longer than any line."""
    folder = tmp_path_factory.mktemp("rows")
    rows = write_rows(folder / "rows.jsonl", [{"text": f"Row {n}."} for n in range(8)] + [{"text": ""}, {"text": None}])
    found = [
        *check(trainer="sft", model="nowhere/model", data_path=str(rows), lr=3, epochs=0, batch_size=0, dpo_beta=1),
        *check(trainer="sft", model="scratch:1m", data_path=str(rows), lr=3, epochs=1, batch_size=1, rl_top_k=3),
        *check(trainer="ppo", beta=3, learning_rate=4, warmup_steps=10, colour="red"),
    ]
    for rule in every_rule().values():
        if rule.refuses:
            from autotrain_llm.cli.parser import read

            found += check(**read(shlex.split(rule.refuses)).values)
    many = Finding("first " * 40 + "\n" + "second " * 40, "type " * 40, ("data_path", "model"), code="D999")
    return [*dict.fromkeys(found), many]


def test_findings_are_shown_whole_on_a_terminal_of_any_width(findings, columns):
    pipe = findings_text(findings, io.StringIO())
    assert_shows_all(findings_text(findings, Terminal()), pipe, columns)
    assert len(findings) > 50
    assert all(len(line.split("fix: ")) < 3 for line in pipe.split("\n"))


def test_what_was_not_checked_is_shown_whole(columns):
    items = [UncheckedItem("what " * 30, "why " * 30, "how " * 30), UncheckedItem("a", "b")]
    pipe = unchecked_lines(items, io.StringIO())
    assert_shows_all(unchecked_lines(items, Terminal()), pipe, columns)
    assert len(pipe.split("\n")) == 2


def test_lines_that_fit_stay_as_they_are():
    assert fit("  a   b\n\nc", 20) == ["  a   b", "", "c"]
    assert fit("one two three", 8, "  ") == ["one two", "  three"]
    assert fit("/a/path/that/is/longer and more", 10) == ["/a/path/that/is/longer", "and more"]


def test_a_command_that_is_broken_can_still_be_copied():
    command = "autotrain llm --model 'a b' --prompts \"What is it?\" --data-path /a/b"
    lines = fit_command(command, 30)
    assert len(lines) > 2 and max(map(len, lines)) <= 30
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == shlex.split(command)


def test_a_long_path_stays_in_one_piece(plans, columns):
    terminal = Terminal()
    write_plan(plans[0], terminal, False)
    assert str(Path(plans[0].data.path)) in terminal.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_beside_the_bar_is_cut_off(width, monkeypatch):
    from autotrain_llm.cli.progress import Bar

    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    bar = Bar(terminal)
    bar.start(120000, 0)
    bar.log(99999, {"loss": 1.23456, "learning_rate": 1.234e-5, "tokens_per_second": 123456.0})
    bar.finish()
    last = CODES.sub("", terminal.getvalue()).replace("\x1b[?25h", "").rstrip().split("\r")[-1].split("\n")[-1]
    for name, whole in (("loss", "1.235"), ("lr", "1.234e-05"), ("tokens/s", "123,456")):
        assert f"{name} {whole}" in last or f"{name} " not in last, last
    assert "loss 1.235" in last and len(last) <= width


def test_the_usage_fits_a_narrow_terminal(monkeypatch, capsys):
    from autotrain_llm.cli.main import USAGE
    from autotrain_llm.cli.terminal import fit_to

    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, fit_to(Terminal(), USAGE, " " * 11).split("\n"))) <= 60
