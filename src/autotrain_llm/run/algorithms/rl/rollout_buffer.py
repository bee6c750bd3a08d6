"""A rollout: answers that were sampled together, their log-probabilities, values and advantages, and the step that trains on each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotrain_llm.planning.plan import RolloutSchedulePlan
from autotrain_llm.planning.rollout_batches import steps_of_pass
from autotrain_llm.run.engine.layouts import PromptGroup
from autotrain_llm.run.engine.objective import Sums

FILE = "rollouts.npz"
PER_TOKEN = {"logprobs": "old_logprobs", "advantages": "advantages", "reference": "reference"}
OF_VALUES = {"values": "old_values", "baseline": "baseline", "returns": "returns"}


@dataclass
class Answers:
    """Sampled answers, `each` to a prompt, one prompt after the other.

    rows: the index of each prompt among the prepared rows (prompts,). ids: int32, the tokens of all answers, concatenated; lengths: the tokens of each
    (answers,), at least one. finished: whether each has an end token; truncated: whether a reward model read it without its start.
    """

    rows: np.ndarray
    ids: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray
    truncated: np.ndarray

    @property
    def each(self) -> int:
        return len(self.lengths) // len(self.rows)

    @property
    def starts(self) -> np.ndarray:
        """The index in `ids` of each answer's first token."""
        return np.cumsum(self.lengths) - self.lengths

    def completion(self, number: int) -> np.ndarray:
        start = int(self.starts[number])
        return self.ids[start : start + int(self.lengths[number])]

    def prompt_groups(self, numbers: Sequence[int], prompts: Any) -> list[PromptGroup]:
        """These answers as prompt groups, adjacent answers to one prompt together; `prompts` are the prepared rows."""
        found: list[tuple[int, list[int]]] = []
        for number in numbers:
            prompt = int(number) // self.each
            if not found or found[-1][0] != prompt:
                found.append((prompt, []))
            found[-1][1].append(int(number))
        return [self._prompt_group(prompt, members, prompts) for prompt, members in found]

    def _prompt_group(self, prompt: int, members: Sequence[int], prompts: Any) -> PromptGroup:
        answers = [self.completion(number) for number in members]
        return PromptGroup(
            prompts[int(self.rows[prompt])][0], tuple((ids, np.ones(len(ids), dtype=bool)) for ids in answers)
        )

    def with_prompts(self, prompts: Any) -> Iterator[int]:
        """The number of tokens of each answer with its prompt; `prompts` are the prepared rows."""
        for number, length in enumerate(self.lengths):
            yield int(length) + len(prompts[int(self.rows[number // self.each])][0])

    def tokens_of(self, numbers: Sequence[int]) -> np.ndarray:
        """The indices in `ids` of these answers' tokens."""
        starts = self.starts
        spans = [np.arange(starts[number], starts[number] + self.lengths[number]) for number in numbers]
        return np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)


@dataclass
class RolloutBatch(Answers):
    """Answers to train on from step `first_step` of the run on; `number` counts rollouts from 0.

    scores: of each reward (answers, rewards); rewards: their weighted sum (answers,). Per token (tokens,): log-probabilities of the policy that sampled them and
    of the reference, values, the reward model's share of the values (baseline), advantages and returns. reward_value_weight: the weight of the reward
    model's prefix scores. Per prompt, for spo: tracked_values and the policy's divergence. kl_coef: the KL coefficient of this rollout; seconds: how long it
    took to sample. stopped: whether the policy's KL divergence reached the limit of early stopping.
    """

    number: int
    first_step: int
    scores: np.ndarray
    rewards: np.ndarray
    logprobs: np.ndarray
    advantages: np.ndarray
    reference: np.ndarray | None = None
    values: np.ndarray | None = None
    baseline: np.ndarray | None = None
    reward_value_weight: float | None = None
    returns: np.ndarray | None = None
    tracked_values: np.ndarray | None = None
    divergence: np.ndarray | None = None
    kl_coef: float = 0.0
    seconds: float = 0.0
    stopped: bool = False

    def arrays(self) -> dict[str, np.ndarray]:
        """All fields as arrays, to be saved."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: np.asarray(value) for name, value in held.items() if value is not None}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RolloutBatch:
        """The rollout of these arrays."""
        held = {one.name: arrays[one.name] for one in fields(cls) if one.name in arrays}
        given: dict[str, Any] = {name: array.item() if array.ndim == 0 else array for name, array in held.items()}
        return cls(**given)


@dataclass(frozen=True)
class RolloutSchedule:
    """The plan's rollout sizes, and the seed of every order."""

    seed: int
    prompts: int
    prompts_of_phase: int
    answers_each: int
    phases_of_epoch: int
    passes: int
    answers_of_step: int
    batches: int
    steps_of_epoch: int

    @classmethod
    def of(cls, decided: RolloutSchedulePlan, seed: int) -> RolloutSchedule:
        return cls(seed, **{one.name: getattr(decided, one.name) for one in fields(cls) if one.name != "seed"})

    def rows_of(self, number: int) -> np.ndarray:
        """The prompts of a rollout: a seeded order for each epoch, cut into rollouts."""
        epoch, part = divmod(number, self.phases_of_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.prompts)
        return order[part * self.prompts_of_phase : (part + 1) * self.prompts_of_phase]

    def seeds_of(self, *which: int, count: int) -> list[int]:
        """A seed for each answer of a rollout."""
        state = np.random.SeedSequence((self.seed, *which)).generate_state(count, np.uint64)
        return [int(one) >> 1 for one in state]

    def steps_of_pass(self, rollout: Answers) -> int:
        return steps_of_pass(len(rollout.lengths), self.answers_of_step)

    def last_step(self, rollout: RolloutBatch) -> int:
        """The step after the last that trains on this rollout."""
        return rollout.first_step + self.passes * self.steps_of_pass(rollout)

    def share(self, rollout: RolloutBatch, update: int, micro_batch: int, slots: int) -> np.ndarray:
        """The answers of one of `slots` micro-batches of a step: a seeded order of prompts for each pass, split evenly."""
        steps = self.steps_of_pass(rollout)
        done, step = divmod(update - rollout.first_step, steps)
        order = np.random.default_rng((self.seed, rollout.number, done)).permutation(len(rollout.rows))
        answers = (order[:, None] * rollout.each + np.arange(rollout.each)).ravel()
        return np.array_split(np.array_split(answers, steps)[step], slots)[micro_batch]


@dataclass
class MicroBatch:
    """One batch of one process: the indices of its answers in a rollout, and the rollout's metrics."""

    rollout: RolloutBatch
    numbers: np.ndarray
    measured: Sums = field(default_factory=dict)


class RolloutCollator:
    """Collates the answers of a micro-batch with their tokens' values, in the order of the targets."""

    def __init__(self, collate: Any, prompts: Any) -> None:
        self.collate, self.prompts = collate, prompts

    def __call__(self, slots: Sequence[MicroBatch]) -> dict[str, Any]:
        (micro_batch,) = slots
        rollout, numbers = micro_batch.rollout, micro_batch.numbers.tolist()
        prompt_groups = rollout.prompt_groups(numbers, self.prompts)
        if not prompt_groups:  # every process takes part in a step
            (one,) = rollout.prompt_groups([0], self.prompts)
            prompt_groups = [PromptGroup(one.prompt, one.answers, is_padding=True)]
        batch = self.collate(prompt_groups)
        places = rollout.tokens_of(numbers)
        for name, called in (PER_TOKEN | OF_VALUES).items():
            held = getattr(rollout, name)
            if held is not None:
                batch[called] = torch.from_numpy(held[places])
        batch["kl_coef"] = torch.tensor(rollout.kl_coef, dtype=torch.float64)
        batch["phase"] = micro_batch.measured
        return batch


def save_rollout(rollout: RolloutBatch, coefficient: float, folder: Path) -> None:
    """Write a rollout and the KL coefficient of the next one, all of it or nothing."""
    unfinished = folder / f".{FILE}"
    with unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, coefficient=np.asarray(coefficient), **rollout.arrays())
    unfinished.replace(folder / FILE)


def load_rollout(folder: Path) -> tuple[RolloutBatch, float]:
    """Read what `save_rollout` wrote."""
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        return RolloutBatch.of_arrays(arrays), float(arrays["coefficient"])
