"""The value of a parameter: given where it is required, inside its bounds, one of its choices, of a usual size."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from autotrain_llm.config.aliases import choice_meant
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import usual_value
from autotrain_llm.context.machine import target_memory
from autotrain_llm.declare.example import NEW, Example
from autotrain_llm.declare.finding import WARNING, Finding, typed
from autotrain_llm.declare.nearest import nearest, same_spelling
from autotrain_llm.declare.param import Meaning, Param, flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.search import describe
from autotrain_llm.declare.text import plain, plain_number
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.shared import REQUIRED

# Columns that a mixture names in its file, if they have to be named.
COLUMN_FLAGS = ("prompt_text_column", "rejected_text_column")
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on every common file system


@rule("P201", example=Example("llm --trainer sft --lr 1e-3", NEW))
def required_parameters_must_be_given(
    config: Config, trainer: Trainer, mistyped: Collection[str], trainer_is_known: bool
) -> Iterator[Finding]:
    """Parameters that the trainer requires are missing.

    Why: they decide what is trained, on which data and for how long, and have no default that suits everyone. All missing ones are listed
    together, numbers with a value that is typical for this trainer, and for LoRA, full fine-tuning or a new model. A prompt column is not required
    where the rows have none and both answers start with their prompt, nor a column of rejected answers where a judgement of two tells which they are.
    Fix: use the flags that the finding shows.
    """
    missing = [
        names
        for names in (trainer.requires if trainer_is_known else REQUIRED)
        if not any(config.value_of(name) is not None or name in mistyped for name in names.split("|"))
        and not (config.data_config and names in COLUMN_FLAGS)
        and not (config.streaming and "max_steps" in names.split("|"))  # another finding asks for it
    ]
    if not missing:
        return
    firsts = [names.split("|")[0] for names in missing]
    flags = ", ".join(" or ".join(map(flag_of, names.split("|"))) for names in missing)
    values = {name: plain_number(usual_value(config, name, trainer)) for name in firsts if name in trainer.usual}
    shown = [f"{flag_of(name)} {values.get(name, PARAMS[name].placeholder)}" for name in firsts]
    yield Finding(
        f"{trainer.name if trainer_is_known else 'every trainer'} needs {flags}, and {'it was not' if flags.count('--') == 1 else 'none was'} "
        "given",
        fix=" ".join(shown),
        changes=values if len(values) == len(firsts) else EMPTY,
        parameters=tuple(firsts),
    )


@rule("P337", WARNING, refuses="--trainer dpo --dpo-beta 50", accepts="--trainer dpo --dpo-beta 0.5")
def a_value_should_be_of_a_usual_size(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A number is more than ten times the largest value that is usually searched, or less than a hundredth of the smallest.

    Why: `--dpo-beta 50` keeps the model at its reference, and `--weight-decay 10` shrinks its weights to zero; it is probably a misplaced
    decimal point.
    Fix: a value in the range that the finding shows.
    """
    for name in config.all_given():
        value, param = config.value_of(name), PARAMS[name]
        if param.kind != "float" or name == "lr" or not trainer.reads(name) or value is None:
            continue
        if not param.in_bounds(value):  # P301 reports it
            continue
        low, high = _usual_range(param)
        if value > high or 0 < value < low:
            usual = describe(param.search).removesuffix(", log") if param.search else f"up to {plain(high)}"
            yield Finding(
                f"{param.flag} {plain(value)} is far {'above' if value > high else 'below'} what is usual ({usual})",
                changes={name: param.default},
                otherwise="or another value in that range" if param.search else "",
                parameters=(name,),
            )


def _usual_range(param: Param) -> tuple[float, float]:
    """The values that are not reported."""
    search = param.search
    if param.usual_range:
        return param.usual_range
    if search is None or search.high is None or search.low is None:
        return 0.0, float("inf")
    return (search.low / 100 if search.is_log else 0.0), 10 * search.high


@rule("P301", refuses="--epochs 0", accepts="--epochs 1", value_alone=True, inference=True)
def a_number_must_be_inside_its_bounds(config: Config) -> Iterator[Finding]:
    """A number is outside the bounds of its parameter.

    Why: the libraries accept some such values and train nothing (`epochs` 0 or below), or fail hours later.
    Fix: a value inside the bounds; where 0 and numbers below mean never in other tools, as in `--save-steps -1`, the flags that mean it here.
    """
    for param in PARAMS.values():
        value = config.value_of(param.name)
        if config.given(param.name) and param.within and not param.in_bounds(value):
            yield Finding(
                f"{param.flag} must be {param.within.describe()}, got {plain(value)}",
                changes=_instead(
                    param, value, has_alternative=bool(param.alternative and config.value_of(param.alternative))
                ),
                parameters=(param.name,),
                file=config.origin(param.name).file,
            )


