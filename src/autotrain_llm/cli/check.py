"""`autotrain check`: the config files of a repository, checked as `--dry-run` checks them; for a pre-commit hook and for CI.

Paths in a config are resolved from this folder, then from the config's own. The output folder is not checked: it is no fault of a config
that it has been run before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.coverage import UncheckedItem
from autotrain_llm.cli.outcome import DONE, REFUSED, refuse
from autotrain_llm.cli.render import count_line, findings_text, unchecked_lines
from autotrain_llm.cli.screen import Screen
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.finding import Finding, Refused, refuses
from autotrain_llm.declare.record import Record

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.checks.stages import CheckedPipeline

USAGE = """\
usage: autotrain check [FILES...] [--flags-only] [--strict] [--format text|json|sarif]
       checks training configs (YAML, JSON or Python); without FILES, all YAML and
       JSON beneath this folder, those that others extend as a part of these
       --flags-only   check flags only, without data, models or this machine: for CI
       --strict       a warning fails the check, as an error does"""
ENDINGS = (".yaml", ".yml", ".json")
LARGEST = 2**20  # bytes of a config file
NOT_ENTERED = ("node_modules", "runs", "__pycache__", "venv")
TRAINING_KEYS = (
    "extends",
    "trainer",
    "data_path",
    "task",
    "base_model",
)  # keys by which a file is recognised as a training config
FORMATS = ("text", "json", "sarif")


class Options(Record):
    """The parsed arguments of `autotrain check`."""

    files: tuple[str, ...] = ()
    flags_only: bool = False
    strict: bool = False
    form: str = "text"
    findings: tuple[Finding, ...] = ()


class Answer(Record):
    """The result for one file."""

    file: str
    findings: tuple[Finding, ...]
    not_checked: tuple[UncheckedItem, ...] = ()

    def as_json(self, strict: bool) -> dict[str, Any]:
        status = "refused" if refuses(self.findings, strict) else "ok"
        findings = [finding.as_json() for finding in self.findings]
        return {
            "file": self.file,
            "status": status,
            "findings": findings,
            "not_checked": [item.as_json() for item in self.not_checked],
        }


def read_options(words: Sequence[str]) -> Options:
    """Parse flags and files; unknown flags become findings."""
    files: list[str] = []
    faults: list[Finding] = []
    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--"):
            files.append(flag + equals + value)
        elif flag in ("--flags-only", "--flags_only", "--strict") and not equals:
            options["strict" if flag == "--strict" else "flags_only"] = True
        elif flag == "--format":
            options["form"] = value if equals else rest.pop(0) if rest else ""
        else:
            faults.append(Finding(f"check has no flag {flag}", "autotrain check --help", code="P122"))
    if options.get("form", "text") not in FORMATS:
        faults.append(
            Finding(
                f"--format must be one of {', '.join(FORMATS)}, got {options.pop('form')!r}",
                parameters=("format",),
                code="P303",
            )
        )
    return Options(files=tuple(files), findings=tuple(faults), **options)


def check(words: Sequence[str]) -> int:
    """Check config files and return the exit status: 0, or 2 where one of them would be refused."""
    options = read_options(words)
    with Screen(options.form == "json", sarif=options.form == "sarif") as screen:
        if options.findings:
            return refuse(options.findings, screen)
        files = options.files or tuple(without_bases([*configs_beneath(Path())]))
        if not files:
            return refuse([_nothing_to_check()], screen)
        return _tell([answer(file, options) for file in files], options, screen)


def _nothing_to_check() -> Finding:
    message = "no config file was named, and none beneath this folder holds training parameters"
    return Finding(message, "autotrain check <config.yaml>", code="P118")


def configs_beneath(folder: Path) -> Iterator[str]:
    """Config files below a folder, recognised by their content. Hidden folders and those of runs and tools are skipped."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in NOT_ENTERED)
        for name in sorted(names):
            path = Path(root) / name
            if path.suffix in ENDINGS and not name.startswith(".") and is_config(path):
                yield str(path)


def without_bases(files: Sequence[str]) -> Iterator[str]:
    """The config files that no other of them extends: those are checked as a part of the others."""
    from autotrain_llm.config.file import parts_of

    bases = set()
    for file in files:
        try:
            bases |= {Path(part.file).resolve() for part in parts_of(file)[:-1]}
        except Refused:  # it is reported when the file is checked
            continue
    yield from (file for file in files if Path(file).resolve() not in bases)


