"""The last line of a run that was stopped is true: it says what lies there, and how to go on."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest

from autotrain_llm.api import plan
from autotrain_llm.context.signals import stop_raises
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session.callbacks import Signals
from autotrain_llm.run.session.run_record import RunRecord
from support.resumable import write_checkpoint
from support.rows import questions, write_rows


def stopped_twice(folder, **settings) -> Interrupted:
    """Two signals in the sixth step, and a third while the run ends."""
    state = SimpleNamespace(global_step=5, max_steps=100, epoch=0.5)
    arguments = SimpleNamespace(world_size=1)
    with Signals("autotrain llm --resume", folder, **settings) as signals:
        signals.on_step_begin()
        signals.on_step_end(arguments, state, SimpleNamespace(should_save=False))
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as stopped:
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    return stopped.value


@pytest.mark.parametrize("is_resumed", [False, True])
def test_without_a_complete_checkpoint_a_second_signal_leaves_nothing_to_resume_and_says_so(tmp_path, is_resumed):
    write_checkpoint(tmp_path, 5, without="trainer_state.json")  # it was being written
    message = stopped_twice(tmp_path, is_resumed=is_resumed).message
    assert "nothing to resume" in message and "--resume" not in message


def test_with_a_complete_checkpoint_a_second_signal_says_how_to_go_on_from_it(tmp_path):
    write_checkpoint(tmp_path, 4)
    write_checkpoint(tmp_path, 5, without="optimizer.safetensors")
    assert stopped_twice(tmp_path).message.endswith("newest complete checkpoint: autotrain llm --resume")


def test_a_signal_while_the_end_is_written_changes_nothing(tmp_path):
    with Signals("autotrain llm --resume", tmp_path) as signals:
        signals.on_step_begin()
        signal.raise_signal(signal.SIGINT)
        signals.ignore()
        signal.raise_signal(signal.SIGINT)


def test_a_signal_while_the_processes_agree_counts_for_the_next_step(tmp_path, monkeypatch):
    """All of them have said that none has come, when one comes to a single process."""
    agreements = iter([lambda: signal.raise_signal(signal.SIGTERM), lambda: None])
    monkeypatch.setattr("torch.distributed.all_reduce", lambda value, kind: next(agreements)())
    state, control = SimpleNamespace(global_step=5, max_steps=100, epoch=0.5), SimpleNamespace(should_save=False)
    arguments = SimpleNamespace(world_size=2, device="cpu")
    with Signals("autotrain llm --resume", tmp_path, processes=2) as signals:
        signals.on_step_begin()
        signals.on_step_end(arguments, state, control)
        assert not control.should_save
        signals.on_step_end(arguments, state, control)
        assert control.should_save


@pytest.mark.parametrize("moment", ["before", "while it is written"])
def test_a_signal_before_the_training_is_recorded_whenever_it_comes(tmp_path, monkeypatch, light_llama, moment):
    rows = write_rows(tmp_path / "rows.jsonl", questions(12))
    values = {"lr": 1e-4, "epochs": 1, "batch_size": 4, "output_dir": str(tmp_path / "run")}
    planned = plan(model=str(light_llama), data_path=str(rows), **values)
    inputs = SimpleNamespace(findings=(), is_first_process=True, prepared=SimpleNamespace(prompt_format=None))
    (tmp_path / "run").mkdir()

    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def write_command(*args: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    def train() -> None:
        with stop_raises():
            if moment == "before":
                Swallows()  # Python swallows what is raised in a destructor
            with RunRecord(planned, inputs, tmp_path / "run"):
                raise AssertionError("the training begins")

    if moment != "before":
        monkeypatch.setattr(records, "write_command", write_command)
    with pytest.raises(Interrupted):
        train()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
