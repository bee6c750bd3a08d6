"""`--trainer ppo`: proximal policy optimisation against a reward model."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, NOT_NEGATIVE, POSITIVE, SHARE, Bounds, group, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.evaluation import ComparedAnswers
from autotrain_llm.params.rollouts import RewardSources, SamplingOfAnswers
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.params.updates import PolicyUpdates
from autotrain_llm.trainers.shared import CORE, IN_WORDS, REQUIRED, STEP_OF_ANSWERS, usual

# What values come from.
SHARED, SEPARATE, OF_REWARD, CORRECTED = "shared", "separate", "reward", "corrected"

# What trainers that sample report of the prompts that were held out; the divergence if there is a reference model.
MEASURED = {
    "reward": "maximize",
    "completions/mean_length": "minimize",
    "completions/finished": "maximize",
    "entropy": "maximize",
    "kl": "minimize",
    "objective/kl": "minimize",
}


@group("Proximal policy optimisation", order=640, on_resume=FIXED)
class Ppo:
    """Advantages and the value function of PPO."""

    rl_gamma: float = param(
        0.99, "Discount factor of later rewards.", within=Bounds(low=0, high=1, low_open=True), aliases="gamma"
    )
    rl_gae_lambda: float = param(
        0.95, "Lambda of generalised advantage estimation.", within=SHARE, aliases="lambd gae_lambda lam"
    )
    rl_value_loss_coef: float = param(
        0.5,
        "Weight of the value head's loss.",
        within=NOT_NEGATIVE,
        usual_range=(0.0, 10.0),
        aliases="value_loss_coef vf_coef",
    )
    rl_value_clip_range: float = param(
        0.2,
        "Clip range of the value function around its predictions at sampling time.",
        within=POSITIVE,
        aliases="cliprange_value value_clip value_clip_range",
    )
    rl_value_model: str | None = param(
        None,
        "Value function: a head on the policy's last layer (shared), a copy of the model with a head (separate), the reward model, trained "
        "further (reward), or the frozen reward model corrected by a head on the policy's last layer (corrected).",
        choices=(SHARED, SEPARATE, OF_REWARD, CORRECTED),
        default_words="corrected if the reward model is a decoder with the policy's tokenizer, else shared",
    )


TRAINER = Trainer(
    name="ppo",
    near="rlhf rl",
    title="PPO",
    order=60,
    summary="Proximal policy optimisation: train a policy on a reward model's scores of its own completions.",
    purpose="Samples completions, scores them with a reward model, and updates the policy with a clipped objective and a value function.",
    rows="prompts",
    groups=(*CORE, ChatTemplate, RewardSources, SamplingOfAnswers, PolicyUpdates, Ppo, ComparedAnswers),
    requires=(*REQUIRED, "rl_reward_model_path|rl_reward_fn"),
    usual=usual(
        lr=Usual(1e-6, 1e-5),
        epochs=Usual(1, 1),
        batch_size=Usual(4, 8),
    ),
    defaults={"sweep_metric": "eval_reward", "lora_dropout": 0.0, **STEP_OF_ANSWERS},
    default_words=IN_WORDS,
    learning_rates={"full": (1e-8, 1e-4), "lora": (1e-7, 1e-3)},
    recipe="autotrain_llm.run.algorithms.rl.recipe:Ppo",
    settings=("rl_clip_range", "rl_value_clip_range", "rl_value_loss_coef", "rl_entropy_coef"),
    samples=True,
    headline=("reward", "kl"),
    metrics=MEASURED,
    notes=(
        (
            "`--rl-chunk-size` completions are sampled and scored, which is one rollout, then trained on for `--rl-num-ppo-epochs` passes: `--rl-mini-batch-size` "
            "completions per optimizer step and `--batch-size` per forward pass. `--epochs` counts passes over the prompts."
        ),
        (
            "With `--rl-value-model reward` or `corrected`, the value of a token starts as the reward model's score of the completion up to it, so that "
            "each token has its own advantage from the first update on; the reward model has to be a decoder with the policy's tokenizer. `reward` "
            "trains a copy of it, with `--peft` through an adapter of its own. `corrected` trains only the value head, as `shared` does: the reward "
            "model's prefix score is weighted by w in [0, 1], the least-squares slope of the returns on that score (`reward_value_weight` in the "
            "metrics)."
        ),
    ),
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
