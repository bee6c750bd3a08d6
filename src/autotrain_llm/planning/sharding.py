"""Decide what the processes of a run divide besides the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.record import Record
from autotrain_llm.params.distributed import AUTO, FSDP, FULL, HYBRID, NONE, PARAMETERS
from autotrain_llm.params.lora import OF_THE_BASE
from autotrain_llm.params.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from autotrain_llm.planning.memory_budget import Memory
    from autotrain_llm.planning.plan import ShardingPlan


class Obstacle(Record):
    """A value with which a model can't be divided: the parameter, the flag, why, what to change (nothing if it is to be left out), and whether a config has it."""

    parameter: str
    flag: str
    reason: str
    is_given: Callable[[Config], bool]
    changes: dict[str, Any] | None = None


def _optimizer(name: str, reason: str) -> Obstacle:
    changes = {"optimizer": "adamw_torch"}
    return Obstacle("optimizer", f"--optimizer {name}", reason, lambda config: config.optimizer == name, changes)


def _initialisation(name: str) -> Obstacle:
    return Obstacle(
        "lora_init",
        f"--lora-init {name}",
        "it changes whole weights",
        lambda config: config.peft and config.lora_init == name,
    )


OBSTACLES = (
    *(_optimizer(name, optimizer.undivided) for name, optimizer in OPTIMIZERS.items() if optimizer.undivided),
    Obstacle(
        "quantization",
        "--quantization int8",
        "bitsandbytes' layers in 8 bits compute with whole weights that they keep beside their parameters",
        lambda config: config.quantization == "int8",
        {"quantization": "int4"},
    ),
    *map(_initialisation, OF_THE_BASE),
    Obstacle(
        "mixed_precision",
        "--mixed-precision fp16",
        "only bf16 and fp32 are",
        lambda config: config.mixed_precision == "fp16",
        {"mixed_precision": "bf16"},
    ),
    Obstacle(
        "engine",
        "--engine trl",
        "TRL's trainers save whole models",
        lambda config: config.engine == "trl",
        {"engine": "native"},
    ),
    Obstacle(
        "eval_benchmark",
        "--eval-benchmark",
        "one process runs it with the finished model",
        lambda config: bool(config.use_enhanced_eval and config.eval_benchmark),
    ),
)


def obstacles(config: Config) -> Iterator[Obstacle]:
    """What is given that a divided model is not trained with."""
    return (obstacle for obstacle in OBSTACLES if obstacle.is_given(config))


def requested_sharding(config: Config) -> str:
    """The value of `--shard`; where only `--distributed-backend` is given, what that means."""
    if source_of_sharding(config) == "distributed_backend":
        return meant_by(config.distributed_backend)
    return config.shard


def is_divided(config: Config) -> bool:
    """Whether it is asked that weights are divided."""
    return requested_sharding(config) in (FULL, HYBRID)


def meant_by(backend: str) -> str:
    """What `--distributed-backend` stands for where `--shard` is not given."""
    return FULL if backend == FSDP else NONE


def source_of_sharding(config: Config) -> str:
    """The parameter that says whether the model is divided."""
    only_backend = config.given("distributed_backend") and not config.given("shard")
    return "distributed_backend" if only_backend else "shard"


def decide_sharding(config: Config, memory: Memory, *, trains_tokens: bool) -> ShardingPlan | None:
    """How the weights are kept by several processes; None for one process, which has all of them.

    `auto` divides them where a copy would not fit into the memory of a GPU, even with gradient checkpointing, and nothing stands against it.
    """
    from autotrain_llm.planning.plan import ShardingPlan

    if memory.processes == 1:
        return None
    requested = requested_sharding(config)
    if requested != AUTO:
        shards = {FULL: memory.processes, HYBRID: memory.machine.local_processes}.get(requested, 1)
        offload = PARAMETERS if shards > 1 and config.offload == PARAMETERS else None
        return ShardingPlan(requested, shards, config.source(source_of_sharding(config)), offload)
    if not memory.machine.has_cuda:
        return ShardingPlan(NONE, 1, "processors hold copies")
    if any(obstacles(config)):
        return ShardingPlan(NONE, 1, "--shard full would be refused")
    if trains_tokens:
        return ShardingPlan(NONE, 1, "--trainable-tokens are trained with copies")
    checkpointing = config.gradient_checkpointing is not False
    if memory.bytes(checkpointing=checkpointing) <= memory.available:
        return ShardingPlan(NONE, 1, "a copy fits into a GPU")
    return ShardingPlan(FULL, memory.processes, "a copy would not fit into a GPU")
