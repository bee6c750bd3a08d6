"""A trial of a reward function on answers that differ, the row's own among them: whether it tells any of them apart, and if not, what can be seen of the reason."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autotrain_llm.context.reward_functions import (
    FAILS,
    OWN_ARGUMENTS,
    PROBE_ANSWERS,
    FunctionFault,
    FunctionLocation,
    call,
    find_function,
    ignores_completions,
    load_function,
    read_as_turns,
    syntax_of,
)
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.nearest import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType

    from autotrain_llm.data.example import Example

ALL_THE_SAME, ABSENT = "P748", "P749"
# What a trainer of TRL passes besides the columns; a function may do without.
OF_TRL = ("prompt_ids", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments", "images")
# The forms in which reward functions usually expect a final answer.
FORMS = (
    "{}",
    "The answer is {}.",
    "#### {}",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "<think>\nI add them.\n</think>\n<answer>\n{}\n</answer>",
    "<reasoning>\nI add them.\n</reasoning>\n<answer>\n{}\n</answer>\n",
)
OTHER_ANSWERS = ("7", "A longer answer: it has two sentences, and a list.\n\n- one\n- two\n")
MOST_REFERENCES, SHOWN = 3, 60
MISTAKES = (TypeError, KeyError, IndexError, AttributeError, NameError)


def first_call(written: str, parameter: str, row: Example, columns: Sequence[str]) -> Iterator[Finding]:
    """Load the function and call it with two answers to one row, one of them empty; yield a finding if it fails, or tells no answers apart."""
    flag = "--" + parameter.replace("_", "-")
    try:
        location = find_function(written, parameter)
        arguments = {name: [row.extra.get(name)] * 2 for name in columns}
        function = load_function(location)
        call(location, function, [row.prompt] * len(PROBE_ANSWERS), PROBE_ANSWERS, arguments)
        yield from _tried(location, function, row, columns, flag)
    except FunctionFault as fault:
        yield Finding(
            f"{flag} {written}: {fault} (called with two answers to {row.file}, row {row.row}: {' and '.join(map(repr, PROBE_ANSWERS))})",
            fix=_columns_fix(fault.missing_columns, columns, row)
            if fault.missing_columns
            else f"a number for any text: def {location.name}(prompts, completions, **columns): return [float(len(text)) for text in completions]",
            parameters=(parameter,),
            file=str(location.file) if location.file else None,
            code=FAILS,
        )


def _columns_fix(missing_columns: Sequence[str], columns: Sequence[str], row: Example) -> str:
    """The fix for missing columns: add them to the rows, or rename the argument of the function."""
    near = {name: close for name in missing_columns if (close := nearest(name, (*OWN_ARGUMENTS, *columns), cutoff=0.7))}
    renamed = "".join(
        f"call {name} {close} in the function, as it is called in the rows, or " for name, close in near.items()
    )
    missing = " and ".join(missing_columns)
    named = "a column" if len(missing_columns) == 1 else "columns"
    return f"{renamed}add {named} {missing} to the rows of {row.file}, or give it a default in the function: {missing_columns[0]}=None"


def _tried(
    location: FunctionLocation, function: Callable[..., Any], row: Example, columns: Sequence[str], flag: str
) -> Iterator[Finding]:
    """A finding if the function gives all answers of a trial the same score, or else if it reads a column that the rows don't have through a default."""
    absent = absent_columns(location, columns)
    file = str(location.file) if location.file else None
    parameters = (flag.removeprefix("--").replace("-", "_"),)
    have = ", ".join(columns) or "no other columns"
    fix = f"name a column that the rows have ({have}) in the function, or add {' and '.join(absent)} to the rows"
    answers = (*PROBE_ANSWERS, *OTHER_ANSWERS, *(form.format(value) for value in references(row) for form in FORMS))
    try:
        scores, caught, printed = _scores(location, function, row, columns, answers)
    except FunctionFault as fault:
        message = (
            f"{flag} {location.written}: {fault} (called with {len(answers)} answers to {row.file}, row {row.row})"
        )
        yield Finding(message, "a number for any text", parameters, file=file, code=FAILS)
        return
    if len(set(scores)) == 1 and not ignores_completions(location):
        has_own = len(answers) > len(PROBE_ANSWERS) + len(OTHER_ANSWERS)
        own = " the row's own in several forms among them," if has_own else ""
        message = f"{flag} {location.written} gives {len(answers)} different answers to {row.file}, row {row.row},{own} the same score, {scores[0]:g}"
        if caught:
            message += f"; it catches {caught}"
        if absent:
            message += f"; the rows have no column {' or '.join(absent)}, which it reads through a default"
        if printed:
            message += f"; it prints {printed[:SHOWN]!r}"
        fix = (
            fix
            if absent and not caught
            else "score each text in completions, and let an error end the function instead of a score"
        )
        yield Finding(message, fix, parameters, file=file, code=ALL_THE_SAME, severity=WARNING)
    elif absent:
        message = f"{flag} {location.written} reads {' and '.join(absent)} through a default, and the rows of {row.file} have no such column"
        yield Finding(message, fix, parameters, file=file, code=ABSENT, severity=WARNING)


