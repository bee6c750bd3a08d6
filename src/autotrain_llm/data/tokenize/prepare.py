"""`prepare`: convert rows to token ids and loss masks, truncate them, and report what is wrong with them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.data import cache as disk
from autotrain_llm.data.bounded_caches import mark_used
from autotrain_llm.data.chat.template import ChatTemplate, check_end_of_turn, find_template
from autotrain_llm.data.dataset import Dataset, Progress
from autotrain_llm.data.observations import Observations, findings_of
from autotrain_llm.data.order import choose_rows
from autotrain_llm.data.rows import PairRows, Rows, TokenRows
from autotrain_llm.data.rules.conversations import the_chat_template_can_not_be_used
from autotrain_llm.data.rules.splits import no_row_can_be_evaluated
from autotrain_llm.data.rules.tokens import (
    no_row_has_trained_tokens,
    no_row_is_trained_on_an_end_token,
    one_row_is_far_longer_than_the_others,
    the_tokenizer_can_not_be_loaded,
)
from autotrain_llm.data.tokenize.collect import Collector, in_blocks
from autotrain_llm.data.tokenize.marker_checks import check_markers
from autotrain_llm.data.tokenize.pipeline import IdleWork, collect
from autotrain_llm.data.tokenize.prompt_format import PromptFormat, join_prompt_formats
from autotrain_llm.data.tokenize.render import RowRenderer, RowSkipped
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.data.wording import parameter_of
from autotrain_llm.declare.bounded import breach
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.temporary import TemporaryFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autotrain_llm.data.mixture.mixture import Mixture

# Raised when the same content and settings give other rows than before. What is found in them is kept for the code that found it.
FORMAT = 11
# Times the median: what costs memory where the limit was given, and what is hardly one row.
OUTLIER, FAR_OUTLIER = 50, 100
FEWEST_LENGTHS = 20
ROWS_TRIED, LETTERS_TRIED = 8, 20_000  # the first rows that are no longer than this


@dataclass
class Prepared:
    """Training and evaluation rows as tokens. `findings` are those of `prepare` alone; the data set has its own."""

    train: Rows
    valid: Rows
    statistics: dict[str, Any]
    findings: tuple[Finding, ...]
    fingerprint: str
    template: ChatTemplate | None = None
    from_cache: bool = False
    folders: tuple[TemporaryFolder, ...] = ()  # where the rows lie that are mapped
    mixture: Mixture | None = None
    choice: str = ""  # which evaluation rows are left, where some were chosen

    def evaluating(self, count: int, seed: int) -> Prepared:
        """The same rows with `count` of the evaluation rows, chosen with the seed."""
        if count >= len(self.valid):
            return self
        chosen = self.valid.select(choose_rows(len(self.valid), count, seed))
        return dataclasses.replace(self, valid=chosen, choice=f"-{count}-{seed}")

    def fingerprint_of(self, side: str) -> str:
        """A hash of the rows of one side, train or valid, for what is cached about them."""
        return self.fingerprint + (self.choice if side == "valid" else "")

    @property
    def prompt_format(self) -> PromptFormat:
        """The form in which the rows are written, and in which the model has to be prompted."""
        return PromptFormat(**self.statistics["prompt_format"])

    @property
    def end_of_turn(self) -> str | None:
        """The token that ends an answer, where rows are rendered by a template and it ends turns with one."""
        return self.template.end_token if self.template else None


def prepare(
    dataset: Dataset,
    tokenizer: Tokenizer,
    preparation: Preparation,
    cache: Path | None = None,
    progress: Progress | None = None,
    idle_work: IdleWork | None = None,
    stored: Path | None = None,
) -> Prepared:
    """Render, tokenise, mask and truncate all rows of a data set, or load what was prepared before. `progress` is called with the number of
    rows that are done. `stored` is another folder of prepared rows, which is only read. `idle_work` is unrelated work that is done while the tokenizer's threads are busy."""
    observations = Observations()
    template = find_template(preparation.chat_template, tokenizer, observations, tries=False)
    fingerprint = _fingerprint(dataset, tokenizer, preparation, template)
    if fingerprint not in _BEARABLE:
        _try_first_rows(dataset, tokenizer, preparation, template)
        _BEARABLE.add(fingerprint)
    renderer = RowRenderer(dataset, tokenizer, preparation, template, observations)
    used = template if renderer.renders else None
    cached = disk.load(stored, fingerprint) if stored is not None else None
    if cached is None and cache is not None:
        cached = disk.load(cache, fingerprint, by_this_code=True)
    if cached is not None:
        if cache is not None:
            mark_used(cache / fingerprint)
        return _from_cache(cached, fingerprint, used)
    renderer.check()
    if not observations.refused:
        check_markers(renderer)
    folder = None if dataset.in_memory else TemporaryFolder("rows")  # for ids that are not held in memory
    refused = observations.refused
    if used is not None and not refused:
        check_end_of_turn(used, observations)
    sides = {"train": dataset.train, "valid": dataset.valid}
    done = {
        name: collect(
            renderer,
            [] if refused else examples,
            Collector(folder.path if folder else None, name),
            progress,
            idle_work if name == "train" else None,
        )
        for name, examples in sides.items()
    }
    train, valid = done["train"], done["valid"]
    rows = {name: in_blocks(collected.rows(), preparation) for name, collected in done.items()}
    if not refused:
        _check_result(renderer, train, valid)
    statistics = _statistics(train, valid, rows)
    statistics["prompt_format"] = renderer.prompt_format.result(preparation.chat_template).as_json()
    statistics["rows_without_earlier_thoughts"] = renderer.rows_without_earlier_thoughts
    prepared = Prepared(
        rows["train"],
        rows["valid"],
        statistics,
        observations.findings(),
        fingerprint,
        used,
        folders=(folder,) if folder else (),
    )
    if cache is not None and not observations.refused:
        document = {
            "findings": [finding.as_document() for finding in prepared.findings],
            "statistics": statistics,
        }
        disk.save(cache, fingerprint, rows, document)
    return prepared


