"""`autotrain llm`: parse the arguments, check the run, show the plan and the findings, execute the plan.

All failures end here, as findings or as a single line, with their exit status.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.outcome import DONE, REFUSED, ended, fail, fault, refuse, show_checked, stop
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.preparing import Preparing
from autotrain_llm.cli.render import findings_text
from autotrain_llm.cli.screen import Screen
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.context.signals import exit_status, signal_of
from autotrain_llm.declare.finding import Refused
from autotrain_llm.params.launching import LOCAL

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked

NOTHING_TO_RESUME = "Stopped before training started: nothing was written, so there is nothing to resume."


def llm(words: Sequence[str]) -> int:
    """Carry out the words after `autotrain llm` and return the exit status."""
    arguments = read(words)
    with Screen.of(arguments.values) as screen:
        return ended(lambda: _answer(words, arguments, screen), screen, NOTHING_TO_RESUME)


def _answer(words: Sequence[str], arguments: ParsedArguments, screen: Screen) -> int:
    """Carry out the action that the flags select."""
    if arguments.values.get("explain") is not None:
        from autotrain_llm.cli.explain import explain

        return screen.finish_with(explain(arguments.values["explain"]))
    from autotrain_llm.checks.entry import check_arguments, check_flags_of_job, read_config_file, read_stages

    if arguments.values.get("launch") not in (None, LOCAL):
        checked = check_flags_of_job(arguments)
        if checked.refused:
            return refuse(checked.findings, screen, None, checked.config.strict, checked.not_checked)
        from autotrain_llm.cli.jobs import print_or_submit

        screen.write(findings_text(checked.findings, screen.err))
        return print_or_submit(arguments.values["launch"], arguments.values, screen)
    pipeline = read_stages(arguments)
    if pipeline is not None:
        from autotrain_llm.cli.stages import answer

        return answer(pipeline, arguments, screen)
    from_file = read_config_file(arguments.values)
    if "trainer" in from_file.values and "trainer" not in arguments.values:
        arguments = read(words, from_file.values["trainer"])  # the meaning of other tools' names depends on it
    if arguments.values.get("interactive"):
        from autotrain_llm.cli.questions import ask

        answered = ask(arguments, from_file, screen)
        if answered is None:
            return screen.finish_with("Not started.")
        return _act(answered, screen, was_shown=True)
    if arguments.values.get("fix"):
        from autotrain_llm.cli.fix import print_fixed

        return print_fixed(arguments, from_file, screen)
    with Preparing(screen) as preparing:
        checked = check_arguments(arguments, from_file, preparing.progress)
    return _act(checked, screen)


def _act(checked: Checked, screen: Screen, was_shown: bool = False) -> int:
    """Refuse, show or carry out the checked run; its plan and findings have been shown if `was_shown`."""
    config = checked.config
    if checked.refused:
        if was_shown and not screen.json:
            return REFUSED
        return refuse(checked.findings, screen, plan_json(checked), config.strict, checked.not_checked)
    if config.save_plan is not None and checked.plan is not None:
        from autotrain_llm.checks.saved_plan import save_plan

        save_plan(checked, config.save_plan)
    if config.inference:
        from autotrain_llm.cli.inference import answer_prompts

        return answer_prompts(checked, screen)
    if config.preview_data is not None:
        from autotrain_llm.cli.preview import preview_rows

        return preview_rows(checked, screen)
    if config.dry_run:
        return _show(checked, screen, was_shown)
    return _train(checked, screen, was_shown)


def _what_is_left(plan: dict[str, Any] | None) -> str:
    """The last line of a run that a signal stopped before it handled signals, or after."""
    from autotrain_llm.context.output_dir import checkpoints_in, is_complete

    folder = Path(plan["output"]["dir"]).expanduser() if plan else Path()
    if plan and any(map(is_complete, checkpoints_in(folder))):
        return f"Stopped at once; {folder} has complete checkpoints: the same command with --resume goes on."
    return "Stopped at once: there is no complete checkpoint, so there is nothing to resume."


def plan_json(checked: Checked) -> dict[str, Any] | None:
    return None if checked.plan is None else checked.plan.as_json()


def _show(checked: Checked, screen: Screen, was_shown: bool) -> int:
    """`--dry-run`: the plan and the findings."""
    if screen.json:
        screen.document(DONE, checked.findings, plan_json(checked), not_checked=checked.not_checked)
    elif not was_shown:
        show_checked(checked, screen, started=False)
    return DONE


def _train(checked: Checked, screen: Screen, was_shown: bool) -> int:
    """Carry out the plan and print the report."""
    from autotrain_llm.api import carry_out
    from autotrain_llm.cli.progress import progress
    from autotrain_llm.run.failures import Interrupted, RunFailed

    if not screen.json and not was_shown:
        show_checked(checked, screen, started=True)
    if screen.verbose and checked.plan is not None:
        screen.write(f"Initializing {TRAINERS[checked.plan.trainer].title} trainer...")
    plan = plan_json(checked)
    try:
        report = carry_out(checked, progress(screen, checked.plan.sweep if checked.plan else None))
    except RunFailed as failure:
        return fail(failure.message, failure.fix, screen, checked.findings, plan)
    except Refused as refused:  # another process has taken the folder since the check, or it can't be written
        return refuse([*checked.findings, *refused.findings], screen, plan)
    except Interrupted as interruption:
        return stop(exit_status(interruption.signal), interruption.message, screen, checked.findings, plan)
    except KeyboardInterrupt as stopped:
        return stop(exit_status(signal_of(stopped)), _what_is_left(plan), screen, checked.findings, plan)
    except Exception as exception:
        return fault(exception, screen, checked.findings, plan)
    if screen.json:
        findings = [*checked.findings, *report.observations]
        screen.document(DONE, findings, plan, report.as_json(), checked.not_checked)
    else:
        from autotrain_llm.cli.render import write_report

        write_report(report, screen.out)
    return DONE
