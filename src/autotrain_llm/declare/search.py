"""Parse a search space as users write it into a `Search`.

Accepts `[2, 4, 8]`, `[1e-5, 1e-3, "log"]`, `{"low": 1e-5, "high": 1e-3, "log": true}` with `min` and `max` for the ends, `{"values": [...]}`
and the keys of Weights & Biases (`distribution`, `q`, `value`).
"""

from __future__ import annotations

from autotrain_llm.declare.convert import BadValue, convert
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Search
from autotrain_llm.declare.text import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from autotrain_llm.declare.param import Param

Fault = tuple[str, str | None]  # what is wrong, and what to write instead

SHOWN_RANGE = '{"type": "float", "low": 1e-6, "high": 1e-4, "log": true}'
KEYS = ("type", "distribution", "low", "high", "min", "max", "log", "scale", "step", "q", "choices", "values", "value")
# The third item of a list with two bounds: the scale of the range.
SCALES = {"log": True, "linear": False, "uniform": False, "int": False, "float": False}
# Names of kinds of ranges, and whether the range is logarithmic.
RANGES = {
    "float": False,
    "int": False,
    "uniform": False,
    "int_uniform": False,
    "q_uniform": False,
    "loguniform": True,
    "log_uniform_values": True,
    "q_log_uniform_values": True,
}
CHOICES = ("categorical", "choice", "constant")


class Form:
    """A parsed space before its values are converted: a range, or choices."""

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None
        self.step: Any = None
        self.is_log = False
        self.choices: list[Any] | None = None


def read_space(param: Param, space: Any) -> tuple[Search | None, list[Fault]]:
    """Parse a space and convert its values; None with the faults if it is invalid."""
    form, faults = _form(param, space)
    if form is None:
        return None, faults
    if form.choices is not None:
        return _choices(param, form.choices)
    return _range(param, form)


def _form(param: Param, space: Any) -> tuple[Form | None, list[Fault]]:
    if isinstance(space, list | tuple):
        return _list(param, list(space)), []
    if isinstance(space, dict):
        return _dict(space)
    return None, [(f"{space!r} is neither a list of choices nor a range", SHOWN_RANGE)]


def _list(param: Param, items: list[Any]) -> Form:
    form = Form()
    if param.kind in ("int", "float") and len(items) == 3 and items[-1] in SCALES:
        form.low, form.high, scale = items
        form.is_log = SCALES[scale]
    else:
        form.choices = items
    return form


def _dict(space: dict[str, Any]) -> tuple[Form | None, list[Fault]]:
    faults = [_unknown_key(key) for key in space if key not in KEYS]
    word = space.get("type", space.get("distribution"))
    form = Form()
    if word == "log_uniform":
        faults.append(('the ends of "log_uniform" are exponents', '"log_uniform_values", whose ends are values'))
    elif word is not None and word not in RANGES and word not in CHOICES:
        faults.append((f"{word!r} is not a kind of space", f"one of {', '.join((*RANGES, *CHOICES))}"))
    if faults:
        return None, faults
    if any(key in space for key in ("choices", "values", "value")):
        choices = space.get("choices", space.get("values", [space.get("value")]))
        form.choices = choices if isinstance(choices, list) else None
        return (form, []) if form.choices is not None else (None, [(f"{choices!r} is not a list of choices", None)])
    form.low, form.high = space.get("low", space.get("min")), space.get("high", space.get("max"))
    form.step = space.get("step", space.get("q"))
    form.is_log = bool(space.get("log")) or space.get("scale") == "log" or RANGES.get(str(word), False)
    if form.low is None or form.high is None:
        return None, [(f"{space!r} is neither a list of choices nor a range", SHOWN_RANGE)]
    return form, []


def _unknown_key(key: str) -> Fault:
    close = nearest(key, KEYS)
    return f"{key!r} is not a key of a search space", f'"{close}"' if close else None


def _choices(param: Param, raw: list[Any]) -> tuple[Search | None, list[Fault]]:
    if not raw:
        return None, [("the list of choices is empty", None)]
    values, faults = _converted(param, raw)
    return (None, faults) if faults else (Search(choices=tuple(dict.fromkeys(values))), [])


def _range(param: Param, form: Form) -> tuple[Search | None, list[Fault]]:
    if param.kind not in ("int", "float"):
        return None, [(f"{param.flag} is not a number, so it has no range", "a list of choices")]
    ends, faults = _converted(param, [form.low, form.high])
    if faults:
        return None, faults
    low, high = ends
    faults = list(_faults_of_range(param, form, low, high))
    if faults:
        return None, faults
    step = form.step if form.step is None or param.kind == "float" else int(form.step)
    return Search(low, high, is_log=form.is_log, step=step), []


def _faults_of_range(param: Param, form: Form, low: float, high: float) -> Iterator[Fault]:
    if low >= high:
        yield f"low {low:g} is not below high {high:g}", f'"low": {high:g}, "high": {low:g}'
    if form.is_log and low <= 0:
        yield f"a logarithmic range must begin above 0, got {low:g}", '"log": false, or a "low" above 0'
    if form.step is None:
        return
    if isinstance(form.step, bool) or not isinstance(form.step, int | float) or not form.step > 0:
        yield f"a step must be a number above 0, got {form.step!r}", None
    elif form.is_log:
        yield "a logarithmic range has no steps", f'remove "step": {form.step:g}'
    elif param.kind == "int" and form.step != int(form.step):
        yield f"the step of a whole number must be whole, got {form.step:g}", None


def _converted(param: Param, raw: list[Any]) -> tuple[list[Any], list[Fault]]:
    values, faults = [], []
    for value in raw:
        fault = _fault_of_value(param, value)
        if fault:
            faults.append(fault)
        else:
            values.append(convert(param, value))
    return values, faults


def _fault_of_value(param: Param, value: Any) -> Fault | None:
    if isinstance(value, str) and param.kind in ("int", "float"):
        return f"{value!r} is a string where a number belongs", f"{value} without quotes"
    try:
        converted = convert(param, value)
    except BadValue as fault:
        return f"a value must be {fault}, got {value!r}", None
    if converted is None:
        return None
    if param.within and not param.in_bounds(converted):
        return f"{value!r} can't be tried: {param.flag} must be {param.within.describe()}", None
    if param.choices and converted not in param.choices:
        return f"{value!r} can't be tried: {param.flag} is one of {', '.join(param.choices)}", None
    return None


def read_search(space: dict[str, Any]) -> Search:
    """The search space in a plan's JSON."""
    return Search(
        space.get("low"),
        space.get("high"),
        is_log=bool(space.get("log")),
        choices=tuple(space.get("choices", ())),
        step=space.get("step"),
    )


def describe(search: Search) -> str:
    """A space in words: `1e-5 to 1e-3, log`, `2, 4 or 8`."""
    if search.choices:
        *most, last = [plain(choice) for choice in search.choices]
        return f"{', '.join(most)} or {last}" if most else last
    assert search.low is not None and search.high is not None
    words = f"{plain(search.low)} to {plain(search.high)}"
    return words + (", log" if search.is_log else "") + (f", in steps of {plain(search.step)}" if search.step else "")
