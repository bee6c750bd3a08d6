"""Check a configuration: flags, machine, output folder, model metadata and rows, with everything that is wrong said at once.

A stage runs unless what it depends on is already known to be broken. No torch, no weights, nothing written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from autotrain_llm.checks.coverage import (
    MODEL,
    ROWS,
    TOKENS,
    UncheckedItem,
    flags_alone,
    skipped,
    unknowable_here,
    without_the_config,
)
from autotrain_llm.config.aliases import ALIASES
from autotrain_llm.config.arguments import parse_changes
from autotrain_llm.config.registry import FOREIGN, PARAMS, TRAINERS, UNUSED, verdict
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, Config
from autotrain_llm.config.search_space import with_evaluation_rows
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import ERROR, WARNING, Finding, typed
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.planning.evaluation import encoder_of
from autotrain_llm.planning.rollouts import reward_functions, reward_models

if TYPE_CHECKING:
    from autotrain_llm.data.dataset import Progress
    from autotrain_llm.planning.plan import Plan


def _of_stage(stage: str) -> frozenset[str]:
    return frozenset(param.name for param in PARAMS.values() if param.stage == stage)


MODEL_FLAGS, DATA_FLAGS, TOKEN_FLAGS = _of_stage("model"), _of_stage("rows"), _of_stage("tokens")
PROMPT = "prompt_text_column"
LOOKED_AT = 100  # rows
OF_ONE_VALUE = ("P301", "P303", "P304", "P305")  # rules that hold whatever else is given
STAGES = {MODEL: MODEL_FLAGS, ROWS: DATA_FLAGS, TOKENS: MODEL_FLAGS | DATA_FLAGS | TOKEN_FLAGS}


class Checked(Record):
    """The result of a check: the configuration with ignored parameters dropped, what was found, and the plan where one can be made."""

    config: Config
    findings: tuple[Finding, ...]
    context: RunContext
    ignored: tuple[str, ...] = ()
    plan: Plan | None = None
    not_checked: tuple[UncheckedItem, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the run may not start: an error, or with `--strict` anything at all."""
        return any(finding.severity == ERROR or self.config.strict for finding in self.findings)


def preflight(
    config: Config,
    findings: Iterable[Finding] = (),
    earlier: RunContext | None = None,
    *,
    files: bool = True,
    output: bool = True,
    progress: Progress | None = None,
) -> Checked:
    """Run every check that can be run.

    `findings` are what reading the command already found; of `earlier`, what another command of this process looked up, everything is taken
    over that is the same for this one. Without `files`, flags alone are judged: no data, no models, not the machine; without `output`, the
    output folder is not looked at. `progress` hears how far reading and preparing rows is.
    """
    findings = tuple(findings)
    if any(map(_is_unread_config, findings)):
        return _preflight_without_the_config(config, findings)
    if config.inference:
        return _preflight_of_inference(config, findings)
    config = with_evaluation_rows(config)
    meant = _as_meant(config, findings)
    found = _of_flags(meant, findings)
    ignored = () if _is_hopeless(found) else ignored_parameters(meant)
    asked, config = config, with_evaluation_rows(config.without(ignored))
    context = RunContext(config, progress=progress)
    if earlier is not None:
        context.reuse_from(earlier)
    if not files:
        return Checked(asked, _ordered(found), context, ignored, None, flags_alone())
    found = _of_the_prompt(config, meant, context, found)
    facts: dict[str, object] = {"machine": context.machine}
    paths_are_possible = all(finding.code != "P304" for finding in found)
    if (
        output and paths_are_possible and context.machine.is_first_process
    ):  # the others would see what this one has just written
        facts["output"] = context.output
    judged = with_evaluation_rows(meant.without(ignored))
    found += _rules(judged, {"config", "trainer", *facts}, facts)
    flags_refuse = any(finding.severity == ERROR for finding in found)
    done: set[str] = set()
    broken = _broken(found)
    if not _is_hopeless(found):
        found += _model_and_rows(config, context, broken, done, facts)
    plan = _plan(config, context, ignored) if not flags_refuse and not context.refused else None
    if plan is not None:
        found += _rules(config, {"config", "trainer", "plan"}, {"plan": plan})
    if plan is not None and not any(finding.severity == ERROR for finding in found):
        found += _first_calls(config, context)
    not_checked = (*skipped(config, done, broken, STAGES), *unknowable_here(config, context, done))
    return Checked(asked, _ordered(found), context, ignored, plan, not_checked)


