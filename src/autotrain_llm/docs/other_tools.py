"""The settings of other tools with ours, for the pages of docs/migrate/: what the command line answers to each name."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.aliases import ACCEPTED_BY_NAME, NEAREST, NO_COUNTERPART, RENAMED
from autotrain_llm.config.foreign_names import unknown
from autotrain_llm.config.registry import ANSWERING, PARAMS
from autotrain_llm.declare.finding import in_words
from autotrain_llm.declare.param import flag_of

# Names as each tool writes them, with a value where the answer depends on it, and before a colon the trainer where a name means something only with
# some. The versions that were looked at are on the pages.
NAMES: dict[str, str] = {
    "autotrain": (
        "model project_name data_path train_split valid_split text_column prompt_text_column rejected_text_column "
        "add_eos_token block_size model_max_length padding trainer=sft use_flash_attention_2 log "
        "disable_gradient_checkpointing logging_steps eval_strategy save_total_limit auto_find_batch_size mixed_precision "
        "lr epochs batch_size warmup_ratio gradient_accumulation optimizer scheduler weight_decay max_grad_norm seed "
        "chat_template quantization=int4 target_modules merge_adapter peft lora_r lora_alpha lora_dropout model_ref dpo_beta "
        "max_prompt_length max_completion_length push_to_hub username token unsloth backend distributed_backend"
    ),
    "llama-factory": (
        "model_name_or_path=m adapter_name_or_path=m trust_remote_code stage=sft finetuning_type=lora lora_rank=8 lora_alpha "
        "lora_dropout lora_target=all quantization_bit=4 dataset=alpaca_en_demo dataset_dir template=qwen cutoff_len=2048 "
        "max_samples packing neat_packing train_on_prompt mask_history output_dir logging_steps save_steps plot_loss "
        "overwrite_output_dir per_device_train_batch_size=1 gradient_accumulation_steps=8 learning_rate=1e-4 "
        "num_train_epochs=3 lr_scheduler_type=cosine warmup_ratio bf16 resume_from_checkpoint val_size=0.1 "
        "per_device_eval_batch_size=1 eval_strategy eval_steps pref_beta=0.1 pref_loss=sigmoid pref_ftx ref_model=m "
        "reward_model=m report_to=wandb flash_attn=fa2 enable_liger_kernel use_unsloth use_dora neftune_noise_alpha deepspeed"
    ),
    "axolotl": (
        "base_model=m load_in_4bit load_in_8bit datasets=rows.jsonl test_datasets val_set_size=0.1 output_dir adapter=lora "
        "lora_r lora_alpha lora_dropout lora_target_linear lora_target_modules=q_proj sequence_len=2048 sample_packing "
        "pad_to_sequence_len eval_sample_packing train_on_inputs=false chat_template=chatml gradient_accumulation_steps=4 "
        "micro_batch_size=2 num_epochs=3 max_steps optimizer=adamw_torch lr_scheduler=cosine cosine_min_lr_ratio learning_rate=2e-4 bf16 tf32 "
        "gradient_checkpointing flash_attention warmup_steps evals_per_epoch saves_per_epoch weight_decay "
        "wandb_project=mine rl=dpo rl_beta=0.1 special_tokens fsdp deepspeed dataset_prepared_path resume_from_checkpoint"
    ),
    "trl": (
        "model_name_or_path=m dataset_name=d dataset_config dataset_train_split=train dataset_test_split=test output_dir "
        "learning_rate=2e-5 num_train_epochs=3 per_device_train_batch_size=8 gradient_accumulation_steps=4 "
        "gradient_checkpointing max_length=1024 packing padding_free completion_only_loss assistant_only_loss eval_strategy "
        "eval_steps=10 use_peft lora_r lora_alpha lora_target_modules=q_proj load_in_4bit attn_implementation dtype=bfloat16 "
        "torch_dtype=bfloat16 report_to=wandb push_to_hub dpo:beta=0.1 dpo:loss_type=sigmoid precompute_ref_log_probs "
        "reward_model_name_or_path=m reward_funcs=f num_generations=8 max_prompt_length max_completion_length "
        "grpo:temperature=0.9 use_vllm vllm_mode num_processes accelerate_config"
    ),
}


def names_of(tool: str) -> Iterator[tuple[str, str, str]]:
    """A row for each name: theirs, ours, and the difference."""
    for item in NAMES[tool].split():
        name, _, value = item.partition("=")
        trainer, _, name = name.rpartition(":")
        yield (f"`{name}`", *_counterpart(name, value or None, trainer))


def _counterpart(name: str, value: str | None, trainer: str) -> tuple[str, str]:
    """Our flag, and what is different; a dash if there is none."""
    if name in PARAMS and name not in ANSWERING:
        return f"`{flag_of(name)}`", ""
    if name in RENAMED:
        return f"`{flag_of(RENAMED[name])}`", ""
    if name in ACCEPTED_BY_NAME:
        accepted = ACCEPTED_BY_NAME[name]
        return f"`{in_words(accepted.sets)}`" if accepted.sets else "–", accepted.warning or ""
    if name in NO_COUNTERPART:
        return "–", NO_COUNTERPART[name]
    if name in NEAREST:
        return f"`{flag_of(NEAREST[name][0])}`", NEAREST[name][1]
    finding = unknown(name, name, value, given={"trainer": trainer} if trainer else {})
    suggested = finding.changes or finding.guess
    changes = {key: change for key, change in suggested.items() if change is not None}
    if len(changes) == 1 and [str(change) for change in changes.values()] == [value]:
        return f"`{flag_of(next(iter(changes)))}`", f"with `--trainer {trainer}`" if trainer else ""
    return f"`{in_words(changes) or finding.fix}`", f"for `{name}: {value}`" if value and changes else ""
