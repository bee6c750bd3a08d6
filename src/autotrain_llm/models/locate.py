"""Locate the folder of the model that a user named.

A local folder, a checkpoint (`runs/sft/checkpoint-40`, in the run's folder or in its `checkpoints/`), an earlier run (`runs/sft@best`), an adapter with its base, a Hub id, or a new model. A path that does not
exist is never looked for on the Hub, and a Hub id is never taken for a path. What is wrong with a model that was located is reported by the
rules in `checks/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Refused
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import Rule
from autotrain_llm.declare.special_file import refuse_special
from autotrain_llm.models import hub
from autotrain_llm.models.findings import (
    BEHIND_A_SERVICE,
    FILE_INSTEAD_OF_FOLDER,
    GGUF,
    HUB_UNREACHABLE,
    NO_BASE_MODEL,
    NO_SUCH_CHECKPOINT,
    NO_SUCH_MODEL,
    NOT_ON_THE_HUB,
)
from autotrain_llm.models.scratch import is_scratch, parse_size

FOLDER, ADAPTER, SCRATCH, HUB = "folder", "adapter", "scratch", "hub"

ADAPTER_CONFIG = "adapter_config.json"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
NAMED_CHECKPOINT = re.compile(r"(?P<run>.+?)(?:/checkpoints)?/checkpoint-(?P<step>\d+)/?")
SELECTED_RUN = re.compile(r"(?P<run>.+)@(?P<choice>best|last|step-\d+)")
# Families whose weights their makers don't give out. `gpt-oss`, `gpt2` and `gemma` are others, and can be had.
CLOSED_MODEL = re.compile(
    r"(?:(?:openai|anthropic|google)/)?(?:gpt-[345]|chatgpt|o[134](?:-|$)|claude|gemini|text-davinci)[\w.\-]*",
    re.IGNORECASE,
)
LONGEST_ADAPTER_CHAIN = 4


@dataclass(frozen=True)
class Located:
    """Where a model is. `name` is what the user wrote, `folder` holds its files (for a Hub id only the metadata files, None for a new
    model), `base` is the model that an adapter belongs to, `size` the number of parameters of a new model. For a model whose weights are not
    on this disk `remote_files` are the names of all its files, and `remote_tensors` the shapes of its tensors, if they are known.
    `planned` is where a model that an earlier stage will write is going to be; until then `folder` has the files that follow from its plan."""

    name: str
    kind: str
    folder: Path | None = None
    base: Located | None = None
    size: int | None = None
    remote_files: tuple[str, ...] | None = None
    remote_tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    planned: Path | None = None

    @property
    def path(self) -> Path | None:
        """The folder of the model's files when the run starts."""
        return self.planned or self.folder


REWARD_MODEL = "rl_reward_model_path"
# The kinds of finding that mean a reward model is not there, in whose place a policy must not be trained with random rewards.
NOT_THERE = (NO_SUCH_MODEL, FILE_INSTEAD_OF_FOLDER, NO_SUCH_CHECKPOINT, HUB_UNREACHABLE, NOT_ON_THE_HUB)


@dataclass(frozen=True)
class Request:
    """The settings of a search; `parameter` is the flag that its findings name."""

    revision: str | None = None
    cache_dir: str | Path | None = None
    offline: bool = False
    token: str | None = None
    parameter: str = "model"

    @property
    def flag(self) -> str:
        return flag_of(self.parameter)

    def refuse(
        self, kind: Rule, message: str, fix: str | None = None, instead: str | None = None, is_certain: bool = True
    ) -> Refused:
        """The error that ends the search; `instead` is the right name, if it is known or can be guessed."""
        if self.parameter == REWARD_MODEL and kind in NOT_THERE:
            message = f"Reward model not found: {message}"
        changes = {self.parameter: instead} if instead and self.parameter != REWARD_MODEL else EMPTY
        fix = f"{self.flag} {instead}" if instead else fix
        role = "changes" if is_certain else "guess"
        return Refused([kind.finding(message, fix, (self.parameter,), **{role: changes})])


def locate(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    token: str | None = None,
    parameter: str = "model",
) -> Located:
    """Find a model by the name that a user gave. Raises Refused if there is none. Reads the disk; asks the Hub for metadata files if `name`
    is a Hub id, unless `offline` is set."""
    request = Request(revision, cache_dir, offline, token, parameter)
    return _locate(name.strip(), request, depth=0)


