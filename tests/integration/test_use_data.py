"""Data as strangers bring it: what is found wrong with it is named, and what is learnt is what the trainer promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import check, plan
from autotrain_llm.data import cache
from autotrain_llm.data.files.locate import locate
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rows import RowsBuilder
from support.models import TEMPLATE
from support.rows import write_rows

FLAGS: dict[str, Any] = {"lr": 1e-5, "epochs": 1, "batch_size": 4, "dry_run": True}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
CALLING = [
    {"role": "user", "content": "Rain in Rome?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny"},
    {"role": "assistant", "content": "No."},
]
WRITES_TOOLS = (
    "{% for t in tools or [] %}{{ t['function']['name'] }}{% endfor %}"
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ c['function'] | tojson }}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def found(data: Path, model: Path, **flags: Any) -> dict[str, list[str]]:
    """Messages by code."""
    findings = check(**{**FLAGS, "trainer": "sft", "model": str(model), "data_path": str(data), **flags})
    messages: dict[str, list[str]] = {}
    for finding in findings:
        messages.setdefault(finding.code, []).append(finding.message)
    return messages


def share_trained(data: Path, model: Path, trainer: str) -> float:
    made = plan(**FLAGS, trainer=trainer, model=str(model), data_path=str(data))
    return float(made.data.trained_token_share)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2 =", "completion": " 4"},
        {"instruction": "Add", "input": "2 and 2", "output": "4"},
        {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
    ],
)
def test_generic_learns_every_token_whatever_the_rows_were_written_as(
    row: dict[str, Any], light_llama: Path, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [row] * 4)
    assert share_trained(data, light_llama, "generic") == 1.0
    assert share_trained(data, light_llama, "sft") < 1.0


def test_generic_learns_conversations_that_nobody_answers(light_llama: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"messages": [{"role": "user", "content": "Is anybody there?"}]}])
    assert share_trained(data, light_llama, "generic") == 1.0
    assert "D156" in found(data, light_llama)


def test_tool_calls_that_the_template_leaves_out_are_said(light_llama: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"tools": TOOLS, "messages": CALLING}] * 3)
    template = tmp_path / "plain.jinja"
    template.write_text(TEMPLATE)
    (message,) = found(data, light_llama, chat_template=str(template))["D131"]
    assert "tool calls" in message and "(3 rows: 1, 2, 3)" in message


def test_described_tools_that_the_template_leaves_out_are_said(light_llama: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"tools": TOOLS, "messages": [CALLING[0], CALLING[3]]}])
    (message,) = found(data, light_llama)["D131"]
    assert "described beside the turns" in message


def test_a_template_that_writes_tools_and_calls_is_fine(light_llama: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"tools": TOOLS, "messages": CALLING}])
    template = tmp_path / "tools.jinja"
    template.write_text(WRITES_TOOLS)
    assert "D131" not in found(data, light_llama, chat_template=str(template))


@pytest.mark.parametrize("text", ["[]", " []\n"])
def test_a_json_file_without_rows_is_called_empty(text: str, light_llama: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.json"
    data.write_text(text)
    assert found(data, light_llama)["D118"] == [f"{data} holds no rows"]


def test_a_string_that_never_ends_is_named_in_plain_words(light_llama: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "fine"}\n{"text": "bro\n')
    (message,) = found(data, light_llama)["D104"]
    assert message.startswith(
        f"{data}, line 2 is not valid JSON: Unterminated string starting at column 10: a text that"
    )


def test_evaluation_rows_that_are_not_recognised_are_not_called_empty(light_llama: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "fine"}])
    other = write_rows(tmp_path / "other.jsonl", [{"foo": "a", "bar": "b"}])
    messages = found(data, light_llama, eval_dataset_path=str(other))
    assert "D110" in messages and "D121" not in messages


def test_a_path_without_permission_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    observations = Observations()
    assert locate(str(tmp_path / "locked" / "rows.jsonl"), observations) is None
    (finding,) = observations.findings()
    assert finding.code == "D102" and "no permission" in finding.message


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    rows = RowsBuilder()
    rows.add([1, 2], [(0, 2)], 0)
    held = rows.built()
    cache.save(blocked / "cache", "abc", {"train": held, "valid": held}, {})
    cache.save(tmp_path / "cache", "abc", {"train": held, "valid": held}, {})
    assert cache.load(tmp_path / "cache", "abc") is not None
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["abc"]
    assert json.loads((tmp_path / "cache" / "abc" / cache.DOCUMENT).read_text()).keys() == {cache.FILES, cache.CODE}


def test_answers_that_say_nothing_are_said_and_a_row_of_them_is_left_out(llama: Path, tmp_path: Path) -> None:
    asked = {"role": "user", "content": "red or blue?"}
    empty, full = {"role": "assistant", "content": " "}, {"role": "assistant", "content": "red"}
    rows = [{"messages": turns} for turns in ([asked, empty], [asked, empty, asked, full], [asked, full])]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    alone, among = found(data, llama)["D147"]
    assert "row 1: every assistant turn is empty" in alone and "left out" in alone
    assert "row 2: turn 2 (assistant) is empty" in among
    made = plan(**FLAGS, trainer="sft", model=str(llama), data_path=str(data))
    assert made.data.dropped_rows == 1 and made.data.rows == 2
