"""The tic-tac-toe example: the game's rules, the generator's rows, and the judge with players whose play is known."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from autotrain_llm.cli.main import main
from support.fork_server import forked_python
from support.paths import PROJECT

EXAMPLE = PROJECT / "examples" / "tictactoe"


@pytest.fixture(scope="module", autouse=True)
def example_on_the_path():
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generate_into(folder)
    return folder


def generate_into(folder, *options):
    command = [sys.executable, str(EXAMPLE / "generate.py"), "--output-dir", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def board_of(prompt):
    """The board read back from a prompt, by the words a model sees."""
    words = prompt.split()[3:]
    return "".join(word if word in "XO" else "." for word in words)


# --- the game -------------------------------------------------------------------------------------------------------


def test_there_are_as_many_positions_as_there_are():
    from game import canonical, open_positions

    assert len(open_positions()) == 4520
    assert len({canonical(board) for board in open_positions()}) == 627


def test_best_play_from_the_start_is_a_draw_and_a_corner_must_be_answered_in_the_centre():
    from game import EMPTY_BOARD, best_moves, score

    assert score(EMPTY_BOARD) == 0
    assert best_moves("X........") == [4]


def test_a_win_is_taken_at_once_and_a_loss_put_off():
    from game import best_moves, move_scores

    assert best_moves("XX.OO....") == [2]
    assert best_moves("XX.O.....") == [2]
    assert max(move_scores("XX.OO....").values()) == 9


def test_search_agrees_with_a_plain_count_of_outcomes():
    from game import empty_cells, mover, open_positions, play, score, winner

    known = {}

    def outcome(board):
        if board not in known:
            if winner(board):
                known[board] = -1
            elif "." not in board:
                known[board] = 0
            else:
                known[board] = max(-outcome(play(board, cell)) for cell in empty_cells(board))
        return known[board]

    for board in open_positions():
        value = score(board)
        assert (value > 0) - (value < 0) == outcome(board), (board, mover(board))


def test_turned_and_mirrored_boards_have_one_name():
    from game import canonical, symmetric_boards

    assert len(symmetric_boards("XO.......")) == 8
    assert len(symmetric_boards("....X....")) == 1
    assert {canonical(board) for board in symmetric_boards("XO.......")} == {canonical("XO.......")}


def test_a_taken_cell_cannot_be_played():
    from game import play

    with pytest.raises(ValueError, match="cell 1"):
        play("X........", 0)


# --- the generator --------------------------------------------------------------------------------------------------


def test_no_test_position_is_a_training_position_turned_or_mirrored(data):
    from game import canonical

    test = {canonical(row["board"]) for row in rows_of(data / "test_positions.jsonl")}
    assert 0.14 < len(test) / 627 < 0.16
    for name in ("sft.jsonl", "pairs.jsonl", "prompts.jsonl", "mixed.jsonl", "new_prompts.jsonl"):
        assert not test & {canonical(board_of(row["prompt"])) for row in rows_of(data / name)}, name
    texts = ["".join(row["text"].splitlines(keepends=True)[:4]) for row in rows_of(data / "texts.jsonl")]
    assert not test & {canonical(board_of(text)) for text in texts}


def test_a_text_to_read_thinks_as_a_strong_player_does_and_names_no_move(data):
    answers = {row["prompt"] + row["completion"].rpartition("\n")[0] for row in rows_of(data / "sft.jsonl")}
    texts = {row["text"] for row in rows_of(data / "texts.jsonl")}
    assert texts == answers
    assert not any(line.startswith(" move ") for text in texts for line in text.splitlines())


def test_every_position_is_in_training_or_test(data):
    from game import open_positions

    boards = {board_of(row["prompt"]) for name in ("sft", "test_sft") for row in rows_of(data / f"{name}.jsonl")}
    assert boards == set(open_positions())


def test_every_row_ends_in_a_best_move(data):
    from game import best_moves
    from generate import read_move

    for row in rows_of(data / "sft.jsonl"):
        assert read_move(row["completion"]) in best_moves(board_of(row["prompt"])), row


def test_every_pair_prefers_a_best_move_to_a_legal_worse_one(data):
    from game import best_moves, empty_cells
    from generate import read_move

    rows = rows_of(data / "pairs.jsonl")
    assert len(rows) > 2500
    for row in rows:
        board = board_of(row["prompt"])
        good, bad = read_move(row["chosen"]), read_move(row["rejected"])
        assert good in best_moves(board)
        assert bad in empty_cells(board)
        assert bad not in best_moves(board)


def test_mixed_rows_hold_a_strong_and_a_beginners_answer_and_none_of_the_new_prompts_but_openings(data):
    from game import best_moves, canonical
    from generate import FREE_IN_OPENINGS, read_move

    rows, new = rows_of(data / "mixed.jsonl"), rows_of(data / "new_prompts.jsonl")
    boards = [board_of(row["prompt"]) for row in rows]
    assert boards[::2] == boards[1::2]
    both = {canonical(board) for board in boards} & {canonical(row["board"]) for row in new}
    assert all(board.count(".") >= FREE_IN_OPENINGS for board in both)
    every = {board_of(row["prompt"]) for row in rows_of(data / "sft.jsonl")}
    assert {*boards} | {row["board"] for row in new} == every
    assert {board for board in every if board.count(".") >= FREE_IN_OPENINGS} <= {row["board"] for row in new}
    assert len(new) == len({row["board"] for row in new})
    strong = [read_move(row["completion"]) in best_moves(board) for row, board in zip(rows, boards, strict=True)][::2]
    assert all(strong)


def test_a_beginner_takes_the_first_empty_cell_and_sees_no_line():
    from generate import write_beginner

    text = write_beginner("XX.OO....")
    assert text.endswith("\n move 3")
    assert "win" not in text
    assert write_beginner(".OOXX....").endswith("\n move 1")


def test_a_mistake_is_argued_for_as_the_right_move_is(data):
    """What the rejected thought says of its move must not be told from the chosen one by its form, unless it is a beginner's."""
    from game import open_positions
    from generate import write_beginner

    beginners = {write_beginner(board) for board in open_positions()}
    rows = rows_of(data / "pairs.jsonl")
    mistakes = [row for row in rows if row["rejected"] not in beginners]
    assert 0.5 < len(mistakes) / len(rows) < 0.9
    for row in mistakes:
        assert row["chosen"] != row["rejected"]
        assert len(row["chosen"].split()) == len(row["rejected"].split())
        assert row["chosen"].rpartition(" move ")[0] != row["rejected"].rpartition(" move ")[0], row


