"""Removing and renaming: only what a run has written, only where the app may, and never under a process that writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra [app] is not installed")

from autotrain_llm.app import keeping
from autotrain_llm.app.folders import Folders
from autotrain_llm.app.keeping import Kept, removal_of, remove_run, rename_run, rename_upload, upload_named, uploads
from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.pipeline_record import Inputs, PipelineRecord, StageRecord
from support.resumable import write_checkpoint


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    home = tmp_path / "home"
    home.mkdir()
    return Folders((home.resolve(),))


def run_in(folders: Folders, name: str, model: str = "scratch:1m", data: str = "rows.jsonl") -> Path:
    folder = folders.home / name
    folder.mkdir(parents=True)
    plan = {"model": {"name": model}, "data": {"path": data}}
    (folder / "run.json").write_text(json.dumps({"status": "ok", "plan": plan, "files": ["own.bin"]}))
    for file in ("own.bin", "metrics.jsonl", "model.safetensors", "report.html"):
        (folder / file).write_text("x" * 1000)
    write_checkpoint(folder, 3)
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def test_a_run_is_removed_with_all_that_it_has_written(folders):
    folder = run_in(folders, "runs/a")
    other = run_in(folders, "runs/b", model="runs/a")
    removal = removal_of(folders, folder, [folder, other])
    words = removal.in_words()
    assert removal.checkpoints == 1 and removal.bytes > 4000
    assert "Remove runs/a" in words and "1 checkpoint" in words and "Trained from it: runs/b" in words
    assert remove_run(folders, folder)
    assert not folder.exists() and files_of(other)


def test_what_a_run_has_not_written_stays_and_links_are_not_followed(folders, tmp_path):
    folder = run_in(folders, "runs/a")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    (folder / "notes.txt").write_text("mine")
    (folder / "eval").symlink_to(outside)
    (folder / "checkpoints" / "more").symlink_to(outside)
    assert "notes.txt" in removal_of(folders, folder, []).in_words()
    assert not remove_run(folders, folder)
    assert files_of(folder) == {"notes.txt"} and (outside / "precious.txt").read_text() == "precious"


def test_a_run_that_a_process_writes_is_neither_removed_nor_renamed(folders):
    folder = run_in(folders, "runs/a")
    before = files_of(folder)
    with FileLock(folder / ".lock"):
        with pytest.raises(Kept, match="stop it first"):
            remove_run(folders, folder)
        with pytest.raises(Kept, match="stop it first"):
            rename_run(folders, folder, "b", [])
    assert files_of(folder) == before


def test_a_folder_of_the_app_is_never_removed(folders):
    (folders.home / "run.json").write_text("{}")
    for folder in (folders.home, folders.home.parent):
        with pytest.raises(Kept):
            remove_run(folders, folder)
        with pytest.raises(Kept):
            rename_run(folders, folder, "b", [])


def test_a_record_is_removed_last_so_that_what_failed_is_still_in_the_list(folders, monkeypatch):
    folder = run_in(folders, "runs/a")

    def fails(entry: Path) -> None:
        raise PermissionError(13, "Permission denied", str(entry))

    monkeypatch.setattr(keeping, "_remove", fails)
    with pytest.raises(OSError, match="Permission"):
        remove_run(folders, folder)
    assert (folder / "run.json").exists() and not (folder / ".lock").exists()


def test_a_pipeline_is_removed_with_its_stages_and_not_renamed(folders):
    folder = folders.home / "runs" / "two"
    stages = {name: StageRecord(name, Inputs({}, {}, {})) for name in ("sft", "dpo")}
    for name in stages:
        run_in(folders, f"runs/two/{name}")
    (folder / "pipeline.json").write_text(json.dumps(PipelineRecord(stages).as_json()))
    for one in (folder, folder / "sft"):
        with pytest.raises(Kept, match="pipeline"):
            rename_run(folders, one, "other", [])
    with FileLock(folder / "sft" / ".lock"), pytest.raises(Kept, match="stop it first"):
        remove_run(folders, folder)
    assert remove_run(folders, folder) and not folder.exists()


def test_a_run_gets_another_name_beside_the_others(folders):
    folder, other = run_in(folders, "runs/a"), run_in(folders, "runs/b")
    for name in ("", "..", "x/y", "../c", ".hidden", "a" * 200, "b"):
        with pytest.raises(Kept):
            rename_run(folders, folder, name, [])
    before = files_of(folder)
    target = rename_run(folders, folder, "best-one", [other])
    assert target == folder.with_name("best-one") and files_of(target) == before and not folder.exists()


def test_a_run_that_an_adapter_needs_keeps_its_name(folders):
    folder, adapter = run_in(folders, "runs/a"), run_in(folders, "runs/b", model="elsewhere")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    with pytest.raises(Kept, match="runs/b"):
        rename_run(folders, folder, "c", [folder, adapter])


def test_uploads_are_listed_with_the_runs_of_their_rows_renamed_and_never_in_place_of_another(folders, tmp_path):
    (tmp_path / "secret.jsonl").write_text("secret")
    place = folders.home / "uploads"
    place.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (place / name).write_text(name)
    (place / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    run = run_in(folders, "runs/a", data="uploads/a.jsonl")
    listed = {upload.path.name: upload.used_by for upload in uploads(folders, [run])}
    assert listed == {"a.jsonl": ("runs/a",), "b.jsonl": ()}
    for name in ("../secret.jsonl", "link.jsonl", "nowhere.jsonl", "", ".."):
        with pytest.raises(Kept):
            upload_named(folders, name)
    for name in ("b.jsonl", "b", "../c", ".c"):
        with pytest.raises(Kept):
            rename_upload(folders, place / "a.jsonl", name)
    assert rename_upload(folders, place / "a.jsonl", "c").read_text() == "a.jsonl"
    assert files_of(place) == {"b.jsonl", "c.jsonl", "link.jsonl"}
