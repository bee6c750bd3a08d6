"""The list of a checkpoint's files with their sizes and digests, which is written last: one that has lost or changed a file is not resumed from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from autotrain_llm.context.output_dir import CHECKPOINT_FILE, PROCESSES, STATE_FILE, STREAM_FILE
from autotrain_llm.declare import digests
from autotrain_llm.declare.umask import permitted
from autotrain_llm.run.artifacts.records import write_json

METRIC = "metric_for_best_model"
READ = (".safetensors", ".pt", ".pth", ".npz")


def write_list(folder: Path, of_parts: Mapping[str, Any], args: TrainingArguments) -> None:
    """Write the list of a checkpoint; `of_parts` has the entries of the files that several processes have written."""
    read = [path for path in folder.rglob("*") if path.suffix in READ or path.name in (STATE_FILE, STREAM_FILE)]
    readable = permitted(0o666)
    for path in read:
        path.chmod(readable)  # safetensors writes files that only their owner may read
    files = digests.listed(folder, (path for path in read if path.relative_to(folder).as_posix() not in of_parts))
    document = {"files": files | dict(of_parts), METRIC: args.metric_for_best_model, PROCESSES: args.world_size}
    write_json(folder / CHECKPOINT_FILE, document)