def _from_cache(
    cached: tuple[dict[str, Rows], dict[str, Any]], fingerprint: str, template: ChatTemplate | None
) -> Prepared:
    rows, document = cached
    findings = tuple(map(Finding.of_document, document["findings"]))
    return Prepared(rows["train"], rows["valid"], document["statistics"], findings, fingerprint, template, True)


def map_prepared(
    fingerprint: str, folders: Sequence[Path], tokenizer: Tokenizer, chat_template: str | None, *, is_rendered: bool
) -> Prepared | None:
    """Rows that another process has prepared, by their fingerprint, without reading the files that they come from; None if none of the folders has
    them. `is_rendered` is whether a chat template renders them."""
    found = (disk.load(folder, fingerprint) for folder in folders)
    cached = next((loaded for loaded in found if loaded is not None), None)
    if cached is None:
        return None
    template = find_template(chat_template, tokenizer, Observations(), tries=False) if is_rendered else None
    return _from_cache(cached, fingerprint, template)


_BEARABLE: set[str] = set()  # what was tried by this process: rows, tokenizer, template and settings


def _try_first_rows(
    dataset: Dataset, tokenizer: Tokenizer, preparation: Preparation, template: ChatTemplate | None
) -> None:
    """Raises Refused if the first rows take the template or the tokenizer more time or memory than any can need: both come from somebody else."""
    first = islice(dataset.train, ROWS_TRIED)
    rows = [row for row in first if sum(map(len, row.strings())) < LETTERS_TRIED]

    def texts() -> list[str]:
        renderer = RowRenderer(dataset, tokenizer, preparation, template, Observations(), conversations=True)
        made = []
        for row in rows:
            with suppress(RowSkipped):
                made += [part.text[:LETTERS_TRIED] for part in renderer.make(row)]
        return made

    too_much = breach(lambda: tokenizer.encode_batch(texts()))
    if too_much is None:
        return
    problem = f"it {too_much} for the first rows"
    contents = [content for row in rows for content in row.strings()]
    if template is not None and breach(lambda: tokenizer.encode_batch(contents)) is None:
        raise Refused(findings_of(the_chat_template_can_not_be_used, name=template.name, case="limits", detail=problem))
    raise Refused(findings_of(the_tokenizer_can_not_be_loaded, folder=tokenizer.folder, case="limits", problem=problem))


def _fingerprint(
    dataset: Dataset, tokenizer: Tokenizer, preparation: Preparation, template: ChatTemplate | None
) -> str:
    shape = [template.identity if template else None, dataset.format, dataset.columns]
    document = [FORMAT, dataset.fingerprint, tokenizer.fingerprint, dataclasses.asdict(preparation), shape]
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()


def _check_result(renderer: RowRenderer, train: Collector, valid: Collector) -> None:
    """Report what can only be judged from all rows together."""
    dataset, preparation, observations = renderer.dataset, renderer.preparation, renderer.observations
    rows = len(dataset.train)
    if rows and train.dropped == rows and not observations.refused:
        longest = int(train.lengths.max()) if len(train.lengths) else None
        facts = {"parameter": parameter_of(preparation.length_flag), "limit": preparation.max_length}
        facts["context"] = preparation.context
        observations.add(no_row_has_trained_tokens, path=dataset.path, rows=rows, longest=longest, **facts)
    if dataset.valid and valid.dropped == len(dataset.valid) and train.dropped < rows:
        name = dataset.eval_path or dataset.path
        observations.add(
            no_row_can_be_evaluated, source=str(dataset.valid_from), name=name, parameter="eval_dataset_path"
        )
    if not preparation.block:
        _check_outlier(renderer, train)
    if renderer.learns_to_end and train.whole and not train.ending:
        case = "text"
        if renderer.template is not None and renderer.renders:
            case = "outside of generation" if renderer.template.marks_generation else "template"
        facts = {"rows": train.whole, "ends": renderer.end_tokens, "case": case}
        observations.add(no_row_is_trained_on_an_end_token, path=dataset.path, **facts)


