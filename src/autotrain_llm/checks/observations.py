"""What the metrics of a run say about it: rules that read the history of a run in place of its flags. One that is certain early is reported
while the run goes on, all of them when it ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from autotrain_llm.declare.example import PROMPTS, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.rule import Rule, rule
from autotrain_llm.planning.rollout_batches import steps_of_pass

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import Plan

EVAL_LOSS = "eval_loss"
RISE = 0.01  # a smaller share of the lowest loss is noise
ROUNDING = 1e-9  # of the standard deviation of equal rewards
MOST_ROUNDED = 1 / 3  # of the change, above which the finished model is not what was trained
ENOUGH_ROLLOUTS = 3  # without any difference of rewards


class History(Record):
    """What a run has logged so far: `entries`, one for each log, each with its `step`. `is_over`: nothing more will be logged.
    `checkpoints`: the steps whose checkpoints are in `folder`, the output folder. Of a finished run, `model_step` is the step of its model, and `rounded_away` the share of
    the training's change that its dtype loses, where that is known."""

    entries: tuple[Mapping[str, Any], ...]
    folder: str
    is_over: bool = False
    checkpoints: tuple[int, ...] = ()
    model_step: int | None = None
    rounded_away: float | None = None

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """The steps and values of a metric, without those that are not numbers."""
        values = ((int(entry["step"]), entry[metric]) for entry in self.entries if metric in entry)
        return [(step, float(value)) for step, value in values if value is not None and math.isfinite(value)]


def observe(plan: Plan, history: History) -> tuple[Finding, ...]:
    """What the history says."""
    return tuple(finding for rule in _RULES for finding in rule.apply(plan=plan, history=history))


CONSTANT_REWARD = """cat > rewards.py <<'END'
def same(prompts, completions, **columns):
    return [0.5 for _ in completions]

def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]
END"""
GRPO = (
    "llm --trainer grpo --model MODEL --lr 1e-5 --epochs 1 --batch-size 4 --rl-num-generations 4 --rl-chunk-size 8 "
    "--rl-mini-batch-size 8 --rl-max-new-tokens 4 --data-path rows.jsonl --rl-reward-fn ./rewards.py:"
)
OVERTRAINED = (
    "llm --trainer sft --model MODEL --lr 0.5 --max-steps 3 --eval-steps 1 --scheduler constant --batch-size 2 --valid-split 1 "
    "--data-path rows.jsonl"
)


@rule(
    "P740",
    WARNING,
    example=Example(OVERTRAINED, OVERTRAINED.replace("0.5", "1e-4"), runs=True),
)
def the_loss_on_evaluation_rows_is_lowest_at_the_end(plan: Plan, history: History) -> Iterator[Finding]:
    """The loss on evaluation rows was lower at an earlier step than at the end of the run.

    Why: from that step on the model learned its training rows by heart, or the learning rate was too high for it, and the finished model is worse
    on other rows than the one of that step. A rise of less than 1 % is not reported, nor is one after which the best checkpoint was restored.
    Fix: `--load-best-model-at-end`, fewer steps, or a lower `--lr`. If the checkpoint of the best step was kept, it can be used as it is.
    """
    if not history.is_over or plan.arguments.load_best_model_at_end:
        return
    losses = history.curve(EVAL_LOSS)
    if len(losses) < 2:
        return
    step, lowest = min(losses, key=lambda point: point[1])
    last_step, last = losses[-1]
    if last <= lowest + RISE * abs(lowest):
        return
    if step == 0:
        fix = f"a lower --lr than {plan.arguments.learning_rate:g}: training has made it worse from the first step on"
    else:
        fix = f"--load-best-model-at-end, or --max-steps {step}"
    if step in history.checkpoints:
        fix += f"; the model of that step is --model {history.folder}@step-{step}"
    yield Finding(
        f"the loss on evaluation rows was lowest at step {step}, {lowest:.4g}, and is {last:.4g} at the end, step {last_step}",
        fix,
        ("load_best_model_at_end",),
    )


@rule(
    "P741",
    WARNING,
    example=Example(f"{GRPO}same", f"{GRPO}length", PROMPTS, PROMPTS, runs=True, before=CONSTANT_REWARD),
)
def rewards_tell_answers_apart(plan: Plan, history: History) -> Iterator[Finding]:
    """The rewards of a run of ppo, grpo or spo never differ: those of the answers to one prompt in grpo, those of a whole rollout else.

    Why: the policy is trained on how much better or worse an answer is than others. If all of them have the same reward, every advantage is zero
    and nothing is learned (ppo still trains on its KL penalty). It is reported after three rollouts, and at the end.
    Fix: a reward that also tells apart answers that are all wrong or all right, such as one with partial credit; prompts that are neither too
    hard nor too easy; or a higher `--rl-temperature`, so that the answers differ.
    """
    if plan.rollouts is None:
        return
    deviations = history.curve("reward_std")
    if not deviations or any(deviation > ROUNDING for _, deviation in deviations):
        return
    if not history.is_over and deviations[-1][0] < ENOUGH_ROLLOUTS * _steps_of_a_rollout(plan):
        return
    rewards = {reward for _, reward in history.curve("reward")}
    if len(rewards) == 1:
        what = f"every answer has had the same reward, {next(iter(rewards)):.4g}"
    else:
        what = "the answers to one prompt have never had different rewards"
    yield Finding(
        f"{what}: no answer is better than another, and nothing is learned from them",
        "look at the answers in samples.jsonl; a reward with partial credit, other prompts, or a higher --rl-temperature",
        tuple(name for name in ("rl_reward_fn", "rl_reward_model_path") if plan.parameters[name].value),
    )


@rule(
    "P746",
    WARNING,
    example=Example(
        OVERTRAINED.replace("0.5", "1e-7"),
        OVERTRAINED.replace("0.5", "1e-4"),
        on="where the files of MODEL are bf16",
        runs=True,
    ),
)
def what_was_trained_is_in_the_finished_model(plan: Plan, history: History) -> Iterator[Finding]:
    """More than a third of what training has changed is lost in the finished model, whose weights are written in 16 bits, as the model's files are.

    Why: weights are trained in float32. bf16 has 8 significant bits, so that a change of less than about 0.2 % of a weight is rounded away. With low learning rates
    or few steps most changes are smaller, and the finished model is nearly the one that training started from. Checkpoints have float32.
    Fix: the checkpoint, exported in float32; or a higher `--lr`, or more steps.
    """
    if history.rounded_away is None or history.rounded_away < MOST_ROUNDED:
        return
    checkpoint = f"{history.folder}/checkpoints/checkpoint-{history.model_step}"
    command = f"autotrain export {quote(checkpoint)} --to merged --dtype fp32"
    kept = history.model_step in history.checkpoints
    yield Finding(
        f"{history.rounded_away:.0%} of what training changed is lost in the finished model: its weights are rounded to {plan.model.saved_dtype}, as the model's files are",
        command
        if kept
        else f"keep a checkpoint of the last step (--save-strategy epoch), which has float32, and: {command}",
        ("lr", "save_strategy"),
    )


def _steps_of_a_rollout(plan: Plan) -> int:
    assert plan.rollouts is not None
    schedule = plan.rollouts.schedule
    return schedule.passes * steps_of_pass(schedule.prompts_of_phase * schedule.answers_each, schedule.answers_of_step)


_RULES: tuple[Rule, ...] = tuple(
    value.RULE for value in list(globals().values()) if isinstance(getattr(value, "RULE", None), Rule)
)
