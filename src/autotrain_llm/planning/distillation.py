"""Decide the distillation: the teacher, and how its predictions enter the loss."""

from __future__ import annotations

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.plan import DistillPlan, EmbeddingRows

ONLINE = "online, with each batch"
CACHED = "once, before training"
SIZES = {"float64": 8.0, "float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
INT4 = 0.52  # bytes per value, including its part of the scales


def decide_distillation(config: Config, context: RunContext) -> DistillPlan | None:
    """The plan's `distillation`; None if the run has none."""
    if not context.distills:
        return None
    metadata = context.teacher
    student, teacher = _embedding_rows(context), metadata.embedding_rows if metadata else None
    sizes = [rows for rows in (student, teacher) if rows is not None]
    return DistillPlan(
        teacher=str(config.teacher_model),
        kind=metadata.located.kind if metadata else None,
        folder=str(metadata.located.path) if metadata and metadata.located.path else None,
        architecture=next(iter(metadata.architectures), metadata.model_type) if metadata else None,
        parameters=metadata.parameters if metadata else None,
        quantization=config.teacher_quantization,
        is_used=config.distill_alpha > 0,
        alpha=config.distill_alpha,
        temperature=config.distill_temperature,
        loss=config.distill_loss,
        top_k=config.distill_top_k if config.distill_cache else None,
        when=CACHED if config.distill_cache else ONLINE,
        student_prompt_template=config.student_prompt_template,
        teacher_prompt_template=config.teacher_prompt_template,
        tokens=min(sizes) if sizes else None,
        embedding_rows=EmbeddingRows(student, teacher) if student and teacher and student != teacher else None,
    )


def _embedding_rows(context: RunContext) -> int | None:
    if context.shape:
        return int(context.shape["vocab_size"])
    return context.model.embedding_rows if context.model else None


def teacher_weights(config: Config, context: RunContext, *, half: bool) -> int:
    """Bytes of the teacher's loaded weights; 0 if its weight in the loss is zero or its size is not known.

    If the student computes in half precision, the teacher's linear layers do too; a tied embedding keeps its type.
    """
    metadata = context.teacher
    if not context.distills or config.distill_alpha == 0 or metadata is None or metadata.parameters is None:
        return 0
    table = (metadata.embedding_rows or 0) * (metadata.hidden_size or 0)
    tables = table * (1 if metadata.is_tied else 2)
    bytes_each = SIZES.get(metadata.dtype or "", 4.0)
    if config.teacher_quantization:
        return int(INT4 * max(0, metadata.parameters - tables) + max(bytes_each, 2.0) * tables)
    if not half:
        return int(
            (4.0 if metadata.dtype == "float16" and not context.machine.has_cuda else bytes_each) * metadata.parameters
        )
    # A tied head is rounded into a copy, because the embedding stays in its own type.
    rounded_head = 2 * table if bytes_each > 2 and metadata.is_tied else 0
    unrounded = table if metadata.is_tied else tables - table
    return int(min(bytes_each, 2.0) * (metadata.parameters - unrounded) + bytes_each * unrounded) + rounded_head
