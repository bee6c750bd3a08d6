"""Runs with `--use-enhanced-eval`: what they measure, what they leave behind, and that training goes on as without it."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from autotrain_llm import train
from autotrain_llm.cli.main import main
from autotrain_llm.config.registry import METRICS, TRAINERS
from autotrain_llm.models import architectures
from autotrain_llm.run.generation.decoder import CachedBatch
from support.processes import run_together
from support.reward_models import build_bert, pair
from support.rows import questions, write_rows

TEXT = ("bleu", "chrf", "rouge", "bertscore", "exact_match")
PAIRED = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
NEEDS: dict[str, dict[str, Any]] = {
    "generic": {},
    "sft": {},
    "dpo": PAIRED,
    "orpo": PAIRED,
    "kto": {},
    "reward": PAIRED,
}
SMALL = {"eval_samples": 6, "eval_max_new_tokens": 8}


def run(data: Path, output: Path, trainer: str = "sft", **flags: Any) -> Any:
    """A short run in float32 that holds a quarter of its rows out."""
    settings = {"lr": 3e-3, "epochs": 2, "batch_size": 8, "mixed_precision": "fp32", "valid_split": "0.25"}
    settings |= {"use_enhanced_eval": True, "warmup_ratio": 0.0, **NEEDS[trainer]}
    return train(trainer=trainer, data_path=str(data), output_dir=str(output), **{**settings, **flags})


def document(output: Path, name: str = "metrics.json") -> Any:
    return json.loads((output / "eval" / name).read_text(encoding="utf-8"))


def lines(output: Path, name: str = "predictions.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "eval" / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_bert(tmp_path_factory.mktemp("models") / "bert"))


@pytest.fixture
def rows_of(chat_rows: Path, text_rows: Path, tmp_path: Path) -> dict[str, Path]:
    """Rows for each trainer."""
    pairs = write_rows(tmp_path / "pairs.jsonl", [pair(number) for number in range(32)])
    return {"generic": text_rows, "sft": chat_rows, "dpo": pairs, "orpo": pairs, "kto": pairs, "reward": pairs}


# ---- every metric with every trainer


@pytest.mark.parametrize("trainer", NEEDS)
def test_every_metric_that_makes_sense_is_measured_before_during_and_after(trainer, rows_of, llama, bert, tmp_path):
    metrics = [metric for metric in METRICS.values() if metric.makes_sense_for(TRAINERS[trainer])]
    of_text = {**SMALL, "eval_bertscore_model": bert, "eval_bertscore_layer": 2} if trainer != "reward" else {}
    flags = {"eval_metrics": [metric.name for metric in metrics], "eval_save_predictions": True, **of_text}
    output = tmp_path / "run"
    report = run(rows_of[trainer], output, trainer, model=str(llama), epochs=1, **flags)
    found = document(output)
    names = {name for metric in metrics for name in metric.reports}
    for held in (found["before"], found["after"], *found["during"]):
        assert names <= held.keys() and all(math.isfinite(held[name]) for name in names)
    assert {f"eval_{name}" for name in names} <= report.metrics.keys()
    logged = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged if "eval_loss" in entry] == [0, report.plan.steps]
    assert report.evaluation == found
    assert lines(output) and lines(output, "predictions_before.jsonl")


@pytest.mark.parametrize("trainer", ["dpo", "orpo", "kto", "reward"])
def test_preferences_are_measured_by_short_names_too(trainer, rows_of, llama, tmp_path):
    run(rows_of[trainer], tmp_path / "run", trainer, model=str(llama), epochs=1, eval_metrics="accuracy,margin")
    after = document(tmp_path / "run")["after"]
    if trainer != "reward":
        assert (after["accuracy"], after["margin"]) == (after["rewards/accuracies"], after["rewards/margins"])
    assert 0 <= after["accuracy"] <= 1


# ---- perplexity


def by_hand(folder: Path, report: Any, rows: list[tuple[list[int], list[bool]]]) -> float:
    """exp(-sum over the trained tokens of log p(token | what stands before it) / their number), row by row, by the model's own forward."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for ids, trained in rows:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        for at in range(1, len(ids)):
            if trained[at]:
                total -= float(logits[at - 1, ids[at]])
                count += 1
    return math.exp(total / count)


