"""The documentation site: hooks of mkdocs, which `mkdocs.yml` names.

The pages of the site are those of the repository. Pages outside docs/ get a place in it, links lead to where a page stands in the site, a link to
a file that is no page becomes its text, and docs/rules.md is divided into a page for each topic of findings.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from autotrain_llm.docs.rules_page import TOPICS, page_of, rules_by_topic

ROOT = Path(__file__).resolve().parents[3]
# Pages outside docs/, with their places in the site.
PLACES = {
    "README.md": "index.md",
    "PARAMETER_GUIDE.md": "parameters.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "license.md",
}
PLACES |= {
    path.relative_to(ROOT).as_posix(): f"examples/{path.parent.name}.md"
    for path in sorted((ROOT / "examples").glob("*/README.md"))
}
REPOSITORY_PATHS = {place: path for path, place in PLACES.items()}
RULES, INDEX = "docs/rules.md", "rules/index.md"
LINK = re.compile(r"(?P<start>!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\])\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)


def on_config(config: Any) -> Any:
    """Put a page for each topic of findings into the navigation."""
    config.nav = with_topics(config.nav)
    return config


def with_topics(nav: list[Any]) -> list[Any]:
    """The navigation, in which the index of findings is followed by their pages."""
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            entry = {title: with_topics(part) if isinstance(part, list) else part for title, part in entry.items()}
            if INDEX in entry.values():
                pages = [{title: f"rules/{page_of(topic)}"} for topic, title in TOPICS.items()]
                entry = {title: [INDEX, *pages] for title in entry}
        entries.append(entry)
    return entries


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs/, and those of findings."""
    from mkdocs.structure.files import File

    files.remove(files.get_file_from_path("rules.md"))
    for path, place in PLACES.items():
        files.append(File.generated(config, place, content=_page(path)))
    for name, text in rules_by_topic().items():
        files.append(File.generated(config, f"rules/{name}", content=text))
    return files


def _page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return text if path.endswith(".md") else f"# License\n\n```text\n{text}```\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page into links of the site."""
    place = page.file.src_uri
    if place.startswith("rules/"):
        return markdown
    return for_site(markdown, REPOSITORY_PATHS.get(place, f"docs/{place}"))


def for_site(markdown: str, path: str) -> str:
    """The text of a page at `path` in the repository, with the links that it has in the site."""
    parts = FENCE.split(markdown)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda match: _link(match, path), part) for part in parts
    )


def _link(match: re.Match[str], path: str) -> str:
    target, _, fragment = match["target"].partition("#")
    if not target or ":" in target:
        return match[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    place = place_of(there, fragment)
    if place is None:
        return match["text"] if (ROOT / there).exists() else match[0]
    here = posixpath.dirname(PLACES.get(path, path.removeprefix("docs/")))
    return f"{match['start']}({posixpath.relpath(place, here or '.')}{'#' + fragment if fragment else ''})"


def place_of(path: str, fragment: str = "") -> str | None:
    """Where a file of the repository stands in the site; None if it is not there."""
    if path == RULES:
        return f"rules/{page_of(fragment) if fragment else 'index.md'}"
    if path in PLACES:
        return PLACES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") and (ROOT / path).is_file() else None
