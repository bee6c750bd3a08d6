"""`autotrain`: from argv to exit status. `llm.py` has `autotrain llm`; it is only loaded if more than help is requested."""

from __future__ import annotations

import sys
from importlib import import_module

from autotrain_llm.cli import streams
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to, wants_colour, width
from autotrain_llm.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from autotrain_llm.declare.finding import Finding

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
# Carried out by the function of the command's name in the module of that name, which opens the streams itself.
OF_A_MODULE = ("llm", "prepare", "chat", "export", "check", "app")
HELP, VERSION_WORDS = ("-h", "--help", "help"), ("-V", "--version", "version")
# Words that begin one of our commands: no other tool's meaning of them is looked for.
NAMES = frozenset(
    [*OF_A_MODULE, "presets", "report", "completion", "stage-process", "train-process", *HELP, *VERSION_WORDS]
)
USAGE = """\
usage: autotrain llm --trainer NAME --model MODEL --data-path DATA [flags]
       autotrain llm --help                  what most runs set; --help-all: every flag; --help NAME: one
       autotrain llm --trainer dpo --help    the flags of one trainer
       autotrain prepare --data-path DATA --output-dir DIR   writes rows, and tokens, to train on
       autotrain chat RUN [--against base]   talks with a finished model, or with two side by side
       autotrain export RUN --to merged|adapter|gguf|ollama   writes a trained model for other programs
       autotrain app [FOLDER...]             the same in a browser: compose, start, follow, compare
       autotrain check [FILES...]            training configs, checked as a dry run checks them
       autotrain presets [NAME]              presets: what they set, and why
       autotrain report RUN                  rewrites a run's report.html
       autotrain completion bash|zsh|fish    a completion script for your shell
       autotrain --version"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    streams.install()
    try:
        status = _command(words)
    except KeyboardInterrupt:  # before a command was started
        return INTERRUPTED
    except Exception as exception:  # `llm` has answered its own
        from autotrain_llm.cli.outcome import fault

        with Screen(json=_wants_json(words)) as screen:
            status = fault(exception, screen)
    sys.stdout.flush()
    lost = streams.failure_of(sys.stdout)
    if lost is None:
        return status
    print(f"Error: standard output could not be written in full: {lost.strerror}", file=sys.stderr)
    return status or FAILED


def _command(words: list[str]) -> int:
    """One of our commands; anything else is carried out as one of them, or answered with the usage and what to type."""
    if words and words[0] not in NAMES:
        from autotrain_llm.cli.other_commands import as_ours

        words = as_ours(words)
    command = words[0] if words else ""
    asks_for_help = _asks_for_help(words)
    if command in OF_A_MODULE and not asks_for_help and words != ["llm"]:
        status: int = getattr(import_module(f"autotrain_llm.cli.{command}"), command)(words[1:])
        return status
    if words == ["stage-process"]:  # started by the driver of a pipeline alone
        from autotrain_llm.cli.stage_process import stage_process

        return stage_process()
    if command == "train-process" and len(words) == 2:  # started by torchrun's agent alone
        from autotrain_llm.cli.train_process import train_process

        return train_process(words[1])
    with Screen(json=_wants_json(words)) as screen:
        if words == ["llm"]:
            screen.write(fit_to(screen.err, USAGE, " " * 11))
            return MISUSED
        if command == "llm":
            return _help(words, screen)
        if command == "presets" and not asks_for_help:
            from autotrain_llm.cli.presets import presets

            return presets(words[1:], screen)
        if command == "report" and not asks_for_help:
            return _report(words[1:], screen)
        if command == "completion" and not asks_for_help:
            return _completion(words[1:], screen)
        if command in VERSION_WORDS:
            return screen.finish_with(f"autotrain {VERSION}")
        if command in NAMES:
            return screen.finish_with(_page(command, screen))
        from autotrain_llm.cli.other_commands import answer_to

        return _misused(answer_to(words), screen)


def _page(command: str, screen: Screen) -> str:
    """The help of a command other than `llm`."""
    columns, colour = width(screen.out), wants_colour(screen.out)
    if command == "prepare":
        from autotrain_llm.cli.help import prepare_page

        return prepare_page(columns, colour)
    if command == "chat":
        from autotrain_llm.cli.help import chat_page

        return chat_page(columns, colour)
    if command in ("export", "check", "presets", "app", "report", "completion"):
        usage: str = import_module(f"autotrain_llm.cli.{command}").USAGE
        return usage
    return fit_to(screen.out, USAGE, " " * 11)


def _asks_for_help(words: list[str]) -> bool:
    return not {"--help", "-h", "--help-all"}.isdisjoint(words)


def _wants_json(words: list[str]) -> bool:
    """Whether `--format json` is given: these commands have no other flags, so it is not parsed properly."""
    return "--format=json" in words or "--format json" in " ".join(words)


def _help(words: list[str], screen: Screen) -> int:
    """Print the page on what is named after `--help`, else for the trainer that is named anywhere in the command, else for all."""
    from autotrain_llm.cli.argv import last_value
    from autotrain_llm.cli.help import page, topic_page
    from autotrain_llm.config.registry import PARAMS, TRAINERS

    columns, colour = width(screen.out), wants_colour(screen.out)
    position = next((at for at, word in enumerate(words) if word in ("--help", "-h")), len(words))
    topic = next((word for word in words[position + 1 : position + 2] if not word.startswith("--trainer")), "")
    trainer = TRAINERS.get((last_value(words, "trainer") or topic).lower())
    if not topic or trainer is not None:
        return screen.finish_with(page(trainer, columns, colour, whole="--help-all" in words))
    text = topic_page(topic, columns, colour)
    if text is not None:
        return screen.finish_with(text)
    from autotrain_llm.declare.finding import Finding
    from autotrain_llm.declare.nearest import nearest
    from autotrain_llm.declare.param import flag_of

    close = nearest(topic.lstrip("-").replace("-", "_"), PARAMS)
    fix = f"autotrain llm --help {flag_of(close)}" if close else "autotrain llm --help   lists the topics"
    return _misused(Finding(f"there is no flag or topic {topic}", fix, code="P122"), screen)


def _report(words: list[str], screen: Screen) -> int:
    from autotrain_llm.cli.report import rewrite, run_named
    from autotrain_llm.declare.finding import Finding

    folder = run_named(words)
    if folder is None:
        return _misused(
            Finding("report needs the folder of one run", "autotrain report runs/mine", code="P122"), screen
        )
    return rewrite(folder, screen)


def _completion(words: list[str], screen: Screen) -> int:
    from autotrain_llm.cli.completion import SHELLS, script
    from autotrain_llm.declare.finding import Finding

    shell = words[0] if words else ""
    if shell in SHELLS:
        return screen.finish_with(script(shell).rstrip("\n"))
    got = f"got {shell!r}" if shell else "none was given"
    message = f"completion needs a shell ({', '.join(SHELLS)}), {got}"
    return _misused(Finding(message, "autotrain completion bash", code="P122"), screen)


def _misused(finding: Finding, screen: Screen) -> int:
    """Print the usage and what is wrong with the command."""
    from autotrain_llm.cli.outcome import refuse

    screen.write(fit_to(screen.err, USAGE, " " * 11))
    return refuse([finding], screen)
