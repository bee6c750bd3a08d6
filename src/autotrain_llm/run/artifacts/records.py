"""The files that a run writes next to its model: run.json, metrics.jsonl and command.sh. None contains a secret."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import GIVEN
from autotrain_llm.context.output_dir import EARLIER_SECONDS, METRICS_FILE, RUN_FILE, SECONDS, TIME_FORMAT
from autotrain_llm.context.versions import versions
from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.tokenize.prompt_format import RUN_KEY, PromptFormat, prompt_to_show
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Finding, typed
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.umask import permitted
from autotrain_llm.planning.command_words import in_lines, words_of
from autotrain_llm.planning.plan import Plan, ResumePlan

# In processes that a command has started: what started the command.
PROGRAM = "AUTOTRAIN_PROGRAM"
ENDED_EARLY = ("failed", "interrupted")
# The first line of run.json while a run goes on: with room for how it ends, which is then written in place on a full disk.
RUNNING = '"status": "running",'
ROOM = max(map(len, ENDED_EARLY)) - len("running")


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """A context that adds the path to an OSError without one: a failed write does not say which file it was."""
    try:
        yield
    except OSError as problem:
        if problem.filename is None:
            problem.filename = str(path)
        raise


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a file atomically: readers see the old text or the new one. Raises OSError if it can't be written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with named_in_errors(path):
            unfinished.write_text(text, encoding="utf-8", errors=errors)
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(finite(document), indent=2, ensure_ascii=False).replace(RUNNING, RUNNING + " " * ROOM, 1)
    # A lone surrogate, as in the name of a file that is no UTF-8, becomes its JSON escape.
    write_text(path, text + "\n", errors="backslashreplace")


def finite(value: Any) -> Any:
    """The same value with NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


class RunFile:
    """`run.json`: written when the run starts, and again with its outcome. `earlier_seconds` are those of the attempts at it that this one goes on from."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        findings: Sequence[Finding],
        prompt_format: PromptFormat | None = None,
        earlier_seconds: float = 0.0,
    ) -> None:
        self.path = folder / RUN_FILE
        self.earlier_seconds, self.began = earlier_seconds, time.perf_counter()
        self.document: dict[str, Any] = {
            "status": "running",
            "started": time.strftime(TIME_FORMAT),
            **({EARLIER_SECONDS: earlier_seconds} if earlier_seconds else {}),
            "plan": plan.as_json(),
            "findings": [finding.as_json() for finding in findings],
            "versions": versions(),
            "seed": plan.seed,
            "data_fingerprint": plan.data.fingerprint,
            **({RUN_KEY: prompt_format.as_json()} if prompt_format else {}),
            "outcome": {},
            "metrics": {},
            "files": [],
        }

    @property
    def seconds(self) -> float:
        """The seconds of all attempts until now."""
        return round(self.earlier_seconds + time.perf_counter() - self.began, 3)

    def add_findings(self, findings: Sequence[Finding]) -> None:
        """Add what was found out about the run itself; it is written with the next `write`."""
        self.document["findings"] += [finding.as_json() for finding in findings]

    def write(self, **changes: Any) -> None:
        """Write the file again. For a run that failed or was interrupted, a write error (such as a full disk) must not hide the reason."""
        ended = {} if {**self.document, **changes}["status"] == "running" else {SECONDS: self.seconds}
        self.document |= {**ended, **changes}
        try:
            write_json(self.path, self.document)
        except OSError:
            if self.document["status"] not in ENDED_EARLY:
                raise
            with suppress(OSError):
                self._write_status()

    def _write_status(self) -> None:
        """Change the status alone, in the file as it is: this needs no space on a full disk."""
        before = (RUNNING + " " * ROOM).encode()
        at = self.path.read_bytes().find(before)
        if at >= 0:
            with self.path.open("r+b") as file:
                file.seek(at)
                file.write(f'"status": "{self.document["status"]}",'.encode().ljust(len(before)))


class MetricsFile:
    """`metrics.jsonl`: one line per log. A resumed run removes the lines after its checkpoint."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self.path = folder / METRICS_FILE
        if self.path.is_symlink():
            self.path.unlink()  # what it leads to is not this run's
        lines = self._lines_up_to(resumed_at) if resumed_at is not None else []
        with named_in_errors(self.path):
            self.path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def _lines_up_to(self, step: int) -> list[str]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if _is_up_to(line, step)]

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        line = json.dumps(finite({"step": step, "time": round(time.time(), 3), **metrics}))
        with named_in_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _is_up_to(line: str, step: int) -> bool:
    """Whether a line is complete and not after a step: a run that is killed may leave its last one cut."""
    try:
        return bool(parse_json(line).get("step", 0) <= step)
    except (ValueError, AttributeError, TypeError):
        return False


def command_of(plan: Plan, output_dir: Path) -> list[str]:
    """The command line that repeats this run: every parameter that was set, in a file or on the command line, except secrets
    and those that were ignored."""
    words = ["autotrain", "llm"]
    for name, parameter in plan.parameters.items():
        is_given = parameter.source in GIVEN and name not in plan.ignored and parameter.value is not None
        if is_given and not PARAMS[name].secret and name != "output_dir":
            words += words_of(name, parameter.value)
    return [*words, "--output-dir", str(output_dir)]


def write_command(folder: Path, words: Sequence[str], resume: ResumePlan | None = None) -> None:
    """Write `command.sh`, to be run from the current folder; of a run that was resumed with other values, they are in a comment."""
    comments = "".join(f"# {_one_line(text)}\n" for text in [f"Run from: {Path.cwd()}", *_until_resumed(resume)])
    script = f'#!/bin/sh\n{comments}{in_lines(words)} "$@"\n'
    path = folder / "command.sh"
    write_text(path, script, errors="surrogateescape")  # names of files that are no UTF-8
    path.chmod(permitted(0o777))


def _one_line(text: str) -> str:
    """A text for a comment of a script: a line break or another control character would end it, and what follows would be executed."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _until_resumed(resume: ResumePlan | None) -> list[str]:
    if resume is None or not resume.changes:
        return []
    before = [
        typed(name, change.before) if change.before is not None else f"no {flag_of(name)}"
        for name, change in resume.changes.items()
    ]
    return [f"Until step {resume.step} with: {', '.join(before)}"]


def command_to_try(folder: Path, dataset: Dataset, prompt_format: PromptFormat) -> str:
    """A command that asks a finished model one of its own prompts, or the beginning of one if none of the first is short."""
    prompt = prompt_to_show(dataset.train, prompt_format)
    return f"{invocation()} {shlex.join(['--inference', '--model', str(folder), '--prompts', prompt])}"


def invocation() -> str:
    """The command that started this program, or the one that this is a process of."""
    if started := os.environ.get(PROGRAM):
        return started
    return "autotrain llm" if Path(sys.argv[0]).name == "autotrain" else "python -m autotrain_llm llm"


def invocation_again(plan: Plan) -> str:
    """The command that starts this run as it was started: with torchrun, where that has started its processes."""
    if plan.launch is None or "TORCHELASTIC_RUN_ID" not in os.environ or PROGRAM in os.environ:
        return invocation()
    return f"torchrun --nproc-per-node {plan.launch.processes} -m autotrain_llm llm"
