"""Flags that are accepted so that commands and configs written for other tools run, and names that are only pointed to.

ACCEPTED is the one list of what does nothing or stands for something else here, each with what it says; FOREIGN maps names that
people type out of habit to ours, BY_TRAINER those that mean another parameter with each trainer, NOT_HERE those that nothing here
answers to, and MEANT the words for a choice, OTHER_TRAINER those for a choice that is a trainer here.
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
        "attention_implementation attn_impl flash_attention flash_attention_2 flash_attn sdp_attention "
        "use_flash_attention use_flash_attn xformers_attention"
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
    "eval_metrics": "compute_metrics metrics",
    "eval_strategy": "evaluation_strategy",
    "gradient_accumulation": (
        "accumulate_grad_batches accumulation_steps grad_accum grad_accumulation_steps gradient_accumulation_step "
        "gradient_accumulation_steps"
    ),
    "gradient_checkpointing": (
        "activation_checkpointing enable_activation_checkpointing enable_gradient_checkpointing "
        "use_gradient_checkpointing"
    ),
    "hub_private": "hub_private_repo is_private private private_repo",
    "kto_desirable_weight": "desirable_weight kto_chosen_weight",
    "kto_undesirable_weight": "kto_rejected_weight undesirable_weight",
    "label_smoothing": "label_smoothing_factor",
    "log": "logger metric_logger report report_to tracker use_wandb wandb",
    "logging_steps": "log_interval log_steps logging_interval",
    "lora_alpha": "alpha_lora lora_a",
    "lora_dropout": "lora_dropout_p",
    "lora_r": "lora_dim lora_rank r rank",
    "lr": "learning_rate rate",
    "max_grad_norm": "clip_grad clip_grad_norm grad_clip gradient_clip gradient_clipping max_grad_clip max_norm",
    "max_samples": "max_rows max_train_samples num_samples train_dataset_sample",
    "max_steps": "max_train_steps num_steps num_train_steps total_steps",
    "merge_adapter": "export_merged merge_and_unload merge_lora merge_weights save_merged",
    "mixed_precision": "amp bf16 compute_dtype dtype fp16 half precision torch_dtype use_bf16 use_fp16",
    "model": (
        "adapter_name_or_path adapter_path base_model base_model_name_or_path checkpoint init_adapter "
        "lora_model_dir model_id model_id_or_path model_name model_name_or_path model_path pretrained_model "
        "pretrained_model_name_or_path sft_model_path"
    ),
    "model_ref": "ref ref_model ref_model_name_or_path ref_model_path reference_model reference_model_path",
    "optimizer": "optim optim_type optimizer_type",
    "output_dir": "checkpoint_dir experiment_name export_dir out_dir output run_name save_dir save_path",
    "overwrite": "overwrite_output_dir",
    "packing": "pack packed sample_packing",
    "peft": "adapter finetuning_type lora lora_type peft_type sft_type train_type tuner_type use_lora use_peft",
    "prompt_text_column": "instruction_column prompt_column prompt_field question_column",
    "push_to_hub": "hub_model_id hub_name hub_repo_id push_to_hub_id push_to_hub_model_id repo_id repository_id",
    "quantization": (
        "bits load_in_4bit load_in_8bit qlora quant_bits quant_method quantization_bit quantize use_4bit use_8bit "
        "use_int4 use_int8 use_qlora"
    ),
    "rejected_text_column": "rejected_column rejected_field",
    "response_only_loss": (
        "assistant_only_loss completion_only_loss loss_on_completion mask_prompt train_on_completions_only "
        "train_on_input train_on_inputs train_on_prompt train_on_responses_only train_on_source"
    ),
    "resume_from_checkpoint": "resume_from resume_path",
    "rl_advantage": "adv_estimator advantage_estimator",
    "rl_chunk_size": "generation_batch_size rollout_batch_size",
    "rl_clip_range": "clip_eps clip_range cliprange epsilon",
    "rl_gae_lambda": "gae_lambda lam",
    "rl_gamma": "gamma",
    "rl_generation": "use_vllm",
    "rl_kl_coef": "init_kl_coef kl_coef kl_coefficient kl_penalty",
    "rl_max_new_tokens": "generate_max_len max_response_length response_length",
    "rl_mini_batch_size": "mini_batch_size ppo_mini_batch_size",
    "rl_missing_end_penalty": "missing_eos_penalty non_eos_penalty",
    "rl_num_generations": (
        "group_size n_generations n_samples_per_prompt num_generations num_return_sequences num_samples_per_prompt"
    ),
    "rl_num_ppo_epochs": "num_iterations num_ppo_epochs ppo_epochs",
    "rl_reward_fn": "reward_fn reward_func reward_funcs reward_function",
    "rl_reward_model_path": "reward_model reward_model_dir reward_model_name_or_path reward_model_path rm rm_path",
    "rl_reward_weights": "reward_weights",
    "rl_value_clip_range": "cliprange_value value_clip_range",
    "rl_value_loss_coef": "value_loss_coef vf_coef",
    "scheduler": "lr_decay_style lr_schedule lr_scheduler lr_scheduler_type",
    "seed": "data_seed random_seed random_state",
    "sweep_n_trials": "n_trials num_trials",
    "sweep_params": "hp_space search_space",
    "target_modules": (
        "lora_modules lora_target lora_target_linear lora_target_modules lora_target_parameters "
        "peft_target_modules target_module"
    ),
    "teacher_model": "teacher teacher_model_name_or_path teacher_model_path teacher_name teacher_path",
    "text_column": (
        "answer_column chosen_column chosen_text_column column completion_column dataset_text_field field_messages "
        "input_column messages_column messages_field messages_key response_column text_field"
    ),
    "token": "hf_access_token hf_token hub_token huggingface_token push_to_hub_token",
    "tokenizer": "tokenizer_dir tokenizer_id tokenizer_name tokenizer_name_or_path tokenizer_path",
    "train_split": "dataset_split dataset_train_split split",
    "trainer": "algo algorithm method rlhf_type stage task train_method trainer_type use_dpo use_ppo",
    "username": "hf_user hf_username hub_organization hub_user hub_username organization push_to_hub_organization user",
    "valid_split": (
        "dataset_eval_split dataset_test_split eval_ratio eval_split split_dataset_ratio test_size val_ratio "
        "val_set_size val_size val_split valid_size validation_split"
    ),
    "warmup_ratio": (
        "lr_warmup_ratio lr_warmup_steps num_warmup num_warmup_steps warmup warmup_fraction warmup_proportion "
        "warmup_steps"
    ),
    "weight_decay": "wd",
}
FOREIGN = {name: ours for ours, names in HABITS.items() for name in names.split()}

# Why what other tools have a flag for is not missed here, and the flags.
WHY_NOT = {
    "how many processes there are says the launcher: torchrun --nproc-per-node N -m autotrain_llm llm …": (
        "num_gpus gpus n_gpus num_processes nproc_per_node world_size num_nodes nnodes n_gpu num_machines "
        "machine_rank tensor_parallel_size"
    ),
    "the devices are those that CUDA_VISIBLE_DEVICES leaves to see": (
        "gpu gpu_id gpu_ids device devices device_map local_rank cuda use_cpu no_cuda cuda_visible_devices "
        "use_mps_device half_precision_backend jit_mode_eval"
    ),
    "rows are prepared before the training, on all cores, and kept": (
        "num_workers dataloader_num_workers preprocessing_num_workers dataset_num_proc overwrite_cache "
        "dataset_batch_size dataset_prepared_path streaming dataloader_pin_memory dataloader_prefetch_factor "
        "preprocessing_batch_size"
    ),
    "it is always so here": "remove_unused_columns save_safetensors do_train do_eval average_tokens_across_devices",
    "rows are laid out without padding where the model allows it": (
        "group_by_length pad_to_multiple_of padding_free packing_strategy pad_to_sequence_len eval_packing "
        "eval_sample_packing multipack_real_batches group_by_modality_length length_column_name neat_packing"
    ),
    "the tokens are those of the tokenizer, whose files can be changed": (
        "pad_token special_tokens resize_vocab eos_token bos_token add_special_tokens add_bos_token "
        "use_fast_tokenizer tokenizer_use_fast add_tokens"
    ),
    "new tokens and heads are trained and saved with an adapter by themselves": (
        "modules_to_save lora_modules_to_save additional_target"
    ),
    "the adapter's other settings follow from the trainer": (
        "lora_bias lora_task_type task_type fan_in_fan_out init_lora_weights pissa_init layers_to_transform "
        "layer_replication rank_pattern alpha_pattern loraplus_lr_ratio lora_plus_lr_ratio loraplus_lr_embedding"
    ),
    "what a GPU computes fastest in is chosen by itself": (
        "tf32 bf16_full_eval torch_compile compile torch_compile_backend torch_compile_mode tuner_backend"
    ),
    "--log wandb writes there, and WANDB_PROJECT, WANDB_ENTITY and the other variables of wandb say where to": (
        "wandb_project wandb_entity wandb_name wandb_run_name wandb_run_id wandb_run_group wandb_dir wandb_mode "
        "wandb_log_model wandb_watch wandb_tags use_wandb_project"
    ),
    "--quantization int4 is NF4, quantised twice and computed in bf16": (
        "bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_use_double_quant bnb_4bit_quant_storage "
        "double_quantization double_quant use_double_quant use_nested_quant quantization_method quantization_type "
        "quant_type"
    ),
    "loss and head are computed together as it is, and the logits of a whole batch are never made": (
        "use_liger use_liger_kernel enable_liger_kernel liger liger_kernel use_liger_loss use_cce "
        "cut_cross_entropy fused_linear_cross_entropy use_logits_to_keep"
    ),
    "no noise is added to embeddings": "neftune_noise_alpha neftune neftune_alpha",
    "--optimizer says how steps are made, with the settings that are usual for it": (
        "use_galore galore_rank use_badam use_apollo use_adam_mini use_muon use_lomo optim_args "
        "optim_target_modules lisa_activated_layers adam_beta1 adam_beta2 beta1 beta2 adam_epsilon"
    ),
    "all weights are trained, or with --peft an adapter": (
        "freeze_trainable_layers freeze_trainable_modules freeze_vit unfrozen_parameters freeze_parameters "
        "full_finetuning full_finetune freeze_layers"
    ),
    "positions and attention are those of the model's config.json, which can be changed": (
        "rope_scaling rope_theta shift_attn s2_attention longlora"
    ),
    "a model's own dropout is in its config.json, and --lora-dropout is an adapter's": (
        "dropout attention_dropout hidden_dropout disable_dropout"
    ),
    "what there is for preferences: --dpo-loss, --dpo-beta, --label-smoothing, and --trainer orpo or kto": (
        "pref_ftx rpo_alpha simpo_gamma cpo_alpha ld_alpha discopop_tau f_divergence_type sft_alpha "
        "f_alpha_divergence_coef use_weighting reference_free loss_weights simpo_beta"
    ),
    "the reference is --model-ref, or the model as it was, and is computed once where that is cheaper": (
        "precompute_ref_log_probs precompute_ref_batch_size force_use_ref_model ref_adapter_name "
        "model_adapter_name sync_ref_model ref_model_mixup_alpha ref_model_sync_steps"
    ),
    "--rl-generation vllm writes the answers with vLLM, whose settings follow from the run": (
        "vllm_mode vllm_gpu_memory_utilization gpu_memory_utilization vllm_server_host vllm_server_port "
        "vllm_server_base_url vllm_tensor_parallel_size vllm_max_model_len fast_inference max_lora_rank "
        "vllm_max_model_length vllm_enable_sleep_mode"
    ),
    "the settings of sampled answers and their rewards all begin with --rl-": (
        "epsilon_high scale_rewards whiten_rewards normalize_reward use_score_scaling use_score_norm "
        "num_mini_batches local_rollout_forward_batch_size steps_per_generation min_p repetition_penalty"
    ),
    "what is learnt of a row follows from the trainer and --response-only-loss": (
        "label_names label_pad_token_id mask_history mask_truncated_completions roles_to_train"
    ),
    "--response-only-loss learns the answers alone, and the chat template says where they are": (
        "response_template instruction_template response_part instruction_part"
    ),
    "a system prompt stands in the rows: as their first turn, or in a column system": (
        "system system_prompt default_system system_message"
    ),
    "--data-path owner/name:config picks a configuration of a data set on the Hub": (
        "dataset_config dataset_config_name dataset_subset subset data_config"
    ),
    "rows come in another order in each epoch, which follows from --seed": (
        "shuffle shuffle_dataset dataset_shuffle train_dataloader_shuffle shuffle_buffer_size"
    ),
    "what of a long row is kept follows from the trainer": (
        "truncation_mode truncation_side truncation_strategy truncation"
    ),
    "--logging-steps and --log say how often and where to, and report.html draws what was logged": (
        "logging_dir logging_first_step logging_strategy log_level disable_tqdm plot_loss profiler "
        "include_tokens_per_second include_num_input_tokens_seen log_completions debug"
    ),
    "a checkpoint holds all that --resume needs": "save_only_model save_lora_only",
    "a run that is resumed goes on exactly where it was": "ignore_data_skip",
    "which way is better is known of every metric": "greater_is_better",
    "any improvement is one; --early-stopping-patience counts": "early_stopping_threshold early_stopping_min_delta",
    "--eval-strategy and --eval-steps say when it evaluates; --use-enhanced-eval also does before and after": (
        "eval_on_start eval_delay evals_per_epoch eval_accumulation_steps do_predict"
    ),
    "--use-enhanced-eval with --eval-metrics rouge or another metric of text compares answers that are written": (
        "predict_with_generate generation_config num_beams generation_num_beams"
    ),
    "--save-strategy and --save-steps say when it saves": "saves_per_epoch",
    "how processes work together follows from --distributed-backend": (
        "ddp_timeout ddp_find_unused_parameters ddp_bucket_cap_mb bucket_cap_mb fsdp_min_num_params "
        "fsdp_transformer_layer_cls_to_wrap deepspeed_plugin accelerator_config"
    ),
    "--gradient-checkpointing has no settings, and activations stay on the device": (
        "gradient_checkpointing_kwargs use_reentrant use_reentrant_gc activation_offloading "
        "enable_activation_offloading activation_cpu_offload"
    ),
    "--scheduler says how the learning rate falls": (
        "lr_scheduler_kwargs lr_scheduler_args min_lr min_lr_ratio cosine_min_lr_ratio lr_decay_ratio"
    ),
    "a mixture's own settings are in the model's config.json, which can be changed": (
        "moe_aux_loss_coef router_aux_loss_coef output_router_logits aux_loss_coef"
    ),
    "all rows are learnt from: the last batch of an epoch may be smaller": "dataloader_drop_last drop_last",
    "this package trains with its own engine": "use_unsloth use_unsloth_gc unsloth_gradient_checkpointing",
    "--seed decides everything random": "full_determinism deterministic",
    "--max-samples takes fewer rows, and --max-steps ends the run": "max_steps_per_epoch",
    "--push-to-hub uploads the finished model, once": "hub_strategy hub_always_push hub_revision hub_commit_message",
    "the finished model is saved as safetensors, of which llama.cpp makes GGUF": (
        "gguf save_gguf export_gguf save_method"
    ),
    "what kind of model it is is read from its files": ("model_type model_author type_of_model is_llama_derived_model"),
    "--use-distillation compares probabilities, with --distill-loss": "seq_kd kd_loss_type",
}
NOT_HERE = {name: why for why, names in WHY_NOT.items() for name in names.split()}

# The first that the trainer reads is meant.
BY_TRAINER: dict[str, tuple[str, ...]] = {
    "beta": ("dpo_beta", "kto_beta", "orpo_alpha", "rl_kl_coef"),
    "loss_type": ("dpo_loss", "rl_advantage", "distill_loss"),
    "alpha": ("orpo_alpha", "distill_alpha"),
    "loss": ("dpo_loss", "rl_advantage", "distill_loss"),
    "temperature": ("rl_temperature", "distill_temperature", "eval_temperature"),
    "top_k": ("rl_top_k", "distill_top_k"),
    "top_p": ("rl_top_p",),
    "lmbda": ("orpo_alpha",),
}

# Names that say the opposite of what they are called here.
OPPOSITE = frozenset(["train_on_input", "train_on_inputs", "train_on_prompt", "train_on_source"])

# Choices of other tools that are a trainer here.
OTHER_TRAINER: dict[str, dict[str, str]] = {"dpo_loss": {"kto_pair": "kto", "kto": "kto", "orpo": "orpo"}}

MEANT: dict[str, dict[str, str]] = {
    "attn_implementation": {
        "flash": "flash_attention_2",
        "flash_attn": "flash_attention_2",
        "fa2": "flash_attention_2",
        **dict.fromkeys(("flash_attention", "use_flash_attention", "use_flash_attn"), "flash_attention_2"),
        **dict.fromkeys(("auto", "sdp_attention", "xformers_attention", "xformers"), "sdpa"),
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
