"""The speed of the flat batch layout: one model and the same rows, padded with stock transformers against flat, without the training loop.

    python benchmarks/engine.py                        # 9M parameters on the processor
    python benchmarks/engine.py --size 135m --batch 4
    python benchmarks/engine.py --size 1b --device cuda --longest 2048
    python benchmarks/engine.py --profile

A step is forward, backward and fused AdamW in bf16 autocast, on rows of very unequal length, two thirds of whose tokens are in the loss. Padded and
flat runs alternate; medians and their ratio are printed. The share of the peak is the needed work, 6 operations per parameter and real token (the
head's only for tokens in the loss), over the highest rate of matrix products measured in this run.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.engine.flat import attention
from autotrain_llm.run.engine.flat.batch import Row, flatten
from autotrain_llm.run.engine.flat.model import prepare_model

SIZES: dict[str, dict[str, Any]] = {
    "1m": {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
           "num_key_value_heads": 2, "vocab_size": 8192},
    "9m": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8, "num_attention_heads": 8,
           "num_key_value_heads": 4, "vocab_size": 8192},
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "vocab_size": 49152},
    "15m": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8, "num_attention_heads": 8,
            "num_key_value_heads": 4, "vocab_size": 32768},
    "42m": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8,
            "num_key_value_heads": 4, "vocab_size": 32768},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936},
    "0.5b": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16,
             "num_key_value_heads": 8, "vocab_size": 151936},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 128256},
}  # fmt: skip
TRAINED_SHARE = 2 / 3


def main() -> None:
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES[options.size], max_position_embeddings=4096, tie_word_embeddings=True)
    stock = LlamaForCausalLM(config).to(options.device).train()
    flat = prepare_model(copy.deepcopy(stock))
    batches = [rows(seed, options.batch, options.longest, config.vocab_size) for seed in range(options.batches)]
    contenders = {
        "padded, stock": stepper(stock, padded, options.device),
        "flat": stepper(flat, flattened, options.device),
    }
    if options.profile:
        profile(contenders["flat"], batches, options.device)
        return
    report(contenders, batches, config, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=SIZES, default="9m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="rows per step")
    parser.add_argument("--batches", type=int, default=4, help="steps per run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, alternating")
    parser.add_argument("--longest", type=int, default=1024, help="longest row in tokens")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--profile", action="store_true", help="print a profile of a flat step instead")
    return parser.parse_args()


def rows(seed: int, count: int, longest: int, vocab_size: int) -> list[Row]:
    """Rows of lengths spread over two orders of magnitude; the first third of a row is not in the loss."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(np.log(longest / 7), 0.9, count).astype(int), 16, longest)
    return [
        (random.integers(0, vocab_size, length).astype(np.int32), np.arange(length) >= length * (1 - TRAINED_SHARE))
        for length in lengths
    ]


def padded(batch: list[Row]) -> dict[str, Any]:
    width = max(len(ids) for ids, _ in batch)
    tokens = torch.zeros(len(batch), width, dtype=torch.long)
    mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, -100)
    for index, (ids, trained) in enumerate(batch):
        length = len(ids)
        tokens[index, :length] = torch.from_numpy(np.asarray(ids, dtype=np.int64))
        mask[index, :length] = 1
        labels[index, :length] = tokens[index, :length].where(torch.from_numpy(np.asarray(trained)), -100)
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels, "use_cache": False}


def flattened(batch: list[Row]) -> dict[str, Any]:
    return flatten(batch)


def targets(batch: list[Row]) -> int:
    return sum(int(np.sum(trained[1:])) for _, trained in batch)


Step = Callable[[list[Row]], float]


def stepper(model: torch.nn.Module, collate: Callable[[list[Row]], dict[str, Any]], device: str) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(batch: list[Row]) -> float:
        """One optimizer step; returns the mean loss."""
        inputs = {name: one.to(device) if torch.is_tensor(one) else one for name, one in collate(batch).items()}
        with torch.autocast(device, torch.bfloat16):
            loss = model(**inputs).loss
        loss = loss if "labels" in inputs else loss / targets(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def timed(step: Step, batches: list[list[Row]], device: str) -> tuple[float, list[float]]:
    """Seconds for all batches, and their losses."""
    synchronise(device)
    start = time.perf_counter()
    losses = [step(batch) for batch in batches]
    synchronise(device)
    return time.perf_counter() - start, losses


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak(device: str) -> float:
    """The highest rate of bf16 matrix products, in operations per second."""
    size = 8192 if device == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    best = 0.0
    for _ in range(6):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(4):
            left @ right
        synchronise(device)
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - start))
    return best


def report(
    contenders: dict[str, Step], batches: list[list[Row]], config: LlamaConfig, options: argparse.Namespace
) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    first: dict[str, list[float]] = {}
    best = peak(options.device)
    for run in range(-1, options.runs):  # run -1 is the warm-up, whose losses are comparable
        for name, step in contenders.items():
            took, losses = timed(step, batches, options.device)
            first.setdefault(name, losses)
            if run >= 0:
                seconds[name].append(took)
        best = max(best, peak(options.device))
    tokens = sum(len(ids) for batch in batches for ids, _ in batch)
    cells = sum(len(batch) * max(len(ids) for ids, _ in batch) for batch in batches)
    work = flops_of(batches, config, tokens)
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    kind = attention.backend(options.device, torch.bfloat16)
    print(f"{options.size} on {name}, torch {torch.__version__}; flat attention: {kind}")
    print(f"{tokens // len(batches)} real tokens a step, {1 - tokens / cells:.0%} of the padded batch is padding")
    print(f"matrix products: {best / 1e12:.2f} TFLOP/s")
    for contender, times in seconds.items():
        middle = statistics.median(times)
        share = work / middle / best
        print(
            f"{contender:>14}: {tokens / middle:9.0f} tokens/s, {share:.0%} of that in needed operations; losses",
            end=" ",
        )
        print(" ".join(f"{loss:.4f}" for loss in first[contender]))
    pairs = [slow / fast for slow, fast in zip(*seconds.values(), strict=True)]
    print(f"ratio of medians over pairs: {statistics.median(pairs):.2f} (from {min(pairs):.2f} to {max(pairs):.2f})")


def flops_of(batches: list[list[Row]], config: LlamaConfig, tokens: int) -> float:
    with torch.device("meta"):
        parameters = sum(one.numel() for one in LlamaForCausalLM(config).parameters())
    head = config.vocab_size * config.hidden_size
    trained = sum(targets(batch) for batch in batches)
    return 6.0 * ((parameters - head) * tokens + head * trained)


def profile(step: Step, batches: list[list[Row]], device: str) -> None:
    for batch in batches:
        step(batch)
    with torch.profiler.profile() as recorded:
        for batch in batches:
            step(batch)
        synchronise(device)
    by = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    print(recorded.key_averages().table(sort_by=by, row_limit=30, max_name_column_width=60))


if __name__ == "__main__":
    main()
