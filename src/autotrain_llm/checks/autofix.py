"""Apply the fixes of findings: `--fix`.

A finding's `changes` replace the parameters that were given, and everything is checked again, until nothing more can be changed. A guess is
never applied, and no name of another tool replaces a value that was given under the name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.rules.command_line import UNWRITABLE_FILE
from autotrain_llm.checks.rules.every import rule_of
from autotrain_llm.config.arguments import ParsedArguments, parse_changes
from autotrain_llm.config.layers import Layer
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, resolve_layers
from autotrain_llm.config.unread import Unread, keys_of
from autotrain_llm.declare.finding import ERROR, Finding, Refused, in_words, typed
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.text import as_list, exact, without_point

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked

ROUNDS = 10


class Fixed(Record):
    """A corrected command: its values by source, the findings whose fixes were applied, the check of the result, and the flags and the keys of the file
    that are still wrong, as they were written: no word of the user's is lost."""

    command_line: dict[str, Any]
    from_file: dict[str, Any]
    config_file: str | None
    file_changed: bool
    applied: tuple[Finding, ...]
    checked: Checked
    unread: tuple[Unread, ...] = ()
    unread_in_file: tuple[Unread, ...] = ()

    def command(self, written: str | None = None) -> str:
        """The corrected command. `written` is a config file that has all values now but secrets, which stay in the command."""
        values = {name: value for name, value in self.command_line.items() if not PARAMS[name].checking}
        if written is not None:
            secrets = {name: value for name, value in {**self.from_file, **values}.items() if PARAMS[name].secret}
            kept = {name: value for name, value in values.items() if PARAMS[name].command and name != "config"}
            values = {"config": written, **kept, **secrets}
        elif self.file_changed:
            # A command has no file whose value null takes back, and what is left out is the default.
            in_file = {
                name: value
                for name, value in self.from_file.items()
                if value is not None or PARAMS[name].default is not None
            }
            values = {**in_file, **{name: value for name, value in values.items() if name != "config"}}
        from_file = self.unread_in_file if written is None and self.file_changed else ()
        unread = [item.in_command() for item in (*self.unread, *from_file)]
        # Before all flags, where none of them is taken for the value of a switch; words without a flag first.
        unread.sort(key=lambda words: words.startswith("-"))
        return " ".join(["autotrain llm", *unread, *typed_flags(values)])

    def as_json(self, written: str | None = None) -> dict[str, Any]:
        return {"command": self.command(written), "applied": applied_json(self.applied)}

    def write_config(self, path: str) -> None:
        """Write all values as YAML, without secrets, and the keys of the file that are still wrong. Raises Refused if it can't be written."""
        values = config_values({**self.from_file, **self.command_line})
        write_or_refuse(path, "write_config", as_yaml(values | keys_of(self.unread_in_file, values)))


def typed_flags(values: Mapping[str, Any]) -> list[str]:
    """Values as the flags of a command, quoted for a shell; a secret is a variable of it."""
    return [
        PARAMS[name].with_variable if PARAMS[name].secret else typed(name, _to_type(value))
        for name, value in values.items()
    ]


def _to_type(value: Any) -> Any:
    if value is None:
        return "none"
    return exact(value) if isinstance(value, float) else value


def applied_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings whose fixes were applied, as the JSON output has them."""
    return [
        {"code": finding.code, "changes": dict(finding.changes), "fix": in_words(finding.changes)}
        for finding in findings
    ]


def config_text(given: Mapping[str, Any]) -> str:
    """Values as the YAML of a config file, without secrets and options of the command."""
    return as_yaml(config_values(given))


def config_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a config file can have."""
    return {name: _plain(value) for name, value in given.items() if _may_be_written(PARAMS[name])}


def as_yaml(document: Mapping[str, Any]) -> str:
    """The text of a config file."""
    import yaml

    return str(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True))


def _may_be_written(param: Param) -> bool:
    """Whether a parameter may stand in a config file."""
    return not param.secret and (param.in_files or not param.command)


