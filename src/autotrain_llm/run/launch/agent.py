"""Start the processes of a plan with torchrun's agent, and be for the caller what a run in one process is: its progress, its report, its exceptions.

The agent runs in a thread of its own, so that signals stay with this process: it passes each on once, and the processes agree on the step to stop after.
What torchrun prints of a failure is left out: how a process has ended is in its outcome.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from autotrain_llm.context.cluster import PORT, Cluster, host_and_port
from autotrain_llm.context.environment import environment
from autotrain_llm.context.output_dir import checkpoints_in, is_complete
from autotrain_llm.context.signals import handled
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.temporary import TemporaryFolder
from autotrain_llm.planning.plan import LaunchPlan, Plan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.records import PROGRAM, invocation
from autotrain_llm.run.failures import Interrupted, RunFailed
from autotrain_llm.run.launch.order import (
    LOGS,
    STOP,
    Events,
    Order,
    Outcome,
    announced,
    outcomes,
)
from autotrain_llm.run.session.run_report import RunReport

COMMAND = "train-process"
GRACE = 30.0  # seconds that the others have to end after the first has, where they were stopped
PATIENCE = 10.0  # seconds after which a third signal kills
INTERVAL = 0.1  # seconds between two looks at the processes


def launch(order: Order, cluster: Cluster, watch: ProgressCallback | None, secrets: Mapping[str, str]) -> RunReport:
    """Carry out an order in the processes of its plan. `secrets` are variables that only these processes get. Raises as a run in one process: RunFailed,
    Interrupted, Refused, or an exception of the type that nobody foresaw."""
    assert order.plan.launch is not None
    began = time.perf_counter()
    folder = TemporaryFolder("launch")
    order.write(folder.path)
    events = Events(folder.path, watch or ProgressCallback())
    agent = _Agent(order.plan.launch, cluster, folder.path)
    variables = {
        PROGRAM: invocation(),
        # The agents' own store outlives a restart, and in it are the addresses of the processes before it: each attempt has one of its own.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(_threads(order.plan.launch)),
    }
    stopping = _Stopping(folder.path)
    try:
        with environment({**variables, **secrets}), handled(stopping.receive):
            agent.start()
            while agent.is_alive():
                select.select([events.descriptor], [], [], INTERVAL)
                events.deliver()
                stopping.look()
                agent.join(0)
        events.deliver()
    finally:
        stopping.end(agent)
        events.close()
    return _result(order.plan, outcomes(folder.path), agent, stopping.received, began)


class _Agent(threading.Thread):
    """torchrun's agent, with what it has raised."""

    def __init__(self, plan: LaunchPlan, cluster: Cluster, folder: Path) -> None:
        super().__init__(name="agent", daemon=True)
        self.fault: BaseException | None = None
        self._plan = plan
        self._words = ("-m", "autotrain_llm", COMMAND, str(folder))
        self._config = _launch_config(plan, cluster, folder)

    def run(self) -> None:
        for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
            logger = logging.getLogger(name)
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
        try:
            elastic_launch(self._config, sys.executable)(*self._words)
        except BaseException as fault:
            self.fault = fault

    @property
    def killed(self) -> tuple[int, int] | None:
        """The rank of a process that was killed, and the signal; None if none was. Those that the agent ends get a SIGTERM."""
        failures = self.fault.failures if isinstance(self.fault, ChildFailedError) else {}
        ended = ((rank, -failure.exitcode) for rank, failure in sorted(failures.items()) if failure.exitcode < 0)
        return next(((rank, signum) for rank, signum in ended if signum != signal.SIGTERM), None)


def _launch_config(plan: LaunchPlan, cluster: Cluster, folder: Path) -> LaunchConfig:
    settings: dict[str, Any] = {}
    endpoint, job = "localhost:0", folder.parent.name
    if plan.nodes == 1:
        settings["local_addr"] = "127.0.0.1"
    else:
        host, port = host_and_port(plan.head or "") or ("", PORT)
        port = cluster.port if cluster.port and ":" not in (plan.head or "") else port
        endpoint, job = f"{f'[{host}]' if ':' in host else host}:{port}", f"autotrain-{cluster.job or 'run'}"
        settings["local_addr"] = cluster.address
        if cluster.launcher:
            settings["rdzv_configs"] = {"is_host": cluster.node == 0}
    return LaunchConfig(
        min_nodes=plan.nodes,
        max_nodes=plan.nodes,
        nproc_per_node=plan.processes,
        run_id=job,
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        max_restarts=plan.max_restarts,
        monitor_interval=INTERVAL,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / LOGS)),
        **settings,
    )


