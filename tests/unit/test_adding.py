"""A stranger adds a parameter, a trainer, a rule, a metric and a data format by the table in CONTRIBUTING.md, in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.paths import PROJECT
from support.rows import write_rows

pytestmark = pytest.mark.slow

PARAMETER = """
    shuffled_words: int = param(
        0, "Words of each answer that are shuffled.", within=AT_LEAST_ONE, also=(0,), aliases="n_shuffled"
    )
"""
TRAINER = '''
"""`--trainer gentle`: next-token prediction with a smaller step on the first rows."""

from __future__ import annotations

from autotrain_llm.declare.param import POSITIVE, TAKES_EFFECT, group, param
from autotrain_llm.declare.trainer import Trainer, Usual
from autotrain_llm.params.data import PromptColumn
from autotrain_llm.params.evaluation import GeneratedAnswers
from autotrain_llm.params.text import ChatTemplate
from autotrain_llm.trainers.shared import CORE, REQUIRED, usual


@group("Gentle fine-tuning", order=690)
class Gentle:
    """How gentle."""

    gentle_factor: float = param(0.5, "Factor of the loss.", within=POSITIVE, on_resume=TAKES_EFFECT)


TRAINER = Trainer(
    name="gentle",
    title="Gentle",
    order=95,
    summary="Gentle fine-tuning: the loss of each token is weighted down.",
    purpose="Shows what a new trainer needs.",
    rows="conversations",
    groups=(*CORE, PromptColumn, ChatTemplate, Gentle, GeneratedAnswers),
    requires=REQUIRED,
    usual=usual(lr=Usual(2e-5, 2e-4)),
    learning_rates={"full": (1e-7, 3e-3), "lora": (1e-6, 5e-3)},
    recipe="autotrain_llm.run.algorithms.gentle:Gentle",
    settings=("gentle_factor",),
    metrics={"loss": "minimize"},
)
'''
RECIPE = '''
"""The recipe of gentle."""

from __future__ import annotations

from dataclasses import replace

from autotrain_llm.run.algorithms.recipe import Recipe
from autotrain_llm.run.engine.objective import Objective, next_token


class Gentle(Recipe):
    """Cross entropy, times a factor."""

    def make_objective(self) -> Objective:
        plain, factor = next_token(), self.plan.objective.settings["gentle_factor"]
        return replace(plain, loss=lambda output, batch: factor * plain.loss(output, batch))
'''
RULE = '''

@rule("P999", WARNING, refuses="--shuffled-words 9", accepts="--shuffled-words 2")
def few_words_are_shuffled(config: Config) -> Iterator[Finding]:
    """`--shuffled-words` above 8.

    Why: nothing of the answer is left.
    Fix: fewer words.
    """
    if config.value_of("shuffled_words") > 8:
        yield Finding("--shuffled-words above 8", changes={"shuffled_words": 8}, parameters=("shuffled_words",))
'''
METRIC = '''
"""First letters."""

from __future__ import annotations

from autotrain_llm.declare.metric import ANSWERS, MAXIMIZE, Metric

METRIC = Metric(
    name="first_letter",
    title="share of generated answers that begin as the reference does",
    reports={"first_letter": MAXIMIZE},
    rows=ANSWERS,
    score="autotrain_llm.run.evaluation.scores:FirstLetter",
)
'''
SCORE = '''

class FirstLetter:
    """The share of answers that begin with the letter of the reference."""

    def __init__(self) -> None:
        self.sums = np.zeros(2)

    def add(self, answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        each = [{"first_letter": float(one[:1] == other[:1])} for one, other in zip(answers, references, strict=True)]
        self.sums += [sum(one["first_letter"] for one in each), len(each)]
        return each

    def result(self) -> dict[str, float]:
        return means(["first_letter"], self.sums)
'''
RECOGNISER = '''
def riddle(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """A riddle and its solution."""
    asked, solved = columns.find(("riddle",), "text"), columns.find(("solution",), "text")
    return ColumnMapping("riddle/solution", {"prompt": asked, "completion": solved}) if asked and solved else None


RECOGNISERS: '''


def insert(path: Path, before: str, text: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1, (path, before)
    path.write_text(content.replace(before, text), encoding="utf-8")


class Copy:
    """A copy of the package and of its generated documents, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "src" / "autotrain_llm"
        shutil.copytree(PROJECT / "src" / "autotrain_llm", self.package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(PROJECT / "docs", folder / "docs")
        shutil.copy(PROJECT / "PARAMETER_GUIDE.md", folder)

    def run(self, module: str, words: str) -> subprocess.CompletedProcess[str]:
        surroundings = {**os.environ, "PYTHONPATH": str(self.folder / "src"), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", module, *shlex.split(words)]
        return subprocess.run(command, cwd=self.folder, env=surroundings, capture_output=True, text=True, check=False)

    def llm(self, words: str) -> dict[str, Any]:
        answer = self.run("autotrain_llm", f"llm {words} --format json")
        assert answer.stdout, answer.stderr
        document: dict[str, Any] = json.loads(answer.stdout)
        return document


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The copy with all five things added, each where the table says."""
    copy = Copy(tmp_path_factory.mktemp("copy"))
    package = copy.package
    insert(package / "params" / "data.py", "    text_column: str | None", PARAMETER + "    text_column: str | None")
    (package / "trainers" / "gentle.py").write_text(TRAINER.lstrip(), encoding="utf-8")
    (package / "run" / "algorithms" / "gentle.py").write_text(RECIPE.lstrip(), encoding="utf-8")
    for name, text in (("checks/rules/schedule.py", RULE), ("run/evaluation/scores.py", SCORE)):
        with (package / name).open("a", encoding="utf-8") as file:
            file.write(text)
    (package / "metrics" / "first_letter.py").write_text(METRIC.lstrip(), encoding="utf-8")
    detect = package / "data" / "formats" / "detect.py"
    insert(detect, "\nRECOGNISERS: ", RECOGNISER)
    insert(detect, '    "conversations": (messages, ', '    "conversations": (riddle, messages, ')
    insert(
        package / "data" / "formats" / "convert.py",
        '    "prompt/completion": _pair,\n',
        '    "prompt/completion": _pair,\n    "riddle/solution": _pair,\n',
    )
    write_rows(
        copy.folder / "riddles.jsonl",
        [{"riddle": f"What is {n} and {n}?", "solution": f"It is {n + n}."} for n in range(12)],
    )
    return copy


NEW = "--trainer gentle --model scratch:100k --data-path riddles.jsonl --lr 1e-3 --epochs 1 --batch-size 4"


def test_every_place_that_was_changed_is_in_the_table():
    table = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = "params/ trainers/ run/algorithms/ checks/rules/ metrics/ run/evaluation/scores.py data/formats/detect.py data/formats/convert.py"
    assert [place for place in places.split() if f"`{place}`" not in table] == []


def test_help_knows_what_was_added(copy):
    answer = copy.run("autotrain_llm", "llm --trainer gentle --help")
    assert answer.returncode == 0 and "--gentle-factor" in answer.stdout and "--shuffled-words" in answer.stdout
    assert "gentle" in copy.run("autotrain_llm", "llm --help").stdout


def test_the_documents_are_out_of_date_until_they_are_written_again(copy):
    stale = copy.run("autotrain_llm.docs", "--check")
    assert stale.returncode == 1 and len(stale.stdout.splitlines()) == 3
    assert copy.run("autotrain_llm.docs", "write").returncode == 0
    assert copy.run("autotrain_llm.docs", "--check").returncode == 0
    guide, rules, schema = (
        (copy.folder / name).read_text(encoding="utf-8")
        for name in ("PARAMETER_GUIDE.md", "docs/rules.md", "docs/schema.json")
    )
    assert "--gentle-factor" in guide and "first_letter" in guide and "--shuffled-words" in guide
    assert "P999" in rules and "--shuffled-words 9" in rules
    assert re.search(r"^\\|.*gentle", guide, re.IGNORECASE | re.MULTILINE), "the matrix"
    properties = json.dumps(json.loads(schema))
    assert '"gentle_factor"' in properties and '"shuffled_words"' in properties


def test_a_dry_run_knows_what_was_added(copy):
    document = copy.llm(f"{NEW} --shuffled-words 9 --gentle-factor 0.25 --dry-run")
    assert [finding["code"] for finding in document["findings"]] == ["P999"]
    plan = document["plan"]
    assert plan["data"]["format"] == "riddle/solution" and plan["data"]["rows"] == 12
    assert plan["objective"]["gentle_factor"] == 0.25
    assert copy.llm(f"{NEW} --shuffled-words 9 --fix")["fixed"]["applied"][0]["changes"] == {"shuffled_words": 8}
    assert [
        finding["code"] for finding in copy.llm(f"{NEW} --gentle-factor 0 --n_shuffled 2 --dry-run")["findings"]
    ] == [
        "P102",
        "P301",
    ]


def test_a_run_trains_and_is_evaluated_by_what_was_added(copy):
    flags = (
        "--gentle-factor 0.25 --valid-split 2 --use-enhanced-eval --eval-metrics first_letter --eval-max-new-tokens 2"
    )
    document = copy.llm(f"{NEW} {flags} --max-steps 1 --output-dir run")
    assert document["status"] == "ok", document["findings"]
    assert "first_letter" in json.dumps(document["report"]["evaluation"])
