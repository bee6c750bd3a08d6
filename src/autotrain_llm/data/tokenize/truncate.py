"""`EncodeBatch`: some examples of the training or the evaluation split, converted to rows of ids within the length limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autotrain_llm.data.example import Example
from autotrain_llm.data.rows import PairRows, Rows, RowsBuilder
from autotrain_llm.data.rules.preferences import both_answers_are_the_same_tokens
from autotrain_llm.data.rules.tokens import a_row_is_truncated, no_trained_tokens_are_left_after_truncation
from autotrain_llm.data.tokenize.encode import Encoded, encoded_rows
from autotrain_llm.data.tokenize.render import RenderedRow, RowRenderer, RowSkipped
from autotrain_llm.data.tokenizer.offsets import TokenBatch
from autotrain_llm.data.wording import parameter_of

Span = tuple[int, int]


@dataclass
class EncodedRows:
    """The rows of some examples, with their statistics. `lengths` are those before truncation, of the examples with the indices `places`.
    Of the `whole` rows, which were not truncated, `ending` are trained on a token that ends an answer."""

    rows: Rows = field(init=False)
    lengths: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    truncated: int = 0
    dropped: int = 0
    whole: int = 0
    ending: int = 0


@dataclass
class EncodeBatch:
    """Examples that are converted to `EncodedRows`; `start` is the index of the first."""

    renderer: RowRenderer
    examples: Sequence[Example]
    start: int = 0
    encoded: EncodedRows = field(default_factory=EncodedRows)

    def __post_init__(self) -> None:
        self.preparation, self.observations = self.renderer.preparation, self.renderer.observations

    def render(self) -> list[tuple[int, list[RenderedRow]]]:
        """The text of each example that is not left out, with its index in the batch."""
        rendered = []
        for at, example in enumerate(self.examples):
            try:
                rendered.append((at, self.renderer.make(example)))
            except RowSkipped:
                self.encoded.dropped += 1
        return rendered

    def finish(self, rendered: list[tuple[int, list[RenderedRow]]], tokens: TokenBatch) -> EncodedRows:
        """Truncate the tokenised rows, and collect them with their statistics."""
        encoded = encoded_rows(rendered, tokens)
        self.encoded.rows = self._pairs(encoded) if self.renderer.pairs else self._rows(encoded)
        return self.encoded

    def _rows(self, encoded: Iterable[tuple[int, list[Encoded]]]) -> Rows:
        builder = RowsBuilder()
        for at, (row,) in encoded:
            example, source = self.examples[at], self.start + at
            self.encoded.lengths.append(len(row.ids))
            self.encoded.places.append(source)
            if self.preparation.block:
                self._count_end(row.ids, row.spans)
                builder.add(row.ids, row.spans, source)
                continue
            ids, spans = self._truncate(example, row)
            # The first token of a row has nothing before it to be predicted from.
            if not self.renderer.prompts_only and not any(end > max(start, 1) for start, end in spans):
                self._drop(example, len(row.ids))
                continue
            if len(ids) == len(row.ids):
                self._count_end(ids, spans)
            builder.add(ids, spans, source, example.label, self.renderer.grade(example))
        return builder.built()

    def _pairs(self, encoded: Iterable[tuple[int, list[Encoded]]]) -> PairRows:
        prompts, chosen, rejected = RowsBuilder(), RowsBuilder(), RowsBuilder()
        for at, (better, worse) in encoded:
            example, source = self.examples[at], self.start + at
            whole = max(len(better.ids), len(worse.ids))
            self.encoded.lengths.append(whole)
            self.encoded.places.append(source)
            shared = _shared_prompt(better, worse)
            longest = whole - shared
            prompt, most = self._truncate_prompt(better.ids[:shared], longest)
            answers = [self._truncate_answer(row, shared, most) for row in (better, worse)]
            if len(prompt) < shared or longest > most:
                self.encoded.truncated += 1
                self._observe_sides(example, shared, longest)
            if answers[0][0] == answers[1][0]:
                self._observe_same(example, len(answers[0][0]), longest, len(prompt))
            if not all(spans for _, spans in answers):
                self._drop(example, whole)
                continue
            if len(prompt) == shared and longest <= most:
                self._count_end(*answers[0])
            prompts.add(prompt, [], source)
            chosen.add(*answers[0], source)
            rejected.add(*answers[1], source)
        return PairRows(prompts.built(), chosen.built(), rejected.built())

    def _count_end(self, ids: list[int], spans: list[Span]) -> None:
        """Whether a row that was not truncated is trained on a token that ends an answer; it mostly is the last of a span."""
        ends = self.renderer.ends
        self.encoded.whole += 1
        self.encoded.ending += any(ids[end - 1] in ends for _, end in spans) or any(
            token in ends for start, end in spans for token in ids[start:end]
        )

    # -- limits ---------------------------------------------------------------------------------------------------------

    def _truncate(self, example: Example, row: Encoded) -> tuple[list[int], list[Span]]:
        """A row within the limit: a text keeps its start, a prompt its end."""
        preparation, renderer = self.preparation, self.renderer
        if renderer.labelled:  # a prompt and its answer, each within its own limit
            start = row.spans[0][0] if row.spans else len(row.ids)
            answer = len(row.ids) - start
            prompt, most = self._truncate_prompt(row.ids[:start], answer)
            if len(prompt) < start or answer > most:
                self.encoded.truncated += 1
                self._observe_sides(example, start, answer)
            moved = [(first + len(prompt), last + len(prompt)) for first, last in _clipped(row.spans, start, most)]
            return prompt + row.ids[start:][:most], moved
        limit = preparation.max_length
        if renderer.prompts_only:
            limit = min(limit, preparation.max_prompt_length or limit)
        if len(row.ids) <= limit:
            return row.ids, row.spans
        self.encoded.truncated += 1
        self._observe_truncated(example, len(row.ids))
        if renderer.prompts_only:
            return _keep_end(row.ids, limit, renderer.tokenizer.bos_id), []
        return row.ids[:limit], _clipped(row.spans, 0, limit)

    def _truncate_answer(self, row: Encoded, start: int, most: int) -> tuple[list[int], list[Span]]:
        """At most so many tokens after a prompt; the special tokens that a tokenizer closes every text with stay."""
        ids, closing = row.ids[start:], self.renderer.special_tokens[1]
        if len(ids) > most > len(closing):
            ids = [*ids[: most - len(closing)], *closing]
        return ids[:most], _clipped(row.spans, start, most)

    def _truncate_prompt(self, prompt: list[int], answer: int) -> tuple[list[int], int]:
        """A prompt that keeps its end (and the special token before it), and how many tokens that leaves for an answer.

        Without `max_prompt_length` a prompt gives way to the longer answer of its pair, down to half of the whole limit.
        """
        preparation = self.preparation
        answer = min(answer, preparation.max_completion_length or answer)
        limit = preparation.max_prompt_length
        if limit is None:
            limit = max(preparation.max_length - answer, preparation.max_length // 2)
        if len(prompt) > limit:
            bos = next(iter(self.renderer.special_tokens[0]), self.renderer.tokenizer.bos_id)
            prompt = _keep_end(prompt, limit, bos)
        remaining = max(preparation.max_length - len(prompt), 0)
        return prompt, min(remaining, preparation.max_completion_length or remaining)

    # -- what was seen --------------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> dict[str, str | int | None]:
        """The parameter of the whole limit, the limit, and the highest that is possible."""
        preparation = self.preparation
        return {
            "parameter": parameter_of(preparation.length_flag),
            "limit": preparation.max_length,
            "context": preparation.context,
        }

    def _observe_truncated(self, example: Example, length: int) -> None:
        """Report truncation, if the limit was given."""
        preparation = self.preparation
        if preparation.length_given or preparation.packing or example.input_ids is not None:
            facts = {"end": "start" if self.renderer.prompts_only else "end", "packing": preparation.packing}
            self.observations.row(a_row_is_truncated, example, "whole", length=length, **facts, **self._limit)

    def _observe_sides(self, example: Example, prompt: int, answer: int) -> None:
        """Which limit truncated a prompt, an answer or both together, where it was given."""
        preparation = self.preparation
        sides = (
            ("max_prompt_length", "prompt", prompt, preparation.max_prompt_length, "start"),
            ("max_completion_length", "longer answer", answer, preparation.max_completion_length, "end"),
        )
        exceeded = False
        for parameter, side, length, limit, end in sides:
            if parameter in preparation.sides_given and limit is not None and length > limit:
                exceeded = True
                facts = {"parameter": parameter, "limit": limit, "length": length, "side": side, "end": end}
                facts["context"] = preparation.context
                self.observations.row(a_row_is_truncated, example, parameter, **facts)
        if not exceeded and prompt + answer > preparation.max_length:
            self._observe_truncated(example, prompt + answer)

    def _observe_same(self, example: Example, left: int, longest: int, prompt: int) -> None:
        """The two answers of a pair are the same tokens, most often because they were truncated before they differ."""
        rule, most = both_answers_are_the_same_tokens, self.preparation.max_completion_length
        if longest <= left:
            self.observations.row(rule, example, "same tokens", parameter=self._limit["parameter"])
        elif most is not None and left == most:
            facts = {
                "parameter": "max_completion_length",
                "limit": most,
                "enough": longest,
                "context": self.preparation.context,
            }
            self.observations.row(rule, example, "truncated", **facts)
        else:
            self.observations.row(rule, example, "truncated", enough=prompt + longest, **self._limit)

    def _drop(self, example: Example, length: int) -> None:
        case = "no token" if length <= self.preparation.max_length else "nothing left"
        self.observations.row(no_trained_tokens_are_left_after_truncation, example, case, length=length, **self._limit)
        self.encoded.dropped += 1


def _clipped(spans: list[Span], start: int, length: int) -> list[Span]:
    """Spans counted from `start`, and no longer than `length` reaches."""
    moved = [(max(first - start, 0), min(last - start, length)) for first, last in spans]
    return [(first, last) for first, last in moved if last > first]


def _shared_prompt(better: Encoded, worse: Encoded) -> int:
    """The number of tokens that both rows of a pair begin with, before the first that is trained on."""
    most = min(row.spans[0][0] if row.spans else len(row.ids) for row in (better, worse))
    return next((at for at in range(most) if better.ids[at] != worse.ids[at]), most)


def _keep_end(prompt: list[int], limit: int, bos: int | None) -> list[int]:
    if bos is not None and prompt[0] == bos and limit > 1:
        return [bos, *prompt[len(prompt) - limit + 1 :]]
    return prompt[len(prompt) - limit :]
