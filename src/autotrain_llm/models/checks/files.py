"""What is wrong with a model, told from its metadata: one function per kind of fault, each yielding findings.

`check_model` runs all that concern a model to be trained, `check_reward_model` those of a model that scores. Every function takes plain values,
so that a rule can call it singly; the code of each is in `CODES`. Nothing here is a finding for a new model: it has no files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.models.checks.generation_config import (
    broken_generation_config,
    settings_of_sampling_alone,
    tokens_that_are_not_there,
)
from autotrain_llm.models.checks.weights_match_config import (
    adapter_and_its_config,
    adapter_of_another_model,
    impossible_config,
    is_called,
    missing_head,
    weights_of_another_architecture,
    weights_of_another_shape,
)
from autotrain_llm.models.classifiers import has_classifier, has_generator
from autotrain_llm.models.locate import read_json
from autotrain_llm.models.metadata import ModelMetadata, highest_token_id, tokens_of_config
from autotrain_llm.models.weights import INDEX

ALL_LINEAR = "all-linear"
EVERY_MODULE = ("all", "all_linear", "all linear", "alllinear", "linear", "*", "every", "auto")
SCORING_TRAINER = "reward"
TRAINED = "model"  # the parameter that names the model whose copy is saved
MOST_NAMED = 4
INNER = (
    "*/config.json",
    "snapshots/*/config.json",
)  # where a model lies inside the folder that was named; the second in the Hub's cache
SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")


def said(facts: ModelMetadata, parameter: str) -> str:
    """How a message begins: the flag, what the user wrote, and for an adapter the base that is meant."""
    base = facts.model_located.name
    return f"{flag_of(parameter)} {facts.name}" + (f" (on {base})" if base != facts.name else "")


def listed(names: Sequence[str]) -> str:
    """The first names of a long list."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- files ----------------------------------------------------------------------------------------------------------


