"""A chat template as the Modelfile of Ollama has it: in Go's text/template, which can't execute Jinja.

What a template writes before and after the content of each turn is read off conversations that it renders. The result is compared with the
template on other conversations: one that can't be written in this way, because it depends on other turns, is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError, common_suffix
from autotrain_llm.data.example import Message

SYSTEM, FIRST, ANSWER, SECOND = "Xq7sXq7s", "Xq7uXq7u", "Xq7aXq7a", "Xq7vXq7v"
QUOTES = '"""'
AS_IT_IS = "{{ .Prompt }}"  # the template of a model that was trained on plain text


@dataclass(frozen=True)
class TurnTexts:
    """What stands around the content of each turn. `default_system` is the system prompt that the template writes where there is none."""

    begin: str
    before_system: str
    after_system: str
    before_user: str
    before_answer: str
    after_answer: str
    default_system: str = ""

    def render(self, turns: Sequence[Message]) -> str:
        """The text of a prompt: a conversation that ends with a user's turn, and the beginning of the answer."""
        text = self.begin
        if self.default_system and turns[0]["role"] != "system":
            text += self.before_system + self.default_system + self.after_system
        for turn in turns:
            content = str(turn["content"])
            if turn["role"] == "system":
                text += self.before_system + content + self.after_system
            elif turn["role"] == "user":
                text += self.before_user + content + self.before_answer
            else:
                text += content + self.after_answer
        return text

    def as_go(self) -> str:
        """The template in Go's language, for Ollama's list of messages. Ollama's answers begin where it ends."""
        system = f'{{{{ if eq .Role "system" }}}}{_go(self.before_system)}{{{{ .Content }}}}{_go(self.after_system)}'
        user = f'{{{{ else if eq .Role "user" }}}}{_go(self.before_user)}{{{{ .Content }}}}{_go(self.before_answer)}'
        # The last turn may be an answer that is to be continued: nothing follows it.
        is_last = "{{ if gt (len (slice $.Messages $i)) 1 }}"
        answer = (
            f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}{is_last}{_go(self.after_answer)}{{{{ end }}}}'
        )
        return f"{{{{ range $i, $_ := .Messages }}}}{system}{user}{answer}{{{{ end }}}}{{{{ end }}}}"


def turn_texts(template: ChatTemplate) -> TurnTexts | None:
    """The texts around turns; None if the template writes conversations in another way than turn by turn."""
    system, first, answer, second = (
        {"role": role, "content": content}
        for role, content in (("system", SYSTEM), ("user", FIRST), ("assistant", ANSWER), ("user", SECOND))
    )
    bos = template.tokenizer.bos or ""
    try:
        whole = _prompt(template, [first, answer, second])
        with_system = _prompt(template, [system, first])
    except ChatTemplateError:
        return None
    parts = _split(whole, (FIRST, ANSWER, SECOND))
    system_parts = _split(with_system, (SYSTEM, FIRST))
    if parts is None or system_parts is None:
        return None
    head, before_answer, between, _ = parts
    begin = bos if bos and head.startswith(bos) and system_parts[0].startswith(bos) else ""
    before_user = common_suffix(common_suffix(head[len(begin) :], between), system_parts[1])
    before_system = system_parts[0][len(begin) :]
    after_system = system_parts[1][: len(system_parts[1]) - len(before_user)]
    default = head[len(begin) : len(head) - len(before_user)]
    if default:
        if not (default.startswith(before_system) and default.endswith(after_system)):
            return None
        default = default[len(before_system) : len(default) - len(after_system)]
    after_answer = between[: len(between) - len(before_user)]
    found = TurnTexts(begin, before_system, after_system, before_user, before_answer, after_answer, default)
    return found if _agrees(found, template) else None


def modelfile(weights: str, template: str | None, stops: Sequence[str], system: str, context: int | None) -> str:
    """The text of a Modelfile for the file of weights beside it. `template` is in Go's language; without one Ollama looks whether it knows that of
    the weights' file."""
    lines = [f"FROM ./{weights}"]
    lines += [f"TEMPLATE {QUOTES}{template}{QUOTES}"] if template is not None else []
    lines += [f"SYSTEM {QUOTES}{system}{QUOTES}"] if system else []
    lines += [f'PARAMETER stop "{_escaped(stop)}"' for stop in dict.fromkeys(stops) if stop.strip()]
    lines += [f"PARAMETER num_ctx {context}"] if context else []
    return "\n".join(lines) + "\n"


def can_be_quoted(texts: TurnTexts | None, system: str) -> bool:
    """Whether a Modelfile can hold these texts: it has no escape for three quotes."""
    return QUOTES not in (system + (texts.as_go() + texts.default_system if texts else ""))


def _prompt(template: ChatTemplate, turns: Sequence[Message]) -> str:
    return template.render(turns, add_generation_prompt=True)


def _split(text: str, contents: Sequence[str]) -> list[str] | None:
    """The text around contents that stand in it once each, in this order; else None."""
    parts, rest = [], text
    for content in contents:
        if text.count(content) != 1 or content not in rest:
            return None
        before, _, rest = rest.partition(content)
        parts.append(before)
    return [*parts, rest]


def _agrees(texts: TurnTexts, template: ChatTemplate) -> bool:
    """Whether prompts of unlike conversations are the template's own."""
    user, answer = (
        {"role": role, "content": content} for role, content in (("user", "How?"), ("assistant", "So.\nAnd so."))
    )
    more: Message = {"role": "user", "content": "And then, 3 < 4?"}
    system: Message = {"role": "system", "content": "Be brief."}
    conversations = [[user], [system, user], [user, answer, more], [system, user, answer, more, answer, user]]
    try:
        return all(texts.render(turns) == _prompt(template, turns) for turns in conversations)
    except ChatTemplateError:
        return False


def _go(text: str) -> str:
    """A text as it stands in a template of Go."""
    return text.replace("{{", '{{ "{{" }}')


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
