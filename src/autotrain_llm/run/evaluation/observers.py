"""Observers of the loop's evaluations: scores of generated and of sampled answers, reward scores of pairs, and the objective's metrics under other names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from autotrain_llm.config.metric_choice import LIBRARY
from autotrain_llm.data.example import Example
from autotrain_llm.data.rows import PairRows, TokenRows
from autotrain_llm.data.tokenize.eval_prompts import EvalPrompt, EvalPromptBuilder
from autotrain_llm.planning.evaluation import BERTSCORE
from autotrain_llm.planning.plan import EvalPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.artifacts.saving import end_tokens
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.engine.loop import Loop, Observer
from autotrain_llm.run.evaluation.predict import Prediction, Predictor

if TYPE_CHECKING:  # their imports (evaluate, sacrebleu, rouge-score) are loaded only if a metric needs them
    from autotrain_llm.run.evaluation.library import LibraryScore
    from autotrain_llm.run.evaluation.scores import Score


class Predictions:
    """A JSON Lines file with a line for each evaluated row; each evaluation overwrites it.

    Each process writes a file of its own, and the first process joins them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = "predictions.jsonl"

    @contextmanager
    def writing(self, loop: Loop) -> Iterator[Any]:
        process = loop.args.process_index
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._part(process)
        with part.open("w", encoding="utf-8") as file:
            yield file
        loop.accelerator.wait_for_everyone()
        if process == 0:
            self._join(loop.args.world_size)

    def _part(self, process: int) -> Path:
        return self.folder / f".{self.name}.{process}"

    def _join(self, processes: int) -> None:
        joined = self._part(0)
        with joined.open("a", encoding="utf-8") as file:
            for process in range(1, processes):
                with self._part(process).open(encoding="utf-8") as part:
                    file.writelines(part)
                self._part(process).unlink()
        joined.replace(self.folder / self.name)