def _locate(name: str, request: Request, depth: int) -> Located:
    if not name:
        raise request.refuse(NO_SUCH_MODEL, f"{request.flag} is empty", f"{request.flag} <folder or Hub id>")
    if is_scratch(name):
        return Located(name, SCRATCH, size=parse_size(name, request.parameter))
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(name, path, request, depth)
    if path.is_file():
        raise _file_instead_of_folder(name, path, request)
    selected = SELECTED_RUN.fullmatch(name)
    if selected:
        return _in_folder(name, select_from_run(selected["run"], selected["choice"], request), request, depth)
    checkpoint = NAMED_CHECKPOINT.fullmatch(name)
    if checkpoint and Path(checkpoint["run"]).expanduser().is_dir():
        return _in_folder(
            name, _named_checkpoint(name, checkpoint["run"], int(checkpoint["step"]), request), request, depth
        )
    if CLOSED_MODEL.fullmatch(name):
        raise _closed_model(name, request)
    if is_path_like(name):
        raise _missing_path(name, path, request)
    return _on_hub(name, request, depth)


def is_path_like(name: str) -> bool:
    """Whether a name that exists nowhere on this disk was meant as a path.

    `org/model` is a Hub id unless the folder `org` is here; `./x`, `/x`, `~/x`, `a/b/c` and `x/` are paths.
    """
    if name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name or name.count("/") > 1:
        return True
    if name.endswith((".gguf", ".safetensors", ".bin", ".pt", ".pth")):
        return True
    return "/" in name and Path(name).parent.is_dir()


# --- what a name that leads nowhere was meant to be -----------------------------------------------------------------


PAGE_OF_A_MODEL = re.compile(r"([\w.-]+/[\w.-]+)/(?:tree|blob|resolve)/([\w.-]+)(?:/.*)?")


def _missing_path(name: str, path: Path, request: Request) -> Refused:
    parent = path.parent
    message = f"{request.flag} {name}: there is no such folder"
    page = PAGE_OF_A_MODEL.fullmatch(name)
    if page:
        fix = f"{request.flag} {page[1]}" + (f" --revision {page[2]}" if page[2] != "main" else "")
        message += (
            "; it looks like the address of a page of the Hub: give the model's id, and the revision with --revision"
        )
        return request.refuse(NO_SUCH_MODEL, message, fix)
    if not parent.is_dir():
        return request.refuse(
            NO_SUCH_MODEL, f"{message} (nor a folder {parent})", f"{request.flag} <an existing folder or a Hub id>"
        )
    from difflib import get_close_matches

    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    near = get_close_matches(path.name, names, n=1)
    fix = f"{request.flag} <an existing folder or a Hub id>"
    return request.refuse(NO_SUCH_MODEL, message, fix, str(parent / near[0]) if near else None, is_certain=False)


def _file_instead_of_folder(name: str, path: Path, request: Request) -> Refused:
    if path.suffix == ".gguf":
        return _only_gguf(name, request)
    message = f"{request.flag} {name} is a file; a model is the folder with config.json and the weights"
    is_beside = (path.parent / "config.json").is_file()
    fix = f"{request.flag} <the folder of the model>"
    return request.refuse(FILE_INSTEAD_OF_FOLDER, message, fix, str(path.parent) if is_beside else None)


def _only_gguf(name: str, request: Request) -> Refused:
    message = f"{request.flag} {name} is a GGUF model: its weights are quantised for inference and can't be trained"
    return request.refuse(GGUF, message, f"{request.flag} <the original model, as safetensors>")


def _closed_model(name: str, request: Request) -> Refused:
    message = f"{request.flag} {name} is available through a service only: its weights are not public"
    if request.parameter == "teacher_model":
        message += ", and distillation needs the teacher's probabilities of every token"
    return request.refuse(
        BEHIND_A_SERVICE, message, f"{request.flag} <a model with public weights, such as Qwen/Qwen2.5-7B-Instruct>"
    )


# --- folders --------------------------------------------------------------------------------------------------------


