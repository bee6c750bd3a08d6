"""All declared groups, parameters, trainers and metrics, and which trainer reads which parameter."""

from __future__ import annotations

import os
from importlib import import_module

from autotrain_llm.config.plugins import installed_trainers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from autotrain_llm.declare.metric import Metric
    from autotrain_llm.declare.param import Group, Param
    from autotrain_llm.declare.trainer import Trainer

READS = "reads"
FOREIGN = "foreign"
UNUSED = "unused"
REFUSED = "refused"


def modules_of(package: str, *leave_out: str) -> Iterator[ModuleType]:
    """Import every module of a package of declarations, in order of name."""
    folder = import_module(package).__path__[0]
    for entry in sorted(os.listdir(folder)):  # noqa: PTH208 (pathlib is not loaded for --help)
        name = entry.removesuffix(".py")
        if entry.endswith(".py") and name not in ("__init__", *leave_out):
            yield import_module(f"{package}.{name}")


def _groups() -> tuple[Group, ...]:
    groups: dict[str, Group] = {}
    for package in ("autotrain_llm.params", "autotrain_llm.trainers"):
        for module in modules_of(package):
            for value in vars(module).values():
                spec = getattr(value, "GROUP", None) if isinstance(value, type) else None
                if spec is not None:
                    groups[spec.name] = spec
    return tuple(sorted(groups.values(), key=lambda group: group.order))


def _trainers() -> dict[str, Trainer]:
    trainers = (vars(module).get("TRAINER") for module in modules_of("autotrain_llm.trainers"))
    ordered = sorted((trainer for trainer in trainers if trainer is not None), key=lambda trainer: trainer.order)
    return {trainer.name: trainer for trainer in ordered}


def _metrics() -> dict[str, Metric]:
    return {module.METRIC.name: module.METRIC for module in modules_of("autotrain_llm.metrics")}


OWN_GROUPS, OWN_TRAINERS = _groups(), _trainers()
PLUGINS, PLUGIN_FAULTS = installed_trainers(
    OWN_TRAINERS, {param.name: group.name for group in OWN_GROUPS for param in group.params}
)
GROUPS: tuple[Group, ...] = tuple(
    {
        group.name: group for group in (*OWN_GROUPS, *(group for plugin in PLUGINS for group in plugin.group_specs))
    }.values()
)
GROUP: dict[str, Group] = {group.name: group for group in GROUPS}
PARAMS: dict[str, Param] = {param.name: param for group in GROUPS for param in group.params}
# Those that a command has only if it answers prompts.
ANSWERING = frozenset(name for name, param in PARAMS.items() if param.answering)
TRAINERS: dict[str, Trainer] = OWN_TRAINERS | {plugin.name: plugin for plugin in PLUGINS}
METRICS: dict[str, Metric] = _metrics()
READERS: dict[str, tuple[Trainer, ...]] = {
    name: tuple(trainer for trainer in TRAINERS.values() if any(spec.name == name for spec in trainer.group_specs))
    for name in GROUP
}


def verdict(param: Param, trainer: Trainer) -> str:
    """READS if the trainer reads the parameter, FOREIGN or UNUSED if it is dropped with a warning, REFUSED if it is an error."""
    if param.name in trainer.unused:
        return UNUSED
    if trainer.reads(param.name):
        return READS
    group = GROUP[param.group]
    return REFUSED if group.misused == "error" and param.name == group.switch else FOREIGN


def trainers_that_read(name: str) -> tuple[Trainer, ...]:
    """The trainers that read a parameter, in the order of the guide."""
    return READERS[PARAMS[name].group]
