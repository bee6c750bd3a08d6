"""Let the disk of a run, a sweep or a pipeline of stages fail in the middle, mend it, and go on.

    python -m fuzz.disks [--cases 20] [--seed 1] [--kind run|sweep|stages]      (with tests/ on the path; needs fusepy and libfuse 2, and the right to mount)

The output folder lies in a filesystem that hands everything on to a folder, until an operation that writes, drawn at random: from there on, or this once, all of a kind
fail with ENOSPC, EDQUOT, EIO or EROFS. The command has to end as if nothing had happened, or with status 1 and a message that names a file or folder there and says what
to do. Once the disk is in order it is carried on, and has to end with the weights of an undisturbed run. The exit status is 1 if a case did not.
"""

# A filesystem is made of the calls of the system.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH115, PTH208, PTH211
from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuse import FUSE, FuseOSError, Operations

from autotrain_llm.context.output_dir import status_of
from fuzz.kills import TRAINING, Case, Command, command_at, commands, results_of
from support.rows import write_rows
from support.stages import TEXTS

ALLOCATES = ("create", "write", "mkdir", "symlink")
CHANGES = (*ALLOCATES, "truncate", "rename", "unlink", "rmdir", "chmod", "utimens")
FAULTS = {
    errno.ENOSPC: ALLOCATES,
    errno.EDQUOT: ALLOCATES,
    errno.EIO: ("write", "fsync", "flush", "rename"),
    errno.EROFS: CHANGES,
}


class Switch:
    """What the filesystem is to fail with, in memory that two processes share."""

    def __init__(self) -> None:
        self.operations = multiprocessing.Value("i", 0)  # that write, so far
        self.first = multiprocessing.Value("i", -1)  # the one that fails; -1: none
        self.number = multiprocessing.Value("i", 0)  # of the error
        self.once = multiprocessing.Value("i", 0)

    def set(self, first: int, number: int = 0, once: bool = False) -> None:
        self.operations.value, self.number.value, self.once.value = 0, number, int(once)
        self.first.value = first

    def count(self, operation: str) -> None:
        """Raise the error if this operation is to fail."""
        failing = FAULTS.get(self.number.value, CHANGES)
        if operation not in failing:
            return
        self.operations.value += 1
        done, first = self.operations.value, self.first.value
        if first >= 0 and done > first:
            if self.once.value:
                self.first.value = -1
            raise FuseOSError(self.number.value)


class Failing(Operations):
    """A folder, as a filesystem that fails when it is told to."""

    def __init__(self, folder: Path, switch: Switch) -> None:
        self.folder, self.switch = folder, switch
        self.written: set[int] = set()  # descriptors of files that were written to: closing others can't fail

    def __call__(self, operation: str, path: str, *args: Any) -> Any:
        if operation != "flush" or args[0] in self.written:
            self.switch.count(operation)
        return super().__call__(operation, str(self.folder) + path, *args)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(path)
        names = ("st_mode", "st_nlink", "st_size", "st_ino", "st_uid", "st_gid", "st_atime", "st_mtime", "st_ctime")
        return {name: getattr(status, name) for name in names}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(path)]

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(path)
        return {name: getattr(status, name) for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail")}

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags & ~os.O_APPEND)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self.written.add(fh)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(path, length)

    def release(self, path: str, fh: int) -> None:
        self.written.discard(fh)
        os.close(fh)

    def flush(self, path: str, fh: int) -> None:
        pass

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        pass

    def access(self, path: str, mode: int) -> None:
        if not os.access(path, mode):
            raise FuseOSError(errno.EACCES)

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        os.utime(path, times)

    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, target)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, str(self.folder) + new)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)


def mounted(folder: Path, switch: Switch) -> tuple[Path, multiprocessing.Process]:
    """Mount the filesystem, in a process of its own."""
    place, content = folder / "disk", folder / "content"
    place.mkdir()
    content.mkdir()

    def serve() -> None:
        FUSE(Failing(content, switch), str(place), foreground=True, nothreads=True, raw_fi=False)

    process = multiprocessing.get_context("fork").Process(target=serve, daemon=True)
    process.start()
    while not place.is_mount():
        assert process.is_alive(), "the filesystem can't be mounted"
        time.sleep(0.02)
    return place, process


def check_failure(case: Case, status: int, text: str) -> None:
    """A command on a disk that fails has to say so."""
    if "Traceback" in text or "R102" in text:
        case.faults.append("an unforeseen error")
    if status not in (0, 1, 2):
        case.faults.append(f"status {status}")
    if status == 1 and str(case.output.parent) not in text.replace("\n", ""):
        case.faults.append("no file or folder is named")
    for path in case.output.rglob("run.json"):
        if status_of(path.parent) == "running":
            case.faults.append(f"{path.relative_to(case.output)} says running")


def main() -> int:
    options = _options()
    os.environ |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    os.environ["COLUMNS"] = "500"  # no path in two lines
    tried: Counter[str] = Counter()
    faulty, undisturbed = 0, dict[str, tuple[dict[str, Any], int]]()
    switch = Switch()
    with tempfile.TemporaryDirectory(prefix="autotrain-disks-") as temporary:
        folder = Path(temporary)
        write_rows(folder / "texts.jsonl", TEXTS)
        base = ["llm", "--trainer", "generic", "--model", "scratch:100k", "--data-path", "texts.jsonl", *TRAINING]
        assert Case(Command("run", "base", base), folder, folder / "base").run().status == 0
        place, server = mounted(folder, switch)
        try:
            kinds = list(commands(options.kind, folder))
            for index in range(options.first, options.first + options.cases):
                draw = random.Random(f"{options.seed}/{index}")
                command = command_at(index, kinds)
                if command.name not in undisturbed:
                    case = Case(command, folder, place / "undisturbed")
                    switch.set(-1)
                    assert case.run().status == 0, case.log.read_text()[-3000:]
                    undisturbed[command.name] = results_of(case.output), switch.operations.value
                    shutil.rmtree(case.output)
                expected, operations = undisturbed[command.name]
                case = Case(command, folder, place / f"case-{index}")
                case.log = folder / f"case-{index}.log"
                number, once = draw.choice(list(FAULTS)), draw.random() < 0.3
                first = draw.randrange(operations)
                switch.set(first, number, once)
                attempt = case.run()
                failed = switch.operations.value > first
                switch.set(-1)
                text = case.log.read_text(encoding="utf-8", errors="replace")
                check_failure(case, attempt.status, text)
                case.check_end(attempt if attempt.status == 0 else case.resume(), expected)
                tried[command.kind] += failed
                name = f"{errno.errorcode[number]}{' once' if once else ''} at {first} of {operations}"
                case.report(f"{name}: status {attempt.status}: {'; '.join(case.faults) or 'in order'}", options.keep)
                faulty += bool(case.faults)
        finally:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["fusermount", "-u", "-z", str(place)], check=True)
            server.join(5)
    print(f"disks that failed: {dict(tried)}: {faulty} cases with faults")
    return 1 if faulty else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the index of the first case")
    parser.add_argument("--seed", default="1", help="the same seed draws the same moments")
    parser.add_argument("--kind", choices=("run", "sweep", "stages"))
    parser.add_argument("--keep", type=Path, help="a folder for the output folders of cases with faults")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
