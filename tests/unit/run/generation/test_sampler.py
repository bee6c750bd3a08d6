"""Answers that a policy samples: the tokens of generate(), the numbers of softmax, and nothing that depends on the batch."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    GPT2Config,
    LogitsProcessorList,
    MambaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen3NextConfig,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from autotrain_llm.run.algorithms.rl.value_head import add_value_head
from autotrain_llm.run.engine.layouts import BatchLayout, Flat, Padded
from autotrain_llm.run.generation import decoder
from autotrain_llm.run.generation.completion_text import texts
from autotrain_llm.run.generation.kv_cache import new_cache
from autotrain_llm.run.generation.sample_token import distribution, sample_token, uniform_numbers
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sample, Sampling
from autotrain_llm.run.generation.vllm_engine import weights_of

VOCABULARY = 48
END = 2
SIZE = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": END, "pad_token_id": 0}
OF_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
CONFIGS = {
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=128, **SIZE),
    "bloom": BloomConfig(hidden_size=32, n_layer=2, n_head=2, **SIZE),
    "mistral, that sees eight tokens": MistralConfig(**OF_LLAMA, **SIZE, sliding_window=8),
    "mamba, without a cache of keys": MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **SIZE),
    "qwen3_next, which mixes both": Qwen3NextConfig(
        **OF_LLAMA,
        **SIZE,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
}


def spread(model: PreTrainedModel) -> PreTrainedModel:
    """Weights so large that the likeliest token changes from place to place, and the end token comes now and then."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def policy(llama: Path) -> PreTrainedModel:
    return spread(AutoModelForCausalLM.from_pretrained(llama))


def prompts_of(lengths: Sequence[int], vocabulary: int = VOCABULARY) -> list[np.ndarray]:
    chance = np.random.default_rng(0)
    return [chance.integers(3, vocabulary, length).astype(np.int32) for length in lengths]


def sampler_of(layout: BatchLayout, ends: Sequence[int] = (END,), **settings: Any) -> Sampler:
    return Sampler(layout, None, ends, Sampling(**{"max_new_tokens": 12, **settings}))  # type: ignore[arg-type]


def generated(model: Any, prompt: np.ndarray, count: int) -> list[int]:
    """What generate() answers to one prompt alone, greedily."""
    ids = torch.tensor(prompt[None].astype(np.int64))
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
        )
    return made[0, ids.shape[1] :].tolist()


def same_as_generate(model: Any, layout: BatchLayout, prompts: list[np.ndarray], **settings: Any) -> list[Sample]:
    samples = sampler_of(layout, **settings).sample(model, prompts, range(len(prompts)), greedy=True)
    for prompt, sample in zip(prompts, samples, strict=True):
        assert sample.completion.tolist() == generated(model, prompt, 12)
        assert sample.prompt.tolist() == prompt.tolist()
        assert sample.finished == (sample.completion[-1] == END)
    return samples


# ---- the tokens


@pytest.mark.parametrize("batch", [2, 64])
def test_greedy_answers_are_those_of_generate(policy, batch):
    prompts = prompts_of([3, 9, 1, 5, 9, 17, 2], vocabulary=300)
    same_as_generate(policy, Flat(policy), prompts, batch=batch)


def test_greedy_answers_are_those_of_generate_with_an_adapter(llama):
    model: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(llama), LoraConfig(r=4, target_modules="all-linear")
    )
    spread(model)
    layout = Flat(model)
    with_it = same_as_generate(model, layout, prompts_of([4, 7, 2]))
    with model.disable_adapter():
        without = sampler_of(layout).sample(model, prompts_of([4, 7, 2]), range(3), greedy=True)
    assert [one.completion.tolist() for one in with_it] != [one.completion.tolist() for one in without]


@pytest.mark.parametrize("name", CONFIGS)
def test_other_architectures_answer_as_they_generate(name):
    model = spread(AutoModelForCausalLM.from_config(CONFIGS[name]))
    same_as_generate(model, Padded(0), prompts_of([6, 3, 6, 11]))


def test_an_answer_ends_with_its_first_end_token_and_others_at_the_limit(policy):
    prompts = prompts_of([5] * 4, vocabulary=300)
    sampler = sampler_of(Flat(policy), ends=[END, 7, 9, 11, *range(100, 140)], max_new_tokens=9)
    samples = sampler.sample(policy, prompts, range(80), per_prompt=20)
    ends = set(sampler.decoder.end_tokens)
    assert {sample.finished for sample in samples} == {True, False}
    for sample in samples:
        *before, last = sample.completion.tolist()
        assert not ends & set(before)
        assert sample.finished == (last in ends)
        assert sample.finished or len(sample.completion) == 9
        assert sample.logprobs.shape == sample.completion.shape


