"""Score a policy's answers with reward models, which have their own tokenizers, and with the user's reward functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.context.reward_functions import FunctionFault, FunctionLocation, call, find_function, load_function
from autotrain_llm.data.chat.template import ChatTemplate, find_template
from autotrain_llm.data.example import Example, extra_columns
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.order import SCORED_TOKENS
from autotrain_llm.data.rows import TokenRows
from autotrain_llm.data.tokenize.reward_inputs import answered, ids_of
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Refused
from autotrain_llm.planning.kinds import FUNCTION, MODEL
from autotrain_llm.planning.plan import Plan, RewardPlan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.ahead import moved
from autotrain_llm.run.engine.classifiers import HEADS, FlatScores, PaddedScores, load_classifier
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.loading import DTYPES, Loaded, loading_options
from autotrain_llm.run.engine.sharding import first_process_loads, is_sharded
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.generation.completion_text import texts
from autotrain_llm.run.generation.types import Sample

NO_TOKEN = -1


class Reward(Protocol):
    """A source of reward. `score` returns a score for each answer, or several; `examples` are the rows of their prompts, one for each answer."""

    def score(
        self, examples: Sequence[Example], completions: Sequence[str], samples: Sequence[Sample]
    ) -> Sequence[float] | Sequence[Sequence[float]]: ...


class RewardModel:
    """A frozen classifier. Texts are rendered as in its training; one longer than its context is truncated on the left."""

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        *,
        as_turns: bool,
        context_length: int | None,
        device: torch.device,
    ) -> None:
        self.model = _with_exact_head(model).requires_grad_(False).eval()
        self.tokenizer, self.template, self.as_turns = tokenizer, template, as_turns
        self.context, self.device = context_length, device
        self.flat = _flat_of(self.model)
        self.truncated = np.zeros(0, dtype=bool)  # which texts of the last call were truncated

    def score(
        self, examples: Sequence[Example], completions: Sequence[str], samples: Sequence[Sample]
    ) -> Sequence[Sequence[float]]:
        try:
            rows = ids_of(
                [answered(example, text, self.template) for example, text in zip(examples, completions, strict=True)],
                self.tokenizer,
                self.template,
                self.as_turns and self.template is not None,
            )
        except Refused as refused:
            raise RunFailed(f"the reward model can't read an answer: {refused.findings[0].message}") from refused
        self.truncated = np.asarray([self.context is not None and len(ids) > self.context for ids in rows], dtype=bool)
        rows = [self._within_context(ids) for ids in rows]
        scores = np.zeros((len(rows), int(causal_model(self.model).config.num_labels or 1)))
        if not is_sharded(self.model):
            self.model.to(self.device)
        for members in _batches([len(row) for row in rows]):
            scores[members] = self._scores([rows[index] for index in members])
        return scores.tolist()

    def _within_context(self, ids: list[int]) -> list[int]:
        excess = len(ids) - self.context if self.context is not None else 0
        bos = self.tokenizer.bos_eos[0]
        start = len(bos) if ids[: len(bos)] == bos else 0  # a BOS token stays
        return ids[:start] + ids[start + excess :] if excess > 0 else ids

    @torch.no_grad()
    def _scores(self, rows: Sequence[list[int]]) -> np.ndarray:
        with self._padding_token(rows) as padding:
            layout = self.flat or PaddedScores(padding)
            batch = layout.collate([(np.asarray(row, dtype=np.int32), np.zeros(len(row), dtype=bool)) for row in rows])
            scores = layout.forward(self.model, moved(batch, self.device), layout.name).scores
        assert scores is not None
        return scores.double().cpu().numpy().reshape(len(rows), -1)

    @contextmanager
    def _padding_token(self, rows: Sequence[list[int]]) -> Iterator[int]:
        """The padding token. The score is read at the last other token: a model without a padding token temporarily gets one that ends
        none of these texts."""
        config = self.model.config.get_text_config()
        configured = config.pad_token_id
        if configured is None:
            last = {row[-1] for row in rows}
            config.pad_token_id = next(token for token in range(len(last) + 1) if token not in last)
        try:
            yield config.pad_token_id
        finally:
            config.pad_token_id = configured


def _flat_of(model: nn.Module) -> FlatScores | None:
    """The flat layout, if the classifier's architecture supports it."""
    pad_token = causal_model(model).config.get_text_config().pad_token_id
    try:
        return FlatScores(model, NO_TOKEN if pad_token is None else pad_token)
    except ValueError:
        return None


class RewardFunction:
    """A function of the user, called with prompts, completions and the other columns of the rows."""

    def __init__(self, place: FunctionLocation, columns: Sequence[str]) -> None:
        self.place, self.columns = place, columns
        self.function = load_function(place)

    def score(
        self, examples: Sequence[Example], completions: Sequence[str], samples: Sequence[Sample]
    ) -> Sequence[float]:
        columns = {name: [example.extra.get(name) for example in examples] for name in self.columns}
        return call(self.place, self.function, [example.prompt for example in examples], completions, columns)


class MissingEndPenalty:
    """1 for an answer without an end token, else 0; its weight in the rewards is negative."""

    def score(
        self, examples: Sequence[Example], completions: Sequence[str], samples: Sequence[Sample]
    ) -> Sequence[float]:
        return [float(not sample.finished) for sample in samples]


