"""Train the stages of a pipeline in their order, each in a process of its own, and record how each of them ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotrain_llm.checks.rules.stages import PIPELINE_IN_USE
from autotrain_llm.checks.stages import KEEP, LEAVE_OUT, CheckedPipeline, StageCheck, record_of
from autotrain_llm.config.layers import Layer
from autotrain_llm.config.resolved import resolve_layers
from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.output_dir import LOCK_FILE
from autotrain_llm.context.pipeline_record import PIPELINE_FILE, PipelineRecord
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.progress import PipelineProgress
from autotrain_llm.run.artifacts.records import write_json
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.pipeline.process import StageProcesses
from autotrain_llm.run.pipeline.results import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    KEPT,
    LEFT_OUT,
    NOT_STARTED,
    OK,
    REFUSED,
    PipelineReport,
    StageResult,
    summary_of,
)
from autotrain_llm.run.report.write import try_write_report

STATUS = {"ok": OK, "failed": FAILED, "refused": REFUSED, "interrupted": INTERRUPTED}


def train_pipeline(
    checked: CheckedPipeline, progress: PipelineProgress | None = None, *, quiet: bool = False, verbose: bool = False
) -> PipelineReport:
    """Train the stages that a check chose. A stage that fails or is stopped ends the command: the report says which, and the same command
    goes on there. Raises Refused if another process trains them, or the folder can't be written."""
    progress = progress or PipelineProgress()
    folder = checked.pipeline.folder.expanduser()
    began = time.perf_counter()
    with _locked(folder), StageProcesses() as processes:
        results = _Driver(checked, folder, processes, progress, {"quiet": quiet, "verbose": verbose}).run()
        early = [result.status for result in results if result.status in (FAILED, REFUSED, INTERRUPTED)]
        status = OK if not early else INTERRUPTED if early[0] == INTERRUPTED else FAILED
        report = PipelineReport(
            folder, status, tuple(results), round(time.perf_counter() - began, 3), processes.received
        )
        try_write_report(folder, progress)
    return report


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The pipeline's folder, which no other process writes to meanwhile."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_mine = lock.acquire(wait=False)
    except OSError as problem:
        message = f"--output-dir {folder} can't be written: {problem.strerror or problem}"
        raise Refused([Finding(message, "another --output-dir", ("output_dir",), code="E403")]) from problem
    if not is_mine:
        raise Refused(
            [PIPELINE_IN_USE.finding(f"{folder} is in use by another process", "another --output-dir, or wait")]
        )
    lock.write_owner()
    try:
        yield
    finally:
        lock.release()


class _Driver:
    """Runs the stages and writes pipeline.json after each change."""

    def __init__(
        self,
        checked: CheckedPipeline,
        folder: Path,
        processes: StageProcesses,
        progress: PipelineProgress,
        output: Mapping[str, bool],
    ) -> None:
        self.checked, self.folder, self.processes, self.progress, self.output = (
            checked,
            folder,
            processes,
            progress,
            output,
        )
        known = {name: stage for name, stage in checked.record.stages.items() if name in checked.pipeline.names}
        self.record = checked.record.replace(stages=known, status="running", config=checked.pipeline.path)
        self.folders = {stage.name: stage.folder.expanduser() for stage in checked.pipeline.stages}

    def run(self) -> list[StageResult]:
        results: list[StageResult] = []
        trained = [check for check in self.checked.stages if check.runs]
        for check in self.checked.stages:
            if any(result.status in (FAILED, REFUSED, INTERRUPTED) for result in results):
                results.append(self._result(check, NOT_STARTED))
            elif check.runs:
                self.progress.stage_begins(check.stage.name, trained.index(check) + 1, len(trained), check.action)
                results.append(self._train(check))
                self.progress.stage_ends(results[-1])
            else:
                results.append(self._result(check, {KEEP: KEPT, LEAVE_OUT: LEFT_OUT}[check.action]))
        ended_well = all(result.status in (*FINISHED, LEFT_OUT) for result in results)
        self._write(self.record.replace(status="ok" if ended_well else "stopped"))
        return results

    def _train(self, check: StageCheck) -> StageResult:
        name = check.stage.name
        began = time.perf_counter()
        record = record_of(check, self.record.stages.get(name), self.record.selection, self.folders)
        self._write(self.record.with_stage(record))
        try:
            status, document = self.processes.run(self._order(check))
        except Interrupted as interrupted:
            return self._result(check, INTERRUPTED, message=interrupted.message)
        seconds = round(record.seconds + time.perf_counter() - began, 3)
        result = self._outcome(check, status, document, seconds)
        self._write(self.record.with_stage(record.replace(status=result.status, seconds=seconds)))
        return result

    def _order(self, check: StageCheck) -> dict[str, Any]:
        return {
            "layers": {source: _layer_json(layer) for source, layer in check.layers.items()},
            "config": self.checked.pipeline.path,
            **self.output,
        }

    def _outcome(self, check: StageCheck, status: int, document: dict[str, Any] | None, seconds: float) -> StageResult:
        if document is None:
            return self._without_document(check, status, seconds)
        findings = document.get("findings") or []
        if document["status"] == "ok":
            return self._result(check, OK, seconds, report=document.get("report"))
        of_the_end = [finding for finding in findings if str(finding["code"]).startswith("R")]
        ended = of_the_end[-1] if of_the_end else document
        message, fix = ended.get("message"), ended.get("fix")
        shown = findings if document["status"] == "refused" else []
        return self._result(check, STATUS[document["status"]], seconds, message=message, fix=fix, findings=tuple(shown))

    def _without_document(self, check: StageCheck, status: int, seconds: float) -> StageResult:
        """The result of a process that ended without saying how."""
        if self.processes.received is not None:
            return self._result(check, INTERRUPTED, seconds, message="Stopped before its training started.")
        why = _name_of(-status) if status < 0 else f"exit status {status}"
        fix = "if memory ran out (dmesg says so): a smaller batch_size, or gradient_checkpointing; then the same command again"
        return self._result(check, FAILED, seconds, message=f"its process ended without a result ({why})", fix=fix)

    def _result(self, check: StageCheck, status: str, seconds: float | None = None, **details: Any) -> StageResult:
        name = check.stage.name
        known = self.record.stages.get(name)
        trainer = resolve_layers(check.layers).trainer
        spent = seconds if seconds is not None else known.seconds if known else None
        has_run = status in (OK, KEPT, LEFT_OUT, FAILED, INTERRUPTED)
        summary = summary_of(self.folders[name], trainer, spent if has_run else None)
        return StageResult(name, status, check.why, self.folders[name], summary, **details)

    def _write(self, record: PipelineRecord) -> None:
        self.record = record
        write_json(self.folder / PIPELINE_FILE, record.as_json())


def _layer_json(layer: Layer) -> dict[str, Any]:
    origins = {name: origin.as_dict() for name, origin in layer.origins.items()}
    return {"values": dict(layer.values), "origins": origins}


def _name_of(signum: int) -> str:
    try:
        return f"killed by {signal.Signals(signum).name}"
    except ValueError:
        return f"signal {signum}"
