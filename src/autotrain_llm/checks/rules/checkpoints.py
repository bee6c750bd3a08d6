"""The best checkpoint and early stopping: what they compare, and when they can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.metric_choice import checkpoint_metrics, in_full, suggest_metric_fix
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import SFT, Example
from autotrain_llm.declare.finding import WARNING, Finding, in_words
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.planning.schedule import asked_evaluation, asked_saving

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import Plan

LONG = SFT.replace("--epochs 1", "--epochs 4") + "rows.jsonl --eval-dataset-path held_out.jsonl"


@rule(
    "P315",
    refuses="--valid-split 0.1 --load-best-model-at-end --save-strategy no",
    accepts="--valid-split 0.1 --load-best-model-at-end",
)
def the_best_checkpoint_must_have_been_saved(config: Config) -> Iterator[Finding]:
    """The best checkpoint is needed at the end, and checkpoints are not saved when the model is evaluated.

    Why: only a step that was both evaluated and saved can be the best checkpoint.
    Fix: save whenever the model is evaluated.
    """
    if not (config.load_best_model_at_end or config.early_stopping_patience):
        return
    evaluating = asked_evaluation(config) or "epoch"
    saving = asked_saving(config) or evaluating
    if evaluating == "no":
        yield Finding(
            "with --eval-strategy no, no checkpoint is evaluated, and there is no best one",
            changes={"eval_strategy": "epoch"},
            parameters=(
                "load_best_model_at_end" if config.load_best_model_at_end else "early_stopping_patience",
                "eval_strategy",
            ),
        )
    elif saving != evaluating:
        yield Finding(
            f"the best checkpoint might not be saved: --eval-strategy is {evaluating} and --save-strategy is {saving}",
            changes={"save_strategy": evaluating},
            parameters=(
                "load_best_model_at_end" if config.load_best_model_at_end else "early_stopping_patience",
                "save_strategy",
            ),
        )
    elif evaluating == "steps" and config.given("save_steps") and config.given("eval_steps"):
        save, every = config.save_steps, config.eval_steps
        if save and every and save % every:
            yield Finding(
                f"--save-steps {save} is not a multiple of --eval-steps {every}, so the best step is not always saved",
                changes={"save_steps": max(1, round(save / every)) * every},
                parameters=("save_steps", "eval_steps"),
            )


@rule(
    "P328",
    refuses="--trainer sft --valid-split 0.1 --load-best-model-at-end --metric-for-best-model eval_bleu",
    accepts="--trainer sft --valid-split 0.1 --load-best-model-at-end --metric-for-best-model eval_perplexity",
)
def the_checkpoint_metric_must_be_measured(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--metric-for-best-model` names a metric that this run does not measure on its evaluation rows.

    Why: no checkpoint could be chosen by it, and the run would fail at its first evaluation.
    Fix: one of the trainer's metrics, or of those that `--use-enhanced-eval` adds. With `--engine trl` only the loss: TRL's trainers add
    their other metrics after the best checkpoint is chosen.
    """
    metric, measured = config.metric_for_best_model, checkpoint_metrics(config)
    if not metric or not trainer.metrics or in_full(metric) in measured:
        return
    engine = " with --engine trl" if config.engine == "trl" else ""
    changes, guess = suggest_metric_fix(config, "metric_for_best_model", measured)
    if engine:
        changes, guess = {"metric_for_best_model": None}, {}
    yield Finding(
        f"--metric-for-best-model {metric} is not measured by {trainer.name}{engine}, which measures {', '.join(measured)}",
        parameters=("metric_for_best_model",),
        changes=changes,
        guess=guess,
    )


@rule(
    "P329",
    WARNING,
    refuses="--valid-split 0.1 --metric-for-best-model eval_loss",
    accepts="--valid-split 0.1 --metric-for-best-model eval_loss --load-best-model-at-end",
)
def a_checkpoint_metric_needs_a_use(config: Config) -> Iterator[Finding]:
    """`--metric-for-best-model` where no best checkpoint is chosen.

    Why: the run ends with its last weights, whatever the metric was.
    Fix: load the best checkpoint at the end, stop early, or remove the flag.
    """
    used = config.load_best_model_at_end or config.early_stopping_patience is not None
    if config.metric_for_best_model and not used:
        yield Finding(
            "--metric-for-best-model has no effect without --load-best-model-at-end or --early-stopping-patience",
            changes={"load_best_model_at_end": True},
            parameters=("metric_for_best_model",),
        )


@rule(
    "P339",
    WARNING,
    example=Example(
        f"{LONG} --early-stopping-patience 5",
        f"{LONG} --early-stopping-patience 2",
        before="""echo '{"text": "Three."}' > held_out.jsonl""",
    ),
)
def a_patience_ends_before_the_run_does(config: Config, plan: Plan) -> Iterator[Finding]:
    """`--early-stopping-patience` needs more evaluations than the run has.

    Why: the first evaluation is always the best so far, and a run stops after that many further evaluations in a row without improvement.
    With fewer evaluations it always runs to its end.
    Fix: a smaller patience, or more evaluations.
    """
    schedule = plan.schedule
    patience, steps = schedule.patience, schedule.steps
    if not config.given("early_stopping_patience") or not patience or schedule.evaluate == "no" or config.use_sweep:
        return
    by_steps = schedule.evaluate == "steps"
    every = schedule.eval_steps if by_steps else schedule.steps_of_epoch
    evaluations = steps // every if by_steps else -(-steps // every)
    if evaluations > patience:
        return
    smaller = -(-steps // every) - 2
    more_often = _more_evaluations(config, (steps - 1) // (patience + 1))
    alternatives: list[dict[str, Any]] = [{"early_stopping_patience": smaller}] if smaller >= 1 else []
    alternatives += [more_often] if more_often else []
    when = f"every {every} of its {steps} steps" if by_steps else "after each epoch"
    yield Finding(
        f"--early-stopping-patience {patience} can never stop this run: it needs {patience} evaluations after the first, and there "
        f"{'is' if evaluations == 1 else 'are'} {evaluations} in total, {when}",
        changes=alternatives[0] if alternatives else {"early_stopping_patience": None},
        otherwise=f"or {in_words(alternatives[1])}" if len(alternatives) > 1 else "",
        parameters=("early_stopping_patience",),
    )


def _more_evaluations(config: Config, every: int) -> dict[str, Any]:
    """The flags that evaluate, and save, every so many steps; none where there are too few steps."""
    if every < 1:
        return {}
    changes: dict[str, Any] = {"eval_steps": every}
    changes |= {"eval_strategy": "steps"} if config.given("eval_strategy") else {}
    changes |= {"save_strategy": "steps"} if config.given("save_strategy") else {}
    return changes | ({"save_steps": every} if config.given("save_steps") else {})
