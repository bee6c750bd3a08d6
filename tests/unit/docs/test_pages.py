"""The pages of docs/ and their parts that are generated, README.md on a package index, and where links lead on the site."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from autotrain_llm import check
from autotrain_llm.checks.rules.every import every_rule
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.docs.blocks import BLOCK, MAKERS, filled
from autotrain_llm.docs.other_tools import NAMES, names_of
from autotrain_llm.docs.readme import for_package_index
from autotrain_llm.docs.rules_page import TOPICS, page_of, rules_by_topic
from autotrain_llm.docs.site import PLACES, for_site, place_of, with_topics
from support.pages import NOTEBOOK, PAGES
from support.paths import PROJECT
from support.rows import write_rows

DOCS = sorted((PROJECT / "docs").rglob("*.md"))
PAGES_OF_TRAINERS = [page for page in PAGES if page.name.startswith("docs/trainers/") and page.files]
CODE = re.compile(r"\b[DEMPR]\d{3}\b")
WRITTEN_BY_HAND = [path for path in DOCS if path.name != "rules.md"]


@pytest.mark.parametrize("path", WRITTEN_BY_HAND, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_a_page_names_findings_that_exist(path):
    assert set(CODE.findall(path.read_text(encoding="utf-8"))) <= every_rule().keys()


def test_a_generated_part_is_replaced_and_the_rest_stays():
    page = "Before.\n\n<!-- generated: findings P101 -->\nstale\n<!-- end -->\n\nAfter.\n"
    text = filled(page, "docs/trainers/sft.md")
    assert text.startswith("Before.") and text.endswith("After.\n") and "stale" not in text
    assert "[P101](../rules.md#p101-a-parameter-of-another-trainer-is-ignored)" in text
    assert filled(text, "docs/trainers/sft.md") == text


def test_a_part_that_nothing_generates_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        filled("<!-- generated: nothing -->\n<!-- end -->", "docs/page.md")


def test_what_can_be_generated_is_used():
    used = {match["request"].split()[0] for path in DOCS for match in BLOCK.finditer(path.read_text())}
    assert used == MAKERS.keys()


@pytest.mark.parametrize("page", PAGES_OF_TRAINERS, ids=lambda page: page.name)
def test_the_rows_of_a_trainers_page_are_read_by_that_trainer(page, tmp_path):
    (name,) = (name for name in page.files if name.endswith(".jsonl"))
    rows = [json.loads(line) for line in page.files[name].splitlines()]
    trainer = page.name.split("/")[-1].removesuffix(".md")
    flags = {"trainer": trainer, "data_path": str(write_rows(tmp_path / name, rows)), "model": "scratch:100k"}
    flags |= {"lr": 1e-3, "epochs": 1, "batch_size": 2}
    if "prompt_text_column" in TRAINERS[trainer].requires:
        flags |= {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    found = [finding for finding in check(**flags) if finding.code[0] == "D"]
    assert found == []


def test_every_trainer_has_a_page_in_the_navigation():
    pages = set(_pages_of(_mkdocs()["nav"]))
    assert {f"trainers/{name}.md" for name in TRAINERS} <= pages


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    pages = {path.relative_to(PROJECT / "docs").as_posix() for path in DOCS} - {"rules.md"}
    assert set(_pages_of(_mkdocs()["nav"])) == pages | set(PLACES.values()) | {"rules/index.md"}


def _mkdocs() -> dict:
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"!!python\S+", "", text))


def _pages_of(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for part in entry.values():
                yield from [part] if isinstance(part, str) else _pages_of(part)


# ---- findings by topic


def test_every_finding_is_on_the_page_of_its_family():
    pages = rules_by_topic()
    for code in every_rule():
        assert f"\n## {code}" in pages[page_of(code)] and f"[{code}]({page_of(code)}#" in pages["index.md"]
    assert len(pages) == len(TOPICS) + 1


def test_the_pages_of_findings_follow_their_index_in_the_navigation():
    nav = with_topics([{"Reference": [{"Guide": "parameters.md"}, {"Findings": "rules/index.md"}]}])
    (guide, findings) = nav[0]["Reference"]
    assert guide == {"Guide": "parameters.md"} and findings["Findings"][0] == "rules/index.md"
    assert {page for part in findings["Findings"][1:] for page in part.values()} == {
        f"rules/{page_of(topic)}" for topic in TOPICS
    }


# ---- links on the site


@pytest.mark.parametrize(
    ("path", "link", "there"),
    [
        ("README.md", "[data](docs/data.md)", "[data](data.md)"),
        ("README.md", "![run](docs/schema.json)", "![run](schema.json)"),
        (
            "docs/trainers/sft.md",
            "[guide](../../PARAMETER_GUIDE.md#sft-trainer)",
            "[guide](../parameters.md#sft-trainer)",
        ),
        ("docs/output.md", "[P740](rules.md#p740-x)", "[P740](rules/p7.md#p740-x)"),
        ("docs/output.md", "[rules](rules.md)", "[rules](rules/index.md)"),
        ("docs/python.md", "[an example](../examples/python_api.py)", "an example"),
        ("examples/tictactoe/README.md", "[sft](../../docs/trainers/sft.md)", "[sft](../trainers/sft.md)"),
        ("docs/data.md", "[other](https://example.org/x)", "[other](https://example.org/x)"),
        ("docs/data.md", "[below](#lengths)", "[below](#lengths)"),
        ("docs/data.md", "```text\n[a](b.md)\n```", "```text\n[a](b.md)\n```"),
        ("docs/data.md", "[gone](gone.md)", "[gone](gone.md)"),  # which mkdocs --strict reports
    ],
)
def test_a_link_of_the_repository_leads_to_the_same_place_on_the_site(path, link, there):
    assert for_site(link, path) == there


def test_a_page_outside_docs_has_a_place_and_a_source_file_has_none():
    assert place_of("CONTRIBUTING.md") == "contributing.md" and place_of("setup.cfg") is None


# ---- README.md on a package index


def test_the_long_description_has_no_link_that_a_package_index_can_not_resolve():
    text = for_package_index((PROJECT / "README.md").read_text(encoding="utf-8"))
    assert all(target.startswith("https://") for target in re.findall(r"\]\(([^)]+)\)", text))
    assert "```bash" in text and "![" not in text


def test_text_of_links_stays_and_pictures_go():
    readme = "See [data](docs/data.md) and [the Hub](https://huggingface.co).\n\n![a run](docs/images/run.svg)\n\nEnd."
    assert for_package_index(readme) == "See data and [the Hub](https://huggingface.co).\n\nEnd."


# ---- other tools


@pytest.mark.parametrize("tool", NAMES)
def test_each_name_of_another_tool_is_answered_with_a_flag_that_exists_or_a_reason(tool):
    flags = {param.flag for param in PARAMS.values()} | {f"--no-{param.flag[2:]}" for param in PARAMS.values()}
    for theirs, ours, note in names_of(tool):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", ours))
        assert named <= flags, theirs
        assert named or note, theirs


# ---- the notebook


def test_the_notebook_is_one():
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert document["nbformat"] == 4 and document["nbformat_minor"] >= 5
    assert all(not cell.get("outputs") for cell in document["cells"])
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(document)
