"""From the words of a command line to what was said: one argparse parser, made from the declaration.

argparse matches flags and keeps what was given apart from what was not; `words.join` has cleared its way, so that it never complains.
"""

from __future__ import annotations

import argparse
from collections.abc import Container, Iterator, Sequence

from autotrain_llm.cli.words import is_flag, join
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import Param, flag_of
from autotrain_llm.params.compatibility import ACCEPTED, RENAMED
from autotrain_llm.registry import GROUPS
from autotrain_llm.said import Said, unknown


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


def read(words: Sequence[str]) -> Said:
    """What the words after `autotrain llm` say; every fault in them is a finding of the result."""
    said = Said()
    joined = join(words, said.findings)
    typed = {word.partition("=")[0] for word in joined}
    given, rest = build_parser(typed).parse_known_args(joined)
    for name, raw in vars(given).items():
        said.say(name, raw)
    said.findings.extend(_left_over(rest))
    return said


def _left_over(rest: Sequence[str]) -> Iterator[Finding]:
    """Findings for what argparse recognised nothing in: unknown flags one by one, stray words together."""
    stray = []
    for word in rest:
        if is_flag(word):
            flag, equals, value = word.partition("=")
            yield unknown(flag.lstrip("-").replace("-", "_"), flag, value if equals else None)
        else:
            stray.append(word)
    if stray:
        words = ", ".join(repr(word) for word in stray)
        belongs = "belongs" if len(stray) == 1 else "belong"
        yield Finding(f"{words} {belongs} to no flag", "put a text with spaces in quotes, or drop it", code="P121")
