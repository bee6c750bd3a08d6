"""Read the file of `--data-config`: YAML or JSON to a `MixtureConfig`. Every fault becomes a finding with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotrain_llm.data.files.locate import looks_like_a_path
from autotrain_llm.data.files.packing import without_packing
from autotrain_llm.data.files.read import ROW_ENDINGS
from autotrain_llm.data.formats.detect import FORMATS
from autotrain_llm.data.mixture.config import NONE, ROWS, TOKENS, MixtureConfig, SourceConfig
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.mixture import (
    a_mixture_can_not_be_read,
    a_mixture_has_an_unknown_key,
    a_value_of_a_mixture_can_not_be_used,
    the_name_of_a_source_can_not_be_used,
    the_weights_of_a_mixture_do_not_add_up,
)
from autotrain_llm.data.wording import kind_of, listed
from autotrain_llm.declare.document import lines_of, load_yaml
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.special_file import refuse_special
from autotrain_llm.declare.text import plain_number

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# Names under which the loss would be mistaken for another metric: `eval_router_loss`, `eval_task_loss`.
TAKEN = frozenset({"router", "task", "distill"})
SWITCH = "tag:yaml.org,2002:bool"
NO_MIXTURES = tuple(ending for ending in ROW_ENDINGS if ending != ".json")
# Weights that add up to one of these are shares or percentages.
WHOLES, EXACT = (1.0, 100.0), 1e-6
OTHER_KEYS = {
    "datasets": "sources", "data": "sources", "mixture": "sources", "val": "validation", "valid": "validation",
    "val_split": "validation", "valid_split": "validation", "eval": "validation", "total_rows": "total",
    "total_tokens": "total", "total_samples": "total", "weights": "weight", "ratio": "weight", "probability": "weight",
    "share": "weight", "data_path": "path", "dataset": "path", "file": "path", "filter": "where",
    "filters": "where", "train_split": "split", "limit": "max_samples", "max_rows": "max_samples", "samples": "max_samples",
    "type": "format", "id": "name", "prompt_column": "prompt_text_column", "rejected_column": "rejected_text_column",
}  # fmt: skip


class Unusable(ValueError):
    """A value can't be used: the message follows the name of its key, and `fix` says what to write."""

    def __init__(self, problem: str, fix: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, fix


def read_mixture(path: str, rows: str) -> tuple[MixtureConfig, tuple[Finding, ...]]:
    """The mixture in a file, with warnings. `rows` is the shape of rows that the trainer takes. Raises Refused with all errors."""
    return _Reader(path, rows).mixture()


class _Reader:
    """Reads one file. `lines` are the lines of its keys."""

    def __init__(self, path: str, rows: str) -> None:
        self.path, self.rows = path, rows
        self.folder = Path(path).expanduser().parent
        self.observations = Observations()
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.words: dict[tuple[str | int, ...], str] = {}
        self.readers_of_source: dict[str, Callable[[Any], Any]] = {
            "name": _text, "path": _text, "weight": _positive, "format": self._format, "split": _text, "where": _where,
            "max_samples": _count, "validation": _validation, "text_column": _text, "prompt_text_column": _text,
            "rejected_text_column": _text, "reasoning_column": _text, "context_columns": _texts, "ignore_columns": _texts,
        }  # fmt: skip
        self.readers: dict[str, Callable[[Any], Any]] = {
            "sources": _sources, "weights_by": _weights_by, "total": _count, "epochs_of": _text,
            "validation": _validation, "seed": _seed,
        }  # fmt: skip

    def mixture(self) -> tuple[MixtureConfig, tuple[Finding, ...]]:
        document = self._document()
        values = self._values(document, self.readers, (), "the mixture")
        sources = [self._source(entry, index) for index, entry in enumerate(document.get("sources") or ())]
        usable = tuple(source for source in sources if source is not None)
        if not self.observations.refused:
            self._check_names(usable)
            self._check_size(values, usable)
            usable = self._with_shares(usable)
        if self.observations.refused:
            raise Refused(self.observations.findings())
        if "validation" in values:
            values["validation"] = self._found(values["validation"], only_if_there=True)
        return MixtureConfig(self.path, **{**values, "sources": usable}), self.observations.findings()

    def _document(self) -> Mapping[str, Any]:
        path = Path(self.path).expanduser()
        if without_packing(path.name.lower()).endswith(NO_MIXTURES):
            self._refuse("rows")
        try:
            refuse_special(path)
            text = path.read_text(encoding="utf-8-sig")
        except OSError as fault:
            self._refuse("unreadable", detail=str(fault.strerror).lower())
        except UnicodeDecodeError as fault:
            self._refuse("unreadable", detail=f"it is not UTF-8 text (byte {fault.start})")
        try:
            document = load_yaml(text)
            self.lines, self.words = lines_of(text), _words_read_as_switches(text)
        except ValueError as fault:
            line = re.search(r"line (\d+)", str(fault))
            self._refuse("syntax", detail=" ".join(str(fault).split()), line=int(line[1]) if line else 1)
        if not isinstance(document, dict):
            what = "is empty" if document is None else f"holds {kind_of(document)}"
            self._refuse("no mapping", detail=what, line=1)
        if not document.get("sources") and "sources" not in map(OTHER_KEYS.get, document):
            self._refuse("no sources", line=self._line(("sources",)))
        return document

    def _refuse(self, case: str, **facts: Any) -> Any:
        self.observations.add(a_mixture_can_not_be_read, file=self.path, case=case, **facts)
        raise Refused(self.observations.findings())

    def _line(self, path: tuple[str | int, ...]) -> int:
        """The line of a key; of one that is not there, that of what it would be in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def _values(
        self,
        document: Mapping[Any, Any],
        readers: Mapping[str, Callable[[Any], Any]],
        at: tuple[str | int, ...],
        place: str,
    ) -> dict[str, Any]:
        """The values of the known keys; those that can't be used are left out, with a finding."""
        values = {}
        for written, value in document.items():
            key = str(written)
            if key not in readers:
                self._unknown(key, (*at, key), readers, place)
            elif value is not None:
                try:
                    values[key] = readers[key](value)
                except Unusable as fault:
                    self._unusable((*at, key), f"{key}: {_shown(value)}", fault.problem, fault.fix)
        return values

    def _unusable(self, at: tuple[str | int, ...], key: str, problem: str, fix: str | None = None) -> None:
        self.observations.add(
            a_value_of_a_mixture_can_not_be_used, file=self.path, line=self._line(at), key=key, problem=problem, fix=fix
        )

    def _unknown(self, key: str, at: tuple[str | int, ...], readers: Mapping[str, Any], place: str) -> None:
        plain = key.replace("-", "_").lower()
        other = OTHER_KEYS.get(plain)
        meant = other if other in readers else nearest(plain, readers)
        is_elsewhere = meant is None and plain in {**self.readers, **self.readers_of_source}
        where = "a key of a source" if plain in self.readers_of_source else "a key beside sources"
        self.observations.add(
            a_mixture_has_an_unknown_key,
            file=self.path,
            line=self._line(at),
            key=key,
            place=place,
            known=tuple(readers),
            meant=meant,
            instead=f"{plain} is {where}: write it there" if is_elsewhere else "",
        )

    def _source(self, entry: Any, index: int) -> SourceConfig | None:
        at: tuple[str | int, ...] = ("sources", index)
        if isinstance(entry, str):
            entry = {"path": entry}
        if not isinstance(entry, dict):
            self._unusable(at, f"source {index + 1}", f"is {kind_of(entry)}, and no mapping", "{name: …, path: …}")
            return None
        for path, word in self.words.items():
            if path[:3] == (*at, "where"):
                problem = "is true or false in YAML, and not the word"
                self._unusable(path, f"where: {word}", problem, f'where: {{{path[3]}: "{word}"}}')
        values = self._values(entry, self.readers_of_source, at, f"source {entry.get('name', index + 1)}")
        if entry.get("path") is None and not any(OTHER_KEYS.get(str(key)) == "path" for key in entry):
            self._unusable(
                at, f"source {entry.get('name', index + 1)}", "has no path", "path: <file, folder or Hub id>"
            )
        if "path" not in values:
            return None
        values.setdefault("name", _name_of(values["path"]))
        values["path"] = self._found(values["path"])
        if "validation" in values:
            values["validation"] = self._found(values["validation"], only_if_there=True)
        return SourceConfig(**values, line=self._line(at))

    def _found(self, path: str, *, only_if_there: bool = False) -> str:
        """A relative path: beside the file of the mixture, else as it is, from the current folder or on the Hub."""
        beside = self.folder / Path(path).expanduser()
        is_there = beside.exists()
        if not is_there and only_if_there:
            return path
        is_typed = Path(path).expanduser().exists() or not looks_like_a_path(path)
        return path if not is_there and is_typed else str(beside)

    def _format(self, value: Any) -> str:
        known = FORMATS[self.rows]
        if value not in known:
            near = nearest(str(value), known)
            raise Unusable(f"is not one of {listed(known)}", f"format: {near}" if near else None)
        return str(value)

    def _check_names(self, sources: Sequence[SourceConfig]) -> None:
        lines: dict[str, int] = {}
        for source in sources:
            place: dict[str, Any] = {"file": self.path, "line": source.line, "source": source.name}
            usable = re.sub(r"[^A-Za-z0-9_-]+", "_", source.name).strip("_-") or "source"
            if NAME.fullmatch(source.name) is None:
                self.observations.add(the_name_of_a_source_can_not_be_used, **place, case="letters", suggested=usable)
            elif source.name in TAKEN:
                suggested = f"{usable}_rows"
                self.observations.add(the_name_of_a_source_can_not_be_used, **place, case="taken", suggested=suggested)
            elif source.name in lines:
                names = {other.name for other in sources}
                free = next(f"{usable}_{number}" for number in range(2, 1000) if f"{usable}_{number}" not in names)
                other = lines[source.name]
                self.observations.add(
                    the_name_of_a_source_can_not_be_used, **place, case="twice", other=other, suggested=free
                )
            lines.setdefault(source.name, source.line)

    def _check_size(self, values: Mapping[str, Any], sources: Sequence[SourceConfig]) -> None:
        names = [source.name for source in sources]
        if "total" in values and "epochs_of" in values:
            problem = "and total both say how long an epoch is"
            self._unusable(("epochs_of",), "epochs_of", problem, "keep one of the two")
        elif values.get("epochs_of", names[0]) not in names:
            near = nearest(values["epochs_of"], names)
            problem = f"is not the name of a source; they are {listed(names)}"
            fix = f"epochs_of: {near}" if near else None
            self._unusable(("epochs_of",), f"epochs_of: {values['epochs_of']}", problem, fix)

    def _with_shares(self, sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
        """The sources with weights that add up to 1; without any weight as they are."""
        from dataclasses import replace

        weights = [source.weight for source in sources]
        given = [weight for weight in weights if weight is not None]
        if not given:
            return sources
        for index, source in enumerate(sources):
            if source.weight is None:
                self._unusable(
                    ("sources", index), f"source {source.name}", "has no weight, and others have", "weight: …"
                )
        total = sum(given)
        shares = [(source.name, (source.weight or 0.0) / total) for source in sources]
        is_whole = any(abs(total - whole) <= EXACT * whole for whole in WHOLES)
        if not is_whole and len(given) == len(weights):
            place: dict[str, Any] = {"file": self.path, "line": self._line(("sources",))}
            self.observations.add(the_weights_of_a_mixture_do_not_add_up, **place, total=total, shares=tuple(shares))
        return tuple(replace(source, weight=share) for source, (_, share) in zip(sources, shares, strict=True))


def _words_read_as_switches(text: str) -> dict[tuple[str | int, ...], str]:
    """Words such as `no` (Norwegian) that YAML reads as true or false, by the keys and indices that lead to them."""
    import yaml

    words: dict[tuple[str | int, ...], str] = {}

    def walk(node: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, (*path, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                walk(item, (*path, index))
        elif node is not None and node.tag == SWITCH and node.value.lower() not in ("true", "false"):
            words[path] = node.value

    walk(yaml.compose(text, Loader=yaml.SafeLoader), ())
    return words


def _name_of(path: str) -> str:
    """The name of a source that has none: that of its file or folder."""
    name = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name.split(".")[0] or name).strip("_-") or "source"


def _shown(value: Any) -> str:
    text = plain_number(value) if not isinstance(value, str) else value
    return text if len(text) <= 40 else f"{text[:40]}…"


# ---- values


def _text(value: Any) -> str:
    if isinstance(value, bool | list | dict) or not str(value).strip():
        raise Unusable(f"is {kind_of(value)}, and not text" if str(value).strip() else "is empty")
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, value if isinstance(value, list) else str(value).split(",")))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        raise Unusable("is not a number")
    return float(value)


def _positive(value: Any) -> float:
    if _number(value) <= 0:
        raise Unusable("is not above 0", "remove the source, if none of its rows are wanted")
    return float(value)


def _count(value: Any) -> int:
    if _number(value) < 1 or value != int(value):
        raise Unusable("is not a whole number of 1 or more")
    return int(value)


def _seed(value: Any) -> int:
    if _number(value) < 0 or value != int(value):
        raise Unusable("is not a whole number of 0 or more")
    return int(value)


def _weights_by(value: Any) -> str:
    if value not in (ROWS, TOKENS):
        raise Unusable(f"is neither {ROWS} nor {TOKENS}")
    return str(value)


def _validation(value: Any) -> str:
    """A share, a number of rows, a name or a path, as text; `none` for no rows."""
    if value is False:
        return NONE
    if isinstance(value, bool | list | dict):
        raise Unusable("is not a share such as 0.1, a number of rows, or a path")
    text = plain_number(value) if isinstance(value, float) else _text(value)
    if isinstance(value, int | float) and (value <= 0 or (value >= 1 and value != int(value)) or value != value):
        raise Unusable("is neither a share of the rows (0.1) nor a number of them (200)")
    return text


def _where(value: Any) -> tuple[tuple[str, tuple[object, ...]], ...]:
    if not isinstance(value, dict) or not value:
        raise Unusable("is not a column with its values", "where: {language: [python, go]}")
    conditions = []
    for column, wanted in value.items():
        options = wanted if isinstance(wanted, list) else [wanted]
        if not options or any(isinstance(option, list | dict) for option in options):
            raise Unusable(f"has no values for {column}", f"where: {{{column}: [one, two]}}")
        conditions.append((str(column), tuple(options)))
    return tuple(conditions)


def _sources(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise Unusable("is not a list of sources", "sources: [{name: chat, path: chat.jsonl, weight: 0.75}, …]")
    return value
