"""What one GPU does in ten minutes: this package beside TRL and others that are installed, from models with random weights; nothing is downloaded.

    python benchmarks/gpu.py                        # one CUDA device, ten minutes, build/gpu/table.md
    python benchmarks/gpu.py --tiny                  # the same rows on a processor with models of a toy's size: tries the script, measures nothing
    python benchmarks/gpu.py --only "sft 8b" --minutes 3

Each row is a process of its own with a time limit, and is written as soon as it ends, the most important first: a run that is cut off leaves a table. What is not installed or does not
fit is a row that says so. Tokens per second are real tokens, without padding, after the warm-up; MFU is 6 N tokens/s over the card's stated peak, with N the parameters without the
embedding, for adapters too, so that rows can be compared. Losses are of the first and of the last step: the engines draw the same rows in orders of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import contest
from contest import Clock

LLAMA = {"tie_word_embeddings": False, "vocab_size": 128256, "head_dim": 128}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {**LLAMA, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": contest.WORDS, "head_dim": 16},
    "0.5b": {**LLAMA, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 8,
             "num_key_value_heads": 4, "tie_word_embeddings": True},
    "3b": {**LLAMA, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
           "num_key_value_heads": 8, "tie_word_embeddings": True},
    "8b": {**LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8},
}  # fmt: skip
STEP_TOKENS = {"tiny": 512}
USUAL_STEP_TOKENS = 16384
LONGEST = {"tiny": 96}
USUAL_LONGEST = 2048
WARM_UP, STEPS = 3, 10
LARGEST = "largest"  # the largest size that the plan says fits
NATIVE, TRL, TRL_BEST, UNSLOTH, TORCHTITAN = (
    "autotrain", "TRL", "TRL, Liger, FlashAttention, packing", "unsloth", "torchtitan",
)  # fmt: skip
NEEDS = {
    TRL_BEST: ("liger_kernel", "flash_attn"),
    UNSLOTH: ("unsloth",),
    TORCHTITAN: ("torchtitan",),
}  # modules of other packages


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    size: str
    engine: str
    flags: dict[str, Any] = field(default_factory=dict)
    trainer: str = "sft"

    @property
    def name(self) -> str:
        return f"{self.what} {self.size}, {self.engine}"


LORA = {"peft": True, "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
QLORA = {**LORA, "quantization": "int4"}
PACKED = {"packing": True}


def rows_of_the_table() -> Iterator[Row]:
    """Every row, the most important first."""
    full, largest = ("sft full", "0.5b"), ("sft full", LARGEST)
    yield Row(*largest, NATIVE, PACKED)
    yield Row(*full, NATIVE, PACKED)
    yield Row("sft LoRA", "8b", NATIVE, {**PACKED, **LORA})
    yield Row(*full, TRL_BEST)
    yield Row(*full, TRL)
    yield Row("sft QLoRA", "8b", NATIVE, {**PACKED, **QLORA})
    yield Row("sft LoRA", "8b", TRL_BEST, LORA)
    yield Row("sft LoRA", "8b", UNSLOTH, LORA)
    yield Row("dpo", "0.5b", NATIVE, trainer="dpo")
    yield Row("ppo, with its sampling", "0.5b", NATIVE, trainer="ppo")
    yield Row(*largest, TRL_BEST)
    yield Row(*largest, TORCHTITAN)
    yield Row("sft QLoRA", "8b", TRL, QLORA)
    yield Row("sft LoRA", "8b", TRL, LORA)


def main() -> None:
    options = arguments()
    if options.row is not None:
        run_row(options)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    say(f"tables in {options.work / 'table.md'}")
    results: list[tuple[str, dict[str, Any]]] = []
    for number, row in enumerate(rows_of_the_table()):
        if options.only and options.only not in row.name:
            continue
        left = end - time.monotonic()
        missing = [module for module in NEEDS.get(row.engine, ()) if find_spec(module) is None]
        if missing:
            result = {"why": f"not installed: {', '.join(missing)}"}
        elif left < options.least_seconds:
            result = {"why": "no time left"}
        else:
            say(f"{row.name} …")
            result = in_a_process(options, number, min(left, options.row_seconds))
        results.append((row.name, result))
        (options.work / "table.md").write_text(table(results, options), encoding="utf-8")
        (options.work / "results.json").write_text(json.dumps(dict(results), indent=1), encoding="utf-8")
        say(f"    {in_words(result)}")
    sys.stdout.write((options.work / "table.md").read_text(encoding="utf-8"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy models on a processor, to try the script")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--row-seconds", type=float, default=150.0, help="the most that one row may take")
    parser.add_argument("--least-seconds", type=float, default=25.0, help="no row is started with less time left")
    parser.add_argument("--only", default="", help="only rows whose name has this in it")
    parser.add_argument("--work", type=Path, default=Path("build/gpu"))
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work = options.work.absolute()
    options.device = "cpu" if options.tiny else "cuda"
    return options


def in_a_process(options: argparse.Namespace, number: int, seconds: float) -> dict[str, Any]:
    """The result of a row, or why there is none."""
    path = options.work / "result.json"
    path.unlink(missing_ok=True)
    words = [sys.executable, __file__, "--row", str(number), "--work", str(options.work)]
    words += ["--tiny"] if options.tiny else []
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"why": f"took more than {seconds:.0f} s"}
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    lines = [line for line in errors.strip().splitlines() if line.strip()]
    return {"why": f"failed: {lines[-1][:200] if lines else process.returncode}"}


# One row, in a process of its own.


def run_row(options: argparse.Namespace) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if options.tiny:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    row = list(rows_of_the_table())[options.row]
    run = {NATIVE: run_native, TRL: run_trl, TRL_BEST: run_trl, UNSLOTH: run_unsloth, TORCHTITAN: run_torchtitan}
    run_one: Callable[..., dict[str, Any]] = run[row.engine]
    for size in sizes_of(row, options):
        clock = Clock(options.device)
        folder = write_inputs(row, size, options)
        if row.engine == NATIVE and row.size == LARGEST and not fits(row, size, folder, options):
            continue
        result = run_one(row, size, folder, options, clock)
        result |= {"size": size, "memory": clock.memory, "parameters": parameters_of(size)}
        result |= {"peak": peak_of(options), "seconds": clock.times[-1] - clock.times[WARM_UP - 1]}
        (options.work / "result.json").write_text(json.dumps(result), encoding="utf-8")
        if row.size == LARGEST and row.engine == NATIVE:
            (options.work / "largest").write_text(size, encoding="utf-8")
        return
    raise SystemExit("no size fits")


def sizes_of(row: Row, options: argparse.Namespace) -> list[str]:
    """The sizes to try; other engines train the largest that this package has trained."""
    if options.tiny:
        return ["tiny"]
    if row.size != LARGEST:
        return [row.size]
    decided = options.work / "largest"
    return [decided.read_text()] if row.engine != NATIVE and decided.exists() else ["8b", "3b", "0.5b"]


def parameters_of(size: str) -> int:
    """Parameters of the layers and the head."""
    shape = SIZES[size]
    hidden, head, inner = shape["hidden_size"], shape["head_dim"], shape["intermediate_size"]
    attention = 2 * hidden * head * (shape["num_attention_heads"] + shape["num_key_value_heads"])
    return shape["num_hidden_layers"] * (attention + 3 * hidden * inner) + shape["vocab_size"] * hidden


def peak_of(options: argparse.Namespace) -> float:
    import torch

    from autotrain_llm.run.engine.peak_flops import matmul_peak

    return matmul_peak(torch.device(options.device), torch.float32 if options.tiny else torch.bfloat16).rate


def write_inputs(row: Row, size: str, options: argparse.Namespace) -> Path:
    """The model of this size, its tokenizer and the rows of a trainer in a folder; what another row has written is used again."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = options.work / size
    longest = LONGEST.get(size, USUAL_LONGEST)
    rows = folder / f"{row.trainer}.jsonl"
    if not rows.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows.write_text("".join(json.dumps(line) + "\n" for line in made_rows(row.trainer, longest, size)), "utf-8")
    if not (folder / "model" / "config.json").exists():
        texts = [
            line for _, line in zip(range(400), contest.made_texts(np.random.default_rng(1), [60] * 400), strict=False)
        ]
        tokenizer = contest.tokenizer_of(texts)
        tokenizer.save_pretrained(folder / "model")
        tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
        config = LlamaConfig(**SIZES[size], max_position_embeddings=8192, **tokens)
        torch.manual_seed(contest.SEED)
        with torch.device(options.device):
            model: Any = LlamaForCausalLM(config)
            model = model.to(torch.bfloat16 if options.device == "cuda" else torch.float32)
        model.save_pretrained(folder / "model")
        del model
        if options.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return folder


