"""Decide the enhanced evaluation: its metrics, how answers are generated, and the benchmark tasks."""

from __future__ import annotations

from autotrain_llm.config.metric_choice import chosen_metrics, only_a_benchmark
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.eval_tasks import is_file
from autotrain_llm.context.run_context import RunContext

TYPE_CHECKING = False  # checks of flags don't load the plan's dataclasses, whose creation takes longer than the checks
if TYPE_CHECKING:
    from autotrain_llm.planning.plan import AnswersPlan, BertScorePlan, EvalPlan

BERTSCORE = "bertscore"
ENCODER = "FacebookAI/roberta-base"
# The layers that correlate best with human judgement, as published with bert-score 0.3.13.
BEST_LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-multilingual-cased": 9,
    "roberta-base": 10,
    "roberta-large": 17,
    "distilbert-base-uncased": 5,
    "distilroberta-base": 5,
    "deberta-xlarge-mnli": 40,
}
SHORTEST_CONTEXT = 1024  # tokens, for a new model


def needs_evaluation_rows(config: Config) -> bool:
    """Whether enhanced evaluation computes anything on evaluation rows."""
    if not config.use_enhanced_eval:
        return False
    return bool(config.eval_metrics) or not only_a_benchmark(config)


def writes_answers(config: Config) -> bool:
    """Whether the evaluation generates answers."""
    if not config.use_enhanced_eval or not config.applies("eval_samples"):
        return False
    return bool(config.eval_save_predictions) or any(metric.is_of_text for metric in chosen_metrics(config))


def compares_texts(config: Config) -> bool:
    """Whether the evaluation compares answers with those of its rows."""
    return config.use_enhanced_eval and any(metric.is_of_text for metric in chosen_metrics(config))


def encoder_of(config: Config) -> str | None:
    """The encoder of BERTScore; None if BERTScore is not computed."""
    if not config.use_enhanced_eval or not any(metric.name == BERTSCORE for metric in chosen_metrics(config)):
        return None
    return config.eval_bertscore_model or ENCODER


def decide_evaluation(config: Config, context: RunContext) -> EvalPlan | None:
    """The plan's `evaluation`; None if the run has none."""
    from autotrain_llm.planning.plan import EvalPlan

    if not config.use_enhanced_eval:
        return None
    metrics = chosen_metrics(config)
    trainer = config.trainer_spec
    if trainer.samples and not has_references(context):
        metrics = [metric for metric in metrics if not metric.is_of_text]
    return EvalPlan(
        metrics={metric.name: dict(metric.reports) for metric in metrics},
        measured={metric.name: metric.key_of(trainer) or metric.name for metric in metrics if not metric.is_of_text},
        scores={metric.name: metric.score for metric in metrics if metric.is_of_text},
        bertscore=_bertscore(config, context),
        answers=_answers(config, context) if writes_answers(config) else None,
        predictions=config.eval_save_predictions,
        benchmark=tuple(_task(name) for name in config.eval_benchmark or ()),
    )


def items_of_a_row(context: RunContext) -> int:
    """How many items of a batch the trainer makes of a prepared row: kto makes two of a pair."""
    assert context.dataset is not None
    return 2 if context.dataset.format == "preference" and context.config.trainer_spec.parts_pairs else 1


def evaluated_rows(config: Config, context: RunContext) -> int:
    """How many prepared rows each evaluation goes over: those of `--eval-batches` batches, of all processes together."""
    assert context.prepared is not None
    rows = len(context.prepared.valid)
    if config.eval_batches is None:
        return rows
    batch_size = config.eval_batch_size or config.batch_size
    return min(rows, max(1, config.eval_batches * batch_size // items_of_a_row(context)))


def has_references(context: RunContext) -> bool:
    """Whether any evaluation row of a trainer that samples answers has an answer to compare with."""
    return any(example.reference for example in context.dataset.valid) if context.dataset else False


def _answers(config: Config, context: RunContext) -> AnswersPlan:
    from autotrain_llm.planning.plan import AnswersPlan

    rows = len(context.dataset.valid) if context.dataset else 0
    if config.eval_batches is not None:
        rows = min(rows, evaluated_rows(config, context))
    most = config.eval_samples
    return AnswersPlan(
        rows=rows if most < 0 else min(most, rows),
        max_new_tokens=config.eval_max_new_tokens,
        temperature=config.eval_temperature,
        max_prompt_tokens=context_of(context) - config.eval_max_new_tokens,
        batch=config.eval_batch_size or config.batch_size,
        seed=config.seed,
    )


def context_of(context: RunContext) -> int:
    """The most tokens that a prompt and its answer may have together."""
    of_new_model = context.shape["max_position_embeddings"] if context.shape else None
    return context.context_length or of_new_model or max(context.limit.tokens, SHORTEST_CONTEXT)


def _bertscore(config: Config, context: RunContext) -> BertScorePlan | None:
    from autotrain_llm.planning.plan import BertScorePlan

    model = encoder_of(config)
    metadata = context.models.secondary("eval_bertscore_model", model)
    if model is None or metadata is None:
        return None
    folder = metadata.located.folder
    return BertScorePlan(
        model=str(folder.absolute()) if folder else metadata.located.name,
        layer=config.eval_bertscore_layer or BEST_LAYERS.get(model.rsplit("/", 1)[-1]) or metadata.layers,
        offline=config.offline,
        cache_dir=config.cache_dir,
    )


def _task(name: str) -> str:
    from pathlib import Path

    return str(Path(name).expanduser().absolute()) if is_file(name) else name
