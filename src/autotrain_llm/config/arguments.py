"""What a user said, from the command line and from a config file, before anything is layered or judged.

Both entrances turn names and raw values into parameters here, so that spelling, foreign names, switches and bad values are answered
in the same words wherever they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotrain_llm.config.aliases import (
    ACCEPTED,
    BY_TRAINER,
    FOREIGN,
    NOT_HERE,
    OPPOSITE,
    RENAMED,
    Accepted,
    meant,
)
from autotrain_llm.config.registry import PARAMS, TRAINERS, trainers_that_read
from autotrain_llm.declare.convert import FALSE, TRUE, BadValue, convert, mended
from autotrain_llm.declare.finding import WARNING, Finding, typed
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import Param, flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.text import plain

COMPATIBLE: dict[str, Accepted] = {accepted.name: accepted for accepted in ACCEPTED}
NEAR = 0.75  # how much of two names has to be the same for the one to be taken for a slip of the other
ON_THE_HUB = ": a model is uploaded as ACCOUNT/NAME, the --username and the last part of --output-dir"


class ParsedArguments:
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
            self.findings.append(unknown(name, where, raw, file, self.values))

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
                    changes={param.name: None} if empty and not param.required else _readable(param, raw),
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


def unknown(name: str, where: str, raw: Any, file: str | None = None, said: Mapping[str, Any] = EMPTY) -> Finding:
    """The finding for a name that is none of ours, with the right one where it can be told from what else was `said`."""
    trainer = said.get("trainer")
    ours = (
        FOREIGN.get(name)
        or _of_trainer(name, raw, trainer)
        or (name.removeprefix("no_") if name.removeprefix("no_") in PARAMS else None)
    )
    if ours and name in BY_TRAINER and not _reads(trainer, ours):
        fitting = typed(ours, raw) if raw is not None and _fitting(PARAMS[ours], raw) else PARAMS[ours].flag
        others = " or ".join(other.name for other in trainers_that_read(ours))
        message = f"{where} is called {PARAMS[ours].flag} here, which {trainer} does not read"
        fix = f"leave {where} out, or {fitting} with --trainer {others}"
        return Finding(message, fix, (name,), file=file, code="P102")
    if ours:
        param = PARAMS[ours]
        also = "" if ours != "push_to_hub" else ON_THE_HUB
        return Finding(
            f"{where} is called {param.flag} here{also}",
            fix=f'{param.flag} "$HF_TOKEN"' if param.secret else _by_hand(param, raw),
            changes=EMPTY if param.secret else _in_our_words(name, param, raw, said),
            parameters=(name,),
            file=file,
            code="P102",
        )
    if name in NOT_HERE:
        message = f"there is no parameter {where}: {NOT_HERE[name]}"
        return Finding(message, f"leave {where} out", (name,), file=file, code="P104")
    close, changes = _near(name, raw)
    hint = f"; did you mean {flag_of(close)}?" if close else ""
    return Finding(f"there is no parameter {where}{hint}", changes=changes, parameters=(name,), file=file, code="P104")


def _reads(trainer: str | None, name: str) -> bool:
    """Whether this trainer reads a parameter; a trainer that is not known may."""
    spec = TRAINERS.get(trainer or "")
    return spec is None or spec.reads(name)


def _by_hand(param: Param, raw: Any) -> str:
    """What to type where the value can't be told."""
    if param.name == "warmup_ratio" and raw is not None:
        return f"--warmup-ratio X, a share: {raw} divided by all steps of the run, which the plan of --dry-run counts; 0.1 is usual"
    return f"{param.flag} {param.placeholder or '…'}"


