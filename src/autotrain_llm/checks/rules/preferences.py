"""What belongs together where answers are compared: losses and their settings, batches, and the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.dpo import SMOOTHED, Dpo

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata


@rule(
    "P351",
    WARNING,
    refuses="--trainer dpo --dpo-loss ipo --label-smoothing 0.1",
    accepts="--trainer dpo --dpo-loss robust --label-smoothing 0.1",
)
def label_smoothing_counts_only_in_losses_that_have_it(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--label-smoothing` with a `--dpo-loss` whose formula has no place for it.

    Why: only sigmoid, exo_pair, robust, aot and aot_unpaired reckon with labels that are the wrong way round; the others are the same
    with and without it.
    Fix: one of those losses, or leave it out.
    """
    if trainer.name != "dpo" or not config.label_smoothing:
        return
    loss = config[Dpo].dpo_loss
    if loss not in SMOOTHED:
        yield Finding(
            f"--label-smoothing has no effect with --dpo-loss {loss}, will be ignored",
            changes={"dpo_loss": "robust"},
            otherwise="or remove --label-smoothing",
            parameters=("label_smoothing", "dpo_loss"),
        )


@rule(
    "P352",
    refuses="--trainer dpo --dpo-loss exo_pair",
    accepts="--trainer dpo --dpo-loss exo_pair --label-smoothing 0.001",
)
def exo_needs_label_smoothing(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--dpo-loss exo_pair` without `--label-smoothing`.

    Why: the loss is a divergence from how likely each answer is to be the better one; with a rejected answer that never is, it is infinite.
    Fix: the value of its paper, 0.001.
    """
    if trainer.name == "dpo" and config[Dpo].dpo_loss == "exo_pair" and not config.label_smoothing:
        yield Finding(
            "--dpo-loss exo_pair needs --label-smoothing above 0",
            changes={"label_smoothing": 0.001},
            parameters=("dpo_loss", "label_smoothing"),
        )


@rule("P353", refuses="--trainer kto --batch-size 1", accepts="--trainer kto --batch-size 4")
def kto_needs_other_answers_in_a_batch(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--trainer kto` with a batch of one row.

    Why: what an answer is measured against is estimated from prompts with the answers of other rows of the batch. With a single row
    that is the answer itself, and there is nothing left to learn from it. Accumulated batches don't help: each has its own estimate.
    Fix: at least 2 rows; more estimate better.
    """
    sizes = [name for name in ("batch_size", "eval_batch_size") if config.value_of(name) == 1]
    if trainer.name != "kto" or not sizes:
        return
    flags = " and ".join(f"--{name.replace('_', '-')} 1" for name in sizes)
    yield Finding(
        f"{flags}: kto measures an answer against those of the other rows of its batch, and there is none",
        changes=dict.fromkeys(sizes, 4),
        parameters=tuple(sizes),
    )


@rule(
    "P354",
    WARNING,
    refuses="--trainer dpo --engine trl --label-smoothing 0.1",
    accepts="--trainer dpo --engine trl --dpo-loss robust --label-smoothing 0.1",
)
def the_trl_engine_smooths_no_labels_of_the_plain_loss(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--engine trl` with `--label-smoothing` and the loss called sigmoid.

    Why: TRL's loss of this name has no smoothing; the two engines would minimise different things.
    Fix: `--dpo-loss robust`, which both have, or the native engine.
    """
    smoothed = config.label_smoothing and config[Dpo].dpo_loss == "sigmoid"
    if trainer.name == "dpo" and config.engine == "trl" and smoothed:
        yield Finding(
            "--engine trl has no label smoothing in --dpo-loss sigmoid, where it is ignored",
            changes={"dpo_loss": "robust"},
            otherwise="or remove --engine trl",
            parameters=("engine", "label_smoothing"),
        )


@rule("M174")
def a_reference_reads_the_same_tokens(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """The tokenizer of `--model-ref` gives other ids than the one the rows are written with.

    Why: both models are asked how likely the same ids are. With another vocabulary they stand for other words, and the comparison means
    nothing.
    Fix: a reference of the same family, or none: then it is the model as it was at the start.
    """
    different = context.models.differing_token(context.reference) if context.reference is not None else None
    if different is not None:
        yield Finding(
            f"--model-ref {config.model_ref} has another vocabulary than the rows: {different}",
            changes={"model_ref": None},
            otherwise="or name one with the tokenizer of --model",
            parameters=("model_ref",),
        )


@rule("P355", refuses="--trainer dpo --model-ref scratch:1m", accepts="--trainer dpo --model-ref runs/sft")
def a_reference_has_learnt_something(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--model-ref` names a new model.

    Why: answers would be compared with random numbers.
    Fix: a trained model, or none: then it is the model as it was at the start.
    """
    named = config.model_ref
    if config.applies("model_ref") and str(named or "").startswith("scratch:"):
        yield Finding(
            f"--model-ref {named} is a new model, and answers would be compared with random numbers",
            changes={"model_ref": None},
            parameters=("model_ref",),
        )
