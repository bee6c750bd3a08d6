"""Write training data for tic-tac-toe: every position with a short thought and the best move by full search.

    python generate.py --output-dir data [--seed 0] [--test-share 0.15] [--rows N] [--pairs N] [--prompts N]

`sft.jsonl` (prompt, completion) · `pairs.jsonl` (prompt, chosen, rejected) · `prompts.jsonl` (prompt, board) · `test_sft.jsonl`,
`test_pairs.jsonl` and `test_positions.jsonl` of positions that no training file has, nor any turned or mirrored form of them.
`texts.jsonl` (text) holds positions and what is thought about them, with no move. `mixed.jsonl` (prompt, completion) holds a strong player's
and a beginner's answer to 60 % of the training positions, `new_prompts.jsonl` (prompt, board) the positions that it leaves out, turned and
mirrored ones with them, and all of the first moves, which `prompts.jsonl` has too.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from game import LINES, best_moves, canonical, empty_cells, move_scores, mover, open_positions

# What a move leads to, by its score: a fork wins with the move after next, the others are told by the end of the game.
FORK_SCORE = 7
# Of the training positions, how many `mixed.jsonl` has answers to; preferences are about the others.
MIXED_SHARE = 0.6
# Every game goes through a position with that many cells free, and there are few of these: a model that can't answer one loses many games.
FREE_IN_OPENINGS = 7


def main() -> None:
    options = parse_options()
    random_source = random.Random(options.seed)
    train, test = split_positions(random_source, options.test_share)
    folder = options.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    # Where every move is as good as the next there is nothing to prefer.
    undecided = [board for board in train if worse_moves(board)]
    new, mixed = part_positions(train, MIXED_SHARE, random.Random(options.seed))
    files = {
        "texts.jsonl": text_rows(train[: options.rows]),
        "sft.jsonl": sft_rows(choose(train, options.rows, random_source)),
        "pairs.jsonl": pair_rows(choose(undecided, options.pairs, random_source), random_source),
        "prompts.jsonl": prompt_rows(
            with_openings(choose(train, options.prompts, random_source), train)[: options.prompts]
        ),
        "mixed.jsonl": mixed_rows(mixed[: options.rows]),
        "new_prompts.jsonl": prompt_rows(with_openings(new, train)[: options.rows]),
        "test_sft.jsonl": sft_rows(test),
        "test_pairs.jsonl": pair_rows([board for board in test if worse_moves(board)], random_source),
        "test_positions.jsonl": position_rows(test),
    }
    for name, rows in files.items():
        print(f"{write_rows(folder / name, rows):6d} rows  {folder / name}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("data"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="the same seed writes the same files")
    parser.add_argument("--test-share", type=float, default=0.15, help="share of the positions kept for the test")
    for name in ("rows", "pairs", "prompts"):
        parser.add_argument(f"--{name}", type=int, help=f"how many {name}; every training position unless given")
    return parser.parse_args()


# --- which positions ------------------------------------------------------------------------------------------------


def split_positions(random_source: random.Random, test_share: float) -> tuple[list[str], list[str]]:
    """Train and test positions; no position of one is a turned or mirrored form of one of the other."""
    train, test = part_positions(open_positions(), test_share, random_source)
    random_source.shuffle(train)
    return train, test


def part_positions(positions: list[str], share: float, random_source: random.Random) -> tuple[list[str], list[str]]:
    """The others and that share of them, in their order; turned and mirrored forms of a position stay together."""
    classes = sorted({canonical(board) for board in positions})
    random_source.shuffle(classes)
    taken = set(classes[: round(share * len(classes))])
    others, those = [], []
    for board in positions:
        (those if canonical(board) in taken else others).append(board)
    return others, those


def with_openings(positions: list[str], train: list[str]) -> list[str]:
    """These positions, after all training positions in which a game begins."""
    openings = [board for board in train if len(empty_cells(board)) >= FREE_IN_OPENINGS]
    return list(dict.fromkeys([*openings, *positions]))


def choose(positions: list[str], count: int | None, random_source: random.Random) -> list[str]:
    """That many positions: a random part of them, or each more than once where there are fewer."""
    if count is None:
        return positions
    whole, rest = divmod(count, len(positions))
    return positions * whole + random_source.sample(positions, rest)


# --- what is said about a position ----------------------------------------------------------------------------------


def write_prompt(board: str) -> str:
    """The question: whose turn it is and the board, each cell a word of its own, the empty ones with their numbers."""
    cells = cell_words(board)
    rows = "".join(f" {' '.join(cells[row : row + 3])}\n" for row in (0, 3, 6))
    return f"{mover(board)} to move\n{rows}"


def cell_words(board: str) -> list[str]:
    return [str(cell + 1) if mark == "." else mark for cell, mark in enumerate(board)]


def write_completion(board: str) -> str:
    """The thought and the best move."""
    return f"{write_thought(board)}\n move {preferred_move(board) + 1}"


def preferred_move(board: str) -> int:
    """The best move that the thought ends in: the first win or block it comes across, else the first cell with the best outcome."""
    best = best_moves(board)
    found = [cell for cell, _ in line_findings(board) if cell in best]
    return found[0] if found else best[0]


def write_thought(board: str) -> str:
    """Line by line what a line asks for, up to the first win; and where no line asks for anything, what every move leads to."""
    words = cell_words(board)
    parts, asked = [], False
    for line in LINES:
        text = "".join(f" {words[cell]}" for cell in line)
        asks = read_line(board, line)
        if asks is None:
            parts.append(text)
            continue
        asked = True
        parts.append(f"{text} {asks[1]} {asks[0] + 1}")
        if asks[1] == "win":
            break
    thought = ",".join(parts)
    if asked:
        return thought
    outcomes = " ".join(f"{cell + 1} {name_outcome(value)}" for cell, value in move_scores(board).items())
    return f"{thought}\n {outcomes}"


def write_beginner(board: str) -> str:
    """The answer of a beginner, who reads the lines as the thought does, sees nothing in them, and takes the first empty cell."""
    words = cell_words(board)
    lines = ",".join("".join(f" {words[cell]}" for cell in line) for line in LINES)
    return f"{lines}\n move {empty_cells(board)[0] + 1}"


def line_findings(board: str) -> list[tuple[int, str]]:
    """What the lines ask for, wins before blocks."""
    asks = [found for line in LINES if (found := read_line(board, line))]
    return sorted(asks, key=lambda found: found[1] != "win")


def read_line(board: str, line: tuple[int, ...]) -> tuple[int, str] | None:
    """The empty cell of a line whose other two are one player's, and whether it is a `win` for the mover or a `block`."""
    marks = [board[cell] for cell in line]
    if marks.count(".") != 1 or len(set(marks)) != 2:
        return None
    empty = line[marks.index(".")]
    return empty, "win" if mover(board) in marks else "block"


