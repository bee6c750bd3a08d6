"""Without dropout a model in training mode computes what it computes in evaluation mode, whatever its architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from autotrain_llm.models.architectures import ALLOWED
from autotrain_llm.models.layers import LAYERS
from autotrain_llm.models.metadata import ENCODERS
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import prepare_model
from support.architecture_configs import DECODERS, VOCABULARY, small_config

IDS = torch.arange(1, 33)[None]
RATE = 0.4


def with_dropout(kind: str) -> Any:
    """A small model in training mode in which each rate is high."""
    config = small_config(kind)
    for name, value in list(vars(config).items()):
        if "drop" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, RATE)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).train()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("kind", DECODERS)
def test_two_forward_passes_in_training_mode_are_equal(kind: str) -> None:
    model = with_dropout(kind)
    without_dropout(model)
    first, second = logits(model), logits(model)
    assert torch.equal(first, second)
    assert torch.equal(first, logits(model.eval()))


@pytest.mark.parametrize("kind", ALLOWED)
def test_two_flat_passes_in_training_mode_are_equal(kind: str) -> None:
    model = prepare_model(with_dropout(kind))
    without_dropout(model)
    batch = flatten([(IDS[0].numpy() % VOCABULARY, IDS[0].numpy() > 4)])
    with torch.no_grad():
        first, second = (model(**batch, compute="loss").loss for _ in range(2))
    assert torch.equal(first, second)


def test_every_decoder_whose_layers_are_known_is_tried() -> None:
    decoders = {kind for kind in LAYERS if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in ENCODERS}
    assert decoders <= set(DECODERS)


@pytest.mark.parametrize("kind", ["opt", "xglm", "biogpt", "persimmon", "gpt_bigcode", "falcon", "bloom", "starcoder2"])
def test_dropout_as_a_function_call_is_on_before(kind: str) -> None:
    model = with_dropout(kind)
    assert not torch.equal(logits(model), logits(model))


def test_an_adapter_keeps_its_dropout_unless_it_is_named() -> None:
    model = get_peft_model(with_dropout("llama"), LoraConfig(lora_dropout=RATE, init_lora_weights=False))
    without_dropout(model)
    assert not torch.equal(logits(model), logits(model))
    without_dropout(model, of_adapters=True)
    assert torch.equal(logits(model), logits(model))
