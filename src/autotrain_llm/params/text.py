"""How rows become text: templates and end tokens."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, group, param

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
