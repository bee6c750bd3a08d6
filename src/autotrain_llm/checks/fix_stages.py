"""Apply the fixes of findings to a config of stages: `--fix`. As for one run, only what is certain is changed, until nothing more can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import ROUNDS, applied_json, fixable, write_or_refuse
from autotrain_llm.checks.stages import check_stages
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.file import parts_of
from autotrain_llm.config.stages import NAME, STAGES, Pipeline, parameter_of, read_pipeline
from autotrain_llm.declare.finding import Finding, in_words
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.text import as_list

if TYPE_CHECKING:
    from autotrain_llm.checks.stages import CheckedPipeline


class FixedStages(Record):
    """The corrected stages as they would be written, the findings whose fixes were applied, and the check of the result."""

    stages: tuple[dict[str, Any], ...]
    applied: tuple[Finding, ...]
    checked: CheckedPipeline

    def text(self) -> str:
        """The corrected config. What stands above the stages, and what it extends, is as it was."""
        import yaml

        path = self.checked.pipeline.path
        document = parts_of(path)[-1].document
        whole = {key: value for key, value in document.items() if key != STAGES} | {STAGES: list(self.stages)}
        return str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))

    def write(self, path: str) -> None:
        """Write the corrected config. Raises Refused if it can't be written."""
        write_or_refuse(path, "write_config", self.text())

    def as_json(self) -> dict[str, Any]:
        return {"config": self.text(), "applied": applied_json(self.applied)}


def fix_stages(pipeline: Pipeline, arguments: ParsedArguments) -> FixedStages:
    """Apply fixes, round after round. Trains nothing and writes nothing."""
    arguments.values["dry_run"] = True
    stages = [{NAME: stage.name, **stage.written} for stage in pipeline.stages]
    applied: list[Finding] = []
    tried: set[tuple[str, str]] = set()
    for _ in range(ROUNDS):
        checked = check_stages(pipeline, arguments)
        chosen = [
            (index, finding) for index, finding in _fixable(checked, arguments) if _identity(finding) not in tried
        ]
        if not chosen:
            break
        for index, finding in chosen:
            tried.add(_identity(finding))
            _apply(finding.changes, stages[index])
        applied += [finding for _, finding in chosen]
        again = read_pipeline(pipeline.path, arguments.values.get("output_dir"), stages)
        assert again is not None
        pipeline = again
    else:
        checked = check_stages(pipeline, arguments)
    remaining = {_identity(finding) for finding in checked.findings}
    lasting = tuple(finding for finding in applied if _identity(finding) not in remaining)
    return FixedStages(tuple(stages), lasting, checked)


def _fixable(checked: CheckedPipeline, arguments: ParsedArguments) -> Iterator[tuple[int, Finding]]:
    """Findings with a certain fix, each with the index of its stage. One about the whole command is left to the user."""
    for index, check in enumerate(checked.stages):
        given = {**check.stage.arguments.values, **arguments.values}
        yield from ((index, finding) for finding in fixable(check.findings, given))


def _identity(finding: Finding) -> tuple[str, str]:
    return finding.message, in_words(finding.changes)


def _apply(changes: Mapping[str, Any], written: dict[str, Any]) -> None:
    """Change a stage's keys; a value from above is taken back with null."""
    for name, value in changes.items():
        keys = [key for key in written if parameter_of(key) == name]
        for key in keys:
            del written[key]
        if value is not None or not keys:
            written[name] = as_list(value)
