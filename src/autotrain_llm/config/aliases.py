"""Flags of other tools: those that are accepted, and those that are refused with the name to use here.

A name that means exactly one of our parameters, in the same unit, is declared on its field (`param(..., aliases="learning_rate")`; those that are
accepted are its `spellings`), as are
other tools' words for a choice (`choice_aliases`); those for a trainer are on its declaration. This module has what a field can't express.
"""

from __future__ import annotations

from autotrain_llm.config.families import why_not_the_family, why_not_the_section
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Accepted(Record):
    """A flag of another tool that is accepted. `sets` are the parameters it stands for; `warning` is shown if it has no effect, except with
    one of the `harmless` values."""

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
        "the padding side follows from the model; the flag has no effect",
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
        "the batch size is the one given by --batch-size; the flag has no effect",
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
    Accepted("use_wandb", sets={"log": ("wandb",)}),
    Accepted("use_flash_attention_2", sets={"attn_implementation": "flash_attention_2"}),
)
ACCEPTED_BY_NAME = {accepted.name: accepted for accepted in ACCEPTED}

# Other tools' switches that stand for a value of one of our parameters.
STANDS_FOR = {
    "fp16": ("mixed_precision", "fp16"),
    "bf16": ("mixed_precision", "bf16"),
    "pure_bf16": ("mixed_precision", "bf16"),
    "load_in_4bit": ("quantization", "int4"),
    "load_in_8bit": ("quantization", "int8"),
    "use_int4": ("quantization", "int4"),
    "use_int8": ("quantization", "int8"),
    "wandb": ("log", "wandb"),
    "lora_target_linear": ("target_modules", "all-linear"),
    "float16": ("mixed_precision", "fp16"),
    "float32": ("mixed_precision", "fp32"),
    "bfloat16": ("mixed_precision", "bf16"),
    "eager_attention": ("attn_implementation", "eager"),
    "flex_attention": ("attn_implementation", "flex_attention"),
    "use_tensorboard": ("log", "tensorboard"),
    "use_mlflow": ("log", "mlflow"),
    "use_trackio": ("log", "trackio"),
    "pretrain_mode": ("trainer", "generic"),
    "ipo": ("dpo_loss", "ipo"),
    "use_loftq": ("lora_init", "loftq"),
    "pissa_init": ("lora_init", "pissa"),
    "use_dpo": ("trainer", "dpo"),
    "use_ppo": ("trainer", "ppo"),
    "use_vllm": ("rl_generation", "vllm"),
}

# Switches with the opposite meaning of ours.
NEGATED = {
    "train_on_input": "response_only_loss",
    "train_on_inputs": "response_only_loss",
    "train_on_prompt": "response_only_loss",
    "train_on_source": "response_only_loss",
}

# Names whose meaning depends on the trainer: the first of these parameters that it reads.
BY_TRAINER: dict[str, tuple[str, ...]] = {
    "beta": ("dpo_beta", "kto_beta", "orpo_alpha", "rl_kl_coef"),
    "rl_beta": ("dpo_beta", "kto_beta", "orpo_alpha", "rl_kl_coef"),
    "pref_beta": ("dpo_beta", "kto_beta", "orpo_alpha"),
    "loss_type": ("dpo_loss", "rl_advantage", "distill_loss"),
    "alpha": ("orpo_alpha", "distill_alpha"),
    "loss": ("dpo_loss", "rl_advantage", "distill_loss"),
    "temperature": ("rl_temperature", "distill_temperature", "eval_temperature"),
    "top_k": ("rl_top_k", "distill_top_k"),
    "top_p": ("rl_top_p",),
    "max_source_length": ("max_prompt_length", "block_size"),
    "max_target_length": ("max_completion_length", "rl_max_new_tokens", "block_size"),
    "prompt_max_len": ("max_prompt_length", "block_size"),
    "max_prompt_len": ("max_prompt_length", "block_size"),
    "prompt_length": ("max_prompt_length", "block_size"),
}
# Of these names, those that are accepted where the trainer is known and reads one of the parameters.
ACCEPTED_BY_TRAINER = ("beta",)
# Of these, the parameter that another tool means by the name, for the trainers that read it; any other is only the nearest.
CERTAIN_BY_TRAINER = {
    "beta": ("dpo_beta", "kto_beta", "orpo_alpha", "rl_kl_coef"),
    "pref_beta": ("dpo_beta", "kto_beta"),
    "loss_type": ("dpo_loss",),
    "temperature": ("rl_temperature",),
    "top_k": ("rl_top_k",),
    "top_p": ("rl_top_p",),
    "max_source_length": ("max_prompt_length",),
    "max_target_length": ("max_completion_length", "rl_max_new_tokens"),
}

