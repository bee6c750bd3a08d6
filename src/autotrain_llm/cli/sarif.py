"""Findings as SARIF 2.1.0, the format in which code hosts import the results of checks.

A fix is in the message and in a property: a SARIF fix is an edit of a file, and most fixes here change a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.version import VERSION

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
CONFIG_FILES = (".yaml", ".yml", ".json", ".py")


def sarif(findings: Iterable[Finding], succeeded: bool = True) -> dict[str, Any]:
    """The SARIF document: the violated rules with their documentation, and a result for each finding."""
    findings = list(findings)
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "autotrain",
        "version": VERSION,
        "semanticVersion": VERSION,
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "results": [_result(finding, codes.index(finding.code)) for finding in findings],
        "invocations": [{"executionSuccessful": succeeded}],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    from autotrain_llm.checks.rules.every import every_rule

    rule = every_rule().get(code)
    documentation, level = (rule.documentation, rule.severity) if rule else ("", "error")
    name = (rule.name if rule else "") or _first_sentence(documentation)
    return {
        "id": code,
        "shortDescription": {"text": _first_sentence(documentation) or name or code},
        "fullDescription": {"text": name or code},
        "help": {"text": documentation or code, "markdown": documentation or code},
        "defaultConfiguration": {"level": level},
    }


def _first_sentence(documentation: str) -> str:
    return " ".join(documentation.split("\n\n")[0].split())


def _result(finding: Finding, index: int) -> dict[str, Any]:
    text = finding.message + (f"\nfix: {finding.fix}" if finding.fix else "")
    properties = {"parameters": [flag_of(name) for name in finding.parameters], "fix": finding.fix, "row": finding.row}
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": text},
        "locations": [_location(finding)] if finding.file else [],
        "properties": {name: value for name, value in properties.items() if value},
    }


def _location(finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _address(str(finding.file))}}
    line = line_of(finding)
    if line is not None:
        location["region"] = {"startLine": line}
    return {"physicalLocation": location}


def _address(file: str) -> str:
    """A path as a relative reference if it is below this folder, else as a file URI."""
    from urllib.parse import quote

    path = Path(file)
    if path.is_absolute():
        return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.as_uri()
    return quote(path.as_posix())


def line_of(finding: Finding) -> int | None:
    """The line of a finding: in a file of rows, or in a config file that sets one of its parameters."""
    if finding.line is not None:
        return finding.line
    path = Path(str(finding.file))
    if finding.row is not None:
        return finding.row if path.suffix == ".jsonl" else finding.row + 1 if path.suffix in (".csv", ".tsv") else None
    if path.suffix not in CONFIG_FILES or not finding.parameters:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    for name in finding.parameters:
        key = re.compile(rf"""\s*["']?{re.escape(name).replace("_", "[-_]")}["']?\s*[:=]""")
        for line_number, line in enumerate(lines, 1):
            if key.match(line):
                return line_number
    return None
