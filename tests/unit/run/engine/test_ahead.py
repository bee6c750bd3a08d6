"""Batches made ahead by a thread, and losses that are looked at a batch later."""

from __future__ import annotations

import pytest
import torch

from autotrain_llm.run.engine.ahead import AHEAD, Ahead
from autotrain_llm.run.engine.flat.batch import Segments
from autotrain_llm.run.engine.loop import FiniteLosses
from autotrain_llm.run.failures import RunFailed

CPU = torch.device("cpu")


def test_batches_come_in_their_order_and_end_where_there_are_no_more():
    ahead = Ahead(iter([{"number": torch.tensor(number)} for number in range(5)]), CPU)
    assert [batch["number"].item() for batch in ahead.take(2)] == [0, 1]
    assert [batch["number"].item() for batch in ahead.take(2)] == [2, 3]
    assert [batch["number"].item() for batch in ahead.take(2)] == [4]
    assert ahead.take(2) == []
    ahead.close()


def test_no_more_are_made_than_the_next_step_needs():
    made = []
    ahead = Ahead(map(made.append, range(100)), CPU)
    ahead.take(1)
    ahead.close()
    assert len(made) <= 1 + AHEAD


def test_what_making_a_batch_raises_is_raised_where_it_is_taken():
    def batches():
        yield {"segments": Segments((3,)), "tokens": 3}
        raise RunFailed("a row can't be read")

    ahead = Ahead(batches(), CPU)
    assert ahead.take(1)[0]["tokens"] == 3
    with pytest.raises(RunFailed, match="can't be read"):
        ahead.take(1)
    ahead.close()


def test_a_loss_that_is_not_a_number_is_named_with_its_own_step():
    losses = FiniteLosses()
    losses.check()
    losses.add(torch.tensor(1.0), 1)
    losses.check()
    losses.add(torch.tensor(float("nan")), 2)
    with pytest.raises(RunFailed, match="at step 2"):
        losses.check()
    losses.check()
