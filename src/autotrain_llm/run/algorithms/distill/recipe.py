"""The recipe of distillation, which extends that of the task."""

from __future__ import annotations

from typing import Any

from autotrain_llm.planning.plan import Plan
from autotrain_llm.run.algorithms.distill.objective import distilled
from autotrain_llm.run.algorithms.distill.teacher import CachedTeacher, OnlineTeacher, make_teacher
from autotrain_llm.run.algorithms.recipe import Recipe, Started
from autotrain_llm.run.engine.loop import BatchAugmenter
from autotrain_llm.run.engine.objective import Objective


class Distilled(Recipe):
    """Adds the teacher's targets to each batch and its divergence to the loss."""

    teacher: OnlineTeacher | CachedTeacher | None = None

    @staticmethod
    def is_used(plan: Plan) -> bool:
        """A teacher whose weight in the loss is zero is never run."""
        return plan.distillation is not None and plan.distillation.is_used

    def make_objective(self) -> Objective:
        teacher = self.plan.distillation
        assert teacher is not None
        return distilled(super().make_objective(), teacher.alpha, teacher.temperature, pairs=self.items_are_pairs)

    def make_augmenters(self, started: Started) -> list[BatchAugmenter]:
        augmenters = super().make_augmenters(started)
        self.teacher = make_teacher(
            self.plan, self.inputs, started.loaded, started.layout, started.progress, pairs=self.items_are_pairs
        )
        return [*augmenters, self.teacher]

    def outcome(self) -> dict[str, Any]:
        cached = {"distillation": self.teacher.outcome()} if isinstance(self.teacher, CachedTeacher) else {}
        return super().outcome() | cached
