"""Load or create a plan's model and its tokenizer, and add the LoRA adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    set_seed,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.models.checks.generation_config import idle_settings
from autotrain_llm.models.locate import ADAPTER, HUB, SCRATCH, Located
from autotrain_llm.planning.plan import AdapterPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass
class Loaded:
    """A model ready to be trained, its tokenizer, and the dtype its final weights are saved in."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    saved_dtype: torch.dtype

    @property
    def is_adapter(self) -> bool:
        return isinstance(self.model, PeftModel)


def load(plan: Plan, inputs: RunInputs) -> Loaded:
    """The model in the dtype it is trained in: float32 with autocast for full training, the compute dtype for a frozen base."""
    set_seed(plan.seed)  # a new adapter's weights are random
    tokenizer = load_tokenizer(plan, inputs)
    if plan.model.kind == SCRATCH:
        model: Any = new_model(plan.model.shape or {}, tokenizer, plan.seed)
        return Loaded(model, tokenizer, torch.float32)
    located = inputs.model.located if inputs.model else None
    assert located is not None
    frozen = plan.adapter is not None
    dtype = loading_dtype(plan)
    options = loading_options(plan, inputs.token)
    model = from_located(located, dtype, options, trainable_adapter=frozen)
    saved_dtype = dtype_of(located) or torch.float32
    fit_to_tokenizer(model, tokenizer)
    if plan.model.quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if plan.adapter and not isinstance(model, PeftModel):
        model = get_peft_model(model, lora_config(plan.adapter), autocast_adapter_dtype=True)
    return Loaded(model, tokenizer, saved_dtype)


def loading_dtype(plan: Plan) -> torch.dtype:
    """Float32 where all of a model is trained, the type it computes in where it is frozen."""
    name = plan.precision.name
    return DTYPES[name] if plan.adapter is not None and name != "fp16" else torch.float32


def loading_options(plan: Plan, token: str | None) -> dict[str, Any]:
    """The keyword arguments of from_pretrained that the plan decides."""
    options: dict[str, Any] = {
        "revision": plan.model.revision,
        "cache_dir": plan.model.cache_dir,
        "local_files_only": plan.model.offline,
        "trust_remote_code": plan.model.trust_remote_code,
        "attn_implementation": plan.model.attention,
        "quantization_config": quantization(plan.model.quantization),
        "token": token,
    }
    return {name: value for name, value in options.items() if value is not None}


def quantization(bits: str | None) -> Any:
    """bitsandbytes' configuration: NF4 with double quantisation, or LLM.int8."""
    if bits is None:
        return None
    from transformers import BitsAndBytesConfig

    if bits == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def from_located(
    located: Located, dtype: torch.dtype, options: Mapping[str, Any], *, trainable_adapter: bool = False
) -> Any:
    """The located model. An adapter is loaded on its base: trainable, or merged into it for full training."""
    if located.kind == ADAPTER and located.base is not None:
        base = from_located(located.base, dtype, options)
        model = PeftModel.from_pretrained(base, str(located.folder), is_trainable=trainable_adapter)
        return model if trainable_adapter else model.merge_and_unload()
    # Absolute, because an adapter saves the path of its base and may be loaded from another working directory.
    source = located.name if located.kind == HUB or located.folder is None else str(located.folder.absolute())
    from_pretrained_options = (
        options if located.kind == HUB else {name: value for name, value in options.items() if name != "revision"}
    )
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, **from_pretrained_options)


def cast_linear_weights(model: Any, precision: str) -> Any:
    """Round once what every product under autocast would round anew: the weights of linear layers of a model that stays as it is. What an
    embedding gives is never rounded, also where its weights are the head's too. Returns the same model."""
    if precision != "fp32":
        for module in model.modules():
            if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32:
                rounded = module.weight.detach().to(DTYPES[precision])
                module.weight = torch.nn.Parameter(rounded, requires_grad=False)
    return model


def dtype_of(located: Located) -> torch.dtype | None:
    """The dtype of a model's weights on disk."""
    from autotrain_llm.models.metadata import read_metadata

    name = read_metadata(located).dtype
    dtype = getattr(torch, name, None) if name else None
    return dtype if isinstance(dtype, torch.dtype) else None


def new_model(shape: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Llama of this shape with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return LlamaForCausalLM(LlamaConfig(**shape, **ids))


def lora_config(adapter: AdapterPlan) -> LoraConfig:
    """PEFT's configuration of a LoRA adapter."""
    targets = adapter.target_modules
    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        use_dora=adapter.dora,
        use_rslora=adapter.rslora,
        target_modules="all-linear" if targets == ("all-linear",) else list(targets),
        task_type="CAUSAL_LM",
    )


def load_tokenizer(plan: Plan, inputs: RunInputs) -> PreTrainedTokenizerBase:
    """The tokenizer that the rows were encoded with, and the chat template that rendered them."""
    tokenizer = AutoTokenizer.from_pretrained(
        str(inputs.tokenizer_folder), trust_remote_code=plan.model.trust_remote_code
    )
    template = inputs.prepared.template
    if template is not None:
        tokenizer.chat_template = template.source
    if tokenizer.pad_token is None:
        # Padding is masked by length, never by this token, so the end-of-sequence token can serve.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def fit_to_tokenizer(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set the missing padding token of the model's configs, so that the saved model generates as it was trained."""
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        make_writable(generation)
    for config in (model.config, generation):
        if config is not None and config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id


def make_writable(settings: GenerationConfig) -> None:
    """Enable sampling where its settings are given, and drop beam settings without beams: transformers reads both and refuses to save them."""
    sampling, beams = idle_settings(settings.to_dict())
    if sampling:
        settings.do_sample = True
    for name in beams:
        setattr(settings, name, None)


def tokenizer_disagrees(tokenizer: PreTrainedTokenizerBase, inputs: RunInputs) -> str | None:
    """The first of 32 texts that transformers encodes into other ids than the rows' tokenizer; None where they agree."""
    from autotrain_llm.data.dataset import texts

    sample = [text for text, _ in zip(texts(inputs.dataset), range(32), strict=False)]
    ours = inputs.tokenizer.encode_batch(sample, add_special_tokens=False)
    theirs = tokenizer(sample, add_special_tokens=False)["input_ids"] if sample else []
    return next(
        (text for text, mine, other in zip(sample, ours, theirs, strict=True) if list(mine) != list(other)), None
    )
