"""`--trainer reward`: a model that scores answers."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, FIXED, group, param
from autotrain_llm.declare.trainer import Example, Trainer, Usual
from autotrain_llm.params.data import PromptColumn, RejectedColumn
from autotrain_llm.params.preferences import LabelSmoothing
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Reward model", order=630)
class Reward:
    """Output of the reward model."""

    num_labels: int = param(
        1,
        "Scores of an answer: 1 for preference pairs; more for rows with several scores, or with a class.",
        within=AT_LEAST_ONE,
        stage="rows",
        on_resume=FIXED,
    )


PAIRWISE = Trainer(
    name="reward",
    aliases="rm reward_model reward_modeling",
    title="Reward",
    order=50,
    summary="A reward model: scores answers so that the better of a pair scores higher.",
    purpose="Turns preference pairs into a model that gives any answer a score. It scores and does not generate.",
    rows="scored",
    groups=(*CORE, PromptColumn, RejectedColumn, ChatTemplate, Reward, LabelSmoothing),
    requires=REQUIRED,
    usual=usual(
        lr=Usual(2e-5, 2e-5),
        model=Usual("bert-base-uncased", "roberta-large"),
        batch_size=Usual(16, 32),
    ),
    recipe="autotrain_llm.run.algorithms.reward.recipe:RewardModel",
    settings=("label_smoothing", "num_labels"),
    trl_adapter="autotrain_llm.run.trl_engine.preference:reward",
    headline=("loss", "accuracy", "margin"),
    metrics={
        "loss": "minimize",
        "accuracy": "maximize",
        "margin": "maximize",
        "calibration": "minimize",
        "chosen_reward": "maximize",
        "rejected_reward": "minimize",
    },
    defaults={"text_column": "chosen", "rejected_text_column": "rejected"},
    learning_rates={"full": (1e-7, 3e-4), "lora": (1e-6, 5e-3)},
    produces="AutoModelForSequenceClassification",
    notes=(
        "The output is a scorer: `AutoModelForSequenceClassification`, one score for each input; it cannot generate text.",
        "Texts are scored as the tokenizer writes them, with nothing added. An adapter's files don't say how many scores its base is to give: `AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)`.",
        (
            "With `--num-labels N`, rows have several scores or a class instead of a chosen and a rejected answer, and the model has N outputs with their "
            "names: scores are learned by mean squared error, classes by cross entropy. See docs/rewards.md."
        ),
        "On evaluation pairs it reports accuracy, margin, the mean score of each side, and calibration: the expected calibration error of the sigmoid of the margin in ten bins, 0 where confidence is right as often as it says.",
    ),
    examples=(
        Example(
            "A scorer from an encoder",
            "--model bert-base-uncased --data-path ./data/preferences.jsonl --lr 2e-5 --epochs 3 --batch-size 16 --rejected-text-column rejected",
        ),
        Example(
            "With LoRA",
            "--model roberta-large --data-path ./data/preferences.jsonl --lr 2e-5 --epochs 3 --batch-size 32 --rejected-text-column rejected --peft --lora-r 8",
        ),
    ),
)

# Answers with several scores, or with a class.
TRAINER = PAIRWISE.replace(
    varies_with="num_labels",
    variant=PAIRWISE.replace(
        rows="graded",
        recipe="autotrain_llm.run.algorithms.reward.recipe:GradedModel",
        trl_adapter=None,
        headline=("loss", "mse", "correlation", "accuracy"),
        metrics={"loss": "minimize", "mse": "minimize", "correlation": "maximize", "accuracy": "maximize"},
    ),
)
