"""What a user said, from the command line and from a config file, before anything is layered or judged.

Both entrances turn names and raw values into parameters here, so that spelling, foreign names, switches and bad values are answered
in the same words wherever they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotrain_llm.declare.convert import FALSE, BadValue, convert, mended
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Param, flag_of, plain
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.params.compatibility import ACCEPTED, BY_TRAINER, FOREIGN, NOT_HERE, RENAMED, Accepted, meant
from autotrain_llm.registry import PARAMS
from autotrain_llm.trainers.shared import REQUIRED

COMPATIBLE: dict[str, Accepted] = {accepted.name: accepted for accepted in ACCEPTED}


class Said:
    """Values by parameter, and what was wrong with the saying of them."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self.values: dict[str, Any] = {}
        self.findings: list[Finding] = list(findings)

    def say(self, name: str, raw: Any, where: str = "", file: str | None = None) -> None:
        """Take `name` in any spelling with a raw value; `where` is how the user wrote it (`--dpo_beta`, `params.lr`)."""
        name = name.replace("-", "_")
        where = where or flag_of(name)
        name = RENAMED.get(name, name)
        if name in PARAMS:
            self._take(PARAMS[name], raw, file)
        elif name in COMPATIBLE:
            self._accept(COMPATIBLE[name], raw, file)
        else:
            self.findings.append(unknown(name, where, raw, file, self.values.get("trainer")))

    def _take(self, param: Param, raw: Any, file: str | None) -> None:
        if param.name == "trainer":
            self._take_trainer(raw, file)
            return
        try:
            value = convert(param, raw)
        except BadValue as fault:
            empty = isinstance(raw, str) and not raw.strip()
            self.findings.append(
                Finding(
                    f"{param.flag} must be {fault}, got {shown(param, raw)}"
                    + (": is a variable of the shell not set?" if empty and file is None else ""),
                    changes={param.name: None} if empty and param.name not in REQUIRED else _readable(param, raw),
                    parameters=(param.name,),
                    file=file,
                    code="P302",
                )
            )
            return
        if param.replaced_choices.get(str(raw)):
            self.findings.append(
                Finding(
                    f"{param.flag} {raw} is called {value} today, and that is used",
                    changes={param.name: value},
                    parameters=(param.name,),
                    severity=WARNING,
                    file=file,
                    code="P111",
                )
            )
        self.values[param.name] = value

    def _take_trainer(self, raw: Any, file: str | None) -> None:
        from autotrain_llm.registry import TRAINERS

        name = str(raw).strip().lower()
        name = {"default": "generic", "": "generic"}.get(name, name)
        if name in TRAINERS:
            self.values["trainer"] = name
        elif name == "distillation":
            self.findings.append(
                Finding(
                    "--trainer distillation was removed: distillation combines with a trainer",
                    fix="--trainer sft --use-distillation --teacher-model <name or path>",
                    parameters=("trainer",),
                    file=file,
                    code="P103",
                )
            )
        else:
            parts = name.replace("_", "-").replace("+", "-").replace("/", "-").split("-")
            within = next((part for part in parts if part in TRAINERS), None)
            close = within or meant("trainer", name) or nearest(name, TRAINERS)
            adapted: dict[str, Any] = {"peft": True} if within and {"lora", "qlora", "peft"} & set(parts) else {}
            self.findings.append(
                Finding(
                    f"there is no trainer {name!r}; there are {', '.join(TRAINERS)}",
                    changes={"trainer": close} | adapted if close else EMPTY,
                    parameters=("trainer",),
                    file=file,
                    code="P303",
                )
            )

    def _accept(self, accepted: Accepted, raw: Any, file: str | None) -> None:
        switched_off = raw is False or str(raw).strip().lower() in FALSE
        if accepted.sets and not switched_off:
            self.values.update({name: value for name, value in accepted.sets.items() if name not in self.values})
        harmless = switched_off or str(raw).strip().lower() in accepted.harmless
        if accepted.says and not harmless:
            self.findings.append(
                Finding(
                    f"{accepted.flag}: {accepted.says}",
                    changes={accepted.name: None},
                    severity=WARNING,
                    parameters=(accepted.name,),
                    file=file,
                    code="P110",
                )
            )


