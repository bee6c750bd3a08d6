"""The versions of what decides what a run computes, without importing any of it."""

from __future__ import annotations

import platform
from importlib import metadata

from autotrain_llm.version import VERSION

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers", "safetensors")


def versions() -> dict[str, str]:
    """This package, Python, and the libraries."""
    installed = {package: version for package in PACKAGES if (version := version_of(package)) is not None}
    return {"autotrain-llm": VERSION, "python": platform.python_version(), **installed}


def version_of(package: str) -> str | None:
    """The version of an installed package, as its metadata has it; None where it isn't installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
