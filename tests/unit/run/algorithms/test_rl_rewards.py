"""What scores a policy's answers: functions, reward models that read text with a tokenizer of their own, and their weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from autotrain_llm import train
from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.run.algorithms.rl import rewards as module
from autotrain_llm.run.algorithms.rl.rewards import Rewards, load_rewards
from autotrain_llm.run.engine.loading import load_tokenizer
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.generation.types import Sample
from support.models import TEMPLATE, build_llama
from support.reward_models import build_bert, pair
from support.rows import write_rows

pytestmark = pytest.mark.slow


FUNCTIONS = """
import numbers_beside

def length(completions, **columns):
    return [float(len(text)) for text in completions]

def matches(prompts, completions, answer):
    return [float(text.strip() == right) for text, right in zip(completions, answer)]

def everything(**given):
    seen.append({name: list(value) for name, value in given.items()})
    return [numbers_beside.ONE] * len(given["completions"])

def talks(completions, **columns):
    print("scoring")
    return [len(text) for text in completions]

def fails_on_words(completions, **columns):
    return [1 / (text != "bad") for text in completions]

seen = []
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "numbers_beside.py").write_text("ONE = 1.0\n", encoding="utf-8")
    path = tmp_path / "scorers.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"prompt": f"Which colour is {n}?", "answer": f"colour {n}", "level": n} for n in range(12)]
    return write_rows(tmp_path / "prompts.jsonl", rows)


def checked(data: Path, model: Path, **flags: Any) -> Checked:
    """A check that finds no more than that the scores may all be equal."""
    said = parse_kwargs(command(data, model, **flags))
    found = preflight(resolve(said.values), said.findings)
    assert found.plan is not None and {finding.code for finding in found.findings} <= {"P748", "P812"}
    return found


def command(data: Path, model: Path, **flags: Any) -> dict[str, Any]:
    given = {"trainer": "grpo", "data_path": str(data), "model": str(model), "lr": 1e-5, "epochs": 1, "batch_size": 8}
    return given | {"rl_max_new_tokens": 16, "mixed_precision": "fp32"} | flags


@dataclasses.dataclass
class Named:
    """What of a loaded model the rewards look at."""

    tokenizer: Any


def rewards_of(found: Checked, side: str = "train") -> Rewards:
    plan = found.plan
    assert plan is not None
    inputs = inputs_of(plan, found.context)
    return load_rewards(plan, inputs, Named(load_tokenizer(plan, inputs)), side)  # type: ignore[arg-type]


def samples_of(rewards: Rewards, rows: list[int], answers: list[str], finished: bool = True) -> list[Sample]:
    made = []
    for row, text in zip(rows, answers, strict=True):
        ids = np.array(rewards.tokenizer.encode(text, add_special_tokens=False), np.int32)
        made.append(Sample(rewards.rows[row][0], ids, finished, np.zeros(len(ids), np.float32)))
    return made


def scored(rewards: Rewards, rows: list[int], answers: list[str], **settings: Any) -> np.ndarray:
    return rewards(rows, samples_of(rewards, rows, answers, **settings))


# ---- functions


def test_a_function_gets_prompts_answers_and_the_columns_that_it_names(functions, prompts, llama):
    rewards = rewards_of(checked(prompts, llama, rl_reward_fn=f"{functions}:matches,{functions}:length"))
    assert rewards.names == ("matches", "length")
    scores = scored(rewards, [3, 3, 5], ["colour 3", " colour 4", "colour 5 "])
    assert scores.tolist() == [[1.0, 8.0], [0.0, 9.0], [1.0, 9.0]]
    assert rewards.total(scores).tolist() == [9.0, 9.0, 10.0]


def test_a_function_that_takes_everything_gets_every_column_and_what_lies_beside_it(functions, prompts, llama):
    rewards = rewards_of(checked(prompts, llama, rl_reward_fn=f"{functions}:everything"))
    judge: Any = rewards.sources[0]
    judge.function.__globals__["seen"].clear()
    assert scored(rewards, [1, 2], ["a", "b"]).tolist() == [[1.0], [1.0]]
    assert judge.function.__globals__["seen"] == [
        {
            "prompts": ["Which colour is 1?", "Which colour is 2?"],
            "completions": ["a", "b"],
            "answer": ["colour 1", "colour 2"],
            "level": [1, 2],
        }
    ]


def test_a_function_gets_turns_where_prompts_are_conversations(functions, tmp_path, llama):
    turns = [[{"role": "user", "content": f"Colour {n}?"}] for n in range(4)]
    data = write_rows(tmp_path / "chats.jsonl", [{"prompt": one} for one in turns])
    rewards = rewards_of(checked(data, llama, rl_reward_fn=f"{functions}:everything"))
    judge: Any = rewards.sources[0]
    judge.function.__globals__["seen"].clear()
    scored(rewards, [2], ["It is."])
    assert judge.function.__globals__["seen"][0]["prompts"] == [turns[2]]


