"""Apply the fixes of findings to a config of stages: `--fix`. As for one run, only what is certain is changed, until nothing more can be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import ROUNDS, applied_json, as_yaml, fixable, write_or_refuse
from autotrain_llm.checks.stages import check_stages
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.file import EXTENDS, load, parts_of
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.stages import NAME, STAGES, Pipeline, parameter_of, read_pipeline
from autotrain_llm.config.unread import Unread, without_key
from autotrain_llm.declare.finding import Finding, in_words
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.text import as_list

if TYPE_CHECKING:
    from autotrain_llm.checks.stages import CheckedPipeline


class FixedStages(Record):
    """The corrected config, the findings whose fixes were applied, and the check of the result."""

    document: Mapping[str, Any]
    applied: tuple[Finding, ...]
    checked: CheckedPipeline

    def text(self, path: str | None = None) -> str:
        """The corrected config; of one that is written elsewhere, the files that it extends are found from there."""
        folder, target = (Path(file).parent.absolute() for file in (self.checked.pipeline.path, path or "."))
        if path is None or folder == target:
            return as_yaml(self.document)
        moved = _moved(self.document, folder, target)
        return as_yaml({**moved, STAGES: [_moved(stage, folder, target) for stage in moved[STAGES]]})

    def write(self, path: str) -> None:
        """Write the corrected config. Raises Refused if it can't be written."""
        write_or_refuse(path, "write_config", self.text(path))

    def as_json(self) -> dict[str, Any]:
        return {"config": self.text(), "applied": applied_json(self.applied)}


def _moved(document: Mapping[str, Any], folder: Path, target: Path) -> dict[str, Any]:
    """The keys of a file in `folder`, with the files that it extends as they are named from `target`."""
    if EXTENDS not in document:
        return dict(document)
    bases = document[EXTENDS]
    moved = [os.path.relpath(folder / base, target) for base in ([bases] if isinstance(bases, str) else bases)]
    return {**document, EXTENDS: moved[0] if isinstance(bases, str) else moved}


def fix_stages(pipeline: Pipeline, arguments: ParsedArguments) -> FixedStages:
    """Apply fixes, round after round: those of what stands above the stages first. Trains nothing and writes nothing."""
    arguments.values["dry_run"] = True
    document, stages = _above(pipeline.path), [{NAME: stage.name, **stage.written} for stage in pipeline.stages]
    applied: list[Finding] = []
    tried: set[tuple[str, str]] = set()
    for _ in range(ROUNDS):
        checked = check_stages(pipeline, arguments)
        above: list[tuple[int | None, Finding]] = [*_fixable_above(pipeline, document, arguments)]
        possible = above or [*_fixable(checked, arguments)]
        chosen = [(index, finding) for index, finding in possible if _identity(finding) not in tried]
        if not chosen:
            break
        for index, finding in chosen:
            tried.add(_identity(finding))
            if index is None:
                document = _changed(document, finding, pipeline.unread)
            else:
                stages[index] = _changed(stages[index], finding, pipeline.stages[index].arguments.unread)
        applied += [finding for _, finding in chosen]
        again = read_pipeline(pipeline.path, arguments.values.get("output_dir"), {**document, STAGES: stages})
        assert again is not None
        pipeline = again
    else:
        checked = check_stages(pipeline, arguments)
    remaining = {_identity(finding) for finding in checked.findings}
    lasting = tuple(finding for finding in applied if _identity(finding) not in remaining)
    return FixedStages({**document, STAGES: stages}, lasting, checked)


def _above(path: str) -> dict[str, Any]:
    """What a config has besides its stages, as it is written."""
    document = parts_of(path)[-1].document if Path(path).suffix == ".py" else load(Path(path), path)
    return {key: value for key, value in document.items() if key != STAGES}


def _fixable_above(
    pipeline: Pipeline, document: Mapping[str, Any], arguments: ParsedArguments
) -> Iterator[tuple[None, Finding]]:
    """Findings with a certain fix about what the file itself has above its stages, and not what it extends."""
    given = {parameter_of(key): value for key, value in document.items()}
    for finding in fixable(pipeline.findings, {**given, **arguments.values}):
        if any(without_key(document, item.name) != document for item in pipeline.unread if _is_about(finding, item)):
            yield None, finding


def _fixable(checked: CheckedPipeline, arguments: ParsedArguments) -> Iterator[tuple[int, Finding]]:
    """Findings with a certain fix, each with the index of its stage. One about the whole command is left to the user."""
    for index, check in enumerate(checked.stages):
        given = {**check.stage.arguments.values, **arguments.values}
        yield from ((index, finding) for finding in fixable(check.findings, given))


def _identity(finding: Finding) -> tuple[str, str]:
    return finding.message, in_words(finding.changes)


def _is_about(finding: Finding, item: Unread) -> bool:
    """Whether a finding, with or without the name of its stage, is that about something that was not carried out."""
    return finding.message.endswith(item.finding.message) and finding.changes == item.finding.changes


def _changed(written: Mapping[str, Any], finding: Finding, unread: Iterable[Unread]) -> dict[str, Any]:
    """Keys after a fix, without the one that it replaces; a value from above is taken back with null."""
    changed = dict(written)
    for item in unread:
        if _is_about(finding, item):
            changed = without_key(changed, item.name)
    for name, value in finding.changes.items():
        keys = [key for key in changed if parameter_of(key) == name]
        for key in keys:
            del changed[key]
        if value is not None or (not keys and name in PARAMS):
            changed[name] = as_list(value)
    return changed
