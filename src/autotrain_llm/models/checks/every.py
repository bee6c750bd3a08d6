"""All checks of a model's files, by the use that is made of the model.

A rule here reads what its arguments name: `metadata` of the model, `parameter` that names it (findings speak of its flag), and of the
command `trainer` (its name), `peft`, `target_modules`, `lora_dropout` if it was given, `use_dora`, `trust_remote_code`, `tokenizer` and `tokenizer_folder` where it isn't the
model's own. A new model (`scratch:`) has no files and no findings.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import Finding
from autotrain_llm.models.checks import (
    adapter,
    config,
    files,
    generation_config,
    lora_targets,
    reward_model,
    target_modules,
    task,
    tokenizer,
    weights_match_config,
)
from autotrain_llm.models.checks.roles import ENCODER, LANGUAGE_MODEL, SCORER
from autotrain_llm.models.metadata import ModelMetadata

RULES = [
    function.RULE
    for module in (
        files,
        config,
        weights_match_config,
        adapter,
        generation_config,
        tokenizer,
        task,
        target_modules,
        lora_targets,
        reward_model,
    )
    for function in vars(module).values()
    if getattr(function, "RULE", None) is not None and function.__module__ == module.__name__
]


def check_model(
    metadata: ModelMetadata,
    trainer: str,
    *,
    peft: bool = False,
    target_modules: str | Iterable[str] | None = None,
    lora_dropout: float | None = None,
    use_dora: bool = False,
    trust_remote_code: bool = False,
    tokenizer: str | None = None,
    tokenizer_folder: Path | None = None,
    parameter: str = "model",
) -> list[Finding]:
    """The findings about a model that is trained, or compared with the trained one."""
    return _check(
        LANGUAGE_MODEL,
        metadata=metadata,
        parameter=parameter,
        trainer=trainer,
        peft=peft,
        target_modules=target_modules if peft else None,
        lora_dropout=lora_dropout,
        use_dora=use_dora,
        trust_remote_code=trust_remote_code,
        tokenizer=tokenizer,
        tokenizer_folder=tokenizer_folder,
    )


def check_reward_model(metadata: ModelMetadata, *, parameter: str = "rl_reward_model_path") -> list[Finding]:
    """The findings about a model that scores texts."""
    return _check(SCORER, metadata=metadata, parameter=parameter, tokenizer=None, peft=False)


def check_encoder(metadata: ModelMetadata, *, parameter: str) -> list[Finding]:
    """The findings about a model whose hidden states are read, of texts that its own tokenizer encodes."""
    return _check(ENCODER, metadata=metadata, parameter=parameter, tokenizer=None, peft=False)


def _check(role: str, **inputs: Any) -> list[Finding]:
    rules = [rule for rule in RULES if not rule.roles or role in rule.roles]
    return [finding for rule in rules for finding in rule.check(inputs)]
