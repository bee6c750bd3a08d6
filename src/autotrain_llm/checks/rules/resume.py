"""Continuing an earlier run: from which checkpoint, and with the same flags and rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.registry import GROUP, PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.output_dir import (
    CHECKPOINT_NAME,
    CHECKPOINTS,
    Output,
    adapter_values,
    earlier_run,
    earlier_values,
    is_complete,
    run_of,
    step_of,
)
from autotrain_llm.declare.example import CHECKPOINT, of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.version import VERSION

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext

MINE = "--resume --output-dir runs/mine"


@rule("P320", refuses="--resume --overwrite", accepts="--resume")
def a_run_is_resumed_or_replaced(config: Config) -> Iterator[Finding]:
    """`--resume` and `--overwrite` together.

    Why: the first continues the earlier run, the second replaces it.
    Fix: keep one.
    """
    if config.overwrite and (config.resume or config.resume_from_checkpoint):
        yield Finding(
            "--resume continues an earlier run, and --overwrite replaces it",
            changes={"overwrite": None},
            parameters=("resume", "overwrite"),
        )


@rule("P321", refuses="--resume", accepts="--resume --output-dir runs/mine")
def resuming_needs_the_run_to_resume(config: Config) -> Iterator[Finding]:
    """`--resume` without `--output-dir`.

    Why: without a name every run gets a new output folder, in which there is nothing to resume.
    Fix: the folder of the run.
    """
    if config.resume and not config.output_dir:
        yield Finding(
            "--resume needs --output-dir, the folder of the run to continue",
            fix="--output-dir <folder of the run>",
            parameters=("resume", "output_dir"),
        )


@rule("E405", example=of_flags(MINE, MINE, wrong="mkdir -p runs/mine", right=CHECKPOINT))
def resuming_needs_a_complete_checkpoint(config: Config, output: Output) -> Iterator[Finding]:
    """There is no complete checkpoint to continue from.

    Why: starting from the beginning without a message would look like continuing.
    Fix: name a complete checkpoint, or start a new run.
    """
    named = config.resume_from_checkpoint
    if named and output.checkpoint is None:
        yield _unusable(named)
    elif config.resume and not named and output.checkpoint is None and not config.use_sweep:
        damaged = [path.name for path in output.checkpoints]
        what = f"{', '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} incomplete" if damaged else "there is none"
        yield Finding(
            f"--resume needs a complete checkpoint in {output.folder}, and {what}",
            changes={"resume": None, **({"overwrite": True} if output.holds_run else {})},
            otherwise="to start from the beginning",
            parameters=("resume", "output_dir"),
        )


def _unusable(named: str) -> Finding:
    path = Path(named).expanduser()
    nearby = [
        entry
        for folder in (path, path / CHECKPOINTS, path.parent)
        if folder.is_dir()
        for entry in folder.iterdir()
        if CHECKPOINT_NAME.match(entry.name)
    ]
    usable = sorted(filter(is_complete, nearby), key=step_of)
    if not path.exists():
        what = "does not exist"
    elif CHECKPOINT_NAME.search(path.name):
        what = "is damaged or incomplete"
    else:
        what = "is not a checkpoint, which is a folder named checkpoint-<step>"
    return Finding(
        f"--resume-from-checkpoint {named} {what}",
        changes={"resume_from_checkpoint": str(usable[-1]) if usable else None},
        otherwise="" if usable else "to start from the beginning",
        parameters=("resume_from_checkpoint",),
    )


@rule(
    "E406",
    example=of_flags(
        MINE,
        MINE,
        before=CHECKPOINT,
        wrong="""echo '{"plan": {"parameters": {"trainer": {"value": "dpo"}}}}' > runs/mine/run.json""",
        right="""echo '{"plan": {"parameters": {"trainer": {"value": "sft"}}}}' > runs/mine/run.json""",
    ),
)
def a_resumed_run_must_be_the_same_run(config: Config, output: Output) -> Iterator[Finding]:
    """The run to continue was started with another trainer, model, adapter or optimizer.

    Why: a checkpoint holds the state of one run; a different run can't continue from it.
    Fix: the flags of the run that is resumed; its `command.sh` has them.
    """
    if output.checkpoint is None or config.use_sweep:
        return
    folder, flag = _resumed_folder(output), "resume_from_checkpoint" if output.resume_from else "resume"
    before = adapter_values(output.checkpoint) | earlier_values(folder)
    for name in (param.name for param in PARAMS.values() if param.fixed_on_resume):
        switch = GROUP[PARAMS[name].group].switch
        if switch and name != switch and not (config.value_of(switch) and before.get(switch)):
            continue  # the settings of an adapter only matter where there is one
        was, now = before.get(name), config.value_of(name)
        if was is not None and not _is_the_same(was, now):
            yield Finding(
                f"{flag_of(name)} is {_typed(now)}, and the run in {folder} was started with {_typed(was)}",
                changes={name: was},
                parameters=(name, flag),
            )


@rule(
    "E413",
    WARNING,
    example=of_flags(
        MINE,
        MINE,
        before=CHECKPOINT,
        wrong=f"""echo '{{"data_fingerprint": "of other rows", "versions": {{"autotrain-llm": "{VERSION}"}}}}' > runs/mine/run.json""",
    ),
)
def a_resumed_run_should_have_the_same_rows(config: Config, output: Output, context: RunContext) -> Iterator[Finding]:
    """The run to continue was started with other rows, another tokenizer, or other lengths or loss masks.

    Why: the checkpoint records how many batches were trained on, not which: that many of the new rows would be skipped.
    Fix: the flags of the run that is resumed; or a new run that starts from its last checkpoint, `--model RUN@last`.
    """
    if output.checkpoint is None or config.use_sweep or context.prepared is None:
        return
    folder = _resumed_folder(output)
    before = earlier_run(folder)
    same_version = (before.get("versions") or {}).get("autotrain-llm") == VERSION
    if same_version and before.get("data_fingerprint") not in (None, context.prepared.fingerprint):
        yield Finding(
            f"the rows differ from those that the run in {folder} was started with: other rows or files, another tokenizer, or other lengths or "
            "loss masks",
            f"--model {folder}@last, without --resume, starts a new run with them",
            ("resume_from_checkpoint" if output.resume_from else "resume", "data_path"),
        )


def _resumed_folder(output: Output) -> Path:
    """The folder of the run that is resumed; the checkpoint itself where it belongs to no run."""
    if output.resume_from is None or output.checkpoint is None:
        return output.folder
    return run_of(output.checkpoint.absolute()) or output.checkpoint


def _is_the_same(was: Any, now: Any) -> bool:
    """Whether two values of a flag mean the same: equal ones, lists in any order, or two names of one folder."""
    if isinstance(was, list) and isinstance(now, list | tuple):
        return set(was) == set(now)
    if isinstance(was, str) and isinstance(now, str) and was != now and Path(now).expanduser().exists():
        return Path(was).expanduser().resolve() == Path(now).expanduser().resolve()
    return bool(was == now)


def _typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
