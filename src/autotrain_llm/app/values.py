"""What a form holds, as the command that it stands for: its arguments, the words of its process, and the texts to copy.

A form has a text for each parameter that is set. A secret is handed to the process in its environment, where it has a variable, and is no
part of any text.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.app.folders import Folders, Outside
from autotrain_llm.checks.autofix import as_yaml, config_values, typed_flags
from autotrain_llm.checks.rules.app import OUTSIDE_OF_FOLDERS
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.unread import keys_of
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.showable import without_credentials
from autotrain_llm.declare.text import exact, without_point
from autotrain_llm.params.answering import Answering

# Parameters of the command that say something about the run, and those that other pages have.
OF_THE_COMMAND = ("preset", "overwrite")
# Variables that the command reads by itself.
ENVIRONMENT = {name: param.variable for name, param in PARAMS.items() if param.variable}
NAMES_A_PATH = ("FILE", "DIR", "PATH")


def is_offered(param: Param) -> bool:
    """Whether the form has the parameter: what steers a single command is left out."""
    return (not param.command or param.name in OF_THE_COMMAND) and param.group != Answering.__name__


OFFERED = tuple(name for name, param in PARAMS.items() if is_offered(param))


@dataclass(frozen=True)
class FormCommand:
    """A form that was read: its texts, the arguments that they mean, and the findings about them."""

    texts: Mapping[str, str] = field(repr=False)  # has secrets
    arguments: ParsedArguments = field(repr=False)

    @property
    def values(self) -> dict[str, Any]:
        return self.arguments.values

    @property
    def findings(self) -> list[Finding]:
        return self.arguments.findings

    def text(self) -> str:
        """The command to copy, with what can't be read too; a secret is the name of a variable."""
        flags = typed_flags({name: without_point(value) for name, value in self.values.items()})
        flags += [item.in_command() for item in self.arguments.unread]
        return " \\\n  ".join(["autotrain llm", *map(without_credentials, flags)])

    def config(self) -> str:
        """The YAML of a config file, with what can't be read too."""
        keys = self.keys()
        return without_credentials(as_yaml(keys)) if keys else ""

    def keys(self) -> dict[str, Any]:
        """The keys of a config file, without secrets."""
        values = config_values(self.values)
        return values | keys_of(self.arguments.unread, values)

    def words(self) -> list[str]:
        """The words of the process after `autotrain llm`, each flag with its value in one."""
        unread = [f"--{item.name}={item.raw}" for item in self.arguments.unread if item.name not in ENVIRONMENT]
        return [
            *(_word(PARAMS[name], value) for name, value in self.values.items() if name not in ENVIRONMENT),
            *unread,
        ]

    def environment(self) -> dict[str, str]:
        """The variables that the process gets besides those of this one."""
        return {ENVIRONMENT[name]: str(self.values[name]) for name in ENVIRONMENT if self.values.get(name)}


def read_form(form: Mapping[str, Any], folders: Folders) -> FormCommand:
    """Read a form. A path outside of the folders is a finding, and nothing reads it. Raises KeyError for a name that no form has."""
    unknown = [name for name in form if name not in OFFERED]
    if unknown:
        raise KeyError(unknown[0])
    texts = {name: str(form[name]).strip() for name in OFFERED if name in form and str(form[name]).strip()}
    outside = {name: fault for name, text in texts.items() if (fault := _outside(PARAMS[name], text, folders))}
    arguments = parse_kwargs({name: text for name, text in texts.items() if name not in outside})
    for name, fault in outside.items():
        folder = Path(fault[1]).parent if Path(fault[1]).suffix else fault[1]
        fix = f"start the app with it too, as in: autotrain app . {shlex.quote(str(folder))}"
        arguments.findings.append(OUTSIDE_OF_FOLDERS.finding(f"{PARAMS[name].flag}: {fault[0]}", fix, (name,)))
    arguments.values = {name: arguments.values[name] for name in PARAMS if name in arguments.values}
    return FormCommand(texts, arguments)


def _outside(param: Param, text: str, folders: Folders) -> tuple[str, str] | None:
    """The message about the first path in a value that is outside of the folders, and that path."""
    for path in _paths_in(param, text):
        try:
            folders.resolve(path)
        except Outside as fault:
            return str(fault), path
    return None


def _paths_in(param: Param, text: str) -> Iterator[str]:
    """The parts of a value that may be paths."""
    parts = (param.metavar or "").replace(":", "|").replace(".", "|").split("|")
    if param.secret or not (param.path or set(NAMES_A_PATH) & {*parts} or "NAMES" in parts):
        return
    items = text.strip("[] ").split(",") if param.kind == "list" else [text]
    for item in items:
        path = item.strip(" '\"").partition("@")[0]
        if param.kind == "json" and path.startswith("{"):
            continue
        yield path
        yield from path.split(":") if ":" in path else ()


def _word(param: Param, value: Any) -> str:
    if param.kind == "switch" and isinstance(value, bool):
        return param.flag if value else param.negated
    return f"{param.flag}={as_text(value)}"


def as_text(value: Any) -> str:
    """A value as a form holds it, with every digit."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return exact(without_point(value))


def with_changes(texts: Mapping[str, str], changes: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a form after the fix of a finding."""
    changed = {**texts, **{name: as_text(value) for name, value in changes.items() if name in OFFERED}}
    return {name: text for name, text in changed.items() if text}
