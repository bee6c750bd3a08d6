"""NEFTune: noise whose size follows from the length of each row, while the model is trained and never else."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.engine.embedding_noise import add_embedding_noise, lengths_of_rows
from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import prepare_model

ALPHA, HIDDEN = 6.0, 64


@pytest.fixture
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 50}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=4))


def embedded(model: LlamaForCausalLM) -> list[torch.Tensor]:
    """Collects what the embedding gives to the first layer."""
    seen: list[torch.Tensor] = []
    model.model.layers[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    return seen


def test_the_noise_of_a_stream_has_the_size_of_each_rows_length(llama):
    rows = [([5] * 4, [True] * 4), ([7] * 36, [True] * 36), ([9], [False])]
    batch = flatten(rows)
    inputs = {name: value for name, value in batch.items() if name != "target_segments"}
    prepare_model(llama)
    add_embedding_noise(llama, ALPHA)
    seen = embedded(llama)
    llama.train()
    torch.manual_seed(1)
    llama(**inputs, compute="loss")
    noise = seen[0][0] - llama.get_input_embeddings().weight[batch["input_ids"][0]].detach()
    torch.manual_seed(1)
    drawn = torch.empty(1, 41, HIDDEN).uniform_(-1, 1)[0]
    sizes = torch.tensor([ALPHA / (length * HIDDEN) ** 0.5 for length in [4] * 4 + [36] * 36 + [1]])
    torch.testing.assert_close(noise, drawn * sizes[:, None], atol=1e-6, rtol=0)


def test_padded_rows_have_the_noise_of_their_own_length(llama):
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    assert lengths_of_rows(None, mask).tolist() == [[9] * 9, [4] * 9]
    assert lengths_of_rows(torch.tensor([[0, 1, 2, 0, 1, 0]]), mask).tolist() == [[3, 3, 3, 2, 2, 1]]
    add_embedding_noise(llama, ALPHA)
    seen = embedded(llama)
    ids = torch.full((2, 9), 3)
    llama.train()(input_ids=ids, attention_mask=mask)
    largest = (seen[0] - llama.get_input_embeddings().weight[ids]).detach().abs().amax((1, 2))
    expected = torch.tensor([ALPHA / (length * HIDDEN) ** 0.5 for length in (9, 4)])
    torch.testing.assert_close(largest, expected, atol=0, rtol=0.03)


def test_nothing_is_added_without_gradients_in_evaluation_or_to_what_is_saved(llama):
    ids = torch.arange(6)[None]
    before, names = llama.eval()(input_ids=ids).logits, set(llama.state_dict())
    add_embedding_noise(llama, ALPHA)
    assert torch.equal(llama(input_ids=ids).logits, before)
    with torch.no_grad():
        assert torch.equal(llama.train()(input_ids=ids).logits, before)
    assert not torch.equal(llama(input_ids=ids).logits, before)
    assert set(llama.state_dict()) == names
