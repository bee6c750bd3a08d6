"""Findings about preference pairs and labelled answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.request import COLUMN_FLAGS
from autotrain_llm.data.wording import as_flag, raise_limit, shown
from autotrain_llm.declare.example import DPO, PAIR, PAIRS, REWARD, SFT, Example, of_flags, of_rows
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


@rule(
    "D103",
    WARNING,
    varies=True,
    example=of_rows('{"prompt": "Hi", "chosen": "Hello", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO),
)
def chosen_and_rejected_are_the_same(case: str = "", flags: str = "", file: str = "") -> Iterator[Finding]:
    """The chosen and the rejected answer of a row are the same, apart from spaces around them or at the ends of lines. The row is left out.

    Why: such a pair carries no preference signal. If both flags name the same column, that is an error.
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


JUDGED = """{"prompt": "Hi", "response_a": "Hello", "response_b": "No", "winner": "a"}
{"prompt": "Bye", "response_a": "What", "response_b": "See you", "winner": "b"}
"""
TWO_JUDGEMENTS = JUDGED.replace('"winner": "a"', '"winner": "a", "safer": "b"').replace(
    '"winner": "b"}', '"winner": "b", "safer": "a"}'
)
TIE = '{"prompt": "Morning", "response_a": "Hello", "response_b": "Hey", "winner": "tie"}\n'
READ = DPO.replace("--text-column chosen ", "")


@rule("D193", WARNING, example=of_rows(JUDGED, PAIRS, READ))
def pairs_are_made_of_judged_answers(file: str, how: str) -> Iterator[Finding]:
    """The rows have several answers, and pairs are made of them: by a judgement of them the better, or best, answer is chosen, and the worse, or worst,
    one rejected; of lists of chosen or of rejected answers each is a row of its own.

    Why: which of several answers are compared is a choice that changes what is trained. Judged answers between the best and the worst are not used.
    Fix: if that is not what you want, write the pairs into columns `chosen` and `rejected`.
    """
    message = f"{file}: the rows have several answers, and pairs are made of them: {how}"
    yield Finding(message, "write chosen and rejected into the rows if other pairs are wanted", DATA, file=file)


@rule(
    "D198",
    example=Example(
        f"{READ}rows.jsonl", f"{READ}rows.jsonl --ignore-columns safer", rows=TWO_JUDGEMENTS, good=TWO_JUDGEMENTS
    ),
)
def judgements_contradict_each_other(
    file: str, judgements: tuple[Sequence[str], Sequence[str]], row: int, ignored: Sequence[str]
) -> Iterator[Finding]:
    """Two judgements of the same two answers name different ones, such as which is more helpful and which is safer.

    Why: only one of them can say which answer is chosen, and which of the two is meant is your decision.
    Fix: `--ignore-columns` with the one that does not decide; the other is then read.
    """
    first, second = (" and ".join(map(shown, columns)) for columns in judgements)
    message = f"{file}: {first} and {second} both say which of two answers is better, and name different ones (first in row {row})"
    yield Finding(
        message,
        None,
        ("ignore_columns",),
        file=file,
        row=row,
        guess={"ignore_columns": [*ignored, *judgements[1]]},
        otherwise=f"to go by {first}; or --ignore-columns {as_flag(*ignored, *judgements[0])}, to go by {second}",
    )


@rule("D194", WARNING, example=of_rows(JUDGED + TIE, PAIRS, READ))
def no_answer_is_judged_better() -> Iterator[Finding]:
    """None of a row's answers is judged better than another: a tie, equal ratings, only one answer, or two judgements that name different ones. The
    row is left out.

    Why: such a row carries no preference.
    Fix: delete the row, or judge it.
    """
    yield Finding("no answer is judged better than another; the row was left out", "delete the row", DATA)


SCORED = '{"prompt": "Hi", "chosen": "Hello", "rejected": "No", "score_chosen": 2.0, "score_rejected": 8.0}\n'


@rule("D255", WARNING, example=of_rows(SCORED + PAIRS, PAIRS, DPO))
def the_rejected_answer_has_the_better_score(columns: Sequence[str], scores: Sequence[float]) -> Iterator[Finding]:
    """The rejected answer of a pair has a higher score than the chosen one.

    Why: the score and the columns say opposite things of the same two answers, and the pair is trained on as its columns say.
    Fix: swap the two answers, or delete the row; `--ignore-columns` with both scores if they don't say which answer is better.
    """
    (chosen, rejected), (score, other) = map(shown, columns), scores
    what = f"the rejected answer has the higher score ({rejected} {other:g}, {chosen} {score:g})"
    fix = f"swap the two answers or delete the row; or --ignore-columns {as_flag(*columns)}, if higher is not better"
    yield Finding(what, fix, DATA)


