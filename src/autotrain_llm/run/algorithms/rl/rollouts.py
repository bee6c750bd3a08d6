"""The source of batches of ppo, grpo and spo: rollouts, in which the policy samples answers that are scored and trained on.

Each process samples and scores a part of the answers, and every process gets all of them: each step trains on the same answers,
however many processes there are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

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
    sampling_seeds,
    save_rollout,
)
from autotrain_llm.run.algorithms.rl.value_head import (
    load_value_head,
    save_value_head,
    value_head_of,
    without_value_head,
)
from autotrain_llm.run.algorithms.rl.value_models import PrefixRewardBaseline
from autotrain_llm.run.engine.eval_answers import EvalAnswer
from autotrain_llm.run.engine.flat.model import LOGPROBS, VALUES
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.lazy_batches import LazyBatches
from autotrain_llm.run.engine.objective import Sums
from autotrain_llm.run.engine.reference_model import ReferenceModel, evaluating
from autotrain_llm.run.engine.sharding import gathered
from autotrain_llm.run.generation.completion_text import texts
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sample

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop

TRAINING, EVALUATION = 0, 1  # part of the sampling seeds
EXACT = torch.float64  # dtype of sums
SAMPLES = "samples.jsonl"
OF_SOURCES = ("reward",)  # metrics with a value for each answer, which are logged for each source of a mixture too
SAMPLES_PER_ROLLOUT = 4  # answers of each rollout that are logged


class RolloutWorker:
    """Samples answers to prompts (prepared rows), scores them, and computes their log-probabilities; the work is divided among processes."""

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

    def sample_answers(
        self, loop: Loop, rows: np.ndarray, seeds: Sequence[int], each: int
    ) -> tuple[Answers, np.ndarray]:
        """`each` answers to the prompt of each of these rows, and their scores by each reward source (answers, sources)."""
        process, processes = loop.args.process_index, loop.args.world_size
        own_rows = np.array_split(np.arange(len(rows)), processes)[process]
        first, last = (int(own_rows[0]), int(own_rows[-1]) + 1) if len(own_rows) else (0, 0)
        prompts = [self.prompts[int(row)][0] for row in rows[first:last]]
        policy = loop.unwrapped
        with gathered(policy):
            samples = self.sampler.sample(policy, prompts, seeds[first * each : last * each], per_prompt=each)
        answered_rows = [int(row) for row in rows[first:last] for _ in range(each)]
        own = slice(first * each, last * each)
        with self._whole(loop, *self.rewards.models):
            scores = self.rewards(answered_rows, samples)
        return gather_rollouts(samples, scores, self.rewards.truncated(len(samples)), rows, own, len(rows) * each, loop)

    def compute_tokens(self, loop: Loop, answers: Answers, *, values: bool) -> dict[str, np.ndarray]:
        """For each answer token, float64 (tokens,): `logprobs` and `entropy` of the policy, with `values` the value head's `values` and the
        `baseline` if there is one, and the `reference` log-probability if there is a reference."""
        outputs = self._forward_logps(loop, answers, loop.unwrapped, VALUES if values else LOGPROBS)
        columns = {"logprobs": outputs[0], "entropy": outputs[1]}
        if values:
            columns["values"] = outputs[2]
        if values and self.baseline is not None:
            baseline = self.baseline
            with self._whole(loop, baseline.reward.model):
                columns["baseline"] = self._forward_tokens(loop, answers, lambda batch: (baseline.of(batch),))[0]
        if self.reference is not None:
            if self.reference.model is not None:
                loop.place(self.reference.model)
            with self.reference.activated(loop.unwrapped) as reference:
                columns["reference"] = self._forward_logps(loop, answers, reference, LOGPROBS)[0]
        return columns

    @contextmanager
    def _whole(self, loop: Loop, *models: nn.Module) -> Iterator[None]:
        """Frozen models on the device of this process: where the policy is divided they are too, and gathered inside the context."""
        for model in models:
            loop.place(model)
        with gathered(*models):
            yield

    def logprobs(self, loop: Loop, answers: Answers) -> np.ndarray:
        """The policy's log-probability of each token of these answers, float64 (tokens,)."""
        return self._forward_logps(loop, answers, loop.unwrapped, LOGPROBS)[0]

    def _forward_logps(self, loop: Loop, answers: Answers, model: nn.Module, compute: str) -> np.ndarray:
        """Log-probabilities, entropies and values (3, tokens)."""

        def forward(batch: dict[str, Any]) -> Sequence[torch.Tensor | None]:
            with torch.no_grad(), evaluating(model), loop.autocast():
                output = self.layout.forward(model, batch, compute)
            return output.logprobs, output.entropy, output.value

        with gathered(model):
            return self._forward_tokens(loop, answers, forward)

    def _forward_tokens(
        self, loop: Loop, answers: Answers, forward: Callable[[dict[str, Any]], Sequence[torch.Tensor | None]]
    ) -> np.ndarray:
        """The outputs of `forward` for each token, up to three (3, tokens); each process computes every world_size-th batch."""
        outputs = np.zeros((3, len(answers.ids)))
        for index, members in enumerate(no_grad_batches(answers.lengths_with_prompts(self.prompts))):
            if index % loop.args.world_size != loop.args.process_index:
                continue
            batch = loop.on_device(self.layout.collate(answers.prompt_groups(members, self.prompts)))
            positions = answers.tokens_of(members)
            for row, values in enumerate(forward(batch)):
                if values is not None:
                    outputs[row, positions] = values.double().cpu().numpy()
        return loop.array_over_processes(outputs)


