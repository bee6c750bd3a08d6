"""What every value must be: given where it is required, inside its bounds, one of its choices."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from autotrain_llm.config.aliases import OTHER_TRAINER, choice_meant
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import CONFIG_FILE, Config
from autotrain_llm.context.machine import target_memory
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.search import describe
from autotrain_llm.declare.text import plain, plain_number
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.shared import REQUIRED

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on every common file system


@rule("P201")
def what_a_trainer_requires_must_be_given(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Parameters that the trainer requires are missing.

    Why: these decide what is trained, on what and how long, and no default suits everybody. All that are missing are named together,
    each with a value that is usual for this trainer, and for LoRA or full training. A prompt column is not missed where the rows have none
    and both answers begin with their prompt.
    Fix: the flags that are shown.
    """
    yield from missing_values(config, trainer)


def missing_values(
    config: Config, trainer: Trainer, wrong: Collection[str] = (), every: bool = False
) -> Iterator[Finding]:
    """What is required and not given, without what is `wrong`: given, and in a way that is complained of by itself.

    With `every`, where it isn't known which trainer is meant, it is what all of them require.
    """
    missing = [
        names
        for names in (REQUIRED if every else trainer.requires)
        if not any(config.value_of(name) is not None or name in wrong for name in names.split("|"))
    ]
    if not missing:
        return
    firsts = [names.split("|")[0] for names in missing]
    flags = ", ".join(" or ".join(PARAMS[name].flag for name in names.split("|")) for names in missing)
    lora = bool(config.peft)
    usual = {name: trainer.usual[name].value(lora) for name in firsts}
    values = {name: plain_number(value) for name, value in usual.items()}
    yield Finding(
        f"{'every trainer' if every else trainer.name} needs {flags}, and {'it was not' if flags.count('--') == 1 else 'none was'} given",
        fix=" ".join(f"{PARAMS[name].flag} {value}" for name, value in values.items()),
        changes=EMPTY if any(PARAMS[name].path for name in firsts) else values,
        parameters=tuple(firsts),
        code="P201",
    )


