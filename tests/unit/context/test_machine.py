"""What the machine is found to be, and the rules about it, each with a machine that it refuses and one that it accepts."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotrain_llm import plan
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.cli.parser import read
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import Gpu, Machine
from support.paths import TESTS
from support.rows import write_rows

NEW_GPU = Gpu("NVIDIA H200", 141 * 2**30, 9.0)
OLD_GPU = Gpu("Tesla T4", 16 * 2**30, 7.5)
BF16_FLAGS = frozenset({"avx512_bf16"})


def machine(
    gpus: tuple[Gpu, ...] = (),
    packages: tuple[str, ...] = (),
    flags: frozenset[str] = frozenset(),
    environment: dict[str, str] | None = None,
) -> Machine:
    """A machine that is what it is told to be."""
    made = Machine({"HF_HOME": "/nowhere", **(environment or {})})
    made.__dict__.update(gpus=gpus, processor_flags=flags, has_package=packages.__contains__)
    return made


def draws(code: str, command: str, on: Machine) -> list[tuple[str, str]]:
    said = read(shlex.split(command))
    assert said.findings == []
    found = RULES[code].check({"config": resolve(said.values), "trainer": None, "machine": on})
    return [(finding.severity, finding.message) for finding in found]


PLAIN = machine()
WITH_GPU = machine((NEW_GPU,))
WITH_ALL = machine((NEW_GPU,), ("bitsandbytes", "flash_attn", "flash_attn_interface", "tensorboard", "wandb"))

# code, command, a machine on which it is refused, one on which it is not
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
GROUP = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "2"} | MEETING
TWINS = {
    "fp16 without CUDA": ("E501", "--mixed-precision fp16", PLAIN, WITH_GPU),
    "bf16 on an old GPU": ("E502", "--mixed-precision bf16", machine((OLD_GPU,)), WITH_GPU),
    "bf16 on an old processor": ("E502", "--mixed-precision bf16", PLAIN, machine(flags=BF16_FLAGS)),
    "4 bits without the package": ("E503", "--peft --quantization int4", WITH_GPU, WITH_ALL),
    "4 bits on a processor": ("E503", "--peft --quantization int4", PLAIN, machine(packages=("bitsandbytes",))),
    "a paged optimizer without CUDA": (
        "E503",
        "--optimizer paged_adamw_8bit",
        machine(packages=("bitsandbytes",)),
        WITH_ALL,
    ),
    "an 8-bit optimizer": ("E503", "--optimizer adamw_bnb_8bit", WITH_GPU, machine(packages=("bitsandbytes",))),
    "a schedule-free optimizer": (
        "E536",
        "--optimizer schedule_free_adamw",
        WITH_GPU,
        machine(packages=("schedulefree",)),
    ),
    "inputs of layers outside of a GPU": ("E537", "--gradient-checkpointing offload", PLAIN, WITH_GPU),
    "flash attention without CUDA": ("E504", "--use-flash-attention-2", PLAIN, WITH_ALL),
    "flash attention on an old GPU": (
        "E504",
        "--use-flash-attention-2",
        machine((OLD_GPU,), ("flash_attn",)),
        WITH_ALL,
    ),
    "flash attention 3": ("E504", "--attn-implementation flash_attention_3", WITH_GPU, WITH_ALL),
    "a tracker that is missing": ("E505", "--log tensorboard,wandb", machine(packages=("wandb",)), WITH_ALL),
    "a token of another Hub": (
        "P338",
        "--push-to-hub --token abc",
        PLAIN,
        machine(environment={"HF_ENDPOINT": "https://hub.example.com"}),
    ),
    "no token": ("E506", "--push-to-hub", PLAIN, machine(environment={"HF_TOKEN": "hf_x"})),
    "a model divided among processors": (
        "E508",
        "--shard full",
        PLAIN,
        machine((NEW_GPU,), environment=GROUP),
    ),
    "parts outside of a GPU": (
        "E523",
        "--offload parameters",
        PLAIN,
        machine((NEW_GPU, NEW_GPU), environment=GROUP),
    ),
    "parts of a model that one process has": (
        "E524",
        "--shard full --offload parameters",
        WITH_GPU,
        machine((NEW_GPU, NEW_GPU), environment=GROUP),
    ),
    "a batch divided for one process": (
        "E531",
        "--context-parallel 2",
        WITH_GPU,
        machine((NEW_GPU,), environment=GROUP),
    ),
    "a model divided for one process": (
        "E516",
        "--shard full",
        WITH_GPU,
        machine((NEW_GPU,), environment=GROUP),
    ),
    "a model divided with whole states": (
        "E517",
        "--shard full --optimizer adafactor",
        machine((NEW_GPU,), environment=GROUP),
        WITH_GPU,
    ),
    "a model divided on one machine as on several": (
        "E520",
        "--shard hybrid",
        machine((NEW_GPU, NEW_GPU), environment=GROUP),
        WITH_GPU,
    ),
    "no compiler": (
        "E533",
        "--compile on",
        machine(environment={"CXX": "no-compiler"}),
        machine(environment={"CXX": "sh"}),
    ),
    "three processes on two GPUs": (
        "E507",
        "--trainer sft",
        machine((NEW_GPU, NEW_GPU), environment=GROUP | {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}),
        machine((NEW_GPU, NEW_GPU), environment=GROUP),
    ),
    "several processes without a folder": ("E509", "--trainer sft", machine(environment=GROUP), PLAIN),
    "nodes that can't meet": ("E512", "--trainer sft", machine(environment={"SKYPILOT_NUM_NODES": "2"}), PLAIN),
    "other processes than were started": ("E513", "--num-processes 4", machine(environment=GROUP), PLAIN),
    "restarts of what torchrun has started": ("E514", "--max-restarts 2", machine(environment=GROUP), PLAIN),
    "FSDP in the config of accelerate launch": (
        "E519",
        "--trainer sft",
        machine(environment=GROUP | {"ACCELERATE_DYNAMO_MODE": "default", "ACCELERATE_USE_FSDP": "true"}),
        machine(environment=GROUP | {"ACCELERATE_USE_FSDP": "true"}),  # set by an earlier run of this process
    ),
    "a step of other batches": ("P357", "--batch-size 2 --global-batch 6", machine(environment=GROUP), PLAIN),
    "another project in the environment": (
        "P737",
        "--log tensorboard,wandb --tracker-project mine",
        machine(packages=("tensorboard", "wandb"), environment={"WANDB_PROJECT": "theirs"}),
        WITH_ALL,
    ),
    "what a launcher left behind": ("E511", "", machine(environment={"RANK": "3"}), PLAIN),
    "a sweep of several processes": ("P613", "--use-sweep", machine(environment=GROUP), PLAIN),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_rule_refuses_on_one_machine_and_accepts_on_the_other(name):
    code, command, refusing, accepting = TWINS[name]
    assert len(draws(code, command, refusing)) == 1
    assert draws(code, command, accepting) == []


def test_every_rule_on_the_machine_has_its_twin():
    elsewhere = "".join(path.read_text("utf-8") for path in sorted(TESTS.rglob("test_*.py")))
    on_the_machine = {rule.code for rule in RULES.values() if "machine" in rule.needs}
    tried_here = {twin[0] for twin in TWINS.values()}
    assert tried_here <= on_the_machine
    assert {code for code in on_the_machine - tried_here if f'"{code}"' not in elsewhere} == set()


@pytest.mark.parametrize("code", sorted({twin[0] for twin in TWINS.values()} - {"E507", "E509"}))
def test_a_plain_command_on_a_plain_machine_draws_nothing(code):
    assert draws(code, "--trainer sft", PLAIN) == []


def test_bf16_that_is_emulated_is_a_warning_and_on_an_old_gpu_an_error():
    ((on_processor, _),) = draws("E502", "--mixed-precision bf16", PLAIN)
    ((on_gpu, message),) = draws("E502", "--mixed-precision bf16", machine((OLD_GPU,)))
    assert (on_processor, on_gpu) == ("warning", "error") and "Tesla T4" in message


def test_uploading_is_refused_offline_even_with_a_token():
    on = machine(environment={"HF_TOKEN": "hf_x"})
    ((_, message),) = draws("E506", "--push-to-hub --offline", on)
    assert "--offline" in message
    assert draws("E506", "--push-to-hub --token hf_x", PLAIN) == []


def test_several_processes_may_name_the_checkpoint_in_place_of_the_folder():
    on = machine(environment=GROUP)
    assert draws("E509", "--output-dir runs/a", on) == []
    assert draws("E509", "--resume-from-checkpoint runs/a/checkpoints/checkpoint-1", on) == []


# ---- facts


def driver(folder: Path, answer: str, status: int = 0) -> dict[str, str]:
    """An environment in which `nvidia-smi` says this."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


