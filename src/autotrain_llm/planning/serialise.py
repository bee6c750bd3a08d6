"""Convert frozen dataclasses to JSON and back, by their fields and type hints.

The key of a field is its name, and None is null. `json_field` makes the metadata of a field that differs.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class BadDocument(ValueError):
    """The document does not match the expected type; the message names the key."""


def json_field(
    key: str | None = None,
    omit: Callable[[Any, Any], bool] | None = None,
    inline: bool | Callable[[Mapping[str, Any]], Collection[str]] = False,
) -> dict[str, Any]:
    """Metadata of a field whose JSON is special.

    `key` is its name in the JSON. The key is left out if `omit(object, value)` is true. `inline` merges the keys of the value into the
    object; for a mapping it is a function from the document to the keys that may belong to the mapping.
    """
    return {"key": key, "omit": omit, "inline": inline}


def omitted_if_none(key: str | None = None) -> dict[str, Any]:
    """Metadata of a field that is left out if it is None."""
    return json_field(key, omit=lambda _, value: value is None)


def to_json(value: Any) -> Any:
    """A value for `json.dumps`: dataclasses and mappings as dictionaries, tuples as lists."""
    if is_dataclass(value):
        document: dict[str, Any] = {}
        for spec in fields(value):
            content, omit = getattr(value, spec.name), spec.metadata.get("omit")
            if omit is not None and omit(value, content):
                continue
            document |= to_json(content) if spec.metadata.get("inline") else {_key(spec): to_json(content)}
        return document
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(cls: type[T], document: Any, path: str = "") -> T:
    """The inverse of `to_json`. Raises BadDocument for a key that is missing, unknown, or of another type."""
    value: T = _read(cls, document, path or cls.__name__.lower())
    return value


def _read(hint: Any, document: Any, path: str) -> Any:
    if hint is Any:
        return document
    if is_dataclass(hint):
        return _read_dataclass(hint, document, path)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, document, path)
    if origin in (tuple, list) and isinstance(document, list):
        return origin(_read(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(document))
    if origin is not None and issubclass(origin, Mapping) and isinstance(document, Mapping):
        return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in document.items()}
    allowed = (int, float) if hint is float else hint  # other languages write 1.0 as 1
    is_right = isinstance(allowed, type | tuple) and isinstance(document, allowed)
    if not is_right or (isinstance(document, bool) and hint is not bool):
        raise BadDocument(f"{path} must be of type {getattr(hint, '__name__', hint)}, not {document!r}")
    return document


def _read_union(members: tuple[Any, ...], document: Any, path: str) -> Any:
    """The first member of the union that the document matches."""
    if document is None and type(None) in members:
        return None
    faults = []
    for member in members:
        if member is not type(None):
            try:
                return _read(member, document, path)
            except BadDocument as fault:
                faults.append(fault)
    raise faults[0]


def _read_dataclass(cls: Any, document: Any, path: str) -> Any:
    if not isinstance(document, Mapping):
        raise BadDocument(f"{path} must be an object, not {document!r}")
    hints, values = _hints(cls), {}
    left = dict(document)
    for spec in fields(cls):
        inline, key = spec.metadata.get("inline"), _key(spec)
        if inline:
            keys = inline(document) if callable(inline) else _keys(hints[spec.name])
            own = {name: left.pop(name) for name in keys if name in left}
            values[spec.name] = _read(hints[spec.name], own, path)
        elif key in left:
            values[spec.name] = _read(hints[spec.name], left.pop(key), f"{path}.{key}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise BadDocument(f"{path} has no {key!r}")
    if left:
        raise BadDocument(f"{path} has the unknown key {next(iter(left))!r}")
    return cls(**values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _key(spec: Field[Any]) -> str:
    return spec.metadata.get("key") or spec.name


def _keys(cls: Any) -> list[str]:
    return [_key(spec) for spec in fields(cls)]
