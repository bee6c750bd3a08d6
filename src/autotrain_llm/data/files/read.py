"""Files to raw rows: JSON Lines, JSON, CSV, TSV, Parquet, Arrow and plain text. A row is a dict of columns here, nothing more."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, islice, zip_longest
from pathlib import Path
from typing import Any

from autotrain_llm.data.files.decode import decode, read_bytes, utf8_name
from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.files.packing import without_packing
from autotrain_llm.data.files.sniff import (
    cells_in_place_of_rows,
    dialect_of,
    how_json_broke,
    is_object,
    lines_above_header,
    other_content,
)
from autotrain_llm.data.observations import Observations, RowPlace
from autotrain_llm.data.rules.columns import an_unused_column_changes_its_type
from autotrain_llm.data.rules.files import (
    a_file_can_not_be_read,
    a_file_is_not_utf8,
    a_row_has_another_number_of_cells_than_the_header,
    a_text_file_holds_json_objects,
    an_object_has_the_same_key_twice,
    cells_have_single_quotes,
    lines_are_not_valid,
    the_header_is_below_a_title,
    there_are_no_rows,
    two_columns_have_the_same_name,
)
from autotrain_llm.data.turns import is_plain_conversation, is_turn
from autotrain_llm.data.wording import kind_of, listed
from autotrain_llm.declare.document import TOO_DEEP, parse_json

Row = dict[str, Any]
STRUCTURED = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".arrow": "arrow",
}  # fmt: skip
PLAIN = {".txt": "text", ".text": "text", ".md": "document", ".markdown": "document"}
KINDS = STRUCTURED | PLAIN
ROW_ENDINGS = (*STRUCTURED, ".txt")  # of files that are taken for rows by their names; a .md can be any text
LOOKED_AT = 200  # rows that tell what a file holds
BATCH = 1000  # rows of columns that are read at a time
BETWEEN_OBJECTS = re.compile(r"[\s,]*")
JSON_START = re.compile(r"\ufeff?\s*(?:\{\s*\"|\[\s*[\[{])")
END_ALONE = re.compile(r"<\|end[a-z_]*\|>|</s>|<eos>")  # a token that ends texts, and is a line of its own
BLANK, LINE = "", "\n"  # what else ends a text of a plain text file
SEPARATOR_LINE = re.compile(r"[\"']?sep=(.)[\"']?", re.IGNORECASE)
ROW_KEYS = ("data", "rows", "train", "examples", "instances", "records", "items", "entries", "samples", "faq", "faqs")


RawRow = tuple[int, int | None, Row]
Change = Callable[[Iterable[RawRow]], Iterator[RawRow]]
Broken = tuple[int, str, str]  # a line, what is wrong with it, and the line itself


@dataclass(slots=True)
class Table:
    """The rows of one file: `rows` are (row number from 1, line or None, columns), all of them or a `Stream`."""

    file: str
    rows: list[RawRow] | Stream = field(default_factory=list)
    wrapper: str | None = None

    def unwrapped(self, wrapper: str) -> Table:
        """The table of the objects in the column `wrapper`, with the other columns next to their keys."""
        return self._with(_each(lambda cells: [unwrapped(cells, wrapper)]), wrapper)

    def exploded(self, column: str) -> Table:
        """A table with a row for each object in the lists of a column, with the other columns next to its keys. A row without a list stays."""

        def rows_of(cells: Row) -> Iterator[Row]:
            if not isinstance(cells.get(column), list):
                yield cells
                return
            others = {name: value for name, value in cells.items() if name != column}
            yield from (others | inside for inside in cells[column] if isinstance(inside, dict))

        return self.spread(rows_of)

    def spread(self, rows_of: Callable[[Row], Iterable[Row]]) -> Table:
        """A table with the rows that are made of each row, counted from 1, each with the line that it is made of."""
        each = _each(rows_of)

        def numbered(rows: Iterable[RawRow]) -> Iterator[RawRow]:
            yield from ((number, line, cells) for number, (_, line, cells) in enumerate(each(rows), 1))

        return self._with(numbered, self.wrapper)

    def _with(self, change: Change, wrapper: str | None) -> Table:
        """The table of changed rows: of a stream those that are still to be read."""
        if isinstance(self.rows, Stream):
            return Table(self.file, self.rows.changed(change), wrapper)
        return Table(self.file, list(change(self.rows)), wrapper)

    def selected(self, is_chosen: bytearray) -> Table:
        """The table with the rows that are chosen: a byte for each, not zero for one that is."""
        return self._with(lambda rows: compress(rows, is_chosen), self.wrapper)

    def in_memory(self) -> Table:
        return Table(self.file, list(self.rows), self.wrapper)

    def changed(self, change: Callable[[Row], Row | None], left_out: Callable[[RowPlace], None] | None = None) -> Table:
        """The table of changed rows, without those of which nothing is left: `left_out` is called with the place of each."""

        def made(rows: Iterable[RawRow]) -> Iterator[RawRow]:
            for number, line, cells in rows:
                changed = change(cells)
                if changed is not None:
                    yield number, line, changed
                elif left_out is not None:
                    left_out(RowPlace(self.file, number, line))

        return self._with(made, self.wrapper)

    def first(self) -> list[RawRow]:
        """The first rows, from which the format is detected."""
        return self.rows.head if isinstance(self.rows, Stream) else self.rows[:LOOKED_AT]


def unwrapped(cells: Row, wrapper: str) -> Row:
    """The row inside the column `wrapper` of a row, with the row's other columns."""
    inside = cells.get(wrapper)
    others = {name: value for name, value in cells.items() if name != wrapper}
    return {**others, **inside} if isinstance(inside, dict) else cells


