"""Rows laid out as one stream."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from autotrain_llm.run.engine.flat.batch import Segments, flatten


def row(ids, trained):
    return np.array(ids, dtype=np.int32), np.array(trained, dtype=bool)


def test_nothing_is_padded_and_positions_restart():
    batch = flatten([row([5, 6, 7], [0, 0, 1]), row([8], [1]), row([9, 4], [1, 1])])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 0, 1]]
    assert batch["segments"].lengths == (3, 1, 2)


def test_targets_are_predicted_from_the_place_before_and_first_tokens_never():
    batch = flatten([row([5, 6, 7], [1, 0, 1]), row([8], [1]), row([9, 4], [1, 1])])
    assert batch["target_positions"].tolist() == [1, 4]
    assert batch["target_labels"].tolist() == [7, 4]
    assert batch["target_segments"].tolist() == [0, 2]


def test_a_row_that_continues_another_goes_on_where_it_ended_and_is_predicted_from_its_last_token():
    batch = flatten([row([5, 6, 7], [0, 0, 0]), row([8, 9], [1, 1]), row([4], [1])], continues=[-1, 0, 0])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3]]
    assert batch["target_positions"].tolist() == [2, 3, 2]
    assert batch["target_labels"].tolist() == [8, 9, 4]


def test_a_row_may_continue_one_that_continues_another():
    segments = Segments((3, 2, 4), (-1, 0, 1))
    assert segments.lineage(2) == [0, 1, 2]
    assert segments.depth(2) == 5


@pytest.mark.parametrize(
    ("rows", "continues", "said"),
    [
        ([], None, "at least one row"),
        ([row([], [])], None, "at least one token"),
        ([row([1, 2], [1])], None, "row 0: 2 tokens, but a loss mask of 1"),
        ([row([1], [1]), row([2], [1])], [1, -1], "earlier one"),
        ([row([1], [1])], [-1, 0], "1 segments, but 2"),
    ],
)
def test_rows_that_cannot_be_laid_out_are_refused_in_words(rows, continues, said):
    with pytest.raises(ValueError, match=said):
        flatten(rows, continues)


def test_what_attention_built_does_not_travel_between_processes():
    segments = Segments((3, 2))
    segments.cache["anything"] = object()
    assert pickle.loads(pickle.dumps(segments)).cache == {}
