"""Dividing the tokens of a batch among processes: which runs, how many processes, which models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import SFT, TWO_PROCESSES, Example
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural
from autotrain_llm.declare.trainer import Trainer

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.planning.plan import Plan

DIVIDED = f"{SFT.replace('MODEL', 'scratch:1m')}rows.jsonl --output-dir runs/mine --context-parallel"
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # settings of config.json
WHOLE_BATCHES = {"context_parallel": 1}


@rule("P371", refuses="--trainer dpo --context-parallel 2", accepts="--trainer sft --context-parallel 1")
def only_losses_of_single_tokens_are_computed_by_parts(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--context-parallel` with a loss that is not a mean over tokens, or with a second model.

    Why: each process computes the loss of its own tokens. A preference, a score or a reward is of a whole answer, whose tokens lie in several
    processes, and a teacher or TRL's trainer would compute whole batches.
    Fix: without it; `--gradient-checkpointing` and a smaller `--batch-size` save memory too.
    """
    if config.context_parallel == 1:
        return
    if not trainer.reads("token_weights"):
        what = f"--trainer {trainer.name}"
    elif config.use_distillation:
        what = "--use-distillation"
    elif config.engine != "native":
        what = f"--engine {config.engine}"
    else:
        return
    yield Finding(
        f"--context-parallel {config.context_parallel} divides the tokens of a batch among processes, which {what} can't be trained by",
        changes=WHOLE_BATCHES,
        parameters=("context_parallel",),
    )


@rule("E531", example=Example(f"{DIVIDED} 2", f"{TWO_PROCESSES}{DIVIDED} 2"))
def processes_form_equal_groups(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--context-parallel N` with a number of processes that N does not divide.

    Why: N processes compute one batch together.
    Fix: N, 2 N, 3 N … processes.
    """
    size = config.context_parallel
    if machine.processes % size:
        yield Finding(
            f"--context-parallel {size} divides each batch among {size} processes, and there {'is one' if machine.processes == 1 else f'are {machine.processes}'}",
            changes=WHOLE_BATCHES,
            otherwise=f"--num-processes {size}, or a multiple of it",
            parameters=("context_parallel",),
        )


@rule(
    "E532", example=Example(f"torchrun --nproc-per-node 3 -m autotrain_llm {DIVIDED} 3", f"{TWO_PROCESSES}{DIVIDED} 2")
)
def the_heads_of_attention_are_divided_equally(context: RunContext, plan: Plan) -> Iterator[Finding]:
    """`--context-parallel N` with a model whose attention can't be divided among N processes.

    Why: in attention each process computes a part of the heads for all tokens. N has to divide the number of heads, and each part
    of them has to share heads for keys and values as the whole does; rows have to be in the flat layout; and a mixture of experts balances its experts
    over whole batches.
    Fix: an N that divides the number of heads.
    """
    size = plan.schedule.context_parallel
    if size is None:
        return
    heads, keys = _heads(context)
    if plan.layout.name == "padded":
        why = f"rows are padded: {plan.layout.why}"
    elif context.model is not None and (context.model.number(*EXPERTS) or 0) > 1:
        why = "the model is a mixture of experts"
    elif heads and keys and not _is_divisible(heads, keys, size):
        why = f"the model's attention has {plural(heads, 'head')}" + (
            f", and {keys} for keys and values" if keys != heads else ""
        )
    else:
        return
    fitting = [fewer for fewer in range(2, size) if heads and keys and _is_divisible(heads, keys, fewer)]
    yield Finding(
        f"--context-parallel {size} can't divide the batches of {plan.model.name}: {why}",
        changes=WHOLE_BATCHES,
        otherwise=f"--context-parallel {fitting[-1]} --num-processes {fitting[-1]}, or a multiple of it"
        if fitting and "heads" in why
        else "",
        parameters=("context_parallel", "model"),
    )


def _is_divisible(heads: int, keys: int, size: int) -> bool:
    """Whether `size` parts of the heads can be computed apart; heads for keys and values that are fewer than the parts are repeated."""
    return heads % math.lcm(keys, size) == 0


def _heads(context: RunContext) -> tuple[int | None, int | None]:
    """The heads of attention, for queries and for keys and values."""
    if context.is_scratch:
        shape = context.shape or {}
        return shape.get("num_attention_heads"), shape.get("num_key_value_heads")
    if context.model is None:
        return None, None
    return context.model.heads, context.model.number("num_key_value_heads") or context.model.heads
