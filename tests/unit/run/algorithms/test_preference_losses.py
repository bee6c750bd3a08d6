"""Each preference loss against its formula written out here, in float64: one answer at a time, dense attention, Python numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid, sigmoid
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from autotrain_llm.data.rows import PairRows, RowsBuilder
from autotrain_llm.run.algorithms.preference.dataset import UnpairedPreferences
from autotrain_llm.run.algorithms.preference.objectives import dpo, kto, orpo
from autotrain_llm.run.algorithms.preference.reference_logps import ReferenceLogps
from autotrain_llm.run.engine import layouts
from autotrain_llm.run.engine.answer_items import Pairs
from autotrain_llm.run.engine.layouts import Flat, Padded, prepare_second_model
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.engine.objective import Objective
from autotrain_llm.run.engine.reference_model import FrozenReference
from autotrain_llm.run.engine.throughput import Throughput
from autotrain_llm.trainers.dpo import LOSSES, SMOOTHED

WORDS = 53
WITHIN = 1e-10
SHAPE = {"vocab_size": WORDS, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96}
Formula = Callable[..., torch.Tensor]


def new_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, **HEADS, tie_word_embeddings=True)).double()
    # transformers' own norm rounds to float32, where the gradient of a prompt that two answers share is rounded once instead of twice.
    for layer in model.model.layers:
        layer.input_layernorm, layer.post_attention_layernorm = exact_norm(), exact_norm()
    model.model.norm = exact_norm()
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(3)  # so that answers differ in how likely they are
    return model


def exact_norm() -> torch.nn.Module:
    return torch.nn.RMSNorm(SHAPE["hidden_size"], eps=1e-6, dtype=torch.float64)


@pytest.fixture(scope="module")
def policy() -> LlamaForCausalLM:
    return new_model(0)


@pytest.fixture(scope="module")
def reference() -> LlamaForCausalLM:
    return new_model(1)


# Prompts from long to a single token, answers of one token and of many, one with a token inside that is not learnt.
LENGTHS = ((17, 5, 9), (3, 12, 1), (1, 2, 2), (9, 1, 20), (25, 7, 4))


def made_pairs(count: int = len(LENGTHS), seed: int = 4) -> PairRows:
    random = np.random.default_rng(seed)
    prompts, chosen, rejected = RowsBuilder(), RowsBuilder(), RowsBuilder()
    for number, (prompt, better, worse) in enumerate(LENGTHS[:count]):
        prompts.add(random.integers(0, WORDS, prompt).tolist(), [], number)
        spans = [(0, 4), (5, better)] if better > 8 else [(0, better)]
        chosen.add(random.integers(0, WORDS, better).tolist(), spans, number)
        rejected.add(random.integers(0, WORDS, worse).tolist(), [(0, worse)], number)
    return PairRows(prompts.built(), chosen.built(), rejected.built())


def answer_logprob(model: LlamaForCausalLM, prompt: Any, answer: Any) -> tuple[torch.Tensor, int]:
    """The sum over the learnt tokens of an answer of log p(token | all before it), and how many they are."""
    ids, trained = answer
    whole = torch.tensor(np.concatenate([prompt, ids]).astype(np.int64))
    logits = model(input_ids=whole[None], use_cache=False).logits[0]
    total, count = logits.new_zeros(()), 0
    for place in range(len(ids)):
        if trained[place]:
            scores = logits[len(prompt) + place - 1]
            total = total + scores[int(ids[place])] - torch.logsumexp(scores, -1)
            count += 1
    return total, count


def both_sides(rows: PairRows, number: int) -> tuple[Any, tuple[Any, Any]]:
    return rows.prompt[number][0], (rows.chosen[number], rows.rejected[number])


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


Result = tuple[float, dict[str, torch.Tensor]]


def of_pairs(policy: LlamaForCausalLM, reference: LlamaForCausalLM, rows: PairRows, formula: Formula) -> Result:
    """The mean over the pairs of a formula of (chosen, rejected, their references, their lengths), and its gradients."""
    model = copy.deepcopy(policy)
    terms = []
    for number in range(len(rows)):
        prompt, answers = both_sides(rows, number)
        (c, n_c), (r, n_r) = (answer_logprob(model, prompt, answer) for answer in answers)
        with torch.no_grad():
            (ref_c, _), (ref_r, _) = (answer_logprob(reference, prompt, answer) for answer in answers)
        terms.append(formula(c, r, ref_c, ref_r, n_c, n_r))
    loss = torch.stack(terms).mean()
    loss.backward()
    return float(loss.detach()), gradients(model)


def looped(
    policy: LlamaForCausalLM,
    reference: LlamaForCausalLM | None,
    layout: str,
    objective: Objective,
    items: Any,
    folder: Path,
    batch_size: int,
    accumulated: int = 1,
) -> Result:
    """The loss and the gradients of the loop's first optimizer step."""
    model = copy.deepcopy(policy)
    laid_out = Flat(model) if layout != "padded" else Padded(0)
    references = None
    if reference is not None:
        references = ReferenceLogps(laid_out, FrozenReference(prepare_second_model(laid_out, copy.deepcopy(reference))))
    loop = Loop(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulated,
            use_cpu=True,
            report_to="none",
            remove_unused_columns=False,
            label_names=[],
            data_seed=3,
        ),
        layout=laid_out,
        objective=objective,
        throughput=Throughput(None, None),
        train_rows=items,
        valid_rows=None,
        augmenters=[references] if references else [],
    )
    batches, count = loop.get_batch_samples(iter(loop.get_train_dataloader()), accumulated, torch.device("cpu"))
    assert len(batches) == accumulated
    if layout != "padded":
        assert any(batch["segments"].chained for batch in batches) == (layout == "shared")
    loop.current_gradient_accumulation_steps = accumulated
    losses = [loop.training_step(model, batch, count) for batch in batches]
    return float(torch.stack(losses).sum()), gradients(model)


