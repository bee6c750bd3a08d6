"""`ChatTemplate`: conversations to text, by the tokenizer's own template, a file, or a well-known format by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.data.chat.jinja_engine import as_templates_see, compiled, generated_spans, rendered, strftime_now
from autotrain_llm.data.chat.mask_cache import TemplateSkeletons
from autotrain_llm.data.example import Message
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.data.wording import close, plain
from autotrain_llm.declare.finding import WARNING

FOLDER = Path(__file__).parent / "templates"
OWN, NONE = "tokenizer", "none"
ALIASES = {
    "llama3": "llama-3",
    "llama2": "llama-2",
    "qwen": "chatml",
    "chat-ml": "chatml",
    "phi3": "phi-3",
    "phi4": "phi-4",
}
SENTINEL = "Xq7zXq7z"
CONTROL_TOKEN = re.compile(r"<\|\w+\|>|<\w+_of_turn>")


class ChatTemplateError(Exception):
    """A template that refuses a conversation, with its own words."""


class ChatTemplate:
    """A chat template together with the tokenizer whose tokens it writes."""

    def __init__(self, source: str, tokenizer: Tokenizer, name: str = OWN, with_tools: str | None = None) -> None:
        self.source, self.tokenizer, self.name = source, tokenizer, name
        self._with_tools = with_tools
        self.skeletons = TemplateSkeletons()

    def render(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of a conversation. Raises TemplateFault where the template refuses it."""
        return self._render(messages, tools, add_generation_prompt, False)

    def render_marked(
        self, messages: Sequence[Message], tools: list[dict[str, Any]] | None
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text, and the stretches that the template itself marks as generated."""
        return generated_spans(self._render(messages, tools, False, True))

    def _render(self, messages: Sequence[Message], tools: Any, add_generation_prompt: bool, marked: bool) -> str:
        from jinja2.exceptions import TemplateError

        source = self._with_tools if tools and self._with_tools else self.source
        seen = [as_templates_see(message) for message in messages]
        named = {**self.tokenizer.special, "messages": seen, "tools": tools, "documents": None}
        try:
            return rendered(source, marked, {**named, "add_generation_prompt": add_generation_prompt})
        except TemplateError as problem:
            raise ChatTemplateError(str(problem)) from problem
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as problem:
            raise ChatTemplateError(f"{type(problem).__name__}: {problem}") from problem

    @cached_property
    def marks_generation(self) -> bool:
        """Whether the template says itself what is generated."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.source) is not None

    @cached_property
    def turn_suffix(self) -> str:
        """What the template writes after the content of a last assistant turn."""
        for turns in (["user", "assistant"], ["system", "user", "assistant"], ["assistant"]):
            messages = [{"role": role, "content": SENTINEL if role == "assistant" else "Hello"} for role in turns]
            try:
                return self.render(messages).rpartition(SENTINEL)[2]
            except ChatTemplateError:
                continue
        return ""

    @cached_property
    def generation_prompt(self) -> str:
        """What the template writes before an answer that is to be generated, and after a first question."""
        try:
            return self.render([{"role": "user", "content": SENTINEL}], add_generation_prompt=True).rpartition(
                SENTINEL
            )[2]
        except ChatTemplateError:
            return ""

    @cached_property
    def missing_generation_prompt(self) -> str:
        """What the template writes before an answer, where a prompt that asks for one (`add_generation_prompt`) comes without it; else nothing."""
        question = {"role": "user", "content": SENTINEL}
        try:
            asking, alone = (self.render([question], add_generation_prompt=asks) for asks in (True, False))
            whole = self.render([question, {"role": "assistant", "content": SENTINEL}])
        except ChatTemplateError:
            return ""
        if asking != alone or not whole.startswith(alone):
            return ""
        generation_prompt = whole[len(alone) :].partition(SENTINEL)[0]
        return generation_prompt if generation_prompt.strip() else ""

    @cached_property
    def end_of_turn(self) -> str | None:
        """The text that ends an assistant turn, up to its first special token; None where the template writes nothing."""
        tokens = sorted(filter(None, self.tokenizer.added_tokens()), key=len, reverse=True)
        found = re.search("|".join(map(re.escape, tokens)), self.turn_suffix) if tokens else None
        if found:
            return self.turn_suffix[: found.end()]
        control = CONTROL_TOKEN.search(self.turn_suffix)
        return (self.turn_suffix[: control.end()] if control else self.turn_suffix.rstrip()) or None

    @cached_property
    def end_token(self) -> str | None:
        """The single token of the tokenizer that ends a turn; None where a turn ends in plain text or in nothing."""
        end = (self.end_of_turn or "").strip()
        return end if end and self.tokenizer.id_of(end) is not None else None

    @cached_property
    def missing_tokens(self) -> tuple[str, ...]:
        """Control tokens that the template writes and the tokenizer doesn't have: to it they are plain text."""
        written = dict.fromkeys(CONTROL_TOKEN.findall(self.source))
        return tuple(token for token in written if self.tokenizer.id_of(token) is None)

    @property
    def identity(self) -> list[str]:
        """What decides how conversations are rendered, for the fingerprint."""
        dated = "strftime_now" in self.source
        return [self.source, self._with_tools or "", strftime_now("%Y-%m-%d") if dated else ""]


def template_names() -> list[str]:
    """The well-known formats that can be asked for by name."""
    return sorted(path.stem for path in FOLDER.glob("*.jinja"))


def find_template(asked: str | None, tokenizer: Tokenizer, observations: Observations) -> ChatTemplate | None:
    """The template that `--chat-template` means (None: the tokenizer's own, if any); None where there is none or with a finding."""
    if asked == NONE:
        return None
    if asked is None or asked == OWN:
        if tokenizer.chat_template is not None:
            return _checked(
                ChatTemplate(tokenizer.chat_template, tokenizer, OWN, tokenizer.templates.get("tool_use")), observations
            )
        if asked == OWN:
            others = ", ".join(tokenizer.templates)
            message = "--chat-template tokenizer: the tokenizer of --model has no chat_template of its own"
            message += f" called default, only {others}" if others else ""
            observations.say(
                "D140", message, changes={"chat_template": "chatml"}, parameters=("chat_template", "model")
            )
        return None
    source = _source_of(asked, tokenizer, observations)
    return None if source is None else _checked(ChatTemplate(source, tokenizer, asked), observations)


def _source_of(asked: str, tokenizer: Tokenizer, observations: Observations) -> str | None:
    known = {plain(name): name for name in template_names()} | {plain(alias): name for alias, name in ALIASES.items()}
    if plain(asked) in known:
        return (FOLDER / f"{known[plain(asked)]}.jinja").read_text(encoding="utf-8")
    path = Path(asked).expanduser()
    if "{%" in asked or "{{" in asked:
        return asked
    if path.is_file():
        return _from_file(path, observations)
    if asked in tokenizer.templates:
        return tokenizer.templates[asked]
    names = [*template_names(), OWN, NONE]
    near = close(asked, names)
    message = f"--chat-template {asked}: no such template and no such file (known: {', '.join(names)})"
    if "{" in asked:
        message += "; a template of one's own is written in Jinja and goes through the messages: {% for m in messages %}…{% endfor %}"
    observations.say("D141", message, changes={"chat_template": near or OWN}, parameters=("chat_template",))
    return None


def _from_file(path: Path, observations: Observations) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as problem:
        observations.say(
            "D141",
            f"--chat-template {path} can't be read as text: {problem}",
            file=str(path),
            parameters=("chat_template",),
        )
        return None


def _checked(template: ChatTemplate, observations: Observations) -> ChatTemplate | None:
    """The template, if it is one at all."""
    from jinja2.exceptions import TemplateSyntaxError

    try:
        compiled(template.source)
    except TemplateSyntaxError as problem:
        message = f"--chat-template {template.name}: not a valid template: {problem.message} (line {problem.lineno})"
        observations.say("D141", message, parameters=("chat_template",), line=problem.lineno)
        return None
    return template


def check_end_of_turn(template: ChatTemplate, observations: Observations) -> None:
    """A warning where an asked-for template ends turns with something the tokenizer has no token for."""
    end = (template.end_of_turn or "").strip()
    if template.name == OWN or end not in template.missing_tokens:
        return
    missing = template.missing_tokens
    are_no_tokens = "which is no token" if len(missing) == 1 else "which are no tokens"
    message = (
        f"--chat-template {template.name} writes {' and '.join(missing)}, {are_no_tokens} of this tokenizer (its eos_token is "
        f"{template.tokenizer.eos}): they are trained on as plain text, several tokens each, and the embedding gets no rows for them"
    )
    fitting = [name for name in ("zephyr", "mistral", "vicuna") if name != template.name]
    observations.say(
        "D145",
        message,
        changes={"chat_template": fitting[0]},
        otherwise=f"which ends turns with the eos_token, or a --model whose tokenizer has {end}",
        severity=WARNING,
        parameters=("chat_template",),
    )
