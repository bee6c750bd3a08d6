"""Distillation: the teacher, what student and teacher must have in common, and settings without effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import ANSWERS, SFT, TWO, Example, of_flags
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.distillation import Distillation
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

PROMPT = "{prompt}"
TEMPLATES = ("student_prompt_template", "teacher_prompt_template")
DISTILS = "--trainer sft --use-distillation --teacher-model other"
TEACHER = "--use-distillation --teacher-model "
WITH_TEMPLATE = SFT + "rows.jsonl --teacher-prompt-template 'Think: {prompt}\n' " + TEACHER + "TEACHER"
BEHIND_A_SERVICE = re.compile(
    r"^(openai/)?(gpt-[345]|o[134](-|$)|chatgpt)|^(anthropic/)?claude-|^(google/)?gemini-", re.IGNORECASE
)


def distils(distillation: Distillation, trainer: Trainer) -> bool:
    return trainer.reads("use_distillation") and bool(distillation.use_distillation)


@rule("P501", refuses="--trainer sft --use-distillation", accepts=DISTILS)
def distillation_needs_a_teacher(distillation: Distillation, trainer: Trainer) -> Iterator[Finding]:
    """`--use-distillation` without `--teacher-model`.

    Why: the loss compares student and teacher at every token; without a teacher there is nothing to compare.
    Fix: name a teacher, or remove `--use-distillation`.
    """
    if distils(distillation, trainer) and not distillation.teacher_model:
        yield Finding(
            "--use-distillation needs --teacher-model",
            fix="add --teacher-model <name or path>",
            parameters=("use_distillation", "teacher_model"),
        )


@rule("P502", refuses="--trainer sft --use-distillation --teacher-model gpt-4", accepts=DISTILS)
def the_weights_of_a_teacher_must_be_available(distillation: Distillation) -> Iterator[Finding]:
    """`--teacher-model` names a model that is available through a service only.

    Why: distillation compares the probabilities of every token, for which the teacher's weights are needed; a service returns text.
    Fix: an open model; or let the service write answers and train on them with `--trainer sft`.
    """
    teacher = distillation.teacher_model
    if distillation.use_distillation and teacher and BEHIND_A_SERVICE.search(teacher):
        yield Finding(
            f"--teacher-model {teacher} is behind a service: a teacher's weights are needed, on disk or from the Hub",
            fix="--teacher-model <open model>, or train with --trainer sft on answers that the service wrote",
            parameters=("teacher_model",),
        )


@rule(
    "P503",
    WARNING,
    refuses="--trainer sft --model other --use-distillation --teacher-model other",
    accepts=DISTILS,
)
def a_teacher_should_not_be_its_own_student(config: Config) -> Iterator[Finding]:
    """Teacher and student are the same model.

    Why: their probabilities are equal at the start, so the teacher has nothing to teach.
    Fix: a larger or better teacher.
    """
    teacher = config.teacher_model
    if config.use_distillation and teacher and teacher == config.model:
        yield Finding(
            f"--teacher-model and --model are the same ({teacher}), so there is nothing to learn from it",
            fix="--teacher-model <a larger or better model>",
            parameters=("teacher_model", "model"),
        )


@rule("P504", WARNING, refuses=f"{DISTILS} --distill-alpha 0", accepts=f"{DISTILS} --distill-alpha 0.5")
def a_teacher_should_have_a_weight_in_the_loss(distillation: Distillation, trainer: Trainer) -> Iterator[Finding]:
    """`--use-distillation` with `--distill-alpha 0`.

    Why: the teacher's part of the loss has zero weight, so the teacher is not loaded, and the run is the same as without it.
    Fix: a value above 0, or remove `--use-distillation`.
    """
    if distils(distillation, trainer) and distillation.distill_alpha == 0:
        yield Finding(
            "--distill-alpha 0 gives the teacher zero weight, so it is never run",
            changes={"distill_alpha": 0.5},
            otherwise="or remove --use-distillation",
            parameters=("distill_alpha",),
        )


@rule(
    "P506",
    refuses=f"{DISTILS} --teacher-prompt-template Answer!",
    accepts=f"{DISTILS} --teacher-prompt-template 'Answer with care: {{prompt}}'",
)
def a_prompt_template_contains_the_prompt(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--student-prompt-template` or `--teacher-prompt-template` without {prompt}.

    Why: every prompt would be the same text, and the row's own prompt would be lost.
    Fix: put {prompt} where the prompt belongs.
    """
    for name in TEMPLATES:
        template = config.value_of(name) if distils(config, trainer) else None
        if template is not None and PROMPT not in template:
            yield Finding(
                f"{flag_of(name)} has no {PROMPT} in it: {template[:60]!r}",
                fix=f"{flag_of(name)} '{template[:60]} {PROMPT}'",
                parameters=(name,),
            )


