"""Decide what evaluates and saves: what was asked for, or what a number of steps implies."""

from __future__ import annotations

from autotrain_llm.config.resolved import Config


def asked_evaluation(config: Config) -> str | None:
    """When to evaluate, as far as the user said it: `--eval-steps` alone means steps. None leaves it to the rows."""
    return config.eval_strategy or ("steps" if config.given("eval_steps") and config.eval_steps else None)


def asked_saving(config: Config) -> str | None:
    """When to save, as far as the user said it: `--save-steps` alone means steps. None follows the evaluation."""
    return config.save_strategy or ("steps" if config.given("save_steps") and config.save_steps else None)
