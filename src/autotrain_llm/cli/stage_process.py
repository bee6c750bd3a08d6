"""The process of one stage: reads its order from standard input, trains, and writes its outcome as one JSON document."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from autotrain_llm.cli.llm import plan_json
from autotrain_llm.cli.outcome import DONE, fail, fault, refuse
from autotrain_llm.cli.progress import progress
from autotrain_llm.cli.screen import Screen
from autotrain_llm.config.layers import Layer, Origin
from autotrain_llm.context.signals import STOPPING, exit_status, signal_of, stop_raises
from autotrain_llm.declare.finding import Refused


def stage_process() -> int:
    """Carry out the order of a pipeline's driver and return the exit status of the run."""
    from autotrain_llm.run.pipeline.process import end_with_parent

    line = sys.stdin.readline()
    if not line.endswith("\n"):  # the driver was killed before it had given the order
        return exit_status(signal.SIGTERM)
    order: dict[str, Any] = json.loads(line)
    end_with_parent()
    with Screen(json=True, quiet=order["quiet"], verbose=order["verbose"]) as screen:
        try:
            with stop_raises():
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
                return _train(order, screen)
        except Refused as refused:
            return refuse(refused.findings, screen)
        except KeyboardInterrupt as stopped:
            return _stopped(exit_status(signal_of(stopped)), "Stopped before its training started.", screen)
        except Exception as exception:
            return fault(exception, screen)


def _train(order: dict[str, Any], screen: Screen) -> int:
    from autotrain_llm.api import carry_out
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.resolved import resolve_layers
    from autotrain_llm.run.failures import Interrupted, RunFailed

    layers = {source: _layer(**layer) for source, layer in order["layers"].items()}
    checked = preflight(resolve_layers(layers, order["config"]))
    if checked.refused:
        return refuse(checked.findings, screen, plan_json(checked))
    plan = plan_json(checked)
    try:
        report = carry_out(checked, progress(screen, checked.plan.sweep if checked.plan else None))
    except RunFailed as failure:
        return fail(failure.message, failure.fix, screen, checked.findings, plan)
    except Refused as refused:
        return refuse([*checked.findings, *refused.findings], screen, plan)
    except Interrupted as interruption:
        return _stopped(exit_status(interruption.signal), interruption.what, screen)
    screen.document(DONE, checked.findings, plan, report.as_json())
    return DONE


def _layer(values: dict[str, Any], origins: dict[str, Any]) -> Layer:
    """A layer as it was before it was written as JSON."""
    from autotrain_llm.config.arguments import parse_kwargs

    return Layer(parse_kwargs(values).values, {name: Origin(**origin) for name, origin in origins.items()})


def _stopped(status: int, message: str, screen: Screen) -> int:
    screen.document(status, message=message)
    return status
