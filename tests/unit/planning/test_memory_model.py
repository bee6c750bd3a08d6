"""What a run is said to take of memory: counted as the libraries allocate it, for this machine or one that isn't here, and what would help."""

from __future__ import annotations

import contextlib
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotrain_llm.checks.autofix import fix
from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import CPU, GPU, Gpu, Machine, target_memory
from autotrain_llm.planning import memory_model as estimate
from autotrain_llm.planning.memory_model import Adapter, Run, Shape
from autotrain_llm.planning.plan import Plan
from support.rows import write_rows

GIB = 2**30
TINY = "64MiB"  # less than the libraries take
PAIRS = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
LARGE = {"model": "scratch:60m", "batch_size": 16, "gradient_checkpointing": False}
SCORED = {"rl_reward_model_path": "{scorer}"}
TAUGHT = {"use_distillation": True, "teacher_model": "{teacher}"}


@pytest.fixture
def places(tmp_path: Path, light_llama: Path, light_teacher: Path, light_scorer: Path) -> dict[str, str]:
    texts = [" ".join(f"word{(number * place) % 37}" for place in range(3 + number)) for number in range(40)]
    write_rows(tmp_path / "answered.jsonl", [{"prompt": text[:20], "completion": text} for text in texts])
    pairs = [{"prompt": text[:20], "chosen": text, "rejected": text[5:] + " no"} for text in texts]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])
    names = {"model": light_llama, "teacher": light_teacher, "scorer": light_scorer, "folder": tmp_path}
    return {name: str(place) for name, place in names.items()}


def checked(places: dict[str, str], trainer: str = "sft", **flags: Any) -> Checked:
    kind = {"sft": "answered", "generic": "answered", "ppo": "prompts", "grpo": "prompts"}.get(trainer, "pairs")
    command = {"trainer": trainer, "model": "{model}", "data_path": f"{{folder}}/{kind}.jsonl", "lr": 1e-6}
    command |= {"epochs": 1, "batch_size": 4, "dry_run": True} | (PAIRS if kind == "pairs" else {}) | flags
    filled = {name: value.format(**places) if isinstance(value, str) else value for name, value in command.items()}
    said = parse_kwargs({name: value for name, value in filled.items() if value is not None})
    assert said.findings == []
    return preflight(resolve(said.values), said.findings)


def plan_of(places: dict[str, str], trainer: str = "sft", **flags: Any) -> Plan:
    found = checked(places, trainer, **flags)
    assert found.plan is not None, [finding.message for finding in found.findings]
    return found.plan


def codes(found: Checked) -> set[str]:
    return {finding.code for finding in found.findings}


# ---- what is counted is what is allocated

HIDDEN, INNER, HEADS, KEY_HEADS, WORDS = 64, 160, 4, 2, 512
RANK = 8


