"""generation_config.json: what can't be, what has no effect, and that a model with either can be saved."""

import json

import pytest

from support.model_files import codes, only, write_model


def model_with(tmp_path, settings):
    folder = write_model(tmp_path / "m")
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (folder / "generation_config.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no JSON object"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        ({"temperature": "high"}, "gives 'high' as temperature"),
        ({"do_sample": "yes"}, "gives 'yes' as do_sample"),
        ({"eos_token_id": "</s>"}, "gives '</s>' as eos_token_id"),
        ({"max_new_tokens": 0}, "gives 0 as max_new_tokens"),
        ({"top_p": 3.0, "do_sample": True}, "gives 3.0 as top_p"),
        ({"num_return_sequences": 2}, "gives 2 as num_return_sequences"),
    ],
)
def test_settings_that_can_not_be(tmp_path, settings, words):
    finding = only(model_with(tmp_path, settings))
    assert (finding.code, finding.severity, words in finding.message) == ("M146", "error", True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20},
        {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50},
        {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0},
        {"bos_token_id": 1, "eos_token_id": [2, 9], "pad_token_id": -1, "max_new_tokens": 2048},
        {"temperature": None, "num_return_sequences": 1},
    ],
)
def test_settings_that_are_in_order(tmp_path, settings):
    assert codes(model_with(tmp_path, settings)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.6, "top_p": 0.9}, "sets temperature 0.6, top_p 0.9 without do_sample"),
        ({"do_sample": False, "top_k": 20}, "sets top_k 20 with do_sample false"),
        ({"early_stopping": True}, "sets early_stopping true without num_beams"),
    ],
)
def test_settings_without_what_they_belong_to_are_said_and_can_be_written(tmp_path, settings, words):
    from transformers import GenerationConfig

    from autotrain_llm.run.engine.loading import make_writable

    folder = model_with(tmp_path, settings)
    finding = only(folder)
    assert (finding.code, finding.severity, words in finding.message) == ("M147", "warning", True)
    assert codes(folder, trainer="reward") == []
    read = GenerationConfig.from_pretrained(folder)
    read.pad_token_id = 0  # as it is set for the finished model
    with pytest.raises(ValueError, match="invalid"):
        read.save_pretrained(tmp_path)
    make_writable(read)
    read.save_pretrained(tmp_path)


def test_a_token_beyond_the_embedding_is_none(tmp_path):
    finding = only(model_with(tmp_path, {"eos_token_id": [2, 50256]}))
    assert (finding.code, "50256 as eos_token_id" in finding.message) == ("M148", True)
    config = only(write_model(tmp_path / "config", eos_token_id=10))
    assert (config.code, "config.json gives 10 as eos_token_id" in config.message) == ("M148", True)
    assert codes(write_model(tmp_path / "last", eos_token_id=9)) == []
