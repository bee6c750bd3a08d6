"""Metrics of the library `evaluate` by folder: found, called once before the run, and computed over all rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotrain_llm.config.metric_choice import library_metric, metric_named
from autotrain_llm.context.library_metrics import MetricFault, compute, is_folder, missing_packages, script_of
from autotrain_llm.run.evaluation.library import LibraryScore

SCRIPT = """
import datasets
import evaluate
from .beside import FACTOR

class Lengths(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        print("a word on stdout")
        return RESULT
"""
RESULT = "{'shorter': FACTOR * sum(len(a) < len(b) for a, b in zip(predictions, references)), 'rows': len(predictions), 'words': ['x']}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lengths").mkdir()
    (tmp_path / "lengths" / "lengths.py").write_text(SCRIPT.replace("RESULT", RESULT))
    (tmp_path / "lengths" / "beside.py").write_text("FACTOR = 10\n")
    return tmp_path / "lengths"


def test_a_name_has_its_metric_with_a_direction_and_a_name_of_its_own() -> None:
    for written, name, better in (
        ("evaluate:wer", "wer", "minimize"),
        ("evaluate:./my-metric/", "my_metric", "maximize"),
        ("evaluate:owner/mine", "mine", "maximize"),
        ("evaluate:bleu", "evaluate_bleu", "maximize"),
        ("evaluate:./rouge1.py", "evaluate_rouge1", "maximize"),
    ):
        metric = metric_named(written)
        assert metric is not None
        assert (metric.name, dict(metric.reports)) == (name, {name: better})
    assert metric_named("evaluate:") is library_metric("") is None


def test_a_script_is_found_by_folder_and_by_file(folder: Path) -> None:
    assert script_of(str(folder)) == script_of(str(folder / "lengths.py")) == folder / "lengths.py"
    assert script_of(str(folder.parent)) is None
    assert is_folder("./x") and is_folder("x.py") and is_folder(str(folder))
    assert not is_folder("wer") and not is_folder("owner/wer")


def test_packages_that_a_script_imports_and_that_are_missing_are_named(folder: Path) -> None:
    script = folder / "lengths.py"
    assert missing_packages(script) == []
    script.write_text("import beside\nimport json, no_such_one.part\nfrom another_one import x\n")
    assert missing_packages(script) == ["no_such_one", "another_one"]
    script.write_text("def (")
    with pytest.raises(MetricFault, match="it is no Python"):
        missing_packages(script)


def test_a_score_of_the_library_is_computed_over_all_pairs_and_leaves_stdout_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = LibraryScore("lengths", str(folder), True)
    assert score.result() == {}
    score.pairs = [("a", "bb"), ("aa", "bb"), ("", "b")]
    assert score.result() == {"lengths": 20.0, "lengths_rows": 3.0}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("result", "message"),
    [("{}", "no number"), ("{'a': 'text'}", "no number"), ("1 / 0", "ZeroDivisionError"), ("exit('x')", "SystemExit")],
)
def test_a_metric_without_a_number_or_that_fails_is_a_fault(folder: Path, result: str, message: str) -> None:
    script = folder / "other.py"
    script.write_text(SCRIPT.replace("RESULT", result))
    with pytest.raises(MetricFault, match=message):
        compute(str(script), True, ["a"], ["b"])


def test_a_name_that_was_never_downloaded_is_a_fault_without_a_network() -> None:
    with pytest.raises(MetricFault, match="no_such_metric"):
        compute("no_such_metric", True, ["a"], ["b"])