# Blocks of parameters of other tools' configs, with the names inside that mean one of ours; other names in them are read as if they stood
# outside.
BLOCKS: dict[str, dict[str, str]] = {"dpo_args": {"beta": "dpo_beta", "max_length": "block_size"}}

# Keys with the sections that they stand in, as torchtune, verl and LitGPT write them (`dataset.source=…`), whose last name alone would not tell.
IN_SECTIONS = {
    "checkpointer.checkpoint_dir": "model",
    "model.path": "model",
    "model.partial_pretrain": "model",
    "model.max_length": "block_size",
    "tokenizer.path": "tokenizer",
    "tokenizer.max_seq_len": "block_size",
    "dataset.train_on_input": "response_only_loss",
    "dataset.source": "data_path",
    "custom_dataset.file": "data_path",
    "dataset.data_files": "data_path",
    "data.json_path": "data_path",
    "data.val_split_fraction": "valid_split",
    "data.prompt_key": "text_column",
    "data.max_response_length": "rl_max_new_tokens",
    "rollout.n": "rl_num_generations",
    "rollout.name": "rl_generation",
    "kl_ctrl.target_kl": "rl_kl_target",
    "loss.value_coeff": "rl_value_loss_coef",
    "reward_model.model.path": "rl_reward_model_path",
    "reward_checkpointer.checkpoint_dir": "rl_reward_model_path",
    "ref_checkpointer.checkpoint_dir": "model_ref",
    "ref_policy_checkpointer.checkpoint_dir": "model_ref",
    "teacher_checkpointer.checkpoint_dir": "teacher_model",
    "teacher_model.model_path": "teacher_model",
    "distillation.enabled": "use_distillation",
    "trainer.project_name": "tracker_project",
    "trainer.experiment_name": "run_name",
    "lr_schedule.name": "scheduler",
    "eval.max_iters": "eval_batches",
    "log.project": "tracker_project",
    "log.run": "run_name",
    "data.train_files": "data_path",
    "data.val_files": "eval_dataset_path",
    "optimizer._component_": "optimizer",
    "optimizer.class_path": "optimizer",
    "lr_scheduler._component_": "scheduler",
    "column_map.input": "prompt_text_column",
    "column_map.prompt": "prompt_text_column",
    "column_map.output": "text_column",
    "column_map.chosen": "text_column",
    "column_map.messages": "text_column",
    "column_map.rejected": "rejected_text_column",
    "lora_parameters.rank": "lora_r",
    "lora_parameters.dropout": "lora_dropout",
    "lora_parameters.keys": "target_modules",
}
# Sections about another model than the one that is trained: of a name in them, the last part alone tells nothing.
OF_ANOTHER_MODEL = frozenset(
    [
        "critic",
        "reward_model",
        "ref",
        "teacher_models",
        "reward_and_value_model",
        "value_checkpointer",
        "reward_checkpointer",
        "ref_checkpointer",
        "ref_policy_checkpointer",
        "teacher_checkpointer",
        "reward_tokenizer",
        "reward_and_value_tokenizer",
    ]
)
# Of these, the ranks of adapters in files that have no switch for one.
RANKS = ("model.lora_rank", "lora_parameters.rank")

# Names of the rows of one batch in tools that have another for those of an optimizer step, under `batch_size` or an ambiguous name.
ROWS_OF_A_BATCH = [
    "micro_batch_size",
    "micro_train_batch_size",
    "train_micro_batch_size_per_gpu",
    "per_device_train_micro_batch_size",
]

