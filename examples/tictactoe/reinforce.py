"""What reinforcement learning brings: a model that imitates strong players and beginners alike improves on answers of its own.

    python reinforce.py [--output-dir runs/reinforcement] [--start RUN] [--scorer RUN] [--runs ppo,ppo-game,grpo-game] [--quick]

`ppo` learns from a reward model's scores, `ppo-game` and `grpo-game` from what full search says of the move that an answer ends in (rewards.py).
All go on from the same model, which is trained first, and so is the reward model, on written pairs; `--start` and `--scorer` name runs that were
trained before. At the end one table, before and after, on positions that none of this has seen. No download and no GPU.
"""

from __future__ import annotations

from stages import BY_THE_GAME, FULL, QUICK, Stages, chosen, parser_of

START = "mixed"
RUNS = ("ppo", "ppo-game", "grpo-game")


def main() -> None:
    parser = parser_of(__doc__, "runs/reinforcement")
    parser.add_argument("--start", metavar="RUN", help="the model to start from; trained first unless given")
    parser.add_argument("--scorer", metavar="RUN", help="the reward model; trained first unless given")
    parser.add_argument("--runs", default=",".join(RUNS), help="which of them, separated by commas")
    options = parser.parse_args()
    runs = chosen(parser, options.runs, RUNS)
    stages = Stages(options.output_dir, QUICK if options.quick else FULL)
    stages.write_data()
    start = options.start or train_imitator(stages)
    for run in runs:
        trainer, _, judged_by = run.partition("-")
        if judged_by:
            rewards = BY_THE_GAME
        else:
            rewards = ("--rl-reward-model-path", options.scorer or train_scorer(stages, start))
        stages.train(run, trainer, start, "prompts", *rewards)
    stages.show({"start": start, **{run: stages.model(run) for run in runs}})


def train_imitator(stages: Stages) -> str:
    stages.train(START, "sft", f"scratch:{stages.scale.size}", "mixed")
    return stages.model(START)


def train_scorer(stages: Stages, start: str) -> str:
    stages.train_scorer(start)
    return stages.model("reward")


if __name__ == "__main__":
    main()
