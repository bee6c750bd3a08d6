"""Single-stream policy optimisation, by the formulas of its paper (arXiv:2509.13232) written out here with alpha and beta."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotrain_llm.run.algorithms.rl.value_tracker import (
    Forgetting,
    LastAnswers,
    ValueTracker,
    load_tracker,
    save_tracker,
    single_stream_advantages,
)

HALF, LOW, HIGH = 0.06, 0.875, 0.96
FORGETTING = Forgetting(HALF, LOW, HIGH)


def test_the_first_answers_count_as_the_lowest_rate_lets_answers_count_in_the_long_run():
    tracker = ValueTracker(FORGETTING, np.asarray([[1.0, 0, 0, 1], [0, 0, 0, 0]]))
    n0 = 1 / (1 - LOW)
    np.testing.assert_allclose(tracker.total, [n0 * 0.5, 0])
    np.testing.assert_allclose(tracker.weight - tracker.total, [n0 * 0.5, n0])


def test_an_answer_updates_alpha_and_beta_after_the_older_ones_were_discounted():
    random = np.random.default_rng(0)
    first = random.integers(0, 2, size=(5, 8)).astype(float)
    tracker = ValueTracker(FORGETTING, first)
    alpha, beta = 8 * first.mean(1), 8 * (1 - first.mean(1))
    for _ in range(20):
        rows = random.permutation(5)[:3]
        rewards, divergence = random.integers(0, 2, size=3).astype(float), random.exponential(0.05, size=3)
        rates = tracker.update(rows, rewards, divergence)
        for place, row in enumerate(rows):
            rho = min(max(2 ** (-divergence[place] / HALF), LOW), HIGH)
            assert rates[place] == pytest.approx(rho)
            alpha[row], beta[row] = rho * alpha[row] + rewards[place], rho * beta[row] + 1 - rewards[place]
    np.testing.assert_allclose(tracker.values, alpha / (alpha + beta), rtol=1e-12)
    value = alpha / (alpha + beta)
    np.testing.assert_allclose(tracker.priorities(0.05), np.sqrt(value * (1 - value)) + 0.05, rtol=1e-6)


def test_half_of_what_was_observed_is_kept_after_a_half_life_within_the_bounds():
    wide = Forgetting(HALF, 0.01, 0.99)
    np.testing.assert_allclose(wide.rate(np.asarray([HALF, 2 * HALF])), [0.5, 0.25])
    np.testing.assert_allclose(FORGETTING.rate(np.asarray([0.0, 10.0])), [HIGH, LOW])


def test_an_advantage_is_the_reward_above_the_value_from_before_normalised_over_the_rollout():
    rewards, values = np.asarray([1.0, 0, 1, 0]), np.asarray([0.9, 0.2, 0.5, 0.5])
    above = [0.1, -0.2, 0.5, -0.5]
    mean = sum(above) / 4
    deviation = (sum((one - mean) ** 2 for one in above) / 4) ** 0.5
    np.testing.assert_allclose(
        single_stream_advantages(rewards, values), [(one - mean) / deviation for one in above], rtol=1e-6
    )
    assert not single_stream_advantages(np.ones(3), np.full(3, 0.25)).any()


def test_rewards_on_another_scale_draw_the_same_prompts():
    random = np.random.default_rng(1)
    zeros_and_ones = random.integers(0, 2, size=(30, 8)).astype(float)
    zeros_and_ones[0], zeros_and_ones[1] = 0, 1
    plain, scaled = ValueTracker(FORGETTING, zeros_and_ones), ValueTracker(FORGETTING, 7 * zeros_and_ones - 3)
    np.testing.assert_allclose(scaled.priorities(0.05), plain.priorities(0.05), rtol=1e-6)
    np.testing.assert_allclose(scaled.values, 7 * plain.values - 3)


def test_uncertain_prompts_are_drawn_more_often_and_none_twice_or_never():
    rewards = np.zeros((40, 2))
    rewards[:20, 0] = 1
    tracker = ValueTracker(FORGETTING, rewards)
    drawn = [tracker.sample_rows(10, 0.05, 3, number) for number in range(400)]
    assert all(len(set(rows.tolist())) == 10 for rows in drawn)
    often = np.bincount(np.concatenate(drawn), minlength=40)
    assert often.min() > 0 and often[:20].mean() > 4 * often[20:].mean()
    np.testing.assert_array_equal(tracker.sample_rows(10, 0.05, 3, 0), drawn[0])
    assert tracker.sample_rows(10, 0.05, 4, 0).tolist() != drawn[0].tolist()


def test_a_tracker_is_written_and_read_whole(tmp_path: Path):
    tracker, last = ValueTracker(FORGETTING, np.random.default_rng(2).random((6, 4))), LastAnswers()
    tracker.update(np.asarray([4, 1]), np.asarray([0.5, 2.0]), np.asarray([0.1, 0.0]))
    last.put(4, np.asarray([7, 8, 9], np.int32), np.asarray([-0.1, -0.2, -0.3]))
    last.put(1, np.asarray([3], np.int32), np.asarray([-1.5]))
    save_tracker(tracker, last, tmp_path)
    other, answers = load_tracker(FORGETTING, tmp_path)
    for name, array in tracker.arrays().items():
        np.testing.assert_array_equal(other.arrays()[name], array)
    for name, array in last.arrays().items():
        np.testing.assert_array_equal(answers.arrays()[name], array)
    assert answers.answered(np.asarray([0, 1, 4])) == [1, 2]