# Aliases that some tools use for something else: DeepSpeed counts the rows of an optimizer step on all devices.
AMBIGUOUS = frozenset({"train_batch_size"})

# Names that other tools use for something that one of our parameters comes nearest to, with the difference.
DIFFERENCES: dict[tuple[str, str], str] = {
    ("num_processes", "it counts the processes of one node, and not of all"): "world_size",
    ("seed", "it seeds everything random, and not the order of the rows alone"): "data_seed data_loader_seed",
    ("min_lr_ratio", "it is the share of --lr, and not a rate"): "min_lr lr_end",
    ("decay_ratio", "it is the share of all steps"): "num_decay_steps",
    (
        "run_name",
        "--output-dir is the run's folder, and --run-name its name in the trackers of --log",
    ): "experiment_name",
    ("output_dir", "the adapter is written there; --model names one to train further"): "adapter_path",
    ("lora_alpha", "it is the scale times the rank"): "lora_parameters.scale",
    ("model", "training starts from the model in it; --resume-from-checkpoint continues a run"): (
        "checkpoint checkpoint_dir ckpt_path resume_adapter_file"
    ),
    ("max_samples", "it limits the rows; --sweep-n-trials counts trials, and --rl-num-generations answers"): (
        "num_samples"
    ),
    ("eval_batches", "it counts batches of --eval-batch-size rows, of all devices together"): (
        "max_eval_samples limit_val_batches limit_eval_batches eval_limit"
    ),
    ("eval_dataset_path", "its rows are evaluated during training, and there is no test afterwards"): "test_file",
    ("text_column", "it names the text, the messages or the answers; --prompt-text-column names the prompts"): (
        "column input_column target_column"
    ),
    ("block_size", "it limits rows; --rl-max-new-tokens, --eval-max-new-tokens and --max-new-tokens limit answers"): (
        "max_tokens"
    ),
    (
        "chat_template",
        "it writes whole conversations, by a well-known name or as Jinja",
    ): "prompt_template input_template dataset.template",
    ("target_modules", "it names modules, and not parameters"): "lora_target_parameters target_parameters",
    ("target_modules", "it names those of the MLP as well, and all-linear is every linear layer"): (
        "lora_attn_modules apply_lora_to_mlp apply_lora_to_output"
    ),
    ("lora_r", "it is the rank of an adapter; the launcher sets that of a process"): "rank",
    ("label_smoothing", "it is the share of pairs that are assumed to be swapped, and smooths no tokens"): (
        "label_smoothing_factor"
    ),
    ("rl_reward_fn", "it names the file and its function, as FILE:FUNCTION"): (
        "custom_reward_function.path custom_reward_function.name"
    ),
    ("rl_kl_coef", "it is the weight of the KL divergence, whose estimator follows from the trainer"): "kl_penalty",
    ("rl_chunk_size", "it counts answers: prompts times --rl-num-generations"): "rollout_batch_size",
    ("rl_mini_batch_size", "it counts answers: prompts times --rl-num-generations"): (
        "ppo_mini_batch_size ppo_batch_size"
    ),
    ("rl_missing_end_penalty", "it is the number that is subtracted from the score"): "non_eos_penalty",
    ("eval_metrics", "it lists metrics by name, and --use-enhanced-eval turns them on"): (
        "compute_metrics compute_accuracy include_for_metrics"
    ),
    ("data_path", "--text-column and --prompt-text-column name its columns"): "pretraining_dataset",
    ("galore_rank", "its projections are not quantised"): "qgalore_rank",
    ("galore_update_steps", "its projections are not quantised"): "qgalore_update_proj_gap",
    ("epochs", "an epoch goes through all prompts once"): "num_episodes",
    ("eval_steps", "it counts optimizer steps, and --eval-strategy no turns evaluation off"): "test_freq",
    ("resume", "it continues the run in --output-dir"): "resume_mode auto_resume_from_checkpoints",
    ("model", "scratch:SIZE is a new model"): "train_from_scratch",
    ("model_ref", "it names an adapter too, which knows its base model"): "ref_model_adapters ref_adapters",
    (
        "rl_reward_model_path",
        "it names an adapter too, which knows its base model",
    ): "reward_model_adapters reward_adapters",
    ("rl_reward_fn", "a function of one's own can ask a server"): "remote_rm_url",
    ("rl_value_model", "it says what the value function starts from"): "critic_pretrain",
    ("rl_clip_range", "it is the same in both directions"): (
        "clip_ratio_low clip_ratio_high epsilon_low eps_clip_low_high cliprange_low cliprange_high"
    ),
    ("rl_chunk_size", "it counts answers, and all of a rollout"): "ppo_buffer_size experience_batch_size",
    ("target_modules", "it names the modules that get an adapter"): (
        "exclude_modules target_regex lora_key lora_query lora_value lora_projection lora_mlp lora_head oft_target_modules"
    ),
    ("early_stopping_patience", "it counts evaluations"): "early_stop_interval",
    ("warmup_ratio", "it is the share of all steps"): "lr_warmup_fraction",
    ("batch_size", "it counts the rows on each device"): "ppo_micro_batch_size",
    ("model", "it names an adapter too, which is trained further"): "adapter_folder",
    ("eval_steps", "it counts optimizer steps"): "eval.interval",
    ("text_column", "it names one column"): "columns",
    ("max_samples", "it limits the rows of training; --eval-batches limits evaluation"): "val_max_samples",
}
NEAREST = {
    name: (parameter, difference) for (parameter, difference), names in DIFFERENCES.items() for name in names.split()
}

