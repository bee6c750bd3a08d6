"""Check `autotrain chat`: its flags, and the files of its models. No weights are loaded."""

from __future__ import annotations

from autotrain_llm.checks.command_flags import CommandFlags
from autotrain_llm.checks.preflight import Checked
from autotrain_llm.checks.rules.chat import NO_STARTING_MODEL, SCORER_CANNOT_CHAT
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.registry import ANSWERING, PARAMS
from autotrain_llm.config.resolved import Config, resolve
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.context.starting_model import second_model
from autotrain_llm.declare.finding import Finding, in_order, refuses
from autotrain_llm.models.metadata import ModelMetadata

COMMANDS = ("dry_run", "strict", "format", "quiet", "verbose")
READS = (
    frozenset(param.name for param in PARAMS.values() if param.used_by_inference and param.name != "trainer")
    | ANSWERING
    | {"max_new_tokens", *COMMANDS}
)


def check_chat_arguments(arguments: ParsedArguments) -> Checked:
    """Check the command of `autotrain chat`."""
    config = resolve({name: value for name, value in arguments.values.items() if name != "inference"})
    command = CommandFlags(tuple(config.all_given()), READS)
    mistyped = {name for finding in arguments.findings for name in finding.parameters}  # and so not missing
    found = list(arguments.findings)
    inputs = {"config": config, "chat": command}
    for rule in RULES.values():
        if rule.function and rule.needs <= inputs.keys() and (rule.inference or "chat" in rule.needs):
            found += [finding for finding in rule.check(inputs) if not mistyped & {*finding.parameters}]
    config = config.without(command.unread)
    context = RunContext(config)
    if not refuses(found):
        found += _check_models(config, context)
    return Checked(config, in_order([*found, *context.findings]), context, command.unread)


def _check_models(config: Config, context: RunContext) -> list[Finding]:
    """The findings about the files of the models."""
    first = context.model
    if first is None:
        return []
    found = _check_model(first, "model")
    if config.against is not None:
        name = second_model(config.against, first)
        if name is None:
            message = f"--against base: {config.model} started from a new model, or nothing says from which other one"
            return [*found, NO_STARTING_MODEL.finding(message, "--against <name or folder>", ("against",))]
        second = context.models.secondary("against", name)
        found += [] if second is None else _check_model(second, "against")
    if not refuses(found):
        _ = context.tokenizer
    return found


def _check_model(metadata: ModelMetadata, parameter: str) -> list[Finding]:
    from autotrain_llm.models.checks.every import check_model

    if not metadata.is_classifier:
        return check_model(metadata, "sft", parameter=parameter)
    message = f"{metadata.name} scores texts and generates none"
    fix = f"autotrain llm --inference --model {metadata.name} --prompts FILE, which prints the scores"
    return [SCORER_CANNOT_CHAT.finding(message, fix, (parameter,))]
