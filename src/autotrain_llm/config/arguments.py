"""Parse the arguments of the command line, a config file or Python, before the sources are layered and checked.

All three convert names and raw values here, so that spellings, other tools' names, switches and bad values give the same findings
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autotrain_llm.config.aliases import (
    ACCEPTED_BY_NAME,
    ACCEPTED_BY_TRAINER,
    BLOCKS,
    BY_TRAINER,
    RENAMED,
    Accepted,
    meant_by,
)
from autotrain_llm.config.foreign_names import trainer_meant, unknown
from autotrain_llm.config.layers import NOWHERE, Layer, Origin
from autotrain_llm.config.registry import ANSWERING, PARAMS, TRAINERS
from autotrain_llm.config.unread import Unread
from autotrain_llm.declare.convert import FALSE, BadValue, convert, mended
from autotrain_llm.declare.finding import WARNING, Finding, typed
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Meaning, Param, flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.text import plain


class ParsedArguments:
    """Converted values by parameter, and findings about what could not be converted.

    What is given becomes a value, or is left unread with the finding about it: `leave` adds both, so that neither is lost.

    `trainer` is the one that a source of lower precedence names, if this one doesn't: some names of other tools depend on it. `over` are the values
    of a source that takes precedence.
    """

    def __init__(
        self, findings: Iterable[Finding] = (), trainer: str | None = None, over: Mapping[str, Any] = EMPTY
    ) -> None:
        self.values: dict[str, Any] = {}
        self.unread: list[Unread] = []
        self.origins: dict[str, Origin] = {}  # of values that a file sets, or that were given under another name
        self.findings: list[Finding] = list(findings)
        self.beside: Mapping[str, Any] = {}  # all names of this source, with their values as they were written
        self._trainer, self._over = trainer, over

    @property
    def layer(self) -> Layer:
        return Layer(self.values, self.origins)

    def leave(self, finding: Finding, name: str = "", raw: Any = None, words: str = "") -> None:
        """Add the finding about something that was given, which is not carried out."""
        self.findings.append(finding)
        self.unread.append(Unread(finding, name, raw, words))

    def set(self, name: str, raw: Any, written: str = "", file: str | None = None) -> None:
        """Set a parameter, named in any spelling, to a raw value; `written` is how the user wrote the name (`--dpo_beta`, `params.lr`)."""
        name = name.replace("-", "_")
        written = written or flag_of(name)
        parameter = self.parameter_meant(name)
        if parameter == "trainer":
            self._set_trainer(raw, file)
        elif self.has(parameter):
            self._set_parameter(PARAMS[parameter], raw, file)
        elif parameter in ACCEPTED_BY_NAME:
            self._set_accepted(ACCEPTED_BY_NAME[parameter], raw, written, file)
        else:
            finding = unknown(name, written, raw, file, self.known(), self.beside)
            self.leave(finding, name, raw)
            self._trainer = self._trainer or finding.changes.get("trainer")  # `rl: kto`, on which `rl_beta` depends
        self._note_origin(parameter, Origin(file, None if _names(written, parameter) else written.strip("'")))

    def parameter_meant(self, name: str) -> str:
        """The parameter that a name means, if the name is accepted for it; otherwise the name."""
        if name in ACCEPTED_BY_TRAINER:
            trainer = TRAINERS.get(self.known().get("trainer", ""))
            return next((other for other in BY_TRAINER[name] if trainer and trainer.reads(other)), name)
        return RENAMED.get(name, name)

    def has(self, name: str) -> bool:
        """Whether this command has a parameter of this name."""
        return name in PARAMS and (name not in ANSWERING or bool(self.values.get("inference")))

    def known(self) -> dict[str, Any]:
        """The values, with those of a source that takes precedence and the trainer that one of lower precedence names."""
        trainer = {"trainer": self._trainer} if self._trainer else EMPTY
        return {**trainer, **self.values, **self._over}

    def _note_origin(self, parameter: str, origin: Origin) -> None:
        self.origins.pop(parameter, None)
        if parameter in self.values and origin != NOWHERE:
            self.origins[parameter] = origin

    def _set_parameter(self, param: Param, raw: Any, file: str | None) -> None:
        try:
            # A choice and the names of a list are looked at when all values are known.
            meaning = None if param.choices or param.kind == "list" else param.meaning_of(raw)
            if meaning is not None:
                raise BadValue("what it is called here")
            value = convert(param, raw)
        except BadValue as fault:
            finding = (
                _of_meaning(param, raw, meaning, file) if meaning else _bad_value(param, raw, fault, file, self.beside)
            )
            is_text = isinstance(raw, str) and not raw.startswith("-")
            self.leave(finding, param.name, raw, typed(param.name, raw) if is_text else "")
            return
        if str(raw) in param.replaced_choices:
            self.findings.append(
                Finding(
                    f"{param.flag} {raw} is now called {value}, which is used",
                    changes={param.name: value},
                    parameters=(param.name,),
                    severity=WARNING,
                    file=file,
                    code="P111",
                )
            )
        self.values[param.name] = value

    def _set_trainer(self, raw: Any, file: str | None) -> None:
        name = str(raw).strip().lower()
        name = PARAMS["trainer"].default if name in ("", "default") else name
        if name in TRAINERS:
            self.values["trainer"] = name
        elif name == "distillation":
            finding = Finding(
                "--trainer distillation was removed: distillation combines with a trainer",
                fix="--trainer sft --use-distillation --teacher-model <name or path>",
                parameters=("trainer",),
                file=file,
                code="P103",
            )
            self.leave(finding, "trainer", raw)
        else:
            self.leave(_unknown_trainer(name, file), "trainer", raw)

    def _set_accepted(self, accepted: Accepted, raw: Any, written: str, file: str | None) -> None:
        """Apply a flag of another tool; it does not override parameters that are given directly, and adds to a list."""
        word = str(raw).strip().lower()
        switched_off = word in FALSE
        for name, value in ({} if switched_off else accepted.sets).items():
            given = self.values.get(name)
            if isinstance(value, tuple) and given:
                self.values[name] = (*given, *(item for item in value if item not in given))
            elif given is None:
                self.values[name] = value
                self._note_origin(name, Origin(file, written.strip("'")))
        if accepted.warning and not switched_off and word not in accepted.harmless:
            finding = Finding(
                f"{accepted.flag}: {accepted.warning}",
                changes={accepted.name: None},
                severity=WARNING,
                parameters=(accepted.name,),
                file=file,
                code="P110",
            )
            self.leave(finding, accepted.name, raw)


COUNT_STEPS = ("eval_steps", "save_steps", "logging_steps")


def _share_of_the_run(param: Param, raw: Any) -> float | None:
    """The share of the run that a number of steps was given as, as transformers takes it; None if it is none."""
    try:
        share = float(str(raw)) if param.name in COUNT_STEPS and not isinstance(raw, bool) else 0.0
    except ValueError:
        return None
    return share if 0 < share < 1 else None


def _of_meaning(param: Param, raw: Any, meaning: Meaning, file: str | None) -> Finding:
    """The finding for another tool's value of a parameter that has no list of choices."""
    changes = {param.name: None, **meaning.changes}
    return Finding(
        f"{param.flag} has no {_shown(param, raw)}" + (f": {meaning.lost}" if meaning.lost else ""),
        changes=EMPTY if meaning.lost else changes,
        guess=changes if meaning.lost else EMPTY,
        parameters=(param.name,),
        file=file,
        code="P302",
    )


