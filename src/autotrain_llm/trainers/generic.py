"""`--trainer generic`: next-token prediction on plain text."""

from __future__ import annotations

from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.data import Streaming
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.evaluation import ComparedAnswers, GeneratedAnswers
from autotrain_llm.params.text import EndToken, TokenWeights
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual

TRAINER = Trainer(
    name="generic",
    aliases="pt pretrain pretraining clm causal lm",
    title="Generic",
    order=10,
    summary="Next-token prediction on plain text: pre-training, or more of it.",
    purpose=(
        "Language modelling on raw text, without prompts and answers: documents are joined with the end token and cut into "
        "blocks, and every token is trained on."
    ),
    rows="documents",
    groups=(*CORE, Streaming, EndToken, TokenWeights, Distillation, GeneratedAnswers, ComparedAnswers),
    requires=REQUIRED,
    usual=usual(lr=Usual(2e-5, 2e-4)),
    learning_rates={"full": (1e-7, 3e-4), "lora": (1e-6, 5e-3)},
    recipe="autotrain_llm.run.algorithms.supervised:NextToken",
    settings=("token_weights",),
    trl_adapter="autotrain_llm.run.trl_engine.sft:sft",
    headline=("loss", "token_accuracy"),
    metrics={"loss": "minimize", "perplexity": "minimize", "token_accuracy": "maximize"},
    examples=(
        Example(
            "The whole model",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/train.jsonl --lr 2e-5 --epochs 3 --batch-size 4",
        ),
        Example(
            "A LoRA adapter, taught by a larger model too",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/train.jsonl --lr 2e-4 --epochs 3 --batch-size 8 --peft --lora-r 32 --use-distillation --teacher-model meta-llama/Llama-2-13b-hf",
        ),
    ),
)
