"""Many runs to find good values."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NO_INFLUENCE, POSITIVE, group, nearly, param

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@group(
    "Hyperparameter sweep", order=710, switch="use_sweep", subject="A sweep", searchable=False, on_resume=NO_INFLUENCE
)
class Sweep:
    """Train many times and keep the best."""

    use_sweep: bool = param(False, "Search for good hyperparameters by training many times.", usual=True)
    sweep_backend: str = param(
        "optuna",
        "Library that proposes the values.",
        choices=("optuna", "wandb"),
        meanings={"ray sigopt none": nearly("Optuna proposes the values on this machine", sweep_backend="optuna")},
    )
    sweep_n_trials: int = param(
        10,
        "Number of trials; the first uses the command's own values.",
        within=AT_LEAST_ONE,
        suggested=10,
        aliases="n_trials num_trials",
    )
    sweep_metric: str = param("eval_loss", "Metric to optimise.", metavar="NAME")
    sweep_direction: str | None = param(
        None,
        "Direction in which the metric is better.",
        choices=("minimize", "maximize"),
        default_words="the metric's own",
    )
    sweep_params: dict[str, Any] | None = param(
        None,
        "Search space: parameters with ranges or choices, as JSON or in a JSON or YAML file.",
        metavar="JSON|FILE",
        default_words="the trainer's own search space",
        aliases="hp_space search_space",
    )
    sweep_sampler: str = param("tpe", "Sampler that proposes the values.", choices=("tpe", "random", "grid"))
    sweep_pruner: str = param(
        "median",
        "Pruner that stops unpromising trials early, by their evaluations so far.",
        choices=("median", "hyperband", "halving", "none"),
    )
    sweep_timeout: float | None = param(
        None, "Start no trial after this many seconds.", within=POSITIVE, default_words="never"
    )
    sweep_keep: int = param(1, "Keep the models of the N best trials.", within=AT_LEAST_ONE)
    sweep_storage: str | None = param(
        None,
        "Database shared by several machines, postgresql://, mysql:// or sqlite:///; or Optuna's storage proxy, grpc://host:port.",
        metavar="URL",
        secret=True,
        default_words="a file in the output folder",
    )
    sweep_name: str | None = param(
        None, "Name of the study in --sweep-storage.", metavar="NAME", default_words="from the command's values"
    )
