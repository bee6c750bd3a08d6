"""Compiled layers: one graph for all batches, and the numbers of the layers as they are."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.engine.flat import attention, cpu_attention
from autotrain_llm.run.engine.flat.batch import Segments, flatten
from autotrain_llm.run.engine.flat.compiled import compile_layers
from autotrain_llm.run.engine.flat.model import prepare_model

WORDS = 61
# Lengths of rows, and for each the row that it continues.
BATCHES = (((7, 30, 12), ()), ((40,), ()), ((3, 3, 3, 3, 90), ()), ((11, 8, 9), (-1, 0, 0)), ((70, 71), ()))


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=48, num_hidden_layers=3)
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 8
    model = prepare_model(LlamaForCausalLM(config).double())
    assert isinstance(model, LlamaForCausalLM)
    return model.train()


def batches() -> list[dict]:
    random = np.random.default_rng(0)
    return [
        flatten([(random.integers(0, WORDS, length), np.ones(length, dtype=bool)) for length in lengths], continues)
        for lengths, continues in BATCHES
    ]


def losses_and_gradients(model: LlamaForCausalLM) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    found = []
    for batch in batches():
        loss = model(**batch, compute="loss").loss
        found.append((loss.detach(), torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)))
    return found


# torch's backend that compiles nothing shows what matters here: whether layers are traced whole and once. The other takes a minute on a slow machine.
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_five_unlike_batches_are_one_graph_with_the_same_losses_and_gradients(backend, checkpointing):
    torch.compiler.reset()
    model = llama()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    expected = losses_and_gradients(model)
    graphs = compile_layers(model, backend)  # a layer that is not one graph raises an error
    for (loss, gradients), (compiled, compiled_gradients) in zip(expected, losses_and_gradients(model), strict=True):
        torch.testing.assert_close(compiled, loss, rtol=0, atol=1e-10)
        for gradient, other in zip(gradients, compiled_gradients, strict=True):
            torch.testing.assert_close(other, gradient, rtol=0, atol=1e-10)
    assert graphs.count == 1


def test_a_call_without_segments_runs_the_layers_as_they_are():
    model = llama()
    ids = torch.arange(12)[None]
    expected = model(input_ids=ids).logits
    graphs = compile_layers(model, "eager")
    assert torch.equal(model(input_ids=ids).logits, expected)
    model.generate(input_ids=ids, max_new_tokens=3, do_sample=False)
    assert graphs.count == 0


def test_dropout_of_attention_is_an_error_and_not_left_out():
    model = llama()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    compile_layers(model, "eager")
    with pytest.raises(Exception, match="has no dropout in compiled layers"):
        model(**batches()[0], compute="loss")


def test_the_copy_of_a_compiled_model_calls_its_own_layers():
    model = llama()
    compile_layers(model, "eager")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    batch = batches()[0]
    assert model(**batch, compute="hidden").hidden.abs().sum() > 0
    assert other(**batch, compute="hidden").hidden.abs().sum() == 0


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("lengths, continues", [((9, 1, 80, 30), ()), ((20, 5, 9, 4), (-1, 0, 0, 1))])
def test_attention_as_one_operation_equals_attention_segment_by_segment(lengths, continues, window, softcap, key_heads):
    segments = Segments(lengths, continues)
    torch.manual_seed(0)
    shapes = [(1, sum(lengths), heads, 8) for heads in (4, key_heads, key_heads)]  # as layers make them: transposed
    inputs = [torch.randn(shape, dtype=torch.float64).transpose(1, 2).requires_grad_() for shape in shapes]
    args = attention.AttentionArgs(segments, 0.3, window=window, softcap=softcap)
    expected = attention._sdpa_per_segment(*inputs, args)
    offsets = segments.offsets
    settings = (offsets.queries, offsets.parents, 0.3, window or 0, softcap or 0.0)
    output = cpu_attention.segment_attention(*inputs, *settings)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(output)
    gradients = torch.autograd.grad(expected, inputs, upstream)
    for gradient, other in zip(gradients, torch.autograd.grad(output, inputs, upstream), strict=True):
        torch.testing.assert_close(other, gradient, rtol=0, atol=1e-12)
    # Graphs are compiled for the memory layout that the operation's fake results have.
    own = cpu_attention.segment_attention_backward(upstream, *[tensor.detach() for tensor in inputs], *settings)
    assert all(tensor.is_contiguous() for tensor in (output, *own))


@pytest.mark.parametrize("continues", [(), (-1, 0, 1)])
def test_the_kernel_for_gpus_is_traced_as_one_operation_for_all_lengths(continues):
    """Without a GPU: on torch's device without storage, where the kernel's shapes are computed and nothing else."""

    def attend(query: torch.Tensor, key: torch.Tensor, segments: Segments) -> torch.Tensor:
        return attention._opaque(query, key, key, segments, 0.3, 6, None)

    torch.compiler.reset()
    compiled = torch.compile(attend, backend="eager", fullgraph=True, dynamic=True)
    for lengths in ((5, 9, 3), (8, 1, 40)):
        segments = Segments(lengths, continues)
        segments.offsets = segments.offsets.to(torch.device("meta"))
        query, key = (torch.empty(1, heads, sum(lengths), 8, device="meta", dtype=torch.bfloat16) for heads in (4, 2))
        with torch._dynamo.config.patch(error_on_recompile=lengths[0] == 8):
            assert compiled(query, key, segments).shape == (1, sum(lengths), 4, 8)


@pytest.mark.slow
@pytest.mark.parametrize("continues", [(), (-1, 0, 1)])
def test_torch_finds_nothing_wrong_with_the_operation(continues):
    offsets = Segments((5, 9, 3), continues).offsets
    inputs = [torch.randn(1, heads, 17, 8, requires_grad=True) for heads in (4, 2, 2)]
    torch.library.opcheck(cpu_attention.segment_attention, (*inputs, offsets.queries, offsets.parents, 0.3, 0, 0.0))
