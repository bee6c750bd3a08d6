"""Shapes of rows that people have besides the well-known ones: what is made of them, and what is said about it."""

import json
import shlex
import time

import pytest

from autotrain_llm.data.formats.speakers import two_speakers
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused

ROWS = {
    "sft": "conversations",
    "dpo": "preferences",
    "reward": "scored",
    "kto": "preferences",
    "generic": "documents",
    "grpo": "prompts",
    "ppo": "prompts",
}
LONG = "It stands by the sea, where the road ends, and it has a red door {}."


def opened(folder, rows, trainer="sft", name="rows.jsonl", **wanted):
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    return open_data(DataRequest(str(folder / name), ROWS[trainer], trainer=trainer, **wanted))


def refused(folder, rows, trainer="sft", **wanted):
    """The first finding of rows that are refused."""
    with pytest.raises(Refused) as problem:
        opened(folder, rows, trainer, **wanted)
    return problem.value.findings[0]


def codes(dataset):
    return [finding.code for finding in dataset.findings]


def turns(*texts):
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


# -- turns -----------------------------------------------------------------------------------------------------------------


def test_a_flag_can_say_who_speaks(tmp_path):
    row = {"conversation": [{"message": "Hi", "is_human": True}, {"message": "Hello", "is_human": False}]}
    assert opened(tmp_path, [row]).train[0].messages == turns("Hi", "Hello")
    row = {"messages": [{"text": "Hi", "is_bot": False}, {"text": "Hello", "is_bot": True}]}
    assert opened(tmp_path, [row]).train[0].messages == turns("Hi", "Hello")


def test_a_system_turn_may_have_its_text_under_system_prompt(tmp_path):
    system = {"role": "system", "system_prompt": "Be brief.", "text": None}
    row = {"trajectory": [system, {"role": "user", "text": "Hi"}, {"role": "ai", "text": "Hello"}]}
    assert opened(tmp_path, [row]).train[0].messages == [
        {"role": "system", "content": "Be brief."},
        *turns("Hi", "Hello"),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        {"message": {"role": "assistant", "content": "Hello"}},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]},
        {"messages": [{"role": "assistant", "content": "Hello"}]},
    ],
)
def test_turns_that_an_object_wraps_are_read(cell, tmp_path):
    rows = [{"inputs": {"messages": turns("Hi")}, "outputs": cell}]
    dataset = opened(tmp_path, rows)
    assert (dataset.train[0].prompt, dataset.train[0].completion) == (turns("Hi"), turns("", "Hello")[1:])
    assert dataset.findings == ()


def test_numbered_turns_in_tags_are_read_and_their_other_parts_named(tmp_path):
    turn = {
        "Human": "<|Human|>: Hi<eoh>\n",
        "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
        "Commands": "<|Commands|>: None<eoc>\n",
        "MOSS": "<|MOSS|>: Hello<eom>\n",
    }
    again = turn | {"Human": "<|Human|>: And?<eoh>\n", "MOSS": "<|MOSS|>: Bye<eom>\n"}
    row = {"meta_instruction": "Be kind.", "chat": {"turn_2": again, "turn_1": turn}}
    dataset = opened(tmp_path, [row, row | {"id": 2}])
    assert dataset.train[0].messages == [
        {"role": "system", "content": "Be kind."},
        *turns("Hi", "Hello", "And?", "Bye"),
    ]
    assert "D182" not in codes(dataset)
    searching = {"chat": {"turn_1": turn | {"Commands": "<|Commands|>: Search('Oslo')<eoc>\n"}}}
    assert "Search('Oslo')" in next(f.message for f in opened(tmp_path, [searching]).findings if f.code == "D182")


BLOCKS = [
    {"role": "user", "content": "How warm is it?"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I have to look.", "signature": "abc"},
            {"type": "text", "text": "I look.", "cache_control": {"type": "ephemeral"}},
            {"type": "tool_use", "id": "t1", "name": "warmth", "input": {"city": "Oslo"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "12"}]},
            {"type": "text", "text": "Well?"},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Twelve."}]},
]


def test_blocks_of_calls_results_and_thoughts_become_turns(tmp_path):
    tool = {"name": "warmth", "description": "How warm", "input_schema": {"type": "object", "properties": {}}}
    dataset = opened(tmp_path, [{"messages": BLOCKS, "tools": [tool]}])
    example = dataset.train[0]
    call = {"id": "t1", "type": "function", "function": {"name": "warmth", "arguments": {"city": "Oslo"}}}
    assert example.messages == [
        {"role": "user", "content": "How warm is it?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [call],
            "reasoning_content": "I have to look.",
        },
        {"role": "tool", "content": "12", "tool_call_id": "t1"},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "Twelve."},
    ]
    assert example.tools == [
        {
            "type": "function",
            "function": {
                "name": "warmth",
                "description": "How warm",
                "parameters": {"type": "object", "properties": {}},
            },
        }
    ]
    assert dataset.findings == ()


def test_an_exported_chat_of_people_is_refused_with_their_names_and_the_keys_of_its_turns(tmp_path):
    said = [{"id": 1, "from": "Ida", "text": "Coming?"}, {"id": 2, "from": "Per", "text": ["Yes, ", {"text": "x"}]}]
    export = {"name": "Ida", "messages": [{"id": 0, "type": "service", "text": ""}, *said]}
    finding = refused(tmp_path, json.dumps(export), name="result.json")
    assert finding.code == "D116" and "from (Ida, Per), text (Coming?), type (service)" in finding.message
    assert '"role": "assistant"' in finding.fix


@pytest.mark.parametrize("as_text", [True, False])
def test_calls_results_and_functions_in_the_older_form_are_read(as_text, tmp_path):
    call, functions = {"name": "warmth", "arguments": '{"place": "Bergen"}'}, [{"name": "warmth", "parameters": {}}]
    cell = [
        {"role": "user", "content": "How warm?", "function_call": None},
        {"role": "assistant", "content": None, "function_call": json.dumps(call) if as_text else call},
        {"role": "function", "name": "warmth", "content": "12", "function_call": None},
        {"role": "assistant", "content": "12 degrees.", "function_call": None},
    ]
    row = {"conversation": cell, "functions": json.dumps(functions) if as_text else functions}
    dataset = opened(tmp_path, [row])
    read = {"name": "warmth", "arguments": {"place": "Bergen"}}
    assert dataset.train[0].messages == [
        {"role": "user", "content": "How warm?"},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": read}]},
        {"role": "tool", "name": "warmth", "content": "12"},
        {"role": "assistant", "content": "12 degrees."},
    ]
    assert dataset.train[0].tools == [{"type": "function", "function": functions[0]}] and codes(dataset) == []


def test_a_function_call_that_can_not_be_read_is_named(tmp_path):
    calling = {"role": "assistant", "content": None, "function_call": "warmth('Bergen')"}
    rows = [{"messages": turns("Hi", "Hello")}, {"messages": [*turns("How warm?"), calling]}]
    (finding,) = opened(tmp_path, rows).findings
    assert (finding.code, finding.row) == ("D117", 2) and "function_call" in finding.message


def test_a_turn_of_nothing_but_calls_has_no_content(tmp_path):
    calling = {"role": "assistant", "content": [BLOCKS[1]["content"][2]]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "12"}]}
    messages = opened(tmp_path, [{"messages": [BLOCKS[0], calling, result, BLOCKS[3]]}]).train[0].messages
    assert [turn["role"] for turn in messages] == ["user", "assistant", "tool", "assistant"]
    assert "content" not in messages[1]


GEMINI = [
    {"role": "user", "parts": [{"text": "How warm is it?"}]},
    {
        "role": "model",
        "parts": [
            {"text": "I have to look.", "thought": True},
            {"functionCall": {"name": "warmth", "args": {"city": "Oslo"}}},
        ],
    },
    {"role": "user", "parts": [{"functionResponse": {"name": "warmth", "response": {"degrees": 12}}}]},
    {"role": "model", "parts": [{"text": "Twelve."}]},
]
BEDROCK = [
    {"role": "user", "content": [{"text": "How warm is it?"}]},
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "I have to look.", "signature": "abc"}}},
            {"toolUse": {"toolUseId": "t1", "name": "warmth", "input": {"city": "Oslo"}}},
        ],
    },
    {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"degrees": 12}}]}}]},
    {"role": "assistant", "content": [{"text": "Twelve."}]},
]
PARTS_WITH_TYPES = [
    {"role": "user", "content": [{"type": "text", "text": "How warm is it?"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "reasoning", "text": "I have to look."},
            {"type": "tool-call", "toolCallId": "t1", "toolName": "warmth", "args": {"city": "Oslo"}},
        ],
    },
    {
        "role": "tool",
        "content": [{"type": "tool_result", "call_id": "t1", "name": "warmth", "result": {"degrees": 12}}],
    },
    {"role": "assistant", "content": "Twelve."},
]
GEMINI_TOOLS = [{"functionDeclarations": [{"name": "warmth", "parameters": {"type": "object"}}]}]
BEDROCK_TOOLS = {"tools": [{"toolSpec": {"name": "warmth", "inputSchema": {"json": {"type": "object"}}}}]}


@pytest.mark.parametrize(
    ("row", "call_id"),
    [
        ({"contents": GEMINI, "tools": GEMINI_TOOLS}, {}),
        ({"messages": BEDROCK, "toolConfig": BEDROCK_TOOLS}, {"id": "t1"}),
        ({"messages": PARTS_WITH_TYPES, "tools": [{"name": "warmth"}]}, {"id": "t1"}),
    ],
)
def test_calls_and_results_are_read_as_each_api_writes_them(row, call_id, tmp_path):
    dataset = opened(tmp_path, [row])
    _, calling, result, answer = dataset.train[0].messages
    call = call_id | {"type": "function", "function": {"name": "warmth", "arguments": {"city": "Oslo"}}}
    assert (calling["tool_calls"], calling["reasoning_content"]) == ([call], "I have to look.")
    assert (result["role"], result["content"], answer["content"]) == ("tool", '{"degrees": 12}', "Twelve.")
    assert [tool.get("function", tool)["name"] for tool in dataset.train[0].tools] == ["warmth"]
    assert dataset.findings == ()


