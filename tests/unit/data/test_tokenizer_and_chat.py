"""Tokenizers and chat templates: the same ids as transformers, and the answers of a conversation found without help."""

import json
import random
import re
import shutil
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from autotrain_llm.data.chat.assistant_masks import render_with_answers
from autotrain_llm.data.chat.template import (
    FOLDER,
    ChatTemplate,
    ChatTemplateError,
    check_end_of_turn,
    find_template,
    fitting_template,
    template_names,
)
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenizer.offsets import TokenBatch
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Refused

TEXT = "The capital of France is Paris. Name a colour. Blue is a colour, and so is red. Hi, hello there, how are you? Fine.\n"
PLAIN = ["<pad>", "<s>", "</s>", "<unk>"]
CONTROL = [
    "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<start_of_turn>", "<end_of_turn>", "<|end|>",
]  # fmt: skip
NAMES = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
KINDS = ("byte", "bos", "trim", "words", "bare")
SHORT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there 😊 é"}]
LONG = [
    {"role": "system", "content": "Be good."},
    {"role": "user", "content": " Name a colour. "},
    {"role": "assistant", "content": " Blue.\n"},
    {"role": "user", "content": "And?"},
    {"role": "assistant", "content": "Red"},
]


def made(folder: Path, kind: str) -> Path:
    """A small tokenizer of one kind, as its files."""
    words = kind == "words"
    raw = Backend(models.BPE(unk_token="<unk>" if words else None))
    raw.pre_tokenizer = pre_tokenizers.Metaspace() if words else pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.Metaspace() if words else decoders.ByteLevel()
    alphabet = [] if words else pre_tokenizers.ByteLevel.alphabet()
    special = PLAIN if kind == "bare" else PLAIN + CONTROL
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, show_progress=False, initial_alphabet=alphabet
    )
    raw.train_from_iterator([TEXT] * 4, trainer)
    if kind == "bos":
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    if kind == "trim":
        raw.post_processor = processors.ByteLevel(trim_offsets=True)
    folder.mkdir(parents=True)
    raw.save(str(folder / "tokenizer.json"))
    config = {**NAMES, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    return {kind: made(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def byte(folders):
    return Tokenizer.load(folders["byte"])


@pytest.fixture(scope="module")
def bare(folders):
    return Tokenizer.load(folders["bare"])


def trained(tokenizer, template, messages):
    """The text of the tokens that are trained on, answer by answer."""
    rendered = render_with_answers(template, messages)
    assert not rendered.lost
    (aligned,) = TokenBatch(tokenizer, [rendered.text]).aligned()
    return [tokenizer.decode(aligned.ids[slice(*aligned.tokens_of(span))]) for span in rendered.spans]


# -- the same as transformers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_transformers(kind, folders):
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folders[kind])
    ours = Tokenizer.load(folders[kind])
    strings = ["Hello there", "  two  spaces\n\nnew", "<s>already", "ends</s>", "", "ünï 漢字 😊", "<|im_end|> x"]
    for special in (True, False):
        wanted = [theirs(text, add_special_tokens=special)["input_ids"] for text in strings]
        assert ours.encode_batch(strings, special) == wanted
    assert (ours.size, ours.model_max_length) == (len(theirs), theirs.model_max_length)
    assert (ours.bos_id, ours.eos_id, ours.pad_id, ours.unk_id) == (1, 2, 0, 3)
    for name in template_names():
        template = find_template(name, ours, Observations())
        for messages in (SHORT, LONG):
            wanted = theirs.apply_chat_template(messages, chat_template=template.source, return_dict=False)
            assert ours.encode_batch([template.render(messages)]) == [wanted]


def test_tokens_that_only_the_config_knows_are_added_as_transformers_adds_them(folders, tmp_path):
    shutil.copytree(folders["bare"], tmp_path / "t")
    config = json.loads((tmp_path / "t" / "tokenizer_config.json").read_text())
    config |= {"eos_token": "<|done|>", "additional_special_tokens": ["<|more|>"]}
    (tmp_path / "t" / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path / "t")
    ours = Tokenizer.load(tmp_path / "t")
    assert ours.encode_batch(["a<|done|>b<|more|>"]) == [
        theirs("a<|done|>b<|more|>", add_special_tokens=False)["input_ids"]
    ]
    assert ours.eos_id == theirs.eos_token_id and ours.size == len(theirs)


MARKED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% generation %}"
    "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize("kind", ["byte", "bos", "words", "bare"])
@pytest.mark.parametrize("with_marks", [True, False])
def test_masks_are_those_of_transformers_with_and_without_its_generation_marks(kind, with_marks, folders):
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folders[kind])
    ours = Tokenizer.load(folders[kind])
    source = MARKED if with_marks else re.sub(r"{% (end)?generation %}", "", MARKED)
    for messages in (SHORT, LONG):
        wanted = theirs.apply_chat_template(
            messages, chat_template=MARKED, return_dict=True, return_assistant_tokens_mask=True
        )
        rendered = render_with_answers(ChatTemplate(source, ours), messages)
        (aligned,) = TokenBatch(ours, [rendered.text]).aligned()
        mask = [0] * len(aligned.ids)
        for start, end in map(aligned.tokens_of, rendered.spans):
            mask[start:end] = [1] * (end - start)
        assert aligned.ids == wanted["input_ids"]
        assert mask == wanted["assistant_masks"]


