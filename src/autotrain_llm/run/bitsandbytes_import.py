"""How bitsandbytes (0.50) is used: imported without a download, and with weights in 4 bits that keep their layout."""

from __future__ import annotations

import logging
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "bitsandbytes"
DOWNLOADED = "kernels"  # the package that loads programs from the Hub


class Finder:
    """Finds bitsandbytes, and lets it be imported without what it downloads on processors with AVX512 BF16."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == NAME else None
        if spec is not None and spec.loader is not None:
            initialise = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                loaded = sys.modules.get(DOWNLOADED)
                sys.modules[DOWNLOADED] = None  # type: ignore[assignment]
                logging.getLogger(f"{NAME}.backends.cpu.ops").setLevel(logging.ERROR)  # it advises to install them
                try:
                    initialise(module)
                finally:
                    del sys.modules[DOWNLOADED]
                    if loaded is not None:
                        sys.modules[DOWNLOADED] = loaded
                keep_layout()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def keep_layout() -> None:
    """Let layers in 4 bits keep the layout of their weights. On processors with AVX512 BF16 they would repack them at the first pass in evaluation:
    some sizes fail there, and weights that are repacked pass no gradients on when the training continues."""
    sys.modules[f"{NAME}.nn.modules"].has_avx512bf16 = lambda: False  # type: ignore[attr-defined]


def install() -> None:
    """Let bitsandbytes be used in this way, imported or not."""
    if NAME in sys.modules:
        keep_layout()
    elif not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
