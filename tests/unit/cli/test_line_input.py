"""Lines that are typed: what Tab completes, and Ctrl-C before there is anything to stop."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autotrain_llm.cli.line_input import completions


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data set").mkdir()
    for name in ("data set/train.jsonl", "data set/.hidden", "dada.csv", "other.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("da", ["dada.csv", "data set/"]),
        ("data set/", ["data set/train.jsonl"]),
        ("data set/.", ["data set/.hidden"]),
        ("./o", ["./other.txt"]),
        ("nowhere/", []),
        ("dp", ["dpo"]),
        ("", ["dada.csv", "data set/", "other.txt"]),
    ],
)
def test_tab_completes_paths_and_choices(here, text, found):
    assert completions(text, ["dpo", "sft"]) == found
    assert completions(f"{here}/ot") == [f"{here}/other.txt"]


def test_tab_completes_a_path_that_is_asked_for_in_a_terminal(here):
    program = (
        "import sys; from autotrain_llm.cli.line_input import read_line; print('got', read_line('path: ', sys.stderr))"
    )
    terminal, other_end = pty.openpty()
    ends = {"stdin": other_end, "stdout": other_end, "stderr": other_end}
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, **ends)
    os.close(other_end)
    screen = ""
    while "path: " not in screen:
        screen += os.read(terminal, 1000).decode()
    os.write(terminal, b"data\ttr\t\n")
    while not screen.partition("got")[2].endswith("\n"):  # it may come in parts
        screen += os.read(terminal, 1000).decode()
    process.wait()
    os.close(terminal)
    assert "got data set/train.jsonl" in screen


def test_ctrl_c_while_the_program_is_imported_shows_no_traceback():
    # The first thing that the program imports sends the signal.
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # in the background a shell has it ignored
        "class Sends:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'autotrain_llm.cli.main': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Sends())\n"
        "from autotrain_llm.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
