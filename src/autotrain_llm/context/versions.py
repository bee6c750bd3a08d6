"""Versions of the libraries that determine the results of a run, read without importing them."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

from autotrain_llm.version import VERSION

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers", "safetensors")


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries, by name."""
    installed = {package: version for package in PACKAGES if (version := version_of(package)) is not None}
    return {"autotrain-llm": VERSION, "python": platform.python_version(), **installed}


@cache
def version_of(package: str) -> str | None:
    """The version of an installed package, from its metadata; None if it isn't installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