def references(row: Example) -> list[str]:
    """What a row says about the right answer: its other columns, as texts; of one that ends with `#### 12` that number."""
    values = [
        str(value).rpartition("####")[2].strip() for value in row.extra.values() if isinstance(value, str | int | float)
    ]
    return [value for value in values if value][:MOST_REFERENCES]


def _scores(
    location: FunctionLocation,
    function: Callable[..., Any],
    row: Example,
    columns: Sequence[str],
    answers: Sequence[str],
) -> tuple[list[float], str, str]:
    """The scores of a trial, the last mistake that the function's own code catches, and the last line that it prints. Raises FunctionFault."""
    caught: list[str] = []
    code: CodeType | None = getattr(function, "__code__", None)
    arguments: Mapping[str, list[Any]] = {name: [row.extra.get(name)] * len(answers) for name in columns}

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if code is None or frame.f_code.co_filename != code.co_filename:
            return None
        if event == "exception" and isinstance(argument[1], MISTAKES):
            text = str(argument[1]).strip().split("\n")[0]
            caught.append(f"{argument[0].__name__}: {text} (line {frame.f_lineno}){read_as_turns(argument[1])}")
        return watch

    before, output = sys.gettrace(), io.StringIO()
    try:
        sys.settrace(watch)
        with contextlib.redirect_stderr(output):  # where `call` sends what is printed
            scores = call(location, function, [row.prompt] * len(answers), answers, arguments)
    finally:
        sys.settrace(before)
    lines = [line.strip() for line in output.getvalue().splitlines() if line.strip()]
    return scores, caught[-1] if caught else "", lines[-1] if lines else ""


def absent_columns(location: FunctionLocation, columns: Sequence[str]) -> list[str]:
    """The columns that a function's source reads through a default of None or from its keywords, and that the rows don't have."""
    import ast

    tree = syntax_of(location)
    if tree is None:
        return []
    arguments = tree.args
    named = [*arguments.posonlyargs, *arguments.args]
    defaults = [*zip(named[len(named) - len(arguments.defaults) :], arguments.defaults, strict=True)]
    defaults += [
        (one, value)
        for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if value is not None
    ]
    names = [one.arg for one, value in defaults if isinstance(value, ast.Constant) and value.value is None]
    if arguments.kwarg is not None:
        names += [key for node in ast.walk(tree) if (key := _key_of(node, arguments.kwarg.arg)) is not None]
    there = {*columns, *OWN_ARGUMENTS, *OF_TRL}
    return [name for name in dict.fromkeys(names) if name not in there]


def _key_of(node: Any, keywords: str) -> str | None:
    """The key of `keywords.get("key")`; None for any other piece of a syntax tree."""
    import ast

    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[ast.Constant(value=str(key)), *_]
        ) if name == keywords:
            return key
    return None
