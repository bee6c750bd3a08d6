"""A byte-level tokenizer trained on one sentence."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

TEXT = "The capital of France is Paris. Name a colour. Blue is a colour, and so is red. Hi, hello there, how are you? Fine.\n"


def made(folder: Path, bos: bool = False, template: str | None = None) -> Tokenizer:
    raw = Backend(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, show_progress=False, initial_alphabet=alphabet
    )
    raw.train_from_iterator([TEXT] * 4, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder.mkdir(parents=True)
    raw.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | ({"chat_template": template} if template else {})))
    return Tokenizer.load(folder)
