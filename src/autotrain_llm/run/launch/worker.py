"""One of the processes that the agent has started: map the rows, carry out the plan, and write how it ended."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from autotrain_llm.context.cluster import Cluster, cluster_of
from autotrain_llm.context.output_dir import Output, step_of
from autotrain_llm.context.signals import exit_status, signal_of, stop_raises
from autotrain_llm.declare.finding import Refused
from autotrain_llm.planning.plan import Plan, ResumePlan
from autotrain_llm.planning.run_inputs import context_of, inputs_of
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.records import finite
from autotrain_llm.run.engine.group import from_first, meet
from autotrain_llm.run.failures import Interrupted, RunFailed
from autotrain_llm.run.launch.order import (
    STOP,
    Order,
    PassedOn,
    announce,
    forget_outcome,
    write_outcome,
)
from autotrain_llm.run.session.execute import execute
from autotrain_llm.run.session.run_report import RunReport

DONE, FAILED, REFUSED = 0, 1, 2


def work(folder: Path) -> int:
    """Carry out the order in this folder as one of its processes, and return the exit status."""
    cluster = cluster_of(os.environ)
    forget_outcome(folder, cluster.rank)
    end_with(os.getppid())
    with stop_raises():
        status, details, code = _outcome(folder, cluster)
    write_outcome(folder, cluster.rank, status, **details)
    return DONE if (folder / STOP).exists() else code


def _outcome(folder: Path, cluster: Cluster) -> tuple[str, dict[str, Any], int]:
    """How the run ended in this process: its status, what belongs to it, and the exit status."""
    try:
        announce(folder, cluster.local_rank)
        if (folder / STOP).exists():
            raise Interrupted(int((folder / STOP).read_text()), "Stopped before training started: nothing was written.")
        return "ok", _report_json(_carry_out(folder, cluster)), DONE
    except RunFailed as failure:
        return "failed", {"message": failure.message, "fix": failure.fix}, FAILED
    except Refused as refused:
        return "refused", {"findings": [finding.as_document() for finding in refused.findings]}, REFUSED
    except Interrupted as stopped:
        details = {"signal": stopped.signal, "message": stopped.message, "what": stopped.what}
        return "interrupted", details, exit_status(stopped.signal)
    except KeyboardInterrupt as stopped:
        signum = signal_of(stopped)
        what = "Stopped before training started: there is nothing to resume."
        return "interrupted", {"signal": signum, "message": what, "what": what}, exit_status(signum)
    except Exception as fault:
        message = " ".join(str(fault).split())
        trace = "".join(traceback.format_exception(fault))
        return "fault", {"kind": type(fault).__name__, "message": message, "trace": trace}, FAILED


def _carry_out(folder: Path, cluster: Cluster) -> RunReport:
    order = Order.read(folder)
    # The first process of all may be on another machine: the first on this one has the same numbers.
    progress = PassedOn(folder) if cluster.local_rank == 0 else ProgressCallback()
    plan = _goes_on(order.plan, cluster)
    if cluster.restarts and plan.launch is not None:
        where = f"goes on after step {plan.resume.step}" if plan.resume else "begins again: no checkpoint was complete"
        progress.note(f"Restart {cluster.restarts} of {plan.launch.max_restarts}: {where}.")
    context = context_of(plan, elsewhere=order.prepared)
    inputs = dataclasses.replace(inputs_of(plan, context, order.findings), verbose=order.verbose)
    return execute(plan, inputs, progress, speaks=cluster.local_rank == 0)


# ---- a group that is started again


def _goes_on(plan: Plan, cluster: Cluster) -> Plan:
    """The plan of a group that is started again, from the checkpoint that its first process has chosen; of the first attempt the plan as it is."""
    if not cluster.restarts:
        return plan
    meet(on_processors=plan.precision.cpu, offloads=bool(plan.sharding and plan.sharding.offload))
    own = _resumed(plan) if cluster.rank == 0 else plan
    checkpoint = from_first(own.output.checkpoint)
    return own if cluster.rank == 0 else _from_checkpoint(plan, checkpoint)


def _resumed(plan: Plan) -> Plan:
    """The plan of a group that is started again: it goes on from the newest intact checkpoint, or begins again where there is none."""
    newest = Output(Path(plan.output.dir).expanduser(), True, True, None).newest_intact
    return _from_checkpoint(plan, str(newest) if newest else plan.output.checkpoint)


def _from_checkpoint(plan: Plan, checkpoint: str | None) -> Plan:
    # What the failed attempt has left is moved aside; with a checkpoint it is what the run goes on from.
    output = dataclasses.replace(plan.output, checkpoint=checkpoint, overwrite=checkpoint is None)
    resume = ResumePlan(step_of(Path(checkpoint)), plan.steps, {}) if checkpoint else None
    return dataclasses.replace(plan, output=output, resume=resume)


# ---- the report, and the end


def _report_json(report: RunReport) -> dict[str, Any]:
    """The fields of a report that another process can't know, for JSON."""
    return {
        "metrics": report.metrics,
        "seconds": report.seconds,
        "history": report.history,
        "files": report.files,
        "versions": report.versions,
        "try_it": report.try_it,
        "evaluation": None if report.evaluation is None else finite(report.evaluation),
        "model_step": report.model_step,
        "last_step": report.last_step,
        "rounded_away": report.rounded_away,
        "observations": [finding.as_document() for finding in report.observations],
    }


def end_with(parent: int) -> None:
    """End this process as a SIGTERM does, with a checkpoint, when the one that started it has ended."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