def test_an_image_beside_a_call_is_still_refused(tmp_path):
    with_image = [{**GEMINI[0], "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}, *GEMINI[1:]]
    with pytest.raises(Refused) as problem:
        opened(tmp_path, [{"contents": with_image}])
    assert "'inlineData'" in problem.value.findings[0].message


@pytest.mark.parametrize("signs", ["_" * 20_000, "1" + " " * 20_000])
def test_a_long_line_of_signs_is_no_name_and_looked_at_fast(signs):
    begin = time.process_time()
    assert two_speakers([signs, f"{signs}Ann: Hi"]) is None
    assert time.process_time() - begin < 2


def test_a_known_speaker_with_one_text_is_a_turn_whatever_its_key(tmp_path):
    row = {"dialogue": [{"speaker": "customer", "said": "Hi"}, {"sender": "agent", "body": "Hello", "id": "m2"}]}
    dataset = opened(tmp_path, [row])
    assert (dataset.train[0].messages, dataset.findings) == (turns("Hi", "Hello"), ())
    with pytest.raises(Refused):  # which of two texts was said is not known
        opened(tmp_path, [{"dialogue": [{"speaker": "customer", "said": "Hi", "meant": "Help"}]}])


def test_messages_of_langchain_are_turns(tmp_path):
    call = {"name": "warmth", "args": {"city": "Oslo"}, "id": "t1", "type": "tool_call"}
    asked = [
        {"type": "system", "data": {"content": "Be brief.", "additional_kwargs": {}, "type": "system"}},
        {"type": "human", "content": "How warm is it?"},
        {"type": "ai", "content": "", "tool_calls": [call]},
        {"type": "tool", "content": "12", "tool_call_id": "t1"},
    ]
    rows = [{"inputs": {"messages": asked}, "outputs": {"generations": [[{"text": "Twelve."}]]}}]
    dataset = opened(tmp_path, rows)
    assert [turn["role"] for turn in dataset.train[0].prompt] == ["system", "user", "assistant", "tool"]
    assert dataset.train[0].prompt[2]["tool_calls"][0]["function"] == {"name": "warmth", "arguments": {"city": "Oslo"}}
    assert (dataset.train[0].completion, dataset.findings) == (turns("", "Twelve.")[1:], ())


def test_the_newest_branch_of_an_exported_conversation_is_read(tmp_path):
    def node(number, parent, children, role="user", *parts):
        message = {"author": {"role": role}, "content": {"content_type": "text", "parts": [*parts]}} if parts else None
        return {"id": number, "parent": parent, "children": children, "message": message}

    mapping = {
        "d": node("d", "b", [], "assistant", "The crow."),
        "root": node("root", None, ["s"]),
        "s": node("s", "root", ["a", "b"], "system", ""),
        "a": node("a", "s", ["c"], "user", "Name a fish."),
        "c": node("c", "a", [], "assistant", "The pike."),
        "b": node("b", "s", ["d"], "user", "Name ", "a bird."),
    }
    dataset = opened(tmp_path, [{"id": "1", "title": "Birds", "mapping": mapping}])
    assert dataset.train[0].messages == turns("Name a bird.", "The crow.")


def test_a_question_beside_the_turns_that_hold_it_is_not_written_twice(tmp_path):
    rows = [
        {
            "input": f"Which of them is metal {n}?",
            "messages": turns(f"Which of them is metal {n}?\nA. Tin\nB. Oak", "A"),
        }
        for n in range(2)
    ]
    assert opened(tmp_path, rows).train[0].messages == rows[0]["messages"]
    rows = [{"input": str(n), "messages": turns("Double the number, which has 1 digit.", "2")} for n in range(1, 3)]
    assert opened(tmp_path, rows).train[0].messages[0]["content"].endswith("\n1")


def test_an_exchange_without_a_question_is_an_answer_alone(tmp_path):
    row = {
        "conversation": [{"system": "Be brief.", "input": "", "output": "Hello"}, {"input": "And?", "output": "Bye"}]
    }
    assert opened(tmp_path, [row]).train[0].messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "Hello"},
        *turns("And?", "Bye"),
    ]


def test_turns_in_text_with_an_unknown_role_are_no_plain_text(tmp_path):
    asked = [*turns("Hi")[:1], {"role": "narrator", "content": "A greeting."}, {"role": "answer", "content": "Hello"}]
    with pytest.raises(Refused) as problem:
        opened(tmp_path, [{"messages": json.dumps(asked)}])
    assert problem.value.findings[0].code == "D116" and "'narrator'" in problem.value.findings[0].message


# -- texts in segments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mark", "off", "on"), [("label", False, True), ("train", 0, 1), ("masked", True, False)])
def test_segments_are_one_text_of_which_the_marked_parts_are_trained_on(mark, off, on, tmp_path):
    segments = [
        {mark: off, "text": "2 + 2 = "},
        {mark: on, "text": "4"},
        {mark: off, "text": ", and "},
        {mark: on, "text": "so on."},
    ]
    for trainer in ("sft", "generic"):
        dataset = opened(tmp_path, [{"segments": segments}], trainer)
        assert (dataset.format, dataset.train[0].text) == ("text", "2 + 2 = 4, and so on.")
        assert dataset.train[0].trained_spans == [(8, 9), (15, 21)]
        assert dataset.findings == ()


def test_segments_under_another_name_are_read_where_they_are_named(tmp_path):
    rows = [{"parts": [{"label": False, "text": "One "}, {"label": True, "text": "two", "note": "Why so?"}]}]
    dataset = opened(tmp_path, rows, text_column="parts", named=("text_column",))
    assert dataset.train[0].trained_spans == [(4, 7)]
    assert "Why so?" in dataset.findings[0].message


def test_segments_of_which_none_is_trained_on_are_left_out(tmp_path):
    rows = [{"segments": [{"label": on, "text": "One"}]} for on in (False, True)]
    dataset = opened(tmp_path, rows)
    assert (len(dataset.train), codes(dataset)) == (1, ["D114"])


# -- nested rows, and names ------------------------------------------------------------------------------------------------


def test_questions_that_are_nested_in_paragraphs_are_rows(tmp_path):
    answer = {"text": "By the sea", "answer_start": 11}
    questions = [
        {"id": "q1", "question": "Where is it?", "answers": [answer]},
        {"id": "q2", "question": "What stands there?", "answers": [{"text": "The house", "answer_start": 0}, answer]},
    ]
    paragraph = {"context": "The house stands by the sea.", "qas": questions}
    document = {"version": "1.1", "data": [{"title": "House", "paragraphs": [paragraph]}]}
    dataset = opened(tmp_path, json.dumps(document), name="train.json")
    assert [example.completion for example in dataset.train] == ["By the sea", "The house"]
    assert dataset.train[0].prompt == "The house stands by the sea.\n\nWhere is it?"
    assert len(opened(tmp_path, json.dumps(document), name="train.json", max_samples=1).train) == 1


def test_entities_with_their_places_stay_json(tmp_path):
    rows = [{"prompt": f"Find names {n}.", "completion": [{"text": "Bob", "label": "person"}]} for n in range(2)]
    assert json.loads(opened(tmp_path, rows).train[0].completion) == [{"text": "Bob", "label": "person"}]


def test_the_definition_of_a_task_stands_before_its_input(tmp_path):
    rows = [
        {"definition": f"Say where the {thing} is.", "inputs": "The road?", "targets": "There."}
        for thing in ("sea", "door")
    ]
    dataset = opened(tmp_path, rows)
    assert dataset.train[1].prompt == "Say where the door is.\n\nThe road?"
    assert dataset.findings == ()


@pytest.mark.parametrize(
    ("question", "answer"), [("Frage", "Antwort"), ("pregunta", "respuesta"), ("问题", "回答"), ("вопрос", "ответ")]
)
def test_columns_are_found_under_their_names_in_other_languages(question, answer, tmp_path):
    dataset = opened(tmp_path, [{"Nr": 1, question: "Where is it?", answer: "There."}])
    assert (dataset.train[0].prompt, dataset.train[0].completion) == ("Where is it?", "There.")


def test_columns_that_may_be_meant_are_offered(tmp_path):
    rows = [
        {"question": f"Does it work {n}?", "long_answer": f"It does work {n}.", "final_decision": "It may"}
        for n in range(2)
    ]
    fix = refused(tmp_path, rows).fix
    assert fix.startswith(
        "name the columns: --prompt-text-column question --text-column long_answer (asks 'Does it work 0?', answers"
    )


def test_prompts_that_are_lists_in_text_are_named(tmp_path):
    rows = [{"prompt": json.dumps([f"Where {n}?", "And?"]), "completion": "There."} for n in range(2)]
    assert codes(opened(tmp_path, rows)) == ["D195"]
    rows[1]["prompt"] = "Where?"
    assert codes(opened(tmp_path, rows)) == []


def test_answers_that_are_lists_in_text_are_named_where_the_model_need_not_answer_with_a_list(tmp_path):
    """As in a CSV of conversations. Keywords in a list are an answer."""
    rows = [{"prompt": json.dumps([f"Where {n}?"]), "completion": json.dumps(["There.", f"At {n}."])} for n in range(4)]
    dataset = opened(tmp_path, rows)
    assert codes(dataset) == ["D195"] and "each cell of prompt and completion" in dataset.findings[0].message
    alone = [{"prompt": f"Where {n}?", "completion": json.dumps([f"There {n}."] if n else [None])} for n in range(4)]
    assert codes(opened(tmp_path, alone)) == ["D195"]
    keywords = [{"prompt": f"Keywords of {n}?", "completion": json.dumps(["one", f"b{n}"])} for n in range(4)]
    assert codes(opened(tmp_path, keywords)) == []


# -- columns that are not used ---------------------------------------------------------------------------------------------


def test_a_text_that_quotes_the_answer_is_named_and_not_offered_as_context(tmp_path):
    rows = [
        {
            "question": f"Where is it {n}?",
            "answer": LONG.format(n),
            "story": "",
            "tale": f"Ann asked {n}: {LONG.format(n)}",
        }
        for n in range(4)
    ]
    finding = opened(tmp_path, rows).findings[0]
    assert finding.code == "D181" and "tale" in finding.message
    assert "--context-columns" not in finding.fix and "has the answer in it" in finding.fix


