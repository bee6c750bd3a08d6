"""Which architectures have a sequence classifier and a causal language model: parsed from the installed transformers' source, without
importing it."""

from __future__ import annotations

import re
from functools import cache

from autotrain_llm.models.package_source import source_of

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
    tables = TABLE.finditer(source_of("transformers", "models/auto/modeling_auto.py"))
    return {table[1]: dict(ENTRY.findall(table[0])) for table in tables}
