"""`report.html`: one page about a run, written from the files of its folder alone, so that it can be written again at any time.

It loads nothing: styles, plots and the script that shows the values of a plot are inside the page, whose policy allows nothing else.
"""

from __future__ import annotations

from pathlib import Path

from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.records import write_text
from autotrain_llm.run.report.page import page
from autotrain_llm.run.report.pipeline import REPORT, holds_pipeline, pipeline_page
from autotrain_llm.run.report.read import read_run


def write_report(folder: Path) -> Path:
    """Write the report of the run or the pipeline in `folder`; returns its path. Raises OSError if it can't be written."""
    content = pipeline_page(folder) if holds_pipeline(folder) else page(read_run(folder))
    write_text(folder / REPORT, content, errors="backslashreplace")
    return folder / REPORT


def try_write_report(folder: Path, watch: ProgressCallback) -> None:
    """The same at the end of a run, which a report that can't be written doesn't fail: the failure is a note."""
    try:
        write_report(folder)
    except Exception as fault:
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        watch.note(f"{REPORT} could not be written: {reason}. To try again: autotrain report {folder}")
