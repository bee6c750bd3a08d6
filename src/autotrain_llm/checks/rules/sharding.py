"""What a model that is divided among processes needs, and what it can't be combined with."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import SFT, TWO_PROCESSES, Example, without_gpu
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.distributed import DDP, FULL, HYBRID, NONE, PARAMETERS
from autotrain_llm.planning.sharding import is_divided, meant_by, obstacles, source_of_sharding

TWO_GPUS = "on a machine with two GPUs"
OWN_FOLDER = " --output-dir runs/mine"


def _given(config: Config) -> str:
    """What was typed for a divided model."""
    name = source_of_sharding(config)
    return f"{flag_of(name)} {config.value_of(name)}"


def _copies(config: Config) -> dict[str, str]:
    """The value with which each process has a copy of the model."""
    name = source_of_sharding(config)
    return {"shard": NONE} if name == "shard" else {name: DDP}


@rule("E508", example=without_gpu("--shard full", "--shard none"))
def a_model_is_divided_among_gpus_only(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--shard full`, `--shard hybrid` or `--distributed-backend fsdp` on a machine without CUDA.

    Why: accelerate, which divides the model, does so among GPUs only; on processors it would keep a copy in each process and not say so.
    Fix: `--shard none`, where each process holds the whole model and processes share the rows.
    """
    if is_divided(config) and not machine.has_cuda:
        yield Finding(
            f"{_given(config)} divides a model among CUDA GPUs, and this machine has none",
            changes=_copies(config),
            parameters=(source_of_sharding(config),),
        )


@rule("E523", example=without_gpu("--offload parameters", "--offload none"))
def parts_move_out_of_a_gpu(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--offload parameters` on a machine without CUDA.

    Why: it moves weights, gradients and optimizer states out of a GPU's memory into main memory, where a processor has them anyway.
    Fix: `--offload none`.
    """
    if config.offload == PARAMETERS and not machine.has_cuda:
        yield Finding(
            "--offload parameters needs CUDA GPUs: a processor has the weights in main memory already",
            changes={"offload": NONE},
            parameters=("offload",),
        )


@rule(
    "E524",
    example=Example(
        f"{TWO_PROCESSES}{SFT}rows.jsonl --offload parameters{OWN_FOLDER}",
        f"{TWO_PROCESSES}{SFT}rows.jsonl --offload parameters --shard full{OWN_FOLDER}",
        on=TWO_GPUS,
        on_right=TWO_GPUS,
    ),
)
def parts_of_a_divided_model_move_out_of_a_gpu(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--offload parameters` without `--shard full` or `--shard hybrid`, or with one process.

    Why: FSDP2 moves the parts of a model that several processes divide. A model that is not divided stays on its GPU.
    Fix: `--shard full`; with one process leave the flag out.
    """
    if config.offload != PARAMETERS or not machine.has_cuda:
        return
    if machine.processes == 1:
        yield Finding(
            "--offload parameters moves the parts of a model that several processes divide, and there is one process",
            changes={"offload": NONE},
            parameters=("offload",),
        )
    elif not is_divided(config):
        yield Finding(
            f"--offload parameters moves the parts of a divided model, and {_given(config)} does not say that it is divided",
            changes={"shard": FULL},
            parameters=("offload", "shard"),
        )


@rule(
    "E516",
    WARNING,
    example=Example(
        f"{SFT}rows.jsonl --shard full",
        f"{TWO_PROCESSES}{SFT}rows.jsonl --shard full{OWN_FOLDER}",
        on="on a machine with one GPU",
        on_right=TWO_GPUS,
    ),
)
def one_process_divides_nothing(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--shard full`, `--shard hybrid` or `--distributed-backend fsdp` with one process.

    Why: weights are divided among processes, and a single one has all of them.
    Fix: train on a machine with several GPUs, or on several nodes (`--num-nodes`); with one process leave the flag out.
    """
    if is_divided(config) and machine.has_cuda and machine.processes == 1:
        yield Finding(
            f"{_given(config)} has no effect with one process, which holds the whole model",
            changes=_copies(config),
            parameters=(source_of_sharding(config),),
        )


@rule(
    "E517",
    example=Example(
        f"{TWO_PROCESSES}{SFT}rows.jsonl --shard full --optimizer adafactor{OWN_FOLDER}",
        f"{TWO_PROCESSES}{SFT}rows.jsonl --shard full{OWN_FOLDER}",
        on=TWO_GPUS,
        on_right=TWO_GPUS,
    ),
)
def what_a_divided_model_is_not_trained_with(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--shard full` or `--shard hybrid` together with something that needs whole weights in each process, or that was never tried with parts of them.

    Why: the run would fail in its first step, or train something else. The page about several processes lists what it is, and why.
    Fix: what the finding names, or `--shard none`.
    """
    if not is_divided(config) or machine.processes == 1 or not machine.has_cuda:
        return
    for obstacle in obstacles(config):
        yield Finding(
            f"{_given(config)} can't be combined with {obstacle.flag}: {obstacle.reason}",
            changes=obstacle.changes or EMPTY,
            fix=None if obstacle.changes else f"leave out {obstacle.flag}, or --shard none",
            parameters=(source_of_sharding(config), obstacle.parameter),
        )


@rule(
    "E520",
    WARNING,
    example=Example(
        f"{TWO_PROCESSES}{SFT}rows.jsonl --shard hybrid{OWN_FOLDER}",
        f"{TWO_PROCESSES}{SFT}rows.jsonl --shard full{OWN_FOLDER}",
        on=TWO_GPUS,
        on_right=TWO_GPUS,
    ),
)
def parts_of_each_machine_need_several_of_both(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--shard hybrid` on a single machine, or with one process on each.

    Why: the processes of a machine divide the model, and each machine holds a copy. On one machine that is `--shard full`, with one process on each machine
    `--shard none`: the run does that.
    Fix: the flag that says so.
    """
    if config.shard != HYBRID or machine.processes == 1 or not machine.has_cuda:
        return
    if machine.local_processes == machine.processes:
        yield Finding(
            f"--shard hybrid on one machine is --shard full: there is one copy of the model, which its {machine.processes} processes divide",
            changes={"shard": FULL},
            parameters=("shard",),
        )
    elif machine.local_processes == 1:
        yield Finding(
            "--shard hybrid with one process on each machine is --shard none: each holds the whole model",
            changes={"shard": NONE},
            parameters=("shard",),
        )


@rule(
    "E522",
    refuses="--shard none --distributed-backend fsdp",
    accepts="--shard none --distributed-backend ddp",
)
def the_library_must_be_that_of_what_is_divided(config: Config) -> Iterator[Finding]:
    """`--shard` and `--distributed-backend` are both given and contradict each other.

    Why: weights are divided by fsdp, and copies are kept by ddp.
    Fix: `--shard` alone; the library follows from it.
    """
    if not (config.given("shard") and config.given("distributed_backend")):
        return
    implied = meant_by(config.distributed_backend)
    if config.shard != implied and not (config.shard == HYBRID and implied == FULL):
        yield Finding(
            f"--distributed-backend {config.distributed_backend} means --shard {implied}, and --shard is {config.shard}",
            changes={"shard": implied},
            parameters=("shard", "distributed_backend"),
        )
