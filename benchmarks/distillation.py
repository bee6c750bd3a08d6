"""Distillation end to end: this package against TRL's experimental GKDTrainer on a data set's own answers, on the same rows.

    python benchmarks/distillation.py                            # 15M parameters taught by 41M, 32,768 words, on the processor
    python benchmarks/distillation.py --write                    # ... and the table into docs/benchmarks.md
    python benchmarks/distillation.py --size 0.5b --device cuda  # taught by 1.5B, 151,936 words

Each engine runs in a process of its own, in turns, from the same weights, over the same rows, one epoch of them. All minimise the same:
KL(teacher‖student) at temperature 1 and nothing else, the mean over the answers' tokens (for GKDTrainer `lmbda=0, beta=0`). This package is
`train(...)` as the command line calls it, with its metrics, once with the teacher beside each batch and once with its 64 likeliest tokens
kept on disk, whose divergence is a lower bound. `TRL as it comes` is its public constructor with its defaults, given the tokenised rows in
the same order, so that its losses are comparable step by step. `TRL at its best` has rows of like length together (in shuffled batches, by
giving it the rows in that order), no checkpointing, and the memory setting that this package makes for itself.

Tokens are real ones, no padding; the first steps are left out, and with them what the teacher is asked beforehand, which is said. The
teacher has random weights, and so has the student: what they say changes nothing about how long it takes.
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
KEPT = "autotrain, from the cache"


def main() -> None:
    options = arguments()
    if options.engine:
        run = run_native if options.engine in (NATIVE, KEPT) else run_trl
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


# What every engine is given.


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
    from autotrain_llm.run.engine.batches import BatchOrder

    order = [number for batch in BatchOrder(len(rows), options.batch, SEED) for number in batch]
    ids, trained = zip(*(prepared[number] for number in order), strict=True)
    contest.keep(work, ids=ids, trained=trained)


def flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    taught = {
        "use_distillation": True,
        "teacher_model": str(work / "teacher"),
        "distill_alpha": 1.0,
        "distill_temperature": 1.0,
    }
    if options.engine == KEPT:
        taught |= {"distill_cache": True, "distill_top_k": TOP_K}
    return {**contest.native_flags(work, options, output), "trainer": "sft", "lr": LEARNING_RATE, **taught}


# One engine, in a process of its own.


def run_native(options: argparse.Namespace, clock: Clock) -> Result:
    history = contest.history_of_native(clock, flags(options.work, options, "native"))
    outcome = json.loads((options.work / "native/run.json").read_text(encoding="utf-8"))["outcome"]
    return {
        "losses": [entry["distill_loss"] for entry in history],
        "tokens": counted(options, None),
        "asked": outcome.get("distillation"),
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
        rows = [rows[number] for number in order]
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
        data_collator=together,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(options.work / "model"),
    )
    losses = [entry["loss"] for entry in contest.history_of_trl(clock, trainer)]
    return {"losses": losses, "tokens": counted(options, order)}


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows padded on the right to the longest of them."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    made = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    return {
        name: torch.tensor(
            [
                held + [filling] * (longest - len(held))
                for held in (row.get(name, [1] * len(row["input_ids"])) for row in rows)
            ]
        )
        for name, filling in made.items()
    }


def counted(options: argparse.Namespace, order: list[int] | None) -> int:
    """Real tokens of the steps that are timed."""
    rows = tokenised(options.work)
    rows = rows if order is None else [rows[number] for number in order]
    return sum(len(ids) for ids, _ in rows[options.warm_up * options.batch :])


# All of them, in turns.


def compare(work: Path, options: argparse.Namespace) -> str:
    run = partial(contest.run_alone, __file__, work, options)
    asked = run(KEPT)["asked"]
    engines = {NATIVE: NATIVE, KEPT: KEPT, AS_IT_COMES: AS_IT_COMES, BEST: GROUPED}
    return render(contest.in_turns(run, engines, options.pairs), asked, work, options)


def render(results: Results, asked: dict[str, Any], work: Path, options: argparse.Namespace) -> str:
    rows = tokenised(work)
    lengths = np.array([len(ids) for ids, _ in rows]).reshape(-1, options.batch)
    trained = sum(int(marks.sum()) for _, marks in rows) / lengths.sum()
    from engine import SIZES

    lines = [
        f"`{options.size}` taught by `{TEACHERS[options.size]}`, {SIZES[options.size]['vocab_size']:,} words, {options.precision}, batches of "
        f"{options.batch} rows, {options.steps} steps after {options.warm_up}, {options.pairs} rounds. {contest.machine(results, options)}. "
        f"{'Made rows' if options.rows == 'made' else 'Rows of alpaca_en_demo.json'}: {lengths.min()} to {lengths.max()} tokens, "
        f"{lengths.sum(axis=1).mean():,.0f} a step, {trained:.0%} of them trained on; {contest.padding(lengths):.0%} of a padded batch is "
        "padding. TRL at its best: rows of like length together, no checkpointing, with the memory setting that this package makes and TRL "
        f"does not. Asking the teacher once about all {len(rows)} rows took {asked['seconds']:.0f} seconds; {TOP_K} tokens hold "
        f"{asked['kept_probability']['train']:.1%} of its probability, which is random.",
        "",
        "| what runs | tokens/s | memory | speed of this package, teacher beside | from the cache |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        cells = [name, contest.median_speed(runs), contest.median_memory(runs)]
        cells += [ratio(results, ours, name) for ours in (NATIVE, KEPT)]
        lines.append(f"| {' | '.join(cells)} |")
    both = {name: results[name][0]["losses"] for name in (NATIVE, AS_IT_COMES, KEPT)}
    return "\n".join(
        [
            *lines,
            "",
            *contest.side_by_side("KL at step", both),
            "",
            f"With the teacher beside, the two differ by {contest.furthest(both[NATIVE], both[AS_IT_COMES]):.1e} at most, over all "
            f"{len(both[NATIVE])} steps. Grouped rows come in another order: its losses are not comparable.",
        ]
    )


def ratio(results: Results, ours: str, theirs: str) -> str:
    """By how much one is faster than the other, in the median of the rounds, and from which to which."""
    if ours == theirs:
        return "1"
    both = zip(results[ours], results[theirs], strict=True)
    ratios = [contest.speed(one) / contest.speed(other) for one, other in both]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
