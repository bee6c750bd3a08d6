"""Detect what a file really contains from its first bytes, and why a line is not valid JSON from its text."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from autotrain_llm.data.wording import ROW_OF_TURNS
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.lfs import LFS_POINTER, NEVER_DOWNLOADED

MOST_WORDS_OF_A_NAME = 6
HEAD = 4096
UNPACK = "unpack it ({command}), and give the file that is in it"
AS_ROWS = "save its rows as JSON Lines, CSV or Parquet"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
KINDS = {
    **dict.fromkeys(ZIP, ("a zip archive", UNPACK.format(command="unzip {file}"))),
    b"\xfd7zXZ\x00": ("an xz archive", UNPACK.format(command="xz -dk {file}")),
    b"BZh": ("a bzip2 archive", UNPACK.format(command="bzip2 -dk {file}")),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK.format(command="7z x {file}")),
    b"%PDF": ("a PDF", "save its text as JSON Lines"),
    b"\x93NUMPY": ("a NumPy array", AS_ROWS),
    b"\x89HDF": ("an HDF5 file", AS_ROWS),
    b"SQLite format 3": ("an SQLite database", AS_ROWS),
}
OFFICE = {
    ".xlsx": ("a spreadsheet", "save the sheet as CSV"),
    ".ods": ("a spreadsheet", "save the sheet as CSV"),
    ".docx": ("a word processor's document", "save its text as a .txt file"),
    ".pt": ("a PyTorch file", AS_ROWS),
    ".npz": ("NumPy arrays", AS_ROWS),
}
HTML = re.compile(rb"\s*<(?:!doctype html|html|head|\?xml)", re.IGNORECASE)
CONFLICT = re.compile(r"<{7} |={7}$|>{7} ")
PYTHON_WORDS = re.compile(r"(?<![\w\"])(None|True|False)(?![\w\"])")
COLUMN_NAME = re.compile(r"[^\W\d][\w .-]{0,40}")
LONE_COLUMNS = ("text", "content", "prompt", "question", "instruction", "sentence", "document")
BARE_KEY = re.compile(r"\{\s*[A-Za-z_]\w*\s*:")


class Dialect(NamedTuple):
    """What parts the cells of a table, and what is around one with such a sign in it."""

    separator: str
    quote: str


def lines_above_header(lines: Sequence[str], dialect: Dialect) -> int:
    """How many lines stand above the names of the columns, such as the title of a sheet; 0 if there are none. The names are in the first line all of whose
    cells are filled, if those above have half as many at most, and all below as many as it."""
    try:
        reader = csv.reader(lines, delimiter=dialect.separator, quotechar=dialect.quote)
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error:
        return 0
    filled = [sum(bool(cell.strip()) for cell in cells) for _, cells in rows]
    at = next((at for at, (_, cells) in enumerate(rows) if cells and filled[at] == len(cells) > 1), 0)
    names = rows[at][1] if rows else []
    above = [cells for _, cells in rows[:at] if cells]
    is_title = any(len(cells) == len(names) or " " in "".join(cells) for cells in above)
    are_names = len({*names}) == len(names) and all(len(name.split()) < MOST_WORDS_OF_A_NAME for name in names)
    is_even = sum(len(cells) == len(names) for _, cells in rows[at + 1 :] if cells) > 1 and all(
        len(cells) == len(names) for _, cells in rows[at + 1 :] if cells
    )
    is_below = above and is_title and are_names and is_even and max(filled[:at]) * 2 <= len(names)
    return rows[at - 1][0] if is_below else 0


def dialect_of(lines: Sequence[str], separators: Sequence[str]) -> Dialect:
    """The dialect in which all of the first lines have as many cells: with the first of these separators, if that is one, or if none is."""
    usual = Dialect(separators[0], '"')
    others = [Dialect(sign, quote) for quote in "'\"" for sign in separators]
    return next((dialect for dialect in (others[0], usual, *others) if _is_even(lines, dialect)), usual)


def _is_even(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether lines have as many cells each in a dialect, and more than one; the last of them may be broken off. Single quotes have to be around whole
    cells of most lines."""
    if dialect.quote == "'":
        sign = re.escape(dialect.separator)
        quoted = re.compile(rf"(?:^|{sign})'.*'(?:{sign}|\s*$)", re.DOTALL)
        if sum(quoted.search(line) is not None for line in lines) * 2 <= len(lines):
            return False
    sizes = []
    try:
        for cells in csv.reader(lines, delimiter=dialect.separator, quotechar=dialect.quote, strict=True):
            sizes += [len(cells)] if cells else []
    except csv.Error as problem:
        if "unexpected end" not in str(problem):
            return False
    return len(sizes) > 0 and set(sizes) == {sizes[0]} and sizes[0] > 1