def _as_meant(config: Config, findings: Iterable[Finding]) -> Config:
    """The configuration with what was said under another tool's name, or a misspelt one: flags are judged as they were meant."""
    meant = config
    for finding in findings:
        source = CONFIG_FILE if finding.file else COMMAND_LINE
        values = parse_changes(finding.changes) if finding.code in ("P102", "P104") else {}
        new = {name: value for name, value in values.items() if not config.given(name)}
        meant = meant.replace(new, source) if new else meant
    if meant is config:
        return config
    return with_evaluation_rows(meant.without(()))  # the trainer, and with it what is usual, may be another now


def _of_flags(config: Config, findings: Iterable[Finding]) -> list[Finding]:
    """What was found while reading the command, and what flags alone are found to be wrong in."""
    from autotrain_llm.checks.rules.values import missing_values

    found = list(findings)
    if _is_hopeless(found):
        suggested = next((finding.changes.get("trainer") for finding in found if "trainer" in finding.changes), None)
        trainer = TRAINERS.get(str(suggested), config.trainer_spec)
        missing = missing_values(config, trainer, _named_wrong(found), every=True)
        return [*found, *_rules(config, {"config"}), *missing]
    found += _rules(config, {"config", "trainer"})
    wrong = _named_wrong(found)
    if not wrong:
        return found
    others = [finding for finding in found if finding.code != "P201"]
    return [*others, *missing_values(config, config.trainer_spec, wrong)]


def _named_wrong(found: Iterable[Finding]) -> set[str]:
    """Parameters that were given in a wrong way, so that they are not called missing besides."""
    wrong = [finding for finding in found if finding.code in ("P102", "P104", "P120", "P302")]
    return {name for finding in wrong for name in (*finding.parameters, *finding.changes)}


def _is_unread_config(finding: Finding) -> bool:
    """Whether a config file could not be read, which may say whatever seems to be missing."""
    return finding.code == "P106" and finding.parameters == ("config",)


def _preflight_without_the_config(config: Config, findings: Iterable[Finding]) -> Checked:
    """What is beside a config file that can't be read is judged by itself; what it goes with, and what is missing, nobody knows."""
    from autotrain_llm.checks.rules.every import RULES

    known = {"config": config, "trainer": config.trainer_spec}
    found = [*findings, *(finding for code in OF_ONE_VALUE for finding in RULES[code].check(known))]
    return Checked(config, _ordered(found), RunContext(config), (), None, without_the_config())


def _of_the_prompt(config: Config, meant: Config, context: RunContext, found: list[Finding]) -> list[Finding]:
    """The findings, where a prompt column that is missed is looked for in the rows.

    None is missed where they have none and both answers begin with their prompt; else it is the column that is left, or has to be made.
    """
    from autotrain_llm.checks.rules.values import missing_values
    from autotrain_llm.data.formats.convert import HH_TURN

    missed = [finding for finding in found if finding.code == "P201" and PROMPT in finding.parameters]
    others = [finding for finding in found if finding not in missed]
    if not missed or config.data_path is None or _broken(others) & DATA_FLAGS:
        return found
    if context.dataset is None or "prompt" in context.dataset.columns:
        return found
    rows = context.dataset.train[:LOOKED_AT]
    if all(isinstance(row.prompt, list) or str(row.prompt).endswith(HH_TURN) for row in rows):
        return [*others, *missing_values(meant, meant.trainer_spec, {*_named_wrong(found), PROMPT})]
    if missed[0].parameters != (PROMPT,):
        return found
    texts = [name for name, value in rows[0].extra.items() if isinstance(value, str)]
    made = "add a column prompt to the rows, which have none, and --prompt-text-column prompt"
    fix = f"{typed(PROMPT, texts[0])}, if that holds the prompts; or {made}" if texts else made
    return [*others, missed[0].replace(changes=EMPTY, fix=fix)]


