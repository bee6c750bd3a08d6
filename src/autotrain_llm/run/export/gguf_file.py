"""Write a model of transformers as a GGUF file, by the package `gguf` of llama.cpp."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize

from autotrain_llm.models.gguf import (
    ARCHITECTURES,
    BLOCK,
    GGUF_TYPES,
    LINEAR,
    LLAMA3,
    NO_SCALING,
    YARN,
    GgufArchitecture,
    GgufTokenizer,
    token_list,
)

# The ends of names of tensors that stay in float32 besides vectors, here and in the file: recurrences, and what chooses experts.
PRECISE = (".A_log", ".D", ".conv1d.weight", ".mlp.gate.weight", ".router.weight", ".shared_expert_gate.weight")
PRECISE_THERE = (
    "ssm_a",
    "ssm_d",
    "ssm_conv1d.weight",
    "ssm_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
)
EXPERTS = re.compile(r"layers\.(\d+)\.(?:mlp|block_sparse_moe)\.experts\.(gate_up_proj|down_proj)$")
# Where a model has its size in config.json, by the name of the writer's method.
SIZES = {
    "add_embedding_length": ("hidden_size", "n_embd"),
    "add_block_count": ("num_hidden_layers", "n_layer"),
    "add_context_length": ("max_position_embeddings", "n_positions", "n_ctx"),
    "add_head_count": ("num_attention_heads", "n_head"),
    "add_expert_count": ("num_local_experts", "num_experts"),
    "add_expert_used_count": ("num_experts_per_tok",),
    "add_expert_feed_forward_length": ("moe_intermediate_size",),
    "add_expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "add_layer_norm_rms_eps": ("rms_norm_eps",),
    "add_layer_norm_eps": ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon"),
}


def write_gguf(
    model: Any, tokenizer_folder: Path, path: Path, dtype: str, *, name: str, kind: GgufTokenizer, template: str | None
) -> None:
    """Write a causal language model (on the CPU) and the tokenizer of a folder to `path`, matrices in this dtype of `GGUF_TYPES`.

    Tensors are converted one at a time: beside the model one tensor is in memory. Vectors stay in float32, as llama.cpp expects; a matrix
    whose rows can't be quantised in blocks is written in float16.
    """
    config = model.config.get_text_config()
    architecture = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, architecture.name)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[_file_type(dtype)])
    _add_sizes(writer, config, architecture)
    _add_tokenizer(writer, tokenizer_folder, model, kind, template)
    tensors = dict(_tensors(model, config, architecture))
    types = {tensor: _type_of(tensor, value, dtype) for tensor, value in tensors.items()}
    for tensor, value in tensors.items():
        element, shape = _stored_as(types[tensor], tuple(value.shape))
        writer.add_tensor_info(tensor, shape, element, int(np.prod(shape)) * element.itemsize, raw_dtype=types[tensor])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in list(tensors):
        values = tensors.pop(tensor).float().contiguous().numpy()
        writer.write_tensor_data(quantize(values, types[tensor]))
    writer.close()


def _stored_as(type_: Any, shape: tuple[int, ...]) -> tuple[np.dtype[Any], Sequence[int]]:
    """numpy's dtype and the shape of a tensor in the file: quantised types, and bf16, are bytes."""
    if type_ == gguf.GGMLQuantizationType.F32:
        return np.dtype(np.float32), shape
    if type_ == gguf.GGMLQuantizationType.F16:
        return np.dtype(np.float16), shape
    return np.dtype(np.uint8), quant_shape_to_byte_shape(shape, type_)


