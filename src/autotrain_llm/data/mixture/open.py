"""`open_mixture`: read each source of a mixture on its own, hold out evaluation rows, and join them. Returns a `MixedDataset` and its findings."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autotrain_llm.data.dataset import Dataset, Progress
from autotrain_llm.data.disk_examples import keys_of, select_rows
from autotrain_llm.data.files.locate import TooManyFiles, files_below, looks_like_a_path
from autotrain_llm.data.files.stream import size_of
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.load.split import rows_to_hold_out
from autotrain_llm.data.mixture.config import NONE, MixtureConfig, SourceConfig
from autotrain_llm.data.mixture.dataset import MixedDataset
from autotrain_llm.data.mixture.hold_out import hold_out_of_sources
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.quality.exact_duplicates import check_overlap
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.mixture import (
    a_source_has_no_rows_to_hold_out,
    in_mixture,
    two_sources_are_of_different_kinds,
)
from autotrain_llm.declare.finding import ERROR, Finding, Refused

KINDS = {"preference": "pairs of answers", "prompt/completion/label": "labelled answers"}


def open_mixture(config: MixtureConfig, request: DataRequest, progress: Progress | None = None) -> MixedDataset:
    """The rows of all sources. `request` has what is the same for all of them; its evaluation rows are those of a mixture that names none.
    Raises Refused with the findings of all sources if any can't be used."""
    plans = _validations(config, request)
    requests = _requests(config, request, plans)
    findings: list[Finding] = []
    sources: list[Dataset] = []
    for source, one in zip(config.sources, requests, strict=True):
        try:
            opened = open_data(one, progress)
            sources.append(opened)
            about = opened.findings
        except Refused as refused:
            about = refused.findings
        findings += [in_mixture(finding, config.file, source.line, source.name) for finding in about]
    if len(sources) < len(config.sources):
        raise Refused(findings)
    observations = Observations()
    _check_kinds(config, sources, observations)
    sources = _held_out(config, sources, plans, request.seed if config.seed is None else config.seed, observations)
    _check_overlaps(sources, observations)
    findings += observations.findings()
    if any(finding.severity == ERROR for finding in findings):
        raise Refused(findings)
    names = [None if plan.is_shared else source.name for source, plan in zip(config.sources, plans, strict=True)]
    return MixedDataset.join(config, sources, names, tuple(findings))


@dataclasses.dataclass(frozen=True)
class _Validation:
    """Where the evaluation rows of a source come from: rows of it that are drawn (`share`), a split, or a path. `is_shared`: the path is
    that of the mixture, and its rows are of no source."""

    text: str = NONE
    share: str | None = None
    split: str | None = None
    path: str | None = None
    is_shared: bool = False


def _validations(config: MixtureConfig, request: DataRequest) -> list[_Validation]:
    """The evaluation rows of each source: its own, those of the whole mixture, or those of the request. A path for the whole mixture is
    read once."""
    common = _validation(config.validation)
    if not config.is_validated:
        common = _Validation(path=request.eval_path) if request.eval_path else _validation(request.valid_split)
    plans = []
    for source in config.sources:
        if source.validation is not None:
            plans.append(_validation(source.validation))
            continue
        plans.append(common if common.path is None else dataclasses.replace(common, is_shared=True))
        if common.path is not None:
            common = _Validation()
    return plans


def _validation(text: str | None) -> _Validation:
    if text is None or text == NONE:
        return _Validation()
    if rows_to_hold_out(text, 1) is not None:
        return _Validation(text, share=text)
    is_path = Path(text).expanduser().exists() or looks_like_a_path(text) or "/" in text
    return _Validation(text, path=text) if is_path else _Validation(text, split=text)


def _requests(config: MixtureConfig, request: DataRequest, plans: Sequence[_Validation]) -> list[DataRequest]:
    sizes = [_size_at(source.path) for source in config.sources]
    return [
        _request(source, request, plan, sum(sizes) - size, config.seed)
        for source, plan, size in zip(config.sources, plans, sizes, strict=True)
    ]


def _request(
    source: SourceConfig, request: DataRequest, plan: _Validation, bytes_beside: int, seed: int | None
) -> DataRequest:
    columns: dict[str, Any] = {
        "text_column": source.text_column,
        "prompt_column": source.prompt_text_column,
        "rejected_column": source.rejected_text_column,
        "reasoning_column": source.reasoning_column,
    }
    return dataclasses.replace(
        request,
        path=source.path,
        train_split=source.split,
        valid_split=plan.split,
        eval_path=plan.path,
        named=tuple(field for field, column in columns.items() if column is not None),
        max_samples=source.max_samples,
        context_columns=source.context_columns,
        # A column that rows are chosen by is used, and not part of them.
        ignored_columns=(*source.ignore_columns, *(column for column, _ in source.where)),
        where=source.where,
        format=source.format,
        bytes_beside=bytes_beside,
        seed=request.seed if seed is None else seed,
        **columns,
    )


def _size_at(path_name: str) -> int:
    """The bytes of a file, or of all files of a folder; 0 for a data set on the Hub."""
    path = Path(path_name).expanduser()
    if path.is_dir():
        with suppress(TooManyFiles, OSError):  # reported when the source is opened
            return sum(size_of(file) for file in files_below(path) if file.is_file())
        return 0
    return size_of(path)


def _check_kinds(config: MixtureConfig, sources: Sequence[Dataset], observations: Observations) -> None:
    """Report the first source whose rows can't be in a batch with those of the first."""
    kinds = [KINDS.get(source.format) for source in sources]
    for source, kind in zip(config.sources, kinds, strict=True):
        if kind != kinds[0]:
            other = config.sources[0].name
            place = {"file": config.file, "line": source.line, "name": source.name}
            observations.add(two_sources_are_of_different_kinds, **place, kind=kind, other=other, other_kind=kinds[0])
            return


def _held_out(
    config: MixtureConfig,
    sources: Sequence[Dataset],
    plans: Sequence[_Validation],
    seed: int,
    observations: Observations,
) -> list[Dataset]:
    """The sources with the evaluation rows that are drawn from them."""
    import numpy

    keys = [keys_of(source.train) for source in sources]
    counts = [
        None if plan.share is None else rows_to_hold_out(plan.share, len(source.train))
        for source, plan in zip(sources, plans, strict=True)
    ]
    divided = []
    for one, source, plan, mask in zip(
        config.sources, sources, plans, hold_out_of_sources(keys, counts, seed), strict=True
    ):
        if plan.share is not None and (mask.all() or not mask.any()):
            place = {"file": config.file, "line": one.line, "name": one.name, "share": plan.share}
            case = "all" if mask.all() else "none"
            observations.add(a_source_has_no_rows_to_hold_out, **place, rows=len(mask), case=case)
        if plan.share is None or mask.all() or not mask.any():
            divided.append(source)
            continue
        digest = hashlib.blake2b(source.fingerprint.encode() + numpy.packbits(mask).tobytes(), digest_size=16)
        divided.append(
            dataclasses.replace(
                source,
                train=select_rows(source.train, numpy.flatnonzero(~mask)),
                valid=select_rows(source.train, numpy.flatnonzero(mask)),
                valid_from=f"validation: {plan.share}",
                fingerprint=digest.hexdigest(),
            )
        )
    return divided


def _check_overlaps(sources: Sequence[Dataset], observations: Observations) -> None:
    """Report named evaluation rows of one source that another is trained on."""
    for source in sources:
        if not source.valid or (source.valid_from or "").startswith("validation: "):
            continue
        for other in sources:
            if other is not source:
                check_overlap(other.train, source.valid, "validation:", observations)
