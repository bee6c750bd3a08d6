"""`--trainer spo`: single-stream policy optimisation."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, FIXED, NOT_NEGATIVE, POSITIVE, Bounds, group, log, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.evaluation import ComparedAnswers
from autotrain_llm.params.rollouts import RewardSources, SamplingOfAnswers
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.params.updates import PolicyUpdates
from autotrain_llm.trainers.ppo import MEASURED
from autotrain_llm.trainers.shared import CORE, IN_WORDS, REQUIRED, STEP_OF_ANSWERS, usual

RETENTION = Bounds(low=0, high=1, high_open=True)


@group("Single-stream policy optimisation", order=643, on_resume=FIXED)
class Spo:
    """One answer to each prompt is compared with the prompt's tracked value."""

    spo_half_life: float = param(
        0.06,
        "KL divergence of the policy, in nats per token, after which earlier rewards of a prompt count half.",
        within=POSITIVE,
        search=log(0.01, 0.5),
    )
    spo_rho_min: float = param(
        0.875, "Smallest share of a prompt's earlier rewards that is kept at each new one.", within=RETENTION
    )
    spo_rho_max: float = param(
        0.96, "Largest share of a prompt's earlier rewards that is kept at each new one.", within=RETENTION
    )
    spo_first_answers: int = param(
        8, "Completions sampled per prompt before training, which give its first value.", within=AT_LEAST_ONE
    )
    spo_exploration: float = param(
        0.05,
        "Added to the standard deviation of a prompt's reward to give the weight it is drawn with.",
        within=NOT_NEGATIVE,
    )


TRAINER = Trainer(
    name="spo",
    title="SPO",
    order=66,
    summary="Single-stream policy optimisation: one answer to each prompt, compared with a value that is tracked for each prompt.",
    purpose="Samples one answer to each prompt, scores it, and moves the model toward answers that scored above what their prompt was "
    "expected to bring. Prompts whose reward is uncertain are drawn more often.",
    rows="prompts",
    groups=(*CORE, ChatTemplate, RewardSources, SamplingOfAnswers, PolicyUpdates, Spo, ComparedAnswers),
    requires=(*REQUIRED, "rl_reward_model_path|rl_reward_fn"),
    usual=usual(
        lr=Usual(1e-6, 1e-5),
        epochs=Usual(1, 1),
        batch_size=Usual(8, 8),
    ),
    defaults={
        "rl_kl_coef": 0.0,
        "rl_num_ppo_epochs": 1,
        "rl_chunk_size": 64,
        "rl_mini_batch_size": 64,
        "sweep_metric": "eval_reward",
        "lora_dropout": 0.0,
        **STEP_OF_ANSWERS,
    },
    default_words=IN_WORDS,
    learning_rates={"full": (1e-8, 1e-4), "lora": (1e-7, 1e-3)},
    recipe="autotrain_llm.run.algorithms.rl.recipe:Spo",
    settings=(
        "rl_clip_range",
        "rl_entropy_coef",
        "spo_half_life",
        "spo_rho_min",
        "spo_rho_max",
        "spo_first_answers",
        "spo_exploration",
    ),
    samples=True,
    headline=("reward", "kl"),
    metrics=MEASURED,
    notes=(
        "`--rl-chunk-size` prompts are drawn, answered once each and scored, then trained on, `--rl-mini-batch-size` answers to an "
        "optimizer step and `--batch-size` to a forward pass. An epoch draws as many prompts as there are; which ones depends on their "
        "tracked values.",
        "A prompt's value is the mean of its earlier rewards, of which a share of 2^(-D / half-life), within `--spo-rho-min` and "
        "`--spo-rho-max`, is kept at each new one; D is how far the policy has moved since it last answered the prompt. Before the first "
        "step every prompt is answered `--spo-first-answers` times. Rewards of 0 and 1 make it the Beta posterior of the paper "
        "(arXiv:2509.13232); rewards on any other scale work too.",
    ),
    examples=(
        Example(
            "Rewards of 0 and 1 from a function",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/prompts.jsonl --lr 1e-6 --epochs 4 --batch-size 8 --rl-reward-fn ./rewards.py:reward",
        ),
        Example(
            "A LoRA adapter, from a reward model, with fewer first answers",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/prompts.jsonl --lr 1e-5 --epochs 4 --batch-size 8 --rl-reward-model-path ./reward_model --spo-first-answers 4 --peft --lora-r 32",
        ),
    ),
)
