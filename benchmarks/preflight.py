"""Tokens per second of a whole preflight, beside the tokenizer alone: `encode_batch` of the same tokenizer on all rows' texts, in one call.

A preflight reads, recognises and converts the rows, compares them with each other, renders and tokenises them, finds what is trained on and
plans the run; nothing is taken from a cache. The rows are those of a conversation data set, their sentences in another order in each copy,
as conversations, which a chat template renders, and as plain texts.
Both are run in turn, so that a busy machine slows both alike. Run it with the Python that has the package:
`python benchmarks/preflight.py --rows-from alpaca.json [--rows 1000 50000] [--rounds 3] [--write]`.
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
    """So many rows that all differ, and the text that is tokenised of each."""
    chance = random.Random(0)
    rows = [row for row in json.loads(source.read_text(encoding="utf-8")) if row["output"].strip()]
    texts = []
    with target.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = rows[number % len(rows)]
            answer = row["output"].split(". ")
            if number >= len(rows):
                chance.shuffle(answer)
            asked = "\n".join(part for part in (row["instruction"], row.get("input", "")) if part)
            turns = [
                {"role": "user", "content": asked if number < len(rows) else f"{asked} ({number})"},
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
    """A byte-level tokenizer trained on the rows, with a template that doesn't mark what is generated, as most don't."""
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

    values = {"trainer": "sft", "model": SIZE, "tokenizer": str(tokenizer), "data_path": str(data)}
    values |= {"lr": 1e-4, "epochs": 1, "batch_size": 4, "max_seq_length": 4096, "dry_run": True}
    result = preflight(resolve(values, {}, None))
    assert not result.refused and result.context.prepared is not None, result.findings
    return result.context.prepared.train


def encoded(backend: Any, texts: list[str]) -> int:
    return sum(len(encoding.ids) for encoding in backend.encode_batch(texts, add_special_tokens=False))


def timed(run: Any) -> tuple[Any, float, float]:
    """What it gives, how long it took, and the processor time of all threads together."""
    begin, busy = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - begin, time.process_time() - busy


def line(source: Path, count: int, rounds: int, kind: str) -> str:
    """A line of the table."""
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = folder / "rows.jsonl"
        texts = write_rows(source, data, count, kind)
        tokenizer = make_tokenizer(folder, data)
        backend = Tokenizer.load(tokenizer).backend
        whole, alone, work = [], [], []
        for _ in range(rounds):
            tokens, seconds, busy_alone = timed(lambda: encoded(backend, texts))
            alone.append(seconds)
            prepared, seconds, busy = timed(lambda: checked(data, tokenizer))
            whole.append(seconds)
            work.append(busy / busy_alone)
            assert abs(len(prepared.ids) - tokens) <= 2 * count, "the two did not tokenise the same"
            del prepared
    ratio = statistics.median(one / other for one, other in zip(whole, alone, strict=True))
    least = f"{min(whole):.2f} s" if count < 10_000 else f"{min(whole):.1f} s"
    return f"| {count:,} {kind} | {tokens:,} | {tokens / min(whole):,.0f} | {tokens / min(alone):,.0f} | {ratio:.2f} | {statistics.median(work):.2f} | {least} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows-from", type=Path, required=True, help="rows with instruction, input and output, as JSON"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 50_000], help="how many to make of them")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run (default: 3)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {page.PAGE.name}")
    said = parser.parse_args()
    lines = [
        f"`python benchmarks/preflight.py`: {os.cpu_count()} cores ({platform.machine()}), rows made from {said.rows_from.name}; "
        f"speeds of the quickest, and the median of the ratios, of {said.rounds} interleaved runs.",
        "",
        "| rows | tokens | preflight, tokens/s | `encode_batch` alone, tokens/s | times as long | times the work | preflight |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(line(said.rows_from, count, said.rounds, kind) for kind in KINDS for count in said.rows),
    ]
    print("\n".join(lines))
    if said.write:
        page.write("preflight", "\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
