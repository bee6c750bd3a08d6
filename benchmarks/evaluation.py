"""Memory and time of an evaluation by number of rows: this package's loop against `transformers.Trainer.evaluate` with `compute_metrics`.

Both evaluate the same model on the same rows with the same batch size, and report loss and token accuracy. The Trainer keeps the logits of all
rows until the end, as `compute_metrics` needs them; this package keeps sums. Each evaluation runs in a process of its own; its memory is the peak
beyond what the process used before. The run fails if the losses per token differ.

    python benchmarks/evaluation.py --data alpaca_en_demo.json [--rows 16,32,64,128] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import page

OURS, THEIRS = "this package", "Trainer.evaluate with compute_metrics"
BATCH = 4
IGNORED = -100


def checked(data: str, rows: int, folder: str) -> Any:
    """Check a small run that evaluates on `rows` rows."""
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.arguments import parse_kwargs
    from autotrain_llm.config.resolved import resolve

    flags = {
        "trainer": "sft",
        "model": "scratch:1m",
        "data_path": data,
        "valid_split": str(rows),
        "lr": 1e-3,
        "epochs": 1,
    }
    flags |= {"batch_size": BATCH, "mixed_precision": "fp32", "output_dir": folder, "block_size": 512}
    result = preflight(resolve(parse_kwargs(flags).values))
    assert result.plan is not None, result.findings
    return result


def with_loop(checked_run: Any, folder: str) -> Any:
    """This package's loop, ready to evaluate."""
    from transformers import TrainingArguments

    from autotrain_llm.planning.run_inputs import inputs_of
    from autotrain_llm.run.algorithms.recipe import make_recipe
    from autotrain_llm.run.engine.batches import RowGroups
    from autotrain_llm.run.engine.loop import Loop
    from autotrain_llm.run.engine.throughput import Throughput
    from autotrain_llm.run.session.training import trainer_arguments

    recipe = make_recipe(checked_run.plan, inputs_of(checked_run.plan, checked_run.context))
    loaded = recipe.load()
    rows = RowGroups(checked_run.context.prepared.valid)
    arguments = TrainingArguments(**trainer_arguments(checked_run.plan, Path(folder)))
    loop = Loop(
        model=loaded.model,
        args=arguments,
        processing_class=loaded.tokenizer,
        layout=recipe.make_layout(loaded),
        objective=recipe.make_objective(),
        throughput=Throughput(None, None),
        train_rows=rows,
        valid_rows=rows,
    )
    return lambda: loop.evaluate()["eval_loss"]


def with_trainer(checked_run: Any, folder: str) -> Any:
    """transformers' Trainer with a function of all logits, as in its documentation."""
    import torch
    from transformers import Trainer, TrainingArguments

    from autotrain_llm.planning.run_inputs import inputs_of
    from autotrain_llm.run.engine.loading import load

    loaded = load(checked_run.plan, inputs_of(checked_run.plan, checked_run.context))
    rows = checked_run.context.prepared.valid

    def collate(items: Any) -> dict[str, Any]:
        longest = max(len(ids) for ids, _ in items)
        ids = torch.zeros(len(items), longest, dtype=torch.int64)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, (tokens, trained) in enumerate(items):
            row_ids = torch.tensor(tokens, dtype=torch.int64)
            ids[row, : len(row_ids)], mask[row, : len(row_ids)] = row_ids, 1
            labels[row, : len(row_ids)] = torch.where(torch.tensor(trained), row_ids, IGNORED)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def compute_metrics(evaluated: Any) -> dict[str, float]:
        logits, labels = torch.from_numpy(evaluated.predictions)[:, :-1], torch.from_numpy(evaluated.label_ids)[:, 1:]
        in_loss = labels != IGNORED
        accuracy = (logits.argmax(-1) == labels)[in_loss].float().mean().item()
        loss = torch.nn.functional.cross_entropy(logits[in_loss], labels[in_loss]).item()
        return {"token_accuracy": accuracy, "by_token": loss}

    arguments = TrainingArguments(
        output_dir=folder, per_device_eval_batch_size=BATCH, use_cpu=True, report_to="none", disable_tqdm=True
    )
    trainer = Trainer(
        model=loaded.model,
        args=arguments,
        eval_dataset=[rows[index] for index in range(len(rows))],
        data_collator=collate,
        compute_metrics=compute_metrics,
    )
    return lambda: trainer.evaluate()["eval_by_token"]


def measure(engine: str, data: str, rows: int) -> dict[str, float]:
    """Evaluate once in this process: seconds, peak bytes beyond those used before, and the loss per token."""
    with tempfile.TemporaryDirectory() as folder:
        checked_run = checked(data, rows, folder)
        evaluate = (with_loop if engine == OURS else with_trainer)(checked_run, folder)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        loss = evaluate()
        seconds = time.perf_counter() - began
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "bytes": more * 1024, "loss": loss}


def in_its_own_process(engine: str, data: str, rows: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--data", data, "--one", engine, "--rows", str(rows)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(data: str, sizes: list[int]) -> list[str]:
    """The result as lines of a Markdown table."""
    import torch
    import transformers

    lines = [
        f"`python benchmarks/evaluation.py`: `scratch:1m` in float32, batches of {BATCH}, rows of {Path(data).name}; {os.cpu_count()} cores "
        f"({platform.machine()}), torch {torch.__version__}, transformers {transformers.__version__}. Memory is the peak beyond what the process "
        "used before the evaluation.",
        "",
        "| rows | engine | memory | seconds | loss per token |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rows in sizes:
        results = {engine: in_its_own_process(engine, data, rows) for engine in (OURS, THEIRS)}
        losses = [result["loss"] for result in results.values()]
        if abs(losses[0] - losses[1]) > 1e-4:
            raise SystemExit(f"{rows} rows: the losses differ: {losses}")
        lines += [
            f"| {rows} | {engine} | {result['bytes'] / 2**20:.0f} MiB | {result['seconds']:.1f} | {result['loss']:.5f} |"
            for engine, result in results.items()
        ]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, help="a file of rows for sft, from which the evaluation rows are held out"
    )
    parser.add_argument("--rows", default="16,32,64,128", help="numbers of evaluation rows (default: 16,32,64,128)")
    parser.add_argument("--one", choices=(OURS, THEIRS), help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"put the table into {page.PAGE.name}")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.data, int(options.rows))))
        return 0
    lines = table(options.data, [int(rows) for rows in options.rows.split(",")])
    print("\n".join(lines))
    if options.write:
        page.write("evaluation", "\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
