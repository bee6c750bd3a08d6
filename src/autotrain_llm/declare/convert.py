"""Convert the text of a flag, or a value of a config file, to a parameter's value."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from autotrain_llm.declare.param import Param

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")
NOTHING = ("none", "null", "")


# Typographic hyphens, quotes and spaces of word processors and web pages, and the ASCII characters they stand for.
TYPESET = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-")
    | dict.fromkeys("\u2018\u2019\u201a", "'")
    | dict.fromkeys("\u201c\u201d\u201e", '"')
    | dict.fromkeys("\u00a0\u2009\u202f", " ")
)


class BadValue(ValueError):
    """The value isn't of the parameter's kind; the message follows "--flag must be"."""


def convert(param: Param, raw: Any) -> Any:
    """Convert `raw` to the parameter's kind. Raises `BadValue`."""
    if param.choices and "no" in param.choices and (raw is False or raw == "none"):
        return "no"  # YAML reads a bare `no` as false, and `none` does not mean the default here
    if str(raw).strip().lower() in param.nothing.split():
        return None
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in NOTHING and _may_be_none(param)):
        if param.nullable:
            return None
        raise BadValue("given a value")
    if isinstance(raw, str) and raw.strip().lower() in param.also:
        return raw.strip().lower()
    if param.kind == "str" and not param.choices and not param.secret and isinstance(raw, str) and not raw.strip():
        raise BadValue("given a value")
    try:
        return _BY_KIND[param.kind](param, raw)
    except BadValue as fault:
        words = [word for word in param.also if isinstance(word, str)]
        if not words:
            raise
        raise BadValue(f"{fault}, or {', '.join(words)}") from None


def mended(param: Param, raw: str) -> Any:
    """The value that a malformed text was meant to be; None if that is not certain.

    Corrects trailing punctuation (`1e-4,`), percentages (`10%`), decimal commas (`0,0001`), quotes in lists and JSON, and typographic minus
    signs and quotes.
    """
    text = raw.translate(TYPESET).strip()
    candidates = [text.rstrip(",.;'\"").lstrip("'\"=")]
    if param.kind == "float":
        candidates += [text.replace(",", "."), _share(text)]
    if param.kind == "list":
        candidates += [text.replace("'", '"'), text.strip("[] ").replace("'", "").replace('"', "")]
    if param.kind == "json":
        candidates += [text.replace("'", '"')]
    for candidate in candidates:
        try:
            value = convert(param, candidate) if candidate and candidate != raw else None
        except BadValue:
            continue
        if value is not None:
            return value
    return None


def _share(text: str) -> str:
    """`10%` as `0.1`; empty if the text is not a percentage."""
    try:
        return f"{float(text.removesuffix('%').strip()) / 100:g}" if text.endswith("%") else ""
    except ValueError:
        return ""


def _may_be_none(param: Param) -> bool:
    return param.nullable and (param.kind != "str" or bool(param.choices))


def _switch(param: Param, raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise BadValue("true or false")


def _int(param: Param, raw: Any) -> int:
    number = _number(raw, "a whole number")
    if number != int(number):
        raise BadValue("a whole number")
    return int(number)


def _float(param: Param, raw: Any) -> float:
    return float(_number(raw, "a number"))


def _number(raw: Any, expected: str) -> float:
    if isinstance(raw, bool):
        raise BadValue(expected)
    try:
        number = float(str(raw).strip().replace("_", ""))
    except ValueError:
        raise BadValue(expected) from None
    if number in (float("inf"), float("-inf")) or number != number:
        raise BadValue(expected)
    return number


def _text(param: Param, raw: Any) -> str:
    if isinstance(raw, bool):
        raw = "true" if raw else "false"
    if isinstance(raw, dict | list | tuple):
        raise BadValue("one text, not a list" if not isinstance(raw, dict) else "one text, not keys and values")
    text = str(raw)
    if "\0" in text:
        raise BadValue("a text without a null character")
    return param.replaced_choices.get(text, text)


def _list(param: Param, raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        text = raw.strip()
        if text.startswith("["):
            from autotrain_llm.declare.document import parse_json

            try:
                raw = parse_json(text)
            except ValueError as fault:
                raise BadValue(f"a JSON list or names separated by commas ({fault})") from None
        else:
            raw = [] if text.lower() in NOTHING else [item.strip() for item in text.split(",") if item.strip()]
    if isinstance(raw, list | tuple):
        raw = [str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item for item in raw]
    if not isinstance(raw, list | tuple) or not all(isinstance(item, str) for item in raw):
        raise BadValue("a list of names")
    return tuple(raw)


def _json(param: Param, raw: Any) -> dict[str, Any]:
    if isinstance(raw, str):
        raw = _from_file(raw.strip()) if _names_a_file(param, raw) else _from_json(raw)
    if not isinstance(raw, dict):
        raise BadValue('a JSON object, such as {"name": value}')
    return raw


def _names_a_file(param: Param, raw: str) -> bool:
    return "FILE" in param.placeholder and raw.lstrip()[:1] not in ("{", "[", '"', "")


def _from_json(text: str) -> Any:
    from autotrain_llm.declare.document import load_json

    try:
        return load_json(text)
    except ValueError as fault:
        raise BadValue(f"a JSON object ({fault})") from None


def _from_file(path: str) -> Any:
    """The content of a YAML or JSON file: YAML includes JSON."""
    from autotrain_llm.declare.document import load_yaml

    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:  # noqa: PTH111, PTH123 (pathlib is not loaded for --help)
            return load_yaml(file.read())
    except OSError as fault:
        raise BadValue(f"a JSON object or a file that holds one ({fault.strerror})") from None
    except ValueError as fault:
        raise BadValue(f"a JSON object or a file that holds one ({' '.join(str(fault).split())})") from None


_BY_KIND = {"switch": _switch, "int": _int, "float": _float, "str": _text, "list": _list, "json": _json}
