"""Names of the tensors in the layers of common architectures, as the installed transformers saves them.

Pure data, so that weights can be compared with their config.json without building a model; a test compares each entry with the model that
transformers builds. Only architectures whose layers all have the same modules are listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

ALWAYS = ""  # in place of a setting: biases that are always there
GROUP = re.compile(r"\{([\w,]+)\}")


@dataclass(frozen=True)
class Layers:
    """`at` is the prefix before a layer's index, `needs` the modules of each layer, `may` its optional ones.

    `biases` maps a config setting to the modules that have a bias when it is on; `*` means all. Braces expand to several names.
    """

    at: str
    needs: str
    may: str = ""
    biases: Mapping[str, str] = field(default_factory=dict)

    def needed(self) -> tuple[str, ...]:
        """The modules of each layer, `self_attn.q_proj`."""
        return _spelt(self.needs)

    def knows(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether a tensor, named from its layer's index on, belongs to a layer of this architecture."""
        module, _, kind = name.rpartition(".")
        if kind == "bias":
            parts = (part for setting, part in self.biases.items() if setting == ALWAYS or config.get(setting))
            return any(part == "*" or module in _spelt(part) for part in parts)
        return kind != "weight" or module in self.needed() or any(map(module.startswith, _spelt(self.may)))


@cache  # asked for each tensor
def _spelt(names: str) -> tuple[str, ...]:
    """`mlp.{up,down}_proj` is `mlp.up_proj` and `mlp.down_proj`."""
    spelt: list[str] = []
    for name in names.split():
        group = GROUP.search(name)
        choices = group[1].split(",") if group else []
        spelt += (f"{name[: group.start()]}{one}{name[group.end() :]}" for one in choices) if group else [name]
    return tuple(spelt)


AT = "model.layers."
NORMS = "input_layernorm post_attention_layernorm "
ATTENTION = "self_attn.{q,k,v,o}_proj "
GATED = "mlp.{gate,up,down}_proj "
QK = "self_attn.{q,k}_norm "
AROUND = "{pre,post}_feedforward_layernorm "
QKV_BIASES = "self_attn.{q,k,v}_proj"
SETTINGS = {"attention_bias": ATTENTION, "mlp_bias": GATED}
EVERYWHERE = {ALWAYS: "*"}
GPT2 = Layers(
    "transformer.h.", "ln_{1,2} attn.c_{attn,proj} mlp.c_{fc,proj}", "crossattention ln_cross_attn", EVERYWHERE
)

LIKE_BERT = {
    "bert": "bert",
    "camembert": "roberta",
    "electra": "electra",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
}


def _like_bert(prefix: str) -> Layers:
    return Layers(
        f"{prefix}.encoder.layer.",
        "attention.self.{query,key,value} attention.output.dense intermediate.dense output.dense",
        "attention.output.LayerNorm output.LayerNorm crossattention",
        EVERYWHERE,
    )


