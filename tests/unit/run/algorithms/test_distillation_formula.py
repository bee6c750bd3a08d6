"""The loss of distillation and its gradients against the formula, written out in float64: every divergence, masks, tails, two layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.algorithms.distill.objective import distilled, of_chosen
from autotrain_llm.run.algorithms.distill.teacher import Teacher, head_of
from autotrain_llm.run.algorithms.preference.objectives import dpo, orpo
from autotrain_llm.run.engine.flat.distillation_loss import (
    DistillTarget,
    TeacherHidden,
    distillation_loss,
    topk_logprobs,
)
from autotrain_llm.run.engine.flat.tiled_head import Head, LogitTransform
from autotrain_llm.run.engine.layouts import Flat, Padded, PromptGroup, prepare_second_model
from autotrain_llm.run.engine.objective import Objective, next_token
from autotrain_llm.run.engine.padded import padded_head, prepare_padded

CLOSE = 1e-8
WORDS, WIDE, TOKENS = 37, 12, 23
EVERY = pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
TEMPERATURES = pytest.mark.parametrize("temperature", [1.0, 2.0, 0.7])


def kl(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """KL of two distributions given by their probabilities, row by row."""
    return torch.where(left > 0, left * (left.log() - right.log()), 0.0).sum(-1)


def divergence_of(name: str, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    middle = (p + q) / 2
    return {"forward_kl": kl(p, q), "reverse_kl": kl(q, p), "jsd": (kl(p, middle) + kl(q, middle)) / 2}[name]


def written_out(student, teacher, labels, name, temperature, share, weights=None):
    """`(1 - α) Σ -log q(label) + α T² Σ weight · divergence` of logits (tokens, words)."""
    p, q = (torch.softmax(logits / temperature, -1) for logits in (teacher, student))
    task = -torch.log_softmax(student, -1).gather(1, labels[:, None]).sum()
    apart = divergence_of(name, p, q)
    return (1 - share) * task + share * temperature**2 * (apart if weights is None else apart * weights).sum()


class Sides:
    """Hidden states and heads of both, with random numbers; the student's have gradients."""

    def __init__(self, vocab_size: int = WORDS, more: int = 0) -> None:
        torch.manual_seed(0)
        self.hidden = torch.randn(TOKENS, WIDE, dtype=torch.float64, requires_grad=True)
        self.weight = torch.randn(vocab_size, WIDE, dtype=torch.float64, requires_grad=True)
        self.bias = torch.randn(vocab_size, dtype=torch.float64, requires_grad=True)
        self.labels = torch.randint(0, vocab_size, (TOKENS,))
        self.taught = TeacherHidden(
            torch.randn(TOKENS, 8, dtype=torch.float64), Head(torch.randn(vocab_size + more, 8, dtype=torch.float64))
        )

    @property
    def head(self) -> Head:
        return Head(self.weight, self.bias)

    def logits(self) -> torch.Tensor:
        return self.hidden @ self.weight.T + self.bias

    def teachers(self) -> torch.Tensor:
        return self.taught.hidden @ self.taught.head.weight.T

    def gradients(self, loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, (self.hidden, self.weight, self.bias)))


def assert_same(sides: Sides, found: torch.Tensor, expected: torch.Tensor) -> None:
    assert abs(found.item() - expected.item()) < CLOSE * max(1.0, abs(expected.item()))
    for one, other in zip(sides.gradients(found), sides.gradients(expected), strict=True):
        assert (one - other).abs().max() < CLOSE


@EVERY
@TEMPERATURES
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_loss_and_gradients_are_the_formulas(divergence, temperature, share):
    sides = Sides()
    distill_target = DistillTarget(sides.taught, divergence, temperature, share, WORDS)
    learnt = distillation_loss(sides.hidden, sides.head, sides.labels, distill_target, tile=5)
    expected = written_out(sides.logits(), sides.teachers(), sides.labels, divergence, temperature, share)
    assert_same(sides, learnt.loss, expected)
    p, q = (torch.softmax(one / temperature, -1) for one in (sides.teachers(), sides.logits()))
    assert torch.allclose(learnt.divergence, divergence_of(divergence, p, q), atol=CLOSE)
    assert torch.allclose(learnt.logprobs, torch.log_softmax(sides.logits(), -1).gather(1, sides.labels[:, None])[:, 0])


