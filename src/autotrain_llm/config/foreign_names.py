"""The finding for an unknown name: the name to use here, why there is no such parameter, or the name that was probably mistyped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.config.aliases import (
    ACCEPTED_BY_NAME,
    ALIASES,
    AMBIGUOUS,
    BY_TRAINER,
    CERTAIN_BY_TRAINER,
    NEAR_TRAINER_WITH,
    NEAREST,
    NEGATED,
    NO_COUNTERPART,
    OTHER_NAMES,
    RANKS,
    RENAMED,
    ROWS_OF_A_BATCH,
    STANDS_FOR,
    TRAINER_WITH,
    choice_meant,
    in_its_section,
    nearest_trainer,
    of_section,
    why_not,
    why_not_in_its_section,
)
from autotrain_llm.config.registry import ANSWERING, PARAMS, TRAINERS, trainers_that_read
from autotrain_llm.config.structured_values import parts_of
from autotrain_llm.declare.convert import FALSE, TRUE, BadValue, convert, mended
from autotrain_llm.declare.document import load_json
from autotrain_llm.declare.finding import Finding, in_words, typed
from autotrain_llm.declare.nearest import nearest, same_spelling
from autotrain_llm.declare.param import Meaning, Param, flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.text import plain

SCHEDULES = ("lr_scheduler_kwargs", "lr_scheduler_args")
OF_SAMPLING = frozenset(["do_sample", "min_p"])
# What LitGPT calls kinds of files and well-known data sets, as the value of --data, or of data.class_path in a file.
ROWS_OF_OTHERS = frozenset(
    [
        "JSON",
        "TextFiles",
        "LitData",
        "Alpaca",
        "Alpaca2k",
        "AlpacaGPT4",
        "Deita",
        "Dolly",
        "FLAN",
        "LIMA",
        "LongForm",
        "OpenWebText",
        "TinyLlama",
        "TinyStories",
    ]
)
PATHS = ("path", "dataset_path", "data_path")  # where the rows lie, in a list of data sets with their settings
# Similarity from which a name is taken for a typo of one of ours, and for one of another tool's.
CUTOFF, FOREIGN_CUTOFF, MISTYPED_CUTOFF = 0.75, 0.85, 0.9
DATA = ("data_path", "eval_dataset_path")
ON_THE_HUB = ": a model is uploaded as ACCOUNT/NAME, from --username and the last component of --output-dir"


def unknown(
    name: str,
    written: str,
    raw: Any,
    file: str | None = None,
    given: Mapping[str, Any] = EMPTY,
    beside: Mapping[str, Any] = EMPTY,
) -> Finding:
    """Name the right parameter, and its value if it can be derived. `given` are the values parsed so far, which include the trainer, and `beside`
    all names of the same source with their values as they were written."""
    together = (
        _of_parts(name, written, raw, file, given, beside)
        or _rows_of_a_step(name, written, raw, file, given, beside)
        or _scale_of_a_rank(name, written, raw, file, beside)
        or _registered_rows(name, written, raw, file, given, beside)
    )
    if together is not None:
        return together
    if "max_steps" not in given and name.rpartition(".")[2] in WARMUPS:
        given = {**given, **_steps_beside(beside)}
    if "." in name or _is_ours(name, given):
        return _in_section(name, written, raw, file, given).replace(parameters=(name,))
    trainer = given.get("trainer")
    foreign = (*OTHER_NAMES, *BY_TRAINER, *NEAREST, *NO_COUNTERPART)
    name = next((other for other in foreign if same_spelling(other, name)), name)
    if given.get("inference") and name in OF_SAMPLING:
        message = f"there is no parameter {written}: answers are sampled with a --temperature above 0, and --top-k and --top-p limit them"
        return Finding(message, f"--temperature 0.7, or leave {written} out", (name,), file=file, code="P104")
    if name in ("data", "class_path") and str(raw).removeprefix("litgpt.data.") in ROWS_OF_OTHERS:
        message = f"there is no parameter {written} {raw}: how rows are written is recognised from them"
        return Finding(message, f"leave {written} out", (name,), file=file, code="P104")
    parameter = _parameter_meant(name, raw, trainer)
    if parameter and trainer and (name in BY_TRAINER or name in ALIASES) and not _reads(trainer, parameter):
        return _not_read(name, written, parameter, raw, file, given)
    if parameter:
        return _renamed(name, written, PARAMS[parameter], raw, file, given)
    message = f"there is no parameter {written}"
    if name in NEAREST:
        return _nearest(name, written, raw, file, given)
    reason = None if name not in NO_COUNTERPART and _is_mistyped(name) else why_not(name)
    if reason:
        return Finding(f"{message}: {reason}", f"leave {written} out", (name,), file=file, code="P104")
    close, suggestion = _closest(name, raw, is_answering=bool(given.get("inference")))
    if _replaced(suggestion, given):
        return Finding(message, f"leave {written} out", (name,), file=file, code="P104")
    is_certain = close is not None and same_spelling(name, close)
    changes, meant = (suggestion, EMPTY) if is_certain else (EMPTY, suggestion)
    message += f"; did you mean {flag_of(close)}?" if close else ""
    listing = None if close else "autotrain llm --help   lists the parameters"
    return Finding(message, listing, changes=changes, guess=meant, parameters=(name,), file=file, code="P104")


def _not_read(name: str, written: str, parameter: str, raw: Any, file: str | None, given: Mapping[str, Any]) -> Finding:
    """The finding for another tool's name of a parameter that the trainer does not read: what it reads instead, or the trainers that read it."""
    message = f"{written} is called {flag_of(parameter)} here, which {given['trainer']} does not read"
    counterpart = next((other for other in PARAMS[parameter].counterparts if _reads(given["trainer"], other)), None)
    if counterpart is not None:
        meant = _change_to(PARAMS[counterpart], raw)
        is_usable = meant and not _fault_of_value(PARAMS[counterpart], raw) and not _replaced(meant, given)
        message += f"; {flag_of(counterpart)} is what it reads instead"
        guess, fix = (meant, None) if is_usable else (EMPTY, f"leave {written} out")
        return Finding(message, fix, (name,), file=file, guess=guess, code="P102")
    is_valid = raw is not None and _change_to(PARAMS[parameter], raw)
    flag = typed(parameter, raw) if is_valid else flag_of(parameter)
    others = " or ".join(other.name for other in trainers_that_read(parameter))
    return Finding(message, f"leave {written} out, or {flag} with --trainer {others}", (name,), file=file, code="P102")


