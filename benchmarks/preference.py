"""Preference training end to end: this package's dpo, orpo, kto and reward against TRL's, with TRL's defaults and at its best, on the same rows.

    python benchmarks/preference.py                            # all four, 9M parameters on the processor, five rounds
    python benchmarks/preference.py --trainer dpo --write      # one of them, and its table into docs/benchmarks.md
    python benchmarks/preference.py --trainer orpo --size 1b --device cuda

Each engine runs in a process of its own, in alternating rounds, for one epoch of the same pairs from the same weights. This package is
`train(...)` as the command line calls it, with its metrics. "TRL as it comes" is DPOTrainer, the experimental ORPOTrainer, KTOTrainer or
RewardTrainer through the public constructor with TRL's defaults except for batch size, learning rate and precision; it gets the same rows in
the same order, so its losses are comparable step by step, and its tokens are checked to be the same. "TRL at its best" has no gradient
checkpointing, rows grouped by length (in shuffled batches, by passing the rows in that order), and on a processor this package's allocator
setting, without which another row of the table runs. For dpo and kto it is the faster of two: the reference model in every step, or precomputed
log-probabilities, whose forward passes for the timed rows count as time. TRL's `padding_free` is not tried: TRL 1.16 warns and pads.

Tokens per second count real tokens after the warm-up, no padding, the prompt's once for each answer. They are the same for all engines, however
often an engine computes them (kto's mismatched answers and the reference's passes add no tokens). A batch of kto counts answers, two to a pair.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import contest
import page
from contest import AS_IT_COMES, GROUPED, LONGEST, NATIVE, SEED, Clock, Result, Results

DEMO = "dpo_en_demo.json"
DPO, ORPO, KTO, REWARD = "dpo", "orpo", "kto", "reward"
TRAINERS = (DPO, ORPO, KTO, REWARD)
BATCH = {"9m": 4, "135m": 2, "0.5b": 8, "1b": 8}
STEPS = {"9m": 6, "135m": 4, "0.5b": 40, "1b": 40}
WARM_UP = 2
MADE = 300
LEARNING_RATES = {DPO: 1e-5, ORPO: 1e-4, KTO: 1e-5, REWARD: 1e-4}
BETA = 0.1  # TRL's default in dpo, kto and, where it is the paper's lambda, orpo
ODDS = "log_odds_ratio"
PRECOMPUTED = "grouped, precomputed reference"
HOW = {
    GROUPED: "rows grouped by length, no checkpointing",
    PRECOMPUTED: "rows grouped by length, no checkpointing, precomputed reference log-probabilities",
}
# The columns of tokens that each of TRL's trainers makes of a row.
COLUMNS = {
    DPO: ("prompt_ids", "chosen_ids", "rejected_ids"),
    ORPO: ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids"),
    KTO: ("prompt_ids", "completion_ids"),
    REWARD: ("chosen_ids", "rejected_ids"),
}
SPEAKERS = {"system": "System", "human": "User", "gpt": "Assistant"}


def main() -> None:
    options = arguments()
    if options.engine:
        contest.leave(options.work, contest.measured(options, run_native if options.engine == NATIVE else run_trl))
        return
    contest.one_device(options)
    for trainer in TRAINERS if options.trainer == "all" else (options.trainer,):
        one = copy.copy(options)
        one.trainer = trainer
        one.batch *= 2 if trainer == KTO else 1
        with tempfile.TemporaryDirectory(prefix=f"benchmark-{trainer}-") as name:
            work = Path(name)
            prepare(work, one)
            table = compare(work, one)
        sys.stdout.write(table + "\n\n")
        if options.write:
            page.write(f"{trainer} {options.size} {options.device}", table)


def arguments() -> argparse.Namespace:
    parser = contest.parser(__doc__ or "", BATCH, STEPS)
    parser.add_argument("--trainer", choices=(*TRAINERS, "all"), default="all")
    parser.set_defaults(warm_up=WARM_UP)
    options = parser.parse_args()
    options.batch = options.batch or BATCH[options.size]
    options.steps = options.steps or STEPS[options.size]
    return options


# Inputs of every engine.


def prepare(work: Path, options: argparse.Namespace) -> None:
    """A data file, a model with random weights and a tokenizer, and prompts and answers as tokens in the order of the steps."""
    items = options.batch * (options.steps + options.warm_up)
    pairs = data_rows(options)
    texts = [text for row in pairs for text in row.values()]
    contest.write_model(work / "model", texts, options.size, scores=options.trainer == REWARD)
    rows = contest.drawn(untruncated(work, pairs), items // 2 if options.trainer == KTO else items)
    contest.write_rows(work, rows)
    prepared = contest.prepared_rows(work, flags(work, options, "unused"), len(rows))
    from autotrain_llm.data.order import ShuffledOrder
    from autotrain_llm.run.algorithms.preference.dataset import UnpairedPreferences
    from autotrain_llm.run.engine.answer_items import Pairs
    from autotrain_llm.run.engine.batches import BatchOrder

    items = (UnpairedPreferences if options.trainer == KTO else Pairs)(prepared)
    order = [index for batch in BatchOrder(ShuffledOrder(len(items), SEED), options.batch) for index in batch]
    prompt_groups = [items.prompt_group(index) for index in order]
    answers = {f"answer {side}": [one.answers[side][0] for one in prompt_groups] for side in range(items.answers_each)}
    contest.keep(
        work, number=[np.array([one]) for one in order], prompt=[one.prompt for one in prompt_groups], **answers
    )


def data_rows(options: argparse.Namespace) -> list[dict[str, str]]:
    """Pairs of texts: conversations, or random words."""
    real = contest.real_rows(options, DEMO)
    if real is not None:
        return [as_texts(row) for row in real]
    random = np.random.default_rng(SEED)
    lengths = random.lognormal(np.log((30, 60, 60)), 0.8, (MADE, 3)).astype(int) + 2
    texts = contest.made_texts(random, lengths.flatten())
    return [{"prompt": f"{prompt}\n", "chosen": next(texts), "rejected": next(texts)} for prompt in texts]


def as_texts(row: dict[str, Any]) -> dict[str, str]:
    """A conversation and its two answers as plain texts, joined where no token spans both."""
    turns = [f"{SPEAKERS[turn['from']]}:\n{turn['value'].strip()}\n\n" for turn in row["conversations"]]
    answers = {side: row[side]["value"].strip() for side in ("chosen", "rejected")}
    return {"prompt": "".join(turns) + "Assistant:\n", **answers}


def untruncated(work: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows that no engine would truncate."""
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(work / "model")
    longest = [
        max(len(encode(row["prompt"] + row[side])["input_ids"]) for side in ("chosen", "rejected")) for row in rows
    ]
    return [row for row, length in zip(rows, longest, strict=True) if length < LONGEST]


def flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    """This package's flags."""
    own: dict[str, dict[str, Any]] = {
        DPO: {"dpo_beta": BETA},
        ORPO: {"orpo_alpha": BETA},
        KTO: {"kto_beta": BETA},
        REWARD: {},
    }
    limits = {} if options.trainer == REWARD else {"max_prompt_length": LONGEST - 1, "max_completion_length": LONGEST}
    return {
        **contest.native_flags(work, options, output),
        "trainer": options.trainer,
        "lr": LEARNING_RATES[options.trainer],
        "prompt_text_column": "prompt",
        "text_column": "chosen",
        "rejected_text_column": "rejected",
        **limits,
        **own[options.trainer],
    }


# One engine, in a process of its own.


def run_native(options: argparse.Namespace, clock: Clock) -> Result:
    history = contest.history_of_native(clock, flags(options.work, options, "native"))
    return {**followed(history), **counted(options, None)}


def run_trl(options: argparse.Namespace, clock: Clock) -> Result:
    settings = contest.trl_arguments(options)
    order = None if options.engine == AS_IT_COMES else contest.grouped(lengths(options.work), options.batch)
    spent: list[float] = []
    if options.engine == PRECOMPUTED:
        settings["precompute_ref_log_probs"] = True
    make, configure = trainer_of_trl(options.trainer, spent)
    trainer = make(
        model=str(options.work / "model"),
        args=configure(**settings, learning_rate=LEARNING_RATES[options.trainer]),
        train_dataset=rows_of_trl(options, order),
    )
    check_tokens(options, trainer.train_dataset, order)
    precompute = spent[options.warm_up :] if options.engine == PRECOMPUTED else []
    history = contest.history_of_trl(clock, trainer)
    return {**followed(history), **counted(options, order), "precompute_seconds": sum(precompute)}


