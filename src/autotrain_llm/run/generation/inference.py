"""`--inference`: a finished model's completions of prompts, or a reward model's scores of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.output_dir import CHECKPOINTS
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.chat.template import NONE, ChatTemplate, ChatTemplateError, find_template
from autotrain_llm.data.example import Example, as_turns
from autotrain_llm.data.files.decode import decode, read_bytes
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.tokenize import reward_inputs as scored
from autotrain_llm.data.tokenize.prompt_format import ALPACA, CHAT, MIXED, TEXT, PromptFormat, read_prompt_format
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import WARNING, Finding, Refused
from autotrain_llm.declare.param import flag_of
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.run.algorithms.reward import scoring
from autotrain_llm.run.engine.classifiers import load_classifier
from autotrain_llm.run.engine.loading import DTYPES, from_located
from autotrain_llm.run.generation.decoder import Decoder
from autotrain_llm.run.generation.types import Sampling

BATCH = 16
TEXT_FILES = (".txt", "")


@dataclass(frozen=True)
class Answer:
    """A prompt with its completion, its score, or several outputs by name: scores, or the probabilities of classes."""

    prompt: str
    text: str | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        if self.text is not None:
            return {"prompt": self.prompt, "text": self.text}
        return {"prompt": self.prompt, **({"score": self.score} if self.scores is None else {"scores": self.scores})}


@dataclass(frozen=True)
class Answers:
    """The answers, generated lazily, and the findings about prompts that were left out."""

    findings: tuple[Finding, ...]
    each: Iterator[Answer]


def infer(context: RunContext) -> Answers:
    """Answer the prompts of a checked command, in order. Raises Refused for prompts that can't be read."""
    config, metadata, tokenizer = context.config, context.model, context.tokenizer
    assert metadata is not None and tokenizer is not None
    rendering = _rendering(config, tokenizer, metadata)
    if rendering.writes_instructions and not metadata.is_classifier:
        prompts, findings = _read_instructions(config)
    else:
        prompts, findings = read_prompts(config, "conversations" if metadata.is_classifier else "prompts")
    findings += rendering.findings(prompts, str(config.model))
    ids = _encode(prompts, rendering, tokenizer, metadata)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = config.mixed_precision or (
        "bf16" if device.type == "cuda" and context.machine.computes_bf16 else "fp32"
    )
    options = _options(config, context.token)
    if metadata.is_classifier:
        names = metadata.score_names
        scorer, _ = load_classifier(metadata.located, DTYPES[precision], options, num_labels=len(names))
        pad_token = scorer.config.get_text_config().pad_token_id
        scores = scoring.scores(scorer.to(device).eval(), ids, _padding(tokenizer) if pad_token is None else pad_token)
        return Answers(findings, _scored(prompts, scores, metadata))
    model = from_located(metadata.located, DTYPES[precision], options).to(device).eval()
    return Answers(findings, _complete(model, tokenizer, prompts, ids, config.max_new_tokens, metadata.context_length))


def _scored(prompts: Sequence[Example], outputs: Iterable[list[float]], metadata: ModelMetadata) -> Iterator[Answer]:
    """Each prompt with its score; with several outputs, the scores by their names, or the probabilities of the classes."""
    names = metadata.score_names
    for prompt, values in zip(prompts, outputs, strict=True):
        if len(names) == 1:
            yield Answer(shown(prompt), score=values[0])
        else:
            given = values if metadata.gives_scores else torch.tensor(values).double().softmax(-1).tolist()
            yield Answer(shown(prompt), scores=dict(zip(names, given, strict=True)))


def _options(config: Config, token: str | None) -> dict[str, Any]:
    options = {
        "revision": config.revision,
        "cache_dir": config.cache_dir,
        "trust_remote_code": config.trust_remote_code,
        "attn_implementation": config.attn_implementation,
        "token": token,
    }
    return {name: value for name, value in options.items() if value is not None} | {"local_files_only": config.offline}


def read_prompts(config: Config, rows: str = "prompts") -> tuple[list[Example], tuple[Finding, ...]]:
    """The prompts of `--prompts`: the text itself, the lines of a text file, or the rows of a data file in any supported format; and the
    findings about rows that were left out."""
    argument = str(config.prompts)
    path = Path(argument).expanduser()
    if not _is_file(path):
        if path.suffix in (".jsonl", ".json", ".csv", ".txt", ".parquet", ".tsv"):
            raise _refused(
                f"--prompts {argument}: there is no such file", fix="--prompts <an existing file, or a text>"
            )
        return [Example(file="", row=1, prompt=argument)], ()
    if path.suffix in TEXT_FILES:
        return _lines(path, argument), ()
    request = DataRequest(path=argument, rows=rows, seed=config.seed, trainer="inference", offline=config.offline)
    try:
        dataset = open_data(request)
    except Refused as refused:
        raise Refused(_for_prompts(refused.findings)) from refused
    return list(dataset.train), _for_prompts(dataset.findings)