class Stream:
    """Rows of a large file, read while they are iterated over, which is possible once. The first of them are read at once and can be
    inspected before."""

    def __init__(self, rows: Iterator[RawRow]) -> None:
        self._rows = rows
        self.head = list(islice(rows, LOOKED_AT))
        self._count = len(self.head)

    def changed(self, change: Change) -> Stream:
        """The stream of changed rows, in place of this one."""
        return Stream(iter(change(chain(self.head, self._rows))))

    def __len__(self) -> int:
        """How many rows were read so far."""
        return self._count

    def __iter__(self) -> Iterator[RawRow]:
        for count, row in enumerate(chain(self.head, self._rows), 1):
            self._count = max(self._count, count)
            yield row


def _each(rows_of: Callable[[Row], Iterable[Row]]) -> Change:
    """A change of each row into others, with its number and line."""

    def change(rows: Iterable[RawRow]) -> Iterator[RawRow]:
        yield from ((number, line, made) for number, line, cells in rows for made in rows_of(cells))

    return change


def first_of(rows: Generator[RawRow], most: int | None) -> Generator[RawRow]:
    """The first `most` of some rows, which are closed then: what is wrong with lines that were passed over is reported when the rows end."""
    yield from rows if most is None else islice(rows, most)
    rows.close()


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, without that of its compression (`.gz`, `.zst`)."""
    return Path(without_packing(path.name)).suffix.lower()


def read_table(
    path: Path,
    name: str,
    observations: Observations,
    digest: Any,
    most: int | None = None,
    keep: RowFilter | None = None,
) -> Table:
    """The rows of a file that `keep` passes (the first `most`); `digest` is fed its bytes, so that content is read and hashed once."""
    data = read_bytes(path, name, observations)
    table = Table(name)
    if data is None:
        return table
    digest.update(name.encode("utf-8", "surrogateescape"))
    digest.update(data)
    if not data.strip():
        observations.add(there_are_no_rows, name=name, case="empty")
        return table
    kind = kind_of_file(path, data)
    # A plain text may be a page of HTML.
    other = other_content(data, name, rows=kind not in PLAIN.values())
    if other is not None and other.encoding:
        observations.add(
            a_file_is_not_utf8, file=name, encoding=other.encoding, converted=utf8_name(name), by_null_bytes=True
        )
        return table
    if other is not None:
        observations.add(a_file_can_not_be_read, file=name, case="other content", detail=other.what, advice=other.fix)
        return table
    if kind is None:
        suffix = suffix_of(path)
        if suffix == ".py":
            observations.add(a_file_can_not_be_read, file=name, case="script")
        else:
            formats = listed(KINDS)
            observations.add(
                a_file_can_not_be_read, file=name, case="format", detail=suffix or "a file like this", advice=formats
            )
        return table
    rows = _rows_of(data, kind, name, observations)
    return Table(name, list(first_of(rows if keep is None else keep(rows), most)))


def _rows_of(data: bytes, kind: str, name: str, observations: Observations) -> Generator[RawRow]:
    """The rows in the bytes of a file."""
    if kind in ("parquet", "arrow"):
        yield from rows_of_columns(data, kind, name, observations)
        return
    text = decode(data, name, observations)
    if text is not None:
        yield from READERS[kind](text, name, observations)


def kind_of_file(path: Path, data: bytes) -> str | None:
    """The format of a file: by its content if that is certain, else by its name."""
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
    if text.lstrip().startswith("["):
        try:
            rows = _document(text, name, observations)
        except ValueError:  # lines that are arrays, or that begin like one
            rows = None
        if rows is not None:
            return rows
    objects = _objects_in_a_row(text, name, observations)
    return rows_of_lines(text.split("\n"), name, observations) if objects is None else objects


def _objects_in_a_row(text: str, name: str, observations: Observations) -> Iterator[RawRow] | None:
    """The rows of a text of objects that follow one another, over several lines each, or with commas between them as in an array without
    brackets; None for lines of one object each, and for anything else."""
    first_line = text.lstrip().partition("\n")[0]
    if not first_line.startswith("{") or is_object(first_line):
        return None
    decoder, rows, at = _Decoder(), list[Row](), 0
    while (at := BETWEEN_OBJECTS.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        try:
            value, end = decoder.decode_at(text, at)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        rows.append(value)
        at = end
    _observe_doubled_in(rows, decoder.doubled, name, observations)
    return ((number, None, row) for number, row in enumerate(rows, 1))


def rows_of_lines(
    lines: Iterable[str], name: str, observations: Observations, *, at_once: bool = False
) -> Generator[RawRow]:
    """A row for each line that holds an object; invalid lines are reported after the last line, or `at_once`: the first ends the rows."""
    broken: list[Broken] = []
    decoder, row = _Decoder(), 0

    def observe() -> None:
        if broken:
            none_is_whole = len(broken) == row
            contents = [content for *_, content in broken[:LOOKED_AT]] if none_is_whole else []
            _observe_broken(broken, name, observations, cells_in_place_of_rows(contents, name))

    try:
        for line, content in enumerate(lines, 1):
            if not content or content.isspace():
                continue
            row += 1
            try:
                value = decoder.decode(content.removesuffix("\n"))
            except ValueError as problem:
                broken.append((line, _json_problem(problem), content))
                decoder.doubled.clear()
                if at_once:
                    break
                continue
            if decoder.doubled:
                _observe_doubled(decoder.doubled, RowPlace(name, row, line), observations)
                decoder.doubled.clear()
            value = _row_of(value)
            if isinstance(value, dict):
                yield row, line, value
            else:
                broken.append((line, f"holds {kind_of(value)}, not an object with columns", ""))
                if at_once:
                    break
    except GeneratorExit:  # as many rows as are wanted were read
        observe()
        raise
    observe()


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
        _observe_broken([(problem.lineno, _json_problem(problem), line)], name, observations, cells)
        return
    except ValueError as problem:  # too deep
        _observe_broken([(1, _json_problem(problem), "")], name, observations)
        return
    if rows is not None:
        yield from rows
    elif text.strip() == "[]":
        observations.add(there_are_no_rows, name=name)
    else:
        observations.add(a_file_can_not_be_read, file=name, case="no rows")


def _document(text: str, name: str, observations: Observations) -> Iterator[RawRow] | None:
    """The rows of a JSON document; None if it holds none."""
    decoder = _Decoder()
    rows = _rows_in(decoder.decode(text))
    if rows is None:
        return None
    _observe_doubled_in(rows, decoder.doubled, name, observations)
    if decoder.doubled:  # in what holds the rows
        observations.add(an_object_has_the_same_key_twice, key=next(iter(decoder.doubled.values())), file=name)
    return ((row_number, None, row) for row_number, row in enumerate(rows, 1))


def _rows_in(value: Any) -> list[Row] | None:
    """The rows of a parsed JSON document in any usual form: a list, a list under a key, columns, or a form that pandas writes."""
    if is_plain_conversation(value):  # the file is one conversation
        return [{"messages": value}]
    if isinstance(value, list):
        list_of_rows = [_row_of(row) for row in value]
        return list_of_rows if list_of_rows and all(isinstance(row, dict) for row in list_of_rows) else None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):  # pandas, orient="split"
        return [
            dict(zip(value["columns"], cells, strict=False)) for cells in value["data"] if isinstance(cells, list)
        ] or None
    wrapped = _wrapped(value)
    if wrapped is not None:
        return wrapped
    columns = list(value.values())
    if columns and all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    if columns and all(isinstance(column, dict) and column for column in columns):
        if all(key.isdecimal() for key in value):  # orient="index"
            return columns
        if all(
            column.keys() == columns[0].keys() and all(map(str.isdecimal, column)) for column in columns
        ):  # orient="columns"
            return [{name: value[name][key] for name in value} for key in columns[0]]
        if _are_keyed(value):
            return [{"key": key, **row} for key, row in value.items()]
    return [value]


def _wrapped(value: Row) -> list[Row] | None:
    """The rows under a key of an object, each with what stands beside them and is said of all: a system prompt, tools, an instruction. None if there are
    none."""
    for key in (*ROW_KEYS, *value):
        rows = value.get(key)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows) and _wraps(key, value):
            beside = {name: part for name, part in value.items() if name != key and not _are_rows(part, rows[0])}
            beside = {} if "fields" in _dict(beside.get("schema")) else beside  # pandas, orient="table"
            return [{**beside, **row} for row in rows] if beside else rows
    inner = _dict(next(iter(value.values()), None)) if len(value) == 1 else {}
    return _wrapped(inner) if inner else None


def _dict(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


def _are_rows(value: Any, row: Row) -> bool:
    """Whether a list holds rows like this one, as that of another split."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and value[0].keys() == row.keys()


