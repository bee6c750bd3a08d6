"""PPO end to end: this package against the last PPOTrainer that TRL had, version 1.12, in an environment of its own.

    python benchmarks/ppo.py                       # 9M parameters on the processor, five rounds
    python benchmarks/ppo.py --write               # ... and the table into docs/benchmarks.md
    python benchmarks/ppo.py --size 1m --pairs 1   # a quick look
    python benchmarks/ppo.py --ends                # ... from a policy that was taught to end its answers: to answer with one sentence
    python benchmarks/ppo.py --curve               # what both learn from a trained reward model: 1M parameters, three seeds

TRL dropped PPO after 1.12. The script makes an environment for it (`--rival`, by default in the user's cache) with pip, once, beside the one
that it runs in, and starts TRL's runs there; both have the same torch and transformers.

Each engine runs in a process of its own, in turns, from the same weights, over the same prompts, with the same settings: TRL's defaults for the
temperature, the longest answer, gamma, lambda, the price of divergence, the ranges of clipping and the weight of the value's loss. An update is
everything: the answers are written, scored and learnt from, and as many optimizer steps follow in both. This package is `train(...)` as the command
line calls it, with its metrics: as it comes, a value head on the policy's last layer corrects what the reward model says of the answer so far;
in one row the head is alone, and in one it has a value model of its own, a copy of the policy; of what is learnt, one row shows a value model
that begins as the reward model, as TRL's does. `TRL as it comes` is its public constructor, told the sizes. `TRL at its best` has prompts of like length
together (in shuffled updates, by giving it a loader of its own) and the memory setting that this package makes for itself, which a row of its own is without. TRL scores the tokens
that were sampled, this package reads the answer's text again: tokens are words, so that both score the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import contest
import page
from contest import AS_IT_COMES, BEST, HERE, NATIVE, SEED, WORDS, Clock, Result, Results

DEMO = "alpaca_en_demo.json"
BATCH = {"1m": 64, "9m": 64}
STEPS = {"1m": 4, "9m": 3}
CURVE_STEPS = 24
CURVE_BATCH = 32
CURVE_SEEDS = 3
MADE = 1000
SAMPLES = "samples"
SEPARATE = "autotrain, a value model of its own"
OF_REWARD = "autotrain, the reward model as its value model"
ALONE = "autotrain, a value head alone"
# As it comes, values are the reward model's word, corrected by a head on the policy.
VALUE_MODELS = {NATIVE: None, ALONE: "shared", SEPARATE: "separate", OF_REWARD: "reward"}
LEARNING = (NATIVE, ALONE, OF_REWARD, AS_IT_COMES)
TORCH = "torch==2.13.0"
RIVAL = (TORCH, "trl==1.12.*", "transformers==5.23.*", "datasets", "accelerate")
COMPARED = ("torch", "transformers", "trl")

LONGEST_ANSWER, TEMPERATURE = 53, 0.7
PASSES, MINI_BATCHES = 4, 4
GAMMA, GAE_LAMBDA, KL_COEF, CLIP, VALUE_CLIP, VALUE_WEIGHT = 1.0, 0.95, 0.05, 0.2, 0.2, 0.1
LEARNING_RATE = 3e-6
LEARNING_RATE_OF_CURVE = 1e-3
PAIRS_OF_WORDS = 1600  # that the reward model learns from


def main() -> None:
    options = arguments()
    if options.engine:
        run = run_native if options.engine in VALUE_MODELS else run_trl
        contest.leave(options.work, contest.measured(options, run))
        return
    contest.one_device(options)
    python = rival(options.rival)
    with tempfile.TemporaryDirectory(prefix="benchmark-ppo-") as name:
        work = Path(name)
        prepare(work, options)
        table = (curve if options.curve else compare)(work, options, python)
    sys.stdout.write(table + "\n")
    if options.write:
        kind = "curve" if options.curve else f"{options.size} {options.device}{' ends' if options.ends else ''}"
        page.write(f"ppo {kind}", table)


def arguments() -> argparse.Namespace:
    parser = contest.parser(__doc__ or "", BATCH, STEPS)
    parser.add_argument("--curve", action="store_true", help="train longer, and show what is learnt beside each other")
    parser.add_argument(
        "--ends", action="store_true", help="a policy whose answers end, as a trained one's do, at unequal lengths"
    )
    parser.add_argument("--lr", type=float, help=f"default: {LEARNING_RATE}, with --curve {LEARNING_RATE_OF_CURVE}")
    parser.add_argument("--rival", type=Path, help="folder of TRL's environment, made where it is missing")
    parser.add_argument("--seed", type=int, default=SEED, help=argparse.SUPPRESS)
    parser.set_defaults(size=None, pairs=None, warm_up=1, precision="fp32")
    options = parser.parse_args()
    options.size = options.size or ("1m" if options.curve else "9m")
    options.pairs = options.pairs or (CURVE_SEEDS if options.curve else 5)
    options.batch = options.batch or (CURVE_BATCH if options.curve else BATCH[options.size])
    options.steps = options.steps or (CURVE_STEPS if options.curve else STEPS[options.size])
    options.lr = options.lr or (LEARNING_RATE_OF_CURVE if options.curve else LEARNING_RATE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    options.rival = (options.rival or cache / "autotrain-benchmarks/trl-1.12").resolve()
    if options.batch % MINI_BATCHES:
        parser.error(f"--batch {options.batch}: an update has {MINI_BATCHES} steps, which share its samples evenly")
    return options


# TRL's environment.


def rival(folder: Path) -> Path:
    """The interpreter of an environment that holds TRL's last PPO; it is made, and filled from the package index, where it is missing."""
    python, complete = folder / "bin/python", folder / "complete.json"
    if complete.is_file() and json.loads(complete.read_text(encoding="utf-8")) == list(RIVAL):
        return python
    contest.say(f"making an environment for {', '.join(RIVAL)} in {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, TORCH], check=True)  # by itself first: a processor's build is found before a larger one
    subprocess.run([*install, *RIVAL], check=True)
    complete.write_text(json.dumps(RIVAL), encoding="utf-8")
    return python


# What every engine is given.


def prepare(work: Path, options: argparse.Namespace) -> None:
    """Prompts, a policy with random weights, and a reward model: with random weights too, or for a curve trained to like half of all words."""
    count = options.batch * (options.steps + options.warm_up)
    texts = prompts(options)
    tokenizer = words_of(texts)
    contest.write_model_of(work / "model", tokenizer, options.size)
    contest.write_model_of(work / "reward", tokenizer, options.size, scores=True)
    if options.curve:
        train_reward_model(work, tokenizer, options)
    if options.ends:
        teach_to_end(work, texts, options)
    contest.write_rows(work, [{"prompt": row["prompt"]} for row in contest.drawn(texts, count)])
    rows = contest.prepared_rows(work, flags(work, options, "unused"), count)
    contest.keep(work, prompt=[np.asarray(rows[number][0]) for number in range(count)])


def prompts(options: argparse.Namespace) -> list[dict[str, str]]:
    """Instructions and their answers, which are there for their words, or made ones."""
    real = contest.real_rows(options, DEMO)
    if real is not None:
        rows = [(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in real]
    else:
        random = np.random.default_rng(SEED)
        texts = contest.made_texts(random, random.lognormal(np.log(25), 0.8, 2 * MADE).astype(int) + 2)
        rows = list(zip(texts, texts, strict=True))
    return [{"prompt": prompt, "answer": answer} for prompt, answer in rows if prompt]


def words_of(rows: Sequence[Mapping[str, str]]) -> Any:
    """A tokenizer of the commonest words: any tokens, written as text, are the same tokens when they are read again."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    counted = Counter(word for row in rows for text in row.values() for word in text.split())
    known = [word for word, _ in counted.most_common(WORDS - len(special))]
    known += [f"word{number}" for number in range(WORDS - len(special) - len(known))]
    vocabulary = {word: number for number, word in enumerate([*special, *known])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        padding_side="left",
    )


def train_reward_model(work: Path, tokenizer: Any, options: argparse.Namespace) -> None:
    """Teach the reward model to score a text by how many of its words are of the half that is good: of two, the better one has more."""
    random = np.random.default_rng(SEED)
    words = np.array(sorted(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)))
    good, bad = np.array_split(random.permutation(words), 2)

    def text(share: float) -> str:
        chosen = np.where(
            random.random(LONGEST_ANSWER) < share, *(random.choice(half, LONGEST_ANSWER) for half in (good, bad))
        )
        return " " + " ".join(chosen)

    shares = np.sort(random.random((PAIRS_OF_WORDS, 2)), axis=1)
    contest.write_rows(
        work,
        [{"prompt": str(random.choice(words)), "chosen": text(more), "rejected": text(less)} for less, more in shares],
    )
    from autotrain_llm.api import train

    told = {
        **contest.native_flags(work, options, "taught"),
        "model": str(work / "reward"),
        "trainer": "reward",
        "batch_size": 32,
        "epochs": 3,
        "lr": 3e-3,
        "prompt_text_column": "prompt",
    }
    history = train(**told).history
    contest.say(f"the reward model prefers the better text in {last(history, 'accuracy'):.0%} of its last pairs")
    (work / "reward").rename(work / "untaught")
    (work / "taught").rename(work / "reward")


def teach_to_end(work: Path, texts: Sequence[Mapping[str, str]], options: argparse.Namespace) -> None:
    """Teach the policy to answer with the first sentence of the answers that are there."""
    rows = [{"prompt": row["prompt"], "completion": " " + row["answer"].split(".")[0].strip()} for row in texts]
    contest.write_rows(work, [row for row in rows if row["completion"].strip()])
    from autotrain_llm.api import train

    told = {
        **contest.native_flags(work, options, "taught"),
        "trainer": "sft",
        "batch_size": 32,
        "block_size": 128,
        "epochs": 4,
        "lr": 1e-3,
    }
    train(**told)
    (work / "model").rename(work / "untaught")
    (work / "taught").rename(work / "model")


def last(history: Sequence[Mapping[str, float]], name: str) -> float:
    return next(entry[name] for entry in reversed(history) if name in entry)


def flags(work: Path, options: argparse.Namespace, output: str) -> dict[str, Any]:
    """This package's flags."""
    return {
        **contest.native_flags(work, options, output),
        "trainer": "ppo",
        "seed": options.seed,
        "lr": options.lr,
        "scheduler": "constant",
        "max_grad_norm": 0.0,  # TRL's trainer leaves gradients as they are
        "prompt_text_column": "prompt",
        "batch_size": options.batch // MINI_BATCHES,
        "rl_reward_model_path": str(work / "reward"),
        "rl_max_new_tokens": LONGEST_ANSWER,
        "rl_temperature": TEMPERATURE,
        "rl_chunk_size": options.batch,
        "rl_mini_batch_size": options.batch // MINI_BATCHES,
        "rl_num_ppo_epochs": PASSES,
        "rl_gamma": GAMMA,
        "rl_gae_lambda": GAE_LAMBDA,
        "rl_kl_coef": KL_COEF,
        "rl_clip_range": CLIP,
        "rl_value_clip_range": VALUE_CLIP,
        "rl_value_loss_coef": VALUE_WEIGHT,
        "rl_value_model": VALUE_MODELS.get(options.engine),
    }


# One engine, in a process of its own.


def run_native(options: argparse.Namespace, clock: Clock) -> Result:
    steps = PASSES * MINI_BATCHES
    history = contest.history_of_native(clock, flags(options.work, options, "native"), steps)
    by_update = history[::steps]
    return {
        **counted(options),
        "scores": [entry["reward"] for entry in by_update],
        "divergence": [entry["objective/kl"] for entry in by_update],
        "length": statistics.fmean(entry["completions/mean_length"] for entry in by_update[options.warm_up :]),
        "phases": sum(entry["rollout_seconds"] for entry in by_update[options.warm_up :]),
    }


def run_trl(options: argparse.Namespace, clock: Clock) -> Result:
    sys.path.append(str(HERE.parent / "src"))  # for the memory setting, which needs nothing that is installed
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    settings = contest.trl_arguments(options)
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    dtype = "bfloat16" if options.precision == "bf16" else "float32"
    policy, reference = (AutoModelForCausalLM.from_pretrained(options.work / "model", dtype=dtype) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(options.work / "reward", dtype=dtype) for _ in range(2)
    )
    rows = Dataset.from_list([{"input_ids": row.tolist()} for row in contest.kept(options.work, "prompt")])
    trainer = PPOTrainer(
        args=PPOConfig(**settings | of_trl(options)),
        processing_class=AutoTokenizer.from_pretrained(options.work / "model", padding_side="left"),
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=rows,
    )
    if options.engine == BEST:
        trainer.dataloader = alike(trainer, rows, options)
    history = contest.history_of_trl(clock, trainer, "objective/scores")
    return {
        **counted(options),
        "scores": [entry["objective/scores"] for entry in history],
        "divergence": [entry["objective/kl"] for entry in history],
        "versions": {name: metadata.version(name) for name in COMPARED},
    }


def of_trl(options: argparse.Namespace) -> dict[str, Any]:
    """The same in TRL's words. Its accumulation counts across mini batches, so that only whole ones give as many optimizer steps."""
    return {
        "seed": options.seed,
        "learning_rate": options.lr,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": 1,
        "num_mini_batches": MINI_BATCHES,
        "local_rollout_forward_batch_size": options.batch,
        "num_ppo_epochs": PASSES,
        "num_sample_generations": 0,
        "response_length": LONGEST_ANSWER,
        "temperature": TEMPERATURE,
        "stop_token": "eos",
        "gamma": GAMMA,
        "lam": GAE_LAMBDA,
        "kl_coef": KL_COEF,
        "cliprange": CLIP,
        "cliprange_value": VALUE_CLIP,
        "vf_coef": VALUE_WEIGHT,
    }


def alike(trainer: Any, rows: Any, options: argparse.Namespace) -> Any:
    """A loader whose updates have prompts of like length; those of the warm-up stay where they are."""
    from torch.utils.data import DataLoader

    lengths = [len(row) for row in rows["input_ids"]]
    before = options.warm_up * options.batch
    order = [*range(before), *(before + number for number in contest.grouped(lengths[before:], options.batch))]
    loader = DataLoader(rows.select(order), batch_size=options.batch, collate_fn=trainer.data_collator)
    return trainer.accelerator.prepare(loader)


def counted(options: argparse.Namespace) -> Result:
    return {SAMPLES: options.batch * options.steps}


# All of them, in turns.


def run_alone(work: Path, options: argparse.Namespace, python: Path, engine: str, seed: int = SEED) -> Result:
    told = ("--lr", str(options.lr), "--seed", str(seed), *(("--curve",) if options.curve else ()))
    where = sys.executable if engine in VALUE_MODELS else str(python)
    return contest.run_alone(__file__, work, options, engine, *told, python=where)


def compare(work: Path, options: argparse.Namespace, python: Path) -> str:
    """How fast they are."""
    engines = {name: name for name in (NATIVE, ALONE, SEPARATE, AS_IT_COMES)} | contest.at_its_best(
        BEST, options.device
    )
    results = contest.in_turns(partial(run_alone, work, options, python), engines, options.pairs, SAMPLES)
    lines = [
        f"`python benchmarks/ppo.py`: `{options.size}` for policy and reward model, {options.precision}, {options.batch} samples an update, "
        f"{options.steps} updates after {options.warm_up}, {options.pairs} rounds. {machine(results, options)}. {rows_in_words(work, options)}, "
        f"answers of {'a policy that was taught to end them' if options.ends else 'random weights, of which next to none end'}: at most "
        f"{LONGEST_ANSWER} tokens, {statistics.median(run['length'] for run in results[NATIVE]):.0f} in the mean. {PASSES} passes of "
        f"{MINI_BATCHES} steps.",
        "",
        "| what runs | samples/s | memory | speed of this package, median of the rounds |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        speed, memory = contest.median_speed(runs, SAMPLES), contest.median_memory(runs)
        lines.append(f"| {name} | {speed} | {memory} | {contest.ratio(results, name, SAMPLES)} |")
    share = statistics.median(run["phases"] / run["seconds"] for run in results[NATIVE])
    return "\n".join([*lines, "", f"Writing, scoring and measuring the answers is {share:.0%} of this package's time."])


def curve(work: Path, options: argparse.Namespace, python: Path) -> str:
    """What they learn. Both maximise the score less the price of the divergence."""
    results: Results = {name: [] for name in LEARNING}
    for seed in range(SEED, SEED + options.pairs):
        for name in LEARNING:
            results[name].append(run_alone(work, options, python, name, seed))
            contest.say(f"seed {seed}, {name}: mean score {at_the_end(results[name][-1]['scores']):.2f} at the end")
    scores, divergences = (
        {name: np.mean([run[what] for run in runs], axis=0) for name, runs in results.items()}
        for what in ("scores", "divergence")
    )
    lines = [
        f"`python benchmarks/ppo.py --curve`: `{options.size}`, {options.precision}, learning rate {options.lr:g}, {options.batch} samples an update, means of {options.pairs} seeds. "
        f"{machine(results, options)}. The reward model was trained by this package to prefer texts with more words of one half of the "
        "vocabulary.",
        "",
        *contest.side_by_side("mean score at update", scores),
        "",
        *contest.side_by_side("divergence from the reference, nats an answer", divergences),
        "",
        "| in the last quarter, mean and by seed | score | divergence | score less its price |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        ends = [(at_the_end(run["scores"]), at_the_end(run["divergence"])) for run in runs]
        columns = [[score for score, _ in ends], [apart for _, apart in ends]]
        columns.append([score - KL_COEF * apart for score, apart in ends])
        lines.append(f"| {name} | {' | '.join(map(in_words, columns))} |")
    return "\n".join(lines)


def in_words(values: Sequence[float]) -> str:
    """The mean, and what it is made of."""
    return f"{statistics.fmean(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def at_the_end(values: Sequence[float]) -> float:
    """The mean of the last quarter."""
    return statistics.fmean(values[-(len(values) // 4 or 1) :])


def rows_in_words(work: Path, options: argparse.Namespace) -> str:
    lengths = [len(row) for row in contest.kept(work, "prompt")]
    what = "Made prompts" if options.rows == "made" else f"Prompts of {DEMO}"
    return f"{what} of {min(lengths)} to {max(lengths)} tokens, {statistics.median(lengths):.0f} in the median"


def machine(results: Results, options: argparse.Namespace) -> str:
    """Where all ran, and with what; TRL has its versions to itself."""
    where = results[NATIVE][0]["device"]
    if options.device == "cpu":
        where = f"{contest.processor()}, {os.cpu_count()} cores, {where}"
    theirs = results[AS_IT_COMES][0]["versions"]
    versions = [f"{name} {version}" for name, version in theirs.items()]
    ours = [
        f"{name} {metadata.version(name)}"
        for name in COMPARED
        if name != "trl" and metadata.version(name) != theirs[name]
    ]
    return f"{where}, Python {platform.python_version()}, {', '.join(versions)}{', here ' if ours else ''}{', '.join(ours)}"


if __name__ == "__main__":
    main()
