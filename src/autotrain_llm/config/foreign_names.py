"""The finding for an unknown name: the name to use here, why there is no such parameter, or the name that was probably mistyped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotrain_llm.config.aliases import (
    ACCEPTED_BY_NAME,
    ALIASES,
    BY_TRAINER,
    NEGATED,
    NO_COUNTERPART,
    RENAMED,
    STANDS_FOR,
    choice_meant,
)
from autotrain_llm.config.registry import PARAMS, TRAINERS, trainers_that_read
from autotrain_llm.declare.convert import FALSE, TRUE, BadValue, convert
from autotrain_llm.declare.finding import Finding, typed
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Param, flag_of
from autotrain_llm.declare.record import EMPTY

CUTOFF = 0.75  # similarity from which a name is taken for a typo of another
ON_THE_HUB = ": a model is uploaded as ACCOUNT/NAME, from --username and the last component of --output-dir"


def unknown(name: str, written: str, raw: Any, file: str | None = None, given: Mapping[str, Any] = EMPTY) -> Finding:
    """Name the right parameter, and its value if it can be derived. `given` are the values parsed so far, which include the trainer."""
    trainer = given.get("trainer")
    parameter = _parameter_meant(name, raw, trainer)
    if parameter and name in BY_TRAINER and not _reads(trainer, parameter):
        is_valid = raw is not None and _change_to(PARAMS[parameter], raw)
        flag = typed(parameter, raw) if is_valid else flag_of(parameter)
        others = " or ".join(other.name for other in trainers_that_read(parameter))
        message = f"{written} is called {flag_of(parameter)} here, which {trainer} does not read"
        fix = f"leave {written} out, or {flag} with --trainer {others}"
        return Finding(message, fix, (name,), file=file, code="P102")
    if parameter:
        param = PARAMS[parameter]
        return Finding(
            f"{written} is called {param.flag} here{ON_THE_HUB if parameter == 'push_to_hub' else ''}",
            fix=f'{param.flag} "$HF_TOKEN"' if param.secret else _by_hand(param, raw),
            changes=EMPTY if param.secret else _translated(name, param, raw, given),
            parameters=(name,),
            file=file,
            code="P102",
        )
    if name in NO_COUNTERPART:
        message = f"there is no parameter {written}: {NO_COUNTERPART[name]}"
        return Finding(message, f"leave {written} out", (name,), file=file, code="P104")
    close, changes = _closest(name, raw)
    hint = f"; did you mean {flag_of(close)}?" if close else ""
    return Finding(
        f"there is no parameter {written}{hint}", changes=changes, parameters=(name,), file=file, code="P104"
    )


def _parameter_meant(name: str, raw: Any, trainer: str | None) -> str | None:
    """The parameter that another tool's name stands for. If there are several, the first that the trainer reads and that can have the
    value."""
    if name in ALIASES:
        return ALIASES[name]
    if name in BY_TRAINER:
        candidates = BY_TRAINER[name]
        possible = [candidate for candidate in candidates if raw is None or _change_to(PARAMS[candidate], raw)] or list(
            candidates
        )
        return next((candidate for candidate in possible if _reads(trainer, candidate)), possible[0])
    positive = name.removeprefix("no_")
    return positive if positive in PARAMS else None


def _reads(trainer: str | None, name: str) -> bool:
    """Whether the trainer reads a parameter; True if the trainer is not known."""
    spec = TRAINERS.get(trainer or "")
    return spec is None or spec.reads(name)


def _by_hand(param: Param, raw: Any) -> str:
    """The fix if the value can't be derived."""
    if param.name == "warmup_ratio" and raw is not None:
        return f"--warmup-ratio X, where X is {raw} divided by the steps of the run (see --dry-run); 0.1 is usual"
    return f"{param.flag} {param.placeholder or '…'}"


# --- the value -------------------------------------------------------------------------------------------------------


def _translated(name: str, param: Param, raw: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters and values that a foreign name and its value stand for; empty if that can't be derived."""
    value = _translated_value(name, param, raw)
    if param.name == "push_to_hub":
        return {"push_to_hub": value} | (_name_on_the_hub(raw) if value else {})
    if param.name == "warmup_ratio":
        warmup, steps = int(value) if str(value).isdecimal() else 0, given.get("max_steps") or 0
        if 1 < warmup < steps:
            return {"warmup_ratio": float(f"{warmup / steps:.4g}")}
    adds = {"quantization": "int4"} if param.name == "peft" and str(raw).strip().lower() == "qlora" else {}
    return _change_to(param, value) | adds


def _translated_value(name: str, param: Param, raw: Any) -> Any:
    word = str(raw).strip().lower()
    if name in STANDS_FOR:
        return None if word in FALSE else STANDS_FOR[name][1]
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):  # axolotl lists data sets with their settings
        raw = raw[0].get("path", raw)
    if param.name == "trainer":
        return str(raw) if str(raw) in TRAINERS else choice_meant("trainer", str(raw)) or raw
    if param.name == "target_modules" and word in ("all", "all_linear"):
        return "all-linear"
    if name in NEGATED:
        return raw is not None and word in FALSE
    if param.kind == "switch":
        return not name.startswith("no_") if raw is None else word not in (*FALSE, "full")
    if param.choices:
        exact = next((choice for choice in (str(raw), name) if choice in param.choices), None)
        return exact or choice_meant(param.name, str(raw)) or choice_meant(param.name, name) or raw
    return True if raw is None else raw


def _name_on_the_hub(raw: Any) -> dict[str, Any]:
    """The changes that give a model the name `ACCOUNT/NAME` on the Hub."""
    owner, _, last = str(raw).strip().rpartition("/")
    if raw is None or not last or "/" in owner or last.lower() in TRUE:
        return {}
    return ({"username": owner} if owner else {}) | {"output_dir": f"runs/{last}"}


def _change_to(param: Param, value: Any) -> dict[str, Any]:
    """The change that sets a parameter to a value; empty if the value is not valid."""
    if value is None or value is True:
        return {param.name: value} if value is None or param.kind == "switch" else {}
    try:
        converted = convert(param, value)
    except BadValue:
        return {}
    choices = TRAINERS if param.name == "trainer" else (*param.choices, *param.replaced_choices)
    if choices and converted is not None and converted not in choices:
        return {}
    steps_for_a_share = param.name == "warmup_ratio" and converted > 1
    return {} if steps_for_a_share else {param.name: value}


# --- typos -----------------------------------------------------------------------------------------------------------


def _closest(name: str, raw: Any) -> tuple[str | None, dict[str, Any]]:
    """The most similar name and the changes that use it; None if no name is similar enough or can have this value."""
    close = nearest(name, [*PARAMS, *ACCEPTED_BY_NAME, *RENAMED], cutoff=CUTOFF)
    if close is None:
        alias = nearest(name, ALIASES, cutoff=CUTOFF)
        close = ALIASES[alias] if alias else None
    if close is None:
        return None, {}
    if close in ACCEPTED_BY_NAME:
        return close, {close: True} if ACCEPTED_BY_NAME[close].sets else {name: None}
    param = PARAMS[RENAMED.get(close, close)]
    if param.secret or (raw is None and param.kind != "switch"):
        return param.name, {}
    changes = _change_to(param, True if raw is None else raw)
    if changes and param.within and not param.in_bounds(convert(param, raw)):
        changes = {}
    return (param.name, changes) if changes else (None, {})
