"""Load or create the plan's model with its tokenizer, and add its adapter."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    set_seed,
)
from transformers.initialization import no_init_weights
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.declare.parts import has_model_in_parts
from autotrain_llm.models.architectures import MIXERS, WITHOUT_LORA
from autotrain_llm.models.checks.generation_config import idle_settings
from autotrain_llm.models.checks.target_modules import for_peft
from autotrain_llm.models.locate import ADAPTER, HUB, SCRATCH, Located
from autotrain_llm.models.metadata import read_metadata
from autotrain_llm.planning.plan import AdapterPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.adapter_init import finish_init, peft_name
from autotrain_llm.run.engine.sharded_states import load_model

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass
class Loaded:
    """A model ready for training, its tokenizer, and the dtype that its finished weights are saved in."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    saved_dtype: torch.dtype

    @property
    def is_adapter(self) -> bool:
        return isinstance(self.model, PeftModel)


def load(plan: Plan, inputs: RunInputs) -> Loaded:
    """The model in its training dtype: float32 with autocast for full training, the compute dtype for a frozen base."""
    set_seed(plan.seed)  # adapters are initialised randomly too
    tokenizer = load_tokenizer(plan, inputs)
    if plan.model.kind == SCRATCH:
        model: Any = new_model(plan.model.shape or {}, tokenizer, plan.seed)
        keep_config(model)
        return Loaded(model, tokenizer, torch.float32)
    located = inputs.model.located if inputs.model else None
    assert located is not None
    frozen = plan.adapter is not None
    dtype = loading_dtype(plan)
    options = loading_options(plan, inputs.token)
    model = from_located(located, dtype, options, trainable_adapter=frozen)
    saved_dtype = dtype_of(located) or torch.float32
    keep_config(model)
    fit_to_tokenizer(model, tokenizer)
    if plan.model.quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if plan.adapter and not isinstance(model, PeftModel):
        model = get_peft_model(model, lora_config(plan.adapter, model), autocast_adapter_dtype=True)
        unquantised = {name: value for name, value in options.items() if name != "quantization_config"}
        finish_init(model, plan.adapter.init, partial(from_located, located, dtype, unquantised))
    return Loaded(model, tokenizer, saved_dtype)


def loading_dtype(plan: Plan) -> torch.dtype:
    """float32 for full training; the compute dtype for a frozen base."""
    name = plan.precision.name
    return DTYPES[name] if plan.adapter is not None and name != "fp16" else torch.float32


def loading_options(plan: Plan, token: str | None) -> dict[str, Any]:
    """The plan's keyword arguments of from_pretrained."""
    options: dict[str, Any] = {
        "revision": plan.model.revision,
        "cache_dir": plan.model.cache_dir,
        "local_files_only": plan.model.offline,
        "trust_remote_code": plan.model.trust_remote_code,
        "attn_implementation": plan.model.attention,
        "quantization_config": quantization(plan.model.quantization, storage_dtype(plan)),
        "token": token,
    }
    return {name: value for name, value in options.items() if value is not None}


def storage_dtype(plan: Plan) -> torch.dtype:
    """The dtype of the elements that 4-bit values are packed in: bytes; in a model that is divided, the dtype that its weights are gathered in, because
    FSDP2 casts elements of another."""
    return DTYPES[plan.precision.name] if plan.is_sharded else torch.uint8


def quantization(bits: str | None, storage: torch.dtype = torch.uint8) -> Any:
    """bitsandbytes' configuration: NF4 with double quantisation, packed in elements of the dtype `storage`, or LLM.int8."""
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
        bnb_4bit_quant_storage=storage,
    )


def from_located(
    located: Located, dtype: torch.dtype, options: Mapping[str, Any], *, trainable_adapter: bool = False
) -> Any:
    """The model; an adapter is loaded onto its base, trainable if `trainable_adapter`, else merged."""
    if located.kind == ADAPTER and located.base is not None:
        base = from_located(located.base, dtype, options)
        return with_adapter(base, located, trainable=trainable_adapter)
    source, options = source_of(located, options)
    if located.kind != HUB and has_model_in_parts(Path(source)):
        return from_parts(AutoModelForCausalLM, Path(source), dtype, options)
    if _is_to_be_divided(options.get("quantization_config")):
        # transformers would quantise it on the GPU, which need not have room for all of it.
        options = {**options, "device_map": {"": "cpu"}}
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, **options)


