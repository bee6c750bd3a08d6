"""Where the batches of ppo and grpo come from: phases in which the policy writes answers, which are scored, weighed and learnt from.

Each process writes and measures its share, and all of them hold the whole phase, so that two learn in each step what one would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import Sampler as Order

from autotrain_llm.data.order import no_grad_batches
from autotrain_llm.data.rows import TokenRows
from autotrain_llm.run.algorithms.rl.advantages import (
    GROUP_ADVANTAGES,
    KlController,
    discounted,
    explained_variance,
    foretold,
    generalised_advantages,
    group_deviations,
    token_rewards,
    whitened,
)
from autotrain_llm.run.algorithms.rl.objectives import MOVED
from autotrain_llm.run.algorithms.rl.rollout_buffer import Answers, Phase, Sizes, Slot, Together, load_phase, save_phase
from autotrain_llm.run.algorithms.rl.value_head import (
    load_value_head,
    save_value_head,
    value_head_of,
    without_value_head,
)
from autotrain_llm.run.engine.flat.model import LOGPROBS, VALUES
from autotrain_llm.run.engine.layouts import Layout
from autotrain_llm.run.engine.objective import Sums
from autotrain_llm.run.engine.reference_model import Source, evaluating
from autotrain_llm.run.generation.completion_text import texts
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sample

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop

TRAINING, EVALUATION = 0, 1  # sides of the data, in seeds
EXACT = torch.float64  # of sums
SAMPLES = "samples.jsonl"
TRUST_RATE = 0.3  # how far what counts of the reward model's word moves in a phase toward what that finds best
SHOWN = 4  # answers of each phase that are written down


class Scoring(Protocol):
    """What scores answers. A call takes the numbers of the prepared rows that samples answer, and gives what each source of reward, by
    its name, says of them (answers, sources); `total` is what that comes to (answers,). `cut` says which of the last call's answers were
    scored without the start of their text."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __call__(self, rows: Sequence[int], samples: Sequence[Sample]) -> np.ndarray: ...

    def total(self, scores: np.ndarray) -> np.ndarray: ...

    @property
    def has_models(self) -> bool: ...

    def cut(self, answers: int) -> np.ndarray: ...


class Expecting(Protocol):
    """What values begin as: a call takes a batch in the policy's layout, and gives a number before each of its K tokens (K,)."""

    def of(self, batch: dict[str, Any]) -> torch.Tensor: ...


class Writers:
    """Writes answers to prompts, which are prepared rows, scores them, and finds out what models say of their tokens; the processes share
    the work."""

    def __init__(
        self,
        prompts: TokenRows,
        layout: Layout,
        sampler: Sampler,
        rewards: Scoring,
        reference: Source | None,
        expected: Expecting | None = None,
    ) -> None:
        self.prompts, self.layout, self.sampler = prompts, layout, sampler
        self.rewards, self.reference, self.expected = rewards, reference, expected

    def write(self, loop: Loop, rows: np.ndarray, seeds: Sequence[int], each: int) -> tuple[Answers, np.ndarray]:
        """`each` answers to each of these rows' prompts, and what each source of reward says of them (answers, sources)."""
        process, processes = loop.args.process_index, loop.args.world_size
        share = np.array_split(np.arange(len(rows)), processes)[process]
        first, last = (int(share[0]), int(share[-1]) + 1) if len(share) else (0, 0)
        asked = [self.prompts[int(row)][0] for row in rows[first:last]]
        samples = self.sampler.sample(policy_of(loop), asked, seeds[first * each : last * each], per_prompt=each)
        numbers = [int(row) for row in rows[first:last] for _ in range(each)]
        own = slice(first * each, last * each)
        scores = self.rewards(numbers, samples)
        return gathered(samples, scores, self.rewards.cut(len(samples)), rows, own, len(rows) * each, loop)

    def measure(self, loop: Loop, answers: Answers, *, values: bool) -> dict[str, np.ndarray]:
        """For each token of the answers: the policy's log-probability, its entropy, where asked for what its value head says, and what a
        reward model says so far where values begin as that, and the reference's log-probability where there is one; float64 (tokens,)."""
        said = self._said(loop, answers, policy_of(loop), VALUES if values else LOGPROBS)
        found = {"logprobs": said[0], "entropy": said[1]}
        if values:
            found["values"] = said[2]
        if values and self.expected is not None:
            expecting = self.expected
            found["expected"] = self._of_tokens(loop, answers, lambda batch: (expecting.of(batch),))[0]
        if self.reference is not None:
            with self.reference.standing_in(policy_of(loop)) as reference:
                found["reference"] = self._said(loop, answers, reference, LOGPROBS)[0]
        return found

    def _said(self, loop: Loop, answers: Answers, model: nn.Module, compute: str) -> np.ndarray:
        """Log-probabilities, entropies and values (3, tokens)."""

        def say(batch: dict[str, Any]) -> Sequence[torch.Tensor | None]:
            with torch.no_grad(), evaluating(model), loop.accelerator.autocast():
                output = self.layout.forward(model, batch, compute)
            return output.logprobs, output.entropy, output.value

        return self._of_tokens(loop, answers, say)

    def _of_tokens(
        self, loop: Loop, answers: Answers, say: Callable[[dict[str, Any]], Sequence[torch.Tensor | None]]
    ) -> np.ndarray:
        """What is said of the tokens of batches, up to three numbers of each (3, tokens); the processes share them."""
        known = np.zeros((3, len(answers.ids)))
        for number, members in enumerate(no_grad_batches(answers.with_prompts(self.prompts))):
            if number % loop.args.world_size != loop.args.process_index:
                continue
            batch = loop.on_device(self.layout.collate(answers.families(members, self.prompts)))
            places = answers.tokens_of(members)
            for place, said in enumerate(say(batch)):
                if said is not None:
                    known[place, places] = said.double().cpu().numpy()
        return together(known, loop)


