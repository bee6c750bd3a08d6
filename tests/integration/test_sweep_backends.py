"""Where a sweep's values come from: the samplers of Optuna, and the agent of Weights & Biases with a stand-in for its server."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from autotrain_llm import train
from support.rows import questions, write_rows
from support.sweeps import trials_in


class Run:
    """A run of the server: its values, and what was logged."""

    def __init__(self, values: dict) -> None:
        self.config, self.summary, self.logged, self.ended = values, {}, [], None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def log(self, metrics: dict, step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self, exit_code: int) -> None:
        self.ended = exit_code


@pytest.fixture
def server(monkeypatch) -> types.SimpleNamespace:
    """In place of the package wandb: proposes learning rates, keeps what it is told."""
    kept = types.SimpleNamespace(sweeps=[], runs=[], counts=[], identities=[])
    module = types.ModuleType("wandb")
    module.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]

    def sweep(described: dict, project: str) -> str:
        kept.sweeps.append(described)
        return f"sweep-{len(kept.sweeps)}"

    def init(dir: str) -> Run:
        kept.runs.append(Run({"lr": 3e-4 * (1 + len(kept.runs))}))
        return kept.runs[-1]

    def agent(identity: str, function, count: int, project: str) -> None:
        kept.identities.append(identity)
        kept.counts.append(count)
        for _ in range(count):
            function()

    module.sweep, module.init, module.agent = sweep, init, agent  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_API_KEY", "a-key-that-is-never-written")
    return kept


@pytest.fixture
def flags(llama, tmp_path, monkeypatch) -> dict:
    monkeypatch.chdir(tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", questions(16))
    flags = {"trainer": "sft", "model": str(llama), "data_path": str(rows), "valid_split": "0.25", "lr": 2e-4}
    flags |= {"max_steps": 1, "batch_size": 4, "use_sweep": True, "output_dir": "swept"}
    return flags | {"sweep_params": {"lr": [1e-4, 1e-3, "log"]}}


def test_weights_and_biases_proposes_and_is_told(flags, server):
    report = train(**flags, sweep_backend="wandb", sweep_n_trials=3)
    (described,) = server.sweeps
    assert described["metric"] == {"name": "eval_loss", "goal": "minimize"} and described["method"] == "bayes"
    assert described["parameters"] == {"lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-3}}
    assert server.counts == [2]  # the user's own values are tried outside of it
    own, first, second = trials_in("swept")
    assert own["own"] and own["values"] == {"lr": 2e-4}
    assert [first["values"]["lr"], second["values"]["lr"]] == [3e-4, 6e-4]
    assert server.runs[0].summary == {"eval_loss": first["metric"]} and server.runs[0].logged == [
        (1, {"eval_loss": first["metric"]})
    ]
    assert report.sweep["counts"] == {"complete": 3}
    train(**flags, sweep_backend="wandb", sweep_n_trials=4, resume=True)
    assert len(server.sweeps) == 1 and server.counts == [2, 1] and server.identities == ["sweep-1"] * 2
    texts = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert not any(b"a-key-that-is-never-written" in text for text in texts)


def test_a_server_that_gives_nothing_more_ends_the_sweep_with_what_to_do(flags, server, monkeypatch):
    from autotrain_llm.run.failures import RunFailed

    def fails(*given, **named):
        raise ConnectionError("no route")

    monkeypatch.setattr(sys.modules["wandb"], "agent", fails)
    with pytest.raises(RunFailed, match=r"gave no more trials .*no route"):
        train(**flags, sweep_backend="wandb", sweep_n_trials=2)
    assert trials_in("swept")[0]["state"] == "complete"
    assert json.loads(Path("swept/run.json").read_text())["status"] == "failed"


def test_a_grid_tries_every_combination_and_the_users_own_values_first(flags):
    flags |= {"sweep_sampler": "grid", "sweep_n_trials": 9, "sweep_keep": 9}
    train(**{**flags, "sweep_params": {"lr": [1e-4, 3e-4], "scheduler": ["linear", "cosine"]}})
    values = [(trial["values"]["lr"], trial["values"]["scheduler"]) for trial in trials_in("swept")]
    combinations = [(lr, name) for lr in (1e-4, 3e-4) for name in ("linear", "cosine")]
    assert values == [(2e-4, "linear"), *combinations]


def test_a_random_sweep_is_seeded(flags):
    flags |= {"sweep_sampler": "random", "sweep_n_trials": 2}
    train(**flags)
    train(**{**flags, "output_dir": "again"})
    train(**{**flags, "output_dir": "other", "seed": 7})
    first, again, other = ([trial["values"] for trial in trials_in(name)] for name in ("swept", "again", "other"))
    assert first == again and first[0] == other[0] and first[1] != other[1]


def test_no_trial_begins_after_the_time_is_over(flags):
    from autotrain_llm.run.failures import RunFailed

    with pytest.raises(RunFailed, match="no trial was started within --sweep-timeout"):
        train(**flags, sweep_timeout=1e-6)
