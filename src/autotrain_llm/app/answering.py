"""The process behind "Try": loads one model, or two side by side, and answers messages, as `autotrain chat` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotrain_llm.app.checking import finding_json, refusal
from autotrain_llm.app.orders import Write, orders, writer
from autotrain_llm.declare.finding import Refused

if TYPE_CHECKING:
    from autotrain_llm.run.generation.chat import Speaker

# What the page may set of `autotrain chat`.
SETTINGS = ("model", "against", "temperature", "max_new_tokens", "system")


def answer_orders() -> int:
    """Orders are `open`, `say` and `reset`. Pieces of an answer are written as they come."""
    write = writer()
    speakers: tuple[Speaker, ...] = ()
    for order in orders():
        try:
            if "open" in order:
                speakers = _open(order["open"], write)
            elif "say" in order:
                for index, speaker in enumerate(speakers):
                    if not _answer(index, speaker, str(order["say"]), write):
                        break
            else:
                for speaker in speakers:
                    speaker.reset()
        except KeyboardInterrupt:  # between two answers
            pass
        except Exception as fault:
            write(refusal(fault))
        write({"end": True})
    return 0


def _open(settings: Mapping[str, Any], write: Write) -> tuple[Speaker, ...]:
    """Check and load the models. Raises Refused."""
    from autotrain_llm.checks.chat import check_chat_arguments
    from autotrain_llm.config.arguments import parse_kwargs

    texts = {name: settings[name] for name in SETTINGS if settings.get(name) not in (None, "")}
    checked = check_chat_arguments(parse_kwargs({"inference": True, **texts}))
    if checked.refused:
        raise Refused(checked.findings)
    from autotrain_llm.run.generation.chat import open_chat
    from autotrain_llm.run.session.training import quiet_libraries

    quiet_libraries(False)
    opened = open_chat(checked.context)
    found = [finding_json(finding) for finding in (*checked.findings, *opened.findings)]
    named = [
        {"name": speaker.name, "chat": speaker.rendering.is_chat, "system": speaker.rendering.system_prompt or ""}
        for speaker in opened.speakers
    ]
    write({"opened": named, "findings": found})
    return opened.speakers


def _answer(index: int, speaker: Speaker, text: str, write: Write) -> bool:
    """Let a model answer; False if it was stopped."""
    from autotrain_llm.run.generation.chat import STOPPED, Unanswerable

    def piece(part: str) -> None:
        write({"speaker": index, "piece": part})

    try:
        reply = speaker.answer(text, piece)
    except Unanswerable as problem:
        write({"speaker": index, "ended": "refused", "note": f"{problem}. Begin a new conversation."})
        return True
    write({"speaker": index, "ended": reply.end})
    return reply.end != STOPPED
