"""What the end-to-end benchmarks share: the same model and rows for every engine, and each engine in a process of its own, in alternating rounds.

A benchmark runs its own script once more for each engine (`--engine`), in a folder (`--work`) with the model, tokenizer and rows that `prepare`
wrote, and reads the result that the engine writes there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
DATA = [HERE.parents[1] / "shared/data", HERE.parent / "shared/data"]
WORDS = 8192
LONGEST = 1024
SEED = 42
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The options that are passed on to an engine's process.
PASSED_ON = ("size", "device", "precision", "batch", "steps", "warm_up")

NATIVE, AS_IT_COMES, GROUPED, BEST = "autotrain", "TRL as it comes", "grouped", "TRL at its best"
SETTINGS_ALONE = "TRL at its best, by its own settings alone"
NO_ALLOCATOR_SETTING = ", memory as it comes"  # appended to an engine's name: without this package's allocator setting
TOKENS = "tokens"

Result = dict[str, Any]
Results = dict[str, list[Result]]


# Options.


def parser(document: str, batch: Mapping[str, int], steps: Mapping[str, int]) -> argparse.ArgumentParser:
    """The options of every benchmark; `batch` and `steps` are defaults by model size."""
    options = argparse.ArgumentParser(description=document.splitlines()[0])
    options.add_argument("--size", choices=batch, default="9m")
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options.add_argument(
        "--precision", choices=("bf16", "fp32"), help="default: bf16 where the processor computes in it"
    )
    options.add_argument("--pairs", type=int, default=5, help="rounds; every engine runs once in each")
    options.add_argument("--steps", type=int, help=f"timed steps, by default {by_size(steps)}")
    options.add_argument("--warm-up", type=int, default=4, help="untimed steps before them")
    options.add_argument("--batch", type=int, help=f"rows per step, by default {by_size(batch)}")
    options.add_argument(
        "--rows", choices=("real", "made"), help="default: real rows if their file exists, else generated ones"
    )
    options.add_argument("--made", dest="rows", action="store_const", const="made", help="the same as --rows made")
    options.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options.add_argument("--engine", help=argparse.SUPPRESS)
    options.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--no-allocator-setting", action="store_true", help=argparse.SUPPRESS)
    return options


def by_size(values: Mapping[str, int]) -> str:
    return ", ".join(f"{value} for {size}" for size, value in values.items())


def one_device(options: argparse.Namespace) -> None:
    """Make only the chosen device visible, and choose the precision."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if options.device == "cuda" else ""
    from autotrain_llm.context.machine import Machine

    options.precision = options.precision or ("bf16" if Machine().computes_bf16 else "fp32")


def real_rows(options: argparse.Namespace, name: str) -> list[dict[str, Any]] | None:
    """The rows of a demo file; None where generated rows are to be used."""
    if options.rows == "made":
        return None
    source = next((folder / name for folder in DATA if (folder / name).is_file()), None)
    if source is None and options.rows == "real":
        raise SystemExit(f"--rows real: there is no {name} in {' or '.join(str(folder) for folder in DATA)}")
    options.rows = "made" if source is None else "real"
    return None if source is None else json.loads(source.read_text(encoding="utf-8"))


