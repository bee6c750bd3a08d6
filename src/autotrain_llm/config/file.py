"""Read a `--config` file and those that it extends: YAML or JSON with flags as keys, AutoTrain's own YAML shape, or Python that is not run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.config.aliases import BLOCKS, IN_SECTIONS, NEAREST, NO_COUNTERPART, RENAMED, of_section
from autotrain_llm.config.arguments import ParsedArguments, known_first, outside_of_blocks
from autotrain_llm.config.foreign_names import is_known_elsewhere
from autotrain_llm.config.other_defaults import other_defaults
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.document import load_json, load_yaml
from autotrain_llm.declare.finding import WARNING, Finding, Refused
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.declare.special_file import refuse_special

EXTENDS = "extends"
DEEPEST = 20  # files that extend one another


class ConfigPart(Record):
    """What one file, or one section of a file, sets: keys and values as written, without `extends`. `file` is its path as shown, `findings`
    are those of reading it."""

    file: str
    document: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()


class Entry(NamedTuple):
    """One key of a part: its name with underscores, its value, the key as written, and the file."""

    name: str
    value: Any
    where: str
    file: str


def read_config(path: str, over: Mapping[str, Any] = EMPTY) -> ParsedArguments:
    """Parse a config file. `over` are values that take precedence. Raises `Refused` if the file can't be read; wrong keys and values become findings
    of the result."""
    return parse_parts(parts_of(path), over)


def parts_of(path: str) -> list[ConfigPart]:
    """What a config file and those that it extends set, the most general first. Raises `Refused` if one of them can't be read."""
    return _unique(_chain(path, ()))


def _chain(path: str, extended_by: tuple[str, ...], read: set[str] | None = None) -> Iterator[ConfigPart]:
    """A file's part after those of the files that it extends. `extended_by` are the files on the way to this one, `read` those that were read
    already: a file is read once, where it is the more general."""
    file = Path(path)
    if file.suffix == ".py":
        from autotrain_llm.config.python_file import read_python

        parts = [ConfigPart(*part) for part in read_python(_text(file, path), path)]
    else:
        parts = [ConfigPart(path, load(file, path))]
    for part in parts:
        yield from with_bases(part, (*extended_by, path), read)


def with_bases(part: ConfigPart, way: tuple[str, ...] = (), read: set[str] | None = None) -> Iterator[ConfigPart]:
    """A part after those of the files that it extends, without its `extends`. `way` are the files that lead to it, its own among them. Raises
    `Refused` if a file can't be read."""
    read = set() if read is None else read
    for base in _bases(part):
        path = _base_path(base, part.file, way)
        if os.path.realpath(path) not in read:
            read.add(os.path.realpath(path))
            yield from _chain(path, way, read)
    yield part.replace(document={key: value for key, value in part.document.items() if key != EXTENDS})


def _bases(part: ConfigPart) -> list[str]:
    """The files that a part extends, as written."""
    if EXTENDS not in part.document:
        return []
    extends = part.document[EXTENDS]
    names = [extends] if isinstance(extends, str) else extends
    if isinstance(names, list | tuple) and all(isinstance(name, str) and name.strip() for name in names):
        return list(names)
    message = f"--config {part.file} extends {extends!r}, which is no file"
    raise Refused(
        [_of_extends(message, "extends: base.yaml, or a list of files, of which a later one wins", part.file)]
    )


def _base_path(base: str, file: str, way: Sequence[str]) -> str:
    """The path of a file that another extends: relative to that one. Raises `Refused` if it is not there, or extends the other."""
    folder = Path(file).parent
    path = folder / Path(base.strip()).expanduser()
    if not path.is_file():
        near = (
            nearest(path.name, sorted(entry.name for entry in path.parent.glob("*.*")))
            if path.parent.is_dir()
            else None
        )
        fix = f"extends: {Path(base).with_name(near)}" if near else "extends: <a file, relative to this one>"
        raise Refused([_of_extends(f"--config {file} extends {base}, and there is no file {path}", fix, file)])
    circle = next((index for index, other in enumerate(way) if path.samefile(other)), None)
    if circle is not None:
        files = ", which extends ".join([*way[circle:], str(path)])
        raise Refused([_of_extends(f"--config {files}: a circle", "remove one of these lines `extends:`", file)])
    if len(way) > DEEPEST:
        message = f"--config {way[0]} extends files that extend others, more than {DEEPEST} deep"
        raise Refused([_of_extends(message, "extend fewer files", file)])
    return str(path)


def _of_extends(message: str, fix: str, file: str) -> Finding:
    return Finding(message, fix, ("config",), file=file, code="P128")


def _unique(parts: Iterable[ConfigPart]) -> list[ConfigPart]:
    """The parts, one that is reached on several ways only where it is read first: it is the more general."""
    unique: list[ConfigPart] = []
    for part in parts:
        if part not in unique:
            unique.append(part)
    return unique


