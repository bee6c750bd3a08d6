"""Values that no parameter may have and values that it may, derived from the declaration, through every entrance."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.api import check
from autotrain_llm.cli.main import main
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.registry import PARAMS, trainers_that_read
from autotrain_llm.config.resolved import resolve
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.text import plain
from support.rows import questions, write_rows

SETTINGS = [param for param in PARAMS.values() if not param.command]
BOUNDED = [param for param in PARAMS.values() if param.within]
CHOSEN = [param for param in SETTINGS if param.choices]
NUMBERS = [param for param in PARAMS.values() if param.kind in ("int", "float")]
OF_KIND = {"P302", "P301", "P303", "P120"}  # not of its kind, outside its bounds, none of its choices, no value


@pytest.fixture
def few_rows(tmp_path: Path) -> Path:
    """As many as a check needs to come to a plan: what is tested here does not depend on them."""
    return write_rows(tmp_path / "rows.jsonl", questions(8))


def name_of(param: Param) -> str:
    return param.name


def answering(param: Param) -> dict[str, Any]:
    """What a command needs besides for this parameter to be meant: elsewhere its name can be another tool's for something else."""
    return {"inference": True} if param.answering and param.name != "inference" else {}


def from_command_line(param: Param, raw: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Codes of the findings about one parameter, through the real command."""
    trainer = trainers_that_read(param.name)[0].name
    flags = ["--inference"] if answering(param) else []
    assert main(["llm", "--trainer", trainer, *flags, f"{param.flag}={raw}", "--format", "json"]) == 2
    out = capsys.readouterr().out
    return about(param, json.loads(out)["findings"])


def about(param: Param, findings: list[dict[str, Any]]) -> list[str]:
    return [
        finding["code"] for finding in findings if param.name in finding["parameters"] and finding["code"] in OF_KIND
    ]


def from_file(param: Param, raw: Any, folder: Path) -> list[str]:
    """The same through a config file."""
    path = folder / "run.json"
    path.write_text(json.dumps({"trainer": trainers_that_read(param.name)[0].name, param.name: raw}))
    findings = [finding.as_json() for finding in check(config=str(path))]
    assert all(finding["file"] == str(path) for finding in findings if finding["code"] in ("P301", "P302", "P303"))
    return about(param, findings)


def from_python(param: Param, raw: Any) -> list[str]:
    """The same through keyword arguments."""
    trainer = trainers_that_read(param.name)[0].name
    flags = {"trainer": trainer, **answering(param), param.name: raw}
    return about(param, [finding.as_json() for finding in check(**flags)])


def everywhere(param: Param, raw: Any, code: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The value draws this one code, whichever way it comes in."""
    assert from_command_line(param, plain(raw), capsys) == [code], raw
    if not param.command:
        assert from_file(param, raw, folder) == [code], raw
    if param.name not in ("format", "config"):
        assert from_python(param, raw) == [code], raw


# ---- bounds


@pytest.mark.parametrize("param", BOUNDED, ids=name_of)
def test_a_number_outside_its_bounds_is_refused(param, tmp_path, capsys):
    outside = [value for value in param.within.bad_values() if value not in param.also]
    assert outside
    for value in outside:
        everywhere(param, int(value) if value == int(value) else value, "P301", tmp_path, capsys)


@pytest.mark.parametrize("param", BOUNDED, ids=name_of)
def test_a_number_inside_its_bounds_is_taken(param):
    for value in ends_inside(param):
        assert from_python(param, value) == [], value


def ends_inside(param: Param) -> list[float]:
    """The numbers nearest to each bound that are still allowed, and those outside that mean something."""
    step = 1 if param.kind == "int" else 1e-9
    low, high = param.within.low, param.within.high
    ends = [*param.also]
    if low is not None:
        ends.append(low + step if param.within.low_open else low)
    if high is not None:
        ends.append(high - step if param.within.high_open else high)
    return ends


@pytest.mark.parametrize("param", BOUNDED, ids=name_of)
def test_a_default_lies_inside_its_bounds(param):
    assert param.default is None or param.default in param.also or param.within.contains(param.default)


@pytest.mark.parametrize("param", [param for param in PARAMS.values() if param.search], ids=name_of)
def test_what_a_sweep_would_try_is_allowed(param):
    tried = param.search.choices or (param.search.low, param.search.high)
    for value in tried:
        assert from_python(param, value) == [], value


@pytest.mark.parametrize("value", [-1])
@pytest.mark.parametrize("name", ["max_steps", "block_size", "logging_steps"])
def test_minus_one_means_automatic_where_it_says_so(name, value):
    assert value in PARAMS[name].also and from_python(PARAMS[name], value) == []


# ---- choices


@pytest.mark.parametrize("param", CHOSEN, ids=name_of)
def test_a_value_that_is_none_of_the_choices_is_refused_and_the_nearest_named(param, tmp_path, capsys):
    everywhere(param, "x" + param.choices[0], "P303", tmp_path, capsys)
    (finding,) = [f for f in check(**{param.name: param.choices[0] + "x"}) if f.code == "P303"]
    assert finding.fix == f"{param.flag} {param.choices[0]}"


@pytest.mark.parametrize("param", CHOSEN, ids=name_of)
def test_every_choice_and_every_old_name_of_one_is_taken(param):
    for choice in (*param.choices, *param.replaced_choices):
        assert parse_kwargs({param.name: choice}).values[param.name] in param.choices
        assert from_python(param, choice) == []


@pytest.mark.parametrize("raw", ["no", False])
def test_the_word_no_is_the_same_from_the_command_line_and_as_yaml_reads_it(raw):
    assert parse_kwargs({"eval_strategy": raw}).values == {"eval_strategy": "no"}
    assert from_python(PARAMS["mixed_precision"], raw) == ["P303"]


def test_none_is_never_and_not_the_default_where_never_is_a_choice():
    assert parse_kwargs({"save_strategy": "none"}).values == {"save_strategy": "no"}
    assert parse_kwargs({"quantization": "none"}).values == {"quantization": None}


# ---- kinds


@pytest.mark.parametrize("param", NUMBERS, ids=name_of)
@pytest.mark.parametrize("raw", ["abc", "nan", "inf", "-inf", "1,5", "0x10", "1e", "true"])
def test_what_is_no_number_is_refused(param, raw, tmp_path, capsys):
    everywhere(param, raw, "P302", tmp_path, capsys)


@pytest.mark.parametrize("param", NUMBERS, ids=name_of)
@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf, True, [1], {"a": 1}], ids=str)
def test_what_is_no_number_in_python_is_refused(param, raw):
    assert from_python(param, raw) == ["P302"]


