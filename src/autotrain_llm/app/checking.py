"""The check of a form, as a document: in this process for flags alone, in a process of its own for files and rows.

It is the check of the command line; what it finds is written down for a page, with the values that each fix would set.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.app.staged import StagedForm
from autotrain_llm.app.values import OFFERED, FormCommand, as_text
from autotrain_llm.checks.preflight import COLUMN_ROLES, Checked, is_about_missing, preflight
from autotrain_llm.checks.stages import CheckedPipeline, check_stages
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.config.layers import Layer
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import COMMAND_LINE, Config, resolve_layers
from autotrain_llm.config.search_space import usual_value
from autotrain_llm.config.stages import in_stage
from autotrain_llm.declare.finding import ERROR, Finding, Refused, in_words
from autotrain_llm.declare.showable import showable, visible

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.dataset import Dataset
    from autotrain_llm.data.load.suited import SuitedTrainers

NAME_A_COLUMN = frozenset(name for name in PARAMS if name.endswith("_column"))
SHOWN_ROWS = 4
MOST_CHARACTERS = 4000  # of one row
Document = dict[str, Any]


def check_flags(command: FormCommand) -> Document:
    """The findings of the flags alone, which takes milliseconds."""
    checked = preflight(_config(command), command.findings, files=False)
    return {"findings": _findings(checked)}


class FileCheck:
    """Checks one form after another, and reuses what it has read of files that have not changed since."""

    def __init__(self) -> None:
        self._earlier: RunContext | None = None
        self._stamps: dict[str, tuple[int, int]] = {}

    def check(self, command: FormCommand) -> Document:
        """Everything: flags, machine, output folder, files, rows and the plan, and the first rows as the model will see them."""
        config = _config(command)
        stamps = _stamps(config)
        earlier = self._earlier if stamps == self._stamps else None
        checked = preflight(config, command.findings, earlier=earlier)
        self._earlier, self._stamps = (checked.context if checked.is_in_order else None), stamps
        suited = _suits(checked)
        return {
            "findings": _findings(checked, _columns(checked, suited)),
            "refused": checked.refused,
            "plan": None if checked.plan is None else checked.plan.summary(),
            "not_checked": [item.as_json() for item in checked.not_checked],
            "data": _data(checked),
            "suited": _suited(checked, suited),
        }


def check_stages_flags(form: StagedForm) -> Document:
    """The same of every stage."""
    return _of_stages(form, check_stages(form.pipeline(), ParsedArguments(), files=False, output=False))


def check_staged(form: StagedForm) -> Document:
    """Everything about every stage, as before it would be trained; the first rows and the plan are those of the stage that is shown."""
    checked = check_stages(form.pipeline(), parse_kwargs({"dry_run": True}))
    document = _of_stages(form, checked)
    of_shown = next((check for check in checked.stages if check.stage.name == form.names[form.shown]), None)
    shown = None if of_shown is None else of_shown.checked
    return {
        **document,
        "refused": checked.refused or any(finding["severity"] == ERROR for finding in document["findings"]),
        "plan": None if shown is None or shown.plan is None else shown.plan.summary(),
        "not_checked": [item.as_json() for item in checked.not_checked],
        "data": None if shown is None else _data(shown),
        "suited": None if shown is None else _suited(shown, _suits(shown)),
    }


def _of_stages(form: StagedForm, checked: CheckedPipeline) -> Document:
    """The findings: of the stage that is shown as a form has them, of all others with the names of their stages."""
    shown = next((check.checked for check in checked.stages if check.stage.name == form.names[form.shown]), None)
    own = shown.findings if shown is not None else ()
    named = {in_stage(form.names[form.shown], finding).message for finding in own}
    others = [finding.replace(file=None) for finding in checked.findings if finding.message not in named]
    columns = None if shown is None or "data" not in vars(shown.context) else _columns(shown, None)
    return {
        "findings": [
            *(_findings(shown, columns) if shown is not None else ()),
            *({**finding_json(finding), "parameters": [], "button": ""} for finding in others),
        ],
        "stages": [_stage_line(name, checked) for name in form.names],
    }


def _stage_line(name: str, checked: CheckedPipeline) -> Document:
    """A stage in short: what is done with it and why, what it is, and its findings as numbers."""
    check = next((check for check in checked.stages if check.stage.name == name), None)
    if check is None:  # it can't be read as one
        return {"name": name, "errors": 1, "warnings": 0, "action": "", "why": "", "steps": 0}
    errors = sum(finding.severity == ERROR for finding in check.findings)
    plan = check.checked.plan if check.checked is not None else None
    return {
        "name": name,
        "errors": errors,
        "warnings": len(check.findings) - errors,
        "action": check.action,
        "why": check.why,
        "steps": plan.steps if plan is not None else 0,
    }


def _config(command: FormCommand) -> Config:
    values = {**command.values, "dry_run": True}
    return resolve_layers({COMMAND_LINE: Layer(values, command.arguments.origins)})


def _stamps(config: Config) -> dict[str, tuple[int, int]]:
    """When the files that the form names were written, and their sizes: a check of changed files reads them again."""
    stamps = {}
    for name in config.all_given():
        value = config.value_of(name)
        if PARAMS[name].path and isinstance(value, str):
            try:
                stat = Path(value).expanduser().stat()
            except (OSError, RuntimeError, ValueError):
                continue
            stamps[name] = (stat.st_mtime_ns, stat.st_size)
    return stamps


def finding_json(finding: Finding, columns: Collection[str] | None = None) -> Document:
    """A finding for a page. `fix_of` are the texts that its fix puts into the form; `certain` says whether it is no guess. A column that is not one of `columns`,
    those of the rows as far as they are known, is in no fix."""
    suggestion = {
        name: value
        for name, value in finding.suggestion.items()
        if name in OFFERED and not _is_absent(name, value, columns)
    }
    place = [showable(finding.file) if finding.file else "", f"row {finding.row}" if finding.row else ""]
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
        "fix": finding.fix or "",
        "parameters": [name for name in finding.parameters if name in PARAMS],
        "place": ", ".join(part for part in place if part),
        "certain": bool(finding.changes),
        "button": showable(in_words(suggestion)) if suggestion and len(suggestion) == len(finding.suggestion) else "",
        "fix_of": {name: as_text(value) for name, value in suggestion.items()},
    }


def refusal(fault: Exception) -> Document:
    """What has refused an order of the server; what no check foresaw is a finding here too."""
    unforeseen = Finding(f"{type(fault).__name__}: {fault}", code="R102")
    findings = fault.findings if isinstance(fault, Refused) else (unforeseen,)
    return {"findings": [finding_json(finding) for finding in findings], "refused": True}


def _findings(checked: Checked, columns: Collection[str] | None = None) -> list[Document]:
    ordered = sorted(checked.findings, key=lambda finding: finding.severity != ERROR)
    return [
        _missing(finding, checked, columns) if is_about_missing(finding) else finding_json(finding, columns)
        for finding in ordered
    ]


def _is_absent(name: str, value: object, columns: Collection[str] | None) -> bool:
    """Whether a parameter would name a column that is not known to be there."""
    return name in NAME_A_COLUMN and value is not None and value not in (columns or ())


def _missing(finding: Finding, checked: Checked, columns: Collection[str] | None) -> Document:
    """The finding about what is missing, with the usual values and the columns that were recognised in place of its fix."""
    config, dataset = checked.config, vars(checked.context.data).get("dataset")
    usual = {name: usual_value(config, name) for name in finding.parameters}
    roles = {name: dataset.columns.get(role) for name, role in COLUMN_ROLES.items()} if dataset is not None else {}
    found = {name: roles.get(name) or value for name, value in usual.items()}
    guess = {name: value for name, value in found.items() if value is not None and not _is_absent(name, value, columns)}
    document = finding_json(Finding(finding.message, None, finding.parameters, code=finding.code, guess=guess), columns)
    return {**document, "missing": True}


def _data(checked: Checked) -> Document | None:
    """How the rows were recognised, and the first of them: as the model will see them, else as they were read."""
    dataset = checked.context.dataset if checked.config.rows_from and "dataset" in vars(checked.context.data) else None
    if dataset is None:
        return None
    prepared, tokenizer = vars(checked.context.data).get("prepared"), checked.context.tokenizer
    rows: list[list[tuple[str, bool]]] = []
    if prepared is not None and tokenizer is not None:
        from autotrain_llm.data.tokenize.preview import preview

        rows = preview(prepared, tokenizer, SHOWN_ROWS)
    return {
        "format": dataset.format,
        "rows": len(dataset.train),
        "valid": len(dataset.valid),
        "columns": [(showable(str(column)), role) for role, column in dataset.columns.items()],
        "unused": [(showable(str(column)), str(why)) for column, why in dataset.unused.items()],
        "as_tokens": bool(rows),
        "shown": [_cut(row) for row in rows or _as_read(dataset)],
    }


def _as_read(dataset: Dataset) -> list[list[tuple[str, bool]]]:
    return [[("\n".join(example.strings()), False)] for example in dataset.train[:SHOWN_ROWS]]


def _cut(row: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """A row up to the longest that is shown, with characters that can't be seen as escapes."""
    left, shown = MOST_CHARACTERS, []
    for text, trained in row:
        if left <= 0:
            shown.append((" …", False))
            break
        shown.append((visible(text[:left]), trained))
        left -= len(text)
    return shown


