"""docs/schema.json: a JSON Schema (draft 2020-12) of the `--config` file, for editors.

Put `# yaml-language-server: $schema=<path to schema.json>` at the top of a YAML file, and an editor completes and checks its keys.
"""

from __future__ import annotations

import json
from typing import Any

from autotrain_llm.config.aliases import ACCEPTED, RENAMED
from autotrain_llm.config.registry import FOREIGN, PARAMS, READS, REFUSED, TRAINERS, verdict
from autotrain_llm.declare.param import Param

TYPES = {"switch": "boolean", "int": "integer", "float": "number", "str": "string", "json": "object"}
AUTOTRAIN_KEYS = ("task", "base_model", "data", "params", "hub")
DATA_KEYS = ("path", "train_split", "valid_split", "chat_template", "column_mapping")
COLUMNS = ("text_column", "prompt_text_column", "rejected_text_column")


def schema() -> str:
    """The schema as JSON text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """Flat keys, or AutoTrain's sections if one of its keys is present."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autotrain llm --config",
        "description": "Parameters of a run: flags as keys, with underscores or dashes.",
        "type": "object",
        "if": {"anyOf": [{"required": [key]} for key in AUTOTRAIN_KEYS]},
        "then": {"$ref": "#/$defs/autotrain"},
        "else": {"$ref": "#/$defs/flat"},
        "$defs": {
            "parameter": {param.name: _parameter(param) for param in settings()},
            "accepted": {name: {"description": text, "deprecated": True} for name, text in _accepted().items()},
            "flat": _flat(),
            "autotrain": _autotrain(),
        },
    }


def settings() -> list[Param]:
    """The parameters a config file may hold."""
    return [param for param in PARAMS.values() if not param.command or param.in_files]


def _accepted() -> dict[str, str]:
    renamed = {old: f"Accepted for {new}." for old, new in RENAMED.items()}
    return renamed | {
        accepted.name: f"Accepted: {accepted.warning or 'stands for other parameters'}." for accepted in ACCEPTED
    }


def _parameter(param: Param) -> dict[str, Any]:
    """One parameter's type, choices, bounds, default and help."""
    entry: dict[str, Any] = {"description": param.help}
    if param.name == "trainer":
        entry["enum"] = list(TRAINERS)
    elif param.choices:
        entry["enum"] = [*param.choices, *param.replaced_choices, *([None] if param.nullable else [])]
    elif param.kind == "list":
        entry["anyOf"] = [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]
    else:
        kind = TYPES[param.kind]
        kinds = [kind, *(["string"] if _words(param) else []), *(["null"] if param.nullable else [])]
        entry["type"] = kinds if len(kinds) > 1 else kind
    if param.within is not None:
        entry |= _bounds(param)
    elif param.also:
        entry |= {"anyOf": [{"type": TYPES[param.kind]}, {"enum": list(param.also)}]}
    if param.default is not None:
        entry["default"] = list(param.default) if isinstance(param.default, tuple) else param.default
    return entry


def _words(param: Param) -> list[str]:
    """The words that a switch or a number takes besides its own values."""
    return [value for value in param.also if isinstance(value, str)]


def _bounds(param: Param) -> dict[str, Any]:
    """Bounds as JSON Schema keywords, with the allowed values outside them."""
    within = param.within
    assert within is not None
    bounds = {}
    if within.low is not None:
        bounds["exclusiveMinimum" if within.low_open else "minimum"] = within.low
    if within.high is not None:
        bounds["exclusiveMaximum" if within.high_open else "maximum"] = within.high
    if not param.also:
        return bounds
    # Bounds hold for numbers alone, so that a word would be within them.
    own = bounds | ({"type": TYPES[param.kind]} if _words(param) else {})
    return {"anyOf": [own, {"enum": list(param.also)}]}


def _keys(names: list[str], section: str) -> dict[str, Any]:
    """Properties for names in both spellings; the one with dashes is accepted but not suggested."""
    keys: dict[str, Any] = {}
    for name in names:
        reference = {"$ref": f"#/$defs/{section}/{name}"}
        keys[name] = reference
        if "_" in name:
            keys[name.replace("_", "-")] = {**reference, "doNotSuggest": True}
    return keys


def _flat() -> dict[str, Any]:
    names = [param.name for param in settings()]
    return {
        "type": "object",
        "properties": _keys(names, "parameter") | _keys(list(_accepted()), "accepted"),
        "additionalProperties": False,
        "allOf": [_for_trainer(name) for name in TRAINERS],
    }


def _for_trainer(name: str) -> dict[str, Any]:
    """The conditions for this trainer: parameters without effect are marked as deprecated, refused switches must be off."""
    trainer = TRAINERS[name]
    marks: dict[str, Any] = {}
    for param in settings():
        cell = verdict(param, trainer)
        if cell == REFUSED:
            marks[param.name] = {"const": False}
        elif cell != READS:
            why = f"{trainer.title} ignores it." if cell == FOREIGN else trainer.unused[param.name] + "."
            marks[param.name] = {"deprecated": True, "deprecationMessage": why}
    condition: dict[str, Any] = {"properties": {"trainer": {"const": name}}}
    if name != PARAMS["trainer"].default:
        condition["required"] = ["trainer"]
    return {"if": condition, "then": {"properties": marks}}


def _autotrain() -> dict[str, Any]:
    """AutoTrain's own shape: the same parameters, in sections."""
    hub = _keys(["username", "token", "push_to_hub", "hub_private"], "parameter")
    columns = {name: PARAMS[name].help for name in COLUMNS}
    data = {
        "path": {"$ref": "#/$defs/parameter/data_path"},
        **_keys(["train_split", "valid_split", "chat_template"], "parameter"),
        "column_mapping": {
            "type": "object",
            "properties": {name: {"type": ["string", "null"], "description": text} for name, text in columns.items()},
        },
    }
    names = [param.name for param in settings()]
    return {
        "type": "object",
        "properties": {
            "task": {"enum": ["llm", *(f"llm-{name}" for name in TRAINERS), *(f"llm:{name}" for name in TRAINERS)]},
            "base_model": {"$ref": "#/$defs/parameter/model"},
            "project_name": {"$ref": "#/$defs/parameter/output_dir"},
            "log": {"$ref": "#/$defs/parameter/log"},
            "backend": {"$ref": "#/$defs/accepted/backend"},
            "data": {"type": "object", "properties": {key: data[key] for key in DATA_KEYS}},
            "params": {
                "type": "object",
                "properties": _keys(names, "parameter") | _keys(list(_accepted()), "accepted"),
                "additionalProperties": False,
            },
            "hub": {"type": "object", "properties": hub},
        },
    }
