"""Check a config of stages: every stage before the first one starts, and which of them are trained, resumed or kept.

A stage is checked as a run of its own. What an earlier stage will have written is not there yet: its model is derived from its plan, and what
can't be known before, such as rows that it generates, is listed as not checked.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.autofix import typed_flags
from autotrain_llm.checks.coverage import UncheckedItem
from autotrain_llm.checks.preflight import Checked, ignored_parameters, preflight
from autotrain_llm.checks.rules.stages import (
    ANOTHER_RUN,
    LEFT_OUT_AND_CHANGED,
    NOT_FOR_STAGES,
    NOT_YET_TRAINED,
    PIPELINE_IN_USE,
    SET_BY_STAGES,
    SEVERAL_PROCESSES,
    stages_are_selected_in_a_config_of_stages,
)
from autotrain_llm.checks.saved_plan import fingerprints
from autotrain_llm.checks.saved_stages import changes_since, read_saved_stages
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.layers import Layer
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, Config, resolve_layers
from autotrain_llm.config.stages import MODELS, Pipeline, Stage, in_stage
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.output_dir import LOCK_FILE, RUN_FILE, Output, earlier_sweep
from autotrain_llm.context.pipeline_record import (
    Inputs,
    PipelineRecord,
    StageRecord,
    is_finished,
    read_record,
    run_in,
)
from autotrain_llm.declare.digests import sampled_digest
from autotrain_llm.declare.finding import Finding, refuses
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.text import as_list, plain

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Progress
    from autotrain_llm.models.planned import PlannedModels

TRAIN, AGAIN, RESUME, KEEP, LEAVE_OUT = "train", "train again", "resume", "keep", "leave out"
# Flags that are about one run. The stages are resumed without being asked to; `--overwrite` trains all of them again.
OF_ONE_RUN = ("inference", "preview_data", "resume_from_checkpoint", "prompts", "interactive")
OF_EACH_STAGE = ("dry_run", "check_rows", "check_secrets", "strict", "quiet", "verbose", "preset")
OF_THE_SELECTION = ("from_stage", "only", "preset")
OF_THE_COMMAND = frozenset(param.name for param in PARAMS.values() if param.command) - {*OF_EACH_STAGE} | {"output_dir"}
UNCHANGED = "finished and unchanged"
MANY = 2  # reasons that are written out


class StageCheck(Record):
    """The check of one stage: what is done with it and why, its values by source, and what it is trained from. `checked` is None for a stage
    that is left out."""

    stage: Stage
    action: str
    why: str
    layers: Mapping[str, Layer]
    inputs: Inputs
    checked: Checked | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def runs(self) -> bool:
        return self.action in (TRAIN, AGAIN, RESUME)

    @property
    def not_checked(self) -> tuple[UncheckedItem, ...]:
        return self.checked.not_checked if self.checked is not None and self.runs else ()


class CheckedPipeline(Record):
    """All stages of a command in their order, the findings about all of them, and the record of earlier commands in the folder."""

    pipeline: Pipeline
    stages: tuple[StageCheck, ...]
    findings: tuple[Finding, ...]
    record: PipelineRecord
    strict: bool = False
    planned: PlannedModels | None = None

    @property
    def refused(self) -> bool:
        return refuses(self.findings, self.strict)

    @property
    def not_checked(self) -> tuple[UncheckedItem, ...]:
        """What was not checked, for each stage; what is the same for all is one item."""
        names: dict[UncheckedItem, list[str]] = {}
        for check in self.stages:
            for item in check.not_checked:
                names.setdefault(item, []).append(check.stage.name)
        trained = [check for check in self.stages if check.runs]
        uses = any(reference.parameter in MODELS for check in trained for reference in check.stage.uses)
        weights = "the weights that earlier stages will write"
        why = "their shapes, tokenizers and templates follow from the plans"
        everywhere = len(trained) if len(trained) > 1 else -1
        return (
            *(
                item if len(stages) == everywhere else item.replace(what=f"stage {', '.join(stages)}: {item.what}")
                for item, stages in names.items()
            ),
            *([UncheckedItem(weights, why)] if uses and self.planned is not None and len(trained) > 1 else []),
        )


def check_stages(
    pipeline: Pipeline,
    arguments: ParsedArguments,
    progress: Progress | None = None,
    *,
    files: bool = True,
    output: bool = True,
) -> CheckedPipeline:
    """Check every stage. `arguments` are those of the command line, `files` and `output` as in `preflight`. Nothing is written."""
    checked = _Checker(pipeline, arguments, progress, files=files, output=output).check()
    path = arguments.values.get("plan")
    saved = read_saved_stages(path) if path is not None else None
    if saved is None:
        return checked
    return checked.replace(findings=(*checked.findings, *changes_since(saved, checked, str(path))))


class _Checker:
    """One check of a pipeline; the actions of earlier stages are known when a later one is checked."""

    def __init__(
        self, pipeline: Pipeline, arguments: ParsedArguments, progress: Progress | None, *, files: bool, output: bool
    ) -> None:
        self.pipeline, self.arguments, self.progress = pipeline, arguments, progress
        self.files, self.output = files, output
        self.values = arguments.values
        self.findings = [*arguments.findings, *pipeline.findings]
        self.record = (read_record(pipeline.folder) if output else None) or PipelineRecord()
        self.known = self.record.stages
        self.done: dict[str, StageCheck] = {}
        self.planned: PlannedModels | None = None
        if files:
            from autotrain_llm.models.planned import PlannedModels

            self.planned = PlannedModels()

    def check(self) -> CheckedPipeline:
        self.findings += self._of_the_command()
        if self.output:
            self.findings += self._of_the_folder()
        selected = self._selected()
        shared = self._read_by_some_stage()
        for stage in self.pipeline.stages:
            left_out = stage.name not in selected
            self.done[stage.name] = self._left_out(stage, shared) if left_out else self._stage(stage, shared)
        checks = tuple(self.done.values())
        findings = [*self.findings, *(finding for check in checks for finding in check.findings)]
        unique = tuple(dict.fromkeys(findings))
        again = {"words": self._words(), "started_in": str(Path.cwd())}
        record = self.record.replace(selection=self._selection(), **again)
        return CheckedPipeline(self.pipeline, checks, unique, record, bool(self.values.get("strict")), self.planned)

    # --- the command and the folder

    def _of_the_command(self) -> Iterator[Finding]:
        for name in OF_ONE_RUN:
            if self.values.get(name) not in (None, False):
                message = f"{flag_of(name)} is about one run, and {self.pipeline.path} has stages"
                yield NOT_FOR_STAGES.finding(message, f"remove {flag_of(name)}", (name,))
        for name in self._for_all():
            setters = [stage.name for stage in self.pipeline.stages if name in stage.own]
            if setters:
                message = f"{flag_of(name)} on the command line would replace what {_stages(setters)} set in {self.pipeline.path}"
                fix = f"change {name} there, or remove {flag_of(name)}"
                yield SET_BY_STAGES.finding(message, fix, (name,))
        if Machine().processes > 1:
            message = f"{self.pipeline.path} has stages, and was started in {Machine().processes} processes"
            yield SEVERAL_PROCESSES.finding(message, "start it once, without torchrun", ("config",))
        yield from self._of_the_selection()

    def _of_the_selection(self) -> Iterator[Finding]:
        rule = stages_are_selected_in_a_config_of_stages.RULE  # type: ignore[attr-defined]
        given = [name for name in ("from_stage", "only") if self.values.get(name) is not None]
        if len(given) > 1:
            yield rule.finding("--from-stage and --only can't be combined", "keep one of the two", tuple(given))
        for name in given:
            stage = self.values[name]
            if stage not in self.pipeline.names:
                near = nearest(stage, self.pipeline.names)
                guess = {name: near} if near else {}
                names = ", ".join(self.pipeline.names)
                message = f"{flag_of(name)} {stage}: {self.pipeline.path} has no such stage; it has {names}"
                yield rule.finding(message, None if near else f"one of {names}", (name,), guess=guess)

    def _of_the_folder(self) -> Iterator[Finding]:
        folder = self.pipeline.folder.expanduser()
        holder = owner_of_lock(folder / LOCK_FILE)
        if holder is not None:
            who = f"process {holder}" if holder > 0 else "another process"
            message = f"{folder} is in use by {who}"
            yield PIPELINE_IN_USE.finding(message, "another --output-dir, or wait", ("output_dir",))
        elif (folder / RUN_FILE).exists():
            message = f"{folder} holds a single run ({RUN_FILE}), and the stages would be written into it"
            yield ANOTHER_RUN.finding(message, "another output_dir", ("output_dir",), file=self.pipeline.path)

    # --- which values a stage gets

    def _for_all(self) -> list[str]:
        """The parameters of the command line that apply to every stage."""
        return [name for name in self.values if not PARAMS[name].command and name != "output_dir"]

    def _layers(self, stage: Stage, shared: frozenset[str]) -> dict[str, Layer]:
        """The stage's values by source. What several stages share is left out where it has no effect and others read it."""
        layers = {COMMAND_LINE: _without(self.arguments.layer, OF_THE_COMMAND), CONFIG_FILE: stage.arguments.layer}
        ignored = set(ignored_parameters(resolve_layers(layers))) - stage.own
        if stage is self.pipeline.stages[0]:  # it reports what no stage reads
            ignored &= shared
        return {source: _without(layer, ignored) for source, layer in layers.items()}

    def _read_by_some_stage(self) -> frozenset[str]:
        """Shared parameters that have an effect in at least one stage; the first stage reports the others."""
        stages = self.pipeline.stages
        in_file = {name for stage in stages for name in stage.arguments.values if name not in stage.own}
        every = [
            resolve_layers({COMMAND_LINE: self.arguments.layer, CONFIG_FILE: stage.arguments.layer}) for stage in stages
        ]
        unread = [set(ignored_parameters(config)) for config in every]
        nowhere = set.intersection(*unread) if unread else set()
        return frozenset({*in_file, *self._for_all()} - nowhere)

    def _words(self) -> tuple[str, ...]:
        """The words after `autotrain llm` that go on with this command."""
        given = {name: self.values[name] for name in (*self._for_all(), *OF_THE_SELECTION) if name in self.values}
        above = {"config": self.pipeline.path, "output_dir": str(self.pipeline.folder)}
        kept = {name: value for name, value in {**above, **given}.items() if not PARAMS[name].secret}
        return tuple(shlex.split(" ".join(typed_flags(kept))))

    # --- one stage

    def _selected(self) -> frozenset[str]:
        names = self.pipeline.names
        only, start = self.values.get("only"), self.values.get("from_stage")
        if only in names:
            return frozenset({only})
        return frozenset(names[names.index(start) :] if start in names else names)

    def _selection(self) -> str | None:
        """The selection of this command, as the record has it."""
        given = [f"{flag_of(name)} {self.values[name]}" for name in ("from_stage", "only") if self.values.get(name)]
        return given[0] if given else None

    def _left_out(self, stage: Stage, shared: frozenset[str]) -> StageCheck:
        """A stage that the command leaves out: it is used as it is, where a chosen one needs it."""
        layers = self._layers(stage, shared)
        inputs = Inputs(_parameters(resolve_layers(layers)))
        flag = "--only" if self.values.get("only") else "--from-stage"
        findings: list[Finding] = []
        why = f"left out by {flag}"
        needed = [
            other.name
            for other in self.pipeline.stages
            if other.name in self._selected() and any(reference.name == stage.name for reference in other.uses)
        ]
        if needed and not is_finished(stage.folder.expanduser()):
            message = f"stage {stage.name} has not been trained, and {_stages(needed)} {'needs' if len(needed) == 1 else 'need'} it"
            changes = (
                {"from_stage": stage.name, "only": None} if self.values.get("only") else {"from_stage": stage.name}
            )
            parameters = (*changes,) if self.values.get("only") else ("from_stage",)
            finding = NOT_YET_TRAINED.finding(
                message, None, parameters, changes=changes, otherwise=f"or without {flag}"
            )
            findings.append(finding)
        elif needed and stage.name in self.known:
            differences = _changed(self.known[stage.name].inputs.parameters, inputs.parameters, _parameter_change)
            if differences:
                message = f"stage {stage.name} is used as it was trained, and has changed since: {_some(differences)}"
                findings.append(LEFT_OUT_AND_CHANGED.finding(message, f"without {flag} it is trained again", ()))
        return StageCheck(stage, LEAVE_OUT, why, layers, inputs, None, tuple(findings))

    def _stage(self, stage: Stage, shared: frozenset[str]) -> StageCheck:
        layers = self._layers(stage, shared)
        holds_run = self.output and Output(stage.folder.expanduser(), True, False, None).holds_run is not None
        # What becomes of a run that is there is decided here, and not by the rule about single runs.
        over = _with_flag(layers, "overwrite") if holds_run else layers
        checked = self._checked(over, stage)
        inputs = self._inputs(stage, checked)
        action, why = self._action(stage, inputs, holds_run=holds_run, is_sweep=bool(checked.config.use_sweep))
        findings = self._of_another_run(stage, holds_run)
        if action == KEEP:  # its findings were reported when it was trained
            return StageCheck(stage, action, why, over, inputs, checked, tuple(findings))
        if action == RESUME:
            over = _with_flag(layers, "resume")
            checked = self._checked(over, stage, checked)
        findings += [self._placed(finding, stage) for finding in checked.findings]
        if checked.plan is not None and self.planned is not None:
            from autotrain_llm.planning.planned_model import plan_model

            self.planned.add(stage.folder, plan_model(checked.plan, checked.context, self.planned.home / stage.name))
        return StageCheck(stage, action, why, over, inputs, checked, tuple(findings))

    def _checked(self, layers: Mapping[str, Layer], stage: Stage, earlier: Checked | None = None) -> Checked:
        return preflight(
            resolve_layers(layers, self.pipeline.path),
            stage.findings,
            earlier=earlier.context if earlier else None,
            files=self.files,
            output=self.output,
            progress=self.progress,
            planned=self.planned,
            deferred=dict(self._deferred(stage)),
        )

    def _deferred(self, stage: Stage) -> Iterator[tuple[str, str]]:
        """Parameters that name what an earlier stage will write and that its plan does not tell, with the reason."""
        for name in stage.lost & PARAMS.keys():
            yield name, "it names no earlier stage"
        for reference in stage.uses:
            earlier = self.done[reference.name]
            if not self.files or reference.parameter not in PARAMS:
                continue
            if earlier.action == LEAVE_OUT and not is_finished(earlier.stage.folder.expanduser()):
                yield reference.parameter, f"stage {reference.name} has not been trained"
            elif not earlier.runs:
                continue
            elif reference.parameter not in MODELS:
                yield reference.parameter, f"stage {reference.name} writes it"
            elif earlier.checked is None or earlier.checked.plan is None:
                yield reference.parameter, f"stage {reference.name} has no plan yet"

    def _placed(self, finding: Finding, stage: Stage) -> Finding:
        """The finding with its stage, and the line of the config that it is about."""
        named = in_stage(stage.name, finding)
        if finding.file not in (None, self.pipeline.path) or finding.line:
            return named
        line = next((stage.lines[name] for name in finding.parameters if name in stage.lines), stage.line)
        return named.replace(file=self.pipeline.path, line=line)

    # --- what a stage is trained from, and what is done with it

    def _inputs(self, stage: Stage, checked: Checked) -> Inputs:
        files = fingerprints(checked) if self.files else {}
        config = checked.config
        named = [config.value_of(param.name) for param in PARAMS.values() if param.path == "input"]
        named += [name.rpartition(":")[0] for name in config.rl_reward_fn or ()]
        for value in named:
            path = Path(value) if isinstance(value, str) and "\0" not in value else None
            if path is not None and self.files and len(str(value)) < 4096 and path.is_file():
                files.setdefault(str(path), sampled_digest(path))
        written = [other.folder.expanduser().resolve() for other in self.pipeline.stages]
        written += [self.planned.home.resolve()] if self.planned else []
        return Inputs(
            _parameters(config.without(checked.ignored)),
            {name: content for name, content in files.items() if not _is_below(Path(name), written)},
            {reference.parameter: self._run_of(reference.name) for reference in stage.uses},
        )

    def _run_of(self, name: str) -> str:
        """An earlier stage's run that is used: the one in its folder, or the one that is to come."""
        earlier = self.done.get(name)
        run = None if earlier is None or earlier.runs else run_in(self.pipeline.by_name[name].folder.expanduser())
        return f"{name} {run or '(to come)'}"

    def _action(self, stage: Stage, inputs: Inputs, *, holds_run: bool, is_sweep: bool) -> tuple[str, str]:
        """What is done with a stage, and why."""
        record, folder = self.known.get(stage.name), stage.folder.expanduser()
        if not self.output or (not holds_run and record is None):
            return TRAIN, "not trained yet"
        if not holds_run:
            return TRAIN, "nothing of it is in its folder"
        if record is None:
            return AGAIN, "the run in its folder is not of this pipeline"
        if self.values.get("overwrite"):
            return AGAIN, "--overwrite"
        forced = self._forced(stage)
        reasons = _reasons(record.inputs, inputs, self.done)
        is_own = run_in(folder) != record.replaces
        finished = is_own and is_finished(folder)
        if reasons:
            return AGAIN, reasons
        if finished:
            return (AGAIN, forced) if forced else (KEEP, UNCHANGED)
        checkpoint = Output(folder, True, True, None).checkpoint if is_own else None
        if checkpoint is not None:
            return RESUME, f"it was stopped; goes on after {checkpoint.name.replace('-', ' ')}"
        if is_own and is_sweep and earlier_sweep(folder) is not None:
            return RESUME, "its sweep was stopped; goes on with the trials that are left"
        return AGAIN, "it was stopped before its first checkpoint"

    def _forced(self, stage: Stage) -> str | None:
        """The flag that asks for a finished stage again; None if this command goes on with one that asked for it."""
        selection = self._selection()
        if selection is None:
            return None
        if self.record.selection == selection and self.record.status != "ok":
            done = self.known.get(stage.name)
            return None if done is not None and done.selection == selection else selection
        return selection

    def _of_another_run(self, stage: Stage, holds_run: bool) -> list[Finding]:
        if not holds_run or stage.name in self.known or self.values.get("overwrite"):
            return []
        folder = stage.folder
        message = f"stage {stage.name}: {folder} holds a run that this pipeline did not write"
        return [
            ANOTHER_RUN.finding(message, "another output_dir, or --overwrite", ("output_dir",), file=self.pipeline.path)
        ]


