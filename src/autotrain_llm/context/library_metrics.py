"""Metrics of Hugging Face's library `evaluate`: found without importing it, and loaded by name to be called.

The library has no metrics itself. A folder with a script of its name is one; a name such as `wer` is a repository of the Hub, whose script the
library downloads and runs.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

PROBE = (["a cat sat on the mat", "yes"], ["the cat sat on the mat", "no"])  # answers and references of the first call


class MetricFault(Exception):
    """A metric can't be loaded or computed."""


def is_folder(source: str) -> bool:
    """Whether a metric is a folder or a script and no name."""
    return source.startswith((".", "/", "~")) or source.endswith(".py") or Path(source).exists()


def script_of(source: str) -> Path | None:
    """The script of a metric in a folder; None if there is none, as of a name."""
    path = Path(source).expanduser()
    script = path if path.suffix == ".py" else path / f"{path.resolve().name}.py"
    return script if script.is_file() else None


def missing_packages(script: Path) -> list[str]:
    """The packages that a script imports at its top level and that are not installed. Raises MetricFault if it is no Python."""
    from importlib.util import find_spec

    try:
        tree = ast.parse(script.read_bytes())
    except (SyntaxError, ValueError) as fault:
        raise MetricFault(f"it is no Python: {fault}") from fault
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.append(node.module.split(".")[0])
    beside = {path.stem for path in script.parent.iterdir()}
    return [name for name in dict.fromkeys(names) if name not in beside and find_spec(name) is None]


def load_metric(source: str, is_offline: bool) -> Any:
    """The metric as an object of the library. Raises MetricFault."""
    script = script_of(source)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return (
                _by_name(source, is_offline)
                if script is None
                else _in_script(script.resolve(), script.stat().st_mtime_ns)
            )
    except (Exception, SystemExit) as fault:
        raise MetricFault(_first_line(fault)) from fault


@cache
def _by_name(name: str, is_offline: bool) -> Any:
    evaluate = import_module("evaluate")
    if is_offline:
        vars(import_module("evaluate.config"))["HF_EVALUATE_OFFLINE"] = True
    return evaluate.load(name, keep_in_memory=True)


@cache
def _in_script(script: Path, changed: int) -> Any:
    """The metric in a script; read again if it was `changed` since."""
    metric = _class_in(script, import_module("evaluate").EvaluationModule)(keep_in_memory=True)
    metric.download_and_prepare()
    return metric


def _class_in(script: Path, base: type) -> Any:
    """The metric's class in a script; the script may import from files beside it."""
    from importlib.util import module_from_spec, spec_from_file_location

    name = f"autotrain_llm_metric_{script.stem}_{abs(hash(str(script.resolve()))):x}"
    spec = spec_from_file_location(name, script, submodule_search_locations=[str(script.parent)])
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    classes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, base)]
    own = [one for one in classes if one.__module__ == name]
    if not own:
        raise MetricFault(f"{script} has no subclass of evaluate.Metric")
    return own[-1]


def compute(source: str, is_offline: bool, answers: list[str], references: list[str]) -> dict[str, float]:
    """The numbers that a metric gives for texts, by name. Raises MetricFault."""
    metric = load_metric(source, is_offline)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = metric.compute(predictions=answers, references=references)
    except (Exception, SystemExit) as fault:
        raise MetricFault(_first_line(fault)) from fault
    values = result if isinstance(result, dict) else {"": result}
    numbers = {str(name): number for name, value in values.items() if (number := _number(value)) is not None}
    if not numbers:
        raise MetricFault("its result has no number")
    return numbers


def _number(value: Any) -> float | None:
    """A number, also one of numpy; None for anything else."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _first_line(fault: BaseException) -> str:
    text = str(fault).strip().splitlines()
    kind = type(fault).__name__
    return f"{kind}: {text[0]}" if text and not isinstance(fault, MetricFault) else text[0] if text else kind
