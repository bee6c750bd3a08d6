"""How a finished model answers prompts: `autotrain llm --inference` and `autotrain chat`."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NO_INFLUENCE, NOT_NEGATIVE, Bounds, group, param


@group("Answers of a finished model (--inference)", order=890, searchable=False, on_resume=NO_INFLUENCE)
class Answering:
    """What a finished model answers, and how. Nothing of it is about training."""

    inference: bool = param(False, "Generate answers to --prompts with --model instead of training.", command=True)
    prompts: str | None = param(
        None,
        "With --inference: a prompt, a file with one prompt or row per line, or `-` for the lines of standard input; a reward model "
        "scores them.",
        metavar="TEXT|FILE|-",
        command=True,
    )
    max_new_tokens: int = param(
        256, "With --inference: maximum number of generated tokens per answer.", within=AT_LEAST_ONE, command=True
    )
    temperature: float = param(
        0.0,
        "Sampling temperature of answers; 0 always gives the most likely token. Training samples with --rl-temperature.",
        within=NOT_NEGATIVE,
        command=True,
        answering=True,
    )
    top_k: int = param(
        0,
        "With --temperature, sample from the k most likely tokens; 0 for all.",
        within=NOT_NEGATIVE,
        command=True,
        answering=True,
    )
    top_p: float = param(
        1.0,
        "With --temperature, sample from the most likely tokens whose probabilities sum to this.",
        within=Bounds(low=0, high=1, low_open=True),
        command=True,
        answering=True,
    )
    system: str | None = param(
        None,
        "System prompt of the conversations that have none.",
        default_words="that of the training, if all its rows had the same",
        command=True,
        answering=True,
    )
    against: str | None = param(
        None,
        "With `autotrain chat`: a second model that answers beside the first; `base` is the one that its training started from.",
        metavar="NAME|DIR|base",
        command=True,
        answering=True,
    )
