"""Which types the settings of a config.json have: those that the installed transformers insists on, taken from its source without importing it.

transformers 5.23 declares each setting of an architecture as an annotated field of its configuration class, and a value of another type is an
error when the file is read (`huggingface_hub.dataclasses.strict`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from autotrain_llm.models.package_source import source_of

ROOT_CLASS, ROOT_FILE = "PreTrainedConfig", "configuration_utils.py"
MAPPINGS = "models/auto/auto_mappings.py"
MAPPING = re.compile(r'^\s+\("([^"]+)", "([^"]+)"\),$', re.MULTILINE)
TABLES = ("CONFIG_MAPPING_NAMES", "SPECIAL_MODEL_TYPE_TO_MODULE_NAME")
# Settings of older versions, which are no fields: transformers converts them.
OLDER = {
    "rope_theta": "int | float",
    "rope_scaling": "dict | None",
    "torch_dtype": "str | None",
    "quantization_config": "dict | None",
    "auto_map": "dict | None",
}
INFINITE = "__float__"  # transformers writes an infinite number as an object with this key
SIMPLE: dict[str, tuple[type, str]] = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": (float, "a number with a decimal point"),
    "str": (str, "a text"),
    "dict": (dict, "an object"),
    "list": (list, "a list"),
    "Sequence": (list, "a list"),
}


def wrong_types(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Each setting of a config.json, or of its `text_config`, that has another type than it must have: its name, its value, and the types in words."""
    yield from _wrong_types(config, "")
    text = config.get("text_config")
    if isinstance(text, dict):
        yield from _wrong_types(text, "text_config.")


def _wrong_types(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, str]]:
    model_type = config.get("model_type")
    types = setting_types(model_type) if isinstance(model_type, str) else {}
    for name, value in config.items():
        annotation = types.get(name)
        if annotation is not None and fits(value, annotation) is False:
            yield prefix + name, value, in_words(annotation)


@cache
def setting_types(model_type: str) -> Mapping[str, ast.expr]:
    """The annotation of each setting of an architecture, by name; empty if the installed transformers has none."""
    classes, modules = _mappings()
    if model_type not in classes:
        return {}
    module = modules.get(model_type, model_type.replace("-", "_"))
    older = {name: ast.parse(annotation, mode="eval").body for name, annotation in OLDER.items()}
    # The fields that all architectures have are declared and not checked; a wrong one fails wherever it is read.
    common = {name: _or_null(annotation) for name, annotation in _fields(ROOT_FILE, ROOT_CLASS).items()}
    return {**older, **common, **_fields(f"models/{module}/configuration_{module}.py", classes[model_type])}


def _or_null(annotation: ast.expr) -> ast.expr:
    return ast.BinOp(annotation, ast.BitOr(), ast.Constant(None))


@cache
def torch_dtypes() -> frozenset[str]:
    """The names of torch's dtypes, from its stubs; empty if there are none to read."""
    text = source_of("torch", "_C/__init__.pyi")
    return frozenset(re.findall(r"^(\w+): dtype = \.\.\.$", text, re.MULTILINE))


@cache
def _mappings() -> tuple[dict[str, str], dict[str, str]]:
    """The configuration class of each architecture, and the module of those that are not called like it."""
    text = source_of("transformers", MAPPINGS)
    tables = (text.partition(f"\n{name} = ")[2].partition("\n)")[0] for name in TABLES)
    classes, modules = (dict(MAPPING.findall(table)) for table in tables)
    return classes, modules


@cache
def _fields(file: str, class_name: str) -> Mapping[str, ast.expr]:
    """The annotated fields of a class and of those that it extends."""
    tree = _tree(file)
    own = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name), None)
    if own is None:
        return {}
    found: dict[str, ast.expr] = {}
    for base in own.bases:
        if ast.unparse(base) != ROOT_CLASS:
            found |= _fields(*_defined_in(tree, file, ast.unparse(base)))
    is_strict = any("strict" in ast.unparse(decorator) for decorator in own.decorator_list)
    has_own_init = any(isinstance(node, ast.FunctionDef) and node.name == "__init__" for node in own.body)
    if is_strict and not has_own_init:
        found |= {
            node.target.id: node.annotation
            for node in own.body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and _name_and_parts(node.annotation)[0] != "ClassVar"
        }
    return found


def _defined_in(tree: ast.Module, file: str, class_name: str) -> tuple[str, str]:
    """The file of a class that a file refers to, and its name."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 2 and any(one.name == class_name for one in node.names):
            return f"models/{(node.module or '').replace('.', '/')}.py", class_name
    return file, class_name


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(source_of("transformers", file))


# --- values and their types -----------------------------------------------------------------------------------------


def fits(value: Any, annotation: ast.expr) -> bool | None:
    """Whether a value of a JSON document is of an annotated type; None if the type is one that JSON says nothing about."""
    members = _members(annotation)
    if len(members) > 1:
        verdicts = [fits(value, member) for member in members]
        return True if True in verdicts else None if None in verdicts and False not in verdicts else False
    name, parts = _name_and_parts(annotation)
    if name == "None":
        return value is None
    if name == "Literal":
        return any(value == part.value for part in parts if isinstance(part, ast.Constant))
    if name == "tuple":
        return False  # JSON has none
    if name not in SIMPLE:
        return None
    kind = SIMPLE[name][0]
    if kind is float and isinstance(value, dict):
        return [*value] == [INFINITE]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return False
    if isinstance(value, list) and parts:
        return all(fits(item, parts[0]) is not False for item in value)
    if isinstance(value, dict) and len(parts) == 2:
        return all(
            fits(key, parts[0]) is not False and fits(item, parts[1]) is not False for key, item in value.items()
        )
    return True


def in_words(annotation: ast.expr) -> str:
    """The types of an annotation as people say them: `a whole number, or null`."""
    words = []
    for member in _members(annotation):
        name, parts = _name_and_parts(member)
        if name == "None":
            words.append("null")
        elif name == "Literal":
            words += [repr(part.value) for part in parts if isinstance(part, ast.Constant)]
        elif name in SIMPLE:
            words.append(SIMPLE[name][1])
    if {"a whole number", "a number with a decimal point"} <= {*words}:
        words = ["a number", *(word for word in words if "number" not in word)]
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _members(annotation: ast.expr) -> list[ast.expr]:
    """The types of a union; the type itself if it is none."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_members(annotation.left), *_members(annotation.right)]
    name, parts = _name_and_parts(annotation)
    if name == "Optional":
        return [*_members(parts[0]), ast.Constant(None)]
    return [member for part in parts for member in _members(part)] if name == "Union" else [annotation]


def _name_and_parts(annotation: ast.expr) -> tuple[str, list[ast.expr]]:
    """`list` and its part `int` of `list[int]`."""
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        return ast.unparse(annotation.value), [*inner.elts] if isinstance(inner, ast.Tuple) else [inner]
    return ast.unparse(annotation), []
