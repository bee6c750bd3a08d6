"""The Python API: the flags of the command as keyword arguments; findings, plan and report as objects."""

from __future__ import annotations

import os
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.entry import check_arguments, read_config_file, read_stages
from autotrain_llm.checks.preflight import Checked
from autotrain_llm.checks.rules.launching import NOT_FROM_PYTHON
from autotrain_llm.checks.rules.stages import NOT_FOR_STAGES
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.params.launching import LOCAL
from autotrain_llm.progress import PipelineProgress, ProgressCallback

if TYPE_CHECKING:
    from autotrain_llm.checks.stages import CheckedPipeline
    from autotrain_llm.context.machine import Machine
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.prepared.info import PreparedInfo
    from autotrain_llm.planning.plan import Plan
    from autotrain_llm.run.pipeline.results import PipelineReport
    from autotrain_llm.run.session.run_report import RunReport


def check(**flags: Any) -> tuple[Finding, ...]:
    """Everything that is wrong with a run: flags, machine, output folder, model files and rows.

    Takes the flags of the command by their config names (`lr=2e-5`, `data_path="train.jsonl"`, `config="run.yaml"`). Never raises for
    wrong input; an empty result means that the run would start without findings.
    """
    try:
        stages = _checked_stages(parse_kwargs({**flags, "dry_run": True}))
        return stages.findings if stages is not None else _checked({**flags, "dry_run": True}).findings
    except Refused as refused:  # a saved plan, or a file that a config extends, that can't be read
        return refused.findings


def plan(**flags: Any) -> Plan:
    """The plan of a run. Raises `Refused`, which carries the findings, if the run would be refused."""
    _refuse_stages(flags, "plan")
    checked = _checked({**flags, "dry_run": True})
    if checked.refused or checked.plan is None:
        raise Refused(checked.findings)
    _save_plan_if_asked(checked)
    return checked.plan


def prepare(**flags: Any) -> PreparedInfo:
    """Write rows, normalised, and with `model` or `tokenizer` their tokens, into the folder `output_dir`, as `autotrain prepare` does.

    Returns what was written, as its `dataset_info.json` has it. Raises `Refused`, and nothing is written then.
    """
    from autotrain_llm.checks.preparation import check_prepare_arguments, write_prepared

    arguments = parse_kwargs(flags)
    checked = check_prepare_arguments(arguments, read_config_file(arguments.values))
    if checked.refused:
        raise Refused(checked.findings)
    return write_prepared(checked)[0]


def train(watch: ProgressCallback | None = None, **flags: Any) -> RunReport:
    """Train. `watch` receives the progress.

    Raises `Refused` before anything is started, `RunFailed` when the run fails, `Interrupted` when a signal ends it; every complete checkpoint is
    kept.
    """
    return carry_out(checked_to_train(flags), watch)


def checked_to_train(flags: dict[str, Any]) -> Checked:
    """The check of a run that may start, with its plan. Raises `Refused`."""
    _refuse_stages(flags, "train")
    checked = _checked(flags)
    if checked.refused or checked.plan is None:
        raise Refused(checked.findings)
    _save_plan_if_asked(checked)
    return checked


def plan_stages(**flags: Any) -> CheckedPipeline:
    """The plans of a config of stages: `.stages`, each with its `action` (train, train again, resume, keep), `why` and `checked.plan`. Raises
    `Refused` if the command would be refused, or the config has no stages."""
    return _accepted_stages({**flags, "dry_run": True}, "plan")


def train_stages(watch: PipelineProgress | None = None, **flags: Any) -> PipelineReport:
    """Train the stages of a config; `watch` is told when one begins and ends. Each stage is trained in a process of its own, which writes its
    progress to standard error unless `quiet` is given.

    Raises `Refused` before anything is started, `RunFailed` when a stage fails, `Interrupted` when a signal ends it; the same call goes on there.
    """
    checked = _accepted_stages(flags, "train")
    from autotrain_llm.run.failures import Interrupted, RunFailed
    from autotrain_llm.run.pipeline.driver import train_pipeline
    from autotrain_llm.run.pipeline.results import INTERRUPTED

    report = train_pipeline(checked, watch, quiet=bool(flags.get("quiet")), verbose=bool(flags.get("verbose")))
    ended = report.ended_early
    if ended is None:
        return report
    message = f"stage {ended.name}: {ended.message or '; '.join(str(finding['message']) for finding in ended.findings)}"
    if ended.status == INTERRUPTED:
        raise Interrupted(report.signal or SIGINT, message)
    raise RunFailed(message, ended.fix)


