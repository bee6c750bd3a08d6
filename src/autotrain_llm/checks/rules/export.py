"""`autotrain export`: what can be written in which form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.checks.command_flags import CommandFlags, in_the_way
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import Record
from autotrain_llm.declare.rule import declare_finding, rule
from autotrain_llm.declare.text import plain

if TYPE_CHECKING:
    from autotrain_llm.models.metadata import ModelMetadata

MERGED, ADAPTER, GGUF, OLLAMA = FORMS = ("merged", "adapter", "gguf", "ollama")
MODEL_DTYPES = ("fp32", "bf16", "fp16")
GGUF_DTYPES = ("fp32", "bf16", "fp16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
TOOL = "llama.cpp's convert_hf_to_gguf.py may know it: autotrain export MODEL --to merged, and run it on that folder"
EXPORT = "export MODEL --to merged --output-dir made"


class ExportCommand(Record):
    """The command line of `autotrain export`, with the form and the dtype as they were written."""

    to: str | None = None
    dtype: str | None = None
    flags: CommandFlags = CommandFlags()

    @property
    def is_gguf(self) -> bool:
        return self.to in (GGUF, OLLAMA)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The names of `--dtype` for this form."""
        return GGUF_DTYPES if self.is_gguf else MODEL_DTYPES


@rule("E601", example=Example("export MODEL --output-dir made", EXPORT))
def export_needs_a_model_and_a_form(config: Config, export: ExportCommand) -> Iterator[Finding]:
    """`autotrain export` without a model, without `--to`, or with a form that it does not write.

    Why: there is nothing to read, or nothing says what to write.
    Fix: name the folder of a run, of a model or of an adapter, and the form: merged (a whole model), adapter, gguf (for llama.cpp), or ollama.
    """
    if config.model is None:
        yield Finding("export needs a model, and none was given", "autotrain export runs/mine --to merged", ("model",))
    elif str(config.model).startswith("scratch:"):
        yield Finding(
            "scratch: is a new model, so there is nothing to export", "autotrain export runs/mine", ("model",)
        )
    if export.to is None:
        yield Finding("export needs --to, and none was given", f"--to {MERGED}, or one of {', '.join(FORMS[1:])}")
    elif export.to not in FORMS:
        close = nearest(export.to, FORMS)
        yield Finding(
            f"--to {export.to}: it is one of {', '.join(FORMS)}", f"--to {close}" if close else f"--to {MERGED}"
        )


@rule("E602", example=Example(f"{EXPORT} --dtype q4_0", f"{EXPORT} --dtype bf16"))
def export_writes_these_dtypes(export: ExportCommand) -> Iterator[Finding]:
    """A `--dtype` that the form can't have.

    Why: quantised weights (q8_0, q4_0 and so on) are types of GGUF files. A model in safetensors is written in fp32, bf16 or fp16.
    Fix: one of the dtypes that the finding shows, or another form.
    """
    if export.dtype is not None and export.to in FORMS and export.dtype not in export.dtypes:
        fix = f"--dtype {nearest(export.dtype, export.dtypes) or export.dtypes[-1]}"
        fix += f", or --to {GGUF}" if export.dtype in GGUF_DTYPES else ""
        yield Finding(f"--dtype {export.dtype}: for --to {export.to} it is one of {', '.join(export.dtypes)}", fix)


@rule("E603", example=Example(EXPORT, EXPORT, wrong="mkdir made && touch made/notes.txt"))
def export_writes_a_new_folder(config: Config, export: ExportCommand) -> Iterator[Finding]:
    """The `--output-dir` of `autotrain export` is there already, and not empty.

    Why: nothing is ever written over what is there.
    Fix: another folder, or remove this one.
    """
    if config.output_dir:
        yield from in_the_way(config.output_dir, "export")


@rule("E604", WARNING, example=Example(f"{EXPORT} --lr 1e-4", EXPORT))
def export_trains_nothing(export: ExportCommand) -> Iterator[Finding]:
    """A parameter of `autotrain llm` that `autotrain export` does not read.

    Why: only where the model is and where it is written matters; the value is ignored.
    Fix: remove it.
    """
    yield from export.flags.without_effect(" on an export, will be ignored")


@rule("E605", example=Example("export MODEL --to adapter --output-dir made", EXPORT))
def an_adapter_is_written_of_an_adapter(export: ExportCommand, model: ModelMetadata) -> Iterator[Finding]:
    """`--to adapter` for a whole model.

    Why: an adapter is a difference to its base model, and a run without `--peft` trains all weights.
    Fix: `--to merged`.
    """
    if export.to == ADAPTER and not model.is_adapter:
        yield Finding(f"{model.name} is a whole model, not an adapter", f"--to {MERGED}", ("model",))


