"""Quantisation: of the base model, of a model that was quantised before, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import of_config_key, where, without_gpu
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.lora import Lora
from autotrain_llm.params.optimizers import BITSANDBYTES, OPTIMIZERS
from autotrain_llm.params.precision import Precision

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

NEED_CUDA = frozenset(["gptq", "awq", "aqlm", "hqq", "eetq", "quip", "fp8", "fbgemm_fp8", "vptq"])
INSTALL = "pip install bitsandbytes"


@rule("P317", refuses="--quantization int4", accepts="--quantization int4 --peft")
def a_quantised_base_needs_an_adapter(precision: Precision, lora: Lora) -> Iterator[Finding]:
    """`--quantization` without `--peft`.

    Why: weights in 4 or 8 bits are frozen; without an adapter there is nothing to train.
    Fix: add `--peft`, or train in full precision.
    """
    if precision.quantization and not lora.peft:
        yield Finding(
            f"--quantization {precision.quantization} freezes the model, and without --peft there is nothing to train",
            changes={"peft": True},
            parameters=("quantization", "peft"),
        )


@rule("P325", refuses="--quantization int4 --peft --merge-adapter", accepts="--peft --merge-adapter")
def a_quantised_base_is_not_merged_into(precision: Precision, lora: Lora) -> Iterator[Finding]:
    """`--merge-adapter` with `--quantization`.

    Why: adding an adapter to weights of 4 or 8 bits rounds most of it away.
    Fix: keep the adapter, or merge it into the full-precision base afterwards.
    """
    if lora.merge_adapter and precision.quantization:
        yield Finding(
            f"--merge-adapter would add the adapter to weights in {precision.quantization} (--quantization), and rounding would lose most of it",
            changes={"merge_adapter": None},
            parameters=("merge_adapter", "quantization"),
        )


@rule("E503", example=without_gpu("--optimizer paged_adamw_8bit", "--optimizer adamw_bnb_8bit"))
def quantization_needs_bitsandbytes(precision: Precision, config: Config, machine: Machine) -> Iterator[Finding]:
    """`--quantization` or an optimizer of bitsandbytes without that package; a paged optimizer without CUDA.

    Why: the kernels come with that package, for GPUs and for processors. Pages of an optimizer's states are moved between a GPU's memory and the machine's.
    Fix: install it, or use what the finding names.
    """
    if precision.quantization in PARAMS["quantization"].choices:
        yield from needs_bitsandbytes("quantization", precision.quantization, machine)
    optimizer = OPTIMIZERS.get(config.optimizer)
    if optimizer is None or optimizer.package != BITSANDBYTES:
        return
    if optimizer.needs_gpu and not machine.has_cuda:
        message = f"--optimizer {config.optimizer} needs a CUDA GPU, and this machine has none"
        yield Finding(message, changes={"optimizer": "adamw_bnb_8bit"}, parameters=("optimizer",))
    yield from needs_bitsandbytes("optimizer", config.optimizer, machine)


def needs_bitsandbytes(name: str, value: str, machine: Machine) -> Iterator[Finding]:
    """A setting that only bitsandbytes can carry out, where it is not installed."""
    if not machine.has_package("bitsandbytes"):
        yield Finding(f"{flag_of(name)} {value} needs the package bitsandbytes", INSTALL, (name,))


@rule(
    "E521",
    example=where(
        "where bitsandbytes is not installed",
        "--use-distillation --teacher-model TEACHER --teacher-quantization int4",
        "--use-distillation --teacher-model TEACHER",
    ),
)
def a_quantised_teacher_needs_bitsandbytes(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """`--teacher-quantization` without the package bitsandbytes.

    Why: the kernels come with that package.
    Fix: install it; or remove the flag, and use `--distill-cache`, which needs the teacher in memory only before training.
    """
    if trainer.reads("use_distillation") and config.use_distillation and config.teacher_quantization:
        yield from needs_bitsandbytes("teacher_quantization", config.teacher_quantization, machine)


@rule(
    "M179",
    example=of_config_key("^{", '{"quantization_config": {"quant_method": "gptq", "bits": 4}, ', "--peft"),
)
def a_quantised_model_is_used_as_it_is(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """A model that is already quantised, and a flag or a machine that it can't be used with.

    Why: the kernels of most methods exist for CUDA only; its weights can't be quantised a second time, and merging an adapter into them rounds it away.
    Fix: use the original model in full precision.
    """
    if not model.quantization:
        return
    original = "or use the original model in full precision"
    kind = f"--model {model.name} is already quantised ({model.quantization} in its config.json)"
    if config.quantization:
        message = f"{kind}, and --quantization {config.quantization} would quantise it again"
        yield Finding(message, changes={"quantization": None}, otherwise=original, parameters=("quantization", "model"))
    if config.peft and config.merge_adapter:
        message = f"{kind}, and --merge-adapter would add the adapter to rounded weights and lose most of it"
        yield Finding(
            message, changes={"merge_adapter": None}, otherwise=original, parameters=("merge_adapter", "model")
        )
    if model.quantization in NEED_CUDA and not context.machine.has_cuda:
        yield Finding(
            f"{kind}: its kernels need a CUDA GPU, and this machine has none",
            "--model <the original model in full precision>",
            ("model",),
        )