def test_a_function_of_a_module_here_is_found(functions, prompts, llama, monkeypatch):
    monkeypatch.chdir(functions.parent)
    rewards = rewards_of(checked(prompts, llama, rl_reward_fn="scorers:length"))
    assert scored(rewards, [0], ["four"]).tolist() == [[4.0]]


def test_what_a_function_prints_does_not_reach_stdout(functions, prompts, llama, capsys):
    rewards = rewards_of(checked(prompts, llama, rl_reward_fn=f"{functions}:talks"))
    scored(rewards, [0], ["x"])
    printed = capsys.readouterr()
    assert printed.out == "" and "scoring" in printed.err


def test_a_function_that_fails_during_training_is_named_with_its_line(functions, prompts, llama):
    rewards = rewards_of(checked(prompts, llama, rl_reward_fn=f"{functions}:fails_on_words"))
    with pytest.raises(RunFailed, match=r"fails_on_words raises ZeroDivisionError.*scorers\.py, line 19"):
        scored(rewards, [0, 1], ["good", "bad"])


def test_weights_multiply_and_a_missing_end_costs(functions, prompts, llama):
    flags = {"rl_reward_fn": f"{functions}:length,{functions}:length", "rl_reward_weights": "2,-0.5"}
    rewards = rewards_of(checked(prompts, llama, **flags, rl_missing_end_penalty=3.0))
    assert rewards.names == ("length", "length_2", "missing_end")
    ended, truncated = (scored(rewards, [0], ["four"], finished=finished) for finished in (True, False))
    assert ended.tolist() == [[4.0, 4.0, 0.0]] and truncated.tolist() == [[4.0, 4.0, 1.0]]
    assert (rewards.total(ended)[0], rewards.total(truncated)[0]) == (8 - 2, 8 - 2 - 3)


def test_rows_of_the_other_side_are_scored_with_their_own_columns(functions, prompts, llama):
    found = checked(prompts, llama, rl_reward_fn=f"{functions}:matches", valid_split="0.25")
    rewards = rewards_of(found, "valid")
    right = [example.extra["answer"] for example in found.context.dataset.valid]
    assert scored(rewards, [0, 1, 2], [right[0], "no", right[2]]).tolist() == [[1.0], [0.0], [1.0]]


def test_no_answers_have_no_scores(functions, prompts, llama):
    assert rewards_of(checked(prompts, llama, rl_reward_fn=f"{functions}:length"))([], []).shape == (0, 1)


# ---- reward models


def reward_run(folder: Path, model: Path, rows: list[dict[str, Any]], **flags: Any) -> Path:
    """A reward model that was trained for a few steps."""
    data = write_rows(folder / "pairs.jsonl", rows)
    output = folder / "reward"
    columns = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    settings = {"trainer": "reward", "lr": 1e-3, "epochs": 1, "batch_size": 8, "mixed_precision": "fp32"}
    train(**{**settings, **columns, "model": str(model), "data_path": str(data), "output_dir": str(output)}, **flags)
    return output


