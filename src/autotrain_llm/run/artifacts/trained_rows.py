"""`trained_rows.json`: a few rows as the run trains on them, each as texts that are trained on or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotrain_llm.context.output_dir import TRAINED_ROWS
from autotrain_llm.data.tokenize.prepare import Prepared
from autotrain_llm.data.tokenize.preview import Segment, preview_parts
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.run.artifacts.records import write_json

ROWS = 3
MAX_CHARACTERS = 4000  # of a part


def write_trained_rows(folder: Path, prepared: Prepared, tokenizer: Tokenizer) -> None:
    """Write the first rows of the data, of a mixture those of each source. Raises OSError."""
    rows = [
        {"source": source, "parts": [{"name": name, "texts": _texts(segments)} for name, segments in parts]}
        for source, parts in preview_parts(prepared, tokenizer, ROWS)
    ]
    write_json(folder / TRAINED_ROWS, {"rows": rows})


def _texts(segments: list[Segment]) -> list[dict[str, Any]]:
    """Segments up to the longest that is kept of a part; the last one says so if it is cut."""
    texts: list[dict[str, Any]] = []
    room = MAX_CHARACTERS
    for text, trained in segments:
        if room <= 0:
            break
        texts.append({"text": text if len(text) <= room else text[:room] + " …", "trained": trained})
        room -= len(text)
    return texts
