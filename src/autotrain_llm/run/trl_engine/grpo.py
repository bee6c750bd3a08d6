"""`--engine trl` for grpo: TRL's own trainer on the prompts, the answers and the rewards of the same plan.

TRL computes the log-probabilities, the advantages, the loss and the steps. Its data set holds nothing but places in the order in which this
package's loop takes prompts; the answers to them come from this package's sampler, with the seeds that the loop would give it. Where a
phase is one step, the two take the same steps; where it is several, TRL shuffles the answers among them in its own way. It knows no
smaller phase at the end of a pass over the prompts, and leaves those prompts out.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from autotrain_llm.data.rows import TokenRows
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.algorithms.rl.advantages import GRPO
from autotrain_llm.run.algorithms.rl.prompts import Prompts
from autotrain_llm.run.algorithms.rl.recipe import sampling_of
from autotrain_llm.run.algorithms.rl.rewards import Rewards, load_rewards
from autotrain_llm.run.algorithms.rl.rollout_buffer import RolloutSchedule
from autotrain_llm.run.algorithms.rl.rollouts import EVALUATION, TRAINING
from autotrain_llm.run.artifacts.saving import end_tokens
from autotrain_llm.run.engine.layouts import Padded
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.engine.reference_model import without_dropout
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sample
from autotrain_llm.run.trl_engine.sft import RenameLogs, shared_arguments

TRAIN, VALID = "train", "valid"
LOGGED = {
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "frac_reward_zero_std",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clip_fraction",
    "completions/mean_length": "completions/mean_length",
}


def grpo(
    plan: Plan,
    arguments: Mapping[str, Any],
    loaded: Loaded,
    train_rows: Prompts,
    valid_rows: Prompts | None,
    callbacks: Sequence[TrainerCallback],
    inputs: RunInputs,
) -> GRPOTrainer:
    """TRL's GRPOTrainer for a plan of group-relative policy optimisation. `arguments` are transformers' own, by name."""
    assert plan.rollouts is not None
    os.environ.setdefault(
        "TRL_EXPERIMENTAL_SILENCE", "1"
    )  # that answers may be handed to it is called an experiment there
    without_dropout(loaded.model)
    answers = _Answers(plan, loaded, inputs, train_rows.rows, valid_rows.rows if valid_rows else None)
    scoring: Any = answers.score
    return GRPOTrainer(
        model=loaded.model,
        reward_funcs=[scoring],
        args=GRPOConfig(**config_of(plan, arguments)),
        train_dataset=answers.training(),
        eval_dataset=answers.held_out() if valid_rows else None,
        processing_class=loaded.tokenizer,
        callbacks=[_RenameLogs(), *callbacks],
        rollout_func=answers.write,
    )


def config_of(plan: Plan, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's configuration of the plan, by its own names."""
    assert plan.rollouts is not None
    rollouts, schedule, sampling = plan.rollouts, plan.rollouts.schedule, plan.rollouts.sampling
    each = schedule.answers_each
    answers = schedule.prompts_of_phase * each
    batch = plan.arguments.per_device_train_batch_size
    return {
        **shared_arguments(plan, arguments),
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": each * max(1, plan.arguments.per_device_eval_batch_size // each),
        "generation_batch_size": answers,
        "num_generations": each,
        "num_generations_eval": 1,
        "num_iterations": schedule.passes,
        "max_completion_length": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "beta": rollouts.rl_kl_coef,
        "epsilon": plan.objective.settings["rl_clip_range"],
        "entropy_coef": plan.objective.settings["rl_entropy_coef"],
        "loss_type": "dapo",
        "use_bias_correction_kl": False,  # the estimate as DeepSeekMath has it
        "scale_rewards": "group" if rollouts.rl_advantage == GRPO else "none",
        "disable_dropout": False,
        "shuffle_dataset": False,
    }


