"""The plan's memory estimate against the measured peak, for runs of every kind, each in a process of its own.

    python benchmarks/memory.py                    # on the processor
    python benchmarks/memory.py --device cuda      # on the GPU, with larger models
    python benchmarks/memory.py --only dpo         # the runs with this in their name
    python benchmarks/memory.py --write            # ... and the table into docs/benchmarks.md

A run is a few steps of what the command line does: rows are prepared, the plan is made and the libraries are imported before the measurement
starts. On the processor the measured value is the peak of the process from loading the model to the end, less what it used before; on a GPU it is
torch's peak of allocated memory. Both are compared with the plan's estimate without its allowance for the libraries. The estimate itself uses no
number of this script.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import contest
import page

STEPS = 4
# Runs at the same time: one on the processor, whose memory bandwidth they would share. On a GPU, torch counts each process alone.
AT_ONCE = {"cpu": 1, "cuda": 3}
AIM = 0.2
SECONDS = {"cpu": 600, "cuda": 120}  # of one run
WORDS_OF_A_ROW = {"cpu": 1400, "cuda": 2600}
CLEAR = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
RESET_PEAK = "5"  # tells the kernel to reset the peak memory of this process
MEBI = 2**20


@dataclass(frozen=True)
class Case:
    """One run: a name, the size of its model, the rows it learns from, and what else is said."""

    name: str
    size: str
    rows: str
    flags: dict[str, Any] = field(default_factory=dict)


def cases(device: str) -> list[Case]:
    """The runs on each kind of device."""
    return list(on_processor() if device == "cpu" else on_gpu())


def sft(size: str, length: int, batch: int, rows: str = "answered", **more: Any) -> Case:
    """A run of supervised fine-tuning, in which most factors of memory show."""
    words = ["sft", size, f"{length} tokens", f"batch {batch}"]
    words += ["unequal rows"] if rows == "unequal" else []
    words += [describe(name, value) for name, value in more.items()]
    flags = {"trainer": "sft", "max_seq_length": length, "batch_size": batch, "gradient_checkpointing": False} | more
    return Case(", ".join(words), size, rows, flags)


def describe(name: str, value: Any) -> str:
    descriptions = {
        "gradient_checkpointing": "checkpointing" if value is True else f"{value} checkpointing",
        "gradient_accumulation": f"accumulating {value}",
        "max_steps": f"{value} steps",
        "peft": "LoRA",
    }
    return descriptions.get(name, name if value is True else str(value))


def with_trainer(name: str, size: str, rows: str, **flags: Any) -> Case:
    """A run of another trainer."""
    length = flags.setdefault("max_seq_length" if name == "sft" else "block_size", 256)
    given = {"trainer": name.split(" ")[0], "batch_size": 4, "gradient_checkpointing": False} | flags
    return Case(f"{name}, {size}, {length} tokens, batch {given['batch_size']}", size, rows, given)


def on_processor() -> Iterator[Case]:
    yield sft("1m", 128, 4)
    yield sft("1m", 512, 16)
    for length, batch in ((128, 4), (512, 4), (512, 16)):
        yield sft("9m", length, batch)
    yield sft("9m", 512, 16, gradient_checkpointing=True)
    yield sft("9m", 512, 16, gradient_checkpointing="selective")
    yield sft("9m", 1024, 8, rows="unequal", max_steps=24)
    yield sft("9m", 512, 4, mixed_precision="fp32")
    yield sft("9m", 512, 4, gradient_accumulation=2)
    yield sft("42m", 512, 8)
    yield sft("42m", 512, 8, peft=True)
    yield sft("135m", 256, 4)
    yield sft("135m", 256, 4, gradient_checkpointing=True)
    yield sft("135m", 256, 4, peft=True)
    yield with_trainer("generic", "9m", "texts", block_size=512)
    yield with_trainer("dpo", "9m", "pairs")
    yield with_trainer("dpo", "42m", "pairs", model_ref="{other}")
    yield with_trainer("dpo with LoRA", "42m", "pairs", peft=True)
    yield with_trainer("orpo", "9m", "pairs")
    yield with_trainer("kto", "9m", "pairs")
    yield with_trainer("reward", "9m", "pairs")
    yield with_trainer("ppo", "9m", "prompts", **REWARDED, **ROLLOUTS)
    yield with_trainer("grpo", "9m", "prompts", **REWARDED, **ROLLOUTS, rl_num_generations=4)
    yield with_trainer("sft with a teacher", "9m", "answered", use_distillation=True, teacher_model="{other}")


def on_gpu() -> Iterator[Case]:
    yield sft("0.35b", 1024, 4)
    yield sft("0.35b", 1024, 8)
    yield sft("0.35b", 2048, 16, gradient_checkpointing=True)
    yield sft("0.35b", 2048, 16, gradient_checkpointing="selective")
    yield sft("0.35b", 2048, 16, gradient_checkpointing="offload")
    yield sft("0.35b", 2048, 4, rows="unequal", max_steps=12)
    yield sft("1.1b", 1024, 4)
    yield sft("1.1b", 2048, 8, gradient_checkpointing=True)
    yield sft("1.1b", 1024, 4, peft=True)
    yield with_trainer("dpo", "0.35b", "pairs", block_size=1024)
    yield with_trainer("dpo with LoRA", "1.1b", "pairs", block_size=512, peft=True)
    yield with_trainer("reward", "0.35b", "pairs", block_size=1024)
    yield with_trainer("ppo", "0.35b", "prompts", **REWARDED, **ROLLOUTS)
    yield with_trainer(
        "sft with a teacher", "0.35b", "answered", max_seq_length=1024, use_distillation=True, teacher_model="{other}"
    )


RATES = {"dpo": 1e-6, "orpo": 1e-5, "kto": 1e-6, "reward": 1e-5, "ppo": 1e-6, "grpo": 1e-6}
ROLLOUTS = {"rl_max_new_tokens": 48, "rl_chunk_size": 16, "rl_mini_batch_size": 8, "rl_num_ppo_epochs": 1}
REWARDED = {"rl_reward_fn": "{folder}/reward.py:length"}
REWARD = "def length(completions, **more):\n    return [len(text) / 100 for text in completions]\n"
GPU_SIZES = {
    "0.35b": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "vocab_size": 32768,
    },
    "1.1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 65536,
    },
}


def main() -> None:
    options = arguments()
    if options.case is not None:
        measure(options, cases(options.device)[options.case])
        return
    chosen = [
        (index, case)
        for index, case in enumerate(cases(options.device))
        if any(part in case.name for part in options.only)
    ]
    with tempfile.TemporaryDirectory(prefix="benchmark-memory-") as name:
        work = Path(name)
        prepare(work, [case for _, case in chosen], options.device)
        with ThreadPoolExecutor(AT_ONCE[options.device]) as pool:
            measured = pool.map(lambda numbered: run_alone(work, options, *numbered), chosen)
            results = list(zip([case for _, case in chosen], measured, strict=True))
    table = render(results, options)
    sys.stdout.write(table + "\n")
    if options.write:
        page.write(f"memory {options.device}", table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", default=[""], help="runs with one of these in their names")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# Inputs of all runs.


def prepare(work: Path, chosen: Sequence[Case], device: str) -> None:
    """Write rows of every kind, one tokenizer, and the models with random weights that these runs need."""
    import torch

    import engine

    engine.SIZES.update(GPU_SIZES)
    random = np.random.default_rng(contest.SEED)
    even = list(contest.made_texts(random, [WORDS_OF_A_ROW[device]] * 96))
    lengths = np.clip(random.lognormal(np.log(80), 1.2, 400), 8, WORDS_OF_A_ROW[device]).astype(int)
    write_rows(work, even, list(contest.made_texts(random, lengths)))
    (work / "reward.py").write_text(REWARD, encoding="utf-8")
    tokenizer = contest.tokenizer_of(even)
    named = {case.size for case in chosen} | {
        f"{case.size}-other" for case in chosen if any("{other}" in str(value) for value in case.flags.values())
    }
    for name in sorted(named):
        with torch.device(device):  # a large model is initialised much faster on a GPU
            contest.write_model_of(work / name, tokenizer, name.removesuffix("-other"))
        if device == "cuda":
            torch.cuda.empty_cache()


def write_rows(work: Path, even: Sequence[str], unequal: Sequence[str]) -> None:
    """Write a file for each kind of rows: texts longer than any limit here, and texts of unequal lengths."""
    short = [" ".join(text.split()[:40]) for text in even]
    kinds = {
        "texts": [{"text": text} for text in even],
        "answered": [{"prompt": head, "completion": text} for head, text in zip(short, even, strict=True)],
        "unequal": [{"prompt": text[:40], "completion": text} for text in unequal],
        "pairs": [
            {"prompt": head, "chosen": text, "rejected": other}
            for head, text, other in zip(short, even, reversed(even), strict=True)
        ],
        "prompts": [{"prompt": head} for head in short],
    }
    for kind, rows in kinds.items():
        (work / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def flags(work: Path, case: Case, device: str, number: int = 0) -> dict[str, Any]:
    """The flags of one run."""
    places = {"folder": str(work), "other": str(work / f"{case.size}-other")}
    own = {name: value.format(**places) if isinstance(value, str) else value for name, value in case.flags.items()}
    data = {"model": str(work / case.size), "data_path": str(work / f"{case.rows}.jsonl")}
    steps = {
        "lr": RATES.get(case.flags["trainer"], 1e-4),
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_strategy": "no",
        "output_dir": str(work / f"output-{number}"),
    }
    precision = {} if device == "cpu" else {"mixed_precision": "bf16"}
    if case.rows == "pairs":
        data |= {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
    return {**data, **steps, **precision, "overwrite": True, "seed": contest.SEED, **own}


# One run, in a process of its own.


def measure(options: argparse.Namespace, case: Case) -> None:
    """Run a case and write the estimated and the measured memory into the work folder."""
    os.environ["XDG_CACHE_HOME"] = str(options.work / "cache")
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if options.device == "cuda" else ""
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.arguments import parse_kwargs
    from autotrain_llm.config.resolved import resolve

    arguments = parse_kwargs(flags(options.work, case, options.device, options.case))
    checked = preflight(resolve(arguments.values, {}, None), arguments.findings)
    assert checked.plan is not None, [finding.message for finding in checked.findings]
    estimate = checked.plan.memory
    result: dict[str, Any] = {
        "estimated": estimate.peak_memory_bytes - estimate.memory["libraries"],
        "parts": estimate.memory,
    }
    leave(options, result)
    from autotrain_llm.planning.run_inputs import inputs_of
    from autotrain_llm.run.algorithms.recipe import make_recipe
    from autotrain_llm.run.session.execute import execute

    used_before: list[int] = []

    def loading(*args: Any) -> Any:
        used_before.append(begin(options.device))
        return make_recipe(*args).load()

    execute(checked.plan, inputs_of(checked.plan, checked.context), None, loading, with_page=False)
    result |= {"measured": peak(options.device) - used_before[0], "machine": machine(options.device)}
    leave(options, result | ({"reserved": reserved()} if options.device == "cuda" else {}))


def leave(options: argparse.Namespace, result: dict[str, Any]) -> None:
    result_file(options.work, options.case).write_text(json.dumps(result), encoding="utf-8")


def result_file(work: Path, number: int) -> Path:
    """The file of a run's result."""
    return work / f"result-{number}.json"


