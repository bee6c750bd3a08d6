"""Families of other tools' parameters that have no counterpart: why, for all names that begin or end alike or stand in the same section of a file.

A pattern is a name, a name with `*` for any other part (`vllm_*`, `*_offload`), or a section with all that is in it (`profiler.*`). In place of a
reason may stand a name that `aliases.py` has the reason of.
"""

from __future__ import annotations

import re
from functools import cache

FAMILIES: dict[str, str] = {
    "vllm_mode": (
        "vllm vllm.* vllm_* sglang_* enable_vllm_* enforce_eager enable_prefix_caching enable_chunked_prefill free_cache_engine load_format "
        "max_num_seqs max_num_batched_tokens max_model_len disable_log_stats layered_summon multi_stage_wake_up cudagraph_* "
        "use_transformers_continuous_batching transformers_continuous_batching_config use_transformers_paged cache_implementation "
        "generation_kwargs engine_kwargs.* checkpoint_engine.* disaggregation.* fast_inference float8_kv_cache served_model_name "
        "rollout.mode rollout.dtype rollout.agent.* rollout.mtp rollout.*_parallel_size rollout.do_sample rollout.ignore_eos "
        "rollout.quantization* rollout.prometheus.* rollout.trace.* rollout.over_sample_rate rollout.skip_* rollout.*_mode rollout.router_* "
        "rollout.scheduling_policy rollout.limit_images rollout.qat rollout.calculate_log_probs rollout.enable_* rollout.moe_* "
        "infer_backend infer_dtype vllm_server_timeout"
    ),
    "an answer is one turn, without tools": (
        "multi_turn.* max_tool_calling_iterations tools max_turns agent_func_path function_tool_path "
        "tool_config_path environment_factory rollout_func interaction_config_path multi_turn_scheduler completion_length_limit_scope gym_env"
    ),
    "the samples of a rollout are used as they are: --rl-clip-range, --rl-target-kl and --rl-kl-coef limit how far the policy moves": (
        "off_policy_* importance_sampling_* rollout_correction.* *_importance_sampling_* use_bias_correction_kl replay_* policy_loss.* "
        "async_train async_queue_size pf_ppo.* use_pf_ppo sapo_* vespo_* tau_pos tau_neg delta dynamic_filtering* filter_groups.* dynamic_sample top_entropy_quantile "
        "max_resample_times rollout_tasks_per_gpu overlong_filter advantage_mode rollout_is_* skip_zero_advantage_batches reroll_* streaming_partial_batch "
        "streaming_min_groups use_data_producer prefetch_depth async_prefetch loss_mode policy_loss_type use_kl_loss use_kl_in_reward "
        "kl_loss_type kl_estimator kl_in_reward loss_agg_mode loss_scale_factor advantage_clip* use_adaptive_entropy entropy_coef_* "
        "entropy_target *_entropy_quantile ptx_coef kl_horizon kl_ctrl.horizon kl_ctrl.type calculate_* entropy_checkpointing "
        "entropy_from_* use_prefix_grouper log_entropy dual_clip clip_ratio_c kl_penalty_in_reward ratio_threshold_*"
    ),
    "--rl-advantage and --rl-reward-weights say what becomes of scores, and a reward function of one's own the rest": (
        "normalize_advantages no_advantage_std_norm norm_adv_by_std_in_grpo ppo_score_norm ppo_whiten_rewards whiten_* use_whitening "
        "reward_clip_range overlong_* soft_max_length soft_cache_length cosine_min_len_* cosine_max_len* repetition_n_grams repetition_max_penalty "
        "multi_objective_aggregation reward_penalty min_response_length reward_manager reward_manager.* sandbox_fusion.* reward_model_plugin "
        "reward_kwargs.* reward_loop* reward_num_workers center_rewards_coefficient penalise_no_eos"
    ),
    "a reward function gets the other columns of a row by their names": "label_key reward_fn_key reference_key ground_truth_key",
    "all models of a run are on the same devices": (
        "colocate_* ref_num_* reward_num_* actor_num_* critic_num_* actor_init_on_gpu enable_resource_pool reward_model.n_gpus_per_node "
        "reward_model.nnodes hybrid_engine resource_pool*"
    ),
    "policy and value function are one model with one optimizer, which --lr is for, and --rl-value-model says where its value head is": (
        "critic.* critic_learning_rate critic_lr critic_warmup critic_warmup_steps freezing_actor_steps save_value_network value_head_prefix "
        "value_checkpointer.* reward_and_value_model.* reward_and_value_tokenizer.* value_lora_*"
    ),
    "--rl-reward-model-path names the reward model, whose settings come from its files": (
        "reward_model.* reward.reward_model.* reward_model_type reward_model_revision reward_template reward_checkpointer.* "
        "reward_model_quantization_bit reward_tokenizer.*"
    ),
    "--model-ref names a reference, --teacher-model a teacher, and their other settings come from their files": (
        "ref_model_type ref_model_revision ref_model_quantization_bit ref_policy_checkpointer.* ref_checkpointer.* ref.* "
        "teacher_model_type teacher_model_revision teacher_checkpointer.* teacher_model_server teacher_models.* teacher_deepspeed "
        "teacher_adapters offload_teacher_model static_model_stage teacher_model_init_kwargs"
    ),
    "the batches in which answers are sampled and scored follow from --batch-size": (
        "micro_rollout_batch_size forward_batch_size forward_micro_* log_prob_* rollout_n gen_batch_size"
    ),
    "--batch-size counts rows, which are laid out without padding": (
        "use_dynamic_bsz use_dynamic_batch *_max_token_len_per_gpu *_max_tokens_per_gpu max_token_len_per_gpu balance_batch balance_dp_token "
        "adaptive_max_tokens batch_flattening block_diag_attn sample_packing_* packing_length packing_num_proc max_packed_sequence_len "
        "pretrain_multipack_* use_remove_padding pad_mode pad_to_length* pretraining_sample_concatenation multipack_* padding_side "
        "total_num_tokens total_supervised_tokens fa_varlen_*"
    ),
    "there is one kind of adapter, LoRA, with --use-dora and --use-rslora": (
        "oft_* boft_* adalora_* vera_* reft_* fourier_* llamapro_* mixlora_* relora* adapter_act adapter_length velora_* monteclora_* "
        "kasa_* eva_* corda_* lora_ga_* alora_* arrow_* bdlora_* use_bdlora qalora_* use_qalora vblora_* use_llama_pro use_swift_lora "
        "module_dropout prefix_projection num_virtual_tokens adapter_layers adapter_config jagged_restart_* aqlm_*"
    ),
    "bias": (
        "peft_* loftq_* pissa_* auto_mapping inference_mode runtime_config ensure_weight_tying init_weights create_new_adapter lora_dtype "
        "lora_config.* lora.dropout_position lora.lora_* lora.a2a_* lora.type lora.merge lorap_* init_strategy"
    ),
    "an adapter that is named as --model is trained further": "resume_lora_training lora_adapter_path resume_adapter",
    "modules_to_save": ("reinit_weights embedding_lr embedding_lr_scale save_embedding_layers"),
    "freeze_layers": (
        "freeze_* trainable_parameters trainable_parameters_regex finetune_last_n_layers finetune_* layers_pattern lr_groups lisa_* "
        "custom_sharded_layers feature_layers"
    ),
    "use_unsloth": (
        "unsloth_* use_mca use_kt kt_* use_hyper_parallel hyper_parallel_* use_v1_kernels use_v1 v1.* v1.sync.* megatron_* use_onebitllms use_kernels "
        "trainer_cls train_backend enable_npu_* experts_impl* experimental_* expert_* quantize_moe_experts llama4_* gemma4_* "
        "mixture_of_depths moe_* fullgraph use_exact_model_name auto_model on_model_resolved device_map_planner_kwargs "
        "ignore_args_error mtp.* trainer_mode use_reentrant_* capabilities env_capabilities is_preprocess axolotl_config_path "
        "cloud cloud_* check_model add_version load_args load_data_args use_optimum flash_optimum torchdistx_path strategy text_only "
        "parallel_method"
    ),
    "a trainer of your own is a package with an entry point": (
        "plugins external_lib external_plugins custom_register_path callbacks custom_dataset_info checkpoint_callback_class modules "
        "custom_cls.* local_repo_path"
    ),
    "--launch slurm, sky or kubernetes carries a command out on other machines": (
        "ray_* ray_kwargs.* use_ray ray_init.* resources_per_worker ray_run_name esi_redundant_time nccl_timeout"
    ),
    "--log takes tensorboard, wandb, trackio and mlflow": (
        "swanlab_* use_swanlab comet_* use_comet otel_* use_otel_metrics clearml_* neptune_* dvclive_* teamspace log.teamspace log.metadata "
        "log.log_model log.save_logs logger_name metric_logger.log_dir"
    ),
    "wandb_entity": "wandb_*",
    "the environment variables of a tracker configure it": (
        "trackio_space_id trackio_bucket_id trackio_static_space_id mlflow_* hf_mlflow_* log.group log.checkpoint_name"
    ),
    "logging_dir": (
        "logging_* log_* include_* num_completions_to_print rollout_data_dir validation_data_dir skip_memory_metrics print_param_status "
        "*_report_interval"
    ),
    "every log has the run's speed and its memory, and there is no profiler": (
        "profiler profiler.* tool_config.* profiler_* global_profiler.* npu_profile.* profile_* enable_torch_profiler sync_profiler_* perf "
        "memory_snapshot_* torch_memory.*"
    ),
    "--use-enhanced-eval and --eval-metrics set what is evaluated, --eval-batch-size and --eval-batches how much of it": (
        "prediction_loss_only eval_do_concat_batches eval_use_gather_object batch_eval_metrics eval_on_each_dataset do_causal_lm_eval "
        "eval_causal_lm_metrics eval_sequence_len val_only val_kwargs.* eval_dataset_args num_generations_eval "
        "eval_n_samples_per_prompt"
    ),
    "do_eval": ("val_before_train eval.initial_validation eval.final_validation eval.evaluate_example"),
    "predict_with_generate": (
        "generation_* generate_samples num_generation_samples num_sample_generations eval_num_beams eval_generation_config length_penalty "
        "skip_special_tokens stop_words stop_token_ids dpo_generate_during_eval do_sample structured_outputs_* response_prefix "
        "logprobs top_logprobs"
    ),
    "--eval-benchmark runs tasks of lm-evaluation-harness, with their own settings": (
        "n_shot lang task_dir bench_* do_bench_eval extra_eval_args eval_use_evalscope download_mode"
    ),
    "save_only_model": (
        "checkpoint.*_contents checkpoint.async_save save_on_each_node enable_jit_checkpoint restore_callback_states_from_checkpoint max_shard_size safe_serialization "
        "create_checkpoint_symlink dynamic_checkpoint dynamic_checkpoint.* save_first_step save_hf_ckpt disable_ds_ckpt use_ds_universal_ckpt max_ckpt_mem "
        "use_flash_ckpt resume_only_model save_adapter_weights_only async_save max_critic_ckpt_to_keep del_local_ckpt_after_load recipe_checkpoint "
        "adapter_checkpoint adapter_file default_hdfs_dir temporary_location trigger_file_path"
    ),
    "the files of a model and their types are found by themselves": (
        "checkpoint_files checkpoint_files.* vocab_path merges_file merges_path tokenizer_save_jinja_files model_kwargs model_kwargs.* model_init_kwargs "
        "base_model_config cls_model_config model_config model_config.* overrides_of_model_config overrides_of_model_kwargs hf_config_path override_config override_config.* "
        "is_falcon_derived_model is_mistral_derived_model is_qwen_derived_model use_shm problem_type"
    ),
    "--optimizer paged_adamw_8bit moves the optimizer's states out of a GPU that is short of memory, --gradient-checkpointing offload the inputs of layers, and --offload parameters what a divided model has": (
        "*_offload *_offloading offload_* *_offload_* cpu_offload* torch_empty_cache_steps gc_steps gc_collect_steps clear_cache_threshold max_memory "
        "gpu_memory_limit low_cpu_* low_cpu_mem_usage lora_on_cpu quantization_device_map checkpoint_skip_layers "
        "selective_checkpointing recompute_layer_types ac_mode ac_option optimizer_in_bwd"
    ),
    "gradient_checkpointing_kwargs": "gradient_checkpointing_* activation_checkpointing_* activation_offloading_*",
    "--mixed-precision is the only setting of types": (
        "fp8 fp8_* fp16_* bf16_* nvfp4_* qat qat.* qat_* float8_* fake_quant_* load_in_fp8 load_in_16bit weight_dtype activation_dtype upcast_* "
        "cast_lm_head_to_fp32 fp32_* embeddings_skip_upcast float32_mixed_precision grad_accum_dtype model_dtype "
        "quantize_embedding mixed_precision_policy"
    ),
    "bnb_4bit_quant_type": (
        "bnb_* use_bnb_nested_quant model_quantization_config* nf4_backend hqq_* gptq gptq_* awq_* quantizer.* quantize_base"
    ),
    "tf32": (
        "flash_attn_* flash_attention_* fused_* lora_*_kernel lora_fp32_gradients large_head_attention sage_attention sdpa_varlen tiled_mlp* tiled_mlp.* "
        "flex_attn_* torch_compile_* deepcompile use_fused_kernels fused_kernel_options.* optimizer.fused kernel_config "
        "save_matmul_min_k save_sliding_window chunked_cross_entropy* use_chunked_cross_entropy disable_trace_cache"
    ),
    "use_liger": "liger_* return_logits dpo_use_liger_kernel dpo_use_logits_to_keep",
    "fsdp_config": "fsdp_* fsdp.* fsdp_config.* deepspeed_* ds3_* zero_*",
    "ddp_backend": (
        "distributed_type compute_environment downcast_bf16 same_network main_training_function enable_cpu_affinity dynamo_config tpu_* ddp ddp_* dp_* parallelism_config accelerator_* forward_prefetch reshard_after_forward use_orig_params "
        "wrap_policy.* auto_wrap_policy state_dict_type final_state_dict_type transformer_layer_cls_to_wrap min_num_params sync_module_states "
        "cpu_ram_efficient_loading memory_efficient_fsdp_wrap overlap_comm zpg nccl_* forward_only "
        "use_no_sync_for_gradient_accumulation data_parallel_size qlora_sharded_model_loading turbo_config.*"
    ),
    "tensor_parallel_size": (
        "tensor_parallel_* tensor_model_parallel_size pipeline_* ds_tensor_parallel_size expert_parallel_size *_tensor_parallel_size"
    ),
    "--context-parallel exchanges heads for tokens among its processes, and has no settings": "ring_attn_func ring_head_stride heads_k_stride",
    "master_port": "rdzv_* *_port host port",
    "num_workers": (
        "sortish_sampler dataloader_* dataset_num_* dataset_keep_in_memory dataset_processes dataset_shard* num_dataset_shards_to_save dataset_kwargs "
        "skip_prepare_dataset preprocess_* preprocessing_* data_shared_file_system load_from_cache_file lazy_tokenize prefetch_factor "
        "pin_memory collate_fn persistent_workers filter_overlong_prompts_workers use_data_cache cache_size"
    ),
    "`autotrain prepare` writes prepared rows to a folder, which --data-path reads": (
        "tokenized_path cached_dataset cached_val_dataset push_dataset_to_hub pretokenized"
    ),
    "shuffle": (
        "shuffle_* disable_shuffling train_sampling_strategy curriculum_sampling validation_shuffle val_dataset_shuffle balance_labels "
        "label_balance_* sampler.*"
    ),
    "duplicates are reported, and not removed": "dataset_exact_deduplication deduplication*",
    "a row that is too long is truncated, counted and reported, and a short one is kept": (
        "excess_length_strategy filter_overlong_prompts min_sample_len overlong_* max_tool_response_length generation_prompt_ratio"
    ),
    "dataset_mix": ("dataset_probs prompt_data_probs interleave_* stopping_strategy dataset_mixer_* data_sampling_*"),
    "columns and turns are recognised by their names, or named with --text-column": (
        "column_map.* disable_auto_column_mapping conversation_columns ignore_input_ids_mismatch return_raw_* return_full_prompt return_multi_* "
        "message_* conversation_style new_system_prompt field_*"
    ),
    "the chat template decides how a conversation is written, and --reasoning-column names a column of reasoning": (
        "enable_thinking* preserve_thinking chat_template_kwargs chat_template_kwargs.* apply_chat_template_kwargs apply_chat_template_kwargs.* "
        "thinking_* add_non_thinking_prefix disable_ignore_empty_think template_backend use_chat_template chat_template_args "
        "default_system_message split_thinking template_thinking_key tool_format agent_template continue_final_message"
    ),
    "new_special_tokens": (
        "added_tokens_* additional_special_tokens new_special_tokens_* init_special_tokens* resize_token_* resize_model_vocab mean_resizing_embeddings"
    ),
    "pad_token": (
        "unk_token split_special_tokens shrink_embeddings fix_untrained_tokens fix_tokenizer tokenizer_legacy "
        "tokenizer_use_* disable_fast_tokenizer eot_tokens tokens pad_token_* eos_token_* bos_token_* special_tokens.*"
    ),
    "mask_history": "loss_scale is_binary_loss_scale train_on_last_step_only mask_prompt_history",
    "label_names": (
        "train_on_eos train_on_eot roles_to_* ignore_pad_token_for_loss min_completion_prefix "
        "mask_prompt_* add_eos dataset.train_on_*"
    ),
    "the loss follows from --trainer; --token-weights and --use-distillation can be added to it": (
        "use_dft* dft_* enable_dft_* use_eaft* eaft_* use_asft* asft_* ebft ebft_* diffusion_* alignment_coef ce_coef diversity_coef rl_coef "
        "embed_method scaling_softmax* mrl_dims process_reward_model step_separator enable_channel_loss acc_strategy "
        "gt_length_multiplier kd_loss_* tie_embeddings train.tie_embeddings decision_* output_router_* ignore_bias_buffers"
    ),
    "--distill-loss, --distill-alpha and --distill-temperature are the settings of distillation": (
        "distillation_loss.* distillation.n* gkd_* kd_* use_policy_gradient teacher_key"
    ),
    "pref_ftx": ("dpo_* pref_* nll_loss_* cpo_* simpo_* use_weighting"),
    "optim_args": (
        "apollo_* badam_* galore_* qgalore_* dion_* lomo_* adam_* betas optim_* optimizer_config.* "
        "override_optimizer_config optimizer_impl muon_* sgd_* lisa_* momentum"
    ),
    "lr_scheduler_kwargs": (
        "lr_schedule.warmup_init lr_schedule.arguments lr_div_factor lr_quadratic_warmup cosine_constant_* num_cycles zero_indexed_step lr_decay_iters"
    ),
    "rope_scaling": ("rope_* use_pose pose_* sliding_window attn_* attention_*"),
    "generation keeps keys and values by itself, and training needs none": "use_cache use_kv_cache enable_kv_cache",
    "`autotrain export` writes a finished model in another form, and --merge-adapter merges an adapter": (
        "export export_* export.* merge_method merge_* push_gguf gguf_* nvfp4_merge_aware"
    ),
    "`autotrain chat` and `autotrain app` talk to a finished model": "gradio_*",
    "models and data sets come from files and the Hugging Face Hub": "ms_* om_* use_ms use_hf use_modelscope ms_hub_token",
    "HF_TOKEN or --token is used wherever it is given": "hf_use_auth_token use_auth_token",
    "the weights of the last or the best step are saved, and no average of them": "enable_ema ema_*",
    "a loss that is not a number ends the run with an error": "loss_watchdog_*",
    "--max-steps and --epochs end a run": "max_time train.max_time total_timesteps",
    "hub_strategy": "hub_* *_hub_repo push_to_hub_*",
    "image_column": (
        "image_* images_* audio_* video_* *_pixels media_dir crop_to_patches use_audio_in_video vit_* aligner_* mm_* modality_* processor_* "
        "norm_bbox whisper_* vision_* processor encoder_trainable decoder_trainable fusion_trainable"
    ),
    "a run has its own files for its rollouts": "skip.* transfer_queue.*",
}


BEFORE = r"(?:.*\.)?"  # sections, or none


def _as_expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression for a whole name with its sections."""
    section, dot, last = pattern.rpartition(".")
    body = re.escape(section + dot).replace(r"\*", r"[^.]*")
    end = r".+" if dot and last == "*" else re.escape(last).replace(r"\*", r"[^.]*")
    return re.compile(BEFORE + body + end)


@cache
def _expressions() -> list[tuple[re.Pattern[str], str]]:
    return [(_as_expression(pattern), why) for why, patterns in FAMILIES.items() for pattern in patterns.split()]


def why_not_the_family(name: str) -> str | None:
    """Why the parameters of a name's family do not exist here, with or without sections before it; None if it belongs to none."""
    return next((why for pattern, why in _expressions() if pattern.fullmatch(name)), None)


def why_not_the_section(name: str) -> str | None:
    """Why what a name means together with the sections before it does not exist here; None where its last part has to tell."""
    of_section = ((pattern, why) for pattern, why in _expressions() if r"\." in pattern.pattern.removeprefix(BEFORE))
    return next((why for pattern, why in of_section if pattern.fullmatch(name)), None)
