"""Supervised fine-tuning end to end: this package against TRL's SFTTrainer, with TRL's defaults and at its best, on the same rows.

    python benchmarks/sft.py                           # 9M parameters on the processor, five rounds
    python benchmarks/sft.py --size 135m --write       # ... and the table into docs/benchmarks.md
    python benchmarks/sft.py --size 1b --device cuda

Each engine runs in a process of its own, in alternating rounds, for one epoch of the same rows from the same weights. This package is
`train(...)` as the command line calls it, with its metrics. "TRL as it comes" is the public constructor with TRL's defaults except for batch
size, learning rate and precision; it gets the tokenised rows in the same order, so its losses are comparable step by step. "TRL at its best" is
the faster of two settings: rows grouped by length (in shuffled batches, by passing the rows in that order), and `padding_free`; both without
gradient checkpointing, and on a processor with this package's allocator setting, without which another row of the table runs.

Tokens per second count real tokens, no padding, after the warm-up. The share of the peak is the work that the rows need (6 operations for each
parameter and token; the head's only for tokens in the loss) over the highest rate of matrix products that any of the processes measured.
"layers alone" is forward and backward of a regular batch without head and optimizer: an upper bound.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import contest
import page
from contest import AS_IT_COMES, GROUPED, LONGEST, NATIVE, SEED, WORDS, Clock, Result, Results

DEMO = "alpaca_en_demo.json"
LEARNING_RATE = 3e-4
BATCH = {"9m": 8, "135m": 4, "0.5b": 16, "1b": 16}
STEPS = {"9m": 30, "135m": 12, "0.5b": 40, "1b": 40}
PADDING_FREE, LAYERS = "padding-free", "layers alone"
HOW = {GROUPED: "rows grouped by length, no checkpointing", PADDING_FREE: "padding-free, no checkpointing"}


def main() -> None:
    options = arguments()
    if options.engine:
        run_engine(options)
        return
    contest.one_device(options)
    with tempfile.TemporaryDirectory(prefix="benchmark-sft-") as name:
        work = Path(name)
        prepare(work, options)
        table = compare(work, options)
    sys.stdout.write(table + "\n")
    if options.write:
        page.write(f"sft {options.size} {options.device}", table)


def arguments() -> argparse.Namespace:
    options = contest.parser(__doc__ or "", BATCH, STEPS).parse_args()
    options.batch = options.batch or BATCH[options.size]
    options.steps = options.steps or STEPS[options.size]
    return options


# Inputs of every engine.


def prepare(work: Path, options: argparse.Namespace) -> None:
    """A data file, a model with random weights and a tokenizer, and the rows as tokens in the order of the steps."""
    rows = data_rows(options)
    contest.write_rows(work, rows)
    contest.write_model(work / "model", [text for row in rows for text in row.values()], options.size)
    prepared = contest.prepared_rows(work, flags(work, options, "unused"), len(rows))
    from autotrain_llm.data.order import ShuffledOrder
    from autotrain_llm.run.engine.batches import BatchOrder

    order = [index for batch in BatchOrder(ShuffledOrder(len(rows), SEED), options.batch) for index in batch]
    ids, trained = zip(*(prepared[index] for index in order), strict=True)
    contest.keep(work, ids=ids, trained=trained)


def data_rows(options: argparse.Namespace) -> list[dict[str, str]]:
    """Prompts and completions for all steps, from instruction data or of random words with similar lengths."""
    count = options.batch * (options.steps + options.warm_up)
    real = contest.real_rows(options, DEMO)
    if real is None:
        random = np.random.default_rng(SEED)
        lengths = np.clip(random.lognormal(np.log(LONGEST / 8), 0.9, count), 16, LONGEST * 2 / 3).astype(int)
        texts = contest.made_texts(random, lengths)
        return [{"prompt": text[: len(text) // 3], "completion": text[len(text) // 3 :]} for text in texts]
    rows = [
        {"prompt": f"{row['instruction']}\n{row['input']}".strip(), "completion": row["output"]}
        for row in real
        if row["output"].strip()
    ]
    return contest.drawn(rows, count)


def flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    return {**contest.native_flags(work, options, output), "trainer": "sft", "lr": LEARNING_RATE}


# One engine, in a process of its own.


def run_engine(options: argparse.Namespace) -> None:
    """Run one engine and write its result into the work folder."""
    import torch

    from autotrain_llm.run.engine.peak_flops import measure

    device = torch.device(options.device)
    kind = {"bf16": torch.bfloat16, "fp32": torch.float32}[options.precision]
    rates = [measure(device, kind)]
    run = {NATIVE: run_native, LAYERS: run_layers}.get(options.engine, run_trl)
    result = contest.measured(options, run)
    rates.append(measure(device, kind))
    contest.leave(options.work, result | {"peak": max(rates)})


def run_native(options: argparse.Namespace, clock: Clock) -> Result:
    history = contest.history_of_native(clock, flags(options.work, options, "native"))
    return {"losses": [entry["loss"] for entry in history], **counted(options, None)}


def run_trl(options: argparse.Namespace, clock: Clock) -> Result:
    settings = contest.trl_arguments(options)
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = tokenised(options.work)
    order = None
    if options.engine == GROUPED:
        order = contest.grouped([len(ids) for ids, _ in rows], options.batch)
        rows = [rows[index] for index in order]
    if options.engine == PADDING_FREE:
        settings |= {"padding_free": True, "max_length": None}
    data = Dataset.from_list([{"input_ids": ids, "labels": np.where(trained, ids, -100)} for ids, trained in rows])
    config = SFTConfig(
        **settings,
        learning_rate=LEARNING_RATE,
        shuffle_dataset=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = SFTTrainer(model=str(options.work / "model"), args=config, train_dataset=data)
    losses = [entry["loss"] for entry in contest.history_of_trl(clock, trainer)]
    return {"losses": losses, **counted(options, order)}


def run_layers(options: argparse.Namespace, clock: Clock) -> Result:
    """Forward and backward of the layers for rows of one length, with the mean number of tokens of a step; no head, no optimizer."""
    import torch
    from transformers import AutoModelForCausalLM

    from autotrain_llm.run.engine.allocator import keep_freed_memory

    if options.device == "cpu":
        keep_freed_memory()
    causal = AutoModelForCausalLM.from_pretrained(options.work / "model", dtype=torch.float32).to(options.device)
    layers = causal.base_model.train()
    length = round(float(np.mean([len(ids) for ids, _ in tokenised(options.work)])))
    ids = torch.randint(0, WORDS, (options.batch, length), device=options.device)
    clock.step()
    for _ in range(options.warm_up - 1 + options.steps):
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            hidden = layers(input_ids=ids, use_cache=False).last_hidden_state
        hidden.backward(torch.ones_like(hidden))
        layers.zero_grad(set_to_none=True)
        clock.step()
    return {
        "losses": [],
        "tokens": options.batch * length * options.steps,
        "work": work_of(options, ids.numel() * options.steps, 0),
    }


def tokenised(work: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows in the order of the steps. The first token of a row is never a target."""
    rows = [
        (ids.astype(np.int64), trained)
        for ids, trained in zip(*(contest.kept(work, name) for name in ("ids", "trained")), strict=True)
    ]
    for _, trained in rows:
        trained[0] = False
    return rows


