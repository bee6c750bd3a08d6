"""All rules, by code.

`RULES` are those of this folder, which every check loads. Those about files of models and about rows are next to the code that reads them, and
are loaded with it: `every_rule()` has them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType

from autotrain_llm.config.registry import modules_of
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import Rule, RuleFunction

# Modules and packages of other rooms that declare findings.
ELSEWHERE = (
    "autotrain_llm.declare.rule",
    "autotrain_llm.models.findings",
    "autotrain_llm.models.checks",
    "autotrain_llm.data.rules",
    "autotrain_llm.checks.observations",
)


def _rules_of(module: ModuleType) -> Iterator[Rule]:
    """The rules that a module declares: its functions, and its findings of code that reads."""
    for value in vars(module).values():
        rule = value if isinstance(value, Rule) else getattr(value, "RULE", None)
        if isinstance(rule, Rule) and (rule.function is None or rule.function.__module__ == module.__name__):
            yield rule


def _by_code(modules: Iterable[ModuleType]) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for module in modules:
        for rule in _rules_of(module):
            if rules.setdefault(rule.code, rule) is not rule:
                raise ValueError(f"two rules have the code {rule.code}: {rules[rule.code].name} and {rule.name}")
    return dict(sorted(rules.items()))


RULES: dict[str, Rule] = _by_code(modules_of("autotrain_llm.checks.rules", "every"))


@cache
def every_rule() -> dict[str, Rule]:
    """All kinds of findings, by code."""
    return dict(sorted({**RULES, **_by_code(_elsewhere())}.items()))


def _elsewhere() -> Iterator[ModuleType]:
    for name in ELSEWHERE:
        module = import_module(name)
        if hasattr(module, "__path__"):
            yield from modules_of(name)
        else:
            yield module


def rule_of(finding: Finding) -> Rule | None:
    """The rule that declares a finding's code."""
    return RULES.get(finding.code) or every_rule().get(finding.code)


def rule_of_function(function: RuleFunction) -> Rule:
    """The rule that a function was declared as."""
    rule: Rule = function.RULE  # type: ignore[attr-defined]
    return rule
