"""`Record`: a frozen value with named fields.

A minimal frozen dataclass: importing `dataclasses` and generating the methods of the declarations' classes would take longer than everything
else that `--help` does.
"""

from __future__ import annotations

from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


EMPTY: Mapping[Any, Any] = MappingProxyType({})


@dataclass_transform(frozen_default=True)
class Record:
    """Fields are the annotated names of a subclass, in order; an assigned value is the default."""

    if TYPE_CHECKING:
        _fields: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    if not TYPE_CHECKING:  # a type checker derives the arguments from the fields

        def __init__(self, *positional, **named):
            values = dict(zip(self._fields, positional, strict=False), **named)
            missing = [name for name in self._fields if name not in values and not hasattr(type(self), name)]
            if missing or len(positional) > len(self._fields) or not values.keys() <= set(self._fields):
                raise TypeError(f"{type(self).__name__} has the fields {self._fields}, got {values}")
            self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self._values(), strict=True))
        return f"{type(self).__name__}({fields})"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def replace(self, **changes: Any) -> Self:
        """A copy with changed fields."""
        return type(self)(**{**self.as_dict(), **changes})

    def as_dict(self) -> dict[str, Any]:
        """Fields and their values."""
        return dict(zip(self._fields, self._values(), strict=True))
