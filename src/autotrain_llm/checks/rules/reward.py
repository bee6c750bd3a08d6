"""What a model that scores answers needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata


@rule(
    "P703",
    WARNING,
    refuses="--trainer reward --engine trl --label-smoothing 0.1",
    accepts="--trainer reward --label-smoothing 0.1",
)
def the_trl_engine_smooths_no_labels_of_rewards(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--trainer reward --engine trl` with `--label-smoothing`.

    Why: TRL's reward trainer takes the setting and does nothing with it; the two engines would minimise different things.
    Fix: the native engine, which has it, or leave it out.
    """
    if trainer.name == "reward" and config.engine == "trl" and config.label_smoothing:
        yield Finding(
            "--engine trl has no label smoothing for reward, where it is ignored",
            changes={"engine": None},
            otherwise="or remove --label-smoothing",
            parameters=("engine", "label_smoothing"),
        )


@rule("M175", WARNING)
def a_scorer_needs_a_token_that_fills_up(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The tokenizer of a model that is to score has no `pad_token`.

    Why: classifiers read their score at the last token that is not the padding token, which their config has to name before several texts
    can be scored at once. The unknown token, or else the end token, is named there; one that ends a text is then not what its score is
    read at.
    Fix: a `pad_token` in tokenizer_config.json, or nothing.
    """
    tokenizer = context.tokenizer
    if trainer.rows != "scored" or tokenizer is None or tokenizer.pad is not None:
        return
    token = tokenizer.unk or tokenizer.eos
    yield Finding(
        f"--model {config.model}: its tokenizer has no pad_token; {token} will be written into the config as such",
        fix="set pad_token in its tokenizer_config.json",
        parameters=("model",),
    )


@rule("M176", WARNING)
def a_score_adapter_beside_another_is_merged(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--trainer reward --peft` on an adapter of a model that generates.

    Why: a score adapter is saved for the model it was trained on. That is the base with the first adapter merged into it, which lies in no
    folder; so the whole model is saved.
    Fix: `--merge-adapter`, which says the same.
    """
    if trainer.rows != "scored" or not config.peft or config.merge_adapter:
        return
    if model.is_adapter and not model.is_classifier:
        yield Finding(
            f"--model {config.model} is an adapter itself: the new one will be merged, and the whole model saved",
            changes={"merge_adapter": True},
            parameters=("peft", "merge_adapter"),
        )