def drawn(rows: Sequence[dict[str, str]], count: int) -> list[dict[str, str]]:
    """`count` rows in random order; every row is used before any is repeated."""
    random = np.random.default_rng(SEED)
    indices = [int(index) for _ in range(-(-count // len(rows))) for index in random.permutation(len(rows))]
    return [rows[index] for index in indices[:count]]


def made_texts(random: np.random.Generator, lengths: Iterable[int]) -> Iterator[str]:
    """Texts of random words, `lengths` words each."""
    words = ["".join(chr(97 + letter) for letter in random.integers(0, 26, 1 + index % 7)) for index in range(4000)]
    return (" ".join(random.choice(words, length)) for length in lengths)


# Inputs of every engine.


def write_rows(work: Path, rows: Sequence[Mapping[str, str]]) -> None:
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def written_rows(work: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (work / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def write_model(folder: Path, texts: Sequence[str], size: str, *, scores: bool = False) -> None:
    """A Llama of this size with random weights (a reward model with `scores`), and a tokenizer trained on the texts."""
    write_model_of(folder, tokenizer_of(texts), size, scores=scores)


def tokenizer_of(texts: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer of `WORDS` tokens, trained on these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.chat_template = CHATML
    return tokenizer


def write_model_of(folder: Path, tokenizer: Any, size: str, *, scores: bool = False) -> None:
    """A Llama of this size with random weights (a reward model with `scores`), and this tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    from engine import SIZES

    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(**SIZES[size], max_position_embeddings=4096, tie_word_embeddings=True, **tokens)
    if scores:
        config.num_labels = 1
    (LlamaForSequenceClassification if scores else LlamaForCausalLM)(config).save_pretrained(folder)


def native_flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    """TRL's defaults as this package's flags, for any trainer."""
    return {
        "model": str(work / "model"),
        "data_path": str(work / "rows.jsonl"),
        "output_dir": str(work / output),
        "overwrite": True,
        "epochs": 1,
        "batch_size": options.batch,
        "block_size": LONGEST,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "mixed_precision": options.precision,
        "seed": SEED,
    }


def prepared_rows(work: Path, flags: Mapping[str, Any], count: int) -> Any:
    """The rows as this package prepares them. None may be dropped, or the engines would train on different rows."""
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.arguments import parse_kwargs
    from autotrain_llm.config.resolved import resolve

    checked = preflight(resolve(parse_kwargs(dict(flags)).values, {}, None))
    assert checked.plan is not None and checked.context.prepared is not None, checked.findings
    assert len(checked.context.prepared.train) == count, "a row was dropped"
    return checked.context.prepared.train


def keep(work: Path, **columns: Sequence[Sequence[int] | np.ndarray]) -> None:
    """Write columns of arrays of unequal length for the engines."""
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    arrays |= {f"{name} lengths": np.array([len(part) for part in parts]) for name, parts in columns.items()}
    np.savez(work / "rows.npz", allow_pickle=False, **arrays)


def kept(work: Path, name: str) -> list[np.ndarray]:
    with np.load(work / "rows.npz") as arrays:
        return np.split(arrays[name], np.cumsum(arrays[f"{name} lengths"])[:-1])


def grouped(lengths: Sequence[int], batch: int) -> list[int]:
    """Indices of the rows grouped by length, in shuffled batches."""
    by_length = np.argsort(lengths, kind="stable")
    batches = [by_length[start : start + batch] for start in range(0, len(by_length), batch)]
    return [int(row) for index in np.random.default_rng(SEED).permutation(len(batches)) for row in batches[index]]


# One engine, in a process of its own.


class Clock:
    """The end of each step, and the peak memory so far in bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[float] = []
        self.memory = 0

    def step(self) -> None:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
            self.memory = torch.cuda.max_memory_allocated()
        else:
            self.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.times.append(time.perf_counter())


def measured(options: argparse.Namespace, run: Callable[[argparse.Namespace, Clock], Result]) -> Result:
    """An engine's result with its `seconds` after the warm-up and its peak `memory`.

    `precompute_seconds` of the result, which belong to the timed steps and were spent before them, are added.
    """
    import torch

    clock = Clock(options.device)
    with contextlib.redirect_stdout(sys.stderr):
        result = run(options, clock)
    return result | {
        "seconds": clock.times[-1] - clock.times[options.warm_up - 1] + result.get("precompute_seconds", 0.0),
        "memory": clock.memory,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads",
    }


def leave(work: Path, result: Result) -> None:
    (work / "result.json").write_text(json.dumps(result), encoding="utf-8")


def history_of_native(clock: Clock, flags: Mapping[str, Any], every: int = 1) -> list[dict[str, float]]:
    """Train as the command line does, with a tick of the clock every `every` steps; returns the log."""
    from autotrain_llm.api import train
    from autotrain_llm.progress import ProgressCallback

    class Steps(ProgressCallback):
        def step(self, step: int) -> None:
            if step % every == 0:
                clock.step()

    return [entry for entry in train(Steps(), **flags).history if "loss" in entry]


def history_of_trl(clock: Clock, trainer: Any, holding: str = "loss") -> list[dict[str, float]]:
    """Train, with a tick of the clock every step; returns the log entries that have `holding`."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step()

    trainer.add_callback(Steps())
    trainer.train()
    return [entry for entry in trainer.state.log_history if holding in entry]


def trl_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of all of TRL's configurations: device, order and logging, and nothing that changes its speed.

    "TRL at its best" runs without gradient checkpointing, and keeps freed memory on a processor.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    settings: dict[str, Any] = {}
    if options.engine != AS_IT_COMES:
        settings["gradient_checkpointing"] = False
        if options.device == "cpu" and not options.no_allocator_setting:
            from autotrain_llm.run.engine.allocator import keep_freed_memory

            keep_freed_memory()
    return {
        "output_dir": str(options.work / "trl"),
        "per_device_train_batch_size": options.batch,
        "num_train_epochs": 1,
        "use_cpu": options.device == "cpu",
        "bf16": options.precision == "bf16",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": SEED,
        "train_sampling_strategy": "sequential",
        **settings,
    }


# All engines, in alternating rounds.


def run_alone(
    script: str,
    work: Path,
    options: argparse.Namespace,
    engine: str,
    *more: str,
    python: Sequence[str] = (sys.executable,),
) -> Result:
    """Run the script in a process of its own for one engine, with the options `more`; `python` are the words before the script."""
    words = [
        *python,
        str(Path(script).resolve()),
        "--engine",
        engine.removesuffix(NO_ALLOCATOR_SETTING),
        "--work",
        str(work),
        *more,
    ]
    words += ["--no-allocator-setting"] if engine.endswith(NO_ALLOCATOR_SETTING) else []
    for name in PASSED_ON:
        words += [f"--{name.replace('_', '-')}", str(vars(options)[name])]
    (work / "result.json").unlink(missing_ok=True)
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return json.loads((work / "result.json").read_text(encoding="utf-8"))


def fastest(run: Callable[[str], Result], engines: Sequence[str]) -> str:
    """The fastest of TRL's settings on this machine, from one run of each."""
    if len(engines) == 1:
        return engines[0]
    speeds = {engine: speed(run(engine)) for engine in engines}
    for engine, per_second in speeds.items():
        say(f"TRL, {engine}: {per_second:,.0f} tokens/s")
    return max(speeds, key=lambda engine: speeds[engine])


def at_its_best(best: str, device: str) -> dict[str, str]:
    """TRL with its fastest settings; on a processor also without this package's allocator setting. Keys are names in the table."""
    return {BEST: best, **({SETTINGS_ALONE: best + NO_ALLOCATOR_SETTING} if device == "cpu" else {})}


def in_turns(run: Callable[[str], Result], engines: Mapping[str, str], rounds: int, what: str = TOKENS) -> Results:
    """The results of each engine over interleaved rounds, by its name in the table."""
    results: Results = {name: [] for name in engines}
    for round_index in range(rounds):
        for name, engine in engines.items():
            results[name].append(run(engine))
            say(f"{round_index + 1}/{rounds} {name}: {show_speed(speed(results[name][-1], what))} {what}/s")
    return results


def speed(result: Result, what: str = TOKENS) -> float:
    """Tokens, or whatever `what` counts, per second."""
    return result[what] / result["seconds"]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


# The table.


def median_speed(runs: Sequence[Result], what: str = TOKENS) -> str:
    return show_speed(statistics.median(speed(result, what) for result in runs))


def show_speed(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}"


def median_memory(runs: Sequence[Result]) -> str:
    return f"{statistics.median(result['memory'] for result in runs) / 2**30:.1f} GiB"


def ratio(results: Results, name: str, what: str = TOKENS) -> str:
    """How many times as fast this package is: the median of the rounds, and their range."""
    if name == NATIVE:
        return "1"
    both = zip(results[NATIVE], results[name], strict=True)
    ratios = [speed(ours, what) / speed(theirs, what) for ours, theirs in both]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def side_by_side(title: str, rows: Mapping[str, Sequence[float]]) -> list[str]:
    """A table of values by step, with a column for eight of the steps."""
    count = len(next(iter(rows.values())))
    steps = sorted({round(step) for step in np.linspace(0, count - 1, 8)})
    return [
        f"| {title} | " + " | ".join(str(step + 1) for step in steps) + " |",
        "| --- |" + " --- |" * len(steps),
        *(f"| {name} | " + " | ".join(f"{values[step]:.4f}" for step in steps) + " |" for name, values in rows.items()),
    ]


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(left - right) for left, right in zip(one, other, strict=True))


def padding(lengths: np.ndarray) -> float:
    """The share of a padded batch that is padding; `lengths` is (steps, rows of a batch)."""
    return 1 - lengths.sum() / (lengths.max(axis=1).sum() * lengths.shape[1])


def machine(results: Results, options: argparse.Namespace) -> str:
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "trl"))
    where = results[NATIVE][0]["device"]
    if options.device == "cpu":
        where = f"{processor()}, {os.cpu_count()} cores, {where}"
    return f"{where}, Python {platform.python_version()}, {packages}"


def processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
