"""Every parameter's value and its source: command line > config file > the trainer's default > default.

`resolve` is pure. A value that is *given* is distinguished from an equal default, because only given values are reported as findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.command import Command
from autotrain_llm.params.data import Data, PromptColumn, RejectedColumn
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.evaluation import Evaluation, GeneratedAnswers
from autotrain_llm.params.length import Length, PairLengths
from autotrain_llm.params.lora import Lora
from autotrain_llm.params.model import Model
from autotrain_llm.params.output import Hub, Output
from autotrain_llm.params.precision import Precision
from autotrain_llm.params.preferences import LabelSmoothing, Reference
from autotrain_llm.params.rollouts import RewardSources, SamplingOfAnswers
from autotrain_llm.params.schedule import Schedule
from autotrain_llm.params.sweep import Sweep
from autotrain_llm.params.text import ChatTemplate, EndToken
from autotrain_llm.params.training import Optimisation, Training
from autotrain_llm.params.updates import PolicyUpdates

Group = TypeVar("Group")
COMMAND_LINE = "command line"
CONFIG_FILE = "config file"
TRAINER_DEFAULT = "trainer default"
DEFAULT = "default"


class Config(
    Model,
    Data,
    PromptColumn,
    RejectedColumn,
    Training,
    Optimisation,
    Precision,
    Length,
    PairLengths,
    ChatTemplate,
    EndToken,
    Lora,
    Schedule,
    Output,
    Hub,
    LabelSmoothing,
    Reference,
    RewardSources,
    SamplingOfAnswers,
    PolicyUpdates,
    Sweep,
    Evaluation,
    GeneratedAnswers,
    Distillation,
    Command,
):
    """All parameters, flat and frozen: `config.lr`. A parameter of one trainer is read through its group: `config[Dpo].dpo_beta`.

    It inherits from every group of `params/`, so that a rule can declare which of them it reads (`lora: Lora`) and a type checker checks
    every access.
    """

    config_file: str | None
    _values: Mapping[str, Any]
    _sources: Mapping[str, str]

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str], config_file: str | None = None) -> None:
        vars(self).update(values, config_file=config_file, _values=dict(values), _sources=dict(sources))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config is frozen: use replace({name}=...)")

    def __getitem__(self, group: type[Group]) -> Group:
        """This configuration typed as one group of parameters: `config[Dpo]`. It is the same object, with the values of all groups."""
        return cast(Group, self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @property
    def trainer_spec(self) -> Trainer:
        return TRAINERS[self.trainer]

    @property
    def distills(self) -> bool:
        """Whether the run uses distillation."""
        return bool(self.applies("use_distillation") and self.use_distillation)

    def value_of(self, name: str) -> Any:
        """The value of a parameter whose name is only known at run time; otherwise read the attribute."""
        return self._values[name]

    def source(self, name: str) -> str:
        return self._sources[name]

    def given(self, name: str) -> bool:
        """Whether the user set the parameter, on the command line or in a file."""
        return self._sources[name] in (COMMAND_LINE, CONFIG_FILE)

    def all_given(self) -> tuple[str, ...]:
        return tuple(name for name in self._values if self.given(name))

    def applies(self, name: str) -> bool:
        """Whether this config's trainer reads the parameter."""
        return verdict(PARAMS[name], self.trainer_spec) == READS

    def replace(self, changes: Mapping[str, Any], source: str = COMMAND_LINE) -> Config:
        """A copy in which these parameters are given."""
        unknown = [name for name in changes if name not in PARAMS]
        if unknown:
            raise KeyError(f"there is no parameter {unknown[0]!r}")
        return Config(
            {**self._values, **changes}, {**self._sources, **dict.fromkeys(changes, source)}, self.config_file
        )

    def without(self, names: Mapping[str, Any] | tuple[str, ...]) -> Config:
        """A copy in which these parameters are not given."""
        remaining = {name: self._values[name] for name in self.all_given() if name not in names}
        command_line = {name: value for name, value in remaining.items() if self._sources[name] == COMMAND_LINE}
        from_file = {name: value for name, value in remaining.items() if self._sources[name] == CONFIG_FILE}
        return resolve(command_line, from_file, self.config_file)


def resolve(
    command_line: Mapping[str, Any], from_file: Mapping[str, Any] | None = None, config_file: str | None = None
) -> Config:
    """Layer the sources into a Config. Values are already converted, and all names are those of parameters."""
    from_file = from_file or {}
    name = command_line.get("trainer", from_file.get("trainer", PARAMS["trainer"].default))
    trainer = TRAINERS.get(name) or TRAINERS[PARAMS["trainer"].default]
    layers = ((COMMAND_LINE, command_line), (CONFIG_FILE, from_file), (TRAINER_DEFAULT, trainer.defaults))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for param in PARAMS.values():
        source, layer = next(((source, layer) for source, layer in layers if param.name in layer), (DEFAULT, None))
        values[param.name] = param.default if layer is None else layer[param.name]
        sources[param.name] = source
    values["trainer"] = trainer.name
    return Config(values, sources, config_file)
