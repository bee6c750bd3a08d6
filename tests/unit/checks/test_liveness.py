"""There are no decorative flags: what a trainer reads is looked at when the plan is made, and another value makes another plan."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import autotrain_llm
from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.registry import GROUP, METRICS, PARAMS, READS, TRAINERS, verdict
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import Gpu, Machine
from autotrain_llm.declare.param import Param
from support.light_models import build_light_model
from support.rows import COLOURS, questions, write_rows

SOURCE = Path(autotrain_llm.__file__).parent
AVAILABLE = [trainer.name for trainer in TRAINERS.values() if trainer.recipe]
COMMANDS = [param for param in PARAMS.values() if param.command]
PARTS_THAT_ONLY_REPEAT = ("parameters", "ignored")

# Flags that open the branches in which the others are looked at.
EVERYTHING_ON = {
    "distributed_backend": "ddp",
    "peft": True,
    "push_to_hub": True,
    "hub_private": False,
    "valid_split": "0.25",
}
EVERYTHING_ON |= {"log": "tensorboard", "use_sweep": True, "use_enhanced_eval": True, "load_best_model_at_end": True}
TAUGHT = {"use_distillation": True, "teacher_model": "{other_model}"}

# Another value than the default for each parameter, and the flags without which it would have nothing to act on.
EVALUATING = {"valid_split": "0.25"}
BY_STEPS = {**EVALUATING, "eval_strategy": "steps", "save_strategy": "steps"}
SHARING = {"push_to_hub": True}
CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "tracker_project": ("mine", {"log": "tensorboard"}),
    "run_name": ("first", {"log": "tensorboard"}),
    "model": ("{other_model}", {}),
    "tokenizer": ("{other_model}", {}),
    "revision": ("v2", {}),
    "cache_dir": ("{folder}/cache", {}),
    "offline": (True, {}),
    "trust_remote_code": (True, {}),
    "data_path": ("{other_rows}", {}),
    "data_config": ("{mixture}", {}),
    "train_split": ("test", {"data_path": "{splits}"}),
    "valid_split": ("0.25", {}),
    "eval_dataset_path": ("{other_rows}", {}),
    "max_samples": (20, {}),
    "streaming": (True, {"max_steps": 2}),
    "stream_buffer": (5, {"max_steps": 2, "streaming": True}),
    "text_column": ("other", {"data_path": "{columns}"}),
    "prompt_text_column": ("question", {"data_path": "{prompts}"}),
    "context_columns": ("other", {"data_path": "{columns}"}),
    "ignore_columns": ("other", {"data_path": "{columns}"}),
    "reasoning_column": ("other", {"data_path": "{columns}"}),
    "lr": (3e-4, {}),
    "epochs": (3, {}),
    "max_steps": (5, {}),
    "batch_size": (3, {}),
    "gradient_accumulation": (2, {}),
    "global_batch": (8, {}),
    "num_processes": (2, {"target_memory": "80GiB"}),
    "num_nodes": (2, {"head_address": "node-1", "output_dir": "{folder}/run"}),
    "head_address": ("node-2", {"head_address": "node-1", "num_nodes": 2, "output_dir": "{folder}/run"}),
    "max_restarts": (2, {}),
    "context_parallel": (2, {"num_processes": 2, "target_memory": "80GiB"}),
    "seed": (7, {}),
    "optimizer": ("sgd", {}),
    "scheduler": ("cosine", {}),
    "min_lr_ratio": (0.1, {"scheduler": "cosine"}),
    "polynomial_power": (2.0, {"scheduler": "polynomial"}),
    "decay_ratio": (0.5, {"scheduler": "warmup_stable_decay", "max_steps": 20}),
    "decay_shape": ("linear", {"scheduler": "warmup_stable_decay"}),
    "galore_rank": (2, {"optimizer": "galore_adamw"}),
    "galore_update_steps": (2, {"optimizer": "galore_adamw"}),
    "warmup_ratio": (0.4, {"max_steps": 50}),
    "weight_decay": (0.5, {}),
    "max_grad_norm": (0.5, {}),
    "mixed_precision": ("fp16", {}),
    "gradient_checkpointing": (True, {}),
    "target_memory": ("24GiB", {}),
    "quantization": ("int4", {"peft": True}),
    "attn_implementation": ("eager", {}),
    "block_size": (24, {}),
    "model_max_length": (24, {}),
    "chat_template": ("llama3", {}),
    "token_weights": ({"?": 10}, {}),
    "add_eos_token": (False, {}),
    "peft": (True, {}),
    "lora_r": (4, {"peft": True}),
    "lora_alpha": (64.0, {"peft": True}),
    "lora_dropout": (0.5, {"peft": True}),
    "lora_init": ("gaussian", {"peft": True}),
    "lora_plus_ratio": (4.0, {"peft": True}),
    "fused_lora": ("off", {"peft": True}),
    "target_modules": ("q_proj", {"peft": True}),
    "trainable_tokens": ("5", {"peft": True}),
    "merge_adapter": (True, {"peft": True}),
    "logging_steps": (3, {}),
    "log": ("tensorboard", {}),
    "eval_strategy": ("steps", EVALUATING),
    "eval_steps": (3, {**BY_STEPS, "save_steps": 6}),
    "eval_batch_size": (2, EVALUATING),
    "eval_batches": (1, {**EVALUATING, "eval_batch_size": 2, "block_size": 32}),
    "save_strategy": ("no", {}),
    "save_steps": (7, {"save_strategy": "steps"}),
    "save_total_limit": (1, {}),
    "load_best_model_at_end": (True, EVALUATING),
    "metric_for_best_model": ("eval_perplexity", {**EVALUATING, "load_best_model_at_end": True}),
    "early_stopping_patience": (2, EVALUATING),
    "output_dir": ("{folder}/run", {}),
    "push_to_hub": (True, {}),
    "username": ("someone", SHARING),
    "token": ("hf_given", SHARING),
    "hub_private": (False, SHARING),
    "max_seq_length": (24, {}),
    "packing": (True, {}),
    "response_only_loss": (False, {}),
    "rejected_text_column": ("worse", {}),
    "label_smoothing": (0.1, {}),
    "model_ref": ("{other_model}", {}),
    "use_distillation": (True, {"teacher_model": "{other_model}"}),
    "teacher_model": ("{model}", TAUGHT),
    "teacher_prompt_template": ("Q: {prompt}", TAUGHT),
    "student_prompt_template": ("Q: {prompt}", TAUGHT),
    "distill_temperature": (1.0, TAUGHT),
    "distill_alpha": (0.9, TAUGHT),
    "distill_loss": ("jsd", TAUGHT),
    "distill_cache": (True, TAUGHT),
    "distill_top_k": (8, {**TAUGHT, "distill_cache": True}),
    "teacher_quantization": ("int4", TAUGHT),
    "rl_reward_model_path": ("{scorer}", {}),
    "rl_reward_fn": ("{other_score}", {}),
    "rl_reward_weights": ("2", {}),
    "rl_kl_target": (6.0, {"rl_kl_coef": 0.1}),
    "spo_rho_max": (0.9, {}),
    "rl_value_model": ("separate", {}),
    "rl_chunk_size": (16, {"rl_mini_batch_size": 8}),
    "sweep_metric": ("eval_perplexity", {"use_sweep": True}),
    "sweep_params": ({"lr": [1e-4, 3e-4]}, {"use_sweep": True}),
    "sweep_sampler": ("random", {"use_sweep": True}),
    "sweep_timeout": (60, {"use_sweep": True}),
    "sweep_storage": ("sqlite:///study.db", {"use_sweep": True}),
    "sweep_name": ("mine", {"use_sweep": True, "sweep_storage": "sqlite:///study.db"}),
}
# Of a metric that compares generated texts, in an encoder.
MEASURED = {**EVALUATING, "use_enhanced_eval": True}
ANSWERING = {**MEASURED, "eval_metrics": "bertscore", "eval_bertscore_model": "{encoder}"}
CHANGES |= {
    "use_enhanced_eval": (True, EVALUATING),
    "eval_metrics": (None, MEASURED),
    "eval_save_predictions": (True, MEASURED),
    "eval_benchmark": ("{task}", MEASURED),
    "eval_samples": (3, ANSWERING),
    "eval_max_new_tokens": (3, ANSWERING),
    "eval_temperature": (0.5, ANSWERING),
    "eval_bertscore_model": ("{other_encoder}", ANSWERING),
    "eval_bertscore_layer": (1, {**ANSWERING, "eval_bertscore_model": "{other_encoder}"}),
}
# An end token changes rows whose ends are the tokenizer's business: texts, not turns that a template ends.
ON_TEXTS = {"sft": {"add_eos_token": {"data_path": "{columns}"}}}
CHANGES_OF_TRAINER = {name: {} for name in AVAILABLE} | ON_TEXTS
CHANGES_OF_PAIRS = {"text_column": "better", "context_columns": "question", "ignore_columns": "question"}
# Sizes of a phase divide one another.
CHANGES_OF_SAMPLES = {"batch_size": 2, "rl_chunk_size": 16}
# What samples needs something that scores.
SAMPLING = [name for name in AVAILABLE if TRAINERS[name].samples]
# Trainers of pairs read other rows than those of texts and answers.
PAIRED = [name for name in AVAILABLE if TRAINERS[name].rows in ("preferences", "scored")]
COLUMNS_OF_PAIRS = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}


@pytest.fixture(scope="module")
def places(tmp_path_factory, light_llama, light_teacher, light_scorer, light_encoder) -> dict[str, str]:
    """What the words in braces stand for. Nothing is written there by a check."""
    folder = tmp_path_factory.mktemp("places")
    task = folder / "task.yaml"
    task.write_text("task: mine\n")
    splits = folder / "splits"
    splits.mkdir()
    write_rows(splits / "train.jsonl", questions(30))
    write_rows(splits / "test.jsonl", questions(20))
    texts = [{"text": f"Line {n}. The {COLOURS[n % 8]} one is before the {COLOURS[n % 5]} one."} for n in range(48)]
    numbers = range(30)
    columns = [{"text": f"first text number {n}", "other": f"a second one, longer, number {n}"} for n in numbers]
    prompts = [{"prompt": f"what is {n}", "question": f"a longer {n}", "completion": f"it is {n}"} for n in numbers]
    paired = [
        {"prompt": f"what is {n}", "chosen": f"it is {n}", "rejected": "it is not", "question": f"a longer {n}"}
        | {"better": f"it is the number {n}", "worse": f"it is not the number {n}"}
        for n in numbers
    ]
    split_pairs = folder / "split pairs"
    split_pairs.mkdir()
    write_rows(split_pairs / "train.jsonl", paired[:20])
    write_rows(split_pairs / "test.jsonl", paired[20:])
    pairs = str(write_rows(folder / "pairs.jsonl", paired))
    prompts_file = write_rows(folder / "prompts.jsonl", prompts)
    scorers = folder / "scorers.py"
    scorers.write_text("def score(completions, **rest): return [0] * len(completions)\nother_score = score\n")
    return {
        **dict.fromkeys((*PAIRED, "pairs:columns", "pairs:prompts"), pairs),
        "pairs:splits": str(split_pairs),
        "pairs:other_rows": str(write_rows(folder / "other pairs.jsonl", paired[:12])),
        **dict.fromkeys(SAMPLING, str(prompts_file)),
        "score": f"{scorers}:score",
        "other_score": f"{scorers}:other_score",
        "scorer": str(light_scorer),
        "folder": str(folder),
        "encoder": str(light_encoder),
        "other_encoder": str(build_light_model(folder / "encoder", model_type="bert", num_hidden_layers=3)),
        "task": str(task),
        "model": str(light_llama),
        "other_model": str(light_teacher),
        "sft": str(write_rows(folder / "chat.jsonl", questions(48))),
        "generic": str(write_rows(folder / "text.jsonl", texts)),
        "other_rows": str(write_rows(folder / "other.jsonl", questions(12))),
        "splits": str(splits),
        "columns": str(write_rows(folder / "columns.jsonl", columns)),
        "prompts": str(prompts_file),
    }


@pytest.fixture(autouse=True)
def a_machine_that_can_do_everything(monkeypatch):
    """Two processes on new GPUs, every package there, a token in the environment: no value is refused for want of something."""
    gpu = Gpu("H200", 140 * 2**30, 9.0)
    monkeypatch.setattr(Machine, "gpus", (gpu,))
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    monkeypatch.setenv("HF_TOKEN", "hf_from_the_environment")
    monkeypatch.setenv("WANDB_API_KEY", "key-from-the-environment")


def mixture_of(folder: Path, rows: str) -> Path:
    """A mixture of a single source."""
    file = folder / "mix.yaml"
    file.write_text(f"sources:\n  - {{name: one, path: {rows!r}, weight: 1}}\n")
    return file


def checked(trainer: str, places: dict[str, str], flags: dict[str, Any]) -> Checked:
    """The check of a small command with these flags."""
    command = {"trainer": trainer, "model": places["model"], "data_path": places[trainer], "lr": 1e-4, "epochs": 2}
    command |= {"batch_size": 4, "dry_run": True}
    places = places | {"mixture": str(mixture_of(Path(places["folder"]), places[trainer]))}
    if trainer in PAIRED:
        places = places | {name[6:]: place for name, place in places.items() if name.startswith("pairs:")}
        command |= COLUMNS_OF_PAIRS
    if trainer in SAMPLING:
        command |= {"rl_reward_fn": "{score}"}
    command |= flags
    if "data_config" in flags:
        command = {name: value for name, value in command.items() if name not in ("data_path", *COLUMNS_OF_PAIRS)}
    said = parse_kwargs({name: filled(value, places) for name, value in command.items()})
    assert said.findings == []
    return preflight(resolve(said.values))


def filled(value: Any, places: dict[str, str]) -> Any:
    return value.format(**places) if isinstance(value, str) and value.startswith("{") else value


def plan_of(trainer: str, places: dict[str, str], flags: dict[str, Any]) -> dict[str, Any]:
    """The plan as JSON, without the parts that merely repeat what was said."""
    result = checked(trainer, places, flags)
    assert result.plan is not None, [(finding.code, finding.message) for finding in result.findings]
    plan = json.loads(json.dumps(result.plan.as_json()))
    return {name: part for name, part in plan.items() if name not in PARTS_THAT_ONLY_REPEAT}


PLANS: dict[str, dict[str, Any]] = {}


def usual_plan_of(trainer: str, places: dict[str, str], flags: dict[str, Any]) -> dict[str, Any]:
    """The same, made once: most parameters need no others, and are compared with one plan."""
    said = json.dumps([trainer, flags], sort_keys=True)
    if said not in PLANS:
        PLANS[said] = plan_of(trainer, places, flags)
    return PLANS[said]


def secondary_model(param: Param) -> Any:
    """A value other than the default, for a parameter that needs no line of its own in the table."""
    if param.kind == "switch":
        return not param.default
    if param.choices:
        return next(choice for choice in param.choices if choice != param.default)
    assert param.kind in ("int", "float"), f"{param.name} needs a line in CHANGES"
    return next(value for value in (2, 1, 0.5) if value != param.default and param.within.contains(value))


def settings_of(trainer: str) -> list[str]:
    """What a trainer reads, but for mixins that are not there yet and what steers one command."""
    return [
        param.name
        for param in PARAMS.values()
        if verdict(param, TRAINERS[trainer]) == READS and not param.command and GROUP[param.group].available
    ]


# ---- every parameter is looked at


@pytest.mark.parametrize("trainer", AVAILABLE)
def test_every_parameter_that_a_trainer_reads_is_looked_at_when_the_plan_is_made(trainer, places, reads):
    taught = {**TAUGHT, "distill_cache": True} if TRAINERS[trainer].reads("use_distillation") else {}
    answering = ANSWERING if TRAINERS[trainer].reads("eval_bertscore_model") else {}
    result = checked(trainer, places, {**EVERYTHING_ON, **taught, **answering})
    assert result.plan is not None
    if TRAINERS[trainer].reads("streaming"):  # which can't be together with all others
        assert checked(trainer, places, {"streaming": True, "max_steps": 2}).plan is not None
    for choices in ({"optimizer": "galore_adamw", "scheduler": "polynomial"}, {"scheduler": "warmup_stable_decay"}):
        assert checked(trainer, places, choices).plan is not None  # which have settings of their own
    assert set(settings_of(trainer)) - reads == set()


@pytest.mark.parametrize("trainer", AVAILABLE)
def test_no_parameter_of_another_trainer_is_looked_at(trainer, places, reads):
    checked(trainer, places, EVERYTHING_ON)
    assert {name for name in reads if verdict(PARAMS[name], TRAINERS[trainer]) != READS} == set()


@pytest.mark.parametrize("param", COMMANDS, ids=lambda param: param.name)
def test_what_steers_a_command_is_read_somewhere(param):
    name = re.escape(param.name)
    reading = re.compile(rf"config\.{name}\b|(?:value_of|get|pop)\(\"{name}\"|(?:values|flags|said)\[\"{name}\"\]")
    sources = [path for path in SOURCE.rglob("*.py") if path.parent.name not in ("declare", "params", "rules", "docs")]
    assert any(reading.search(path.read_text(encoding="utf-8")) for path in sources)


@pytest.mark.parametrize("group", [group for group in GROUP.values() if not group.available], ids=lambda g: g.name)
def test_a_mixin_that_is_not_there_yet_is_refused_and_so_has_no_effect_to_miss(group, places):
    if group in TRAINERS["sft"].group_specs:
        extra = {"teacher_model": "{other_model}"} if group.switch == "use_distillation" else EVALUATING
        result = checked("sft", places, {group.switch: True, **extra})
        assert "P113" in [finding.code for finding in result.findings] and result.plan is None


# ---- every value counts


@pytest.mark.parametrize("trainer", AVAILABLE)
def test_the_same_flags_make_the_same_plan_wherever_caches_are(trainer, places, tmp_path, monkeypatch):
    """So that plans of several tests can be compared."""
    before = usual_plan_of(trainer, places, EVERYTHING_ON)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert plan_of(trainer, places, EVERYTHING_ON) == before


def each_parameter_quickly_once() -> list[Any]:
    """Every parameter with every trainer that reads it; slow with all but the first."""
    cases = [(trainer, name) for trainer in AVAILABLE for name in settings_of(trainer)]
    first = {name: trainer for trainer, name in reversed(cases)}
    return [pytest.param(*case, marks=() if first[case[1]] == case[0] else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(("trainer", "name"), each_parameter_quickly_once())
def test_another_value_makes_another_plan(trainer, name, places):
    if name == "trainer":
        pytest.skip("another trainer is another run altogether")
    if name == "use_prepared":
        pytest.skip("it only refuses rows that are not what was prepared (P145, P146)")
    if name == "engine" and TRAINERS[trainer].trl_adapter is None:
        pytest.skip("there is no other engine for it")
    if name == "batch_tokens":
        pytest.skip("it takes the place of --batch-size (P373), and test_training.py trains with it")
    if name == "num_labels":
        pytest.skip("pairs are ordered by one score: every other number is refused (P701)")
    if name == "eval_benchmark" and TRAINERS[trainer].rows == "scored":
        pytest.skip("a scorer does not generate: every benchmark is refused (P723)")
    if name == "context_parallel" and not TRAINERS[trainer].reads("token_weights"):
        pytest.skip("its loss is not a mean over tokens: every other number is refused (P371)")
    if name in ("distributed_backend", "shard", "offload"):
        pytest.skip("one process has all weights, and test_sharding.py plans for several")
    if name == "sweep_direction":
        pytest.skip("a metric is better one way: the other is refused (P603)")
    if name.endswith("_prompt_template") and TRAINERS[trainer].rows == "documents":
        pytest.skip("documents have no prompts: every template is refused (P507)")
    switch = GROUP[PARAMS[name].group].switch
    derived = {switch: True} if switch and switch != name else {}
    value, companions = CHANGES[name] if name in CHANGES else (secondary_model(PARAMS[name]), derived)
    if name == "eval_metrics":
        value = [metric.name for metric in METRICS.values() if metric.makes_sense_for(TRAINERS[trainer])][-1]
    if name in ("sweep_metric", "metric_for_best_model"):
        value = "eval_" + next(metric for metric in TRAINERS[trainer].metrics if metric not in ("loss", "reward"))
    value = CHANGES_OF_PAIRS.get(name, value) if trainer in PAIRED else value
    value = CHANGES_OF_SAMPLES.get(name, value) if trainer in SAMPLING else value
    companions = {**companions, **CHANGES_OF_TRAINER[trainer].get(name, {})}
    before = usual_plan_of(trainer, places, companions)
    after = plan_of(trainer, places, {**companions, name: value})
    changed = {part for part in {**before, **after} if after.get(part) != before.get(part)}
    assert changed, f"{name} makes no difference to the plan"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lr", "arguments"),
        ("warmup_ratio", "arguments"),
        ("seed", "arguments"),
        ("block_size", "length"),
        ("max_seq_length", "length"),
        ("max_samples", "data"),
        ("valid_split", "data"),
        ("chat_template", "data"),
        ("response_only_loss", "data"),
        ("add_eos_token", "data"),
        ("packing", "layout"),
        ("packing", "steps"),
        ("mixed_precision", "precision"),
        ("gradient_checkpointing", "estimate"),
        ("lora_r", "adapter"),
        ("lora_r", "estimate"),
        ("optimizer", "estimate"),
        ("quantization", "model"),
        ("hub_private", "hub"),
        ("gradient_accumulation", "steps"),
        ("epochs", "steps"),
        ("max_steps", "steps"),
        ("early_stopping_patience", "arguments"),
    ],
)
def test_a_value_changes_the_part_of_the_plan_that_it_is_about(name, part, places):
    value, companions = CHANGES[name]
    companions = {**companions, **CHANGES_OF_TRAINER["sft"].get(name, {})}
    assert plan_of("sft", places, {**companions, name: value})[part] != usual_plan_of("sft", places, companions)[part]


# ---- which length decides


@pytest.mark.parametrize(
    ("flags", "tokens", "parameter"),
    [
        ({}, 1024, "block_size"),
        ({"block_size": 512}, 512, "block_size"),
        ({"block_size": -1}, 2048, "block_size"),
        ({"model_max_length": 256}, 256, "model_max_length"),
        ({"block_size": 512, "model_max_length": 1024}, 512, "block_size"),
        ({"block_size": 512, "max_seq_length": 128}, 128, "max_seq_length"),
        ({"max_seq_length": 128, "model_max_length": 256}, 128, "max_seq_length"),
    ],
)
def test_one_length_decides_and_the_plan_says_which(flags, tokens, parameter, places):
    length = plan_of("sft", places, flags)["length"]
    assert (length["tokens"], length["parameter"]) == (tokens, parameter)
    assert length["why"]


def test_a_packed_row_is_taken_to_be_full_in_the_estimate(places):
    packed, loose = (plan_of("sft", places, {"packing": packing}) for packing in (True, False))
    assert packed["estimate"]["peak_memory_bytes"] > loose["estimate"]["peak_memory_bytes"]
    assert packed["steps"] < loose["steps"]


# ---- steps


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({}, 24),
        ({"epochs": 1}, 12),
        ({"epochs": 0.5}, 6),
        ({"batch_size": 5}, 20),
        ({"gradient_accumulation": 5}, 6),
        ({"max_steps": 7}, 7),
        ({"max_steps": -1}, 24),
        ({"valid_split": "0.25"}, 18),
    ],
)
def test_steps_follow_from_rows_batch_and_epochs(flags, steps, places):
    plan = plan_of("sft", places, flags)  # 48 rows in batches of 4, twice
    assert plan["steps"] == plan["arguments"]["max_steps"] == steps


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_warm_up_leaves_at_least_one_step_to_learn(steps, places):
    plan = plan_of("sft", places, {"max_steps": steps, "warmup_ratio": 0.99})
    assert plan["arguments"]["warmup_steps"] == steps - 1
