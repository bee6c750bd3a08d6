"""The description of one parameter in tables and lines: its value, default, bounds and trainers."""

from __future__ import annotations

from autotrain_llm.config.registry import GROUP, READS, REFUSED, TRAINERS, UNUSED, trainers_that_read, verdict
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer

REQUIRED = "required"
KIND_WORDS = {
    "switch": "switch",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "list": "names",
    "json": "JSON",
}
LEGEND = {
    REQUIRED: ("●", "required"),
    READS: ("✓", "has an effect"),
    UNUSED: ("○", "accepted without effect; a warning says so"),
    "foreign": ("–", "ignored with a warning; the run is the same as without it"),
    REFUSED: ("✗", "refused"),
}


def state(param: Param, trainer: Trainer) -> str:
    """A cell of the matrix: a key of LEGEND."""
    if any(param.name in names.split("|") for names in trainer.requires):
        return REQUIRED
    return verdict(param, trainer)


def signature(param: Param) -> str:
    """`--lr X`, with choices spelt out."""
    return f"{param.flag} {param.placeholder}".rstrip()


def default(param: Param, trainer: Trainer | None = None) -> str:
    """The default in words: the trainer's if it has one; a dash if there is none."""
    return (trainer.default_text(param) if trainer else param.default_text()) or "–"


def allowed(param: Param) -> str:
    """Choices or bounds in words; empty if every value of its kind is allowed."""
    if param.name == "trainer":
        return ", ".join(TRAINERS)
    if param.choices:
        return ", ".join(param.choices)
    if param.within is None:
        return ""
    also = f", or {', '.join(plain(value) for value in param.also)}" if param.also else ""
    return param.within.describe() + also


def readers(param: Param) -> str:
    """The trainers that read a parameter."""
    names = [trainer.name for trainer in trainers_that_read(param.name)]
    return "all" if len(names) == len(TRAINERS) else ", ".join(names)


def is_planned(param: Param) -> bool:
    """Whether the parameter belongs to a mixin that can be checked but is not implemented yet."""
    return not GROUP[param.group].available
