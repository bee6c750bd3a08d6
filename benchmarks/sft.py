"""Supervised fine-tuning end to end: this package against TRL's SFTTrainer, as it comes and at its best, on the same rows.

    python benchmarks/sft.py                           # 9M parameters on the processor, five rounds
    python benchmarks/sft.py --size 135m --write       # ... and the table into docs/benchmarks.md
    python benchmarks/sft.py --size 1b --device cuda

Each engine runs in a process of its own, in turns, from the same weights, over the same rows, one epoch of them. This package is
`train(...)` as the command line calls it, with its metrics. `TRL as it comes` is its public constructor with TRL's defaults, given the
tokenised rows in the same order, so that its losses are comparable step by step; batch size, learning rate and precision are said.
`TRL at its best` is the faster of two: rows of like length together (in shuffled batches, by giving it the rows in that order) and
`padding_free`; both without checkpointing, and with the memory setting that this package makes for itself.

Tokens are real ones, no padding; the first steps are left out. The share of the peak is that of the work the rows need (6 operations
for each parameter and token, the head's only for tokens that are trained on) in the largest rate of matrix products that any of the
processes saw. `layers alone` is forward and backward of a regular batch through the layers without head or optimizer: the ceiling.
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
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
DEMO_ROWS = [HERE.parents[1] / "shared/data/alpaca_en_demo.json", HERE.parent / "shared/data/alpaca_en_demo.json"]
PAGE = HERE.parent / "docs/benchmarks.md"
WORDS = 8192
LONGEST = 1024
LEARNING_RATE = 3e-4
SEED = 42
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BATCH = {"9m": 8, "135m": 4, "0.5b": 16, "1b": 16}
STEPS = {"9m": 30, "135m": 12, "0.5b": 40, "1b": 40}

NATIVE, AS_IT_COMES, GROUPED, PADDING_FREE, LAYERS = (
    "autotrain",
    "TRL as it comes",
    "grouped",
    "padding-free",
    "layers alone",
)
BEST = "TRL at its best"


def main() -> None:
    options = arguments()
    if options.engine:
        carry_out(options)
        return
    # One device, the one that was asked for, for whoever looks which there are.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if options.device == "cuda" else ""
    with tempfile.TemporaryDirectory(prefix="benchmark-sft-") as name:
        work = Path(name)
        prepare(work, options)
        table = compare(work, options)
    sys.stdout.write(table + "\n")
    if options.write:
        write(table, f"sft {options.size} {options.device}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=BATCH, default="9m")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", type=int, default=5, help="rounds, in each of which every engine runs once")
    parser.add_argument("--steps", type=int, help="steps that are timed")
    parser.add_argument("--warm-up", type=int, default=4, help="steps before them")
    parser.add_argument("--batch", type=int, help="rows per step")
    parser.add_argument(
        "--made", action="store_true", help="made rows, of the same ragged lengths, instead of real ones"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.batch = options.batch or BATCH[options.size]
    options.steps = options.steps or STEPS[options.size]
    return options


# What every engine is given.


def prepare(work: Path, options: argparse.Namespace) -> None:
    """A data file, a model with random weights and a tokenizer, and the rows as tokens in the order of the steps."""
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")
    from autotrain_llm.config import resolve
    from autotrain_llm.facts.machine import Machine
    from autotrain_llm.preflight import preflight
    from autotrain_llm.run.batches import BatchOrder
    from autotrain_llm.said import take_all

    options.precision = "bf16" if Machine().computes_bf16 else "fp32"
    rows = data_rows(options)
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_model(work / "model", [text for row in rows for text in row.values()], options.size)
    checked = preflight(resolve(take_all(native_flags(work, options, "unused")).values, {}, None))
    assert checked.plan is not None and checked.world.prepared is not None, checked.findings
    prepared = checked.world.prepared.train
    assert len(prepared) == len(rows), "a row was dropped"
    order = [number for batch in BatchOrder(len(rows), options.batch, SEED) for number in batch]
    ids, trained = zip(*(prepared[number] for number in order), strict=True)
    np.savez(
        work / "rows.npz",
        ids=np.concatenate(ids),
        trained=np.concatenate(trained),
        lengths=np.array([len(one) for one in ids]),
    )


def data_rows(options: argparse.Namespace) -> list[dict[str, str]]:
    """As many prompts and completions as all steps take, drawn from instructions, or made of words with the same lengths."""
    count = options.batch * (options.steps + options.warm_up)
    source = next((path for path in DEMO_ROWS if path.is_file()), None)
    random = np.random.default_rng(SEED)
    if source is None or options.made:
        words = [
            "".join(chr(97 + letter) for letter in random.integers(0, 26, 1 + number % 7)) for number in range(4000)
        ]
        lengths = np.clip(random.lognormal(np.log(LONGEST / 8), 0.9, count), 16, LONGEST * 2 / 3).astype(int)
        texts = [" ".join(random.choice(words, length)) for length in lengths]
        return [{"prompt": text[: len(text) // 3], "completion": text[len(text) // 3 :]} for text in texts]
    rows = [
        {"prompt": f"{row['instruction']}\n{row['input']}".strip(), "completion": row["output"]}
        for row in json.loads(source.read_text(encoding="utf-8"))
        if row["output"].strip()
    ]
    chosen = [int(number) for _ in range(-(-count // len(rows))) for number in random.permutation(len(rows))]
    return [rows[number] for number in chosen[:count]]


def write_model(folder: Path, texts: Sequence[str], size: str) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from engine import SIZES

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
    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(**SIZES[size], max_position_embeddings=4096, tie_word_embeddings=True, **tokens)
    LlamaForCausalLM(config).save_pretrained(folder)


def native_flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    """What TRL's defaults say, in this package's flags."""
    return {
        "trainer": "sft",
        "model": str(work / "model"),
        "data_path": str(work / "rows.jsonl"),
        "output_dir": str(work / output),
        "overwrite": True,
        "lr": LEARNING_RATE,
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


# One engine, in a process of its own.


class Clock:
    """When each step ended, and what the process held at most until then."""

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


def carry_out(options: argparse.Namespace) -> None:
    """Run one engine and leave what was measured in the work folder."""
    import torch

    from autotrain_llm.run.peak import measure

    device = torch.device(options.device)
    kind = {"bf16": torch.bfloat16, "fp32": torch.float32}[options.precision]
    rates = [measure(device, kind)]
    clock = Clock(options.device)
    with contextlib.redirect_stdout(sys.stderr):
        run = {NATIVE: run_native, LAYERS: run_layers}.get(options.engine, run_trl)
        result = run(options, clock)
    rates.append(measure(device, kind))
    warm = options.warm_up
    result |= {
        "seconds": clock.times[-1] - clock.times[warm - 1],
        "memory": clock.memory,
        "peak": max(rates),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads",
    }
    (options.work / "result.json").write_text(json.dumps(result))


def run_native(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    from autotrain_llm.api import train
    from autotrain_llm.watch import Watch

    class Steps(Watch):
        def step(self, step: int) -> None:
            clock.step()

    report = train(Steps(), **native_flags(options.work, options, "native"))
    return {"losses": [entry["loss"] for entry in report.history if "loss" in entry], **counted(options, None)}


def run_trl(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Steps(TrainerCallback):
        def on_step_end(self, *given: Any, **named: Any) -> None:
            clock.step()

    rows = tokenised(options.work)
    order = None
    settings: dict[str, Any] = {}
    if options.engine != AS_IT_COMES:
        settings["gradient_checkpointing"] = False
        if options.device == "cpu":
            from autotrain_llm.run.memory import keep_freed_memory

            keep_freed_memory()
    if options.engine == GROUPED:
        order = grouped([len(ids) for ids, _ in rows], options.batch)
        rows = [rows[number] for number in order]
    if options.engine == PADDING_FREE:
        settings |= {"padding_free": True, "max_length": None}
    data = Dataset.from_list([{"input_ids": ids, "labels": np.where(trained, ids, -100)} for ids, trained in rows])
    trainer = SFTTrainer(
        model=str(options.work / "model"),
        args=SFTConfig(
            output_dir=str(options.work / "trl"),
            per_device_train_batch_size=options.batch,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            use_cpu=options.device == "cpu",
            bf16=options.precision == "bf16",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=SEED,
            train_sampling_strategy="sequential",
            shuffle_dataset=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            **settings,
        ),
        train_dataset=data,
        callbacks=[Steps()],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, **counted(options, order)}


def run_layers(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Forward and backward of a regular batch: as many tokens as a step has on average, rows of one length, no head, no optimizer."""
    import torch
    from transformers import AutoModelForCausalLM

    from autotrain_llm.run.memory import keep_freed_memory

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
    """The rows in the order of the steps. The first token of a row is predicted from nothing and never a target."""
    with np.load(work / "rows.npz") as kept:
        ends = np.cumsum(kept["lengths"])
        ids, trained = kept["ids"].astype(np.int64), kept["trained"].astype(bool)
    trained[np.concatenate([[0], ends[:-1]])] = False
    return list(zip(np.split(ids, ends[:-1]), np.split(trained, ends[:-1]), strict=True))