def policy_of(loop: Loop) -> nn.Module:
    """The model that is trained, without the wrapper of parallel training, in which all processes would have to call it equally often."""
    model: Any = loop.model
    return model


def together(share: np.ndarray, loop: Loop) -> np.ndarray:
    """What each process holds a part of, with nought for the others' parts."""
    if loop.args.world_size == 1:
        return share
    return loop.over_processes(torch.from_numpy(share).to(loop.args.device)).cpu().numpy()


def gathered(
    samples: Sequence[Sample],
    scores: np.ndarray,
    cut: np.ndarray,
    rows: np.ndarray,
    own: slice,
    count: int,
    loop: Loop,
) -> tuple[Answers, np.ndarray]:
    """The answers of all processes and their scores, of which these lie in `own`."""
    about = np.zeros((count, 3), dtype=np.int64)
    about[own, :2] = [(len(sample.completion), sample.finished) for sample in samples] or np.zeros((0, 2))
    about[own, 2] = cut
    about = together(about, loop)
    lengths, finished, cut = about[:, 0], about[:, 1].astype(bool), about[:, 2].astype(bool)
    starts = np.cumsum(lengths) - lengths
    ids = np.zeros(int(lengths.sum()), dtype=np.int64)
    for number, sample in zip(range(count)[own], samples, strict=True):
        ids[starts[number] : starts[number] + lengths[number]] = sample.completion
    known = np.zeros((count, scores.shape[1]))
    known[own] = scores
    return Answers(rows, together(ids, loop).astype(np.int32), lengths, finished, cut), together(known, loop)


