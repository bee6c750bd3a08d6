"""A model from nothing to reinforcement learning in one go: generic, sft, dpo, reward, ppo, each stage from the last one's output.

    python pipeline.py [--output-dir runs/pipeline] [--quick]

1. generic: a new model reads boards, and what stands on their lines.
2. sft on the answers of strong players and beginners, half and half.
3. dpo on its own attempts at other positions, right ones preferred to wrong ones.
4. reward: from that model one that scores answers, on written pairs.
5. ppo: the model of 3 improves on answers of its own, scored by 4.

At the end one table, a row for each stage, on positions that none of this has seen. No download and no GPU.
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
