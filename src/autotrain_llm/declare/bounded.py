"""Try something in a child process with limits of time and memory, before this process does it: what a file of somebody else makes a library do."""

from __future__ import annotations

import os
from collections.abc import Callable

SECONDS, MEMORY = 10, 2 << 30  # of the processor, and bytes, for what usually takes milliseconds and some MiB
BUSY = 6  # how much longer it may take on a machine that has other work
OUT_OF_MEMORY = 3  # an exit status
BY_OTHERS = ("SIGINT", "SIGTERM", "SIGHUP")  # that stop this command too


def breach(work: Callable[[], object]) -> str | None:
    """What makes `work` unbearable, as a clause (`takes more than 10 seconds`); None if it comes to an end, be it by an exception.

    It is carried out in a fork of this process, which has all that `work` refers to and leaves nothing behind. The memory that this process
    has already is not counted.
    """
    import select
    import signal

    too_long, too_much = f"takes more than {SECONDS} seconds", f"needs more than {MEMORY >> 20} MiB of memory"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_the_child(work)
    os.close(writer)
    try:
        waiting = select.poll()
        waiting.register(reader)  # reports the end of the child, with which the last writer is closed
        ended = bool(waiting.poll(BUSY * SECONDS * 1000))
    finally:
        os.kill(child, signal.SIGKILL)  # changes nothing for one that has ended
        os.close(reader)
        _, status = os.waitpid(child, 0)
    if not ended:
        return too_long
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        if name == "SIGXCPU":
            return too_long
        return None if name in BY_OTHERS else f"{too_much}, or crashes ({name})"
    return too_much if os.WEXITSTATUS(status) == OUT_OF_MEMORY else None


def _be_the_child(work: Callable[[], object]) -> None:
    """Never returns."""
    status = 0
    try:
        import faulthandler
        import gc
        import resource
        import signal

        gc.disable()  # it would copy all pages of memory that both processes share
        faulthandler.disable()  # writes to the screen even so
        for name in BY_OTHERS:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a fork has none of the threads
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_CPU, SECONDS)
        size = _address_space()
        if size is not None:
            _lower(resource.RLIMIT_AS, size + MEMORY)
        work()
    except MemoryError:
        status = OUT_OF_MEMORY
    except BaseException:  # it comes again where it is wanted, with words for it
        pass
    finally:
        os._exit(status)


def _lower(kind: int, limit: int) -> None:
    """Set a limit, unless a lower one is set."""
    import resource

    _, hard = resource.getrlimit(kind)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, hard))


def _address_space() -> int | None:
    """The address space of this process in bytes; None where the system doesn't say."""
    from pathlib import Path

    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
