"""Training and evaluation rows apart: a seeded hold-out that never parts identical rows, and what both have in common."""

from __future__ import annotations

import random
from collections import Counter

from autotrain_llm.data.example import Example
from autotrain_llm.data.faults import Faults
from autotrain_llm.data.wording import plural
from autotrain_llm.declare.finding import WARNING

# A share of repeated rows above this is worth a word; real instruction sets often repeat a few in a hundred.
LARGE_SHARE = 0.2
# Two equal rows among five are chance, not a large share.
FEWEST_REPEATED = 5


def wanted_rows(valid_split: str, rows: int) -> int | None:
    """How many of `rows` rows a hold-out of this share or number means; None where it is neither."""
    try:
        value = float(valid_split)
    except ValueError:
        return None
    if value <= 0:
        return 0
    return round(rows * value) or 1 if value < 1 else int(value)


def hold_out(examples: list[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Rows to train on and about `count` rows to evaluate on; rows with the same content stay on one side, in their order."""
    groups: dict[bytes, list[int]] = {}
    for at, example in enumerate(examples):
        groups.setdefault(example.key(), []).append(at)
    shuffled = list(groups.values())
    random.Random(seed).shuffle(shuffled)
    held: set[int] = set()
    for group in shuffled:
        if len(held) + len(group) <= count:
            held.update(group)
        if len(held) >= count:
            break
    train = [example for at, example in enumerate(examples) if at not in held]
    return train, [examples[at] for at in sorted(held)]


def check_duplicates(examples: list[Example], name: str, faults: Faults) -> None:
    """A warning where a large share of the rows repeats an earlier one."""
    seen: Counter[bytes] = Counter()
    repeated: list[Example] = []
    for example in examples:
        key = example.key()
        seen[key] += 1
        if seen[key] > 1:
            repeated.append(example)
    if len(repeated) < max(FEWEST_REPEATED, LARGE_SHARE * len(examples)):
        return
    first = repeated[0]
    message = (
        f"{first.file}, row {first.row}: an exact duplicate of an earlier row; {len(repeated)} of {len(examples)} rows are "
        f"(most often {max(seen.values())} times the same)"
    )
    faults.say(
        "D123",
        message,
        fix=f"deduplicate {name}",
        severity=WARNING,
        file=first.file,
        row=first.row,
        line=first.line,
        parameters=("data_path",),
    )


def check_overlap(train: list[Example], valid: list[Example], flag: str, faults: Faults) -> None:
    """A warning where rows of the evaluation data are trained on."""
    trained = {example.key(): example for example in train}
    shared = [example for example in valid if example.key() in trained]
    if not shared:
        return
    first = shared[0]
    twin = trained[first.key()]
    message = (
        f"{first.file}, row {first.row} ({flag}) is also row {twin.row} of {twin.file}, which is trained on: "
        f"{plural(len(shared), 'row')} of {len(valid)} will look better than they are"
    )
    parameter = flag.removeprefix("--").replace("-", "_")
    faults.say(
        "D122",
        message,
        fix=f"delete the shared rows from {first.file}",
        severity=WARNING,
        file=first.file,
        row=first.row,
        line=first.line,
        parameters=(parameter,),
    )
