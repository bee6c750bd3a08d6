"""run.json and command.sh: written when a run starts; run.json again when it ends, also by a failure or a signal."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from autotrain_llm.context.output_dir import earlier_run, run_of, seconds_of
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.failures import Interrupted, RunFailed, explain
from autotrain_llm.run.session.callbacks import Signals
from autotrain_llm.run.session.run_report import RunReport


class RunRecord:
    """A context manager around a run: handles signals, records the outcome, and turns a library's exception into a RunFailed with a fix."""

    def __init__(self, plan: Plan, inputs: RunInputs, folder: Path) -> None:
        self.folder = folder
        self.command = records.command_of(plan, folder)
        self.signals = Signals(
            f"{records.invocation_again(plan)} {shlex.join(self.command[2:])} --resume",
            folder,
            is_resumed=plan.output.checkpoint is not None,
            processes=plan.schedule.processes,
        )
        self.file = (
            records.RunFile(folder, plan, inputs.findings, inputs.prepared.prompt_format, _seconds_before(plan))
            if inputs.is_first_process
            else None
        )
        self.resume = plan.resume
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds of all attempts at the run until now; in other processes than the first, of this one."""
        return self.file.seconds if self.file else round(time.perf_counter() - self.began, 3)

    def __enter__(self) -> RunRecord:
        """From here on a signal is recorded: there is no moment in which the record says that the run goes on, and nothing would write that it ended."""
        try:
            self.signals.__enter__()
            if self.file:
                self.file.write()
                records.write_command(self.folder, self.command, self.resume)
        except BaseException as fault:
            self.__exit__(type(fault), fault, fault.__traceback__)
            raise
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, traceback: TracebackType | None) -> None:
        self.signals.ignore()
        try:
            self._record_end(fault)
        finally:
            self.signals.__exit__(kind, fault, traceback)

    def _record_end(self, fault: BaseException | None) -> None:
        """Write how the run ended, unless it is complete. Raises RunFailed for an exception whose cause is known."""
        if fault is None:
            return
        received = self.signals.received
        if received is not None and self.signals.processes > 1 and not isinstance(fault, Interrupted | RunFailed):
            # Another process was stopped first: what failed is the exchange with it.
            stopped = self.signals.interrupted(received, saved=False)
            self._write(status="interrupted", outcome={"message": stopped.message})
            raise stopped from fault
        if isinstance(fault, Interrupted):
            self._write(status="interrupted", outcome={"message": fault.message})
            return
        failure = fault if isinstance(fault, RunFailed) else explain(fault, self.signals.steps, self.folder)
        message = failure.message if failure else f"{type(fault).__name__}: {fault}"
        self._write(status="failed", outcome={"failure": message, "fix": failure.fix if failure else None})
        if failure is not None and failure is not fault:
            raise failure from fault

    def add(self, **entries: Any) -> None:
        """Record more of a run that goes on."""
        self._write(**entries)

    def finish(self, report: RunReport, outcome: dict[str, Any]) -> None:
        """Record that the run is complete."""
        if self.file and report.observations:
            self.file.add_findings(report.observations)
        self._write(status="ok", outcome=outcome, metrics=report.metrics, seconds=report.seconds, files=report.files)

    def _write(self, **changes: Any) -> None:
        if self.file:
            self.file.write(**changes)


def _seconds_before(plan: Plan) -> float:
    """The seconds of the attempts that a resumed run goes on from."""
    run = run_of(Path(plan.output.checkpoint).expanduser().absolute()) if plan.output.checkpoint else None
    return seconds_of(earlier_run(run), run) if run is not None else 0.0