def _without(layer: Layer, names: Collection[str]) -> Layer:
    return layer.replace(values={name: value for name, value in layer.values.items() if name not in names})


def _with_flag(layers: Mapping[str, Layer], name: str) -> dict[str, Layer]:
    """The layers with a switch on the command line."""
    typed = layers[COMMAND_LINE]
    return {**layers, COMMAND_LINE: typed.replace(values={**typed.values, name: True})}


def _parameters(config: Config) -> dict[str, Any]:
    """The parameters that were given and that what is trained depends on."""
    names = [name for name in config.all_given() if not (PARAMS[name].command or PARAMS[name].machine_specific)]
    values = {name: config.value_of(name) for name in names if not PARAMS[name].secret}
    return {name: as_list(value) for name, value in values.items()}


def _reasons(before: Inputs, now: Inputs, done: Mapping[str, StageCheck]) -> str:
    """Why a stage is trained again, as clauses; empty if it is as it was."""
    reasons = [
        f"it uses stage {name}, which is trained {'again' if done[name].action == AGAIN else 'first'}"
        for name in _to_come(now, done)
    ]
    reasons += _changed(before.parameters, now.parameters, _parameter_change)
    reasons += _changed(before.files, now.files, _file_change)
    if not reasons:
        other = [name for name, run in now.stages.items() if before.stages.get(name) != run]
        reasons += [f"stage {now.stages[name].partition(' ')[0]} has been trained again since" for name in other]
    return _some(list(dict.fromkeys(reasons)))


