"""Escapes in place of characters: a backslash and an n for a line break, `&amp;` for &."""

from __future__ import annotations

import pytest

from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.quality.cross_row_checks import check_escapes

PLAIN = "An answer\nof two lines with 1 < 2 & 3."


def found(texts: list[str]) -> list[str]:
    observations = Observations()
    check_escapes(
        [Example("rows.jsonl", row, prompt="?", completion=text) for row, text in enumerate(texts, 1)], observations
    )
    return [finding.message for finding in observations.findings()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"First 0\nSecond 1\nThird 2", r"holds \n, and not a line break"),
        (r"One.\n\nTwo.", r"holds \n, and not a line break"),
        ("0 &lt; 1 &amp;&amp; it&#39;s so", "holds &lt;, and not '<'"),
        ("She said &quot;no&quot;.", "holds &quot;, and not '\"'"),
    ],
)
def test_escapes_in_many_answers_are_named_with_an_example(text, said):
    (message,) = found([text, text, PLAIN])
    assert "rows.jsonl, row 1" in message and said in message and "2 of 3 rows" in message


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        r"The gradient \nabla f is \neq 0.",
        'print("one\\nTwo")',
        '{"text": "One.\\nTwo."}',
        "Use \\n for a line break,\nas here.",
        "<p>Fish &amp; chips</p>",
        "```\nx &lt; y\n```",
        "AT&T; R&D",
    ],
)
def test_escapes_that_belong_there_are_not(text):
    assert found([text] * 3) == []


def test_few_rows_with_escapes_are_not_named():
    assert found([r"One.\nTwo.", *[PLAIN] * 9]) == []
