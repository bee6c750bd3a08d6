"""Read a `--config` file: YAML or JSON with flags as keys, or AutoTrain's own YAML shape."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autotrain_llm.config.aliases import RENAMED
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.document import load_json, load_yaml
from autotrain_llm.declare.finding import WARNING, Finding, Refused


def read_config(path: str) -> ParsedArguments:
    """Parse a config file. Raises `Refused` if it can't be read; wrong keys and values become findings of the result."""
    document = load(Path(path), path)
    if isinstance(document.get("parameters"), dict) and "method" in document:
        message = (
            f"--config {path} is a sweep config of Weights & Biases: it has a search space, and no values to train with"
        )
        fix = f"--use-sweep --sweep-params {path}, with the values of the first trial as flags or in a --config of their own"
        raise Refused([Finding(message, fix, ("config",), file=path, code="P106")])
    arguments = ParsedArguments()
    written: dict[str, str] = {}  # by parameter, the key as the file has it
    for name, value, where in sorted(_flatten(document, path), key=_known_first):
        other = written.setdefault(RENAMED.get(name, name).replace("-", "_"), where)
        if other != where:
            message = f"--config {path} has {other} and {where}, which are the same parameter"
            arguments.findings.append(Finding(message, "keep one of the two", (name,), file=path, code="P106"))
            continue
        if name in PARAMS and PARAMS[name].command:
            arguments.findings.append(
                Finding(
                    f"{where} is an option of the command and can't be in a config file",
                    f"{PARAMS[name].flag} on the command line",
                    (name,),
                    file=path,
                    code="P105",
                )
            )
            continue
        arguments.set(name, _expand(value, where, path, arguments), written=f"{where!r}", file=path)
    return arguments


def _known_first(entry: tuple[str, Any, str]) -> tuple[bool, bool]:
    """Sort key: the trainer first, then our own parameters, because the meaning of other tools' names depends on them."""
    return entry[0] != "trainer", entry[0] not in PARAMS


def load(file: Path, shown: str) -> Mapping[str, Any]:
    """Load a YAML or JSON file, which must hold a mapping. Raises Refused."""
    try:
        text = file.read_text(encoding="utf-8-sig")  # skips a byte order mark
    except OSError as fault:
        raise Refused(
            [
                Finding(
                    f"--config {shown} can't be read: {fault.strerror}", parameters=("config",), file=shown, code="P106"
                )
            ]
        ) from None
    except UnicodeDecodeError as fault:
        raise Refused(
            [
                Finding(
                    f"--config {shown} is not UTF-8 text (byte {fault.start})",
                    parameters=("config",),
                    file=shown,
                    code="P106",
                )
            ]
        ) from None
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


def _flatten(document: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, str]]:
    """Names, values and the keys as written, for both shapes of a config file."""
    if not _is_autotrain(document):
        for key, value in document.items():
            yield str(key).replace("-", "_"), value, str(key)
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
            yield str(key), value, str(key)


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
        elif section == "data":
            yield "data_path" if key == "path" else str(key), value, where
        else:
            yield str(key), value, where


def _expand(value: Any, where: str, path: str, arguments: ParsedArguments) -> Any:
    """Replace `${VAR}` by the environment variable; None, with a warning, if it is not set."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\$\{(\w+)\}", value.strip())
    if match and match[1] not in os.environ:
        message = f"{path} takes {where} from the environment variable {match[1]}, which is not set: {where} counts as not given"
        arguments.findings.append(Finding(message, f"export {match[1]}=…", (), WARNING, file=path, code="P127"))
    return os.environ.get(match[1]) if match else value