def prepared_rows(data: Path, llama: Path, trainer: str) -> Any:
    from autotrain_llm.checks.preflight import preflight
    from autotrain_llm.config.arguments import parse_kwargs
    from autotrain_llm.config.resolved import resolve

    said = {"trainer": trainer, "model": str(llama), "data_path": str(data), "lr": 3e-3, "epochs": 2, "batch_size": 8}
    said |= {"valid_split": "0.25", "dry_run": True, **NEEDS[trainer]}
    return preflight(resolve(parse_kwargs(said).values)).context.prepared.valid


def test_perplexity_is_that_of_all_trained_tokens_alike(chat_rows, llama, tmp_path):
    report = run(chat_rows, tmp_path / "run", model=str(llama), eval_metrics="ppl", eval_batch_size=3)
    rows = [(ids.tolist(), trained.tolist()) for ids, trained in prepared_rows(chat_rows, llama, "sft")]
    assert any(not all(trained) for _, trained in rows)
    assert report.metrics["eval_perplexity"] == pytest.approx(by_hand(tmp_path / "run", report, rows), rel=1e-4)


def test_perplexity_of_pairs_is_that_of_the_chosen_answers(rows_of, llama, tmp_path):
    report = run(rows_of["orpo"], tmp_path / "run", "orpo", model=str(llama), eval_metrics="perplexity")
    pairs = prepared_rows(rows_of["orpo"], llama, "orpo")
    rows = []
    for number in range(len(pairs)):
        prompt, (answer, trained) = pairs.prompt[number][0].tolist(), pairs.chosen[number]
        rows.append(([*prompt, *answer.tolist()], [False] * len(prompt) + trained.tolist()))
    assert report.metrics["eval_perplexity"] == pytest.approx(by_hand(tmp_path / "run", report, rows), rel=1e-4)


# ---- answers


def test_scores_of_answers_are_those_of_the_predictions_that_are_kept(chat_rows, tmp_path):
    output = tmp_path / "run"
    flags = {"model": "scratch:200k", "epochs": 40, "lr": 1e-2, "eval_strategy": "no", "eval_max_new_tokens": 12}
    run(chat_rows, output, eval_metrics="bleu,chrf,em", eval_save_predictions=True, eval_samples=-1, **flags)
    rows, found = lines(output), document(output)
    assert len(rows) == 12 and found["during"] == []
    said, wanted = [row["prediction"] for row in rows], [row["reference"] for row in rows]
    assert found["after"]["bleu"] == pytest.approx(BLEU().corpus_score(said, [wanted]).score)
    assert found["after"]["chrf"] == pytest.approx(CHRF().corpus_score(said, [wanted]).score)
    assert found["after"]["exact_match"] == sum(a == b for a, b in zip(said, wanted, strict=True)) / len(rows)
    assert found["after"]["chrf"] > 50 > found["before"]["chrf"]
    assert found["after"]["answers/finished"] == sum(row["finished"] for row in rows) / len(rows) > 0.5
    first = rows[0]
    assert {"file", "row", "prompt", "reference", "prediction", "scores", "finished", "step"} == first.keys()
    asked = questions(48)[first["row"] - 1]["messages"]
    assert asked[0]["content"] in first["prompt"] and first["reference"] == asked[1]["content"]
    assert first["scores"].keys() == {"bleu", "chrf", "exact_match"}


def test_an_answer_is_what_the_finished_model_says_to_the_prompt_alone(chat_rows, llama, tmp_path):
    output = tmp_path / "run"
    run(chat_rows, output, model=str(llama), epochs=20, eval_save_predictions=True, **SMALL)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    for row in lines(output):
        ids = tokenizer(row["prompt"], return_tensors="pt", add_special_tokens=False)
        said = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(said, skip_special_tokens=True).strip() == row["prediction"]