@rule("D120", WARNING, example=of_rows('{"prompt": "Hi", "chosen": "Hi Hello", "rejected": "Hi No"}\n', PAIR, DPO))
def answers_repeat_their_prompt(side: str | None = None) -> Iterator[Finding]:
    """Both answers of a row start with the prompt, or only one of them does.

    Why: if both do, the prompt is removed from them, so that it is not trained on. If only one does, the model learns that repeating the prompt
    is better (or worse), instead of which answer is better.
    Fix: remove the prompt from the answers.
    """
    if side is None:
        what = "chosen and rejected both start with the prompt; it was removed from both"
        yield Finding(what, "remove the prompt from both answers", DATA)
        return
    other = "rejected" if side == "chosen" else "chosen"
    verdict = "better" if side == "chosen" else "worse"
    what = f"{side} starts with the prompt and {other} does not: the model would learn that repeating the prompt is {verdict}"
    yield Finding(what, f"remove the prompt from {side}", DATA)


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
def a_pair_has_no_prompt(others: Sequence[str]) -> Iterator[Finding]:
    """A preference row has no prompt, neither in a column nor at the beginning of both answers.

    Why: a preference trainer compares two answers to the same prompt.
    Fix: name the prompt's column, or write the prompt before both answers.
    """
    flag = COLUMN_FLAGS["prompt_column"]
    what = "there is no prompt: no column holds it, and chosen and rejected do not start with the same text"
    meant = {"prompt_text_column": others[0]} if len(others) == 1 else {}
    column = f"<one of {', '.join(map(shown, others))}>" if others else "<the column that holds the prompts>"
    fix = None if meant else f"{flag} {column}, or write the prompt before both answers"
    yield Finding(what, fix, DATA, guess=meant, otherwise="or write the prompt before both answers")


TWO_LONG = ("It rises in the east in the morning.", "It is the moon that rises, I suppose.")
JUDGED_PROMPT = (
    f'{{"prompt": "Where does the sun rise? A: {TWO_LONG[0]} B: {TWO_LONG[1]} Which is better?", '
    f'"chosen": "{TWO_LONG[0]}", "rejected": "{TWO_LONG[1]}"}}\n'
)


@rule("D242", WARNING, example=of_rows(JUDGED_PROMPT, PAIRS, DPO))
def prompts_hold_both_answers(file: str, column: str) -> Iterator[Finding]:
    """The prompts of most pairs have both answers in them.

    Why: such a prompt asks a judge to compare two answers. The pairs would train the model to repeat one of them, and not to answer the question.
    Fix: name the column with the question alone, or write the question into a column of its own.
    """
    flag = COLUMN_FLAGS["prompt_column"]
    yield Finding(
        f"{file}: {shown(column)} has both answers in it, chosen and rejected, as the prompt of a judge has",
        f"{flag} with a column of the questions alone, if the model is to answer them",
        ("prompt_text_column",),
        file=file,
    )


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

    Why: the model can learn what makes an answer good only if there are good and bad answers.
    Fix: add answers with the other label, or train on good answers with sft.
    """
    message = (
        f"{file}: all {answers} answers have the label {str(label).lower()}: there is nothing to compare them with"
    )
    fix = "add answers with the other label, or --trainer sft, which needs good answers only"
    yield Finding(message, fix, DATA, file=file)


@rule(
    "D163",
    WARNING,
    example=of_rows('{"prompt": "Hi", "chosen": "No", "rejected": "Hello"}\n' + PAIRS, PAIRS, DPO),
)
def two_rows_contradict_each_other(earlier: int, labelled: bool) -> Iterator[Finding]:
    """Two rows contradict each other: of the same two answers to a prompt one row prefers the first and another the second, or an answer is
    labelled both good and bad.

    Why: the two rows cancel each other out.
    Fix: keep the row that is right, and delete the other one.
    """
    what = f"prefers the answer that row {earlier} rejects, with the same prompt and the same two answers"
    if labelled:
        what = f"the same prompt and answer as row {earlier}, with the opposite label"
    yield Finding(what, "keep the row that is right, and delete the other one", DATA)


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
    Fix: a larger limit, or delete the row.
    """
    # `enough` is the number of tokens that holds both answers whole.
    if limit is None:
        what = "chosen and rejected are the same tokens: the pair carries no preference signal"
        yield Finding(what, REBUILD, (parameter,))
        return
    flag = flag_of(parameter)
    what = f"chosen and rejected are the same after truncation to {flag} {limit}: the pair carries no preference signal"
    yield Finding(what, raise_limit(flag, enough, context, "delete the row"), (parameter,))