def source_of(located: Located, options: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """What from_pretrained reads a model from, and its keyword arguments: a folder has no revision."""
    if located.kind == HUB or located.folder is None:
        return located.name, options
    # Absolute, because an adapter saves it as the path of its base.
    return str(located.folder.absolute()), {name: value for name, value in options.items() if name != "revision"}


def _is_to_be_divided(quantization_config: Any) -> bool:
    """Whether 4-bit values are packed for a model that is going to be divided."""
    return quantization_config is not None and quantization_config.bnb_4bit_quant_storage.is_floating_point


def from_parts(classes: Any, checkpoint: Path, dtype: torch.dtype, options: Mapping[str, Any], **settings: Any) -> Any:
    """The whole model of a checkpoint that several processes wrote in parts, on the processor; `classes` is one of transformers' Auto classes."""
    named = {name: options[name] for name in ("trust_remote_code", "attn_implementation") if name in options}
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, **settings, **named)
    with no_init_weights():
        model = classes.from_config(config, dtype=dtype, **named)
    load_model(model, checkpoint)
    model.tie_weights()
    return model.eval()


def with_adapter(base: Any, located: Located, *, trainable: bool) -> Any:
    """The base with a saved adapter: `trainable`, or merged into it. PEFT leaves a base frozen; merged, it is trained as it was before.

    An adapter that was trained with added tokens has its own embedding; the base is resized to it first.
    """
    rows = read_metadata(located).added_rows
    if rows is not None and rows != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(rows, mean_resizing=False)
    frozen = {name for name, parameter in base.named_parameters() if not parameter.requires_grad}
    model = PeftModel.from_pretrained(base, str(located.folder), is_trainable=trainable)
    if trainable:
        return model
    merged: Any = merge(model)
    for name, parameter in merged.named_parameters():
        parameter.requires_grad_(parameter.is_floating_point() and name not in frozen)
    return merged


def merge(model: PeftModel) -> Any:
    """The model with its adapter merged. An adapter on one of two tied matrices unties them: it is in neither the other's."""
    base: Any = model.get_base_model()
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    if head is not None and embedding.weight is head.weight:
        for module in (embedding, head):
            if isinstance(module, LoraLayer):
                own: Any = module.get_base_layer()
                own.weight = torch.nn.Parameter(own.weight.detach().clone(), requires_grad=False)
    merged: Any = model.merge_and_unload()
    if not _is_tied(merged):
        for config in (merged.config, merged.config.get_text_config()):
            config.tie_word_embeddings = False
    return merged


def _is_tied(model: Any) -> bool:
    """Whether head and embedding share their weights; also if there is no head."""
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings().weight
    return head is None or head.weight is embedding or (head.weight.data_ptr() == embedding.data_ptr() != 0)


def cast_linear_weights(model: Any, precision: str) -> Any:
    """Cast the linear weights of a frozen model once, which autocast would otherwise cast at every product. Embeddings stay in float32,
    because autocast does not cast them, also if they are tied to the head. Returns the same model."""
    if precision != "fp32":
        for module in model.modules():
            if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32:
                weight = module.weight.detach().to(DTYPES[precision])
                module.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model


def dtype_of(located: Located) -> torch.dtype | None:
    """The dtype of a model's files."""
    name = read_metadata(located).dtype
    dtype = getattr(torch, name, None) if name else None
    return dtype if isinstance(dtype, torch.dtype) else None


def new_model(shape: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Llama of this shape with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return LlamaForCausalLM(LlamaConfig(**shape, **ids))


def lora_config(adapter: AdapterPlan, model: Any) -> LoraConfig:
    """PEFT's configuration of a LoRA adapter for this model."""
    targets = adapter.target_modules
    excluded = {
        name.rpartition(".")[2] for name, module in model.named_modules() if _can_have_no_lora(name, module, model)
    }
    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        use_dora=adapter.dora,
        use_rslora=adapter.rslora,
        init_lora_weights=peft_name(adapter.init),
        target_modules="all-linear" if targets == ("all-linear",) else for_peft(targets),
        exclude_modules=sorted(excluded) if excluded and targets == ("all-linear",) else None,
        trainable_token_indices=_rows_of(adapter.tokens, model) if adapter.tokens else None,
        task_type="CAUSAL_LM",
    )


