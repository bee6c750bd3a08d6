"""Check a configuration: flags, machine, output folder, model files and rows, and report everything that is wrong at once.

A stage is skipped if something that it depends on is already known to be broken. No torch, no weights, nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.coverage import (
    MODEL,
    ROWS,
    TOKENS,
    UncheckedItem,
    all_but_flags,
    skipped,
    unknowable_here,
)
from autotrain_llm.checks.models import check_models
from autotrain_llm.config.aliases import ALIASES, meant_by
from autotrain_llm.config.arguments import parse_changes
from autotrain_llm.config.layers import Origin
from autotrain_llm.config.metric_choice import library_sources
from autotrain_llm.config.registry import FOREIGN, PARAMS, TRAINERS, UNUSED, verdict
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, Config
from autotrain_llm.context.evaluation_rows import with_evaluation_rows
from autotrain_llm.context.model_context import attempt
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import ERROR, Finding, in_order, refuses, typed
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.planning.rollouts import reward_functions

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Progress
    from autotrain_llm.models.planned import PlannedModels
    from autotrain_llm.planning.plan import Plan


def _read_by(stage: str) -> frozenset[str]:
    return frozenset(param.name for param in PARAMS.values() if param.stage == stage)


MODEL_FLAGS, DATA_FLAGS, TOKEN_FLAGS = _read_by("model"), _read_by("rows"), _read_by("tokens")
STAGES = {MODEL: MODEL_FLAGS, ROWS: DATA_FLAGS, TOKENS: MODEL_FLAGS | DATA_FLAGS | TOKEN_FLAGS}
PROMPT = "prompt_text_column"
REJECTED = "rejected_text_column"
COLUMN_ROLES = {PROMPT: "prompt", REJECTED: "rejected"}
ROWS_TO_LOOK_AT = 100


class Checked(Record):
    """The result of a check: the configuration without ignored parameters, the findings, and the plan if one can be made."""

    config: Config
    findings: tuple[Finding, ...]
    context: RunContext
    ignored: tuple[str, ...] = ()
    plan: Plan | None = None
    not_checked: tuple[UncheckedItem, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the run may not start: an error, or with `--strict` any finding."""
        return refuses(self.findings, self.config.strict)

    @property
    def is_in_order(self) -> bool:
        """Whether there is no error but that required parameters are missing: what was read can be reused only then, because an error that was
        found would not be found again."""
        return all(finding.severity != ERROR or is_about_missing(finding) for finding in self.findings)


def preflight(
    config: Config,
    findings: Iterable[Finding] = (),
    earlier: RunContext | None = None,
    *,
    files: bool = True,
    output: bool = True,
    progress: Progress | None = None,
    planned: PlannedModels | None = None,
    deferred: Mapping[str, str] = EMPTY,
) -> Checked:
    """Run every check that can be run. `findings` are those of reading the command. Whatever is the same in `earlier`, the context of
    another command in this process, is reused. Without `files`, only flags are checked: no data, no models, not the machine; without
    `output`, the output folder is not checked. `progress` is called with how far reading and preparing rows is. `planned` are models that
    earlier stages will write; `deferred` are parameters that name other files of these, with the reason why they can't be read yet."""
    found = list(findings)
    if any(_blocks(finding, "config") and finding.parameters == ("config",) for finding in found):
        return _preflight_without_the_config(config, found)
    if config.inference:
        return _preflight_of_inference(config, found)

    # Flags alone.
    config = with_evaluation_rows(config, files=files)
    meant, mistyped = _as_meant(config, found), _mistyped(found)
    trainer_is_known = not any(map(_hides_the_trainer, found))
    missing = _missing_parameters(meant, mistyped, found, trainer_is_known)
    found += _check(meant, {"trainer": meant.trainer_spec} if trainer_is_known else {})
    trainer_is_known = not any(map(_hides_the_trainer, found))
    ignored = ignored_parameters(meant) if trainer_is_known else ()
    # What is out of bounds is reported: the checks that follow see the default in its place, so that none of them has to be able to bear it.
    outside = _out_of_bounds(config)
    given, config = config, with_evaluation_rows(config.without((*ignored, *outside)), files=files)
    context = RunContext(config, progress=progress, planned=planned)
    if earlier is not None:
        context.reuse_from(earlier)
    if not files:
        unchecked = all_but_flags("only flags were checked", "the same without --flags-only")
        return Checked(given, in_order([*found, *missing]), context, ignored, None, unchecked)
    found += missing if deferred else _missing_prompts(missing, meant, mistyped, context, found)

    # The machine and the output folder.
    inputs: dict[str, object] = {"machine": context.machine}
    paths_are_possible = not any(_blocks(finding, "output") for finding in found)
    # Only the first process looks: the others would see what it has just written.
    if output and paths_are_possible and context.machine.is_first_process:
        inputs["output"] = context.output
    judged = with_evaluation_rows(meant.without((*ignored, *outside)))
    found += _check(judged, {"trainer": judged.trainer_spec}, inputs)
    flags_refuse = refuses(found)

    # The files of models and rows, and the plan.
    broken, done = _broken(found) | deferred.keys(), set[str]()
    if trainer_is_known:
        found += _model_and_rows(config, context, broken, done, inputs)
    can_be_planned = not (flags_refuse or context.refused or deferred)
    plan = attempt(lambda: _plan(config, context, ignored), found) if can_be_planned else None
    if plan is not None:
        found += _check(config, {"trainer": config.trainer_spec, "context": context, **inputs}, {"plan": plan})
    if plan is not None and not refuses(found):
        found += _first_calls(config, context)
    not_checked = (*skipped(config, done, broken, STAGES, deferred), *unknowable_here(config, context, done))
    return Checked(given, in_order(_without_consequences(found)), context, ignored, plan, not_checked)