# Why a parameter does not exist here, and other tools' names for it.
WHY_NOT = {
    "SLURM, SkyPilot, Kubernetes or the meeting at --head-address numbers the nodes": "machine_rank node_rank",
    "a model is not divided by tensors": "tensor_parallel_size tp_size",
    "the launcher of --num-processes and --num-nodes finds a port and a meeting by itself": (
        "master_port main_process_port rdzv_backend rdzv_id standalone"
    ),
    "CUDA_VISIBLE_DEVICES selects the devices": (
        "gpu gpu_id gpu_ids device devices device_map local_rank cuda use_cpu no_cuda cuda_visible_devices "
        "use_mps_device half_precision_backend jit_mode_eval"
    ),
    "rows are tokenized before training, on all cores, and cached": (
        "num_workers dataloader_num_workers preprocessing_num_workers dataset_num_proc overwrite_cache "
        "dataset_batch_size dataset_prepared_path dataloader_pin_memory dataloader_prefetch_factor "
        "preprocessing_batch_size lazy_preprocess"
    ),
    "this is always on": "remove_unused_columns save_safetensors do_train average_tokens_across_devices",
    "rows are laid out without padding where the model allows it": (
        "group_by_length pad_to_multiple_of padding_free packing_strategy pad_to_sequence_len eval_packing "
        "eval_sample_packing multipack_real_batches group_by_modality_length length_column_name neat_packing batching_strategy"
    ),
    "tools are read from a column tools, and the tokens of answers follow from the chat template": (
        "tool_key tools_key loss_mask_type"
    ),
    "turns are written with the model's chat template, which --chat-template replaces": (
        "apply_chat_template use_hf_tokenizer_chat_template multiturn"
    ),
    "the tokens come from the tokenizer's files, which can be edited": (
        "pad_token special_tokens eos_token bos_token add_bos_token use_fast_tokenizer tokenizer_use_fast"
    ),
    "--tokenizer FOLDER names a tokenizer with more tokens, for which the embedding gets rows, and --trainable-tokens trains them beside an adapter": (
        "new_special_tokens resize_vocab add_special_tokens add_tokens"
    ),
    "an adapter trains and saves a new head, and with --trainable-tokens the rows of single tokens; whole matrices are trained without --peft": (
        "modules_to_save lora_modules_to_save additional_target"
    ),
    "the adapter's other settings follow from the trainer": (
        "bias lora_bias lora_task_type task_type fan_in_fan_out pissa_iter pissa_convert layers_to_transform "
        "layer_replication rank_pattern alpha_pattern loraplus_lr_embedding loftq_config"
    ),
    "the fastest types and kernels of the GPU are chosen automatically": (
        "tf32 bf16_full_eval torch_compile_backend torch_compile_mode tuner_backend"
    ),
    "--log wandb turns it on, and WANDB_ENTITY, WANDB_MODE and wandb's other environment variables configure it": (
        "wandb_entity wandb_run_id wandb_run_group wandb_dir wandb_mode wandb_log_model wandb_watch wandb_tags"
    ),
    "--quantization int4 is NF4 with double quantization, computed in bf16": (
        "bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_use_double_quant bnb_4bit_quant_storage "
        "double_quantization double_quant use_double_quant use_nested_quant quantization_method quantization_type "
        "quant_type"
    ),
    "head and loss are always fused: the logits of a batch are never materialised": (
        "use_liger use_liger_kernel enable_liger_kernel liger liger_kernel use_liger_loss use_cce "
        "cut_cross_entropy fused_linear_cross_entropy use_logits_to_keep"
    ),
    "--optimizer selects the optimizer, with its usual settings": (
        "use_badam use_apollo use_adam_mini use_lomo optim_args galore_target galore_scale galore_proj_type galore_layerwise "
        "optim_target_modules lisa_activated_layers adam_beta1 adam_beta2 beta1 beta2 adam_epsilon"
    ),
    "training updates all weights, or with --peft an adapter": (
        "freeze_trainable_layers freeze_trainable_modules freeze_vit unfrozen_parameters freeze_parameters "
        "full_finetuning full_finetune freeze_layers num_layers lora_layers"
    ),
    "positions and attention come from the model's config.json, which can be edited": (
        "rope_scaling rope_theta shift_attn s2_attention longlora"
    ),
    "the model's dropout is set in its config.json, an adapter's by --lora-dropout": (
        "dropout attention_dropout hidden_dropout disable_dropout"
    ),
    "the settings of preference losses are --dpo-loss, --dpo-beta, --label-smoothing, and --trainer orpo or kto": (
        "pref_ftx rpo_alpha simpo_gamma cpo_alpha ld_alpha discopop_tau f_divergence_type sft_alpha "
        "f_alpha_divergence_coef use_weighting reference_free loss_weights simpo_beta"
    ),
    "the reference is --model-ref or the initial model, and its log-probabilities are precomputed if that is cheaper": (
        "precompute_ref_log_probs precompute_ref_batch_size force_use_ref_model ref_adapter_name "
        "model_adapter_name sync_ref_model ref_model_mixup_alpha ref_model_sync_steps"
    ),
    "--rl-generation vllm generates with vLLM, whose settings follow from the run": (
        "vllm_mode vllm_gpu_memory_utilization gpu_memory_utilization vllm_server_host vllm_server_port "
        "vllm_server_base_url vllm_tensor_parallel_size vllm_max_model_len fast_inference max_lora_rank "
        "vllm_max_model_length vllm_enable_sleep_mode"
    ),
    "the settings of sampling and rewards all begin with --rl-": (
        "epsilon_high scale_rewards whiten_rewards normalize_reward use_score_scaling use_score_norm "
        "num_mini_batches local_rollout_forward_batch_size steps_per_generation min_p repetition_penalty"
    ),
    "which tokens are trained on follows from the trainer and --response-only-loss": (
        "label_names label_pad_token_id mask_truncated_completions roles_to_train collator_name"
    ),
    'every answer of a conversation is trained on but those whose turn has "train": false': "mask_history",
    "--response-only-loss trains on the answers only, and the chat template marks them": (
        "response_template instruction_template response_part instruction_part"
    ),
    "a system prompt belongs in the rows: as the first turn, or in a column system": (
        "system system_prompt default_system system_message new_system_prompt"
    ),
    "--data-path owner/name:config selects a configuration of a data set on the Hub": (
        "dataset_config dataset_config_name dataset_subset subset"
    ),
    "rows are shuffled in each epoch, seeded by --seed": (
        "shuffle shuffle_dataset dataset_shuffle train_dataloader_shuffle"
    ),
    "the side that is truncated follows from the trainer, and a row that is too long is truncated, counted and reported, never left out": (
        "truncation_mode truncation_side truncation_strategy truncation"
    ),
    "--logging-steps and --log set how often and where to log, and report.html plots the metrics": (
        "logging_dir logging_first_step logging_strategy log_level disable_tqdm plot_loss profiler "
        "include_tokens_per_second include_num_input_tokens_seen log_completions debug eval_table_size"
    ),
    "the model is always saved, in --output-dir": "save_model",
    "a checkpoint always holds everything that --resume needs": "save_only_model save_lora_only",
    "--resume continues the run in --output-dir": "load_checkpoint auto_resume",
    "a resumed run always continues with the next row": "ignore_data_skip",
    "the better direction of every metric is known": "greater_is_better",
    "any improvement counts; --early-stopping-patience is the only setting": "early_stopping_threshold early_stopping_min_delta",
    "--eval-strategy and --eval-steps set when to evaluate; --use-enhanced-eval also evaluates before and after training": (
        "do_eval eval_on_start eval_delay evals_per_epoch eval_accumulation_steps do_predict"
    ),
    "--use-enhanced-eval with --eval-metrics rouge or another text metric evaluates generated answers": (
        "predict_with_generate generation_config num_beams generation_num_beams"
    ),
    "rows are evaluated during training, and there is no test afterwards": "test test_batches do_test",
    "--save-strategy and --save-steps set when to save": "saves_per_epoch",
    "--shard full divides weights, gradients and optimizer states among the GPUs, as ZeRO-3 does; --peft, --quantization int4 and --gradient-checkpointing save memory too": (
        "deepspeed deepspeed_config use_deepspeed zero zero_stage fsdp_config accelerate_config"
    ),
    "the settings of processes follow from --shard": (
        "ddp_backend ddp_timeout ddp_find_unused_parameters ddp_bucket_cap_mb bucket_cap_mb fsdp_min_num_params "
        "fsdp_transformer_layer_cls_to_wrap deepspeed_plugin accelerator_config"
    ),
    "--gradient-checkpointing is full, selective, or with offload keeps the inputs of layers in main memory": (
        "gradient_checkpointing_kwargs use_reentrant use_reentrant_gc activation_offloading "
        "enable_activation_offloading activation_cpu_offload"
    ),
    "--scheduler sets the decay of the learning rate, --min-lr-ratio where it ends, --decay-ratio, --decay-shape and --polynomial-power how it falls": (
        "lr_scheduler_kwargs lr_scheduler_args lr_decay_ratio cosine_constant_lr_ratio"
    ),
    "the settings of a mixture of experts come from the model's config.json, which can be edited": (
        "moe_aux_loss_coef router_aux_loss_coef output_router_logits aux_loss_coef"
    ),
    "all rows are trained on: the last batch of an epoch may be smaller": "dataloader_drop_last drop_last",
    "this package trains with its own engine": "use_unsloth use_unsloth_gc unsloth_gradient_checkpointing",
    "--seed seeds everything random": "full_determinism deterministic",
    "--max-samples limits the rows, and --max-steps the steps of the run": "max_steps_per_epoch",
    "--push-to-hub uploads the model once, after training": "hub_strategy hub_always_push hub_revision hub_commit_message",
    "the model is saved as safetensors, which llama.cpp converts to GGUF": ("gguf save_gguf export_gguf save_method"),
    "the type of the model is read from its files": (
        "model_type model_author type_of_model is_llama_derived_model tokenizer_type"
    ),
    "the classes that train follow from --trainer, --model and --data-path": "_component_ _target_",
    "--use-distillation always matches probabilities, with the divergence --distill-loss": "seq_kd kd_loss_type",
    "distillation trains on the rows, and never on answers that the student samples; --orpo-alpha weights ORPO's odds ratio": "lmbda",
    "a file for --data-config lists data sets with their weights": (
        "dataset_mix dataset_mixer mix_ratio mix_strategy interleave_probs dataset_weights"
    ),
    "models of text alone are trained": (
        "image_column images image_dir image_folder image_key image_max_pixels audio_column video_column vision"
    ),
}

