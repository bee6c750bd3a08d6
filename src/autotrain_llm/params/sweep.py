"""Many runs to find good values."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, group, param


@group("Hyperparameter sweep", order=710, switch="use_sweep", subject="A sweep", available=False)
class Sweep:
    """Train many times and keep the best."""

    use_sweep: bool = param(False, "Search for good values by training many times.")
    sweep_backend: str = param("optuna", "What proposes the values.", choices=("optuna", "wandb"))
    sweep_n_trials: int = param(10, "How many trials to run.", within=AT_LEAST_ONE)
    sweep_metric: str = param("eval_loss", "What the best trial is best at.", metavar="NAME")
    sweep_direction: str = param("minimize", "Which way is better.", choices=("minimize", "maximize"))
    sweep_params: dict | None = param(
        None,
        "What to search: parameters with ranges or choices.",
        metavar="JSON",
        default_words="the trainer's own search space",
    )