def _are_keyed(value: Row) -> bool:
    """Whether an object has a row under each of its keys, which identify them: objects with the same keys, among them texts that differ."""
    rows = list(value.values())
    are_alike = len(rows) > 3 and not any(map(is_turn, rows)) and len({*map(frozenset, rows)}) == 1
    return are_alike and any(
        all(isinstance(row[key], str) for row in rows) and len({row[key] for row in rows}) * 2 > len(rows)
        for key in rows[0]
    )


def _row_of(value: Any) -> Any:
    """A row; a list of turns is the row that holds them."""
    return {"messages": value} if is_plain_conversation(value) else value


def _wraps(key: str, value: Row) -> bool:
    """Whether this key holds the rows, and is not a column of the one row that the whole file is."""
    rows = value[key]
    others = [part for name, part in value.items() if name != key]
    is_alone = all(
        not isinstance(part, list | dict) and " " not in str(part) for part in others
    )  # as in an API's answer
    return key in ROW_KEYS or (is_alone and len(rows) > (1 if others else 0) and not any(map(is_turn, rows)))


def _read_text(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """Plain text: where lines have a token that ends texts, it ends a document; else a paragraph is one where blank lines split the text, and a line where
    there are none. A text that is JSON is read as JSON."""
    if JSON_START.match(text) and _holds_json(text, name, observations):
        return _read_json(text, name, observations)
    lines = text.split("\n")
    body = lines[:-1] if lines and not lines[-1].strip() else lines
    return rows_of_text(body, how_texts_end(body))


def _holds_json(text: str, name: str, observations: Observations) -> bool:
    """Whether a plain text is a JSON document that holds rows, or lines of JSON objects."""
    if holds_json_lines(text.split("\n")[:LOOKED_AT], name, observations):
        return True
    try:
        rows = _rows_in(parse_json(text))
    except ValueError:
        objects = _objects_in_a_row(text, name, Observations())
        rows = None if objects is None else [row for *_, row in objects]
    if rows is not None:
        observe_json(json.dumps(rows[0], ensure_ascii=False), name, observations)
    return rows is not None


def how_texts_end(lines: Iterable[str]) -> str:
    """What ends a document of a plain text: a token that stands alone in a line, `<|endoftext|>`; else an empty line; else, in a text without any, the line
    itself."""
    is_blank = False
    for line in lines:
        word = line.strip()
        if END_ALONE.fullmatch(word):
            return word
        is_blank = is_blank or not word
    return BLANK if is_blank else LINE


def rows_of_text(lines: Iterable[str], end: str) -> Iterator[RawRow]:
    """The documents in lines of text; `end` is what `how_texts_end` says."""
    document: list[str] = []
    row, start = 0, 1
    for line_number, line in enumerate(chain(lines, [end]), 1):
        is_end = line.strip() == end
        if not is_end and (line.strip() or document):
            document.append(line.rstrip("\r\n"))
        if document and (is_end or end == LINE):
            row += 1
            yield row, start, {"text": "\n".join(document).rstrip("\n")}
            document = []
        if not document:
            start = line_number + 1


def _read_whole(text: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """Markdown: the file is one document."""
    yield 1, 1, {"text": text}


def rows_of_columns(file: Path | bytes, kind: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """The rows of a Parquet file, or of an Arrow file in stream or file form: some at a time, as its bytes may be more than memory holds."""
    import pyarrow

    row_number = 0
    try:
        for batch in _batches(file, kind):
            if not row_number and not has_clear_columns(batch.schema.names, name, observations):
                return
            for row in rows_of_arrow(batch):
                row_number += 1
                yield row_number, None, row
    except (pyarrow.ArrowException, OSError) as problem:
        first_line = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        observations.add(a_file_can_not_be_read, file=name, case="columns", detail=f"{kind} file: {first_line}")


def _batches(file: Path | bytes, kind: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow import ipc, parquet

    with pyarrow.BufferReader(file) if isinstance(file, bytes) else pyarrow.memory_map(str(file)) as opened:
        if kind == "parquet":
            yield from parquet.ParquetFile(opened).iter_batches(BATCH)
            return
        try:
            batches = iter(ipc.open_stream(opened))
        except pyarrow.ArrowInvalid:
            whole = ipc.open_file(opened)
            batches = map(whole.get_batch, range(whole.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH):
                yield batch.slice(start, BATCH)


def rows_of_arrow(batch: Any) -> list[Row]:
    """The rows of a pyarrow batch. Inside objects, a key that is null is one that Arrow added because another row has it.

    Raises pyarrow.ArrowInvalid for values that are damaged.
    """
    import pyarrow

    # An offset that points nowhere would end the process, and text that is no UTF-8 the reading.
    batch.validate(full=True)
    rows = batch.to_pylist()
    nested = [field.name for field in batch.schema if pyarrow.types.is_nested(field.type)]
    for row in rows if nested else ():
        row.update({name: without_nulls(row[name]) for name in nested})
    return rows


def without_nulls(value: Any) -> Any:
    """A value of an Arrow table without the keys that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


READERS = {
    "lines": _read_lines,
    "json": _read_json,
    "csv": lambda text, name, observations: rows_of_table(io.StringIO(text, newline=""), "csv", name, observations),
    "tsv": lambda text, name, observations: rows_of_table(io.StringIO(text, newline=""), "tsv", name, observations),
    "text": _read_text,
    "document": _read_whole,
}


class ColumnTypes:
    """The types that the columns of a table have had so far."""

    def __init__(self, file: str, used: set[str], observations: Observations) -> None:
        self._file, self._passed, self._observations = file, set(used), observations
        self._seen: dict[str, type] = {}

    def look(self, raw: RawRow) -> None:
        """Compare the types of another row with those so far."""
        row, line, columns = raw
        for name, value in columns.items():
            if value is None or name in self._passed:
                continue
            first_type = self._seen.setdefault(name, type(value))
            if first_type is not type(value) and {first_type, type(value)} != {int, float}:
                self._passed.add(name)
                self._observations.row(
                    an_unused_column_changes_its_type,
                    RowPlace(self._file, row, line),
                    column=name,
                    kind=kind_of(value),
                    earlier_kind=kind_of(first_type()),
                )


class _Decoder:
    """Reads JSON. `doubled` are objects in which a key occurs more than once, by identity, with that key; only its last value is read.

    Raises ValueError like `parse_json`, which would make a decoder for each line.
    """

    def __init__(self) -> None:
        self.doubled: dict[int, str] = {}
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def decode(self, text: str) -> Any:
        """The value of a text."""
        try:
            return self._decoder.decode(text)
        except RecursionError:
            raise ValueError(TOO_DEEP) from None

    def decode_at(self, text: str, start: int) -> tuple[Any, int]:
        """The value that begins at a place in a text, and where it ends."""
        try:
            return self._decoder.raw_decode(text, start)
        except RecursionError:
            raise ValueError(TOO_DEEP) from None

    def _object(self, pairs: list[tuple[str, Any]]) -> Row:
        made = dict(pairs)
        if len(made) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.doubled[id(made)] = next(key for key, count in counts.items() if count > 1)
        return made


def _observe_doubled(doubled: dict[int, str], at: RowPlace, observations: Observations) -> None:
    key = next(iter(doubled.values()))
    observations.row(an_object_has_the_same_key_twice, at, "duplicate key", key=key)


def _observe_doubled_in(rows: list[Row], doubled: dict[int, str], name: str, observations: Observations) -> None:
    """Report the objects of `doubled` that are in rows, and take them out of it."""
    for row_number, row in enumerate(rows, 1) if doubled else ():
        inside = {object_id: doubled.pop(object_id) for object_id in map(id, _objects_in(row)) if object_id in doubled}
        if inside:
            _observe_doubled(inside, RowPlace(name, row_number), observations)


def _observe_broken(
    broken: list[Broken], file: str, observations: Observations, looks: tuple[str, str] | None = None
) -> None:
    """Report lines that are not valid JSON, with the cause and the correction if all have the same known cause."""
    _, problem, content = broken[0]
    looks_like, advice = looks or how_json_broke(content) or ("", "")
    lines = [line for line, *_ in broken]
    observations.add(lines_are_not_valid, file=file, lines=lines, problem=problem, looks_like=looks_like, advice=advice)


def rows_of_table(lines: Iterable[str], kind: str, name: str, observations: Observations) -> Iterator[RawRow]:
    """The rows of a CSV or TSV file, below the line that names the columns."""
    csv.field_size_limit(sys.maxsize)
    lines, start, header_line = iter(lines), [], ""
    for header_line in lines:
        start.append(header_line)
        if header_line.strip():
            break
    if is_object(header_line):
        renamed = str(Path(name).with_suffix(".jsonl"))
        observations.add(a_file_can_not_be_read, file=name, case="JSON as cells", advice=renamed)
        return
    separator = SEPARATOR_LINE.fullmatch(header_line.strip())
    if separator:  # spreadsheets write which separator follows
        start, header_line = [], next(lines, "")
        start.append(header_line)
    start += islice(lines, LOOKED_AT)
    likely = "\t" if kind == "tsv" else "," if "," in header_line else max(",;\t|", key=header_line.count)
    dialect = dialect_of(start, [separator[1]] if separator else list(dict.fromkeys((likely, *",;\t|"))))
    if dialect.quote == "'":
        observations.add(cells_have_single_quotes, file=name, separator=dialect.separator)
    if above := lines_above_header(start, dialect):
        observations.add(the_header_is_below_a_title, file=name, above=above, title=start[0].strip()[:40])
        return
    reader = csv.reader(chain(start, lines), delimiter=dialect.separator, quotechar=dialect.quote, strict=True)
    row = 0
    try:
        header = next(filter(None, reader), [])
        if not header or not has_clear_columns(header, name, observations):
            return
        for cells in reader:
            if not cells:
                continue
            row += 1
            if len(cells) != len(header):
                case = "more" if len(cells) > len(header) else "fewer"
                observations.row(
                    a_row_has_another_number_of_cells_than_the_header,
                    RowPlace(name, row, reader.line_num),
                    case,
                    case=case,
                    cells=len(cells),
                    columns=len(header),
                )
            yield row, reader.line_num, dict(zip_longest(header, cells[: len(header)]))
    except csv.Error as error:
        problem, advice = f"can't be read as cells: {error}", ""
        if str(error) == "unexpected end of data":
            problem = "a quote that is opened and never closed: everything after it is one cell"
            advice = 'close the quote, or double one that is part of the text: ""'
        observations.add(
            lines_are_not_valid, file=name, lines=[reader.line_num], problem=problem, advice=advice, row=row + 1
        )


def holds_json_lines(lines: list[str], name: str, observations: Observations) -> bool:
    """Whether the lines of a plain text are JSON objects; if so, that is reported."""
    first_line = next((line for line in lines if line.strip()), "")
    is_json = (
        first_line.lstrip().startswith("{") and is_object(first_line) and all(map(is_object, filter(str.strip, lines)))
    )
    if is_json:
        observe_json(first_line.strip(), name, observations)
    return is_json


def observe_json(first: str, name: str, observations: Observations) -> None:
    """Report a plain text file that is read as JSON; `first` is its first row."""
    path = Path(name)
    renamed = str(path.with_suffix("" if path.stem.endswith((".jsonl", ".json")) else ".jsonl"))
    observations.add(a_text_file_holds_json_objects, file=name, first=first[:40], renamed=renamed)


def has_clear_columns(names: Sequence[str], file: str, observations: Observations) -> bool:
    """Whether no two columns have the same name; several may have none."""
    doubled = [name for name, count in Counter(names).items() if count > 1 and name]
    if doubled:
        observations.add(two_columns_have_the_same_name, file=file, doubled=doubled, header=list(names))
    return not doubled
