"""The declaration of parameters and groups of parameters, the single source of all flags.

A group is a class whose annotated attributes are made by `param`; `@group` turns them into `Param`s. Everything else (parser, help,
config keys, schema, guide, matrix, bound checks, search spaces) is derived from these objects.
"""

from __future__ import annotations

from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.declare.text import plain, plain_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    Class = TypeVar("Class", bound=type)

KINDS = {"bool": "switch", "int": "int", "float": "float", "str": "str", "list[str]": "list", "dict[str, Any]": "json"}


class Bounds(Record):
    """The range of a parameter. It checks a value, describes itself, and gives values just outside for tests."""

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
        """The range in words, to follow "must be"."""
        if self.low is not None and self.high is not None:
            words = f"between {plain_number(self.low)} and {plain_number(self.high)}"
            excluded = [
                plain_number(end)
                for end, is_open in ((self.low, self.low_open), (self.high, self.high_open))
                if is_open
            ]
            return f"{words}, without {' and '.join(excluded)}" if excluded else words
        if self.low is not None:
            return f"above {plain_number(self.low)}" if self.low_open else f"{plain_number(self.low)} or more"
        return f"below {plain_number(self.high)}" if self.high_open else f"{plain_number(self.high)} or less"

    def bad_values(self) -> list[float]:
        """Values outside the range, one or two per bound."""
        bad: list[float] = []
        if self.low is not None:
            bad += [self.low - 1] + ([self.low] if self.low_open else [])
        if self.high is not None:
            bad += [self.high + 1] + ([self.high] if self.high_open else [])
        return bad


POSITIVE = Bounds(low=0, low_open=True)
NOT_NEGATIVE = Bounds(low=0)
AT_LEAST_ONE = Bounds(low=1)
SHARE = Bounds(low=0, high=1)
SHARE_BELOW_ONE = Bounds(low=0, high=1, high_open=True)

# What becomes of another value when a run is resumed (`on_resume`).
FIXED = "fixed"  # it is refused
TAKES_EFFECT = "takes effect"  # it is used from the checkpoint on, and the plan says so
SAME_ROWS = "same rows"  # it is refused if the rows or their tokens differ
SAME_STEP = "same step"  # it is refused if an optimizer step has another number of rows
NUMBER_OF_STEPS = "number of steps"  # it is used, and refused if the checkpoint is beyond the new last step
NO_INFLUENCE = "no influence"  # it is used, and what is trained does not depend on it
ON_RESUME = (FIXED, TAKES_EFFECT, SAME_ROWS, SAME_STEP, NUMBER_OF_STEPS, NO_INFLUENCE)


class Search(Record):
    """The search space of a parameter: a range, optionally in steps of `step`, or a list of choices."""

    low: float | None = None
    high: float | None = None
    is_log: bool = False
    choices: tuple[Any, ...] = ()
    step: float | None = None


def log(low: float, high: float) -> Search:
    """A range searched on a logarithmic scale."""
    return Search(low, high, is_log=True)


def linear(low: float, high: float) -> Search:
    """A range searched on a linear scale."""
    return Search(low, high)


def among(*choices: Any) -> Search:
    """A list of choices."""
    return Search(choices=choices)


class Meaning(Record):
    """What another tool's value stands for: `changes` are the parameters that come nearest to it, none where nothing has to be set or nothing comes near; `lost`
    says what they don't do, as a clause, and is empty where they do exactly the same."""

    changes: Mapping[str, Any] = EMPTY
    lost: str = ""


def exactly(**changes: Any) -> Meaning:
    """The changes mean the same; without any, it is what is done anyway."""
    return Meaning(changes)


def nearly(lost: str, **changes: Any) -> Meaning:
    """The changes come nearest, and `lost` says what they don't do."""
    return Meaning(changes, lost)


