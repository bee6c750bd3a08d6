"""How a finished model answers: what its prompts and the seed decide, and nothing else."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.config.resolved import resolve
from autotrain_llm.data.files.read import ROW_ENDINGS
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Refused
from autotrain_llm.run.generation.answering import AnsweringModel, PromptSeeds
from autotrain_llm.run.generation.completion_text import StreamedText
from autotrain_llm.run.generation.prompts import read_prompts

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [40], [100, 101, 102], [7, 7], [40]]


@pytest.fixture(scope="module")
def causal(llama: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(llama).eval()


def answers(causal: Any, prompts: list[list[int]], **flags: Any) -> list[list[int]]:
    model = AnsweringModel(causal, resolve({"max_new_tokens": 8, **flags}), 256)
    return [sample.completion.tolist() for sample in model.answer(prompts)]


def test_the_same_seed_gives_the_same_answer_whatever_else_is_asked(causal):
    together = answers(causal, PROMPTS, temperature=1.0, seed=3)
    assert [answers(causal, [prompt], temperature=1.0, seed=3)[0] for prompt in PROMPTS[:4]] == together[:4]
    assert answers(causal, PROMPTS[::-1], temperature=1.0, seed=3)[::-1][2] == together[2]
    assert answers(causal, PROMPTS, temperature=1.0, seed=4) != together
    assert together[1] != together[4], "a prompt that is repeated gets another answer"


def test_without_a_temperature_the_seed_counts_for_nothing(causal):
    assert answers(causal, PROMPTS, seed=3) == answers(causal, PROMPTS, seed=4)


def test_a_small_top_p_and_a_single_token_leave_the_likeliest(causal):
    greedy = answers(causal, PROMPTS)
    assert answers(causal, PROMPTS, temperature=1.0, top_k=1) == greedy
    assert answers(causal, PROMPTS, temperature=1.0, top_p=1e-6) == greedy


def test_a_seed_follows_from_the_prompt_and_how_often_it_was_asked():
    prompt, other = np.asarray([1, 2], dtype=np.int32), np.asarray([1], dtype=np.int32)
    seeds = PromptSeeds(7)
    first = seeds.next(prompt)
    seeds.next(other)
    assert seeds.next(prompt) != first == PromptSeeds(7).next(prompt) != PromptSeeds(8).next(prompt)


def test_prompts_are_the_lines_of_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Hé\n\nHo\r\n".encode())))
    prompts, findings = read_prompts(resolve({"prompts": "-"}))
    assert [(prompt.prompt, prompt.row) for prompt in prompts] == [("Hé", 1), ("Ho", 3)] and findings == ()


@pytest.mark.parametrize("ending", ROW_ENDINGS)
def test_a_file_of_prompts_that_is_not_there_is_no_text(tmp_path, ending):
    with pytest.raises(Refused, match="there is no such file"):
        read_prompts(resolve({"prompts": str(tmp_path / f"mine{ending}")}))


def test_standard_input_without_a_line_is_refused(monkeypatch, llama, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n \n")))
    assert main(["llm", "--inference", "--model", str(llama), "--prompts", "-"]) == 2
    assert "--prompts standard input contains no prompt" in capsys.readouterr().err


def test_a_character_of_several_tokens_is_written_once_it_is_whole(llama):
    tokenizer, text = Tokenizer.load(llama), "a\u00e9 \U0001f642 b"
    ids, pieces = tokenizer.encode_batch([f" {text}\n"])[0], []
    stream = StreamedText(tokenizer, [2], pieces.append)
    for token in [*ids, 2, 5, 6]:  # what follows an end token is none of the answer
        stream.add(token)
    assert stream.finish() == text == "".join(pieces) and len(pieces) > 3
    assert not any("\ufffd" in piece for piece in pieces)
