"""Every rule: its code, its documentation, and the two commands of its page, of which one draws it and the other does not."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import autotrain_llm
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.checks.rules.every import RULES, every_rule
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.registry import GROUP, PARAMS
from autotrain_llm.config.resolved import Config, resolve
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import Rule
from support.light_models import build_light_model

SOURCE = Path(autotrain_llm.__file__).parent
CODE = re.compile(r"[PEMDR]\d{3}")  # parameters, environment, models, data, runs
FROM_FLAGS = [rule for rule in RULES.values() if rule.function and rule.needs <= {"config", "trainer"}]
WITH_COMMANDS = [rule for rule in FROM_FLAGS if rule.refuses and rule.accepts]


def code_of(rule: Rule) -> str:
    return rule.code


def config_of(command: str) -> Config:
    """What a command amounts to; nothing in it may be misspelt."""
    said = read(shlex.split(command))
    assert said.findings == []
    return resolve(said.values)


def findings(rule: Rule, command: str) -> list[Finding]:
    config = config_of(command)
    return list(rule.check({"config": config, "trainer": config.trainer_spec}))


# ---- the codes


def emitted_codes() -> set[str]:
    """Every string in the package that is a code."""
    strings = (
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in strings if CODE.fullmatch(text)}


def test_every_code_in_the_source_is_declared():
    codes = emitted_codes()
    assert len(codes) > 100
    assert codes - set(every_rule()) == set()


def test_no_code_means_two_things():
    functions = [rule.function for rule in every_rule().values() if rule.function]
    assert len(set(functions)) == len(functions)


def test_every_code_is_declared_once_in_the_source():
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    declared = re.findall(r'(?:@rule|declare_finding)\(\s*"([PEMDR]\d{3})"', text)
    assert sorted(declared) == sorted(every_rule())


@pytest.mark.parametrize("rule", every_rule().values(), ids=code_of)
def test_a_rule_says_what_is_wrong_why_and_what_to_do(rule):
    # What a caller gives a rule is nothing to its readers.
    assert [name for name in rule.arguments if f"`{name}`" in rule.documentation] == [], "write that in a comment"
    first, _, rest = rule.documentation.partition("\n\n")
    assert first.endswith(".") and len(first) > 20
    assert any(line.startswith("Why: ") for line in rest.split("\n"))
    assert any(line.startswith("Fix: ") for line in rest.split("\n"))
    assert CODE.fullmatch(rule.code) and rule.severity in ("error", "warning")


@pytest.mark.parametrize("code", every_rule())
def test_every_code_can_be_explained(code, capsys):
    assert main(["llm", "--explain", code]) == 0
    assert len(capsys.readouterr().out) > 20


# ---- the two commands of each page


@pytest.mark.parametrize("rule", WITH_COMMANDS, ids=code_of)
def test_the_command_that_a_rule_shows_draws_it(rule):
    drawn = findings(rule, rule.refuses)
    assert drawn and {finding.code for finding in drawn} == {rule.code}
    for finding in drawn:
        assert finding.parameters and set(finding.parameters) <= set(PARAMS)
        assert finding.message and not finding.message.endswith(".")


@pytest.mark.parametrize("rule", WITH_COMMANDS, ids=code_of)
def test_the_command_that_a_rule_accepts_does_not_draw_it(rule):
    assert findings(rule, rule.accepts) == []


@pytest.mark.parametrize("rule", WITH_COMMANDS, ids=code_of)
@pytest.mark.parametrize("which", ["refuses", "accepts"])
def test_the_command_that_a_rule_shows_is_answered_so_by_the_program(rule, which, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(getattr(rule, which))
    assert main(["llm", *words, "--dry-run", "--format", "json"]) in (0, 2)
    codes = [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert (rule.code in codes) == (which == "refuses"), codes


@pytest.mark.parametrize("rule", WITH_COMMANDS, ids=code_of)
def test_a_rule_says_nothing_to_a_command_in_which_nothing_was_given(rule):
    config = resolve({})
    assert list(rule.check({"config": config, "trainer": config.trainer_spec})) == []


# What flags can be told in which rule, beside the one command of its page.
ALSO = {
    "P107": ("--trainer orpo --model-ref other --lr 1", "--trainer orpo --orpo-alpha 0.1"),
    "P112": ("--trainer reward --use-distillation", "--trainer reward --no-use-distillation"),
    "P113": ("--trainer ppo --engine trl", "--trainer grpo --engine trl"),
    "P202": ("--inference --model scratch:1m --prompts hello", "--inference --model runs/mine --prompts hello"),
    "P310": ("--trainer sft --lr 1e-12", "--trainer sft --model scratch:1m --lr 0.01"),
    "P314": ("--early-stopping-patience 2", "--early-stopping-patience 2 --eval-dataset-path held_out.jsonl"),
    "P315": (
        "--valid-split 0.1 --early-stopping-patience 2 --eval-strategy no",
        "--valid-split 0.1 --early-stopping-patience 2 --eval-strategy steps --save-strategy steps",
    ),
    "P320": ("--resume-from-checkpoint runs/a/checkpoints/checkpoint-3 --overwrite", "--overwrite"),
    "P501": ("--trainer dpo --use-distillation", "--trainer dpo"),
    "P502": (
        "--trainer sft --use-distillation --teacher-model claude-3-opus",
        "--trainer sft --use-distillation --teacher-model openai/gpt-oss-20b",
    ),
    "P601": (
        "--trainer sft --use-sweep --sweep-params '{\"dpo_beta\": [0.1]}'",
        "--trainer dpo --use-sweep --sweep-params '{\"dpo-beta\": [0.1]}'",
    ),
    "P602": (
        '--use-sweep --sweep-params \'{"lr": {"low": 1e-3, "high": 1e-5}}\'',
        '--use-sweep --sweep-params \'{"lr": {"low": 1e-5, "high": 1e-3, "log": true}}\'',
    ),
    "P603": (
        "--trainer reward --use-sweep --sweep-metric eval_accuracy --sweep-direction minimize",
        "--trainer reward --use-sweep --sweep-metric eval_accuracy --sweep-direction maximize",
    ),
    "P801": ("--trainer ppo --batch-size 5", "--trainer ppo --batch-size 4"),
}


@pytest.mark.parametrize("code", ALSO)
def test_what_else_a_rule_refuses_and_accepts(code):
    refused, accepted = ALSO[code]
    assert [finding.code for finding in findings(RULES[code], refused)] == [code]
    assert findings(RULES[code], accepted) == []


def test_saving_between_evaluations_is_told_the_nearest_step():
    command = "--valid-split 0.1 --load-best-model-at-end --eval-strategy steps --save-strategy steps --eval-steps 20"
    (finding,) = findings(RULES["P315"], f"{command} --save-steps 30")
    assert finding.fix in ("--save-steps 20", "--save-steps 40")
    assert findings(RULES["P315"], f"{command} --save-steps 40") == []


@pytest.mark.parametrize("space", ['"x"', "[]", "{}", '["a"]', "[0]", '{"low": "1e-5", "high": 1e-4}', '{"values": 3}'])
def test_a_space_that_can_not_be_searched_is_refused(space):
    assert findings(RULES["P602"], f"--use-sweep --sweep-params '{{\"lr\": {space}}}'") != []


@pytest.mark.parametrize("name", ["use_distillation", "use_sweep", "use_enhanced_eval"])
def test_a_mixin_that_is_not_there_yet_is_refused_in_plain_words(name):
    if GROUP[PARAMS[name].group].available:
        pytest.skip("it is there")
    drawn = findings(RULES["P113"], f"--trainer sft {PARAMS[name].flag}")
    assert [finding.parameters for finding in drawn] == [(name,)]


def test_an_engine_without_a_trainer_to_compare_with_is_refused():
    config = config_of("--trainer sft --engine trl")
    alone = config.trainer_spec.replace(trl_adapter=None)
    drawn = RULES["P113"].check({"config": config, "trainer": alone})
    assert [finding.parameters for finding in drawn] == [("engine",)]
    assert list(RULES["P113"].check({"config": config, "trainer": config.trainer_spec})) == []


# ---- rules on the model's own files


def about_files(command: dict[str, Any]) -> list[str]:
    found = preflight(resolve(command)).findings
    return [finding.code for finding in found]


@pytest.fixture
def command(light_llama, chat_rows) -> dict[str, Any]:
    """A command that is in order."""
    words = {"trainer": "sft", "model": str(light_llama), "data_path": str(chat_rows), "lr": 1e-4, "epochs": 1.0}
    return {**words, "batch_size": 4, "dry_run": True}


def test_a_command_that_is_in_order_draws_nothing(command):
    assert about_files(command) == []


def test_a_row_longer_than_the_context_is_refused_and_one_that_fits_is_not(command, tmp_path):
    assert about_files({**command, "block_size": 4096}) == ["M171"]
    assert about_files({**command, "max_seq_length": 4096}) == ["M171"]
    assert about_files({**command, "block_size": 2048}) == []
    assert about_files({**command, "block_size": 4096, "model_max_length": 4096}) == []


def test_where_positions_are_stretched_a_longer_row_is_a_warning(command, tmp_path):
    scaled = build_light_model(tmp_path / "scaled", rope_scaling={"rope_type": "linear", "factor": 2.0})
    (finding,) = preflight(resolve({**command, "model": str(scaled), "block_size": 4096})).findings
    assert (finding.code, finding.severity) == ("M171", "warning")


def test_a_default_length_beyond_the_context_is_clipped_without_a_word(command, tmp_path):
    short = build_light_model(tmp_path / "short", max_position_embeddings=64)
    checked = preflight(resolve({**command, "model": str(short)}))
    assert checked.findings == () and checked.plan is not None
    assert checked.plan.length.tokens == 64 and "shorter than the default" in checked.plan.length.why


def test_a_row_longer_than_the_tokenizer_says_is_a_warning(command, tmp_path):
    short = build_light_model(tmp_path / "short")
    path = short / "tokenizer_config.json"
    path.write_text(path.read_text().rstrip().removesuffix("}") + ', "model_max_length": 64}')
    assert about_files({**command, "model": str(short), "max_seq_length": 512}) == ["M172"]
    assert about_files({**command, "model": str(short), "max_seq_length": 64}) == []
    assert about_files({**command, "model": str(short)}) == []


def test_packing_is_ignored_with_a_word_where_rows_would_mix(command, tmp_path):
    other = build_light_model(tmp_path / "bloom", model_type="bloom", architectures=["BloomForCausalLM"])
    assert about_files({**command, "model": str(other), "packing": True}) == ["M173"]
    assert about_files({**command, "packing": True}) == []
    packed = preflight(resolve({**command, "model": str(other), "packing": True})).plan
    plain = preflight(resolve({**command, "model": str(other)})).plan
    assert packed and plain and packed.layout == plain.layout and packed.schedule == plain.schedule


def test_a_fact_of_the_world_is_looked_up_once(command):
    context = RunContext(resolve(command))
    assert (
        context.model is context.model and context.dataset is context.dataset and context.prepared is context.prepared
    )
