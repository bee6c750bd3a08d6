"""A plan that is kept and trained later: `--save-plan FILE` and `--plan FILE`.

The file holds what was given, what was decided, and fingerprints of all that it was decided from. To train it, the plan is made anew from
what was given and has to come out the same, from the same files and packages; whatever differs is a finding. No secret is in the file.

A plan that `--check-rows` let be made of a part of the rows says so. The rows that it left out are checked when it is trained, and what
is counted of rows, steps above all, then follows from all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import write_or_refuse
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, Config, resolve
from autotrain_llm.context.versions import versions
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.text import plain

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.data.dataset import Progress
    from autotrain_llm.models.locate import Located

FORM = 1  # of the file
WHOLE = 64 * 2**20  # bytes up to which a file is read to its end; of larger weights the header, the ends and the size
END = 2**20  # bytes of each end
OF_THE_PLACE = {
    "model": ("folder", "cache_dir", "offline"),
    "data": ("not_checked",),
    "estimate": ("device", "with", "largest", "way_out", "way_out_bytes"),
    "parameters": tuple(param.name for param in PARAMS.values() if param.machine_specific),
}
NOT_COMPARED = ("output", "ignored")
# Of a plan that was made of a part of the rows: what doesn't follow from how many there are, and how long.
WHATEVER_THE_ROWS = ("trainer", "parameters", "model", "length", "precision", "adapter", "hub", "engine", "seed")
OF_ALL_ROWS = ("path", "format", "columns", "split", "evaluation", "samples")
SHOWN = 3  # differences of one part that are named


def save_plan(checked: Checked, path: str) -> None:
    """Write the plan of what was checked. Raises Refused where it can't be written."""
    assert checked.plan is not None
    config = checked.config
    given = {source: _given(config, source) for source in (COMMAND_LINE, CONFIG_FILE)}
    given[COMMAND_LINE].setdefault("output_dir", checked.plan.output.dir)
    document = {
        "form": FORM,
        "given": given,
        "config_file": config.config_file,
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
    """A plan that was kept. Raises Refused where the file is none."""
    try:
        document = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError) as fault:
        raise _unusable(path, f"can't be read: {fault.strerror if isinstance(fault, OSError) else fault}") from None
    except ValueError:
        raise _unusable(path, "holds no plan: it is no JSON") from None
    if not isinstance(document, dict) or document.get("form") != FORM or not _is_whole(document):
        raise _unusable(path, "holds no plan that this version kept")
    return document


def _is_whole(document: Mapping[str, Any]) -> bool:
    given = document.get("given")
    parts = [document.get(name) for name in ("plan", "files", "versions")]
    parts += [given.get(source) for source in (COMMAND_LINE, CONFIG_FILE)] if isinstance(given, dict) else [None]
    return all(isinstance(part, dict) for part in parts)


def _unusable(path: str, what: str) -> Refused:
    return Refused(
        [Finding(f"--plan {path} {what}", "a file that --save-plan wrote", ("plan",), file=path, code="P115")]
    )


def check_plan(
    said: Mapping[str, Any],
    from_file: Mapping[str, Any],
    findings: Iterable[Finding],
    progress: Progress | None = None,
) -> Checked:
    """Check the plan that `--plan` names, and that it is still what it was. `said` and `from_file` are given beside it."""
    from autotrain_llm.checks.preflight import preflight

    path = said["plan"]
    kept = read_plan(path)
    typed, in_file = (_converted(kept["given"][source], path) for source in (COMMAND_LINE, CONFIG_FILE))
    beside = {name: value for name, value in said.items() if _may_stand_beside(name)}
    config = resolve({**typed, **beside}, in_file, kept.get("config_file"))
    contradictions = _contradictions({**from_file, **said}, config, path)
    checked = preflight(config, [*findings, *contradictions], progress=progress)
    drift = tuple(_drift(kept, checked, path))
    return checked.replace(findings=(*checked.findings, *drift))


