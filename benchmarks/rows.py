"""Rows per second from a file to tokens: this package's data preparation against `datasets.map` with the same tokenizer.

This package reads, detects the format, renders, tokenises, computes loss masks and writes its cache; "from the cache" is the second run on the same
file. The others load the file and map the tokenizer over it, one row or a thousand rows per call, in one process as by default, without masks.
Runs alternate, so that a busy machine slows all alike, and all give the same tokens, which is checked.

    python benchmarks/rows.py [--rows 10000] [--rounds 5] [--write]
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import page

for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
    os.environ[name] = "1"

LONGEST = 4096
BATCH = 1000
WORDS = 8000
PLAIN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sentences(chance: random.Random, words: list[str], count: int) -> str:
    return " ".join(chance.choices(words, k=count))


def write_rows(folder: Path, rows: int) -> dict[str, Path]:
    """Write `rows` conversations and `rows` texts of very unequal lengths, with word frequencies as in a language."""
    chance = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(WORDS)]
    common = [words[min(int(chance.paretovariate(0.7)), WORDS - 1)] for _ in range(20 * WORDS)]
    conversations, texts = folder / "conversations.jsonl", folder / "texts.jsonl"
    with conversations.open("w") as chats, texts.open("w") as plain:
        for _ in range(rows):
            turns = [
                {"role": role, "content": sentences(chance, common, int(chance.lognormvariate(mean, 0.8)) + 2)}
                for _ in range(chance.choice([1, 1, 1, 2, 4]))
                for role, mean in (("user", 2.5), ("assistant", 4.0))
            ]
            chats.write(json.dumps({"messages": turns}) + "\n")
            plain.write(json.dumps({"text": " ".join(turn["content"] for turn in turns)}) + "\n")
    return {"conversations": conversations, "texts": texts}


def make_tokenizer(folder: Path, data: Path) -> Path:
    """A byte-level tokenizer trained on the rows, with a template without generation markers, like most."""
    from autotrain_llm.data.dataset import texts
    from autotrain_llm.data.load.open import open_data
    from autotrain_llm.data.request import DataRequest
    from autotrain_llm.models.scratch import train_tokenizer

    target = folder / "tokenizer"
    target.mkdir()
    train_tokenizer(texts(open_data(DataRequest(path=str(data), rows="conversations"))), target)
    (target / "chat_template.jinja").write_text(PLAIN_TEMPLATE)
    return target


def ours(data: Path, tokenizer: Path, cache: Path, expect_cache: bool) -> Any:
    from autotrain_llm.data.load.open import open_data
    from autotrain_llm.data.request import DataRequest
    from autotrain_llm.data.tokenize.prepare import prepare
    from autotrain_llm.data.tokenize.settings import Preparation
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

    dataset = open_data(DataRequest(path=str(data), rows="conversations"))
    prepared = prepare(dataset, Tokenizer.load(tokenizer), Preparation(max_length=LONGEST, add_eos=False), cache)
    assert prepared.from_cache is expect_cache
    return prepared.train


def mapped(data: Path, tokenizer: Any, cache: Path, batched: bool) -> Any:
    import datasets

    def one(row: dict[str, Any]) -> dict[str, Any]:
        if "text" in row:
            return {"input_ids": tokenizer(row["text"], add_special_tokens=False)["input_ids"]}
        return {"input_ids": tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]}

    def several(rows: dict[str, Any]) -> dict[str, Any]:
        if "text" in rows:
            return {"input_ids": tokenizer(rows["text"], add_special_tokens=False)["input_ids"]}
        return {"input_ids": tokenizer.apply_chat_template(rows["messages"], return_dict=True)["input_ids"]}

    loaded = datasets.load_dataset("json", data_files=str(data), split="train", cache_dir=str(cache))
    return loaded.map(
        several if batched else one, batched=batched, batch_size=BATCH, remove_columns=loaded.column_names
    )


def same_tokens(prepared: Any, reference: Any) -> None:
    """Assert that the first rows have the same tokens, and all rows the same number of tokens."""
    for index in range(min(100, len(prepared))):
        assert prepared[index][0].tolist() == reference[index]["input_ids"], f"row {index} differs"
    lengths = [len(ids) for ids in reference["input_ids"]]
    assert lengths == prepared.lengths.tolist(), "rows differ in length"


def contenders(data: Path, tokenizer: Path, loaded: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    """The timed functions by name. Each call has a new cache folder, except for the one that reads the cache."""

    def fresh() -> Path:
        return Path(tempfile.mkdtemp(dir=folder))

    filled = fresh()
    ours(data, tokenizer, filled, expect_cache=False)
    return {
        "datasets.map, one row per call": lambda: mapped(data, loaded, fresh(), batched=False),
        "datasets.map, batched": lambda: mapped(data, loaded, fresh(), batched=True),
        "this package, cold": lambda: ours(data, tokenizer, fresh(), expect_cache=False),
        "this package, from the cache": lambda: ours(data, tokenizer, filled, expect_cache=True),
    }


def medians(timed: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def table(rows: int, rounds: int) -> list[str]:
    """The result as lines of a Markdown table."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_caching()
    lines = [
        f"`python benchmarks/rows.py`: {rows} rows, {os.cpu_count()} cores ({platform.machine()}), datasets {datasets.__version__}; "
        f"rows per second, medians of {rounds} interleaved runs.",
        "",
        "| rows of | engine | rows/s | speedup over one row per call |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_rows(folder, rows)
        tokenizer = make_tokenizer(folder, files["conversations"])
        loaded = AutoTokenizer.from_pretrained(str(tokenizer))
        for kind, data in files.items():
            timed = contenders(data, tokenizer, loaded, folder)
            same_tokens(timed["this package, cold"](), timed["datasets.map, batched"]())
            result = medians(timed, rounds)
            slowest = result["datasets.map, one row per call"]
            lines += [
                f"| {kind} | {name} | {rows / seconds:.0f} | {slowest / seconds:.1f} |"
                for name, seconds in result.items()
            ]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows in each file (default: 10000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {page.PAGE.name}")
    options = parser.parse_args()
    lines = table(options.rows, options.rounds)
    print("\n".join(lines))
    if options.write:
        page.write("rows", "\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
