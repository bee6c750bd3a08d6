"""Make a prepared folder of a data set: its rows, normalised, and with a tokenizer its tokens too. Written as a whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from autotrain_llm.data.cache import DOCUMENT
from autotrain_llm.data.dataset import Dataset, Progress
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.mixture.dataset import MixedDataset
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.prepared.info import INFO, TOKENS_FOLDER, TRAIN, VALIDATION, PreparedInfo, TokensInfo
from autotrain_llm.data.prepared.rows import (
    BOTH,
    PROMPTS,
    ExtraColumns,
    Shape,
    common_shape,
    merged_columns,
    shape_of,
)
from autotrain_llm.data.prepared.write import complete_folder, source_infos, write_rows
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.prepared import rows_are_written_in_one_shape, rows_have_no_common_shape
from autotrain_llm.data.tokenize.prepare import Prepared, prepare
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import ERROR, Finding, Refused
from autotrain_llm.version import VERSION

# The format of rows of a shape, where their sources have several.
FORMATS = {BOTH: "alpaca"}


@dataclass(frozen=True)
class TokenSettings:
    """How the rows become tokens. `model` and `name` are the model and the tokenizer as they are named."""

    tokenizer: Tokenizer
    preparation: Preparation
    model: str | None
    name: str


def make_prepared(
    dataset: Dataset,
    request: DataRequest,
    target: str,
    parameters: dict[str, Any],
    settings: TokenSettings | None = None,
    mixture: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[PreparedInfo, tuple[Finding, ...]]:
    """Write the rows of a data set into the folder `target`, and what they are into its `dataset_info.json`. Returns that, and the findings of
    writing. `parameters` are those that decided on the rows, `mixture` says what each source of a mixture gives to them.

    Raises Refused if rows have no common shape, or their tokens have an error; OSError if the folder can't be written.
    """
    observations = Observations()
    with observations.about("data_path" if mixture is None else "data_config"):
        shape = _shape(dataset, observations)
    if shape is None:
        raise Refused(observations.findings())
    findings = observations.findings()
    left_out = {*request.ignored_columns, *_merged_columns(dataset, shape)}
    extra = ExtraColumns(left_out)
    with complete_folder(Path(target).expanduser()) as folder:
        sides = {TRAIN: dataset.train, VALIDATION: dataset.valid}
        splits = {
            name: write_rows(folder / f"{name}.jsonl", rows, shape, extra, dataset.labels)
            for name, rows in sides.items()
            if len(rows)
        }
        info = PreparedInfo(
            trainer=request.trainer,
            rows=request.rows,
            format=dataset.format if mixture is None else FORMATS.get(shape.name, shape.name),
            shape=shape.name,
            columns={name: name for name in shape.columns},
            splits=splits,
            sources=source_infos(dataset.files),
            parameters=parameters,
            fingerprint=dataset.fingerprint,
            unused={name: reason for name, reason in dataset.unused.items() if name not in left_out},
            renamed=extra.renamed,
            labels=dataset.labels,
            mixture=mixture,
            version=VERSION,
        )
        _write_info(folder, info)
        if settings is not None:
            tokens, about = _write_tokens(folder, target, info, request, settings, progress)
            info, findings = dataclasses.replace(info, tokens=tokens), (*findings, *about)
            _write_info(folder, info)
    return info, findings


def _merged_columns(dataset: Dataset, shape: Shape) -> Iterator[str]:
    """The columns that are in the prompts already; reward functions get them nevertheless."""
    if shape.name != PROMPTS:
        for source in dataset.sources if isinstance(dataset, MixedDataset) else (dataset,):
            yield from merged_columns(source.columns)


def _write_info(folder: Path, info: PreparedInfo) -> None:
    text = json.dumps(info.as_json(), ensure_ascii=False, indent=2, default=str)
    (folder / INFO).write_text(text + "\n", encoding="utf-8")


def _shape(dataset: Dataset, observations: Observations) -> Shape | None:
    """The shape of all rows; None, with a finding, if there is none."""
    shapes = {shape_of(example) for example in chain(dataset.train, dataset.valid)}
    shape = common_shape(shapes)
    names = sorted({one.title for one in shapes})
    if shape is None:
        observations.add(rows_have_no_common_shape, file=dataset.path, shapes=names)
    elif len(shapes) > 1:
        observations.add(rows_are_written_in_one_shape, file=dataset.path, shapes=names, shape=shape.title)
    return shape


def _write_tokens(
    folder: Path,
    target: str,
    info: PreparedInfo,
    request: DataRequest,
    settings: TokenSettings,
    progress: Progress | None,
) -> tuple[TokensInfo, tuple[Finding, ...]]:
    """The rows of the folder as tokens, read and tokenised as a run will do it."""
    own = DataRequest(
        path=str(folder),
        rows=request.rows,
        valid_split=VALIDATION if VALIDATION in info.splits else None,
        trainer=request.trainer,
        num_labels=request.num_labels,
    )
    cache = folder / TOKENS_FOLDER
    prepared = prepare(open_data(own), settings.tokenizer, settings.preparation, cache, progress)
    findings = tuple(_moved(finding, str(folder), target) for finding in prepared.findings)
    if any(finding.severity == ERROR for finding in findings):
        raise Refused(findings)
    stored = cache / prepared.fingerprint / DOCUMENT
    written = stored.read_text(encoding="utf-8")  # its findings name the files
    stored.write_text(written.replace(_escaped(str(folder)), _escaped(target)), encoding="utf-8")
    return _tokens_info(prepared, settings), findings


def _moved(finding: Finding, folder: str, target: str) -> Finding:
    """A finding about a file of the folder, under the path that it will have."""
    file = None if finding.file is None else finding.file.replace(folder, target)
    return finding.replace(message=finding.message.replace(folder, target), file=file)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _tokens_info(prepared: Prepared, settings: TokenSettings) -> TokensInfo:
    return TokensInfo(
        model=settings.model,
        tokenizer=settings.name,
        tokenizer_digest=settings.tokenizer.fingerprint,
        template=settings.preparation.chat_template,
        template_digest=template_digest(prepared),
        preparation=json.loads(json.dumps(dataclasses.asdict(settings.preparation))),  # as it is read again
        statistics=prepared.statistics,
        fingerprint=prepared.fingerprint,
    )


def template_digest(prepared: Prepared) -> str | None:
    """A digest of the chat template that rows were rendered with; None if they were not."""
    if prepared.template is None:
        return None
    return hashlib.blake2b(json.dumps(prepared.template.identity).encode(), digest_size=16).hexdigest()