def test_a_prompt_in_a_template_is_no_other_text(tmp_path):
    rows = [
        {
            "question": f"Where is the house {n}?",
            "answer": LONG.format(n),
            "rendered": f"<|user|>\nWhere is the house {n}?\n<|assistant|>\n",
        }
        for n in range(4)
    ]
    assert opened(tmp_path, rows).findings == ()


def test_wrong_answers_are_named_however_short(tmp_path):
    rows = [{"question": f"What is {n}?", "correct_answer": f"H{n}O", "distractor1": f"C{n}H"} for n in range(3)]
    assert "distractor1" in opened(tmp_path, rows).findings[0].message


def test_what_judges_or_steers_an_answer_is_named_though_it_is_no_text(tmp_path):
    rows = [
        {"text": f"Step {n}. So it is {n}.", "value": [n / 2, 1.0], "chat_template_kwargs": {"enable_thinking": n > 0}}
        for n in range(3)
    ]
    finding = opened(tmp_path, rows).findings[0]
    assert finding.code == "D181" and "value" in finding.message and "chat_template_kwargs" in finding.message
    assert finding.fix == "--ignore-columns value,chat_template_kwargs leaves them out without this warning"


def test_tools_inside_metadata_are_named_though_they_are_the_same_in_each_row(tmp_path):
    rows = [{"messages": turns(f"Hi {n}", "Hello"), "metadata": {"tools": [{"name": "warmth"}]}} for n in range(3)]
    finding = opened(tmp_path, rows).findings[0]
    assert finding.code == "D181" and "move tools out of metadata" in finding.fix


def test_rows_that_follow_each_other_are_named(tmp_path):
    rows = [
        {"id": str(n), "parent_id": str(n - 1) if n else None, "instruction": f"And {n}?", "output": "Yes."}
        for n in range(3)
    ]
    finding = opened(tmp_path, rows).findings[0]
    assert finding.code == "D181" and "if parent_id says which row comes before" in finding.fix


def test_a_label_of_a_turn_is_named_though_it_looks_like_a_code(tmp_path):
    question, answer = turns("Hi", "Hello")
    dataset = opened(tmp_path, [{"messages": [question, answer | {"label": "quality:4,humor:0"}]}])
    assert codes(dataset) == ["D182"]


def test_a_judgement_beside_an_answer_is_named_though_it_is_a_number(tmp_path):
    rows = [{"query": f"Is {n} a metal?", "response": "Yes.", "feedback": n / 3} for n in range(3)]
    assert "feedback" in opened(tmp_path, rows).findings[0].message


def test_references_that_are_answers_are_no_part_of_the_prompt(tmp_path):
    rows = [{"prompt": f"{n} + 1?", "references": {"answer": str(n + 1)}} for n in range(3)]
    dataset = opened(tmp_path, rows, "grpo", keeps_columns=True)
    assert (dataset.train[0].prompt, dataset.findings) == ("0 + 1?", ())
    assert dataset.train[0].extra["references"] == {"answer": "1"}


@pytest.mark.parametrize("trainer", ["sft", "kto", "reward"])
def test_steps_with_a_label_each_are_told_from_token_ids(trainer, tmp_path):
    rows = [{"prompt": f"{n} + 1?", "completions": ["First.", "Then."], "labels": [True, n > 0]} for n in range(2)]
    finding = refused(tmp_path, rows, trainer)
    assert finding.code == "D110" and "the steps of an answer" in finding.message and "--trainer kto" in finding.fix


def test_an_empty_list_of_turns_is_no_answer(tmp_path):
    rows = [
        {"prompt": turns("Hi"), "chosen": turns("", "Hello")[1:], "rejected": rejected}
        for rejected in ([], turns("", "")[1:], turns("", "No")[1:])
    ]
    dataset = opened(tmp_path, rows, "dpo")
    assert (len(dataset.train), codes(dataset)) == (1, ["D114"])


def test_solutions_by_several_models_are_no_choices_and_numbered_ones_are(tmp_path):
    def prompt_of(row):
        rows = [row | {"problem": f"{n} + 1?"} for n in range(3)]
        return opened(tmp_path, rows, "grpo", keeps_columns=True).train[0].prompt

    assert prompt_of({"sol_a": "One.", "sol_b": "It is one."}) == "0 + 1?"
    assert prompt_of({"sol1": "One.", "sol2": "Two."}) == "0 + 1?\nA. One.\nB. Two."


def test_all_columns_of_rows_that_fit_nothing_are_listed_and_answers_are_no_prompts(tmp_path):
    rows = [
        {
            **{f"id_{at}": at for at in range(20)},
            "history": f"Why {n}?",
            "human_ref_A": "Because.",
            "human_ref_B": f"So {n}.",
        }
        for n in range(3)
    ]
    for trainer, fix in (
        ("reward", "write the better of human_ref_A"),
        ("sft", "name the columns: --prompt-text-column history --text-column human_ref_B"),
    ):
        finding = refused(tmp_path, rows, trainer)
        assert finding.message.endswith(", and 7 more") and finding.fix.startswith(fix)


# -- judged answers --------------------------------------------------------------------------------------------------------


def pair_of(dataset):
    return [(example.chosen, example.rejected) for example in dataset.train]


