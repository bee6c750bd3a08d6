"""`--explain CODE`: the documentation of a finding, from the docstring of its rule."""

from __future__ import annotations

from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.nearest import nearest


def explain(code: str) -> str:
    """The documentation of a rule. Raises `Refused` if the code is unknown."""
    from autotrain_llm.checks.rules.every import every_rule

    rules, requested = every_rule(), code.strip().upper()
    if requested in rules:
        rule = rules[requested]
        title = f"{rule.code} ({rule.severity})" + (f": {rule.name}" if rule.name else "")
        return "\n\n".join([title, rule.documentation, rule.commands()])
    close = nearest(requested, rules)
    raise Refused(
        [
            Finding(
                f"there is no finding with the code {code!r}",
                fix=f"--explain {close}" if close else "the codes are listed in docs/rules.md",
                parameters=("explain",),
                code="P124",
            )
        ]
    )
