"""What most trainers have in common: the groups every one reads, what every one requires, what is usual."""

from __future__ import annotations

from autotrain_llm.declare.param import group_of
from autotrain_llm.declare.trainer import Usual
from autotrain_llm.params.answering import Answering
from autotrain_llm.params.command import Command
from autotrain_llm.params.data import Data
from autotrain_llm.params.distributed import Distributed
from autotrain_llm.params.evaluation import Evaluation
from autotrain_llm.params.launching import Launching
from autotrain_llm.params.length import Length
from autotrain_llm.params.lora import Lora
from autotrain_llm.params.model import Model
from autotrain_llm.params.output import Hub, Output
from autotrain_llm.params.precision import Precision
from autotrain_llm.params.schedule import Schedule
from autotrain_llm.params.sweep import Sweep
from autotrain_llm.params.training import Optimisation, Training

CORE = (
    Model,
    Data,
    Training,
    Optimisation,
    Precision,
    Distributed,
    Launching,
    Length,
    Lora,
    Schedule,
    Output,
    Hub,
    Sweep,
    Evaluation,
    Answering,
    Command,
)
REQUIRED = tuple(
    f"{param.name}|{param.alternative}" if param.alternative else param.name
    for group in CORE
    for param in group_of(group).params
    if param.required or param.alternative
)


# The batches of a step follow from its answers, in trainers that sample them.
STEP_OF_ANSWERS = {"gradient_accumulation": None}
IN_WORDS = {"gradient_accumulation": "--rl-mini-batch-size / --batch-size"}


def usual(lr: Usual, **others: Usual) -> dict[str, Usual]:
    """The values offered for what is missing, with this trainer's learning rate."""
    common = {
        "lr": lr,
        "epochs": Usual(3, 3),
        "batch_size": Usual(8, 8),
    }
    return {**common, **others}
