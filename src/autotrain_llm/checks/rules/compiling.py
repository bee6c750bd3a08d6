"""What compiled layers need, and what they can't be combined with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import NEW, Example, of_config_key
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.precision import AUTO, OFF, ON
from autotrain_llm.planning.compiling import flags_against_compiling, reason_against_compiling

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.planning.plan import Plan

WITHOUT = {"compile": AUTO}
COMPILED = f"{NEW} --compile on"


@rule("P372", refuses="--trainer sft --compile on --engine trl", accepts="--trainer sft --compile on")
def layers_of_other_engines_are_not_compiled(config: Config) -> Iterator[Finding]:
    """`--compile on` with a flag whose runs are not compiled: `--engine trl`, `--context-parallel` above 1, `--quantization`,
    `--gradient-checkpointing selective`.

    Why: a layer is compiled into one graph for batches of all lengths. That needs rows without padding, and everything that a layer does
    inside one process and in torch's own operations.
    Fix: without `--compile on`, or without the other flag.
    """
    if config.compile != ON:
        return
    for name, why in flags_against_compiling(config).items():
        yield Finding(
            f"--compile on can't be combined with {flag_of(name)} {config.value_of(name)}: {why}",
            changes=WITHOUT,
            parameters=("compile", name),
        )


@rule("E533", example=Example(f"CXX=no-compiler {COMPILED}", COMPILED))
def a_processor_needs_a_compiler(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--compile on` on a processor, without a C++ compiler.

    Why: torch writes C++ for the layers and compiles it with the program that CXX names, else with g++ (on a Mac clang++).
    Fix: install one (`apt-get install g++`, `xcode-select --install`), or train without.
    """
    if config.compile != ON or machine.has_cuda or machine.cpp_compiler is not None:
        return
    yield Finding(
        f"--compile on needs the C++ compiler {machine.cpp_compiler_name}, which is not installed here",
        changes=WITHOUT,
        otherwise="or install it, or name another in the environment variable CXX",
        parameters=("compile",),
    )


@rule(
    "E534",
    example=of_config_key('"model_type"', '"attention_dropout": 0.1, "model_type"', "--compile on"),
)
def the_layers_of_a_model_can_be_compiled(config: Config, context: RunContext, plan: Plan) -> Iterator[Finding]:
    """`--compile on` with a model whose layers can't be one graph.

    Why: attention is one operation of a compiled layer. It has no dropout, rows have to be in the flat layout, and on a GPU it exists in half precision and
    without a softcap. Layers whose weights are divided among processes (`--shard full`) were never run compiled.
    Fix: without `--compile on`.
    """
    if config.compile != ON or flags_against_compiling(config):
        return
    reason = reason_against_compiling(context, plan.layout, plan.precision)
    if plan.is_sharded:
        reason = "its weights are divided among processes, and compiled layers were never run with parts of weights"
    if reason is not None:
        yield Finding(
            f"--compile on can't compile the layers of {plan.model.name}: {reason}",
            changes={"compile": OFF},
            parameters=("compile", "model"),
        )
