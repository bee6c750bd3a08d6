"""Files to raw rows: JSON Lines, JSON, CSV, TSV, Parquet, Arrow and plain text. A row is a dict of columns here, nothing more."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from autotrain_llm.data.files.decode import decode, read_bytes
from autotrain_llm.data.files.sniff import cells_in_place_of_rows, how_json_broke, is_object, pretence
from autotrain_llm.data.observations import DATA_PARAMETER, FIRST_ROWS, Observations
from autotrain_llm.data.wording import kind_of, listed, shown
from autotrain_llm.declare.finding import ERROR, WARNING

Row = dict[str, Any]
STRUCTURED = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".arrow": "arrow",
}  # fmt: skip
PLAIN = {".txt": "text", ".text": "text", ".md": "document", ".markdown": "document"}
KINDS = STRUCTURED | PLAIN
LOOKED_AT = 200  # rows that tell what a file holds
ROW_KEYS = ("data", "rows", "train", "examples", "instances", "records", "items")


RawRow = tuple[int, int | None, Row]
Broken = tuple[int, str, str]  # a line, what is wrong with it, and the line itself
Twice = dict[int, str]  # by the identity of an object, a key that stands in it twice


@dataclass(slots=True)
class Table:
    """The rows of one file: `rows` are (row number from 1, line or None, columns), all of them or a `Stream`."""

    file: str
    rows: list[RawRow] | Stream = field(default_factory=list)

    def first(self) -> list[RawRow]:
        """Some of the rows, to see what they are like."""
        return self.rows.head if isinstance(self.rows, Stream) else self.rows[:LOOKED_AT]


class Stream:
    """Rows of a large file, gone through once, while they are read. The first of them are read at once, and can be looked at before."""

    def __init__(self, rows: Iterator[RawRow]) -> None:
        self._rows = rows
        self.head = list(islice(rows, LOOKED_AT))
        self._count = len(self.head)

    def __len__(self) -> int:
        """How many rows were read so far."""
        return self._count

    def __iter__(self) -> Iterator[RawRow]:
        yield from self.head
        for row in self._rows:
            self._count += 1
            yield row


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, a closing `.gz` aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_table(path: Path, name: str, observations: Observations, digest: Any, most: int | None = None) -> Table:
    """The rows of a file (the first `most`); `digest` is fed its bytes, so that content is read and hashed once."""
    data = read_bytes(path, name, observations)
    table = Table(name)
    if data is None:
        return table
    digest.update(name.encode("utf-8", "surrogateescape"))
    digest.update(data)
    if not data.strip():
        observations.say("D118", f"{name} is empty", file=name, parameters=("data_path",))
        return table
    kind = kind_of_file(path, data)
    if say_pretence(data, name, kind, observations):
        return table
    if kind is None:
        known = listed(KINDS)
        message = (
            f"{name}: {suffix_of(path) or 'a file like this'} is not a format that can be read here (known: {known})"
        )
        fix = "save it as JSON Lines"
        if suffix_of(path) == ".py":
            message = f"{name} is a loading script of Python, and code that comes with data is never run"
            fix = "run it once, and save its rows as JSON Lines, CSV or Parquet"
        observations.say("D102", message, file=name, fix=fix, parameters=("data_path",))
        return table
    return Table(name, list(islice(_rows_of(data, kind, name, observations), most)))


def say_pretence(data: bytes, name: str, kind: str | None, observations: Observations) -> bool:
    """Whether a file is something else than its name says, which is then said. A plain text may be a page of HTML."""
    found = pretence(data, name, rows=kind not in PLAIN.values())
    if found is None:
        return False
    what, fix = found
    code = "D105" if "UTF-8" in what else "D102"
    observations.say(code, f"{name} {what}", fix=fix, file=name, parameters=("data_path",))
    return True


def _rows_of(data: bytes, kind: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """The rows in the bytes of a file."""
    if kind in ("parquet", "arrow"):
        yield from _read_columns(data, kind, name, observations)
        return
    text = decode(data, name, observations)
    if text is not None:
        yield from READERS[kind](text, name, observations)


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


def _read_lines(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """JSON Lines; an array in a file called .jsonl is read as what it is."""
    rows = _array(text, name, observations) if text.lstrip().startswith("[") else None
    return rows_of_lines(text.split("\n"), name, observations) if rows is None else rows


def _array(text: str, name: str, observations: Observations) -> Iterator[RawRow] | None:
    """The rows of a file that is one array; None for lines that are arrays, or that begin like one."""
    try:
        return _document(text, name, observations)
    except (ValueError, RecursionError):
        return None


def rows_of_lines(lines: Iterable[str], name: str, observations: Observations) -> Iterator[RawRow]:
    """A row for each line that holds an object; what is wrong with lines is said behind the last."""
    broken: list[Broken] = []
    twice: Twice = {}
    loads, row = _decoder(twice), 0
    for line, content in enumerate(lines, 1):
        if not content or content.isspace():
            continue
        row += 1
        try:
            value = loads(content.removesuffix("\n"))
        except (ValueError, RecursionError) as problem:
            broken.append((line, _json_problem(problem), content))
            twice.clear()
            continue
        if twice:
            _say_twice(twice, row, line, name, observations)
            twice.clear()
        if isinstance(value, dict):
            yield row, line, value
        else:
            broken.append((line, f"holds {kind_of(value)}, not an object with columns", ""))
    none_is_whole = len(broken) == row
    contents = [content for *_, content in broken[:LOOKED_AT]] if none_is_whole else []
    _say_broken(broken, name, observations, cells_in_place_of_rows(contents, name))


def _decoder(twice: Twice) -> Callable[[str], Any]:
    """Reads JSON and notes each object with a key that stands in it more than once; only the last such value is read."""

    def made(pairs: list[tuple[str, Any]]) -> Row:
        held = dict(pairs)
        if len(held) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice[id(held)] = next(key for key, count in counts.items() if count > 1)
        return held

    return json.JSONDecoder(object_pairs_hook=made).decode


def _say_twice(twice: Twice, row: int, line: int | None, file: str, observations: Observations) -> None:
    """An object with the same key twice, in a row of a file."""
    key = next(iter(twice.values()))
    observations.row(
        "D137",
        file,
        row,
        f"duplicate key {shown(key)}: it stands twice in one object, and only the last value would be read",
        line=line,
        fix="rename one of the two, or delete the one that is not meant",
        severity=ERROR,
        parameters=(DATA_PARAMETER,),
        key="duplicate key",
    )


def _say_twice_within(twice: Twice, rows: Iterable[Row], file: str, observations: Observations) -> None:
    """The same for the rows of a document, or for what holds them."""
    left = dict(twice)
    for number, row in enumerate(rows, 1):
        inside = {known: left.pop(known) for known in map(id, _objects_in(row)) if known in left}
        if inside:
            _say_twice(inside, number, None, file, observations)
    if left:
        key = shown(next(iter(left.values())))
        message = f"{file}: duplicate key {key}: it stands twice in one object, and only the last value would be read"
        observations.say("D137", message, fix="rename one of the two", file=file, parameters=(DATA_PARAMETER,))


def _objects_in(value: Any) -> Iterator[Row]:
    """All objects of a JSON value, itself among them."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects_in(part)