def _preflight_without_the_config(config: Config, findings: list[Finding]) -> Checked:
    """Where the config file can't be read, only the values of single flags can be judged."""
    from autotrain_llm.checks.rules.every import RULES

    findings += [finding for rule in RULES.values() if rule.value_alone for finding in rule.check({"config": config})]
    return Checked(
        config, in_order(findings), RunContext(config), (), None, all_but_flags("the config file can't be read")
    )


def _preflight_of_inference(config: Config, findings: list[Finding]) -> Checked:
    """Generating answers trains nothing: only values and the model's files are checked."""
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.models.checks.every import check_model, check_reward_model

    findings += [finding for rule in RULES.values() if rule.inference for finding in rule.check({"config": config})]
    context = RunContext(config)
    if not refuses(findings):
        metadata = context.model
        if metadata is not None:
            is_scorer = metadata.is_classifier
            findings += check_reward_model(metadata, parameter="model") if is_scorer else check_model(metadata, "sft")
        if metadata is not None and not refuses(findings):
            _ = context.tokenizer
    return Checked(config, in_order([*findings, *context.findings]), context)


# ---- what findings mean for the checks that follow


def _blocks(finding: Finding, stage: str) -> bool:
    """Whether a finding is of a kind that makes a stage impossible, or its result meaningless."""
    from autotrain_llm.checks.rules.every import rule_of

    rule = rule_of(finding)
    return finding.severity == ERROR and rule is not None and rule.blocks == stage


def _hides_the_trainer(finding: Finding) -> bool:
    """Whether it is not known which trainer is meant, so that nothing that depends on it can be judged."""
    if not _blocks(finding, "trainer"):
        return False
    renamed = not finding.suggestion and ALIASES.get(finding.parameters[0]) == "trainer"
    return finding.parameters == ("trainer",) or renamed


def _as_meant(config: Config, findings: Iterable[Finding]) -> Config:
    """The configuration in which parameters that were misspelt, or given under another tool's name, have their probable values, so that the
    rules judge what was meant."""
    from autotrain_llm.checks.rules.every import rule_of

    meant = config
    for finding in findings:
        rule = rule_of(finding)
        values = parse_changes(finding.suggestion) if rule is not None and rule.suggests else {}
        new = {name: value for name, value in values.items() if not config.given(name)}
        source = CONFIG_FILE if finding.file else COMMAND_LINE
        meant = meant.replace(new, source, Origin(finding.file)) if new else meant
    # The trainer, and with it its defaults, may be another one now.
    return config if meant is config else with_evaluation_rows(meant.without(()))


def _mistyped(findings: Iterable[Finding]) -> set[str]:
    """Parameters that were given in a wrong way, and so are not missing."""
    from autotrain_llm.checks.rules.every import rule_of

    rules = [(finding, rule_of(finding)) for finding in findings]
    wrong = [finding for finding, rule in rules if rule is not None and rule.mistyped]
    names = (name for finding in wrong for name in (*finding.parameters, *finding.suggestion))
    return set(map(meant_by, names))


