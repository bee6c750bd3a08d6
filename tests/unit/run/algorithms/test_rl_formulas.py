"""The arithmetic of learning from sampled answers: against plain loops over NumPy numbers, and gradients against the written-out formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import Starcoder2Config, Starcoder2ForCausalLM

from autotrain_llm.run.algorithms.rl import advantages, losses
from autotrain_llm.run.algorithms.rl.layouts import FlatPolicy, PaddedPolicy
from autotrain_llm.run.algorithms.rl.objectives import grpo, ppo
from autotrain_llm.run.algorithms.rl.rollout_buffer import (
    Answers,
    MicroBatch,
    RolloutBatch,
    RolloutCollator,
    RolloutSchedule,
    load_rollout,
    save_rollout,
)
from autotrain_llm.run.algorithms.rl.value_head import add_value_head, value_head_of, without_value_head

TIGHT = {"rtol": 0, "atol": 1e-12}


def ragged(seed: int) -> tuple[np.ndarray, int]:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 9, size=random.integers(1, 7))
    return lengths, int(lengths.sum())


# ---- advantages


@pytest.mark.parametrize("seed", range(8))
def test_generalised_advantages_are_those_of_the_definition(seed: int) -> None:
    """A_t is the sum over l of (γλ)^l δ_{t+l}, δ_t = r_t + γ V_{t+1} - V_t, with nothing after an answer's end."""
    lengths, count = ragged(seed)
    random = np.random.default_rng(seed + 100)
    rewards, values = random.normal(size=count), random.normal(size=count)
    gamma, lam = random.uniform(0.1, 1), random.uniform(0, 1)
    expected, start = [], 0
    for length in lengths:
        r, v = rewards[start : start + length], [*values[start : start + length], 0.0]
        delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(length)]
        expected += [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length)) for t in range(length)]
        start += length
    found, returns = advantages.generalised_advantages(rewards, values, lengths, gamma, lam)
    np.testing.assert_allclose(found, expected, **TIGHT)
    np.testing.assert_allclose(returns, np.asarray(expected) + values, **TIGHT)


def test_with_lambda_one_a_return_is_the_discounted_sum_of_what_follows() -> None:
    rewards, values = np.asarray([1.0, 2.0, 3.0, 5.0]), np.asarray([0.3, -1.0, 2.0, 0.7])
    _, returns = advantages.generalised_advantages(rewards, values, np.asarray([3, 1]), 0.5, 1.0)
    np.testing.assert_allclose(returns, [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3, 5], **TIGHT)


def test_a_score_is_the_reward_of_the_last_token_and_divergence_is_paid_for_at_each() -> None:
    kl = np.asarray([0.1, 0.2, -0.3])
    rewards = advantages.token_rewards(np.asarray([1.0, 4.0]), kl, np.asarray([2, 1]), 0.5)
    np.testing.assert_allclose(rewards, [-0.05, 1 - 0.1, 4 + 0.15], **TIGHT)


