"""The output folder that the processes of a sweep share."""

from __future__ import annotations

import json

import pytest

from autotrain_llm.run.sweep.folder import SweepFolder


def shared(folder) -> SweepFolder:
    return SweepFolder(folder, overwrite=False, study="mine", may_join=True)


def test_a_process_that_joins_or_leaves_removes_nothing_that_another_is_writing(tmp_path):
    folder = tmp_path / "swept"
    last = shared(folder)
    with last:
        (folder / "run.json").write_text(json.dumps({"plan": {"sweep": {"study": "mine"}}}))
        last.let_others_join()
        written = [folder / ".run.json.123", folder / ".saving"]
        written[0].write_text("{}")
        written[1].mkdir()
        with pytest.raises(KeyError), shared(folder):
            assert all(path.exists() for path in written)
            raise KeyError  # without a model or a checkpoint: a process alone would remove the folder
        assert all(path.exists() for path in written)
    assert not written[1].exists() and not (folder / ".lock").exists()


def test_what_a_killed_process_was_writing_is_removed_by_the_next_one_alone(tmp_path):
    (tmp_path / ".run.json.123").write_text("{}")
    with shared(tmp_path):
        assert not (tmp_path / ".run.json.123").exists()