def write_or_refuse(path: str, parameter: str, text: str) -> None:
    """Write a file that a flag names. Raises Refused if it can't be written."""
    try:
        Path(path).expanduser().write_text(text, encoding="utf-8")
    except (OSError, RuntimeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        message = f"{PARAMS[parameter].flag} {path} can't be written: {reason}"
        raise Refused([UNWRITABLE_FILE.finding(message, "name a file in a folder that exists", (parameter,))]) from None


def _plain(value: Any) -> Any:
    return as_list(without_point(value))


def fix(arguments: ParsedArguments, from_file: ParsedArguments) -> Fixed:
    """Apply fixes, round after round. Trains nothing and writes nothing."""
    from autotrain_llm.checks.preflight import preflight

    command_line, in_file = dict(arguments.values), dict(from_file.values)
    path = command_line.get("config")
    command_line["dry_run"] = True
    reading = [*arguments.findings, *from_file.findings]
    file_changed, applied, tried = False, [], set()
    origins = {COMMAND_LINE: arguments.origins, CONFIG_FILE: from_file.origins}

    def checked_again() -> Checked:
        values = {COMMAND_LINE: command_line, CONFIG_FILE: in_file}
        layers = {source: Layer(values[source], origins[source]) for source in values}
        return preflight(resolve_layers(layers, path), reading)

    for _ in range(ROUNDS):
        checked = checked_again()
        possible = fixable(checked.findings, {**in_file, **command_line})
        chosen = [finding for finding in possible if _identity(finding) not in tried]
        if not chosen:
            break
        for finding in chosen:
            tried.add(_identity(finding))
            file_changed |= finding in from_file.findings
            file_changed |= _apply(finding.changes, command_line, in_file)
        applied += chosen
        reading = [finding for finding in reading if finding not in chosen]
    else:
        checked = checked_again()
    remaining = {_identity(finding) for finding in checked.findings}
    lasting = tuple(finding for finding in applied if _identity(finding) not in remaining)
    left, left_in_file = (
        tuple(item for item in source.unread if item.finding in reading) for source in (arguments, from_file)
    )
    return Fixed(command_line, in_file, path, file_changed, lasting, checked, left, left_in_file)


def fixable(findings: Sequence[Finding], given: Mapping[str, Any]) -> list[Finding]:
    """Findings with a fix that is certain and that can be applied together, beside the parameters that are given."""
    guessed = {name for finding in findings for name in finding.guess} - {*given}

    def waits(finding: Finding) -> bool:
        """Whether it can be told only when what is guessed is known: of all values, whether the trainer reads them."""
        removes = any(value is None and name in given for name, value in finding.changes.items())
        return bool(guessed & {*finding.parameters}) or (removes and "trainer" in guessed)

    return _compatible([finding for finding in findings if not _overrides(finding, given) and not waits(finding)])


def _compatible(findings: Iterable[Finding]) -> list[Finding]:
    """Findings whose changes concern different parameters, errors first; the others are left for the next round."""
    chosen: list[Finding] = []
    touched: set[str] = set()
    for finding in sorted(findings, key=lambda finding: finding.severity != ERROR):
        names = {*finding.changes, *finding.parameters}
        if finding.changes and not names & touched:
            chosen.append(finding)
            touched |= names
    return chosen


def _overrides(finding: Finding, given: Mapping[str, Any]) -> bool:
    """Whether a name of another tool would replace another value that was given."""
    rule = rule_of(finding)
    if rule is None or not rule.suggests:
        return False
    return any(given.get(name, value) != value for name, value in parse_changes(finding.changes).items())


def _identity(finding: Finding) -> tuple[str, str]:
    return finding.code, in_words(finding.changes)


def _apply(changes: Mapping[str, Any], command_line: dict[str, Any], in_file: dict[str, Any]) -> bool:
    """Apply changes to the source of each value; whether a value of the config file changed."""
    changed = False
    for name, value in changes.items():
        layer = in_file if name in in_file and name not in command_line else command_line
        if value is None:
            changed |= in_file.pop(name, None) is not None
            command_line.pop(name, None)
            continue
        converted = ParsedArguments()
        converted.set(name, value)
        layer.update(converted.values)
        changed |= layer is in_file
    return changed
