"""From parsed arguments to a check: the one entry for the command line, a config file, Python and a saved plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.file import read_config
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, resolve_layers
from autotrain_llm.declare.finding import Refused

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.config.stages import Pipeline
    from autotrain_llm.data.dataset import Progress


def read_config_file(given: Mapping[str, Any]) -> ParsedArguments:
    """The arguments of the config file that given values, which take precedence, name; if it can't be read, that is a finding like others."""
    path = given.get("config")
    if path is None:
        return ParsedArguments()
    try:
        return read_config(path, given)
    except Refused as refused:
        unread = ParsedArguments()
        for finding in refused.findings:
            unread.leave(finding, "config", path)
        return unread


def read_stages(arguments: ParsedArguments) -> Pipeline | None:
    """The stages of the config file that a command names, itself or by a saved plan, whose flags are then added to the arguments; None if
    it has none. Raises Refused if a file that a stage extends can't be read."""
    if arguments.values.get("plan") is not None:
        from autotrain_llm.checks.saved_stages import read_saved_stages, with_saved_flags

        saved = read_saved_stages(arguments.values["plan"])
        if saved is None:
            return None
        with_saved_flags(arguments, saved)
    path = arguments.values.get("config")
    if path is None:
        return None
    from autotrain_llm.config.stages import read_pipeline

    return read_pipeline(path, arguments.values.get("output_dir"))


def check_arguments(
    arguments: ParsedArguments, from_file: ParsedArguments, progress: Progress | None = None
) -> Checked:
    """Check a command. Raises Refused if `--plan` is not a plan. `progress` is told how far reading rows is."""
    from autotrain_llm.checks.preflight import preflight

    findings = [*arguments.findings, *from_file.findings]
    if arguments.values.get("plan") is not None:
        from autotrain_llm.checks.saved_plan import check_plan

        return check_plan(arguments.values, from_file.values, findings, progress)
    layers = {COMMAND_LINE: arguments.layer, CONFIG_FILE: from_file.layer}
    return preflight(resolve_layers(layers, arguments.values.get("config")), findings, progress=progress)


def check_flags_of_job(arguments: ParsedArguments) -> Checked:
    """Check the flags of a command that is carried out as a job, on machines whose files and GPUs are not here. A config file is read where it is."""
    from autotrain_llm.checks.coverage import all_but_flags
    from autotrain_llm.checks.preflight import preflight

    from_file = read_config_file(arguments.values)
    layers = {COMMAND_LINE: arguments.layer, CONFIG_FILE: from_file.layer}
    findings = [*arguments.findings, *from_file.findings]
    checked = preflight(resolve_layers(layers, arguments.values.get("config")), findings, files=False)
    why = "the job checks them where it runs, before it starts its processes"
    return checked.replace(not_checked=all_but_flags(why, "the same with --dry-run and without --launch"))
