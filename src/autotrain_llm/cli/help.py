"""`--help`: generated from the declarations, for all trainers or for one. Returns text and does not print."""

from __future__ import annotations

from autotrain_llm.cli.terminal import styled, wrap
from autotrain_llm.config.aliases import ACCEPTED, ALIASES, RENAMED
from autotrain_llm.config.registry import (
    GROUP,
    GROUPS,
    PARAMS,
    READS,
    REFUSED,
    TRAINERS,
    UNUSED,
    trainers_that_read,
    verdict,
)
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.text import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from autotrain_llm.declare.param import Group, Param
    from autotrain_llm.declare.trainer import Trainer

    Section = tuple[str, list[tuple[str, str]]]

FLAG_COLUMN = 30
NOT_YET = "not available yet"
HELP_ON_MORE = (
    "`autotrain llm --help NAME` explains a flag or a topic, `--trainer dpo --help` what one trainer reads, and `--help-all` every flag. "
    "A switch takes --x, --x true, --x false and --no-x."
)


def page(trainer: Trainer | None, columns: int, colour: bool, whole: bool = True) -> str:
    """The text of `autotrain llm --help-all`, for one trainer if given; without `whole` that of `--help`, which explains what most runs set
    and lists the other flags by topic."""
    if whole:
        sections = _trainer_page(trainer) if trainer else _full_page()
    else:
        sections = _short_trainer_page(trainer) if trainer else _short_page()
    return "\n".join([_usage(trainer, columns, colour), *_lines(sections, columns, colour), ""])


def topic_page(topic: str, columns: int, colour: bool) -> str | None:
    """The text of `autotrain llm --help TOPIC`: a parameter by any of its names, or the groups with these words in their titles; None if there
    is none."""
    name = topic.lstrip("-").replace("-", "_").lower()
    groups = [group for group in GROUPS if name.replace("_", " ") in group.title.lower()]
    spelt = {other: param for param in PARAMS.values() for other in param.spellings.split()}
    param = PARAMS.get(name) or (None if groups else spelt.get(name) or PARAMS.get(ALIASES.get(name, "")))
    if param is not None:
        sections = [(param.flag, _about(param))]
    else:
        sections = [(title_of(group), [("", group.summary), *map(_entry, group.params)]) for group in groups]
    return "\n".join([*_lines(sections, columns, colour)[1:], ""]) if sections else None


def _about(param: Param) -> list[tuple[str, str]]:
    """What is to know of one parameter."""
    left, text = _entry(param)
    readers = trainers_that_read(param.name)
    rows = [(left, text)]
    if len(readers) < len(TRAINERS):
        rows.append(("", f"Read by {', '.join(reader.name for reader in readers)}."))
    group = GROUP[param.group]
    rows.append(("", f"{group.title}: {group.summary}"))
    if param.spellings or param.aliases:
        names = " ".join(filter(None, (param.spellings, param.aliases))).split()
        rows.append(("", f"Other tools call it {', '.join(map(flag_of, names))}."))
    return rows


def _lines(sections: Iterable[Section], columns: int, colour: bool) -> list[str]:
    lines: list[str] = []
    for title, rows in sections:
        lines += ["", *(styled(line, "bold", colour) for line in wrap(title, columns))] if title else [""]
        for left, right in rows:
            lines += _row(left, right, columns, colour)
    return lines


def prepare_page(columns: int, colour: bool) -> str:
    """The text of `autotrain prepare --help`: the flags that decide on rows and tokens."""
    from autotrain_llm.checks.preparation import READS
    from autotrain_llm.cli.prepare import SUMMARY, USAGE

    defaults = {"trainer": "by the format of the rows"}
    return "\n".join([*_page_of_command(USAGE, SUMMARY, READS, columns, colour, defaults), ""])


def chat_page(columns: int, colour: bool) -> str:
    """The text of `autotrain chat --help`: what can be typed in it, and the flags that decide on answers."""
    from autotrain_llm.checks.chat import READS
    from autotrain_llm.cli.chat import COMMANDS, SUMMARY, USAGE

    lines = _page_of_command(USAGE, SUMMARY, READS - {"model"}, columns, colour)
    typed = [line for row in COMMANDS.items() for line in _row(*row, columns, colour)]
    return "\n".join([*lines, "", styled("Typed in the conversation", "bold", colour), *typed, ""])


