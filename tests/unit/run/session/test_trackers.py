"""Trackers beside metrics.jsonl: the same numbers, under the names of transformers, and no tracker stops a run."""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from autotrain_llm import train
from autotrain_llm.api import plan
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.engine.peak_flops import measure, stated_rate
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session import trackers
from support.fork_server import forked_python

pytestmark = pytest.mark.slow
SETTINGS = {"trainer": "sft", "model": "scratch:100k", "lr": 1e-3, "epochs": 1, "batch_size": 8, "logging_steps": 1}
SECRET = "hf_mustnotbeseen"


def installed_only(name: str) -> Callable[[Any], Any]:
    """For a test that needs the package of a tracker."""
    skipped = pytest.mark.skipif(find_spec(name) is None, reason=f'pip install "autotrain-llm[{name}]"')
    return lambda test: pytest.mark.tracker(skipped(test))


class Heard(ProgressCallback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class StandIn:
    """A tracker that keeps what it gets; `fails` names the moment at which it raises."""

    def __init__(self, fails: str = "", fault: BaseException | None = None) -> None:
        self.fails, self.fault = fails, fault or RuntimeError("out of order\nand a second line")
        self.got: list[tuple[int, dict[str, float]]] = []
        self.run: trackers.TrackedRun | None = None
        self.added: list[Mapping[str, Any]] = []
        self.closed: list[str] = []

    def __call__(self, run: trackers.TrackedRun) -> StandIn:
        self._perhaps("start")
        self.run = run
        return self

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if len(self.got) == 2:
            self._perhaps("middle")
        self.got.append((step, dict(metrics)))

    def add_findings(self, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
        self.added += findings

    def close(self, status: str) -> None:
        self._perhaps("end")
        self.closed.append(status)

    def _perhaps(self, moment: str) -> None:
        if moment == self.fails:
            raise self.fault


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for all of them, whatever is installed."""
    from autotrain_llm.context.machine import Machine

    monkeypatch.setattr(Machine, "has_package", lambda self, name: True)
    opened: dict[str, Any] = {name: StandIn() for name in trackers.OPEN}
    monkeypatch.setattr(trackers, "OPEN", opened)
    for name in ("WANDB_PROJECT", "TRACKIO_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return opened


def run(data: Path, folder: Path, log: str, **flags: Any) -> tuple[list[dict[str, Any]], Heard]:
    heard = Heard()
    train(heard, **{**SETTINGS, "data_path": str(data), "output_dir": str(folder), "log": log, **flags})
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()], heard


def command(data: Path, folder: Path, log: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The same run as a process of its own: trackers keep their state until one ends."""
    words = ["--data-path", str(data), "--output-dir", str(folder), "--log", log, *flags]
    for name, value in SETTINGS.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    made = subprocess.run(
        [forked_python(), "-m", "autotrain_llm", "llm", *words], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    return made


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in ("step", "time")}


def opened(chat_rows: Path, folder: Path, **flags: Any) -> tuple[trackers.Trackers, Heard]:
    """The trackers of a plan, without its run."""
    heard = Heard()
    made = plan(**{**SETTINGS, "log": "wandb", **flags}, data_path=str(chat_rows), output_dir=str(folder / "run"))
    return trackers.Trackers(made, (), folder, None, heard, leader=True), heard


def test_every_tracker_gets_the_numbers_of_the_metrics_file(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any]
) -> None:
    lines, heard = run(chat_rows, tmp_path / "run", "tensorboard,wandb,trackio,mlflow", valid_split="8")
    expected = [(line["step"], pytest.approx(numbers(line))) for line in lines]
    for stand_in in installed.values():
        assert stand_in.got == expected
        assert stand_in.closed == ["FINISHED"]
    assert any("eval_loss" in metrics for _, metrics in installed["wandb"].got)
    assert heard.notes == []


def test_a_tracker_gets_the_plan_the_findings_and_the_names_of_project_and_run(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_PROJECT", "ours")
    run(chat_rows, tmp_path / "run", "wandb,trackio", lora_r=4)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    got = {name: installed[name].run for name in ("wandb", "trackio")}
    assert [one.project for one in got.values()] == ["autotrain-sft", "ours"]
    assert {one.name for one in got.values()} == {"run"}
    assert got["wandb"].plan == document["plan"]
    assert list(got["wandb"].findings) == document["findings"] != []
    assert got["wandb"].parameters["lr"] == 1e-3
    run(chat_rows, tmp_path / "b", "wandb", tracker_project="mine", run_name="first")
    assert (installed["wandb"].run.project, installed["wandb"].run.name) == ("mine", "first")


@pytest.mark.parametrize("moment", ["start", "middle", "end"])
@pytest.mark.parametrize(
    "fault", [RuntimeError("no login\nmore"), OSError(28, "No space left on device"), SystemExit("gave up")]
)
def test_a_tracker_that_fails_is_said_once_and_the_run_and_the_others_go_on(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any], moment: str, fault: BaseException
) -> None:
    installed["wandb"] = StandIn(moment, fault)
    lines, heard = run(chat_rows, tmp_path / "run", "wandb,trackio")
    assert len(lines) == 6
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert len(installed["trackio"].got) == 6
    assert heard.notes == [f"--log wandb failed and is not used any more: {str(fault).splitlines()[0]}"]
    assert len(installed["wandb"].got) == {"start": 0, "middle": 2, "end": 6}[moment]


@pytest.mark.parametrize("moment", ["__call__", "log", "close"])
def test_a_tracker_that_hangs_does_not_hold_up_the_run(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    forever = threading.Event()

    class Hangs(StandIn):
        pass

    setattr(Hangs, moment, lambda self, *arguments: forever.wait())
    installed["wandb"] = Hangs()
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 0.2)
    lines, heard = run(chat_rows, tmp_path / "run", "wandb,trackio")
    forever.set()
    assert len(lines) == len(installed["trackio"].got) == 6
    assert heard.notes == ["--log wandb has not finished after 0.2 s and is left alone"]


def test_a_tracker_that_does_not_keep_up_is_dropped(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()

    class Slow(StandIn):
        def log(self, step: int, metrics: Mapping[str, float]) -> None:
            free.wait()

    installed["wandb"] = Slow()
    monkeypatch.setattr(trackers, "MAX_WAITING", 3)
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 0.0)
    all_of_them, heard = opened(chat_rows, tmp_path)
    with all_of_them:
        for step in range(6):
            all_of_them.log(step, {"loss": 1.0})
    free.set()
    assert heard.notes[0] == "--log wandb failed and is not used any more: it does not keep up with the run"


@pytest.mark.parametrize(("fault", "status"), [(RuntimeError("x"), "FAILED"), (Interrupted(2, "x"), "KILLED")])
def test_a_tracker_knows_how_the_run_ended(
    chat_rows: Path, tmp_path: Path, installed: dict[str, Any], fault: Exception, status: str
) -> None:
    all_of_them, _ = opened(chat_rows, tmp_path)
    with pytest.raises(type(fault)), all_of_them:
        all_of_them.add_findings(3, [Finding("rises", severity=WARNING, code="P999")])
        raise fault
    assert installed["wandb"].closed == [status]
    assert [finding["message"] for finding in installed["wandb"].added] == ["rises"]


def test_a_number_that_is_none_is_left_out_for_trackers(
    tmp_path: Path, chat_rows: Path, installed: dict[str, Any]
) -> None:
    all_of_them, _ = opened(chat_rows, tmp_path)
    with all_of_them:
        all_of_them.log(3, {"loss": 1.5, "grad_norm": float("nan"), "word": "no number"})  # type: ignore[dict-item]
    assert installed["wandb"].got == [(3, {"loss": 1.5})]


def test_only_the_leading_process_opens_trackers(tmp_path: Path, chat_rows: Path, installed: dict[str, Any]) -> None:
    made = plan(**SETTINGS, log="wandb", data_path=str(chat_rows), output_dir=str(tmp_path / "run"))
    with trackers.Trackers(made, (), tmp_path, None, Heard(), leader=False) as all_of_them:
        all_of_them.log(1, {"loss": 1.5})
    assert installed["wandb"].run is None


def test_no_secret_reaches_a_tracker(chat_rows: Path, tmp_path: Path, installed: dict[str, Any]) -> None:
    run(chat_rows, tmp_path / "run", "wandb", token=SECRET)
    assert installed["wandb"].run.parameters["lr"] == 1e-3
    assert SECRET not in repr(installed["wandb"].run)


@installed_only("tensorboard")
def test_tensorboard_s_files_hold_the_numbers_the_plan_and_the_findings(chat_rows: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines, heard = run(chat_rows, tmp_path / "run", "tensorboard", valid_split="8", run_name="a/b")
    read = EventAccumulator(str(tmp_path / "run" / "logs" / "tensorboard" / "autotrain-sft" / "a-b"))
    read.Reload()
    lines = [{"step": line["step"], **trackers.grouped(numbers(line))} for line in lines]
    names = {name for line in lines for name in line} - {"step"}
    assert set(read.Tags()["scalars"]) == names and {"train/loss", "eval/loss"} <= names
    for name in names:
        written = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines if name in line]
        assert [(event.step, event.value) for event in read.Scalars(name)] == written
    texts = {name: read.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0] for name in ("plan", "findings")}
    assert b'"trainer": "sft"' in texts["plan"]
    assert texts["findings"]
    assert heard.notes == []


