"""How rows become text: templates and end tokens."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, exactly, group, nearly, param

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# What other tools call the templates of families of models.
TEMPLATES_OF_MODELS = (
    "qwen_25 qwen2 qwen2_5 qwen2.5 qwen3 qwen3_nothink qwen3_thinking qwen3_5 qwen2_vl gemma2 gemma3 gemma3n gemma_3 gemma4 llama4 llama3_1 "
    "llama3_2 llama3_2_vision deepseek deepseek2 deepseek3 deepseek_v2 deepseek_v3 deepseek_r1 deepseekr1 deepseekcoder cohere cohere2 command_a jamba "
    "exaone exaone3 phi_35 phi4_mini mistral_v1 mistral_v2v3 mistral_v3_tekken mistral_v7_tekken mistral_small pixtral glm4 glm4_moe glm4_5 "
    "internlm2 intern2 yi gpt gpt_oss granite3 granite4 falcon_h1 olmo olmo2 smollm smollm3 kimi_k2 minimax seed_oss ernie hunyuan metharme jinja"
)


@group("Chat template", order=62)
class ChatTemplate:
    """How conversations become text."""

    chat_template: str | None = param(
        None,
        "Chat template that conversations are written with: a well-known name, a file, `tokenizer` or `none`.",
        usual=True,
        metavar="NAME|FILE",
        default_words="the tokenizer's own",
        stage="tokens",
        used_by_inference=True,
        path="input",
        meanings={
            "tokenizer_default": exactly(),
            TEMPLATES_OF_MODELS: nearly("models come with their own, which is used where none is named"),
        },
        aliases=(
            "chat_format chat_template_jinja chat_template_path conversation_template custom_chat_template template "
            "template_name tokenizer_chat_template"
        ),
        on_resume=FIXED,
    )


@group("End token", order=63)
class EndToken:
    """The end-of-sequence token."""

    add_eos_token: bool = param(
        True,
        "Append the end-of-sequence token to each text, so that the model learns to stop.",
        stage="tokens",
        on_resume=FIXED,
    )


@group("Weights of tokens", order=64)
class TokenWeights:
    """How much each token counts in the loss."""

    token_weights: dict[str, Any] | None = param(
        None,
        "Weights of chosen tokens in the training loss, as JSON or in a file; every other token has weight 1.",
        metavar="JSON|FILE",
        default_words="1 for every token",
        searchable=False,
        on_resume=FIXED,
    )
