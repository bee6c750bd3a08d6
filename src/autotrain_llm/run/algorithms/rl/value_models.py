"""The value model of a plan: a value head, a trained copy of the reward model, or a head added to the frozen reward model's scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from peft import inject_adapter_in_model
from torch import nn
from transformers import PreTrainedModel

from autotrain_llm.planning.kinds import MODEL
from autotrain_llm.planning.plan import AdapterPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.algorithms.rl.layouts import PaddedPolicy
from autotrain_llm.run.algorithms.rl.rewards import RewardModel, Rewards, load_reward_classifier
from autotrain_llm.run.algorithms.rl.value_head import ValueHead, add_value_head, put_value_head
from autotrain_llm.run.engine.checkpointing import checkpoint_layers
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.flat import attention
from autotrain_llm.run.engine.flat.model import causal_model, switch
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import loading_dtype, lora_config
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD


def add_decided_value_head(plan: Plan, inputs: RunInputs, model: nn.Module) -> None:
    """Add the plan's value head to the policy; nothing if it has none."""
    assert plan.rollouts is not None
    kind = plan.rollouts.rl_value_model
    if kind == OF_REWARD:
        put_value_head(model, _reward_value_head(plan, inputs, causal_model(model)))
    elif kind is not None:
        add_value_head(model, kind)


class PrefixRewardBaseline:
    """The score of a frozen reward model for each prefix of an answer, times the reward's weight."""

    def __init__(self, reward: RewardModel, weight: float, layout: BatchLayout) -> None:
        self.reward, self.weight, self.layout = reward, weight, layout

    @torch.no_grad()
    def of(self, batch: dict[str, Any]) -> torch.Tensor:
        """The score before each of the K targets of a batch in the policy's layout (K,). Call it outside autocast, as for full answers."""
        classifier = causal_model(self.reward.model)
        positions = batch["target_positions"]
        if self.layout.name != PaddedPolicy.name:
            inputs = {name: batch[name] for name in ("input_ids", "position_ids", "segments")}
            return self.weight * classifier(**inputs, ends=positions).scores
        if self.reward.flat is not None:
            switch(classifier, on=False)
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
        states = classifier.base_model(**inputs)[0]
        head: Any = classifier.get_submodule("score")
        target_states = states.reshape(-1, states.shape[-1]).index_select(0, positions)
        return self.weight * head(target_states.to(head.weight.dtype))[:, 0]


def make_prefix_baseline(plan: Plan, rewards: Rewards, layout: BatchLayout) -> PrefixRewardBaseline | None:
    """The frozen reward model that the plan's values start from; None if the plan has none."""
    assert plan.rollouts is not None
    if plan.rollouts.rl_value_model != CORRECTED:
        return None
    ((reward, weight),) = (
        (reward, float(weight))
        for reward, weight in zip(rewards.sources, rewards.weights, strict=True)
        if isinstance(reward, RewardModel)
    )
    return PrefixRewardBaseline(reward, weight, layout)


def _reward_value_head(plan: Plan, inputs: RunInputs, policy: PreTrainedModel) -> ValueHead:
    """A copy of the reward model as value model, its score head times the reward's weight: it starts as the score of each prefix.

    All parameters are trained; with an adapter, the head and a new adapter like the policy's.
    """
    assert plan.rollouts is not None
    (entry,) = (entry for entry in plan.rollouts.rewards if entry.kind == MODEL)
    scorer = causal_model(load_reward_classifier(entry, plan, inputs, loading_dtype(plan)))
    without_dropout(scorer)
    backbone: Any = scorer.base_model
    if policy.config._attn_implementation == attention.NAME:
        backbone.set_attn_implementation(attention.NAME)
    if plan.adapter is not None:
        backbone = _with_adapter(backbone, plan.adapter)
    if plan.precision.checkpointing:
        checkpoint_layers(backbone, plan.precision.checkpointing_kind, plan.adapter.r if plan.adapter else 0)
    score: Any = scorer.get_submodule("score")
    head = ValueHead(score.in_features, backbone).to(score.weight.device)
    with torch.no_grad():
        head.linear.weight.copy_(entry.weight * score.weight.float())
        if score.bias is not None:
            head.linear.bias.copy_(entry.weight * score.bias.float())
    return head


def _with_adapter(backbone: PreTrainedModel, adapter: AdapterPlan) -> nn.Module:
    """The frozen backbone with a new trained adapter in float32."""
    backbone.requires_grad_(False)
    settings = replace(adapter, tokens=None)  # the tokens of the policy
    adapted = inject_adapter_in_model(lora_config(settings, backbone), backbone)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted
