"""LoRA: the adapter's scale, the modules that it adapts, and an adapter that training continues from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import SFT, WITH_ADAPTER, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.lora import LOFTQ, OF_THE_BASE, Lora
from autotrain_llm.params.model import Model
from autotrain_llm.params.precision import AUTO, ON
from autotrain_llm.planning.fusing import flags_against_fusing
from autotrain_llm.planning.trained_tokens import is_automatic

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.models.metadata import ModelMetadata


@rule("P311", WARNING, refuses="--peft --lora-r 128 --lora-alpha 8", accepts="--peft --lora-r 32 --lora-alpha 64")
def lora_alpha_should_not_be_far_below_the_rank(lora: Lora) -> Iterator[Finding]:
    """`--lora-alpha` divided by `--lora-r` is far below 1.

    Why: the adapter's output is multiplied by alpha / r (with `--use-rslora` by alpha / sqrt(r)); with a small factor the adapter has
    almost no effect.
    Fix: an alpha of one or two times the rank.
    """
    if not (lora.peft and lora.lora_alpha > 0 and lora.lora_r >= 1):
        return
    scale = lora.lora_alpha / (lora.lora_r**0.5 if lora.use_rslora else lora.lora_r)
    if scale < 0.25:
        yield Finding(
            f"--lora-alpha {lora.lora_alpha:g} with --lora-r {lora.lora_r} scales the adapter's output by only {scale:g}",
            changes={"lora_alpha": 2 * lora.lora_r},
            parameters=("lora_alpha", "lora_r"),
        )


@rule("P375", refuses="--trainer sft --peft --fused-lora on --use-dora", accepts="--trainer sft --peft --fused-lora on")
def fused_adapters_are_plain_lora(config: Config) -> Iterator[Finding]:
    """`--fused-lora on` with a flag whose adapters PEFT computes: `--use-dora`, `--quantization int8`, `--compile on`, `--engine trl`,
    `--gradient-checkpointing selective`.

    Why: what is computed together is LoRA on matrices in floating point or in four bits. With the default, `auto`, such a run is as PEFT computes it,
    and the plan says so.
    Fix: without `--fused-lora on`, or without the other flag.
    """
    if not config.peft or config.fused_lora != ON:
        return
    for name, why in flags_against_fusing(config).items():
        yield Finding(
            f"--fused-lora on can't be combined with {flag_of(name)}: {why}",
            changes={"fused_lora": AUTO},
            parameters=("fused_lora", name),
        )


@rule("P318", refuses="--peft --target-modules lm_head", accepts="--peft --target-modules q_proj,v_proj")
def the_head_is_not_a_target_of_lora(lora: Lora) -> Iterator[Finding]:
    """`lm_head` is among the target modules.

    Why: the loss is computed from the hidden states and the head's weights together, without calling the module, so that an adapter on it
    would never be trained.
    Fix: leave it out.
    """
    if lora.peft and "lm_head" in lora.target_modules:
        others = ",".join(name for name in lora.target_modules if name != "lm_head") or "all-linear"
        yield Finding(
            "--target-modules names lm_head, whose adapter would never be trained",
            changes={"target_modules": others},
            parameters=("target_modules",),
        )


@rule("P322", refuses="--model scratch:1m --peft", accepts="--model scratch:1m")
def a_new_model_has_nothing_to_adapt(lora: Lora, model_flags: Model) -> Iterator[Finding]:
    """`--peft` with a `scratch:` model.

    Why: LoRA keeps the base model frozen, and the weights of a new model are random.
    Fix: train the whole model.
    """
    if lora.peft and str(model_flags.model or "").startswith("scratch:"):
        yield Finding(
            f"--peft would freeze the random weights of {model_flags.model}: a new model has to be trained as a whole",
            changes={"peft": None},
            parameters=("peft", "model"),
        )


@rule(
    "M186",
    WARNING,
    example=Example(
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft --lora-r 64",
        SFT.replace("MODEL", "./adapter") + "rows.jsonl --peft --lora-r 1",
        before=WITH_ADAPTER.replace('"LORA"', '"LORA", "r": 1'),
    ),
)
def an_adapter_that_is_trained_further_keeps_its_settings(config: Config, model: ModelMetadata) -> Iterator[Finding]:
    """A LoRA parameter differs from the adapter that training continues from.

    Why: rank, scale and target modules of an adapter are fixed when it is created; they can't change under its weights, and the value is
    ignored.
    Fix: remove the flag; or merge the adapter first and train a new one on the result.
    """
    if not config.peft or model.is_classifier:
        return
    for name, value in model.adapter_settings.items():
        turns_it_off = config.trainer_spec.samples or config.applies("model_ref")
        off = name == "lora_dropout" and turns_it_off and not config.lora_dropout
        given = config.value_of(name)
        differs = {*given} != {*value} if isinstance(value, list) else given != value
        if config.given(name) and differs and not off:
            yield Finding(
                f"{flag_of(name)} {plain(config.value_of(name))} is ignored: --model {model.name} is an adapter and keeps its own "
                f"{name.removeprefix('lora_').removeprefix('use_').replace('_', ' ')} of {plain(value)}",
                changes={name: None},
                parameters=(name, "model"),
            )
    if config.given("trainable_tokens") and not is_automatic(config) and model.is_adapter:
        yield Finding(
            f"--trainable-tokens {plain(config.trainable_tokens)} is ignored: --model {model.name} is an adapter and trains the tokens that it has rows of",
            changes={"trainable_tokens": None},
            parameters=("trainable_tokens", "model"),
        )
    if config.given("lora_init") and config.lora_init and model.is_adapter:
        yield Finding(
            f"--lora-init {config.lora_init} is ignored: --model {model.name} is an adapter, and goes on from its own weights",
            changes={"lora_init": None},
            parameters=("lora_init", "model"),
        )


@rule("P370", refuses="--peft --quantization int4 --lora-init pissa", accepts="--peft --lora-init pissa")
def how_an_adapter_begins_suits_its_base(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--lora-init` with weights, a trainer or another setting that it can't be used with.

    Why: PiSSA and OLoRA take the adapter's first values out of the model's weights, which therefore may not be quantised, and the model without its
    adapter is not the original one: it is no reference for dpo, kto, ppo, grpo and spo. A reward model has a head besides the adapter, DoRA is no
    difference of two products, and TRL's trainers save adapters in their own way. LoftQ begins with what 4 bits round away.
    Fix: what the finding names.
    """
    init = config.lora_init
    if not config.peft or init is None:
        return
    if init == LOFTQ:
        if config.quantization != "int4":
            yield Finding(
                "--lora-init loftq begins with what int4 rounds away, and the model is not loaded in int4",
                changes={"quantization": "int4"},
                otherwise="or remove --lora-init",
                parameters=("lora_init", "quantization"),
            )
        elif config.use_dora:
            yield Finding(
                "--lora-init loftq is of LoRA, and --use-dora computes its magnitudes before it",
                changes={"lora_init": None},
                parameters=("lora_init", "use_dora"),
            )
        return
    if init not in OF_THE_BASE:
        return
    reason = _stands_against(config, trainer)
    if reason is not None:
        name, why = reason
        yield Finding(
            f"--lora-init {init} takes its first values out of the model's weights, and {why}",
            changes={"lora_init": LOFTQ}
            if name == "quantization" and config.quantization == "int4"
            else {"lora_init": None},
            parameters=("lora_init", name),
        )


def _stands_against(config: Config, trainer: Trainer) -> tuple[str, str] | None:
    """What PiSSA and OLoRA can't be used with: the parameter and why."""
    if config.quantization:
        return "quantization", f"those in {config.quantization} can't be changed"
    if trainer.reads("model_ref") or trainer.samples:
        return "trainer", f"{trainer.name} needs the original model as its reference"
    if trainer.trains_a_scorer:
        return "trainer", f"{trainer.name} trains a head besides"
    if config.use_dora:
        return "use_dora", "with --use-dora the adapter could not be saved for the original model"
    if config.engine != "native":
        return "engine", "TRL's trainers would save it for the changed model"
    return None
