"""Read a config of stages: one training after another, each a config with a name. What they share stands above `stages`, once.

A value may name an earlier stage: `${stages.sft}` is its folder, and where a model is expected `sft` or `sft@best` is that model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.config.aliases import RENAMED
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.file import EXTENDS, ConfigPart, parse_parts, parts_of, with_bases
from autotrain_llm.config.layers import Origin
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.unread import Unread
from autotrain_llm.declare.document import lines_of, load_yaml
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import Record

STAGES, NAME = "stages", "name"
STAGE_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
REFERENCE = re.compile(r"\$\{stages\.([^}]*)\}")
MODEL_OF = re.compile(r"(?P<stage>[^@/]+)(?P<choice>@(?:best|last|step-\d+))?")
# Parameters that name a model: there the bare name of a stage is enough.
MODELS = frozenset(
    param.name for param in PARAMS.values() if param.path == "input" and param.stage not in ("rows", "tokens")
)
# What a stage's folder follows from, and so stands above.
ABOVE = ("output_dir", STAGES)
RESERVED = ("report.html", "pipeline.json")  # what is written beside the folders of stages


class Reference(Record):
    """A value of `stage` that names another one: the key as written, its parameter, and the name."""

    stage: str
    key: str
    parameter: str
    name: str


class Stage(Record):
    """One stage: its arguments from the file, with what stands above; `own` are the parameters that it sets itself, `written` its keys and
    values as they are in the file, `uses` the references to earlier stages, `lost` the parameters that name no earlier stage, `lines` where its
    keys are, `line` where it begins, `findings` those of reading its keys."""

    name: str
    folder: Path
    arguments: ParsedArguments
    own: frozenset[str]
    written: Mapping[str, Any]
    uses: tuple[Reference, ...]
    lost: frozenset[str]
    lines: Mapping[str, int]
    line: int | None
    findings: tuple[Finding, ...] = ()


class Pipeline(Record):
    """A config of stages. `findings` are those of reading it, `unread` what stands above the stages and is not carried out."""

    path: str
    folder: Path
    stages: tuple[Stage, ...]
    findings: tuple[Finding, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @cached_property
    def by_name(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.stages}


def read_pipeline(
    path: str, output_dir: str | None = None, written: Mapping[str, Any] | None = None
) -> Pipeline | None:
    """Read a config of stages; None if the file has none, or can't be read: reading it as the config of one run says why. Raises Refused if a
    file that a stage extends can't be read. `output_dir` is that of the command line; `written` is read in place of what is in the
    file."""
    try:
        parts = parts_of(path)
    except Refused:
        return None
    if written is not None:
        parts[-1] = parts[-1].replace(document={key: value for key, value in written.items() if key != EXTENDS})
    with_stages = [part for part in parts if STAGES in part.document]
    if not with_stages:
        return None
    own = with_stages[-1]
    return _Reader(path, parts, own, output_dir, _lines_in(own.file)).read()


def pipeline_of(text: str, path: str) -> Pipeline:
    """The stages of a config that is to be written to `path`. Raises ValueError if it is no YAML."""
    part = ConfigPart(path, load_yaml(text))
    return _Reader(path, [part], part, None, lines_of(text)).read()


def _without(part: ConfigPart, *keys: str) -> ConfigPart:
    return part.replace(document={key: value for key, value in part.document.items() if parameter_of(key) not in keys})


class _Reader:
    """Reads one config of stages: `parts` are its files, the most general first, `own` the one that has the list of stages, and `lines` where its keys are."""

    def __init__(
        self,
        path: str,
        parts: Sequence[ConfigPart],
        own: ConfigPart,
        output_dir: str | None,
        lines: Mapping[tuple[str | int, ...], int],
    ) -> None:
        self.path, self.own, self.lines = path, own, lines
        self.written = own.document[STAGES]
        self.shared = [_without(part, STAGES) for part in parts]
        self.findings: list[Finding] = []
        self.folder = self._folder(output_dir)

    def read(self) -> Pipeline:
        entries = list(self._entries())
        if not entries and not self.findings:
            message = f"{self.path}: stages is empty, so there is nothing to train"
            self._add("P150", message, "a list of configs, each with a name")
        names = [name for name, _, _ in entries]
        if any(NAME in part.document for part in self.shared):
            message = f"{self.path}: name stands above the stages, and each stage has a name of its own"
            self._add("P154", message, "write `name:` in each stage, and remove it above", line=self.lines.get((NAME,)))
            self.shared = [_without(part, NAME) for part in self.shared]
        above = parse_parts(self.shared)
        self.findings += [self._with_line(finding, self.lines_above) for finding in above.findings]
        stages = tuple(
            self._stage(index, name, written, where, names, above)
            for index, (name, written, where) in enumerate(entries)
        )
        return Pipeline(self.path, self.folder, stages, tuple(self.findings), tuple(above.unread))

    @cached_property
    def lines_above(self) -> dict[str, int]:
        return {parameter_of(str(way[0])): line for way, line in self.lines.items() if len(way) == 1}

    def _folder(self, output_dir: str | None) -> Path:
        """The folder of the pipeline; without one it has the name of its file, so that the same command goes on in it."""
        documents = [part.document for part in reversed(self.shared)]
        values = (
            value for document in documents for key, value in document.items() if parameter_of(key) == "output_dir"
        )
        written = next(values, None)
        return Path(output_dir or (written if isinstance(written, str) and written else f"runs/{Path(self.path).stem}"))

    # --- the list of stages

    def _entries(self) -> Iterator[tuple[str, dict[str, Any], tuple[str | int, ...]]]:
        """The name of each stage, its keys and values, and the way to it; what is no stage becomes a finding."""
        form = "each stage is a config with a name: `- {name: sft, trainer: sft, …}`"
        pairs: list[tuple[Any, tuple[str | int, ...]]]
        if isinstance(self.written, Mapping):
            pairs = [
                ({NAME: key, **value} if isinstance(value, Mapping) else value, (STAGES, str(key)))
                for key, value in self.written.items()
            ]
        elif isinstance(self.written, Sequence) and not isinstance(self.written, str):
            pairs = [(value, (STAGES, index)) for index, value in enumerate(self.written)]
        else:
            self._add(
                "P150",
                f"{self.path}: stages is {self.written!r}, and not a list of stages",
                form,
                line=self.lines.get((STAGES,)),
            )
            return
        seen: dict[str, int | None] = {}
        for number, (written, way) in enumerate(pairs, 1):
            line = self.lines.get(way)
            if not isinstance(written, Mapping):
                self._add("P150", f"{self.path}: stage {number} is {written!r}, and not a config", form, line=line)
                continue
            name = written.get(NAME)
            if name is None:
                message = f"{self.path}: stage {number} has no name"
                trainer = written.get("trainer")
                self._add(
                    "P150", message, f"name: {trainer}" if isinstance(trainer, str) else "name: <a word>", line=line
                )
                continue
            name = str(name)
            if not STAGE_NAME.fullmatch(name) or name in RESERVED:
                message = f"{self.path}: {name!r} can't be the name of a stage, which is also the name of its folder"
                self._add(
                    "P150", message, "letters, digits, points, - and _, beginning with a letter or digit", line=line
                )
                continue
            if name.lower() in {other.lower() for other in seen}:
                first = next(other for other in seen if other.lower() == name.lower())
                at = f" (the first in line {seen[first]})" if seen[first] else ""
                what = (
                    f"two stages have the name {name}"
                    if first == name
                    else f"the stages {first} and {name} would share a folder on some disks"
                )
                self._add("P151", f"{self.path}: {what}{at}", f"name: {_free(name, seen)}", line=line)
                continue
            seen[name] = line
            yield name, {str(key): value for key, value in written.items() if key != NAME}, way

    # --- one stage

    def _stage(
        self,
        index: int,
        name: str,
        written: dict[str, Any],
        way: tuple[str | int, ...],
        names: list[str],
        above: ParsedArguments,
    ) -> Stage:
        lines = {parameter_of(str(at[-1])): line for at, line in self.lines.items() if at[:-1] == way}
        mine = {key: value for key, value in written.items() if not self._belongs_above(name, key, lines)}
        references: list[Reference] = []

        def resolved(part: ConfigPart) -> ConfigPart:
            values = {key: self._resolve(value, key, name, names, references) for key, value in part.document.items()}
            return part.replace(document=values)

        own = [
            resolved(_without(part, *ABOVE)) for part in with_bases(ConfigPart(self.own.file, mine), (self.own.file,))
        ]
        set_here = frozenset(parameter_of(key) for part in own for key in part.document)
        inherited = [resolved(_without(part, *ABOVE, *set_here)) for part in self.shared]
        uses = tuple(one for one in references if self._is_earlier(one, names[:index], names, lines))
        parsed = parse_parts([*inherited, *own])
        known = set(above.findings)
        findings = tuple(self._of_stage(one, lines, way) for one in parsed.findings if one not in known)
        parsed.findings = []
        folder = self.folder / name
        parsed.values["output_dir"] = str(folder)
        parsed.origins["output_dir"] = Origin(self.own.file)
        set_by_it, line = frozenset(parse_parts(own).values), self.lines.get(way)
        lost = frozenset(one.parameter for one in references if one not in uses)
        return Stage(name, folder, parsed, set_by_it, written, uses, lost, lines, line, findings)

    def _belongs_above(self, name: str, key: str, lines: Mapping[str, int]) -> bool:
        if parameter_of(key) not in ABOVE:
            return False
        what = (
            "stages can't have stages of their own"
            if key == STAGES
            else f"{key} belongs above the stages: each stage is written to a folder in it"
        )
        fix = f"remove it: the stage is written to {self.folder / name}" if key != STAGES else "one list of stages"
        self._add("P154", f"{self.path}, stage {name}: {what}", fix, line=lines.get(parameter_of(key)))
        return True

    def _resolve(self, value: Any, key: str, stage: str, names: Sequence[str], references: list[Reference]) -> Any:
        """The value with the folders of the stages that it names."""
        if isinstance(value, list):
            return [self._resolve(item, key, stage, names, references) for item in value]
        if not isinstance(value, str):
            return value
        parameter = parameter_of(key)

        def folder(match: re.Match[str]) -> str:
            references.append(Reference(stage, key, parameter, match[1].strip()))
            return str(self.folder / match[1].strip())

        resolved = REFERENCE.sub(folder, value)
        if resolved != value or parameter not in MODELS:
            return resolved
        if "," in value and parameter in PARAMS and PARAMS[parameter].kind == "list":
            return [self._resolve(item.strip(), key, stage, names, references) for item in value.split(",")]
        model = MODEL_OF.fullmatch(value.strip())
        if model is None or not (model["stage"] in names or self._is_misspelt(model, names)):
            return value
        references.append(Reference(stage, key, parameter, model["stage"]))
        return f"{self.folder / model['stage']}{model['choice'] or ''}"

    def _is_misspelt(self, model: re.Match[str], names: Sequence[str]) -> bool:
        """Whether `sfft@best` was meant to be a stage: no such run is here, and a stage has nearly that name."""
        return (
            bool(model["choice"]) and not Path(model["stage"]).exists() and nearest(model["stage"], names) is not None
        )

    def _is_earlier(
        self,
        reference: Reference,
        earlier: Sequence[str],
        names: Sequence[str],
        lines: Mapping[str, int],
    ) -> bool:
        """Whether a reference is to an earlier stage; otherwise it becomes a finding."""
        if reference.name in earlier:
            return True
        line = lines.get(reference.parameter) or self.lines_above.get(reference.parameter)
        where = f"{self.path}, stage {reference.stage}: {reference.key} names"
        parameters = (reference.parameter,) if reference.parameter in PARAMS else ()
        if reference.name not in names:
            near = nearest(reference.name, names)
            fix = f"{reference.key}: ${{stages.{near}}}" if near else f"one of {', '.join(names)}"
            self._add("P152", f"{where} the stage {reference.name}, which does not exist", fix, line, parameters)
        elif reference.name == reference.stage:
            fix = f"an earlier stage: {', '.join(earlier)}" if earlier else "a model that exists, or scratch:SIZE"
            self._add("P153", f"{where} its own stage", fix, line, parameters)
        else:
            circle = "" if not self._leads_back(reference.name, reference.stage) else ", which needs this one: a circle"
            message = f"{where} the stage {reference.name}, which comes later{circle}"
            fix = "remove one of the two" if circle else f"move the stage {reference.name} before {reference.stage}"
            self._add("P153", message, fix, line, parameters)
        return False

    def _leads_back(self, start: str, goal: str) -> bool:
        """Whether the stage `start` needs `goal`, itself or through others."""
        needs = {name: set(_named_in(written)) for name, written in self._written_by_name().items()}
        waiting, seen = [start], set[str]()
        while waiting:
            name = waiting.pop()
            if goal in needs.get(name, ()):
                return True
            waiting += needs.get(name, set()) - seen
            seen.add(name)
        return False

    def _written_by_name(self) -> dict[str, Mapping[str, Any]]:
        if isinstance(self.written, Mapping):
            return {str(name): written for name, written in self.written.items() if isinstance(written, Mapping)}
        return {str(written.get(NAME)): written for written in self.written if isinstance(written, Mapping)}

    # --- findings

    def _of_stage(self, finding: Finding, lines: Mapping[str, int], way: tuple[str | int, ...]) -> Finding:
        at = self._with_line(finding, {**self.lines_above, **lines})
        return at if at.line else at.replace(line=self.lines.get(way))

    def _with_line(self, finding: Finding, lines: Mapping[str, int]) -> Finding:
        words = [*finding.parameters, *re.findall(r"'([^']+)'", finding.message)]
        line = next((lines[parameter_of(word)] for word in words if parameter_of(word) in lines), None)
        is_elsewhere = finding.line or finding.file not in (None, self.own.file)
        return finding if line is None or is_elsewhere else finding.replace(line=line)

    def _add(
        self, code: str, message: str, fix: str, line: int | None = None, parameters: tuple[str, ...] = ()
    ) -> None:
        self.findings.append(Finding(message, fix, parameters, file=self.path, line=line, code=code))


def in_stage(name: str, finding: Finding) -> Finding:
    """The finding with the name of its stage."""
    return finding.replace(message=f"stage {name}: {finding.message}")


def _lines_in(file: str) -> dict[tuple[str | int, ...], int]:
    """The lines of the keys of a file; none of a Python config."""
    return lines_of(Path(file).read_text(encoding="utf-8-sig")) if Path(file).suffix != ".py" else {}


def _named_in(written: Mapping[str, Any]) -> Iterator[str]:
    """The stages that the values of a stage name."""
    for key, value in written.items():
        for text in value if isinstance(value, list) else [value]:
            yield from (name.strip() for name in REFERENCE.findall(str(text)))
            model = MODEL_OF.fullmatch(str(text).strip()) if parameter_of(key) in MODELS else None
            if model is not None:
                yield model["stage"]


def parameter_of(key: str) -> str:
    """The parameter of a key in any spelling."""
    name = str(key).replace("-", "_")
    return RENAMED.get(name, name)


def _free(name: str, names: Mapping[str, Any]) -> str:
    return next(f"{name}-{number}" for number in range(2, len(names) + 3) if f"{name}-{number}" not in names)