def rounded(name: str, tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    """A float32 tensor with the values that it has in a file of this dtype."""
    type_ = _type_of(name, tensor, dtype)
    return torch.from_numpy(dequantize(quantize(tensor.contiguous().numpy(), type_), type_).reshape(tensor.shape))


def _file_type(dtype: str) -> str:
    return {"fp32": "ALL_F32"}.get(dtype, f"MOSTLY_{GGUF_TYPES[dtype]}")


def _type_of(name: str, tensor: torch.Tensor, dtype: str) -> Any:
    """ggml's type for a tensor of this name."""
    if tensor.dim() < 2 or name.endswith((*PRECISE, *PRECISE_THERE)):
        return gguf.GGMLQuantizationType.F32
    wanted = GGUF_TYPES[dtype]
    if wanted.startswith("Q") and tensor.shape[-1] % BLOCK:
        wanted = "F16"
    return gguf.GGMLQuantizationType[wanted]


# --- numbers --------------------------------------------------------------------------------------------------------


def _first(config: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _add_sizes(writer: gguf.GGUFWriter, config: Any, architecture: GgufArchitecture) -> None:
    for method, names in SIZES.items():
        value = _first(config, *names)
        if value is not None:
            getattr(writer, method)(value)
    if architecture.norm_epsilon is not None:
        writer.add_layer_norm_eps(architecture.norm_epsilon)
    writer.add_vocab_size(config.vocab_size)
    if architecture.state_space is not None:
        _add_state_space(writer, config, architecture.state_space)
        return
    heads, hidden = _first(config, *SIZES["add_head_count"]), _first(config, *SIZES["add_embedding_length"])
    writer.add_head_count_kv(_first(config, "num_key_value_heads") or heads)
    writer.add_feed_forward_length(_first(config, "intermediate_size", "n_inner") or 4 * hidden)
    head_size = _first(config, "head_dim") or hidden // heads
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    window = _first(config, "sliding_window")
    if architecture.has_sliding_window or architecture.names_window:
        writer.add_sliding_window(window or 0)
    if _first(config, "clip_qkv") is not None:
        writer.add_clamp_kqv(config.clip_qkv)
    if hasattr(config, "use_parallel_residual"):
        writer.add_parallel_residual(config.use_parallel_residual)
    for name, key in architecture.numbers.items():
        value = _first(config, name)
        if value is not None:
            written = {"attn_logit_softcapping": writer.add_attn_logit_softcapping, "final_logit_softcapping": writer.add_final_logit_softcapping}.get(key)  # fmt: skip
            written(value) if written else writer.add_float32(f"{architecture.name}.{key}", float(value))
    _add_positions(writer, config, head_size)


def _add_state_space(writer: gguf.GGUFWriter, config: Any, version: int) -> None:
    inner = config.intermediate_size if version == 1 else int(config.expand * config.hidden_size)
    writer.add_context_length(2**20)  # it has no longest text; the file has to name one
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_ssm_conv_kernel(config.conv_kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(config.state_size)
    if version == 1:
        writer.add_ssm_time_step_rank(int(config.time_step_rank))
        writer.add_ssm_dt_b_c_rms(config.model_type == "falcon_mamba")
    else:
        writer.add_ssm_time_step_rank(config.num_heads)
        writer.add_ssm_group_count(config.n_groups)


def rope_of(config: Any) -> dict[str, Any]:
    """The rotary embedding of a config: of its layers with full attention, if those of others differ."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return dict(parameters.get("full_attention", parameters))


def _add_positions(writer: gguf.GGUFWriter, config: Any, head_size: int) -> None:
    rope = rope_of(config)
    if not rope:
        return
    writer.add_rope_dimension_count(int(head_size * (rope.get("partial_rotary_factor") or 1.0)))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    others = (config.rope_parameters or {}).get("sliding_attention")
    if others:
        writer.add_rope_freq_base_swa(float(others["rope_theta"]))
    kind = rope.get("rope_type", NO_SCALING)
    if kind in (LINEAR, YARN):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if kind == YARN:
        trained = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(int(trained))
        for name, method in (("beta_fast", "add_rope_scaling_yarn_beta_fast"), ("beta_slow", "add_rope_scaling_yarn_beta_slow")):  # fmt: skip
            if rope.get(name) is not None:
                getattr(writer, method)(float(rope[name]))


# --- tokens ---------------------------------------------------------------------------------------------------------


def _add_tokenizer(
    writer: gguf.GGUFWriter, folder: Path, model: Any, kind: GgufTokenizer, template: str | None
) -> None:
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = _settings(folder)
    listed = token_list(document, model.get_input_embeddings().weight.shape[0], kind)
    writer.add_tokenizer_model(kind.model)
    writer.add_tokenizer_pre(kind.pre)
    writer.add_token_list(listed.tokens)
    writer.add_token_types(listed.types)
    if kind.model == "llama":
        writer.add_token_scores(listed.scores)
        writer.add_add_space_prefix(kind.adds_space)
    else:
        writer.add_token_merges(listed.merges)
    ids = {token: number for number, token in enumerate(listed.tokens)}
    for name in ("bos", "eos", "unk", "pad"):
        token = settings.get(f"{name}_token")
        number = ids.get(str(token["content"] if isinstance(token, dict) else token))
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    ends = getattr(model.generation_config, "eos_token_id", None)
    if isinstance(ends, list) and ends:
        writer.add_eot_token_id(ends[0])
    writer.add_add_bos_token(_adds_bos(folder))
    writer.add_add_eos_token(False)
    if template is not None:
        writer.add_chat_template(template)


def _settings(folder: Path) -> Mapping[str, Any]:
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _adds_bos(folder: Path) -> bool:
    """Whether encoding a text begins with the BOS token."""
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

    return bool(Tokenizer.load(folder).bos_eos[0])


# --- tensors --------------------------------------------------------------------------------------------------------


def _tensors(model: Any, config: Any, architecture: GgufArchitecture) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors by their names in the file, in the layout that llama.cpp expects."""
    layers = _first(config, *SIZES["add_block_count"])
    names = gguf.get_tensor_name_map(_architecture_number(architecture.name), layers)
    embedding = model.get_input_embeddings().weight
    for name, tensor in model.state_dict().items():
        is_tied_head = name.startswith(("lm_head.", "embed_out.")) and tensor.data_ptr() == embedding.data_ptr()
        if is_tied_head or name.endswith((".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")):
            continue
        experts = EXPERTS.search(name)
        if experts is not None:
            yield from _experts(tensor, int(experts[1]), experts[2])
            continue
        written = names.get_name(_known_name(name), try_suffixes=(".weight", ".bias"))
        if written is None:
            raise ValueError(f"the GGUF architecture {architecture.name} has no tensor {name}")
        if architecture.state_space is not None:
            yield written, _recurrent(tensor, name, config, architecture.state_space)
        else:
            yield written, _laid_out(tensor, name, config, architecture)
    if rope_of(config).get("rope_type") == LLAMA3:
        yield "rope_freqs.weight", _frequency_factors(model, rope_of(config))


def _known_name(name: str) -> str:
    """The name of a tensor as the package knows it, where that is another."""
    return name.replace("mixer.dt_bias", "mixer.dt_proj.bias").replace("moe.router.weight", "moe.router.layer.weight")


def _experts(tensor: torch.Tensor, layer: int, matrix: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The matrices of all experts of a layer: (experts, out, in). transformers has gate and up in one."""
    if matrix == "down_proj":
        yield f"blk.{layer}.ffn_down_exps.weight", tensor
        return
    gate, up = tensor.chunk(2, dim=1)
    yield f"blk.{layer}.ffn_gate_exps.weight", gate
    yield f"blk.{layer}.ffn_up_exps.weight", up


def _recurrent(tensor: torch.Tensor, name: str, config: Any, version: int) -> torch.Tensor:
    """A tensor of a state-space layer: the rate of decay is written, and not its logarithm."""
    if name.endswith(".A_log"):
        tensor = -torch.exp(tensor.float())
    if name.endswith(".conv1d.weight"):
        return tensor.squeeze(1)
    if version == 1:
        return tensor
    if name.endswith((".A_log", ".D")):
        return tensor.reshape(-1, 1)
    return tensor.reshape(config.n_groups, -1) if name.endswith(".mixer.norm.weight") else tensor


def _architecture_number(name: str) -> Any:
    return next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


def _laid_out(tensor: torch.Tensor, name: str, config: Any, architecture: GgufArchitecture) -> torch.Tensor:
    if name.endswith(architecture.transposed or ("\0",)):
        return tensor.T
    heads = _first(config, *SIZES["add_head_count"])
    if architecture.interleaved and name.endswith(architecture.interleaved):
        by_head = tensor.reshape(heads, 3, -1, *tensor.shape[1:])
        return by_head.transpose(0, 1).reshape(tensor.shape)
    if architecture.adds_one_to_norms and name.endswith("norm.weight"):
        return tensor.float() + 1
    if architecture.rotates_neighbours and ".q_proj." in name:
        return _neighbours(tensor, heads)
    if architecture.rotates_neighbours and ".k_proj." in name:
        return _neighbours(tensor, _first(config, "num_key_value_heads") or heads)
    return tensor


def _neighbours(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head in the order 0, n/2, 1, n/2 + 1, …: what turns together lies together."""
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def _frequency_factors(model: Any, rope: Mapping[str, Any]) -> torch.Tensor:
    """By what each frequency of the rotary embedding is divided: (head size / 2,)."""
    used = next(value for name, value in model.named_buffers() if name.endswith("inv_freq")).float()
    exponents = torch.arange(len(used), dtype=torch.float64) / len(used)
    plain = float(rope["rope_theta"]) ** -exponents
    return (plain / used.double()).float()
