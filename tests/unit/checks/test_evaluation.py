"""What is said of enhanced evaluation before anything is loaded, and what is decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.metric_choice import metric_directions, metric_named
from autotrain_llm.config.registry import METRICS, TRAINERS
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context import eval_tasks as benchmarks
from autotrain_llm.context.machine import Machine
from autotrain_llm.data.chat.template import ChatTemplate
from autotrain_llm.data.example import Example
from autotrain_llm.data.tokenize.eval_prompts import EvalPromptBuilder
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from support.light_models import build_light_model
from support.models import TEMPLATE
from support.rows import write_rows


def checked(trainer: str = "sft", **flags: Any) -> Checked:
    """The check of flags alone, or of a whole command where rows and a model are among them."""
    said = parse_kwargs({"trainer": trainer, "use_enhanced_eval": True, "dry_run": True, **flags})
    assert said.findings == []
    return preflight(resolve(said.values))


def drawn(code: str, trainer: str = "sft", **flags: Any) -> list[Any]:
    return [finding for finding in checked(trainer, **flags).findings if finding.code == code]


@pytest.fixture
def whole(light_llama: Path, chat_rows: Path) -> dict[str, Any]:
    """The flags of a whole sft command."""
    flags = {"model": str(light_llama), "data_path": str(chat_rows), "lr": 1e-4, "epochs": 1, "batch_size": 4}
    return {**flags, "valid_split": "0.25"}


# ---- names


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_measured_or_refused_with_those_that_are(trainer, name):
    metric, spec = METRICS[name], TRAINERS[trainer]
    found = drawn("P702", trainer, eval_metrics=name, valid_split="0.1")
    if metric.makes_sense_for(spec):
        assert found == []
        return
    (finding,) = found
    offered = finding.fix.removeprefix("--eval-metrics ").split(",")
    assert name in finding.message and finding.parameters == ("eval_metrics",)
    assert offered and all(METRICS[other].makes_sense_for(spec) for other in offered)
    assert drawn("P702", trainer, eval_metrics=",".join(offered), valid_split="0.1") == []


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_has_usual_metrics(trainer):
    usual = [metric for metric in METRICS.values() if TRAINERS[trainer].rows in metric.usual]
    assert any(metric.makes_sense_for(TRAINERS[trainer]) for metric in usual)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ppl", "perplexity"),
        ("sacrebleu", "bleu"),
        ("rougeL", "rouge"),
        ("ROUGE-1", "rouge"),
        ("bert_score", "bertscore"),
        ("em", "exact_match"),
        ("eval_bleu", "bleu"),
        ("ece", "calibration"),
    ],
)
def test_names_that_other_tools_use_mean_the_same(said, meant):
    found = metric_named(said)
    assert found is not None and found.name == meant


def test_no_two_metrics_answer_to_one_name():
    names = [name for metric in METRICS.values() for name in (metric.name, *metric.also)]
    assert len(names) == len(set(names))


def test_an_unknown_metric_is_answered_with_the_nearest():
    (finding,) = drawn("P720", eval_metrics="perplexty,bleu", valid_split="0.1")
    assert "perplexty" in finding.message and "perplexity" in finding.fix


def test_no_metric_at_all_is_refused():
    assert drawn("P720", eval_metrics="[]", valid_split="0.1") != []


@pytest.mark.parametrize("spelt", ['["bleu", "rouge"]', "bleu,rouge", " bleu , rouge "])
def test_metrics_are_a_json_list_or_separated_by_commas(spelt, whole):
    plan = checked(**whole, eval_metrics=spelt).plan
    assert plan is not None and list(plan.evaluation.metrics) == ["bleu", "rouge"]


def test_directions_are_those_of_the_trainer_and_of_the_metrics():
    values = parse_kwargs({"trainer": "sft", "use_enhanced_eval": True, "eval_metrics": "rouge,ppl"}).values
    found = metric_directions(resolve(values))
    assert found["eval_rouge1"] == found["eval_rougeL"] == "maximize"
    assert found["eval_perplexity"] == found["eval_loss"] == "minimize" and "eval_bleu" not in found


# ---- what the best checkpoint is best at


BEST = {"valid_split": "0.25", "load_best_model_at_end": True, "use_enhanced_eval": False}


def test_a_checkpoint_can_be_best_at_whatever_the_run_measures(whole):
    for metric, direction in (("eval_perplexity", "minimize"), ("token_accuracy", "maximize"), ("rougeL", "maximize")):
        flags = {"metric_for_best_model": metric, "use_enhanced_eval": True, "eval_metrics": "rouge"}
        plan = checked(**whole, load_best_model_at_end=True, **flags).plan
        assert plan.arguments.metric_for_best_model == f"eval_{metric.removeprefix('eval_')}"
        assert plan.arguments.greater_is_better is (direction == "maximize")


def test_a_checkpoint_cannot_be_best_at_what_is_not_measured():
    (finding,) = drawn("P328", **BEST, metric_for_best_model="eval_bleu")
    assert "--use-enhanced-eval" in finding.fix and "--eval-metrics bleu" in finding.fix
    (finding,) = drawn("P328", **BEST, metric_for_best_model="token_acuracy")
    assert "eval_token_accuracy" in finding.fix
    rouge = {"use_enhanced_eval": True, "eval_metrics": "rouge"}
    (finding,) = drawn("P328", **{**BEST, **rouge}, metric_for_best_model="eval_bleu")
    assert "rouge,bleu" in finding.fix
    assert drawn("P328", **BEST, metric_for_best_model="eval_task_loss")
    taught = {"use_distillation": True, "teacher_model": "teacher"}
    assert not drawn("P328", **BEST, **taught, metric_for_best_model="eval_task_loss")


def test_trls_trainers_choose_by_the_loss():
    (finding,) = drawn("P328", **BEST, metric_for_best_model="token_accuracy", engine="trl")
    assert "--engine trl" in finding.message
    assert not drawn("P328", **BEST, metric_for_best_model="eval_loss", engine="trl")


def test_a_metric_for_a_best_checkpoint_that_nobody_asked_for_is_said():
    assert drawn("P329", use_enhanced_eval=False, valid_split="0.25", metric_for_best_model="eval_loss")
    assert not drawn(
        "P329",
        use_enhanced_eval=False,
        valid_split="0.25",
        metric_for_best_model="eval_loss",
        early_stopping_patience=2,
    )


# ---- what it needs


def test_rows_are_needed_and_what_to_type_is_said():
    (finding,) = drawn("P314")
    assert "--use-enhanced-eval" in finding.message and "--eval-dataset-path" in finding.fix


def test_a_benchmark_alone_needs_no_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    (tmp_path / "task.yaml").write_text("task: mine\n")
    task = str(tmp_path / "task.yaml")
    assert drawn("P314", eval_benchmark=task) == []
    assert drawn("P314", eval_benchmark=task, eval_metrics="bleu") != []


@pytest.mark.parametrize(
    ("flag", "value"), [("eval_samples", 3), ("eval_max_new_tokens", 9), ("eval_temperature", 0.5)]
)
def test_a_flag_about_answers_without_answers_is_said_to_do_nothing(flag, value):
    (finding,) = drawn("P722", eval_metrics="perplexity", valid_split="0.1", **{flag: value})
    assert finding.severity == "warning" and finding.parameters == (flag,)
    assert drawn("P722", eval_metrics="chrf", valid_split="0.1", **{flag: value}) == []
    assert drawn("P722", eval_metrics="ppl", eval_save_predictions=True, valid_split="0.1", **{flag: value}) == []


def test_answers_that_are_kept_are_compared_or_asked_for():
    flags = {"eval_save_predictions": True, "valid_split": "0.1"}
    (finding,) = drawn("P738", eval_metrics="perplexity", **flags)
    assert "perplexity" in finding.message and finding.severity == "warning"
    assert drawn("P738", eval_metrics="perplexity,chrf", **flags) == drawn("P738", **flags) == []
    assert drawn("P738", eval_metrics="perplexity", eval_samples=5, **flags) == []


@pytest.mark.parametrize("trainer", [name for name, spec in TRAINERS.items() if spec.samples])
def test_a_trainer_that_samples_saves_its_answers_too(trainer):
    assert drawn("P722", trainer, eval_save_predictions=True) == drawn("P722", trainer) == []


def test_an_encoder_without_bertscore_is_said_to_do_nothing():
    (finding,) = drawn("P722", eval_metrics="chrf", eval_bertscore_model="x", valid_split="0.1")
    assert finding.parameters == ("eval_bertscore_model",)


@pytest.mark.parametrize("flag", ["eval_samples", "eval_bertscore_layer"])
def test_a_scorer_has_no_answers_to_write(flag):
    assert [finding.parameters for finding in drawn("P101", "reward", **{flag: 3})] == [(flag,)]


def test_trls_engine_has_nothing_for_it():
    assert [finding.fix for finding in drawn("P724", engine="trl", valid_split="0.1")] == ["remove --engine"]
    assert drawn("P724", engine="trl", use_enhanced_eval=False) == []


def test_a_metric_whose_package_is_missing_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setattr(Machine, "has_package", lambda self, name: name != "rouge_score")
    (finding,) = drawn("P721", eval_metrics="bleu,rouge", valid_split="0.1")
    assert finding.fix == "pip install rouge-score"


def test_an_answer_that_fills_the_context_is_refused(whole):
    (finding,) = drawn("P726", **whole, eval_metrics="bleu", eval_max_new_tokens=2048)
    assert finding.fix == "--eval-max-new-tokens 1024"
    assert drawn("P726", **whole, eval_metrics="bleu", eval_max_new_tokens=2000) == []


def test_rouge_of_another_script_is_warned_of(whole, tmp_path):
    rows = [{"prompt": f"何色{'の' * n}", "completion": "赤です"} for n in range(12)]
    flags = {**whole, "data_path": str(write_rows(tmp_path / "rows.jsonl", rows))}
    (finding,) = drawn("P728", **flags, eval_metrics="rouge")
    assert "chrf" in finding.fix
    assert drawn("P728", **flags, eval_metrics="chrf") == [] == drawn("P728", **whole, eval_metrics="rouge")


@pytest.mark.parametrize(("flags", "fix"), [({}, 2), ({"max_steps": 20}, 5), ({"gradient_accumulation": 3}, 1)])
def test_an_evaluation_that_never_comes_is_warned_of(flags, fix, whole):
    """36 rows in batches of 4 are 9 steps."""
    flags = {**whole, "eval_strategy": "steps", "save_strategy": "no", "use_enhanced_eval": False, **flags}
    (finding,) = drawn("P729", **flags, eval_steps=21)
    assert finding.severity == "warning" and f"--eval-steps {fix}" in finding.fix
    assert drawn("P729", **flags, eval_steps=2) == []


# ---- BERTScore's encoder


def test_an_encoder_that_is_not_there_is_said_before_anything_is_loaded(whole):
    found = checked(**whole, eval_metrics='["bleu", "rouge", "bertscore"]', offline=True).findings
    assert [(finding.code, finding.parameters) for finding in found] == [
        ("M108", ("eval_metrics", "eval_bertscore_model"))
    ]
    assert "roberta-base" in found[0].message


def test_an_encoders_layer_is_the_last_unless_told_or_known(whole, tmp_path):
    for name, flags, layer in (("mine", {}, 3), ("other", {"eval_bertscore_layer": 2}, 2), ("roberta-base", {}, 10)):
        layers = 12 if name == "roberta-base" else 3
        folder = build_light_model(tmp_path / name, model_type="bert", num_hidden_layers=layers)
        plan = checked(**whole, eval_metrics="bertscore", eval_bertscore_model=str(folder), **flags).plan
        assert plan is not None
        assert plan.evaluation.bertscore.layer == layer


def test_a_layer_that_is_not_there_is_refused_with_the_last(whole, light_encoder):
    flags = {"eval_metrics": "bertscore", "eval_bertscore_model": str(light_encoder), "eval_bertscore_layer": 7}
    assert [finding.fix for finding in drawn("P727", **whole, **flags)] == ["--eval-bertscore-layer 1"]


# ---- benchmarks


@pytest.fixture
def harness(tmp_path, monkeypatch) -> Path:
    """An installed harness of three tasks."""
    package = tmp_path / "site" / "lm_eval"
    (package / "tasks" / "more").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('it is not imported')\n")
    (package / "tasks" / "a.yaml").write_text("tag: small\ntask: hellaswag\n")
    (package / "tasks" / "more" / "b.yaml").write_text('group: "mmlu"\n')
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    benchmarks.task_names.cache_clear()
    yield package
    benchmarks.task_names.cache_clear()


def test_a_benchmarks_name_is_checked_against_the_installed_package(harness):
    assert benchmarks.task_names() == {"small", "hellaswag", "mmlu"}
    assert drawn("P723", eval_benchmark="hellaswag,mmlu") == []
    (finding,) = drawn("P723", eval_benchmark="hellswag")
    assert finding.fix == "--eval-benchmark hellaswag"


def test_a_benchmark_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(Machine, "has_package", lambda self, name: name != "lm_eval")
    (finding,) = drawn("P723", eval_benchmark="hellaswag")
    assert finding.fix == benchmarks.INSTALL and finding.fix.startswith("pip install")


def test_a_task_file_is_looked_into(harness, tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset_path: json\n")
    (tmp_path / "yours.yaml").write_text("task: yours\n")
    assert "names no task" in drawn("P723", eval_benchmark=str(tmp_path / "mine.yaml"))[0].message
    assert "no such file" in drawn("P723", eval_benchmark=str(tmp_path / "none.yaml"))[0].message
    assert drawn("P723", eval_benchmark=str(tmp_path / "yours.yaml")) == []


def test_a_scorer_runs_no_benchmark(harness):
    assert "does not generate" in drawn("P723", "reward", eval_benchmark="hellaswag")[0].message


# ---- questions


@pytest.fixture
def maker(light_llama: Path) -> EvalPromptBuilder:
    tokenizer = Tokenizer.load(light_llama)
    return EvalPromptBuilder(
        tokenizer, ChatTemplate(TEMPLATE, tokenizer, "own"), None, max_prompt_tokens=64, max_answer_tokens=8
    )


def turns(*said: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]


def test_the_last_answer_of_a_conversation_is_asked_for(maker):
    question = maker.make(Example("f", 1, messages=turns("one?", "1", "two?", "2")))
    assert question.text == "<|user|>one?</s><|assistant|>1</s><|user|>two?</s><|assistant|>"
    assert question.reference == "2" and maker.tokenizer.decode(question.ids) == question.text


def test_a_prompt_is_followed_by_its_completion(maker):
    question = maker.make(Example("f", 1, prompt="one? ", completion="1"))
    assert (question.text, question.reference) == ("one? ", "1")


def test_of_a_pair_the_chosen_answer_is_the_reference(maker):
    question = maker.make(Example("f", 1, prompt="one?", chosen="1", rejected="7"))
    assert (question.reference, question.rejected) == ("1", "7")


@pytest.mark.parametrize(
    "example",
    [
        Example("f", 1, prompt="one?", completion="7", label=False),
        Example("f", 1, messages=turns("one?")),
        Example("f", 1, messages=[{"role": "assistant", "content": "hello"}]),
        Example("f", 1, text="a"),
    ],
)
def test_a_row_without_an_answer_asks_nothing(example, maker):
    assert maker.make(example) is None


def test_a_long_prompt_keeps_its_end(maker):
    question = maker.make(Example("f", 1, prompt="red " * 200 + "blue", completion="1"))
    assert len(question.ids) == 64 and maker.tokenizer.decode(question.ids).endswith("blue")


def test_the_guides_example_is_planned(whole, light_encoder, monkeypatch):
    monkeypatch.setattr("autotrain_llm.planning.evaluation.ENCODER", str(light_encoder))
    result = checked(**whole, peft=True, eval_metrics=json.dumps(["bleu", "rouge", "bertscore"]))
    assert result.findings == () and result.plan is not None
    assert result.plan.evaluation.scores.keys() == {"bleu", "rouge", "bertscore"}
