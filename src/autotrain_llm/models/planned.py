"""Models that earlier stages will write: their files do not exist yet, and what can be known of them follows from the plan of their stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from autotrain_llm.declare.temporary import TemporaryFolder
from autotrain_llm.models.locate import SELECTED_RUN, Located


@dataclass(frozen=True)
class PlannedModel:
    """What a stage will write: the finished model at the root of its folder, and its checkpoints, which can differ: an adapter that is merged
    at the end is not merged in them."""

    finished: Located
    checkpoint: Located


class PlannedModels:
    """The planned models of a pipeline by the folder of their stage. They are found by every name that finds the written model: the folder,
    `FOLDER@best` or a checkpoint below it. `home` is a temporary folder for their files, deleted with this object."""

    def __init__(self) -> None:
        self._temporary = TemporaryFolder("planned")
        self._by_folder: dict[Path, PlannedModel] = {}

    @property
    def home(self) -> Path:
        return self._temporary.path

    def add(self, folder: Path, model: PlannedModel) -> None:
        self._by_folder[folder.resolve()] = model

    def find(self, name: str) -> Located | None:
        """The model that this name will locate; None if no stage will write it."""
        if not self._by_folder:
            return None
        selected = SELECTED_RUN.fullmatch(name)
        path = Path(selected["run"] if selected else name).expanduser().resolve()
        model = self._by_folder.get(path)
        if model is not None:
            of_checkpoint = selected is not None and selected["choice"] != "last"
            return replace(model.checkpoint if of_checkpoint else model.finished, name=name)
        inside = next((model for folder, model in self._by_folder.items() if folder in path.parents), None)
        return replace(inside.checkpoint, name=name) if inside else None
