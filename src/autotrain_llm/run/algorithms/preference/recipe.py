"""The recipes of dpo, orpo and kto."""

from __future__ import annotations

from typing import Any

from autotrain_llm.run.algorithms.preference import objectives
from autotrain_llm.run.algorithms.preference.dataset import UnpairedPreferences
from autotrain_llm.run.algorithms.preference.reference_logps import make_reference_logps
from autotrain_llm.run.algorithms.recipe import Recipe, Started
from autotrain_llm.run.engine.answer_items import Pairs
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.loop import BatchAugmenter
from autotrain_llm.run.engine.objective import Objective


class Orpo(Recipe):
    """Pairs, without a reference model."""

    items_are_pairs = True

    def make_objective(self) -> Objective:
        return objectives.orpo(self.plan.objective.settings)

    def make_dataset(self, rows: Any) -> Any:
        return Pairs(rows)

    def prepare(self, loaded: Loaded) -> None:
        without_dropout(loaded.model, of_adapters=not (self.plan.adapter and self.plan.adapter.dropout))


class Dpo(Orpo):
    """Pairs against a reference model."""

    def make_objective(self) -> Objective:
        return objectives.dpo(self.plan.objective.settings)

    def make_augmenters(self, started: Started) -> list[BatchAugmenter]:
        return [make_reference_logps(self.plan, self.inputs, started.loaded, started.layout)]


class Kto(Dpo):
    """Single answers, each good or bad, against a reference model."""

    def make_objective(self) -> Objective:
        return objectives.kto(self.plan.objective.settings)

    def make_dataset(self, rows: Any) -> Any:
        return UnpairedPreferences(rows)
