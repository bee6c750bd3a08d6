"""The findings about the files of every model that a run uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.evaluation import encoder_of
from autotrain_llm.planning.rollouts import reward_models

if TYPE_CHECKING:
    from autotrain_llm.models.metadata import ModelMetadata

# The parameters that name models other than the trained one.
SECONDARY = frozenset({"model_ref", "teacher_model", "rl_reward_model_path", "eval_bertscore_model"})


def check_models(config: Config, context: RunContext, broken: Collection[str]) -> Iterator[Finding]:
    """The trained model, then those next to it whose parameter is not `broken`."""
    from autotrain_llm.models.checks.every import check_encoder, check_model, check_reward_model

    if context.model is not None and not context.is_scratch:
        yield from check_model(
            context.model,
            config.trainer,
            peft=config.peft,
            target_modules=config.target_modules if config.peft else None,
            lora_dropout=config.lora_dropout if config.given("lora_dropout") else None,
            use_dora=config.use_dora,
            trust_remote_code=config.trust_remote_code,
            tokenizer=config.tokenizer,
            tokenizer_folder=context.tokenizer_folder if config.tokenizer else None,
        )
    context.models.without(SECONDARY & set(broken))
    if "model_ref" not in broken:
        yield from _compared_model("model_ref", context.reference, config, context)
    if "teacher_model" not in broken:
        yield from _compared_model("teacher_model", context.teacher, config, context)
    if "rl_reward_model_path" not in broken:
        for name in reward_models(config):
            scorer = context.models.secondary("rl_reward_model_path", name)
            if scorer is not None:
                yield from check_reward_model(scorer)
    if "eval_bertscore_model" not in broken:
        encoder = context.models.secondary("eval_bertscore_model", encoder_of(config))
        if encoder is not None:
            yield from check_encoder(encoder, parameter="eval_bertscore_model")


def _compared_model(
    parameter: str, metadata: ModelMetadata | None, config: Config, context: RunContext
) -> Iterator[Finding]:
    """A reference model or a teacher. The rows have the token ids of the trained model's tokenizer, not of its own."""
    from autotrain_llm.models.checks.every import check_model

    if metadata is not None and not metadata.is_scratch:
        yield from check_model(
            metadata,
            config.trainer,
            peft=True,  # it is not trained
            trust_remote_code=config.trust_remote_code,
            tokenizer=config.tokenizer or config.model,
            tokenizer_folder=context.tokenizer_folder,
            parameter=parameter,
        )
