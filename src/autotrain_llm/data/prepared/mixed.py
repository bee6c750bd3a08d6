"""The rows of a mixture as one data set: those of its first epoch, in their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.disk_examples import ExamplesView
from autotrain_llm.data.example import Example
from autotrain_llm.data.mixture.config import TOKENS
from autotrain_llm.data.mixture.dataset import MixedDataset
from autotrain_llm.data.mixture.mixture import Mixture
from autotrain_llm.data.mixture.prepare import check_epoch, mixture_of
from autotrain_llm.data.observations import Observations, findings_of
from autotrain_llm.data.rules.prepared import weights_by_tokens_need_a_tokenizer
from autotrain_llm.declare.finding import Finding, Refused

if TYPE_CHECKING:
    from numpy import ndarray

    from autotrain_llm.data.tokenize.prepare import Prepared


class OrderedExamples(ExamplesView):
    """Rows in another order, in which a row may come several times or not at all."""

    def __init__(self, rows: Sequence[Example], indices: ndarray) -> None:
        self._rows, self._indices = rows, indices

    def __len__(self) -> int:
        return len(self._indices)

    def example(self, index: int) -> Example:
        return self._rows[int(self._indices[index])]


def mixture_of_rows(dataset: MixedDataset, seed: int) -> tuple[Mixture, tuple[Finding, ...]]:
    """The mixture of rows that are not tokenised, and the findings about its epoch. `seed` is that of a mixture that has none.

    Raises Refused if the weights are shares of tokens.
    """
    config, sources = dataset.config, dataset.sources
    if config.weights_by == TOKENS:
        raise Refused(findings_of(weights_by_tokens_need_a_tokenizer, file=config.file))
    rows, eval_rows = [len(source.train) for source in sources], [len(source.valid) for source in sources]
    mixture = mixture_of(dataset, rows, eval_rows, [0] * len(rows), [source.fingerprint for source in sources], seed)
    observations = Observations()
    check_epoch(config, mixture, observations)
    return mixture, observations.findings()


def first_epoch(dataset: MixedDataset, seed: int, prepared: Prepared | None) -> tuple[Dataset, dict[str, Any]]:
    """The data set whose training rows are those of the mixture's first epoch, and what each source gives to it. `seed` is that of a mixture
    that has none. With `prepared`, the rows as tokens, rows that were dropped are no part of it, as in a run.

    Raises Refused if the weights are shares of tokens and there are none.
    """
    import numpy

    config, rows = dataset.config, [len(source.train) for source in dataset.sources]
    mixture = prepared.mixture if prepared is not None else None
    if mixture is None:
        mixture, _ = mixture_of_rows(dataset, seed)
    if prepared is None or dataset.rows == "documents":  # blocks are of several texts, which are all written
        order = mixture.order(rows)
        indices = order.of_epoch(0)
    else:
        order = mixture.order([len(part) for part in prepared.train.parts])
        indices = prepared.train.source[order.of_epoch(0)]
    sources = [
        {
            "name": one.name,
            "path": one.path,
            "format": source.format,
            "weight": one.weight,
            "rows": len(source.train),
            "rows_written": count,
        }
        for one, source, count in zip(config.sources, dataset.sources, order.counts, strict=True)
    ]
    described = {"file": config.file, "weights_by": config.weights_by, "seed": order.seed, "sources": sources}
    rows_of_epoch = OrderedExamples(dataset.train, numpy.asarray(indices))
    return dataclasses.replace(dataset, train=rows_of_epoch, files=(config.file, *dataset.files)), described