def _bad_value(param: Param, raw: Any, fault: BadValue, file: str | None, beside: Mapping[str, Any]) -> Finding:
    """The finding for a value of the wrong kind, with the value that was probably meant."""
    share = _share_of_the_run(param, raw)
    if share is not None:
        all_steps = str(beside.get("max_steps"))
        steps = max(1, round(share * int(all_steps))) if all_steps.isdecimal() else None
        left = f", or leave {param.flag} out ({param.default_words} is the default)" if param.default_words else ""
        return Finding(
            f"{param.flag} counts steps, and {plain(share)} would be a share of the run",
            fix=f"{param.flag} N, where N is {plain(share)} times the steps of the run (see --dry-run){left}",
            changes={} if steps is None else {param.name: steps},
            parameters=(param.name,),
            file=file,
            code="P302",
        )
    empty = isinstance(raw, str) and not raw.strip()
    if empty and not param.required:
        changes = {param.name: None}
    else:
        value = mended(param, raw) if isinstance(raw, str) and not param.secret else None
        changes = {} if value is None else {param.name: value}
    guess = EMPTY if changes or param.secret else _meant(param, str(raw))
    return Finding(
        f"{param.flag} must be {fault}, got {_shown(param, raw)}"
        + (": is a shell variable not set?" if empty and file is None else ""),
        fix=None
        if guess
        else f"{param.flag}, or {typed(param.name, False)}"
        if param.kind == "switch"
        else f"{param.flag} {param.placeholder}",
        changes=changes,
        guess=guess,
        parameters=(param.name,),
        file=file,
        code="P302",
    )