@rule(
    "P507",
    refuses="--trainer generic --use-distillation --teacher-model other --teacher-prompt-template 'Q: {prompt}'",
    accepts=f"{DISTILS} --teacher-prompt-template 'Q: {{prompt}}'",
)
def documents_have_no_prompts(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A prompt template for a trainer that trains on documents.

    Why: a document is one text without prompt and answer, so that there is nothing to insert into the template.
    Fix: remove it, or train on prompts with answers (`--trainer sft`).
    """
    for name in TEMPLATES:
        if distils(config, trainer) and trainer.rows == "documents" and config.value_of(name) is not None:
            yield Finding(
                f"{flag_of(name)}: {trainer.name} trains on documents, which have no prompts",
                changes={name: None},
                otherwise="or --trainer sft on rows with prompts",
                parameters=(name,),
            )


@rule("P508", WARNING, refuses=f"{DISTILS} --distill-top-k 32", accepts=f"{DISTILS} --distill-top-k 32 --distill-cache")
def distill_top_k_needs_the_cache(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--distill-top-k` without `--distill-cache`.

    Why: only the cache is limited to the top-k tokens; a teacher that runs alongside each batch is compared over the whole vocabulary.
    Fix: add `--distill-cache`, or remove it.
    """
    if distils(config, trainer) and config.given("distill_top_k") and not config.distill_cache:
        yield Finding(
            "--distill-top-k has no effect without --distill-cache, will be ignored",
            changes={"distill_cache": True},
            otherwise="or remove --distill-top-k",
            parameters=("distill_top_k",),
        )


@rule(
    "P509",
    refuses=f"{DISTILS} --response-only-loss false --teacher-prompt-template 'Q: {{prompt}}'",
    accepts=f"{DISTILS} --teacher-prompt-template 'Q: {{prompt}}'",
)
def different_prompts_can_not_be_distilled(distillation: Distillation, sft: Sft, trainer: Trainer) -> Iterator[Finding]:
    """`--response-only-loss false` where the teacher sees a different prompt than the student.

    Why: student and teacher are compared token by token, and two different prompts have different tokens.
    Fix: train on the answers only, or give both the same prompt.
    """
    template = distillation.teacher_prompt_template if distils(distillation, trainer) else None
    differ = template is not None and template != (distillation.student_prompt_template or PROMPT)
    if differ and trainer.reads("response_only_loss") and sft.response_only_loss is False:
        yield Finding(
            "--response-only-loss false: the teacher's prompts differ from the student's, so only the answers can be compared",
            changes={"response_only_loss": None},
            otherwise="or --teacher-prompt-template",
            parameters=("response_only_loss", "teacher_prompt_template"),
        )


@rule("P510", refuses="--trainer sft --use-distillation --teacher-model scratch:5m", accepts=DISTILS)
def a_teacher_must_be_trained(distillation: Distillation, trainer: Trainer) -> Iterator[Finding]:
    """`--teacher-model scratch:SIZE`.

    Why: a new model has random weights; there is nothing to learn from it.
    Fix: train it first, and name that run.
    """
    teacher = str(distillation.teacher_model or "")
    if distils(distillation, trainer) and teacher.startswith("scratch:"):
        yield Finding(
            f"--teacher-model {teacher} would be a new model with random weights, and has nothing to teach",
            fix=f"train --model {teacher} first, then --teacher-model <that run>",
            parameters=("teacher_model",),
        )


# Against the files of both models, and the rows.


@rule(
    "M181",
    example=of_flags(
        TEACHER + "other",
        TEACHER + "TEACHER",
        before="cp -r MODEL other\nsed -i.old 's/im_start/begin/' other/tokenizer.json",
    ),
)
def a_teacher_has_the_vocabulary_of_the_student(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The tokenizer of `--teacher-model` has another vocabulary than the one the rows are tokenized with.

    Why: student and teacher are compared token by token, by token id. With another vocabulary an id stands for another token, and the student
    learns nonsense. Tokens that only the teacher has, after all of the student's, are left out of the comparison, with a warning; embedding
    rows that belong to no token are left out without one.
    Fix: a teacher of the student's family, or for a new student `--tokenizer` with the teacher's tokenizer.
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
            f"--teacher-model {name} has {theirs.size - own.size} tokens that the student does not have ({extra}): they are left out",
            fix="nothing, if the rows don't use them",
            parameters=("teacher_model",),
            severity=WARNING,
        )


@rule("M182", WARNING, example=of_flags(TEACHER + "copy", TEACHER + "TEACHER", before="cp -r MODEL copy"))
def a_teacher_should_not_be_a_copy_of_its_student(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--teacher-model` has the same weights as `--model`, under another name.

    Why: their probabilities are equal at the start, so the teacher has nothing to teach.
    Fix: a larger or better teacher.
    """
    from autotrain_llm.models.identity import same_weights

    teacher = context.teacher
    same_name = config.teacher_model == config.model  # P503 reports it
    if teacher is None or same_name or context.is_scratch or not same_weights(model, teacher):
        return
    yield Finding(
        f"--teacher-model {teacher.name} and --model {model.name} have the same weights, so there is nothing to learn from it",
        fix="--teacher-model <a larger or better model>",
        parameters=("teacher_model", "model"),
    )


@rule("M183", example=Example(WITH_TEMPLATE, WITH_TEMPLATE, TWO, ANSWERS))
def answers_have_the_same_tokens_on_both_sides(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A prompt template for rows without prompts, or one after which the answers are tokenized differently.

    Why: student and teacher are compared token by token over the answers. Without prompts there is nothing to insert into the template, and
    different tokens can't be compared. After a longer prompt an answer may also exceed the teacher's context.
    Fix: rows with prompts and answers, a template that ends in a line break, a shorter one.
    """
    from autotrain_llm.data.prompt_template import has_prompts

    templates = [name for name in TEMPLATES if context.distills and config.value_of(name) is not None]
    if not templates or context.dataset is None or config.trainer_spec.rows == "documents":
        return
    if not has_prompts(context.dataset):
        yield Finding(
            f"{' and '.join(map(flag_of, templates))}: the rows of {context.dataset.path} ({context.dataset.format}) have no prompts",
            fix="rows with prompt and completion or with messages, or remove the template",
            parameters=tuple(templates),
            file=context.dataset.path,
        )
    elif context.teacher_rows is not None and context.teacher_rows.unlike:
        rows = context.teacher_rows.unlike
        first_rows = ", ".join(str(example.row) for example in rows[:3]) + (", …" if len(rows) > 3 else "")
        yield Finding(
            f"--teacher-prompt-template: {rows[0].file}, row {rows[0].row}: after the teacher's prompt the answer has different tokens, or "
            f"does not fit into the teacher's context ({len(rows)} rows: {first_rows})",
            fix="a template that ends in a line break, or a shorter one",
            parameters=("teacher_prompt_template",),
            file=rows[0].file,
            row=rows[0].row,
        )


@rule(
    "M184",
    example=of_flags(
        TEACHER + "short",
        TEACHER + "TEACHER",
        '{"text": "%s"}\n' % ("word " * 40) + TWO,
        before="""cp -r TEACHER short\nsed -i.old 's/_embeddings": 2048/_embeddings": 16/' short/config.json""",
    ),
)
def rows_fit_into_the_context_of_the_teacher(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """Rows are longer than the teacher's context.

    Why: the teacher was never trained on positions beyond its context, and some models have none there.
    Fix: the teacher's context as the maximum length, or another teacher.
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
            guess={"max_seq_length" if config.applies("max_seq_length") else "block_size": context_length},
            otherwise="which truncates longer rows, or a --teacher-model with a longer context",
            parameters=("teacher_model",),
            severity=WARNING if teacher.rope_scaling else ERROR,
        )
