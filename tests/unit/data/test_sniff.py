"""Files that are something else than their names say, lines that are no JSON, and a CSV file without a header; each with its twin."""

import gzip
import json

import pytest

from autotrain_llm.data.files.sniff import how_json_broke, other_content
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused

ROWS = "".join(json.dumps({"text": f"Text number {number}."}) + "\n" for number in range(8))


def zstd(data: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("rows.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        ("rows.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        ("rows.csv", b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "HTML page"),
        ("rows.xlsx", b"PK\x03\x04abcd", "a spreadsheet"),
        ("rows.jsonl", b"PK\x03\x04abcd", "a zip archive"),
        ("rows.jsonl.zst", b"\x28\xb5\x2f\xfdabcd", "a damaged zstd file"),
        ("rows.jsonl.gz", b"\x1f\x8babcd", "a damaged gzip file"),
        ("rows.txt", b"%PDF-1.4", "a PDF"),
        ("rows.pkl", b"\x80\x04\x95", "pickle"),
        ("rows.jsonl", ROWS.encode("utf-16-le"), "UTF-16LE"),
        ("rows.jsonl", ROWS.encode("utf-16-be"), "UTF-16BE"),
    ],
)
def test_a_file_that_pretends_is_told_for_what_it_is(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Refused) as refused:
        open_data(DataRequest(str(tmp_path / name)))
    assert words in refused.value.findings[0].message
    assert refused.value.findings[0].fix


def test_an_archive_is_answered_with_the_command_that_unpacks_it():
    (plain, named) = (other_content(b"BZhabcd", name) for name in ("00.jsonl.bz2", "my rows.bz2"))
    assert plain is not None and "(bzip2 -dk 00.jsonl.bz2)" in plain.fix
    assert named is not None and "(bzip2 -dk 'my rows.bz2')" in named.fix


@pytest.mark.parametrize("data", [ROWS.encode(), b"<html> is a word of this text", "日本語".encode(), b""])
def test_text_is_text(data):
    assert other_content(data, "text.txt", rows=False) is None


def test_packed_rows_are_read_whatever_their_name(tmp_path):
    gzipped, with_zstd = gzip.compress(ROWS.encode()), zstd(ROWS.encode())
    named = {
        "rows.jsonl": gzipped,
        "rows.jsonl.gz": ROWS.encode(),
        "rows.json.zst": with_zstd,
        "lines.jsonl": with_zstd,
    }
    for name, data in named.items():
        (tmp_path / name).write_bytes(data)
        assert len(open_data(DataRequest(str(tmp_path / name))).train) == 8


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("<<<<<<< HEAD", "conflict"),
        ("{", "several lines"),
        ('{"text": "a"},', "comma after the object"),
        ('{"text": "a",}', "comma before the closing bracket"),
        ("{'text': 'a'}", "Python"),
        ('{text: "a"}', "JavaScript"),
        ('{"text": None}', "Python"),
        ('{"text": "a"}{"text": "b"}', "more than one object"),
        ('{"text": "a', "does not end on its line"),
    ],
)
def test_a_line_that_is_no_json_is_told_why(line, words):
    looks = how_json_broke(line)
    assert looks is not None and words in looks[0]


def test_a_line_that_nothing_is_known_of_has_the_parsers_words():
    assert how_json_broke('{"text" "a"}') is None


@pytest.mark.parametrize("line", ['["a", "b"]', '"text"', "[1]"])
def test_lines_that_hold_no_objects_are_told_by_their_number(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(Refused) as refused:
        open_data(DataRequest(str(tmp_path / "rows.jsonl")))
    assert "line 1 holds" in refused.value.findings[0].message


def test_a_header_that_is_a_sentence_was_none(tmp_path):
    (tmp_path / "rows.csv").write_text("This is the first text.\nThis is the second.\n")
    dataset = open_data(DataRequest(str(tmp_path / "rows.csv")))
    assert [finding.code for finding in dataset.findings] == ["D132"]
    (tmp_path / "survey.csv").write_text("What did you like about it?,answer\na,It was blue.\nb,It was green.\n")
    named = DataRequest(str(tmp_path / "survey.csv"), text_column="What did you like about it?", named=("text_column",))
    assert [finding.code for finding in open_data(named).findings] == ["D181"]  # the other column


def test_columns_without_a_name_are_no_duplicates(tmp_path):
    (tmp_path / "rows.csv").write_text(",text,\n0,One text.,\n1,Another text.,\n")
    assert open_data(DataRequest(str(tmp_path / "rows.csv"))).findings == ()