class Rollouts:
    """The loop's source of batches: makes a phase when the first of its batches is asked for, and keeps what is needed to go on from it."""

    def __init__(
        self,
        writers: Writers,
        sizes: Sizes,
        settings: Mapping[str, Any],
        shown: ShownSamples | None,
    ) -> None:
        self.writers, self.sizes, self.settings, self.shown = writers, sizes, settings, shown
        self.controller = KlController(settings["rl_kl_coef"], settings["rl_target_kl"])
        self.phase: Phase | None = None
        self.measured: Sums = {}
        self._moved: list[torch.Tensor] = []
        self._loop: Loop | None = None

    # --- what the loop asks for -------------------------------------------------------------------------------------

    def batches(self, loop: Loop) -> DataLoader[Any]:
        self._loop = loop
        order = _Updates(self.sizes.steps_of_epoch, loop.args.gradient_accumulation_steps)
        return _Batches(
            _Slots(self, order),
            batch_sampler=order,
            collate_fn=Together(self.writers.layout.collate, self.writers.prompts),
        )

    def learnt(self, measured: Sums) -> None:
        if self.settings["rl_stop_kl"] is not None:
            self._moved.append(torch.stack([part.double() for part in measured[MOVED]]))

    @contextmanager
    def saving(self, folder: Path) -> Iterator[None]:
        assert self._loop is not None and self.phase is not None
        self._decide_whether_to_stop()
        model = policy_of(self._loop)
        with without_value_head(model):
            yield
        if self._loop.args.should_save:
            save_value_head(model, folder)
            save_phase(self.phase, self.controller.coefficient, folder)

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Go on as it was when the checkpoint was written."""
        load_value_head(model, checkpoint)
        self.phase, self.controller.coefficient = load_phase(checkpoint)
        self.measured = self._measures(self.phase)

    # --- phases -----------------------------------------------------------------------------------------------------

    def slot(self, update: int, number: int) -> Slot:
        """A batch of this process, the `number`th of those that a step of the run accumulates."""
        loop = self._loop
        assert loop is not None
        self._decide_whether_to_stop()
        if self.phase is None or self.phase.stopped or update >= self.sizes.last_step(self.phase):
            began = time.perf_counter()
            self.phase = self._made(loop, 0 if self.phase is None else self.phase.number + 1, update, began)
            self.measured = self._measures(self.phase)
            if self.shown is not None:
                self.shown.add(self.phase, self.writers)
            loop.rates.leave_out(time.perf_counter() - began)
        slots = loop.args.gradient_accumulation_steps * loop.args.world_size
        place = number * loop.args.world_size + loop.args.process_index
        return Slot(self.phase, self.sizes.share(self.phase, update, place, slots), self.measured)

    def _decide_whether_to_stop(self) -> None:
        """Whether the last step found the policy too far from the one that wrote the answers; all processes decide alike."""
        moved, self._moved = self._moved, []
        if not moved:
            return
        assert self._loop is not None and self.phase is not None
        total, count = self._loop.over_processes(torch.stack(moved).sum(0)).tolist()
        self.phase.stopped = self.phase.stopped or total / max(count, 1) > self.settings["rl_stop_kl"]

    def _made(self, loop: Loop, number: int, update: int, began: float) -> Phase:
        sizes, writers = self.sizes, self.writers
        rows = sizes.rows_of(number)
        seeds = sizes.seeds_of(TRAINING, number, count=len(rows) * sizes.answers_each)
        answers, scores = writers.write(loop, rows, seeds, sizes.answers_each)
        found = writers.measure(loop, answers, values=value_head_of(policy_of(loop)) is not None)
        rewards = writers.rewards.total(scores)
        made = Phase(
            answers.rows,
            answers.ids,
            answers.lengths,
            answers.finished,
            answers.cut,
            number=number,
            begins=update,
            scores=scores,
            rewards=rewards,
            logprobs=found["logprobs"],
            reference=found.get("reference"),
            values=found.get("values"),
            expected=found.get("expected"),
            advantages=np.zeros(0),
            kl_coef=self.controller.coefficient,
        )
        self._weigh(made)
        if made.reference is not None:
            self.controller.measured(float(divergences(made).mean()))
        made.seconds = time.perf_counter() - began
        return made

    def _weigh(self, phase: Phase) -> None:
        """Turn scores into advantages, for values with what they are taught."""
        if phase.values is None:
            weigh = GROUP_ADVANTAGES[self.settings["rl_advantage"]]
            phase.advantages = np.repeat(weigh(phase.rewards, phase.each), phase.lengths)
            return
        apart = np.zeros(len(phase.ids)) if phase.reference is None else phase.logprobs - phase.reference
        rewards, gamma = token_rewards(phase.rewards, apart, phase.lengths, phase.kl_coef), self.settings["rl_gamma"]
        if phase.expected is not None:
            left = discounted(rewards, phase.lengths, gamma) - phase.values
            phase.trust = self._trusted(foretold(phase.expected, left))
            phase.expected = phase.trust * phase.expected
            phase.values = phase.values + phase.expected
        advantages, phase.returns = generalised_advantages(
            rewards, phase.values, phase.lengths, gamma, self.settings["rl_gae_lambda"]
        )
        phase.advantages = whitened(advantages)

    def _trusted(self, found: float) -> float:
        """The share of a reward model's word that counts in a phase that finds it best: the head, which makes up for the rest, must keep pace."""
        earlier = None if self.phase is None else self.phase.trust
        return found if earlier is None else earlier + TRUST_RATE * (found - earlier)

    def _measures(self, phase: Phase) -> Sums:
        """What every log of the phase's steps says of it."""
        found = of_answers(phase, phase.scores, self.writers.rewards)
        found["advantage_std"] = np.asarray([phase.advantages.std()])
        if phase.reference is not None:
            found |= of_divergence(phase, phase.logprobs - phase.reference)
            found["kl_coef"] = np.asarray([phase.kl_coef])
        if phase.values is None:
            spread = group_deviations(phase.rewards, phase.each)
            found |= {"reward_std": spread, "groups_alike": (spread == 0).astype(float)}
        else:
            assert phase.returns is not None
            found |= {"explained_variance": np.asarray([explained_variance(phase.values, phase.returns)])}
            found["reward_std"] = np.asarray([phase.rewards.std()])
            if phase.trust is not None:
                found["value_trust"] = np.asarray([phase.trust])
        found["phase_seconds"] = np.asarray([phase.seconds])
        return {
            name: (torch.tensor(values.sum(), dtype=EXACT), torch.tensor(values.size, dtype=EXACT))
            for name, values in found.items()
        }


