"""How long a row, its prompt and its answer may be, and rows that share one sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import DPO, PAIRS, SFT, Example, of_config_key, of_flags, of_rows
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.planning.plan import Plan

WITHOUT_TRAINER = SFT.replace("--trainer sft ", "")
LONG_TEXTS = f'{{"text": "{"word " * 40}"}}\n' * 2


@rule(
    "P312",
    WARNING,
    refuses="--trainer sft --block-size 128 --max-seq-length 512",
    accepts="--trainer sft --max-seq-length 512",
)
def one_length_should_be_given(config: Config) -> Iterator[Finding]:
    """Two flags give the maximum length of a row, with different values.

    Why: `--max-seq-length`, `--block-size` and `--model-max-length` all set it. The first of them, in this order, that was given is used;
    the plan shows which. A `--model-max-length` above the length of a row is the model's context, and no other length.
    Fix: keep one.
    """
    names = ("max_seq_length", "block_size", "model_max_length")
    lengths = {name: config.value_of(name) for name in names if config.given(name) and config.applies(name)}
    lengths = {name: length for name, length in lengths.items() if length not in (None, -1)}
    context = lengths.get("model_max_length", 0)
    if len(lengths) > 1 and context >= next(iter(lengths.values())):
        del lengths["model_max_length"]
    if len(set(lengths.values())) > 1:
        flags = [f"{flag_of(name)} {length}" for name, length in lengths.items()]
        used, *others = lengths
        yield Finding(
            f"{' and '.join(flags)} are different maximum lengths; {flag_of(used)} {lengths[used]} is used",
            changes=dict.fromkeys(others),
            parameters=tuple(lengths),
        )


@rule(
    "P313",
    refuses="--trainer dpo --block-size 512 --max-prompt-length 512",
    accepts="--trainer dpo --block-size 1024 --max-prompt-length 512",
)
def a_prompt_must_leave_room_for_its_answer(config: Config) -> Iterator[Finding]:
    """`--max-prompt-length` is as long as the whole row.

    Why: a prompt of that length leaves no room for an answer, and only answers are trained on.
    Fix: a shorter prompt or a longer row.
    """
    given = config.given("block_size") and config.given("max_prompt_length")
    if not given or not config.applies("max_prompt_length"):
        return
    block, prompt = config.block_size, config.max_prompt_length
    if 0 < block <= prompt:
        yield Finding(
            f"--max-prompt-length {prompt} leaves no room for an answer in rows of --block-size {block}",
            changes={"max_prompt_length": max(2, block // 2)},
            parameters=("max_prompt_length", "block_size"),
        )


@rule("M171", example=of_flags("--max-seq-length 100000", "--max-seq-length 512"))
def a_row_is_not_longer_than_the_context(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The maximum length that was given is longer than the model's context.

    Why: the model was never trained on positions beyond its context, and some models have none there; the libraries train without a
    message. Only a warning if the model scales its positions (`rope_scaling`).
    Fix: the model's context length.
    """
    limit, context_length = context.limit, context.context_length
    if not limit.given or config.model_max_length or context_length is None or limit.tokens <= context_length:
        return
    yield Finding(
        f"{flag_of(limit.parameter)} {limit.tokens} is longer than the model's context of {context_length} tokens "
        "(max_position_embeddings in its config.json)",
        changes={limit.parameter: context_length},
        parameters=(limit.parameter,),
        severity=WARNING if model.rope_scaling else ERROR,
    )


@rule(
    "M172",
    WARNING,
    example=Example(
        SFT.replace("MODEL", "short") + "rows.jsonl --max-seq-length 512",
        SFT.replace("MODEL", "short") + "rows.jsonl --max-seq-length 64",
        before="cp -r MODEL short\nsed -i.old 's/^{/{\"model_max_length\": 64,/' short/tokenizer_config.json",
    ),
)
def a_row_should_not_be_longer_than_the_tokenizer_says(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """The maximum length that was given is longer than the tokenizer's `model_max_length`.

    Why: everyone who uses the trained model with this tokenizer gets inputs truncated at that length.
    Fix: that length, or `--model-max-length` if the tokenizer's value is wrong.
    """
    limit, tokenizer = context.limit, context.tokenizer
    longest = tokenizer.model_max_length if tokenizer else None
    if not limit.given or config.model_max_length or longest is None or limit.tokens <= longest:
        return
    if context.context_length is not None and limit.tokens > context.context_length:
        return  # M171 reports it
    yield Finding(
        f"{flag_of(limit.parameter)} {limit.tokens} is longer than the tokenizer's model_max_length of {longest}",
        changes={limit.parameter: longest},
        parameters=(limit.parameter,),
    )


@rule("M185", WARNING, example=of_flags("--max-prompt-length 4096", "--max-prompt-length 512", PAIRS, DPO))
def a_prompt_or_an_answer_fits_its_row(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--max-prompt-length` or `--max-completion-length` is longer than the longest row.

    Why: a prompt of that length leaves no room for its answer, and an answer is truncated where its row ends, whatever its own limit is.
    Fix: a smaller value, or a larger `--block-size` where the model's context allows it.
    """
    longest = context.limit.tokens
    for name, most in (("max_prompt_length", longest - 1), ("max_completion_length", longest)):
        value = config.value_of(name)
        reported_by_p313 = name == "max_prompt_length" and config.given("block_size")
        if config.given(name) and config.applies(name) and value > most and not reported_by_p313:
            yield Finding(
                f"{flag_of(name)} {value} does not fit into the longest row of {longest} tokens ({flag_of(context.limit.parameter)})",
                changes={name: max(2, longest // 2)},
                otherwise=f"or a higher {flag_of(context.limit.parameter)}",
                parameters=(name, context.limit.parameter),
            )


@rule("M173", WARNING, example=of_config_key('"llama"', '"nemotron"', "--packing"))
def packing_needs_an_architecture_that_keeps_rows_apart(
    sft: Sft, config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--packing` with an architecture whose batches are padded.

    Why: the attention of such an architecture would see all the short rows in one packed sequence as one text.
    Fix: remove it; the value is ignored.
    """
    from autotrain_llm.models.architectures import keeps_rows_apart

    apart, reason = keeps_rows_apart(model.config or {})
    if config.applies("packing") and sft.packing and not apart and not context.is_scratch:
        yield Finding(f"--packing is ignored: {reason}", changes={"packing": None}, parameters=("packing",))


@rule("P340", WARNING, example=of_rows(LONG_TEXTS, command=WITHOUT_TRAINER, flags=" --block-size 16"))
def long_texts_should_have_a_trainer_that_splits_them(plan: Plan) -> Iterator[Finding]:
    """No `--trainer` is given, and plain texts are longer than the maximum length.

    Why: without `--trainer` it is sft, which trains on each text as a row of its own and on no more of it than fits.
    Fix: `--trainer generic`, which joins all texts and splits them into blocks, so that every token is trained on; or `--trainer sft`.
    """
    truncated = plan.data.truncated_rows
    if plan.default_trainer_on_texts and truncated:
        yield Finding(
            f"no --trainer is given, so it is sft, which trains on the first {plan.length.tokens} tokens of each text: "
            f"{truncated} of {plural(plan.data.rows, 'text')} {'is' if truncated == 1 else 'are'} longer",
            fix="--trainer generic, which splits texts into blocks, or --trainer sft",
            parameters=("trainer",),
        )