def _broken(findings: Iterable[Finding]) -> frozenset[str]:
    """Parameters that an error names."""
    return frozenset(name for finding in findings if finding.severity == ERROR for name in finding.parameters)


# ---- flags


def ignored_parameters(config: Config) -> tuple[str, ...]:
    """Parameters that were given and have no effect: the run is the same without them."""
    from autotrain_llm.checks.rules.applicability import switched_off

    trainer = config.trainer_spec
    foreign = [name for name in config.all_given() if verdict(PARAMS[name], trainer) in (FOREIGN, UNUSED)]
    return (*foreign, *switched_off(config, trainer))


def _out_of_bounds(config: Config) -> tuple[str, ...]:
    """Parameters whose value can't be used."""
    return tuple(
        name
        for name in config.all_given()
        if isinstance(config.value_of(name), int | float) and not PARAMS[name].in_bounds(config.value_of(name))
    )


def _check(config: Config, known: Mapping[str, object], new: Mapping[str, object] = EMPTY) -> list[Finding]:
    """Run the rules that need some of the `new` inputs and otherwise only `known` ones; without `new`, those that need only `known` ones."""
    from autotrain_llm.checks.rules.every import RULES

    inputs: dict[str, object] = {"config": config, **known, **new}
    rules = [rule for rule in RULES.values() if rule.function and rule.needs <= inputs.keys()]
    return [finding for rule in rules if not new or rule.needs & new.keys() for finding in rule.check(inputs)]


def _missing_parameters(
    config: Config, mistyped: Collection[str], findings: Iterable[Finding], trainer_is_known: bool
) -> list[Finding]:
    """The finding about required parameters that were not given; where the trainer is not known, those that all trainers require."""
    from autotrain_llm.checks.rules.bounds import required_parameters_must_be_given
    from autotrain_llm.checks.rules.every import rule_of_function

    suggested = next((finding.suggestion["trainer"] for finding in findings if "trainer" in finding.suggestion), None)
    trainer = config.trainer_spec if trainer_is_known else TRAINERS.get(str(suggested), config.trainer_spec)
    inputs: dict[str, Any] = {"config": config, "trainer": trainer, "mistyped": mistyped}
    inputs["trainer_is_known"] = trainer_is_known
    return list(rule_of_function(required_parameters_must_be_given).check(inputs))


def _missing_prompts(
    missing: list[Finding], config: Config, mistyped: Collection[str], context: RunContext, findings: Iterable[Finding]
) -> list[Finding]:
    """The missing parameters, where the rows tell more of a missing prompt column.

    It is not missing where the rows have none and both answers start with their prompt, nor that of rejected answers where a judgement tells them; otherwise the fix names the column that is left,
    or says that one has to be added.
    """
    names_columns = any(name in finding.parameters for finding in missing for name in COLUMN_ROLES)
    if not names_columns:
        return missing
    if context.config.data_path is None or _broken(findings) & DATA_FLAGS:
        return [missing[0].replace(changes=EMPTY), *missing[1:]]  # the usual names; no row was read
    if context.dataset is None:
        # Another finding may name the prompt column together with those that are wrong.
        if PROMPT in {name for finding in context.findings for name in finding.suggestion}:
            return _missing_parameters(config, {*mistyped, PROMPT}, findings, True)
        # Which columns there are is said by the finding about the rows; the usual names are not among them.
        unknown = {role: "…" for name, role in COLUMN_ROLES.items() if name in missing[0].parameters}
        return [_with_columns(missing[0], unknown).replace(changes=EMPTY), *missing[1:]]
    from autotrain_llm.data.formats.convert import HH_TURN  # checks of flags alone don't need the code that reads rows
    from autotrain_llm.data.formats.paths import phrases_in

    rows = context.dataset.train[:ROWS_TO_LOOK_AT]
    needless: set[str] = set()
    if "prompt" not in context.dataset.columns and all(
        isinstance(row.prompt, list) or str(row.prompt).endswith(HH_TURN) for row in rows
    ):
        needless.add(PROMPT)
    if _made_pairs(context):
        needless.add(REJECTED)
    if needless:
        missing = _missing_parameters(config, {*mistyped, *needless}, (), True)
    if not missing:
        return missing
    missing = [_with_columns(missing[0], context.dataset.columns), *missing[1:]]
    is_other = context.dataset.format != "preference"  # the rows were read for the trainer that other flags name
    if is_other or "prompt" in context.dataset.columns or PROMPT not in missing[0].parameters:
        return missing
    texts = phrases_in(rows[0].extra) if rows else []
    add = "add a column prompt to the rows, which have none, and --prompt-text-column prompt"
    fix = f"{typed(PROMPT, texts[0])}, if that holds the prompts; or {add}" if texts else add
    others = (missing[0].fix or "").replace(typed(PROMPT, missing[0].changes.get(PROMPT, "")), "").strip()
    return [missing[0].replace(changes=EMPTY, fix=f"{others}, and {fix}" if others else fix)]


