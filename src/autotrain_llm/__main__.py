"""`autotrain`, which `python -m autotrain_llm` is too.

Until the program has its own handlers, and after it has given them up, Ctrl-C ends the process as the system does: without a traceback.
"""

from __future__ import annotations

import sys

try:
    import signal

    # A shell lets its background jobs ignore it, which stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
except KeyboardInterrupt:
    sys.exit(130)


def main() -> int:
    """Carry out the command of the process and return its exit status."""
    from autotrain_llm.cli.main import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
