"""A study that several processes share: each trial is carried out once, under its number, whatever happens to the processes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from autotrain_llm.declare.finding import Refused
from autotrain_llm.run.sweep import claims
from autotrain_llm.run.sweep.trial import StudyUnreachable
from support.studies import carry_out, in_a_process, open_study, results, sweep_plan


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.mark.slow
def test_two_processes_that_begin_one_study_at_once_share_its_trials(tmp_path, url):
    sweep = sweep_plan(trials=6)
    children = []
    for name in ("first", "second"):
        child = os.fork()
        if child == 0:
            status = 70
            try:
                carry_out(open_study(sweep, tmp_path / name, url))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    alone = open_study(sweep, tmp_path / "alone")
    carry_out(alone)
    assert results(open_study(sweep, tmp_path / "third", url)) == results(alone)


def test_a_trial_of_a_process_killed_before_it_claimed_it_is_carried_out_under_its_number(tmp_path, url, monkeypatch):
    sweep = sweep_plan(trials=2)

    def run() -> None:
        monkeypatch.setattr(claims.Claim, "show", lambda claim: os._exit(99))
        open_study(sweep, tmp_path / "killed", url).next()

    assert in_a_process(run) == 99
    other = open_study(sweep, tmp_path / "other", url)
    assert [trial.number for trial in other.trials()] == [0]
    carry_out(other)
    states = [(trial.number, trial.state, trial.kills) for trial in other.trials()]
    assert states == [(0, "complete", 0), (1, "complete", 0)]


def test_a_killed_machine_loses_its_trial_to_another_when_its_time_stamp_is_old(tmp_path, url, monkeypatch):
    sweep = sweep_plan(trials=2)
    assert in_a_process(lambda: open_study(sweep, tmp_path / "killed", url).next() and os._exit(0)) == 0
    other = open_study(sweep, tmp_path / "other", url)
    second = other.next()
    assert second is not None and second.number == 1  # the first trial's process may yet be alive
    second.state, second.metric = "complete", 1.0
    other.tell(second)
    monkeypatch.setattr(claims, "GRACE", -1)
    first = other.next()
    assert first is not None and (first.number, first.kills, first.own) == (0, 1, True)
    assert first.values == sweep.own
    other._claims[0].release()


def test_the_trial_of_a_process_killed_in_this_folder_is_carried_on_at_once(tmp_path, url):
    sweep = sweep_plan(trials=2)
    assert in_a_process(lambda: open_study(sweep, tmp_path / "folder", url).next() and os._exit(0)) == 0
    study = open_study(sweep, tmp_path / "folder", url)
    carry_out(study)
    assert [(trial.state, trial.kills) for trial in study.trials()] == [("complete", 1), ("complete", 0)]


def test_a_result_of_a_process_that_was_taken_for_killed_is_not_recorded_twice(tmp_path, url, monkeypatch):
    sweep = sweep_plan(trials=1)
    slow, other = open_study(sweep, tmp_path / "slow", url), open_study(sweep, tmp_path / "other", url)
    trial = slow.next()
    assert trial is not None
    monkeypatch.setattr(claims, "GRACE", -1)
    carry_out(other)
    before = results(other)
    trial.intermediate, trial.state, trial.metric = {10: 7.0}, "complete", 7.0
    assert slow.should_prune(trial, 7.0) is False
    slow.tell(trial)
    assert results(slow) == before


def test_a_study_that_searches_something_else_is_refused(tmp_path, url):
    carry_out(open_study(sweep_plan(trials=1), tmp_path / "one", url))
    for other in (sweep_plan(direction="maximize"), sweep_plan(sampler="grid")):
        with pytest.raises(Refused) as refused:
            open_study(other, tmp_path / "two", url)
        assert [finding.code for finding in refused.value.findings] == ["E408"]


# ---- damaged files


def whole(tmp_path: Path, url: str | None = None) -> tuple[list, Path]:
    """The results of a sweep that is complete, with its records in the folder."""
    from autotrain_llm.run.sweep.records import SweepRecords

    study = open_study(sweep_plan(trials=4), tmp_path / "swept", url)
    carry_out(study)
    records = SweepRecords(tmp_path / "swept", study.sweep, None)  # type: ignore[arg-type]
    records._config = lambda best: ""  # type: ignore[method-assign]
    records.write(study.trials())
    return results(study), tmp_path / "swept" / "sweep" / "study.journal"


def cut_in_the_last_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def garbled(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:9], b"\0\xff garbled\n", *lines[10:]]))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_program(path: Path) -> None:
    path.write_bytes(b'{"op_code": 5, "worker_id": 3}\n{"op_code": 77, "worker_id": 3}\n')


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    cut_in_the_last_line: "is cut off in its last line",
    garbled: "is damaged in line 10",
    emptied: "lacked results",
    of_another_program: "is not the file of this study",
    Path.unlink: "is missing",
    a_folder: "can't be read",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_study_is_restored_from_its_intact_part_and_the_records(damage, tmp_path, capsys):
    before, journal = whole(tmp_path)
    damage(journal)
    study = open_study(sweep_plan(trials=4), tmp_path / "swept")
    said = capsys.readouterr().out
    assert results(study) == before and DAMAGES[damage] in said and "4 trials restored" in said
    assert study.next() is None
    assert results(open_study(sweep_plan(trials=4), tmp_path / "swept")) == before and not capsys.readouterr().out
    is_kept = bool(list(journal.parent.glob("study.journal.damaged-*")))
    assert is_kept == (damage not in (emptied, Path.unlink))


def test_a_study_whose_records_are_damaged_too_goes_on_with_its_intact_part(tmp_path, capsys):
    before, journal = whole(tmp_path)
    garbled(journal)
    (journal.parent / "trials.json").write_text('{"trials": [7]}')
    study = open_study(sweep_plan(trials=4), tmp_path / "swept")
    assert "is damaged in line 10: 1 trial restored" in capsys.readouterr().out
    carry_out(study)
    assert results(study) == before


def test_locks_that_killed_processes_left_are_no_obstacle(tmp_path):
    before, journal = whole(tmp_path)
    for name in (".writing", ".running-001", "study.journal.lock"):
        (journal.parent / name).write_text("12345")
    study = open_study(sweep_plan(trials=5), tmp_path / "swept")
    carry_out(study)
    assert results(study)[:4] == before and len(results(study)) == 5
    assert not list(journal.parent.glob(".*"))


def test_a_database_that_has_lost_the_study_gets_it_back_from_the_records(tmp_path, url, capsys):
    before, _ = whole(tmp_path, url)
    (tmp_path / "study.db").write_bytes(b"")
    study = open_study(sweep_plan(trials=4), tmp_path / "swept", url)
    assert results(study) == before
    assert "lacked the results of 4 trials" in capsys.readouterr().out


def test_a_file_that_is_no_database_is_refused(tmp_path, url):
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Refused) as refused:
        open_study(sweep_plan(), tmp_path / "swept", url)
    (finding,) = refused.value.findings
    assert finding.code == "E409" and "not a database" in finding.message


def test_a_database_of_another_program_keeps_its_tables(tmp_path, url):
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("CREATE TABLE mine (number)")
        connection.execute("INSERT INTO mine VALUES (7)")
    carry_out(open_study(sweep_plan(trials=1), tmp_path / "swept", url))
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("SELECT number FROM mine").fetchall() == [(7,)]


def test_a_database_that_has_lost_a_trial_is_named(tmp_path, url):
    """As one that does not write what it confirms, after a power failure."""
    study = open_study(sweep_plan(trials=2), tmp_path / "only", url)

    def lose() -> None:
        with sqlite3.connect(tmp_path / "study.db") as database:
            database.execute("DELETE FROM trials")

    with pytest.raises(StudyUnreachable, match="has lost records that it had"):
        carry_out(study, lose)
