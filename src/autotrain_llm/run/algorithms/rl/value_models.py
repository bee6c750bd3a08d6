"""The value function of a plan: a new head, a copy of the reward model that is trained, or the frozen reward model plus a head."""

from __future__ import annotations

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
from autotrain_llm.run.engine.flat import attention
from autotrain_llm.run.engine.flat.model import causal_model, switch
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import loading_type, lora_config
from autotrain_llm.run.engine.reference_model import without_dropout
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD


def add_decided_value_head(plan: Plan, inputs: RunInputs, model: nn.Module) -> None:
    """Add the plan's value head to the policy."""
    assert plan.rollouts is not None
    kind = plan.rollouts.rl_value_model
    if kind == OF_REWARD:
        put_value_head(model, _of_reward(plan, inputs, causal_model(model)))
    elif kind is not None:
        add_value_head(model, kind)


class PrefixRewardBaseline:
    """A frozen reward model's score of each prefix of an answer, times its weight."""

    def __init__(self, reward: RewardModel, weight: float, layout: BatchLayout) -> None:
        self.reward, self.weight, self.layout = reward, weight, layout

    @torch.no_grad()
    def of(self, batch: dict[str, Any]) -> torch.Tensor:
        """The score before each of the K tokens of a batch in the policy's layout (K,). Call it outside of autocast, as for whole answers."""
        classifier = causal_model(self.reward.model.to(batch["input_ids"].device))
        places = batch["target_positions"]
        if self.layout.name != PaddedPolicy.name:
            given = {name: batch[name] for name in ("input_ids", "position_ids", "segments")}
            return self.weight * classifier(**given, ends=places).scores
        if self.reward.flat is not None:
            switch(classifier, on=False)
        read = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
        states = classifier.base_model(**read)[0]
        head: Any = classifier.get_submodule("score")
        chosen = states.reshape(-1, states.shape[-1]).index_select(0, places)
        return self.weight * head(chosen.to(head.weight.dtype))[:, 0]


def make_prefix_baseline(plan: Plan, rewards: Rewards, layout: BatchLayout) -> PrefixRewardBaseline | None:
    """The frozen reward model of a plan whose values start from its prefix scores; else None."""
    assert plan.rollouts is not None
    if plan.rollouts.rl_value_model != CORRECTED:
        return None
    ((reward, weight),) = (
        (reward, float(weight))
        for reward, weight in zip(rewards.sources, rewards.weights, strict=True)
        if isinstance(reward, RewardModel)
    )
    return PrefixRewardBaseline(reward, weight, layout)


def _of_reward(plan: Plan, inputs: RunInputs, policy: PreTrainedModel) -> ValueHead:
    """A value head made of the reward model, its score head times its weight: before each token, the score of the answer so far.

    All of it is trained, or with an adapter its head and an adapter like the policy's.
    """
    assert plan.rollouts is not None
    (entry,) = (entry for entry in plan.rollouts.rewards if entry.kind == MODEL)
    scorer = causal_model(load_reward_classifier(entry, plan, inputs, loading_type(plan)))
    without_dropout(scorer)
    backbone: Any = scorer.base_model
    if policy.config._attn_implementation == attention.NAME:
        backbone.set_attn_implementation(attention.NAME)
    if plan.adapter is not None:
        backbone = _with_adapter(backbone, plan.adapter)
    if plan.precision.checkpointing:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    score: Any = scorer.get_submodule("score")
    head = ValueHead(score.in_features, backbone)
    with torch.no_grad():
        head.linear.weight.copy_(entry.weight * score.weight.float())
        if score.bias is not None:
            head.linear.bias.copy_(entry.weight * score.bias.float())
    return head


def _with_adapter(backbone: PreTrainedModel, adapter: AdapterPlan) -> nn.Module:
    """The backbone with a new adapter; only that is trained, in float32."""
    backbone.requires_grad_(False)
    made = inject_adapter_in_model(lora_config(adapter), backbone)
    for one in made.parameters():
        if one.requires_grad:
            one.data = one.data.float()
    return made
