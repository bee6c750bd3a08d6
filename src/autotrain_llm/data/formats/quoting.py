"""Whether a text says what an answer says, and whether the values of a column say which of several answers is meant."""

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


class AnswersByValue:
    """The answers to each prompt, by the value that a column has beside it."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self._by_prompt: dict[str, dict[str, set[str]]] = {}

    def add(self, prompt: str, value: str, answer: str) -> None:
        self.values.add(value)
        self._by_prompt.setdefault(prompt, {}).setdefault(value, set()).add(answer)

    @property
    def tell_apart(self) -> bool:
        """Whether most prompts that come with several answers have another one with each value: without the value nobody could know which."""
        asked_again = [values for values in self._by_prompt.values() if len(set().union(*values.values())) > 1]
        told = sum(len(values) > 1 and all(len(answers) == 1 for answers in values.values()) for values in asked_again)
        return told * 2 > len(asked_again)
