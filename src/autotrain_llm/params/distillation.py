"""Learning from a larger model's probabilities as well as from the rows."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, FIXED, POSITIVE, SHARE, TAKES_EFFECT, group, linear, param

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
    """Train on a teacher's token probabilities together with the task."""

    use_distillation: bool = param(
        False, "Train on a teacher's token probabilities as well as on the rows.", usual=True, on_resume=FIXED
    )
    teacher_model: str | None = param(
        None,
        "Teacher model: a folder, an adapter, an earlier run or a Hub id.",
        metavar="NAME|DIR",
        path="input",
        aliases="teacher teacher_model_name_or_path teacher_model_path teacher_name teacher_path",
        on_resume=FIXED,
    )
    teacher_prompt_template: str | None = param(
        None,
        "Template of the teacher's prompts: a text with {prompt} in it.",
        metavar="TEMPLATE",
        default_words="as the student does",
        stage="tokens",
        on_resume=FIXED,
    )
    student_prompt_template: str | None = param(
        None,
        "Template of the student's prompts: a text with {prompt} in it.",
        metavar="TEMPLATE",
        default_words="the prompt itself",
        stage="tokens",
        on_resume=FIXED,
    )
    distill_temperature: float = param(
        2.0,
        "Temperature that divides both models' logits before their probabilities are compared.",
        within=POSITIVE,
        search=linear(1.0, 4.0),
        suggested=2.0,
        aliases="distillation_temperature kd_temp kd_temperature",
        on_resume=TAKES_EFFECT,
    )
    distill_alpha: float = param(
        0.5,
        "Weight of the distillation loss; the task's own loss is weighted by 1 - alpha.",
        within=SHARE,
        search=linear(0.1, 0.9),
        suggested=0.5,
        aliases="distillation_alpha kd_alpha kd_coef kd_ratio",
        on_resume=TAKES_EFFECT,
    )
    distill_loss: str = param(
        "forward_kl",
        "Divergence of the student from the teacher: KL(teacher‖student), KL(student‖teacher), or Jensen-Shannon.",
        choices=DIVERGENCES,
        on_resume=FIXED,
    )
    distill_cache: bool = param(
        False,
        "Run the teacher once before training and cache its top-k log-probabilities on disk; it need not stay loaded.",
        on_resume=FIXED,
    )
    distill_top_k: int = param(
        64,
        "With --distill-cache: number of most likely tokens cached per position.",
        within=AT_LEAST_ONE,
        on_resume=FIXED,
    )
    teacher_quantization: str | None = param(
        None,
        "Load the teacher in 4 bits, with bitsandbytes.",
        choices=("int4",),
        default_words="its own data type",
        on_resume=FIXED,
    )
