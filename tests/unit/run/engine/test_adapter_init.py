"""Adapters that begin with a part of the model's weights: trained on what is left, saved for the original model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.planning.plan import AdapterPlan, OptimizerPlan
from autotrain_llm.run.engine.adapter_init import finish_init, load_adapter_weights
from autotrain_llm.run.engine.loading import lora_config, quantization
from autotrain_llm.run.engine.optimizers import FAST, make_optimizer, raise_rates

IDS = torch.arange(12)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).save_pretrained(folder)
    return folder


def adapted(base: Path, init: str | None, seed: int = 0, **settings: Any) -> PeftModel:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"dora": False, "rslora": False, **settings}
    plan = AdapterPlan(r=4, alpha=8.0, dropout=0.0, target_modules=("all-linear",), merge=False, init=init, **options)
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(base), lora_config(plan, LlamaForCausalLM.from_pretrained(base))
    )
    finish_init(model, init, lambda: LlamaForCausalLM.from_pretrained(base))
    return model


def train_a_little(model: PeftModel) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("init", [None, "gaussian", "pissa", "olora"])
@pytest.mark.parametrize("rslora", [False, True])
def test_the_saved_adapter_is_right_on_the_original_model(init, rslora, base, tmp_path):
    model = adapted(base, init, rslora=rslora)
    torch.testing.assert_close(logits(model), logits(LlamaForCausalLM.from_pretrained(base)), atol=2e-5, rtol=0)
    if init in ("pissa", "olora"):
        assert all(matrix.abs().max() > 0.01 for name, matrix in model.named_parameters() if ".lora_" in name)
    train_a_little(model)
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), str(tmp_path))
    torch.testing.assert_close(logits(loaded), logits(model), atol=2e-5, rtol=0)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_training_goes_on_from_a_saved_adapter_wherever_its_beginning_was_computed(init, base, tmp_path):
    model = adapted(base, init)
    train_a_little(model)
    model.save_pretrained(str(tmp_path))
    same, other = adapted(base, init), adapted(base, init, seed=3)
    with torch.no_grad():  # as if computed with another rounding
        for name, matrix in vars(other)["initial_adapter"].items():
            matrix *= 1.5 if ".lora_A." in name else 0.5
    for again in (same, other):
        load_adapter_weights(again, tmp_path)
    trained = {name: matrix for name, matrix in model.named_parameters() if matrix.requires_grad}
    for name, matrix in same.named_parameters():
        assert not matrix.requires_grad or torch.equal(matrix, trained[name])
    torch.testing.assert_close(logits(same), logits(model), atol=0, rtol=0)


def test_loftq_brings_a_model_in_4_bits_nearer_to_the_original(base):
    pytest.importorskip("bitsandbytes")
    original = logits(LlamaForCausalLM.from_pretrained(base))
    errors = {}
    for init in (None, "loftq"):
        plan = AdapterPlan(
            r=8,
            alpha=8.0,
            dropout=0.0,
            dora=False,
            rslora=False,
            target_modules=("all-linear",),
            merge=False,
            init=init,
        )
        quantised = LlamaForCausalLM.from_pretrained(base, quantization_config=quantization("int4"))
        model = get_peft_model(quantised, lora_config(plan, quantised))
        finish_init(model, init, lambda: LlamaForCausalLM.from_pretrained(base))
        errors[init] = float((logits(model) - original).norm())
    assert errors["loftq"] < 0.8 * errors[None]


def test_a_matrix_in_4_bits_passes_gradients_on_after_an_evaluation():
    """bitsandbytes 0.50 repacks it in evaluation on a processor with AVX512 BF16, and then returns no gradient."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.bfloat16).to("cpu")
    values = torch.randn(4, 64, requires_grad=True)
    with torch.no_grad():
        layer.eval()(values.detach())
    layer.train()(values).sum().backward()
    assert values.grad is not None and values.grad.norm() > 0


def test_importing_bitsandbytes_imports_no_kernels_from_the_hub(tmp_path):
    pytest.importorskip("bitsandbytes")
    (tmp_path / "kernels.py").write_text("raise SystemExit('kernels was imported')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import autotrain_llm.run, bitsandbytes; print('kernels' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False" and "kernels" not in ran.stderr


def test_the_b_matrices_learn_faster_by_their_ratio(base):
    """LoRA+: the first step of AdamW changes every value with a gradient by its rate."""
    model = adapted(base, None)
    arguments: Any = SimpleNamespace(
        learning_rate=1e-3, weight_decay=0.0, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-12
    )
    train_a_little(model)
    for name in ("adamw_bf16", "muon"):
        optimizer = make_optimizer(OptimizerPlan(name, {}), model, arguments, list(dict(model.named_parameters())))
        raise_rates(optimizer, model, 16.0)
        rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        assert all(rates[id(weight)] == (16e-3 if ".lora_B." in name else 1e-3) for name, weight in trained.items())
        assert len(rates) == len(trained) and {group[FAST] for group in optimizer.param_groups} == {True, False}
        optimizer.load_state_dict(optimizer.state_dict())
        before = {name: weight.detach().clone() for name, weight in trained.items()}
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        changes = {name: float((weight - before[name]).detach().abs().median()) for name, weight in trained.items()}
        slow, fast = ([change for name, change in changes.items() if f".lora_{side}." in name] for side in ("A", "B"))
        if name == "adamw_bf16":
            assert slow == pytest.approx([1e-3] * len(slow), rel=0.02) and fast == pytest.approx(
                [16e-3] * len(fast), rel=0.02
            )
        else:
            assert min(fast) > 4 * max(slow) / 4
