"""Tic-tac-toe: the board, its rules, its symmetries, and the value of every move by full search.

A board is a string of nine characters, row by row: `X`, `O`, and `.` for an empty cell. X begins. Cells are 0 to 8 in code, and 1 to 9 in what a
person or a model reads.
"""

from __future__ import annotations

from functools import cache

EMPTY_BOARD = "." * 9
CELLS = range(9)
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
QUARTER_TURN = (6, 3, 0, 7, 4, 1, 8, 5, 2)
MIRROR = (2, 1, 0, 5, 4, 3, 8, 7, 6)
PERFECT = 10


def mover(board: str) -> str:
    """The player to move."""
    return "X" if board.count("X") == board.count("O") else "O"


def opponent(player: str) -> str:
    return "O" if player == "X" else "X"


def empty_cells(board: str) -> list[int]:
    return [cell for cell in CELLS if board[cell] == "."]


def play(board: str, cell: int) -> str:
    """The board after the mover has taken a cell; raises ValueError if it is not empty."""
    if board[cell] != ".":
        raise ValueError(f"cell {cell + 1} of {board} is taken")
    return put(board, cell, mover(board))


def put(board: str, cell: int, player: str) -> str:
    return board[:cell] + player + board[cell + 1 :]


def winner(board: str) -> str | None:
    for first, second, third in LINES:
        if board[first] != "." and board[first] == board[second] == board[third]:
            return board[first]
    return None


def is_over(board: str) -> bool:
    return winner(board) is not None or "." not in board


def winning_cells(board: str, player: str) -> list[int]:
    """The cells that would complete a line for the player."""
    return [cell for cell in empty_cells(board) if winner(put(board, cell, player)) == player]


@cache
def score(board: str) -> int:
    """How the game ends for the mover under best play: above 0 a win, below 0 a loss, 0 a draw.

    A quick win scores higher, and a quick loss lower: the absolute value is 10 minus the moves until the end.
    """
    if winner(board) is not None:
        return -PERFECT
    if "." not in board:
        return 0
    return max(move_scores(board).values())


def move_scores(board: str) -> dict[int, int]:
    """The score of every legal move for the mover, one step nearer to 0 for each move until the end."""
    return {cell: _one_move_later(-score(play(board, cell))) for cell in empty_cells(board)}


def _one_move_later(value: int) -> int:
    return value - (value > 0) + (value < 0)


def best_moves(board: str) -> list[int]:
    """All moves with the highest score: the quickest win, else a draw, else the slowest loss."""
    scores = move_scores(board)
    best = max(scores.values())
    return [cell for cell, value in scores.items() if value == best]


def rotate(board: str, cells: tuple[int, ...]) -> str:
    return "".join(board[cell] for cell in cells)


def symmetric_boards(board: str) -> set[str]:
    """The rotations and reflections of a board: eight, or fewer if it is symmetric."""
    boards = set()
    for _ in range(4):
        board = rotate(board, QUARTER_TURN)
        boards |= {board, rotate(board, MIRROR)}
    return boards


def canonical(board: str) -> str:
    """The representative of a board and all its rotations and reflections."""
    return min(symmetric_boards(board))


def open_positions() -> list[str]:
    """Every reachable position with a move left to make: 4520, in a fixed order."""
    seen: set[str] = set()
    waiting = [EMPTY_BOARD]
    while waiting:
        board = waiting.pop()
        if board in seen or is_over(board):
            continue
        seen.add(board)
        waiting += [play(board, cell) for cell in empty_cells(board)]
    return sorted(seen)


def draw(board: str) -> str:
    """The board as three lines of text."""
    return "\n".join(" ".join(board[row : row + 3]) for row in (0, 3, 6))
