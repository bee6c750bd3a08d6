"""Evaluation: its rows, its metrics, benchmarks, and the answers that it generates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.rules.schedule import training_items
from autotrain_llm.config.metric_choice import LIBRARY, chosen_metrics, library_sources, metric_named, metrics_for
from autotrain_llm.config.registry import METRICS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import spaces_of
from autotrain_llm.context.eval_tasks import INSTALL, PACKAGE, is_file, task_names, task_of
from autotrain_llm.context.library_metrics import PROBE, MetricFault, compute, is_folder, missing_packages, script_of
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import ANSWERS, PPO, PROMPTS, SFT, SWEEP, Example, of_flags, where
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.metric import Metric
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import declare_finding, rule
from autotrain_llm.declare.text import plural
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.planning.evaluation import (
    compares_texts,
    context_of,
    encoder_of,
    evaluated_rows,
    has_references,
    needs_evaluation_rows,
    writes_answers,
)
from autotrain_llm.planning.schedule import accumulated_batches, asked_evaluation, batches_at_once
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:  # reading rows takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext

OF_ANSWERS = ("eval_samples", "eval_max_new_tokens", "eval_temperature")
OF_BERTSCORE = ("eval_bertscore_model", "eval_bertscore_layer")
WHEN_TO_EVALUATE = ("eval_strategy", "eval_steps", "eval_batches")
ROWS_TO_LOOK_AT = 100
EVALUATES = "--use-enhanced-eval --valid-split 1 --eval-metrics "
BENCHMARKS = "--use-enhanced-eval --valid-split 1"


def flags_that_need_rows(config: Config) -> list[str]:
    """The flags that ask for an evaluation, as they were given."""
    needs_rows = {
        f"--eval-strategy {config.eval_strategy}": config.eval_strategy in ("steps", "epoch"),
        "--eval-steps": (config.eval_steps or 0) > 0,
        "--eval-batches": config.eval_batches is not None,
        "--load-best-model-at-end": config.load_best_model_at_end,
        "--early-stopping-patience": (config.early_stopping_patience or 0) > 0,
        "--use-enhanced-eval": needs_evaluation_rows(config),
    }
    return [flag for flag, needs in needs_rows.items() if needs]


@rule("P314", refuses="--eval-strategy steps", accepts="--eval-strategy steps --valid-split 0.1")
def evaluation_needs_rows_to_evaluate_on(config: Config) -> Iterator[Finding]:
    """Flags that need evaluation rows, and no flag that provides them.

    Why: early stopping, the best checkpoint and every `eval_…` metric come from evaluation; without rows they would fail after the first
    epoch.
    Fix: name a split, such as the one that lies in the folder of the training rows, hold out a share, or give a file.
    """
    if config.valid_split or config.eval_dataset_path or config.data_config:
        return  # a mixture may have its own
    flags = flags_that_need_rows(config)
    if not flags:
        return
    names = tuple(flag.split()[0].removeprefix("--").replace("-", "_") for flag in flags)
    split = _split_beside_training(config.data_path)
    changes: dict[str, Any] = {"valid_split": 0.1}
    none, otherwise = "there are none", "or --eval-dataset-path FILE"
    if config.given("valid_split") and {*names} <= {*WHEN_TO_EVALUATE}:
        none, changes, otherwise = "--valid-split 0 holds out none", dict.fromkeys(names), "or --valid-split 0.1"
    elif split:
        none, changes = f"none are named, though {config.data_path} has a split {split}", {"valid_split": split}
    yield Finding(
        f"{', '.join(flags)} {'needs' if len(flags) == 1 else 'need'} evaluation rows, and {none}",
        changes=changes,
        otherwise=otherwise,
        parameters=names,
    )


def _split_beside_training(path: str | None) -> str | None:
    """The split with evaluation rows in a folder that is trained on; None if it has none."""
    if not path or not Path(path).expanduser().is_dir():
        return None
    from autotrain_llm.data.files.locate import OF_EVALUATION, splits_in

    return next((split for split in OF_EVALUATION if split in splits_in(Path(path).expanduser())), None)


@rule(
    "P140",
    WARNING,
    refuses="--eval-batches 2 --valid-split 0.1 --eval-strategy no",
    accepts="--eval-batches 2 --valid-split 0.1 --eval-strategy epoch",
)
def a_limit_of_evaluation_needs_an_evaluation(config: Config) -> Iterator[Finding]:
    """`--eval-batches` with `--eval-strategy no`, and without enhanced evaluation.

    Why: nothing is evaluated, so that there is nothing to limit.
    Fix: remove one of the two.
    """
    if config.eval_batches is not None and config.eval_strategy == "no" and not needs_evaluation_rows(config):
        yield Finding(
            f"--eval-batches {config.eval_batches} has no effect: with --eval-strategy no nothing is evaluated",
            changes={"eval_batches": None},
            otherwise="or remove --eval-strategy no",
            parameters=("eval_batches", "eval_strategy"),
        )


@rule(
    "P141",
    refuses=f"{SWEEP}--eval-batches 2 --sweep-params '{{\"batch_size\": [2, 4]}}'",
    accepts=f"{SWEEP}--eval-batches 2 --eval-batch-size 2 --sweep-params '{{\"batch_size\": [2, 4]}}'",
)
def trials_are_evaluated_on_the_same_rows(config: Config) -> Iterator[Finding]:
    """A sweep searches `--batch-size`, and `--eval-batches` counts batches of that size.

    Why: each trial would be evaluated on as many rows as its batch size makes, and their metrics could not be compared.
    Fix: `--eval-batch-size` is the same for all trials.
    """
    counts_batches = config.eval_batches is not None and config.eval_batch_size is None
    if config.use_sweep and counts_batches and "batch_size" in spaces_of(config):
        yield Finding(
            f"--eval-batches {config.eval_batches} counts batches of --batch-size rows, which the sweep changes from trial to trial",
            changes={"eval_batch_size": config.batch_size or 8},
            parameters=("eval_batches", "eval_batch_size"),
        )


FEW_BATCHES = "--use-enhanced-eval --valid-split 2 --eval-metrics exact_match --eval-batches 1 --eval-batch-size 1"


@rule(
    "P147",
    WARNING,
    example=of_flags(f"{FEW_BATCHES} --eval-samples 2", f"{FEW_BATCHES} --eval-samples 1", ANSWERS * 2),
)
def answers_are_generated_for_evaluated_rows(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--eval-samples` is more than the rows that `--eval-batches` leaves to be evaluated.

    Why: answers are generated for rows that are evaluated, so that all metrics are about the same rows.
    Fix: more batches, or fewer answers.
    """
    if config.eval_batches is None or not config.given("eval_samples") or not writes_answers(config):
        return
    if context.prepared is None or context.dataset is None:
        return
    evaluated, answers = evaluated_rows(config, context), config.eval_samples
    wanted = len(context.dataset.valid) if answers < 0 else min(answers, len(context.dataset.valid))
    if wanted > evaluated:
        yield Finding(
            f"--eval-samples {answers}: answers are generated for the {plural(evaluated, 'row')} that --eval-batches {config.eval_batches} leaves",
            changes={"eval_samples": evaluated},
            otherwise="or a larger --eval-batches",
            parameters=("eval_samples", "eval_batches"),
        )


