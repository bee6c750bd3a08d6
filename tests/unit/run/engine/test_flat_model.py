"""A prepared model: rows that continue others, adapters, checkpointing, two processes, TRL, and its own self when called normally."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Starcoder2Config, Starcoder2ForCausalLM

from autotrain_llm.run.engine.flat import attention
from autotrain_llm.run.engine.flat import cpu_attention as blocks
from autotrain_llm.run.engine.flat.batch import Segments, flatten
from autotrain_llm.run.engine.flat.model import prepare_model, release_model, switch

VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def llama(**changes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**(SHAPE | changes))).double()


def some_rows(*lengths: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [(random.integers(3, VOCABULARY, one).astype(np.int32), random.random(one) < 0.6) for one in lengths]


def formula(model: torch.nn.Module, rows) -> torch.Tensor:
    """The summed cross entropy, each row alone."""
    total = torch.zeros((), dtype=torch.float64)
    for ids, trained in rows:
        tokens = torch.from_numpy(np.asarray(ids)).long()
        places = [place for place in np.flatnonzero(trained) if place > 0]
        log_softmax = model(input_ids=tokens[None]).logits[0].log_softmax(-1)
        total = total - sum(log_softmax[place - 1, tokens[place]] for place in places)
    return total


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], within: float = 1e-10) -> None:
    assert left.keys() == right.keys()
    assert left
    for name, gradient in left.items():
        assert torch.allclose(gradient, right[name], rtol=0, atol=within), name


@pytest.mark.parametrize("window", [None, 6])
def test_answers_that_continue_one_prompt_equal_rows_that_repeat_it(window):
    torch.manual_seed(0)
    # An architecture without norms in float32, where two halves of a gradient would not be rounded like their sum.
    model = Starcoder2ForCausalLM(Starcoder2Config(**SHAPE, sliding_window=window)).double()
    (prompt, _), (good, _), (bad, _), other = some_rows(150, 9, 5, 11)
    nothing = np.zeros(len(prompt), bool)
    whole = [(np.concatenate([prompt, one]), np.concatenate([nothing, np.ones(len(one), bool)])) for one in (good, bad)]
    expected = formula(model, [*whole, other])
    expected_gradients = gradients(model, expected)
    prepare_model(model)
    parts = [(prompt, nothing), (good, np.ones(9, bool)), (bad, np.ones(5, bool)), other]
    shared = model(**flatten(parts, continues=[-1, 0, 0, -1]))
    assert torch.allclose(shared.loss, expected, rtol=0, atol=1e-10)
    assert_same(gradients(model, shared.loss), expected_gradients)


@pytest.mark.parametrize("softcap", [None, 0.9])
@pytest.mark.parametrize("window", [None, 3, 70])
@pytest.mark.parametrize("most", [0, 1 << 30], ids=["computed again", "kept"])
def test_blocks_equal_attention_segment_by_segment(most, window, softcap, monkeypatch):
    monkeypatch.setattr(blocks, "KEPT_PROBABILITIES", most)
    monkeypatch.setattr(blocks, "BLOCK_SCORES", 1 << 13)
    segments = Segments((1, 40, 30, 200, 2, 2, 130), (-1, -1, -1, -1, 3, 3, -1))
    torch.manual_seed(0)
    tokens = sum(segments.lengths)
    tensors = [torch.randn(1, heads, tokens, 8, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    for layout in (segments, Segments(segments.lengths)):
        results = []
        for compute in (attention._blocks, attention._sdpa_per_segment):
            output = compute(*tensors, attention.AttentionArgs(layout, 0.3, window=window, softcap=softcap))
            results.append([output, *torch.autograd.grad((output * output.detach().cos()).sum(), tensors)])
        for one, other in zip(*results, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-10)


def test_gradient_checkpointing_changes_nothing():
    model = prepare_model(llama()).train()
    rows = some_rows(7, 30, 4)
    plain = gradients(model, model(**flatten(rows)).loss)
    calls = []
    hook = model.model.layers[0].input_layernorm.register_forward_pre_hook(lambda *of: calls.append(of[0]))
    model.gradient_checkpointing_enable()
    checkpointed = gradients(model, model(**flatten(rows)).loss)
    hook.remove()
    assert len(calls) == 2, "the layers were not computed again: checkpointing was off"
    assert_same(plain, checkpointed)


@pytest.mark.parametrize("saved", [None, ["lm_head"], ["embed_tokens", "lm_head"]])
def test_lora_with_and_without_a_trained_head_equals_the_formula(saved):
    model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], modules_to_save=saved))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    rows = some_rows(7, 30, 4)
    expected = formula(model, rows)
    expected_gradients = gradients(model, expected)
    prepare_model(model)
    loss = model(**flatten(rows)).loss
    assert torch.allclose(loss, expected, rtol=0, atol=1e-10)
    assert_same(gradients(model, loss), expected_gradients)
    with model.disable_adapter():
        assert float(model(**flatten(rows)).loss.detach()) != pytest.approx(float(expected.detach()), abs=1e-6)


def test_trained_tokens_of_a_tied_head_equal_the_formula():
    config = LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[4, 5, 6])
    model = get_peft_model(llama(tie_word_embeddings=True), config)
    rows = some_rows(7, 30)
    expected = formula(model, rows)
    expected_gradients = gradients(model, expected)
    prepare_model(model)
    loss = model(**flatten(rows)).loss
    assert torch.allclose(loss, expected, rtol=0, atol=1e-10)
    assert_same(gradients(model, loss), expected_gradients)


def test_an_adapter_on_the_head_is_refused_in_words():
    model = prepare_model(get_peft_model(llama(), LoraConfig(r=2, target_modules=["lm_head"])))
    with pytest.raises(ValueError, match="carries an adapter"):
        model(**flatten(some_rows(5)))


def test_called_normally_a_prepared_model_is_itself():
    model = llama().eval()
    ids = torch.tensor([[3, 4, 5, 6], [0, 0, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    signature, expected = inspect.signature(model.forward), model(input_ids=ids, attention_mask=mask).logits
    said = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0)
    prepare_model(model)
    model(**flatten(some_rows(5, 9)))
    assert inspect.signature(model.forward) == signature
    assert model(input_ids=ids, attention_mask=mask).logits.equal(expected)
    model(**flatten(some_rows(5, 9)))
    switch(model, on=False)
    assert model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0).equal(said)


def test_a_released_model_is_as_before_and_a_prepared_one_saves_and_copies(tmp_path):
    model = llama()
    rows = some_rows(5, 9)
    prepare_model(model)
    loss = model(**flatten(rows)).loss.detach()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.lm_head.weight.zero_()
    assert model(**flatten(rows)).loss.detach() == loss
    assert twin(**flatten(rows)).loss.detach() != loss
    model.save_pretrained(tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert loaded.config.architectures == ["LlamaForCausalLM"]
    assert prepare_model(loaded)(**flatten(rows)).loss.detach() == loss
    release_model(model)
    assert "forward" not in vars(model)
    with pytest.raises(AttributeError):
        model(**flatten(rows)).loss.backward()


def test_hidden_states_of_the_targets_can_be_had_instead_of_a_loss():
    model = prepare_model(llama())
    batch = flatten(some_rows(5, 9))
    hidden = model(**batch, compute="hidden").hidden
    logprobs = model(**batch, compute="logprobs").logprobs
    again = model.lm_head(hidden).log_softmax(-1).gather(1, batch["target_labels"][:, None])[:, 0]
    assert torch.allclose(logprobs, again, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="not 'logits'"):
        model(**batch, compute="logits")


def test_attention_without_segments_is_refused_rather_than_wrong():
    one = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="without segments"):
        attention.flat_attention(torch.nn.Identity(), one, one, one, None)
    with pytest.raises(ValueError, match="no sinks"):
        attention.flat_attention(torch.nn.Identity(), one, one, one, None, segments=Segments((3,)), s_aux=one)


def test_loss_and_gradients_equal_those_of_trl(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")))
    tokenizer.pad_token, tokenizer.eos_token = "w0", "w1"
    rows = some_rows(5, 19, 11)
    data = Dataset.from_list(
        [{"input_ids": ids.tolist(), "labels": np.where(trained, ids, -100).tolist()} for ids, trained in rows]
    )
    model = llama().float()
    settings = SFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=3,
        max_steps=1,
        report_to="none",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = SFTTrainer(model=copy.deepcopy(model), args=settings, train_dataset=data, processing_class=tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    expected = trainer.compute_loss(trainer.model.train(), batch)
    expected_gradients = gradients(trainer.model, expected)
    flat = flatten(rows)
    loss = prepare_model(model)(**flat).loss / len(flat["target_labels"])
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    assert_same(gradients(model, loss), expected_gradients, within=1e-6)
