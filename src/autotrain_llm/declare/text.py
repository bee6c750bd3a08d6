"""Format numbers, sizes, durations and values as text, for findings, plan, progress, report and model card."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def plain(value: Any) -> str:
    """A value as a person types it: 2e-5, true, a,b."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not abs(value) < float("inf"):  # infinite, or not a number
            return str(value)
        if value == int(value) and abs(value) < 1e6:
            return f"{value:.1f}"
        if abs(value) >= 0.001:
            return f"{value:g}".replace("e+0", "e")
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    if isinstance(value, list | tuple):
        return ",".join(plain(item) for item in value)
    return str(value)


def exact(value: Any) -> str:
    """The same, with every digit of a number."""
    text = plain(value)
    return repr(value) if isinstance(value, float) and float(text) != value else text


def without_point(value: Any) -> Any:
    """A whole number without its point; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else value


def as_list(value: Any) -> Any:
    """A tuple as a list, as documents have it; any other value as it is."""
    return list(value) if isinstance(value, tuple) else value


def as_tuple(value: Any) -> Any:
    """A list as a tuple, as configurations have it; any other value as it is."""
    return tuple(value) if isinstance(value, list) else value


def plural(count: int, word: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def show_bytes(number: int) -> str:
    """`512 MiB`, `23.6 GiB`."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def show_count(number: int | None) -> str:
    """A number of parameters: `985K`, `1.2B`."""
    if number is None:
        return "an unknown number of"
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def duration(seconds: object) -> str:
    """`42.0 s`, `3 min 20 s`, `2 h 5 min`; a dash if it is not known."""
    if not isinstance(seconds, int | float):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain_number(value: Any) -> str:
    """A number without a superfluous `.0`: 3, 0.1, 2e-05."""
    return f"{value:g}" if isinstance(value, float) else str(value)