@pytest.mark.parametrize(
    "verdicts",
    [
        [{"winner": "model_a"}, {"winner": "model_b"}, {"winner": "tie (bothbad)"}],
        [{"better_response_id": "A"}, {"better_response_id": "B"}, {"better_response_id": "same"}],
        [
            {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
            {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0},
            {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1},
        ],
    ],
)
@pytest.mark.parametrize("trainer", ["dpo", "reward"])
def test_the_better_of_two_answers_is_chosen_and_ties_are_left_out(verdicts, trainer, tmp_path):
    rows = [
        {"prompt": f"Which {n}?", "response_a": f"First {n}", "response_b": f"Second {n}", **verdict}
        for n, verdict in enumerate(verdicts)
    ]
    dataset = opened(tmp_path, rows, trainer)
    assert pair_of(dataset) == [("First 0", "Second 0"), ("Second 1", "First 1")]
    assert codes(dataset) == ["D193", "D194"]


def test_a_verdict_may_be_the_number_of_the_answer(tmp_path):
    rows = [
        {"prompt": f"Which {n}?", "response_0": f"First {n}", "response_1": f"Second {n}", "better_response_id": n % 2}
        for n in range(2)
    ]
    assert pair_of(opened(tmp_path, rows, "dpo")) == [("First 0", "Second 0"), ("Second 1", "First 1")]


# How two answers are named, by the signs of the two.
NAMES = {
    "a and b": ("response_a", "response_b"),
    "A and B": ("human_ref_A", "human_ref_B"),
    "0 and 1": ("response_0", "response_1"),
    "1 and 2": ("answer_1", "answer_2"),
    "joined": ("response1", "response2"),
}
# How rows say which answer is better: the cells of a row, from the signs of the better and the worse answer, and whether the first is better.
JUDGEMENTS = {
    "its name": lambda better, worse, first: {"winner": f"model_{better}"},
    "its sign": lambda better, worse, first: {"preferred": better},
    "its place": lambda better, worse, first: {"better": "first" if first else "second"},
    "flags": lambda better, worse, first: {f"winner_model_{better}": 1, f"winner_model_{worse}": 0},
    "scores": lambda better, worse, first: {f"score_{better}": 7, f"score_{worse}": 3},
    "scores and a label": lambda better, worse, first: {
        f"score_{better}": 7,
        f"score_{worse}": 3,
        "labels": int(first),
    },
    "ratings within the name": lambda better, worse, first: {
        f"response_{better}_rating": 4.5,
        f"response_{worse}_rating": 4,
    },
    "ranks": lambda better, worse, first: {f"rank_{better}": 1, f"rank_{worse}": 2},
    "a number with a sign": lambda better, worse, first: {"overall_preference": -2 if first else 1},
    "two that agree": lambda better, worse, first: {"better_response_id": better, "safer_response_id": better},
}


@pytest.mark.parametrize("judgement", JUDGEMENTS)
@pytest.mark.parametrize("names", NAMES)
def test_the_better_answer_is_found_however_it_is_named_and_judged(names, judgement, tmp_path):
    first, second = NAMES[names]
    rows = []
    for n in range(6):
        signs = [first[-1], second[-1]] if n % 2 else [second[-1], first[-1]]
        rows.append(
            {
                "prompt": f"Which {n}?",
                first: f"First {n}",
                second: f"Second {n}",
                **JUDGEMENTS[judgement](*signs, bool(n % 2)),
            }
        )
    dataset = opened(tmp_path, rows, "dpo")
    both = [(f"First {n}", f"Second {n}") for n in range(6)]
    assert pair_of(dataset) == [pair if n % 2 else pair[::-1] for n, pair in enumerate(both)]
    assert codes(dataset) == ["D193"]


def test_judgements_that_contradict_each_other_are_refused_with_a_fix_that_works(tmp_path):
    rows = [
        {"prompt": f"Which {n}?", "response_0": f"First {n}", "response_1": f"Second {n}", "better": n, "safer": n}
        for n in range(2)
    ]
    rows.append({**rows[0], "prompt": "And?", "safer": 1})
    with pytest.raises(Refused) as problem:
        opened(tmp_path, rows, "dpo")
    (finding,) = problem.value.findings
    assert (finding.code, finding.row, finding.guess) == ("D198", 3, {"ignore_columns": ["safer"]})
    first = [("First 0", "Second 0"), ("Second 1", "First 1")]
    for ignored, third in (("safer", first[0]), ("better", first[0][::-1])):
        assert pair_of(opened(tmp_path, rows, "dpo", ignored_columns=(ignored,))) == [*first, third]


def test_a_judgement_that_contradicts_another_after_the_first_rows_leaves_its_row_out(tmp_path):
    rows = [
        {
            "prompt": f"Which {n}?",
            "response_0": f"First {n}",
            "response_1": f"Second {n}",
            "better": n % 2,
            "safer": n % 2,
        }
        for n in range(300)
    ]
    rows[250]["safer"] = 1
    dataset = opened(tmp_path, rows, "dpo")
    assert len(dataset.train) == 299 and codes(dataset) == ["D193", "D194"]


@pytest.mark.parametrize(
    "verdict",
    [
        lambda n: {"preference": (-2, 1)[n]},
        lambda n: {"preference": ("-1", "2")[n]},
        lambda n: {"preference": (-2, 3)[n]},  # nobody says which sign is which answer
        lambda n: {"winner": ("left", "right")[n]},
        lambda n: {"score": (0.5, 0.7)[n]},  # of which answer?
        lambda n: {"labels": n},
    ],
)
@pytest.mark.parametrize("signs", ["ab", "12"])
def test_a_verdict_that_is_not_clear_is_not_read(signs, verdict, tmp_path):
    one, two = signs
    rows = [
        {"prompt": f"Which {n}?", f"response_{one}": f"First {n}", f"response_{two}": f"Second {n}", **verdict(n)}
        for n in range(2)
    ]
    with pytest.raises(Refused) as problem:
        opened(tmp_path, rows, "dpo")
    assert f"better of response_{one} and response_{two} into a column chosen" in problem.value.findings[0].fix


def test_a_judgement_beside_the_one_that_is_read_needs_nothing_but_to_be_ignored(tmp_path):
    rows = [
        {
            "prompt": f"Which {n}?",
            "response1": f"First {n}",
            "response2": f"Second {n}",
            "overall_preference": (-2, 1)[n % 2],
            "individual_preference": [{"score": (-2, 1)[n % 2], "reasoning": f"It says more, {n} times."}],
        }
        for n in range(4)
    ]
    dataset = opened(tmp_path, rows, "dpo")
    assert pair_of(dataset)[:2] == [("First 0", "Second 0"), ("Second 1", "First 1")]
    (finding,) = [finding for finding in dataset.findings if finding.code == "D181"]
    assert finding.fix.startswith("--ignore-columns individual_preference")


def test_named_columns_are_the_pair_whatever_judges_them(tmp_path):
    rows = [
        {"prompt": f"Which {n}?", "response_a": f"First {n}", "response_b": f"Second {n}", "winner": "ab"[n]}
        for n in range(2)
    ]
    named = {"text_column": "response_a", "rejected_column": "response_b", "named": ("text_column", "rejected_column")}
    dataset = opened(tmp_path, rows, "dpo", **named)
    assert pair_of(dataset) == [("First 0", "Second 0"), ("First 1", "Second 1")]
    assert codes(dataset) == ["D181"]  # `winner` may say otherwise


@pytest.mark.parametrize(("key", "ratings"), [("overall_score", (2.0, "7.5", 5)), ("rank", (3.0, 1.0, 2.0))])
def test_the_best_rated_answer_is_chosen_and_the_worst_rejected(key, ratings, tmp_path):
    answers = [{"model": f"m{n}", "response": f"Answer {n}", key: rating} for n, rating in enumerate(ratings)]
    rows = [{"instruction": "Which?", "completions": answers}, {"instruction": "Or?", "completions": answers[:1]}]
    dataset = opened(tmp_path, rows, "dpo")
    assert pair_of(dataset) == [("Answer 1", "Answer 0")]
    assert codes(dataset) == ["D193", "D194"]
    assert ("lowest rank is chosen" if key == "rank" else "highest overall_score is chosen") in dataset.findings[
        0
    ].message


def test_ratings_may_be_in_a_list_of_their_own(tmp_path):
    rows = [{"prompt": "Which?", "responses": ["One.", "Two.", "Three."], "scores": [0.1, 0.9, 0.5]}]
    assert pair_of(opened(tmp_path, rows, "dpo")) == [("Two.", "One.")]


def test_an_evaluation_split_is_read_as_the_training_split(tmp_path):
    for split in ("train", "validation"):
        rows = [
            {
                "prompt": f"Which {split} {n}?",
                "response_a": f"First {n}",
                "response_b": f"Second {n}",
                "winner": "ab"[n],
            }
            for n in range(2)
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_data(DataRequest(str(tmp_path), "preferences", trainer="dpo", valid_split="validation"))
    assert [(example.chosen, example.rejected) for example in dataset.valid] == pair_of(dataset)


# -- files -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.txt"])
@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "A", "completion": "B"},\n{"prompt": "C", "completion": "D"},\n',
        '{"prompt": "A", "completion": "B"}, {"prompt": "C", "completion": "D"}',
        '{"prompt": "A", "completion": "B"}{"prompt": "C", "completion": "D"}\n',
        '{\n "prompt": "A",\n "completion": "B"\n},\n{\n "prompt": "C",\n "completion": "D"\n}\n',
        '{\n "prompt": "A",\n "completion": "B"\n}\n{\n "prompt": "C",\n "completion": "D"\n}\n',
    ],
)
def test_objects_that_follow_one_another_are_rows(text, name, tmp_path):
    dataset = opened(tmp_path, text, name=name)
    assert [(example.prompt, example.completion) for example in dataset.train] == [("A", "B"), ("C", "D")]
    assert codes(dataset) == (["D138"] if name == "rows.txt" else [])


def test_a_key_that_occurs_twice_is_found_in_such_objects(tmp_path):
    text = '{"prompt": "A", "completion": "B"},\n{"prompt": "C", "prompt": "E", "completion": "D"}\n'
    (finding,) = opened(tmp_path, text).findings
    assert finding.code == "D137" and finding.row == 2


# -- what is refused says why ----------------------------------------------------------------------------------------------


def test_answers_without_prompts_are_told_as_such(tmp_path):
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}]}
    finding = refused(tmp_path, [{"custom_id": f"r{n}", "response": {"body": answer}} for n in range(2)])
    assert "holds an answer, and no prompt" in finding.message and "join each answer" in finding.fix


def test_a_label_in_words_is_found(tmp_path):
    rows = [
        {"prompt": f"Which {n}?", "completion": "One.", "feedback": f"thumbs_{('up', 'down')[n]}"} for n in range(2)
    ]
    assert refused(tmp_path, rows, "kto").fix.startswith("rename feedback to label")


def test_a_list_of_answers_is_told_apart_from_a_pair(tmp_path):
    finding = refused(tmp_path, [{"instruction": "Which?", "output": ["One.", "Two."]}], "dpo")
    assert finding.fix == "write the better one of output into a column chosen, and another into rejected"


# -- texts that are turns --------------------------------------------------------------------------------------------------

TALKS = {
    "roles": ("User: Hi", "Bot: Hello"),
    "names": ("Anna: Hi", "Dr. Ben Stone: Hello"),
    "a line below the name": ("Human:\nHi", "Assistant:\nHello"),
    "bold names": ("**Q:** Who?", "**A:** She."),
    "other names in bold": ("**Anna**: Hi", "**Ben**: Hello"),
    "names in brackets": ("[Anna]: Hi", "[Ben]: Hello"),
    "an exported chat": ("[12/03/24, 10:15:02 PM] Anna: Hi", "[12/03/24, 10:16:40 PM] Ben: Hello"),
    "another export": ("12.03.24, 22:15 - Anna: Hi", "12.03.24, 22:16 - Ben: Hello"),
    "another alphabet": ("Вопрос: Кто?", "Ответ: Она."),
    "wide colons": ("问：谁？", "答：她。"),
}


@pytest.mark.parametrize("between", ["\n\n", "\n"], ids=["paragraphs", "lines"])
@pytest.mark.parametrize("talk", TALKS)
def test_a_text_file_of_turns_is_named(talk, between, tmp_path):
    one, other = TALKS[talk]
    if between in one:
        pytest.skip("a name and what is said are lines of their own")
    texts = [f"{(one, other)[n % 2]} {n}" for n in range(8)]
    dataset = opened(tmp_path, between.join(texts), name="talk.txt")
    assert codes(dataset) == ["D199"], dataset.train[0].text


@pytest.mark.parametrize("trainer", ["sft", "generic"])
@pytest.mark.parametrize(
    "texts",
    [
        [f"Title {n}: a book" for n in range(6)],
        [f"User: Hi {n}\nBot: Hello" for n in range(6)],  # whole conversations
        [f"{name}: To be, {n}" for n, name in enumerate(["Romeo", "Juliet", "Nurse", "Romeo", "Nurse", "Juliet"])],
        ["Note: it rains.", "It rains.", "Warning: it pours.", "It is dry.", "So it goes.", "See https://a.example"],
        [f"http://a.example/{n}" if n % 2 else f"https://b.example/{n}" for n in range(6)],
        [f"{name}: {n}" for n, name in enumerate(["good", "good", "bad", "good", "bad", "bad", "bad", "good", "good"])],
        ["Pro: it is cheap.", "Con: it is loud."],
        [f"{n}:30 the train leaves" for n in range(6)],
    ],
)
def test_texts_that_begin_with_other_words_are_texts(texts, trainer, tmp_path):
    assert codes(opened(tmp_path, "\n\n".join(texts), trainer, name="texts.txt")) == []


# -- several answers in a cell ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", ["dpo", "reward"])
@pytest.mark.parametrize(
    ("chosen", "rejected", "pairs"),
    [
        (["a", "b", "c"], ["x", "y", "z"], ["ax", "by", "cz"]),
        (["a", "b"], "x", ["ax", "bx"]),
        ("a", ["x", "y"], ["ax", "ay"]),
        (["a"], ["x", "y", "z"], ["ax", "ay", "az"]),
        (["a", "b"], ["x", "y", "z"], ["ax", "ay", "az", "bx", "by", "bz"]),
    ],
)
@pytest.mark.parametrize("form", ["lists", "JSON", "conversations"])
def test_each_of_several_answers_is_a_row_of_its_own(chosen, rejected, pairs, form, trainer, tmp_path):
    def written(side):
        if form == "conversations":
            answers = [turns("Which?", answer) for answer in side]
            return answers if isinstance(side, list) else answers[0]
        return json.dumps(side) if form == "JSON" and isinstance(side, list) else side

    chosen, rejected = written(chosen), written(rejected)
    rows = [
        {"prompt": "Which?", "chosen": chosen, "rejected": rejected},
        {"prompt": "Or?", "chosen": chosen, "rejected": rejected},
    ]
    dataset = opened(tmp_path, rows, trainer)
    if form == "conversations":
        made = [(row.chosen[-1]["content"], row.rejected[-1]["content"]) for row in dataset.train]
        assert made == [tuple(pair) for pair in pairs * 2] and "D193" in codes(dataset)
    else:
        assert pair_of(dataset) == [tuple(pair) for pair in pairs * 2] and codes(dataset) == ["D193"]


