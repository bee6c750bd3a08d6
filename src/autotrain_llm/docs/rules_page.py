"""docs/rules.md: every finding, from the docstring of its rule."""

from __future__ import annotations

import re

from autotrain_llm.declare.rule import Rule
from autotrain_llm.docs.markdown import GENERATED, block

INTRODUCTION = """\
A finding has a code, and `autotrain llm --explain CODE` prints its section of this page. An error refuses the run before anything is started or
written. A warning says what the run will do; with `--strict` it refuses the run too. All findings are reported together. The heading of a D code names
the fault in the data; the other headings state the rule that the command breaks.

For each finding the page shows a command that triggers it and one that doesn't. In them `MODEL` is the folder of a valid Llama, `TEACHER` of
another with the same tokenizer, `SCORER` of a reward model with one score, and `ENCODER` of an encoder; `rows.jsonl` has two rows of text unless
its content is shown. If flags are enough, the command has only those, and other findings report what else it lacks."""


def rules() -> str:
    """The page: all rules, and the findings of parsers and loaders, by code."""
    from autotrain_llm.checks.rules.every import every_rule

    return "\n\n".join([GENERATED, "# Rules", INTRODUCTION, *map(_finding, every_rule().values())]) + "\n"


def _finding(rule: Rule) -> str:
    title = f"## {rule.code}" + (f": {rule.name}" if rule.name else "")
    text = f"*{rule.severity.capitalize()}.* {rule.documentation}"
    return "\n\n".join([title, _paragraphs(text), block(rule.commands(), "text")])


def _paragraphs(documentation: str) -> str:
    """A docstring's text, with `Why:` and `Fix:` each in a paragraph of its own."""
    return re.sub(r"\n+(Why|Fix):", r"\n\n**\1:**", documentation.strip())