LAYERS: dict[str, Layers] = {
    "llama": Layers(AT, NORMS + ATTENTION + GATED, biases=SETTINGS),
    "qwen2": Layers(AT, NORMS + ATTENTION + GATED, biases={ALWAYS: QKV_BIASES}),
    "qwen3": Layers(AT, NORMS + ATTENTION + GATED + QK, biases=SETTINGS),
    "mistral": Layers(AT, NORMS + ATTENTION + GATED),
    "gpt2": GPT2,
    "apertus": Layers(
        AT, "{attention,feedforward}_layernorm mlp.{up,down}_proj " + ATTENTION + QK, "mlp.act_fn", SETTINGS
    ),
    "arcee": Layers(AT, NORMS + ATTENTION + "mlp.{up,down}_proj", biases=SETTINGS),
    "bloom": Layers(
        "transformer.h.",
        NORMS + "self_attention.{query_key_value,dense} mlp.{dense_h_to_4h,dense_4h_to_h}",
        biases=EVERYWHERE,
    ),
    "codegen": Layers("transformer.h.", "ln_1 attn.{qkv,out}_proj mlp.{fc_in,fc_out}", biases=EVERYWHERE),
    "cohere": Layers(AT, "input_layernorm " + ATTENTION + GATED, QK, SETTINGS),
    "cohere2": Layers(AT, "input_layernorm " + ATTENTION + GATED, "", SETTINGS),
    "ernie4_5": Layers(AT, NORMS + ATTENTION + GATED, biases={"use_bias": "*"}),
    "exaone4": Layers(AT, "post_{attention,feedforward}_layernorm " + ATTENTION + GATED + QK),
    "falcon": Layers(
        "transformer.h.",
        "self_attention.{query_key_value,dense} mlp.{dense_h_to_4h,dense_4h_to_h}",
        "ln_ input_layernorm post_attention_layernorm",
        EVERYWHERE,
    ),
    "gemma": Layers(AT, NORMS + ATTENTION + GATED, biases=SETTINGS),
    "gemma2": Layers(AT, NORMS + AROUND + ATTENTION + GATED, biases=SETTINGS),
    "gemma3_text": Layers(AT, NORMS + AROUND + ATTENTION + GATED + QK, biases=SETTINGS),
    "glm": Layers(AT, NORMS + ATTENTION + "mlp.{gate_up,down}_proj", biases={ALWAYS: QKV_BIASES}),
    "glm4": Layers(
        AT,
        NORMS + "post_{self_attn,mlp}_layernorm " + ATTENTION + "mlp.{gate_up,down}_proj",
        biases={ALWAYS: QKV_BIASES},
    ),
    "gpt_bigcode": GPT2,
    "gpt_neo": Layers("transformer.h.", "ln_{1,2} attn.attention.{q,k,v,out}_proj mlp.c_{fc,proj}", biases=EVERYWHERE),
    "gpt_neox": Layers(
        "gpt_neox.layers.",
        NORMS + "attention.{query_key_value,dense} mlp.{dense_h_to_4h,dense_4h_to_h}",
        biases=EVERYWHERE,
    ),
    "gptj": Layers("transformer.h.", "ln_1 attn.{q,k,v,out}_proj mlp.{fc_in,fc_out}", biases=EVERYWHERE),
    "granite": Layers(AT, NORMS + ATTENTION + GATED, biases=SETTINGS),
    "helium": Layers(AT, NORMS + ATTENTION + GATED, biases=SETTINGS),
    "ministral3": Layers(AT, NORMS + ATTENTION + GATED),
    "mpt": Layers("transformer.blocks.", "attn.{Wqkv,out_proj} ffn.{up,down}_proj", "norm_ attn", EVERYWHERE),
    "olmo": Layers(AT, ATTENTION + GATED, biases=SETTINGS),
    "olmo2": Layers(AT, "post_{attention,feedforward}_layernorm " + ATTENTION + GATED + QK, biases=SETTINGS),
    "olmo3": Layers(AT, "post_{attention,feedforward}_layernorm " + ATTENTION + GATED + QK, biases=SETTINGS),
    "opt": Layers(
        "model.decoder.layers.",
        "self_attn.{q,k,v,out}_proj fc1 fc2",
        "self_attn_layer_norm final_layer_norm",
        EVERYWHERE,
    ),
    "persimmon": Layers(
        AT,
        NORMS + "self_attn.{query_key_value,dense} mlp.{dense_h_to_4h,dense_4h_to_h}",
        "self_attn.{q,k}_layernorm",
        EVERYWHERE,
    ),
    "phi": Layers(
        AT,
        "input_layernorm self_attn.{q_proj,k_proj,v_proj,dense} mlp.{fc1,fc2}",
        "self_attn.{q,k}_layernorm",
        EVERYWHERE,
    ),
    "phi3": Layers(AT, NORMS + "self_attn.{qkv,o}_proj mlp.{gate_up,down}_proj"),
    "seed_oss": Layers(AT, NORMS + ATTENTION + GATED, biases=EVERYWHERE),
    "smollm3": Layers(AT, NORMS + ATTENTION + GATED, biases=SETTINGS),
    "stablelm": Layers(
        AT, "input_layernorm " + ATTENTION + GATED, "post_attention_layernorm self_attn.{q,k}_layernorm", EVERYWHERE
    ),
    "starcoder2": Layers(AT, NORMS + ATTENTION + "mlp.c_{fc,proj}", biases=EVERYWHERE),
    **{name: _like_bert(prefix) for name, prefix in LIKE_BERT.items()},
    "distilbert": Layers(
        "distilbert.transformer.layer.",
        "attention.{q,k,v,out}_lin ffn.{lin1,lin2}",
        "sa_layer_norm output_layer_norm",
        EVERYWHERE,
    ),
    "deberta-v2": Layers(
        "deberta.encoder.layer.",
        "attention.self.{query,key,value}_proj attention.output.dense intermediate.dense output.dense",
        "attention.output.LayerNorm output.LayerNorm attention.self.pos_",
        EVERYWHERE,
    ),
    "modernbert": Layers("model.layers.", "attn.{Wqkv,Wo} mlp.{Wi,Wo} mlp_norm", "attn_norm", EVERYWHERE),
}