def name_outcome(value: int) -> str:
    if value == FORK_SCORE:
        return "fork"
    return "draw" if value == 0 else ("win" if value > 0 else "loss")


def read_move(completion: str) -> int | None:
    """The cell that a completion ends in, whatever was thought before; None where it names none."""
    words = completion.split()
    if len(words) < 2 or words[-2] != "move" or words[-1] not in "123456789" or len(words[-1]) != 1:
        return None
    return int(words[-1]) - 1


# --- rows -----------------------------------------------------------------------------------------------------------


def sft_rows(positions: Iterable[str]) -> Iterator[dict]:
    for board in positions:
        yield {"prompt": write_prompt(board), "completion": write_completion(board)}


def text_rows(positions: Iterable[str]) -> Iterator[dict]:
    """What there is to read about the game before anybody is asked for a move."""
    for board in positions:
        yield {"text": f"{write_prompt(board)}{write_thought(board)}"}


def mixed_rows(positions: Iterable[str]) -> Iterator[dict]:
    """What is found where people of all kinds have written: as many answers of beginners as of strong players."""
    for board in positions:
        yield {"prompt": write_prompt(board), "completion": write_completion(board)}
        yield {"prompt": write_prompt(board), "completion": write_beginner(board)}


def pair_rows(positions: Iterable[str], random_source: random.Random) -> Iterator[dict]:
    """The right thought and move preferred to a wrong answer: a strong player's mistake, or as often a beginner's answer, where that is wrong."""
    for board in positions:
        rejected = write_mistake(board, random_source.choice(worse_moves(board)))
        if empty_cells(board)[0] not in best_moves(board) and random_source.random() < 0.5:
            rejected = write_beginner(board)
        yield {"prompt": write_prompt(board), "chosen": write_completion(board), "rejected": rejected}


def worse_moves(board: str) -> list[int]:
    best = best_moves(board)
    return [cell for cell in empty_cells(board) if cell not in best]


def write_mistake(board: str, cell: int) -> str:
    """The thought of someone who takes that cell: what the right thought says of the best move is said of this one."""
    good = str(preferred_move(board) + 1)
    lines, *outcomes = write_thought(board).split("\n")
    if outcomes:
        words = outcomes[0].split()
        first, second = words.index(good) + 1, words.index(str(cell + 1)) + 1
        words[first], words[second] = words[second], words[first]
        return f"{lines}\n {' '.join(words)}\n move {cell + 1}"
    mistaken = re.sub(rf"(win|block) {good}\b", rf"\1 {cell + 1}", lines)
    return f"{mistaken}\n move {cell + 1}"


def prompt_rows(positions: Iterable[str]) -> Iterator[dict]:
    for board in positions:
        yield {"prompt": write_prompt(board), "board": board}


def position_rows(positions: Iterable[str]) -> Iterator[dict]:
    for board in positions:
        yield {"board": board, "best": [cell + 1 for cell in best_moves(board)]}


def write_rows(path: Path, rows: Iterable[dict]) -> int:
    lines = [json.dumps(row) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


if __name__ == "__main__":
    main()
