"""Where the batches of ppo, grpo and spo come from: rollouts of the policy, which are scored and trained on.

Each process samples and scores its share, and all of them hold the whole rollout, so that two processes train on the same batches as one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import Sampler as Order

from autotrain_llm.data.order import no_grad_batches
from autotrain_llm.data.rows import TokenRows
from autotrain_llm.planning.plan import RolloutPlan
from autotrain_llm.run.algorithms.rl.advantages import KlController
from autotrain_llm.run.algorithms.rl.estimators import AdvantageEstimator
from autotrain_llm.run.algorithms.rl.objectives import APPROX_KL
from autotrain_llm.run.algorithms.rl.rewards import Rewards
from autotrain_llm.run.algorithms.rl.rollout_buffer import (
    Answers,
    MicroBatch,
    RolloutBatch,
    RolloutCollator,
    RolloutSchedule,
    load_rollout,
    save_rollout,
)
from autotrain_llm.run.algorithms.rl.value_head import (
    load_value_head,
    save_value_head,
    value_head_of,
    without_value_head,
)
from autotrain_llm.run.algorithms.rl.value_models import PrefixRewardBaseline
from autotrain_llm.run.engine.flat.model import LOGPROBS, VALUES
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.objective import Sums
from autotrain_llm.run.engine.reference_model import ReferenceModel, evaluating
from autotrain_llm.run.generation.completion_text import texts
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sample

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop

TRAINING, EVALUATION = 0, 1  # sides of the data, as part of a seed
EXACT = torch.float64  # of sums
SAMPLES = "samples.jsonl"
SAMPLES_PER_ROLLOUT = 4  # written to samples.jsonl


class RolloutWorker:
    """Samples answers to prepared prompts, scores them, and computes log-probabilities and values of their tokens; the processes share the work."""

    def __init__(
        self,
        prompts: TokenRows,
        layout: BatchLayout,
        sampler: Sampler,
        rewards: Rewards,
        reference: ReferenceModel | None,
        baseline: PrefixRewardBaseline | None = None,
    ) -> None:
        self.prompts, self.layout, self.sampler = prompts, layout, sampler
        self.rewards, self.reference, self.baseline = rewards, reference, baseline

    def write(self, loop: Loop, rows: np.ndarray, seeds: Sequence[int], each: int) -> tuple[Answers, np.ndarray]:
        """Sample `each` answers to each of these rows' prompts; returns them with the scores of each reward (answers, rewards)."""
        process, processes = loop.args.process_index, loop.args.world_size
        share = np.array_split(np.arange(len(rows)), processes)[process]
        first, last = (int(share[0]), int(share[-1]) + 1) if len(share) else (0, 0)
        asked = [self.prompts[int(row)][0] for row in rows[first:last]]
        samples = self.sampler.sample(policy_of(loop), asked, seeds[first * each : last * each], per_prompt=each)
        numbers = [int(row) for row in rows[first:last] for _ in range(each)]
        own = slice(first * each, last * each)
        scores = self.rewards(numbers, samples)
        return gather_rollouts(samples, scores, self.rewards.truncated(len(samples)), rows, own, len(rows) * each, loop)

    def measure(self, loop: Loop, answers: Answers, *, values: bool) -> dict[str, np.ndarray]:
        """For each token of the answers, float64 (tokens,): the policy's log-probability and entropy, the values and the reward model's prefix scores where the
        algorithm has them, and the reference log-probability where there is a reference model."""
        said = self._forward_logps(loop, answers, policy_of(loop), VALUES if values else LOGPROBS)
        found = {"logprobs": said[0], "entropy": said[1]}
        if values:
            found["values"] = said[2]
        if values and self.baseline is not None:
            baseline = self.baseline
            found["baseline"] = self._forward_tokens(loop, answers, lambda batch: (baseline.of(batch),))[0]
        if self.reference is not None:
            with self.reference.activated(policy_of(loop)) as reference:
                found["reference"] = self._forward_logps(loop, answers, reference, LOGPROBS)[0]
        return found

    def logprobs(self, loop: Loop, answers: Answers) -> np.ndarray:
        """The policy's log-probability of each token of these answers, float64 (tokens,)."""
        return self._forward_logps(loop, answers, policy_of(loop), LOGPROBS)[0]

    def _forward_logps(self, loop: Loop, answers: Answers, model: nn.Module, compute: str) -> np.ndarray:
        """Log-probabilities, entropies and values (3, tokens)."""

        def say(batch: dict[str, Any]) -> Sequence[torch.Tensor | None]:
            with torch.no_grad(), evaluating(model), loop.accelerator.autocast():
                output = self.layout.forward(model, batch, compute)
            return output.logprobs, output.entropy, output.value

        return self._forward_tokens(loop, answers, say)

    def _forward_tokens(
        self, loop: Loop, answers: Answers, say: Callable[[dict[str, Any]], Sequence[torch.Tensor | None]]
    ) -> np.ndarray:
        """Up to three numbers for each token (3, tokens), computed batch by batch; the processes share the batches."""
        known = np.zeros((3, len(answers.ids)))
        for number, members in enumerate(no_grad_batches(answers.with_prompts(self.prompts))):
            if number % loop.args.world_size != loop.args.process_index:
                continue
            batch = loop.on_device(self.layout.collate(answers.prompt_groups(members, self.prompts)))
            places = answers.tokens_of(members)
            for place, said in enumerate(say(batch)):
                if said is not None:
                    known[place, places] = said.double().cpu().numpy()
        return all_reduce_sum(known, loop)


