"""Flags that are accepted so that commands and configs written for other tools run, and names that are only pointed to.

ACCEPTED is the one list of what does nothing or stands for something else here, each with what it says; FOREIGN maps names that
people type out of habit to ours, BY_TRAINER those that mean another parameter with each trainer, NOT_HERE those that nothing here
answers to, and MEANT the words for a choice.
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

# What people type out of habit, by what it is called here.
HABITS = {
    "attn_implementation": (
        "attention_implementation attn_impl flash_attention flash_attention_2 flash_attn use_flash_attention "
        "use_flash_attn"
    ),
    "batch_size": (
        "bs micro_batch_size micro_train_batch_size per_device_batch_size per_device_train_batch_size "
        "per_device_train_micro_batch_size per_gpu_train_batch_size train_batch_size "
        "train_micro_batch_size_per_gpu"
    ),
    "block_size": (
        "context_length ctx_len cutoff_len max_context_length max_input_length max_len max_length max_tokens "
        "seq_len seq_length sequence_len"
    ),
    "chat_template": "chat_format chat_template_path conversation_template prompt_template template template_name",
    "data_path": (
        "data data_dir data_file data_files dataset dataset_dir dataset_file dataset_name dataset_path datasets "
        "train_data train_data_path train_dataset train_dataset_path train_file train_path training_data"
    ),
    "distill_alpha": "distillation_alpha kd_alpha kd_ratio",
    "distill_temperature": "distillation_temperature kd_temp kd_temperature",
    "distributed_backend": "ddp_backend deepspeed deepspeed_config fsdp fsdp_config use_deepspeed zero zero_stage",
    "dpo_beta": "pref_beta",
    "dpo_loss": "dpo_loss_type pref_loss",
    "early_stopping_patience": "early_stopping",
    "epochs": "epoch max_epochs n_epoch n_epochs num_epochs num_train_epochs total_epochs train_epochs",
    "eval_batch_size": "per_device_eval_batch_size",
    "eval_dataset_path": (
        "eval_data eval_data_path eval_dataset eval_dataset_name eval_file test_datasets test_file val_dataset "
        "val_file valid_dataset valid_file valid_path validation_dataset validation_file"
    ),
    "eval_metrics": "metrics",
    "eval_strategy": "evaluation_strategy",
    "gradient_accumulation": (
        "accumulate_grad_batches accumulation_steps grad_accum grad_accumulation_steps gradient_accumulation_step "
        "gradient_accumulation_steps"
    ),
    "gradient_checkpointing": "activation_checkpointing use_gradient_checkpointing",
    "label_smoothing": "label_smoothing_factor",
    "log": "logger report report_to tracker use_wandb wandb",
    "logging_steps": "log_interval log_steps logging_interval",
    "lora_alpha": "alpha_lora lora_a",
    "lora_r": "lora_dim lora_rank r rank",
    "lr": "learning_rate rate",
    "max_grad_norm": "clip_grad clip_grad_norm grad_clip gradient_clip gradient_clipping max_grad_clip max_norm",
    "max_samples": "max_rows max_train_samples num_samples train_dataset_sample",
    "max_steps": "max_train_steps num_steps num_train_steps total_steps",
    "mixed_precision": "amp bf16 compute_dtype dtype fp16 half precision torch_dtype use_bf16 use_fp16",
    "model": (
        "adapter_name_or_path base_model base_model_name_or_path checkpoint lora_model_dir model_id "
        "model_id_or_path model_name model_name_or_path model_path pretrained_model pretrained_model_name_or_path"
    ),
    "model_ref": "ref ref_model ref_model_name_or_path ref_model_path reference_model reference_model_path",
    "optimizer": "adam_beta1 optim optim_type optimizer_type",
    "output_dir": "checkpoint_dir experiment_name out_dir output run_name save_dir save_path",
    "overwrite": "overwrite_output_dir",
    "packing": "pack packed sample_packing",
    "peft": "adapter finetuning_type lora sft_type train_type tuner_type use_lora use_peft",
    "prompt_text_column": "instruction_column prompt_column prompt_field question_column",
    "push_to_hub": "hub_model_id hub_repo_id repo_id",
    "quantization": (
        "bits load_in_4bit load_in_8bit qlora quant_bits quant_method quantization_bit quantize use_4bit use_8bit "
        "use_qlora"
    ),
    "rejected_text_column": "rejected_column rejected_field",
    "response_only_loss": (
        "assistant_only_loss completion_only_loss loss_on_completion mask_prompt train_on_responses_only"
    ),
    "resume_from_checkpoint": "resume_from resume_path",
    "rl_clip_range": "clip_eps clip_range cliprange epsilon",
    "rl_gae_lambda": "gae_lambda lam",
    "rl_gamma": "gamma",
    "rl_kl_coef": "init_kl_coef kl_coef kl_coefficient kl_penalty",
    "rl_max_new_tokens": "generate_max_len max_response_length response_length",
    "rl_mini_batch_size": "mini_batch_size",
    "rl_num_generations": "group_size n_generations num_return_sequences",
    "rl_num_ppo_epochs": "num_iterations num_ppo_epochs ppo_epochs",
    "rl_reward_fn": "reward_fn reward_func reward_funcs reward_function",
    "rl_reward_model_path": "reward_model reward_model_dir reward_model_name_or_path reward_model_path rm rm_path",
    "rl_value_loss_coef": "value_loss_coef vf_coef",
    "scheduler": "lr_decay_style lr_schedule lr_scheduler lr_scheduler_type",
    "seed": "data_seed random_seed",
    "sweep_n_trials": "n_trials num_trials",
    "sweep_params": "hp_space search_space",
    "target_modules": (
        "lora_modules lora_target lora_target_linear lora_target_modules lora_target_parameters "
        "peft_target_modules target_module"
    ),
    "teacher_model": "teacher teacher_model_name_or_path teacher_model_path teacher_name teacher_path",
    "text_column": (
        "answer_column chosen_column chosen_text_column column completion_column dataset_text_field input_column "
        "messages_column response_column text_field"
    ),
    "token": "hf_access_token hf_token hub_token",
    "tokenizer": "tokenizer_dir tokenizer_id tokenizer_name tokenizer_name_or_path tokenizer_path",
    "train_split": "dataset_split split",
    "trainer": "algo algorithm method rlhf_type stage task train_method trainer_type use_dpo use_ppo",
    "valid_split": (
        "eval_ratio eval_split split_dataset_ratio test_size val_ratio val_set_size val_size val_split valid_size "
        "validation_split"
    ),
    "warmup_ratio": "num_warmup_steps warmup warmup_fraction warmup_proportion warmup_steps",
    "weight_decay": "wd",
}
FOREIGN = {name: ours for ours, names in HABITS.items() for name in names.split()}

# What other tools have a flag for and this one does not, and why it is not missed.
NOT_HERE = {
    **dict.fromkeys(
        ("num_gpus", "gpus", "n_gpus", "num_processes", "nproc_per_node", "world_size", "num_nodes", "nnodes"),
        "how many processes there are says the launcher: torchrun --nproc-per-node N -m autotrain_llm llm …",
    ),
    **dict.fromkeys(
        ("gpu", "gpu_id", "gpu_ids", "device", "devices", "device_map", "local_rank", "cuda", "use_cpu", "no_cuda"),
        "the devices are those that CUDA_VISIBLE_DEVICES leaves to see",
    ),
    **dict.fromkeys(
        ("num_workers", "dataloader_num_workers", "preprocessing_num_workers", "dataset_num_proc", "overwrite_cache"),
        "rows are prepared before the training, on all cores, and kept",
    ),
    **dict.fromkeys(("remove_unused_columns", "save_safetensors", "do_train", "do_eval"), "it is always so here"),
    **dict.fromkeys(
        ("group_by_length", "pad_to_multiple_of"), "rows are laid out without padding where the model allows it"
    ),
    **dict.fromkeys(
        ("pad_token", "special_tokens", "resize_vocab"),
        "the tokens are those of the tokenizer, whose files can be changed",
    ),
    **dict.fromkeys(
        ("modules_to_save", "lora_modules_to_save", "additional_target"),
        "new tokens and heads are trained and saved with an adapter by themselves",
    ),
    **dict.fromkeys(
        ("lora_bias", "lora_task_type", "task_type", "fan_in_fan_out"),
        "the adapter's other settings follow from the trainer",
    ),
    **dict.fromkeys(("tf32", "bf16_full_eval", "torch_compile"), "what a GPU computes fastest in is chosen by itself"),
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
    "distributed_backend": {
        **dict.fromkeys(
            ("deepspeed", "deepspeed_config", "use_deepspeed", "zero", "zero_stage", "zero2", "zero3"), "fsdp"
        ),
        "fsdp_config": "fsdp",
        "nccl": "ddp",
        "gloo": "ddp",
    },
    "eval_strategy": {"true": "epoch", "yes": "epoch", "false": "no", "none": "no"},
    "mixed_precision": {
        **dict.fromkeys(("no", "none", "false", "float32", "32", "full", "float"), "fp32"),
        **dict.fromkeys(("bfloat16", "bf16-mixed", "auto", "true", "use_bf16"), "bf16"),
        **dict.fromkeys(("float16", "half", "16", "amp", "fp16-mixed", "use_fp16"), "fp16"),
    },
    "optimizer": {
        **dict.fromkeys(("adam", "adamw", "adamw_apex_fused", "torch"), "adamw_torch"),
        **dict.fromkeys(("adamw_8bit", "adam8bit", "adamw8bit", "8bit"), "adamw_bnb_8bit"),
        "paged_adamw_32bit": "paged_adamw_8bit",
    },
    "quantization": {
        **dict.fromkeys(
            ("4bit", "4", "nf4", "fp4", "bnb_4bit", "q4", "qlora", "use_qlora", "use_4bit", "true"), "int4"
        ),
        **dict.fromkeys(("8bit", "8", "bnb_8bit", "q8", "use_8bit", "fp8"), "int8"),
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
