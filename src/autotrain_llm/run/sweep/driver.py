"""Carry out a sweep: trial after trial until the study has enough, what is learnt written down after each, the best one put at the root."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.output_dir import SWEEP
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.planning.plan import Plan, SweepPlan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.failures import Interrupted, RunFailed
from autotrain_llm.run.report.write import REPORT, try_write_report
from autotrain_llm.run.session.run_report import RunReport
from autotrain_llm.run.sweep.folder import STUDY_LOCK, SweepFolder
from autotrain_llm.run.sweep.optuna_study import Study, connect
from autotrain_llm.run.sweep.records import Ledger, best_of, history_of, summary
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, REFUSED, Trial, Trials


def sweep(plan: Plan, context: RunContext, findings: tuple[Finding, ...], watch: ProgressCallback) -> RunReport:
    """Carry out a plan with a sweep. Raises RunFailed when no trial came to an end, Interrupted, or Refused before anything is started."""
    config = context.config
    assert plan.sweep is not None
    _evaluates(plan)
    storage = connect(config.sweep_storage) if config.sweep_storage and config.sweep_backend == "optuna" else None
    may_join = bool(config.resume or config.sweep_storage)
    root = context.output.folder
    with SweepFolder(root, overwrite=config.overwrite, study=plan.sweep.study, may_join=may_join) as folder:
        run = _Sweep(plan, context, findings, folder.path, watch)
        study = (
            Study(plan.sweep, folder.path, plan.seed, storage, run.lock) if config.sweep_backend == "optuna" else None
        )
        run.write("running")
        folder.let_others_join()
        try:
            report = run.carry_out(study)
        finally:
            try_write_report(folder.path, watch)
        folder.complete()
        return report


def _evaluates(plan: Plan) -> None:
    """What the plan's numbers tell before the first trial: whether there will be anything to compare."""
    schedule = plan.schedule
    if schedule.evaluate == "steps" and schedule.eval_steps > plan.steps:
        message = f"--sweep-metric is measured at evaluations, and --eval-steps {schedule.eval_steps} is more than the run's {plan.steps} steps"
        fix = f"--eval-steps {max(1, plan.steps // 10)}, or --eval-strategy epoch"
        raise Refused([Finding(message, fix, ("eval_steps", "sweep_metric"), code="E410")])


