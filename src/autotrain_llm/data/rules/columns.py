"""Findings about columns and cells: what is missing, empty, swapped, or of another type than a trainer reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.request import COLUMN_FLAGS, column_parameter
from autotrain_llm.data.wording import LIST_OF_TURNS, ROW_OF_TURNS, as_flag, enumerated, listed, quoted, shown
from autotrain_llm.declare.example import ANSWERS, DPO, PAIRS, PPO, PROMPTS, TWO, Example, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding, in_words
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule

DATA = (DATA_PARAMETER,)
MOST_COLUMNS = 16  # that are listed
SHORT = 24  # characters of a short example


@rule("D109", example=of_flags("--text-column txet", "--text-column text"))
def a_named_column_is_not_in_the_data(
    file: str,
    absent: Mapping[str, str],
    columns: Sequence[str],
    changes: Mapping[str, Any],
    data_flag: str,
    is_certain: bool = False,
) -> Iterator[Finding]:
    """A column that a flag names is not in the data.

    Why: names are compared exactly, spaces and case included.
    Fix: name one of the columns that the finding lists.
    """
    # `absent` has the names that were given, by the field of the request that gives them.
    named = " and ".join(f"{shown(name)} ({COLUMN_FLAGS[field]})" for field, name in absent.items())
    of_flag, fix = "", None
    certain, guess = (changes, EMPTY) if is_certain else (EMPTY, changes)
    if data_flag != "--data-path":  # the same flags name the columns of the training rows
        of_flag = f" ({data_flag})"
        fix = f"give these rows the columns of --data-path: rename one to {shown(next(iter(absent.values())))}"
    elif not changes and list(absent) == ["rejected_column"]:
        fix = "add a column with the worse answer to each prompt; or --trainer sft, which needs good answers only"
    elif not changes and "prompt_column" in absent:
        fix = f"add a column {shown(absent['prompt_column'])} with the prompts, or name another column that has them"
    message = f"{file}{of_flag} has no column {named}; it has: {listed(columns)}"
    yield Finding(message, fix, tuple(map(column_parameter, absent)), file=file, changes=certain, guess=guess)


# What to do where no format fits, by the reason for it, and what more is said of the columns.
FIX_BY_CASE = {
    "bytes": "save the column as text (UTF-8)",
    "turns": "write each conversation as one row: {row_of_turns}",
    "speakers": "write {first} as messages: {turns}, with what is under {third} as the content; the assistant is whoever of {second} says what is to be learned",
    "scores": "--num-labels {count}, which trains a model with these scores as its outputs: {names}; or, for pairs, a row of two answers to each prompt, the one with the better score in chosen and the other in rejected",
    "scores for pairs": "write a row of two answers to each prompt, the one with the better score ({names}) in chosen and the other in rejected; or --trainer reward --num-labels {count}, which trains a model with these scores as its outputs",
    "list of answers": "write the better one of {first} into a column chosen, and another into rejected{chooses}",
    "lists of texts": "write a row for each text of {first}, as its prompt, with a text of {second} as its completion",
    "lists about a text": "write the texts of {first} and {second} by turns, with {third} before the first question: {row_of_turns}; or a row for each question, if it can be understood alone",
    "steps": "join {first} to one answer, in the rows in which all are right, for --trainer sft; or make a row of each of them, with its label, for --trainer kto",
    "no prompt": "write a prompt into a column of each row, such as {row}",
}
MORE_BY_CASE = {
    "turns": "; each of its rows is one turn of a conversation",
    "speakers": "; the items of {first} look like turns, and {second} says who speaks, but not who answers",
    "steps": "; {first} holds several texts with a label each, as the steps of an answer have, and no trainer scores steps (a process reward model)",
    "no prompt": "; none of these is text that a model could be asked",
}


@rule("D110", example=of_rows('{"a": 1, "b": 2}\n'))
def no_format_fits_the_columns(
    file: str, trainer: str, needs: str, columns: Sequence[str], data_flag: str, parameters: tuple[str, ...], case: str,
    proposed: Sequence[tuple[Mapping[str, Any], str, str]] = (), about: Sequence[str] = (), judging: Sequence[str] = (),
    row: int | None = None,
) -> Iterator[Finding]:  # fmt: skip
    """None of the known formats fits the columns.

    Why: a trainer needs columns with certain roles (messages; prompt and completion; prompt, chosen and rejected; text), and neither the names
    nor the content of these columns show which is which.
    Fix: name the columns with flags, or rename them.
    """
    # `about` are the columns that the case is about; of `no prompt` a row with a prompt. `proposed` are values of parameters that were tried, with what the
    # first row then asks and answers; `judging` may say which answer is better.
    first, second, third = [*map(shown, about), "", "", ""][:3]
    chooses = f"; {listed(judging)} may say which one is better" if judging else ""
    facts = {"first": first, "second": second, "third": third, "count": len(about), "names": ", ".join(about)}
    facts |= {
        "turns": LIST_OF_TURNS,
        "row_of_turns": ROW_OF_TURNS,
        "chooses": chooses,
        "row": about[0] if about else "",
    }
    match case:
        case "label":
            label = 'add a column label: "label": true for a good answer, "label": false for a bad one'
            label = f"rename {first} to label, if it says whether an answer is good" if about else label
            fix = f"{label}; or, for pairs, --text-column with the better and --rejected-text-column with the worse answers"
        case "unreadable label":
            holds = f"{first} holds {about[1]}: " if len(about) > 1 else ""
            fix = f"{holds}write one true or false for each row into {first}, and leave out the rows whose judges disagree"
        case "two answers":
            better, worse = ("best", "a worse one") if len(about) > 2 else ("better", "the other")
            answers = f"{', '.join(map(shown, about[:-1]))} and {shown(about[-1])}"
            fix = (
                f"write the {better} of {answers} into a column chosen, and {worse} into rejected; or, if the better one always is in the same column: "
                f"--text-column {first} --rejected-text-column {second}, or the other way round{chooses}"
            )
            if "rejected_text_column" not in parameters:
                fix = f"write the {better} of {answers} into a column completion{chooses}"
        case "judged text":
            fix = (
                f"write {first} as a list of turns, or its last turn into completion and what is before it into prompt"
            )
            fix += f"; {second} is then the label" + ("" if second == "label" else ", under the name label")
        case "items":
            fix = f"write a row for each item of {first}, with its text as completion and label: true or false"
            if "label" not in needs:
                pairs = "; for pairs, two of them in chosen and rejected" if "chosen" in needs else ""
                fix = f"write a row for each item of {first}, with its text in a column of its own{pairs}"
        case "turns and texts":
            fix = f"--text-column {first} trains on its conversations; or name a prompt and its answer: "
            fix += _naming(parameters, proposed)
        case "number":
            fix = f"write {first} as text"
            if file.endswith((".jsonl", ".ndjson")):
                fix = f"write it as text: jq -c '.[\"{about[0]}\"] |= tostring' {file} > texts.jsonl"
        case "nested" if not proposed:
            fix = f"write what is inside {first} as columns of the rows, or as messages: no column holds text or turns, and none could be named"
        case "nested" | "names":
            fix = f"name the columns: {_naming(parameters, proposed)}"
            if first and case == "names":
                fix += f"; there is more text inside {first}, which is trained on if it is joined to one text in a column of its own"
        case _:
            fix = FIX_BY_CASE[case].format(**facts)
    of_flag = f" ({data_flag})" if data_flag != "--data-path" else ""
    message = f"{trainer} needs {needs}, and {file}{of_flag} has: {', '.join(columns[:MOST_COLUMNS]) or 'no columns'}"
    if len(columns) > MOST_COLUMNS:
        message += f", and {len(columns) - MOST_COLUMNS} more"
    message += MORE_BY_CASE.get(case, "").format(**facts)
    guess = (
        proposed[0][0] if proposed and case in ("names", "nested") and parameters[-1] != "rejected_text_column" else {}
    )
    yield Finding(message, fix, parameters, file=file, row=row, guess=guess)


def _naming(parameters: Sequence[str], proposed: Sequence[tuple[Mapping[str, Any], str, str]]) -> str:
    """Flags that name columns, as far as rows were made with them, and the first of these rows."""
    if not proposed:
        return " ".join(f"{flag_of(name)} …" for name in parameters)
    ways = []
    for changes, prompt, answer in proposed:
        missing = [f"{flag_of(name)} …" for name in parameters if name not in changes and name != "prompt_text_column"]
        sides = [f"asks {quoted(prompt, SHORT)}"] if prompt and not missing else []
        sides += [f"{'answers' if prompt else 'trains on'} {quoted(answer, SHORT)}"] if answer and not missing else []
        ways.append(" ".join([in_words(changes), *missing]) + (f" ({', '.join(sides)})" if sides else ""))
    return "; or ".join(ways)


@rule("D111", example=Example(PPO + "rows.jsonl", PPO + "rows.jsonl", rows='{"input_ids": [1, 2, 3]}\n', good=PROMPTS))
def rows_are_token_ids(file: str, column: str, trainer: str, needs: str) -> Iterator[Finding]:
    """The rows are token ids, and the trainer needs text.

    Why: `sft` and `generic` train on rows of tokens as they are. Other trainers make pairs, scores or prompts of text, and cut prompts and
    answers at limits of their own.
    Fix: decode the rows with the tokenizer that made them; or `--trainer sft`.
    """
    message = f"{file} holds token ids ({column}), and {trainer} needs {needs}, as text or turns"
    fix = (
        "decode them with the tokenizer that made them; or --trainer sft or generic, which train on tokens as they are"
    )
    yield Finding(message, fix, ("trainer", "text_column"), file=file)


@rule(
    "D112",
    WARNING,
    example=of_rows(
        '{"id": 1, "text": "One."}\n{"id": "b", "text": "Two."}\n',
        '{"id": 1, "text": "One."}\n{"id": 2, "text": "Two."}\n',
    ),
)
def an_unused_column_changes_its_type(column: str, kind: str, earlier_kind: str) -> Iterator[Finding]:
    """A column that is not used holds values of different types.

    Why: it does no harm here, but other tools, such as `datasets`, refuse such a file.
    Fix: give the column one type, or remove it.
    """
    what = f"column {shown(column)} holds {kind}, and in earlier rows {earlier_kind}; the column is not used"
    yield Finding(what, f"make {shown(column)} one type or remove it", DATA)


@rule("D113", WARNING, example=of_rows('{"text": null}\n' + TWO))
def a_cell_is_null(column: str, case: str = "null", columns: Sequence[str] = ()) -> Iterator[Finding]:
    """A cell that the trainer needs is null or missing. The row is left out.

    Why: the row has nothing to train on. Two kinds of rows in one file, with different columns, are reported like this too.
    Fix: fill the cell, or delete the row.
    """
    fix = "fill it or delete the row"
    match case:
        case "missing":
            what = f"{shown(column)} is not in the row, which has: {listed(columns)}"
            fix = "give all rows the same columns, or delete the row"
        case "empty":
            what = f"{shown(column)} is empty"
        case _:
            what = f"{shown(column)} is null"
    yield Finding(f"{what}; the row was left out", fix, DATA)


@rule("D114", WARNING, example=of_rows('{"text": ""}\n' + TWO))
def a_cell_is_empty(column: str, value: str = "", case: str = "") -> Iterator[Finding]:
    """A cell that the trainer needs is empty. The row is left out.

    Why: the row has nothing to train on. A cell also counts as empty if it has only spaces or zero-width characters, or `nan`, which is how
    pandas writes an empty cell.
    Fix: fill the cell, or delete the row.
    """
    what, fix = f"{shown(column)} is empty", "fill it or delete the row"
    if case == "no answer":
        what = f"{shown(column)} has no answer, which other rows have"
        fix = (
            "write into it what the model has to answer then, such as that the text does not say it, or delete the row"
        )
    elif value:
        what = f"{shown(column)} is {value!r}, as pandas writes an empty cell"
    elif case == "nothing to answer":
        what, fix = f"{shown(column)} has no turn to answer", "delete the row"
    elif case == "nothing trained":
        what, fix = (
            f"{shown(column)} has no segment that is trained on",
            "mark its answers as trained, or delete the row",
        )
    elif case == "nothing to judge":
        what, fix = (
            f"{shown(column)} ends without an answer that the label could judge",
            "add the answer, or delete the row",
        )
    yield Finding(f"{what}; the row was left out", fix, DATA)


@rule("D115", example=of_rows('{"text": "One.", "n": 1}\n', '{"text": "One.", "n": "1"}\n', flags=" --text-column n"))
def a_cell_has_the_wrong_type(
    column: str, case: str, content: Any = None, turn: int = 0, role: str = "", file: str = "", row: int | None = None,
    parameters: tuple[str, ...] = DATA, changes: Mapping[str, Any] | None = None, flag: str = "",
) -> Iterator[Finding]:  # fmt: skip
    """A cell holds another type than the trainer reads.

    Why: a trainer reads text, or messages as a list of turns with role and content.
    Fix: write the cell as text, write the turns as one list, or name another column.
    """
    fix: str | None = None
    match case:
        case "too deep":
            what = f"{column} is a list of lists of turns, [[…]]: one level too deep"
            fix = f"write the turns as one list: {LIST_OF_TURNS}"
        case "one turn":
            what = f"{column} is one turn, an object, and not a list of turns"
            fix = f"write the turns as one list: {LIST_OF_TURNS}"
        case "no prompt":
            what = f"{column} holds an answer, and no prompt that it answers"
            fix = f"join each answer with its prompt: {LIST_OF_TURNS}"
        case "not turns":
            what = f"{column} is {content}, not a list of turns"
        case "turn":
            what = f"turn {turn} of {column} is {content}, not an object with role and content"
            fix = '{"role": "user", "content": "…"}'
        case "content":
            what = f"the content of turn {turn} of {column} ({role}) is {content}, not text"
        case "label":
            what = (
                f"{column} is {content!r}, but a label is true (or 1, yes, good, like, …) for a good answer and false (or 0, no, bad, dislike, …) "
                "for a bad one"
            )
            fix = "write it as true or false"
        case "column":
            what = f"{flag} {column}: this column of {file} holds {content}, neither text nor messages"
            yield Finding(what, None, parameters, file=file, row=row, guess=changes or {})
            return
        case "broken turns":
            message = (
                f"{file}, row 1: {column} looks like messages, a list of turns, but is text that is neither JSON nor a Python literal: "
                f"{content!r}; it is trained on as plain text"
            )
            fix = "write it with json.dumps, or as a list instead of text"
            yield Finding(message, fix, ("text_column",), WARNING, file=file, row=1)
            return
        case _:
            what, fix = (
                f"{column} is {content}, not text",
                f"write it as text, or name another column ({flag or COLUMN_FLAGS['text_column']})",
            )
    yield Finding(f"{file}, row {row}: {what}" if file else what, fix, parameters, file=file or None, row=row)


@rule(
    "D119",
    WARNING,
    example=of_flags(
        "--text-column rejected --rejected-text-column chosen",
        "--text-column chosen --rejected-text-column rejected",
        PAIRS,
        DPO.replace(" --text-column chosen --rejected-text-column rejected", ""),
    ),
)
def chosen_and_rejected_are_swapped(file: str, chosen: str, rejected: str) -> Iterator[Finding]:
    """By their names, the columns for chosen and rejected answers are swapped.

    Why: it runs, and teaches the model to prefer the worse answers.
    Fix: swap the two flags.
    """
    flags = f"--text-column {as_flag(chosen)} --rejected-text-column {as_flag(rejected)}"
    message = f"{flags}: by their names these two are swapped, and the model would be trained to give the worse answer"
    changes = {"text_column": rejected, "rejected_text_column": chosen}
    yield Finding(message, None, tuple(changes), file=file, changes=changes)


@rule("D130", WARNING, example=of_rows('{"text": "\\ud83d"}\n' + TWO))
def a_text_holds_half_a_character(half: str) -> Iterator[Finding]:
    """A text holds half a character: an unpaired surrogate, which a text has if it was cut in the middle of a JSON escape. The row is left out.

    Why: half of a surrogate pair has no UTF-8 form and can't be tokenised.
    Fix: correct the text, or delete the row.
    """
    what = f"the text holds half a character ({half}, an unpaired surrogate); the row was left out"
    yield Finding(what, "correct the text, or delete the row", DATA)


@rule(
    "D167",
    WARNING,
    example=of_flags("--text-column completion", "--prompt-text-column prompt --text-column completion", ANSWERS),
)
def prompts_or_answers_are_not_used(
    file: str, named: str, prompt: str, answer: str, row: int | None
) -> Iterator[Finding]:
    """Rows have prompts and answers, and `--text-column` names only one of the two columns.

    Why: the model never sees the other column. If the named column already contains the other one's text, this is not reported.
    Fix: leave out `--text-column`: then the answer is trained on, after its prompt.
    """
    if named == answer:
        unused = f"{shown(prompt)}, which holds the prompts, is not used"
    else:
        unused = f"{shown(answer)}, which holds the answers, is not used"
    yield Finding(
        f"--text-column {shown(named)}: only this column of {file} is trained on; {unused}",
        None,
        ("text_column",),
        file=file,
        row=row,
        changes={"text_column": None},
        otherwise=f"to train {shown(answer)} as the answer to {shown(prompt)}",
    )


# -- columns and keys that are not used ----------------------------------------------------------------------------------------


NOTED = '{"prompt": "One?", "completion": "Yes.", "note": "It is easy."}\n{"prompt": "Two?", "completion": "No.", "note": "It is hard."}\n'


# What can be done with columns that are not used, by what they are.
FIXES_BY_KIND = {
    # which answers are bad
    "verdict": "leave out the rows that {first} calls bad; or rename it to label, for --trainer kto, which learns from good and bad answers",
    # which answers are bad, perhaps
    "flag": "if {first} says which answers are good, leave out the rows with the others; or write true for a good answer and false for a bad one into a "
    "column label, for --trainer kto, which learns from both",
    # texts with the answer in them
    "whole": "{names} {has} the answer in it, and can't stand before it",
    # which parts of a text, or which tokens, are trained on
    "mask": 'to train parts of a text, write it as segments: [{{"label": false, "text": "…"}}, {{"label": true, "text": "…"}}]',
    "tokens": "rename {first} to loss_mask if it says which tokens are trained on",
    "reasoning": "--reasoning-column {flag} trains on it as the reasoning before the answer",
    # parts of an answer, by their names; and what sampled answers could be compared with
    "answer": "write {names} into the answers if {they} {continue} or {explain} them",
    # answers to the same prompt, of which nothing says that they are as good
    "rival": "{names} {has} other answers: write a row for each that is as good, and leave the others out, or write them into rejected, for --trainer dpo",
    # what is another for each of several answers
    "each answer": "if {names} {belongs} to the prompt of each answer, write pairs of answers that share it",
    "reward": "a function of --rl-reward-fn is given {names}, to score answers by",
    # which of two answers is better
    "judgement": "if {first} says which answer is better, put that one into the chosen column of its row",
    # the row that comes before
    "link": "if {first} says which row comes before, write the turns of each conversation as one row, as messages",
    # objects with tools or a system prompt in them
    "inside": "move {keys} out of {first} into columns of the rows, where the model is given them",
}  # besides: `prompt` (answered by the text), `media`, `setting` (without effect here), and an empty one for what may belong to the prompt


@rule("D181", WARNING, example=of_flags("", "--context-columns note", NOTED), follows_from=("P201",))
def columns_are_not_used(
    file: str,
    columns: Mapping[str, Any],
    kinds: Mapping[str, str],
    inside: Mapping[str, Sequence[str]],
    where: str,
    text: str = "",
    answering: Sequence[str] = (),
) -> Iterator[Finding]:
    """Columns that hold text, lists or objects are not used for training.

    Why: by their names they are neither prompt nor answer, so the model never sees them, though it may need them to answer. Not reported are
    columns that only identify or sort a row (an id, a link, a language, a category), that are the same in all rows, or whose text is already
    in the prompt or the answer.
    Fix: put them before the prompt with `--context-columns`, or name them under `--ignore-columns`. Reasoning is joined to the answers with
    `--reasoning-column`; write judgements into the answers, or leave them out.
    """
    # `text` is the column of whole texts; `answering` have been tried as the answers to it.
    named = ", ".join(f"{shown(name)} ({_example(value)})" for name, value in columns.items())
    by_kind: dict[str, list[str]] = {}
    for name, value in columns.items():
        is_offered = kinds[name] == "answer" and name in answering
        if not is_offered and (kinds[name] != "tokens" or isinstance(value, list)):
            by_kind.setdefault(kinds[name], []).append(name)
    fixes = [
        f"{in_words({'prompt_text_column': text, 'text_column': name})} trains on {shown(name)} as the answer to {shown(text)}"
        for name in answering[:3]
    ]
    for name in by_kind.get("prompt", ())[:1]:
        flags = f"--prompt-text-column {as_flag(name)} --text-column {as_flag(text)}"
        fixes.append(f"{flags} trains on {shown(text)} as the answer to {shown(name)}")
    if contexts := by_kind.get(""):
        known = f", if {'they are' if len(contexts) > 1 else 'it is'} known before the answer"
        known = known if where == "the prompt" else ""
        fixes.append(f"--context-columns {as_flag(*contexts)} puts {_them(contexts)} before {where}{known}")
    for kind, fix in FIXES_BY_KIND.items():
        if names := by_kind.get(kind):
            facts = {
                "first": shown(names[0]),
                "names": ", ".join(map(shown, names)),
                "belongs": "belong" if len(names) > 1 else "belongs",
                "has": "have" if len(names) > 1 else "has",
                "them": _them(names),
                "they": "they" if len(names) > 1 else "it",
                "continue": "continue" if len(names) > 1 else "continues",
                "explain": "explain" if len(names) > 1 else "explains",
                "flag": as_flag(names[0]),
                "keys": listed(inside[names[0]]),
            }
            fixes.append(fix.format(**facts))
    what = "these columns are" if len(columns) > 1 else "a column is"
    media = (
        "; images and sounds can't be trained on, and the rows are trained on without them"
        if "media" in kinds.values()
        else ""
    )
    fix = "; ".join(
        [*fixes, f"--ignore-columns {as_flag(*columns)} leaves {_them(list(columns))} out without this warning"]
    )
    yield Finding(f"{file}: {what} not used: {named}{media}", fix, ("context_columns", "ignore_columns"), file=file)


WHOLE = """{"prompt": "One?", "completion": "Yes, it is one.", "whole": "Q: One? A: Yes, it is one."}
{"prompt": "Two?", "completion": "No, it is two.", "whole": "Q: Two? A: No, it is two."}
"""


@rule(
    "D253",
    WARNING,
    example=of_flags("--context-columns whole", "--ignore-columns whole", WHOLE),
)
def contexts_hold_the_answers(file: str, column: str) -> Iterator[Finding]:
    """A column of `--context-columns` has the row's answer in it, in every row: at its end or beginning, or all of a long one.

    Why: the answer stands in the prompt, so the model learns to copy, and there will be nothing to copy from when it is used.
    Fix: leave the column out of `--context-columns`.
    """
    what = f"{file}: {shown(column)} (--context-columns) has the answer in it in every row, and stands before it"
    yield Finding(what, f"--ignore-columns {as_flag(column)} in place of it", ("context_columns",), file=file)


def _them(columns: Sequence[str]) -> str:
    return "them" if len(columns) > 1 else "it"


def _example(value: Any) -> str:
    return quoted(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 40)


@rule(
    "D182",
    WARNING,
    example=of_rows(
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "mood": "glad"}]}\n',
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n',
        flags=" --chat-template chatml",
    ),
)
def a_key_is_not_used(column: str, keys: Mapping[str, Any], marks_turns: bool = False) -> Iterator[Finding]:
    """Keys inside a cell, such as keys of a turn, are not used. Numbers, and keys that only identify or sort the row, are not reported; a key that
    marks some turns of a role, or has a few words for each, is.

    Why: from a turn only its role, content, reasoning and tool calls are read, and keys such as `loss` or `weight`, which say whether the turn
    is trained on.
    Fix: write their values into the content, or remove the keys.
    """
    named = ", ".join(f"{shown(key)} ({_example(value)})" for key, value in keys.items())
    what = f"{'keys' if len(keys) > 1 else 'a key'} inside {shown(column)} {'are' if len(keys) > 1 else 'is'} not used: {named}"
    if marks_turns:
        what += ", and turns of the same role differ in it"
        fix = f'if {shown(next(iter(keys)))} marks answers that the model must not give, add "weight": 0 to those turns, or remove them'
        yield Finding(what, fix, DATA)
        return
    fix = f"write {_them(list(keys))} into the content if the model has to see {_them(list(keys))}, or remove {_them(list(keys))}"
    marks = [key for key, value in keys.items() if value in (-1, 0, 1)]
    if marks:
        fix += f"; leave out what {shown(marks[0])} calls bad"
    yield Finding(what, fix, DATA)


@rule("D183", WARNING, example=of_rows('{"prompt": "One?", "completion": {"a": 1}}\n' * 2, ANSWERS))
def a_value_is_written_as_json(column: str, value: str, case: str = "", file: str = "") -> Iterator[Finding]:
    """A cell holds a list or an object where text is needed. It is converted to JSON.

    Why: a model reads text only, and JSON keeps everything that the cell holds. Of several answers in a list the model would learn to write all at
    once, with brackets and quotes; this is reported too where the list is written as text.
    Fix: if the model has to read or write another form than JSON, write the cell as that text, and answers as rows of their own.
    """
    what, fix = ("a list or an object", "write it as text if the model has to read or write another form than JSON")
    if case == "several":
        what = "a list of several texts"
        fix = "write a row for each of them if each is an answer of its own, or join them to one text if they are its parts"
    if case == "choices":
        what = "choices with a mark for each that is right"
        fix = "write the choices into a column choices, and the right one into a column answer"
    where = f"{file}: " if file else ""
    yield Finding(f"{where}{shown(column)} is {what} and is written as JSON: {value}", fix, DATA, file=file or None)


@rule(
    "D184",
    WARNING,
    example=of_rows(
        '{"prompt": "One?", "completion": "Yes.", "history": [1, 2]}\n' + ANSWERS,
        ANSWERS,
        flags=" --chat-template chatml",
    ),
)
def a_part_of_the_prompt_can_not_be_read(column: str, case: str, content: str = "") -> Iterator[Finding]:
    """A part of the prompt, such as a history or tools, is in a form that can't be read. The row is left out.

    Why: without that part, the answer would be trained on after an incomplete prompt.
    Fix: a history is a list of turns, of [question, answer] pairs, or of texts by turns; tools are a list of objects.
    """
    match case:
        case "history":
            what = f"{shown(column)} is {content}, but not a list of turns"
            fix = f"write it as {LIST_OF_TURNS}, or as [[question, answer], …]"
        case "tools":
            what, fix = (
                f"{shown(column)} is {content}, but not a list of tools",
                'write it as [{"type": "function", "function": {…}}]',
            )
        case _:
            what = f"{shown(column)} is part of the prompt, and the row has no user turn that it could be added to"
            fix = "add a user turn, or delete the row"
    yield Finding(f"{what}; the row was left out", fix, DATA)


@rule(
    "D187",
    WARNING,
    example=of_rows(
        '{"question": "Which?", "choices": ["red", "blue", "green"], "answer": 1}\n{"question": "And which?", "choices": ["one", "two", "four"], "answer": 2}\n',
        '{"question": "Which?", "choices": ["red", "blue", "green"], "answer": 0}\n{"question": "And which?", "choices": ["one", "two", "four"], "answer": 2}\n',
    ),
)
def the_first_choice_is_assumed(file: str, first: str) -> Iterator[Finding]:
    """The answers are numbers of choices, and the rows don't show whether the first choice is 0 or 1. 0 is assumed.

    Why: with the other number, each answer would name another choice.
    Fix: write the answers as letters or as the text of the choice; the choices are then labelled A, B, C.
    """
    what = f"{file}: the answers are numbers of choices, and no row shows whether the first is 0 or 1; it is labelled {first}"
    yield Finding(what, "write the answers as letters (A, B, …), or as the choice's own text", DATA, file=file)


REASONED = """{"question": "One?", "answer": "1", "thinking": "One is one."}
{"question": "Two?", "answer": "2", "thinking": "Two is two."}
"""


@rule(
    "D196",
    WARNING,
    example=of_rows(REASONED.replace('"1"', '"<think>Yes.</think>1"'), REASONED, flags=" --reasoning-column thinking"),
)
def reasoning_can_not_be_joined(column: str, case: str) -> Iterator[Finding]:
    """The reasoning of a row, from the column of `--reasoning-column`, is not used: the row ends without an answer, or its answer has reasoning of
    its own.

    Why: reasoning is trained on between the prompt and the answer that follows from it, once.
    Fix: leave out `--reasoning-column`, or give the row an answer without reasoning.
    """
    what = "has no answer that it could stand before" if case == "no answer" else "has reasoning in its answer"
    yield Finding(
        f"{shown(column)} is not used (--reasoning-column): the row {what}",
        "leave out --reasoning-column, or correct the row",
        ("reasoning_column",),
    )


@rule(
    "D195",
    WARNING,
    example=of_rows(
        '{"prompt": "[\\"One?\\", \\"Two?\\"]", "completion": "Yes."}\n{"prompt": "[\\"Three?\\"]", "completion": "No."}\n',
        '{"prompt": "One? Two?", "completion": "Yes."}\n{"prompt": "Three?", "completion": "No."}\n',
    ),
)
def texts_are_written_as_lists(file: str, columns: Sequence[str], value: str) -> Iterator[Finding]:
    """All prompts, or answers, are lists of texts that are written as text, for example because the rows were saved as CSV. They are trained on as they
    are.

    Why: the model would be asked, and would answer, in brackets and quotes, and several turns of a conversation would stand in one.
    Fix: write the questions and answers of each row as messages, or the one question and its answer as text.
    """
    what = f"{file}: each cell of {enumerated(columns)} is a list written as text ({value}), and its brackets and quotes are a part of what is trained on"
    fix = f"write the questions and answers as {LIST_OF_TURNS}, or one question and its answer as text"
    yield Finding(what, fix, DATA, file=file)


@rule("D241", WARNING, example=of_rows('{"prompt": 98}\n{"prompt": 64}\n', PROMPTS, PPO))
def prompts_are_numbers(file: str, column: str, values: Sequence[Any]) -> Iterator[Finding]:
    """All prompts are numbers alone.

    Why: a number asks nothing, so the sampled answers have nothing to do with the task.
    Fix: write what is asked, with the number in it, into a column of its own.
    """
    numbers = " and ".join(map(str, values))
    what = f"{file}: {column} holds numbers alone, so that the prompts are {numbers}"
    fix = f'write what is asked of the model into a column of each row, such as {{"prompt": "… {values[0]} …"}}'
    yield Finding(what, fix, DATA, file=file)


@rule(
    "D188",
    WARNING,
    example=of_rows(
        "prompt,completion\nOne?,\"{'text': ['Yes.']}\"\nTwo?,\"{'text': ['No.']}\"\n",
        "prompt,completion\nOne?,Yes.\nTwo?,No.\n",
        name="rows.csv",
    ),
)
def answers_are_written_in_python(file: str, column: str, value: str) -> Iterator[Finding]:
    """All answers are lists or objects as Python prints them, for example because pandas wrote them to a CSV file. The text in them is used as
    the answer.

    Why: as they are, the model would learn to write their brackets and quotes.
    Fix: write the text in them to the file; or write them with `json.dumps`, if the model has to answer in JSON.
    """
    what = f"{file}: {column} holds lists or objects as Python prints them ({value}); the text in them is trained on"
    yield Finding(
        what, "write that text to the file, or json.dumps of them if the model has to answer in JSON", DATA, file=file
    )
