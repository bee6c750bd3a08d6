"""Chat templates compiled as transformers compiles them: sandboxed, with the same filters, functions and generation tag."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

# Private-use characters that stand around what a template marks as generated, and are taken out again.
GENERATED = ("\U000f0e01", "\U000f0e02")
REASONING = ("reasoning_content", "thinking", "reasoning")


@lru_cache(maxsize=64)
def compiled(source: str, marked: bool = False) -> Any:
    """A template ready to render; `marked` puts GENERATED around what stands inside `{% generation %}`."""
    from jinja2 import ext, nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller: Any) -> str:
            return f"{GENERATED[0]}{caller()}{GENERATED[1]}" if marked else caller()

    class SafeNamespace(Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a template may not set {name!r} on a namespace")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now, namespace=SafeNamespace)
    return environment.from_string(source)


def rendered(source: str, marked: bool, named: dict[str, Any]) -> str:
    """The text of a template with these names.

    The same as jinja's own `render`, but for merging the environment's names into the given ones on each call, which costs it more than
    rendering a short conversation does.
    """
    from jinja2.runtime import new_context

    template = compiled(source, marked)
    context = new_context(
        template.environment, template.name, template.blocks, {**_globals_of(source, marked), **named}, shared=True
    )
    return "".join(template.root_render_func(context))


@lru_cache(maxsize=64)
def _globals_of(source: str, marked: bool) -> dict[str, Any]:
    return dict(compiled(source, marked).globals)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' templates write it: jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(pattern: str) -> str:
    """Today's date, for templates that name it."""
    from datetime import datetime

    return datetime.now().strftime(pattern)


def as_templates_see(message: dict[str, Any]) -> dict[str, Any]:
    """A message without empty fields, its reasoning under every name that templates read it by."""
    if len(message) == 2 and message.get("content") is not None:
        return message  # a role and a text, as nearly all are: templates can't change what they are given
    fields = {key: value for key, value in message.items() if value is not None and key != "weight"}
    reasoning = next((fields[key] for key in REASONING if key in fields), None)
    return fields if reasoning is None else {"thinking": reasoning, **fields, "reasoning_content": reasoning}


def generated_spans(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without the marks, and where the marked stretches lie in it."""
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    for number, part in enumerate(marked.split(GENERATED[0])):
        inside, _, outside = part.partition(GENERATED[1]) if number else ("", "", part)
        if number:
            spans.append((at, at + len(inside)))
        pieces += [inside, outside]
        at += len(inside) + len(outside)
    return "".join(pieces), spans
