"""Attack the checks with damaged and hostile input, for as long as one likes.

    python -m fuzz [--seconds 60] [--seed N] [--target NAME] [--keep DIR]      (with tests/ on the path; `make fuzz` does it)

Each case is a command with `--dry-run` in a child process with limits. It has to be answered: a plan, or findings that somebody foresaw. A
crash, a traceback, an unforeseen error (R101, R102), a secret or a control character on the screen, or more than the time is a fault. Faults
are grouped by what they say; the first case of each is kept. The exit status is 1 if there was any.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from autotrain_llm.cli.main import main as main_of_package
from autotrain_llm.declare import bounded
from fuzz.isolated import SECRET, carry_out
from fuzz.targets import TARGETS, Seeds
from support.rows import questions, write_rows

PROGRESS = 500  # cases, after which it says how far it is


def main() -> int:
    options = _options()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_TOKEN": SECRET, "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would be missing in each fork
    bounded.SECONDS = 3  # so that what is tried in a child process ends within the time of a case
    names = options.target or list(TARGETS)
    kinds: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        seeds = Seeds(Path(temporary))
        _check_without_damage(seeds, Path(temporary))
        end, index = time.monotonic() + options.seconds, options.first
        while time.monotonic() < end and (options.cases is None or index < options.first + options.cases):
            name = names[index % len(names)]
            folder = Path(temporary) / "case"
            folder.mkdir()
            words = TARGETS[name](seeds, random.Random(f"{options.seed}/{name}/{index}"), folder)
            fault = carry_out(words, folder).fault()
            cases[name] += 1
            if fault is not None:
                kind = f"{name}: {re.sub(r'[0-9]+', 'N', fault)[:160]}"
                kinds[kind] += 1
                if kinds[kind] == 1:
                    print(
                        f"case {index} of seed {options.seed}, {name}: {fault}\n    autotrain {shlex.join(words)}",
                        flush=True,
                    )
                    if options.keep:
                        shutil.copytree(folder, options.keep / f"{name}-{options.seed}-{index}", dirs_exist_ok=True)
            shutil.rmtree(folder)
            index += 1
            if cases.total() % PROGRESS == 0:
                print(f"{cases.total()} cases, {kinds.total()} faults", file=sys.stderr, flush=True)
    print(
        f"{sum(cases.values())} cases ({', '.join(f'{count} {name}' for name, count in cases.items())}), {kinds.total()} faults of {len(kinds)} kinds"
    )
    for kind, count in kinds.most_common():
        print(f"{count:5}  {kind}")
    return 1 if kinds else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    parser.add_argument(
        "--seed", default=str(int(time.time())), help="the same seed makes the same cases (default: the time)"
    )
    parser.add_argument("--first", type=int, default=0, help="the index of the first case")
    parser.add_argument("--cases", type=int, help="at most so many cases")
    parser.add_argument(
        "--target", action="append", choices=list(TARGETS), help="what is attacked (default: everything)"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the first case of each kind of fault")
    return parser.parse_args()


def _check_without_damage(seeds: Seeds, folder: Path) -> None:
    """Carry out a case without damage in this process: what it imports and compiles, no child has to."""
    rows = write_rows(folder / "rows.jsonl", questions(4))
    words = seeds.base("--data-path", str(rows), "--trainer", "sft", "--valid-split", "0.5")
    with redirect_stdout(io.StringIO()) as document, redirect_stderr(io.StringIO()):
        status = main_of_package(words)
    assert status == 0, document.getvalue()
    tasks = list(Path("/proc/self/task").glob("*"))
    assert len(tasks) <= 1, "a process with threads can't be forked"
    gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
