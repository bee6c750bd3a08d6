"""The given values of one source (command line, config files, preset), and where each of them was written."""

from __future__ import annotations

from autotrain_llm.declare.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Origin(Record):
    """`file` is the config file that sets a value, `written` the name under which it was given if that is another than ours, and `preset` the
    preset that sets it."""

    file: str | None = None
    written: str | None = None
    preset: str | None = None


class Layer(Record):
    """The converted values of one source by parameter, and the origins of those that have one."""

    values: Mapping[str, Any] = EMPTY
    origins: Mapping[str, Origin] = EMPTY


NOWHERE = Origin()
NO_LAYER = Layer()
