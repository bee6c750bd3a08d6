"""`autotrain report RUN`: rewrite a run's report from the files of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotrain_llm.cli.outcome import fail, refuse
from autotrain_llm.cli.screen import Screen
from autotrain_llm.context.pipeline_record import PIPELINE_FILE
from autotrain_llm.declare.finding import Finding

USAGE = """\
usage: autotrain report RUN [--format text|json]
       writes report.html in the folder of a run, a sweep or a pipeline again, from what the folder holds, and prints its path"""


def run_named(words: Sequence[str]) -> Path | None:
    """The folder in the words after `autotrain report`; None if they are not exactly one folder."""
    rest = list(words)
    if "--format" in rest:
        index = rest.index("--format")
        if rest[index + 1 : index + 2] in (["json"], ["text"]):
            del rest[index : index + 2]
    rest = [word for word in rest if word not in ("--format=json", "--format=text")]
    return Path(rest[0]).expanduser() if len(rest) == 1 and not rest[0].startswith("-") else None


def _why_not(folder: Path) -> str:
    return "holds no run (there is no run.json)" if folder.is_dir() else "is not a folder"


def rewrite(folder: Path, screen: Screen) -> int:
    """Write the report and answer with its path."""
    try:
        fault = None if any((folder / name).is_file() for name in ("run.json", PIPELINE_FILE)) else _why_not(folder)
    except OSError as problem:  # a name that is too long
        fault = f"can't be read: {problem.strerror}"
    if fault is not None:
        return refuse([Finding(f"{folder} {fault}", "give the output folder of a run", code="P125")], screen)
    from autotrain_llm.run.report.write import REPORT, write_report

    try:
        return screen.finish_with(str(write_report(folder)))
    except OSError as problem:
        return fail(f"{folder / REPORT} can't be written: {problem.strerror or problem}", None, screen)
