"""What a user writes as a search space, what it is taken for, and what is searched where nothing is written."""

from __future__ import annotations

import json

import pytest

from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.metric_choice import best_metric, measures_divergence, metric_directions
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import resolve
from autotrain_llm.config.search_space import own_values, spaces_of, study_name, without_password
from autotrain_llm.context.machine import machine_for
from autotrain_llm.declare.param import Search
from autotrain_llm.declare.search import describe, read_space

LR, BATCH = PARAMS["lr"], PARAMS["batch_size"]


def config_of(**flags):
    said = parse_kwargs(flags)
    assert said.findings == []
    return resolve(said.values)


# ---- forms that people write


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"type": "float", "low": 1e-5, "high": 1e-3, "log": True}, Search(1e-5, 1e-3, is_log=True)),
        ({"type": "loguniform", "low": 1e-5, "high": 1e-3}, Search(1e-5, 1e-3, is_log=True)),
        ({"min": 1e-5, "max": 1e-3}, Search(1e-5, 1e-3)),
        ({"min": 1e-5, "max": 1e-3, "scale": "log"}, Search(1e-5, 1e-3, is_log=True)),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}, Search(1e-5, 1e-3, is_log=True)),
        ({"distribution": "uniform", "min": 1e-5, "max": 1e-3}, Search(1e-5, 1e-3)),
        ({"distribution": "q_uniform", "min": 1e-5, "max": 1e-3, "q": 1e-5}, Search(1e-5, 1e-3, step=1e-5)),
        ([1e-5, 1e-3, "log"], Search(1e-5, 1e-3, is_log=True)),
        ([1e-5, 1e-3, "linear"], Search(1e-5, 1e-3)),
        ([1e-5, 1e-3], Search(choices=(1e-5, 1e-3))),
        ({"type": "categorical", "choices": [1e-5, 1e-4]}, Search(choices=(1e-5, 1e-4))),
        ({"values": [1e-5, 1e-4]}, Search(choices=(1e-5, 1e-4))),
        ({"value": 1e-4}, Search(choices=(1e-4,))),
    ],
)
def test_a_space_is_understood_in_every_form_that_people_write(written, meant):
    assert read_space(LR, written) == (meant, [])


def test_values_are_of_the_parameters_kind():
    assert read_space(BATCH, [2, 4.0, 4]) == (Search(choices=(2, 4)), [])
    assert read_space(BATCH, [2, 16, "int"]) == (Search(2, 16), [])
    assert read_space(BATCH, {"low": 2, "high": 16, "step": 2}) == (Search(2, 16, step=2), [])
    assert read_space(PARAMS["target_modules"], ["all-linear", ["q_proj", "v_proj"]])[0] == Search(
        choices=(("all-linear",), ("q_proj", "v_proj"))
    )
    assert read_space(PARAMS["use_dora"], [True, False]) == (Search(choices=(True, False)), [])


@pytest.mark.parametrize(
    ("written", "word", "fix"),
    [
        ({"low": 1e-3, "high": 1e-5}, "not below", '"low": 1e-05, "high": 0.001'),
        ({"hihg": 1, "low": 0.1}, "hihg", '"high"'),
        ({"type": "normal", "mu": 0}, "normal", "one of float"),
        ({"distribution": "log_uniform", "min": -5, "max": -3}, "exponents", "log_uniform_values"),
        ({"low": 1e-5, "high": 1e-3, "log": True, "step": 1e-5}, "no steps", "remove"),
        ({"low": 1e-5, "high": 1e-3, "step": -1}, "above 0", None),
        ({"low": 1e-5}, "neither a list of choices nor a range", "low"),
        (["1e-5"], "string where a number belongs", "1e-5 without quotes"),
        ([0], "must be above 0", None),
        (3e-4, "neither a list", "type"),
    ],
)
def test_what_can_not_be_meant_is_said_with_what_to_write(written, word, fix):
    search, faults = read_space(LR, written)
    assert search is None and any(word in fault for fault, _ in faults)
    assert fix is None or any(fix in (offered or "") for _, offered in faults)


def test_a_logarithmic_range_begins_above_zero():
    search, faults = read_space(PARAMS["weight_decay"], {"low": 0, "high": 0.1, "log": True})
    assert search is None and "above 0" in faults[0][0]


