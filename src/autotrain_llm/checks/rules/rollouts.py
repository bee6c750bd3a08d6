"""What answers that a model learns from need: something that scores them, and room to be written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding, Refused
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.machine import Machine
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.example import Example
    from autotrain_llm.data.rows import TokenRows
    from autotrain_llm.models.metadata import ModelMetadata

SHOWN = 5  # row numbers in a message
FIRST_VLLM = (0, 11)  # that can be handed weights as `run/generation/vllm_engine.py` does
OTHER_DEVICES = ("cpu", "rocm", "xpu", "tpu", "neuron", "hpu", "gaudi")  # in versions of vLLM that are built for them
LEAST_ANSWER = 16  # tokens below which shorter answers are no advice


@rule(
    "P730",
    refuses="--trainer grpo --rl-reward-fn nowhere.py:score",
    accepts="--trainer grpo --rl-reward-fn statistics:mean",
)
def a_function_that_scores_must_be_there(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-reward-fn` names a file, module or function that is not there.

    Why: it is written `FILE.py:FUNCTION` or `MODULE:FUNCTION`, and every answer is scored by it. Files and modules are looked for in
    this folder and among what is installed; nothing in them is run for that.
    Fix: the name that is shown.
    """
    from autotrain_llm.context.reward_functions import find_function

    if not trainer.samples:
        return
    for written in config.rl_reward_fn or ():
        try:
            find_function(written, "rl_reward_fn")
        except Refused as refused:
            yield from refused.findings


