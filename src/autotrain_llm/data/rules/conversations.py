"""Findings about conversations: their turns, and what a chat template makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.wording import ROW_OF_TURNS, as_flag, enumerated, shown
from autotrain_llm.declare.example import CHAT, DPO, PAIRS, PPO, PROMPTS, SFT, Example, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural

DATA = (DATA_PARAMETER,)
TEMPLATE = ("chat_template",)
CHATML = "--chat-template chatml"
WRITES_TOOLS = "--chat-template hermes, which writes tools as JSON, or a FILE with one that does, or --model with one that calls tools"
CALL = (
    '{"tools": [{"type": "function", "function": {"name": "weather"}}], "messages": [{"role": "user", "content": "Rain?"}, '
    '{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {}}}]}]}\n'
)
SYSTEM = CHAT.replace("[", '[{"role": "system", "content": "Be brief."}, ')
FOUR_TURNS = CHAT.replace("]", ', {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]')
STRICT = '{% for m in messages %}{% if m.role == "system" %}{{ raise_exception("no system turn") }}{% endif %}{{ m.content }}{% endfor %}'
UNSYSTEMATIC = '{% for m in messages if m.role != "system" %}{{ m.content }}{{ eos_token }}{% endfor %}'
LAST_ONLY = '{% for m in messages %}{% if m.role == "user" or loop.last %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}'
BY_NUMBER = "{{ messages[0].content }}: {{ messages[1].content }}. {{ messages[2].content }}: {{ messages[3].content }}{{ eos_token }}"
OPENING = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: <think>{% endif %}"
SILENT = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
THOUGHTLESS = '{% for m in messages %}{{ m.role }}: {{ m.content.split("</think>")[-1] }}{{ eos_token }}{% endfor %}'
THOUGHTFUL = CHAT.replace("Hello", "<think>A greeting.</think>Hello")
MARKED = '{"text": "<|im_start|>user\\nHi<|im_end|>"}\n{"text": "<|im_start|>user\\nBye<|im_end|>"}\n'
SPOKEN = PAIRS.replace('"Hi"', r'"\n\nHuman: Hi\n\nAssistant:"').replace('"Bye"', r'"\n\nHuman: Bye\n\nAssistant:"')
VICUNA = " --chat-template vicuna"


def no_tokens(names: Sequence[str]) -> str:
    return "which is no token" if len(names) == 1 else "which are no tokens"


# -- turns -----------------------------------------------------------------------------------------------------------------


@rule("D116", example=of_rows(CHAT.replace("assistant", "robot"), CHAT, flags=f" {CHATML}"))
def a_turn_has_an_unknown_role(
    turn: int, column: str, role: str, nearest: str | None, keys: Sequence[str] = (), others: Sequence[str] = ()
) -> Iterator[Finding]:
    """A turn of a conversation has an unknown role. Where no turn has a known one, the finding names what the turns have.

    Why: whether a turn is trained on depends on its role, so it is never guessed.
    Fix: one of user, assistant, system and tool; of people, as in an exported chat, the one whose words are learned is the assistant.
    """
    if keys:
        what = f"no turn of {column} has a role that is known; the turns have: {', '.join(keys[:6])}"
        needed = '{"role": "user", "content": "…"} or {"role": "assistant", "content": "…"}'
        fix = f"write each turn as {needed}; the assistant is the one whose words are to be learned"
        yield Finding(what, fix, DATA)
        return
    perhaps = f" ({role} is perhaps {nearest})" if nearest else ""
    too = f", and others have {' and '.join(others)}" if others else ""
    what = f"turn {turn} of {column} has an unknown role {role}{too}"
    yield Finding(what, f"roles can be: user, assistant, system, tool{perhaps}", DATA)


@rule(
    "D117",
    WARNING,
    example=of_rows(
        '{"messages": [{"role": "user"}, {"role": "assistant", "content": "Hello"}]}\n' + CHAT, CHAT, flags=f" {CHATML}"
    ),
)
def a_turn_has_no_content(turn: int, column: str, role: str, others: Sequence[str] = ()) -> Iterator[Finding]:
    """A turn of a conversation has neither content nor tool calls. The row is left out. What else it has is named, where that is not read.

    Why: what the turn should say is missing from the data.
    Fix: fill it, or delete the row.
    """
    what = f"turn {turn} of {column} ({role}) has no content (null); the row was left out"
    fix = "fill it or delete the row"
    if others:
        names = enumerated(list(map(shown, others)))
        what = f"turn {turn} of {column} ({role}) has no content (null), and {names} in it is not read; the row was left out"
        fix = f"write {names} as its content, or as tool_calls if it is a call of a tool"
    yield Finding(what, fix, DATA)


@rule(
    "D127",
    WARNING,
    example=of_rows(CHAT.replace('"Hi"', '[{"type": "image", "url": "cat.png"}]') + CHAT, CHAT, flags=VICUNA),
)
def a_turn_holds_something_other_than_text(turn: int, column: str, kind: str) -> Iterator[Finding]:
    """A turn holds something other than text, such as an image. The row is left out.

    Why: only text can be trained on.
    Fix: delete that part of the turn, or the row.
    """
    what = f"turn {turn} of {column} has a part of type {kind}; only text can be trained on; the row was left out"
    yield Finding(what, "delete the part or the row", DATA)


@rule(
    "D133",
    WARNING,
    example=of_rows(CHAT[:-3] + ', {"role": "user", "content": "And?"}]}\n' + CHAT, CHAT, flags=VICUNA),
)
def turns_are_in_an_unusual_order(case: str, turn: int = 0, who: str = "") -> Iterator[Finding]:
    """The turns of a conversation are in an order that chat models were not trained on. The row is used as it is.

    Why: two turns of the user or of the assistant follow each other, a system turn is not the first, or the last turn is the user's and has
    no answer.
    Fix: join the two turns, move the system turn to the start, or remove the turn without an answer.
    """
    match case:
        case "doubled":
            what = f"turns {turn} and {turn + 1} both have the role {who}; user and assistant should alternate"
            fix = "join them, or split the row"
        case "late system":
            what = f"turn {turn} is a system turn; it should be the first, as many chat templates drop or refuse a later one"
            fix = "move it to the beginning"
        case "answer":
            what, fix = f"{who} ends with a user turn, but it should end with an answer to compare", "remove the turn"
        case _:
            what = "the last turn is the user's and has no answer; it is not trained on"
            fix = "add the answer, or remove the turn"
    yield Finding(what, fix, DATA)


@rule(
    "D185",
    WARNING,
    example=of_rows(
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "loss_mask": [0, 1, 1]}\n'
        + CHAT,
        CHAT,
        flags=VICUNA,
    ),
)
def the_loss_mask_does_not_match_the_turns(column: str, items: int, turns: int) -> Iterator[Finding]:
    """The loss mask of a conversation, a list of 0 and 1 that says which turns are trained on, does not have one item per turn. The row is left
    out.

    Why: which item belongs to which turn is unknown.
    Fix: one 0 or 1 for each turn, or for each turn of the assistant.
    """
    what = f"{column} has {items} items for {turns} turns; the row was left out"
    yield Finding(what, "give it one 0 or 1 for each turn, or for each turn of the assistant", DATA)


@rule(
    "D186",
    WARNING,
    example=of_rows(
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "train_detail": [{"train": false}]}]}\n'
        + CHAT,
        CHAT,
        flags=VICUNA,
    ),
)
def a_mark_can_not_be_followed(turn: int, column: str, key: str, value: str) -> Iterator[Finding]:
    """A turn of the assistant is marked in a form that can't be followed: which part of it is trained on, or how much. The row is left out.

    Why: otherwise more would be trained on than the row says.
    Fix: mark whole turns, with `"weight": 0` or `1`, or `"train": false` or `true`.
    """
    what = f"{key} of turn {turn} of {column} ({value!r}) says what is trained on in a form that can't be followed; the row was left out"
    yield Finding(what, 'mark whole turns, with "weight": 0 or 1; or remove the key', DATA)


# -- finding a template ----------------------------------------------------------------------------------------------------


@rule(
    "D140",
    example=Example(
        SFT.replace("MODEL", "base") + "rows.jsonl",
        SFT.replace("MODEL", "base") + f"rows.jsonl {CHATML}",
        CHAT,
        CHAT,
        before="cp -r MODEL base\nrm base/chat_template.jinja",
    ),
)
def there_is_no_chat_template(
    names: Sequence[str], fitting: str, column: str = "", path: str = ""
) -> Iterator[Finding]:
    """Conversations need a chat template to become text, and the tokenizer has none.

    Why: base models come without one.
    Fix: a template whose control tokens the tokenizer has, or the instruct version of the model.
    """
    # `names` are the tokenizer's templates under other names than default.
    others = f" called default, only {', '.join(names)}" if names else ""
    changes = {"chat_template": fitting}
    parameters = ("chat_template", "model")
    if not column:
        message = f"--chat-template tokenizer: the tokenizer of --model has no chat_template of its own{others}"
        yield Finding(message, None, parameters, changes=changes)
        return
    message = (
        f"column {shown(column)} of {path} holds conversations, and the tokenizer of --model has no chat_template{others}{',' if others else ''} to "
        "turn them into text (--chat-template)"
    )
    yield Finding(message, None, parameters, changes=changes, otherwise="or --model with the instruct version")


@rule("D141", example=of_flags("--chat-template chatlm", CHATML, CHAT))
def the_chat_template_can_not_be_used(
    name: str, case: str, detail: str = "", known: Sequence[str] = (), nearest: str = "", line: int | None = None
) -> Iterator[Finding]:
    """`--chat-template` names no known template and no file, or its template is not valid Jinja, or takes far more time or memory than a template needs.

    Why: without a template conversations can't become text.
    Fix: the nearest name, the path of a file, or a valid template.
    """
    match case:
        case "limits":
            yield Finding(f"--chat-template {name}: {detail}", "another --chat-template, such as chatml", TEMPLATE)
        case "unreadable":
            yield Finding(f"--chat-template {name} can't be read as text: {detail}", None, TEMPLATE, file=name)
        case "syntax":
            yield Finding(
                f"--chat-template {name}: not a valid template: {detail} (line {line})", None, TEMPLATE, line=line
            )
        case _:
            message = f"--chat-template {name}: no such template and no such file (known: {', '.join(known)})"
            if "{" in name:
                message += "; a template of your own is written in Jinja and loops over the messages: {% for m in messages %}…{% endfor %}"
            yield Finding(message, None, TEMPLATE, guess={"chat_template": nearest} if nearest else {})


@rule("D142", example=of_flags("--chat-template none", CHATML, CHAT))
def no_template_is_allowed_for_conversations(column: str, path: str) -> Iterator[Finding]:
    """`--chat-template none` with rows that are conversations.

    Why: without a template they can't become text.
    Fix: leave it out, or write the rows as text.
    """
    message = f"--chat-template none can't be used with conversations: {shown(column)} of {path} holds messages (a list of turns)"
    changes = {"chat_template": None}
    yield Finding(message, None, TEMPLATE, changes=changes, otherwise="or write the rows as text")


@rule("D143", WARNING, example=of_flags(CHATML))
def a_chat_template_is_not_applied_to_plain_text(template: str, column: str) -> Iterator[Finding]:
    """`--chat-template` with rows that are plain text.

    Why: a template is applied to conversations only, so the flag has no effect.
    Fix: leave it out, or give rows with messages.
    """
    message = (
        f"--chat-template {template}: {shown(column)} is plain text (str), not messages; the template is never applied"
    )
    changes = {"chat_template": None}
    yield Finding(message, None, TEMPLATE, changes=changes, otherwise="or give rows with messages")


@rule("D197", WARNING, example=of_rows(SPOKEN, PAIRS, command=DPO, flags=VICUNA))
def texts_are_written_conversations(user: str, assistant: str, count: int, of: str, is_text: bool) -> Iterator[Finding]:
    """Texts hold conversations with the names of their speakers, and the model has a chat template.

    Why: a conversation that is a text is no turns: the model's chat template does not write it, and in plain text the questions are trained
    on like the answers. A finished model then has to be asked in the same words, and not through its chat template.
    Fix: write each conversation as messages; or `--chat-template none`, if the model is to be asked with such texts.
    """
    what = f"{user!r} and {assistant!r} in its text are the speakers of a conversation, which is not read as turns ({count} of {of})"
    trained = ", and its questions are trained on like its answers" if is_text else ""
    yield Finding(
        f"{what}: the chat template does not write it{trained}",
        None,
        TEMPLATE,
        guess={"chat_template": "none"},
        otherwise='if the model is to be asked with such texts; or write each as {"messages": [{"role": "user", "content": "…"}, …]}',
    )


@rule(
    "D199",
    WARNING,
    example=of_rows(
        "User: Hi\n\nBot: Hello\n\nUser: Bye\n\nBot: See you\n", "One text.\n\nAnother text.\n", name="rows.txt"
    ),
)
def each_text_is_one_turn(file: str, first: str, second: str) -> Iterator[Finding]:
    """The texts begin with the names of two speakers, by turns: they are the turns of conversations, and each is trained on as a text of its own.

    Why: a file of text is one row for each paragraph, or for each line where there are no blank lines. An answer is then trained on without its
    question, and which turns belong together can't be seen from a text.
    Fix: write each conversation as messages, a row each; or, as text, without blank lines inside it and with one after it.
    """
    yield Finding(
        f"{file}: its texts are the turns of a conversation, of {first!r} and {second!r} by turns, and each is a row of its own: no answer is "
        "trained on after its question",
        f"write each conversation as one row: {ROW_OF_TURNS}; or, as text, "
        "without blank lines inside it and with one after it",
        DATA,
        file=file,
    )


MESSAGES_OF_A_CHAT = """{"conv_id": 1, "speaker": "Ida", "text": "Is it open?"}
{"conv_id": 1, "speaker": "Per", "text": "From nine."}
{"conv_id": 2, "speaker": "Ida", "text": "Does it rain?"}
{"conv_id": 2, "speaker": "Eva", "text": "It does."}
"""


@rule(
    "D244",
    WARNING,
    example=Example(
        SFT + "rows.jsonl",
        SFT + "rows.jsonl --ignore-columns conv_id",
        rows=MESSAGES_OF_A_CHAT,
        good=MESSAGES_OF_A_CHAT,
    ),
)
def rows_are_turns_of_one_conversation(file: str, column: str, case: str = "") -> Iterator[Finding]:
    """A column says which conversation each row belongs to, and several rows belong to the same one, each with another text; or it says who speaks in
    each row, and the speakers take turns.

    Why: each row is trained on alone, so that the model sees no turn before it, and learns who speaks neither. Who of the speakers is to be the
    assistant is your decision.
    Fix: write the turns of each conversation as one row of messages; or, if each row can be understood alone, `--ignore-columns` with that column.
    """
    what = f"rows with the same {shown(column)} are turns of one conversation"
    if case == "speaker":
        what = f"{shown(column)} says who speaks in each row, so that the rows are turns of conversations"
    if case == "link":
        what = f"{shown(column)} says which other row comes before or after each row, so that the rows are turns of conversations"
    yield Finding(
        f"{file}: {what}, and each of them is trained on alone",
        f"write each conversation as one row: {ROW_OF_TURNS}; or, if each row can be understood alone: --ignore-columns {as_flag(column)}",
        ("data_path", "ignore_columns"),
        file=file,
    )


LISTED_TURNS = '{"parts": ["Is it open today?", "It is open from nine to five."]}\n{"parts": ["Does it rain?", "It does, since noon."]}\n'


@rule(
    "D246",
    WARNING,
    example=Example(
        f"{SFT}rows.jsonl {CHATML} --text-column parts",
        f"{SFT}rows.jsonl {CHATML} --text-column dialog",
        rows=LISTED_TURNS,
        good=LISTED_TURNS.replace("parts", "dialog"),
    ),
)
def texts_are_taken_as_turns(file: str, column: str, case: str = "") -> Iterator[Finding]:
    """A column of lists of texts is read as turns of user and assistant, the user first, and its name doesn't say that it holds a conversation; or a
    column of lists of questions with answers as the turns of one conversation.

    Why: a list of texts may as well be the paragraphs of one text, and a list of questions with answers may as well be rows that have nothing to do with
    each other.
    Fix: nothing, if they are turns; else join the texts of each row to one, and write each question with its answer as a row.
    """
    if case == "exchanges":
        what = f"the questions and answers in each list of {shown(column)} are taken as turns of one conversation"
        fix = "write each question with its answer as a row, if they don't follow each other; else rename the column to conversation"
        yield Finding(f"{file}: {what}", fix, DATA, file=file)
        return
    yield Finding(
        f"{file}: the lists of texts in {shown(column)} are taken as turns of user and assistant, the user first",
        "join the texts of each row to one text, if they are its parts; or write them as messages, with an answer after each question",
        DATA,
        file=file,
    )


STARTED = (
    '{"prompt": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Let me think.\\n<think>"}]}\n'
    '{"prompt": [{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Let me think.\\n<think>"}]}\n'
)


@rule("D240", WARNING, example=of_rows(STARTED, PROMPTS, PPO))
def started_answers_are_left_out(file: str, start: str, rows: int) -> Iterator[Finding]:
    """Prompts end with a turn of the assistant that only starts an answer: it is the same in all rows, or ends with a tag that it opens. It is left
    out.

    Why: answers are sampled after what the chat template writes before an answer, and an answer of the row is only compared with, so the start has no
    effect.
    Fix: delete that turn, and ask for such a beginning in the prompt; or a chat template that writes it before each answer (`add_generation_prompt`).
    """
    yield Finding(
        f"{file}: prompts end with a turn of the assistant that starts an answer, {start[-60:]!r} ({plural(rows, 'row')}); it is left out, and answers "
        "are sampled without it",
        "delete that turn and ask for such a beginning in the prompt; or --chat-template FILE, with one that writes it before each answer",
        (DATA_PARAMETER, "chat_template"),
        file=file,
    )


@rule("D144", example=of_flags("--response-only-loss"))
def plain_text_has_no_responses(column: str) -> Iterator[Finding]:
    """`--response-only-loss` with rows that are plain text.

    Why: in plain text nothing shows where an answer begins.
    Fix: leave it out, or give rows with messages or with prompt and completion.
    """
    message = (
        f"--response-only-loss trains on answers only, and column {shown(column)} is plain text, in which nothing marks "
        "where an answer begins (--chat-template is not applied to text)"
    )
    yield Finding(
        message,
        None,
        ("response_only_loss", "chat_template"),
        changes={"response_only_loss": False},
        otherwise="or rows with messages or with prompt and completion",
    )


@rule("D145", WARNING, example=of_flags("--chat-template llama-3", "--chat-template tokenizer", CHAT))
def the_template_ends_turns_with_an_unknown_token(
    template: str, missing: Sequence[str], end: str, eos: str | None, fitting: str
) -> Iterator[Finding]:
    """The chat template of `--chat-template` writes control tokens that the tokenizer doesn't have.

    Why: they are trained on as plain text, several tokens each, and nothing stops generation at them.
    Fix: a template that ends turns with the tokenizer's eos_token, or a model whose tokenizer has these tokens.
    """
    message = (
        f"--chat-template {template} writes {enumerated(missing)}, {no_tokens(missing)} of this tokenizer (its eos_token is {eos}): they are "
        "trained on as plain text, several tokens each, and the embedding gets no rows for them"
    )
    otherwise = f"which ends turns with the eos_token, or a --model whose tokenizer has {end}"
    yield Finding(message, None, TEMPLATE, guess={"chat_template": fitting}, otherwise=otherwise)


# -- what a template makes of a row ----------------------------------------------------------------------------------------


@rule(
    "D131",
    example=of_flags(
        "--chat-template vicuna",
        "--chat-template '{{ tools }}{% for m in messages %}{{ m }}{{ eos_token }}{% endfor %}'",
        CALL,
    ),
    varies=True,
)
def the_template_leaves_out_tools(case: str, missing: str = "") -> Iterator[Finding]:
    """The chat template writes neither the tools of a conversation nor the calls of its turns.

    Why: what it leaves out can't be trained on, and a turn that is only a call becomes an empty answer. Where all answers of a row are calls, that is
    an error.
    Fix: a template that writes tools, such as hermes, or a model that calls tools.
    """
    if case == "answers":
        what = "the chat template leaves out tool calls, and the answers are nothing else: empty answers would be trained on"
        yield Finding(what, WRITES_TOOLS, TEMPLATE)
        return
    what = "the chat template leaves out the tools that are described beside the turns"
    if case == "calls":
        what = "the chat template leaves out the tool calls of its turns: they are not trained on"
    elif case == "part":
        what = f"the chat template leaves out part of the tool calls of its turns, such as {missing!r}: it is not trained on"
    yield Finding(what, WRITES_TOOLS, TEMPLATE, WARNING)


TOLD = CALL.replace(
    '"messages": [', '"messages": [{"role": "system", "content": "Call [{\\"name\\": \\"weather\\"}]"}, '
)


@rule(
    "D257",
    WARNING,
    example=of_flags("--chat-template hermes", "--chat-template hermes --ignore-columns tools", TOLD),
)
def tools_are_written_twice(column: str) -> Iterator[Finding]:
    """The system turn describes the tools of its row, and the chat template writes them once more.

    Why: the model would be told of each tool twice, in two forms, which it never is later.
    Fix: `--ignore-columns` with the column of the tools, and the template that the turns were written for; or a system turn without them.
    """
    what = f"the system turn describes the tools, and the chat template writes those of {shown(column)} once more"
    yield Finding(
        what,
        f"leave the column out (--ignore-columns {as_flag(column)}), or take them out of the system turn",
        (*TEMPLATE, "ignore_columns"),
    )


@rule("D136", WARNING, example=of_flags(f"--chat-template '{UNSYSTEMATIC}'", CHATML, SYSTEM))
def the_template_leaves_out_a_turn(turn: int, role: str) -> Iterator[Finding]:
    """The chat template leaves out the content of a system, user or tool turn.

    Why: the model never sees that text, in training or later.
    Fix: another template, or write the content into the first user turn.
    """
    what = f"the chat template leaves out turn {turn} ({role}): the model never sees it"
    yield Finding(what, f"{CHATML}, or write it into the user's first turn", TEMPLATE)


@rule(
    "D146",
    example=of_rows(
        CHAT + SYSTEM, CHAT, flags=" --chat-template strict.jinja", before=f"echo '{STRICT}' > strict.jinja"
    ),
)
def the_template_refuses_a_conversation(problem: str, writes_calls: bool = True) -> Iterator[Finding]:
    """The chat template refuses a conversation; the finding quotes its reason, and says if a turn calls a tool and the template writes no calls.

    Why: many templates allow no system turn, no two turns of the same role in a row, or no turn that is only a call of a tool.
    Fix: correct or delete the row, or choose another template.
    """
    what = "the chat template refuses this conversation"
    if writes_calls:
        yield Finding(f"{what}: {problem}", f"correct or delete the row, or {CHATML}", TEMPLATE)
    else:
        what += f", which calls tools: it writes no calls of tools ({problem})"
        yield Finding(what, WRITES_TOOLS, TEMPLATE)


@rule("D148", WARNING, example=of_flags(f"--chat-template '{LAST_ONLY}'", CHATML, FOUR_TURNS))
def the_template_leaves_out_an_answer(case: str, turn: int = 0) -> Iterator[Finding]:
    """The chat template leaves out a turn of the assistant.

    Why: what it leaves out is not trained on.
    Fix: another template, or one answer per row.
    """
    if case == "dropped":
        what = f"the chat template writes nothing of turn {turn} (assistant); it is not trained on"
        yield Finding(what, f"{CHATML}, or one turn per row", TEMPLATE)
    else:
        what = "the chat template writes nothing of the assistant's turns; the row is not trained on"
        yield Finding(what, CHATML, TEMPLATE)


@rule("D191", example=of_flags(f"--chat-template '{BY_NUMBER}'", CHATML, FOUR_TURNS))
def an_answer_can_not_be_located(turn: int, why: str) -> Iterator[Finding]:
    """An answer can't be located in the text that the chat template writes.

    Why: part of the answer would not be trained on, or text that is not part of an answer would be.
    Fix: another template, or one that marks the answers with `{% generation %}`.
    """
    what = f"the answer of turn {turn} can't be located in the chat template's text: {why}"
    fix = f"{CHATML}, or --chat-template FILE, with {{% generation %}} and {{% endgeneration %}} around the assistant's part"
    yield Finding(what, fix, TEMPLATE)


@rule("D192", WARNING, example=of_flags(f"--chat-template '{OPENING}'", CHATML, CHAT))
def the_generation_prompt_is_not_trained_on(opening: str) -> Iterator[Finding]:
    """The chat template's generation prompt ends with text, usually `<think>`, that it does not write before the answers of these rows.

    Why: the finished model is prompted with text after which it was never trained to answer, so it answers differently than in training.
    Fix: rows with reasoning, or a copy of the template whose generation prompt ends without that text.
    """
    what = (
        f"the chat template ends each prompt with {opening.strip()!r} (add_generation_prompt), but writes no such text before the "
        "answers that are trained on"
    )
    fix = f"--chat-template FILE, with a copy of the template that ends prompts without it, {CHATML}"
    yield Finding(what, f"{fix}, or rows with reasoning (reasoning_content)", TEMPLATE)


@rule("D169", WARNING, example=of_flags(f"--chat-template '{THOUGHTLESS}'", CHATML, THOUGHTFUL))
def the_template_leaves_out_part_of_an_answer(turn: int, key: str, missing: str) -> Iterator[Finding]:
    """The chat template leaves out part of an answer that is trained on, such as its reasoning.

    Why: the model is not trained on that part. Reasoning of earlier turns, which many templates drop on purpose, is not reported.
    Fix: a template that writes all of it, or reasoning inside the content: `<think>…</think>`.
    """
    which, fix = "", f"--chat-template FILE, with one that writes all of it, or {CHATML}"
    if key != "content":
        which = f" ({key})"
        fix = "--chat-template FILE, with one that writes reasoning, or write it into content: <think>…</think>"
    what = f"the chat template leaves out part of turn {turn} (assistant){which}: {missing!r}; it is not trained on"
    yield Finding(what, fix, TEMPLATE)


@rule(
    "D171",
    WARNING,
    example=of_flags(
        f"--chat-template '{SILENT}'", CHATML, '{"messages": [{"role": "user", "content": "Hi"}]}\n' * 4, PPO
    ),
)
def the_template_writes_no_generation_prompt(missing: str) -> Iterator[Finding]:
    """The chat template ignores `add_generation_prompt`.

    Why: prompts lack the text that the template writes before an answer, so the model may continue the user's turn instead of answering.
    Fix: end the template with a generation prompt.
    """
    message = (
        f"the chat template ignores add_generation_prompt: it writes {missing.strip()!r} before an answer, and each prompt ends "
        "without that, so the model has to write it itself, or continues the user's turn"
    )
    ending = f"{{% if add_generation_prompt %}}{{{{ {missing!r} }}}}{{% endif %}}"
    yield Finding(message, f"end the template with {ending}, or {CHATML}", TEMPLATE)


# -- tokens of templates in the rows themselves ----------------------------------------------------------------------------


@rule(
    "D168",
    WARNING,
    example=Example(
        SFT.replace("MODEL", "other") + "rows.jsonl",
        SFT + "rows.jsonl",
        MARKED,
        MARKED,
        before="cp -r MODEL other\nsed -i.old 's/<|im_/<|turn_/g' other/*.json*",
    ),
)
def rows_hold_tokens_of_another_tokenizer(
    markers: Sequence[str], eos: str | None, count: int, of: str, case: str
) -> Iterator[Finding]:
    """Rows hold control tokens of another chat template or tokenizer, such as `<|im_start|>`, that this tokenizer doesn't have.

    Why: they are trained on as plain text, several tokens each, and generation doesn't stop at them.
    Fix: rows with messages, to which this model's own template is applied, or a model whose tokenizer has these tokens.
    """
    what = (
        f"its text holds {enumerated(markers)}, {no_tokens(markers)} of this tokenizer (its eos_token is "
        f"{eos}): they are trained on as plain text, several tokens each ({count} of {of})"
    )
    mend = {
        "turns": "leave them out of the turns",
        "text": "write the rows as messages, which a chat template turns into text",
        "end is marked": f"leave it out: {eos} is added at the end anyway",
    }.get(case, f"write {eos}")
    fix = f"{mend}, or --model with one whose tokenizer has {markers[0]}"
    yield Finding(what, fix, (DATA_PARAMETER, "model"))


@rule("D170", WARNING, example=of_rows(CHAT.replace('"Hi"', '"<|im_start|>user\\nHi"'), CHAT, flags=f" {CHATML}"))
def turns_hold_the_markers_of_the_template(markers: Sequence[str], count: int, of: str) -> Iterator[Finding]:
    """Turns already contain the markers that the chat template writes around each turn.

    Why: the model would be trained on each marker twice.
    Fix: leave them out of the content, or write the whole conversation as text, in a column `text`.
    """
    what = (
        f"the content of its turns holds {enumerated(markers)}, which the chat template writes around each turn "
        f"as well, so that it occurs twice ({count} of {of})"
    )
    fix = "leave them out of the content, or write the whole conversation as text, in a column text"
    yield Finding(what, fix, DATA)
