"""Training a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import PAIRS, REWARD, WITH_ADAPTER, Example, of_copy
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.reward import Reward

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

ON_AN_ADAPTER = REWARD.replace("MODEL", "./adapter") + "rows.jsonl --peft"


@rule("P701", refuses="--trainer reward --num-labels 2", accepts="--trainer reward --num-labels 1")
def a_reward_model_has_one_score(reward: Reward, trainer: Trainer) -> Iterator[Finding]:
    """`--num-labels` other than 1.

    Why: a pair is ordered by one score per answer, and ppo needs one score too.
    Fix: 1.
    """
    if trainer.reads("num_labels") and reward.num_labels > 1:
        yield Finding(
            f"--num-labels {reward.num_labels}: preference pairs are ordered by 1 score per answer",
            changes={"num_labels": 1},
            parameters=("num_labels",),
        )


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
    if trainer.rows == "scored" and tokenizer is not None and tokenizer.pad is None:
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
    if trainer.rows != "scored" or not config.peft or config.merge_adapter:
        return
    if model.is_adapter and not model.is_classifier:
        yield Finding(
            f"--model {config.model} is itself an adapter: the new adapter will be merged, and the whole model saved",
            changes={"merge_adapter": True},
            parameters=("peft", "merge_adapter"),
        )