@rule(
    "P729",
    WARNING,
    example=of_flags(
        "--valid-split 1 --eval-strategy steps --eval-steps 500", "--valid-split 1 --eval-strategy steps --eval-steps 1"
    ),
)
def an_evaluation_comes_before_the_run_is_over(
    config: Config, trainer: Trainer, context: RunContext
) -> Iterator[Finding]:
    """`--eval-steps` is more than the number of steps of the whole run.

    Why: the run ends before its first evaluation.
    Fix: a smaller number, or `--eval-strategy epoch`.
    """
    every = config.eval_steps
    if trainer.samples or asked_evaluation(config) != "steps" or not every:
        return
    if trainer.reads("packing") and config[Sft].packing:  # packed rows are fewer than the rows that were read
        return
    rows, steps = training_items(context, trainer), config.max_steps or -1
    if steps < 0:
        if not config.batch_size:  # missing, which is reported
            return
        rows_per_step = config.batch_size * accumulated_batches(config, context) * batches_at_once(config, context)
        steps = max(1, math.ceil(math.ceil(rows / rows_per_step) * (config.epochs or 1)))
    if rows and every > steps:
        yield Finding(
            f"--eval-steps {every} is more than the {steps} steps of the whole run: it ends before the first evaluation",
            changes={"eval_steps": max(1, steps // 4)},
            parameters=("eval_steps",),
        )


@rule(
    "P702",
    refuses="--trainer reward --use-enhanced-eval --eval-metrics bleu",
    accepts="--trainer reward --use-enhanced-eval --eval-metrics accuracy",
)
def a_metric_makes_sense_for_the_trainer(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--eval-metrics` names a metric that does not apply to what this trainer trains.

    Why: a reward model scores texts and generates none, so that there is no text to compare; only reward and preference training have pairs;
    and without a reference model there is no KL divergence from one.
    Fix: one of the metrics that the finding lists.
    """
    if not config.use_enhanced_eval:
        return
    named = [metric for metric in map(metric_named, config.eval_metrics or ()) if metric is not None]
    right = dict.fromkeys(metric.name for metric in named if metric.makes_sense_for(trainer))
    wrong: dict[str, list[str]] = {}
    for metric in named:
        if not metric.makes_sense_for(trainer):
            wrong.setdefault(_why_not(metric, trainer), []).append(metric.name)
    offered = metrics_for(trainer)
    for why, names in wrong.items():
        usual = [metric.name for metric in offered if trainer.rows in metric.usual]
        yield Finding(
            f"--eval-metrics {', '.join(names)}: {why} (there are {', '.join(metric.name for metric in offered)})",
            changes={"eval_metrics": ",".join(right or usual)},
            parameters=("eval_metrics",),
        )


def _why_not(metric: Metric, trainer: Trainer) -> str:
    """Why a metric makes no sense for a trainer."""
    if trainer.trains_a_scorer:
        if metric.name in ("perplexity", "token_accuracy"):
            return "a reward model scores and predicts no tokens"
        if metric.is_of_text:
            return "a reward model scores and does not generate"
    elif trainer.rows == "prompts" and "prompts" not in metric.rows:
        return f"{trainer.name} trains on prompts, and on no tokens or pairs of its rows"
    elif metric.name == "kl":
        return f"{trainer.name} has no reference model to differ from"
    elif "scored" in metric.rows:
        return f"{trainer.name} has no {'scores' if metric.rows == ('scored',) else 'pairs of answers'}"
    return f"{trainer.name} does not measure it"


@rule(
    "P720",
    refuses="--trainer sft --use-enhanced-eval --eval-metrics perplexty",
    accepts="--trainer sft --use-enhanced-eval --eval-metrics perplexity",
)
def a_metric_must_exist(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--eval-metrics` names something that is not a metric, or nothing at all.

    Why: a misspelt metric would be missing without a message.
    Fix: the nearest name.
    """
    if not config.use_enhanced_eval or config.eval_metrics is None:
        return
    offered = [metric.name for metric in metrics_for(trainer)]
    if not config.eval_metrics:
        yield Finding(
            "--eval-metrics names no metric", changes={"eval_metrics": ",".join(offered)}, parameters=("eval_metrics",)
        )
    for name in config.eval_metrics:
        if metric_named(name) is None:
            close = nearest(name, [alias for metric in METRICS.values() for alias in (metric.name, *metric.also)])
            right = metric_named(close) if close else None
            yield Finding(
                f"--eval-metrics: there is no metric {name!r}; {trainer.name} has {', '.join(offered)}, and {LIBRARY}NAME is one of the library evaluate",
                guess={"eval_metrics": [right.name if other == name else other for other in config.eval_metrics]}
                if right
                else EMPTY,
                parameters=("eval_metrics",),
            )


@rule(
    "P721",
    example=where(
        "where sacrebleu is not installed",
        "--use-enhanced-eval --eval-metrics bleu --valid-split 1",
        "--use-enhanced-eval --eval-metrics exact_match --valid-split 1",
        ANSWERS,
    ),
)
def a_metric_has_the_package_it_needs(config: Config, machine: Machine) -> Iterator[Finding]:
    """A metric whose package is not installed.

    Why: it would fail at the first evaluation.
    Fix: install it, or remove the metric.
    """
    for metric in chosen_metrics(config) if config.use_enhanced_eval else ():
        missing = [name for name in metric.packages if not machine.has_package(name)]
        if missing:
            packages = " ".join(name.replace("_", "-") for name in missing)
            yield Finding(
                f"--eval-metrics {metric.name} needs {packages}, which is not installed",
                fix=f"pip install {packages}",
                parameters=("eval_metrics",),
            )


@rule(
    "P722",
    WARNING,
    refuses="--trainer sft --use-enhanced-eval --eval-metrics perplexity --eval-samples 20",
    accepts="--trainer sft --use-enhanced-eval --eval-metrics rouge --eval-samples 20",
)
def settings_of_generated_answers_need_a_metric_of_text(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A flag sets how answers are generated or compared, and no metric compares any.

    Why: perplexity and accuracy are measured on the rows themselves; nothing is generated for them, and the flag has no effect.
    Fix: add a metric of generated text, or remove the flag.
    """
    if not config.use_enhanced_eval:
        return
    writes, encoder = writes_answers(config), encoder_of(config)
    unused = [name for name in OF_ANSWERS if config.given(name) and trainer.reads(name) and not writes]
    unused += [name for name in OF_BERTSCORE if config.given(name) and trainer.reads(name) and encoder is None]
    for name in unused:
        metric, reason = ("bertscore", "is bertscore") if name in OF_BERTSCORE else ("rouge", "compares answers")
        yield Finding(
            f"{flag_of(name)} has no effect: no metric of --eval-metrics {reason}",
            changes={name: None},
            otherwise=f"or add {metric} to --eval-metrics",
            parameters=(name,),
        )


@rule(
    "P738",
    WARNING,
    refuses="--trainer sft --use-enhanced-eval --eval-metrics perplexity --eval-save-predictions",
    accepts="--trainer sft --use-enhanced-eval --eval-metrics perplexity,rouge --eval-save-predictions",
)
def answers_that_are_saved_should_be_compared(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--eval-save-predictions` with metrics of which none compares generated text.

    Why: perplexity and accuracy are measured on the rows themselves. Answers would be generated only to be saved, which takes longer than all
    the rest of the evaluation.
    Fix: a metric of generated text, or remove the flag. With `--eval-samples` the answers are clearly wanted, and this is not reported.
    """
    if not config.use_enhanced_eval or not trainer.reads("eval_samples") or not config.eval_metrics:
        return
    wanted, metrics = any(config.given(name) for name in OF_ANSWERS), chosen_metrics(config)
    if config.eval_save_predictions and not wanted and not any(metric.is_of_text for metric in metrics):
        names = ",".join(metric.name for metric in metrics)
        yield Finding(
            f"--eval-save-predictions: no metric of --eval-metrics {names} compares text, so answers are generated only to be saved",
            changes={"eval_save_predictions": None},
            otherwise=f"or --eval-metrics {names},rouge",
            parameters=("eval_save_predictions", "eval_metrics"),
        )


@rule(
    "P723",
    example=where(
        "where lm-evaluation-harness is not installed", f"{BENCHMARKS} --eval-benchmark hellaswag", BENCHMARKS, ANSWERS
    ),
)
def a_benchmark_is_one_that_is_installed(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """`--eval-benchmark` can't be run: lm-evaluation-harness is not installed, it has no such task, or the model does not generate.

    Why: benchmarks are run on the finished model, and a wrong name would be noticed only after training. The names are read from the installed
    package.
    Fix: install the package, or the nearest name.
    """
    tasks = config.eval_benchmark
    if not config.use_enhanced_eval or not tasks:
        return
    if trainer.trains_a_scorer:
        yield _benchmark("a reward model scores and does not generate", "remove --eval-benchmark")
        return
    if not machine.has_package(PACKAGE):
        yield _benchmark("needs lm-evaluation-harness, which is not installed", INSTALL)
        return
    for name in tasks:
        if is_file(name):
            path = Path(name).expanduser()
            if not path.is_file():
                yield _benchmark(f"{name}: there is no such file", None, name)
            elif task_of(path) is None:
                yield _benchmark(f"{name}: it names no task", "a line `task: <name>` in it", name)
        elif name not in (names := task_names()):
            close = nearest(name, names)
            fix = f"--eval-benchmark {close}" if close else None
            yield _benchmark(f"{name}: lm-evaluation-harness has no such task", fix)


def _benchmark(what: str, fix: str | None, file: str | None = None) -> Finding:
    return Finding(f"--eval-benchmark {what}", fix=fix, parameters=("eval_benchmark",), file=file)


@rule(
    "P726",
    example=of_flags(
        EVALUATES + "exact_match --eval-max-new-tokens 2048",
        EVALUATES + "exact_match --eval-max-new-tokens 256",
        ANSWERS,
    ),
)
def an_answer_leaves_room_for_its_prompt(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--eval-max-new-tokens` is as long as the model's context.

    Why: no token is left for the prompt.
    Fix: a smaller number.
    """
    context_length = context_of(context)
    if writes_answers(config) and config.eval_max_new_tokens >= context_length:
        yield Finding(
            f"--eval-max-new-tokens {config.eval_max_new_tokens} leaves no room for a prompt in the model's context of {context_length} tokens",
            changes={"eval_max_new_tokens": max(1, context_length // 2)},
            parameters=("eval_max_new_tokens",),
        )


@rule(
    "P727",
    example=of_flags(
        EVALUATES + "bertscore --eval-bertscore-model ENCODER --eval-bertscore-layer 9",
        EVALUATES + "bertscore --eval-bertscore-model ENCODER --eval-bertscore-layer 1",
        ANSWERS,
    ),
)
def bertscore_uses_a_layer_that_exists(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--eval-bertscore-layer` is higher than the encoder's number of layers.

    Why: there is no such layer to compare.
    Fix: the last layer.
    """
    encoder = encoder_of(config)
    metadata = context.models.secondary("eval_bertscore_model", encoder)
    layer = config.eval_bertscore_layer
    if metadata is not None and metadata.layers and layer and layer > metadata.layers:
        yield Finding(
            f"--eval-bertscore-layer {layer}: {encoder} has {metadata.layers} layers",
            changes={"eval_bertscore_layer": metadata.layers},
            parameters=("eval_bertscore_layer",),
        )


@rule(
    "P728",
    WARNING,
    example=of_flags(
        EVALUATES + "rouge",
        EVALUATES + "chrf",
        '{"prompt": "一", "completion": "二"}\n{"prompt": "三", "completion": "四"}\n',
    ),
)
def words_of_the_answers_can_be_compared(config: Config, context: RunContext) -> Iterator[Finding]:
    """ROUGE of answers without Latin letters, or BLEU of answers without spaces between their words.

    Why: rouge-score compares words of the letters a to z and of digits; in any other script it finds none and gives 0. BLEU compares words
    that are separated by spaces, so that a sentence in Chinese, Japanese or Thai is one word, and the score is 0 unless it is all right.
    Fix: chrf, which compares characters.
    """
    used = [metric.name for metric in chosen_metrics(config)] if compares_texts(config) else []
    if not {"rouge", "bleu"} & {*used} or context.dataset is None:
        return
    rows = context.dataset.valid[:ROWS_TO_LOOK_AT]
    if config.trainer_spec.samples:
        answers = [row.reference for row in rows if row.reference]
    else:
        answers = [text for row in rows for text in row.answers()]
    letters = "".join(answers)
    if not answers or any(letter.isascii() and letter.isalnum() for letter in letters):
        return
    unusable = {"rouge": "counts Latin letters and digits only, and the evaluation rows have none"}
    if not any(letter.isspace() for letter in letters.strip()):
        unusable["bleu"] = "compares words between spaces, and the evaluation rows have none"
    wrong = [name for name in used if name in unusable]
    if wrong:
        right = dict.fromkeys("chrf" if name in unusable else name for name in used)
        yield Finding(
            "; ".join(f"--eval-metrics {name} {unusable[name]}" for name in wrong),
            changes={"eval_metrics": ",".join(right)},
            parameters=("eval_metrics",),
        )


@rule(
    "P742",
    example=Example(
        f"{PPO}rows.jsonl {EVALUATES}rouge",
        f"{PPO}rows.jsonl {EVALUATES}rouge",
        PROMPTS,
        ANSWERS,
    ),
)
def a_text_metric_has_an_answer_to_compare_with(
    config: Config, trainer: Trainer, context: RunContext
) -> Iterator[Finding]:
    """ppo, grpo or spo with a metric that compares texts, and no evaluation row has an answer.

    Why: their rows need a prompt only, and without an answer in any of them there is nothing to compare the sampled answers with. A column such as
    `answer`, `completion` or `reference`, or the one that `--text-column` names beside the prompt column, is that answer, as is the last turn of
    a conversation.
    Fix: evaluation rows with answers, or metrics that need none.
    """
    if not config.use_enhanced_eval or not trainer.samples or context.dataset is None or has_references(context):
        return
    textual = {name for metric in metrics_for(trainer) if metric.is_of_text for name in metric.reports}
    named = [name for name in config.eval_metrics or () if (metric := metric_named(name)) and metric.is_of_text]
    if named:
        others = [name for name in config.eval_metrics or () if name not in named]
        yield Finding(
            f"--eval-metrics {', '.join(named)}: no evaluation row has an answer to compare with",
            changes={"eval_metrics": ",".join(others) or None},
            otherwise="or --eval-dataset-path FILE, with rows that have a column answer",
            parameters=("eval_metrics",),
        )
    for parameter in ("metric_for_best_model", "sweep_metric"):
        value = str(config.value_of(parameter) or "")
        if config.given(parameter) and value.removeprefix("eval_") in textual:
            yield Finding(
                f"{flag_of(parameter)} {value}: no evaluation row has an answer to compare with",
                changes={parameter: "eval_reward"},
                parameters=(parameter,),
            )


METRIC_SCRIPT = """mkdir same
cat > same/same.py <<'END'
import datasets
import evaluate
import json

class Same(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"same": sum(a == b for a, b in zip(predictions, references)) / len(predictions)}
END"""
OF_LIBRARY = f"{SFT}rows.jsonl {EVALUATES}{LIBRARY}"


def _of_library(source: str = "./same", wrong: str = "") -> Example:
    """A metric of the library that fails, and one that doesn't."""
    return Example(OF_LIBRARY + source, f"{OF_LIBRARY}./same", ANSWERS, ANSWERS, before=METRIC_SCRIPT, wrong=wrong)


@rule("P743", example=_of_library("./some"))
def a_metric_in_a_folder_has_a_script(config: Config) -> Iterator[Finding]:
    """`--eval-metrics evaluate:FOLDER`, and the folder has no script of its name.

    Why: a metric of the library `evaluate` in a folder `some` is the class in its script of the same name. A name that is no folder is looked up on the Hub; what
    starts with `.`, `/` or `~` or ends with `.py` is a folder or script.
    Fix: the path of the folder or of the script.
    """
    for source in library_sources(config):
        if is_folder(source) and script_of(source) is None:
            path = Path(source).expanduser()
            what = f"{path} has no {path.resolve().name}.py" if path.is_dir() else f"there is no {source}"
            yield Finding(
                f"--eval-metrics {LIBRARY}{source}: {what}",
                fix="the folder of the metric, with a script of its name, or that script",
                parameters=("eval_metrics",),
                file=source,
            )


@rule("P744", example=_of_library("wer"))
def a_metric_from_the_hub_is_code_of_others(config: Config) -> Iterator[Finding]:
    """`--eval-metrics evaluate:NAME` without `--trust-remote-code`.

    Why: the library `evaluate` has no metrics itself. It downloads a script from the Hub, `evaluate-metric/NAME` or `OWNER/NAME`, and runs it. Like
    all code from there, it runs only if that is asked for.
    Fix: read the script and add `--trust-remote-code`, or download it and name its folder, which needs neither the flag nor a network.
    """
    for source in library_sources(config):
        if not is_folder(source) and not config.trust_remote_code:
            place = source if "/" in source else f"evaluate-metric/{source}"
            yield Finding(
                f"--eval-metrics {LIBRARY}{source} downloads a script from the Hub (spaces/{place}) and runs it",
                fix="read that script, then add --trust-remote-code; or download it, and name its folder: "
                f"--eval-metrics {LIBRARY}./{source.rpartition('/')[2]}",
                parameters=("eval_metrics", "trust_remote_code"),
            )


@rule("E560", example=_of_library(wrong="echo 'import not_installed' >> same/same.py"))
def a_metric_in_a_folder_has_the_packages_it_needs(config: Config) -> Iterator[Finding]:
    """The script of `--eval-metrics evaluate:FOLDER` imports a package that is not installed.

    Why: it would fail at the first evaluation. The script is read for this and not run.
    Fix: install the package.
    """
    for source in library_sources(config):
        script = script_of(source)
        missing: list[str] = []
        with suppress(MetricFault):  # the first call reports it
            missing = missing_packages(script) if script else []
        if missing:
            yield Finding(
                f"--eval-metrics {LIBRARY}{source} imports {', '.join(missing)}, which is not installed",
                fix=f"pip install {' '.join(missing)}",
                parameters=("eval_metrics",),
                file=str(script),
            )


METRIC_FAILS = declare_finding(
    "P745",
    """A metric of the library `evaluate` can't be loaded, or fails for two answers and two references.

    Why: it is called once before anything else is loaded, with texts, as an evaluation does: a metric of classes or of numbers takes none, one that
    needs more than predictions and references can't be computed, and a name that the Hub doesn't have, or that was never downloaded where there is
    no network, can't be loaded.
    Fix: what the error says; or another metric.
    """,
    example=_of_library(wrong="sed -i 's/return {.*/return {}/' same/same.py"),
    follows_from=("E560", "P743", "P744"),
)


def first_scores(source: str, is_offline: bool) -> Iterator[Finding]:
    """Load a metric of the library and call it with two answers; yield a finding if it fails."""
    try:
        compute(source, is_offline, *PROBE)
    except MetricFault as fault:
        yield METRIC_FAILS.finding(
            f"--eval-metrics {LIBRARY}{source} fails for two answers and two references: {fault}",
            "a metric that compares texts, or correct it",
            ("eval_metrics",),
        )