def _instead(param: Param, value: Any, *, has_alternative: bool) -> Mapping[str, Any]:
    """The changes in place of a value outside its bounds: none where another parameter is given in its place; what it means in other tools, the usual value,
    or the bound."""
    if has_alternative:
        return {param.name: None}
    if param.never and value <= 0:
        return param.never
    if param.suggested is not None:
        return {param.name: param.suggested}
    return _nearest_bound(param, value) or ({} if param.required or param.alternative else {param.name: None})


def _nearest_bound(param: Param, value: Any) -> Mapping[str, Any]:
    """The bound that was exceeded, where it is itself a possible value."""
    bounds = param.within
    if bounds is None or value != value:
        return EMPTY
    if bounds.low is not None and value < bounds.low and not bounds.low_open:
        return {param.name: bounds.low}
    if bounds.high is not None and value > bounds.high and not bounds.high_open:
        return {param.name: bounds.high}
    return EMPTY


@rule(
    "P303",
    refuses="--scheduler cosin",
    accepts="--scheduler cosine",
    value_alone=True,
    inference=True,
    blocks="trainer",
)
def a_choice_must_be_one_of_the_choices(config: Config) -> Iterator[Finding]:
    """A value is not one of the parameter's choices.

    Why: a misspelt choice must not silently become another one.
    Fix: one of the choices that the finding lists.
    """
    for param in PARAMS.values():
        value = config.value_of(param.name)
        if config.given(param.name) and param.choices and value is not None and value not in param.choices:
            meaning = param.meaning_of(value) or _of_spelling(param, str(value))
            near = None if meaning else nearest(str(value), param.choices)
            # What a meaning does not set is left out.
            instead = {param.name: None, **meaning.changes} if meaning else {param.name: near} if near else EMPTY
            lost = meaning.lost if meaning else ""
            yield Finding(
                f"{param.flag} must be one of {', '.join(param.choices)}, got {value!r}"
                + (f": {lost}" if lost else ""),
                fix=None if instead or not param.default else f"{typed(param.name, param.default)}, the default",
                changes=instead if meaning and not lost else EMPTY,
                guess=EMPTY if meaning and not lost else instead,
                parameters=(param.name,),
                file=config.origin(param.name).file,
            )


def _of_spelling(param: Param, value: str) -> Meaning | None:
    """The choice that a value is in another spelling: `Cosine`, `flash-attention-2`."""
    same = choice_meant(param.name, value) or next(filter(partial(same_spelling, value), param.choices), None)
    return Meaning({param.name: same}) if same else None


@rule(
    "P304",
    refuses="--data-path ~nobody-of-that-name/rows.jsonl",
    accepts="--data-path ./data/train.jsonl",
    value_alone=True,
    inference=True,
    blocks="output",
)
def a_path_must_be_valid(config: Config) -> Iterator[Finding]:
    """A path can't exist: `~name` names a user that this machine doesn't have, or a name is too long for a file system.

    Why: a file or folder with this path can be neither read nor created.
    Fix: the whole path, from `/` or from this folder; a shorter name.
    """
    for param in PARAMS.values():
        paths = config.value_of(param.name) if param.path else None
        for path in paths if isinstance(paths, tuple) else (paths,):
            fault = _fault_of_path(path) if path else None
            if fault:
                yield Finding(
                    f"{param.flag} {path[:60]}{'…' if len(path) > 60 else ''} {fault}",
                    fix=f"{param.flag} {'<a shorter name>' if fault == TOO_LONG else '<the whole path, from / or from this folder>'}",
                    parameters=(param.name,),
                    file=config.origin(param.name).file,
                )


TOO_LONG = "is longer than a file name can be"


def _fault_of_path(path: str) -> str | None:
    try:
        parts = os.fsencode(path).split(b"/")
    except UnicodeEncodeError:
        return "has half a character in it (an unpaired surrogate)"
    if max(map(len, parts)) > LONGEST_NAME or len(path) > LONGEST_PATH:
        return TOO_LONG
    try:
        Path(path).expanduser()
    except RuntimeError:
        return "starts with ~ and the name of a user who has no home folder on this machine"
    return None


@rule("P305", refuses="--target-memory 24", accepts="--target-memory 24GiB", value_alone=True)
def target_memory_must_be_a_size(config: Config) -> Iterator[Finding]:
    """`--target-memory` is not a size with a unit.

    Why: a number alone may be bytes or gigabytes, and the plan would be for another device.
    Fix: a number with MiB, GiB or TiB; with `cpu:` before it for a machine without a GPU.
    """
    size = config.target_memory
    if size is None or target_memory(str(size)) is not None:
        return
    with_unit = f"{str(size).strip()}GiB"
    yield Finding(
        f"--target-memory must be a size with its unit, got {size!r}",
        fix="--target-memory 24GiB, or cpu:16GiB for a machine without a GPU",
        changes={"target_memory": with_unit} if target_memory(with_unit) else EMPTY,
        parameters=("target_memory",),
        file=config.origin("target_memory").file,
    )
