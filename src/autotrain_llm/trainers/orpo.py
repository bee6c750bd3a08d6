"""`--trainer orpo`: odds-ratio preference optimisation."""

from __future__ import annotations

from autotrain_llm.declare.param import POSITIVE, TAKES_EFFECT, group, log, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.data import PromptColumn, RejectedColumn
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.evaluation import ComparedAnswers, GeneratedAnswers
from autotrain_llm.params.length import PairLengths
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Odds-ratio preference optimisation", order=620)
class Orpo:
    """Loss of ORPO."""

    orpo_alpha: float = param(
        1.0,
        "Weight of the odds-ratio term, added to the negative log-likelihood of the chosen answer.",
        within=POSITIVE,
        search=log(0.05, 2.0),
        counterparts=("dpo_beta", "kto_beta"),
        on_resume=TAKES_EFFECT,
    )


TRAINER = Trainer(
    name="orpo",
    title="ORPO",
    order=40,
    summary="Odds-ratio preference optimisation: supervised training and preferences in one loss, with no reference model.",
    purpose="Trains on the chosen answer and, in the same step, raises its odds over the rejected one.",
    rows="preferences",
    groups=(
        *CORE,
        PromptColumn,
        RejectedColumn,
        PairLengths,
        ChatTemplate,
        Orpo,
        Distillation,
        GeneratedAnswers,
        ComparedAnswers,
    ),
    requires=(*REQUIRED, "prompt_text_column", "rejected_text_column"),
    usual=usual(
        lr=Usual(8e-6, 2e-5),
        epochs=Usual(2, 2),
        batch_size=Usual(2, 4),
        prompt_text_column=Usual("prompt", "prompt"),
        rejected_text_column=Usual("rejected", "rejected"),
    ),
    defaults={"text_column": "chosen"},
    unused={"model_ref": "ORPO has no reference model"},
    usual_ranks=(32, 64),
    learning_rates={"full": (1e-8, 1e-4), "lora": (1e-7, 1e-3)},
    recipe="autotrain_llm.run.algorithms.preference.recipe:Orpo",
    settings=("orpo_alpha",),
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
        "nll_loss": "minimize",
        "log_odds_ratio": "maximize",
        "log_odds_chosen": "maximize",
    },
    examples=(
        Example(
            "Answers and preferences in one pass",
            "--model mistralai/Mistral-7B-v0.1 --data-path ./data/preferences.jsonl --lr 5e-7 --epochs 2 --batch-size 2 --prompt-text-column prompt --rejected-text-column rejected",
        ),
        Example(
            "A search for good values",
            "--model mistralai/Mistral-7B-v0.1 --data-path ./data/preferences.jsonl --lr 5e-7 --epochs 2 --batch-size 4 --prompt-text-column prompt --rejected-text-column rejected --use-sweep --sweep-n-trials 10 --sweep-metric eval_loss --sweep-direction minimize",
        ),
    ),
)
