"""Carry out a sweep: trial after trial until the study has enough, the records written after each, the best model at the root at the end."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.output_dir import SWEEP, earlier_run, seconds_of
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.context.signals import event
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.garbage import existing_objects_frozen
from autotrain_llm.planning.plan import Plan, SweepPlan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.failures import Interrupted, RunFailed, explain
from autotrain_llm.run.report.write import REPORT, try_write_report
from autotrain_llm.run.session.run_report import RunReport
from autotrain_llm.run.sweep.database import Database, connect
from autotrain_llm.run.sweep.folder import STUDY_LOCK, SweepFolder
from autotrain_llm.run.sweep.records import SweepRecords, best_of, summary
from autotrain_llm.run.sweep.restore import restored_study
from autotrain_llm.run.sweep.stops import Stops
from autotrain_llm.run.sweep.study import Study
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, REFUSED, RUNNING, Trial, Trials, history_of


def sweep(plan: Plan, context: RunContext, findings: tuple[Finding, ...], watch: ProgressCallback) -> RunReport:
    """Carry out a plan with a sweep. Raises RunFailed if no trial completes, Interrupted, or Refused before anything is started."""
    config = context.config
    assert plan.sweep is not None
    _require_evaluations(plan)
    database = connect(config.sweep_storage) if config.sweep_storage and config.sweep_backend == "optuna" else None
    may_join = bool(config.resume or config.sweep_storage)
    root = context.output.folder
    with (
        SweepFolder(root, overwrite=config.overwrite, study=plan.sweep.study, may_join=may_join) as folder,
        Stops() as stops,
    ):
        run = _Sweep(plan, context, findings, folder.path, watch, stops)
        study = run.open_study(database) if config.sweep_backend == "optuna" else None
        run.write_run_file("running")
        folder.let_others_join()
        try:
            report = run.carry_out(study)
        finally:
            try_write_report(folder.path, watch)
        folder.complete()
        return report


def _require_evaluations(plan: Plan) -> None:
    """Refuse a sweep whose trials would end before their first evaluation: there would be nothing to compare."""
    schedule = plan.schedule
    if schedule.evaluate == "steps" and schedule.eval_steps > plan.steps:
        message = f"--sweep-metric is measured at evaluations, and --eval-steps {schedule.eval_steps} is more than the run's {plan.steps} steps"
        fix = f"--eval-steps {max(1, plan.steps // 10)}, or --eval-strategy epoch"
        raise Refused([Finding(message, fix, ("eval_steps", "sweep_metric"), code="E410")])


class _Sweep:
    """One process's part in a sweep."""

    def __init__(
        self,
        plan: Plan,
        context: RunContext,
        findings: tuple[Finding, ...],
        root: Path,
        watch: ProgressCallback,
        stops: Stops,
    ) -> None:
        assert plan.sweep is not None
        self.plan, self.sweep, self.root, self.watch, self.stops = plan, plan.sweep, root, watch, stops
        self.context = context
        self.complete = 0  # trials
        self.lock = FileLock(root / SWEEP / STUDY_LOCK)
        self.trials = Trials(plan, context, findings, root, watch)
        self.records = SweepRecords(root, plan.sweep, self.trials.base)
        self.run_file = records.RunFile(
            root, plan, findings, earlier_seconds=_seconds_before(root, context.config.resume)
        )
        self.command = command_of(plan, root, self.sweep)

    def open_study(self, database: Database | None) -> Study:
        """The study in the output folder or in the database, with what its damaged file has lost."""
        return restored_study(
            self.sweep, self.root, self.plan.seed, database, self.lock, pause=self.stops.pause, note=self.watch.note
        )

    def write_run_file(self, status: str, **more: Any) -> None:
        self.run_file.write(status=status, **more)
        if status == "running":
            records.write_command(self.root, self.command)

    @property
    def resume_command(self) -> str:
        output = [] if "--output-dir" in self.command else ["--output-dir", str(self.root)]
        words = [word if word.startswith("--") else shlex.quote(word) for word in [*self.command[2:], *output]]
        return " ".join([records.invocation(), *words, "--resume"])

    def carry_out(self, study: Study | None) -> RunReport:
        """Carry out all trials; returns the report."""
        try:
            with existing_objects_frozen():
                if study is not None:
                    self._optuna_trials(study)
                    trials, importances = study.trials(), study.importances()
                else:
                    from autotrain_llm.run.sweep.wandb_agent import wandb_trials

                    with self.stops.at_once():
                        trials, importances = wandb_trials(self.sweep, self.root, self.trials, self.write_records), {}
                return self._report(trials, importances)
        except Interrupted as stopped:
            what = f"{event(stopped.signal)}; {self.complete} of {self.sweep.trials} trials are complete."
            message = f"{what} To go on: {self.resume_command}"
            self.write_run_file("interrupted", outcome={"message": message})
            raise Interrupted(stopped.signal, message, what) from stopped
        except Exception as fault:
            failure = fault if isinstance(fault, RunFailed) else explain(fault, 0, where="between two trials")
            shown = failure.message if failure else f"{type(fault).__name__}: {fault}"
            self.write_run_file("failed", outcome={"failure": shown, "fix": failure.fix if failure else None})
            if failure is None or failure is fault:
                raise
            raise failure from fault
        finally:
            self.watch.finish()

    def _optuna_trials(self, study: Study) -> None:
        while (trial := self._next(study)) is not None:
            try:
                self.write_records(study.trials())
                with self.stops.at_once():
                    self.trials.carry_out(trial, partial(study.should_prune, trial))
            finally:
                if trial.state == RUNNING:  # it ended with an exception that is not about this trial
                    trial.state = INTERRUPTED
                study.tell(trial)
                trials = study.trials()
                self.write_records(trials, study.importances())
                best = best_of(trials, self.sweep.direction)
                is_best = best is not None and best.number == trial.number
                self.watch.trial_done(trial.number, trial.state, trial.metric, is_best, trial.why)

    def _next(self, study: Study) -> Trial | None:
        self.stops.check()
        return study.next()

    def write_records(self, trials: Iterable[Trial], importances: dict[str, float] | None = None) -> None:
        """Write the records, one process at a time."""
        trials = list(trials)
        self.complete = sum(trial.state == COMPLETE for trial in trials)
        with self.lock:
            self.records.write(trials, importances)

    def _report(self, trials: list[Trial], importances: dict[str, float]) -> RunReport:
        best = best_of(trials, self.sweep.direction)
        if best is None:
            raise nothing_finished(trials)
        # With a database, the best trial of all may be on another machine; the root gets the best one of this folder.
        local = [trial for trial in trials if any((self.root / trial.folder).glob("*.safetensors"))]
        best_here = best_of(local, self.sweep.direction)
        self.watch.stage("Saving the best trial's model")
        with self.lock:
            self.records.write(trials, importances)
            files, checkpoint = self.records.copy_to_root(best_here) if best_here else ([], None)
        if best_here is None or best_here.number != best.number:
            here = f"the best here is trial {best_here.number}" if best_here else "no trial here is complete"
            self.watch.note(f"Trial {best.number} is the best; its model is on {best.host} in {best.folder}; {here}")
        if self.plan.hub and best_here is not None:
            from autotrain_llm.run.session.hub import upload

            self.watch.stage("Uploading")
            with self.stops.at_once():
                self.watch.note(f"Uploaded to {upload(self.root, self.plan.hub, self.context.token)}")
        sweep_report = summary(trials, self.sweep, importances) | {"again": str(self.root / SWEEP / "best.yaml")}
        files = sorted([*files, "command.sh", REPORT, "run.json", SWEEP])
        seconds = self.run_file.seconds
        outcome = {"sweep": sweep_report, "best_checkpoint": checkpoint}
        self.write_run_file("ok", outcome=outcome, metrics=best.metrics, seconds=seconds, files=files)
        dataset, prepared = self.context.dataset, self.context.prepared
        assert dataset is not None and prepared is not None
        return RunReport(
            self.plan,
            self.root,
            best.metrics,
            seconds,
            history_of(self.root / best_here.folder) if best_here else [],
            files,
            records.versions(),
            records.command_to_try(self.root, dataset, prepared.prompt_format),
            sweep_report,
        )


def _seconds_before(root: Path, resume: bool | str) -> float:
    """The seconds of a sweep that was stopped and goes on. One that says it is running has other processes, or was killed."""
    run = earlier_run(root) if resume else {}
    return seconds_of(run, root) if run.get("status") in records.ENDED_EARLY else 0.0


def nothing_finished(trials: list[Trial]) -> RunFailed:
    """The failure of a sweep without a complete trial, with the reason of the first failed trial, which most others usually share."""
    first = next((trial for trial in trials if trial.why), None)
    if first is None:
        return RunFailed("no trial was started within --sweep-timeout", "a longer --sweep-timeout")
    fixes = [finding["fix"] for finding in first.findings if finding["fix"]] if first.state == REFUSED else []
    return RunFailed(
        f"none of {len(trials)} trials completed; trial {first.number} {first.state}: {first.why}",
        fixes[0] if fixes else f"{SWEEP}/trials.csv has the reason of each",
    )


def command_of(plan: Plan, root: Path, sweep: SweepPlan) -> list[str]:
    """The command again, with the address of a database but not its password."""
    words = records.command_of(plan, root)
    return [*words, "--sweep-storage", sweep.storage.replace(":***@", "@")] if sweep.storage else words
