"""One command trains a language model, and says everything that is wrong before a weight is loaded.

`check`, `plan`, `prepare` and `train` take the command's flags as keyword arguments; importing this loads none of the heavy libraries.
"""

from autotrain_llm.version import VERSION as __version__

__all__ = ["__version__", "check", "plan", "prepare", "train"]


def __getattr__(name: str) -> object:
    if name in ("check", "plan", "prepare", "train"):
        from autotrain_llm import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