def _made_pairs(context: RunContext) -> bool:
    """Whether pairs were made of judged answers, so that no column of the rows holds the rejected ones."""
    from autotrain_llm.checks.rules.every import rule_of_function
    from autotrain_llm.data.rules.preferences import pairs_are_made_of_judged_answers

    code = rule_of_function(pairs_are_made_of_judged_answers).code
    return any(finding.code == code for finding in context.findings)


def missing_parameters(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The required parameters that these findings of a check say are not given."""
    return tuple(name for finding in findings if is_about_missing(finding) for name in finding.parameters)


def is_about_missing(finding: Finding) -> bool:
    """Whether a finding says that required parameters are not given."""
    from autotrain_llm.checks.rules.bounds import required_parameters_must_be_given
    from autotrain_llm.checks.rules.every import rule_of_function

    return finding.code == rule_of_function(required_parameters_must_be_given).code


def _with_columns(finding: Finding, columns: Mapping[str, str]) -> Finding:
    """The finding with the columns that were recognised in place of the usual ones."""
    right = {
        name: columns[role] for name, role in COLUMN_ROLES.items() if name in finding.parameters and role in columns
    }
    fix = finding.fix or ""
    for name, column in right.items():
        fix = fix.replace(typed(name, finding.changes.get(name, "")), typed(name, column))
    return finding.replace(fix=fix, changes={**finding.changes, **right} if finding.changes else EMPTY)


# ---- files


def _model_and_rows(
    config: Config, context: RunContext, broken: frozenset[str], done: set[str], inputs: Mapping[str, object]
) -> list[Finding]:
    """The stages that read files, each if its own flags are in order; those that were reached are added to `done`."""
    findings: list[Finding] = []
    has_model = config.model is not None and not broken & MODEL_FLAGS
    has_rows = config.rows_from is not None and not broken & DATA_FLAGS
    if has_rows:
        done.add(ROWS)
        _ = context.dataset
    if has_model:
        done.add(MODEL)
        findings += check_models(config, context, broken)
    model_is_usable = not any(_blocks(finding, "model") for finding in findings)
    if has_rows and has_model and model_is_usable and not broken & TOKEN_FLAGS:
        _ = context.prepared
        _ = context.shape
        done |= {TOKENS} if context.prepared is not None else set()
        known_inputs = {"trainer": config.trainer_spec, **inputs}
        if context.model:
            findings += _check(config, known_inputs, {"model": context.model, "context": context})
    # Most of the checks across rows have run while the rows were tokenized.
    across_rows = context.row_checks.findings if has_rows else ()
    return [*across_rows, *findings, *context.findings]


def _plan(config: Config, context: RunContext, ignored: tuple[str, ...]) -> Plan | None:
    from autotrain_llm.planning.make import make_plan

    if context.prepared is None or len(context.prepared.train) == 0:
        return None
    return make_plan(config, context, ignored)


def _first_calls(config: Config, context: RunContext) -> Iterator[Finding]:
    """The errors of calling each reward function and each metric of the library `evaluate` for the first time."""
    from autotrain_llm.checks.rules.evaluation import first_scores
    from autotrain_llm.context.reward_trial import first_call
    from autotrain_llm.data.example import extra_columns

    rows = context.dataset.train if context.dataset else []
    columns = extra_columns(rows)
    for name in reward_functions(config):
        yield from first_call(name, "rl_reward_fn", rows[0], columns)
    for source in library_sources(config):
        yield from first_scores(source, config.offline)


def _without_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """The findings without those that follow from another one."""
    from autotrain_llm.checks.rules.every import rule_of

    codes = {finding.code for finding in findings}
    rules = [(finding, rule_of(finding)) for finding in findings]
    return [finding for finding, rule in rules if rule is None or not codes & {*rule.follows_from}]