def begin(device: str) -> int:
    """Reset the peak; returns the memory in use now, in bytes."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return 0
    CLEAR.write_text(RESET_PEAK, encoding="ascii")
    return of_status("VmRSS")


def peak(device: str) -> int:
    """The peak since, in bytes."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return of_status("VmHWM")


def reserved() -> int:
    """The most that torch reserved on the GPU, fragmentation included, in bytes."""
    import torch

    return torch.cuda.max_memory_reserved()


def of_status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def machine(device: str) -> str:
    import torch
    import transformers

    where = torch.cuda.get_device_name() if device == "cuda" else f"a processor, {torch.get_num_threads()} threads"
    return f"{where}, torch {torch.__version__}, transformers {transformers.__version__}"


# All runs.


def run_alone(work: Path, options: argparse.Namespace, index: int, case: Case) -> dict[str, Any]:
    """Run this script in a process of its own for one case; a failure keeps the estimate and its reason."""
    words = [sys.executable, str(Path(__file__).resolve()), "--device", options.device]
    words += ["--case", str(index), "--work", str(work)]
    began = time.perf_counter()
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS[options.device])
        fault = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        fault = [f"longer than {SECONDS[options.device]} s"]
    shutil.rmtree(work / f"output-{index}", ignore_errors=True)
    path = result_file(work, index)
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result |= {"fault": fault[0]} if fault else {}
    contest.say(f"{case.name}: {in_words(result)} ({time.perf_counter() - began:.0f} s)")
    return result


