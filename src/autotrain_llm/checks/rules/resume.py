"""Continuing an earlier run: from which checkpoint, and which parameters may have another value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.rules.output import free_folder
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.output_dir import (
    CHECKPOINT_NAME,
    CHECKPOINTS,
    Output,
    changed_in,
    is_intact,
    missing_from,
    step_of,
    was_finished,
)
from autotrain_llm.context.resumed_run import ResumedRun, resumed_run
from autotrain_llm.declare.example import CHECKPOINT, of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import FIXED, SAME_ROWS, TAKES_EFFECT, flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.planning.schedule import fitting_batch_size, rows_of_step_before, sizes_of_step_before
from autotrain_llm.version import VERSION

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.planning.plan import Plan

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
    """There is no intact checkpoint to continue from: none is complete, or the only ones have lost a file or were changed.

    Why: starting from the beginning without a message would look like continuing; without the state of the optimizer, the schedule or the
    random numbers a run ends with other weights. A checkpoint that a run was still writing when it was killed is passed over. With `--resume auto` a
    run begins where no checkpoint was completed yet; one that is damaged is an error there too.
    Fix: name a complete checkpoint, or start a new run.
    """
    if output.checkpoint is not None or config.use_sweep:
        return
    if config.resume_from_checkpoint:
        yield _unusable(config.resume_from_checkpoint)
    elif output.resume and output.newest is not None:
        yield Finding(
            f"the newest checkpoint, {output.newest}, {_damage(output.newest)}, and no earlier one is intact",
            changes=_from_the_beginning(output),
            otherwise="to start from the beginning",
            parameters=("resume", "output_dir"),
        )
    elif output.resume and not output.begins:
        unfinished = [path.name for path in output.checkpoints]
        what = (
            f"{', '.join(unfinished)} {'is' if len(unfinished) == 1 else 'are'} incomplete"
            if unfinished
            else "there is none"
        )
        if not output.folder.exists():
            what = "that folder does not exist"
        elif not any(output.folder.iterdir()):
            what = "that folder is empty"
        yield Finding(
            f"--resume needs a complete checkpoint in {output.folder}, and {what}",
            changes=_from_the_beginning(output),
            otherwise="to start from the beginning",
            parameters=("resume", "output_dir"),
        )


def _from_the_beginning(output: Output) -> dict[str, Any]:
    return {"resume": None, **({"output_dir": free_folder(output)} if output.holds_run else {})}


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint that is not intact, as a predicate."""
    missing = missing_from(checkpoint)
    if missing:
        return f"is damaged: it lacks {', '.join(missing)}"
    return f"is damaged: {', '.join(changed_in(checkpoint))} changed after it was written"


