"""Whole runs with a teacher: what they cost, in how many ways they are the same run, what is kept, and what is learnt."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from autotrain_llm.api import train
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.algorithms.distill import teacher as teachers
from autotrain_llm.run.engine.loading import cast_linear_weights
from support.models import TEMPLATE, build_llama
from support.processes import run_together
from support.rows import COLOURS, questions, write_rows

CLOSE = 1e-5  # of a loss in float32, computed in two ways
PAIRS = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
TRAINERS = pytest.mark.parametrize("trainer", ["generic", "sft", "dpo", "orpo"])
DISTILLS = {"use_distillation": True}


@pytest.fixture(scope="module")
def tutor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A larger model on the student's tokenizer, sure of other things than it is."""
    folder = tmp_path_factory.mktemp("models") / "tutor"
    return build_llama(folder, TEMPLATE, hidden_size=48, initializer_range=0.2)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    numbers = range(12)
    pairs = [
        {
            "prompt": f"Which one{', which one' * (number % 4)}?",
            "chosen": f" {COLOURS[number % 8]}" + " it is" * (number % 3),
            "rejected": f" {COLOURS[(number + 3) % 8]}",
        }
        for number in numbers
    ]
    texts = [{"text": f"Line {number}. " + "red or blue, " * (number % 5)} for number in numbers]
    of_pairs = write_rows(tmp_path / "pairs.jsonl", pairs)
    return {
        "generic": write_rows(tmp_path / "texts.jsonl", texts),
        "sft": write_rows(tmp_path / "chat.jsonl", questions(12)),
        "dpo": of_pairs,
        "orpo": of_pairs,
    }


def run(
    trainer: str, data: dict[str, Path], output: Path, model: Path, watch: ProgressCallback | None = None, **flags: Any
) -> Any:
    settings = {
        "lr": 0.05,
        "optimizer": "sgd",
        "batch_size": 4,
        "mixed_precision": "fp32",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "block_size": 64,
        **(PAIRS if trainer in ("dpo", "orpo") else {}),
        **flags,
    }
    if "max_steps" not in settings:
        settings = {"epochs": 1, **settings}
    settings["data_path"] = str(settings.get("data_path", data[trainer]))
    return train(watch, trainer=trainer, model=str(model), output_dir=str(output), **settings)


def prepared_rows(trainer: str, data: dict[str, Path], model: Path) -> Any:
    flags = {"trainer": trainer, "data_path": str(data[trainer]), "model": str(model), "block_size": 64, "lr": 0.1}
    said = parse_kwargs({**flags, "epochs": 1, "batch_size": 4})
    prepared = preflight(resolve(said.values)).context.prepared
    assert prepared is not None
    return prepared.train


def logged(report: Any, name: str = "loss") -> list[float]:
    return [entry[name] for entry in report.history if name in entry]


def weights(report: Any) -> dict[str, torch.Tensor]:
    adapter = report.output_dir / "adapter_model.safetensors"
    return load_file(adapter if adapter.exists() else report.output_dir / "model.safetensors")


