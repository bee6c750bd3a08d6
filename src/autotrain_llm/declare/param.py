"""A parameter and a group of parameters: the one place where a flag is written down.

A group is a class whose annotated attributes are made by `param`; `@group` turns them into `Param`s. Everything else (parser, help,
config keys, schema, guide, matrix, bound checks, search spaces) is read from these objects.
"""

from __future__ import annotations

from autotrain_llm.declare.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    Class = TypeVar("Class", bound=type)

KINDS = {"bool": "switch", "int": "int", "float": "float", "str": "str", "list[str]": "list", "dict": "json"}


class Bounds(Record):
    """The numbers a parameter may have; can check one, describe itself, and name values just outside, for tests."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def contains(self, value: float) -> bool:
        if value != value:  # not a number
            return False
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below

    def describe(self) -> str:
        """Words that follow "must be"."""
        if self.low is not None and self.high is not None:
            words = f"between {_number(self.low)} and {_number(self.high)}"
            left_out = [
                _number(end) for end, is_open in ((self.low, self.low_open), (self.high, self.high_open)) if is_open
            ]
            return f"{words}, without {' and '.join(left_out)}" if left_out else words
        if self.low is not None:
            return f"above {_number(self.low)}" if self.low_open else f"{_number(self.low)} or more"
        return f"below {_number(self.high)}" if self.high_open else f"{_number(self.high)} or less"

    def bad_values(self) -> list[float]:
        """Values outside, one or two for each bound."""
        bad: list[float] = []
        if self.low is not None:
            bad += [self.low - 1] + ([self.low] if self.low_open else [])
        if self.high is not None:
            bad += [self.high + 1] + ([self.high] if self.high_open else [])
        return bad


def _number(value: float | None) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


POSITIVE = Bounds(low=0, low_open=True)
NOT_NEGATIVE = Bounds(low=0)
AT_LEAST_ONE = Bounds(low=1)
SHARE = Bounds(low=0, high=1)
SHARE_BELOW_ONE = Bounds(low=0, high=1, high_open=True)


class Search(Record):
    """Where a sweep looks for a parameter's value: a range, in steps where `step` is given, or a list of choices."""

    low: float | None = None
    high: float | None = None
    is_log: bool = False
    choices: tuple[Any, ...] = ()
    step: float | None = None


def log(low: float, high: float) -> Search:
    """A range searched on a logarithmic scale."""
    return Search(low, high, is_log=True)


def linear(low: float, high: float) -> Search:
    """A range searched evenly."""
    return Search(low, high)


def among(*choices: Any) -> Search:
    """A handful of values."""
    return Search(choices=choices)


class Param(Record):
    """One parameter. `name` is the field and config key, `flag` what is typed; `kind` one of switch, int, float, str, list, json."""

    default: Any
    help: str
    name: str = ""
    kind: str = "str"
    nullable: bool = False
    choices: tuple[str, ...] = ()
    within: Bounds | None = None
    also: tuple[Any, ...] = ()
    search: Search | None = None
    metavar: str | None = None
    default_words: str | None = None
    secret: bool = False
    command: bool = False
    required: bool = False
    replaced_choices: Mapping[str, str] = EMPTY
    group: str = ""

    @property
    def flag(self) -> str:
        return flag_of(self.name)

    @property
    def placeholder(self) -> str:
        """What stands for the value in help: `<ratio>`, or the choices."""
        if self.kind == "switch":
            return ""
        if self.choices:
            return "|".join(self.choices)
        return self.metavar or {"int": "N", "float": "X", "list": "A,B", "json": "JSON"}.get(self.kind, "TEXT")

    def in_bounds(self, value: Any) -> bool:
        """Whether a converted value breaks no bound; None is of no size."""
        return value is None or self.within is None or value in self.also or self.within.contains(value)

    def default_text(self) -> str:
        """The default as a reader of help or guide wants it; empty when there is none."""
        if self.default_words is not None:
            return self.default_words
        if self.default is None:
            return ""
        if self.kind == "switch":
            return "on" if self.default else "off"
        return plain(self.default)


def flag_of(name: str) -> str:
    """What is typed for a parameter: `dpo_beta` is `--dpo-beta`."""
    return "--" + name.replace("_", "-")


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


def param(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    within: Bounds | None = None,
    also: tuple[Any, ...] = (),
    search: Search | None = None,
    metavar: str | None = None,
    default_words: str | None = None,
    secret: bool = False,
    command: bool = False,
    required: bool = False,
    replaced_choices: Mapping[str, str] | None = None,
) -> Any:
    """Declare a parameter as the value of an annotated attribute of a group.

    `also` are values outside `within` that mean something (`-1` for automatic); `command` marks what steers this one command and is
    no setting of the training, so that a config file or a sweep can't hold it; `required` parameters have no default and are
    annotated without None, because nothing that reads them runs before a rule has asked for them; `replaced_choices` maps a choice that others' commands
    still use to today's name.
    """
    return Param(
        default=default,
        help=help,
        choices=choices,
        within=within,
        also=also,
        search=search,
        metavar=metavar,
        default_words=default_words,
        secret=secret,
        command=command,
        required=required,
        replaced_choices=replaced_choices or EMPTY,
    )


class Group(Record):
    """A titled set of parameters. A mixin's group names the `switch` that turns it on and whether it can be carried out yet.

    `subject` is what a mixin is called in messages ("Distillation"). `misused` is how grave it is to switch it on where it can't work.
    """

    name: str
    title: str
    params: tuple[Param, ...]
    order: int
    switch: str | None = None
    subject: str = ""
    misused: str = "warning"
    available: bool = True
    summary: str = ""


def group(
    title: str,
    *,
    order: int = 500,
    switch: str | None = None,
    subject: str = "",
    misused: str = "warning",
    available: bool = True,
) -> Callable[[Class], Class]:
    """Make a class of parameters a group; `order` is its place in help and guide."""

    def read(cls: Class) -> Class:
        params = tuple(
            _named(getattr(cls, name), name, annotation, cls.__name__)
            for name, annotation in cls.__annotations__.items()
        )
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        spec = Group(cls.__name__, title, params, order, switch, subject, misused, available, summary)
        cls.GROUP = spec  # type: ignore[attr-defined]
        return cls

    return read


def _named(param: Param, name: str, annotation: str, group_name: str) -> Param:
    parts = [part.strip() for part in annotation.split("|")]
    kind = KINDS[parts[0]]
    return param.replace(name=name, kind=kind, nullable="None" in parts or param.required, group=group_name)
