"""Sample answers to prompts from a model that is being trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.reference_model import evaluating
from autotrain_llm.run.generation.completion_text import texts
from autotrain_llm.run.generation.kv_cache import keeps_padding_out, new_cache, select_sequences
from autotrain_llm.run.generation.sample_token import distribution, sample_token, uniform_numbers
from autotrain_llm.run.generation.types import VLLM, Sample, Sampling

FINISHED_SHARE = 0.125  # of a batch, from which on the others go on without them
LOOKS_EVERY = {"cuda": 8}  # tokens after which it is looked which answers have ended: a GPU has to be waited for


@dataclass
class _Answer:
    """One answer on its way: its place in the result, its prompt's number, and its random numbers."""

    place: int
    prompt: int
    numbers: torch.Tensor


class Sampler:
    """Answers of a model, each drawn with random numbers of its own.

    tokenizer: turns answers into text. end_tokens: ids that end an answer. precision: the type that the training computes in.
    An answer follows from the model, its prompt and its seed: what else is sampled with it changes its logits by rounding alone.
    """

    def __init__(
        self,
        layout: BatchLayout,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: Sequence[int],
        sampling: Sampling,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.layout, self.tokenizer, self.sampling, self.precision = layout, tokenizer, sampling, precision
        self.end_tokens = sorted(set(end_tokens))
        self.engine: Any = None

    def sample(
        self,
        model: nn.Module,
        prompts: Sequence[np.ndarray],
        seeds: Sequence[int],
        per_prompt: int = 1,
        greedy: bool = False,
    ) -> list[Sample]:
        """`per_prompt` answers to each prompt (int32 ids), one prompt after the other; `seeds` holds one for each answer.

        Call it outside of autocast: it opens its own, whose rounded copies of the weights end with it.
        """
        if len(seeds) != len(prompts) * per_prompt:
            raise ValueError(
                f"{len(prompts)} prompts with {per_prompt} answers each need as many seeds, not {len(seeds)}"
            )
        if self.sampling.backend == VLLM:
            return self._vllm().sample(model, prompts, seeds, per_prompt, greedy)
        numbers = uniform_numbers(seeds, self.sampling.max_new_tokens) if seeds else torch.zeros(0)
        answers = [_Answer(place, place // per_prompt, numbers[place]) for place in range(len(seeds))]
        causal = causal_model(model)
        self.layout.for_generation(model, True)
        write = CachedDecoder if "past_key_values" in _arguments(causal) else GenerateDecoder
        done: list[Sample | None] = [None] * len(answers)
        rounded = self.precision in (torch.bfloat16, torch.float16)
        with evaluating(model), torch.no_grad(), torch.autocast(causal.device.type, self.precision, enabled=rounded):
            for group in self._groups(answers, prompts, causal):
                for answer, sample in write(self, causal, prompts, group, greedy).samples():
                    done[answer.place] = sample
        return [sample for sample in done if sample is not None]

    def texts(self, samples: Sequence[Sample]) -> list[str]:
        """What each answer adds to its prompt as text, special tokens left out."""
        return texts(samples, self.tokenizer)

    def _groups(
        self, answers: Sequence[_Answer], prompts: Sequence[np.ndarray], causal: PreTrainedModel
    ) -> Iterator[list[_Answer]]:
        """Answers that are written together: prompts of like length, or of one length where padding would be read."""
        ordered = sorted(answers, key=lambda answer: (-len(prompts[answer.prompt]), answer.place))
        alike: list[list[_Answer]] = [ordered]
        if "past_key_values" not in _arguments(causal) or not keeps_padding_out(new_cache(causal.config)):
            alike = [list(group) for _, group in groupby(ordered, lambda answer: len(prompts[answer.prompt]))]
        for group in alike:
            for start in range(0, len(group), self.sampling.batch):
                yield group[start : start + self.sampling.batch]

    def choose(self, logits: torch.Tensor, numbers: torch.Tensor, greedy: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The next token of each sequence and its log-probability, from the logits (sequences, vocabulary)."""
        logprobs = distribution(logits, self.sampling)
        tokens = logits.argmax(dim=-1) if greedy else sample_token(logprobs, numbers)
        return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)

    def _vllm(self) -> Any:
        if self.engine is None:
            from autotrain_llm.run.generation.vllm_engine import Engine

            self.engine = Engine(self.tokenizer, self.end_tokens, self.sampling)
        return self.engine


def _arguments(causal: PreTrainedModel) -> frozenset[str]:
    """What the model's own forward takes."""
    return frozenset(signature(type(causal).forward).parameters)


class _Batch:
    """Answers that are written together: what both ways of writing need."""

    def __init__(
        self,
        sampler: Sampler,
        causal: Any,
        prompts: Sequence[np.ndarray],
        answers: list[_Answer],
        greedy: bool,
    ) -> None:
        self.sampler, self.causal, self.answers, self.greedy = sampler, causal, answers, greedy
        self.prompts = prompts
        self.longest = sampler.sampling.max_new_tokens
        self.device = causal.device
        self.ends = torch.tensor(sampler.end_tokens, dtype=torch.int64, device=self.device)
        self.numbers = torch.stack([answer.numbers for answer in answers]).to(self.device)
        self.tokens = torch.zeros(len(answers), self.longest, dtype=torch.int64, device=self.device)
        self.logprobs = torch.zeros(len(answers), self.longest, dtype=torch.float32, device=self.device)

    def samples(self) -> Iterator[tuple[_Answer, Sample]]:
        """The answers, each cut after its end token."""
        self.write()
        for answer, tokens, logprobs in zip(
            self.answers, self.tokens.cpu().numpy(), self.logprobs.cpu().numpy(), strict=True
        ):
            ended = np.flatnonzero(np.isin(tokens, self.sampler.end_tokens))
            length = int(ended[0]) + 1 if len(ended) else self.longest
            prompt = np.asarray(self.prompts[answer.prompt], dtype=np.int32)
            yield answer, Sample(prompt, tokens[:length].astype(np.int32), bool(len(ended)), logprobs[:length].copy())

    def write(self) -> None:
        """Fill `tokens` and `logprobs` up to where each answer ends; what stands after that counts nothing."""
        raise NotImplementedError


class CachedDecoder(_Batch):
    """With a cache: each prompt is read once, padded on the left, and answers that have ended leave the batch."""

    def write(self) -> None:
        self.takes = _arguments(self.causal)
        numbers = list(dict.fromkeys(answer.prompt for answer in self.answers))  # the longest comes first
        rows = [self.prompts[number] for number in numbers]
        width = len(rows[0])
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        self.mask = torch.zeros(len(rows), width + self.longest, dtype=torch.int64)
        for at, row in enumerate(rows):
            ids[at, width - len(row) :] = torch.from_numpy(np.asarray(row, dtype=np.int64))
            self.mask[at, width - len(row) :] = 1
        self.padded = bool((self.mask == 0).any())
        self.mask = self.mask.to(self.device)
        self.cache = new_cache(self.causal.config)
        positions = (self.mask[:, :width].cumsum(dim=1) - 1).clamp(min=0)
        logits = self._called(ids.to(self.device), positions, width)
        of = {number: at for at, number in enumerate(numbers)}
        rows_of_answers = torch.tensor([of[answer.prompt] for answer in self.answers], device=self.device)
        self.mask = self.mask[rows_of_answers]
        if len(rows_of_answers) != len(rows):
            select_sequences(self.cache, rows_of_answers)
        self._go_on(logits[rows_of_answers], width, self.mask[:, :width].sum(dim=1, keepdim=True))

    def _go_on(self, logits: torch.Tensor, width: int, positions: torch.Tensor) -> None:
        """One token after another. `going` numbers the answers that have not ended, one for each row of the cache."""
        going = torch.arange(len(self.answers), device=self.device)
        ended = torch.zeros_like(going, dtype=torch.bool)
        for step in range(self.longest):
            tokens, logprobs = self.sampler.choose(logits, self.numbers[going, step], self.greedy)
            self.tokens[going, step], self.logprobs[going, step] = tokens, logprobs.float()
            ended |= torch.isin(tokens, self.ends)
            if step + 1 == self.longest:
                return
            looks = (step + 1) % LOOKS_EVERY.get(self.device.type, 1) == 0
            left = len(going) - int(ended.sum()) if looks else len(going)
            if not left:
                return
            if left <= (1 - FINISHED_SHARE) * len(going):
                kept = torch.nonzero(~ended).squeeze(1)
                going, tokens, positions, ended = going[kept], tokens[kept], positions[kept], ended[kept]
                self.mask = self.mask[kept]
                select_sequences(self.cache, kept)
            logits = self._called(tokens[:, None], positions, width + step + 1)
            positions = positions + 1

    def _called(self, ids: torch.Tensor, positions: torch.Tensor, read: int) -> torch.Tensor:
        """The logits (sequences, vocabulary) after the last of these ids, when `read` positions will have been read."""
        given: dict[str, Any] = {"input_ids": ids, "past_key_values": self.cache, "use_cache": True}
        if self.padded:
            given["attention_mask"] = self.mask[:, :read]
        if "position_ids" in self.takes:
            given["position_ids"] = positions
        if "logits_to_keep" in self.takes:
            given["logits_to_keep"] = 1
        return self.causal(**given).logits[:, -1]


class GenerateDecoder(_Batch):
    """By the model's own generate(), where it keeps what it has read in another form. All prompts have one length."""

    def write(self) -> None:
        rows = [self.prompts[answer.prompt] for answer in self.answers]
        ids = torch.from_numpy(np.stack(rows).astype(np.int64)).to(self.device)
        chooser = ForcedTokenProcessor(self, ids.shape[1])
        self.causal.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self.longest,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.sampler.end_tokens or None,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([chooser]),
        )


class ForcedTokenProcessor(LogitsProcessor):
    """Leaves generate() no choice but the token that was drawn."""

    def __init__(self, batch: _Batch, width: int) -> None:
        self.batch, self.width = batch, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        batch, step = self.batch, input_ids.shape[1] - self.width
        tokens, logprobs = batch.sampler.choose(scores, batch.numbers[:, step], batch.greedy)
        batch.tokens[:, step], batch.logprobs[:, step] = tokens, logprobs.float()
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)