@pytest.mark.parametrize("param", [param for param in NUMBERS if param.kind == "int"], ids=name_of)
def test_half_a_number_is_refused_where_a_whole_one_belongs(param, tmp_path, capsys):
    everywhere(param, 2.5, "P302", tmp_path, capsys)
    for raw in ("1e1", 10.0):
        assert parse_kwargs({**answering(param), param.name: raw}).values == {**answering(param), param.name: 10}


@pytest.mark.parametrize("param", [param for param in SETTINGS if param.kind == "switch"], ids=name_of)
def test_a_switch_is_true_or_false(param, tmp_path, capsys):
    everywhere(param, "maybe", "P302", tmp_path, capsys)
    for raw, value in (("TRUE", True), ("yes", True), ("1", True), ("Off", False), ("no", False), (0, False)):
        assert parse_kwargs({param.name: raw}).values == {param.name: value}


@pytest.mark.parametrize("param", [param for param in PARAMS.values() if param.kind == "json"], ids=name_of)
@pytest.mark.parametrize("raw", ["{", "[1]", "3", "lr"])
def test_what_is_no_json_object_is_refused(param, raw, tmp_path, capsys):
    everywhere(param, raw, "P302", tmp_path, capsys)


@pytest.mark.parametrize("param", [param for param in PARAMS.values() if param.kind == "list"], ids=name_of)
def test_a_list_is_names_with_commas_or_json(param, tmp_path, capsys):
    for raw in ("a,b", " a , b ", '["a", "b"]', ["a", "b"], ("a", "b")):
        assert parse_kwargs({param.name: raw}).values == {param.name: ("a", "b")}
    assert parse_kwargs({param.name: ["a", 3, 0.5]}).values == {param.name: ("a", "3", "0.5")}
    everywhere(param, '["a", null]', "P302", tmp_path, capsys)
    everywhere(param, "[a", "P302", tmp_path, capsys)