def _threads(plan: LaunchPlan) -> int:
    """The threads of each process: the cores of this machine, shared."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // plan.processes)


class _Stopping:
    """Passes signals on to the processes of this machine. In the folder is a file that says so, for processes that are just being started: those that see it
    end with status 0, so that the agent doesn't start them again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received: int | None = None
        self._count, self._since = 0, 0.0
        self._first_ended: float | None = None

    def receive(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._since = self._since or now
        self._count, self.received = self._count + 1, signum
        (self.folder / STOP).write_text(str(signum))
        self._send(signal.SIGKILL if self._count > 2 and now - self._since > PATIENCE else signum)

    def look(self) -> None:
        """Kill processes that wait for one that has ended: they were stopped all the same."""
        if self.received is None or not outcomes(self.folder):
            return
        self._first_ended = self._first_ended or time.monotonic()
        if time.monotonic() - self._first_ended > GRACE:
            self._send(signal.SIGKILL)

    def _send(self, signum: int) -> None:
        for process in announced(self.folder):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signum)

    def end(self, agent: threading.Thread) -> None:
        """End the processes where this one gives up on them: an exception of the caller's own code."""
        if agent.is_alive():
            self.receive(signal.SIGTERM, None)
            agent.join(GRACE)
        if agent.is_alive():
            self._send(signal.SIGKILL)
            agent.join(GRACE)


# ---- the result


def _result(plan: Plan, ended: list[Outcome], agent: _Agent, received: int | None, began: float) -> RunReport:
    """What a run in one process would return or raise."""
    folder = Path(plan.output.dir).expanduser()
    if agent.killed is not None and received is None:
        raise _killed(*agent.killed, plan, folder)
    bad = sorted((outcome for outcome in ended if outcome.status != "ok"), key=lambda outcome: outcome.time)
    if bad and (agent.fault is not None or received is not None):
        _raise(next((outcome for outcome in bad if outcome.rank == 0), bad[0]) if received is not None else bad[0])
    if not ended and received is not None:
        raise Interrupted(
            received, "Stopped before training started: nothing was written, so there is nothing to resume."
        )
    if agent.fault is not None:
        raise _failed(agent.fault, plan)
    return _report(plan, folder, ended[0] if ended else None, round(time.perf_counter() - began, 3))


def _raise(outcome: Outcome) -> None:
    details = outcome.details
    if outcome.status == "failed":
        raise RunFailed(details["message"], details["fix"])
    if outcome.status == "refused":
        raise Refused([Finding.of_document(finding) for finding in details["findings"]])
    if outcome.status == "interrupted":
        raise Interrupted(details["signal"], details["message"], details["what"])
    fault = type(str(details["kind"]), (Exception,), {})(details["message"])
    fault.add_note(details["trace"])
    raise fault


def _killed(rank: int, signum: int, plan: Plan, folder: Path) -> RunFailed:
    with suppress(ValueError):
        name = signal.Signals(signum).name
        goes_on = any(map(is_complete, checkpoints_in(folder)))
        again = "--resume goes on from the newest complete checkpoint" if goes_on else "then the same command again"
        times = (
            f", and so it was after {plan.launch.max_restarts} restarts"
            if plan.launch and plan.launch.max_restarts
            else ""
        )
        return RunFailed(
            f"process {rank} of {plan.schedule.processes} was killed by {name}{times}",
            f"if memory ran out (dmesg says so): a smaller --batch-size, or --gradient-checkpointing; {again}",
        )
    return RunFailed(f"process {rank} was killed by signal {signum}")


def _failed(fault: BaseException, plan: Plan) -> RunFailed:
    """The agent itself has failed, or a process that did not say how."""
    if isinstance(fault, ChildFailedError):
        rank, failure = fault.get_first_failure()
        return RunFailed(
            f"process {rank} of {plan.schedule.processes} ended with status {failure.exitcode} and did not say why"
        )
    text = " ".join(str(fault).split())
    if plan.launch is not None and plan.launch.nodes > 1:
        return RunFailed(
            f"the {plan.launch.nodes} nodes could not meet at {plan.launch.head}: {type(fault).__name__}: {text}",
            "start the same command on each node within 15 minutes; a firewall must let them reach that port",
        )
    return RunFailed(f"the processes could not be started: {type(fault).__name__}: {text}")


def _report(plan: Plan, folder: Path, first: Outcome | None, seconds: float) -> RunReport:
    """The report of the first process on this node; all of them have the numbers, and the first of all has the files too."""
    if first is None:
        return RunReport(plan, folder, {}, seconds)
    details = dict(first.details)
    observations = tuple(map(Finding.of_document, details.pop("observations")))
    return RunReport(plan, folder, **{**details, "observations": observations})