@rule(
    "E420",
    WARNING,
    example=of_flags(
        MINE,
        MINE,
        before=f"{CHECKPOINT}\ncp -r runs/mine/checkpoints/checkpoint-1 runs/mine/checkpoints/checkpoint-2",
        wrong="rm runs/mine/checkpoints/checkpoint-2/scheduler.safetensors",
    ),
)
def the_newest_checkpoint_is_damaged(config: Config, output: Output) -> Iterator[Finding]:
    """The newest checkpoint has lost a file, or one was changed after it was written: the run goes on from the newest intact one before it.

    Why: each checkpoint lists its files with their sizes and digests. A damaged state resumes to other weights; an earlier intact one ends with
    the same as a run that was never stopped, and only repeats some steps.
    Fix: nothing has to be done. Look at the disk that damaged it.
    """
    if config.resume_from_checkpoint or config.use_sweep or output.checkpoint is None or output.newest is None:
        return
    if output.checkpoint != output.newest:
        yield Finding(
            f"the newest checkpoint, {output.newest.name}, {_damage(output.newest)}: the run goes on from {output.checkpoint.name}",
            fix=f"nothing, or look what is wrong with the disk of {output.folder}",
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
    usable = next((str(path) for path in sorted(nearby, key=step_of, reverse=True) if is_intact(path)), None)
    if not path.exists():
        what = "does not exist"
    elif was_finished(path):
        what = _damage(path)
    elif CHECKPOINT_NAME.search(path.name):
        what = "is damaged or was not written to its end"
    else:
        what = "is not a checkpoint, which is a folder named checkpoint-<step>"
    return Finding(
        f"--resume-from-checkpoint {named} {what}",
        changes={"resume_from_checkpoint": usable},
        otherwise="" if usable else "to start from the beginning",
        parameters=("resume_from_checkpoint",),
    )


def _record(name: str, value: str) -> str:
    """A shell line that writes the record of a run with this value of a parameter."""
    return f"""echo '{{"plan": {{"parameters": {{"{name}": {{"value": {value}}}}}}}}}' > runs/mine/run.json"""


@rule(
    "E406",
    example=of_flags(
        MINE, MINE, before=CHECKPOINT, wrong=_record("trainer", '"dpo"'), right=_record("trainer", '"sft"')
    ),
)
def a_resumed_run_must_be_the_same_run(config: Config, output: Output) -> Iterator[Finding]:
    """A parameter that can't change within a run has another value than in the run that is resumed: the trainer, the model, the adapter, the
    optimizer, the seed, lengths, templates, rewards, the teacher.

    Why: a checkpoint holds the state of one run; a different run can't continue from it.
    Fix: the flags of the run that is resumed; its `command.sh` has them. To change one of them, start a new run from the last weights, with
    `--model RUN@last` and without `--resume`.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep:
        return
    for change in run.changes(config):
        if change.param.on_resume == FIXED and (change.before is not None or change.given):
            yield Finding(
                f"{change.param.flag} is {_shown(change.now)}, and in the run in {run.folder} it was {_shown(change.before)}",
                changes={change.param.name: change.before},
                parameters=(change.param.name, _flag(output)),
            )


@rule(
    "E414",
    WARNING,
    example=of_flags(
        f"--max-steps 4 {MINE}",
        f"--max-steps 4 --scheduler cosine {MINE}",
        before=CHECKPOINT,
        wrong=_record("scheduler", '"cosine"'),
        right=_record("scheduler", '"cosine"'),
    ),
)
def a_parameter_of_the_resumed_run_should_be_given_again(config: Config, output: Output) -> Iterator[Finding]:
    """A parameter that the run was started with is not given when it is resumed, so that its default is used from there on.

    Why: a new value that is given takes effect from the checkpoint on, and the plan says so. One that is left out may have been forgotten.
    Fix: give it again; `command.sh` in the folder of the run has all flags.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep:
        return
    for change in run.changes(config):
        name = change.param.name
        if change.param.on_resume == TAKES_EFFECT and not change.given:
            default = change.param.default_text() if change.now is None else _shown(change.now)
            yield Finding(
                f"{change.param.flag} is not given, and the run in {run.folder} was started with {_shown(change.before)}: its default "
                f"({default}) is used from step {run.step + 1} on",
                changes={name: change.before} if change.before is not None else {},
                fix=f"give {change.param.flag}",
                parameters=(name, _flag(output)),
            )


@rule(
    "E418",
    WARNING,
    example=of_flags(
        f"--max-steps 4 {MINE}",
        f"--max-steps 4 --mixed-precision fp32 {MINE}",
        before=CHECKPOINT,
        wrong="""echo '{"plan": {"precision": {"name": "fp16"}}}' > runs/mine/run.json""",
        right="""echo '{"plan": {"precision": {"name": "fp32"}}}' > runs/mine/run.json""",
    ),
)
def a_resumed_run_should_compute_in_the_same_type(
    config: Config, output: Output, machine: Machine, plan: Plan
) -> Iterator[Finding]:
    """`--mixed-precision` is not given, and this machine computes in another type than the one that the run was started on.

    Why: the default follows from the machine. From the checkpoint on the numbers are rounded differently, and the run ends with other weights.
    Fix: name the type: that of the run if this machine computes in it, or the new one.
    """
    run = resumed_run(output)
    before = run.planned("precision", "name") if run else None
    if run is not None and before not in (None, plan.precision.name) and not config.given("mixed_precision"):
        is_possible = {"fp32": True, "bf16": machine.computes_bf16, "fp16": machine.has_cuda}.get(str(before), False)
        yield Finding(
            f"the run in {run.folder} has computed in {before}, and from step {run.step + 1} on it would compute in {plan.precision.name}, "
            f"because {plan.precision.why}",
            changes={"mixed_precision": before if is_possible else plan.precision.name},
            otherwise=f"or --mixed-precision {plan.precision.name} to go on in it"
            if is_possible
            else f"or a machine that computes in {before}",
            parameters=("mixed_precision", _flag(output)),
        )


@rule(
    "E413",
    example=of_flags(
        MINE,
        MINE,
        before=CHECKPOINT,
        wrong=f"""echo '{{"data_fingerprint": "of other rows", "versions": {{"autotrain-llm": "{VERSION}"}}}}' > runs/mine/run.json""",
    ),
)
def a_resumed_run_must_have_the_same_rows(config: Config, output: Output, context: RunContext) -> Iterator[Finding]:
    """The run to continue was started with other rows: another file, a file that has changed since, or flags that select or read rows
    differently.

    Why: the checkpoint records how many rows were trained on, not which: that many of the new rows would be skipped. Of a mixture the finding
    names the sources that have changed.
    Fix: the rows and flags of the run that is resumed; or a new run that starts from its last checkpoint, `--model RUN@last`.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep or context.prepared is None:
        return
    same_version = (run.record.get("versions") or {}).get("autotrain-llm") == VERSION
    if not same_version or run.record.get("data_fingerprint") in (None, context.prepared.fingerprint):
        return
    changed = [change for change in run.changes(config) if change.param.on_resume == SAME_ROWS]
    if any(change.param.on_resume == FIXED for change in run.changes(config)):
        return  # a template or a length that is refused makes other rows of the same file
    new_run = f"--model {run.folder}@last, without --resume, to start a new run with them"
    flags = ", ".join(f"{change.param.flag} was {_shown(change.before)}" for change in changed)
    yield Finding(
        f"the rows are not those that the run in {run.folder} was started with: {flags or _changed_rows(run, config, context)}",
        fix=None if changed else f"the file as it was; or {new_run}",
        changes={change.param.name: change.before for change in changed},
        otherwise=f"or {new_run}",
        parameters=(
            _flag(output),
            *(change.param.name for change in changed),
            *(() if changed else (_rows_flag(config),)),
        ),
    )


@rule(
    "E423",
    example=of_flags(
        MINE,
        MINE,
        before=CHECKPOINT,
        wrong="""echo '{"base_weights": {"model.safetensors": "of other weights"}}' > runs/mine/run.json
echo '{}' > runs/mine/checkpoints/checkpoint-1/adapter_config.json""",
    ),
)
def a_resumed_adapter_has_the_same_base(model: ModelMetadata, output: Output) -> Iterator[Finding]:
    """The run to continue trains an adapter, and the model's weight files are not those that it was started on.

    Why: the checkpoint has the adapter alone, a change of the weights that it was trained on. On others it would go on from a model that nobody has trained.
    Fix: the model as it was; or a new run.
    """
    from autotrain_llm.models.identity import changed_weights

    run = resumed_run(output)
    if run is None or not (run.checkpoint / "adapter_config.json").exists():
        return
    changed = changed_weights(run.checkpoint, model.located)
    if changed:
        yield Finding(
            f"the adapter of {run.checkpoint} was trained on other weights than {model.located.name} has now ({', '.join(changed[:3])} changed since)",
            fix="restore the files of the model; or leave --resume out, to start a new run on it",
            parameters=(_flag(output), "model"),
        )


def _rows_flag(config: Config) -> str:
    return "data_config" if config.data_config else "data_path"


def _changed_rows(run: ResumedRun, config: Config, context: RunContext) -> str:
    """What has changed if no flag has: the rows, or in a mixture the sources by name."""
    from autotrain_llm.planning.sources import changed_sources

    before, prepared = run.planned("data", "sources"), context.prepared
    if prepared is not None and prepared.mixture is not None and isinstance(before, list):
        changes = changed_sources(before, prepared.mixture)
        if changes:
            return f"in {config.data_config}, {', '.join(changes)}"
    return f"{config.rows_from} has changed since, or its tokenizer or chat template"


@rule(
    "E415",
    example=of_flags(
        MINE,
        MINE,
        before=CHECKPOINT,
        wrong="""echo '{"plan": {"schedule": {"batch_size": 1, "accumulated": 1, "processes": 1}}}' > runs/mine/run.json""",
        right="""echo '{"plan": {"schedule": {"batch_size": 1, "accumulated": 2, "processes": 1}}}' > runs/mine/run.json""",
    ),
)
def a_resumed_run_must_have_steps_of_the_same_size(config: Config, output: Output, plan: Plan) -> Iterator[Finding]:
    """An optimizer step has another number of rows than in the run that is resumed: another batch size or accumulation, or a number of processes that
    can't share them.

    Why: the checkpoint records how many steps were taken. With steps of another size that many steps are other rows: some would be skipped,
    others trained on twice. Their product may be divided differently: half the batch size with twice the accumulation is the same step.
    With another number of processes as many batches are accumulated as the step needs; where that makes no whole number of batches, it is refused.
    Fix: the same product of `--batch-size`, `--gradient-accumulation` and the number of processes; `--global-batch` says it as one number.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep:
        return
    unit = "answers" if plan.rollouts else "rows"
    schedule = plan.schedule
    before, at_once = _step_before(run, plan), schedule.batches_at_once
    now = plan.rollouts.schedule.answers_of_step if plan.rollouts else schedule.rows_of_step
    if before is None or before == now:
        return
    yield Finding(
        f"an optimizer step has {now} {unit} ({_product(schedule.batch_size, schedule.accumulated, at_once)}), and in the run in {run.folder} "
        f"it had {before} ({_product(*sizes_of_step_before(run))}): rows would be skipped or trained on twice",
        changes=_same_step(config, run, before, at_once),
        fix=f"a --batch-size, times --gradient-accumulation, times the processes, of {before}",
        parameters=("batch_size", "gradient_accumulation", _flag(output)),
    )


def _step_before(run: ResumedRun, plan: Plan) -> int | None:
    """The rows or answers of an optimizer step of the run that is resumed; None if its record does not say."""
    if plan.rollouts:
        answers = run.planned("rollouts", "answers_of_step")
        return answers if isinstance(answers, int) else None
    return rows_of_step_before(run)


def _product(batch: int, accumulated: int, at_once: int) -> str:
    parts = [f"--batch-size {batch}"]
    parts += [f"--gradient-accumulation {accumulated}"] if accumulated > 1 else []
    parts += [f"{at_once} processes"] if at_once > 1 else []
    return " x ".join(parts)


def _same_step(config: Config, run: ResumedRun, before: int, at_once: int) -> dict[str, Any]:
    """The smallest change with which a step has as many rows as before; none if the number of processes rules it out."""
    batch, accumulated = (run.planned("parameters", name, "value") for name in ("batch_size", "gradient_accumulation"))
    if sizes_of_step_before(run)[-1] == at_once and isinstance(batch, int) and isinstance(accumulated, int):
        values = {"batch_size": batch, "gradient_accumulation": accumulated}
        return {name: value for name, value in values.items() if config.value_of(name) != value}
    size = fitting_batch_size(before, at_once, config.batch_size)
    if size is None or config.trainer_spec.samples:
        return {}
    changes = {"batch_size": size, "gradient_accumulation": None, "global_batch": before}
    return {name: value for name, value in changes.items() if config.given(name) or value is not None}


@rule(
    "E416",
    example=of_flags(
        f"--max-steps 2 {MINE}",
        f"--max-steps 9 {MINE}",
        before=CHECKPOINT.replace("checkpoint-1", "checkpoint-4"),
    ),
)
def a_resumed_run_must_have_steps_left(config: Config, output: Output, plan: Plan) -> Iterator[Finding]:
    """The run would end before the step of the checkpoint that it continues from.

    Why: nothing would be trained, and the finished model would have been trained for more steps than requested.
    Fix: a checkpoint from before that step, or more steps.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep or plan.steps >= run.step:
        return
    earlier = [path for path in output.complete_checkpoints if step_of(path) <= plan.steps]
    flag = "max_steps" if config.max_steps and config.max_steps > 0 else "epochs"
    changes: dict[str, Any] = {"resume_from_checkpoint": str(earlier[-1])} if earlier else {"max_steps": run.step}
    yield Finding(
        f"{flag_of(flag)} {_shown(config.value_of(flag))} ends the run at step {plan.steps}, and {run.checkpoint.name} is of step {run.step}",
        changes=changes,
        otherwise="or more steps" if earlier else "to finish with the checkpoint, or more steps to train on",
        parameters=(flag, _flag(output)),
    )


@rule(
    "E417",
    WARNING,
    example=of_flags(
        f"--max-steps 1 {MINE}",
        f"--max-steps 9 {MINE}",
        before=f"""{CHECKPOINT}
cp MODEL/model.safetensors runs/mine
echo '{{"status": "ok"}}' > runs/mine/run.json""",
    ),
)
def a_complete_run_is_not_trained_further(config: Config, output: Output, plan: Plan) -> Iterator[Finding]:
    """The run to resume is complete: it has reached its last step, or was stopped early.

    Why: nothing is trained. The finished model is saved again from the last checkpoint.
    Fix: more steps train on; a larger `--early-stopping-patience` continues a run that was stopped early.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep or plan.steps < run.step or not run.is_complete:
        return
    patience = plan.schedule.patience
    stopped = patience is not None and run.evaluations_without_improvement >= patience
    if run.step < plan.steps and not stopped:
        return
    why = f"was stopped early at step {run.step}" if stopped else f"ended with step {run.step} of {plan.steps}"
    yield Finding(
        f"the run in {run.folder} is complete, it {why}: nothing is left to train",
        fix="a larger --early-stopping-patience"
        if stopped
        else "more --epochs or --max-steps to train on, or --overwrite to train anew",
        parameters=(_flag(output), "early_stopping_patience" if stopped else "max_steps"),
    )


@rule(
    "E419",
    WARNING,
    example=of_flags(
        "--max-steps 4 --resume-from-checkpoint runs/mine/checkpoints/checkpoint-1",
        "--max-steps 4 --resume-from-checkpoint runs/mine/checkpoints/checkpoint-2",
        before=f"{CHECKPOINT}\ncp -r runs/mine/checkpoints/checkpoint-1 runs/mine/checkpoints/checkpoint-2",
    ),
)
def later_checkpoints_are_replaced(config: Config, output: Output) -> Iterator[Finding]:
    """The run continues from a checkpoint that is not the newest in its folder.

    Why: training takes a different course from there, and `--resume` would continue from the later checkpoints. They are set aside, and removed when
    the run is complete.
    Fix: another output folder keeps them; `--resume` continues from the newest.
    """
    run = resumed_run(output)
    if run is None or config.use_sweep or run.folder.resolve() != output.folder.resolve():
        return
    later = [path.name for path in output.checkpoints if step_of(path) > run.step and was_finished(path)]
    if later:
        yield Finding(
            f"{', '.join(later)} in {output.folder} {'is' if len(later) == 1 else 'are'} later than {run.checkpoint.name}: set aside, and removed "
            "when this run is complete",
            changes={"output_dir": free_folder(output)},
            otherwise="to keep them",
            parameters=(_flag(output), "output_dir"),
        )


def _flag(output: Output) -> str:
    return "resume_from_checkpoint" if output.resume_from else "resume"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return (
        "not given" if value is None else ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    )
