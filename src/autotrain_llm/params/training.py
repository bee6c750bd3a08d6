"""How long and how fast: steps, batches, optimizer and schedule."""

from __future__ import annotations

from autotrain_llm.declare.param import (
    AT_LEAST_ONE,
    FIXED,
    NOT_NEGATIVE,
    NUMBER_OF_STEPS,
    POSITIVE,
    SAME_STEP,
    SHARE_BELOW_ONE,
    TAKES_EFFECT,
    Bounds,
    among,
    group,
    linear,
    log,
    nearly,
    param,
)
from autotrain_llm.params.optimizers import OPTIMIZERS, SCHEDULERS

DECAY_SHAPES = ("cosine", "linear", "1-sqrt")


@group("Training", order=30)
class Training:
    """Duration, learning rate and batch size."""

    lr: float = param(
        None,
        "Peak learning rate.",
        usual=True,
        within=POSITIVE,
        search=log(1e-6, 1e-3),
        required=True,
        spellings="learning_rate",
        on_resume=TAKES_EFFECT,
        aliases="actor_learning_rate actor_lr",
    )
    epochs: float | None = param(
        None,
        "Passes over the training rows.",
        usual=True,
        within=POSITIVE,
        suggested=1,
        alternative="max_steps",
        aliases="epoch max_epochs n_epoch n_epochs num_epochs num_train_epochs total_epochs train_epochs",
        on_resume=NUMBER_OF_STEPS,
    )
    max_steps: int | None = param(
        None,
        "Stop after N optimizer steps, whatever --epochs says.",
        within=AT_LEAST_ONE,
        also=(-1,),
        aliases="iterations iters max_train_steps num_steps num_train_steps total_steps total_training_steps",
        on_resume=NUMBER_OF_STEPS,
    )
    batch_size: int = param(
        None,
        "Rows per device and batch; with ppo, grpo and spo sampled completions.",
        usual=True,
        within=AT_LEAST_ONE,
        search=among(2, 4, 8, 16),
        required=True,
        suggested=8,
        aliases=(
            "batch_size_training bs micro_batch_size micro_batch_size_per_gpu micro_train_batch_size per_device_batch_size "
            "per_device_train_batch_size per_device_train_micro_batch_size per_gpu_train_batch_size "
            "ppo_micro_batch_size_per_gpu train_batch_size train_micro_batch_size_per_gpu"
        ),
        on_resume=SAME_STEP,
    )
    gradient_accumulation: int = param(
        1,
        "Batches accumulated into one optimizer step.",
        within=AT_LEAST_ONE,
        suggested=1,
        aliases=(
            "accumulate_grad_batches accumulation_steps grad_accum grad_accumulation_steps gradient_accumulation_step "
            "gradient_accumulation_steps"
        ),
        on_resume=SAME_STEP,
    )
    global_batch: int | None = param(
        None,
        "Rows of an optimizer step, over all processes; as many batches are accumulated as that takes.",
        within=AT_LEAST_ONE,
        default_words="batch size x accumulated batches x processes",
        aliases="effective_batch_size global_batch_size total_batch_size",
        on_resume=SAME_STEP,
    )
    seed: int = param(
        42,
        "Seed of all random numbers.",
        within=Bounds(low=0, high=2**32 - 1),
        stage="rows",
        used_by_inference=True,
        aliases="random_seed random_state",
        on_resume=FIXED,
    )


