"""Modules that can't have an adapter, or only under conditions: experts of a mixture, and matrices that kernels read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autotrain_llm.declare.example import SFT, Example, of_config_key
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import show_count
from autotrain_llm.models.architectures import MIXERS, WITHOUT_LORA
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.checks.target_modules import ALL_LINEAR, is_called, split_targets
from autotrain_llm.models.experts import FUSED_PAIRS, adapts_experts, expert_names, expert_parameters
from autotrain_llm.models.metadata import ModelMetadata

ROWS = SFT + "rows.jsonl "
MIXTURE = "where MODEL is a Mixtral"
Targets = str | Iterable[str] | None


@rule(
    "M189",
    roles=(LANGUAGE_MODEL,),
    example=of_config_key('"model_type": "llama"', '"model_type": "mixtral"', "--peft --lora-dropout 0.1"),
)
def an_adapter_of_experts_has_neither_dropout_nor_magnitudes(
    metadata: ModelMetadata, target_modules: Targets = None, lora_dropout: float | None = None, use_dora: bool = False
) -> Iterator[Finding]:
    """`--lora-dropout` above 0 or `--use-dora` with an adapter on the experts of a mixture.

    Why: the experts of a layer are one tensor, which is adapted as a whole; PEFT has neither dropout nor DoRA for that. Without
    `--lora-dropout` it is 0 there.
    Fix: remove the flag, or name target modules that are not in experts.
    """
    if metadata.is_adapter or not adapts_experts(metadata, split_targets(target_modules)):
        return
    others = "or --target-modules with modules outside the experts: q_proj,k_proj,v_proj,o_proj"
    if lora_dropout:
        message = f"--lora-dropout {lora_dropout:g} can't be used for an adapter on the experts of {metadata.name}"
        yield Finding(message, changes={"lora_dropout": 0.0}, otherwise=others, parameters=("lora_dropout",))
    if use_dora:
        message = f"--use-dora can't be used for an adapter on the experts of {metadata.name}"
        yield Finding(message, changes={"use_dora": None}, otherwise=others, parameters=("use_dora",))


@rule(
    "M190",
    roles=(LANGUAGE_MODEL,),
    example=Example(ROWS + "--peft --target-modules w1", ROWS + "--peft --target-modules w1,w3", on=MIXTURE),
)
def matrices_of_experts_that_are_fused_are_named_together(
    metadata: ModelMetadata, target_modules: Targets = None
) -> Iterator[Finding]:
    """`--target-modules` names one of two matrices of the experts that are one tensor when the model is loaded.

    Why: `gate_proj` and `up_proj` (in Mixtral `w1` and `w3`) are concatenated; an adapter is on both or on none.
    Fix: name both.
    """
    targets = split_targets(target_modules)
    if metadata.is_adapter or not adapts_experts(metadata, targets):
        return
    for pair in FUSED_PAIRS:
        named = [name for name in pair if name in targets]
        if len(named) == 1 and set(pair) <= set(expert_names(metadata)):
            (missing,) = set(pair) - set(named)
            yield Finding(
                f"--target-modules names {named[0]} without {missing}: both are one tensor in the experts of {metadata.name}",
                changes={"target_modules": ",".join([*targets, missing])},
                parameters=("target_modules",),
            )


@rule(
    "M191",
    WARNING,
    roles=(LANGUAGE_MODEL,),
    example=Example(ROWS + "--peft", ROWS + "--peft --target-modules q_proj,v_proj", on="where MODEL is a gpt-oss"),
)
def experts_get_an_adapter(metadata: ModelMetadata, target_modules: Targets = None) -> Iterator[Finding]:
    """`--peft` on a mixture of experts whose experts PEFT can't adapt.

    Why: most weights of a mixture are in its experts. Without an adapter on them only attention, routers and shared experts are trained.
    Fix: name the modules that are meant (then it is no surprise), or train without `--peft`.
    """
    targets, names = split_targets(target_modules), expert_names(metadata)
    if metadata.is_adapter or adapts_experts(metadata, targets):
        return
    meant = targets == [ALL_LINEAR] or any(name in names for name in targets)
    if not names or not meant:
        return
    share = f" ({show_count(expert_parameters(metadata))} parameters)" if expert_parameters(metadata) else ""
    outside = ",".join(name for name in metadata.linear_names if name not in names) or ALL_LINEAR
    yield Finding(
        f"--target-modules {','.join(targets)}: the experts of a {metadata.model_type}{share} get no adapter and stay as they are",
        changes={"target_modules": outside} if outside != ",".join(targets) else {},
        otherwise="to say so; without --peft the experts are trained too",
        parameters=("target_modules", "peft"),
    )


@rule(
    "M192",
    roles=(LANGUAGE_MODEL,),
    example=Example(
        ROWS + "--peft --target-modules out_proj", ROWS + "--peft --target-modules in_proj", on="where MODEL is a Mamba"
    ),
)
def matrices_that_kernels_read_have_no_adapter(
    metadata: ModelMetadata, target_modules: Targets = None
) -> Iterator[Finding]:
    """`--target-modules` names `out_proj` or `conv1d` of a state-space metadata.

    Why: its kernels read these weights without calling the modules, so that an adapter on them would have no effect; PEFT refuses it.
    `all-linear` leaves them out.
    Fix: the other modules.
    """
    targets = split_targets(target_modules)
    if metadata.is_adapter or metadata.model_type not in MIXERS:
        return
    refused = [name for name in targets if any(is_called(name, part) for part in WITHOUT_LORA)]
    if refused:
        others = [name for name in targets if name not in refused]
        available = ", ".join(name for name in metadata.linear_names if name not in WITHOUT_LORA)
        yield Finding(
            f"--target-modules: {', '.join(refused)} of a {metadata.model_type} can't have an adapter (these can: {available})",
            changes={"target_modules": ",".join(others) or ALL_LINEAR},
            parameters=("target_modules",),
        )
