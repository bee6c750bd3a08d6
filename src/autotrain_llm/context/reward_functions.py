"""Functions that the user wrote, named as `module:function` or `file.py:function`: found without running them, then loaded and called."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from autotrain_llm.data.example import Example

NOT_THERE, FAILS = "P730", "P731"
FIRST = ("", "An answer.")  # what a function is asked to score before a run
WRITTEN = "FILE.py:FUNCTION or MODULE:FUNCTION"
GIVEN = ("prompts", "completions")


class Place(Record):
    """Where a function is: the words that name it, its own name, and its file, or its module where that is no file's."""

    written: str
    name: str
    file: Path | None = None
    module: str | None = None


class FunctionFault(Exception):
    """The function raised something, or returned what can't be used; the message says what and where, `wants` the columns it lacks."""

    def __init__(self, message: str, wants: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.wants = tuple(wants)


def find_function(written: str, parameter: str) -> Place:
    """Where a function is. Nothing of the user's is run. Raises Refused."""
    where, colon, name = written.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise _refused(parameter, f"{written!r} names no function", f"{_flag(parameter)} {WRITTEN}")
    if where.endswith(".py") or "/" in where:
        return _in_file(written, Path(where).expanduser(), name, parameter)
    return _in_module(written, where, name, parameter)


def _in_file(written: str, file: Path, name: str, parameter: str) -> Place:
    if not file.is_file():
        near = sorted(path.name for path in file.parent.glob("*.py")) if file.parent.is_dir() else []
        close = nearest(file.name, near, cutoff=0.5)
        fix = f"{_flag(parameter)} {file.with_name(close)}:{name}" if close else None
        raise _refused(parameter, f"there is no file {file}", fix)
    _check_name(file, name, written, parameter)
    return Place(written, name, file=file.absolute())


def _in_module(written: str, module: str, name: str, parameter: str) -> Place:
    spec = _spec_of(module)
    if spec is None:
        fix = f"{_flag(parameter)} {module}.py:{name}, or install the package it is in"
        raise _refused(parameter, f"there is no module {module} here or among the installed packages", fix)
    if spec.origin and spec.origin.endswith(".py"):
        _check_name(Path(spec.origin), name, written, parameter)
    return Place(written, name, module=module)


def _spec_of(module: str) -> Any:
    """The specification of a module, found part by part so that no package is imported for it."""
    from importlib.machinery import BuiltinImporter, PathFinder

    path: Sequence[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    so_far = ""
    for part in module.split("."):
        so_far = f"{so_far}.{part}" if so_far else part
        spec = PathFinder.find_spec(so_far, path) or BuiltinImporter.find_spec(so_far)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _check_name(file: Path, name: str, written: str, parameter: str) -> None:
    """That the file defines the name, as far as its text can tell."""
    import ast

    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as fault:
        line = getattr(fault, "lineno", None)
        raise _refused(parameter, f"{file}, line {line}, is no valid Python: {fault}", None) from fault
    names, functions, is_open = _names_of(tree)
    if name in names or is_open:
        return
    close = nearest(name, functions, cutoff=0.5) or next(iter(functions), None)
    fix = f"{_flag(parameter)} {written.rpartition(':')[0]}:{close}" if close else f"define {name} in {file}"
    raise _refused(parameter, f"{file} has no function {name}", fix)


def _names_of(tree: Any) -> tuple[set[str], list[str], bool]:
    """The names that a module's own statements bind to what may be called, its functions, and whether there may be others."""
    import ast

    names: set[str] = set()
    functions: list[str] = []
    is_open = False
    for statement in _statements(tree):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
            functions += [statement.name] if isinstance(statement, ast.FunctionDef) else []
        elif isinstance(statement, ast.Assign):
            called = not isinstance(statement.value, ast.Constant | ast.List | ast.Dict | ast.Tuple | ast.JoinedStr)
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name) and called}
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in statement.names}
            is_open |= any(alias.name == "*" for alias in statement.names)
        elif isinstance(statement, ast.For | ast.While):  # what a loop binds is seen when it runs
            is_open = True
    return names, functions, is_open or "__getattr__" in names


