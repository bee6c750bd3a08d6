"""report.html: what a run left, on one page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import train
from autotrain_llm.cli.main import main
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.model_card import ModelCard
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.report import formatting
from autotrain_llm.run.report.curves import label, panels, points_of, thinned, unchanged
from autotrain_llm.run.report.headline import Headline
from autotrain_llm.run.report.plots import draw
from autotrain_llm.run.report.svg import step_axis, ticks, value_axis
from autotrain_llm.run.report.write import try_write_report, write_report
from support.rows import questions, write_rows

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
EMPTY_TAGS = {"meta", "br", "img", "link", "input", "hr", "source"}


class Page(HTMLParser):
    """A page's tags, in order; `wrong` holds what was closed that was not open, `addresses` what src, href and the like name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action", "srcset")
        ]
        if tag not in EMPTY_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY_TAGS:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read_page(folder: Path) -> Page:
    """The page of a folder, which is whole, loads nothing and runs nothing but its own script."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.wrong == [] and page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert [address for address in page.addresses if not address.startswith("#")] == []
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert {"link", "iframe", "object", "embed", "img"} & set(page.tags) == set()
    assert page.tags.count("script") == 1
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not any(name.startswith("on") for name in page.attributes)
    assert "@import" not in text and "url(http" not in text
    return page


def log_of(steps: int, **curves: Any) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: each curve is a function of the step."""
    return [
        {"step": step, "time": 1.0, **{name: curve(step) for name, curve in curves.items()}}
        for step in range(1, steps + 1)
    ]


