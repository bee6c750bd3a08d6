"""Corpus scores of generated answers, computed from running sums: memory does not grow with the number of rows.

A score has one vector of `sums`, which is summed over processes, and computes the corpus scores from it. BLEU and the n-grams of chrF are
sacreBLEU's, ROUGE is rouge-score's; tests compare them with direct calls of these libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.helpers import extract_all_char_ngrams
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp


class Score(Protocol):
    """Compares answers with references, (rows,) each. `sums` (float64) is the whole state."""

    sums: np.ndarray

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        """Add rows; returns the scores of each."""
        ...

    def result(self) -> dict[str, float]:
        """The scores of all added rows, by metric name; empty without rows."""
        ...


class Bleu:
    """Corpus BLEU (Papineni et al. 2002) with sacreBLEU's defaults: 13a tokens, exponential smoothing, mixed case; 0 to 100.

    Signature: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp. A row's own score is sacreBLEU's sentence score, with effective order.
    """

    ORDER = 4

    def __init__(self) -> None:
        self.sentences = BLEU(effective_order=True)
        self.sums = np.zeros(2 * self.ORDER + 2)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        rows = [{"bleu": self._add(*pair)} for pair in zip(answers, references, strict=True)]
        for tokenizer in (Tokenizer13a, TokenizerRegexp):  # each caches the last 65536 texts
            tokenizer.__call__.cache_clear()
        return rows

    def _add(self, answer: str, reference: str) -> float:
        score = self.sentences.sentence_score(answer, [reference])
        self.sums += [*score.counts, *score.totals, score.sys_len, score.ref_len]
        return float(score.score)

    def result(self) -> dict[str, float]:
        counts, totals = self.sums[: self.ORDER], self.sums[self.ORDER : 2 * self.ORDER]
        answer_length, reference_length = (int(length) for length in self.sums[-2:])
        score = BLEU.compute_bleu(
            [int(count) for count in counts], [int(total) for total in totals], answer_length, reference_length
        )
        return {"bleu": float(score.score)}


class Chrf:
    """Corpus chrF2 (Popović 2015): character n-grams of orders 1 to 6 without white space, recall weighted twice; 0 to 100.

    Signature: nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no. The n-grams are sacreBLEU's; the F-score is
    reimplemented, because sacreBLEU does not expose its counts.
    """

    ORDER, BETA = 6, 2

    def __init__(self) -> None:
        self.sums = np.zeros(3 * self.ORDER)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        return [{"chrf": self._add(*pair)} for pair in zip(answers, references, strict=True)]

    def _add(self, answer: str, reference: str) -> float:
        counts = np.array(self._counts(answer, reference), dtype=float)
        self.sums += counts
        return self._score(counts)

    def _counts(self, answer: str, reference: str) -> list[int]:
        """For each order: n-grams in the answer (0 if the reference has none), in the reference, in both."""
        ngrams = (extract_all_char_ngrams(text, self.ORDER) for text in (answer, reference))
        counts = []
        for in_answer, in_reference in zip(*ngrams, strict=True):
            matches = sum(
                min(count, in_reference[ngram]) for ngram, count in in_answer.items() if ngram in in_reference
            )
            counts += [sum(in_answer.values()) if in_reference else 0, sum(in_reference.values()), matches]
        return counts

    def _score(self, counts: np.ndarray) -> float:
        """F of the mean precision and the mean recall over the orders that both texts have."""
        in_answer, in_reference, matches = counts.reshape(self.ORDER, 3).T
        orders = (in_answer > 0) & (in_reference > 0)
        if not matches.any():
            return 0.0
        precision = (matches[orders] / in_answer[orders]).mean()
        recall = (matches[orders] / in_reference[orders]).mean()
        weight = self.BETA**2
        return float(100 * (1 + weight) * precision * recall / (weight * precision + recall))

    def result(self) -> dict[str, float]:
        return {"chrf": self._score(self.sums)}


class Rouge:
    """The mean F of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) as rouge-score computes them, without stemming; 0 to 1.

    rouge-score compares runs of Latin letters and digits: a text in another script counts as empty.
    """

    KINDS = ("rouge1", "rouge2", "rougeL")

    def __init__(self) -> None:
        self.scorer = RougeScorer(list(self.KINDS), use_stemmer=False)
        self.sums = np.zeros(len(self.KINDS) + 1)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        return [self._add(*pair) for pair in zip(answers, references, strict=True)]

    def _add(self, answer: str, reference: str) -> dict[str, float]:
        scores = self.scorer.score(reference, answer)
        row = {kind: float(scores[kind].fmeasure) for kind in self.KINDS}
        self.sums += [*row.values(), 1]
        return row

    def result(self) -> dict[str, float]:
        return means(self.KINDS, self.sums)


class ExactMatch:
    """The fraction of answers equal to their reference after collapsing and stripping white space; 0 to 1."""

    def __init__(self) -> None:
        self.sums = np.zeros(2)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        pairs = zip(answers, references, strict=True)
        rows = [float(answer.split() == reference.split()) for answer, reference in pairs]
        self.sums += [sum(rows), len(rows)]
        return [{"exact_match": row} for row in rows]

    def result(self) -> dict[str, float]:
        return means(("exact_match",), self.sums)


def means(names: Sequence[str], sums: np.ndarray) -> dict[str, float]:
    """Each sum divided by the count, which comes last; empty without rows."""
    return {name: float(value / sums[-1]) for name, value in zip(names, sums, strict=False)} if sums[-1] else {}