def test_what_a_thought_says_of_a_line_is_true(data):
    from game import LINES, mover, opponent
    from generate import write_thought

    for row in rows_of(data / "test_positions.jsonl"):
        board = row["board"]
        lines = write_thought(board).split("\n")[0].split(",")
        for text, line in zip(lines, LINES, strict=False):
            marks = [board[cell] for cell in line]
            words = text.split()
            assert [word if word in "XO" else "." for word in words[:3]] == marks
            for kind, player in (("win", mover(board)), ("block", opponent(mover(board)))):
                is_open = sorted(marks) == sorted([".", player, player])
                assert (words[3:4] == [kind]) == is_open, (board, text)
                assert not is_open or board[int(words[4]) - 1] == "."
        assert len(lines) == 8 or " win " in lines[-1]


def test_what_a_thought_says_of_a_move_is_true(data):
    from game import mover, play, score, winning_cells
    from generate import write_thought

    seen = set()
    for row in rows_of(data / "test_positions.jsonl"):
        board = row["board"]
        words = "".join(write_thought(board).split("\n")[1:]).split()
        for cell, outcome in zip(words[::2], words[1::2], strict=True):
            after = play(board, int(cell) - 1)
            assert (score(after) < 0) == (outcome in ("fork", "win")), (board, cell)
            assert (score(after) > 0) == (outcome == "loss")
            assert (len(winning_cells(after, mover(board))) > 1) == (outcome == "fork")
            seen.add(outcome)
    assert seen == {"fork", "win", "draw", "loss"}


def test_the_same_seed_writes_the_same_files_and_another_does_not(data, tmp_path):
    generate_into(tmp_path / "same")
    generate_into(tmp_path / "other", "--seed", "1")
    for path in data.iterdir():
        assert (tmp_path / "same" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "other" / "sft.jsonl").read_bytes() != (data / "sft.jsonl").read_bytes()


def test_sizes_are_what_the_flags_say(tmp_path):
    generate_into(tmp_path, "--rows", "5000", "--pairs", "10", "--prompts", "7", "--test-share", "0.5")
    counts = {path.name: len(rows_of(path)) for path in tmp_path.iterdir()}
    assert (counts["sft.jsonl"], counts["prompts.jsonl"]) == (5000, 7)
    assert counts["pairs.jsonl"] == 10
    assert 1900 < counts["test_positions.jsonl"] < 2700


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        (" 1 2 3 block 3\n move 3", 2),
        ("move 9", 8),
        ("move 10", None),
        ("move", None),
        ("", None),
        ("move X", None),
        ("4", None),
    ],
)
def test_a_move_is_read_from_the_end_of_an_answer(text, cell):
    from generate import read_move

    assert read_move(text) == cell


