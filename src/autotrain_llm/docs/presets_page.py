"""docs/presets.md: what each preset is for, what it sets, and why."""

from __future__ import annotations

from autotrain_llm.config.presets import USUAL, Preset, every_preset
from autotrain_llm.declare.finding import typed
from autotrain_llm.docs.markdown import GENERATED, block, table

INTRODUCTION = """\
A preset is a set of parameters for a purpose. `--preset NAME` starts from it, also as `preset: NAME` in a config file; flags and the config file take
precedence over what it sets, and it over the defaults. The plan shows `preset NAME` as the source of each value that comes from it, and in `--format json` and
`run.json` such a parameter has `"source": "preset"` and `"preset": "NAME"`. `autotrain presets` lists the presets, `autotrain presets NAME` shows one, and
`--format json` prints either for scripts.

*usual* stands for the usual value of the trainer, for full fine-tuning or for LoRA. What the trainer does not read is left out, and so is what has no effect
because its switch is off (`--no-peft`) and what a flag stands in place of (`--max-steps` in place of `--epochs`). With a trainer that a preset is not made for, a
warning says so (P131)."""


def presets() -> str:
    """The page: all presets."""
    return "\n\n".join([GENERATED, "# Presets", INTRODUCTION, *map(_section, every_preset())]) + "\n"


def _section(preset: Preset) -> str:
    trainers = ", ".join(preset.trainers) or "every trainer"
    rows = [
        (
            f"`{typed(setting.name, setting.value)}`"
            if setting.value != USUAL
            else f"`{typed(setting.name, '…')}` *usual*",
            setting.why,
        )
        for setting in preset.settings
    ]
    head = f"## {preset.name}: {preset.title}"
    command = preset.command().replace(" --", " \\\n  --")
    return "\n\n".join([head, f"{preset.purpose} For {trainers}.", table(("sets", "why"), rows), block(command)])
