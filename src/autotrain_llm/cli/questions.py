"""`--interactive`: asks for missing parameters, shows the full command, and asks for confirmation."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import command_to, fit_to, is_terminal, styled, wants_colour
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.declare.finding import ERROR, Finding, Refused
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.text import plain

YES = ("", "y", "yes")


def ask(values: Mapping[str, Any], from_file: Mapping[str, Any], screen: Screen) -> dict[str, Any] | None:
    """The values with the user's answers; None if the user decides not to start. Raises `Refused` without a terminal."""
    if not is_terminal(sys.stdin):
        fix = "leave --interactive out and give the flags, or run it in a terminal"
        raise Refused(
            [Finding("--interactive needs a terminal: standard input is not one", fix, ("interactive",), code="P123")]
        )
    answered = dict(values)
    if "trainer" not in answered and "trainer" not in from_file:
        for trainer in TRAINERS.values():
            screen.write(fit_to(screen.err, f"  {trainer.name:<8} {trainer.summary}", " " * 11))
        answered["trainer"] = _ask_for(PARAMS["trainer"], PARAMS["trainer"].default, screen)
    trainer = TRAINERS[str(answered.get("trainer", from_file.get("trainer")))]
    lora = bool(answered.get("peft", from_file.get("peft")))
    for names in trainer.requires:
        alternatives = names.split("|")
        if not any(name in answered or name in from_file for name in alternatives):
            first = alternatives[0]
            usual = trainer.usual.get(first)
            answered[first] = _ask_for(PARAMS[first], usual.value(lora) if usual else None, screen)
    command = command_to(screen.err, command_line(answered))
    screen.write(f"\n{styled(command, 'bold', wants_colour(screen.err))}\n")
    return answered if _read("Start? [Y/n] ", screen).lower() in YES else None


def _ask_for(param: Param, usual: Any, screen: Screen) -> Any:
    """Ask until the answer is valid; an empty answer accepts the suggestion."""
    offered = "" if usual is None else f" [{plain(usual)}]"
    while True:
        raw = _read(f"{param.help}\n{param.flag}{offered}: ", screen)
        if not raw and usual is None:
            continue
        arguments = ParsedArguments()
        arguments.set(param.name, raw or plain(usual))
        value = arguments.values.get(param.name)
        if param.name in arguments.values and _is_allowed(param, value):
            return value
        for finding in arguments.findings:
            if finding.severity == ERROR:
                screen.write(fit_to(screen.err, finding.message))
        if param.name in arguments.values:
            screen.write(fit_to(screen.err, f"{param.flag} must be {_allowed(param)}"))


def _is_allowed(param: Param, value: Any) -> bool:
    if param.choices and value not in param.choices:
        return False
    return param.within is None or value in param.also or (value is not None and param.within.contains(value))


def _allowed(param: Param) -> str:
    return f"one of {', '.join(param.choices)}" if param.choices else param.within.describe() if param.within else ""


def _read(prompt: str, screen: Screen) -> str:
    """Read one line from the user. The question goes to standard error, so that it is visible if standard output is piped."""
    *lines, last = fit_to(screen.err, prompt, "").split("\n")
    screen.err.write("\n".join([*lines, last.rstrip() + " "]))
    screen.err.flush()
    line = sys.stdin.readline()
    if not line:  # end of input
        raise KeyboardInterrupt
    return line.strip()


def command_line(values: Mapping[str, Any]) -> str:
    """The command with these values, quoted for a shell; a secret is replaced by a variable."""
    import shlex

    words = ["autotrain llm"]
    for name, value in values.items():
        param = PARAMS[name]
        if name == "interactive":
            continue
        if param.secret:
            words.append(f'{param.flag} "$HF_TOKEN"')
        elif param.kind == "switch" and isinstance(value, bool):
            words.append(param.flag if value else f"--no-{param.flag.removeprefix('--')}")
        else:
            typed = _typed(value)
            words.append(f"{param.flag}{'=' if typed.startswith('--') else ' '}{shlex.quote(typed)}")
    return " ".join(words)


def _typed(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return json.dumps(value) if isinstance(value, dict) else plain(value)