@EVERY
def test_a_head_that_scales_and_caps_is_followed_on_both_sides(divergence):
    sides = Sides()
    bent = LogitTransform(scale=0.5, softcap=3.0)
    heard = TeacherHidden(sides.taught.hidden, Head(sides.taught.head.weight, None, bent))
    learnt = distillation_loss(
        sides.hidden,
        Head(sides.weight, sides.bias, bent),
        sides.labels,
        DistillTarget(heard, divergence, 2.0, 0.4, WORDS),
    )
    both = [3.0 * torch.tanh(logits * 0.5 / 3.0) for logits in (sides.logits(), sides.teachers())]
    assert_same(sides, learnt.loss, written_out(*both, sides.labels, divergence, 2.0, 0.4))


@EVERY
@TEMPERATURES
def test_the_likeliest_words_of_a_whole_vocabulary_say_what_the_teacher_says(divergence, temperature):
    sides = Sides()
    kept = topk_logprobs(sides.taught, WORDS, temperature, tile=4)
    found = distillation_loss(
        sides.hidden, sides.head, sides.labels, DistillTarget(kept, divergence, temperature, 0.5, WORDS), tile=6
    )
    expected = written_out(sides.logits(), sides.teachers(), sides.labels, divergence, temperature, 0.5)
    assert_same(sides, found.loss, expected)


@EVERY
@pytest.mark.parametrize("count", [1, 4, WORDS - 1])
def test_words_that_were_not_kept_count_as_one(divergence, count):
    sides = Sides()
    kept = topk_logprobs(sides.taught, count, 1.5)
    found = distillation_loss(sides.hidden, sides.head, sides.labels, DistillTarget(kept, divergence, 1.5, 0.6, WORDS))
    p, q = (torch.softmax(one / 1.5, -1) for one in (sides.teachers(), sides.logits()))
    best = p.topk(count, dim=-1).indices
    rest = torch.ones_like(p).scatter(1, best, 0.0)
    buckets = [torch.cat([one.gather(1, best), (one * rest).sum(-1, keepdim=True)], -1) for one in (p, q)]
    task = -torch.log_softmax(sides.logits(), -1).gather(1, sides.labels[:, None]).sum()
    apart = divergence_of(divergence, *buckets)
    assert_same(sides, found.loss, 0.4 * task + 0.6 * 1.5**2 * apart.sum())
    assert (apart <= divergence_of(divergence, p, q) + 1e-12).all(), "joining words made a divergence larger"


@EVERY
def test_words_that_only_one_side_has_are_left_out_of_the_comparison(divergence):
    sides = Sides(more=6)
    distill_target = DistillTarget(
        TeacherHidden(sides.taught.hidden, sides.taught.head.first_tokens(30)), divergence, 2.0, 0.5, 30
    )
    found = distillation_loss(sides.hidden, sides.head, sides.labels, distill_target)
    p, q = (torch.softmax(one[:, :30] / 2.0, -1) for one in (sides.teachers(), sides.logits()))
    task = -torch.log_softmax(sides.logits(), -1).gather(1, sides.labels[:, None]).sum()
    assert_same(sides, found.loss, 0.5 * task + 0.5 * 4.0 * divergence_of(divergence, p, q).sum())


