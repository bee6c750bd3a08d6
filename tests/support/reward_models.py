"""Pairs that a tiny model can order, and a tiny encoder to order them with."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from support.rows import COLOURS

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def pair(number: int) -> dict[str, str]:
    """Of two answers the one that repeats the question's colour is better."""
    chance = random.Random(number)
    colour, other = chance.sample(COLOURS, 2)
    tail = " " + " ".join(chance.choices(NUMBERS, k=chance.randrange(6)))
    return {
        "prompt": f"Which colour is {colour}?" + tail,
        "chosen": f" It is {colour}.",
        "rejected": f" It is {other}, {other}.",
    }


def build_bert(folder: Path) -> Path:
    """Write a BERT of a few thousand parameters as they come: with a head for masked words and no pooler."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = [text for number in range(46) for text in pair(number).values()]
    raw.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=300, max_position_embeddings=512, **size)).save_pretrained(folder)
    BertTokenizerFast(tokenizer_object=raw, model_max_length=512).save_pretrained(folder)
    return folder


def build_scorer(base: Path, folder: Path) -> Path:
    """Write a reward model of random weights on a base's tokenizer."""
    import torch
    from transformers import AutoConfig, LlamaConfig, LlamaForSequenceClassification

    shutil.copytree(base, folder)
    shape = AutoConfig.from_pretrained(base).to_dict() | {"num_labels": 1, "architectures": None}
    torch.manual_seed(2)
    LlamaForSequenceClassification(LlamaConfig(**shape)).save_pretrained(folder)
    return folder
