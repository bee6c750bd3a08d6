"""Conversations under any keys and anywhere in a row: they are read as they were spoken, or what to write is said."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused

SAID = [
    "Is the mill still open?",
    "It is open until five.",
    "And who is the miller?",
    "Her name is Ida Brandt.",
    "Does it rain there?",
    "It has rained all week.",
]
# By what the two sides are called: the one that is asked is the assistant.
SIDES = [("user", "assistant"), ("User", "Agent"), ("USER", "SYSTEM"), ("human", "bot"), ("customer", "agent"), ("client", "model")]  # fmt: skip


def opened(tmp_path, rows, **settings):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_data(DataRequest(str(path), "conversations", trainer="sft", **settings))


def spoken(sides, role_key, content_key, turns, **more):
    return [{role_key: sides[at % 2], content_key: text, **more} for at, text in enumerate(SAID[:turns])]


def messages(example):
    turns = example.messages or [*example.prompt, *example.completion]
    return [(turn["role"], turn["content"]) for turn in turns]


def expected(turns):
    return [(("user", "assistant")[at % 2], text) for at, text in enumerate(SAID[:turns])]


@settings(max_examples=40, deadline=None)
@given(
    sides=st.sampled_from(SIDES),
    role_key=st.sampled_from(("role", "speaker", "author", "source", "speaker_type", "who")),
    content_key=st.sampled_from(("content", "text", "utterance", "body", "message", "line")),
    column=st.sampled_from(("steps", "turns", "log", "dialog", "trajectory.events", "call.record.parts_said")),
    sizes=st.lists(st.sampled_from((2, 4, 6)), min_size=2, max_size=4),
    more=st.sampled_from(({}, {"at": 3}, {"mood_of_it": "said with a smile, as ever"})),
)
def test_turns_are_read_as_they_were_spoken(sides, role_key, content_key, column, sizes, more, tmp_path_factory):
    rows = []
    for at, turns in enumerate(sizes):
        cell = spoken(sides, role_key, content_key, turns, **more)
        for key in reversed(column.split(".")):
            cell = {key: cell}
        rows.append({"id": at, **cell})
    dataset = opened(tmp_path_factory.mktemp("talks"), rows)
    assert [messages(example) for example in dataset.train] == [expected(turns) for turns in sizes]
    assert any("mood_of_it" in finding.message for finding in dataset.findings) == ("mood_of_it" in more)


@pytest.mark.parametrize("named", [{}, {"text_column": "steps", "named": ("text_column",)}])
def test_steps_of_an_agent_are_turns_with_calls_and_what_tools_answered(named, tmp_path):
    call = {"tool_call_id": "c1", "function_name": "look", "arguments": {"at": "mill"}}
    steps = [
        {"step_id": 1, "source": "user", "message": SAID[0]},
        {"step_id": 2, "source": "agent", "message": "I will look it up.", "tool_calls": [call],
         "observation": {"results": [{"source_call_id": "c1", "content": "open 9-17"}]}},
        {"step_id": 3, "source": "agent", "message": SAID[1]},
    ]  # fmt: skip
    (example, _) = opened(
        tmp_path, [{"id": 1, "steps": steps}, {"id": 2, "steps": steps[:1] + steps[2:]}], **named
    ).train
    assert [turn["role"] for turn in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert example.messages[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": {"at": "mill"}}
    assert (example.messages[2]["content"], example.messages[2]["tool_call_id"]) == ("open 9-17", "c1")


@pytest.mark.parametrize(
    ("request_key", "answer"),
    [
        ("contents", lambda text: {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}),
        (
            "messages",
            lambda text: {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"total": 4}},
        ),
        ("input", lambda text: {"output": [{"role": "assistant", "content": text}]}),
    ],
)
def test_the_log_of_an_api_is_its_requests_with_their_answers(request_key, answer, tmp_path):
    def row(turns):
        key = "parts" if request_key == "contents" else "content"
        given = spoken(("user", "model"), "role", key, turns - 1)
        given = [{**turn, key: [{"text": turn[key]}]} if key == "parts" else turn for turn in given]
        request = {request_key: given, "system_instruction": f"Answer in {turns} words or so."}
        return {"logged_at": f"2024-05-0{turns}", "the_request": request, "the_response": answer(SAID[turns - 1])}

    dataset = opened(tmp_path, [row(2), row(4)])
    systems = [("system", f"Answer in {turns} words or so.") for turns in (2, 4)]
    assert [messages(example) for example in dataset.train] == [[systems[0], *expected(2)], [systems[1], *expected(4)]]
    assert dataset.findings == ()


def test_a_system_prompt_is_no_assistant(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SAID[0]}]
    (example,) = opened(tmp_path, [{"messages": turns}]).train
    assert [turn["role"] for turn in example.messages] == ["system", "user"]
    late = [*turns, {"role": "assistant", "content": SAID[1]}, {"role": "system", "content": "Be briefer."}]
    (example,) = opened(tmp_path, [{"messages": late}]).train
    assert [turn["role"] for turn in example.messages] == ["system", "user", "assistant", "system"]


def test_speakers_whom_nobody_knows_are_named_with_what_to_write(tmp_path):
    rows = [{"id": at, "mails": spoken((f"ann{at}@x.org", "mill@y.org"), "from", "body", 4)} for at in range(3)]
    with pytest.raises(Refused) as refused:
        opened(tmp_path, rows)
    (finding,) = [finding for finding in refused.value.findings if finding.code == "D110"]
    assert (
        "from says who speaks" in finding.message and "write mails as messages" in finding.fix and "body" in finding.fix
    )


def test_rows_that_are_turns_are_told_by_any_column_of_speakers(tmp_path):
    rows = [
        {"session": "s", "source": turn["source"], "note": turn["line"]}
        for turn in spoken(("user", "agent"), "source", "line", 4)
    ]
    with pytest.raises(Refused) as refused:
        opened(tmp_path, rows)
    assert any("one turn of a conversation" in finding.message for finding in refused.value.findings)


def test_pairs_of_a_speaker_and_a_text_are_turns(tmp_path):
    rows = [
        {"model": "m", "messages": [[("USER", "ASSISTANT")[at % 2], text] for at, text in enumerate(SAID[:turns])]}
        for turns in (2, 4)
    ]
    assert [messages(example) for example in opened(tmp_path, rows).train] == [expected(2), expected(4)]


def test_parts_of_a_text_with_a_format_are_text(tmp_path):
    content = ["See ", {"type": "link", "text": "https://example.org"}, {"type": "bold", "text": " now"}]
    turns = [{"from": "user", "text": content}, {"from": "assistant", "text": SAID[1]}]
    (example,) = opened(tmp_path, [{"messages": turns}]).train
    assert example.messages[0]["content"] == "See https://example.org now"


def test_numbers_of_speakers_are_named(tmp_path):
    rows = [
        {"subject": f"The mill {at}", "status": "solved", "comments": [{"author_id": 7 + at % 2 * (turn % 2), "id": turn, "body": text} for turn, text in enumerate(SAID)]}
        for at in (1, 3, 5)
    ]  # fmt: skip
    with pytest.raises(Refused) as refused:
        opened(tmp_path, rows)
    assert any("write comments as messages" in str(finding.fix) for finding in refused.value.findings)
