"""What the benchmarks of whole trainings share: one model and the same rows for every engine, each engine in a process of its own, in turns.

A benchmark's script runs itself once more for each engine (`--engine`), in a folder (`--work`) in which `prepare` left model, tokenizer
and rows, and reads what the engine left there.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# What an engine's own process has to be told again.
PASSED_ON = ("size", "device", "precision", "batch", "steps", "warm_up")

NATIVE, AS_IT_COMES, GROUPED, BEST = "autotrain", "TRL as it comes", "grouped", "TRL at its best"
SETTINGS_ALONE = "TRL at its best, by its own settings alone"
UNKEPT = ", memory as it comes"  # behind an engine's name: without the memory setting
TOKENS = "tokens"

Result = dict[str, Any]
Results = dict[str, list[Result]]


# What is asked for.


def parser(document: str, batch: Mapping[str, int], steps: Mapping[str, int]) -> argparse.ArgumentParser:
    """The options that all have; `batch` and `steps` by the size of the model."""
    made = argparse.ArgumentParser(description=document.splitlines()[0])
    made.add_argument("--size", choices=batch, default="9m")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--precision", choices=("bf16", "fp32"), help="default: bf16 where the processor computes in it")
    made.add_argument("--pairs", type=int, default=5, help="rounds, in each of which every engine runs once")
    made.add_argument("--steps", type=int, help=f"steps that are timed, by default {said(steps)}")
    made.add_argument("--warm-up", type=int, default=4, help="steps before them")
    made.add_argument("--batch", type=int, help=f"rows per step, by default {said(batch)}")
    made.add_argument("--rows", choices=("real", "made"), help="default: real ones where they are found")
    made.add_argument("--made", dest="rows", action="store_const", const="made", help="the same as --rows made")
    made.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    made.add_argument("--engine", help=argparse.SUPPRESS)
    made.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--unkept", action="store_true", help=argparse.SUPPRESS)
    return made


def said(values: Mapping[str, int]) -> str:
    return ", ".join(f"{value} for {size}" for size, value in values.items())


def one_device(options: argparse.Namespace) -> None:
    """The one that was asked for, for whoever looks which there are; and what it computes in."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if options.device == "cuda" else ""
    from autotrain_llm.context.machine import Machine

    options.precision = options.precision or ("bf16" if Machine().computes_bf16 else "fp32")


def real_rows(options: argparse.Namespace, name: str) -> list[dict[str, Any]] | None:
    """The rows of a demonstration file; None where made ones are asked for, or nothing is and there is no such file."""
    if options.rows == "made":
        return None
    source = next((folder / name for folder in DATA if (folder / name).is_file()), None)
    if source is None and options.rows == "real":
        raise SystemExit(f"--rows real: there is no {name} in {' or '.join(str(folder) for folder in DATA)}")
    options.rows = "made" if source is None else "real"
    return None if source is None else json.loads(source.read_text(encoding="utf-8"))