def test_padded_and_flat_rows_score_alike(chat_rows, llama, tmp_path, monkeypatch):
    flags = {"model": str(llama), "eval_metrics": "perplexity,token_accuracy,chrf,rouge", **SMALL}
    flat = run(chat_rows, tmp_path / "flat", **flags)
    monkeypatch.setattr("autotrain_llm.planning.make.keeps_rows_apart", lambda config: (False, "a test pads"))
    padded = run(chat_rows, tmp_path / "padded", **flags)
    assert (flat.plan.layout.name, padded.plan.layout.name) == ("flat", "padded")
    found = [document(tmp_path / name) for name in ("flat", "padded")]
    for phase in ("before", "after"):
        assert found[0][phase] == pytest.approx(found[1][phase], rel=1e-4)


def test_the_rows_to_answer_are_the_same_at_every_evaluation_and_others_with_another_seed(chat_rows, llama, tmp_path):
    chosen = []
    for name, seed in (("one", 1), ("two", 2)):
        run(chat_rows, tmp_path / name, model=str(llama), epochs=1, seed=seed, eval_save_predictions=True, **SMALL)
        after, before = (lines(tmp_path / name, file) for file in ("predictions.jsonl", "predictions_before.jsonl"))
        assert [row["row"] for row in after] == [row["row"] for row in before]
        assert (len(after), {row["step"] for row in before}) == (6, {0})
        chosen.append([row["row"] for row in after])
    assert chosen[0] != chosen[1]


def test_a_temperature_draws_the_same_answers_again(chat_rows, llama, tmp_path):
    for name in ("one", "two", "greedy"):
        flags = {"eval_temperature": 0.0 if name == "greedy" else 1.5, "eval_save_predictions": True, **SMALL}
        run(chat_rows, tmp_path / name, model=str(llama), epochs=1, **flags)
    one, two, greedy = (lines(tmp_path / name) for name in ("one", "two", "greedy"))
    assert one == two and [row["prediction"] for row in one] != [row["prediction"] for row in greedy]


def test_a_text_is_continued_from_its_half(text_rows, llama, tmp_path):
    run(
        text_rows,
        tmp_path / "run",
        "generic",
        model=str(llama),
        eval_metrics="chrf",
        eval_save_predictions=True,
        **SMALL,
    )
    texts = [json.loads(line)["text"] for line in text_rows.read_text().splitlines()]
    for row in lines(tmp_path / "run"):
        assert texts[row["row"] - 1].startswith(row["prompt"] + row["reference"])


def test_a_scorer_keeps_the_scores_of_both_answers(rows_of, llama, tmp_path):
    report = run(rows_of["reward"], tmp_path / "run", "reward", model=str(llama), eval_save_predictions=True)
    scores = [row["scores"] for row in lines(tmp_path / "run")]
    right = sum(score["chosen"] > score["rejected"] for score in scores) / len(scores)
    margin = sum(score["chosen"] - score["rejected"] for score in scores) / len(scores)
    assert report.metrics["eval_accuracy"] == right
    assert report.metrics["eval_margin"] == pytest.approx(margin, abs=1e-5)


# ---- training is left alone


@pytest.mark.parametrize("flags", [{}, {"peft": True, "lora_dropout": 0.3}], ids=["full", "lora with dropout"])
def test_evaluating_changes_nothing_that_is_learnt(flags, chat_rows, llama, tmp_path):
    more = {"eval_metrics": "rouge,perplexity", "eval_temperature": 0.7, **SMALL}
    plain = {"use_enhanced_eval": False, **flags}
    for name, settings in (("plain", plain), ("enhanced", {**flags, **more})):
        run(chat_rows, tmp_path / name, model=str(llama), **settings)
    file = "adapter_model.safetensors" if flags else "model.safetensors"
    plain_weights, enhanced = (load_file(tmp_path / name / file) for name in ("plain", "enhanced"))
    assert all(torch.equal(plain_weights[name], enhanced[name]) for name in plain_weights)


