"""Rows of a data set on the Hub, through the `datasets` library, which is loaded here and nowhere else outside `run/`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.files.read import RawRow, Row, Stream, Table, without_nulls
from autotrain_llm.data.files.stream import LARGE
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.files import a_data_set_can_not_be_loaded_from_the_hub

SHUFFLED = 1000  # rows


def load_splits(
    hub_id: str, request: DataRequest, observations: Observations, flag: str, *, streamed: bool = False
) -> dict[str, Any]:
    """The splits of a data set on the Hub by name; empty, with a finding, if it can't be loaded. `owner/name:config` selects a config.

    `streamed` splits are downloaded while their rows are iterated over, no more than is read. Without the network, what was downloaded before is
    iterated over for a run that streams, and read as usual for any other.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    name, _, config = hub_id.partition(":")
    library = importlib.import_module("datasets")
    library.disable_progress_bars()
    try:
        if not request.offline:
            # Asks once: load_dataset itself would try for half a minute before it says that there is no network.
            importlib.import_module("huggingface_hub").HfApi().dataset_info(
                name, revision=request.revision, token=request.token, timeout=10
            )
        loaded = library.load_dataset(
            name,
            config or None,
            revision=request.revision,
            cache_dir=request.cache_dir,
            token=request.token,
            **({"streaming": True} if streamed and not request.offline else {}),
        )
    except Exception as problem:  # the library lets errors of a dozen packages through: network, access, format, config
        observe_fault(problem, hub_id, request, observations, flag)
        return {}
    splits = dict(loaded) if hasattr(loaded, "keys") else {"train": loaded}
    if request.streaming:
        return {name: rows if is_streamed(rows) else rows.to_iterable_dataset() for name, rows in splits.items()}
    return splits


def observe_fault(problem: Exception, name: str, request: DataRequest, observations: Observations, flag: str) -> None:
    """Report why the rows of a data set can't be read."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    first_line = f"{type(problem).__name__}: {lines[0][:300]}" if lines else type(problem).__name__
    observations.add(
        a_data_set_can_not_be_loaded_from_the_hub,
        flag=flag,
        name=name,
        problem=first_line,
        needs_access="gated" in str(problem) or "401" in str(problem),
        offline=request.offline,
    )


def is_streamed(rows: Any) -> bool:
    """Whether the rows of a split are downloaded while they are iterated over."""
    return not hasattr(rows, "__len__")


def shuffled(rows: Any, seed: int) -> Any:
    """A streamed split whose files are in a seeded order, and its rows in that of a buffer of SHUFFLED: so many more are downloaded than are used."""
    return rows.shuffle(seed=seed, buffer_size=SHUFFLED)


def rows_of_process(rows: Any, process: int, processes: int) -> Any:
    """The rows of a streamed split that one of several processes has: whole files of it if they can be divided, else each row by its number."""
    return importlib.import_module("datasets.distributed").split_dataset_by_node(rows, process, processes)


def streamed_table(
    rows: Any, name: str, most: int | None, keep: RowFilter | None, observe_fault: Callable[[Exception], None]
) -> Table:
    """The rows of a streamed split that `keep` passes, the first `most` of them. `observe_fault` is called if they can't be read to the end."""

    def all_rows() -> Iterator[RawRow]:
        try:
            for row_number, row in enumerate(rows, 1):
                yield row_number, None, without_nulls_inside(row)
        except Exception as problem:  # what load_dataset raises, in the middle of a download
            observe_fault(problem)

    passing = all_rows() if keep is None else keep(all_rows())
    return Table(name, Stream(passing if most is None else islice(passing, most)))


def table_of(rows: Any, name: str, most: int | None, keep: RowFilter | None = None, bytes_beside: int = 0) -> Table:
    """The rows of a split that `keep` passes, the first `most` of them."""
    all_rows: Iterator[RawRow] = (
        (row_number, None, without_nulls_inside(row)) for row_number, row in enumerate(rows, 1)
    )
    passing = all_rows if keep is None else keep(all_rows)
    if most is None and rows.data.nbytes + bytes_beside > LARGE:  # it is mapped by `datasets`
        return Table(name, Stream(passing))
    return Table(name, list(islice(passing, most)))


def without_nulls_inside(row: Row) -> Row:
    """A row whose lists and objects lack the keys that Arrow added because another row has them."""
    return {name: without_nulls(value) if isinstance(value, list | dict) else value for name, value in row.items()}


def fingerprint_of(rows: Any) -> bytes:
    """The fingerprint that `datasets` gives the content."""
    return str(rows._fingerprint if hasattr(rows, "_fingerprint") else len(rows)).encode()
