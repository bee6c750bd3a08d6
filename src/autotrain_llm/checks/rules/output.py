"""Where the run will be written: nothing that is there is ever lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.registry import GROUP, PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import study_name
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.context.output_dir import (
    CHECKPOINT_NAME,
    CHECKPOINTS,
    LOCK_FILE,
    SWEEP,
    Output,
    adapter_values,
    earlier_run,
    earlier_sweep,
    earlier_values,
    is_complete,
    nearest_existing,
    run_of,
    step_of,
)
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.version import VERSION

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext


@rule("E401")
def a_folder_that_holds_a_run_is_kept(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder holds an earlier run.

    Why: writing into it would mix two runs.
    Fix: another folder, `--resume` to go on with it, or `--overwrite` to put it aside until the new one is complete.
    """
    going_on = config.resume or config.resume_from_checkpoint or config.overwrite
    going_on = going_on or _joins_a_sweep(config, output)
    is_read = any(_is_the_folder(value, output) or _is_of_the_run(value, output) for _, value in _what_is_read(config))
    if output.named and output.holds_run and not going_on and not is_read:
        yield Finding(
            f"--output-dir {output.folder if output.folder.is_absolute() else config.output_dir} holds an earlier run "
            f"({output.holds_run})",
            changes={"output_dir": free_beside(output)},
            otherwise="or --resume to go on with it, or --overwrite to replace it",
            parameters=("output_dir",),
        )


def free_beside(output: Output) -> str:
    """A folder of the same name with the next number, which nothing is in."""
    number = 2
    while output.folder.with_name(f"{output.folder.name}-{number}").exists():
        number += 1
    return str(output.folder.with_name(f"{output.folder.name}-{number}"))


def _joins_a_sweep(config: Config, output: Output) -> bool:
    """Whether this is one more process of the sweep that the folder holds: with `--resume`, or by the storage that they share."""
    asked = config.use_sweep and (config.resume or config.sweep_storage)
    return bool(asked) and earlier_sweep(output.folder) == study_name(config)


