"""`ChatTemplate`: conversations to text, by the tokenizer's own template, a file, or a well-known format by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.data.chat.jinja_engine import SIGN_OF_TURN, as_templates_see, compiled, rendered, strftime_now
from autotrain_llm.data.chat.mask_cache import TemplateSkeletons
from autotrain_llm.data.chat.trace import Trace, read, sign_of_turns
from autotrain_llm.data.example import Message
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.conversations import (
    the_chat_template_can_not_be_used,
    the_template_ends_turns_with_an_unknown_token,
    there_is_no_chat_template,
)
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.data.turns import THOUGHT_KEYS
from autotrain_llm.data.wording import plain
from autotrain_llm.declare.bounded import breach
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.special_file import is_special, refuse_special

FOLDER = Path(__file__).parent / "templates"
OWN, NONE = "tokenizer", "none"
ALIASES = {
    "llama3": "llama-3", "llama2": "llama-2", "qwen": "chatml", "chat-ml": "chatml", "phi3": "phi-3", "phi4": "phi-4"
}  # fmt: skip
SENTINEL = "Xq7zXq7z"
CONTROL_TOKEN = re.compile(r"<\|\w+\|>|<\w+_of_turn>")
THOUGHT_OPENING = re.compile(r"(?:<think>|\[THINK\])\s*\Z")
OPEN_TAG = re.compile(r"(<[^<>\s]*|\[[^\[\]\s]*)\Z")


class ChatTemplateError(Exception):
    """Raised if a template refuses a conversation; the message is the template's."""