# -- what is trained on, by hand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("alpaca", [" Blue.\n</s>", "Red</s>"]),
        ("chatml", [" Blue.\n<|im_end|>", "Red<|im_end|>"]),
        ("gemma", ["Blue.<end_of_turn>", "Red<end_of_turn>"]),
        ("hermes", [" Blue.\n<|im_end|>", "Red<|im_end|>"]),
        ("llama-2", [" Blue. </s>", " Red </s>"]),
        ("llama-3", ["Blue.<|eot_id|>", "Red<|eot_id|>"]),
        ("mistral", ["  Blue.\n</s>", " Red</s>"]),
        ("phi-3", [" Blue.\n<|end|>", "Red<|end|>"]),
        ("phi-4", [" Blue.\n<|im_end|>", "Red<|im_end|>"]),
        ("tulu", [" Blue.\n</s>", "Red</s>"]),
        ("vicuna", ["  Blue.\n</s>", " Red</s>"]),
        ("zephyr", [" Blue.\n</s>", "Red</s>"]),
    ],
)
def test_each_answer_is_trained_through_the_token_that_ends_it(name, answers, byte):
    template = find_template(name, byte, Observations())
    assert trained(byte, template, LONG) == answers
    assert template.end_token == re.search(r"<[^<]*>$", answers[0])[0]


def test_every_named_template_has_a_hand_written_expectation():
    (marks,) = test_each_answer_is_trained_through_the_token_that_ends_it.pytestmark
    assert [name for name, _ in marks.args[1]] == template_names()


def test_hermes_writes_tools_their_calls_and_what_they_returned(byte):
    call = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "clock", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ]
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    text = find_template("hermes", byte, Observations()).render(turns, [tool])
    assert text.count("Be brief.") == 1 and json.dumps(tool) in text
    assert '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"}}\n</tool_call><|im_end|>' in text
    assert "<|im_start|>tool\n<tool_response>\n12:00\n</tool_response><|im_end|>" in text
    assert trained(byte, find_template("hermes", byte, Observations()), turns)[-1] == "Noon.<|im_end|>"


def test_the_proposed_template_is_one_whose_tokens_the_tokenizer_has(byte, bare):
    assert fitting_template(byte) == "chatml"
    check_end_of_turn(find_template(fitting_template(bare), bare, Observations()), observations := Observations())
    assert observations.findings() == ()


