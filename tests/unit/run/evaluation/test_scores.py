"""Scores of texts equal what the libraries say that they are named after, and formulas that are written down here."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from autotrain_llm.run.evaluation.bertscore import BertScore
from autotrain_llm.run.evaluation.scores import Bleu, Chrf, ExactMatch, Rouge, Score

WORDS = ["the", "a", "cat", "dog", "ran,", "fast", "slow.", "über", "猫", "!", "3.5", "don't", "well-known", "The"]


def texts(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(0, 14))) for _ in range(count)]


ANSWERS = [*texts(60, 1), "", "same words here", "the cat", "  spaces\n and lines "]
REFERENCES = [*texts(60, 2), "nothing was said", "same words here", "", "spaces and lines"]


def taken_in(score: Score, size: int) -> dict[str, float]:
    """The result of a score that was given its rows in batches of `size`."""
    for start in range(0, len(ANSWERS), size):
        score.add(ANSWERS[start : start + size], REFERENCES[start : start + size])
    return score.result()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_bleu_is_sacrebleus_of_the_whole_corpus(size):
    assert taken_in(Bleu(), size)["bleu"] == pytest.approx(BLEU().corpus_score(ANSWERS, [REFERENCES]).score, abs=1e-9)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_chrf_is_sacrebleus_of_the_whole_corpus(size):
    assert taken_in(Chrf(), size)["chrf"] == pytest.approx(CHRF().corpus_score(ANSWERS, [REFERENCES]).score, abs=1e-9)


def test_a_rows_own_scores_are_sacrebleus_of_the_sentence():
    rows = zip(Bleu().add(ANSWERS, REFERENCES), Chrf().add(ANSWERS, REFERENCES), ANSWERS, REFERENCES, strict=True)
    for bleu, chrf, answer, reference in rows:
        assert bleu["bleu"] == BLEU(effective_order=True).sentence_score(answer, [reference]).score
        assert chrf["chrf"] == pytest.approx(CHRF().sentence_score(answer, [reference]).score, abs=1e-9)


def test_rouge_is_the_mean_of_rouge_scores_f():
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds)
    each = [scorer.score(reference, answer) for answer, reference in zip(ANSWERS, REFERENCES, strict=True)]
    wanted = {kind: np.mean([score[kind].fmeasure for score in each]) for kind in kinds}
    assert taken_in(Rouge(), 7) == pytest.approx(wanted, abs=1e-12)
    assert 0 < wanted["rougeL"] < 1


def test_exact_match_looks_past_white_space_only():
    score = ExactMatch()
    rows = score.add(["a b", " a\n b ", "A b", "ab", ""], ["a b", "a b", "a b", "a b", ""])
    assert [row["exact_match"] for row in rows] == [1, 1, 0, 0, 1]
    assert score.result() == {"exact_match": 3 / 5}


@pytest.mark.parametrize("make", [Bleu, Chrf, Rouge, ExactMatch])
def test_sums_of_two_processes_add_up_to_those_of_one(make):
    halves = [make(), make()]
    for number, score in enumerate(halves):
        score.add(ANSWERS[number::2], REFERENCES[number::2])
    halves[0].sums += halves[1].sums
    whole = make()
    whole.add(ANSWERS, REFERENCES)
    assert halves[0].result() == pytest.approx(whole.result(), abs=1e-12)


@pytest.mark.parametrize("make", [Rouge, ExactMatch])
def test_no_rows_have_no_mean(make):
    assert make().result() == {}


@pytest.mark.parametrize("make", [Bleu, Chrf, ExactMatch, Rouge])
def test_a_score_holds_no_texts(make):
    """Rows whose texts alone would take 280 kB leave next to nothing behind."""
    score = make()
    score.add(ANSWERS, REFERENCES)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for seed in range(2):
        score.add([text * 10 for text in texts(60, seed)], [text * 10 for text in texts(60, seed + 50)])
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 100_000


# ---- BERTScore


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of a few thousand random weights, with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "bert"
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*marks, "the", "a", "cat", "dog", "ran", "fast", "slow", "and"]
    raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), marks, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=64, **names).save_pretrained(folder)
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=len(words), initializer_range=0.5, **shape))
    model.save_pretrained(folder)
    return folder


def written_out(encoder: Path, layer: int, answer: str, reference: str) -> tuple[float, float, float]:
    """P = mean over the answer's tokens of the largest cosine with a token of the reference; R the other way round; F = 2PR/(P+R).

    Marks are among what can be met, and do not count themselves.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    vectors = []
    for text in (answer, reference):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        vectors.append(states.numpy())
    cosines = [[float(a @ b / np.sqrt((a @ a) * (b @ b))) for b in vectors[1]] for a in vectors[0]]
    precision = np.mean([max(row) for row in cosines[1:-1]])
    recall = np.mean([max(row[column] for row in cosines) for column in range(1, len(vectors[1]) - 1)])
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [1, 3])
def test_bertscore_is_the_formula_of_its_paper(encoder, layer):
    answers = ["the cat ran", "a dog and a cat", "slow", "fast fast fast dog"]
    references = ["the dog ran fast", "a cat", "the slow dog and the slow cat ran", "fast dog"]
    score = BertScore(str(encoder), layer)
    rows = score.add(answers, references)
    wanted = [written_out(encoder, layer, *pair) for pair in zip(answers, references, strict=True)]
    for row, formula in zip(rows, wanted, strict=True):
        assert tuple(row.values()) == pytest.approx(formula, abs=1e-5)
    means = np.mean(wanted, axis=0)
    assert score.result() == pytest.approx(
        {"bertscore_precision": means[0], "bertscore_recall": means[1], "bertscore": means[2]}, abs=1e-5
    )


def test_bertscore_of_the_same_text_is_one_and_of_none_is_zero(encoder):
    same, nothing = BertScore(str(encoder), 2).add(["the cat ran", ""], ["the cat ran", "the cat ran"])
    assert same["bertscore"] == pytest.approx(1, abs=1e-5)
    assert set(nothing.values()) == {0.0}


# ---- as modules of `evaluate`


def test_evaluates_combine_takes_them_offline(encoder, tmp_path, monkeypatch):
    import evaluate

    from autotrain_llm.run.evaluation import library

    settings = {"cache_dir": str(tmp_path)}
    modules = [kind(**settings) for kind in (library.Bleu, library.Chrf, library.Rouge, library.ExactMatch)]
    modules.append(library.BertScore(str(encoder), 2, **settings))
    found = evaluate.combine(modules).compute(predictions=ANSWERS, references=REFERENCES)
    wanted = taken_in(Bleu(), 9) | taken_in(Chrf(), 9) | taken_in(Rouge(), 9) | taken_in(ExactMatch(), 9)
    wanted |= taken_in(BertScore(str(encoder), 2), 9)
    assert found == pytest.approx(wanted, abs=1e-6)


def test_a_module_of_evaluate_takes_rows_one_by_one(tmp_path):
    from autotrain_llm.run.evaluation import library

    metric = library.Rouge(cache_dir=str(tmp_path))
    for answer, reference in zip(ANSWERS, REFERENCES, strict=True):
        metric.add(prediction=answer, reference=reference)
    assert metric.compute() == pytest.approx(taken_in(Rouge(), 9), abs=1e-9)
