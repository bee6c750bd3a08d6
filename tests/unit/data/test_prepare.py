"""Preparing rows: ids, what is trained on, cutting, findings, cache and preview."""

import json
import multiprocessing
import re
from itertools import chain
from pathlib import Path

import numpy
import pytest

from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rows import PairRows
from autotrain_llm.data.tokenize.prepare import prepare
from autotrain_llm.data.tokenize.preview import preview
from autotrain_llm.data.tokenize.prompt_format import PromptFormat, prompt_to_show
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from support.tokenizers import TEXT, made

OWN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
SYSTEM = {"role": "system", "content": "Be kind."}
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory.mktemp("t") / "plain")


@pytest.fixture(scope="module")
def bos(tmp_path_factory):
    return made(tmp_path_factory.mktemp("t") / "bos", bos=True)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return made(tmp_path_factory.mktemp("t") / "chat", template=OWN)


@pytest.fixture
def data(tmp_path):
    def opened(rows, shape="conversations", **settings):
        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return open_data(DataRequest(str(path), shape, **settings))

    return opened


def segments(dataset, tokenizer, count=9, **settings):
    prepared = prepare(dataset, tokenizer, Preparation(**{"max_length": 512, **settings}))
    return preview(prepared, tokenizer, count)


def findings(dataset, tokenizer, **settings):
    return prepare(dataset, tokenizer, Preparation(**{"max_length": 512, **settings})).findings


def codes(found):
    return [finding.code for finding in found]


# -- what is trained on ----------------------------------------------------------------------------------------------------


def test_text_is_trained_on_whole_with_one_end_token(data, plain, bos):
    rows = [{"text": "Blue."}, {"text": "Red.</s>"}]
    assert segments(data(rows), plain) == [[("Blue.</s>", True)], [("Red.</s>", True)]]
    assert segments(data(rows), bos) == [[("<s>Blue.</s>", True)], [("<s>Red.</s>", True)]]
    assert segments(data(rows), plain, add_eos=False)[0] == [("Blue.", True)]


def test_of_prompt_and_completion_the_completion_is_trained_on(data, plain, bos):
    rows = [{"prompt": "Name a colour.", "completion": " Blue."}]
    assert segments(data(rows), plain) == [[("Name a colour.", False), (" Blue.</s>", True)]]
    assert segments(data(rows), bos) == [[("<s>Name a colour.", False), (" Blue.</s>", True)]]
    assert segments(data(rows), plain, response_only=False) == [[("Name a colour. Blue.</s>", True)]]


@pytest.mark.parametrize(("prompt", "completion"), [("Name a col", "our."), ("A: ", "Blue"), ("Hi\n", "\nHi")])
def test_a_prompt_is_tokenised_as_it_will_be_when_it_stands_alone(prompt, completion, data, plain):
    prepared = prepare(data([{"prompt": prompt, "completion": completion}]), plain, Preparation(512))
    ids, loss_mask = prepared.train[0]
    assert [ids[~loss_mask].tolist()] == plain.encode_batch([prompt])
    assert plain.decode(ids[loss_mask]) == completion + "</s>"


def test_of_a_conversation_the_answers_are_trained_on(data, chat):
    rows = [{"messages": [{"role": "system", "content": "Be good."}, *CHAT, *CHAT]}]
    wanted = [
        ("<|system|>Be good.</s><|user|>Hi</s><|assistant|>", False),
        ("Hello</s>", True),
        ("<|user|>Hi</s><|assistant|>", False),
        ("Hello</s>", True),
    ]
    assert segments(data(rows), chat) == [wanted]
    assert [loss_mask for _, loss_mask in segments(data(rows), chat, response_only=False)[0]] == [True]


