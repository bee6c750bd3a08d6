"""A run of two steps with any trainer, on rows that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotrain_llm.api import train
from autotrain_llm.config.registry import TRAINERS
from support.rows import COLOURS, questions, write_rows

SCORE = "def score(prompts, completions, **columns):\n    return [float(len(text) % 2) for text in completions]\n"
ROWS: dict[str, list[dict[str, Any]]] = {
    "documents": [
        {"text": f"The {colour} house is next to the {COLOURS[index]} one."} for index, colour in enumerate(COLOURS)
    ],
    "conversations": questions(8),
    "prompts": [{"prompt": f"Which comes first, {colour} or blue?"} for colour in COLOURS],
}
ROWS["preferences"] = ROWS["scored"] = [
    {"prompt": f"Name a colour like {colour}.", "chosen": f"{colour} it is.", "rejected": "No."} for colour in COLOURS
]
COLUMNS = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
LORA = {"peft": True, "lora_r": 4}


MIXTURE = """sources:
  - {name: one, path: one.jsonl, weight: 0.5}
  - {name: two, path: two.jsonl, weight: 0.5}
total: 8
validation: 1
"""


def write_mixture(name: str, folder: Path, text: str = MIXTURE) -> Path:
    """The rows of a trainer in two sources, of 5 and of 3 rows."""
    rows = ROWS[TRAINERS[name].rows]
    write_rows(folder / "one.jsonl", rows[:5])
    write_rows(folder / "two.jsonl", rows[5:])
    (folder / "mix.yaml").write_text(text)
    return folder / "mix.yaml"


def short_run(
    name: str, model: Path, folder: Path, output: str = "run", mixture: str | None = None, **changes: Any
) -> Any:
    """Two steps of a trainer, with what it needs in `folder`; `changes` are further parameters. With `mixture`, its rows are in two sources.
    Returns the report."""
    trainer, flags = TRAINERS[name], dict[str, Any]()
    if trainer.rows in ("preferences", "scored") and mixture is None:
        flags |= {column: value for column, value in COLUMNS.items() if trainer.reads(column)}
    if trainer.samples:
        (folder / "score.py").write_text(SCORE)
        flags |= {"rl_reward_fn": f"{folder / 'score.py'}:score", "rl_max_new_tokens": 6}
        flags |= {"rl_chunk_size": 4, "rl_mini_batch_size": 4, "rl_num_ppo_epochs": 1}
        flags |= {"rl_num_generations": 2} if trainer.reads("rl_num_generations") else {}
    usual = {"lr": 1e-3, "max_steps": 2, "batch_size": 4, "logging_steps": 1, "mixed_precision": "fp32"}
    if mixture is None:
        rows = {"data_path": str(write_rows(folder / f"{trainer.rows}.jsonl", ROWS[trainer.rows]))}
    else:
        rows = {"data_config": str(write_mixture(name, folder, mixture))}
    return train(
        trainer=name,
        model=str(model),
        output_dir=str(folder / output),
        **{**usual, **flags, **rows, **changes},
    )
