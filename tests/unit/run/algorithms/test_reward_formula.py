"""The reward model's scores and loss, in one stream and padded, against the model's own forward and the formula written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from autotrain_llm.models.architectures import ALLOWED
from autotrain_llm.models.classifiers import classifier_of
from autotrain_llm.run.algorithms.reward.objective import pairwise
from autotrain_llm.run.engine import layouts
from autotrain_llm.run.engine.answer_items import AnswerItem, Pairs
from autotrain_llm.run.engine.classifiers import FlatScores, PaddedScores
from autotrain_llm.run.engine.flat.classifier import prepare_classifier
from autotrain_llm.run.engine.flat.model import FlatOutput, release_model
from autotrain_llm.run.engine.layouts import PromptGroup
from autotrain_llm.run.engine.objective import widen
from support.architecture_configs import NORMS_IN_FLOAT32, OWN, SPECIAL, USUAL, VOCABULARY

PAD = 0
SCORING = sorted(kind for kind in ALLOWED if classifier_of(kind))


def tiny(kind: str = "llama", **changes: Any) -> torch.nn.Module:
    config = AutoConfig.for_model(kind, **(USUAL | SPECIAL.get(kind, {}) | {"num_labels": 1} | changes))
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=OWN[kind]).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def encoder() -> torch.nn.Module:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        num_labels=1,
    )
    return BertForSequenceClassification(config).double().eval()


def answer(random: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
    return random.integers(3, VOCABULARY, length).astype(np.int32), np.ones(length, dtype=bool)


def prompt_groups(prompts: tuple[int, ...] = (4, 0, 9, 1)) -> list[PromptGroup]:
    """Pairs of very unequal lengths; one of them has no prompt."""
    random = np.random.default_rng(3)
    lengths = ((2, 17), (5, 1), (12, 3), (8, 8))
    return [
        PromptGroup(
            random.integers(3, VOCABULARY, prompt).astype(np.int32), (answer(random, one), answer(random, other))
        )
        for prompt, (one, other) in zip(prompts, lengths, strict=True)
    ]


def one_by_one(model: torch.nn.Module, pairs: list[PromptGroup]) -> torch.Tensor:
    """The model's own score of each answer after its prompt, each alone: chosen and rejected in turn."""
    rows = [ids for prompt_group in pairs for ids, _ in prompt_group.rows()]
    return torch.cat([model(input_ids=torch.from_numpy(ids).long()[None]).logits[:, 0] for ids in rows])


