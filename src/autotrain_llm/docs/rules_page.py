"""docs/rules.md: every finding there is, from the docstring of its rule."""

from __future__ import annotations

import re

from autotrain_llm.docs.markdown import GENERATED, block

INTRODUCTION = """\
A finding has a code, and `autotrain llm --explain CODE` prints what stands here. An error refuses the run before anything is started or
written; a warning says what the run will really do, and with `--strict` it refuses too. Everything that is wrong is reported at once.

Of each finding the page shows a command that draws it and one that doesn't. In them `MODEL` is the folder of a Llama that is in order, `TEACHER`
of another with its tokenizer, `SCORER` of a reward model of one score, and `ENCODER` of an encoder; `rows.jsonl` is two rows of text where
nothing else is shown. Flags alone are given where they are enough, so that other findings say what else the command lacks."""


def rules() -> str:
    """The page: by code, the rules and the findings that are made while reading commands, models and data."""
    from autotrain_llm.checks.rules.codes import EXPLANATIONS
    from autotrain_llm.checks.rules.every import RULES

    codes = sorted({*RULES, *EXPLANATIONS})
    return "\n\n".join([GENERATED, "# Rules", INTRODUCTION, *map(_finding, codes)]) + "\n"


def _finding(code: str) -> str:
    from autotrain_llm.checks.rules.codes import EXPLANATIONS
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.checks.rules.pages.every import commands_of

    rule = RULES.get(code)
    title = f"## {code}: {rule.name}" if rule else f"## {code}"
    text = f"*{rule.severity.capitalize()}.* {rule.documentation}" if rule else EXPLANATIONS[code]
    return "\n\n".join([title, _paragraphs(text), block(commands_of(code), "text")])


def _paragraphs(documentation: str) -> str:
    """A docstring's text, with `Why:` and `Fix:` each in a paragraph of its own."""
    return re.sub(r"\n+(Why|Fix):", r"\n\n**\1:**", documentation.strip())
