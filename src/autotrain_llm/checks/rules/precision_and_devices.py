"""What the GPUs and the processor allow: number formats, attention kernels, sharded weights."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.context.machine import FIRST_FLASH_GPU, Machine
from autotrain_llm.declare.example import where, without_gpu
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.precision import OFFLOAD, Precision

OLD_GPU = "on a machine with a Tesla T4"


@rule(
    "P326",
    refuses="--use-flash-attention-2 --mixed-precision fp32",
    accepts="--use-flash-attention-2 --mixed-precision bf16",
)
def flash_attention_computes_in_half_precision(precision: Precision) -> Iterator[Finding]:
    """FlashAttention together with fp32.

    Why: its kernels exist for fp16 and bf16 only.
    Fix: bf16.
    """
    if (precision.attn_implementation or "").startswith("flash_attention") and precision.mixed_precision == "fp32":
        yield Finding(
            f"--attn-implementation {precision.attn_implementation} needs fp16 or bf16, and --mixed-precision is fp32",
            changes={"mixed_precision": "bf16"},
            parameters=("attn_implementation", "mixed_precision"),
        )


@rule("E501", example=without_gpu("--mixed-precision fp16", "--mixed-precision fp32"))
def fp16_needs_cuda(precision: Precision, machine: Machine) -> Iterator[Finding]:
    """`--mixed-precision fp16` on a machine without CUDA.

    Why: fp16 needs a loss scaler and kernels that only CUDA has.
    Fix: fp32, or bf16 where the processor supports it.
    """
    if precision.mixed_precision == "fp16" and not machine.has_cuda:
        yield Finding(
            "--mixed-precision fp16 needs a CUDA GPU, and this machine has none",
            changes={"mixed_precision": "bf16" if machine.computes_bf16 else "fp32"},
            parameters=("mixed_precision",),
        )


@rule("E502", example=where(OLD_GPU, "--mixed-precision bf16", "--mixed-precision fp16"))
def bf16_should_be_computed_not_emulated(precision: Precision, machine: Machine) -> Iterator[Finding]:
    """`--mixed-precision bf16` on a device without bf16 instructions.

    Why: an older GPU can't compute in bf16; a processor without the instructions emulates it, several times slower than fp32.
    Fix: fp16 on the GPU, fp32 on the processor.
    """
    if precision.mixed_precision != "bf16" or machine.computes_bf16:
        return
    gpus = ", ".join(sorted({gpu.name for gpu in machine.gpus}))
    yield Finding(
        f"--mixed-precision bf16 is not supported by {gpus}"
        if machine.has_cuda
        else "--mixed-precision bf16 is emulated by this processor, slower than fp32",
        changes={"mixed_precision": "fp16" if machine.has_cuda else "fp32"},
        parameters=("mixed_precision",),
        severity=ERROR if machine.has_cuda else WARNING,
    )


@rule("E537", example=without_gpu("--gradient-checkpointing offload", "--gradient-checkpointing full"))
def inputs_of_layers_move_out_of_a_gpu(precision: Precision, machine: Machine) -> Iterator[Finding]:
    """`--gradient-checkpointing offload` on a machine without CUDA.

    Why: it moves the inputs of layers out of a GPU's memory into main memory, where a processor has them anyway.
    Fix: `full`.
    """
    if precision.gradient_checkpointing == OFFLOAD and not machine.has_cuda:
        yield Finding(
            "--gradient-checkpointing offload needs a CUDA GPU: a processor has the inputs of layers in main memory already",
            changes={"gradient_checkpointing": True},
            parameters=("gradient_checkpointing",),
        )


@rule("E504", example=without_gpu("--use-flash-attention-2", "--attn-implementation sdpa"))
def flash_attention_needs_its_package_and_a_gpu(precision: Precision, machine: Machine) -> Iterator[Finding]:
    """FlashAttention on a machine that can't run its kernels.

    Why: loading the model would fail.
    Fix: sdpa, which needs neither package nor GPU.
    """
    kernel = precision.attn_implementation or ""
    if not kernel.startswith("flash_attention") or kernel not in PARAMS["attn_implementation"].choices:
        return
    package = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}[kernel]
    reasons = []
    if not machine.has_cuda:
        reasons.append("a CUDA GPU (this machine has none)")
    elif any(gpu.capability < FIRST_FLASH_GPU for gpu in machine.gpus):
        reasons.append(f"a newer GPU than {machine.gpus[0].name}")
    if not machine.has_package(package):
        reasons.append(f"the package {package.replace('_', '-')} (not installed)")
    if reasons:
        flag = "--use-flash-attention-2" if kernel.endswith("2") else f"--attn-implementation {kernel}"
        yield Finding(
            f"{flag} needs {' and '.join(reasons)}",
            changes={"attn_implementation": "sdpa"},
            parameters=("attn_implementation",),
        )