def test_whitened_advantages_have_mean_nought_and_deviation_one() -> None:
    found = advantages.whiten(np.random.default_rng(0).normal(3, 5, size=1000))
    assert abs(found.mean()) < 1e-12 and abs(found.std() - 1) < 1e-6
    assert not advantages.whiten(np.full(5, 7.0)).any()


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_compared_with_themselves_alone(seed: int) -> None:
    size = 4
    scores = np.random.default_rng(seed).normal(size=3 * size)
    grpo_oracle, dr_oracle, rloo_oracle = [], [], []
    for number, score in enumerate(scores):
        group = list(scores[number // size * size : number // size * size + size])
        mean = sum(group) / size
        deviation = (sum((one - mean) ** 2 for one in group) / (size - 1)) ** 0.5
        others = [one for place, one in enumerate(group) if place != number % size]
        grpo_oracle.append((score - mean) / (deviation + 1e-4))
        dr_oracle.append(score - mean)
        rloo_oracle.append(score - sum(others) / len(others))
    for name, oracle in (("grpo", grpo_oracle), ("dr_grpo", dr_oracle), ("rloo", rloo_oracle)):
        np.testing.assert_allclose(advantages.GROUP_ADVANTAGES[name](scores, size), oracle, **TIGHT)


def test_the_price_of_divergence_follows_its_target() -> None:
    """β ← β (1 + 0.1 clip(KL / target - 1, -0.2, 0.2))."""
    controller = advantages.KlController(0.5, target=6.0)
    for kl, factor in ((6.0, 1.0), (6.6, 1.01), (60.0, 1.02), (5.4, 0.99), (-1.0, 0.98)):
        before = controller.coefficient
        controller.update(kl)
        assert controller.coefficient == pytest.approx(before * factor, abs=1e-12)
    fixed = advantages.KlController(0.5)
    fixed.update(60.0)
    assert fixed.coefficient == 0.5


def test_explained_variance_is_one_for_values_that_know_and_nought_for_those_that_say_the_same_of_all() -> None:
    returns = np.asarray([1.0, 2.0, 4.0])
    assert advantages.explained_variance(returns, returns) == 1
    assert advantages.explained_variance(np.full(3, 9.0), returns) == pytest.approx(0)
    assert advantages.explained_variance(returns, np.ones(3)) == 0


def test_of_a_guess_as_much_counts_as_foretells_best() -> None:
    """The slope of the line through (guess, return) that has the smallest squares, between nought and one."""
    random = np.random.default_rng(3)
    guesses, noise = random.normal(2, 3, size=500), random.normal(size=500)
    returns = 7 + 0.4 * guesses + noise
    found = advantages.fit_slope(guesses, returns)
    assert found == pytest.approx(np.polyfit(guesses, returns, 1)[0], abs=1e-12) and abs(found - 0.4) < 0.05
    assert advantages.fit_slope(guesses, -returns) == 0 and advantages.fit_slope(guesses, 3 * returns) == 1
    assert advantages.fit_slope(np.ones(3), np.asarray([1.0, 2.0, 4.0])) == 0


def test_what_is_still_to_come_is_the_discounted_sum_of_what_follows() -> None:
    rewards = np.asarray([1.0, 2.0, 3.0, 5.0])
    found = advantages.discounted(rewards, np.asarray([3, 1]), 0.5)
    np.testing.assert_allclose(found, [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3, 5], **TIGHT)


# ---- losses


def test_the_clipped_surrogate_is_the_smaller_gain_of_the_two() -> None:
    random = torch.Generator().manual_seed(0)
    new, old, worth = (torch.randn(200, generator=random, dtype=torch.float64) * 0.5 for _ in range(3))
    clip = 0.2
    found = losses.clipped_policy_loss(new, old, worth, clip)
    share = losses.clipped_share(new, old, worth, clip)
    for n, o, a, loss, is_clipped in zip(new, old, worth, found, share, strict=True):
        ratio = float(torch.exp(n - o))
        held = min(max(ratio, 1 - clip), 1 + clip)
        assert float(loss) == pytest.approx(-min(ratio * float(a), held * float(a)), abs=1e-12)
        assert bool(is_clipped) == (held * float(a) < ratio * float(a))


def test_the_clipped_value_loss_is_half_the_larger_square() -> None:
    random = torch.Generator().manual_seed(1)
    new, old, returns = (torch.randn(200, generator=random, dtype=torch.float64) for _ in range(3))
    found = losses.clipped_value_loss(new, old, returns, 0.3)
    for n, o, r, loss in zip(new.tolist(), old.tolist(), returns.tolist(), found.tolist(), strict=True):
        held = min(max(n, o - 0.3), o + 0.3)
        assert loss == pytest.approx(0.5 * max((n - r) ** 2, (held - r) ** 2), abs=1e-12)


def test_the_estimate_of_divergence_is_never_negative_and_right_on_average() -> None:
    logits = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    policy, reference = torch.log_softmax(logits, -1)
    estimates = losses.k3(policy, reference)
    assert float(estimates.min()) >= 0
    divergence = float((policy.exp() * (policy - reference)).sum())
    assert float((policy.exp() * estimates).sum()) == pytest.approx(divergence, abs=1e-12)


# ---- objectives, through the model's own call

TEMPERATURE, VOCABULARY = 0.7, 23


def small_model() -> Starcoder2ForCausalLM:
    """Of an architecture whose norms don't round to float32."""
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "num_key_value_heads": 1, "bos_token_id": 0}
    return Starcoder2ForCausalLM(Starcoder2Config(**shape, **sizes, eos_token_id=0)).double()


class Rows(list[Any]):
    """Prompts as prepared rows are."""


def a_rollout(each: int = 2, seed: int = 4) -> tuple[Rows, RolloutBatch]:
    random = np.random.default_rng(seed)
    prompts = Rows((random.integers(1, VOCABULARY, size=length).astype(np.int32), None) for length in (5, 2, 9))
    lengths = random.integers(1, 6, size=3 * each)
    count = int(lengths.sum())
    return prompts, RolloutBatch(
        rows=np.asarray([2, 0, 1]),
        ids=random.integers(1, VOCABULARY, size=count).astype(np.int32),
        lengths=lengths,
        finished=random.random(3 * each) < 0.5,
        truncated=np.zeros(3 * each, dtype=bool),
        number=0,
        first_step=0,
        scores=random.normal(size=(3 * each, 1)),
        rewards=random.normal(size=3 * each),
        logprobs=-random.random(count),
        advantages=random.normal(size=count),
        reference=-random.random(count),
        values=random.normal(size=count),
        returns=random.normal(size=count),
        kl_coef=0.3,
    )


def batch_of(layout: Any, prompts: Rows, rollout: RolloutBatch, numbers: list[int]) -> dict[str, Any]:
    return RolloutCollator(layout.collate, prompts)([MicroBatch(rollout, np.asarray(numbers, dtype=np.int64))])


def written_out(model: Any, prompts: Rows, rollout: RolloutBatch, numbers: list[int]) -> tuple[torch.Tensor, ...]:
    """Log-probabilities, entropies and values of these answers' tokens, from the model's own forward, one answer at a time."""
    found: list[list[torch.Tensor]] = [[], [], []]
    head = value_head_of(model)
    for number in numbers:
        prompt, answer = prompts[int(rollout.rows[number // rollout.each])][0], rollout.completion(number)
        ids = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
        states = model.model(input_ids=ids).last_hidden_state[0, len(prompt) - 1 : -1]
        distribution = torch.log_softmax(model.lm_head(states) / TEMPERATURE, -1)
        found[0].append(distribution.gather(1, ids[0, len(prompt) :, None])[:, 0])
        found[1].append(-(distribution.exp() * distribution).sum(-1))
        if head is not None:
            if head.backbone is not None:
                states = head.backbone(input_ids=ids).last_hidden_state[0, len(prompt) - 1 : -1]
            found[2].append(head.linear(states)[:, 0])
    return tuple(torch.cat(parts) for parts in found if parts)


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < 1e-10, name


SETTINGS = {
    "rl_clip_range": 0.2,
    "rl_value_clip_range": 0.2,
    "rl_value_loss_coef": 0.5,
    "rl_entropy_coef": 0.0,
}
LAYOUTS = {
    "flat": lambda model: FlatPolicy(model, TEMPERATURE),
    "padded": lambda model: PaddedPolicy(model, 0, TEMPERATURE),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_updates_gradient_is_the_policy_gradient(layout: str) -> None:
    """Where the policy is still the one that wrote the answers, the gradient is that of -Σ A log π."""
    plain, model = small_model(), small_model()
    prompts, rollout = a_rollout()
    numbers = list(range(6))
    laid_out = LAYOUTS[layout](model)
    rollout.logprobs = written_out(plain, prompts, rollout, numbers)[0].detach().numpy()
    batch = batch_of(laid_out, prompts, rollout, numbers) | {"kl_coef": torch.tensor(0.0)}
    objective = grpo(SETTINGS)
    output = laid_out.forward(model, batch, objective.compute)
    ours = gradients(model, objective.loss(output, batch))
    logprobs, entropies = written_out(plain, prompts, rollout, numbers)
    theirs = gradients(plain, -(torch.from_numpy(rollout.advantages) * logprobs).sum())
    assert_alike(ours, theirs)
    torch.testing.assert_close(output.entropy, entropies, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["shared", "separate"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bonus", [0.0, 0.1])
@pytest.mark.parametrize("begins", ["nought", "expected"])
def test_the_loss_of_ppo_and_its_gradient_are_those_of_the_formula(
    layout: str, kind: str, bonus: float, begins: str
) -> None:
    plain, model = small_model(), small_model()
    prompts, rollout = a_rollout(each=1)
    if begins == "expected":
        rollout.baseline = np.random.default_rng(4).normal(size=len(rollout.ids))
    numbers = [2, 0]
    laid_out = LAYOUTS[layout](model)
    for one in (plain, model):
        add_value_head(one, kind)
        torch.manual_seed(5)
        torch.nn.init.normal_(value_head_of(one).linear.weight)
    batch = batch_of(laid_out, prompts, rollout, numbers)
    objective = ppo(SETTINGS | {"rl_entropy_coef": bonus})
    output = laid_out.forward(model, batch, objective.compute)
    loss = objective.loss(output, batch)
    logprobs, entropies, values = written_out(plain, prompts, rollout, numbers)
    places = rollout.tokens_of(numbers)
    old, worth, returns, before = (
        torch.from_numpy(part[places])
        for part in (rollout.logprobs, rollout.advantages, rollout.returns, rollout.values)
    )
    if rollout.baseline is not None:
        values = values + torch.from_numpy(rollout.baseline[places])
    ratio = torch.exp(logprobs - old)
    surrogate = -torch.minimum(ratio * worth, ratio.clamp(0.8, 1.2) * worth)
    held = before + (values - before).clamp(-0.2, 0.2)
    of_values = 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    expected = (surrogate + 0.5 * of_values - bonus * entropies).sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-10)
    assert_alike(gradients(model, loss), gradients(plain, expected))
    assert objective.items(batch) == int(rollout.lengths[numbers].sum())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loss_of_grpo_and_its_gradient_are_those_of_the_formula(layout: str) -> None:
    plain, model = small_model(), small_model()
    prompts, rollout = a_rollout()
    numbers = [4, 5, 1, 2, 3]
    laid_out = LAYOUTS[layout](model)
    batch = batch_of(laid_out, prompts, rollout, numbers)
    objective = grpo(SETTINGS)
    output = laid_out.forward(model, batch, objective.compute)
    loss = objective.loss(output, batch)
    logprobs = written_out(plain, prompts, rollout, numbers)[0]
    places = rollout.tokens_of(numbers)
    old, worth, reference = (
        torch.from_numpy(part[places]) for part in (rollout.logprobs, rollout.advantages, rollout.reference)
    )
    ratio = torch.exp(logprobs - old)
    surrogate = -torch.minimum(ratio * worth, ratio.clamp(0.8, 1.2) * worth)
    divergence = torch.exp(reference - logprobs) - (reference - logprobs) - 1
    expected = (surrogate + 0.3 * divergence).sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-10)
    assert_alike(gradients(model, loss), gradients(plain, expected))


def test_a_batch_that_holds_no_answer_costs_nothing_and_has_a_gradient_for_everything() -> None:
    model = small_model()
    layout = FlatPolicy(model, TEMPERATURE)
    add_value_head(model, "shared")
    prompts, rollout = a_rollout()
    batch = batch_of(layout, prompts, rollout, [])
    objective = ppo(SETTINGS)
    loss = objective.loss(layout.forward(model, batch, objective.compute), batch)
    found = gradients(model, loss)
    assert float(loss.detach()) == 0 and found.keys() == dict(model.named_parameters()).keys()
    assert not any(one.any() for one in found.values()) and objective.items(batch) == 0


def test_without_its_value_head_a_model_is_what_it_was() -> None:
    model = small_model()
    names = set(model.state_dict())
    add_value_head(model, "separate")
    head = value_head_of(model)
    assert set(model.state_dict()) > names
    with without_value_head(model):
        assert set(model.state_dict()) == names and value_head_of(model) is None
    assert value_head_of(model) is head


# ---- phases


def schedule(**changes: int) -> RolloutSchedule:
    usual = {"seed": 1, "prompts": 10, "prompts_of_phase": 4, "answers_each": 2, "phases_of_epoch": 3, "passes": 2}
    return RolloutSchedule(**{**usual, "answers_of_step": 3, "batches": 2, "steps_of_epoch": 0, **changes})


def test_every_prompt_comes_once_in_a_pass_over_them_and_in_another_order_in_the_next() -> None:
    order = [schedule().rows_of(number).tolist() for number in range(6)]
    assert [len(rows) for rows in order] == [4, 4, 2, 4, 4, 2]
    first, second = ([row for rows in part for row in rows] for part in (order[:3], order[3:]))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_answer_is_learnt_from_once_in_a_pass_whatever_the_number_of_processes(processes: int) -> None:
    _, rollout = a_rollout()
    plan = schedule()
    assert plan.end_step(rollout) == 4
    steps = [
        [plan.answers_of(rollout, update, micro_batch, 2 * processes).tolist() for micro_batch in range(2 * processes)]
        for update in range(4)
    ]
    joined = [[answer for micro_batch in step for answer in micro_batch] for step in steps]
    assert sorted(joined[0] + joined[1]) == sorted(joined[2] + joined[3]) == list(range(6))
    assert joined[:2] != joined[2:] and [len(step) for step in joined] == [3, 3, 3, 3]
    assert joined == [[*plan.answers_of(rollout, update, 0, 1)] for update in range(4)]


def test_a_seed_belongs_to_one_answer() -> None:
    seeds = [one for number in range(4) for one in schedule().seeds_of(0, number, count=50)]
    assert len(set(seeds)) == 200 and all(0 <= one < 2**63 for one in seeds)
    assert schedule(seed=2).seeds_of(0, 0, count=50) != seeds[:50]


def test_a_rollout_that_was_written_is_the_same_when_it_is_read(tmp_path) -> None:
    _, rollout = a_rollout()
    rollout.stopped, rollout.values, rollout.returns = True, None, None
    save_rollout(rollout, 0.25, tmp_path)
    read, coefficient = load_rollout(tmp_path)
    assert coefficient == 0.25 and read.stopped is True and read.values is None and read.number == 0
    for name, array in rollout.arrays().items():
        np.testing.assert_array_equal(read.arrays()[name], array)
        assert read.arrays()[name].dtype == array.dtype


def test_answers_to_one_prompt_that_follow_one_another_are_one_family() -> None:
    prompts, rollout = a_rollout()
    prompt_groups = Answers(
        rollout.rows, rollout.ids, rollout.lengths, rollout.finished, rollout.truncated
    ).prompt_groups([3, 2, 4, 0, 1], prompts)
    assert [len(prompt_group.answers) for prompt_group in prompt_groups] == [2, 1, 2]
    assert [prompt_group.prompt.tolist() for prompt_group in prompt_groups] == [
        prompts[row][0].tolist() for row in (0, 1, 2)
    ]
    np.testing.assert_array_equal(prompt_groups[0].answers[0][0], rollout.completion(3))
