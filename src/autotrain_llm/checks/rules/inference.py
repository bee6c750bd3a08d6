"""Generating answers with a finished model, `--inference`."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import declare_finding, rule
from autotrain_llm.params.answering import Answering


@rule(
    "P202",
    refuses="--inference",
    accepts='--inference --model runs/mine --prompts "Hello"',
    inference=True,
)
def inference_needs_a_model_and_prompts(config: Config) -> Iterator[Finding]:
    """`--inference` without `--model` or `--prompts`.

    Why: there is nothing to answer, or no model to answer it.
    Fix: give both.
    """
    missing = [name for name in ("model", "prompts") if config.inference and config.value_of(name) is None]
    if missing:
        yield Finding(
            f"--inference needs {' and '.join(map(flag_of, missing))}",
            fix=" ".join({"model": "--model runs/mine", "prompts": '--prompts "Hello"'}[name] for name in missing),
            parameters=("inference", *missing),
        )
    if config.inference and str(config.model or "").startswith("scratch:"):
        yield Finding(
            "--inference needs a trained model, and scratch: is a new one with random weights",
            fix="--model runs/mine",
            parameters=("inference", "model"),
        )


@rule(
    "P203",
    WARNING,
    refuses='--inference --model runs/mine --prompts "Hello" --lr 1e-4',
    accepts='--inference --model runs/mine --prompts "Hello"',
    inference=True,
)
def inference_does_not_train(config: Config) -> Iterator[Finding]:
    """A training parameter together with `--inference`.

    Why: generating answers uses the model, the chat template and the precision, and nothing else; the value is ignored.
    Fix: remove it.
    """
    if not config.inference:
        return
    unused = [name for name in config.all_given() if not PARAMS[name].command and not PARAMS[name].used_by_inference]
    if unused:
        yield Finding(
            f"{', '.join(map(flag_of, unused))} has no effect with --inference, will be ignored",
            changes=dict.fromkeys(unused),
            parameters=tuple(unused),
        )


@rule("P204", WARNING, refuses="--trainer ppo --max-new-tokens 64", accepts="--trainer ppo --rl-max-new-tokens 64")
def training_answers_no_prompts(config: Config) -> Iterator[Finding]:
    """`--prompts` or `--max-new-tokens` without `--inference`.

    Why: both are for generating with a finished model; training does not use them, and the value is ignored.
    Fix: use the training parameter that the finding shows, or remove it.
    """
    for name in ("prompts", "max_new_tokens"):
        if config.given(name) and not config.inference:
            instead = _training_parameter(config) if name == "max_new_tokens" else None
            instead = None if instead and config.given(instead) else instead
            yield Finding(
                f"{flag_of(name)} has no effect without --inference, will be ignored",
                changes={name: None} | ({instead: config.value_of(name)} if instead else {}),
                parameters=(name,),
            )


def _training_parameter(config: Config) -> str | None:
    """The parameter that limits the completions that training generates."""
    if config.applies("rl_max_new_tokens"):
        return "rl_max_new_tokens"
    return "eval_max_new_tokens" if config.use_enhanced_eval and config.applies("eval_max_new_tokens") else None


@rule(
    "P205",
    WARNING,
    refuses='--inference --model runs/mine --prompts "Hello" --top-p 0.9',
    accepts='--inference --model runs/mine --prompts "Hello" --temperature 0.7 --top-p 0.9',
    inference=True,
)
def the_likeliest_token_is_not_sampled(config: Answering) -> Iterator[Finding]:
    """`--top-k` or `--top-p` without a `--temperature` above 0.

    Why: at temperature 0 the most likely token is always taken, and a limit on less likely ones changes nothing.
    Fix: give a temperature, or remove the flag.
    """
    limits = [
        name for name, value in (("top_k", config.top_k), ("top_p", config.top_p)) if value != PARAMS[name].default
    ]
    if limits and not config.temperature:
        yield Finding(
            f"{' and '.join(map(flag_of, limits))} {'have' if len(limits) > 1 else 'has'} no effect at temperature 0",
            fix=f"--temperature 0.7, or remove {' and '.join(map(flag_of, limits))}",
            guess={"temperature": 0.7},
            parameters=tuple(limits),
        )


PROMPTS_UNLIKE_ROWS = declare_finding(
    "P345",
    """`--inference` writes prompts in another way than the rows were written that the model was trained on.

    Why: the model was trained to answer text that a chat template wrote, or that none wrote, or after a system prompt. Given other text, it can answer as if
    it had not been trained. A run saves how its rows were written beside the model, in `prompt_format.json`, and `--inference` writes prompts like
    that; `--chat-template` and `--system` override it.
    Fix: leave out the flag that the finding names, or give prompts like the rows.
    """,
    WARNING,
    example=Example(
        "llm --inference --model asked --prompts Hi --chat-template chatml --max-new-tokens 2",
        "llm --inference --model asked --prompts Hi --max-new-tokens 2",
        before='cp -r MODEL asked\necho \'{"rows": "text"}\' > asked/prompt_format.json',
        runs=True,
    ),
)
UNUSABLE_PROMPTS = declare_finding(
    "P330",
    """`--prompts` is a file that does not exist or has no prompt (or `-`, and standard input has none), or a prompt can't be answered.

    Why: without a prompt there is nothing to answer. A prompt can't be answered if the chat template refuses it, or if it leaves no room for an
    answer in the model's context.
    Fix: correct the prompt that the finding names.
    """,
    example=Example(
        "llm --inference --model MODEL --prompts nowhere.txt --max-new-tokens 2",
        "llm --inference --model MODEL --prompts prompts.txt --max-new-tokens 2",
        before="echo Hi > prompts.txt",
        runs=True,
    ),
)