def _of_parts(
    name: str, written: str, raw: Any, file: str | None, given: Mapping[str, Any], beside: Mapping[str, Any]
) -> Finding | None:
    """The finding for a value that has parts, or a meaning together with those beside it; None for any other."""
    has_floor = any(parts_of(other, value, given, beside) for other, value in beside.items() if other in SCHEDULES)
    if OTHER_NAMES.get(name) == "scheduler" and str(raw).lower() == "cosine_with_min_lr" and has_floor:
        return _renamed(name, written, PARAMS["scheduler"], "cosine", file, given)
    parts = parts_of(name, raw, {**_steps_beside(beside), **given}, beside)
    if parts is None:
        return None
    names = " and ".join(flag_of(parameter) for parameter in parts.changes)
    message = f"{written} is {names} here" if names else f"there is no parameter {written}"
    message += f": {'; '.join(parts.lost)}" if parts.lost else ""
    replaced = _replaced(parts.changes, given)
    if replaced:
        fix = f"leave {written} out, or {in_words(parts.changes)} in place of {in_words(replaced)}"
        return Finding(message, fix, (name,), file=file, code="P102")
    if not parts.changes:
        return Finding(message, f"leave {written} out", (name,), file=file, code="P104")
    changes, guess = (EMPTY, parts.changes) if parts.lost else (parts.changes, EMPTY)
    return Finding(message, changes=changes, guess=guess, parameters=(name,), file=file, code="P102")