def furthest(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


def unreachable(*given: Any, **named: Any) -> Any:
    raise AssertionError("the teacher was loaded")


# ---- what it costs


@TRAINERS
def test_without_a_share_for_the_teacher_it_is_the_plain_run_to_the_bit(
    trainer: str, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "load_teacher", unreachable)
    plain = run(trainer, data, tmp_path / "plain", llama)
    silent = run(trainer, data, tmp_path / "silent", llama, **DISTILLS, teacher_model=str(tutor), distill_alpha=0.0)
    assert logged(silent) == logged(plain)
    assert furthest(weights(silent), weights(plain)) == 0.0


def expected_of_sft(rows: Any, student: Any, teacher: Any, share: float, temperature: float) -> torch.Tensor:
    """The formula over rows (ids, trained), each in a call of its own."""
    task, apart, tokens = 0.0, 0.0, 0
    for ids, trained in rows:
        places = [place for place in range(1, len(ids)) if trained[place]]
        held = torch.tensor(ids.tolist())
        own = student(held[None]).logits[0, [place - 1 for place in places]].double()
        theirs = teacher(held[None]).logits[0, [place - 1 for place in places]].double()
        task -= torch.log_softmax(own, -1).gather(1, held[places][:, None]).sum()
        log_p, log_q = (torch.log_softmax(one / temperature, -1) for one in (theirs, own))
        apart += (log_p.exp() * (log_p - log_q)).sum()
        tokens += len(places)
    return ((1 - share) * task + share * temperature**2 * apart) / tokens


@pytest.mark.parametrize("trainer", ["generic", "sft"])
@pytest.mark.parametrize(
    "flags", [{}, {"packing": True}, {"gradient_accumulation": 3}], ids=lambda flags: ",".join(flags)
)
def test_a_step_is_that_of_the_formula(
    trainer: str, flags: dict[str, Any], data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    if trainer == "generic" and "packing" in flags:
        pytest.skip("blocks are full already")
    flags = {"max_steps": 1, "batch_size": 4 if "gradient_accumulation" in flags else 12, "max_grad_norm": 1e9, **flags}
    flags |= {"distill_alpha": 0.3, "distill_temperature": 1.5, "use_distillation": True, "teacher_model": str(tutor)}
    report = run(trainer, data, tmp_path / "run", llama, **flags)
    rows = prepared_rows(trainer, data, llama)
    student, teacher = (AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32) for one in (llama, tutor))
    loss = expected_of_sft(rows, student, teacher.requires_grad_(False), 0.3, 1.5)
    assert logged(report)[0] == pytest.approx(loss.item(), abs=CLOSE)
    loss.backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter -= 0.05 * parameter.grad
    found = AutoModelForCausalLM.from_pretrained(report.output_dir, dtype=torch.float32)
    assert furthest(found.state_dict(), student.state_dict()) < CLOSE


# ---- from the cache


class Notes(ProgressCallback):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


@TRAINERS
def test_the_whole_vocabulary_from_the_cache_is_the_teacher_itself(
    trainer: str, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "valid_split": "3", "max_steps": 4}
    beside = run(trainer, data, tmp_path / "beside", llama, **flags)
    kept = run(trainer, data, tmp_path / "kept", llama, **flags, distill_cache=True, distill_top_k=100_000)
    assert logged(kept) == pytest.approx(logged(beside), abs=CLOSE)
    for name in ("eval_loss", "eval_distill_loss", "eval_task_loss"):
        assert kept.metrics[name] == pytest.approx(beside.metrics[name], abs=CLOSE)
    assert furthest(weights(kept), weights(beside)) < CLOSE
    assert beside.metrics["eval_distill_loss"] > 0.01


def test_what_the_teacher_said_is_kept_by_rows_weights_and_settings(
    data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = teachers.load_teacher
    monkeypatch.setattr(teachers, "load_teacher", lambda *given: loaded.append(1) or load(*given))
    flags = {**DISTILLS, "teacher_model": str(tutor), "distill_cache": True, "distill_top_k": 8, "max_steps": 2}
    watch = Notes()
    first = run("sft", data, tmp_path / "first", llama, watch, **flags)
    kept = json.loads((tmp_path / "first" / "run.json").read_text())["outcome"]["distillation"]
    assert kept["top_k"] == 8 and 0 < kept["kept_probability"]["train"] < 1
    assert any("top 8 tokens" in text for text in watch.heard)
    copied = shutil.copytree(tutor, tmp_path / "elsewhere")
    again = run("sft", data, tmp_path / "again", llama, **{**flags, "teacher_model": str(copied)}, distill_alpha=0.5)
    assert logged(again) == logged(first) and len(loaded) == 1
    for other in ({"distill_top_k": 4}, {"distill_temperature": 1.0}, {"max_samples": 8}):
        run("sft", data, tmp_path / "other", llama, **{**flags, **other}, overwrite=True)
    assert len(loaded) == 4
    folders = [
        path for path in Path(os.environ["XDG_CACHE_HOME"], "autotrain-llm/distillation").iterdir() if path.is_dir()
    ]
    (folders[0] / "ids.npy").write_bytes(b"damaged")
    shutil.rmtree(folders[1])
    for other in ({}, {"distill_top_k": 4}, {"distill_temperature": 1.0}, {"max_samples": 8}):
        run("sft", data, tmp_path / "other", llama, **{**flags, **other}, overwrite=True)
    assert len(loaded) == 6


def test_words_that_were_not_kept_make_the_divergence_no_larger(
    data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "max_steps": 1}
    whole = run("sft", data, tmp_path / "whole", llama, **flags)
    few, more = (
        run("sft", data, tmp_path / str(count), llama, **flags, distill_cache=True, distill_top_k=count)
        for count in (2, 64)
    )
    found = [logged(report, "distill_loss")[0] for report in (few, more, whole)]
    assert 0 < found[0] < found[1] < found[2]


# ---- prompts of their own


def test_both_sides_may_see_the_prompt_in_a_template(
    data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"Which is it, number {number}?", "completion": f" It is {COLOURS[number % 8]}."}
        for number in range(8)
    ]
    asked = write_rows(tmp_path / "asked.jsonl", rows)
    both = {**DISTILLS, "teacher_model": str(tutor), "data_path": asked, "batch_size": 8, "max_steps": 1}
    teacher_sees, student_sees = "With care.\n{prompt}\nAnswer:\n", "Q: {prompt}\n"
    report = run(
        "sft", data, tmp_path / "run", llama, **both,
        teacher_prompt_template=teacher_sees, student_prompt_template=student_sees,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(llama)
    student, teacher = (AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32) for one in (llama, tutor))
    task, apart, tokens = 0.0, 0.0, 0
    for row in rows:
        answer = tokenizer(row["completion"])["input_ids"] + [tokenizer.eos_token_id]
        logits = []
        for model, template in ((student, student_sees), (teacher, teacher_sees)):
            prompt = tokenizer(template.replace("{prompt}", row["prompt"]))["input_ids"]
            whole = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
            logits.append(whole)
        task -= torch.log_softmax(logits[0], -1).gather(1, torch.tensor(answer)[:, None]).sum().item()
        log_q, log_p = (torch.log_softmax(one / 2, -1) for one in logits)
        apart += (log_p.exp() * (log_p - log_q)).sum().item()
        tokens += len(answer)
    assert logged(report, "task_loss")[0] == pytest.approx(task / tokens, abs=CLOSE)
    assert logged(report, "distill_loss")[0] == pytest.approx(4 * apart / tokens, abs=CLOSE)
    kept = run(
        "sft", data, tmp_path / "kept", llama, **both, teacher_prompt_template=teacher_sees,
        student_prompt_template=student_sees, distill_cache=True, distill_top_k=100_000,
    )  # fmt: skip
    assert logged(kept) == pytest.approx(logged(report), abs=CLOSE)


@pytest.mark.parametrize("trainer", ["sft", "dpo"])
def test_a_template_that_changes_nothing_is_no_template(
    trainer: str, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "max_steps": 3}
    plain = run(trainer, data, tmp_path / "plain", llama, **flags)
    same = run(trainer, data, tmp_path / "same", llama, **flags, teacher_prompt_template="{prompt}")
    assert logged(same) == pytest.approx(logged(plain), abs=CLOSE)
    other = run(trainer, data, tmp_path / "other", llama, **flags, teacher_prompt_template="Well, {prompt}")
    assert logged(other, "task_loss")[0] == pytest.approx(logged(plain, "task_loss")[0], abs=CLOSE)
    assert abs(logged(other, "distill_loss")[0] - logged(plain, "distill_loss")[0]) > 1e-3


# ---- the same run in other ways


@pytest.mark.parametrize("cache", [False, True], ids=["beside", "kept"])
@TRAINERS
def test_neither_accumulation_nor_packing_changes_a_step(
    trainer: str, cache: bool, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "distill_cache": cache, "max_steps": 2}
    one = run(trainer, data, tmp_path / "one", llama, **flags, batch_size=6)
    many = run(trainer, data, tmp_path / "many", llama, **flags, batch_size=2, gradient_accumulation=3)
    assert logged(many) == pytest.approx(logged(one), abs=CLOSE)
    assert furthest(weights(many), weights(one)) < CLOSE


@pytest.mark.parametrize(("trainer", "cache"), [("sft", False), ("sft", True), ("dpo", False)])
def test_two_processes_train_as_one(
    trainer: str, cache: bool, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "distill_cache": cache, "valid_split": "3", "epochs": 1}
    one = run(trainer, data, tmp_path / "one", llama, **flags, batch_size=4)
    words = ["llm", "--trainer", trainer, "--data-path", str(data[trainer]), "--output-dir", str(tmp_path / "two")]
    words += ["--model", str(llama), "--batch-size", "2", "--epochs", "1", "--lr", "0.05", "--optimizer", "sgd"]
    words += ["--mixed-precision", "fp32", "--logging-steps", "1", "--warmup-ratio", "0", "--valid-split", "3"]
    words += ["--gradient-checkpointing", "false", "--block-size", "64", "--weight-decay", "0", "--use-distillation"]
    words += ["--teacher-model", str(tutor), "--distill-cache", str(cache).lower()]
    for name, value in (PAIRS if trainer == "dpo" else {}).items():
        words += ["--" + name.replace("_", "-"), value]
    run_together(words, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache of two"))
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(logged(one), abs=CLOSE)
    assert lines[-1]["eval_loss"] == pytest.approx(logged(one, "eval_loss")[-1], abs=CLOSE)
    assert furthest(load_file(tmp_path / "two" / "model.safetensors"), weights(one)) < CLOSE


@pytest.mark.parametrize("cache", [False, True], ids=["beside", "kept"])
def test_a_resumed_run_ends_with_the_same_weights(
    cache: bool, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "distill_cache": cache, "epochs": 2}
    flags |= {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 9}
    whole = run("sft", data, tmp_path / "whole", llama, **flags)
    run("sft", data, tmp_path / "part", llama, **flags)
    checkpoint = str(tmp_path / "part" / "checkpoints" / "checkpoint-2")
    resumed = run("sft", data, tmp_path / "part", llama, **flags, resume_from_checkpoint=checkpoint)
    assert logged(resumed) == logged(whole)[2:]
    assert furthest(weights(resumed), weights(whole)) == 0.0


@pytest.mark.parametrize("trainer", ["sft", "dpo"])
def test_an_adapter_learns_from_a_teacher_that_is_an_adapter_too(
    trainer: str, data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path
) -> None:
    lora = {"peft": True, "lora_r": 4, "lora_dropout": 0.0}
    run("sft", data, tmp_path / "adapter", tutor, **lora)
    report = run(
        trainer, data, tmp_path / "run", llama, **lora, **DISTILLS, teacher_model=str(tmp_path / "adapter"), max_steps=6
    )
    assert report.plan.distillation.kind == "adapter"
    assert sorted(path.name for path in report.output_dir.glob("*.safetensors")) == ["adapter_model.safetensors"]
    assert logged(report, "distill_loss")[-1] < logged(report, "distill_loss")[0]


def test_a_half_precision_teacher_stays_in_its_own_type(
    data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AutoModelForCausalLM.from_pretrained(tutor, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(tutor).save_pretrained(tmp_path / "half")
    types = []
    load = teachers.load_teacher

    def seen(*given: Any) -> Any:
        model = load(*given)
        types.append({one.dtype for one in model.parameters()})
        return model

    monkeypatch.setattr(teachers, "load_teacher", seen)
    report = run("sft", data, tmp_path / "run", llama, **DISTILLS, teacher_model=str(tmp_path / "half"), max_steps=1)
    whole = run("sft", data, tmp_path / "whole", llama, **DISTILLS, teacher_model=str(tutor), max_steps=1)
    assert types == [{torch.bfloat16}, {torch.float32}]
    assert logged(report)[0] == pytest.approx(logged(whole)[0], rel=0.02)


def test_weights_of_products_are_rounded_once_and_say_the_same_under_autocast(tutor: Path) -> None:
    ids = torch.arange(3, 40)[None]
    plain, rounded = (AutoModelForCausalLM.from_pretrained(tutor, dtype=torch.float32).eval() for _ in range(2))
    cast_linear_weights(rounded, "bf16")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(ids).logits, rounded(ids).logits)
    assert rounded.model.embed_tokens.weight.dtype == torch.float32


@TRAINERS
def test_an_architecture_that_is_laid_out_padded_learns_from_a_teacher(
    trainer: str, data: dict[str, Path], tutor: Path, llama: Path, tmp_path: Path
) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = Path(shutil.copytree(llama, tmp_path / "model"))
    torch.manual_seed(0)
    words = len(AutoTokenizer.from_pretrained(model))
    BloomForCausalLM(BloomConfig(vocab_size=words, hidden_size=16, n_layer=1, n_head=2)).save_pretrained(model)
    flags = {**DISTILLS, "teacher_model": str(tutor), "max_steps": 2}
    report = run(trainer, data, tmp_path / "run", model, **flags)
    assert report.plan.layout.name == "padded"
    mixed = 0.5 * logged(report, "task_loss")[0] + 0.5 * logged(report, "distill_loss")[0]
    assert logged(report)[0] == pytest.approx(mixed, abs=CLOSE)
    kept = run(trainer, data, tmp_path / "kept", model, **flags, distill_cache=True, distill_top_k=100_000)
    assert logged(kept) == pytest.approx(logged(report), abs=CLOSE)


@pytest.mark.parametrize("wider", ["student", "teacher"])
def test_rows_of_an_embedding_that_no_token_has_are_cut_with_a_word_said(
    wider: str, data: dict[str, Path], llama: Path, tmp_path: Path
) -> None:
    wide = build_llama(tmp_path / "wide", TEMPLATE, vocab_size=512, hidden_size=48)
    student, teacher = (wide, llama) if wider == "student" else (llama, wide)
    words = AutoModelForCausalLM.from_pretrained(llama).config.vocab_size
    watch = Notes()
    report = run("sft", data, tmp_path / "run", student, watch, **DISTILLS, teacher_model=str(teacher), max_steps=1)
    assert report.plan.distillation.tokens == words
    assert any(f"the first {words} tokens" in text for text in watch.heard)
    assert ("compared over", f"{words} tokens") in [row[:2] for _, rows in report.plan.summary() for row in rows]


# ---- what is learnt


def test_a_student_comes_nearer_to_its_teacher(data: dict[str, Path], llama: Path, tutor: Path, tmp_path: Path) -> None:
    flags = {**DISTILLS, "teacher_model": str(tutor), "distill_alpha": 1.0, "epochs": 20, "lr": 1e-2}
    report = run("sft", data, tmp_path / "run", llama, **flags, optimizer="adamw_torch")
    apart = logged(report, "distill_loss")
    assert apart[-1] < 0.5 * apart[0]
    model = AutoModelForCausalLM.from_pretrained(report.output_dir)
    tokenizer = AutoTokenizer.from_pretrained(report.output_dir)
    assert model.generate(**tokenizer("Number 3:", return_tensors="pt"), max_new_tokens=3).shape[1] > 3
