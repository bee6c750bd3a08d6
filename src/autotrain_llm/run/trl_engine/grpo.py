"""`--engine trl` for grpo: TRL's own trainer on the prompts, the answers and the rewards of the same plan.

TRL computes the log-probabilities, the advantages, the loss and the steps. Its dataset holds only indices, in the order in which this
package's loop takes prompts; the answers come from this package's sampler, with the loop's seeds. If a rollout is one step, both take
the same steps; if it is several, TRL shuffles the answers among them in its own order. TRL has no smaller rollout batch at the end
of an epoch, and leaves those prompts out.
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
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.layouts import Padded
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sample
from autotrain_llm.run.trl_engine.sft import TRAIN, VALID, RenameLogs, shared_arguments

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
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # `rollout_func` is experimental in TRL
    without_dropout(loaded.model, of_adapters=not (plan.adapter and plan.adapter.dropout))
    answers = _Rollouts(plan, loaded, inputs, train_rows.rows, valid_rows.rows if valid_rows else None)
    scoring: Any = answers.score
    return GRPOTrainer(
        model=loaded.model,
        reward_funcs=[scoring],
        args=GRPOConfig(**config_of(plan, arguments)),
        train_dataset=answers.train_dataset(),
        eval_dataset=answers.eval_dataset() if valid_rows else None,
        processing_class=loaded.tokenizer,
        callbacks=[RenameRewardLogs(), *callbacks],
        rollout_func=answers.sample,
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
        "use_bias_correction_kl": False,  # the k3 estimate as in DeepSeekMath
        "scale_rewards": "group" if rollouts.rl_advantage == GRPO else "none",
        "disable_dropout": False,
        "shuffle_dataset": False,
    }


class _Rollouts:
    """The prompts of the run by their index, this package's answers to them, and their rewards."""

    def __init__(
        self, plan: Plan, loaded: Loaded, inputs: RunInputs, train: TokenRows, valid: TokenRows | None
    ) -> None:
        assert plan.rollouts is not None
        self.plan, self.schedule = plan, RolloutSchedule.of(plan.rollouts.schedule, plan.seed, inputs.prepared)
        ends = end_tokens(loaded.model, loaded.tokenizer, inputs.prepared.end_of_turn)
        layout = Padded(int(loaded.tokenizer.pad_token_id))
        self.ends = ends
        self.sampler = Sampler(layout, loaded.tokenizer, ends, sampling_of(plan), DTYPES[plan.precision.name])
        rewards = load_rewards(plan, inputs, loaded)
        self.rewards: dict[str, Rewards] = {TRAIN: rewards, VALID: rewards.on(inputs, VALID)}
        self.rows = {TRAIN: train, VALID: valid}
        self.order = self._order()

    def _order(self) -> list[int]:
        """The rows of complete rollout batches, enough for the run's steps."""
        schedule = self.schedule
        steps = schedule.passes * math.ceil(
            schedule.prompts_of_phase * schedule.answers_each / schedule.answers_of_step
        )
        rollouts, index = math.ceil(self.plan.steps / steps), 0
        order: list[int] = []
        while len(order) < rollouts * schedule.prompts_of_phase:
            rows = schedule.rows_of(index)
            order += rows.tolist() if len(rows) == schedule.prompts_of_phase else []
            index += 1
        return order

    def train_dataset(self) -> Dataset:
        return Dataset.from_dict({"prompt": [f"{TRAIN} {index}" for index in range(len(self.order))]})

    def eval_dataset(self) -> Dataset:
        valid = self.rows[VALID]
        return Dataset.from_dict({"prompt": [f"{VALID} {index}" for index in range(len(valid or ()))]})

    def sample(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: the answers to prompts, each of which is repeated once per answer."""
        repeats: Counter[str] = Counter()
        prompt_ids, seeds = [], []
        for prompt in prompts:
            split, index = self._split_and_index(prompt)
            prompt_ids.append(self._prompt(prompt))
            seeds.append(self._seed(split, index, repeats[prompt]))
            repeats[prompt] += 1
        samples = self.sampler.sample(trainer.model, prompt_ids, seeds)
        return {
            "prompt_ids": [sample.prompt.tolist() for sample in samples],
            "completion_ids": [sample.completion.tolist() for sample in samples],
            "logprobs": [[[float(logprob)] for logprob in sample.logprobs] for sample in samples],
        }

    def _split_and_index(self, prompt: str) -> tuple[str, int]:
        split, index = prompt.split()
        return split, int(index)

    def _row(self, prompt: str) -> int:
        split, index = self._split_and_index(prompt)
        return self.order[index] if split == TRAIN else index

    def _prompt(self, prompt: str) -> np.ndarray:
        rows = self.rows[self._split_and_index(prompt)[0]]
        assert rows is not None
        return rows[self._row(prompt)][0]

    def _seed(self, split: str, index: int, repeat: int) -> int:
        schedule = self.schedule
        if split == VALID:
            return schedule.seeds_of(EVALUATION, count=index + 1)[index]
        rollout, prompt = divmod(index, schedule.prompts_of_phase)
        answer = prompt * schedule.answers_each + repeat
        return schedule.seeds_of(TRAINING, rollout, count=answer + 1)[answer]

    def score(self, prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **unused: Any) -> list[float]:
        """TRL's reward function: the total reward of each answer."""
        split = self._split_and_index(prompts[0])[0]
        samples = [
            Sample(self._prompt(prompt), np.asarray(ids, dtype=np.int32), ids[-1] in self.ends, np.zeros(0, np.float32))
            for prompt, ids in zip(prompts, completion_ids, strict=True)
        ]
        rewards = self.rewards[split]
        return rewards.total(rewards([self._row(prompt) for prompt in prompts], samples)).tolist()


class RenameRewardLogs(RenameLogs):
    """Rename TRL's metrics of answers to this package's."""

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
            truncated = logs.get(f"{prefix}completions/clipped_ratio")
            renamed = {LOGGED[name]: logs[prefix + name] for name in LOGGED if prefix + name in logs}
            if not renamed:
                continue
            trl_names = [
                name for name in logs if name.startswith(prefix) and name.removeprefix(prefix).startswith(TRL_PREFIXES)
            ]
            for name in trl_names:
                del logs[name]
            logs |= {prefix + name: value for name, value in renamed.items()}
            if truncated is not None:
                logs[f"{prefix}completions/finished"] = 1 - truncated


TRL_PREFIXES = (
    "reward",
    "frac_reward",
    "entropy",
    "clip_ratio",
    "completions/",
    "step_time",
    "sampling/",
    "num_tokens",
)
