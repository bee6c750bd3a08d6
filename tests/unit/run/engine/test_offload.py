"""Where the parts of a divided model lie. Several processes train with them in tests/integration/test_sharded_training.py."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule
from transformers import LlamaForCausalLM

from autotrain_llm.run.engine.sharding import shard
from support.architecture_configs import small_config


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of this process."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("offload", [True, False])
def test_every_group_has_the_policy_of_accelerates_plugin(offload: bool) -> None:
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_offload=offload)
    accelerator: Any = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        device=torch.device("cpu"),
        num_processes=1,
        mixed_precision="no",
        is_main_process=True,
    )
    model = shard(LlamaForCausalLM(small_config("llama")), accelerator, 1)
    divided = [module for module in model.modules() if isinstance(module, FSDPModule)]
    policies = [group.offload_policy for module in divided for group in module._get_fsdp_state()._fsdp_param_groups]
    assert len(policies) > 1
    assert {isinstance(policy, CPUOffloadPolicy) for policy in policies} == {offload}
