"""What a rule is: a code, a severity, a docstring that documents it, and a function that yields findings.

A rule is a generator function whose parameters say what it has to know, by name: `config` (typed as the group it reads), `trainer`,
and the facts `machine`, `model`, `data`, `output`, …. Which of these it asks for decides the stage at which it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from autotrain_llm.declare.finding import ERROR, Finding
from autotrain_llm.declare.record import Record

SPELT = {"cuda": "CUDA", "gpu": "GPU", "gpus": "GPUs", "json": "JSON", "lora": "LoRA", "trl": "TRL"}
RuleFunction = Callable[..., Iterator[Finding]]


class Rule(Record):
    """One rule. `refuses` and `accepts` are commands for its page of documentation: one that draws it, one that doesn't."""

    code: str
    severity: str
    function: RuleFunction
    needs: tuple[str, ...]
    refuses: str = ""
    accepts: str = ""

    @property
    def name(self) -> str:
        """The function's name as the sentence that it is."""
        return " ".join(SPELT.get(word, word) for word in self.function.__name__.split("_"))

    @property
    def documentation(self) -> str:
        from inspect import cleandoc

        return cleandoc(self.function.__doc__ or "")

    def check(self, known: dict[str, Any]) -> Iterator[Finding]:
        """Run it on what is known; findings carry its code and, unless they say otherwise, its severity."""
        for finding in self.function(**{name: known[name] for name in self.needs}):
            severity = finding.severity if finding.severity != ERROR else self.severity
            yield finding.replace(code=finding.code or self.code, severity=severity)


def rule(
    code: str, severity: str = ERROR, *, refuses: str = "", accepts: str = ""
) -> Callable[[RuleFunction], RuleFunction]:
    """Declare a generator function as a rule."""

    def declare(function: RuleFunction) -> RuleFunction:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        function.RULE = Rule(code, severity, function, names, refuses, accepts)  # type: ignore[attr-defined]
        return function

    return declare
