"""A plan that is saved and trained later: `--save-plan FILE` and `--plan FILE`.

The file has the parameters that were given, all decisions, and digests of everything they were made from; no secrets. To train it, the plan
is made again from the parameters and must be the same, from the same files and packages; every difference is a finding.

A plan that was made from a part of the rows (`--check-rows`) is marked as such. The other rows are checked when it is trained, and whatever
is counted over rows, such as steps, then follows from all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import write_or_refuse
from autotrain_llm.checks.rules.command_line import CONTRADICTS_THE_PLAN, NO_PLAN, PLAN_HAS_CHANGED
from autotrain_llm.config.layers import NOWHERE, Layer, Origin
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, GIVEN, Config, resolve_layers
from autotrain_llm.context.versions import versions
from autotrain_llm.declare.digests import sampled_digest
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.text import plain

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.data.dataset import Progress
    from autotrain_llm.models.locate import Located
    from autotrain_llm.planning.plan import Plan

FORM = 1  # version of the file format
MACHINE_SPECIFIC = {
    "model": ("folder", "cache_dir", "offline"),
    "data": ("not_checked",),
    "estimate": ("device", "with", "largest", "way_out", "way_out_bytes"),
    "launch": ("head",),
    "parameters": tuple(param.name for param in PARAMS.values() if param.machine_specific),
}
NOT_COMPARED = ("output", "ignored", "resume")
# Of a plan that was made from a part of the rows: the parts that don't follow from their number and lengths.
INDEPENDENT_OF_ROWS = ("trainer", "parameters", "model", "length", "precision", "adapter", "hub", "engine", "seed")
DATA_KEYS = ("path", "format", "columns", "split", "evaluation", "samples")
SHOWN = 3  # differences of one part in a message


def save_plan(checked: Checked, path: str) -> None:
    """Write the plan of a check. Raises Refused if it can't be written."""
    assert checked.plan is not None
    config = checked.config
    given = {source: _given(config, source) for source in GIVEN}
    given[COMMAND_LINE].setdefault("output_dir", checked.plan.output.dir)
    document = {
        "form": FORM,
        "given": given,
        "config_file": config.config_file,
        "origins": {
            name: config.origin(name).as_dict() for name in config.all_given() if config.origin(name) != NOWHERE
        },
        "first_rows": config.check_rows if checked.context.data.is_partial else None,
        "plan": checked.plan.as_json(),
        "files": fingerprints(checked),
        "versions": versions(),
    }
    write_or_refuse(path, "save_plan", json.dumps(document, indent=1, ensure_ascii=False, default=list) + "\n")


def _given(config: Config, source: str) -> dict[str, Any]:
    names = [name for name in config.all_given() if config.source(name) == source]
    return {name: config.value_of(name) for name in names if not (PARAMS[name].command or PARAMS[name].secret)}


def read_plan(path: str) -> dict[str, Any]:
    """A saved plan. Raises Refused if the file is not one."""
    try:
        document = parse_json(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError) as fault:
        raise _unusable(path, f"can't be read: {fault.strerror if isinstance(fault, OSError) else fault}") from None
    except ValueError:
        raise _unusable(path, "is not a plan: it is not JSON") from None
    if not isinstance(document, dict) or document.get("form") != FORM or not _is_whole(document):
        raise _unusable(path, "is not a plan that this version saved")
    return document


def _is_whole(document: Mapping[str, Any]) -> bool:
    given = document.get("given")
    parts = [document.get(name) for name in ("plan", "files", "versions")]
    parts += [given.get(source) for source in (COMMAND_LINE, CONFIG_FILE)] if isinstance(given, dict) else [None]
    return all(isinstance(part, dict) for part in parts)


def _unusable(path: str, what: str) -> Refused:
    return Refused([NO_PLAN.finding(f"--plan {path} {what}", "a file that --save-plan wrote", ("plan",), file=path)])


def check_plan(
    command_line: Mapping[str, Any],
    from_file: Mapping[str, Any],
    findings: Iterable[Finding],
    progress: Progress | None = None,
) -> Checked:
    """Check the plan that `--plan` names, and that it is unchanged. `command_line` and `from_file` are given together with it."""
    from autotrain_llm.checks.preflight import preflight

    path = command_line["plan"]
    saved = read_plan(path)
    origins = {name: Origin(**origin) for name, origin in saved.get("origins", {}).items()}
    layers = {source: Layer(_converted(values, path), origins) for source, values in saved["given"].items()}
    overrides = {name: value for name, value in command_line.items() if _may_differ(name)}
    typed = {name: origin for name, origin in origins.items() if name not in overrides}
    layers[COMMAND_LINE] = Layer({**layers[COMMAND_LINE].values, **overrides}, typed)
    config = resolve_layers(layers, saved.get("config_file"))
    contradictions = _contradictions({**from_file, **command_line}, config, path)
    checked = preflight(config, [*findings, *contradictions], progress=progress)
    drift = tuple(_drift(saved, checked, path))
    return checked.replace(findings=(*checked.findings, *drift))