def test_trimmed_offsets_lose_no_token(folders):
    tokenizer = Tokenizer.load(folders["trim"])
    template = find_template("chatml", tokenizer, Observations())
    messages = [SHORT[0], {"role": "assistant", "content": "  \n Blue "}]
    assert trained(tokenizer, template, messages) == ["  \n Blue <|im_end|>"]


THINKING = """
{%- set last = namespace(user=-1) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for m in messages -%}
{%- set thought, said = m.reasoning_content | default(''), m.content -%}
{%- if '</think>' in said -%}
{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip() -%}
{%- set said = said.split('</think>')[-1].strip() -%}
{%- endif -%}
{{- '<|im_start|>' + m.role + '\n' -}}
{%- if m.role == 'assistant' and loop.index0 > last.user -%}{{- '<think>\n' + thought + '\n</think>\n\n' -}}{%- endif -%}
{{- said + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""


@pytest.mark.parametrize(
    "answers",
    [
        [{"content": "<think>\nhm\n</think>\n\nHello"}, {"content": "<think>\nadd\n</think>\n\nFour"}],
        [{"content": "Hello", "reasoning_content": "hm"}, {"content": "Four", "reasoning_content": "add"}],
    ],
)
def test_a_template_that_drops_earlier_thoughts_is_followed(answers, byte):
    turns = [{"role": "assistant", **answer} for answer in answers]
    messages = [{"role": "user", "content": "Hi"}, turns[0], {"role": "user", "content": "2+2?"}, turns[1]]
    wanted = ["Hello<|im_end|>", "<think>\nadd\n</think>\n\nFour<|im_end|>"]
    assert trained(byte, ChatTemplate(THINKING, byte), messages) == wanted


def test_an_end_token_that_only_the_last_turn_gets_is_trained_on_there(byte):
    source = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}"
        "{% if loop.last and m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    messages = [*SHORT[:1], {"role": "assistant", "content": "<think>\na\n</think>b"}, SHORT[0], LONG[-1]]
    assert trained(byte, ChatTemplate(source, byte), messages) == ["<think>\na\n</think>b", "Red\n</s>"]


def test_a_turn_of_weight_zero_is_not_trained_on(byte):
    messages = [*LONG[:2], {**LONG[2], "weight": 0}, *LONG[3:]]
    assert trained(byte, find_template("chatml", byte, Observations()), messages) == ["Red<|im_end|>"]


def test_tool_calls_are_answers(byte):
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}"
        "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": "é"}}}]}
    messages = [SHORT[0], call, {"role": "tool", "content": "3"}, LONG[-1]]
    wanted = ['{"name": "add", "arguments": {"a": "é"}}<|im_end|>', "Red<|im_end|>"]
    assert trained(byte, ChatTemplate(source, byte), messages) == wanted


# -- templates by name, file and fault -------------------------------------------------------------------------------------


def test_a_template_comes_from_a_name_a_file_or_the_tokenizer(byte, tmp_path):
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}!")
    assert find_template(str(tmp_path / "mine.jinja"), byte, Observations()).render(SHORT) == "Hi!"
    assert find_template("ChatML", byte, Observations()).source == find_template("chatml", byte, Observations()).source
    assert find_template(None, byte, Observations()) is None and find_template("none", byte, Observations()) is None


def test_a_misspelt_name_gets_the_nearest_one(byte):
    observations = Observations()
    assert find_template("chatlm", byte, observations) is None
    (found,) = observations.findings()
    assert found.code == "D141" and found.fix == "--chat-template chatml" and "chatlm" in found.message


def test_asking_for_the_tokenizers_own_template_where_it_has_none_is_an_error(byte):
    observations = Observations()
    assert find_template("tokenizer", byte, observations) is None and observations.findings()[0].code == "D140"


def test_a_template_that_is_not_one_is_an_error_with_its_line(byte):
    observations = Observations()
    assert find_template("{{ messages", byte, observations) is None and observations.findings()[0].code == "D141"


def test_a_template_that_refuses_a_turn_says_why_in_its_own_words(byte):
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", byte)
    with pytest.raises(ChatTemplateError, match="roles must alternate"):
        template.render(SHORT)


@pytest.mark.parametrize(
    "source", ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ messages[9].content.x }}"]
)
def test_a_template_can_neither_change_nor_leave_its_sandbox(source, byte):
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source, byte).render(SHORT)


def test_control_tokens_that_the_tokenizer_lacks_are_reported_and_still_trained_on(byte, bare):
    template = find_template("chatml", bare, Observations())
    assert trained(bare, template, SHORT) == ["Hello there 😊 é<|im_end|>"]
    assert template.end_token is None and "<|im_end|>" in template.missing_tokens
    observations = Observations()
    check_end_of_turn(template, observations)
    (found,) = observations.findings()
    assert found.severity == "warning" and "<|im_end|>" in found.message and "eos_token" in found.message
    check_end_of_turn(find_template("chatml", byte, Observations()), accepted := Observations())
    assert accepted.findings() == ()


def test_templates_are_read_from_wherever_the_files_keep_them(folders, tmp_path):
    shutil.copytree(folders["bare"], tmp_path / "t")
    path = tmp_path / "t" / "tokenizer_config.json"
    path.write_text(
        json.dumps(
            {**NAMES, "chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}
        )
    )
    own = find_template(None, Tokenizer.load(tmp_path / "t"), Observations())
    assert own.render(SHORT) == "a" and own.render(SHORT, tools=[{"type": "function"}]) == "b"
    (tmp_path / "t" / "chat_template.jinja").write_text("c")
    assert Tokenizer.load(tmp_path / "t").chat_template == "c"


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer_config.json", b"[1]"), ("chat_template.jinja", b"\xff\xfe{{ x }}")]
)
def test_a_file_beside_a_tokenizer_that_holds_something_else_is_refused(name, content, folders, tmp_path):
    shutil.copytree(next(iter(folders.values())), tmp_path / "t")
    (tmp_path / "t" / name).write_bytes(content)
    with pytest.raises(Refused) as refused:
        Tokenizer.load(tmp_path / "t")
    (finding,) = refused.value.findings
    assert (finding.code, name in finding.message) == ("D160", True)


def test_a_missing_or_damaged_tokenizer_is_refused(tmp_path):
    with pytest.raises(Refused, match="no tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(Refused, match=r"tokenizer\.json can't be read"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_that_only_transformers_can_run_gives_the_same_masks(folders, monkeypatch):
    transformers = pytest.importorskip("transformers")
    from autotrain_llm.data.tokenizer.tokenizer import _SlowBackend

    whole = transformers.AutoTokenizer.from_pretrained(folders["byte"])
    fast = Tokenizer.load(folders["byte"])
    slow = Tokenizer(_SlowBackend(whole), fast.config, fast.templates, slow=True)
    template = find_template("chatml", slow, Observations())
    assert trained(slow, template, LONG) == [" Blue.\n<|im_end|>", "Red<|im_end|>"]
    assert slow.encode_batch(["Hi there"]) == fast.encode_batch(["Hi there"])


def test_nothing_here_loads_torch_or_transformers(folders):
    import subprocess

    program = (
        "import sys; from autotrain_llm.data.tokenize.prepare import prepare; from autotrain_llm.data.load.open import open_data; "
        "light = sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'tokenizers', 'jinja2', 'pyarrow', 'yaml', 'rich'}); "
        "from autotrain_llm.data.tokenizer.tokenizer import Tokenizer; from autotrain_llm.data.chat.template import find_template; "
        "from autotrain_llm.data.observations import Observations; t = Tokenizer.load(sys.argv[1]); find_template('chatml', t, Observations()).turn_suffix; "
        "heavy = sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'transformers', 'datasets', 'trl', 'peft', 'pandas'}); "
        "sys.stdout.write(f'{light}{heavy}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folders["byte"])], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[][]"


def test_answers_read_off_the_shape_of_a_conversation_are_those_found_turn_by_turn(folders, monkeypatch):
    said = [
        "Hi",
        "a b",
        "</s>",
        "x\n",
        " y",
        "<think>\nq\n</think>\n\nok",
        "assistant",
        "é 漢字",
        "### End",
        "Wq5k0kq5W",
        " ",
        "",
    ]
    chance = random.Random(0)
    tokenizer = Tokenizer.load(next(iter(folders.values())))
    read_off = 0
    sources = {name: (FOLDER / f"{name}.jinja").read_text() for name in template_names()} | OTHER_TEMPLATES
    for name, source in sources.items():
        quick, slow = ChatTemplate(source, tokenizer, name), ChatTemplate(source, tokenizer, name)
        slow.skeletons.answers = lambda *conversation: None
        for _ in range(60):
            roles = [*chance.choice([[], ["system"]]), *["user", "assistant"] * chance.choice([1, 2, 3])]
            edges = ["", "", " ", "\n\n"]
            turns = [
                {"role": role, "content": chance.choice(edges) + chance.choice(said) + chance.choice(edges)}
                for role in roles
            ]
            first = chance.choice([0, len(turns) - 1])
            assert render_with_answers(quick, turns, None, first) == render_with_answers(slow, turns, None, first)
        text = quick.render(CHAT_OF_TWO)
        read_off += quick.skeletons.answers(CHAT_OF_TWO, 0, text, lambda messages, first: None) is not None
    assert read_off == len(sources) - 1  # one writes each content twice


@pytest.mark.parametrize("name", template_names())
def test_a_conversation_is_rendered_once(name, folders, monkeypatch):
    template = ChatTemplate((FOLDER / f"{name}.jinja").read_text(), Tokenizer.load(folders["byte"]), name)
    edges, rendered = [("", ""), (" ", ""), ("", "\n"), ("\n", " ")], []
    conversations = [
        [
            {"role": "system", "content": system},
            *({**turn, "content": f"{before}{turn['content']}{number}{after}"} for turn in CHAT_OF_TWO),
        ]
        for number, (before, after) in enumerate(edges * 5)
        for system in ("Be brief.", "")
    ]
    once = ChatTemplate.render
    monkeypatch.setattr(ChatTemplate, "render", lambda *given, **more: rendered.append(1) or once(*given, **more))
    for messages in conversations:
        assert len(render_with_answers(template, messages).spans) == 1
    assert len(rendered) <= len(conversations) + 10


# What the well-known ones don't do: trim some turns, write nothing behind an answer, space around its end, or a content twice.
OTHER_TEMPLATES = {
    "trims some": "{% for m in messages %}{{ m.role }}: {% if m.role == 'user' %}{{ m.content | trim }}{% else %}{{ m.content }}"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
    "trims the last": "{% for m in messages %}[{{ m.role }}]{{ m.content | trim if loop.last else m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}",
    "no end": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    "space": "{% for m in messages %}<{{ m.role }}>{{ m.content }} <|im_end|> {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    "twice": "{% for m in messages %}{{ m.content }}{{ m.content }}<|im_end|>{% endfor %}",
}
CHAT_OF_TWO = [{"role": "user", "content": "Hello you"}, {"role": "assistant", "content": "Hello me"}]


# -- which tokens hold which characters -------------------------------------------------------------------------------------

ODD_TEXTS = [
    TEXT * 3, "  two  spaces\n\nnew", "<s>already", "ends</s>", "", "ünï 漢字 😊", "e\u0301 is two letters, é is one", "a\u00a0b\u3000 c ",
    "<|im_start|>user\n 😊😊<|im_end|>\n<|im_start|>assistant\nÄh…<|im_end|>\n", "\r\n\t x", "0123456789",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["byte", "bos", "trim", "bare"])
def test_tokens_hold_exactly_the_characters_that_were_asked_for(kind, folders):
    """Decoded, the tokens of a stretch hold it, and where a letter takes several, each is needed."""
    tokenizer = Tokenizer.load(folders[kind])
    for text, aligned in zip(ODD_TEXTS, TokenBatch(tokenizer, ODD_TEXTS).aligned(), strict=True):
        pieces = [tokenizer.decode([number]) for number in aligned.ids]
        for start in range(min(len(text), 40)):
            first, last = aligned.tokens_of((start, start + 1))
            letter = text[start]
            assert letter in tokenizer.decode(aligned.ids[first:last])
            if last - first > 1:  # a letter of several tokens: none of them is the letter
                assert all(letter not in piece for piece in pieces[first:last])


def test_a_space_belongs_to_the_token_that_holds_it_however_offsets_are_trimmed(folders):
    trimming = Tokenizer.load(folders["trim"])
    plain = Tokenizer.load(folders["trim"])
    plain.backend.post_processor = None
    for trimmed, aligned in zip(*(TokenBatch(one, ODD_TEXTS).aligned() for one in (trimming, plain)), strict=True):
        ends = range(min(len(aligned.text), 60) + 1)
        spans = [(start, end) for start in ends for end in ends[start:]]
        assert trimmed.ids == aligned.ids
        assert [trimmed.tokens_of(span) for span in spans] == [aligned.tokens_of(span) for span in spans]


def test_a_character_that_the_vocabulary_lacks_moves_no_other(folders):
    tokenizer = Tokenizer.load(folders["byte"])
    document = json.loads(tokenizer.backend.to_str())
    gone = document["model"]["vocab"].pop("Z")
    document["model"]["vocab"] |= {"ZZZ": gone}
    tokenizer.backend = Backend.from_str(json.dumps(document))
    (lacking,) = TokenBatch(tokenizer, ["Hello Z you"]).aligned()
    assert tokenizer.decode(lacking.ids) == "Hello  you"
    assert tokenizer.decode(lacking.ids[slice(*lacking.tokens_of((8, 11)))]) == " you"


def test_ids_beyond_the_size_of_the_vocabulary_are_known(folders):
    """Some vocabularies have gaps."""
    tokenizer = Tokenizer.load(folders["byte"])
    document = json.loads(tokenizer.backend.to_str())
    far = document["added_tokens"][-1]
    document["model"]["vocab"][far["content"]] = far["id"] = 9999
    tokenizer.backend = Backend.from_str(json.dumps(document))
    text = f"Hello{far['content']}you"
    (aligned,) = TokenBatch(tokenizer, [text]).aligned()
    assert 9999 in aligned.ids and tokenizer.size < 9999
    assert tokenizer.decode(aligned.ids[slice(*aligned.tokens_of((len(text) - 3, len(text))))]) == "you"


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_same_whether_or_not_characters_are_asked_for(kind, folders):
    tokenizer = Tokenizer.load(folders[kind])
    wanted = [tokenizer.backend.encode(text, add_special_tokens=False).ids for text in ODD_TEXTS]
    assert tokenizer.encode_batch(ODD_TEXTS) == wanted
    for spans in (True, False):
        assert [aligned.ids for aligned in TokenBatch(tokenizer, ODD_TEXTS, spans=spans).aligned()] == wanted


def test_tokens_that_moved_are_told_from_new_ones(folders):
    own, same, moved = (Tokenizer.load(folders["byte"]) for _ in range(3))
    assert own.moved_tokens(same) == (0.0, None)
    same.backend.add_tokens(["<more>"])
    assert own.moved_tokens(same) == same.moved_tokens(own) == (0.0, None)
    document = json.loads(moved.backend.to_str())
    vocabulary = document["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    moved.backend = Backend.from_str(json.dumps(document))
    share, first = own.moved_tokens(moved)
    assert share == 2 / own.size and first == f"'A' has the id {vocabulary['A']} instead of {vocabulary['B']}"
