"""What scores the completions of ppo and grpo: reward models and reward functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import PPO, PROMPTS, Example, of_flags, of_scorer
from autotrain_llm.declare.finding import WARNING, Finding, Refused
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.rollouts import RewardSources
from autotrain_llm.planning.rollouts import named_weights, reward_models, rewards_of

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.example import Example as Row
    from autotrain_llm.models.metadata import ModelMetadata

SHOWN = 5  # row numbers in a message
LEAST_ANSWER = 16  # tokens; shorter completions are not suggested
BY_FUNCTION = PPO.replace("--rl-reward-model-path SCORER", "--rl-reward-fn score.py:score") + "rows.jsonl"


def of_rewards(wrong: str, right: str) -> Example:
    """The same command with two reward functions."""
    start = "echo 'def score(prompts, completions, **columns): {}' > score.py"
    return Example(BY_FUNCTION, BY_FUNCTION, PROMPTS, PROMPTS, wrong=start.format(wrong), right=start.format(right))


@rule(
    "P730",
    refuses="--trainer grpo --rl-reward-fn nowhere.py:score",
    accepts="--trainer grpo --rl-reward-fn statistics:mean",
)
def a_reward_function_must_exist(sources: RewardSources, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-reward-fn` names a file, module or function that does not exist.

    Why: every completion is scored by it. It is given as `FILE.py:FUNCTION` or `MODULE:FUNCTION`, and looked for in this folder and among the
    installed packages; nothing in it is executed to find it.
    Fix: use the name that the finding shows.
    """
    from autotrain_llm.context.reward_functions import find_function

    for name in (sources.rl_reward_fn or ()) if trainer.samples else ():
        try:
            find_function(name, "rl_reward_fn")
        except Refused as refused:
            yield from refused.findings


@rule(
    "P812",
    WARNING,
    example=of_rewards("return [0.5 for _ in completions]", "return [float(len(text)) for text in completions]"),
)
def a_reward_function_looks_at_the_answers(sources: RewardSources, trainer: Trainer) -> Iterator[Finding]:
    """The only reward is a function whose source shows that its scores don't depend on the completions: it counts them, and reads none.

    Why: the policy is trained on how much better or worse an answer is than others. With a reward that is the same for any answer nothing is learned; P741 says so
    of other rewards when it has seen some.
    Fix: score each text in `completions`.
    """
    from autotrain_llm.context.reward_functions import find_function, ignores_completions

    functions = sources.rl_reward_fn or ()
    if not trainer.samples or sources.rl_reward_model_path or not functions:
        return
    try:
        blind = all(ignores_completions(find_function(name, "rl_reward_fn")) for name in functions)
    except Refused:
        return  # P730 reports it
    if blind:
        yield Finding(
            f"--rl-reward-fn {','.join(functions)} does not look at the answers: all of them have the same reward, and nothing is learned from them",
            "score each text in completions, as in [float(len(text)) for text in completions]",
            ("rl_reward_fn",),
        )


