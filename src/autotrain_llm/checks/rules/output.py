"""Where the run writes: it never destroys what is already there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import study_name
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.context.output_dir import (
    CHECKPOINTS,
    LOCK_FILE,
    SWEEP,
    Output,
    earlier_sweep,
    nearest_existing,
)
from autotrain_llm.declare.example import RUN, of_flags
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule


@rule("E401", example=of_flags("--output-dir runs/mine", "--output-dir runs/mine --overwrite", before=RUN))
def an_earlier_run_is_kept(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder already has a run in it.

    Why: writing into it would mix the files of two runs.
    Fix: another folder, `--resume` to continue the run, or `--overwrite` to move it aside until the new one is complete.
    """
    continues = (output.goes_on or output.newest is not None) if output.begins else config.resume
    continues = continues or config.resume_from_checkpoint or config.overwrite or _joins_a_sweep(config, output)
    reported_by_e402 = any(_is_the_folder(path, output) or _is_of_the_run(path, output) for _, path in _inputs(config))
    if output.named and output.holds_run and not continues and not reported_by_e402:
        yield Finding(
            f"--output-dir {output.folder if output.folder.is_absolute() else config.output_dir} already has a run in it "
            f"({output.holds_run})",
            changes={"output_dir": free_folder(output)},
            otherwise=f"or {'' if output.resume else '--resume to continue it, or '}--overwrite to replace it",
            parameters=("output_dir",),
        )


def free_folder(output: Output) -> str:
    """A folder of the same name with the next number that is not taken."""
    number = 2
    while output.folder.with_name(f"{output.folder.name}-{number}").exists():
        number += 1
    return str(output.folder.with_name(f"{output.folder.name}-{number}"))


def _joins_a_sweep(config: Config, output: Output) -> bool:
    """Whether this is one more process of the sweep in the folder: with `--resume`, or by a shared `--sweep-storage`."""
    joins = config.use_sweep and (config.resume or config.sweep_storage)
    return bool(joins) and earlier_sweep(output.folder) == study_name(config)


@rule("E402", example=of_flags("--output-dir MODEL", "--output-dir runs/mine"))
def inputs_are_not_overwritten(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder is also an input, or an input is in the earlier run that would be replaced.

    Why: the input would be overwritten, or moved aside before it is read.
    Fix: another folder.
    """
    for name, path in _inputs(config) if output.named else ():
        flag = flag_of(name)
        if _is_the_folder(path, output):
            yield Finding(
                f"--output-dir and {flag} are the same folder ({path}), which would be overwritten",
                changes={"output_dir": free_folder(output)},
                parameters=("output_dir", name),
            )
        elif _is_of_the_run(path, output) and not output.resume:
            yield Finding(
                f"{flag} {path} is in the earlier run in --output-dir {config.output_dir}, which would be moved aside before it is read",
                changes={"output_dir": free_folder(output), "overwrite": None},
                parameters=("output_dir", name),
            )
        elif _is_in_the_folder(path, output):
            yield Finding(
                f"--output-dir {config.output_dir} is the folder with {flag} {path}: the run's README.md, config.json and weights would be "
                "mixed with your files",
                changes={"output_dir": str(output.folder / "run")},
                parameters=("output_dir", name),
            )


def _inputs(config: Config) -> Iterator[tuple[str, str]]:
    """The files and folders that flags name as inputs, with the parameter; each once."""
    for name in (param.name for param in PARAMS.values() if param.path == "input"):
        value = config.value_of(name)
        for path in dict.fromkeys([value] if isinstance(value, str) else value or ()):
            yield name, path


def _is_the_folder(name: str, output: Output) -> bool:
    """Whether a flag names the output folder itself, or the run in it (`runs/mine@best`)."""
    path = Path(name).expanduser()
    if not path.exists() and "@" in name:
        path = Path(name.rpartition("@")[0]).expanduser()
    return path.exists() and output.folder.resolve() == path.resolve()


def _is_of_the_run(name: str, output: Output) -> bool:
    """Whether a flag names something that an earlier run wrote into the output folder: a checkpoint, a trial of a sweep."""
    path, folder = Path(name).expanduser(), output.folder.resolve()
    if output.holds_run is None or not path.exists() or folder not in path.resolve().parents:
        return False
    return path.resolve().relative_to(folder).parts[0] in (CHECKPOINTS, SWEEP)


def _is_in_the_folder(name: str, output: Output) -> bool:
    """Whether an input is a file directly in the output folder, and no run has written there."""
    path = Path(name).expanduser()
    return path.is_file() and path.resolve().parent == output.folder.resolve() and not output.holds_run


@rule("E403", example=of_flags("--output-dir rows.jsonl", "--output-dir runs/mine"))
def the_output_folder_must_be_writable(output: Output) -> Iterator[Finding]:
    """The output folder can't be written to.

    Why: the run would fail at its first checkpoint.
    Fix: a folder that can be written to.
    """
    folder = output.folder.resolve()
    if folder.exists() and not folder.is_dir():
        yield Finding(
            f"--output-dir {output.folder} is a file",
            changes={"output_dir": free_folder(output)},
            parameters=("output_dir",),
        )
        return
    existing = nearest_existing(folder)
    virtual = existing.parts[:2] in (
        ("/", "proc"),
        ("/", "sys"),
    )  # no one can make a folder there, whatever os.access says
    if virtual or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            f"--output-dir {output.folder} can't be written: no permission in {existing}", parameters=("output_dir",)
        )


@rule(
    "E404",
    example=of_flags(
        "--output-dir runs/mine", "--output-dir runs/other", on="while another process writes to runs/mine"
    ),
)
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
            changes={"output_dir": free_folder(output)},
            otherwise="or wait",
            parameters=("output_dir",),
        )


@rule("E411", example=of_flags("--cache-dir rows.jsonl", "--cache-dir cache"))
def the_cache_is_a_folder(config: Config, output: Output) -> Iterator[Finding]:
    """`--cache-dir` is a file, or a path below a file.

    Why: nothing can be downloaded or cached there.
    Fix: a folder; it is created if it does not exist.
    """
    if not config.cache_dir:
        return
    path = Path(config.cache_dir).expanduser().absolute()
    existing = nearest_existing(path)
    if not existing.is_dir():
        what = "is a file" if existing == path else f"is below {existing}, which is a file"
        yield Finding(f"--cache-dir {config.cache_dir} {what}", changes={"cache_dir": None}, parameters=("cache_dir",))
