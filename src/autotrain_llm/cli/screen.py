"""The two streams of a command: its output and its messages.

With `--format json` standard output is exactly one JSON document: `Screen` keeps the real standard output for the document and redirects
file descriptor 1 to standard error, so that a library or a worker process that prints can't break it.
"""

from __future__ import annotations

import io
import os
import sys

from autotrain_llm.cli import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Any, TextIO

    from autotrain_llm.checks.coverage import UncheckedItem
    from autotrain_llm.declare.finding import Finding

# The variables in which a launcher or a scheduler numbers processes or nodes.
NUMBERED = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_STEP_NUM_TASKS", "SKYPILOT_NODE_RANK", "PET_NODE_RANK")
STATUS_WORDS = {0: "ok", 1: "failed", 2: "refused", 129: "interrupted", 130: "interrupted", 143: "interrupted"}


def _is_first_process() -> bool:
    """Whether this is the first of several processes that train together; only that one prints."""
    if not any(os.environ.get(name) for name in NUMBERED):
        return True
    from autotrain_llm.context.machine import Machine

    return Machine().is_first_process


class Nowhere(io.StringIO):
    """A stream that discards its input."""

    def write(self, text: str) -> int:
        return len(text)


class Screen:
    """Where a command writes. `out` is for its output, `err` for messages; with JSON both are standard error."""

    def __init__(self, json: bool, quiet: bool = False, verbose: bool = False, sarif: bool = False) -> None:
        self.json = json or sarif  # the output is exactly one document
        self.sarif = sarif
        self.speaks = _is_first_process()
        self.quiet = quiet
        self.verbose = verbose
        self.err: TextIO = sys.stderr if self.speaks else Nowhere()
        self.out: TextIO = self.err if json else sys.stdout if self.speaks else Nowhere()
        self._answer: TextIO = sys.stdout
        self._real_stdout: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Screen:
        """The screen for a command with these values of its parameters."""
        form = values.get("format")
        return cls(form == "json", bool(values.get("quiet")), bool(values.get("verbose")), form == "sarif")

    def __enter__(self) -> Screen:
        if self.json:
            self._redirect_stdout()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.json:
            return
        sys.stdout = self._answer
        if self._real_stdout is not None:
            os.dup2(self._real_stdout, 1)
            os.close(self._real_stdout)
            self._real_stdout = None

    def _redirect_stdout(self) -> None:
        """Redirect standard output to standard error, for Python and for native code."""
        self._answer.flush()
        sys.stdout = sys.stderr
        try:
            is_real = self._answer.fileno() == 1
        except (OSError, ValueError):  # a test or a notebook has replaced sys.stdout
            is_real = False
        if is_real:
            self._real_stdout = os.dup(1)
            os.dup2(2, 1)

    def document(
        self,
        status: int,
        findings: Iterable[Finding] = (),
        plan: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
        not_checked: Iterable[UncheckedItem] | None = None,
        **more: Any,
    ) -> None:
        """Write the JSON document. Without `not_checked` it has no such key."""
        import json

        if not self.speaks:
            return
        findings = list(findings)
        content: dict[str, Any] = {
            "status": STATUS_WORDS[status],
            "findings": [finding.as_json() for finding in findings],
            "plan": plan,
            "report": report,
            **({} if not_checked is None else {"not_checked": [item.as_json() for item in not_checked]}),
            **more,
        }
        if self.sarif:
            from autotrain_llm.cli.sarif import sarif

            content = sarif(findings, succeeded=status == 0)
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=str) + "\n"
        if self._real_stdout is None:
            self._answer.write(text)
            self._answer.flush()
        else:
            streams.write_beside(self._answer, self._real_stdout, text.encode("utf-8", "backslashreplace"))

    def finish_with(self, text: str) -> int:
        """Print a text as the only output, or as JSON in the document. Returns the exit status."""
        if self.json:
            self.document(0, text=text)
        else:
            self.answer(text)
        return 0

    def answer(self, text: str) -> None:
        """Print output."""
        print(text, file=self.out)

    def write(self, text: str) -> None:
        """Print a message; nothing if it is empty."""
        if text:
            self.out.flush()
            print(text, file=self.err, flush=True)

    def complain(self, text: str) -> None:
        """Print why a run failed, from any of several processes."""
        print(text, file=self.err if self.speaks else sys.stderr, flush=True)