def grouped(lengths: Sequence[int], batch: int) -> list[int]:
    """Rows of like length side by side, the batches of them shuffled."""
    by_length = np.argsort(lengths, kind="stable")
    batches = [by_length[start : start + batch] for start in range(0, len(by_length), batch)]
    return [int(row) for number in np.random.default_rng(SEED).permutation(len(batches)) for row in batches[number]]


def counted(options: argparse.Namespace, order: Sequence[int] | None) -> dict[str, Any]:
    """Real tokens, and the work they need, of the steps that are timed."""
    rows = tokenised(options.work)
    rows = rows if order is None else [rows[number] for number in order]
    timed = rows[options.warm_up * options.batch :]
    tokens = sum(len(ids) for ids, _ in timed)
    return {"tokens": tokens, "work": work_of(options, tokens, sum(int(trained.sum()) for _, trained in timed))}


def work_of(options: argparse.Namespace, tokens: int, targets: int) -> float:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from autotrain_llm.run.rates import needed_work

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(options.work / "model"))
    model.tie_weights()
    needed = needed_work(model)
    assert needed is not None
    return needed.of(tokens, targets)


# All of them, in turns.

Results = dict[str, list[dict[str, Any]]]


def compare(work: Path, options: argparse.Namespace) -> str:
    """Run everything and render the table."""
    best = fastest_of_trl(work, options)
    engines = {NATIVE: NATIVE, AS_IT_COMES: AS_IT_COMES, BEST: best, LAYERS: LAYERS}
    results: Results = {name: [] for name in engines}
    for number in range(options.pairs):
        for name, engine in engines.items():
            results[name].append(run_alone(work, options, engine))
            say(f"{number + 1}/{options.pairs} {name}: {speed(results[name][-1]):,.0f} tokens/s")
    return render(results, best, options, rows_in_words(work, options))