TWO_GPUS = "0, GPU-1a2b, NVIDIA H200, 143771, 9.0\n1, GPU-3c4d, Tesla T4, 15360, 7.5"


def test_the_gpus_are_what_the_driver_reports(tmp_path):
    gpus = Machine(driver(tmp_path, TWO_GPUS)).gpus
    assert gpus == (Gpu("NVIDIA H200", 143771 * 2**20, 9.0), Gpu("Tesla T4", 15360 * 2**20, 7.5))


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0", ["NVIDIA H200"]),
        ("1,0", ["Tesla T4", "NVIDIA H200"]),
        (" 1 ", ["Tesla T4"]),
        ("GPU-3c4d", ["Tesla T4"]),
        ("GPU-1a", ["NVIDIA H200"]),
        ("", []),
        ("-1", []),
        ("7", []),
        ("GPU-9", []),
    ],
)
def test_only_visible_gpus_count(visible, names, tmp_path):
    environment = {**driver(tmp_path, TWO_GPUS), "CUDA_VISIBLE_DEVICES": visible}
    assert [gpu.name for gpu in Machine(environment).gpus] == names


def test_a_gpu_that_shares_the_machines_memory_has_as_much_as_the_machine(tmp_path):
    on = Machine(driver(tmp_path, "0, GPU-1, NVIDIA GB10, [N/A], 12.1"))
    assert on.gpus == (Gpu("NVIDIA GB10", on.memory, 12.1),)


