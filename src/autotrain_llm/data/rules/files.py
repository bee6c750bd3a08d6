"""Findings about files: what is not there, can't be read, or is something else than its name says."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from autotrain_llm.data.observations import DATA_PARAMETER, counted
from autotrain_llm.data.wording import listed, parameter_of, shown
from autotrain_llm.declare.example import SFT, TWO, Example, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural

DATA = (DATA_PARAMETER,)
OTHER_DATA = "--data-path <a file or folder of rows>"


@rule("D101", example=Example(SFT + "./nowhere.jsonl", SFT + "rows.jsonl"))
def the_path_leads_to_no_data(
    flag: str,
    path: str,
    case: str,
    nearest: str | None = None,
    contents: str | int = "",
    kinds: Sequence[str] = (),
    unquoted: str | None = None,
) -> Iterator[Finding]:
    """The path does not exist, or the folder has no data in it, or too much to look through.

    Why: a name with a dot, a leading slash or a data suffix is never looked for on the Hub, so a typing error is not taken for a Hub id. All files of
    a folder and those below it are rows; of one with more than 100,000 files and folders, a whole disk, that is not meant.
    Fix: the right path; if a file nearby has almost this name, the finding suggests it.
    """
    fix, changes = None, {parameter_of(flag): unquoted} if unquoted else {}
    guess = {parameter_of(flag): nearest} if nearest else {}
    match case:
        case "address":
            message = f"{flag} {path} is a web address; data is read from local files"
            fix = "download it, or give a Hub id (owner/name)"
        case "special":
            message = f"{flag} {path} is a pipe, a socket or a device, and rows are read more than once"
            fix = "write them to a file first, and give that"
        case "several":
            message = f"{flag} {path}: there is no such file or folder; it takes one path, not several"
            fix = "put the files into one folder, and give the folder"
            if flag == "--data-path":
                fix += "; or list them in a file for --data-config, with their weights"
        case "model":
            message, fix = f"{flag} {path} holds a model (config.json), not data", f"{flag} <a file or folder of rows>"
        case "no data file":
            message, fix = f"{flag} {path} holds no data file ({contents})", f"files can be: {listed(kinds)}"
        case "too many files":
            message = (
                f"{flag} {path} holds more than {contents:,} files and folders, all of which would be searched for rows"
            )
            fix = f"{flag} <the folder or file of the rows>; many small files are better written as one of JSON Lines"
        case _:
            message = f"{flag} {path}: there is no such file or folder"
            fix = None if guess else f"{flag} <an existing file or folder>"
    yield Finding(message, fix, (parameter_of(flag),), changes=changes, guess=guess)


@rule(
    "D102",
    example=Example(SFT + "rows.parquet", SFT + "rows.jsonl", wrong="echo 'PAR1 and no more' > rows.parquet"),
)
def a_file_can_not_be_read(
    file: str, case: str, detail: str = "", advice: str | None = None, flag: str = "--data-path"
) -> Iterator[Finding]:
    """A file can't be read, or its content does not match its name.

    Why: you may not read it, it is damaged, its format is not supported, or it is a Git LFS pointer (a download that was never finished), an
    HTML page or an archive.
    Fix: as the finding says: set the rights, unpack or download the file again, or save its rows as JSON Lines.
    """
    messages = {
        "error": (f"{file} can't be read: {detail}", None),
        "packed": (f"{file} is a damaged {detail} file", "compress it again"),
        "permission": (f"{flag} {file} can't be read: no permission for {detail}", f"chmod -R u+rX {file}"),
        "saved data set": (
            f"{flag} {file} looks like a saved data set, but its description can't be read: {detail}",
            "save it again",
        ),
        "format": (f"{file}: {detail} is not a supported format (known: {advice})", "save it as JSON Lines"),
        "script": (
            f"{file} is a Python loading script, and code that comes with data is never run",
            "run it once, and save its rows as JSON Lines, CSV or Parquet",
        ),
        "no rows": (
            f"{file} holds no list of rows",
            'make it [{"text": "…"}, …], or write one object per line into a .jsonl file',
        ),
        "JSON as cells": (
            f"{file} is named as a table, but holds JSON objects, one per line",
            f"mv {file} {advice}, and give that as --data-path",
        ),
        "columns": (f"{file} is damaged or not a {detail}", "download or save it again"),
        "stream": (
            f"{file} can only be read as a whole, and --streaming reads rows one after another",
            "save it as JSON Lines, CSV, plain text, Parquet or Arrow, or leave out --streaming",
        ),
    }
    message, fix = messages.get(case, (f"{file} {detail}", advice))
    about = None if case == "saved data set" else file
    yield Finding(message, fix, (parameter_of(flag),), file=about)


@rule("D104", example=of_rows('{"text": "One."\n{"text": "Two."}\n'))
def lines_are_not_valid(
    file: str, lines: Sequence[int], problem: str, looks_like: str = "", advice: str = "", row: int | None = None
) -> Iterator[Finding]:
    """A line is not valid JSON, or a row of a CSV file can't be split into cells.

    Why: a broken line is often a sign that more of the file is damaged, so none of its rows are used.
    Fix: correct the line; if its cause is recognised (a trailing comma, Python's quotes, a merge conflict), the finding names it.
    """
    line = lines[0]
    if row is not None:
        message = f"{file}, row {row} (up to line {line}): {problem}"
    else:
        message = f"{file}, line {line} {problem}" + (f": {looks_like}" if looks_like else "")
        message += counted(lines, len(lines), "lines")
    fix = advice.replace("FILE", file) or f"correct the line, which `sed -n {line}p {file}` shows"
    yield Finding(message, fix, DATA, file=file, row=row, line=line)


@rule("D105", example=of_rows('{"text": "Größe"}\n', encoding="latin-1"))
def a_file_is_not_utf8(
    file: str,
    encoding: str,
    converted: str,
    byte: int = 0,
    position: int = 0,
    line: int = 0,
    by_null_bytes: bool = False,
    sample: str = "",
) -> Iterator[Finding]:
    """A file of rows is not UTF-8 text.

    Why: read with the wrong encoding, letters such as ü come out wrong. The finding names the first byte that isn't UTF-8, the encoding that the
    file was probably saved in, and how the text reads in it.
    Fix: if it reads right, convert it with the command that the finding shows; if not, with the encoding that it was saved in.
    """
    fix = f"iconv -f {encoding} -t UTF-8 {file} > {converted}"
    if by_null_bytes:
        yield Finding(f"{file} is not UTF-8: its null bytes show that it is {encoding}", fix, DATA, file=file)
        return
    message = f"{file} is not UTF-8: byte 0x{byte:02x} at position {position} (line {line})"
    if encoding:
        message += f"; it looks like {encoding}, in which the line reads {sample!r}"
        yield Finding(message, f"if that reads right: {fix}", DATA, file=file, line=line)
    else:
        yield Finding(message, "save it as UTF-8 with the program that wrote it", DATA, file=file, line=line)


@rule("D106", WARNING, example=of_rows("\ufefftext\nOne.\nTwo.\n", "text\nOne.\nTwo.\n", name="rows.csv"))
def a_file_starts_with_a_byte_order_mark(file: str) -> Iterator[Finding]:
    """A file starts with a byte order mark (BOM).

    Why: kept, it would become part of the first column's name. It is left out.
    Fix: none is needed; `sed` removes it from the file.
    """
    message = f"{file} starts with a BOM (byte order mark); it was left out"
    yield Finding(message, f"sed -i '1s/^\\xEF\\xBB\\xBF//' {file}", DATA, file=file)


@rule("D107", example=of_rows("text,text\nOne.,Two.\n", "text,other\nOne.,Two.\n", name="rows.csv"))
def two_columns_have_the_same_name(file: str, doubled: Sequence[str], header: Sequence[str]) -> Iterator[Finding]:
    """Two columns have the same name.

    Why: programs differ in which of the two they read.
    Fix: rename one of the two.
    """
    message = f"{file}: duplicate column in the header: {listed(doubled)} (the header is: {listed(header)})"
    yield Finding(message, "rename one of the two", ("text_column",), file=file, line=1)


@rule("D108", example=of_flags("--train-split test"))
def the_data_has_no_such_split(
    flag: str,
    split: str,
    source: str,
    case: str,
    available: Sequence[str] = (),
    data_flag: str = "--data-path",
    suggested: str = "",
) -> Iterator[Finding]:
    """The data has no split with the name that was given.

    Why: if another split were used instead, nobody would notice.
    Fix: one of the splits that the finding lists, or leave the flag out for a single file.
    """
    parameters = (parameter_of(flag), parameter_of(data_flag))
    match case:
        case "Hub":
            message = f"{source} has no split {split!r} ({flag}); it has: {listed(available)}"
            yield Finding(message, None, parameters[:1], guess={parameters[0]: available[0]})
        case "one file":
            message = f"{source} is one file and has no split {split!r} ({flag})"
            yield Finding(message, f"leave out {flag}, or give a folder with {split}.jsonl", parameters)
        case "a file of its own":
            message = f"{flag} {split} names a file or folder, and not a split of {source}, which is one file"
            yield Finding(message, f"--eval-dataset-path {split}", parameters)
        case "no rows":
            message = f"{data_flag} {source} has no {split} split ({flag}), and no rows in any other"
            yield Finding(message, f"{data_flag} <a file or folder of rows>", parameters)
        case "slice":
            message = f"{data_flag} {source} has no {split} split ({flag}); it has: {listed(available)}; a split is one name, without slices or sums"
            yield Finding(message, f"{flag} {suggested}, with --max-samples N for N of its rows", parameters)
        case _:
            message = f"{data_flag} {source} has no {split} split ({flag}); it has: {listed(available)}"
            suffix = PurePath(available[0]).suffix
            fix = f"rename a file to {split}{suffix}, give the file itself ({data_flag} {available[0]}), or {flag} {suggested}"
            yield Finding(message, fix, parameters)


@rule("D118", example=of_rows(""))
def there_are_no_rows(name: str, case: str = "", rows: int = 0) -> Iterator[Finding]:
    """No row is left to train on.

    Why: the data is empty, `--max-samples` keeps none of it, or every row was left out for a reason that another finding gives.
    Fix: data with rows, or the fix of the other finding.
    """
    match case:
        case "max_samples":
            yield Finding(f"--max-samples {rows} leaves no rows", None, ("max_samples",), changes={"max_samples": 100})
        case "all left out":
            yield Finding(f"{name}: none of the {plural(rows, 'row')} can be trained on", None, DATA, file=name)
        case "empty":
            yield Finding(f"{name} is empty", OTHER_DATA, DATA, file=name)
        case _:
            yield Finding(f"{name} holds no rows", OTHER_DATA, DATA, file=name)


@rule("D125", example=of_rows("text\nOne., and more\n", "text\nOne.\n", name="rows.csv"))
def a_row_has_another_number_of_cells_than_the_header(case: str, cells: int, columns: int) -> Iterator[Finding]:
    """A row of a CSV file has more or fewer cells than its header.

    Why: with more cells, some text was split at a separator inside it. Cells that are missing count as null, with a warning.
    Fix: quote cells that contain the separator.
    """
    what = f"the row has {plural(cells, 'cell')}, and the header has {plural(columns, 'column')}"
    if case == "more":
        yield Finding(what, "put quotes around cells that contain the separator", DATA)
    else:
        yield Finding(f"{what}; the missing cells count as null", None, DATA, WARNING)


@rule("D126", example=Example(SFT + "somebody/rows --offline", SFT + "rows.jsonl --offline"))
def a_data_set_can_not_be_loaded_from_the_hub(
    flag: str, name: str, problem: str, needs_access: bool, offline: bool
) -> Iterator[Finding]:
    """A data set can't be loaded from the Hub.

    Why: the name is wrong, there is no network, or the data set is gated.
    Fix: check the name and the network, ask for access and give `--token`, or use a local file.
    """
    if offline:
        fix = "leave out --offline, or download the data set first"
    elif needs_access:
        fix = "ask for access on its page, then give --token"
    else:
        fix = f"check the name and the network (--offline uses what was downloaded before), or give a local file: {flag} ./train.jsonl"
    message = (
        f"{flag} {name}: there is no local file or folder of this name, and the Hub data set can't be loaded: {problem}"
    )
    yield Finding(message, fix, (parameter_of(flag),))


@rule(
    "D132",
    WARNING,
    example=of_rows("This is the first text.\nThis is one more.\n", "text\nThis is the first text.\n", name="rows.csv"),
)
def the_header_looks_like_a_row(file: str, cell: str, cells: int = 1) -> Iterator[Finding]:
    """The first line of a CSV file should name the columns, but looks like a row.

    Why: the file probably has no header, and its first row would be lost.
    Fix: add a first line with the column names.
    """
    message = (
        f"{file}: its first line is taken for the header, the names of the columns, but looks like a row: {cell[:60]!r}"
    )
    fix = f"if it is one, add a header line: sed -i '1i text' {file}"
    if cells > 1:
        fix = f"if it is one, add a line above it with {cells} names, parted like the cells, one of which is text"
    yield Finding(message, fix, DATA, file=file, line=1)


SHEET = "question,answer\nWhy is it wet?,It has rained all day.\nWhy is it dry?,The sun has come out.\n"


@rule("D256", example=of_rows(f"Our questions of March,\n,\n{SHEET}", SHEET, name="rows.csv"))
def the_header_is_below_a_title(file: str, above: int, title: str) -> Iterator[Finding]:
    """The names of the columns are not in the first line of a CSV file: a title, or empty cells, stand above them.

    Why: the first line names the columns, and cells below an empty one have no name.
    Fix: take out the lines above the names.
    """
    lines = "line 1 is" if above == 1 else f"lines 1 to {above} are"
    what = f"{file}: the names of the columns are in line {above + 1}, and {lines} above them ({title!r})"
    yield Finding(
        what,
        f"take {'it' if above == 1 else 'them'} out: sed -i '1,{above}d' {shlex.quote(file)}",
        DATA,
        file=file,
        line=1,
    )


SURVEY = "question,answer,sure\n{}Why is it wet?,It has rained all day.,3\nWhy is it dry?,The sun has come out.,4\nWhy is it cold?,It is winter now.,2\nWho is it?,It is the miller.,5\n"


@rule(
    "D254",
    WARNING,
    example=of_rows(
        SURVEY.format("Please ask something,Please answer it,How sure are you?\n"), SURVEY.format(""), name="rows.csv"
    ),
)
def a_row_is_a_second_header(file: str, rows: int, cell: str) -> Iterator[Finding]:
    """The first row of a CSV file says once more what its columns are, as survey tools write it below their names; so may the second.

    Why: it is trained on as a row.
    Fix: take the line out of the file.
    """
    lines = "line 2" if rows == 1 else "lines 2 and 3"
    what = f"{file}: {lines} ({cell[:40]!r}) {'says' if rows == 1 else 'say'} once more what the columns are, and {'is' if rows == 1 else 'are'} trained on"
    yield Finding(what, f"sed -i '2{'' if rows == 1 else ',3'}d' {shlex.quote(file)}", DATA, file=file, line=2)


@rule(
    "D236",
    WARNING,
    example=of_rows(
        "topic;text\n'Sea';'It is cold; but it is wide.'\n'Hill';'It is high, and dry.'\n",
        'topic;text\n"Sea";"It is cold; but it is wide."\n"Hill";"It is high, and dry."\n',
        name="rows.csv",
    ),
)
def cells_have_single_quotes(file: str, separator: str) -> Iterator[Finding]:
    """The cells of a CSV file have single quotes around them, and are read without these.

    Why: CSV has double quotes; with them, this file would have another number of cells in each line.
    Fix: nothing, if the rows are right; else save the file with double quotes.
    """
    message = f"{file}: its cells are parted by {separator!r}, with single quotes around them, and are read so"
    yield Finding(message, "save it with double quotes, if that is not meant", DATA, file=file)


@rule("D137", example=of_rows('{"text": "One.", "text": "Two."}\n', '{"text": "One.", "other": "Two."}\n'))
def an_object_has_the_same_key_twice(key: str, file: str = "") -> Iterator[Finding]:
    """A JSON object has the same key twice.

    Why: readers keep one of the two values and silently drop the other.
    Fix: rename one of the two, or delete the one that is not meant.
    """
    what = f"duplicate key {shown(key)}: it occurs twice in one object, and only the last value would be read"
    yield Finding(f"{file}: {what}" if file else what, "rename one of the two, or delete one", DATA, file=file or None)


@rule("D138", WARNING, example=of_rows(TWO, "One.\nTwo.\n", name="rows.txt"))
def a_text_file_holds_json_objects(file: str, first: str, renamed: str) -> Iterator[Finding]:
    """A file is plain text by its name, but holds JSON: one document of rows, or an object per line. It is read as JSON.

    Why: read as plain text, its braces and keys would be trained on.
    Fix: rename it to `.jsonl`, or to `.json` if it is one document.
    """
    message = f"{file} is plain text by its name, but holds JSON ({first}…): it is read as rows with columns"
    yield Finding(message, f"mv {file} {renamed}, and give that as --data-path", DATA, file=file, row=1)
