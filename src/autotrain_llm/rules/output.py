"""Where the run will be written: nothing that is there is ever lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from autotrain_llm.config import Config
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.facts.output import (
    CHECKPOINT_NAME,
    Output,
    earlier_sweep,
    earlier_values,
    is_complete,
    nearest_existing,
    process_that_holds,
)
from autotrain_llm.registry import PARAMS
from autotrain_llm.sweeps import study_name


@rule("E401")
def a_folder_that_holds_a_run_is_kept(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder holds an earlier run.

    Why: writing into it would mix two runs.
    Fix: another folder, `--resume` to go on with it, or `--overwrite` to put it aside until the new one is complete.
    """
    going_on = config.peek("resume") or config.peek("resume_from_checkpoint") or config.peek("overwrite")
    going_on = going_on or _joins_a_sweep(config, output)
    if output.named and output.holds_run and not going_on:
        yield Finding(
            f"--output-dir {output.folder if output.folder.is_absolute() else config.peek('output_dir')} holds an earlier run "
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
    asked = config.peek("use_sweep") and (config.peek("resume") or config.peek("sweep_storage"))
    return bool(asked) and earlier_sweep(output.folder) == study_name(config)


@rule("E402")
def the_model_is_not_written_over(config: Config, output: Output) -> Iterator[Finding]:
    """The output folder is a folder that the run reads: the model, the tokenizer, or the data.

    Why: what is read would be overwritten.
    Fix: another folder.
    """
    for name in ("model", "tokenizer", "data_path", "eval_dataset_path"):
        value = config.peek(name)
        if (
            value
            and output.named
            and Path(value).expanduser().exists()
            and output.folder.resolve() == Path(value).expanduser().resolve()
        ):
            yield Finding(
                f"--output-dir and {PARAMS[name].flag} are the same folder ({value}), which would be overwritten",
                changes={"output_dir": free_beside(output)},
                parameters=("output_dir", name),
            )
        elif value and output.named and _lies_in(value, output):
            yield Finding(
                f"--output-dir {config.peek('output_dir')} is the folder that {PARAMS[name].flag} {value} lies in: the run's README.md, "
                "config.json and weights would lie among what is yours",
                changes={"output_dir": free_inside(output)},
                parameters=("output_dir", name),
            )


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


@rule("E411")
def the_cache_is_a_folder(config: Config, output: Output) -> Iterator[Finding]:
    """`--cache-dir` names a file, or lies beneath one.

    Why: nothing can be downloaded or kept in it.
    Fix: a folder; it is made where it is not there.
    """
    named = config.peek("cache_dir")
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
    holder = process_that_holds(output.folder)
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
    named = config.peek("resume_from_checkpoint")
    if named and output.checkpoint is None:
        yield _unusable(named)
    elif config.peek("resume") and not named and output.checkpoint is None and not config.peek("use_sweep"):
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
    for folder in (path, path / "checkpoints"):
        if folder.is_dir():
            inside += [entry for entry in sorted(folder.iterdir()) if CHECKPOINT_NAME.match(entry.name)]
    usable = [entry for entry in inside if is_complete(entry)]
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
    """What is resumed was started with another trainer or model.

    Why: a checkpoint holds the state of one run; another run can't go on from it.
    Fix: the flags of the run that is resumed; its `command.sh` holds them.
    """
    if output.checkpoint is None or config.peek("use_sweep"):
        return
    before = earlier_values(output.folder)
    for name in ("trainer", "model", "peft", "lora_r", "optimizer"):
        was = before.get(name)
        if was is not None and was != config.peek(name):
            yield Finding(
                f"{PARAMS[name].flag} is {config.peek(name)} and the run in {output.folder} was started with {was}",
                changes={name: was},
                parameters=(name, "resume"),
            )
