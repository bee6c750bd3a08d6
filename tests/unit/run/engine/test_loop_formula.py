"""The loop's loss and gradients against the formula written out, in float64, with dense attention of one row at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from autotrain_llm.data.tokenize.pack import Packs
from autotrain_llm.planning.plan import AdapterPlan
from autotrain_llm.run.engine.batches import RowGroups
from autotrain_llm.run.engine.layouts import Flat, Padded
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.engine.objective import next_token
from autotrain_llm.run.engine.throughput import Throughput

WORDS = 61
WITHIN = 1e-10
Row = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"vocab_size": WORDS, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, tie_word_embeddings=True)).double()


def rows_of(lengths: Sequence[int], seed: int, share: float) -> list[Row]:
    """Random tokens, of which about `share` are trained on; the last of each row always is."""
    random = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        trained = random.random(length) < share
        trained[-1] = True
        rows.append((random.integers(0, WORDS, length), trained))
    return rows


def written_out(model: LlamaForCausalLM, rows: Sequence[Row]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Minus the mean, over all trained tokens of all rows, of log p(token | tokens before it in its own row)."""
    model = copy.deepcopy(model)
    terms = []
    for ids, trained in rows:
        logits = model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0]
        for place in range(1, len(ids)):
            if trained[place]:
                scores = logits[place - 1]
                terms.append(torch.log(torch.exp(scores).sum()) - scores[int(ids[place])])
    loss = torch.stack(terms).sum() / len(terms)
    loss.backward()
    return loss.detach(), gradients(model)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def looped(
    model: LlamaForCausalLM, layout: str, rows: list[Row], folder: Path, batch_size: int, **changes: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss and the gradients of the loop's first optimizer step, with the batches that it makes."""
    model = copy.deepcopy(model)
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "remove_unused_columns": False,
        "label_names": [],
        "data_seed": 3,
        **changes,
    }
    loop = Loop(
        model=model,
        args=TrainingArguments(**settings),
        layout=Flat(model) if layout == "flat" else Padded(0),
        objective=next_token(),
        throughput=Throughput(None, None),
        train_rows=RowGroups(rows),
        valid_rows=None,
    )
    steps = settings["gradient_accumulation_steps"]
    batches, items = loop.get_batch_samples(iter(loop.get_train_dataloader()), steps, torch.device("cpu"))
    assert len(batches) == steps
    loop.current_gradient_accumulation_steps = steps
    losses = [loop.training_step(model, batch, items) for batch in batches]
    return torch.stack(losses).sum(), gradients(model)


def assert_equal(found: tuple[Any, dict[str, torch.Tensor]], expected: tuple[Any, dict[str, torch.Tensor]]) -> None:
    assert float(found[0]) == pytest.approx(float(expected[0]), abs=WITHIN)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=WITHIN, msg=name)


LAYOUTS = pytest.mark.parametrize("layout", ["flat", "padded"])


@LAYOUTS
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_one_batch_of_ragged_rows(model: LlamaForCausalLM, tmp_path: Path, layout: str, share: float) -> None:
    rows = rows_of((17, 2, 9, 31, 5), seed=1, share=share)
    assert_equal(looped(model, layout, rows, tmp_path, 5), written_out(model, rows))


@LAYOUTS
def test_batches_of_an_accumulated_step_count_each_token_the_same(
    model: LlamaForCausalLM, tmp_path: Path, layout: str
) -> None:
    """Three batches, the last of one row, with very unequal numbers of trained tokens."""
    rows = rows_of((40, 2, 3, 3, 25, 7, 12), seed=2, share=0.5)
    found = looped(model, layout, rows, tmp_path, 3, gradient_accumulation_steps=3)
    assert_equal(found, written_out(model, rows))


@LAYOUTS
def test_rows_of_one_target_and_a_first_token_that_is_marked(
    model: LlamaForCausalLM, tmp_path: Path, layout: str
) -> None:
    """The first token of a row is predicted from nothing, whatever its mark says."""
    rows: list[Row] = [
        (np.array([4, 5, 6, 7]), np.array([True, False, False, True])),
        (np.array([8, 9]), np.array([True, True])),
        (np.array([10, 11, 12]), np.array([True, True, False])),
    ]
    assert_equal(looped(model, layout, rows, tmp_path, 3), written_out(model, rows))


@LAYOUTS
def test_blocks_of_text_of_one_length(model: LlamaForCausalLM, tmp_path: Path, layout: str) -> None:
    rows = rows_of((16, 16, 16, 16), seed=4, share=1.0)
    found = looped(model, layout, rows, tmp_path, 2, gradient_accumulation_steps=2)
    assert_equal(found, written_out(model, rows))


