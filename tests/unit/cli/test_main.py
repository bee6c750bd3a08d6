"""`autotrain` from argv to exit status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.cli.preparing import Preparing
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.version import VERSION

TRAIN = ["llm", "--trainer", "sft", "--model", "scratch:1m", "--lr", "1e-3", "--epochs", "1", "--batch-size", "2"]


@pytest.fixture
def rows(tmp_path):
    """A small file of prompts with answers, each different from all others."""
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"What comes after {n}?", "completion": f"After {n} comes {n + 1}."} for n in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def document(capsys) -> dict:
    """The one JSON document on standard output."""
    out = capsys.readouterr().out
    assert out.endswith("\n") and out.count("\n") == 1
    return json.loads(out)


@pytest.mark.parametrize("words", [[], ["train"], ["completion"], ["completion", "tcsh"]])
def test_without_a_command_the_usage_is_told_on_standard_error(words, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage: autotrain llm")


@pytest.mark.parametrize("words", [["foo"], [], ["llm", "--foo"], ["llm", "--lr"], ["llm", "--explain", "X1"]])
def test_a_usage_fault_is_one_document_as_json(words, capsys):
    assert main([*words, "--format", "json"]) == 2
    answer = document(capsys)
    assert answer["status"] == "refused" and answer["findings"] and answer["plan"] is answer["report"] is None


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["llm", "--help"], ["completion", "bash"]])
def test_an_answer_in_text_is_one_document_as_json(words, capsys):
    assert main([*words, "--format", "json"]) == 0
    assert document(capsys)["status"] == "ok"


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"autotrain {VERSION}\n"


def test_the_texts_of_the_guide_stand_at_the_start_of_their_lines(capsys):
    main(["llm", "--trainer", "sft", "--dpo-beta", "0.1"])
    main(["llm", "--trainer", "ppo", "--use-distillation"])
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("Warning: dpo_beta only applies to DPO trainer, will be ignored") for line in lines)
    assert any(line.startswith("Error: Distillation is not supported with PPO trainer") for line in lines)


def test_warnings_come_first_errors_last_and_the_count_at_the_end(capsys):
    assert main(["llm", "--trainer", "sft", "--epochs", "0", "--dpo-beta", "0.1", "--lora-r", "8"]) == 2
    lines = capsys.readouterr().err.splitlines()
    kinds = [line.split(":")[0] for line in lines if line.startswith(("Warning", "Error"))]
    assert kinds == sorted(kinds, reverse=True) and set(kinds) == {"Warning", "Error"}
    assert lines[-1] == "2 errors, 2 warnings. Nothing was started."


def test_a_dry_run_prints_the_plan_and_writes_nothing_but_the_rows_of_the_run_after_it(
    rows, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([*TRAIN, "--data-path", rows, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "scratch:1m" in out and "Nothing was started." in err
    assert sorted(tmp_path.iterdir()) == before
    again = {"trainer": "sft", "model": "scratch:1m", "lr": 1e-3, "epochs": 1, "batch_size": 2, "data_path": rows}
    run = RunContext(resolve(parse_kwargs(again).values))
    assert run.prepared is not None and run.prepared.from_cache
    assert RunContext(resolve(parse_kwargs({**again, "dry_run": True, "check_rows": 2}).values)).cache is None


def test_a_dry_run_as_json_has_plan_and_findings_and_no_report(rows, capsys):
    assert main([*TRAIN, "--data-path", rows, "--dry-run", "--dpo-beta", "1", "--format", "json"]) == 0
    answer = document(capsys)
    assert answer["status"] == "ok" and answer["report"] is None
    assert [finding["code"] for finding in answer["findings"]] == ["P101"]
    assert answer["plan"]["ignored"] == ["dpo_beta"]
    assert answer["plan"]["parameters"]["lr"] == {"value": 0.001, "source": "command line"}


def test_strict_lets_a_warning_refuse(rows, capsys):
    command = [*TRAIN, "--data-path", rows, "--dry-run", "--dpo-beta", "1"]
    assert main(command) == 0
    assert main([*command, "--strict"]) == 2
    assert "1 warning. Nothing was started. (--strict)" in capsys.readouterr().err


def test_quiet_leaves_the_plan_out_and_verbose_shows_every_parameter(rows, capsys):
    command = [*TRAIN, "--data-path", rows, "--dry-run"]
    main([*command, "--quiet"])
    assert capsys.readouterr().out == ""
    main([*command, "--verbose"])
    out, err = capsys.readouterr()
    assert "gradient_accumulation" in out and "Using trainer type: sft" in err.splitlines()


def test_verbose_names_the_trainer_before_it_is_loaded(rows, capsys, monkeypatch):
    def carry_out(*_):
        raise RunFailed("stopped here", None)

    monkeypatch.setattr("autotrain_llm.api.carry_out", carry_out)
    for flags, expected in (["--verbose"], True), ([], False):
        assert main([*TRAIN, "--data-path", rows, *flags]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert [line in lines for line in ("Using trainer type: sft", "Initializing SFT trainer...")] == [expected] * 2


def test_a_config_file_is_read_and_the_command_line_wins(rows, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(f"trainer: sft\nmodel: scratch:1m\nlr: 0.5\nepochs: 1\nbatch-size: 2\ndata_path: {rows}\n")
    assert main(["llm", "--config", str(path), "--lr", "0.001", "--dry-run", "--format", "json"]) == 0
    parameters = document(capsys)["plan"]["parameters"]
    assert parameters["lr"] == {"value": 0.001, "source": "command line"}
    assert parameters["batch_size"] == {"value": 2, "source": "config file", "file": str(path)}


def test_a_config_file_is_read_without_llm_as_autotrain_does(rows, tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(f"trainer: sft\nmodel: scratch:1m\ndata_path: {rows}\nlr: 0.001\nepochs: 2\nbatch_size: 4\n")
    for words in (["--config", str(config)], [f"--config={config}"]):
        assert main([*words, "--dry-run", "--format", "json"]) == 0
        assert document(capsys)["plan"]["parameters"]["epochs"]["value"] == 2


def test_a_config_file_that_can_not_be_read_is_a_finding_beside_the_others(tmp_path, capsys):
    assert main(["llm", "--config", str(tmp_path / "none.yaml"), "--nonsense", "--format", "json"]) == 2
    assert {"P104", "P106"} <= {finding["code"] for finding in document(capsys)["findings"]}


def test_explain_prints_the_documentation_of_a_rule(capsys):
    assert main(["llm", "--explain", "p101"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("P101 (warning)") and "Why:" in out and "--dpo-beta" in out


def test_an_unknown_code_is_answered_with_the_nearest(capsys):
    assert main(["llm", "--explain", "PP101"]) == 2
    assert "--explain P101" in capsys.readouterr().err


def test_preview_shows_what_is_trained_on_and_trains_nothing(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main([*TRAIN, "--data-path", rows, "--preview-data", "2"]) == 0
    out = capsys.readouterr().out
    assert "row 2" in out and "row 3" not in out
    assert "⟦" in out and "comes" in out[out.index("row 1") :]
    assert not (tmp_path / "runs").exists()


def test_a_preview_of_the_first_rows_reads_no_others(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Path(rows).open("a") as data:
        data.write("{broken\n")
    assert main([*TRAIN, "--data-path", rows, "--preview-data", "1"]) == 2
    assert main([*TRAIN, "--data-path", rows, "--preview-data", "1", "--check-rows", "3"]) == 0


@pytest.mark.parametrize(
    ("terminal", "shown"),
    [
        (
            True,
            "\r\x1b[KPreparing rows: 20 of 90\r\x1b[KPreparing rows: 30 of 90\r\x1b[KPreparing rows: 90 of 90\r\x1b[K",
        ),
        (False, "Preparing rows: 30 of 90\nPreparing rows: 90 of 90\n"),
    ],
)
def test_how_far_preparing_is_is_said_on_one_line_of_a_terminal_and_now_and_then_in_a_log(terminal, shown, monkeypatch):
    clock = iter([0.0, 0.5, 2.0, 31.0, 31.1, 75.0])
    monkeypatch.setattr("autotrain_llm.cli.preparing.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("autotrain_llm.cli.preparing.is_terminal", lambda stream: terminal)
    screen = SimpleNamespace(err=io.StringIO(), quiet=False)
    with Preparing(screen) as preparing:
        for done in (10, 20, 30, 40, 90):
            preparing.progress("Preparing rows", done, 90)
    assert screen.err.getvalue() == shown


def test_preview_as_json_is_in_the_one_document(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main([*TRAIN, "--data-path", rows, "--preview-data", "1", "--format", "json"]) == 0
    (row,) = document(capsys)["preview"]
    assert {segment["trained"] for segment in row} == {True, False}


def test_a_fault_that_nobody_foresaw_is_one_line_and_its_traceback_is_there_for_who_asks(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no such thing\nas this")

    monkeypatch.setattr("autotrain_llm.checks.preflight.preflight", broken)
    assert main(["llm", "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith("Error: RuntimeError: no such thing as this")
    assert main(["llm", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["llm", "--format", "json"]) == 1
    assert document(capsys)["status"] == "failed"


def test_an_interrupt_while_checking_is_told_and_has_its_status(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("autotrain_llm.checks.preflight.preflight", interrupted)
    assert main(["llm", "--format", "json"]) == 130
    assert document(capsys)["status"] == "interrupted"


def test_a_termination_while_checking_is_told_and_has_its_status(monkeypatch, capsys):
    monkeypatch.setattr(
        "autotrain_llm.checks.preflight.preflight", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
    )
    before = signal.getsignal(signal.SIGTERM)
    assert main(["llm", "--format", "json"]) == 143
    assert document(capsys)["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_while_checking_reaches_a_background_job_too(monkeypatch, capsys):
    """A shell lets its background jobs ignore SIGINT."""
    monkeypatch.setattr(
        "autotrain_llm.checks.preflight.preflight", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(["llm", "--format", "json"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert document(capsys)["status"] == "interrupted"


def test_what_libraries_print_never_reaches_standard_output_beside_the_document():
    program = (
        "import os, sys\n"
        "import autotrain_llm.checks.preflight as preflight\n"
        "def noisy(*_, **__):\n"
        "    print('from python'); os.write(1, b'from below'); os.system('echo from a child')\n"
        "    raise RuntimeError('enough')\n"
        "preflight.preflight = noisy\n"
        "from autotrain_llm.cli.main import main\n"
        "sys.exit(main(['llm', '--format', 'json']))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert json.loads(run.stdout)["status"] == "failed" and run.stdout.count("\n") == 1
    assert all(words in run.stderr for words in ("from python", "from below", "from a child"))


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} -m autotrain_llm llm --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and run.stderr == "" and run.stdout.startswith("usage:")


def test_a_secret_is_not_repeated(capsys):
    main(["llm", "--trainer", "sft", "--token", "hf_secret", "--token=", "--push-to-hub", "--verbose"])
    main(["llm", "--trainer", "sft", "--token", "hf_secret", "--format", "json"])
    out, err = capsys.readouterr()
    assert "hf_secret" not in out + err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_letter_that_the_output_can_not_show_does_not_fail_the_command(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [
        sys.executable,
        "-m",
        "autotrain_llm",
        "llm",
        "--model",
        "模型",
        "--chat-template",
        "模",
        "--epochs",
        "模",
    ]
    run = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert run.returncode == 2 and b"Traceback" not in run.stderr


def test_the_command_alone_prints_its_usage_and_no_error(capsys):
    assert main(["llm"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("usage: autotrain llm --trainer NAME") and "Error" not in said.err


def test_what_one_typo_keeps_from_being_checked_is_one_line(capsys, rows):
    assert main(["llm", "--trainer", "sft", "--modle", "x", "--data-path", "nowhere.jsonl"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("Not checked") for line in lines) == 1
    assert "the model's files; the rows" in lines[-2] and lines[-1].startswith("3 errors")


def test_an_evaluation_before_the_first_step_is_before_the_training():
    from autotrain_llm.cli.progress import Lines

    stream = io.StringIO()
    lines = Lines(stream)
    lines.log(0, {"eval_loss": 3.0, "eval_token_accuracy": 0.25})
    lines.start(4, 0)
    lines.log(2, {"loss": 2.5})
    assert stream.getvalue() == (
        "before training  eval loss 3  eval token accuracy 0.25\nTraining, 4 steps\nstep 2/4  loss 2.5\n"
    )


def test_the_end_of_a_run_shows_what_matters_for_its_trainer(rows, capsys, tmp_path):
    from autotrain_llm import plan
    from autotrain_llm.cli.render import write_report
    from autotrain_llm.run.session.run_report import RunReport

    made = plan(trainer="sft", model="scratch:1m", data_path=rows, lr=1e-3, epochs=1, batch_size=4, valid_split=0.1)
    metrics = {
        "loss": 0.123456, "eval_loss": 0.5, "token_accuracy": 0.9, "eval_token_accuracy": 0.8, "padding_saved": 0.0,
        "mfu": 0.28, "grad_norm": 1.0, "learning_rate": 1e-4, "epoch": 1.0, "tokens_per_second": 1234.5,
        "eval_perplexity": 1.6487,
    }  # fmt: skip
    stream = io.StringIO()
    report = RunReport(made, tmp_path, metrics, 12.0, try_it="autotrain llm --inference --model runs/x")
    write_report(report, stream)
    names = [line.partition("  ")[0] for line in stream.getvalue().splitlines()]
    assert names == [
        "Model", "Evaluation loss", "Loss", "Evaluation token accuracy", "Token accuracy", "Time", "Chat", "Export", "Try it"
    ]  # fmt: skip
    assert (
        f"autotrain export {tmp_path} --to gguf" in stream.getvalue()
        and "1,234 tokens/s at the end" in stream.getvalue()
    )


def test_the_end_of_a_run_shows_the_way_of_its_numbers_and_how_to_look_at_them(
    rows, light_llama, tmp_path, monkeypatch
):
    from autotrain_llm import plan
    from autotrain_llm.cli.render import write_report
    from autotrain_llm.run.session.run_report import RunReport

    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    words = {"trainer": "sft", "model": str(light_llama), "data_path": rows, "lr": 1e-4, "epochs": 1, "batch_size": 4}
    made = plan(**words, peft=True, lora_r=2, valid_split=0.1, log="tensorboard,trackio", tracker_project="ours")
    losses = {1: 5.0, 2: 1.25, 3: 1.5}
    entries = [{"step": step, "eval_loss": loss, "loss": loss / 2} for step, loss in losses.items()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    evaluation = {"before": {"loss": 6.0, "bleu": 1.0}, "during": [], "after": {"loss": 1.5, "bleu": 30.0}}
    report = RunReport(made, tmp_path, {"loss": 0.75}, 12.0, try_it="autotrain llm --inference", evaluation=evaluation)
    stream = io.StringIO()
    write_report(report, stream)
    shown = " ".join(stream.getvalue().split())
    assert "Evaluation loss 6 → 1.5, best 1.25 at step 2 Evaluation BLEU 1 → 30 Loss 2.5 → 0.75, best" in shown
    assert f"Curves tensorboard --logdir {tmp_path.parent} Curves trackio show --project ours" in shown
    assert f"autotrain export {tmp_path} --to merged" in shown


def test_every_trainer_is_judged_by_metrics_that_it_reports():
    from autotrain_llm.config.registry import TRAINERS

    for trainer in TRAINERS.values():
        assert trainer.headline and set(trainer.headline) <= {*trainer.metrics, "kl"}, trainer.name


def test_the_command_of_a_run_has_no_flag_that_was_ignored(rows, tmp_path):
    from autotrain_llm import plan
    from autotrain_llm.run.artifacts.records import command_of

    made = plan(trainer="sft", model="scratch:1m", data_path=rows, lr=1e-3, epochs=1, batch_size=2, dpo_beta=0.3)
    assert made.ignored == ("dpo_beta",)
    assert "--dpo-beta" not in command_of(made, tmp_path)