@installed_only("wandb")
def test_wandb_offline_holds_the_numbers_and_is_said_to_be_offline(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "there is none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    made = command(chat_rows, tmp_path / "run", "wandb", "--token", SECRET, "--run-name", "first")
    folder = tmp_path / "run" / "logs" / "wandb"
    assert f"--log wandb is offline and writes to {folder}; to upload: wandb sync {folder}" in made.stderr
    (file,) = folder.rglob("*.wandb")
    history, config, names = read_wandb(file)
    expected = [(line["step"], pytest.approx(trackers.grouped(numbers(line)))) for line in lines_of(tmp_path / "run")]
    assert history == expected
    assert config["lr"] == 1e-3
    assert config["plan"]["trainer"] == "sft"
    assert "findings" in config
    assert names == ("autotrain-sft", "first")
    assert not any(SECRET.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def read_wandb(file: Path) -> tuple[list[tuple[int, dict[str, float]]], dict[str, Any], tuple[str, str]]:
    """The history, the configuration, and the project and name in the file of an offline run."""
    from wandb.proto.wandb_internal_pb2 import Record

    history: list[tuple[int, dict[str, float]]] = []
    config: dict[str, Any] = {}
    names = ("", "")
    for data in log_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            step = record.history.step.num
            history.append((step, {name: value for name, value in items.items() if not name.startswith("_")}))
        if record.HasField("run"):
            names = (record.run.project, record.run.display_name)
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update if item.key}
    return history, config, names


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log with wandb's header of 7 bytes: blocks of 32 KiB; checksum, length and kind before each part."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole record, or its last part
            yield record
            record = b""


@pytest.fixture
def new_session() -> None:
    """Weights & Biases reads its environment variables once in a process, unless its session is ended."""
    import_module("wandb").teardown()


@installed_only("wandb")
@pytest.mark.usefixtures("new_session")
def test_wandb_without_an_answer_of_its_server_stops_nothing(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(trackers, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 120.0)  # starting its service takes long on a busy machine
    lines, heard = run(chat_rows, tmp_path / "run", "wandb")
    assert len(lines) == 6
    assert len(heard.notes) == 1
    assert heard.notes[0].startswith("--log wandb failed")


class TakesNoData(BaseHTTPRequestHandler):
    """A server of Weights & Biases that opens runs, and then fails whatever it is sent."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        opens = "UpsertBucket" in request.get("query", "")
        self.send_response(200 if opens else 503)
        name = request["variables"]["name"] if opens else ""
        project = {"id": "p", "name": "autotrain-sft", "entity": {"id": "e", "name": "us"}}
        run = {"id": "r", "name": name, "displayName": "run", "config": "{}", "project": project, "historyLineCount": 0}
        answer = json.dumps({"data": {"upsertBucket": {"bucket": run, "inserted": True}}}).encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words: Any) -> None:
        pass


@installed_only("wandb")
@pytest.mark.usefixtures("new_session")
def test_wandb_without_its_server_at_the_end_is_said_to_lack_data(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes what it could not send to its file."""
    monkeypatch.setattr(trackers, "CONNECT_SECONDS", 3)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    with ThreadingHTTPServer(("127.0.0.1", 0), TakesNoData) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        lines, heard = run(chat_rows, tmp_path / "run", "wandb")
        server.shutdown()
    assert len(lines) == 6
    (file,) = (tmp_path / "run" / "logs" / "wandb").rglob("*.wandb")
    assert heard.notes == [
        "--log wandb failed and is not used any more: it has not finished after 3 s; to upload what is missing: "
        f"wandb sync {file.parent}"
    ]
    history, *_ = read_wandb(file)
    assert history == [(line["step"], pytest.approx(trackers.grouped(numbers(line)))) for line in lines]


@installed_only("wandb")
@pytest.mark.usefixtures("new_session")
@pytest.mark.parametrize(("mode", "said"), [("dryrun", "is offline and writes to"), ("disabled", "logs nothing")])
def test_wandb_in_a_mode_that_sends_nothing_is_said_to_send_nothing(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, said: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    lines, heard = run(chat_rows, tmp_path / "run", "wandb")
    assert len(lines) == 6
    (note,) = heard.notes
    assert note.startswith(f"--log wandb {said}")


@installed_only("trackio")
def test_runs_of_a_project_share_a_database_of_trackio_and_nothing_is_printed(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trackio"
    monkeypatch.setenv("TRACKIO_DIR", str(folder))
    for name in ("first", "second"):
        made = command(chat_rows, tmp_path / name, "trackio", "--token", SECRET, "--quiet")
        assert made.stderr == ""
        assert "Trackio" not in made.stdout
    with sqlite3.connect(folder / "autotrain-sft.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
        (config,) = database.execute("select config from configs").fetchone()
    expected = [
        (name, line["step"], pytest.approx(trackers.grouped(numbers(line))))
        for name in ("first", "second")
        for line in lines_of(tmp_path / name)
    ]
    assert [(name, step, json.loads(metrics)) for name, step, metrics in rows] == expected
    assert json.loads(config)["lr"] == 1e-3
    assert json.loads(config)["plan"]["trainer"] == "sft"
    assert not any(SECRET.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@installed_only("mlflow")
def test_mlflow_s_database_holds_the_numbers_the_plan_and_the_findings_of_all_runs(
    chat_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    command(chat_rows, tmp_path / "run", "mlflow", "--token", SECRET, "--run-name", "first", "--quiet")
    with sqlite3.connect(folder / "mlflow.db") as database:
        rows = database.execute("select step, key, value from metrics").fetchall()
        parameters = dict(database.execute("select key, value from params").fetchall())
        runs = database.execute("select name, status from runs").fetchall()
        experiments = [name for (name,) in database.execute("select name from experiments").fetchall()]
    expected = {
        (line["step"], name): value for line in lines_of(tmp_path / "run") for name, value in numbers(line).items()
    }
    assert {(step, name): value for step, name, value in rows} == pytest.approx(expected)
    assert parameters["lr"] == "0.001"
    assert runs == [("first", "FINISHED")]
    assert "autotrain-sft" in experiments
    (stored,) = folder.rglob("plan.json")
    assert json.loads(stored.read_text())["trainer"] == "sft"
    assert len(list(folder.rglob("findings.json"))) == 1
    command(chat_rows, tmp_path / "other", "mlflow", "--run-name", "second", "--quiet")
    with sqlite3.connect(folder / "mlflow.db") as database:
        both = database.execute("select name, experiment_id from runs order by start_time").fetchall()
    assert [name for name, _ in both] == ["first", "second"] and len({number for _, number in both}) == 1
    assert not any(SECRET.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


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
