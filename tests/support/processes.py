"""Several processes of one run, with the environment that torchrun gives them. They are forked from a server that has imported the libraries, so that
not every process of every test has to."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

LIBRARIES = [
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "autotrain_llm.cli.main",
    "autotrain_llm.run.session.execute",
]


def _process(words: Sequence[str], environment: dict[str, str], output: str) -> None:
    os.environ.update(environment)
    with Path(output).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from autotrain_llm.cli.main import main

    sys.exit(main(list(words)))


def run_together(
    words: Sequence[str], folder: Path, processes: int = 2, timeout: float = 300, **environment: str
) -> None:
    """Run `autotrain WORDS` in several processes. Asserts that each ends with status 0."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    outputs = [folder / f"process-{rank}.txt" for rank in range(processes)]
    started = [
        context.Process(
            target=_process, args=(words, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, str(output))
        )
        for rank, output in enumerate(outputs)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout)
    written = "\n".join(output.read_text() for output in outputs if output.exists())
    for process in started:
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in started] == [0] * processes, written[-3000:]
