"""The tutorial and the recipes, followed as they stand, with few steps of each training."""

from __future__ import annotations

import io
import shlex
import sys
from itertools import pairwise

import pytest

from autotrain_llm.cli.main import main
from support.pages import PAGES

FOLLOWED = [page for page in PAGES if page.name == "docs/tutorial.md" or page.name.startswith("docs/recipes/")]
STEPS = "2"


def shortened(words: list[str]) -> list[str]:
    """A training of few steps."""
    is_training = words[0] == "llm" and "--output-dir" in words
    return [*words, "--max-steps", STEPS] if is_training else words


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_a_page_can_be_followed(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page.prepare(tmp_path)
    for command in page.commands:
        words = shlex.split(command, comments=True)[1:]
        if not command.startswith("autotrain ") or _needs_the_hub(words):
            continue
        monkeypatch.setattr(sys, "stdin", io.StringIO("Is the red boat here?\n"))
        assert main(shortened(words)) == 0, f"{command}\n{capsys.readouterr().err}"


def _needs_the_hub(words: list[str]) -> bool:
    """Whether a model or rows are named that the page does not make."""
    values = [value for flag, value in pairwise(words) if flag in ("--model", "--data-path")]
    return any(
        value.startswith("./data/") or ("/" in value and not value.startswith("runs/")) or "bert" in value
        for value in values
    )
