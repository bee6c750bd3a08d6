"""Every parameter's value and where it came from: command line > config file > the trainer's own default > default.

`resolve` is pure. What was *given* is kept apart from what merely equals a default, because only what was given can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict
from autotrain_llm.declare.trainer import Trainer

COMMAND_LINE = "command line"
CONFIG_FILE = "config file"
TRAINER_DEFAULT = "trainer default"
DEFAULT = "default"


class Config:
    """All parameters, flat and frozen: `config.dpo_beta`. Remembers which of them were looked at, for the liveness test."""

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str], config_file: str | None = None) -> None:
        self._values = dict(values)
        self._sources = dict(sources)
        self._read: set[str] = set()
        self.config_file = config_file

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            value = self._values[name]
        except KeyError:
            raise AttributeError(f"there is no parameter {name!r}") from None
        self._read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @property
    def trainer_spec(self) -> Trainer:
        return TRAINERS[self._values["trainer"]]

    @property
    def looked_at(self) -> frozenset[str]:
        """Names of the parameters that were read as attributes so far."""
        return frozenset(self._read)

    def peek(self, name: str) -> Any:
        """A value without noting that it was read: for printing every parameter alike."""
        return self._values[name]

    def source(self, name: str) -> str:
        return self._sources[name]

    def given(self, name: str) -> bool:
        """Whether the user said it, on the command line or in a file."""
        return self._sources[name] in (COMMAND_LINE, CONFIG_FILE)

    def all_given(self) -> tuple[str, ...]:
        return tuple(name for name in self._values if self.given(name))

    def applies(self, name: str) -> bool:
        """Whether this config's trainer reads the parameter."""
        return verdict(PARAMS[name], self.trainer_spec) == READS

    def replace(self, changes: Mapping[str, Any], source: str = COMMAND_LINE) -> Config:
        """A copy in which these parameters were given."""
        unknown = [name for name in changes if name not in PARAMS]
        if unknown:
            raise KeyError(f"there is no parameter {unknown[0]!r}")
        return Config(
            {**self._values, **changes}, {**self._sources, **dict.fromkeys(changes, source)}, self.config_file
        )

    def without(self, names: Mapping[str, Any] | tuple[str, ...]) -> Config:
        """A copy in which these parameters were never given."""
        kept = {name: self._values[name] for name in self.all_given() if name not in names}
        command_line = {name: value for name, value in kept.items() if self._sources[name] == COMMAND_LINE}
        from_file = {name: value for name, value in kept.items() if self._sources[name] == CONFIG_FILE}
        return resolve(command_line, from_file, self.config_file)


def resolve(
    command_line: Mapping[str, Any], from_file: Mapping[str, Any] | None = None, config_file: str | None = None
) -> Config:
    """Layer the sources into a Config. Values are already converted; names are known ones."""
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
