"""Chat templates compiled as transformers compiles them: sandboxed, with the same filters, functions and generation tag."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from autotrain_llm.data.chat.limits import STEPS, Steps, check_widths, limited, limited_environment
from autotrain_llm.data.chat.trace import GENERATED, end_of_loop
from autotrain_llm.data.turns import THOUGHT_KEYS

SIGN_OF_TURN = "sign_of_turn_"  # the name of the function that a traced template calls in its loops


@lru_cache(maxsize=64)
def compiled(source: str, traced: bool = False) -> Any:
    """Compile a template, with limits on what it may do. With `traced` it also writes the signs of `trace.py`: around the text inside `{% generation %}`, and in its
    loops."""
    from jinja2 import ext, nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.utils import Namespace

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller: Any) -> str:
            return f"{GENERATED[0]}{caller()}{GENERATED[1]}" if traced else caller()

    class SafeNamespace(Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a template may not set {name!r} on a namespace")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    # Not optimized: constants would be computed here, before the template is tried with limits of time and memory.
    settings = {"trim_blocks": True, "lstrip_blocks": True, "optimized": False}
    environment = limited_environment()(**settings, extensions=[Generation, ext.loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now, namespace=SafeNamespace)
    tree = environment.parse(source)
    if traced:
        tree.body = _with_signs(tree.body, 0)
    return environment.from_string(limited(tree))


def _with_signs(body: list[Any], depth: int) -> list[Any]:
    """Statements whose loops write which turn they are at, and where they end; not where the text is kept for later, as in macros."""
    from jinja2 import nodes

    signed: list[Any] = []
    for node in body:
        signed.append(node)
        if isinstance(node, nodes.Macro | nodes.AssignBlock):
            continue
        is_loop = isinstance(node, nodes.For)
        for name in ("body", "elif_", "else_"):
            if isinstance(getattr(node, name, None), list):
                setattr(node, name, _with_signs(getattr(node, name), depth + is_loop))
        if is_loop:
            place, target = _where_a_turn_is_known(node)
            if target is not None:
                function = nodes.Name(SIGN_OF_TURN, "load", lineno=node.lineno)
                value = nodes.Name(target, "load", lineno=node.lineno)
                call = nodes.Call(function, [value, nodes.Const(depth)], [], None, None, lineno=node.lineno)
                node.body.insert(place, nodes.Output([call], lineno=node.lineno))
            signed.append(nodes.Output([nodes.TemplateData(end_of_loop(depth))], lineno=node.lineno))
    return signed


def _where_a_turn_is_known(loop: Any) -> tuple[int, str | None]:
    """Where in a loop it is known which turn it is at, and under which name: at its start, or after `{% set m = messages[i] %}`."""
    from jinja2 import nodes

    if isinstance(loop.iter, nodes.Call) and isinstance(loop.iter.node, nodes.Name) and loop.iter.node.name == "range":
        for place, node in enumerate(loop.body, 1):
            if isinstance(node, nodes.Assign):
                is_item = isinstance(node.node, nodes.Getitem) and isinstance(node.target, nodes.Name)
                return place, getattr(node.target, "name", None) if is_item else None
    return 0, loop.target.name if isinstance(loop.target, nodes.Name) else None


def rendered(source: str, traced: bool, named: dict[str, Any]) -> str:
    """Render a template with these variables: like Jinja's own `render`, but without merging the environment's globals into the variables
    on each call, which takes longer than rendering a short conversation."""
    from jinja2.runtime import new_context

    template = compiled(source, traced)
    context = new_context(
        template.environment,
        template.name,
        template.blocks,
        {**_globals_of(source, traced), STEPS: Steps(), **named},
        shared=True,
    )
    return "".join(template.root_render_func(context))


@lru_cache(maxsize=64)
def _globals_of(source: str, traced: bool) -> dict[str, Any]:
    return dict(compiled(source, traced).globals)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' templates write it: jinja's own filter escapes for HTML."""
    check_widths(indent)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(pattern: str) -> str:
    """The current date in this format, for templates that write it."""
    from datetime import datetime

    return datetime.now().strftime(pattern)


def as_templates_see(message: dict[str, Any]) -> dict[str, Any]:
    """A message without empty fields, with its reasoning under every name that templates read it by."""
    if len(message) == 2 and message.get("content") is not None:
        return message  # a role and a text, as nearly all are: templates can't change what they are given
    fields = {key: value for key, value in message.items() if value is not None and key != "weight"}
    reasoning = next((fields[key] for key in THOUGHT_KEYS if key in fields), None)
    return fields if reasoning is None else {"thinking": reasoning, **fields, "reasoning_content": reasoning}
