"""How a policy learns from its own scored answers."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, group, linear, log, param


@group("Learning from sampled answers", order=642)
class PolicyUpdates:
    """Answers are sampled and scored, then learnt from in steps; that is a phase."""

    rl_kl_coef: float = param(
        0.2,
        "Price of moving away from the model as it was, per token.",
        within=NOT_NEGATIVE,
        search=log(0.01, 0.5),
        counterparts=("dpo_beta", "kto_beta"),
        aliases="init_kl_coef kl_coef kl_coefficient kl_penalty",
    )
    rl_target_kl: float | None = param(
        None,
        "Move --rl-kl-coef after each phase so that an answer's divergence from the model as it was comes to this, in nats.",
        within=POSITIVE,
        default_words="--rl-kl-coef stays",
    )
    rl_clip_range: float = param(
        0.2,
        "How far one update may move a token's probability ratio.",
        within=POSITIVE,
        search=linear(0.1, 0.3),
        aliases="clip_eps clip_range cliprange epsilon",
    )
    rl_entropy_coef: float = param(
        0.0, "Weight of the entropy, which is taken off the loss.", within=NOT_NEGATIVE, usual_range=(0.0, 1.0)
    )
    rl_num_ppo_epochs: int = param(
        4,
        "Passes over each set of samples.",
        within=AT_LEAST_ONE,
        counterparts=("epochs",),
        aliases="num_iterations num_ppo_epochs ppo_epochs",
    )
    rl_chunk_size: int = param(
        128,
        "Answers sampled before each update phase.",
        within=AT_LEAST_ONE,
        aliases="generation_batch_size rollout_batch_size",
    )
    rl_mini_batch_size: int = param(
        32,
        "Answers per optimizer step.",
        within=AT_LEAST_ONE,
        counterparts=("batch_size",),
        aliases="mini_batch_size ppo_mini_batch_size",
    )
    rl_stop_kl: float | None = param(
        None,
        "Sample anew once a step finds the policy this far from the one that wrote the answers, in nats per token.",
        within=POSITIVE,
        default_words="never before all passes are done",
    )
