"""What enhanced evaluation needs of the flags, the machine and the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autotrain_llm.config.metric_choice import chosen_metrics, metric_named, metrics_for
from autotrain_llm.config.registry import METRICS, PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.eval_tasks import INSTALL, PACKAGE, is_file, task_names, task_of
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.metric import Metric
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.planning.evaluation import (
    context_of,
    encoder_of,
    writes_answers,
)

OF_ANSWERS = ("eval_samples", "eval_max_new_tokens", "eval_temperature")
OF_BERTSCORE = ("eval_bertscore_model", "eval_bertscore_layer")
LOOKED_AT = 100  # rows


@rule(
    "P702",
    refuses="--trainer reward --use-enhanced-eval --eval-metrics bleu",
    accepts="--trainer reward --use-enhanced-eval --eval-metrics accuracy",
)
def a_metric_makes_sense_for_the_trainer(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--eval-metrics` names a metric that says nothing of what this trainer trains.

    Why: a reward model scores and does not generate, so that there is no text to compare; only a reward model and preferences have pairs;
    and without a reference there is no distance from one.
    Fix: the metrics that are offered.
    """
    if not config.use_enhanced_eval:
        return
    named = [metric_named(name) for name in config.eval_metrics or ()]
    wrong = [metric for metric in named if metric is not None and not metric.makes_sense_for(trainer)]
    for why, names in _by_reason(wrong, trainer).items():
        offered = metrics_for(trainer)
        usual = [metric.name for metric in offered if trainer.rows in metric.usual]
        yield Finding(
            f"--eval-metrics {', '.join(names)}: {why} (there are {', '.join(metric.name for metric in offered)})",
            changes={"eval_metrics": ",".join(_kept(config, trainer) or usual)},
            parameters=("eval_metrics",),
        )


def _kept(config: Config, trainer: Trainer) -> list[str]:
    named = [metric_named(name) for name in config.eval_metrics or ()]
    return list(dict.fromkeys(metric.name for metric in named if metric and metric.makes_sense_for(trainer)))


def _by_reason(wrong: list[Metric], trainer: Trainer) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for metric in wrong:
        found.setdefault(_reason(metric, trainer), []).append(metric.name)
    return found


def _reason(metric: Metric, trainer: Trainer) -> str:
    """Why a metric makes no sense for a trainer."""
    if trainer.rows == "scored":
        if metric.name == "perplexity" or metric.name == "token_accuracy":
            return "a reward model scores and predicts no tokens"
        return (
            "a reward model scores and does not generate"
            if metric.is_of_text
            else f"{trainer.name} measures no such thing"
        )
    if trainer.rows == "prompts" and "prompts" not in metric.rows:
        return f"{trainer.name} learns from prompts alone, and there is no answer to compare with"
    if metric.name == "kl":
        return f"{trainer.name} has no reference model to differ from"
    if "scored" in metric.rows:
        return f"{trainer.name} has no " + ("scores" if metric.rows == ("scored",) else "pairs of answers")
    return f"{trainer.name} measures no such thing"


