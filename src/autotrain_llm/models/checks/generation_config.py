"""What a model's generation_config.json says: how its texts are drawn and which tokens end them. One function per kind of fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.text import plain
from autotrain_llm.models.metadata import ModelMetadata, read_config

NAME = "generation_config.json"
ABSENT = "is missing"
NUMBERS = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "length_penalty",
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams", "num_return_sequences", "no_repeat_ngram_size",
)  # fmt: skip
SWITCHES = ("do_sample", "use_cache")
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# Of the numbers, those that count while texts are drawn, and those that count in a search by beams; with what says the same as nothing.
OF_SAMPLING = {
    "temperature": 1.0, "top_p": 1.0, "top_k": 50, "min_p": None, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
}  # fmt: skip
OF_BEAMS = {"early_stopping": False, "length_penalty": 1.0}


def idle_settings(settings: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The settings of sampling that are there without `do_sample`, and those of beams without `num_beams`. Such a file is read, and not written."""
    sampling = [] if settings.get("do_sample") is True else _set_of(OF_SAMPLING, settings)
    return sampling, [] if settings.get("num_beams") not in (None, 1) else _set_of(OF_BEAMS, settings)


def _set_of(known: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    return [name for name, usual in known.items() if settings.get(name) not in (None, usual)]


def broken_generation_config(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A generation_config.json that is no JSON object, or holds values that can't be.

    Why: the library passes over a file that it can't parse, so that the finished model generates in another way than its maker meant; an
    impossible value is refused while the weights load, or with the first text.
    Fix: the file of the original; or none, and the usual settings count.
    """
    settings, fault = _read(facts)
    if fault == ABSENT or not facts.is_causal_lm:
        return
    faults = [fault] if fault else _impossible(settings or {})
    for one in faults:
        fix = f"take the {NAME} of the original, or delete the file"
        message = f"{flag_of(parameter)} {facts.name}: its {NAME} {one}"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_file(facts))


def _impossible(settings: Mapping[str, Any]) -> Iterator[str]:
    """What can't be, in words that follow the name of the file."""
    for name in NUMBERS:
        value = settings.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield f"gives {value!r} as {name}, which is a number"
    for name in SWITCHES:
        value = settings.get(name)
        if value is not None and not isinstance(value, bool):
            yield f"gives {value!r} as {name}, which is true or false"
    for name in IDS:
        value = settings.get(name)
        if value is not None and not all(isinstance(one, int) for one in _listed(value)):
            yield f"gives {value!r} as {name}, which is the number of a token"
    new, share = settings.get("max_new_tokens"), settings.get("top_p")
    if isinstance(new, int) and new <= 0:
        yield f"gives {new} as max_new_tokens, and an answer has one token at least"
    many = settings.get("num_return_sequences")
    if isinstance(many, int) and many > 1 and not settings.get("do_sample") and settings.get("num_beams") in (None, 1):
        yield f"gives {many} as num_return_sequences without do_sample or num_beams, and there is one likeliest answer"
    if isinstance(share, int | float) and not 0 <= share <= 1:
        yield f"gives {share} as top_p, which is a share of 1"


def settings_of_sampling_alone(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A generation_config.json with settings of sampling, such as temperature or top_p, and no `do_sample: true`; or of beams, and no beams.

    Why: the library reads such a file and refuses to write it again, as it has to when the trained model is saved. The finished model is saved
    with `do_sample: true`, which is what such settings mean, and without those of beams.
    Fix: say which is meant in the file.
    """
    settings, fault = _read(facts)
    if fault or settings is None or not facts.is_causal_lm or any(_impossible(settings)):
        return
    sampling, beams = idle_settings(settings)
    where = f"{flag_of(parameter)} {facts.name}: its {NAME}"
    if sampling:
        said = "without do_sample" if settings.get("do_sample") is None else "with do_sample false"
        message = f"{where} sets {_values(sampling, settings)} {said}, so that they have no effect; the trained model is saved with do_sample true"
        fix = f'"do_sample": true in {NAME}, or delete {" and ".join(sampling)} there'
        yield Finding(message, fix, (parameter,), WARNING, file=_file(facts))
    if beams:
        message = f"{where} sets {_values(beams, settings)} without num_beams, so that they have no effect; the trained model is saved without them"
        fix = f"num_beams above 1 in {NAME}, or delete {' and '.join(beams)} there"
        yield Finding(message, fix, (parameter,), WARNING, file=_file(facts))


def tokens_that_are_not_there(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A config.json or generation_config.json whose token that ends, begins or fills up a text has a number beyond the embedding.

    Why: the model has no such token and never gives it; generation would not stop by it. Of the finished model it is left out.
    Fix: the number of the token in the tokenizer.
    """
    rows = facts.embedding_rows
    if rows is None or not facts.is_causal_lm:
        return
    settings, fault = _read(facts)
    said = {"config.json": facts.config or {}, NAME: {} if fault else settings or {}}
    for file, values in said.items():
        for name in IDS if file == NAME else ("bos_token_id", "eos_token_id"):  # a padding beyond it can't be built
            beyond = [one for one in _listed(values.get(name)) if isinstance(one, int) and one >= rows]
            if beyond:
                message = (
                    f"{flag_of(parameter)} {facts.name}: {file} gives {', '.join(map(str, beyond))} as {name}, and the model's tokens end "
                    f"at {rows - 1}: it is left out of the trained model"
                )
                place = str(facts.folder / file) if facts.folder else None
                yield Finding(
                    message, f"the token's number in the tokenizer, as {name}", (parameter,), WARNING, file=place
                )


def _read(facts: ModelMetadata) -> tuple[dict[str, Any] | None, str | None]:
    """The settings, or what is wrong with the file."""
    return read_config(facts.folder / NAME) if facts.folder is not None else (None, ABSENT)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _values(names: list[str], settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {plain(settings[name])}" for name in names)


def _file(facts: ModelMetadata) -> str | None:
    return str(facts.folder / NAME) if facts.folder else None
