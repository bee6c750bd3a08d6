"""What an algorithm brings to a run. `run/session` and `run/engine` know this class and no algorithm.

A trainer's declaration names its recipe (`recipe="module:Class"`). The group of a mixin names one too, which extends the trainer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from autotrain_llm.config.registry import GROUPS
from autotrain_llm.data.tokenize.pack import pack
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.engine.batches import RowGroups
from autotrain_llm.run.engine.layouts import BatchLayout, Flat, Padded
from autotrain_llm.run.engine.loading import Loaded, load
from autotrain_llm.run.engine.loop import BatchAugmenter, BatchSource, Observer
from autotrain_llm.run.engine.objective import Objective


@dataclass(frozen=True)
class Started:
    """What a run has when its loop is put together: the model in its layout, the items, and where the run writes.

    `folder` is None in every process but the first. `checkpoint` and its `step` are where a resumed run goes on from.
    """

    loaded: Loaded
    layout: BatchLayout
    train: Any
    valid: Any
    folder: Path | None
    checkpoint: Path | None
    step: int | None
    progress: ProgressCallback


class Recipe:
    """The parts of a run that differ between algorithms. As it stands: rows of tokens, batched in an order, and nothing beside the model."""

    # Whether an item is a pair of answers to a prompt, and the loss a mean over pairs; else it is a mean over tokens.
    items_are_pairs = False

    def __init__(self, plan: Plan, inputs: RunInputs) -> None:
        self.plan, self.inputs = plan, inputs

    def load(self) -> Loaded:
        """The model to train, with its tokenizer."""
        return load(self.plan, self.inputs)

    def make_layout(self, loaded: Loaded) -> BatchLayout:
        """How rows become batches of this model."""
        if self.is_padded:
            return Padded(int(loaded.tokenizer.pad_token_id))
        return Flat(loaded.model, self.plan.model.attention)

    @property
    def is_padded(self) -> bool:
        """Whether rows are padded; TRL's own trainers lay rows out themselves, and get the model as it is."""
        return self.plan.layout.name == "padded" or self.plan.engine != "native"

    def make_objective(self) -> Objective:
        """The loss, and the metrics that come with it."""
        raise NotImplementedError

    def make_dataset(self, rows: Any) -> Any:
        """Items to make batches of, from prepared rows."""
        packs = pack(rows.lengths.tolist(), self.plan.length.tokens) if self.plan.layout.packing else None
        return RowGroups(rows, packs)

    def prepare(self, loaded: Loaded) -> None:
        """Change the model before its loop is made."""

    def make_augmenters(self, started: Started) -> list[BatchAugmenter]:
        """What other models add to each batch."""
        return []

    def make_source(self, started: Started) -> tuple[BatchSource | None, list[Observer]]:
        """Where batches come from if not from the training items, and what measures the held-out ones then."""
        return None, []

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Load what a checkpoint holds beside the weights that every checkpoint has, for a model that is only saved from now on."""

    @contextmanager
    def saving(self, model: nn.Module, folder: Path) -> Iterator[None]:
        """Around the saving of the finished model by the first process; writes what else belongs into the output folder."""
        yield

    def files(self) -> tuple[str, ...]:
        """Names of what it may have written into the output folder."""
        return ()

    def usage(self) -> list[str]:
        """Lines of the model card on how to use the model, where it is not one that generates."""
        return []

    def outcome(self) -> dict[str, Any]:
        """What run.json keeps of the run's outcome, by key."""
        return {}


def make_recipe(plan: Plan, inputs: RunInputs) -> Recipe:
    """The recipe of the plan's trainer, extended by those of the mixins that the plan uses."""
    assert plan.objective.function is not None
    parts = [named(group.recipe) for group in GROUPS if group.recipe]
    used = [part for part in parts if part.is_used(plan)]
    # A mixin's class comes first, so that its methods call the trainer's with super().
    recipe: Recipe = type("RecipeOfRun", (*used, named(plan.objective.function)), {})(plan, inputs)
    return recipe


def named(entry: str) -> Any:
    """The attribute that `module:name` names."""
    module, name = entry.split(":")
    return getattr(import_module(module), name)
