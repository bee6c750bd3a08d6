"""Whether a text says what an answer says."""

from __future__ import annotations

# A shorter answer may well be found in a text that it is about.
LEAST_ANSWER = 40  # characters


def gives_away(text: str, answer: str) -> bool:
    """Whether a text has an answer in it that is too long to be there by chance, or begins or ends with it."""
    text, answer = text.strip(), answer.strip()
    if not answer or not text:
        return False
    if len(answer) >= LEAST_ANSWER and answer in text:
        return True
    rest = len(text) - len(answer)
    if text.endswith(answer):
        return not rest or not text[rest - 1].isalnum()
    return text.startswith(answer) and not text[len(answer)].isalnum()