def test_no_logits_stay_behind(chat_rows, llama, tmp_path, monkeypatch):
    """Whenever answers are written, no tensor is alive that has a number for each word but the weights."""
    held = []
    fill = CachedBatch.fill

    def watched(self: CachedBatch) -> None:
        weights = {id(parameter) for parameter in self.causal.parameters()}
        size = self.causal.config.vocab_size
        tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
        held.append(sum(t.numel() >= 8 * size and t.shape[-1] == size for t in tensors if id(t) not in weights))
        fill(self)

    monkeypatch.setattr(CachedBatch, "fill", watched)
    run(chat_rows, tmp_path / "run", model=str(llama), eval_metrics="rouge", eval_batch_size=2, **SMALL)
    assert len(held) == 3 * 3 and set(held) == {held[0]}


# ---- before, during, after


@pytest.mark.parametrize(("metric", "best_of"), [(None, min), ("chrf", max)])
def test_after_is_what_the_best_checkpoint_scores(metric, best_of, chat_rows, llama, tmp_path):
    """Answers that have nothing of those that are learnt: the longer the training, the worse."""
    others = [
        dict(row, messages=[row["messages"][0], {"role": "assistant", "content": "QZ!? XK#V WQ"}])
        for row in questions(8)
    ]
    flags = {"valid_split": None, "eval_dataset_path": str(write_rows(tmp_path / "others.jsonl", others))}
    flags |= {"lr": 1e-2, "epochs": 3, "load_best_model_at_end": True, "eval_metrics": "perplexity,chrf", **SMALL}
    flags |= {"metric_for_best_model": metric}
    report = run(chat_rows, tmp_path / "run", model=str(llama), eval_save_predictions=True, **flags)
    found = document(tmp_path / "run")
    best = best_of(found["during"], key=lambda entry: entry[metric or "loss"])
    assert best["step"] < report.plan.steps and len(found["during"]) == 3
    assert found["after"] == pytest.approx({name: value for name, value in best.items() if name != "step"})
    assert report.metrics["eval_perplexity"] == pytest.approx(found["after"]["perplexity"])
    model, tokenizer = (kind.from_pretrained(tmp_path / "run") for kind in (AutoModelForCausalLM, AutoTokenizer))
    for row in lines(tmp_path / "run"):
        ids = tokenizer(row["prompt"], return_tensors="pt", add_special_tokens=False)
        said = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(said, skip_special_tokens=True).strip() == row["prediction"]


def test_a_resumed_run_keeps_what_it_had_found(chat_rows, llama, tmp_path):
    output = tmp_path / "run"
    flags = {"model": str(llama), "eval_metrics": "perplexity", "save_strategy": "epoch"}
    whole = tmp_path / "whole"
    run(chat_rows, whole, epochs=3, **flags)
    run(chat_rows, output, epochs=3, max_steps=5, **flags)
    first = document(output)
    run(chat_rows, output, epochs=3, resume=True, **flags)
    found = document(output)
    assert found["before"] == first["before"] == document(whole)["before"]
    steps = [entry["step"] for entry in found["during"]]
    assert steps == sorted(set(steps)) and steps[-1] == 15
    assert found["after"]["perplexity"] == found["during"][-1]["perplexity"]


def test_without_evaluations_on_the_way_there_are_before_and_after(chat_rows, llama, tmp_path):
    report = run(chat_rows, tmp_path / "run", model=str(llama), eval_strategy="no", eval_metrics="perplexity")
    found = document(tmp_path / "run")
    assert found["during"] == [] and found["after"]["perplexity"] < found["before"]["perplexity"]
    assert report.metrics["eval_perplexity"] == found["after"]["perplexity"]


