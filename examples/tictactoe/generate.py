"""Write training data for tic-tac-toe: every position with a short thought and the best move by full search.

    python generate.py --output-dir data [--seed 0] [--test-share 0.15] [--rows N] [--pairs N] [--prompts N]
    python generate.py --output-dir data --thoughts template|llm [--thought-model MODEL]

`sft.jsonl` (prompt, completion) · `pairs.jsonl` (prompt, chosen, rejected) · `prompts.jsonl` (prompt, board) · `test_sft.jsonl`,
`test_pairs.jsonl` and `test_positions.jsonl` of positions that are in no training file, not even rotated or mirrored.
`texts.jsonl` (text) has positions and thoughts without a move. `mixed.jsonl` (prompt, completion) has an expert's and a beginner's answer to 60 %
of the training positions, `new_prompts.jsonl` (prompt, board) the positions that it leaves out and all openings, which `prompts.jsonl` has too.

With `--thoughts`, `tictactoe_sft_METHOD.jsonl` (prompt, completion) and `tictactoe_dpo_METHOD.jsonl` (prompt, chosen, rejected) too: thoughts by the rule
(template), or written by the model of `--thought-model` (llm). The moves are those of full search in both.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from game import LINES, best_moves, canonical, empty_cells, move_scores, mover, open_positions
from thoughts import LLM, TEMPLATE, as_thought, ask, question

# The score of a fork, a move that wins with the move after next.
FORK_SCORE = 7
# The share of training positions in `mixed.jsonl`; preference pairs are made for the others.
MIXED_SHARE = 0.6
# Openings are positions with at least so many empty cells. Every game passes through one, and a model that fails in one loses many games.
FREE_IN_OPENINGS = 7


def main() -> None:
    options = parse_options()
    random_source = random.Random(options.seed)
    train, test = split_positions(random_source, options.test_share)
    folder = options.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    # If all moves of a position are equally good, there is nothing to prefer.
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
    if options.thoughts is not None:
        files |= thought_files(train, options, random.Random(options.seed))
    for name, rows in files.items():
        print(f"{write_rows(folder / name, rows):6d} rows  {folder / name}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("data"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and the samples")
    parser.add_argument(
        "--test-share", type=float, default=0.15, help="share of the positions held out as test positions"
    )
    for name in ("rows", "pairs", "prompts"):
        parser.add_argument(f"--{name}", type=int, help=f"number of {name}; by default one for each training position")
    parser.add_argument("--thoughts", choices=(TEMPLATE, LLM), help="write the files with thoughts of this method too")
    parser.add_argument("--thought-model", metavar="MODEL", help="the model that writes the thoughts of --thoughts llm")
    options = parser.parse_args()
    if options.thoughts == LLM and not options.thought_model:
        parser.error("--thoughts llm needs --thought-model: a folder, a run or a Hub id")
    if options.thought_model and options.thoughts != LLM:
        parser.error("--thought-model is for --thoughts llm")
    return options


# --- which positions ------------------------------------------------------------------------------------------------


def split_positions(random_source: random.Random, test_share: float) -> tuple[list[str], list[str]]:
    """Training and test positions, with all rotations and reflections of a position on the same side."""
    train, test = part_positions(open_positions(), test_share, random_source)
    random_source.shuffle(train)
    return train, test


def part_positions(positions: list[str], share: float, random_source: random.Random) -> tuple[list[str], list[str]]:
    """Split positions into the rest and a share of them, keeping rotations and reflections of a position together, and the order."""
    classes = sorted({canonical(board) for board in positions})
    random_source.shuffle(classes)
    in_share = set(classes[: round(share * len(classes))])
    rest, selected = [], []
    for board in positions:
        (selected if canonical(board) in in_share else rest).append(board)
    return rest, selected


def with_openings(positions: list[str], train: list[str]) -> list[str]:
    """The openings among the training positions, then these positions."""
    openings = [board for board in train if len(empty_cells(board)) >= FREE_IN_OPENINGS]
    return list(dict.fromkeys([*openings, *positions]))


def choose(positions: list[str], count: int | None, random_source: random.Random) -> list[str]:
    """`count` positions: a random sample, or with repetitions where there are fewer."""
    if count is None:
        return positions
    whole, rest = divmod(count, len(positions))
    return positions * whole + random_source.sample(positions, rest)


# --- prompts and completions ----------------------------------------------------------------------------------------


def write_prompt(board: str) -> str:
    """The prompt: the player to move and the board, each cell a word, empty cells as their numbers."""
    cells = cell_words(board)
    rows = "".join(f" {' '.join(cells[row : row + 3])}\n" for row in (0, 3, 6))
    return f"{mover(board)} to move\n{rows}"


def cell_words(board: str) -> list[str]:
    return [str(cell + 1) if mark == "." else mark for cell, mark in enumerate(board)]


def write_completion(board: str) -> str:
    """The thought and the best move."""
    return f"{write_thought(board)}\n move {preferred_move(board) + 1}"


def preferred_move(board: str) -> int:
    """The best move that the thought ends in: the first win or block that it reads, else the first cell with the best outcome."""
    best = best_moves(board)
    in_lines = [cell for cell, _ in line_findings(board) if cell in best]
    return in_lines[0] if in_lines else best[0]


def write_thought(board: str) -> str:
    """Each line with its win or block, up to the first win; if there are none, the outcome of every move."""
    words = cell_words(board)
    parts, has_findings = [], False
    for line in LINES:
        text = "".join(f" {words[cell]}" for cell in line)
        finding = read_line(board, line)
        if finding is None:
            parts.append(text)
            continue
        has_findings = True
        parts.append(f"{text} {finding[1]} {finding[0] + 1}")
        if finding[1] == "win":
            break
    thought = ",".join(parts)
    if has_findings:
        return thought
    outcomes = " ".join(f"{cell + 1} {name_outcome(value)}" for cell, value in move_scores(board).items())
    return f"{thought}\n {outcomes}"


def write_beginner(board: str) -> str:
    """The answer of a beginner, who lists the lines without seeing wins or blocks, and takes the first empty cell."""
    words = cell_words(board)
    lines = ",".join("".join(f" {words[cell]}" for cell in line) for line in LINES)
    return f"{lines}\n move {empty_cells(board)[0] + 1}"


def line_findings(board: str) -> list[tuple[int, str]]:
    """The wins and blocks of all lines, wins first."""
    findings = [finding for line in LINES if (finding := read_line(board, line))]
    return sorted(findings, key=lambda finding: finding[1] != "win")


def read_line(board: str, line: tuple[int, ...]) -> tuple[int, str] | None:
    """The empty cell of a line whose other two cells are one player's, and `win` (for the mover) or `block`."""
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
    """The move at the end of a completion; None without one."""
    words = completion.split()
    if len(words) < 2 or words[-2] != "move" or words[-1] not in "123456789" or len(words[-1]) != 1:
        return None
    return int(words[-1]) - 1


