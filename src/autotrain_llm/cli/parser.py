"""From the words of a command line to what was arguments: one argparse parser, made from the declaration.

argparse matches flags and keeps what was given apart from what was not; `argv.join` prepares the words so that it never exits with an error of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from autotrain_llm.cli.argv import is_flag, join, name_of
from autotrain_llm.config.aliases import ACCEPTED, RENAMED
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.foreign_names import unknown
from autotrain_llm.config.registry import GROUPS, PARAMS
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import Param, flag_of


def build_parser(typed: Container[str] | None = None) -> argparse.ArgumentParser:
    """The parser of `autotrain llm`: every flag of the declaration, with no defaults, so that absence stays visible.

    With `typed`, only the flags that are among these: a hundred that nobody typed take longer than reading the rest of a command.
    """
    parser = argparse.ArgumentParser(
        prog="autotrain llm", argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=False
    )
    for group in GROUPS:
        section = parser.add_argument_group(group.title, group.summary)
        for param in group.params:
            flags = [flag for flag in spellings(param) if typed is None or flag in typed]
            if not flags:
                continue
            if param.kind == "switch":
                section.add_argument(*flags, dest=param.name, nargs="?", const=True, metavar="true|false")
            else:
                section.add_argument(*flags, dest=param.name, metavar=param.placeholder)
    accepted_section = parser.add_argument_group("Accepted from other tools' commands")
    for accepted in ACCEPTED:
        if typed is None or accepted.flag in typed:
            accepted_section.add_argument(accepted.flag, dest=accepted.name, nargs="?", const=True)
    return parser


def spellings(param: Param) -> list[str]:
    """The flag and the old names that stand for it, with dashes."""
    return [param.flag, *(flag_of(old) for old, new in RENAMED.items() if new == param.name)]


def read(words: Sequence[str]) -> ParsedArguments:
    """What the words after `autotrain llm` say; every fault in them is a finding of the result."""
    arguments = ParsedArguments()
    joined = join(words, arguments.findings)
    typed = {word.partition("=")[0] for word in joined}
    given, rest = build_parser(typed).parse_known_args(joined)
    trainer_first = sorted(vars(given).items(), key=lambda item: item[0] != "trainer")  # on which foreign names depend
    for name, raw in trainer_first:
        arguments.set(name, raw)
    arguments.findings.extend(_left_over(rest, joined, arguments.values))
    return arguments


def _left_over(rest: Sequence[str], joined: Sequence[str], given: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings for what argparse recognised nothing in: unknown flags one by one, stray words by the flag that they stand behind."""
    stray: dict[str, list[str]] = {}
    for word in rest:
        if is_flag(word):
            flag, equals, value = word.partition("=")
            yield unknown(flag.lstrip("-").replace("-", "_"), flag, value if equals else None, given=given)
    before = ""
    for word in joined:
        if is_flag(word):
            before = word
        elif word in rest:
            stray.setdefault(before, []).append(word)
    for flag, words in stray.items():
        yield _belongs_to_none(flag, words)


def _belongs_to_none(before: str, words: Sequence[str]) -> Finding:
    """Words behind a flag that has its value already: further names of a list, or the rest of a text without quotes."""
    shown = ", ".join(repr(word) for word in words)
    belongs = "belongs" if len(words) == 1 else "belong"
    flag, equals, value = before.partition("=")
    param = PARAMS.get(name_of(flag)) if equals else None
    if param is None or param.kind not in ("list", "str") or param.choices:
        return Finding(f"{shown} {belongs} to no flag", "put a text with spaces in quotes, or drop it", code="P121")
    between = "," if param.kind == "list" else " "
    whole = between.join([value, *words]) if param.kind == "list" else f'"{between.join([value, *words])}"'
    message = f"{shown} behind {flag} {value} {belongs} to no flag"
    return Finding(message, f"{flag} {whole}", (param.name,), code="P121")
