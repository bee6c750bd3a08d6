"""New models: the size asked for is the size got, and a tokenizer that loads everywhere and loses nothing."""

import json
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autotrain_llm.declare.finding import Refused
from autotrain_llm.models.scratch import (
    GENERATION_IDS,
    SPECIAL_TOKENS,
    TOKEN_IDS,
    choose_shape,
    choose_vocabulary,
    count_parameters,
    parse_size,
    show_size,
    train_tokenizer,
    usual_depth,
)

TEXTS = [f"Question {number}: what is {number} and {number + 1}? Äpfel, 苹果 and\n\n  spaces." for number in range(200)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_tokenizer(iter(TEXTS), tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def loaded(trained):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(trained.folder)


@pytest.mark.parametrize(
    ("name", "size"),
    [("1m", 1_000_000), ("1.5M", 1_500_000), ("25m", 25_000_000), ("0.5b", 500_000_000), ("700k", 700_000)],
)
def test_a_size_is_read_as_written(name, size):
    assert parse_size(f"scratch:{name}") == size


@pytest.mark.parametrize(
    "name", ["scratch:", "scratch:big", "scratch:0m", "scratch:-1m", "scratch:1t", "scratch:1 2m", "scratch:500b"]
)
def test_a_size_that_is_none_is_refused_by_name(name):
    with pytest.raises(Refused) as refused:
        parse_size(name, "teacher_model")
    (finding,) = refused.value.findings
    assert finding.parameters == ("teacher_model",)
    assert name in finding.message


@given(
    size=st.floats(5, 10).map(lambda exponent: round(10**exponent)),
    vocabulary=st.sampled_from([300, 512, 1000, 4096, 16_384, 32_768]),
    growth=st.floats(1, 4),
)
def test_a_shape_has_the_size_asked_for_whole_heads_and_usual_proportions_and_a_larger_model_is_not_narrower(
    size, vocabulary, growth
):
    # Up to 2.5 times the narrowest embedding no width suits some sizes; those have a test of their own.
    assume(vocabulary * 32 * 2.5 < size)
    shape = choose_shape(size, vocabulary, 256)
    assert abs(count_parameters(shape) / size - 1) <= 0.15
    width, heads = shape["hidden_size"], shape["num_attention_heads"]
    assert width // heads in (16, 32, 64) and width % heads == 0
    assert heads % shape["num_key_value_heads"] == 0
    assert shape["vocab_size"] >= vocabulary
    assert all(shape[key] % 16 == 0 for key in ("vocab_size", "hidden_size", "intermediate_size"))
    assert shape["max_position_embeddings"] == 256
    assert 0.5 <= shape["num_hidden_layers"] / usual_depth(width) <= 1.5
    assert 2 <= shape["intermediate_size"] / width <= 4
    larger = choose_shape(round(size * growth), vocabulary, 256)
    assert larger["hidden_size"] >= width or (larger["tie_word_embeddings"] != shape["tie_word_embeddings"])


@pytest.mark.parametrize(
    ("size", "vocabulary", "layers", "width"),
    [
        ("100k", 512, 3, 48),
        ("200k", 512, 3, 64),
        ("200k", 1024, 3, 64),
        ("250k", 512, 4, 64),
        ("500k", 512, 4, 96),
        ("1m", 1024, 4, 128),
        ("3m", 1024, 6, 192),
        ("10m", 4096, 7, 320),
        ("25m", 8192, 9, 448),
        ("100m", 32_768, 13, 704),
        ("1b", 32_768, 20, 2048),
        ("7b", 32_768, 34, 4352),
    ],
)
def test_well_known_sizes_have_the_depth_and_width_that_people_choose(size, vocabulary, layers, width):
    shape = choose_shape(parse_size(size), vocabulary, 256)
    assert (shape["num_hidden_layers"], shape["hidden_size"]) == (layers, width)


@pytest.mark.parametrize(("size", "vocabulary"), [(1_000_000, 319), (5_000_000, 4096), (1_000_000_000, 512)])
def test_the_model_built_from_a_shape_has_the_parameters_promised(size, vocabulary):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = choose_shape(size, vocabulary, 64)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**shape))
    assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(shape)