def policy_of(loop: Loop) -> nn.Module:
    """The trained model without its DDP wrapper, whose forward all processes would have to call equally often."""
    model: Any = loop.model
    return model


def all_reduce_sum(share: np.ndarray, loop: Loop) -> np.ndarray:
    """Sum arrays over all processes; each holds its own part and zeros elsewhere."""
    if loop.args.world_size == 1:
        return share
    return loop.over_processes(torch.from_numpy(share).to(loop.args.device)).cpu().numpy()


def gather_rollouts(
    samples: Sequence[Sample],
    scores: np.ndarray,
    truncated: np.ndarray,
    rows: np.ndarray,
    own: slice,
    count: int,
    loop: Loop,
) -> tuple[Answers, np.ndarray]:
    """The answers of all processes with their scores; this process's are those in `own`."""
    about = np.zeros((count, 3), dtype=np.int64)
    about[own, :2] = [(len(sample.completion), sample.finished) for sample in samples] or np.zeros((0, 2))
    about[own, 2] = truncated
    about = all_reduce_sum(about, loop)
    lengths, finished, truncated = about[:, 0], about[:, 1].astype(bool), about[:, 2].astype(bool)
    starts = np.cumsum(lengths) - lengths
    ids = np.zeros(int(lengths.sum()), dtype=np.int64)
    for number, sample in zip(range(count)[own], samples, strict=True):
        ids[starts[number] : starts[number] + lengths[number]] = sample.completion
    known = np.zeros((count, scores.shape[1]))
    known[own] = scores
    return Answers(rows, all_reduce_sum(ids, loop).astype(np.int32), lengths, finished, truncated), all_reduce_sum(
        known, loop
    )


