"""PARAMETER_GUIDE.md: a chapter for each trainer, the features that combine with all, and the table of every parameter."""

from __future__ import annotations

from autotrain_llm.config.registry import (
    FOREIGN,
    GROUPS,
    METRICS,
    PARAMS,
    READS,
    REFUSED,
    TRAINERS,
    UNUSED,
    trainers_that_read,
    verdict,
)
from autotrain_llm.declare.param import Group, Param
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.docs import guide_text
from autotrain_llm.docs.cells import KIND_WORDS, allowed, default, is_planned, readers, signature
from autotrain_llm.docs.markdown import GENERATED, anchor, block, command, table
from autotrain_llm.docs.matrix import CHAPTER, matrix

NOT_YET = "This version checks it but does not implement it yet."
COMMENT_COLUMN = 42
CHAPTERS = (
    "Cross-cutting features",
    "Migration",
    "Parameter validation",
    "Best practices",
    "Troubleshooting",
    "Support",
    CHAPTER,
    "Every parameter",
)


def guide() -> str:
    """The whole document."""
    names = [*(trainer_title(trainer) for trainer in TRAINERS.values()), *CHAPTERS]
    contents = "\n".join(f"{index}. [{name}]({anchor(name)})" for index, name in enumerate(names, 1))
    bodies = (
        _mixins(),
        guide_text.MIGRATION,
        guide_text.VALIDATION,
        guide_text.BEST_PRACTICES.format(which_trainer=_which_trainer(), usual_values=_usual_values()),
        guide_text.TROUBLESHOOTING,
        guide_text.SUPPORT,
        matrix(),
        _every_parameter(),
    )
    parts = [GENERATED, "# Parameter guide", guide_text.INTRODUCTION, "## Contents", contents]
    parts += [_trainer(trainer) for trainer in TRAINERS.values()]
    parts += [f"## {name}\n\n{body}" for name, body in zip(CHAPTERS, bodies, strict=True)]
    return "\n\n".join(parts) + "\n"


def trainer_title(trainer: Trainer) -> str:
    """The heading of a trainer's chapter."""
    return f"{trainer.title} trainer"


def _trainer(trainer: Trainer) -> str:
    """Purpose, Required, Optional by group, Incompatible, Example usage."""
    parts = [f"## {trainer_title(trainer)}", "### Purpose", f"{trainer.summary} {trainer.purpose}"]
    parts += [f"> {NOT_YET}"] if trainer.recipe is None else []
    parts += ["### Required parameters", block("\n".join(_required(trainer, names) for names in trainer.requires))]
    parts += ["### Optional parameters", *_optional(trainer)]
    parts += ["### Incompatible parameters", *_incompatible(trainer)]
    parts += ["### Example usage", *_examples(trainer)]
    parts += ["### What comes out", *trainer.notes] if trainer.notes else []
    return "\n\n".join(parts)


def _line(left: str, comment: str) -> str:
    return f"{left:<{COMMENT_COLUMN}}# {comment}" if len(left) < COMMENT_COLUMN else f"{left}  # {comment}"


def _required(trainer: Trainer, names: str) -> str:
    first, *others = [PARAMS[name] for name in names.split("|")]
    usual = trainer.usual.get(first.name)
    comment = first.help
    if usual is not None:
        full, lora = plain(usual.full), plain(usual.lora)
        comment += f" Usual: {full}" + (f", with LoRA {lora}." if lora != full else ".")
    if others:
        comment += f" Or {' or '.join(signature(other) for other in others)}."
    return _line(signature(first), comment)


def _optional(trainer: Trainer) -> list[str]:
    """The trainer's own parameters; those that all trainers read are listed with the first trainer."""
    own: list[str] = []
    shared: list[str] = []
    for group in GROUPS:
        if group.switch is not None or all(param.command for param in group.params):
            continue
        lines = [_line(_short(param), _comment(param, trainer)) for param in _readable(group, trainer)]
        if lines:
            is_own = _is_special(group.params[0])
            (own if is_own else shared).append(f"# {group.title}\n" + "\n".join(lines))
    first = next(iter(TRAINERS.values()))
    if trainer is not first:
        shared = _own_defaults(trainer)
    text = (
        []
        if trainer is first
        else [
            f"Everything in the list of the [{trainer_title(first)}]({anchor(trainer_title(first))}) that all trainers read, and:"
        ]
    )
    return [*text, block("\n\n".join([*own, *shared, _switches(trainer)]))]


def _own_defaults(trainer: Trainer) -> list[str]:
    required = {name for names in trainer.requires for name in names.split("|")}
    params = [PARAMS[name] for name in trainer.defaults if name not in required and not _is_special(PARAMS[name])]
    lines = [_line(_short(param), _comment(param, trainer)) for param in params]
    return ["# With a default of its own\n" + "\n".join(lines)] if lines else []


def _is_special(param: Param) -> bool:
    return len(trainers_that_read(param.name)) < len(TRAINERS)