def counted(options: argparse.Namespace, order: list[int] | None) -> Result:
    """The real tokens of the timed steps, and the operations that they need."""
    rows = tokenised(options.work)
    rows = rows if order is None else [rows[index] for index in order]
    timed = rows[options.warm_up * options.batch :]
    tokens = sum(len(ids) for ids, _ in timed)
    return {"tokens": tokens, "work": work_of(options, tokens, sum(int(trained.sum()) for _, trained in timed))}


def work_of(options: argparse.Namespace, tokens: int, targets: int) -> float:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from autotrain_llm.run.engine.throughput import flops_of

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(options.work / "model"))
    model.tie_weights()
    needed = flops_of(model)
    assert needed is not None
    return needed.total(tokens, targets)


# All engines, in alternating rounds.


def compare(work: Path, options: argparse.Namespace) -> str:
    """Run all engines and render the table."""
    run = partial(contest.run_alone, __file__, work, options)
    best = contest.fastest(run, (GROUPED, PADDING_FREE))
    best_ones = contest.at_its_best(best, options.device)
    results = contest.in_turns(
        run, {NATIVE: NATIVE, AS_IT_COMES: AS_IT_COMES, **best_ones, LAYERS: LAYERS}, options.pairs
    )
    return render(results, best, options, rows_in_words(work, options))


def rows_in_words(work: Path, options: argparse.Namespace) -> str:
    """The source of the rows, their lengths, and the share of padding."""
    rows = tokenised(work)
    lengths = np.array([len(ids) for ids, _ in rows]).reshape(-1, options.batch)
    trained = sum(int(marks.sum()) for _, marks in rows) / lengths.sum()
    return (
        f"{'Generated rows' if options.rows == 'made' else f'Rows of {DEMO}'}: {lengths.min()} to {lengths.max()} tokens, "
        f"{lengths.sum(axis=1).mean():,.0f} a step, {trained:.0%} of them trained on; "
        f"{contest.padding(lengths):.0%} of a padded batch is padding"
    )


def render(results: Results, best: str, options: argparse.Namespace, rows: str) -> str:
    peak = max(result["peak"] for runs in results.values() for result in runs)
    lines = [
        f"`{options.size}`, {options.precision}, batches of {options.batch} rows, {options.steps} steps after {options.warm_up}, "
        f"{options.pairs} rounds. {contest.machine(results, options)}; matrix products {peak / 1e12:.2f} TFLOP/s. {rows}. "
        f"TRL at its best: {HOW[best]}, with this package's allocator setting, which TRL does not make.",
        "",
        "| engine | tokens/s | share of the peak | memory | speedup of this package, median of the rounds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        share = statistics.median(result["work"] / result["seconds"] for result in runs) / peak
        against = (
            contest.ratio(results, name) if name != LAYERS else f"{share_ratio(results):.2f} of its share of the peak"
        )
        cells = [name, contest.median_speed(runs), f"{share:.1%}", contest.median_memory(runs), against]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *losses(results)])


def share_ratio(results: Results) -> float:
    """The operations per second of this package over those of the layers alone."""
    pairs = zip(results[NATIVE], results[LAYERS], strict=True)
    rates = [(ours["work"] / ours["seconds"]) / (theirs["work"] / theirs["seconds"]) for ours, theirs in pairs]
    return statistics.median(rates)


def losses(results: Results) -> list[str]:
    """The losses of the first round side by side, and the largest difference."""
    both = {name: results[name][0]["losses"] for name in (NATIVE, AS_IT_COMES)}
    return [
        *contest.side_by_side("loss at step", both),
        "",
        f"The two differ by {contest.furthest(*both.values()):.1e} at most, over all {len(both[NATIVE])} steps. "
        "Grouped rows come in another order, so their losses are not comparable.",
    ]


if __name__ == "__main__":
    main()
