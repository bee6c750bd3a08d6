"""What the mixins and the trainers that build on them need of the flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from autotrain_llm.config import Config
from autotrain_llm.declare.convert import BadValue, convert
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.sweep import Sweep
from autotrain_llm.registry import PARAMS
from autotrain_llm.rules.values import out_of_bounds

BEHIND_A_SERVICE = re.compile(
    r"^(openai/)?(gpt-[345]|o[134](-|$)|chatgpt)|^(anthropic/)?claude-|^(google/)?gemini-", re.IGNORECASE
)
LOWER_IS_BETTER = ("loss", "perplexity", "kl", "nll_loss")
TEXT_METRICS = ("bleu", "chrf", "rouge", "bertscore", "perplexity", "exact_match", "token_accuracy")


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
    teacher = config.peek("teacher_model")
    if config.peek("use_distillation") and teacher and teacher == config.peek("model"):
        yield Finding(
            f"--teacher-model and --model are the same ({teacher}), so there is nothing to learn from it",
            fix="--teacher-model <a larger or better model>",
            parameters=("teacher_model", "model"),
        )


@rule(
    "P601",
    refuses="--use-sweep --sweep-params '{\"lerning_rate\": [1e-5, 1e-4]}'",
    accepts="--use-sweep --sweep-params '{\"lr\": [1e-5, 1e-4]}'",
)
def a_sweep_searches_parameters_that_the_trainer_reads(config: Sweep, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-params` names something that is no parameter, or that this trainer does not read.

    Why: every trial would be the same, or would fail.
    Fix: the nearest name.
    """
    if not config.use_sweep or not config.sweep_params:
        return
    usable = [param.name for group in trainer.group_specs for param in group.params if not param.command]
    for name in config.sweep_params:
        field = name.replace("-", "_")
        if field not in usable:
            close = nearest(field, usable, cutoff=0.5) or _by_habit(field)
            why = f"{trainer.name} does not read it" if field in PARAMS else "there is no such parameter"
            yield Finding(
                f"--sweep-params: {name!r} can't be searched: {why}" + (f"; {close} is near" if close else ""),
                fix=f"{close} in place of {name}" if close else None,
                parameters=("sweep_params",),
            )


def _by_habit(name: str) -> str | None:
    from autotrain_llm.params.compatibility import FOREIGN

    habit = nearest(name, FOREIGN, cutoff=0.8)
    return FOREIGN[habit] if habit else None


