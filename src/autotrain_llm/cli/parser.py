"""Parse a command line into ParsedArguments, with one argparse parser generated from the declarations.

argparse matches the flags. `argv.join` prepares the words so that argparse never exits with an error of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Container, Sequence
from typing import Any

from autotrain_llm.cli.argv import is_flag, join, name_of, plain_dashes
from autotrain_llm.config.aliases import ACCEPTED, ALIASES
from autotrain_llm.config.arguments import ParsedArguments, known_first
from autotrain_llm.config.foreign_names import is_known_elsewhere, unknown
from autotrain_llm.config.registry import GROUPS, PARAMS
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import Param, flag_of

# `optimizer.lr=2e-5`: a parameter as torchtune and verl take it on the command line, with sections before its name.
ASSIGNMENT = re.compile(r"\+{0,2}([A-Za-z_][\w-]*(?:\.[\w-]+)*)=(.*)", re.DOTALL)


def build_parser(typed: Container[str] | None = None) -> argparse.ArgumentParser:
    """The parser of `autotrain llm`: every declared flag, without defaults, so that only given flags are set.

    With `typed`, only these flags, and of them those that this command has: adding a hundred unused ones takes longer than parsing it.
    """
    parser = argparse.ArgumentParser(
        prog="autotrain llm", argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=False
    )
    for group in GROUPS:
        section = parser.add_argument_group(group.title, group.summary)
        for param in group.params:
            if typed is not None and param.answering and "--inference" not in typed:
                continue
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
    """The flag and the other names that are accepted for it, with dashes."""
    return [param.flag, *map(flag_of, param.spellings.split())]


def read(words: Sequence[str], trainer: str | None = None, positional: str | None = None) -> ParsedArguments:
    """Parse the words after `autotrain llm`; faults become findings of the result. `trainer` is the one that a config file names. A word that
    belongs to no flag is the value of `positional`, if it is not given by its flag."""
    arguments = ParsedArguments(trainer=trainer)
    found: list[tuple[Finding, str]] = []
    joined = join(words, found, has_positional=positional is not None)
    arguments.findings.extend(finding for finding, left_out in found if not left_out)
    for finding, left_out in found:
        if left_out:
            arguments.leave(finding, words=shlex.quote(left_out))
    typed = {word.partition("=")[0] for word in joined}
    given, rest = build_parser(typed).parse_known_args(joined)
    arguments.beside = {_bare(word): word.partition("=")[2] for word in joined if is_flag(word)}
    written = _other_names(words)
    for name, raw in sorted(vars(given).items(), key=lambda item: known_first(item[0])):
        arguments.set(name, raw, written.get(name, ""))
    stray = next((word for word in rest if not is_flag(word)), None)
    if positional is not None and stray is not None and positional not in arguments.values:
        arguments.set(positional, stray)
        rest.remove(stray)
        joined.remove(stray)
    _leave_the_rest(rest, joined, arguments)
    return arguments


def _other_names(words: Sequence[str]) -> dict[str, str]:
    """By parameter, the other name under which it was given last, as it was written."""
    written: dict[str, str] = {}
    for word in map(plain_dashes, words):
        flag = word.partition("=")[0]
        if is_flag(word) and name_of(flag) in PARAMS:
            is_own = flag.lstrip("-").replace("-", "_") == name_of(flag)
            written[name_of(flag)] = "" if is_own else flag
    return written


def _leave_the_rest(rest: Sequence[str], joined: Sequence[str], arguments: ParsedArguments) -> None:
    """Leave the words that argparse did not recognise: a finding for each unknown flag, and one for the stray words after each flag.

    Names that are known from other tools are read first, because what they stand for is given: no guess about another name replaces it.
    """
    assignments, stray = _words_without_flag(rest, joined)
    flags = list(filter(is_flag, rest))
    found: dict[int, tuple[Finding, str, str]] = {}
    meant: dict[str, Any] = {}
    for position, word in sorted(enumerate(flags), key=lambda item: not is_known_elsewhere(_bare(item[1]))):
        flag, equals, value = word.partition("=")
        name = _bare(word)
        if arguments.has(arguments.parameter_meant(name)) and equals:  # a name that depends on the trainer
            arguments.set(name, value, flag)
            continue
        if equals and name in ALIASES and PARAMS[ALIASES[name]].kind == "list":
            value = ",".join([value, *stray.pop(word, ())])
        finding = unknown(
            name, flag, value if equals else None, given=meant | arguments.known(), beside=arguments.beside
        )
        meant |= {other: item for other, item in finding.changes.items() if other != "trainer"}
        found[position] = finding, name, f"{flag} {shlex.quote(value)}" if equals else flag
    for _, (finding, name, typed) in sorted(found.items()):
        arguments.leave(finding, name, words=typed)
    for word, assigned, value in assignments:
        name = assigned.replace("-", "_")
        arguments.leave(unknown(name, f"{assigned}=", value, given=arguments.known()), name, words=shlex.quote(word))
    for flag, words in stray.items():
        arguments.leave(_stray_words(flag, words), words=shlex.join(words))


def _bare(word: str) -> str:
    """The name in a flag, with or without its value."""
    return word.partition("=")[0].lstrip("-").replace("-", "_")


def _words_without_flag(
    rest: Sequence[str], joined: Sequence[str]
) -> tuple[list[tuple[str, str, str]], dict[str, list[str]]]:
    """Words that assign a value, each with the name and the value, and the other words by the flag that they stand after."""
    assignments: list[tuple[str, str, str]] = []
    stray: dict[str, list[str]] = {}
    before = ""
    for word in joined:
        if is_flag(word):
            before = word
        elif word in rest:
            assignment = ASSIGNMENT.fullmatch(word)
            if assignment and ("." in assignment[1] or is_known_elsewhere(assignment[1])):
                assignments.append((word, assignment[1], assignment[2]))
            else:
                stray.setdefault(before, []).append(word)
    return assignments, stray


def _stray_words(before: str, words: Sequence[str]) -> Finding:
    """The finding for words after a flag that has its value already: more items of a list, or the rest of an unquoted text."""
    shown = ", ".join(repr(word) for word in words)
    belongs = "belongs" if len(words) == 1 else "belong"
    flag, equals, value = before.partition("=")
    param = PARAMS.get(name_of(flag)) if equals else None
    if param is not None and param.secret:
        return Finding(f"words after {flag} belong to no flag", "quote a text with spaces, or remove it", code="P121")
    joined = " ".join([value, *words])
    is_no_path = param is not None and param.path and not os.path.exists(joined)  # noqa: PTH110 (False for a long name)
    if param is None or param.kind not in ("list", "str") or param.choices or is_no_path:
        return Finding(f"{shown} {belongs} to no flag", "quote a text with spaces, or remove it", code="P121")
    separator = "," if param.kind == "list" else " "
    full = separator.join([value, *words]) if param.kind == "list" else f'"{separator.join([value, *words])}"'
    message = f"{shown} after {flag} {value} {belongs} to no flag"
    return Finding(message, f"{flag} {full}", (param.name,), code="P121")
