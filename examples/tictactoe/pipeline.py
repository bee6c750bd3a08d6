"""Every stage from a new model to reinforcement learning: generic, sft, dpo, reward, ppo, each stage from the output of the one before.

    python pipeline.py [--output-dir runs/pipeline] [--quick]

1. generic: a new model is pretrained on boards and thoughts.
2. sft: on answers of experts and beginners, half and half.
3. dpo: on preference pairs of its own answers to other positions, right ones preferred to wrong ones.
4. reward: a reward model, from the model of stage 3, on generated pairs.
5. ppo: the model of stage 3 samples answers, which the reward model scores.

At the end one table with a row for each stage, on the test positions. No download and no GPU.
"""

from __future__ import annotations

from stages import FULL, QUICK, Stages, parser_of


def main() -> None:
    options = parser_of(__doc__, "runs/pipeline").parse_args()
    stages = Stages(options.output_dir, QUICK if options.quick else FULL)
    stages.write_data()
    stages.train("generic", "generic", f"scratch:{stages.scale.size}", "texts")
    stages.train("sft", "sft", stages.model("generic"), "mixed")
    stages.write_pairs("sft", "new_prompts", "own_pairs")
    stages.train("dpo", "dpo", stages.model("sft"), "own_pairs")
    stages.train_scorer(stages.model("dpo"))
    stages.train("ppo", "ppo", stages.model("dpo"), "prompts", "--rl-reward-model-path", stages.model("reward"))
    stages.show({name: stages.model(name) for name in ("generic", "sft", "dpo", "ppo")})


if __name__ == "__main__":
    main()