def test_an_instruction_is_a_user_turn_with_a_template_and_plain_text_without(data, chat, plain):
    rows = [{"instruction": "Name a colour.", "input": "", "output": "Blue."}]
    assert segments(data(rows), chat) == [[("<|user|>Name a colour.</s><|assistant|>", False), ("Blue.</s>", True)]]
    (before, answer) = segments(data(rows), plain)[0]
    assert before[0].endswith("### Instruction:\nName a colour.\n\n### Response:\n") and answer == ("Blue.</s>", True)


def test_prompts_and_completions_are_turns_only_where_a_template_is_asked_for(data, chat):
    rows = [{"prompt": "Hi", "completion": "Hello"}]
    assert segments(data(rows), chat)[0] == [("Hi", False), ("Hello</s>", True)]
    asked = segments(data(rows), chat, chat_template="tokenizer")[0]
    assert asked == [("<|user|>Hi</s><|assistant|>", False), ("Hello</s>", True)]


def test_of_a_prompt_made_of_turns_only_the_completion_is_trained_on(data, chat):
    rows = [{"prompt": [*CHAT, CHAT[0]], "completion": CHAT[1:]}]
    wanted = [("<|user|>Hi</s><|assistant|>Hello</s><|user|>Hi</s><|assistant|>", False), ("Hello</s>", True)]
    assert segments(data(rows), chat)[0] == wanted


def test_a_template_that_ends_no_turn_gets_the_end_token(data, plain):
    rows = [{"messages": CHAT}]
    assert segments(data(rows), plain, chat_template="chatml")[0][-1] == ("Hello<|im_end|></s>", True)
    assert segments(data(rows), plain, chat_template="chatml", add_eos=False)[0][-2:] == [
        ("Hello<|im_end|>", True),
        ("\n", False),
    ]


def test_the_end_token_is_not_put_back_after_cutting(data, plain):
    rows = [{"text": TEXT * 5}]
    prepared = prepare(data(rows), plain, Preparation(16))
    assert len(prepared.train.ids) == 16 and prepared.train.ids[-1] != plain.eos_id
    assert prepared.statistics["truncated_rows"] == 1 and prepared.findings == ()


# -- documents -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 7, 64, 10_000])
def test_blocks_lose_no_token_and_train_on_all(length, data, bos):
    rows = [{"text": TEXT[number:]} for number in range(9)]
    prepared = prepare(data(rows, "documents"), bos, Preparation(length, block=True))
    wanted = [[1, *ids, 2] for ids in bos.encode_batch([row["text"] for row in rows])]
    assert prepared.train.ids.tolist() == list(chain.from_iterable(wanted))
    assert prepared.train.loss_mask.all() and prepared.statistics["total_tokens"] == len(
        list(chain.from_iterable(wanted))
    )
    lengths = prepared.train.lengths.tolist()
    assert all(n == length for n in lengths[:-1]) and 0 < lengths[-1] <= length
    assert prepared.train.source[0] == 0 and max(prepared.train.source) <= 8


# -- pairs and prompts -----------------------------------------------------------------------------------------------------