@pytest.mark.parametrize("param", [p for p in PARAMS.values() if p.kind == "str" and not p.choices], ids=name_of)
def test_a_text_is_no_table_and_holds_no_null_character(param):
    if param.name not in ("trainer", "config"):
        assert from_python(param, {"a": 1}) == from_python(param, "a\0b") == ["P302"]


@pytest.mark.parametrize("param", [p for p in PARAMS.values() if p.kind != "list" and p.name != "trainer"], ids=name_of)
def test_nothing_stands_for_the_default_only_where_nothing_is_a_value(param):
    said = parse_kwargs({**answering(param), param.name: None})
    if param.nullable:
        assert said.values == {**answering(param), param.name: None} and said.findings == []
    else:
        assert said.values == answering(param) and [finding.code for finding in said.findings] == ["P302"]


@pytest.mark.parametrize("param", NUMBERS, ids=name_of)
def test_an_empty_word_is_no_number(param, capsys):
    if param.nullable:
        assert parse_kwargs({**answering(param), param.name: ""}).values == {**answering(param), param.name: None}
    else:
        assert from_command_line(param, "", capsys) == ["P302"]


@pytest.mark.parametrize("param", NUMBERS, ids=name_of)
def test_a_number_beyond_all_measure_ends_in_no_traceback(param, few_rows, light_llama):
    command = {
        "trainer": trainers_that_read(param.name)[0].name,
        "model": str(light_llama),
        "data_path": str(few_rows),
    }
    command |= {"lr": 1e-4, "epochs": 1, "batch_size": 4}
    check(**{**command, param.name: 10**15 if param.kind == "int" else 1e300})


# ---- texts that are taken for paths


TEXTS = [
    param for param in PARAMS.values() if param.kind in ("str", "list") and param.name not in ("trainer", "config")
]
STRANGE = [
    "~nobody-of-that-name/x",
    "a" * 5000,
    "",
    " ",
    "-",
    "\n",
    "%s",
    "{x}",
    "C:\\x",
    "\ud800",
    "\udcff",
    "x@best",
    "scratch:",
    "'",
]


@pytest.mark.slow
@pytest.mark.parametrize("param", TEXTS, ids=name_of)
def test_no_text_ends_in_a_traceback(param, few_rows, light_llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = {
        "trainer": trainers_that_read(param.name)[0].name,
        "model": str(light_llama),
        "data_path": str(few_rows),
    }
    command |= {"lr": 1e-4, "epochs": 1, "batch_size": 4}
    for text in STRANGE:
        assert isinstance(check(**{**command, param.name: text, "output_dir": "run"}), tuple), text
        assert isinstance(check(**{**command, param.name: text}), tuple), text


@pytest.mark.parametrize("name", ["model", "data_path", "output_dir", "resume_from_checkpoint", "chat_template"])
def test_a_path_that_no_file_can_have_is_a_finding(name):
    for text in ("~nobody-of-that-name/x", "a" * 256, "a/" * 3000, "\ud800"):
        found = [finding for finding in check(trainer="sft", **{name: text}) if finding.code == "P304"]
        assert [finding.parameters for finding in found] == [(name,)]
        assert len(found[0].message) < 200
    assert "P304" not in {finding.code for finding in check(trainer="sft", **{name: "~/x"})}


def test_a_secret_of_the_wrong_kind_is_not_repeated():
    (finding,) = parse_kwargs({"token": {"hf_secret": 1}}).findings
    assert "hf_secret" not in f"{finding.message} {finding.fix}"


@pytest.mark.parametrize(
    ("trainer", "name", "far", "usual"),
    [
        ("dpo", "dpo_beta", 50.0, 0.01),
        ("dpo", "dpo_beta", 0.00001, 2.0),
        ("sft", "weight_decay", 10.0, 0.0),
        ("ppo", "rl_temperature", 20.0, 0.7),
        ("ppo", "rl_kl_coef", 50.0, 0.0),
    ],
)
def test_a_strength_that_is_far_from_all_that_is_searched_is_a_slip(trainer, name, far, usual):
    from autotrain_llm.checks.rules.every import RULES

    def drawn(value):
        config = resolve({"trainer": trainer, name: value})
        return list(RULES["P337"].check({"config": config, "trainer": config.trainer_spec}))

    (finding,) = drawn(far)
    assert (finding.severity, finding.parameters) == ("warning", (name,))
    assert drawn(usual) == []
