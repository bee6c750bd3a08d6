"""Settings of a config.json of another type than transformers reads are found before a weight is loaded."""

from __future__ import annotations

import json

import pytest

from autotrain_llm.models.checks.config import a_config_is_valid
from autotrain_llm.models.locate import locate
from autotrain_llm.models.metadata import read_metadata
from autotrain_llm.models.safetensors_header import Damaged, read_header
from autotrain_llm.models.weights import read_weights
from support.light_models import build_light_model


def faults(folder) -> list[str]:
    return [finding.message for finding in a_config_is_valid.RULE.apply(metadata=read_metadata(locate(str(folder))))]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_light_model(tmp_path_factory.mktemp("m") / "model")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head_dim", "x"), ("head_dim", 0), ("use_cache", "maybe"), ("tie_word_embeddings", "yes"), ("rms_norm_eps", "a"), ("rope_scaling", 5),
        ("rope_parameters", "x"), ("hidden_act", 5), ("attention_bias", "x"), ("pad_token_id", "x"), ("eos_token_id", [[]]),
        ("initializer_range", "x"), ("attention_dropout", "x"), ("dtype", 5), ("rope_theta", "x"), ("quantization_config", "x"),
        ("auto_map", 5), ("id2label", [1]),
    ],
)  # fmt: skip
def test_a_setting_of_another_type_is_named_with_its_value(model, tmp_path, key, value):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    (fault,) = faults(folder)
    assert f"gives {value!r} as {key}" in fault


def test_usual_settings_are_of_the_right_type(model, tmp_path):
    usual = {
        "eos_token_id": [1, 2],
        "pad_token_id": 0,
        "rope_scaling": None,
        "rope_theta": 10000,
        "attention_dropout": 0,
        "use_cache": True,
    }
    folder = build_light_model(tmp_path / "usual", **usual, torch_dtype="bfloat16", id2label={"0": "a"}, head_dim=8)
    assert faults(folder) == []


def test_an_index_that_names_a_folder_lists_a_missing_file(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "", "b": ".."}}')
    assert read_weights(tmp_path).missing == ("", "..")


def test_a_header_with_an_infinite_shape_is_damaged(tmp_path):
    header = b'{"a": {"dtype": "F32", "shape": [1e400, 2], "data_offsets": [0, 4]}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(Damaged):
        read_header(tmp_path / "model.safetensors")
