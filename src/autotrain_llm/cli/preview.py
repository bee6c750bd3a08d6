"""`--preview-data N`: prepared rows as the model sees them, with trained tokens in colour, or between marks without a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import styled, wants_colour

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked

MARKS = ("⟦", "⟧")


def preview_rows(checked: Checked, screen: Screen) -> int:
    """Print the rows and the findings; nothing is trained."""
    from autotrain_llm.cli.render import findings_text
    from autotrain_llm.data.tokenize.preview import preview, rows_to_show
    from autotrain_llm.planning.summary import left_out

    prepared, tokenizer = checked.context.prepared, checked.context.tokenizer
    assert prepared is not None and tokenizer is not None  # otherwise there are errors, and the run is refused
    count = checked.config.preview_data or 0
    rows = preview(prepared, tokenizer, count)
    sources = [source for source, _ in rows_to_show(prepared, count)]
    if screen.json:
        plan = checked.plan.as_json() if checked.plan else None
        shown = [[{"text": text, "trained": trained} for text, trained in row] for row in rows]
        more: dict[str, Any] = {"preview_sources": sources} if prepared.mixture else {}
        screen.document(0, checked.findings, plan, preview=shown, **more)
        return 0
    colour = wants_colour(screen.out)
    legend = styled("trained on", "bold green", True) if colour else f"{MARKS[0]}trained on{MARKS[1]}"
    screen.answer(f"{len(rows)} of {len(prepared.train)} rows; tokens that are {legend} are marked like this.")
    if checked.plan is not None and (reason := left_out(checked.plan.data)):
        screen.answer(f"{reason[0].upper()}{reason[1:]}.")
    for index, (source, row) in enumerate(zip(sources, rows, strict=True), 1):
        title = f"row {index}" if source is None else f"row {index}, of {source}"
        screen.answer(f"\n{styled(title, 'bold', colour)}\n{row_text(row, colour)}")
    screen.write(findings_text(checked.findings, screen.err))
    return 0


def row_text(row: Sequence[tuple[str, bool]], colour: bool) -> str:
    """One row as text; control characters are escaped."""
    parts = []
    for text, trained in row:
        visible = "".join(letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1] for letter in text)
        if not trained:
            parts.append(visible)
        elif colour:
            parts.append(styled(visible, "bold green", True))
        else:
            parts.append(MARKS[0] + visible + MARKS[1])
    return "".join(parts)
