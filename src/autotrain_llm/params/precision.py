"""What the numbers are computed in and how the work is spread over the machine."""

from __future__ import annotations

from autotrain_llm.declare.param import group, param


@group("Precision, memory and devices", order=50)
class Precision:
    """What the run computes in, and on what."""

    mixed_precision: str | None = param(
        None,
        "What the model computes in.",
        choices=("fp16", "bf16", "fp32"),
        default_words="bf16 where the machine computes in it, else fp32",
        used_by_inference=True,
    )
    gradient_checkpointing: bool | None = param(
        None,
        "Compute activations twice to hold fewer of them.",
        default_words="only where memory is short",
    )
    target_memory: str | None = param(
        None,
        "Plan for a device with so much memory (`24GiB`, `cpu:16GiB`): with --dry-run a GPU that isn't here, else a limit for the one that is.",
        metavar="SIZE",
        default_words="this machine's",
        searchable=False,
    )
    quantization: str | None = param(
        None, "Load the frozen base in 4 or 8 bits (CUDA, with --peft).", choices=("int4", "int8"), default_words="none"
    )
    attn_implementation: str | None = param(
        None,
        "Attention kernel.",
        choices=("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"),
        default_words="the model's fastest that is there",
        used_by_inference=True,
    )
    distributed_backend: str = param(
        "ddp", "How several processes (torchrun) share the work.", choices=("ddp", "fsdp"), searchable=False
    )
