"""`--trainer dpo`: direct preference optimisation."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, POSITIVE, TAKES_EFFECT, group, log, nearly, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.data import PromptColumn, RejectedColumn
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.evaluation import ComparedAnswers, GeneratedAnswers
from autotrain_llm.params.length import PairLengths
from autotrain_llm.params.preferences import LabelSmoothing, Reference
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual

LOSSES = (
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
)
# Those in which some labels may be the wrong way round.
SMOOTHED = ("sigmoid", "exo_pair", "robust", "aot", "aot_unpaired")


@group("Direct preference optimisation", order=610)
class Dpo:
    """Loss of DPO."""

    dpo_beta: float = param(
        0.1,
        "KL coefficient of DPO: a higher value keeps the model closer to its reference.",
        within=POSITIVE,
        search=log(0.01, 1.0),
        counterparts=("kto_beta", "orpo_alpha", "rl_kl_coef"),
        on_resume=TAKES_EFFECT,
    )
    dpo_loss: str = param(
        "sigmoid",
        "Loss function, by TRL's name.",
        choices=LOSSES,
        aliases="dpo_loss_type pref_loss",
        meanings={
            "orpo": nearly("orpo is a trainer of its own here", trainer="orpo"),
            "kto kto_pair": nearly("kto is a trainer of its own here, and makes two rows of a pair", trainer="kto"),
            "simpo cpo alphapo": nearly("orpo is the trainer that needs no reference model", trainer="orpo"),
            "rpo sft": nearly("nothing is added to the loss of the pair", dpo_loss="sigmoid"),
        },
        on_resume=FIXED,
    )


TRAINER = Trainer(
    name="dpo",
    near="simpo cpo",
    title="DPO",
    order=30,
    summary="Direct preference optimisation: train on pairs of a chosen and a rejected answer, with no reward model.",
    purpose="Raises the probability of chosen answers over rejected ones, relative to a frozen reference model.",
    rows="preferences",
    groups=(
        *CORE,
        PromptColumn,
        RejectedColumn,
        PairLengths,
        ChatTemplate,
        Dpo,
        LabelSmoothing,
        Reference,
        Distillation,
        GeneratedAnswers,
        ComparedAnswers,
    ),
    requires=(*REQUIRED, "prompt_text_column", "rejected_text_column"),
    usual=usual(
        lr=Usual(5e-7, 5e-6),
        epochs=Usual(2, 2),
        batch_size=Usual(2, 4),
        prompt_text_column=Usual("prompt", "prompt"),
        rejected_text_column=Usual("rejected", "rejected"),
    ),
    defaults={"text_column": "chosen"},
    usual_ranks=(32, 64),
    learning_rates={"full": (1e-8, 5e-5), "lora": (1e-7, 1e-3)},
    recipe="autotrain_llm.run.algorithms.preference.recipe:Dpo",
    trl_adapter="autotrain_llm.run.trl_engine.preference:dpo",
    settings=("dpo_beta", "dpo_loss", "label_smoothing"),
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
    examples=(
        Example(
            "Against the model as it was at the start",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/preferences.jsonl --lr 5e-7 --epochs 2 --batch-size 2 --prompt-text-column prompt --rejected-text-column rejected --dpo-beta 0.1",
        ),
        Example(
            "A LoRA adapter, against a reference that is named",
            "--model meta-llama/Llama-2-7b-hf --model-ref meta-llama/Llama-2-7b-hf --data-path ./data/preferences.jsonl --lr 5e-7 --epochs 2 --batch-size 4 --prompt-text-column prompt --rejected-text-column rejected --dpo-beta 0.2 --peft --lora-r 32",
        ),
    ),
)
