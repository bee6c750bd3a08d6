"""Rows of files that are larger than memory, read while they are iterated over. JSON documents and Markdown can only be read as a whole."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from autotrain_llm.data.files.decode import BOM, observe_not_utf8
from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.files.packing import opened, packing_of, without_packing
from autotrain_llm.data.files.read import (
    JSON_START,
    RawRow,
    Stream,
    Table,
    first_of,
    holds_json_lines,
    how_texts_end,
    kind_of_file,
    read_table,
    rows_of_columns,
    rows_of_lines,
    rows_of_table,
    rows_of_text,
)
from autotrain_llm.data.files.sniff import other_content
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.files import a_file_can_not_be_read, a_file_starts_with_a_byte_order_mark

LARGE = 64 << 20  # bytes; rows in memory take several times what they take in a file
UNPACKED = 4  # times what a packed text takes in its file
BLOCK = 1 << 20
ROWS = 1000
HEAD = 1 << 16


class _NotText(Exception):
    """The file is not UTF-8, which has been reported."""


def open_table(
    path: Path,
    name: str,
    observations: Observations,
    digest: Any,
    most: int | None = None,
    *,
    beside: Sequence[Path] = (),
    bytes_beside: int = 0,
    keep: RowFilter | None = None,
) -> Table:
    """The rows of a file that `keep` passes (the first `most`): in memory, or as a `Stream` if the file is large together with those
    `beside` it, and with more files of `bytes_beside`, and has many rows."""
    is_large = are_large([path, *beside], bytes_beside)
    rows = stream_of(path, name, observations, digest) if is_large else None
    if rows is None:
        return read_table(path, name, observations, digest, most, keep)
    rows = rows if keep is None else keep(rows)
    digest.update(name.encode("utf-8", "surrogateescape"))
    if most is not None and are_few(most):
        return Table(name, list(first_of(rows, most)))
    return Table(name, Stream(first_of(rows, most)))


def first_rows(path: Path, name: str, observations: Observations, most: int | None) -> Table:
    """The first rows of a file that is streamed, in the way in which the others are read later. Nothing of it is hashed, because that would read it all."""
    rows = stream_of(path, name, observations, None)
    if rows is None:
        observations.add(a_file_can_not_be_read, file=name, case="stream")
    return Table(name, Stream(iter(()) if rows is None else first_of(rows, most)))


def are_few(rows: int) -> bool:
    """Whether so many rows are held in memory, of a large file too."""
    return rows <= ROWS


def are_large(paths: Sequence[Path], bytes_beside: int = 0) -> bool:
    """Whether the rows of these files together should not all be in memory."""
    return sum(map(size_of, paths)) + bytes_beside > LARGE


def size_of(path: Path) -> int:
    """The bytes of a file's text, about as many as unpacked; 0 if it can't be looked up."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return size * (UNPACKED if without_packing(path.name) != path.name else 1)


def stream_of(path: Path, name: str, observations: Observations, digest: Any | None) -> Generator[RawRow] | None:
    """The rows of a large file, read while they are iterated over; None if its format can only be read as a whole. Without a `digest` nothing is hashed, and the first line
    that can't be read ends the rows: whoever trains on them meanwhile has to know."""
    try:
        with opened(path) as file:
            head = file.read(HEAD)
        with path.open("rb") as file:
            is_packed = packing_of(file.read(4)) is not None
    except (OSError, EOFError):
        return None  # whoever reads it whole says why
    kind = kind_of_file(path, head)
    if other_content(head, name, rows=kind != "text") is not None:
        return None  # whoever reads it whole says what it is
    if kind in ("parquet", "arrow"):
        return None if is_packed else _columns(path, kind, name, observations, digest)
    first = head.removeprefix(BOM).lstrip()[:1]
    if (kind == "lines" and first == b"[") or kind not in ("lines", "csv", "tsv", "text"):
        return None
    start = head.decode("utf-8", "replace")
    if kind == "text" and JSON_START.match(start):
        if first == b"[":
            return None  # a document
        kind = "lines" if holds_json_lines(start.split("\n")[:-1], name, observations) else kind
    return _rows(path, kind, name, observations, digest)


def _rows(path: Path, kind: str, name: str, observations: Observations, digest: Any | None) -> Generator[RawRow]:
    lines = _lines(path, name, observations, digest)
    try:
        if kind == "lines":
            yield from rows_of_lines(lines, name, observations, at_once=digest is None)
        elif kind == "text":
            yield from rows_of_text(lines, _how_texts_end(path))
        else:
            yield from rows_of_table(lines, kind, name, observations)
    except _NotText:
        return
    except (OSError, EOFError) as problem:
        observations.add(a_file_can_not_be_read, file=name, case="error", detail=str(problem))


def _lines(path: Path, name: str, observations: Observations, digest: Any | None) -> Iterator[str]:
    """The lines of a text with what ends them, parted at line feeds alone."""
    at, line_number = 0, 0
    with opened(path) as file:
        for raw in file:
            if digest is not None:
                digest.update(raw)
            line_number += 1
            if line_number == 1 and raw.startswith(BOM):
                observations.add(a_file_starts_with_a_byte_order_mark, file=name)
                raw, at = raw[len(BOM) :], -len(BOM)
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as problem:
                position = max(at, 0) + problem.start
                observe_not_utf8(raw + file.read(BLOCK), raw[problem.start], position, line_number, name, observations)
                raise _NotText from problem
            at += len(raw)
            yield text


def _how_texts_end(path: Path) -> str:
    with opened(path) as file:
        return how_texts_end(raw.decode("utf-8", "replace") for raw in file if raw.endswith(b"\n"))


def _columns(path: Path, kind: str, name: str, observations: Observations, digest: Any | None) -> Generator[RawRow]:
    """The rows of a Parquet or Arrow file."""
    if digest is not None:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    yield from rows_of_columns(path, kind, name, observations)
