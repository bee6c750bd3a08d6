"""The declaration of a trainer: its name, rows, groups of parameters, requirements and defaults."""

from __future__ import annotations

from functools import cached_property

from autotrain_llm.declare.param import Group, Param, group_of
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.declare.text import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Usual(Record):
    """The usual value of a required parameter, for full fine-tuning and for LoRA; suggested if the parameter is missing."""

    full: Any
    lora: Any

    def value(self, lora: bool) -> Any:
        return self.lora if lora else self.full


class Example(Record):
    """A command of the guide: its title, and its flags after `autotrain llm --trainer NAME`."""

    title: str
    flags: str
    trainer: str | None = None


class Trainer(Record):
    """One `--trainer`.

    aliases: other tools' words for it, separated by spaces; near: their words for something that it comes nearest to.
    rows: the kind of rows it trains on: documents, conversations, preferences, scored, graded or prompts (`data.request`).
    variant: the declaration in its place where the parameter `varies_with` is above 1: other rows, recipe and metrics, and the same parameters.
    groups: the groups of parameters it reads; parameters of other groups are dropped with a warning.
    unused: parameters that are accepted without effect, each with the reason.
    requires: parameters that must be given; `a|b` requires either.
    usual: usual values of required parameters, which are suggested if they are missing.
    defaults: defaults that differ from those of the parameters; None where the value follows from other parameters, as `default_words` say.
    usual_ranks: lowest and highest usual rank of an adapter.
    learning_rates: lowest and highest plausible learning rate, for `full` fine-tuning and for `lora`.
    recipe: `module:Class` in `run/algorithms` that trains it; None if it can be checked but not trained yet.
    settings: names of the parameters of its loss.
    parts_pairs: whether a row with two answers is split into two rows.
    samples: whether it trains on answers that the model samples.
    trl_adapter: `module:function` in `run/` that builds TRL's trainer from the plan for `--engine trl`; None if TRL has none.
    examples: commands for the guide.
    metrics: the metrics it reports on evaluation rows, each with its better direction (minimize or maximize).
    headline: the metrics by which a training is judged, which the end of a run shows.
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
    usual_ranks: tuple[int, int] = (8, 16)
    parts_pairs: bool = False
    samples: bool = False
    trl_adapter: str | None = None
    defaults: Mapping[str, Any] = EMPTY
    default_words: Mapping[str, str] = EMPTY
    unused: Mapping[str, str] = EMPTY
    metrics: Mapping[str, str] = EMPTY
    headline: tuple[str, ...] = ("loss",)
    aliases: str = ""
    near: str = ""
    order: int = 500
    varies_with: str = ""
    variant: Trainer | None = None
    produces: str = "AutoModelForCausalLM"
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def trains_a_scorer(self) -> bool:
        """Whether the trained model gives scores and generates no text."""
        return self.rows in ("scored", "graded")

    def with_values(self, values: Mapping[str, Any]) -> Trainer:
        """This trainer, or its variant where these values of parameters ask for it."""
        is_varied = self.variant is not None and (values.get(self.varies_with) or 0) > 1
        return self.variant if is_varied and self.variant is not None else self

    @cached_property
    def group_specs(self) -> tuple[Group, ...]:
        return tuple(group_of(cls) for cls in self.groups)

    @cached_property
    def read_names(self) -> frozenset[str]:
        """The names of the parameters that this trainer's groups have."""
        return frozenset(param.name for group in self.group_specs for param in group.params)

    def default_text(self, param: Param) -> str:
        """The default of a parameter in words, with this trainer; empty if there is none."""
        if param.name not in self.defaults:
            return param.default_text()
        return self.default_words.get(param.name) or plain(self.defaults[param.name])

    def reads(self, name: str) -> bool:
        """Whether the parameter belongs to a group this trainer reads."""
        return name in self.read_names
