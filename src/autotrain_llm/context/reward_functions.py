"""Reward functions of the user, named `module:function` or `file.py:function`: located without running any code, then loaded and called."""

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
from autotrain_llm.declare.special_file import refuse_special

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

NOT_FOUND, FAILS = "P730", "P731"
PROBE_ANSWERS = ("", "An answer.")  # what a function is asked to score before a run
SYNTAX = "FILE.py:FUNCTION or MODULE:FUNCTION"
OWN_ARGUMENTS = ("prompts", "completions")


class FunctionLocation(Record):
    """Where a function is defined: `written` as the user wrote it, its name, and its file or module."""

    written: str
    name: str
    file: Path | None = None
    module: str | None = None


class FunctionFault(Exception):
    """The function raised something, or returned what can't be used; the message says what and where. `missing_columns` are arguments that no column provides."""

    def __init__(self, message: str, missing_columns: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing_columns = tuple(missing_columns)


def find_function(written: str, parameter: str) -> FunctionLocation:
    """Locate a function without running any of the user's code. Raises Refused."""
    where, colon, name = written.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise _refused(parameter, f"{written!r} is not the name of a function", f"{_flag(parameter)} {SYNTAX}")
    if where.endswith(".py") or "/" in where:
        return _in_file(written, Path(where).expanduser(), name, parameter)
    return _in_module(written, where, name, parameter)


def _in_file(written: str, file: Path, name: str, parameter: str) -> FunctionLocation:
    if not file.is_file():
        near = sorted(path.name for path in file.parent.glob("*.py")) if file.parent.is_dir() else []
        close = nearest(file.name, near, cutoff=0.5)
        fix = f"{_flag(parameter)} {file.with_name(close) if close else '<an existing file>.py'}:{name}"
        raise _refused(parameter, f"there is no file {file}", fix)
    _check_name(file, name, written, parameter)
    return FunctionLocation(written, name, file=file.absolute())


def _in_module(written: str, module: str, name: str, parameter: str) -> FunctionLocation:
    spec = _spec_of(module)
    if spec is None:
        fix = f"{_flag(parameter)} {module}.py:{name}, or install the package it is in"
        raise _refused(parameter, f"there is no module {module} here or among the installed packages", fix)
    if spec.origin and spec.origin.endswith(".py"):
        _check_name(Path(spec.origin), name, written, parameter)
    return FunctionLocation(written, name, module=module)


def _spec_of(module: str) -> Any:
    """The spec of a module, resolved name by name: `importlib.util.find_spec` would import the parent packages."""
    from importlib.machinery import BuiltinImporter, PathFinder

    path: Sequence[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    prefix = ""
    for name in module.split("."):
        prefix = f"{prefix}.{name}" if prefix else name
        spec = PathFinder.find_spec(prefix, path) or BuiltinImporter.find_spec(prefix)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _check_name(file: Path, name: str, written: str, parameter: str) -> None:
    """Raise Refused if the file's syntax tree shows that it does not define the name."""
    import ast

    refuse_special(file)
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as fault:
        line = getattr(fault, "lineno", None)
        raise _refused(parameter, f"{file}, line {line}, is not valid Python: {fault}", None) from fault
    names, functions, is_open = _names_of(tree)
    if name in names or is_open:
        return
    close = nearest(name, functions, cutoff=0.5) or next(iter(functions), None)
    fix = f"{_flag(parameter)} {written.rpartition(':')[0]}:{close}" if close else f"define {name} in {file}"
    raise _refused(parameter, f"{file} has no function {name}", fix)


def ignores_completions(location: FunctionLocation) -> bool:
    """Whether a function's source shows that its scores can't depend on what the completions are: it only counts them, or goes through them without using one.
    False for anything else, and for a function of a module."""
    import ast

    function = syntax_of(location)
    if function is None or function.decorator_list:
        return False
    body, arguments = function.body, function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    used = [
        node.id
        for part in body
        for node in ast.walk(part)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    ]
    keywords = arguments.kwarg.arg if arguments.kwarg else None
    if keywords in used or {"locals", "eval", "exec", "vars"} & {*used}:
        return False
    counted = sum(_only_counts(node, used) for part in body for node in ast.walk(part))
    return "completions" not in names or used.count("completions") == counted


def syntax_of(location: FunctionLocation) -> Any:
    """The syntax tree of a function; None if it is not defined in a file by name."""
    import ast

    try:
        tree = ast.parse(location.file.read_bytes()) if location.file is not None else None
    except (OSError, SyntaxError, ValueError):
        return None
    functions = [
        one for one in (tree.body if tree else ()) if isinstance(one, ast.FunctionDef) and one.name == location.name
    ]
    return functions[-1] if functions else None


def _only_counts(node: Any, used: Sequence[str]) -> bool:
    """Whether a piece of a syntax tree reads `completions` for their number alone: `len(completions)`, or a loop whose variable is never read."""
    import ast

    def is_it(part: Any) -> bool:
        return isinstance(part, ast.Name) and part.id == "completions"

    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return len(node.args) == 1 and is_it(node.args[0])
    if isinstance(node, ast.comprehension | ast.For) and is_it(node.iter):
        return isinstance(node.target, ast.Name) and node.target.id not in used
    return False


def _names_of(tree: Any) -> tuple[set[str], list[str], bool]:
    """The names that a module binds to something callable, the names of its functions, and whether it may bind others at run time."""
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
        elif isinstance(statement, ast.For | ast.While):  # names that a loop binds are only known when it runs
            is_open = True
    return names, functions, is_open or "__getattr__" in names


def _statements(block: Any) -> Iterator[Any]:
    """The statements of a block, including those nested in if, try and with."""
    import ast

    for branch in ("body", "handlers", "orelse", "finalbody"):
        for statement in getattr(block, branch, ()):
            yield statement
            if isinstance(statement, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _statements(statement)


def load_function(location: FunctionLocation) -> Callable[..., Any]:
    """Import the module and return the function. Raises FunctionFault."""
    folder = str(location.file.parent if location.file else Path.cwd())
    with _importable_from(folder), contextlib.redirect_stdout(sys.stderr):
        try:
            module = _import_file(location.file) if location.file else importlib.import_module(str(location.module))
        except (Exception, SystemExit) as problem:
            raise FunctionFault(f"importing it fails: {_describe(problem, location)}") from problem
    function: object = getattr(module, location.name, None)
    if not callable(function):
        kind = "not there" if function is None else f"{_a(type(function).__name__)}, no function"
        raise FunctionFault(f"{location.name} is {kind}")
    return function


def _import_file(file: Path) -> Any:
    """The module in a file, imported once: all callers share its state."""
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
def _importable_from(folder: str) -> Iterator[None]:
    """Put the folder on sys.path, so that a file can import others from its own folder."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def call(
    location: FunctionLocation,
    function: Callable[..., Any],
    prompts: Sequence[Any],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> list[float]:
    """Call the function and return one score per completion. It is given prompts, completions and the columns that it takes, by keyword.

    Its standard output goes to stderr. Raises FunctionFault.
    """
    arguments = {**columns, "prompts": list(prompts), "completions": list(completions)}
    arguments = _accepted_arguments(function, arguments, columns)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            returned = function(**arguments)
        except (Exception, SystemExit) as problem:
            raise FunctionFault(f"raises {_describe(problem, location)}{read_as_turns(problem)}") from problem
    return _numbers(returned, completions)


def _accepted_arguments(
    function: Callable[..., Any], arguments: dict[str, Any], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """The subset of the arguments that the function accepts. Raises FunctionFault if it requires others."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # functions written in C may have no signature
        return arguments
    kinds = inspect.Parameter
    if any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters):
        accepted = arguments
    else:
        accepted = {
            parameter.name: arguments[parameter.name] for parameter in parameters if parameter.name in arguments
        }
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is kinds.empty and parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    ]
    missing = [name for name in needed if name not in arguments]
    if missing:
        available = ", ".join((*OWN_ARGUMENTS, *columns))
        raise FunctionFault(f"requires {', '.join(missing)}; the available arguments are: {available}", missing)
    return accepted


def _numbers(returned: Any, completions: Sequence[str]) -> list[float]:
    count = len(completions)
    expected = f"a list of {count} numbers, one for each completion"
    if isinstance(returned, str | bytes | Mapping) or not hasattr(returned, "__iter__"):
        raise FunctionFault(f"returns {_a(type(returned).__name__)}, not {expected}")
    try:
        values = list(returned)
    except TypeError as problem:  # an array of zero dimensions
        raise FunctionFault(f"returns {_a(type(returned).__name__)} without a length, not {expected}") from problem
    if len(values) != count:
        raise FunctionFault(f"returns {len(values)} {'value' if len(values) == 1 else 'values'}, not {expected}")
    return [_number(value, text) for value, text in zip(values, completions, strict=True)]


def _number(value: Any, text: str) -> float:
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FunctionFault(f"returns {str(value)[:40]!r} for the answer {text[:60]!r}, not a finite number")
    return number


def _describe(problem: BaseException, location: FunctionLocation) -> str:
    """An exception in one line, with the line of the user's file that raised it."""
    import traceback

    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if location.file is not None and frame.filename == str(location.file)]
    where = f" ({location.file.name if location.file else ''}, line {own[-1].lineno})" if own else ""
    message = str(problem).strip().split("\n")[0]
    return f"{type(problem).__name__}{': ' + message if message else ''}{where}"


def read_as_turns(problem: BaseException) -> str:
    """What is said to a function that reads `completion[0]["content"]`, as TRL's do for conversations; empty for any other problem."""
    of_texts = ("string index out of range", "string indices must be integers", "'str' object has no attribute 'get'")
    if not str(problem).startswith(of_texts):
        return ""
    return ': each completion is a text here, also where the prompt is a conversation; where it reads completion[0]["content"], completion is that text'


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _flag(parameter: str) -> str:
    return "--" + parameter.replace("_", "-")


def _refused(parameter: str, message: str, fix: str | None) -> Refused:
    return Refused([Finding(f"{_flag(parameter)}: {message}", fix, (parameter,), code=NOT_FOUND)])
