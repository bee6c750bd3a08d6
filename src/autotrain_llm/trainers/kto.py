"""`--trainer kto`: Kahneman-Tversky optimisation."""

from __future__ import annotations

from autotrain_llm.declare.param import NOT_NEGATIVE, POSITIVE, TAKES_EFFECT, group, log, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.data import PromptColumn, RejectedColumn
from autotrain_llm.params.evaluation import ComparedAnswers, GeneratedAnswers
from autotrain_llm.params.length import PairLengths
from autotrain_llm.params.preferences import Reference
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Kahneman-Tversky optimisation", order=625)
class Kto:
    """Loss of KTO."""

    kto_beta: float = param(
        0.1,
        "KL coefficient of KTO: a higher value keeps the model closer to its reference.",
        within=POSITIVE,
        search=log(0.01, 1.0),
        counterparts=("dpo_beta", "orpo_alpha", "rl_kl_coef"),
        on_resume=TAKES_EFFECT,
    )
    kto_desirable_weight: float = param(
        1.0,
        "Weight of the loss of desirable answers.",
        within=NOT_NEGATIVE,
        aliases="desirable_weight kto_chosen_weight",
        on_resume=TAKES_EFFECT,
    )
    kto_undesirable_weight: float = param(
        1.0,
        "Weight of the loss of undesirable answers.",
        within=NOT_NEGATIVE,
        aliases="kto_rejected_weight undesirable_weight",
        on_resume=TAKES_EFFECT,
    )


TRAINER = Trainer(
    name="kto",
    title="KTO",
    order=45,
    summary="Kahneman-Tversky optimisation: train on single answers that are labelled good or bad.",
    purpose="Needs no pairs: each row is a prompt, an answer and its label. Pairs are split into two such rows.",
    rows="preferences",
    groups=(
        *CORE,
        PromptColumn,
        RejectedColumn,
        PairLengths,
        ChatTemplate,
        Kto,
        Reference,
        GeneratedAnswers,
        ComparedAnswers,
    ),
    requires=REQUIRED,
    usual=usual(lr=Usual(5e-7, 2e-5), epochs=Usual(2, 2)),
    usual_ranks=(32, 64),
    learning_rates={"full": (1e-8, 5e-5), "lora": (1e-7, 1e-3)},
    recipe="autotrain_llm.run.algorithms.preference.recipe:Kto",
    trl_adapter="autotrain_llm.run.trl_engine.preference:kto",
    settings=("kto_beta", "kto_desirable_weight", "kto_undesirable_weight"),
    parts_pairs=True,
    headline=("loss", "rewards/accuracies", "rewards/margins"),
    metrics={
        "loss": "minimize",
        "rewards/chosen": "maximize",
        "rewards/rejected": "minimize",
        "rewards/accuracies": "maximize",
        "rewards/margins": "maximize",
        "logps/chosen": "maximize",
        "logps/rejected": "minimize",
        "perplexity": "minimize",
        "token_accuracy": "maximize",
        "kl": "minimize",
    },
    notes=(
        "The KL baseline of a batch is estimated from mismatched prompts and answers of the batch, so `--batch-size` must be at least 2.",
    ),
    examples=(
        Example(
            "Answers that were liked or not: rows with prompt, completion and label",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/feedback.jsonl --lr 5e-7 --epochs 2 --batch-size 4 --kto-desirable-weight 1.33",
        ),
        Example(
            "A LoRA adapter, from pairs that are taken apart",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/preferences.jsonl --lr 2e-5 --epochs 2 --batch-size 8 --rejected-text-column rejected --kto-beta 0.1 --peft --lora-r 32",
        ),
    ),
)