# --- rows -----------------------------------------------------------------------------------------------------------


def sft_rows(positions: Iterable[str]) -> Iterator[dict]:
    for board in positions:
        yield {"prompt": write_prompt(board), "completion": write_completion(board)}


def text_rows(positions: Iterable[str]) -> Iterator[dict]:
    """Positions with thoughts and without moves, for pretraining."""
    for board in positions:
        yield {"text": f"{write_prompt(board)}{write_thought(board)}"}


def mixed_rows(positions: Iterable[str]) -> Iterator[dict]:
    """An expert's and a beginner's answer to each position."""
    for board in positions:
        yield {"prompt": write_prompt(board), "completion": write_completion(board)}
        yield {"prompt": write_prompt(board), "completion": write_beginner(board)}


def pair_rows(positions: Iterable[str], random_source: random.Random) -> Iterator[dict]:
    """The expert's answer preferred to a wrong one: a mistake that is argued for, or in half of the rows where it is wrong, a beginner's answer."""
    for board in positions:
        rejected = write_mistake(board, random_source.choice(worse_moves(board)))
        if empty_cells(board)[0] not in best_moves(board) and random_source.random() < 0.5:
            rejected = write_beginner(board)
        yield {"prompt": write_prompt(board), "chosen": write_completion(board), "rejected": rejected}


def worse_moves(board: str) -> list[int]:
    best = best_moves(board)
    return [cell for cell in empty_cells(board) if cell not in best]


def write_mistake(board: str, cell: int) -> str:
    """A wrong answer that argues for a cell: the right thought with this cell in place of the best move."""
    good = str(preferred_move(board) + 1)
    lines, *outcomes = write_thought(board).split("\n")
    if outcomes:
        words = outcomes[0].split()
        first, second = words.index(good) + 1, words.index(str(cell + 1)) + 1
        words[first], words[second] = words[second], words[first]
        return f"{lines}\n {' '.join(words)}\n move {cell + 1}"
    mistaken = re.sub(rf"(win|block) {good}\b", rf"\1 {cell + 1}", lines)
    return f"{mistaken}\n move {cell + 1}"


def thought_files(train: list[str], options: argparse.Namespace, random_source: random.Random) -> dict[str, list[dict]]:
    """The rows of both files with thoughts of the chosen method, by file name."""
    best = [(board, preferred_move(board)) for board in choose(train, options.rows, random_source)]
    undecided = [board for board in train if worse_moves(board)]
    pairs = [
        (board, preferred_move(board), random_source.choice(worse_moves(board)))
        for board in choose(undecided, options.pairs, random_source)
    ]
    wanted = [*best, *((board, good) for board, good, _ in pairs), *((board, bad) for board, _, bad in pairs)]
    answers = dict.fromkeys(wanted, "")
    if options.thoughts == LLM:
        texts = ask(options.thought_model, [question(board, cell) for board, cell in answers])
        answers = dict(zip(answers, map(as_thought, texts), strict=True))
        written = sum(map(bool, answers.values()))
        print(f"{written:6d} of {len(answers)} thoughts are by {options.thought_model}, the others by the rule")
    sft = [
        {"prompt": write_prompt(board), "completion": answer_for(board, cell, answers[board, cell])}
        for board, cell in best
    ]
    dpo = [
        {
            "prompt": write_prompt(board),
            "chosen": answer_for(board, good, answers[board, good]),
            "rejected": answer_for(board, bad, answers[board, bad]),
        }
        for board, good, bad in pairs
    ]
    return {f"tictactoe_sft_{options.thoughts}.jsonl": sft, f"tictactoe_dpo_{options.thoughts}.jsonl": dpo}


def answer_for(board: str, cell: int, thought: str) -> str:
    """An answer that ends in this cell, with this thought; with the rule's where it is empty."""
    if thought:
        return f" {thought}\n move {cell + 1}"
    return write_completion(board) if cell == preferred_move(board) else write_mistake(board, cell)


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
