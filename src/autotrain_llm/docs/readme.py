"""README.md as the package index shows it, which resolves no relative links: setup.py calls this."""

from __future__ import annotations

import re

RELATIVE = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#|mailto:)[^)]+\)")


def for_package_index(readme: str) -> str:
    """The README with the text of each relative link in its place, and without pictures, which lie beside it in the repository."""
    text = RELATIVE.sub(lambda match: "" if match["image"] else match["text"], readme)
    return re.sub(r"\n{3,}", "\n\n", text)
