"""What is measured beside the objective whenever the loop evaluates: generated answers, scores of pairs, and the objective's own measures by the names that metrics have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from autotrain_llm.data.example import Example
from autotrain_llm.data.rows import PairRows
from autotrain_llm.data.tokenize.eval_prompts import EvalPrompt, EvalPromptBuilder
from autotrain_llm.planning.evaluation import BERTSCORE
from autotrain_llm.planning.plan import AnswersPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.artifacts.saving import end_tokens
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.engine.loop import Loop, Observer
from autotrain_llm.run.evaluation.predict import Prediction, Predictor

if TYPE_CHECKING:  # loaded with the libraries that they wrap, where a metric needs them
    from autotrain_llm.run.evaluation.scores import Score


class Predictions:
    """A file with a line for each evaluated row, written as the rows come; each evaluation writes it anew.

    Several processes write a part each, which the first of them joins.
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
        whole = self._part(0)
        with whole.open("a", encoding="utf-8") as file:
            for process in range(1, processes):
                with self._part(process).open(encoding="utf-8") as part:
                    file.writelines(part)
                self._part(process).unlink()
        whole.replace(self.folder / self.name)


class GeneratedAnswers:
    """Generates answers to evaluation rows and scores them against the references.

    The rows are a seeded choice, the same at every evaluation, so that the effect of training can be seen; processes share them.
    """

    def __init__(
        self, plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout, predictions: Predictions | None
    ) -> None:
        assert plan.evaluation is not None
        decided = plan.evaluation.answers
        assert decided is not None
        template = inputs.prepared.template
        self.layout, self.predictions, self.seed = layout, predictions, decided.seed
        self.examples = inputs.dataset.valid
        self.maker = EvalPromptBuilder(
            inputs.tokenizer,
            template,
            plan.parameters["chat_template"].value if "chat_template" in plan.parameters else None,
            max_prompt_tokens=max(1, decided.max_prompt_tokens),
            max_answer_tokens=decided.max_new_tokens,
        )
        self.rows = self._choice(decided.rows)
        self.predictor = Predictor(
            loaded.tokenizer,
            end_tokens(loaded.model, loaded.tokenizer, inputs.prepared.end_of_turn),
            template.end_of_turn if template is not None and template.end_token is None else None,
            batch=decided.batch,
            max_new_tokens=decided.max_new_tokens,
            temperature=decided.temperature,
            seed=decided.seed,
            precision=DTYPES[plan.precision.name],
        )
        self.scores = {name: _score(name, entry, decided) for name, entry in decided.scores.items()}

    def _choice(self, wanted: int) -> list[int]:
        """The numbers of the rows to answer, of those that hold an answer, in their order."""
        order = np.random.default_rng(self.seed).permutation(len(self.examples)).tolist()
        return sorted([row for row in order if self.maker.has_answer(self.examples[row])][:wanted])

    def measure(self, loop: Loop) -> dict[str, float]:
        """The scores, the share of answers that ended by themselves, and their mean length in tokens."""
        for name, score in self.scores.items():
            score.sums[:] = 0
            if name == BERTSCORE:
                score.to(loop.args.device)  # type: ignore[attr-defined]
        counts = np.zeros(3)
        with self._for_generation(loop) as causal, _file(self.predictions, loop) as file:
            for predictions in self.predictor.predictions(causal, self._prompts(loop)):
                counts += self._score(predictions, file, loop.state.global_step)
        measured: dict[str, float] = {}
        for score in self.scores.values():
            score.sums[:] = _over_processes(score.sums, loop)
            measured |= score.result()
        rows, finished, tokens = _over_processes(counts, loop)
        return measured | ({"answers/finished": finished / rows, "answers/tokens": tokens / rows} if rows else {})

    def _prompts(self, loop: Loop) -> Iterator[EvalPrompt]:
        """This process's share, made when they are asked for."""
        for row in self.rows[loop.args.process_index :: loop.args.world_size]:
            prompt = self.maker.make(self.examples[row])
            if prompt is not None:
                yield prompt

    def _score(self, predictions: list[Prediction], file: Any, step: int) -> list[float]:
        """Score some predictions and write them down; returns how many there are, how many ended, and their tokens."""
        texts = [prediction.text for prediction in predictions]
        references = [prediction.prompt.reference.strip() for prediction in predictions]
        scored = [score.add(texts, references) for score in self.scores.values()]
        if file is not None:
            for index, prediction in enumerate(predictions):
                scores = {name: value for rows in scored for name, value in rows[index].items()}
                file.write(json.dumps(_line(prediction, scores, step), ensure_ascii=False) + "\n")
        return [len(predictions), sum(row.finished for row in predictions), sum(row.tokens for row in predictions)]

    @contextmanager
    def _for_generation(self, loop: Loop) -> Iterator[PreTrainedModel]:
        """The causal language model inside the loop's model, as generation needs it."""
        self.layout.for_generation(model_of(loop), True)
        try:
            yield causal_model(model_of(loop))
        finally:
            self.layout.for_generation(model_of(loop), False)