def _accepted_stages(flags: dict[str, Any], call: str) -> CheckedPipeline:
    """The check of a config of stages, saved if `save_plan` is given. Raises Refused."""
    arguments = parse_kwargs(flags)
    checked = _checked_stages(arguments)
    if checked is None:
        message = f"{call}_stages is for a config with stages, and {flags.get('config') or 'no config'} has none"
        raise Refused([NOT_FOR_STAGES.finding(message, f"{call}(…)", ("config",))])
    if checked.refused:
        raise Refused(checked.findings)
    if arguments.values.get("save_plan") is not None:
        from autotrain_llm.checks.saved_stages import save_stages

        save_stages(checked, arguments, arguments.values["save_plan"])
    return checked


def _checked_stages(arguments: ParsedArguments) -> CheckedPipeline | None:
    """The check of a config of stages; None if there are none."""
    from autotrain_llm.checks.stages import check_stages

    pipeline = read_stages(arguments)
    return None if pipeline is None else check_stages(pipeline, arguments)


def _refuse_jobs(flags: dict[str, Any]) -> None:
    """Refuse what is carried out on another machine."""
    launch = flags.get("launch")
    if launch not in (None, LOCAL):
        raise Refused(
            [
                NOT_FROM_PYTHON.finding(
                    f"launch={launch!r} is for a command", f"autotrain llm --launch {launch} …", ("launch",)
                )
            ]
        )


def _refuse_stages(flags: dict[str, Any], call: str) -> None:
    """Refuse a config of stages where a call is about one run."""
    _refuse_jobs(flags)
    pipeline = read_stages(parse_kwargs(flags))
    if pipeline is not None:
        name = "config" if flags.get("config") is not None else "plan"
        message = f"{pipeline.path} has stages, and {call} is about one run"
        raise Refused([NOT_FOR_STAGES.finding(message, f"{call}_stages({name}={flags[name]!r})", (name,))])


def carry_out(checked: Checked, watch: ProgressCallback | None = None) -> RunReport:
    """Carry out a checked run or sweep. Raises as `train`."""
    assert checked.plan is not None
    return _carry_out(checked.plan, checked.context, checked.findings, watch)


def carry_out_plan(plan: Plan, watch: ProgressCallback | None = None) -> RunReport:
    """Carry out a plan without its command, as run.json holds it (`Plan.from_json`); its rows are read again.

    Raises as `train`, and also `Refused` if rows or models are missing or the rows have changed.
    """
    from autotrain_llm.planning.run_inputs import context_of

    return _carry_out(plan, context_of(plan), (), watch)


def _carry_out(
    plan: Plan, context: RunContext, findings: tuple[Finding, ...], watch: ProgressCallback | None
) -> RunReport:
    if plan.launch is not None and not context.machine.cluster.is_group:
        from autotrain_llm.planning.run_inputs import prepared_here
        from autotrain_llm.run.launch.agent import launch
        from autotrain_llm.run.launch.order import Order

        order = Order(plan, findings, prepared_here(context), bool(context.config.verbose))
        token = context.config.token
        return launch(order, context.machine.cluster, watch, {"HF_TOKEN": token} if token else {})
    prepare_environment(context.machine)
    if plan.sweep is None:
        from autotrain_llm.planning.run_inputs import inputs_of
        from autotrain_llm.run.session.execute import execute

        return execute(plan, inputs_of(plan, context, findings), watch)
    from autotrain_llm.run.sweep.driver import sweep

    return sweep(plan, context, findings, watch or ProgressCallback())


def prepare_environment(machine: Machine) -> None:
    """Set what torch reads when it is first used: where the processes of a group meet that something else than torchrun has started, and of several GPUs
    the one that a single process trains on."""
    os.environ.update(machine.cluster.torch_variables())
    if len(machine.gpus) > 1 and machine.processes == 1:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[0] if visible else "0"


def _save_plan_if_asked(checked: Checked) -> None:
    """Write the plan to the file of `save_plan`, if given."""
    if checked.config.save_plan is not None:
        from autotrain_llm.checks.saved_plan import save_plan

        save_plan(checked, checked.config.save_plan)


def _checked(flags: dict[str, Any]) -> Checked:
    from_file = read_config_file(parse_kwargs(flags).values)
    return check_arguments(parse_kwargs(flags, from_file.values.get("trainer")), from_file)