@rule(
    "P732",
    refuses="--trainer grpo --rl-reward-fn statistics:mean --rl-reward-weights 1,0.5",
    accepts="--trainer grpo --rl-reward-model-path runs/reward --rl-reward-fn statistics:mean --rl-reward-weights 1,0.5",
)
def every_reward_has_a_weight(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-reward-weights` are not as many as the rewards, or not numbers, or leave nothing.

    Why: there is one for each model that `--rl-reward-model-path` names, then one for each function of `--rl-reward-fn`, in their order.
    Fix: as many numbers as there are rewards, or none of them, which weighs each by 1.
    """
    models, functions = (config.value_of(name) for name in ("rl_reward_model_path", "rl_reward_fn"))
    if not trainer.samples or (models is None and functions is None):
        return
    rewards = [*(models or ()), *(functions or ())]
    given = config.rl_reward_weights
    if not rewards:
        names = [
            name for name, held in (("rl_reward_model_path", models), ("rl_reward_fn", functions)) if held is not None
        ]
        yield Finding(
            "nothing scores the answers: the list of rewards is empty",
            fix="--rl-reward-model-path ./reward_model",
            parameters=tuple(names),
        )
    if given is None or not rewards:
        return
    wrong = [weight for weight in given if not _is_finite(weight)]
    words = ",".join(given)
    if wrong:
        yield Finding(
            f"--rl-reward-weights must be numbers, got {wrong[0]!r}",
            changes={"rl_reward_weights": ",".join("1" * len(rewards))},
            parameters=("rl_reward_weights",),
        )
    elif len(given) != len(rewards):
        yield Finding(
            f"--rl-reward-weights {words} is {len(given)}, and there are {len(rewards)} rewards: {', '.join(rewards)}",
            changes={"rl_reward_weights": ",".join([*given, *"1" * len(rewards)][: len(rewards)])},
            parameters=("rl_reward_weights",),
        )
    elif not any(float(weight) for weight in given):
        yield Finding(
            f"--rl-reward-weights {words} leave nothing to learn from",
            changes={"rl_reward_weights": ",".join("1" * len(rewards))},
            parameters=("rl_reward_weights",),
        )


def _is_finite(word: str) -> bool:
    try:
        return abs(float(word)) < float("inf")
    except ValueError:
        return False


@rule("P733", WARNING, refuses="--trainer grpo --rl-top-k 50", accepts="--trainer grpo --rl-temperature 0.8")
def answers_should_be_drawn_from_the_whole_distribution(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-top-k` or `--rl-top-p` cut what answers are drawn from.

    Why: the update weighs tokens by their probability under softmax(logits / temperature), with nothing cut. Answers drawn from less than
    that are not the policy's own, and what was cut is never tried, so that it can't be learnt.
    Fix: leave it out; `--rl-temperature` below 1 makes answers likelier without cutting any.
    """
    if not trainer.samples:
        return
    top_k, top_p = config.rl_top_k, config.rl_top_p
    cut = [("rl_top_k", f"--rl-top-k {top_k}")] if top_k > 0 else []
    cut += [("rl_top_p", f"--rl-top-p {top_p:g}")] if 0 < top_p < 1 else []
    if cut:
        flags = " and ".join(flag for _, flag in cut)
        yield Finding(
            f"{flags}: answers are drawn from the cut distribution, and learnt from as if from the whole one",
            changes=dict.fromkeys(name for name, _ in cut),
            parameters=tuple(name for name, _ in cut),
        )


@rule("P734")
def prompts_must_leave_room_for_answers(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A prompt and `--rl-max-new-tokens` together are longer than the model's context.

    Why: beyond its context a model writes nonsense, or the call fails; and what is learnt from is prompt and answer together.
    Fix: shorter answers, or `--block-size`, beyond which a prompt keeps its end.
    """
    context_length = context.context_length
    if not trainer.samples or context_length is None or context.prepared is None or context.dataset is None:
        return
    answer = config.rl_max_new_tokens
    if answer >= context_length:
        yield Finding(
            f"--rl-max-new-tokens {answer} leaves no room for a prompt in the model's context of {context_length}",
            changes={"rl_max_new_tokens": max(1, context_length // 2)},
            parameters=("rl_max_new_tokens",),
        )
        return
    for rows, examples in (
        (context.prepared.train, context.dataset.train),
        (context.prepared.valid, context.dataset.valid),
    ):
        held: TokenRows = rows  # type: ignore[assignment]
        long = [number for number, length in enumerate(held.lengths.tolist()) if length + answer > context_length]
        if long:
            numbers = [examples[int(held.source[number])].row for number in long]
            longest = int(held.lengths.max())
            many = f" ({len(long)} rows: {', '.join(map(str, numbers[:SHOWN]))}{', …' if len(long) > SHOWN else ''})"
            room = max(context_length - longest, 0)
            shorter = room >= max(LEAST_ANSWER, answer // 2)
            yield Finding(
                f"a prompt of {longest} tokens leaves {room} of the model's context of {context_length}, "
                f"and --rl-max-new-tokens is {answer}" + (many if len(long) > 1 else ""),
                changes={"rl_max_new_tokens": room} if shorter else {"block_size": context_length - answer},
                otherwise=f"or --block-size {context_length - answer}, where a longer prompt keeps its end"
                if shorter
                else "where a longer prompt keeps its end, or a lower --rl-max-new-tokens",
                parameters=("rl_max_new_tokens",),
                file=examples[int(held.source[long[0]])].file,
                row=numbers[0],
            )


@rule("M177", WARNING)
def conversations_are_scored_by_a_model_that_knows_turns(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """Prompts are conversations, and the reward model's tokenizer has no chat template.

    Why: the turns are joined to one text, a line for each, and scored as that; the model saw something else, or texts alone, when it was
    trained.
    Fix: a reward model that was trained on conversations.
    """
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.planning.rollouts import reward_models

    if not trainer.samples or context.dataset is None:
        return
    if not any(isinstance(example.prompt, list) for example in context.dataset.train):
        return
    for name in reward_models(config):
        facts = context.models.secondary("rl_reward_model_path", name)
        folder = facts.tokenizer_folder if facts else None
        if folder is not None and Tokenizer.load(folder).chat_template is None:
            yield Finding(
                f"--rl-reward-model-path {name}: its tokenizer has no chat_template, so the turns of a conversation are scored as lines of text",
                fix=f"--trainer reward --model {name} --chat-template chatml, on conversations",
                parameters=("rl_reward_model_path",),
            )


@rule("M178", WARNING)
def scored_texts_must_fit_into_the_reward_model(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A prompt and its answer are longer than the reward model's context.

    Why: what is too long is scored without its start: without the question, or a part of it. Prompts are counted as the reward model's
    tokenizer writes them, answers by `--rl-max-new-tokens`; `completions/truncated_for_reward` in the metrics is the share that really was cut.
    Fix: shorter answers, shorter prompts, or a reward model that reads more.
    """
    from autotrain_llm.planning.rollouts import reward_models

    if not trainer.samples or context.dataset is None:
        return
    answer = config.rl_max_new_tokens
    for name in reward_models(config):
        facts = context.models.secondary("rl_reward_model_path", name)
        context_length = facts.context_length if facts is not None else None
        if facts is None or context_length is None or facts.tokenizer_folder is None:
            continue
        for examples in (context.dataset.train, context.dataset.valid):
            lengths = _lengths_as_scored(examples, facts, config, context_length - answer)
            long = [place for place, length in lengths.items() if length + answer > context_length]
            if not long:
                continue
            longest = max(lengths[place] for place in long)
            alone = sum(lengths[place] > context_length for place in long)
            rows = ", ".join(str(examples[place].row) for place in long[:SHOWN]) + (", …" if len(long) > SHOWN else "")
            room = context_length - longest
            yield Finding(
                f"--rl-reward-model-path {name} reads {context_length} tokens: with an answer of --rl-max-new-tokens {answer}, {len(long)} of "
                f"{len(examples)} prompts are longer (rows {rows}), {alone} of them by themselves, and are scored without their start",
                changes={"rl_max_new_tokens": room} if room >= LEAST_ANSWER else {},
                fix=None if room >= LEAST_ANSWER else "shorter prompts, or a reward model with a longer context",
                otherwise="or a reward model with a longer context",
                parameters=("rl_reward_model_path", "rl_max_new_tokens"),
                file=examples[long[0]].file,
                row=examples[long[0]].row,
            )


def _lengths_as_scored(examples: Sequence[Example], facts: ModelMetadata, config: Config, room: int) -> dict[int, int]:
    """The tokens that a reward model reads of each prompt with an empty answer, by its place; only of those that may need more than `room`."""
    from autotrain_llm.data.chat.template import find_template
    from autotrain_llm.data.observations import Observations
    from autotrain_llm.data.tokenize.reward_inputs import answered, ids_of, texts_of_rows
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.planning.rollouts import scores_turns

    assert facts.tokenizer_folder is not None
    try:
        tokenizer = Tokenizer.load(facts.tokenizer_folder)
        template = find_template(None, tokenizer, Observations())
        asked = scores_turns(facts, config) and template is not None
        asking = [answered(example, "", template) for example in examples]
        texts, _ = texts_of_rows(asking, template, asked)
        marks = sum(map(len, tokenizer.bos_eos))
        # A token is a byte at the least.
        places = [place for place, text in enumerate(texts) if len(text.encode()) + marks > room]
        found = ids_of([asking[place] for place in places], tokenizer, template, asked)
    except Refused:  # of what can't be read or written another rule speaks
        return {}
    return {place: len(ids) for place, ids in zip(places, found, strict=True)}


@rule("E510")
def vllm_needs_its_package_and_a_gpu(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """`--rl-generation vllm` without a vLLM that fits, without CUDA, in several processes, or with a quantised model.

    Why: vLLM writes the answers in this process and on this GPU, and is no part of what is installed by default. Weights are handed to it
    by a call that it has had since 0.11, and are those of a bf16 copy of the model: packed ones it could not take.
    Fix: install it, or let the program's own sampling write them.
    """
    if not trainer.samples or config.rl_generation != "vllm":
        return
    if not machine.has_cuda:
        yield Finding(
            "--rl-generation vllm needs a CUDA GPU, and this machine has none",
            changes={"rl_generation": "native"},
            parameters=("rl_generation",),
        )
    if not machine.has_package("vllm"):
        yield Finding(
            "--rl-generation vllm needs the package vllm, which is not installed",
            changes={"rl_generation": "native"},
            otherwise="or pip install vllm",
            parameters=("rl_generation",),
        )
    elif (fault := _fault_of_vllm(machine.version_of("vllm"))) is not None:
        yield Finding(
            f"--rl-generation vllm: {fault}",
            changes={"rl_generation": "native"},
            otherwise=f"or pip install 'vllm>={'.'.join(map(str, FIRST_VLLM))}'",
            parameters=("rl_generation",),
        )
    if machine.processes > 1:
        yield Finding(
            f"--rl-generation vllm writes in one process, and {machine.processes} were started",
            changes={"rl_generation": "native"},
            parameters=("rl_generation",),
        )
    if config.quantization:
        yield Finding(
            f"--rl-generation vllm can't be handed the weights of a model in {config.quantization}",
            changes={"rl_generation": "native"},
            otherwise="or leave out --quantization",
            parameters=("rl_generation", "quantization"),
        )


def _fault_of_vllm(version: str | None) -> str | None:
    """What is wrong with this version, `0.11.2+cpu`: too old, or built for something that is no CUDA GPU."""
    release, _, build = (version or "").partition("+")
    numbers = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    if version is None or len(numbers) < 2:
        return None  # built from a checkout, say
    if numbers < FIRST_VLLM:
        return (
            f"vllm {version} is installed, and the first that can be handed weights is {'.'.join(map(str, FIRST_VLLM))}"
        )
    if any(part.startswith(OTHER_DEVICES) for part in build.split(".")):
        return f"the vllm that is installed, {version}, is not built for CUDA"
    return None
