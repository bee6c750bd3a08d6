"""`--target-modules` and the modules that the model has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from autotrain_llm.declare.example import of_flags
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import first_of
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.metadata import ModelMetadata

ALL_LINEAR = "all-linear"
EVERY_MODULE = ("all", "all_linear", "all linear", "alllinear", "linear", "*", "every", "auto")
USUAL = ("q_proj", "v_proj", "query", "value", "c_attn", "query_key_value")


# Rows don't depend on the adapter, and are checked all the same.
@rule(
    "M151",
    roles=(LANGUAGE_MODEL,),
    example=of_flags("--peft --target-modules q_porj", "--peft --target-modules q_proj"),
)
def target_modules_exist(
    metadata: ModelMetadata, target_modules: str | Iterable[str] | None = None
) -> Iterator[Finding]:
    """`--target-modules` names modules that the model does not have, or that are not linear layers.

    Why: they get no adapter. An error if none is left, otherwise a warning.
    Fix: use the modules that the finding shows.
    """
    targets = split_targets(target_modules)
    if not targets or targets == [ALL_LINEAR] or not metadata.modules:
        return
    if any(target.lower() in EVERY_MODULE for target in targets):
        message = f"--target-modules {','.join(targets)}: {metadata.name} has no module of that name; all linear layers are called {ALL_LINEAR}"
        yield _finding(message, ALL_LINEAR)
        return
    usual = ",".join(name for name in USUAL if name in metadata.linear_names) or ALL_LINEAR
    linear = ", ".join(metadata.linear_names)
    broken = [target for target in targets if not _is_pattern(target)]
    unmatched = [
        target
        for target in targets
        if target not in broken and not any(matches(target, module) for module in metadata.modules)
    ]
    vectors = [target for target in targets if target not in (*broken, *unmatched) and _only_vectors(target, metadata)]
    if vectors:
        message = f"--target-modules: {first_of(vectors)} of {metadata.name} is not a linear layer and can't have an adapter (linear layers: {linear})"
        yield _finding(message, usual)
    if broken:
        yield _finding(f"--target-modules: {first_of(broken)} is not a valid regular expression", usual)
    if unmatched:
        none_left = len(unmatched) + len(broken) == len(targets)
        consequence = "so there is nothing to adapt" if none_left else "and only the others would be adapted"
        message = f"--target-modules: {metadata.name} has no module called {first_of(unmatched)}, {consequence} (it has: {linear})"
        yield _finding(message, usual, ERROR if none_left else WARNING)


def _finding(message: str, modules: str, severity: str = ERROR) -> Finding:
    return Finding(message, changes={"target_modules": modules}, parameters=("target_modules",), severity=severity)


def split_targets(target_modules: str | Iterable[str] | None) -> list[str]:
    """`q_proj,v_proj`, a list of such names, or nothing."""
    if target_modules is None:
        return []
    parts = target_modules.split(",") if isinstance(target_modules, str) else target_modules
    return [part.strip() for part in parts if part.strip()]


def _is_pattern(target: str) -> bool:
    try:
        re.compile(target)
    except re.error:
        return False
    return True


def matches(target: str, module: str) -> bool:
    """Whether a target names this module: by its whole name, by the end of it, or as a regular expression for the whole."""
    if is_called(module, target):
        return True
    return not re.fullmatch(r"[\w.]+", target) and bool(re.fullmatch(target, module))


def for_peft(targets: Sequence[str]) -> str | list[str]:
    """The modules as PEFT (0.21) takes them: it reads the entries of a list as names, and only a text as a regular expression, for the whole name of a module."""
    if all(re.fullmatch(r"[\w.]+", target) for target in targets):
        return list(targets)
    return "|".join(rf"(?:.*\.)?{re.escape(one)}" if re.fullmatch(r"[\w.]+", one) else f"(?:{one})" for one in targets)


def _only_vectors(target: str, metadata: ModelMetadata) -> bool:
    """Whether all modules that a target names have a single row of weights, as norms do."""
    shapes: Sequence[tuple[int, ...] | None] = [
        metadata.tensors.get(f"{module}.weight") for module in metadata.modules if matches(target, module)
    ]
    return bool(shapes) and all(shape is not None and len(shape) == 1 for shape in shapes)


def is_called(module: str, name: str) -> bool:
    """Whether a module has this name, whole or as the last parts of its own."""
    return module == name or module.endswith(f".{name}")