def is_config(path: Path) -> bool:
    """Whether a file has a key for the trainer, the data or the task, and at least one other of our parameters."""
    from autotrain_llm.config.file import load

    try:
        document = load(path, str(path)) if path.stat().st_size <= LARGEST else {}
    except (OSError, Refused):
        return False
    names = {str(key).replace("-", "_") for key in document}
    task = str(document.get("task", "llm"))
    is_single = (
        bool(names & set(TRAINING_KEYS))
        and task.startswith("llm")
        and len(names & {*PARAMS, "data", "params", "base_model", "task", "extends"}) > 1
    )
    return is_single or _has_stages(document)


def _has_stages(document: Mapping[str, Any]) -> bool:
    """Whether a document has stages of a training: other programs' files have stages too."""
    stages = document.get("stages")
    entries = stages.values() if isinstance(stages, dict) else stages if isinstance(stages, list) else ()
    return any(isinstance(entry, dict) and set(TRAINING_KEYS) & set(entry) for entry in entries)


def answer(file: str, options: Options) -> Answer:
    """Check one config file. Findings without a file get this one."""
    from autotrain_llm.config.file import read_config

    path = Path(file)
    if path.suffix in ENDINGS and path.is_file() and not is_config(path) and _is_readable(path):
        why = "it is not a training config: it has no trainer, data path or task with other parameters"
        return Answer(file, (), (UncheckedItem(file, why, "autotrain llm --config FILE --dry-run"),))
    try:
        checked = _checked_stages(file, options.flags_only) or _checked(read_config(file), file, options.flags_only)
    except Refused as refused:
        return Answer(file, refused.findings)
    findings = tuple(finding if finding.file else finding.replace(file=file) for finding in checked.findings)
    return Answer(file, findings, checked.not_checked)


def _is_readable(path: Path) -> bool:
    from autotrain_llm.config.file import load

    try:
        load(path, str(path))
    except Refused:
        return False
    return True


def _checked(arguments: ParsedArguments, file: str, flags_only: bool) -> Checked:
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.layers import Layer
    from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, resolve_layers

    values = arguments.values if flags_only else _with_paths(arguments.values, Path(file).parent)
    layers = {COMMAND_LINE: Layer({"dry_run": True}), CONFIG_FILE: Layer(values, arguments.origins)}
    config = resolve_layers(layers, file)
    return preflight(config, arguments.findings, files=not flags_only, output=False)


def _checked_stages(file: str, flags_only: bool) -> CheckedPipeline | None:
    """The check of a config of stages; None if the file has none."""
    from autotrain_llm.checks.stages import check_stages
    from autotrain_llm.config.stages import read_pipeline

    pipeline = read_pipeline(file)
    if pipeline is None:
        return None
    for stage in pipeline.stages:
        values = stage.arguments.values
        stage.arguments.values = values if flags_only else _with_paths(values, Path(file).parent)
    arguments = ParsedArguments()
    arguments.values["dry_run"] = True
    return check_stages(pipeline, arguments, files=not flags_only, output=False)


def _with_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values, with paths that only exist relative to the config's folder resolved from there."""
    resolved = dict(values)
    for name, value in values.items():
        if PARAMS[name].path and name != "output_dir" and isinstance(value, str) and "\0" not in value:
            relative = folder / value
            if len(value) < 256 and not Path(value).exists() and relative.exists():
                resolved[name] = str(relative)
    return resolved


def _tell(answers: Sequence[Answer], options: Options, screen: Screen) -> int:
    findings = [finding for answer in answers for finding in answer.findings]
    status = REFUSED if refuses(findings, options.strict) else DONE
    if screen.json:
        not_checked = [item for answer in answers for item in answer.not_checked]
        files = [answer.as_json(options.strict) for answer in answers]
        screen.document(status, findings, not_checked=not_checked, files=files)
        return status
    for answer in answers:
        verdict = "refused" if refuses(answer.findings, options.strict) else "in order"
        screen.answer(
            f"{answer.file}: {verdict}" if answer.findings or not _is_skipped(answer) else f"{answer.file}: skipped"
        )
        screen.write(findings_text(answer.findings, screen.err))
        screen.write(unchecked_lines(answer.not_checked, screen.err))
    screen.write(count_line(findings, started=True))
    return status


def _is_skipped(answer: Answer) -> bool:
    return any(item.what == answer.file for item in answer.not_checked)