@rule(
    "P732",
    refuses="--trainer grpo --rl-reward-fn statistics:mean --rl-reward-weights 1,0.5",
    accepts="--trainer grpo --rl-reward-model-path runs/reward --rl-reward-fn statistics:mean --rl-reward-weights 1,0.5",
)
def every_reward_has_a_weight(sources: RewardSources, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-reward-weights` has more or fewer weights than there are rewards, weights that are not numbers, or only zeros.

    Why: each reward is multiplied by its weight before they are added. The weights are given in the order of the models in
    `--rl-reward-model-path`, then of the functions in `--rl-reward-fn`.
    Fix: one number for each reward, or none, which gives each a weight of 1.
    """
    models, functions, given = sources.rl_reward_model_path, sources.rl_reward_fn, sources.rl_reward_weights
    if not trainer.samples or (models is None and functions is None):
        return
    rewards = [*(models or ()), *(functions or ())]
    if not rewards:
        yield Finding(
            "nothing scores the completions: the list of rewards is empty",
            fix="--rl-reward-model-path ./reward_model",
            parameters=(("rl_reward_model_path",) if models is not None else ())
            + (("rl_reward_fn",) if functions is not None else ()),
        )
    if given is None or not rewards:
        return
    named = named_weights(given)
    if named and len(named) == len(given):
        wrong = [name for name, weight in named.items() if not _is_finite(weight)]
        if wrong or not any(float(weight) for weight in named.values()):
            message = (
                f"must be numbers, got {wrong[0]}={named[wrong[0]]}"
                if wrong
                else "are all zero, so every reward is zero"
            )
            yield Finding(
                f"--rl-reward-weights {message}", changes={"rl_reward_weights": None}, parameters=("rl_reward_weights",)
            )
        return
    wrong, ones = [weight for weight in given if not _is_finite(weight)], ["1"] * len(rewards)
    if wrong:
        message, weights = f"--rl-reward-weights must be numbers, got {wrong[0]!r}", ones
    elif len(given) != len(rewards):
        message = f"--rl-reward-weights {','.join(given)} has {plural(len(given), 'weight')} for {plural(len(rewards), 'reward')}: {', '.join(rewards)}"
        weights = [*given, *ones][: len(rewards)]
    elif not any(float(weight) for weight in given):
        message, weights = f"--rl-reward-weights {','.join(given)}: all weights are zero, so every reward is zero", ones
    else:
        return
    yield Finding(message, changes={"rl_reward_weights": ",".join(weights)}, parameters=("rl_reward_weights",))


def _is_finite(word: str) -> bool:
    try:
        return abs(float(word)) < float("inf")
    except ValueError:
        return False


SEVERAL = """sed -i.old 's/"LABEL_0"/"kind", "1": "short"}, "problem_type": "regression", "x": {"0": "y"/' judge/config.json"""


@rule("P709", example=of_flags("--rl-reward-weights kind=1", "--rl-reward-weights SCORER=1", PROMPTS, PPO))
def a_named_weight_is_that_of_a_reward(config: Config, trainer: Trainer, context: RunContext) -> Iterator[Finding]:
    """`--rl-reward-weights NAME=X` with a name that no reward has.

    Why: the names are those of the outputs of a reward model with several, else of the model's folder or of the function. A reward that is not
    named has weight 0.
    Fix: the names that the finding shows.
    """
    named = named_weights(config.rl_reward_weights or ()) if trainer.samples else {}
    names = [reward.name for reward in rewards_of(config, context) if reward.source is not None] if named else []
    unknown = [name for name in named if name not in names]
    if unknown:
        yield Finding(
            f"--rl-reward-weights: there is no reward {', '.join(unknown)}; there are {', '.join(names)}",
            guess={"rl_reward_weights": ",".join(f"{name}=1" for name in names)},
            parameters=("rl_reward_weights",),
        )


@rule("P710", WARNING, example=of_scorer(SEVERAL))
def the_outputs_of_a_reward_model_have_weights(
    config: Config, trainer: Trainer, context: RunContext
) -> Iterator[Finding]:
    """A reward model has several outputs, and no weights for them are given.

    Why: they are added with equal weights, whatever they measure and however large they are: a score of verbosity counts as one of helpfulness.
    Fix: `--rl-reward-weights` with a weight for each name.
    """
    if not trainer.samples or named_weights(config.rl_reward_weights or ()):
        return
    for source in reward_models(config):
        names = [reward.name for reward in rewards_of(config, context) if reward.source == source]
        if len(names) > 1:
            yield Finding(
                f"--rl-reward-model-path {source} has {len(names)} outputs ({', '.join(names)}), which are added with equal weights",
                guess={"rl_reward_weights": ",".join(f"{name}=1" for name in names)},
                parameters=("rl_reward_model_path", "rl_reward_weights"),
            )


@rule(
    "M177",
    WARNING,
    example=of_scorer("rm judge/chat_template.jinja", rows='{"prompt": [{"role": "user", "content": "Hi"}]}\n'),
)
def conversations_should_be_scored_by_a_model_with_a_chat_template(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """Prompts are conversations, and the reward model's tokenizer has no chat template.

    Why: the turns are joined to one text, one line per turn, and scored in that form, which the reward model was not trained on.
    Fix: a reward model that was trained on conversations.
    """
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.planning.rollouts import reward_models

    if not trainer.samples or context.dataset is None:
        return
    if not any(isinstance(example.prompt, list) for example in context.dataset.train):
        return
    for name in reward_models(config):
        scorer = context.models.secondary("rl_reward_model_path", name)
        folder = scorer.tokenizer_folder if scorer else None
        if folder is not None and Tokenizer.load(folder).chat_template is None:
            yield Finding(
                f"--rl-reward-model-path {name}: its tokenizer has no chat_template, so the turns of a conversation are scored as lines of text",
                fix=f"--trainer reward --model {name} --chat-template chatml, on conversations",
                parameters=("rl_reward_model_path",),
            )


@rule("M178", WARNING, example=of_flags("--rl-max-new-tokens 2046", "--rl-max-new-tokens 64", PROMPTS, PPO))
def scored_texts_should_fit_into_the_reward_model(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """A prompt and its completion are longer than the reward model's context.

    Why: a text that is too long is scored without its start, so the reward model doesn't see the prompt, or only part of it. The length of a
    prompt is measured with the reward model's tokenizer, that of a completion is taken as `--rl-max-new-tokens`. In the run, the metric
    `completions/truncated_for_reward` is the share of texts that were truncated.
    Fix: shorter completions, shorter prompts, or a reward model with a longer context.
    """
    from autotrain_llm.planning.rollouts import reward_models

    if not trainer.samples or context.dataset is None:
        return
    answer = config.rl_max_new_tokens
    for name in reward_models(config):
        scorer = context.models.secondary("rl_reward_model_path", name)
        context_length = scorer.context_length if scorer is not None else None
        if scorer is None or context_length is None or scorer.tokenizer_folder is None:
            continue
        for rows in (context.dataset.train, context.dataset.valid):
            lengths = _scored_lengths(rows, scorer, config, context_length - answer)
            long = [index for index, length in lengths.items() if length + answer > context_length]
            if not long:
                continue
            alone = sum(lengths[index] > context_length for index in long)
            by_themselves = f"; {alone} are too long even without a completion" if alone else ""
            shown = ", ".join(str(rows[index].row) for index in long[:SHOWN]) + (", …" if len(long) > SHOWN else "")
            room = context_length - max(lengths[index] for index in long)
            yield Finding(
                f"--rl-reward-model-path {name} has a context of {context_length} tokens: with a completion of --rl-max-new-tokens {answer}, "
                f"{len(long)} of {len(rows)} prompts are too long and are scored without their start (rows {shown}{by_themselves})",
                changes={"rl_max_new_tokens": room} if room >= LEAST_ANSWER else {},
                fix=None if room >= LEAST_ANSWER else "shorter prompts, or a reward model with a longer context",
                otherwise="or a reward model with a longer context",
                parameters=("rl_reward_model_path", "rl_max_new_tokens"),
                file=rows[long[0]].file,
                row=rows[long[0]].row,
            )


def _scored_lengths(rows: Sequence[Row], scorer: ModelMetadata, config: Config, room: int) -> dict[int, int]:
    """The tokens that a reward model reads of each prompt with an empty completion, by index; only of those that may exceed `room`."""
    from autotrain_llm.data.chat.template import find_template
    from autotrain_llm.data.observations import Observations
    from autotrain_llm.data.tokenize.reward_inputs import answered, ids_of, texts_of_rows
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.planning.rollouts import scores_turns

    assert scorer.tokenizer_folder is not None
    try:
        tokenizer = Tokenizer.load(scorer.tokenizer_folder)
        template = find_template(None, tokenizer, Observations())
        as_turns = scores_turns(scorer, config) and template is not None
        prompts = [answered(row, "", template) for row in rows]
        texts, _ = texts_of_rows(prompts, template, as_turns)
        specials = sum(map(len, tokenizer.bos_eos))
        # A token is at least a byte, so that a short text needs no tokenizer to be known to fit.
        long = [index for index, text in enumerate(texts) if len(text.encode()) + specials > room]
        ids = ids_of([prompts[index] for index in long], tokenizer, template, as_turns)
    except Refused:  # another rule reports what can't be read
        return {}
    return {index: len(tokens) for index, tokens in zip(long, ids, strict=True)}