def assert_equal(found: Result, expected: Result) -> None:
    assert found[0] == pytest.approx(expected[0], abs=WITHIN)
    assert found[1].keys() == expected[1].keys()
    assert max(float(one.abs().max()) for one in expected[1].values()) > 1e-4
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=WITHIN, msg=name)


@pytest.fixture(params=["shared", "separate", "padded"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A flat stream in which a prompt is computed once for its pair, or for each answer; or padded."""
    monkeypatch.setattr(layouts, "SHARED_FROM", 0.0 if request.param == "shared" else 1.0)
    return request.param


# ---- dpo: each loss as its paper has it

B, E = 0.3, 0.2


def h(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return (c - rc) - (r - rr)


FORMULAS: dict[str, Formula] = {
    "sigmoid": lambda c, r, rc, rr, *n: -torch.log(1 / (1 + torch.exp(-B * h(c, r, rc, rr)))),
    "hinge": lambda c, r, rc, rr, *n: torch.clamp(1 - B * h(c, r, rc, rr), min=0),
    "ipo": lambda c, r, rc, rr, nc, nr: ((c - rc) / nc - (r - rr) / nr - 1 / (2 * B)) ** 2,
    "exo_pair": lambda c, r, rc, rr, *n: sum(
        sigmoid(s * B * h(c, r, rc, rr)) * torch.log(sigmoid(s * B * h(c, r, rc, rr)) / p)
        for s, p in ((1, 1 - E), (-1, E))
    ),
    "nca_pair": lambda c, r, rc, rr, *n: (
        -torch.log(sigmoid(B * (c - rc))) - (torch.log(sigmoid(-B * (c - rc))) + torch.log(sigmoid(-B * (r - rr)))) / 2
    ),
    "robust": lambda c, r, rc, rr, *n: (
        ((1 - E) * -torch.log(sigmoid(B * h(c, r, rc, rr))) - E * -torch.log(sigmoid(-B * h(c, r, rc, rr))))
        / (1 - 2 * E)
    ),
    "bco_pair": lambda c, r, rc, rr, *n: -torch.log(sigmoid(B * (c - rc)) * (1 - sigmoid(B * (r - rr)))),
    "sppo_hard": lambda c, r, rc, rr, *n: (c - rc - 1 / (2 * B)) ** 2 + (r - rr + 1 / (2 * B)) ** 2,
    "apo_zero": lambda c, r, rc, rr, *n: 1 - sigmoid(B * (c - rc)) + sigmoid(B * (r - rr)),
    "apo_down": lambda c, r, rc, rr, *n: sigmoid(B * (c - rc)) + 1 - sigmoid(B * ((c - rc) - (r - rr))),
    "discopop": lambda c, r, rc, rr, *n: (
        (1 - sigmoid(B * h(c, r, rc, rr) / 0.05)) * -torch.log(sigmoid(B * h(c, r, rc, rr)))
        + sigmoid(B * h(c, r, rc, rr) / 0.05) * torch.exp(-B * h(c, r, rc, rr))
    ),
    "sigmoid_norm": lambda c, r, rc, rr, nc, nr: -torch.log(sigmoid(B * ((c - rc) / nc - (r - rr) / nr))),
}


def dpo_of(loss: str) -> Objective:
    smoothing = E if loss in ("exo_pair", "robust") else 0.0
    return dpo({"dpo_beta": B, "dpo_loss": loss, "label_smoothing": smoothing})


@pytest.mark.parametrize("loss", FORMULAS)
def test_a_loss_of_dpo_is_its_formula(
    loss: str, layout: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    rows = made_pairs()
    found = looped(policy, reference, layout, dpo_of(loss), Pairs(rows), tmp_path, len(rows))
    assert_equal(found, of_pairs(policy, reference, rows, FORMULAS[loss]))


def in_order(values: list[torch.Tensor]) -> list[torch.Tensor]:
    return sorted(values, key=lambda value: float(value.detach()))


def sorted_losses(name: str, policy: Any, reference: Any, rows: PairRows, smoothing: float) -> Result:
    """The losses of optimal transport: what is compared is sorted over the batch first."""
    model = copy.deepcopy(policy)
    sides = [both_sides(rows, number) for number in range(len(rows))]
    own = [[answer_logprob(model, prompt, answer)[0] for answer in answers] for prompt, answers in sides]
    with torch.no_grad():
        theirs = [[answer_logprob(reference, prompt, answer)[0] for answer in answers] for prompt, answers in sides]
    if name == "aot":
        upper = [c - r for c, r in own]
        lower = [c - r for c, r in theirs]
    else:
        upper = [c - rc for (c, _), (rc, _) in zip(own, theirs, strict=True)]
        lower = [r - rr for (_, r), (_, rr) in zip(own, theirs, strict=True)]
    above = [B * (u - low) for u, low in zip(in_order(upper), in_order(lower), strict=True)]
    terms = [(1 - smoothing) * -logsigmoid(x) + smoothing * -logsigmoid(-x) for x in above]
    loss = torch.stack(terms).mean()
    loss.backward()
    return float(loss.detach()), gradients(model)


@pytest.mark.parametrize("smoothing", [0.0, E])
@pytest.mark.parametrize("loss", ["aot", "aot_unpaired"])
def test_a_loss_of_optimal_transport_sorts_the_batch(
    loss: str, smoothing: float, layout: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    rows = made_pairs()
    objective = dpo({"dpo_beta": B, "dpo_loss": loss, "label_smoothing": smoothing})
    found = looped(policy, reference, layout, objective, Pairs(rows), tmp_path, len(rows))
    assert_equal(found, sorted_losses(loss, policy, reference, rows, smoothing))


def test_every_loss_that_can_be_chosen_is_written_out_here() -> None:
    assert set(LOSSES) == {*FORMULAS, "aot", "aot_unpaired"}


def test_smoothing_is_the_expectation_over_labels_that_are_wrong(
    layout: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    rows = made_pairs()
    objective = dpo({"dpo_beta": B, "dpo_loss": "sigmoid", "label_smoothing": E})

    def formula(c: Any, r: Any, rc: Any, rr: Any, *n: int) -> Any:
        return (1 - E) * FORMULAS["sigmoid"](c, r, rc, rr) + E * FORMULAS["sigmoid"](r, c, rr, rc)

    found = looped(policy, reference, layout, objective, Pairs(rows), tmp_path, len(rows))
    assert_equal(found, of_pairs(policy, reference, rows, formula))


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - set(SMOOTHED)))
def test_the_losses_that_have_no_smoothing_are_the_same_with_it(
    loss: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    rows = made_pairs(2)
    plain, smoothed = (
        looped(
            policy,
            reference,
            "padded",
            dpo({"dpo_beta": B, "dpo_loss": loss, "label_smoothing": smoothing}),
            Pairs(rows),
            tmp_path,
            2,
        )
        for smoothing in (0.0, 0.3)
    )
    assert plain[0] == smoothed[0]


def test_accumulated_batches_are_one_large_batch_to_dpo(
    layout: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    """Batches of two pairs, two and one."""
    rows = made_pairs()
    found = looped(policy, reference, layout, dpo_of("sigmoid"), Pairs(rows), tmp_path, 2, accumulated=3)
    assert_equal(found, of_pairs(policy, reference, rows, FORMULAS["sigmoid"]))


# ---- orpo


def orpo_formula(c: Any, r: Any, rc: Any, rr: Any, nc: int, nr: int) -> Any:
    chosen, rejected = torch.exp(c / nc), torch.exp(r / nr)
    odds = (chosen / (1 - chosen)) / (rejected / (1 - rejected))
    return -c / nc + 0.7 * -torch.log(sigmoid(torch.log(odds)))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_orpo_is_its_formula(
    accumulated: int, layout: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    rows = made_pairs()
    size = 5 if accumulated == 1 else 2
    found = looped(policy, None, layout, orpo({"orpo_alpha": 0.7}), Pairs(rows), tmp_path, size, accumulated)
    assert_equal(found, of_pairs(policy, reference, rows, orpo_formula))


def test_the_odds_of_a_certain_answer_are_finite() -> None:
    from autotrain_llm.run.algorithms.preference.objectives import log_odds

    certain = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = log_odds(certain)
    value.backward()
    assert torch.isfinite(value).all() and torch.isfinite(certain.grad).all()
    assert float(log_odds(torch.tensor(math.log(0.25)))) == pytest.approx(math.log(1 / 3), abs=1e-6)


# ---- simpo, which the example of a package with a trainer adds

BETA, GAMMA = 2.5, 0.7
PLUGIN = Path(__file__).parents[4] / "examples" / "plugin"


@pytest.fixture
def simpo(monkeypatch: pytest.MonkeyPatch) -> Objective:
    monkeypatch.syspath_prepend(PLUGIN)
    made: Objective = import_module("autotrain_simpo.recipe").simpo({"simpo_beta": BETA, "simpo_gamma": GAMMA})
    return made


def simpo_formula(c: Any, r: Any, rc: Any, rr: Any, nc: int, nr: int) -> Any:
    """-log sigmoid(beta / |y_w| log pi(y_w | x) - beta / |y_l| log pi(y_l | x) - gamma): equation 6 of Meng, Xia and Chen 2024."""
    return -torch.log(1 / (1 + torch.exp(-(BETA / nc * c - BETA / nr * r - GAMMA))))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_simpo_is_its_formula(
    accumulated: int,
    layout: str,
    policy: LlamaForCausalLM,
    reference: LlamaForCausalLM,
    simpo: Objective,
    tmp_path: Path,
) -> None:
    rows = made_pairs()
    found = looped(policy, None, layout, simpo, Pairs(rows), tmp_path, 5 if accumulated == 1 else 2, accumulated)
    assert_equal(found, of_pairs(policy, reference, rows, simpo_formula))


def test_simpo_is_that_of_trl(policy: LlamaForCausalLM, simpo: Objective, tmp_path: Path) -> None:
    """TRL subtracts gamma / beta from the difference of the means, and multiplies the rest by beta."""
    cpo = import_module("trl.experimental.cpo").CPOTrainer
    rows = made_pairs()
    model = copy.deepcopy(policy)
    settings = {"beta": BETA, "simpo_gamma": GAMMA, "loss_type": "simpo", "label_smoothing": 0.0, "alpha": 0.0}
    losses = []
    for number in range(len(rows)):
        prompt, answers = both_sides(rows, number)
        means = []
        for ids, trained in answers:
            whole = torch.tensor(np.concatenate([prompt, ids]).astype(np.int64))[None]
            labels = torch.full_like(whole, -100)
            labels[0, len(prompt) :] = torch.tensor(np.where(trained, ids, -100).astype(np.int64))
            logits = model(input_ids=whole, use_cache=False).logits
            means.append(cpo.get_batch_logps(logits, labels, average_log_prob=True))
        device = SimpleNamespace(device=torch.device("cpu"))
        losses.append(cpo.cpo_loss(SimpleNamespace(accelerator=device, **settings), *means)[0])
    loss = torch.cat(losses).mean()
    loss.backward()
    found = looped(policy, None, "padded", simpo, Pairs(rows), tmp_path, len(rows))
    assert_equal(found, (float(loss.detach()), gradients(model)))


# ---- kto

WEIGHTS = {"kto_beta": B, "kto_desirable_weight": 1.2, "kto_undesirable_weight": 0.8}


def kto_written_out(
    policy: Any, reference: Any, items: UnpairedPreferences, order: list[int]
) -> tuple[float, dict[str, Any], float]:
    """Equations 7 and 8 of the paper on one batch in this order, with each prompt's answer mismatched with the one before it."""
    model = copy.deepcopy(policy)
    prompt_groups = [(items.prompt_group(number), items.label(number)) for number in order]
    with torch.no_grad():
        ratios = []
        for place, (prompt_group, _) in enumerate(prompt_groups):
            other = prompt_groups[place - 1][0].answers[0]
            ratios.append(
                answer_logprob(model, prompt_group.prompt, other)[0]
                - answer_logprob(reference, prompt_group.prompt, other)[0]
            )
        z = max(0.0, float(torch.stack(ratios).mean()))
    terms = []
    for prompt_group, good in prompt_groups:
        (answer,) = prompt_group.answers
        with torch.no_grad():
            expected = answer_logprob(reference, prompt_group.prompt, answer)[0]
        ratio = answer_logprob(model, prompt_group.prompt, answer)[0] - expected
        terms.append(1.2 * (1 - sigmoid(B * (ratio - z))) if good else 0.8 * (1 - sigmoid(B * (z - ratio))))
    loss = torch.stack(terms).mean()
    loss.backward()
    return float(loss.detach()), gradients(model), z


@pytest.mark.parametrize("swapped", [False, True], ids=["z above zero or not", "the other way round"])
def test_kto_is_its_formula(
    swapped: bool, layout: str, policy: LlamaForCausalLM, reference: LlamaForCausalLM, tmp_path: Path
) -> None:
    items = UnpairedPreferences(made_pairs())
    pair = (reference, policy) if swapped else (policy, reference)
    order = np.random.default_rng((3, 0)).permutation(len(items)).tolist()
    *expected, _ = kto_written_out(*pair, items, order)
    found = looped(*pair, "padded" if layout == "padded" else "separate", kto(WEIGHTS), items, tmp_path, len(items))
    assert_equal(found, (expected[0], expected[1]))


def test_one_of_the_two_ways_round_has_a_point_of_reference_above_zero(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM
) -> None:
    items = UnpairedPreferences(made_pairs())
    order = np.random.default_rng((3, 0)).permutation(len(items)).tolist()
    found = [kto_written_out(*pair, items, order)[2] for pair in ((policy, reference), (reference, policy))]
    assert min(found) == 0.0 < max(found)


def test_labelled_rows_are_prompt_and_answer(policy: LlamaForCausalLM) -> None:
    builder = RowsBuilder()
    builder.add([5, 6, 7, 8], [(2, 4)], 0, label=True)
    builder.add([5, 6, 9], [(2, 3)], 1, label=False)
    items = UnpairedPreferences(builder.built())
    assert [items[number].label for number in range(2)] == [True, False]
    assert [items.prompt_group(number).prompt.tolist() for number in range(2)] == [[5, 6], [5, 6]]
    assert [items.prompt_group(number).answers[0][0].tolist() for number in range(2)] == [[7, 8], [9]]
    mismatched = items.mismatched(items[0], 1).mismatched
    assert mismatched is not None and mismatched.answers[0][0].tolist() == [9] and mismatched.prompt.tolist() == [5, 6]
