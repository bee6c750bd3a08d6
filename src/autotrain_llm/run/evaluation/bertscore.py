"""BERTScore with any encoder: the maximal cosine similarity of each token with the tokens of the other text."""

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

    As in the authors' bert-score 0.3.13: special tokens can be matched but are not averaged over, and an empty answer scores 0. F is
    computed per row, and all three are means over rows. `model` is a folder or a Hub id, `layer` the layer, from 1, whose outputs are
    compared.
    """

    def __init__(self, model: str, layer: int, device: str | torch.device = "cpu", **options: Any) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model, **options)
        self.encoder = AutoModel.from_pretrained(model, use_safetensors=True, **options).to(device).eval()
        self.layer = layer
        self.longest = min(self.tokenizer.model_max_length, 512)
        self.sums = np.zeros(len(KINDS) + 1)

    def to(self, device: torch.device) -> None:
        """Move the encoder to a device."""
        self.encoder.to(device)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        rows = []
        for start in range(0, len(answers), BATCH):
            sides = (self._embed(texts[start : start + BATCH]) for texts in (answers, references))
            rows += [_compare(*pair) for pair in zip(*sides, strict=True)]
        for row in rows:
            self.sums += [*row.values(), 1]
        return rows

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """For each text, the normalised hidden states (tokens, H) and which tokens are not special (tokens,)."""
        batch = self.tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_special_tokens_mask=True,
        ).to(self.encoder.device)
        special = batch.pop("special_tokens_mask").bool()
        with torch.autocast(
            self.encoder.device.type, enabled=False
        ):  # in its own dtype, whatever the training's autocast
            hidden = self.encoder(**batch, output_hidden_states=True).hidden_states[self.layer]
        masks, states = batch["attention_mask"].bool(), normalize(hidden.float(), dim=-1)
        return [(row[mask], ~is_special[mask]) for row, mask, is_special in zip(states, masks, special, strict=True)]

    def result(self) -> dict[str, float]:
        return means(KINDS, self.sums)


def _compare(
    embedded_answer: tuple[torch.Tensor, torch.Tensor], embedded_reference: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, float]:
    """Precision, recall and F of an answer."""
    (answer, answer_tokens), (reference, reference_tokens) = embedded_answer, embedded_reference
    if not answer_tokens.any() or not reference_tokens.any():
        return dict.fromkeys(KINDS, 0.0)
    cosines = answer @ reference.T
    precision = cosines.max(dim=1).values[answer_tokens].mean().item()
    recall = cosines.max(dim=0).values[reference_tokens].mean().item()
    total = precision + recall
    return dict(zip(KINDS, (precision, recall, 2 * precision * recall / total if total else 0.0), strict=True))


def of_plan(plan: BertScorePlan) -> BertScore:
    """The BERTScore with the plan's encoder and layer."""
    assert plan.layer is not None
    options = {"cache_dir": plan.cache_dir} if plan.cache_dir else {}
    return BertScore(plan.model, plan.layer, local_files_only=plan.offline, **options)
