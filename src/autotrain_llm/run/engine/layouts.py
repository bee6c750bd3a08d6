"""Batch layouts: rows as one flat sequence, or padded for architectures without known support for the flat one.

Both give the objective the same: for each target token its log-probability, and the index of the answer it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from autotrain_llm.data.order import SHARED_FROM
from autotrain_llm.run.engine.flat.batch import STANDS_ALONE, Row, flatten
from autotrain_llm.run.engine.flat.context_parallel import ContextParallel
from autotrain_llm.run.engine.flat.model import DISTILLED, HIDDEN, FlatOutput, prepare_model, switch
from autotrain_llm.run.engine.flat.tiled_head import Head, label_logprobs, weighted
from autotrain_llm.run.engine.padded import call_padded
from autotrain_llm.run.engine.router_loss import router_loss

IGNORED = -100
TARGET_WEIGHTS = "target_weights"  # of each target in the loss; not in a batch whose targets all have weight 1
FORWARD_INPUTS = ("input_ids", "position_ids", "segments", "target_positions", "target_labels")


@dataclass(frozen=True)
class PromptGroup:
    """The answers to one prompt, each a row that continues the prompt's ids.

    A padding group has no trained tokens: it lets a process without rows take part in a step.
    """

    prompt: np.ndarray
    answers: tuple[Row, ...]
    is_padding: bool = False

    def rows(self) -> list[Row]:
        """Each answer, preceded by the prompt."""
        prompt_mask = np.zeros(len(self.prompt), dtype=bool)
        return [
            (np.concatenate([self.prompt, ids]), np.concatenate([prompt_mask, loss_mask]) & (not self.is_padding))
            for ids, loss_mask in self.answers
        ]


class BatchLayout(Protocol):
    """How rows or prompt groups become a batch, and how a model is called with it.

    A batch contains the number of its `tokens`, the number of `padding_tokens_saved` by the layout, and the number of its `answers`: the
    rows, or the answers of all prompt groups but padding ones. `target_answers` is the answer that each target belongs to, `answer_rows`
    the row that each answer ends.
    """

    name: str
    divides: int  # how many processes divide the tokens of each batch

    def collate(self, items: Sequence[Row] | Sequence[PromptGroup]) -> dict[str, Any]:
        """A batch of these rows or prompt groups."""
        ...

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        """Call the model, wrapped or not; `compute` says which outputs are needed (`flat.model`)."""
        ...

    def for_generation(self, model: nn.Module, on: bool) -> None:
        """Prepare the model for generate(), or with `on` False for training again."""
        ...


class Flat:
    """Rows as segments of one flat sequence: no padding, attention within each row, the head at targets only."""

    name = "flat"

    # Those of a layout that builds on this one and is not divided, as that of classifiers.
    divides: int = 1
    context_parallel: ContextParallel | None = None

    def __init__(self, model: nn.Module, attention: str | None = None, divides: int = 1) -> None:
        prepare_model(model, attention)
        self.divides = divides
        self.context_parallel = ContextParallel(divides) if divides > 1 else None

    def collate(self, items: Sequence[Row] | Sequence[PromptGroup]) -> dict[str, Any]:
        rows, prompt_groups = _rows_and_groups(items)
        segments, continues, answers = _segments(prompt_groups) if _worth_sharing(prompt_groups) else (rows, None, None)
        batch = flatten(segments, continues)
        batch["tokens"] = int(batch["input_ids"].numel())
        batch["padding_tokens_saved"] = len(rows) * max(len(ids) for ids, _ in rows) - batch["tokens"]
        answers = _answer_indices(prompt_groups) if answers is None else answers
        batch["target_answers"] = torch.tensor(answers)[batch["target_segments"]]
        batch["answers"] = max(answers) + 1
        batch["answer_rows"] = _rows_of_answers(answers)
        return self.context_parallel.own_part(batch) if self.context_parallel else batch

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        inputs = {name: batch[name] for name in FORWARD_INPUTS} | {TARGET_WEIGHTS: batch.get(TARGET_WEIGHTS)}
        distill_target = {"distill_target": batch["distill_target"]} if compute == DISTILLED else {}
        return model(**inputs, **distill_target, compute=compute)

    def for_generation(self, model: nn.Module, on: bool) -> None:
        switch(model, on=not on)


class Padded:
    """Rows padded on the right to the longest."""

    name = "padded"
    divides = 1

    def __init__(self, pad_token: int) -> None:
        self.pad_token = pad_token

    def collate(self, items: Sequence[Row] | Sequence[PromptGroup]) -> dict[str, Any]:
        rows, prompt_groups = _rows_and_groups(items)
        answers = _answer_indices(prompt_groups)
        longest = max(len(ids) for ids, _ in rows)
        input_ids = np.full((len(rows), longest), self.pad_token, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        labels = np.full((len(rows), longest), IGNORED, dtype=np.int64)
        for index, (ids, loss_mask) in enumerate(rows):
            length = len(ids)
            input_ids[index, :length] = ids
            mask[index, :length] = 1
            labels[index, : length - 1] = np.where(loss_mask[1:], ids[1:], IGNORED)
        flat = labels.reshape(-1)
        positions = np.flatnonzero(flat != IGNORED)
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(mask),
            "target_positions": torch.from_numpy(positions),
            "target_labels": torch.from_numpy(flat[positions]),
            "target_answers": torch.tensor(answers)[torch.from_numpy(positions // longest)],
            "answers": max(answers) + 1,
            "answer_rows": _rows_of_answers(answers),
            "tokens": int(mask.sum()),
            "padding_tokens_saved": 0,
        }

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        if compute in (DISTILLED, HIDDEN):
            return call_padded(model, batch, compute)
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        logits = outputs.logits
        target_logits = logits.reshape(-1, logits.shape[-1]).index_select(0, batch["target_positions"])
        logprobs, correct = label_logprobs(target_logits, Head(None), batch["target_labels"])
        loss = -weighted(logprobs, batch.get(TARGET_WEIGHTS)).sum()
        return FlatOutput(loss=loss, logprobs=logprobs, correct=correct, router_loss=router_loss(outputs))

    def for_generation(self, model: nn.Module, on: bool) -> None:
        """Nothing to do: the model's forward is its own."""