def _json_problem(problem: Exception) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"is not valid JSON: {problem.msg.removesuffix(' at')} at column {problem.colno}"
    return f"is not valid JSON: {problem}"


def _say_broken(
    broken: list[Broken], file: str, observations: Observations, looks: tuple[str, str] | None = None
) -> None:
    """Lines that are no JSON, with what they look like and what to do about it where that is known of all of them."""
    if not broken:
        return
    line, what, content = broken[0]
    looks = looks or how_json_broke(content)
    message = f"{file}, line {line} {what}" + (f": {looks[0]}" if looks else "")
    if len(broken) > 1:
        more = ", …" if len(broken) > FIRST_ROWS else ""
        message += f" ({len(broken)} lines: {', '.join(str(number) for number, *_ in broken[:FIRST_ROWS])}{more})"
    fix = looks[1].replace("FILE", file) if looks else f"sed -n {line}p {file}   shows it"
    observations.say("D104", message, fix=fix, file=file, line=line, parameters=("data_path",))


def _read_json(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """A JSON array, an object that holds one, an object of columns, or JSON Lines under the name .json."""
    try:
        rows = _document(text, name, observations)
    except json.JSONDecodeError as problem:
        if problem.msg == "Extra data":
            yield from _read_lines(text, name, observations)
            return
        lines = text.splitlines()
        line = lines[problem.lineno - 1] if problem.lineno <= len(lines) else ""
        cells = cells_in_place_of_rows(list(filter(str.strip, lines[:LOOKED_AT])), name)
        _say_broken([(problem.lineno, _json_problem(problem), line)], name, observations, cells)
        return
    if rows is not None:
        yield from rows
    elif text.strip() == "[]":
        observations.say("D118", f"{name} holds no rows", file=name, parameters=("data_path",))
    else:
        fix = 'make it [{"text": "…"}, …], or one object a line in a .jsonl file'
        observations.say("D102", f"{name} holds no list of rows", fix=fix, file=name, parameters=("data_path",))


def _document(text: str, name: str, observations: Observations) -> Iterator[RawRow] | None:
    """The rows of a JSON document; None where it holds none."""
    twice: Twice = {}
    value = _decoder(twice)(text)
    rows = _rows_in(value)
    if twice and rows is not None:
        _say_twice_within(twice, rows, name, observations)
    return None if rows is None else ((number, None, row) for number, row in enumerate(rows, 1))


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


def _read_csv(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    first = text.lstrip().split("\n", 1)[0]
    if say_no_cells(first, name, observations):
        return iter(())
    return rows_of_cells(io.StringIO(text, newline=""), delimiter_of(first), name, observations)


def say_no_cells(first_line: str, name: str, observations: Observations) -> bool:
    """Whether a file of cells holds objects of JSON, which is then said."""
    if not is_object(first_line):
        return False
    message = f"{name} holds objects of JSON, one a line, and is a file of cells by its name"
    fix = f"mv {name} {Path(name).with_suffix('.jsonl')}, and --data-path with that"
    observations.say("D102", message, fix=fix, file=name, parameters=(DATA_PARAMETER,))
    return True


def _read_tsv(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    return rows_of_cells(io.StringIO(text, newline=""), "\t", name, observations)


def delimiter_of(first_line: str) -> str:
    """What parts the cells, by the first line."""
    return max(",;\t|", key=first_line.count) if "," not in first_line else ","


def rows_of_cells(lines: Iterable[str], delimiter: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """The rows below the line that names the columns."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    row = 0
    try:
        header = next(filter(None, reader), [])
        if not header or not _header_is_clear(header, name, observations):
            return
        for cells in reader:
            if cells:
                row += 1
                yield _taken(header, cells, row, reader.line_num, name, observations)
    except csv.Error as problem:
        _say_torn(reader.line_num, row + 1, str(problem), name, observations)


def _say_torn(line: int, row: int, problem: str, file: str, observations: Observations) -> None:
    """Cells that end nowhere."""
    if problem == "unexpected end of data":
        what = "a quote that is opened and never closed: all that follows is one cell"
        fix = 'close the quote, or double one that is part of the text: ""'
    else:
        what, fix = f"can't be read as cells: {problem}", f"sed -n {line}p {file}   shows it"
    message = f"{file}, row {row} (up to line {line}): {what}"
    observations.say("D104", message, fix=fix, file=file, row=row, line=line, parameters=("data_path",))


def _header_is_clear(header: list[str], file: str, observations: Observations) -> bool:
    doubled = [name for name, count in Counter(header).items() if count > 1 and name]
    if not doubled:
        return True
    message = f"{file}: duplicate column in the header: {listed(doubled)} (the header is: {listed(header)})"
    observations.say("D107", message, fix="rename one of the two", file=file, line=1, parameters=("text_column",))
    return False


def _taken(header: list[str], cells: list[str], row: int, line: int, name: str, observations: Observations) -> RawRow:
    if len(cells) > len(header):
        what = f"has {len(cells)} cells where the header has {len(header)} columns"
        fix = "put quotes around cells that hold the separator"
        parameters = ("data_path",)
        observations.row(
            "D125", name, row, what, line=line, fix=fix, severity="error", parameters=parameters, key="more cells"
        )
    elif len(cells) < len(header):
        what = f"has {len(cells)} cells where the header has {len(header)} columns; the rest counts as null"
        observations.row("D125", name, row, what, line=line, parameters=("data_path",), key="fewer cells")
        cells = cells + [None] * (len(header) - len(cells))  # type: ignore[list-item]
    return row, line, dict(zip(header, cells, strict=False))


def _read_text(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """Plain text: where blank lines part it, a paragraph is a document; where there are none, a line is one."""
    lines = text.split("\n")
    body = lines[:-1] if lines and not lines[-1].strip() else lines
    say_objects(body[:LOOKED_AT], name, observations)
    return rows_of_text(body, all(line.strip() for line in body))


def say_objects(lines: list[str], name: str, observations: Observations) -> None:
    """A warning where the lines of a plain text are objects of JSON."""
    first = next((line for line in lines if line.strip()), "")
    if not (first.lstrip().startswith("{") and is_object(first)) or not all(map(is_object, filter(str.strip, lines))):
        return
    message = f"{name} is read as plain text, by its name, and its lines are objects of JSON ({first.strip()[:40]}…): braces and all are learnt"
    path = Path(name)
    fix = f"mv {name} {path.with_suffix('' if path.stem.endswith('.jsonl') else '.jsonl')}, and --data-path with that"
    observations.say("D138", message, fix=fix, severity=WARNING, file=name, row=1, parameters=(DATA_PARAMETER,))


def rows_of_text(lines: Iterable[str], by_line: bool) -> Iterator[RawRow]:
    """The documents in lines of text."""
    document: list[str] = []
    row, start = 0, 1
    for number, line in enumerate(chain(lines, [""]), 1):
        if line.strip():
            document.append(line.rstrip("\r\n"))
        if document and (by_line or not line.strip()):
            row += 1
            yield row, start, {"text": "\n".join(document)}
            document = []
        if not document:
            start = number + 1


def _read_whole(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """Markdown: the file is one document."""
    yield 1, 1, {"text": text}


def _read_columns(data: bytes, kind: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """Parquet, or an Arrow file in stream or file form."""
    import pyarrow

    try:
        content = arrow_table(data, kind)
    except (pyarrow.ArrowException, OSError) as problem:
        say_damaged(kind, name, problem, observations)
        return
    if columns_are_clear(content.column_names, name, observations):
        yield from ((number, None, row) for number, row in enumerate(content.to_pylist(), 1))


def say_damaged(kind: str, name: str, problem: Exception, observations: Observations) -> None:
    """A file of columns that can't be read."""
    first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    observations.say("D102", f"{name} is damaged or no {kind} file: {first}", file=name, parameters=("data_path",))


def columns_are_clear(names: Sequence[str], name: str, observations: Observations) -> bool:
    """Whether each column has a name of its own."""
    return len(set(names)) == len(names) or _header_is_clear(list(names), name, observations)


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


def check_types(table: Table, used: set[str], observations: Observations) -> None:
    """A warning for each column that is not used and changes its type: other tools refuse such a file."""
    types = ColumnTypes(table.file, used, observations)
    for row in table.rows:
        types.look(row)


class ColumnTypes:
    """The types that the columns of a table have had so far."""

    def __init__(self, file: str, used: set[str], observations: Observations) -> None:
        self._file, self._passed, self._faults = file, set(used), observations
        self._seen: dict[str, type] = {}

    def look(self, raw: RawRow) -> None:
        """The next row."""
        row, line, columns = raw
        for name, value in columns.items():
            if value is None or name in self._passed:
                continue
            first = self._seen.setdefault(name, type(value))
            if first is not type(value) and {first, type(value)} != {int, float}:
                self._passed.add(name)
                what = f"column {shown(name)} is {kind_of(value)} here and {kind_of(first())} before; it is not used"
                fix = f"make {shown(name)} one type or remove it"
                self._faults.row(
                    "D112", self._file, row, what, line=line, fix=fix, severity=WARNING, parameters=("data_path",)
                )
