"""The plans of a config of stages, saved together and trained later: `--save-plan FILE` and `--plan FILE`.

The file has the flags, the plan of every stage and digests of what it was made from. To train it, the config is read and checked again; every
difference is a finding of the stage that it is in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import write_or_refuse
from autotrain_llm.checks.rules.command_line import CONTRADICTS_THE_PLAN, PLAN_HAS_CHANGED
from autotrain_llm.checks.saved_plan import FORM, differing_parts, differing_versions
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.stages import STAGES, in_stage
from autotrain_llm.context.versions import versions
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of

if TYPE_CHECKING:
    from autotrain_llm.checks.stages import CheckedPipeline, StageCheck


def save_stages(checked: CheckedPipeline, arguments: ParsedArguments, path: str) -> None:
    """Write the plans of a check. Raises Refused if the file can't be written."""
    given = {
        name: value for name, value in arguments.values.items() if not (PARAMS[name].command or PARAMS[name].secret)
    }
    stages = {
        check.stage.name: {"plan": check.checked.plan.as_json(), "files": dict(check.inputs.files)}
        for check in checked.stages
        if check.checked is not None and check.checked.plan is not None
    }
    document = {"form": FORM, "config": checked.pipeline.path, "given": given, "versions": versions(), STAGES: stages}
    write_or_refuse(path, "save_plan", json.dumps(document, indent=1, ensure_ascii=False, default=list) + "\n")


def read_saved_stages(path: str) -> dict[str, Any] | None:
    """A file that `save_stages` wrote; None if it is another."""
    try:
        document = parse_json(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError):
        return None
    is_saved = isinstance(document, dict) and document.get("form") == FORM and isinstance(document.get(STAGES), dict)
    return document if is_saved and isinstance(document.get("config"), str) else None


def with_saved_flags(arguments: ParsedArguments, saved: Mapping[str, Any]) -> ParsedArguments:
    """The arguments with the config and the flags of a saved plan; flags that contradict it become findings."""
    path = arguments.values["plan"]
    given = parse_kwargs(saved["given"]).values
    for name, value in arguments.values.items():
        may_differ = PARAMS[name].command or PARAMS[name].machine_specific
        if not may_differ and given.get(name) != value:
            message = f"{flag_of(name)} contradicts --plan {path}, which was saved without it"
            finding = CONTRADICTS_THE_PLAN.finding(
                message, parameters=(name, "plan"), changes={name: None}, otherwise="or save another plan"
            )
            arguments.findings.append(finding)
    arguments.values = {**given, "config": saved["config"], **arguments.values}
    return arguments


def changes_since(saved: Mapping[str, Any], checked: CheckedPipeline, path: str) -> Iterator[Finding]:
    """What has changed in the stages that are to be trained."""
    yield from differing_versions(saved["versions"], path)
    for check in checked.stages:
        if check.runs:
            yield from (in_stage(check.stage.name, finding) for finding in _of_stage(saved, check, path))


def _of_stage(saved: Mapping[str, Any], check: StageCheck, path: str) -> Iterator[Finding]:
    before = saved[STAGES].get(check.stage.name)
    plan = check.checked.plan if check.checked is not None else None
    if plan is None:
        return
    if before is None:
        message = f"--plan {path} has no plan of this stage"
        yield PLAN_HAS_CHANGED.finding(message, "save the plan again with --save-plan", ("plan",), file=path)
        return
    differing = [
        name
        for name in {**before["files"], **check.inputs.files}
        if before["files"].get(name) != check.inputs.files.get(name)
    ]
    if differing:
        message = f"the files have changed since --plan {path} was saved: {', '.join(differing)}"
        fix = "save the plan again with --save-plan, or restore what has changed"
        yield PLAN_HAS_CHANGED.finding(message, fix, ("plan",), file=path)
    yield from differing_parts(before["plan"], plan, path)
