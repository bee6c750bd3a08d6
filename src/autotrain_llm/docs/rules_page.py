"""docs/rules.md: every finding there is, from the docstring of its rule."""

from __future__ import annotations

import re

from autotrain_llm.declare.rule import Rule
from autotrain_llm.docs.markdown import GENERATED, block

INTRODUCTION = """\
A finding has a code, and `autotrain llm --explain CODE` prints what stands here. An error refuses the run before anything is started or
written; a warning says what the run will really do, and with `--strict` it refuses too. Everything that is wrong is reported at once."""


def rules() -> str:
    """The page: rules by code, then the findings that are made while reading commands, models and data."""
    from autotrain_llm.rules.codes import EXPLANATIONS
    from autotrain_llm.rules.every import RULES

    parts = [GENERATED, "# Rules", INTRODUCTION]
    codes = sorted({*RULES, *EXPLANATIONS})
    parts += [_rule(RULES[code]) if code in RULES else _reading(code, EXPLANATIONS[code]) for code in codes]
    return "\n\n".join(parts) + "\n"


def _rule(rule: Rule) -> str:
    parts = [f"## {rule.code}: {rule.name}", f"*{rule.severity.capitalize()}.* {_paragraphs(rule.documentation)}"]
    examples = [("Draws it", rule.refuses), ("Does not", rule.accepts)]
    lines = [f"# {word.lower()}\nautotrain llm {flags}" for word, flags in examples if flags]
    return "\n\n".join([*parts, *([block("\n".join(lines), "text")] if lines else [])])


def _reading(code: str, explanation: str) -> str:
    from autotrain_llm.rules.examples import EXAMPLES

    parts = [f"## {code}", _paragraphs(explanation)]
    example = EXAMPLES.get(code)
    return "\n\n".join([*parts, *([block(example.shown(), "text")] if example else [])])


def _paragraphs(documentation: str) -> str:
    """A docstring's text, with `Why:` and `Fix:` each in a paragraph of its own."""
    return re.sub(r"\n+(Why|Fix):", r"\n\n**\1:**", documentation.strip())
