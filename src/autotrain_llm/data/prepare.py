"""`prepare`: converted rows to rows of token ids, with what is trained on, what was cut, and what is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.data import cache as disk
from autotrain_llm.data.chat import ChatTemplate, check_end_of_turn, find_template
from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.encode import Encoded, encode_pieces
from autotrain_llm.data.example import Example
from autotrain_llm.data.faults import Faults
from autotrain_llm.data.pieces import PieceMaker
from autotrain_llm.data.rows import PairRows, Rows, RowsBuilder, cut_into_blocks
from autotrain_llm.data.tokenizer import Tokenizer
from autotrain_llm.declare.finding import WARNING, Finding

# Raised when the same content and settings give other rows than before.
FORMAT = 1
Span = tuple[int, int]
BATCH = 1000
OUTLIER = 50


@dataclass(frozen=True)
class Preparation:
    """How rows become ids.

    `response_only` None is the usual: of prompt and completion and of conversations the answers are trained on, of text everything.
    `block` joins documents and cuts them into blocks of `max_length`. `…_given` and `length_flag` only serve the findings: what was not
    given is never complained of. `max_prompt_length` and `max_completion_length` limit the two sides of preference rows.
    `scored` rows are read whole, exactly as the tokenizer and the chat template write them for anybody who will want a score.
    """

    max_length: int
    block: bool = False
    response_only: bool | None = None
    add_eos: bool = True
    chat_template: str | None = None
    packing: bool = False
    max_prompt_length: int | None = None
    max_completion_length: int | None = None
    scored: bool = False
    length_flag: str = "--max-seq-length"
    length_given: bool = False
    add_eos_given: bool = False


@dataclass
class Prepared:
    """Rows to train and to evaluate on. `findings` says what `prepare` itself found; those of the data set are with it."""

    train: Rows
    valid: Rows
    statistics: dict[str, Any]
    findings: tuple[Finding, ...]
    fingerprint: str
    template: ChatTemplate | None = None
    from_cache: bool = False

    @property
    def end_of_turn(self) -> str | None:
        """The token that ends an answer, where rows are rendered by a template and it ends turns with one."""
        return self.template.end_token if self.template else None


def prepare(dataset: Dataset, tokenizer: Tokenizer, preparation: Preparation, cache: Path | None = None) -> Prepared:
    """Render, tokenise, mask and cut all rows of a data set, or load what was prepared before."""
    faults = Faults()
    template = find_template(preparation.chat_template, tokenizer, faults)
    maker = PieceMaker(dataset, tokenizer, preparation, template, faults)
    used = template if maker.renders else None
    fingerprint = _fingerprint(dataset, tokenizer, preparation, template)
    kept = disk.load(cache, fingerprint) if cache is not None else None
    if kept is not None:
        rows, document = kept
        findings = tuple(_finding(entry) for entry in document["findings"])
        return Prepared(rows["train"], rows["valid"], document["statistics"], findings, fingerprint, used, True)
    maker.check()
    if faults.refused:
        nothing = _Pass(maker, faults, preparation, [], "train")
        rows = {"train": nothing.run(), "valid": nothing.run()}
        return Prepared(
            rows["train"], rows["valid"], _statistics(nothing, nothing, rows), faults.findings(), fingerprint, used
        )
    if used is not None:
        check_end_of_turn(used, faults)
    train = _Pass(maker, faults, preparation, dataset.train, "train")
    valid = _Pass(maker, faults, preparation, dataset.valid, "valid")
    rows = {"train": train.run(), "valid": valid.run()}
    _check_result(dataset, preparation, train, valid, faults)
    statistics = _statistics(train, valid, rows)
    prepared = Prepared(rows["train"], rows["valid"], statistics, faults.findings(), fingerprint, used)
    if cache is not None and not faults.refused:
        document = {
            "findings": [finding.as_dict() for finding in prepared.findings],
            "statistics": statistics,
        }
        disk.save(cache, fingerprint, rows, document)
    return prepared


def _fingerprint(
    dataset: Dataset, tokenizer: Tokenizer, preparation: Preparation, template: ChatTemplate | None
) -> str:
    shape = [template.identity if template else None, dataset.format, dataset.columns]
    document = [FORMAT, dataset.fingerprint, tokenizer.fingerprint, dataclasses.asdict(preparation), shape]
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()


def _finding(entry: dict[str, Any]) -> Finding:
    return Finding(**{**entry, "parameters": tuple(entry["parameters"])})


@dataclass
class _Pass:
    """One side of the data, training or evaluation, on its way to rows."""

    maker: PieceMaker
    faults: Faults
    preparation: Preparation
    examples: Sequence[Example]
    side: str
    lengths: list[int] = field(default_factory=list)
    places: list[Example] = field(default_factory=list)
    truncated: int = 0
    dropped: int = 0

    def run(self) -> Rows:
        """All rows of this side."""
        if self.maker.pairs:
            return self._pairs()
        builder = RowsBuilder()
        for at, example, (piece,) in self._encoded():
            self._take(builder, at, example, piece)
        rows = builder.built()
        return cut_into_blocks(rows, self.preparation.max_length) if self.preparation.block else rows

    def _encoded(self) -> Iterator[tuple[int, Example, list[Encoded]]]:
        """Each example's pieces as ids: while one batch is rendered here, the one before is tokenised on all cores."""
        with ThreadPoolExecutor(1) as pool:
            waiting = None
            for start in range(0, len(self.examples), BATCH):
                made = self.maker.make_all(self.examples, start, min(start + BATCH, len(self.examples)), self._dropped)
                coming = pool.submit(encode_pieces, self.maker.tokenizer, made)
                if waiting is not None:
                    yield from self._numbered(waiting.result())
                waiting = coming
            if waiting is not None:
                yield from self._numbered(waiting.result())

    def _numbered(self, encoded: list[tuple[int, list[Encoded]]]) -> Iterator[tuple[int, Example, list[Encoded]]]:
        return ((at, self.examples[at], pieces) for at, pieces in encoded)

    def _dropped(self) -> None:
        self.dropped += 1

    def _take(self, builder: RowsBuilder, at: int, example: Example, row: Encoded) -> None:
        self.lengths.append(len(row.ids))
        self.places.append(example)
        if self.preparation.block:
            builder.add(row.ids, row.spans, at)
            return
        ids, spans = self._cut(example, row)
        if not self.maker.prompts_only and not any(end > max(start, 1) for start, end in spans):
            # The first token of a row has nothing before it to be predicted from.
            self._say_nothing_left(example, len(row.ids))
            self.dropped += 1
            return
        builder.add(ids, spans, at, example.label)

    def _cut(self, example: Example, row: Encoded) -> tuple[list[int], list[Span]]:
        """A row within the limit: a text keeps its start, a prompt its end."""
        if self.maker.labelled:
            return self._cut_sides(example, row)
        limit = self.preparation.max_length
        if self.maker.prompts_only:
            limit = min(limit, self.preparation.max_prompt_length or limit)
        if len(row.ids) <= limit:
            return row.ids, row.spans
        self.truncated += 1
        self._say_cut(example, len(row.ids))
        if self.maker.prompts_only:
            return _keep_end(row.ids, limit, self.maker.tokenizer.bos_id), []
        return row.ids[:limit], _clipped(row.spans, 0, limit)

    def _cut_sides(self, example: Example, row: Encoded) -> tuple[list[int], list[Span]]:
        """A prompt and its answer, each within its own limit."""
        start = row.spans[0][0] if row.spans else len(row.ids)
        answer = len(row.ids) - start
        prompt, room = self._cut_prompt(row.ids[:start], answer)
        if len(prompt) < start or answer > room:
            self.truncated += 1
            self._say_cut(example, len(row.ids))
        moved = [(first + len(prompt), last + len(prompt)) for first, last in _clipped(row.spans, start, room)]
        return prompt + row.ids[start:][:room], moved

    def _pairs(self) -> PairRows:
        prompts, chosen, rejected = RowsBuilder(), RowsBuilder(), RowsBuilder()
        for at, example, (better, worse) in self._encoded():
            self.lengths.append(max(len(better.ids), len(worse.ids)))
            self.places.append(example)
            shared = _shared_prompt(better, worse)
            longest = max(len(better.ids), len(worse.ids)) - shared
            prompt, room = self._cut_prompt(better.ids[:shared], longest)
            answers = [self._cut_answer(row, shared, room) for row in (better, worse)]
            if len(prompt) < shared or longest > room:
                self.truncated += 1
                self._say_cut(example, self.lengths[-1])
            if not all(spans for _, spans in answers):
                self._say_nothing_left(example, self.lengths[-1])
                self.dropped += 1
                continue
            prompts.add(prompt, [], at)
            chosen.add(*answers[0], at)
            rejected.add(*answers[1], at)
        return PairRows(prompts.built(), chosen.built(), rejected.built())

    def _cut_answer(self, row: Encoded, start: int, room: int) -> tuple[list[int], list[Span]]:
        """What of a row follows its prompt, within the room there is; the marks that a tokenizer closes every text with stay."""
        ids, closing = row.ids[start:], self.maker.marks[1]
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
            prompt = _keep_end(prompt, limit, next(iter(self.maker.marks[0]), self.maker.tokenizer.bos_id))
        room = max(preparation.max_length - len(prompt), 0)
        return prompt, min(room, preparation.max_completion_length or room)

    def _say_cut(self, example: Example, length: int) -> None:
        preparation = self.preparation
        if not (preparation.length_given or preparation.packing):
            return
        flag = f"{preparation.length_flag} {preparation.max_length}"
        packing = " (--packing joins short rows, it doesn't part long ones)" if preparation.packing else ""
        what = f"{length} tokens are more than {flag}{packing}; the end was cut off"
        self._row("D151", example, what, f"{preparation.length_flag} {_next_length(length)}, or shorten it", "cut")

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
        fix = f"{preparation.length_flag} {_next_length(length)}, or delete the row"
        self._row("D152", example, what, fix, "nothing left")

    def _row(self, code: str, example: Example, what: str, fix: str, key: str) -> None:
        parameters = (self.preparation.length_flag.removeprefix("--").replace("-", "_"),)
        self.faults.row(
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


def _next_length(length: int) -> int:
    """The power of two that holds this many tokens."""
    return 1 << (length - 1).bit_length()


def _check_result(dataset: Dataset, preparation: Preparation, train: _Pass, valid: _Pass, faults: Faults) -> None:
    """What can only be said of all rows together."""
    if dataset.train and train.dropped == len(dataset.train) and not faults.refused:
        flag = f"{preparation.length_flag} {preparation.max_length}"
        message = f"{dataset.path}: no row has anything to learn ({len(dataset.train)} rows, {flag})"
        faults.say("D156", message, fix=_all_lost_fix(train, preparation), parameters=("data_path",), file=dataset.path)
    if dataset.valid and valid.dropped == len(dataset.valid) and train.dropped < len(dataset.train):
        name = dataset.eval_path or dataset.path
        faults.say(
            "D121",
            f"{dataset.valid_from}: {name} is empty: no row of it can be evaluated",
            file=name,
            parameters=("eval_dataset_path",),
        )
    if preparation.length_given and not preparation.block:
        _check_outlier(train, preparation, faults)


def _all_lost_fix(train: _Pass, preparation: Preparation) -> str | None:
    return f"{preparation.length_flag} {_next_length(max(train.lengths))}" if train.lengths else None


def _check_outlier(train: _Pass, preparation: Preparation, faults: Faults) -> None:
    lengths = sorted(train.lengths)
    if len(lengths) < 3:
        return
    median, longest = lengths[len(lengths) // 2], min(lengths[-1], preparation.max_length)
    if longest < OUTLIER * median:
        return
    example = train.places[train.lengths.index(lengths[-1])]
    what = (
        f"{longest} tokens, {longest // median} times the median of {median}: it fits {preparation.length_flag} "
        f"{preparation.max_length}, and this one row decides how much memory is needed"
    )
    lower = _next_length(max(length for length in lengths if length < OUTLIER * median))
    fix = f"cut or delete row {example.row}, or {preparation.length_flag} {lower}"
    faults.row("D153", example.file, example.row, what, line=example.line, fix=fix, severity=WARNING)


def _statistics(train: _Pass, valid: _Pass, rows: dict[str, Rows]) -> dict[str, Any]:
    """What the plan shows: lengths before cutting, and what came of it."""
    held = rows["train"]
    parts = (held.prompt, held.chosen, held.rejected) if isinstance(held, PairRows) else (held,)
    total = sum(len(part.ids) for part in parts)
    trained = sum(int(part.trained.sum()) for part in parts)
    lengths = sorted(train.lengths)

    def quantile(share: float) -> int:
        return lengths[min(int(share * len(lengths)), len(lengths) - 1)] if lengths else 0

    return {
        "rows": len(held),
        "eval_rows": len(rows["valid"]),
        "tokens": {"p50": quantile(0.5), "p95": quantile(0.95), "max": lengths[-1] if lengths else 0},
        "total_tokens": total,
        "trained_tokens": trained,
        "trained_token_share": round(trained / total, 4) if total else 0.0,
        "truncated_rows": train.truncated,
        "dropped_rows": train.dropped,
        "eval_truncated_rows": valid.truncated,
        "eval_dropped_rows": valid.dropped,
    }
