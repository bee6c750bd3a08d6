"""BERTScore over any encoder: each token's cosine with the nearest token of the other text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from autotrain_llm.planning.plan import BertScorePlan
from autotrain_llm.run.evaluation.scores import means

KINDS = ("bertscore_precision", "bertscore_recall", "bertscore")
BATCH = 32


class BertScore:
    """Precision, recall and F (Zhang et al. 2020, arXiv:1904.09675) without idf weights and without rescaling; F is `bertscore`.

    As in the authors' bert-score 0.3.13: a token counts the largest cosine it has with any token of the other text, the tokenizer's marks
    around a text can be met and don't count themselves, and an empty answer scores 0. F is taken for each row, and all three are means
    over rows. `model` names a folder or a Hub id, `layer` the layer from 1 whose outputs are compared.
    """

    def __init__(self, model: str, layer: int, device: str | torch.device = "cpu", **options: Any) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model, **options)
        self.encoder = AutoModel.from_pretrained(model, use_safetensors=True, **options).to(device).eval()
        self.layer = layer
        self.longest = min(self.tokenizer.model_max_length, 512)
        self.sums = np.zeros(len(KINDS) + 1)

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self.encoder.to(device)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        rows = []
        for start in range(0, len(answers), BATCH):
            said, wanted = (self._embedded(texts[start : start + BATCH]) for texts in (answers, references))
            rows += [_compare(*pair) for pair in zip(said, wanted, strict=True)]
        for row in rows:
            self.sums += [*row.values(), 1]
        return rows

    @torch.inference_mode()
    def _embedded(self, texts: Sequence[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each text the directions of its tokens (tokens, H), and which of them are not marks (tokens,)."""
        batch = self.tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_special_tokens_mask=True,
        ).to(self.encoder.device)
        marks = batch.pop("special_tokens_mask").bool()
        with torch.autocast(self.encoder.device.type, enabled=False):  # in its own type, whatever the model trains in
            hidden = self.encoder(**batch, output_hidden_states=True).hidden_states[self.layer]
        there, directions = batch["attention_mask"].bool(), normalize(hidden.float(), dim=-1)
        return [(row[kept], ~mark[kept]) for row, kept, mark in zip(directions, there, marks, strict=True)]

    def result(self) -> dict[str, float]:
        return means(KINDS, self.sums)


def _compare(said: tuple[torch.Tensor, torch.Tensor], wanted: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """Precision, recall and F of one answer."""
    (answer, of_answer), (reference, of_reference) = said, wanted
    if not of_answer.any() or not of_reference.any():
        return dict.fromkeys(KINDS, 0.0)
    cosines = answer @ reference.T
    precision = cosines.max(dim=1).values[of_answer].mean().item()
    recall = cosines.max(dim=0).values[of_reference].mean().item()
    both = precision + recall
    return dict(zip(KINDS, (precision, recall, 2 * precision * recall / both if both else 0.0), strict=True))


def of_plan(decided: BertScorePlan) -> BertScore:
    """The score that a plan's `bertscore` describes."""
    assert decided.layer is not None
    options = {"cache_dir": decided.cache_dir} if decided.cache_dir else {}
    return BertScore(decided.model, decided.layer, local_files_only=decided.offline, **options)
