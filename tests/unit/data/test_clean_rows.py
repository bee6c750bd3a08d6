"""Ordinary rows in forty unlike shapes, as public data sets have them, draw no finding."""

import base64
import json
import shlex
from pathlib import Path

import pytest

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.quality.cross_row_checks import check_rows
from autotrain_llm.data.request import DataRequest
from support import paths

CASES = [
    json.loads(line)
    for line in (paths.PROJECT / "tests" / "support" / "clean_rows.jsonl").read_text(encoding="utf-8").splitlines()
]
FIELDS = {
    "--data-path": "path",
    "--valid-split": "valid_split",
    "--prompt-text-column": "prompt_column",
    "--rejected-text-column": "rejected_column",
}


def request_of(args: str, folder: Path) -> DataRequest:
    """The rows that a command asks for."""
    words = shlex.split(args)
    flags = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
    wanted = {field: flags[flag] for flag, field in FIELDS.items() if flag in flags}
    wanted["path"] = str(folder / wanted["path"])
    trainer = flags["--trainer"]
    named = tuple(field for field in ("prompt_column", "rejected_column") if field in wanted)
    return DataRequest(
        rows=TRAINERS[trainer].rows, trainer=trainer, named=named, keeps_columns="--rl-reward-fn" in flags, **wanted
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_ordinary_rows_draw_no_finding(case, tmp_path):
    for name, content in case["files"].items():
        data = base64.b64decode(content["base64"]) if isinstance(content, dict) else content.encode()
        (tmp_path / name).write_bytes(data)
    dataset = open_data(request_of(case["args"], tmp_path))
    assert (dataset.findings, check_rows(dataset).findings) == ((), ())
    assert len(dataset.train) > 0
