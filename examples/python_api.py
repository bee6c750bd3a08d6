"""Check, plan and train from Python: a new model of 200,000 parameters learns to repeat a colour.

python examples/python_api.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from autotrain_llm import check, plan, train
from autotrain_llm.progress import ProgressCallback

COLOURS = ("red", "blue", "green", "yellow")


class Losses(ProgressCallback):
    """Prints the loss every 40 steps."""

    def log(self, step: int, metrics: object) -> None:
        if isinstance(metrics, dict) and "loss" in metrics and step % 40 == 0:
            print(f"step {step}: loss {metrics['loss']:.3f}")


def main(folder: Path) -> float:
    """Write rows, check a mistake, plan, train; returns the last loss."""
    rows = folder / "colours.jsonl"
    lines = [
        {"prompt": f"Colour {index} is {COLOURS[index % 4]}. Which?", "completion": f" {COLOURS[index % 4]}"}
        for index in range(64)
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    flags = {
        "trainer": "sft",
        "model": "scratch:200k",
        "data_path": str(rows),
        "lr": 4e-3,
        "epochs": 30,
        "batch_size": 8,
    }

    for finding in check(**flags, dpo_beta=0.2):
        print(f"{finding.severity}: {finding.message}  (fix: {finding.fix})")
    print(f"{plan(**flags).steps} steps are planned")
    report = train(Losses(), **flags, output_dir=str(folder / "run"))
    print(f"the model is in {report.output_dir}, its last loss {report.metrics['loss']:.3f}")
    return report.metrics["loss"]


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/python-api")
    target.mkdir(parents=True, exist_ok=True)
    main(target)
