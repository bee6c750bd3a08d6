"""How rows become text: templates and end tokens."""

from __future__ import annotations

from autotrain_llm.declare.param import group, param


@group("Chat template", order=62)
class ChatTemplate:
    """How a conversation is written."""

    chat_template: str | None = param(
        None,
        "Write conversations with this template: a well-known name, a file, `tokenizer` or `none`.",
        metavar="NAME|FILE",
        default_words="the tokenizer's own",
        stage="tokens",
        used_by_inference=True,
        path="input",
        aliases="chat_format chat_template_path conversation_template prompt_template template template_name",
    )


@group("End token", order=63)
class EndToken:
    """Whether a text ends."""

    add_eos_token: bool = param(
        True, "End each text with the end-of-sequence token, so that the model learns to stop.", stage="tokens"
    )
