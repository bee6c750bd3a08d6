"""`autotrain chat`: which model can talk, and what of a command is about talking."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.checks.command_flags import CommandFlags
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import declare_finding, rule

CHAT = "chat MODEL --dry-run"


@rule("P206", example=Example("chat --dry-run", CHAT))
def chat_needs_a_trained_model(config: Config, chat: CommandFlags) -> Iterator[Finding]:
    """`autotrain chat` without a model, or with a new one.

    Why: nobody answers, or a model with random weights.
    Fix: name the folder of a run, a checkpoint, a model or an adapter, or a Hub id.
    """
    if config.model is None:
        yield Finding("chat needs a model, and none was given", "autotrain chat runs/mine", ("model",))
    elif str(config.model).startswith("scratch:"):
        message = "chat needs a trained model, and scratch: is a new one with random weights"
        yield Finding(message, "autotrain chat runs/mine", ("model",))


@rule("P207", WARNING, example=Example(f"{CHAT} --lr 1e-4", CHAT))
def chat_trains_nothing(chat: CommandFlags) -> Iterator[Finding]:
    """A flag of `autotrain chat` that has no effect on answers.

    Why: answers depend on the model, the chat template, the precision and the settings of sampling, and on nothing else.
    Fix: remove the flag.
    """
    yield from chat.without_effect(" on a chat, will be ignored")


@rule(
    "P210",
    WARNING,
    refuses='--inference --model runs/mine --prompts "Hello" --against base',
    accepts='--inference --model runs/mine --prompts "Hello"',
    inference=True,
)
def one_model_answers_prompts(config: Config) -> Iterator[Finding]:
    """`--against` with `--inference`.

    Why: two models answer side by side in `autotrain chat`; `--inference` asks the model of `--model` alone.
    Fix: remove it, or use `autotrain chat`.
    """
    if config.inference and config.against is not None:
        message = "--against has no effect with --inference, will be ignored: autotrain chat asks two models"
        yield Finding(message, None, ("against",), changes={"against": None})


SCORER_CANNOT_CHAT = declare_finding(
    "P208",
    """A model of `autotrain chat` is a reward model, or another model that gives scores.

    Why: it scores texts and generates none.
    Fix: `--inference` prints the scores of texts.
    """,
    example=Example("chat SCORER --dry-run", CHAT),
)
NO_STARTING_MODEL = declare_finding(
    "P209",
    """`--against base` for a model of which it is not known from which other model its training started.

    Why: a run's `run.json` names that model, an adapter's `adapter_config.json` its base. A run that started from `scratch:` has none.
    Fix: name the other model.
    """,
    example=Example(f"{CHAT} --against base", f"{CHAT} --against MODEL"),
)
