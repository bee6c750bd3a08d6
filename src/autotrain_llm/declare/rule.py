"""The declaration of a rule: one kind of finding, with its code, severity, documentation and example.

A rule is a generator function whose arguments declare what it reads. An argument annotated with a group of parameters (`lora: Lora`) gets
the configuration as that group; the others are passed by name: `config`, `trainer`, `machine`, `output`, `model`, `context`, `plan`.
They determine when the rule runs. Findings of a parser or loader (of a flag, a file, a row) are declared with `declare_finding`; that code
then calls the declaration's `finding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from autotrain_llm.declare.example import SFT, Example
from autotrain_llm.declare.finding import ERROR, Finding
from autotrain_llm.declare.record import EMPTY, Record

SPELT = {
    "bertscore": "BERTScore",
    "cuda": "CUDA",
    "exo": "EXO",
    "gpu": "GPU",
    "gpus": "GPUs",
    "hub": "Hub",
    "json": "JSON",
    "kl": "KL",
    "kto": "KTO",
    "latin": "Latin",
    "lora": "LoRA",
    "rouge": "ROUGE",
    "trl": "TRL",
    "utf8": "UTF-8",
    "vllm": "vLLM",
}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

RuleFunction = Callable[..., Iterator[Finding]]


class Rule(Record):
    """One kind of finding.

    `refuses` and `accepts` are flags that trigger it and flags that don't; if flags are not enough, `example` has both commands and their
    files. The other fields say how a finding affects later checks:

    `blocks` is what can't be checked after it ("trainer", "config", "output", "model"); with `mistyped`, its parameters count as given, so
    that they are not reported as missing; with `suggests`, other rules check the values that it suggests in place of the given ones;
    `value_alone` rules do not depend on other parameters; `inference` rules are also checked with `--inference`; `roles` are the uses of a
    model that a rule of models/checks applies to (none: every use); a finding is left out if a code in `follows_from` is reported too.

    `varies`: each of its findings says for itself whether it is an error, which the severity does not; otherwise only that it is a warning.
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
    varies: bool = False

    @property
    def name(self) -> str:
        """The function's name as a sentence; empty if there is no function."""
        return " ".join(SPELT.get(word, word) for word in self.function.__name__.split("_")) if self.function else ""

    @property
    def subject(self) -> str:
        """The module that defines the function: `lora`, `sweep`."""
        return self.function.__module__.rpartition(".")[2] if self.function else ""

    @property
    def documentation(self) -> str:
        from inspect import cleandoc

        return cleandoc(self.text or (self.function and self.function.__doc__) or "")

    @cached_property
    def needs(self) -> frozenset[str]:
        """The names of what it reads; a group of parameters counts as `config`."""
        return frozenset("config" if group else name for name, group in self.arguments.items())

    def check(self, inputs: Mapping[str, Any]) -> Iterator[Finding]:
        """Run it on the inputs that it needs. Its findings get its code and, unless they are warnings or it `varies`, its severity."""
        assert self.function is not None, f"{self.code} is reported by a parser or loader and has no function to check"
        yield from self.apply(
            **{name: inputs["config"][group] if group else inputs[name] for name, group in self.arguments.items()}
        )

    def apply(self, **inputs: Any) -> Iterator[Finding]:
        """Call its function with these arguments and yield its findings; a file that it can't read is one too."""
        assert self.function is not None
        try:
            for finding in self.function(**inputs):
                severity = finding.severity if self.varies or finding.severity != ERROR else self.severity
                yield finding.replace(code=finding.code or self.code, severity=severity)
        except OSError as problem:
            yield unreachable(problem)

    def finding(
        self, message: str, fix: str | None = None, parameters: tuple[str, ...] = (), **details: Any
    ) -> Finding:
        """A finding of this kind, for parsers and loaders. `details` are further fields of `Finding`."""
        return Finding(message, fix, parameters, **{"severity": self.severity, **details}, code=self.code)

    def commands(self) -> str:
        """The two commands of its documentation, with the files they need."""
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
    """The group of parameters that an argument is annotated with; None if it is not a group."""
    annotated = function.__globals__.get(str(function.__annotations__.get(argument)))
    return annotated if isinstance(annotated, type) and "GROUP" in vars(annotated) else None


def declare_finding(code: str, text: str, severity: str = ERROR, **attributes: Any) -> Rule:
    """Declare a finding of a parser or loader. `text` is its documentation, with `Why:` and `Fix:` as in a rule's docstring."""
    return Rule(code, severity, text=text, **attributes)


UNREACHABLE = declare_finding(
    "E422",
    """A file or folder that the run needs can't be read or looked into.

    Why: you may not read it or one of the folders above it, its disk reports an error, or it is a pipe, a socket or a device in the place of a file.
    Fix: give yourself the rights to it, or put a file in its place.
    """,
    example=Example(
        SFT + "rows.jsonl",
        SFT.replace("MODEL", "copy") + "rows.jsonl",
        before="cp -r MODEL copy",
        wrong="rm MODEL/config.json\nmkfifo MODEL/config.json",
    ),
)


def unreachable(problem: OSError) -> Finding:
    """The finding about a file or folder that can't be read, in place of the system's exception; one that names none is raised again."""
    import errno
    from pathlib import Path

    if not isinstance(problem.filename, str):
        raise problem
    path = Path(problem.filename)
    reason = (problem.strerror or str(problem)).lower()
    if problem.errno not in (errno.EACCES, errno.EPERM):
        return UNREACHABLE.finding(
            f"{path} can't be read: {reason}", "put a file that can be read in its place", file=str(path)
        )
    obstacle = _without_rights(path)
    from shlex import quote

    where = "" if obstacle == path else f" in {obstacle}"
    return UNREACHABLE.finding(
        f"{path} can't be read: {reason}{where}", f"chmod -R u+rwX {quote(str(obstacle))}", file=str(path)
    )


def _without_rights(path: Path) -> Path:
    """The first folder above a path that may not be entered; the path itself if all may."""
    import os

    return next((folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK)), path)
