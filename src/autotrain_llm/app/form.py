"""The form of a run, from the declarations: its fields, those that most runs set first, and what applies to the trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotrain_llm.app.values import OFFERED, as_text
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.registry import GROUPS, PARAMS, READS, TRAINERS, verdict
from autotrain_llm.config.resolved import PRESET, Config, resolve
from autotrain_llm.config.search_space import usual_value
from autotrain_llm.declare.param import Param, flag_of
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer

# Words of a parameter's name that are written in another way than by themselves.
SPELT = {
    "lr": "learning rate",
    "peft": "LoRA adapter",
    "lora": "LoRA",
    "r": "rank",
    "rl": "RL",
    "dpo": "DPO",
    "orpo": "ORPO",
    "kto": "KTO",
    "spo": "SPO",
    "ppo": "PPO",
    "kl": "KL",
    "eos": "EOS",
    "eval": "evaluation",
    "valid": "evaluation",
    "dir": "folder",
    "fn": "function",
    "n": "number of",
    "grad": "gradient",
    "hub": "Hub",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "bertscore": "BERTScore",
}
FIRST = ("model", "data_path")
STAND_INS = frozenset(param.alternative for param in PARAMS.values())  # that can be given in place of another
LONG = ("json",)  # kinds of values that take several lines
SET_BY_PRESET = "preset: "
# With another value of one of these the form has other fields or other defaults.
REMAKING = frozenset({"preset", *(group.switch for group in GROUPS if group.switch is not None)})
AREAS = ("student_prompt_template", "teacher_prompt_template")


@dataclass(frozen=True)
class Field:
    """One field: what it is called and explained with, how it is entered, and its text."""

    name: str
    label: str
    flag: str
    help: str
    control: str  # select, switch, secret, area or text
    choices: tuple[tuple[str, str], ...]  # of a select: value and label
    default: str
    bounds: str
    needed: str  # "required", or for one of several "required, or --max-steps"; empty for an optional one
    applies: bool
    value: str
    suggestions: str  # the list that completes it: models, data or nothing
    numeric: bool
    remakes: bool  # whether the form has other fields, or other defaults, when it has changed


@dataclass(frozen=True)
class Section:
    """A titled part of the form."""

    title: str
    summary: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Form:
    """The form for one trainer: `first` is what most runs set, `on` the groups that are turned on, as LoRA or a sweep, `more` all others."""

    trainer: Trainer
    first: tuple[Field, ...]
    on: tuple[Section, ...]
    more: tuple[Section, ...]


def form_for(texts: Mapping[str, str]) -> Form:
    """The form with these texts. A parameter that does not apply to the trainer is in it only if it is set."""
    trainer = trainer_in(texts)
    config = _config(texts)
    required, defaults = _required(trainer), _defaults(config)

    def fields(names: Sequence[str]) -> tuple[Field, ...]:
        return tuple(_field(PARAMS[name], trainer, texts, required, defaults) for name in names)

    shown = [name for name in OFFERED if name != "trainer" and (_applies(PARAMS[name], trainer) or name in texts)]
    first = [name for name in shown if name in required or (PARAMS[name].usual and name not in STAND_INS)]
    ordered = sorted(first, key=lambda name: (name not in FIRST, name not in required, first.index(name)))
    in_first = {*ordered}
    on: list[Section] = []
    more: list[Section] = []
    for group in GROUPS:
        names = [param.name for param in group.params if param.name in shown and param.name not in in_first]
        is_on = group.switch is not None and _applies(PARAMS[group.switch], trainer) and config.value_of(group.switch)
        if names:
            (on if is_on else more).append(Section(group.title, group.summary, fields(names)))
    return Form(trainer, fields(ordered), tuple(on), tuple(more))


def _config(texts: Mapping[str, str]) -> Config:
    """What the texts that can be read mean, with the preset that they name."""
    return resolve({**parse_kwargs(dict(texts)).values, "trainer": trainer_in(texts).name})


def _defaults(config: Config) -> dict[str, str]:
    """What an empty field stands for, where that is not the default of the trainer: what the preset sets, and the usual value of what is required."""
    usual = {name: f"usual: {plain(usual_value(config, name))}" for name in config.trainer_spec.usual}
    preset = config.layer(PRESET).values
    return {**usual, **{name: f"{SET_BY_PRESET}{_in_words(PARAMS[name], value)}" for name, value in preset.items()}}


def _in_words(param: Param, value: object) -> str:
    return ("on" if value else "off") if param.kind == "switch" else as_text(value)


def shown_defaults(texts: Mapping[str, str]) -> dict[str, str]:
    """What stands in the empty fields of a form, where it changes with what is entered."""
    return _defaults(_config(texts))


def _required(trainer: Trainer) -> dict[str, str]:
    """The parameters that a trainer requires, with what is said of each. Of several, of which one is enough, those that stand in for another
    are left out."""
    required = {}
    for names in trainer.requires:
        for name in names.split("|"):
            others = [flag_of(other) for other in names.split("|") if other != name]
            if name not in STAND_INS:
                required[name] = ", or ".join(["required", *others])
    return required


def _applies(param: Param, trainer: Trainer) -> bool:
    return verdict(param, trainer) == READS


def _field(
    param: Param, trainer: Trainer, texts: Mapping[str, str], required: Mapping[str, str], defaults: Mapping[str, str]
) -> Field:
    """The field of a parameter, with its default for the trainer in words, or what takes the place of that."""
    default = defaults.get(param.name) or trainer.default_text(param)
    return Field(
        name=param.name,
        label=label_of(param.name),
        flag=param.flag,
        help=param.help,
        control=_control(param, default),
        choices=_choices(param, default),
        default=default,
        bounds=param.within.describe() if param.within else "",
        needed=required.get(param.name, ""),
        applies=_applies(param, trainer),
        value="" if param.secret else texts.get(param.name, ""),
        suggestions=_suggestions(param),
        numeric=param.kind in ("int", "float"),
        remakes=param.name in REMAKING,
    )


def trainer_in(texts: Mapping[str, str]) -> Trainer:
    """The trainer that a form names, else the one by default."""
    return TRAINERS.get(texts.get("trainer", ""), TRAINERS[PARAMS["trainer"].default])


def label_of(name: str) -> str:
    """A parameter's name in words: `lora_r` is "LoRA rank"."""
    words = [SPELT.get(word, word) for word in name.removeprefix("use_").split("_")]
    if words[0].islower():  # a name such as rsLoRA is written in its own way
        words[0] = words[0].capitalize()
    return " ".join(words)


def _control(param: Param, default: str) -> str:
    if param.secret:
        return "secret"
    if param.kind == "switch":
        return "switch" if default == "off" and not param.nullable else "select"
    if param.choices:
        return "select"
    return "area" if param.kind in LONG or param.name in AREAS else "text"


def _choices(param: Param, default: str) -> tuple[tuple[str, str], ...]:
    is_plain = default and not default.startswith(SET_BY_PRESET)
    unset = ("", f"default: {default}" if is_plain else default or "not set")
    if param.kind == "switch":
        return (unset, ("true", "on"), ("false", "off"))
    return (unset, *((choice, choice) for choice in param.choices)) if param.choices else ()


def _suggestions(param: Param) -> str:
    if param.stage == "model" or "model" in param.name:
        return "models" if param.path == "input" and param.kind == "str" else ""
    return "data" if param.path == "input" and param.stage == "rows" else ""


def texts_of_run(given: Mapping[str, object]) -> dict[str, str]:
    """The texts of a form that begins as an earlier run did: its parameters that were given, without its output folder."""
    left_out = {"output_dir", "overwrite"}
    return {
        name: as_text(value)
        for name, value in given.items()
        if name in OFFERED and name not in left_out and not PARAMS[name].secret
    }
