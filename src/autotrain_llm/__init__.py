"""One command trains a language model, and says everything that is wrong before a weight is loaded.

`check`, `plan`, `prepare` and `train`, and for a config of stages `plan_stages` and `train_stages`, take the command's flags as keyword arguments;
importing this loads none of the heavy libraries.
"""

from autotrain_llm.version import VERSION as __version__

# The module of each public name.
_HOMES = {
    "check": "api",
    "plan": "api",
    "plan_stages": "api",
    "prepare": "api",
    "train": "notebook",
    "train_stages": "api",
    "Finding": "declare.finding",
    "Interrupted": "run.failures",
    "PipelineProgress": "progress",
    "PipelineReport": "run.pipeline.results",
    "Plan": "planning.plan",
    "ProgressCallback": "progress",
    "Refused": "declare.finding",
    "RunFailed": "run.failures",
    "RunReport": "run.session.run_report",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"autotrain_llm.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
