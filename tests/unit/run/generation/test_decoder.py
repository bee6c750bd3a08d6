"""The one generation loop: the tokens of generate(), whatever is in the batch, up to the end token or the context."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from autotrain_llm.run.generation.decoder import Decoder
from autotrain_llm.run.generation.types import Sampling

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [40], [100, 101, 102], [7, 7]]


@pytest.fixture(scope="module")
def model(llama):
    return AutoModelForCausalLM.from_pretrained(llama).eval()


def generated(model, prompt, **settings):
    """What generate() adds to one prompt by itself."""
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=0, **settings)
    return out[0, len(prompt) :].tolist()


def completed(decoder, model, prompts=PROMPTS):
    return [
        sample.completion.tolist()
        for sample in decoder.complete(model, [np.asarray(prompt, dtype=np.int32) for prompt in prompts])
    ]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_greedy_completions_are_those_of_generate_one_prompt_at_a_time(model, batch):
    decoder = Decoder([], Sampling(12, batch=batch))
    expected = [generated(model, prompt, max_new_tokens=12, eos_token_id=None) for prompt in PROMPTS]
    assert completed(decoder, model) == expected


def test_a_repetition_penalty_changes_the_choice_as_in_generate(model):
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(0.1)])
    decoder = Decoder([], Sampling(12), processors=processors)
    expected = generated(model, PROMPTS[0], max_new_tokens=12, eos_token_id=None, repetition_penalty=0.1)
    assert completed(decoder, model, PROMPTS[:1]) == [expected]
    assert expected != generated(model, PROMPTS[0], max_new_tokens=12, eos_token_id=None)


def test_a_completion_ends_with_its_end_token(model):
    free = completed(Decoder([], Sampling(12)), model)
    end = free[0][4]
    samples = Decoder([end], Sampling(12)).complete(model, [np.asarray(PROMPTS[0], dtype=np.int32)])
    assert samples[0].finished and samples[0].completion.tolist() == free[0][: free[0].index(end) + 1]


def test_a_completion_stays_within_the_context(model):
    decoder = Decoder([], Sampling(12, longest=10))
    assert [len(tokens) for tokens in completed(decoder, model, PROMPTS[:1])] == [3]


def test_seeds_must_match_the_completions(model):
    with pytest.raises(ValueError, match="need 4 seeds, not 1"):
        Decoder([], Sampling(3)).complete(model, [np.asarray(prompt) for prompt in PROMPTS], [1])


@pytest.mark.parametrize("sampled", [False, True])
def test_the_tokens_of_each_step_are_told_as_they_are_chosen(model, sampled):
    told: list[int] = []
    decoder = Decoder([], Sampling(12, temperature=0.9), on_tokens=lambda tokens: told.extend(tokens))
    (sample,) = decoder.complete(model, [np.asarray(PROMPTS[0], dtype=np.int32)], [5] if sampled else None)
    assert told == sample.completion.tolist()
