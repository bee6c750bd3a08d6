"""docs/rules.md: every finding, from the docstring of its rule. The site has a page for each topic of them."""

from __future__ import annotations

import re

from autotrain_llm.declare.rule import Rule
from autotrain_llm.docs.markdown import GENERATED, anchor, block, table

INTRODUCTION = """\
A finding has a code, and `autotrain llm --explain CODE` prints its section of this page. An error refuses the run before anything is started or
written. A warning says what the run will do; with `--strict` it refuses the run too. All findings are reported together. The heading of a D code names
the fault in the data; the other headings state the rule that the command breaks.

For each finding the page shows a command that triggers it and one that doesn't. In them `MODEL` is the folder of a valid Llama, `TEACHER` of
another with the same tokenizer, `SCORER` of a reward model with one score, and `ENCODER` of an encoder; `rows.jsonl` has two rows of text unless
its content is shown. If flags are enough, the command has only those, and other findings report what else it lacks."""

# The findings by the first two characters of their codes.
TOPICS = {
    "P1": "Flags, configs and commands",
    "P2": "What is required; inference and chat",
    "P3": "Values of flags",
    "P5": "Distillation",
    "P6": "Sweeps",
    "P7": "Reward models, evaluation and trackers",
    "P8": "Reinforcement learning",
    "D1": "Files and rows",
    "D2": "Mixtures, rows of tokens, prepared rows",
    "M1": "Models and tokenizers",
    "E4": "Output folder and resuming",
    "E5": "Machine, memory and packages",
    "E6": "Export",
    "R1": "Failures of a run",
}


def rules() -> str:
    """The page: all rules, and the findings of parsers and loaders, by code."""
    from autotrain_llm.checks.rules.every import every_rule

    return "\n\n".join([GENERATED, "# Rules", INTRODUCTION, *map(_finding, every_rule().values())]) + "\n"


def rules_by_topic() -> dict[str, str]:
    """The pages of the site by their file names: `index.md` and one for each topic. Raises KeyError for a code of no topic."""
    from autotrain_llm.checks.rules.every import every_rule

    members: dict[str, list[Rule]] = {topic: [] for topic in TOPICS}
    for rule in every_rule().values():
        members[rule.code[:2]].append(rule)
    pages = {"index.md": _index(members)}
    for topic, title in TOPICS.items():
        pages[page_of(topic)] = "\n\n".join([f"# {title}", *map(_finding, members[topic])]) + "\n"
    return pages


def page_of(code: str) -> str:
    """The file name of the page that has a finding's section."""
    return f"{code[:2].lower()}.md"


def _index(members: dict[str, list[Rule]]) -> str:
    parts = ["# Findings", INTRODUCTION]
    for topic, rules_of_it in members.items():
        rows = [
            (f"[{rule.code}]({page_of(topic)}{anchor(heading(rule))})", rule.severity, paragraphs_of(rule)[0])
            for rule in rules_of_it
        ]
        parts += [f"## {TOPICS[topic]}", table(("", "", "what is wrong"), rows)]
    return "\n\n".join(parts) + "\n"


def heading(rule: Rule) -> str:
    """The heading of a finding's section."""
    return rule.code + (f": {rule.name}" if rule.name else "")


def paragraphs_of(rule: Rule) -> tuple[str, str]:
    """What is wrong, and what to do, each in one line; the second is empty if the documentation has no `Fix:`."""
    what = rule.documentation.partition("\n\n")[0]
    fix = re.search(r"^Fix:(.*?)(?:\n\n|\Z)", rule.documentation, re.DOTALL | re.MULTILINE)
    return " ".join(what.split()), " ".join(fix[1].split()) if fix else ""


def _finding(rule: Rule) -> str:
    text = f"*{rule.severity.capitalize()}.* {rule.documentation}"
    return "\n\n".join([f"## {heading(rule)}", _paragraphs(text), block(rule.commands(), "text")])


def _paragraphs(documentation: str) -> str:
    """A docstring's text, with `Why:` and `Fix:` each in a paragraph of its own."""
    return re.sub(r"\n+(Why|Fix):", r"\n\n**\1:**", documentation.strip())