def _score(name: str, entry: str | None, decided: AnswersPlan) -> Score:
    """What compares texts for a metric."""
    if name == BERTSCORE:
        from autotrain_llm.run.evaluation import bertscore

        assert decided.bertscore is not None
        return bertscore.of_plan(decided.bertscore)
    assert entry is not None
    module, made = entry.split(":")
    score: Score = getattr(import_module(module), made)()
    return score


def _line(prediction: Prediction, scores: Mapping[str, float], step: int) -> dict[str, Any]:
    """A row of the predictions: rounded, because nobody reads sixteen digits."""
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
        "scores": {name: round(value, 6) for name, value in scores.items()},
    }


def _place(example: Example) -> dict[str, Any]:
    return {"file": example.file, "row": example.row}


class ScoredPairs:
    """Writes down what a reward model gives each answer of a pair. It measures nothing that the objective doesn't."""

    def __init__(self, inputs: RunInputs, predictions: Predictions) -> None:
        rows = inputs.prepared.valid
        assert isinstance(rows, PairRows)
        self.examples, self.source, self.predictions = inputs.dataset.valid, rows.prompt.source, predictions

    def measure(self, loop: Loop) -> dict[str, float]:
        batches = loop.get_eval_dataloader()
        model = model_of(loop).eval()
        with self.predictions.writing(loop) as file, torch.no_grad(), loop.accelerator.autocast():
            for numbers, batch in zip(batches.order, batches, strict=True):
                output = loop.layout.forward(model, loop.on_device(batch), loop.objective.compute)
                scores = output.scores.float().tolist() if output.scores is not None else []
                counted = [number for number in numbers if number >= 0]
                for number, chosen, rejected in zip(counted, scores[0::2], scores[1::2], strict=True):
                    file.write(json.dumps(self._line(number, chosen, rejected, loop), ensure_ascii=False) + "\n")
        return {}

    def _line(self, number: int, chosen: float, rejected: float, loop: Loop) -> dict[str, Any]:
        example = self.examples[int(self.source[number])]
        return {
            "step": loop.state.global_step,
            **_place(example),
            "prompt": example.prompt,
            "chosen": example.chosen,
            "rejected": example.rejected,
            "scores": {"chosen": round(chosen, 6), "rejected": round(rejected, 6)},
        }


class Named:
    """What the objective measures already, by the names of the metrics that were asked for."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys

    def measure(self, loop: Loop) -> dict[str, float]:
        return {name: loop.measured[key] for name, key in self.keys.items() if key in loop.measured}


@contextmanager
def _file(predictions: Predictions | None, loop: Loop) -> Iterator[Any]:
    if predictions is None:
        yield None
        return
    with predictions.writing(loop) as file:
        yield file


def model_of(loop: Loop) -> nn.Module:
    """The model without what wraps it for parallel training."""
    assert isinstance(loop.model, nn.Module)
    return loop.model


def _over_processes(sums: np.ndarray, loop: Loop) -> list[float]:
    """Sums of all processes together."""
    if loop.args.world_size == 1:
        return sums.tolist()
    return loop.over_processes(torch.tensor(sums, dtype=torch.float64, device=loop.args.device)).tolist()


def make_observers(
    plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout, predictions: Predictions | None
) -> list[Observer]:
    """What a plan's `evaluation` measures beside the objective."""
    assert plan.evaluation is not None
    observers: list[Observer] = [Named(plan.evaluation.measured)]
    if plan.evaluation.answers:
        observers.append(GeneratedAnswers(plan, inputs, loaded, layout, predictions))
    elif predictions is not None and plan.model.head is not None:
        observers.append(ScoredPairs(inputs, predictions))
    return observers
