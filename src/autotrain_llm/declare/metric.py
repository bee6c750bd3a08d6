"""What a metric of enhanced evaluation is to everybody but the code that computes it: a name, which way is better, where it makes sense."""

from __future__ import annotations

from autotrain_llm.declare.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from autotrain_llm.declare.trainer import Trainer

MAXIMIZE, MINIMIZE = "maximize", "minimize"
ANSWERS = ("documents", "conversations", "preferences")  # rows that hold a text to compare an answer with


class Metric(Record):
    """One name of `--eval-metrics`.

    reports: the names it is reported under, without `eval_`, each with the direction that is better.
    rows: the row shapes of the trainers it makes sense for; usual: those for which it is computed unless told otherwise.
    measured_as: names under which an objective may measure it already, the first that is there is taken; empty for a metric of text.
    score: `module:class` in `run/` that compares generated answers with references; None for what the objective measures.
    also: other names that people write for it.
    packages: what it imports beyond what is always there.
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
        """Whether the model has to generate for it."""
        return self.score is not None

    def makes_sense_for(self, trainer: Trainer) -> bool:
        """Whether the trainer's rows have what it needs and, where an objective measures it, this one does."""
        if trainer.rows not in self.rows:
            return False
        return self.is_of_text or not trainer.metrics or self.key_of(trainer) is not None

    def key_of(self, trainer: Trainer) -> str | None:
        """The name under which the trainer's objective measures it."""
        return next((name for name in self.measured_as if name in trainer.metrics), None)
