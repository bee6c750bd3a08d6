"""Reward models with several outputs: the step against the formula, what they learn, and their use as rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from autotrain_llm import check, train
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.cli.main import main
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from support.models import build_other
from support.processes import run_together
from support.rows import write_rows

ANSWERS = {"red, I think, it is red.": (4, 1), "no": (0, 0), "blue or green": (2, 3)}
CLASSES = dict(zip(ANSWERS, ("good", "bad", "unsure"), strict=True))


def graded(count: int = 24) -> list[dict[str, Any]]:
    answers = list(ANSWERS)
    return [
        {"prompt": f"Number {at}: ", "answer": answers[at % 3], "scores": list(ANSWERS[answers[at % 3]])}
        for at in range(count)
    ]


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Path]:
    lists = graded()
    columns = [
        {"prompt": row["prompt"], "answer": row["answer"], "help": row["scores"][0], "length": row["scores"][1]}
        for row in lists
    ]
    objects = [{**row, "scores": {"help": row["scores"][0], "length": row["scores"][1]}} for row in lists]
    classes = [{"prompt": row["prompt"], "answer": row["answer"], "label": CLASSES[row["answer"]]} for row in lists]
    turns = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["answer"]},
            ],
            "scores": row["scores"],
        }
        for row in lists
    ]
    kinds = {"lists": lists, "columns": columns, "objects": objects, "classes": classes, "turns": turns}
    return {name: write_rows(tmp_path / f"{name}.jsonl", content) for name, content in kinds.items()}


def flags_of(kind: str, rows: dict[str, Path], model: Path, **flags: Any) -> dict[str, Any]:
    usual = {"trainer": "reward", "num_labels": 3 if kind == "classes" else 2, "lr": 1e-2, "batch_size": 8, "epochs": 1}
    usual |= {"data_path": str(rows[kind]), "model": str(model), "mixed_precision": "fp32", "logging_steps": 1}
    return {**usual, **flags}


@pytest.mark.parametrize("layout", ["flat", "padded"])
@pytest.mark.parametrize("kind", ["columns", "classes"])
def test_a_step_is_that_of_the_formula(
    kind: str, layout: str, rows: dict[str, Path], llama: Path, tmp_path: Path
) -> None:
    model = build_other(tmp_path / "bert", "bert", llama) if layout == "padded" else llama
    # The first run makes the head; a step from its model is compared.
    first = train(**flags_of(kind, rows, model, max_steps=1), output_dir=str(tmp_path / "first"))
    sgd = {"optimizer": "sgd", "lr": 0.05, "warmup_ratio": 0.0, "weight_decay": 0.0, "max_grad_norm": 1e9}
    flags = flags_of(kind, rows, first.output_dir, max_steps=1, batch_size=24, **sgd)
    report = train(**flags, output_dir=str(tmp_path / "second"))
    assert report.plan.model.head == "kept"
    prepared = preflight(resolve(parse_kwargs(flags).values)).context.prepared
    assert prepared is not None and prepared.train.scores is not None
    own = AutoModelForSequenceClassification.from_pretrained(first.output_dir).train()
    for module in own.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loss = 0.0
    for (ids, _), wanted in zip(prepared.train, prepared.train.scores, strict=True):
        outputs = own(torch.tensor(ids.tolist())[None]).logits[0].double()
        if kind == "classes":
            loss -= outputs.log_softmax(-1)[int(wanted[0])]
        else:
            loss += ((outputs - torch.tensor(wanted)) ** 2).sum() / 2
    loss = loss / len(prepared.train)
    assert report.history[0]["loss"] == pytest.approx(loss.item(), abs=1e-4)
    loss.backward()
    with torch.no_grad():
        for parameter in own.parameters():
            parameter -= 0.05 * parameter.grad if parameter.grad is not None else 0
    found = AutoModelForSequenceClassification.from_pretrained(report.output_dir).state_dict()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["lists", "columns", "objects", "turns"])
def test_scores_are_learned_and_have_names(kind: str, rows: dict[str, Path], llama: Path, tmp_path: Path) -> None:
    flags = flags_of(kind, rows, llama, epochs=12, valid_split="6")
    report = train(**flags, output_dir=str(tmp_path / "run"))
    names = {"columns": ["help", "length"], "objects": ["help", "length"]}.get(kind, ["score_1", "score_2"])
    config = json.loads((report.output_dir / "config.json").read_text())
    assert list(config["id2label"].values()) == names and config["problem_type"] == "regression"
    assert report.metrics["eval_mse"] < 0.5 and report.metrics["eval_correlation"] > 0.9
    assert {f"eval_{metric}/{name}" for metric in ("mse", "correlation") for name in names} <= report.metrics.keys()
    each = [report.metrics[f"eval_mse/{name}"] for name in names]
    assert report.metrics["eval_mse"] == pytest.approx(sum(each) / 2) == pytest.approx(report.metrics["eval_loss"])


def test_an_adapter_learns_scores_and_gives_them_as_rewards(
    rows: dict[str, Path], llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = flags_of("columns", rows, llama, epochs=15, valid_split="6", peft=True, lora_r=8)
    reward = train(**adapter, output_dir=str(tmp_path / "reward"))
    assert reward.metrics["eval_correlation"] > 0.8
    assert (
        main(["llm", "--inference", "--model", str(reward.output_dir), "--prompts", "Number 1: no", "--format", "json"])
        == 0
    )
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert list(answer["scores"]) == ["help", "length"] and abs(answer["scores"]["help"]) < 1.5
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Number {at}: "} for at in range(8)])
    sampling = {"rl_chunk_size": 8, "rl_mini_batch_size": 8, "rl_max_new_tokens": 4, "rl_num_ppo_epochs": 1}
    weights = ["help=1", "length=-0.5"]
    for trainer, more in (("ppo", {}), ("grpo", {"rl_num_generations": 2}), ("spo", {"spo_first_answers": 1})):
        flags = {"trainer": trainer, "model": str(llama), "data_path": str(prompts), "lr": 1e-5, "max_steps": 1}
        flags |= {"batch_size": 8, "rl_reward_model_path": str(reward.output_dir), "rl_reward_weights": weights}
        report = train(**flags, **sampling, **more, logging_steps=1, output_dir=str(tmp_path / trainer))
        (logged,) = [entry for entry in report.history if "reward" in entry]
        total = logged["rewards/help"] - 0.5 * logged["rewards/length"]
        assert logged["reward"] == pytest.approx(total, abs=1e-5)
    assert [finding.code for finding in check(**{**flags, "rl_reward_weights": None}, **sampling)] == ["P710"]


def test_classes_are_learned_and_are_no_rewards(
    rows: dict[str, Path], llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_of("classes", rows, llama, epochs=12, valid_split="6", use_enhanced_eval=True)
    report = train(**flags, eval_save_predictions=True, output_dir=str(tmp_path / "run"))
    assert report.metrics["eval_accuracy"] == 1.0 and report.metrics["eval_accuracy/bad"] == 1.0
    written = (report.output_dir / "eval/predictions.jsonl").read_text().splitlines()
    last = json.loads(written[-1])
    assert max(last["scores"], key=last["scores"].get) == last["reference"]
    assert (
        main(["llm", "--inference", "--model", str(report.output_dir), "--prompts", "Number 1: no", "--format", "json"])
        == 0
    )
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert (
        sum(answer["scores"].values()) == pytest.approx(1) and max(answer["scores"], key=answer["scores"].get) == "bad"
    )
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "Number 1: "}, {"prompt": "Number 2: "}])
    ppo = {"trainer": "ppo", "model": str(llama), "data_path": str(prompts), "lr": 1e-6, "epochs": 1, "batch_size": 2}
    codes = [finding.code for finding in check(**ppo, rl_reward_model_path=str(report.output_dir))]
    assert codes == ["M162"]


def test_two_processes_train_as_one_and_report_the_extremes_of_all(
    rows: dict[str, Path], llama: Path, tmp_path: Path
) -> None:
    pairs = [
        {"prompt": f"{at}: ", "chosen": "red " * (at % 4 + 1), "rejected": "no " * (at % 3 + 1)} for at in range(22)
    ]
    rows["pairs"] = write_rows(tmp_path / "pairs.jsonl", pairs)
    for kind, labels in (("columns", "2"), ("pairs", "1")):
        common = f"llm --trainer reward --num-labels {labels} --model {llama} --data-path {rows[kind]} --lr 0.05 --optimizer sgd"
        common += " --epochs 1 --mixed-precision fp32 --valid-split 5 --logging-steps 1 --eval-batch-size 2"
        if kind == "pairs":
            common += " --prompt-text-column prompt --text-column chosen --rejected-text-column rejected"
        for name, processes, size in (("one", 1, 6), ("two", 2, 3)):
            words = [*common.split(), "--batch-size", str(size), "--output-dir", str(tmp_path / kind / name)]
            run_together(words, tmp_path, processes)
        alone, together = (load_file(tmp_path / kind / name / "model.safetensors") for name in ("one", "two"))
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=2e-6)
        one, two = (
            [json.loads(line) for line in (tmp_path / kind / name / "metrics.jsonl").read_text().splitlines()]
            for name in ("one", "two")
        )
        compared = ("eval_mse", "eval_correlation") if kind == "columns" else ("eval_min_reward", "eval_max_reward")
        for metric in compared:
            values = [[entry[metric] for entry in entries if metric in entry] for entries in (one, two)]
            assert values[0] and values[0] == pytest.approx(values[1], abs=1e-5)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scores": [1]}, "P704"),
        ({"scores": [1, None]}, "P704"),
        ({"scores": [1, float("nan")]}, "P704"),
        ({"scores": None}, "P704"),
        ({"scores": [1, "many"]}, "P704"),
        ({"scores": [4, 1]}, None),
    ],
)
def test_a_row_without_all_its_scores_is_found(
    change: dict[str, Any], code: str | None, llama: Path, tmp_path: Path
) -> None:
    content = graded()
    path = write_rows(tmp_path / "rows.jsonl", [*content[:5], {**content[5], **change}, *content[6:]])
    found = check(**flags_of("lists", {"lists": path}, llama, lr=1e-5))
    assert [finding.code for finding in found if finding.code != "D123"] == [code] * bool(code)
    assert all(finding.row == 6 for finding in found if finding.code == code)


@pytest.mark.parametrize(
    ("kind", "flags", "code"),
    [
        ("classes", {"num_labels": 2}, "P705"),
        ("classes", {"num_labels": 4}, "P705"),
        ("columns", {"num_labels": 3}, "P706"),
        ("columns", {"num_labels": 2, "engine": "trl"}, "P113"),
        ("columns", {"num_labels": 2, "metric_for_best_model": "eval_accuracy", "valid_split": "4"}, "P711"),
    ],
)
def test_numbers_of_outputs_that_do_not_fit_the_rows_are_found(
    kind: str, flags: dict[str, Any], code: str, rows: dict[str, Path], llama: Path
) -> None:
    more = {"load_best_model_at_end": True} if "metric_for_best_model" in flags else {}
    found = [finding.code for finding in check(**flags_of(kind, rows, llama, lr=1e-5, **flags, **more))]
    assert code in found