def _in_folder(name: str, folder: Path, request: Request, depth: int) -> Located:
    for entry in folder.iterdir():
        refuse_special(entry)
    if holds_adapter(folder):
        return Located(name, ADAPTER, folder, base=_base_of(folder, request, depth))
    if not (folder / "config.json").exists():
        if any(folder.glob("*.gguf")):
            raise _only_gguf(name, request)
        checkpoints = complete_checkpoints(folder)
        if checkpoints and folder.name == "checkpoints":
            steps = ", ".join(str(step) for step in checkpoints)
            message = f"{request.flag} {name} is the folder of a run's checkpoints (steps {steps}), and no model itself"
            last = str(list(checkpoints.values())[-1])
            raise request.refuse(NO_SUCH_CHECKPOINT, message, instead=last, is_certain=False)
        if checkpoints:
            steps = ", ".join(str(step) for step in checkpoints)
            message = f"{request.flag} {name} contains no finished model, only checkpoints of an unfinished run (steps {steps})"
            raise request.refuse(NO_SUCH_CHECKPOINT, message, instead=f"{name}@last")
    return Located(name, FOLDER, folder)


def holds_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter and not a whole model with an adapter's leftovers."""
    if not (folder / ADAPTER_CONFIG).exists():
        return False
    whole = (folder / "config.json").exists() and any(folder.glob("model*.safetensors"))
    return not whole


def _base_of(folder: Path, request: Request, depth: int) -> Located:
    config_file = folder / ADAPTER_CONFIG
    config = read_json(config_file)
    base = config.get("base_model_name_or_path") if config else None
    if not isinstance(base, str) or not base:
        message = f"{request.flag} {folder}: {ADAPTER_CONFIG} names no base_model_name_or_path, so the adapter has no base model"
        raise request.refuse(NO_BASE_MODEL, message, f"write the base model's folder or Hub id into {config_file}")
    beside = folder / base
    if not Path(base).expanduser().exists() and beside.is_dir():
        base = str(beside)
    if depth >= LONGEST_ADAPTER_CHAIN or Path(base).expanduser().resolve() == folder.resolve():
        message = (
            f"{request.flag} {folder}: its base_model_name_or_path refers from adapter to adapter, never to a model"
        )
        raise request.refuse(NO_BASE_MODEL, message, f"write the base model's folder or Hub id into {config_file}")
    try:
        return _locate(
            base, Request(None, request.cache_dir, request.offline, request.token, request.parameter), depth + 1
        )
    except Refused as refused:
        reason = "; ".join(finding.message.removeprefix(f"{request.flag} ") for finding in refused.findings)
        message = (
            f"{request.flag} {folder} is an adapter whose base_model_name_or_path, {base}, can't be used: {reason}"
        )
        raise request.refuse(
            NO_BASE_MODEL, message, f"restore {base}, or write its new path into {config_file}"
        ) from refused


# --- earlier runs ---------------------------------------------------------------------------------------------------


def complete_checkpoints(run: Path) -> dict[int, Path]:
    """A run's checkpoints by step, oldest first: those whose last file was written."""
    checkpoints: dict[int, Path] = {}
    for parent in (run / "checkpoints", run):
        for folder in parent.glob("checkpoint-*"):
            match = CHECKPOINT.fullmatch(folder.name)
            if match and (folder / "trainer_state.json").exists():
                checkpoints.setdefault(int(match[1]), folder)
    return dict(sorted(checkpoints.items()))


def holds_model(folder: Path) -> bool:
    """Whether a finished model or adapter lies in the folder itself."""
    if (folder / ADAPTER_CONFIG).exists():
        return any(folder.glob("adapter_model.*"))
    return (folder / "config.json").exists() and any(_weight_files(folder))


