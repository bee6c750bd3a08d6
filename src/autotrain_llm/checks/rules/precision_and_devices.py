"""What the GPUs, the processor and the launcher allow: number formats, attention kernels, processes."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import FIRST_FLASH_GPU, Machine
from autotrain_llm.declare.example import SFT, TWO_PROCESSES, Example, where, without_gpu
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.distributed import DDP, FULL, NONE
from autotrain_llm.params.precision import Precision
from autotrain_llm.planning.sharding import requested_sharding

ROWS = f"{SFT}rows.jsonl"
OWN_FOLDER = " --output-dir runs/mine"
TWO_GPUS, OLD_GPU = "on a machine with two GPUs", "on a machine with a Tesla T4"


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


@rule("E507", example=Example(ROWS, TWO_PROCESSES + ROWS + OWN_FOLDER, on=TWO_GPUS, on_right=TWO_GPUS))
def several_gpus_need_a_launcher(machine: Machine) -> Iterator[Finding]:
    """Several GPUs are visible and only one process was started.

    Why: in a single process, transformers' Trainer would use `nn.DataParallel` on all of them, which is slow and not always correct.
    Fix: start one process for each GPU, or use one GPU.
    """
    if len(machine.gpus) > 1 and machine.processes == 1:
        yield Finding(
            f"{len(machine.gpus)} GPUs are visible, and one process was started",
            fix=f"torchrun --nproc-per-node {len(machine.gpus)} -m autotrain_llm llm …, or CUDA_VISIBLE_DEVICES=0",
            parameters=("distributed_backend",),
        )


@rule("E508", refuses="--shard full", accepts="--shard none")
def sharded_models_are_not_trained_yet(config: Config) -> Iterator[Finding]:
    """`--shard full` or `--distributed-backend fsdp`, which divide the weights among the processes.

    Why: the finished model is saved by the first process, which has a part of the weights only, so that it would be lost after the training, and
    its checkpoints can't be resumed from.
    Fix: `--shard none`, where each GPU holds the whole model and processes share the rows. `--peft`, `--quantization int4`, `--gradient-checkpointing`
    and `--optimizer adamw_bnb_8bit` make a large model fit.
    """
    if requested_sharding(config) == FULL:
        name = "shard" if config.given("shard") else "distributed_backend"
        yield Finding(
            f"{flag_of(name)} {config.value_of(name)} can train a model and not save it: each process has a part of the weights, and the first one saves",
            changes={"shard": NONE} if name == "shard" else {name: DDP},
            otherwise="with --peft, or --peft --quantization int4, if one GPU has too little memory",
            parameters=(name,),
        )


@rule("E509", example=Example(TWO_PROCESSES + ROWS, TWO_PROCESSES + ROWS + OWN_FOLDER))
def several_processes_need_one_output_folder(config: Config, machine: Machine) -> Iterator[Finding]:
    """Several processes were started without `--output-dir`.

    Why: each process would create an output folder of its own.
    Fix: name the folder.
    """
    if machine.processes > 1 and not (config.output_dir or config.resume_from_checkpoint):
        yield Finding(
            f"{machine.processes} processes were started, and they need one --output-dir to share",
            fix="--output-dir runs/<name>",
            parameters=("output_dir",),
        )


@rule("E511", example=Example("RANK=3 " + ROWS, ROWS))
def rank_and_world_size_must_be_those_of_a_launcher(machine: Machine) -> Iterator[Finding]:
    """`WORLD_SIZE` or `RANK` in the environment is not a number, or they contradict each other.

    Why: torchrun sets both for each process that it starts. With values left over from something else, a process waits for others that don't
    exist, or prints nothing because only rank 0 prints.
    Fix: unset them, or start with torchrun.
    """
    values = {name: machine.environment.get(name, "") for name in ("WORLD_SIZE", "RANK")}
    wrong = [name for name, value in values.items() if value and not value.isdecimal()]
    rank = int(values["RANK"]) if values["RANK"].isdecimal() else 0
    if wrong:
        what = f"the environment variable {wrong[0]} is {values[wrong[0]]!r}, and must be a number, as torchrun sets it"
    elif rank >= machine.processes:
        size = values["WORLD_SIZE"]
        limit = f"WORLD_SIZE is {size}: ranks go from 0 to {int(size) - 1}" if size else "WORLD_SIZE is not set"
        what = f"the environment variable RANK is {rank}, but {limit}"
    else:
        return
    yield Finding(what, fix="unset RANK WORLD_SIZE LOCAL_RANK, or start with torchrun", parameters=())
