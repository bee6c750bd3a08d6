"""Which architectures can score texts: read from the table of the installed transformers, as text."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

TABLE = re.compile(r"^MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES = .*?^\)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r'\(\s*"([\w.-]+)",\s*"(\w+)"\s*,?\s*\)')


def classifier_of(model_type: str | None) -> str | None:
    """The class that scores texts with this architecture, such as `LlamaForSequenceClassification`; None where there is none."""
    return _table().get(model_type or "")


def has_classifier(model_type: str) -> bool:
    """Whether the installed transformers can score texts with this architecture; True where there is no table to read."""
    return not _table() or model_type in _table()


@cache
def _table() -> dict[str, str]:
    from importlib.util import find_spec

    spec = find_spec("transformers")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "models", "auto", "modeling_auto.py")
        found = TABLE.search(path.read_text(encoding="utf-8")) if path.exists() else None
        if found:
            return dict(ENTRY.findall(found[0]))
    return {}
