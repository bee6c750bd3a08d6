"""Completion scripts, in the shells themselves where they are there."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from autotrain_llm.cli.completion import SHELLS, script
from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_autotrain
printf '%s\\n' "${COMPREPLY[@]}"
"""
COMMANDS = {
    "llm",
    "prepare",
    "chat",
    "export",
    "app",
    "check",
    "presets",
    "report",
    "completion",
    "--help",
    "--version",
}


class Terminal:
    """A program at a pseudo-terminal: the only way to see what zsh's own machinery makes of a script."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
        os.close(theirs)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self.ours, text.encode())

    def wait_for(self, text: str, seconds: float = 20.0) -> None:
        """Read until the text is seen."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.ours], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} was not shown, but {self.seen!r}"
            self.seen += os.read(self.ours, 4096).decode(errors="replace")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / shell).write_text(script(shell))
    return folder


def bash(scripts, *words: str) -> set[str]:
    run = subprocess.run(
        ["bash", "-c", BASH, "bash", str(scripts / "bash"), *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=scripts,
    )
    assert run.stderr == ""
    return set(run.stdout.split())


def fish(scripts, command: str) -> set[str]:
    program = f"source {scripts / 'fish'}; complete -C '{command}'"
    run = subprocess.run(["fish", "-c", program], capture_output=True, text=True, check=True, cwd=scripts)
    return {line.split("\t")[0] for line in run.stdout.splitlines()}


needs_fish = pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_flag_and_every_negation_stands_in_the_script(shell):
    text = script(shell)
    dashes = "-l " if shell == "fish" else "--"
    for param in PARAMS.values():
        assert dashes + param.flag[2:] in text
        if param.kind == "switch":
            assert f"{dashes}no-{param.flag[2:]}" in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_its_script_without_a_fault(shell, scripts):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    run = subprocess.run([shell, "-n", str(scripts / shell)], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and run.stderr == ""


def test_bash_completes_commands_flags_choices_and_files(scripts):
    assert bash(scripts, "autotrain", "") == COMMANDS
    assert bash(scripts, "autotrain", "completion", "") == set(SHELLS)
    assert bash(scripts, "autotrain", "presets", "") == {*PARAMS["preset"].choices, "--format"}
    assert {"--data-path", "--output-dir", "--model"} <= bash(scripts, "autotrain", "prepare", "--")
    assert bash(scripts, "autotrain", "llm", "--preset", "ql") == {"qlora"}
    assert bash(scripts, "autotrain", "llm", "--rejected") == {"--rejected-text-column"}
    assert bash(scripts, "autotrain", "llm", "--rejected_t") == {"--rejected-text-column"}
    assert bash(scripts, "autotrain", "llm", "--optimizer", "") == set(PARAMS["optimizer"].choices)
    assert bash(scripts, "autotrain", "llm", "--optimizer", "=", "sg") == {"sgd"}
    assert bash(scripts, "autotrain", "llm", "--data-path", "") == set(SHELLS)
    assert bash(scripts, "autotrain", "llm", "--no-pe") == {"--no-peft"}
    assert bash(scripts, "autotrain", "llm", "--lr", "") == set()


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=lambda trainer: trainer.name)
def test_bash_offers_only_what_the_trainer_that_was_typed_reads(trainer, scripts):
    offered = bash(scripts, "autotrain", "llm", "--trainer", trainer.name, "--")
    flags = {param.flag for param in PARAMS.values() if verdict(param, trainer) == READS}
    negations = {f"--no-{param.flag[2:]}" for param in PARAMS.values() if param.kind == "switch"}
    assert offered - negations == flags | {"--help"}


@needs_fish
def test_fish_completes_commands_flags_choices_and_files(scripts):
    assert fish(scripts, "autotrain ") == COMMANDS
    assert fish(scripts, "autotrain completion ") == set(SHELLS)
    assert fish(scripts, "autotrain llm --optimizer ") == set(PARAMS["optimizer"].choices)
    assert fish(scripts, "autotrain llm --data-path ") >= set(SHELLS)
    assert "--dpo-beta" in fish(scripts, "autotrain llm --dpo")
    assert fish(scripts, "autotrain llm --trainer sft --dpo") == set()
    assert fish(scripts, "autotrain llm --trainer=dpo --dpo-b") == {"--dpo-beta"}


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("autotrain llm --trainer dpo --dpo-b", "--dpo-beta"),
        ("autotrain llm --optimizer adaf", "adafactor"),
        ("autotrain compl", "completion"),
    ],
)
def test_zsh_completes_what_was_begun(typed, shown, scripts):
    setting_up = (
        "PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit && compinit -u -D; source ./zsh; echo re''ady\n"
    )
    with Terminal(["zsh", "-f", "-i"], scripts) as zsh:
        zsh.type(setting_up)
        zsh.wait_for("ready")
        zsh.type(typed + "\t")
        zsh.wait_for(shown)
