"""Check `autotrain export`: its flags, the model's files, and whether they can be written in the form that is asked for. Nothing is written."""

from __future__ import annotations

from pathlib import Path

from autotrain_llm.checks.command_flags import CommandFlags
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.checks.rules.export import OLLAMA, TEMPLATE_OF_A_MODELFILE, ExportCommand
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.resolved import Config, resolve
from autotrain_llm.context.output_dir import CHECKPOINT_NAME, CHECKPOINTS
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.context.trained_format import trained_format
from autotrain_llm.data.chat.modelfile import can_be_quoted, turn_texts
from autotrain_llm.data.chat.template import NONE, ChatTemplate, find_template
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenize.prompt_format import CHAT, TEXT, PromptFormat
from autotrain_llm.declare.finding import Finding, in_order, refuses
from autotrain_llm.declare.record import Record

READS = frozenset(
    [
        "model",
        "output_dir",
        "chat_template",
        "revision",
        "cache_dir",
        "offline",
        "token",
        "trust_remote_code",
        "push_to_hub",
        "username",
        "hub_private",
        "dry_run",
        "strict",
        "format",
        "quiet",
        "verbose",
    ]
)
SPELT = {"float32": "fp32", "f32": "fp32", "float16": "fp16", "f16": "fp16", "half": "fp16", "bfloat16": "bf16"}


class CheckedExport(Record):
    """The result of a check: the configuration, the findings, and what was read of the model."""

    config: Config
    command: ExportCommand
    findings: tuple[Finding, ...]
    context: RunContext
    template: ChatTemplate | None = None
    prompt_format: PromptFormat | None = None

    @property
    def refused(self) -> bool:
        return refuses(self.findings, self.config.strict)


def check_export(arguments: ParsedArguments, to: str | None, dtype: str | None) -> CheckedExport:
    """Check the command of `autotrain export`."""
    config = resolve(arguments.values, {}, None)
    dtype = SPELT.get(dtype.lower(), dtype.lower()) if dtype else None
    command = ExportCommand(to=to, dtype=dtype, flags=CommandFlags(tuple(config.all_given()), READS))
    if config.model and not config.given("output_dir"):
        config = config.replace({"output_dir": default_folder(config.model, to or "")})
    found = [*arguments.findings]
    config = config.without(command.flags.unread)
    context = RunContext(config)
    found += _check({"config": config, "export": command, "machine": context.machine})
    if refuses(found):
        return CheckedExport(config, command, in_order(found), context)
    found += _check_files(context, command)
    if refuses(found):
        return CheckedExport(config, command, in_order(found), context)
    template, prompt_format = _template(config, context, found)
    if to == OLLAMA:
        found += _check_modelfile(template, prompt_format)
    return CheckedExport(config, command, in_order(found), context, template, prompt_format)


def default_folder(model: str, form: str) -> str:
    """The folder that is written where none is named: beside the model's, or for a model on the Hub here."""
    path = Path(model.partition("@")[0]).expanduser()
    run = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    if CHECKPOINT_NAME.fullmatch(path.name) and run.is_dir():
        return f"{run}-{path.name}-{form}"
    return f"{path if path.is_dir() else path.name}-{form}"


def _check(inputs: dict[str, object]) -> list[Finding]:
    """Run the rules about exports that need exactly these inputs, or some of them."""
    rules = [rule for rule in RULES.values() if rule.function and "export" in rule.needs <= inputs.keys()]
    return [finding for rule in rules for finding in rule.check(inputs)]


def _check_files(context: RunContext, command: ExportCommand) -> list[Finding]:
    """The findings about the model's files."""
    from autotrain_llm.models.checks.every import check_model, check_reward_model

    metadata = context.model
    found: list[Finding] = []
    if metadata is not None:
        is_scorer = metadata.is_classifier
        found += check_reward_model(metadata, parameter="model") if is_scorer else check_model(metadata, "sft")
        found += _check({"export": command, "model": metadata})
        _ = context.tokenizer
    return [*found, *context.findings]


def _template(
    config: Config, context: RunContext, found: list[Finding]
) -> tuple[ChatTemplate | None, PromptFormat | None]:
    """The chat template by which the model is prompted (None: by plain text), and how its rows were written, where that is known."""
    trained = trained_format(context.model) if context.model is not None else None
    name = config.chat_template
    if name is None and trained is not None and trained.rows == TEXT:
        name = trained.template or NONE
    observations = Observations()
    template = find_template(name, context.tokenizer, observations) if context.tokenizer is not None else None
    found += observations.findings()
    return template, trained


def _check_modelfile(template: ChatTemplate | None, trained: PromptFormat | None) -> list[Finding]:
    if template is None:
        return []
    texts = turn_texts(template)
    system = trained.system or "" if trained is not None and trained.rows == CHAT else ""
    if texts is not None and can_be_quoted(texts, system):
        return []
    reason = "it writes a turn differently by what comes before or after it" if texts is None else 'it holds """'
    message = f"the chat template can't be written into a Modelfile, because {reason}"
    fix = "use the GGUF file with llama.cpp, which executes the template; or write TEMPLATE in the Modelfile yourself"
    return [TEMPLATE_OF_A_MODELFILE.finding(message, fix, ("chat_template",))]
