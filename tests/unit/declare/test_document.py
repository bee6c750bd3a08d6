"""YAML and JSON of other people: strict, bounded, and never quoted in a message."""

from __future__ import annotations

import pytest

from autotrain_llm.declare.document import load_json, load_yaml, parse_json

SECRET = "hf_doNotShowThisOne"


@pytest.mark.parametrize(
    "text",
    [
        f'token: "{SECRET}',
        f"token: {{{SECRET}",
        f"token: *{SECRET}",
        f"token: !{SECRET} x",
        f"lr: 1\n token: {SECRET}",
        f"token: {SECRET}\n\tlr: 1",
        f"- {SECRET}: [",
        f"? {SECRET}\n: - a\n b: c",
        f"a: &{SECRET} 1\nb: *{SECRET}x",
        f"%{SECRET} 1",
    ],
)
def test_no_message_about_a_document_quotes_it(text):
    with pytest.raises(ValueError) as fault:
        load_yaml(text)
    assert SECRET not in str(fault.value)
    with pytest.raises(ValueError) as fault:
        load_json(f'{{"token": "{SECRET}", "token": "{SECRET}", {text}')
    assert SECRET not in str(fault.value)


def test_a_message_says_where_and_what():
    with pytest.raises(ValueError, match=r"line 2, column 5"):
        load_yaml("lr: 1\nx: [}")


def test_aliases_that_multiply_are_refused_before_they_are_built():
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    with pytest.raises(ValueError, match="values when its aliases are replaced"):
        load_yaml("\n".join(lines))


def test_an_alias_or_a_merge_that_is_used_as_people_use_it_works():
    assert load_yaml("base: &base {lr: 1e-5}\nrun:\n  <<: *base\n  seed: 1\nagain: *base") == {
        "base": {"lr": 1e-5},
        "run": {"lr": 1e-5, "seed": 1},
        "again": {"lr": 1e-5},
    }


@pytest.mark.parametrize("text", ["[" * 1000, "a: " + "[" * 1000 + "]" * 1000, "{a: " * 1000, "- " * 1000 + "x"])
def test_deep_nesting_is_refused(text):
    with pytest.raises(ValueError):
        load_yaml(text)


@pytest.mark.parametrize("parse", [load_json, parse_json])
def test_deep_json_is_refused(parse):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse("[" * 200_000)
