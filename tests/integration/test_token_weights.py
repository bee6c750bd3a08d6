"""`--token-weights`: a step and its gradients against the formula, and what a model learns from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autotrain_llm import check, train
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from support.models import build_other
from support.processes import run_together
from support.rows import questions, write_rows

WEIGHTS = {".": 10, "1": 0.25}
SHARE, TEMPERATURE = 0.3, 1.5


@pytest.fixture(scope="module")
def bloom(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows are padded."""
    return build_other(tmp_path_factory.mktemp("models") / "bloom", "bloom", llama)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    texts = [{"text": f"Line {number}. " + "red or blue. " * (number % 4)} for number in range(12)]
    return {
        "generic": write_rows(tmp_path / "texts.jsonl", texts),
        "sft": write_rows(tmp_path / "chat.jsonl", questions(12)),
    }


def flags_of(trainer: str, data: dict[str, Path], model: Path, **flags: Any) -> dict[str, Any]:
    settings = {"lr": 0.05, "optimizer": "sgd", "max_steps": 1, "batch_size": 12, "mixed_precision": "fp32"}
    settings |= {"warmup_ratio": 0.0, "weight_decay": 0.0, "max_grad_norm": 1e9, "block_size": 64, "logging_steps": 1}
    places = {"trainer": trainer, "data_path": str(data[trainer]), "model": str(model)}
    return {**settings, **places, "token_weights": WEIGHTS, **flags}


def expected(flags: dict[str, Any], student: Any, teacher: Any) -> torch.Tensor:
    """The loss of all rows in one step: the weighted cross entropies over the number of trained tokens, each row in a call of its own."""
    rows = preflight(resolve(parse_kwargs(flags).values)).context.prepared
    assert rows is not None
    tokenizer = Tokenizer.load(flags["model"])
    of_token = {tokenizer.single_token(text): weight for text, weight in WEIGHTS.items()}
    task, divergence, tokens, chosen = 0.0, 0.0, 0, 0
    for ids, trained in rows.train:
        targets = [place for place in range(1, len(ids)) if trained[place]]
        held = torch.tensor(ids.tolist())
        logits = student(held[None]).logits[0, [place - 1 for place in targets]].double()
        weights = torch.tensor([of_token.get(int(token), 1.0) for token in held[targets]])
        task -= (weights * torch.log_softmax(logits, -1).gather(1, held[targets][:, None])[:, 0]).sum()
        tokens, chosen = tokens + len(targets), chosen + int((weights != 1).sum())
        if teacher is not None:
            theirs = teacher(held[None]).logits[0, [place - 1 for place in targets]].double()
            log_p, log_q = (torch.log_softmax(one / TEMPERATURE, -1) for one in (theirs, logits))
            divergence += (log_p.exp() * (log_p - log_q)).sum()
    assert chosen >= 12, "the rows have no chosen tokens"
    if teacher is None:
        return task / tokens
    return ((1 - SHARE) * task + SHARE * TEMPERATURE**2 * divergence) / tokens


@pytest.mark.parametrize(
    "case", ["flat", "padded", "packed", "accumulated", "checkpointed", "distilled", "distilled padded"]
)
@pytest.mark.parametrize("trainer", ["generic", "sft"])
def test_a_step_is_that_of_the_formula(
    trainer: str, case: str, data: dict[str, Path], llama: Path, bloom: Path, tmp_path: Path
) -> None:
    if trainer == "generic" and case == "packed":
        pytest.skip("blocks are full already")
    model = bloom if "padded" in case else llama
    changes: dict[str, dict[str, Any]] = {
        "packed": {"packing": True},
        "accumulated": {"batch_size": 4, "gradient_accumulation": 3},
        "checkpointed": {"gradient_checkpointing": True},
    }
    flags = flags_of(trainer, data, model, **changes.get(case, {}))
    student, teacher = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), None
    if "distilled" in case:
        flags |= {"distill_alpha": SHARE, "distill_temperature": TEMPERATURE, "use_distillation": True}
        other = build_other(tmp_path / "teacher", "llama", llama)
        flags["teacher_model"] = str(other)
        teacher = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32).requires_grad_(False)
    report = train(**flags, output_dir=str(tmp_path / "run"))
    loss = expected(flags, student, teacher)
    assert report.history[0]["loss"] == pytest.approx(loss.item(), abs=1e-4)
    loss.backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter -= 0.05 * parameter.grad
    found = AutoModelForCausalLM.from_pretrained(report.output_dir, dtype=torch.float32).state_dict()
    for name, value in student.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


