"""The prompts of `--prompts`: a text, the lines of a file or of standard input, or the rows of a data file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from autotrain_llm.config.resolved import Config
from autotrain_llm.data.example import Example, as_turns
from autotrain_llm.data.files.decode import decode, read_bytes
from autotrain_llm.data.files.read import ROW_ENDINGS
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Finding, Refused

TEXT_FILES = (".txt", "")
STANDARD_INPUT, ITS_NAME = "-", "standard input"


def read_prompts(config: Config, rows: str = "prompts") -> tuple[list[Example], tuple[Finding, ...]]:
    """The prompts of `--prompts`: the text itself, the lines of a text file or of standard input, or the rows of a data file in any supported
    format; and the findings about rows that were left out."""
    argument = str(config.prompts)
    if argument == STANDARD_INPUT:
        return _lines(sys.stdin.buffer.read(), ITS_NAME), ()
    path = Path(argument).expanduser()
    if not _is_file(path):
        if path.suffix in ROW_ENDINGS:
            raise refused_prompt(
                f"--prompts {argument}: there is no such file", fix="--prompts <an existing file, or a text>"
            )
        return [Example(file="", row=1, prompt=argument)], ()
    if path.suffix in TEXT_FILES:
        observations = Observations()
        data = read_bytes(path, argument, observations)
        if data is None:
            raise Refused(_for_prompts(observations.findings()))
        return _lines(data, argument), ()
    request = DataRequest(path=argument, rows=rows, seed=config.seed, trainer="inference", offline=config.offline)
    try:
        dataset = open_data(request)
    except Refused as refused:
        raise Refused(_for_prompts(refused.findings)) from refused
    return list(dataset.train), _for_prompts(dataset.findings)


def read_instructions(config: Config) -> tuple[list[Example], tuple[Finding, ...]]:
    """The prompts of `--prompts`; of rows with instruction and output, their prompts as rows for training have them, with the output beside."""
    prompts, findings = read_prompts(config)
    if prompts[0].file and Path(prompts[0].file).suffix not in TEXT_FILES:
        try:
            rows, findings_of_rows = read_prompts(config, "conversations")
        except Refused:
            return prompts, findings
        if all(row.messages is not None and isinstance(row.prompt, str) for row in rows):
            return [replace(row, messages=None) for row in rows], findings_of_rows
    return prompts, findings


def _lines(data: bytes, name: str) -> list[Example]:
    """A prompt for each line that is not empty."""
    observations = Observations()
    text = decode(data, name, observations)
    if text is None:
        raise Refused(_for_prompts(observations.findings()))
    lines = enumerate(text.splitlines(), 1)
    prompts = [Example(file=name, row=row, prompt=line) for row, line in lines if line.strip()]
    if not prompts:
        raise refused_prompt(f"--prompts {name} contains no prompt", name)
    return prompts


def _for_prompts(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with `--prompts` as their parameter."""
    return tuple(finding.replace(parameters=("prompts",)) for finding in findings)


def refused_prompt(message: str, file: str | None = None, row: int | None = None, fix: str | None = None) -> Refused:
    """The error about prompts that can't be read, or a prompt that can't be answered."""
    return Refused([Finding(message, fix, ("prompts",), file=file, row=row, code="P330")])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the text is too long for a file name
        return False


def shown(prompt: Example) -> str:
    """A prompt as one text, for display."""
    if isinstance(prompt.prompt, str) and not isinstance(prompt.completion, list):
        return prompt.prompt + (prompt.completion or "")
    turns = prompt.messages or [
        turn for side in (prompt.prompt, prompt.completion) for turn in as_turns(side or [], "user")
    ]
    return prompt.text or "\n".join(str(turn.get("content")) for turn in turns)