def test_a_vocabulary_larger_than_the_model_is_refused_with_a_size_that_works():
    with pytest.raises(Refused) as refused:
        choose_shape(1_000_000, 128_256, 64)
    (finding,) = refused.value.findings
    assert "128256" in finding.message
    name = finding.fix.split()[1].rstrip(",")
    assert choose_shape(parse_size(name), 128_256, 64)["vocab_size"] == 128_256


@pytest.mark.parametrize("size", [1, 5_000, 20_000])
def test_a_size_too_small_for_any_model_is_refused_at_once_with_one_that_works(size):
    with pytest.raises(Refused) as refused:
        choose_shape(size, 512, 64)
    name = refused.value.findings[0].fix.split()[1].rstrip(",")
    assert count_parameters(choose_shape(parse_size(name), 512, 64)) > size


def test_a_size_is_shown_as_people_say_it():
    assert [show_size(size) for size in (985_000, 1_500_000, 25_000_000, 7_000_000_000)] == [
        "985k",
        "1.5m",
        "25m",
        "7b",
    ]


def test_more_text_gives_more_words_up_to_a_limit():
    sizes = [choose_vocabulary(amount) for amount in (0, 10_000, 1_000_000, 10_000_000, 10**12)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 512
    assert sizes[2] == 4096
    assert sizes[-1] == 32_768


def test_the_same_data_gives_the_same_files_in_every_process(trained, tmp_path):
    script = (
        "import sys, json; from pathlib import Path; from autotrain_llm.models.scratch import train_tokenizer; "
        "train_tokenizer(iter(json.loads(sys.stdin.read())), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], input=json.dumps(TEXTS), text=True, check=True)
    for path in trained.folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_library_loads_it_and_gives_the_same_ids(trained, loaded):
    from tokenizers import Tokenizer

    raw = Tokenizer.from_file(str(trained.folder / "tokenizer.json"))
    for text in (*TEXTS[:5], "<|im_start|>user\nHi<|im_end|>\n", "  12 345\n\t", ""):
        assert loaded(text)["input_ids"] == raw.encode(text).ids
    assert len(loaded) == trained.vocab_size


def test_special_tokens_have_the_ids_that_a_config_is_given(loaded):
    assert {name: getattr(loaded, name) for name in TOKEN_IDS} == TOKEN_IDS
    assert loaded.convert_ids_to_tokens(list(range(len(SPECIAL_TOKENS)))) == list(SPECIAL_TOKENS)
    assert loaded.convert_ids_to_tokens(GENERATION_IDS["eos_token_id"]) == ["<|im_end|>", "<|endoftext|>"]


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_comes_back_from_its_tokens(loaded, text):
    ids = loaded(text, add_special_tokens=False)["input_ids"]
    if not any(token in text for token in SPECIAL_TOKENS):
        assert loaded.decode(ids, skip_special_tokens=True) == text


def test_digits_are_tokens_of_their_own(loaded):
    assert len(loaded.tokenize("12345")) == 5


def test_a_role_is_one_token_and_only_what_the_assistant_says_is_marked(loaded):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1 and 2?"},
        {"role": "assistant", "content": "3"},
    ]
    out = loaded.apply_chat_template(turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mark in zip(out["input_ids"], out["assistant_masks"], strict=True) if mark]
    assert loaded.decode(marked) == "3<|im_end|>"
    for role in ("system", "user", "assistant", "tool"):
        assert len(loaded.tokenize(f"{role}\n")) == 2
    prompt = loaded.apply_chat_template(turns[:2], tokenize=False, add_generation_prompt=True)
    assert loaded.apply_chat_template(turns, tokenize=False).startswith(prompt)


def test_no_text_at_all_still_gives_a_tokenizer_of_bytes(tmp_path):
    trained = train_tokenizer(iter(()), tmp_path)
    from tokenizers import Tokenizer

    raw = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert raw.decode(raw.encode("Grüße 你好").ids) == "Grüße 你好"
    assert trained.texts == 0
