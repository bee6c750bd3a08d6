"""`--trainer simpo`: the declaration. It is read for `--help`, so it imports nothing heavy."""

from __future__ import annotations

from autotrain_llm.declare.param import NOT_NEGATIVE, POSITIVE, TAKES_EFFECT, group, linear, param
from autotrain_llm.declare.trainer import Trainer, Usual
from autotrain_llm.params.data import PromptColumn, RejectedColumn
from autotrain_llm.params.length import PairLengths
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Simple preference optimisation", order=625)
class Simpo:
    """Loss of SimPO."""

    simpo_beta: float = param(
        2.0,
        "Scale of the reward, the mean log-probability of an answer's tokens.",
        within=POSITIVE,
        search=linear(1.0, 10.0),
        on_resume=TAKES_EFFECT,
    )
    simpo_gamma: float = param(
        0.5,
        "Margin by which the reward of the chosen answer should be higher.",
        within=NOT_NEGATIVE,
        search=linear(0.0, 2.0),
        on_resume=TAKES_EFFECT,
    )


TRAINER = Trainer(
    name="simpo",
    title="SimPO",
    order=41,
    summary="Simple preference optimisation: pairs of answers, compared by their log-probability per token, with no reference model.",
    purpose="Raises the mean log-probability of the chosen answer's tokens above that of the rejected one, by a margin.",
    rows="preferences",
    groups=(*CORE, PromptColumn, RejectedColumn, PairLengths, ChatTemplate, Simpo),
    requires=(*REQUIRED, "prompt_text_column", "rejected_text_column"),
    usual=usual(
        lr=Usual(8e-7, 1e-5),
        epochs=Usual(1, 1),
        batch_size=Usual(2, 4),
        prompt_text_column=Usual("prompt", "prompt"),
        rejected_text_column=Usual("rejected", "rejected"),
    ),
    defaults={"text_column": "chosen"},
    learning_rates={"full": (1e-8, 1e-4), "lora": (1e-7, 1e-3)},
    recipe="autotrain_simpo.recipe:SimpoRecipe",
    settings=("simpo_beta", "simpo_gamma"),
    headline=("loss", "rewards/accuracies", "rewards/margins"),
    metrics={"loss": "minimize", "rewards/accuracies": "maximize", "rewards/margins": "maximize"},
)
