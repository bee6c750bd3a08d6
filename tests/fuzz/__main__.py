"""Attack the checks with damaged and hostile input, for as long as one likes.

    python -m fuzz [--seconds 60] [--seed N] [--target NAME] [--keep DIR]      (with tests/ on the path; `make fuzz` does it)

Each case is a command with `--dry-run` in a child process with limits. It has to be answered: a plan, or findings that somebody foresaw. A
crash, a traceback, an unforeseen error (R101, R102), a secret or a control character on the screen, or more than the time is a fault. Faults
are grouped by what they say; the first case of each is kept. The exit status is 1 if there was any.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from autotrain_llm.declare import bounded
from fuzz.isolated import SECRET, carry_out
from fuzz.targets import TARGETS, Seeds


def main() -> int:
    options = _options()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_TOKEN": SECRET, "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}
    bounded.SECONDS = 3  # so that what is tried in a child process ends within the time of a case
    names = options.target or list(TARGETS)
    kinds: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        seeds = Seeds(Path(temporary))
        _load_what_checks_need(seeds, Path(temporary))
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


def _load_what_checks_need(seeds: Seeds, folder: Path) -> None:
    """Import in this process, once, what each child would import."""
    import jinja2.sandbox  # noqa: F401
    import numpy  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import tokenizers  # noqa: F401
    import yaml  # noqa: F401

    import autotrain_llm.checks.preflight
    import autotrain_llm.data.load.open
    import autotrain_llm.data.tokenize.prepare
    import autotrain_llm.planning.make  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
