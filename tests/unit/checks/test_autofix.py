"""`--fix`: what is applied, what the corrected command is, and that what is said to be put right is gone."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.autofix import Fixed
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.finding import Finding, in_words
from autotrain_llm.declare.param import flag_of
from support.paths import SHARED

CORPUS = SHARED / "corpus"
FROM_FLAGS = [rule for rule in RULES.values() if rule.needs <= {"config", "trainer"} and rule.refuses]


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """Rows that any trainer of texts reads."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [{"prompt": f"What is {n} and {n}?", "completion": f"{n} and {n} make {n + n}."} for n in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def answer(command: str, capsys) -> tuple[int, dict[str, Any]]:
    status = main(["llm", *shlex.split(command), "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def codes(document: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


GOOD = "--trainer sft --model scratch:1m --lr 1e-3 --epochs 1 --batch-size 4"


def test_the_text_of_a_fix_is_made_of_its_changes():
    assert in_words({"lr": 2e-5, "peft": True, "packing": False}) == "--lr 2e-5 --peft --no-packing"
    assert in_words({"peft": None, "lora_r": None}) == "remove --peft, --lora-r"
    assert (
        in_words({"valid_split": 0.1, "eval_dataset_path": None}) == "--valid-split 0.1 and remove --eval-dataset-path"
    )
    assert in_words({"text_column": "my text"}) == "--text-column 'my text'"
    finding = Finding("…", changes={"peft": True}, otherwise="or remove --lora-r")
    assert finding.fix == "--peft, or remove --lora-r"
    assert finding.replace(code="P108").fix == finding.fix
    assert finding.as_json()["changes"] == {"peft": True}
    assert "changes" not in Finding("…", fix="save it again").as_json()


def test_what_can_be_put_right_is_put_right_round_after_round(rows, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = f"--trainer sft --model scratch:1m --data-path {rows} --lr 1e-3 --epochs 0 --bs 4 --dpo-beta 0.1"
    status, document = answer(f"{wrong} --warmup-ratio 1.0 --fix", capsys)
    assert status == 0 and document["findings"] == []
    assert {applied["code"] for applied in document["fixed"]["applied"]} == {"P101", "P102", "P301"}
    fixed = document["fixed"]["command"]
    assert (
        fixed
        == f"autotrain llm --trainer sft --model scratch:1m --data-path {rows} --lr 0.001 --epochs 1.0 --warmup-ratio 0.1 --batch-size 4"
    )
    assert list(tmp_path.iterdir()) == []  # nothing is trained, nothing is written
    status, document = answer(f"{fixed.removeprefix('autotrain llm ')} --dry-run", capsys)
    assert status == 0 and document["findings"] == []


def test_what_is_left_is_still_refused(capsys):
    status, document = answer(
        "--trainer sft --model scratch:1m --data-path nowhere.jsonl --epochs 0 --lr 1e-3 --batch-size 4 --fix", capsys
    )
    assert status == 2 and codes(document) == ["D101"]
    assert [applied["code"] for applied in document["fixed"]["applied"]] == ["P301"]


def test_fixes_that_take_turns_come_to_an_end(rows, capsys):
    status, document = answer(f"{GOOD} --data-path {rows} --resume --overwrite --output-dir nowhere --fix", capsys)
    assert status == 0 and codes(document) == []


def test_a_corrected_config_says_the_same_as_the_corrected_command(rows, capsys, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(f"trainer: sft\nmodel: scratch:1m\ndata_path: {rows}\nlr: 1e-3\nepochs: 0\nbs: 4\n")
    status, document = answer(f"--config {config} --fix", capsys)
    assert (
        status == 0 and "--config" not in document["fixed"]["command"] and "--lr 0.001" in document["fixed"]["command"]
    )
    written = tmp_path / "fixed.yaml"
    status, document = answer(f"--config {config} --token hf_secret --fix --write-config {written}", capsys)
    assert status == 0 and document["fixed"]["command"].startswith(f"autotrain llm --config {written}")
    assert document["fixed"]["command"].endswith(' --token "$HF_TOKEN"')
    assert "hf_secret" not in written.read_text() + json.dumps(document)
    status, document = answer(f"--config {written} --dry-run", capsys)
    assert status == 0 and document["findings"] == [] and document["plan"]["parameters"]["lr"]["value"] == 1e-3


def test_each_secret_of_a_corrected_command_is_a_variable_of_its_own():
    given = {"token": "hf_secret", "sweep_storage": "postgresql://me:secret@db/x"}
    command = Fixed(given, {}, None, False, (), None).command()
    assert command == 'autotrain llm --token "$HF_TOKEN" --sweep-storage "$SWEEP_STORAGE"'


def test_a_corrected_command_has_every_digit_of_a_value():
    command = Fixed(
        {"lr": 1.23456789e-5, "max_grad_norm": 0.3, "quantization": None}, {}, None, False, (), None
    ).command()
    assert command == "autotrain llm --lr 1.23456789e-05 --max-grad-norm 0.3 --quantization none"


def test_a_config_that_is_in_order_stays_in_the_command(rows, capsys, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(f"trainer: sft\nmodel: scratch:1m\ndata_path: {rows}\nlr: 1e-3\nbatch_size: 4\n")
    _, document = answer(f"--config {config} --epochs 0 --fix", capsys)
    assert document["fixed"]["command"] == f"autotrain llm --config {config} --epochs 1.0"


def test_a_config_that_cannot_be_written_is_refused(rows, capsys, tmp_path):
    status, document = answer(f"{GOOD} --data-path {rows} --fix --write-config {tmp_path}/none/fixed.yaml", capsys)
    assert status == 2 and codes(document) == ["P114"]


@pytest.mark.parametrize("rule", FROM_FLAGS, ids=lambda rule: rule.code)
def test_the_changes_of_a_rule_name_parameters_and_end_it(rule):
    """What a rule on flags would change, said in place of what was said, no longer draws it."""
    from autotrain_llm.checks.autofix import _apply
    from autotrain_llm.config.resolved import resolve

    values = read(shlex.split(rule.refuses)).values
    for finding in rule.check({"config": resolve(values), "trainer": resolve(values).trainer_spec}):
        assert set(finding.changes) <= set(PARAMS)
        assert all(flag_of(name).removeprefix("--") in str(finding.fix) for name in finding.changes)
        if finding.changes:
            fixed = dict(values)
            _apply(finding.changes, fixed, {})
            config = resolve(fixed)
            assert finding not in list(rule.check({"config": config, "trainer": config.trainer_spec}))


# ---- faults that people reported

# Faults whose fix is told in words: they lie in the rows, in a model's files, or only the user knows the name or number that is missing.
IN_THE_ROWS = "M007 M014 M015 M020 M024 M026 M028 M029 M033 M035 M036 M049 M052 M055 M067 M068 M076 M081 M127 M142 M143"
IN_A_MODEL = "M079 M093 M095 M099 M101 M102 M103 M105 M159 "
UP_TO_THE_USER = "M025 M039 M091 M140 M154 M156 M161 "
# What was meant is guessed, and shown: a name that is nearly that of a file, a column, a template or a parameter, or the switch of a group.
GUESSED = "M003 M006 M041 M046 M112 M113 M149"
ONLY_IN_WORDS = frozenset(f"{IN_THE_ROWS} {IN_A_MODEL} {UP_TO_THE_USER} {GUESSED}".split())


def corpus() -> Any:
    """The corpus' own runner, which makes its models and writes out its cases."""
    sys.path.insert(0, str(CORPUS))
    spec = importlib.util.spec_from_file_location("corpus_run", CORPUS / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases() -> list[dict[str, Any]]:
    path = CORPUS / "cases.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [{**json.loads(line), "folder": str(CORPUS)} for line in lines if line.strip()]


@pytest.fixture(scope="session")
def corpus_models(tmp_path_factory) -> dict[str, Path]:
    from fixtures import build  # the corpus' own

    return build(tmp_path_factory.mktemp("corpus-models"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_a_fix_that_is_applied_removes_its_finding(case, capsys, tmp_path, monkeypatch, request):
    """Every finding of a reported fault that says how to change the command is gone when the command is changed so."""
    runner = corpus()
    models = request.getfixturevalue("corpus_models")
    folder = tmp_path / case["id"]
    command = runner.materialise(case, models, folder)
    monkeypatch.chdir(folder)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words = command.removeprefix("autotrain llm ")
    _, found = answer(f"{words} --dry-run", capsys)
    _, document = answer(f"{words} --fix", capsys)
    again, after = answer(f"{document['fixed']['command'].removeprefix('autotrain llm ')} --dry-run", capsys)
    mechanical = [(finding["code"], finding["message"]) for finding in found["findings"] if finding.get("changes")]
    left = [(finding["code"], finding["message"]) for finding in after["findings"]]
    assert not set(mechanical) & set(left)
    assert (again == 0) == (document["status"] == "ok")
    assert left == [(finding["code"], finding["message"]) for finding in document["findings"]]
    assert bool(mechanical) != (case["id"] in ONLY_IN_WORDS)


# ---- what is never applied


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ("--eval_intervall 500", "--eval_intervall 500"),
        ("--lerning-rate 1e-4", "--lerning-rate 1e-4"),
        ("--dataset-mix 0.3,0.7", "--dataset-mix 0.3,0.7"),
        ("--image-column img", "--image-column img"),
        ("--experiment_name mine", "--experiment_name mine"),
        ("--train_batch_size 64", "--train_batch_size 64"),
        ("--model_name_or_path other", "--model_name_or_path other"),
        ("--hub_model_id me/mine", "--hub_model_id me/mine"),
        ("--optim paged_adamw_32bit", "--optim paged_adamw_32bit"),
        ("--scheduler cosine_with_restarts", "--scheduler cosine_with_restarts"),
        ("--scheduler cosin", "--scheduler cosin"),
        ("--finetuning_type freeze", "--finetuning_type freeze"),
        ("--seed seven", "--seed seven"),
    ],
)
def test_a_guess_is_shown_and_the_flag_stays_as_it_was_written(flags, kept, rows, capsys):
    status, document = answer(f"{GOOD} --data-path {rows} {flags} --fix", capsys)
    assert status == 2 and kept in document["fixed"]["command"] and document["fixed"]["applied"] == []
    given = f"autotrain llm {GOOD.replace('--epochs 1 ', '--epochs 1.0 ').replace('1e-3', '0.001')} --data-path {rows}"
    values = read(shlex.split(given.removeprefix("autotrain llm "))).values
    fixed = read(shlex.split(document["fixed"]["command"].removeprefix("autotrain llm "))).values
    assert {name: fixed.get(name) for name in values} == values


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ("--eval_interval 2 --valid-split 0.2", "--eval-steps 2"),
        ("--learningRate 1e-4", "--lr 1e-4"),
        ("--scheduler Cosine", "--scheduler cosine"),
        ("--max-steps 100 --warmup_steps 10", "--warmup-ratio 0.1"),
        ("--bf16 false --mixed-precision fp32", "--mixed-precision fp32"),
    ],
)
def test_another_spelling_or_name_of_the_same_is_applied(flags, changed, rows, capsys):
    command = GOOD.replace("--lr 1e-3 ", "") if "earning" in flags else GOOD
    status, document = answer(f"{command} --data-path {rows} {flags} --fix", capsys)
    assert changed.replace("1e-4", "0.0001") in document["fixed"]["command"].replace("1e-4", "0.0001")
    assert status == 0, document["findings"]


def test_a_flag_of_a_group_that_is_off_offers_the_switch_and_leaves_the_choice():
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.config.resolved import resolve

    config = resolve(read(shlex.split("--trainer sft --model some/model --lora-r 8")).values)
    (finding,) = RULES["P108"].check({"config": config, "trainer": config.trainer_spec})
    assert finding.fix == "--peft, or remove --lora-r" and not finding.changes
    config = resolve(read(shlex.split("--trainer sft --model scratch:1m --lora-r 8")).values)
    (finding,) = RULES["P108"].check({"config": config, "trainer": config.trainer_spec})
    assert finding.changes == {"lora_r": None} and "a new model is trained as a whole" in finding.message


def test_a_missing_file_is_never_replaced_by_another_data_set(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pref.jsonl", "train.jsonl"):
        (tmp_path / name).write_text('{"text": "One."}\n{"text": "Two."}\n')
    status, document = answer(f"{GOOD} --data-path nope.jsonl --fix", capsys)
    assert status == 2 and document["findings"][0]["fix"] == "--data-path <an existing file or folder>"
    status, document = answer(f"{GOOD} --data-path trian.jsonl --fix", capsys)
    assert status == 2 and document["findings"][0]["fix"] == "--data-path train.jsonl"
    assert "--data-path trian.jsonl" in document["fixed"]["command"]


def test_the_good_answers_are_never_offered_as_the_worse_ones(capsys, rows):
    command = f"--trainer dpo --model scratch:1m --data-path {rows} --lr 1e-3 --epochs 1 --batch-size 2"
    named = "--prompt-text-column prompt --rejected-text-column rejected"
    _, document = answer(f"{command} {named} --fix", capsys)
    assert all("completion" not in str(finding["fix"]) for finding in document["findings"])
    assert "--rejected-text-column rejected" in document["fixed"]["command"]
