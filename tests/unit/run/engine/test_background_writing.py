"""Parts of a checkpoint that are written while the training goes on, by one process that is a group by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.checkpoint import HuggingFaceStorageWriter

from autotrain_llm.context.output_dir import was_finished
from autotrain_llm.declare.parts import SHARDED_MODEL, SHARDED_OPTIMIZER
from autotrain_llm.run.engine.background_writing import BackgroundWriting
from autotrain_llm.run.engine.sharded_states import load_tensors


@pytest.fixture
def background() -> Iterator[BackgroundWriting]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield BackgroundWriting()
    finally:
        distributed.destroy_process_group()


def test_what_is_written_is_what_the_tensors_were_and_not_what_became_of_them(
    background: BackgroundWriting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_write = HuggingFaceStorageWriter.write_data, threading.Event()

    def slowly(*args: Any, **kwargs: Any) -> Any:
        may_write.wait(60)
        return write(*args, **kwargs)

    monkeypatch.setattr(HuggingFaceStorageWriter, "write_data", slowly)
    weight, moment = torch.full((4, 2), 1.0), torch.full((4, 2), 2.0)
    background.save({"weight": weight}, tmp_path / SHARDED_MODEL)
    background.save({"weight.exp_avg": moment}, tmp_path / SHARDED_OPTIMIZER)
    background.end(tmp_path)
    weight.fill_(0), moment.fill_(0)  # as the next step does
    assert not background.is_written() and background.folder == tmp_path
    (tmp_path / "trainer_state.json").write_text("{}")
    assert not was_finished(tmp_path), "its parts have no list yet"
    may_write.set()
    listed = background.wait()
    assert background.folder is None and background.is_written()
    (model, optimizer) = sorted(listed)
    assert model.startswith(SHARDED_MODEL) and optimizer.startswith(SHARDED_OPTIMIZER)
    read = {"weight": torch.zeros(4, 2)}
    load_tensors(read, tmp_path / model)
    assert torch.equal(read["weight"], torch.full((4, 2), 1.0))


def test_a_checkpoint_that_could_not_be_written_is_said_when_it_is_waited_for(
    background: BackgroundWriting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HuggingFaceStorageWriter, "write_data", full)
    background.save({"weight": torch.ones(2)}, tmp_path / SHARDED_MODEL)
    background.end(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        background.wait()
