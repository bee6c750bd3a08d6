"""What was asked for against what the model's own files say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

MOVED = 0.01  # share of the tokens, so that one that was mended is not complained of
NEED_CUDA = frozenset(["bitsandbytes", "gptq", "awq", "aqlm", "hqq", "eetq", "quip", "fp8", "fbgemm_fp8", "vptq"])


@rule("M171")
def a_row_is_not_longer_than_the_context(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A given length is longer than what the model was made for.

    Why: positions beyond the context were never learnt, and some models have none there at all; the libraries train on in silence.
    A warning only where the model stretches its positions (`rope_scaling`).
    Fix: the model's context.
    """
    limit, context_length = context.limit, context.context_length
    if not limit.given or config.model_max_length or context_length is None or limit.tokens <= context_length:
        return
    yield Finding(
        f"{flag_of(limit.parameter)} {limit.tokens} is longer than the model's context of {context_length} "
        "(max_position_embeddings in its config.json)",
        changes={limit.parameter: context_length},
        parameters=(limit.parameter,),
        severity=WARNING if model.rope_scaling else "error",
    )


@rule("M172", WARNING)
def a_row_should_not_be_longer_than_the_tokenizer_says(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A given length is longer than the tokenizer's `model_max_length`.

    Why: whoever uses the finished model with this tokenizer will have longer inputs cut at that length.
    Fix: that length, or `--model-max-length` to say that the tokenizer is wrong.
    """
    limit, tokenizer = context.limit, context.tokenizer
    longest = tokenizer.model_max_length if tokenizer else None
    if not limit.given or config.model_max_length or longest is None or limit.tokens <= longest:
        return
    if context.context_length is not None and limit.tokens > context.context_length:
        return  # the context says it already
    yield Finding(
        f"{flag_of(limit.parameter)} {limit.tokens} is longer than the tokenizer's model_max_length of {longest}",
        changes={limit.parameter: longest},
        parameters=(limit.parameter,),
    )


@rule("M188", WARNING)
def a_tokenizer_gives_the_ids_that_the_model_learnt(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--tokenizer` gives tokens other ids than the tokenizer that lies with the model's weights.

    Why: the model's vectors belong to its own ids; with others each token begins as one it isn't. Tokens that are new, or gone, say nothing.
    Fix: leave `--tokenizer` out.
    """
    if not config.tokenizer or context.tokenizer is None or model.tokenizer_folder in (None, context.tokenizer_folder):
        return
    share, first = context.models.moved_tokens(model)
    if share >= MOVED:
        yield Finding(
            f"--tokenizer {config.tokenizer} gives other ids than the tokenizer in --model {model.name}, which its weights were trained with: "
            f"{first}",
            changes={"tokenizer": None},
            parameters=("tokenizer", "model"),
        )


@rule("M173", WARNING)
def packing_needs_rows_that_are_kept_apart(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--packing` with an architecture that is laid out padded.

    Why: in a padded row its attention would mix the short rows that share it.
    Fix: leave it out; the value is ignored.
    """
    from autotrain_llm.models.architectures import keeps_rows_apart

    apart, reason = keeps_rows_apart(model.config or {})
    if config.applies("packing") and config[Sft].packing and not apart and not context.is_scratch:
        yield Finding(f"--packing is ignored: {reason}", changes={"packing": None}, parameters=("packing",))


@rule("M186", WARNING)
def an_adapter_that_is_gone_on_with_keeps_its_shape(config: Config, model: ModelMetadata) -> Iterator[Finding]:
    """A parameter of LoRA says something else than the adapter that training goes on with.

    Why: an adapter has its rank, its scale and its modules from the day it was made; they can't change under its weights, and the value is
    ignored.
    Fix: leave it out; or merge the adapter first and train a new one on the result.
    """
    own = model.adapter_config
    if not config.peft or own is None or model.is_classifier:
        return
    kept = {
        "lora_r": own.get("r"),
        "lora_alpha": own.get("lora_alpha"),
        "lora_dropout": own.get("lora_dropout"),
        "use_dora": own.get("use_dora"),
        "use_rslora": own.get("use_rslora"),
    }
    for name, value in kept.items():
        if value is not None and config.given(name) and config.value_of(name) != value:
            yield Finding(
                f"{flag_of(name)} {plain(config.value_of(name))} is ignored: --model {model.name} is an adapter, and keeps its own "
                f"{name.removeprefix('lora_').removeprefix('use_')} of {plain(value)}",
                changes={name: None},
                parameters=(name, "model"),
            )


@rule("M179")
def a_quantised_model_is_taken_as_it_is(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """A model that was quantised before, and something that can't be done with it.

    Why: its kernels are made for CUDA; its weights can't be quantised a second time, and an adapter that is added into them is rounded away.
    Fix: the model that it was made from.
    """
    if not model.quantization:
        return
    whole = "or take the model that it was made from"
    kind = f"--model {model.name} is already quantised ({model.quantization} in its config.json)"
    if config.quantization:
        message = f"{kind}, and --quantization {config.quantization} would do it again"
        yield Finding(message, changes={"quantization": None}, otherwise=whole, parameters=("quantization", "model"))
    if config.peft and config.merge_adapter:
        message = f"{kind}, and --merge-adapter would round the adapter away"
        yield Finding(message, changes={"merge_adapter": None}, otherwise=whole, parameters=("merge_adapter", "model"))
    if model.quantization in NEED_CUDA and not context.machine.has_cuda:
        message = f"{kind}: its kernels need a CUDA GPU, and this machine has none"
        fix = "--model <the model that it was made from>"
        yield Finding(message, fix=fix, parameters=("model",))


@rule("M185", WARNING)
def a_side_of_a_pair_fits_its_row(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--max-prompt-length` or `--max-completion-length` is beyond the longest row.

    Why: a prompt that long leaves no room for its answer, and an answer is cut where its row ends, whatever its own limit says.
    Fix: a smaller one, or a longer `--block-size` where the model's context allows it.
    """
    longest = context.limit.tokens
    for name, beyond in (("max_prompt_length", longest - 1), ("max_completion_length", longest)):
        value = config.value_of(name)
        both = name == "max_prompt_length" and config.given("block_size")  # which is said already
        if config.given(name) and config.applies(name) and value > beyond and not both:
            yield Finding(
                f"{flag_of(name)} {value} is beyond the longest row, of {longest} tokens ({flag_of(context.limit.parameter)})",
                changes={name: max(2, longest // 2)},
                otherwise=f"or a higher {flag_of(context.limit.parameter)}",
                parameters=(name, context.limit.parameter),
            )