@EVERY
@pytest.mark.parametrize("kept", [False, True])
def test_a_lesson_of_some_tokens_leaves_the_task_its_log_probabilities(divergence, kept):
    sides = Sides()
    where, weights = torch.tensor([2, 3, 9, 20]), torch.tensor([0.5, 0.5, 1.0, 0.25], dtype=torch.float64)
    heard = TeacherHidden(sides.taught.hidden[where], sides.taught.head)
    said = topk_logprobs(heard, WORDS, 2.0) if kept else heard
    distill_target = DistillTarget(said, divergence, 2.0, 0.3, WORDS, where, weights, teacher_only=True)
    learnt = distillation_loss(sides.hidden, sides.head, sides.labels, distill_target, tile=3)
    found = 0.7 * -(learnt.logprobs**2).sum() + learnt.loss
    own = torch.log_softmax(sides.logits(), -1).gather(1, sides.labels[:, None])[:, 0]
    p, q = torch.softmax(sides.teachers()[where] / 2, -1), torch.softmax(sides.logits()[where] / 2, -1)
    expected = 0.7 * -(own**2).sum() + 0.3 * 4 * (weights * divergence_of(divergence, p, q)).sum()
    assert_same(sides, found, expected)


@EVERY
def test_logits_that_are_there_already_are_taken_as_they_are(divergence):
    sides = Sides()
    heard = TeacherHidden(sides.teachers(), Head(None))
    learnt = distillation_loss(
        sides.logits(), Head(None), sides.labels, DistillTarget(heard, divergence, 2.0, 0.5, WORDS), tile=7
    )
    expected = written_out(sides.logits(), sides.teachers(), sides.labels, divergence, 2.0, 0.5)
    assert_same(sides, learnt.loss, expected)


@EVERY
@pytest.mark.parametrize("kept", [0, 4])
def test_distributions_far_apart_have_finite_gradients_in_float32(divergence, kept):
    student = torch.full((3, 50), -200.0)
    student[:, 7] = 200.0
    student.requires_grad_()
    teacher = torch.zeros(3, 50)
    teacher[:, 3] = 60.0
    heard = TeacherHidden(teacher, Head(None))
    said = topk_logprobs(heard, kept, 1.0) if kept else heard
    learnt = distillation_loss(
        student, Head(None), torch.tensor([1, 2, 3]), DistillTarget(said, divergence, 1.0, 0.5, 50)
    )
    (slope,) = torch.autograd.grad(learnt.loss, student)
    assert learnt.loss.isfinite() and slope.isfinite().all()


def test_a_batch_without_a_token_to_learn_costs_nothing():
    sides = Sides()
    nothing = TeacherHidden(sides.taught.hidden[:0], sides.taught.head)
    learnt = distillation_loss(
        sides.hidden[:0], sides.head, sides.labels[:0], DistillTarget(nothing, "forward_kl", 2.0, 0.5, WORDS)
    )
    assert learnt.loss.item() == 0 and sides.gradients(learnt.loss)[1].abs().sum() == 0


# ---- through whole models, in both layouts: rows by themselves against what a batch of them costs

# A Llama normalises in float32 whatever it computes in, which is as exact as the gradients of two layouts can be.
GRADIENTS = 1e-7
SHAPE = {"intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": 0}
LAYOUTS = pytest.mark.parametrize("kind", ["flat", "padded"])
DPO = {"dpo_beta": 0.1, "dpo_loss": "sigmoid", "label_smoothing": 0.0}


def a_model(vocab_size: int, wide: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, hidden_size=wide, initializer_range=0.3, **SHAPE))
    return model.double()


