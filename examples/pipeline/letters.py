"""Sorting five letters: the rows of every stage, and the judge of answers.

A task has five of the first twelve letters, such as `d k a f c ->`, and the answer is ` a c d f k`. An expert sorts them. A careless writer copies them as they
are. The test tasks have sets of letters that no training row has, in any order.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LETTERS = "abcdefghijkl"
LENGTH = 5
TEST_SHARE = 0.15
Task = tuple[str, ...]


def tasks(count: int, seed: int = 0) -> tuple[list[Task], list[Task]]:
    """`count` training tasks, and one test task for each set of letters that is held out. The same each time."""
    source = random.Random(seed)
    sets = list(itertools.combinations(LETTERS, LENGTH))
    source.shuffle(sets)
    held_out = round(TEST_SHARE * len(sets))
    train = [_shuffled(source.choice(sets[held_out:]), source) for _ in range(count)]
    return train, [_shuffled(letters, source) for letters in sets[:held_out]]


def _shuffled(letters: Sequence[str], source: random.Random) -> Task:
    """The letters in an order that is not the right one."""
    while True:
        order = tuple(source.sample(letters, len(letters)))
        if list(order) != sorted(order):
            return order


def prompt_of(task: Task) -> str:
    return f"{' '.join(task)} ->"


def answer_of(letters: Sequence[str]) -> str:
    return "".join(f" {letter}" for letter in letters)


def expert(task: Task) -> str:
    return answer_of(sorted(task))


def careless(task: Task) -> str:
    return answer_of(task)


def mistaken(task: Task, mistakes: int, source: random.Random) -> str:
    """An answer with so many mistakes: neighbours that change places, a letter that the task has not or has once only, or one that is missing."""
    letters = sorted(task)
    while mistakes or letters == sorted(task):
        at = source.randrange(len(letters) - 1)
        kind = source.randrange(4)
        if kind == 0:
            letters[at : at + 2] = reversed(letters[at : at + 2])
        elif kind == 1:
            letters[at] = source.choice([letter for letter in LETTERS if letter not in task])
        elif kind == 2:
            letters[at] = source.choice(letters)
        elif len(letters) > 3:
            del letters[at]
        mistakes = max(mistakes - 1, 0)
    return answer_of(letters)


def uses_its_letters(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
    """A reward by rule: minus the letters of each task that its answer lacks, and those that it has too many. Their order is left to the reward model."""
    rewards = []
    for prompt, completion in zip(prompts, completions, strict=True):
        wanted, written = Counter(prompt.split()[:LENGTH]), Counter(completion.split())
        rewards.append(-float(((wanted - written) + (written - wanted)).total()))
    return rewards


class Judgement(NamedTuple):
    """The shares of letters that come after the one before them in the alphabet, of letters in their right places, and of right answers."""

    order: float
    places: float
    right: float

    def __str__(self) -> str:
        return f"{self.order:.1%} | {self.places:.1%} | {self.right:.1%}"


def judge(model: Path, test: Sequence[Task], untrained: bool = False) -> Judgement:
    """The judgement of a model's answers to these tasks: the most likely ones. With `untrained`, of a new model of its shape."""
    answers = answers_by(model, test, untrained)
    places = [right_places(task, answer) for task, answer in zip(test, answers, strict=True)]
    order = [share_in_order(answer) for answer in answers]
    return Judgement(sum(order) / len(test), sum(places) / len(test), places.count(1.0) / len(test))


def share_in_order(answer: str) -> float:
    """The share of five letters that are single letters, the first or after the one before."""
    letters = ["", *answer.split()[:LENGTH]]
    pairs = itertools.pairwise(letters)
    return sum(before < letter for before, letter in pairs if letter in tuple(LETTERS)) / LENGTH


def right_places(task: Task, answer: str) -> float:
    """The share of letters in their right places: 1 for a right answer, 0 for one that is not five letters."""
    letters = answer.split()
    return sum(map(str.__eq__, letters, sorted(task))) / LENGTH if len(letters) == LENGTH else 0.0


def answers_by(folder: Path, test: Sequence[Task], untrained: bool = False) -> list[str]:
    """What a model answers to each task. All prompts have the same number of tokens, so none is padded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    if untrained:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = tokenizer([prompt_of(task) for task in test], return_tensors="pt")
    with torch.inference_mode():
        tokens = model.generate(inputs.input_ids, max_new_tokens=LENGTH + 2, do_sample=False)
    return tokenizer.batch_decode(tokens[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)


# --- rows -----------------------------------------------------------------------------------------------------------


def sorted_texts(count: int | None) -> Iterator[dict[str, str]]:
    """Sorted letters, fewer or more of them than tasks have."""
    lengths = [length for length in range(3, 9) if length != LENGTH]
    texts = [answer_of(part) for length in lengths for part in itertools.combinations(LETTERS, length)]
    random.Random(0).shuffle(texts)
    return ({"text": text} for text in texts[:count])


def answers(tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
    """Each task with the answer of an expert or of a careless writer, in turn."""
    for number, task in enumerate(tasks):
        yield {"prompt": prompt_of(task), "completion": (careless if number % 2 else expert)(task)}


def texts_of_answers(tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
    return ({"text": row["prompt"] + row["completion"]} for row in answers(tasks))


def better_writers(tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
    """The expert's answer preferred to the careless one."""
    return ({"prompt": prompt_of(task), "chosen": expert(task), "rejected": careless(task)} for task in tasks)


def better_answers(tasks: Sequence[Task], seed: int) -> Iterator[dict[str, str]]:
    """The answer with fewer mistakes preferred to the one with more; in two of three pairs it is the right one."""
    source = random.Random(seed)
    for task in tasks:
        fewer = source.choice((0, 0, 1))
        chosen = mistaken(task, fewer, source) if fewer else expert(task)
        rejected = chosen
        while rejected in (chosen, expert(task)):
            rejected = mistaken(task, fewer + source.choice((1, 1, 2)), source)
        yield {"prompt": prompt_of(task), "chosen": chosen, "rejected": rejected}


def prompts(tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
    return ({"prompt": prompt_of(task)} for task in tasks)


def write_rows(path: Path, rows: Iterator[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