def _in_our_words(name: str, param: Param, raw: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a foreign name and its value stand for; none where that can't be told."""
    value = _retyped(name, param.name, raw)
    if param.name == "push_to_hub":
        return {"push_to_hub": value} | (_place_on_the_hub(raw) if value else {})
    steps = said.get("max_steps") or 0
    if param.name == "warmup_ratio" and _whole(value) > 1 and steps > _whole(value):
        return {"warmup_ratio": float(f"{_whole(value) / steps:.4g}")}
    adds = {"quantization": "int4"} if param.name == "peft" and str(raw).strip().lower() == "qlora" else {}
    return _fitting(param, value) | adds


def _whole(value: Any) -> int:
    """A count as a number; 0 where it is none."""
    return int(str(value)) if str(value).isdecimal() else 0


def _place_on_the_hub(raw: Any) -> dict[str, Any]:
    """The account and the folder that give a model the name `ACCOUNT/NAME` on the Hub."""
    owner, _, last = str(raw).strip().rpartition("/")
    if raw is None or not last or "/" in owner or last.lower() in TRUE:
        return {}
    return ({"username": owner} if owner else {}) | {"output_dir": f"runs/{last}"}


def _fitting(param: Param, value: Any) -> dict[str, Any]:
    """The change to this value; none where the parameter could not have it, as where a name means the same and its value does not."""
    if value is None or value is True:
        return {param.name: value} if value is None or param.kind == "switch" else {}
    try:
        converted = convert(param, value)
    except BadValue:
        return {}
    if (
        param.choices
        and converted is not None
        and converted not in param.choices
        and converted not in param.replaced_choices
    ):
        return {}
    if param.name == "trainer" and converted not in TRAINERS:
        return {}
    steps_for_a_share = param.name == "warmup_ratio" and converted > 1
    return {} if steps_for_a_share else {param.name: value}


def _of_trainer(name: str, raw: Any, trainer: str | None) -> str | None:
    """What a name means that is another parameter with each trainer: the first that the trainer reads and that can have the value."""
    ours = BY_TRAINER.get(name, ())
    possible = [field for field in ours if raw is None or _fitting(PARAMS[field], raw)] or list(ours)
    return next((field for field in possible if _reads(trainer, field)), possible[0] if possible else None)


def _near(name: str, raw: Any) -> tuple[str | None, dict[str, Any]]:
    """The name that was probably meant and what to change to it; None where none is near, or none that could have this value."""
    close = nearest(name, [*PARAMS, *COMPATIBLE, *RENAMED], cutoff=NEAR)
    if close is None:
        habit = nearest(name, FOREIGN, cutoff=NEAR)
        close = FOREIGN[habit] if habit else None
    close = RENAMED.get(close or "", close)
    if close is None:
        return None, {}
    if close in COMPATIBLE:
        return close, {close: True} if COMPATIBLE[close].sets else {name: None}
    if PARAMS[close].secret or (raw is None and PARAMS[close].kind != "switch"):
        return close, {}
    changes = _fitting(PARAMS[close], True if raw is None else raw)
    if changes and PARAMS[close].within and not PARAMS[close].in_bounds(convert(PARAMS[close], raw)):
        changes = {}
    return (close, changes) if changes else (None, {})


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
    values |= {"lora_target_linear": "all-linear", "use_dpo": "dpo", "use_ppo": "ppo", "use_vllm": "vllm"}
    values |= {"use_int4": "int4", "use_int8": "int8"}
    if name in values:
        return None if str(raw).strip().lower() in FALSE else values[name]
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):  # data sets with their settings
        raw = raw[0].get("path", raw)
    if ours == "trainer":
        return str(raw) if str(raw) in TRAINERS else meant(ours, str(raw)) or raw
    if ours == "target_modules" and str(raw).strip().lower() in ("all", "all_linear"):
        return "all-linear"
    if name in OPPOSITE:
        return raw is not None and str(raw).strip().lower() in FALSE
    if PARAMS[ours].kind == "switch":
        return not name.startswith("no_") if raw is None else str(raw).strip().lower() not in (*FALSE, "full")
    if PARAMS[ours].choices:
        said = [word for word in (str(raw), name) if word in PARAMS[ours].choices]
        return next(iter(said), None) or meant(ours, str(raw)) or meant(ours, name) or raw
    return True if raw is None else raw


def shown(param: Param, raw: Any) -> str:
    """A value as it can be repeated to its user: a secret never is."""
    if param.secret:
        return "a value that is not shown"
    kind = "the list " if isinstance(raw, list | tuple) and param.kind != "list" else ""
    return repr(raw) if isinstance(raw, str) else kind + plain(raw)


def parse_kwargs(given: Mapping[str, Any]) -> ParsedArguments:
    """Python's keyword arguments."""
    said = ParsedArguments()
    for name, raw in given.items():
        said.say(name, raw)
    return said


def parse_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a finding's changes, as far as they are any."""
    return parse_kwargs({name: value for name, value in changes.items() if value is not None}).values