def _meant(param: Param, word: str) -> Mapping[str, Any]:
    """The word of a parameter that another one is close to: `atuo` to `auto`."""
    words: dict[str, Any] = {also: also for also in param.also if isinstance(also, str)}
    words |= {"true": True, "false": False} if param.kind == "switch" else {}
    near = nearest(word, words)
    return {param.name: words[near]} if near else EMPTY


def _unknown_trainer(name: str, file: str | None) -> Finding:
    """The finding for an unknown trainer: `sft-lora` contains a trainer's name, `rlhf` is another tool's name, `stf` is a typo."""
    changes, guess = trainer_meant(name)
    return Finding(
        f"there is no trainer {name!r}; there are {', '.join(TRAINERS)}",
        changes=changes,
        guess=guess,
        parameters=("trainer",),
        file=file,
        code="P303",
    )


def _shown(param: Param, raw: Any) -> str:
    """A value as shown in a message; a secret is never shown."""
    if param.secret:
        return "a value that is not shown"
    kind = "the list " if isinstance(raw, list | tuple) and param.kind != "list" else ""
    return repr(raw) if isinstance(raw, str) else kind + plain(raw)


def _names(written: str, parameter: str) -> bool:
    """Whether a name as it was written is the parameter's own, in any spelling and any section of a file."""
    return written.strip("'").rpartition(".")[2].lstrip("-").replace("-", "_") == parameter


def known_first(name: str) -> tuple[bool, bool]:
    """Sort key for names: the trainer, under any name, and the kind of command first, then our own parameters, because the meaning of other
    names depends on them."""
    parameter = RENAMED.get(name, name)
    return meant_by(parameter) not in ("trainer", "inference"), parameter not in PARAMS


def outside_of_blocks(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A name with its value; of a block of another tool (`dpo_args`), the names that it holds, the parameter's own where they mean one."""
    if name not in BLOCKS or not isinstance(value, Mapping):
        yield name, value
        return
    for inner, item in value.items():
        yield BLOCKS[name].get(str(inner), str(inner)), item


def parse_kwargs(kwargs: Mapping[str, Any], trainer: str | None = None) -> ParsedArguments:
    """Parse the keyword arguments of a Python call. `trainer` is the one that a config file names."""
    arguments = ParsedArguments(trainer=trainer)
    flat = [pair for name, raw in kwargs.items() for pair in outside_of_blocks(name, raw)]
    arguments.beside = dict(flat)
    for name, raw in sorted(flat, key=lambda pair: known_first(pair[0])):
        arguments.set(name, raw)
    return arguments


def parse_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a finding's `changes` set; those that can't be converted are left out."""
    return parse_kwargs({name: value for name, value in changes.items() if value is not None}).values
