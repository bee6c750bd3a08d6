"""The parts of a run that an algorithm defines. `run/session` and `run/engine` use this class and import no algorithm.

A trainer's declaration names its recipe (`recipe="module:Class"`). A mixin's group of parameters names one too, which extends the trainer's.
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
from autotrain_llm.data.tokenize.pack import pack_rows
from autotrain_llm.declare.finding import Finding
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
    """The state of a run before its loop is built: the model with its layout, the datasets, and the output folder.

    `folder` is None in every process but the first. A resumed run continues from `checkpoint`, saved at `step`.
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
    """The parts of a run that differ between algorithms. By default: rows of tokens, and no model but the trained one."""

    # True: an item is a pair of answers and the loss is a mean over pairs. False: the loss is a mean over tokens.
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
        return Flat(loaded.model, self.plan.model.attention, self.plan.schedule.context_parallel or 1)

    @property
    def is_padded(self) -> bool:
        """Whether rows are padded. TRL's own trainers batch rows themselves and need the model unchanged, so they count as padded."""
        return self.plan.layout.name == "padded" or self.plan.engine != "native"

    def make_objective(self) -> Objective:
        """The loss, and the metrics that come with it."""
        raise NotImplementedError

    def make_dataset(self, rows: Any) -> Any:
        """The dataset of items that batches are made of, from prepared rows."""
        layout = self.plan.layout
        packs = pack_rows(rows, layout.pack_tokens or self.plan.length.tokens) if layout.packing else None
        return RowGroups(rows, packs)

    def prepare(self, loaded: Loaded) -> None:
        """Change the model before its loop is built."""

    def make_augmenters(self, started: Started) -> list[BatchAugmenter]:
        """Objects that add the outputs of other models to each batch."""
        return []

    def make_source(self, started: Started) -> tuple[BatchSource | None, list[Observer]]:
        """A source of batches that replaces the training dataset, with the observers that evaluate on the held-out rows then."""
        return None, []

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Load what this algorithm adds to a checkpoint's weights, when the model is only saved and not trained further."""

    @contextmanager
    def saving(self, model: nn.Module, folder: Path) -> Iterator[None]:
        """Wraps the saving of the finished model by the first process; may write more files into the output folder."""
        yield

    def files(self) -> tuple[str, ...]:
        """Names of the files it may have written into the output folder."""
        return ()

    def usage(self) -> list[str]:
        """Lines of the model card on how to use a model that does not generate; empty for one that does."""
        return []

    def observations(self) -> tuple[Finding, ...]:
        """What was noticed of rows that were read while training; all processes call it."""
        return ()

    def outcome(self) -> dict[str, Any]:
        """Entries for run.json, by key."""
        return {}


def make_recipe(plan: Plan, inputs: RunInputs) -> Recipe:
    """The recipe of the plan's trainer, extended by those of the mixins that the plan uses."""
    assert plan.objective.function is not None
    mixins = [load_entry(group.recipe) for group in GROUPS if group.recipe]
    used = [mixin for mixin in mixins if mixin.is_used(plan)]
    # A mixin's class comes first, so that its methods call the trainer's with super().
    recipe: Recipe = type("RecipeOfRun", (*used, load_entry(plan.objective.function)), {})(plan, inputs)
    return recipe


def load_entry(entry: str) -> Any:
    """Import the attribute of an entry `module:name`."""
    module, name = entry.split(":")
    return getattr(import_module(module), name)