class Scores:
    """What compares answers with references, for the metrics of a plan. Each process adds its own rows."""

    def __init__(self, plan: Plan) -> None:
        assert plan.evaluation is not None
        entries = plan.evaluation.scores
        of_library = {name: entry for name, entry in entries.items() if entry and entry.startswith(LIBRARY)}
        self.scores = {
            name: _make_score(name, entry, plan.evaluation) for name, entry in entries.items() if name not in of_library
        }
        self.library: list[LibraryScore] = []
        if of_library:
            from autotrain_llm.run.evaluation.library import LibraryScore

            self.library = [
                LibraryScore(name, entry.removeprefix(LIBRARY), plan.model.offline)
                for name, entry in of_library.items()
            ]

    def start(self, loop: Loop) -> None:
        """Forget the rows of the last evaluation."""
        for name, score in self.scores.items():
            score.sums[:] = 0
            if name == BERTSCORE:
                score.to(loop.args.device)  # type: ignore[attr-defined]
        for metric in self.library:
            metric.pairs = []

    def add(self, texts: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
        """Add rows; returns the scores of each, without those that are computed of all rows together."""
        for metric in self.library:
            metric.pairs += zip(texts, references, strict=True)
        scored = [score.add(texts, references) for score in self.scores.values()]
        return [{name: value for rows in scored for name, value in rows[at].items()} for at in range(len(texts))]

    def results(self, loop: Loop) -> dict[str, float]:
        """The scores of the rows of all processes, by metric."""
        metrics: dict[str, float] = {}
        for score in self.scores.values():
            score.sums[:] = loop.array_over_processes(score.sums)
            metrics |= score.result()
        for metric in self.library:
            if loop.args.world_size > 1:
                metric.pairs = gather_object(metric.pairs)
            metrics |= metric.result()
        return metrics


def _make_score(name: str, entry: str | None, plan: EvalPlan) -> Score:
    """The score of a metric; `entry` names its class as `module:Class`."""
    if name == BERTSCORE:
        from autotrain_llm.run.evaluation import bertscore

        assert plan.bertscore is not None
        return bertscore.of_plan(plan.bertscore)
    assert entry is not None
    module, class_name = entry.split(":")
    score: Score = getattr(import_module(module), class_name)()
    return score


class GeneratedAnswers:
    """Generates answers to evaluation rows and scores them against the references.

    The rows are a seeded sample, the same at every evaluation, so that evaluations are comparable; they are divided among processes.
    """

    def __init__(
        self, plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout, predictions: Predictions | None
    ) -> None:
        assert plan.evaluation is not None
        settings = plan.evaluation.answers
        assert settings is not None
        template = inputs.prepared.template
        self.layout, self.predictions, self.seed = layout, predictions, settings.seed
        self.examples = inputs.dataset.valid
        self.builder = EvalPromptBuilder(
            inputs.tokenizer,
            template,
            plan.parameters["chat_template"].value if "chat_template" in plan.parameters else None,
            max_prompt_tokens=max(1, settings.max_prompt_tokens),
            max_answer_tokens=settings.max_new_tokens,
        )
        evaluated = plan.data.evaluated_rows < plan.data.eval_rows
        self.rows = self._sample_rows(settings.rows, {*inputs.prepared.valid.source.tolist()} if evaluated else None)
        self.predictor = Predictor(
            loaded.tokenizer,
            end_tokens(loaded.model, loaded.tokenizer, inputs.prepared.end_of_turn),
            template.end_of_turn if template is not None and template.end_token is None else None,
            batch=settings.batch,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
            precision=DTYPES[plan.precision.name],
        )
        self.scores = Scores(plan)

    def _sample_rows(self, count: int, among: Collection[int] | None) -> list[int]:
        """The indices of `count` rows that have a reference answer, in ascending order; of these rows only where some were chosen."""
        order = np.random.default_rng(self.seed).permutation(len(self.examples)).tolist()
        rows = [row for row in order if among is None or row in among]
        return sorted([row for row in rows if self.builder.has_answer(self.examples[row])][:count])

    def measure(self, loop: Loop) -> dict[str, float]:
        """The scores, the fraction of answers with an end token, and the mean length of answers in tokens."""
        self.scores.start(loop)
        counts = np.zeros(3)
        with self._for_generation(loop) as causal, _file(self.predictions, loop) as file:
            for predictions in self.predictor.predictions(causal, self._prompts(loop)):
                counts += self._score(predictions, file, loop.state.global_step)
        metrics = self.scores.results(loop)
        rows, finished, tokens = loop.array_over_processes(counts).tolist()
        return metrics | ({"answers/finished": finished / rows, "answers/tokens": tokens / rows} if rows else {})

    def _prompts(self, loop: Loop) -> Iterator[EvalPrompt]:
        """This process's prompts, built lazily."""
        for row in self.rows[loop.args.process_index :: loop.args.world_size]:
            prompt = self.builder.make(self.examples[row])
            if prompt is not None:
                yield prompt

    def _score(self, predictions: list[Prediction], file: Any, step: int) -> list[float]:
        """Score and write predictions; returns their number, how many are finished, and their tokens."""
        texts = [prediction.text for prediction in predictions]
        references = [prediction.prompt.reference.strip() for prediction in predictions]
        scored = self.scores.add(texts, references)
        if file is not None:
            for prediction, scores in zip(predictions, scored, strict=True):
                file.write(json.dumps(_line(prediction, scores, step), ensure_ascii=False) + "\n")
        return [len(predictions), sum(row.finished for row in predictions), sum(row.tokens for row in predictions)]

    @contextmanager
    def _for_generation(self, loop: Loop) -> Iterator[PreTrainedModel]:
        """The causal language model inside the loop's model, as generation needs it."""
        self.layout.for_generation(loop.unwrapped, True)
        try:
            yield causal_model(loop.unwrapped)
        finally:
            self.layout.for_generation(loop.unwrapped, False)


def _line(prediction: Prediction, scores: Mapping[str, float], step: int) -> dict[str, Any]:
    """A line of the predictions file, with rounded scores."""
    prompt = prediction.prompt
    rejected = {} if prompt.rejected is None else {"rejected": prompt.rejected}
    return {
        "step": step,
        **_place(prompt.example),
        "prompt": prompt.text,
        "reference": prompt.reference,
        **rejected,
        "prediction": prediction.text,
        "finished": prediction.finished,
        "scores": _rounded(scores),
    }


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}


def _place(example: Example) -> dict[str, Any]:
    return {"file": example.file, "row": example.row}