class _Sweep:
    """One process's part in a sweep."""

    def __init__(
        self, plan: Plan, context: RunContext, findings: tuple[Finding, ...], root: Path, watch: ProgressCallback
    ) -> None:
        assert plan.sweep is not None
        self.plan, self.sweep, self.root, self.watch = plan, plan.sweep, root, watch
        self.context = context
        self.lock = FileLock(root / SWEEP / STUDY_LOCK)
        self.began = time.perf_counter()
        self.trials = Trials(plan, context, findings, root, watch)
        self.ledger = Ledger(root, plan.sweep, self.trials.base)
        self.run_file = records.RunFile(root, plan, findings)
        self.words = words_of(plan, root, self.sweep)

    def write(self, status: str, **more: Any) -> None:
        self.run_file.write(status=status, **more)
        if status == "running":
            records.write_command(self.root, self.words)

    @property
    def to_go_on(self) -> str:
        place = [] if "--output-dir" in self.words else ["--output-dir", str(self.root)]
        return " ".join([records.invocation(), *map(_quoted, [*self.words[2:], *place]), "--resume"])

    def carry_out(self, study: Study | None) -> RunReport:
        """All trials, and the report."""
        try:
            with stopping(), quick_collections():
                if study is not None:
                    self._trial_by_trial(study)
                    trials, importances = study.trials(), study.importances()
                else:
                    from autotrain_llm.run.sweep.wandb_agent import sweep_of_wandb

                    trials, importances = sweep_of_wandb(self.sweep, self.root, self.trials, self.written), {}
                return self._report(trials, importances)
        except Interrupted as stopped:
            done = sum(trial.state == COMPLETE for trial in study.trials()) if study else 0
            word = "Terminated" if stopped.signal == signal.SIGTERM else "Interrupted"
            message = f"{word}; {done} of {self.sweep.trials} trials are complete. To go on: {self.to_go_on}"
            self.write("interrupted", outcome={"message": message})
            raise Interrupted(stopped.signal, message) from stopped
        except RunFailed as failure:
            self.write("failed", outcome={"failure": failure.message, "fix": failure.fix})
            raise
        finally:
            self.watch.finish()

    def _trial_by_trial(self, study: Study) -> None:
        while (trial := study.next()) is not None:
            self.written(study.trials())
            try:
                self.trials.carry_out(trial, partial(study.should_stop, trial))
            except BaseException as fault:
                if trial.state != INTERRUPTED and not isinstance(fault, Exception):
                    trial.state = INTERRUPTED
                raise
            finally:
                study.tell(trial)
                trials = study.trials()
                self.written(trials, study.importances())
                self._show(trial, trials)

    def written(self, trials: Iterable[Trial], importances: dict[str, float] | None = None) -> None:
        """The records as they are now, written by one process at a time."""
        with self.lock:
            self.ledger.write(list(trials), importances)

    def _show(self, trial: Trial, trials: list[Trial]) -> None:
        best = best_of(trials, self.sweep.direction)
        is_best = best is not None and best.number == trial.number
        self.watch.trial_done(trial.number, trial.state, trial.metric, is_best, trial.why)

    def _report(self, trials: list[Trial], importances: dict[str, float]) -> RunReport:
        best = best_of(trials, self.sweep.direction)
        if best is None:
            raise nothing_finished(trials)
        here = best_of([trial for trial in trials if self._is_here(trial)], self.sweep.direction)
        self.watch.stage("Saving the best trial's model")
        with self.lock:
            self.ledger.write(trials, importances)
            files, checkpoint = self.ledger.place(here) if here else ([], None)
        if here is None or here.number != best.number:
            own = f"the best of this folder is trial {here.number}" if here else "no trial of this folder is complete"
            self.watch.note(f"Trial {best.number} is best, and lies on {best.host} in {best.folder}; {own}")
        self._upload(here)
        summed = summary(trials, self.sweep, importances) | {"again": str(self.root / SWEEP / "best.yaml")}
        files = sorted([*files, "command.sh", REPORT, "run.json", SWEEP])
        seconds = round(time.perf_counter() - self.began, 3)
        outcome = {"sweep": summed, "best_checkpoint": checkpoint}
        self.write("ok", outcome=outcome, metrics=best.metrics, seconds=seconds, files=files)
        return RunReport(
            self.plan,
            self.root,
            best.metrics,
            seconds,
            history_of(self.root / here.folder) if here else [],
            files,
            records.versions(),
            f'{records.invocation()} --inference --model {self.root} --prompts "…"',
            summed,
        )

    def _is_here(self, trial: Trial) -> bool:
        return any((self.root / trial.folder).glob("*.safetensors"))

    def _upload(self, best: Trial | None) -> None:
        if self.plan.hub and best is not None:
            from autotrain_llm.run.session.hub import upload

            self.watch.stage("Uploading")
            self.watch.note(f"Uploaded to {upload(self.root, self.plan.hub, self.context.token)}")


def nothing_finished(trials: list[Trial]) -> RunFailed:
    """No trial has a metric: why the first did not, which is most often why none did."""
    first = next((trial for trial in trials if trial.why), None)
    if first is None:
        return RunFailed("no trial was begun within --sweep-timeout", "a longer --sweep-timeout")
    fix = (
        next((finding["fix"] for finding in first.findings if finding["fix"]), None) if first.state == REFUSED else None
    )
    return RunFailed(
        f"none of {len(trials)} trials came to its end; trial {first.number} {first.state}: {first.why}",
        fix or f"{SWEEP}/trials.csv holds the reason of each",
    )


def words_of(plan: Plan, root: Path, sweep: SweepPlan) -> list[str]:
    """The command again; of a database's address, which is a secret, all but the password."""
    words = records.command_of(plan, root)
    return [*words, "--sweep-storage", sweep.storage.replace(":***@", "@")] if sweep.storage else words


def _quoted(word: str) -> str:
    import shlex

    return word if word.startswith("--") else shlex.quote(word)


@contextmanager
def stopping() -> Iterator[None]:
    """Between trials, a signal ends the sweep at once; inside one, the run has its own way to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def quick_collections() -> Iterator[None]:
    """Looking for garbage after each trial leaves out what was there before the first one: the libraries' many thousand objects."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number, "Interrupted between trials")
