"""Presets: parameters for a purpose, as YAML files of this package in `presets/`, each value with its reason.

A preset stands below the command line and config files. The value `usual` follows from the trainer, and what the trainer does not read is
left out, as is what has no effect because its switch is off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.layers import Layer, Origin
from autotrain_llm.config.registry import GROUP, PARAMS, READS, REFUSED, TRAINERS, verdict
from autotrain_llm.declare.document import load_yaml
from autotrain_llm.declare.finding import typed
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.trainer import Trainer

FOLDER = Path(__file__).parent.parent / "presets"
USUAL = "usual"


class Setting(Record):
    """A parameter that a preset sets, and why. The value `usual` is the trainer's."""

    name: str
    value: Any
    why: str


class Preset(Record):
    """A preset: what it is for, what it sets, and the trainers that it is made for (none: every trainer)."""

    name: str
    title: str
    purpose: str
    settings: tuple[Setting, ...]
    trainers: tuple[str, ...] = ()

    def unread(self, trainer: Trainer) -> tuple[str, ...]:
        """The parameters that it sets and this trainer does not read."""
        names = [setting.name for setting in self.settings]
        return tuple(name for name in names if verdict(PARAMS[name], trainer) not in (READS, REFUSED))

    @property
    def values(self) -> dict[str, Any]:
        """The values as written, by parameter."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def trainer(self) -> Trainer:
        """The trainer of a command with nothing but the preset."""
        return TRAINERS[self.values.get("trainer") or (self.trainers or (PARAMS["trainer"].default,))[0]]

    def usual(self, name: str) -> Any:
        """The value that `usual` stands for with its own trainer."""
        return meaning_of_usual(name, self.trainer, bool(self.values.get("peft")))

    def command(self) -> str:
        """A command that starts from the preset."""
        model = "runs/sft@best" if self.trainer.rows == "preferences" else "Qwen/Qwen2.5-0.5B-Instruct"
        teacher = " --teacher-model Qwen/Qwen2.5-7B-Instruct" if "use_distillation" in self.values else ""
        required = [name for name in self.trainer.requires if name in self.trainer.usual and name not in self.values]
        columns = "".join(f" {typed(name, self.usual(name))}" for name in required)
        trainer = f" --trainer {self.trainer.name}" if "trainer" in self.values else ""
        gpu = " --target-memory 24GiB --dry-run" if "quantization" in self.values else ""
        start = f"autotrain llm --preset {self.name}{trainer} --model {model}"
        return f"{start} --data-path ./data/train.jsonl{teacher}{columns}{gpu}"

    def as_json(self) -> dict[str, Any]:
        """The preset as `--format json` has it; `usual` stands for the trainer's usual value."""
        settings = {setting.name: {"value": setting.value, "why": setting.why} for setting in self.settings}
        return {
            "name": self.name,
            "title": self.title,
            "purpose": self.purpose,
            "trainers": list(self.trainers),
            "set": settings,
        }


@cache
def read_preset(name: str) -> Preset:
    """One of the presets of this package, by name."""
    document = load_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    settings = tuple(Setting(key, item["value"], item["why"]) for key, item in document["set"].items())
    return Preset(name, document["title"], document["purpose"], settings, tuple(document.get("trainers", ())))


def every_preset() -> tuple[Preset, ...]:
    return tuple(read_preset(name) for name in PARAMS["preset"].choices)


def preset_layer(name: str, above: Sequence[Layer]) -> Layer:
    """The values of a preset below these layers, of which the first has the highest precedence."""
    preset = read_preset(name)
    settings = preset.values
    given = {key: value for layer in reversed(above) for key, value in layer.values.items()}
    trainer = TRAINERS.get(given.get("trainer", settings.get("trainer", "")), TRAINERS[PARAMS["trainer"].default])
    lora = bool(given.get("peft", settings.get("peft")))
    unread = preset.unread(trainer)
    arguments = ParsedArguments()
    for key, value in settings.items():
        switch = GROUP[PARAMS[key].group].switch
        is_off = switch not in (None, key) and not given.get(switch, settings.get(switch))
        if key not in unread and not is_off and not _has_alternative(key, given):
            arguments.set(key, meaning_of_usual(key, trainer, lora) if value == USUAL else value)
    return Layer(arguments.values, dict.fromkeys(arguments.values, Origin(preset=name)))


def _has_alternative(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a parameter is given that stands for this one: `--max-steps` in place of `--epochs`."""
    others = [PARAMS[name].alternative, *(param.name for param in PARAMS.values() if param.alternative == name)]
    return any(other in given for other in others)


def meaning_of_usual(name: str, trainer: Trainer, lora: bool) -> Any:
    """What `usual` stands for. A sweep searches the learning rate around the trainer's usual one."""
    if name == "sweep_params":
        rate = trainer.usual["lr"].value(lora)
        return {"lr": {"low": rate / 10, "high": rate * 10, "log": True}}
    return trainer.usual[name].value(lora)
