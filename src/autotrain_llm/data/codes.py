"""The findings about rows, by code: the rules of `data/rules/`."""

from __future__ import annotations

from autotrain_llm.config.registry import modules_of
from autotrain_llm.declare.rule import Rule

RULES: dict[str, Rule] = {
    rule.code: rule
    for module in modules_of("autotrain_llm.data.rules")
    for value in vars(module).values()
    if (rule := getattr(value, "RULE", None)) is not None
}
EXPLANATIONS = {code: rule.documentation for code, rule in sorted(RULES.items())}
