"""Output that can't be written: it ends no command, and turns no failure into success."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotrain_llm.cli.streams import SurvivingFile, surviving

AUTOTRAIN = f"{sys.executable} -m autotrain_llm"
REFUSED = f"{AUTOTRAIN} llm --trainer ppo"
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)


@needs_full_device
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{AUTOTRAIN} llm --help >/dev/full", 1),
        (f"{REFUSED} --format json >/dev/full", 2),
        (f"{REFUSED} --format sarif >/dev/full", 2),
        (f"{REFUSED} 2>/dev/full", 2),
    ],
)
def test_a_full_disk_under_the_output_is_told_and_never_a_success(line, status):
    done = shell(line)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    if "2>" not in line:
        assert "standard output could not be written in full: No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{AUTOTRAIN} llm --help >&-", 0),
        (f"{REFUSED} --format json >&-", 2),
        (f"{REFUSED} 2>&-", 2),
        (f"{REFUSED} <&- >&- 2>&-", 2),
        (f"{REFUSED} 2>&1 | true; exit ${{PIPESTATUS[0]}}", 2),
        (f"{AUTOTRAIN} llm --help | true; exit ${{PIPESTATUS[0]}}", 0),
    ],
)
def test_closed_streams_and_readers_that_left_change_no_exit_status(line, status):
    done = shell(line)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)


def test_a_closed_stream_gives_its_number_to_no_file():
    program = "from autotrain_llm.cli import streams; streams.install(); print(open('/dev/zero').fileno() > 2, file=open('{}', 'w'))"
    result = Path(os.environ.get("TMPDIR", "/tmp")) / f"descriptor-{os.getpid()}"
    try:
        assert shell(f'{sys.executable} -c "{program.format(result)}" >&- 2>&-').returncode == 0
        assert result.read_text() == "True\n"
    finally:
        result.unlink(missing_ok=True)


def test_all_of_a_long_text_is_written_to_a_pipe_that_does_not_block():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = "x" * 300_000
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(len(sys.stdin.read()))"], stdin=reading, stdout=-1
    )
    os.close(reading)
    file = SurvivingFile(writing, "w", closefd=False)
    assert file.write(text.encode()) == len(text)
    os.close(writing)
    assert child.communicate(timeout=60)[0] == b"300000\n"
    assert file.failure is None


def test_after_a_failure_nothing_is_written_and_nothing_raises():
    reading, writing = os.pipe()
    stream = surviving(writing)
    os.close(reading)
    print("lost", file=stream, flush=True)
    print("lost too", file=stream, flush=True)
    assert isinstance(stream.buffer.raw.failure, BrokenPipeError)
    os.close(writing)