def _read_instructions(config: Config) -> tuple[list[Example], tuple[Finding, ...]]:
    """The prompts of `--prompts`; of rows with instruction and output, their prompts as rows for training have them, with the output beside."""
    prompts, findings = read_prompts(config)
    if prompts[0].file and Path(prompts[0].file).suffix not in TEXT_FILES:
        try:
            rows, findings_of_rows = read_prompts(config, "conversations")
        except Refused:
            return prompts, findings
        if all(row.messages is not None and isinstance(row.prompt, str) for row in rows):
            return [replace(row, messages=None) for row in rows], findings_of_rows
    return prompts, findings


def _lines(path: Path, name: str) -> list[Example]:
    """A prompt for each line that is not empty."""
    observations = Observations()
    data = read_bytes(path, name, observations)
    text = None if data is None else decode(data, name, observations)
    if text is None:
        raise Refused(_for_prompts(observations.findings()))
    lines = enumerate(text.splitlines(), 1)
    prompts = [Example(file=name, row=row, prompt=line) for row, line in lines if line.strip()]
    if not prompts:
        raise _refused(f"--prompts {name} contains no prompt", name)
    return prompts


def _for_prompts(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with `--prompts` as their parameter."""
    return tuple(finding.replace(parameters=("prompts",)) for finding in findings)


def _refused(message: str, file: str | None = None, row: int | None = None, fix: str | None = None) -> Refused:
    return Refused([Finding(message, fix, ("prompts",), file=file, row=row, code="P330")])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the text is too long for a file name
        return False


@dataclass(frozen=True)
class Rendering:
    """How prompts become text: by `template`, or without one. `given` is what `--chat-template` says, `trained` how the model's rows were written."""

    template: ChatTemplate | None
    given: str | None
    trained: PromptFormat | None

    @property
    def writes_instructions(self) -> bool:
        """Whether the model was trained on instructions in Alpaca's form, without a chat template."""
        return self.given is None and self.trained == PromptFormat(TEXT, ALPACA)

    def template_of(self, prompt: Example) -> ChatTemplate | None:
        """The template for a prompt; None if it is plain text, as the rows were that the model was trained on."""
        if self.writes_instructions:
            return None if prompt.completion is not None else self.template
        as_text = self.given is None and self.trained is not None and self.trained.rows == TEXT
        return None if as_text and _turns_of(prompt) is None else self.template

    def turns_of(self, prompt: Example) -> list[Any]:
        """The turns of a prompt, after the system prompt that all rows of the training began with."""
        turns = _turns_of(prompt) or [{"role": "user", "content": _plain_prompt(prompt)}]
        system = self.trained.system if self.trained is not None else ""
        if not system or turns[0].get("role") == "system":
            return turns
        return [{"role": "system", "content": system}, *turns]

    def findings(self, prompts: Sequence[Example], model: str) -> tuple[Finding, ...]:
        """What of the training's way of writing prompts is not followed."""
        if (
            self.writes_instructions
            or self.trained is None
            or self.trained.rows == MIXED
            or (self.template is None and self.given is None)
        ):
            return ()
        texts = any(_turns_of(prompt) is None for prompt in prompts)
        if self.trained.rows == TEXT and self.template is not None and (self.given or not texts):
            what = f"{model} was trained on plain text, without a chat template, and the prompts are rendered by one"
            fix = f"remove {flag_of('chat_template')}" if self.given else "prompts that are text"
        elif self.trained.rows == CHAT and self.template is None:
            what = f"{model} was trained on conversations that a chat template rendered, and the prompts are plain text"
            fix = f"remove {flag_of('chat_template')}"
        elif self.trained.rows == CHAT and self.trained.system is None and not all(map(_has_system, prompts)):
            what = f"{model} was trained on conversations with different system prompts, and these prompts have none"
            fix = "--prompts FILE, with messages that begin with a system prompt"
        else:
            return ()
        return (
            Finding(
                f"{what}: its answers can be others than it was trained for",
                fix,
                ("chat_template",),
                WARNING,
                code="P345",
            ),
        )


def _has_system(prompt: Example) -> bool:
    return (_turns_of(prompt) or [{}])[0].get("role") == "system"


def _rendering(config: Config, tokenizer: Tokenizer, metadata: ModelMetadata) -> Rendering:
    folder = metadata.located.folder
    if folder is not None and folder.parent.name == CHECKPOINTS:
        folder = folder.parent.parent
    trained = read_prompt_format(folder) if folder is not None else None
    in_form = config.chat_template is None and trained is not None and trained.rows == TEXT
    name = trained.template if in_form and trained is not None else None
    observations = Observations()
    template = find_template(name or config.chat_template, tokenizer, observations)
    if observations.refused:
        raise Refused(observations.findings())
    return Rendering(template, config.chat_template, trained)


def _encode(
    prompts: Sequence[Example], rendering: Rendering, tokenizer: Tokenizer, metadata: ModelMetadata
) -> list[list[int]]:
    """The ids of the prompts, written as the rows that the model was trained on; by the model's chat template if that is not known."""
    context_length = metadata.context_length
    if metadata.is_classifier:
        trained, given = rendering.trained, rendering.given
        is_set = given != NONE if given is not None else trained is not None and trained.rows == CHAT
        return scored.ids_within_context(
            prompts, tokenizer, rendering.template, template_given=is_set, context=context_length
        )
    templates = [rendering.template_of(prompt) for prompt in prompts]
    rendered = [
        _text_of(prompt) if template is None else _rendered(prompt, rendering.turns_of(prompt), template)
        for prompt, template in zip(prompts, templates, strict=True)
    ]
    ids = [
        _with_bos(prompt_ids, tokenizer) if template is None else prompt_ids
        for prompt_ids, template in zip(tokenizer.encode_batch(rendered), templates, strict=True)
    ]
    for prompt, prompt_ids in zip(prompts, ids, strict=True):
        if context_length is not None and len(prompt_ids) >= context_length:
            where = f"{prompt.file}, row {prompt.row}" if prompt.file else "--prompts"
            message = f"{where}: {len(prompt_ids)} tokens leave no room for an answer in the model's context of {context_length}"
            raise _refused(message, prompt.file or None, prompt.row, "a shorter prompt")
    return ids


def _with_bos(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """The ids of a text with the tokenizer's BOS token, which is not repeated if the text already starts with it."""
    bos, _ = tokenizer.bos_eos
    return ids if ids[: len(bos)] == bos else [*bos, *ids]


def _text_of(prompt: Example) -> str:
    turns = _turns_of(prompt)
    return _plain_prompt(prompt) if turns is None else "\n".join(str(turn.get("content", "")) for turn in turns)


def _turns_of(prompt: Example) -> list[Any] | None:
    return (
        prompt.messages if prompt.messages is not None else prompt.prompt if isinstance(prompt.prompt, list) else None
    )


def _plain_prompt(prompt: Example) -> str:
    return str(prompt.prompt or prompt.text or "")


def _rendered(prompt: Example, turns: list[Any], template: ChatTemplate) -> str:
    try:
        return template.render(turns, prompt.tools, add_generation_prompt=True)
    except ChatTemplateError as problem:
        where = f"{prompt.file}, row {prompt.row}" if prompt.file else "--prompts"
        message = f"{where}: the chat template refuses it: {problem}"
        raise _refused(
            message, prompt.file or None, prompt.row, "--chat-template chatml, or correct the prompt"
        ) from problem


def shown(prompt: Example) -> str:
    """A prompt as one text, for display."""
    if isinstance(prompt.prompt, str) and not isinstance(prompt.completion, list):
        return prompt.prompt + (prompt.completion or "")
    turns = prompt.messages or [
        turn for side in (prompt.prompt, prompt.completion) for turn in as_turns(side or [], "user")
    ]
    return prompt.text or "\n".join(str(turn.get("content")) for turn in turns)


def _complete(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[Example],
    ids: Sequence[list[int]],
    max_new_tokens: int,
    context_length: int | None,
) -> Iterator[Answer]:
    """Greedy completions, batch by batch, in the order of the prompts."""
    settings = model.generation_config
    ends = settings.eos_token_id
    # The settings of the model's generation config that affect greedy decoding.
    processors = LogitsProcessorList()
    if settings.repetition_penalty not in (None, 1.0):
        processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    decoder = Decoder(
        [ends] if isinstance(ends, int) else list(ends or ()),
        Sampling(max_new_tokens, batch=BATCH, longest=context_length),
        processors=processors or None,
    )
    for start in range(0, len(ids), BATCH):
        batch = [np.asarray(row, dtype=np.int32) for row in ids[start : start + BATCH]]
        samples = decoder.complete(model, batch)
        for prompt, sample in zip(prompts[start : start + BATCH], samples, strict=True):
            yield Answer(shown(prompt), text=tokenizer.decode(sample.completion.tolist(), skip_special_tokens=True))


def _padding(tokenizer: Tokenizer) -> int:
    """A token for padding; any will do, because it is masked."""
    return next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)