def test_a_parameter_that_is_no_number_has_choices_and_no_range():
    assert read_space(PARAMS["scheduler"], {"low": 1, "high": 2})[0] is None
    assert read_space(PARAMS["scheduler"], ["linear", "cosin"])[0] is None
    assert read_space(PARAMS["scheduler"], ["linear", "cosine"])[0] == Search(choices=("linear", "cosine"))


def test_a_space_is_told_in_a_few_words():
    assert describe(Search(1e-5, 1e-3, is_log=True)) == "1e-5 to 0.001, log"
    assert describe(Search(choices=(2, 4, 8))) == "2, 4 or 8"
    assert describe(Search(choices=(2,))) == "2"


# ---- where it is written


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_file_holds_the_spaces_as_well(tmp_path, suffix):
    text = '{"lr": {"min": 1e-5, "max": 1e-3}}' if suffix == "json" else "lr:\n  min: 1e-5\n  max: 1e-3\n"
    path = tmp_path / f"space.{suffix}"
    path.write_text(text)
    config = config_of(trainer="sft", use_sweep=True, sweep_params=str(path))
    assert spaces_of(config) == {"lr": Search(1e-5, 1e-3)}


def test_a_file_of_a_whole_sweep_of_wandb_is_read_for_its_parameters(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("parameters:\n  batch-size:\n    values: [2, 4]\n")
    config = config_of(trainer="sft", use_sweep=True, sweep_params=str(path))
    assert spaces_of(config) == {"batch_size": Search(choices=(2, 4))}


def test_a_file_that_is_not_there_is_said(tmp_path):
    (finding,) = parse_kwargs({"sweep_params": str(tmp_path / "none.yaml")}).findings
    assert finding.code == "P302" and "No such file" in finding.message


def test_a_config_file_may_hold_numbers_as_people_write_them(tmp_path):
    from autotrain_llm.config.file import read_config

    path = tmp_path / "run.yaml"
    path.write_text("trainer: sft\nuse_sweep: true\nlr: 2e-5\nsweep_params:\n  lr: [1e-5, 1e-3, log]\n")
    said = read_config(str(path))
    assert said.findings == [] and said.values["lr"] == 2e-5
    assert spaces_of(resolve({}, said.values)) == {"lr": Search(1e-5, 1e-3, is_log=True)}


@pytest.mark.parametrize("name", ["sweep_params", "sweep-params"])
def test_ranges_may_stand_in_a_section_of_parameters(name, tmp_path):
    from autotrain_llm.config.file import read_config

    path = tmp_path / "run.yaml"
    path.write_text(f"task: llm-sft\nparams:\n  use_sweep: true\n  lr: 2e-5\n  {name}:\n    lr: [1e-5, 1e-3, log]\n")
    said = read_config(str(path))
    assert said.findings == []
    assert spaces_of(resolve({}, said.values)) == {"lr": Search(1e-5, 1e-3, is_log=True)}


# ---- where nothing is written


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_has_a_space_of_its_own_that_holds_the_users_learning_rate(name):
    config = config_of(trainer=name, use_sweep=True, lr=3e-8, batch_size=4)
    spaces = spaces_of(config)
    assert {"lr", "batch_size"} <= set(spaces) and "lora_r" not in spaces
    assert spaces["lr"].low <= 3e-8 and spaces["lr"].high <= TRAINERS[name].learning_rates["full"][1]


def test_what_is_switched_off_is_not_searched():
    assert "lora_r" in spaces_of(config_of(trainer="sft", use_sweep=True, lr=1e-4, peft=True))
    assert "distill_alpha" not in spaces_of(config_of(trainer="sft", use_sweep=True, lr=1e-4))


def test_what_the_metric_is_made_with_is_not_searched_unless_the_metric_stands_it():
    flags = {"trainer": "dpo", "use_sweep": True, "lr": 1e-6}
    assert "dpo_beta" not in spaces_of(config_of(**flags))
    assert "dpo_beta" not in spaces_of(config_of(**flags, sweep_metric="eval_rewards/margins"))
    assert "dpo_beta" in spaces_of(config_of(**flags, sweep_metric="eval_rewards/accuracies"))


def test_a_new_model_is_searched_at_rates_that_it_can_learn_at():
    space = spaces_of(config_of(trainer="sft", model="scratch:1m", use_sweep=True, lr=1e-3))["lr"]
    assert (space.low, space.high, space.is_log) == (1e-4, 1e-2, True)


def test_the_commands_own_values_are_known_unless_it_leaves_one_open():
    config = config_of(trainer="sft", use_sweep=True, lr=1e-3, batch_size=4)
    assert own_values(config, {"lr": Search(1e-4, 1e-2), "batch_size": Search(choices=(2, 8))}) == {
        "lr": 1e-3,
        "batch_size": 4,
    }
    assert own_values(config, {"epochs": Search(1, 3)}) is None


# ---- names and metrics


def test_metrics_and_their_directions_are_the_trainers_own_and_those_of_enhanced_evaluation():
    for trainer in TRAINERS.values():
        config = config_of(trainer=trainer.name)
        # Without a penalty on it, the divergence from the reference model is not measured.
        unknown = {"kl", "objective/kl"} if trainer.samples and not measures_divergence(config) else set()
        expected = {f"eval_{name}": better for name, better in trainer.metrics.items() if name not in unknown}
        assert metric_directions(config) == expected
    enhanced = metric_directions(config_of(trainer="sft", use_enhanced_eval=True, eval_metrics="bleu"))
    assert enhanced["eval_bleu"] == "maximize" and "eval_chrf" not in enhanced
    taught = metric_directions(config_of(trainer="sft", use_distillation=True))
    assert taught["eval_task_loss"] == taught["eval_distill_loss"] == "minimize"
    alone = metric_directions(config_of(trainer="sft", use_distillation=True, distill_alpha=0.0))
    assert "eval_task_loss" not in alone


def test_a_sweeps_checkpoints_are_chosen_by_what_its_trials_are_compared_by():
    flags = {"trainer": "sft", "load_best_model_at_end": True, "sweep_metric": "eval_token_accuracy"}
    assert best_metric(config_of(**flags)) == ("eval_loss", "minimize")
    assert best_metric(config_of(**flags, use_sweep=True)) == ("eval_token_accuracy", "maximize")
    assert best_metric(config_of(**flags, use_sweep=True, metric_for_best_model="perplexity"))[0] == "eval_perplexity"


def test_the_same_command_is_the_same_sweep_wherever_and_however_long_it_goes():
    flags = {"trainer": "sft", "lr": 1e-4, "use_sweep": True, "sweep_params": {"lr": [1e-4, 2e-4]}}
    name = study_name(config_of(**flags))
    elsewhere = {"output_dir": "other", "sweep_n_trials": 99, "sweep_storage": "postgresql://u:p@h/d", "resume": True}
    assert study_name(config_of(**flags, **elsewhere)) == name
    assert study_name(config_of(**{**flags, "lr": 2e-4})) != name
    assert study_name(config_of(**{**flags, "sweep_params": {"lr": [1e-4, 3e-4]}})) != name
    assert study_name(config_of(**flags, sweep_name="mine")) == "mine"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:se:cr@t@host:5432/studies", "postgresql://me:***@host:5432/studies"),
        ("postgresql+psycopg://me:a/b#c?d@host/x", "postgresql+psycopg://me:***@host/x"),
        ("postgresql://me@host/studies", "postgresql://me@host/studies"),
        ("postgresql:///studies?host=/tmp&password=secret", "postgresql:///studies?host=/tmp&password=***"),
        ("sqlite:///study.db", "sqlite:///study.db"),
    ],
)
def test_no_password_is_part_of_what_is_shown(url, shown):
    assert without_password(url) == shown


