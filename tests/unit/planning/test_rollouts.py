"""What is decided before a policy is trained: sizes of phases, steps, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.machine import Machine
from autotrain_llm.planning.plan import Plan
from support.rows import write_rows


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "scores.py").write_text(
        "def score(completions, **rest): return [float(len(text)) for text in completions]\n"
    )
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"what comes after {n}"} for n in range(50)])


def checked(trainer: str, model: Path, prompts: Path, **flags: Any) -> Checked:
    command = {"trainer": trainer, "model": str(model), "data_path": str(prompts), "lr": 1e-6, "dry_run": True}
    command |= {"rl_reward_fn": f"{prompts.parent / 'scores.py'}:score", "batch_size": 8}
    if "max_steps" not in flags:
        command |= {"epochs": 1}
    said = parse_kwargs({**command, **flags})
    assert said.findings == []
    return preflight(resolve(said.values))


def plan_of(*words: Any, **flags: Any) -> Plan:
    result = checked(*words, **flags)
    assert result.plan is not None, [finding.message for finding in result.findings]
    return result.plan


@pytest.mark.parametrize(
    ("trainer", "flags", "steps", "accumulated", "batch"),
    [
        # 50 prompts are one phase of 50 answers, trained on in four passes of two steps of at most 32.
        ("ppo", {}, 8, 4, 8),
        ("ppo", {"rl_num_ppo_epochs": 1}, 2, 4, 8),
        # Phases of 32 and 18 answers: a step and a step, twice.
        ("ppo", {"rl_chunk_size": 32, "rl_num_ppo_epochs": 2}, 4, 4, 8),
        ("ppo", {"rl_chunk_size": 32, "rl_num_ppo_epochs": 2, "epochs": 3}, 12, 4, 8),
        ("ppo", {"rl_chunk_size": 32, "max_steps": 5}, 5, 4, 8),
        ("ppo", {"rl_chunk_size": 16, "rl_mini_batch_size": 16, "rl_num_ppo_epochs": 1, "batch_size": 32}, 4, 1, 16),
        ("ppo", {"rl_chunk_size": 16, "gradient_accumulation": 1, "rl_num_ppo_epochs": 1}, 7, 1, 8),
        # Eight prompts with eight answers each make a phase: six of them, and one of two prompts.
        ("grpo", {}, 7, 8, 8),
        ("grpo", {"rl_num_generations": 16, "rl_chunk_size": 128}, 14 - 1, 8, 8),
    ],
)
def test_steps_follow_from_prompts_and_the_sizes_of_a_phase(
    trainer: str, flags: dict[str, Any], steps: int, accumulated: int, batch: int, light_llama: Path, prompts: Path
) -> None:
    plan = plan_of(trainer, light_llama, prompts, **flags)
    arguments = plan.arguments
    assert plan.steps == arguments.max_steps == steps
    assert arguments.gradient_accumulation_steps == accumulated
    assert arguments.per_device_train_batch_size == batch


def test_two_processes_share_the_answers_of_a_step(
    light_llama: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = plan_of("ppo", light_llama, prompts, output_dir=str(prompts.parent / "run"))
    monkeypatch.setattr(Machine, "processes", 2)
    two = plan_of("ppo", light_llama, prompts, output_dir=str(prompts.parent / "run"))
    assert one.steps == two.steps
    assert (one.arguments.gradient_accumulation_steps, two.arguments.gradient_accumulation_steps) == (4, 2)


@pytest.mark.parametrize(
    ("trainer", "flags", "code", "fix"),
    [
        ("ppo", {"rl_chunk_size": 100}, "P801", "--rl-chunk-size 96"),
        ("ppo", {"batch_size": 5}, "P801", "--rl-mini-batch-size 30 --rl-chunk-size 120"),
        ("ppo", {"batch_size": 12, "rl_chunk_size": 96}, "P801", "--rl-mini-batch-size 24"),
        ("ppo", {"rl_chunk_size": 100, "gradient_accumulation": 3}, "P801", "--rl-chunk-size 96"),
        ("grpo", {"rl_num_generations": 6}, "P801", "--rl-chunk-size 192"),
        ("grpo", {"rl_num_generations": 6, "rl_chunk_size": 64, "rl_mini_batch_size": 8}, "P801", "--rl-chunk-size 72"),
        ("ppo", {"gradient_accumulation": 2, "rl_mini_batch_size": 32}, "P805", "remove --gradient-accumulation"),
        ("ppo", {"rl_kl_target": 6.0, "rl_kl_coef": 0.0}, "P802", "--rl-kl-coef 0.05"),
        ("grpo", {"rl_kl_target": 6.0}, "P802", "--rl-kl-coef 0.05"),
        ("grpo", {"engine": "trl"}, "P804", "--engine native"),
        ("ppo", {"engine": "trl"}, "P113", None),
        (
            "ppo",
            {"gradient_accumulation": 1},
            "P810",
            "--rl-mini-batch-size 8, or remove --gradient-accumulation for steps of 32",
        ),
        (
            "spo",
            {"gradient_accumulation": 2},
            "P810",
            "--rl-mini-batch-size 16, or remove --gradient-accumulation for steps of 64",
        ),
        ("ppo", {"batch_size": 64}, "P811", "--batch-size 32, or --rl-mini-batch-size 64 for larger steps"),
        (
            "grpo",
            {"batch_size": 128, "rl_chunk_size": 128},
            "P811",
            "--batch-size 64, or --rl-mini-batch-size 128 for larger steps",
        ),
    ],
)
def test_sizes_and_prices_that_do_not_go_together_are_found(
    trainer: str, flags: dict[str, Any], code: str, fix: str | None, light_llama: Path, prompts: Path
) -> None:
    found = {finding.code: finding for finding in checked(trainer, light_llama, prompts, **flags).findings}
    assert code in found and (fix is None or found[code].fix == fix)


@pytest.mark.parametrize(
    ("trainer", "flags"),
    [
        ("ppo", {"rl_mini_batch_size": 6, "batch_size": 4}),
        ("ppo", {"rl_mini_batch_size": 7, "batch_size": 5}),
        ("ppo", {"rl_chunk_size": 8}),
        ("ppo", {"rl_chunk_size": 100, "rl_mini_batch_size": 30, "batch_size": 8}),
        ("grpo", {"rl_chunk_size": 100, "rl_num_generations": 6, "rl_mini_batch_size": 10, "batch_size": 4}),
    ],
)
def test_sizes_that_are_put_right_as_it_is_said_divide(
    trainer: str, flags: dict[str, Any], light_llama: Path, prompts: Path
) -> None:
    findings = checked(trainer, light_llama, prompts, **flags).findings
    wrong = [finding for finding in findings if finding.code == "P801"]
    assert wrong
    changes = {name: value for finding in wrong for name, value in finding.changes.items()}
    assert checked(trainer, light_llama, prompts, **flags | changes).findings == ()


def test_a_batch_that_is_lowered_is_said_to_be_so_for_each_process(
    light_llama: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"batch_size": 32, "output_dir": str(prompts.parent / "run")}
    assert checked("ppo", light_llama, prompts, **flags).findings == ()
    monkeypatch.setattr(Machine, "processes", 2)
    (finding,) = checked("ppo", light_llama, prompts, **flags).findings
    assert finding.fix == "--batch-size 16, or --rl-mini-batch-size 64 for larger steps"
    assert checked("ppo", light_llama, prompts, **flags | dict(finding.changes)).findings == ()


@pytest.mark.parametrize(("trainer", "step"), [("ppo", 32), ("grpo", 64), ("spo", 64)])
def test_what_accumulation_makes_of_a_step_stays_when_its_finding_is_fixed(
    trainer: str, step: int, light_llama: Path, prompts: Path
) -> None:
    def sizes(**flags: Any) -> tuple[int, int]:
        result = checked(trainer, light_llama, prompts, rl_chunk_size=64, **flags)
        assert result.plan is not None and result.plan.rollouts is not None
        return result.plan.steps, result.plan.rollouts.schedule.answers_of_step

    flags: dict[str, Any] = {"gradient_accumulation": 2, "rl_num_ppo_epochs": 1}
    (finding,) = checked(trainer, light_llama, prompts, rl_chunk_size=64, **flags).findings
    assert sizes(**flags) == sizes(**flags, **finding.changes) != sizes(rl_num_ppo_epochs=1)
    assert checked(trainer, light_llama, prompts, rl_chunk_size=64, **flags, **finding.changes).findings == ()
    assert checked(trainer, light_llama, prompts, gradient_accumulation=step // 8).findings == ()


def test_without_accumulation_its_value_follows_from_the_step(light_llama: Path, prompts: Path) -> None:
    value = plan_of("ppo", light_llama, prompts).parameters["gradient_accumulation"]
    assert (value.value, value.source) == (None, "trainer default")


def test_a_sweep_does_not_search_what_its_reward_is_made_of(light_llama: Path, prompts: Path) -> None:
    def codes(searched: str, metric: str) -> set[str]:
        flags = {"use_sweep": True, "sweep_params": {searched: {"low": 0.1, "high": 0.3}}, "sweep_metric": metric}
        return {finding.code for finding in checked("ppo", light_llama, prompts, **flags).findings}

    assert codes("rl_missing_end_penalty", "eval_reward") == {"P604"}
    assert codes("rl_clip_range", "eval_reward") == codes("rl_missing_end_penalty", "eval_kl") == set()


def test_trl_has_nowhere_to_load_a_new_model_a_second_time_from(light_llama: Path, prompts: Path) -> None:
    def codes(model: Path, price: float) -> set[str]:
        return {finding.code for finding in checked("grpo", model, prompts, engine="trl", rl_kl_coef=price).findings}

    assert "P806" in codes(Path("scratch:1m"), 0.04)
    assert "P806" not in codes(Path("scratch:1m"), 0.0) | codes(light_llama, 0.04)


@pytest.mark.parametrize(
    "flags", [{}, {"gradient_accumulation": 4, "rl_mini_batch_size": 32}, {"rl_kl_coef": 0.05, "rl_kl_target": 6.0}]
)
@pytest.mark.parametrize("trainer", ["ppo", "grpo"])
def test_a_clean_command_draws_no_finding(
    trainer: str, flags: dict[str, Any], light_llama: Path, prompts: Path
) -> None:
    assert checked(trainer, light_llama, prompts, **flags).findings == ()


def test_a_policy_that_nothing_holds_needs_no_copy_of_itself(light_llama: Path, prompts: Path) -> None:
    held, free = (plan_of("ppo", light_llama, prompts, rl_kl_coef=price) for price in (0.2, 0.0))
    assert held.objective.reference.kind == "a copy of the model as it was"
    assert free.objective.reference is None
    adapter = plan_of("ppo", light_llama, prompts, peft=True)
    assert adapter.objective.reference.kind == "the model without its adapter"
    sizes = [
        plan.memory.peak_memory_bytes
        for plan in (free, held, plan_of("ppo", light_llama, prompts, rl_value_model="separate"))
    ]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_the_plan_says_how_many_answers_are_sampled_and_how_often_they_are_learnt_from(
    light_llama: Path, prompts: Path
) -> None:
    rows = {
        name: (value, why) for _, part in plan_of("grpo", light_llama, prompts).summary() for name, value, why in part
    }
    assert rows["samples"] == ("64 answers per rollout, 8 to each prompt", "trained on in 1 pass")
    assert rows["steps"][0] == "7 of 8 answers x 8 accumulated"
