"""Stands in for the Python interpreter: has a process forked from the server of `fork_server.py` carry out its arguments, passes on the signals that it
gets, and ends as that process does. It is copied to a folder, next to the server's socket, and starts without any of Python's own packages."""

import json
import os
import signal
import socket
import sys

PASSED_ON = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def main():
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    order = {
        "words": sys.argv[1:],
        "program": sys.argv[0],
        "folder": os.getcwd(),  # noqa: PTH109 (pathlib would take longer to import than all of this)
        "environment": dict(os.environ),
        "ignored": [one for one in PASSED_ON if signal.getsignal(one) == signal.SIG_IGN],
        "blocked": list(blocked),
    }
    server = socket.socket(socket.AF_UNIX)
    server.connect(sys.argv[0].rpartition("/")[0] + "/socket")
    text = json.dumps(order).encode()
    socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(text)
    process = number(server)
    for one in PASSED_ON:
        signal.signal(one, lambda signum, frame: pass_on(process, signum))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    status = number(server)
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def pass_on(process, signum):
    try:  # noqa: SIM105
        os.kill(process, signum)
    except ProcessLookupError:
        pass  # it has ended, and its status is on its way


def number(server):
    """The next number from the server: the process, then how it ended, as `subprocess` says it."""
    received = b""
    while len(received) < 8:
        part = server.recv(8 - len(received))
        if not part:
            sys.exit("the server has ended")
        received += part
    return int.from_bytes(received, "big", signed=True)


main()