def _rows_of(tokens: tuple[int, ...], model: Any) -> dict[str, list[int]]:
    """The matrices of which an adapter trains the rows of these tokens: the embedding, and the head, which PEFT (0.21) trains once if they are tied."""
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    return {name: list(tokens) for name, module in model.named_modules() if any(module is table for table in tables)}


def _can_have_no_lora(name: str, module: Any, model: Any) -> bool:
    """Whether a linear layer computes something else than a product, as a router does, or is read by kernels without being called."""
    if not isinstance(module, torch.nn.Linear):
        return False
    own_forward = (
        type(module).__module__.startswith("transformers.models.")
        and type(module).forward is not torch.nn.Linear.forward
    )
    kernels_read_it = model.config.model_type in MIXERS and name.rpartition(".")[2] in WITHOUT_LORA
    return kernels_read_it or (own_forward and not _returns_a_product(module))


def _returns_a_product(module: torch.nn.Linear) -> bool:
    """Whether a subclass of Linear is called as one and returns a tensor, as Falcon's does, or more, as a router does."""
    inputs = torch.zeros(1, module.in_features, dtype=module.weight.dtype, device=module.weight.device)
    try:
        with torch.no_grad():
            output = module(inputs)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False
    return isinstance(output, torch.Tensor) and output.shape == (1, module.out_features)


def load_tokenizer(plan: Plan, inputs: RunInputs) -> PreTrainedTokenizerBase:
    """The tokenizer of the prepared rows, with the chat template that rendered them.

    AutoTokenizer takes the class of the model's architecture, which may add tokens of its own or split otherwise than the files say.
    """
    folder = str(inputs.tokenizer_folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=plan.model.trust_remote_code)
    if isinstance(tokenizer, PreTrainedTokenizerFast) and (Path(folder) / "tokenizer.json").exists():
        as_in_files = PreTrainedTokenizerFast.from_pretrained(folder)
        if len(tokenizer) > len(as_in_files) or tokenizer_disagrees(tokenizer, inputs) is not None:
            tokenizer = as_in_files
    template = inputs.prepared.template
    if template is not None:
        tokenizer.chat_template = template.source
    if tokenizer.pad_token is None:
        # The end token may serve: rows are separated by their lengths, never by this token.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def fit_to_tokenizer(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set the model's padding token, and make its generation config writable."""
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        make_writable(generation)
    for config in (model.config, generation):
        if config is not None and getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id


def make_writable(settings: GenerationConfig) -> None:
    """Correct sampling settings without `do_sample` and beam settings without beams: transformers reads them and refuses to save them."""
    sampling, beams = idle_settings(settings.to_dict())
    if sampling:
        settings.do_sample = True
    for name in beams:
        setattr(settings, name, None)


def keep_config(model: Any) -> None:
    """Save this config with every checkpoint and with the finished model, whatever training sets in it: use_cache, dropout, a padding token."""
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    vars(causal)["config_of_files"] = copy.deepcopy(causal.config)

    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> None:
        changed, self.config = self.config, config_to_save(self)
        try:
            type(self).save_pretrained(self, *args, **kwargs)
        finally:
            self.config = changed

    causal.save_pretrained = MethodType(save_pretrained, causal)


def config_to_save(causal: Any) -> Any:
    """The config that is saved with a model's weights."""
    config = copy.deepcopy(vars(causal).get("config_of_files", causal.config))
    if not causal.config.tie_word_embeddings:  # untied by merging an adapter
        config.tie_word_embeddings = False
    return config


def save_config(causal: Any, folder: Path) -> None:
    """Write what `save_pretrained` writes beside the weights."""
    config = config_to_save(causal)
    config.architectures = [type(causal).__name__.removeprefix("FSDP")]
    config.dtype = causal.dtype
    config.save_pretrained(folder)
    if causal.can_generate():
        causal.generation_config.save_pretrained(folder)


def tokenizer_disagrees(tokenizer: PreTrainedTokenizerBase, inputs: RunInputs) -> str | None:
    """The first of up to 32 texts for which transformers' tokenizer gives other ids than the one of the rows; None if all agree."""
    from autotrain_llm.data.dataset import texts

    sample = [text for text, _ in zip(texts(inputs.dataset), range(32), strict=False)]
    ours = inputs.tokenizer.encode_batch(sample, add_special_tokens=False)
    theirs = tokenizer(sample, add_special_tokens=False)["input_ids"] if sample else []
    return next((text for text, own, other in zip(sample, ours, theirs, strict=True) if list(own) != list(other)), None)
