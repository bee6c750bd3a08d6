"""How tokenizers are told to llama.cpp."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from autotrain_llm.models.gguf import (
    BYTE,
    CONTROL,
    NORMAL,
    SPLITS,
    UNUSED,
    GgufTokenizer,
    token_list,
    tokenizer_for_gguf,
)
from autotrain_llm.models.scratch import train_tokenizer

TEXTS = ["It's one of 12 texts, isn't it?", "Another one: 2024, again."] * 4


def content(pre_tokenizer: Any, **model: Any) -> dict[str, Any]:
    """The content of a tokenizer.json."""
    raw = Tokenizer(models.BPE(**model))
    raw.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TEXTS, trainer)
    return json.loads(raw.to_str())


def bytes_of(regex: str) -> Any:
    split = pre_tokenizers.Split(Regex(regex), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@pytest.mark.parametrize("name", [name for name, split in SPLITS.items() if isinstance(split, str)])
def test_a_regular_expression_has_the_name_of_the_tokenizer_that_it_is_from(name):
    found = tokenizer_for_gguf(content(bytes_of(SPLITS[name])))
    assert found == GgufTokenizer("gpt2", "dbrx" if name == "llama-bpe" else name)  # merges are not ignored


def test_llama_3_takes_whole_words_first():
    document = content(bytes_of(SPLITS["llama-bpe"]))
    document["model"]["ignore_merges"] = True
    assert tokenizer_for_gguf(document) == GgufTokenizer("gpt2", "llama-bpe")


def test_the_split_counts_and_not_how_it_is_written():
    gpt2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    assert tokenizer_for_gguf(content(bytes_of(gpt2))) == GgufTokenizer("gpt2", "gpt-2")


def test_a_split_that_llama_cpp_has_no_name_for_is_a_reason():
    reason = tokenizer_for_gguf(content(bytes_of(r"\S+|\s+")))
    assert isinstance(reason, str) and "has no name" in reason


def test_a_tokenizer_of_another_kind_is_a_reason():
    reason = tokenizer_for_gguf({"model": {"type": "Unigram"}})
    assert isinstance(reason, str) and "Unigram" in reason
    assert isinstance(tokenizer_for_gguf({"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Whitespace"}}), str)


def test_a_new_model_s_tokenizer_has_a_name(tmp_path):
    train_tokenizer(iter(TEXTS), tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    assert tokenizer_for_gguf(document) == GgufTokenizer("gpt2", "smollm")


def test_rows_of_the_embedding_without_a_token_are_named():
    listed = token_list(
        content(bytes_of(SPLITS["gpt-2"] if isinstance(SPLITS["gpt-2"], str) else r"\S+")),
        310,
        GgufTokenizer("gpt2", "gpt-2"),
    )
    assert len(listed.tokens) == len(listed.types) == 310
    assert listed.tokens[0] == "</s>" and listed.types[0] == CONTROL
    assert listed.tokens[309] == "[PAD309]" and listed.types[309] == UNUSED


def test_what_is_merged_first_scores_highest():
    document = {
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<0x41>": 1, "a": 2, "b": 3, "ab": 4, "abab": 5},
            "merges": [["a", "b"], ["ab", "ab"]],
        }
    }
    kind = tokenizer_for_gguf(document)
    assert kind == GgufTokenizer("llama", "default")
    listed = token_list(document, 6, kind)
    assert listed.types[1:] == [BYTE, NORMAL, NORMAL, NORMAL, NORMAL]
    assert listed.scores[4] > listed.scores[5] > listed.scores[2]


def test_a_space_before_the_text_is_known():
    raw = Tokenizer(models.BPE(byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Replace("▁", " ")
    assert tokenizer_for_gguf(json.loads(raw.to_str())) == GgufTokenizer("llama", "default", adds_space=True)