class _Answers:
    """The prompts of the run by their place in it, this package's answers to them, and what these are worth."""

    def __init__(
        self, plan: Plan, loaded: Loaded, inputs: RunInputs, train: TokenRows, valid: TokenRows | None
    ) -> None:
        assert plan.rollouts is not None
        self.plan, self.schedule = plan, RolloutSchedule.of(plan.rollouts.schedule, plan.seed)
        ends = end_tokens(loaded.model, loaded.tokenizer, inputs.prepared.end_of_turn)
        layout = Padded(int(loaded.tokenizer.pad_token_id))
        self.ends = ends
        self.sampler = Sampler(layout, loaded.tokenizer, ends, sampling_of(plan), DTYPES[plan.precision.name])
        rewards = load_rewards(plan, inputs, loaded)
        self.rewards: dict[str, Rewards] = {TRAIN: rewards, VALID: rewards.on(inputs, VALID)}
        self.rows = {TRAIN: train, VALID: valid}
        self.order = self._order()

    def _order(self) -> list[int]:
        """The rows of whole phases, as many as the run's steps take."""
        schedule = self.schedule
        steps = schedule.passes * math.ceil(
            schedule.prompts_of_phase * schedule.answers_each / schedule.answers_of_step
        )
        phases, number = math.ceil(self.plan.steps / steps), 0
        order: list[int] = []
        while len(order) < phases * schedule.prompts_of_phase:
            rows = schedule.rows_of(number)
            order += rows.tolist() if len(rows) == schedule.prompts_of_phase else []
            number += 1
        return order

    def training(self) -> Dataset:
        return Dataset.from_dict({"prompt": [f"{TRAIN} {place}" for place in range(len(self.order))]})

    def held_out(self) -> Dataset:
        valid = self.rows[VALID]
        return Dataset.from_dict({"prompt": [f"{VALID} {place}" for place in range(len(valid or ()))]})

    def write(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """The answers to prompts, of which each stands there once for every answer to it."""
        seen: Counter[str] = Counter()
        asked, seeds = [], []
        for prompt in prompts:
            side, place = self._place(prompt)
            asked.append(self._prompt(prompt))
            seeds.append(self._seed(side, place, seen[prompt]))
            seen[prompt] += 1
        samples = self.sampler.sample(trainer.model, asked, seeds)
        return {
            "prompt_ids": [sample.prompt.tolist() for sample in samples],
            "completion_ids": [sample.completion.tolist() for sample in samples],
            "logprobs": [[[float(one)] for one in sample.logprobs] for sample in samples],
        }

    def _place(self, prompt: str) -> tuple[str, int]:
        side, place = prompt.split()
        return side, int(place)

    def _row(self, prompt: str) -> int:
        side, place = self._place(prompt)
        return self.order[place] if side == TRAIN else place

    def _prompt(self, prompt: str) -> np.ndarray:
        rows = self.rows[self._place(prompt)[0]]
        assert rows is not None
        return rows[self._row(prompt)][0]

    def _seed(self, side: str, place: int, repeat: int) -> int:
        schedule = self.schedule
        if side == VALID:
            return schedule.seeds_of(EVALUATION, count=place + 1)[place]
        phase, prompt = divmod(place, schedule.prompts_of_phase)
        number = prompt * schedule.answers_each + repeat
        return schedule.seeds_of(TRAINING, phase, count=number + 1)[number]

    def score(self, prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **unused: Any) -> list[float]:
        """What the answers are worth."""
        side = self._place(prompts[0])[0]
        samples = [
            Sample(self._prompt(prompt), np.asarray(ids, dtype=np.int32), ids[-1] in self.ends, np.zeros(0, np.float32))
            for prompt, ids in zip(prompts, completion_ids, strict=True)
        ]
        rewards = self.rewards[side]
        return rewards.total(rewards([self._row(prompt) for prompt in prompts], samples)).tolist()


class _RenameLogs(RenameLogs):
    """What TRL logs of answers, under the names that this package logs."""

    def __init__(self) -> None:
        super().__init__(of_tokens=False)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().on_log(args, state, control, logs, **kwargs)
        if logs is None:
            return
        for prefix in ("", "eval_"):
            cut_off = logs.get(f"{prefix}completions/clipped_ratio")
            kept = {LOGGED[name]: logs[prefix + name] for name in LOGGED if prefix + name in logs}
            if not kept:
                continue
            theirs = [
                name for name in logs if name.startswith(prefix) and name.removeprefix(prefix).startswith(_THEIRS)
            ]
            for name in theirs:
                del logs[name]
            logs |= {prefix + name: value for name, value in kept.items()}
            if cut_off is not None:
                logs[f"{prefix}completions/finished"] = 1 - cut_off


_THEIRS = ("reward", "frac_reward", "entropy", "clip_ratio", "completions/", "step_time", "sampling/", "num_tokens")