def _page_of_command(
    usage: str, summary: str, reads: frozenset[str], columns: int, colour: bool, defaults: Mapping[str, str] = EMPTY
) -> list[str]:
    """The lines of a page on a command that reads some of the parameters; `defaults` are those that differ, in words."""
    lines = [*wrap(usage, columns), "", *wrap(summary, columns)]
    for group in GROUPS:
        params = [param for param in group.params if param.name in reads]
        lines += ["", styled(title_of(group), "bold", colour)] if params else []
        for param in params:
            flag, text = _entry(param)
            if param.name in defaults:
                text = text.replace(f"[default: {param.default}]", f"[default: {defaults[param.name]}]")
            lines += _row(flag, text, columns, colour)
    return lines


def _usage(trainer: Trainer | None, columns: int, colour: bool) -> str:
    head = styled("usage:", "bold", colour) + " autotrain llm"
    words = [f"--trainer {trainer.name}" if trainer else "--trainer NAME"]
    words += [_required(name) for name in (trainer.requires if trainer else ("model", "data_path"))]
    lines = wrap(" ".join(word.replace(" ", "\0") for word in [*words, "[flags]"]), columns - 21)
    return "\n".join(
        (head + " " if index == 0 else " " * 21) + line.replace("\0", " ") for index, line in enumerate(lines)
    )


def _required(name: str) -> str:
    """The flag of a requirement; for `a|b` the first."""
    param = PARAMS[name.split("|")[0]]
    return f"{param.flag} {param.placeholder}"


def _short_page() -> Iterator[Section]:
    yield "", [("", "Trains a language model. Everything is checked before any weights are loaded.")]
    yield "Trainers", [(trainer.name, trainer.summary + _marked(trainer)) for trainer in TRAINERS.values()]
    yield "What most runs set", [_entry(param) for param in PARAMS.values() if param.usual]
    yield "Everything else, by topic", [_topic(group) for group in GROUPS if any(not one.usual for one in group.params)]
    yield "", [("", HELP_ON_MORE)]


def _short_trainer_page(trainer: Trainer) -> Iterator[Section]:
    yield "", [("", trainer.summary + _marked(trainer))]
    yield "Required", [_required_entry(trainer, name) for name in trainer.requires]
    required = {name for names in trainer.requires for name in names.split("|")} | {"trainer"}
    applying = [group for group in GROUPS if any(verdict(param, trainer) == READS for param in group.params)]
    for group in applying:
        rest = [param for param in group.params if param.name not in required and verdict(param, trainer) == READS]
        if rest and not _is_for_all(group):
            yield title_of(group, trainer), [_entry(param, trainer) for param in rest]
    usual = [param for param in PARAMS.values() if param.usual and param.name not in required]
    yield "What most runs set", [_entry(param, trainer) for param in usual if verdict(param, trainer) == READS]
    yield "Everything else, by topic", [_topic(group, trainer) for group in applying if _is_for_all(group)]
    yield "", [("", HELP_ON_MORE)]


def _topic(group: Group, trainer: Trainer | None = None) -> tuple[str, str]:
    """A group's title and its flags."""
    flags = [one.flag for one in group.params if not one.usual and (trainer is None or verdict(one, trainer) == READS)]
    return title_of(group, trainer), ", ".join(flags)


def _full_page() -> Iterator[Section]:
    yield "", [("", "Trains a language model. Everything is checked before any weights are loaded.")]
    yield "Trainers", [(trainer.name, trainer.summary + _marked(trainer)) for trainer in TRAINERS.values()]
    for group in GROUPS:
        yield title_of(group), [_entry(param) for param in group.params]
    yield "Accepted from other tools' commands", list(_accepted())
    yield (
        "",
        [
            ("", "`autotrain llm --trainer dpo --help` shows what applies to one trainer, its required flags first."),
            ("", "A switch takes --x, --x true, --x false and --no-x."),
        ],
    )


def _trainer_page(trainer: Trainer) -> Iterator[Section]:
    yield "", [("", trainer.summary + _marked(trainer))]
    yield "Required", [_required_entry(trainer, name) for name in trainer.requires]
    required = {name for names in trainer.requires for name in names.split("|")} | {"trainer"}
    for group in sorted(GROUPS, key=_is_for_all):  # groups that few trainers read come first
        rest = [param for param in group.params if param.name not in required and verdict(param, trainer) == READS]
        if rest:
            yield title_of(group, trainer), [_entry(param, trainer) for param in rest]
    unused = [param for param in PARAMS.values() if verdict(param, trainer) == UNUSED]
    if unused:
        yield "Accepted without effect", [(signature(param), trainer.unused[param.name]) for param in unused]
    refused = [param.flag for param in PARAMS.values() if verdict(param, trainer) == REFUSED]
    refusal = f", and {', '.join(refused)} is refused" if refused else ""
    yield "", [("", f"Every other parameter is dropped with a warning{refusal}.")]


