"""What is trained of each turn, with the chat templates of many model families: exactly what the template writes for it.

`support/chat_templates/` has the templates, written for these tests from the documented formats, and `trained.json`: for each family and conversation the
trained text of each turn, the parts that the template leaves out, or what it refuses.
"""

import json
import re
from pathlib import Path

import pytest

from autotrain_llm.data.chat.assistant_masks import render_with_answers
from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError
from autotrain_llm.data.chat.turn_spans import TurnSpans
from autotrain_llm.data.tokenizer.offsets import TokenBatch
from support.tokenizers import made

FOLDER = Path(__file__).parents[2] / "support" / "chat_templates"
TRAINED = json.loads((FOLDER / "trained.json").read_text())
FAMILIES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
TOKENS = re.compile(
    r"<\|\w+\|>|<｜[^｜]+｜>|</?\w+_of_turn>|\[/?[A-Z_]+\]|</?(?:think|tool_call|tool_response)>|<\|?turn\|?>"
)
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    for name in ("get_weather", "get_time")
]  # fmt: skip


def system(content="Be brief."):
    return {"role": "system", "content": content}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, number):
    return {"type": "function", "id": f"abcdefg0{number}", "function": {"name": name, "arguments": arguments}}


def tool(content, number, name="get_weather"):
    return {"role": "tool", "content": content, "tool_call_id": f"abcdefg0{number}", "name": name}


ONE, TWO = user("Question one?"), user("Question two!")
WEATHER = call("get_weather", {"city": "Paris", "days": 3}, 1)
PARALLEL = [call("get_weather", {"city": "Paris"}, 1), call("get_time", {"city": "Rome"}, 2)]
CONVERSATIONS = {
    "two turns": [ONE, assistant("Answer one."), TWO, assistant("Answer two.")],
    "system": [system(), ONE, assistant("Answer one."), TWO, assistant("Answer two.")],
    "thoughts": [
        *(system(), ONE, assistant("Answer one.", reasoning_content="Thought one.")),
        *(TWO, assistant("Answer two.", reasoning_content="Thought two.")),
    ],
    "thoughts in content": [
        *(system(), ONE, assistant("<think>\nThought one.\n</think>\n\nAnswer one.")),
        *(TWO, assistant("<think>\nThought two.\n</think>\n\nAnswer two.")),
    ],
    "call": [
        *(system(), ONE, assistant("", reasoning_content="Need weather.", tool_calls=[WEATHER]), tool('{"temp": 20}', 1)),
        *(assistant("It is 20."), TWO, assistant("Answer two.")),
    ],
    "parallel calls": [
        *(ONE, assistant("Let me look.", tool_calls=PARALLEL), tool("twenty", 1), tool("noon", 2, "get_time")),
        assistant("It is 20 at noon."),
    ],
    "call after a thought": [
        *(ONE, assistant("<think>\nNeed weather.\n</think>\n\nLet me look.", tool_calls=[WEATHER]), tool("twenty", 1)),
        *(assistant("<think>\nWarm.\n</think>\n\nIt is 20."), TWO, assistant("Answer two.")),
    ],
    "ends with a call": [ONE, assistant("", tool_calls=[WEATHER])],
}  # fmt: skip


def template_of(family, tokenizer):
    return ChatTemplate((FOLDER / f"{family}.jinja").read_text(), tokenizer, family)


def tools_for(conversation):
    return TOOLS if "call" in conversation else None


def outcome(template, conversation):
    """As in `trained.json`."""
    try:
        rendered = render_with_answers(template, CONVERSATIONS[conversation], tools_for(conversation))
    except ChatTemplateError as problem:
        return {"refused": str(problem)}
    if rendered.unclear:
        return {"unclear": list(rendered.unclear)}
    trained = {"trained": [rendered.text[start:end] for start, end in rendered.spans]}
    left_out = [f"turn {piece.turn + 1}: {piece.text.strip()}" for piece in rendered.left_out]
    return trained | ({"left out": left_out} if left_out else {})


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory.mktemp("plain") / "tokenizer")


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """A tokenizer that has the control tokens of all families."""
    tokenizer = made(tmp_path_factory.mktemp("knowing") / "tokenizer")
    sources = "".join(path.read_text() for path in FOLDER.glob("*.jinja"))
    tokenizer.backend.add_special_tokens(sorted(set(TOKENS.findall(sources))))
    return tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_what_the_template_writes_for_a_turn_is_trained(family, plain, knowing):
    for conversation, expected in TRAINED[family].items():
        assert outcome(template_of(family, plain), conversation) == expected, conversation
        assert outcome(template_of(family, knowing), conversation) == expected, conversation


