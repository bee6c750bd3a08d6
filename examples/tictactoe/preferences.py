"""Preference training: a model that imitates experts and beginners alike learns which of its answers are better.

    python preferences.py [--output-dir runs/preferences] [--trainers dpo,orpo,kto,reward] [--quick]

Trains a new model on answers of both kinds, samples its answers to other positions, pairs right answers with wrong ones, and trains on these pairs with
dpo, orpo and kto; reward trains a reward model on generated pairs. At the end one table, before and after, on the test positions, and the share of
test pairs that the reward model ranks correctly. No download and no GPU.
"""

from __future__ import annotations

from stages import FULL, QUICK, Stages, chosen, parser_of

START = "mixed"
OWN_PAIRS = "own_pairs"
TRAINERS = ("dpo", "orpo", "kto", "reward")


def main() -> None:
    parser = parser_of(__doc__, "runs/preferences")
    parser.add_argument("--trainers", default=",".join(TRAINERS), help="trainers to run, separated by commas")
    options = parser.parse_args()
    trainers = chosen(parser, options.trainers, TRAINERS)
    stages = Stages(options.output_dir, QUICK if options.quick else FULL)
    stages.write_data()
    stages.train(START, "sft", f"scratch:{stages.scale.size}", "mixed")
    stages.write_pairs(START, "new_prompts", OWN_PAIRS)
    for trainer in trainers:
        prefer(stages, trainer)
    stages.show({name: stages.model(name) for name in (START, *trainers) if name != "reward"})


def prefer(stages: Stages, trainer: str) -> None:
    """Train the initial model further with one trainer."""
    if trainer == "reward":
        stages.train_scorer(stages.model(START))
    else:
        stages.train(trainer, trainer, stages.model(START), OWN_PAIRS)


if __name__ == "__main__":
    main()
