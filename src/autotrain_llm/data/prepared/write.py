"""Write prepared rows: into a temporary folder beside the target, which is renamed when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autotrain_llm.data.example import Example
from autotrain_llm.data.prepared.info import SourceInfo, SplitInfo
from autotrain_llm.data.prepared.rows import ExtraColumns, Shape, in_shape, line_of, row_of
from autotrain_llm.declare.digests import digest
from autotrain_llm.declare.umask import permitted


@contextmanager
def complete_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` at the end, unless an exception leaves it; then nothing of it stays. Raises OSError if `target`
    is there and not empty, or can't be written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(permitted(0o777))
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_rows(
    path: Path, examples: Iterable[Example], shape: Shape, extra: ExtraColumns, labels: Sequence[str] = ()
) -> SplitInfo:
    """Write a file of JSON Lines, a row at a time. `labels` are the names of the scores of a row."""
    rows = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for example in examples:
            file.write(line_of(row_of(in_shape(example, shape), extra, labels)) + "\n")
            rows += 1
    return SplitInfo(path.name, rows, path.stat().st_size, digest(path))


def source_infos(files: Sequence[str]) -> tuple[SourceInfo, ...]:
    """The files that rows were read from, each once, with sizes and digests."""
    return tuple(_source_info(name) for name in dict.fromkeys(files))


def _source_info(name: str) -> SourceInfo:
    path = Path(name).expanduser()
    if not path.is_file():  # a split of a data set on the Hub
        return SourceInfo(name)
    return SourceInfo(str(path.resolve()), path.stat().st_size, digest(path))
