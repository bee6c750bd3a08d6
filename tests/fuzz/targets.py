"""What is attacked. Each target makes one case from a random generator: the words of a command, with the files that it needs in a folder."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotrain_llm.config.registry import PARAMS, TRAINERS
from fuzz.mutate import NASTY_TEXTS, json_bytes, mutated_bytes, mutated_json
from support.light_models import build_light_model
from support.rows import questions

SHOWN = ("--dry-run", "--format", "json")
RUN = ("--lr", "1e-4", "--epochs", "1", "--batch-size", "2")
Case = list[str]

ROWS: dict[str, list[dict[str, Any]]] = {
    "chat": questions(4),
    "texts": [{"text": "One line of text."}, {"text": "Another one, a little longer."}],
    "pairs": [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": "Who?", "chosen": "Me", "rejected": "Not you"},
    ],
    "tools": [
        {
            "messages": [
                {"role": "user", "content": "What time is it?"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "clock", "arguments": {"zone": "UTC"}}}]},
                {"role": "tool", "content": "12:00"},
                {"role": "assistant", "content": "Noon."},
            ],
            "tools": [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}],
        }
    ]
    * 2,
    "tokens": [{"input_ids": [3, 4, 5], "labels": [-100, 4, 5]}, {"input_ids": [6, 7], "labels": [6, 7]}],
}
CONFIG = {
    "trainer": "sft",
    "lr": 1e-4,
    "epochs": 1,
    "batch_size": 2,
    "peft": True,
    "lora_r": 8,
    "log": ["tensorboard"],
    "token": "${HF_TOKEN}",
}
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


class Seeds:
    """What is mutated: made once, never changed."""

    def __init__(self, folder: Path) -> None:
        self.model = build_light_model(folder / "model")

    def base(self, *more: str) -> Case:
        return ["llm", "--model", str(self.model), *RUN, *more, *SHOWN]


NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "nan",
    "inf",
    "1e400",
    "0.5",
    "1e-9",
    "9999999999",
    "99999999999999999999",
    "1e3",
    " 2",
    "٣",
    "0x10",
    "1_000",
    "",
)


def command_lines(seeds: Seeds, numbers: random.Random, folder: Path) -> Case:
    """A run that is in order but for some flags with any values, and now and then a word that is missing or doubled."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS["chat"] * 3))
    words = [
        "--model",
        str(seeds.model),
        "--data-path",
        "rows.jsonl",
        *RUN,
        "--trainer",
        numbers.choice(list(TRAINERS)),
    ]
    if numbers.random() < 0.5:
        words += ["--valid-split", "0.2", "--eval-strategy", numbers.choice(("steps", "epoch"))]
    for name in numbers.sample(sorted(PARAMS), numbers.randint(1, 4)):
        param = PARAMS[name]
        if param.command and name not in ("check_rows", "strict"):
            continue
        usual = param.choices or (NUMBERS if param.kind in ("int", "float") else NASTY_TEXTS)
        words += [
            param.flag,
            *(() if param.kind == "switch" else (numbers.choice(usual if numbers.random() < 0.8 else NASTY_TEXTS),)),
        ]
    change = numbers.random()
    if change < 0.2:
        words.pop(numbers.randrange(len(words)))
    elif change < 0.3:
        words.insert(numbers.randrange(len(words)), numbers.choice(NASTY_TEXTS))
    return ["llm", *(str(word).replace("\0", "") for word in words), *SHOWN]


def configs(seeds: Seeds, numbers: random.Random, folder: Path) -> Case:
    """A config file, damaged."""
    content = {**CONFIG, "model": str(seeds.model), "data_path": "rows.jsonl"}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS["chat"]))
    document = json_bytes(mutated_json(content, numbers)) if numbers.random() < 0.5 else json_bytes(content)
    if numbers.random() < 0.7:
        document = mutated_bytes(document, numbers)
    name = numbers.choice(("run.yaml", "run.json", "run.py"))
    (folder / name).write_bytes(document)
    return ["llm", "--config", name, *SHOWN]


def data_files(seeds: Seeds, numbers: random.Random, folder: Path) -> Case:
    """A file of rows in any of the formats, damaged in its values or its bytes."""
    rows = ROWS[numbers.choice(list(ROWS))]
    if numbers.random() < 0.6:
        rows = [row if numbers.random() < 0.5 else mutated_json(row, numbers) for row in rows]
    kind = numbers.choice(list(WRITERS))
    try:
        content = WRITERS[kind](rows)
    except Exception:  # a value that this format does not have
        kind, content = "jsonl", WRITERS["jsonl"](rows)
    if numbers.random() < 0.6:
        content = mutated_bytes(content, numbers)
    (folder / f"rows.{kind}").write_bytes(content)
    trainer = numbers.choice(("sft", "generic", "dpo", "kto", "reward", "grpo"))
    return seeds.base(
        "--data-path",
        f"rows.{kind}",
        "--trainer",
        trainer,
        *(() if numbers.random() < 0.7 else ("--chat-template", "chatml")),
    )


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json_bytes(row) + b"\n" for row in rows)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    names = sorted({str(name) for row in rows if isinstance(row, dict) for name in row})
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row for row in rows if isinstance(row, dict))
    return text.getvalue().encode("utf-8", "surrogatepass")


def _arrow(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow

    table, sink = pyarrow.Table.from_pylist(rows), pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "jsonl": _lines,
    "json": json_bytes,
    "csv": _csv,
    "txt": lambda rows: "\n\n".join(str(row) for row in rows).encode("utf-8", "surrogatepass"),
    "arrow": _arrow,
    "parquet": _parquet,
}