def _weight_files(folder: Path) -> Iterator[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        yield from folder.glob(pattern)


def select_from_run(run_name: str, choice: str, request: Request) -> Path:
    """The folder that `run@best`, `run@last` or `run@step-40` names."""
    run = Path(run_name).expanduser()
    if not run.is_dir():
        raise request.refuse(
            NO_SUCH_MODEL,
            f"{request.flag} {run_name}@{choice}: there is no run {run_name}",
            f"{request.flag} <an earlier run>@{choice}",
        )
    checkpoints = complete_checkpoints(run)
    if choice.startswith("step-"):
        return _at_step(run, int(choice.removeprefix("step-")), checkpoints, request)
    best = _best_checkpoint(run) if choice == "best" else None
    if best is not None:
        return _known_best(run, best, request)
    if holds_model(run):
        return run
    if checkpoints:
        return list(checkpoints.values())[-1]
    message = f"{request.flag} {run_name}@{choice}: the run has neither a finished model nor a complete checkpoint"
    raise request.refuse(NO_SUCH_CHECKPOINT, message, f"run it again, or name another: {request.flag} <run>@{choice}")


def _named_checkpoint(name: str, run_name: str, step: int, request: Request) -> Path:
    """The folder that `run/checkpoint-40` or `run/checkpoints/checkpoint-40` names, where it is not exactly there."""
    run = Path(run_name).expanduser()
    checkpoints = complete_checkpoints(run)
    if step in checkpoints:
        return checkpoints[step]
    near = _nearest(step, checkpoints)
    instead = str(checkpoints[near]) if near is not None else None
    raise _no_such_step(name, run, step, checkpoints, instead, f"{request.flag} <a run>/checkpoint-{step}", request)


def _at_step(run: Path, step: int, checkpoints: dict[int, Path], request: Request) -> Path:
    if step in checkpoints:
        return checkpoints[step]
    near = _nearest(step, checkpoints)
    instead = f"{run}@step-{near}" if near is not None else None
    otherwise = f"{request.flag} <another run>@step-{step}"
    raise _no_such_step(f"{run}@step-{step}", run, step, checkpoints, instead, otherwise, request)


def _nearest(step: int, checkpoints: Mapping[int, Path]) -> int | None:
    return min(checkpoints, key=lambda other: abs(other - step)) if checkpoints else None


def _no_such_step(
    name: str,
    run: Path,
    step: int,
    checkpoints: Mapping[int, Path],
    instead: str | None,
    otherwise: str,
    request: Request,
) -> Refused:
    steps = ", ".join(str(step) for step in checkpoints)
    has = f" (it has those of steps {steps})" if steps else ", nor any other"
    message = f"{request.flag} {name}: the run has no complete checkpoint of step {step}{has}"
    near = instead or (str(run) if holds_model(run) else None)
    return request.refuse(NO_SUCH_CHECKPOINT, message, otherwise, instead=near, is_certain=False)


def _best_checkpoint(run: Path) -> Path | None:
    """The best checkpoint in the run's own record; None if nothing was evaluated."""
    outcome = (read_json(run / "run.json") or {}).get("outcome")
    best = outcome.get("best_checkpoint") if isinstance(outcome, dict) else None
    return run / best if isinstance(best, str) and best else None


def _known_best(run: Path, best: Path, request: Request) -> Path:
    if best.is_dir() and (best / "trainer_state.json").exists():
        return best
    if best.resolve() == run.resolve() and holds_model(run):
        return run
    message = f"{request.flag} {run}@best: its best checkpoint, {best.name}, is no longer there"
    raise request.refuse(NO_SUCH_CHECKPOINT, message, instead=f"{run}@last", is_certain=False)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None if the file is missing, broken or holds something else."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


# --- the Hub --------------------------------------------------------------------------------------------------------


def _on_hub(name: str, request: Request, depth: int) -> Located:
    if not hub.is_repository_name(name):
        message = f"{request.flag} {name} is neither a folder here nor a possible name on the Hub"
        raise request.refuse(NO_SUCH_MODEL, message, f"{request.flag} <an existing folder or a Hub id>")
    try:
        repository = hub.fetch_metadata(name, request.revision, request.cache_dir, request.offline, request.token)
    except hub.HubFault as fault:
        raise request.refuse(fault.kind, f"{request.flag} {fault.message}", fault.fix) from fault
    if holds_adapter(repository.folder):
        base = _base_of(repository.folder, request, depth)
        return Located(name, ADAPTER, repository.folder, base, None, repository.files, repository.tensors)
    names = (
        repository.files if repository.files is not None else tuple(file.name for file in repository.folder.iterdir())
    )
    if "config.json" not in names and any(file.endswith(".gguf") for file in names):
        raise _only_gguf(name, request)
    return Located(name, HUB, repository.folder, None, None, repository.files, repository.tensors)