def test_the_report_on_the_terminal_says_what_training_changed(chat_rows, llama, tmp_path, capsys):
    words = (
        f"--trainer sft --model {llama} --data-path {chat_rows} --lr 3e-3 --epochs 1 --batch-size 8 --valid-split 0.25"
    )
    words += f" --use-enhanced-eval --eval-metrics perplexity --output-dir {tmp_path / 'run'} --quiet"
    assert main(["llm", *words.split()]) == 0
    said = capsys.readouterr().out
    found = document(tmp_path / "run")
    before, after = found["before"]["loss"], found["after"]["loss"]
    assert f"Evaluation loss {before:.4g} → {after:.4g}" in " ".join(said.split())
    assert "perplexity" not in said  # it follows from the loss


def test_two_processes_evaluate_as_one(chat_rows, llama, tmp_path):
    words = f"--trainer sft --model {llama} --data-path {chat_rows} --lr 3e-3 --epochs 1 --valid-split 0.25 --mixed-precision fp32"
    words += " --use-enhanced-eval --eval-metrics perplexity,bleu,rouge --eval-save-predictions --eval-samples 7 --eval-max-new-tokens 8"
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["llm", *words.split(), "--batch-size", "8", "--output-dir", str(one)]) == 0
    run_together(["llm", *words.split(), "--batch-size", "4", "--output-dir", str(two)], tmp_path)
    found = [document(output) for output in (one, two)]
    for phase in ("before", "after"):
        assert found[0][phase] == pytest.approx(found[1][phase], rel=1e-4)
    said = [sorted((row["row"], row["prediction"]) for row in lines(output)) for output in (one, two)]
    assert said[0] == said[1] and len(said[0]) == 7


# ---- benchmark


TASK = """task: colours
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
"""


def write_task(folder: Path) -> Path:
    rows = [{"question": f"Number {n}?", "choices": ["red", "blue"], "answer": n % 2} for n in range(5)]
    path = folder / "colours.yaml"
    path.write_text(TASK.format(rows=write_rows(folder / "colours.jsonl", rows)))
    return path


def test_a_benchmark_is_run_on_the_finished_model(chat_rows, llama, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    flags = {"valid_split": None, "eval_benchmark": str(write_task(tmp_path)), "max_steps": 2}
    report = run(chat_rows, tmp_path / "run", model=str(llama), **flags)
    found = document(tmp_path / "run", "benchmark.json")
    assert found["colours"]["rows"] == 5 and 0 <= found["colours"]["acc"] <= 1
    assert report.evaluation == {"benchmark": found}
    model, tokenizer = (kind.from_pretrained(tmp_path / "run") for kind in (AutoModelForCausalLM, AutoTokenizer))
    right = 0
    for number in range(5):
        scores = []
        for choice in (" red", " blue"):
            start = len(tokenizer(f"Number {number}?", add_special_tokens=False)["input_ids"])
            ids = tokenizer(f"Number {number}?{choice}", add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logs = model(ids).logits[0].log_softmax(-1)
            scores.append(sum(float(logs[at - 1, ids[0, at]]) for at in range(start, ids.shape[1])))
        right += scores.index(max(scores)) == number % 2
    assert found["colours"]["acc"] == pytest.approx(right / 5)


def test_a_benchmark_whose_data_are_missing_fails_before_training(chat_rows, llama, tmp_path):
    pytest.importorskip("lm_eval")
    from autotrain_llm.run.failures import RunFailed

    task = write_task(tmp_path)
    (tmp_path / "colours.jsonl").unlink()
    with pytest.raises(RunFailed, match="--eval-benchmark"):
        run(chat_rows, tmp_path / "run", model=str(llama), valid_split=None, eval_benchmark=str(task))
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_the_fixtures_model_is_laid_out_flat(llama):
    assert architectures.keeps_rows_apart(json.loads((llama / "config.json").read_text()))[0]
