"""One command trains a language model, and says everything that is wrong before a weight is loaded.

`check`, `plan`, `prepare` and `train`, and for a config of stages `plan_stages` and `train_stages`, take the command's flags as keyword arguments;
importing this loads none of the heavy libraries.
"""

from autotrain_llm.version import VERSION as __version__

__all__ = ["__version__", "check", "plan", "plan_stages", "prepare", "train", "train_stages"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from autotrain_llm import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
