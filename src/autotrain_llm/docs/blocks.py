"""Parts of pages that follow from the declarations: what stands between `<!-- generated: NAME … -->` and `<!-- end -->` in docs/."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import partial

from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.data.load.suited import KINDS
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.docs.guide import trainer_title
from autotrain_llm.docs.markdown import anchor, block, command, table
from autotrain_llm.docs.other_tools import names_of
from autotrain_llm.docs.rules_page import heading, paragraphs_of

BLOCK = re.compile(r"(<!-- generated: (?P<request>[^>]+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
RULES, GUIDE, METRICS = "docs/rules.md", "PARAMETER_GUIDE.md", "docs/metrics.md"
LABELLED = ("prompt/completion/label",)


def filled(text: str, page: str) -> str:
    """The text of a page with its generated parts as the declarations have them; `page` is its path from the repository's root."""

    def fill(match: re.Match[str]) -> str:
        name, *arguments = match["request"].split()
        return f"{match[1]}\n{MAKERS[name](partial(_link, page), *arguments)}\n\n{match[4]}"

    return BLOCK.sub(fill, text)


def _link(page: str, target: str, title: str = "") -> str:
    return posixpath.relpath(target, posixpath.dirname(page)) + (anchor(title) if title else "")


Link = Callable[..., str]


def _trainer(link: Link, name: str) -> str:
    """What a trainer is, in a table."""
    trainer = TRAINERS[name]
    required = ", ".join(_flags(names) for names in trainer.requires)
    rates = trainer.usual["lr"]
    ranks = "{} to {}".format(*trainer.usual_ranks)
    headline = ", ".join(f"`{metric}`" for metric in trainer.headline)
    rows = [
        ("rows", _rows(trainer)),
        ("required", required),
        ("usual `--lr`", f"{plain(rates.full)} for all weights, {plain(rates.lora)} with `--peft`"),
        ("usual `--lora-r`", ranks),
        ("judged by", f"{headline} ([definitions]({link(METRICS)}))"),
        ("result", "a model that scores texts" if trainer.trains_a_scorer else "a model that generates text"),
        ("every flag", f"[{trainer_title(trainer)}]({link(GUIDE, trainer_title(trainer))}) in the parameter guide"),
    ]
    return f"{trainer.summary} {trainer.purpose}\n\n{table(('', ''), rows)}"


def _rows(trainer: Trainer) -> str:
    kinds = [(formats, words) for formats, shapes, words in KINDS if trainer.rows in shapes]
    return ", or ".join(words for formats, words in kinds if trainer.parts_pairs or formats != LABELLED)


def _flags(names: str) -> str:
    return " or ".join(f"`{PARAMS[name].flag}`" for name in names.split("|"))


def _commands(_: Link, name: str) -> str:
    """The commands of a trainer's declaration."""
    trainer = TRAINERS[name]
    return "\n\n".join(
        f"{example.title}:\n\n{block(command(f'--trainer {example.trainer or name} {example.flags}'))}"
        for example in trainer.examples
    )


def _findings(link: Link, *codes: str) -> str:
    """Findings with what is wrong and what to do, each with a link to its section."""
    from autotrain_llm.checks.rules.every import every_rule

    rules = every_rule()
    rows = []
    for code in codes:
        what, fix = paragraphs_of(rules[code])
        rows.append((f"[{code}]({link(RULES, heading(rules[code]))})", rules[code].severity, what, fix))
    return table(("", "", "what is wrong", "what to do"), rows)


def _names(_: Link, tool: str) -> str:
    """The names of another tool's settings, with ours."""
    return table(("there", "here", "difference"), names_of(tool))


def _undivided(_: Link) -> str:
    """What a model that is divided among processes is not trained with, and why."""
    from autotrain_llm.planning.sharding import OBSTACLES

    flags: dict[str, list[str]] = {}
    for obstacle in OBSTACLES:
        flags.setdefault(obstacle.reason, []).append(f"`{obstacle.flag}`")
    return table(("not with", "because"), [(", ".join(named), reason) for reason, named in flags.items()])


MAKERS: dict[str, Callable[..., str]] = {
    "trainer": _trainer,
    "commands": _commands,
    "findings": _findings,
    "names": _names,
    "undivided": _undivided,
}