@pytest.mark.parametrize(
    ("answer", "status"), [("", 0), ("no devices were found", 9), ("a, b", 0), ("0, GPU-1, X, 9, [N/A]", 0)]
)
def test_a_driver_without_an_answer_is_no_gpu(answer, status, tmp_path):
    assert Machine(driver(tmp_path, answer, status)).gpus == ()


def test_without_a_driver_there_is_no_gpu(tmp_path):
    alone = Machine({"PATH": str(tmp_path)})
    assert alone.gpus == () and not alone.has_cuda and alone.device_memory == alone.memory > 2**20


def test_the_smallest_gpu_bounds_memory_and_the_oldest_precision():
    both = machine((NEW_GPU, OLD_GPU))
    assert both.device_memory == OLD_GPU.memory and not both.computes_bf16
    assert machine((NEW_GPU,)).computes_bf16


@pytest.mark.parametrize(
    ("flags", "computes"), [(frozenset(), False), (BF16_FLAGS, True), (frozenset({"amx_bf16"}), True)]
)
def test_a_processor_computes_bf16_where_it_has_the_instructions(flags, computes):
    assert machine(flags=flags).computes_bf16 is computes


@pytest.mark.parametrize(
    ("environment", "processes", "first"),
    [
        ({}, 1, True),
        ({"WORLD_SIZE": "4", "RANK": "0"} | MEETING, 4, True),
        ({"WORLD_SIZE": "4", "RANK": "3"} | MEETING, 4, False),
    ],
)
def test_processes_are_what_the_launcher_says(environment, processes, first):
    on = Machine(environment)
    assert (on.processes, on.is_first_process) == (processes, first)


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": ""}, {"RANK": ""}])
def test_an_empty_word_of_the_launcher_is_one_process(environment):
    assert Machine(environment).processes == 1 and Machine(environment).is_first_process


