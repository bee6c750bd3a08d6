"""Kill runs of every trainer, sweeps and pipelines of stages at random moments, resume them, and compare them with undisturbed ones.

    python -m fuzz.kills [--cases 20] [--seed 1] [--kind run|sweep|stages]      (with tests/ on the path)

A case is one command that is killed up to five times, by SIGKILL, SIGTERM, SIGINT or SIGHUP, and resumed to its end. It has to end with the weights of an undisturbed
run, a `run.json` that says so, and no file left of the attempts before; after each kill, no run.json may say `running` of a run that could still write. The
exit status is 1 if a case did not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.context.output_dir import KILLED, status_of
from support.fork_server import forked_python
from support.rows import write_rows
from support.short_runs import COLUMNS, ROWS, SCORE
from support.stages import TEXTS, write_pipeline

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SECONDS = 300  # at most, for one command
KILLS = 5
MOST_SIGKILLS = 2  # of one case: a third one in the same trial of a sweep gives the trial up
STEPS = ["--save-strategy", "steps", "--save-steps", "2", "--logging-steps", "1"]
TRAINING = ["--lr", "1e-3", "--max-steps", "8", "--batch-size", "4", "--mixed-precision", "fp32"]
SWEEP = [
    "--use-sweep",
    "--sweep-n-trials",
    "5",
    "--sweep-params",
    '{"lr": [1e-4, 1e-2, "log"], "weight_decay": [0.0, 0.1]}',
]
SEARCHES = (("random", "median"), ("tpe", "halving"), ("tpe", "hyperband"), ("grid", "none"))
WITH_LORA = ("dpo", "sft")


class Command(NamedTuple):
    """A command without its output folder; `kind` is run, sweep or stages."""

    kind: str
    name: str
    words: list[str]


def trainer_command(name: str, lora: bool, folder: Path) -> Command:
    trainer = TRAINERS[name]
    words = [
        "llm",
        "--trainer",
        name,
        "--model",
        str(folder / "base"),
        "--data-path",
        f"{trainer.rows}.jsonl",
        *TRAINING,
        *STEPS,
    ]
    write_rows(folder / f"{trainer.rows}.jsonl", ROWS[trainer.rows])
    if trainer.rows in ("preferences", "scored"):
        for column, value in COLUMNS.items():
            words += [f"--{column.replace('_', '-')}", value] if trainer.reads(column) else []
    if trainer.samples:
        (folder / "score.py").write_text(SCORE)
        words += ["--rl-reward-fn", "score.py:score", "--rl-max-new-tokens", "4", "--rl-chunk-size", "8"]
        words += ["--rl-mini-batch-size", "4", "--rl-num-ppo-epochs", "1"]
        words += ["--rl-num-generations", "2"] if trainer.reads("rl_num_generations") else []
    words += ["--peft", "--lora-r", "4"] if lora else []
    return Command("run", f"{name}{' with LoRA' if lora else ''}", words)


def sweep_command(sampler: str, pruner: str, folder: Path) -> Command:
    words = trainer_command("sft", False, folder).words
    words = [word for word in words if word not in STEPS[:2] and word not in STEPS[2:4]]
    words += [
        "--valid-split",
        "0.25",
        "--eval-strategy",
        "steps",
        "--eval-steps",
        "2",
        *SWEEP,
        "--sweep-sampler",
        sampler,
        "--sweep-pruner",
        pruner,
    ]
    if sampler == "grid":
        words[words.index("--sweep-params") + 1] = '{"lr": [1e-4, 1e-2], "weight_decay": [0.0, 0.1]}'
    return Command("sweep", f"sweep by {sampler}, {pruner}", words)


def stages_command(folder: Path) -> Command:
    shared = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
    stages = [
        {"name": "pretrain", "trainer": "generic", "model": "scratch:100k", "data_path": "text.jsonl", "lr": 1e-3, "block_size": 32},
        {"name": "sft", "trainer": "sft", "model": "${stages.pretrain}", "data_path": "chat.jsonl", "lr": 2e-4},
        {"name": "dpo", "trainer": "dpo", "model": "sft", "data_path": "pairs.jsonl", "lr": 1e-5, "prompt_text_column": "prompt", "rejected_text_column": "rejected"},
    ]  # fmt: skip
    path = write_pipeline(folder, stages, **shared)
    return Command("stages", "stages", ["llm", "--config", str(path)])


def commands(kind: str | None, folder: Path) -> Iterator[list[Callable[[], Command]]]:
    """Makers of the commands of each kind."""
    if kind in (None, "run"):
        runs = [(name, False) for name in sorted(TRAINERS)] + [(name, True) for name in WITH_LORA]
        yield [partial(trainer_command, name, lora, folder) for name, lora in runs]
    if kind in (None, "sweep"):
        yield [partial(sweep_command, sampler, pruner, folder) for sampler, pruner in SEARCHES]
    if kind in (None, "stages"):
        yield [partial(stages_command, folder)]


def command_at(index: int, kinds: Sequence[Sequence[Callable[[], Command]]]) -> Command:
    """The command of a case: one kind after the other, and of each kind one command after the other, so that none is left out by chance."""
    number, kind = divmod(index, len(kinds))
    return kinds[kind][number % len(kinds[kind])]()


class Attempt(NamedTuple):
    """How a command ended: its exit status, and whether it was still running when it was to be killed."""

    status: int
    was_killed: bool


class Case:
    """One command in an output folder of its own."""

    def __init__(self, command: Command, folder: Path, output: Path) -> None:
        self.command, self.folder, self.output = command, folder, output
        self.log = output.with_suffix(".log")
        self.faults: list[str] = []
        self.began = 0.0  # the last attempt

    def run(self, *flags: str, kill: int | None = None, after: float = 0.0) -> Attempt:
        """Run the command, and send it a signal after so many seconds."""
        began, self.began = time.monotonic(), time.time()
        words = [forked_python(), "-m", "autotrain_llm", *self.command.words, "--output-dir", str(self.output), *flags]
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        status = _wait(child, began + after) if kill is not None else None
        was_killed = status is None and kill is not None
        if was_killed and kill is not None:
            child.send_signal(kill)
        if status is None:
            status = _wait(child, time.monotonic() + SECONDS)
        if status is None:
            child.kill()
            cause = signal.Signals(kill).name if kill else "its start"
            self.faults.append(f"it did not end within {SECONDS} seconds of {cause}")
            status = child.wait()
        self._wait_for_stage()
        return Attempt(status, was_killed)

    def report(self, what: str, keep: Path | None) -> None:
        """Say how the case ended, and remove its output folder; one at fault is kept with its log in the folder `keep`."""
        print(f"{self.output.name.replace('-', ' ')}: {self.command.name}: {what}", flush=True)
        if self.faults and keep:
            shutil.copytree(self.output, keep / self.output.name, dirs_exist_ok=True)
            shutil.copy(self.log, keep)
        shutil.rmtree(self.output, ignore_errors=True)

    def _wait_for_stage(self) -> None:
        """A stage whose command was killed saves a checkpoint and ends."""
        deadline = time.monotonic() + SECONDS
        while any(owner_of_lock(path) is not None for path in self.output.rglob(".lock")):
            if time.monotonic() > deadline:
                self.faults.append("a lock is still held by some process")
                return
            time.sleep(0.05)

    def resume(self, **kill: Any) -> Attempt:
        """Go on as a user does: with --resume, from the beginning where there is nothing to resume."""
        attempts: tuple[list[str], ...] = (
            ([],) if self.command.kind == "stages" else (["--resume"], [], ["--overwrite"])
        )
        attempt = Attempt(2, False)
        for flags in attempts:
            attempt = self.run(*flags, **kill)
            if attempt.status != 2 or attempt.was_killed:
                break
        return attempt

    def check_after(self, signum: int, attempt: Attempt) -> None:
        for path in self.output.rglob("run.json"):
            status = status_of(path.parent)
            if path.stat().st_mtime < self.began:
                continue  # of an attempt before
            if status == "running" or (status == KILLED and signum != signal.SIGKILL and self.command.kind != "stages"):
                self.faults.append(f"{path.relative_to(self.output)} says {status} after {signal.Signals(signum).name}")
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in text or "R102" in text or "R101" in text:
            self.faults.append(f"an unforeseen error after {signal.Signals(signum).name}")

    def check_end(self, attempt: Attempt, expected: dict[str, Any]) -> None:
        if attempt.status != 0:
            self.faults.append(f"resumed, it ends with status {attempt.status}")
            return
        result = results_of(self.output)
        self.faults += [f"{name} differs" for name in expected if result.get(name) != expected[name]]
        left = [path for path in self.output.rglob("*") if path.name.startswith(".") or ".damaged" in path.name]
        self.faults += [f"{path.relative_to(self.output)} is left" for path in left]
        for path in self.output.rglob("run.json"):
            status = json.loads(path.read_text())["status"]
            if status != "ok" and path.parent.parent.name != "sweep":
                self.faults.append(f"{path.relative_to(self.output)} says {status} at the end")


def _wait(child: subprocess.Popen[bytes], until: float) -> int | None:
    """The exit status of a process; None if it runs until then."""
    try:
        return child.wait(max(until - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        return None


def results_of(output: Path) -> dict[str, Any]:
    """What must not depend on kills: digests of the weights, and the results of trials."""
    weights = [path for path in output.rglob("*.safetensors") if "checkpoints" not in path.parts]
    results: dict[str, Any] = {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in weights
    }
    if (output / "sweep" / "trials.json").exists():
        compared = ("number", "values", "state", "metric", "intermediate")
        trials = json.loads((output / "sweep" / "trials.json").read_text())["trials"]
        results["trials.json"] = [{name: trial[name] for name in compared} for trial in trials]
    return results


def main() -> int:
    options = _options()
    os.environ |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    tried: Counter[str] = Counter()
    faulty, undisturbed = 0, dict[str, tuple[dict[str, Any], float]]()
    with tempfile.TemporaryDirectory(prefix="autotrain-kills-") as temporary:
        folder = Path(temporary)
        write_rows(folder / "texts.jsonl", TEXTS)
        base = ["llm", "--trainer", "generic", "--model", "scratch:100k", "--data-path", "texts.jsonl", *TRAINING]
        assert Case(Command("run", "base", base), folder, folder / "base").run().status == 0, (
            folder / "base.log"
        ).read_text()
        kinds = list(commands(options.kind, folder))
        for index in range(options.first, options.first + options.cases):
            draw = random.Random(f"{options.seed}/{index}")
            command = command_at(index, kinds)
            if command.name not in undisturbed:
                began, case = time.monotonic(), Case(command, folder, folder / f"undisturbed-{len(undisturbed)}")
                assert case.run().status == 0, case.log.read_text()[-3000:]
                undisturbed[command.name] = results_of(case.output), time.monotonic() - began
            expected, seconds = undisturbed[command.name]
            case = Case(command, folder, folder / f"case-{index}")
            kills, attempt = [], Attempt(2, False)
            for again in range(draw.randrange(2, KILLS + 1)):
                signum, after = draw.choice(SIGNALS), draw.random() * seconds
                if kills.count("SIGKILL") == MOST_SIGKILLS:
                    signum = signal.SIGTERM
                attempt = (case.resume if again else case.run)(kill=signum, after=after)
                if not attempt.was_killed:
                    break
                kills.append(signal.Signals(signum).name)
                case.check_after(signum, attempt)
            tried[command.kind] += len(kills)
            tried[f"cases of {command.kind}"] += 1
            case.check_end(attempt if attempt.status == 0 else case.resume(), expected)
            case.report(
                f"{', '.join(kills) or 'ended before its kill'}: {'; '.join(case.faults) or 'as undisturbed'}",
                options.keep,
            )
            faulty += bool(case.faults)
    print(f"{dict(tried)}: {faulty} cases with faults")
    return 1 if faulty else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the index of the first case")
    parser.add_argument(
        "--seed", default="1", help="the same seed kills at the same moments, as far as moments can be the same"
    )
    parser.add_argument("--kind", choices=("run", "sweep", "stages"))
    parser.add_argument("--keep", type=Path, help="a folder for the output folders of cases with faults")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
