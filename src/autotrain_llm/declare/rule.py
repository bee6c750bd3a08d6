"""What a rule is: one kind of finding, with its code, severity, documentation and example, and where it can, the function that makes it.

A rule is a generator function whose arguments say what it reads. An argument annotated with a group of parameters (`lora: Lora`) is given
the configuration as that group; any other is given by its name: `config`, `trainer`, `machine`, `output`, `model`, `context`, `plan`.
What it reads decides when it runs. A finding of code that reads something (a flag, a file, a row) is declared with `declare_finding`, and the
code that reads calls the declaration's `finding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from autotrain_llm.declare.example import Example
from autotrain_llm.declare.finding import ERROR, Finding
from autotrain_llm.declare.record import EMPTY, Record

SPELT = {"cuda": "CUDA", "gpu": "GPU", "gpus": "GPUs", "json": "JSON", "lora": "LoRA", "trl": "TRL"}
RuleFunction = Callable[..., Iterator[Finding]]


class Rule(Record):
    """One kind of finding.

    `refuses` and `accepts` are flags that trigger it and flags that don't; where flags are not enough, `example` has both commands and their
    files. The rest says what a finding means for the checks that come after it:

    `blocks` is what can't be checked once it is there ("trainer", "config", "output", "model"); `mistyped` parameters were given, in a way
    that is wrong, so that they are not missing; `suggests` means that its changes are what the user meant, so that other rules judge those;
    `value_alone` rules hold whatever else is given; `inference` rules are also checked with `--inference`; `roles` are the uses of a model
    that a rule of models/checks looks at (none: every use); a finding that only `follows_from` another code is left out beside it.
    """

    code: str
    severity: str
    function: RuleFunction | None = None
    arguments: Mapping[str, type | None] = EMPTY
    text: str = ""
    refuses: str = ""
    accepts: str = ""
    example: Example | None = None
    blocks: str = ""
    mistyped: bool = False
    suggests: bool = False
    value_alone: bool = False
    inference: bool = False
    roles: tuple[str, ...] = ()
    follows_from: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name as the sentence that it is; empty where there is no function."""
        return " ".join(SPELT.get(word, word) for word in self.function.__name__.split("_")) if self.function else ""

    @property
    def subject(self) -> str:
        """The file that the function stands in: `lora`, `sweep`."""
        return self.function.__module__.rpartition(".")[2] if self.function else ""

    @property
    def documentation(self) -> str:
        from inspect import cleandoc

        return cleandoc(self.text or (self.function and self.function.__doc__) or "")

    @property
    def needs(self) -> frozenset[str]:
        """What it reads, by name; a group of parameters is the configuration."""
        return frozenset("config" if group else name for name, group in self.arguments.items())

    def check(self, inputs: Mapping[str, Any]) -> Iterator[Finding]:
        """Run it on what is known. Its findings carry its code and, unless they are warnings already, its severity."""
        assert self.function is not None, f"{self.code} is found while reading, and has nothing to check"
        yield from self.apply(
            **{name: inputs["config"][group] if group else inputs[name] for name, group in self.arguments.items()}
        )

    def apply(self, **inputs: Any) -> Iterator[Finding]:
        """Its function's findings on these facts."""
        assert self.function is not None
        for finding in self.function(**inputs):
            severity = finding.severity if finding.severity != ERROR else self.severity
            yield finding.replace(code=finding.code or self.code, severity=severity)

    def finding(
        self, message: str, fix: str | None = None, parameters: tuple[str, ...] = (), **details: Any
    ) -> Finding:
        """A finding of this kind, for code that makes it while it reads. `details` are further fields of `Finding`."""
        return Finding(message, fix, parameters, **{"severity": self.severity, **details}, code=self.code)

    def commands(self) -> str:
        """The two commands of its page, with the files they need, as they are typed."""
        if self.example is not None:
            return self.example.shown()
        return f"# triggers it\nautotrain llm {self.refuses}\n# does not\nautotrain llm {self.accepts}"


def rule(
    code: str, severity: str = ERROR, *, refuses: str = "", accepts: str = "", **attributes: Any
) -> Callable[[RuleFunction], RuleFunction]:
    """Declare a generator function as a rule. `attributes` are further fields of `Rule`."""

    def declare(function: RuleFunction) -> RuleFunction:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        arguments = {name: _group(function, name) for name in names}
        function.RULE = Rule(  # type: ignore[attr-defined]
            code, severity, function, arguments, refuses=refuses, accepts=accepts, **attributes
        )
        return function

    return declare


def _group(function: RuleFunction, argument: str) -> type | None:
    """The group of parameters that an argument is annotated with; None where it is something else."""
    annotated = function.__globals__.get(str(function.__annotations__.get(argument)))
    return annotated if isinstance(annotated, type) and "GROUP" in vars(annotated) else None


def declare_finding(code: str, text: str, severity: str = ERROR, **attributes: Any) -> Rule:
    """Declare a finding that is made where something is read: `text` says what it is, with `Why:` and `Fix:` as a docstring does."""
    return Rule(code, severity, text=text, **attributes)
