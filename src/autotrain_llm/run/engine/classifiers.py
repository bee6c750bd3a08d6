"""Models that score a text: how they are loaded, and their batches: one flat stream, or padded for encoders and other architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForSequenceClassification

from autotrain_llm.models.locate import ADAPTER, ADAPTER_CONFIG, HUB, Located, read_json
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.flat.classifier import prepare_classifier
from autotrain_llm.run.engine.flat.model import FlatOutput
from autotrain_llm.run.engine.layouts import Flat, Padded, PromptGroup
from autotrain_llm.run.engine.loading import from_located

FORWARD_INPUTS = ("input_ids", "position_ids", "segments", "ends")


class FlatScores(Flat):
    """Answers as segments of one stream, each scored at its last token."""

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
    """Answers under one another, each padded on the right; the model's own forward scores them."""

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        scores = scores.index_select(0, batch["answer_rows"])
        return FlatOutput(scores=scores if scores.dtype == torch.float64 else scores.float())


def _last(ids: torch.Tensor, pad_token: int) -> int:
    """The place of the last token that is not the padding token, where transformers' classifiers read their score."""
    places = torch.nonzero(ids != pad_token)
    return int(places[-1]) if len(places) else len(ids) - 1


HEADS = ("score", "classifier")  # by which name a head goes: PEFT trains and saves these by itself


def load_classifier(
    located: Located, dtype: torch.dtype, options: Mapping[str, Any], *, trainable_adapter: bool = False
) -> tuple[Any, list[str]]:
    """The classifier of one label at a place, and which modules beside its head got new weights because the files hold none.

    An adapter that scores is put on its base, to go on training or merged; one that generates is merged, and its model gets a head.
    """
    if located.kind == ADAPTER and located.base is not None:
        if not _scores(located):
            return _with_head(from_located(located, dtype, options)), []
        base, _ = load_classifier(located.base, dtype, options)
        model = PeftModel.from_pretrained(base, str(located.folder), is_trainable=trainable_adapter)
        return (model if trainable_adapter else model.merge_and_unload()), []
    source = located.name if located.kind == HUB else str(located.folder)
    from_pretrained_options = (
        options if located.kind == HUB else {name: value for name, value in options.items() if name != "revision"}
    )
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        num_labels=1,
        ignore_mismatched_sizes=True,  # a head of several labels makes way for a new one
        output_loading_info=True,
        **from_pretrained_options,
    )
    missing = {name.rpartition(".")[0] for name in loading["missing_keys"]}
    return model, sorted(name for name in missing if name.partition(".")[0] not in HEADS)


def _scores(located: Located) -> bool:
    """Whether an adapter was made for a classifier."""
    config = read_json(Path(str(located.folder)) / ADAPTER_CONFIG) or {}
    return config.get("task_type") == "SEQ_CLS"


def _with_head(generator: Any) -> Any:
    """A classifier of one label on the layers of a model that generates."""
    config = generator.config
    config.num_labels = 1
    scorer = AutoModelForSequenceClassification.from_config(config, dtype=generator.dtype)
    scorer.base_model.load_state_dict(generator.base_model.state_dict())
    return scorer
