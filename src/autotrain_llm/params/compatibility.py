"""Flags that are accepted so that commands and configs written for other tools run, and names that are only pointed to.

ACCEPTED is the one list of what does nothing or stands for something else here, each with what it says; FOREIGN maps names that
people type out of habit to ours, BY_TRAINER those that mean another parameter with each trainer, and MEANT the words for a choice.
"""

from __future__ import annotations

from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Accepted(Record):
    """`sets` are the parameters it stands for; `says` is the warning when it stands for nothing; `harmless` values need no word."""

    name: str
    says: str | None = None
    sets: Mapping[str, Any] = EMPTY
    takes_value: bool = False
    harmless: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return flag_of(self.name)


ACCEPTED = (
    Accepted("train", "training is what `autotrain llm` does; the flag has no effect"),
    Accepted(
        "advanced",
        "all advanced parameters are available by default, and the trainer's own validation warns about incompatible ones: "
        "remove the --advanced flag",
    ),
    Accepted(
        "padding",
        "rows are laid out as the model needs them, so there is no side to choose; the flag has no effect",
        takes_value=True,
    ),
    Accepted(
        "backend",
        "runs are always carried out on this machine; the flag has no effect",
        takes_value=True,
        harmless=("local", "local-cli", "local-ui"),
    ),
    Accepted(
        "auto_find_batch_size",
        "the batch size is the one you give; the flag has no effect",
        takes_value=True,
        harmless=("false",),
    ),
    Accepted(
        "unsloth",
        "this package trains with its own engine; the flag has no effect",
        takes_value=True,
        harmless=("false",),
    ),
    Accepted("disable_gradient_checkpointing", sets={"gradient_checkpointing": False}),
    Accepted("use_flash_attention_2", sets={"attn_implementation": "flash_attention_2"}),
)

RENAMED = {"project_name": "output_dir"}

FOREIGN = {
    "adam_beta1": "optimizer",
    "attention_implementation": "attn_implementation",
    "base_model": "model",
    "bf16": "mixed_precision",
    "bs": "batch_size",
    "cutoff_len": "block_size",
    "cliprange": "rl_clip_range",
    "ddp_backend": "distributed_backend",
    "deepspeed": "distributed_backend",
    "dataset": "data_path",
    "dataset_name": "data_path",
    "dataset_path": "data_path",
    "eval_dataset": "eval_dataset_path",
    "epsilon": "rl_clip_range",
    "evaluation_strategy": "eval_strategy",
    "finetuning_type": "peft",
    "flash_attn": "attn_implementation",
    "fp16": "mixed_precision",
    "fsdp": "distributed_backend",
    "gradient_accumulation_steps": "gradient_accumulation",
    "kl_coef": "rl_kl_coef",
    "learning_rate": "lr",
    "load_in_4bit": "quantization",
    "load_in_8bit": "quantization",
    "lora_rank": "lora_r",
    "lora_target": "target_modules",
    "lora_target_modules": "target_modules",
    "lr_scheduler": "scheduler",
    "lr_scheduler_type": "scheduler",
    "max_grad_clip": "max_grad_norm",
    "max_len": "block_size",
    "max_length": "block_size",
    "micro_batch_size": "batch_size",
    "model_id": "model",
    "model_name": "model",
    "model_name_or_path": "model",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "optim": "optimizer",
    "output": "output_dir",
    "per_device_eval_batch_size": "eval_batch_size",
    "per_device_train_batch_size": "batch_size",
    "pref_beta": "dpo_beta",
    "ref_model": "model_ref",
    "report_to": "log",
    "reward_funcs": "rl_reward_fn",
    "reward_model": "rl_reward_model_path",
    "reward_model_path": "rl_reward_model_path",
    "sequence_len": "block_size",
    "stage": "trainer",
    "template": "chat_template",
    "test_size": "valid_split",
    "task": "trainer",
    "train_batch_size": "batch_size",
    "train_file": "data_path",
    "trainer_type": "trainer",
    "use_lora": "peft",
    "val_size": "valid_split",
    "use_peft": "peft",
    "warmup_steps": "warmup_ratio",
}

# The first that the trainer reads is meant.
BY_TRAINER: dict[str, tuple[str, ...]] = {
    "beta": ("dpo_beta", "kto_beta", "orpo_alpha", "rl_kl_coef"),
    "loss_type": ("dpo_loss", "rl_advantage", "distill_loss"),
    "alpha": ("orpo_alpha", "distill_alpha"),
    "temperature": ("rl_temperature", "distill_temperature", "eval_temperature"),
    "lmbda": ("orpo_alpha",),
}

MEANT: dict[str, dict[str, str]] = {
    "attn_implementation": {
        "flash": "flash_attention_2",
        "flash_attn": "flash_attention_2",
        "fa2": "flash_attention_2",
        "auto": "sdpa",
    },
    "distributed_backend": {"deepspeed": "fsdp", "zero3": "fsdp", "zero2": "fsdp", "nccl": "ddp", "gloo": "ddp"},
    "eval_strategy": {"true": "epoch", "yes": "epoch", "false": "no", "none": "no"},
    "mixed_precision": {
        **dict.fromkeys(("no", "none", "false", "float32", "32", "full", "float"), "fp32"),
        **dict.fromkeys(("bfloat16", "bf16-mixed", "auto", "true"), "bf16"),
        **dict.fromkeys(("float16", "half", "16", "amp", "fp16-mixed"), "fp16"),
    },
    "optimizer": {
        **dict.fromkeys(("adam", "adamw", "adamw_apex_fused", "torch"), "adamw_torch"),
        **dict.fromkeys(("adamw_8bit", "adam8bit", "adamw8bit", "8bit"), "adamw_bnb_8bit"),
        "paged_adamw_32bit": "paged_adamw_8bit",
    },
    "quantization": {
        **dict.fromkeys(("4bit", "4", "nf4", "fp4", "bnb_4bit", "q4", "qlora", "true"), "int4"),
        **dict.fromkeys(("8bit", "8", "bnb_8bit", "q8", "fp8"), "int8"),
    },
    "save_strategy": {"true": "epoch", "yes": "epoch", "false": "no", "none": "no", "best": "epoch"},
    "scheduler": {
        "cosine_with_restarts": "cosine",
        "cosine_with_min_lr": "cosine",
        "reduce_lr_on_plateau": "linear",
        "polynomial": "linear",
        "wsd": "warmup_stable_decay",
        "none": "constant",
    },
    "sweep_backend": {"ray": "optuna", "sigopt": "optuna", "none": "optuna"},
    "trainer": {
        **dict.fromkeys(("pt", "pretrain", "pretraining", "clm", "causal", "lm"), "generic"),
        **dict.fromkeys(("instruct", "instruction", "chat", "finetune", "full", "lora"), "sft"),
        **dict.fromkeys(("rm", "reward_model", "reward_modeling"), "reward"),
        **dict.fromkeys(("rlhf", "rl"), "ppo"),
        "rloo": "grpo",
        **dict.fromkeys(("ipo", "simpo", "cpo"), "dpo"),
    },
}


def meant(parameter: str, word: str) -> str | None:
    """The choice that a word of other tools stands for; None where that is not known."""
    return MEANT.get(parameter, {}).get(word.strip().lower())
