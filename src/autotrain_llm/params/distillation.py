"""Learning from a larger model's probabilities as well as from the rows."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, POSITIVE, SHARE, group, linear, param

DIVERGENCES = ("forward_kl", "reverse_kl", "jsd")


@group(
    "Knowledge distillation",
    order=700,
    switch="use_distillation",
    subject="Distillation",
    misused="error",
    recipe="autotrain_llm.run.algorithms.distill.recipe:Distilled",
)
class Distillation:
    """Learn a teacher's probabilities together with the task."""

    use_distillation: bool = param(False, "Learn from a teacher's probabilities as well as from the rows.")
    teacher_model: str | None = param(
        None,
        "The model to learn from: a folder, an adapter, an earlier run or a Hub id.",
        metavar="NAME|DIR",
        path="input",
        aliases="teacher teacher_model_name_or_path teacher_model_path teacher_name teacher_path",
    )
    teacher_prompt_template: str | None = param(
        None,
        "How the teacher sees a prompt: a text with {prompt} in it.",
        metavar="TEMPLATE",
        default_words="as the student does",
        stage="tokens",
    )
    student_prompt_template: str | None = param(
        None,
        "How the student sees a prompt: a text with {prompt} in it.",
        metavar="TEMPLATE",
        default_words="the prompt itself",
        stage="tokens",
    )
    distill_temperature: float = param(
        2.0,
        "Softens both models' probabilities before they are compared.",
        within=POSITIVE,
        search=linear(1.0, 4.0),
        suggested=2.0,
        aliases="distillation_temperature kd_temp kd_temperature",
    )
    distill_alpha: float = param(
        0.5,
        "Share of the teacher in the loss; the rest is the task's own.",
        within=SHARE,
        search=linear(0.1, 0.9),
        suggested=0.5,
        aliases="distillation_alpha kd_alpha kd_ratio",
    )
    distill_loss: str = param(
        "forward_kl",
        "How far the student is from its teacher: KL(teacher‖student), KL(student‖teacher), or Jensen-Shannon.",
        choices=DIVERGENCES,
    )
    distill_cache: bool = param(
        False, "Ask the teacher once, before training, and keep its likeliest tokens on disk; it need not stay loaded."
    )
    distill_top_k: int = param(
        64, "How many of the likeliest tokens are kept of each position with --distill-cache.", within=AT_LEAST_ONE
    )
    teacher_quantization: str | None = param(
        None, "Load the teacher in 4 bits (CUDA).", choices=("int4",), default_words="none: its own type"
    )