class Taught:
    """A student and its teacher, laid out for batches, with copies that are called row by row."""

    def __init__(self, kind: str, settings: dict, more: int = 0) -> None:
        self.settings = {"loss": "forward_kl", "alpha": 0.4, "temperature": 2.0, **settings}
        self.student, self.plain = a_model(40, 16, 1), a_model(40, 16, 1)
        self.teacher, self.plain_teacher = a_model(40 + more, 24, 2), a_model(40 + more, 24, 2)
        self.layout = Flat(self.student) if kind == "flat" else Padded(0)
        prepare_second_model(self.layout, self.teacher)
        if kind == "padded":
            prepare_padded(self.student)
            prepare_padded(self.teacher)

    def loss(self, items: list, task: Objective, teachers: list | None = None, kept: int | None = None):
        """The loss of a batch, per item, and the student's gradients."""
        pairs, batch = isinstance(items[0], PromptGroup), self.layout.collate(items)
        if pairs:
            batch["reference"] = torch.zeros(batch["answers"], dtype=torch.float64)
        teacher = Teacher(self.teacher, head_of(self.teacher, self.layout), self.layout)
        said = teacher.hidden_states(batch if teachers is None else self.layout.collate(teachers), 40)
        if kept is not None:
            said = topk_logprobs(said, kept, self.settings["temperature"])
        where, weights = of_chosen(batch) if pairs else (None, None)
        chosen = (self.settings["loss"], self.settings["temperature"], self.settings["alpha"], 40)
        batch["distill_target"] = DistillTarget(said, *chosen, where, weights, pairs)
        objective = distilled(task, self.settings["alpha"], self.settings["temperature"], pairs=pairs)
        output = self.layout.forward(self.student, batch, objective.compute)
        loss = objective.loss(output, batch) / objective.items(batch)
        measured = {
            name: (total / count).item() for name, (total, count) in objective.batch_metrics(output, batch).items()
        }
        mixed = (1 - self.settings["alpha"]) * measured["task_loss"] + self.settings["alpha"] * measured["distill_loss"]
        assert mixed == pytest.approx(loss.item(), abs=CLOSE)
        return loss, torch.autograd.grad(loss, list(self.student.parameters()))

    def of_row(self, row: tuple, teachers: tuple | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of a row's targets, and at each the divergence from the teacher."""
        (ids, trained), temperature = row, self.settings["temperature"]
        places = [place for place in np.flatnonzero(trained) if place > 0]
        student = self.plain(torch.tensor(ids)[None].long()).logits[0][[place - 1 for place in places]]
        their_ids, their_trained = teachers or row
        theirs = [place - 1 for place in np.flatnonzero(their_trained) if place > 0]
        teacher = self.plain_teacher(torch.tensor(their_ids)[None].long()).logits[0][theirs][:, :40].detach()
        labels = torch.tensor([int(ids[place]) for place in places])
        logprobs = torch.log_softmax(student, -1).gather(1, labels[:, None])[:, 0]
        p, q = (torch.softmax(one / temperature, -1) for one in (teacher, student))
        return logprobs, divergence_of(self.settings["loss"], p, q)

    def assert_same(self, found: tuple, expected: torch.Tensor) -> None:
        loss, gradients = found
        assert loss.item() == pytest.approx(expected.item(), abs=CLOSE)
        for one, other in zip(gradients, torch.autograd.grad(expected, list(self.plain.parameters())), strict=True):
            assert (one - other).abs().max() < GRADIENTS


def some_rows(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of unequal length, of which some tokens are trained on, in one the first."""
    random = np.random.default_rng(seed)
    rows = [(random.integers(3, 40, 4 + 3 * number), random.random(4 + 3 * number) < 0.6) for number in range(count)]
    rows[0][1][0] = True
    return rows


@EVERY
@LAYOUTS
@pytest.mark.parametrize("kept", [None, 40])
def test_a_batch_of_rows_costs_what_the_formula_says(divergence, kind, kept):
    taught = Taught(kind, {"loss": divergence})
    rows = some_rows(5)
    each = [taught.of_row(row) for row in rows]
    tokens = sum(len(logprobs) for logprobs, _ in each)
    expected = sum(0.6 * -logprobs.sum() + 0.4 * 4 * apart.sum() for logprobs, apart in each) / tokens
    taught.assert_same(taught.loss(rows, next_token(), kept=kept), expected)


@LAYOUTS
def test_a_teacher_with_more_rows_in_its_embedding_is_cut(kind):
    taught = Taught(kind, {}, more=7)
    rows = some_rows(3)
    each = [taught.of_row(row) for row in rows]
    tokens = sum(len(logprobs) for logprobs, _ in each)
    expected = sum(0.6 * -logprobs.sum() + 0.4 * 4 * apart.sum() for logprobs, apart in each) / tokens
    taught.assert_same(taught.loss(rows, next_token()), expected)


def a_family(number: int, prompt: int) -> PromptGroup:
    random = np.random.default_rng(number)
    answers = [random.integers(3, 40, size) for size in (3 + number, 5)]
    return PromptGroup(random.integers(3, 40, prompt), tuple((ids, np.ones(len(ids), dtype=bool)) for ids in answers))


@EVERY
@LAYOUTS
@pytest.mark.parametrize("trainer", ["dpo", "orpo"])
@pytest.mark.parametrize("prompt", [2, 30], ids=["prompts twice", "prompts shared"])
def test_a_batch_of_pairs_costs_what_the_formula_says(divergence, kind, trainer, prompt):
    """Per pair, the task's loss and the mean divergence over the chosen answer's tokens."""
    taught = Taught(kind, {"loss": divergence, "temperature": 1.5})
    prompt_groups = [a_family(number, prompt) for number in range(3)]
    total = torch.zeros((), dtype=torch.float64)
    for prompt_group in prompt_groups:
        (chosen, apart), (rejected, _) = (taught.of_row(row) for row in prompt_group.rows())
        if trainer == "dpo":
            task = -logsigmoid(0.1 * (chosen.sum() - rejected.sum()))
        else:
            odds = [torch.log(one.mean().exp() / (1 - one.mean().exp())) for one in (chosen, rejected)]
            task = -chosen.mean() - 0.5 * logsigmoid(odds[0] - odds[1])
        total = total + 0.6 * task + 0.4 * 1.5**2 * apart.mean()
    task = dpo(DPO) if trainer == "dpo" else orpo({"orpo_alpha": 0.5})
    own = [prompt_group.rows()[0] for prompt_group in prompt_groups]
    taught.assert_same(taught.loss(prompt_groups, task, own), total / 3)


@LAYOUTS
def test_a_teacher_that_sees_another_prompt_is_compared_over_the_same_answer(kind):
    taught = Taught(kind, {})
    random = np.random.default_rng(4)
    answers = [random.integers(3, 40, size) for size in (4, 6)]
    rows, seen = ([], [])
    for side, prompt in ((rows, 3), (seen, 11)):
        for answer in answers:
            marks = np.concatenate([np.zeros(prompt, dtype=bool), np.ones(len(answer), dtype=bool)])
            side.append((np.concatenate([random.integers(3, 40, prompt), answer]), marks))
    each = [taught.of_row(row, other) for row, other in zip(rows, seen, strict=True)]
    expected = sum(0.6 * -logprobs.sum() + 0.4 * 4 * apart.sum() for logprobs, apart in each) / 10
    taught.assert_same(taught.loss(rows, next_token(), seen), expected)


def test_a_padded_head_that_is_more_than_a_product_is_the_models_own():
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.05, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model, layout = Gemma2ForCausalLM(config).double().eval(), Padded(0)
    rows = some_rows(3)
    batch = layout.collate(rows)
    expected = layout.forward(model, batch, "loss").loss
    prepare_padded(model)
    assert padded_head(model).weight is None
    said = Teacher(model, padded_head(model), layout).hidden_states(batch, 40)
    batch["distill_target"] = DistillTarget(said, "forward_kl", 2.0, 0.5, 40)
    output = layout.forward(model, batch, "distilled")
    assert output.divergence.abs().max() < CLOSE, "a model is no way from itself"
    assert output.loss.item() == pytest.approx(0.5 * expected.item(), abs=CLOSE)
    assert layout.forward(model, batch, "loss").loss.item() == pytest.approx(expected.item(), abs=CLOSE)
