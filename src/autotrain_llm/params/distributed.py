"""How several processes train one model together."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, TAKES_EFFECT, exactly, group, nearly, param

DDP, FSDP = "ddp", "fsdp"
AUTO, NONE, FULL, HYBRID = "auto", "none", "full", "hybrid"
PARAMETERS = "parameters"


@group("Several processes", order=55, searchable=False)
class Distributed:
    """How the processes that torchrun starts share the work and the weights."""

    shard: str = param(
        AUTO,
        "What the processes divide besides the rows: `full` weights, gradients and optimizer states (FSDP2), `hybrid` the same among those of one machine, so that each machine holds a copy; `none` nothing: each process holds a copy; `auto` is full where a copy would not fit into a GPU.",
        choices=(AUTO, NONE, FULL, HYBRID),
        aliases="fsdp enable_fsdp use_fsdp sharding sharding_strategy fsdp_sharding_strategy",
        choice_aliases={
            FULL: "true full_shard fsdp fsdp2 zero3",
            HYBRID: "hybrid_shard hsdp",
            NONE: "false no_shard no ddp",
        },
        meanings={
            "shard_grad_op zero2 zero1": nearly("the weights are divided too", shard=FULL),
            "hybrid_shard_zero2": nearly("the weights are divided too", shard=HYBRID),
            "offload": exactly(shard=FULL, offload=PARAMETERS),
        },
        on_resume=TAKES_EFFECT,
    )
    offload: str = param(
        NONE,
        "What the processes of a divided model (--shard) keep in main memory in place of the GPUs: `parameters` their parts of weights, gradients and optimizer states, which the processor updates; `none` nothing.",
        choices=(NONE, PARAMETERS),
        aliases="cpu_offload fsdp_cpu_offload fsdp_offload_params offload_params param_offload",
        choice_aliases={PARAMETERS: "true cpu params param", NONE: "false no"},
        meanings={
            "optimizer": nearly("weights and gradients move with the optimizer's states", offload=PARAMETERS),
        },
        on_resume=TAKES_EFFECT,
    )
    distributed_backend: str = param(
        DDP,
        "Another way to say it, for those who know the libraries: fsdp is --shard full, and ddp is --shard none.",
        choices=(DDP, FSDP),
        default_words="fsdp where --shard divides the weights, else ddp",
        meanings={
            "nccl gloo mpi": nearly("how processes talk follows from the device", distributed_backend=DDP),
            "deepspeed": nearly("FSDP2 divides the weights, as ZeRO-3 does", distributed_backend=FSDP),
        },
        on_resume=TAKES_EFFECT,
    )
    context_parallel: int = param(
        1,
        "How many processes divide the tokens of each batch, for rows whose activations don't fit into one GPU's memory.",
        within=AT_LEAST_ONE,
        aliases=(
            "context_parallel_degree context_parallel_size cp_size ring_attn_size sequence_parallel_degree "
            "sequence_parallel_size sp_size ulysses_sequence_parallel_size"
        ),
        on_resume=TAKES_EFFECT,
    )