def test_looking_less_often_who_has_ended_changes_no_answer(policy, monkeypatch):
    prompts = prompts_of([5, 9], vocabulary=300)
    sampler = sampler_of(Flat(policy), ends=[END, 7, 9, 11, *range(100, 140)], max_new_tokens=17)
    often = sampler.sample(policy, prompts, range(40), per_prompt=20)
    monkeypatch.setitem(decoder.STEPS_BETWEEN_CHECKS, "cpu", 8)
    seldom = sampler.sample(policy, prompts, range(40), per_prompt=20)
    assert any(sample.finished and len(sample.completion) < 8 for sample in often)
    for one, other in zip(often, seldom, strict=True):
        assert one.completion.tolist() == other.completion.tolist() and one.finished == other.finished


def test_in_half_precision_what_was_read_is_kept_in_half_precision(policy):
    cache = new_cache(policy.config)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        policy(input_ids=torch.tensor([[5, 6, 7]]), past_key_values=cache, use_cache=True)
    assert {part.dtype for layer in cache.layers for part in (layer.keys, layer.values)} == {torch.bfloat16}


def test_a_model_that_trains_goes_on_training_afterwards(policy):
    policy.train()
    sampler_of(Flat(policy)).sample(policy, prompts_of([3]), [0])
    assert policy.training
    policy.eval()


# ---- the numbers


def test_an_answer_is_the_same_alone_or_among_others_and_in_any_order(policy):
    prompts = prompts_of([3, 9, 1, 5], vocabulary=300)
    seeds = list(range(100, 112))
    sampler = sampler_of(Flat(policy))
    together = sampler.sample(policy, prompts, seeds, per_prompt=3)
    assert [len(sample.prompt) for sample in together[::3]] == [3, 9, 1, 5]
    for number, prompt in enumerate(prompts):
        for other in range(3):
            place = 3 * number + other
            (alone,) = sampler.sample(policy, [prompt], [seeds[place]])
            assert alone.completion.tolist() == together[place].completion.tolist()
    small = sampler_of(Flat(policy), batch=5).sample(policy, prompts[::-1], seeds[::-1], per_prompt=3)
    assert [one.completion.tolist() for one in small[::-1]] == [one.completion.tolist() for one in together]


def test_other_seeds_give_other_answers(policy):
    sampler = sampler_of(Flat(policy))
    samples = sampler.sample(policy, prompts_of([5]), range(8), per_prompt=8)
    assert len({tuple(sample.completion.tolist()) for sample in samples}) > 6


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.6}, {"temperature": 1.5, "top_k": 5}, {"top_p": 0.7}])
def test_tokens_come_as_often_as_their_probability_says(policy, settings):
    """The first tokens of 4000 answers to one prompt against softmax(logits / temperature), cut by hand."""
    (prompt,) = prompts_of([4], vocabulary=300)
    count = 4000
    samples = sampler_of(Flat(policy), max_new_tokens=1, batch=1000, **settings).sample(
        policy, [prompt], range(count), per_prompt=count
    )
    with torch.no_grad():
        logits = policy(torch.tensor(prompt[None].astype(np.int64))).logits[0, -1].double()
    expected = by_hand(logits, **settings)
    seen = Counter(int(sample.completion[0]) for sample in samples)
    assert set(seen) <= {token for token, share in enumerate(expected) if share > 0}
    assert chi_squared(seen, [count * share for share in expected]) < 5
    for sample in samples[:50]:
        assert sample.logprobs[0] == pytest.approx(np.log(expected[int(sample.completion[0])]), abs=1e-5)


def chi_squared(seen: Counter[int], expected: list[float]) -> float:
    """Pearson's statistic in standard deviations above its mean; tokens that are expected less than five times count as one."""
    often = {token: number for token, number in enumerate(expected) if number >= 5}
    cells = [(seen[token], number) for token, number in often.items()]
    rest = sum(expected) - sum(often.values())
    cells += [(sum(seen.values()) - sum(seen[token] for token in often), rest)] if rest > 1e-6 else []
    freedom = len(cells) - 1
    statistic = sum((found - number) ** 2 / number for found, number in cells)
    return (statistic - freedom) / (2 * freedom) ** 0.5


