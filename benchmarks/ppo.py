"""PPO end to end: this package against the last PPOTrainer of TRL, version 1.12, in an environment of its own.

    python benchmarks/ppo.py                       # 9M parameters on the processor, five rounds
    python benchmarks/ppo.py --write               # ... and the table into docs/benchmarks.md
    python benchmarks/ppo.py --size 1m --pairs 1   # a quick look
    python benchmarks/ppo.py --ends                # ... with a policy that was trained to end its answers after one sentence
    python benchmarks/ppo.py --curve               # rewards over training with a trained reward model: 1M parameters, three seeds

TRL removed PPO after 1.12. The script creates a virtual environment for it (`--rival`, by default in the user's cache) with pip, once, and runs
TRL's engines there; both environments have the same torch and transformers.

Each engine runs in a process of its own, in alternating rounds, from the same weights, over the same prompts, with the same settings: TRL's
defaults for temperature, answer length, gamma, lambda, KL coefficient, clip ranges and value loss coefficient. An update includes everything:
answers are sampled and scored, and both take as many optimizer steps on them. This package is `train(...)` as the command line calls it, with its
metrics. By default its values are the reward model's score of the answer so far plus a correction by a value head on the policy's last layer;
other rows have the value head alone, a separate value model (a copy of the policy), and with `--curve` a value model initialised from the reward
model, as TRL's is. "TRL as it comes" is the public constructor with the sizes. "TRL at its best" has prompts grouped by length (in shuffled
updates, by a data loader of its own) and on a processor this package's allocator setting, without which another row of the table runs. TRL scores
the sampled tokens, this package encodes the answer's text again; the tokenizer's tokens are words, so both score the same.
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
GENERATED_PROMPTS = 1000
SAMPLES = "samples"
SEPARATE = "autotrain, a value model of its own"
OF_REWARD = "autotrain, the reward model as its value model"
ALONE = "autotrain, a value head alone"
# By default, values are the reward model's prefix score plus a correction by a value head on the policy.
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
REWARD_PAIRS = 1600  # of random words, that the reward model is trained on


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
    parser.add_argument(
        "--curve", action="store_true", help="train longer, and compare rewards and KL over the updates"
    )
    parser.add_argument(
        "--ends", action="store_true", help="train the policy to end its answers first, so that their lengths differ"
    )
    parser.add_argument("--lr", type=float, help=f"default: {LEARNING_RATE}, with --curve {LEARNING_RATE_OF_CURVE}")
    parser.add_argument("--rival", type=Path, help="folder of TRL's environment, created if it is missing")
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
        parser.error(f"--batch {options.batch}: must be a multiple of {MINI_BATCHES}, the optimizer steps of an update")
    return options


# TRL's environment.


def rival(folder: Path) -> Path:
    """The Python of an environment with TRL's last PPO, which is created and installed if it is missing."""
    python, complete = folder / "bin/python", folder / "complete.json"
    if complete.is_file() and json.loads(complete.read_text(encoding="utf-8")) == list(RIVAL):
        return python
    contest.say(f"creating an environment for {', '.join(RIVAL)} in {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, TORCH], check=True)  # first and alone, so that an installed CPU build index is preferred
    subprocess.run([*install, *RIVAL], check=True)
    complete.write_text(json.dumps(RIVAL), encoding="utf-8")
    return python


# Inputs of every engine.


def prepare(work: Path, options: argparse.Namespace) -> None:
    """Write prompts, a random policy, and a reward model: random too, or with `--curve` trained to prefer one half of the vocabulary."""
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
    contest.keep(work, prompt=[np.asarray(rows[index][0]) for index in range(count)])


def prompts(options: argparse.Namespace) -> list[dict[str, str]]:
    """Instructions with their answers, whose words go into the vocabulary, or random words."""
    real = contest.real_rows(options, DEMO)
    if real is not None:
        rows = [(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in real]
    else:
        random = np.random.default_rng(SEED)
        texts = contest.made_texts(random, random.lognormal(np.log(25), 0.8, 2 * GENERATED_PROMPTS).astype(int) + 2)
        rows = list(zip(texts, texts, strict=True))
    return [{"prompt": prompt, "answer": answer} for prompt, answer in rows if prompt]


def words_of(rows: Sequence[Mapping[str, str]]) -> Any:
    """A tokenizer whose tokens are the most common words, so that decoding and encoding tokens gives the same tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    counted = Counter(word for row in rows for text in row.values() for word in text.split())
    words = [word for word, _ in counted.most_common(WORDS - len(special))]
    words += [f"word{index}" for index in range(WORDS - len(special) - len(words))]
    vocabulary = {word: index for index, word in enumerate([*special, *words])}
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
    """Train the reward model to prefer, of two texts, the one with more words of one half of the vocabulary."""
    random = np.random.default_rng(SEED)
    words = np.array(sorted(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)))
    good, bad = np.array_split(random.permutation(words), 2)

    def text(share: float) -> str:
        chosen = np.where(
            random.random(LONGEST_ANSWER) < share, *(random.choice(half, LONGEST_ANSWER) for half in (good, bad))
        )
        return " " + " ".join(chosen)

    shares = np.sort(random.random((REWARD_PAIRS, 2)), axis=1)
    contest.write_rows(
        work,
        [{"prompt": str(random.choice(words)), "chosen": text(more), "rejected": text(less)} for less, more in shares],
    )
    from autotrain_llm.api import train

    train_flags = {
        **contest.native_flags(work, options, "trained"),
        "model": str(work / "reward"),
        "trainer": "reward",
        "batch_size": 32,
        "epochs": 3,
        "lr": 3e-3,
        "prompt_text_column": "prompt",
    }
    history = train(**train_flags).history
    contest.say(f"the reward model ranks {last(history, 'accuracy'):.0%} of its last pairs correctly")
    (work / "reward").rename(work / "untrained")
    (work / "trained").rename(work / "reward")


def teach_to_end(work: Path, texts: Sequence[Mapping[str, str]], options: argparse.Namespace) -> None:
    """Train the policy to answer with the first sentence of the data's answers."""
    rows = [{"prompt": row["prompt"], "completion": " " + row["answer"].split(".")[0].strip()} for row in texts]
    contest.write_rows(work, [row for row in rows if row["completion"].strip()])
    from autotrain_llm.api import train

    train_flags = {
        **contest.native_flags(work, options, "trained"),
        "trainer": "sft",
        "batch_size": 32,
        "block_size": 128,
        "epochs": 4,
        "lr": 1e-3,
    }
    train(**train_flags)
    (work / "model").rename(work / "untrained")
    (work / "trained").rename(work / "model")


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
        "max_grad_norm": 0.0,  # TRL's trainer does not clip gradients
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
        "kl": [entry["objective/kl"] for entry in by_update],
        "length": statistics.fmean(entry["completions/mean_length"] for entry in by_update[options.warm_up :]),
        "phases": sum(entry["rollout_seconds"] for entry in by_update[options.warm_up :]),
    }


def run_trl(options: argparse.Namespace, clock: Clock) -> Result:
    sys.path.append(
        str(HERE.parent / "src")
    )  # for the allocator setting, which imports nothing that would have to be installed
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
        trainer.dataloader = grouped_loader(trainer, rows, options)
    history = contest.history_of_trl(clock, trainer, "objective/scores")
    return {
        **counted(options),
        "scores": [entry["objective/scores"] for entry in history],
        "kl": [entry["objective/kl"] for entry in history],
        "versions": {name: metadata.version(name) for name in COMPARED},
    }


def of_trl(options: argparse.Namespace) -> dict[str, Any]:
    """The same settings for TRL, with whole mini-batches: its gradient accumulation would count across them."""
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


def grouped_loader(trainer: Any, rows: Any, options: argparse.Namespace) -> Any:
    """A loader with prompts grouped by length in each update after the warm-up."""
    from torch.utils.data import DataLoader

    lengths = [len(row) for row in rows["input_ids"]]
    before = options.warm_up * options.batch
    order = [*range(before), *(before + index for index in contest.grouped(lengths[before:], options.batch))]
    loader = DataLoader(rows.select(order), batch_size=options.batch, collate_fn=trainer.data_collator)
    return trainer.accelerator.prepare(loader)


def counted(options: argparse.Namespace) -> Result:
    return {SAMPLES: options.batch * options.steps}


# All engines, in alternating rounds.


def run_alone(work: Path, options: argparse.Namespace, python: Path, engine: str, seed: int = SEED) -> Result:
    more = ("--lr", str(options.lr), "--seed", str(seed), *(("--curve",) if options.curve else ()))
    interpreter = sys.executable if engine in VALUE_MODELS else str(python)
    return contest.run_alone(__file__, work, options, engine, *more, python=(interpreter,))


def compare(work: Path, options: argparse.Namespace, python: Path) -> str:
    """The table of speeds."""
    engines = {name: name for name in (NATIVE, ALONE, SEPARATE, AS_IT_COMES)} | contest.at_its_best(
        BEST, options.device
    )
    results = contest.in_turns(partial(run_alone, work, options, python), engines, options.pairs, SAMPLES)
    lines = [
        f"`python benchmarks/ppo.py`: `{options.size}` for policy and reward model, {options.precision}, {options.batch} samples an update, "
        f"{options.steps} updates after {options.warm_up}, {options.pairs} rounds. {machine(results, options)}. {rows_in_words(work, options)}, "
        f"answers of {'a policy that was trained to end them' if options.ends else 'a random policy, which hardly ever ends them'}: at most "
        f"{LONGEST_ANSWER} tokens, {statistics.median(run['length'] for run in results[NATIVE]):.0f} on average. {PASSES} epochs of "
        f"{MINI_BATCHES} optimizer steps an update.",
        "",
        "| engine | samples/s | memory | speedup of this package, median of the rounds |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        speed, memory = contest.median_speed(runs, SAMPLES), contest.median_memory(runs)
        lines.append(f"| {name} | {speed} | {memory} | {contest.ratio(results, name, SAMPLES)} |")
    share = statistics.median(run["phases"] / run["seconds"] for run in results[NATIVE])
    return "\n".join([*lines, "", f"Rollouts (sampling and scoring answers) take {share:.0%} of this package's time."])


def curve(work: Path, options: argparse.Namespace, python: Path) -> str:
    """The table of rewards. Both engines maximise score − kl_coef · KL."""
    results: Results = {name: [] for name in LEARNING}
    for seed in range(SEED, SEED + options.pairs):
        for name in LEARNING:
            results[name].append(run_alone(work, options, python, name, seed))
            contest.say(f"seed {seed}, {name}: mean score {at_the_end(results[name][-1]['scores']):.2f} at the end")
    scores, kls = (
        {name: np.mean([run[what] for run in runs], axis=0) for name, runs in results.items()}
        for what in ("scores", "kl")
    )
    lines = [
        f"`python benchmarks/ppo.py --curve`: `{options.size}`, {options.precision}, learning rate {options.lr:g}, {options.batch} samples an update, means of {options.pairs} seeds. "
        f"{machine(results, options)}. The reward model is trained by this package to prefer texts with more words of one half of "
        "the vocabulary.",
        "",
        *contest.side_by_side("mean score at update", scores),
        "",
        *contest.side_by_side("KL to the reference, nats per answer", kls),
        "",
        "| last quarter, mean (each seed) | score | KL | score − kl_coef · KL |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        ends = [(at_the_end(run["scores"]), at_the_end(run["kl"])) for run in runs]
        columns = [[score for score, _ in ends], [kl for _, kl in ends]]
        columns.append([score - KL_COEF * kl for score, kl in ends])
        lines.append(f"| {name} | {' | '.join(map(in_words, columns))} |")
    return "\n".join(lines)


def in_words(values: Sequence[float]) -> str:
    """The mean, and each value."""
    return f"{statistics.fmean(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def at_the_end(values: Sequence[float]) -> float:
    """The mean of the last quarter."""
    return statistics.fmean(values[-(len(values) // 4 or 1) :])


def rows_in_words(work: Path, options: argparse.Namespace) -> str:
    lengths = [len(row) for row in contest.kept(work, "prompt")]
    what = "Generated prompts" if options.rows == "made" else f"Prompts of {DEMO}"
    return f"{what} of {min(lengths)} to {max(lengths)} tokens, median {statistics.median(lengths):.0f}"


def machine(results: Results, options: argparse.Namespace) -> str:
    """The machine and the versions; TRL's environment has its own."""
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
