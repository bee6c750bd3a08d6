"""What was given and is not carried out: a key of a file or a flag with the finding about it, as it stays in a corrected command and a corrected file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotrain_llm.config.aliases import RENAMED, meant_by
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.text import plain


class Unread(Record):
    """Something that was given, and the finding about it in place of a value. `name` and `raw` are a key or flag with its value as written; `words` are
    those of a command line, where they are known. Without a name, `words` belong to no flag."""

    finding: Finding
    name: str = ""
    raw: Any = None
    words: str = ""

    def in_command(self) -> str:
        """The words of a command that give it again; a secret is a variable."""
        if self._variable:
            return f'--{self.name} "{self._variable}"'
        joined = "=" if str(self.raw).startswith("-") else " "  # `-1e` would be read as a flag
        return self.words or f"--{self.name}{joined}{_quoted(self.raw)}"

    def in_file(self) -> Any:
        """The value of its key in a config file; a secret is a variable."""
        return self._variable or self.raw

    @property
    def _variable(self) -> str:
        name = self.name.replace("-", "_")
        param = PARAMS.get(meant_by(RENAMED.get(name, name)))
        return f"${{{param.variable or param.name.upper()}}}" if param is not None and param.secret else ""


def _quoted(raw: Any) -> str:
    from shlex import quote

    if isinstance(raw, list | tuple | Mapping | bool) or raw is None:
        from json import dumps

        return quote(dumps(raw, ensure_ascii=False, default=str))
    return quote(plain(raw))


def keys_of(unread: Iterable[Unread], beside: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config file that give again what was not carried out, beside those that it has already."""
    keys: dict[str, Any] = {}
    for item in unread:
        spellings = (item.name, item.name.replace("_", "-"), item.name.replace("-", "_"), f"params.{item.name}")
        keys[next(name for name in spellings if name not in {**beside, **keys})] = item.in_file()
    return keys


def without_key(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A document without the key of this name, in any spelling, with the sections before it."""
    kept: dict[str, Any] = {}
    for key, value in document.items():
        spelt = str(key).replace("-", "_")
        if isinstance(value, Mapping) and name.startswith(f"{spelt}."):
            value = without_key(value, name.removeprefix(f"{spelt}."))
            if value:
                kept[key] = value
        elif spelt != name:
            kept[key] = value
    return kept
