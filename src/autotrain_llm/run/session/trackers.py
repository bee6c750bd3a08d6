"""`--log`: send a run to experiment trackers: the metrics of metrics.jsonl, the parameters, the plan and the findings.

Metrics have the names that transformers and TRL give them there, so that runs of all tools compare: in groups (`train/loss`, `eval/loss`), with MLflow
as they are. transformers' own callbacks for these trackers rename the metrics, log its TrainingArguments in place of the plan, and stop the run if one
fails. Here each tracker is called in a thread of its own: one that raises, hangs or can't keep up is dropped with a note. Trackers write to the
run's folder, under `logs`, Trackio and MLflow to databases of their own, which all runs share; none asks for a login, prints, or connects to a server that neither a login nor its environment variable names.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from autotrain_llm.context.environment import environment
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.trackers import LOGS, MLFLOW_DATABASE, SERVERS
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.failures import Interrupted

CONNECT_SECONDS = 30
CLOSE_SECONDS = 60.0  # for all trackers of a run together
EVALUATED = "eval_"
MAX_WAITING = 10_000  # calls that a tracker may be behind
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # MLflow's words for how a run ended
DATABASE = "database"  # the file in a run's folder that names the database of MLflow
PARAMETERS_PER_CALL, PARAMETER_LENGTH = 100, 6000  # MLflow's limits


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a run when it starts. `folder` is the tracker's own folder; `resumed_at` the step of the checkpoint that the
    run continues from; `parameters` the value of every parameter, without secrets; `plan` and `findings` as JSON."""

    name: str
    project: str
    folder: Path
    resumed_at: int | None
    is_offline: bool
    parameters: Mapping[str, Any]
    plan: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    note: Callable[[str], None]


class Tracker(Protocol):
    """An open tracker. Any exception that it raises means that it has failed."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def add_findings(self, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
        """Findings about the run itself, which are made when it ends."""
        ...

    def close(self, status: str) -> None:
        """Finish the run; `status` is FINISHED, FAILED or KILLED."""
        ...


class Trackers:
    """All trackers of a run, as a context manager. The failure of one is noted once, and the others continue."""

    def __init__(
        self,
        plan: Plan,
        findings: Sequence[Finding],
        folder: Path,
        resumed_at: int | None,
        progress: ProgressCallback,
        *,
        leader: bool,
    ) -> None:
        self.progress = progress
        self.notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.connections = [
            _Connection(
                tracker.name,
                TrackedRun(
                    name=tracker.run_name or folder.resolve().name,
                    project=tracker.project,
                    folder=folder / LOGS / tracker.name,
                    resumed_at=resumed_at,
                    is_offline=plan.model.offline,
                    parameters={name: entry.value for name, entry in plan.parameters.items()},
                    plan=plan.as_json(),
                    findings=[finding.as_json() for finding in findings],
                    note=self.notes.put,
                ),
            )
            for tracker in (plan.schedule.trackers if leader else ())
        ]

    def __enter__(self) -> Trackers:
        for connection in self.connections:
            connection.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = FINISHED if fault is None else KILLED if isinstance(fault, Interrupted | KeyboardInterrupt) else FAILED
        end = time.monotonic() + CLOSE_SECONDS
        for connection in self.connections:
            connection.call(lambda tracker: tracker.close(status))
            connection.call(None)
        for connection in self.connections:
            connection.join(max(0.0, end - time.monotonic()))
            if connection.is_alive():
                self.notes.put(
                    f"--log {connection.tracker} has not finished after {CLOSE_SECONDS:g} s and is left alone"
                )
        self._show_notes()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step without NaN and infinities, which some trackers refuse."""
        numbers = {name: float(value) for name, value in metrics.items() if _is_number(value)}
        self._call(lambda tracker: tracker.log(step, numbers))

    def add_findings(self, step: int, findings: Sequence[Finding]) -> None:
        """Add what was found out about the run at its end."""
        documents = [finding.as_json() for finding in findings]
        if documents:
            self._call(lambda tracker: tracker.add_findings(step, documents))

    def _call(self, call: Callable[[Tracker], None]) -> None:
        for connection in self.connections:
            connection.call(call)
        self._show_notes()

    def _show_notes(self) -> None:
        """Show what the threads have to say, in the main thread: the terminal is its own."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.progress.note(self.notes.get_nowait())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class _Connection(threading.Thread):
    """Opens a tracker and makes all calls of it. It ends with the call None, or when the tracker fails."""

    def __init__(self, tracker: str, run: TrackedRun) -> None:
        super().__init__(name=f"tracker-{tracker}", daemon=True)
        self.tracker, self.tracked, self.is_dropped = tracker, run, False
        self.calls: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue(MAX_WAITING)

    def call(self, call: Callable[[Tracker], None] | None) -> None:
        if self.is_dropped:
            return
        try:
            self.calls.put_nowait(call)
        except queue.Full:
            self._drop("it does not keep up with the run")

    def run(self) -> None:
        try:
            self.tracked.folder.mkdir(parents=True, exist_ok=True)
            tracker = OPEN[self.tracker](self.tracked)
            for call in iter(self.calls.get, None):
                call(tracker)
        except (Exception, SystemExit) as fault:
            self._drop((str(fault).strip() or type(fault).__name__).splitlines()[0])

    def _drop(self, reason: str) -> None:
        if not self.is_dropped:
            self.is_dropped = True
            self.tracked.note(f"--log {self.tracker} failed and is not used any more: {reason}")


def _earlier_run(run: TrackedRun) -> str | None:
    """The tracker's identifier of the run that is resumed."""
    if run.resumed_at is None:
        return None
    try:
        return (run.folder / "run_id").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _remember_run(run: TrackedRun, identifier: str) -> None:
    (run.folder / "run_id").write_text(identifier + "\n", encoding="utf-8")


