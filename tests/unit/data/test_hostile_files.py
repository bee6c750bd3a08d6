"""Tokenizers and chat templates of strangers that have no bound are refused by a finding, before a row is prepared with them."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from autotrain_llm.data.chat.template import find_template
from autotrain_llm.data.files.read import read_table
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenize.prepare import prepare
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer import tokenizer as tokenizers
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare import bounded
from autotrain_llm.declare.finding import Refused
from support.tokenizers import made

pytestmark = pytest.mark.strangers_files

NESTED = "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}"
HOARD = "{% set n = namespace(l=[]) %}{% for i in range(1000) %}{% set n.l = n.l + ['a' * (9999999 - i)] %}{% endfor %}"
COPIES = "{% set s = 'a' * 9999999 %}{% for i in range(99999) %}{{ s[1:]|upper|length }}{% endfor %}"
CONSTANTS = "".join(f"{{% set s{n} = 'a' * (9999999 + {n}) %}}" for n in range(400))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 1)
    monkeypatch.setattr(bounded, "MEMORY", 256 << 20)


@pytest.fixture
def rows(tmp_path):
    def of(text: str):
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Hello"}]
        (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
        return open_data(DataRequest(str(tmp_path / "rows.jsonl"), "conversations"))

    return of


def refused(work) -> str:
    with pytest.raises(Refused) as refusal:
        work()
    (finding,) = refusal.value.findings
    assert finding.fix
    return f"{finding.code} {finding.message}"


@pytest.mark.slow
@pytest.mark.parametrize("source", [NESTED, HOARD, COPIES, CONSTANTS], ids=["nested", "hoard", "copies", "constants"])
def test_a_template_that_fills_the_memory_or_has_no_end_is_refused(source, tmp_path, rows):
    tokenizer = made(tmp_path / "t", template=source)
    observations = Observations()
    assert find_template(None, tokenizer, observations) is None
    assert [finding.code for finding in observations.findings()] == ["D141"]
    message = refused(lambda: prepare(rows("Hi"), tokenizer, Preparation(max_length=64)))
    assert message.startswith("D141") and "for the first rows" in message


@pytest.mark.slow
def test_a_tokenizer_whose_expression_goes_back_without_end_is_refused(tmp_path, rows):
    made(tmp_path / "t", template="{% for m in messages %}{{ m.content }}{% endfor %}")
    path = tmp_path / "t" / "tokenizer.json"
    written = json.loads(path.read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps(written | {"pre_tokenizer": split}))
    dataset, tokenizer = rows(("a" * 21 + "b") * 60), Tokenizer.load(tmp_path / "t")
    message = refused(lambda: prepare(dataset, tokenizer, Preparation(max_length=64)))
    assert message.startswith("D160") and "for the first rows" in message


def test_a_normalizer_that_makes_a_text_ever_longer_is_refused(tmp_path, rows):
    made(tmp_path / "t", template="{% for m in messages %}{{ m.content }}{% endfor %}")
    path = tmp_path / "t" / "tokenizer.json"
    written = json.loads(path.read_text())
    longer = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    path.write_text(json.dumps(written | {"normalizer": {"type": "Sequence", "normalizers": [longer] * 40}}))
    tokenizer = Tokenizer.load(tmp_path / "t")
    assert "D160" in refused(lambda: prepare(rows("a banana"), tokenizer, Preparation(max_length=64)))


def test_an_id_that_no_vocabulary_reaches_is_refused(tmp_path):
    made(tmp_path / "t")
    path = tmp_path / "t" / "tokenizer.json"
    written = json.loads(path.read_text())
    written["model"]["vocab"][next(reversed(written["model"]["vocab"]))] = 10**9
    path.write_text(json.dumps(written))
    assert "the id 1000000000" in refused(lambda: Tokenizer.load(tmp_path / "t"))


def test_a_large_tokenizer_is_tried_before_it_is_loaded(tmp_path, monkeypatch):
    made(tmp_path / "t")
    monkeypatch.setattr(tokenizers, "LARGE", 100)
    assert Tokenizer.load(tmp_path / "t").size > 100
    monkeypatch.setattr(Tokenizer, "use_all_tokens", lambda self: [bytes(16 << 20) for _ in range(1000)])
    assert "loading it needs more than 256 MiB" in refused(lambda: Tokenizer.load(tmp_path / "t"))


def test_many_tokens_of_the_config_are_added_in_one_call(tmp_path):
    made(tmp_path / "t")
    path = tmp_path / "t" / "tokenizer_config.json"
    more = {str(1000 + n): {"content": f"<more {n}>", "special": True} for n in range(20_000)}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens_decoder": more}))
    tokenizer = Tokenizer.load(tmp_path / "t")
    assert tokenizer.encode_batch(["<more 19999>"]) == [[tokenizer.id_of("<more 19999>")]]


@pytest.mark.parametrize(
    "changes",
    [
        {"added_tokens_decoder": [1]},
        {"added_tokens_decoder": {"a": 5}},
        {"additional_special_tokens": 5},
        {"bos_token": {"x": 1}},
    ],
    ids=str,
)
def test_a_tokenizer_config_with_values_of_another_type_is_refused(tmp_path, changes):
    made(tmp_path / "t")
    path = tmp_path / "t" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert "tokenizer_config.json can't be read" in refused(lambda: Tokenizer.load(tmp_path / "t"))


def test_an_arrow_file_with_any_byte_changed_ends_no_process(tmp_path, monkeypatch):
    """An offset that points outside of its buffer is a segmentation fault for whoever reads the value."""
    import pyarrow

    monkeypatch.setattr(bounded, "SECONDS", 20)
    table = pyarrow.table(
        {"messages": [[{"role": "user", "content": "Hi"}] * 3] * 4, "text": ["One.", "Two.", None, "Four."]}
    )
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content, path, read = sink.getvalue().to_pybytes(), tmp_path / "rows.arrow", tmp_path / "read"

    def read_all() -> None:
        findings = 0
        for index in range(0, len(content), 5):
            path.write_bytes(content[:index] + bytes([content[index] ^ 0x55]) + content[index + 1 :])
            observations = Observations()
            rows = read_table(path, "rows.arrow", observations, sha256()).rows
            findings += bool(observations.findings())
            assert all(isinstance(row, tuple) for row in rows)
        read.write_text(str(findings))

    assert bounded.breach(read_all) is None
    assert int(read.read_text()) > len(content) / 50  # each was read, and many were found damaged