def by_transformers(folder: Path, texts: list[str]) -> list[float]:
    """What AutoModel says of each text by itself, as its tokenizer writes it."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return [float(model(**tokenizer(text, return_tensors="pt")).logits[0, 0]) for text in texts]


PAIRS = [pair(number) for number in range(16)]


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_reward_model_scores_the_text_that_transformers_scores(kind, tmp_path, llama, prompts, monkeypatch):
    base = build_llama(tmp_path / "base", None) if kind == "llama" else build_bert(tmp_path / "base")
    reward = reward_run(tmp_path, base, PAIRS)
    rewards = rewards_of(checked(prompts, llama, rl_reward_model_path=str(reward)))
    assert rewards.names == ("reward",)
    rows, answers = [0, 7, 7, 2], [" It is red.", " It is blue, and more of it than anybody needs.", " no", ""]
    expected = by_transformers(
        reward, [f"Which colour is {row}?{answer}" for row, answer in zip(rows, answers, strict=True)]
    )
    np.testing.assert_allclose(scored(rewards, rows, answers)[:, 0], expected, atol=1e-5)
    monkeypatch.setattr(module, "SCORED_TOKENS", 40)
    np.testing.assert_allclose(scored(rewards, rows, answers)[:, 0], expected, atol=1e-5)
    assert len({round(score, 6) for score in expected}) == len(expected)


def test_a_conversation_is_scored_as_the_reward_models_own_template_writes_it(tmp_path, llama):
    own = TEMPLATE.replace("</s>", " </s>")
    rows = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in PAIRS
    ]
    reward = reward_run(tmp_path, build_llama(tmp_path / "base", own), rows)
    data = write_rows(tmp_path / "chats.jsonl", [{"prompt": row["prompt"]} for row in rows])
    rewards = rewards_of(checked(data, llama, rl_reward_model_path=str(reward)))
    tokenizer = AutoTokenizer.from_pretrained(reward)
    turns = [*rows[4]["prompt"], {"role": "assistant", "content": "It is red."}]
    ids = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
    model = AutoModelForSequenceClassification.from_pretrained(reward).eval()
    with torch.no_grad():
        expected = float(model(torch.tensor([ids])).logits[0, 0])
    assert scored(rewards, [4], ["It is red."])[0, 0] == pytest.approx(expected, abs=1e-5)


def test_a_run_that_wrote_texts_as_turns_is_given_turns(tmp_path, llama, prompts):
    reward = reward_run(tmp_path, build_llama(tmp_path / "base", None), PAIRS, chat_template="chatml")
    found = checked(prompts, llama, rl_reward_model_path=str(reward))
    assert found.plan is not None and found.plan.rollouts.rewards[0].as_turns
    rewards = rewards_of(found)
    tokenizer = AutoTokenizer.from_pretrained(reward)
    turns = [{"role": "user", "content": "Which colour is 3?"}, {"role": "assistant", "content": "red"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert scored(rewards, [3], ["red"])[0, 0] == pytest.approx(by_transformers(reward, [text])[0], abs=1e-5)


def test_an_adapter_scores_on_its_base(tmp_path, llama, prompts):
    base = build_llama(tmp_path / "base", None)
    reward = reward_run(tmp_path, base, PAIRS, peft=True)
    from peft import AutoPeftModelForSequenceClassification

    model = AutoPeftModelForSequenceClassification.from_pretrained(reward, num_labels=1, pad_token_id=0).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward)
    with torch.no_grad():
        expected = float(model(**tokenizer("Which colour is 3? It is.", return_tensors="pt")).logits[0, 0])
    rewards = rewards_of(checked(prompts, llama, rl_reward_model_path=str(reward)))
    assert scored(rewards, [3], [" It is."])[0, 0] == pytest.approx(expected, abs=1e-5)


def test_a_model_and_a_function_stand_side_by_side(tmp_path, functions, llama, prompts):
    reward = reward_run(tmp_path, build_llama(tmp_path / "base", None), PAIRS)
    flags = {"rl_reward_model_path": str(reward), "rl_reward_fn": f"{functions}:length", "rl_reward_weights": "2,0.5"}
    rewards = rewards_of(checked(prompts, llama, **flags))
    assert rewards.names == ("reward", "length")
    scores = scored(rewards, [0], ["four"])
    assert rewards.total(scores)[0] == pytest.approx(2 * scores[0, 0] + 0.5 * 4)


def test_several_texts_are_scored_at_once_by_a_model_that_knows_no_padding_token(tmp_path, llama, prompts):
    reward = reward_run(tmp_path, build_llama(tmp_path / "base", None), PAIRS)
    config = json.loads((reward / "config.json").read_text())
    (reward / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    answers = [" It is red.", " no", " It is blue, blue, blue."]
    expected = by_transformers(reward, [f"Which colour is 1?{answer}" for answer in answers])
    rewards = rewards_of(checked(prompts, llama, rl_reward_model_path=str(reward)))
    np.testing.assert_allclose(scored(rewards, [1, 1, 1], answers)[:, 0], expected, atol=1e-5)


def test_a_text_beyond_the_reward_models_context_loses_its_start_and_keeps_its_marks(tmp_path, llama, prompts):
    reward = reward_run(tmp_path, build_bert(tmp_path / "base"), PAIRS)
    rewards = rewards_of(checked(prompts, llama, rl_reward_model_path=str(reward)))
    judge: Any = rewards.sources[0]
    judge.context = 9
    tokenizer = Tokenizer.load(reward)
    whole = tokenizer.encode_batch(["Which colour is 1? It is red and blue."], add_special_tokens=True)[0]
    assert len(whole) > 9
    model = AutoModelForSequenceClassification.from_pretrained(reward).eval()
    with torch.no_grad():
        expected = float(model(torch.tensor([[whole[0], *whole[-8:]]])).logits[0, 0])
    scores = scored(rewards, [1, 1], [" It is red and blue.", ""])
    assert scores[0, 0] == pytest.approx(expected, abs=1e-5)
    assert rewards.truncated(2).tolist() == [True, False]
