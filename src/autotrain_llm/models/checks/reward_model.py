"""A model whose scores are rewards."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.declare.example import PPO, PROMPTS, Example, of_scorer
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import label
from autotrain_llm.models.checks.roles import SCORER
from autotrain_llm.models.metadata import ModelMetadata

REWARD_MODEL = "rl_reward_model_path"


@rule(
    "M161",
    blocks="model",
    roles=(SCORER,),
    example=Example(PPO.replace("SCORER", "TEACHER") + "rows.jsonl", PPO + "rows.jsonl", PROMPTS, PROMPTS),
)
def a_reward_model_is_a_classifier(metadata: ModelMetadata, parameter: str = REWARD_MODEL) -> Iterator[Finding]:
    """A reward model without a score head.

    Why: its score head would have random weights, and the rewards would be random numbers.
    Fix: train one with `--trainer reward`.
    """
    if metadata.config is not None and not metadata.is_classifier:
        kind = metadata.architectures[0] if metadata.architectures else metadata.model_type
        yield Finding(
            f"{label(metadata, parameter)} is not a sequence classifier ({kind}): its score head, and so its rewards, would be random",
            fix=f"train one first: --trainer reward --model {metadata.name}, then {flag_of(parameter)} <that run>",
            parameters=(parameter,),
        )


@rule(
    "M162",
    blocks="model",
    roles=(SCORER,),
    example=of_scorer("""sed -i.old 's/"LABEL_0"/"bad", "1": "good"/' judge/config.json"""),
)
def a_reward_is_one_number(metadata: ModelMetadata, parameter: str = REWARD_MODEL) -> Iterator[Finding]:
    """A classifier of several classes as the reward model.

    Why: the outputs of a classifier are logits of classes, of which none is a reward. A model with several scores was trained by regression, and its
    config says so (`problem_type`).
    Fix: a reward model with one score, or with several, which `--trainer reward --num-labels N` trains.
    """
    if parameter == REWARD_MODEL and metadata.is_classifier and metadata.config and not metadata.gives_scores:
        count = len(metadata.score_names)
        message = f"{label(metadata, parameter)} has {count} labels, which are classes, and a reward is one number"
        yield Finding(message, fix="train a reward model with --trainer reward", parameters=(parameter,))


@rule(
    "M163",
    blocks="model",
    roles=(SCORER,),
    example=of_scorer("cp MODEL/model.safetensors judge/model.safetensors"),
)
def a_reward_model_is_trained(metadata: ModelMetadata, parameter: str = REWARD_MODEL) -> Iterator[Finding]:
    """A classifier whose weights have no score head, or one of zeros.

    Why: its rewards would be random, or all the same.
    Fix: train it with `--trainer reward` first.
    """
    tensors = metadata.adapter_weights.tensors if metadata.is_adapter else metadata.tensors
    if not metadata.is_classifier or not tensors:
        return
    if not metadata.score_heads:
        fault = "its weights have no score head (score or classifier), so its rewards would be random"
    elif metadata.has_blank_head:
        fault = "its score head is all zeros, so every text would get the same reward"
    else:
        return
    message = f"{label(metadata, parameter)}: {fault}"
    yield Finding(message, fix="train it with --trainer reward first", parameters=(parameter,))