@dataclass(frozen=True)
class Rewards:
    """The reward sources of a run and their weights, for the prompts of one split.

    names: of the rewards, in the order of the columns that a call returns. A source gives as many columns as it has outputs.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    sources: tuple[Reward, ...]
    tokenizer: PreTrainedTokenizerBase
    examples: Sequence[Example]
    rows: TokenRows

    def __call__(self, rows: Sequence[int], samples: Sequence[Sample]) -> np.ndarray:
        """Scores (answers, rewards) in float64; `rows` are the indices of the samples' prompts among the prepared rows. Raises RunFailed."""
        if not samples:
            return np.zeros((0, len(self.names)))
        examples = [self.examples[int(self.rows.source[row])] for row in rows]
        completions = texts(samples, self.tokenizer)
        columns: list[np.ndarray] = []
        for reward in self.sources:
            name = self.names[sum(column.shape[1] for column in columns)]
            try:
                scored = reward.score(examples, completions, samples)
            except FunctionFault as fault:
                raise RunFailed(f"the reward function {name} {fault}", "correct it, then --resume") from fault
            columns.append(np.asarray(scored, dtype=np.float64).reshape(len(samples), -1))
        scores = np.concatenate(columns, axis=1)
        if not np.isfinite(scores).all():
            name = self.names[int(np.argwhere(~np.isfinite(scores))[0][1])]
            raise RunFailed(f"the reward {name} is not a number for some answer")
        return scores

    @property
    def models(self) -> list[nn.Module]:
        """The reward models among the sources."""
        return [reward.model for reward in self.sources if isinstance(reward, RewardModel)]

    def truncated(self, answers: int) -> np.ndarray:
        """Which answers of the last call were truncated for some reward model (answers,)."""
        masks = [
            reward.truncated for reward in self.sources if isinstance(reward, RewardModel) and len(reward.truncated)
        ]
        return np.logical_or.reduce([np.zeros(answers, dtype=bool), *masks])

    def total(self, scores: np.ndarray) -> np.ndarray:
        """The reward of each answer: the weighted sum of its scores (answers,)."""
        return scores @ self.weights

    def on(self, inputs: RunInputs, side: str) -> Rewards:
        """The same sources for the rows of another split."""
        examples, rows = (
            (inputs.dataset.train, inputs.prepared.train)
            if side == "train"
            else (inputs.dataset.valid, inputs.prepared.valid)
        )
        assert isinstance(rows, TokenRows)
        return replace(self, examples=examples, rows=rows)


def load_rewards(plan: Plan, inputs: RunInputs, loaded: Loaded, side: str = "train") -> Rewards:
    """The plan's rewards with their models loaded, for the rows of this split, train or valid. Raises RunFailed."""
    assert plan.rollouts is not None
    entries = plan.rollouts.rewards
    assert isinstance(inputs.prepared.train, TokenRows)
    rewards = Rewards(
        names=tuple(entry.name for entry in entries),
        weights=np.asarray([entry.weight for entry in entries]),
        # The outputs of one model follow one another.
        sources=tuple(_load_reward(entry, plan, inputs) for entry in entries if not entry.output),
        tokenizer=loaded.tokenizer,
        examples=inputs.dataset.train,
        rows=inputs.prepared.train,
    )
    return rewards.on(inputs, side)


def _load_reward(entry: RewardPlan, plan: Plan, inputs: RunInputs) -> Reward:
    if entry.kind == MODEL:
        return _load_reward_model(entry, plan, inputs)
    if entry.kind == FUNCTION:
        assert entry.source is not None
        try:
            return RewardFunction(find_function(entry.source, "rl_reward_fn"), extra_columns(inputs.dataset.train))
        except FunctionFault as fault:
            raise RunFailed(f"the reward function {entry.name}: {fault}") from fault
    return MissingEndPenalty()


def _load_reward_model(entry: RewardPlan, plan: Plan, inputs: RunInputs) -> RewardModel:
    metadata = inputs.reward_models.get(str(entry.source))
    assert metadata is not None and metadata.tokenizer_folder is not None
    name = plan.precision.name
    model = load_reward_classifier(entry, plan, inputs, DTYPES["fp32" if name == "fp16" else name])
    tokenizer = Tokenizer.load(Path(metadata.tokenizer_folder))
    device = torch.device("cpu") if plan.precision.cpu else torch.device("cuda", torch.cuda.current_device())
    template = find_template(None, tokenizer, Observations())
    return RewardModel(
        model, tokenizer, template, as_turns=bool(entry.as_turns), context_length=metadata.context_length, device=device
    )


def load_reward_classifier(entry: RewardPlan, plan: Plan, inputs: RunInputs, dtype: torch.dtype) -> Any:
    """The classifier of one of the plan's rewards."""
    metadata = inputs.reward_models.get(str(entry.source))
    assert metadata is not None
    options = loading_options(plan, inputs.token)
    for of_the_policy in ("revision", "quantization_config", "attn_implementation"):
        options.pop(of_the_policy, None)
    with first_process_loads(plan):
        model, _ = load_classifier(metadata.located, dtype, options, num_labels=len(metadata.score_names))
    return model


def _with_exact_head(model: Any) -> Any:
    """The classifier with its head in float32: in bf16, scores that differ by less than about 1 % would be rounded to the same value."""
    for name, module in causal_model(model).named_children():
        if name in HEADS and model.dtype in (torch.bfloat16, torch.float16):
            module.float().register_forward_pre_hook(_in_float32)
    return model


def _in_float32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.float() if isinstance(value, torch.Tensor) else value for value in inputs)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Batches of indices of texts of similar length, at most SCORED_TOKENS with padding. No text is less than half as long as its batch's
    longest."""
    batches: list[list[int]] = []
    for index in np.argsort([-length for length in lengths], kind="stable").tolist():
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= SCORED_TOKENS and 2 * lengths[index] >= longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
