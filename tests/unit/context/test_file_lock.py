"""The one lock on files: exclusive or shared, nested, and gone with its process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from autotrain_llm.context.file_lock import FileLock, owner_of_lock


def test_one_lock_at_a_time_and_its_file_goes_with_it(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire(wait=False)
    first.write_owner()
    assert not second.acquire(wait=False) and owner_of_lock(tmp_path / "lock") == os.getpid()
    first.release()
    assert not (tmp_path / "lock").exists() and second.acquire(wait=False)
    second.release()


def test_a_lock_that_is_held_may_be_acquired_again_by_its_holder(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with lock:
        with lock:
            pass
        assert owner_of_lock(tmp_path / "lock") == -1
    assert owner_of_lock(tmp_path / "lock") is None


def test_a_shared_lock_ends_with_its_last_holder(tmp_path):
    first, second, alone = (FileLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire()
    first.share()
    assert second.acquire(shared=True, wait=False) and not alone.acquire(wait=False)
    first.release()
    assert (tmp_path / "lock").exists() and not alone.acquire(wait=False)
    second.release()
    assert not (tmp_path / "lock").exists()


def test_who_waits_for_a_lock_gets_the_file_that_is_there_when_it_is_free(tmp_path):
    holder, waiting = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    holder.acquire()
    thread = threading.Thread(target=waiting.acquire)
    thread.start()
    time.sleep(0.1)
    holder.release()
    thread.join(timeout=10)
    assert (tmp_path / "lock").exists() and not FileLock(tmp_path / "lock").acquire(wait=False)
    waiting.release()


def test_a_lock_ends_with_its_process(tmp_path):
    script = "import sys, time; from pathlib import Path; from autotrain_llm.context.file_lock import FileLock\n"
    script += "FileLock(Path(sys.argv[1])).acquire(); print('locked', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    assert owner_of_lock(tmp_path / "lock") == -1
    process.kill()
    process.wait(timeout=10)
    assert owner_of_lock(tmp_path / "lock") is None and FileLock(tmp_path / "lock").acquire(wait=False)


def test_who_looks_whether_a_lock_is_free_does_not_keep_another_from_locking(tmp_path):
    path, ended = tmp_path / "lock", threading.Event()
    path.touch()

    def look() -> None:
        while not ended.is_set():
            owner_of_lock(path)
            time.sleep(0.0005)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            lock = FileLock(path)
            assert lock.acquire(wait=False)
            lock.release()
            path.touch()
    finally:
        ended.set()
        thread.join()