def model_files(seeds: Seeds, numbers: random.Random, folder: Path) -> Case:
    """A model's folder in which one file is damaged."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS["chat"]))
    model = folder / "model"
    model.mkdir()
    names = sorted(path.name for path in seeds.model.iterdir())
    damaged = numbers.choice(names)
    for name in names:
        content = (seeds.model / name).read_bytes()
        if name == damaged:
            content = _damaged(name, content, numbers)
        (model / name).write_bytes(content)
    if numbers.random() < 0.2:
        (model / "chat_template.jinja").write_bytes(mutated_bytes(TEMPLATE.encode(), numbers))
    words = [
        "llm",
        "--model",
        "model",
        *RUN,
        "--data-path",
        "rows.jsonl",
        "--trainer",
        numbers.choice(("sft", "dpo", "reward")),
    ]
    return [*words, *(("--peft",) if numbers.random() < 0.3 else ()), *SHOWN]


def _damaged(name: str, content: bytes, numbers: random.Random) -> bytes:
    if name.endswith(".json") and numbers.random() < 0.7:
        return json_bytes(mutated_json(json.loads(content), numbers))
    if name.endswith(".safetensors") and numbers.random() < 0.7:
        length = int.from_bytes(content[:8], "little")
        header = json_bytes(mutated_json(json.loads(content[8 : 8 + length]), numbers))
        return len(header).to_bytes(8, "little") + header + content[8 + length :]
    return mutated_bytes(content, numbers)


def templates(seeds: Seeds, numbers: random.Random, folder: Path) -> Case:
    """A chat template, damaged or hostile."""
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in ROWS[numbers.choice(("chat", "tools"))])
    )
    text = mutated_bytes(TEMPLATE.encode(), numbers).decode("utf-8", "replace")
    if numbers.random() < 0.4:
        text += numbers.choice(HOSTILE_TEMPLATES)
    (folder / "template.jinja").write_text(text, encoding="utf-8")
    return seeds.base("--data-path", "rows.jsonl", "--trainer", "sft", "--chat-template", "template.jinja")


HOSTILE_TEMPLATES = (
    "{{ 1/0 }}", "{{ 2**100000 }}", "{% break %}", "{{ x.y.z }}", "{{ messages[99].content }}", "{{ ''.__class__.__mro__ }}", "{% include 'x' %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{{ 'a'|center(999999999) }}", "{{ messages|tojson(indent=99999999) }}",
    "{{ lipsum(n=99999) }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ raise_exception('no') }}", "{{ 'a' * 10**10 }}", "{% set ns = namespace(x=1) %}{{ ns }}",
    "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
    "{% set n = namespace(l=[]) %}{% for i in range(1000) %}{% set n.l = n.l + ['a' * (9999999 - i)] %}{% endfor %}",
    "{% set s = 'a' * 9999999 %}{% for i in range(99999) %}{{ s[1:]|upper|length }}{% endfor %}",
)  # fmt: skip


def tokenizers(seeds: Seeds, numbers: random.Random, folder: Path) -> Case:
    """A tokenizer that does what none does: expressions that go back, normalizers that multiply, ids and tokens beyond measure."""
    texts = ("a" * 21 + "b", "word word. " * 9, " " * 4000, "x1" * 2000, "Hi")
    rows = [{"text": numbers.choice(texts) * numbers.choice((1, 3, 10))} for _ in range(6)]
    (folder / "rows.jsonl").write_bytes(_lines(rows))
    model = folder / "model"
    model.mkdir()
    for path in seeds.model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    written = json.loads((model / "tokenizer.json").read_text())
    change = numbers.randrange(4)
    if change == 0:
        pattern = {"Regex": numbers.choice(EXPRESSIONS)}
        written["pre_tokenizer"] = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    elif change == 1:
        longer = {
            "type": "Replace",
            "pattern": {"String": numbers.choice("a ew")},
            "content": numbers.choice(("aa", "ee" * 99, "  ")),
        }
        written["normalizer"] = {"type": "Sequence", "normalizers": [longer] * numbers.choice((1, 8, 60))}
    elif change == 2:
        vocabulary = written["model"]["vocab"]
        vocabulary[numbers.choice(sorted(vocabulary))] = numbers.choice((10**4, 10**7, 10**9, 2**32 - 1))
    else:
        first, count = len(written["model"]["vocab"]) + 100, numbers.choice((10, 3000))
        more = [{**written["added_tokens"][0], "id": first + n, "content": f"<{n}>"} for n in range(count)]
        written["added_tokens"] = (written["added_tokens"] + more) * numbers.choice((1, 2))
    (model / "tokenizer.json").write_bytes(json_bytes(written))
    how = ("--model", "scratch:100k", "--tokenizer", "model") if numbers.random() < 0.7 else ("--model", "model")
    return ["llm", *how, *RUN, "--data-path", "rows.jsonl", "--trainer", numbers.choice(("sft", "generic")), *SHOWN]


EXPRESSIONS = (
    "(a+)+$", r"(\w+\s?)+$", r"(x+x+)+y", r"(\s*\s*)*z", r"(?:a|a)*b", r"(.*)*\1q", r"((a{1,99}){1,99}){1,99}b", "", "a", "(?=a)*", "[", r"\p{L}+",
)  # fmt: skip

TARGETS: dict[str, Callable[[Seeds, random.Random, Path], Case]] = {
    "command-lines": command_lines,
    "configs": configs,
    "data-files": data_files,
    "model-files": model_files,
    "templates": templates,
    "tokenizers": tokenizers,
}
