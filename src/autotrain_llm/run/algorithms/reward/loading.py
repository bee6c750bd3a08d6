"""Load or make a classifier of one label; its head is kept if it has one, else initialised from the seed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import LlamaConfig, LlamaForSequenceClassification, set_seed
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.models.locate import SCRATCH
from autotrain_llm.planning.plan import AdapterPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.classifiers import HEADS, load_classifier
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.loading import (
    Loaded,
    dtype_of,
    load_tokenizer,
    loading_options,
    loading_type,
    lora_config,
)


def load_classifier_to_train(plan: Plan, inputs: RunInputs) -> Loaded:
    """The classifier in the dtype it is trained in, as `run.engine.loading.load` has it for causal models; its head always in float32."""
    set_seed(plan.seed)
    tokenizer = load_tokenizer(plan, inputs)
    if plan.model.kind == SCRATCH:
        return Loaded(_new(plan, tokenizer), tokenizer, torch.float32)
    located = inputs.model.located if inputs.model else None
    assert located is not None
    model, new = load_classifier(
        located, loading_type(plan), loading_options(plan, inputs.token), trainable_adapter=plan.adapter is not None
    )
    saved_as = dtype_of(located) or torch.float32
    causal_model(model).config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if plan.model.quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if plan.adapter and not isinstance(model, PeftModel):
        model = get_peft_model(model, _lora(plan.adapter, new), autocast_adapter_dtype=True)
    for name, module in causal_model(model).named_children():
        if name in HEADS:
            module.float()
    return Loaded(model, tokenizer, saved_as)


def _new(plan: Plan, tokenizer: PreTrainedTokenizerBase) -> LlamaForSequenceClassification:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return LlamaForSequenceClassification(
        LlamaConfig(**{**(plan.model.shape or {}), **ids, "num_labels": plan.model.scores})
    )


def _lora(adapter: AdapterPlan, new: Iterable[str]) -> LoraConfig:
    """The adapter's configuration. Modules with new weights are trained whole and saved with the adapter: without them the scores could not be
    reproduced."""
    config = lora_config(adapter)
    config.task_type = "SEQ_CLS"
    config.modules_to_save = list(new) or None
    config.exclude_modules = list(new) or None
    return config
