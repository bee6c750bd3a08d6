"""One process against several on the same rows: tokens per second, scaling efficiency and losses, with TRL on as many processes beside them.

    python benchmarks/distributed.py --device cuda --size 1b --write     # on every GPU in sight
    python benchmarks/distributed.py --size 1m --processes 2              # gloo processes on one processor: only the losses mean something

Every engine makes the same optimizer steps: one process accumulates as many batches as there are processes. torchrun starts the others.
The efficiency is the speed of N processes over N times that of one. Copies are `--shard none`, sharded is `--shard full` (FSDP2), which needs GPUs.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import contest
import page
import sft
from contest import NATIVE, TOKENS, Clock, Result, Results

COPIES, SHARDED, TRL = "copies", "sharded", "TRL, copies"
BATCH = {"1m": 8, **sft.BATCH}
STEPS = {"1m": 10, **sft.STEPS}


def main() -> None:
    options = arguments()
    if options.engine:
        run_engine(options)
        return
    visible_devices(options)
    with tempfile.TemporaryDirectory(prefix="benchmark-distributed-") as name:
        work = Path(name)
        sft.prepare(work, in_global_batches(options))
        engines = {NATIVE: NATIVE} | {
            f"{options.processes} processes, {engine}": engine for engine in engines_of(options)
        }
        results = contest.in_turns(partial(run_alone, work, options), engines, options.pairs)
    table = render(results, options)
    sys.stdout.write(table + "\n")
    if options.write:
        page.write(f"distributed {options.size} {options.device}", table)


def arguments() -> argparse.Namespace:
    parser = contest.parser(__doc__ or "", BATCH, STEPS)
    parser.add_argument("--processes", type=int, help="default: one for each GPU, 2 on a processor")
    parser.set_defaults(pairs=2)
    options = parser.parse_args()
    options.batch = options.batch or BATCH[options.size]
    options.steps = options.steps or STEPS[options.size]
    return options


def visible_devices(options: argparse.Namespace) -> None:
    """Choose the number of processes and the precision for the devices in sight."""
    from autotrain_llm.context.machine import Machine

    if options.device == "cpu":
        contest.one_device(options)
        options.processes = options.processes or 2
        return
    machine = Machine()
    options.processes = options.processes or len(machine.gpus)
    options.precision = options.precision or ("bf16" if machine.computes_bf16 else "fp32")
    if not 2 <= options.processes <= len(machine.gpus):
        raise SystemExit(
            f"--processes {options.processes}: there are {len(machine.gpus)} GPUs, and two or more are needed"
        )


def engines_of(options: argparse.Namespace) -> tuple[str, ...]:
    return (COPIES, SHARDED, TRL) if options.device == "cuda" else (COPIES, TRL)


def in_global_batches(options: argparse.Namespace) -> argparse.Namespace:
    """The options with the rows of one optimizer step, over all processes, as the batch."""
    together = copy.copy(options)
    together.batch = options.batch * options.processes
    return together


# One engine, in one process or several.


def run_alone(work: Path, options: argparse.Namespace, engine: str) -> Result:
    """Run this script for one engine: by torchrun, or alone."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes))
    python = (sys.executable, *(() if engine == NATIVE else launcher))
    return contest.run_alone(__file__, work, options, engine, "--processes", str(options.processes), python=python)


def run_engine(options: argparse.Namespace) -> None:
    """Run one engine; the first process, which has the log, writes the result."""
    run = run_trl if options.engine == TRL else run_native
    if os.environ.get("RANK", "0") == "0":
        contest.leave(options.work, contest.measured(options, run))
    else:
        run(options, Clock(options.device))


def run_native(options: argparse.Namespace, clock: Clock) -> Result:
    settings = {
        **sft.flags(options.work, options, options.engine.replace(" ", "-")),
        "gradient_accumulation": options.processes if options.engine == NATIVE else 1,
        "shard": "full" if options.engine == SHARDED else "none",
    }
    return counted(options, [entry["loss"] for entry in contest.history_of_native(clock, settings)])


def run_trl(options: argparse.Namespace, clock: Clock) -> Result:
    options = copy.copy(options)
    options.engine = contest.AS_IT_COMES
    return counted(options, sft.run_trl(options, clock)["losses"])


def counted(options: argparse.Namespace, losses: list[float]) -> Result:
    """The losses, and the tokens of the timed steps in all processes."""
    rows = sft.tokenised(options.work)[options.warm_up * options.batch * options.processes :]
    return {"losses": losses, TOKENS: sum(len(ids) for ids, _ in rows)}


# The table.


def render(results: Results, options: argparse.Namespace) -> str:
    lines = [
        f"`{options.size}`, {options.precision}, batches of {options.batch} rows on each of {options.processes} processes, {options.steps} "
        f"steps after {options.warm_up}, {options.pairs} rounds. {contest.machine(results, options)}.",
        "",
        "| engine | tokens/s | scaling efficiency | memory of the first process |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        cells = [
            name,
            contest.median_speed(runs),
            efficiency(results, name, options.processes),
            contest.median_memory(runs),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    losses: dict[str, Any] = {name: runs[0]["losses"] for name, runs in results.items()}
    furthest = max(contest.furthest(losses[NATIVE], values) for values in losses.values())
    said = f"The losses of one process and of several differ by {furthest:.1e} at most."
    return "\n".join([*lines, "", *contest.side_by_side("loss at step", losses), "", said])


def efficiency(results: Results, name: str, processes: int) -> str:
    """The speed over that of one process, as a share of the number of processes: the median of the rounds."""
    if name == NATIVE:
        return "1"
    both = zip(results[NATIVE], results[name], strict=True)
    return f"{statistics.median(contest.speed(many) / contest.speed(one) / processes for one, many in both):.2f}"


if __name__ == "__main__":
    main()
