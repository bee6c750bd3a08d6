"""command.sh does what the command did, and nothing that a name says."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autotrain_llm.planning.plan import LaunchPlan
from autotrain_llm.run.artifacts.records import PROGRAM, invocation_again, write_command


def test_a_folder_whose_name_has_a_line_break_executes_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "d\ntouch MADE #"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_command(folder, ["true", "--output-dir", "o\ntouch MADE"])
    assert subprocess.run(["sh", "command.sh"], check=False, cwd=folder).returncode == 0
    assert [path.name for path in folder.iterdir()] == ["command.sh"]


@settings(max_examples=30, deadline=None)
@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), max_size=4)
)
def test_a_script_passes_on_exactly_the_words_of_the_command(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_command(folder, ["printf", "%s\\0", "--", *words])
    done = subprocess.run(["sh", "command.sh"], capture_output=True, check=True, cwd=folder)
    assert done.stdout.decode() == "".join(f"{word}\0" for word in ["--", *words])


def test_a_run_that_torchrun_has_started_is_gone_on_with_by_torchrun(monkeypatch):
    plan: Any = SimpleNamespace(launch=LaunchPlan(1, 2, None, 0))
    assert "torchrun" not in invocation_again(plan)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert invocation_again(plan) == "torchrun --nproc-per-node 2 -m autotrain_llm llm"
    monkeypatch.setenv(PROGRAM, "autotrain llm")
    assert invocation_again(plan) == "autotrain llm"
