"""The findings that reading makes: each page's files and commands, of which one draws it and the other does not."""

from __future__ import annotations

import json
import shlex

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.rules.codes import EXPLANATIONS
from autotrain_llm.rules.every import RULES
from autotrain_llm.rules.examples import EXAMPLES

# What needs more than a command and a file of rows: a model that is damaged, a second file, the Hub, a database, a run that fails. Tests of
# those parts draw them.
MORE_THAN_A_FILE = {
    "models": "M104 M106 M107 M109 M110 M121 M122 M123 M124 M125 M126 M131 M132 M141 M142 M143 M144 M151 M161 M162 M163 M180",
    "many rows": "D157 D161 D162 D165",
    "tokenizers": "D131 D140 D146 D148 D149 D150 D160",
    "places": "D102 D121 D126 D128",
    "runs": "E408 E409 E410 P116 P117 P330 P731 R101 R102",
}


def test_every_finding_of_reading_has_an_example_or_a_test_of_its_own():
    elsewhere = {code for codes in MORE_THAN_A_FILE.values() for code in codes.split()}
    missing = sorted(set(EXPLANATIONS) - set(RULES) - set(EXAMPLES) - elsewhere)
    assert missing == []
    assert set(EXAMPLES) <= set(EXPLANATIONS)
    assert not elsewhere & set(EXAMPLES)


@pytest.mark.parametrize("code", EXAMPLES)
@pytest.mark.parametrize("which", ["refuses", "accepts"])
def test_the_command_of_a_page_draws_its_finding_and_the_other_does_not(
    code, which, light_llama, tmp_path, monkeypatch, capsys
):
    example = EXAMPLES[code]
    command, content = (example.refuses, example.rows) if which == "refuses" else (example.accepts, example.good)
    (tmp_path / example.name).write_bytes(content.encode(example.encoding))
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.replace("MODEL", str(light_llama)))
    status = main([*words, *(["--dry-run"] if words[0] == "llm" else []), "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    codes = [finding["code"] for finding in document.get("findings", [])]
    assert (code in codes) == (which == "refuses"), document["findings"]
    assert status == (2 if any(finding["severity"] == "error" for finding in document["findings"]) else 0)
