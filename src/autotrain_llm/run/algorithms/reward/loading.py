"""Load or make a model that scores: a classifier of one label, its head kept where it has one and new from the run's seed where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForSequenceClassification, set_seed
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.context.run_context import RunContext
from autotrain_llm.models.locate import ADAPTER, ADAPTER_CONFIG, HUB, Located, read_json
from autotrain_llm.planning.make import Plan
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.loading import (
    Loaded,
    dtype_of,
    from_located,
    load_tokenizer,
    loading_options,
    loading_type,
    lora_config,
)
from autotrain_llm.trainers.reward import Reward

HEADS = ("score", "classifier")  # by which name a head goes: PEFT trains and saves these by itself


def load_scorer(plan: Plan, context: RunContext) -> Loaded:
    """The scorer in the type it is trained in, as `run.model.load` has it for models that generate; its head always in float32."""
    set_seed(plan.seed)
    tokenizer = load_tokenizer(plan, context)
    if context.is_scratch:
        return Loaded(_new(plan, tokenizer), tokenizer, torch.float32)
    located = context.model.located if context.model else None
    assert located is not None
    model, new = scorer_at(
        located, loading_type(plan), loading_options(plan, context.token), trainable_adapter=plan.adapter is not None
    )
    saved_as = dtype_of(located) or torch.float32
    causal_model(model).config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if plan.model["quantization"]:
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
        LlamaConfig(**{**plan.model["shape"], **ids, "num_labels": plan.model["scores"]})
    )


def _lora(adapter: Mapping[str, Any], new: Iterable[str]) -> LoraConfig:
    """The adapter's configuration; what is new beneath it is trained as a whole and saved with it, or the scores could not be had again."""
    config = lora_config(adapter)
    config.task_type = "SEQ_CLS"
    config.modules_to_save = list(new) or None
    config.exclude_modules = list(new) or None
    return config


def scorer_at(
    located: Located, dtype: torch.dtype, options: Mapping[str, Any], *, trainable_adapter: bool = False
) -> tuple[Any, list[str]]:
    """The classifier of one label at a place, and which modules beside its head got new weights because the files hold none.

    An adapter that scores is put on its base, to go on training or merged; one that generates is merged, and its model gets a head.
    """
    if located.kind == ADAPTER and located.base is not None:
        if not _scores(located):
            return _with_head(from_located(located, dtype, options)), []
        base, _ = scorer_at(located.base, dtype, options)
        model = PeftModel.from_pretrained(base, str(located.folder), is_trainable=trainable_adapter)
        return (model if trainable_adapter else model.merge_and_unload()), []
    source = located.name if located.kind == HUB else str(located.folder)
    kept = options if located.kind == HUB else {name: value for name, value in options.items() if name != "revision"}
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        num_labels=1,
        ignore_mismatched_sizes=True,  # a head of several labels makes way for a new one
        output_loading_info=True,
        **kept,
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
    config[Reward].num_labels = 1
    scorer = AutoModelForSequenceClassification.from_config(config, dtype=generator.dtype)
    scorer.base_model.load_state_dict(generator.base_model.state_dict())
    return scorer
