"""Rows in encodings other than UTF-8: the guess, how it reads, and the command that converts them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess

import pytest

from autotrain_llm import check
from autotrain_llm.data.files.encoding import likely_encoding

RUSSIAN = "Привет, как дела? Сегодня хорошая погода, и мы пойдём гулять в парк."
JAPANESE = "こんにちは、今日はとても良い天気ですね。公園に行きましょう。"
TEXTS = {
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.",
    "cp1252": "Größe und Übermut – das heißt: größer als geplant.",
    "latin-1": "Le château est à côté de la forêt, où les élèves étaient.",
    "cp1253": "Καλημέρα σας, τι κάνετε σήμερα; Ο καιρός είναι πολύ καλός.",
    "cp1254": "Merhaba, bugün hava çok güzel. Şimdi ağaçların altında oturuyoruz.",
    "cp1255": "שלום, מה שלומך היום? מזג האוויר נעים מאוד.",
    "cp1256": "مرحبا، كيف حالك اليوم؟ الطقس جميل جدا في المدينة.",
    "big5": "你好，今天天氣很好，我們一起去公園散步吧。學習語言模型",
    "gb18030": "你好，今天天气很好，我们一起去公园散步吧。学习语言模型",
    "euc-kr": "안녕하세요, 오늘 날씨가 정말 좋네요. 함께 공원에 갑시다.",
    "shift_jis": JAPANESE,
    "euc-jp": JAPANESE,
    "utf-16": RUSSIAN,
}
NEW = {"trainer": "sft", "model": "scratch:1m", "lr": 1e-3, "epochs": 1, "batch_size": 2}


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_file_in_another_encoding_is_converted_by_the_command_that_is_shown(encoding, tmp_path):
    text = TEXTS[encoding]
    rows = [{"prompt": f"Question {n}: {text[: 20 + n % 7]}", "completion": text} for n in range(12)]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content.encode(encoding))
    (finding,) = [one for one in check(**NEW, data_path=str(path)) if one.code == "D105"]
    assert text[:12] in finding.message or "{" in finding.message, "how it reads is shown"
    command = str(finding.fix).partition(": ")[2]
    if shutil.which("iconv") is None:
        pytest.skip("needs iconv")
    subprocess.run(command, shell=True, check=True)
    converted = shlex.split(command)[-1]
    assert (tmp_path / "rows.utf8.jsonl").read_text(encoding="utf-8") == content
    assert [one.code for one in check(**NEW, data_path=converted) if one.severity == "error"] == []


def test_no_encoding_is_named_where_none_is_known(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n\x81\x8d\x8f\xff\xfe\x00\x9d\xc1\n' * 3)
    (finding,) = [one for one in check(**NEW, data_path=str(path)) if one.code == "D105"]
    assert "iconv" not in str(finding.fix) or "reads" in finding.message


def test_a_mark_of_utf16_in_the_middle_of_a_text_does_not_make_it_one():
    data = b'{"text": "One line of \xff\xfext."}\n{"text": "Another one, a little longer."}\n'
    likely = likely_encoding(data)
    assert likely is None or likely.name != "UTF-16"