def _rows_of_a_step(
    name: str, written: str, raw: Any, file: str | None, given: Mapping[str, Any], beside: Mapping[str, Any]
) -> Finding | None:
    """The finding for a name that counts the rows of an optimizer step, or that shows that --batch-size was given as such: because another name of
    the same command counts those of a batch. None for any other."""
    batch = next((other for other in ROWS_OF_A_BATCH if other in beside), None)
    if batch is None or any(OTHER_NAMES.get(other) == "gradient_accumulation" for other in beside):
        return None
    if name in AMBIGUOUS:
        return _renamed("global_batch_size", written, PARAMS["global_batch"], raw, file, given).replace(
            parameters=(name,)
        )
    size, whole = _change_to(PARAMS["batch_size"], raw), given.get("batch_size")
    if name != batch or not size or whole is None or plain(whole) == plain(raw):
        return None
    changes = {**size, "global_batch": whole}
    message = f"{written} is called --batch-size here, and --batch-size {whole} counts the rows of an optimizer step"
    fix = f"{in_words(changes)} in place of {in_words({'batch_size': whole})}"
    return Finding(message, fix, (name,), file=file, code="P102")


def _scale_of_a_rank(name: str, written: str, raw: Any, file: str | None, beside: Mapping[str, Any]) -> Finding | None:
    """The finding for the scale of an adapter (mlx-lm) whose rank stands beside it: alpha is their product. None for any other name."""
    if in_its_section(name) != "lora_parameters.scale":
        return None
    try:
        alpha = float(raw) * float(beside[name.removesuffix("scale") + "rank"])
    except (KeyError, TypeError, ValueError):
        return None
    changes = {"lora_alpha": int(alpha) if alpha.is_integer() else alpha}
    return Finding(
        f"{written} times the rank is called --lora-alpha here",
        changes=changes,
        parameters=("scale",),
        file=file,
        code="P102",
    )


REGISTRY = "dataset_info.json"


def _registered_rows(
    name: str, written: str, raw: Any, file: str | None, given: Mapping[str, Any], beside: Mapping[str, Any]
) -> Finding | None:
    """The finding for the name of a data set that a file in its folder knows (LLaMA-Factory), and for that folder beside a name. None for any other."""
    if name == "dataset_dir" and "dataset" in beside:
        message = f"there is no parameter {written}: --data-path is the path of the rows itself"
        return Finding(message, f"leave {written} out", (name,), file=file, code="P104")
    if name != "dataset" or given.get("data_path") is not None or not isinstance(raw, str):
        return None
    registry = Path(str(beside.get("dataset_dir") or "data")) / REGISTRY
    rows = _registered(registry, raw.strip())
    if rows is None:
        return None
    message = f"{written} is called --data-path here, and {registry} has {rows} under the name {raw.strip()}"
    return Finding(message, guess={"data_path": rows}, parameters=(name,), file=file, code="P102")