@rule(
    "E606", example=Example("export SCORER --to gguf --output-dir made", "export SCORER --to merged --output-dir made")
)
def a_gguf_file_holds_a_model_that_llama_cpp_knows(export: ExportCommand, model: ModelMetadata) -> Iterator[Finding]:
    """A model whose architecture, tokenizer or scaling of positions can't be written as a GGUF file.

    Why: llama.cpp computes the architectures that are written into it, and splits texts in the ways that it has a name for. Written as something else, the model would
    load and answer wrongly. Each architecture that is written was compared with llama.cpp's answers.
    Fix: `--to merged`, which every other program reads; llama.cpp's own converter may know more models.
    """
    if not export.is_gguf:
        return
    if model.is_classifier:
        message = f"{model.name} scores texts, and a GGUF file is written of models that generate"
        yield Finding(message, f"--to {MERGED}", ("model",))
        return
    reason = why_not_gguf(model)
    if reason is not None:
        yield Finding(f"{model.name} can't be written as GGUF: {reason}", TOOL, ("model",))


def why_not_gguf(model: ModelMetadata) -> str | None:
    """The reason why a model can't be a GGUF file; None if it can."""
    from autotrain_llm.models.gguf import ARCHITECTURES, SCALINGS, tokenizer_for_gguf, unlike
    from autotrain_llm.models.locate import read_json

    if model.model_type not in ARCHITECTURES:
        return f"the architecture {model.model_type} is not written (known: {', '.join(ARCHITECTURES)})"
    setting = unlike(model.config or {}, ARCHITECTURES[model.model_type])
    if setting is not None:
        name, value, computed = setting
        return f"it has {name} {plain(value)}, and llama.cpp computes a {model.model_type} with {plain(computed)}"
    if model.quantization:
        return f"its weights are quantised already ({model.quantization})"
    scaling = model.rope_scaling or {}
    kind = (
        scaling.get("rope_type", scaling.get("type", SCALINGS[0])) if "full_attention" not in scaling else SCALINGS[0]
    )
    if kind not in SCALINGS:
        return f"its positions are scaled by {kind}"
    folder = model.tokenizer_folder
    document = read_json(folder / "tokenizer.json") if folder is not None else None
    if document is None:
        return "it has no tokenizer.json"
    tokenizer = tokenizer_for_gguf(document)
    return tokenizer if isinstance(tokenizer, str) else None


@rule(
    "E607",
    WARNING,
    example=Example(
        "export windowed --to gguf --output-dir made",
        "export MODEL --to gguf --output-dir made",
        before="""cp -r MODEL windowed
sed -i.old 's/"model_type": *"llama"/"model_type": "mistral", "sliding_window": 8/; s/LlamaForCausalLM/MistralForCausalLM/' windowed/config.json""",
    ),
)
def llama_cpp_attends_to_all_tokens(export: ExportCommand, model: ModelMetadata) -> Iterator[Finding]:
    """The model attends to a window of tokens, and llama.cpp computes its architecture without one.

    Why: on texts longer than the window the answers are others than those of the model itself.
    Fix: shorter texts, or `--to merged`.
    """
    from autotrain_llm.models.gguf import ARCHITECTURES

    architecture = ARCHITECTURES.get(model.model_type or "")
    window, context = model.sliding_window, model.context_length
    if not export.is_gguf or architecture is None or architecture.has_sliding_window or window is None:
        return
    if context is None or window < context:
        message = f"{model.name} attends to the last {window} tokens, and llama.cpp to all of a {model.model_type}"
        yield Finding(message, f"texts of no more than {window} tokens", ("model",))


@rule("E608", example=Example("export MODEL --to gguf --output-dir made", EXPORT, on="where gguf is not installed"))
def a_gguf_file_needs_the_package(export: ExportCommand, machine: Machine) -> Iterator[Finding]:
    """`--to gguf` or `--to ollama` without the package `gguf`.

    Why: llama.cpp's own package knows the names of tensors and the form of the file.
    Fix: install it.
    """
    if export.is_gguf and not machine.has_package("gguf"):
        yield Finding(f"--to {export.to} needs the package gguf", 'pip install "autotrain-llm[gguf]"')


TEMPLATE_OF_A_MODELFILE = declare_finding(
    "E609",
    """The model's chat template can't be written into a Modelfile.

    Why: Ollama has a template language of its own. A template that writes each turn by itself is translated, and compared with what it renders; one that writes a turn differently by what comes
    before or after it is not, and would give the model other prompts than it was trained on.
    Fix: use the GGUF file with llama.cpp, which executes the model's own template, or write TEMPLATE in the Modelfile yourself.
    """,
    WARNING,
    example=Example(
        "export MODEL --to ollama --output-dir made --chat-template llama-2",
        "export MODEL --to ollama --output-dir made --chat-template chatml",
    ),
)
