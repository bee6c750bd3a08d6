"""How rows become tokens: what the flags of a run, its trainer and its length limits decide."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preparation:
    """How rows become ids. `response_only` None is the default: only the answers of prompts with completions and of conversations are
    trained on, and all of a text. `block` joins documents and cuts them into blocks of `max_length`. `…_given` and `length_flag` are for
    findings: a limit that was not given is not reported. `max_prompt_length` and `max_completion_length` limit the two sides of
    preference rows. `scored` rows are not truncated, and are written exactly as they will be when the finished model scores texts."""

    max_length: int
    block: bool = False
    response_only: bool | None = None
    add_eos: bool = True
    chat_template: str | None = None
    packing: bool = False
    max_prompt_length: int | None = None
    max_completion_length: int | None = None
    scored: bool = False
    length_flag: str = "--max-seq-length"
    length_given: bool = False
    context: int | None = None  # the model's, beyond which no limit is suggested
    sides_given: tuple[str, ...] = ()  # which of max_prompt_length and max_completion_length
    add_eos_given: bool = False
