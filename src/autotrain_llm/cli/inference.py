"""`--inference`: print a model's answers to prompts, or a reward model's scores of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import styled, wants_colour

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.run.generation.inference import Answer


def answer_prompts(checked: Checked, screen: Screen) -> int:
    """Print each answer as it is generated; as JSON, all of them in one document."""
    from autotrain_llm.cli.render import findings_text
    from autotrain_llm.run.generation.inference import infer
    from autotrain_llm.run.session.training import quiet_libraries

    quiet_libraries(screen.verbose)
    answers = infer(checked.context)
    findings = [*checked.findings, *answers.findings]
    if screen.json:
        screen.document(0, findings, answers=[answer.as_json() for answer in answers.each])
        return 0
    screen.write(findings_text(findings, screen.err))
    for index, answer in enumerate(answers.each):
        screen.answer(
            ("\n" if index and not screen.quiet else "") + answer_text(answer, screen.quiet, wants_colour(screen.out))
        )
    return 0


def answer_text(answer: Answer, quiet: bool, colour: bool) -> str:
    """The prompt and its answer or score; with `quiet`, without the prompt."""
    if answer.scores is not None:
        text = "\n".join(f"{name} {score:.4f}" for name, score in answer.scores.items())
    else:
        text = f"{answer.score:.4f}" if answer.text is None else answer.text.strip()
    return text if quiet else f"{styled('> ' + answer.prompt, 'bold', colour)}\n{text}"
