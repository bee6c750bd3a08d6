"""`--trainer grpo`: group-relative policy optimisation."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, Bounds, exactly, group, nearly, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.evaluation import ComparedAnswers
from autotrain_llm.params.rollouts import RewardSources, SamplingOfAnswers
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.params.updates import PolicyUpdates
from autotrain_llm.trainers.ppo import MEASURED
from autotrain_llm.trainers.shared import CORE, IN_WORDS, REQUIRED, STEP_OF_ANSWERS, usual


@group("Group-relative policy optimisation", order=641, on_resume=FIXED)
class Grpo:
    """Groups of completions and their advantages."""

    rl_num_generations: int = param(
        8,
        "Completions per prompt.",
        within=Bounds(low=2),
        aliases=(
            "group_size n_generations n_samples_per_prompt num_generations num_return_sequences num_samples_per_prompt"
        ),
    )
    rl_advantage: str = param(
        "grpo",
        "Advantage estimator: the score minus its group's mean, divided by the group's standard deviation (grpo) or not (dr_grpo), or minus the mean of the group's other scores (rloo).",
        choices=("grpo", "dr_grpo", "rloo"),
        aliases="adv_estimator advantage_estimator",
        choice_aliases={"grpo": "grpo_vectorized group_norm", "rloo": "rloo_vectorized"},
        meanings={
            "dapo": exactly(),  # TRL's name for the mean over the tokens of a step
            "gae": nearly("ppo is the trainer with a value function", trainer="ppo"),
            "bnpo luspo cispo sapo": nearly(
                "the loss is clipped, and a mean over the tokens of a step", rl_advantage="grpo"
            ),
            "opo gpg grpo_passk gdpo": nearly("the mean of a group is the baseline", rl_advantage="grpo"),
            "remax reinforce reinforce_plus_plus reinforce_plus_plus_baseline reinforce_baseline": nearly(
                "the mean of the group's other answers is the baseline", rl_advantage="rloo"
            ),
        },
    )


TRAINER = Trainer(
    name="grpo",
    title="GRPO",
    order=65,
    summary="Group-relative policy optimisation: compare the rewards of several completions of a prompt, with no value model.",
    purpose=(
        "Samples several completions of each prompt, scores them with a reward function or a reward model, and makes those above their "
        "group's mean more likely."
    ),
    rows="prompts",
    groups=(*CORE, ChatTemplate, RewardSources, SamplingOfAnswers, PolicyUpdates, Grpo, ComparedAnswers),
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
    recipe="autotrain_llm.run.algorithms.rl.recipe:Grpo",
    trl_adapter="autotrain_llm.run.trl_engine.grpo:grpo",
    settings=("rl_clip_range", "rl_entropy_coef"),
    samples=True,
    headline=("reward", "kl"),
    metrics=MEASURED,
    notes=(
        (
            "`--rl-chunk-size` completions, `--rl-num-generations` per prompt, are sampled and scored, which is one rollout, then trained on: "
            "`--rl-mini-batch-size` completions per optimizer step and `--batch-size` per forward pass. `--epochs` counts passes over the prompts."
        ),
        "With `--rl-kl-coef` above 0 the loss includes the KL divergence from the reference model, by the k3 estimator.",
    ),
    examples=(
        Example(
            "Rewards from a function: `def reward(prompts, completions, **columns)` returns a number for each",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/prompts.jsonl --lr 1e-6 --epochs 1 --batch-size 8 --rl-reward-fn ./rewards.py:reward --rl-num-generations 8",
        ),
        Example(
            "A LoRA adapter, from a reward model, held to the model as it was",
            "--model meta-llama/Llama-2-7b-hf --data-path ./data/prompts.jsonl --lr 1e-5 --epochs 1 --batch-size 8 --rl-reward-model-path ./reward_model --rl-kl-coef 0.04 --peft --lora-r 32",
        ),
    ),
)