def _suits(checked: Checked) -> SuitedTrainers | None:
    """What the rows suit, where the chosen trainer can't read them or leaves columns unused. Where they can't be read, the form may name columns that aren't there."""
    from autotrain_llm.context.data_context import COLUMNS
    from autotrain_llm.data.load.suited import suited_trainers

    data = checked.context.data
    dataset = vars(data).get("dataset")
    if checked.config.data_path is None or (dataset is not None and not dataset.unused):
        return None
    unnamed: dict[str, Any] = dict.fromkeys(COLUMNS) if dataset is None else {}
    try:
        return suited_trainers(replace(data.request, **unnamed, named=()) if unnamed else data.request)
    except Refused:
        return None


def _columns(checked: Checked, suited: SuitedTrainers | None) -> set[str] | None:
    """The columns of the rows; None where they could not be read."""
    dataset = vars(checked.context.data).get("dataset")
    if dataset is None:
        return None if suited is None else {*suited.columns}
    return {*dataset.columns.values(), *dataset.unused}


def _suited(checked: Checked, suited: SuitedTrainers | None) -> Document | None:
    """The trainers that the rows suit, unless the chosen one is one of them."""
    if suited is None or checked.config.trainer in suited.trainers:
        return None
    return {"rows": suited.rows, "trainers": list(suited.trainers)}
