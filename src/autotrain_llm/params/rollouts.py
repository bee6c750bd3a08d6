"""Where answers that are learnt from come from, and what scores them."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Bounds, group, param


@group("Rewards", order=645)
class RewardSources:
    """What scores an answer: models, functions, or both."""

    rl_reward_model_path: list[str] | None = param(
        None,
        "Reward model that scores the answers: a finished reward run, a folder or a Hub id; several, separated by commas, add up.",
        metavar="NAME|DIR",
        path="input",
        aliases="reward_model reward_model_dir reward_model_name_or_path reward_model_path rm rm_path",
    )
    rl_reward_fn: list[str] | None = param(
        None,
        "Function that scores the answers, called with keyword arguments prompts, completions and the row's other columns; several add up.",
        metavar="MODULE:FUNCTION|FILE.py:FUNCTION",
        aliases="reward_fn reward_func reward_funcs reward_function",
    )
    rl_reward_weights: list[str] | None = param(
        None,
        "Weight of each reward: those of the models, then those of the functions.",
        metavar="X,Y",
        default_words="1 for each",
        aliases="reward_weights",
    )
    rl_missing_end_penalty: float = param(
        0.0,
        "Taken off the score of an answer that was cut off before it ended.",
        within=NOT_NEGATIVE,
        aliases="missing_eos_penalty non_eos_penalty",
    )


@group("Sampling of answers", order=646)
class SamplingOfAnswers:
    """How answers are drawn."""

    rl_max_new_tokens: int = param(
        128,
        "Longest answer in tokens.",
        within=AT_LEAST_ONE,
        counterparts=("max_completion_length",),
        aliases="generate_max_len max_response_length response_length",
    )
    rl_temperature: float = param(
        1.0, "Temperature of sampling.", within=POSITIVE, suggested=1.0, usual_range=(0.0, 5.0)
    )
    rl_top_k: int = param(0, "Sample among the k likeliest tokens; 0 takes all.", within=NOT_NEGATIVE)
    rl_top_p: float = param(
        1.0, "Sample among the likeliest tokens that make up this share.", within=Bounds(low=0, high=1, low_open=True)
    )
    rl_generation: str = param("native", "What writes the answers.", choices=("native", "vllm"))
