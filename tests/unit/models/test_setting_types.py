"""The settings of a config.json have the types that the installed transformers insists on, for every architecture and without a list of ours."""

import json
from copy import deepcopy

import pytest

from autotrain_llm.models.checks.every import check_model
from autotrain_llm.models.checks.setting_types import setting_types, torch_dtypes, wrong_types
from support.model_files import codes, facts_of, write_model

VALUES = [5, -1, 2.5, "x", True, None, [], [1], ["x"], {}, {"a": 1}, {"0": "x"}]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bert", "mixtral", "gemma3_text", "phi3"])
def test_a_value_is_refused_exactly_if_transformers_refuses_it(model_type):
    from huggingface_hub.errors import StrictDataclassFieldValidationError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    build, differing, refused = CONFIG_MAPPING[model_type], [], 0
    fields = [name for name in setting_types(model_type) if name in build.__annotations__]
    assert {"vocab_size", "initializer_range", "pad_token_id"} <= {*fields}
    for name in fields:
        for value in VALUES:
            try:
                build(**{name: deepcopy(value)})
                error = None
            except StrictDataclassFieldValidationError as problem:
                error = (
                    problem if f"field '{name}'" in str(problem) and isinstance(problem.__cause__, TypeError) else None
                )
            except Exception:
                continue  # of the right type, and of a value that no model can be built with
            refused += error is not None
            if (error is not None) != bool(list(wrong_types({"model_type": model_type, name: value}))):
                differing.append((name, value, str(error)))
    assert not differing and refused > 100


@pytest.mark.slow
def test_the_defaults_of_every_architecture_have_the_types_that_it_declares():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    known, wrong = 0, {}
    for model_type in CONFIG_MAPPING_NAMES:
        try:
            written = CONFIG_MAPPING[model_type]().to_json_string(use_diff=False)
        except Exception:
            continue  # one that has no defaults, or needs another package
        known += bool(setting_types(model_type))
        found = list(wrong_types(json.loads(written)))
        wrong |= {model_type: found} if found else {}
    assert wrong == {} and known > 700


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": 5}, "gives 5 as architectures, which has to be a list or null"),
        ({"intermediate_size": None}, "gives None as intermediate_size, which has to be a whole number"),
        ({"dtype": "float17"}, "gives 'float17' as dtype, which the installed torch does not know"),
        ({"torch_dtype": 16}, "gives 16 as torch_dtype"),
        ({"rope_theta": "many"}, "gives 'many' as rope_theta"),
        ({"head_dim": -4}, "gives -4 as head_dim"),
    ],
)
def test_a_setting_of_another_type_is_named(tmp_path, changes, words):
    findings = check_model(facts_of(write_model(tmp_path / "m", **changes)), "sft")
    assert [finding.code for finding in findings if words in finding.message] == ["M128"], findings


@pytest.mark.parametrize("changes", [{"rope_theta": 10000}, {"dtype": "bfloat16"}, {"torch_dtype": "float32"}])
def test_settings_of_older_versions_are_read(tmp_path, changes):
    assert codes(write_model(tmp_path / "m", **changes)) == []


def test_the_text_part_of_a_multimodal_model_is_checked_too():
    text = {"model_type": "gemma3_text", "hidden_size": "wide"}
    assert [name for name, *_ in wrong_types({"model_type": "gemma3", "text_config": text})] == [
        "text_config.hidden_size"
    ]


def test_the_dtypes_of_torch_are_read_without_it():
    import torch

    assert all(isinstance(getattr(torch, name), torch.dtype) for name in torch_dtypes())
    assert {"float32", "bfloat16", "float8_e4m3fn"} <= torch_dtypes()


def test_an_unknown_architecture_has_no_types():
    assert setting_types("unknown") == {}
    assert list(wrong_types(json.loads('{"model_type": "unknown", "hidden_size": "x"}'))) == []
