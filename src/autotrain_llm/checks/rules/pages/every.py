"""All examples, by code. A rule on flags alone shows its two commands itself, where it is declared."""

from __future__ import annotations

from autotrain_llm.checks.rules.pages import of_commands, of_machines, of_models, of_rows
from autotrain_llm.declare.example import Example

EXAMPLES: dict[str, Example] = {
    **of_commands.EXAMPLES,
    **of_machines.EXAMPLES,
    **of_models.EXAMPLES,
    **of_rows.EXAMPLES,
}


def commands_of(code: str) -> str:
    """The two commands of a finding, with what they need, as they are typed."""
    from autotrain_llm.checks.rules.every import RULES

    if code in EXAMPLES:
        return EXAMPLES[code].shown()
    rule = RULES[code]
    return f"# draws it\nautotrain llm {rule.refuses}\n# does not\nautotrain llm {rule.accepts}"
