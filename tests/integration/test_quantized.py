"""`--quantization` on a processor: the base computes in 4 or 8 bits, an adapter is learned, saved, and merged into the base in full precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotrain_llm import train
from autotrain_llm.cli.main import main
from support.rows import questions, write_rows

pytest.importorskip("bitsandbytes", exc_type=ImportError)
# How far the logits of weights in so many bits are from those in float32, as a share of their norm.
ROUNDING = {"int4": 0.15, "int8": 0.02}


@pytest.mark.parametrize("bits", ROUNDING)
def test_an_adapter_on_a_quantised_base_learns_and_is_merged_into_the_exact_one(
    bits: str, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from autotrain_llm.run.engine.loading import quantization

    rows = write_rows(tmp_path / "rows.jsonl", questions(16))
    flags = {"trainer": "sft", "model": str(llama), "data_path": str(rows), "mixed_precision": "fp32", "batch_size": 4}
    tuned = tmp_path / "tuned"
    report = train(**flags, peft=True, lora_r=8, quantization=bits, lr=2e-2, epochs=10, logging_steps=1, output_dir=str(tuned))  # fmt: skip
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert losses[-1] < 0.95 * losses[0]
    assert (tuned / "adapter_model.safetensors").is_file() and not (tuned / "model.safetensors").exists()

    assert main(["export", str(tuned), "--to", "merged", "--output-dir", str(tmp_path / "merged")]) == 0
    ids = torch.arange(2, 40)[None]

    def logits(folder: Path, adapter: Path | None = None, in_bits: str | None = None) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, quantization_config=quantization(in_bits)
        )
        with torch.no_grad():
            return (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()(ids).logits.float()

    def distance(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other).norm() / other.norm())

    merged = logits(tmp_path / "merged")
    assert distance(merged, logits(llama, tuned)) < 1e-5
    assert 0 < distance(logits(llama, tuned, bits), merged) < ROUNDING[bits]
    assert distance(logits(llama), merged) > ROUNDING[bits]


def test_a_quantised_teacher_is_almost_the_exact_one_and_is_learned_from(llama: Path, tmp_path: Path) -> None:
    """The student begins as the teacher: what it is taught at first is what rounding has changed, and it learns that."""
    rows = write_rows(tmp_path / "rows.jsonl", questions(16))
    flags = {"trainer": "sft", "model": str(llama), "data_path": str(rows), "mixed_precision": "fp32", "batch_size": 4}
    flags |= {"use_distillation": True, "teacher_model": str(llama), "distill_alpha": 1.0, "distill_temperature": 1.0}
    flags |= {"lr": 1e-3, "epochs": 10, "logging_steps": 1}

    def losses(**changes: str) -> list[float]:
        report = train(**flags, **changes, output_dir=str(tmp_path / str(changes)))
        return [entry["distill_loss"] for entry in report.history if "distill_loss" in entry]

    exact, quantised = losses(), losses(teacher_quantization="int4")
    assert exact[0] < 1e-6
    assert 1e-6 < quantised[0] < ROUNDING["int4"]
    assert quantised[-1] < 0.5 * quantised[0]
