"""`--explain CODE`: what a finding means, from the docstring of its rule."""

from __future__ import annotations

from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.nearest import nearest


def explain(code: str) -> str:
    """The documentation of a rule. Raises `Refused` where there is none with this code."""
    from autotrain_llm.rules.codes import EXPLANATIONS
    from autotrain_llm.rules.every import RULES

    wanted = code.strip().upper()
    if wanted in RULES:
        rule = RULES[wanted]
        examples = [("draws it:", rule.refuses), ("does not:", rule.accepts)]
        shown = [f"  {word:<10} autotrain llm {flags}" for word, flags in examples if flags]
        title = f"{rule.code} ({rule.severity}): {rule.name}"
        return "\n".join([title, "", rule.documentation, *(["", *shown] if shown else [])])
    if wanted in EXPLANATIONS:
        from autotrain_llm.rules.examples import EXAMPLES

        example = EXAMPLES.get(wanted)
        page = [f"{wanted}\n\n{EXPLANATIONS[wanted].strip()}", *([example.shown()] if example else [])]
        return "\n\n".join(page)
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