def _registered(registry: Path, name: str) -> str | None:
    """The file, or the data set on the Hub, that a registry has under a name; None if it has none, or can't be read."""
    try:
        known = load_json(registry.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    entry = known.get(name) if isinstance(known, dict) else None
    if not isinstance(entry, dict):
        return None
    file, on_the_hub = entry.get("file_name"), entry.get("hf_hub_url")
    if isinstance(file, str) and (registry.parent / file).exists():
        return str(registry.parent / file)
    return on_the_hub if isinstance(on_the_hub, str) else None


def _in_section(name: str, written: str, raw: Any, file: str | None, given: Mapping[str, Any]) -> Finding:
    """The finding for a name with the sections before it, as torchtune, verl, LitGPT and Oumi write parameters, or for one of ours in a form in which
    it can't be given."""
    key, last = in_its_section(name), name.rpartition(".")[2]
    if key in NEAREST:
        return _nearest(key, written, raw, file, given)
    of_both = of_section(name)
    reason = None if of_both else why_not_in_its_section(name)
    if reason:
        return Finding(
            f"there is no parameter {written}: {reason}", f"leave {written} out", (last,), file=file, code="P104"
        )
    parameter = of_both or OTHER_NAMES.get(last) or (last if _is_ours(last, given) else None)
    if of_both == key.replace(".", "_"):  # `lora.alpha`: what the last name means alone is nothing to it
        last = of_both
    if parameter is None:
        return unknown(last, written, raw, file, given)
    trainer = given.get("trainer")
    if not _reads(trainer, parameter):
        others = " or ".join(other.name for other in trainers_that_read(parameter))
        message = f"{written} is called {flag_of(parameter)} here, which {trainer} does not read; {others} does"
        return Finding(message, f"leave {written} out", (last,), file=file, code="P102")
    # torchtune and verl have no switch for an adapter: a model with a rank has one.
    has_adapter = key in RANKS and "peft" not in given and str(raw).lower() not in FALSE
    also = {"peft": True} if has_adapter else EMPTY
    return _renamed(last, written, PARAMS[parameter], raw, file, given, also)


def _is_ours(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a name is a parameter of this command."""
    return name in PARAMS and (name not in ANSWERING or bool(given.get("inference")))


def _nearest(name: str, written: str, raw: Any, file: str | None, given: Mapping[str, Any]) -> Finding:
    """The finding for a name that one of our parameters comes nearest to."""
    nearest_one, difference = NEAREST[name]
    param = PARAMS[nearest_one]
    trainer = given.get("trainer") or PARAMS["trainer"].default
    if not _reads(trainer, nearest_one):
        message = f"there is no parameter {written}, and {trainer} has nothing like it"
        return Finding(message, f"leave {written} out", (name.rpartition(".")[2],), file=file, code="P104")
    message = f"there is no parameter {written}; the nearest is {param.flag}, and {difference}"
    fix = f"{param.flag} {param.placeholder}, or leave {written} out"
    guess = EMPTY if "." in name else _translated(name, param, raw, given).changes
    guess = EMPTY if _fault_of_value(param, guess.get(nearest_one)) or _replaced(guess, given) else guess
    return Finding(message, fix, (name.rpartition(".")[2],), file=file, guess=guess, code="P104")


def is_known_elsewhere(name: str) -> bool:
    """Whether a name is one of ours, or known from another tool."""
    name = name.replace("-", "_")
    known = (PARAMS, OTHER_NAMES, BY_TRAINER, NEAREST, NO_COUNTERPART)
    return any(name in names for names in known) or why_not(name) is not None


A_MIXTURE = (
    "--data-config FILE, a YAML file that lists the data sets, with their weights and max_samples (docs/mixtures.md)"
)


def _renamed(
    name: str,
    written: str,
    param: Param,
    raw: Any,
    file: str | None,
    given: Mapping[str, Any],
    also: Mapping[str, Any] = EMPTY,
) -> Finding:
    """The finding for a parameter that has another name here; `also` is what has to be set with it."""
    uploads = param.name == "push_to_hub"
    suggestion, is_certain, lost = Translation({}) if param.secret else _translated(name, param, raw, given)
    by_hand = _by_hand(param, raw, written)
    fault = _fault_of_value(param, suggestion.get(param.name))
    if fault:
        # Other tools turn something off with a number that is no value here.
        is_off = _is_outside(param, suggestion[param.name]) and not (param.required or param.alternative)
        by_hand = f"leave {written} out, or {by_hand}" if is_off else by_hand
        suggestion = {}
    suggestion = {**suggestion, **also} if suggestion else {}
    if name in BY_TRAINER:
        is_certain &= "trainer" in given and param.name in CERTAIN_BY_TRAINER.get(name, ())
    is_certain &= name not in AMBIGUOUS
    # Where the trainer reads no such parameter, the name probably stands for something else: `epsilon` for that of Adam.
    is_certain &= _reads(given.get("trainer"), param.name)
    details = fault or (ON_THE_HUB if uploads else _left_of_a_list(raw))
    if lost:
        details = f", which has no {lost}" if param.kind == "list" else f", which has no {plain(raw)}: {lost}"
    elif param.name == "trainer" and isinstance(raw, str) and not is_certain and suggestion:
        details = f", which has no {raw}: {in_words(suggestion)} comes nearest"
    elif param.choices and isinstance(raw, str) and not is_certain and suggestion.get(param.name, raw) != raw:
        details = f", which has no {raw}"
    replaced = _replaced(suggestion, given)
    if replaced or (not suggestion and given.get(param.name) is not None):
        # A value that has been given is not replaced by that of another name.
        other = (
            f", or {in_words(suggestion)} in place of {in_words(replaced)}" if replaced else f": {param.flag} is given"
        )
        fix = f"leave {written} out{other}"
        return Finding(f"{written} is called {param.flag} here{details}", fix, (name,), file=file, code="P102")
    return Finding(
        f"{written} is called {param.flag} here{details}",
        fix=param.with_variable if param.secret else None if suggestion else by_hand,
        changes=suggestion if is_certain else EMPTY,
        guess=EMPTY if is_certain else suggestion,
        parameters=(name,),
        file=file,
        code="P102",
    )


def _replaced(suggestion: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were given, and that changes would replace by others."""
    return {
        name: given[name]
        for name, value in suggestion.items()
        if value is not None and given.get(name) is not None and plain(given[name]) != plain(_converted(name, value))
    }


def _converted(name: str, value: Any) -> Any:
    try:
        return convert(PARAMS[name], value) if name in PARAMS else value
    except BadValue:
        return value


def _is_outside(param: Param, value: Any) -> bool:
    """Whether a value, as it was given, is a number outside the bounds of a parameter."""
    number = _converted(param.name, value)
    return isinstance(number, int | float) and not param.in_bounds(number)


def _fault_of_value(param: Param, value: Any) -> str:
    """Why what another tool's flag was given can't be the value of ours, as far as its bounds and its form tell; empty if it can."""
    if value is None:
        return ""
    if param.within and _is_outside(param, value):
        return f", and must be {param.within.describe()}, got {plain(value)}"
    items = convert(param, value) if param.kind == "list" else [value]
    wrong = [item for item in items if param.form and not re.fullmatch(param.form, str(item))]
    if wrong:
        return f", and {' and '.join(map(repr, wrong))} can't be its value"
    if param.name not in DATA or not isinstance(value, str):
        return ""
    if value.endswith(".py"):
        return f", and {value} holds a program, not rows"
    is_name = "/" not in value and "." not in value and "\\" not in value
    missing = f", and there is no file or folder {value!r}; on the Hub, a data set is called OWNER/NAME"
    return missing if is_name and not Path(value).exists() else ""


COLUMNS_ARE_RECOGNISED = "columns and turns are recognised by their names, or named with --text-column"


def _left_of_a_list(raw: Any) -> str:
    """What is said of the settings in a list of data sets, as axolotl writes it, besides their paths."""
    settings = (
        dict.fromkeys(key for part in raw if isinstance(part, dict) for key in part) if isinstance(raw, list) else {}
    )
    others: dict[str, list[str]] = {}
    for key in settings:
        if key not in PATHS:
            others.setdefault(why_not(str(key)) or COLUMNS_ARE_RECOGNISED, []).append(str(key))
    clauses = [f"no {', '.join(keys)}: {reason}" for reason, keys in others.items()]
    return f", which takes {'; '.join(clauses)}" if clauses else ""


FILLERS = frozenset(["trl", "lora", "qlora", "peft", "full", "trainer", "training", "train", "llm", "autotrain"])


def trainer_meant(name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The changes that an unknown trainer certainly stands for, and a guess: `sft-lora` contains a trainer's name, `ipo` is another tool's
    name for a setting, `stf` is a typo."""
    parts = name.replace("_", "-").replace("+", "-").replace("/", "-").split("-")
    contained = [part for part in parts if part in TRAINERS]
    if contained:
        adapter: dict[str, Any] = {"peft": True} if {"lora", "qlora", "peft"} & set(parts) else {}
        changes = {"trainer": contained[0], **adapter, **({"quantization": "int4"} if "qlora" in parts else {})}
        is_certain = len(contained) == 1 and set(parts) - FILLERS == set(contained)
        return (changes, EMPTY) if is_certain else (EMPTY, changes)
    if name in TRAINER_WITH:
        return TRAINER_WITH[name], EMPTY
    same = choice_meant("trainer", name)
    if same:
        return {"trainer": same}, EMPTY
    near = nearest_trainer(name) or nearest(name, TRAINERS)
    return EMPTY, NEAR_TRAINER_WITH.get(name.replace("-", "_")) or ({"trainer": near} if near else EMPTY)


def _parameter_meant(name: str, raw: Any, trainer: str | None) -> str | None:
    """The parameter that another tool's name stands for. If there are several, the first that the trainer reads and that can have the
    value."""
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    if name in BY_TRAINER:
        candidates = BY_TRAINER[name]
        possible = [candidate for candidate in candidates if raw is None or _change_to(PARAMS[candidate], raw)] or list(
            candidates
        )
        return next((candidate for candidate in possible if _reads(trainer, candidate)), possible[0])
    positive = name.removeprefix("no_")
    return positive if positive in PARAMS and positive not in ANSWERING else None


def _reads(trainer: str | None, name: str) -> bool:
    """Whether the trainer reads a parameter; True if the trainer is not known."""
    spec = TRAINERS.get(trainer or "")
    return spec is None or spec.reads(name)


def _by_hand(param: Param, raw: Any, written: str) -> str:
    """The fix if the value can't be derived."""
    if param.name == "warmup_ratio" and raw is not None:
        return f"--warmup-ratio X, where X is {raw} divided by the steps of the run (see --dry-run); 0.1 is usual"
    if param.kind == "switch":
        return f"{param.flag} ({param.help.rstrip('.')}), or leave {written} out"
    if param.name == "data_path" and _names_several(raw):
        return A_MIXTURE
    return f"{param.flag} {param.placeholder}"


def _names_several(raw: Any) -> bool:
    """Whether a value names several data sets: a list, names with commas (LLaMA-Factory), or with numbers of rows and spaces (ms-swift)."""
    if isinstance(raw, list | tuple):
        return len(raw) > 1
    return isinstance(raw, str) and ("," in raw or len(re.findall(r"\S#\d+(?=\s|$)", raw)) > 1)


# --- the value -------------------------------------------------------------------------------------------------------

SHARES = frozenset(
    ["lr_warmup_fraction", "lr_warmup_ratio", "lr_warmup_steps_ratio", "warmup_fraction", "warmup_proportion"]
)  # names of a share; the others count steps
ADAPTERS: dict[str, dict[str, Any]] = {"qlora": {"quantization": "int4"}, "dora": {"use_dora": True}}
SLICED = re.compile(r"([\w.-]+)\[:(\d+)\]")  # a split and the number of its first rows, as `datasets` writes it
SAMPLED = re.compile(r"(.+)#([1-9]\d*)")  # a data set and the number of its rows that are used
AUTOMATIC = ("auto", "none")


class Translation(NamedTuple):
    """The parameters and values that a foreign name and its value stand for, empty if that can't be derived; `lost` says what they don't do."""

    changes: dict[str, Any]
    is_certain: bool = True
    lost: str = ""


def _translated(name: str, param: Param, raw: Any, given: Mapping[str, Any]) -> Translation:
    word = str(raw).strip().lower()
    meaning = param.meaning_of(raw) if param.kind != "list" else None
    if meaning is not None and raw is not None and name not in STANDS_FOR:
        return Translation(carried_out(meaning, name), not meaning.lost, meaning.lost)
    if name in STANDS_FOR:
        off = word in (*FALSE, *AUTOMATIC) and raw is not None
        return Translation({name: None} if off else {param.name: STANDS_FOR[name][1]})
    if param.name == "log":
        return _trackers(name, raw)
    if param.name == "push_to_hub":  # nothing is uploaded unless the user says so
        return Translation({"push_to_hub": True} | _name_on_the_hub(raw), False)
    if param.name == "warmup_ratio" and name not in SHARES:
        return Translation(_warmup(raw, given))
    if param.kind == "switch":
        return _switched(name, param, None if raw is None else word)
    if param.choices or param.name == "trainer":
        return _chosen(name, param, raw)
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):  # axolotl lists data sets with their settings
        path = next((raw[0][key] for key in PATHS if raw[0].get(key)), None)
        return Translation(_change_to(param, path) if len(raw) == 1 else {}, len(raw) == len(raw[0]) == 1)
    sampled = SAMPLED.fullmatch(raw) if param.name == "data_path" and isinstance(raw, str) else None
    if sampled is not None:  # ms-swift
        return Translation(_change_to(param, sampled[1]) | {"max_samples": int(sampled[2])})
    sliced = SLICED.fullmatch(raw) if param.name == "train_split" and isinstance(raw, str) else None
    if sliced is not None:
        split = {} if sliced[1] == param.default else {"train_split": sliced[1]}
        return Translation(split | {"max_samples": int(sliced[2])})
    if param.name == "data_path" and _names_several(raw):
        return Translation({})
    if param.name == "target_modules" and word in ("all", "all_linear"):
        raw = "all-linear"
    elif param.name == "target_modules" and isinstance(raw, list):  # mlx names them with the module around them
        raw = [str(module).rpartition(".")[2] for module in raw]
    return Translation(_change_to(param, True if raw is None else raw))


def _switched(name: str, param: Param, word: str | None) -> Translation:
    """The change of a switch; `word` is None if the name was given without a value."""
    if param.name == "peft" and word in ("lora", "qlora", "dora", "full"):
        return Translation({"peft": word != "full"} | ADAPTERS.get(word, {}))
    if param.name == "peft" and word not in (None, *TRUE, *FALSE):
        return Translation({})  # another kind of adapter, or its folder
    is_on = word not in FALSE
    value = is_on != (name in NEGATED or name.startswith("no_"))
    return Translation({param.name: value}, word in (None, *TRUE, *FALSE))


def carried_out(meaning: Meaning, name: str) -> dict[str, Any]:
    """The changes that carry out a meaning in place of the name that was written; without any, the name is left out."""
    changes = {parameter: value for parameter, value in meaning.changes.items() if value is not None}
    return changes or {name: None}


def _trackers(name: str, raw: Any) -> Translation:
    """The trackers that a list names; what is always written is none of them."""
    words = raw if isinstance(raw, list | tuple) else str(True if raw is None else raw).strip("[]").split(",")
    words = [str(word).strip().strip("'\"").rpartition(".")[2] for word in words if str(word).strip()]
    meanings = {word: PARAMS["log"].meaning_of(word) for word in words}
    lost = [f"{word}: {meaning.lost}" for word, meaning in meanings.items() if meaning and meaning.lost]
    trackers = [
        str(meaning.changes["log"]) if meaning and meaning.changes else word
        for word, meaning in meanings.items()
        if meaning is None or meaning.changes
    ]
    return Translation({"log": ",".join(trackers)} if trackers else {name: None}, not lost, "; ".join(lost))


CLASSES = ("optimizer", "scheduler")  # what torchtune and LitGPT name by the class or function with its module


def _chosen(name: str, param: Param, raw: Any) -> Translation:
    """The choice that a value, or the name itself, stands for."""
    word = str(raw)
    if param.name in CLASSES:  # `torch.optim.AdamW`
        word = word.rpartition(".")[2]
        meaning = param.meaning_of(word)
        if meaning is not None:
            return Translation(carried_out(meaning, name), not meaning.lost, meaning.lost)
    if word.strip().lower() in param.nothing.split():
        return Translation({name: None})
    if param.name == "trainer":
        changes, guess = ({"trainer": word}, EMPTY) if word in TRAINERS else trainer_meant(word)
        return Translation(dict(changes or guess), bool(changes))
    choices = (*param.choices, *param.replaced_choices)
    exact = next((choice for choice in choices if choice in (word, word.lower())), None)
    exact = exact or (name if name in choices else None)
    value = param.replaced_choices.get(exact or "", exact) or choice_meant(param.name, name)
    return Translation({param.name: value} if value else {})


WARMUPS = {name for name, parameter in OTHER_NAMES.items() if parameter == "warmup_ratio"}


def _steps_beside(beside: Mapping[str, Any]) -> dict[str, int]:
    """The steps of the run, which another name of the same source gives."""
    steps = [value for name, value in beside.items() if OTHER_NAMES.get(name, name) == "max_steps"]
    return {"max_steps": int(steps[0])} if steps and str(steps[0]).isdecimal() else {}


def _warmup(raw: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """A number of warm-up steps as a share of the run; a number below 1 is a share in other tools too."""
    try:
        warmup = float(raw)
    except (TypeError, ValueError):
        return {}
    steps = given.get("max_steps") or 0
    if 0 <= warmup < 1:
        return {"warmup_ratio": raw}
    return {"warmup_ratio": float(f"{warmup / steps:.4g}")} if 0 <= warmup < steps else {}


def _name_on_the_hub(raw: Any) -> dict[str, Any]:
    """The changes that give a model the name `ACCOUNT/NAME` on the Hub."""
    owner, _, last = str(raw).strip().rpartition("/")
    if raw is None or not last or "/" in owner or last.lower() in TRUE:
        return {}
    return ({"username": owner} if owner else {}) | {"output_dir": f"runs/{last}"}


def _change_to(param: Param, value: Any) -> dict[str, Any]:
    """The change that sets a parameter to a value; empty if the value is not valid."""
    if value is None or value is True:
        return {param.name: True} if value is True and param.kind == "switch" else {}
    try:
        converted = convert(param, value)
    except BadValue:
        value = mended(param, value) if isinstance(value, str) and param.kind == "list" else None
        if value is None:
            return {}
        converted = value
    choices = TRAINERS if param.name == "trainer" else (*param.choices, *param.replaced_choices)
    return {} if choices and converted is not None and converted not in choices else {param.name: value}


# --- typos -----------------------------------------------------------------------------------------------------------


def _closest(name: str, raw: Any, is_answering: bool) -> tuple[str | None, dict[str, Any]]:
    """The most similar name and the changes that use it; None if no name is similar enough or can have this value."""
    names = [known for known in (*PARAMS, *ACCEPTED_BY_NAME, *RENAMED) if is_answering or known not in ANSWERING]
    close = nearest(name, names, cutoff=CUTOFF)
    if close is None or not _is_alike(name, close):
        alias = nearest(name, ALIASES, cutoff=FOREIGN_CUTOFF)
        close = ALIASES[alias] if alias and _is_alike(name, alias) else None
    if close is None:
        return None, {}
    if close in ACCEPTED_BY_NAME:
        return close, {close: True} if ACCEPTED_BY_NAME[close].sets else {name: None}
    param = PARAMS[RENAMED.get(close, close)]
    if param.secret or (raw is None and param.kind != "switch"):
        return param.name, {}
    changes = _change_to(param, True if raw is None else raw)
    return (param.name, changes) if changes and not _is_outside(param, raw) else (None, {})


def _is_mistyped(name: str) -> bool:
    """Whether a name is so close to one of our parameters that it is rather a typo than one of a family of other tools' names."""
    close = nearest(name, PARAMS, cutoff=MISTYPED_CUTOFF)
    return close is not None and _is_alike(name, close) and name.count("_") == close.count("_")


def _is_alike(name: str, other: str) -> bool:
    """Whether a name may be a typo of another: no word of it is a different word, as in `eval_interval` and `log_interval`."""
    from difflib import SequenceMatcher

    words, others = name.split("_"), other.split("_")
    if len(words) != len(others):
        return SequenceMatcher(None, "".join(words), "".join(others)).ratio() > 0.9
    return all(SequenceMatcher(None, word, right).ratio() >= 0.6 for word, right in zip(words, others, strict=True))