def drawn(rows: Sequence[dict[str, str]], count: int) -> list[dict[str, str]]:
    """As many rows as that, in a random order, all of them before any comes again."""
    random = np.random.default_rng(SEED)
    chosen = [int(number) for _ in range(-(-count // len(rows))) for number in random.permutation(len(rows))]
    return [rows[number] for number in chosen[:count]]


def made_texts(random: np.random.Generator, lengths: Sequence[int]) -> Iterator[str]:
    """Texts of so many made words."""
    words = ["".join(chr(97 + letter) for letter in random.integers(0, 26, 1 + number % 7)) for number in range(4000)]
    return (" ".join(random.choice(words, length)) for length in lengths)


# What every engine is given.


def write_rows(work: Path, rows: Sequence[Mapping[str, str]]) -> None:
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def written_rows(work: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (work / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def write_model(folder: Path, texts: Sequence[str], size: str, *, scores: bool = False) -> None:
    """A Llama of this size with random weights, for one score instead of words where that is asked, and a tokenizer made of the texts."""
    write_model_of(folder, tokenizer_of(texts), size, scores=scores)


def tokenizer_of(texts: Sequence[str]) -> Any:
    """Pairs of bytes that come often in these texts, as `WORDS` tokens."""
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
    """A Llama of this size with random weights, for one score instead of words where that is asked, and this tokenizer."""
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
    """What TRL's defaults say, in this package's flags, for any trainer."""
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
    """The rows that this package makes of the file. None may be dropped, or the engines would see different ones."""
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.arguments import parse_kwargs
    from autotrain_llm.config.resolved import resolve

    checked = preflight(resolve(parse_kwargs(dict(flags)).values, {}, None))
    assert checked.plan is not None and checked.context.prepared is not None, checked.findings
    assert len(checked.context.prepared.train) == count, "a row was dropped"
    return checked.context.prepared.train


def keep(work: Path, **columns: Sequence[np.ndarray]) -> None:
    """Leave arrays of unequal length, a column of them by each name, for the engines."""
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    arrays |= {f"{name} lengths": np.array([len(part) for part in parts]) for name, parts in columns.items()}
    np.savez(work / "rows.npz", **arrays)


def kept(work: Path, name: str) -> list[np.ndarray]:
    with np.load(work / "rows.npz") as arrays:
        return np.split(arrays[name], np.cumsum(arrays[f"{name} lengths"])[:-1])


def grouped(lengths: Sequence[int], batch: int) -> list[int]:
    """Rows of like length side by side, the batches of them shuffled."""
    by_length = np.argsort(lengths, kind="stable")
    batches = [by_length[start : start + batch] for start in range(0, len(by_length), batch)]
    return [int(row) for number in np.random.default_rng(SEED).permutation(len(batches)) for row in batches[number]]


# One engine, in a process of its own.


class Clock:
    """When each step ended, and what the process held at most until then, in bytes."""

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
    """What an engine says of itself, with its `seconds` from the end of the warm-up on and its `memory`.

    A `beforehand` that it says, seconds that belong to the timed steps and were spent before them, is added.
    """
    import torch

    clock = Clock(options.device)
    with contextlib.redirect_stdout(sys.stderr):
        result = run(options, clock)
    return result | {
        "seconds": clock.times[-1] - clock.times[options.warm_up - 1] + result.get("beforehand", 0.0),
        "memory": clock.memory,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads",
    }


def leave(work: Path, result: Result) -> None:
    (work / "result.json").write_text(json.dumps(result), encoding="utf-8")


def history_of_native(clock: Clock, flags: Mapping[str, Any], every: int = 1) -> list[dict[str, float]]:
    """Train as the command line does, with a step on the clock for `every` so many; what was logged."""
    from autotrain_llm.api import train
    from autotrain_llm.progress import ProgressCallback

    class Steps(ProgressCallback):
        def step(self, step: int) -> None:
            if step % every == 0:
                clock.step()

    return [entry for entry in train(Steps(), **flags).history if "loss" in entry]


def history_of_trl(clock: Clock, trainer: Any, holding: str = "loss") -> list[dict[str, float]]:
    """Train, with a step on the clock for each; what was logged of them."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, *given: Any, **named: Any) -> None:
            clock.step()

    trainer.add_callback(Steps())
    trainer.train()
    return [entry for entry in trainer.state.log_history if holding in entry]


def trl_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What is said to all of TRL's configurations: where it runs, in what order, and nothing that makes it slower or faster.

    At its best it neither computes activations twice nor gives memory back that it will need again.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    settings: dict[str, Any] = {}
    if options.engine != AS_IT_COMES:
        settings["gradient_checkpointing"] = False
        if options.device == "cpu" and not options.unkept:
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


# All of them, in turns.


def run_alone(
    script: str, work: Path, options: argparse.Namespace, engine: str, *more: str, python: str = sys.executable
) -> Result:
    """Run the script once more for one engine, told `more`."""
    words = [python, str(Path(script).resolve()), "--engine", engine.removesuffix(UNKEPT), "--work", str(work), *more]
    words += ["--unkept"] if engine.endswith(UNKEPT) else []
    for name in PASSED_ON:
        words += [f"--{name.replace('_', '-')}", str(vars(options)[name])]
    (work / "result.json").unlink(missing_ok=True)
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return json.loads((work / "result.json").read_text(encoding="utf-8"))


def fastest(run: Callable[[str], Result], engines: Sequence[str]) -> str:
    """Which of TRL's settings is the fastest here, from one run of each; there is none to make of one."""
    if len(engines) == 1:
        return engines[0]
    speeds = {engine: speed(run(engine)) for engine in engines}
    for engine, found in speeds.items():
        say(f"TRL, {engine}: {found:,.0f} tokens/s")
    return max(speeds, key=lambda engine: speeds[engine])


def at_its_best(best: str, device: str) -> dict[str, str]:
    """TRL with its fastest settings, and on a processor the same without the memory setting, which is none of TRL's: by its name in the table."""
    return {BEST: best, **({SETTINGS_ALONE: best + UNKEPT} if device == "cpu" else {})}


def in_turns(run: Callable[[str], Result], engines: Mapping[str, str], rounds: int, what: str = TOKENS) -> Results:
    """The results of each engine, by the name it has in the table, over interleaved rounds."""
    results: Results = {name: [] for name in engines}
    for number in range(rounds):
        for name, engine in engines.items():
            results[name].append(run(engine))
            say(f"{number + 1}/{rounds} {name}: {said_speed(speed(results[name][-1], what))} {what}/s")
    return results


def speed(result: Result, what: str = TOKENS) -> float:
    """How many of what an engine counted it did in a second."""
    return result[what] / result["seconds"]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


# What is said of it.


def median_speed(runs: Sequence[Result], what: str = TOKENS) -> str:
    return said_speed(statistics.median(speed(result, what) for result in runs))


def said_speed(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}"


def median_memory(runs: Sequence[Result]) -> str:
    return f"{statistics.median(result['memory'] for result in runs) / 2**30:.1f} GiB"


def ratio(results: Results, name: str, what: str = TOKENS) -> str:
    """By how much this package is faster, in the median of the rounds, and from which to which."""
    if name == NATIVE:
        return "1"
    both = zip(results[NATIVE], results[name], strict=True)
    ratios = [speed(ours, what) / speed(theirs, what) for ours, theirs in both]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def side_by_side(title: str, rows: Mapping[str, Sequence[float]]) -> list[str]:
    """Numbers of every step, in a table with a column for each few steps."""
    count = len(next(iter(rows.values())))
    shown = sorted({round(place) for place in np.linspace(0, count - 1, 8)})
    return [
        f"| {title} | " + " | ".join(str(place + 1) for place in shown) + " |",
        "| --- |" + " --- |" * len(shown),
        *(
            f"| {name} | " + " | ".join(f"{values[place]:.4f}" for place in shown) + " |"
            for name, values in rows.items()
        ),
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
