"""The adapters of a layer, computed together: PEFT's numbers, with fewer operations."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.compiled import compile_layers
from autotrain_llm.run.engine.flat.model import prepare_model
from autotrain_llm.run.engine.fused_adapters import FUSED, fuse_adapters
from support.architecture_configs import small_config

WORDS = 61


def adapted(kind: str = "llama", dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    """A small model with an adapter that changes its outputs."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(small_config(kind))
    settings = {"target_modules": "all-linear", "r": 4, "lora_alpha": 6, "lora_dropout": 0.0, **settings}
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # which begin at zero
                parameter.normal_(0, 0.1)
    return prepare_model(model).train()


def batch() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return flatten([(random.integers(0, WORDS, length), np.ones(length, dtype=bool)) for length in (7, 30, 12)])


def loss_and_gradients(model: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**batch(), compute="loss").loss
    loss.backward()
    return loss.detach(), {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def assert_same(model: Any, expected: tuple[torch.Tensor, dict[str, torch.Tensor]], tolerance: float = 1e-12) -> None:
    loss, gradients = loss_and_gradients(model)
    torch.testing.assert_close(loss, expected[0], rtol=tolerance, atol=tolerance)
    assert gradients.keys() == expected[1].keys() and gradients
    for name, gradient in gradients.items():
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(gradient, expected[1][name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llama", {}),
        ("llama", {"use_rslora": True}),
        ("llama", {"target_modules": ["q_proj", "v_proj", "gate_proj"]}),
        ("llama", {"rank_pattern": {"k_proj": 2, "down_proj": 6}}),
        ("qwen2", {}),  # with biases
        ("gemma2", {}),  # with another activation function
        ("gpt_neox", {}),  # one matrix for queries, keys and values
        ("gpt2", {}),  # whose matrices are transposed
    ],
    ids=["lora", "rslora", "some", "ranks", "qwen2", "gemma2", "gpt_neox", "gpt2"],
)
def test_losses_and_gradients_are_those_of_peft(kind: str, settings: dict[str, Any]) -> None:
    model = adapted(kind, **settings)
    expected = loss_and_gradients(model)
    assert (fuse_adapters(model) > 0) == (kind != "gpt2")
    assert_same(model, expected)


def test_checkpointing_changes_nothing() -> None:
    model = adapted()
    expected = loss_and_gradients(model)
    fuse_adapters(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    assert_same(model, expected)


class Masked(nn.Module):
    """Dropout with a mask that follows from the shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * fixed_mask(x.shape[-2:], x.dtype) * 2


def fixed_mask(shape: Any, dtype: torch.dtype) -> torch.Tensor:
    return (torch.arange(shape[0] * shape[1]).reshape(shape) % 3 > 0).to(dtype)


def test_with_the_same_masks_dropout_has_the_gradients_of_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(lora_dropout=0.5)
    other = copy.deepcopy(model)
    for module in other.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout["default"] = Masked()
    expected = loss_and_gradients(other)
    fuse_adapters(model)

    def dropout(x: torch.Tensor, rate: float, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        assert (rate, train) == (0.5, True)
        mask = fixed_mask(x.shape, torch.bool)
        return x * mask * 2, mask

    monkeypatch.setattr(torch, "native_dropout", dropout)
    assert_same(model, expected)


def test_dropout_drops_its_share_while_training_only() -> None:
    model = adapted(lora_dropout=0.5)
    fuse_adapters(model)
    first, second = (loss_and_gradients(model)[0] for _ in range(2))
    assert first != second
    model.eval()
    plain = adapted(lora_dropout=0.5).eval()
    torch.testing.assert_close(loss_and_gradients(model)[0], loss_and_gradients(plain)[0], rtol=1e-12, atol=0)


def disabled(model: PeftModel) -> Any:
    return model.disable_adapter()


@contextmanager
def merged(model: Any) -> Iterator[None]:
    model.merge_adapter()
    yield
    model.unmerge_adapter()


@contextmanager
def another(model: Any) -> Iterator[None]:
    model.add_adapter("another", LoraConfig(r=2, target_modules="all-linear"))
    model.set_adapter("another")
    yield
    model.set_adapter("default")


@contextmanager
def both(model: Any) -> Iterator[None]:
    model.add_adapter("another", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    model.base_model.set_adapter(["default", "another"])
    yield
    model.base_model.set_adapter("default")


@pytest.mark.parametrize("context", [disabled, merged, another, both])
def test_adapters_that_are_not_the_one_active_are_left_to_peft(context: Any) -> None:
    plain, model = adapted(), adapted()
    fuse_adapters(model)
    with torch.no_grad():
        torch.manual_seed(1)
        with context(plain):
            expected = plain(**batch(), compute="hidden").hidden
        torch.manual_seed(1)
        with context(model):
            torch.testing.assert_close(model(**batch(), compute="hidden").hidden, expected, rtol=1e-9, atol=1e-9)
            assert not torch.allclose(adapted()(**batch(), compute="hidden").hidden, expected) or context is merged


def test_dora_is_computed_by_peft() -> None:
    model = adapted(use_dora=True)
    expected = loss_and_gradients(model)
    fuse_adapters(model)
    assert_same(model, expected)


@pytest.mark.slow
def test_compiled_layers_are_peft_s() -> None:
    torch.compiler.reset()
    model = adapted()
    expected = loss_and_gradients(model)
    fuse_adapters(model)
    graphs = compile_layers(model, "eager")
    assert_same(model, expected)
    assert graphs.count == 2  # the input of the first layer has no gradient


def test_a_copy_computes_with_its_own_weights() -> None:
    model = adapted()
    fuse_adapters(model)
    expected = loss_and_gradients(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    assert loss_and_gradients(other)[0] != expected[0]
    assert_same(model, expected)


def test_modules_that_are_called_with_different_inputs_are_computed_one_by_one() -> None:
    model = adapted()
    attention = model.base_model.model.model.layers[0].self_attn
    inputs = [torch.randn(1, 5, 32, dtype=torch.float64) for _ in range(3)]
    names = ("q_proj", "k_proj", "v_proj")
    expected = [getattr(attention, name)(x) for name, x in zip(names, inputs, strict=True)]
    fuse_adapters(model)
    for _ in range(2):
        for name, x, output in zip(names, inputs, expected, strict=True):
            torch.testing.assert_close(getattr(attention, name)(x), output)
    group = vars(attention.q_proj)[FUSED]
    assert group.differ and not group.outputs and group.x is None


def test_what_is_saved_and_merged_is_peft_s(tmp_path: Any) -> None:
    plain, model = adapted(), adapted()
    fuse_adapters(model)
    for one, name in ((plain, "plain"), (model, "fused")):
        one.save_pretrained(tmp_path / name)
    files = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "fused")]
    assert files[0].keys() == files[1].keys()
    expected = loss_and_gradients(model)[0]
    with torch.no_grad():
        torch.testing.assert_close(prepare_model(model.merge_and_unload())(**batch(), compute="loss").loss, expected)


def test_weights_in_four_bits_are_computed_as_by_bitsandbytes() -> None:
    bnb = pytest.importorskip("bitsandbytes")

    def quantised() -> Any:
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=WORDS, hidden_size=64, intermediate_size=96, num_hidden_layers=2)
        config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 16
        model = LlamaForCausalLM(config)
        for parent in list(model.model.layers.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    packed = bnb.nn.Linear4bit(
                        child.in_features, child.out_features, False, torch.float32, True, "nf4", torch.float32
                    )
                    packed.weight = bnb.nn.Params4bit(child.weight.detach(), False, quant_type="nf4", module=packed)
                    setattr(parent, name, packed.to("cpu"))
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
        return prepare_model(model).train()

    plain, model = quantised(), quantised()
    assert plain.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    assert fuse_adapters(model) == 6
    with operations() as counted:
        assert_same(model, loss_and_gradients(plain), 1e-5)
    assert counted["dequantize_4bit"] or counted["dequantize_blockwise"]
    assert vars(model.base_model.model.model.layers[0].mlp)[FUSED]


# What starts no kernel on a GPU: views, and memory without contents.
WITHOUT_A_LAUNCH = {
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "empty",
    "empty_like",
    "expand",
    "is_same_size",
    "new_empty",
    "permute",
    "reshape",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unsqueeze",
    "view",
}


class Counting(TorchDispatchMode):
    """Counts the operations that start a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.split("::")[-1]
        if name not in WITHOUT_A_LAUNCH:
            self.counted[name] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def operations() -> Iterator[Counter[str]]:
    with Counting() as mode:
        yield mode.counted


class OneAttention(torch.autograd.Function):
    """Attention as one operation each way, as a GPU's kernel is."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(key)
        return query.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        (key,) = ctx.saved_tensors
        return gradient.clone(), torch.empty_like(key), torch.empty_like(key)


def launches_of_a_layer(monkeypatch: pytest.MonkeyPatch, *, fused: bool) -> tuple[int, int]:
    """Operations of a Llama's layer in bf16 with LoRA on all matrices and dropout: forward, and backward with gradients that are added up."""
    from autotrain_llm.run.engine.flat import attention

    monkeypatch.setattr(attention, "backend", lambda *args, **options: attention.SDPA)
    monkeypatch.setattr(
        attention,
        "_sdpa_per_segment",
        lambda query, key, value, args: OneAttention.apply(query, key, value).transpose(1, 2),
    )
    counts = []
    for layers in (1, 2):
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=48, num_hidden_layers=layers)
        config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 8
        lora = LoraConfig(r=4, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(LlamaForCausalLM(config).to(torch.bfloat16), lora, autocast_adapter_dtype=True)
        model = prepare_model(model).train()
        if fused:
            fuse_adapters(model)
        for _ in range(2):  # the second adds to the gradients of the first
            with operations() as forward, torch.autocast("cpu", torch.bfloat16):
                loss = model(**batch(), compute="loss").loss
            with operations() as backward:
                loss.backward()
        counts.append((forward.total(), backward.total()))
    return counts[1][0] - counts[0][0], counts[1][1] - counts[0][1]


def test_a_layer_with_adapters_starts_fewer_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of docs/speed.md."""
    assert launches_of_a_layer(monkeypatch, fused=False) == (115, 151)
    assert launches_of_a_layer(monkeypatch, fused=True) == (56, 101)
