"""Two processes whose signals cross stop after the same step, with a checkpoint. The file is also the program that the processes run."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session import callbacks
from autotrain_llm.run.session.callbacks import Signals

ROUNDS, STEPS, FIRST_STEPS = 20, 1000, 8
SENT = (signal.SIGTERM, signal.SIGINT)  # what each process sends to both


class Counting(Signals):
    """Knows how many signals have come, so that a round ends with none on its way."""

    count = 0

    def _receive(self, *arguments: Any) -> None:
        self.count += 1
        super()._receive(*arguments)


def stop(folder: Path, rank: int, processes: list[int], chance: random.Random) -> Interrupted:
    """The end of a run of small steps, in one of which this process sends its signal to both."""
    own = chance.randrange(1, FIRST_STEPS)
    arguments = SimpleNamespace(world_size=2, device="cpu")
    control, state = SimpleNamespace(should_save=False), SimpleNamespace(global_step=0, max_steps=STEPS, epoch=0.5)
    stopped, sent = None, False

    def send() -> None:
        for process in processes:
            os.kill(process, SENT[rank])
            time.sleep(chance.random() / 2000)

    with Counting("", folder, processes=2) as signals:
        signals.on_step_begin()
        torch.distributed.barrier()
        try:
            while state.global_step < STEPS:
                signals.on_step_begin()
                time.sleep(chance.random() / 1000)
                state.global_step += 1
                if state.global_step == own:
                    sent = True
                    send()
                signals.on_step_end(arguments, state, control)
                if control.should_save:
                    if rank == 0:
                        time.sleep(0.02)
                        (folder / f"checkpoint-{state.global_step}").touch()
                    signals.on_save(arguments, state, control)
        except Interrupted as interrupted:
            stopped = interrupted
        assert stopped is not None, f"{signals.count} signals came, and it went on"
        assert (folder / f"checkpoint-{state.global_step}").exists(), "it ended before the checkpoint was written"
        signals.ignore()
        if not sent:
            send()
        while signals.count < len(SENT):
            time.sleep(0.0005)
        torch.distributed.barrier()
    return stopped


@pytest.mark.slow
def test_two_processes_whose_signals_cross_stop_after_one_step_with_a_checkpoint(tmp_path):
    from support.processes import run_together  # not on the path of the program

    run_together([str(tmp_path)], tmp_path, program=(__file__,))
    of_one, of_other = ((tmp_path / f"{rank}.txt").read_text().splitlines() for rank in (0, 1))
    assert of_one == of_other and len(of_one) == ROUNDS
    assert all("a checkpoint was saved" in line for line in of_one)


def test_of_several_processes_a_second_signal_ends_one_only_after_ten_seconds(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    with Signals("", tmp_path, processes=2) as signals:
        signals.on_step_begin()
        signal.raise_signal(signal.SIGTERM)
        now += callbacks.PATIENCE / 2
        signal.raise_signal(signal.SIGINT)
        now += callbacks.PATIENCE / 2
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    callbacks.PATIENCE = 3600  # on a machine that has much else to do, a round may take longer than people wait
    torch.distributed.init_process_group("gloo")
    this, place = torch.distributed.get_rank(), Path(sys.argv[1])
    together: list[Any] = [None, None]
    torch.distributed.all_gather_object(together, os.getpid())
    chances, ends = random.Random(this), []
    for number in range(ROUNDS):
        round_folder = place / f"round-{number}"
        round_folder.mkdir(exist_ok=True)
        end = stop(round_folder, this, together, chances)
        ends.append(end.what.partition(" ")[2])
    (place / f"{this}.txt").write_text("\n".join(ends))
    torch.distributed.destroy_process_group()
