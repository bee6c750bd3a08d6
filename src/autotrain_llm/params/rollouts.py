"""Where the answers that a policy is trained on come from, and what scores them."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, FIXED, NOT_NEGATIVE, POSITIVE, Bounds, group, nearly, param


@group("Rewards", order=645, on_resume=FIXED)
class RewardSources:
    """Reward models and reward functions that score completions."""

    rl_reward_model_path: list[str] | None = param(
        None,
        "Reward model that scores completions: a finished reward run, a folder or a Hub id; several, separated by commas, are summed.",
        metavar="NAME|DIR",
        path="input",
        aliases="reward_model reward_model_dir reward_model_name_or_path reward_model_path reward_pretrain rm rm_path",
    )
    rl_reward_fn: list[str] | None = param(
        None,
        "Reward function, called with keyword arguments prompts, completions and the row's other columns; several are summed.",
        metavar="MODULE:FUNCTION|FILE.py:FUNCTION",
        form=r".+:\w+",
        aliases="reward_fn reward_func reward_funcs reward_function",
    )
    rl_reward_weights: list[str] | None = param(
        None,
        "Weight of each reward: models first, then functions; or by name, also of a model's outputs.",
        metavar="X,Y|NAME=X",
        default_words="1 for each",
        aliases="reward_weights",
    )
    rl_missing_end_penalty: float = param(
        0.0,
        "Penalty subtracted from the score of a completion that was cut off before its end token.",
        within=NOT_NEGATIVE,
        aliases="missing_eos_penalty",
    )


@group("Sampling of answers", order=646, on_resume=FIXED)
class SamplingOfAnswers:
    """How completions are sampled."""

    rl_max_new_tokens: int = param(
        128,
        "Maximum number of generated tokens per completion.",
        within=AT_LEAST_ONE,
        counterparts=("max_completion_length",),
        aliases="generate_max_len max_generated_tokens max_response_length response_length",
    )
    rl_temperature: float = param(1.0, "Sampling temperature.", within=POSITIVE, suggested=1.0, usual_range=(0.0, 5.0))
    rl_top_k: int = param(0, "Sample from the k most likely tokens; 0 for all.", within=NOT_NEGATIVE)
    rl_top_p: float = param(
        1.0,
        "Sample from the most likely tokens whose probabilities sum to this.",
        within=Bounds(low=0, high=1, low_open=True),
    )
    rl_generation: str = param(
        "native",
        "Engine that generates completions.",
        choices=("native", "vllm"),
        choice_aliases={"native": "hf huggingface transformers pt"},
        meanings={"sglang lmdeploy trtllm": nearly("vLLM is the other engine", rl_generation="vllm")},
    )
