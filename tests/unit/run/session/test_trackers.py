"""Trackers beside metrics.jsonl: the same numbers under the same names, in the run's folder, and no tracker stops a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from autotrain_llm import train
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.engine.peak_flops import measure, stated_rate
from autotrain_llm.run.session import trackers

pytestmark = pytest.mark.slow


class Heard(ProgressCallback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class StandIn:
    """A tracker that keeps what it gets; `fails` names the moment at which it raises."""

    def __init__(self, fails: str = "", fault: Exception | None = None) -> None:
        self.fails, self.fault = fails, fault or RuntimeError("out of order\nand a second line")
        self.got: list[tuple[int, dict[str, float]]] = []
        self.settings: dict[str, Any] = {}
        self.closed = 0

    def __call__(self, place: Path, run: trackers.Trackers) -> StandIn:
        self._perhaps("start")
        self.settings = run.settings()
        return self

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if len(self.got) == 2:
            self._perhaps("middle")
        self.got.append((step, dict(metrics)))

    def close(self) -> None:
        self._perhaps("end")
        self.closed += 1

    def _perhaps(self, moment: str) -> None:
        if moment == self.fails:
            raise self.fault


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for all three, whatever is installed."""
    from autotrain_llm.context.machine import Machine

    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    opened: dict[str, Any] = {name: StandIn() for name in trackers.OPEN}
    monkeypatch.setattr(trackers, "OPEN", opened)
    return opened


def run(data: Path, folder: Path, log: str, **flags: Any) -> tuple[list[dict[str, Any]], Heard]:
    heard = Heard()
    settings = {"trainer": "sft", "model": "scratch:100k", "lr": 1e-3, "epochs": 1, "batch_size": 8, "logging_steps": 1}
    train(heard, **{**settings, "data_path": str(data), "output_dir": str(folder), "log": log, **flags})
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()], heard


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in ("step", "time")}


def test_every_tracker_gets_the_numbers_of_the_metrics_file(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any]
) -> None:
    lines, heard = run(chat_rows, tmp_path / "run", "tensorboard,wandb,trackio", valid_split="8")
    expected = [(line["step"], pytest.approx(numbers(line))) for line in lines]
    for stand_in in installed.values():
        assert stand_in.got == expected
        assert stand_in.closed == 1
    assert any("eval_loss" in metrics for _, metrics in installed["wandb"].got)
    assert heard.notes == []


@pytest.mark.parametrize("moment", ["start", "middle", "end"])
@pytest.mark.parametrize("fault", [RuntimeError("no login\nmore"), OSError(28, "No space left on device")])
def test_a_tracker_that_fails_is_said_once_and_the_run_and_the_others_go_on(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any], moment: str, fault: Exception
) -> None:
    installed["wandb"] = StandIn(moment, fault)
    lines, heard = run(chat_rows, tmp_path / "run", "wandb,trackio")
    assert len(lines) == 6
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert len(installed["trackio"].got) == 6
    assert heard.notes == [f"--log wandb failed and is not used any more: {str(fault).splitlines()[0]}"]
    assert len(installed["wandb"].got) == {"start": 0, "middle": 2, "end": 6}[moment]


def test_a_number_that_is_none_is_left_out_for_trackers(
    tmp_path: Path, chat_rows: Path, installed: dict[str, Any]
) -> None:
    from autotrain_llm.api import plan

    flags = {"trainer": "sft", "model": "scratch:100k", "lr": 1e-3, "epochs": 1, "batch_size": 8, "log": "wandb"}
    made = plan(**flags, data_path=str(chat_rows), output_dir=str(tmp_path / "run"))
    with trackers.Trackers(made, tmp_path, None, Heard(), leader=True) as opened:
        opened.log(3, {"loss": 1.5, "grad_norm": float("nan"), "word": "no number"})  # type: ignore[dict-item]
    assert installed["wandb"].got == [(3, {"loss": 1.5})]


