"""`--trainer sft`: learning to answer, from examples of answers."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, POSITIVE, SAME_ROWS, TAKES_EFFECT, among, group, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.data import PromptColumn, ReasoningColumn, Streaming
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.params.evaluation import ComparedAnswers, GeneratedAnswers
from autotrain_llm.params.length import LENGTH
from autotrain_llm.params.text import ChatTemplate, EndToken, TokenWeights
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Supervised fine-tuning", order=600)
class Sft:
    """Row length, packing and loss of SFT."""

    max_seq_length: int | None = param(
        None,
        "Maximum row length in tokens.",
        within=LENGTH,
        default_words="--block-size",
        stage="tokens",
        counterparts=("block_size",),
        same_elsewhere=("block_size",),
        on_resume=FIXED,
    )
    packing: bool = param(
        False,
        "Pack several short rows into one of up to the maximum length; attention keeps them apart.",
        aliases="pack packed packing_samples sample_packing",
        on_resume=FIXED,
    )
    batch_tokens: int | None = param(
        None,
        "Tokens of a batch on each process, in place of its rows: batches are packs of at most that many tokens. Implies --packing and --batch-size 1.",
        within=LENGTH,
        default_words="rows are counted",
        counterparts=("batch_size",),
        aliases="max_tokens_per_batch tokens_per_batch max_batch_tokens",
        on_resume=FIXED,
    )
    response_only_loss: bool | None = param(
        None,
        "Train on the answers only, not on the prompts.",
        default_words="on for rows with prompt and answer",
        stage="tokens",
        aliases=(
            "answer_only_loss assistant_only_loss completion_only_loss loss_on_completion mask_prompt "
            "train_on_completions_only train_on_responses_only"
        ),
        on_resume=SAME_ROWS,
    )
    neftune_alpha: float | None = param(
        None,
        "Noise on the embedded tokens while training (NEFTune): alpha / sqrt(tokens of the row x hidden size); 5 to 15 is usual.",
        within=POSITIVE,
        default_words="none",
        search=among(5.0, 10.0, 15.0),
        usual_range=(0.0, 100.0),
        aliases="neftune neftune_noise_alpha noise_alpha noisy_embedding_alpha",
        on_resume=TAKES_EFFECT,
    )


TRAINER = Trainer(
    name="sft",
    near="instruct instruction chat finetune full",
    title="SFT",
    order=20,
    summary="Supervised fine-tuning on instructions and conversations.",
    purpose="Teaches a model to answer: rows are conversations, prompts with answers, or texts, and the answers are trained on.",
    rows="conversations",
    groups=(
        *CORE,
        Streaming,
        PromptColumn,
        ReasoningColumn,
        ChatTemplate,
        EndToken,
        TokenWeights,
        Sft,
        Distillation,
        GeneratedAnswers,
        ComparedAnswers,
    ),
    requires=REQUIRED,
    usual=usual(lr=Usual(2e-5, 2e-4)),
    learning_rates={"full": (1e-7, 3e-4), "lora": (1e-6, 5e-3)},
    recipe="autotrain_llm.run.algorithms.supervised:NextToken",
    settings=("token_weights", "neftune_alpha"),
    trl_adapter="autotrain_llm.run.trl_engine.sft:sft",
    headline=("loss", "token_accuracy"),
    metrics={"loss": "minimize", "perplexity": "minimize", "token_accuracy": "maximize"},
    examples=(
        Example(
            "Instructions, written with a well-known template",
            "--model mistralai/Mistral-7B-v0.1 --data-path ./data/instructions.jsonl --lr 2e-5 --epochs 3 --batch-size 4 --chat-template chatml",
        ),
        Example(
            "A LoRA adapter, scored on its own answers",
            '--model mistralai/Mistral-7B-v0.1 --data-path ./data/instructions.jsonl --lr 2e-4 --epochs 3 --batch-size 8 --peft --lora-r 64 --use-enhanced-eval --eval-metrics \'["bleu", "rouge", "bertscore"]\' --eval-dataset-path ./data/test.jsonl',
        ),
    ),
)
