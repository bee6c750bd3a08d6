"""How long a row may be. One limit decides; `plan` says which and why."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, Bounds, group, param

LENGTH = Bounds(low=2)


@group("Length", order=60)
class Length:
    """Maximum row length in tokens."""

    block_size: int = param(
        1024,
        "Maximum row length in tokens; for generic, the size of a block.",
        within=LENGTH,
        also=(-1,),
        stage="tokens",
        aliases=(
            "context_length ctx_len cutoff_len max_context_length max_input_length max_len max_length "
            "seq_len seq_length sequence_len"
        ),
        on_resume=FIXED,
    )
    model_max_length: int | None = param(
        None,
        "Context length of the model, where its files are wrong; also the maximum row length if no other is given.",
        within=LENGTH,
        stage="tokens",
        on_resume=FIXED,
    )


@group("Lengths of a pair", order=61)
class PairLengths:
    """Maximum lengths of prompt and completion in tokens."""

    max_prompt_length: int = param(
        512,
        "Maximum prompt length in tokens; a longer prompt keeps its end.",
        within=LENGTH,
        counterparts=("block_size",),
        on_resume=FIXED,
    )
    max_completion_length: int = param(
        1024,
        "Maximum completion length in tokens; a longer completion keeps its start.",
        within=LENGTH,
        counterparts=("rl_max_new_tokens", "block_size"),
        same_elsewhere=("rl_max_new_tokens",),
        on_resume=FIXED,
    )