class Param(Record):
    """The declaration of one parameter.

    What a user reads and types:
        name: the field and the config key. kind: switch, int, float, str, list or json. nullable: None is allowed.
        choices, within: the allowed values. also: other values with a special meaning (`-1` for automatic), numbers or words.
        aliases: other tools' names for it, separated by spaces; choice_aliases: their words for a choice, by choice. Both mean the
        same in the same unit, and are refused with the name to use here. meanings: what other values of theirs stand for, by the words of a
        value, one of which may end in `*`; what is lost is said, and a meaning with a loss is shown and never put in its place. spellings: other names that are accepted for it, separated by
        spaces; replaced_choices: earlier names of choices, with the current ones, which are still accepted.
        metavar: the placeholder of the value in help. default_words: the default in words, if its value is not clear.
        required: has no default but is annotated without None, because a rule refuses the run if it is missing.
        alternative: required too, unless this other parameter is given.
        usual: what most runs set, so that the short help explains it.
        secret: never printed or written. variable: the environment variable that is read in its place.
        command: an option of the command and not of the training, so that it can't be in a sweep, or in a config file unless in_files
        is set. checking: an option that only checks, which is left out of the command that `--fix` prints.

    What checks use:
        stage: the first stage of the checks that reads it (model, rows, tokens), which is skipped if its value is invalid.
        path: it may be a path: "input" is read by the run, "output" is written or resumed.
        form: a regular expression that each of its values matches; what another tool's flag was given is taken over only if it does.
        suggested: the fix for a value outside `within`. never: the changes that 0 and numbers below stand for where other tools read them as
        never or without a limit. nothing: words that stand for None, separated by spaces. usual_range: values outside it trigger a warning; the default is the range
        of `search`.
        counterparts: parameters that other trainers read in its place; same_elsewhere: those of them that mean the same in the same unit.
        used_by_inference: has an effect with `--inference`. answering: is a parameter of commands that answer prompts alone; in other
        commands, where it can mean several things, its name is answered as another tool's.
        on_resume: what becomes of another value when a run is resumed, one of ON_RESUME. Without it the group's is used.

    Sweeps and saved plans:
        search: the usual search space. searchable: whether a sweep may search it. in_trials: passed on to the trials.
        in_study_name: part of the hash in the name of a study. machine_specific: a path or connection of this machine; it may differ
        from a saved plan, and between the machines of a sweep.
    """

    default: Any
    help: str
    name: str = ""
    kind: str = "str"
    nullable: bool = False
    choices: tuple[str, ...] = ()
    within: Bounds | None = None
    also: tuple[Any, ...] = ()
    aliases: str = ""
    choice_aliases: Mapping[str, str] = EMPTY
    meanings: Mapping[str, Meaning] = EMPTY
    spellings: str = ""
    replaced_choices: Mapping[str, str] = EMPTY
    metavar: str | None = None
    default_words: str | None = None
    required: bool = False
    alternative: str = ""
    usual: bool = False
    secret: bool = False
    variable: str = ""
    command: bool = False
    in_files: bool = False
    checking: bool = False
    stage: str = ""
    path: str = ""
    form: str = ""
    suggested: Any = None
    never: Mapping[str, Any] = EMPTY
    nothing: str = ""
    usual_range: tuple[float, float] | None = None
    counterparts: tuple[str, ...] = ()
    same_elsewhere: tuple[str, ...] = ()
    used_by_inference: bool = False
    answering: bool = False
    on_resume: str = ""
    search: Search | None = None
    searchable: bool = True
    in_trials: bool = True
    in_study_name: bool = True
    machine_specific: bool = False
    group: str = ""

    @property
    def flag(self) -> str:
        return flag_of(self.name)

    def meaning_of(self, value: Any) -> Meaning | None:
        """What another tool's value stands for; None if that is not known."""
        word = str(value).strip().lower()
        for choice, words in self.choice_aliases.items():
            if word in words.split():
                return Meaning({self.name: choice})
        for words, meaning in self.meanings.items():
            if any(_is_word(word, known) for known in words.split()):
                return meaning
        return None

    @property
    def placeholder(self) -> str:
        """The placeholder of the value in help: `<ratio>`, or the choices."""
        if self.kind == "switch":
            return "|".join(f"[{word}]" for word in self.also)
        if self.choices:
            return "|".join(self.choices)
        words = "".join(f"|{value}" for value in self.also if isinstance(value, str))
        return self.metavar or {"int": "N", "float": "X", "list": "A,B", "json": "JSON"}.get(self.kind, "TEXT") + words

    @property
    def negated(self) -> str:
        """The flag that turns a switch off."""
        return "--no-" + self.flag.removeprefix("--")

    @property
    def with_variable(self) -> str:
        """What is shown of a secret in a command: its flag, with a variable of the shell."""
        return f'{self.flag} "${self.variable or self.name.upper()}"'

    def in_bounds(self, value: Any) -> bool:
        """Whether a converted value is within the bounds; None always is."""
        return value is None or self.within is None or value in self.also or self.within.contains(value)

    def default_text(self) -> str:
        """The default as shown in help and guide; empty if there is none."""
        if self.default_words is not None:
            return self.default_words
        if self.default is None:
            return ""
        if self.kind == "switch":
            return "on" if self.default else "off"
        return plain(self.default)