@rule("E402")
def the_model_is_not_written_over(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder is a folder that the run reads, or what is read lies in the earlier run that would be replaced.

    Why: what is read would be overwritten, or moved aside before it is read.
    Fix: another folder.
    """
    for name, value in _what_is_read(config) if output.named else ():
        if _is_the_folder(value, output):
            yield Finding(
                f"--output-dir and {PARAMS[name].flag} are the same folder ({value}), which would be overwritten",
                changes={"output_dir": free_beside(output)},
                parameters=("output_dir", name),
            )
        elif _is_of_the_run(value, output) and not config.resume:
            yield Finding(
                f"{PARAMS[name].flag} {value} lies in the earlier run in --output-dir {config.output_dir}, which would be put aside "
                "before it is read",
                changes={"output_dir": free_beside(output), "overwrite": None},
                parameters=("output_dir", name),
            )
        elif _lies_in(value, output):
            yield Finding(
                f"--output-dir {config.output_dir} is the folder that {PARAMS[name].flag} {value} lies in: the run's README.md, "
                "config.json and weights would lie among what is yours",
                changes={"output_dir": free_inside(output)},
                parameters=("output_dir", name),
            )


def _what_is_read(config: Config) -> Iterator[tuple[str, str]]:
    """The files and folders that the flags name for reading, by the flag's name; each once."""
    for name in (param.name for param in PARAMS.values() if param.path == "input"):
        held = config.value_of(name)
        for value in dict.fromkeys([held] if isinstance(held, str) else held or ()):
            yield name, value


def _is_the_folder(value: str, output: Output) -> bool:
    """Whether a flag names the output folder itself, or the run in it (`runs/mine@best`)."""
    path = Path(value).expanduser()
    if not path.exists() and "@" in value:
        path = Path(value.rpartition("@")[0]).expanduser()
    return path.exists() and output.folder.resolve() == path.resolve()


def _is_of_the_run(value: str, output: Output) -> bool:
    """Whether a flag names something that an earlier run wrote into the output folder: a checkpoint, a trial of a sweep."""
    path, folder = Path(value).expanduser(), output.folder.resolve()
    if output.holds_run is None or not path.exists() or folder not in path.resolve().parents:
        return False
    return path.resolve().relative_to(folder).parts[0] in (CHECKPOINTS, SWEEP)


def _lies_in(value: str, output: Output) -> bool:
    """Whether a file that the run reads lies directly in the output folder, which no run has made."""
    path = Path(value).expanduser()
    return path.is_file() and path.resolve().parent == output.folder.resolve() and not output.holds_run


def free_inside(output: Output) -> str:
    """A folder for the run in the folder that was named."""
    return str(output.folder / "run")


@rule("E403")
def the_output_folder_must_be_writable(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder can't be written to.

    Why: the run would fail at its first checkpoint.
    Fix: a folder that can.
    """
    folder = output.folder.resolve()
    if folder.exists() and not folder.is_dir():
        yield Finding(
            f"--output-dir {output.folder} is a file",
            changes={"output_dir": free_beside(output)},
            parameters=("output_dir",),
        )
        return
    existing = nearest_existing(folder)
    virtual = existing.parts[:2] in (("/", "proc"), ("/", "sys"))  # where even who may write makes no folder
    if virtual or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            f"--output-dir {output.folder} can't be written: no permission in {existing}", parameters=("output_dir",)
        )


@rule("E412")
def a_model_on_the_hub_has_a_name_that_the_hub_takes(config: Config, output: Output) -> Iterator[Finding]:
    """`--push-to-hub` would upload under a name that the Hub refuses: the account, or the output folder's name.

    Why: the upload comes last, and would fail when everything is trained.
    Fix: letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit; no `--` or `..`, and at most 96 of them.
    """
    if not config.push_to_hub:
        return
    owner, name = config.username, output.folder.resolve().name
    if owner and not _is_hub_name(owner):
        yield Finding(
            f"--username {owner} is no name of an account on the Hub: letters, digits and single - are",
            None,
            ("username", "push_to_hub"),
        )
    if output.named and not _is_hub_name(name):
        free = re.sub(r"[^\w.]+", "-", name.removesuffix(".git"), flags=re.ASCII)  # runs of what is not taken, and of -
        taken = re.sub(r"\.\.+", ".", free).replace("-.", "-").replace(".-", "-")[:96].strip("-._") or "model"
        yield Finding(
            f"the model would be called {name!r} on the Hub, after --output-dir, and the Hub takes letters, digits, single -, _ and . only",
            changes={"output_dir": str(output.folder.with_name(taken))},
            parameters=("output_dir", "push_to_hub"),
        )


def _is_hub_name(name: str) -> bool:
    """As huggingface_hub's `validate_repo_id` has it, for either part of a name."""
    found = re.fullmatch(r"\b[\w\-.]{1,96}\b", name, flags=re.ASCII)
    return found is not None and "--" not in name and ".." not in name and not name.endswith(".git")


@rule("E411")
def the_cache_is_a_folder(config: Config, output: Output) -> Iterator[Finding]:
    """`--cache-dir` names a file, or lies beneath one.

    Why: nothing can be downloaded or kept in it.
    Fix: a folder; it is made where it is not there.
    """
    named = config.cache_dir
    if not named:
        return
    path = Path(named).expanduser().absolute()
    file = nearest_existing(path)
    if not file.is_dir():
        what = "is a file" if file == path else f"lies beneath {file}, which is a file"
        yield Finding(f"--cache-dir {named} {what}", changes={"cache_dir": None}, parameters=("cache_dir",))


@rule("E404")
def two_runs_do_not_share_a_folder(config: Config, output: Output) -> Iterator[Finding]:
    """Another process is writing to the output folder.

    Why: two runs in one folder destroy each other's checkpoints.
    Fix: another folder, or wait for the other run.
    """
    holder = owner_of_lock(output.folder / LOCK_FILE)
    if holder is not None and not _joins_a_sweep(config, output):
        who = f"process {holder}" if holder > 0 else "another process"
        yield Finding(
            f"--output-dir {output.folder} is in use by {who}",
            changes={"output_dir": free_beside(output)},
            otherwise="or wait",
            parameters=("output_dir",),
        )


@rule("E405")
def resuming_needs_a_complete_checkpoint(config: Config, output: Output) -> Iterator[Finding]:
    """There is no complete checkpoint to go on from.

    Why: starting afresh without a word would look like going on.
    Fix: name a complete checkpoint, or start a new run.
    """
    named = config.resume_from_checkpoint
    if named and output.checkpoint is None:
        yield _unusable(named)
    elif config.resume and not named and output.checkpoint is None and not config.use_sweep:
        damaged = [path.name for path in output.checkpoints]
        what = (
            f"{', '.join(damaged)} there {'is' if len(damaged) == 1 else 'are'} incomplete"
            if damaged
            else "there is none"
        )
        yield Finding(
            f"--resume needs a complete checkpoint in {output.folder}, and {what}",
            changes={"resume": None, **({"overwrite": True} if output.holds_run else {})},
            otherwise="to start afresh",
            parameters=("resume", "output_dir"),
        )


def _unusable(named: str) -> Finding:
    path = Path(named).expanduser()
    inside = []
    for folder in (path, path / CHECKPOINTS, path.parent):
        if folder.is_dir():
            inside += [entry for entry in folder.iterdir() if CHECKPOINT_NAME.match(entry.name)]
    usable = sorted(filter(is_complete, inside), key=step_of)
    if not path.exists():
        what = "does not exist"
    elif CHECKPOINT_NAME.search(path.name):
        what = "is damaged or was not written to its end"
    else:
        what = "is no checkpoint, which is a folder named checkpoint-<step>"
    return Finding(
        f"--resume-from-checkpoint {named} {what}",
        changes={"resume_from_checkpoint": str(usable[-1]) if usable else None},
        otherwise="" if usable else "to start afresh",
        parameters=("resume_from_checkpoint",),
    )


@rule("E406")
def a_resumed_run_must_be_the_same_run(config: Config, output: Output) -> Iterator[Finding]:
    """What is resumed was started with another trainer, model, adapter or optimizer.

    Why: a checkpoint holds the state of one run; another run can't go on from it.
    Fix: the flags of the run that is resumed; its `command.sh` holds them.
    """
    if output.checkpoint is None or config.use_sweep:
        return
    folder, asked = _resumed(output), "resume_from_checkpoint" if output.resume_from else "resume"
    before = adapter_values(output.checkpoint) | earlier_values(folder)
    for name in (param.name for param in PARAMS.values() if param.fixed_on_resume):
        switch = GROUP[PARAMS[name].group].switch
        if switch and name != switch and not (config.value_of(switch) and before.get(switch)):
            continue  # without adapters their settings don't matter
        was, now = before.get(name), config.value_of(name)
        if was is not None and not _is_the_same(was, now):
            yield Finding(
                f"{PARAMS[name].flag} is {_written(now)} and the run in {folder} was started with {_written(was)}",
                changes={name: was},
                parameters=(name, asked),
            )


@rule("E413", WARNING)
def a_resumed_run_goes_on_with_its_rows(config: Config, output: Output, context: RunContext) -> Iterator[Finding]:
    """What is resumed was started with other rows, another tokenizer, or rows that were cut or masked in another way.

    Why: the checkpoint knows how many batches were seen, not which: some of the new rows would be left out, as if they had been.
    Fix: the flags of the run that is resumed; or begin a new run from its last checkpoint, `--model RUN@last`.
    """
    before = earlier_run(_resumed(output)) if output.checkpoint is not None and not config.use_sweep else {}
    of_this_version = (before.get("versions") or {}).get("autotrain-llm") == VERSION
    if (
        context.prepared is None
        or not of_this_version
        or before.get("data_fingerprint") in (None, context.prepared.fingerprint)
    ):
        return
    yield Finding(
        f"the rows are not those that the run in {_resumed(output)} was started with: other rows or files, another tokenizer, or other lengths "
        "or masks",
        f"--model {_resumed(output)}@last, without --resume, begins a run of its own with them",
        ("resume_from_checkpoint" if output.resume_from else "resume", "data_path"),
    )


def _resumed(output: Output) -> Path:
    """The folder of the run that is resumed, or, where its checkpoint lies alone, that."""
    if output.resume_from is None or output.checkpoint is None:
        return output.folder
    return run_of(output.checkpoint.absolute()) or output.checkpoint


def _is_the_same(was: Any, now: Any) -> bool:
    """Whether two values of a flag mean the same: equal ones, in whatever order they list, or two names of one folder."""
    if isinstance(was, list) and isinstance(now, list | tuple):
        return set(was) == set(now)
    if isinstance(was, str) and isinstance(now, str) and was != now and Path(now).expanduser().exists():
        return Path(was).expanduser().resolve() == Path(now).expanduser().resolve()
    return bool(was == now)


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
