"""Play tic-tac-toe with trained models and measure their play.

    python judge.py --model runs/sft [--model runs/dpo@best …] [--baseline] [--positions data/test_positions.jsonl] [--games 200] [--json]

A table with a row for each model: the shares of legal and of best moves in the test positions, and the results of games against a random player (half
of them as X, half as O; an illegal move loses the game).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from game import EMPTY_BOARD, best_moves, draw, empty_cells, is_over, mover, opponent, play, winner
from generate import read_move, write_prompt

MAX_NEW_TOKENS = 96
COLUMNS = ("player", "legal", "best", "won", "drawn", "lost", "lost %")


class Player(Protocol):
    """Chooses a cell for each board; None for an answer without a move."""

    name: str

    def choose(self, boards: Sequence[str]) -> list[int | None]: ...


class RandomPlayer:
    """Takes a random empty cell."""

    def __init__(self, seed: int, name: str = "random player") -> None:
        self.name = name
        self._source = random.Random(seed)

    def choose(self, boards: Sequence[str]) -> list[int | None]:
        return [self._source.choice(empty_cells(board)) for board in boards]


class ModelPlayer:
    """A trained model with greedy decoding; its answers are generated in batches and cached."""

    def __init__(self, name: str, batch_size: int = 256, chat: bool = False) -> None:
        self.name = name
        self.answers: dict[str, str] = {}
        self._batch_size = batch_size
        self._chat = chat
        self._model, self._tokenizer = load(name)

    def choose(self, boards: Sequence[str]) -> list[int | None]:
        new = list(dict.fromkeys(board for board in boards if board not in self.answers))
        for start in range(0, len(new), self._batch_size):
            batch = new[start : start + self._batch_size]
            self.answers.update(zip(batch, self._generate(batch), strict=True))
        return [read_move(self.answers[board]) for board in boards]

    def sample(self, boards: Sequence[str], count: int, seed: int) -> list[list[str]]:
        """`count` answers to each board, sampled at temperature 1."""
        import torch

        torch.manual_seed(seed)
        repeated = [board for board in boards for _ in range(count)]
        # Boards with the same number of empty cells share batches: their answers are about equally long.
        order = sorted(range(len(repeated)), key=lambda index: (repeated[index].count("."), index))
        answers = [""] * len(repeated)
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            texts = self._generate([repeated[index] for index in batch], sampled=True)
            for index, text in zip(batch, texts, strict=True):
                answers[index] = text
        return [answers[start : start + count] for start in range(0, len(answers), count)]

    def _generate(self, boards: Sequence[str], sampled: bool = False) -> list[str]:
        import torch

        # Padding on the left, so that every answer starts right after its prompt.
        inputs = self._tokenizer(
            [self._write(board) for board in boards],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=not self._chat,
        ).to(self._model.device)
        # The model's own distribution: no top-k, temperature 1.
        sampling = {"do_sample": True, "top_k": 0, "temperature": 1.0} if sampled else {"do_sample": False}
        with torch.inference_mode():
            tokens = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                pad_token_id=self._tokenizer.pad_token_id,
                **sampling,
            )
        return self._tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    def _write(self, board: str) -> str:
        prompt = write_prompt(board)
        if not self._chat:
            return prompt
        turns = [{"role": "user", "content": prompt}]
        return self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def load(name: str):
    """Load a model and its tokenizer from a folder, a run, a checkpoint or an adapter."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from autotrain_llm.models.locate import locate
    from autotrain_llm.models.metadata import read_metadata

    metadata = read_metadata(locate(name))
    model = AutoModelForCausalLM.from_pretrained(metadata.folder)
    if metadata.is_adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, metadata.located.folder)
    tokenizer = AutoTokenizer.from_pretrained(metadata.tokenizer_folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


# --- positions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """The result of a player: shares of legal and best moves, and games won, drawn and lost."""

    player: str
    positions: int
    legal: float
    best: float
    games: int
    won: int
    drawn: int
    lost: int

    @property
    def lost_share(self) -> float:
        return self.lost / self.games if self.games else 0.0


def judge(player: Player, positions: Sequence[str], games: int, seed: int) -> Verdict:
    """Measure a player's moves in the positions, then its games."""
    moves = player.choose(positions)
    legal = sum(is_legal(board, move) for board, move in zip(positions, moves, strict=True))
    best = sum(move in best_moves(board) for board, move in zip(positions, moves, strict=True))
    results = [game.result for game in play_games(player, games, seed)]
    return Verdict(
        player.name,
        len(positions),
        legal / len(positions),
        best / len(positions),
        games,
        results.count("won"),
        results.count("drawn"),
        results.count("lost"),
    )


def rate(board: str, completion: str) -> float:
    """The reward of a completion: 1 for a best move, 0.2 for another legal move, 0 for an illegal move or none."""
    move = read_move(completion)
    if move in best_moves(board):
        return 1.0
    return 0.2 if is_legal(board, move) else 0.0


def is_legal(board: str, move: int | None) -> bool:
    return move is not None and move in empty_cells(board)


# --- games ----------------------------------------------------------------------------------------------------------


@dataclass
class Game:
    """A game of the judged player, who plays `side`; `boards` are its positions so far."""

    side: str
    boards: list[str]
    illegal: bool = False

    @property
    def board(self) -> str:
        return self.boards[-1]

    @property
    def is_over(self) -> bool:
        return self.illegal or is_over(self.board)

    @property
    def result(self) -> str:
        """`won`, `drawn` or `lost`, for the judged player."""
        if self.illegal or winner(self.board) == opponent(self.side):
            return "lost"
        return "won" if winner(self.board) == self.side else "drawn"

    def move(self, cell: int | None, is_judged: bool) -> None:
        if cell is not None and is_legal(self.board, cell):
            self.boards.append(play(self.board, cell))
        elif is_judged:
            self.illegal = True
        else:
            raise ValueError(f"the opponent's move {cell} is illegal on {self.board}")


def play_games(player: Player, count: int, seed: int) -> list[Game]:
    """Games against a random player, all played at the same time; the judged player is X in half of them."""
    rival = RandomPlayer(seed)
    games = [Game("X" if index % 2 == 0 else "O", [EMPTY_BOARD]) for index in range(count)]
    while waiting := [game for game in games if not game.is_over]:
        judged = [game for game in waiting if mover(game.board) == game.side]
        others = [game for game in waiting if mover(game.board) != game.side]
        for game, cell in zip(judged, player.choose([game.board for game in judged]), strict=True):
            game.move(cell, is_judged=True)
        for game, cell in zip(others, rival.choose([game.board for game in others]), strict=True):
            game.move(cell, is_judged=False)
    return games


def draw_game(game: Game) -> str:
    """A game as text, with its boards side by side."""
    rows = zip(*(draw(board).split("\n") for board in game.boards), strict=True)
    ending = " by an illegal move" if game.illegal else ""
    return "\n".join("    ".join(row) for row in rows) + f"\n{game.result}{ending}, playing {game.side}"


# --- the table ------------------------------------------------------------------------------------------------------


def write_table(verdicts: Sequence[Verdict]) -> str:
    rows = [COLUMNS, *(_cells(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(lines)


def _cells(verdict: Verdict) -> tuple[str, ...]:
    counts = (str(verdict.won), str(verdict.drawn), str(verdict.lost))
    return (verdict.player, f"{verdict.legal:.1%}", f"{verdict.best:.1%}", *counts, f"{verdict.lost_share:.1%}")


def read_positions(path: Path) -> list[str]:
    return [json.loads(line)["board"] for line in path.read_text(encoding="utf-8").splitlines()]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="RUN", help="a trained model; can be repeated")
    parser.add_argument("--baseline", action="store_true", help="add a random player to the table")
    parser.add_argument(
        "--positions", type=Path, default=Path("data/test_positions.jsonl"), help="file of test positions"
    )
    parser.add_argument("--games", type=int, default=200, help="games against a random player")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random players")
    parser.add_argument("--batch-size", type=int, default=256, help="boards in a batch")
    parser.add_argument("--chat", action="store_true", help="format prompts with the model's chat template")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    if not options.model and not options.baseline:
        parser.error("nothing to measure: pass --model RUN or --baseline")
    if not options.positions.exists():
        parser.error(f"there is no {options.positions}: run generate.py first, or give --positions")
    return options


def main() -> None:
    options = parse_options()
    players: list[Player] = [RandomPlayer(options.seed + 1)] if options.baseline else []
    players += [ModelPlayer(name, options.batch_size, options.chat) for name in options.model]
    positions = read_positions(options.positions)
    verdicts = [judge(player, positions, options.games, options.seed) for player in players]
    if options.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
        return
    print(f"{len(positions)} test positions, {options.games} games against a random player\n")
    print(write_table(verdicts))
    print(f"\nA game of {players[-1].name}:\n\n{draw_game(play_games(players[-1], 1, options.seed)[0])}")


if __name__ == "__main__":
    main()
