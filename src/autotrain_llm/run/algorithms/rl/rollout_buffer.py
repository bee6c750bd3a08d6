"""A rollout: answers that were sampled together, their scores and log-probabilities, and the steps that train on each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotrain_llm.data.order import MixtureOrder, ShuffledOrder
from autotrain_llm.data.tokenize.prepare import Prepared
from autotrain_llm.planning.plan import RolloutSchedulePlan
from autotrain_llm.planning.rollout_batches import steps_of_pass
from autotrain_llm.run.engine.layouts import PromptGroup
from autotrain_llm.run.engine.objective import Sums
from autotrain_llm.run.generation.types import Sample

FILE = "rollouts.npz"
# Fields of a rollout and their keys in a batch.
PER_TOKEN = {"logprobs": "old_logprobs", "advantages": "advantages", "reference": "reference"}
OF_VALUES = {"values": "old_values", "baseline": "baseline", "returns": "returns"}


@dataclass
class Answers:
    """Sampled answers, `each` to a prompt, one prompt after the other.

    rows: the index of each prompt among the prepared rows (prompts,). ids: int32, the tokens of all answers, concatenated. lengths: the
    number of tokens of each answer (answers,), at least one. finished: whether it ended with an end token. truncated: whether a reward
    model scored it without the start of its text.
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

    def completion(self, index: int) -> np.ndarray:
        start = int(self.starts[index])
        return self.ids[start : start + int(self.lengths[index])]

    def sample(self, index: int, prompts: Any) -> Sample:
        """One of these answers with its prompt, without log-probabilities; `prompts` are the prepared rows."""
        prompt = np.asarray(prompts[int(self.rows[index // self.each])][0], dtype=np.int32)
        return Sample(prompt, self.completion(index), bool(self.finished[index]), np.zeros(0, dtype=np.float32))

    def prompt_groups(self, indices: Sequence[int], prompts: Any) -> list[PromptGroup]:
        """These answers, adjacent ones to the same prompt in one group; `prompts` are the prepared rows."""
        groups: list[tuple[int, list[int]]] = []
        for index in indices:
            prompt = int(index) // self.each
            if not groups or groups[-1][0] != prompt:
                groups.append((prompt, []))
            groups[-1][1].append(int(index))
        return [self._prompt_group(prompt, members, prompts) for prompt, members in groups]

    def _prompt_group(self, prompt: int, members: Sequence[int], prompts: Any) -> PromptGroup:
        answers = [self.completion(index) for index in members]
        return PromptGroup(
            prompts[int(self.rows[prompt])][0], tuple((ids, np.ones(len(ids), dtype=bool)) for ids in answers)
        )

    def lengths_with_prompts(self, prompts: Any) -> Iterator[int]:
        """The number of tokens of each answer with its prompt; `prompts` are the prepared rows."""
        for index, length in enumerate(self.lengths):
            yield int(length) + len(prompts[int(self.rows[index // self.each])][0])

    def tokens_of(self, indices: Sequence[int]) -> np.ndarray:
        """The positions in `ids` of these answers' tokens."""
        starts = self.starts
        spans = [np.arange(starts[index], starts[index] + self.lengths[index]) for index in indices]
        return np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)


@dataclass
class RolloutBatch(Answers):
    """Answers with everything the loss needs. Rollout `number` (from 0) is trained on from step `first_step` of the run on.

    scores: of each reward source (answers, sources). rewards: their weighted sum (answers,).
    Per token (tokens,): logprobs of the policy that sampled it, those of the reference, values, advantages and returns. baseline: the
    weighted prefix score of the reward model, which is contained in the values and which the value head is added to.
    reward_value_weight: the weight of that prefix score. tracked_values, divergence: of spo, per prompt.
    kl_coef: the KL coefficient of this rollout. seconds: its duration. stopped: early stopping, no further step trains on it.
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
        """All fields that are set, as arrays."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: np.asarray(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RolloutBatch:
        """The rollout that `arrays` was called on."""
        stored = {item.name: arrays[item.name] for item in fields(cls) if item.name in arrays}
        # Scalars were stored as arrays without dimensions.
        values: dict[str, Any] = {name: array.item() if array.ndim == 0 else array for name, array in stored.items()}
        return cls(**values)


def sampling_seeds(*key: int, count: int) -> list[int]:
    """`count` seeds that are derived from `key`."""
    state = np.random.SeedSequence(key).generate_state(count, np.uint64)
    return [int(value) >> 1 for value in state]  # 63 bits fit a signed integer


@dataclass(frozen=True)
class RolloutSchedule:
    """The sizes of rollouts, and the seeded order of prompts and answers."""

    seed: int
    prompts: int
    prompts_of_phase: int
    answers_each: int
    phases_of_epoch: int
    passes: int
    answers_of_step: int
    batches: int
    steps_of_epoch: int
    mixture: MixtureOrder | None = None

    @classmethod
    def of(cls, plan: RolloutSchedulePlan, seed: int, prepared: Prepared) -> RolloutSchedule:
        sizes = [len(part) for part in prepared.train.parts]
        mixture = prepared.mixture.order(sizes) if prepared.mixture else None
        planned = {item.name: getattr(plan, item.name) for item in fields(cls) if item.name not in ("seed", "mixture")}
        return cls(seed, **planned, mixture=mixture)

    def rows_of(self, number: int) -> np.ndarray:
        """The prompts of rollout `number`: each epoch's seeded order of all prompts, or that of a mixture, divided into rollouts."""
        epoch, part = divmod(number, self.phases_of_epoch)
        order = (self.mixture or ShuffledOrder(self.prompts, self.seed)).of_epoch(epoch)
        return order[part * self.prompts_of_phase : (part + 1) * self.prompts_of_phase]

    def seeds_of(self, *key: int, count: int) -> list[int]:
        """`count` sampling seeds, one for each answer, derived from the run's seed and `key`."""
        return sampling_seeds(self.seed, *key, count=count)

    def steps_of_pass(self, rollout: Answers) -> int:
        return steps_of_pass(len(rollout.lengths), self.answers_of_step)

    def end_step(self, rollout: RolloutBatch) -> int:
        """The first step of the run that no longer trains on this rollout."""
        return rollout.first_step + self.passes * self.steps_of_pass(rollout)

    def answers_of(self, rollout: RolloutBatch, step: int, micro_batch: int, count: int) -> np.ndarray:
        """The answers of one of `count` micro-batches of a step of the run: a seeded order of prompts for each pass, split evenly."""
        steps = self.steps_of_pass(rollout)
        passes, part = divmod(step - rollout.first_step, steps)
        order = np.random.default_rng((self.seed, rollout.number, passes)).permutation(len(rollout.rows))
        answers = (order[:, None] * rollout.each + np.arange(rollout.each)).ravel()
        return np.array_split(np.array_split(answers, steps)[part], count)[micro_batch]


@dataclass
class MicroBatch:
    """One batch of one process: the rollout, the indices of its answers, and the rollout's metrics."""

    rollout: RolloutBatch
    indices: np.ndarray
    metrics: Sums = field(default_factory=dict)


class RolloutCollator:
    """Collates the answers of a micro-batch, with the rollout's values per token in the order of the targets."""

    def __init__(self, collate: Any, prompts: Any) -> None:
        self.collate, self.prompts = collate, prompts

    def __call__(self, micro_batches: Sequence[MicroBatch]) -> dict[str, Any]:
        (micro_batch,) = micro_batches
        rollout, indices = micro_batch.rollout, micro_batch.indices.tolist()
        prompt_groups = rollout.prompt_groups(indices, self.prompts)
        if not prompt_groups:  # all processes must take part in a step, or collectives would wait forever
            (first,) = rollout.prompt_groups([0], self.prompts)
            prompt_groups = [PromptGroup(first.prompt, first.answers, is_padding=True)]
        batch = self.collate(prompt_groups)
        positions = rollout.tokens_of(indices)
        for name, key in (PER_TOKEN | OF_VALUES).items():
            array = getattr(rollout, name)
            if array is not None:
                batch[key] = torch.from_numpy(array[positions])
        batch["kl_coef"] = torch.tensor(rollout.kl_coef, dtype=torch.float64)
        batch["rollout_metrics"] = micro_batch.metrics
        return batch


def save_rollout(rollout: RolloutBatch, coefficient: float, folder: Path) -> None:
    """Write a rollout and the KL coefficient of the next one, atomically."""
    unfinished = folder / f".{FILE}"
    with unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, coefficient=np.asarray(coefficient), **rollout.arrays())
    unfinished.replace(folder / FILE)


def load_rollout(folder: Path) -> tuple[RolloutBatch, float]:
    """The rollout and the coefficient that `save_rollout` wrote."""
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        return RolloutBatch.from_arrays(arrays), float(arrays["coefficient"])
