"""Complete prompts with a causal language model: the one generation loop of inference, evaluation and rollouts.

Prompts are padded on the left and prefilled once; a key-value cache makes each further token cost one token; finished sequences are
removed from the batch. Architectures without such a cache use their own `generate()`, forced to the tokens sampled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from autotrain_llm.run.generation.kv_cache import masks_padding, new_cache, select_sequences
from autotrain_llm.run.generation.sample_token import distribution, sample_token, uniform_numbers
from autotrain_llm.run.generation.types import Sample, Sampling

# Finished sequences are removed once they are this fraction of the batch: removing copies the cache, so it must pay off.
REPACK_SHARE = 0.125
# Steps between checks for finished sequences: on a GPU each check waits for the device.
STEPS_BETWEEN_CHECKS = {"cuda": 8}


@dataclass(frozen=True)
class _Sequence:
    """A completion: its index in the result, the index of its prompt, and its random numbers (max_new_tokens,)."""

    index: int
    prompt: int
    uniform: torch.Tensor


class Decoder:
    """Completes prompts: greedily, or sampling each sequence with random numbers of its own.

    end_tokens: ids that end a completion. precision: the dtype of matrix products. processors: transformers' logits processors, such as a
    repetition penalty. on_tokens: called with the tokens of each step, as soon as they are chosen. A completion depends on the model, its prompt and its seed; the other sequences of its batch change its logits by
    rounding errors only.
    """

    def __init__(
        self,
        end_tokens: Sequence[int],
        sampling: Sampling,
        precision: torch.dtype = torch.float32,
        processors: LogitsProcessorList | None = None,
        on_tokens: Callable[[list[int]], None] | None = None,
    ) -> None:
        self.end_tokens, self.sampling, self.precision = sorted(set(end_tokens)), sampling, precision
        self.processors, self.on_tokens = processors, on_tokens

    def complete(
        self,
        causal: PreTrainedModel,
        prompts: Sequence[np.ndarray],
        seeds: Sequence[int] | None = None,
        per_prompt: int = 1,
    ) -> list[Sample]:
        """`per_prompt` completions of each prompt (int32 ids), one prompt after the other; `seeds` holds one for each completion.

        Without seeds it decodes greedily. Call it outside autocast: it opens its own, so that the cached casts of the weights are freed
        with it. Raises ValueError if seeds and completions differ in number.
        """
        count = len(prompts) * per_prompt
        if seeds is not None and len(seeds) != count:
            raise ValueError(
                f"{len(prompts)} prompts with {per_prompt} completions each need {count} seeds, not {len(seeds)}"
            )
        steps = self.sampling.max_new_tokens
        uniform = torch.zeros(count, steps) if seeds is None or not count else uniform_numbers(seeds, steps)
        sequences = [_Sequence(index, index // per_prompt, uniform[index]) for index in range(count)]
        batch_type = CachedBatch if _has_cache(causal) else GenerateBatch
        done: dict[int, Sample] = {}
        is_half = self.precision in (torch.bfloat16, torch.float16)
        with torch.no_grad(), torch.autocast(causal.device.type, self.precision, enabled=is_half):
            for batch in self._batches(sequences, prompts, causal):
                done |= batch_type(self, causal, prompts, batch, greedy=seeds is None).complete()
        return [done[index] for index in range(count)]

    def _batches(
        self, sequences: Sequence[_Sequence], prompts: Sequence[np.ndarray], causal: PreTrainedModel
    ) -> Iterator[list[_Sequence]]:
        """Batches of sequences with prompts of similar length; of equal length if the model can't mask padding (recurrent state)."""
        ordered = sorted(sequences, key=lambda sequence: (-len(prompts[sequence.prompt]), sequence.index))
        groups: list[list[_Sequence]] = [ordered]
        if not _has_cache(causal) or not masks_padding(new_cache(causal.config)):
            groups = [list(group) for _, group in groupby(ordered, lambda sequence: len(prompts[sequence.prompt]))]
        for group in groups:
            for start in range(0, len(group), self.sampling.batch):
                yield group[start : start + self.sampling.batch]

    def choose(
        self, logits: torch.Tensor, uniform: torch.Tensor, greedy: bool, ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next token of each sequence and its log-probability: both (sequences,), from logits (sequences, vocabulary)."""
        if self.processors is not None and ids is not None:
            logits = self.processors(ids, logits.float())  # type: ignore[arg-type]
        logps = distribution(logits, self.sampling)
        tokens = logits.argmax(dim=-1) if greedy else sample_token(logps, uniform)
        if self.on_tokens is not None:
            self.on_tokens(tokens.tolist())
        return tokens, logps.gather(1, tokens[:, None]).squeeze(1)


def _has_cache(causal: PreTrainedModel) -> bool:
    return "past_key_values" in _forward_arguments(causal)


def _forward_arguments(causal: PreTrainedModel) -> frozenset[str]:
    return frozenset(signature(type(causal).forward).parameters)


class _Batch:
    """Sequences that are completed together. `tokens` and `logps` (sequences, steps) are filled step by step."""

    def __init__(
        self,
        decoder: Decoder,
        causal: Any,
        prompts: Sequence[np.ndarray],
        sequences: list[_Sequence],
        greedy: bool,
    ) -> None:
        self.decoder, self.causal, self.sequences, self.greedy = decoder, causal, sequences, greedy
        self.prompts, self.device = prompts, causal.device
        width, sampling = len(prompts[sequences[0].prompt]), decoder.sampling  # the longest prompt comes first
        context = sampling.longest if sampling.longest is not None else width + sampling.max_new_tokens
        self.steps = max(1, min(sampling.max_new_tokens, context - width))
        self.end_tokens = torch.tensor(decoder.end_tokens, dtype=torch.int64, device=self.device)
        self.uniform = torch.stack([sequence.uniform for sequence in sequences]).to(self.device)
        self.tokens = torch.zeros(len(sequences), self.steps, dtype=torch.int64, device=self.device)
        self.logps = torch.zeros(len(sequences), self.steps, dtype=torch.float32, device=self.device)

    def complete(self) -> dict[int, Sample]:
        """The completions by their index, each cut after its end token."""
        self.fill()
        samples = {}
        rows = zip(self.sequences, self.tokens.cpu().numpy(), self.logps.cpu().numpy(), strict=True)
        for sequence, tokens, logps in rows:
            ends = np.flatnonzero(np.isin(tokens, self.decoder.end_tokens))
            length = int(ends[0]) + 1 if len(ends) else self.steps
            prompt = np.asarray(self.prompts[sequence.prompt], dtype=np.int32)
            samples[sequence.index] = Sample(
                prompt, tokens[:length].astype(np.int32), bool(len(ends)), logps[:length].copy()
            )
        return samples

    def fill(self) -> None:
        """Fill `tokens` and `logps` up to the end of each sequence; later entries are ignored."""
        raise NotImplementedError


class CachedBatch(_Batch):
    """With a key-value cache: completions of the same prompt share its prefill."""

    def fill(self) -> None:
        self.arguments = _forward_arguments(self.causal)
        prompts = list(dict.fromkeys(sequence.prompt for sequence in self.sequences))
        rows = [self.prompts[prompt] for prompt in prompts]
        width = len(rows[0])
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        self.mask = torch.zeros(len(rows), width + self.steps, dtype=torch.int64)
        for index, row in enumerate(rows):
            ids[index, width - len(row) :] = torch.from_numpy(np.asarray(row, dtype=np.int64))
            self.mask[index, width - len(row) :] = 1
        self.is_padded = bool((self.mask == 0).any())
        ids, self.mask = ids.to(self.device), self.mask.to(self.device)
        self.cache = new_cache(self.causal.config)
        positions = (self.mask[:, :width].cumsum(dim=1) - 1).clamp(min=0)
        logits = self._forward(ids, positions, width)
        row_of = {prompt: index for index, prompt in enumerate(prompts)}
        expand = torch.tensor([row_of[sequence.prompt] for sequence in self.sequences], device=self.device)
        self.mask, self.prompt_ids = self.mask[expand], ids[expand]
        if len(expand) != len(rows):
            select_sequences(self.cache, expand)
        self._decode(logits[expand], width, self.mask[:, :width].sum(dim=1, keepdim=True))

    def _decode(self, logits: torch.Tensor, width: int, positions: torch.Tensor) -> None:
        """Decode token by token. `active` holds the indices of the sequences that have a row in the cache."""
        active = torch.arange(len(self.sequences), device=self.device)
        ended = torch.zeros_like(active, dtype=torch.bool)
        interval = STEPS_BETWEEN_CHECKS.get(self.device.type, 1)
        for step in range(self.steps):
            ids = None
            if self.decoder.processors is not None:
                ids = torch.cat([self.prompt_ids[active], self.tokens[active, :step]], dim=1)
            tokens, logps = self.decoder.choose(logits, self.uniform[active, step], self.greedy, ids)
            self.tokens[active, step], self.logps[active, step] = tokens, logps.float()
            ended |= torch.isin(tokens, self.end_tokens)
            if step + 1 == self.steps:
                return
            remaining = len(active) - int(ended.sum()) if (step + 1) % interval == 0 else len(active)
            if not remaining:
                return
            if remaining <= (1 - REPACK_SHARE) * len(active):
                rows = torch.nonzero(~ended).squeeze(1)
                active, tokens, positions, ended = active[rows], tokens[rows], positions[rows], ended[rows]
                self.mask = self.mask[rows]
                select_sequences(self.cache, rows)
            logits = self._forward(tokens[:, None], positions, width + step + 1)
            positions = positions + 1

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, length: int) -> torch.Tensor:
        """The logits (sequences, vocabulary) after the last of these ids, when `length` positions are in the cache."""
        inputs: dict[str, Any] = {"input_ids": ids, "past_key_values": self.cache, "use_cache": True}
        if self.is_padded:
            inputs["attention_mask"] = self.mask[:, :length]
        if "position_ids" in self.arguments:
            inputs["position_ids"] = positions
        if "logits_to_keep" in self.arguments:
            inputs["logits_to_keep"] = 1
        return self.causal(**inputs).logits[:, -1]


class GenerateBatch(_Batch):
    """With the model's own generate(), for models with another kind of state. All prompts have the same length."""

    def fill(self) -> None:
        rows = [self.prompts[sequence.prompt] for sequence in self.sequences]
        ids = torch.from_numpy(np.stack(rows).astype(np.int64)).to(self.device)
        self.causal.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self.steps,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.decoder.end_tokens or None,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([ForcedTokenProcessor(self, ids.shape[1])]),
        )


class ForcedTokenProcessor(LogitsProcessor):
    """Makes generate() take the token that the decoder chose: all other logits become -inf."""

    def __init__(self, batch: _Batch, width: int) -> None:
        self.batch, self.width = batch, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        batch, step = self.batch, input_ids.shape[1] - self.width
        tokens, logps = batch.decoder.choose(scores, batch.uniform[:, step], batch.greedy, input_ids)
        batch.tokens[:, step], batch.logps[:, step] = tokens, logps.float()
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)
