"""Data that isn't held in memory gives the same rows, tokens and findings, and takes no memory for them."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.disk_examples import DiskExamples
from autotrain_llm.data.example import Example
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.prompt_template import with_prompts
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rows import StoredRows
from autotrain_llm.data.tokenize import pipeline as working
from autotrain_llm.data.tokenize.prepare import prepare
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

pytestmark = pytest.mark.slow


ROWS = [{"prompt": f"Name thing {number}.", "completion": f"It is\n“{number * 7}”, I think."} for number in range(2500)]


def write_all(folder: Path) -> dict[str, Path]:
    """The same rows in each form that can be read bit by bit."""
    import pyarrow
    from pyarrow import ipc, parquet

    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (folder / "a.jsonl").write_text("\ufeff" + lines)
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.write(lines)
    with pyarrow.CompressedOutputStream(str(folder / "k.jsonl.zst"), "zstd") as packed:
        packed.write(lines.encode())
    for name, delimiter in (("c.csv", ","), ("d.tsv", "\t"), ("e.csv", ";")):
        with (folder / name).open("w", newline="") as table:
            writer = csv.DictWriter(table, list(ROWS[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(ROWS)
    content = pyarrow.Table.from_pylist(ROWS)
    parquet.write_table(content, folder / "f.parquet")
    with ipc.new_stream(folder / "g.arrow", content.schema) as stream:
        stream.write_table(content)
    with ipc.new_file(folder / "h.arrow", content.schema) as whole:
        whole.write_table(content)
    (folder / "i.txt").write_text("\n\n".join(row["completion"] for row in ROWS))
    (folder / "j.txt").write_text("".join(f"{row['prompt']}\r\n" for row in ROWS))
    return {path.name: path for path in folder.iterdir()}


FORMS = [
    "a.jsonl",
    "b.jsonl.gz",
    "c.csv",
    "d.tsv",
    "e.csv",
    "f.parquet",
    "g.arrow",
    "h.arrow",
    "i.txt",
    "j.txt",
    "k.jsonl.zst",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("forms"))


def both(path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Dataset, Dataset]:
    """The data set in memory, and on disk."""
    request = DataRequest(str(path), **settings)
    small = open_data(request)
    monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 0)
    return small, open_data(request)


@pytest.mark.parametrize("form", FORMS)
def test_a_large_file_gives_the_same_rows(form: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = both(files[form], monkeypatch, valid_split="0.1")
    assert isinstance(small.train, list) and isinstance(large.train, DiskExamples) and not large.in_memory
    assert list(large.train) == small.train and list(large.valid) == small.valid
    assert large.train[1000] == small.train[1000] and large.train[-1] == small.train[-1]
    assert large.train[700:1400:3] == small.train[700:1400:3]
    assert (large.format, large.columns, large.findings) == (small.format, small.columns, small.findings)
    if form not in ("f.parquet", "g.arrow", "h.arrow", "b.jsonl.gz", "k.jsonl.zst"):
        assert large.fingerprint == small.fingerprint


def test_the_chosen_and_the_first_rows_of_large_files_are_those_of_small_ones(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (tmp_path / f"part-{number}.jsonl").write_bytes(files["a.jsonl"].read_bytes())
    for settings in ({"max_samples": 2000}, {"max_samples": 4000}, {"most_rows": 1500}, {"most_rows": 30}):
        with monkeypatch.context() as patch:
            small, large = both(tmp_path, patch, **settings)
        (count,) = settings.values()
        assert len(large.train) == count and list(large.train) == small.train
        assert isinstance(large.train, DiskExamples) is (count > 1000)
        assert large.cut_short is small.cut_short is ("most_rows" in settings)


def test_many_files_that_are_large_together_are_not_held_in_memory(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"part-{number}.jsonl").write_bytes(files["a.jsonl"].read_bytes())
    size = files["a.jsonl"].stat().st_size
    monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 2 * size)
    together = open_data(DataRequest(str(tmp_path)))
    alone = open_data(DataRequest(str(files["a.jsonl"])))
    assert isinstance(together.train, DiskExamples) and isinstance(alone.train, list)
    assert len(together.train) == 3 * len(alone.train)


def test_a_large_data_set_gives_the_same_tokens(
    files: dict[str, Path], light_llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numpy

    tokenizer = Tokenizer.load(light_llama)
    for settings in ({}, {"block": True, "response_only": False}):
        preparation = Preparation(max_length=40, **settings)
        small, large = both(files["a.jsonl"], monkeypatch, valid_split="100")
        monkeypatch.undo()
        wanted, got = prepare(small, tokenizer, preparation), prepare(large, tokenizer, preparation)
        assert isinstance(got.train.ids, numpy.memmap) and not isinstance(wanted.train.ids, numpy.memmap)
        for side in ("train", "valid"):
            for name, array in getattr(wanted, side).arrays().items():
                assert numpy.array_equal(array, getattr(getattr(got, side), name)), name
        assert got.statistics == wanted.statistics
        kept = prepare(large, tokenizer, preparation, tmp_path)
        again = prepare(large, tokenizer, preparation, tmp_path)
        assert again.from_cache and numpy.array_equal(again.train.ids, kept.train.ids)
        with monkeypatch.context() as patch:
            patch.setattr("autotrain_llm.data.cache.MOST_ROWS", 100)
            prepare(large, tokenizer, preparation, tmp_path / "sets")
            sets = prepare(large, tokenizer, preparation, tmp_path / "sets").train
        assert isinstance(sets, StoredRows)
        assert all(numpy.array_equal(one, other) for (one, _), (other, _) in zip(sets, kept.train, strict=True))


def test_rows_are_taken_in_batches_of_so_many_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Example("rows.jsonl", number, text="x" * length) for number, length in enumerate([5, 5, 200, 1, 1, 1, 1, 1, 1])
    ]
    monkeypatch.setattr(working, "MOST_LETTERS", 100)
    monkeypatch.setattr(working, "MOST_ROWS", 4)
    monkeypatch.setattr(working, "FIRST", 1)
    found = [([row.row for row in batch], full) for batch, full in working.batches(rows)]
    assert found == [([0, 1, 2], 2.1), ([3, 4, 5, 6], 1), ([7, 8], 0.5)]
    assert list(working.batches([])) == [([], 0)] and list(working.batches(rows[3:7])) == [(rows[3:7], 1)]


def test_the_first_batches_are_small_and_double(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Example("rows.jsonl", number, text="x") for number in range(40)]
    monkeypatch.setattr(working, "MOST_ROWS", 16)
    assert [len(batch) for batch, _ in working.batches(rows)] == [1, 2, 4, 8, 16, 9]


def test_batches_change_nothing(files: dict[str, Path], light_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    dataset, tokenizer = open_data(DataRequest(str(files["a.jsonl"]))), Tokenizer.load(light_llama)
    whole = prepare(dataset, tokenizer, Preparation(max_length=12, length_given=True))
    heard: list[tuple[str, int, int]] = []
    monkeypatch.setattr(working, "MOST_LETTERS", 3000)
    small = prepare(
        dataset, tokenizer, Preparation(max_length=12, length_given=True), None, lambda *far: heard.append(far)
    )
    for name, array in whole.train.arrays().items():
        assert numpy.array_equal(array, getattr(small.train, name)), name
    assert small.findings == whole.findings and small.statistics == whole.statistics
    assert len(heard) > 20 and heard[-1] == ("Preparing rows", 2500, 2500)


def test_prompts_in_a_template_are_made_where_they_are_asked_for(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = both(files["a.jsonl"], monkeypatch)
    shown = "Answer: {prompt}"
    assert list(with_prompts(large, shown).train) == with_prompts(small, shown).train
    assert with_prompts(large, shown).train[7] == with_prompts(small, shown).train[7]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"text": "fine"}\n{"text": "caf\xe9"}\n', "D105"),
        (b'{"text": "fine"}\n{"text": \n', "D104"),
        (b"\xff\xfe{\x00", "D105"),
        (b"\n\n", "D118"),
    ],
)
def test_what_is_wrong_with_a_large_file_is_said_alike(
    content: bytes, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotrain_llm.declare.finding import Refused

    def messages() -> list[str]:
        try:
            return [finding.message for finding in open_data(DataRequest(str(path))).findings if finding.code == code]
        except Refused as refused:
            return [finding.message for finding in refused.findings if finding.code == code]

    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    small = messages()
    monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 0)
    assert messages()[:1] == small[:1] or code == "D118"
    assert messages()


MEASURE = """
import sys
from pathlib import Path
import autotrain_llm.data.files.stream as stream
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.tokenize.prepare import Preparation, prepare
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
stream.LARGE = int(sys.argv[3])
tokenizer = Tokenizer.load(sys.argv[2])
import numpy, tokenizers, jinja2
def held():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
before = held()
dataset = open_data(DataRequest(sys.argv[1]))
print(held() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_rows_on_disk_take_next_to_no_memory(tmp_path: Path, light_llama: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for number in range(8_000):
            file.write(json.dumps({"text": f"{number} " + "word " * 150}) + "\n")

    def kilobytes(large: int) -> int:
        command = [sys.executable, "-c", MEASURE, str(path), str(light_llama), str(large)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert kilobytes(0) < kilobytes(1 << 40) / 2


@pytest.mark.parametrize(
    ("shape", "row", "first"),
    [
        ("preferences", lambda at: {"prompt": f"{at}?", "chosen": [f"Yes {at}."], "rejected": [f"No {at}.", f"Never {at}."]}, "Yes 0."),
        ("preferences", lambda at: {"prompt": f"{at}?", "responses": [f"Yes {at}.", f"No {at}."], "scores": [2, 1]}, "Yes 0."),
        ("conversations", lambda at: {"instruction": "Count.", "instances": [{"input": f"{at}", "output": f"It is {at}."}] * 2}, "It is 0."),
        ("conversations", lambda at: {"one": {"ask": f"{at} then?"}, "two": {"say": f"It is {at}."}}, "It is 0."),
    ],
)  # fmt: skip
def test_rows_inside_rows_are_read_in_large_files_as_in_small_ones(shape, row, first, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(at)) + "\n" for at in range(300)))
    named = {"prompt_column": "one.ask", "text_column": "two.say"} if "one" in row(0) else {}
    request = DataRequest(
        str(path), shape, trainer="dpo" if shape == "preferences" else "sft", **named, named=tuple(named)
    )
    small = open_data(request)
    monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 10)
    large = open_data(request)
    assert not large.in_memory and [one.content() for one in large.train] == [one.content() for one in small.train]
    assert [finding.message for finding in large.findings] == [finding.message for finding in small.findings]
    assert small.train[0].answers()[-1] == first


def test_ties_of_large_files_are_named(tmp_path, monkeypatch):
    rows = [
        {"prompt": f"{at}?", "responses": [f"Yes {at}.", f"No {at}."], "scores": [2, 1 + at % 2]} for at in range(9)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 10)
    dataset = open_data(DataRequest(str(path), "preferences", trainer="dpo"))
    assert [finding.code for finding in dataset.findings] == ["D193", "D194"] and len(dataset.train) == 5