def divergences(phase: Phase) -> np.ndarray:
    """The summed log-ratio of policy and reference of each answer (answers,)."""
    assert phase.reference is not None
    return np.add.reduceat(phase.logprobs - phase.reference, phase.starts)


def of_answers(answers: Answers, scores: np.ndarray, rewards: Scoring) -> dict[str, np.ndarray]:
    """What is to be averaged over answers: rewards, each source's own, lengths in tokens, whether they ended, and where models score them
    whether they were scored without their start."""
    found = {
        "reward": rewards.total(scores),
        **{f"rewards/{name}": scores[:, place] for place, name in enumerate(rewards.names)},
        "completions/mean_length": answers.lengths,
        "completions/finished": answers.finished.astype(float),
    }
    if rewards.has_models:
        found["completions/cut_for_score"] = answers.cut.astype(float)
    return found


def of_divergence(answers: Answers, apart: np.ndarray) -> dict[str, np.ndarray]:
    """How far the policy is from its reference, per token and per answer; `apart` is the log-ratio of each token."""
    return {"kl": apart, "objective/kl": np.add.reduceat(apart, answers.starts)}


class EvaluationAnswers:
    """Measures answers to the prompts that were held out, one to each, with the same random numbers in every evaluation."""

    def __init__(self, writers: Writers, seed: int) -> None:
        self.writers, self.seed = writers, seed

    def measure(self, loop: Loop) -> dict[str, float]:
        rows = np.arange(len(self.writers.prompts))
        state = np.random.SeedSequence((self.seed, EVALUATION)).generate_state(len(rows), np.uint64)
        answers, scores = self.writers.write(loop, rows, [int(one) >> 1 for one in state], 1)
        said = self.writers.measure(loop, answers, values=False)
        found = of_answers(answers, scores, self.writers.rewards)
        found["entropy"] = said["entropy"]
        if "reference" in said:
            found |= of_divergence(answers, said["logprobs"] - said["reference"])
        return {name: float(values.mean()) for name, values in found.items()}


class ShownSamples:
    """`samples.jsonl`: a few answers of each phase. A resumed run drops those that lie after its checkpoint."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self.path = folder / SAMPLES
        lines = (
            self.path.read_text(encoding="utf-8").splitlines() if resumed_at is not None and self.path.exists() else []
        )
        kept = [line for line in lines if json.loads(line)["step"] <= (resumed_at or 0)]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, phase: Phase, writers: Writers) -> None:
        """The phase's first answers, as text."""
        with self.path.open("a", encoding="utf-8") as file:
            for number in range(min(SHOWN, len(phase.lengths))):
                file.write(json.dumps(self._entry(phase, number, writers), ensure_ascii=False) + "\n")

    def _entry(self, phase: Phase, number: int, writers: Writers) -> dict[str, Any]:
        prompt = np.asarray(writers.prompts[int(phase.rows[number // phase.each])][0], dtype=np.int32)
        sample = Sample(prompt, phase.completion(number), bool(phase.finished[number]), np.zeros(0, dtype=np.float32))
        return {
            "step": phase.begins + 1,  # the first that learns from it
            "phase": phase.number + 1,
            "prompt": writers.sampler.tokenizer.decode(prompt.tolist()),
            "answer": texts([sample], writers.sampler.tokenizer)[0],
            "finished": sample.finished,
            "reward": float(phase.rewards[number]),
            "rewards": {name: float(phase.scores[number, place]) for place, name in enumerate(writers.rewards.names)},
        }


class _Updates(Order[list[tuple[int, int]]]):
    """The slots of an epoch's steps, by the number of the step in the whole run."""

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


class _Slots(Dataset[Slot]):
    """Looks a slot's answers up when it is asked for, which makes a phase where that is needed."""

    def __init__(self, rollouts: Rollouts, order: _Updates) -> None:
        self.rollouts, self.order = rollouts, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: tuple[int, int]) -> Slot:
        return self.rollouts.slot(*place)


class _Batches(DataLoader[Any]):
    """Batches in their order."""

    def set_epoch(self, epoch: int) -> None:
        order: Any = self.batch_sampler
        order.set_epoch(epoch)
