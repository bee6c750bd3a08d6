"""What other tools train with where their configs say nothing, as far as it differs from the defaults here.

Read in their public sources: transformers 5.23 training_args.py, TRL 1.16 trainer/model_config.py, LLaMA-Factory hparams/finetuning_args.py and data_args.py,
axolotl utils/schemas/training.py, peft.py and config.py, ms-swift trainers/arguments.py and llm/argument/tuner_args.py. A default that is not
known for sure is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.declare.finding import WARNING, Finding, in_words
from autotrain_llm.declare.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from autotrain_llm.config.arguments import ParsedArguments

TWICE_THE_RANK = "twice the rank"
OF_ADAPTERS = ("lora_r", "lora_alpha", "lora_dropout")
MARKS = 2  # names that only one tool has, from which on a file is its own


class Tool(Record):
    """Another tool: the names by which its configs are recognised, and its defaults by the parameter here. `with_adapter`: it trains an adapter where nothing
    else is said."""

    name: str
    marks: frozenset[str]
    defaults: Mapping[str, Any]
    with_adapter: bool = False


OF_TRANSFORMERS = {"warmup_ratio": 0.0, "weight_decay": 0.0}
TOOLS = (
    Tool(
        "LLaMA-Factory",
        frozenset(
            [
                "stage",
                "finetuning_type",
                "cutoff_len",
                "dataset_dir",
                "lora_rank",
                "lora_target",
                "template",
                "pref_beta",
                "pref_loss",
                "freeze_trainable_layers",
                "mask_history",
                "train_on_prompt",
                "val_size",
                "do_train",
            ]
        ),
        {**OF_TRANSFORMERS, "block_size": 2048, "lora_r": 8, "lora_alpha": TWICE_THE_RANK, "lora_dropout": 0.0},
        with_adapter=True,
    ),
    Tool(
        "ms-swift",
        frozenset(
            [
                "sft_type",
                "train_type",
                "tuner_type",
                "rlhf_type",
                "split_dataset_ratio",
                "loss_scale",
                "lora_rank",
                "truncation_strategy",
                "torch_dtype",
            ]
        ),
        {"warmup_ratio": 0.0, "weight_decay": 0.1, "scheduler": "cosine", "lora_r": 8},
        with_adapter=True,
    ),
    Tool(
        "axolotl",
        frozenset(
            [
                "base_model",
                "sequence_len",
                "micro_batch_size",
                "val_set_size",
                "adapter",
                "datasets",
                "sample_packing",
                "lora_target_linear",
                "train_on_inputs",
            ]
        ),
        {"weight_decay": 0.0, "scheduler": "cosine", "block_size": 512, "lora_dropout": 0.0},
    ),
    Tool(
        "TRL",
        frozenset(
            [
                "model_name_or_path",
                "dataset_name",
                "num_train_epochs",
                "per_device_train_batch_size",
                "learning_rate",
                "lora_target_modules",
                "use_peft",
                "reward_funcs",
                "dataset_train_split",
            ]
        ),
        OF_TRANSFORMERS,
    ),
)


def recognised(names: Mapping[str, Any]) -> Tool | None:
    """The tool whose names a file has, most of them; the first of several with as many."""
    tool = max(TOOLS, key=lambda tool: len(tool.marks & {*names}))
    return tool if len(tool.marks & {*names}) >= MARKS else None


def other_defaults(arguments: ParsedArguments, file: str) -> Finding | None:
    """The finding for a config of another tool that leaves out what that tool has another default for; None if nothing differs."""
    tool = recognised(arguments.beside)
    if tool is None:
        return None
    meant = {name: value for item in arguments.unread for name, value in item.finding.suggestion.items()}
    given = {**meant, **arguments.known()}
    trainer = TRAINERS[given.get("trainer") or PARAMS["trainer"].default]
    has_adapter = bool(given.get("peft", tool.with_adapter))
    rank = given.get("lora_r") or tool.defaults.get("lora_r", 0)
    differing: dict[str, Any] = {} if "peft" in given or not has_adapter else {"peft": True}
    for name, value in tool.defaults.items():
        value = 2 * int(rank) if value == TWICE_THE_RANK else value
        is_read = trainer.reads(name) and (has_adapter or name not in OF_ADAPTERS)
        if is_read and name not in given and value != PARAMS[name].default:
            differing[name] = value
    return _finding(tool, differing, file) if differing else None


def _finding(tool: Tool, differing: Mapping[str, Any], file: str) -> Finding:
    defaults = {name: PARAMS[name].default for name in differing}
    message = f"{file} has names of {tool.name}, which trains with {in_words(differing)} where nothing is given; the defaults here are {in_words(defaults)}"
    fix = f"{in_words(differing)}, to train as {tool.name} does; as it is, the defaults here are used"
    return Finding(message, fix, tuple(differing), WARNING, file=file, code="P163")
