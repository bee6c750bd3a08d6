"""Both ways between the scores and Hugging Face's library `evaluate`: a metric of the library as a score, and the scores as metrics of it.

The library contains no metrics itself and downloads and runs a script for each. `evaluate.combine([Bleu(), Rouge()])` works offline: nothing is
looked up by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import evaluate
from datasets import Features, Value

from autotrain_llm.config.metric_choice import LIBRARY
from autotrain_llm.context.library_metrics import MetricFault, compute
from autotrain_llm.run.evaluation import bertscore, scores
from autotrain_llm.run.evaluation.scores import Score
from autotrain_llm.run.failures import RunFailed

BATCH = 64


class LibraryScore:
    """A metric of the library. Its state is all pairs of texts: the library has no sums that could be added up over processes.

    `name` is the name that its value is reported under. Of several numbers the one that is called like the metric is its value, else the first;
    the others are reported with their names behind it.
    """

    def __init__(self, name: str, source: str, is_offline: bool) -> None:
        self.name, self.source, self.is_offline = name, source, is_offline
        self.pairs: list[tuple[str, str]] = []

    def result(self) -> dict[str, float]:
        """The scores of all pairs; empty without any. Raises RunFailed."""
        if not self.pairs:
            return {}
        answers, references = map(list, zip(*self.pairs, strict=True))
        try:
            numbers = compute(self.source, self.is_offline, answers, references)
        except MetricFault as fault:
            raise RunFailed(
                f"--eval-metrics {LIBRARY}{self.source} failed: {fault}", "correct it, then --resume"
            ) from fault
        own = next((key for key in numbers if self.name.endswith(key.replace("-", "_"))), next(iter(numbers)))
        return {self.name if key == own else f"{self.name}_{key}": value for key, value in numbers.items()}


class TextMetric(evaluate.Metric):
    """A metric of strings: `predictions` and as many `references`."""

    description = ""

    def __init__(self, make: Callable[[], Score], **settings: Any) -> None:
        self.make = make
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "references": Value("string")})
        return evaluate.MetricInfo(description=self.description, citation="", features=features)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        score = self.make()
        for start in range(0, len(predictions), BATCH):
            score.add(predictions[start : start + BATCH], references[start : start + BATCH])
        return score.result()


class Bleu(TextMetric):
    """sacreBLEU's corpus BLEU."""

    description = "Corpus BLEU with sacreBLEU's defaults, 0 to 100."

    def __init__(self, **settings: Any) -> None:
        super().__init__(scores.Bleu, **settings)


class Chrf(TextMetric):
    """sacreBLEU's corpus chrF2."""

    description = "Corpus chrF2 with sacreBLEU's defaults, 0 to 100."

    def __init__(self, **settings: Any) -> None:
        super().__init__(scores.Chrf, **settings)


class Rouge(TextMetric):
    """rouge-score's F of ROUGE-1, ROUGE-2 and ROUGE-L."""

    description = "The mean F of ROUGE-1, ROUGE-2 and ROUGE-L as rouge-score computes them, 0 to 1."

    def __init__(self, **settings: Any) -> None:
        super().__init__(scores.Rouge, **settings)


class ExactMatch(TextMetric):
    """The fraction of exact matches."""

    description = "The fraction of predictions equal to their reference up to white space, 0 to 1."

    def __init__(self, **settings: Any) -> None:
        super().__init__(scores.ExactMatch, **settings)


class BertScore(TextMetric):
    """BERTScore with the encoder in a folder."""

    description = "BERTScore without idf weights and without rescaling, with an encoder of your choice."

    def __init__(self, model: str, layer: int, **settings: Any) -> None:
        super().__init__(lambda: bertscore.BertScore(model, layer), **settings)
