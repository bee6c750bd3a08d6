"""The table of layers is what transformers builds; weights of another architecture than their config's are told by it."""

import json

import pytest

from autotrain_llm.models.layers import LAYERS
from support.model_files import codes, llama_shapes, only, write_model

SMALL = {
    "vocab_size": 32,
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "pad_token_id": 0,
    "attention_types": [[["global"], 1]],  # of GPT-Neo's one layer
}


def state_names(kind, **settings):
    """The tensors of a model of this kind, made without memory for its weights."""
    import torch
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind](**{**SMALL, **settings})
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return {f"{model.base_model_prefix}.{name}" for name in model.state_dict()}, config.to_dict()


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_made_of_what_the_library_builds(kind):
    layers = LAYERS[kind]
    names, config = state_names(kind)
    first = {name.removeprefix(f"{layers.at}0.") for name in names if name.startswith(f"{layers.at}0.")}
    assert {f"{module}.weight" for module in layers.needed()} <= first
    assert [name for name in first if not layers.knows(name, config)] == []


@pytest.mark.parametrize("setting", ["attention_bias", "mlp_bias"])
def test_a_setting_of_the_config_brings_the_biases_it_stands_for(setting):
    names, config = state_names("llama", **{setting: True})
    biases = {name.removeprefix("model.layers.0.") for name in names if name.endswith(".bias")}
    assert biases and all(LAYERS["llama"].knows(name, config) for name in biases)
    assert not any(LAYERS["llama"].knows(name, {**config, setting: False}) for name in biases)


def of_gpt2(shapes=None, **changes):
    config = {"model_type": "gpt2", "vocab_size": 10, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return {"config": {**config, **changes}, "shapes": shapes}


def gpt2_shapes(prefix="transformer."):
    shapes = {f"{prefix}wte.weight": (10, 8), f"{prefix}wpe.weight": (64, 8)}
    for layer in range(2):
        at = f"{prefix}h.{layer}."
        for name in LAYERS["gpt2"].needed():
            shapes |= {f"{at}{name}.weight": (8,), f"{at}{name}.bias": (8,)}
        shapes[f"{at}attn.bias"] = (1, 1, 64, 64)  # the mask, as older files hold it
    return shapes


def test_weights_under_the_config_of_another_architecture(tmp_path):
    finding = only(write_model(tmp_path / "m", **of_gpt2()))
    assert finding.code == "M133"
    assert "transformer.h.0.attn.c_attn.weight" in finding.message and "model.layers.0.self_attn" in finding.message
    assert "those of a llama" in finding.fix
    assert codes(write_model(tmp_path / "whole", **of_gpt2(gpt2_shapes()))) == []
    assert codes(write_model(tmp_path / "bare", **of_gpt2(gpt2_shapes("")))) == []


def test_a_table_of_positions_is_as_long_as_the_config_says(tmp_path):
    finding = only(write_model(tmp_path / "m", **of_gpt2(gpt2_shapes(), n_positions=32)))
    assert "n_positions is 32, and the position embedding has 64 rows" in finding.message


@pytest.mark.parametrize(
    ("more", "changes", "words"),
    [
        ({"self_attn.q_norm.weight": (4,), "self_attn.k_norm.weight": (4,)}, {}, "those of a qwen3"),
        ({f"self_attn.{name}_proj.bias": (8,) for name in "qkv"}, {}, "those of a qwen2"),
        ({}, {"model_type": "qwen3", "head_dim": 4}, "those of a llama"),
    ],
)
def test_layers_that_are_nearly_those_of_the_config(tmp_path, more, changes, words):
    shapes = llama_shapes() | {f"model.layers.0.{name}": shape for name, shape in more.items()}
    finding = only(write_model(tmp_path / "m", shapes=shapes, **changes))
    assert (finding.code, words in finding.fix) == ("M133", True)


def test_biases_that_the_config_tells_of_are_expected(tmp_path):
    shapes = llama_shapes() | {f"model.layers.0.self_attn.{name}_proj.bias": (8,) for name in "qkvo"}
    assert codes(write_model(tmp_path / "m", shapes=shapes, attention_bias=True)) == []


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "base_model.model."])
def test_a_model_that_was_saved_inside_its_wrapper(tmp_path, wrapper):
    shapes = {wrapper + name: shape for name, shape in llama_shapes().items()}
    finding = only(write_model(tmp_path / "m", shapes=shapes))
    assert (finding.code, wrapper in finding.message) == ("M133", True)


def test_a_single_matrix_that_is_not_there(tmp_path):
    shapes = {name: shape for name, shape in llama_shapes().items() if name != "model.layers.1.mlp.up_proj.weight"}
    assert (
        "model.layers.1.mlp.up_proj.weight, which would be random"
        in only(write_model(tmp_path / "m", shapes=shapes)).message
    )


def test_an_index_that_says_nothing(tmp_path):
    folder = write_model(tmp_path / "m")
    part = (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = folder / "model.safetensors.index.json"
    for text, words in (("{", "is no JSON"), ("{}", "has no weight_map")):
        index.write_text(text)
        finding = only(folder)
        assert (finding.code, words in finding.message) == ("M127", True)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(llama_shapes(), part.name)}))
    assert codes(folder) == []