def test_lists_of_answers_that_end_early_lose_nothing_without_a_word(tmp_path):
    row = {"prompt": "Which?", "chosen": ["a", "b"], "rejected": ["x", "y"]}
    dataset = opened(
        tmp_path, [row] * 200 + [{**row, "rejected": ["x", "y", "z"]}, {**row, "chosen": [], "rejected": []}], "dpo"
    )
    assert len(dataset.train) == 402 and {"D193", "D113"} <= {*codes(dataset)}


def test_a_row_without_a_list_of_answers_stays_as_it_is_beside_those_with_one(tmp_path):
    row = {"prompt": "Which?", "chosen": "a", "rejected": ["x", "y"]}
    dataset = opened(tmp_path, [row, {**row, "rejected": None}], "dpo")
    assert pair_of(dataset) == [("a", "x"), ("a", "y")] and {"D193", "D113"} <= {*codes(dataset)}


def test_examples_of_one_instruction_are_rows_of_their_own(tmp_path):
    examples = [{"input": "Two?", "output": "Even."}, {"input": "Three?", "output": "Odd."}]
    row = {"id": "a1", "instruction": "Even or odd?", "instances": examples}
    dataset = opened(tmp_path, [row, {**row, "instances": examples[:1]}])
    assert [row.completion for row in dataset.train] == ["Even.", "Odd.", "Even."] and dataset.format == "alpaca"
    with_answer = [{**row, "output": f"It is odd, {n}.", "instances": examples} for n in range(2)]
    assert len(opened(tmp_path, with_answer).train) == 2
    as_turns = opened(tmp_path, [row] * 2, text_column="instances", named=("text_column",))
    assert len(as_turns.train) == 2  # as it was asked for


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            ["Read the numbers, and print the sum of the even ones.", "Sum with a loop over each number that is even."],
            "write a row for each",
        ),
        ({"choices": ["Red", "Blue"], "labels": [0, 1]}, "into a column choices"),
    ],
)
@pytest.mark.parametrize("is_written", [False, True])
def test_several_answers_in_one_cell_are_named_as_what_they_are(answer, words, is_written, tmp_path):
    cell = json.dumps(answer) if is_written else answer
    (finding,) = opened(tmp_path, [{"question": f"Which {n}?", "answer": cell} for n in range(2)]).findings
    assert finding.code == "D183" and words in finding.fix


def test_a_list_of_short_texts_written_as_text_is_one_answer(tmp_path):
    rows = [{"question": f"Which towns, {n}?", "answer": '["Berlin", "Bonn"]'} for n in range(2)]
    assert codes(opened(tmp_path, rows)) == []


def test_runs_of_langchain_are_conversations(tmp_path):
    def message(name, text):
        return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", name], "kwargs": {"content": text}}

    run = {
        "inputs": {"messages": [[message("SystemMessage", "Be brief."), message("HumanMessage", "Why?")]]},
        "outputs": {"generations": [[{"text": "So."}]]},
    }
    (row, _) = opened(tmp_path, [run, run]).train
    assert [turn["content"] for turn in (*row.prompt, *row.completion)] == ["Be brief.", "Why?", "So."]


@pytest.mark.parametrize(
    ("trainer", "row", "fix"),
    [
        ("sft", {"question": "Which is it, and why?", "solutions": "That one.", "input_output": "2 3", "starter_code": "def f"}, "--prompt-text-column question --text-column solutions"),
        ("sft", {"prompt": "Why?", "init_response": "So it is.", "revised_response": "It is so.", "dataset": turns("Why?", "So.")}, "--text-column dataset trains on its conversations"),
        ("generic", {"name": "Moss", "abstract": "A plant without roots.", "note": "A short note.", "boxes": [{"name": "x", "kind": "y"}]}, "--text-column abstract (trains on 'A plant without roots.'); or --text-column note"),
        ("sft", {"source_text": "A house.", "target_language": "French", "translated_text": "Une maison."}, "--prompt-text-column source_text --text-column translated_text --context-columns target_language"),
        ("kto", {"prompt": "Why?", "completion": "So.", "label": [{"value": "Yes"}], "label-suggestion": "No"}, "label holds a list: write one true or false"),
        ("sft", {"Title": "A title of it", "Body": "How do I sort a list of words?", "AcceptedAnswerBody": "Use the function for it."}, "--prompt-text-column Body --text-column AcceptedAnswerBody"),
        ("sft", {"personality": ["I like moss.", "I sing."], "utterances": [{"candidates": ["Hi", "Hello"], "history": ["Hey"]}]}, "write what is inside utterances as columns"),
    ],
)  # fmt: skip
def test_the_fix_for_unknown_columns_is_about_the_right_ones(trainer, row, fix, tmp_path):
    other = {
        name: f"{value} Or not." if isinstance(value, str) and name != "label-suggestion" else value
        for name, value in row.items()
    }
    assert (
        fix
        in refused(tmp_path, [row, {**other, **({"label-suggestion": "Yes"} if trainer == "kto" else {})}], trainer).fix
    )


# -- turns in rows, and texts in lists -------------------------------------------------------------------------------------------

SAID = ["Is it open?", "From nine.", "Does it rain?", "It does.", "Who is there?", "Nobody at all."]


@pytest.mark.parametrize("column", ["conv_id", "conversation_id", "thread_ts", "dialogue_id", "session", "chat_id"])
@pytest.mark.parametrize(
    ("trainer", "row"),
    [
        ("sft", lambda text: {"text": text}),
        ("generic", lambda text: {"text": text}),
        ("sft", lambda text: {"question": text, "answer": f"{text} I see."}),
        ("ppo", lambda text: {"prompt": text}),
    ],
)
def test_rows_that_are_turns_of_one_conversation_are_named(trainer, row, column, tmp_path):
    talk = [{**row(text), column: f"c{at // 2}"} for at, text in enumerate(SAID)]
    assert codes(opened(tmp_path, talk, trainer)) == ["D244"]
    assert codes(opened(tmp_path, talk, trainer, ignored_columns=(column,))) == []
    alone = [{**row(text), column: f"c{at}"} for at, text in enumerate(SAID)]
    assert codes(opened(tmp_path, alone, trainer)) == []


@pytest.mark.parametrize("column", ["speaker", "Speaker ID", "sender"])
def test_rows_of_speakers_who_take_turns_are_named(column, tmp_path):
    rows = [{"text": text, column: f"S{at % 2}"} for at, text in enumerate(SAID)]
    assert codes(opened(tmp_path, rows)) == ["D244"]
    assert codes(opened(tmp_path, [{**row, column: "S0"} for row in rows])) == []
    assert codes(opened(tmp_path, [{**row, column: f"S{at}"} for at, row in enumerate(rows)])) == []


@pytest.mark.parametrize("good", ["response_better", "goodAnswer", "text_winning", "the accepted reply"])
def test_two_names_that_differ_in_better_and_worse_alone_are_a_pair(good, tmp_path):
    bad = {"response_better": "response_worse", "goodAnswer": "badAnswer", "text_winning": "text_losing"}
    rows = [{"prompt": f"Why {n}?", good: "So.", bad.get(good, "the rejected reply"): "No."} for n in range(2)]
    dataset = opened(tmp_path, rows, "dpo")
    assert pair_of(dataset) == [("So.", "No.")] * 2 and codes(dataset) == []


def test_ratings_that_are_written_as_text_rate_a_list_of_answers(tmp_path):
    rows = [{"instruction": f"Why {n}?", "generations": ["No.", "So."], "ratings": ["2", "4"]} for n in range(2)]
    assert pair_of(opened(tmp_path, rows, "dpo")) == [("So.", "No.")] * 2


@pytest.mark.parametrize("trainer", ["sft", "generic"])
@pytest.mark.parametrize("column", ["ideal", "reference", "expected_output"])
def test_the_ideal_answer_to_turns_that_have_none_is_their_answer(column, trainer, tmp_path):
    rows = [{"input": turns(f"Why {n}?"), column: "So it is."} for n in range(2)]
    dataset = opened(tmp_path, rows, trainer)
    assert [row.completion[-1]["content"] for row in dataset.train] == ["So it is."] * 2 and codes(dataset) == []
    whole = [{"messages": turns(f"Why {n}?", "So."), column: f"It is so, {n}."} for n in range(2)]
    assert codes(opened(tmp_path, whole, trainer)) == ["D181"]


def test_keys_of_several_words_are_text_that_has_to_be_named(tmp_path):
    rows = [
        {"prompt": f"Which {n}?", "completion": "This.", "scores": {f"In the sea {n}": 1, "On a hill": 0}}
        for n in range(2)
    ]
    (finding,) = opened(tmp_path, rows).findings
    assert finding.code == "D181" and "scores" in finding.message


def test_questions_in_a_column_of_turns_are_reported_as_taken_for_turns(tmp_path):
    rows = [{"turns": ["Why is it so?", "And since when?"]}] * 2
    assert codes(opened(tmp_path, rows)) == ["D246"] and "D246" in codes(opened(tmp_path, rows, "ppo"))