def parse_parts(parts: Sequence[ConfigPart], over: Mapping[str, Any] = EMPTY) -> ParsedArguments:
    """Parse parts of which a later one takes precedence, and `over` over all. A value that a later part replaces is not looked at."""
    arguments = ParsedArguments((finding for part in parts for finding in part.findings), over=over)
    entries = [entry for part in parts for entry in _entries(part, arguments)]
    arguments.beside = {entry.name: entry.value for entry in entries}
    of_trainer = [entry for entry in entries if arguments.parameter_meant(entry.name) == "trainer"]
    for entry in _latest(of_trainer, arguments):  # the meaning of other names depends on it
        _set(entry, arguments)
    others = [entry for entry in entries if entry not in of_trainer]
    for entry in sorted(_latest(others, arguments), key=lambda entry: known_first(entry.name)):
        _set(entry, arguments)
    of_others = other_defaults(arguments, parts[-1].file) if arguments.unread else None
    if of_others is not None:
        arguments.findings.append(of_others)
    return arguments


def _entries(part: ConfigPart, arguments: ParsedArguments) -> Iterator[Entry]:
    """The keys of a part that can stand in a file; the others are findings. Raises `Refused` for a sweep config."""
    path = part.file
    if isinstance(part.document.get("parameters"), dict) and "method" in part.document:
        message = (
            f"--config {path} is a sweep config of Weights & Biases: it has a search space, and no values to train with"
        )
        fix = f"--use-sweep --sweep-params {path}, with the values of the first trial as flags or in a --config of their own"
        raise Refused([Finding(message, fix, ("config",), file=path, code="P106")])
    entries = [Entry(*flat, path) for flat in _flatten(part.document)]
    for entry in sorted(entries, key=lambda entry: known_first(entry.name)):
        param = PARAMS.get(entry.name)
        if entry.value is None and _sets_nothing(entry.name):
            continue
        if entry.value is False and param is not None and param.command and not param.default:
            continue  # `strict: false` of another tool
        if param is not None and param.command and not (param.in_files or param.answering):
            message = f"{entry.where} is an option of the command and can't be in a config file"
            fix = f"{param.flag} on the command line"
            arguments.leave(Finding(message, fix, (param.name,), file=path, code="P105"), entry.name, entry.value)
        else:
            yield entry


def _sets_nothing(name: str) -> bool:
    """Whether a key with null as its value (`fp16:`) leaves everything as it is: one of another tool or of the command. Null for a parameter that can
    stand in a file is its default, in place of what another file sets."""
    param = PARAMS.get(RENAMED.get(name, name))
    if param is None:
        return is_known_elsewhere(name.rpartition(".")[2]) or of_section(name) is not None
    return param.command and not (param.in_files or param.answering)


def _latest(entries: Iterable[Entry], arguments: ParsedArguments) -> list[Entry]:
    """For each parameter its last entry; two of the same file are a finding, and the first is used."""
    latest: dict[str, Entry] = {}
    for entry in entries:
        parameter = arguments.parameter_meant(entry.name)
        other = latest.get(parameter)
        if other is not None and other.file == entry.file:
            message = f"--config {entry.file} has {other.where} and {entry.where}, which are the same parameter"
            finding = Finding(message, "keep one of the two", (parameter,), file=entry.file, code="P106")
            arguments.leave(finding, entry.name, entry.value)
        else:
            latest[parameter] = entry
    return list(latest.values())


def _set(entry: Entry, arguments: ParsedArguments) -> None:
    """Set the value of an entry; of `${NAME}` that of another key of the file, as OmegaConf has it, or of the environment."""
    param = PARAMS.get(RENAMED.get(entry.name, entry.name))
    if entry.value is None and param is not None and not param.nullable:
        return  # the default
    variable = _variable(entry.value)
    known = {**os.environ, **{key: value for key, value in arguments.beside.items() if key == variable}}
    if variable is not None and variable not in known:
        arguments.leave(_unset(variable, entry), entry.name, entry.value, f'--{entry.name} "{entry.value.strip()}"')
        return
    value = entry.value if variable is None else known[variable]
    arguments.set(entry.name, value, written=f"{entry.where!r}", file=entry.file)


def load(file: Path, shown: str) -> Mapping[str, Any]:
    """Load a YAML or JSON file, which must hold a mapping. Raises Refused."""
    text = _text(file, shown)
    try:
        document = load_json(text) if file.suffix == ".json" else load_yaml(text)
    except ValueError as fault:
        raise Refused(
            [
                Finding(
                    f"--config {shown} can't be parsed: {_why(text, str(fault), file)}",
                    parameters=("config",),
                    file=shown,
                    code="P106",
                )
            ]
        ) from None
    if not isinstance(document, dict):
        raise Refused(
            [
                Finding(
                    f"--config {shown} {_instead(document)} and no parameters; it must have lines such as `lr: 2e-5`",
                    fix="write one line per parameter, or use flags in place of --config",
                    parameters=("config",),
                    file=shown,
                    code="P106",
                )
            ]
        )
    return document