class SampledAnswers:
    """Compares the answers that a policy has sampled in this evaluation with those of the rows, where they have one, and writes them to the
    predictions file with their rewards."""

    def __init__(self, plan: Plan, inputs: RunInputs, predictions: Predictions | None) -> None:
        rows = inputs.prepared.valid
        assert isinstance(rows, TokenRows)
        self.examples, self.source = inputs.dataset.valid, rows.source
        self.scores, self.predictions = Scores(plan), predictions

    def measure(self, loop: Loop) -> dict[str, float]:
        self.scores.start(loop)
        rows = [(answer, self.examples[int(self.source[answer.row])]) for answer in loop.eval_answers]
        pairs = [(answer.text.strip(), example.reference.strip()) for answer, example in rows if example.reference]
        compared = iter(self.scores.add([text for text, _ in pairs], [reference for _, reference in pairs]))
        with _file(self.predictions, loop) as file:
            for answer, example in rows if file is not None else ():
                scores = {**answer.scores, **(next(compared) if example.reference else {})}
                line = {
                    "step": loop.state.global_step,
                    **_place(example),
                    "prompt": answer.prompt,
                    "reference": example.reference,
                    "prediction": answer.text.strip(),
                    "finished": answer.finished,
                    "scores": _rounded(scores),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return self.scores.results(loop)


class RewardScores:
    """Writes a reward model's scores of each evaluation row to the predictions file: for a pair that of each answer, else each output of a
    model with several. It adds no metrics to the objective's."""

    def __init__(self, inputs: RunInputs, predictions: Predictions, labels: Sequence[str] | None) -> None:
        rows = inputs.prepared.valid
        self.are_pairs = isinstance(rows, PairRows)
        self.source = rows.prompt.source if isinstance(rows, PairRows) else rows.source
        self.examples, self.predictions = inputs.dataset.valid, predictions
        self.labels = labels or ("chosen", "rejected")

    def measure(self, loop: Loop) -> dict[str, float]:
        batches = loop.get_eval_dataloader()
        model = loop.unwrapped.eval()
        with self.predictions.writing(loop) as file, torch.no_grad(), loop.autocast():
            for indices, batch in zip(batches.order, batches, strict=True):
                output = loop.layout.forward(model, loop.on_device(batch), loop.objective.compute)
                assert output.scores is not None
                rows = [index for index in indices if index >= 0]  # negative: a padding item, which has no scores
                for row, scores in zip(rows, output.scores.float().reshape(-1, len(self.labels)).tolist(), strict=True):
                    file.write(json.dumps(self._line(row, scores, loop), ensure_ascii=False) + "\n")
        return {}

    def _line(self, row: int, scores: Sequence[float], loop: Loop) -> dict[str, Any]:
        example = self.examples[int(self.source[row])]
        return {
            "step": loop.state.global_step,
            **_place(example),
            **self._of_row(example),
            "scores": _rounded(dict(zip(self.labels, scores, strict=True))),
        }

    def _of_row(self, example: Example) -> dict[str, Any]:
        """The texts of a row, and the scores or the class that it has itself."""
        if self.are_pairs:
            return {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
        return {
            "prompt": example.prompt if example.messages is None else example.messages,
            "answer": example.completion,
            "reference": example.class_name
            if example.scores is None
            else dict(zip(self.labels, example.scores, strict=True)),
        }


class RenamedMetrics:
    """The objective's metrics under the names of the requested metrics."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys

    def measure(self, loop: Loop) -> dict[str, float]:
        return {name: loop.eval_metrics[key] for name, key in self.keys.items() if key in loop.eval_metrics}


@contextmanager
def _file(predictions: Predictions | None, loop: Loop) -> Iterator[Any]:
    if predictions is None:
        yield None
        return
    with predictions.writing(loop) as file:
        yield file


def make_observers(
    plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout, predictions: Predictions | None
) -> list[Observer]:
    """The observers of the plan's evaluation."""
    assert plan.evaluation is not None
    observers: list[Observer] = [RenamedMetrics(plan.evaluation.measured)]
    if plan.rollouts is not None:
        if plan.evaluation.scores or predictions is not None:
            observers.append(SampledAnswers(plan, inputs, predictions))
    elif plan.evaluation.answers:
        observers.append(GeneratedAnswers(plan, inputs, loaded, layout, predictions))
    elif predictions is not None and plan.model.head is not None:
        observers.append(RewardScores(inputs, predictions, plan.model.labels))
    return observers
