"""Load or create a reward model: a classifier. A missing head is initialised from the run's seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
    keep_config,
    load_tokenizer,
    loading_dtype,
    loading_options,
    lora_config,
)


def load_classifier_to_train(plan: Plan, inputs: RunInputs) -> Loaded:
    """The reward model in its training dtype, as `engine.loading.load` does for generating models; its head is always float32."""
    set_seed(plan.seed)
    tokenizer = load_tokenizer(plan, inputs)
    if plan.model.kind == SCRATCH:
        new = _new(plan, tokenizer)
        _name_outputs(new, plan)
        keep_config(new)
        return Loaded(new, tokenizer, torch.float32)
    located = inputs.model.located if inputs.model else None
    assert located is not None
    model, new_modules = load_classifier(
        located,
        loading_dtype(plan),
        loading_options(plan, inputs.token),
        trainable_adapter=plan.adapter is not None,
        num_labels=plan.model.scores or 1,
    )
    saved_dtype = dtype_of(located) or torch.float32
    causal_model(model).config.get_text_config().pad_token_id = tokenizer.pad_token_id
    _name_outputs(model, plan)
    keep_config(model)
    if plan.model.quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if plan.adapter and not isinstance(model, PeftModel):
        model = get_peft_model(model, _lora(plan.adapter, model, new_modules), autocast_adapter_dtype=True)
    for name, module in causal_model(model).named_children():
        if name in HEADS:
            module.float()
    return Loaded(model, tokenizer, saved_dtype)


def _name_outputs(model: Any, plan: Plan) -> None:
    """Write the names of several outputs, and what they are, into the model's config."""
    if plan.model.labels is not None:
        config: Any = causal_model(model).config
        config.id2label = dict(enumerate(plan.model.labels))
        config.label2id = {label: at for at, label in config.id2label.items()}
        config.problem_type = plan.model.problem_type


def _new(plan: Plan, tokenizer: PreTrainedTokenizerBase) -> LlamaForSequenceClassification:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return LlamaForSequenceClassification(
        LlamaConfig(**{**(plan.model.shape or {}), **ids, "num_labels": plan.model.scores})
    )


def _lora(adapter: AdapterPlan, model: Any, new_modules: Iterable[str]) -> LoraConfig:
    """The adapter's configuration. Newly initialised modules are fully trained and saved with the adapter, since no file has their weights."""
    config = lora_config(adapter, model)
    config.task_type = "SEQ_CLS"
    config.modules_to_save = list(new_modules) or None
    config.exclude_modules = [*(config.exclude_modules or ()), *new_modules] or None
    return config