def test_only_the_leading_process_opens_trackers(tmp_path: Path, chat_rows: Path, installed: dict[str, Any]) -> None:
    from autotrain_llm.api import plan

    flags = {"trainer": "sft", "model": "scratch:100k", "lr": 1e-3, "epochs": 1, "batch_size": 8, "log": "wandb"}
    made = plan(**flags, data_path=str(chat_rows), output_dir=str(tmp_path / "run"))
    with trackers.Trackers(made, tmp_path, None, Heard(), leader=False) as opened:
        opened.log(1, {"loss": 1.5})
    assert installed["wandb"].got == []


def test_no_secret_reaches_a_tracker(chat_rows: Path, tmp_path: Path, installed: dict[str, Any]) -> None:
    run(chat_rows, tmp_path / "run", "wandb", token="hf_secret")
    assert installed["wandb"].settings["lr"] == 1e-3
    assert "hf_secret" not in json.dumps(installed["wandb"].settings)


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_s_files_hold_the_numbers_of_the_metrics_file(chat_rows: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines, heard = run(chat_rows, tmp_path / "run", "tensorboard", valid_split="8")
    read = EventAccumulator(str(tmp_path / "run" / "logs" / "tensorboard"))
    read.Reload()
    names = {name for line in lines for name in numbers(line)}
    assert set(read.Tags()["scalars"]) == names
    for name in names:
        written = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines if name in line]
        assert [(event.step, event.value) for event in read.Scalars(name)] == written
    assert heard.notes == []


