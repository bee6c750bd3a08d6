"""Trainers of other packages: the entry points of the group `autotrain_llm.trainers`, each the `module:attribute` of a `Trainer`.

`importlib.metadata` takes longer to import than everything else that `--help` needs, so the files that it would read are read here.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from autotrain_llm.declare.record import Record
from autotrain_llm.declare.trainer import Trainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

SECTION = "autotrain_llm.trainers"


class PluginFault(Record):
    """A trainer that an installed package offers and that can't be used."""

    package: str
    entry: str
    problem: str


def installed_trainers(
    names: Collection[str], parameters: Mapping[str, str]
) -> tuple[list[Trainer], list[PluginFault]]:
    """The trainers of installed packages, and those that can't be used. `names` are taken already, and `parameters` with
    the group of each."""
    trainers: dict[str, Trainer] = {}
    groups = dict(parameters)
    faults: list[PluginFault] = []
    for package, entry in _entries():
        trainer, problem = _load(entry)
        if trainer is not None:
            problem = _conflict(trainer, {*names, *trainers}, groups)
        if trainer is None or problem:
            faults.append(PluginFault(package, entry, problem))
        else:
            trainers[trainer.name] = trainer
            groups |= {param.name: group.name for group in trainer.group_specs for param in group.params}
    return list(trainers.values()), faults


def _load(entry: str) -> tuple[Trainer | None, str]:
    module, _, attribute = entry.partition(":")
    try:
        value = getattr(import_module(module), attribute)
    except Exception as problem:  # what another package raises when it is imported is its own affair
        return None, f"{type(problem).__name__}: {problem}"
    return (
        (value, "")
        if isinstance(value, Trainer)
        else (None, f"{entry} is of type {type(value).__name__}, and not a Trainer")
    )


def _conflict(trainer: Trainer, names: Collection[str], parameters: Mapping[str, str]) -> str:
    """Why a trainer can't stand next to the others; empty if it can."""
    if trainer.name in names:
        return f"there is a trainer {trainer.name} already"
    taken = [
        param.name
        for group in trainer.group_specs
        for param in group.params
        if parameters.get(param.name, group.name) != group.name
    ]
    return f"its parameter {taken[0]} is one of another trainer" if taken else ""


def _entries() -> Iterator[tuple[str, str]]:
    """Each package with an entry of the group, in the order of the path; a package that is there twice counts once, as in an import."""
    seen: set[str] = set()
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))  # noqa: PTH208 (pathlib is not loaded for --help)
        except OSError:
            continue
        for name in names:
            if not name.endswith((".dist-info", ".egg-info")):
                continue
            package = name.partition("-")[0]
            text = _read(f"{folder or '.'}/{name}/entry_points.txt")
            if SECTION in text and package not in seen:
                seen.add(package)
                yield from ((package, entry) for entry in _of_section(text))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (pathlib is not loaded for --help)
            return file.read()
    except (OSError, ValueError):
        return ""


def _of_section(text: str) -> Iterator[str]:
    """The values of the group's lines, `name = module:attribute`."""
    section = ""
    for line in text.splitlines():
        if line.strip().startswith("["):
            section = line.strip().strip("[]")
        elif section == SECTION and "=" in line:
            yield line.partition("=")[2].split("[")[0].strip()
