"""Sampling completions and training on them (ppo, grpo, spo): sizes, KL coefficient, room in the context, vLLM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autotrain_llm.checks.rules.reward_sources import LEAST_ANSWER, SHOWN
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import PPO, PROMPTS, Example, of_flags, without_gpu
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.lora import Lora
from autotrain_llm.params.rollouts import SamplingOfAnswers
from autotrain_llm.planning.rollouts import answers_of_step
from autotrain_llm.trainers.grpo import Grpo
from autotrain_llm.trainers.spo import Spo

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.rows import TokenRows
    from autotrain_llm.models.metadata import ModelMetadata

REACHED = 0.5  # nats per token, by the KL divergence of one rollout's updates with the clipped loss
FIRST_VLLM = (0, 11)  # whose weights can be updated as `run/generation/vllm_engine.py` does
INSTALL_VLLM = "pip install 'vllm==0.30.*'"  # the release for torch 2.13 and transformers 5.23; setup.cfg has it too
OTHER_DEVICES = ("cpu", "rocm", "xpu", "tpu", "neuron", "hpu", "gaudi")  # in versions of vLLM that are built for them


@rule("P733", WARNING, refuses="--trainer grpo --rl-top-k 50", accepts="--trainer grpo --rl-temperature 0.8")
def completions_should_be_sampled_from_the_whole_distribution(
    sampling: SamplingOfAnswers, trainer: Trainer
) -> Iterator[Finding]:
    """`--rl-top-k` or `--rl-top-p` truncates the distribution that completions are sampled from.

    Why: the policy update uses the probabilities of softmax(logits / temperature), without truncation. Completions from a truncated
    distribution are off-policy, and tokens that were cut off are never explored. With `--rl-top-k 1` all completions of a prompt are the same: grpo,
    which compares them, has nothing to learn from.
    Fix: remove it; `--rl-temperature` below 1 makes likely tokens likelier without truncation.
    """
    top_k, top_p = sampling.rl_top_k, sampling.rl_top_p
    flags = {"rl_top_k": f"--rl-top-k {top_k}"} if top_k > 0 else {}
    flags |= {"rl_top_p": f"--rl-top-p {top_p:g}"} if 0 < top_p < 1 else {}
    if trainer.samples and flags:
        what = "completions are sampled from a truncated distribution, and trained on as if from the whole one"
        if top_k == 1 and trainer.reads("rl_num_generations"):
            what = "all completions of a prompt are the same, so none is better than another, and nothing is learned"
        yield Finding(
            f"{' and '.join(flags.values())}: {what}",
            changes=dict.fromkeys(flags),
            parameters=tuple(flags),
        )


@rule("P809", WARNING, refuses="--trainer grpo --peft --lora-dropout 0.1", accepts="--trainer grpo --peft")
def an_adapter_should_have_no_dropout(lora: Lora, trainer: Trainer) -> Iterator[Finding]:
    """`--lora-dropout` above 0 with a trainer that samples its completions.

    Why: the completions are sampled without dropout. With dropout in training the ratio of new to old policy differs from 1 before the first
    update, and tokens are clipped for no reason. These trainers have a default of 0.
    Fix: remove it.
    """
    if trainer.samples and lora.peft and lora.lora_dropout > 0:
        yield Finding(
            f"--lora-dropout {lora.lora_dropout:g}: the ratio to the policy that sampled the completions does not start at 1",
            changes={"lora_dropout": None},
            parameters=("lora_dropout",),
        )


@rule("P734", example=of_flags("--rl-max-new-tokens 2048", "--rl-max-new-tokens 256", PROMPTS, PPO))
def prompts_must_leave_room_for_completions(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A prompt and `--rl-max-new-tokens` together are longer than the model's context.

    Why: beyond its context a model generates nonsense, or the call fails.
    Fix: shorter completions, or `--block-size`, which truncates a longer prompt at its start.
    """
    context_length = context.context_length
    if not trainer.samples or context_length is None or context.prepared is None or context.dataset is None:
        return
    answer = config.rl_max_new_tokens
    if answer >= context_length:
        yield Finding(
            f"--rl-max-new-tokens {answer} leaves no room for a prompt in the model's context of {context_length} tokens",
            changes={"rl_max_new_tokens": max(1, context_length // 2)},
            parameters=("rl_max_new_tokens",),
        )
        return
    for prepared, examples in (
        (context.prepared.train, context.dataset.train),
        (context.prepared.valid, context.dataset.valid),
    ):
        rows: TokenRows = prepared  # type: ignore[assignment]
        long = [index for index, length in enumerate(rows.lengths.tolist()) if length + answer > context_length]
        if not long:
            continue
        numbers = [examples[int(rows.source[index])].row for index in long]
        longest = int(rows.lengths.max())
        room, block = max(context_length - longest, 0), context_length - answer
        many = f" ({len(long)} rows: {', '.join(map(str, numbers[:SHOWN]))}{', …' if len(long) > SHOWN else ''})"
        shorter = room >= max(LEAST_ANSWER, answer // 2)
        truncates = "which truncates longer prompts at their start"
        yield Finding(
            f"a prompt of {longest} tokens leaves {room} of the model's context of {context_length}, "
            f"and --rl-max-new-tokens is {answer}" + (many if len(long) > 1 else ""),
            changes={"rl_max_new_tokens": room} if shorter else {"block_size": block},
            otherwise=f"or --block-size {block}, {truncates}"
            if shorter
            else f"{truncates}, or a lower --rl-max-new-tokens",
            parameters=("rl_max_new_tokens",),
            file=examples[int(rows.source[long[0]])].file,
            row=numbers[0],
        )


@rule("E510", example=without_gpu("--rl-generation vllm", "--rl-generation native", PROMPTS, PPO))
def vllm_needs_its_package_and_a_gpu(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """`--rl-generation vllm` without a suitable vLLM, without CUDA, in several processes, or with a quantised model.

    Why: vLLM generates in the training process and on its GPU, and is not installed by default. After each update it gets the policy's weights in
    bf16, for which vLLM 0.11 or later is needed; it can't be given quantised weights. Each release of vLLM needs one release of torch and some of
    transformers: of 0.30 to 0.33 only 0.30 allows torch 2.13 and transformers 5.23, and `pip install vllm` would replace them by others.
    Fix: install the release that the finding names, which is in the extra `vllm` of this package, or use `--rl-generation native`.
    """
    if not trainer.samples or config.rl_generation != "vllm":
        return
    native = {"rl_generation": "native"}
    name = ("rl_generation",)
    if not machine.has_cuda:
        yield Finding(
            "--rl-generation vllm needs a CUDA GPU, and this machine has none", changes=native, parameters=name
        )
    if not machine.has_package("vllm"):
        message = "--rl-generation vllm needs the package vllm, which is not installed"
        yield Finding(message, changes=native, otherwise=f"or {INSTALL_VLLM}", parameters=name)
    elif (fault := _fault_of_vllm(machine.version_of("vllm"))) is not None:
        yield Finding(f"--rl-generation vllm: {fault}", changes=native, otherwise=f"or {INSTALL_VLLM}", parameters=name)
    if machine.processes > 1:
        message = f"--rl-generation vllm generates in one process, and {machine.processes} were started"
        yield Finding(message, changes=native, parameters=name)
    if config.quantization:
        yield Finding(
            f"--rl-generation vllm can't take the weights of a model in {config.quantization}",
            changes=native,
            otherwise="or remove --quantization",
            parameters=("rl_generation", "quantization"),
        )


def _fault_of_vllm(version: str | None) -> str | None:
    """What is wrong with this version, `0.11.2+cpu`: too old, or built for something other than CUDA."""
    release, _, build = (version or "").partition("+")
    numbers = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    if version is None or len(numbers) < 2:
        return None  # built from a checkout, say
    if numbers < FIRST_VLLM:
        return f"vllm {version} is installed, and {'.'.join(map(str, FIRST_VLLM))} or later is needed to update its weights"
    if any(part.startswith(OTHER_DEVICES) for part in build.split(".")):
        return f"the installed vllm, {version}, is not built for CUDA"
    return None


@rule(
    "P801",
    refuses="--trainer ppo --rl-chunk-size 100 --rl-mini-batch-size 32",
    accepts="--trainer ppo --rl-chunk-size 128 --rl-mini-batch-size 32",
)
def rollout_sizes_must_divide(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Completions per rollout, per optimizer step, per forward pass, and for grpo per prompt, are not divisible by one another.

    Why: `--rl-chunk-size` completions, `--rl-num-generations` for each prompt, are trained on in optimizer steps of `--rl-mini-batch-size`,
    each in forward passes of `--batch-size`.
    Fix: the nearest sizes that are divisible.
    """
    if not trainer.samples:
        return
    chunk, mini, batch = config.rl_chunk_size, config.rl_mini_batch_size, config.batch_size
    mini_name, mini_text = "rl_mini_batch_size", f"--rl-mini-batch-size {mini}"
    if batch and config.given("gradient_accumulation") and not config.given(mini_name):
        mini, mini_name = batch * config.gradient_accumulation, "gradient_accumulation"
        mini_text = f"the {mini} completions per step that --gradient-accumulation and --batch-size give"
    group = config[Grpo].rl_num_generations if trainer.reads("rl_num_generations") else 1
    if min(chunk, mini, group) < 1:
        return
    texts = {"rl_num_generations": f"--rl-num-generations {group}", mini_name: mini_text}
    undivided = [name for name, size in (("rl_num_generations", group), (mini_name, mini)) if chunk % size]
    uneven = bool(batch and batch >= 1 and mini % batch and batch % mini)
    step = mini
    if uneven:
        step = _nearest(mini, [size for size in range(batch, chunk + 1, batch) if chunk % size == 0], batch)
    unit = math.lcm(step, group)
    whole = max(unit, round(chunk / unit) * unit)
    if undivided:
        yield Finding(
            f"--rl-chunk-size {chunk} is not a multiple of {' or '.join(texts[name] for name in undivided)}",
            changes={"rl_chunk_size": whole} if whole != chunk else {"rl_mini_batch_size": step},
            parameters=("rl_chunk_size", *undivided),
        )
    if uneven:
        yield Finding(
            f"--rl-mini-batch-size {mini} is not a multiple of --batch-size {batch}",
            changes={"rl_mini_batch_size": step} | ({"rl_chunk_size": whole} if whole != chunk else {}),
            parameters=("rl_mini_batch_size", "batch_size"),
        )


def _nearest(size: int, fitting: Sequence[int], unit: int) -> int:
    """The fitting size nearest to this one, the larger of two; where none fits, a multiple of the unit."""
    return (
        min(fitting, key=lambda other: (abs(other - size), -other)) if fitting else max(unit, round(size / unit) * unit)
    )


@rule(
    "P805",
    example=Example(
        f"{PPO}rows.jsonl --gradient-accumulation 2 --rl-mini-batch-size 32",
        f"{PPO}rows.jsonl --rl-mini-batch-size 32",
        PROMPTS,
        PROMPTS,
    ),
)
def accumulation_agrees_with_the_mini_batch_size(
    config: Config, trainer: Trainer, machine: Machine
) -> Iterator[Finding]:
    """`--gradient-accumulation` and `--rl-mini-batch-size` give different numbers of completions per optimizer step.

    Why: the number of accumulated batches follows from `--rl-mini-batch-size` and `--batch-size`; `--gradient-accumulation` alone also
    determines the step.
    Fix: one of the two.
    """
    both = ("gradient_accumulation", "rl_mini_batch_size")
    batch = config.batch_size
    if not trainer.samples or not batch or not all(config.given(name) for name in both):
        return
    accumulation, mini = config.gradient_accumulation, config.rl_mini_batch_size
    per_step = batch * accumulation * machine.processes
    if min(per_step, mini) >= 1 and accumulation != math.ceil(mini / (batch * machine.processes)):
        yield Finding(
            f"--gradient-accumulation {accumulation} makes steps of {per_step} completions, and --rl-mini-batch-size is {mini}",
            changes={"gradient_accumulation": None},
            parameters=both,
        )


@rule(
    "P810",
    WARNING,
    example=of_flags("--gradient-accumulation 1", "--gradient-accumulation 1 --rl-mini-batch-size 2", PROMPTS, PPO),
)
def accumulation_sets_the_completions_of_a_step(
    config: Config, trainer: Trainer, machine: Machine
) -> Iterator[Finding]:
    """`--gradient-accumulation` without `--rl-mini-batch-size`.

    Why: the completions of an optimizer step are then `--batch-size` times `--gradient-accumulation` in each process, in place of the default
    of `--rl-mini-batch-size`, and the number of steps changes with them.
    Fix: `--rl-mini-batch-size` with that number, or leave `--gradient-accumulation` out.
    """
    given = [name for name in ("gradient_accumulation", "rl_mini_batch_size") if config.given(name)]
    if not trainer.samples or given != ["gradient_accumulation"] or not config.batch_size:
        return
    step, usual = answers_of_step(config, machine.processes), config.rl_mini_batch_size
    if step >= 1 and step != usual:
        yield Finding(
            f"--gradient-accumulation {config.gradient_accumulation} makes steps of {plural(step, 'completion')}, in place of the {usual} "
            "of --rl-mini-batch-size",
            changes={"rl_mini_batch_size": step},
            otherwise=f"or remove --gradient-accumulation for steps of {usual}",
            parameters=("gradient_accumulation", "rl_mini_batch_size"),
        )


@rule(
    "P811",
    WARNING,
    example=of_flags("--batch-size 64", "--batch-size 32", PROMPTS, PPO.replace("--batch-size 2 ", "")),
)
def a_batch_is_not_more_than_a_step(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """`--batch-size` is more than the completions of an optimizer step.

    Why: a forward pass never has more completions than its step, which has `--rl-mini-batch-size`, divided among the processes.
    Fix: the smaller `--batch-size`; or a larger `--rl-mini-batch-size`, which makes fewer and larger steps.
    """
    if not trainer.samples or not config.batch_size or not config.given("batch_size"):
        return
    step, processes = answers_of_step(config, machine.processes), machine.processes
    most = math.ceil(step / processes)
    if 1 <= most < config.batch_size:
        shared = f", {most} in each of {processes} processes" if processes > 1 else ""
        yield Finding(
            f"--batch-size {config.batch_size} is lowered to {most}: an optimizer step has {plural(step, 'completion')} "
            f"(--rl-mini-batch-size){shared}",
            changes={"batch_size": most},
            otherwise=f"or --rl-mini-batch-size {config.batch_size * processes} for larger steps",
            parameters=("batch_size", "rl_mini_batch_size"),
        )


@rule(
    "P802",
    refuses="--trainer ppo --rl-kl-target 6 --rl-kl-coef 0",
    accepts="--trainer ppo --rl-kl-target 6 --rl-kl-coef 0.05",
)
def an_adaptive_kl_coefficient_must_not_start_at_zero(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-kl-target` with `--rl-kl-coef 0`.

    Why: after each rollout the coefficient is multiplied by a factor near 1, so that 0 stays 0.
    Fix: an initial coefficient.
    """
    if trainer.samples and config.rl_kl_target and config.rl_kl_coef == 0:
        yield Finding(
            f"--rl-kl-target {config.rl_kl_target:g} adapts --rl-kl-coef by multiplication, and from 0 it stays 0",
            changes={"rl_kl_coef": 0.05},
            parameters=("rl_kl_target", "rl_kl_coef"),
        )


@rule(
    "P807",
    WARNING,
    refuses="--trainer ppo --rl-target-kl 6",
    accepts="--trainer ppo --rl-target-kl 0.05",
)
def early_stopping_needs_a_kl_limit_that_is_reached(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-target-kl` above 0.5.

    Why: training on a rollout stops when the policy's KL divergence since it was sampled exceeds this many nats per token, as in
    Stable-Baselines3 and CleanRL, where 0.01 to 0.05 is usual; with the clipped loss 0.5 is hardly ever reached. `--rl-target-kl` was once
    the target of the adaptive KL coefficient, in nats per answer, which is `--rl-kl-target` now.
    Fix: `--rl-kl-target` for an adaptive coefficient, or a smaller value.
    """
    limit = config.rl_target_kl
    if trainer.samples and limit is not None and limit > REACHED:
        yield Finding(
            f"--rl-target-kl {limit:g} stops training on a rollout at {limit:g} nats per token, which is hardly ever reached",
            guess={"rl_target_kl": None, "rl_kl_target": limit},
            otherwise="if that was meant, or --rl-target-kl 0.05",
            parameters=("rl_target_kl",),
        )


@rule(
    "P808",
    refuses="--trainer spo --spo-rho-min 0.97",
    accepts="--trainer spo --spo-rho-min 0.9",
)
def the_least_discount_is_below_the_largest(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--spo-rho-min` above `--spo-rho-max`.

    Why: the earlier rewards of a prompt are discounted by rho, which is the smaller the more the policy has changed and is clipped to the range
    between these two values. Here the range is empty.
    Fix: a minimum that is not above the maximum.
    """
    if not trainer.reads("spo_rho_min"):
        return
    lowest, highest = config[Spo].spo_rho_min, config[Spo].spo_rho_max
    if lowest > highest:
        yield Finding(
            f"--spo-rho-min {lowest:g} is above --spo-rho-max {highest:g}",
            changes={"spo_rho_min": highest},
            parameters=("spo_rho_min", "spo_rho_max"),
        )