def test_several_answers_to_one_prompt_are_no_turns_unless_they_are_counted_as_such(tmp_path):
    rows = [
        {"prompt": f"Why, {at // 2}?", "completion": text, "conversation_id": at // 2} for at, text in enumerate(SAID)
    ]
    assert "D244" not in codes(opened(tmp_path, rows))
    counted = [{**row, "turn": at % 2} for at, row in enumerate(rows)]
    assert "D244" in codes(opened(tmp_path, counted))


@pytest.mark.parametrize("trainer", ["generic", "sft"])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_list_of_texts_under_the_name_of_a_text_is_its_paragraphs(trainer, is_named, tmp_path):
    named = {"text_column": "text", "named": ("text_column",)} if is_named else {}
    dataset = opened(tmp_path, [{"text": ["One here.", "Two there."]}, {"text": ["Three."]}], trainer, **named)
    assert [row.text for row in dataset.train] == ["One here.\n\nTwo there.", "Three."] and codes(dataset) == []


@pytest.mark.parametrize(("column", "expected"), [("dialog", []), ("conversation", []), ("parts", ["D246"])])
def test_a_list_of_texts_that_is_taken_as_turns_by_no_name_of_its_own_is_reported(column, expected, tmp_path):
    dataset = opened(tmp_path, [{column: ["Hi", "Hello"]}] * 2, text_column=column, named=("text_column",))
    assert len(dataset.train[0].messages) == 2 and codes(dataset) == expected


def test_a_prompt_beside_a_text_is_offered_as_the_prompt_of_that_text(tmp_path):
    rows = [{"prompt": f"Write on moss, {n}.", "text": f"Moss is a plant, number {n}, and grows."} for n in range(2)]
    (finding,) = opened(tmp_path, rows).findings
    assert finding.code == "D181" and finding.fix.startswith("--prompt-text-column prompt --text-column text")
    named = opened(tmp_path, rows, prompt_column="prompt", text_column="text", named=("prompt_column", "text_column"))
    assert [row.prompt for row in named.train] == [row["prompt"] for row in rows] and codes(named) == []


def test_token_ids_beside_texts_are_no_part_of_the_prompt(tmp_path):
    rows = [{"prompt": f"Why {n}?", "completion": "So.", "inputs": [3, 5, n], "context": [1, 2]} for n in range(2)]
    dataset = opened(tmp_path, rows)
    assert [row.prompt for row in dataset.train] == ["Why 0?", "Why 1?"]


def test_turns_that_end_with_the_answer_are_not_offered_before_the_prompt(tmp_path):
    rows = [
        {"prompt": "Why?", "completion": f"So it is, {n}.", "note": turns("Why?", "No.", "Again!", f"So it is, {n}.")}
        for n in range(2)
    ]
    (finding,) = opened(tmp_path, rows, prompt_column="prompt", text_column="completion").findings
    assert "note" in finding.message and "--context-columns" not in finding.fix


# -- which column is the prompt ------------------------------------------------------------------------------------------------

LONG_ANSWERS = [("It rises in the east, every morning.", "I suppose that it is the moon that rises."),
        ("Through the roots, and then the stem.", "Plants have no need of any water at all.")]  # fmt: skip


def judged_rows(**names):
    return [
        {
            names.get("question", "question"): f"Which is right, number {n}?",
            names.get("judge", "prompt"): f"Judge this. Which is right, number {n}? A: {good} B: {bad} Answer A or B.",
            "chosen": good,
            "rejected": bad,
        }
        for n, (good, bad) in enumerate(LONG_ANSWERS)
    ]


@pytest.mark.parametrize("trainer", ["dpo", "reward", "kto"])
@pytest.mark.parametrize("question", ["orig_instruction", "question", "user_query", "problem"])
@pytest.mark.parametrize("judge", ["instruction", "prompt", "input"])
def test_a_prompt_in_which_both_answers_stand_is_the_judges(question, judge, trainer, tmp_path):
    dataset = opened(tmp_path, judged_rows(question=question, judge=judge), trainer)
    assert dataset.columns["prompt"] == question and codes(dataset) == []
    named = opened(
        tmp_path, judged_rows(question=question, judge=judge), trainer, prompt_column=judge, named=("prompt_column",)
    )
    assert named.columns["prompt"] == judge and "D242" in codes(named)


@pytest.mark.parametrize(
    ("trainer", "answers"),
    [
        ("sft", {"response": "So."}),
        ("generic", {"answer": "So."}),
        ("dpo", {"chosen": "So.", "rejected": "No."}),
        ("reward", {"chosen": "So.", "rejected": "No."}),
        ("kto", {"completion": "So.", "label": True}),
    ],
)
@pytest.mark.parametrize("column", ["trajectory", "messages", "dialog_so_far"])
def test_turns_that_end_before_the_answer_are_the_prompt_whatever_they_are_called(column, trainer, answers, tmp_path):
    asked = [turns("Hi", "Hello", "Why?"), turns("How?")]
    rows = [
        {column: cell, **answers, **({"label": n == 0} if trainer == "kto" else {})} for n, cell in enumerate(asked)
    ]
    dataset = opened(tmp_path, rows, trainer)
    assert [row.prompt for row in dataset.train] == asked and codes(dataset) == []


# -- what is named ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mask", "loss_mask", "completion_mask", "train_mask"])
@pytest.mark.parametrize("trainer", ["sft", "generic"])
def test_a_mask_beside_a_text_is_named(name, trainer, tmp_path):
    rows = [{"text": "It was signed in 1921.", name: [0, 0, 0, 0, 1]}, {"text": "Built in 1903.", name: [0, 0, 1]}]
    (finding,) = opened(tmp_path, rows, trainer).findings
    assert finding.code == "D181" and name in finding.message and "segments" in finding.fix


@pytest.mark.parametrize(
    ("key", "call"), [("function_calls", "look(name='x')"), ("action", "look"), ("toolcalls", ["look"])]
)
def test_what_a_turn_has_in_place_of_content_is_named(key, call, tmp_path):
    answer = {"role": "assistant", "content": None, key: call}
    row = {"messages": [*turns("Hi"), answer, {"role": "environment", "content": "x"}, *turns("", "Bye")[1:]]}
    finding = refused(tmp_path, [row])
    assert (finding.code, key in finding.message, key in finding.fix) == ("D117", True, True)


def test_a_context_that_writes_out_the_turns_of_the_prompt_is_not_joined_to_it(tmp_path):
    asked = [turns("Which?"), turns("Who?", "Bo.", "And when was it?")]
    rows = [
        {"messages": one, "context": "".join(f"<|{turn['role']}|>{turn['content']}\n" for turn in one)} for one in asked
    ]
    dataset = opened(tmp_path, rows, "grpo")
    assert [example.prompt for example in dataset.train] == asked
    assert dataset.describe().endswith("not used: context (repeats the row)") and dataset.findings == ()
    passages = [{**row, "context": f"{row['context']} It says: {n} more."} for n, row in enumerate(rows)]
    joined = opened(tmp_path, [{**row, "messages": [*row["messages"], *turns("", "Yes.")[1:]]} for row in passages])
    assert "more." in joined.train[0].messages[0]["content"]


def test_rows_of_numbers_alone_need_a_prompt_that_is_written(tmp_path):
    rows = [{"target": 98, "nums": [44, 19, 35]}, {"target": 64, "nums": [63, 95, 96]}]
    with pytest.raises(Refused) as problem:
        opened(tmp_path, rows, "grpo", keeps_columns=True)
    (finding,) = problem.value.findings
    assert "target (numbers, 98), nums (lists)" in finding.message and "--text-column" not in finding.fix
    assert '{"prompt": "… 98 … [44, 19, 35] …", "target": 98, "nums": [44, 19, 35]}' in finding.fix
    named = {"text_column": "target", "named": ("text_column",)}
    (warned,) = opened(tmp_path, rows, "grpo", keeps_columns=True, **named).findings
    assert warned.code == "D241" and "98 and 64" in warned.message


def test_columns_that_a_reward_function_is_given_are_not_called_unused(tmp_path):
    row = {"problem": "How many divisors has 84?", "answer": "12", "solution": "84 = 2 * 2 * 3 * 7", "level": 3}
    dataset = opened(tmp_path, [row], "grpo", keeps_columns=True)
    assert [*dataset.train[0].extra] == ["answer", "solution", "level"]
    assert dataset.describe().endswith("; given to the reward function: answer, solution, level")


@pytest.mark.parametrize(
    ("answers", "is_said"),
    [
        (["Let me think.\n<think>", "Let me think.\n<think>"], True),
        (["First, <think>", "Well, <think>"], True),
        (["Step 1:", "Step 1:", "Step 1:"], True),
        (["Yes.", "No."], False),
        (["Yes."], False),
        (["<think>So.</think>Yes.", "<think>Or.</think>No."], False),
    ],
)
def test_an_answer_that_a_prompt_starts_is_said_to_be_left_out(answers, is_said, tmp_path):
    rows = [{"prompt": turns(f"Which {n}?", answer)} for n, answer in enumerate(answers)]
    dataset = opened(tmp_path, rows, "grpo")
    assert dataset.train[0].prompt == turns("Which 0?") and dataset.train[0].reference == answers[0]
    assert codes(dataset) == (["D240"] if is_said else [])
    assert not is_said or repr(answers[0]) in dataset.findings[0].message


def test_rows_with_a_whole_answer_are_not_counted_among_those_that_start_one(tmp_path):
    answers = ["Yes.", "No.", "First, <think>", "Well, <think>"]
    rows = [{"prompt": turns(f"Which {n}?", answer)} for n, answer in enumerate(answers)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (finding,) = open_data(DataRequest(str(tmp_path / "rows.jsonl"), "prompts", trainer="grpo")).findings
    assert finding.code == "D240" and "'First, <think>' (2 rows)" in finding.message


# -- tables ----------------------------------------------------------------------------------------------------------------

QUOTED = ["It is cold; but it is wide, too.", "It is dry.", "It's here"]


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_are_parted_as_all_lines_show(separator, quote, end, tmp_path):
    cells = [text.replace(quote, quote * 2) for text in QUOTED]
    lines = [f"topic{separator}text", *(f"sea{separator}{quote}{cell}{quote}" for cell in cells)]
    dataset = opened(tmp_path, end.join(lines) + end, name="rows.csv")
    assert [row.text for row in dataset.train] == QUOTED
    assert codes(dataset) == (["D236"] if quote == "'" else [])


def test_a_table_with_commas_in_its_header_has_commas_whatever_its_rows_lack(tmp_path):
    dataset = opened(tmp_path, "prompt,completion\nOne; two?,Yes; no.\nThree; four?\n", name="rows.csv")
    assert dataset.train[0].completion == "Yes; no." and len(dataset.train) == 1


def test_a_separator_that_a_file_names_is_the_separator_whatever_else_parts_its_rows_evenly(tmp_path):
    table = "sep=;\nprompt, asked;completion\nOne, two?;Yes.\nThree, four?\n"
    dataset = opened(tmp_path, table, name="rows.csv", prompt_column="prompt, asked", named=("prompt_column",))
    assert [row.completion for row in dataset.train] == ["Yes."] and codes(dataset) == ["D125", "D113"]


@pytest.mark.parametrize("score", ["helpfulness", "help, in all"])
def test_scores_of_one_answer_are_offered_as_outputs(score, tmp_path):
    rows = [{"prompt": f"Which {n}?", "response": "This.", score: n, "verbosity": 1} for n in range(4)]
    fix = refused(tmp_path, rows, "reward").fix
    assert "--num-labels 2, " in fix and score in fix and "chosen" in fix


def test_a_list_of_answers_with_more_is_to_be_a_row_each(tmp_path):
    rows = [
        {"query": f"Which {n}?", "replies": [{"reply": "This one is it.", "like": n, "dislike": 1}]} for n in range(3)
    ]
    finding = refused(tmp_path, rows, "kto")
    assert "replies" in finding.fix and "completion" in finding.fix and "label" in finding.fix
    assert "like, dislike" in finding.message


@pytest.mark.parametrize(("column", "shown"), [("conversation", "conversation"), ("chat, in full", "'chat, in full'")])
def test_a_judged_conversation_in_one_text_is_told_with_its_label(column, shown, tmp_path):
    talk = "Nyx: Hi {}\nUser: Hello\nNyx: Come in."
    rows = [
        {"chat_id": f"c{n}", column: talk.format(n), "thumbs_up": n % 2 > 0, "feedback": "good, really"}
        for n in range(4)
    ]
    fix = refused(tmp_path, rows, "kto").fix
    assert f"{shown} as a list of turns" in fix and "thumbs_up is then the label" in fix


@pytest.mark.parametrize(
    "metadata", [{"id": "a-1", "topic": "sea", "score": 0.5, "of": {"lang": "en", "n": 3}}, {"system": "Be brief."}]
)
@pytest.mark.parametrize("name", ["metadata", "json_metadata", "meta", "extra_info"])
@pytest.mark.parametrize("as_text", [True, False])
def test_metadata_is_quiet_in_any_form_unless_a_prompt_is_in_it(name, metadata, as_text, tmp_path):
    rows = [
        {
            "messages": turns("Hi", f"Hello {n}"),
            name: json.dumps(metadata | {"n": n}) if as_text else metadata | {"n": n},
        }
        for n in range(3)
    ]
    assert codes(opened(tmp_path, rows)) == (["D181"] if "system" in metadata else [])


@pytest.mark.parametrize("more", [{}, {"winner": "neither"}])
def test_the_names_of_pairs_that_are_not_made_are_not_missed(more, tmp_path):
    """`--rejected-text-column rejected` is what a command for judged answers has; what is wrong is that nothing judges them."""
    rows = [
        {"prompt": f"Which {n}?", "response_a": f"First {n}", "response_b": f"Second {n}", **more} for n in range(2)
    ]
    with pytest.raises(Refused) as problem:
        opened(tmp_path, rows, "dpo", rejected_column="rejected", named=("rejected_column",))
    assert [finding.code for finding in problem.value.findings] == ["D110"]


@pytest.mark.parametrize(
    "name", ["gold_standard_solution", "verification_info", "ground_truth_code", "test_cases", "reference_solution"]
)
def test_what_answers_could_be_compared_with_is_for_a_reward_function(name, tmp_path):
    rows = [{"prompt": f"What is {n} plus {n}?", name: f"It is {2 * n}, of course."} for n in range(3)]
    (finding,) = opened(tmp_path, rows, "ppo").findings
    assert finding.code == "D181" and f"--rl-reward-fn is given {name}" in finding.fix
    assert "--context-columns" not in finding.fix


# -- rows as data sets of the Hub have them ------------------------------------------------------------------------------------


def test_a_question_inside_an_object_is_the_prompt_and_its_other_keys_are_named(tmp_path):
    question = {
        "dataset": "eli5",
        "full_text": "Why are there tides?",
        "note": "This one was asked twice by the same person.",
    }
    row = {"question": question, "answer_0": "The moon.", "answer_1": "The wind.", "score_0": 0.5, "score_1": -0.5}
    rows = [row, {**row, "score_0": -0.5, "score_1": 0.5}]
    for trainer in ("reward", "dpo"):
        dataset = opened(tmp_path, rows, trainer)
        assert [example.prompt for example in dataset.train] == ["Why are there tides?"] * 2
        assert [example.chosen for example in dataset.train] == ["The moon.", "The wind."]
        assert "note" in next(finding.message for finding in dataset.findings if finding.code == "D182")
    dataset = opened(tmp_path, [{"question": question, "answer": "The moon."}])
    assert (dataset.train[0].prompt, dataset.train[0].completion) == ("Why are there tides?", "The moon.")
    assert opened(tmp_path, [{"prompt": {"text": "Hi"}, "target": 3}], "grpo").train[0].prompt == "Hi"


def test_an_object_without_a_text_is_no_prompt(tmp_path):
    finding = refused(tmp_path, [{"question": {"id": 4, "tags": ["a"]}, "answer": "The moon rises."}])
    assert finding.code == "D110"


def test_answers_that_are_true_or_false_are_judged(tmp_path):
    outputs = [
        {"label": False, "response": "15", "step_labels": [False]},
        {"label": True, "response": "36", "step_labels": [True]},
    ]
    row = {"question": "3 boxes of 12 pens?", "outputs": outputs}
    for trainer in ("dpo", "kto", "reward"):
        dataset = opened(tmp_path, [row, {**row, "outputs": outputs[1:]}], trainer)
        assert [(example.chosen, example.rejected) for example in dataset.train] == [("36", "15")]
        assert {"D193", "D194"} <= {*codes(dataset)}


def test_steps_that_are_true_or_false_are_no_answers(tmp_path):
    steps = [{"text": "3 times 12", "label": True}, {"text": "is 15", "label": False}]
    assert refused(tmp_path, [{"question": "3 boxes of 12 pens?", "steps": steps}], "reward").code == "D110"


@pytest.mark.parametrize("first", [0, 1])
def test_a_number_chooses_one_of_two_answers_in_a_list(first, tmp_path):
    def row(better, **more):
        return {
            "prompt": "Say less.",
            "summaries": [{"text": "A.", "policy": "sup"}, {"text": "B.", "policy": "ref"}],
            "choice": better,
            **more,
        }

    dataset = opened(tmp_path, [row(first), row(first + 1, worker="w")], "dpo")
    assert [(example.chosen, example.rejected) for example in dataset.train] == [("A.", "B."), ("B.", "A.")]
    assert "choice is the number of the better one" in dataset.findings[0].message
    # Without both numbers nobody can say whether they begin with 0 or 1.
    assert refused(tmp_path, [row(1), row(1)], "dpo").code == "D110"


def test_turns_in_numbered_columns_are_one_conversation(tmp_path):
    def turn(role, text):
        return {"role": role, "content": text, "mood": f"So {text} is said with a smile."}

    long = {
        "task": "t",
        "message_2": turn("assistant", "B"),
        "message_1": turn("user", "A"),
        "message_10": turn("user", "C"),
        "message_11": turn("assistant", "D"),
    }
    short = {
        "task": "t",
        "message_1": turn("user", "A"),
        "message_2": turn("assistant", "B"),
        "message_10": None,
        "message_11": None,
    }
    dataset = opened(tmp_path, [long, short])
    assert [example.messages for example in dataset.train] == [turns("A", "B", "C", "D"), turns("A", "B")]
    assert "mood" in next(finding.message for finding in dataset.findings if finding.code == "D182")


def test_turns_that_are_thoughts_are_the_reasoning_of_the_answer_after_them(tmp_path):
    def turn(role, text):
        return {"role": role, "content": text}

    row = {"messages": json.dumps([turn("user", "Where?"), turn("reasoning", "<think>I list.</think>"),
           turn("tool_call", '<tool_call>{"name": "ls"}</tool_call>'), turn("tool_output", "a.py"), turn("thinking", "Found."), turn("answer", "a.py")])}  # fmt: skip
    (example,) = opened(tmp_path, [row]).train
    assert example.messages == [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": '<tool_call>{"name": "ls"}</tool_call>', "reasoning_content": "I list."},
        {"role": "tool", "content": "a.py"},
        {"role": "assistant", "content": "a.py", "reasoning_content": "Found."},
    ]
    alone = [turn("user", "Where?"), turn("thought", "I look."), turn("user", "And?"), turn("assistant", "Here.")]
    assert opened(tmp_path, [{"messages": alone}]).train[0].messages[1] == {"role": "assistant", "content": "I look."}


def test_all_roles_that_nobody_knows_are_named_together(tmp_path):
    row = {"messages": [{"role": role, "content": "A."} for role in ("user", "wizard", "dragon", "assistant")]}
    message = refused(tmp_path, [row]).message
    assert "'wizard'" in message and "'dragon'" in message


def test_what_other_tools_write_into_a_project_s_folder_are_no_rows(tmp_path):
    (tmp_path / "train.csv").write_text("text\nA long text of one row.\nAnother text of the second row.\n")
    (tmp_path / "project").mkdir()
    for name in ("training_params.json", "adapter_config.json", "trainer_state.json"):
        (tmp_path / "project" / name).write_text('{"model": "m", "lr": 0.1, "text": "no row"}')
    dataset = open_data(DataRequest(str(tmp_path), "conversations"))
    assert len(dataset.train) == 2 and dataset.findings == ()


@pytest.mark.parametrize("question", ["question", "instruction"])
def test_an_input_that_is_the_question_is_not_written_twice(question, tmp_path):
    row = {question: "How many pens?", "input": "How many pens?\n", "output": "36"}
    (same, other) = opened(tmp_path, [row, {**row, "input": "3 boxes of 12"}]).train
    for example, times in ((same, 1), (other, 1)):
        asked = example.messages[0]["content"] if example.messages else example.prompt
        assert asked.count("How many pens?") == times
    assert "3 boxes of 12" in (other.messages[0]["content"] if other.messages else other.prompt)


def test_a_context_is_the_prompt_of_a_pair_that_has_no_other(tmp_path):
    pair = {"notes": "It stands by the sea.", "chosen": "Lighthouse.", "rejected": "Barn."}
    for trainer in ("reward", "dpo"):
        assert opened(tmp_path, [pair], trainer, context_columns=("notes",)).train[0].prompt == "It stands by the sea."
    assert opened(tmp_path, [pair], "reward").train[0].prompt is None


def test_a_split_with_evaluation_rows_that_is_not_asked_for_is_known(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": f"{name} {at} is long."}) + "\n" for at in range(3))
        )
    held_out = {None: "validation", "test": None, "0.4": None}
    for asked, split in held_out.items():
        request = DataRequest(str(tmp_path), "conversations", valid_split=asked)
        assert open_data(request).held_out == split


def test_more_rows_than_were_asked_for_are_held_out_only_if_the_user_says_so(tmp_path):
    rows = [{"text": f"Row {at % 4} is a text of its own."} for at in range(12)]
    finding = refused_split(tmp_path, rows, "0.1")
    assert (dict(finding.changes), dict(finding.guess), finding.fix) == ({}, {"valid_split": 0.5}, "--valid-split 0.5")
    finding = refused_split(tmp_path, rows, "2000")
    assert finding.changes and not finding.guess


def refused_split(folder, rows, share):
    """The finding about a share of rows that can't be held out."""
    return next(one for one in opened(folder, rows, valid_split=share).findings if one.code == "D129")


# -- choices, tools and tables inside rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "written"),
    [
        ("Is a whale a fish or a mammal?", True),
        ("A fish, or a mammal?\nA. fish\nB. mammal", False),
        ("Choose: (A) fish (B) mammal", False),
        ("What is a whale?\n- fish\n- mammal", False),
    ],
)
def test_choices_are_written_unless_the_question_lists_them(tmp_path, question, written):
    rows = [{"question": question, "A": "fish", "B": "mammal", "answer": "B"}] * 2
    prompt = opened(tmp_path, rows).train[0].prompt
    assert prompt == (f"{question}\nA. fish\nB. mammal" if written else question)


def test_a_short_context_is_written_though_the_question_has_its_word(tmp_path):
    row = {"question": "How large is the Oslo region?", "context": "Oslo", "answer": "Large."}
    assert opened(tmp_path, [row]).train[0].prompt.startswith("Oslo\n\n")


TOOL = {"name": "warmth", "description": "of a city", "parameters": {"city": {"type": "string"}}}
CALLS = [{"name": "warmth", "arguments": {"city": "Oslo"}}, {"name": "warmth", "arguments": {"city": "Rome"}}]


@pytest.mark.parametrize("written", [CALLS, json.dumps(CALLS)], ids=["a list", "as text"])
def test_answers_that_are_calls_of_the_tools_of_their_row_are_calls(tmp_path, written):
    for question in ("query", "instruction"):
        dataset = opened(tmp_path, [{question: "How warm is it?", "tools": [TOOL], "output": written}] * 2)
        example = dataset.train[0]
        last = (example.messages or example.completion)[-1]
        assert [call["function"] for call in last["tool_calls"]] == CALLS, question
        assert dataset.turns == "answers that are calls of tools"


def test_an_answer_in_json_that_calls_no_tool_of_its_row_stays_text(tmp_path):
    others = json.dumps([{"name": "Oslo", "arguments": {}}])
    example = opened(tmp_path, [{"query": "Which city?", "tools": [TOOL], "output": others}]).train[0]
    assert example.completion == [{"role": "assistant", "content": others}]


def test_a_list_of_questions_with_ids_is_a_table_and_without_a_conversation(tmp_path):
    table = [{"id": at, "question": f"Which is number {at}?", "answer": LONG.format(at)} for at in range(3)]
    rows = [{"type": "header", "version": "5"}, {"type": "table", "rows of it": table}]
    dataset = opened(tmp_path, rows)
    assert [row.prompt for row in dataset.train] == [f"Which is number {at}?" for at in range(3)]
    assert codes(dataset) == ["D113"]  # the header is named
    without = [{key: part for key, part in one.items() if key != "id"} for one in table]
    assert len(opened(tmp_path, [{"exchanges": without}] * 2).train[0].messages) == 6
    assert len(opened(tmp_path, [{"data": without}]).train) == 3


@pytest.mark.parametrize("name", ["data", "examples", "samples", "entries"])
def test_lists_of_questions_with_answers_under_a_name_of_tables_are_rows(name, tmp_path):
    pairs = [{"prompt": f"Where is number {n}?", "completion": f"There, {n}."} for n in range(4)]
    rows = [{"system": "Be brief.", name: pairs[:2]}, {"system": "Be long.", name: pairs[2:]}]
    dataset = opened(tmp_path, rows)
    assert len(dataset.train) == 4 and dataset.findings == ()
    assert len(opened(tmp_path, [{name: pairs[:2], "answer": "No."}, {name: pairs[2:], "answer": "Yes."}]).train) == 2


@pytest.mark.parametrize(("name", "codes"), [("pairs", ["D246"]), ("qas_list", ["D246"]), ("conversation", [])])
def test_lists_of_questions_with_answers_that_are_taken_as_turns_are_reported(name, codes, tmp_path):
    pairs = [{"question": f"Where is number {n}?", "answer": f"There, {n}."} for n in range(4)]
    dataset = opened(tmp_path, [{name: pairs[:2]}, {name: pairs[2:]}])
    assert [len(row.messages) for row in dataset.train] == [4, 4]
    assert [finding.code for finding in dataset.findings] == codes


@pytest.mark.parametrize("trainer", ["sft", "ppo"])
@pytest.mark.parametrize("first", [0, 1, "A"])
@pytest.mark.parametrize(("choices", "key"), [("endings", "label"), ("opa opb opc", "cop"), ("options", "answer")])
def test_the_prompt_calls_the_right_choice_as_the_answer_does(trainer, first, choices, key, tmp_path):
    texts = ["in the house", "on the hill", "by the sea"]
    rows_of_file = []
    for at in range(3):
        label = at + first if isinstance(first, int) else "ABC"[at]
        columns = dict(zip(choices.split(), texts, strict=True)) if " " in choices else {choices: texts}
        rows_of_file.append({"question": f"Where is number {at}?", **columns, key: label})
    if (key, first) == ("label", "A"):
        return  # a letter under `label` may be any class
    dataset = opened(tmp_path, rows_of_file, trainer)
    for at, example in enumerate(dataset.train):
        answer = example.reference if trainer == "ppo" else example.completion
        assert f"{answer}. {texts[at]}" in str(example.prompt)


SEVERAL = {
    "letters": lambda n: {"response_a": f"It is {n}.", "response_b": f"It is {n + 1}.", "winner": "ab"[n % 2]},
    "rated": lambda n: {"answers": [{"text": f"It is {n}.", "elo": 900 - n % 2 * 9}, {"text": f"It is {n + 1}.", "elo": 895}]},
    "lists": lambda n: {"responses": [f"It is {n}.", f"It is {n + 1}."], "scores": [1 - n % 2, n % 2]},
}  # fmt: skip


@pytest.mark.parametrize("shape", SEVERAL)
def test_of_judged_answers_sft_trains_on_the_better_ones(shape, tmp_path):
    rows = [{"prompt": f"Which number follows {n - 1}?", **SEVERAL[shape](n)} for n in range(4)]
    dataset = opened(tmp_path, rows)
    assert [row.completion for row in dataset.train] == [f"It is {n + n % 2}." for n in range(4)]
    assert "D193" in codes(dataset)


def test_numbers_that_are_the_same_in_all_rows_are_no_scores(tmp_path):
    rows = [{"prompt": f"Which {n}?", "response": f"This {n}.", "turns": 1, "replies": 3} for n in range(9)]
    assert "--num-labels" not in refused(tmp_path, rows, "reward").fix


def test_an_object_with_a_row_under_each_key_holds_rows(tmp_path):
    rows = {f"q{n}": {"question": f"Who is {n}?", "answer": f"Ida {n}."} for n in range(5)}
    dataset = opened(tmp_path, json.dumps(rows), name="rows.json")
    assert [row.completion for row in dataset.train] == [row["answer"] for row in rows.values()]
    assert codes(dataset) == []


@pytest.mark.parametrize("answers", [lambda two: two, lambda two: {"input_text": two, "answer_start": [0, 5]}])
def test_lists_of_questions_about_a_text_are_turns_to_be_written(answers, tmp_path):
    rows = [
        {"story": f"Ida has lived by the sea for {n} years.", "questions": ["Who?", "Where?"], "answers": answers(["Ida", "there"])}
        for n in range(4)
    ]  # fmt: skip
    fix = refused(tmp_path, rows).fix
    assert "questions and answers" in fix and "story before the first" in fix and "--prompt-text-column" not in fix


def test_the_rows_of_an_answer_of_an_api_are_under_its_only_list(tmp_path):
    rows = [{"question": f"Who is {n}?", "answer": f"Ida {n}."} for n in range(3)]
    wrapper = {"@odata.context": "https://example.org/v1", "count": 3, "value": rows}
    dataset = opened(tmp_path, json.dumps(wrapper), name="rows.json")
    assert len(dataset.train) == 3 and codes(dataset) == []


def test_a_prompt_that_is_missing_is_looked_for_inside_objects_and_among_texts_of_several_words(tmp_path):
    rows = [
        {
            "info": {"post": f"So I ask what number {n} is for."},
            "chosen": f"Yes {n}",
            "rejected": "No",
            "worker": f"w{n}",
        }
        for n in range(3)
    ]
    assert dict(refused(tmp_path, rows, "kto").guess) == {"prompt_text_column": "info.post"}


def test_a_column_s_name_is_quoted_in_a_fix_that_is_typed(tmp_path):
    name = "The writer's $note"
    rows = [
        {"prompt": f"Where {n}?", "completion": "There.", name: f"It was not easy to find {n} things."}
        for n in range(4)
    ]
    (finding,) = opened(tmp_path, rows).findings
    words = shlex.split(finding.fix)
    assert [words[words.index(flag) + 1] for flag in ("--context-columns", "--ignore-columns")] == [name, name]