def unknown(name: str, where: str, raw: Any, file: str | None = None, trainer: str | None = None) -> Finding:
    """The finding for a name that is none of ours, with the right one where it can be told."""
    ours = (
        FOREIGN.get(name)
        or _of_trainer(name, trainer)
        or (name.removeprefix("no_") if name.removeprefix("no_") in PARAMS else None)
    )
    if ours:
        changes = _fitting(PARAMS[ours], _retyped(name, ours, raw))
        return Finding(
            f"{where} is called {PARAMS[ours].flag} here",
            fix=f"{PARAMS[ours].flag} {PARAMS[ours].placeholder or '…'}",
            changes=changes,
            parameters=(name,),
            file=file,
            code="P102",
        )
    if name in NOT_HERE:
        message = f"there is no parameter {where}: {NOT_HERE[name]}"
        return Finding(message, f"leave {where} out", (name,), file=file, code="P104")
    close = nearest(name, [*PARAMS, *COMPATIBLE, *RENAMED])
    hint = f"; did you mean --{close.replace('_', '-')}?" if close else ""
    return Finding(
        f"there is no parameter {where}{hint}",
        changes=_perhaps(RENAMED.get(close, close), raw) if close else EMPTY,
        parameters=(name,),
        file=file,
        code="P104",
    )


def _fitting(param: Param, value: Any) -> dict[str, Any]:
    """The change to this value; none where the parameter could not have it, as where a name means the same and its value does not."""
    if value is None or value is True:
        return {param.name: value}
    try:
        converted = convert(param, value)
    except BadValue:
        return {}
    steps_for_a_share = param.name == "warmup_ratio" and converted > 1
    return {} if steps_for_a_share else {param.name: value}


def _of_trainer(name: str, trainer: str | None) -> str | None:
    """What a name means that is another parameter with each trainer."""
    from autotrain_llm.registry import TRAINERS

    ours = BY_TRAINER.get(name, ())
    spec = TRAINERS.get(trainer or "")
    return next((field for field in ours if spec is not None and spec.reads(field)), ours[0] if ours else None)


def _readable(param: Param, raw: Any) -> dict[str, Any]:
    """The value that a badly written one was surely meant to be; nothing where that can't be told."""
    meant_to_be = mended(param, raw) if isinstance(raw, str) and not param.secret else None
    return {} if meant_to_be is None else {param.name: meant_to_be}


def _retyped(name: str, ours: str, raw: Any) -> Any:
    """The value that a foreign name's own stands for here."""
    values = {
        "fp16": "fp16",
        "bf16": "bf16",
        "load_in_4bit": "int4",
        "load_in_8bit": "int8",
        "wandb": "wandb",
        "use_wandb": "wandb",
    }
    values |= {"lora_target_linear": "all-linear", "use_dpo": "dpo", "use_ppo": "ppo"}
    if name in values:
        return None if str(raw).strip().lower() in FALSE else values[name]
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):  # data sets with their settings
        raw = raw[0].get("path", raw)
    if PARAMS[ours].kind == "switch":
        return not name.startswith("no_") if raw is None else str(raw).strip().lower() not in (*FALSE, "full")
    if PARAMS[ours].choices:
        said = [word for word in (str(raw), name) if word in PARAMS[ours].choices]
        return next(iter(said), None) or meant(ours, str(raw)) or meant(ours, name) or raw
    return True if raw is None else raw


def _perhaps(close: str, raw: Any) -> dict[str, Any]:
    """The near name with the value that was given to the one that doesn't exist."""
    if close in COMPATIBLE:
        return {close: None}
    return {close: True if raw is None else raw}


def shown(param: Param, raw: Any) -> str:
    """A value as it can be repeated to its user: a secret never is."""
    if param.secret:
        return "a value that is not shown"
    kind = "the list " if isinstance(raw, list | tuple) and param.kind != "list" else ""
    return repr(raw) if isinstance(raw, str) else kind + plain(raw)


def take_all(given: Mapping[str, Any]) -> Said:
    """Python's keyword arguments."""
    said = Said()
    for name, raw in given.items():
        said.say(name, raw)
    return said