@rule(
    "P720",
    refuses="--trainer sft --use-enhanced-eval --eval-metrics perplexty",
    accepts="--trainer sft --use-enhanced-eval --eval-metrics perplexity",
)
def a_metric_has_a_name_that_is_known(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--eval-metrics` names something that is no metric, or nothing at all.

    Why: a misspelt metric would silently not be there.
    Fix: the nearest name.
    """
    if not config.use_enhanced_eval or config.eval_metrics is None:
        return
    known = [metric.name for metric in metrics_for(trainer)]
    if not config.eval_metrics:
        yield Finding(
            "--eval-metrics names no metric", changes={"eval_metrics": ",".join(known)}, parameters=("eval_metrics",)
        )
    for name in config.eval_metrics:
        if metric_named(name) is None:
            close = nearest(name, [spelt for metric in METRICS.values() for spelt in (metric.name, *metric.also)])
            meant = metric_named(close) if close else None
            yield Finding(
                f"--eval-metrics: there is no metric {name!r}; {trainer.name} has {', '.join(known)}",
                changes={"eval_metrics": [meant.name if asked == name else asked for asked in config.eval_metrics]}
                if meant
                else EMPTY,
                parameters=("eval_metrics",),
            )


@rule("P721")
def a_metric_has_the_package_it_needs(config: Config, machine: Machine) -> Iterator[Finding]:
    """A metric was asked for whose package is not installed.

    Why: it would fail at the first evaluation.
    Fix: install it, or leave the metric out.
    """
    if not config.use_enhanced_eval:
        return
    for metric in chosen_metrics(config):
        missing = [name for name in metric.packages if not machine.has_package(name)]
        if missing:
            pip = " ".join(name.replace("_", "-") for name in missing)
            yield Finding(
                f"--eval-metrics {metric.name} needs {pip}, which is not installed",
                fix=f"pip install {pip}",
                parameters=("eval_metrics",),
            )


@rule(
    "P722",
    WARNING,
    refuses="--trainer sft --use-enhanced-eval --eval-metrics perplexity --eval-samples 20",
    accepts="--trainer sft --use-enhanced-eval --eval-metrics rouge --eval-samples 20",
)
def what_is_said_of_answers_needs_a_metric_of_answers(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A flag says how answers are written or compared, and no metric compares any.

    Why: perplexity and accuracy are measured on the rows themselves; nothing is generated for them, and the flag changes nothing.
    Fix: name a metric of text, or remove the flag.
    """
    if config.use_enhanced_eval and trainer.samples and config.eval_save_predictions:
        yield Finding(
            f"--eval-save-predictions has no effect: {trainer.name} keeps samples of its answers in samples.jsonl by itself",
            changes={"eval_save_predictions": None},
            parameters=("eval_save_predictions",),
        )
    if not config.use_enhanced_eval or not trainer.reads("eval_samples"):
        return
    writes, encoder = writes_answers(config), encoder_of(config)
    idle = [name for name in OF_ANSWERS if config.given(name) and not writes]
    idle += [name for name in OF_BERTSCORE if config.given(name) and encoder is None]
    for name in idle:
        wanted = "bertscore" if name in OF_BERTSCORE else "rouge"
        yield Finding(
            f"{PARAMS[name].flag} has no effect: no metric of --eval-metrics {'is bertscore' if name in OF_BERTSCORE else 'compares answers'}",
            changes={name: None},
            otherwise=f"or add {wanted} to --eval-metrics",
            parameters=(name,),
        )


@rule(
    "P738",
    WARNING,
    refuses="--trainer sft --use-enhanced-eval --eval-metrics perplexity --eval-save-predictions",
    accepts="--trainer sft --use-enhanced-eval --eval-metrics perplexity,rouge --eval-save-predictions",
)
def answers_that_are_kept_should_be_compared(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--eval-save-predictions` with metrics of which none writes or compares a text.

    Why: perplexity and accuracy are measured on the rows themselves. Answers would be generated, which takes longer than all the rest of the
    evaluation, for no number.
    Fix: a metric of text, or no flag; `--eval-samples` says how many answers are wanted for themselves, and that they are.
    """
    if not config.use_enhanced_eval or not trainer.reads("eval_samples") or not config.eval_metrics:
        return
    wanted, metrics = any(config.given(name) for name in OF_ANSWERS), chosen_metrics(config)
    if config.eval_save_predictions and not wanted and not any(metric.is_of_text for metric in metrics):
        named = ",".join(metric.name for metric in metrics)
        yield Finding(
            f"--eval-save-predictions: no metric of --eval-metrics {named} writes or compares a text, so that answers are generated for no number",
            changes={"eval_save_predictions": None},
            otherwise=f"or --eval-metrics {named},rouge",
            parameters=("eval_save_predictions", "eval_metrics"),
        )


@rule("P723")
def a_benchmark_is_one_that_is_installed(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """`--eval-benchmark` can't be run: lm-evaluation-harness is not installed, it has no such task, or the model does not generate.

    Why: it is run on the finished model; a fault in a name would show only after the training. Names are read from the installed package.
    Fix: install the package, or the nearest name.
    """
    tasks = config.eval_benchmark
    if not config.use_enhanced_eval or not tasks:
        return
    if trainer.rows == "scored":
        yield _benchmark("a reward model scores and does not generate", "remove --eval-benchmark")
    elif not machine.has_package(PACKAGE):
        yield _benchmark("needs lm-evaluation-harness, which is not installed", INSTALL)
    else:
        for name in tasks:
            yield from _task_file(name) if is_file(name) else _task_name(name)


def _benchmark(what: str, fix: str | None, file: str | None = None) -> Finding:
    return Finding(f"--eval-benchmark {what}", fix=fix, parameters=("eval_benchmark",), file=file)


def _task_file(name: str) -> Iterator[Finding]:
    path = Path(name).expanduser()
    if not path.is_file():
        yield _benchmark(f"{name}: there is no such file", None, name)
    elif task_of(path) is None:
        yield _benchmark(f"{name}: it names no task", "a line `task: <name>` in it", name)


def _task_name(name: str) -> Iterator[Finding]:
    names = task_names()
    if name not in names:
        close = nearest(name, names)
        yield _benchmark(
            f"{name}: lm-evaluation-harness has no such task", f"--eval-benchmark {close}" if close else None
        )


@rule(
    "P724",
    refuses="--trainer sft --engine trl --use-enhanced-eval",
    accepts="--trainer sft --engine trl",
)
def the_trl_engine_evaluates_as_trl_does(config: Config) -> Iterator[Finding]:
    """`--engine trl` together with `--use-enhanced-eval`.

    Why: TRL's trainers evaluate by themselves and hand their batches to nobody; the numbers would not be those of this package's engine.
    Fix: the native engine, which trains the same.
    """
    if config.engine == "trl" and config.use_enhanced_eval:
        yield Finding(
            "--engine trl evaluates as TRL does, and has nothing for --use-enhanced-eval",
            changes={"engine": None},
            parameters=("engine", "use_enhanced_eval"),
        )


@rule(
    "P725",
    refuses="--trainer sft --distributed-backend fsdp --use-enhanced-eval --eval-metrics perplexity,rouge",
    accepts="--trainer sft --distributed-backend fsdp --use-enhanced-eval --eval-metrics perplexity",
)
def answers_need_the_whole_model_on_each_device(config: Config) -> Iterator[Finding]:
    """Answers are to be generated from a model whose weights FSDP spreads over the devices.

    Why: each token would gather all the weights anew.
    Fix: metrics that need no generation, or no FSDP.
    """
    if config.distributed_backend == "fsdp" and writes_answers(config):
        kept = [metric.name for metric in chosen_metrics(config) if not metric.is_of_text]
        yield Finding(
            "--distributed-backend fsdp spreads the model over devices, and answers can't be generated from a part of it",
            changes={"eval_metrics": ",".join(kept)}
            if kept and not config.eval_save_predictions
            else {"distributed_backend": None},
            parameters=("distributed_backend", "eval_metrics"),
        )


@rule("P726")
def an_answer_has_room_in_the_context(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--eval-max-new-tokens` is all that the model's context holds.

    Why: no token is left for the prompt.
    Fix: fewer.
    """
    context_length = context_of(context)
    if writes_answers(config) and config.eval_max_new_tokens >= context_length:
        yield Finding(
            f"--eval-max-new-tokens {config.eval_max_new_tokens} leaves no room for a prompt in the model's context of {context_length} tokens",
            changes={"eval_max_new_tokens": max(1, context_length // 2)},
            parameters=("eval_max_new_tokens",),
        )


@rule("P727")
def bertscore_compares_a_layer_that_is_there(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--eval-bertscore-layer` is beyond the encoder's last.

    Why: there is nothing to compare.
    Fix: the last layer.
    """
    encoder = encoder_of(config)
    facts = context.models.secondary("eval_bertscore_model", encoder)
    layer = config.eval_bertscore_layer
    if facts is not None and facts.layers and layer and layer > facts.layers:
        yield Finding(
            f"--eval-bertscore-layer {layer}: {encoder} has {facts.layers} layers",
            changes={"eval_bertscore_layer": facts.layers},
            parameters=("eval_bertscore_layer",),
        )


@rule("P728", WARNING)
def rouge_counts_latin_letters(config: Config, context: RunContext) -> Iterator[Finding]:
    """ROUGE of answers that are not written in Latin letters.

    Why: rouge-score compares runs of the letters a to z and of digits; of any other script it sees nothing and gives 0.
    Fix: chrf, which compares characters.
    """
    asked = writes_answers(config) and "rouge" in [metric.name for metric in chosen_metrics(config)]
    if not asked or context.dataset is None:
        return
    answers = [text for example in context.dataset.valid[:LOOKED_AT] for text in example.strings()]
    if answers and not any(character.isascii() and character.isalnum() for text in answers for character in text):
        yield Finding(
            "--eval-metrics rouge counts Latin letters and digits only, and the evaluation rows hold none",
            changes={"eval_metrics": ["chrf" if name == "rouge" else name for name in config.eval_metrics or ()]},
            parameters=("eval_metrics",),
        )
