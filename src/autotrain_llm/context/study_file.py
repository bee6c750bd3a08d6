"""The file of a sweep's study, `sweep/study.journal`: one operation of Optuna's journal a line. Read here without Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from autotrain_llm.declare.document import parse_json

JOURNAL = "study.journal"


class StudyFile(NamedTuple):
    """The bytes of the intact lines at the beginning, and what is wrong after them; None if nothing is."""

    intact: bytes
    damage: str | None


def read_study_file(path: Path) -> StudyFile:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return StudyFile(b"", "is missing")
    except OSError as fault:
        return StudyFile(b"", f"can't be read ({fault.strerror})")
    length = 0
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return StudyFile(content[:length], "is cut off in its last line")
        if not _is_operation(line):
            return StudyFile(content[:length], f"is damaged in line {number}")
        length += len(line)
    return StudyFile(content, None)


def _is_operation(line: bytes) -> bool:
    try:
        operation = parse_json(line.decode("utf-8"))
    except ValueError:
        return False
    return isinstance(operation, dict) and isinstance(operation.get("op_code"), int) and "worker_id" in operation
