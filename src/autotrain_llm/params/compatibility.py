"""Flags that are accepted so that commands and configs written for other tools run, and names that are only pointed to.

ACCEPTED is the one list of what does nothing or stands for something else here, each with what it says; FOREIGN maps names that
people type out of habit to ours.
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
    "beta": "dpo_beta",
    "bf16": "mixed_precision",
    "bs": "batch_size",
    "cutoff_len": "block_size",
    "dataset": "data_path",
    "dataset_name": "data_path",
    "dataset_path": "data_path",
    "eval_dataset": "eval_dataset_path",
    "evaluation_strategy": "eval_strategy",
    "fp16": "mixed_precision",
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
    "reward_model": "rl_reward_model_path",
    "reward_model_path": "rl_reward_model_path",
    "sequence_len": "block_size",
    "stage": "trainer",
    "task": "trainer",
    "train_batch_size": "batch_size",
    "train_file": "data_path",
    "trainer_type": "trainer",
    "use_lora": "peft",
    "use_peft": "peft",
    "warmup_steps": "warmup_ratio",
}
