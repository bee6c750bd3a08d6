"""SFT against DPO on the same preference pairs, from the same model: sft learns from the chosen answers alone, dpo from both.

    python compare.py [--output-dir runs/sft_vs_dpo] [--quick]

The pairs are the tic-tac-toe positions of ../tictactoe, each with a right and a wrong answer. The model before has learnt experts' and beginners'
answers alike. `sft.yaml` and `dpo.yaml` have the settings side by side. At the end one table on test positions. No download and no GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tictactoe"))

import demo  # noqa: E402
from stages import FULL, QUICK, Stages, parser_of  # noqa: E402

BEFORE = "before"


def main() -> None:
    options = parser_of(__doc__, "runs/sft_vs_dpo").parse_args()
    stages = Stages(options.output_dir, QUICK if options.quick else FULL)
    stages.write_data()
    stages.train(BEFORE, "sft", f"scratch:{stages.scale.size}", "mixed")
    for name in ("sft", "dpo"):
        demo.run(command(stages, name))
    stages.show({name: stages.model(name) for name in (BEFORE, "sft", "dpo")})


def command(stages: Stages, name: str) -> list[str]:
    """The words that train the model further on the pairs with the config of this name."""
    words = ["-m", "autotrain_llm", "llm", "--config", str(HERE / f"{name}.yaml"), "--model", stages.model(BEFORE)]
    return [
        *words,
        "--data-path",
        str(stages.data / "pairs.jsonl"),
        "--output-dir",
        str(stages.folder / name),
        "--overwrite",
    ]


if __name__ == "__main__":
    main()
