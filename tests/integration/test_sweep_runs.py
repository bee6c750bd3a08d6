"""Sweeps that are really carried out, with a tiny model, through the command and from Python."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from autotrain_llm import train
from autotrain_llm.cli.main import main
from autotrain_llm.declare.finding import Refused
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.failures import Interrupted, RunFailed
from support.rows import COLOURS, questions, write_rows
from support.sweeps import trials_in
from unit.docs.test_documented_commands import COMMANDS


@pytest.fixture
def flags(llama, tmp_path, monkeypatch) -> dict:
    """A sweep of a few steps."""
    monkeypatch.chdir(tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", questions(16))
    return {
        "trainer": "sft",
        "model": str(llama),
        "data_path": str(rows),
        "valid_split": "0.25",
        "lr": 2e-4,
        "max_steps": 2,
        "batch_size": 4,
        "use_sweep": True,
        "sweep_n_trials": 2,
        "sweep_params": {"lr": [1e-4, 1e-2, "log"]},
        "output_dir": "swept",
    }


class Heard(ProgressCallback):
    """Keeps what a sweep says of its trials."""

    def __init__(self) -> None:
        self.begun: list[tuple] = []
        self.over: list[tuple] = []
        self.notes: list[str] = []
        self.steps: list[int] = []

    def step(self, step):
        self.steps.append(step)

    def trial(self, number, values, own):
        self.begun.append((number, dict(values), own))

    def trial_done(self, number, state, metric, best, why=""):
        self.over.append((number, state, metric, best, why))

    def note(self, text):
        self.notes.append(text)


def test_trials_keep_the_checkpoint_that_is_best_at_what_they_are_compared_by(flags):
    """Token accuracy is the same at all evaluations here, and the first of equals is the best; the loss falls to the end."""
    flags |= {"lr": 1e-7, "max_steps": 3, "eval_strategy": "steps", "eval_steps": 1, "sweep_n_trials": 1}
    flags |= {"sweep_params": {"weight_decay": [0.0]}, "load_best_model_at_end": True}
    report = train(**flags, sweep_metric="eval_token_accuracy")
    (trial,) = trials_in("swept")
    own = json.loads((Path("swept") / trial["folder"] / "run.json").read_text())
    assert own["plan"]["arguments"]["metric_for_best_model"] == "eval_token_accuracy"
    assert own["outcome"]["best_checkpoint"] == "checkpoints/checkpoint-1"
    assert trial["metric"] == report.metrics["eval_token_accuracy"]


# ---- as the guide has it


def guides_sweep() -> str:
    return next(command for _, command in COMMANDS if "--trainer orpo" in command and "--use-sweep" in command)


def test_the_guides_sweep_runs_as_it_is_written(llama, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    pairs = [
        {"prompt": f"Which is {n}?", "chosen": f"It is {COLOURS[n % 8]}.", "rejected": f"No number {n}."}
        for n in range(20)
    ]
    write_rows(tmp_path / "data" / "preferences.jsonl", pairs)
    words = guides_sweep().split()[2:]
    words[words.index("--model") + 1] = str(llama)
    words[words.index("--data-path") + 1] = "data/preferences.jsonl"
    words[words.index("--sweep-n-trials") + 1] = "2"
    assert main(["llm", *words, "--format", "json", "--output-dir", "out"]) == 0
    document = json.loads(capsys.readouterr().out)
    sweep = document["report"]["sweep"]
    assert document["status"] == "ok" and document["findings"] == []
    assert document["plan"]["data"]["eval_rows"] == 2  # a tenth of the rows, held out by the sweep itself
    assert sweep["counts"] == {"complete": 2} and sweep["metric"] == "eval_loss"
    assert document["report"]["metrics"]["eval_loss"] == sweep["best"]["metric"]
    first, second = trials_in("out")
    assert first["own"] and first["values"]["lr"] == 5e-7 and first["values"]["batch_size"] == 4
    assert second["values"] != first["values"]
    assert min(first["metric"], second["metric"]) == sweep["best"]["metric"]


# ---- what it leaves


def test_the_best_trial_lies_at_the_root_and_trains_again_from_its_config(flags):
    report = train(**flags, sweep_keep=2)
    assert (Path("swept") / "model.safetensors").stat().st_nlink == 2  # it lies on the disk once
    best = report.sweep["best"]
    assert report.metrics["eval_loss"] == best["metric"]
    train(config="swept/sweep/best.yaml", output_dir="again")
    swept, again = load_file("swept/model.safetensors"), load_file("again/model.safetensors")
    assert swept.keys() == again.keys() and all(bool((swept[name] == again[name]).all()) for name in swept)
    run = json.loads(Path("swept/run.json").read_text())
    assert run["status"] == "ok" and run["outcome"]["sweep"]["best"]["number"] == best["number"]
    assert "swept" in Path("swept/README.md").read_text() and "trial-00" not in Path("swept/README.md").read_text()


def test_a_trial_with_weights_kept_in_memory_ends_bit_for_bit_like_a_run_that_read_them(flags, monkeypatch):
    from autotrain_llm.run.sweep import trial as module

    weights = []
    original = module.Trials.__init__

    def remember(self, *given):
        original(self, *given)
        weights.append(self.weights)

    monkeypatch.setattr(module.Trials, "__init__", remember)
    flags |= {"peft": True, "lora_dropout": 0.5, "sweep_keep": 3, "sweep_n_trials": 3}
    train(**flags)
    assert weights[0].loads == 1  # three trials, one reading
    third = trials_in("swept")[2]
    alone = {name: value for name, value in flags.items() if "sweep" not in name}
    train(**{**alone, **third["values"], "output_dir": "alone"})
    in_sweep = load_file("swept/sweep/trial-002/adapter_model.safetensors")
    by_itself = load_file("alone/adapter_model.safetensors")
    assert all(bool((in_sweep[name] == by_itself[name]).all()) for name in by_itself)


def test_only_the_best_models_stay_and_the_records_of_all(flags):
    train(**{**flags, "sweep_n_trials": 3})
    best = json.loads(Path("swept/sweep/trials.json").read_text())["best"]
    for number in range(3):
        folder = Path(f"swept/sweep/trial-{number:03d}")
        assert (folder / "run.json").exists() and (folder / "metrics.jsonl").exists()
        assert (folder / "model.safetensors").exists() == (number == best)
        assert (folder / "tokenizer.json").exists() == (number == best)
    lines = Path("swept/sweep/trials.csv").read_text().splitlines()
    assert lines[0] == "number,state,lr,eval_loss,seconds,folder,why" and len(lines) == 4
    left = {path.name for path in Path("swept/sweep").iterdir()}
    assert left == {"best.yaml", "study.journal", "trials.csv", "trials.json"} | {f"trial-00{n}" for n in range(3)}


def test_a_sweep_watches_its_trials_and_says_which_is_best(flags):
    heard = Heard()
    report = train(heard, **flags)
    assert heard.begun[0] == (0, {"lr": 2e-4}, True) and heard.begun[1][2] is False
    assert [entry[:2] for entry in heard.over] == [(0, "complete"), (1, "complete")]
    assert [entry[0] for entry in heard.over if entry[3]][-1] == report.sweep["best"]["number"]
    assert report.history and report.history[-1]["eval_loss"] == report.metrics["eval_loss"]


# ---- trials that come to nothing


def test_a_refused_and_a_failed_trial_are_recorded_and_the_sweep_goes_on(flags):
    flags |= {"sweep_params": {"block_size": [64, 4096]}, "block_size": 64, "sweep_sampler": "grid"}
    report = train(**flags)
    first, refused = trials_in("swept")
    assert report.sweep["counts"] == {"complete": 1, "refused": 1}
    assert (refused["state"], refused["metric"]) == ("refused", None)
    assert [finding["code"] for finding in refused["findings"]] == ["M171"] and first["findings"] == []

    del flags["block_size"]
    flags |= {"sweep_params": {"lr": [2e-4, 1e38]}, "output_dir": "second", "warmup_ratio": 0, "max_steps": 4}
    report = train(**flags)
    assert report.sweep["counts"] == {"complete": 1, "failed": 1}
    failed = trials_in("second")[1]
    assert failed["state"] == "failed" and "not a number" in failed["failure"]
    assert (Path("second") / failed["folder"] / "run.json").exists()


def test_when_no_trial_completes_the_reason_is_given(flags):
    with pytest.raises(RunFailed, match="none of 1 trials completed; trial 0 failed: the loss is not a number"):
        flags |= {"warmup_ratio": 0, "max_steps": 4, "sweep_n_trials": 1}
        train(**{**flags, "lr": 1e38, "sweep_params": {"lr": [1e38]}})
    assert json.loads(Path("swept/run.json").read_text())["status"] == "failed"
    assert trials_in("swept")[0]["state"] == "failed"


def test_a_trial_that_is_behind_is_pruned(flags):
    flags |= {"lr": 1e-2, "max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "sweep_n_trials": 4}
    flags |= {"sweep_sampler": "grid", "sweep_params": {"lr": [1e-2, 2e-2, 3e-2, 1e-9]}}
    report = train(**flags)
    *others, behind = trials_in("swept")
    assert [trial["state"] for trial in others] == ["complete"] * 3
    assert behind["state"] == "pruned" and list(behind["intermediate"]) == ["2"]
    assert list(others[0]["intermediate"]) == ["2", "4", "6"]
    assert report.sweep["counts"] == {"complete": 3, "pruned": 1}

    flags |= {"sweep_pruner": "none", "output_dir": "to the end"}
    assert train(**flags).sweep["counts"] == {"complete": 4}


# ---- stopping and going on


def test_a_sweep_that_goes_on_proposes_what_it_would_have_proposed(flags):
    train(**{**flags, "sweep_n_trials": 3})
    train(**{**flags, "sweep_n_trials": 1, "output_dir": "in two"})
    report = train(**{**flags, "sweep_n_trials": 3, "output_dir": "in two", "resume": True})
    whole, parts = trials_in("swept"), trials_in("in two")
    assert [trial["values"] for trial in whole] == [trial["values"] for trial in parts]
    assert [trial["metric"] for trial in whole] == [trial["metric"] for trial in parts]
    assert report.sweep["counts"] == {"complete": 3}


class StopsInTrial(ProgressCallback):
    """Ctrl-C in a step of a trial."""

    def __init__(self, number: int, step: int) -> None:
        self.wanted, self.now, self.at = number, -1, step

    def trial(self, number, values, own):
        self.now = number

    def step(self, step):
        if self.now == self.wanted and step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_trial_that_was_stopped_goes_on_from_its_checkpoint_to_the_same_sweep(flags):
    flags |= {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "sweep_n_trials": 3, "sweep_sampler": "random"}
    with pytest.raises(Interrupted, match=r"1 of 3 trials are complete. To go on: .*--resume") as stopped:
        train(StopsInTrial(1, step=2), **flags)
    assert stopped.value.signal == signal.SIGINT
    assert json.loads(Path("swept/run.json").read_text())["status"] == "interrupted"
    first, cut = trials_in("swept")
    assert cut["state"] == "interrupted" and (Path("swept") / cut["folder"] / "checkpoints" / "checkpoint-2").is_dir()
    heard = Heard()
    train(heard, **flags, resume=True)
    assert heard.steps[0] == 3 and [number for number, *_ in heard.begun] == [1, 2]
    train(**{**flags, "output_dir": "undisturbed"})
    same = ("number", "values", "state", "metric", "intermediate")
    resumed, undisturbed = (
        [{key: trial[key] for key in same} for trial in trials_in(name)] for name in ("swept", "undisturbed")
    )
    assert resumed == undisturbed and trials_in("swept")[0] == first
    assert Path("swept/model.safetensors").read_bytes() == Path("undisturbed/model.safetensors").read_bytes()


def test_a_full_disk_is_no_result_of_a_trial(flags, monkeypatch):
    from autotrain_llm.run.artifacts.model_card import ModelCard

    def full(*given, **named):
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    with monkeypatch.context() as patched, pytest.raises(RunFailed, match="the disk is full"):
        patched.setattr(ModelCard, "write", full)
        train(**flags)
    assert json.loads(Path("swept/run.json").read_text())["status"] == "failed"
    assert [trial["state"] for trial in trials_in("swept")] == ["interrupted"]
    assert train(**flags, resume=True).sweep["counts"] == {"complete": 2}


class StopsWhileSaving(ProgressCallback):
    """Ctrl-C when a run saves its model, which it finishes all the same."""

    def stage(self, text):
        if text == "Saving":
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_a_trial_has_no_use_for_stops_the_sweep(flags):
    with pytest.raises(Interrupted, match="1 of 2 trials are complete"):
        train(StopsWhileSaving(), **flags)
    assert [trial["state"] for trial in trials_in("swept")] == ["complete"]


def test_what_to_resume_must_be_there_and_be_the_same(flags):
    with pytest.raises(Refused) as refused:
        train(**flags, resume=True)
    assert [finding.code for finding in refused.value.findings] == ["E407"]
    train(**{**flags, "sweep_n_trials": 1})
    with pytest.raises(Refused) as refused:
        train(**{**flags, "lr": 1e-4}, resume=True)
    assert [finding.code for finding in refused.value.findings] == ["E407"]
    with pytest.raises(Refused) as refused:
        train(**flags)
    assert [finding.code for finding in refused.value.findings] == ["E401"]


def test_a_sweep_replaces_an_earlier_run(flags):
    train(**{**flags, "sweep_n_trials": 1})
    (Path("swept") / "mine.txt").write_text("kept")
    report = train(**{**flags, "sweep_n_trials": 1}, overwrite=True)
    assert report.sweep["counts"] == {"complete": 1} and (Path("swept") / "mine.txt").exists()
    assert not list(Path("swept").glob(".replaced-*"))


# ---- what is said before the first trial


def codes_of(**flags) -> list[str]:
    from autotrain_llm import check

    return [finding.code for finding in check(**flags)]


def test_what_can_not_be_compared_is_refused_before_the_first_trial(flags):
    assert codes_of(**flags) == []
    assert codes_of(**flags, sweep_metric="eval_bleu") == ["P605"]
    assert codes_of(**flags, sweep_metric="token_accuracy") == ["P605"]
    assert codes_of(**flags, sweep_metric="eval_token_accuracy", sweep_direction="minimize") == ["P603"]
    assert codes_of(**flags, eval_strategy="no") == ["P606"]
    with pytest.raises(Refused) as refused:
        train(**flags, eval_strategy="steps", eval_steps=50)
    assert [finding.code for finding in refused.value.findings] == ["E410"] and not Path("swept").exists()


def test_a_database_that_can_not_be_used_is_refused_and_its_password_never_shown(flags, capsys):
    url = "postgresql://me:pa%40ss@127.0.0.1:1/none"
    with pytest.raises(Refused) as refused:
        train(**flags, sweep_storage=url)
    (finding,) = refused.value.findings
    assert finding.code in ("E409", "P610") and not Path("swept").exists()
    assert "pa%40ss" not in finding.message and "pa@ss" not in finding.message
    assert codes_of(**flags, sweep_storage="redis://me:secret@host") == ["P610"]


def test_a_parameter_that_all_trials_share_is_not_searched(flags):
    for name in ("output_dir", "valid_split", "sweep_n_trials", "push_to_hub", "resume"):
        assert "P601" in codes_of(**{**flags, "sweep_params": {name: ["1", "2"]}})


def test_a_sweep_of_wandb_without_login_is_refused(flags, monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert set(codes_of(**flags, sweep_backend="wandb")) == {"P611"}
