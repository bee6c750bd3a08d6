"""`autotrain chat`: what it says is what --inference answers, and everything that is typed has an answer."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotrain_llm.checks.chat import check_chat_arguments
from autotrain_llm.cli.chat import Dialogue
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenize.prompt_format import FILE
from autotrain_llm.run.generation.chat import Reply
from support.fork_server import forked_python
from support.models import TEMPLATE, build_llama
from support.terminal import in_terminal

SHORT = ["--max-new-tokens", "8"]


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights whose rows were conversations with a system prompt."""
    folder = build_llama(tmp_path_factory.mktemp("models") / "chatty", TEMPLATE)
    (folder / FILE).write_text('{"rows": "chat", "template": "tokenizer", "system": "Be short."}')
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights whose rows were plain text."""
    folder = build_llama(tmp_path_factory.mktemp("models") / "texts", TEMPLATE)
    (folder / FILE).write_text('{"rows": "text"}')
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`autotrain chat MODEL` with these lines on standard input: its status and what it writes to both streams."""

    def talk(model: Path, lines: str, *flags: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        status = main(["chat", str(model), *SHORT, *flags])
        return status, *capsys.readouterr()

    return talk


def inferred(model: Path, prompts: Path | str, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    capsys.readouterr()
    command = ["llm", "--inference", "--model", str(model), "--prompts", str(prompts), *SHORT, *flags]
    assert main([*command, "--format", "json"]) == 0
    return [answer["text"].strip() for answer in json.loads(capsys.readouterr().out)["answers"]]


# ---- the answers


@pytest.mark.parametrize("flags", [[], ["--temperature", "1", "--seed", "5", "--top-p", "0.9"]])
def test_a_line_of_standard_input_is_answered_as_inference_answers_it(chatty, say, capsys, flags):
    status, out, err = say(chatty, "red or blue?\n", *flags)
    assert (status, err) == (0, "")
    assert out == inferred(chatty, "red or blue?", capsys, *flags)[0] + "\n"


def test_earlier_turns_stand_before_a_message(chatty, here, say, capsys):
    """A sampled answer follows from the prompt's ids: the same answer is one to the same conversation."""
    sampled = ["--temperature", "1", "--seed", "3"]
    _, out, _ = say(chatty, "red or blue?\nand green?\n/save\n", *sampled)
    turns = json.loads((here / "chat.jsonl").read_text())["messages"]
    roles = [turn["role"] for turn in turns]
    assert roles == ["system", "user", "assistant", "user", "assistant"] and turns[0]["content"] == "Be short."
    assert out == f"{turns[2]['content']}\n{turns[4]['content']}\n"
    (here / "asked.jsonl").write_text(json.dumps({"messages": turns[:4]}) + "\n")
    assert inferred(chatty, here / "asked.jsonl", capsys, *sampled) == [turns[4]["content"]]
    assert inferred(chatty, "and green?", capsys, *sampled) != [turns[4]["content"]]


def test_a_model_of_plain_text_continues_each_line_by_itself(texts, here, say, capsys):
    sampled = ["--temperature", "1", "--seed", "3"]
    _, out, _ = say(texts, "red\nblue\n/save mine.jsonl\n", *sampled)
    one, other = (inferred(texts, name, capsys, *sampled)[0] for name in ("red", "blue"))
    assert out == f"{one}\n{other}\n" and one != other
    assert json.loads((here / "mine.jsonl").read_text()) == {"prompt": "blue", "completion": other}


def test_a_saved_conversation_is_a_row_to_train_on_and_is_appended(chatty, here, say):
    (here / "mine.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}'
    )
    say(chatty, "red?\n/save mine.jsonl\n/reset\nblue?\n/save mine.jsonl\n")
    dataset = open_data(DataRequest(path=str(here / "mine.jsonl"), rows="conversations", trainer="sft"))
    asked = [next(turn["content"] for turn in row.messages if turn["role"] == "user") for row in dataset.train]
    assert asked == ["Hi", "red?", "blue?"]


# ---- commands


def test_another_answer_takes_the_place_of_the_last(chatty, here, say):
    _, out, _ = say(chatty, "red?\n/retry\n/save\n", "--temperature", "2", "--seed", "1")
    saved = [turn["content"] for turn in json.loads((here / "chat.jsonl").read_text())["messages"]]
    assert len(saved) == 3 and out.endswith(saved[-1] + "\n") and not out.startswith(saved[-1])


def test_a_new_conversation_knows_nothing_of_the_old(chatty, say):
    _, out, _ = say(chatty, "red?\n/reset\nred?\n")
    half = out[: len(out) // 2]
    assert out == half + half


def test_another_system_prompt_begins_a_new_conversation(chatty, here, say):
    _, out, err = say(chatty, "red?\n/system Be long.\nred?\n/system\n/save\n")
    turns = json.loads((here / "chat.jsonl").read_text())["messages"]
    assert turns[0] == {"role": "system", "content": "Be long."} and len(turns) == 3
    assert "Be long." in err
    assert say(chatty, "red?\n", "--system", "Be long.")[1] == turns[2]["content"] + "\n"
    assert out != 2 * (turns[2]["content"] + "\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("/sav\n", "there is no command /sav; did you mean /save?"),
        ("/save\n", "nothing has been said yet"),
        ("/retry\n", "nothing has been said yet"),
        ("red?\n/save nowhere/mine.jsonl\n", "nowhere/mine.jsonl can't be written: No such file or directory"),
    ],
)
def test_what_can_not_be_done_is_a_message_and_the_status(chatty, here, say, lines, message):
    status, _, err = say(chatty, lines)
    assert status == 2 and f"Error: {message}" in err


def test_a_message_may_begin_with_a_slash_after_a_space(chatty, say, capsys):
    assert say(chatty, " /etc?\n")[1] == inferred(chatty, "/etc?", capsys)[0] + "\n"


def test_a_history_that_fills_the_context_is_a_message_and_not_the_end(chatty, here, say):
    lines = "".join(f"{'red and blue ' * 12}{n}\n" for n in range(9))
    status, _, err = say(chatty, lines + "/reset\nred?\n/save\n")
    assert status == 2 and "leaves no room for an answer in the context of 256" in err
    assert "/reset begins a new conversation" in err
    assert len(json.loads((here / "chat.jsonl").read_text())["messages"]) == 3


def test_ctrl_c_ends_the_answer_and_keeps_what_was_said(chatty, here, monkeypatch, say):
    from autotrain_llm.run.generation.completion_text import StreamedText

    add = StreamedText.add

    def stopped(self: Any, token: int) -> None:
        add(self, token)
        if len(self.ids) == 4 and not (here / "stopped").exists():
            (here / "stopped").touch()
            raise KeyboardInterrupt

    monkeypatch.setattr(StreamedText, "add", stopped)
    status, out, _ = say(chatty, "red?\n/save\n/retry\n")
    answer = json.loads((here / "chat.jsonl").read_text())["messages"][2]["content"]
    first, second = out.split("\n", 1)
    assert status == 0 and first == answer and second.startswith(answer) and len(second) > len(answer) + 1


# ---- two models


def test_two_models_answer_side_by_side_each_in_its_own_form(chatty, texts, say, capsys):
    _, out, _ = say(chatty, "red?\n", "--against", str(texts))
    one, other = inferred(chatty, "red?", capsys)[0], inferred(texts, "red?", capsys)[0]
    assert out == f"{chatty}:\n{one}\n{texts}:\n{other}\n"


@pytest.fixture(scope="module")
def adapter(chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the model of conversations with weights that change its answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "adapter"
    base = AutoModelForCausalLM.from_pretrained(chatty)
    torch.manual_seed(0)
    model = get_peft_model(
        base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(chatty).save_pretrained(folder)
    shutil.copy(chatty / FILE, folder)
    return folder


def test_the_base_of_an_adapter_is_loaded_once_and_answers_as_alone(adapter, chatty, say, monkeypatch, capsys):
    from autotrain_llm.run.generation import chat

    loaded, from_located = [], chat.from_located
    monkeypatch.setattr(chat, "from_located", lambda *args: loaded.append(args) or from_located(*args))
    _, out, _ = say(adapter, "red?\n", "--against", "base")
    one, other = inferred(adapter, "red?", capsys)[0], inferred(chatty, "red?", capsys)[0]
    assert out == f"{adapter}:\n{one}\n{chatty}:\n{other}\n" and one != other and len(loaded) == 1


def test_the_starting_model_of_a_run_is_in_its_record(chatty, here, capsys):
    shutil.copytree(chatty, here / "run")
    (here / "run" / "run.json").write_text(json.dumps({"plan": {"model": {"kind": "folder", "name": str(chatty)}}}))
    command = ["--inference", "--model", "run", "--against", "base"]
    checked = check_chat_arguments(read(command))
    assert checked.findings == () and checked.context.models.secondary("against", str(chatty)) is not None
    (here / "run" / "run.json").write_text(json.dumps({"plan": {"model": {"kind": "scratch", "name": "scratch:1m"}}}))
    assert [finding.code for finding in check_chat_arguments(read(command)).findings] == ["P209"]


# ---- the command


def test_the_model_may_stand_anywhere_and_a_second_word_is_stray(chatty):
    for words in ([str(chatty), "--seed", "1"], ["--seed", "1", str(chatty)], ["--model", str(chatty), "--seed", "1"]):
        assert read(["--inference=true", *words], positional="model").values["model"] == str(chatty)
    for words in (["--offline", str(chatty)], ["--offline", "true", str(chatty)], ["--no-offline", str(chatty)]):
        read_words = read(["--inference=true", *words], positional="model")
        assert read_words.values["model"] == str(chatty) and read_words.values["offline"] is (words[0] == "--offline")
    arguments = read(["--inference=true", "one", "two"], positional="model")
    assert arguments.values["model"] == "one" and [finding.code for finding in arguments.findings] == ["P121"]


def test_answers_are_one_document_as_json(chatty, say):
    status, out, _ = say(chatty, "red?\nblue?\n", "--format", "json")
    answers = json.loads(out)["answers"]
    assert status == 0 and [answer["prompt"] for answer in answers] == ["red?", "blue?"]


def test_the_help_names_every_flag_that_is_read_and_every_command(capsys):
    assert main(["chat", "--help"]) == 0
    page = capsys.readouterr().out
    for words in (
        "--against",
        "--temperature",
        "--top-p",
        "--seed",
        "--max-new-tokens",
        "--system",
        "--mixed-precision",
        "/save",
    ):
        assert words in page
    assert "--lr" not in page


def test_a_terminal_obeys_the_names_and_not_the_answers(monkeypatch):
    lines = iter(["red?", "/exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    speaker = SimpleNamespace(name="mine")
    speaker.answer = lambda text, write: (write("\x1b[2J" + text), Reply(text, "finished"))[1]
    screen = SimpleNamespace(json=False, quiet=True, out=io.StringIO(), err=io.StringIO())
    dialogue = Dialogue([speaker, speaker], screen, in_terminal=True)
    dialogue.colour = True
    dialogue.run()
    assert screen.out.getvalue() == 2 * "\x1b[1mmine:\x1b[0m\n\\x1b[2Jred?\n"


@pytest.mark.slow
def test_a_chat_in_a_terminal(chatty, here):
    words = [forked_python(), "-m", "autotrain_llm", "chat", str(chatty), *SHORT]
    session = (("Ctrl-D ends.", "red?"), ("> ", "/help"), ("/exit", "/exit"))
    screen, status = in_terminal(words, session, here, columns=200)
    assert status == 0 and "with the system prompt: Be short." in screen and "/save [FILE]" in screen
