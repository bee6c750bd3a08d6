"""The versions of what decides what a run computes, without importing any of it."""

from __future__ import annotations

import platform
from importlib import metadata

from autotrain_llm.version import VERSION

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers", "safetensors")


def versions() -> dict[str, str]:
    """This package, Python, and the libraries."""
    found = {"autotrain-llm": VERSION, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
