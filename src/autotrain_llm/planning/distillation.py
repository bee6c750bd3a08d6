"""Decide the teacher, and how what it says reaches the loss."""

from __future__ import annotations

from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext

BESIDE = "beside each batch"
KEPT = "once, before training"
SIZES = {"float64": 8.0, "float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
INT4 = 0.52  # bytes of a value, with its share of the scales
WORDS = {"forward_kl": "KL(teacher‖student)", "reverse_kl": "KL(student‖teacher)", "jsd": "Jensen-Shannon"}


def decide_distillation(config: Config, context: RunContext) -> dict[str, Any] | None:
    """The plan's `distillation`; None where the run has none.

    `asked` is False where the teacher has no share of the loss. `tokens` are how many the two models are compared over, `cut` how many
    rows each one's embedding has where they are not as many.
    """
    if not context.distills:
        return None
    facts = context.teacher
    student, teacher = _embedding_rows(context), facts.embedding_rows if facts else None
    known = [rows for rows in (student, teacher) if rows is not None]
    return {
        "teacher": config.teacher_model,
        "kind": facts.located.kind if facts else None,
        "folder": str(facts.located.folder) if facts and facts.located.folder else None,
        "architecture": next(iter(facts.architectures), facts.model_type) if facts else None,
        "parameters": facts.parameters if facts else None,
        "quantization": config.teacher_quantization,
        "asked": config.distill_alpha > 0,
        "alpha": config.distill_alpha,
        "temperature": config.distill_temperature,
        "loss": config.distill_loss,
        "top_k": config.distill_top_k if config.distill_cache else None,
        "when": KEPT if config.distill_cache else BESIDE,
        "student_prompt_template": config.student_prompt_template,
        "teacher_prompt_template": config.teacher_prompt_template,
        "tokens": min(known) if known else None,
        "cut": {"student": student, "teacher": teacher} if len(set(known)) > 1 else None,
    }


def _embedding_rows(context: RunContext) -> int | None:
    if context.shape:
        return int(context.shape["vocab_size"])
    return context.model.embedding_rows if context.model else None


def teacher_weights(config: Config, context: RunContext, *, half: bool) -> int:
    """Bytes of the teacher's weights as they are loaded; 0 where none is asked, or its files don't tell how large it is.

    Where the student computes in half precision, so do the teacher's linear layers; an embedding that is the head too stays as it is.
    """
    facts = context.teacher
    if not context.distills or config.distill_alpha == 0 or facts is None or facts.parameters is None:
        return 0
    table = (facts.embedding_rows or 0) * (facts.hidden_size or 0)
    tables = table * (1 if facts.is_tied else 2)
    each = SIZES.get(facts.dtype or "", 4.0)
    if config.teacher_quantization:
        return int(INT4 * max(0, facts.parameters - tables) + max(each, 2.0) * tables)
    if not half:
        return int((4.0 if facts.dtype == "float16" and not context.machine.has_cuda else each) * facts.parameters)
    # A head that is the embedding too is rounded apart from it.
    beside = 2 * table if each > 2 and facts.is_tied else 0
    kept = table if facts.is_tied else tables - table
    return int(min(each, 2.0) * (facts.parameters - kept) + each * kept) + beside


def teacher_in_words(decided: dict[str, Any], size: str) -> list[tuple[str, str, str]]:
    """The plan's rows for the teacher: name, value, reason."""
    if not decided["asked"]:
        return [("teacher", f"{decided['teacher']}, not asked", "--distill-alpha 0")]
    kept = f", of which the {decided['top_k']} likeliest tokens are kept" if decided["top_k"] else ""
    quantised = f", in {decided['quantization']}" if decided["quantization"] else ""
    rows = [
        (
            "teacher",
            f"{decided['teacher']} ({decided['architecture']}, {size} parameters{quantised})",
            f"{decided['when']}{kept}",
        ),
        (
            "loss",
            f"{1 - decided['alpha']:g} of the task's, {decided['alpha']:g} T² {WORDS[decided['loss']]}",
            f"at temperature T = {decided['temperature']:g}",
        ),
    ]
    if decided["cut"]:
        rows.append(
            (
                "compared over",
                f"{decided['tokens']} tokens",
                f"the student's embedding has {decided['cut']['student']} rows, the teacher's {decided['cut']['teacher']}",
            )
        )
    return rows
