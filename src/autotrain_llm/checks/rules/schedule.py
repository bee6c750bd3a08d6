"""Learning rate, warm-up and the size of an optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import of_flags, where
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.optimizers import BITSANDBYTES, OPTIMIZERS, SETTINGS_OF
from autotrain_llm.planning.schedule import accumulated_batches, fitting_batch_size

if TYPE_CHECKING:  # reading rows takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext


HIGHEST_OF_NEW_MODELS, USUAL_OF_NEW_MODELS = (
    0.3,
    1e-3,
)  # with optimizers that divide gradients by their size: not with sgd


@rule("P310", WARNING, refuses="--trainer dpo --lr 2e-4", accepts="--trainer dpo --lr 5e-7")
def a_learning_rate_should_suit_trainer_and_method(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """The learning rate is far outside the range that works for this trainer, with full fine-tuning or with LoRA.

    Why: too high a rate destroys a pre-trained model within a few steps; too low a rate changes almost nothing and still looks like
    training. A new model (`scratch:`) needs a high rate: it is only reported if no model would learn with it.
    Fix: use the typical value that the finding shows.
    """
    lr = config.lr
    if lr is None or lr <= 0:
        return
    low, high, usual, method = learning_rates(trainer, bool(config.peft), config.optimizer)
    what = f"{trainer.name} with {method}"
    if str(config.model or "").startswith("scratch:"):
        low, high, usual, what = 0.0, HIGHEST_OF_NEW_MODELS, USUAL_OF_NEW_MODELS, "a new model"
    if low <= lr <= high or (what == "a new model" and config.optimizer == "sgd"):
        return
    yield Finding(
        f"--lr {plain(lr)} is far too {'high' if lr > high else 'low'} for {what}; {plain(usual)} is typical",
        changes={"lr": plain(usual)},
        parameters=("lr",),
    )


def learning_rates(trainer: Trainer, lora: bool, optimizer: str) -> tuple[float, float, float, str]:
    """The lowest and the highest learning rate that work for a trainer, the typical one, and the method in words."""
    low, high = trainer.learning_rates["lora" if lora else "full"]
    least, as_a_rule, most = OPTIMIZERS[optimizer].slower if optimizer in OPTIMIZERS else (1.0, 1.0, 1.0)
    method = "--peft" if lora else "full fine-tuning (no --peft)"
    method += f" and --optimizer {optimizer}" if as_a_rule != 1 else ""
    usual = float(f"{trainer.usual['lr'].value(lora) / as_a_rule:.2g}")
    return low / most, high / least, usual, method


@rule("P324", WARNING, refuses="--warmup-ratio 0.8", accepts="--warmup-ratio 0.1")
def warmup_should_leave_steps_to_train(config: Config) -> Iterator[Finding]:
    """The warm-up takes more than half of the run.

    Why: the learning rate reaches its peak only at the end of the warm-up.
    Fix: 0.1 is typical.
    """
    ratio = config.warmup_ratio
    if config.given("warmup_ratio") and 0.5 < ratio < 1:
        yield Finding(
            f"--warmup-ratio {ratio:g} keeps the learning rate below its peak for more than half of the run",
            changes={"warmup_ratio": 0.1},
            parameters=("warmup_ratio",),
        )


@rule(
    "P333",
    WARNING,
    refuses="--eval-strategy epoch --eval-steps 50 --valid-split 0.1",
    accepts="--eval-steps 50 --valid-split 0.1",
)
def a_number_of_steps_needs_a_strategy_that_counts_steps(config: Config) -> Iterator[Finding]:
    """A number has no effect because of another parameter: steps where epochs are counted, a warm-up of a constant rate, or a setting of another schedule or optimizer.

    Why: `--eval-steps` and `--save-steps` are used when `--eval-strategy` and `--save-strategy` are `steps`, which is the default once a
    number of steps is given. `--scheduler constant` starts at the peak and has no warm-up. A constant rate has no lowest one either, and only some
    schedules and optimizers have settings of their own.
    Fix: keep one of the two.
    """
    for steps, strategy in (("eval_steps", "eval_strategy"), ("save_steps", "save_strategy")):
        chosen = config.value_of(strategy)
        if config.given(steps) and config.value_of(steps) and chosen in ("no", "epoch"):
            yield Finding(
                f"{flag_of(steps)} {config.value_of(steps)} has no effect with {flag_of(strategy)} {chosen}",
                changes={strategy: "steps"},
                otherwise=f"or remove {flag_of(steps)}",
                parameters=(steps, strategy),
            )
    if config.given("warmup_ratio") and config.warmup_ratio > 0 and config.scheduler == "constant":
        yield Finding(
            f"--warmup-ratio {config.warmup_ratio:g} has no effect with --scheduler constant, which has no warm-up",
            guess={"scheduler": "constant_with_warmup"},
            otherwise="or remove --warmup-ratio",
            parameters=("warmup_ratio", "scheduler"),
        )
    yield from _settings_of_others(config)


@rule(
    "P376",
    WARNING,
    refuses="--optimizer galore_adamw --peft --lr 2e-4",
    accepts="--optimizer galore_adamw --lr 2e-5",
)
def galore_projects_nothing_of_an_adapter(config: Config) -> Iterator[Finding]:
    """`--optimizer galore_adamw` with an adapter whose matrices are too narrow to be projected.

    Why: GaLore projects the gradients of matrices that have more rows and more columns than `--galore-rank`. Those of an adapter have `--lora-r`, so all of
    them are trained by plain AdamW.
    Fix: AdamW by its name; or full fine-tuning, for which GaLore is made.
    """
    if config.peft and config.optimizer == "galore_adamw" and config.galore_rank >= config.lora_r:
        yield Finding(
            f"--optimizer galore_adamw has no effect with --peft: it projects matrices with more rows and columns than --galore-rank "
            f"{config.galore_rank}, and those of the adapter have {config.lora_r}",
            changes={"optimizer": "adamw_torch"},
            otherwise="or --no-peft",
            parameters=("optimizer", "peft"),
        )


def _settings_of_others(config: Config) -> Iterator[Finding]:
    """Settings of another schedule or optimizer than the one that is used."""
    for name, (owner, having) in SETTINGS_OF.items():
        chosen = config.value_of(owner)
        if owner == "scheduler" and not _takes_a_schedule(config):
            owner, chosen = "optimizer", config.optimizer
        if not config.given(name) or config.value_of(name) == PARAMS[name].default or chosen in having:
            continue
        if chosen not in PARAMS[owner].choices:
            continue  # P303 reports it
        yield Finding(
            f"{flag_of(name)} {plain(config.value_of(name))} has no effect with {flag_of(owner)} {chosen}",
            changes={name: None},
            otherwise=f"or {flag_of(owner)} {having[0]}" if owner == SETTINGS_OF[name][0] else "",
            parameters=(name, owner),
        )


def _takes_a_schedule(config: Config) -> bool:
    optimizer = OPTIMIZERS.get(config.optimizer)
    return optimizer is None or optimizer.schedules


@rule("P366", refuses="--optimizer schedule_free_adamw --scheduler cosine", accepts="--optimizer schedule_free_adamw")
def an_optimizer_without_a_schedule_has_none(config: Config) -> Iterator[Finding]:
    """`--scheduler` with an optimizer that needs none.

    Why: a schedule-free optimizer averages its weights over the whole run, which takes the place of a falling rate. Its rate rises over the warm-up and stays.
    Fix: one of the two.
    """
    if not _takes_a_schedule(config) and config.given("scheduler") and not config.scheduler.startswith("constant"):
        yield Finding(
            f"--optimizer {config.optimizer} averages weights in place of a schedule, and --scheduler {config.scheduler} is one",
            changes={"scheduler": None},
            otherwise="or --optimizer adamw_torch",
            parameters=("scheduler", "optimizer"),
        )


@rule(
    "P367",
    refuses="--scheduler warmup_stable_decay --warmup-ratio 0.4 --decay-ratio 0.8",
    accepts="--scheduler warmup_stable_decay --warmup-ratio 0.1 --decay-ratio 0.8",
)
def warmup_and_decay_fit_into_the_run(config: Config) -> Iterator[Finding]:
    """`--warmup-ratio` and `--decay-ratio` together are more than 1.

    Why: with `--scheduler warmup_stable_decay` the learning rate rises over the first steps, stays, and falls over the last; a step can't be in both.
    Fix: less of one.
    """
    if config.scheduler == "warmup_stable_decay" and config.warmup_ratio < 1 < config.warmup_ratio + config.decay_ratio:
        yield Finding(
            f"--warmup-ratio {config.warmup_ratio:g} and --decay-ratio {config.decay_ratio:g} are more than the whole run",
            changes={"decay_ratio": plain(round(1 - config.warmup_ratio, 6))},
            parameters=("decay_ratio", "warmup_ratio"),
        )


@rule(
    "E536",
    example=where("where schedulefree is not installed", "--optimizer schedule_free_adamw", "--optimizer adamw_torch"),
)
def an_optimizer_needs_its_package(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--optimizer` names one of a package that is not installed.

    Why: not every installation needs these packages. That of bitsandbytes is a finding of its own (E503).
    Fix: install it; all of them are in the extra `optimizers` of this package.
    """
    optimizer = OPTIMIZERS.get(config.optimizer)
    if optimizer and optimizer.package not in ("", BITSANDBYTES) and not machine.has_package(optimizer.package):
        yield Finding(
            f"--optimizer {config.optimizer} needs the package {optimizer.install}",
            f"pip install {optimizer.install}",
            ("optimizer",),
        )


