"""Several forms as the stages of one config: its text, the file and the command that trains it, and the form of a pipeline that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.app.folders import Folders
from autotrain_llm.app.values import OFFERED, FormCommand, as_text, read_form
from autotrain_llm.checks.autofix import as_yaml
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.stages import NAME, STAGE_NAME, STAGES, Pipeline, Stage, parameter_of, pipeline_of
from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.showable import without_credentials

CONFIGS = "pipelines"  # the folder of the configs
MOST_STAGES = 40
FALLBACK = "pipeline"


@dataclass(frozen=True)
class StagedForm:
    """The forms of stages, of which one is `shown`. `name` is that of the pipeline, of its folder and of its file."""

    name: str
    names: tuple[str, ...]
    commands: tuple[FormCommand, ...] = field(repr=False)
    shown: int

    @property
    def folder(self) -> str:
        return f"runs/{self.name}"

    @property
    def path(self) -> str:
        return f"{CONFIGS}/{self.name}.yaml"

    @property
    def current(self) -> FormCommand:
        return self.commands[self.shown]

    def text(self) -> str:
        """The config, without secrets."""
        stages = [{NAME: name, **command.keys()} for name, command in zip(self.names, self.commands, strict=True)]
        return without_credentials(as_yaml({"output_dir": self.folder, STAGES: stages}))

    def command(self) -> str:
        """The command to copy."""
        return f"autotrain llm --config {self.path}"

    def environment(self) -> dict[str, str]:
        """The variables that its process gets besides those of this one."""
        return {name: value for command in self.commands for name, value in command.environment().items()}

    def pipeline(self) -> Pipeline:
        """The stages, each with the findings of reading its form. Raises Refused."""
        pipeline = pipeline_of(self.text(), self.path)
        findings = {name: command.findings for name, command in zip(self.names, self.commands, strict=True)}
        stages = tuple(
            stage.replace(findings=(*stage.findings, *findings.get(stage.name, ()))) for stage in pipeline.stages
        )
        return pipeline.replace(stages=stages)


def read_staged(document: Mapping[str, Any], folders: Folders) -> StagedForm:
    """Read the forms that a page sends. Raises KeyError for a name that no form has, and ValueError if they are no stages."""
    stages, shown = document.get(STAGES), document.get("shown")
    if not isinstance(stages, list) or not 0 < len(stages) <= MOST_STAGES:
        raise ValueError("it has no stages, or too many")
    if not isinstance(shown, int) or not 0 <= shown < len(stages):
        raise ValueError("it shows no stage")
    name = str(document.get(NAME) or "").strip() or free_name(folders)
    if not STAGE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} can't be the name of a folder: letters, digits, points, - and _")
    names = tuple(str(mapping(stage).get(NAME) or "") for stage in stages)
    commands = tuple(read_form(mapping(mapping(stage).get("values")), folders) for stage in stages)
    return StagedForm(name, names, commands, shown)


def free_name(folders: Folders) -> str:
    """A name for a pipeline that has neither a folder nor a config yet."""
    return next(
        name
        for number in range(1, 100_000)
        if not (folders.home / "runs" / (name := f"{FALLBACK}-{number}")).exists()
        and not (folders.home / CONFIGS / f"{name}.yaml").exists()
    )


def write_config(form: StagedForm, folders: Folders) -> Path:
    """Write the config of a pipeline, under a name that no other content has. Raises OSError, and Outside."""
    folder = folders.resolve(CONFIGS)
    folder.mkdir(exist_ok=True)
    text = form.text()
    for ending in ("", *(f"-{number}" for number in range(2, 10_000))):
        path = folder / f"{form.name}{ending}.yaml"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            if path.read_text(encoding="utf-8", errors="replace") != text:
                continue
        return path
    raise OSError(f"there is no free name in {CONFIGS}")


def forms_of(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The stages of a config as forms: what stands above them is in each."""
    return [{NAME: stage.name, "values": _texts(stage)} for stage in pipeline.stages]


def _texts(stage: Stage) -> dict[str, str]:
    named = {reference.parameter for reference in stage.uses}  # by the names of stages, and not by their folders
    written = {parameter_of(key): as_text(value) for key, value in stage.written.items()}
    return {
        name: written[name] if name in named and name in written else as_text(value)
        for name, value in stage.arguments.values.items()
        if name in OFFERED and name != "output_dir" and not PARAMS[name].secret
    }
