"""The folders of the app: what is inside, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotrain_llm.app.folders import Folders, Outside


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for name in ("one", "two", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "rows.jsonl").write_text("{}")
    (tmp_path / "one" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "one" / "file.jsonl").symlink_to(tmp_path / "secret" / "rows.jsonl")
    (tmp_path / "one" / "circle").symlink_to(tmp_path / "one" / "circle")
    return Folders((tmp_path / "one", tmp_path / "two"))


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "../secret",
        "../one-more",
        "a/../../secret",
        "/etc/passwd",
        "/",
        "~",
        "~/x",
        "~nobody-here/x",
        "link",
        "link/rows.jsonl",
        "file.jsonl",
        "circle",
        "a\0b",
    ],
)
def test_a_path_outside_is_refused_links_followed(folders, text):
    with pytest.raises(Outside):
        folders.resolve(text)


@pytest.mark.parametrize("text", [".", "runs/sft-1", "../two/rows.jsonl", "org/model", "scratch:1m", "a/../b"])
def test_a_path_inside_is_allowed_whether_it_is_there_or_not(folders, text):
    assert any(folders.resolve(text).is_relative_to(root) for root in folders.roots)


def test_a_path_is_shown_as_it_is_typed_in_the_first_folder(folders):
    assert folders.shown(folders.home / "runs" / "a") == "runs/a"
    assert folders.resolve(folders.shown(folders.roots[1] / "x")) == folders.roots[1] / "x"


def test_runs_and_files_of_rows_are_found_and_results_and_links_are_not(folders):
    home = folders.home
    for name in (
        "runs/a/run.json",
        "runs/a/sweep/trial-1/run.json",
        "runs/pipe/pipeline.json",
        "runs/pipe/base/run.json",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("{}")
    for name in (
        "rows.jsonl",
        "data/more.csv",
        "all.ndjson",
        "runs/a/metrics.jsonl",
        ".hidden.jsonl/x.jsonl",
        "notes.md",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    assert {folders.shown(folder) for folder in folders.runs()} == {"runs/a", "runs/pipe", "runs/pipe/base"}
    assert set(folders.data_files()) == {"rows.jsonl", "data/more.csv", "all.ndjson"}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("rows.jsonl", "rows.jsonl"),
        ("../../etc/cron.csv", "cron.csv"),
        (r"C:\me\Meine Daten.CSV", "Meine-Daten.csv"),
        (".rows.json", "rows.json"),
        ("rows.ndjson", "rows.ndjson"),
    ],
)
def test_an_uploaded_file_has_a_plain_name_below_uploads_and_replaces_none(folders, name, kept):
    first = folders.new_upload(name)
    assert first == folders.home / "uploads" / kept
    first.write_text("")
    assert folders.new_upload(name).name == kept.replace(".", "-2.")


@pytest.mark.parametrize("name", ["", "rows", "run.py", "a.yaml", ".jsonl", "/"])
def test_only_files_of_rows_are_uploaded(folders, name):
    with pytest.raises(Outside):
        folders.new_upload(name)


def test_an_uploads_folder_that_leads_elsewhere_is_refused(folders):
    (folders.home / "uploads").symlink_to(folders.home.parent / "secret")
    with pytest.raises(Outside):
        folders.new_upload("rows.jsonl")