def _text(file: Path, shown: str) -> str:
    """The text of a config file. Raises Refused."""
    try:
        refuse_special(file)
        return file.read_text(encoding="utf-8-sig")  # skips a byte order mark
    except OSError as fault:
        why = f"can't be read: {fault.strerror}"
    except UnicodeDecodeError as fault:
        why = f"is not UTF-8 text (byte {fault.start})"
    raise Refused([Finding(f"--config {shown} {why}", parameters=("config",), file=shown, code="P106")])


def _why(text: str, fault: str, file: Path) -> str:
    """Why a text is neither YAML nor JSON: the probable cause, and the parser's message."""
    lines = list(enumerate(text.splitlines(), 1))
    conflict = next((line_number for line_number, line in lines if line.startswith(("<<<<<<< ", ">>>>>>> "))), None)
    tab = next((line_number for line_number, line in lines if line[: len(line) - len(line.lstrip())].count("\t")), None)
    cause = ""
    if conflict:
        cause = f"line {conflict} is a Git merge conflict marker; "
    elif tab and file.suffix != ".json":
        cause = f"line {tab} begins with a tab, and YAML is indented with spaces; "
    elif file.suffix == ".json" and any(line.lstrip().startswith(("//", "#")) for _, line in lines):
        cause = "JSON has no comments; "
    return cause + " ".join(fault.split())


def _instead(document: Any) -> str:
    """What a file holds instead of a mapping, as a predicate."""
    if document is None:
        return "is empty"
    return (
        "holds a list" if isinstance(document, list) else f"is neither YAML nor JSON: it holds {str(document)[:40]!r}"
    )


def _flatten(document: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Names, values and the keys as written, for both shapes of a config file."""
    if not _is_autotrain(document):
        for key, value in document.items():
            yield from _key(str(key).replace("-", "_"), value, str(key))
        return
    for key, value in document.items():
        if key == "task":
            yield from _task(str(value))
        elif key == "base_model":
            yield "model", value, key
        elif key in ("data", "params", "hub") and isinstance(value, dict):
            yield from _section(key, value)
        elif key == "log":
            yield "log", [] if value in (None, "none") else [value] if isinstance(value, str) else value, key
        else:
            yield from _key(str(key), value, str(key))


def _key(name: str, value: Any, where: str) -> Iterator[tuple[str, Any, str]]:
    """A key; of a section of another tool's config, the keys in it, and of one of its blocks what they mean."""
    if name in BLOCKS and isinstance(value, Mapping):
        for inner, item in value.items():
            for meant, _ in outside_of_blocks(name, {inner: item}):
                yield meant, item, f"{where}.{inner}"
    elif isinstance(value, Mapping) and value and not _is_one_value(name):
        for inner, item in value.items():
            yield from _key(f"{name}.{inner}".replace("-", "_"), item, f"{where}.{inner}")
    else:
        yield name, value, where


def _is_one_value(name: str) -> bool:
    """Whether a mapping under this name is one value: of a parameter that takes one, or of another tool's that is answered as a whole."""
    last = name.rpartition(".")[2].replace("-", "_")
    return last in NO_COUNTERPART or last in NEAREST or (last in PARAMS and PARAMS[last].kind == "json")


def _is_autotrain(document: Mapping[str, Any]) -> bool:
    nested = any(isinstance(document.get(key), dict) for key in ("data", "params", "hub"))
    return "task" in document or "base_model" in document or nested


def _task(task: str) -> Iterator[tuple[str, Any, str]]:
    name = re.split(r"[-:]", task, maxsplit=1)
    if name[0] == "llm":
        if len(name) > 1:
            yield "trainer", name[1], "task"
    else:
        yield f"task {task}", None, f"task: {task}"


def _section(section: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for key, value in values.items():
        where = f"{section}.{key}"
        if section == "data" and key == "column_mapping" and isinstance(value, dict):
            for column, name in value.items():
                if name is not None:
                    yield str(column), name, f"{where}.{column}"
        elif isinstance(value, Mapping) and not _is_one_value(str(key)):
            yield from _key(f"{section}.{key}", value, where)
        elif where in IN_SECTIONS:
            yield where, value, where
        elif section == "data":
            yield "data_path" if key == "path" else str(key), value, where
        else:
            yield str(key), value, where


def _variable(value: Any) -> str | None:
    """The environment variable that a value is taken from, if it is `${NAME}`."""
    match = re.fullmatch(r"\$\{(\w+)\}", value.strip()) if isinstance(value, str) else None
    return match[1] if match else None


def _unset(variable: str, entry: Entry) -> Finding:
    message = f"{entry.file} takes {entry.where} from the environment variable {variable}, which is not set: {entry.where} counts as not given"
    return Finding(message, f"export {variable}=…", (), WARNING, file=entry.file, code="P127")
