"""Chat templates in the language of Ollama's Modelfile."""

from __future__ import annotations

import pytest

from autotrain_llm.data.chat.modelfile import AS_IT_IS, modelfile, turn_texts
from autotrain_llm.data.chat.template import ChatTemplate, find_template, template_names
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
WITH_DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}" + CHATML
# The system prompt is a part of the first user turn.
MERGES_SYSTEM = "{% for m in messages %}{% if m.role != 'system' %}[{{ messages[0].content if loop.index0 < 2 else '' }}{{ m.content }}]{% endif %}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer(llama) -> Tokenizer:
    return Tokenizer.load(llama)


def test_a_template_is_written_turn_by_turn(tokenizer):
    texts = turn_texts(ChatTemplate(CHATML, tokenizer))
    assert texts is not None
    assert texts.as_go() == (
        '{{ range $i, $_ := .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n<|im_start|>assistant\n'
        '{{ else if eq .Role "assistant" }}{{ .Content }}{{ if gt (len (slice $.Messages $i)) 1 }}<|im_end|>\n{{ end }}{{ end }}{{ end }}'
    )


def test_a_default_system_prompt_is_the_modelfile_s(tokenizer):
    texts = turn_texts(ChatTemplate(WITH_DEFAULT, tokenizer))
    assert texts is not None and texts.default_system == "You help."
    text = modelfile("model.gguf", texts.as_go(), ["<|im_end|>", "<|im_end|>"], texts.default_system, 512)
    assert 'SYSTEM """You help."""\nPARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 512\n' in text
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """{{ range')


def test_a_template_that_depends_on_other_turns_is_not_translated(tokenizer):
    assert turn_texts(ChatTemplate(MERGES_SYSTEM, tokenizer)) is None


def test_plain_text_is_handed_on_as_it_is():
    assert modelfile("m.gguf", AS_IT_IS, [], "", None) == 'FROM ./m.gguf\nTEMPLATE """{{ .Prompt }}"""\n'


def test_a_template_that_is_not_translated_is_left_to_the_file_of_weights():
    assert modelfile("m.gguf", None, ["</s>"], "", None) == 'FROM ./m.gguf\nPARAMETER stop "</s>"\n'


def test_most_of_the_package_s_templates_are_translated(tokenizer):
    """Which are not: those that write the system prompt into the first user turn, or refuse one."""
    templates = {name: find_template(name, tokenizer, Observations()) for name in template_names()}
    translated = {name for name, template in templates.items() if template is not None and turn_texts(template)}
    assert {"alpaca", "chatml", "zephyr", "llama-3"} <= translated
    assert "llama-2" not in translated
