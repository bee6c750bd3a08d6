"""Patch a decoder with a score head so that it can be called with a flat batch and scores each answer.

An answer's score is read at its last token that is not the padding token, as the model's own forward does.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from autotrain_llm.run.engine.flat.batch import Segments
from autotrain_llm.run.engine.flat.model import FlatOutput, causal_model, hidden_states, install, supported


def prepare_classifier(model: torch.nn.Module, own_attention: str | None = None) -> torch.nn.Module:
    """Let `model` be called with `input_ids`, `position_ids`, `segments` and `ends`, the index in the stream of each answer's last token.

    Returns the same model; `release_model` and `switch` work for it too. Raises ValueError for an architecture that is not allowed, and
    for a classifier whose head is anything but one linear map called `score`.
    """
    classifier = causal_model(model)
    fits, reason = supported(classifier.config)
    if not fits:
        raise ValueError(reason)
    if "score" not in dict(classifier.named_children()):
        raise ValueError(f"{type(classifier).__name__} has no head called score on its backbone")
    return install(model, _scores, own_attention)


def _scores(
    classifier: PreTrainedModel,
    segments: Segments,
    *,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    ends: torch.Tensor,
    **unused: Any,
) -> FlatOutput:
    hidden = hidden_states(classifier, segments, input_ids, position_ids).index_select(0, ends)
    head: Any = classifier.get_submodule("score")
    # In half precision the difference of two scores would lose most of its digits, and float32 costs nothing: the head is one row.
    with torch.autocast(hidden.device.type, enabled=False):
        scores = head(hidden.to(next(head.parameters()).dtype))
    return FlatOutput(scores=scores[:, 0] if scores.shape[1] == 1 else scores)