def test_the_plan_is_json_and_holds_the_space_with_the_users_own_value(light_llama, chat_rows):
    from autotrain_llm import plan

    made = plan(
        trainer="sft", model=str(light_llama), data_path=str(chat_rows), lr=1e-4, epochs=1, batch_size=3,
        use_sweep=True, sweep_params={"batch-size": [2, 4], "lr": {"min": 1e-5, "max": 1e-3}},
        sweep_storage="sqlite:///secret.db",
    )  # fmt: skip
    sweep = json.loads(json.dumps(made.as_json()))["sweep"]
    assert sweep["space"]["batch_size"] == {"choices": [3, 2, 4], "added": 1}
    assert sweep["own"] == {"batch_size": 3, "lr": 1e-4} and sweep["direction"] == "minimize"
    assert made.data.eval_rows > 0 and sweep["held_out"] == "0.1"
    assert "secret.db" not in json.dumps(made.as_json()["parameters"])


# ---- what can't be searched, or not with these values


def refused_values(**flags):
    config = config_of(trainer="sft", use_sweep=True, **flags)
    known = {"config": config, "trainer": config.trainer_spec, "machine": machine_for(None, elsewhere=False)}
    return list(RULES["P615"].check(known))


def test_a_value_that_the_command_would_be_refused_with_is_named():
    (finding,) = refused_values(sweep_params={"quantization": ["int4", None]})
    assert finding.severity == "warning" and "quantization int4" in finding.message
    (finding,) = refused_values(sweep_params={"quantization": ["int4"]})
    assert finding.severity == "error"
    assert refused_values(sweep_params={"lr": [1e-5, 1e-4], "lora_r": [4, 8]}, peft=True) == []


