"""What is said about a teacher before anything is loaded: its files, its vocabulary, the prompts, and what the plan decides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import Machine
from autotrain_llm.planning.plan import MemoryPlan
from support.rows import questions, write_rows

ASKED = [{"prompt": f"What is {number}?", "completion": f" It is {number}."} for number in range(12)]
TEXTS = [{"text": f"This is number {number}."} for number in range(12)]


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "asked.jsonl", ASKED)


def checked(data: Path, model: Path, teacher: Path | str, trainer: str = "sft", **flags: Any) -> Checked:
    command = {
        "trainer": trainer,
        "model": str(model),
        "data_path": str(data),
        "lr": 1e-4,
        "epochs": 1.0,
        "batch_size": 4,
    }
    command |= {"use_distillation": True, "teacher_model": str(teacher), "dry_run": True, "mixed_precision": "fp32"}
    return preflight(resolve({**command, **flags}))


def codes(result: Checked) -> list[str]:
    return [finding.code for finding in result.findings]


def only(result: Checked) -> Any:
    (finding,) = result.findings
    return finding


# ---- the teacher's files


def test_a_teacher_on_the_same_tokenizer_is_fine(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    result = checked(asked, light_llama, light_teacher)
    assert codes(result) == [] and result.plan is not None
    decided = result.plan.distillation
    assert decided is not None and decided.teacher == str(light_teacher) and decided.when == "online, with each batch"
    shown = {name: value for _, rows in result.plan.summary() for name, value, _ in rows}
    assert str(light_teacher) in shown["teacher"] and shown["loss"] == "0.5 of the task's, 0.5 T² KL(teacher‖student)"


def test_a_teacher_whose_tokens_have_other_numbers_is_refused(
    asked: Path, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(light_teacher, tmp_path / "other"))
    path = other / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    words = document["model"]["vocab"]
    first, second = sorted(words, key=lambda word: words[word])[100:102]
    words[first], words[second] = words[second], words[first]
    path.write_text(json.dumps(document), encoding="utf-8")
    finding = only(checked(asked, light_llama, other))
    assert (finding.code, finding.parameters, finding.severity) == ("M181", ("teacher_model",), "error")
    assert repr(first) in finding.message and finding.file == str(path)


def test_tokens_that_only_the_teacher_has_are_a_warning(
    asked: Path, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(light_teacher, tmp_path / "other"))
    path = other / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    number = max(document["model"]["vocab"].values()) + 1
    document["added_tokens"].append(
        {"id": number, "content": "<extra>", "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
    )
    path.write_text(json.dumps(document), encoding="utf-8")
    found = [finding for finding in checked(asked, light_llama, other).findings if finding.code == "M181"]
    assert [finding.severity for finding in found] == ["warning"] and "<extra>" in found[0].message


@pytest.mark.parametrize("copied", [True, False])
def test_a_copy_of_the_student_is_a_warning(copied: bool, asked: Path, light_llama: Path, tmp_path: Path) -> None:
    if copied:
        teacher = Path(shutil.copytree(light_llama, tmp_path / "copy"))
    else:
        teacher = tmp_path / "link"
        teacher.symlink_to(light_llama)
    assert (only(checked(asked, light_llama, teacher)).code) == "M182"


def test_the_same_name_is_said_once(asked: Path, light_llama: Path) -> None:
    assert codes(checked(asked, light_llama, light_llama)) == ["P503"]


def test_the_files_of_a_teacher_are_checked_like_the_models(
    asked: Path, light_llama: Path, light_encoder: Path, light_scorer: Path, tmp_path: Path
) -> None:
    for teacher in (light_encoder, light_scorer):
        finding = only(checked(asked, light_llama, teacher))
        assert finding.code == "M142" and finding.parameters[0] == "teacher_model"
    missing = checked(asked, light_llama, tmp_path / "nothing")
    assert missing.refused and only(missing).parameters == ("teacher_model",)


def test_a_service_and_a_new_model_are_said_once(asked: Path, light_llama: Path) -> None:
    assert codes(checked(asked, light_llama, "gpt-4")) == ["P502"]
    assert codes(checked(asked, light_llama, "scratch:1m")) == ["P510"]


def test_rows_longer_than_the_teachers_context_are_refused(
    asked: Path, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    short = Path(shutil.copytree(light_teacher, tmp_path / "short"))
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}))
    finding = only(checked(asked, light_llama, short))
    assert finding.code == "M184" and "context of 8" in finding.message
    assert "M184" not in codes(checked(asked, light_llama, short, max_seq_length=8))


# ---- prompts


def test_templates_on_rows_with_prompts_are_fine(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    for flags in (
        {"teacher_prompt_template": "With care.\n{prompt}\n"},
        {"student_prompt_template": "Q: {prompt}\n"},
        {"student_prompt_template": "Q: {prompt}\n", "teacher_prompt_template": "{prompt}"},
    ):
        result = checked(asked, light_llama, light_teacher, **flags)
        assert codes(result) == [], result.findings
        assert (result.context.teacher_rows is not None) == ("teacher_prompt_template" in flags)


def test_the_students_template_is_part_of_the_rows(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    result = checked(asked, light_llama, light_teacher, student_prompt_template="Answer: {prompt}")
    plain = checked(asked, light_llama, light_teacher)
    assert (
        result.context.tokenizer is not None
        and result.context.prepared is not None
        and plain.context.prepared is not None
    )
    ids, trained = result.context.prepared.train[0]
    assert result.context.tokenizer.decode(ids[~trained]).endswith("Answer: What is 0?")
    assert result.context.prepared.fingerprint != plain.context.prepared.fingerprint


def test_the_teachers_rows_have_the_same_answers(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    context = checked(asked, light_llama, light_teacher, teacher_prompt_template="With care: {prompt}\n").context
    assert context.teacher_rows is not None and context.prepared is not None and context.teacher_rows.unlike == []
    for (ids, trained), (seen, marks) in zip(context.prepared.train, context.teacher_rows.train, strict=True):
        assert ids[trained].tolist() == seen[marks].tolist() and len(seen) > len(ids)


def test_conversations_have_a_prompt_in_each_turn_of_the_user(
    light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    rows = [{"messages": row["messages"] * 2} for row in questions(6)]
    chats = write_rows(tmp_path / "chats.jsonl", rows)
    flags = {"chat_template": "zephyr", "teacher_prompt_template": "Well: {prompt}"}
    context = checked(chats, light_llama, light_teacher, **flags).context
    assert context.teacher_rows is not None and context.teacher_rows.unlike == [] and context.tokenizer is not None
    assert context.tokenizer.decode(context.teacher_rows.train[0][0]).count("Well: Number 0") == 2


@pytest.mark.parametrize("name", ["teacher_prompt_template", "student_prompt_template"])
def test_a_template_without_a_place_for_the_prompt_is_refused(
    name: str, asked: Path, light_llama: Path, light_teacher: Path
) -> None:
    finding = only(checked(asked, light_llama, light_teacher, **{name: "Answer!"}))
    assert (finding.code, finding.parameters) == ("P506", (name,))


@pytest.mark.parametrize("name", ["teacher_prompt_template", "student_prompt_template"])
@pytest.mark.parametrize(("trainer", "code"), [("generic", "P507"), ("sft", "M183")])
def test_texts_have_no_prompt_for_a_template(
    name: str, trainer: str, code: str, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    texts = write_rows(tmp_path / "texts.jsonl", TEXTS)
    assert codes(checked(texts, light_llama, light_teacher, trainer, **{name: "Q: {prompt}"})) == [code]


def test_answers_that_do_not_fit_behind_the_teachers_prompt_are_named(
    asked: Path, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    short = Path(shutil.copytree(light_teacher, tmp_path / "short"))
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    finding = only(checked(asked, light_llama, short, teacher_prompt_template="well, " * 60 + "{prompt}\n"))
    assert (finding.code, finding.row) == ("M183", 1) and "12 rows" in finding.message


def test_prompts_that_differ_can_not_be_learnt_too(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    flags = {"teacher_prompt_template": "Q: {prompt}", "response_only_loss": False}
    assert codes(checked(asked, light_llama, light_teacher, **flags)) == ["P509"]
    assert codes(checked(asked, light_llama, light_teacher, response_only_loss=False)) == []


# ---- what has no effect, and what the machine allows


def test_what_has_no_effect_is_said(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    assert codes(checked(asked, light_llama, light_teacher, distill_alpha=0.0)) == ["P504"]
    assert codes(checked(asked, light_llama, light_teacher, distill_top_k=8)) == ["P508"]
    assert codes(checked(asked, light_llama, light_teacher, distill_top_k=8, distill_cache=True)) == []


def test_the_trl_engine_is_refused(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    assert codes(checked(asked, light_llama, light_teacher, engine="trl")) == ["P505"]


def test_four_bits_need_bitsandbytes(
    asked: Path, light_llama: Path, light_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "has_package", lambda self, name: False)
    assert codes(checked(asked, light_llama, light_teacher, teacher_quantization="int4")) == ["E521"]
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    assert "E521" not in codes(checked(asked, light_llama, light_teacher, teacher_quantization="int4"))


# ---- the plan


def test_the_estimate_counts_the_teacher_where_it_stays(asked: Path, light_llama: Path, light_teacher: Path) -> None:
    def cost(**flags: Any) -> MemoryPlan:
        plan = checked(asked, light_llama, light_teacher, mixed_precision="fp32", **flags).plan
        assert plan is not None
        return plan.memory

    def teacher(**flags: Any) -> int | None:
        return cost(**flags).memory.get("teacher")

    facts = checked(asked, light_llama, light_teacher).context.teacher
    assert facts is not None and facts.parameters is not None
    assert teacher() == 4 * facts.parameters
    assert teacher(use_distillation=False) is None and teacher(distill_alpha=0.0) is None
    asked_before = cost(
        distill_cache=True
    )  # it is let go before the first step, so that what is trained has no state yet
    assert asked_before.moment == "when the teacher runs" and "optimizer" not in asked_before.memory


def test_a_teacher_that_is_laid_out_padded_has_its_student_padded(
    asked: Path, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(light_teacher, tmp_path / "bloom"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(
        json.dumps({**config, "model_type": "bloom", "architectures": ["BloomForCausalLM"]})
    )
    plan = checked(asked, light_llama, other).plan
    assert plan is not None and plan.layout.name == "padded" and "bloom" in plan.layout.why


@pytest.mark.parametrize("trainer", ["ppo", "reward", "kto"])
def test_other_trainers_have_no_teacher(trainer: str, asked: Path, light_llama: Path, light_teacher: Path) -> None:
    assert "P112" in codes(checked(asked, light_llama, light_teacher, trainer))