def _is_for_all(group: Group) -> bool:
    return group.switch is not None or len(trainers_that_read(group.params[0].name)) == len(TRAINERS)


def _required_entry(trainer: Trainer, name: str) -> tuple[str, str]:
    first, *others = [PARAMS[part] for part in name.split("|")]
    usual = trainer.usual.get(first.name)
    text = first.help
    if others:
        text += f" Or {' or '.join(other.flag + ' ' + other.placeholder for other in others)}."
    if usual is not None:
        full, lora = plain(usual.full), plain(usual.lora)
        text += f" [usual: {full}]" if full == lora else f" [usual: {full}, with LoRA {lora}]"
    return signature(first), text


def title_of(group: Group, trainer: Trainer | None = None) -> str:
    """A group's title, with its trainers if not all read it, and a remark if it is not implemented yet."""
    readers = trainers_that_read(group.params[0].name)
    only = trainer is None and len(readers) < len(TRAINERS)
    title = f"{group.title} ({', '.join(reader.name for reader in readers)})" if only else group.title
    return title if group.available else f"{title}, {NOT_YET}"


def _marked(trainer: Trainer) -> str:
    return "" if trainer.recipe else f" (checked; training is {NOT_YET})"


def signature(param: Param) -> str:
    """The flag and the placeholder of its value."""
    return f"{param.flag} {param.placeholder}".rstrip()


def _entry(param: Param, trainer: Trainer | None = None) -> tuple[str, str]:
    left = signature(param)
    text = param.help
    if param.name == "trainer":
        text += f" One of {', '.join(TRAINERS)}."
    if param.choices:
        left, text = f"{param.flag} {_short_choices(param)}", f"{text} {_choices_in_words(param)}".rstrip()
    remarks = [_bounds(param)] if param.within else []
    default = default_of(param, trainer)
    remarks += [f"default: {default}"] if default else []
    return left, f"{text} [{'; '.join(remarks)}]" if remarks else text


def _short_choices(param: Param) -> str:
    return param.placeholder if len(param.placeholder) + len(param.flag) + 1 < FLAG_COLUMN - 2 else "NAME"


def _choices_in_words(param: Param) -> str:
    return f"One of {', '.join(param.choices)}." if _short_choices(param) == "NAME" else ""


def _bounds(param: Param) -> str:
    assert param.within is not None
    also = f", or {', '.join(plain(value) for value in param.also)} for automatic" if param.also else ""
    return param.within.describe() + also


def default_of(param: Param, trainer: Trainer | None = None) -> str:
    """The default in words: the trainer's if it has one; empty for a switch that is off."""
    text = trainer.default_text(param) if trainer else param.default_text()
    return "" if param.kind == "switch" and text == "off" else text


def _accepted() -> Iterator[tuple[str, str]]:
    for old, new in RENAMED.items():
        yield flag_of(old), f"Stands for {PARAMS[new].flag}."
    for accepted in ACCEPTED:
        yield (
            accepted.flag,
            f"Stands for {_stands_for(accepted.sets)}." if accepted.sets else "Has no effect; a warning says why.",
        )


def _stands_for(sets: Mapping[str, object]) -> str:
    return " ".join(
        f"--no-{name.replace('_', '-')}" if value is False else f"{PARAMS[name].flag} {plain(value)}"
        for name, value in sets.items()
    )


def _row(left: str, right: str, columns: int, colour: bool) -> list[str]:
    """One entry in two columns. A long left side gets its own line; without a left side the text has the full width."""
    if not left:
        return ["  " + line for line in wrap(right, columns - 2)]
    indent = min(FLAG_COLUMN, columns // 2 - 4)
    flag, _, placeholder = left.partition(" ")
    shown = f"  {styled(flag, 'cyan', colour)} {placeholder}".rstrip()
    body = wrap(right, max(columns - indent, 20))
    if len(left) + 2 >= indent:
        heading = [shown] if len(left) + 2 <= columns else ["  " + line for line in wrap(left, columns - 2)]
        return [*heading, *(" " * indent + line for line in body)]
    first = shown + " " * (indent - 2 - len(left)) + body[0]
    return [first, *(" " * indent + line for line in body[1:])]