@pytest.mark.quick
def test_thoughts_by_the_rule_make_files_for_sft_and_dpo(tmp_path):
    from game import best_moves
    from generate import read_move

    generate_into(tmp_path, "--thoughts", "template", "--rows", "20", "--pairs", "20")
    rows, pairs = (rows_of(tmp_path / f"tictactoe_{kind}_template.jsonl") for kind in ("sft", "dpo"))
    assert len(rows) == len(pairs) == 20
    for row in rows:
        assert read_move(row["completion"]) in best_moves(board_of(row["prompt"]))
    for row in pairs:
        best = best_moves(board_of(row["prompt"]))
        assert read_move(row["chosen"]) in best
        assert read_move(row["rejected"]) not in best


def test_thoughts_of_a_model_stand_before_the_moves_of_full_search(tmp_path, monkeypatch):
    """A model that was trained here to answer every such question with the same sentence."""
    from game import best_moves, open_positions
    from generate import preferred_move, read_move
    from thoughts import question

    said = "it wins or it keeps the game open"
    lines = [
        json.dumps({"prompt": question(board, preferred_move(board)), "completion": said})
        for board in open_positions()[::40]
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines) + "\n")
    model = tmp_path / "explains"
    flags = f"--trainer sft --model scratch:300k --data-path {tmp_path / 'questions.jsonl'} --lr 5e-3 --epochs 6 --batch-size 16"
    assert main(["llm", *flags.split(), "--output-dir", str(model), "--save-strategy", "no", "--quiet"]) == 0
    monkeypatch.setattr(sys, "executable", forked_python())
    generate_into(tmp_path, "--thoughts", "llm", "--thought-model", str(model), "--rows", "8", "--pairs", "8")
    rows, pairs = (rows_of(tmp_path / f"tictactoe_{kind}_llm.jsonl") for kind in ("sft", "dpo"))
    assert len(rows) == len(pairs) == 8
    answers = [row["completion"] for row in rows] + [row["chosen"] for row in pairs]
    assert sum(said in answer for answer in answers) > len(answers) / 2
    assert any(said in row["rejected"] for row in pairs)
    for row in rows:
        assert read_move(row["completion"]) in best_moves(board_of(row["prompt"]))
    for row in pairs:
        assert read_move(row["chosen"]) in best_moves(board_of(row["prompt"]))
        assert read_move(row["rejected"]) not in best_moves(board_of(row["prompt"]))


@pytest.mark.parametrize("words", [["--thoughts", "llm"], ["--thoughts", "template", "--thought-model", "x"]])
def test_a_model_for_thoughts_is_named_where_it_is_asked(tmp_path, words):
    command = [sys.executable, str(EXAMPLE / "generate.py"), "--output-dir", str(tmp_path), *words]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--thought-model" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_names_a_move_is_no_thought():
    from thoughts import as_thought

    assert as_thought("  It blocks\nthe row. ") == "It blocks the row."
    assert as_thought("so it is move 5") == as_thought("  ") == ""
    assert len(as_thought("word " * 200).split()) == 60


# --- the judge ------------------------------------------------------------------------------------------------------


class Scripted:
    """A player that answers with a function of the board."""

    def __init__(self, answer, name="scripted"):
        self.answer, self.name = answer, name

    def choose(self, boards):
        return [self.answer(board) for board in boards]


def judged(answer, games=200):
    from game import open_positions
    from judge import judge

    return judge(Scripted(answer), open_positions()[::10], games, seed=0)


def test_a_perfect_player_never_loses_and_a_mute_one_never_moves():
    from game import best_moves

    perfect = judged(lambda board: best_moves(board)[0])
    assert (perfect.legal, perfect.best, perfect.lost) == (1.0, 1.0, 0)
    assert perfect.won > 150
    mute = judged(lambda board: None)
    assert (mute.legal, mute.best, mute.lost) == (0.0, 0.0, 200)


def test_an_illegal_move_loses_the_game_and_counts_as_no_move():
    verdict = judged(lambda board: 0)
    assert 0 < verdict.legal < 1
    assert verdict.best <= verdict.legal
    assert verdict.won + verdict.drawn + verdict.lost == 200


