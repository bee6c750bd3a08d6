"""What batches that are counted in tokens need, and what they can't be combined with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import SFT, of_flags
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.planning.plan import Plan


@rule(
    "P373",
    refuses="--trainer sft --batch-tokens 4096 --batch-size 4",
    accepts="--trainer sft --batch-tokens 4096 --gradient-accumulation 4",
)
def a_batch_of_tokens_is_one_pack(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--batch-tokens` with a flag that counts rows or leaves them unpacked: `--batch-size` above 1, `--no-packing`, `--engine trl`.

    Why: a batch is one pack of rows with at most so many tokens. A second count of its rows would contradict it, and TRL's trainer fills its own.
    Fix: either count. `--gradient-accumulation` and `--global-batch` count packs then.
    """
    if not trainer.reads("batch_tokens") or not config[Sft].batch_tokens:
        return
    against = {
        "batch_size": (config.batch_size or 1) > 1,
        "packing": not config[Sft].packing,
        "engine": config.engine != "native",
    }
    changes = {"batch_size": 1, "packing": None, "engine": None}
    for name in (name for name, is_given in against.items() if is_given):
        flag = "--no-packing" if name == "packing" else f"--{name.replace('_', '-')} {config.value_of(name)}"
        yield Finding(
            f"--batch-tokens {config[Sft].batch_tokens} makes each batch one pack of rows, which {flag} contradicts",
            changes={name: changes[name]},
            otherwise="or remove --batch-tokens",
            parameters=("batch_tokens", name),
        )


@rule(
    "P374",
    example=of_flags(
        "--batch-tokens 64 --block-size 128",
        "--batch-tokens 256 --block-size 128",
        command=SFT.replace(" --batch-size 2", ""),
    ),
)
def a_batch_of_tokens_has_room_for_every_row(
    config: Config, trainer: Trainer, context: RunContext, plan: Plan
) -> Iterator[Finding]:
    """`--batch-tokens` below the maximum length of a row, or with a model whose rows are padded.

    Why: rows are never cut to fill a batch, so that a batch has to have room for the longest; and packs need attention that keeps rows apart.
    Fix: more tokens, or shorter rows; for such a model `--batch-size`.
    """
    budget, longest = config[Sft].batch_tokens, plan.length.tokens
    if not trainer.reads("batch_tokens") or not budget:
        return
    if plan.layout.name == "padded":
        yield Finding(
            f"--batch-tokens {budget} fills batches with packed rows, and those of this model are padded: {plan.layout.why}",
            changes={"batch_tokens": None, "batch_size": config.trainer_spec.usual["batch_size"].full},
            parameters=("batch_tokens", "model"),
        )
    elif budget < longest:
        yield Finding(
            f"--batch-tokens {budget} is below the maximum length of a row, {longest} tokens",
            changes={"batch_tokens": longest},
            otherwise=f"or rows of at most {budget} tokens",
            parameters=("batch_tokens", plan.length.parameter),
        )
