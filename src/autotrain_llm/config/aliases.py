"""Flags of other tools: those that are accepted, and those that are only answered with what to use here.

A name that means exactly one of our parameters stands on its field (`param(..., aliases="learning_rate")`), other tools' words for a
choice too (`choice_aliases`) and those for a trainer on its declaration. Here is what a field can't express.
"""

from __future__ import annotations

from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Accepted(Record):
    """`sets` are the parameters it stands for; `warning` is the warning when it stands for nothing; `harmless` values need no word."""

    name: str
    warning: str | None = None
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
ACCEPTED_BY_NAME = {accepted.name: accepted for accepted in ACCEPTED}

# Switches of other tools that stand for a value of one of our parameters.
STANDS_FOR = {
    "fp16": ("mixed_precision", "fp16"),
    "bf16": ("mixed_precision", "bf16"),
    "load_in_4bit": ("quantization", "int4"),
    "load_in_8bit": ("quantization", "int8"),
    "use_int4": ("quantization", "int4"),
    "use_int8": ("quantization", "int8"),
    "wandb": ("log", "wandb"),
    "use_wandb": ("log", "wandb"),
    "lora_target_linear": ("target_modules", "all-linear"),
    "use_dpo": ("trainer", "dpo"),
    "use_ppo": ("trainer", "ppo"),
    "use_vllm": ("rl_generation", "vllm"),
}

# Switches that say the opposite of what ours says.
NEGATED = {
    "train_on_input": "response_only_loss",
    "train_on_inputs": "response_only_loss",
    "train_on_prompt": "response_only_loss",
    "train_on_source": "response_only_loss",
}

# Names that mean another parameter with each trainer: the first that the trainer reads.
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

# Choices of other tools that are trainers of their own here.
OTHER_TRAINER: dict[str, dict[str, str]] = {"dpo_loss": {"kto_pair": "kto", "kto": "kto", "orpo": "orpo"}}

# Why there is no such parameter here, and the names of other tools' flags for it.
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

NO_COUNTERPART = {name: why for why, names in WHY_NOT.items() for name in names.split()}

# Earlier names of our own parameters, which are still accepted, and other tools' names for them.
RENAMED = {param.former_name: param.name for param in PARAMS.values() if param.former_name}
ALIASES = {alias: param.name for param in PARAMS.values() for alias in param.aliases.split()}
ALIASES |= {name: parameter for name, (parameter, _) in STANDS_FOR.items()} | NEGATED


def choice_meant(parameter: str, word: str) -> str | None:
    """The choice that another tool's word for it stands for; None where that is not known."""
    if parameter == "trainer":
        choices = {name: trainer.aliases for name, trainer in TRAINERS.items()}
    else:
        choices = dict(PARAMS[parameter].choice_aliases)
    return next((choice for choice, words in choices.items() if word.strip().lower() in words.split()), None)
