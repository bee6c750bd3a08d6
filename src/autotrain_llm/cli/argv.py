"""Split a command line into flags and values before argparse reads it.

argparse exits at the first error and reads `-1e-5` as a flag. `join` makes one word of each flag and its value, and turns what argparse
would reject into findings, so that all errors are reported together. `--help` needs only this module, so argparse is not loaded here.
"""

from __future__ import annotations

from autotrain_llm.config.aliases import ACCEPTED, RENAMED
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.declare.convert import FALSE, TRUE
from autotrain_llm.declare.param import flag_of
from autotrain_llm.params.precision import ON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autotrain_llm.declare.finding import Finding
    from autotrain_llm.declare.param import Param

SWITCHES = frozenset(name for name, param in PARAMS.items() if param.kind == "switch")
OPTIONAL_VALUE = SWITCHES | {accepted.name for accepted in ACCEPTED}


def join(words: Sequence[str], found: list[tuple[Finding, str]], has_positional: bool = False) -> list[str]:
    """The words with every flag spelt with dashes and joined to its value; findings are added to `found`, each with the words that are left out. With `has_positional`, a word after a
    switch can be one of its own: `chat --offline runs/mine`."""
    joined: list[str] = []
    position = 0
    while position < len(words):
        word = plain_dashes(words[position])
        if word != words[position]:
            message = f"{words[position].partition('=')[0]} begins with a long dash; a flag begins with two hyphens"
            fix, name = word.partition("=")[0], name_of(word.partition("=")[0])
            found.append((_finding(message, fix, name, "P104"), ""))
        position += 1
        if not is_flag(word):
            joined += [] if word == "--" else [word]
            continue
        flag, equals, value = word.partition("=")
        following = words[position] if position < len(words) else None
        if not equals and takes(name_of(flag), following, has_positional):
            value, equals = str(following), "="
            position += 1
        elif not equals and has_positional and name_of(flag) in SWITCHES:
            value, equals = "true", "="  # argparse would take the next word for its value
        left: list[Finding] = []
        joined.extend(_one_word(flag, value if equals else None, left))
        found.extend((finding, f"{flag}={value}" if equals else flag) for finding in left)
    found.extend((finding, "") for finding in _given_twice(joined))
    return joined


def plain_dashes(word: str) -> str:
    """Replace a long dash, as word processors and web pages make it, by two hyphens if that gives a flag."""
    rest = word.lstrip("\u2010\u2011\u2012\u2013\u2014\u2015\u2212")
    return f"--{rest}" if rest != word and name_of(f"--{rest.partition('=')[0]}") in PARAMS else word


def _given_twice(joined: Sequence[str]) -> Iterator[Finding]:
    """A warning for each flag that is given with different values. The last one is used, as in other tools."""
    given: dict[str, list[str]] = {}
    for word in joined:
        flag, equals, value = word.partition("=")
        if name_of(flag) in PARAMS:
            given.setdefault(name_of(flag), []).append(value if equals else "true")
    for name, values in given.items():
        if len(set(values)) > 1:
            from autotrain_llm.declare.finding import WARNING, Finding

            shown = "" if PARAMS[name].secret else f": {', then '.join(values)}"
            message = f"{flag_of(name)} is given {len(values)} times{shown}; the last one is used"
            fix = "keep one; or list both in a file for --data-config" if name == "data_path" else "keep one"
            yield Finding(message, fix, (name,), WARNING, code="P126")


def _one_word(flag: str, value: str | None, findings: list[Finding]) -> Iterator[str]:
    """A flag and its value as one word that argparse accepts; nothing, but a finding, if it would not."""
    name = name_of(flag)
    positive = name.removeprefix("no_")
    if name not in PARAMS and positive in SWITCHES:
        if value is None:
            yield f"{flag_of(positive)}=false"
        else:
            findings.append(_no_value_wanted(flag, positive, value))
    elif value is not None:
        yield f"{flag_of(name) if is_known(name) else flag}={value}"
    elif name in PARAMS and name not in SWITCHES:
        findings.append(_missing_value(PARAMS[name]))
    else:
        yield flag_of(name) if is_known(name) else flag


def takes(name: str, following: str | None, has_positional: bool = False) -> bool:
    """Whether the next word is this flag's value. A minus followed by a number is a value, never a flag."""
    if following is None or is_flag(following):
        return False
    if has_positional and name in SWITCHES:
        return following.lower() in TRUE + FALSE
    if name in PARAMS or not is_known(name):
        return not (name not in PARAMS and name.removeprefix("no_") in SWITCHES)
    wants_text = any(accepted.name == name and accepted.takes_value for accepted in ACCEPTED)
    return wants_text or following.lower() in TRUE + FALSE


def is_flag(word: str) -> bool:
    """Whether the word is a flag, and not a negative number or a text that begins with a dash."""
    if not word.startswith("-") or not word.strip("-") or " " in word.partition("=")[0]:
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def name_of(flag: str) -> str:
    """`--dpo-beta`, `--dpo_beta` and `-dpo-beta` name the parameter dpo_beta; a former name gives the current one."""
    name = flag.lstrip("-").replace("-", "_") if flag.startswith("--") else flag
    return RENAMED.get(name, name)


def is_known(name: str) -> bool:
    return name in PARAMS or name in OPTIONAL_VALUE


def last_value(words: Sequence[str], name: str) -> str | None:
    """The last value of one flag, ignoring errors in the others: `--help` must work with any command."""
    last = None
    for flag in join(words, []):
        head, equals, value = flag.partition("=")
        if equals and head == flag_of(name):
            last = value
    return last


def _missing_value(param: Param) -> Finding:
    if param.name == "trainer":
        fix = f"--trainer {next(iter(TRAINERS))}, or another of {', '.join(TRAINERS)}"
    elif param.choices:
        first = ON if ON in param.choices else param.choices[0]
        fix = f"{param.flag} {first}, or another of {', '.join(param.choices)}"
    else:
        fix = f"{param.flag} {param.placeholder}"
    return _finding(f"{param.flag} needs a value", fix, param.name)


def _no_value_wanted(flag: str, name: str, value: str) -> Finding:
    return _finding(f"{flag} takes no value, got {value!r}", f"{flag}, or {flag_of(name)} {value}", name)


def _finding(message: str, fix: str, name: str, code: str = "P120") -> Finding:
    from autotrain_llm.declare.finding import Finding

    return Finding(message, fix, (name,), code=code)
