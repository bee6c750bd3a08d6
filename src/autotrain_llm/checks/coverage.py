"""What was not checked, why, and how to check it: anything not listed was checked.

Listed are stages that an earlier error made meaningless, and what can't be known on this machine before the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import plain
from autotrain_llm.planning.trackers import SERVERS, sends_to_a_server

if TYPE_CHECKING:
    from autotrain_llm.context.machine import Machine
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

# The stages of preflight that read files, in their order, and the parameter without which there is nothing to read.
MODEL, ROWS, TOKENS = "the model's files", "the rows", "the rows as tokens, the memory they take, and the plan"
NEEDED = {MODEL: "model", ROWS: "data_path"}
LARGE = 10**8  # parameters
AGAIN = "fix the findings, and check again"
WHEN_IT_IS_THERE = "checked when it is there, before the training that needs it"


class UncheckedItem(Record):
    """One thing that was not checked. Documents have all of them, the terminal those that `matters` for deciding what to do next."""

    what: str
    why: str
    how: str = ""
    matters: bool = True

    if not TYPE_CHECKING:

        def __init__(self, *positional, **named):
            super().__init__(*positional, **named)
            for name in ("what", "why", "how"):
                self.__dict__[name] = showable(getattr(self, name))

    def as_json(self) -> dict[str, str]:
        return {"what": self.what, "why": self.why, "how": self.how}


def all_but_flags(why: str, how: str = AGAIN) -> tuple[UncheckedItem, ...]:
    """What is not checked where only flags are."""
    return (UncheckedItem("data, model files, machine and output folder", why, how),)


def skipped(
    config: Config,
    done: Iterable[str],
    broken: Iterable[str],
    flags: dict[str, frozenset[str]],
    deferred: Mapping[str, str] = EMPTY,
) -> tuple[UncheckedItem, ...]:
    """The stages that were not reached. `broken` are parameters that an error names, `flags` those that a stage depends on, `deferred` those
    whose files are written by another run before this one, with the reason."""
    items = [
        UncheckedItem(f"{flag_of(name)} {plain(config.value_of(name))}", why, WHEN_IT_IS_THERE)
        for name, why in deferred.items()
    ]
    for stage in (MODEL, ROWS, TOKENS):
        if stage not in done and not (deferred.keys() & flags[stage]):
            items.append(UncheckedItem(stage, _reason(config, stage, done, broken, flags), AGAIN))
    return (*items, *([UncheckedItem("the plan", "it depends on these", WHEN_IT_IS_THERE)] if deferred else ()))


def _reason(
    config: Config, stage: str, done: Iterable[str], broken: Iterable[str], flags: dict[str, frozenset[str]]
) -> str:
    if stage == TOKENS and set(NEEDED) - set(done):
        return "they need the model's files and the rows"
    needed = NEEDED.get(stage)
    if needed and config.value_of(needed) is None and not (stage == ROWS and config.data_config):
        return f"{flag_of(needed)} is not given"
    wrong = sorted(set(broken) & flags[stage])
    if wrong:
        return f"{', '.join(map(flag_of, wrong))} can't be used as given"
    return "what they are made from could not be read" if stage == TOKENS else "the trainer is not known"


def unknowable_here(config: Config, context: RunContext, done: Iterable[str]) -> tuple[UncheckedItem, ...]:
    """What can't be known here and now."""
    items = [*_of_the_models(config, context), *_of_services(config, context.machine), *_of_the_device(config, context)]
    return (*items, *(_of_the_rows(context) if ROWS in done else ()))


def _of_the_models(config: Config, context: RunContext) -> Iterator[UncheckedItem]:
    for metadata in context.models.looked_up:
        if metadata.is_scratch or metadata.model_located.planned:
            continue
        if metadata.is_remote:
            why = "they are on the Hub, which lists their names and shapes; the run downloads them"
            how = "download it, and give --model the folder"
            yield UncheckedItem(f"the weights of {metadata.name}", why, how)
        elif metadata.parameters is None:
            why = "its files don't have the shapes of its tensors"
            yield UncheckedItem(f"the size of {metadata.name}", why, "save it as safetensors")
        if metadata.custom_code and config.trust_remote_code:
            why = "it runs when the model is loaded, never before"
            yield UncheckedItem(f"the Python code of {metadata.name}", why, f"read the .py files in {_where(metadata)}")


def _where(metadata: ModelMetadata) -> str:
    return str(metadata.folder) if metadata.folder else "its repository"


def _of_the_rows(context: RunContext) -> Iterator[UncheckedItem]:
    """What the checks of rows left out."""
    if context.data.is_partial:
        how = "remove --check-rows"
        if context.config.save_plan:
            how += "; --plan reads all of them before it trains, and counts its steps again"
        yield UncheckedItem(
            f"rows beyond the first {context.config.check_rows}", "--check-rows limits it to these", how
        )
    for words in context.row_checks.not_checked:
        yield UncheckedItem("comparisons of all rows with each other", words, "a larger --check-rows")


def _of_services(config: Config, machine: Machine) -> Iterator[UncheckedItem]:
    if config.push_to_hub:
        why = "nothing is sent to the Hub before the model is finished"
        yield UncheckedItem(
            "whether the token may write to the Hub", why, "hf auth whoami, and the token's role in its settings"
        )
    for name in config.log:
        if sends_to_a_server(name, config, machine):
            why = "nothing is sent before the run starts"
            how = "wandb login" if name == "wandb" else f"the value of {' or '.join(SERVERS[name])}"
            yield UncheckedItem(f"whether the server of {name} accepts what is sent", why, how)
    if config.use_sweep:
        why = "their values are chosen during the sweep, and each trial is checked before it starts"
        how = "a dry run with the values of one trial"
        yield UncheckedItem("the trials of the sweep", why, how, matters=False)


def _of_the_device(config: Config, context: RunContext) -> Iterator[UncheckedItem]:
    """A dry run is often made on another machine than the training."""
    machine = context.machine
    here = "the same command with --dry-run on the machine that trains"
    if machine.supposed:
        why = f"the device of --target-memory is not this machine's: it is assumed to be {machine.supposed}"
        yield UncheckedItem("the number formats of that device, and the packages installed there", why, here)
    elif config.dry_run and not machine.has_cuda and not config.target_memory:
        why = "this machine has none; the plan's estimate is for its processor"
        how = "--target-memory with the GPU's memory"
        yield UncheckedItem("whether it fits into the memory of a GPU", why, how, matters=_needs_a_gpu(context))


def _needs_a_gpu(context: RunContext) -> bool:
    """Whether a model is so large that its memory is a question, and a processor slow."""
    sizes = [metadata.parameters for metadata in context.models.looked_up if not metadata.is_scratch]
    return any(size is None or size >= LARGE for size in sizes)
