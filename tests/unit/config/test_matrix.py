"""The matrix of the parameter guide, written down: which trainer reads what, and what becomes of what it doesn't read.

The cells stand here as the guide has them and are not computed from the declaration. A parameter that is added later is not the
guide's and needs no line here.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import resolve

# Those of the guide that this table was written from; a trainer that was added since has its declaration alone.
TRAINER_NAMES = ("generic", "sft", "dpo", "orpo", "kto", "reward", "ppo", "grpo")

# One letter for each trainer: R it reads the parameter, w a warning and the value is dropped, u the same because the trainer accepts
# it and has no use for it, E an error.
CELLS = {
    "model_ref": "wwRuRwww",
    "dpo_beta": "wwRwwwww",
    "orpo_alpha": "wwwRwwww",
    "kto_beta": "wwwwRwww",
    "kto_desirable_weight": "wwwwRwww",
    "kto_undesirable_weight": "wwwwRwww",
    "dpo_loss": "wwRwwwww",
    "max_prompt_length": "wwRRRwww",
    "max_completion_length": "wwRRRwww",
    "prompt_text_column": "wRRRRRww",
    "rejected_text_column": "wwRRRRww",
    "num_labels": "wwwwwRww",
    "label_smoothing": "wwRwwRww",
    "chat_template": "wRRRRRRR",
    "add_eos_token": "RRwwwwww",
    "max_seq_length": "wRwwwwww",
    "packing": "wRwwwwww",
    "response_only_loss": "wRwwwwww",
    "rl_reward_model_path": "wwwwwwRR",
    "rl_gamma": "wwwwwwRw",
    "rl_gae_lambda": "wwwwwwRw",
    "rl_kl_coef": "wwwwwwRR",
    "rl_value_loss_coef": "wwwwwwRw",
    "rl_clip_range": "wwwwwwRR",
    "rl_num_ppo_epochs": "wwwwwwRR",
    "rl_chunk_size": "wwwwwwRR",
    "rl_mini_batch_size": "wwwwwwRR",
    "use_distillation": "RRRREEEE",
    "teacher_model": "RRRRwwww",
    "teacher_prompt_template": "RRRRwwww",
    "student_prompt_template": "RRRRwwww",
    "distill_temperature": "RRRRwwww",
    "distill_alpha": "RRRRwwww",
}
FOR_ALL = [
    "trainer",
    "model",
    "tokenizer",
    "revision",
    "cache_dir",
    "offline",
    "trust_remote_code",
    "data_path",
    "train_split",
    "valid_split",
    "eval_dataset_path",
    "max_samples",
    "text_column",
    "lr",
    "epochs",
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "seed",
    "optimizer",
    "scheduler",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "mixed_precision",
    "gradient_checkpointing",
    "quantization",
    "attn_implementation",
    "shard",
    "distributed_backend",
    "block_size",
    "model_max_length",
    "peft",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "merge_adapter",
    "logging_steps",
    "log",
    "eval_strategy",
    "eval_steps",
    "eval_batch_size",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "load_best_model_at_end",
    "metric_for_best_model",
    "early_stopping_patience",
    "output_dir",
    "push_to_hub",
    "username",
    "token",
    "hub_private",
    "use_sweep",
    "sweep_backend",
    "sweep_n_trials",
    "sweep_metric",
    "sweep_direction",
    "sweep_params",
    "sweep_sampler",
    "sweep_pruner",
    "sweep_timeout",
    "sweep_keep",
    "sweep_storage",
    "sweep_name",
    "use_enhanced_eval",
    "eval_metrics",
    "eval_save_predictions",
    "eval_benchmark",
]
MATRIX = CELLS | dict.fromkeys(FOR_ALL, "RRRRRRRR")

# The defaults that the guide names.
DEFAULTS = {
    "gradient_accumulation": 1,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "seed": 42,
    "block_size": 1024,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "dpo_beta": 0.1,
    "max_prompt_length": 512,
    "max_completion_length": 1024,
    "orpo_alpha": 1.0,
    "num_labels": 1,
    "label_smoothing": 0.0,
    "rl_gamma": 0.99,
    "rl_gae_lambda": 0.95,
    "rl_kl_coef": 0.2,
    "rl_value_loss_coef": 0.5,
    "rl_clip_range": 0.2,
    "rl_num_ppo_epochs": 4,
    "rl_chunk_size": 128,
    "rl_mini_batch_size": 32,
}
REQUIRED = {
    "generic": "model data_path lr epochs batch_size",
    "sft": "model data_path lr epochs batch_size",
    "dpo": "model data_path lr epochs batch_size prompt_text_column rejected_text_column",
    "orpo": "model data_path lr epochs batch_size prompt_text_column rejected_text_column",
    "kto": "model data_path lr epochs batch_size",
    "reward": "model data_path lr epochs batch_size",
    "ppo": "model data_path lr epochs batch_size rl_reward_model_path",
    "grpo": "model data_path lr epochs batch_size rl_reward_model_path",
}
# A value other than the default, where the first of these that fits the kind isn't one.
OTHERWISE = {"switch": True, "int": 7, "float": 0.25, "str": "other", "list": ("other",), "json": {"lr": [1e-5, 1e-4]}}
VERDICT = {"P101": "w", "P107": "u", "P112": "E"}


def checked(values: dict[str, Any]) -> Checked:
    return preflight(resolve(values))


def verdict(trainer: str, name: str, value: Any) -> str:
    """The cell that the findings about one given parameter amount to."""
    found = checked({"trainer": trainer, name: value}).findings
    cells = [VERDICT[finding.code] for finding in found if finding.code in VERDICT and finding.parameters == (name,)]
    assert len(cells) <= 1
    return cells[0] if cells else "R"


def otherwise(name: str) -> Any:
    param = PARAMS[name]
    if param.choices:
        return next(choice for choice in param.choices if choice != param.default)
    return not param.default if param.kind == "switch" else OTHERWISE[param.kind]


def test_every_trainer_and_parameter_of_the_guide_is_there():
    assert tuple(name for name in TRAINERS if name in TRAINER_NAMES) == TRAINER_NAMES
    assert set(MATRIX) <= set(PARAMS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_the_one_of_the_guide(name):
    assert PARAMS[name].default == DEFAULTS[name]


@pytest.mark.parametrize("name", [name for name in MATRIX if name != "trainer"])
def test_what_is_given_gets_the_verdict_of_the_guide_whatever_its_value(name):
    for trainer, cell in zip(TRAINER_NAMES, MATRIX[name], strict=True):
        default = PARAMS[name].default
        if default is not None:
            at_default = "R" if cell == "E" else cell  # a mixin that is switched off asks for nothing
            assert verdict(trainer, name, default) == at_default, trainer
        assert verdict(trainer, name, otherwise(name)) == cell, trainer


@pytest.mark.parametrize("trainer", TRAINER_NAMES)
def test_what_is_absent_draws_nothing_but_what_is_missing(trainer):
    codes = [finding.code for finding in checked({"trainer": trainer}).findings]
    assert [code for code in codes if code != "P113"] == ["P201"]


@pytest.mark.parametrize("trainer", TRAINER_NAMES)
def test_everything_that_is_missing_is_named_in_one_go_with_a_usual_value(trainer):
    (missing,) = [finding for finding in checked({"trainer": trainer}).findings if finding.code == "P201"]
    assert missing.parameters == tuple(REQUIRED[trainer].split())
    said = read(shlex.split(f"--trainer {trainer} {missing.fix}"))
    assert said.findings == [] and set(said.values) == {"trainer", *missing.parameters}
    known = {"config": resolve(said.values), "trainer": TRAINERS[trainer], "mistyped": (), "trainer_is_known": True}
    assert list(RULES["P201"].check(known)) == []


def test_the_usual_learning_rate_is_higher_with_lora():
    rates = [
        next(f.fix for f in checked({"trainer": "sft", "peft": peft}).findings if f.code == "P201")
        for peft in (False, True)
    ]
    assert "--lr 2e-05" in rates[0] and "--lr 0.0002" in rates[1]


@pytest.mark.parametrize("trainer", TRAINER_NAMES)
def test_the_usual_learning_rate_of_a_new_model_is_that_of_random_weights(trainer):
    found = checked({"trainer": trainer, "model": "scratch:1m"}).findings
    assert "--lr 0.001 " in next(f.fix for f in found if f.code == "P201")


@pytest.mark.parametrize("trainer", ["generic", "sft"])
def test_a_run_with_what_is_ignored_is_the_run_without_it(trainer, light_llama: Path, chat_rows: Path, text_rows: Path):
    rows = text_rows if trainer == "generic" else chat_rows
    command = {"trainer": trainer, "model": str(light_llama), "data_path": str(rows), "lr": 1e-4, "epochs": 1.0}
    command |= {"batch_size": 4, "dry_run": True}
    base = checked(command)
    assert base.plan is not None and base.findings == ()
    column = TRAINER_NAMES.index(trainer)
    foreign = [name for name, cells in MATRIX.items() if cells[column] in "wu"]
    switched_off = ["lora_r", "lora_alpha", "lora_dropout", "target_modules", "merge_adapter"]
    switched_off += ["teacher_model", "distill_alpha", "sweep_n_trials", "sweep_params", "eval_metrics"]
    for name in foreign + switched_off:
        for value in {str(value): value for value in (PARAMS[name].default, otherwise(name))}.values():
            if value is None:
                continue
            got = checked({**command, name: value})
            assert got.plan is not None, (name, got.findings)
            assert [(f.severity, f.parameters) for f in got.findings] == [("warning", (name,))]
            assert got.plan.as_json() == base.plan.as_json() | {"ignored": [name]}


# ---- the words of the guide


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("--trainer sft --dpo-beta 0.1", "Warning: dpo_beta only applies to DPO trainer, will be ignored"),
        ("--trainer ppo --use-distillation", "Error: Distillation is not supported with PPO trainer"),
        ("--trainer reward --use-distillation", "Error: Distillation is not supported with Reward trainer"),
        (
            "--trainer orpo --model-ref other",
            "Warning: model_ref has no effect with ORPO trainer: ORPO has no reference model, will be ignored",
        ),
        ("--trainer dpo --rl-gamma 0.9", "Warning: rl_gamma only applies to PPO trainer, will be ignored"),
        (
            "--trainer sft --max-prompt-length 512",
            "Warning: max_prompt_length only applies to DPO, ORPO and KTO trainers, will be ignored",
        ),
        (
            "--trainer generic --rejected-text-column bad",
            "Warning: rejected_text_column only applies to DPO, ORPO, KTO and Reward trainers, will be ignored",
        ),
    ],
)
def test_a_line_of_the_answer_begins_with_the_words_of_the_guide(command, line, capsys):
    assert main(["llm", *shlex.split(command)]) == 2  # the commands lack a model and data
    lines = capsys.readouterr().err.splitlines()
    assert len([got for got in lines if got.startswith(line)]) == 1


@pytest.mark.parametrize(
    ("command", "code", "severity", "words"),
    [
        ("--trainer sft --advanced", "P110", "warning", "remove the --advanced flag"),
        ("--trainer distillation", "P103", "error", "--trainer sft --use-distillation --teacher-model"),
        ("--trainer sft --train", "P110", "warning", "no effect"),
        ("--trainer sft --padding right", "P110", "warning", "no effect"),
        ("--trainer sft --backend spaces-a10g-large", "P110", "warning", "this machine"),
        ("--trainer sft --unsloth", "P110", "warning", "no effect"),
        ("--trainer sft --auto-find-batch-size", "P110", "warning", "batch size"),
        ("--trainer sft --optimizer adamw_hf", "P111", "warning", "adamw_torch"),
        ("--trainer sft --num-train-epochs 3", "P102", "error", "--epochs 3"),
        ("--trainer sft --train-batch-size 3", "P102", "error", "--batch-size 3"),
        ("--trainer sft --use-peft", "P102", "error", "--peft"),
        ("--trainer sft --lerning-rte 3", "P104", "error", "there is no parameter"),
        ("--trainer sftt", "P303", "error", "--trainer sft"),
    ],
)
def test_what_older_and_other_commands_say_is_answered(command, code, severity, words):
    (finding,) = read(shlex.split(command)).findings
    assert (finding.code, finding.severity) == (code, severity)
    assert words in f"{finding.message} {finding.fix}"


@pytest.mark.parametrize("command", ["--backend local", "--train false", "--padding false", "--unsloth false"])
def test_a_harmless_value_of_an_accepted_flag_draws_no_word(command):
    assert read(shlex.split(command)).findings == []


def test_an_accepted_flag_that_stands_for_another_sets_it():
    assert read(["--disable-gradient-checkpointing"]).values == {"gradient_checkpointing": False}
    assert read(["--use-flash-attention-2"]).values == {"attn_implementation": "flash_attention_2"}
    assert read(["--disable-gradient-checkpointing", "--gradient-checkpointing"]).values["gradient_checkpointing"]
