"""Values of other tools that have parts, or that depend on what stands beside them: each part is translated, and one that can't be is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.convert import FALSE, TRUE
from autotrain_llm.declare.document import load_json
from autotrain_llm.declare.text import plain
from autotrain_llm.params.distributed import FULL, PARAMETERS
from autotrain_llm.params.training import DECAY_SHAPES


class Parts(NamedTuple):
    """What a value stands for: the changes, and a clause for each part that they don't carry out."""

    changes: dict[str, Any]
    lost: tuple[str, ...] = ()


Translate = Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Parts | None]


def parts_of(name: str, raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """What a name of another tool and its value stand for; None for a name without parts, or if nothing is known of the value. `given` are the values parsed so
    far, `beside` all names of the same source with their values as they were written."""
    translate = TRANSLATED.get(name) or TRANSLATED.get(".".join(name.split(".")[-2:]))
    return translate(raw, given, beside) if translate and raw is not None else None


# --- the schedule of the learning rate: transformers 5.23, optimization.py


def _schedule(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    settings = _mapping(raw)
    if settings is None:
        return None
    changes: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in settings.items():
        part = _of_schedule(name, value, given)
        if isinstance(part, str):
            lost.append(part)
        else:
            changes |= part
    return Parts(changes, tuple(lost))


def _of_schedule(name: str, value: Any, given: Mapping[str, Any]) -> dict[str, Any] | str:
    """The changes for one setting of a schedule, or why there are none."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if name in ("min_lr", "lr_end") and number is not None:
        return _as_share("min_lr_ratio", name, number, given.get("lr"), "--lr")
    if name in ("min_lr_rate", "min_lr_ratio") and number is not None:
        return {"min_lr_ratio": number}
    if name == "power" and number is not None:
        return {"polynomial_power": number}
    if name == "num_decay_steps" and number is not None:
        return _as_share("decay_ratio", name, number, given.get("max_steps"), "the steps of the run")
    if name == "decay_type" and value in DECAY_SHAPES:
        return {"decay_shape": value}
    if (name, value) in (("num_cycles", 0.5), ("warmup_type", "linear")):
        return {}  # as it is here
    return UNTRANSLATED.get(name, f"{name} has no counterpart")


UNTRANSLATED = {
    "num_cycles": "num_cycles has no counterpart: the rate falls once",
    "num_stable_steps": "num_stable_steps is what --warmup-ratio and --decay-ratio leave",
    "timescale": "timescale has no counterpart: it is the number of warm-up steps",
    "warmup_type": "warmup_type has no counterpart: the rate rises linearly",
    "warmup_lr_rate": "warmup_lr_rate has no counterpart: the rate rises from 0",
}


def _as_share(parameter: str, name: str, number: float, whole: Any, words: str) -> dict[str, Any] | str:
    """A number as its share of another that is known, to four digits."""
    if not isinstance(whole, int | float) or whole <= 0:
        return f"{name} {plain(number)} is --{parameter.replace('_', '-')} X, where X is {plain(number)} divided by {words}"
    return {parameter: float(f"{number / whole:.4g}")}


def _schedule_of_verl(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """Its constant rate has a warm-up."""
    return Parts({"scheduler": "constant_with_warmup"}) if str(raw) == "constant" else None


# --- how a model is divided


def _deepspeed(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    settings = _mapping(raw) or (_file(raw) if isinstance(raw, str) else None)
    stage = _stage_of(settings) if settings else _stage_named(str(raw))
    if stage is None:
        return None
    text = (str(settings) if settings else str(raw)).lower()
    offloads = "offload" in text
    if stage < 3:  # what is divided changes the memory, and no number
        lost = ["weights and states stay on the GPUs"] if offloads else []
        lost.append(
            f"of ZeRO-{stage} nothing has to be said: --shard auto divides the model where a copy would not fit into a GPU"
        )
        return Parts({}, tuple(lost))
    moved = {"offload": PARAMETERS} if offloads else {}
    return Parts({"shard": FULL, **moved}, ("FSDP2 divides the model as ZeRO-3 does",))


def _stage_of(settings: Mapping[str, Any]) -> int | None:
    zero = settings.get("zero_optimization")
    stage = zero.get("stage", 0) if isinstance(zero, dict) else 0
    return stage if isinstance(stage, int) else None


def _stage_named(name: str) -> int | None:
    """The stage that the name of a file or a preset tells: `zero3`, `ds_z2_config.json`, `stage_3.json`."""
    found = re.search(r"(?:zero|z|stage)[_-]?([0-3])", Path(name).name.lower())
    return int(found[1]) if found else None


def _fsdp(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    words = str(" ".join(map(str, raw)) if isinstance(raw, list | tuple) else raw).replace(",", " ").split()
    left = [word for word in words if word not in ("auto_wrap", "offload")]
    if not words or len(left) > 1 or (len(words) == 1 and left):
        return None
    kinds = {"full_shard": "full", "hybrid_shard": "hybrid", "no_shard": "none"}
    kind = kinds.get(left[0]) if left else "full"
    moved = {"offload": PARAMETERS} if "offload" in words and kind != "none" else {}
    lost = []
    if kind is None:
        kind = "hybrid" if "hybrid" in left[0] else "full"
        lost.append("the weights are divided too")
    return Parts({"shard": kind, **moved}, tuple(lost))


# --- rows and tokens


def _prompts_of_a_rollout(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """verl counts the prompts of a rollout, and with sft the rows of an optimizer step."""
    trainer = TRAINERS.get(str(given.get("trainer") or ""))
    if trainer is None or not str(raw).isdecimal():
        return None
    if not trainer.samples:
        return Parts({"global_batch": int(raw)})
    answers = next((value for name, value in beside.items() if name.endswith("rollout.n")), 1)
    return Parts({"rl_chunk_size": int(raw) * int(answers)}) if str(answers).isdecimal() else None


def _longest_prompt(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """Where answers are sampled, the rows are prompts."""
    trainer = TRAINERS.get(str(given.get("trainer") or ""))
    return Parts({"block_size": int(raw)}) if trainer and trainer.samples and str(raw).isdecimal() else None


def _loss_scale(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """ms-swift's names of what is trained on."""
    if str(raw) == "all":
        trainer = TRAINERS.get(str(given.get("trainer") or "sft"))
        return Parts({"response_only_loss": False}) if trainer and trainer.reads("response_only_loss") else None
    if str(raw) == "default":
        return Parts({}, ("every answer is trained on, with the same weight, as `default` has it",))
    return None


def _scaled_rewards(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """TRL divides by the standard deviation of the group, of the batch, or not."""
    trainer = TRAINERS.get(str(given.get("trainer") or ""))
    if trainer is None or not trainer.reads("rl_advantage"):
        return None
    if str(raw).lower() in (*FALSE, "none"):
        return Parts({"rl_advantage": "dr_grpo"})
    return Parts({"rl_advantage": "grpo"}) if str(raw).lower() in (*TRUE, "group") else None


def _tokens(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """PEFT takes ids, or ids for each matrix."""
    settings = _mapping(raw)
    lists = list(settings.values()) if settings is not None else []
    if not lists or not all(isinstance(ids, list) for ids in lists):
        return None
    tokens = sorted({index for ids in lists for index in ids})
    return Parts(
        {"trainable_tokens": tokens},
        () if all(sorted(ids) == tokens for ids in lists) else ("the same tokens are trained in embedding and head",),
    )


def _split(raw: Any, given: Mapping[str, Any], beside: Mapping[str, Any]) -> Parts | None:
    """A part of a split, as `datasets` writes it."""
    sliced = re.fullmatch(r"([\w.-]+)\[.*\]", str(raw))
    if sliced is None or re.fullmatch(r"[\w.-]+\[:\d+\]", str(raw)):  # the first rows are --max-samples
        return None
    return Parts({"train_split": sliced[1]}, ("a split is used as a whole, of which --max-samples limits the rows",))


def _mapping(raw: Any) -> Mapping[str, Any] | None:
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        try:
            raw = load_json(raw)
        except ValueError:
            return None
    return raw if isinstance(raw, Mapping) else None


def _file(path: str) -> Mapping[str, Any] | None:
    try:
        return _mapping(load_json(Path(path).expanduser().read_text(encoding="utf-8")))
    except (OSError, ValueError, RuntimeError):
        return None


TRANSLATED: dict[str, Translate] = {
    "lr_scheduler_kwargs": _schedule,
    "lr_scheduler_args": _schedule,
    "optim.lr_scheduler_type": _schedule_of_verl,
    "optim.warmup_style": _schedule_of_verl,
    "deepspeed": _deepspeed,
    "deepspeed_config": _deepspeed,
    "fsdp": _fsdp,
    "data.train_batch_size": _prompts_of_a_rollout,
    "data.max_prompt_length": _longest_prompt,
    "loss_scale": _loss_scale,
    "scale_rewards": _scaled_rewards,
    "trainable_token_indices": _tokens,
    "peft_trainable_token_indices": _tokens,
    "split": _split,
    "dataset_split": _split,
    "dataset_train_split": _split,
}