def test_wandb_without_a_login_is_kept_in_the_run_s_folder_and_never_asks(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pretend_wandb(monkeypatch)
    monkeypatch.setenv("NETRC", str(tmp_path / "there is none"))
    lines, heard = run(chat_rows, tmp_path / "run", "wandb")
    assert calls["init"]["mode"] == "offline"
    assert calls["init"]["dir"] == str(tmp_path / "run" / "logs" / "wandb")
    assert calls["log"] == [(line["step"], pytest.approx(numbers(line))) for line in lines]
    assert heard.notes[0].startswith(
        f"--log wandb is offline and writes to {tmp_path / 'run' / 'logs' / 'wandb'}; to upload: wandb sync"
    )


def test_wandb_with_a_login_is_sent_unless_offline_was_said(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    calls = pretend_wandb(monkeypatch)
    run(chat_rows, tmp_path / "a", "wandb")
    assert calls["init"]["mode"] == "online"
    run(chat_rows, tmp_path / "b", "wandb", offline=True)
    assert calls["init"]["mode"] == "offline"


def pretend_wandb(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A module of that name, and what it is called with."""
    from autotrain_llm.context.machine import Machine

    calls: dict[str, Any] = {"log": []}

    class Run:
        dir = "offline-run/files"

        def log(self, metrics: dict[str, float], step: int) -> None:
            calls["log"].append((step, metrics))

        def finish(self) -> None:
            calls["finished"] = True

    def init(**given: Any) -> Run:
        calls["init"] = given
        return Run()

    module = ModuleType("wandb")
    vars(module).update(init=init, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, "unused"))  # what the run sets is taken back
    return calls


def test_trackio_logs_into_the_run_s_folder_and_leaves_stdout_alone(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from autotrain_llm.context.machine import Machine

    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "run" / "logs" / "trackio"))
    got: list[tuple[int, dict[str, float]]] = []

    def init(**given: Any) -> None:
        sys.stdout.write("* Trackio project initialized\n")

    def log(metrics: dict[str, float], step: int) -> None:
        got.append((step, metrics))

    def finish() -> None:
        sys.stdout.write("* Trackio is finished\n")

    module, folders = ModuleType("trackio"), ModuleType("trackio.utils")
    vars(module).update(init=init, log=log, finish=finish, utils=folders)
    vars(folders).update(TRACKIO_DIR=Path(os.environ["TRACKIO_DIR"]))
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.setitem(sys.modules, "trackio.utils", folders)
    lines, heard = run(chat_rows, tmp_path / "run", "trackio")
    assert got == [(line["step"], pytest.approx(numbers(line))) for line in lines]
    assert heard.notes == []
    assert "rackio" not in capsys.readouterr().out


def test_a_run_logs_how_well_it_used_the_machine(chat_rows: Path, tmp_path: Path) -> None:
    lines, _ = run(chat_rows, tmp_path / "run", "", mixed_precision="fp32")
    for line in lines:
        assert line["tokens_per_second"] > 0
        assert 0 <= line["padding_saved"] < 1
        assert 0 < line["mfu"] < 1
        assert line["grad_norm"] > 0
    peak = json.loads((tmp_path / "run" / "run.json").read_text())["outcome"]["matmul_peak"]
    assert peak["rate"] > 1e9
    assert peak["source"] == "measured on this processor, float32"


def test_padding_saved_is_the_share_that_padding_would_have_wasted() -> None:
    from autotrain_llm.run.engine.layouts import Padded
    from autotrain_llm.run.engine.throughput import Throughput

    rows = [([1] * length, [True] * length) for length in (10, 4, 6)]
    padded = Padded(0).collate(rows)
    assert (padded["tokens"], padded["padding_tokens_saved"]) == (20, 0)
    throughput = Throughput(None, None)
    throughput.add([{"tokens": 20, "padding_tokens_saved": 10, "target_labels": torch.zeros(17)}])
    found = throughput.take(1, lambda counts: counts, "cpu")
    assert found["padding_saved"] == pytest.approx(1 / 3, abs=1e-4)
    assert "mfu" not in found
    assert throughput.counts == [0, 0, 0]


def test_needed_work_counts_each_parameter_that_a_token_meets_once() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from autotrain_llm.run.engine.throughput import flops_of

    shape = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    for tied in (True, False):
        model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=tied))
        layers = sum(one.numel() for one in model.model.layers.parameters()) + model.model.norm.weight.numel()
        work = flops_of(model)
        assert work is not None
        assert (work.per_token, work.per_target) == (6 * layers, 6 * 50 * 16)
        assert work.total(10, 3) == 60 * layers + 18 * 50 * 16
    model.requires_grad_(False)
    frozen = flops_of(model)
    assert frozen is not None
    assert frozen.per_token == 4 * layers


def test_a_gpu_s_stated_rate_is_found_by_its_whole_name() -> None:
    assert stated_rate("NVIDIA H200") == 989e12
    assert stated_rate("NVIDIA A100-SXM4-80GB") == 312e12
    assert stated_rate("NVIDIA H100 PCIe") == 756e12
    assert stated_rate("NVIDIA L40S") == 362e12
    assert stated_rate("NVIDIA RTX A4000") is None
    assert stated_rate("NVIDIA GeForce RTX 4090 Laptop GPU") is None


def test_measuring_the_peak_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert measure(torch.device("cpu"), torch.float32, seconds=0.01) > 1e8
    assert torch.equal(torch.get_rng_state(), before)


def test_no_share_of_the_peak_is_above_one() -> None:
    """The peak is measured in a fraction of a second, in which other work on the machine may have slowed it down."""
    from autotrain_llm.run.engine.peak_flops import Peak
    from autotrain_llm.run.engine.throughput import FlopsPerItem, Throughput

    throughput = Throughput(FlopsPerItem(1e9, 1e9), Peak(1.0, "too low"))
    throughput.add([{"tokens": 20, "padding_tokens_saved": 0, "target_labels": torch.zeros(17)}])
    assert throughput.take(1, lambda counts: counts, "cpu")["mfu"] == 1.0


@pytest.mark.parametrize(("verbose", "shown"), [(False, 0), (True, 1)])
def test_warnings_of_libraries_with_paths_of_their_code_are_for_verbose_alone(verbose, shown) -> None:
    import warnings

    from autotrain_llm.run.session.training import quiet_libraries

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        quiet_libraries(verbose)
        warnings.warn_explicit("a word", UserWarning, "/lib/peft/save.py", 1, module="peft.utils.save_and_load")
        warnings.warn_explicit("of yours", UserWarning, "/mine/score.py", 1, module="score")
    quiet_libraries(False)
    assert len(seen) == 1 + shown
