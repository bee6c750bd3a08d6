"""The search space of a sweep, the direction of its metric and the name of its study: what a configuration alone determines."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from autotrain_llm.config.metric_choice import EVALUATION, metric_directions
from autotrain_llm.config.registry import GROUP, PARAMS
from autotrain_llm.config.resolved import DEFAULT, Config
from autotrain_llm.declare.param import Param, Search
from autotrain_llm.declare.search import read_space
from autotrain_llm.declare.text import as_list
from autotrain_llm.declare.trainer import Trainer

# What a sweep config of Weights & Biases has beside `parameters`.
SETTINGS_OF_WANDB = frozenset(
    [
        "program",
        "method",
        "metric",
        "command",
        "early_terminate",
        "project",
        "entity",
        "name",
        "description",
        "run_cap",
        "controller",
        "job",
    ]
)
HELD_OUT = "0.1"  # share of the rows that a sweep sets aside where no evaluation rows are named
NEW_MODEL_RATES = (1e-4, 1e-2)  # learning rates for a model with random weights
PASSWORD = re.compile(r"^([^:]+://[^:/@]*:).*(@)")  # greedy, up to the last @, because a password may contain one
PROXY = "grpc://"  # the scheme of Optuna's storage proxy
PROXY_ADDRESS = re.compile(r"grpc://(?P<host>\[[0-9a-fA-F:]+\]|[^/:@\s]+):(?P<port>\d{1,5})/?\Z")
IN_THE_QUERY = re.compile(r"([?&](?:password|passwd)=)[^&#]*", re.IGNORECASE)


def direction_of(config: Config) -> str:
    """The better direction: that of the metric if it is known, else `--sweep-direction`, else minimize."""
    requested = config.sweep_direction
    return metric_directions(config).get(config.sweep_metric) or requested or "minimize"


def searchable(trainer: Trainer) -> list[str]:
    """Names of the parameters that a sweep with this trainer can search."""
    return [param.name for group in trainer.group_specs for param in group.params if param.searchable]


def written_spaces(config: Config) -> dict[str, Any]:
    """`--sweep-params` by parameter. A sweep config of Weights & Biases has the spaces under `parameters`, beside its own settings."""
    written = config.sweep_params or {}
    nested = written.get("parameters")
    if isinstance(nested, dict):
        others = {name: space for name, space in written.items() if name not in ("parameters", *SETTINGS_OF_WANDB)}
        written = {**others, **nested}
    return {str(name): space for name, space in written.items()}


def spaces_of(config: Config) -> dict[str, Search]:
    """The search space: `--sweep-params` as far as it can be parsed, else the trainer's usual spaces."""
    if config.sweep_params is None:
        return _usual_spaces(config)
    spaces: dict[str, Search] = {}
    for name, written in written_spaces(config).items():
        param = PARAMS.get(name.replace("-", "_"))
        search = read_space(param, written)[0] if param else None
        if param and search:
            spaces[param.name] = search
    return spaces


def _usual_spaces(config: Config) -> dict[str, Search]:
    """The declared spaces of the trainer's parameters, except those that change the meaning of the metric."""
    names = [name for name in searchable(config.trainer_spec) if name not in changes_metric_meaning(config)]
    params = [PARAMS[name] for name in names if PARAMS[name].search and _is_on(config, PARAMS[name])]
    return {param.name: _usual_space(config, param) for param in params}


def _is_on(config: Config, param: Param) -> bool:
    switch = GROUP[param.group].switch
    return switch is None or bool(config.value_of(switch))


def _usual_space(config: Config, param: Param) -> Search:
    """The declared space; for the learning rate, limited to what is plausible for the trainer and extended to the given value."""
    search = param.search
    assert search is not None
    if param.name != "lr" or search.low is None or search.high is None:
        return search
    if str(config.model).startswith("scratch:"):
        low, high = NEW_MODEL_RATES
    else:
        plausible = config.trainer_spec.learning_rates["lora" if config.peft else "full"]
        low, high = max(search.low, plausible[0]), min(search.high, plausible[1])
    own = config.lr
    return search.replace(low=min(low, own or low), high=max(high, own or high))


