"""`--preset`: what each sets, its place among the sources, and that every one leads to a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.api import check, plan
from autotrain_llm.cli.main import main
from autotrain_llm.config.presets import every_preset, read_preset
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, PRESET, resolve
from autotrain_llm.declare.finding import ERROR
from autotrain_llm.planning.run_inputs import config_of
from support.rows import write_rows

EVERY = every_preset()
PRESETS_AND_TRAINERS = [
    (preset.name, trainer) for preset in EVERY for trainer in (preset.trainers or ("sft", "dpo", "reward", "grpo"))
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pairs = [
        {"prompt": f"What is {n} + 1?", "chosen": f"It is {n + 1}.", "rejected": f"It is {n}, I think."}
        for n in range(24)
    ]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    write_rows(tmp_path / "rows.jsonl", [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs])
    write_rows(tmp_path / "texts.jsonl", [{"text": f"{row['prompt']} {row['chosen']}"} for row in pairs])
    (tmp_path / "score.py").write_text(
        "def score(completions, **_): return [float(len(text)) for text in completions]\n"
    )
    return tmp_path


def flags_for(trainer: str, model: Path) -> dict[str, Any]:
    """What a command with this trainer needs beside a preset."""
    rows = TRAINERS[trainer].rows
    data = {"documents": "texts.jsonl", "conversations": "rows.jsonl", "prompts": "rows.jsonl"}.get(rows, "pairs.jsonl")
    flags: dict[str, Any] = {"model": str(model), "trainer": trainer, "data_path": data}
    if rows == "prompts":
        flags |= {"rl_reward_fn": "score.py:score"}
    if "prompt_text_column" in TRAINERS[trainer].requires:
        flags |= {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    return flags


@pytest.mark.parametrize(("name", "trainer"), PRESETS_AND_TRAINERS)
def test_every_preset_leads_to_a_plan_with_each_trainer_that_it_is_made_for(name, trainer, llama):
    flags = flags_for(trainer, llama) | {"preset": name}
    if "teacher_model" not in flags and "use_distillation" in read_preset(name).values:
        flags["teacher_model"] = str(llama)
    if "quantization" in read_preset(name).values:
        flags["target_memory"] = "24GiB"  # a GPU that is not in this machine
    errors = [finding for finding in check(**flags) if finding.severity == ERROR]
    assert errors == []
    made = plan(**flags)
    used = [key for key, cell in made.parameters.items() if cell.source == PRESET]
    assert used and all(made.parameters[key].preset == name for key in used)
    assert set(used) <= {*read_preset(name).values}


@pytest.mark.parametrize("preset", EVERY, ids=lambda preset: preset.name)
def test_a_preset_says_what_it_is_for_and_why_it_sets_each_value(preset):
    assert preset.title and preset.purpose.endswith(".")
    for setting in preset.settings:
        assert setting.name in PARAMS and not PARAMS[setting.name].command and len(setting.why) > 8
    assert set(preset.trainers) <= set(TRAINERS)


@pytest.mark.parametrize("preset", EVERY, ids=lambda preset: preset.name)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_preset_sets_nothing_that_the_trainer_ignores(preset, trainer):
    found = [finding.code for finding in check(preset=preset.name, trainer=trainer)]
    assert {"P101", "P107", "P108"} & set(found) == set()
    assert ("P131" in found) == bool(preset.trainers and trainer not in preset.trainers)


def test_a_preset_stands_below_the_file_and_the_file_below_the_command_line():
    config = resolve({"preset": "lora-24gb", "lora_r": 8}, {"lora_alpha": 64, "trainer": "dpo"})
    assert (config.lora_r, config.source("lora_r")) == (8, COMMAND_LINE)
    assert (config.lora_alpha, config.source("lora_alpha")) == (64, CONFIG_FILE)
    assert (config.gradient_accumulation, config.source("gradient_accumulation")) == (8, PRESET)
    assert config.origin("gradient_accumulation").preset == "lora-24gb" and config.given("peft")
    assert config.source("epochs") == PRESET and config.epochs == 2  # usual with dpo


def test_usual_is_the_trainers_value_for_the_way_it_is_trained():
    def rate(**flags: Any) -> Any:
        return resolve(flags).lr

    assert rate(preset="full", trainer="dpo") == TRAINERS["dpo"].usual["lr"].full
    assert rate(preset="lora-24gb", trainer="dpo") == TRAINERS["dpo"].usual["lr"].lora
    assert rate(preset="quick-look", trainer="sft", peft=True) == TRAINERS["sft"].usual["lr"].lora
    assert rate(preset="quick-look", trainer="sft") == TRAINERS["sft"].usual["lr"].full


def test_what_a_flag_stands_in_place_of_is_left_out():
    assert resolve({"preset": "lora-24gb", "max_steps": 5}).epochs is None
    assert resolve({"preset": "quick-look", "epochs": 2.0}).max_steps is None
    without = resolve({"preset": "lora-24gb", "peft": False})
    assert not without.given("lora_r") and without.given("gradient_checkpointing")


def test_a_preset_stands_in_a_config_and_survives_dropping_and_a_plan(llama):
    Path("run.yaml").write_text("preset: quick-look\n")
    made = plan(config="run.yaml", **flags_for("sft", llama))
    assert made.parameters["max_steps"].source == PRESET
    again = config_of(made)
    assert (again.max_steps, again.source("max_steps"), again.origin("max_steps").preset) == (50, PRESET, "quick-look")
    config = resolve({"preset": "full", "dpo_beta": 0.3}).without(("dpo_beta", "scheduler"))
    assert config.source("warmup_ratio") == PRESET and not config.given("scheduler")


def test_a_name_that_no_preset_has_is_answered_with_the_nearest(capsys):
    found = {finding.code: finding for finding in check(preset="qlra", trainer="sft")}
    assert found["P303"].guess == {"preset": "qlora"}
    assert main(["presets", "qlra"]) == 2
    assert "fix: autotrain presets qlora" in capsys.readouterr().err
    assert main(["presets", "full", "qlora"]) == 2


def test_presets_are_listed_and_shown_with_their_reasons(capsys):
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    assert all(f"{preset.name}: {preset.title}" in out for preset in EVERY)
    for preset in EVERY:
        assert main(["presets", preset.name]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert all(
            " ".join(setting.why.split()) in out and PARAMS[setting.name].flag[2:] in out for setting in preset.settings
        )
        assert main(["presets", preset.name, "--format", "json"]) == 0
        (shown,) = json.loads(capsys.readouterr().out)["presets"]
        assert shown["set"].keys() == preset.values.keys()
    assert main(["presets", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["presets"]) == len(EVERY)
    assert main(["presets", "--help"]) == 0 and "usage: autotrain presets" in capsys.readouterr().out


def test_the_plan_names_the_preset_as_source_and_the_command_has_its_values(llama, capsys):
    command = ["llm", "--preset", "quick-look", "--model", str(llama), "--data-path", "rows.jsonl", "--dry-run"]
    assert main(command) == 0
    assert "preset quick-look" in capsys.readouterr().out
    assert main([*command, "--fix", "--write-config", "fixed.yaml"]) == 0
    assert "--preset quick-look" in capsys.readouterr().out and "preset: quick-look" in Path("fixed.yaml").read_text()


def test_what_a_preset_sets_can_be_saved_and_trained_as_a_plan(llama, capsys):
    command = ["llm", "--preset", "quick-look", "--model", str(llama), "--data-path", "rows.jsonl", "--dry-run"]
    assert main([*command, "--save-plan", "plan.json"]) == 0
    capsys.readouterr()
    assert main(["llm", "--plan", "plan.json", "--dry-run", "--format", "json"]) == 0
    cell = json.loads(capsys.readouterr().out)["plan"]["parameters"]["max_steps"]
    assert cell == {"value": 50, "source": "preset", "preset": "quick-look"}
