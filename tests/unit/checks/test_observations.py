"""What the metrics of a run say: a loss on evaluation rows that rises, rewards that never differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.api import plan, train
from autotrain_llm.checks.observations import History, observe
from autotrain_llm.planning.plan import Plan
from autotrain_llm.progress import ProgressCallback


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan that evaluates."""
    folder = tmp_path_factory.mktemp("observed")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"Row {row}."}) + "\n" for row in range(8)))
    flags: dict[str, Any] = {"trainer": "sft", "model": "scratch:100k", "lr": 1e-3, "epochs": 3, "batch_size": 2}
    return plan(**flags, valid_split=0.25, data_path=str(folder / "rows.jsonl"), output_dir=str(folder / "run"))


def history(*losses: float, over: bool = True, checkpoints: tuple[int, ...] = ()) -> History:
    entries = [{"step": 10 * (index + 1), "eval_loss": loss} for index, loss in enumerate(losses)]
    return History(tuple(entries), "runs/a", over, checkpoints)


@pytest.mark.parametrize("losses", [(2.0, 1.5, 1.0), (2.0, 1.0, 1.005), (3.0,), (), (1.0, float("nan")), (-2.0, -2.0)])
def test_a_loss_that_ends_at_its_lowest_or_within_one_percent_of_it_is_not_reported(made: Plan, losses) -> None:
    assert observe(made, history(*losses)) == ()


def test_a_loss_that_rises_to_the_end_names_its_best_step_and_what_to_type(made: Plan) -> None:
    (finding,) = observe(made, history(2.0, 1.0, 1.2, 1.5, checkpoints=(20, 40)))
    assert finding.code == "P740"
    assert finding.message == ("the loss on evaluation rows was lowest at step 20, 1, and is 1.5 at the end, step 40")
    assert (
        finding.fix == "--load-best-model-at-end, or --max-steps 20; the model of that step is --model runs/a@step-20"
    )


def test_a_loss_that_was_lowest_before_training_calls_for_a_lower_rate(made: Plan) -> None:
    entries = tuple({"step": step, "eval_loss": 1.0 + step} for step in range(3))
    (finding,) = observe(made, History(entries, "runs/a", True))
    assert str(finding.fix).startswith("a lower --lr than 0.001")


def test_a_rise_is_reported_when_the_run_is_over_and_not_where_the_best_model_is_restored(made: Plan) -> None:
    assert observe(made, history(1.0, 2.0, over=False)) == ()
    restored = replace(made, arguments=replace(made.arguments, load_best_model_at_end=True))
    assert observe(restored, history(1.0, 2.0)) == ()


class Heard(ProgressCallback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


REWARDS = """def same(prompts, completions, **columns):
    return [0.5 for _ in completions]

def by_prompt(prompts, completions, **columns):
    return [float(len(prompt)) for prompt in prompts]

def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "reward", "said"),
    [
        ("grpo", "same", "every answer has had the same reward, 0.5"),
        ("spo", "same", "every answer has had the same reward, 0.5"),
        ("ppo", "same", "every answer has had the same reward, 0.5"),
        ("grpo", "by_prompt", "the answers to one prompt have never had different rewards"),
        ("grpo", "length", None),
    ],
)
def test_rewards_that_never_differ_are_reported_early_and_at_the_end(
    tmp_path: Path, trainer: str, reward: str, said: str | None
) -> None:
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": "Row" * row}) + "\n" for row in range(1, 9)))
    heard = Heard()
    sizes = {"rl_chunk_size": 8, "rl_mini_batch_size": 8, "batch_size": 8, "rl_max_new_tokens": 4}
    sizes |= {"rl_num_generations": 4} if trainer == "grpo" else {}
    report = train(
        heard,
        trainer=trainer,
        model="scratch:100k",
        lr=1e-4,
        epochs=4,
        rl_num_ppo_epochs=1,
        rl_reward_fn=f"{tmp_path / 'rewards.py'}:{reward}",
        data_path=str(tmp_path / "prompts.jsonl"),
        output_dir=str(tmp_path / "run"),
        **sizes,
    )
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    written = [finding["message"] for finding in document["findings"] if finding["code"] == "P741"]
    early = [note for note in heard.notes if "[P741]" in note]
    if said is None:
        assert written == early == []
        return
    assert [finding.message for finding in report.observations] == written
    assert len(written) == len(early) == 1
    assert written[0].startswith(said)
    assert said in early[0]
