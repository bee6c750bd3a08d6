"""Text from outside (names of files and columns, values, messages of libraries) in a form that may be shown: without credentials, and without
characters that a terminal obeys or that reverse the order of what is read."""

from __future__ import annotations

# The user part of a URL, and tokens by the form that their issuers give them.
# A path that was made of a URL has one slash, the address of an SQLite file three or four.
USER_OF_URL = r"(:/{1,4})([^\s/@:'\"]{16,}|[^\s/@:'\"]*:[^\s/@'\"]*)(?=@)"
PASSWORD_OF_QUERY = r"(?<=[?&;]password=)[^\s&;'\"]+"
# A token is a prefix and characters drawn at random, so that a stretch of them is long or has digits and capitals in it: what is words between dashes
# or underscores, such as a column `hf_dataset_name`, is a name.
_RANDOM = r"(?:(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{8,}|[A-Za-z0-9]{16,})"
TOKENS = (
    rf"\b(?:(?:hf_|gh[opsu]_){_RANDOM}|sk-(?:[A-Za-z0-9]+[_-]){{0,4}}{_RANDOM}|(?:github_pat_|glpat-|xox[abps]-|AKIA|wandb_v1_)[A-Za-z0-9_\-]{{8,}})"
    r"[A-Za-z0-9_\-]*"
)
MARKS = (":/", "hf_", "sk-", "gh", "glpat-", "xox", "AKIA", "wandb_v1_")
# Characters that change the direction of text (Unicode's bidirectional controls).
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
KEPT = "\n\t"


def showable(text: str) -> str:
    """The text as it may be shown on a screen or written to a file."""
    return visible(without_credentials(text))


def visible(text: str) -> str:
    """The text with control characters, direction marks and lone surrogates written as escapes: `\\x1b`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char in KEPT or not _is_hidden(char) else _escape(char) for char in text)


def _is_hidden(char: str) -> bool:
    code = ord(char)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or char in BIDIRECTIONAL


def _escape(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def without_credentials(text: str) -> str:
    """The text with the user part of URLs and tokens of a known form replaced by `***`; a user's name before a password is kept."""
    if not any(mark in text for mark in MARKS):
        return text
    import re

    def user(match: re.Match[str]) -> str:
        name, colon, _ = match[2].partition(":")
        return f"{match[1]}{name}:***" if colon else f"{match[1]}***"

    text = re.sub(PASSWORD_OF_QUERY, "***", re.sub(USER_OF_URL, user, text))
    return re.sub(TOKENS, lambda match: f"{match[0][:3]}***", text)