def _statements(block: Any) -> Iterator[Any]:
    """A module's statements, those under an if, a try or a with among them."""
    import ast

    for part in ("body", "handlers", "orelse", "finalbody"):
        for statement in getattr(block, part, ()):
            yield statement
            if isinstance(statement, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _statements(statement)


def load_function(place: Place) -> Callable[..., Any]:
    """The function itself, its module imported. Raises FunctionFault."""
    folder = str(place.file.parent if place.file else Path.cwd())
    with _on_path(folder), contextlib.redirect_stdout(sys.stderr):
        try:
            module = _of_file(place.file) if place.file else importlib.import_module(str(place.module))
        except (Exception, SystemExit) as problem:
            raise FunctionFault(f"importing it fails: {_in_words(problem, place)}") from problem
    found: object = getattr(module, place.name, None)
    if not callable(found):
        kind = "not there" if found is None else f"{_a(type(found).__name__)}, no function"
        raise FunctionFault(f"{place.name} is {kind}")
    return found


def _of_file(file: Path) -> Any:
    """The module in a file, the same one for all that ask."""
    name = f"autotrain_llm_user_{file.stem}_{abs(hash(str(file))):x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


@contextlib.contextmanager
def _on_path(folder: str) -> Iterator[None]:
    """With the folder as a place to import from, so that a file finds those beside it."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def call(
    place: Place,
    function: Callable[..., Any],
    prompts: Sequence[Any],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> list[float]:
    """A number for each completion: the function called by keyword with prompts, completions and each of the columns that it takes.

    What it prints goes to stderr. Raises FunctionFault.
    """
    given = {**columns, "prompts": list(prompts), "completions": list(completions)}
    given = _taken(function, given, columns)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            returned = function(**given)
        except (Exception, SystemExit) as problem:
            raise FunctionFault(f"raises {_in_words(problem, place)}") from problem
    return _numbers(returned, completions)


def first_call(written: str, parameter: str, row: Example, columns: Sequence[str]) -> Iterator[Finding]:
    """What goes wrong when the function is loaded and called with two answers to one row, of which one says nothing."""
    try:
        place = find_function(written, parameter)
        given = {name: [row.extra.get(name)] * 2 for name in columns}
        call(place, load_function(place), [row.prompt] * len(FIRST), FIRST, given)
    except FunctionFault as fault:
        yield Finding(
            f"{_flag(parameter)} {written}: {fault} (called with two answers to {row.file}, row {row.row}: {' and '.join(map(repr, FIRST))})",
            fix=_columns_fix(fault.wants, columns, row)
            if fault.wants
            else f"a number for any text: def {place.name}(prompts, completions, **columns): return [0.0 for text in completions]",
            parameters=(parameter,),
            file=str(place.file) if place.file else None,
            code=FAILS,
        )


def _columns_fix(wants: Sequence[str], columns: Sequence[str], row: Example) -> str:
    """How a function comes by the columns that it wants: more in the rows, or another name in the function."""
    near = {name: close for name in wants if (close := nearest(name, (*GIVEN, *columns), cutoff=0.7))}
    renamed = "".join(
        f"call {name} {close} in the function, as it is called in the rows, or " for name, close in near.items()
    )
    missing = " and ".join(wants)
    named = "a column" if len(wants) == 1 else "columns"
    return f"{renamed}add {named} {missing} to the rows of {row.file}, or give it a default in the function: {wants[0]}=None"


def _taken(function: Callable[..., Any], given: dict[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the function has a place for."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of what is written in C tells nothing
        return given
    kinds = inspect.Parameter
    if any(one.kind is kinds.VAR_KEYWORD for one in parameters):
        taken = given
    else:
        taken = {one.name: given[one.name] for one in parameters if one.name in given}
    needed = [
        one.name
        for one in parameters
        if one.default is kinds.empty and one.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    ]
    missing = [name for name in needed if name not in given]
    if missing:
        there = ", ".join((*GIVEN, *columns))
        raise FunctionFault(f"wants {', '.join(missing)}, and what there is to give is: {there}", missing)
    return taken


def _numbers(returned: Any, completions: Sequence[str]) -> list[float]:
    count = len(completions)
    wanted = f"a list of {count} numbers, one for each completion"
    if isinstance(returned, str | bytes | Mapping) or not hasattr(returned, "__iter__"):
        raise FunctionFault(f"returns {_a(type(returned).__name__)}, not {wanted}")
    try:
        values = list(returned)
    except TypeError as problem:  # an array of no dimension
        raise FunctionFault(f"returns {_a(type(returned).__name__)} without a length, not {wanted}") from problem
    if len(values) != count:
        raise FunctionFault(f"returns {len(values)} {'value' if len(values) == 1 else 'values'}, not {wanted}")
    return [_number(value, text) for value, text in zip(values, completions, strict=True)]


def _number(value: Any, text: str) -> float:
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FunctionFault(f"returns {str(value)[:40]!r} for the answer {text[:60]!r}, not a finite number")
    return number


def _in_words(problem: BaseException, place: Place) -> str:
    """An exception and where in the user's own file it came from."""
    import traceback

    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if place.file is not None and frame.filename == str(place.file)]
    where = f" ({place.file.name if place.file else ''}, line {own[-1].lineno})" if own else ""
    said = str(problem).strip().split("\n")[0]
    return f"{type(problem).__name__}{': ' + said if said else ''}{where}"


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _flag(parameter: str) -> str:
    return "--" + parameter.replace("_", "-")


def _refused(parameter: str, message: str, fix: str | None) -> Refused:
    return Refused([Finding(f"{_flag(parameter)}: {message}", fix, (parameter,), code=NOT_THERE)])
