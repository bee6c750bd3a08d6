"""`EncodeBatch`: some examples of one side of the data, training or evaluation, on their way to rows of ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rows import PairRows, Rows, RowsBuilder
from autotrain_llm.data.tokenize.encode import Encoded, encoded_pieces, tokenised
from autotrain_llm.data.tokenize.render import RenderedRow, RowRenderer
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.offsets import TokenBatch

Span = tuple[int, int]


@dataclass
class EncodedRows:
    """The rows of some examples, with what is counted of them.

    `lengths` are those before cutting, of the examples numbered `places`. `ending` of the `whole` rows, those that were not cut, are
    trained on a token that ends an answer.
    """

    rows: Rows
    lengths: list[int]
    places: list[int]
    truncated: int
    dropped: int
    whole: int
    ending: int


@dataclass
class EncodeBatch:
    """Examples, the first of which has the number `start`, on their way to a `EncodedRows`."""

    renderer: RowRenderer
    observations: Observations
    preparation: Preparation
    examples: Sequence[Example]
    start: int = 0
    lengths: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    truncated: int = 0
    dropped: int = 0
    whole: int = 0
    ending: int = 0

    def pieces(self) -> list[tuple[int, list[RenderedRow]]]:
        """The text of each example, by its place among these."""
        return self.renderer.make_all(self.examples, 0, len(self.examples), self._dropped)

    def tokenised(self, pieces: list[tuple[int, list[RenderedRow]]]) -> TokenBatch:
        """What the tokenizer makes of all texts. Touches nothing else, so that it can go on beside the rest."""
        return tokenised(self.renderer.tokenizer, pieces)

    def taken(self, pieces: list[tuple[int, list[RenderedRow]]], tokens: TokenBatch) -> EncodedRows:
        """The rows that come of it."""
        encoded = encoded_pieces(pieces, tokens)
        rows = self._pairs(encoded) if self.renderer.pairs else self._rows(encoded)
        return EncodedRows(rows, self.lengths, self.places, self.truncated, self.dropped, self.whole, self.ending)

    def _rows(self, encoded: Iterable[tuple[int, list[Encoded]]]) -> Rows:
        builder = RowsBuilder()
        for at, (row,) in encoded:
            self._take(builder, at, self.examples[at], row)
        return builder.built()

    def _dropped(self) -> None:
        self.dropped += 1

    def _take(self, builder: RowsBuilder, at: int, example: Example, row: Encoded) -> None:
        self.lengths.append(len(row.ids))
        self.places.append(self.start + at)
        if self.preparation.block:
            self._count_end(row.ids, row.spans)
            builder.add(row.ids, row.spans, self.start + at)
            return
        ids, spans = self._cut(example, row)
        if not self.renderer.prompts_only and not any(end > max(start, 1) for start, end in spans):
            # The first token of a row has nothing before it to be predicted from.
            self._say_nothing_left(example, len(row.ids))
            self.dropped += 1
            return
        if len(ids) == len(row.ids):
            self._count_end(ids, spans)
        builder.add(ids, spans, self.start + at, example.label)

    def _count_end(self, ids: list[int], spans: list[Span]) -> None:
        """Whether a row that was not cut is trained on a token that ends an answer; it mostly is the last of a stretch."""
        ends = self.renderer.ends
        self.whole += 1
        self.ending += any(ids[end - 1] in ends for _, end in spans) or any(
            number in ends for start, end in spans for number in ids[start:end]
        )

    def _cut(self, example: Example, row: Encoded) -> tuple[list[int], list[Span]]:
        """A row within the limit: a text keeps its start, a prompt its end."""
        if self.renderer.labelled:
            return self._cut_sides(example, row)
        limit = self.preparation.max_length
        if self.renderer.prompts_only:
            limit = min(limit, self.preparation.max_prompt_length or limit)
        if len(row.ids) <= limit:
            return row.ids, row.spans
        self.truncated += 1
        self._say_cut(example, len(row.ids))
        if self.renderer.prompts_only:
            return _keep_end(row.ids, limit, self.renderer.tokenizer.bos_id), []
        return row.ids[:limit], _clipped(row.spans, 0, limit)

    def _cut_sides(self, example: Example, row: Encoded) -> tuple[list[int], list[Span]]:
        """A prompt and its answer, each within its own limit."""
        start = row.spans[0][0] if row.spans else len(row.ids)
        answer = len(row.ids) - start
        prompt, room = self._cut_prompt(row.ids[:start], answer)
        if len(prompt) < start or answer > room:
            self.truncated += 1
            self._say_cut_side(example, start, answer)
        moved = [(first + len(prompt), last + len(prompt)) for first, last in _clipped(row.spans, start, room)]
        return prompt + row.ids[start:][:room], moved

    def _pairs(self, encoded: Iterable[tuple[int, list[Encoded]]]) -> PairRows:
        prompts, chosen, rejected = RowsBuilder(), RowsBuilder(), RowsBuilder()
        for at, (better, worse) in encoded:
            example = self.examples[at]
            self.lengths.append(max(len(better.ids), len(worse.ids)))
            self.places.append(self.start + at)
            shared = _shared_prompt(better, worse)
            longest = max(len(better.ids), len(worse.ids)) - shared
            prompt, room = self._cut_prompt(better.ids[:shared], longest)
            answers = [self._cut_answer(row, shared, room) for row in (better, worse)]
            if len(prompt) < shared or longest > room:
                self.truncated += 1
                self._say_cut_side(example, shared, longest)
            if answers[0][0] == answers[1][0]:
                self._say_same(example, len(answers[0][0]), longest, len(prompt))
            if not all(spans for _, spans in answers):
                self._say_nothing_left(example, self.lengths[-1])
                self.dropped += 1
                continue
            if len(prompt) == shared and longest <= room:
                self._count_end(*answers[0])
            prompts.add(prompt, [], self.start + at)
            chosen.add(*answers[0], self.start + at)
            rejected.add(*answers[1], self.start + at)
        return PairRows(prompts.built(), chosen.built(), rejected.built())

    def _cut_answer(self, row: Encoded, start: int, room: int) -> tuple[list[int], list[Span]]:
        """What of a row follows its prompt, within the room there is; the marks that a tokenizer closes every text with stay."""
        ids, closing = row.ids[start:], self.renderer.special_tokens[1]
        if len(ids) > room > len(closing):
            ids = [*ids[: room - len(closing)], *closing]
        return ids[:room], _clipped(row.spans, start, room)

    def _cut_prompt(self, prompt: list[int], answer: int) -> tuple[list[int], int]:
        """A prompt that keeps its end (and the special token before it), and how many tokens that leaves for an answer.

        Without `max_prompt_length` a prompt gives way to the longer answer of its pair, down to half of the whole limit.
        """
        preparation = self.preparation
        answer = min(answer, preparation.max_completion_length or answer)
        limit = preparation.max_prompt_length
        if limit is None:
            limit = max(preparation.max_length - answer, preparation.max_length // 2)
        if len(prompt) > limit:
            prompt = _keep_end(
                prompt, limit, next(iter(self.renderer.special_tokens[0]), self.renderer.tokenizer.bos_id)
            )
        room = max(preparation.max_length - len(prompt), 0)
        return prompt, min(room, preparation.max_completion_length or room)

    def _say_cut(self, example: Example, length: int) -> None:
        preparation = self.preparation
        if not (preparation.length_given or preparation.packing):
            return
        flag = f"{preparation.length_flag} {preparation.max_length}"
        packing = " (--packing joins short rows, it doesn't part long ones)" if preparation.packing else ""
        end = "start" if self.renderer.prompts_only else "end"
        what = f"{length} tokens are more than {flag}{packing}; the {end} was cut off"
        self._row("D151", example, what, f"{preparation.length_flag} {next_length(length)}, or shorten it", "cut")

    def _say_cut_side(self, example: Example, prompt: int, answer: int) -> None:
        """Which limit cut a prompt, an answer or both together, where it was given."""
        preparation, given = self.preparation, self.preparation.sides_given
        sides = (
            ("max_prompt_length", "prompt", prompt, preparation.max_prompt_length, "start"),
            ("max_completion_length", "longer answer", answer, preparation.max_completion_length, "end"),
        )
        cut = [side for side in sides if side[0] in given and side[3] is not None and side[2] > side[3]]
        for name, which, length, limit, end in cut:
            flag = "--" + name.replace("_", "-")
            what = f"its {which} of {length} tokens is more than {flag} {limit}; the {end} was cut off"
            fix = f"{flag} {next_length(length)}, or shorten it"
            self.observations.row(
                "D151", example.file, example.row, what, line=example.line, fix=fix, parameters=(name,), key=name
            )
        if not cut and prompt + answer > preparation.max_length:
            self._say_cut(example, prompt + answer)

    def _say_same(self, example: Example, kept: int, longest: int, prompt: int) -> None:
        """A warning where the two answers of a pair are the same tokens, most often because they were cut before they part."""
        preparation = self.preparation
        if longest <= kept:
            what = "the tokenizer writes chosen and rejected as the same tokens: nothing is preferred"
            self._row("D173", example, what, "rebuild the pair or delete the row", "same tokens")
            return
        name, limit = preparation.length_flag.removeprefix("--").replace("-", "_"), preparation.max_length
        if preparation.max_completion_length is not None and kept == preparation.max_completion_length:
            name, limit = "max_completion_length", preparation.max_completion_length
        flag = "--" + name.replace("_", "-")
        enough = next_length(longest if name == "max_completion_length" else prompt + longest)
        what = f"chosen and rejected are the same up to {flag} {limit}, where they are cut off: nothing is preferred"
        fix = f"{flag} {enough}, or delete the row"
        self.observations.row(
            "D173", example.file, example.row, what, line=example.line, fix=fix, parameters=(name,), key="same when cut"
        )

    def _say_nothing_left(self, example: Example, length: int) -> None:
        preparation = self.preparation
        if length <= preparation.max_length:
            self._row(
                "D152",
                example,
                "there is no token to learn; the row was left out",
                "fill it or delete the row",
                "no token",
            )
            return
        flag = f"{preparation.length_flag} {preparation.max_length}"
        what = f"its prompt fills {flag} ({length} tokens in all): no answer is left to learn, and the row was left out"
        fix = f"{preparation.length_flag} {next_length(length)}, or delete the row"
        self._row("D152", example, what, fix, "nothing left")

    def _row(self, code: str, example: Example, what: str, fix: str, key: str) -> None:
        parameters = (self.preparation.length_flag.removeprefix("--").replace("-", "_"),)
        self.observations.row(
            code, example.file, example.row, what, line=example.line, fix=fix, parameters=parameters, key=key
        )


def _clipped(spans: list[Span], start: int, length: int) -> list[Span]:
    """Spans counted from `start`, and no longer than `length` reaches."""
    moved = [(max(first - start, 0), min(last - start, length)) for first, last in spans]
    return [(first, last) for first, last in moved if last > first]


def _shared_prompt(better: Encoded, worse: Encoded) -> int:
    """How many tokens both rows of a pair begin with, up to the first that is trained on."""
    most = min(row.spans[0][0] if row.spans else len(row.ids) for row in (better, worse))
    return next((at for at in range(most) if better.ids[at] != worse.ids[at]), most)


def _keep_end(prompt: list[int], limit: int, bos: int | None) -> list[int]:
    if bos is not None and prompt[0] == bos and limit > 1:
        return [bos, *prompt[len(prompt) - limit + 1 :]]
    return prompt[len(prompt) - limit :]


def next_length(length: int) -> int:
    """The power of two that holds this many tokens."""
    return 1 << (length - 1).bit_length()
