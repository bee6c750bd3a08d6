"""Reinforcement learning: a model that imitates experts and beginners alike improves on answers that it samples itself.

    python reinforce.py [--output-dir runs/reinforcement] [--start RUN] [--scorer RUN] [--runs ppo,ppo-game,grpo-game,spo-game] [--quick]

`ppo` is rewarded by a reward model, `ppo-game`, `grpo-game` and `spo-game` by full search on the move that an answer ends in (rewards.py). All start from the same
model, which is trained first, and so is the reward model, on generated pairs; `--start` and `--scorer` name models that are trained already. At the
end one table, before and after, on the test positions. No download and no GPU.
"""

from __future__ import annotations

from stages import FULL, GAME_REWARD, QUICK, Stages, chosen, parser_of

START = "mixed"
RUNS = ("ppo", "ppo-game", "grpo-game", "spo-game")


def main() -> None:
    parser = parser_of(__doc__, "runs/reinforcement")
    parser.add_argument("--start", metavar="RUN", help="the initial model; by default it is trained first")
    parser.add_argument("--scorer", metavar="RUN", help="the reward model; by default it is trained first")
    parser.add_argument("--runs", default=",".join(RUNS), help="runs to carry out, separated by commas")
    options = parser.parse_args()
    runs = chosen(parser, options.runs, RUNS)
    stages = Stages(options.output_dir, QUICK if options.quick else FULL)
    stages.write_data()
    start = options.start or train_initial_model(stages)
    for run in runs:
        trainer, _, reward_source = run.partition("-")
        if reward_source:
            rewards = GAME_REWARD
        else:
            rewards = ("--rl-reward-model-path", options.scorer or train_scorer(stages, start))
        stages.train(run, trainer, start, "prompts", *rewards)
    stages.show({"start": start, **{run: stages.model(run) for run in runs}})


def train_initial_model(stages: Stages) -> str:
    stages.train(START, "sft", f"scratch:{stages.scale.size}", "mixed")
    return stages.model(START)


def train_scorer(stages: Stages, start: str) -> str:
    stages.train_scorer(start)
    return stages.model("reward")


if __name__ == "__main__":
    main()
