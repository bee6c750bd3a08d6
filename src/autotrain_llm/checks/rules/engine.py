"""What `--engine trl`, TRL's own trainers, can't do or does differently from the native engine."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.optimizers import OPTIMIZERS
from autotrain_llm.params.precision import OFFLOAD, SELECTIVE
from autotrain_llm.trainers.dpo import Dpo
from autotrain_llm.trainers.grpo import Grpo
from autotrain_llm.trainers.sft import Sft

TEACHER = "--trainer sft --use-distillation --teacher-model other"


@rule("P341", WARNING, refuses="--engine trl --valid-split 0.1", accepts="--engine trl")
def the_trl_engine_averages_the_evaluation_loss_over_batches(config: Config) -> Iterator[Finding]:
    """`--engine trl` with evaluation rows.

    Why: TRL's trainer reports the mean of the batches' mean losses and accuracies, weighted by rows. The native engine weights every token
    equally. The two differ where batches have different numbers of tokens, and so may the best checkpoint.
    Fix: compare training losses, which are the same, or evaluate both models with the native engine.
    """
    evaluates = config.valid_split or config.eval_dataset_path
    if config.engine == "trl" and evaluates and config.eval_strategy != "no":
        yield Finding(
            "--engine trl averages the evaluation loss over batches, not over tokens: it is not comparable with the native engine's",
            fix="--engine native to evaluate token by token",
            parameters=("engine",),
        )


@rule("P342", WARNING, refuses="--engine trl --peft --quantization int4", accepts="--engine trl --peft")
def the_trl_engine_keeps_a_quantised_models_adapter_in_bf16(config: Config) -> Iterator[Finding]:
    """`--engine trl` with a quantised base model.

    Why: TRL's trainer casts the adapter's weights to bf16, in which small updates are rounded away; the native engine keeps them in float32.
    Fix: the native engine, or no quantisation where the two are to be compared.
    """
    if config.engine == "trl" and config.quantization:
        yield Finding(
            "--engine trl trains the adapter of a quantised model in bf16; the native engine uses float32",
            changes={"engine": "native"},
            otherwise="or remove --quantization",
            parameters=("engine", "quantization"),
        )


@rule(
    "P377",
    refuses="--engine trl --gradient-checkpointing selective",
    accepts="--engine trl --gradient-checkpointing full",
)
def the_trl_engine_checkpoints_whole_layers(config: Config) -> Iterator[Finding]:
    """`--engine trl` with `--gradient-checkpointing selective` or `offload`.

    Why: TRL's trainers are given transformers' own checkpointing, which computes all of a layer again.
    Fix: `full`, or the native engine.
    """
    if config.engine == "trl" and config.gradient_checkpointing in (SELECTIVE, OFFLOAD):
        yield Finding(
            f"--engine trl has no --gradient-checkpointing {config.gradient_checkpointing}",
            changes={"gradient_checkpointing": True},
            otherwise="or remove --engine trl",
            parameters=("engine", "gradient_checkpointing"),
        )


@rule(
    "P354",
    WARNING,
    refuses="--trainer dpo --engine trl --label-smoothing 0.1",
    accepts="--trainer dpo --engine trl --dpo-loss robust --label-smoothing 0.1",
)
def the_trl_engine_smooths_no_labels_of_the_sigmoid_loss(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--engine trl` with `--label-smoothing` and the sigmoid loss.

    Why: TRL's sigmoid loss has no label smoothing; the two engines would minimise different losses.
    Fix: `--dpo-loss robust`, which both have, or the native engine.
    """
    smoothed = config.label_smoothing and config[Dpo].dpo_loss == "sigmoid"
    if trainer.reads("dpo_loss") and config.engine == "trl" and smoothed:
        yield Finding(
            "--engine trl ignores --label-smoothing with --dpo-loss sigmoid",
            changes={"dpo_loss": "robust"},
            otherwise="or remove --engine trl",
            parameters=("engine", "label_smoothing"),
        )


