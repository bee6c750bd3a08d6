"""The recipes of reward: a classifier with one label, trained to score the chosen answer above the rejected one; or with several, trained on the
scores or the class of each answer."""

from __future__ import annotations

from typing import Any

from autotrain_llm.planning.kinds import CLASSES
from autotrain_llm.run.algorithms.recipe import Recipe
from autotrain_llm.run.algorithms.reward.graded import GradedAnswers, classification, regression
from autotrain_llm.run.algorithms.reward.loading import load_classifier_to_train
from autotrain_llm.run.algorithms.reward.model_card import how_to_score
from autotrain_llm.run.algorithms.reward.objective import pairwise
from autotrain_llm.run.engine.answer_items import Pairs
from autotrain_llm.run.engine.classifiers import FlatScores, PaddedScores
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.objective import Objective


class RewardModel(Recipe):
    """Pairs, whose answers the model scores."""

    items_are_pairs = True

    def load(self) -> Loaded:
        return load_classifier_to_train(self.plan, self.inputs)

    def make_layout(self, loaded: Loaded) -> BatchLayout:
        pad_token = int(loaded.tokenizer.pad_token_id)
        if self.is_padded:
            return PaddedScores(pad_token)
        return FlatScores(loaded.model, pad_token, self.plan.model.attention)

    def make_objective(self) -> Objective:
        return pairwise(self.plan.objective.settings)

    def make_dataset(self, rows: Any) -> Any:
        return Pairs(rows)

    def prepare(self, loaded: Loaded) -> None:
        without_dropout(loaded.model)

    def usage(self) -> list[str]:
        return how_to_score(self.plan)


class GradedModel(RewardModel):
    """Single answers with several scores, or with a class."""

    def make_objective(self) -> Objective:
        labels = self.plan.model.labels
        assert labels is not None
        return (classification if self.plan.model.problem_type == CLASSES else regression)(labels)

    def make_dataset(self, rows: Any) -> Any:
        return GradedAnswers(rows)
