"""Findings about preference pairs and labelled answers."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.request import COLUMN_FLAGS
from autotrain_llm.data.wording import raise_limit, shown
from autotrain_llm.declare.example import DPO, PAIR, PAIRS, REWARD, SFT, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule

DATA = (DATA_PARAMETER,)
REBUILD = "rebuild the pair or delete the row"
KTO = SFT.replace("sft", "kto").replace("1e-4", "5e-7")
TWO_CONVERSATIONS = (
    '{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], '
    '"rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]}\n'
)
ALIKE = PAIR.replace("Hello", "What a fine morning it is today, my friend").replace(
    "No", "What a fine morning it is today, you fool"
)


@rule("D103", example=of_rows('{"prompt": "Hi", "chosen": "Hello", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO))
def chosen_and_rejected_are_the_same(case: str = "", flags: str = "", file: str = "") -> Iterator[Finding]:
    """The chosen and the rejected answer of a row are the same, apart from spaces around them or at the ends of lines.

    Why: such a pair carries no preference signal. The row is left out; one column for both answers is an error.
    Fix: rebuild the pair, or delete the row.
    """
    match case:
        case "one column":
            message = f"{flags}: chosen and rejected are the same column of {file}"
            yield Finding(message, "name the rejected answers", ("rejected_text_column",), file=file)
        case "apart from spaces":
            what = "chosen and rejected are the same text apart from spaces around them or at the ends of lines"
            yield Finding(f"{what}; the row was left out", REBUILD, DATA, WARNING)
        case _:
            what = "chosen and rejected are the same text; the row was left out"
            yield Finding(what, REBUILD, DATA, WARNING)


@rule("D120", WARNING, example=of_rows('{"prompt": "Hi", "chosen": "Hi Hello", "rejected": "Hi No"}\n', PAIR, DPO))
def answers_repeat_their_prompt(side: str | None = None) -> Iterator[Finding]:
    """Both answers repeat their prompt, or one of them does.

    Why: where both do, the prompt is taken out of them, or it would be trained on. Where only one does, that alone tells them apart, and the
    model is trained to repeat prompts, or not to.
    Fix: leave the prompt out of the answers.
    """
    if side is None:
        what = "the prompt is repeated in chosen and rejected; it was taken out of both"
        yield Finding(what, "leave it out of both answers", DATA)
        return
    other = "rejected" if side == "chosen" else "chosen"
    what = f"the prompt is repeated in {side} and not in {other}: the model is trained to repeat it, or not to"
    yield Finding(what, f"leave it out of {side}", DATA)


@rule(
    "D124",
    WARNING,
    example=of_rows(
        '{"prompt": "Hi", "chosen": [{"role": "assistant", "content": "Hello"}], "rejected": [{"role": "assistant", "content": "No"}]}\n',
        PAIRS,
        DPO,
        flags=" --chat-template chatml",
    ),
)
def text_and_turns_are_mixed(case: str, prompt: str = "") -> Iterator[Finding]:
    """The prompt is text and the answers are turns, or one answer is text and the other is turns.

    Why: the text is taken as one turn, which may not be what was meant.
    Fix: write all of them as text, or all as lists of turns.
    """
    match case:
        case "prompt":
            what = "prompt is text while chosen and rejected are lists of turns; it was taken as a user turn"
            fix = f'write {shown(prompt)} as [{{"role": "user", "content": "…"}}] as well'
        case "chosen":
            what = "chosen is text and rejected is a list of turns; the text was taken as an assistant turn"
            fix = "write both the same way"
        case _:
            what = "chosen is a list of turns and rejected is text; the text was taken as an assistant turn"
            fix = "write both the same way"
    yield Finding(what, fix, DATA)


@rule("D128", example=of_rows('{"chosen": "Yes", "rejected": "No"}\n', PAIRS, SFT.replace("sft", "kto")))
def a_pair_has_no_prompt() -> Iterator[Finding]:
    """A preference row has no prompt, neither in a column nor at the beginning of both answers.

    Why: a preference trainer compares two answers to the same prompt.
    Fix: name the prompt's column, or write the prompt before both answers.
    """
    flag = COLUMN_FLAGS["prompt_column"]
    what = f"no prompt: neither a column for it nor a shared beginning of the two answers ({flag})"
    yield Finding(what, f"{flag} …", DATA)


@rule(
    "D135",
    WARNING,
    example=of_rows(
        '{"prompt": "Hi", "completion": "Hello", "label": true}\n' * 2,
        '{"prompt": "Hi", "completion": "Hello", "label": true}\n{"prompt": "Hi", "completion": "No", "label": false}\n',
        KTO,
    ),
)
def all_answers_have_the_same_label(file: str, answers: int, label: bool) -> Iterator[Finding]:
    """All answers have the same label.

    Why: what makes an answer good can only be learned from good and bad ones.
    Fix: add answers of the other kind, or train on good answers with sft.
    """
    message = (
        f"{file}: all {answers} answers have the label {str(label).lower()}: there is nothing to compare them with"
    )
    fix = "add answers of the other kind, or --trainer sft, which needs good answers only"
    yield Finding(message, fix, DATA, file=file)


@rule(
    "D163",
    WARNING,
    example=of_rows('{"prompt": "Hi", "chosen": "No", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO),
)
def two_rows_contradict_each_other(earlier: int, labelled: bool) -> Iterator[Finding]:
    """Two rows judge the same thing in opposite ways: of the same two answers to a prompt each is preferred once, or an answer is labelled
    both good and bad.

    Why: what is learned from one row is unlearned from the other.
    Fix: keep the judgement that is meant, and delete the other row.
    """
    what = f"prefers the answer that row {earlier} rejects, with the same prompt and the same two answers"
    if labelled:
        what = f"the same prompt and answer as row {earlier}, with the opposite label"
    yield Finding(what, "keep the judgement that is meant, and delete the other row", DATA)


@rule(
    "D172",
    WARNING,
    example=of_rows(
        TWO_CONVERSATIONS.replace("Hi", "Bye", 1),
        TWO_CONVERSATIONS,
        REWARD.replace(" --prompt-text-column prompt", ""),
        flags=" --chat-template chatml",
    ),
)
def chosen_and_rejected_answer_different_prompts(roles: tuple[str, str], starts: tuple[str, str]) -> Iterator[Finding]:
    """The conversations of the chosen and the rejected answer differ in a system or user turn.

    Why: they answer different prompts, so the pair doesn't say which answer is better.
    Fix: give both answers the same prompt, or delete the row.
    """
    if roles[0] != roles[1]:
        differ = f"a {roles[0]} turn in chosen and a {roles[1]} turn in rejected"
    else:
        differ = f"a {roles[0]} turn, {starts[0]!r} in chosen and {starts[1]!r} in rejected"
    what = f"chosen and rejected answer different prompts: they first differ in {differ}"
    yield Finding(what, "give both answers the same prompt, or delete the row", DATA)


@rule("D173", WARNING, example=of_flags("--max-completion-length 8", "--max-completion-length 64", ALIKE, DPO))
def both_answers_are_the_same_tokens(
    parameter: str, limit: int | None = None, enough: int = 0, context: int | None = None
) -> Iterator[Finding]:
    """The chosen and the rejected answer of a row are the same tokens, most often because both are truncated before they differ.

    Why: the row is kept, but carries no preference signal.
    Fix: a larger limit, or delete the row. `enough` tokens would hold both whole.
    """
    if limit is None:
        what = "chosen and rejected are the same tokens: the pair carries no preference signal"
        yield Finding(what, REBUILD, (parameter,))
        return
    flag = flag_of(parameter)
    what = f"chosen and rejected are the same after truncation to {flag} {limit}: the pair carries no preference signal"
    yield Finding(what, raise_limit(flag, enough, context, "delete the row"), (parameter,))