@rule("M180", WARNING, example=of_flags("--gradient-accumulation 4", "--gradient-accumulation 1"))
def a_step_should_not_need_more_rows_than_there_are(
    config: Config, trainer: Trainer, context: RunContext
) -> Iterator[Finding]:
    """`--batch-size` times `--gradient-accumulation` is more than the number of training rows.

    Why: one step never uses a row twice, so an epoch is a single, smaller step, and a learning rate meant for the larger batch is too high
    for it. Only reported where `--gradient-accumulation` or `--global-batch` was given.
    Fix: a smaller batch, or more epochs to make up for it.
    """
    step = ("global_batch",) if config.global_batch else ("batch_size", "gradient_accumulation")
    given = [name for name in step if config.given(name)]
    if trainer.samples or not {"gradient_accumulation", "global_batch"} & {*given}:
        return
    if any(not config.value_of(name) or config.value_of(name) < 1 for name in (*step, "batch_size")):
        return  # P301 reports it
    rows = training_items(context, trainer)
    processes = context.machine.processes
    rows_per_step = config.batch_size * accumulated_batches(config, context) * processes
    if not rows or rows >= rows_per_step:
        return
    flags = " and ".join(f"{flag_of(name)} {config.value_of(name)}" for name in given)
    flags += " makes" if len(given) == 1 else " make"
    spread = f" in {processes} processes" if processes > 1 else ""
    yield Finding(
        f"{flags} a step of {rows_per_step} rows{spread}, and there are only {rows}: every step uses all of them",
        changes={given[-1]: _smaller(config, given[-1], rows, rows_per_step, processes)},
        parameters=tuple(given),
    )


