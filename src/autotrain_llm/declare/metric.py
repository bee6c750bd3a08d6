"""The declaration of a metric of enhanced evaluation: its names, the better direction, and the trainers it applies to."""

from __future__ import annotations

from autotrain_llm.declare.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from autotrain_llm.declare.trainer import Trainer

MAXIMIZE, MINIMIZE = "maximize", "minimize"
ANSWERS = ("documents", "conversations", "preferences")  # kinds of rows whose answers are trained on
REFERENCES = (*ANSWERS, "prompts")  # kinds of rows that can have an answer to compare with


class Metric(Record):
    """One name of `--eval-metrics`.

    reports: the names it is reported under, without `eval_`, each with its better direction.
    rows: the kinds of rows of the trainers it applies to; usual: those for which it is computed by default.
    measured_as: names under which a trainer may report it already, in order of preference; empty for a metric of generated text.
    score: `module:class` in `run/` that compares generated answers with references; None for metrics that come from the loss.
    also: alternative names in `--eval-metrics`.
    packages: optional packages that it needs.
    """

    name: str
    title: str
    reports: Mapping[str, str]
    rows: tuple[str, ...]
    usual: tuple[str, ...] = ()
    measured_as: tuple[str, ...] = ()
    score: str | None = None
    also: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def is_of_text(self) -> bool:
        """Whether it scores generated answers."""
        return self.score is not None

    def makes_sense_for(self, trainer: Trainer) -> bool:
        """Whether it can be computed on the trainer's rows; a metric of the loss must be among those that the trainer reports."""
        if trainer.rows not in self.rows:
            return False
        return self.is_of_text or not trainer.metrics or self.key_of(trainer) is not None

    def key_of(self, trainer: Trainer) -> str | None:
        """The name under which the trainer reports it; None if it does not."""
        return next((name for name in self.measured_as if name in trainer.metrics), None)
