"""Tokens per second of a whole preflight, against the tokenizer alone: one `encode_batch` call on the texts of all rows.

A preflight reads, detects and converts the rows, compares them with each other, renders and tokenises them, computes loss masks and makes the plan;
nothing comes from a cache. The rows are copies of a conversation data set with their sentences in another order in each copy, once as
conversations, which a chat template renders, and once as plain texts. Runs alternate, so that a busy machine slows both alike.

    python benchmarks/preflight.py --rows-from alpaca.json [--rows 1000 50000] [--rounds 3] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import page

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZE = "scratch:1m"
KINDS = ("conversations", "texts")


def write_rows(source: Path, target: Path, count: int, kind: str) -> list[str]:
    """Write `count` different rows; returns the text of each that is tokenised."""
    chance = random.Random(0)
    rows = [row for row in json.loads(source.read_text(encoding="utf-8")) if row["output"].strip()]
    texts = []
    with target.open("w", encoding="utf-8") as file:
        for index in range(count):
            row = rows[index % len(rows)]
            answer = row["output"].split(". ")
            if index >= len(rows):
                chance.shuffle(answer)
            question = "\n".join(part for part in (row["instruction"], row.get("input", "")) if part)
            turns = [
                {"role": "user", "content": question if index < len(rows) else f"{question} ({index})"},
                {"role": "assistant", "content": ". ".join(answer)},
            ]
            if kind == "conversations":
                texts.append("".join(f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in turns))
                written: dict[str, Any] = {"messages": turns}
            else:
                texts.append("\n\n".join(turn["content"] for turn in turns))
                written = {"text": texts[-1]}
            file.write(json.dumps(written, ensure_ascii=False) + "\n")
    return texts


def make_tokenizer(folder: Path, data: Path) -> Path:
    """A byte-level tokenizer trained on the rows, with a template without generation markers, like most."""
    from autotrain_llm.data.dataset import texts
    from autotrain_llm.data.load.open import open_data
    from autotrain_llm.data.request import DataRequest
    from autotrain_llm.models.scratch import train_tokenizer

    target = folder / "tokenizer"
    target.mkdir()
    train_tokenizer(texts(open_data(DataRequest(path=str(data)))), target)
    (target / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return target


def checked(data: Path, tokenizer: Path) -> Any:
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.resolved import resolve

    values: dict[str, Any] = {"trainer": "sft", "model": SIZE, "tokenizer": str(tokenizer), "data_path": str(data)}
    values |= {"lr": 1e-4, "epochs": 1, "batch_size": 4, "max_seq_length": 4096, "dry_run": True}
    result = preflight(resolve(values, {}, None))
    assert not result.refused and result.context.prepared is not None, result.findings
    return result.context.prepared.train


def encoded(backend: Any, texts: list[str]) -> int:
    return sum(len(encoding.ids) for encoding in backend.encode_batch(texts, add_special_tokens=False))


def timed(run: Any) -> tuple[Any, float, float]:
    """The result of a function, its seconds, and the processor time of all threads."""
    begin, busy = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - begin, time.process_time() - busy


def line(source: Path, count: int, rounds: int, kind: str) -> str:
    """A line of the table."""
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "rows.jsonl"
        texts = write_rows(source, data, count, kind)
        tokenizer = make_tokenizer(folder, data)
        backend = Tokenizer.load(tokenizer).backend
        preflight_seconds, alone, work = [], [], []
        for _ in range(rounds):
            tokens, seconds, busy_alone = timed(lambda: encoded(backend, texts))
            alone.append(seconds)
            prepared, seconds, busy = timed(lambda: checked(data, tokenizer))
            preflight_seconds.append(seconds)
            work.append(busy / busy_alone)
            assert abs(len(prepared.ids) - tokens) <= 2 * count, "the two made different tokens"
            del prepared
    ratio = statistics.median(one / other for one, other in zip(preflight_seconds, alone, strict=True))
    least = f"{min(preflight_seconds):.2f} s" if count < 10_000 else f"{min(preflight_seconds):.1f} s"
    return f"| {count:,} {kind} | {tokens:,} | {tokens / min(preflight_seconds):,.0f} | {tokens / min(alone):,.0f} | {ratio:.2f} | {statistics.median(work):.2f} | {least} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows-from", type=Path, required=True, help="rows with instruction, input and output, as JSON"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 50_000], help="numbers of rows to make of them")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {page.PAGE.name}")
    options = parser.parse_args()
    lines = [
        f"`python benchmarks/preflight.py`: {os.cpu_count()} cores ({platform.machine()}), rows made from {options.rows_from.name}; "
        f"speeds of the fastest, and medians of the ratios, of {options.rounds} interleaved runs.",
        "",
        "| rows | tokens | preflight, tokens/s | `encode_batch` alone, tokens/s | ratio of time | ratio of processor time | preflight |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(line(options.rows_from, count, options.rounds, kind) for kind in KINDS for count in options.rows),
    ]
    print("\n".join(lines))
    if options.write:
        page.write("preflight", "\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
