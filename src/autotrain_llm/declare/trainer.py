"""What a trainer is to everybody but the code that trains: a name, the rows it wants, the groups it reads, what it requires."""

from __future__ import annotations

from autotrain_llm.declare.param import Group, group_of
from autotrain_llm.declare.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Usual(Record):
    """A value people use, with full training and with LoRA: the fix that is offered for a missing parameter."""

    full: Any
    lora: Any

    def value(self, lora: bool) -> Any:
        return self.lora if lora else self.full


class Example(Record):
    """A command for the guide: what it shows, and its flags after `autotrain llm --trainer NAME`."""

    title: str
    flags: str
    trainer: str | None = None


class Trainer(Record):
    """One `--trainer`.

    aliases: other tools' words for it, separated by spaces.
    rows: the row shape it learns from: documents, conversations, preferences, scored or prompts (`data.request`).
    groups: the classes of parameters it reads; a parameter of no group of its own is foreign to it and is dropped with a warning.
    unused: parameters it accepts and has no use for, each with the reason.
    requires: names that must be given; `a|b` is satisfied by either.
    defaults: its own defaults, in place of the declaration's.
    learning_rates: lowest and highest that are plausible, for full training and for LoRA.
    recipe: `module:Class` in `run/algorithms` that trains it; None while it can be checked but not yet trained.
    settings: names of the parameters that its recipe makes the loss with.
    parts_pairs: whether a row with two answers is two rows to it.
    samples: whether it learns from answers that the model writes itself.
    trl_adapter: `module:function` in `run/` that hands the plan to TRL's trainer for `--engine trl`; None where TRL has none.
    examples: commands for the guide.
    metrics: names of what it reports on evaluation data, each with the direction that is better (minimize or maximize).
    """

    name: str
    title: str
    summary: str
    purpose: str
    rows: str
    groups: tuple[type, ...]
    requires: tuple[str, ...]
    usual: Mapping[str, Usual]
    learning_rates: Mapping[str, tuple[float, float]]
    recipe: str | None = None
    settings: tuple[str, ...] = ()
    parts_pairs: bool = False
    samples: bool = False
    trl_adapter: str | None = None
    defaults: Mapping[str, Any] = EMPTY
    unused: Mapping[str, str] = EMPTY
    metrics: Mapping[str, str] = EMPTY
    aliases: str = ""
    order: int = 500
    produces: str = "AutoModelForCausalLM"
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def trains_a_scorer(self) -> bool:
        """Whether the trained model gives scores and generates no text."""
        return self.rows == "scored"

    @property
    def group_specs(self) -> tuple[Group, ...]:
        return tuple(group_of(cls) for cls in self.groups)

    def reads(self, name: str) -> bool:
        """Whether the parameter belongs to a group this trainer reads."""
        return any(param.name == name for group in self.group_specs for param in group.params)
