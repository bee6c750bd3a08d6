"""`--inference`: what a finished model says to prompts, or for a scorer, the score it gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from autotrain_llm.config import Config
from autotrain_llm.data.chat import find_template
from autotrain_llm.data.dataset import open_data
from autotrain_llm.data.example import Example
from autotrain_llm.data.faults import Faults
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.facts.world import World
from autotrain_llm.models.locate import HUB
from autotrain_llm.run.model import DTYPES, from_located

BATCH = 16
TEXT_FILES = (".txt", "")


@dataclass(frozen=True)
class Answer:
    """A prompt with what the model said to it, or the score it got."""

    prompt: str
    text: str | None = None
    score: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {"prompt": self.prompt, **({"score": self.score} if self.text is None else {"text": self.text})}


def infer(world: World) -> Iterator[Answer]:
    """Answer the prompts of a checked command, in their order. Raises Refused for prompts that can't be read."""
    config, facts = world.config, world.model
    assert facts is not None and world.tokenizer_folder is not None
    prompts = list(read_prompts(config))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = config.mixed_precision or ("bf16" if device.type == "cuda" and world.machine.computes_bf16 else "fp32")
    options = _options(config, world.token)
    tokenizer = AutoTokenizer.from_pretrained(str(world.tokenizer_folder), trust_remote_code=config.trust_remote_code)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts = [_written(prompt, config, world) for prompt in prompts]
    if facts.is_classifier:
        source = facts.located.name if facts.located.kind == HUB else str(facts.located.folder)
        scorer = AutoModelForSequenceClassification.from_pretrained(source, dtype=DTYPES[precision], **options)
        yield from _score(scorer.to(device).eval(), tokenizer, prompts, texts)
        return
    model = from_located(facts.located, DTYPES[precision], options).to(device).eval()
    yield from _answer(model, tokenizer, prompts, texts, config.max_new_tokens)


def _options(config: Config, token: str | None) -> dict[str, Any]:
    options = {
        "revision": config.revision,
        "cache_dir": config.cache_dir,
        "trust_remote_code": config.trust_remote_code,
        "attn_implementation": config.attn_implementation,
        "token": token,
    }
    return {name: value for name, value in options.items() if value is not None} | {"local_files_only": config.offline}


def read_prompts(config: Config) -> Iterator[Example]:
    """The prompts: the text itself, the lines of a text file, or the rows of a data file in any form that is recognised."""
    given = str(config.prompts)
    path = Path(given).expanduser()
    if not _is_file(path):
        if path.suffix in (".jsonl", ".json", ".csv", ".txt", ".parquet", ".tsv"):
            raise Refused(
                [Finding(f"--prompts {given}: there is no such file", parameters=("prompts",), file=given, code="P330")]
            )
        yield Example(file="", row=1, prompt=given)
    elif path.suffix in TEXT_FILES:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield from (Example(file=given, row=row, prompt=line) for row, line in enumerate(lines, 1) if line.strip())
    else:
        request = DataRequest(path=given, rows="prompts", seed=config.seed, trainer="inference", offline=config.offline)
        yield from open_data(request).train


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text too long to be a name
        return False


def _written(prompt: Example, config: Config, world: World) -> str:
    """The prompt as the model was trained to see it: by its chat template where it has one."""
    tokenizer: Tokenizer | None = world.tokenizer
    assert tokenizer is not None
    template = find_template(config.chat_template, tokenizer, Faults())
    messages: Sequence[Any] | None = prompt.messages
    if messages is None and isinstance(prompt.prompt, list):
        messages = prompt.prompt
    if template is None:
        return (
            str(prompt.prompt or prompt.text or "")
            if messages is None
            else "\n".join(str(turn["content"]) for turn in messages)
        )
    if messages is None:
        messages = [{"role": "user", "content": str(prompt.prompt or prompt.text or "")}]
    return template.render(list(messages), prompt.tools, add_generation_prompt=True)


def shown(prompt: Example) -> str:
    """A prompt in one text, to be printed beside its answer."""
    if isinstance(prompt.prompt, str):
        return prompt.prompt
    turns = prompt.messages or prompt.prompt or []
    return prompt.text or "\n".join(str(turn.get("content")) for turn in turns)


@torch.inference_mode()
def _answer(
    model: Any, tokenizer: Any, prompts: Sequence[Example], texts: Sequence[str], longest: int
) -> Iterator[Answer]:
    """Greedy, batch by batch."""
    tokenizer.padding_side = "left"
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            list(texts[start : start + BATCH]),
            return_tensors="pt",
            padding=True,
            add_special_tokens=_adds(tokenizer, texts[start]),
        )
        batch.pop("token_type_ids", None)
        batch = batch.to(model.device)
        made = model.generate(**batch, max_new_tokens=longest, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        answers = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for prompt, text in zip(prompts[start : start + BATCH], answers, strict=True):
            yield Answer(shown(prompt), text=text)


def _adds(tokenizer: Any, text: str) -> bool:
    """Whether the tokenizer should add its own first token: not where the template wrote it already."""
    return not (tokenizer.bos_token and text.startswith(tokenizer.bos_token))


@torch.inference_mode()
def _score(model: Any, tokenizer: Any, prompts: Sequence[Example], texts: Sequence[str]) -> Iterator[Answer]:
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(list(texts[start : start + BATCH]), return_tensors="pt", padding=True, truncation=True).to(
            model.device
        )
        scores = model(**batch).logits[:, 0].float().tolist()
        for prompt, score in zip(prompts[start : start + BATCH], scores, strict=True):
            yield Answer(shown(prompt), score=score)
