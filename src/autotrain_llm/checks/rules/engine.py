"""What `--engine trl`, the reference library's own trainer, does in another way than this package's engine."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule


@rule("P341", WARNING, refuses="--engine trl --valid-split 0.1", accepts="--engine trl")
def the_trl_engine_averages_the_evaluation_loss_over_batches(config: Config) -> Iterator[Finding]:
    """`--engine trl` with evaluation rows.

    Why: TRL's trainer reports the mean of the batches' mean losses, and of their accuracies, weighted by rows. This package's engine
    counts every token the same. The two differ where batches hold unequal numbers of tokens, and with them the checkpoint that is
    found to be the best.
    Fix: compare training losses, which are the same, or evaluate both models with the native engine.
    """
    held_out = config.valid_split or config.eval_dataset_path
    if config.engine == "trl" and held_out and config.eval_strategy != "no":
        yield Finding(
            "--engine trl averages the evaluation loss over batches, not over tokens: it is not comparable with the native engine's",
            fix="--engine native to evaluate token by token",
            parameters=("engine",),
        )


@rule("P342", WARNING, refuses="--engine trl --peft --quantization int4", accepts="--engine trl --peft")
def the_trl_engine_keeps_a_quantised_models_adapter_in_bf16(config: Config) -> Iterator[Finding]:
    """`--engine trl` with a quantised base.

    Why: TRL's trainer turns the adapter's weights into bf16, in which small updates are rounded away; this package's engine keeps them
    in float32.
    Fix: the native engine, or no quantisation where the two are to be compared.
    """
    if config.engine == "trl" and config.quantization:
        yield Finding(
            "--engine trl trains the adapter of a quantised model in bf16, where the native engine keeps float32",
            changes={"engine": "native"},
            otherwise="or remove --quantization",
            parameters=("engine", "quantization"),
        )