def _is_word(word: str, known: str) -> bool:
    return word.startswith(known[:-1]) if known.endswith("*") else word == known


def flag_of(name: str) -> str:
    """The flag of a parameter: `dpo_beta` is `--dpo-beta`."""
    return "--" + name.replace("_", "-")


def param(default: Any, help: str, **attributes: Any) -> Any:
    """Declare a parameter as the value of an annotated attribute of a group; `attributes` are fields of `Param`."""
    return Param(default, help, **attributes)


class Group(Record):
    """A titled set of parameters. The group of a mixin names the `switch` that turns it on; `available` is whether it is implemented.

    `subject` is the name of a mixin in messages ("Distillation"). `misused` is the severity of using it with a trainer that does not support
    it. `searchable` is False for model, data and evaluation, which are the same for all trials of a sweep. `recipe` is `module:Class` in
    `run/algorithms`: the wrapper with which a mixin changes a trainer's recipe.
    """

    name: str
    title: str
    params: tuple[Param, ...]
    order: int
    switch: str | None = None
    subject: str = ""
    misused: str = "warning"
    available: bool = True
    searchable: bool = True
    summary: str = ""
    recipe: str | None = None
    on_resume: str = ""


def group(
    title: str,
    *,
    order: int = 500,
    switch: str | None = None,
    subject: str = "",
    misused: str = "warning",
    available: bool = True,
    searchable: bool = True,
    recipe: str | None = None,
    on_resume: str = "",
) -> Callable[[Class], Class]:
    """Declare a class of parameters as a group; `order` is its position in help and guide."""

    def read(cls: Class) -> Class:
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        spec = Group(
            cls.__name__, title, (), order, switch, subject, misused, available, searchable, summary, recipe, on_resume
        )
        params = tuple(
            _completed(getattr(cls, name), name, annotation, spec) for name, annotation in cls.__annotations__.items()
        )
        spec = spec.replace(params=params)
        cls.GROUP = spec  # type: ignore[attr-defined]
        return cls

    return read


def group_of(cls: type) -> Group:
    """The group that `@group` has made of a class."""
    spec: Group = cls.GROUP  # type: ignore[attr-defined]
    return spec


def _completed(param: Param, name: str, annotation: str, group: Group) -> Param:
    """The parameter with the fields that follow from its annotation and its group."""
    parts = [part.strip() for part in annotation.split("|")]
    return param.replace(
        name=name,
        kind=KINDS[parts[0]],
        nullable="None" in parts or param.required,
        searchable=param.searchable
        and group.searchable
        and not (param.command or param.secret or name == group.switch),
        group=group.name,
        on_resume=param.on_resume or group.on_resume,
    )
