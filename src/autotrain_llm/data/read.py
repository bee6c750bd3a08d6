"""Files to raw rows: JSON Lines, JSON, CSV, TSV, Parquet, Arrow and plain text. A row is a dict of columns here, nothing more."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.data.decode import decode, read_bytes
from autotrain_llm.data.faults import FIRST_ROWS, Faults
from autotrain_llm.data.wording import kind_of, listed, plural, shown
from autotrain_llm.declare.finding import WARNING

Row = dict[str, Any]
STRUCTURED = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".arrow": "arrow",
}  # fmt: skip
PLAIN = {".txt": "text", ".text": "text", ".md": "document", ".markdown": "document"}
KINDS = STRUCTURED | PLAIN
ROW_KEYS = ("data", "rows", "train", "examples", "instances", "records", "items")


@dataclass(slots=True)
class Table:
    """The rows of one file: `rows` are (row number from 1, line or None, columns)."""

    file: str
    rows: list[tuple[int, int | None, Row]] = field(default_factory=list)


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, a closing `.gz` aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_table(path: Path, name: str, faults: Faults, digest: Any, most: int | None = None) -> Table:
    """All rows of a file (the first `most`); `digest` is fed its bytes, so that content is read and hashed once."""
    data = read_bytes(path, name, faults)
    table = Table(name)
    if data is None:
        return table
    digest.update(name.encode("utf-8", "surrogateescape"))
    digest.update(data)
    if not data.strip():
        faults.say("D118", f"{name} is empty", file=name, parameters=("data_path",))
        return table
    kind = kind_of_file(path, data)
    if kind is None:
        known = listed(KINDS)
        message = (
            f"{name}: {suffix_of(path) or 'a file like this'} is not a format that can be read here (known: {known})"
        )
        faults.say("D102", message, file=name, fix="save it as JSON Lines", parameters=("data_path",))
    elif kind in ("parquet", "arrow"):
        _read_columns(data, kind, table, faults)
    else:
        text = decode(data, name, faults)
        if text is not None:
            READERS[kind](text, table, faults)
    if most is not None:
        del table.rows[most:]
    return table


def kind_of_file(path: Path, data: bytes) -> str | None:
    """What a file holds: by its content where that is certain, else by its name."""
    if data.startswith(b"PAR1"):
        return "parquet"
    kind = KINDS.get(suffix_of(path))
    if kind is None and data.lstrip()[:1] in (b"{", b"["):
        return "json"
    if kind is None and not suffix_of(path) and b"\0" not in data[:4096]:
        return "text"
    return kind


def _read_lines(text: str, table: Table, faults: Faults) -> None:
    """JSON Lines; an array in a file called .jsonl is read as what it is."""
    if text.lstrip().startswith("[") and _read_document(text, table):
        return
    broken: list[tuple[int, str]] = []
    loads, row = json.loads, 0
    for line, content in enumerate(text.split("\n"), 1):
        if not content or content.isspace():
            continue
        row += 1
        try:
            value = loads(content)
        except (ValueError, RecursionError) as problem:
            broken.append((line, _json_problem(problem)))
            continue
        if isinstance(value, dict):
            table.rows.append((row, line, value))
        else:
            broken.append((line, f"holds {kind_of(value)}, not an object with columns"))
    _say_broken(broken, table.file, faults)


def _json_problem(problem: Exception) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"is not valid JSON: {problem.msg.removesuffix(' at')} at column {problem.colno}"
    return f"is not valid JSON: {problem}"


def _say_broken(broken: list[tuple[int, str]], file: str, faults: Faults) -> None:
    if not broken:
        return
    line, what = broken[0]
    message = f"{file}, line {line} {what}"
    if len(broken) > 1:
        more = ", …" if len(broken) > FIRST_ROWS else ""
        message += f" ({len(broken)} lines: {', '.join(str(n) for n, _ in broken[:FIRST_ROWS])}{more})"
    faults.say(
        "D104", message, fix=f"sed -n {line}p {file}   shows it", file=file, line=line, parameters=("data_path",)
    )


def _read_json(text: str, table: Table, faults: Faults) -> None:
    """A JSON array, an object that holds one, an object of columns, or JSON Lines under the name .json."""
    try:
        if _read_document(text, table):
            return
    except json.JSONDecodeError as problem:
        if problem.msg != "Extra data":
            _say_broken([(problem.lineno, _json_problem(problem))], table.file, faults)
            return
        _read_lines(text, table, faults)
        return
    if text.strip() == "[]":
        faults.say("D118", f"{table.file} holds no rows", file=table.file, parameters=("data_path",))
        return
    message = f"{table.file} holds no list of rows"
    fix = 'make it [{"text": "…"}, …], or one object a line in a .jsonl file'
    faults.say("D102", message, fix=fix, file=table.file, parameters=("data_path",))


def _read_document(text: str, table: Table) -> bool:
    value = json.loads(text)
    rows = _rows_in(value)
    if rows is None:
        return False
    table.rows.extend((number, None, row) for number, row in enumerate(rows, 1))
    return True


def _rows_in(value: Any) -> list[Row] | None:
    """The rows of a parsed JSON document, however they are wrapped."""
    if isinstance(value, list):
        return value if value and all(isinstance(row, dict) for row in value) else None
    if not isinstance(value, dict):
        return None
    for key in (*ROW_KEYS, *value):
        held = value.get(key)
        if isinstance(held, list) and held and all(isinstance(row, dict) for row in held) and _wraps(key, value):
            return held
    lists = list(value.values())
    if lists and all(isinstance(column, list) and len(column) == len(lists[0]) for column in lists):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)]
    return [value]


def _wraps(key: str, value: Row) -> bool:
    """Whether this key holds the rows, and is not a column of the one row that the whole file is."""
    return key in ROW_KEYS or (len(value) == 1 and key not in ("messages", "conversations", "conversation"))


def _read_csv(text: str, table: Table, faults: Faults) -> None:
    first_line = text.split("\n", 1)[0]
    _read_cells(text, max(",;\t|", key=first_line.count) if "," not in first_line else ",", table, faults)


def _read_tsv(text: str, table: Table, faults: Faults) -> None:
    _read_cells(text, "\t", table, faults)


def _read_cells(text: str, delimiter: str, table: Table, faults: Faults) -> None:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
        if not _header_is_clear(header, table.file, faults):
            return
        for cells in reader:
            if cells:
                _take_cells(header, cells, reader.line_num, table, faults)
    except csv.Error as problem:
        broken = [(reader.line_num, f"can't be read as cells: {problem}")]
        _say_broken(broken, table.file, faults)


def _header_is_clear(header: list[str], file: str, faults: Faults) -> bool:
    doubled = [name for name, count in Counter(header).items() if count > 1]
    if not doubled:
        return True
    message = f"{file}: duplicate column in the header: {listed(doubled)} (the header is: {listed(header)})"
    faults.say("D107", message, fix="rename one of the two", file=file, line=1, parameters=("text_column",))
    return False


def _take_cells(header: list[str], cells: list[str], line: int, table: Table, faults: Faults) -> None:
    row = table.rows[-1][0] + 1 if table.rows else 1
    if len(cells) > len(header):
        what = f"has {len(cells)} cells where the header has {len(header)} columns"
        fix = "put quotes around cells that hold the separator"
        faults.row("D125", table.file, row, what, line=line, fix=fix, severity="error", key="more cells")
    elif len(cells) < len(header):
        what = f"has {len(cells)} cells where the header has {len(header)} columns; the rest counts as null"
        faults.row("D125", table.file, row, what, line=line, key="fewer cells")
        cells = cells + [None] * (len(header) - len(cells))  # type: ignore[list-item]
    table.rows.append((row, line, dict(zip(header, cells, strict=False))))


def _read_text(text: str, table: Table, faults: Faults) -> None:
    """Plain text: where blank lines part it, a paragraph is a document; where there are none, a line is one."""
    lines = text.split("\n")
    body = lines[:-1] if lines and not lines[-1].strip() else lines
    by_line = all(line.strip() for line in body)
    document: list[str] = []
    start = 1
    for number, line in enumerate([*body, ""], 1):
        if line.strip():
            document.append(line.rstrip("\r"))
        if document and (by_line or not line.strip()):
            table.rows.append((len(table.rows) + 1, start, {"text": "\n".join(document)}))
            document = []
        if not document:
            start = number + 1


def _read_whole(text: str, table: Table, faults: Faults) -> None:
    """Markdown: the file is one document."""
    table.rows.append((1, 1, {"text": text}))


def _read_columns(data: bytes, kind: str, table: Table, faults: Faults) -> None:
    """Parquet, or an Arrow file in stream or file form."""
    import pyarrow

    try:
        content = arrow_table(data, kind)
    except (pyarrow.ArrowException, OSError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        message = f"{table.file} is damaged or no {kind} file: {first}"
        faults.say("D102", message, file=table.file, parameters=("data_path",))
        return
    doubled = [name for name, count in Counter(content.column_names).items() if count > 1]
    if doubled:
        _header_is_clear(list(content.column_names), table.file, faults)
        return
    table.rows.extend((number, None, row) for number, row in enumerate(content.to_pylist(), 1))


def arrow_table(data: bytes, kind: str) -> Any:
    """The pyarrow table in the bytes of a file."""
    import pyarrow

    buffer = pyarrow.BufferReader(data)
    if kind == "parquet":
        from pyarrow import parquet

        return parquet.read_table(buffer)
    from pyarrow import ipc

    try:
        return ipc.open_stream(buffer).read_all()
    except pyarrow.ArrowInvalid:
        return ipc.open_file(pyarrow.BufferReader(data)).read_all()


READERS = {
    "lines": _read_lines,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "text": _read_text,
    "document": _read_whole,
}


def check_types(table: Table, used: set[str], faults: Faults) -> None:
    """A warning for each column that is not used and changes its type: other tools refuse such a file."""
    seen: dict[str, type] = {}
    said: set[str] = set()
    for row, line, columns in table.rows:
        for name, value in columns.items():
            if value is None or name in used or name in said:
                continue
            first = seen.setdefault(name, type(value))
            if first is not type(value) and {first, type(value)} != {int, float}:
                said.add(name)
                what = f"column {shown(name)} is {kind_of(value)} here and {kind_of(first())} before; it is not used"
                fix = f"make {shown(name)} one type or remove it"
                faults.row("D112", table.file, row, what, line=line, fix=fix, severity=WARNING)


def described(tables: list[Table]) -> str:
    """`3 rows in train.jsonl`."""
    return f"{plural(sum(len(table.rows) for table in tables), 'row')} in {listed(table.file for table in tables)}"