def _converted(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    from autotrain_llm.config.arguments import parse_kwargs

    said = parse_kwargs(values)
    if said.findings:
        raise Refused([finding.replace(file=path) for finding in said.findings])
    return said.values


def _may_stand_beside(name: str) -> bool:
    """Whether a parameter may be given together with `--plan`: it says where files are or what the command does, not what is trained."""
    return PARAMS[name].command or PARAMS[name].machine_specific


def _contradictions(values: Mapping[str, Any], config: Config, path: str) -> Iterator[Finding]:
    """What was given beside the plan and is something else in it."""
    for name, value in values.items():
        if _may_stand_beside(name) or config.value_of(name) == value:
            continue
        kept = "leaves it out" if config.value_of(name) is None else f"has {plain(config.value_of(name))}"
        message = f"{flag_of(name)} {plain(value)} beside --plan {path}, which {kept}"
        yield Finding(
            message, changes={name: None}, otherwise="or keep another plan", parameters=(name, "plan"), code="P116"
        )


# --- what a plan is made of --------------------------------------------------------------------------------------------------


def fingerprints(checked: Checked) -> dict[str, str]:
    """A digest of every file that the plan was made from, by its path."""
    context = checked.context
    paths = [Path(name) for name in (context.dataset.files if context.dataset else ())]
    for facts in context.models.looked_up:
        paths += _files_of(facts.located)
    if context.config.tokenizer and context.tokenizer_folder:
        paths += _files_in(context.tokenizer_folder)
    return {str(path): digest(path) for path in sorted(set(paths)) if path.is_file()}


def _files_of(located: Located | None) -> list[Path]:
    """The files of a model, and of what an adapter sits on."""
    found: list[Path] = []
    while located is not None:
        found += _files_in(located.folder) if located.folder else []
        located = located.base
    return found


def _files_in(folder: Path) -> list[Path]:
    """What makes a model: its configuration, tokenizer, weights and code; not what a run left beside them."""
    endings = (".json", ".jinja", ".safetensors", ".model", ".txt", ".py", ".bin")
    beside = ("run.json", "trainer_state.json")
    return [path for path in folder.iterdir() if path.suffix in endings and path.name not in beside]


def digest(path: Path) -> str:
    """Of a file up to 64 MiB its whole content; of a larger one its size, first and last MiB, and the header of safetensors."""
    size = path.stat().st_size
    summary = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= WHOLE:
            while piece := file.read(END):
                summary.update(piece)
            return summary.hexdigest()
        length = int.from_bytes(file.read(8), "little") if path.suffix == ".safetensors" else 0
        file.seek(0)
        summary.update(file.read(max(END, min(length + 8, WHOLE))))
        file.seek(-END, 2)
        summary.update(file.read(END))
    return summary.hexdigest()


def _drift(kept: Mapping[str, Any], checked: Checked, path: str) -> Iterator[Finding]:
    """What has changed since the plan was kept."""
    yield from _differing(kept["versions"], versions(), "the packages", path)
    if checked.plan is None:
        return  # why there is none is said already
    yield from _differing(kept["files"], fingerprints(checked), "the files", path, _of_a_file)
    now = json.loads(json.dumps(checked.plan.as_json(), default=list))
    whole = kept.get("first_rows") is None and not checked.context.data.is_partial
    for part, left_out in _compared(now, whole).items():
        yield from _differing(
            _flat(kept["plan"].get(part), left_out), _flat(now[part], left_out), f"the plan's {part}", path
        )


def _compared(plan: Mapping[str, Any], whole: bool) -> dict[str, tuple[str, ...]]:
    """The parts of a plan that have to be as they were, each with what is left out of it."""
    if whole:
        return {part: OF_THE_PLACE.get(part, ()) for part in plan if part not in NOT_COMPARED}
    parts = {part: OF_THE_PLACE.get(part, ()) for part in WHATEVER_THE_ROWS}
    return {**parts, "data": tuple(name for name in plan["data"] if name not in OF_ALL_ROWS)}


def _flat(part: Any, left_out: Iterable[str] = ()) -> dict[str, Any]:
    if not isinstance(part, dict):
        return {"": part}
    return {name: value for name, value in part.items() if name not in left_out}


def _differing(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    what: str,
    path: str,
    words: Callable[[str, Any, Any], str] | None = None,
) -> Iterator[Finding]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not names:
        return
    words = words or _difference
    shown = "; ".join(words(name, before.get(name), now.get(name)) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    message = f"{what} are not what they were when --plan {path} was kept: {shown}{more}"
    yield Finding(
        message,
        "keep the plan anew with --save-plan, or bring back what it was made of",
        ("plan",),
        file=path,
        code="P117",
    )


def _of_a_file(name: str, before: str | None, now: str | None) -> str:
    """Its digest tells nobody anything."""
    return f"{name} is {'new' if before is None else 'gone' if now is None else 'another'}"


def _difference(name: str, before: Any, now: Any) -> str:
    return f"{name} {_short(before)} is now {_short(now)}".strip()


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"value", "source"}:
        value = value["value"]
    text = "not there" if value is None else plain(value)
    return text if len(text) <= 60 else text[:60] + "…"
