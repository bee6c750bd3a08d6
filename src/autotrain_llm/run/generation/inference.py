"""`--inference`: a finished model's completions of prompts, or a reward model's scores of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.example import Example
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.run.algorithms.reward import scoring
from autotrain_llm.run.engine.classifiers import load_classifier
from autotrain_llm.run.engine.loading import from_located
from autotrain_llm.run.generation.answering import BATCH, AnsweringModel, device_and_dtype, loading_options
from autotrain_llm.run.generation.prompts import read_instructions, read_prompts, shown
from autotrain_llm.run.generation.rendering import encode_prompts, rendering_of


@dataclass(frozen=True)
class Answer:
    """A prompt with its completion, its score, or several outputs by name: scores, or the probabilities of classes."""

    prompt: str
    text: str | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        if self.text is not None:
            return {"prompt": self.prompt, "text": self.text}
        return {"prompt": self.prompt, **({"score": self.score} if self.scores is None else {"scores": self.scores})}


@dataclass(frozen=True)
class Answers:
    """The answers, generated lazily, and the findings about prompts that were left out."""

    findings: tuple[Finding, ...]
    each: Iterator[Answer]


def infer(context: RunContext) -> Answers:
    """Answer the prompts of a checked command, in order. Raises Refused for prompts that can't be read."""
    config, metadata, tokenizer = context.config, context.model, context.tokenizer
    assert metadata is not None and tokenizer is not None
    rendering = rendering_of(config, tokenizer, metadata)
    if rendering.writes_instructions and not metadata.is_classifier:
        prompts, findings = read_instructions(config)
    else:
        prompts, findings = read_prompts(config, "conversations" if metadata.is_classifier else "prompts")
    findings += rendering.findings(prompts, str(config.model))
    ids = encode_prompts(prompts, rendering, tokenizer, metadata)
    device, dtype = device_and_dtype(config, context)
    options = loading_options(config, context.token)
    if metadata.is_classifier:
        names = metadata.score_names
        scorer, _ = load_classifier(metadata.located, dtype, options, num_labels=len(names))
        pad_token = scorer.config.get_text_config().pad_token_id
        scores = scoring.scores(scorer.to(device).eval(), ids, _padding(tokenizer) if pad_token is None else pad_token)
        return Answers(findings, _scored(prompts, scores, metadata))
    causal = from_located(metadata.located, dtype, options).to(device).eval()
    return Answers(
        findings, _complete(AnsweringModel(causal, config, metadata.context_length), tokenizer, prompts, ids)
    )


def _scored(prompts: Sequence[Example], outputs: Iterable[list[float]], metadata: ModelMetadata) -> Iterator[Answer]:
    """Each prompt with its score; with several outputs, the scores by their names, or the probabilities of the classes."""
    names = metadata.score_names
    for prompt, values in zip(prompts, outputs, strict=True):
        if len(names) == 1:
            yield Answer(shown(prompt), score=values[0])
        else:
            given = values if metadata.gives_scores else torch.tensor(values).double().softmax(-1).tolist()
            yield Answer(shown(prompt), scores=dict(zip(names, given, strict=True)))


def _complete(
    model: AnsweringModel, tokenizer: Tokenizer, prompts: Sequence[Example], ids: Sequence[list[int]]
) -> Iterator[Answer]:
    """Completions, batch by batch, in the order of the prompts."""
    for start in range(0, len(ids), BATCH):
        samples = model.answer(ids[start : start + BATCH])
        for prompt, sample in zip(prompts[start : start + BATCH], samples, strict=True):
            yield Answer(shown(prompt), text=tokenizer.decode(sample.completion.tolist(), skip_special_tokens=True))


def _padding(tokenizer: Tokenizer) -> int:
    """A token for padding; any will do, because it is masked."""
    return next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)
