"""Which architectures have a sequence classifier and a causal language model: parsed from the installed transformers' source, without
importing it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

TABLE = re.compile(r"^(MODEL_FOR_\w+_MAPPING_NAMES) = .*?^\)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r'\(\s*"([\w.-]+)",\s*"(\w+)"\s*,?\s*\)')
SCORING = "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"
WRITING = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"


def classifier_of(model_type: str | None) -> str | None:
    """The sequence classifier of this architecture, such as `LlamaForSequenceClassification`; None if there is none."""
    return _tables().get(SCORING, {}).get(model_type or "")


def has_classifier(model_type: str) -> bool:
    """Whether the installed transformers has a sequence classifier of this architecture; True if its tables can't be read."""
    return model_type in _tables().get(SCORING, {model_type: ""})


def has_generator(model_type: str | None) -> bool:
    """Whether the installed transformers has a causal language model of this architecture; True if its tables can't be read."""
    return model_type in _tables().get(WRITING, {model_type: ""})


@cache
def _tables() -> dict[str, dict[str, str]]:
    from importlib.util import find_spec

    spec = find_spec("transformers")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "models", "auto", "modeling_auto.py")
        if path.exists():
            return {
                table[1]: dict(ENTRY.findall(table[0])) for table in TABLE.finditer(path.read_text(encoding="utf-8"))
            }
    return {}
