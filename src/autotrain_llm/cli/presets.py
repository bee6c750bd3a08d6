"""`autotrain presets`: what each preset is for, and of one what it sets and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotrain_llm.cli.outcome import refuse
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit, fit_command, styled, wants_colour, width
from autotrain_llm.config.presets import USUAL, Preset, every_preset
from autotrain_llm.declare.finding import Finding, typed
from autotrain_llm.declare.nearest import nearest

USAGE = """\
usage: autotrain presets [NAME] [--format text|json]
       what the presets of --preset are for; with NAME, what one sets and why"""


def presets(words: Sequence[str], screen: Screen) -> int:
    """List the presets, or show the one that is named. Returns the exit status."""
    names = [word for word in words if not word.startswith("-") and word not in ("json", "text")]
    every = {preset.name: preset for preset in every_preset()}
    if len(names) > 1 or (names and names[0] not in every):
        close = nearest(names[0], every)
        fix = f"autotrain presets {close}" if close and len(names) == 1 else "autotrain presets   lists them"
        message = f"there is no preset {names[0]!r}" if len(names) == 1 else "presets takes one name"
        return refuse([Finding(message, fix, code="P132")], screen)
    chosen = [every[names[0]]] if names else list(every.values())
    if screen.json:
        screen.document(0, presets=[preset.as_json() for preset in chosen])
        return 0
    columns, colour = width(screen.out), wants_colour(screen.out)
    lines = _page(chosen[0], columns, colour) if names else _list(chosen, columns, colour)
    return screen.finish_with("\n".join(lines))


def _list(every: Sequence[Preset], columns: int, colour: bool) -> Iterator[str]:
    for preset in every:
        yield f"{styled(preset.name, 'bold cyan', colour)}: {preset.title}"
        yield from fit("  " + preset.purpose, columns, "  ")
    yield ""
    yield from fit(
        "autotrain presets NAME shows what one sets and why; autotrain llm --preset NAME starts from it.", columns
    )


def _page(preset: Preset, columns: int, colour: bool) -> Iterator[str]:
    yield styled(f"{preset.name}: {preset.title}", "bold", colour)
    yield from fit(preset.purpose, columns)
    yield from fit(f"For {', '.join(preset.trainers) or 'every trainer'}.", columns)
    yield ""
    for setting in preset.settings:
        flag = typed(setting.name, setting.value) if setting.value != USUAL else _usual(preset, setting.name)
        yield from fit("  " + styled(flag, "cyan", colour), columns, " " * 6)
        yield from fit("      " + setting.why, columns, " " * 6)
    yield ""
    yield from fit("Flags and a config file take precedence over it. For example:", columns)
    yield from fit_command(preset.command(), columns, "  ")


def _usual(preset: Preset, name: str) -> str:
    """A parameter with the usual values of the trainers that the preset is made for."""
    return f"{typed(name, preset.usual(name))}   (of {preset.trainer.name}; it follows from the trainer)"
