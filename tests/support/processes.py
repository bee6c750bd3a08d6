"""Several processes of one run, with the environment that torchrun gives them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.fork_server import forked_python


def run_together(
    words: Sequence[str],
    folder: Path,
    processes: int = 2,
    timeout: float = 300,
    program: Sequence[str] = ("-m", "autotrain_llm"),
    **environment: str,
) -> None:
    """Run `autotrain WORDS` in several processes. Asserts that each ends with status 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    outputs = [folder / f"process-{rank}.txt" for rank in range(processes)]
    started = []
    for rank, output in enumerate(outputs):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with output.open("w") as file:
            command = [forked_python(), *program, *words]
            started.append(
                subprocess.Popen(command, env=os.environ | shared | own, stdout=file, stderr=subprocess.STDOUT)
            )
    try:
        statuses = [process.wait(timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    assert statuses == [0] * processes, "\n".join(output.read_text() for output in outputs)[-3000:]
