"""Whether the sizes and prices of learning from sampled answers go together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.grpo import Grpo


@rule(
    "P801",
    refuses="--trainer ppo --rl-chunk-size 100 --rl-mini-batch-size 32",
    accepts="--trainer ppo --rl-chunk-size 128 --rl-mini-batch-size 32",
)
def sizes_of_a_phase_must_divide(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Samples, optimizer steps, forward passes, and for grpo the answers to a prompt, do not divide.

    Why: `--rl-chunk-size` samples, `--rl-num-generations` to a prompt, are learnt from in steps of `--rl-mini-batch-size`, each in passes
    of `--batch-size`.
    Fix: the nearest sizes that divide.
    """
    if not trainer.samples:
        return
    chunk, mini, batch = config.rl_chunk_size, config.rl_mini_batch_size, config.batch_size
    name = "rl_mini_batch_size"
    if batch and config.given("gradient_accumulation") and not config.given(name):
        mini, name = batch * config.gradient_accumulation, "gradient_accumulation"
    each = config[Grpo].rl_num_generations if trainer.reads("rl_num_generations") else 1
    if min(chunk, mini, each) < 1:
        return
    words = {"rl_num_generations": f"--rl-num-generations {each}", name: f"--rl-mini-batch-size {mini}"}
    if name == "gradient_accumulation":
        words[name] = f"the {mini} answers of a step that --gradient-accumulation and --batch-size come to"
    of = [one for one, size in (("rl_num_generations", each), (name, mini)) if chunk % size]
    uneven = bool(batch and batch >= 1 and mini % batch and batch % mini)
    step = (
        _nearest(mini, [size for size in range(batch, chunk + 1, batch) if chunk % size == 0], batch)
        if uneven
        else mini
    )
    both = math.lcm(step, each)
    whole = max(both, round(chunk / both) * both)
    if of:
        sizes = " or ".join(words[one] for one in of)
        yield Finding(
            f"--rl-chunk-size {chunk} is no multiple of {sizes}",
            changes={"rl_chunk_size": whole} if whole != chunk else {"rl_mini_batch_size": step},
            parameters=("rl_chunk_size", *of),
        )
    if uneven:
        yield Finding(
            f"--rl-mini-batch-size {mini} is no multiple of --batch-size {batch}",
            changes={"rl_mini_batch_size": step} | ({"rl_chunk_size": whole} if whole != chunk else {}),
            parameters=("rl_mini_batch_size", "batch_size"),
        )


def _nearest(size: int, fitting: Sequence[int], unit: int) -> int:
    """Of the sizes that fit the one nearest to this, the larger of two; where none fits, a multiple of the unit."""
    return min(fitting, key=lambda one: (abs(one - size), -one)) if fitting else max(unit, round(size / unit) * unit)


@rule("P805")
def accumulation_comes_to_the_answers_of_a_step(
    config: Config, trainer: Trainer, machine: Machine
) -> Iterator[Finding]:
    """`--gradient-accumulation` and `--rl-mini-batch-size` say different things.

    Why: how many batches are accumulated follows from `--rl-mini-batch-size` and `--batch-size`; said alone, `--gradient-accumulation`
    decides the answers of a step.
    Fix: one of the two.
    """
    both = ("gradient_accumulation", "rl_mini_batch_size")
    batch = config.batch_size
    if not trainer.samples or not batch or not all(config.given(name) for name in both):
        return
    accumulated, mini = (config.value_of(name) for name in both)
    answers = batch * accumulated * machine.processes
    if min(answers, mini) >= 1 and accumulated != math.ceil(mini / (batch * machine.processes)):
        yield Finding(
            f"--gradient-accumulation {accumulated} makes steps of {answers} answers, and --rl-mini-batch-size says {mini}",
            changes={"gradient_accumulation": None},
            parameters=both,
        )


@rule(
    "P802",
    refuses="--trainer ppo --rl-target-kl 6 --rl-kl-coef 0",
    accepts="--trainer ppo --rl-target-kl 6 --rl-kl-coef 0.05",
)
def a_price_that_moves_must_not_begin_at_nothing(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-target-kl` with `--rl-kl-coef 0`.

    Why: after each phase the coefficient is multiplied by a little more or less than 1, so that it stays 0 for ever.
    Fix: a coefficient to begin with.
    """
    if trainer.samples and config.rl_target_kl and config.rl_kl_coef == 0:
        yield Finding(
            f"--rl-target-kl {config.rl_target_kl:g} multiplies --rl-kl-coef, which is 0 and stays it",
            changes={"rl_kl_coef": 0.05},
            parameters=("rl_target_kl", "rl_kl_coef"),
        )


@rule(
    "P803",
    refuses="--trainer grpo --distributed-backend fsdp",
    accepts="--trainer grpo --distributed-backend ddp",
)
def answers_are_written_by_a_model_that_is_in_one_piece(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--distributed-backend fsdp` with a trainer that samples.

    Why: fsdp parts the weights among the devices, and each device writes its own answers, token by token, with all of them.
    Fix: ddp, with `--peft` or `--quantization` where memory is short.
    """
    if trainer.samples and config.distributed_backend == "fsdp":
        yield Finding(
            f"--distributed-backend fsdp parts the weights, and {trainer.name} writes answers with all of them on each device",
            changes={"distributed_backend": "ddp"},
            parameters=("distributed_backend",),
        )


@rule(
    "P804",
    WARNING,
    refuses="--trainer grpo --engine trl",
    accepts="--trainer grpo --engine native",
)
def the_trl_engine_samples_in_its_own_way(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--engine trl` with grpo.

    Why: TRL's trainer samples with one random stream for all answers and evaluates with as many answers to a prompt as it trains with;
    it has no early stop and no price that moves. The two learn the same from the same answers, and draw others.
    Fix: the native engine; the other one is to compare with.
    """
    if config.engine != "trl" or not trainer.samples:
        return
    unknown = [name for name in ("rl_stop_kl", "rl_target_kl") if config.value_of(name) is not None]
    unknown += [] if config[Grpo].rl_advantage != "rloo" else ["rl_advantage"]
    unknown += [] if config.rl_generation == "native" else ["rl_generation"]
    left_out = f", and leaves out {', '.join(map(flag_of, unknown))}" if unknown else ""
    yield Finding(
        f"--engine trl draws other answers than the native engine{left_out}",
        changes={"engine": "native"},
        parameters=("engine", *unknown),
    )


@rule(
    "P806",
    refuses="--trainer grpo --engine trl --model scratch:1m --rl-kl-coef 0.04",
    accepts="--trainer grpo --engine trl --model scratch:1m --rl-kl-coef 0",
)
def the_trl_engine_loads_what_it_compares_with(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--engine trl` with grpo, a `scratch:` model and `--rl-kl-coef` above 0.

    Why: TRL's trainer loads the model as it was a second time by its name, and a new model is nowhere to be loaded from.
    Fix: the native engine, which keeps a copy, or `--rl-kl-coef 0`.
    """
    new = str(config.model or "").startswith("scratch:")
    if trainer.samples and trainer.trl_adapter and config.engine == "trl" and new and config.rl_kl_coef:
        yield Finding(
            f"--engine trl can't load a second {config.model} to hold the policy to, as --rl-kl-coef {config.rl_kl_coef:g} asks",
            changes={"rl_kl_coef": 0},
            otherwise="or --engine native",
            parameters=("engine", "model", "rl_kl_coef"),
        )
