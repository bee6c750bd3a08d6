"""The optimizers that are made here, each against its formula written out, and their states in files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.optimization import get_scheduler

from autotrain_llm.config.resolved import resolve
from autotrain_llm.params.optimizers import DECAYING, OPTIMIZERS
from autotrain_llm.planning.memory_model import Shape
from autotrain_llm.planning.optimizers import learning_rates, states_of
from autotrain_llm.planning.plan import OptimizerPlan
from autotrain_llm.run.engine.optimizers import (
    DECAYED,
    GALORE_SCALE,
    MAKERS,
    Together,
    make_optimizer,
    rounded,
    use_averaged_weights,
    use_training_weights,
)
from autotrain_llm.run.engine.state_file import load_state, save_state

LR, DECAY, EPS = 0.01, 0.1, 1e-8
ARGUMENTS: Any = SimpleNamespace(
    learning_rate=LR, weight_decay=DECAY, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=EPS
)
SETTINGS = {"galore_adamw": {"rank": 2, "update_steps": 3}}
PACKAGES = {name: optimizer.package for name, optimizer in OPTIMIZERS.items()}


class Small(nn.Module):
    """An embedding, two layers of a matrix and a bias each, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 6)])
        self.head = nn.Linear(6, 11, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(ids)
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        return self.head(hidden)


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small()


def make(name: str, model: nn.Module) -> Any:
    if PACKAGES[name]:
        pytest.importorskip(PACKAGES[name])
    decayed = [weight for weight, _ in model.named_parameters() if not weight.endswith("bias")]
    return make_optimizer(OptimizerPlan(name, SETTINGS.get(name, {})), model, ARGUMENTS, decayed)


def losses(model: nn.Module, optimizer: Any, steps: int) -> Iterator[float]:
    """The next token of a fixed cycle; its loss before each step."""
    ids = torch.arange(11)
    for _ in range(steps):
        use_training_weights(optimizer)
        loss = nn.functional.cross_entropy(model(ids), (ids + 3) % 11)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def one_step(model: Small, optimizer: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights before the first step, and the gradients of it."""
    use_training_weights(optimizer)
    ids = torch.arange(11)
    nn.functional.cross_entropy(model(ids), (ids + 3) % 11).backward()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    optimizer.step()
    return before, gradients


def adamw(weight: torch.Tensor, gradient: torch.Tensor, decay: float) -> torch.Tensor:
    """The first step of AdamW: both moments are, without their bias, the gradient's."""
    return weight * (1 - LR * decay) - LR * gradient / (gradient.abs() + EPS)


def decay_of(name: str) -> float:
    return 0.0 if name.endswith("bias") else DECAY


# ---- all


@pytest.mark.parametrize("name", MAKERS)
def test_every_optimizer_that_transformers_does_not_make_is_made_here(name):
    assert OPTIMIZERS[name].transformers is None
    assert set(MAKERS) == {name for name, optimizer in OPTIMIZERS.items() if optimizer.transformers is None}


@pytest.mark.parametrize("name", MAKERS)
def test_it_trains_a_small_model_until_it_is_clearly_better(name, model):
    optimizer = make(name, model)
    first, *_, last = losses(model, optimizer, 60)
    assert last < 0.6 * first


@pytest.mark.parametrize("name", MAKERS)
def test_all_weights_but_biases_decay(name, model):
    optimizer = make(name, model)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    for weight, parameter in model.named_parameters():
        assert groups[id(parameter)]["weight_decay"] == decay_of(weight)
        assert groups[id(parameter)][DECAYED] == bool(decay_of(weight))


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_from_a_file_goes_on_bit_for_bit(name, model, tmp_path):
    optimizer = make(name, model)
    list(losses(model, optimizer, 4))
    use_averaged_weights(optimizer)
    save_state(tmp_path / "optimizer.safetensors", optimizer.state_dict())
    other = Small()
    other.load_state_dict(model.state_dict())
    resumed = make(name, other)
    resumed.load_state_dict(load_state(tmp_path / "optimizer.safetensors"))
    assert list(losses(other, resumed, 4)) == list(losses(model, optimizer, 4))


@pytest.mark.parametrize("name", MAKERS)
def test_the_estimate_counts_the_states_of_a_model(name):
    """bfloat16 and projections count by their bytes; steps and other single numbers don't."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 50}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
    llama = LlamaForCausalLM(config)
    parameters = sum(weight.numel() for weight in llama.parameters())
    shape = Shape(parameters, 32, 64, 2, 50, 32, 16, 4, gated=True, tied=False)
    optimizer = make(name, llama)
    use_training_weights(optimizer)
    llama(input_ids=torch.arange(9)[None], labels=torch.arange(9)[None]).loss.backward()
    optimizer.step()
    tensors = tensors_of(optimizer.state_dict()["state"])
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.ndim)
    flags = {"trainer": "sft", "optimizer": name, "galore_rank": 2}
    assert 4 * parameters * states_of(resolve(flags), shape, None) == pytest.approx(held, rel=0.02)


def tensors_of(state: Any) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in tensors_of(value)]
    return [state] if isinstance(state, torch.Tensor) else []


# ---- one step of each


def test_muon_orthogonalises_the_matrices_of_layers_and_adamw_does_the_rest(model):
    before, gradients = one_step(model, make("muon", model))
    for name, weight in model.named_parameters():
        if not (name.startswith("layers.") and weight.ndim == 2):
            torch.testing.assert_close(
                weight.detach(), adamw(before[name], gradients[name], decay_of(name)), atol=1e-6, rtol=0
            )
            continue
        update = (before[name] * (1 - LR * DECAY) - weight.detach()) / (LR * 0.2 * math.sqrt(max(weight.shape)))
        singular = torch.linalg.svdvals(update)
        rank = int(torch.linalg.matrix_rank(gradients[name], rtol=1e-3))
        assert singular[:rank].min() > 0.4, "Newton-Schulz brings all of them near to 1"
        assert singular.max() < 1.4
        left, _, right = torch.linalg.svd(gradients[name], full_matrices=False)
        cosine = (update * (left @ right)).sum() / (update.norm() * (left @ right).norm())
        assert cosine > 0.9, "the nearest orthogonal matrix to the gradient"


def test_muon_shares_its_groups_and_states_with_what_is_loaded(model):
    optimizer = make("muon", model)
    assert isinstance(optimizer, Together)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0]["lr"] = 0.5
    assert optimizer.optimizers[0].param_groups[0]["lr"] == 0.5
    assert all(part.state is optimizer.state for part in optimizer.optimizers)


def test_adamw_with_halved_states_steps_as_adamw_does(model):
    optimizer = make("adamw_bf16", model)
    before, gradients = one_step(model, optimizer)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.detach(), adamw(before[name], gradients[name], decay_of(name)))
        state = optimizer.state[weight]
        assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.bfloat16


def test_stochastic_rounding_is_exact_on_average_and_leaves_what_fits_alone():
    generator = torch.Generator().manual_seed(0)
    value = torch.full((200_000,), 1.0 + 2**-10)  # an eighth of the way to the next number, 1 + 2**-7
    result = rounded(value, generator)
    assert set(result.float().unique().tolist()) == {1.0, 1.0 + 2**-7}
    assert float(result.float().mean()) == pytest.approx(1.0 + 2**-10, abs=3e-5)
    fits = torch.tensor([0.0, 1.5, -3.0, 2.0**-100]).to(torch.bfloat16)
    assert torch.equal(rounded(fits.float(), generator), fits)


def test_a_second_moment_in_bf16_falls_as_it_would_in_float32(model):
    """Rounded to the nearest it would stay at its first value for ever."""
    weight = nn.Parameter(torch.zeros(4096))
    optimizer = make("adamw_bf16", nn.ParameterList([weight]))
    for gradient in [1.0] + 300 * [0.0]:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    assert float(optimizer.state[weight]["exp_avg_sq"].float().mean()) == pytest.approx(0.001 * 0.999**300, rel=0.02)


def test_schedule_free_adamw_averages_its_weights(model):
    """y = 0.9 x + 0.1 z are trained, x are evaluated: after k steps at one rate x is the mean of z_1 … z_k."""
    optimizer = make("schedule_free_adamw", model)
    weight, zs = model.head.weight, []
    for _ in losses(model, optimizer, 4):
        zs.append(optimizer.state[weight]["z"].clone())
    trained, mean = weight.detach().clone(), torch.stack(zs).mean(0)
    torch.testing.assert_close(trained, 0.9 * mean + 0.1 * zs[-1])
    use_averaged_weights(optimizer)
    torch.testing.assert_close(weight.detach(), mean)
    use_training_weights(optimizer)
    torch.testing.assert_close(weight.detach(), trained)


def test_galore_steps_with_the_moments_of_the_projected_gradient(model):
    before, gradients = one_step(model, make("galore_adamw", model))
    for name, weight in model.named_parameters():
        gradient, at = gradients[name], before[name]
        if not (name.startswith("layers.") and weight.ndim == 2):
            expected = adamw(at, gradient, 0.0)
        else:
            left, _, right = torch.linalg.svd(gradient, full_matrices=False)
            tall = gradient.shape[0] >= gradient.shape[1]
            projection = right[:2].T if tall else left[:, :2]
            low = gradient @ projection if tall else projection.T @ gradient
            step = low / (low.abs() + EPS)
            expected = at - LR * GALORE_SCALE * (step @ projection.T if tall else projection @ step)
        # Its decay follows the step.
        torch.testing.assert_close(weight.detach(), expected * (1 - LR * decay_of(name)), atol=1e-5, rtol=1e-4)


# ---- schedules


def rates(flags: dict[str, Any], steps: int) -> list[float]:
    """The learning rate of each step, as a share of its peak, and the one after the last step."""
    config = resolve({"trainer": "sft", "lr": LR, **flags})
    planned = learning_rates(config, steps)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = get_scheduler(planned.name, optimizer, planned.warmup_steps, steps, dict(planned.options or {}))
    result = []
    for _ in range(steps + 1):
        result.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        scheduler.step()
    return result


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_a_falling_rate_ends_at_its_lowest(name, floor):
    values = rates({"scheduler": name, "min_lr_ratio": floor, "warmup_ratio": 0.1}, 50)
    assert values[5] == pytest.approx(1) and values[-1] == pytest.approx(floor, abs=1e-9)
    assert values[5:] == sorted(values[5:], reverse=True)


def test_schedules_fall_as_their_formulas_do():
    def share(step: int) -> float:
        return (step - 10) / 90

    flags = {"min_lr_ratio": 0.2, "warmup_ratio": 0.1}
    formulas = {
        "linear": lambda step: 0.2 + 0.8 * (1 - share(step)),
        "polynomial": lambda step: 0.2 + 0.8 * (1 - share(step)) ** 3,
        "cosine": lambda step: 0.2 + 0.8 * (1 + math.cos(math.pi * share(step))) / 2,
    }
    for name, formula in formulas.items():
        values = rates({**flags, "scheduler": name, "polynomial_power": 3.0}, 100)
        assert values[10:] == pytest.approx([formula(step) for step in range(10, 101)])
        assert values[:10] == pytest.approx([step / 10 for step in range(10)])


@pytest.mark.parametrize(
    ("shape", "formula"),
    [
        ("linear", lambda share: 1 - share),
        ("cosine", lambda share: (1 + math.cos(math.pi * share)) / 2),
        ("1-sqrt", lambda share: 1 - math.sqrt(share)),
    ],
)
def test_a_stable_rate_falls_over_its_share_of_the_steps(shape, formula):
    flags = {"scheduler": "warmup_stable_decay", "warmup_ratio": 0.1, "decay_ratio": 0.4, "decay_shape": shape}
    values = rates(flags, 50)
    assert values[5:31] == pytest.approx([1.0] * 26)
    assert values[30:50] == pytest.approx([formula((step - 30) / 20) for step in range(30, 50)])


def test_an_optimizer_without_a_schedule_rises_and_stays():
    values = rates({"optimizer": "schedule_free_adamw", "warmup_ratio": 0.1}, 50)
    assert values == pytest.approx([step / 5 for step in range(5)] + [1.0] * 46)


SIZE = 8192  # bitsandbytes keeps the states of smaller weights in float32


def stepped(name: str, gradients: list[torch.Tensor], weights: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
    """The weights after a step with each gradient, by the optimizer that transformers makes, and its states."""
    pytest.importorskip("bitsandbytes")
    arguments = TrainingArguments(optim=OPTIMIZERS[name].transformers, learning_rate=LR, use_cpu=True)
    made, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    parameter = nn.Parameter(weights.clone())
    optimizer = made([{"params": [parameter], "weight_decay": DECAY}], **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach(), dict(optimizer.state[parameter])


@pytest.fixture
def gradients() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(SIZE) + 0.3 for _ in range(4)]


def lion(gradients: list[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    """Algorithm 2 of arXiv 2302.06675, with the betas of transformers' arguments."""
    moment = torch.zeros_like(weights)
    for gradient in gradients:
        update = torch.sign(0.9 * moment + 0.1 * gradient)
        weights = weights - LR * (update + DECAY * weights)
        moment = 0.999 * moment + 0.001 * gradient
    return weights


def adamw_steps(gradients: list[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    for step, gradient in enumerate(gradients, 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        update = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + EPS)
        weights = weights * (1 - LR * DECAY) - LR * update
    return weights


def test_lion_steps_by_the_sign_of_its_moment(gradients):
    weights = torch.randn(SIZE)
    for steps in (1, 4):
        expected = lion(gradients[:steps], weights)
        after = stepped("lion", gradients[:steps], weights)[0]
        assert (abs(after - expected) > 1e-5).float().mean() < 0.001  # where a sum is as good as zero
    assert not torch.allclose(expected, adamw_steps(gradients, weights), atol=LR / 2)


@pytest.mark.parametrize(("name", "formula"), [("lion_8bit", lion), ("adamw_bnb_8bit", adamw_steps)])
def test_an_optimizer_of_8_bits_steps_nearly_as_its_formula_does(name, formula, gradients):
    weights = torch.randn(SIZE)
    once, states = stepped(name, gradients[:1], weights)
    # The first step is computed before anything is rounded.
    assert (abs(once - formula(gradients[:1], weights)) > 1e-5).float().mean() < 0.001
    assert states["state1"].dtype == torch.uint8
    after = stepped(name, gradients, weights)[0]
    expected, without = formula(gradients, weights), formula(gradients[-1:], weights)
    off = abs(after - expected).mean() / LR
    assert 0 < off < 0.1  # of a step: by the rounding of the moments
    assert abs(after - without).mean() / LR > 1  # and not without a moment
