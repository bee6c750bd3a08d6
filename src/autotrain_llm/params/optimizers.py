"""What each value of `--optimizer` and `--scheduler` is: what it keeps, who has it, and what it can't be combined with."""

from __future__ import annotations

from autotrain_llm.declare.record import Record

BITSANDBYTES = "bitsandbytes"
WHOLE = "its states are of whole weights"
WHOLE_MATRICES = "it computes on whole matrices"


class Optimizer(Record):
    """One optimizer.

    `states` are the values that it keeps for each trained value, counted in float32, `hidden_states` those for a value of a matrix in a layer where
    these are different. `temporary` are the values that a step allocates besides, for all trained values at once. `transformers` is the name by
    which transformers' Trainer makes it; without one `run/engine/optimizers.py` does. `package` is the module that it needs, `install` the package's name.
    `undivided` says why FSDP2's parts are not trained with it. `needs_gpu`: it does nothing without one. `schedules`: it takes a schedule of the learning rate.
    `slower`: its learning rate is usually lower than AdamW's by the first to the last of these factors, and by the second as a rule.
    """

    states: float = 2.0
    hidden_states: float | None = None
    temporary: float = 0.0
    transformers: str | None = None
    package: str = ""
    install: str = ""
    undivided: str = ""
    needs_gpu: bool = False
    schedules: bool = True
    slower: tuple[float, float, float] = (1.0, 1.0, 1.0)


SIGNED = (
    3.0,
    5.0,
    10.0,
)  # a step of Lion has the same size for every weight (Chen et al., arXiv 2302.06675, section 5)
OPTIMIZERS = {
    "adamw_torch": Optimizer(transformers="adamw_torch_fused"),
    "adamw_bf16": Optimizer(states=1.0, undivided="it has not been tried with parts"),
    "adamw_bnb_8bit": Optimizer(
        states=0.5, transformers="adamw_bnb_8bit", package=BITSANDBYTES, install=BITSANDBYTES, undivided=WHOLE
    ),
    "paged_adamw_8bit": Optimizer(
        states=0.5,
        transformers="paged_adamw_8bit",
        package=BITSANDBYTES,
        install=BITSANDBYTES,
        undivided=WHOLE,
        needs_gpu=True,
    ),
    "sgd": Optimizer(states=0.0, transformers="sgd"),
    "adafactor": Optimizer(states=0.0, transformers="adafactor", undivided=WHOLE),
    "muon": Optimizer(hidden_states=1.0, undivided=WHOLE_MATRICES),
    "lion": Optimizer(
        states=1.0,
        slower=SIGNED,
        transformers="lion_32bit",
        package=BITSANDBYTES,
        install=BITSANDBYTES,
        undivided=WHOLE,
    ),
    "lion_8bit": Optimizer(
        states=0.25,
        slower=SIGNED,
        transformers="lion_8bit",
        package=BITSANDBYTES,
        install=BITSANDBYTES,
        undivided=WHOLE,
    ),
    "schedule_free_adamw": Optimizer(
        temporary=1.0,
        package="schedulefree",
        install="schedulefree",
        undivided="it has not been tried with parts",
        schedules=False,
    ),
    "galore_adamw": Optimizer(package="pytorch_optimizer", install="pytorch-optimizer", undivided=WHOLE_MATRICES),
}

# The schedules, and those of them that end at --min-lr-ratio times the peak.
DECAYING = ("linear", "cosine", "polynomial", "warmup_stable_decay")
SCHEDULERS = (*DECAYING[:3], "constant", "constant_with_warmup", "inverse_sqrt", DECAYING[3])

# Settings that only some optimizers or schedules have: the parameter that has to have one of these values.
SETTINGS_OF = {
    "min_lr_ratio": ("scheduler", DECAYING),
    "polynomial_power": ("scheduler", ("polynomial",)),
    "decay_ratio": ("scheduler", ("warmup_stable_decay",)),
    "decay_shape": ("scheduler", ("warmup_stable_decay",)),
    "galore_rank": ("optimizer", ("galore_adamw",)),
    "galore_update_steps": ("optimizer", ("galore_adamw",)),
}
