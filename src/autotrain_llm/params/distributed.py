"""How several processes train one model together."""

from __future__ import annotations

from autotrain_llm.declare.param import TAKES_EFFECT, group, param

DDP, FSDP = "ddp", "fsdp"
AUTO, NONE, FULL = "auto", "none", "full"


@group("Several processes", order=55, searchable=False)
class Distributed:
    """How the processes that torchrun starts share the work and the weights."""

    shard: str = param(
        AUTO,
        "What the processes divide besides the rows: `full` weights, gradients and optimizer states (FSDP2), `none` nothing: each holds a copy; `auto` is full where a copy would not fit into a GPU.",
        choices=(AUTO, NONE, FULL),
        aliases="fsdp enable_fsdp use_fsdp sharding sharding_strategy fsdp_sharding_strategy",
        choice_aliases={
            FULL: "true full_shard fsdp fsdp2 zero3",
            NONE: "false no_shard no ddp",
        },
        on_resume=TAKES_EFFECT,
    )
    distributed_backend: str = param(
        DDP,
        "The library that does it: fsdp alone means --shard full, ddp alone --shard none.",
        choices=(DDP, FSDP),
        default_words="fsdp where --shard divides the weights, else ddp",
        near_choices={DDP: "nccl gloo"},
        on_resume=TAKES_EFFECT,
    )