def _check_outlier(renderer: RowRenderer, train: Collector) -> None:
    """Report one row that is far longer than the others: because of the memory it takes, or because it is probably several rows."""
    import numpy

    preparation, lengths = renderer.preparation, train.lengths
    if len(lengths) < 3:
        return
    median = max(int(numpy.partition(lengths, len(lengths) // 2)[len(lengths) // 2]), 1)
    longest, limit = int(lengths.max()), preparation.max_length
    enough = None
    if preparation.length_given and min(longest, limit) >= OUTLIER * median:
        enough = int(lengths[lengths < OUTLIER * median].max())
    elif longest < FAR_OUTLIER * median or len(lengths) < FEWEST_LENGTHS:
        return
    example = renderer.dataset.train[int(train.places[int(lengths.argmax())])]
    renderer.observations.row(
        one_row_is_far_longer_than_the_others,
        example,
        parameter=parameter_of(preparation.length_flag),
        row=example.row,
        limit=limit,
        length=longest,
        median=median,
        enough=enough,
    )


def _statistics(train: Collector, valid: Collector, rows: dict[str, Rows]) -> dict[str, Any]:
    """What the plan shows: lengths before truncation, and the number of tokens after it."""
    import numpy

    lengths, counts = numpy.unique(train.lengths, return_counts=True)
    return {
        "rows": len(rows["train"]),
        "eval_rows": len(rows["valid"]),
        "tokens": _quantiles(lengths, counts),
        "total_tokens": train.tokens,
        "trained_tokens": train.trained_tokens,
        "trained_token_share": _share(train.trained_tokens, train.tokens),
        "truncated_rows": train.truncated,
        "dropped_rows": train.dropped,
        "eval_truncated_rows": valid.truncated,
        "eval_dropped_rows": valid.dropped,
        "answers": _answers(rows["train"]),
        "lengths": [lengths.tolist(), counts.tolist()],
    }


ADDED = (
    "rows", "eval_rows", "total_tokens", "trained_tokens", "truncated_rows", "dropped_rows", "rows_without_earlier_thoughts", "eval_truncated_rows",
    "eval_dropped_rows",
)  # fmt: skip


def join_statistics(parts: Sequence[dict[str, Any]], train: Rows) -> dict[str, Any]:
    """The statistics of several prepared data sets as one, whose training rows are `train`."""
    import numpy

    added = {key: sum(part[key] for part in parts) for key in ADDED}
    lengths, counts = (numpy.concatenate([part["lengths"][index] for part in parts]) for index in (0, 1))
    values, places = numpy.unique(lengths, return_inverse=True)
    together = numpy.bincount(places, counts, len(values)).astype(numpy.int64)
    return {
        **added,
        "tokens": _quantiles(values.astype(numpy.int64), together),
        "trained_token_share": _share(added["trained_tokens"], added["total_tokens"]),
        "answers": _answers(train),
        "lengths": [values.tolist(), together.tolist()],
        "prompt_format": join_prompt_formats([PromptFormat(**part["prompt_format"]) for part in parts]).as_json(),
    }


def _share(trained: int, tokens: int) -> float:
    return round(trained / tokens, 4) if tokens else 0.0


def _quantiles(lengths: Any, counts: Any) -> dict[str, int]:
    """Median, 95th percentile and maximum of lengths in ascending order, each of which occurs `counts` times."""
    import numpy

    ends = numpy.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0

    def quantile(share: float) -> int:
        return int(lengths[numpy.searchsorted(ends, min(int(share * total), total - 1), side="right")]) if total else 0

    return {"p50": quantile(0.5), "p95": quantile(0.95), "max": int(lengths[-1]) if total else 0}


def _answers(rows: Rows) -> dict[str, Any] | None:
    """Statistics of the answers that a model can exploit without reading them: their lengths in tokens after truncation, or how many are
    good."""
    import numpy

    if isinstance(rows, PairRows) and len(rows):
        chosen, rejected = rows.chosen.lengths, rows.rejected.lengths
        return {
            "chosen_median": int(numpy.median(chosen)),
            "rejected_median": int(numpy.median(rejected)),
            "chosen_longer_share": round(float((chosen > rejected).mean()), 4),
        }
    if isinstance(rows, TokenRows) and rows.labels is not None and len(rows):
        good = int(rows.labels.sum())
        return {"good": good, "bad": len(rows) - good, "good_share": round(good / len(rows), 4)}
    return None
