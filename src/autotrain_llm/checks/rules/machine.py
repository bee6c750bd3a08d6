"""What the machine and the packages on it allow."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import FIRST_FLASH_GPU, Machine
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule


@rule("E501")
def fp16_needs_cuda(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--mixed-precision fp16` on a machine without CUDA.

    Why: half precision needs a loss scaler and kernels that only CUDA has.
    Fix: fp32, or bf16 where the processor computes in it.
    """
    if config.mixed_precision == "fp16" and not machine.has_cuda:
        yield Finding(
            "--mixed-precision fp16 needs a CUDA GPU, and this machine has none",
            changes={"mixed_precision": "bf16" if machine.computes_bf16 else "fp32"},
            parameters=("mixed_precision",),
        )


@rule("E502")
def bf16_should_be_computed_not_emulated(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--mixed-precision bf16` where the device does not compute in it.

    Why: an older GPU can't at all; a processor without the instructions emulates it, several times slower than fp32.
    Fix: fp16 on the GPU, fp32 on the processor.
    """
    if config.mixed_precision != "bf16" or machine.computes_bf16:
        return
    if machine.has_cuda:
        old = ", ".join(sorted({gpu.name for gpu in machine.gpus}))
        yield Finding(
            f"--mixed-precision bf16 is not supported by {old}",
            changes={"mixed_precision": "fp16"},
            parameters=("mixed_precision",),
        )
    else:
        yield Finding(
            "--mixed-precision bf16 is emulated by this processor, slower than fp32",
            changes={"mixed_precision": "fp32"},
            parameters=("mixed_precision",),
            severity=WARNING,
        )


@rule("E503")
def quantization_needs_cuda_and_bitsandbytes(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--quantization` or an 8-bit optimizer without CUDA or without bitsandbytes.

    Why: the kernels are that package's, and exist for CUDA.
    Fix: install it, or go without.
    """
    wanted = [
        f"--{name} {value}"
        for name, value in (("quantization", config.quantization), ("optimizer", config.optimizer))
        if value in PARAMS[name].choices and (name == "quantization" or str(value).endswith("8bit"))
    ]
    for flag in wanted:
        name = flag.split()[0].removeprefix("--")
        if not machine.has_cuda:
            yield Finding(
                f"{flag} needs a CUDA GPU, and this machine has none", changes={name: None}, parameters=(name,)
            )
        if not machine.has_package("bitsandbytes"):
            yield Finding(
                f"{flag} needs the package bitsandbytes", fix='pip install "autotrain-llm[gpu]"', parameters=(name,)
            )


@rule("E504")
def flash_attention_needs_its_package_and_a_gpu(config: Config, machine: Machine) -> Iterator[Finding]:
    """FlashAttention on a machine that has no kernel for it.

    Why: loading the model would fail after it was read.
    Fix: sdpa, which needs nothing.
    """
    kernel = config.attn_implementation or ""
    if not kernel.startswith("flash_attention") or kernel not in PARAMS["attn_implementation"].choices:
        return
    package = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}[kernel]
    reasons = []
    if not machine.has_cuda:
        reasons.append("a CUDA GPU, and this machine has none")
    elif any(gpu.capability < FIRST_FLASH_GPU for gpu in machine.gpus):
        reasons.append(f"a newer GPU than {machine.gpus[0].name}")
    if not machine.has_package(package):
        reasons.append(f"the package {package.replace('_', '-')}, which is not installed")
    if reasons:
        flag = "--use-flash-attention-2" if kernel.endswith("2") else f"--attn-implementation {kernel}"
        yield Finding(
            f"{flag} needs {' and '.join(reasons)}",
            changes={"attn_implementation": "sdpa"},
            parameters=("attn_implementation",),
        )


@rule("E505")
def a_tracker_must_be_installed(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--log` names a tracker whose package is missing.

    Why: the log would go nowhere.
    Fix: install it.
    """
    for name in config.log:
        if name in ("tensorboard", "wandb", "trackio") and not machine.has_package(name):
            yield Finding(
                f"--log {name} needs the package {name}",
                fix=f'pip install "autotrain-llm[{name}]"',
                parameters=("log",),
            )


@rule("E506")
def uploading_needs_a_token(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--push-to-hub` without a token.

    Why: the upload would fail when the training is over.
    Fix: set HF_TOKEN, or log in.
    """
    if not config.push_to_hub:
        return
    if config.offline:
        yield Finding(
            "--push-to-hub uploads and --offline forbids it",
            changes={"offline": None},
            parameters=("push_to_hub", "offline"),
        )
    if not (config.token or machine.hub_token):
        yield Finding(
            "--push-to-hub needs a token, and there is none in HF_TOKEN, in --token or from a login",
            fix="export HF_TOKEN=…, or hf auth login",
            parameters=("push_to_hub", "token"),
        )


@rule("E507")
def several_gpus_need_a_launcher(config: Config, machine: Machine) -> Iterator[Finding]:
    """More than one GPU is visible and one process was started.

    Why: one process uses several GPUs slowly and not always correctly.
    Fix: one process for each, or one GPU.
    """
    if len(machine.gpus) > 1 and machine.processes == 1:
        yield Finding(
            f"{len(machine.gpus)} GPUs are visible and one process was started",
            fix=f"torchrun --nproc-per-node {len(machine.gpus)} -m autotrain_llm llm …, or CUDA_VISIBLE_DEVICES=0",
            parameters=("distributed_backend",),
        )


@rule("E508")
def sharding_needs_several_processes(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--distributed-backend fsdp` in a single process, or without CUDA.

    Why: there is nothing to shard between; on processors accelerate skips it silently.
    Fix: start several processes on GPUs, or leave it out.
    """
    if config.distributed_backend != "fsdp":
        return
    if machine.processes == 1 or not machine.has_cuda:
        yield Finding(
            "--distributed-backend fsdp shards a model between processes on CUDA GPUs, and there "
            + ("is one process" if machine.processes == 1 else "are no GPUs"),
            fix="torchrun --nproc-per-node <GPUs> -m autotrain_llm llm …, or remove --distributed-backend",
            parameters=("distributed_backend",),
        )


@rule("E509")
def several_processes_need_one_output_folder(config: Config, machine: Machine) -> Iterator[Finding]:
    """Several processes were started and `--output-dir` names no folder.

    Why: each process would number a folder of its own.
    Fix: name the folder.
    """
    if machine.processes > 1 and not (config.output_dir or config.resume_from_checkpoint):
        yield Finding(
            f"{machine.processes} processes were started, and --output-dir names no folder for them to share",
            fix="--output-dir runs/<name>",
            parameters=("output_dir",),
        )


@rule("E511")
def what_a_launcher_says_are_numbers_that_fit(config: Config, machine: Machine) -> Iterator[Finding]:
    """`WORLD_SIZE` or `RANK` in the environment is no number, or the one contradicts the other.

    Why: torchrun sets both, for each process it starts; where they are left from something else, a process waits for others that don't come,
    or keeps quiet because it takes itself for one of many.
    Fix: unset them, or start with torchrun.
    """
    said = {name: machine.environment.get(name, "") for name in ("WORLD_SIZE", "RANK")}
    wrong = [name for name, value in said.items() if value and not value.isdecimal()]
    rank = int(said["RANK"]) if said["RANK"].isdecimal() else 0
    if wrong:
        what = f"the environment variable {wrong[0]} is {said[wrong[0]]!r}, and torchrun sets it to a number"
    elif rank >= machine.processes:
        what = f"the environment variable RANK is {rank}, and WORLD_SIZE is {said['WORLD_SIZE'] or 'not set'}: that process would be none"
    else:
        return
    yield Finding(what, fix="unset RANK WORLD_SIZE LOCAL_RANK, or start with torchrun", parameters=())
