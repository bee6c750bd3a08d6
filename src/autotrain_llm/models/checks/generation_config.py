"""A model's generation_config.json: how texts are sampled and which tokens end them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.example import SFT, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain
from autotrain_llm.models.checks.naming import path_of
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.metadata import ModelMetadata, read_config

NAME = "generation_config.json"
ABSENT = "is missing"
NUMBERS = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "length_penalty",
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams", "num_return_sequences", "no_repeat_ngram_size",
)  # fmt: skip
SWITCHES = ("do_sample", "use_cache")
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# The settings that only have an effect in sampling, and those of beam search, with the value that is the same as none.
SAMPLING = {
    "temperature": 1.0, "top_p": 1.0, "top_k": 50, "min_p": None, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
}  # fmt: skip
BEAM_SEARCH = {"early_stopping": False, "length_penalty": 1.0}


def _of_files(wrong: str, right: str) -> Example:
    """The same command on a copy of a model with two generation configs."""
    command = SFT.replace("MODEL", "copy") + "rows.jsonl"
    file = f"copy/{NAME}"
    return Example(
        command, command, before="cp -r MODEL copy", wrong=f"echo '{wrong}' > {file}", right=f"echo '{right}' > {file}"
    )


def idle_settings(settings: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sampling settings that are there without `do_sample`, and those of beam search without `num_beams`.

    transformers reads such a file and refuses to write it.
    """

    def given(usual_values: Mapping[str, Any]) -> list[str]:
        return [name for name, usual in usual_values.items() if settings.get(name) not in (None, usual)]

    sampling = [] if settings.get("do_sample") is True else given(SAMPLING)
    return sampling, [] if settings.get("num_beams") not in (None, 1) else given(BEAM_SEARCH)


@rule(
    "M146",
    blocks="model",
    example=_of_files('{"temperature": "high"}', '{"temperature": 0.6, "do_sample": true}'),
)
def a_generation_config_is_valid(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """A generation_config.json that is not a JSON object, or has impossible values.

    Why: transformers ignores a file that it can't parse, so that the finished model generates in another way than the original; an impossible value
    fails when the weights are loaded, or with the first text.
    Fix: the file of the original; or delete it, and the defaults are used.
    """
    settings, fault = _read(metadata)
    if fault == ABSENT or not metadata.is_causal_lm:
        return
    for what in [fault] if fault else _impossible(settings or {}):
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: its {NAME} {what}",
            fix=f"take the {NAME} of the original, or delete the file",
            parameters=(parameter,),
            file=path_of(metadata.folder, NAME),
        )


def _impossible(settings: Mapping[str, Any]) -> Iterator[str]:
    """Impossible values, in words that follow the name of the file."""
    for name in NUMBERS:
        value = settings.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield f"gives {value!r} as {name}, which must be a number"
    for name in SWITCHES:
        value = settings.get(name)
        if value is not None and not isinstance(value, bool):
            yield f"gives {value!r} as {name}, which must be true or false"
    for name in IDS:
        value = settings.get(name)
        if value is not None and not all(isinstance(token, int) for token in _listed(value)):
            yield f"gives {value!r} as {name}, which must be a token id"
    new, share = settings.get("max_new_tokens"), settings.get("top_p")
    if isinstance(new, int) and new <= 0:
        yield f"gives {new} as max_new_tokens, and an answer has at least one token"
    many = settings.get("num_return_sequences")
    if isinstance(many, int) and many > 1 and not settings.get("do_sample") and settings.get("num_beams") in (None, 1):
        yield f"gives {many} as num_return_sequences without do_sample or num_beams, and greedy search has one answer"
    if isinstance(share, int | float) and not 0 <= share <= 1:
        yield f"gives {share} as top_p, which must be between 0 and 1"


@rule(
    "M147",
    WARNING,
    roles=(LANGUAGE_MODEL,),
    example=_of_files('{"temperature": 0.6}', '{"temperature": 0.6, "do_sample": true}'),
)
def sampling_settings_need_do_sample(
    metadata: ModelMetadata, trainer: str = "sft", parameter: str = "model"
) -> Iterator[Finding]:
    """generation_config.json has sampling settings, such as temperature or top_p, without `do_sample: true`, or beam search settings without
    `num_beams` above 1.

    Why: transformers reads such a file, but refuses to write it, which would fail when the trained model is saved. The trained model is saved
    with `do_sample: true`, which sampling settings need, and without the beam search settings.
    Fix: add `do_sample: true` (or `num_beams`) to the file, or delete the settings.
    """
    settings, fault = _read(metadata)
    if not _is_saved(parameter, trainer) or fault or settings is None or not metadata.is_causal_lm:
        return
    if any(_impossible(settings)):
        return
    where, file = f"{flag_of(parameter)} {metadata.name}: its {NAME}", path_of(metadata.folder, NAME)
    sampling, beams = idle_settings(settings)
    if sampling:
        how = "without do_sample" if settings.get("do_sample") is None else "with do_sample false"
        message = f"{where} sets {_values(sampling, settings)} {how}, which has no effect; the trained model is saved with do_sample true"
        fix = f'set "do_sample": true in {NAME}, or delete {" and ".join(sampling)} there'
        yield Finding(message, fix, (parameter,), file=file)
    if beams:
        message = f"{where} sets {_values(beams, settings)} without num_beams, which has no effect; the trained model is saved without that"
        fix = f"set num_beams above 1 in {NAME}, or delete {' and '.join(beams)} there"
        yield Finding(message, fix, (parameter,), file=file)


@rule("M148", WARNING, roles=(LANGUAGE_MODEL,), example=_of_files('{"eos_token_id": 50256}', '{"eos_token_id": 0}'))
def special_tokens_exist(metadata: ModelMetadata, trainer: str = "sft", parameter: str = "model") -> Iterator[Finding]:
    """config.json or generation_config.json gives a start, end or padding token an id that is beyond the embedding.

    Why: the model has no such token, so it never generates it, and generation would not stop at it. The trained model is saved without it.
    Fix: the token's id in the tokenizer.
    """
    rows = metadata.embedding_rows
    if not _is_saved(parameter, trainer) or rows is None or not metadata.is_causal_lm:
        return
    settings, fault = _read(metadata)
    configs = {"config.json": metadata.config or {}, NAME: {} if fault else settings or {}}
    for file, values in configs.items():
        for name in (
            IDS if file == NAME else ("bos_token_id", "eos_token_id")
        ):  # M128 reports a pad_token_id in config.json
            beyond = [token for token in _listed(values.get(name)) if isinstance(token, int) and token >= rows]
            if beyond:
                yield Finding(
                    f"{flag_of(parameter)} {metadata.name}: {file} gives {', '.join(map(str, beyond))} as {name}, and the model's last token "
                    f"has the id {rows - 1}: the trained model is saved without it",
                    f"set {name} in {file} to the token's id in the tokenizer",
                    (parameter,),
                    file=path_of(metadata.folder, file),
                )


def _is_saved(parameter: str, trainer: str) -> bool:
    """Whether the trained model is saved with a generation_config.json: not a reference, a teacher, or a reward model."""
    return parameter == "model" and not TRAINERS[trainer].trains_a_scorer


def _read(metadata: ModelMetadata) -> tuple[dict[str, Any] | None, str | None]:
    """The settings, or what is wrong with the file."""
    return read_config(metadata.folder / NAME) if metadata.folder is not None else (None, ABSENT)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _values(names: list[str], settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {plain(settings[name])}" for name in names)
