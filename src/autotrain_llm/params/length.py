"""How long a row may be. One limit decides; `plan` says which and why."""

from __future__ import annotations

from autotrain_llm.declare.param import Bounds, group, param

LENGTH = Bounds(low=2)


@group("Length", order=60)
class Length:
    """The longest row, in tokens."""

    block_size: int = param(
        1024,
        "Longest row in tokens; for generic, the size of a block.",
        within=LENGTH,
        also=(-1,),
        stage="tokens",
        aliases=(
            "context_length ctx_len cutoff_len max_context_length max_input_length max_len max_length "
            "max_tokens seq_len seq_length sequence_len"
        ),
    )
    model_max_length: int | None = param(
        None,
        "The model's longest input, where its files say otherwise; decides when no other length is given.",
        within=LENGTH,
        stage="tokens",
    )


@group("Lengths of a pair", order=61)
class PairLengths:
    """The longest prompt and answer, in tokens."""

    max_prompt_length: int = param(
        512, "Longest prompt in tokens; a longer one keeps its end.", within=LENGTH, counterparts=("block_size",)
    )
    max_completion_length: int = param(
        1024,
        "Longest answer in tokens; a longer one keeps its start.",
        within=LENGTH,
        counterparts=("rl_max_new_tokens", "block_size"),
    )
