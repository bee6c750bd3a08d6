"""Trainers of other packages."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PLUGIN_FAULTS
from autotrain_llm.declare.example import of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.model import Model


@rule("P712", WARNING, example=of_flags("", "", on="where a package offers a trainer that can't be loaded"))
def a_trainer_of_another_package_can_be_used(model: Model) -> Iterator[Finding]:
    """An installed package offers a trainer that can't be used: it can't be imported, is no `Trainer`, or has the name of another one.

    Why: the trainer is missing; the others work without it.
    Fix: a version of the package that fits this one, or uninstall it.
    """
    for fault in PLUGIN_FAULTS:
        yield Finding(
            f"the package {fault.package} offers a trainer ({fault.entry}) that can't be used: {fault.problem}",
            fix=f"pip install --upgrade {fault.package}, or pip uninstall {fault.package}",
            parameters=("trainer",),
        )
