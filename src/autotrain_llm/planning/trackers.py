"""The trackers of `--log`, and the project of a run in each of them."""

from __future__ import annotations

from autotrain_llm.config.resolved import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from autotrain_llm.context.machine import Machine
    from autotrain_llm.planning.plan import TrackerPlan

MLFLOW_DATABASE = "mlflow.db"  # in the folder that the command is started in, as MLflow itself has it
LOGS = "logs"  # the folder of trackers' files in that of a run

# The environment variable with which each names its project.
TRACKERS = {
    "tensorboard": None,
    "wandb": "WANDB_PROJECT",
    "trackio": "TRACKIO_PROJECT",
    "mlflow": "MLFLOW_EXPERIMENT_NAME",
}

YES = ("1", "on", "yes", "true")
# The environment variables that switch a tracker off, with the values that do, in lower case: WANDB_MODE is Weights & Biases' own, the others are transformers'.
SWITCHES: dict[str, dict[str, tuple[str, ...]]] = {
    "wandb": {"WANDB_DISABLED": YES, "WANDB_MODE": ("disabled",)},
    "mlflow": {"DISABLE_MLFLOW_INTEGRATION": YES},
}

# The environment variables that name a server to send to; Weights & Biases sends wherever there is a login.
SERVERS = {
    "trackio": ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID"),
    "mlflow": ("MLFLOW_TRACKING_URI",),
}


def command_to_look(tracker: TrackerPlan, folder: Path, environment: Mapping[str, str]) -> str | None:
    """The command that shows the runs of a project; None where they are on a server, or have to be sent to one first."""
    import shlex

    if any(environment.get(name) for name in SERVERS.get(tracker.name, ())):
        return None
    return {
        "tensorboard": f"tensorboard --logdir {shlex.quote(str(folder.parent))}",
        "trackio": f"trackio show --project {shlex.quote(tracker.project)}",
        "mlflow": f"mlflow ui --backend-store-uri sqlite:///{MLFLOW_DATABASE}",
    }.get(tracker.name)


def sends_to_a_server(tracker: str, config: Config, machine: Machine) -> bool:
    """Whether the tracker sends what it logs to a server."""
    if config.offline:
        return False
    if tracker == "wandb":
        return machine.has_wandb_login and machine.environment.get("WANDB_MODE", "online") == "online"
    return any(machine.environment.get(name) for name in SERVERS.get(tracker, ()))


def switched_off_by(tracker: str, environment: Mapping[str, str]) -> str | None:
    """The environment variable that switches a tracker off, with its value; None if none does."""
    values = {name: environment.get(name, "").strip() for name in SWITCHES.get(tracker, {})}
    return next((f"{name}={value}" for name, value in values.items() if value.lower() in SWITCHES[tracker][name]), None)


def named_by_environment(tracker: str, environment: Mapping[str, str]) -> str | None:
    """The project that the tracker's environment variable names."""
    variable = TRACKERS[tracker]
    return (environment.get(variable) if variable else None) or None


def project_of(tracker: str, config: Config, environment: Mapping[str, str]) -> str:
    """The project of a run in a tracker."""
    usual = config.tracker_project or f"autotrain-{config.trainer}"
    return named_by_environment(tracker, environment) or usual


def decide_trackers(config: Config, environment: Mapping[str, str]) -> tuple[TrackerPlan, ...]:
    """The trackers of a run, each with its project."""
    from autotrain_llm.planning.plan import TrackerPlan

    return tuple(TrackerPlan(name, project_of(name, config, environment), config.run_name) for name in config.log)