def gather_rollouts(
    samples: Sequence[Sample],
    scores: np.ndarray,
    truncated: np.ndarray,
    rows: np.ndarray,
    own: slice,
    count: int,
    loop: Loop,
) -> tuple[Answers, np.ndarray]:
    """The answers of all processes and their scores; this process's own are at `own` among them."""
    metadata = np.zeros((count, 3), dtype=np.int64)
    metadata[own, :2] = [(len(sample.completion), sample.finished) for sample in samples] or np.zeros((0, 2))
    metadata[own, 2] = truncated
    metadata = loop.array_over_processes(metadata)
    lengths, finished, truncated = metadata[:, 0], metadata[:, 1].astype(bool), metadata[:, 2].astype(bool)
    starts = np.cumsum(lengths) - lengths
    ids = np.zeros(int(lengths.sum()), dtype=np.int64)
    for index, sample in zip(range(count)[own], samples, strict=True):
        ids[starts[index] : starts[index] + lengths[index]] = sample.completion
    all_scores = np.zeros((count, scores.shape[1]))
    all_scores[own] = scores
    answers = Answers(rows, loop.array_over_processes(ids).astype(np.int32), lengths, finished, truncated)
    return answers, loop.array_over_processes(all_scores)


class RolloutSource:
    """The loop's source of batches: samples a rollout when its first batch is needed, and saves what a resumed run needs."""

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
        self.metrics: Sums = {}
        self._approx_kl: list[torch.Tensor] = []
        self._loop: Loop | None = None

    # --- the interface of BatchSource -------------------------------------------------------------------------------

    def batches(self, loop: Loop) -> DataLoader[Any]:
        self._loop = loop
        accumulated = loop.args.gradient_accumulation_steps
        return LazyBatches(
            lambda number: self.micro_batch(*divmod(number, accumulated)),
            self.schedule.steps_of_epoch * accumulated,
            RolloutCollator(self.worker.layout.collate, self.worker.prompts),
        )

    def on_batch_end(self, metrics: Sums) -> None:
        if self.settings.rl_target_kl is not None:
            self._approx_kl.append(torch.stack([value.double() for value in metrics[APPROX_KL]]))

    @contextmanager
    def saving(self, folder: Path) -> Iterator[None]:
        assert self._loop is not None and self.rollout is not None
        self._decide_whether_to_stop()
        model = self._loop.unwrapped
        with without_value_head(model):
            yield
        save_value_head(model, folder, is_first=self._loop.args.should_save)
        if self._loop.args.should_save:
            save_rollout(self.rollout, self.controller.coefficient, folder)
            self.estimator.save(folder)

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Restore the state at the time of the checkpoint."""
        load_value_head(model, checkpoint)
        self.rollout, self.controller.coefficient = load_rollout(checkpoint)
        self.estimator.restore(checkpoint)
        self.metrics = self._metrics(self.rollout)

    # --- rollouts ---------------------------------------------------------------------------------------------------

    def micro_batch(self, step: int, index: int) -> MicroBatch:
        """This process's micro-batch `index` of those that a step of the run accumulates."""
        loop = self._loop
        assert loop is not None
        self._decide_whether_to_stop()
        if self.rollout is None or self.rollout.stopped or step >= self.schedule.end_step(self.rollout):
            began = time.perf_counter()
            number = 0 if self.rollout is None else self.rollout.number + 1
            self.rollout = self._new_rollout(loop, number, step, began)
            self.metrics = self._metrics(self.rollout)
            if self.sample_log is not None:
                self.sample_log.add(self.rollout, self.worker)
            loop.throughput.leave_out(time.perf_counter() - began)
        count = loop.args.gradient_accumulation_steps * loop.args.world_size
        global_index = index * loop.args.world_size + loop.args.process_index
        answers = self.schedule.answers_of(self.rollout, step, global_index, count)
        return MicroBatch(self.rollout, answers, self.metrics)

    def _decide_whether_to_stop(self) -> None:
        """Stop training on the rollout if the approximate KL of the last step exceeds --rl-target-kl; over all processes."""
        kls, self._approx_kl = self._approx_kl, []
        if not kls:
            return
        assert self._loop is not None and self.rollout is not None
        total, count = self._loop.over_processes(torch.stack(kls).sum(0)).tolist()
        self.rollout.stopped = self.rollout.stopped or total / max(count, 1) > self.settings.rl_target_kl

    def _new_rollout(self, loop: Loop, number: int, first_step: int, began: float) -> RolloutBatch:
        schedule, worker = self.schedule, self.worker
        self.estimator.begin(worker, schedule, loop)
        rows = self.estimator.prompts(schedule, number)
        seeds = schedule.seeds_of(TRAINING, number, count=len(rows) * schedule.answers_each)
        answers, scores = worker.sample_answers(loop, rows, seeds, schedule.answers_each)
        columns = worker.compute_tokens(loop, answers, values=value_head_of(loop.unwrapped) is not None)
        rewards = worker.rewards.total(scores)
        rollout = RolloutBatch(
            **vars(answers),
            number=number,
            first_step=first_step,
            scores=scores,
            rewards=rewards,
            logprobs=columns["logprobs"],
            reference=columns.get("reference"),
            values=columns.get("values"),
            baseline=columns.get("baseline"),
            advantages=np.zeros(0),
            kl_coef=self.controller.coefficient,
        )
        self.estimator.estimate(rollout, self.rollout, worker, loop)
        # After the estimate: this rollout has the old coefficient, the next one the updated.
        if rollout.reference is not None:
            self.controller.update(float(divergences(rollout).mean()))
        rollout.seconds = time.perf_counter() - began
        return rollout

    def _metrics(self, rollout: RolloutBatch) -> Sums:
        """The metrics of the rollout, which are logged at each of its steps."""
        metrics = answer_metrics(rollout, rollout.scores, self.worker.rewards)
        metrics["advantage_std"] = np.asarray([rollout.advantages.std()])
        if rollout.reference is not None:
            metrics |= divergence_metrics(rollout, rollout.logprobs - rollout.reference)
            metrics["kl_coef"] = np.asarray([rollout.kl_coef])
        metrics |= self.estimator.metrics(rollout)
        metrics["rollout_seconds"] = np.asarray([rollout.seconds])
        return {
            name: (torch.tensor(values.sum(), dtype=EXACT), torch.tensor(values.size, dtype=EXACT))
            for name, values in metrics.items()
        }