def fastest_of_trl(work: Path, options: argparse.Namespace) -> str:
    """Which of TRL's settings is the fastest here, from one run of each."""
    speeds = {engine: speed(run_alone(work, options, engine)) for engine in (GROUPED, PADDING_FREE)}
    for engine, found in speeds.items():
        say(f"TRL, {engine}: {found:,.0f} tokens/s")
    return max(speeds, key=lambda engine: speeds[engine])


def run_alone(work: Path, options: argparse.Namespace, engine: str) -> dict[str, Any]:
    words = [sys.executable, str(Path(__file__).resolve()), "--engine", engine, "--work", str(work)]
    words += ["--size", options.size, "--device", options.device, "--precision", options.precision]
    words += ["--batch", str(options.batch), "--steps", str(options.steps), "--warm-up", str(options.warm_up)]
    (work / "result.json").unlink(missing_ok=True)
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return json.loads((work / "result.json").read_text())


def speed(result: dict[str, Any]) -> float:
    return result["tokens"] / result["seconds"]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def rows_in_words(work: Path, options: argparse.Namespace) -> str:
    """Where the rows come from, how long they are, and what padding them costs."""
    lengths = np.array([len(ids) for ids, _ in tokenised(work)]).reshape(-1, options.batch)
    padding = 1 - lengths.sum() / (lengths.max(axis=1).sum() * options.batch)
    trained = sum(int(marks.sum()) for _, marks in tokenised(work)) / lengths.sum()
    source = (
        "Made rows" if options.made or not any(path.is_file() for path in DEMO_ROWS) else f"Rows of {DEMO_ROWS[0].name}"
    )
    return (
        f"{source}: {lengths.min()} to {lengths.max()} tokens, {lengths.sum(axis=1).mean():,.0f} a step, "
        f"{trained:.0%} of them trained on; {padding:.0%} of a padded batch is padding"
    )