def test_a_random_player_is_worse_than_a_perfect_one():
    from game import open_positions
    from judge import RandomPlayer, judge

    verdict = judge(RandomPlayer(1), open_positions(), 200, seed=0)
    assert verdict.legal == 1.0
    assert 0.3 < verdict.best < 0.6
    assert 40 < verdict.lost < 120


def test_the_player_judged_has_each_side_in_half_of_the_games():
    from judge import RandomPlayer, play_games

    games = play_games(RandomPlayer(5), 10, seed=0)
    assert [game.side for game in games].count("X") == 5
    assert all(game.is_over for game in games)


def test_a_game_is_drawn_board_by_board():
    from judge import Game, draw_game

    text = draw_game(Game("X", [".........", "X........", "XO......."], illegal=True))
    assert text.splitlines()[0] == ". . .    X . .    X O ."
    assert text.endswith("lost by an illegal move, playing X")


def test_the_table_names_every_player():
    from judge import Verdict, write_table

    table = write_table([Verdict("a", 10, 1.0, 0.5, 200, 150, 45, 5), Verdict("longer", 10, 0.0, 0.0, 0, 0, 0, 0)])
    head, first, second = table.splitlines()
    assert head.split() == ["player", "legal", "best", "won", "drawn", "lost", "lost", "%"]
    assert first.split() == ["a", "100.0%", "50.0%", "150", "45", "5", "2.5%"]
    assert second.startswith("longer")


def test_a_model_is_asked_in_batches_and_answers_as_it_does_one_by_one(data, tmp_path):
    """Prompts of unequal length are filled up on the left, which must not change an answer."""
    from demo import build_untrained
    from judge import ModelPlayer

    build_untrained(data / "sft.jsonl", tmp_path, "300k")
    boards = ["XO.......", "....X....", "XOXOX....", "X.OX....."]
    together, alone = ModelPlayer(str(tmp_path)), ModelPlayer(str(tmp_path), batch_size=1)
    together._write = alone._write = lambda board: " X" * board.count("X") + " 1\n" if board[0] == "X" else f"{board}\n"
    together.choose(boards)
    alone.choose(boards)
    assert together.answers == alone.answers


