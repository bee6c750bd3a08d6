"""Run tasks of lm-evaluation-harness (0.4.13) on the finished model."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from autotrain_llm.run.artifacts.records import write_json
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.failures import RunFailed

FILE = Path("eval", "benchmark.json")
SEED = 1234  # the harness's default for few-shot examples
RENAMED = {"sample_len": "rows"}


class Benchmark:
    """Loads the tasks and their data on construction, so that a missing task fails before training."""

    def __init__(self, tasks: Sequence[str]) -> None:
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self.names = ",".join(tasks)
        try:
            with redirect_stderr(io.StringIO()):  # progress bars
                self.tasks = TaskManager().load(list(tasks))
        except Exception as fault:  # tasks are third-party files with their own data sources, and raise anything
            fix = "check the name, the file and the network, or leave out --eval-benchmark"
            raise RunFailed(f"--eval-benchmark {self.names} can't be loaded: {_one_line(fault)}", fix) from fault
        for task in self.tasks["tasks"].values():
            task.set_fewshot_seed(seed=SEED)

    def run(self, model: Any, tokenizer: Any, batch: int, folder: Path) -> dict[str, Any]:
        """The results by task, with their standard errors; written to `eval/benchmark.json`."""
        from lm_eval import evaluate
        from lm_eval.models.huggingface import HFLM

        try:
            with redirect_stderr(io.StringIO()):
                harness_model = HFLM(pretrained=causal_model(model).eval(), tokenizer=tokenizer, batch_size=batch)
                outcome = evaluate(harness_model, self.tasks, log_samples=False, bootstrap_iters=0)
        except Exception as fault:
            fix = f"the finished model is in {folder}"
            raise RunFailed(f"--eval-benchmark {self.names} failed: {_one_line(fault)}", fix) from fault
        results = {task: _numbers(scores) for task, scores in (outcome or {})["results"].items()}
        (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, results)
        return results


def _one_line(fault: Exception) -> str:
    return f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    """The finite numbers among a task's scores; the harness writes `acc,none` for accuracy without a filter."""
    plain = {name.removesuffix(",none"): value for name, value in scores.items()}
    return {
        RENAMED.get(name, name): value
        for name, value in plain.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
