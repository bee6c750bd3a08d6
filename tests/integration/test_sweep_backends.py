"""Where a sweep's values come from: the samplers of Optuna, and the agent of Weights & Biases with a stand-in for its server."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from autotrain_llm import train
from autotrain_llm.planning.plan import SweepPlan
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


# ---- a study in a database


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """What makes one more machine's view of a study of two trials, in which nothing is waited for."""
    from autotrain_llm.run.sweep import optuna_study as study

    monkeypatch.setattr(study, "GRACE", 0.05)
    monkeypatch.setattr(study, "POLL", 0.03)
    sweep = SweepPlan(
        backend="optuna",
        study="shared",
        storage="sqlite",
        trials=2,
        timeout=None,
        metric="eval_loss",
        direction="minimize",
        sampler="random",
        pruner="none",
        keep=1,
        written=True,
        space={"lr": {"low": 1e-5, "high": 1e-3, "log": True, "step": None}},
        own={"lr": 1e-4},
        held_out=None,
    )

    def make(name: str) -> study.Study:
        (tmp_path / name / "sweep").mkdir(parents=True)
        lock = study.FileLock(tmp_path / name / "sweep" / ".writing")
        return study.Study(sweep, tmp_path / name, 1, study.connect(f"sqlite:///{tmp_path / 'study.db'}"), lock)

    return make


def test_a_machine_killed_before_its_first_heartbeat_loses_its_trial_to_another(machine):
    killed, other = machine("killed"), machine("other")
    asked = killed.study.ask(killed.spaces)  # and not a word after that
    assert (asked.number, asked.params) == (0, {"lr": 1e-4})
    done = []
    while (trial := other.next()) is not None:
        trial.state, trial.metric = "complete", 1.0
        other.tell(trial)
        done.append(trial)
    states = {trial.number: trial.state for trial in other.trials()}
    assert states[0] == "lost" and sorted(states.values()) == ["complete", "complete", "lost"]
    (again,) = [trial for trial in done if trial.own]
    assert again.values == {"lr": 1e-4}


def test_a_trial_that_was_taken_for_lost_before_it_was_claimed_is_not_carried_out_twice(machine, monkeypatch):
    from autotrain_llm.run.sweep import optuna_study as study

    slow, other = machine("slow"), machine("other")
    claim = slow._claim

    def much_later(number: int) -> study.Heartbeat:
        other.study.tell(number, state=study.TrialState.FAIL)
        monkeypatch.setattr(slow, "_claim", claim)
        return claim(number)

    monkeypatch.setattr(slow, "_claim", much_later)
    trial = slow.next()
    assert trial is not None and trial.number == 1
    slow.tell(trial)
