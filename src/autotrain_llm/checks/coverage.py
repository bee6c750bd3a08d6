"""What was not checked, why, and how it can be: what this list is silent about was looked at.

Stages that an earlier fault made meaningless are on it, and what no check can know on this machine before the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import Record

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

# The stages of preflight that read files, in their order, and the parameter without which there is nothing to read.
MODEL, ROWS, TOKENS = "the model's files", "the rows", "the rows as tokens, the memory they take, and the plan"
NEEDED = {MODEL: "model", ROWS: "data_path"}
LOGINS = ("wandb", "trackio")
AGAIN = "put right what is found, and check again"


class UncheckedItem(Record):
    """One thing that no finding speaks for or against."""

    what: str
    why: str
    how: str = ""

    def as_json(self) -> dict[str, str]:
        return self.as_dict()


def flags_alone() -> tuple[UncheckedItem, ...]:
    """What is left out where flags alone are judged."""
    what = "data, model files, machine and output folder"
    return (UncheckedItem(what, "flags alone were asked for", "the same without --flags-only"),)


def without_the_config() -> tuple[UncheckedItem, ...]:
    """What is left out where the config file can't be read."""
    what = "data, model files, machine and output folder"
    return (UncheckedItem(what, "the config file can't be read", AGAIN),)


def skipped(
    config: Config, done: Iterable[str], broken: Iterable[str], flags: dict[str, frozenset[str]]
) -> tuple[UncheckedItem, ...]:
    """The stages that were not reached. `broken` are parameters that an error names, `flags` those that a stage depends on."""
    missing = [stage for stage in (MODEL, ROWS, TOKENS) if stage not in done]
    return tuple(UncheckedItem(stage, _reason(config, stage, done, broken, flags), AGAIN) for stage in missing)


def _reason(
    config: Config, stage: str, done: Iterable[str], broken: Iterable[str], flags: dict[str, frozenset[str]]
) -> str:
    if stage == TOKENS and set(NEEDED) - set(done):
        return "they need the model's files and the rows"
    needed = NEEDED.get(stage)
    if needed and config.value_of(needed) is None:
        return f"{flag_of(needed)} is not given"
    wrong = sorted(set(broken) & flags[stage])
    if wrong:
        return f"{', '.join(map(flag_of, wrong))} can't be used as given"
    return "what they are made of could not be had" if stage == TOKENS else "the trainer is not known"


def unknowable_here(config: Config, context: RunContext, done: Iterable[str]) -> tuple[UncheckedItem, ...]:
    """What can't be known here and now."""
    found = [*_of_the_models(config, context), *_of_services(config), *_of_the_device(config, context)]
    return (*found, *(_of_the_rows(context) if ROWS in done else ()))


def _of_the_models(config: Config, context: RunContext) -> Iterator[UncheckedItem]:
    for facts in context.models.looked_up:
        if facts.is_scratch:
            continue
        if facts.is_remote:
            why = "they are on the Hub, which told their names and shapes; the run downloads them"
            how = "download it, and give --model the folder"
            yield UncheckedItem(f"the weights of {facts.name}", why, how)
        elif facts.parameters is None:
            why = "its files don't tell the shapes of its tensors"
            yield UncheckedItem(f"the size of {facts.name}", why, "save it as safetensors")
        if facts.custom_code and config.trust_remote_code:
            why = "it is run when the model is loaded, never before"
            yield UncheckedItem(f"the code that {facts.name} brings", why, f"read the .py files in {_place(facts)}")


def _place(facts: ModelMetadata) -> str:
    return str(facts.folder) if facts.folder else "its repository"


def _of_the_rows(context: RunContext) -> Iterator[UncheckedItem]:
    """What the rows' own checks left out."""
    if context.data.is_partial:
        how = "leave --check-rows out"
        if context.config.save_plan:
            how += "; --plan reads them all before it trains, and counts its steps anew"
        yield UncheckedItem(f"rows beyond the first {context.config.check_rows}", "--check-rows reads no more", how)
    for words in context.row_checks.not_checked:
        yield UncheckedItem("all rows beside each other", words, "a larger --check-rows")


def _of_services(config: Config) -> Iterator[UncheckedItem]:
    if config.push_to_hub:
        why = "nothing is sent to the Hub before the model is finished"
        yield UncheckedItem(
            "whether the token may write to the Hub", why, "hf auth whoami, and the token's role in its settings"
        )
    for name in LOGINS:
        if name in config.log:
            why = "nothing is sent before the run starts"
            yield UncheckedItem(
                f"whether {name} accepts the login", why, f"{name} login" if name == "wandb" else "hf auth whoami"
            )
    if config.use_sweep:
        why = "their values are drawn while the sweep goes, and each trial is checked before it starts"
        yield UncheckedItem("the trials of the sweep", why, "a dry run with the values of one")


def _of_the_device(config: Config, context: RunContext) -> Iterator[UncheckedItem]:
    """A dry run is often made on another machine than the one that trains."""
    machine = context.machine
    here = "the same command with --dry-run on the machine that trains"
    if machine.supposed:
        why = f"the device of --target-memory is not here: it is taken to be {machine.supposed}"
        yield UncheckedItem("what that device computes in, and what is installed there", why, here)
    elif config.dry_run and not machine.has_cuda and not config.target_memory:
        why = "this machine has none; the estimate of the plan is for its processor"
        yield UncheckedItem("whether it fits into the memory of a GPU", why, "--target-memory with the GPU's memory")