def _preflight_of_inference(config: Config, findings: Iterable[Finding]) -> Checked:
    """Answering prompts trains nothing: values, and the model's files."""
    from autotrain_llm.checks.rules.every import RULES
    from autotrain_llm.models.checks.files import check_model, check_reward_model

    known = {"config": config, "trainer": config.trainer_spec}
    found = [
        *findings,
        *(finding for code in ("P202", "P203", "P301", "P303", "P304") for finding in RULES[code].check(known)),
    ]
    context = RunContext(config)
    if not any(finding.severity == ERROR for finding in found):
        facts = context.model
        if facts is not None:
            found += check_reward_model(facts, parameter="model") if facts.is_classifier else check_model(facts, "sft")
        if facts is not None and not any(finding.severity == ERROR for finding in found):
            _ = context.tokenizer
    return Checked(config, _ordered([*found, *context.findings]), context)


def ignored_parameters(config: Config) -> tuple[str, ...]:
    """What was given and has no effect, so that the run is the same as without it."""
    from autotrain_llm.checks.rules.applicability import switched_off

    trainer = config.trainer_spec
    foreign = [name for name in config.all_given() if verdict(PARAMS[name], trainer) in (FOREIGN, UNUSED)]
    return (*foreign, *switched_off(config, trainer))


def _rules(
    config: Config, offered: set[str], facts: Mapping[str, object] = EMPTY, before: Mapping[str, object] = EMPTY
) -> list[Finding]:
    """Findings of the rules that need something of `facts` (or, without facts, nothing but the flags), and perhaps of what was known before."""
    from autotrain_llm.checks.rules.every import RULES

    known = {"config": config, "trainer": config.trainer_spec, **before, **facts}
    found: list[Finding] = []
    for rule in RULES.values():
        needs = set(rule.needs)
        if needs <= offered and (not facts or needs & set(facts)):
            found += rule.check(known)
    return found


def _broken(found: Iterable[Finding]) -> frozenset[str]:
    """Parameters that an error names."""
    return frozenset(name for finding in found if finding.severity == ERROR for name in finding.parameters)


def _is_hopeless(found: Iterable[Finding]) -> bool:
    """Whether the trainer itself isn't known, so that nothing further can be judged."""
    return any(
        (finding.parameters == ("trainer",) and finding.code in ("P103", "P303"))
        or (finding.code == "P102" and not finding.changes and ALIASES.get(finding.parameters[0]) == "trainer")
        for finding in found
        if finding.severity == ERROR
    )


def _model_and_rows(
    config: Config, context: RunContext, broken: frozenset[str], done: set[str], known: Mapping[str, object]
) -> list[Finding]:
    """The stages that read files, each where its own flags are in order; those that were reached go to `done`. `known` are facts of before."""
    found: list[Finding] = []
    model_known = config.model is not None and not broken & MODEL_FLAGS
    data_known = config.data_path is not None and not broken & DATA_FLAGS
    if data_known:
        done.add(ROWS)
        _ = context.dataset
    if model_known:
        done.add(MODEL)
        found += _model(config, context)
        context.models.without(broken & set(SECOND_MODELS))
        for parameter, check in SECOND_MODELS.items():
            if parameter not in broken:
                found += check(config, context)
    errors_in_model = any(finding.severity == ERROR and finding.code != "M151" for finding in found)
    if data_known and model_known and not errors_in_model and not broken & TOKEN_FLAGS:
        _ = context.prepared
        _ = context.shape
        done |= {TOKENS} if context.prepared is not None else set()
        facts = {"model": context.model, "context": context}
        offered = {"config", "trainer", *facts, *known}
        found += _rules(config, offered, facts, known) if context.model else []
    between = context.row_checks.findings if data_known else ()  # mostly known since the rows were tokenised
    return _without_consequences([*between, *found, *context.findings])


