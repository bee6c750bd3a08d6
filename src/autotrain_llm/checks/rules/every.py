"""All rules, by code."""

from __future__ import annotations

from autotrain_llm.config.registry import modules_of
from autotrain_llm.declare.rule import Rule


def _collect() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for module in modules_of("autotrain_llm.checks.rules", "every", "codes"):
        for value in vars(module).values():
            found = getattr(value, "RULE", None)
            if found is None or value.__module__ != module.__name__:
                continue
            if found.code in rules:
                raise ValueError(f"two rules have the code {found.code}: {rules[found.code].name} and {found.name}")
            rules[found.code] = found
    return dict(sorted(rules.items()))


RULES: dict[str, Rule] = _collect()
