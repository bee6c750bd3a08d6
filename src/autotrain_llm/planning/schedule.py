"""Decide the strategies of evaluation and saving: as given, or as a given number of steps implies."""

from __future__ import annotations

from autotrain_llm.config.resolved import Config


def asked_evaluation(config: Config) -> str | None:
    """The given evaluation strategy; `--eval-steps` alone means steps. None: it depends on whether there are evaluation rows."""
    return config.eval_strategy or ("steps" if config.given("eval_steps") and config.eval_steps else None)


def asked_saving(config: Config) -> str | None:
    """The given saving strategy; `--save-steps` alone means steps. None: it follows the evaluation."""
    return config.save_strategy or ("steps" if config.given("save_steps") and config.save_steps else None)