def prepare_second_model(layout: BatchLayout, model: nn.Module) -> nn.Module:
    """Let a second model be called with the batches of this layout; returns it."""
    return prepare_model(model) if isinstance(layout, Flat) else model


NO_PROMPT = np.zeros(0, dtype=np.int32)


def _rows_and_groups(items: Sequence[Row] | Sequence[PromptGroup]) -> tuple[list[Row], list[PromptGroup]]:
    """The rows of the items, and the items as prompt groups: a row is a group without a prompt."""
    prompt_groups = [item if isinstance(item, PromptGroup) else PromptGroup(NO_PROMPT, (item,)) for item in items]
    return [row for prompt_group in prompt_groups for row in prompt_group.rows()], prompt_groups


def _answer_indices(prompt_groups: Sequence[PromptGroup]) -> list[int]:
    """For each row, the index of its answer among those of all groups but padding ones, else -1."""
    indices, count = [], 0
    for prompt_group in prompt_groups:
        for _ in prompt_group.answers:
            indices.append(-1 if prompt_group.is_padding else count)
            count += not prompt_group.is_padding
    return indices


def _rows_of_answers(answers: Sequence[int]) -> torch.Tensor:
    """For each answer but padding ones, the index of the segment, or of the padded row, that it ends."""
    return torch.tensor([row for row, answer in enumerate(answers) if answer >= 0], dtype=torch.int64)


def _worth_sharing(prompt_groups: Sequence[PromptGroup]) -> bool:
    """Whether repeated prompt tokens are a large enough part of the batch to compute each prompt once."""
    repeated = sum(len(prompt_group.prompt) * (len(prompt_group.answers) - 1) for prompt_group in prompt_groups)
    once = sum(
        len(prompt_group.prompt) + sum(len(ids) for ids, _ in prompt_group.answers) for prompt_group in prompt_groups
    )
    return repeated > SHARED_FROM * (repeated + once)


def _segments(prompt_groups: Sequence[PromptGroup]) -> tuple[list[Row], list[int], list[int]]:
    """Each shared prompt followed by its answers: the rows, the row that each one continues, and the index of its answer (-1 for prompts)."""
    rows: list[Row] = []
    continues: list[int] = []
    answers: list[int] = []
    indices = iter(_answer_indices(prompt_groups))
    for prompt_group in prompt_groups:
        parent, own = STANDS_ALONE, prompt_group.rows()
        if len(prompt_group.prompt) and len(own) > 1:
            parent = len(rows)
            own = [(ids, np.asarray(mask) & (not prompt_group.is_padding)) for ids, mask in prompt_group.answers]
            rows.append((prompt_group.prompt, np.zeros(len(prompt_group.prompt), dtype=bool)))
            continues.append(STANDS_ALONE)
            answers.append(-1)
        rows += own
        continues += [parent] * len(own)
        answers += [next(indices) for _ in own]
    return rows, continues, answers