def write_folder(folder: Path, **changes: Any) -> Path:
    """The least that a run leaves: run.json, with changes."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "status": "ok",
        "started": "2030-01-02T03:04:05+0000",
        "plan": {"trainer": "sft", "parameters": {"lr": {"value": 1e-3, "source": "command line"}}},
        "findings": [],
        "versions": {"torch": "2.13.0"},
        "metrics": {"loss": 1.25},
        "outcome": {"steps": 3},
        "seconds": 83.2,
    }
    (folder / "run.json").write_text(json.dumps(document | changes))
    return folder


def write_sweep(folder: Path, trials: int = 24) -> Path:
    """The record of a sweep; its third trial fails."""
    (folder / "sweep").mkdir()
    listed: list[dict[str, Any]] = []
    for number in range(trials):
        values = {
            "lr": 10 ** (-5 + number % 7 / 2),
            "lora_r": 4 + number * 5 % 61,
            "scheduler": ["linear", "cosine", "a$b$"][number % 3],
        }
        score = 1 + abs(values["lr"] - 1e-3) * 100 + values["lora_r"] / 100
        entry = {
            "number": number,
            "values": values,
            "intermediate": {str(step): score + 1 / step for step in (1, 2, 3)},
            "seconds": 12.5,
            "folder": f"sweep/trial-{number}",
        }
        failed = {"state": "failed", "metric": None, "failure": f"out of memory {EVIL}"}
        listed.append(entry | (failed if number == 2 else {"state": "complete", "metric": score}))
    complete = [trial for trial in listed if trial["state"] == "complete"]
    document = {
        "metric": "eval_loss",
        "direction": "minimize",
        "space": {"lr": {"low": 1e-5, "high": 1e-2, "log": True, "step": None}},
        "best": min(complete, key=lambda trial: trial["metric"])["number"],
        "importances": {"lr": 0.75, "lora_r": 0.2, "scheduler": 0.05},
        "trials": listed,
    }
    (folder / "sweep" / "trials.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def tiny(llama: Path, tmp_path: Path) -> dict[str, Any]:
    """The flags of a run of a few steps that evaluates, with one finding."""
    return {
        "trainer": "sft",
        "model": str(llama),
        "data_path": str(write_rows(tmp_path / "chat.jsonl", questions(24))),
        "valid_split": "0.25",
        "eval_strategy": "steps",
        "eval_steps": 2,
        "logging_steps": 1,
        "max_steps": 4,
        "batch_size": 4,
        "lr": 1e-3,
        "dpo_beta": 0.1,
        "output_dir": str(tmp_path / "run"),
    }


# ---- of real runs


@pytest.mark.slow
def test_a_run_leaves_a_report_with_its_findings_plan_curves_and_versions(tiny, tmp_path):
    report = train(**tiny)
    page = read_page(tmp_path / "run")
    assert (
        "report.html" in report.files and "report.html" in json.loads((tmp_path / "run/run.json").read_text())["files"]
    )
    assert "Finished" in page.text and "P101 --dpo-beta" in page.text and "fix: remove --dpo-beta" in page.text
    assert "--lr 0.001 command line" in page.text and "--weight-decay 0.01 default" in page.text
    assert f"torch {report.versions['torch']}" in page.text and "autotrain llm \\ --trainer sft" in page.text
    assert "Evaluation loss" in page.text and "Rows as they were trained" in page.text
    assert '<span class="trained">' in (tmp_path / "run" / "report.html").read_text()
    for title in ("Loss", "Token accuracy", "Perplexity", "Learning rate", "Speed"):
        assert title in page.text
    assert page.tags.count("svg") >= 7 and "could not be drawn" not in page.text


@pytest.mark.slow
def test_a_run_that_fails_leaves_a_report_of_how_far_it_got(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(RunFailed):
        train(
            **{**tiny, "lr": 1e30, "max_grad_norm": 0.0, "warmup_ratio": 0.0, "save_strategy": "steps", "save_steps": 1}
        )
    page = read_page(tmp_path / "run")
    assert "Failed" in page.text and "not a number" in page.text and "Fix: a lower --lr" in page.text


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on(tiny, tmp_path):
    import os
    import signal

    from autotrain_llm.run.failures import Interrupted

    class Stop(ProgressCallback):
        def step(self, step: int) -> None:
            if step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(Stop(), **tiny)
    page = read_page(tmp_path / "run")
    assert "Interrupted after step 2" in page.text and "--resume" in page.text and "Loss" in page.text


def test_a_report_that_cannot_be_written_is_a_note_and_no_failure(tmp_path):
    said = []

    class Notes(ProgressCallback):
        def note(self, text: str) -> None:
            said.append(text)

    try_write_report(tmp_path / "nowhere", Notes())
    (note,) = said
    assert note.startswith("report.html could not be written") and "autotrain report" in note


@pytest.mark.slow
def test_a_secret_is_never_in_it(tiny, tmp_path):
    train(**tiny, token="hf_verysecret")
    assert "hf_verysecret" not in (tmp_path / "run/report.html").read_text()
    folder = write_folder(
        tmp_path / "old", plan={"parameters": {"token": {"value": "hf_verysecret", "source": "command line"}}}
    )
    write_report(folder)
    assert "hf_verysecret" not in (folder / "report.html").read_text()


# ---- the command


def test_the_command_writes_it_anew(tmp_path, capsys):
    folder = write_folder(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert main(["report", str(folder), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == str(folder / "report.html")
    read_page(folder)


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--all"]])
def test_the_command_needs_one_folder(words, capsys):
    assert main(["report", *words]) == 2
    assert "P122" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "P125" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    assert main(["report", str(tmp_path / "nowhere")]) == 2


# ---- of the files that a folder may hold


def test_every_file_but_run_json_may_be_missing(tmp_path):
    folder = write_folder(tmp_path / "run")
    write_report(folder)
    page = read_page(folder)
    assert "1 min 23 s" in page.text and "About this page" not in page.text and "svg" not in page.tags


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"plan": 3, "metrics": [], "findings": {}, "outcome": "?"}'])
def test_a_damaged_run_json_still_gives_a_page(text, tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "run.json").write_text(text)
    write_report(folder)
    read_page(folder)


def test_damaged_lines_are_skipped_and_said(tmp_path):
    folder = write_folder(tmp_path / "run")
    good = [json.dumps(entry) for entry in log_of(4, loss=lambda step: 1 / step)]
    (folder / "metrics.jsonl").write_text(
        "\n".join([*good[:2], '{"step": 3, "lo', "[1]", *good[2:], '{"loss": 1}']) + "\n"
    )
    write_report(folder)
    page = read_page(folder)
    assert "metrics.jsonl: 2 damaged lines were skipped (first: line 3)." in page.text
    assert page.tags.count("svg") == 1


def test_whatever_texts_hold_is_shown_and_never_run(tmp_path):
    name = f"run {EVIL.replace('/', '')}"
    plan = {"trainer": EVIL, "parameters": {"model": {"value": EVIL, "source": EVIL}}, "ignored": [EVIL]}
    finding = {
        "code": EVIL,
        "severity": EVIL,
        "message": EVIL,
        "fix": EVIL,
        "parameters": [EVIL],
        "file": EVIL,
        "row": 1,
    }
    folder = write_folder(
        tmp_path / name,
        plan=plan,
        findings=[finding],
        status=EVIL,
        metrics={EVIL: 1.0},
        outcome={"failure": EVIL, "fix": EVIL},
        versions={EVIL: EVIL},
        files=[EVIL],
    )
    (folder / "eval").mkdir()
    write_rows(folder / "metrics.jsonl", log_of(3, **{EVIL: float, "</svg>" + EVIL: float}))
    rows = [
        {"prompt": EVIL, "reference": EVIL * 40, "prediction": [{"role": EVIL, "content": EVIL}], "scores": {EVIL: 1}}
    ]
    write_rows(folder / "eval" / "predictions.jsonl", rows)
    write_rows(folder / "samples.jsonl", [{"step": 1, "prompt": EVIL, "completion": EVIL, "reward": 1.0}])
    (folder / "eval/metrics.json").write_text(json.dumps({"before": {EVIL: 1}, "after": {EVIL: 2}}))
    (folder / "eval/benchmark.json").write_text(json.dumps({EVIL: {EVIL: 1, "words": EVIL}}))
    (folder / "command.sh").write_text(f"#!/bin/sh\nautotrain llm --model '{EVIL}'\n")
    write_report(folder)
    page = read_page(folder)
    assert page.text.count("<script>") > 20 and page.tags.count("script") == 1


def test_answers_before_and_after_training_stand_side_by_side(tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "eval").mkdir()
    rows = [{"file": "a.jsonl", "row": n, "prompt": f"question {n}?", "reference": "r"} for n in range(3)]
    write_rows(
        folder / "eval/predictions_before.jsonl", [{**row, "prediction": f"early {row['row']}"} for row in rows[:2]]
    )
    write_rows(folder / "eval/predictions.jsonl", [{**row, "prediction": f"late {row['row']}"} for row in rows])
    write_report(folder)
    text = read_page(folder).text
    assert "question 1? reference r before training early 1 after training late 1" in text
    assert "question 2? reference r output late 2" in text


def test_trained_tokens_of_rows_are_marked(tmp_path):
    folder = write_folder(tmp_path / "run")
    texts = [{"text": f"Say it {EVIL}", "trained": False}, {"text": f"It {EVIL}", "trained": True}]
    rows = [{"source": None, "parts": [{"name": "row", "texts": texts}]}, {"parts": 3}, {"parts": [{"texts": [{}, 1]}]}]
    (folder / "trained_rows.json").write_text(json.dumps({"rows": [*rows, 5]}))
    write_report(folder)
    read_page(folder)
    page = (folder / "report.html").read_text()
    assert "Say it &lt;script" in page and '<span class="trained">It &lt;script' in page


def test_the_numbers_at_the_top_are_few_with_their_change_and_the_best_step(tmp_path):
    folder = write_folder(tmp_path / "run", seconds=3.0, plan={"trainer": "ppo"})
    curve = {
        "loss": lambda step: step / 2,
        "reward": lambda step: [1, 5, 2][step - 1],
        "kl": float,
        "padding_saved": lambda _: 0,
    }
    write_rows(folder / "metrics.jsonl", log_of(3, **curve))
    write_report(folder)
    page = read_page(folder)
    assert "Reward 2 from 1, +1 (+100%) best 5 at step 2" in page.text
    assert (
        page.text.index("Reward mean of the answers") < page.text.index("Loss")
        and "The same at every log: padding saved 0." in page.text
    )
    (folder / "run.json").write_text("{}")
    write_report(folder)
    assert "Loss 1.5 from 0.5, +1 (+200%) best 0.5 at step 1" in read_page(folder).text


def test_a_best_value_that_looks_like_the_last_one_is_not_said():
    first, last = (1, 0.61), (9, 0.568835)
    assert Headline("eval_loss", first, last, (5, 0.568782)).in_words() == "0.61 → 0.5688"
    assert Headline("eval_loss", first, last, (5, 0.5682)).in_words() == "0.61 → 0.5688, best 0.5682 at step 5"


@pytest.mark.parametrize(
    ("difference", "before", "words"),
    [(-0.01, 5.0, "−0.01"), (-0.05, 5.0, "−0.05 (−1%)"), (0.0, 5.0, "±0 (±0%)"), (1.0, 0.0, "+1"), (None, 1.0, "")],
)
def test_a_change_is_a_share_of_what_was_before_where_it_is_not_nothing(difference, before, words):
    assert formatting.change(difference, before) == words


def test_what_was_measured_before_and_after_stands_side_by_side(tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "eval").mkdir()
    document = {
        "before": {"bleu": 2.0, "rouge": {"rougeL": 0.5}},
        "during": [{"step": 5, "bleu": 3.0}],
        "after": {"bleu": 5.0, "rouge": {"rougeL": 0.25}, "new": 1},
    }
    (folder / "eval/metrics.json").write_text(json.dumps(document))
    write_rows(folder / "metrics.jsonl", log_of(9, loss=lambda step: 1 / step))
    write_report(folder)
    page = read_page(folder)
    assert (
        "BLEU 2 5 +3 (+150%)" in page.text
        and "rouge/rougeL 0.5 0.25 −0.25 (−50%)" in page.text
        and "new – 1" in page.text
    )
    learning, _ = panels(points_of(log_of(9, loss=float), document))
    assert [series.points for panel in learning for series in panel.series if series.name == "eval_bleu"] == [
        [(0, 2.0), (5, 3.0), (9, 5.0)]
    ]


def test_predictions_and_samples_come_from_all_over_their_files_and_long_ones_are_folded(tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "eval").mkdir()
    rows = [
        {"prompt": f"question {n}.", "reference": "r", "prediction": "word " * 5000, "rougeL": 0.5} for n in range(1000)
    ]
    write_rows(folder / "eval/predictions.jsonl", rows)
    write_rows(
        folder / "samples.jsonl",
        [{"step": n, "prompt": "p", "completion": f"answer {n}.", "reward": n / 10} for n in range(500)],
    )
    write_report(folder)
    page = read_page(folder)
    assert "16 of 1000" in page.text and "question 0." in page.text and "question 999." in page.text
    assert (
        "24 of 500" in page.text
        and "answer 0." in page.text
        and "answer 499." in page.text
        and "reward 49.9" in page.text
    )
    assert page.tags.count("details") == 16 and "more characters" in page.text
    assert (folder / "report.html").stat().st_size < 200_000


def test_raw_names_of_metrics_are_shown_in_words():
    assert label("eval_rewards/margins") == "evaluation reward margin"
    assert label("mfu_of_mine") == "mfu of mine" and label("objective/kl") == "KL per answer"


def test_a_benchmark_is_a_table_whatever_its_shape(tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "eval").mkdir()
    for document, shown in (
        ({"arc": {"accuracy": 0.25, "samples": 40}, "seconds": 3.5}, "arc 0.25 40"),
        ({"accuracy": 0.25, "name": "arc"}, "accuracy 0.25"),
        ([{"task": "arc", "scores": {"accuracy": 0.25}}], "arc 0.25"),
    ):
        (folder / "eval/benchmark.json").write_text(json.dumps(document))
        write_report(folder)
        assert shown in read_page(folder).text


# ---- curves


def test_a_long_curve_keeps_its_ends_and_its_peaks():
    points = [(float(step), 1.0) for step in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    points[76_543] = (76_543.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= 240 and kept == sorted(kept)
    assert {points[0], points[-1], points[54_321], points[76_543]} <= set(kept)
    assert thinned(points[:240]) == points[:240]


def test_a_long_run_is_no_more_than_a_few_hundred_kilobytes(tmp_path):
    folder = write_folder(tmp_path / "run")
    names = (
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
        "rewards/chosen",
        "rewards/rejected",
        "logps/chosen",
    )
    noisy = {
        name: lambda step, seed=seed: ((step * 7919 + seed * 104_729) % 1000) / 1000 for seed, name in enumerate(names)
    }
    write_rows(folder / "metrics.jsonl", log_of(20_000, **noisy))
    write_report(folder)
    assert (folder / "report.html").stat().st_size < 300_000


def test_curves_that_belong_together_share_a_plot_and_unknown_ones_get_their_own():
    names = (
        "loss",
        "eval_loss",
        "rewards/chosen",
        "rewards/rejected",
        "eval_rewards/chosen",
        "learning_rate",
        "my_metric",
    )
    curves = {name: lambda step, factor=factor: step * factor for factor, name in enumerate(names, 1)}
    learning, running = panels(points_of(log_of(3, **curves, epoch=float, eval_seconds=float), {}))
    drawn = {panel.title: [series.name for series in panel.series] for panel in [*learning, *running]}
    assert drawn == {
        "Loss": ["loss", "eval_loss"],
        "Implicit rewards": ["rewards/chosen", "eval_rewards/chosen", "rewards/rejected"],
        "my metric": ["my_metric"],
        "Learning rate": ["learning_rate"],
    }


def test_curves_that_never_change_or_are_drawn_already_are_left_out():
    curves = {
        "loss": float,
        "advantage_std": lambda _: 1.0,
        "reward": lambda step: step**2,
        "rewards/mine": lambda step: step**2,
    }
    log = log_of(4, **curves, kl=lambda _: 0.0, learning_rate=lambda _: 1e-3)
    points = points_of(log, {})
    learning, running = panels(points, ("reward", "kl"))
    assert [panel.title for panel in learning] == ["Reward", "KL estimate", "Loss"] and running == []
    assert unchanged(points, ("reward", "kl")) == [("advantage_std", 1.0), ("learning_rate", 1e-3)]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 1),
        (0.9999991, 1.0000004),
        (-3, 12),
        (1e-6, 5e-6),
        (0, 123456),
        (1.2e7, 9.9e8),
        (41.13, 41.17),
        (-0.002, 0.001),
    ],
)
def test_ticks_are_round_and_no_two_are_alike(low, high):
    shown = ticks(low, high, 5)
    texts = [text for _, text in shown]
    assert 3 <= len(shown) <= 7 and len(set(texts)) == len(texts)
    for value, text in shown:
        assert low <= value <= high or value == pytest.approx(low) or value == pytest.approx(high)
        assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(value, rel=1e-6, abs=(high - low) / 1000)


def test_steps_have_whole_numbers_and_a_wide_range_a_logarithmic_axis():
    assert [text for _, text in step_axis([1, 4]).ticks] == ["1", "2", "3", "4"]
    assert [text for _, text in step_axis([7]).ticks] == ["7"]
    assert [text for _, text in value_axis([1.0, 1e6], is_log=True).ticks][:2] == ["1", "10"]
    assert 3 <= len(value_axis([3.1e-4, 3.3e-4], is_log=True).ticks) <= 7  # of a sweep whose trials lie close together


def test_a_plot_carries_the_values_that_its_script_shows():
    (panel,), _ = panels(points_of(log_of(3, loss=lambda step: 1 / 3**step), {}))
    svg = draw(panel)
    data = json.loads(html.unescape(svg.split('data-plot="')[1].split('"')[0]))
    (curve,) = data["curves"]
    assert (curve["name"], curve["x"], curve["y"]) == ("training", [1, 2, 3], [0.33333, 0.11111, 0.037037])
    assert len(curve["at"]) == 3 and curve["at"] == sorted(curve["at"])


# ---- sweeps


def test_a_sweep_comes_first_with_its_trials_the_best_values_importances_and_plots(tmp_path):
    folder = write_sweep(write_folder(tmp_path / "run"))
    write_rows(folder / "metrics.jsonl", log_of(3, loss=float))
    write_report(folder)
    page = read_page(folder)
    assert "24 trials: 23 complete, 1 failed" in page.text and "Best values: evaluation loss" in page.text
    assert (
        "--lr 75%" in page.text and "an estimate from 23 trials" in page.text and "out of memory <script>" in page.text
    )
    for what in ("by trial", "during the trials", "by lr", "by lora_r", "by scheduler"):
        assert f"evaluation loss {what}" in page.text
    assert "could not be drawn" not in page.text and page.tags.count("svg") == 6
    assert page.text.index("24 trials") < page.text.index("Curves of trial 0, the best")
    assert (folder / "report.html").stat().st_size < 300_000


def test_importances_of_few_trials_are_not_shown(tmp_path):
    folder = write_sweep(write_folder(tmp_path / "run"), trials=12)
    write_report(folder)
    assert "importances" not in read_page(folder).text


def test_a_sweep_whose_trials_all_failed_is_still_a_page(tmp_path):
    folder = write_folder(tmp_path / "run")
    (folder / "sweep").mkdir()
    (folder / "sweep/trials.json").write_text(json.dumps([{"number": 0, "state": "failed", "values": {"lr": 1e-3}}]))
    write_report(folder)
    assert "1 trial: 1 failed" in read_page(folder).text


# ---- the model card


@pytest.mark.slow
def test_the_model_card_tells_what_was_evaluated_before_and_after(tiny, tmp_path, monkeypatch):
    write = ModelCard.write

    def with_evaluation(card: ModelCard, *rest: Any) -> None:
        (card.folder / "eval").mkdir()
        (card.folder / "eval/metrics.json").write_text('{"before": {"bleu": 2.5}, "after": {"bleu": 5, "chrf": 7}}')
        write(card, *rest)

    monkeypatch.setattr(ModelCard, "write", with_evaluation)
    train(**tiny)
    card = (tmp_path / "run/README.md").read_text()
    assert "| evaluated | before | after |" in card and "| bleu | 2.5 | 5 |" in card and "| chrf |  | 7 |" in card


# ---- in a browser


def test_a_stage_without_a_run_or_a_given_trainer_has_the_default_one(tmp_path):
    inputs = {"parameters": {"lr": 1e-4}, "files": {}, "stages": {}}
    stage = {"name": "first", "inputs": inputs, "replaces": None, "status": "failed", "seconds": 1.0, "selection": None}
    document = {"form": 1, "status": "failed", "config": "stages.yaml", "selection": None, "stages": [stage]}
    (tmp_path / "pipeline.json").write_text(json.dumps(document))
    page = write_report(tmp_path).read_text()
    assert '<td class="name">first</td><td>sft</td>' in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_browser_shows_it(tmp_path):
    folder = write_sweep(write_folder(tmp_path / "run"))
    write_rows(folder / "metrics.jsonl", log_of(50, loss=lambda step: 3 / step, eval_loss=lambda step: 3.1 / step))
    write_rows(folder / "samples.jsonl", [{"step": 1, "prompt": EVIL, "completion": EVIL, "reward": 1.0}])
    write_report(folder)
    picture = tmp_path / "page.png"
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=420,1600"]
    done = subprocess.run(
        [*words, f"--screenshot={picture}", (folder / "report.html").as_uri()],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    # A page of one colour would be some two kilobytes.
    assert picture.stat().st_size > 20_000
