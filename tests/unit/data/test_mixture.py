"""Mixtures: how their file is read, what an epoch has of each source and in which order, and which rows are held out."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotrain_llm.api import check, plan
from autotrain_llm.data.files import stream
from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.formats.convert import MAKERS
from autotrain_llm.data.formats.detect import FORMATS, GRADED
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.mixture.config import MixtureConfig, SourceConfig
from autotrain_llm.data.mixture.hold_out import hold_out_of_sources
from autotrain_llm.data.mixture.mixture import passes_of, rounded
from autotrain_llm.data.order import MixtureOrder
from autotrain_llm.data.request import DataRequest
from support.rows import write_rows


def mixture(*weights: float | None, **settings: Any) -> MixtureConfig:
    names = "abcdefgh"
    sources = [SourceConfig(names[index], f"{names[index]}.jsonl", weight) for index, weight in enumerate(weights)]
    return MixtureConfig("mix.yaml", tuple(sources), **settings)


# ---- how much of each source an epoch has


def test_by_default_the_source_that_runs_out_first_is_used_once():
    # 0.75 · N of 300 rows and 0.25 · N of 50: the second runs out first, at N = 200.
    assert passes_of(mixture(0.75, 0.25), [300, 50], [0, 0]) == pytest.approx((0.75 * 200 / 300, 1.0))


def test_weights_by_tokens_are_shares_of_the_tokens():
    rows, tokens = [300, 50], [3000, 5000]
    passes = passes_of(mixture(0.75, 0.25, weights_by="tokens", total=4000), rows, tokens)
    assert passes == pytest.approx((0.75 * 4000 / 3000, 0.25 * 4000 / 5000))
    used = [one * size for one, size in zip(passes, tokens, strict=True)]
    assert sum(used) == pytest.approx(4000) and used[0] / sum(used) == pytest.approx(0.75)


def test_an_epoch_of_a_source_goes_through_it_once():
    passes = passes_of(mixture(0.75, 0.25, epochs_of="a"), [300, 50], [0, 0])
    assert passes == pytest.approx((1.0, 100 / 50))


def test_without_weights_every_row_is_used_once():
    assert passes_of(mixture(None, None), [300, 50], [0, 0]) == pytest.approx((1.0, 1.0))


@given(st.lists(st.floats(0, 50), min_size=1, max_size=8))
def test_rounded_numbers_keep_their_sum_and_are_near(numbers: list[float]):
    whole = rounded(numbers)
    assert sum(whole) == round(sum(numbers))
    assert all(abs(one - number) <= 1 for one, number in zip(whole, numbers, strict=True))


# ---- the order

ORDERS = st.integers(1, 5).flatmap(
    lambda count: st.builds(
        MixtureOrder,
        st.tuples(*[st.integers(1, 20)] * count),
        st.tuples(*[st.integers(0, 50)] * count),
        st.integers(0, 2**32),
    )
)


@given(ORDERS, st.integers(1, 4))
@settings(deadline=None)
def test_no_row_of_a_source_is_used_twice_before_all_are_used_once(order: MixtureOrder, epochs: int):
    stream = np.concatenate([order.of_epoch(epoch) for epoch in range(epochs)])
    start = 0
    for size, count in zip(order.sizes, order.counts, strict=True):
        own = stream[(stream >= start) & (stream < start + size)] - start
        assert len(own) == epochs * count
        for begin in range(0, len(own), size):
            passed = own[begin : begin + size]
            assert len(set(passed.tolist())) == len(passed)
        start += size


@given(ORDERS)
@settings(deadline=None)
def test_the_order_follows_from_the_seed_and_each_pass_has_another(order: MixtureOrder):
    again = MixtureOrder(order.sizes, order.counts, order.seed)
    np.testing.assert_array_equal(order.of_epoch(2), again.of_epoch(2))
    assert len(order.of_epoch(0)) == len(order)


def test_sources_are_shuffled_together_and_each_pass_of_a_source_is_in_another_order():
    order = MixtureOrder((50, 50), (50, 100), 3)
    epoch = order.of_epoch(0)
    own = epoch[epoch >= 50]
    assert own[:50].tolist() != own[50:].tolist() and sorted(own[:50]) == sorted(own[50:])
    # Both halves of the epoch have about two thirds of the second source.
    assert 0.5 < (epoch[:75] >= 50).mean() < 0.83
    assert MixtureOrder((50, 50), (50, 100), 4).of_epoch(0).tolist() != epoch.tolist()


# ---- evaluation rows

KEYS = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=20), min_size=1, max_size=4)


@given(KEYS, st.data())
@settings(deadline=None)
def test_evaluation_rows_are_never_trained_on_in_any_source(rows: list[list[int]], data: st.DataObject):
    keys = [np.asarray(own, dtype=np.uint64) for own in rows]
    counts = [data.draw(st.none() | st.integers(0, len(own))) for own in rows]
    masks = hold_out_of_sources(keys, counts, 7)
    held_out = {int(key) for own, mask in zip(keys, masks, strict=True) for key in own[mask]}
    trained = {int(key) for own, mask in zip(keys, masks, strict=True) for key in own[~mask]}
    assert not held_out & trained
    for mask, count in zip(masks, counts, strict=True):
        assert count is not None or not mask.any()
    first = next((index for index, count in enumerate(counts) if count is not None), None)
    if first is not None:
        assert masks[first].sum() <= counts[first]


def test_as_many_rows_are_held_out_as_asked_where_all_differ():
    keys = [np.arange(100, dtype=np.uint64), np.arange(100, 150, dtype=np.uint64)]
    masks = hold_out_of_sources(keys, [10, 5], 1)
    assert [int(mask.sum()) for mask in masks] == [10, 5]
    assert hold_out_of_sources(keys, [10, 5], 2)[0].tolist() != masks[0].tolist()


# ---- from the file to the plan


def chat(count: int, word: str = "thing") -> list[dict[str, Any]]:
    return [
        {"prompt": f"Name {word} {number}.", "completion": f"It is {number}.", "kind": number % 3}
        for number in range(count)
    ]


def planned(folder: Path, text: str, model: Path, **flags: Any) -> Any:
    (folder / "mix.yaml").write_text(text)
    usual = {"trainer": "sft", "model": str(model), "lr": 1e-3, "epochs": 1, "batch_size": 4, "max_seq_length": 64}
    return plan(**{**usual, "data_config": str(folder / "mix.yaml"), "output_dir": str(folder / "out"), **flags})


def faults(folder: Path, text: str, model: Path, **flags: Any) -> dict[str, Any]:
    """The findings about a mixture, by code."""
    (folder / "mix.yaml").write_text(text)
    usual = {"trainer": "sft", "model": str(model), "lr": 1e-3, "epochs": 1, "batch_size": 4, "max_seq_length": 64}
    config = {**usual, "data_config": str(folder / "mix.yaml"), "output_dir": str(folder / "out"), **flags}
    return {finding.code: finding for finding in check(**config)}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    write_rows(tmp_path / "a.jsonl", chat(30))
    write_rows(tmp_path / "b.jsonl", chat(10, "place"))
    return tmp_path


TWO = "sources:\n  - {name: a, path: a.jsonl, weight: 0.75}\n  - {name: b, path: b.jsonl, weight: 0.25}\n"


def test_the_plan_says_what_an_epoch_has_of_each_source(sources: Path, light_llama: Path):
    made = planned(sources, f"{TWO}total: 60\n", light_llama)
    a, b = made.data.sources
    assert (a.rows_of_epoch, b.rows_of_epoch) == (45, 15) and made.schedule.rows == 60
    assert (a.passes, b.passes) == (1.5, 1.5)
    assert (a.share_of_rows, b.share_of_rows) == (0.75, 0.25)
    tokens = 45 / 30 * a.tokens, 15 / 10 * b.tokens
    assert a.share_of_tokens == pytest.approx(tokens[0] / sum(tokens), abs=1e-6)
    assert type(made).from_json(json.loads(json.dumps(made.as_json()))) == made


def test_a_filter_and_a_limit_select_rows_before_they_are_weighed(sources: Path, light_llama: Path):
    text = TWO.replace("weight: 0.75", "weight: 0.75, where: {kind: [0, 2]}, max_samples: 15")
    assert [source.rows for source in planned(sources, text, light_llama).data.sources] == [15, 10]


def test_a_filter_compares_values_as_they_are_written(tmp_path: Path):
    keep = RowFilter((("year", (2020,)), ("tags", ("web",))))
    rows = [
        (1, None, {"year": "2020", "tags": ["web", "api"]}),
        (2, None, {"year": 2020, "tags": "web"}),
        (3, None, {"year": 2021, "tags": "web"}),
        (4, None, {"tags": "web"}),
    ]
    assert [number for number, _, _ in keep(rows)] == [1, 2] and (keep.seen, keep.passed) == (4, 2)


def test_every_format_can_be_named():
    named = {name for names in FORMATS.values() for name in names}
    assert named == set(MAKERS) - {GRADED}, "a mixture is not made of rows with several scores"


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "on disk"])
def test_a_filter_selects_the_same_rows_of_small_and_large_files(
    large: bool, sources: Path, monkeypatch: pytest.MonkeyPatch
):
    if large:
        monkeypatch.setattr(stream, "LARGE", 0)
        monkeypatch.setattr(stream, "ROWS", 0)  # a few rows of a large file are held in memory
    request = DataRequest(str(sources / "a.jsonl"), where=(("kind", (0, 2)),), max_samples=7)
    dataset = open_data(request)
    assert isinstance(dataset.train, list) is not large
    rows = [example.row for example in dataset.train]
    passing = [example.row for example in open_data(dataclasses.replace(request, max_samples=None)).train]
    chosen = sorted(random.Random(request.seed).sample(range(len(passing)), 7))
    assert rows == [passing[index] for index in chosen]


def test_paths_are_beside_the_file_of_the_mixture(sources: Path, light_llama: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(sources.parent)
    assert [source.rows for source in planned(sources, TWO, light_llama).data.sources] == [30, 10]


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        (TWO.replace("weight: 0.75", "weigth: 0.75"), "D201", 2, "weight"),
        (TWO.replace("0.75", "-1"), "D202", 2, "above 0"),
        (TWO.replace("0.75", "lots"), "D202", 2, "not a number"),
        (TWO.replace(", weight: 0.75", ""), "D202", 2, "has no weight"),
        (TWO.replace("0.75", "0.5"), "D203", 1, "add up to 0.75"),
        (TWO.replace("name: b", "name: a"), "D204", 3, "line 2"),
        (TWO.replace("name: b", "name: 'b/c'"), "D204", 3, "metric"),
        (TWO.replace("path: a.jsonl", "path: nowhere.jsonl"), "D101", 2, "no such file"),
        (TWO.replace("weight: 0.75", "weight: 0.75, where: {kind: 7}"), "D205", 2, "0, 1, 2"),
        (TWO.replace("weight: 0.75", "weight: 0.75, where: {color: red}"), "D205", 2, "no column color"),
        (TWO.replace("weight: 0.75", "weight: 0.75, where: {lang: [en, no]}"), "D202", 2, '"no"'),
        (f"{TWO}total: 100\n", "D208", 3, "repeated 2.5 times"),
        (f"{TWO}validation: 10\n", "D209", 3, "leaves none of them"),
        (TWO.replace("weight: 0.75", "weight: 0.75, text_column: wrong"), "D109", 2, "text_column"),
        (f"{TWO}epochs_of: c\n", "D202", 4, "not the name of a source"),
        (f"{TWO}epochs_of: a\ntotal: 10\n", "D202", 4, "both"),
        ("- a\n", "D200", 1, "a list"),
        ("sources: [\n", "D200", 2, "parsed"),
        ("seed: 1\n", "D200", 1, "no sources"),
    ],
)
def test_a_fault_is_found_with_its_line(
    text: str, code: str, line: int, words: str, sources: Path, light_llama: Path
) -> None:
    finding = faults(sources, text, light_llama).get(code)
    assert finding is not None, faults(sources, text, light_llama)
    said = f"{finding.message} {finding.fix}"
    assert words in said and finding.parameters == ("data_config",)
    assert finding.line == line and finding.file == str(sources / "mix.yaml")


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "shard"), "changes while it is read: shard is gone"),
        (OSError(5, "Input/output error", "shard"), "can't be searched: shard: Input/output error"),
    ],
)
def test_a_folder_that_can_not_be_searched_to_its_end_is_a_finding(
    sources: Path, light_llama: Path, monkeypatch: pytest.MonkeyPatch, problem: OSError, words: str
) -> None:
    def walk(folder: Path, onerror: Any = None, **_: Any) -> list[Any]:
        if onerror is not None:
            onerror(problem)
        return []

    (sources / "shards").mkdir()
    monkeypatch.setattr("os.walk", walk)
    finding = faults(sources, TWO.replace("b.jsonl", "shards"), light_llama)["D102"]
    assert words in finding.message


@pytest.mark.parametrize("key", ["", ", format: preference"])
def test_rows_with_several_scores_are_not_mixed(key: str, sources: Path, light_llama: Path) -> None:
    write_rows(sources / "a.jsonl", [{"prompt": "Hi", "answer": "Hello", "scores": [1, 2]}] * 3)
    write_rows(sources / "b.jsonl", [{"prompt": "Bye", "answer": "See you", "scores": [2, 1]}] * 3)
    text = TWO.replace("weight: 0.75", f"weight: 0.75{key}")
    found = faults(sources, text, light_llama, trainer="reward", num_labels=2, max_seq_length=None)
    assert "D217" in found and "num_labels" in found["D217"].parameters
