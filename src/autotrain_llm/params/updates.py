"""How a policy learns from its own scored answers."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, FIXED, NOT_NEGATIVE, POSITIVE, group, linear, log, param


@group("Learning from sampled answers", order=642, on_resume=FIXED)
class PolicyUpdates:
    """Each rollout samples and scores completions, then trains on them in several steps."""

    rl_kl_coef: float = param(
        0.2,
        "KL coefficient: weight of the KL divergence from the reference model, per token.",
        within=NOT_NEGATIVE,
        search=log(0.01, 0.5),
        counterparts=("dpo_beta", "kto_beta"),
        aliases="init_kl_coef kl_coef kl_coeff kl_coefficient kl_loss_coef",
    )
    rl_kl_target: float | None = param(
        None,
        "Adapt --rl-kl-coef after each rollout so that the KL divergence of a completion from the reference model approaches this, in nats.",
        within=POSITIVE,
        default_words="--rl-kl-coef is constant",
        aliases="kl_target ppo_target",
    )
    rl_clip_range: float = param(
        0.2,
        "Clip range of the probability ratio of a token between the updated policy and the one that sampled it.",
        within=POSITIVE,
        search=linear(0.1, 0.3),
        aliases="clip_eps clip_range clip_ratio cliprange eps_clip epsilon",
    )
    rl_entropy_coef: float = param(
        0.0,
        "Entropy coefficient: weight of the policy's entropy, which is subtracted from the loss.",
        within=NOT_NEGATIVE,
        usual_range=(0.0, 1.0),
        aliases="ent_coef entropy_coef entropy_coeff entropy_loss_coef",
    )
    rl_num_ppo_epochs: int = param(
        4,
        "Passes over each rollout.",
        within=AT_LEAST_ONE,
        counterparts=("epochs",),
        aliases="num_iterations num_ppo_epochs ppo_epochs",
    )
    rl_chunk_size: int = param(
        128,
        "Completions per rollout.",
        within=AT_LEAST_ONE,
        aliases="generation_batch_size",
    )
    rl_mini_batch_size: int = param(
        32,
        "Completions per optimizer step.",
        within=AT_LEAST_ONE,
        counterparts=("batch_size",),
        aliases="mini_batch_size",
    )
    rl_target_kl: float | None = param(
        None,
        "End a rollout's updates once the KL divergence from the policy that sampled it reaches this, in nats per token.",
        within=POSITIVE,
        default_words="never",
        aliases="rl_stop_kl target_kl",
    )
