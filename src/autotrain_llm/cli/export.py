"""`autotrain export`: write a finished model in the form that another program reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotrain_llm.cli.outcome import DONE, ended, fail, refuse
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to

if TYPE_CHECKING:
    from autotrain_llm.checks.exporting import CheckedExport
    from autotrain_llm.run.export.export import Exported

NOTHING_WRITTEN = "Stopped: nothing was written."
OWN = ("to", "dtype")
USAGE = """\
usage: autotrain export MODEL --to merged|adapter|gguf|ollama [--dtype DTYPE] [--output-dir DIR] [flags]
       MODEL        the folder of a run, a checkpoint, a model or an adapter, RUN@best, or a Hub id
       --to         merged    a whole model in safetensors, an adapter merged into its base
                    adapter   an adapter alone, without the states of a checkpoint
                    gguf      a file for llama.cpp and what builds on it
                    ollama    the same, with a Modelfile: ollama create NAME -f DIR/Modelfile
       --dtype      fp32, bf16 or fp16; for gguf and ollama also q8_0, q5_1, q5_0, q4_1 or q4_0 [default: the model's]
       --output-dir the folder to write [default: beside the model's, with the form in its name]
       --chat-template NAME, --revision, --cache-dir, --offline, --token, --trust-remote-code,
       --push-to-hub with --username and --hub-private, --dry-run, --quiet, --format text|json"""


def export(words: Sequence[str]) -> int:
    """Carry out the words after `autotrain export` and return the exit status."""
    own, rest = split_words(words)
    arguments = read(rest)
    with Screen.of(arguments.values) as screen:

        def answer() -> int:
            from autotrain_llm.checks.exporting import check_export

            checked = check_export(arguments, own.get("to"), own.get("dtype"))
            if checked.refused:
                return refuse(checked.findings, screen, strict=bool(checked.config.strict))
            return _write(checked, screen)

        return ended(answer, screen, NOTHING_WRITTEN)


def split_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The values of the command's own flags, and the other words as `autotrain llm` reads them: a first word without dashes is the model, and
    `--output` and `-o` are the folder."""
    own: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    if left and not left[0].startswith("-"):
        rest += ["--model", left.pop(0)]
    while left:
        flag, equals, value = left.pop(0).partition("=")
        name = flag.lstrip("-")
        if flag.startswith("--") and name in OWN:
            own[name] = value if equals else left.pop(0) if left else ""
        elif flag in ("--output", "-o"):
            rest += ["--output-dir", *([value] if equals else [])]
        else:
            rest.append(flag + equals + value)
    return own, rest


def _write(checked: CheckedExport, screen: Screen) -> int:
    from autotrain_llm.cli.render import count_line, findings_text

    if checked.config.dry_run:
        if screen.json:
            screen.document(DONE, checked.findings, exported=None)
            return DONE
        screen.answer(f"Nothing was written (--dry-run); {checked.config.output_dir} would hold the export.")
        screen.write(findings_text(checked.findings, screen.err))
        return DONE
    from autotrain_llm.run.export.export import export as write
    from autotrain_llm.run.failures import RunFailed
    from autotrain_llm.run.session.training import quiet_libraries

    quiet_libraries(screen.verbose)
    try:
        exported = write(checked)
    except OSError as problem:
        message = f"{checked.config.output_dir} can't be written: {problem.strerror or problem}"
        return fail(message, "a folder in a place that can be written and has room", screen, checked.findings)
    try:
        url = _upload(checked, exported)
    except RunFailed as failure:
        return fail(failure.message, failure.fix, screen, checked.findings)
    if screen.json:
        screen.document(DONE, checked.findings, exported={**exported.as_json(), "url": url})
        return DONE
    for line in _lines(checked, exported, url) if not screen.quiet else [str(exported.folder)]:
        screen.answer(fit_to(screen.out, line, "  "))
    screen.write(findings_text(checked.findings, screen.err))
    if checked.findings and not screen.quiet:
        screen.write(count_line(checked.findings, started=True))
    return DONE


def _upload(checked: CheckedExport, exported: Exported) -> str | None:
    if not checked.config.push_to_hub:
        return None
    from autotrain_llm.planning.plan import HubPlan
    from autotrain_llm.run.session.hub import upload

    hub = HubPlan(checked.config.username, bool(checked.config.hub_private), token="")
    return upload(exported.folder, hub, checked.context.token)


def _lines(checked: CheckedExport, exported: Exported, url: str | None) -> list[str]:
    """What was written, and how it is used."""
    weights = [name for name in exported.files if name.endswith((".safetensors", ".gguf"))]
    size = sum(exported.files[name] for name in weights)
    lines = [f"{exported.folder}: {', '.join(exported.files)}", f"Weights in {exported.dtype}, {size / 1e6:,.1f} MB."]
    if exported.difference is not None:
        done = "Merged" if checked.context.model is not None and checked.context.model.is_adapter else "Rounded"
        difference = f"log-probabilities of a sample of text differ by at most {exported.difference:.1e} from before."
        lines.append(f"{done}: {difference}")
    if "Modelfile" in exported.files:
        use = f"ollama create {exported.folder.name} -f {exported.folder}/Modelfile"
    elif weights and weights[0].endswith(".gguf"):
        use = f"llama-cli -m {exported.folder}/{weights[0]}"
    else:
        use = f'autotrain llm --inference --model {exported.folder} --prompts "Hello"'
    return [*lines, f"Try it: {use}", *([url] if url else [])]
