"""`prepare_mixture`: prepare each source on its own, with a cache of its own, and join the prepared rows without a copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotrain_llm.data.dataset import Progress
from autotrain_llm.data.formats.token_rows import TOKENS as TOKEN_ROWS
from autotrain_llm.data.mixture.config import TOKENS, MixtureConfig
from autotrain_llm.data.mixture.dataset import MixedDataset
from autotrain_llm.data.mixture.mixture import MixedSource, Mixture, passes_of
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rows import join_rows
from autotrain_llm.data.rules.mixture import (
    a_source_gives_no_row,
    a_source_is_repeated,
    in_mixture,
    sources_are_written_in_different_forms,
)
from autotrain_llm.data.tokenize.pipeline import IdleWork
from autotrain_llm.data.tokenize.prepare import Prepared, join_statistics, map_prepared, prepare
from autotrain_llm.data.tokenize.prompt_format import CHAT, MIXED, TEXT
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import ERROR, Finding, Refused

FORMS = {CHAT: "is written by the chat template", TEXT: "is plain text", MIXED: "is partly plain text"}
SLIGHTLY = 1e-9  # what rounding adds to a number of passes


def prepare_mixture(
    dataset: MixedDataset,
    tokenizer: Tokenizer,
    preparation: Preparation,
    seed: int,
    cache: Path | None = None,
    progress: Progress | None = None,
    idle_work: IdleWork | None = None,
) -> Prepared:
    """The rows of all sources as tokens, with the mixture that is made of them. `seed` is that of a mixture that has none.

    Raises Refused with the findings of all sources if any can't be used.
    """
    config, findings = dataset.config, list[Finding]()
    parts = []
    for one, source in zip(config.sources, dataset.sources, strict=True):
        part = prepare(source, tokenizer, preparation, cache, progress, idle_work)
        idle_work = None
        parts.append(part)
        findings += [in_mixture(finding, config.file, one.line, one.name) for finding in part.findings]
    if any(finding.severity == ERROR for finding in findings):
        raise Refused(findings)
    rows, eval_rows, tokens = (
        [part.statistics[key] for part in parts] for key in ("rows", "eval_rows", "total_tokens")
    )
    mixture = mixture_of(dataset, rows, eval_rows, tokens, [part.fingerprint for part in parts], seed)
    observations = Observations()
    check_epoch(config, mixture, observations)
    if not preparation.block:
        _check_forms(dataset, parts, observations)
    findings += observations.findings()
    return _joined(parts, mixture, sizes_of(dataset), findings)


def sizes_of(dataset: MixedDataset) -> list[tuple[int, int]]:
    """How many rows were read of each source, for training and evaluation."""
    return [(len(source.train), len(source.valid)) for source in dataset.sources]


def map_mixture(
    mixture: Mixture,
    sizes: Sequence[tuple[int, int]],
    folders: Sequence[Path],
    tokenizer: Tokenizer,
    chat_template: str | None,
    *,
    is_rendered: bool,
) -> Prepared | None:
    """A mixture that another process has prepared, without reading the files that its rows come from; None if the rows of a source are in none of the
    folders. `sizes` are how many rows were read of each source; `is_rendered` is whether a chat template renders them."""
    parts = []
    for source in mixture.sources:
        part = map_prepared(source.fingerprint, folders, tokenizer, chat_template, is_rendered=is_rendered)
        if part is None:
            return None
        parts.append(part)
    return _joined(parts, mixture, sizes, [])


def _joined(
    parts: Sequence[Prepared], mixture: Mixture, sizes: Sequence[tuple[int, int]], findings: Sequence[Finding]
) -> Prepared:
    train = join_rows([part.train for part in parts], [trained for trained, _ in sizes])
    valid = join_rows([part.valid for part in parts], [evaluated for _, evaluated in sizes])
    return Prepared(
        train,
        valid,
        join_statistics([part.statistics for part in parts], train),
        tuple(dict.fromkeys(findings)),
        _fingerprint(mixture),
        next((part.template for part in parts if part.template is not None), None),
        all(part.from_cache for part in parts),
        tuple(folder for part in parts for folder in part.folders),
        mixture,
    )


def mixture_of(
    dataset: MixedDataset,
    rows: Sequence[int],
    eval_rows: Sequence[int],
    tokens: Sequence[int],
    fingerprints: Sequence[str],
    seed: int,
) -> Mixture:
    """The mixture of sources that have this many rows and tokens. `seed` is that of a mixture that has none."""
    config = dataset.config
    passes = passes_of(config, rows, tokens)
    sources = tuple(
        MixedSource(
            name=one.name,
            path=one.path,
            format=source.format,
            weight=one.weight,
            rows=rows[index],
            eval_rows=eval_rows[index],
            tokens=tokens[index],
            passes=passes[index],
            has_own_loss=dataset.names[index] is not None,
            fingerprint=fingerprints[index],
            samples=one.max_samples,
        )
        for index, (one, source) in enumerate(zip(config.sources, dataset.sources, strict=True))
    )
    return Mixture(sources, config.weights_by, seed if config.seed is None else config.seed)


def _fingerprint(mixture: Mixture) -> str:
    """A hash of what is trained on in which order; the names of sources are no part of it."""
    sources = [[source.fingerprint, source.passes, source.has_own_loss] for source in mixture.sources]
    return hashlib.blake2b(json.dumps([mixture.seed, sources]).encode(), digest_size=16).hexdigest()


def check_epoch(config: MixtureConfig, mixture: Mixture, observations: Observations) -> None:
    """Report sources of which no row is used, and those that are repeated."""
    counts = mixture.counts([source.rows for source in mixture.sources])
    unit = "token" if config.weights_by == TOKENS else "row"
    for one, source, count in zip(config.sources, mixture.sources, counts, strict=True):
        place: dict[str, Any] = {"file": config.file, "line": one.line, "name": one.name}
        if count == 0:
            share = mixture.share_of_tokens(source) if config.weights_by == TOKENS else mixture.share_of_rows(source)
            total = config.total or sum(counts)
            observations.add(a_source_gives_no_row, **place, share=share, unit=unit, size=total)
        elif source.passes > 1 + SLIGHTLY:
            observations.add(a_source_is_repeated, **place, passes=source.passes, rows=source.rows, drawn=count)


def _check_forms(dataset: MixedDataset, parts: Sequence[Prepared], observations: Observations) -> None:
    """Report the first source that is written in another form than the first. Rows that are tokens have no form that is known."""
    forms = [
        (one, part.prompt_format.rows)
        for one, source, part in zip(dataset.config.sources, dataset.sources, parts, strict=True)
        if source.format != TOKEN_ROWS
    ]
    for one, form in forms:
        other, other_form = forms[0]
        if form != other_form:
            place: dict[str, Any] = {"file": dataset.path, "line": one.line, "name": one.name, "form": FORMS[form]}
            facts = {"other": other.name, "other_form": FORMS[other_form]}
            observations.add(sources_are_written_in_different_forms, **place, **facts)
            return
