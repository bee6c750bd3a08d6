"""Write the sources of mix.yaml: a little arithmetic as conversations, and facts about letters as prompts with answers.

python make_rows.py && autotrain llm --trainer sft --model scratch:1m --lr 1e-3 --epochs 4 --batch-size 8 --data-config mix.yaml
"""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sums(count: int) -> list[dict[str, Any]]:
    """Conversations about sums; `level` says whether a number has two digits."""
    pairs = [(left, right) for left in range(1, 60) for right in range(1, 10)]
    rows = []
    for left, right in random.Random(1).sample(pairs, count):
        turns = [("user", f"What is {left} + {right}?"), ("assistant", f"{left} + {right} = {left + right}.")]
        messages = [{"role": role, "content": content} for role, content in turns]
        rows.append({"messages": messages, "level": "easy" if left < 10 else "hard"})
    return rows


def letters() -> list[dict[str, Any]]:
    """Which letter follows which."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"Which letter follows {one}?"},
                {"role": "assistant", "content": f"{next_one}."},
            ]
        }
        for one, next_one in pairwise(LETTERS)
    ]


def main(folder: Path) -> None:
    """Write both files into a folder."""
    for name, rows in (("sums", sums(400)), ("letters", letters())):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).parent)