@pytest.mark.parametrize("lr", [[2, 10], {"low": 0.1, "high": 10}, [1e-12, 1e-11]])
def test_rates_that_all_are_far_off_are_said(lr):
    def found(**flags):
        config = config_of(trainer="sft", use_sweep=True, **flags)
        return list(RULES["P617"].check({"config": config, "trainer": config.trainer_spec}))

    (finding,) = found(sweep_params={"lr": lr})
    assert finding.severity == "warning" and "is typical" in finding.message
    usual = json.loads("{" + finding.fix.removesuffix(" in --sweep-params") + "}")
    assert (
        found(sweep_params=usual)
        == found(sweep_params={"lr": [1e-5, 10]})
        == found(sweep_params={"lora_r": [4, 8]})
        == []
    )
    assert found(sweep_params={"lr": lr}, model="scratch:1m") == []


@pytest.mark.parametrize("name", ["model", "tokenizer", "data_path", "text_column", "eval_metrics", "log"])
def test_what_trials_are_compared_on_is_not_searched(name):
    config = config_of(trainer="sft", use_sweep=True, sweep_params={name: ["a", "b"]})
    (finding,) = RULES["P601"].check({"config": config, "trainer": config.trainer_spec})
    assert "must be the same for all trials" in finding.message and "lr" in finding.message


def test_a_name_of_another_tool_is_answered_with_ours():
    config = config_of(trainer="sft", use_sweep=True, sweep_params={"learning_rate": [1e-5, 1e-4]})
    (finding,) = RULES["P601"].check({"config": config, "trainer": config.trainer_spec})
    assert finding.changes == {"sweep_params": {"lr": [1e-5, 1e-4]}}


@pytest.mark.parametrize(
    ("url", "drawn"), [("sqlite://study.db", 1), ("sqlite:///study.db", 0), ("sqlite:////s.db", 0)]
)
def test_the_address_of_an_sqlite_file_has_three_slashes(url, drawn):
    config = config_of(trainer="sft", use_sweep=True, sweep_storage=url)
    assert len(list(RULES["P610"].check({"config": config, "machine": machine_for(None, elsewhere=False)}))) == drawn


WANDB = """program: train.py
method: random
metric:
  name: eval/loss
  goal: minimize
early_terminate:
  type: hyperband
parameters:
  lr:
    distribution: log_uniform_values
    min: 1e-5
    max: 1e-3
"""


def test_a_whole_sweep_config_of_wandb_is_one_finding_with_the_flags_for_its_settings(tmp_path):
    from autotrain_llm import check

    path = tmp_path / "sweep.yaml"
    path.write_text(WANDB)
    sweep = {"trainer": "sft", "use_sweep": True, "sweep_params": str(path)}
    found = [finding for finding in check(**sweep) if finding.code != "P201"]
    assert [finding.code for finding in found] == ["P618"]
    assert "program, method, metric, early_terminate are not read" in found[0].message
    assert found[0].changes["sweep_sampler"] == "random" and found[0].changes["sweep_metric"] == "eval_loss"
    assert [finding.code for finding in check(**{**sweep, **found[0].changes})] == ["P201"]


def test_a_sweep_config_of_wandb_is_no_config_of_a_training(tmp_path):
    from autotrain_llm import check

    path = tmp_path / "sweep.yaml"
    path.write_text(WANDB)
    (finding,) = check(config=str(path))
    assert finding.code == "P106" and f"--use-sweep --sweep-params {path}" in str(finding.fix)