def grouped(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under the names of transformers' `rewrite_logs`: `eval/loss`, and `train/loss` for what is measured in training."""
    return {
        f"eval/{name.removeprefix(EVALUATED)}" if name.startswith(EVALUATED) else f"train/{name}": value
        for name, value in metrics.items()
    }


def _in_words(findings: Sequence[Mapping[str, Any]]) -> str:
    """Findings as a list in Markdown."""
    lines = [f"- {one['severity']} {one['code']}: {one['message']}" for one in findings]
    return "\n".join(lines) or "none"


class _TensorBoard:
    """Event files, readable during the run, in a folder for the project and one for the run."""

    def __init__(self, run: TrackedRun) -> None:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        # Hide what the interrupted run logged after its checkpoint.
        after = None if run.resumed_at is None else run.resumed_at + 1
        self.writer = writer(log_dir=str(run.folder / _file_name(run.project) / _file_name(run.name)), purge_step=after)
        step = run.resumed_at or 0
        document = json.dumps(run.plan, indent=2, ensure_ascii=False)
        self.writer.add_text("plan", "\n".join(f"    {line}" for line in document.splitlines()), step)
        self.writer.add_text("findings", _in_words(run.findings), step)
        self.writer.flush()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in grouped(metrics).items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def add_findings(self, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
        self.writer.add_text("findings", _in_words(findings), step)

    def close(self, status: str) -> None:
        self.writer.close()


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.\- ]", "-", text).strip(". ") or "run"


class _Wandb:
    """Weights & Biases: online with a login, else offline, for `wandb sync`."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        # Keep its caches out of the home folder.
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(name, str(run.folder / "cache"))
        mode = os.environ.get("WANDB_MODE") or ("online" if Machine().has_wandb_login else "offline")
        mode = "offline" if run.is_offline else mode
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = import_module("wandb")
        earlier = _earlier_run(run)
        self.findings = list(run.findings)
        self.run = wandb.init(
            project=run.project,
            name=run.name,
            id=earlier,
            resume="allow" if earlier else None,
            dir=str(run.folder.parent),  # in which it makes a folder `wandb`
            config={**run.parameters, "plan": run.plan, "findings": self.findings},
            mode=mode,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                x_disable_meta=True,  # it has the command line, and so a token
                init_timeout=CONNECT_SECONDS,
                finish_timeout=CONNECT_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        _remember_run(run, self.run.id)
        self.upload = f"wandb sync {Path(self.run.dir).parent}"
        # It decides by more than the mode: dryrun is offline too.
        if self.run.offline:
            run.note(f"--log wandb is offline and writes to {run.folder}; to upload: {self.upload}")
        elif self.run.disabled:
            run.note(f"--log wandb logs nothing: WANDB_MODE is {mode}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(grouped(metrics), step=step)

    def add_findings(self, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
        self.findings += findings
        self.run.config.update({"findings": self.findings}, allow_val_change=True)

    def close(self, status: str) -> None:
        try:
            self.run.finish(exit_code=0 if status == FINISHED else 1)
        except TimeoutError as fault:
            reason = f"it has not finished after {CONNECT_SECONDS} s; to upload what is missing: {self.upload}"
            raise TimeoutError(reason) from fault


class _Trackio:
    """Trackio's own database of the project, in TRACKIO_DIR or its usual folder, so that `trackio show` compares all runs."""

    def __init__(self, run: TrackedRun) -> None:
        self.trackio = import_module("trackio")
        for name in ("trackio", "trackio.run", "trackio.utils"):  # it has no quiet mode
            vars(import_module(name))["print"] = lambda *texts, **options: None
        with environment(dict.fromkeys(SERVERS["trackio"] if run.is_offline else ())):
            opened = self.trackio.init(
                project=run.project,
                name=run.name,
                config={**run.parameters, "plan": run.plan, "findings": list(run.findings)},
                resume="never" if run.resumed_at is None else "allow",
                embed=False,
            )
        # It finds the run to resume by its name, and takes the newest.
        if _earlier_run(run) not in (None, opened.id):
            raise RuntimeError(f"project {run.project} has a newer run called {run.name}; --run-name tells them apart")
        _remember_run(run, opened.id)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.trackio.log(grouped(metrics), step=step)

    def add_findings(self, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
        self.trackio.log({"findings": self.trackio.Markdown(_in_words(findings))}, step=step)

    def close(self, status: str) -> None:
        self.trackio.finish()


def _database_of(run: TrackedRun) -> Path:
    """MLflow's database: that of the run which is resumed, else the one in the current folder."""
    if run.resumed_at is not None:
        with contextlib.suppress(OSError):
            return Path((run.folder / DATABASE).read_text(encoding="utf-8").strip())
    return Path.cwd() / MLFLOW_DATABASE


class _MLflow:
    """MLflow: the server of MLFLOW_TRACKING_URI, else MLflow's own database in the folder that the command was started in, for `mlflow ui` there."""

    def __init__(self, run: TrackedRun) -> None:
        defaults = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "ERROR",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(CONNECT_SECONDS),
        }
        for name, value in defaults.items():
            os.environ.setdefault(name, value)
        self.entities = import_module("mlflow.entities")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        server = None if run.is_offline else os.environ.get("MLFLOW_TRACKING_URI")
        database = _database_of(run)
        self.client = import_module("mlflow").MlflowClient(tracking_uri=server or f"sqlite:///{database}")
        self.run_id = _earlier_run(run) or self._create(run)
        self.client.update_run(self.run_id, status="RUNNING")
        _remember_run(run, self.run_id)
        if not server:
            (run.folder / DATABASE).write_text(f"{database}\n", encoding="utf-8")
        self.findings = list(run.findings)
        parameters = [
            self.entities.Param(name, str(value)[:PARAMETER_LENGTH]) for name, value in run.parameters.items()
        ]
        if run.resumed_at is None:  # they can't be changed
            for start in range(0, len(parameters), PARAMETERS_PER_CALL):
                self.client.log_batch(self.run_id, params=parameters[start : start + PARAMETERS_PER_CALL])
        self.client.log_dict(self.run_id, dict(run.plan), "plan.json")
        self.client.log_dict(self.run_id, {"findings": self.findings}, "findings.json")

    def _create(self, run: TrackedRun) -> str:
        """A run of the experiment that has the project's name; another process may make that at the same moment."""
        experiment = self.client.get_experiment_by_name(run.project)
        if experiment is None:
            with contextlib.suppress(import_module("mlflow.exceptions").MlflowException):
                self.client.create_experiment(run.project)
            experiment = self.client.get_experiment_by_name(run.project)
        number = experiment.experiment_id
        created: str = self.client.create_run(number, run_name=run.name).info.run_id
        return created

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        entries = [
            self.entities.Metric(re.sub(r"[^\w\-. :/]", "_", name), value, now, step) for name, value in metrics.items()
        ]
        self.client.log_batch(self.run_id, metrics=entries)

    def add_findings(self, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
        self.findings += findings
        self.client.log_dict(self.run_id, {"findings": self.findings}, "findings.json")

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)


OPEN: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
    "mlflow": _MLflow,
}
