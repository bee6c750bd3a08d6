"""A Python that has imported the libraries already, for tests that start commands which train: importing them takes longer than what most of them do.

`forked_python()` is the path of a program that takes what Python does (`-m MODULE`, `-c CODE` or a script) and carries it out in a process of its own,
forked from a server that has imported the libraries and done nothing else. The process has the arguments, folder, environment, standard streams and
signals of the program, which passes on what it is sent, and ends as the process does; when the program is killed, the process is. In it `sys.executable`
is the program, so that what it starts begins in the same way. What is read from the environment while libraries are imported (and by
`autotrain_llm` while it is) has the values of the tests; tests of imports, of closed streams and of starting itself take `sys.executable`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from autotrain_llm.declare.garbage import existing_objects_frozen

LIBRARIES = [
    "torch",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "peft",
    "peft.tuners.lora.bnb",
    "peft.utils.transformers_weight_conversion",
    "accelerate",
    "torch.profiler._cupti_monitor",
    "torch.utils.serialization",
    "autotrain_llm.api",
    "autotrain_llm.checks.entry",
    "autotrain_llm.checks.rules.every",
    "autotrain_llm.models.checks.every",
    "autotrain_llm.models.identity",
    "autotrain_llm.data.quality.cross_row_checks",
    "autotrain_llm.data.prepared.make",
    "autotrain_llm.cli.main",
    "autotrain_llm.cli.llm",
    "autotrain_llm.cli.progress",
    "autotrain_llm.run.session.execute",
    "autotrain_llm.run.algorithms.supervised",
    "autotrain_llm.run.algorithms.distill.recipe",
    "autotrain_llm.run.algorithms.preference.recipe",
    "autotrain_llm.run.algorithms.reward.recipe",
    "autotrain_llm.run.algorithms.rl.recipe",
    "autotrain_llm.run.report.write",
    "autotrain_llm.run.sweep.driver",
]

PYARROWS_THREAD = "jemalloc_bg_thd"  # returns freed memory; jemalloc knows of forks
FROZEN = (
    existing_objects_frozen()
)  # for good: to go through the libraries' objects would copy the pages that they lie in
SERVERS: list[
    subprocess.Popen[bytes]
] = []  # each ends when its standard input is closed, with this process at the latest


@cache
def forked_python() -> str:
    """The path of the program. The server is started when it is first asked for, and ends with this process. On other systems than Linux, whose
    libraries can't all be forked, it is Python itself."""
    if sys.platform != "linux":
        return sys.executable
    folder = Path(tempfile.mkdtemp(prefix="autotrain-python-"))
    program = folder / "python"
    client = Path(__file__).with_name("fork_client.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable} -ISE\n{client}", encoding="utf-8")
    program.chmod(0o755)
    words = [sys.executable, __file__, str(folder)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert server.stdout is not None and server.stdout.read(5) == b"ready"
    SERVERS.append(server)
    return str(program)


def serve(folder: Path) -> dict[str, Any] | None:
    """Fork a process for each order. Returns the order in such a process, and None in the server, when its standard input is closed."""
    for library in LIBRARIES:
        import_module(library)
    _warm_up()
    threads = {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    assert len(threads - {PYARROWS_THREAD}) == 1, f"a process with threads can't be forked: {threads}"
    gc.collect()
    FROZEN.__enter__()
    ended, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    processes: dict[int, socket.socket] = {}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    os.write(1, b"ready")
    while True:
        watched = [client for client in processes.values() if client.fileno() >= 0]
        ready, _, _ = select.select([0, ended, listener, *watched], [], [])
        if 0 in ready:
            for process in processes:
                os.kill(process, signal.SIGKILL)
            shutil.rmtree(folder)
            return None
        if ended in ready:
            os.read(ended, 4096)
            _report_ended(processes)
        for process, client in processes.items():
            if client in ready:  # the program was killed
                client.close()
                os.kill(process, signal.SIGKILL)
        if listener in ready:
            client = listener.accept()[0]
            order = _received(client)
            process = os.fork()
            if process == 0:
                return {**order, "pipe": (ended, tell)}
            for descriptor in order["streams"]:
                os.close(descriptor)
            processes[process] = client
            client.sendall(process.to_bytes(8, "big"))


def _warm_up() -> None:
    """Make what each run makes once in its process, and would make anew in each fork."""
    import torch
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from autotrain_llm.run.engine.peak_flops import matmul_peak
    from autotrain_llm.run.report.page import template

    get_checkpoint_conversion_mapping("llama")  # a thousand regular expressions
    template("page.html.jinja")
    matmul_peak(torch.device("cpu"), torch.float32)


def _report_ended(processes: dict[int, socket.socket]) -> None:
    """Tell the programs whose processes have ended how they did."""
    while processes:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        client = processes.pop(process)
        if client.fileno() >= 0:
            with suppress(BrokenPipeError):
                client.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
            client.close()


def _received(client: socket.socket) -> dict[str, Any]:
    length, streams, _, _ = socket.recv_fds(client, 8, 3)
    text = b""
    while len(text) < int.from_bytes(length, "big"):
        text += client.recv(1 << 16)
    return {**json.loads(text), "streams": streams}


def carry_out(order: dict[str, Any]) -> None:
    """What Python would do with these words, in this process."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for target, descriptor in enumerate(order["streams"]):
        os.dup2(descriptor, target)
    # The server's sockets are closed with their objects. What a library has opened stays open: its object would close the number once more at the
    # end, which may be another file's by then.
    for descriptor in (*order["streams"], *order["pipe"]):
        if descriptor > 2:
            os.close(descriptor)
    # As a Python begins whose parent ignores these, and no others: the server may itself have been started where some are ignored.
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in order["ignored"]:
        signal.signal(signum, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.executable = order["program"]
    signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked"])
    kind, *words = order["words"]
    unbuffered = kind == "-u"
    if unbuffered:
        kind, *words = words
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty(), write_through=unbuffered)
    if kind == "-m":
        sys.path.insert(0, order["folder"])
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *words[1:]]
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), module.__dict__)
    else:
        assert not kind.startswith("-"), f"Python's option {kind} is not known here"
        sys.path.insert(0, str(Path(kind).resolve().parent))
        sys.argv = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


def _end(status: int) -> None:
    """End as Python does, without taking apart all libraries, which is as much work as a short run."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules have names that libraries have too
    arrived = serve(Path(sys.argv[1]))
    if arrived is not None:
        try:
            carry_out(arrived)
        except SystemExit as exit:
            if exit.code is not None and not isinstance(exit.code, int):
                raise
            _end(exit.code or 0)
        _end(0)
