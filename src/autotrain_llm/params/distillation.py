"""Learning from a larger model's probabilities as well as from the rows."""

from __future__ import annotations

from autotrain_llm.declare.param import POSITIVE, SHARE, group, linear, param


@group(
    "Knowledge distillation",
    order=700,
    switch="use_distillation",
    subject="Distillation",
    misused="error",
    available=False,
)
class Distillation:
    """Learn a teacher's probabilities together with the task."""

    use_distillation: bool = param(False, "Learn from a teacher's probabilities as well as from the rows.")
    teacher_model: str | None = param(None, "The model to learn from: a folder or Hub id.", metavar="NAME|DIR")
    teacher_prompt_template: str | None = param(
        None,
        "How the teacher sees a prompt: a text with {prompt} in it.",
        metavar="TEMPLATE",
        default_words="as the student does",
    )
    student_prompt_template: str | None = param(
        None,
        "How the student sees a prompt: a text with {prompt} in it.",
        metavar="TEMPLATE",
        default_words="the prompt itself",
    )
    distill_temperature: float = param(
        2.0, "Softens both models' probabilities before they are compared.", within=POSITIVE, search=linear(1.0, 4.0)
    )
    distill_alpha: float = param(
        0.5, "Share of the teacher in the loss; the rest is the task's own.", within=SHARE, search=linear(0.1, 0.9)
    )