def by_hand(logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> list[float]:
    shares = torch.softmax(logits / temperature, dim=-1).tolist()
    order = sorted(range(len(shares)), key=lambda token: -shares[token])
    kept = order[: top_k or None]
    whole = sum(shares[token] for token in kept)
    nucleus, held = [], 0.0
    for token in kept:
        if held / whole >= top_p:
            break
        nucleus.append(token)
        held += shares[token]
    return [share / held if token in nucleus else 0.0 for token, share in enumerate(shares)]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, 10, 0.8), (1.0, 0, 0.3), (2.0, 3, 1.0)])
def test_what_is_cut_is_what_transformers_cuts(temperature, top_k, top_p):
    torch.manual_seed(0)
    logits = torch.randn(5, 60, dtype=torch.float64) * 3
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    expected = torch.log_softmax(warpers(torch.zeros(5, 1, dtype=torch.int64), logits), dim=-1)
    found = distribution(logits, Sampling(1, temperature, top_k, top_p))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_log_probabilities_are_those_of_a_fresh_forward_pass(policy):
    samples = sampler_of(Flat(policy), temperature=0.8).sample(
        policy, prompts_of([3, 9, 5], 300), range(6), per_prompt=2
    )
    for sample in samples:
        ids = np.concatenate([sample.prompt, sample.completion]).astype(np.int64)
        with torch.no_grad():
            logits = policy(torch.from_numpy(ids)[None]).logits[0, len(sample.prompt) - 1 : -1]
        whole = torch.log_softmax(logits / 0.8, dim=-1)
        fresh = whole[torch.arange(len(whole)), torch.from_numpy(sample.completion.astype(np.int64))]
        np.testing.assert_allclose(sample.logprobs, fresh.numpy(), atol=2e-5)


def test_a_number_is_a_seeds_own():
    both = uniform_numbers([5, 2**63 + 1], 6)
    assert both.tolist() == [uniform_numbers([5], 6)[0].tolist(), uniform_numbers([2**63 + 1], 6)[0].tolist()]
    assert both.min() >= 0 and both.max() < 1


def test_a_token_without_probability_is_never_drawn():
    logprobs = torch.tensor([[-torch.inf, np.log(0.25), -torch.inf, np.log(0.75), -torch.inf]]).repeat(5, 1)
    numbers = torch.tensor([0.0, 0.2499999, 0.2500001, 0.9999999999, 1.0], dtype=torch.float64)
    assert sample_token(logprobs, numbers).tolist() == [1, 1, 3, 3, 3]


# ---- handed to vLLM


@pytest.mark.parametrize(
    "more",
    [{"modules_to_save": ["embed_tokens"]}, {"trainable_token_indices": {"embed_tokens": [3, 4]}}, {"use_dora": True}],
)
def test_weights_are_handed_over_by_the_names_of_the_models_files_with_the_adapter_in_them(more, llama):
    base = AutoModelForCausalLM.from_pretrained(llama)
    names = set(base.state_dict())
    model: Any = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], **more))
    spread(model)
    add_value_head(model, "shared")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    handed = dict(weights_of(model))
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    merged = copy.deepcopy(model).merge_and_unload().state_dict()
    assert set(handed) == names
    for name in names:
        torch.testing.assert_close(handed[name], merged[name].to(torch.bfloat16), rtol=0, atol=0)


# ---- as text


def test_an_answer_keeps_the_space_that_it_begins_with(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<s>", "</s>", "▁red", "▁is", "?", "▁blue"])}
    raw = Tokenizer(models.WordLevel(words, unk_token="?"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    nothing = np.zeros(0, dtype=np.float32)
    sample = Sample(np.array([0, 2, 4], np.int32), np.array([3, 5, 1], np.int32), True, nothing)
    assert tokenizer.decode([3, 5], skip_special_tokens=True) == "is blue"
    assert texts([sample], tokenizer) == [" is blue"]
    assert texts([], tokenizer) == []


def test_the_answers_of_a_run_are_decoded_with_its_tokenizer(policy, llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    prompt = np.array(tokenizer.encode("Which colour", add_special_tokens=False), np.int32)
    answer = np.array([*tokenizer.encode(" is red?", add_special_tokens=False), END], np.int32)
    sampler = Sampler(Flat(policy), tokenizer, [END], Sampling(4))
    assert texts([Sample(prompt, answer, True, np.zeros(0, np.float32))], sampler.tokenizer) == [" is red?"]