@group("Optimizer and schedule", order=40)
class Optimisation:
    """Optimizer, learning rate schedule and clipping."""

    optimizer: str = param(
        "adamw_torch",
        "Optimizer.",
        choices=tuple(OPTIMIZERS),
        replaced_choices={"adamw_hf": "adamw_torch", "adamw_torch_fused": "adamw_torch"},
        aliases="optim optim_type optimizer_type use_galore use_muon",
        choice_aliases={
            "adamw_torch": "adamw adamw_apex_fused adamw_torch_xla adamw_torch_npu_fused torch",
            "adamw_bnb_8bit": "adamw_8bit adamw8bit",
            "paged_adamw_8bit": "pagedadamw8bit",
            "muon": "use_muon",
            "lion": "lion_32bit lion_pytorch",
            "schedule_free_adamw": "adamw_schedulefree adamw_schedule_free schedulefree schedule_free",
            "galore_adamw": "galore use_galore",
        },
        meanings={
            "adam": nearly("weight decay is not part of the gradient", optimizer="adamw_torch"),
            "paged_adamw_32bit paged_adamw pagedadamw pagedadamw32bit": nearly(
                "the same steps, with states that stay on the GPU", optimizer="adamw_torch"
            ),
            "adam8bit 8bit adamw_torch_8bit ao_adamw_8bit adamw_torch_4bit ao_adamw_4bit": nearly(
                "bitsandbytes rounds the states to 8 bits", optimizer="adamw_bnb_8bit"
            ),
            "ao_adamw_fp8 adam_mini adamw_anyprecision optimi_adamw flash_adamw": nearly(
                "the states are bfloat16, rounded stochastically", optimizer="adamw_bf16"
            ),
            "ademamix ademamix_8bit paged_ademamix_32bit paged_ademamix_8bit": nearly(
                "there is no second, slower average of the gradients", optimizer="adamw_torch"
            ),
            "stable_adamw adopt_adamw grokadamw sophia came_pytorch": nearly(
                "its steps are AdamW's own", optimizer="adamw_torch"
            ),
            "adagrad rmsprop rmsprop_bnb rmsprop_bnb_8bit rmsprop_bnb_32bit": nearly(
                "there is an average of the gradients besides that of their squares", optimizer="adamw_torch"
            ),
            "lomo adalomo badam": nearly(
                "all gradients are kept until the step, and the states are small", optimizer="adafactor"
            ),
            "dion": nearly("momentum is orthogonalised as a whole", optimizer="muon"),
            "paged_lion_32bit": nearly("the same steps, with states that stay on the GPU", optimizer="lion"),
            "paged_lion_8bit": nearly("the same steps, with states that stay on the GPU", optimizer="lion_8bit"),
            "schedule_free_sgd schedule_free_radam": nearly(
                "it averages AdamW's steps", optimizer="schedule_free_adamw"
            ),
            "galore_adamw_8bit galore_adamw_8bit_layerwise galore_adafactor galore_adafactor_layerwise galore_adamw_layerwise q_galore_adamw8bit": nearly(
                "the projected states are AdamW's in 32 bits, and all weights change in one step",
                optimizer="galore_adamw",
            ),
            "apollo_adamw apollo_adamw_layerwise": nearly(
                "gradients are projected to singular vectors, and not at random", optimizer="galore_adamw"
            ),
        },
        on_resume=FIXED,
    )
    scheduler: str = param(
        "linear",
        "Learning rate schedule after the warm-up.",
        choices=SCHEDULERS,
        search=among("linear", "cosine"),
        aliases="lr_decay_style lr_schedule lr_scheduler lr_scheduler_type warmup_style",
        choice_aliases={
            "cosine": "cosine_decay cosine_schedule_with_warmup get_cosine_schedule_with_warmup",
            "linear": "linear_schedule get_linear_schedule_with_warmup",
            "warmup_stable_decay": "wsd",
        },
        meanings={
            "cosine_with_min_lr": nearly(
                "the lowest rate is a parameter of its own, as a share of --lr", scheduler="cosine", min_lr_ratio=0.1
            ),
            "cosine_warmup_with_min_lr": nearly(
                "the lowest rate is a parameter of its own, as a share of --lr, and the warm-up begins at 0",
                scheduler="cosine",
                min_lr_ratio=0.1,
            ),
            "cosine_with_restarts cosineannealingwarmrestarts": nearly(
                "the rate falls once, and does not rise again", scheduler="cosine"
            ),
            "cosineannealinglr one_cycle onecycle onecyclelr rex": nearly(
                "the rate rises linearly and falls as a cosine", scheduler="cosine"
            ),
            "reduce_lr_on_plateau reducelronplateau greedy": nearly(
                "the rate follows from the step, and not from evaluations", scheduler="linear"
            ),
            "exponential_decay exponential exponentiallr step_decay step steplr multisteplr log_sweep": nearly(
                "the rate falls evenly", scheduler="linear"
            ),
            "none": nearly("a rate that does not change is called constant", scheduler="constant"),
        },
        on_resume=TAKES_EFFECT,
    )
    min_lr_ratio: float = param(
        0.0,
        "Share of the peak that the learning rate ends at, with a schedule that falls.",
        within=SHARE_BELOW_ONE,
        aliases="cosine_min_lr_ratio min_lr_rate lr_min_ratio",
        on_resume=TAKES_EFFECT,
    )
    polynomial_power: float = param(
        1.0,
        "Exponent of `--scheduler polynomial`: 1 falls linearly, 2 faster at first.",
        within=POSITIVE,
        aliases="lr_decay_power",
        on_resume=TAKES_EFFECT,
    )
    decay_ratio: float = param(
        0.1,
        "Share of the steps over which `--scheduler warmup_stable_decay` falls, at the end of the run.",
        within=Bounds(low=0, high=1, low_open=True),
        aliases="wsd_decay_ratio lr_wsd_decay_ratio cooldown_ratio",
        on_resume=TAKES_EFFECT,
    )
    decay_shape: str = param(
        "cosine",
        "How `--scheduler warmup_stable_decay` falls.",
        choices=DECAY_SHAPES,
        aliases="decay_type lr_wsd_decay_style",
        on_resume=TAKES_EFFECT,
    )
    warmup_ratio: float = param(
        0.1,
        "Share of the steps over which the learning rate rises to its peak.",
        within=SHARE_BELOW_ONE,
        search=linear(0.0, 0.2),
        suggested=0.1,
        aliases=(
            "lr_warmup_ratio lr_warmup_steps lr_warmup_steps_ratio num_warmup num_warmup_steps warmup warmup_fraction "
            "warmup_proportion warmup_steps"
        ),
        on_resume=TAKES_EFFECT,
    )
    weight_decay: float = param(
        0.01, "Weight decay.", within=NOT_NEGATIVE, search=linear(0.0, 0.1), aliases="l2 wd", on_resume=TAKES_EFFECT
    )
    max_grad_norm: float = param(
        1.0,
        "Clip the gradient norm at this value; 0 turns clipping off.",
        within=NOT_NEGATIVE,
        aliases="clip_grad clip_grad_norm grad_clip gradient_clip gradient_clipping max_grad_clip max_norm",
        on_resume=TAKES_EFFECT,
    )
    galore_rank: int = param(
        128,
        "Rank of the projected gradients of `--optimizer galore_adamw`.",
        within=AT_LEAST_ONE,
        on_resume=FIXED,
    )
    galore_update_steps: int = param(
        200,
        "Steps after which `--optimizer galore_adamw` computes its projections anew.",
        within=AT_LEAST_ONE,
        aliases="galore_update_interval update_proj_gap galore_update_proj_gap",
        on_resume=FIXED,
    )
