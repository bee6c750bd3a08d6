"""The model card: metadata that the Hub's own library reads, and code that runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard as HubCard

import autotrain_llm
from autotrain_llm.data.tokenize.prompt_format import ALPACA, CHAT, TEXT, PromptFormat
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.models.locate import locate
from autotrain_llm.planning.plan import HubPlan
from autotrain_llm.run.artifacts.model_card import ModelCard, id_on_the_hub, metadata_of

WORDS = ["autotrain", "llm", "--trainer", "sft"]
METRICS = {"loss": 1.5, "eval_loss": 2.25, "eval_perplexity": 9.5, "eval_runtime": 3.0, "eval_broken": float("nan")}
OF_CHATS = PromptFormat(CHAT, "tokenizer", "Be short.")
Write = Callable[..., tuple[str, Any]]


@pytest.fixture
def base(llama: Path, tmp_path: Path) -> Path:
    """A model with a card of its own."""
    folder = tmp_path / "base"
    shutil.copytree(llama, folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nbase_model: org/first\n---\n# Base\n")
    return folder


@pytest.fixture
def write(base: Path, chat_rows: Path, tmp_path: Path) -> Write:
    """Write the card of a plan with these flags, and read it with the Hub's library."""

    def written(prompt_format: PromptFormat = OF_CHATS, hub: HubPlan | None = None, **flags: Any) -> tuple[str, Any]:
        command = {
            "trainer": "sft",
            "model": str(base),
            "data_path": str(chat_rows),
            "lr": 1e-4,
            "epochs": 1,
            "batch_size": 4,
        }
        plan = autotrain_llm.plan(**{**command, "valid_split": "0.25", **flags})
        folder = tmp_path / "the run"
        folder.mkdir(exist_ok=True)
        is_new = str(flags.get("model", "")).startswith("scratch:")
        source = None if is_new else locate(str(base))
        card = ModelCard(folder, replace(plan, hub=hub), prompt_format, Tokenizer.load(base), source)
        card.write(7, METRICS, WORDS)
        return (folder / "README.md").read_text(), HubCard.load(folder / "README.md").data

    return written


def code_of(card: str) -> str:
    return card.partition("```python\n")[2].partition("```")[0]


def test_the_metadata_is_what_the_hub_reads(write, chat_rows):
    card, data = write()
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    assert (data.license, data.base_model, data.base_model_relation) == ("apache-2.0", "org/first", "finetune")
    assert data.tags == ["autotrain-llm", "sft", "conversational"] and data.datasets is None
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert results == {"loss": 2.25, "perplexity": 9.5} and data.model_name == "the run"
    assert {(result.dataset_type, result.dataset_name) for result in data.eval_results} == {("custom", chat_rows.name)}
    assert "# the run\n" in card and "licence apache-2.0" in card and "| loss | 1.5 |" in card


def test_the_rows_have_their_fingerprint(write, base, chat_rows):
    fingerprint = autotrain_llm.plan(
        trainer="sft", model=str(base), data_path=str(chat_rows), lr=1e-4, epochs=1, batch_size=4, valid_split="0.25"
    ).data.fingerprint
    assert f"| training | `{chat_rows}` | messages | 36 | `{fingerprint}` |" in write()[0]


def test_a_new_model_has_neither_base_nor_licence(write):
    card, data = write(model="scratch:100k", chat_template="chatml")
    assert data.base_model is data.license is data.get("base_model_relation") is None
    assert "from a new LlamaForCausalLM of" in card


def test_a_run_without_an_evaluation_has_no_results(write, monkeypatch):
    monkeypatch.setitem(METRICS, "eval_loss", float("nan"))
    monkeypatch.setitem(METRICS, "eval_perplexity", float("nan"))
    assert write()[1].eval_results is None


def test_the_code_of_the_card_answers_as_inference_does(write, base, tmp_path, capsys):
    from autotrain_llm.cli.main import main

    card, _ = write()
    shutil.copytree(base, tmp_path / "the run", dirs_exist_ok=True)
    (tmp_path / "the run/prompt_format.json").write_text(
        '{"rows": "chat", "template": "tokenizer", "system": "Be short."}'
    )
    exec(compile(code_of(card).replace("max_new_tokens=256", "max_new_tokens=8"), "card", "exec"), {})
    shown = capsys.readouterr().out.strip()
    words = ["--model", str(tmp_path / "the run"), "--prompts", "Hello", "--max-new-tokens", "8", "--quiet"]
    assert main(["llm", "--inference", *words]) == 0
    assert capsys.readouterr().out.strip() == shown and "autotrain chat '" in card


@pytest.mark.parametrize(
    ("prompt_format", "line"),
    [
        (PromptFormat(TEXT), 'inputs = tokenizer("Hello", return_tensors="pt")'),
        (PromptFormat(TEXT, ALPACA), "### Instruction:\\nHello\\n\\n### Response:\\n"),
        (PromptFormat(CHAT, "tokenizer", ""), 'messages = [{"role": "user", "content": "Hello"}]'),
        (PromptFormat(CHAT, "tokenizer", 'It\'s "so".'), '{"role": "system", "content": "It\'s \\"so\\"."}'),
    ],
)
def test_the_code_writes_a_prompt_as_the_rows_were_written(write, prompt_format, line):
    code = code_of(write(prompt_format)[0])
    assert line in code
    compile(code, "card", "exec")


def test_an_adapter_is_loaded_by_peft_and_served_beside_its_base(write, base):
    card, data = write(peft=True, lora_r=32)
    compile(code_of(card), "card", "exec")
    assert data.library_name == "peft" and data.base_model_relation == "adapter" and "lora" in data.tags
    assert "AutoPeftModelForCausalLM.from_pretrained(" in card
    assert f"vllm serve {base} --enable-lora --lora-modules 'tuned=" in card and "--max-lora-rank 32" in card
    for rank, flag in (
        (8, ""),
        (24, " --max-lora-rank 32"),
        (300, " --max-lora-rank 320"),
    ):  # vLLM takes these values alone
        assert f"{flag}\n```" in write(peft=True, lora_r=rank)[0].partition("vllm serve")[2].partition("Ollama")[0]
    assert "vllm serve merged" in write(peft=True, lora_r=600)[0]
    merged, data = write(peft=True, merge_adapter=True)
    assert data.library_name == "transformers" and "--enable-lora" not in merged and "AutoPeft" not in merged


def test_a_model_that_is_uploaded_is_named_as_on_the_hub(write):
    card, _ = write(hub=HubPlan("someone", True, "none"))
    assert 'AutoTokenizer.from_pretrained("someone/the run")' in card


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("org/rows", "org/rows"),
        ("org/rows:en", "org/rows"),
        ("rows.jsonl", None),
        ("data/rows.jsonl", None),
        ("./data", None),
    ],
)
def test_a_data_set_on_the_hub_is_known_by_its_id(path, expected):
    assert id_on_the_hub(path) == expected


@pytest.mark.parametrize("text", ["", "no metadata", "---\n- a list\n---\n", "---\nlicense: [\n---\n"])
def test_a_card_that_can_not_be_read_says_nothing(text, tmp_path):
    assert metadata_of(tmp_path) == {}
    (tmp_path / "README.md").write_text(text)
    assert metadata_of(tmp_path) == {}


def test_no_line_of_the_card_is_left_to_be_filled_in(write):
    for flags in ({}, {"peft": True}):
        assert not re.search(r"FOLDER|None|\{\w+\}", write(**flags)[0])
