"""Every trainer, and every architecture whose rows are padded, at least once, with what is often combined: no run may end in an error that nobody foresaw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.finding import Refused
from support.architecture_configs import PADDED
from support.models import build_other
from support.short_runs import LORA, short_run

ROOMY = {"max_position_embeddings": 256, "n_positions": 256, "max_seq_len": 256, "context_length": 256}
COMBINED: tuple[dict[str, Any], ...] = (
    {},
    LORA,
    {**LORA, "merge_adapter": True, "gradient_checkpointing": True},
    {"gradient_checkpointing": True},
    {**LORA, "use_dora": True},
)
KINDS = (*PADDED, "gemma2", "gpt2", "opt", "phi3")  # the flat ones are alike
CASES = [
    (kind, list(TRAINERS)[index % len(TRAINERS)], COMBINED[index % len(COMBINED)]) for index, kind in enumerate(KINDS)
]


@pytest.mark.parametrize(("kind", "name", "flags"), CASES, ids=[f"{kind}-{name}" for kind, name, _ in CASES])
def test_a_run_ends_well_or_is_refused_before_its_model_is_loaded(
    kind: str, name: str, flags: dict[str, Any], llama: Path, tmp_path: Path
) -> None:
    model = build_other(tmp_path / kind, kind, llama, **ROOMY)
    try:
        report = short_run(name, model, tmp_path, **flags)
    except Refused as refusal:
        assert not (tmp_path / "run").exists()
        assert all(finding.fix or finding.changes for finding in refusal.findings if finding.severity == "error")
    else:
        saved = "adapter_model.safetensors" if "peft" in flags and "merge_adapter" not in flags else "model.safetensors"
        assert saved in report.files
