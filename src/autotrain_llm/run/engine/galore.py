"""GaLore of pytorch-optimizer (4.1), with states that are plain: its projections as tensors, and not as objects."""

from __future__ import annotations

from typing import Any

from pytorch_optimizer.optimizer.galore import GaLore
from pytorch_optimizer.optimizer.utils.galore import GaLoreProjector

PROJECTOR = "projector"
PLAIN = ("ortho_matrix", "last_svd_step")  # what a projector remembers


class PlainGaLore(GaLore):
    """GaLore whose state is saved without pickle and loaded again."""

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict()
        return {**state, "state": {place: _as_plain(entry) for place, entry in state["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for parameter in group["params"]:
                entry = self.state.get(parameter, {})
                if PROJECTOR in entry:
                    entry[PROJECTOR] = _projector(group, entry[PROJECTOR])


def _as_plain(entry: dict[str, Any]) -> dict[str, Any]:
    if PROJECTOR not in entry:
        return entry
    return {**entry, PROJECTOR: {name: getattr(entry[PROJECTOR], name) for name in PLAIN}}


def _projector(group: dict[str, Any], plain: dict[str, Any]) -> GaLoreProjector:
    names = ("rank", "update_proj_gap", "scale", "projection_type")
    projector = GaLoreProjector(**{name: group[name] for name in names})
    for name in PLAIN:
        setattr(projector, name, plain[name])
    return projector