class RolloutSource:
    """The loop's source of batches: samples a rollout when its first batch is drawn, and saves what a resumed run needs."""

    def __init__(
        self,
        worker: RolloutWorker,
        schedule: RolloutSchedule,
        estimator: AdvantageEstimator,
        settings: RolloutPlan,
        sample_log: SampleLog | None,
    ) -> None:
        self.worker, self.schedule, self.estimator = worker, schedule, estimator
        self.settings, self.sample_log = settings, sample_log
        self.controller = KlController(settings.rl_kl_coef, settings.rl_kl_target)
        self.rollout: RolloutBatch | None = None
        self.measured: Sums = {}
        self._approx_kl: list[torch.Tensor] = []
        self._loop: Loop | None = None

    # --- what the loop asks for -------------------------------------------------------------------------------------

    def batches(self, loop: Loop) -> DataLoader[Any]:
        self._loop = loop
        order = _StepOrder(self.schedule.steps_of_epoch, loop.args.gradient_accumulation_steps)
        return _RolloutLoader(
            _MicroBatches(self, order),
            batch_sampler=order,
            collate_fn=RolloutCollator(self.worker.layout.collate, self.worker.prompts),
        )

    def on_batch_end(self, measured: Sums) -> None:
        if self.settings.rl_target_kl is not None:
            self._approx_kl.append(torch.stack([part.double() for part in measured[APPROX_KL]]))

    @contextmanager
    def saving(self, folder: Path) -> Iterator[None]:
        assert self._loop is not None and self.rollout is not None
        self._decide_whether_to_stop()
        model = policy_of(self._loop)
        with without_value_head(model):
            yield
        if self._loop.args.should_save:
            save_value_head(model, folder)
            save_rollout(self.rollout, self.controller.coefficient, folder)
            self.estimator.save(folder)

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Continue from a checkpoint."""
        load_value_head(model, checkpoint)
        self.rollout, self.controller.coefficient = load_rollout(checkpoint)
        self.estimator.restore(checkpoint)
        self.measured = self._metrics(self.rollout)

    # --- rollouts -----------------------------------------------------------------------------------------------------

    def micro_batch(self, update: int, number: int) -> MicroBatch:
        """A batch of this process, the `number`th that the step accumulates."""
        loop = self._loop
        assert loop is not None
        self._decide_whether_to_stop()
        if self.rollout is None or self.rollout.stopped or update >= self.schedule.last_step(self.rollout):
            began = time.perf_counter()
            self.rollout = self._new_rollout(
                loop, 0 if self.rollout is None else self.rollout.number + 1, update, began
            )
            self.measured = self._metrics(self.rollout)
            if self.sample_log is not None:
                self.sample_log.add(self.rollout, self.worker)
            loop.throughput.leave_out(time.perf_counter() - began)
        slots = loop.args.gradient_accumulation_steps * loop.args.world_size
        place = number * loop.args.world_size + loop.args.process_index
        return MicroBatch(self.rollout, self.schedule.share(self.rollout, update, place, slots), self.measured)

    def _decide_whether_to_stop(self) -> None:
        """Stop training on the rollout if the last step's KL divergence exceeded the limit; the same decision in all processes."""
        moved, self._approx_kl = self._approx_kl, []
        if not moved:
            return
        assert self._loop is not None and self.rollout is not None
        total, count = self._loop.over_processes(torch.stack(moved).sum(0)).tolist()
        self.rollout.stopped = self.rollout.stopped or total / max(count, 1) > self.settings.rl_target_kl

    def _new_rollout(self, loop: Loop, number: int, update: int, began: float) -> RolloutBatch:
        schedule, worker = self.schedule, self.worker
        self.estimator.begin(worker, schedule, loop)
        rows = self.estimator.prompts(schedule, number)
        seeds = schedule.seeds_of(TRAINING, number, count=len(rows) * schedule.answers_each)
        answers, scores = worker.write(loop, rows, seeds, schedule.answers_each)
        found = worker.measure(loop, answers, values=value_head_of(policy_of(loop)) is not None)
        rewards = worker.rewards.total(scores)
        made = RolloutBatch(
            answers.rows,
            answers.ids,
            answers.lengths,
            answers.finished,
            answers.truncated,
            number=number,
            first_step=update,
            scores=scores,
            rewards=rewards,
            logprobs=found["logprobs"],
            reference=found.get("reference"),
            values=found.get("values"),
            baseline=found.get("baseline"),
            advantages=np.zeros(0),
            kl_coef=self.controller.coefficient,
        )
        self.estimator.estimate(made, self.rollout, worker, loop)
        if made.reference is not None:
            self.controller.measured(float(divergences(made).mean()))
        made.seconds = time.perf_counter() - began
        return made

    def _metrics(self, rollout: RolloutBatch) -> Sums:
        """The metrics of a rollout, which every log of its steps repeats."""
        found = of_answers(rollout, rollout.scores, self.worker.rewards)
        found["advantage_std"] = np.asarray([rollout.advantages.std()])
        if rollout.reference is not None:
            found |= of_divergence(rollout, rollout.logprobs - rollout.reference)
            found["kl_coef"] = np.asarray([rollout.kl_coef])
        found |= self.estimator.metrics(rollout)
        found["rollout_seconds"] = np.asarray([rollout.seconds])
        return {
            name: (torch.tensor(values.sum(), dtype=EXACT), torch.tensor(values.size, dtype=EXACT))
            for name, values in found.items()
        }


def divergences(rollout: RolloutBatch) -> np.ndarray:
    """The log-ratio of policy and reference, summed over each answer (answers,)."""
    assert rollout.reference is not None
    return np.add.reduceat(rollout.logprobs - rollout.reference, rollout.starts)


