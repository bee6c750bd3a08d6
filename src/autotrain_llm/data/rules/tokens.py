"""Findings about rows as tokens: what is truncated, what nothing is left of, and where texts end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.wording import power_of_two, raise_limit
from autotrain_llm.declare.example import CHAT, SFT, TWO, Example, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural

DATA = (DATA_PARAMETER,)
LONG_PROMPT = '{"prompt": "%s", "completion": "Yes"}\n' % ("word " * 40)
PUTS_A_TOKEN_FIRST = (
    '{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, '
    '{"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, '
    '{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": '
    '{"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}}'
)


@rule(
    "D147",
    WARNING,
    example=of_rows(
        '{"messages": [{"role": "user", "content": "Hi"}]}\n' + CHAT, CHAT, flags=" --chat-template vicuna"
    ),
)
def a_conversation_has_no_answer(case: str, turn: int = 0) -> Iterator[Finding]:
    """A conversation has no answer to train on, and is left out; or one of its answers is empty.

    Why: an empty answer trains the model to say nothing.
    Fix: add the answers, or delete the row.
    """
    what, fix = (
        "every assistant turn is empty: there is no answer to train on; the row was left out",
        "fill it or delete the row",
    )
    match case:
        case "no assistant":
            what = "no assistant turn: there is no answer to train on; the row was left out"
            fix = "add the answers, or delete the row"
        case "weights":
            what = "every assistant turn has weight 0: there is no answer to train on; the row was left out"
            fix = "give the turns to train on a weight of 1"
        case "one empty":
            what = f"turn {turn} (assistant) is empty: it trains the model to say nothing"
            fix = "fill it, or take the turn out"
    yield Finding(what, fix, DATA)


@rule(
    "D149",
    WARNING,
    example=Example(
        SFT.replace("MODEL", "starts") + "rows.jsonl",
        SFT.replace("MODEL", "starts") + "rows.jsonl",
        '{"text": "<|endoftext|>One."}\n' + TWO,
        before=f'cp -r MODEL starts\nsed -i.old \'s/"post_processor": null/"post_processor": {PUTS_A_TOKEN_FIRST}/\' starts/tokenizer.json',
    ),
)
def a_text_already_starts_with_its_first_token(bos: str) -> Iterator[Finding]:
    """A text begins with the token that the tokenizer adds at the start.

    Why: the model was trained on texts that start with one such token, not two. Only one is kept.
    Fix: leave it out of the text.
    """
    what = f"the text starts with {bos}, and the tokenizer adds {bos} (BOS) itself; only one was kept"
    yield Finding(what, f"leave {bos} out of the text", DATA)


@rule("D150", WARNING, example=of_rows('{"text": "One.<|endoftext|>"}\n' + TWO, flags=" --add-eos-token"))
def a_text_already_ends_with_its_end_token(end: str, case: str) -> Iterator[Finding]:
    """A text already ends with the token that `--add-eos-token` adds, or an answer with the one that the chat template writes after it.

    Why: no second token is added to a text. In a conversation the template still writes its own, so the token is trained on twice.
    Fix: leave it out of the data.
    """
    if case == "answer":
        what = f"an answer ends with {end}, and the chat template writes {end} after it: it is trained on twice"
        yield Finding(what, f"leave {end} out of the turns", DATA)
    else:
        what = f"the text already ends with {end}; --add-eos-token adds no second one"
        yield Finding(what, f"leave out --add-eos-token, or remove {end} from the text", ("add_eos_token",))


@rule(
    "D151",
    WARNING,
    example=of_flags("--max-seq-length 16", "--max-seq-length 512", '{"text": "%s"}\n' % ("word " * 40)),
)
def a_row_is_truncated(
    parameter: str,
    limit: int,
    length: int,
    side: str = "",
    end: str = "end",
    packing: bool = False,
    context: int | None = None,
) -> Iterator[Finding]:
    """A row is longer than the limit that was given, and is truncated.

    Why: the model is not trained on the truncated part. A text loses its end, and a prompt its start.
    Fix: a larger limit, or a shorter text.
    """
    flag = flag_of(parameter)
    if side:
        what = f"its {side} of {length} tokens is longer than {flag} {limit}; the {end} was truncated"
    else:
        packed = " (--packing joins short rows and never splits long ones)" if packing else ""
        what = f"{length} tokens are more than {flag} {limit}{packed}; the {end} was truncated"
    yield Finding(what, raise_limit(flag, length, context, "shorten it"), (parameter,))


@rule(
    "D152",
    WARNING,
    example=of_flags(
        "--max-seq-length 16", "--max-seq-length 512", LONG_PROMPT + '{"prompt": "Hi", "completion": "Hello"}\n'
    ),
)
def no_trained_tokens_are_left_after_truncation(
    parameter: str, limit: int, length: int, context: int | None = None
) -> Iterator[Finding]:
    """After truncation, a row has no trained tokens. It is left out.

    Why: the prompt alone fills the limit, or there is nothing in the row to predict.
    Fix: a larger limit, or a shorter prompt.
    """
    if length <= limit:
        what = "no trained tokens; the row was left out"
        yield Finding(what, "fill it or delete the row", (parameter,))
        return
    flag = flag_of(parameter)
    what = f"its prompt fills {flag} {limit} ({length} tokens in all): no answer is left to train on, and the row was left out"
    yield Finding(what, raise_limit(flag, length, context, "shorten or delete the row"), (parameter,))


@rule("D153", WARNING, example=of_rows(TWO * 10 + '{"text": "%s"}\n' % ("word " * 4000)))
def one_row_is_far_longer_than_the_others(
    parameter: str, row: int, limit: int, length: int, median: int, enough: int | None
) -> Iterator[Finding]:
    """One row is far longer than the others.

    Why: if a maximum length was given, the longest row decides how much memory a step needs. A row of a hundred times the median length is
    usually several rows that were joined by mistake.
    Fix: shorten or delete the row, or a limit that fits the other rows.
    """
    # `enough` is the number of tokens that the other rows need.
    flag = flag_of(parameter)
    if enough is not None:
        what = (
            f"{min(length, limit)} tokens, {min(length, limit) // median} times the median of {median}: it fits {flag} {limit}, and this one "
            "row decides how much memory is needed"
        )
        yield Finding(what, f"shorten or delete row {row}, or {flag} {power_of_two(enough)}")
        return
    truncated = f"; what is beyond {limit} tokens is truncated" if length > limit else ""
    what = f"{length} tokens, {length // median} times the median of {median}{truncated}"
    fix = f"look at row {row}: is it several rows, as after a quote that is not closed? Split, shorten or delete it"
    yield Finding(what, fix)


@rule("D155", WARNING, example=of_flags("--trainer generic --no-add-eos-token", "--trainer generic"))
def nothing_marks_where_a_text_ends(documents: bool) -> Iterator[Finding]:
    """Nothing marks where a text ends.

    Why: a model trained this way doesn't learn to stop.
    Fix: `--add-eos-token`, and a tokenizer with an eos_token.
    """
    if documents:
        message = "--no-add-eos-token: documents run into each other with nothing between them"
        yield Finding(message, None, ("add_eos_token",), changes={"add_eos_token": True})
    else:
        message = "the tokenizer of --model has no eos_token: nothing will mark where a text ends"
        yield Finding(message, "set eos_token in its tokenizer_config.json", ("model", "add_eos_token"))


@rule("D156", example=of_flags("--max-seq-length 16", "--max-seq-length 512", LONG_PROMPT))
def no_row_has_trained_tokens(
    path: str, rows: int, parameter: str, limit: int, longest: int | None, context: int | None = None
) -> Iterator[Finding]:
    """No row has any trained tokens.

    Why: nothing would be learned.
    Fix: a limit that holds more than the prompts.
    """
    flag = flag_of(parameter)
    message = f"{path}: no row has trained tokens ({rows} rows, {flag} {limit})"
    fix = raise_limit(flag, longest, context, "shorten the prompts") if longest and longest > limit else None
    yield Finding(message, fix or "give rows with answers", DATA, file=path)


@rule("D157", WARNING, example=of_flags("--no-add-eos-token"))
def no_row_is_trained_on_an_end_token(path: str, rows: int, ends: Sequence[str], case: str) -> Iterator[Finding]:
    """No row is trained on the token that ends an answer, for example because a chat template has it outside of `{% generation %}`.

    Why: the model would learn to answer, but not to stop. Rows that were truncated are not counted.
    Fix: put the end token inside the generation block, choose another template, or `--add-eos-token`.
    """
    end = " or ".join(ends)
    match case:
        case "outside of generation":
            why = f"the chat template writes {end} after {{% endgeneration %}}, and only text before that is trained on"
            fix = "put it inside {% generation %} … {% endgeneration %}, or remove these two tags from the template"
        case "template":
            why, fix = f"the chat template writes no {end} after an answer", "--chat-template chatml"
        case _:
            why, fix = f"no text ends with {end}", "--add-eos-token"
    message = f"{path}: none of {plural(rows, 'row')} is trained on {end}: the model won't learn to stop ({why})"
    yield Finding(message, fix, ("add_eos_token",) if case == "text" else ("chat_template",), file=path)


@rule(
    "D160",
    example=Example(
        SFT.replace("MODEL", "changed") + "rows.jsonl",
        SFT + "rows.jsonl",
        wrong="cp -r MODEL changed\necho '{' > changed/tokenizer.json",
    ),
)
def the_tokenizer_can_not_be_loaded(
    folder: str, case: str, problem: str = "", file: str | None = None, longest: int = 0
) -> Iterator[Finding]:
    """The tokenizer of the model is missing or damaged, breaks off on a text, or takes far more time or memory than a tokenizer needs.

    Why: without it text can't become tokens.
    Fix: copy the tokenizer files of the base model there, or give `--tokenizer FOLDER`.
    """
    name = (file or "").rpartition("/")[2]
    match case:
        case "missing":
            what = "there is no tokenizer (no tokenizer.json or tokenizer.model)"
            fix: str | None = "copy the tokenizer files of the base model there, or give --tokenizer FOLDER"
        case "library":
            what, fix = f"its tokenizer can't be loaded: {problem}", None
        case "pointer":
            what, fix = f"{name} {problem}", f"git -C {folder} lfs pull"
        case "limits":
            what, fix = f"its tokenizer: {problem}", "--tokenizer FOLDER with another one"
        case "panic":
            what = f"its tokenizer breaks off on the rows, the longest of which has {longest} characters ({problem})"
            fix = (
                "shorten or leave out rows that hold long runs of one character; or --tokenizer FOLDER with another one"
            )
        case _:
            what, fix = f"{name} can't be read: {problem}", f"copy {name} of the base model there again"
    yield Finding(f"--model {folder}: {what}", fix, ("model", "tokenizer"), file=file)
