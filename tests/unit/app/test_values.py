"""What a form stands for: arguments, words of a process, and texts without secrets."""

from __future__ import annotations

import shlex

import pytest

from autotrain_llm.app.folders import Folders
from autotrain_llm.app.form import form_for, label_of
from autotrain_llm.app.values import OFFERED, as_text, read_form, with_changes
from autotrain_llm.cli.parser import read
from autotrain_llm.config.presets import read_preset
from autotrain_llm.config.registry import PARAMS, READS, TRAINERS, verdict
from autotrain_llm.config.resolved import PRESET, resolve


@pytest.fixture
def folders(tmp_path):
    return Folders((tmp_path,))


def test_the_words_of_the_process_mean_what_the_form_means(folders):
    form = {
        "trainer": "dpo",
        "model": "scratch:1m",
        "data_path": "my rows.jsonl",
        "lr": "1e-4",
        "epochs": "0.1234567890123",
        "peft": "true",
        "hub_private": "false",
        "target_modules": "q_proj, v_proj",
        "sweep_params": '{"lr": {"low": 1e-5, "high": 1e-3}}',
    }
    command = read_form(form, folders)
    assert command.findings == []
    assert read(command.words()).values == command.values
    assert read(shlex.split(command.text().replace("\\\n", ""))[2:]).values == command.values
    assert command.values["epochs"] == 0.1234567890123 and command.values["hub_private"] is False


def test_a_value_that_looks_like_a_flag_or_a_command_is_one_word(folders):
    text = "--push-to-hub; touch /tmp/x $(reboot)"
    command = read_form({"student_prompt_template": text}, folders)
    assert command.words() == [f"--student-prompt-template={text}"]
    assert read(command.words()).values == {"student_prompt_template": text}


def test_secrets_are_in_no_text_and_no_word_of_the_environment_of_others(folders):
    form = {"token": "hf_abcdefghijklmnop", "sweep_storage": "postgresql://me:secret-word@db/x", "lr": "1"}
    command = read_form(form, folders)
    texts = command.text() + command.config() + repr(command)
    assert "hf_abcdefghijklmnop" not in texts and "secret-word" not in command.text() + command.config()
    assert '--token "$HF_TOKEN"' in command.text() and '--sweep-storage "$SWEEP_STORAGE"' in command.text()
    assert command.environment() == {"HF_TOKEN": "hf_abcdefghijklmnop"}
    assert not any("hf_abc" in word for word in command.words())
    fields = [*form_for(form).first, *(field for section in form_for(form).more for field in section.fields)]
    assert {field.name: field.value for field in fields if field.control == "secret"} == {
        "token": "",
        "sweep_storage": "",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model", "/etc"),
        ("model", "../other@best"),
        ("data_path", "/etc/passwd"),
        ("data_path", "link.jsonl"),
        ("data_config", "../mix.yaml"),
        ("output_dir", "~/elsewhere"),
        ("chat_template", "/etc/hostname"),
        ("sweep_params", "../space.yaml"),
        ("rl_reward_fn", "/tmp/score.py:score"),
        ("rl_reward_fn", "score.py:score,../score.py:score"),
        ("rl_reward_model_path", "runs/a,/etc"),
        ("teacher_model", "/etc"),
        ("eval_metrics", "bleu,evaluate:/etc/metric.py"),
        ("cache_dir", "/var/cache"),
    ],
)
def test_a_path_outside_of_the_folders_is_a_finding_and_is_not_read(folders, tmp_path, name, text):
    (tmp_path / "link.jsonl").symlink_to("/etc/hostname")
    command = read_form({name: text}, folders)
    assert [finding.code for finding in command.findings] == ["P162"] and command.findings[0].parameters == (name,)
    assert name not in command.values and name in command.texts


def test_a_name_that_no_form_has_is_refused(folders):
    for name in ("config", "plan", "save_plan", "write_config", "resume_from_checkpoint", "nonsense"):
        with pytest.raises(KeyError):
            read_form({name: "x"}, folders)


def test_a_bad_value_is_a_finding_of_its_field(folders):
    assert [finding.parameters for finding in read_form({"lr": "fast", "epochs": " "}, folders).findings] == [("lr",)]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_form_of_a_trainer_has_what_it_reads_and_what_is_set(trainer):
    form = form_for({"trainer": trainer, "dpo_beta": "0.2"})
    names = [field.name for field in (*form.first, *(field for section in form.more for field in section.fields))]
    reads = {name for name in OFFERED if verdict(PARAMS[name], TRAINERS[trainer]) == READS} - {"trainer"}
    assert {*names} == reads | {"dpo_beta"} and len(names) == len({*names})
    needed = {field.name: field.needed for field in form.first if field.needed}
    assert all(any(name in needed for name in names.split("|")) for names in TRAINERS[trainer].requires)
    assert needed["lr"] == "required" and needed["epochs"] == "required, or --max-steps"
    assert [field.name for field in form.first][:2] == ["model", "data_path"]


def test_labels_are_words():
    names = ("lr", "lora_r", "data_path", "use_sweep", "rl_max_new_tokens")
    assert [label_of(name) for name in names] == [
        "Learning rate",
        "LoRA rank",
        "Data path",
        "Sweep",
        "RL max new tokens",
    ]


def test_a_fix_sets_and_clears_fields():
    assert with_changes({"lr": "5", "peft": "true"}, {"lr": 2e-5, "peft": None, "config": "x"}) == {"lr": "2e-5"}
    assert [as_text(value) for value in (True, None, ("a", "b"), {"a": 1}, 0.1 + 0.2)] == [
        "true",
        "",
        "a,b",
        '{"a": 1}',
        "0.30000000000000004",
    ]


def test_a_group_that_is_turned_on_has_its_settings_below_the_first_fields():
    def names(sections) -> dict[str, set[str]]:
        return {section.title: {field.name for field in section.fields} for section in sections}

    for switch, name in (("peft", "lora_r"), ("use_sweep", "sweep_n_trials")):
        off, on = form_for({"trainer": "sft"}), form_for({"trainer": "sft", switch: "true"})
        title = next(title for title, fields in names(off.more).items() if name in fields)
        assert name in names(on.on)[title] and title not in names(on.more) and title not in names(off.on)
        assert next(field for field in on.first if field.name == switch).remakes
    by_preset = form_for({"trainer": "sft", "preset": "qlora"})
    assert "lora_r" in {field.name for section in by_preset.on for field in section.fields}


@pytest.mark.parametrize("preset", PARAMS["preset"].choices)
def test_the_values_of_a_preset_are_shown_in_the_empty_fields(preset):
    trainer = read_preset(preset).trainer.name
    form = form_for({"trainer": trainer, "preset": preset, "model": "scratch:1m"})
    sections = (*form.on, *form.more)
    fields = {field.name: field for part in (form.first, *(section.fields for section in sections)) for field in part}
    values = resolve({"trainer": trainer, "preset": preset}).layer(PRESET).values
    shown = {name: value for name, value in values.items() if name in fields}
    assert shown
    for name, value in shown.items():
        text = ("on" if value else "off") if PARAMS[name].kind == "switch" else as_text(value)
        assert fields[name].default == f"preset: {text}"
        assert fields[name].control != "switch" or not value  # a box that isn't ticked would say that it is off