NO_COUNTERPART = {name: why for why, names in WHY_NOT.items() for name in names.split()}


def why_not(name: str) -> str | None:
    """Why another tool's parameter does not exist here: of one that is known, of one about the same thing, or of one about an adapter."""
    return (
        NO_COUNTERPART.get(name) or _reason(why_not_the_family(name)) or NO_COUNTERPART.get(name.removeprefix("lora_"))
    )


def why_not_in_its_section(name: str) -> str | None:
    """Why what a name means together with the sections before it does not exist here; None where its last part has to tell."""
    return _reason(why_not_the_section(name))


def _reason(why: str | None) -> str | None:
    """A family's reason, which may be that of one of its names."""
    return NO_COUNTERPART.get(why or "", why)


# Other spellings of our own parameters, which are accepted, and other tools' names for them, which are answered.
RENAMED = {name: param.name for param in PARAMS.values() for name in param.spellings.split()}
ALIASES = {alias: param.name for param in PARAMS.values() for alias in param.aliases.split()}
ALIASES |= {name: parameter for name, (parameter, _) in STANDS_FOR.items()} | NEGATED
OTHER_NAMES = {**ALIASES, **RENAMED}


def in_its_section(name: str) -> str:
    """A name with the last of the sections before it. LitGPT's `init_args` is none: it has the arguments of the section that it stands in."""
    *sections, last = name.split(".")
    return ".".join([*[section for section in sections if section != "init_args"][-1:], last])