def divergences(rollout: RolloutBatch) -> np.ndarray:
    """The log-ratio of policy and reference, summed over each answer (answers,)."""
    assert rollout.reference is not None
    return np.add.reduceat(rollout.logprobs - rollout.reference, rollout.starts)


def answer_metrics(answers: Answers, scores: np.ndarray, rewards: Rewards) -> dict[str, np.ndarray]:
    """Metrics with one value per answer: the reward, the score of each source, the length in tokens, whether it is finished, and with
    reward models whether its text was truncated for them."""
    metrics = {
        "reward": rewards.total(scores),
        **{f"rewards/{name}": scores[:, column] for column, name in enumerate(rewards.names)},
        "completions/mean_length": answers.lengths,
        "completions/finished": answers.finished.astype(float),
    }
    if rewards.models:
        metrics["completions/truncated_for_reward"] = answers.truncated.astype(float)
    return metrics


def divergence_metrics(answers: Answers, log_ratios: np.ndarray) -> dict[str, np.ndarray]:
    """The log-ratio of policy and reference, per token (`kl`) and per answer (`objective/kl`); `log_ratios` is (tokens,)."""
    return {"kl": log_ratios, "objective/kl": np.add.reduceat(log_ratios, answers.starts)}


class HeldOutRewards:
    """Samples and scores one answer to each held-out prompt, with the same seeds in every evaluation.

    `sources` are the prompts of each source of a mixture. With `shares_answers` this process's part of the answers is left in the loop for other
    observers.
    """

    def __init__(
        self,
        worker: RolloutWorker,
        seed: int,
        sources: Mapping[str, range] = MappingProxyType({}),
        *,
        shares_answers: bool = False,
    ) -> None:
        self.worker, self.seed, self.sources, self.shares_answers = worker, seed, sources, shares_answers

    def measure(self, loop: Loop) -> dict[str, float]:
        rows = np.arange(len(self.worker.prompts))
        seeds = sampling_seeds(self.seed, EVALUATION, count=len(rows))
        answers, scores = self.worker.sample_answers(loop, rows, seeds, 1)
        columns = self.worker.compute_tokens(loop, answers, values=False)
        metrics = answer_metrics(answers, scores, self.worker.rewards)
        metrics["entropy"] = columns["entropy"]
        if "reference" in columns:
            metrics |= divergence_metrics(answers, columns["logprobs"] - columns["reference"])
        if self.shares_answers:
            loop.eval_answers = self._own_answers(answers, metrics, loop)
        of_sources = {
            f"{source}_{name}": float(metrics[name][own.start : own.stop].mean())
            for source, own in self.sources.items()
            for name in OF_SOURCES
            if name in metrics
        }
        return {name: float(values.mean()) for name, values in metrics.items()} | of_sources

    def _own_answers(self, answers: Answers, metrics: dict[str, np.ndarray], loop: Loop) -> list[EvalAnswer]:
        """This process's part of the answers as text, with the metrics that have a value for each."""
        tokenizer = self.worker.sampler.tokenizer
        own = range(loop.args.process_index, len(answers.rows), loop.args.world_size)
        samples = [answers.sample(index, self.worker.prompts) for index in own]
        named = {name: metrics[name] for name in metrics if name.startswith(("reward", "objective/kl"))}
        return [
            EvalAnswer(
                int(answers.rows[index]),
                str(tokenizer.decode(sample.prompt.tolist())),
                text,
                sample.finished,
                {name: float(values[index]) for name, values in named.items()},
            )
            for index, sample, text in zip(own, samples, texts(samples, tokenizer), strict=True)
        ]


