"""Save the finished model at the root of the output folder, in the layout of Hugging Face models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

from autotrain_llm.data.tokenize.prompt_format import FILE, PromptFormat
from autotrain_llm.declare.umask import permitted
from autotrain_llm.run.artifacts.output_lock import UNFINISHED
from autotrain_llm.run.artifacts.rounding import Rounding
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.loading import merge as merge_adapter

PART = "5GB"  # the largest file of weights


def save_finished(
    loaded: Loaded,
    folder: Path,
    *,
    merge: bool,
    end_of_turn: str | None,
    prompt_format: PromptFormat,
    rounding: Rounding,
) -> list[str]:
    """Write the model, the tokenizer, how to ask it and, for a generating model, the generation config; returns the file names. Files are moved into place when complete.
    What is lost when weights are rounded is added to `rounding`."""
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    model: Any = loaded.model
    if isinstance(model, PeftModel) and merge:
        # In float32: merging in half precision would round the adapter's small changes away.
        model = merge_adapter(model.to(torch.float32))
    generates = causal_model(model).can_generate()
    if generates:
        set_end_tokens(model, loaded.tokenizer, end_of_turn)
    if not isinstance(model, PeftModel):
        rounding.add_all(model)
        model = model.to(loaded.saved_dtype)
    # An adapter has no parts.
    model.save_pretrained(unfinished, **({} if isinstance(model, PeftModel) else {"max_shard_size": PART}))
    if isinstance(model, PeftModel) and generates:
        base: Any = model.get_base_model()
        base.generation_config.save_pretrained(unfinished)
    loaded.tokenizer.save_pretrained(unfinished)
    (unfinished / FILE).write_text(json.dumps(prompt_format.as_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    names = sorted(entry.name for entry in unfinished.iterdir())
    (unfinished / "README.md").unlink(missing_ok=True)  # PEFT's own; the run writes its card
    readable = permitted(0o666)
    for entry in unfinished.iterdir():
        if entry.is_file():
            entry.chmod(readable)  # safetensors writes files that only their owner may read
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    unfinished.rmdir()
    return [name for name in names if name != "README.md"]


def set_end_tokens(model: Any, tokenizer: Any, end_of_turn: str | None) -> None:
    """Make generation stop at the end of the text and at the end of a turn."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    ends = end_tokens(model, tokenizer, end_of_turn)
    settings = base.generation_config.to_dict() | {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    base.generation_config = GenerationConfig.from_dict(
        settings | {"eos_token_id": ends[0] if len(ends) == 1 else ends or None}
    )


def end_tokens(model: Any, tokenizer: Any, end_of_turn: str | None) -> list[int]:
    """The tokens that end an answer: those of the generation config, the end of the text and the end of a turn."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    configured, vocab_size = base.generation_config.eos_token_id, base.get_input_embeddings().weight.shape[0]
    ends = [end for end in ([configured] if isinstance(configured, int) else configured or []) if end < vocab_size]
    ends += [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    if end_of_turn is not None:
        turn = tokenizer.convert_tokens_to_ids(end_of_turn)
        ends += [] if turn in (None, tokenizer.unk_token_id) else [turn]
    return list(dict.fromkeys(ends))
