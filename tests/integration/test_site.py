"""The documentation site is built without a warning, and asks no other host for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import PROJECT

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")
# What a browser requests when it opens a page; a link is followed by its reader alone.
REQUESTED = re.compile(
    r"<(?:script|img|iframe|source|audio|video|embed)\b[^>]*\ssrc=[\"']?(https?:)?//[^\s>]*"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect|dns-prefetch|modulepreload))[^>]*\shref=[\"']?(https?:)?//[^\s>]*"
)
REQUESTED_BY_STYLE = re.compile(r"url\([\"']?(?:https?:)?//[^)]*\)|@import\s+[\"'](?:https?:)?//[^\"']*")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_requests_anything_of_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        assert REQUESTED.search(page.read_text(encoding="utf-8")) is None, page
    for style in site.rglob("*.css"):
        assert REQUESTED_BY_STYLE.search(style.read_text(encoding="utf-8")) is None, style


def test_each_finding_has_a_section_to_link_to(site):
    page = (site / "rules" / "p7.html").read_text(encoding="utf-8")
    assert 'id="p741-rewards-tell-answers-apart"' in page
    assert "rules/p7.html#p741-rewards-tell-answers-apart" in (site / "trainers" / "grpo.html").read_text(
        encoding="utf-8"
    )


def test_the_python_reference_has_docstrings(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    assert "Everything that is wrong with a run" in text and "carry_out_plan" in text


def test_the_search_index_has_the_findings(site):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "rules/d1.html#d103" in index
