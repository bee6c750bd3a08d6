"""`--trainer ppo`: proximal policy optimisation against a reward model."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, Bounds, group, linear, log, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Proximal policy optimisation", order=640)
class Ppo:
    """How answers are sampled, scored and learnt from."""

    rl_reward_model_path: str | None = param(
        None, "Reward model that scores the answers: a finished reward run, a folder or a Hub id.", metavar="NAME|DIR"
    )
    rl_gamma: float = param(0.99, "Discount of later rewards.", within=Bounds(low=0, high=1, low_open=True))
    rl_gae_lambda: float = param(0.95, "Lambda of generalised advantage estimation.", within=SHARE)
    rl_kl_coef: float = param(
        0.2, "Price of moving away from the reference, per token.", within=NOT_NEGATIVE, search=log(0.01, 0.5)
    )
    rl_value_loss_coef: float = param(0.5, "Weight of the value head's loss.", within=NOT_NEGATIVE)
    rl_clip_range: float = param(
        0.2, "How far one update may move a token's probability ratio.", within=POSITIVE, search=linear(0.1, 0.3)
    )
    rl_num_ppo_epochs: int = param(4, "Passes over each set of samples.", within=AT_LEAST_ONE)
    rl_chunk_size: int = param(128, "Answers sampled before each update phase.", within=AT_LEAST_ONE)
    rl_mini_batch_size: int = param(32, "Answers per optimizer step.", within=AT_LEAST_ONE)
    rl_max_new_tokens: int = param(128, "Longest answer in tokens.", within=AT_LEAST_ONE)
    rl_temperature: float = param(1.0, "Temperature of sampling.", within=POSITIVE)
    rl_top_k: int = param(0, "Sample among the k likeliest tokens; 0 takes all.", within=NOT_NEGATIVE)
    rl_top_p: float = param(
        1.0, "Sample among the likeliest tokens that make up this share.", within=Bounds(low=0, high=1, low_open=True)
    )


TRAINER = Trainer(
    name="ppo",
    title="PPO",
    order=60,
    summary="Proximal policy optimisation: learn from a reward model's scores of the model's own answers.",
    purpose="Samples answers, scores them with a reward model, and moves the model toward what scored well.",
    rows="prompts",
    groups=(*CORE, ChatTemplate, Ppo),
    requires=(*REQUIRED, "rl_reward_model_path"),
    usual=usual(
        lr=Usual(1e-6, 1e-5),
        epochs=Usual(1, 1),
        batch_size=Usual(4, 8),
        data_path=Usual("./data/prompts.jsonl", "./data/prompts.jsonl"),
        rl_reward_model_path=Usual("./reward_model", "./reward_model"),
    ),
    learning_rates={"full": (1e-8, 1e-4), "lora": (1e-7, 1e-3)},
    examples=(
        Example(
            "First the reward model",
            "--model bert-base-uncased --data-path ./data/preferences.jsonl --lr 2e-5 --epochs 3 --batch-size 16 --output-dir ./reward_model",
            trainer="reward",
        ),
        Example(
            "Then the policy",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/prompts.jsonl --lr 1e-5 --epochs 1 --batch-size 4 --rl-reward-model-path ./reward_model --rl-gamma 0.99 --rl-kl-coef 0.2",
        ),
        Example(
            "The policy with LoRA",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/prompts.jsonl --lr 1e-5 --epochs 1 --batch-size 8 --rl-reward-model-path ./reward_model --rl-gamma 0.99 --rl-kl-coef 0.1 --rl-num-ppo-epochs 4 --peft --lora-r 32",
        ),
    ),
)
