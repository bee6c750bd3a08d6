"""`--eval-batches`: how many evaluation rows the plan evaluates, and which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

from autotrain_llm import plan
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.data.order import choose_rows
from autotrain_llm.data.rows import PairRows, RowsBuilder, TokenRows
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.planning.summary import summary
from support.rows import write_rows

PAIRS = [{"prompt": f"{n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(40)]


@pytest.fixture
def flags(light_llama: Path, chat_rows: Path) -> dict[str, Any]:
    """A command with 12 evaluation rows."""
    usual = {"lr": 1e-4, "epochs": 1, "batch_size": 4, "valid_split": "0.25", "dry_run": True}
    return {"trainer": "sft", "model": str(light_llama), "data_path": str(chat_rows), **usual}


def evaluated(flags: dict[str, Any], **changes: Any) -> Any:
    """The evaluation rows that the run of these flags is given."""
    checked = preflight(resolve(parse_kwargs({**flags, **changes}).values))
    assert checked.plan is not None, checked.findings
    rows = inputs_of(checked.plan, checked.context).prepared.valid
    assert checked.plan.data.eval_rows == 12 and checked.plan.data.evaluated_rows == len(rows)
    return rows


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"eval_batches": 2}, 8),
        ({"eval_batches": 2, "eval_batch_size": 3}, 6),
        ({"eval_batches": 1, "eval_batch_size": 1}, 1),
        ({"eval_batches": 3}, 12),
        ({"eval_batches": 99}, 12),
        ({}, 12),
    ],
)
def test_batches_of_the_evaluation_size_limit_the_rows(flags, changes, rows):
    assert len(evaluated(flags, **changes)) == rows


def test_the_same_rows_are_chosen_whatever_else_changes_but_the_seed(flags):
    chosen = evaluated(flags, eval_batches=1).source.tolist()
    assert evaluated(flags, eval_batches=1, batch_size=2, eval_batch_size=4, lr=1e-3).source.tolist() == chosen
    assert {*chosen} < {*evaluated(flags, eval_batches=2).source.tolist()}, "a smaller choice is part of a larger one"
    assert any(choose_rows(12, 4, seed).tolist() != choose_rows(12, 4, 42).tolist() for seed in range(3))


def test_a_pair_is_two_items_of_a_batch_with_kto_and_one_with_dpo(light_llama, tmp_path):
    rows = write_rows(tmp_path / "pairs.jsonl", PAIRS)
    usual = {"model": str(light_llama), "data_path": str(rows), "lr": 1e-5, "epochs": 1, "batch_size": 4}
    limit = {"valid_split": "0.5", "eval_batches": 2, "dry_run": True}
    columns = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    assert plan(trainer="dpo", **usual, **limit, **columns).data.evaluated_rows == 8
    assert plan(trainer="kto", **usual, **limit).data.evaluated_rows == 4


def test_the_plan_says_how_many_rows_are_evaluated(flags):
    sections = dict(summary(plan(**flags, eval_batches=2)))
    assert ("rows", "36 to train on, 8 of 12 for evaluation", "") in sections["Data"]
    sections = dict(summary(plan(**flags)))
    assert ("rows", "36 to train on, 12 for evaluation", "") in sections["Data"]


def test_selected_rows_are_those_rows():
    builder = RowsBuilder()
    for row in range(5):
        builder.add([10 * row + token for token in range(row + 1)], [(0, row)], source=100 + row, label=row % 2 == 0)
    rows = builder.built()
    for some in (rows.select(numpy.array([1, 4])), PairRows(rows, rows, rows).select(numpy.array([1, 4])).chosen):
        assert isinstance(some, TokenRows) and some.labels is not None
        assert [ids.tolist() for ids, _ in some] == [[10, 11], [40, 41, 42, 43, 44]]
        assert [mask.tolist() for _, mask in some] == [[True, False], [True, True, True, True, False]]
        assert some.source.tolist() == [101, 104] and some.labels.tolist() == [False, True]
    assert len(rows.select(numpy.array([], dtype=int))) == 0


def test_what_is_cached_of_evaluation_rows_is_kept_apart_for_each_choice(flags):
    checked = preflight(resolve(parse_kwargs(flags).values))
    prepared = checked.context.prepared
    assert prepared is not None
    some, others = prepared.evaluating(4, 1), prepared.evaluating(4, 2)
    assert len({one.fingerprint_of("valid") for one in (prepared, some, others)}) == 3
    assert len({one.fingerprint_of("train") for one in (prepared, some, others)}) == 1
    assert prepared.evaluating(12, 1) is prepared