def _switches(trainer: Trainer) -> str:
    switches = [PARAMS[name] for name in dict.fromkeys(group.switch for group in GROUPS if group.switch)]
    readable = [param for param in switches if verdict(param, trainer) == READS]
    lines = [_line(param.flag, param.help + (f" {NOT_YET}" if is_planned(param) else "")) for param in readable]
    return "# Features with flags of their own: see Cross-cutting features\n" + "\n".join(lines)


def _readable(group: Group, trainer: Trainer) -> list[Param]:
    required = {name for names in trainer.requires for name in names.split("|")} | {"trainer"}
    return [
        param
        for param in group.params
        if param.name not in required and not param.command and verdict(param, trainer) == READS
    ]


def _short(param: Param) -> str:
    return (
        f"{param.flag} {'NAME' if param.choices else param.placeholder}".rstrip()
        if param.kind != "switch"
        else param.flag
    )


def _comment(param: Param, trainer: Trainer) -> str:
    choices = f" {', '.join(param.choices)}." if param.choices else ""
    words = default(param, trainer)
    return f"{param.help}{choices}" + (f" Default: {words}." if words != "–" else "")


def _incompatible(trainer: Trainer) -> list[str]:
    """Ignored parameters with the trainers that read them; then those accepted without effect, and those refused."""
    lines = []
    for group in GROUPS:
        foreign = [param for param in group.params if verdict(param, trainer) == FOREIGN]
        if foreign:
            who = ", ".join(reader.name for reader in trainers_that_read(foreign[0].name))
            lines += [_line(param.flag, f"Only for {who}.") for param in foreign]
    parts = ["Ignored, each with a warning:", block("\n".join(lines))] if lines else []
    unused = [param for param in PARAMS.values() if verdict(param, trainer) == UNUSED]
    if unused:
        rows = "\n".join(_line(signature(param), f"{trainer.unused[param.name]}.") for param in unused)
        parts += ["Accepted without effect, each with a warning:", block(rows)]
    refused = [param for param in PARAMS.values() if verdict(param, trainer) == REFUSED]
    if refused:
        rows = "\n".join(_line(param.flag, f"Not supported with {trainer.name}.") for param in refused)
        parts += ["Refused, so that nothing starts:", block(rows)]
    return parts or ["None: every parameter has an effect."]


def _examples(trainer: Trainer) -> list[str]:
    parts = []
    for example in trainer.examples:
        flags = f"--trainer {example.trainer or trainer.name} {example.flags}"
        parts.append(f"# {example.title}\n{command(flags)}")
    return [block("\n\n".join(parts))]


def _mixins() -> str:
    parts = [guide_text.MIXINS_INTRODUCTION]
    for group in GROUPS:
        if group.switch is None:
            continue
        trainers = trainers_that_read(group.params[0].name)
        for_whom = "all trainers" if len(trainers) == len(TRAINERS) else ", ".join(trainer.name for trainer in trainers)
        rows = [(f"`{signature(param)}`", param.help, default(param), allowed(param)) for param in group.params]
        parts += [f"### {group.title}", f"{group.summary} For {for_whom}."]
        parts += [f"> {NOT_YET}"] if not group.available else []
        parts.append(table(("Flag", "What it does", "Default", "Allowed"), rows))
    return "\n\n".join([*parts, *_metrics()])


def _metrics() -> list[str]:
    """The names of `--eval-metrics`."""
    rows = [
        (
            f"`{metric.name}`",
            metric.title,
            ", ".join(name for name in TRAINERS if metric.makes_sense_for(TRAINERS[name])),
        )
        for metric in METRICS.values()
    ]
    return ["### Metrics of `--eval-metrics`", table(("Metric", "What it is", "Trainers"), rows)]


def _which_trainer() -> str:
    return "\n".join(f"- **{trainer.name}:** {trainer.summary}" for trainer in TRAINERS.values())


def _usual_values() -> str:
    """The values that each trainer is usually started with."""
    rows = []
    for trainer in TRAINERS.values():
        rates, batch, epochs = (trainer.usual[name] for name in ("lr", "batch_size", "epochs"))
        low, high = trainer.usual_ranks
        batches = (
            plain(batch.full) if batch.full == batch.lora else f"{plain(batch.full)}, with LoRA {plain(batch.lora)}"
        )
        rows.append(
            (f"`{trainer.name}`", plain(rates.full), plain(rates.lora), f"{low} to {high}", batches, plain(epochs.full))
        )
    head = ("Trainer", "`--lr`, all weights", "`--lr` with LoRA", "`--lora-r`", "`--batch-size`", "`--epochs`")
    return table(head, rows)


def _every_parameter() -> str:
    """The full table, group by group."""
    head = ("Flag", "Kind", "Default", "Allowed", "Trainers", "What it does")
    parts = []
    for group in GROUPS:
        rows = [
            (f"`{param.flag}`", KIND_WORDS[param.kind], default(param), allowed(param), readers(param), param.help)
            for param in group.params
        ]
        parts += [
            f"### {group.title}" if group.switch is None else f"### Parameters of {group.title}",
            table(head, rows),
        ]
    return "\n\n".join(parts)
