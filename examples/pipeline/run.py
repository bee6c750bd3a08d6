"""Pretrain, midtrain, sft, dpo, reward and ppo as the stages of one config: write the rows, train the stages, and measure what each of them gained.

    python examples/pipeline/run.py [--quick]

The rows are tic-tac-toe positions (examples/tictactoe), so that every answer can be judged exactly. Run it from the repository's root. Stopped,
the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TICTACTOE = HERE.parent / "tictactoe"
sys.path.insert(0, str(TICTACTOE))

from judge import ModelPlayer, RandomPlayer, judge, read_positions  # noqa: E402

OUTPUT = Path("runs/pipeline")
DATA = OUTPUT / "data"
GENERATING = ("pretrain", "midtrain", "sft", "dpo", "ppo")
FULL = ("--pairs", "2000", "--prompts", "200")
QUICK = ("--rows", "32", "--pairs", "32", "--prompts", "16", "--test-share", "0.01")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few positions and two steps of each stage, as a test")
    quick = parser.parse_args().quick
    write_rows(QUICK if quick else FULL)
    command = [sys.executable, "-m", "autotrain_llm", "llm", "--config", str(HERE / "pipeline.yaml")]
    status = subprocess.run([*command, *(["--max-steps", "2"] if quick else [])], check=False).returncode
    if status == 0:
        show()
    return status


def write_rows(scale: tuple[str, ...]) -> None:
    """The rows of all stages. They are the same each time, so that finished stages are kept."""
    words = [sys.executable, str(TICTACTOE / "generate.py"), "--output-dir", str(DATA), *scale]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    answers = [json.loads(line) for line in (DATA / "mixed.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({"text": row["prompt"] + row["completion"]}) + "\n" for row in answers]
    (DATA / "moves.jsonl").write_text("".join(lines), encoding="utf-8")


def show() -> None:
    """The moves of every model on the same positions, none of which it was trained on; the reward model on pairs of such positions."""
    positions = read_positions(DATA / "test_positions.jsonl")
    print(
        f"\n{len(positions)} test positions:\n\n| stage | seconds | legal moves | best moves |\n| --- | --- | --- | --- |"
    )
    record = json.loads((OUTPUT / "pipeline.json").read_text(encoding="utf-8"))
    seconds = {stage["name"]: stage["seconds"] for stage in record["stages"]}
    player = judge(RandomPlayer(1), positions, 0, seed=0)
    print(f"| (random moves) | | {player.legal:.1%} | {player.best:.1%} |")
    for stage in GENERATING:
        verdict = judge(ModelPlayer(str(OUTPUT / stage)), positions, 0, seed=0)
        print(f"| {stage} | {seconds[stage]:.0f} | {verdict.legal:.1%} | {verdict.best:.1%} |")
    metrics = json.loads((OUTPUT / "reward" / "run.json").read_text(encoding="utf-8"))["metrics"]
    accuracy = metrics["eval_accuracy"]
    print(f"\nThe reward model ({seconds['reward']:.0f} s) ranks {accuracy:.1%} of the test pairs correctly.")


if __name__ == "__main__":
    sys.exit(main())