def test_a_pair_is_a_prompt_and_two_answers(data, bos, chat):
    text = data([{"prompt": "Name a colour.", "chosen": " Blue.", "rejected": " No."}], "preferences")
    assert segments(text, bos)[0] == [("<s>Name a colour.", False), (" Blue.</s>", True), (" No.</s>", True)]
    turns = data([{"chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "No"}]}], "preferences")
    assert segments(turns, chat)[0] == [("<|user|>Hi</s><|assistant|>", False), ("Hello</s>", True), ("No</s>", True)]


def test_a_pairs_prompt_keeps_its_end_and_its_answers_their_start(data, bos):
    rows = [{"prompt": TEXT * 3, "chosen": TEXT, "rejected": "No."}]
    settings = Preparation(20, max_prompt_length=8, max_completion_length=5)
    rows = prepare(data(rows, "preferences"), bos, settings).train
    prompt, chosen = rows.prompt[0][0].tolist(), rows.chosen[0][0].tolist()
    (text,) = bos.encode_batch([TEXT * 3])
    assert prompt == [1, *text[-7:]] and chosen == text[:5]
    assert rows.lengths.tolist() == [[13, 8 + len(rows.rejected[0][0])]]


def test_prompts_are_rendered_up_to_the_answer_and_nothing_is_trained_on(data, chat):
    prepared = prepare(data([{"messages": CHAT}], "prompts"), chat, Preparation(64))
    assert preview(prepared, chat, 1) == [[("<|user|>Hi</s><|assistant|>", False)]]


# -- findings --------------------------------------------------------------------------------------------------------------


def test_settings_that_do_not_fit_the_rows_are_findings(data, plain, chat):
    turns, text = data([{"messages": CHAT}]), None
    assert codes(findings(turns, plain)) == ["D140"]
    assert codes(findings(turns, chat, chat_template="none")) == ["D142"]
    assert codes(findings(turns, chat, chat_template="chatlm")) == ["D141"]
    assert codes(findings(turns, chat)) == []
    text = data([{"text": "Blue."}])
    assert codes(findings(text, chat, chat_template="tokenizer")) == ["D143"]
    assert codes(findings(text, chat, response_only=True)) == ["D144"]
    assert codes(findings(text, chat, response_only=False)) == []


def test_a_row_that_the_template_refuses_is_named(data, plain):
    strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}{{ m.content }}{% endfor %}"
    dataset = data([{"messages": CHAT}, {"messages": [{"role": "system", "content": "x"}, *CHAT]}])
    (found,) = findings(dataset, plain, chat_template=strict)
    assert (found.code, found.row, found.severity) == ("D146", 2, "error") and "no system turn" in found.message


def test_a_template_that_refuses_a_turn_that_is_only_a_call_is_said_to_write_no_calls(data, plain):
    strict = "{% for m in messages %}{{ m.role + m['content'] }}{{ eos_token }}{% endfor %}"
    calling = {"role": "assistant", "content": None, "function_call": '{"name": "add", "arguments": {"a": 1}}'}
    (found,) = findings(data([{"messages": CHAT}, {"messages": [CHAT[0], calling]}]), plain, chat_template=strict)
    assert (found.code, found.row) == ("D146", 2) and "writes no calls of tools" in found.message
    assert "one that calls tools" in found.fix


def test_conversations_without_an_answer_are_left_out_and_refused_when_all_are(data, chat):
    prepared = prepare(data([{"messages": CHAT}, {"messages": CHAT[:1]}]), chat, Preparation(64))
    assert codes(prepared.findings) == ["D147"] and len(prepared.train) == 1 and prepared.train.source.tolist() == [0]
    assert codes(findings(data([{"messages": CHAT[:1]}]), chat)) == ["D156", "D147"]


def test_a_doubled_first_token_is_kept_once_and_said(data, bos):
    dataset = data([{"text": "<s>Blue."}])
    (found,) = findings(dataset, bos)
    assert found.code == "D149" and "<s>" in found.message and "BOS" in found.message
    assert segments(dataset, bos)[0] == [("<s>Blue.</s>", True)]


def test_a_doubled_end_token_is_said_only_where_the_flag_was_given(data, plain):
    dataset = data([{"text": "Blue.</s>"}])
    assert codes(findings(dataset, plain, add_eos_given=True)) == ["D150"] and findings(dataset, plain) == ()


def test_cutting_is_said_where_a_limit_was_given_and_counted_always(data, chat):
    rows = [{"messages": CHAT}, {"messages": [CHAT[0], {"role": "assistant", "content": TEXT}]}]
    (found,) = findings(data(rows), chat, max_length=32, length_given=True)
    assert found.code == "D151" and found.row == 2 and "--max-seq-length 32" in found.message
    assert findings(data(rows), chat, max_length=32) == ()


def test_a_prompt_that_fills_the_limit_leaves_its_row_out_with_a_warning(data, chat):
    rows = [{"messages": CHAT}, {"messages": [{"role": "user", "content": TEXT}, CHAT[1]]}]
    prepared = prepare(data(rows), chat, Preparation(32))
    assert codes(prepared.findings) == ["D152"] and prepared.statistics["dropped_rows"] == 1
    assert "D156" in codes(findings(data(rows[1:]), chat, max_length=32))


def test_one_row_far_longer_than_the_others_is_said(data, plain):
    rows = [{"text": f"Blue {number}"} for number in range(40)] + [{"text": TEXT * 20}]
    assert codes(findings(data(rows), plain, max_length=8192, length_given=True)) == ["D153"]
    assert findings(data(rows[:40]), plain, max_length=8192, length_given=True) == ()


def test_documents_without_an_end_token_are_a_warning(data, plain):
    dataset = data([{"text": TEXT}], "documents")
    assert codes(findings(dataset, plain, block=True, add_eos=False)) == ["D155"]
    assert findings(dataset, plain, block=True) == ()


# -- cache, statistics, agreement ------------------------------------------------------------------------------------------


def test_statistics_count_tokens_rows_and_what_is_trained_on(data, chat):
    dataset = data(
        [{"messages": CHAT}, {"messages": [CHAT[0], {"role": "assistant", "content": "Blue"}]}], valid_split="1"
    )
    statistics = prepare(dataset, chat, Preparation(64)).statistics
    assert (statistics["rows"], statistics["eval_rows"]) == (1, 1)
    assert statistics["tokens"]["max"] == statistics["total_tokens"]
    assert 0 < statistics["trained_token_share"] < 1


@pytest.mark.parametrize("shape", ["conversations", "preferences"])
def test_a_second_run_loads_the_same_rows_from_the_cache(shape, data, chat, tmp_path):
    rows = [{"messages": CHAT}, {"messages": CHAT[:1]}]
    if shape == "preferences":
        rows = [{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}]
    first = prepare(data(rows, shape), chat, Preparation(64), tmp_path / "cache")
    second = prepare(data(rows, shape), chat, Preparation(64), tmp_path / "cache")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert preview(first, chat, 9) == preview(second, chat, 9)
    assert (first.findings, first.statistics) == (second.findings, second.statistics)
    assert not [
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix not in (".npy", ".json")
    ]


def test_the_cache_follows_settings_tokenizer_and_content(data, chat, plain, tmp_path):
    rows = [{"prompt": "Hi", "completion": " Hello"}]
    kept = prepare(data(rows), chat, Preparation(64), tmp_path).fingerprint
    others = [
        prepare(data(rows), chat, Preparation(65), tmp_path),
        prepare(data(rows), chat, Preparation(64, response_only=False), tmp_path),
        prepare(data(rows), chat, Preparation(64, chat_template="tokenizer"), tmp_path),
        prepare(data(rows), plain, Preparation(64), tmp_path),
        prepare(data([{"prompt": "Hi", "completion": " Hey"}]), chat, Preparation(64), tmp_path),
    ]
    assert not any(other.from_cache for other in others)
    assert len({kept, *(other.fingerprint for other in others)}) == 6


def test_a_cache_of_other_code_is_prepared_anew_and_replaced(data, chat, tmp_path, monkeypatch):
    """Another version may find more in the same rows."""
    cache, rows = tmp_path / "cache", [{"prompt": "a", "completion": "b"}] * 3
    before = prepare(data(rows), chat, Preparation(64), cache)
    monkeypatch.setattr("autotrain_llm.data.cache.code_digest", lambda: "another version")
    again, after = (prepare(data(rows), chat, Preparation(64), cache) for _ in range(2))
    assert (before.from_cache, again.from_cache, after.from_cache) == (False, False, True)
    assert before.fingerprint == again.fingerprint and [path.name for path in cache.iterdir()] == [before.fingerprint]


def test_a_damaged_cache_is_prepared_anew(data, chat, tmp_path):
    rows = [{"messages": CHAT}]
    first = prepare(data(rows), chat, Preparation(64), tmp_path / "cache")
    (tmp_path / "cache" / first.fingerprint / "train.ids.npy").write_bytes(b"\x93NUMPY broken")
    assert not prepare(data(rows), chat, Preparation(64), tmp_path / "cache").from_cache
    assert prepare(data(rows), chat, Preparation(64), tmp_path / "cache").from_cache
    (tmp_path / "cache" / first.fingerprint / "prepared.json").unlink()
    assert not prepare(data(rows), chat, Preparation(64), tmp_path / "cache").from_cache
    assert prepare(data(rows), chat, Preparation(64), tmp_path / "cache").from_cache


def test_one_changed_token_of_the_cache_is_found(data, chat, tmp_path):
    rows = [{"messages": CHAT}]
    first = prepare(data(rows), chat, Preparation(64), tmp_path / "cache")
    file = tmp_path / "cache" / first.fingerprint / "train.ids.npy"
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)
    again = prepare(data(rows), chat, Preparation(64), tmp_path / "cache")
    assert not again.from_cache and preview(first, chat, 9) == preview(again, chat, 9)


@pytest.mark.parametrize("shape", ["conversations", "preferences", "documents"])
def test_more_rows_than_a_set_of_files_has_are_in_several_and_a_changed_token_of_any_is_found(
    shape, data, chat, tmp_path, monkeypatch
):
    rows = [{"prompt": "Hi", "completion": f"Hello {number}"} for number in range(7)]
    if shape == "preferences":
        rows = [{"prompt": "Hi", "chosen": f"Hello {number}", "rejected": "No"} for number in range(7)]
    if shape == "documents":
        rows = [{"text": f"Hello {number} Hello"} for number in range(7)]
    settings = Preparation(5, block=True, response_only=False) if shape == "documents" else Preparation(64)
    monkeypatch.setattr("autotrain_llm.data.cache.MOST_ROWS", 3)
    first = prepare(data(rows, shape), chat, settings, tmp_path / "cache")
    folder = tmp_path / "cache" / first.fingerprint
    last = sorted(folder.glob("train*ids.npy"))[-1]
    assert re.fullmatch(r"train(\.\w+)?-0000\d-of-0000\d\.ids\.npy", last.name)
    again = prepare(data(rows, shape), chat, settings, tmp_path / "cache")
    assert again.from_cache and len(again.train) == len(first.train) and len(again.train.parts) == 1
    for one, other in zip(sides_of(first.train), sides_of(again.train), strict=True):
        assert [ids.tolist() for ids, _ in one] == [ids.tolist() for ids, _ in other]
        assert [mask.tolist() for _, mask in one] == [mask.tolist() for _, mask in other]
        assert one.lengths.tolist() == other.lengths.tolist() and one.source.tolist() == other.source.tolist()
        chosen = numpy.array([1, 4, 6])
        assert [ids.tolist() for ids, _ in other.select(chosen)] == [one[at][0].tolist() for at in chosen]
    content = bytearray(last.read_bytes())
    content[-4] ^= 1
    last.write_bytes(content)
    assert not prepare(data(rows, shape), chat, settings, tmp_path / "cache").from_cache


def sides_of(rows):
    return [rows.prompt, rows.chosen, rows.rejected] if isinstance(rows, PairRows) else [rows]


def fill(arguments):
    path, folder, cache = arguments
    dataset = open_data(DataRequest(path))
    return prepare(dataset, Tokenizer.load(folder), Preparation(64), Path(cache)).train.ids.tolist()


def test_two_processes_may_fill_the_cache_at_once(data, tmp_path):
    made(tmp_path / "tokenizer", template=OWN)
    data([{"messages": CHAT}] * 50)
    work = (str(tmp_path / "train.jsonl"), str(tmp_path / "tokenizer"), str(tmp_path / "cache"))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(fill, [work, work])
    assert first == second
    assert [path.name[0] for path in (tmp_path / "cache").iterdir()] != ["."]


def test_rows_are_int32_and_bool_and_aligned(data, chat):
    rows = prepare(data([{"messages": CHAT}] * 3), chat, Preparation(64)).train
    assert (rows.ids.dtype, rows.loss_mask.dtype, rows.offsets.dtype) == ("int32", "bool", "int64")
    assert len(rows) == 3 and len(list(rows)) == 3 and rows.offsets[-1] == len(rows.ids) == len(rows.loss_mask)


def test_more_than_one_batch_keeps_the_order(data, plain):
    rows = [{"text": f"Number {number}"} for number in range(2500)]
    prepared = prepare(data(rows), plain, Preparation(64))
    assert prepared.train.source.tolist() == list(range(2500))
    assert plain.decode(prepared.train[2400][0]) == "Number 2400</s>"


# -- what a template makes of turns -----------------------------------------------------------------------------------------


def turns_of(*said):
    return {"messages": [{"role": role, "content": content} for role, content in said]}


@pytest.mark.parametrize(
    ("template", "row", "code", "words"),
    [
        (OWN, [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")], None, ""),
        (OWN.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"),
         [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")], "D136", "leaves out turn 1 (system)"),
        (OWN.replace("{% for m in messages %}", "{% for m in messages if m.role != 'assistant' %}"),
         [("user", "Hi"), ("assistant", "Hello")], "D148", "writes nothing of turn 2"),
        (OWN.replace("{% for m in messages %}", "{% for m in messages if m.role != 'tool' %}"),
         [("user", "Hi"), ("tool", '{"sum": "forty"}'), ("assistant", "Hello")], "D136", "leaves out turn 2 (tool)"),
        (OWN.replace("{{ m.content }}", "{{ m.content | tojson if m.role == 'tool' else m.content }}"),
         [("user", "Hi"), ("tool", '{"sum": "forty"}'), ("assistant", "Hello")], None, ""),
        (OWN, [("user", "Hi"), ("assistant", "Hello</s>")], "D150", "it is trained on twice"),
        (OWN, [("user", "What does </s> mean?"), ("assistant", "It ends a text.")], None, ""),
    ],
)  # fmt: skip
def test_what_a_template_leaves_out_or_writes_twice_is_said(template, row, code, words, data, tmp_path):
    found = findings(data([turns_of(*row)]), made(tmp_path / "t", template=template))
    told = [finding for finding in found if finding.code != "D156"]
    assert codes(told) == ([code] if code else [])
    assert all(words in finding.message for finding in told)


def test_a_name_that_the_template_leaves_out_is_said(data, chat, tmp_path):
    row = {"messages": [{**CHAT[0], "name": "Anna"}, CHAT[1]]}
    (told,) = [finding for finding in findings(data([row]), chat) if finding.code == "D182"]
    assert "name" in told.message and "Anna" in told.message
    writes_names = made(tmp_path / "t", template=OWN.replace("{{ m.content }}", "{{ m.name }}{{ m.content }}"))
    assert "D182" not in codes(findings(data([row]), writes_names))


THINKING = OWN.replace("<|assistant|>{% endif", "<|assistant|><think>\n{% endif")


@pytest.mark.parametrize(
    ("template", "answer", "found"),
    [(OWN, "Hello", []), (THINKING, "Hello", ["D192"]), (THINKING, "<think>\nA greeting.\n</think>\n\nHello", [])],
)
def test_a_thought_that_only_prompts_open_is_said_where_answers_have_none(template, answer, found, data, tmp_path):
    rows = data([turns_of(("user", "Hi"), ("assistant", answer))] * 2)
    told = [finding for finding in findings(rows, made(tmp_path / "t", template=template)) if finding.code == "D192"]
    assert codes(told) == found
    assert all("'<think>'" in finding.message and "2 rows" in finding.message for finding in told)


def test_a_call_of_which_part_is_left_out_is_said(data, tmp_path):
    source = OWN.replace("{{ m.content }}", "{{ m.content }}{{ m.tool_calls[0].function if m.tool_calls else '' }}")
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"a": text}}} for text in ("one", "two")]
    row = {"messages": [CHAT[0], {"role": "assistant", "content": "", "tool_calls": calls}]}
    (told,) = [one for one in findings(data([row]), made(tmp_path / "t", template=source)) if one.code == "D131"]
    assert "part of the tool calls of its turns, such as 'two'" in told.message


def test_tools_that_are_left_out_are_said_where_question_and_answer_name_them(data, tmp_path):
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    row = {"messages": turns_of(("user", "Can you add?"), ("assistant", "I call add."))["messages"], "tools": [tool]}
    (told,) = [one for one in findings(data([row]), made(tmp_path / "t", template=OWN)) if one.code == "D131"]
    assert "leaves out the tools that are described" in told.message


def test_an_answer_that_can_not_be_told_is_an_error(data, tmp_path):
    tokenizer = made(
        tmp_path / "t", template="{{ messages[0].content }}{{ messages[1].content }}{{ messages[3].content }}</s>"
    )
    row = turns_of(("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you"))
    found = prepare(data([row]), tokenizer, Preparation(512))
    assert [(one.code, one.severity) for one in found.findings][:1] == [("D191", "error")] and len(found.train) == 0


@pytest.mark.parametrize(
    ("rows", "shape", "settings", "written"),
    [
        ([{"text": "Blue."}], "conversations", {}, ("text", None, "")),
        ([{"prompt": "Hi", "completion": "Hello"}], "conversations", {}, ("text", None, "")),
        ([{"prompt": "Hi", "completion": "Hello"}], "conversations", {"chat_template": "tokenizer"}, ("chat", "tokenizer", "")),
        ([{"messages": CHAT}], "conversations", {}, ("chat", "tokenizer", "")),
        ([{"messages": [SYSTEM, *CHAT]}] * 2, "conversations", {}, ("chat", "tokenizer", "Be kind.")),
        ([{"messages": [SYSTEM, *CHAT]}, {"messages": CHAT}], "conversations", {}, ("chat", "tokenizer", None)),
        ([{"instruction": "Hi", "output": "Hello"}], "conversations", {"chat_template": "none"}, ("text", "alpaca", "")),
        ([{"prompt": "Hi"}], "prompts", {}, ("text", None, "")),
        ([{"prompt": CHAT[:1]}], "prompts", {}, ("chat", "tokenizer", "")),
    ],
)  # fmt: skip
def test_how_rows_are_written_is_known(rows, shape, settings, written, data, chat, tmp_path):
    for _ in range(2):  # the second time from the cache
        prepared = prepare(data(rows, shape), chat, Preparation(64, **settings), tmp_path / "cache")
        assert prepared.prompt_format == PromptFormat(*written)


def test_the_prompt_to_show_is_short_and_one_that_can_be_typed(data):
    turns = [SYSTEM, *CHAT]
    rows = [{"prompt": text, "completion": "x"} for text in ("a\nb", "-x", "y" * 100, "Is it blue?")]
    assert prompt_to_show(data(rows).train, PromptFormat("text")) == "Is it blue?"
    assert prompt_to_show(data([{"messages": turns}]).train, PromptFormat("chat")) == "Hi"
    assert prompt_to_show(data([{"text": "The sky is blue.\nYes."}]).train, PromptFormat("text")) == "The sky"
    assert prompt_to_show(data(rows[:3]).train, PromptFormat("text")) == "a b"
    words = [{"prompt": "-- " + "word " * 40 + "\nend", "completion": "x"}]
    assert prompt_to_show(data(words).train, PromptFormat("text")) == " ".join(["word"] * 16)
    assert prompt_to_show(data(rows[2:3]).train, PromptFormat("text")) == "y" * 80
    assert prompt_to_show([], PromptFormat("text")) == "Hello"


def test_a_weight_of_nought_is_not_called_empty(data, chat):
    row = turns_of(("user", "Hi"), ("assistant", "Hello"))
    row["messages"][1]["weight"] = 0
    assert any("has weight 0" in finding.message for finding in findings(data([row]), chat))


def test_a_side_that_was_cut_names_the_limit_that_was_given(data, plain):
    rows = [{"prompt": "Name a colour. " * 4, "chosen": "Blue is a colour.", "rejected": "No."}]
    given = {"max_prompt_length": 8, "max_completion_length": 4}
    found = findings(data(rows, "preferences"), plain, sides_given=tuple(given), **given)
    assert [(finding.code, finding.parameters) for finding in found] == [("D151", (name,)) for name in given]
    assert findings(data(rows, "preferences"), plain, **given) == ()


# -- conversations that are texts, and texts in segments -------------------------------------------------------------------


HH = {"prompt": "\n\nHuman: What is tin?\n\nAssistant:", "chosen": " A metal.", "rejected": " A tree."}
SPOKEN = [
    ({"text": "### Human: Name a bird.### Assistant: The wren."}, "conversations"),
    ({"text": "A chat. USER: Name a bird. ASSISTANT: The wren."}, "conversations"),
    ({"text": "**User:** Name a bird.\n\n**Assistant:** The wren."}, "conversations"),
    ({"text": "[INST] Name a bird. [/INST] The wren."}, "conversations"),
    ({"text": "### Instruction:\nName a bird.\n\n### Response:\nThe wren."}, "conversations"),
    (HH, "preferences"),
    (HH, "scored"),
    ({"prompt": "Human: Name a bird.\nAssistant:"}, "prompts"),
]


@pytest.mark.parametrize(("row", "shape"), SPOKEN)
def test_a_conversation_in_one_text_is_said_where_the_model_has_a_template(row, shape, data, chat, plain):
    dataset = data([row, row | {"id": 2}], shape, trainer={"preferences": "dpo", "scored": "reward"}.get(shape, "sft"))
    scored = {"scored": shape == "scored"}
    assert "D197" in codes(findings(dataset, chat, **scored))
    assert "D197" not in codes(findings(dataset, chat, chat_template="none", **scored))
    assert "D197" not in codes(findings(dataset, plain, **scored))
    assert "D197" not in codes(findings(dataset, chat, block=True))


@pytest.mark.parametrize(
    "text",
    ["Assistant: Hello.\nHuman: Hi.", "The user: a person.", "Question: 2 + 2?\nAnswer: 4", "User: see the manual."],
)
def test_other_texts_with_colons_are_no_conversations(text, data, chat):
    assert codes(findings(data([{"text": text}, {"text": text + " "}]), chat)) == []


def test_only_the_marked_segments_of_a_text_are_trained_on(data, plain):
    row = {"segments": [{"label": False, "text": "2 + 2 = "}, {"label": True, "text": "4"}]}
    other = {"segments": [{"label": True, "text": "One"}, {"label": False, "text": " and two"}]}
    dataset = data([row, other])
    assert segments(dataset, plain) == [
        [("2 + 2 = ", False), ("4</s>", True)],
        [("One", True), (" and two</s>", False)],
    ]
    assert segments(dataset, plain, response_only=False)[0] == [("2 + 2 = 4</s>", True)]
    blocks = prepare(data([row, other], "documents"), plain, Preparation(64, block=True, response_only=False)).train
    assert 0 < blocks.loss_mask.sum() < len(blocks.ids)


def test_turns_that_are_marked_off_are_left_out_where_prompts_are_trained_on_too(data, chat):
    off = {"role": "assistant", "content": "Bad", "loss": False}
    dataset = data([{"messages": [CHAT[0], off, *CHAT]}, {"messages": CHAT}], "documents")
    everything = segments(dataset, chat, response_only=False)
    assert [text for text, is_trained in everything[0] if not is_trained] == ["Bad</s>"]
    assert len(everything[1]) == 1