@rule("P337", WARNING, refuses="--trainer dpo --dpo-beta 50", accepts="--trainer dpo --dpo-beta 0.5")
def a_strength_should_be_of_a_size_that_works(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A number that says how strongly something counts is ten times beyond all that is ever searched, or a hundredth of it.

    Why: `--dpo-beta 50` holds the model where it is and `--weight-decay 10` draws it to nought; it looks like a slip of a decimal point.
    Fix: a value of the range that is named.
    """
    for name in config.all_given():
        value, param = config.value_of(name), PARAMS[name]
        if param.kind != "float" or name == "lr" or not trainer.reads(name) or value is None:
            continue
        if not param.in_bounds(value):  # of which another rule speaks
            continue
        low, high = _usual_strengths(param)
        if value > high or 0 < value < low:
            usual = describe(param.search) if param.search else f"up to {plain(high)}"
            yield Finding(
                f"{param.flag} {plain(value)} is far {'above' if value > high else 'below'} what is usual ({usual})",
                changes={name: param.default},
                otherwise="or any value of that range" if param.search else "",
                parameters=(name,),
            )


def _usual_strengths(param: Param) -> tuple[float, float]:
    """The values between which nothing is said."""
    search = param.search
    if param.usual_range:
        return param.usual_range
    if search is None or search.high is None or search.low is None:
        return 0.0, float("inf")
    return (search.low / 100 if search.is_log else 0.0), 10 * search.high


@rule("P202", refuses="--inference", accepts='--inference --model runs/mine --prompts "Hello"')
def inference_needs_a_model_and_prompts(config: Config) -> Iterator[Finding]:
    """`--inference` without `--model` or `--prompts`.

    Why: there is nothing to ask, or nobody to answer.
    Fix: name both.
    """
    missing = [name for name in ("model", "prompts") if config.inference and config.value_of(name) is None]
    if missing:
        yield Finding(
            f"--inference needs {' and '.join(PARAMS[name].flag for name in missing)}",
            fix=" ".join({"model": "--model runs/mine", "prompts": '--prompts "Hello"'}[name] for name in missing),
            parameters=("inference", *missing),
        )
    if config.inference and str(config.model or "").startswith("scratch:"):
        yield Finding(
            "--inference asks a trained model, and scratch: is a new one",
            fix="--model runs/mine",
            parameters=("inference", "model"),
        )


@rule(
    "P203",
    WARNING,
    refuses='--inference --model runs/mine --prompts "Hello" --lr 1e-4',
    accepts='--inference --model runs/mine --prompts "Hello"',
)
def inference_does_not_train(config: Config) -> Iterator[Finding]:
    """A parameter of training was given together with `--inference`.

    Why: answering prompts reads the model, the template and the precision, and nothing else; the value is ignored.
    Fix: remove it.
    """
    if not config.inference:
        return
    unused = [name for name in config.all_given() if not PARAMS[name].command and not PARAMS[name].used_by_inference]
    if unused:
        yield Finding(
            f"{', '.join(PARAMS[name].flag for name in unused)} has no effect with --inference, will be ignored",
            changes=dict.fromkeys(unused),
            parameters=tuple(unused),
        )


@rule(
    "P204",
    WARNING,
    refuses="--trainer ppo --max-new-tokens 64",
    accepts="--trainer ppo --rl-max-new-tokens 64",
)
def training_answers_no_prompts(config: Config) -> Iterator[Finding]:
    """`--prompts` or `--max-new-tokens` without `--inference`.

    Why: both say what is asked of a finished model; training asks nothing, and the value is ignored.
    Fix: the parameter of training that was meant, or leave it out.
    """
    for name in ("prompts", "max_new_tokens"):
        if config.given(name) and not config.inference:
            instead = _in_training(config) if name == "max_new_tokens" else None
            yield Finding(
                f"{PARAMS[name].flag} has no effect without --inference, will be ignored",
                changes={name: None} | ({instead: config.value_of(name)} if instead else {}),
                parameters=(name,),
            )


def _in_training(config: Config) -> str | None:
    """The parameter that says how long the answers are that training writes."""
    if config.applies("rl_max_new_tokens"):
        return "rl_max_new_tokens"
    return "eval_max_new_tokens" if config.use_enhanced_eval and config.applies("eval_max_new_tokens") else None


@rule("P119", refuses="--write-config fixed.yaml", accepts="--fix --write-config fixed.yaml")
def a_corrected_config_needs_correcting(config: Config) -> Iterator[Finding]:
    """`--write-config` without `--fix`, or `--fix` beside a kept plan or prompts to answer.

    Why: the file holds what `--fix` made of the command; a kept plan is trained as it is, and answering prompts has nothing to correct.
    Fix: add `--fix`, or leave the other out.
    """
    if config.write_config and not config.fix:
        yield Finding(
            "--write-config writes what --fix has corrected, and --fix is not given",
            changes={"fix": True},
            parameters=("write_config", "fix"),
        )
    for name in ("plan", "inference"):
        if config.fix and config.value_of(name):
            yield Finding(
                f"--fix and {PARAMS[name].flag} don't go together", changes={"fix": None}, parameters=("fix", name)
            )


@rule("P301", refuses="--epochs 0", accepts="--epochs 1")
def a_number_must_be_inside_its_bounds(config: Config) -> Iterator[Finding]:
    """A number is outside the bounds that the parameter declares.

    Why: the libraries accept some of these and train nothing (`epochs` 0 or below), or fail hours later.
    Fix: a value inside the bounds.
    """
    for param in PARAMS.values():
        value = config.value_of(param.name)
        if config.given(param.name) and param.within and not param.in_bounds(value):
            yield Finding(
                f"{param.flag} must be {param.within.describe()}, got {plain(value)}",
                changes={param.name: param.suggested} if param.suggested is not None else _nearest_inside(param, value),
                parameters=(param.name,),
                file=file_of(config, param.name),
            )


def _nearest_inside(param: Param, value: Any) -> Mapping[str, Any]:
    """The bound that was passed, where it may be had itself."""
    bounds = param.within
    if bounds is None or value != value:
        return EMPTY
    if bounds.low is not None and value < bounds.low and not bounds.low_open:
        return {param.name: bounds.low}
    if bounds.high is not None and value > bounds.high and not bounds.high_open:
        return {param.name: bounds.high}
    return EMPTY


def file_of(config: Config, name: str) -> str | None:
    """The config file, where the value comes from it."""
    return config.config_file if config.source(name) == CONFIG_FILE else None


@rule("P303", refuses="--scheduler cosin", accepts="--scheduler cosine")
def a_choice_must_be_one_of_the_choices(config: Config) -> Iterator[Finding]:
    """A value is none of the parameter's choices.

    Why: a misspelt choice must not fall back to something else.
    Fix: the nearest choice, where one is near.
    """
    for param in PARAMS.values():
        value = config.value_of(param.name)
        if config.given(param.name) and param.choices and value is not None and value not in param.choices:
            other = OTHER_TRAINER.get(param.name, {}).get(str(value).lower())
            close = None if other else choice_meant(param.name, str(value)) or nearest(str(value), param.choices)
            yield Finding(
                f"{param.flag} must be one of {', '.join(param.choices)}, got {value!r}"
                + (f", which is a trainer of its own here: {other}" if other else ""),
                changes={"trainer": other, param.name: None} if other else {param.name: close} if close else EMPTY,
                parameters=(param.name,),
                file=file_of(config, param.name),
            )


@rule("P304", refuses="--data-path ~nobody-of-that-name/rows.jsonl", accepts="--data-path ./data/train.jsonl")
def a_path_must_be_one_that_can_be_looked_up(config: Config) -> Iterator[Finding]:
    """A path that no file can have.

    Why: `~name` stands for the home of a user, who has to exist; and a name can be too long for any file system.
    Fix: the whole path, from `/` or from this folder.
    """
    for param in PARAMS.values():
        held = config.value_of(param.name) if param.path else None
        for value in held if isinstance(held, tuple) else (held,):
            fault = _fault_of_path(value) if value else None
            if fault:
                yield Finding(
                    f"{param.flag} {value[:60]}{'…' if len(value) > 60 else ''} {fault}",
                    parameters=(param.name,),
                    file=file_of(config, param.name),
                )


def _fault_of_path(path: str) -> str | None:
    try:
        parts = os.fsencode(path).split(b"/")
    except UnicodeEncodeError:
        return "holds half a character"
    if max(map(len, parts)) > LONGEST_NAME or len(path) > LONGEST_PATH:
        return "is longer than the name of a file can be"
    try:
        Path(path).expanduser()
    except RuntimeError:
        return "begins with the name of a user who has no home here"
    return None


@rule("P305", refuses="--target-memory 24", accepts="--target-memory 24GiB")
def a_memory_must_be_a_size(config: Config) -> Iterator[Finding]:
    """`--target-memory` names no size.

    Why: a number alone may be bytes or gigabytes, and the plan would be for another device.
    Fix: a number with MiB, GiB or TiB; `cpu:` before it for a machine without a GPU.
    """
    written = config.target_memory
    if written is None or target_memory(str(written)) is not None:
        return
    number = str(written).strip()
    yield Finding(
        f"--target-memory must be a size with its unit, got {written!r}",
        fix="--target-memory 24GiB, or cpu:16GiB for a machine without a GPU",
        changes={"target_memory": f"{number}GiB"} if target_memory(f"{number}GiB") else EMPTY,
        parameters=("target_memory",),
        file=file_of(config, "target_memory"),
    )
