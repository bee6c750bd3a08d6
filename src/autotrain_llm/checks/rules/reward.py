"""Training a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.metric_choice import in_full
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import PAIRS, REWARD, WITH_ADAPTER, Example, of_copy, of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.planning.kinds import CLASSES

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.planning.plan import Plan

SCORED = '{"prompt": "Hi", "answer": "Hello", "scores": [3, 1]}\n{"prompt": "Bye", "answer": "See you", "scores": [1, 2]}\n{"prompt": "Why", "answer": "So", "scores": [2, 0]}\n'
GRADED_COMMAND = "llm --trainer reward --model MODEL --lr 1e-5 --epochs 1 --batch-size 2 --num-labels 2 --data-path "
ON_AN_ADAPTER = REWARD.replace("MODEL", "./adapter") + "rows.jsonl --peft"


@rule(
    "M175",
    WARNING,
    example=of_copy("""sed -i.old '/"pad_token"/d' changed/*token*_*.json""", rows=PAIRS, command=REWARD),
)
def a_reward_model_needs_a_padding_token(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The tokenizer of a model to train as a reward model has no `pad_token`.

    Why: sequence classifiers read their score at the last token that is not padding, and their config must name the padding token before
    several texts can be scored in one batch. The unknown token, or else the end-of-text token, is written there; a text's own last token of
    that kind is then skipped as padding.
    Fix: a `pad_token` in tokenizer_config.json, or accept it.
    """
    tokenizer = context.tokenizer
    if trainer.trains_a_scorer and tokenizer is not None and tokenizer.pad is None:
        yield Finding(
            f"--model {config.model}: its tokenizer has no pad_token; {tokenizer.unk or tokenizer.eos} will be written into the config as "
            "pad_token",
            fix="set pad_token in its tokenizer_config.json",
            parameters=("model",),
        )


@rule(
    "M176",
    WARNING,
    example=Example(ON_AN_ADAPTER, f"{ON_AN_ADAPTER} --merge-adapter", PAIRS, PAIRS, before=WITH_ADAPTER),
)
def a_reward_adapter_on_another_adapter_is_merged(
    config: Config, trainer: Trainer, model: ModelMetadata
) -> Iterator[Finding]:
    """`--trainer reward --peft` on a model that is itself an adapter of a language model.

    Why: a reward adapter only fits the model it was trained on: here the base with the first adapter merged into it, which is saved nowhere. So
    the whole model is saved.
    Fix: `--merge-adapter`, which does the same explicitly.
    """
    if not trainer.trains_a_scorer or not config.peft or config.merge_adapter:
        return
    if model.is_adapter and not model.is_classifier:
        yield Finding(
            f"--model {config.model} is itself an adapter: the new adapter will be merged, and the whole model saved",
            changes={"merge_adapter": True},
            parameters=("peft", "merge_adapter"),
        )


@rule(
    "P711",
    example=of_flags(
        "--metric-for-best-model eval_accuracy --load-best-model-at-end --valid-split 1",
        "--metric-for-best-model eval_mse --load-best-model-at-end --valid-split 1",
        SCORED,
        GRADED_COMMAND,
    ),
)
def the_best_checkpoint_is_chosen_by_a_metric_of_its_rows(config: Config, plan: Plan) -> Iterator[Finding]:
    """`--metric-for-best-model` or `--sweep-metric` names a metric of classes where rows have scores, or the other way round.

    Why: scores have a squared error and a correlation, and classes an accuracy; the other metric is never reported.
    Fix: a metric of the rows.
    """
    kind = plan.model.problem_type
    if kind is None:
        return
    missing = ("eval_mse", "eval_correlation") if kind == CLASSES else ("eval_accuracy",)
    used = {"metric_for_best_model": config.metric_for_best_model, "sweep_metric": config.sweep_metric}
    for name, metric in used.items():
        if metric and in_full(str(metric)) in missing and (name != "sweep_metric" or config.use_sweep):
            yield Finding(
                f"{flag_of(name)} {metric} is not reported: the rows have {'a class' if kind == CLASSES else 'scores'}",
                guess={name: "eval_accuracy" if kind == CLASSES else "eval_mse"},
                parameters=(name,),
            )