def _smaller(config: Config, name: str, rows: int, rows_per_step: int, processes: int) -> int:
    """The value of a parameter with which a step has no more than these rows, or as few as it can have."""
    if name == "global_batch":
        one = config.batch_size * processes
        return max(1, rows // one) * one
    return max(1, int(config.value_of(name)) * rows // rows_per_step)


def training_items(context: RunContext, trainer: Trainer) -> int:
    """The number of training items of an epoch, as the trainer counts them: kto trains on the two answers of a pair separately. 0 without
    rows."""
    from autotrain_llm.planning.order import epoch_order

    return (
        len(epoch_order(context, packing=False)) if context.prepared is not None and len(context.prepared.train) else 0
    )


@rule("P357", example=of_flags("--global-batch 3", "--global-batch 4"))
def the_rows_of_a_step_are_whole_batches(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--global-batch` is no multiple of `--batch-size` times the number of processes.

    Why: each process takes the same number of batches of `--batch-size` rows to an optimizer step. With another number of rows a step would not have as
    many as it says, and a run that is resumed with other processes would end with another model.
    Fix: a smaller `--batch-size`, with which the step has the same rows; where the processes can't share them evenly, another `--global-batch`.
    """
    rows, size, processes = config.global_batch, config.batch_size, machine.processes
    if config.trainer_spec.samples or not rows or not size or min(rows, size) < 1 or rows % (size * processes) == 0:
        return
    each = f"--batch-size {size}" + (f" x {processes} processes = {size * processes}" if processes > 1 else "")
    fitting = fitting_batch_size(rows, processes, size)
    below = rows // (size * processes) * size * processes
    others = " or ".join(f"--global-batch {number}" for number in (below, below + size * processes) if number)
    yield Finding(
        f"--global-batch {rows} is no multiple of {each}",
        changes={"batch_size": fitting} if fitting else {},
        otherwise=f"or {others}" if fitting else "",
        fix=None if fitting else others,
        parameters=("global_batch", "batch_size"),
    )


@rule("P358", refuses="--global-batch 16 --gradient-accumulation 2", accepts="--global-batch 16")
def the_rows_of_a_step_are_given_once(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--global-batch` together with `--gradient-accumulation`, or with `--rl-mini-batch-size`, of which it takes the place.

    Why: how many batches are accumulated follows from `--global-batch`, `--batch-size` and the number of processes.
    Fix: one of the two.
    """
    other = "rl_mini_batch_size" if trainer.samples and config.given("rl_mini_batch_size") else "gradient_accumulation"
    if config.given("global_batch") and config.global_batch and config.given(other):
        yield Finding(
            f"--global-batch {config.global_batch} and {flag_of(other)} {config.value_of(other)} both say how many rows a step has",
            changes={other: None},
            otherwise="or remove --global-batch",
            parameters=("global_batch", other),
        )
