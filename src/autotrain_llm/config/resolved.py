"""Every parameter's value and its source: command line > config file > preset > the trainer's default > default.

`resolve` is pure. A value that is *given* is distinguished from an equal default, because only given values are reported as findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from autotrain_llm.config.layers import NO_LAYER, NOWHERE, Layer, Origin
from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.answering import Answering
from autotrain_llm.params.command import Command
from autotrain_llm.params.data import Data, PromptColumn, ReasoningColumn, RejectedColumn, Streaming
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.distributed import Distributed
from autotrain_llm.params.evaluation import ComparedAnswers, Evaluation, GeneratedAnswers
from autotrain_llm.params.launching import Launching
from autotrain_llm.params.length import Length, PairLengths
from autotrain_llm.params.lora import Lora
from autotrain_llm.params.model import Model
from autotrain_llm.params.output import Hub, Output
from autotrain_llm.params.precision import Precision
from autotrain_llm.params.preferences import LabelSmoothing, Reference
from autotrain_llm.params.rollouts import RewardSources, SamplingOfAnswers
from autotrain_llm.params.schedule import Schedule
from autotrain_llm.params.sweep import Sweep
from autotrain_llm.params.text import ChatTemplate, EndToken, TokenWeights
from autotrain_llm.params.training import Optimisation, Training
from autotrain_llm.params.updates import PolicyUpdates

Group = TypeVar("Group")
COMMAND_LINE = "command line"
CONFIG_FILE = "config file"
PRESET = "preset"
TRAINER_DEFAULT = "trainer default"
DEFAULT = "default"
GIVEN = (COMMAND_LINE, CONFIG_FILE, PRESET)  # from the highest precedence
# Values that come with a given parameter, where they are not given themselves.
IMPLIED: Mapping[str, Mapping[str, Any]] = {"batch_tokens": {"batch_size": 1, "packing": True}}


class Config(
    Model,
    Data,
    PromptColumn,
    ReasoningColumn,
    RejectedColumn,
    Streaming,
    Training,
    Optimisation,
    Precision,
    Distributed,
    Launching,
    Length,
    PairLengths,
    ChatTemplate,
    EndToken,
    TokenWeights,
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
    ComparedAnswers,
    Distillation,
    Answering,
    Command,
):
    """All parameters, flat and frozen: `config.lr`. A parameter of one trainer is read through its group: `config[Dpo].dpo_beta`.

    It inherits from every group of `params/`, so that a rule can declare which of them it reads (`lora: Lora`) and a type checker checks
    every access.
    """

    config_file: str | None
    _values: Mapping[str, Any]
    _sources: Mapping[str, str]
    _origins: Mapping[str, Origin]

    def __init__(
        self,
        values: Mapping[str, Any],
        sources: Mapping[str, str],
        config_file: str | None = None,
        origins: Mapping[str, Origin] = EMPTY,
    ) -> None:
        own = {"_values": dict(values), "_sources": dict(sources), "_origins": dict(origins)}
        vars(self).update(values, config_file=config_file, **own)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config is frozen: use replace({name}=...)")

    def __repr__(self) -> str:
        """What was given, without secrets."""
        given = (name for name in self._values if self.given(name) and not PARAMS[name].secret)
        return f"Config({', '.join(f'{name}={self._values[name]!r}' for name in given)})"

    def __getitem__(self, group: type[Group]) -> Group:
        """This configuration typed as one group of parameters: `config[Dpo]`. It is the same object, with the values of all groups."""
        return cast(Group, self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @property
    def trainer_spec(self) -> Trainer:
        return TRAINERS[self.trainer].with_values(self._values)

    @property
    def rows_from(self) -> str | None:
        """Where the rows come from: `--data-path`, or the file of a mixture."""
        return self.data_path or self.data_config

    @property
    def distills(self) -> bool:
        """Whether the run uses distillation."""
        return bool(self.applies("use_distillation") and self.use_distillation)

    @property
    def streams(self) -> bool:
        """Whether rows are read while they are trained on."""
        return bool(self.applies("streaming") and self.streaming)

    def value_of(self, name: str) -> Any:
        """The value of a parameter whose name is only known at run time; otherwise read the attribute."""
        return self._values[name]

    def source(self, name: str) -> str:
        return self._sources[name]

    def origin(self, name: str) -> Origin:
        """The file that sets the parameter, and its name there."""
        return self._origins.get(name, NOWHERE)

    def given(self, name: str) -> bool:
        """Whether the user set the parameter, on the command line, in a file or by a preset."""
        return self._sources[name] in GIVEN

    def all_given(self) -> tuple[str, ...]:
        return tuple(name for name in self._values if self.given(name))

    def applies(self, name: str) -> bool:
        """Whether this config's trainer reads the parameter."""
        return verdict(PARAMS[name], self.trainer_spec) == READS

    def replace(self, changes: Mapping[str, Any], source: str = COMMAND_LINE, origin: Origin = NOWHERE) -> Config:
        """A copy in which these parameters are given."""
        unknown = [name for name in changes if name not in PARAMS]
        if unknown:
            raise KeyError(f"there is no parameter {unknown[0]!r}")
        origins = {**self._origins, **dict.fromkeys(changes, origin)}
        sources = {**self._sources, **dict.fromkeys(changes, source)}
        return Config({**self._values, **changes}, sources, self.config_file, origins)

    def without(self, names: Mapping[str, Any] | tuple[str, ...]) -> Config:
        """A copy in which these parameters are not given."""
        layers = {source: self.layer(source, names) for source in GIVEN}
        return resolve_layers(layers, self.config_file)

    def layer(self, source: str, left_out: Mapping[str, Any] | tuple[str, ...] = ()) -> Layer:
        """The values that come from one source, except those that are left out."""
        names = [name for name in self._values if self._sources[name] == source and name not in left_out]
        return Layer({name: self._values[name] for name in names}, {name: self.origin(name) for name in names})


