"""Preference training: losses and their settings, batches, and the reference model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import DPO, PAIRS, SFT, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.dpo import SMOOTHED, Dpo

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.planning.plan import Plan


@rule(
    "P351",
    WARNING,
    refuses="--trainer dpo --dpo-loss ipo --label-smoothing 0.1",
    accepts="--trainer dpo --dpo-loss robust --label-smoothing 0.1",
)
def label_smoothing_needs_a_loss_that_has_it(config: Config, dpo: Dpo, trainer: Trainer) -> Iterator[Finding]:
    """`--label-smoothing` with a `--dpo-loss` whose formula has no label smoothing.

    Why: only sigmoid, exo_pair, robust, aot and aot_unpaired model flipped preference labels; the other losses are the same with and without
    it.
    Fix: one of those losses, or remove it.
    """
    if trainer.reads("dpo_loss") and config.label_smoothing and dpo.dpo_loss not in SMOOTHED:
        yield Finding(
            f"--label-smoothing has no effect with --dpo-loss {dpo.dpo_loss}, will be ignored",
            changes={"dpo_loss": "robust"},
            otherwise="or remove --label-smoothing",
            parameters=("label_smoothing", "dpo_loss"),
        )


@rule(
    "P352",
    refuses="--trainer dpo --dpo-loss exo_pair",
    accepts="--trainer dpo --dpo-loss exo_pair --label-smoothing 0.001",
)
def exo_needs_label_smoothing(config: Config, dpo: Dpo, trainer: Trainer) -> Iterator[Finding]:
    """`--dpo-loss exo_pair` without `--label-smoothing`.

    Why: the loss is a KL divergence from the probability that each answer is the better one; where that is 0 for the rejected answer, the
    loss is infinite.
    Fix: 0.001, as in its paper.
    """
    if trainer.reads("dpo_loss") and dpo.dpo_loss == "exo_pair" and not config.label_smoothing:
        yield Finding(
            "--dpo-loss exo_pair needs --label-smoothing above 0",
            changes={"label_smoothing": 0.001},
            parameters=("dpo_loss", "label_smoothing"),
        )


@rule("P353", refuses="--trainer kto --batch-size 1", accepts="--trainer kto --batch-size 4")
def kto_needs_other_answers_in_a_batch(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--trainer kto` with a batch of one row.

    Why: kto estimates its KL baseline from prompts paired with the answers of other rows in the batch. With a single row there is no other
    answer, and the loss has no gradient. Gradient accumulation does not help: each batch has its own estimate.
    Fix: at least 2 rows; more give a better estimate.
    """
    sizes = [name for name in ("batch_size", "eval_batch_size") if config.value_of(name) == 1]
    if trainer.reads("kto_desirable_weight") and sizes:
        yield Finding(
            f"{' and '.join(f'{flag_of(name)} 1' for name in sizes)}: kto compares an answer with those of the other rows of its batch, and "
            "there are none",
            changes=dict.fromkeys(sizes, 4),
            parameters=tuple(sizes),
        )


KTO_ROWS = '{"prompt": "Name a colour.", "completion": "Blue.", "label": true}\n{"prompt": "Name a tree.", "completion": "Stone.", "label": false}\n'
KTO_OF_THREE = SFT.replace("sft", "kto").replace("1e-4", "5e-7").replace("--batch-size 2", "--batch-size 3")


@rule(
    "P356",
    WARNING,
    example=of_rows(KTO_ROWS * 2, KTO_ROWS + KTO_ROWS.splitlines(True)[0], KTO_OF_THREE),
)
def the_last_batch_of_kto_should_not_be_one_row(trainer: Trainer, plan: Plan) -> Iterator[Finding]:
    """`--trainer kto`, and the last batch of each epoch has a single row.

    Why: the KL baseline of a batch is estimated from prompts paired with the answers of other rows in it. A single row is paired with its own
    answer, which is no estimate.
    Fix: a batch size that leaves no single row.
    """
    size, processes, rows = plan.arguments.per_device_train_batch_size, plan.schedule.processes, plan.data.rows
    if not trainer.reads("kto_desirable_weight") or plan.data.format == "preference" or size * processes < 2:
        return
    if rows % (size * processes) != 1:
        return
    fitting = without_a_single_row(rows, size, processes)
    message = f"with --batch-size {size}, the last batch of {rows} rows has one row, whose KL baseline would be estimated from its own answer"
    changes = {"batch_size": fitting} if fitting else {}
    fix = None if fitting else "one row more, or one less"
    yield Finding(message, fix, ("batch_size",), changes=changes)


def without_a_single_row(rows: int, size: int, processes: int) -> int | None:
    """The batch size nearest to `size`, rather a smaller one, with which the last batch of all processes together is not one row."""
    sizes = (*range(size - 1, 0, -1), *range(size + 1, 2 * size + 8))
    return next((other for other in sizes if other * processes > 1 and rows % (other * processes) != 1), None)


@rule("P355", refuses="--trainer dpo --model-ref scratch:1m", accepts="--trainer dpo --model-ref runs/sft")
def a_reference_model_must_be_trained(config: Config) -> Iterator[Finding]:
    """`--model-ref` names a new model.

    Why: answers would be compared under random weights.
    Fix: a trained model, or remove the flag: then the reference is the model as it is before training.
    """
    if config.applies("model_ref") and str(config.model_ref or "").startswith("scratch:"):
        yield Finding(
            f"--model-ref {config.model_ref} is a new model with random weights, which can't be a reference",
            changes={"model_ref": None},
            parameters=("model_ref",),
        )


@rule(
    "M174",
    example=of_flags(
        "--model-ref other",
        "--model-ref TEACHER",
        PAIRS,
        DPO,
        before="cp -r MODEL other\nsed -i.old 's/im_start/begin/' other/tokenizer.json",
    ),
)
def a_reference_model_has_the_same_vocabulary(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The tokenizer of `--model-ref` has another vocabulary than the one the rows are tokenized with.

    Why: both models compute the probabilities of the same token ids. With another vocabulary an id stands for another token, and the comparison
    means nothing.
    Fix: a reference of the same family, or remove the flag: then the reference is the model as it is before training.
    """
    different = context.models.differing_token(context.reference) if context.reference is not None else None
    if different is not None:
        yield Finding(
            f"--model-ref {config.model_ref} has another vocabulary than the rows: {different}",
            changes={"model_ref": None},
            otherwise="or name one with the tokenizer of --model",
            parameters=("model_ref",),
        )