def _without_consequences(found: list[Finding]) -> list[Finding]:
    """The findings, where a sweep is not said to be without evaluation rows beside why none could be held out."""
    why = any(finding.code == "D129" for finding in found)
    return [finding for finding in found if finding.code != "P607" or not why]


def _model(config: Config, context: RunContext) -> Iterator[Finding]:
    """Faults of the model's files."""
    from autotrain_llm.models.checks.files import check_model

    facts = context.model
    if facts is None or context.is_scratch:
        return
    yield from check_model(
        facts,
        config.trainer,
        peft=config.peft,
        target_modules=config.target_modules if config.peft else None,
        trust_remote_code=config.trust_remote_code,
        tokenizer=config.tokenizer,
        tokenizer_folder=context.tokenizer_folder if config.tokenizer else None,
    )


def _reference(config: Config, context: RunContext) -> Iterator[Finding]:
    """Faults of the files of the model that `--model-ref` names. The rows hold the ids of the tokenizer of `--model`, not of its own."""
    from autotrain_llm.models.checks.files import check_model

    if context.reference is not None:
        yield from check_model(
            context.reference,
            config.trainer,
            peft=True,  # it is not trained
            trust_remote_code=config.trust_remote_code,
            tokenizer=config.tokenizer or config.model,
            tokenizer_folder=context.tokenizer_folder,
            parameter="model_ref",
        )


def _encoder(config: Config, context: RunContext) -> Iterator[Finding]:
    """Faults of the files of the encoder that BERTScore compares in."""
    from autotrain_llm.models.checks.files import check_encoder

    facts = context.models.secondary("eval_bertscore_model", encoder_of(config))
    if facts is not None:
        yield from check_encoder(facts, parameter="eval_bertscore_model")


def _teacher(config: Config, context: RunContext) -> Iterator[Finding]:
    """Faults of the teacher's files. The rows hold the ids of the student's tokenizer, not of its own."""
    from autotrain_llm.models.checks.files import check_model

    if context.teacher is not None and not context.teacher.is_scratch:
        yield from check_model(
            context.teacher,
            config.trainer,
            peft=True,  # it is not trained
            trust_remote_code=config.trust_remote_code,
            tokenizer=config.tokenizer or config.model,
            tokenizer_folder=context.tokenizer_folder,
            parameter="teacher_model",
        )


def _reward_models(config: Config, context: RunContext) -> Iterator[Finding]:
    """Faults of the files of the models that score a policy's answers."""
    from autotrain_llm.models.checks.files import check_reward_model

    for name in reward_models(config):
        facts = context.models.secondary("rl_reward_model_path", name)
        if facts is not None:
            yield from check_reward_model(facts, parameter="rl_reward_model_path")


def _first_calls(config: Config, context: RunContext) -> Iterator[Finding]:
    """What goes wrong when the functions that score answers are called for the first time, when all else is in order."""
    from autotrain_llm.context.reward_functions import first_call
    from autotrain_llm.data.example import extra_columns

    rows = context.dataset.train if context.dataset else []
    columns = extra_columns(rows)
    for written in reward_functions(config):
        yield from first_call(written, "rl_reward_fn", rows[0], columns)


# Checks of the models beside the one that is trained, by the parameter that names them.
SECOND_MODELS: dict[str, Callable[[Config, RunContext], Iterable[Finding]]] = {
    "model_ref": _reference,
    "teacher_model": _teacher,
    "rl_reward_model_path": _reward_models,
    "eval_bertscore_model": _encoder,
}


def _plan(config: Config, context: RunContext, ignored: tuple[str, ...]) -> Plan | None:
    from autotrain_llm.planning.make import make_plan

    if context.prepared is None or len(context.prepared.train) == 0:
        return None
    return make_plan(config, context, ignored)


def _ordered(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each finding once, warnings before errors, so that errors stand nearest the prompt."""
    unique = list(dict.fromkeys(found))
    return tuple(finding for severity in (WARNING, ERROR) for finding in unique if finding.severity == severity)
