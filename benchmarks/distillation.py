"""Distillation end to end: this package against TRL's experimental GKDTrainer on the answers of a data set, with the same rows.

    python benchmarks/distillation.py                            # a 15M student of a 42M teacher, 32,768 tokens, on the processor
    python benchmarks/distillation.py --write                    # ... and the table into docs/benchmarks.md
    python benchmarks/distillation.py --size 0.5b --device cuda  # of a 1.5B teacher, 151,936 tokens

Each engine runs in a process of its own, in alternating rounds, for one epoch of the same rows from the same weights. All minimise only
KL(teacher‖student) at temperature 1, averaged over the tokens of the answers (GKDTrainer with `lmbda=0, beta=0`). This package is `train(...)` as
the command line calls it, with its metrics, once with the teacher online and once with its top 64 log-probabilities cached on disk, whose KL
is a lower bound. "TRL as it comes" is the public constructor with TRL's defaults; it gets the tokenised rows in the same order, so its losses
are comparable step by step. "TRL at its best" has rows grouped by length (in shuffled batches, by passing the rows in that order), no gradient
checkpointing, and on a processor this package's allocator setting.

Tokens per second count real tokens, no padding, after the warm-up and without the time for filling the cache, which is printed separately.
Teacher and student have random weights, which does not change the speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import contest
import page
from contest import AS_IT_COMES, BEST, GROUPED, LONGEST, NATIVE, SEED, Clock, Result, Results
from sft import data_rows, tokenised

LEARNING_RATE = 3e-4
TEACHERS = {"15m": "42m", "0.5b": "1.5b"}
BATCH = {"15m": 8, "0.5b": 16}
STEPS = {"15m": 8, "0.5b": 40}
TOP_K = 64
CACHED = "autotrain, from the cache"


def main() -> None:
    options = arguments()
    if options.engine:
        run = run_native if options.engine in (NATIVE, CACHED) else run_trl
        contest.leave(options.work, contest.measured(options, run))
        return
    contest.one_device(options)
    with tempfile.TemporaryDirectory(prefix="benchmark-distillation-") as name:
        work = Path(name)
        prepare(work, options)
        table = compare(work, options)
    sys.stdout.write(table + "\n")
    if options.write:
        page.write(f"distillation {options.size} {options.device}", table)


def arguments() -> argparse.Namespace:
    parser = contest.parser(__doc__ or "", BATCH, STEPS)
    parser.set_defaults(size="15m", warm_up=2, pairs=3)
    options = parser.parse_args()
    options.batch = options.batch or BATCH[options.size]
    options.steps = options.steps or STEPS[options.size]
    return options


# Inputs of every engine.


def prepare(work: Path, options: argparse.Namespace) -> None:
    """A data file, student and teacher with random weights and one tokenizer, and the rows as tokens in the order of the steps."""
    rows = data_rows(options)
    contest.write_rows(work, rows)
    texts = [text for row in rows for text in row.values()]
    contest.write_model(work / "model", texts, options.size)
    contest.write_model(work / "teacher", texts, TEACHERS[options.size])
    plain = {name: value for name, value in flags(work, options, "unused").items() if "distill" not in name}
    plain.pop("teacher_model")
    prepared = contest.prepared_rows(work, plain, len(rows))
    from autotrain_llm.data.order import ShuffledOrder
    from autotrain_llm.run.engine.batches import BatchOrder

    order = [index for batch in BatchOrder(ShuffledOrder(len(rows), SEED), options.batch) for index in batch]
    ids, trained = zip(*(prepared[index] for index in order), strict=True)
    contest.keep(work, ids=ids, trained=trained)


def flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    distill = {
        "use_distillation": True,
        "teacher_model": str(work / "teacher"),
        "distill_alpha": 1.0,
        "distill_temperature": 1.0,
    }
    if options.engine == CACHED:
        distill |= {"distill_cache": True, "distill_top_k": TOP_K}
    return {**contest.native_flags(work, options, output), "trainer": "sft", "lr": LEARNING_RATE, **distill}


# One engine, in a process of its own.


def run_native(options: argparse.Namespace, clock: Clock) -> Result:
    history = contest.history_of_native(clock, flags(options.work, options, "native"))
    outcome = json.loads((options.work / "native/run.json").read_text(encoding="utf-8"))["outcome"]
    return {
        "losses": [entry["distill_loss"] for entry in history],
        "tokens": counted(options, None),
        "cache": outcome.get("distillation"),
    }


def run_trl(options: argparse.Namespace, clock: Clock) -> Result:
    settings = contest.trl_arguments(options)
    import os

    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    rows, order = tokenised(options.work), None
    if options.engine == GROUPED:
        order = contest.grouped([len(ids) for ids, _ in rows], options.batch)
        rows = [rows[index] for index in order]
    data = Dataset.from_list([{"input_ids": ids, "labels": np.where(trained, ids, -100)} for ids, trained in rows])
    trainer = GKDTrainer(
        model=str(options.work / "model"),
        teacher_model=str(options.work / "teacher"),
        args=GKDConfig(
            **settings,
            learning_rate=LEARNING_RATE,
            lmbda=0.0,
            beta=0.0,
            temperature=1.0,
            shuffle_dataset=False,
            max_length=LONGEST,
        ),
        data_collator=pad_right,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(options.work / "model"),
    )
    losses = [entry["loss"] for entry in contest.history_of_trl(clock, trainer)]
    return {"losses": losses, "tokens": counted(options, order)}


def pad_right(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Pad rows on the right to the longest one."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    padding = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    return {
        name: torch.tensor(
            [
                values + [filling] * (longest - len(values))
                for values in (row.get(name, [1] * len(row["input_ids"])) for row in rows)
            ]
        )
        for name, filling in padding.items()
    }


def counted(options: argparse.Namespace, order: list[int] | None) -> int:
    """The real tokens of the timed steps."""
    rows = tokenised(options.work)
    rows = rows if order is None else [rows[index] for index in order]
    return sum(len(ids) for ids, _ in rows[options.warm_up * options.batch :])


# All engines, in alternating rounds.


def compare(work: Path, options: argparse.Namespace) -> str:
    run = partial(contest.run_alone, __file__, work, options)
    cache = run(CACHED)["cache"]
    engines = {NATIVE: NATIVE, CACHED: CACHED, AS_IT_COMES: AS_IT_COMES, BEST: GROUPED}
    return render(contest.in_turns(run, engines, options.pairs), cache, work, options)


def render(results: Results, cache: dict[str, Any], work: Path, options: argparse.Namespace) -> str:
    rows = tokenised(work)
    lengths = np.array([len(ids) for ids, _ in rows]).reshape(-1, options.batch)
    trained = sum(int(marks.sum()) for _, marks in rows) / lengths.sum()
    from engine import SIZES

    lines = [
        f"`{options.size}` distilled from `{TEACHERS[options.size]}`, {SIZES[options.size]['vocab_size']:,} tokens, {options.precision}, batches of "
        f"{options.batch} rows, {options.steps} steps after {options.warm_up}, {options.pairs} rounds. {contest.machine(results, options)}. "
        f"{'Generated rows' if options.rows == 'made' else 'Rows of alpaca_en_demo.json'}: {lengths.min()} to {lengths.max()} tokens, "
        f"{lengths.sum(axis=1).mean():,.0f} a step, {trained:.0%} of them trained on; {contest.padding(lengths):.0%} of a padded batch is "
        "padding. TRL at its best: rows grouped by length, no checkpointing, with this package's allocator setting, which TRL does not make. "
        f"Caching the teacher's log-probabilities of all {len(rows)} rows took {cache['seconds']:.0f} seconds; the top {TOP_K} tokens have "
        f"{cache['kept_probability']['train']:.1%} of the probability (of a random teacher).",
        "",
        "| engine | tokens/s | memory | speedup of this package, online teacher | cached teacher |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        cells = [name, contest.median_speed(runs), contest.median_memory(runs)]
        cells += [ratio(results, ours, name) for ours in (NATIVE, CACHED)]
        lines.append(f"| {' | '.join(cells)} |")
    both = {name: results[name][0]["losses"] for name in (NATIVE, AS_IT_COMES, CACHED)}
    return "\n".join(
        [
            *lines,
            "",
            *contest.side_by_side("KL at step", both),
            "",
            f"With the online teacher, the two differ by {contest.furthest(both[NATIVE], both[AS_IT_COMES]):.1e} at most, over all "
            f"{len(both[NATIVE])} steps. Grouped rows come in another order, so their losses are not comparable.",
        ]
    )


def ratio(results: Results, ours: str, theirs: str) -> str:
    """How many times as fast one is as the other: the median of the rounds, and their range."""
    if ours == theirs:
        return "1"
    both = zip(results[ours], results[theirs], strict=True)
    ratios = [contest.speed(one) / contest.speed(other) for one, other in both]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
