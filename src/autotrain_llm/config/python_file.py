"""Read a Python config by its syntax tree; nothing of it is run.

What counts is what is written as a literal: assignments at the top level, the defaults of a class (a dataclass, a pydantic model), and the
keywords of a call of such a class, also inside another. A base class may be in another file that an import names. Everything else is a
finding with its line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import WARNING, Finding, Refused

# Base classes that have no settings of their own.
WITHOUT_SETTINGS = (
    "object",
    "BaseModel",
    "BaseSettings",
    "ABC",
    "NamedTuple",
    "TypedDict",
    "Protocol",
    "SimpleNamespace",
)
FIELDS = ("field", "Field")  # `dataclasses.field`, `pydantic.Field`
EMPTY_OF: dict[str, Any] = {"list": [], "dict": {}, "tuple": ()}

Part = tuple[str, dict[str, Any], tuple[Finding, ...]]


class _NotLiteral(Exception):
    """A value that only running the file would give."""

    def __init__(self, node: ast.AST) -> None:
        self.node = node
        super().__init__(ast.unparse(node))


def read_python(text: str, shown: str) -> list[Part]:
    """The settings of a Python file, and before them those of base classes in other files: for each its path, the settings and findings.

    Raises Refused if it is not Python, or has no settings.
    """
    module = _Module(text, shown)
    parts = [*module.inherited(), (shown, module.settings(), tuple(module.findings))]
    if not any(settings or findings for _, settings, findings in parts):
        message = f"--config {shown} has no literal assignments, no class with literal defaults and no call of one"
        fix = "write assignments such as `lr = 2e-5`, or the parameters as YAML"
        raise Refused([Finding(message, fix, ("config",), file=shown, code="P106")])
    return parts


class _Module:
    """One Python file: its classes and imports by name, and what is written at its top level."""

    def __init__(self, text: str, shown: str, read: set[tuple[str, str]] | None = None) -> None:
        try:
            self.body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
            line = f", line {fault.lineno}" if isinstance(fault, SyntaxError) and fault.lineno else ""
            why = fault.msg if isinstance(fault, SyntaxError) else str(fault)
            message = f"--config {shown} is no Python that can be read{line}: {why}"
            raise Refused([Finding(message, None, ("config",), file=shown, code="P106")]) from None
        self.shown = shown
        self.read = set() if read is None else read  # files and classes that were read already
        self.findings: list[Finding] = []
        self.not_run: dict[str, int] = {}  # functions and blocks, with their lines
        self.classes = {node.name: node for node in self.body if isinstance(node, ast.ClassDef)}
        self.imports = {
            alias.asname or alias.name: (node, alias.name)
            for node in self.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.top_calls = [call for node in self.body if (call := self._class_call(_value_of(node))) is not None]

    # --- what the file sets

    def settings(self) -> dict[str, Any]:
        """The settings of the top level, over those of calls, over the defaults of classes."""
        found: dict[str, Any] = {}
        for name in self._classes_that_count():
            found |= self.defaults(self.classes[name])
        for call in self.top_calls:
            found |= self._keywords(call)
        for node in self.body:
            found |= self._statement(node)
        self._report_not_run()
        return found

    def _classes_that_count(self) -> list[str]:
        """The classes that are called at the top level; if none is, those that no other extends and no value is made of."""
        called = [name for call in self.top_calls if (name := _name_of(call.func)) in self.classes]
        if called:
            return list(dict.fromkeys(called))
        names_used = {name for node in self.body for name in _names_in(node)}
        return [name for name in self.classes if name not in names_used]

    def _statement(self, node: ast.stmt) -> dict[str, Any]:
        """The settings of one statement of the top level."""
        if isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom | ast.Pass) or _is_text(node):
            return {}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.not_run[f"{node.name}()"] = node.lineno
            return {}
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            self.not_run["if __name__ == …"] = node.lineno
            return {}
        if self._class_call(_value_of(node)) is not None:
            return {}
        return self._assignment(node)

    def _assignment(self, node: ast.stmt) -> dict[str, Any]:
        """The names that a statement assigns a literal to; a finding if it does anything else."""
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        value = _value_of(node)
        if not targets or len(names) < len(targets):
            self._not_literal(node, node, ())
            return {}
        if value is None or all(name.startswith("_") for name in names):  # an annotation without a value
            return {}
        try:
            return dict.fromkeys(names, self._literal(value))
        except _NotLiteral as fault:
            self._not_literal(fault.node, node, tuple(names))
            return {}

    def defaults(self, node: ast.ClassDef) -> dict[str, Any]:
        """The literal defaults of a class over those of its bases in this file."""
        found: dict[str, Any] = {}
        for base in reversed(node.bases):
            name = _name_of(base)
            if name in self.classes and self.classes[name].lineno < node.lineno:
                found |= self.defaults(self.classes[name])
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.not_run[f"{node.name}.{statement.name}()"] = statement.lineno
            elif not (isinstance(statement, ast.Pass | ast.ClassDef) or _is_text(statement)):
                found |= self._assignment(statement)
        return found

    def _keywords(self, call: ast.Call) -> dict[str, Any]:
        """The literal keywords of a call of a class."""
        found = {}
        for argument in [*call.args, *(keyword for keyword in call.keywords if keyword.arg is None)]:
            self._not_literal(argument, argument, ())
        for keyword in call.keywords:
            if keyword.arg is not None:
                try:
                    found[keyword.arg] = self._literal(keyword.value)
                except _NotLiteral as fault:
                    self._not_literal(fault.node, keyword, (keyword.arg,))
        return found

    def _literal(self, node: ast.expr) -> Any:
        """The value of a literal, of a call of a class (a dictionary of its settings), or of a field with a literal default."""
        call = self._class_call(node)
        if call is not None:
            known = self.classes.get(_name_of(call.func))
            return {**(self.defaults(known) if known else {}), **self._keywords(call)}
        if isinstance(node, ast.Call) and _name_of(node.func) in FIELDS:
            return self._field(node)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise _NotLiteral(node) from None

    def _field(self, call: ast.Call) -> Any:
        """The default of `field(default=…)`, `field(default_factory=lambda: …)` or `Field(…)`."""
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        default = given.get("default", call.args[0] if call.args else None)
        factory = given.get("default_factory")
        if default is not None:
            return self._literal(default)
        if isinstance(factory, ast.Lambda):
            return self._literal(factory.body)
        if isinstance(factory, ast.Name) and factory.id in EMPTY_OF:
            return EMPTY_OF[factory.id]
        raise _NotLiteral(call)

    def _class_call(self, node: ast.expr | None) -> ast.Call | None:
        """The call, if it is one of a class: of this file, or with a name as classes have it."""
        if not isinstance(node, ast.Call):
            return None
        name = _name_of(node.func)
        is_class = name in self.classes or (name[:1].isupper() and not node.args and name not in FIELDS)
        return node if is_class else None

    # --- other files

    def inherited(self) -> Iterator[Part]:
        """The settings of base classes in other files, the most general first."""
        bases = [base for name in self._classes_that_count() for base in self._bases(self.classes[name])]
        called = [name for call in self.top_calls if (name := _name_of(call.func)) not in self.classes]
        for name in dict.fromkeys([*bases, *called]):
            yield from self._imported(name)

    def _bases(self, node: ast.ClassDef) -> Iterator[str]:
        """The names of a class's bases that are not in this file, also those of its bases."""
        for base in reversed(node.bases):
            name = _name_of(base)
            if name in self.classes and self.classes[name].lineno < node.lineno:
                yield from self._bases(self.classes[name])
            elif name not in WITHOUT_SETTINGS:
                yield name

    def _imported(self, name: str) -> Iterator[Part]:
        """The settings of a class of another file; a warning if the file is not here."""
        node, original = self.imports.get(name, (None, name))
        path = self._module_file(node) if node is not None else None
        if (str(path), original) in self.read:
            return
        self.read.add((str(path), original))
        other = self._module_at(path) if path is not None else None
        if other is None or original not in other.classes:
            line = node.lineno if node is not None else 1
            message = f"--config {self.shown} takes {name} from elsewhere: its own defaults are not read"
            self._report(message, "write the values into this file", line, WARNING, "P130")
            return
        for base in other._bases(other.classes[original]):
            yield from other._imported(base)
        defaults = other.defaults(other.classes[original])
        other._report_not_run()
        yield str(path), defaults, tuple(other.findings)

    def _module_at(self, path: Path) -> _Module | None:
        """Another file, if it can be read."""
        try:
            return _Module(path.read_text(encoding="utf-8-sig"), str(path), self.read)
        except (OSError, UnicodeDecodeError, Refused):
            return None

    def _module_file(self, node: ast.ImportFrom) -> Path | None:
        """The file of an imported module, from this file's folder or the one above it."""
        here = Path(self.shown).parent
        relative = Path(*(node.module or "").split(".")).with_suffix(".py")
        folders = [here.joinpath(*[".."] * (node.level - 1))] if node.level else [here, here / ".."]
        return next((folder / relative for folder in folders if (folder / relative).is_file()), None)

    # --- findings

    def _report_not_run(self) -> None:
        if self.not_run:
            code = ", ".join(f"{name} (line {line})" for name, line in self.not_run.items())
            message = f"--config {self.shown} is read and not run: {code} has no effect"
            self._report(message, "write the values as literals", min(self.not_run.values()), WARNING, "P130")

    def _not_literal(self, fault: ast.AST, where: ast.AST, names: tuple[str, ...]) -> None:
        line = getattr(where, "lineno", 1)
        shown = " ".join(ast.unparse(fault).split())
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        what = f"{names[0]} is {shown}" if names else shown
        message = (
            f"--config {self.shown}, line {line}: {what}, which is no literal, and a Python config is read and not run"
        )
        fix = "write the value itself, or put it on the command line" if names else "keep only assignments of literals"
        self._report(message, fix, line, parameters=names, code="P129")

    def _report(
        self,
        message: str,
        fix: str,
        line: int,
        severity: str = "error",
        code: str = "",
        parameters: tuple[str, ...] = (),
    ) -> None:
        self.findings.append(Finding(message, fix, parameters, severity, file=self.shown, line=line, code=code))


def _names_in(node: ast.AST) -> Iterator[str]:
    """The names that a statement reads, except in code that is not run."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
        return
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield _name_of(node)
    for child in ast.iter_child_nodes(node):
        yield from _names_in(child)


def _value_of(node: ast.stmt) -> ast.expr | None:
    """The value of an assignment or of an expression that stands alone."""
    return node.value if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) else None


def _name_of(node: ast.expr) -> str:
    """The last part of a dotted name; empty for anything else. A subscript, as in `Generic[T]`, is left out."""
    if isinstance(node, ast.Subscript):
        return _name_of(node.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring or `...`."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
