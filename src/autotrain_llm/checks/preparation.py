"""Check `autotrain prepare`: its flags, the rows, and with a model the rows as tokens. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autotrain_llm.checks.command_flags import CommandFlags
from autotrain_llm.checks.preflight import Checked, ignored_parameters
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.checks.rules.prepared_data import UNWRITABLE_FOLDER
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import CONFIG_FILE, Config, resolve
from autotrain_llm.context.model_context import attempt
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import Finding, Refused, in_order, refuses
from autotrain_llm.declare.text import as_list

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Progress
    from autotrain_llm.data.prepared.info import PreparedInfo

COMMANDS = ("config", "dry_run", "strict", "format", "quiet", "verbose", "check_rows", "check_secrets")
NOT_OF_PREPARE = ("streaming", "stream_buffer")  # all rows are prepared
# What decides on rows and tokens says in its declaration at which stage it is read.
READS = frozenset(
    [
        param.name
        for param in PARAMS.values()
        if param.stage and param.name not in ("trust_remote_code", *NOT_OF_PREPARE)
    ]
    + ["trainer", "output_dir", "data_config", "tokenizer", "revision", "cache_dir", "offline", "token", *COMMANDS]
)
# The trainers that are tried for rows without `--trainer`, and the formats with which each is chosen.
USUAL = {
    "kto": ("prompt/completion/label",),
    "dpo": ("preference",),
    "sft": ("messages", "sharegpt", "alpaca", "prompt/completion", "tokens"),
    "generic": ("text",),
    "grpo": ("prompts",),
}
LOOKED_AT = 100  # rows


def check_prepare_arguments(
    arguments: ParsedArguments, from_file: ParsedArguments, progress: Progress | None = None
) -> Checked:
    """Check the command of `autotrain prepare`."""
    config = resolve(arguments.values, from_file.values, arguments.values.get("config"))
    findings = [*arguments.findings, *from_file.findings]
    return check_preparation(with_usual_trainer(config), findings, progress)


def write_prepared(checked: Checked, progress: Progress | None = None) -> tuple[PreparedInfo, tuple[Finding, ...]]:
    """Write what was checked. Returns what was written, and all findings. Raises Refused if it can't be."""
    from autotrain_llm.data.mixture.dataset import MixedDataset
    from autotrain_llm.data.prepared.make import TokenSettings, make_prepared
    from autotrain_llm.data.prepared.mixed import first_epoch

    config, context = checked.config, checked.context
    dataset, tokenizer = context.dataset, context.tokenizer if reads_tokens(config) else None
    assert dataset is not None and config.output_dir is not None
    settings = None
    if tokenizer is not None:
        named = str(config.tokenizer or config.model)
        settings = TokenSettings(tokenizer, context.data.preparation, config.model, named)
    names = [name for name in config.all_given() if name in READS and not PARAMS[name].secret]
    parameters = {name: as_list(config.value_of(name)) for name in names if name not in (*COMMANDS, "output_dir")}
    mixture = None
    if isinstance(dataset, MixedDataset):
        dataset, mixture = first_epoch(dataset, config.seed, context.prepared if settings else None)
    try:
        info, findings = make_prepared(
            dataset, context.data.request, config.output_dir, parameters, settings, mixture, progress
        )
    except OSError as problem:
        message = f"--output-dir {config.output_dir} can't be written: {problem.strerror or problem}"
        fix = "a folder in a place that can be written and has room"
        raise Refused([*checked.findings, UNWRITABLE_FOLDER.finding(message, fix, ("output_dir",))]) from problem
    except Refused as refused:
        raise Refused([*checked.findings, *refused.findings]) from refused
    return info, (*checked.findings, *findings)


def reads_tokens(config: Config) -> bool:
    """Whether the rows are tokenised too."""
    return bool(config.model or config.tokenizer)


def check_preparation(config: Config, findings: Iterable[Finding], progress: Progress | None = None) -> Checked:
    """Run every check that has to do with rows and tokens."""
    command = CommandFlags(tuple(name for name in config.all_given() if config.source(name) != CONFIG_FILE), READS)
    found = list(findings)
    mistyped = {name for finding in found for name in finding.suggestion}  # and so not missing
    inputs = {"config": config, "trainer": config.trainer_spec, "command": command}
    for rule in RULES.values():
        if rule.function and rule.needs <= inputs.keys():
            is_own = "command" in rule.needs
            given = (one for one in rule.check(inputs) if not (is_own and mistyped & {*one.parameters}))
            found += [one for one in given if is_own or (one.parameters and {*one.parameters} <= READS)]
    ignored = ignored_parameters(config)
    config = config.without((*ignored, *NOT_OF_PREPARE))
    context = RunContext(config, progress=progress)
    if not refuses(found):
        found += _check_rows(config, context)
    return Checked(config, in_order(found), context, ignored)


def _check_rows(config: Config, context: RunContext) -> list[Finding]:
    """The findings about the rows, and about what is made of them."""
    from autotrain_llm.data.mixture.dataset import MixedDataset
    from autotrain_llm.data.prepared.mixed import mixture_of_rows

    dataset, found = context.dataset, list[Finding]()
    if dataset is not None and reads_tokens(config):
        # The rows are tokenised when they are written; those of a mixture before, because it decides by their tokens which are.
        _ = context.prepared if config.dry_run or config.data_config else context.tokenizer
    elif isinstance(dataset, MixedDataset):
        mixed = attempt(lambda: mixture_of_rows(dataset, config.seed), found)
        found += mixed[1] if mixed else ()
    return [*context.row_checks.findings, *context.findings, *found]


def with_usual_trainer(config: Config) -> Config:
    """The configuration with the trainer that rows of this kind are usually for, if none is given."""
    if config.given("trainer") or not config.rows_from:
        return config
    if config.given("num_labels"):
        return config.replace({"trainer": "reward"})
    from autotrain_llm.data.formats.column_names import QUESTIONS
    from autotrain_llm.data.wording import plain

    for name, formats in USUAL.items():
        tried = config.replace({"trainer": name})
        dataset = RunContext(tried.replace({"dry_run": True, "check_rows": LOOKED_AT})).dataset
        if dataset is None:
            continue
        questions_alone = dataset.format == "text" and plain(dataset.columns["text"]) in QUESTIONS
        if {*dataset.format.split(", ")} <= {*formats} and not questions_alone:
            return tried
    return config
