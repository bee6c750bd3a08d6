"""`--explain CODE`: what a finding means, from the docstring of its rule."""

from __future__ import annotations

from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.nearest import nearest


def explain(code: str) -> str:
    """The documentation of a rule. Raises `Refused` where there is none with this code."""
    from autotrain_llm.checks.rules.codes import EXPLANATIONS
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.checks.rules.pages.every import commands_of

    wanted = code.strip().upper()
    if wanted in RULES:
        rule = RULES[wanted]
        title = f"{rule.code} ({rule.severity}): {rule.name}"
        return "\n\n".join([title, rule.documentation, commands_of(wanted)])
    if wanted in EXPLANATIONS:
        return "\n\n".join([wanted, EXPLANATIONS[wanted].strip(), commands_of(wanted)])
    close = nearest(wanted, [*RULES, *EXPLANATIONS])
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
