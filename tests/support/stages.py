"""Configs of stages, and what they train on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotrain_llm.checks.stages import CheckedPipeline, check_stages
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.stages import read_pipeline
from support.rows import COLOURS, questions, write_rows

PAIRS = [{"prompt": f"Like {colour}?", "chosen": f"{colour} it is.", "rejected": "No."} for colour in COLOURS]
TEXTS = [{"text": f"The {one} house is next to the {other} one."} for one in COLOURS for other in COLOURS[:4]]
COLUMNS = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
SHARED = {"batch_size": 4, "epochs": 1, "mixed_precision": "fp32"}


def write_stage_rows(folder: Path) -> None:
    """`text.jsonl`, `chat.jsonl`, `pairs.jsonl` and `prompts.jsonl`."""
    write_rows(folder / "text.jsonl", TEXTS)
    write_rows(folder / "chat.jsonl", questions(16))
    write_rows(folder / "pairs.jsonl", PAIRS)
    write_rows(folder / "prompts.jsonl", [{"prompt": row["prompt"]} for row in PAIRS])


def _stage(trainer: str, changes: Mapping[str, Any], **usual: Any) -> dict[str, Any]:
    """A stage with the name of its trainer, and changes to its usual values."""
    return {"name": trainer, "trainer": trainer, **usual, **changes}


def pretrain(**changes: Any) -> dict[str, Any]:
    usual = {"model": "scratch:100k", "data_path": "text.jsonl", "lr": 1e-3, "block_size": 32}
    return _stage("generic", {"name": "pretrain", **changes}, **usual)


def sft(**changes: Any) -> dict[str, Any]:
    return _stage("sft", changes, model="${stages.pretrain}", data_path="chat.jsonl", lr=2e-5)


def dpo(**changes: Any) -> dict[str, Any]:
    return _stage("dpo", changes, model="sft@best", data_path="pairs.jsonl", lr=1e-6, **COLUMNS)


def reward(**changes: Any) -> dict[str, Any]:
    return _stage("reward", changes, model="sft", data_path="pairs.jsonl", lr=1e-5, **COLUMNS)


def ppo(**changes: Any) -> dict[str, Any]:
    sizes = {"rl_max_new_tokens": 6, "rl_chunk_size": 8, "rl_mini_batch_size": 4, "rl_num_ppo_epochs": 1}
    models = {"model": "${stages.dpo}", "rl_reward_model_path": "${stages.reward}"}
    return _stage("ppo", changes, data_path="prompts.jsonl", lr=1e-5, **models, **sizes)


def write_pipeline(folder: Path, stages: Sequence[Mapping[str, Any]] | Mapping[str, Any], **shared: Any) -> Path:
    """`pipeline.yaml` with these stages, and the rows for them."""
    import yaml

    write_stage_rows(folder)
    document = {"output_dir": "runs/p", **SHARED, **shared, "stages": stages}
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False), encoding="utf-8")
    return path


def checked(path: Path, **flags: Any) -> CheckedPipeline:
    """The check of a config of stages, of which nothing is started."""
    arguments = parse_kwargs({**flags, "config": str(path)})
    pipeline = read_pipeline(str(path), arguments.values.get("output_dir"))
    assert pipeline is not None
    return check_stages(pipeline, arguments)
