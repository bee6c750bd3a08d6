"""How rows of tokens become the model's input: one flat stream, or padded where an architecture is not known to keep rows apart.

Both give the objective the same thing: for each token to predict, its log-probability, and the number of the answer it belongs to.
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
from autotrain_llm.run.engine.flat.model import DISTILLED, HIDDEN, FlatOutput, prepare_model, switch
from autotrain_llm.run.engine.padded import of_targets

IGNORED = -100
OF_THE_CALL = ("input_ids", "position_ids", "segments", "target_positions", "target_labels")


@dataclass(frozen=True)
class Family:
    """Answers to one prompt, each a row that goes on where the prompt's ids end.

    One that `counts` for nothing takes part in a step, because every process has to, and has no answer in it.
    """

    prompt: np.ndarray
    answers: tuple[Row, ...]
    counts: bool = True

    def rows(self) -> list[Row]:
        """Each answer with the prompt before it."""
        unseen = np.zeros(len(self.prompt), dtype=bool)
        return [
            (np.concatenate([self.prompt, ids]), np.concatenate([unseen, trained]) & self.counts)
            for ids, trained in self.answers
        ]


class Layout(Protocol):
    """`collate` makes a batch of rows, or of families; `forward` calls the wrapped model with it; `for_generation` makes the model what generate() needs.

    A batch holds the number of its `tokens` and of the padded positions it `spared`. Its `answers` are the rows, or the answers of the
    families that count, one family after the other; `target_answers` says for each token to predict which of them it belongs to, and
    `answer_rows` for each of them which row it ends.
    """

    name: str

    def collate(self, items: Sequence[Row] | Sequence[Family]) -> dict[str, Any]: ...

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput: ...

    def for_generation(self, model: nn.Module, on: bool) -> None: ...


class Flat:
    """Rows as segments of one stream: no padding, attention inside each row, the head only where something is predicted."""

    name = "flat"

    def __init__(self, model: nn.Module, attention: str | None = None) -> None:
        prepare_model(model, attention)

    def collate(self, items: Sequence[Row] | Sequence[Family]) -> dict[str, Any]:
        rows, families = _taken_apart(items)
        segments, continues, answers = _segments(families) if _worth_sharing(families) else (rows, None, None)
        batch = flatten(segments, continues)
        batch["tokens"] = int(batch["input_ids"].numel())
        batch["spared"] = len(rows) * max(len(ids) for ids, _ in rows) - batch["tokens"]
        numbers = _answer_numbers(families) if answers is None else answers
        batch["target_answers"] = torch.tensor(numbers)[batch["target_segments"]]
        batch["answers"] = max(numbers) + 1
        batch["answer_rows"] = _rows_of_answers(numbers)
        return batch

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        lesson = {"lesson": batch["lesson"]} if compute == DISTILLED else {}
        return model(**{name: batch[name] for name in OF_THE_CALL}, **lesson, compute=compute)

    def for_generation(self, model: nn.Module, on: bool) -> None:
        switch(model, on=not on)


class Padded:
    """Rows under one another, each padded on the right to the longest."""

    name = "padded"

    def __init__(self, pad_token: int) -> None:
        self.pad_token = pad_token

    def collate(self, items: Sequence[Row] | Sequence[Family]) -> dict[str, Any]:
        rows, families = _taken_apart(items)
        numbers = _answer_numbers(families)
        longest = max(len(ids) for ids, _ in rows)
        input_ids = np.full((len(rows), longest), self.pad_token, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        labels = np.full((len(rows), longest), IGNORED, dtype=np.int64)
        for number, (ids, trained) in enumerate(rows):
            length = len(ids)
            input_ids[number, :length] = ids
            mask[number, :length] = 1
            labels[number, : length - 1] = np.where(trained[1:], ids[1:], IGNORED)
        flat = labels.reshape(-1)
        positions = np.flatnonzero(flat != IGNORED)
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(mask),
            "target_positions": torch.from_numpy(positions),
            "target_labels": torch.from_numpy(flat[positions]),
            "target_answers": torch.tensor(numbers)[torch.from_numpy(positions // longest)],
            "answers": max(numbers) + 1,
            "answer_rows": _rows_of_answers(numbers),
            "tokens": int(mask.sum()),
            "spared": 0,
        }

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        if compute in (DISTILLED, HIDDEN):
            return of_targets(model, batch, compute)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        chosen = logits.reshape(-1, logits.shape[-1]).index_select(0, batch["target_positions"])
        chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
        logprobs = torch.log_softmax(chosen, dim=-1)
        labels = batch["target_labels"]
        picked = logprobs.gather(1, labels[:, None]).squeeze(1)
        return FlatOutput(loss=-picked.sum(), logprobs=picked, correct=chosen.detach().argmax(-1) == labels)

    def for_generation(self, model: nn.Module, on: bool) -> None:
        """A padded model is as generate() needs it."""


def prepared_as(layout: Layout, model: nn.Module) -> nn.Module:
    """A second model, to be called with the batches of this layout."""
    return prepare_model(model) if isinstance(layout, Flat) else model


NO_PROMPT = np.zeros(0, dtype=np.int32)


def _taken_apart(items: Sequence[Row] | Sequence[Family]) -> tuple[list[Row], list[Family]]:
    """The rows that the items come to, and the items as families: a row is one that has no prompt."""
    families = [item if isinstance(item, Family) else Family(NO_PROMPT, (item,)) for item in items]
    return [row for family in families for row in family.rows()], families


def _answer_numbers(families: Sequence[Family]) -> list[int]:
    """For each row, the number of its answer among those that count."""
    numbers, count = [], 0
    for family in families:
        for _ in family.answers:
            numbers.append(count if family.counts else -1)
            count += family.counts
    return numbers


def _rows_of_answers(numbers: Sequence[int]) -> torch.Tensor:
    """For each answer that counts, the segment of the stream, or the padded row, that it ends."""
    return torch.tensor([row for row, number in enumerate(numbers) if number >= 0], dtype=torch.int64)


def _worth_sharing(families: Sequence[Family]) -> bool:
    """Whether the prompts that would be computed again make up enough of the batch."""
    again = sum(len(family.prompt) * (len(family.answers) - 1) for family in families)
    once = sum(len(family.prompt) + sum(len(ids) for ids, _ in family.answers) for family in families)
    return again > SHARED_FROM * (again + once)


def _segments(families: Sequence[Family]) -> tuple[list[Row], list[int], list[int]]:
    """Each prompt followed by the answers that continue it: rows, which row each continues, and the number of its answer."""
    rows: list[Row] = []
    continues: list[int] = []
    answers: list[int] = []
    numbers = iter(_answer_numbers(families))
    for family in families:
        parent, own = STANDS_ALONE, family.rows()
        if len(family.prompt) and len(own) > 1:
            parent, own = len(rows), [(ids, np.asarray(trained) & family.counts) for ids, trained in family.answers]
            rows.append((family.prompt, np.zeros(len(family.prompt), dtype=bool)))
            continues.append(STANDS_ALONE)
            answers.append(-1)
        rows += own
        continues += [parent] * len(own)
        answers += [next(numbers) for _ in own]
    return rows, continues, answers