def no_config(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A folder without a readable config.json: what the model is can't be known."""
    if facts.is_scratch or facts.config_fault is None:
        return
    folder = facts.folder
    assert folder is not None
    inner = sorted(path.parent for pattern in INNER for path in folder.glob(pattern))
    if (folder / "model_index.json").exists():
        message = f"{said(facts, parameter)} holds a diffusion pipeline (model_index.json), and language models are trained here"
        yield Finding(message, fix=f"{flag_of(parameter)} <a causal language model>", parameters=(parameter,))
        return
    fix = f"{flag_of(parameter)} {inner[0]}" if inner else "give a folder that holds a saved model, or a Hub id"
    message = f"{said(facts, parameter)}: config.json {facts.config_fault}, so this is no model that can be loaded"
    yield Finding(message, fix=fix, parameters=(parameter,), file=str(folder / "config.json"))


def no_model_type(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A config.json that doesn't say which architecture it describes."""
    if facts.config is not None and facts.model_type is None:
        message = f"{said(facts, parameter)}: config.json has no model_type, so no library can tell what to build"
        fix = 'add the model_type of the original to config.json, such as "model_type": "llama"'
        yield Finding(message, fix=fix, parameters=(parameter,), file=_file(facts, "config.json"))


def no_weights(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A model without a weight file, or with none but pickles, which can run code when they are read."""
    weights = facts.weights
    if facts.config is None or weights.files or weights.missing:
        return
    if weights.pickles:
        message = f"{said(facts, parameter)}: its weights are pickles ({listed(weights.pickles)}), and only safetensors are loaded"
        yield Finding(
            message, fix="save it again as safetensors, or take a revision that has them", parameters=(parameter,)
        )
    else:
        message = f"{said(facts, parameter)} has no weights: there is no weight file such as model.safetensors beside its config.json"
        message += f", only {listed(weights.others)}" if weights.others else ""
        yield Finding(message, fix=_way_to_weights(weights.others), parameters=(parameter,))


def _way_to_weights(others: Sequence[str]) -> str:
    """What to do where only such files are there."""
    if any(name.endswith((".incomplete", ".part", ".crdownload", ".aria2")) for name in others):
        return "finish the download: those files are the beginning of others"
    if "zero_to_fp32.py" in others:
        return "gather the weights first: python zero_to_fp32.py . whole --safe_serialization, in that folder"
    if any(name.endswith(".distcp") for name in others):
        return "gather the weights first: accelerate merge-weights <that folder> <another>"
    if any(name.endswith(".safetensors") for name in others):
        return "take the files called model.safetensors or model-00001-of-0000N.safetensors, which have the library's names for the tensors"
    if others:
        return "take a revision of the model that has safetensors, or convert the weights and save them with save_pretrained"
    return "copy or download the weights too, or name another model"


def missing_shards(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """Weight files that the index names and that are not there."""
    missing = facts.weights.missing
    if missing:
        total = len(missing) + len(facts.weights.files)
        message = f"{said(facts, parameter)}: {len(missing)} of {total} weight files are missing: {listed(missing)}"
        yield Finding(message, fix="download the model again", parameters=(parameter,), file=_file(facts, INDEX))


def no_index(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """Weight files that are parts of a whole, without the index that says which tensor lies in which, or with one that can't be read."""
    if facts.weights.index_fault:
        message = f"{said(facts, parameter)}: its {INDEX} {facts.weights.index_fault}, so that no part of the weights can be found"
        yield Finding(message, "download the model's index again", (parameter,), file=_file(facts, INDEX))
    parts = [SHARD.fullmatch(name) for name in facts.weights.files]
    first = next(filter(None, parts), None)
    if first is None or facts.is_remote or facts.folder is None or (facts.folder / INDEX).exists():
        return
    message = (
        f"{said(facts, parameter)}: its weights are parts of {int(first[1])} files ({listed(facts.weights.files)}), and "
        f"{INDEX}, which says what lies in which, is missing"
    )
    yield Finding(message, fix="download the model again, with its index", parameters=(parameter,))


def damaged_weights(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A weight file that is a Git LFS pointer, is truncated, or is something else altogether."""
    for weights, folder in ((facts.weights, facts.folder), (facts.adapter_weights, facts.located.folder)):
        reasons: dict[str, list[str]] = {}
        for name, reason in weights.damaged.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            fix = (
                "run `git lfs pull` in it, or download the model again"
                if "LFS" in reason
                else "download or save the model again"
            )
            message = f"{said(facts, parameter)}: {listed(names)} {reason}"
            yield Finding(message, fix=fix, parameters=(parameter,), file=str(folder / names[0]) if folder else None)


def no_adapter_weights(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """An adapter_config.json without the adapter's weights, or with a pickle of them."""
    weights = facts.adapter_weights
    if not facts.is_adapter or weights.files or weights.damaged:
        return
    message = f"{flag_of(parameter)} {facts.name} is an adapter without weights: there is no adapter_model.safetensors"
    fix = "copy or train the adapter's weights too"
    if weights.pickles:
        message += f", only a pickle ({listed(weights.pickles)})"
        fix = "save it again as safetensors"
    yield Finding(message, fix=fix, parameters=(parameter,))


# --- the tokenizer --------------------------------------------------------------------------------------------------


def no_tokenizer(facts: ModelMetadata, *, tokenizer: str | None = None, parameter: str = "model") -> Iterator[Finding]:
    """A model saved without its tokenizer, and no `--tokenizer` in its place."""
    if facts.config is None or tokenizer or facts.tokenizer_files or facts.custom_code.get("AutoTokenizer"):
        return
    message = (
        f"{said(facts, parameter)} has no tokenizer: there is neither a tokenizer.json nor a vocabulary in its folder"
    )
    fix = "--tokenizer <folder or Hub id of the model it was made from>"
    yield Finding(message, fix=fix, parameters=(parameter, "tokenizer") if parameter == "model" else (parameter,))


def tokens_beyond_embedding(
    facts: ModelMetadata, *, tokenizer_folder: Path | None = None, parameter: str = "model"
) -> Iterator[Finding]:
    """A tokenizer that gives ids for which the model has no vector; `tokenizer_folder` where it isn't the model's own."""
    folder = tokenizer_folder or facts.tokenizer_folder
    rows = facts.embedding_rows
    highest = highest_token_id(folder) if folder and rows else None
    new = tokens_of_config(folder) if folder and highest is not None and rows is not None else ()
    if rows is not None and highest is not None and highest < rows <= highest + len(new):
        message = (
            f"{said(facts, parameter)}: tokenizer_config.json names {listed(new)} ({_kinds_of(new, folder)}), which tokenizer.json "
            f"doesn't have: it would be a new token, and the embedding has {rows} rows, all of them taken"
        )
        fix = "name a token that is there, or resize the model's embedding and save it again"
        file = str(folder / "tokenizer_config.json") if folder else None
        yield Finding(message, fix=fix, parameters=(parameter,), file=file)
    if rows is not None and highest is not None and highest >= rows:
        whose = "its tokenizer" if tokenizer_folder is None else f"the tokenizer in {tokenizer_folder} (--tokenizer)"
        message = (
            f"{said(facts, parameter)}: {whose} has ids up to {highest}, but the embedding has {rows} rows "
            f"(vocab_size {facts.vocab_size}): the first text with a higher id would fail"
        )
        fix = "use the tokenizer that the model was trained with, or resize the model's embedding and save it again"
        yield Finding(
            message, fix=fix, parameters=(parameter,), file=str(folder / "tokenizer.json") if folder else None
        )


def _kinds_of(tokens: Sequence[str], folder: Path | None) -> str:
    """What tokenizer_config.json names these tokens for: `eos_token`."""
    config = (read_json(folder / "tokenizer_config.json") if folder else None) or {}
    held = {key: value.get("content") if isinstance(value, dict) else value for key, value in config.items()}
    return ", ".join(key for key in held if key.endswith("_token") and held[key] in tokens)


# --- what kind of model ---------------------------------------------------------------------------------------------


def needs_remote_code(
    facts: ModelMetadata, *, trust_remote_code: bool = False, parameter: str = "model"
) -> Iterator[Finding]:
    """A model whose architecture is Python code of its own, which runs only where that was allowed."""
    if not facts.model_type or is_known_architecture(facts.model_type):
        return
    if facts.custom_code and not trust_remote_code:
        message = (
            f"{said(facts, parameter)} brings its own Python code (auto_map in config.json), "
            "and nothing of it runs without --trust-remote-code (trust_remote_code)"
        )
        fix = "read its code, then add --trust-remote-code; or take a model that the library knows"
        yield Finding(message, fix=fix, parameters=(parameter, "trust_remote_code"), file=_file(facts, "config.json"))
    elif _missing_code(facts):
        message = f"{said(facts, parameter)}: its own Python code is missing: auto_map in config.json names {listed(_missing_code(facts))}"
        fix = "copy or download the model's .py files too"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_file(facts, "config.json"))
    elif not facts.custom_code:
        message = f"{said(facts, parameter)}: the installed transformers knows no model_type {facts.model_type}"
        yield Finding(
            message,
            fix="upgrade transformers, or take another model",
            parameters=(parameter,),
            file=_file(facts, "config.json"),
        )


def _missing_code(facts: ModelMetadata) -> list[str]:
    """Files of the model's own code that its config names and that don't lie beside it."""
    if facts.is_remote or facts.folder is None:
        return []
    classes = [name for held in facts.custom_code.values() for name in (held if isinstance(held, list) else [held])]
    own = {str(name).rpartition(".")[0] + ".py" for name in classes if name and "--" not in str(name)}
    return sorted(name for name in own if not (facts.folder / name).exists())


def is_known_architecture(model_type: str) -> bool:
    """Whether the installed transformers has this model_type, read from its table as text; True where there is no table to read."""
    from importlib.util import find_spec

    spec = find_spec("transformers")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    tables = [
        Path(folder, "models", "auto", name)
        for folder in folders
        for name in ("auto_mappings.py", "configuration_auto.py")
    ]
    texts = [table.read_text(encoding="utf-8") for table in tables if table.exists()]
    return not texts or any(f'("{model_type}", ' in text for text in texts)


def cannot_generate(facts: ModelMetadata, trainer: str, *, parameter: str = "model") -> Iterator[Finding]:
    """An encoder, an encoder-decoder, a classifier or another task's model where a generator is trained."""
    if facts.config is None or facts.model_type is None or trainer == SCORING_TRAINER:
        return
    if facts.is_causal_lm:
        yield from _no_generator(facts, trainer, parameter)
        return
    fix = f"{flag_of(parameter)} <a causal language model>"
    if facts.is_classifier:
        named = f" ({facts.architectures[0]})" if facts.architectures and not facts.is_adapter else ""
        kind = f"scores texts{named} and generates none"
        fix += ", or --trainer reward to go on training it" if parameter == "model" else ""
    elif facts.is_encoder_decoder:
        kind = "is an encoder-decoder, and only decoders are trained"
    elif facts.is_encoder:
        kind = "is an encoder: it sees a text from both sides and can't write one"
        fix += ", or --trainer reward, which can use an encoder" if parameter == "model" else ""
    else:
        kind = f"is made for another task ({facts.other_task})"
    message = f"{said(facts, parameter)} ({facts.model_type}) {kind}, but {trainer} trains a model that generates"
    yield Finding(message, fix=fix, parameters=(parameter, "trainer"))


def _no_generator(facts: ModelMetadata, trainer: str, parameter: str) -> Iterator[Finding]:
    """An architecture that reads more than text, or does something else, which the library has no text generator for."""
    if facts.custom_code or has_generator(facts.model_type) or not is_known_architecture(facts.model_type or ""):
        return
    kind = f" ({facts.architectures[0]})" if facts.architectures else ""
    message = (
        f"{said(facts, parameter)}: the installed transformers has no causal language model for {facts.model_type}{kind}, "
        f"and {trainer} trains one"
    )
    yield Finding(message, fix=f"{flag_of(parameter)} <a causal language model>", parameters=(parameter, "trainer"))


def cannot_score(facts: ModelMetadata, trainer: str, *, parameter: str = "model") -> Iterator[Finding]:
    """An encoder-decoder, another task's model, or an architecture that scores nothing, where a reward model is trained."""
    if trainer != SCORING_TRAINER or facts.config is None or facts.model_type is None:
        return
    if not (facts.is_encoder_decoder or facts.other_task):
        if not has_classifier(facts.model_type) and is_known_architecture(facts.model_type):
            message = f"{said(facts, parameter)}: the installed transformers has no sequence classifier for {facts.model_type}"
            fix = f"{flag_of(parameter)} <a model of another architecture, such as llama, qwen3 or bert>"
            yield Finding(message, fix=fix, parameters=(parameter, "trainer"))
        return
    kind = "an encoder-decoder" if facts.is_encoder_decoder else f"made for another task ({facts.other_task})"
    message = f"{said(facts, parameter)} ({facts.model_type}) is {kind}; the reward trainer puts its score on a decoder or an encoder"
    yield Finding(message, fix=f"{flag_of(parameter)} <a decoder or an encoder>", parameters=(parameter, "trainer"))


def quantised_base(facts: ModelMetadata, *, peft: bool = False, parameter: str = "model") -> Iterator[Finding]:
    """Weights that were quantised before, and a full fine-tune that would have to change them."""
    if facts.quantization and not peft:
        message = (
            f"{said(facts, parameter)} is already quantised (quantization_config in config.json: {facts.quantization}), "
            "and rounded weights can't be trained themselves"
        )
        yield Finding(
            message,
            changes={"peft": True},
            otherwise="or take the model it was made from",
            parameters=(parameter, "peft"),
        )


# --- target modules -------------------------------------------------------------------------------------------------


def unmatched_targets(
    facts: ModelMetadata, target_modules: str | Iterable[str] | None, *, parameter: str = "target_modules"
) -> Iterator[Finding]:
    """Names in `--target-modules` that no module of the model has: an error where none is left, else a warning."""
    targets = split_targets(target_modules)
    if not targets or targets == [ALL_LINEAR] or not facts.modules:
        return
    broken = [target for target in targets if not _is_pattern(target)]
    if any(target.lower() in EVERY_MODULE for target in targets):
        message = f"{flag_of(parameter)} {','.join(targets)}: {facts.name} has no module called so, and all linear layers are called {ALL_LINEAR}"
        yield Finding(message, changes={parameter: ALL_LINEAR}, parameters=(parameter,))
        return
    unmatched = [target for target in targets if target not in broken and not _matches_any(target, facts.modules)]
    known = ", ".join(facts.linear_names)
    vectors = [target for target in targets if target not in (*broken, *unmatched) and _only_vectors(target, facts)]
    if vectors:
        message = f"{flag_of(parameter)}: {listed(vectors)} of {facts.name} is no linear layer, and an adapter can't sit on it (there are: {known})"
        yield Finding(message, changes={parameter: _usual(facts)}, parameters=(parameter,))
    if broken:
        message = f"{flag_of(parameter)}: {listed(broken)} is no valid pattern"
        yield Finding(message, changes={parameter: _usual(facts)}, parameters=(parameter,))
    if unmatched:
        nothing_left = len(unmatched) + len(broken) == len(targets)
        consequence = "so there is nothing to adapt" if nothing_left else "and only the others would be adapted"
        message = f"{flag_of(parameter)}: {facts.name} has no module called {listed(unmatched)}, {consequence} (it has: {known})"
        finding = Finding(message, changes={parameter: _usual(facts)}, parameters=(parameter,))
        yield finding if nothing_left else finding.replace(severity=WARNING)


def split_targets(target_modules: str | Iterable[str] | None) -> list[str]:
    """`q_proj,v_proj`, a list of such names, or nothing."""
    if target_modules is None:
        return []
    parts = target_modules.split(",") if isinstance(target_modules, str) else target_modules
    return [part.strip() for part in parts if part.strip()]


def _is_pattern(target: str) -> bool:
    try:
        re.compile(target)
    except re.error:
        return False
    return True


def _matches_any(target: str, modules: Sequence[str]) -> bool:
    """Whether a target names a module."""
    return any(_matches(target, module) for module in modules)


def _matches(target: str, module: str) -> bool:
    """Whether a target names this module: by its whole name, by the end of it, or as a regular expression for the whole."""
    if is_called(module, target):
        return True
    return not re.fullmatch(r"[\w.]+", target) and bool(re.fullmatch(target, module))


def _only_vectors(target: str, facts: ModelMetadata) -> bool:
    """Whether all that a target names are norms and the like, which have a single row of weights."""
    shapes = [facts.tensors.get(f"{module}.weight") for module in facts.modules if _matches(target, module)]
    return bool(shapes) and all(shape is not None and len(shape) == 1 for shape in shapes)


def _usual(facts: ModelMetadata) -> str:
    """What people target in such a model: its attention's queries and values, or simply everything."""
    usual = [
        name
        for name in ("q_proj", "v_proj", "query", "value", "c_attn", "query_key_value")
        if name in facts.linear_names
    ]
    return ",".join(usual) or ALL_LINEAR


# --- reward models --------------------------------------------------------------------------------------------------


def no_classifier(facts: ModelMetadata, *, parameter: str = "rl_reward_model_path") -> Iterator[Finding]:
    """A model given as the judge that has no score head: its scores would be random numbers."""
    if facts.config is not None and not facts.is_classifier:
        kind = facts.architectures[0] if facts.architectures else facts.model_type
        message = (
            f"{said(facts, parameter)} is no classifier ({kind}): its score head would be new, and its rewards random"
        )
        fix = f"train one first: --trainer reward --model {facts.name}, then {flag_of(parameter)} <that run>"
        yield Finding(message, fix=fix, parameters=(parameter,))


def several_labels(facts: ModelMetadata, *, parameter: str = "rl_reward_model_path") -> Iterator[Finding]:
    """A classifier of several classes where one number is needed."""
    if facts.is_classifier and facts.adapter_config is None and facts.config is not None and facts.num_labels != 1:
        message = f"{said(facts, parameter)} has {facts.num_labels} labels, and a reward is one number"
        yield Finding(message, fix="train a reward model with --num-labels 1", parameters=(parameter,))


def untrained_head(facts: ModelMetadata, *, parameter: str = "rl_reward_model_path") -> Iterator[Finding]:
    """A classifier whose weights hold no score head, or one of zeros."""
    known = facts.adapter_weights.tensors if facts.is_adapter else facts.tensors
    if not facts.is_classifier or not known:
        return
    if not facts.score_heads:
        fault = "its weights hold no score head (score or classifier), so its rewards would be random"
    elif facts.has_blank_head:
        fault = "its score head is all zeros, so every text would get the same reward"
    else:
        return
    yield Finding(
        f"{said(facts, parameter)}: {fault}", fix="train it with --trainer reward first", parameters=(parameter,)
    )


# --- all of them ----------------------------------------------------------------------------------------------------

CODES: dict[Callable[..., Iterator[Finding]], str] = {
    no_config: "M121",
    no_model_type: "M122",
    no_weights: "M123",
    missing_shards: "M124",
    damaged_weights: "M125",
    no_adapter_weights: "M126",
    no_index: "M127",
    impossible_config: "M128",
    weights_of_another_shape: "M129",
    adapter_of_another_model: "M130",
    adapter_and_its_config: "M134",
    no_tokenizer: "M131",
    tokens_beyond_embedding: "M132",
    weights_of_another_architecture: "M133",
    needs_remote_code: "M141",
    cannot_generate: "M142",
    cannot_score: "M143",
    quantised_base: "M144",
    missing_head: "M145",
    broken_generation_config: "M146",
    settings_of_sampling_alone: "M147",
    tokens_that_are_not_there: "M148",
    unmatched_targets: "M151",
    no_classifier: "M161",
    several_labels: "M162",
    untrained_head: "M163",
}
FILE_CHECKS = (
    no_config,
    no_model_type,
    no_weights,
    missing_shards,
    no_index,
    damaged_weights,
    impossible_config,
    weights_of_another_shape,
    weights_of_another_architecture,
    no_adapter_weights,
    adapter_of_another_model,
    adapter_and_its_config,
    broken_generation_config,
)


def check_model(
    facts: ModelMetadata,
    trainer: str,
    *,
    peft: bool = False,
    target_modules: str | Iterable[str] | None = None,
    trust_remote_code: bool = False,
    tokenizer: str | None = None,
    tokenizer_folder: Path | None = None,
    parameter: str = "model",
) -> list[Finding]:
    """Everything that is wrong with a model to be trained, each finding with its code."""
    findings = _files(facts, parameter)
    findings += _coded(no_tokenizer, facts, tokenizer=tokenizer, parameter=parameter)
    if tokenizer is None or tokenizer_folder is not None:
        findings += _coded(tokens_beyond_embedding, facts, tokenizer_folder=tokenizer_folder, parameter=parameter)
    findings += _coded(needs_remote_code, facts, trust_remote_code=trust_remote_code, parameter=parameter)
    findings += _coded(cannot_generate, facts, trainer, parameter=parameter)
    findings += _coded(cannot_score, facts, trainer, parameter=parameter)
    findings += _coded(missing_head, facts, trainer, parameter=parameter)
    findings += _coded(quantised_base, facts, peft=peft, parameter=parameter)
    if parameter == TRAINED and trainer != SCORING_TRAINER:
        findings += _coded(settings_of_sampling_alone, facts) + _coded(tokens_that_are_not_there, facts)
    if peft:
        findings += _coded(unmatched_targets, facts, target_modules)
    return findings


def check_reward_model(facts: ModelMetadata, *, parameter: str = "rl_reward_model_path") -> list[Finding]:
    """Everything that is wrong with a model whose scores are to be trusted."""
    findings = _files(facts, parameter) + _coded(no_tokenizer, facts, parameter=parameter)
    for check in (no_classifier, several_labels, untrained_head):
        findings += _coded(check, facts, parameter=parameter)
    return findings


def check_encoder(facts: ModelMetadata, *, parameter: str) -> list[Finding]:
    """Everything that is wrong with a model whose hidden states are to be read, of texts that its own tokenizer takes apart."""
    return _files(facts, parameter) + _coded(no_tokenizer, facts, parameter=parameter)


def _files(facts: ModelMetadata, parameter: str) -> list[Finding]:
    return [finding for check in FILE_CHECKS for finding in _coded(check, facts, parameter=parameter)]


def _coded(check: Callable[..., Iterator[Finding]], *values, **settings) -> list[Finding]:
    return [finding.replace(code=CODES[check]) for finding in check(*values, **settings)]


def _file(facts: ModelMetadata, name: str) -> str | None:
    return str(facts.folder / name) if facts.folder else None