def test_a_token_comes_from_the_environment_or_an_earlier_login(tmp_path):
    (tmp_path / "token").write_text("hf_login\n")
    assert Machine({"HF_HOME": str(tmp_path)}).hub_token == "hf_login"
    assert Machine({"HF_HOME": str(tmp_path), "HF_TOKEN": "hf_env"}).hub_token == "hf_env"
    assert Machine({"HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_HOME": "/nowhere"}).hub_token == "hf_old"
    assert Machine({"HF_HOME": "/nowhere"}).hub_token is None
    (tmp_path / "token").write_text("\n")
    assert Machine({"HF_HOME": str(tmp_path)}).hub_token is None


def test_a_package_is_there_or_not_and_is_not_imported_to_find_out():
    assert Machine().has_package("json") and not Machine().has_package("no_such_package_at_all")


def test_facts_are_looked_up_once(tmp_path, monkeypatch):
    on = Machine(driver(tmp_path, TWO_GPUS))
    first: Any = on.gpus
    (tmp_path / "nvidia-smi").unlink()
    assert on.gpus is first


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two'"),
        ({"RANK": "3"}, "WORLD_SIZE is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "MASTER_ADDR"),
        ({"RANK": "1", "WORLD_SIZE": "2"} | MEETING, None),
        ({}, None),
    ],
)
def test_what_is_left_of_a_launcher_is_said_and_silences_nobody(environment, words):
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.config.resolved import resolve

    machine = Machine(environment)
    found = list(RULES["E511"].check({"config": resolve({}), "machine": machine}))
    assert [words in finding.message for finding in found if words] == ([True] if words else []) and bool(
        found
    ) == bool(words)
    assert machine.is_first_process == (words is not None or not environment)


@pytest.mark.parametrize(
    ("platform", "processor", "gpus", "unused"),
    [
        ("darwin", "arm64", (), True),
        ("darwin", "x86_64", (), False),
        ("linux", "arm64", (), False),
    ],
)
def test_the_gpu_of_a_mac_is_not_used(platform, processor, gpus, unused, monkeypatch):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine=processor))
    assert machine(gpus).has_unused_gpu is unused


def test_the_plan_of_a_mac_says_that_it_trains_on_the_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(Machine, "has_unused_gpu", True)
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": f"A text with the number {number}."} for number in range(8)])
    made = plan(trainer="sft", model="scratch:100k", data_path=str(rows), lr=1e-3, epochs=1, batch_size=4)
    assert made.precision.cpu and "Apple's GPU (mps) is not used" in made.precision.why
    assert any("mps" in str(line) for line in made.summary())


@pytest.mark.parametrize(
    ("log", "environment", "named"),
    [
        ("wandb", {"WANDB_DISABLED": "true"}, "unset WANDB_DISABLED, or --log none"),
        ("wandb,tensorboard", {"WANDB_MODE": "disabled"}, "unset WANDB_MODE, or --log tensorboard"),
        ("mlflow", {"DISABLE_MLFLOW_INTEGRATION": "TRUE"}, "unset DISABLE_MLFLOW_INTEGRATION, or --log none"),
        ("wandb", {"WANDB_DISABLED": "false", "WANDB_MODE": "offline"}, None),
        ("tensorboard", {"WANDB_DISABLED": "true"}, None),
    ],
)
def test_a_tracker_that_the_environment_switches_off_is_named(log, environment, named):
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.config.resolved import resolve

    config = resolve({"log": log.split(",")})
    found = list(RULES["P747"].check({"config": config, "machine": Machine(environment)}))
    assert [finding.fix for finding in found] == ([named] if named else [])