def written_out(scores: torch.Tensor, smoothing: float) -> torch.Tensor:
    """-(1-ε) log σ(m) - ε log σ(-m), summed over pairs."""
    margins = scores[0::2] - scores[1::2]
    right, wrong = 1 / (1 + torch.exp(-margins)), 1 / (1 + torch.exp(margins))
    return -((1 - smoothing) * right.log() + smoothing * wrong.log()).sum()


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], kind: str = "llama") -> None:
    assert left.keys() == right.keys()
    for name, gradient in right.items():
        within = 1e-6 if kind in NORMS_IN_FLOAT32 and "norm" in name else 1e-10
        torch.testing.assert_close(
            left[name], gradient, rtol=0, atol=within, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer with a prompt of its own: most norms round gradients to float32, those of a prompt that answers share once less."""
    monkeypatch.setattr(layouts, "SHARED_FROM", 1.0)


@pytest.mark.parametrize("kind", SCORING)
def test_scores_of_a_stream_are_those_of_the_models_own_forward(kind: str, apart: None) -> None:
    model = tiny(kind)
    expected = one_by_one(model, prompt_groups())
    written_out(expected, 0.1).backward()
    own = gradients(model)
    layout = FlatScores(model, PAD, OWN[kind])
    batch = layout.collate(prompt_groups())
    output = layout.forward(model, batch, "scores")
    torch.testing.assert_close(output.scores, expected, rtol=0, atol=1e-10)
    pairwise({"label_smoothing": 0.1}).loss(output, batch).backward()
    same(gradients(model), own, kind)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_prompt_computed_once_for_both_answers_changes_nothing(smoothing: float) -> None:
    # Unlike most, gpt2's norms don't round gradients to float32.
    model, pairs = tiny("gpt2"), prompt_groups(prompts=(30, 22, 25, 28))
    layout = FlatScores(model, PAD)
    batch = layout.collate(pairs)
    assert batch["segments"].chained
    loss = pairwise({"label_smoothing": smoothing}).loss(layout.forward(model, batch, "scores"), batch)
    loss.backward()
    flat = gradients(model)
    release_model(model)
    expected = written_out(one_by_one(model, pairs), smoothing)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    same(flat, gradients(model))


@pytest.mark.parametrize("make", [tiny, encoder])
def test_the_padded_layout_gives_the_formula(make: Any) -> None:
    model, pairs = make(), prompt_groups()
    expected = written_out(one_by_one(model, pairs), 0.1)
    expected.backward()
    own = gradients(model)
    layout = PaddedScores(PAD)
    batch = layout.collate(pairs)
    loss = pairwise({"label_smoothing": 0.1}).loss(layout.forward(model, batch, "scores"), batch)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    same(gradients(model), own)


def test_a_stream_through_lora_trains_adapter_and_head_as_the_formula_says(apart: None) -> None:
    torch.manual_seed(2)
    settings = {"task_type": "SEQ_CLS", "target_modules": "all-linear", "init_lora_weights": False, "r": 2}
    model = get_peft_model(tiny(), LoraConfig(**settings)).double().eval()
    expected = written_out(one_by_one(model, prompt_groups()), 0.0)
    expected.backward()
    own = gradients(model)
    assert any("score.modules_to_save" in name for name in own)
    assert all("lora" in name or "score" in name for name in own)
    layout = FlatScores(model, PAD)
    batch = layout.collate(prompt_groups())
    loss = pairwise({"label_smoothing": 0.0}).loss(layout.forward(model, batch, "scores"), batch)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    same(gradients(model), own)


def test_an_answer_that_ends_with_the_padding_token_is_scored_where_the_models_own_forward_scores_it() -> None:
    model = tiny()
    ids = np.array([5, 9, 7, PAD, PAD], dtype=np.int32)
    pair = [PromptGroup(np.zeros(0, dtype=np.int32), ((ids, ids > 0), answer(np.random.default_rng(0), 3)))]
    expected = one_by_one(model, pair)
    layout = FlatScores(model, PAD)
    torch.testing.assert_close(
        layout.forward(model, layout.collate(pair), "scores").scores, expected, rtol=0, atol=1e-10
    )


def test_a_prepared_classifier_answers_its_own_calls_as_before_and_can_be_released() -> None:
    model = tiny()
    ids = torch.tensor([[5, 6, 7, 8, PAD], [9, 8, PAD, PAD, PAD]])
    mask = (ids != PAD).long()
    before = model(input_ids=ids, attention_mask=mask).logits
    prepare_classifier(model)
    layout = FlatScores(model, PAD)
    layout.forward(model, layout.collate(prompt_groups()), "scores")
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, before)
    release_model(model)
    assert "forward" not in vars(model)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, before)


def test_a_classifier_whose_attention_is_not_known_to_keep_rows_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="bert"):
        prepare_classifier(encoder())


def test_a_pair_that_counts_nothing_gives_no_score_and_a_gradient_of_zero() -> None:
    model = tiny()
    padding_item = AnswerItem(prompt_groups()[0]).padding_item()
    layout = FlatScores(model, PAD)
    batch = Pairs.collating(Pairs.__new__(Pairs), layout.collate)([padding_item])
    output = layout.forward(model, batch, "scores")
    objective = pairwise({"label_smoothing": 0.0})
    loss = objective.loss(output, batch)
    loss.backward()
    assert output.scores is not None and output.scores.numel() == 0
    assert objective.items(batch) == 0 and loss == 0
    assert all(not one.grad.any() for one in model.parameters() if one.grad is not None)
    assert all(not count for _, count in objective.batch_metrics(output, batch).values())


def measured(scores: list[float]) -> dict[str, float]:
    """What is logged of these scores, chosen and rejected in turn, as the loop divides it."""
    objective = pairwise({"label_smoothing": 0.0})
    output = FlatOutput(scores=torch.tensor(scores))
    sums = objective.batch_metrics(output, {"answers": len(scores)})
    ratios = {name: float(total / count) for name, (total, count) in sums.items() if count}
    extremes: dict[str, torch.Tensor] = {}
    widen(extremes, objective.extremes(output, {"answers": len(scores)}))
    ratios |= {name: float(value) for name, value in extremes.items()}
    return ratios | objective.derived_metrics(ratios | {"loss": 0.0})


def test_measures_have_trls_names_and_meaning() -> None:
    found = measured([2.0, -1.0, 0.5, 1.5])
    assert found["accuracy"] == 0.5
    assert found["margin"] == pytest.approx(1.0)
    assert found["mean_reward"] == pytest.approx(0.75)
    assert found["min_reward"] == -1.0
    assert found["max_reward"] == 2.0
    assert found["chosen_reward"] == pytest.approx(1.25)
    assert found["rejected_reward"] == pytest.approx(0.25)


def test_calibration_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = math.log(3)  # a margin at which the odds are three to one: a confidence of 0.75
    three_of_four = [sure, 0.0, sure, 0.0, sure, 0.0, 0.0, sure]
    assert measured(three_of_four)["calibration"] == pytest.approx(0.0, abs=1e-6)
    assert measured([0.0, sure] * 4)["calibration"] == pytest.approx(0.75, abs=1e-6)
    # Two groups, each off by a quarter, one too sure and the other not sure enough: they don't make up for each other.
    right_at_three_quarters, half_at_three_quarters = [sure, 0.0] * 2, [sure + 3, 0.0, 0.0, sure + 3]
    excess = 1 / (1 + math.exp(-(sure + 3))) - 0.5
    assert measured(right_at_three_quarters + half_at_three_quarters)["calibration"] == pytest.approx(
        0.5 * 0.25 + 0.5 * excess, abs=1e-6
    )


def test_the_extremes_are_those_of_all_batches() -> None:
    extremes: dict[str, torch.Tensor] = {}
    for scores in ([2.0, -1.0], [0.5, 1.5], []):
        output = FlatOutput(scores=torch.tensor(scores))
        widen(extremes, pairwise({"label_smoothing": 0.0}).extremes(output, {"answers": len(scores)}))
    assert {name: float(value) for name, value in extremes.items()} == {"min_reward": -1.0, "max_reward": 2.0}