class ChatTemplate:
    """A chat template together with the tokenizer whose tokens it writes."""

    def __init__(self, source: str, tokenizer: Tokenizer, name: str = OWN, with_tools: str | None = None) -> None:
        self.source, self.tokenizer, self.name = source, tokenizer, name
        self._with_tools = with_tools
        self.skeletons = TemplateSkeletons(source)

    def render(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of a conversation. Raises ChatTemplateError if the template refuses it."""
        return self._render(messages, tools, add_generation_prompt, False)

    def trace(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> Trace:
        """The text of a conversation with the origin of its characters. Raises ChatTemplateError if the template refuses it."""
        return read(self._render(messages, tools, add_generation_prompt, True))

    def _tried(self, messages: Sequence[Message], tools: Any = None, asks: bool = False) -> str | None:
        """The text of a conversation made up to see what the template does; None if it refuses it. `asks` is for an answer."""
        try:
            return self.render(messages, tools, add_generation_prompt=asks)
        except ChatTemplateError:
            return None

    def _render(self, messages: Sequence[Message], tools: Any, add_generation_prompt: bool, traced: bool) -> str:
        from jinja2.exceptions import TemplateError

        source = self._with_tools if tools and self._with_tools else self.source
        seen = [as_templates_see(message) for message in messages]
        if any("tool_calls" in message for message in seen) and self.arguments_are_text:
            seen = [_with_text_arguments(message) for message in seen]
        named = {**self.tokenizer.special, "messages": seen, "tools": tools, "documents": None}
        if traced:
            seen[:] = [dict(message) for message in seen]  # each its own object, by which a turn is known
            named[SIGN_OF_TURN] = sign_of_turns(seen)
        try:
            return rendered(source, traced, {**named, "add_generation_prompt": add_generation_prompt})
        except TemplateError as problem:
            raise ChatTemplateError(str(problem)) from problem
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as problem:
            raise ChatTemplateError(f"{type(problem).__name__}: {problem}") from problem

    def compile(self) -> None:
        """Compile the template, for text and for traces. Raises jinja2's TemplateError, or what Python has against an expression in it."""
        for source in filter(None, (self.source, self._with_tools)):
            compiled(source)
            compiled(source, traced=True)

    def render_examples(self) -> None:
        """Render short conversations: one turn of each side, a system prompt and a question, a call of a tool."""
        question, answer = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
        call = {"type": "function", "id": "a1b2c3d4e", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
        tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        conversations: list[list[Message]] = [
            [question, answer],
            [{"role": "system", "content": "Be brief."}, question, answer, question],
            [question, calling, {"role": "tool", "name": "clock", "content": "12:00"}, answer],
        ]
        for messages, tools in zip(conversations, (None, None, [tool]), strict=True):
            self._tried(messages, tools, asks=messages[-1] is question)

    @cached_property
    def marks_generation(self) -> bool:
        """Whether the template marks answers with `{% generation %}`."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.source) is not None

    @cached_property
    def writes_reasoning(self) -> bool:
        """Whether the template writes the reasoning of a final answer."""
        answer = {"role": "assistant", "content": "Hello", THOUGHT_KEYS[0]: SENTINEL}
        return SENTINEL in (self._tried([{"role": "user", "content": "Hello"}, answer]) or "")

    @cached_property
    def writes_tools(self) -> bool:
        """Whether the template writes the tools that are described beside a conversation."""
        tool = {"type": "function", "function": {"name": SENTINEL, "description": "", "parameters": {"type": "object"}}}
        turns: list[Message] = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
        text = self._tried(turns, [tool])
        return text is None or SENTINEL in text  # one that refuses them needs more of a tool: then each row tells

    @cached_property
    def arguments_are_text(self) -> bool:
        """Whether the template expects the arguments of a call as JSON text, and fails or writes Python if they are an object."""
        arguments = {SENTINEL: SENTINEL}
        call = {"type": "function", "id": "a1b2c3d4e", "function": {"name": SENTINEL, "arguments": arguments}}
        turns: list[Message] = [{"role": "user", "content": SENTINEL}]
        turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        self.__dict__["arguments_are_text"] = False  # while it is found out
        try:
            if str(arguments) not in self.render(turns):
                return False
        except ChatTemplateError as problem:
            if not isinstance(problem.__cause__, TypeError):
                return False
        return json.dumps(arguments) in (self._tried([_with_text_arguments(turn) for turn in turns]) or "")

    @cached_property
    def turn_suffix(self) -> str:
        """The text that the template writes after the content of a final assistant turn."""
        for turns in (["user", "assistant"], ["system", "user", "assistant"], ["assistant"]):
            messages = [{"role": role, "content": SENTINEL if role == "assistant" else "Hello"} for role in turns]
            text = self._tried(messages)
            if text is not None:
                return text.rpartition(SENTINEL)[2]
        return ""

    @cached_property
    def generation_prompt(self) -> str:
        """The text that the template writes between a first user turn and the answer that is to be generated."""
        text = self._tried([{"role": "user", "content": SENTINEL}], asks=True)
        return "" if text is None else text.rpartition(SENTINEL)[2]

    @cached_property
    def prompt_only(self) -> str:
        """The text at the end of the generation prompt that the template doesn't write before an answer, such as `<think>`; else empty."""
        answer = {"role": "assistant", "content": SENTINEL}
        whole = self._tried([{"role": "user", "content": SENTINEL}, answer])
        if whole is None:
            return ""
        prompt, written = self.generation_prompt, whole.partition(SENTINEL)[2].partition(SENTINEL)[0]
        common = common_prefix(prompt, written)
        return "" if common == prompt else prompt[len(without_opening(common)) :]

    @cached_property
    def missing_generation_prompt(self) -> str:
        """The text that the template writes before an answer, if a prompt with `add_generation_prompt` comes without it; else empty."""
        question = {"role": "user", "content": SENTINEL}
        asking, alone = (self._tried([question], asks=asks) for asks in (True, False))
        whole = self._tried([question, {"role": "assistant", "content": SENTINEL}])
        if alone is None or whole is None or asking != alone or not whole.startswith(alone):
            return ""
        generation_prompt = whole[len(alone) :].partition(SENTINEL)[0]
        return generation_prompt if generation_prompt.strip() else ""

    @cached_property
    def end_of_turn(self) -> str | None:
        """The text that ends an assistant turn, up to its first special token; None if the template writes nothing."""
        written = [token for token in self.tokenizer.added_tokens() if token and token in self.turn_suffix]
        tokens = sorted(written, key=len, reverse=True)
        match = re.search("|".join(map(re.escape, tokens)), self.turn_suffix) if tokens else None
        if match:
            return self.turn_suffix[: match.end()]
        control = CONTROL_TOKEN.search(self.turn_suffix)
        return (self.turn_suffix[: control.end()] if control else self.turn_suffix.rstrip()) or None

    @cached_property
    def control_tokens(self) -> re.Pattern[str]:
        """A pattern that matches every token that is never split, and text that looks like a control token of another tokenizer."""
        tokens = sorted((token for token in self.tokenizer.added_tokens() if token.strip()), key=len, reverse=True)
        return re.compile("|".join([*map(re.escape, tokens), CONTROL_TOKEN.pattern]))

    @cached_property
    def end_token(self) -> str | None:
        """The single token of the tokenizer that ends a turn; None if a turn ends in plain text or in nothing."""
        end = (self.end_of_turn or "").strip()
        return end if end and self.tokenizer.id_of(end) is not None else None

    @cached_property
    def missing_tokens(self) -> tuple[str, ...]:
        """Control tokens that the template writes and the tokenizer doesn't have: to it they are plain text."""
        written = dict.fromkeys(CONTROL_TOKEN.findall(self.source))
        return tuple(token for token in written if self.tokenizer.id_of(token) is None)

    @property
    def identity(self) -> list[str]:
        """Everything that decides how conversations are rendered, for the fingerprint."""
        dated = "strftime_now" in self.source
        return [self.source, self._with_tools or "", strftime_now("%Y-%m-%d") if dated else ""]


def _with_text_arguments(message: Message) -> Message:
    """A message whose calls have their arguments as JSON text."""

    def as_text(call: Any) -> Any:
        if not isinstance(call, dict):
            return call
        if isinstance(call.get("function"), dict):
            return {**call, "function": as_text(call["function"])}
        arguments = call.get("arguments", {})
        return call if isinstance(arguments, str) else {**call, "arguments": json.dumps(arguments, ensure_ascii=False)}

    calls = message.get("tool_calls")
    return {**message, "tool_calls": [as_text(call) for call in calls]} if isinstance(calls, list) else message


def common_prefix(one: str, other: str) -> str:
    """The longest common prefix of two texts."""
    if other.startswith(one):
        return one
    return one[: next(at for at, (here, there) in enumerate(zip(one, f"{other}\0", strict=False)) if here != there)]


def common_suffix(one: str, other: str) -> str:
    """The longest common suffix of two texts."""
    return common_prefix(one[::-1], other[::-1])[::-1]


def without_opening(common: str) -> str:
    """The common prefix of two texts, without an incomplete tag at its end, and without a tag that opens the reasoning."""
    return THOUGHT_OPENING.sub("", OPEN_TAG.sub("", common))


def template_names() -> list[str]:
    """The names of the templates that come with this package."""
    return sorted(path.stem for path in FOLDER.glob("*.jinja"))


def find_template(
    name: str | None, tokenizer: Tokenizer, observations: Observations, *, tries: bool = True
) -> ChatTemplate | None:
    """The template that `--chat-template` names (None: the tokenizer's own, if any); None if there is none, or it is reported as unusable.

    Without `tries`, the caller finds out with rows of its own whether it takes too much time or memory.
    """
    from jinja2.exceptions import TemplateError

    if name == NONE:
        return None
    if name in (None, OWN):
        if tokenizer.chat_template is None:
            if name == OWN:
                fitting = fitting_template(tokenizer)
                observations.add(there_is_no_chat_template, names=tuple(tokenizer.templates), fitting=fitting)
            return None
        template = ChatTemplate(tokenizer.chat_template, tokenizer, OWN, tokenizer.templates.get("tool_use"))
    else:
        source = _built_in(str(name)) or _source_of(str(name), tokenizer, observations)
        if source is None:
            return None
        template = ChatTemplate(source, tokenizer, str(name))
    try:
        template.compile()
    except (TemplateError, ValueError, ArithmeticError, TypeError, RecursionError, MemoryError, SyntaxError) as problem:
        detail = getattr(problem, "message", None) or str(problem) or type(problem).__name__
        facts = {"case": "syntax", "detail": detail, "line": getattr(problem, "lineno", None) or 1}
        observations.add(the_chat_template_can_not_be_used, name=template.name, **facts)
        return None
    too_much = _breach_of(template) if tries and not _built_in(template.name) else None
    if too_much is not None:
        facts = {"case": "limits", "detail": f"it {too_much} for a conversation of a few words"}
        observations.add(the_chat_template_can_not_be_used, name=template.name, **facts)
        return None
    return template


def _breach_of(template: ChatTemplate) -> str | None:
    """How a template takes more time or memory for short conversations than any can need, as a clause; None if it doesn't. Its steps and values
    are limited too (`limits.py`), but not what it makes of them all together."""
    sources = (template.source, template._with_tools)
    if sources in _BEARABLE:
        return None
    too_much = breach(template.render_examples)
    if too_much is None:
        _BEARABLE.add(sources)
    return too_much


_BEARABLE: set[tuple[str, str | None]] = set()  # tried by this process


def _built_in(name: str) -> str | None:
    """The text of a template that comes with this package, by its name or another tool's; None for any other."""
    names = {plain(known): known for known in template_names()} | {
        plain(alias): name for alias, name in ALIASES.items()
    }
    known = names.get(plain(name))
    return None if known is None else (FOLDER / f"{known}.jinja").read_text(encoding="utf-8")


def _source_of(name: str, tokenizer: Tokenizer, observations: Observations) -> str | None:
    """The text of a template that is written out, in a file, or one of the tokenizer's."""
    path = Path(name).expanduser()
    if "{%" in name or "{{" in name:
        return name
    if path.is_file() or is_special(path):
        try:
            refuse_special(path)
            return path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as problem:
            facts = {"case": "unreadable", "detail": str(problem)}
            observations.add(the_chat_template_can_not_be_used, name=str(path), **facts)
            return None
    if name in tokenizer.templates:
        return tokenizer.templates[name]
    known = (*template_names(), OWN, NONE)
    near = nearest(name, known) or OWN
    observations.add(the_chat_template_can_not_be_used, name=name, case="unknown", known=known, nearest=near)
    return None


# The templates that are proposed, in order; the last ones end turns with the eos_token.
PROPOSED = ("chatml", "llama-3", "gemma", "phi-4", "zephyr")


def fitting_template(tokenizer: Tokenizer) -> str:
    """The name of the first template of this package of whose control tokens the tokenizer has all."""
    templates = (ChatTemplate(str(_built_in(name)), tokenizer, name) for name in PROPOSED[:-1])
    return next((template.name for template in templates if not template.missing_tokens), PROPOSED[-1])


def check_end_of_turn(template: ChatTemplate, observations: Observations) -> None:
    """Report a template of `--chat-template` that ends turns with text for which the tokenizer has no token."""
    end = (template.end_of_turn or "").strip()
    if template.name != OWN and end in template.missing_tokens:
        observations.add(
            the_template_ends_turns_with_an_unknown_token,
            template=template.name,
            missing=template.missing_tokens,
            end=end,
            eos=template.tokenizer.eos,
            fitting=fitting_template(template.tokenizer),
        )
