"""The recipe of sft and generic: next-token prediction on rows of tokens."""

from __future__ import annotations

from autotrain_llm.run.algorithms.recipe import Recipe
from autotrain_llm.run.engine.objective import Objective, next_token


class NextToken(Recipe):
    """Cross entropy of the trained tokens."""

    def make_objective(self) -> Objective:
        return next_token()