def trainer_of_trl(trainer: str, spent: list[float]) -> tuple[Any, Any]:
    """The trainer and its configuration; the seconds of the reference for each batch are appended to `spent`."""
    if trainer == ORPO:
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, partial(ORPOConfig, beta=BETA)
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer

    if trainer == REWARD:
        return RewardTrainer, RewardConfig
    base = {DPO: DPOTrainer, KTO: KTOTrainer}[trainer]

    class Timed(base):  # type: ignore[valid-type, misc]
        def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            logps = super().compute_ref_log_probs(*args, **kwargs)
            spent.append(time.perf_counter() - began)
            return logps

    return Timed, partial({DPO: DPOConfig, KTO: KTOConfig}[trainer], beta=BETA)


def rows_of_trl(options: argparse.Namespace, order: list[int] | None) -> Any:
    """The rows as TRL takes them (texts, for reward tokens), in the order of the steps or in `order`, which holds indices into it."""
    from datasets import Dataset

    if options.trainer == REWARD:
        return Dataset.from_list([dict(zip(COLUMNS[REWARD], row, strict=True)) for row in tokens(options, order)])
    rows = contest.written_rows(options.work)
    numbers = [int(number[0]) for number in contest.kept(options.work, "number")]
    numbers = numbers if order is None else [numbers[place] for place in order]
    if options.trainer != KTO:
        return Dataset.from_list([rows[number] for number in numbers])
    answers = [(rows[number // 2], number % 2 == 0) for number in numbers]
    return Dataset.from_list(
        [
            {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}
            for row, good in answers
        ]
    )


def tokens(options: argparse.Namespace, order: list[int] | None) -> list[tuple[list[int], ...]]:
    """The expected columns of tokens in TRL: dpo and kto have the prompt apart; orpo and reward have it in front of each answer."""
    prompts, *sides = (part for part in parts(options.work) if part is not None)
    whole = options.trainer in (ORPO, REWARD)
    rows = [
        (prompt.tolist(), *((prompt.tolist() if whole else []) + answer.tolist() for answer in answers))
        for prompt, *answers in zip(prompts, *sides, strict=True)
    ]
    rows = rows if order is None else [rows[place] for place in order]
    return [row[1:] for row in rows] if options.trainer == REWARD else rows


def check_tokens(options: argparse.Namespace, data: Any, order: list[int] | None) -> None:
    """Assert that TRL has made the same tokens."""
    columns = list(zip(*(data[name] for name in COLUMNS[options.trainer]), strict=True))
    assert columns == tokens(options, order), "TRL makes other tokens of these rows"


def followed(history: list[dict[str, float]]) -> Result:
    """The loss of each step, and for orpo its log-odds term."""
    return {name: [entry[name] for entry in history if name in entry] for name in ("loss", ODDS)}


def parts(work: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray] | None]:
    """Prompts, first answers, and where rows are pairs the second ones, in the order of the steps."""
    with np.load(work / "rows.npz") as arrays:
        of_pairs = "answer 1" in arrays
    return (
        contest.kept(work, "prompt"),
        contest.kept(work, "answer 0"),
        contest.kept(work, "answer 1") if of_pairs else None,
    )


def each_length(work: Path) -> np.ndarray:
    """The tokens of each answer with its prompt: (rows, answers of a row)."""
    prompts, *sides = (np.array([len(one) for one in part]) for part in parts(work) if part is not None)
    return np.stack([prompts + answers for answers in sides], axis=1)


def lengths(work: Path) -> list[int]:
    """The length to which a row is padded."""
    return [int(length) for length in each_length(work).max(axis=1)]


def counted(options: argparse.Namespace, order: list[int] | None) -> Result:
    """The real tokens of the timed steps."""
    own = each_length(options.work).sum(axis=1)
    own = own if order is None else own[order]
    return {"tokens": int(own[options.warm_up * options.batch :].sum())}


# All engines, in alternating rounds.


def compare(work: Path, options: argparse.Namespace) -> str:
    """Run all engines and render the table."""
    run = partial(run_alone, work, options)
    best = contest.fastest(run, (GROUPED, PRECOMPUTED) if options.trainer in (DPO, KTO) else (GROUPED,))
    engines = {NATIVE: NATIVE, AS_IT_COMES: AS_IT_COMES, **contest.at_its_best(best, options.device)}
    results = contest.in_turns(run, engines, options.pairs)
    return render(results, best, options, rows_in_words(work, options))


def run_alone(work: Path, options: argparse.Namespace, engine: str) -> Result:
    return contest.run_alone(__file__, work, options, engine, "--trainer", options.trainer)


def rows_in_words(work: Path, options: argparse.Namespace) -> str:
    """The source of the rows, their lengths, and the share of padding."""
    lengths = each_length(work)
    steps = lengths.reshape(len(lengths) // options.batch, -1)
    prompts = sum(len(prompt) for prompt in parts(work)[0]) * lengths.shape[1] / lengths.sum()
    return (
        f"{'Generated pairs' if options.rows == 'made' else f'Pairs of {DEMO}'}: prompt and answer {lengths.min()} to {lengths.max()} tokens, "
        f"{steps.sum(axis=1).mean():,.0f} a step, {prompts:.0%} of them prompts; {contest.padding(steps):.0%} of a padded batch is padding"
    )


def render(results: Results, best: str, options: argparse.Namespace, rows: str) -> str:
    what = "answers" if options.trainer == KTO else "pairs"
    lines = [
        f"**{options.trainer}**, `{options.size}`, {options.precision}, batches of {options.batch} {what}, {options.steps} steps after "
        f"{options.warm_up}, {options.pairs} rounds. {contest.machine(results, options)}. {rows}. "
        f"TRL at its best: {HOW[best]}, with this package's allocator setting, which TRL does not make.",
        "",
        "| engine | tokens/s | memory | speedup of this package, median of the rounds |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        cells = [name, contest.median_speed(runs), contest.median_memory(runs), contest.ratio(results, name)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *losses(results, options.trainer)])


def losses(results: Results, trainer: str) -> list[str]:
    """The losses of the first round side by side, and the largest difference."""
    both = {name: results[name][0]["loss"] for name in (NATIVE, AS_IT_COMES)}
    lines = contest.side_by_side("loss at step", both)
    differ = f"The two differ by {contest.furthest(*both.values()):.1e} at most, over all {len(both[NATIVE])} steps."
    if trainer == ORPO:
        odds = {name: results[name][0][ODDS] for name in both}
        lines += ["", *contest.side_by_side("log-odds term at step", odds)]
        differ = (
            "TRL's experimental trainer computes the NLL over the prompt's tokens too, and over all tokens of a batch together, so it "
            "minimises a different loss. The log-odds ratios differ by "
            f"{abs(odds[NATIVE][0] - odds[AS_IT_COMES][0]):.1e} before the first update."
        )
    return [*lines, "", f"{differ} Grouped rows come in another order, so their losses are not comparable."]


if __name__ == "__main__":
    main()