def how_json_broke(line: str) -> tuple[str, str] | None:
    """The cause why a line is not valid JSON, and how to correct it; None if the cause is not recognised."""
    text = line.strip()
    if CONFLICT.match(text):
        return ("a Git merge conflict marker", "resolve the conflict: keep one side, and delete the three markers")
    if text in ("{", "[", "}", "]", "},") or (text.startswith('"') and text.endswith((",", "{", "["))):
        return (
            "one object spread over several lines",
            "jq -c . FILE > lines.jsonl, or call the file .json if it is one document",
        )
    if text.endswith(",") and _parses(text[:-1]):
        return (
            "a comma after the object",
            "each line is an object of its own, with no comma behind: sed -i 's/,$//' FILE",
        )
    if re.search(r",\s*[}\]]", text) and _parses(re.sub(r",(\s*[}\]])", r"\1", text)):
        return "a comma before the closing bracket", "delete it"
    if text.startswith("{'") or BARE_KEY.match(text) or (text.startswith("{") and PYTHON_WORDS.search(text)):
        return (
            "written as Python or JavaScript writes it",
            "JSON has double quotes, null, true and false: write rows with json.dumps(row)",
        )
    if _parses_twice(text):
        return "more than one object on the line", "put each on a line of its own"
    if text.startswith("{") and text.count('"') % 2:
        return (
            "a text that does not end on its line",
            r"a line feed inside a text is written \n: write rows with json.dumps(row)",
        )
    return None


def cells_in_place_of_rows(lines: Sequence[str], file: str) -> tuple[str, str] | None:
    """What a file looks like that has no line of JSON (a line of column names, and rows with as many cells), and what to do; None if it
    does not look like that."""
    if len(lines) < 2 or any(line.lstrip()[:1] in ("{", "[") for line in lines):
        return None
    parted = max(",;\t|", key=lines[0].count)
    try:
        header, *rows = csv.reader(lines, delimiter=parted)
    except csv.Error:
        return None
    names = [name.strip() for name in header]
    if not all(map(COLUMN_NAME.fullmatch, names)) or (len(names) == 1 and names[0].lower() not in LONE_COLUMNS):
        return None
    if len(names) > 1 and sum(len(cells) == len(names) for cells in rows) * 2 < len(rows):
        return None
    kind, suffix = ("TSV", ".tsv") if parted == "\t" and len(names) > 1 else ("CSV", ".csv")
    renamed = re.sub(r"\.(jsonl|ndjson|json)(?=(\.gz|\.zstd?)?$)", suffix, file, flags=re.IGNORECASE)
    what = f"it looks like {kind}, and names the columns {', '.join(names[:6])}"
    return what, f"mv {file} {renamed}, and --data-path with that"


def is_object(line: str) -> bool:
    """Whether a line is one whole JSON object."""
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def _parses(text: str) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


def _parses_twice(text: str) -> bool:
    """Whether whole values of JSON follow one another."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
        json.JSONDecoder().raw_decode(text[end:].lstrip())
    except (ValueError, RecursionError):
        return False
    return True


class OtherContent(NamedTuple):
    """The actual content of a file that does not match its name, and what to do about it. `encoding` is set for text that is not UTF-8."""

    what: str
    fix: str
    encoding: str = ""


# Rows and subtitles that are written as text, by their first lines.
TEXT_FORMS = (
    (
        re.compile(rb"(?:\xef\xbb\xbf)?#separator:\w+\r?\n"),
        OtherContent(
            "is an export of Anki, with a card in each line",
            'write each card as a row, {"prompt": "front", "completion": "back"}, into a .jsonl file; or export it as CSV',
        ),
    ),
    (
        re.compile(rb"(?:id:\S*\t)?text:[^\n]*\t(?:labels|eval_labels|episode_done):"),
        OtherContent(
            "is a dialogue file of ParlAI, with text: and labels: in each line",
            f"write each episode as a row of messages, {ROW_OF_TURNS}, into a .jsonl file",
        ),
    ),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?(?:WEBVTT[^\n]*\r?\n(?:[^\n]*\r?\n){0,6}?)?(?:\d+\r?\n)?\d\d?:\d\d(?::\d\d)?[.,]\d{3} --> \d\d?:\d\d"),
        OtherContent("is a file of subtitles, with the times of each", "take out the numbers and times, and leave a blank line between texts that don't belong together"),
    ),
)  # fmt: skip


def other_content(data: bytes, name: str, rows: bool = True) -> OtherContent | None:
    """What a file contains instead of text, or of `rows`; None if nothing contradicts its name."""
    head = data[:HEAD]
    if head.startswith(LFS_POINTER):
        return OtherContent(NEVER_DOWNLOADED, "git lfs pull, or download it again")
    if rows and HTML.match(head):
        what = "is an HTML page, as a link or a login answers in place of a file"
        return OtherContent(what, "download the file itself (its raw or resolve link)")
    form = None if rows else next((form for pattern, form in TEXT_FORMS if pattern.match(head)), None)
    if form is not None:
        return form
    for mark, kind in KINDS.items():
        if head.startswith(mark):
            what, fix = OFFICE.get(Path(name).suffix.lower(), kind) if mark in ZIP else kind
            return OtherContent(f"is {what}", fix.replace("{file}", shlex.quote(name)))
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return OtherContent("is a Python pickle, which can run code when it is read", AS_ROWS)
    # UTF-16 without a mark reads as UTF-8 with a null after, or before, nearly every letter.
    half = len(head) // 2
    if half >= 4 and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        for start, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):
            if head[start::2].count(0) > 0.7 * half and head[1 - start :: 2].count(0) < 0.1 * half:
                return OtherContent("", "", encoding)
    return None