def meant_by(name: str) -> str:
    """The parameter that a name stands for, with or without sections before it (`optimizer.lr`); otherwise the name."""
    return of_section(name) or ALIASES.get(name.rpartition(".")[2], name)


def of_section(name: str) -> str | None:
    """The parameter that a name stands for together with the sections before it, where the last name alone would not tell or mean another one: a
    known key, or the parameter's own name in two parts (`lora.alpha`)."""
    parts = [part for part in name.split(".") if part != "init_args"]
    shortest = len(parts) - 2
    starts = [index for index, part in enumerate(parts[:-1]) if part in OF_ANOTHER_MODEL] or [shortest]
    keys = (".".join(parts[start:]) for start in range(starts[-1] + 1) if start <= shortest)
    known = next((IN_SECTIONS[key] for key in keys if key in IN_SECTIONS), None)
    both = "_".join(parts[-2:])
    return known or (both if shortest == starts[-1] >= 0 and both in PARAMS else None)


# Trainers of other tools that are one here with a certain setting.
TRAINER_WITH: dict[str, dict[str, Any]] = {"ipo": {"trainer": "dpo", "dpo_loss": "ipo"}}
NEAR_TRAINER_WITH: dict[str, dict[str, Any]] = {
    "lora": {"trainer": "sft", "peft": True},
    "qlora": {"trainer": "sft", "peft": True, "quantization": "int4"},
    "rloo": {"trainer": "grpo", "rl_advantage": "rloo"},
    "gkd": {"trainer": "sft", "use_distillation": True},
    "distill_reason": {"trainer": "sft", "token_weights": '{"<think>": 10, "</think>": 10}'},
}


def choice_meant(parameter: str, word: str) -> str | None:
    """The choice that another tool's word stands for, with the same meaning; None if that is not known."""
    if parameter == "trainer":
        return _choice({name: trainer.aliases for name, trainer in TRAINERS.items()}, word)
    return _choice(PARAMS[parameter].choice_aliases, word)


def nearest_trainer(word: str) -> str | None:
    """The trainer that comes nearest to another tool's; None if that is not known."""
    return _choice({name: trainer.near for name, trainer in TRAINERS.items()}, word)


def _choice(choices: Mapping[str, str], word: str) -> str | None:
    return next((choice for choice, words in choices.items() if word.strip().lower() in words.split()), None)
