"""Limits on what a chat template may do. A template is a program that comes with a model: it must end soon, and not fill the memory.

A real template goes through some turns and writes some thousand characters. The limits are far above that, and far below what a machine can't bear: a
template that exceeds one is refused like any other that fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MOST_STEPS = 200_000  # of all loops, macros and blocks of one rendering together
LONGEST = 20_000_000  # characters, items or bits of one value
WIDEST = 10_000  # characters that a text is padded or indented to
STEP, JOIN = "step_", "joined_"  # names of filters
STEPS = "steps so far"  # the key of a rendering's `Steps` in its context: no name, so that no template can set it
PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
WIDTH = re.compile(r"[%{:<>^=.][-+# 0]*(\d+)")


class LimitExceeded(ValueError):
    """Raised by a template that goes through too many steps, or makes a value that is too large."""


class Steps:
    """Counts the steps of one rendering."""

    def __init__(self) -> None:
        self.left = MOST_STEPS

    def step(self) -> bool:
        """True, for the condition of a loop. Raises LimitExceeded after `MOST_STEPS`."""
        self.left -= 1
        if self.left < 0:
            raise LimitExceeded(f"its loops and macros have more than {MOST_STEPS} steps")
        return True


def _joined(parts: tuple[Any, ...]) -> str:
    """What `~` writes. Raises LimitExceeded if it is longer than `LONGEST` characters."""
    texts = [str(part) for part in parts]
    _check_length(sum(map(len, texts)))
    return "".join(texts)


def limited(tree: Any) -> Any:
    """The parsed template with whatever can run again counted and its `~` limited, both by filters, which the compiled template calls directly. Its
    context has to have a `Steps` under `STEPS`."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def filtered(node: Any, name: str, at: Any) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=at.lineno, environment=at.environment)

    class Joins(NodeTransformer):
        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return filtered(nodes.Tuple(node.nodes, "load", lineno=node.lineno), JOIN, node)

    for part in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block))):
        step = filtered(nodes.Const(None, lineno=part.lineno), STEP, part)
        if isinstance(part, nodes.For) and part.test is not None:  # counts also what the loop leaves out
            part.test = nodes.And(step, part.test, lineno=part.lineno)
        else:
            part.body.insert(0, nodes.ExprStmt(step, lineno=part.lineno))
    return Joins().visit(tree)


@lru_cache(maxsize=1)
def limited_environment() -> type:
    """Jinja's sandbox, with limits on numbers, lengths and widths, as a class: jinja2 is imported where a template is used."""
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import pass_context

    @pass_context
    def step(context: Context, _: None) -> bool:
        return bool(context.parent[STEPS].step())

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
            self.filters |= {STEP: step, JOIN: _joined}

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "+":  # is in nearly every template, and makes nothing longer than what is there already
                both = left + right
                if isinstance(both, str | list | tuple):
                    _check_length(len(both))
                return both
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
            owner = getattr(function, "__self__", None)
            if isinstance(owner, str) and function.__name__ in PADDING:
                check_widths(owner, *arguments, *named.values())
            elif isinstance(owner, str) and function.__name__ == "replace":
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