@rule("P505", refuses=f"{TEACHER} --engine trl", accepts=TEACHER)
def the_trl_engine_has_no_teacher(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--use-distillation` with `--engine trl`.

    Why: TRL's trainers for these tasks take no teacher; those that do train on the student's own samples, or without the task's loss.
    Fix: the native engine.
    """
    if trainer.reads("use_distillation") and config.use_distillation and config.engine == "trl":
        yield Finding(
            "--engine trl can't distil: TRL's trainers for these tasks take no teacher",
            changes={"engine": None},
            parameters=("engine", "use_distillation"),
        )


@rule(
    "P703",
    WARNING,
    refuses="--trainer reward --engine trl --label-smoothing 0.1",
    accepts="--trainer reward --label-smoothing 0.1",
)
def the_trl_engine_smooths_no_labels_of_rewards(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--trainer reward --engine trl` with `--label-smoothing`.

    Why: TRL's reward trainer accepts the setting and ignores it; the two engines would minimise different losses.
    Fix: the native engine, which has it, or remove the flag.
    """
    if trainer.trains_a_scorer and config.engine == "trl" and config.label_smoothing:
        yield Finding(
            "--engine trl ignores --label-smoothing for reward",
            changes={"engine": None},
            otherwise="or remove --label-smoothing",
            parameters=("engine", "label_smoothing"),
        )


@rule("P368", refuses="--engine trl --optimizer muon", accepts="--engine trl --optimizer adamw_torch")
def the_trl_engine_makes_the_optimizers_of_transformers(config: Config) -> Iterator[Finding]:
    """`--engine trl` with an optimizer that transformers does not make.

    Why: TRL's trainers make the optimizer by the name that transformers knows it by.
    Fix: the native engine, or another optimizer.
    """
    optimizer = OPTIMIZERS.get(config.optimizer)
    if config.engine == "trl" and optimizer and optimizer.transformers is None:
        yield Finding(
            f"--engine trl has no --optimizer {config.optimizer}",
            changes={"engine": None},
            otherwise="or --optimizer adamw_torch",
            parameters=("engine", "optimizer"),
        )


@rule("P369", refuses="--engine trl --neftune-alpha 5", accepts="--neftune-alpha 5")
def the_trl_engine_adds_no_noise_by_rows(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--neftune-alpha` with `--engine trl`, or with `--context-parallel`.

    Why: the noise depends on the length of a row. transformers takes that of the padded batch for it, and of a divided batch a process has parts of rows.
    Fix: the native engine, with whole batches.
    """
    if not trainer.reads("neftune_alpha") or not config[Sft].neftune_alpha:
        return
    if config.engine == "trl":
        other, what = "engine", "--engine trl takes the length of the padded batch for that of a row"
    elif config.context_parallel > 1:
        other, what = (
            "context_parallel",
            f"--context-parallel {config.context_parallel} divides rows among processes",
        )
    else:
        return
    yield Finding(
        f"--neftune-alpha {config[Sft].neftune_alpha:g} needs the length of each row, and {what}",
        changes={"neftune_alpha": None},
        otherwise=f"or remove {flag_of(other)}",
        parameters=("neftune_alpha", other),
    )


@rule("P724", refuses="--trainer sft --engine trl --use-enhanced-eval", accepts="--trainer sft --engine trl")
def the_trl_engine_evaluates_as_trl_does(config: Config) -> Iterator[Finding]:
    """`--engine trl` together with `--use-enhanced-eval`.

    Why: TRL's trainers run their own evaluation and give access to none of its batches; the numbers would not be those of the native engine.
    Fix: the native engine, which trains the same.
    """
    if config.engine == "trl" and config.use_enhanced_eval:
        yield Finding(
            "--engine trl evaluates as TRL does, without the metrics of --use-enhanced-eval",
            changes={"engine": None},
            parameters=("engine", "use_enhanced_eval"),
        )


@rule("P804", WARNING, refuses="--trainer grpo --engine trl", accepts="--trainer grpo --engine native")
def the_trl_engine_samples_in_its_own_way(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--engine trl` with grpo.

    Why: TRL's trainer samples all completions from one random stream and evaluates with as many completions per prompt as it trains with; it
    has neither early stopping by KL nor an adaptive KL coefficient. Given the same completions the two engines train the same, but they
    sample different ones.
    Fix: the native engine; TRL's is for comparison.
    """
    if config.engine != "trl" or not trainer.samples:
        return
    ignored = [name for name in ("rl_target_kl", "rl_kl_target") if config.value_of(name) is not None]
    ignored += [] if config[Grpo].rl_advantage != "rloo" else ["rl_advantage"]
    ignored += [] if config.rl_generation == "native" else ["rl_generation"]
    without = f", and ignores {', '.join(map(flag_of, ignored))}" if ignored else ""
    yield Finding(
        f"--engine trl samples other completions than the native engine{without}",
        changes={"engine": "native"},
        parameters=("engine", *ignored),
    )


@rule(
    "P806",
    refuses="--trainer grpo --engine trl --model scratch:1m --rl-kl-coef 0.04",
    accepts="--trainer grpo --engine trl --model scratch:1m --rl-kl-coef 0",
)
def the_trl_engine_loads_its_reference_model(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--engine trl` with grpo, a `scratch:` model and `--rl-kl-coef` above 0.

    Why: TRL's trainer loads the reference model by name, and a new model can't be loaded from anywhere.
    Fix: the native engine, which keeps a copy, or `--rl-kl-coef 0`.
    """
    is_new = str(config.model or "").startswith("scratch:")
    if trainer.samples and trainer.trl_adapter and config.engine == "trl" and is_new and config.rl_kl_coef:
        yield Finding(
            f"--engine trl can't load {config.model} again as the reference model that --rl-kl-coef {config.rl_kl_coef:g} needs",
            changes={"rl_kl_coef": 0},
            otherwise="or --engine native",
            parameters=("engine", "model", "rl_kl_coef"),
        )