def test_packed_rows_are_as_rows_of_their_own(model: LlamaForCausalLM, tmp_path: Path) -> None:
    rows = rows_of((17, 2, 9, 20, 5), seed=5, share=0.6)
    expected = written_out(model, rows)
    model = copy.deepcopy(model)
    layout = Flat(model)
    packed = RowGroups(rows, Packs(np.array([0, 2, 1, 3, 4]), np.array([0, 2, 5])))
    batch = layout.collate([row for number in range(2) for row in packed[number]])
    loss = layout.forward(model, batch, "loss").loss / len(batch["target_labels"])
    loss.backward()
    assert_equal((loss.detach(), gradients(model)), expected)


@LAYOUTS
def test_checkpointing_changes_nothing(model: LlamaForCausalLM, tmp_path: Path, layout: str) -> None:
    rows = rows_of((17, 2, 9), seed=6, share=0.7)
    again = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    assert_equal(looped(model, layout, rows, tmp_path, 3, **again), written_out(model, rows))


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
def test_adapters_give_the_same_loss_and_gradients_on_both_layouts(
    model: LlamaForCausalLM, tmp_path: Path, kind: str
) -> None:
    from peft import get_peft_model

    from autotrain_llm.run.engine.loading import lora_config

    chosen = lora_config(
        AdapterPlan(4, 6.0, 0.0, kind == "dora", kind == "rslora", ("all-linear",), merge=False), model
    )
    torch.manual_seed(1)
    adapted: Any = get_peft_model(copy.deepcopy(model), chosen).double()
    with torch.no_grad():
        for name, one in adapted.named_parameters():
            if "lora_B" in name:  # starts at zero, where an adapter changes nothing
                one.normal_(0, 0.1)
    rows = rows_of((17, 2, 9, 31, 5), seed=7, share=0.5)
    flat, padded = (looped(adapted, layout, rows, tmp_path, 5) for layout in ("flat", "padded"))
    assert_equal(flat, padded)
    assert flat[1] and all("lora" in name for name in flat[1])
    plain, _ = looped(model, "flat", rows, tmp_path, 5)
    assert abs(float(plain) - float(flat[0])) > 1e-3


def test_dora_learns_magnitudes_and_rslora_scales_by_the_root_of_the_rank(model: LlamaForCausalLM) -> None:
    from peft import get_peft_model

    from autotrain_llm.run.engine.loading import lora_config

    def adapted(dora: bool, rslora: bool) -> Any:
        adapter = AdapterPlan(16, 8.0, 0.0, dora, rslora, ("q_proj",), merge=False)
        return get_peft_model(copy.deepcopy(model), lora_config(adapter, model))

    def scale(of: Any) -> float:
        return of.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"]

    plain = adapted(False, False)
    assert scale(plain) == 0.5
    assert not any("magnitude" in name for name, _ in plain.named_parameters())
    assert scale(adapted(False, True)) == 8.0 / 4
    magnitudes = [one for name, one in adapted(True, False).named_parameters() if "magnitude" in name]
    assert len(magnitudes) == 2
    assert all(one.requires_grad and one.numel() == 24 for one in magnitudes)


def test_the_flags_for_dora_and_rslora_reach_the_saved_adapter(chat_rows: Path, llama: Path, tmp_path: Path) -> None:
    import json

    from autotrain_llm.api import train

    flags = {"trainer": "sft", "lr": 1e-3, "max_steps": 2, "batch_size": 4, "peft": True, "mixed_precision": "fp32"}
    report = train(
        **flags,
        model=str(llama),
        data_path=str(chat_rows),
        output_dir=str(tmp_path / "run"),
        use_dora=True,
        use_rslora=True,
    )
    saved = json.loads((report.output_dir / "adapter_config.json").read_text())
    assert (saved["use_dora"], saved["use_rslora"]) == (True, True)
    rows = [row for _, part in report.plan.summary() for row in part]
    assert any(value.startswith("rsDoRA of rank 16") for _, value, _ in rows)


def test_a_scale_that_fades_lora_is_fine_for_rslora() -> None:
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.config.resolved import resolve

    def drawn(**flags: Any) -> bool:
        return bool(list(RULES["P311"].check({"config": resolve({"trainer": "sft", "peft": True, **flags}, {}, None)})))

    assert drawn(lora_r=64, lora_alpha=8.0)
    assert not drawn(lora_r=64, lora_alpha=8.0, use_rslora=True)
    assert drawn(lora_r=64, lora_alpha=1.0, use_rslora=True)