def made_rows(trainer: str, longest: int, size: str) -> Iterator[dict[str, str]]:
    """Prompts with answers of an eighth to a half of the longest row's tokens in words, enough for all steps."""
    random = np.random.default_rng(contest.SEED)
    count = 4 * (WARM_UP + STEPS) * STEP_TOKENS.get(size, USUAL_STEP_TOKENS) // longest
    lengths = random.integers(longest // 8, longest // 2, count)
    answers = list(contest.made_texts(random, [int(length) for length in lengths]))
    others = list(contest.made_texts(random, [int(length) for length in lengths]))
    for answer, other in zip(answers, others, strict=True):
        prompt = " ".join(answer.split()[:8])
        if trainer == "dpo":
            yield {"prompt": prompt, "chosen": f" {answer}", "rejected": f" {other}"}
        elif trainer == "ppo":
            yield {"prompt": prompt}
        else:
            yield {"prompt": prompt, "completion": f" {answer}"}


def native_flags(row: Row, size: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    longest, tokens = LONGEST.get(size, USUAL_LONGEST), STEP_TOKENS.get(size, USUAL_STEP_TOKENS)
    flags = {
        "trainer": row.trainer, "model": str(folder / "model"), "data_path": str(folder / f"{row.trainer}.jsonl"),
        "output_dir": str(options.work / "run"), "overwrite": True, "max_steps": WARM_UP + STEPS, "logging_steps": 1,
        "lr": 1e-4 if row.flags.get("peft") else 1e-5, "warmup_ratio": 0.0, "save_strategy": "no",
        "mixed_precision": "fp32" if options.tiny else "bf16", "block_size": longest,
        # In packs a row is as long as can be; without, half of it.
        "batch_size": max(1, tokens // longest * (1 if row.flags.get("packing") else 2)),
        "cache_dir": str(options.work / "cache"), **row.flags,
    }  # fmt: skip
    if row.trainer == "dpo":
        flags |= {"lr": 5e-7, "batch_size": max(1, tokens // longest), "prompt_text_column": "prompt"}
        flags |= {"text_column": "chosen", "rejected_text_column": "rejected"}
    if row.trainer == "ppo":
        reward = options.work / "reward.py"
        reward.write_text(
            "def score(completions, **columns):\n    return [float(len(text) % 7) for text in completions]\n"
        )
        new, answers = (8, 8) if options.tiny else (256, 256)
        flags |= {"rl_reward_fn": f"{reward}:score", "rl_max_new_tokens": new, "rl_chunk_size": answers, "max_steps": 6}
        flags |= {"rl_mini_batch_size": answers // 2, "batch_size": answers // 4, "rl_num_ppo_epochs": 1, "lr": 1e-6}
    return flags


def fits(row: Row, size: str, folder: Path, options: argparse.Namespace) -> bool:
    """Whether the plan says that this size fits into the device."""
    from autotrain_llm.api import plan

    estimate = plan(**native_flags(row, size, folder, options)).memory
    return estimate.peak_memory_bytes <= 0.97 * estimate.device.memory_bytes


def run_native(row: Row, size: str, folder: Path, options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    global WARM_UP
    flags = native_flags(row, size, folder, options)
    history = contest.history_of_native(clock, flags)
    WARM_UP = min(WARM_UP, len(clock.times) - 1)
    spans = [0.0, *np.diff(clock.times)]
    tokens = [entry["tokens_per_second"] * span for entry, span in zip(history, spans, strict=False)]
    return {"tokens": sum(tokens[WARM_UP:]), "losses": [history[0]["loss"], history[-1]["loss"]]}


def run_trl(row: Row, size: str, folder: Path, options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    longest, tokens = LONGEST.get(size, USUAL_LONGEST), STEP_TOKENS.get(size, USUAL_STEP_TOKENS)
    best = row.engine == TRL_BEST
    adapter = bool(row.flags.get("peft"))
    loading: dict[str, Any] = {"dtype": torch.float32 if options.tiny or not adapter else torch.bfloat16}
    if best:
        loading["attn_implementation"] = "flash_attention_2"
    if row.flags.get("quantization"):
        loading["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )  # fmt: skip
    arguments = SFTConfig(
        output_dir=str(options.work / "trl"), max_steps=WARM_UP + STEPS, logging_steps=1, report_to="none", disable_tqdm=True,
        save_strategy="no", learning_rate=1e-4 if adapter else 1e-5, warmup_steps=0, seed=contest.SEED, max_length=longest,
        per_device_train_batch_size=max(1, tokens // longest * (1 if best else 2)), bf16=not options.tiny,
        use_cpu=options.tiny, packing=best, use_liger_kernel=best,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model", **loading),
        args=arguments,
        train_dataset=load_dataset(
            "json", data_files=str(folder / "sft.jsonl"), split="train", cache_dir=str(options.work / "cache")
        ),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        peft_config=lora_of(row) if adapter else None,
    )
    return counted_by_trl(contest.history_of_trl(clock, trainer))


def lora_of(row: Row) -> Any:
    from peft import LoraConfig

    flags = row.flags
    names = {"r": flags["lora_r"], "lora_alpha": flags["lora_alpha"], "lora_dropout": flags["lora_dropout"]}
    return LoraConfig(**names, target_modules="all-linear", task_type="CAUSAL_LM")


def counted_by_trl(history: list[dict[str, float]]) -> dict[str, Any]:
    """TRL logs the real tokens so far."""
    tokens = history[-1]["num_tokens"] - history[WARM_UP - 1]["num_tokens"]
    return {"tokens": tokens, "losses": [history[0]["loss"], history[-1]["loss"]]}


def run_unsloth(row: Row, size: str, folder: Path, options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Its own model class with TRL's trainer, as its notebooks have it. Never run by those who wrote this: it was not installed."""
    from unsloth import FastLanguageModel  # isort: skip  # before trl, which it patches
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    longest, tokens = LONGEST.get(size, USUAL_LONGEST), STEP_TOKENS.get(size, USUAL_STEP_TOKENS)
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(folder / "model"), max_seq_length=longest, load_in_4bit=bool(row.flags.get("quantization"))
    )
    settings = {"r": row.flags["lora_r"], "lora_alpha": row.flags["lora_alpha"], "lora_dropout": 0}
    model = FastLanguageModel.get_peft_model(model, **settings, use_gradient_checkpointing="unsloth")
    arguments = SFTConfig(
        output_dir=str(options.work / "unsloth"), max_steps=WARM_UP + STEPS, logging_steps=1, report_to="none",
        save_strategy="no", learning_rate=1e-4, warmup_steps=0, seed=contest.SEED, max_length=longest, packing=True,
        per_device_train_batch_size=max(1, tokens // longest), bf16=True,
    )  # fmt: skip
    rows = load_dataset(
        "json", data_files=str(folder / "sft.jsonl"), split="train", cache_dir=str(options.work / "cache")
    )
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    return counted_by_trl(contest.history_of_trl(clock, trainer))


def run_torchtitan(row: Row, size: str, folder: Path, options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    raise SystemExit("torchtitan trains from a configuration of its own, which has not been written for these rows")


# The table.


def in_words(result: dict[str, Any]) -> str:
    if "why" in result:
        return result["why"]
    speed = result["tokens"] / result["seconds"]
    return f"{speed:,.0f} tokens/s, {mfu(result):.1%} MFU, {result['memory'] / 2**30:.1f} GiB"


def mfu(result: dict[str, Any]) -> float:
    return 6 * result["parameters"] * result["tokens"] / result["seconds"] / result["peak"]


def table(results: list[tuple[str, dict[str, Any]]], options: argparse.Namespace) -> str:
    lines = [
        "Toy models on a processor: the script was tried, and nothing was measured.\n" if options.tiny else "",
        "| what | tokens/s | MFU | memory | loss, first and last step |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, result in results:
        if "why" in result:
            lines.append(f"| {name} | {result['why']} | | | |")
            continue
        named = name.replace(LARGEST, result["size"])
        first, last = result["losses"]
        cells = [
            f"{result['tokens'] / result['seconds']:,.0f}",
            f"{mfu(result):.1%}",
            f"{result['memory'] / 2**30:.1f} GiB",
        ]
        lines.append(f"| {named} | {' | '.join(cells)} | {first:.4f}, {last:.4f} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