class SampleLog:
    """`samples.jsonl`: a few answers of each rollout. A resumed run drops those from after its checkpoint."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self.path = folder / SAMPLES
        lines = (
            self.path.read_text(encoding="utf-8").splitlines() if resumed_at is not None and self.path.exists() else []
        )
        earlier = [line for line in lines if json.loads(line)["step"] <= (resumed_at or 0)]
        self.path.write_text("".join(line + "\n" for line in earlier), encoding="utf-8")

    def add(self, rollout: RolloutBatch, worker: RolloutWorker) -> None:
        """Append the rollout's first answers, as text."""
        with self.path.open("a", encoding="utf-8") as file:
            for index in range(min(SAMPLES_PER_ROLLOUT, len(rollout.lengths))):
                file.write(json.dumps(self._entry(rollout, index, worker), ensure_ascii=False) + "\n")

    def _entry(self, rollout: RolloutBatch, index: int, worker: RolloutWorker) -> dict[str, Any]:
        sample = rollout.sample(index, worker.prompts)
        return {
            "step": rollout.first_step + 1,  # the first step that trains on it
            "phase": rollout.number + 1,
            "prompt": worker.sampler.tokenizer.decode(sample.prompt.tolist()),
            "answer": texts([sample], worker.sampler.tokenizer)[0],
            "finished": sample.finished,
            "reward": float(rollout.rewards[index]),
            "rewards": {name: float(rollout.scores[index, column]) for column, name in enumerate(worker.rewards.names)},
        }