def test_a_weight_of_one_changes_nothing_and_evaluation_has_no_weights(
    data: dict[str, Path], llama: Path, tmp_path: Path
) -> None:
    def run(name: str, **changes: Any) -> Any:
        flags = flags_of("sft", data, llama, lr=1e-9, valid_split="4", **changes)
        return train(**flags, output_dir=str(tmp_path / name))

    plain, ones = run("plain", token_weights=None), run("ones", token_weights={".": 1.0})
    weighted = run("weighted", token_weights={".": 10})
    assert plain.history[0]["loss"] == ones.history[0]["loss"] < weighted.history[0]["loss"] - 0.5
    assert plain.metrics["eval_loss"] == pytest.approx(weighted.metrics["eval_loss"], abs=1e-6)
    assert plain.metrics["eval_perplexity"] == pytest.approx(weighted.metrics["eval_perplexity"], rel=1e-6)


def test_two_processes_train_as_one(data: dict[str, Path], llama: Path, tmp_path: Path) -> None:
    common = f"llm --trainer sft --model {llama} --data-path {data['sft']} --lr 0.05 --optimizer sgd --epochs 1 --mixed-precision fp32"
    for name, processes, rows in (("one", 1, 6), ("two", 2, 3)):
        words = [*common.split(), "--token-weights", json.dumps(WEIGHTS), "--batch-size", str(rows)]
        run_together([*words, "--output-dir", str(tmp_path / name)], tmp_path, processes)
    alone, together = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=0, atol=2e-6)


def test_a_model_writes_a_token_as_often_as_its_weighted_share(llama: Path, tmp_path: Path) -> None:
    """Two ends of an answer are equally frequent; the loss is smallest where each has its share of the weights."""
    rows = [{"prompt": f"Number {number}: ", "completion": f"red{end}"} for number in range(16) for end in ".,"]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    tokenizer = Tokenizer.load(llama)
    ids = {end: tokenizer.single_token(end) for end in ".,"}

    def share(folder: Path) -> float:
        (prompt,) = tokenizer.encode_batch(["Number 9: red"])
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([prompt])).logits[0, -1]
        chosen = logits[[ids["."], ids[","]]].double().softmax(-1)
        return float(chosen[0])

    flags = {"model": str(llama), "data_path": str(path), "lr": 1e-2, "epochs": 30, "batch_size": 16}
    plain = train(**flags, output_dir=str(tmp_path / "plain"), mixed_precision="fp32")
    weighted = train(**flags, output_dir=str(tmp_path / "run"), mixed_precision="fp32", token_weights={".": 9})
    assert share(plain.output_dir) == pytest.approx(0.5, abs=0.2)
    assert share(weighted.output_dir) == pytest.approx(0.9, abs=0.07)


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ({".": 0}, "P346"),
        ({".": -1}, "P346"),
        ({".": "ten"}, "P346"),
        ({".": True}, "P346"),
        ({".": float("inf")}, "P346"),
        ({"red or blue": 2}, "P347"),
        ({".": 2, "~": 2}, "P348"),
        ({".": 2}, None),
    ],
)
def test_weights_that_can_not_be_used_are_found_before_a_model_is_loaded(
    weights: dict[str, Any], code: str | None, data: dict[str, Path], llama: Path
) -> None:
    flags = flags_of("sft", data, llama, lr=1e-4, batch_size=4, token_weights=weights)
    assert [finding.code for finding in check(**flags)] == [code] * bool(code)