def render(results: Results, best: str, options: argparse.Namespace, rows: str) -> str:
    peak = max(result["peak"] for runs in results.values() for result in runs)
    middle = {name: statistics.median(map(speed, runs)) for name, runs in results.items()}
    how = {GROUPED: "rows of like length together, no checkpointing", PADDING_FREE: "padding-free, no checkpointing"}[
        best
    ]
    lines = [
        f"`{options.size}`, {options.precision}, batches of {options.batch} rows, {options.steps} steps after {options.warm_up}, "
        f"{len(results[NATIVE])} rounds. {machine(results, options)}; matrix products {peak / 1e12:.2f} TFLOP/s. {rows}. "
        f"TRL at its best: {how}, with the memory setting that this package makes and TRL does not.",
        "",
        "| what runs | tokens/s | share of the peak | memory | speed of this package, median of the rounds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        share = statistics.median(result["work"] / result["seconds"] for result in runs) / peak
        ratios = [speed(ours) / speed(theirs) for ours, theirs in zip(results[NATIVE], runs, strict=True)]
        against = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        memory = statistics.median(result["memory"] for result in runs) / 2**30
        if name == NATIVE:
            against = "1"
        elif name == LAYERS:
            against = f"{share_ratio(results):.2f} of its share of the peak"
        lines.append(f"| {name} | {middle[name]:,.0f} | {share:.1%} | {memory:.1f} GiB | {against} |")
    return "\n".join([*lines, "", *losses(results)])


def share_ratio(results: Results) -> float:
    """The work a second of this package over that of the layers alone."""
    pairs = zip(results[NATIVE], results[LAYERS], strict=True)
    rates = [(ours["work"] / ours["seconds"]) / (theirs["work"] / theirs["seconds"]) for ours, theirs in pairs]
    return statistics.median(rates)


def losses(results: Results) -> list[str]:
    """Losses of the first round side by side, a column for each few steps, and how far the two orders that are the same differ."""
    ours, theirs = results[NATIVE][0]["losses"], results[AS_IT_COMES][0]["losses"]
    shown = sorted({round(place) for place in np.linspace(0, len(ours) - 1, 8)})
    furthest = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    return [
        "| loss at step | " + " | ".join(str(place + 1) for place in shown) + " |",
        "| --- |" + " --- |" * len(shown),
        *(
            f"| {name} | " + " | ".join(f"{values[place]:.4f}" for place in shown) + " |"
            for name, values in ((NATIVE, ours), (AS_IT_COMES, theirs))
        ),
        "",
        f"The two differ by {furthest:.1e} at most, over all {len(ours)} steps. Grouped rows come in another order: its losses are not comparable.",
    ]


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


def write(table: str, name: str) -> None:
    """Put the table between its markers in docs/benchmarks.md, at the end where they are not there yet."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Benchmarks\n"
    block = f"{begin}\n{table}\n{end}"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + block + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
