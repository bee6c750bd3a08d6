"""The other end of `workers.py`: reads orders and writes answers, and keeps standard output free of what libraries print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Write = Callable[[Mapping[str, Any]], None]


def writer() -> Write:
    """Writes parts of answers; what else is written to standard output goes to standard error from now on."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def write(part: Mapping[str, Any]) -> None:
        out.write(json.dumps(part, default=list) + "\n")
        out.flush()

    return write


def orders() -> Iterator[dict[str, Any]]:
    """Orders until the server ends."""
    for line in iter(sys.stdin.readline, ""):
        if line.endswith("\n"):
            yield json.loads(line)


def check_orders() -> int:
    """Check one form after another."""
    from autotrain_llm.app.checking import FileCheck, check_staged, refusal
    from autotrain_llm.app.folders import Folders
    from autotrain_llm.app.staged import read_staged
    from autotrain_llm.app.values import read_form

    write = writer()
    check = FileCheck()
    for order in orders():
        folders = Folders(tuple(Path(root) for root in order["roots"]))
        try:
            if "stages" in order:
                document = check_staged(read_staged(order, folders))
            else:
                document = check.check(read_form(order["texts"], folders))
        except Exception as fault:
            check = FileCheck()
            document = refusal(fault)
        write({**document, "end": True})
    return 0
