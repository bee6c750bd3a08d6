"""`BufferPreparer`: rows as tokens, some at a time, as `prepare` makes them of the first rows of a stream."""

from __future__ import annotations

from collections.abc import Sequence

from autotrain_llm.data.chat.template import find_template
from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations, refuse_errors
from autotrain_llm.data.rows import Rows
from autotrain_llm.data.tokenize.collect import Collector, in_blocks
from autotrain_llm.data.tokenize.pipeline import collect
from autotrain_llm.data.tokenize.render import RowRenderer
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding


class BufferPreparer:
    """Prepares rows of the data set of which `first_rows` were checked. Rows without trained tokens are left out, which is noticed."""

    def __init__(self, first_rows: Dataset, tokenizer: Tokenizer, preparation: Preparation) -> None:
        self._observations, self._unobserved, self._preparation = Observations(), Observations(), preparation
        template = find_template(preparation.chat_template, tokenizer, Observations(), tries=False)
        self._renderers = [
            RowRenderer(first_rows, tokenizer, preparation, template, observations)
            for observations in (self._observations, self._unobserved)
        ]
        self.left_out = 0

    def rows(self, examples: Sequence[Example], passes: int) -> Rows:
        """The rows of some examples after so many passes through all; what is noticed of them is noticed in the first. Documents are joined and cut among
        themselves, so that the last block may be shorter. Raises Refused for what is wrong with a row."""
        renderer = self._renderers[min(passes, 1)]
        collected = collect(renderer, examples, Collector(None, "train"), None)
        refuse_errors(renderer.observations)
        self.left_out += collected.dropped
        return in_blocks(collected.rows(), self._preparation)

    def findings(self) -> tuple[Finding, ...]:
        """What was noticed of the rows so far."""
        return self._observations.findings()