def test_the_judge_prints_json_for_scripts(data):
    positions = str(data / "test_positions.jsonl")
    command = [
        sys.executable,
        str(EXAMPLE / "judge.py"),
        "--baseline",
        "--json",
        "--games",
        "20",
        "--positions",
        positions,
    ]
    (verdict,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert verdict["player"] == "random player"
    assert verdict["positions"] == len(rows_of(data / "test_positions.jsonl"))
    assert verdict["won"] + verdict["drawn"] + verdict["lost"] == 20


@pytest.mark.parametrize(
    ("answer", "worth"),
    [(" thought\n move 3", 1.0), ("move 6", 0.2), ("move 1", 0.0), ("move", 0.0), ("", 0.0)],
)
def test_an_answer_is_worth_what_its_move_is_worth(answer, worth):
    from judge import rate

    assert rate("XX.OO....", answer) == worth


# --- preferences ----------------------------------------------------------------------------------------------------


def test_a_right_attempt_is_preferred_to_a_wrong_one_of_the_same_position():
    from attempts import own_pairs
    from generate import write_completion

    board = "XX.OO...."
    mixed = [" move 3", " move 9", " move 9", " move 7"]
    rows = list(own_pairs([(board, mixed)], most=5))
    assert [(row["chosen"], row["rejected"]) for row in rows] == [(" move 3", " move 9"), (" move 3", " move 7")]
    assert len(list(own_pairs([(board, mixed)], most=1))) == 1
    assert list(own_pairs([(board, [" move 3"])], most=5)) == []
    (row,) = own_pairs([(board, ["nonsense"])], most=5)
    assert row["chosen"] == write_completion(board)


def test_attempts_are_drawn_and_the_same_seed_draws_the_same(data, tmp_path):
    from demo import build_untrained
    from judge import ModelPlayer

    build_untrained(data / "sft.jsonl", tmp_path, "100k")
    boards = ["XO.......", "XOXOX....", "....X...."]
    first, again, other = (ModelPlayer(str(tmp_path), batch_size=4).sample(boards, 2, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert [len(texts) for texts in first] == [2, 2, 2]
    assert len({text for texts in first for text in texts}) > 3


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs the commands of an example here, not each in a process that imports everything anew; gives the commands that were run."""
    import demo

    ran = []

    def run(words):
        ran.append(words)
        if words[0] == "-m":
            assert main(words[2:]) == 0
            return
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(words[0], run_name="__main__")

    monkeypatch.setattr(demo, "run", run)
    return ran


def run_example(name, monkeypatch, folder, *flags):
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--output-dir", str(folder), *flags])
    runpy.run_path(str(EXAMPLE / name), run_name="__main__")


def players_in(shown):
    return [line.split()[0] for line in shown.splitlines() if line.endswith("%")]


def flags_of(words):
    """The flags of a training, which ends in one without a value."""
    return dict(zip(words[3:-1:2], words[4:-1:2], strict=True))


def trainings(ran):
    return [flags_of(words) for words in ran if words[0] == "-m"]


def test_every_stage_of_the_preference_example_runs(in_this_process, monkeypatch, tmp_path, capsys):
    run_example("preferences.py", monkeypatch, tmp_path, "--trainers", "kto")
    assert players_in(capsys.readouterr().out)[-2:] == ["mixed", "kto"]


def test_reinforcement_goes_on_from_one_model_by_the_game_and_by_a_reward_model(
    in_this_process, monkeypatch, tmp_path, capsys
):
    run_example("reinforce.py", monkeypatch, tmp_path, "--runs", "ppo,grpo-game")
    shown = capsys.readouterr().out
    assert players_in(shown)[-3:] == ["start", "ppo", "grpo-game"]
    assert "of the test pairs correctly" in shown
    *_, by_model, by_game = trainings(in_this_process)
    assert by_model["--model"] == by_game["--model"] == f"{tmp_path / 'mixed'}@best"
    assert by_model["--rl-reward-model-path"] == f"{tmp_path / 'reward'}@best"
    assert by_game["--rl-reward-fn"].endswith("rewards.py:best_move")


def test_the_pipeline_trains_each_stage_from_the_last_ones_output(in_this_process, monkeypatch, tmp_path, capsys):
    run_example("pipeline.py", monkeypatch, tmp_path)
    trained = trainings(in_this_process)
    assert [flags["--trainer"] for flags in trained] == ["generic", "sft", "dpo", "reward", "ppo"]
    models = [flags["--model"] for flags in trained]
    assert models == ["scratch:100k", *(f"{tmp_path / name}@best" for name in ("generic", "sft", "dpo", "dpo"))]
    assert trained[-1]["--rl-reward-model-path"] == f"{tmp_path / 'reward'}@best"
    shown = capsys.readouterr().out
    assert players_in(shown)[-4:] == ["generic", "sft", "dpo", "ppo"]
    assert "The reward model ranks " in shown


@pytest.mark.parametrize("trainer", ["dpo", "orpo", "kto"])
def test_each_preference_trainer_goes_on_from_the_imitator(trainer):
    from preferences import prefer
    from stages import FULL, Stages

    stages = Stages(Path("runs"), FULL)
    flags = []
    stages.train = lambda *words: flags.append(flags_of(stages.command(*words)))
    prefer(stages, trainer)
    (given,) = flags
    assert (given["--trainer"], given["--model"]) == (trainer, "runs/mixed@best")
    assert given["--data-path"] == "runs/data/own_pairs.jsonl"


def test_the_reward_model_learns_from_written_pairs_and_is_tried_on_unseen_ones():
    from stages import FULL, Stages

    stages = Stages(Path("runs"), FULL)
    flags = []
    stages.train = lambda *words: flags.append(flags_of(stages.command(*words)))
    stages.train_scorer("runs/mixed@best")
    (given,) = flags
    assert given["--data-path"] == "runs/data/pairs.jsonl"
    assert given["--eval-dataset-path"] == "runs/data/test_pairs.jsonl"


def test_the_game_scores_each_answer_by_its_own_board():
    from rewards import best_move

    scores = best_move(completions=[" move 3", " move 3", " move 1"], board=["XX.OO....", ".........", "XX.OO...."])
    assert scores == [1.0, 1.0, 0.0]


def test_a_name_that_is_unknown_ends_the_example_with_those_there_are(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_example("reinforce.py", monkeypatch, tmp_path, "--runs", "dpo")
    assert "dpo: there are ppo, ppo-game, grpo-game" in capsys.readouterr().err


def test_the_demo_trains_on_the_rows_it_generates_and_where_it_says():
    from demo import training_command

    words = training_command(Path("data.jsonl"), Path("out"), "2m", "3")
    given = dict(zip(words[3::2], words[4::2], strict=False))
    assert words[:3] == ["-m", "autotrain_llm", "llm"]
    assert (given["--model"], given["--data-path"], given["--epochs"]) == ("scratch:2m", "data.jsonl", "3")
    assert given["--output-dir"] == "out"
