"""New tokens are learned with an adapter, and what is saved is an adapter that PEFT loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.run.session.execute import execute
from autotrain_llm.run.session.run_report import RunReport
from support.models import TEMPLATE, build_llama
from support.rows import write_rows

NEW = [f"<|{name}|>" for name in ("north", "east", "south", "west")]


def tokenizer_with_new_tokens(model: Path, folder: Path) -> Path:
    """The tokenizer of a model with four tokens that it has not, in place of its last words."""
    shutil.copytree(model, folder)
    whole = json.loads((folder / "tokenizer.json").read_text())
    words = whole["model"]["vocab"]
    for token, (word, index) in zip(NEW, sorted(words.items(), key=lambda pair: -pair[1])[: len(NEW)], strict=True):
        del words[word]
        whole["model"]["merges"].pop()
        whole["added_tokens"].append({**whole["added_tokens"][-1], "content": token, "id": index})
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    return folder


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def command(request: Any, tmp_path: Path) -> dict[str, Any]:
    """Rows of new tokens alone, each of which follows from the one before."""
    model = build_llama(tmp_path / "model", TEMPLATE, tie_word_embeddings=request.param)
    other = tokenizer_with_new_tokens(model, tmp_path / "other")
    rows = [{"text": "".join(NEW[(start + step) % 4] for step in range(12))} for start in range(4)] * 8
    flags = {"trainer": "generic", "model": str(model), "tokenizer": str(other), "peft": True, "lora_r": 4, "lr": 1e-2}
    flags |= {"data_path": str(write_rows(tmp_path / "rows.jsonl", rows)), "batch_size": 8, "max_steps": 40}
    return {
        **flags,
        "mixed_precision": "fp32",
        "valid_split": "8",
        "save_steps": 20,
        "eval_strategy": "epoch",
        "logging_steps": 20,
    }


def run(output: Path, **flags: Any) -> RunReport:
    said = parse_kwargs({**flags, "output_dir": str(output)})
    assert said.findings == []
    checked = preflight(resolve(said.values))
    assert checked.plan is not None and not checked.refused, [finding.message for finding in checked.findings]
    return execute(checked.plan, inputs_of(checked.plan, checked.context), with_page=False)


def eval_loss(report: RunReport) -> float:
    return [entry["eval_loss"] for entry in report.history if "eval_loss" in entry][-1]


def test_rows_of_new_tokens_are_learned_far_better_where_their_embeddings_are_trained(
    command: dict[str, Any], tmp_path: Path
) -> None:
    few = {**command, "lora_r": 1, "target_modules": ("q_proj",)}
    frozen = eval_loss(run(tmp_path / "frozen", **few, trainable_tokens=()))
    trained = eval_loss(run(tmp_path / "trained", **few))
    assert frozen > 3 and trained < 0.5 * frozen


def test_the_saved_adapter_is_plain_pefts_and_goes_on_where_it_stopped(command: dict[str, Any], tmp_path: Path) -> None:
    report = run(tmp_path / "whole", **command)
    run(tmp_path / "resumed", **command, resume_from_checkpoint=str(tmp_path / "whole/checkpoints/checkpoint-20"))
    whole, resumed = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
    base = AutoModelForCausalLM.from_pretrained(command["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(tmp_path / "whole")).eval()
    row = json.loads(Path(command["data_path"]).read_text().splitlines()[0])["text"]
    tokenizer = Tokenizer.load(tmp_path / "whole")
    ids = torch.tensor(tokenizer.encode_batch([row + (tokenizer.eos or "")]))
    with torch.no_grad():
        with model.disable_adapter():
            before = float(model(input_ids=ids, labels=ids).loss)
        assert float(model(input_ids=ids, labels=ids).loss) < 0.5 * before
    merged = run(tmp_path / "merged", **command, merge_adapter=True)
    whole_model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(whole_model(input_ids=ids).logits, model(input_ids=ids).logits, rtol=1e-3, atol=1e-3)
    assert eval_loss(merged) == eval_loss(report)
    again = run(
        tmp_path / "again",
        **{**command, "model": str(tmp_path / "whole"), "tokenizer": None, "lr": 1e-9, "max_steps": 1},
    )
    assert eval_loss(again) == pytest.approx(eval_loss(report), abs=1e-3)
