"""Decide what the processes of a run divide besides the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.params.distributed import DDP, FSDP, FULL, NONE

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import ShardingPlan


def requested_sharding(config: Config) -> str:
    """The value of `--shard`; where only `--distributed-backend` is given, what that means."""
    if config.given("distributed_backend") and not config.given("shard"):
        return {DDP: NONE, FSDP: FULL}[config.distributed_backend]
    return config.shard


def decide_sharding(config: Config, processes: int) -> ShardingPlan | None:
    """How the weights are kept by several processes; None for one process, which has all of them."""
    from autotrain_llm.planning.plan import ShardingPlan

    if processes == 1:
        return None
    named = "shard" if config.given("shard") else "distributed_backend"
    requested = requested_sharding(config)
    return ShardingPlan(
        FULL if requested == FULL else NONE, processes if requested == FULL else 1, config.source(named)
    )
