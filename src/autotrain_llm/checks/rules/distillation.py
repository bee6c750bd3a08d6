"""What student and teacher have to have in common, and what of distillation has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.example import Example
    from autotrain_llm.models.metadata import ModelMetadata

PLACE = "{prompt}"
TEMPLATES = ("student_prompt_template", "teacher_prompt_template")
USED = "--trainer sft --use-distillation --teacher-model other"


def distills(config: Config, trainer: Trainer) -> bool:
    return trainer.reads("use_distillation") and bool(config.use_distillation)


@rule("P504", WARNING, refuses=f"{USED} --distill-alpha 0", accepts=f"{USED} --distill-alpha 0.5")
def a_teacher_should_have_a_share_of_the_loss(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--use-distillation` with `--distill-alpha 0`.

    Why: nothing of the loss is the teacher's, so it is not loaded, and the run is the same as without it.
    Fix: a share above 0, or leave distillation out.
    """
    if distills(config, trainer) and config.distill_alpha == 0:
        yield Finding(
            "--distill-alpha 0 leaves the teacher no share of the loss: it is not asked",
            changes={"distill_alpha": 0.5},
            otherwise="or remove --use-distillation",
            parameters=("distill_alpha",),
        )


@rule("P505", refuses=f"{USED} --engine trl", accepts=USED)
def the_trl_engine_has_no_teacher(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--use-distillation` with `--engine trl`.

    Why: TRL's trainers of these tasks take no teacher; those of its trainers that do learn from what the student writes, or without the
    task's own loss.
    Fix: the native engine.
    """
    if distills(config, trainer) and config.engine == "trl":
        yield Finding(
            "--engine trl can't learn from a teacher: TRL's trainers for these tasks have none",
            changes={"engine": None},
            parameters=("engine", "use_distillation"),
        )


@rule(
    "P506",
    refuses=f"{USED} --teacher-prompt-template Answer!",
    accepts=f"{USED} --teacher-prompt-template 'Answer with care: {{prompt}}'",
)
def a_prompt_template_holds_the_prompt(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--student-prompt-template` or `--teacher-prompt-template` without {prompt}.

    Why: every prompt would be the same text, and what was asked be lost.
    Fix: put {prompt} where the prompt belongs.
    """
    for name in TEMPLATES:
        template = config.value_of(name) if distills(config, trainer) else None
        if template is not None and PLACE not in template:
            flag = f"--{name.replace('_', '-')}"
            yield Finding(
                f"{flag} has no {PLACE} in it: {template[:60]!r}",
                fix=f"{flag} '{template[:60]} {PLACE}'",
                parameters=(name,),
            )


@rule(
    "P507",
    refuses="--trainer generic --use-distillation --teacher-model other --teacher-prompt-template 'Q: {prompt}'",
    accepts=f"{USED} --teacher-prompt-template 'Q: {{prompt}}'",
)
def documents_have_no_prompts(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A prompt template for a trainer that reads documents.

    Why: a document is one text without prompt or answer, so there is nothing to put into the template.
    Fix: leave it out, or train on prompts with answers (`--trainer sft`).
    """
    for name in TEMPLATES:
        if distills(config, trainer) and trainer.rows == "documents" and config.value_of(name) is not None:
            flag = f"--{name.replace('_', '-')}"
            yield Finding(
                f"{flag}: {trainer.name} reads documents, which have no prompts",
                changes={name: None},
                otherwise="or --trainer sft on rows with prompts",
                parameters=(name,),
            )


@rule(
    "P508",
    WARNING,
    refuses=f"{USED} --distill-top-k 32",
    accepts=f"{USED} --distill-top-k 32 --distill-cache",
)
def only_a_cache_keeps_the_likeliest_tokens(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--distill-top-k` without `--distill-cache`.

    Why: a teacher that is asked beside each batch is compared over all tokens of the vocabulary; nothing is kept.
    Fix: add `--distill-cache`, or leave it out.
    """
    if distills(config, trainer) and config.given("distill_top_k") and not config.distill_cache:
        yield Finding(
            "--distill-top-k has no effect without --distill-cache, will be ignored",
            changes={"distill_cache": True},
            otherwise="or remove --distill-top-k",
            parameters=("distill_top_k",),
        )


@rule(
    "P509",
    refuses=f"{USED} --response-only-loss false --teacher-prompt-template 'Q: {{prompt}}'",
    accepts=f"{USED} --teacher-prompt-template 'Q: {{prompt}}'",
)
def prompts_that_differ_are_not_learnt(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--response-only-loss false` where the teacher sees another prompt than the student.

    Why: student and teacher are compared token by token, and the tokens of two different prompts are not the same.
    Fix: learn the answers only, or show both the same prompt.
    """
    given = config.teacher_prompt_template if distills(config, trainer) else None
    differ = given is not None and given != (config.student_prompt_template or PLACE)
    if differ and trainer.reads("response_only_loss") and config[Sft].response_only_loss is False:
        yield Finding(
            "--response-only-loss false: the teacher's prompts are others, so that only the answers can be compared",
            changes={"response_only_loss": None},
            otherwise="or --teacher-prompt-template",
            parameters=("response_only_loss", "teacher_prompt_template"),
        )


@rule("P510", refuses="--trainer sft --use-distillation --teacher-model scratch:5m", accepts=USED)
def a_teacher_has_learnt_something(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--teacher-model scratch:SIZE`.

    Why: a new model has random weights; there is nothing to learn from it.
    Fix: train it first, and name that run.
    """
    teacher = str(config.teacher_model or "")
    if distills(config, trainer) and teacher.startswith("scratch:"):
        yield Finding(
            f"--teacher-model {teacher} would be a new model, with nothing to teach",
            fix=f"train --model {teacher} first, then --teacher-model <that run>",
            parameters=("teacher_model",),
        )


@rule("E521")
def a_quantised_teacher_needs_cuda_and_bitsandbytes(
    config: Config, trainer: Trainer, machine: Machine
) -> Iterator[Finding]:
    """`--teacher-quantization` without CUDA or without bitsandbytes.

    Why: the kernels are that package's, and exist for CUDA.
    Fix: leave it out, or `--distill-cache`, with which the teacher is loaded once and let go.
    """
    if not distills(config, trainer) or not config.teacher_quantization:
        return
    flag = f"--teacher-quantization {config.teacher_quantization}"
    if not machine.has_cuda:
        yield Finding(
            f"{flag} needs a CUDA GPU, and this machine has none",
            changes={"teacher_quantization": None},
            otherwise="and with --distill-cache its memory is needed only before training",
            parameters=("teacher_quantization",),
        )
    if not machine.has_package("bitsandbytes"):
        yield Finding(
            f"{flag} needs the package bitsandbytes",
            fix='pip install "autotrain-llm[gpu]"',
            parameters=("teacher_quantization",),
        )


# Against the files of both models, and the rows.


@rule("M181")
def a_teacher_reads_the_same_tokens(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """The tokenizer of `--teacher-model` gives other ids than the one the rows are written with.

    Why: student and teacher are compared token by token, by the tokens' numbers. With another vocabulary these stand for other words, and
    the student learns nonsense. Tokens that the teacher has beyond all of the student's are left out of the comparison, with a warning;
    rows of an embedding that no token has are, without one.
    Fix: a teacher of the student's family, or `--tokenizer` with the teacher's own for a new student.
    """
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.declare.finding import Refused

    teacher, own = context.teacher, context.tokenizer
    if teacher is None or own is None or teacher.tokenizer_folder is None:
        return
    try:
        theirs = Tokenizer.load(teacher.tokenizer_folder)
    except Refused:
        return  # the rows don't need it
    name = config.teacher_model
    different = own.differing_token(theirs)
    if different is not None:
        yield Finding(
            f"--teacher-model {name}: its tokenizer has another vocabulary than the student's: {different}",
            fix="a --teacher-model with the tokenizer of --model",
            changes={"tokenizer": name} if context.is_scratch else EMPTY,
            parameters=("teacher_model",),
            file=str(teacher.tokenizer_folder / "tokenizer.json"),
        )
    elif theirs.size > own.size:
        extra = theirs.differing_token(own)
        yield Finding(
            f"--teacher-model {name} has {theirs.size - own.size} tokens that the student has not ({extra}): they are left out",
            fix="nothing, where the rows have no use for them",
            parameters=("teacher_model",),
            severity=WARNING,
        )


@rule("M182", WARNING)
def a_teacher_should_not_be_a_copy_of_its_student(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The files of `--teacher-model` are those of `--model`, under another name.

    Why: at the start their probabilities are equal, so the teacher teaches nothing.
    Fix: a larger or better teacher.
    """
    from autotrain_llm.models.identity import same_weights

    teacher = context.teacher
    named_alike = config.teacher_model == config.model  # P503 says so
    if teacher is None or named_alike or context.is_scratch or not same_weights(model, teacher):
        return
    yield Finding(
        f"--teacher-model {teacher.name} and --model {model.name} have the same weights, so there is nothing to learn from it",
        fix="--teacher-model <a larger or better model>",
        parameters=("teacher_model", "model"),
    )


@rule("M183")
def answers_are_the_same_on_both_sides(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """A prompt template where the rows have no prompts, or where the answers come out as other tokens behind the teacher's prompt.

    Why: student and teacher are compared token by token over the answers; without a prompt there is nothing to put into the template, and
    with other tokens nothing to compare. Behind a longer prompt an answer may also reach beyond the teacher's context.
    Fix: rows with prompts and answers, a template that ends in a line break, a shorter one.
    """
    from autotrain_llm.data.prompt_template import has_prompts

    flags = [name for name in TEMPLATES if context.distills and config.value_of(name) is not None]
    if not flags or context.dataset is None or config.trainer_spec.rows == "documents":
        return
    if not has_prompts(context.dataset):
        flag = " and ".join(f"--{name.replace('_', '-')}" for name in flags)
        yield Finding(
            f"{flag}: the rows of {context.dataset.path} ({context.dataset.format}) have no prompts",
            fix="rows with prompt and completion or with messages, or remove the template",
            parameters=tuple(flags),
            file=context.dataset.path,
        )
    elif context.teacher_rows is not None and context.teacher_rows.unlike:
        yield _unlike(context.teacher_rows.unlike)


def _unlike(rows: list[Example]) -> Finding:
    first = ", ".join(str(example.row) for example in rows[:3])
    count = f"{len(rows)} rows: {first}" + (", …" if len(rows) > 3 else "")
    return Finding(
        f"--teacher-prompt-template: {rows[0].file}, row {rows[0].row}: behind the teacher's prompt its answer is not the same tokens, or "
        f"does not fit the teacher's context ({count})",
        fix="a template that ends in a line break or a space-free word, or a shorter one",
        parameters=("teacher_prompt_template",),
        file=rows[0].file,
        row=rows[0].row,
    )


@rule("M184")
def rows_fit_the_context_of_the_teacher(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """Rows are longer than what the teacher was made for.

    Why: positions beyond its context were never learnt, and some models have none there at all.
    Fix: the teacher's context as the longest row, or another teacher.
    """
    teacher, prepared = context.teacher, context.prepared
    context_length = teacher.context_length if teacher else None
    if teacher is None or prepared is None or context_length is None or context.teacher_rows is not None:
        return
    longest = min(prepared.statistics["tokens"]["max"], context.limit.tokens)
    if config.trainer_spec.rows == "documents":
        longest = min(prepared.statistics["total_tokens"], context.limit.tokens)
    if longest > context_length:
        yield Finding(
            f"--teacher-model {teacher.name} has a context of {context_length} tokens, and rows have up to {longest}",
            changes={"max_seq_length" if config.applies("max_seq_length") else "block_size": context_length},
            parameters=("teacher_model",),
            severity=WARNING if teacher.rope_scaling else "error",
        )
