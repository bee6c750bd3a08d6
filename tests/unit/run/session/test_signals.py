"""The last line of a run that was stopped is true: it says what lies there, and how to go on."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session.callbacks import Signals
from support.resumable import write_checkpoint


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
