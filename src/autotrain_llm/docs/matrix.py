"""The compatibility matrix, every parameter with every trainer: a chapter of the parameter guide."""

from __future__ import annotations

from autotrain_llm.config.registry import GROUPS, TRAINERS
from autotrain_llm.docs.cells import LEGEND, state
from autotrain_llm.docs.markdown import GENERATED, anchor, table

CHAPTER = "Compatibility matrix"


def matrix() -> str:
    """A table for each group of parameters."""
    legend = "\n".join(f"- {sign} {words}" for sign, words in LEGEND.values())
    parts = [legend]
    head = ["Parameter", *(trainer.name for trainer in TRAINERS.values())]
    for group in GROUPS:
        title = group.title if group.available else f"{group.title} (not available yet)"
        rows = [
            [f"`{param.flag}`", *(LEGEND[state(param, trainer)][0] for trainer in TRAINERS.values())]
            for param in group.params
        ]
        parts += [f"### {title} by trainer", table(head, rows, centred=1)]
    parts.append(
        "`--epochs` and `--max-steps` satisfy the same requirement: either is enough. Trainers that are not implemented yet are checked too."
    )
    return "\n\n".join(parts)


def compatibility() -> str:
    """docs/compatibility.md: where the matrix is."""
    place = f"[{CHAPTER}](../PARAMETER_GUIDE.md{anchor(CHAPTER)})"
    return f"{GENERATED}\n\n# Which parameter goes with which trainer\n\nIn the parameter guide: {place}.\n"
