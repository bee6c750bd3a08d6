"""Limits on what a chat template may do. A template is a program that comes with a model: it must end soon, and not fill the memory.

A real template goes through some turns and writes some thousand characters. The limits are far above that, and far below what a machine can't bear: a
template that exceeds one is refused like any other that fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MOST_STEPS = 200_000  # of all loops of one rendering together
LONGEST = 20_000_000  # characters, items or bits of one value
WIDEST = 10_000  # characters that a text is padded or indented to
STEP, JOIN = "step_of_a_loop_", "joined_"  # names of functions in templates
PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
WIDTH = re.compile(r"[%{:<>^=.][-+# 0]*(\d+)")


class LimitExceeded(ValueError):
    """Raised by a template that goes through too many steps, or makes a value that is too large."""


class Steps:
    """Counts the steps of all loops of one rendering."""

    def __init__(self) -> None:
        self.left = MOST_STEPS

    def step(self) -> str:
        """Nothing to write. Raises LimitExceeded after `MOST_STEPS`."""
        self.left -= 1
        if self.left < 0:
            raise LimitExceeded(f"its loops have more than {MOST_STEPS} steps")
        return ""


def joined(*parts: Any) -> str:
    """What `~` writes. Raises LimitExceeded if it is longer than `LONGEST` characters."""
    texts = [str(part) for part in parts]
    _check_length(sum(map(len, texts)))
    return "".join(texts)


def limited(tree: Any) -> Any:
    """The parsed template with its loops counted and its `~` limited: `STEP` and `JOIN` have to be among its variables."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    class Joins(NodeTransformer):
        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            name = nodes.Name(JOIN, "load", lineno=node.lineno)
            return nodes.Call(name, node.nodes, [], None, None, lineno=node.lineno, environment=node.environment)

    for loop in list(tree.find_all(nodes.For)):
        call = nodes.Call(nodes.Name(STEP, "load", lineno=loop.lineno), [], [], None, None, lineno=loop.lineno)
        loop.body.insert(0, nodes.Output([call], lineno=loop.lineno))
    return Joins().visit(tree)


@lru_cache(maxsize=1)
def limited_environment() -> type:
    """Jinja's sandbox, with limits on numbers, lengths and widths, as a class: jinja2 is imported where a template is used."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class LimitedEnvironment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**", "+", "%"])

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            del self.globals["lipsum"]  # writes as much text as it is asked for
            for name in ("center", "indent", "wordwrap", "truncate"):
                self.filters[name] = _with_small_widths(self.filters[name])
            self.filters["format"] = lambda text, *values: self.call_binop(None, "%", str(text), values)
            self.filters["replace"] = lambda text, old, new, *count: _replaced(str(text), str(old), str(new), *count)
            self.filters["join"] = _with_a_bounded_result(self.filters["join"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_length(_size_of(operator, left, right))
            return super().call_binop(context, operator, left, right)

        def wrap_str_format(self, value: Any) -> Any:
            wrapped = super().wrap_str_format(value)
            if wrapped is None:
                return None

            def checked(*arguments: Any, **named: Any) -> str:
                check_widths(value.__self__, *arguments, *named.values())
                return str(wrapped(*arguments, **named))

            return checked

        def call(self, context: Any, function: Any, *arguments: Any, **named: Any) -> Any:
            owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
            if isinstance(owner, str) and name in PADDING:
                check_widths(owner, *arguments, *named.values())
            elif isinstance(owner, str) and name == "replace":
                return _replaced(owner, *arguments)
            return super().call(context, function, *arguments, **named)

    return LimitedEnvironment


def _size_of(operator: str, left: Any, right: Any) -> float:
    """About how long the result is, in characters, items or bits."""
    if operator == "**":
        return left.bit_length() * abs(right) if isinstance(left, int) and isinstance(right, int) else 0
    if operator == "%":
        if isinstance(left, str):
            check_widths(left, *(right if isinstance(right, tuple) else (right,)))
        return 0
    lengths = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
    if operator == "+":
        return sum(lengths)
    return lengths[0] * next((value for value in (left, right) if isinstance(value, int)), 0) if lengths else 0


def _check_length(length: float) -> None:
    if length > LONGEST:
        raise LimitExceeded(f"it makes a value of more than {LONGEST} characters or digits")


def check_widths(*values: Any) -> None:
    """Raise LimitExceeded for a width that nobody means, as a number or in the text of a format."""
    for value in values:
        widths = [int(width[:9]) for width in WIDTH.findall(value)] if isinstance(value, str) else [value]
        if any(isinstance(width, int) and width > WIDEST for width in widths):
            raise LimitExceeded(f"it pads a text to more than {WIDEST} characters")


def _with_small_widths(plain_filter: Callable[..., Any]) -> Callable[..., Any]:
    from functools import wraps

    @wraps(plain_filter)  # keeps jinja's mark that it takes the environment
    def checked(*arguments: Any, **named: Any) -> Any:
        check_widths(*(value for value in (*arguments, *named.values()) if isinstance(value, int)))
        return plain_filter(*arguments, **named)

    return checked


def _replaced(text: str, old: str, new: str, *count: int) -> str:
    _check_length(len(text) + text.count(old) * len(new))
    return text.replace(old, new, *(number for number in count if number is not None))


def _with_a_bounded_result(plain_filter: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that joins values, which are counted first."""
    from functools import wraps

    @wraps(plain_filter)
    def checked(context: Any, values: Any, separator: Any = "", *more: Any, **named: Any) -> Any:
        items = list(values)
        _check_length(sum(len(str(item)) for item in items) + len(str(separator)) * len(items))
        return plain_filter(context, items, separator, *more, **named)

    return checked
