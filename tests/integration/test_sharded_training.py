"""A model that is divided among processes (FSDP2) ends with the weights of one process.

The processes are processors with gloo: accelerate divides models among accelerators only, and `programs/sharded_on_cpu.py` lifts that gate and the
finding that says so, in these tests alone. Nothing here was run on GPUs with NCCL.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm.context.output_dir import is_intact, was_finished
from autotrain_llm.declare.parts import has_parts
from support.models import build_llama
from support.processes import run_together
from support.reward_models import build_scorer
from support.rows import COLOURS, write_rows

SHARDED = (str(Path(__file__).parent.parent / "programs" / "sharded_on_cpu.py"),)
# Sums are added in another order. AdamW divides by the size of a gradient, so that the smallest differ most: on one processor by 1e-6, on another by 2e-6, of steps of 1e-3.
TOLERANCE = 5e-6
OFFLOADED = ("--offload", "parameters")
CONSTANT = ("--scheduler", "constant")  # whatever the number of steps
ADAPTER = ("--peft", "--lora-dropout", "0")
IN_4_BITS = (*ADAPTER, "--quantization", "int4")
QUESTIONS = [
    {
        "prompt": f"what is {number} plus {number + 1}?",
        "completion": f"it is {2 * number + 1}, {'so ' * (number % 7)}see",
    }
    for number in range(26)
]
PAIRS = [
    {"prompt": f"what is {number}?", "chosen": f"it is {number}", "rejected": f"no {'no ' * (number % 5)}idea"}
    for number in range(26)
]
ROWS = {"sft": QUESTIONS, "generic": QUESTIONS}
COLUMNS = ["--prompt-text-column", "prompt", "--text-column", "chosen", "--rejected-text-column", "rejected"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    shapes: dict[str, dict[str, Any]] = {
        "untied": {},
        "tied": {"tie_word_embeddings": True},
        "teacher": {"hidden_size": 48},
    }
    return {name: build_llama(folder / name, None, **shape) for name, shape in shapes.items()}


def words_of(folder: Path, trainer: str, model: Path, size: int, *flags: str) -> list[str]:
    rows = folder / f"{trainer}.jsonl"
    if not rows.exists():
        write_rows(rows, ROWS.get(trainer, PAIRS))
    columns = [] if trainer in ROWS else COLUMNS
    named = ["--trainer", trainer, "--model", str(model), "--data-path", str(rows), *columns]
    usual = [
        "--lr",
        "1e-3",
        *([] if "--max-steps" in flags else ["--epochs", "1"]),
        "--batch-size",
        str(size),
        "--mixed-precision",
        "fp32",
    ]
    return ["llm", *named, *usual, *flags]


def run(folder: Path, name: str, processes: int, words: list[str]) -> Path:
    if "int4" in words:
        pytest.importorskip("bitsandbytes", exc_type=ImportError)
    target = folder / name
    run_together([*words, "--output-dir", str(target)], folder, processes, program=SHARDED)
    return target


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*model.safetensors")
    return load_file(path)


def logged(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def losses(folder: Path) -> list[float]:
    return logged(folder, "loss")


def assert_equal(one: Path, other: Path, tolerance: float = TOLERANCE) -> None:
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        assert torch.allclose(weight, found[name], rtol=0, atol=tolerance), (name, (weight - found[name]).abs().max())


CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "sft": ("sft", ("--valid-split", "7", "--eval-strategy", "epoch")),
    "sft with an adapter": ("sft", ("--peft", "--lora-dropout", "0", "--lora-r", "4")),
    "sft with a merged adapter": ("sft", ("--peft", "--lora-dropout", "0", "--merge-adapter")),
    "dpo": ("dpo", ()),
    "dpo with an adapter": ("dpo", ("--peft", "--lora-dropout", "0")),
    "dpo with its reference beforehand": ("dpo", ("--max-steps", "8")),
    "sft in 4 bits": ("sft", IN_4_BITS),
    "dora in 4 bits": ("sft", (*IN_4_BITS, "--use-dora")),
    "dpo in 4 bits": ("dpo", IN_4_BITS),
    "sft with parts in main memory": ("sft", OFFLOADED),
    "dpo in 4 bits with parts in main memory": ("dpo", (*IN_4_BITS, *OFFLOADED)),
    "kto": ("kto", ()),
    "reward": ("reward", ()),
    "distillation": ("sft", ("--use-distillation", "--teacher-model", "{teacher}")),
    "distillation from a teacher in 4 bits": (
        "sft",
        ("--use-distillation", "--teacher-model", "{teacher}", "--teacher-quantization", "int4"),
    ),
    "distillation from a cache": ("sft", ("--use-distillation", "--teacher-model", "{teacher}", "--distill-cache")),
}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_parts_end_with_the_weights_of_one_with_all(
    case: str, tmp_path: Path, models: dict[str, Path]
) -> None:
    trainer, given = CASES[case]
    model = models["tied" if trainer == "dpo" else "untied"]
    flags = [flag.format(**models) for flag in given]
    alone = [flag for flag in flags if flag not in OFFLOADED]
    one = run(tmp_path, "one", 1, words_of(tmp_path, trainer, model, 8, *alone))
    two = run(tmp_path, "two", 2, words_of(tmp_path, trainer, model, 4, "--shard", "full", *flags))
    assert_equal(one, two)
    assert losses(one) == pytest.approx(losses(two), abs=1e-4)


def test_processes_with_parts_can_divide_the_tokens_of_a_batch_too(tmp_path: Path, models: dict[str, Path]) -> None:
    words = words_of(tmp_path, "sft", models["untied"], 4)
    one = run(tmp_path, "one", 1, words)
    two = run(tmp_path, "two", 2, [*words, "--shard", "full", "--context-parallel", "2"])
    assert_equal(one, two)
    assert losses(one) == pytest.approx(losses(two), abs=1e-4)


@pytest.mark.parametrize("flags", [(), ADAPTER], ids=["all weights", "an adapter"])
def test_processes_that_are_killed_while_they_write_a_checkpoint_leave_the_earlier_one(
    flags: tuple[str, ...], tmp_path: Path, models: dict[str, Path]
) -> None:
    saving = ["--save-strategy", "steps", "--save-steps", "1", "--save-total-limit", "1", *CONSTANT, *flags]
    words = words_of(tmp_path, "sft", models["untied"], 4, "--max-steps", "3", *saving)
    one = run(tmp_path, "one", 1, words_of(tmp_path, "sft", models["untied"], 8, "--max-steps", "3", *saving))
    target = tmp_path / "two"
    sharded = [*words, "--shard", "full", "--output-dir", str(target)]
    with pytest.raises(AssertionError):
        run_together(sharded, tmp_path, 2, program=SHARDED, KILLED_WHILE_WRITING="checkpoint-2/sharded/optimizer")
    first, second = (target / "checkpoints" / f"checkpoint-{step}" for step in (1, 2))
    assert is_intact(first) and second.is_dir() and not was_finished(second)
    run_together([*sharded, "--resume"], tmp_path, 2, program=SHARDED)
    assert not first.exists() and is_intact(target / "checkpoints" / "checkpoint-3")
    assert_equal(one, target)


@pytest.mark.parametrize("flags", [(), ADAPTER], ids=["all weights", "an adapter"])
def test_a_run_goes_on_with_another_number_of_processes(
    flags: tuple[str, ...], tmp_path: Path, models: dict[str, Path]
) -> None:
    saving = ["--save-strategy", "steps", "--save-steps", "1", "--save-total-limit", "9", *CONSTANT, *flags]
    one = run(tmp_path, "one", 1, words_of(tmp_path, "sft", models["untied"], 6, "--max-steps", "3", *saving))
    target = tmp_path / "run"
    for processes, size, steps in ((2, 3, 1), (3, 2, 2), (1, 6, 3)):
        resume = ["--resume"] if steps > 1 else []
        sharded = ["--shard", "full"] if processes > 1 else []
        words = words_of(tmp_path, "sft", models["untied"], size, "--max-steps", str(steps), *saving, *sharded, *resume)
        run(tmp_path, "run", processes, words)
        checkpoint = target / "checkpoints" / f"checkpoint-{steps}"
        assert is_intact(checkpoint) and has_parts(checkpoint) == (processes > 1)
        assert not list(checkpoint.rglob("*.distcp")), "a pickle"
    assert_equal(one, target)


def test_an_adapter_of_a_base_in_4_bits_goes_on_with_another_number_of_processes(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    """As it does with copies: products in bf16 are rounded otherwise in batches of other sizes, and a gradient near 0 may get another sign."""
    saving = ["--save-strategy", "steps", "--save-steps", "1", "--save-total-limit", "9", *CONSTANT, *IN_4_BITS]
    for shard in ("none", "full"):
        for processes, size, steps in ((2, 3, 1), (3, 2, 2), (1, 6, 3)):
            given = [*(["--resume"] if steps > 1 else []), *(["--shard", shard] if processes > 1 else [])]
            words = words_of(tmp_path, "sft", models["untied"], size, "--max-steps", str(steps), *saving, *given)
            run(tmp_path, shard, processes, words)
            checkpoint = tmp_path / shard / "checkpoints" / f"checkpoint-{steps}"
            assert has_parts(checkpoint) == (shard == "full" and processes > 1)
    assert_equal(tmp_path / "none", tmp_path / "full")
    merging = ["--to", "merged", "--output-dir", str(tmp_path / "merged")]
    run_together(["export", str(tmp_path / "full"), *merging], tmp_path, processes=1)
    assert weights(tmp_path / "merged").keys() == weights(models["untied"]).keys()


def test_machines_with_a_copy_each_end_with_the_weights_of_one_process(tmp_path: Path, models: dict[str, Path]) -> None:
    """Four processes, which take themselves for those of two machines; one goes on from their checkpoint."""
    saving = ["--save-strategy", "steps", "--save-steps", "1", "--save-total-limit", "9", *CONSTANT]
    one = run(tmp_path, "one", 1, words_of(tmp_path, "sft", models["tied"], 8, "--max-steps", "3", *saving))
    words = words_of(tmp_path, "sft", models["tied"], 2, "--max-steps", "2", *saving, "--shard", "hybrid")
    target = tmp_path / "run"
    two_machines = {"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}
    run_together([*words, "--output-dir", str(target)], tmp_path, 4, program=SHARDED, **two_machines)
    assert json.loads((target / "run.json").read_text())["plan"]["sharding"]["shards"] == 2
    assert is_intact(target / "checkpoints" / "checkpoint-2") and has_parts(target / "checkpoints" / "checkpoint-2")
    run(tmp_path, "run", 1, words_of(tmp_path, "sft", models["tied"], 8, "--max-steps", "3", *saving, "--resume"))
    assert_equal(one, target)


def test_a_checkpoint_in_parts_is_exported_whole(tmp_path: Path, models: dict[str, Path]) -> None:
    saving = ["--save-strategy", "steps", "--save-steps", "1", "--max-steps", "2"]
    target = run(tmp_path, "run", 2, words_of(tmp_path, "sft", models["untied"], 3, "--shard", "full", *saving))
    checkpoint = target / "checkpoints" / "checkpoint-2"
    assert not list(checkpoint.glob("model*"))
    run_together(
        ["export", str(checkpoint), "--to", "merged", "--output-dir", str(tmp_path / "whole")], tmp_path, processes=1
    )
    assert_equal(target, tmp_path / "whole", 0)


def test_a_checkpoint_of_one_process_goes_on_in_parts(tmp_path: Path, models: dict[str, Path]) -> None:
    saving = ["--save-strategy", "steps", "--save-steps", "1", *CONSTANT]
    one = run(tmp_path, "one", 1, words_of(tmp_path, "sft", models["untied"], 6, "--max-steps", "2", *saving))
    run(tmp_path, "run", 1, words_of(tmp_path, "sft", models["untied"], 6, "--max-steps", "1", *saving))
    flags = ["--max-steps", "2", *saving, "--resume", "--shard", "full"]
    assert_equal(one, run(tmp_path, "run", 2, words_of(tmp_path, "sft", models["untied"], 3, *flags)))


def test_the_best_checkpoint_in_parts_is_the_finished_model(tmp_path: Path, models: dict[str, Path]) -> None:
    evaluating = ["--valid-split", "8", "--eval-strategy", "steps", "--eval-steps", "1", "--load-best-model-at-end"]
    evaluating += ["--max-steps", "3", "--lr", "5"]  # the first step, whose rate is 0, is the best
    one = run(tmp_path, "one", 1, words_of(tmp_path, "sft", models["untied"], 6, *evaluating))
    two = run(tmp_path, "two", 2, words_of(tmp_path, "sft", models["untied"], 3, "--shard", "full", *evaluating))
    outcome = json.loads((two / "run.json").read_text())["outcome"]
    assert outcome["best_checkpoint"] != "checkpoints/checkpoint-3"
    assert_equal(one, two, 1e-5)


@pytest.mark.parametrize("fused", ["on", "off"])
def test_a_base_in_4_bits_has_the_losses_of_one_process_in_half_precision_too(
    fused: str, tmp_path: Path, models: dict[str, Path]
) -> None:
    """Its values are packed in bf16, the dtype that the other weights are cast to; adapters that are computed together read them without its layers."""
    flags = [*IN_4_BITS, "--mixed-precision", "bf16", "--fused-lora", fused]
    one = run(tmp_path, "one", 1, words_of(tmp_path, "sft", models["untied"], 8, *flags))
    two = run(tmp_path, "two", 2, words_of(tmp_path, "sft", models["untied"], 4, "--shard", "full", *flags))
    assert losses(one) == pytest.approx(losses(two), abs=1e-3)


def test_scores_are_exact_in_half_precision_too(tmp_path: Path, models: dict[str, Path]) -> None:
    flags = ["--shard", "full", "--mixed-precision", "bf16", "--max-steps", "2"]
    target = run(tmp_path, "run", 2, words_of(tmp_path, "reward", models["untied"], 4, *flags))
    highest = json.loads((target / "metrics.jsonl").read_text().splitlines()[0])["max_reward"]
    assert highest != torch.tensor(highest).bfloat16().item()


def test_the_first_loss_of_dpo_is_that_of_equal_models_in_half_precision_too(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    words = words_of(
        tmp_path, "dpo", models["untied"], 4, "--shard", "full", "--mixed-precision", "bf16", "--max-steps", "4"
    )
    first, *_, last = losses(run(tmp_path, "run", 2, words))
    assert first == pytest.approx(math.log(2), abs=1e-6) and last < first - 1e-4


SAMPLING = {
    "ppo": ("--rl-value-model", "separate", "--rl-reward-model-path", "{scorer}", "--rl-kl-coef", "0.1"),
    "grpo": ("--rl-num-generations", "4", "--rl-kl-coef", "0.1", "--peft", "--lora-dropout", "0"),
    "grpo in 4 bits": ("--rl-num-generations", "4", *IN_4_BITS),
    "spo": ("--spo-first-answers", "2", "--rl-kl-coef", "0.1"),
}


@pytest.mark.parametrize("case", SAMPLING)
def test_answers_are_sampled_from_a_policy_in_parts_as_from_a_whole_one(case: str, tmp_path: Path, llama: Path) -> None:
    trainer = case.split()[0]
    (tmp_path / "rewards.py").write_text(
        "def vowels(completions, **rest):\n    return [sum(letter in 'aeiou' for letter in text) / max(len(text), 1) for text in completions]\n"
    )
    rows = write_rows(
        tmp_path / "prompts.jsonl", [{"prompt": f"{one} is {other}"} for one in COLOURS for other in COLOURS][:19]
    )
    scorer = build_scorer(llama, tmp_path / "scorer") if trainer == "ppo" else llama
    words = ["llm", "--trainer", trainer, "--model", str(llama), "--data-path", str(rows), "--lr", "1e-3", *CONSTANT]
    words += ["--rl-reward-fn", f"{tmp_path}/rewards.py:vowels", "--rl-chunk-size", "16", "--rl-mini-batch-size", "8"]
    words += ["--rl-max-new-tokens", "6", "--mixed-precision", "fp32", "--max-steps", "8", "--valid-split", "3"]
    words += ["--eval-strategy", "steps", "--eval-steps", "5", "--save-strategy", "steps", "--save-steps", "5"]
    words += ["--load-best-model-at-end", "--gradient-checkpointing", "false", "--logging-steps", "1"]
    words += [flag.format(scorer=scorer) for flag in SAMPLING[case]]
    one = run(tmp_path, "one", 1, [*words, "--batch-size", "8"])
    two = run(tmp_path, "two", 2, [*words, "--batch-size", "4", "--shard", "full"])
    assert_equal(one, two)
    if trainer == "ppo":
        expected, found = (load_file(folder / "value_head.safetensors") for folder in (one, two))
        assert {name: pytest.approx(weight.numpy(), abs=TOLERANCE) for name, weight in expected.items()} == found
    for name in ("loss", "reward", "eval_reward"):
        assert logged(one, name) == pytest.approx(logged(two, name), abs=1e-5)