def resolve(
    command_line: Mapping[str, Any], from_file: Mapping[str, Any] | None = None, config_file: str | None = None
) -> Config:
    """Layer values of the command line and of a config file into a Config."""
    return resolve_layers({COMMAND_LINE: Layer(command_line), CONFIG_FILE: Layer(from_file or {})}, config_file)


def resolve_layers(layers: Mapping[str, Layer], config_file: str | None = None) -> Config:
    """Layer the sources into a Config, each of GIVEN over the next. Values are converted, and all names are those of parameters.

    A preset that a layer names is read from this package, unless its layer is among the sources.
    """
    above = [layers.get(source, NO_LAYER) for source in GIVEN]
    preset = next((layer.values["preset"] for layer in above if "preset" in layer.values), None)
    if PRESET not in layers and preset in PARAMS["preset"].choices:
        from autotrain_llm.config.presets import preset_layer

        layers = {**layers, PRESET: preset_layer(preset, above)}
    given = [(source, layers.get(source, NO_LAYER)) for source in GIVEN]
    trainer = trainer_of(layer.values for _, layer in given)
    implied = {
        name: value
        for name, others in IMPLIED.items()
        if verdict(PARAMS[name], trainer) == READS and any(layer.values.get(name) for _, layer in given)
        for name, value in others.items()
    }
    every = (*given, (TRAINER_DEFAULT, Layer({**trainer.defaults, **implied})))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    for param in PARAMS.values():
        source, layer = next(
            ((source, layer) for source, layer in every if param.name in layer.values), (DEFAULT, None)
        )
        values[param.name] = param.default if layer is None else layer.values[param.name]
        sources[param.name] = source
        if layer is not None and param.name in layer.origins:
            origins[param.name] = layer.origins[param.name]
    values["trainer"] = trainer.name
    return Config(values, sources, config_file, origins)


def trainer_of(layers: Iterable[Mapping[str, Any]]) -> Trainer:
    """The trainer that layers of values name, from the highest precedence; the default if none does."""
    default = PARAMS["trainer"].default
    name = next((values["trainer"] for values in layers if "trainer" in values), default)
    return TRAINERS.get(name) or TRAINERS[default]
