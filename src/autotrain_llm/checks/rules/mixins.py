"""What the mixins and the trainers that build on them need of the flags."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.trainers.reward import Reward

BEHIND_A_SERVICE = re.compile(
    r"^(openai/)?(gpt-[345]|o[134](-|$)|chatgpt)|^(anthropic/)?claude-|^(google/)?gemini-", re.IGNORECASE
)


@rule(
    "P501", refuses="--trainer sft --use-distillation", accepts="--trainer sft --use-distillation --teacher-model other"
)
def distillation_needs_a_teacher(config: Distillation, trainer: Trainer) -> Iterator[Finding]:
    """`--use-distillation` without `--teacher-model`.

    Why: the loss compares student and teacher at every token; without a teacher there is nothing to compare.
    Fix: name a teacher, or drop `--use-distillation`.
    """
    if config.use_distillation and not config.teacher_model and trainer.reads("use_distillation"):
        yield Finding(
            "--use-distillation needs --teacher-model",
            fix="add --teacher-model <name or path>",
            parameters=("use_distillation", "teacher_model"),
        )


@rule(
    "P502",
    refuses="--trainer sft --use-distillation --teacher-model gpt-4",
    accepts="--trainer sft --use-distillation --teacher-model other",
)
def a_teacher_must_be_a_model_whose_weights_can_be_had(config: Distillation) -> Iterator[Finding]:
    """`--teacher-model` names a model that exists behind a service only.

    Why: distillation compares probabilities of every token, for which the teacher's weights are needed; a service returns text.
    Fix: an open model; or let the service write answers, and train on these with `--trainer sft`.
    """
    if config.use_distillation and config.teacher_model and BEHIND_A_SERVICE.search(config.teacher_model):
        yield Finding(
            f"--teacher-model {config.teacher_model} is behind a service: a teacher's weights are needed, on disk or from the Hub",
            fix="--teacher-model <open model>, or train with --trainer sft on answers that the service wrote",
            parameters=("teacher_model",),
        )


@rule(
    "P503",
    WARNING,
    refuses="--trainer sft --model other --use-distillation --teacher-model other",
    accepts="--trainer sft --use-distillation --teacher-model other",
)
def a_teacher_should_not_be_its_own_student(config: Config) -> Iterator[Finding]:
    """Teacher and student are the same model.

    Why: at the start their probabilities are equal, so the teacher teaches nothing.
    Fix: a larger or better teacher.
    """
    teacher = config.teacher_model
    if config.use_distillation and teacher and teacher == config.model:
        yield Finding(
            f"--teacher-model and --model are the same ({teacher}), so there is nothing to learn from it",
            fix="--teacher-model <a larger or better model>",
            parameters=("teacher_model", "model"),
        )


@rule("P701", refuses="--trainer reward --num-labels 2", accepts="--trainer reward --num-labels 1")
def a_reward_model_has_one_score(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--num-labels` other than 1.

    Why: a pair is ordered by one number per answer, and ppo needs one too.
    Fix: 1.
    """
    labels = config[Reward].num_labels
    if trainer.reads("num_labels") and labels > 1:
        yield Finding(
            f"--num-labels {labels}: preference pairs are ordered by 1 score for each answer",
            changes={"num_labels": 1},
            parameters=("num_labels",),
        )