def of_answers(answers: Answers, scores: np.ndarray, rewards: Rewards) -> dict[str, np.ndarray]:
    """Arrays whose means are logged: rewards, those of each source, lengths in tokens, the share with an end token and, for reward models, the share
    that was truncated."""
    found = {
        "reward": rewards.total(scores),
        **{f"rewards/{name}": scores[:, place] for place, name in enumerate(rewards.names)},
        "completions/mean_length": answers.lengths,
        "completions/finished": answers.finished.astype(float),
    }
    if rewards.has_models:
        found["completions/truncated_for_reward"] = answers.truncated.astype(float)
    return found


def of_divergence(answers: Answers, apart: np.ndarray) -> dict[str, np.ndarray]:
    """The log-ratio of policy and reference per token (`apart`), and summed per answer."""
    return {"kl": apart, "objective/kl": np.add.reduceat(apart, answers.starts)}


class HeldOutRewards:
    """Evaluates one answer to each held-out prompt, with the same random numbers every time."""

    def __init__(self, worker: RolloutWorker, seed: int) -> None:
        self.worker, self.seed = worker, seed

    def measure(self, loop: Loop) -> dict[str, float]:
        rows = np.arange(len(self.worker.prompts))
        state = np.random.SeedSequence((self.seed, EVALUATION)).generate_state(len(rows), np.uint64)
        answers, scores = self.worker.write(loop, rows, [int(one) >> 1 for one in state], 1)
        said = self.worker.measure(loop, answers, values=False)
        found = of_answers(answers, scores, self.worker.rewards)
        found["entropy"] = said["entropy"]
        if "reference" in said:
            found |= of_divergence(answers, said["logprobs"] - said["reference"])
        return {name: float(values.mean()) for name, values in found.items()}


class SampleLog:
    """`samples.jsonl`: the first answers of each rollout. A resumed run removes the lines after its checkpoint."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self.path = folder / SAMPLES
        lines = (
            self.path.read_text(encoding="utf-8").splitlines() if resumed_at is not None and self.path.exists() else []
        )
        kept = [line for line in lines if json.loads(line)["step"] <= (resumed_at or 0)]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, rollout: RolloutBatch, worker: RolloutWorker) -> None:
        """Append the rollout's first answers, as text."""
        with self.path.open("a", encoding="utf-8") as file:
            for number in range(min(SAMPLES_PER_ROLLOUT, len(rollout.lengths))):
                file.write(json.dumps(self._entry(rollout, number, worker), ensure_ascii=False) + "\n")

    def _entry(self, rollout: RolloutBatch, number: int, worker: RolloutWorker) -> dict[str, Any]:
        prompt = np.asarray(worker.prompts[int(rollout.rows[number // rollout.each])][0], dtype=np.int32)
        sample = Sample(
            prompt, rollout.completion(number), bool(rollout.finished[number]), np.zeros(0, dtype=np.float32)
        )
        return {
            "step": rollout.first_step + 1,  # the first that learns from it
            "phase": rollout.number + 1,
            "prompt": worker.sampler.tokenizer.decode(prompt.tolist()),
            "answer": texts([sample], worker.sampler.tokenizer)[0],
            "finished": sample.finished,
            "reward": float(rollout.rewards[number]),
            "rewards": {name: float(rollout.scores[number, place]) for place, name in enumerate(worker.rewards.names)},
        }


class _StepOrder(Order[list[tuple[int, int]]]):
    """The micro-batches of an epoch's steps, by the number of the step in the whole run."""

    def __init__(self, steps: int, slots: int) -> None:
        self.steps, self.slots, self.epoch = steps, slots, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.slots

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for update in range(self.epoch * self.steps, (self.epoch + 1) * self.steps):
            for number in range(self.slots):
                yield [(update, number)]


class _MicroBatches(Dataset[MicroBatch]):
    """Looks up a micro-batch when it is drawn, which samples a rollout if a new one is due."""

    def __init__(self, rollouts: RolloutSource, order: _StepOrder) -> None:
        self.rollouts, self.order = rollouts, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: tuple[int, int]) -> MicroBatch:
        return self.rollouts.micro_batch(*place)


class _RolloutLoader(DataLoader[Any]):
    """Batches in the order of the sampler."""

    def set_epoch(self, epoch: int) -> None:
        order: Any = self.batch_sampler
        order.set_epoch(epoch)
