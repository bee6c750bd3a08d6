"""Classifiers, which score texts: loading, and their flat and padded batch layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from autotrain_llm.declare.parts import has_model_in_parts
from autotrain_llm.models.locate import ADAPTER, ADAPTER_CONFIG, HUB, Located, read_json
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.flat.classifier import prepare_classifier
from autotrain_llm.run.engine.flat.model import SCORE_HEADS, FlatOutput
from autotrain_llm.run.engine.layouts import Flat, Padded, PromptGroup
from autotrain_llm.run.engine.loading import from_located, from_parts, source_of, with_adapter

FORWARD_INPUTS = ("input_ids", "position_ids", "segments", "ends")


class FlatScores(Flat):
    """Answers as segments of one flat sequence, each scored at its last token."""

    def __init__(self, model: nn.Module, pad_token: int, attention: str | None = None) -> None:
        prepare_classifier(model, attention)
        self.pad_token = pad_token

    def collate(self, items: Sequence[Row] | Sequence[PromptGroup]) -> dict[str, Any]:
        batch = super().collate(items)
        starts, lengths = batch["segments"].starts, batch["segments"].lengths
        ids = batch["input_ids"][0]
        rows = batch["answer_rows"].tolist()
        batch["ends"] = torch.tensor(
            [starts[row] + _last(ids[starts[row] : starts[row] + lengths[row]], self.pad_token) for row in rows],
            dtype=torch.int64,
        )
        return batch

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        return model(**{name: batch[name] for name in FORWARD_INPUTS})


class PaddedScores(Padded):
    """Answers padded on the right and scored by the model's own forward."""

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        scores = scores[:, 0] if scores.shape[1] == 1 else scores
        scores = scores.index_select(0, batch["answer_rows"])
        return FlatOutput(scores=scores if scores.dtype == torch.float64 else scores.float())


def _last(ids: torch.Tensor, pad_token: int) -> int:
    """The position of the last token that is not padding, where transformers' classifiers read the score."""
    positions = torch.nonzero(ids != pad_token)
    return int(positions[-1]) if len(positions) else len(ids) - 1


HEADS = SCORE_HEADS  # PEFT trains and saves them without being told


def load_classifier(
    located: Located,
    dtype: torch.dtype,
    options: Mapping[str, Any],
    *,
    trainable_adapter: bool = False,
    num_labels: int = 1,
) -> tuple[Any, list[str]]:
    """The classifier with this number of labels, and the names of modules other than its head that were newly initialised.

    A classifier's adapter is loaded onto its base, trainable or merged; a generating model's adapter is merged, and the model gets a head.
    """
    if located.kind == ADAPTER and located.base is not None:
        if not _is_classifier_adapter(located):
            return _with_head(from_located(located, dtype, options), num_labels), []
        base, _ = load_classifier(located.base, dtype, options, num_labels=num_labels)
        return with_adapter(base, located, trainable=trainable_adapter), []
    source, options = source_of(located, options)
    if located.kind != HUB and has_model_in_parts(Path(source)):
        return from_parts(AutoModelForSequenceClassification, Path(source), dtype, options, num_labels=num_labels), []
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        num_labels=num_labels,
        ignore_mismatched_sizes=True,  # a head with another number of labels is replaced
        output_loading_info=True,
        **options,
    )
    missing = {name.rpartition(".")[0] for name in loading["missing_keys"]}
    return model, sorted(name for name in missing if name.partition(".")[0] not in HEADS)


def _is_classifier_adapter(located: Located) -> bool:
    """Whether an adapter is one of a classifier."""
    config = read_json(Path(str(located.folder)) / ADAPTER_CONFIG) or {}
    return config.get("task_type") == "SEQ_CLS"


def _with_head(generator: Any, num_labels: int) -> Any:
    """A classifier with this number of labels on the backbone of a generating model."""
    config = generator.config
    config.num_labels = num_labels
    scorer = AutoModelForSequenceClassification.from_config(config, dtype=generator.dtype)
    # A process that has loaded nothing has nothing to copy.
    has_none = generator.device.type == "meta"
    scorer.base_model.load_state_dict(generator.base_model.state_dict(), assign=has_none)
    return scorer
