"""The model card, README.md of a finished run: what was trained on what, how to use it, and metadata as the Hub reads it."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, metadata_load
from yaml import YAMLError

from autotrain_llm.context.versions import versions
from autotrain_llm.data.chat.template import find_template
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenize.prompt_format import TEXT, PromptFormat
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.text import show_count
from autotrain_llm.models.locate import ADAPTER, HUB, SCRATCH, Located
from autotrain_llm.planning.command_words import in_lines
from autotrain_llm.planning.plan import DataPlan, Plan
from autotrain_llm.run.artifacts.metric_changes import compared_in
from autotrain_llm.run.artifacts.records import write_text

CARD = "README.md"
NAME = "tuned"  # of the model in other programs
ON_THE_HUB = re.compile(r"(?P<id>\w[\w.-]*/[\w.-]+)(?::[\w.-]+)?")  # with the configuration of a data set
LICENCE = ("license", "license_name", "license_link")
PLACEHOLDER = '"FOLDER"'  # of a recipe's code, for the model's address
OTHER_NUMBERS = ("runtime", "seconds", "per_second")  # what evaluations log that says nothing about the model
# The values of vLLM's --max-lora-rank (its MaxLoRARanks, 0.14 to 0.22), and the one that it has without the flag.
RANKS_OF_VLLM, USUAL_RANK = (1, 8, 16, 32, 64, 128, 256, 320, 512), 16


class ModelCard:
    """Writes the card of a plan. `source` is where the model is that was trained, None for a new one; `usage` are a recipe's lines on how to use a
    model that does not generate; of one that does, `prompt_format` says how it is prompted."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        prompt_format: PromptFormat,
        tokenizer: Tokenizer,
        source: Located | None = None,
        usage: Sequence[str] = (),
    ) -> None:
        self.folder, self.plan, self.source, self.usage = folder, plan, source, usage
        self.prompt_format, self.tokenizer = prompt_format, tokenizer
        self.is_adapter = bool(plan.adapter and not plan.adapter.merge)
        owner = plan.hub.username if plan.hub else None
        self.address = f"{owner}/{folder.resolve().name}" if owner else str(folder)

    def write(self, steps: int, metrics: Mapping[str, Any], words: Sequence[str]) -> None:
        """Write the card; `words` are the command. Raises OSError if it can't be written."""
        sections = [
            [f"# {self.folder.resolve().name}", "", *self._summary(steps), ""],
            [line.replace(PLACEHOLDER, _quoted(self.address)) for line in self.usage] or self._how_to_use(),
            self._data(),
            ["| metric | value |", "| --- | --- |"],
            [f"| {name} | {value:.6g} |" for name, value in metrics.items() if isinstance(value, int | float)],
            ["", *_before_and_after(self.folder)],
            ["```sh", in_lines(words), "```", ""],
            ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()) + "."],
        ]
        lines = ["---", self._metadata(metrics).to_yaml(), "---", "", *(line for part in sections for line in part)]
        write_text(self.folder / CARD, "\n".join(lines) + "\n", errors="backslashreplace")

    # ---- metadata

    def _metadata(self, metrics: Mapping[str, Any]) -> ModelCardData:
        base = self._base_card()
        results = list(self._results(metrics)) or None
        data_sets = [name for name in map(id_on_the_hub, self._data_paths()) if name]
        is_chat = self.prompt_format.rows != TEXT and self.plan.model.head is None
        return ModelCardData(
            library_name="peft" if self.is_adapter else "transformers",
            base_model=base.get("base_model"),
            base_model_relation=("adapter" if self.is_adapter else "finetune") if base.get("base_model") else None,
            license=base.get("license"),
            license_name=base.get("license_name"),
            license_link=base.get("license_link"),
            pipeline_tag=self._task,
            tags=[
                "autotrain-llm",
                self.plan.trainer,
                *(["lora"] if self.is_adapter else []),
                *(["conversational"] if is_chat else []),
            ],
            datasets=list(dict.fromkeys(data_sets)) or None,
            model_name=self.folder.resolve().name if results else None,
            eval_results=results,
        )

    @property
    def _task(self) -> str:
        return "text-generation" if self.plan.model.head is None else "text-classification"

    def _base_card(self) -> dict[str, Any]:
        """The base model on the Hub and its licence, as far as the files of the model say them that was trained."""
        located = self.source
        while located is not None and located.kind == ADAPTER and located.base is not None:
            located = located.base
        if located is None:
            return {}
        folder = located.folder
        known = metadata_of(folder) if folder is not None else {}
        name = located.name if located.kind == HUB else known.get("base_model")
        return {**known, "base_model": name}

    def _results(self, metrics: Mapping[str, Any]) -> Iterator[EvalResult]:
        """What evaluations of the finished model say."""
        separate = self.plan.parameters.get("eval_dataset_path")
        path = separate.value if separate is not None and separate.value else self.plan.data.path
        values = {name.removeprefix("eval_"): value for name, value in metrics.items() if name.startswith("eval_")}
        values |= {
            row.name.removeprefix("eval_"): row.after for row in compared_in(self.folder) if row.after is not None
        }
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value) and not name.endswith(OTHER_NUMBERS):
                yield EvalResult(
                    task_type=self._task,
                    dataset_type=id_on_the_hub(path) or "custom",
                    dataset_name=Path(path).name or path,
                    metric_type=name.rpartition("/")[2],
                    metric_name=name,
                    metric_value=value,
                )

    # ---- text

    def _summary(self, steps: int) -> list[str]:
        plan = self.plan
        model, data, size = plan.model, plan.data, show_count(plan.model.parameters)
        start = f"`{model.name}` ({model.architecture}, {size} parameters)"
        if model.kind == SCRATCH:
            start = f"a new {model.architecture} of {size} parameters"
        counts = f"{data.rows} rows, {data.total_tokens} tokens, {steps} steps"
        lines = [f"Trained with `{plan.trainer}` from {start} on `{data.path}`: {counts}."]
        licence = self._base_card().get("license")
        return [*lines, *(["", f"The model it started from has the licence {licence}."] if licence else [])]

    def _data_paths(self) -> list[str]:
        return [source.path for source in self.plan.data.sources or ()] or [self.plan.data.path]

    def _data(self) -> list[str]:
        """A table of the rows, with the fingerprints by which they are known again."""
        data: DataPlan = self.plan.data
        rows = [
            (source.name, source.path, source.format, source.rows, source.fingerprint) for source in data.sources or ()
        ]
        name = "all" if rows else "training"
        rows = [*rows, (name, data.path, data.format, data.rows, data.fingerprint)]
        lines = [f"| {name} | `{path}` | {form} | {count} | `{mark}` |" for name, path, form, count, mark in rows]
        return [
            "## Data",
            "",
            "| data | from | format | rows | fingerprint |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
        ]

    def _how_to_use(self) -> list[str]:
        address = shlex.quote(self.address)
        return [
            "## Use",
            "",
            "```sh",
            f"autotrain chat {address}",
            "```",
            "",
            f"With {'PEFT, which loads the base model too' if self.is_adapter else 'transformers'}:",
            "",
            "```python",
            *self._code(),
            "```",
            "",
            "With vLLM:",
            "",
            "```sh",
            *self._vllm(address),
            "```",
            "",
            "With Ollama or llama.cpp, if GGUF has the architecture:",
            "",
            "```sh",
            f"autotrain export {address} --to ollama --output-dir exported",
            f"ollama create {NAME} -f exported/Modelfile",
            "```",
            "",
        ]

    def _code(self) -> list[str]:
        """Python code that asks the model something, written as its training rows were."""
        name = "AutoPeftModelForCausalLM" if self.is_adapter else "AutoModelForCausalLM"
        imports = [f"from peft import {name}"] if self.is_adapter else []
        imports.append("from transformers import " + ("AutoTokenizer" if self.is_adapter else f"{name}, AutoTokenizer"))
        address = _quoted(self.address)
        return [
            *imports,
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({address})",
            f'model = {name}.from_pretrained({address}, dtype="auto")',
            *self._prompt(),
            "output = model.generate(**inputs, max_new_tokens=256)",
            'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]

    def _prompt(self) -> list[str]:
        question = {"role": "user", "content": "Hello"}
        if self.prompt_format.rows == TEXT:
            name = self.prompt_format.template
            template = find_template(name, self.tokenizer, Observations()) if name else None
            text = template.render([question], add_generation_prompt=True) if template else "Hello"
            return [f'inputs = tokenizer({_quoted(text)}, return_tensors="pt")']
        system = self.prompt_format.system
        messages = [*([{"role": "system", "content": system}] if system else []), question]
        return [
            f"messages = {_quoted(messages)}",
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        ]

    def _vllm(self, address: str) -> list[str]:
        adapter = self.plan.adapter
        if not self.is_adapter or adapter is None:
            return [f"vllm serve {address}"]
        rank = next((rank for rank in RANKS_OF_VLLM if rank >= adapter.saved_rank), None)
        if (
            adapter.dora or adapter.tokens or rank is None
        ):  # vLLM has no DoRA, no rows of an embedding and no larger rank
            return [f"autotrain export {address} --to merged --output-dir merged", "vllm serve merged"]
        base = self.plan.model.base or self.plan.model.name
        module = shlex.quote(f"{NAME}={self.address}")
        flag = f" --max-lora-rank {rank}" if rank > USUAL_RANK else ""
        return [f"vllm serve {shlex.quote(base)} --enable-lora --lora-modules {module}{flag}"]


def _quoted(value: Any) -> str:
    """A text, or lists and dictionaries of texts, as Python code."""
    return json.dumps(value, ensure_ascii=False)


def metadata_of(folder: Path) -> dict[str, Any]:
    """The base model and the licence that a model's own card states; empty without a card that can be read."""
    try:
        document = metadata_load(folder / CARD)
    except (OSError, ValueError, YAMLError):
        return {}
    known = {name: (document or {}).get(name) for name in ("base_model", *LICENCE)}
    return {name: value for name, value in known.items() if isinstance(value, str)}


def id_on_the_hub(path: str) -> str | None:
    """The id of a data set on the Hub; None for a file or folder."""
    match = ON_THE_HUB.fullmatch(path)
    return match["id"] if match and not Path(path).suffix and not Path(path).exists() else None


def _before_and_after(folder: Path) -> list[str]:
    """A table of the evaluations before and after training; empty without them."""
    compared = compared_in(folder)
    if not compared:
        return []
    cells = ((row.name, *(f"{value:.6g}" if value is not None else "" for value in row[1:])) for row in compared)
    lines = [f"| {name} | {before} | {after} |" for name, before, after in cells]
    return ["| evaluated | before | after |", "| --- | --- | --- |", *lines, ""]