def changes_metric_meaning(config: Config) -> list[str]:
    """Parameters that change the meaning of the sweep's metric: losses with different beta can't be compared."""
    metric = str(config.sweep_metric).removeprefix(EVALUATION)
    if config.trainer_spec.samples:  # rewards can be compared unless the reward itself changes
        return [param.name for param in GROUP["RewardSources"].params] if metric == "reward" else []
    if metric != "loss" and not (metric.startswith("rewards/") and not metric.endswith("accuracies")):
        return []
    distillation = [param.name for param in GROUP["Distillation"].params if param.search]
    return [*config.trainer_spec.settings, *distillation]


def own_values(config: Config, spaces: dict[str, Search]) -> dict[str, Any] | None:
    """The command's own values of the searched parameters; None if one of them is not set."""
    values = {name: config.value_of(name) for name in spaces}
    if any(value is None and None not in spaces[name].choices for name, value in values.items()):
        return None
    return {name: as_list(value) for name, value in values.items()}


def needs_rows(config: Config) -> bool:
    """Whether a sweep needs evaluation rows and none are named."""
    named = config.valid_split or config.eval_dataset_path
    return bool(config.use_sweep) and not named and config.eval_strategy != "no"


def with_held_out_rows(config: Config) -> Config:
    """The configuration; a sweep without evaluation rows holds some out. They depend on the seed only."""
    return config.replace({"valid_split": HELD_OUT}, source=DEFAULT) if needs_rows(config) else config


def study_name(config: Config) -> str:
    """The name of the study: the same for the same command on any machine and with any number of trials."""
    import hashlib  # of sweeps alone: loading OpenSSL takes longer than checking flags

    if config.sweep_name:
        return str(config.sweep_name)
    names = [name for name in config.all_given() if names_the_study(PARAMS[name])]
    values = {name: config.value_of(name) for name in sorted(names)}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
    return f"{config.trainer}-{digest[:12]}"


def names_the_study(param: Param) -> bool:
    """Whether a different value of the parameter makes a different study."""
    if param.name in ("sweep_metric", "sweep_params"):
        return True
    return param.in_study_name and not (param.command or param.machine_specific or param.group == "Sweep")


def without_password(url: str) -> str:
    """A database's URL with its password masked."""
    return IN_THE_QUERY.sub(r"\1***", PASSWORD.sub(r"\1***\2", url))


def is_proxy(url: str) -> bool:
    """Whether `--sweep-storage` is the address of a storage proxy and not of a database."""
    return url.startswith(PROXY)


def proxy_address(url: str) -> tuple[str, int]:
    """Host and port of `grpc://host:port`. Raises ValueError for any other address."""
    address = PROXY_ADDRESS.match(url)
    if address is None:
        raise ValueError("a storage proxy has a host and a port, and nothing else: grpc://host:13000")
    return address["host"], int(address["port"])


def usual_value(config: Config, name: str, trainer: Trainer | None = None) -> Any:
    """The usual value of a required parameter for a trainer, by default the config's; a new model learns with a higher rate than one that was
    trained before."""
    if name == "lr" and str(config.model).startswith("scratch:"):
        low, high = NEW_MODEL_RATES
        return math.sqrt(low * high)
    usual = (trainer or config.trainer_spec).usual.get(name)
    return None if usual is None else usual.value(bool(config.peft))


def grid_size(spaces: dict[str, Search], own: dict[str, Any] | None) -> int:
    """The number of combinations of the given choices, plus the command's own values if they are not among them."""
    given = {
        name: [list(choice) if isinstance(choice, tuple) else choice for choice in spaces[name].choices]
        for name in spaces
    }
    extra = own is not None and any(own[name] not in choices for name, choices in given.items())
    return math.prod(map(len, given.values())) + extra
