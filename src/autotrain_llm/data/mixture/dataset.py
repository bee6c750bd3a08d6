"""`MixedDataset`: the rows of several sources, one source after the other, each read on its own."""

from __future__ import annotations

import dataclasses
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.disk_examples import ExamplesView
from autotrain_llm.data.example import Example
from autotrain_llm.data.mixture.config import MixtureConfig
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.text import plural


class JoinedExamples(ExamplesView):
    """The rows of several sequences, one sequence after the other."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self.parts = parts
        self._starts = [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self._starts[-1]

    def example(self, index: int) -> Example:
        part = bisect_right(self._starts, index) - 1
        return self.parts[part][index - self._starts[part]]

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(self.parts)


@dataclass
class MixedDataset(Dataset):
    """The rows of all sources as one data set. `sources` are the data sets that they come from, in the order of `config.sources`.

    `names` are the sources whose evaluation rows have a loss of their own: None for rows of the path `validation`, which are of no source.
    """

    config: MixtureConfig = dataclasses.field(kw_only=True)
    sources: tuple[Dataset, ...] = dataclasses.field(kw_only=True)
    names: tuple[str | None, ...] = dataclasses.field(kw_only=True)

    @classmethod
    def join(
        cls,
        config: MixtureConfig,
        sources: Sequence[Dataset],
        names: Sequence[str | None],
        findings: tuple[Finding, ...] = (),
    ) -> MixedDataset:
        """The rows of these data sets, without a copy of them."""
        digest = hashlib.blake2b("\n".join(source.fingerprint for source in sources).encode(), digest_size=16)
        evaluated = [source.valid_from for source in sources if source.valid]
        return cls(
            format=", ".join(dict.fromkeys(source.format for source in sources)),
            columns={role: column for source in reversed(sources) for role, column in source.columns.items()},
            train=JoinedExamples([source.train for source in sources]),
            valid=JoinedExamples([source.valid for source in sources]),
            findings=findings,
            files=tuple(chain.from_iterable(source.files for source in sources)),
            fingerprint=digest.hexdigest(),
            path=config.file,
            rows=sources[0].rows,
            valid_from=evaluated[0] if evaluated else None,
            eval_path=next((source.eval_path for source in sources if source.eval_path), None),
            cut_short=any(source.cut_short for source in sources),
            unused={column: reason for source in sources for column, reason in source.unused.items()},
            config=config,
            sources=tuple(sources),
            names=tuple(names),
        )

    def map(self, change: Callable[[Dataset], Dataset]) -> MixedDataset:
        """The mixture of the sources after a change to each."""
        return MixedDataset.join(self.config, [change(source) for source in self.sources], self.names, self.findings)

    def describe(self) -> str:
        named = zip(self.config.sources, self.sources, strict=True)
        parts = "; ".join(f"{one.name}: {source.format}, {plural(len(source.train), 'row')}" for one, source in named)
        return f"{self.path}: a mixture of {parts}"