def _to_come(inputs: Inputs, done: Mapping[str, StageCheck]) -> list[str]:
    names = [run.partition(" ")[0] for run in inputs.stages.values()]
    return [name for name in dict.fromkeys(names) if name in done and done[name].runs]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], describe: Callable[[str, Any, Any], str]) -> list[str]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [describe(name, before.get(name), now.get(name)) for name in names]


def _parameter_change(name: str, before: Any, now: Any) -> str:
    was, is_now = ("not given" if value is None else plain(value) for value in (before, now))
    return f"{name} was {was} and is {is_now}"


def _file_change(name: str, before: str | None, now: str | None) -> str:
    return f"{name} is {'new' if before is None else 'no longer used' if now is None else 'different'}"


def _some(reasons: Sequence[str]) -> str:
    more = len(reasons) - MANY
    return "; ".join(reasons[:MANY]) + (f"; and {more} more" if more > 0 else "")


def _stages(names: Iterable[str]) -> str:
    names = list(names)
    return (
        f"stage{'' if len(names) == 1 else 's'} {', '.join(names[:-1])}{' and ' if len(names) > 1 else ''}{names[-1]}"
    )


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    parents = path.resolve().parents
    return any(folder in parents for folder in folders)


def record_of(
    check: StageCheck, before: StageRecord | None, selection: str | None, folders: Mapping[str, Path]
) -> StageRecord:
    """The record of a stage that is about to start, with the runs of earlier stages that it uses; `folders` are those of all stages."""
    if check.action == RESUME and before is not None:
        return before.replace(status="running", selection=selection)
    used = {
        reference.parameter: f"{reference.name} {run_in(folders[reference.name])}" for reference in check.stage.uses
    }
    inputs = check.inputs.replace(stages=used)
    return StageRecord(check.stage.name, inputs, run_in(check.stage.folder.expanduser()), selection=selection)
