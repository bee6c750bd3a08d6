"""The scores of a reward model in the predictions file, as one of several processes writes them."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch

from autotrain_llm.data.example import Example
from autotrain_llm.data.rows import PairRows, RowsBuilder
from autotrain_llm.run.engine.flat.model import SCORES, FlatOutput
from autotrain_llm.run.evaluation.observers import RewardScores

GRADED = [
    Example(file="rows.jsonl", row=at, prompt="Hi", completion="Hello", scores=[1.0, 2.0, 3.0]) for at in range(2)
]
PAIRED = [Example(file="rows.jsonl", row=at, prompt="Hi", chosen="Hello", rejected="No") for at in range(2)]


def rows(count: int) -> Any:
    builder = RowsBuilder()
    for source in range(count):
        builder.add([1, 2], [(1, 2)], source)
    return builder.built()


class OfEvaluation(list[Any]):
    """Batches, with the items of each; a negative one is a padding item."""

    order = ([1, 0], [-1])


def written(examples: list[Example], valid: Any, labels: tuple[str, ...] | None, scores: list[Any]) -> list[Any]:
    file = io.StringIO()
    outputs = iter(scores)
    loop: Any = SimpleNamespace(
        unwrapped=torch.nn.Linear(1, 1),
        autocast=nullcontext,
        get_eval_dataloader=lambda: OfEvaluation([{}, {}]),
        layout=SimpleNamespace(forward=lambda *inputs: FlatOutput(scores=next(outputs))),
        objective=SimpleNamespace(compute=SCORES),
        on_device=lambda batch: batch,
        state=SimpleNamespace(global_step=4),
    )
    inputs: Any = SimpleNamespace(prepared=SimpleNamespace(valid=valid), dataset=SimpleNamespace(valid=examples))
    predictions: Any = SimpleNamespace(writing=lambda loop: nullcontext(file))
    assert RewardScores(inputs, predictions, labels).measure(loop) == {}
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_each_output_is_written_beside_the_row_s_own_and_padding_is_not() -> None:
    scores = [torch.tensor([[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]), torch.zeros(0, 3)]
    second, first = written(GRADED, rows(2), ("kind", "short", "true"), scores)
    assert (second["row"], second["scores"]) == (1, {"kind": 0.5, "short": 1.0, "true": 1.5})
    assert (first["row"], first["scores"]) == (0, {"kind": 2.0, "short": 2.5, "true": 3.0})
    assert first["reference"] == {"kind": 1.0, "short": 2.0, "true": 3.0}


def test_both_answers_of_a_pair_have_a_score_and_padding_has_none() -> None:
    valid = PairRows(rows(2), rows(2), rows(2))
    second, first = written(PAIRED, valid, None, [torch.tensor([0.5, 1.0, 1.5, 2.0]), torch.zeros(0)])
    assert second["scores"] == {"chosen": 0.5, "rejected": 1.0}
    assert first == {
        "step": 4,
        "file": "rows.jsonl",
        "row": 0,
        "prompt": "Hi",
        "chosen": "Hello",
        "rejected": "No",
        "scores": {"chosen": 1.5, "rejected": 2.0},
    }