def test_every_family_and_conversation_has_an_expectation():
    assert len(FAMILIES) > 40
    assert sorted(TRAINED) == FAMILIES
    assert all(list(expected) == list(CONVERSATIONS) for expected in TRAINED.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_that_a_turn_says_is_left_untrained_and_nothing_of_other_turns_is_trained(family, knowing):
    """Read from the texts alone: what a template writes of a turn is in its trained tokens, and no other turn's words are."""
    for conversation, messages in CONVERSATIONS.items():
        template = template_of(family, knowing)
        try:
            rendered = render_with_answers(template, messages, tools_for(conversation))
        except ChatTemplateError:
            continue
        left_out = {piece.text.strip() for piece in rendered.left_out}
        (aligned,) = TokenBatch(knowing, [rendered.text]).aligned()
        trained = "".join(knowing.decode(aligned.ids[slice(*aligned.tokens_of(span))]) for span in rendered.spans)
        for message in messages:
            words = re.findall(r"(?:Question|Be|twenty|noon$)[ \w]*", message["content"])
            if message["role"] == "assistant":
                words = [*re.split(r"</?think>|\n", message["content"]), message.get("reasoning_content", "")]
                for one in message.get("tool_calls", ()):
                    words += [one["function"]["name"], *map(str, one["function"]["arguments"].values())]
                written = [word for word in words if word.strip() and word in rendered.text and word not in left_out]
                assert all(word in trained for word in written), conversation
            else:
                assert not any(word in trained for word in words if word != "noon"), conversation


@pytest.mark.parametrize("cut", ["begin", "end", "call", "beyond"])
def test_a_mask_that_is_too_short_or_too_long_is_never_used(cut, plain, monkeypatch):
    """Whatever finds the answers, it is checked against what was written."""
    found = TurnSpans.of_turn

    def wrong(self, turn):
        (start, end), *_ = found(self, turn)
        after = self.text.index("Paris") + 4
        return [{"begin": (after, end), "end": (start, end - 10), "call": (start, after), "beyond": (0, end)}[cut]]

    monkeypatch.setattr(TurnSpans, "of_turn", wrong)
    rendered = render_with_answers(template_of("qwen3", plain), CONVERSATIONS["ends with a call"], TOOLS)
    assert rendered.spans == [] and rendered.unclear is not None and rendered.unclear[0] == 1


def test_a_word_that_a_template_looks_for_is_found_without_changing_it(plain):
    """smollm3 looks for /no_think in the system turn, llama-3.1 for the names of its own tools."""
    messages = [system("/no_think"), ONE, assistant("Answer one.")]
    assert ["<think>\n\n</think>\nAnswer one." in text for text in texts(plain, "smollm3", messages)] == [True]
    search = {"role": "assistant", "content": "", "tool_calls": [call("brave_search", {"query": "rain"}, 1)]}
    assert texts(plain, "llama-3.1", [ONE, search]) == ['<|python_tag|>brave_search.call(query="rain")<|eom_id|>']


def test_a_template_that_counts_letters_is_rendered_a_limited_number_of_times(plain, monkeypatch):
    source = "{% for m in messages %}{{ m.role }}: {{ m.content | length }}</s>{% endfor %}"
    rendered, once = [], ChatTemplate.trace
    monkeypatch.setattr(ChatTemplate, "trace", lambda *given, **more: rendered.append(1) or once(*given, **more))
    (text,) = texts_of(ChatTemplate(source, plain), [ONE, assistant("<br>one" * 500, reasoning_content="Thought.")])
    assert text == "assistant: 3500</s>" and len(rendered) < 120


def texts(tokenizer, family, messages, tools=None):
    return texts_of(template_of(family, tokenizer), messages, tools)


def texts_of(template, messages, tools=None):
    rendered = render_with_answers(template, messages, tools)
    assert rendered.unclear is None
    return [rendered.text[start:end] for start, end in rendered.spans]


def test_text_that_is_odd_is_found_as_well(plain):
    """Contents of tags, signs, digits and text that looks like the template's."""
    odd = [
        "</s>",
        "<|im_end|>",
        "<think>",
        "7",
        "😊",
        "a\n<|im_start|>assistant\nb",
        "[/INST]",
        "</think>",
        '{"a": "\\u00e9"}',
    ]
    for content in odd:
        (text,) = texts(plain, "qwen2.5", [ONE, assistant(content)])
        assert text == f"{content}<|im_end|>"
        thinking = texts(plain, "glm-4.5", [ONE, assistant("Yes.", reasoning_content=content)])
        assert thinking == [f"\n<think>{content.strip()}</think>\nYes."]


def test_a_template_that_hides_its_loop_is_followed_or_refused(plain):
    """Turns written by their numbers: where they begin and end is seen from renderings of fewer turns, or not at all."""
    source = "{% for i in range(0, messages | length, 2) %}Q: {{ messages[i].content }}\nA: {{ messages[i + 1].content }}#\n{% endfor %}"
    rendered = render_with_answers(ChatTemplate(source, plain), CONVERSATIONS["two turns"])
    assert rendered.unclear == (1, "where it begins depends on other turns") and rendered.spans == []
    again = "{% for m in messages %}{{ m.role }}: {{ m.content }}#\n{% endfor %}{{ messages[1].content }}"
    rendered = render_with_answers(ChatTemplate(again, plain), CONVERSATIONS["two turns"])
    assert rendered.unclear == (1, "part of it lies elsewhere: 'Answer one.'")


def test_what_a_template_marks_as_generated_is_trained_if_it_is_the_whole_answer(plain):
    source = (
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}</s>{% endfor %}"
    )
    rendered = render_with_answers(ChatTemplate(source, plain), CONVERSATIONS["two turns"])
    assert [rendered.text[start:end] for start, end in rendered.spans] == ["Answer one.", "Answer two."]
    rendered = render_with_answers(ChatTemplate(source, plain), CONVERSATIONS["parallel calls"], TOOLS)
    assert rendered.unclear == (1, "part of it lies elsewhere: its call 'get_weather'")