@rule(
    "P602",
    refuses="--use-sweep --sweep-params '{\"batch_size\": [0]}'",
    accepts="--use-sweep --sweep-params '{\"batch_size\": [2, 4]}'",
)
def a_sweep_searches_values_that_are_possible(config: Sweep, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-params` holds a value or range that the parameter can't have.

    Why: every trial that draws it would be refused.
    Fix: values inside the parameter's bounds, numbers without quotes, a low below its high.
    """
    if not config.use_sweep or not config.sweep_params:
        return
    for name, space in config.sweep_params.items():
        param = PARAMS.get(name.replace("-", "_"))
        if param is not None:
            for fault, fix in _faults_of_space(param, space):
                yield Finding(f"--sweep-params: {name}: {fault}", fix=fix, parameters=("sweep_params",))


def _faults_of_space(param: Param, space: Any) -> Iterator[tuple[str, str | None]]:
    values = _values_of_space(space)
    if values is None:
        yield (
            f"{space!r} is neither a list of choices nor a range",
            '{"type": "float", "low": 1e-6, "high": 1e-4, "log": true}',
        )
        return
    if not values:
        yield "there is nothing to choose from", None
    low, high = (space.get("low"), space.get("high")) if isinstance(space, dict) else (None, None)
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        yield f"low {low:g} is not below high {high:g}", f'"low": {high:g}, "high": {low:g}'
    for value in values:
        if isinstance(value, str) and param.kind in ("int", "float"):
            yield f"{value!r} is a string where a number belongs", f"{value} without quotes"
            continue
        try:
            converted = convert(param, value)
        except BadValue as fault:
            yield f"a value must be {fault}, got {value!r}", None
            continue
        if out_of_bounds(param, converted):
            yield (
                f"{value!r} can't be tried: {param.flag} must be {param.within.describe() if param.within else ''}",
                None,
            )
        elif param.choices and converted not in param.choices:
            yield f"{value!r} can't be tried: {param.flag} is one of {', '.join(param.choices)}", None


def _values_of_space(space: Any) -> list[Any] | None:
    """What a space will draw from, or its ends; None when it has no form that is understood."""
    if isinstance(space, list):
        return [value for value in space if value not in ("log", "int")]
    if isinstance(space, dict):
        if "choices" in space or "values" in space:
            choices = space.get("choices", space.get("values"))
            return choices if isinstance(choices, list) else None
        ends = [space.get("low", space.get("min")), space.get("high", space.get("max"))]
        return None if None in ends else ends
    return None


@rule(
    "P603",
    refuses="--use-sweep --sweep-metric eval_loss --sweep-direction maximize",
    accepts="--use-sweep --sweep-metric eval_loss --sweep-direction minimize",
)
def a_sweep_goes_the_way_that_is_better(config: Config) -> Iterator[Finding]:
    """`--sweep-direction` contradicts the metric.

    Why: maximising a loss finds the worst trial.
    Fix: the other direction.
    """
    if not config.peek("use_sweep"):
        return
    metric, direction = str(config.peek("sweep_metric")), config.peek("sweep_direction")
    lower = metric.removeprefix("eval_").removeprefix("train_") in LOWER_IS_BETTER
    better = "minimize" if lower else "maximize" if "accurac" in metric or "margin" in metric else direction
    if direction != better and direction in ("minimize", "maximize"):
        yield Finding(
            f"--sweep-direction {direction} contradicts --sweep-metric {metric}, of which {'less' if lower else 'more'} is better",
            fix=f"--sweep-direction {better}",
            parameters=("sweep_direction", "sweep_metric"),
        )


@rule(
    "P604",
    WARNING,
    refuses="--trainer dpo --use-sweep --sweep-params '{\"dpo_beta\": [0.1, 0.5]}'",
    accepts="--trainer dpo --use-sweep --sweep-params '{\"lr\": [1e-7, 1e-6]}'",
)
def a_sweep_should_not_move_its_own_measure(config: Sweep) -> Iterator[Finding]:
    """A parameter of the loss is searched while the loss is what trials are compared by.

    Why: losses of different betas or alphas are different quantities.
    Fix: compare by accuracy.
    """
    if not config.use_sweep or not str(config.sweep_metric).endswith("loss"):
        return
    moved = [
        name
        for name in config.sweep_params or ()
        if name in ("dpo_beta", "orpo_alpha", "distill_alpha", "distill_temperature")
    ]
    if moved:
        yield Finding(
            f"--sweep-params searches {', '.join(moved)}, which changes what --sweep-metric {config.sweep_metric} measures",
            fix="--sweep-metric eval_rewards/accuracies --sweep-direction maximize",
            parameters=("sweep_params", "sweep_metric"),
        )


@rule("P701", refuses="--trainer reward --num-labels 2", accepts="--trainer reward --num-labels 1")
def a_reward_model_has_one_score(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--num-labels` other than 1.

    Why: a pair is ordered by one number per answer, and ppo needs one too.
    Fix: 1.
    """
    labels = config.peek("num_labels")
    if trainer.reads("num_labels") and labels > 1:
        yield Finding(
            f"--num-labels {labels}: preference pairs are ordered by 1 score for each answer",
            fix="--num-labels 1",
            parameters=("num_labels",),
        )


@rule(
    "P702",
    refuses="--trainer reward --use-enhanced-eval --eval-metrics bleu",
    accepts="--trainer reward --use-enhanced-eval --eval-metrics accuracy",
)
def a_scorer_is_not_scored_on_text(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A metric of generated text for a reward model.

    Why: a reward model scores and does not generate.
    Fix: accuracy, margin or calibration.
    """
    if trainer.rows != "scored" or not config.peek("use_enhanced_eval") or not config.given("eval_metrics"):
        return
    wrong = [name for name in config.peek("eval_metrics") if name in TEXT_METRICS]
    if wrong:
        yield Finding(
            f"--eval-metrics {', '.join(wrong)} needs generated text, and a reward model scores and does not generate",
            fix="--eval-metrics accuracy,margin,calibration",
            parameters=("eval_metrics",),
        )


@rule(
    "P801",
    refuses="--trainer ppo --rl-chunk-size 100 --rl-mini-batch-size 32",
    accepts="--trainer ppo --rl-chunk-size 128 --rl-mini-batch-size 32",
)
def sizes_of_ppo_must_divide(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Samples, optimizer steps and forward passes do not divide.

    Why: `--rl-chunk-size` samples are learnt from in steps of `--rl-mini-batch-size`, each in passes of `--batch-size`.
    Fix: the nearest sizes that divide.
    """
    if trainer.name != "ppo":
        return
    chunk, mini, batch = config.rl_chunk_size, config.rl_mini_batch_size, config.batch_size
    if chunk >= 1 and mini >= 1 and chunk % mini:
        near = max(mini, round(chunk / mini) * mini)
        yield Finding(
            f"--rl-chunk-size {chunk} is no multiple of --rl-mini-batch-size {mini}",
            fix=f"--rl-chunk-size {near}",
            parameters=("rl_chunk_size", "rl_mini_batch_size"),
        )
    if batch and batch >= 1 and mini >= 1 and mini % batch and batch % mini:
        near = max(batch, round(mini / batch) * batch)
        yield Finding(
            f"--rl-mini-batch-size {mini} is no multiple of --batch-size {batch}",
            fix=f"--rl-mini-batch-size {near}",
            parameters=("rl_mini_batch_size", "batch_size"),
        )