def in_words(result: dict[str, Any]) -> str:
    estimated, measured = result.get("estimated"), result.get("measured")
    if estimated is None:
        return f"failed: {result.get('fault')}"
    if measured is None:
        return f"estimated {estimated / MEBI:.0f} MiB, failed: {result.get('fault')}"
    return f"estimated {estimated / MEBI:.0f} MiB, measured {measured / MEBI:.0f} MiB, {estimated / measured:.2f}"


def render(results: list[tuple[Case, dict[str, Any]]], options: argparse.Namespace) -> str:
    ratios = [result["estimated"] / result["measured"] for _, result in results if "measured" in result]
    reserved_ratios = [result["reserved"] / result["measured"] for _, result in results if "reserved" in result]
    more = f" torch reserved up to {max(reserved_ratios):.2f} times what it had allocated." if reserved_ratios else ""
    where = next((result["machine"] for _, result in results if "machine" in result), "nothing ran")
    lines = [
        f"`python benchmarks/memory.py --device {options.device}`: {STEPS} steps of each run; {where}. MiB, without the libraries on "
        f"both sides. {summary(ratios)}{more}",
        "",
        "| run | estimated | measured | estimated / measured |",
        "| --- | --- | --- | --- |",
    ]
    for case, result in results:
        estimated = f"{result['estimated'] / MEBI:.0f}" if "estimated" in result else "-"
        if "measured" in result:
            cells = [estimated, f"{result['measured'] / MEBI:.0f}", f"{result['estimated'] / result['measured']:.2f}"]
        else:
            cells = [estimated, f"failed: {result.get('fault', 'no message')[:80]}", "-"]
        lines.append(f"| {' | '.join([case.name, *cells])} |")
    return "\n".join(lines)


def summary(ratios: list[float]) -> str:
    if not ratios:
        return "No run could be measured."
    within = sum(abs(ratio - 1) <= AIM for ratio in ratios)
    return (
        f"{within} of {len(ratios)} within {AIM:.0%}; ratios from {min(ratios):.2f} to {max(ratios):.2f}, "
        f"median {statistics.median(ratios):.2f}."
    )


if __name__ == "__main__":
    main()