def kept_bytes(
    layers: int,
    half: bool,
    lora: float | None,
    layout: str,
    checkpointing: bool | str,
    length: int = 96,
    *,
    fused: bool = False,
) -> tuple[int, int]:
    """Bytes of all tensors that a forward pass keeps, but for weights and their rounded copies; and its tokens."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from autotrain_llm.run.engine import checkpointing as checkpoints
    from autotrain_llm.run.engine.fused_adapters import fuse_adapters
    from autotrain_llm.run.engine.layouts import Flat, Padded

    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        vocab_size=WORDS,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config)
    if lora is not None:
        model = model.to(torch.bfloat16 if half else torch.float32)
        model = get_peft_model(model, LoraConfig(r=RANK, lora_dropout=lora, target_modules="all-linear"))
    if fused:
        fuse_adapters(model)
    saved: list[Any] = []  # by selective checkpointing, outside of torch's hooks
    own_policy = checkpoints.policy

    def policy(rank: int, context: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = own_policy(rank, context, *args, **kwargs)
        if chosen == torch.utils.checkpoint.CheckpointPolicy.MUST_SAVE:
            output = context.op_output
            saved.extend(output[:2] if isinstance(output, tuple) else [output])
        return chosen

    if checkpointing:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(checkpoints, "policy", policy)
            checkpoints.checkpoint_layers(model, checkpointing if isinstance(checkpointing, str) else None)
    layout_of = Flat(model) if layout == "flat" else Padded(0)
    rows = [(np.arange(length, dtype=np.int32), np.ones(length, bool)) for _ in range(2)]
    held: dict[int, Any] = {}
    shapes = {tuple(one.shape) for one in model.parameters()}

    def pack(tensor: Any) -> Any:
        if fused and tensor.dim() == 1:
            return tensor  # the adapter's matrices
        if tuple(tensor.shape) not in shapes and tuple(tensor.T.shape if tensor.dim() == 2 else ()) not in shapes:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    model.train()
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        layout_of.forward(model, layout_of.collate(rows), "loss")
    kept = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    return kept + sum(tensor.nbytes for tensor in saved), 2 * length


@pytest.mark.parametrize(
    ("half", "lora", "layout", "checkpointing"),
    [
        (True, None, "flat", False),
        (False, None, "flat", False),
        (True, None, "padded", False),
        (True, 0.0, "flat", False),
        (True, 0.05, "flat", False),
        (False, 0.0, "flat", False),
        (True, None, "flat", True),
        (False, None, "flat", True),
        (True, None, "flat", "selective"),
        (False, None, "flat", "selective"),
    ],
)
def test_what_a_layer_is_said_to_keep_is_what_it_keeps(half, lora, layout, checkpointing):
    (two, tokens), (four, _) = (kept_bytes(layers, half, lora, layout, checkpointing) for layers in (2, 4))
    shape = Shape(0, HIDDEN, INNER, 2, WORDS, HIDDEN, HIDDEN // 2, HEADS)
    adapter = None if lora is None else Adapter(0, 6 * HIDDEN + INNER, 7, RANK, lora > 0)
    run = Run(tokens, tokens, row=96, span=96, half=half, padded=layout == "padded", adapter=adapter)
    run = replace(run, checkpointing=checkpointing)
    said = estimate.checkpoint_bytes_of_layer(shape, run) if checkpointing else estimate.kept_by_layer(shape, run)
    assert said == pytest.approx((four - two) / 2 / tokens, rel=0.05)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_adapters_that_are_computed_together_keep_less(half, dropout):
    (two, tokens), (four, _) = (kept_bytes(layers, half, dropout, "flat", False, fused=True) for layers in (2, 4))
    shape = Shape(0, HIDDEN, INNER, 2, WORDS, HIDDEN, HIDDEN // 2, HEADS)
    adapter = Adapter(0, 6 * HIDDEN + INNER, 7, RANK, dropout > 0, fused=True)
    run = Run(tokens, tokens, row=96, span=96, half=half, adapter=adapter)
    kept = estimate.kept_by_layer(shape, run)
    assert kept == pytest.approx((four - two) / 2 / tokens, rel=0.05)
    assert kept < estimate.kept_by_layer(shape, replace(run, adapter=replace(adapter, fused=False)))


def test_long_rows_keep_what_their_attention_needs_in_half_precision(monkeypatch):
    (two, tokens), (four, _) = (kept_bytes(layers, True, None, "flat", False, 300) for layers in (2, 4))
    shape = Shape(0, HIDDEN, INNER, 2, WORDS, HIDDEN, HIDDEN // 2, HEADS)
    long, short = (Run(tokens, tokens, row=300, span=span, half=True) for span in (300, 96))
    assert estimate.kept_by_layer(shape, long) == pytest.approx((four - two) / 2 / tokens, rel=0.05)
    monkeypatch.setattr(estimate, "KEPT_PROBABILITIES", 0)
    assert estimate.kept_by_layer(shape, short) > 1.1 * estimate.kept_by_layer(shape, long)


@pytest.mark.parametrize(("divergence", "targets"), [("forward_kl", 4000), ("reverse_kl", 4000), ("forward_kl", 100)])
def test_a_teachers_logits_take_what_is_said_of_a_gpu(
    divergence: str, targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's device without data: what is allocated, and let go again, is counted."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from autotrain_llm.run.engine.flat.distillation_loss import DistillTarget, TeacherHidden, distillation_loss
    from autotrain_llm.run.engine.flat.tiled_head import Head, LogitTransform

    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.live = self.most = 0
            self.known: set[int] = set()

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(found):
                if isinstance(tensor, torch.Tensor) and id(tensor.untyped_storage()) not in self.known:
                    self.count(tensor.untyped_storage())
            return found

        def count(self, storage: Any) -> None:
            self.known.add(id(storage))
            size = storage.nbytes()
            self.live += size
            self.most = max(self.most, self.live)
            weakref.finalize(storage, self.let_go, id(storage), size)

        def let_go(self, name: int, size: int) -> None:
            self.known.discard(name)
            self.live -= size

    words, width = 100_000, 32
    counting = Counting()
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # that device knows of no autocast
    monkeypatch.setattr(torch, "autocast", lambda *of, **how: contextlib.nullcontext())
    with torch.device("meta"):
        hidden, weight = (torch.empty(rows, width, requires_grad=True) for rows in (targets, words))
        heard = TeacherHidden(torch.empty(targets, width), Head(torch.empty(words, width), None, LogitTransform()))
        labels = torch.empty(targets, dtype=torch.long)
        with counting:
            distillation_loss(
                hidden, Head(weight, None, LogitTransform()), labels, DistillTarget(heard, divergence, 2.0, 0.5, words)
            )
    run = Run(targets, targets, device="cuda", teacher_hidden_size=width)
    assert estimate.head_bytes(Shape(0, width, 0, 1, words), run) == pytest.approx(counting.most, rel=0.08)


def test_memory_grows_with_what_it_grows_with_and_no_faster():
    shape = Shape(10**9, 2048, 8192, 16, 128256, 2048, 512, 32)
    run = Run(8192, 8192, device="cuda", half=True)
    alone = estimate.peak(shape, run).parts
    assert estimate.peak(shape, Run(16384, 16384, device="cuda", half=True)).parts["activations"] == pytest.approx(
        2 * alone["activations"], rel=0.01
    )
    assert alone["weights"] == 4 * 10**9 and alone["optimizer"] == 8 * 10**9
    twice = estimate.peak(shape, Run(8192, 8192, device="cuda", half=True, checkpointing=True))
    assert twice.bytes < estimate.peak(shape, run).bytes


def test_rows_of_unlike_length_keep_kernels_of_every_shape_in_half_precision(places, tmp_path, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    alike = write_rows(tmp_path / "alike.jsonl", [{"prompt": "word", "completion": "one two three"}] * 40)
    flags = {"mixed_precision": "bf16", "max_seq_length": 512}
    unequal, equal = (
        plan_of(places, **flags, data_path=path).memory for path in ("{folder}/answered.jsonl", str(alike))
    )
    exact = plan_of(places, mixed_precision="fp32").memory
    assert unequal.memory["kernels"] > equal.memory["kernels"] == exact.memory["kernels"]
    assert exact.kernels_kept is None and unequal.kernels_kept > equal.kernels_kept > 0


def test_merging_an_adapter_holds_the_whole_model_in_float32():
    shape = Shape(10**9, 2048, 8192, 16, 128256, 2048, 512, 32)
    adapter = Adapter(10**7, 6 * 2048 + 8192, 7, 16, True)
    small = {"device": "cuda", "half": True, "weight": 2.0, "adapter": adapter, "checkpointing": True}
    assert estimate.peak(shape, Run(64, 64, **small, merges=True)).moment == "when the adapter is merged"
    assert estimate.peak(shape, Run(64, 64, **small)).parts["weights"] < 2.1 * 10**9


@pytest.mark.parametrize(("size", "epochs", "accumulated"), [(4, 1, 1), (7, 3, 2), (40, 2, 1)])
def test_the_largest_batch_is_the_largest_of_those_that_are_trained_on(size, epochs, accumulated, places):
    from autotrain_llm.data.order import ShuffledOrder
    from autotrain_llm.planning.memory_budget import Memory
    from autotrain_llm.run.engine.batches import BatchOrder

    found = checked(places, batch_size=size, epochs=epochs, gradient_accumulation=accumulated)
    assert found.plan is not None and found.context.prepared is not None
    memory = Memory(found.config, found.context, found.plan.layout, found.plan.schedule)
    lengths, order, sums = found.context.prepared.train.lengths, None, []
    order = BatchOrder(ShuffledOrder(len(lengths), found.config.seed), size)
    for epoch in range(epochs):
        order.set_epoch(epoch)
        sums += [int(lengths[batch].sum()) for batch in order]
    assert memory._batch(found.config, full=False).tokens == max(sums)


# ---- what lies beside the model that is trained


@pytest.mark.parametrize(
    ("trainer", "flags", "without", "part"),
    [
        ("sft", TAUGHT, {}, "teacher"),
        ("dpo", TAUGHT, {}, "teacher"),
        ("orpo", TAUGHT, {}, "teacher"),
        ("dpo", {}, {"peft": True}, "reference"),
        ("dpo", {"model_ref": "{teacher}"}, {"model_ref": None, "peft": True}, "reference"),
        ("kto", {}, {"peft": True}, "reference"),
        ("ppo", SCORED, {"rl_reward_model_path": None, "rl_reward_fn": "{folder}/score.py:score"}, "reward models"),
        ("ppo", SCORED, {"rl_kl_coef": 0.0}, "reference"),
        ("grpo", {**SCORED, "rl_kl_coef": 0.1, "rl_num_generations": 4}, {"rl_kl_coef": 0.0}, "reference"),
    ],
)
@pytest.mark.parametrize("target", [None, "24GiB"])
def test_every_model_beside_the_one_that_is_trained_counts(trainer, flags, without, part, target, places):
    (Path(places["folder"]) / "score.py").write_text(
        "def score(completions, **rest): return [0.0] * len(completions)\n"
    )
    found = plan_of(places, trainer, **flags, target_memory=target).memory
    fewer = {name: value for name, value in (flags | without).items() if without or name not in TAUGHT}
    less = plan_of(places, trainer, **fewer, target_memory=target).memory
    assert found.memory[part] > 0 and part not in less.memory
    if "peft" not in without:
        assert found.peak_memory_bytes > less.peak_memory_bytes


def test_a_value_model_of_its_own_doubles_what_is_learnt(places):
    flags = LARGE | SCORED
    kinds = [plan_of(places, "ppo", **flags, rl_value_model=kind).memory for kind in ("shared", "separate")]
    assert kinds[1].memory["optimizer"] > 1.5 * kinds[0].memory["optimizer"]
    assert kinds[1].checkpoint_bytes > 1.5 * kinds[0].checkpoint_bytes
    assert any(way.changes == {"rl_value_model": "shared"} for way in kinds[1].alternatives)


def test_a_reward_model_that_learns_on_counts_by_its_own_size(places):
    kinds = ("shared", "reward", "separate")

    def memory(kind: str, **flags: object) -> dict[str, int]:
        return plan_of(places, "ppo", **SCORED, **flags, rl_value_model=kind).memory.memory

    # A large policy and a small reward model.
    shared, reward, separate = (memory(kind, **LARGE, tokenizer="{scorer}") for kind in kinds)
    for name in ("weights", "optimizer"):
        assert shared[name] < reward[name] < separate[name], name
    assert memory("corrected", **LARGE, tokenizer="{scorer}") == shared
    # Two small ones, of each of which an adapter is trained.
    shared, reward, separate = (memory(kind, peft=True, lora_r=4, lora_dropout=0.0) for kind in kinds)
    assert 1.9 * shared["optimizer"] < reward["optimizer"] == separate["optimizer"]


# ---- a device that is not here


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("24GiB", (GPU, 24 * GIB)),
        ("24 gb", (GPU, 24 * GIB)),
        ("24G", (GPU, 24 * GIB)),
        ("gpu:1.5TiB", (GPU, 1536 * GIB)),
        ("cpu:16GiB", (CPU, 16 * GIB)),
        ("512MiB", (GPU, GIB // 2)),
        ("24", None),
        ("0GiB", None),
        ("much", None),
        ("tpu:16GiB", None),
    ],
)
def test_a_memory_is_a_number_with_its_unit(written, found, places):
    assert target_memory(written) == found
    assert ("P305" in codes(checked(places, target_memory=written))) == (found is None)


def test_the_fix_of_a_memory_without_unit_takes_it_as_gibibytes(places):
    finding = next(one for one in checked(places, target_memory="24").findings if one.code == "P305")
    assert dict(finding.changes) == {"target_memory": "24GiB"}


def test_a_plan_for_a_gpu_computes_as_that_would(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    monkeypatch.setattr(Machine, "processor_flags", frozenset())
    here, there, other = (plan_of(places, target_memory=target) for target in (None, "24GiB", "cpu:16GiB"))
    assert [plan.precision.name for plan in (here, there, other)] == ["fp32", "bf16", "fp32"]
    assert [plan.precision.cpu for plan in (here, there, other)] == [True, False, True]
    assert there.memory.device.memory_bytes == 24 * GIB
    assert "heap fragmentation" not in there.memory.memory
    said = {name: (value, why) for _, part in there.summary() for name, value, why in part}
    assert "bf16" in said["planned for"][1] and "24.0 GiB" in said["memory"][0]


def test_what_needs_a_gpu_can_be_planned_for_one_and_what_was_assumed_is_said(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    flags = {"optimizer": "paged_adamw_8bit", "mixed_precision": "bf16"}
    assert "E503" in codes(checked(places, **flags))
    found = checked(places, **flags, target_memory="24GiB")
    assert found.findings == ()
    assert any("assumed to be a GPU" in item.why for item in found.not_checked)
    assert not any("taken to be" in item.why for item in checked(places).not_checked)


def test_a_machine_with_a_gpu_is_asked_what_that_computes_in(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", (Gpu("Tesla T4", 16 * GIB, 7.5),))
    assert plan_of(places, target_memory="24GiB").precision.name == "fp32"
    assert "E502" in codes(checked(places, mixed_precision="bf16", target_memory="24GiB"))


def test_a_run_that_starts_keeps_to_the_memory_that_was_named(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    (free, short) = (plan_of(places, dry_run=False, target_memory=target) for target in ("8GiB", "700MiB"))
    assert free.memory.device.memory_bytes == 8 * GIB and free.memory.device.kind == "processor"
    assert not free.precision.checkpointing and short.precision.checkpointing


def test_more_memory_than_there_is_is_not_taken_for_granted(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    monkeypatch.setattr(Machine, "memory", 2 * GIB)
    plan = plan_of(places, dry_run=False, target_memory="64GiB")
    assert plan.memory.device.memory_bytes == 2 * GIB
    said = {name: why for _, part in plan.summary() for name, _, why in part}
    assert "more than there is" in said["planned for"]


def test_what_fits_is_said_and_does_fit_and_more_does_not(places):
    flags = LARGE | {"target_memory": "2GiB"}
    plan = plan_of(places, **flags)
    size = plan.memory.largest["batch_size"]
    assert "E541" not in codes(checked(places, **flags | {"batch_size": size}))
    if size < 40:  # as many rows as there are
        assert "E541" in codes(checked(places, **flags | {"batch_size": size + 2}))
    text = {name: value for _, part in plan.summary() for name, value, _ in part}
    assert f"--batch-size {size}" in text["at most"]
    assert "lora_r" in (plan_of(places, peft=True, target_memory="2GiB").memory.largest or {})


# ---- what does not fit


@pytest.mark.parametrize(
    ("trainer", "flags", "share"),
    [
        ("generic", LARGE, 0.7),
        ("sft", LARGE, 0.75),
        ("sft", LARGE, 0.68),
        ("dpo", LARGE, 0.7),
        ("orpo", LARGE, 0.7),
        ("reward", LARGE, 0.7),
        ("ppo", LARGE | SCORED | {"rl_value_model": "separate"}, 0.7),
    ],
)
def test_a_run_that_cannot_fit_is_refused_with_flags_that_make_it_fit(trainer, flags, share, places):
    needed = plan_of(places, trainer, **flags, target_memory="80GiB").memory.peak_memory_bytes
    target = f"{int(share * needed) // 2**20}MiB"
    found = checked(places, trainer, **flags, target_memory=target)
    finding = next(one for one in found.findings if one.code == "E541")
    assert found.refused and finding.changes and finding.fix is not None and "which needs" in finding.fix
    then = checked(places, trainer, **(flags | dict(finding.changes)), target_memory=target)
    assert "E541" not in codes(then)
    assert "E541" not in codes(checked(places, trainer, **flags, target_memory="80GiB"))


def test_a_machine_that_is_too_small_is_told_before_anything_is_loaded_or_written(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    monkeypatch.setattr(Machine, "memory", GIB)
    found = checked(places, **LARGE, dry_run=False, output_dir="{folder}/run")
    finding = next(one for one in found.findings if one.code == "E541")
    assert found.refused and "this processor has 1.0 GiB" in finding.message
    assert not (Path(places["folder"]) / "run").exists()
    monkeypatch.setattr(Machine, "memory", 16 * GIB)
    assert "E541" not in codes(checked(places, **LARGE, dry_run=False, output_dir="{folder}/run"))


def test_processes_that_share_too_little_memory_are_told_how_many_fit(places, monkeypatch):
    monkeypatch.setattr(Machine, "gpus", ())
    monkeypatch.setattr(Machine, "memory", 16 * GIB)
    monkeypatch.setattr(Machine, "cores", 4)
    finding = next(one for one in checked(places, num_processes=1000).findings if one.code == "E541")
    assert "each of 1000 processes" in finding.message and finding.parameters == ("num_processes",)
    assert finding.changes == {"num_processes": 4}
    assert "E541" not in codes(checked(places, num_processes=4))


def test_what_may_fit_is_a_warning(places):
    needed = plan_of(places, target_memory="24GiB").memory.peak_memory_bytes
    found = checked(places, target_memory=f"{int(0.9 * needed) // 2**20}MiB")
    assert [(one.code, one.severity) for one in found.findings if one.code == "E541"] == [("E541", "warning")]
    assert not found.refused


def test_a_plan_that_was_kept_is_the_same_on_a_machine_with_more_memory(places, monkeypatch):
    from autotrain_llm.checks.saved_plan import MACHINE_SPECIFIC

    plans = []
    for memory in (8 * GIB, 16 * GIB):
        monkeypatch.setattr(Machine, "memory", memory)
        plans.append(plan_of(places, dry_run=False).as_json()["estimate"])
    assert plans[0] != plans[1]
    compared = [
        {name: part for name, part in plan.items() if name not in MACHINE_SPECIFIC["estimate"]} for plan in plans
    ]
    assert compared[0] == compared[1]


def test_where_nothing_helps_that_is_said(places):
    finding = next(one for one in checked(places, target_memory=TINY).findings if one.code == "E541")
    assert not finding.changes and finding.fix is not None and "more memory" in finding.fix


def test_the_fix_is_carried_out(places):
    config = checked(places, **LARGE, target_memory="1300MiB").config
    said = ParsedArguments()
    for name in config.all_given():
        said.set(name, config.value_of(name))
    fixed = fix(said, ParsedArguments())
    assert "E541" in {one.code for one in fixed.applied} and "E541" not in codes(fixed.checked)


def test_what_other_flags_would_bring_is_what_they_bring(places):
    flags = LARGE | {"target_memory": "24GiB"}
    plan = plan_of(places, **flags)
    assert len(plan.memory.alternatives) > 2
    for way in plan.memory.alternatives:
        then = plan_of(places, **flags | way.changes).memory.peak_memory_bytes
        assert then == pytest.approx(way.peak_memory_bytes, rel=0.02)
        assert then < plan.memory.peak_memory_bytes
    shown = [name for _, part in plan.summary() for name, _, _ in part]
    assert "  with --gradient-checkpointing" in shown


def test_the_estimate_can_be_written_down(places):
    cost = json.loads(json.dumps(plan_of(places, target_memory="24GiB").as_json()["estimate"]))
    assert sum(cost["memory"].values()) == cost["peak_memory_bytes"]


def test_a_container_has_no_more_memory_than_it_may_use(tmp_path, monkeypatch):
    from autotrain_llm.context import machine

    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "other").write_text("max\n")
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "memory.max", tmp_path / "other", tmp_path / "none"))
    assert Machine({}).memory == GIB


# ---- the disk


@pytest.mark.parametrize(("room", "severity"), [(0.5, "error"), (1.5, "warning"), (3.5, None)])
def test_a_disk_has_room_for_the_checkpoints_that_are_kept_and_the_one_that_is_written(room, severity, places, monkeypatch):  # fmt: skip
    each = plan_of(places).memory.checkpoint_bytes
    monkeypatch.setattr("autotrain_llm.checks.rules.memory.free_on_disk", lambda folder: int(room * each))
    found = [finding.severity for finding in checked(places).findings if finding.code == "E542"]
    assert found == ([severity] if severity else [])
    assert "E542" not in codes(checked(places, save_strategy="no"))


def test_a_folder_that_is_not_there_yet_lies_on_the_disk_of_the_one_above(tmp_path):
    from autotrain_llm.checks.rules.memory import free_on_disk

    assert free_on_disk(tmp_path / "not/yet") == pytest.approx(free_on_disk(tmp_path), rel=0.5)