def _converted(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    from autotrain_llm.config.arguments import parse_kwargs

    parsed = parse_kwargs(values)
    if parsed.findings:
        raise Refused([finding.replace(file=path) for finding in parsed.findings])
    return parsed.values


def _may_differ(name: str) -> bool:
    """Whether a parameter may be given together with `--plan`: it says where files are or what the command does, not what is trained."""
    return PARAMS[name].command or PARAMS[name].machine_specific


def _contradictions(values: Mapping[str, Any], config: Config, path: str) -> Iterator[Finding]:
    """Parameters that were given with `--plan` and have another value in it."""
    for name, value in values.items():
        if _may_differ(name) or config.value_of(name) == value:
            continue
        planned = "does not set it" if config.value_of(name) is None else f"has {plain(config.value_of(name))}"
        message = f"{flag_of(name)} {plain(value)} contradicts --plan {path}, which {planned}"
        yield CONTRADICTS_THE_PLAN.finding(
            message, parameters=(name, "plan"), changes={name: None}, otherwise="or save another plan"
        )


# --- what a plan is made from --------------------------------------------------------------------------------------------------


def fingerprints(checked: Checked) -> dict[str, str]:
    """A digest of every file that the plan was made from, by its path."""
    context = checked.context
    paths = [Path(name) for name in (context.dataset.files if context.dataset else ())]
    for metadata in context.models.looked_up:
        paths += _files_of(metadata.located)
    if context.config.tokenizer and context.tokenizer_folder:
        paths += _files_in(context.tokenizer_folder)
    return {str(path): sampled_digest(path) for path in sorted(set(paths)) if path.is_file()}


def _files_of(located: Located | None) -> list[Path]:
    """The files of a model; of an adapter also those of its base model."""
    files: list[Path] = []
    while located is not None:
        files += _files_in(located.folder) if located.folder else []
        located = located.base
    return files


def _files_in(folder: Path) -> list[Path]:
    """A model's configuration, tokenizer, weights and code; not the records of the run that wrote it."""
    endings = (".json", ".jinja", ".safetensors", ".model", ".txt", ".py", ".bin")
    records = ("run.json", "trainer_state.json")
    return [path for path in folder.iterdir() if path.suffix in endings and path.name not in records]


def _drift(saved: Mapping[str, Any], checked: Checked, path: str) -> Iterator[Finding]:
    """What has changed since the plan was saved."""
    yield from differing_versions(saved["versions"], path)
    if checked.plan is None:
        return  # other findings say why there is none
    yield from _differing(saved["files"], fingerprints(checked), "the files", path, _of_a_file)
    whole = saved.get("first_rows") is None and not checked.context.data.is_partial
    yield from differing_parts(saved["plan"], checked.plan, path, whole)


def differing_versions(saved: Mapping[str, Any], path: str) -> Iterator[Finding]:
    """The packages that have changed since a plan was saved."""
    yield from _differing(saved, versions(), "the packages", path)


def differing_parts(saved: Mapping[str, Any], plan: Plan, path: str, whole: bool = True) -> Iterator[Finding]:
    """The parts of a plan that differ from a saved one; without `whole`, those that don't follow from the number of rows."""
    now = json.loads(json.dumps(plan.as_json(), default=list))
    for part, left_out in _compared(now, whole).items():
        yield from _differing(_flat(saved.get(part), left_out), _flat(now[part], left_out), f"the plan's {part}", path)


def _compared(plan: Mapping[str, Any], whole: bool) -> dict[str, tuple[str, ...]]:
    """The parts of a plan that must be the same, each with the keys that are not compared."""
    if whole:
        return {part: MACHINE_SPECIFIC.get(part, ()) for part in plan if part not in NOT_COMPARED}
    parts = {part: MACHINE_SPECIFIC.get(part, ()) for part in INDEPENDENT_OF_ROWS}
    return {**parts, "data": tuple(name for name in plan["data"] if name not in DATA_KEYS)}


def _flat(part: Any, left_out: Iterable[str] = ()) -> dict[str, Any]:
    if not isinstance(part, dict):
        return {"": part}
    return {name: value for name, value in part.items() if name not in left_out}


def _differing(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    what: str,
    path: str,
    describe: Callable[[str, Any, Any], str] | None = None,
) -> Iterator[Finding]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not names:
        return
    describe = describe or _difference
    shown = "; ".join(describe(name, before.get(name), now.get(name)) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    message = f"{what} have changed since --plan {path} was saved: {shown}{more}"
    fix = "save the plan again with --save-plan, or restore what has changed"
    yield PLAN_HAS_CHANGED.finding(message, fix, ("plan",), file=path)


def _of_a_file(name: str, before: str | None, now: str | None) -> str:
    """Whether a file is new, missing or different; its digests would not help a reader."""
    return f"{name} is {'new' if before is None else 'missing' if now is None else 'different'}"


def _difference(name: str, before: Any, now: Any) -> str:
    return f"{name} was {_short(before)} and is now {_short(now)}".strip()


def _short(value: Any) -> str:
    if isinstance(value, dict) and {"value", "source"} <= set(value):
        value = value["value"]
    text = "not set" if value is None else plain(value)
    return text if len(text) <= 60 else text[:60] + "…"
