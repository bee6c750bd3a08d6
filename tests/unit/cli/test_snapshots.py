"""What a terminal shows, as a whole, at each width: the plan, findings, the help, progress and the result."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

from autotrain_llm import check, plan
from autotrain_llm.checks.coverage import UncheckedItem
from autotrain_llm.cli.progress import Bar
from autotrain_llm.cli.render import count_line, findings_text, unchecked_lines, write_plan, write_report
from autotrain_llm.cli.terminal import width
from autotrain_llm.planning.plan import AlternativePlan, DevicePlan, MemoryPlan, Plan, TokenLengths
from autotrain_llm.run.session.run_report import RunReport
from support.rows import write_rows
from support.snapshots import WIDTHS, assert_is_snapshot, at_each_width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with rows."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"How many legs have {n} spiders?", "completion": f"They have {8 * n}."} for n in range(1, 61)]
    return write_rows(tmp_path / "spiders.jsonl", rows).parent


@pytest.fixture
def made(folder: Path) -> Plan:
    """A plan, with numbers about memory that are those of no machine."""
    made = plan(
        trainer="sft",
        model="scratch:100k",
        data_path="spiders.jsonl",
        lr=1e-3,
        epochs=3,
        batch_size=8,
        valid_split=0.1,
        eval_strategy="steps",
        eval_steps=7,
        save_steps=7,
        load_best_model_at_end=True,
        mixed_precision="fp32",
        log="tensorboard",
    )
    # What follows from the tokenizer that is trained, and from the machine, is not the snapshot's.
    model = dataclasses.replace(made.model, parameters=103_000)
    data = dataclasses.replace(made.data, tokens=TokenLengths(17, 18, 21), trained_token_share=0.47)
    return dataclasses.replace(made, model=model, data=data, memory=memory_of(made.memory))


def memory_of(memory: MemoryPlan) -> MemoryPlan:
    gib = 2**30
    return dataclasses.replace(
        memory,
        peak_memory_bytes=23 * gib,
        moment="in the backward pass of the last layer",
        memory={"libraries": gib, "activations": 14 * gib, "gradients": 2 * gib, "optimizer states": 6 * gib},
        device=DevicePlan("GPU", 24 * gib, None, True, None),
        checkpoint_bytes=3 * gib // 2,
        alternatives=(
            AlternativePlan("--batch-size 4 --gradient-accumulation 2", {}, 16 * gib),
            AlternativePlan("--gradient-checkpointing", {}, 11 * gib),
        ),
    )


def test_the_plan_looks_as_it_did(made, monkeypatch):
    def shown() -> str:
        stream = Terminal()
        write_plan(made, stream, False)
        return stream.getvalue()

    assert_is_snapshot("plan", at_each_width(monkeypatch, shown))


def test_findings_look_as_they_did(folder, monkeypatch):
    found = check(
        trainer="sft", modle="x", model="scratch:1m", data_path="spider.jsonl", lr=3, epochs=0, rl_top_k=3, beta=0.1
    )
    left = [UncheckedItem("the rows", "they can't be used as given", "fix the findings, and check again")]

    def shown() -> str:
        stream = Terminal()
        parts = (findings_text(found, stream), unchecked_lines(left, stream), count_line(found, started=False))
        return "\n".join(parts)

    assert_is_snapshot("findings", at_each_width(monkeypatch, shown))


def test_the_help_looks_as_it_did(monkeypatch):
    from autotrain_llm.cli.help import page

    assert_is_snapshot("help", at_each_width(monkeypatch, lambda: page(None, width(Terminal()), False, whole=False)))


def test_progress_looks_as_it_did(monkeypatch):
    def shown() -> str:
        stream = Terminal()
        bar = Bar(stream)
        bar.stage("Loading scratch:100k")
        bar.log(0, {"eval_loss": 6.93147, "eval_token_accuracy": 0.0018, "eval_seconds": 1.0})
        bar.start(250, 0)
        bar.log(40, {"loss": 2.71828, "learning_rate": 9.5e-4, "tokens_per_second": 48213.0, "grad_norm": 1.1})
        bar.note("Warning: the rewards of 3 rollouts never differ, so that nothing is learned from them [P741]")
        bar.finish()
        # Of the bar's frames the last; a terminal draws each over the one before.
        text = re.sub(r"(Training [^\n]*\r?\n?)+(?=Training)", "", stream.getvalue().replace("\r", "\n"))
        lines = [line for line in text.split("\n") if line.strip()]
        return re.sub(r"[-\d]+:[-\d]+(?::[-\d]+)?", "-:--", "\n".join(dict.fromkeys(lines)))

    assert_is_snapshot("progress", at_each_width(monkeypatch, shown))


def test_the_result_looks_as_it_did(made, monkeypatch):
    run = Path("runs/spiders")
    run.mkdir(parents=True)
    curve = {1: 6.9, 7: 3.2, 14: 1.31, 21: 1.36}
    entries = [{"step": step, "loss": loss - 0.1, "eval_loss": loss} for step, loss in curve.items()]
    entries[-1] |= {"token_accuracy": 0.71, "padding_saved": 0.0}
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    report = RunReport(
        made,
        run,
        {"loss": 1.26, "eval_loss": 1.36, "padding_saved": 0.0, "tokens_per_second": 48213.0},
        83.2,
        files=["report.html"],
        try_it="autotrain llm --inference --model runs/spiders --prompts 'How many legs have 3 spiders?'",
        model_step=14,
        last_step=21,
    )

    def shown() -> str:
        stream = Terminal()
        write_report(report, stream)
        return stream.getvalue()

    assert_is_snapshot("result", at_each_width(monkeypatch, shown))


def test_no_line_of_a_snapshot_is_wider_than_its_terminal():
    from support.snapshots import FOLDER

    for path in sorted(FOLDER.glob("*.txt")):
        columns = 0
        for line in path.read_text(encoding="utf-8").split("\n"):
            if re.fullmatch(r"\d+ columns =*", line):
                columns = int(line.split()[0])
            assert len(line) <= columns or columns not in WIDTHS, f"{path.name}: {line}"
