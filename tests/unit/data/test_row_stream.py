"""Rows that are read while they are trained on: from any position on, by several processes, pass after pass."""

from __future__ import annotations

import dataclasses
import json
from itertools import chain
from pathlib import Path

import pytest

from autotrain_llm.data.load.row_stream import Position, RowStream
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused

COUNT = 25
FORMS = ["rows.jsonl", "rows.csv", "rows.parquet", "rows.arrow", "rows.txt"]


def write(folder: Path, name: str, first: int = 0) -> Path:
    rows = [{"text": f"row {number} of them"} for number in range(first, first + COUNT)]
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith(".csv"):
        path.write_text("text\n" + "".join(row["text"] + "\n" for row in rows))
    elif name.endswith(".txt"):
        path.write_text("\n\n".join(row["text"] for row in rows))
    else:
        import pyarrow
        from pyarrow import ipc, parquet

        table = pyarrow.Table.from_pylist(rows)
        if name.endswith(".parquet"):
            parquet.write_table(table, path, row_group_size=4)
        else:
            with ipc.new_file(path, table.schema) as file:
                file.write_table(table)
    return path


def stream(path, most=None, process=0, processes=1, **settings) -> RowStream:
    return RowStream(DataRequest(str(path), streaming=True, max_samples=3, **settings), most, process, processes)


def rows_of(
    rows: RowStream, each: int, passes: int = 1, start: Position | None = None
) -> list[tuple[list[str], Position]]:
    """All that is taken until so many passes are complete, `each` rows at a time: the texts, and the position after them."""
    at, taken = start or Position(), []
    while at.passes < passes:
        examples, at = rows.take(at, each)
        taken.append(([example.text for example in examples], at))
    return taken


def texts(taken) -> list[str]:
    return [text for some, _ in taken for text in some]


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_goes_on_from_any_position_after_it_was_written_down(form, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in (0, 1):
        write(folder, f"{number}-{form}", number * COUNT)
    whole = rows_of(stream(folder), 7, passes=2)
    assert texts(whole) == [f"row {number} of them" for number in range(2 * COUNT)] * 2
    for index, (_, position) in enumerate(whole[:-1]):
        read_again = Position(**json.loads(json.dumps(dataclasses.asdict(position))))
        assert rows_of(stream(folder), 7, 2, read_again) == whole[index + 1 :]


def test_several_processes_have_each_row_once(tmp_path):
    path = write(tmp_path, "rows.jsonl")
    parts = [texts(rows_of(stream(path, process=process, processes=3), 4)) for process in range(3)]
    assert sorted(chain.from_iterable(parts)) == sorted(f"row {number} of them" for number in range(COUNT))
    assert {len(part) for part in parts} == {8, 9}


def test_max_samples_are_the_first_of_each_pass(tmp_path):
    path = write(tmp_path, "rows.jsonl")
    taken = texts(rows_of(stream(path, most=5), 3, passes=2))
    assert taken == [f"row {number} of them" for number in range(5)] * 2
    assert texts(rows_of(stream(path, most=5, process=1, processes=2), 3)) == [
        f"row {number} of them" for number in (0, 2, 4)
    ]


def test_a_row_that_can_not_be_used_is_left_out_and_counted_once(tmp_path):
    path = write(tmp_path, "rows.jsonl")
    lines = path.read_text().splitlines()
    lines[9] = lines[17] = json.dumps({"text": " "})
    path.write_text("\n".join(lines) + "\n")
    rows = stream(path)
    assert len(texts(rows_of(rows, 4, passes=3))) == 3 * (COUNT - 2) and rows.left_out == 6
    (finding,) = rows.findings()
    assert finding.severity == "warning" and "row 10" in finding.message and "2 rows: 10, 18" in finding.message


@pytest.mark.parametrize("line", ['{"text": "half', '["no", "object"]', '{"text": {"a": "cell of the wrong type"}}'])
def test_a_line_that_can_not_be_read_ends_the_stream_with_its_file_and_row(line, tmp_path):
    path = write(tmp_path, "rows.jsonl")
    lines = path.read_text().splitlines()
    lines[9] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Refused) as refused:
        rows_of(stream(path), 4)
    (finding,) = refused.value.findings
    assert str(path) in finding.message and "10" in finding.message


def test_a_file_that_can_only_be_read_as_a_whole_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": "one"}, {"text": "two"}]))
    with pytest.raises(Refused) as refused:
        stream(path)
    assert [finding.code for finding in refused.value.findings] == ["D102"]
    assert "can only be read as a whole" in refused.value.findings[0].message


def test_rows_inside_an_object_are_taken_out_of_it(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": number, "row": {"text": f"row {number}"}}) + "\n" for number in range(9)))
    assert texts(rows_of(stream(path), 4)) == [f"row {number}" for number in range(9)]


class Hub:
    """The libraries by which rows of the Hub are read, with a set of two files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import importlib

        self.datasets = pytest.importorskip("datasets")
        self.files = [str(write(folder, f"{number}.parquet", number * COUNT)) for number in (0, 1)]
        self.HfApi = lambda: self
        imported = importlib.import_module
        own = ("datasets", "huggingface_hub")
        monkeypatch.setattr(
            importlib, "import_module", lambda name, *more: self if name in own else imported(name, *more)
        )

    def dataset_info(self, *names, **settings): ...

    def disable_progress_bars(self) -> None: ...

    def load_dataset(self, *names, streaming=False, **settings):
        return self.datasets.load_dataset("parquet", data_files={"train": self.files}, streaming=streaming)


@pytest.mark.parametrize("offline", [False, True])
def test_a_set_on_the_hub_is_streamed_from_any_position(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    Hub(tmp_path, monkeypatch)
    whole = rows_of(stream("owner/name", offline=offline), 7, passes=2)
    assert texts(whole) == [f"row {number} of them" for number in range(2 * COUNT)] * 2
    for index, (_, position) in enumerate(whole[:-1]):
        read_again = Position(**json.loads(json.dumps(dataclasses.asdict(position))))
        again = rows_of(stream("owner/name", offline=offline), 7, 2, read_again)
        assert [(some, at.row) for some, at in again] == [(some, at.row) for some, at in whole[index + 1 :]]
    parts = [texts(rows_of(stream("owner/name", None, process, 2, offline=offline), 4)) for process in range(2)]
    assert sorted(chain.from_iterable(parts)) == sorted(f"row {number} of them" for number in range(2 * COUNT))
    limited = [texts(rows_of(stream("owner/name", 10, process, 2, offline=offline), 4)) for process in range(2)]
    assert sorted(chain.from_iterable(limited)) == sorted(f"row {number} of them" for number in range(10))
