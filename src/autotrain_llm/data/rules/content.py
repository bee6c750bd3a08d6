"""Findings about what the text of rows holds: damaged characters, secrets, personal data."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.declare.example import SFT, TWO, Example, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural

SECRETS = ("check_secrets", DATA_PARAMETER)


@rule("D164", WARNING, example=of_rows('{"text": "caf\\ufffd"}\n' + TWO, '{"text": "caf\\u00e9"}\n' + TWO))
def text_holds_damaged_characters(kind: str, characters: str, count: int, rows: int) -> Iterator[Finding]:
    """Many rows hold characters that were damaged before the file was written: replacement characters, nulls, or UTF-8 that was read as
    another encoding (\u00c3\u00bc for \u00fc).

    Why: the model would be trained to write them.
    Fix: make the file again from its source, reading and writing it as UTF-8.
    """
    what = f"holds {kind} ({characters!r}); so do {count} of {plural(rows, 'row')}"
    fix = "make the file again from its source, reading and writing it as UTF-8"
    yield Finding(what, fix, (DATA_PARAMETER,))


@rule("D219", WARNING, example=of_rows('{"text": "One.\\\\nTwo."}\n' + TWO, '{"text": "One.\\nTwo."}\n' + TWO))
def text_holds_escapes(escape: str, meant: str, around: str, count: int, rows: int) -> Iterator[Finding]:
    """Many rows hold escapes in place of the characters that they stand for: a backslash and an n in texts without a line break, or `&amp;`, `&quot;` and others of HTML in
    texts without a tag. Code, JSON and LaTeX, where a backslash and an n belong, are not counted.

    Why: the file was written with the escapes of another format, so that the model would be trained to write them.
    Fix: make the file again without them: `text.replace("\\\\n", "\\n")`, `html.unescape(text)`.
    """
    what = f"holds {escape}, and not {meant}: …{around}…; so do {count} of {plural(rows, 'row')}"
    call = "html.unescape(text)" if escape.startswith("&") else r'text.replace("\\n", "\n")'
    yield Finding(
        what, f"make the file again with the characters themselves, as by {call} in Python", (DATA_PARAMETER,)
    )


@rule(
    "D174",
    example=Example(
        SFT + "big.jsonl",
        SFT + "rows.jsonl",
        TWO,
        TWO,
        wrong="""(printf '{"text": "'; head -c 11000000 /dev/zero | tr '\\0' x; echo '"}') > big.jsonl""",
    ),
)
def a_row_is_too_large(characters: int, most: int) -> Iterator[Finding]:
    """A row has more than ten million characters. It is left out.

    Why: a text is tokenised as a whole, which takes some hundred bytes of memory for each character. It is probably several rows, or no text.
    Fix: split it into rows; a file of text is one row for each paragraph, or for each line where there are no blank lines.
    """
    what = f"has {characters:,} characters, and a row may have {most:,}: it is left out"
    yield Finding(what, "split it into several rows", (DATA_PARAMETER,))


@rule("D165", WARNING, example=of_rows('{"text": "Use AKIAQ3EGRTW5LMNB7XYZ."}\n' + TWO, flags=" --check-secrets"))
def a_row_holds_a_secret(name: str, begins: str) -> Iterator[Finding]:
    """`--check-secrets`: a row holds text that looks like a key, a token or a password.

    Why: a model can reproduce what it was trained on. The secret itself is never printed.
    Fix: delete or replace it, and revoke it.
    """
    start = f" ({begins}…)" if begins else ""
    what = f"holds what looks like {name}{start}"
    yield Finding(what, "delete or replace it, and revoke it where it was valid", SECRETS)


@rule("D166", WARNING, example=of_rows('{"text": "Write to anna.berg@posteo.de."}\n' + TWO, flags=" --check-secrets"))
def a_row_holds_personal_data(name: str) -> Iterator[Finding]:
    """`--check-secrets`: a row holds personal data: an e-mail address, a telephone, card, account or social security number.

    Why: a model can reproduce what it was trained on.
    Fix: delete or replace it, or make sure that it may be trained on.
    """
    fix = "delete or replace it, or make sure that it may be trained on"
    yield Finding(f"holds what looks like {name}", fix, SECRETS)
